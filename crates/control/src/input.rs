//! What the conductor can hear.

use std::time::Duration;

use detect::Transition;
use diagnose::Evidence;
use policy::{LimitSettings, ProposalId};
use remediate::{Outcome, VerifySettings};
use serde::{Deserialize, Serialize};

use crate::IncidentId;

/// Everything that can change a decision. Recorded in the ledger before its effects are carried out.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "input")]
pub enum Input {
    /// Aegis started, or its configuration changed: from here on these settings and policies hold. Incidents that are
    /// still open are taken up again.
    Configured {
        /// The version of Aegis that decides.
        version: String,
        /// How the loop behaves.
        settings: Settings,
        /// Limits on acting.
        limits: LimitSettings,
        /// Policy files: name and text.
        policies: Vec<(String, String)>,
    },
    /// An alert or anomaly fired or resolved.
    Alert(Transition),
    /// The evidence asked for, as far as it could be had.
    Gathered {
        /// For which incident.
        incident: IncidentId,
        /// Questions with their answers.
        evidence: Evidence,
    },
    /// What became of an action, or of an inspection of one.
    Executed {
        /// For which incident.
        incident: IncidentId,
        /// Which action.
        proposal: ProposalId,
        /// What the driver says.
        outcome: Outcome,
    },
    /// Readings taken to verify an action.
    Checked {
        /// For which incident.
        incident: IncidentId,
        /// Questions with their answers.
        evidence: Evidence,
    },
    /// A time asked for with [`Effect::Wake`](crate::Effect::Wake) has come.
    Woke,
    /// A person stopped all acting, or allowed it again.
    Paused {
        /// Who.
        by: String,
        /// Whether acting is stopped from now on.
        paused: bool,
    },
}

/// How the loop behaves. Durations, not times: the conductor is told the time with each input.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Settings {
    /// How a remediation is verified.
    pub verify: VerifySettings,
    /// Time between two looks at the service while verifying.
    pub check_every: Duration,
    /// The window of the rates in the evidence; several scrapes long.
    pub evidence_window: Duration,
    /// Time between two rounds of evidence while the cause is unclear.
    pub gather_again: Duration,
    /// Rounds of evidence before a person is called.
    pub gather_rounds: u32,
    /// Open incidents at once; symptoms of further services are counted, not opened.
    pub max_open_incidents: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            verify: VerifySettings {
                window: Duration::from_secs(60),
                step: Duration::from_secs(15),
                hold: Duration::from_secs(30),
                deadline: Duration::from_secs(180),
                watches: detect::default_watches(),
            },
            check_every: Duration::from_secs(5),
            evidence_window: Duration::from_secs(60),
            gather_again: Duration::from_secs(5),
            gather_rounds: 12,
            max_open_incidents: 200,
        }
    }
}
