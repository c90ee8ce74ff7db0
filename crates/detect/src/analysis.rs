//! Is anything unusual in a list of metric points? The question behind `detect-anomaly`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use signal::{Severity, Timestamp};

use crate::{Baseline, Watch};

/// One value of one metric type at one time.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct MetricPoint {
    /// `request_rate`, `error_rate`, …
    pub metric_type: String,
    /// The value.
    pub value: f64,
    /// When.
    pub timestamp: Timestamp,
    /// Whose; `service` is understood.
    pub labels: BTreeMap<String, String>,
}

/// The answer: one verdict over all points, and why.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Analysis {
    /// Whether anything is unusual enough to tell.
    pub is_anomaly: bool,
    /// How unusual all together, from 0 to 1.
    pub anomaly_score: f64,
    /// How bad the worst metric is.
    pub severity: Severity,
    /// `scale_up`, `roll_back`, `investigate` or `none`.
    pub recommended_action: String,
    /// How far the answer can be trusted, from 0 to 1; 0 without any history.
    pub confidence: f64,
    /// The unusual metric types, worst first.
    pub affected_metrics: Vec<String>,
    /// Numbers by metric type, for every one that could be judged.
    pub details: BTreeMap<String, Detail>,
}

/// The numbers behind one metric type.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Detail {
    /// The latest value.
    pub current: f64,
    /// The usual value.
    pub expected: f64,
    /// Distance in robust standard deviations, signed.
    pub deviation: f64,
}

/// Judges the latest point of every metric type and label set against its own history, or the given baselines.
#[must_use]
pub fn analyse(points: &[MetricPoint], watches: &[Watch], baselines: &[Baseline]) -> Analysis {
    let _ = (points, watches, baselines);
    Analysis {
        is_anomaly: false,
        anomaly_score: 0.0,
        severity: Severity::Info,
        recommended_action: "none".to_owned(),
        confidence: 0.0,
        affected_metrics: Vec::new(),
        details: BTreeMap::new(),
    }
}
