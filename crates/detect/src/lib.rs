//! Numbers in, transitions out: alert rules, streaming anomaly detection and log templates.
//!
//! This crate decides *that* something is wrong and when it began. It does not ask *why* (that is `diagnose`), runs no
//! query and reads no clock: readings and `now` come in, [`Transition`]s and [`Anomaly`]s go out.
//!
//! ```
//! use aegis_detect::{Detector, DetectorSettings, Reading, State, default_watches};
//! use signal::Timestamp;
//!
//! let mut detector = Detector::new(DetectorSettings::default(), default_watches());
//! let reading = |metric: &str, value| Reading { metric_type: metric.into(), service: "shop".into(), value };
//! let mut fired = Vec::new();
//! for at in 0..60 {
//!     let errors = if at < 50 { 0.004 } else { 0.25 };
//!     let now = Timestamp(at * 5_000);
//!     fired.extend(detector.observe(now, &[reading("request_rate", 50.0), reading("error_rate", errors)]).transitions);
//! }
//! assert!(fired.iter().any(|t| t.state == State::Fired && t.pages && t.metric == "error_rate"));
//! ```

mod analysis;
mod detector;
mod rules;
mod transition;
mod watch;

/// What log lines have in common.
pub mod templates;

pub use analysis::{Analysis, Detail, MetricPoint, analyse};
pub use detector::{Anomaly, Baseline, Detector, DetectorSettings, Observation, Reading};
pub use rules::{ActiveAlert, AlertRule, AlertState, RuleError, RuleSet, default_rules};
pub use transition::{State, Transition};
pub use watch::{Role, Unit, Watch, default_watches};
