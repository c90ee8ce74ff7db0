//! Weighs hypotheses against evidence.

use std::fmt;

use detect::Transition;
use serde::{Deserialize, Serialize};
use signal::Timestamp;

use crate::Evidence;

/// Kinds of cause.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CauseKind {
    /// More is asked than the service can do.
    TrafficSurge,
    /// Every connection of a pool is taken.
    PoolExhaustion,
    /// A new revision is broken.
    BadDeploy,
    /// Something the service calls has become slow.
    SlowDependency,
    /// Replicas die again and again.
    CrashLoop,
    /// Processor or memory is used up.
    ResourceExhaustion,
    /// Nothing fits.
    Unknown,
}

impl CauseKind {
    /// The snake-case word used in JSON and policies.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TrafficSurge => "traffic_surge",
            Self::PoolExhaustion => "pool_exhaustion",
            Self::BadDeploy => "bad_deploy",
            Self::SlowDependency => "slow_dependency",
            Self::CrashLoop => "crash_loop",
            Self::ResourceExhaustion => "resource_exhaustion",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for CauseKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The language of a finding's query.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Language {
    /// Metrics.
    Promql,
    /// Logs.
    Logql,
    /// Traces.
    Traceql,
    /// What a driver says about a workload.
    Workload,
}

/// One thing that was seen.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Finding {
    /// Plain words with numbers and units.
    pub claim: String,
    /// What the reader can open.
    pub query: String,
    /// In which language.
    pub language: Language,
}

/// A possible cause.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Hypothesis {
    /// What kind.
    pub kind: CauseKind,
    /// Where.
    pub service: String,
    /// The one instance concerned, when it is only one.
    pub instance: Option<String>,
    /// The revision concerned, when it is one.
    pub revision: Option<u64>,
    /// One sentence.
    pub title: String,
    /// From 0 to 1, two decimals.
    pub confidence: f64,
    /// What speaks for it.
    pub evidence: Vec<Finding>,
    /// What speaks against it.
    pub against: Vec<Finding>,
    /// How much capacity would be enough, when that can be told.
    pub sizing: Option<Sizing>,
}

/// How much capacity would be enough.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Sizing {
    /// What is asked of the limited thing, per second.
    pub offered_per_s: f64,
    /// What one replica can give, per second.
    pub capacity_per_replica_per_s: f64,
    /// Replicas that carry the offered load with room to spare.
    pub replicas: u32,
}

/// A cause that was considered and dropped.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct RuledOut {
    /// What kind.
    pub kind: CauseKind,
    /// The number that rules it out.
    pub reason: String,
}

/// What is wrong, as far as it can be told.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Diagnosis {
    /// The service with the symptoms.
    pub service: String,
    /// When they seem to have begun.
    pub onset: Timestamp,
    /// Whether the first hypothesis is sure enough; if not, nobody may act on it.
    pub is_resolved: bool,
    /// Best first.
    pub hypotheses: Vec<Hypothesis>,
    /// What it is not.
    pub ruled_out: Vec<RuledOut>,
    /// What users see, before and now.
    pub impact: Vec<Finding>,
}

/// Ranks the causes of `symptoms` of `service` that began at `onset`.
#[must_use]
pub fn rank(service: &str, onset: Timestamp, symptoms: &[Transition], evidence: &Evidence) -> Diagnosis {
    let _ = (symptoms, evidence);
    Diagnosis {
        service: service.to_owned(),
        onset,
        is_resolved: false,
        hypotheses: Vec::new(),
        ruled_out: Vec::new(),
        impact: Vec::new(),
    }
}
