//! The few handles a route needs: where to write, where to read, what the shell wants shown.

mod admin;
mod ingress;
mod log_rules;
mod reader;
mod tap;
mod views;

use std::sync::Arc;

pub use admin::{Admin, AdminError};
pub(crate) use ingress::conflicting;
pub use ingress::{Ingress, SampleLimit, Turn, WriteError, WriteRequest, Written, commit};
pub use log_rules::{LogRules, LogRulesError, Namespaces, PutRules, RemoveRules};
pub use reader::{QueryError, Reader};
use signal::Timestamp;
pub use tap::{Committed, Followed, LineFollower, LineTap, Missed};
pub use views::{AlertState, AlertView, BuildInfo, Health, RuleGroupView, RuleKind, RuleView, TargetView, View, Views};

/// What time it is; handed in because this crate reads no clock.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;
