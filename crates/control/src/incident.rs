//! One group of symptoms with one cause, and how far the loop has come with it.

use std::fmt;

use detect::Transition;
use diagnose::Diagnosis;
use policy::Proposal;
use remediate::{Outcome, Verdict, Watching};
use serde::{Deserialize, Serialize};
use signal::{Severity, Timestamp};

/// Identity of an incident: 1, 2, 3 … in order of opening.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct IncidentId(pub u64);

impl fmt::Display for IncidentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// An open incident.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Incident {
    /// Identity.
    pub id: IncidentId,
    /// The service whose symptoms opened it.
    pub service: String,
    /// The worst severity so far.
    pub severity: Severity,
    /// When it was opened: the time of detection.
    pub opened_at: Timestamp,
    /// When the trouble seems to have begun.
    pub onset: Timestamp,
    /// Symptoms firing now; at most one per alert and metric.
    pub symptoms: Vec<Transition>,
    /// What happens next.
    pub stage: Stage,
    /// Rounds of evidence so far.
    pub rounds: u32,
    /// The last diagnosis.
    pub diagnosis: Option<Diagnosis>,
    /// The remediation, once one was permitted.
    pub remediation: Option<Remediation>,
}

/// What an incident waits for.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "stage")]
pub enum Stage {
    /// Evidence was asked for.
    Gathering,
    /// The cause is unclear; evidence is asked for again at this time.
    Unclear {
        /// When.
        again_at: Timestamp,
    },
    /// A permitted action is on its way, or its fate is being looked up.
    Acting,
    /// The action is done; its effect is being watched.
    Verifying {
        /// What is watched.
        watching: Watching,
        /// The next look; `None` while one is under way.
        next_at: Option<Timestamp>,
    },
    /// The inverse of the action is on its way, or its fate is being looked up.
    Undoing,
    /// The inverse is done; its effect is being watched.
    VerifyingUndo {
        /// What is watched.
        watching: Watching,
        /// The next look; `None` while one is under way.
        next_at: Option<Timestamp>,
    },
    /// A person was called; the incident closes when its symptoms are gone.
    WithPerson,
}

/// One permitted action and what came of it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Remediation {
    /// What was permitted.
    pub proposal: Proposal,
    /// When.
    pub acted_at: Timestamp,
    /// What the driver said.
    pub outcome: Option<Outcome>,
    /// Whether it helped.
    pub verdict: Option<Verdict>,
    /// What the driver said of the inverse, if it was run.
    pub undo: Option<Outcome>,
    /// When the driver is asked again what became of it, while nobody knows.
    pub ask_at: Option<Timestamp>,
    /// How often it did not know, one time after the other.
    pub unknowns: u32,
}

impl Incident {
    /// Notes a symptom, replacing an earlier one of the same alert and metric.
    pub(crate) fn join(&mut self, symptom: Transition) {
        self.symptoms.retain(|known| !is_same(known, &symptom));
        self.severity = self.severity.max(symptom.severity);
        // An incident's memory is bounded, whatever fires.
        if self.symptoms.len() < 64 {
            self.symptoms.push(symptom);
        }
    }

    /// Forgets a symptom that resolved.
    pub(crate) fn leave(&mut self, symptom: &Transition) {
        self.symptoms.retain(|known| !is_same(known, symptom));
    }

    /// Whether it is time to ask the driver again what became of an action.
    pub(crate) fn is_to_ask(&self, now: Timestamp) -> bool {
        self.remediation.as_ref().and_then(|remediation| remediation.ask_at).is_some_and(|at| at <= now)
    }

    /// Whether no user-visible symptom is firing any more.
    pub(crate) fn is_quiet(&self) -> bool {
        !self.symptoms.iter().any(|symptom| symptom.pages)
    }
}

fn is_same(one: &Transition, other: &Transition) -> bool {
    one.alert == other.alert && one.metric == other.metric && one.service == other.service
}
