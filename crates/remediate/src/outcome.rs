//! What a driver answers, and what verification concludes.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What became of one permitted action.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub enum Outcome {
    /// The target is in the wished state and ready.
    Done {
        /// In plain words.
        detail: String,
        /// The number that was changed, before: replicas or revision.
        was: u64,
        /// The same number now.
        is: u64,
    },
    /// Nothing was changed, and the driver says why: a guard did not hold, or the target forbids it.
    Refused {
        /// In plain words.
        reason: String,
    },
    /// It was tried and did not work.
    Failed {
        /// In plain words.
        reason: String,
    },
    /// Nobody knows: a time-out, a crash. Look before doing anything else.
    Unknown {
        /// In plain words.
        reason: String,
    },
    /// The driver has never been asked: safe to ask again.
    NeverStarted,
}

/// Whether a remediation helped, judged from the service's own signals.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The symptoms are gone, and would not have gone by themselves.
    Fixed,
    /// The symptoms are still there.
    NotFixed,
    /// Too little data, or the recovery has another explanation.
    Unproven,
    /// The symptoms are clearly worse than before the action.
    MadeWorse,
}

impl Verdict {
    /// Only a proven fix counts as success; everything else spends the budget.
    #[must_use]
    pub fn is_success(self) -> bool {
        match self {
            Self::Fixed => true,
            Self::NotFixed | Self::Unproven | Self::MadeWorse => false,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fixed => "fixed",
            Self::NotFixed => "not fixed",
            Self::Unproven => "unproven",
            Self::MadeWorse => "made worse",
        })
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done { detail, .. } => write!(f, "done: {detail}"),
            Self::Refused { reason } => write!(f, "refused: {reason}"),
            Self::Failed { reason } => write!(f, "failed: {reason}"),
            Self::Unknown { reason } => write!(f, "unknown: {reason}"),
            Self::NeverStarted => f.write_str("never started"),
        }
    }
}
