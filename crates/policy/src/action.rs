//! What can be done, to what, and why somebody wants it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use signal::{Severity, Timestamp};

/// A deployment: the thing actions are done to. Written `production/backend`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Target {
    /// Where it lives.
    pub namespace: String,
    /// Its name there.
    pub name: String,
}

/// A text that does not name a target.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{text}` does not name a deployment; expected `namespace/name`")]
pub struct TargetError {
    /// What was given.
    pub text: String,
}

/// One guarded change. `from` is what the proposer saw; a driver refuses when the world has moved since.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Action {
    /// Change the number of replicas.
    Scale {
        /// Replicas now.
        from: u32,
        /// Replicas wanted.
        to: u32,
    },
    /// Go back to the template of an older revision.
    RollBack {
        /// Revision now.
        from: u64,
        /// Revision whose template is wanted.
        to: u64,
    },
    /// Replace every replica by a fresh one, one at a time.
    Restart {
        /// Revision now.
        revision: u64,
    },
}

/// Names a proposal for ever; drivers use it as idempotency key. For example `incident-3/1`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProposalId(pub String);

/// An action somebody wants to do, with everything a decision needs.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Proposal {
    /// Its name and idempotency key.
    pub id: ProposalId,
    /// The service it is meant to help.
    pub service: String,
    /// What it is done to.
    pub target: Target,
    /// What is done.
    pub action: Action,
    /// Cause kind in snake case, such as `pool_exhaustion`.
    pub cause: String,
    /// How sure the diagnosis is, 0 to 1.
    pub confidence: f64,
    /// How bad the incident is.
    pub severity: Severity,
    /// When the evidence was gathered.
    pub evidence_at: Timestamp,
    /// Why, in plain words.
    pub reason: String,
}

impl Action {
    /// `scale_up`, `scale_down`, `roll_back` or `restart`: the name policies use.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Scale { from, to } if to > from => "scale_up",
            Self::Scale { .. } => "scale_down",
            Self::RollBack { .. } => "roll_back",
            Self::Restart { .. } => "restart",
        }
    }

    /// The action that takes this one back; `None` when nothing can.
    ///
    /// Rolling back makes a *new* revision, so its inverse is guarded by the revision the driver reports; `from` and `to`
    /// name the two templates.
    #[must_use]
    pub fn inverse(&self) -> Option<Self> {
        match self {
            Self::Scale { from, to } => Some(Self::Scale { from: *to, to: *from }),
            Self::RollBack { from, to } => Some(Self::RollBack { from: *to, to: *from }),
            Self::Restart { .. } => None,
        }
    }

    /// What was done, for sentences such as "was scaled up 42 s ago".
    pub(crate) fn participle(name: &str) -> &str {
        match name {
            "scale_up" => "scaled up",
            "scale_down" => "scaled down",
            "roll_back" => "rolled back",
            "restart" => "restarted",
            other => other,
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scale { from, to } => write!(f, "scale {from} -> {to}"),
            Self::RollBack { from, to } => write!(f, "roll back revision {from} -> {to}"),
            Self::Restart { revision } => write!(f, "restart revision {revision}"),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        match text.split_once('/') {
            Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
                Ok(Self { namespace: namespace.to_owned(), name: name.to_owned() })
            }
            Some(_) | None => Err(TargetError { text: text.to_owned() }),
        }
    }
}

impl fmt::Display for ProposalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_are_named_shown_and_taken_back() {
        for (action, name, shown, inverse) in [
            (Action::Scale { from: 3, to: 8 }, "scale_up", "scale 3 -> 8", Some(Action::Scale { from: 8, to: 3 })),
            (Action::Scale { from: 8, to: 3 }, "scale_down", "scale 8 -> 3", Some(Action::Scale { from: 3, to: 8 })),
            (
                Action::RollBack { from: 2, to: 1 },
                "roll_back",
                "roll back revision 2 -> 1",
                Some(Action::RollBack { from: 1, to: 2 }),
            ),
            (Action::Restart { revision: 4 }, "restart", "restart revision 4", None),
        ] {
            assert_eq!((action.name(), action.to_string().as_str(), action.inverse()), (name, shown, inverse));
        }
        let json = serde_json::to_string(&Action::RollBack { from: 2, to: 1 }).unwrap();
        assert_eq!(json, r#"{"kind":"roll_back","from":2,"to":1}"#);
    }

    #[test]
    fn targets_are_read_back() {
        for (text, ok) in
            [("production/backend", true), ("backend", false), ("/b", false), ("a/", false), ("a/b/c", false)]
        {
            let read = text.parse::<Target>();
            assert_eq!(read.is_ok(), ok, "{text}");
            if let Ok(target) = read {
                assert_eq!(target.to_string(), text);
            }
        }
    }
}
