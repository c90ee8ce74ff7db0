//! An alert's change of state.

use serde::{Deserialize, Serialize};
use signal::{Labels, Severity, Timestamp};

/// Which way an alert changed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It holds from now on.
    Fired,
    /// It holds no longer.
    Resolved,
}

/// One change of one alert. Every number in it is finite.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Transition {
    /// Rule name, or `Anomaly` for the streaming detector.
    pub alert: String,
    /// The service concerned; empty if unknown.
    pub service: String,
    /// The watched metric type; empty for rules.
    pub metric: String,
    /// Identity of the alert: the same set when it fires and when it resolves.
    pub labels: Labels,
    /// Which way it changed. A second `Fired` for the same labels only raises the severity.
    pub state: State,
    /// When it changed.
    pub at: Timestamp,
    /// When it seems to have begun; never after `at`.
    pub onset: Timestamp,
    /// How bad.
    pub severity: Severity,
    /// Whether users notice: only such a transition may open an incident.
    pub pages: bool,
    /// The value that decided.
    pub value: f64,
    /// What was normal, when that is known.
    pub expected: Option<f64>,
    /// Plain words with units.
    pub summary: String,
}

/// Two decimals are enough for scores people read; keeps the ledger short and exact.
pub(crate) fn two_decimals(value: f64) -> f64 {
    if value.is_finite() { (value * 100.0).round() / 100.0 } else { 0.0 }
}

/// Four significant digits: what a person or a report wants to see of a measured value.
pub(crate) fn significant(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return 0.0;
    }
    let scale = 10_f64.powf(3.0 - value.abs().log10().floor());
    let rounded = (value * scale).round() / scale;
    if rounded.is_finite() { rounded } else { value }
}
