//! What the conductor wants done, and what it wants remembered.

use diagnose::{Diagnosis, Question};
use policy::{Permit, Proposal, ProposalId};
use remediate::Assessment;
use serde::{Deserialize, Serialize};
use signal::{Severity, Timestamp};

use crate::IncidentId;

/// Something for the shell to carry out. An effect that acts carries its permit, so it can neither be copied nor made
/// up from a record.
#[derive(Debug)]
pub enum Effect {
    /// Answer these questions and bring [`Input::Gathered`](crate::Input::Gathered).
    Gather {
        /// For which incident.
        incident: IncidentId,
        /// What to ask.
        questions: Vec<Question>,
    },
    /// Redeem the permit with a driver and bring [`Input::Executed`](crate::Input::Executed).
    Act {
        /// For which incident.
        incident: IncidentId,
        /// Leave to do it, once.
        permit: Permit,
    },
    /// Ask the driver what became of an action, and bring [`Input::Executed`](crate::Input::Executed).
    Inspect {
        /// For which incident.
        incident: IncidentId,
        /// Which action.
        proposal: Proposal,
    },
    /// Answer these questions and bring [`Input::Checked`](crate::Input::Checked).
    Check {
        /// For which incident.
        incident: IncidentId,
        /// What to ask.
        questions: Vec<Question>,
    },
    /// Bring [`Input::Woke`](crate::Input::Woke) at this time or soon after.
    Wake {
        /// When.
        at: Timestamp,
    },
    /// Nothing to do: a fact for the record, which the timeline shows.
    Note {
        /// About which incident.
        incident: IncidentId,
        /// What.
        fact: Box<Fact>,
    },
}

/// A step of an incident, as people read it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "fact")]
pub enum Fact {
    /// Symptoms of a service opened an incident.
    Opened {
        /// Whose symptoms.
        service: String,
        /// How bad.
        severity: Severity,
        /// When it seems to have begun.
        onset: Timestamp,
        /// The symptom in plain words.
        summary: String,
    },
    /// Another symptom joined.
    Joined {
        /// The symptom in plain words.
        summary: String,
    },
    /// Evidence was weighed.
    Diagnosed {
        /// Ranked causes with reasons.
        diagnosis: Diagnosis,
    },
    /// An action was worked out.
    Proposed {
        /// Which.
        proposal: Proposal,
    },
    /// Policy and limits answered.
    Decided {
        /// About which proposal.
        proposal: ProposalId,
        /// `allow`, `ask` or `deny`.
        answer: String,
        /// Why, in plain words.
        reason: String,
        /// The policies that determined it.
        policies: Vec<String>,
        /// Whether this is about undoing it.
        undo: bool,
    },
    /// The effect of an action was judged.
    Judged {
        /// Of which proposal.
        proposal: ProposalId,
        /// What the signals say.
        assessment: Assessment,
        /// Whether it is the undoing that was judged.
        undo: bool,
    },
    /// A person is needed.
    Escalated {
        /// Why.
        reason: String,
    },
    /// It is over.
    Closed {
        /// How.
        ending: Ending,
        /// Since when users no longer notice, if that was measured.
        mitigated_at: Option<Timestamp>,
    },
}

/// How an incident ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// An action was proven to have helped.
    Fixed,
    /// The symptoms went away before anything was done.
    Recovered,
    /// The symptoms went away after a person was called.
    AfterEscalation,
}

/// An effect as the ledger keeps it: all of it except the permit itself, which cannot be written down.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "effect")]
pub enum EffectRecord {
    /// See [`Effect::Gather`].
    Gather {
        /// For which incident.
        incident: IncidentId,
        /// What was asked.
        questions: Vec<Question>,
    },
    /// See [`Effect::Act`].
    Act {
        /// For which incident.
        incident: IncidentId,
        /// What was permitted.
        proposal: Proposal,
        /// By which policies.
        policies: Vec<String>,
        /// Until when.
        expires: Timestamp,
    },
    /// See [`Effect::Inspect`].
    Inspect {
        /// For which incident.
        incident: IncidentId,
        /// Which action.
        proposal: ProposalId,
    },
    /// See [`Effect::Check`].
    Check {
        /// For which incident.
        incident: IncidentId,
        /// What was asked.
        questions: Vec<Question>,
    },
    /// See [`Effect::Wake`].
    Wake {
        /// When.
        at: Timestamp,
    },
    /// See [`Effect::Note`].
    Note {
        /// About which incident.
        incident: IncidentId,
        /// What.
        #[serde(flatten)]
        fact: Box<Fact>,
    },
}

impl Effect {
    /// What the ledger keeps of this effect.
    #[must_use]
    pub fn record(&self) -> EffectRecord {
        match self {
            Self::Gather { incident, questions } => {
                EffectRecord::Gather { incident: *incident, questions: questions.clone() }
            }
            Self::Act { incident, permit } => EffectRecord::Act {
                incident: *incident,
                proposal: permit.proposal().clone(),
                policies: permit.policies().to_vec(),
                expires: permit.expires(),
            },
            Self::Inspect { incident, proposal } => {
                EffectRecord::Inspect { incident: *incident, proposal: proposal.id.clone() }
            }
            Self::Check { incident, questions } => {
                EffectRecord::Check { incident: *incident, questions: questions.clone() }
            }
            Self::Wake { at } => EffectRecord::Wake { at: *at },
            Self::Note { incident, fact } => EffectRecord::Note { incident: *incident, fact: fact.clone() },
        }
    }
}
