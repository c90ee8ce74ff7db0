//! Metrics: samples of series.

use serde::{Deserialize, Serialize};

use smallvec::SmallVec;

use crate::{HistogramSample, Labels, Timestamp};

/// The bits of the NaN with which Prometheus marks the end of a series (`model/value.StaleNaN`).
pub const STALE_NAN: u64 = 0x7ff0_0000_0000_0002;

/// The staleness marker as a value.
#[must_use]
pub fn stale_marker() -> f64 {
    f64::from_bits(STALE_NAN)
}

/// Whether `value` is the staleness marker (other NaNs are ordinary values).
#[must_use]
pub fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_NAN
}

/// One value of a series at one time.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Sample {
    /// When.
    pub at: Timestamp,
    /// What; NaN bits are kept exactly.
    pub value: f64,
}

/// A sample's link to a trace.
#[derive(Clone, PartialEq, Debug)]
pub struct Exemplar {
    /// Usually `trace_id` and `span_id`.
    pub labels: Labels,
    /// The observed value.
    pub value: f64,
    /// When it was observed.
    pub at: Timestamp,
}

/// Samples to write to one series.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct SeriesWrite {
    /// Identity, including `__name__`.
    pub labels: Labels,
    /// In any order of time. Most writes carry one.
    pub samples: SmallVec<[Sample; 1]>,
    /// Native histograms, in any order of time.
    pub histograms: Vec<HistogramSample>,
    /// Links to traces; may be empty.
    pub exemplars: Vec<Exemplar>,
}

impl SeriesWrite {
    /// Samples without exemplars.
    pub fn new(labels: Labels, samples: impl IntoIterator<Item = Sample>) -> Self {
        Self { labels, samples: samples.into_iter().collect(), histograms: Vec::new(), exemplars: Vec::new() }
    }
}

/// What kind of metric a family is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MetricKind {
    /// Only ever rises, except for resets.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Cumulative buckets with `_sum` and `_count`.
    Histogram,
    /// Quantiles with `_sum` and `_count`.
    Summary,
    /// Histogram whose buckets may fall.
    GaugeHistogram,
    /// Constant facts in labels.
    Info,
    /// One of a set of states.
    StateSet,
    /// Not declared.
    #[default]
    Unknown,
}

impl MetricKind {
    /// The word Prometheus uses in its metadata API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Summary => "summary",
            Self::GaugeHistogram => "gaugehistogram",
            Self::Info => "info",
            Self::StateSet => "stateset",
            Self::Unknown => "unknown",
        }
    }
}

/// What a metric family says about itself.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MetricMetadata {
    /// Family name.
    pub name: String,
    /// Kind.
    pub kind: MetricKind,
    /// Help text; may be empty.
    pub help: String,
    /// Unit; may be empty.
    pub unit: String,
}
