//! What goes over the supervisor's socket: one JSON object per line, each request answered by one.

use diagnose::Workload;
use policy::Target;
use remediate::Outcome;
use serde::{Deserialize, Serialize};

use crate::DeploymentSpec;

/// Longest line either side reads.
pub(crate) const MAX_LINE: u64 = 4 << 20;

/// Name of the socket inside the run directory.
pub(crate) const SOCKET: &str = "supervisor.sock";

/// What the supervisor can be asked. Variants without fields have braces so that unknown fields are refused there too.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Request {
    /// Change something, at most once per key.
    Change {
        /// Idempotency key.
        key: String,
        /// Who asks, for the list of changes.
        by: String,
        /// What to change.
        change: Box<Wish>,
    },
    /// What became of a key.
    Progress {
        /// Idempotency key.
        key: String,
    },
    /// Every deployment and its replicas.
    Status {},
    /// Every deployment as diagnosis sees it, with changes.
    Workloads {},
    /// Stop everything, then yourself.
    Shutdown {},
}

/// A wished state; `from` and `revision` guard it: when the world has moved, nothing is done.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "wish", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Wish {
    Apply { spec: DeploymentSpec },
    Scale { target: Target, from: Option<u32>, to: u32 },
    RollBack { target: Target, from: Option<u64>, to: u64 },
    Restart { target: Target, revision: Option<u64> },
}

/// The supervisor's answer.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "response", content = "body", rename_all = "snake_case")]
pub(crate) enum Response {
    Progress(Progress),
    Status(Vec<DeploymentStatus>),
    Workloads(Vec<Workload>),
    ShuttingDown,
    /// Nothing was done.
    Error(String),
}

/// What became of a change.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Progress {
    /// The key was never seen (or is older than the last thousand).
    NeverSeen,
    /// Accepted and being done.
    Running,
    /// Finished, one way or another; this answer never changes.
    Settled(Outcome),
}

/// A deployment now.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DeploymentStatus {
    /// Which.
    pub target: Target,
    /// The service it runs.
    pub service: String,
    /// Current revision.
    pub revision: u64,
    /// Version of the current revision.
    pub version: String,
    /// Replicas asked for.
    pub desired: u32,
    /// Replicas that are ready, of any revision.
    pub ready: u32,
    /// Whether every replica is ready at the current revision and none of an older one serves.
    pub is_settled: bool,
    /// Every process, leaving ones included.
    pub instances: Vec<InstanceStatus>,
}

/// One replica now.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct InstanceStatus {
    /// Its name, unique for ever, such as `backend-2-7`.
    pub name: String,
    /// The revision it runs.
    pub revision: u64,
    /// What it is doing.
    pub phase: Phase,
    /// Process id while it runs.
    pub pid: Option<u32>,
    /// Where it listens, once known.
    pub address: Option<String>,
    /// How often it was started again after a crash.
    pub restarts: u32,
}

/// What a replica is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Running, not ready yet or not any more.
    Starting,
    /// May get requests.
    Ready,
    /// Crashed and waiting for its next start.
    BackingOff,
    /// Finishing what it has.
    Leaving,
}
