//! Traces, summarised by operation.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use signal::{Nanos, Span, SpanId, SpanStatus};

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

/// How many spans of the slowest trace are kept.
const SPANS: usize = 200;

/// Summarises traces, each given as its spans in any order.
///
/// Self time is what no child covers; children that overlap count once. Spans whose parent is missing count as roots.
#[must_use]
pub fn operations(traces: &[Vec<Arc<Span>>]) -> Operations {
    let mut rows: BTreeMap<(&str, &str), Row> = BTreeMap::new();
    for trace in traces {
        let mut children: BTreeMap<SpanId, Vec<&Span>> = BTreeMap::new();
        for span in trace {
            if let Some(parent) = span.parent {
                children.entry(parent).or_default().push(span);
            }
        }
        for span in trace {
            let row = rows.entry((span.service(), &span.name)).or_default();
            row.durations.push(milliseconds(span.duration()));
            row.errors += u64::from(span.status == SpanStatus::Error);
            row.self_ms += self_time(span, children.get(&span.id).map_or(&[][..], Vec::as_slice));
        }
    }
    let stats = rows.into_iter().map(|((service, name), row)| row.finish(service, name)).collect();
    let slowest = traces
        .iter()
        .filter_map(|trace| Some((extent(trace)?, trace)))
        // The first of equals, so that the order of traces alone decides.
        .rev()
        .max_by_key(|((start, end), _)| end.0.saturating_sub(start.0))
        .map(|((start, end), trace)| summary(trace, start, end));
    Operations { stats, slowest }
}

#[derive(Default)]
struct Row {
    durations: Vec<f64>,
    errors: u64,
    self_ms: f64,
}

impl Row {
    fn finish(mut self, service: &str, name: &str) -> OperationStats {
        self.durations.sort_by(f64::total_cmp);
        let count = self.durations.len().max(1) as f64;
        let quantile = |share: f64| {
            let at = ((count - 1.0) * share).round() as usize;
            self.durations.get(at).copied().unwrap_or(0.0)
        };
        OperationStats {
            service: service.to_owned(),
            name: name.to_owned(),
            count: self.durations.len() as u64,
            errors: self.errors,
            mean_ms: tenths(self.durations.iter().sum::<f64>() / count),
            p50_ms: tenths(quantile(0.5)),
            p99_ms: tenths(quantile(0.99)),
            self_mean_ms: tenths(self.self_ms / count),
        }
    }
}

fn self_time(span: &Span, children: &[&Span]) -> f64 {
    let mut covered: Vec<(i64, i64)> = children
        .iter()
        .map(|child| (child.start.0.max(span.start.0), child.end.0.min(span.end.0)))
        .filter(|(start, end)| start < end)
        .collect();
    covered.sort_unstable();
    let (mut total, mut reached) = (0_i64, i64::MIN);
    for (start, end) in covered {
        total = total.saturating_add(end.saturating_sub(start.max(reached)).max(0));
        reached = reached.max(end);
    }
    let whole = span.end.0.saturating_sub(span.start.0);
    whole.saturating_sub(total).max(0) as f64 / 1e6
}

fn extent(trace: &[Arc<Span>]) -> Option<(Nanos, Nanos)> {
    let start = trace.iter().map(|span| span.start).min()?;
    let end = trace.iter().map(|span| span.end).max()?;
    Some((start, end))
}

fn summary(trace: &[Arc<Span>], start: Nanos, end: Nanos) -> TraceSummary {
    let known: BTreeSet<SpanId> = trace.iter().map(|span| span.id).collect();
    let mut children: BTreeMap<Option<SpanId>, Vec<&Span>> = BTreeMap::new();
    for span in trace {
        children.entry(span.parent.filter(|parent| known.contains(parent))).or_default().push(span);
    }
    for siblings in children.values_mut() {
        // Reversed: the stack below hands out the last one first.
        siblings.sort_by_key(|span| std::cmp::Reverse((span.start, span.id)));
    }
    let mut spans = Vec::new();
    let mut stack: Vec<(u32, &Span)> = children.get(&None).into_iter().flatten().map(|span| (0, *span)).collect();
    let mut seen = BTreeSet::new();
    while let Some((depth, span)) = stack.pop() {
        // A span that claims to be its own ancestor must not keep us here.
        if spans.len() >= SPANS || !seen.insert(span.id) {
            continue;
        }
        spans.push(SpanSummary {
            service: span.service().to_owned(),
            name: span.name.clone(),
            depth,
            start_ms: tenths(milliseconds(span.start.since(start))),
            duration_ms: tenths(milliseconds(span.duration())),
            status: span.status,
        });
        stack.extend(children.get(&Some(span.id)).into_iter().flatten().map(|child| (depth.saturating_add(1), *child)));
    }
    let trace_id = trace.first().map(|span| span.trace.to_string()).unwrap_or_default();
    TraceSummary { trace: trace_id, duration_ms: tenths(milliseconds(end.since(start))), spans }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use signal::{AttributeValue, SpanKind, TraceId};

    use super::*;

    fn span(trace: u8, id: u8, parent: Option<u8>, name: &str, start_ms: i64, end_ms: i64) -> Arc<Span> {
        Arc::new(Span {
            trace: TraceId([trace; 16]),
            id: SpanId([id; 8]),
            parent: parent.map(|parent| SpanId([parent; 8])),
            trace_state: String::new(),
            name: name.to_owned(),
            kind: SpanKind::Server,
            start: Nanos(start_ms * 1_000_000),
            end: Nanos(end_ms * 1_000_000),
            status: if name == "db.insert" { SpanStatus::Error } else { SpanStatus::Unset },
            status_message: String::new(),
            attributes: Vec::new(),
            resource: Arc::new(vec![("service.name".to_owned(), AttributeValue::String("backend".to_owned()))]),
            scope_name: String::new(),
            scope_version: String::new(),
            events: Vec::new(),
            links: Vec::new(),
        })
    }

    #[test]
    fn the_time_is_where_no_child_covers_it() {
        let slow = vec![
            span(1, 3, Some(1), "db.insert", 17, 2297),
            span(1, 1, None, "http.request", 0, 2300),
            span(1, 2, Some(1), "auth.verify", 0, 5),
            span(1, 4, Some(1), "policy.evaluate", 5, 17),
        ];
        let found = operations(&[vec![span(2, 1, None, "http.request", 0, 45)], slow]);
        let of = |name: &str| found.stats.iter().find(|row| row.name == name).unwrap().clone();
        assert_eq!((of("db.insert").self_mean_ms, of("db.insert").errors), (2280.0, 1));
        assert_eq!((of("http.request").count, of("http.request").self_mean_ms), (2, 24.0));
        let slowest = found.slowest.unwrap();
        let tree: Vec<_> =
            slowest.spans.iter().map(|span| (span.depth, span.name.as_str(), span.duration_ms)).collect();
        assert_eq!(
            tree,
            [
                (0, "http.request", 2300.0),
                (1, "auth.verify", 5.0),
                (1, "policy.evaluate", 12.0),
                (1, "db.insert", 2280.0)
            ]
        );
        assert_eq!(slowest.duration_ms, 2300.0);
    }

    #[test]
    fn broken_traces_do_no_harm() {
        for (case, trace) in [
            ("empty", vec![]),
            ("own parent", vec![span(1, 1, Some(1), "loop", 0, 5)]),
            ("orphan", vec![span(1, 2, Some(9), "orphan", 0, 5)]),
            ("ends before it starts", vec![span(1, 1, None, "odd", 9, 5)]),
            (
                "overlapping children",
                vec![span(1, 1, None, "root", 0, 10), span(1, 2, Some(1), "a", 0, 8), span(1, 3, Some(1), "b", 2, 20)],
            ),
        ] {
            let found = operations(&[trace]);
            assert!(found.stats.iter().all(|row| row.self_mean_ms >= 0.0 && row.mean_ms.is_finite()), "{case}");
        }
    }
}
