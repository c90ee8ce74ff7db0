//! Streaming anomaly detection on readings of services.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use signal::{Severity, Timestamp};

use crate::{Transition, Watch};

/// How the detector judges.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct DetectorSettings {
    /// Readings of a series before anybody is told about it. Default 10.
    pub warm_readings: u32,
    /// Requests per second below which symptoms of a service mean nothing. Default 1.
    pub min_traffic: f64,
    /// The rate window of the readings, which tells how many requests a share stands for. Default 30 s.
    pub window: Duration,
    /// Time after an alert resolved in which it takes twice the evidence to fire again. Default 60 s.
    pub cool_down: Duration,
    /// Time without readings after which a firing alert is given up. Default 5 min.
    pub forget_after: Duration,
    /// How many series are followed; further ones are counted as suppressed. Default 20 000.
    pub max_series: usize,
}

impl Default for DetectorSettings {
    fn default() -> Self {
        Self {
            warm_readings: 10,
            min_traffic: 1.0,
            window: Duration::from_secs(30),
            cool_down: Duration::from_secs(60),
            forget_after: Duration::from_secs(300),
            max_series: 20_000,
        }
    }
}

/// One value of one watch for one service.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Reading {
    /// Which watch.
    pub metric_type: String,
    /// Which service.
    pub service: String,
    /// The value; NaN and infinities are counted and ignored.
    pub value: f64,
}

/// What is unusual right now.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Anomaly {
    /// The service.
    pub service: String,
    /// Which reading of it.
    pub metric_type: String,
    /// How bad.
    pub severity: Severity,
    /// How unusual, from 0 to 1.
    pub score: f64,
    /// The reading.
    pub value: f64,
    /// What was normal.
    pub expected: f64,
    /// Distance from normal in robust standard deviations.
    pub deviation: f64,
}

/// What one round of readings says.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Observation {
    /// Alerts that changed.
    pub transitions: Vec<Transition>,
    /// Everything unusual, told or not.
    pub anomalies: Vec<Anomaly>,
    /// Why something was not told, and how often.
    pub suppressed: BTreeMap<String, u64>,
}

/// What is normal for one series.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Baseline {
    /// The service.
    pub service: String,
    /// Which reading of it.
    pub metric_type: String,
    /// The usual value.
    pub expected: f64,
    /// One robust standard deviation.
    pub spread: f64,
    /// Readings it was learned from.
    pub samples: u64,
}

/// Follows every (service, metric type) with a small fixed state.
#[derive(Clone, Debug)]
pub struct Detector {
    settings: DetectorSettings,
    watches: Vec<Watch>,
}

impl Detector {
    /// A detector that knows nothing yet.
    #[must_use]
    pub fn new(settings: DetectorSettings, watches: Vec<Watch>) -> Self {
        Self { settings, watches }
    }

    /// Learns from readings taken at `at` without telling anybody: history replayed after a start.
    pub fn warm(&mut self, at: Timestamp, readings: &[Reading]) {
        let _ = (at, readings, &self.settings, &self.watches);
    }

    /// Judges and learns one round of readings taken at `now`.
    pub fn observe(&mut self, now: Timestamp, readings: &[Reading]) -> Observation {
        let _ = (now, readings);
        Observation::default()
    }

    /// What is normal, for every series that has been seen often enough.
    #[must_use]
    pub fn baselines(&self) -> Vec<Baseline> {
        Vec::new()
    }
}
