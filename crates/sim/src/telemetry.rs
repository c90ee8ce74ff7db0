//! The three signals of the made-up service, under the names of the sample application.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use signal::{
    AttributeValue, Labels, LogLine, Nanos, Sample, SeriesWrite, Span, SpanId, SpanKind, SpanStatus, StreamWrite,
    Timestamp, TraceId, stale_marker,
};

use crate::rng::Rng;
use crate::target::Replica;
use crate::traffic::{Capacity, Served};

/// Upper bounds of the histograms, with the text of their label.
const REQUEST_BOUNDS: [(f64, &str); 8] = [
    (0.05, "0.05"),
    (0.1, "0.1"),
    (0.15, "0.15"),
    (0.25, "0.25"),
    (0.5, "0.5"),
    (1.0, "1"),
    (2.5, "2.5"),
    (f64::INFINITY, "+Inf"),
];
const WAIT_BOUNDS: [(f64, &str); 5] =
    [(0.01, "0.01"), (0.1, "0.1"), (0.5, "0.5"), (2.5, "2.5"), (f64::INFINITY, "+Inf")];

/// Every series of one replica, with its latest value.
#[derive(Clone, Debug)]
pub(crate) struct Meter {
    base: Labels,
    values: BTreeMap<(&'static str, &'static str), (Labels, f64)>,
}

impl Meter {
    pub(crate) fn new(replica: &Replica) -> Self {
        let base = Labels::from_pairs([
            ("job", "backend"),
            ("service", "backend"),
            ("instance", &replica.instance),
            ("namespace", "production"),
            ("deployment", "backend"),
            ("revision", &replica.revision.to_string()),
        ]);
        let mut meter = Self { base, values: BTreeMap::new() };
        meter.set("process_start_time_seconds", "", replica.started.as_secs_f64());
        meter.set("process_resident_memory_bytes", "", 24e6);
        for status in ["201", "500", "503"] {
            meter.add("http_requests_total", status, 0.0);
        }
        meter.add("db_pool_acquire_timeouts_total", "", 0.0);
        meter
    }

    /// Counts what was served.
    pub(crate) fn count(&mut self, served: &Served, capacity: Capacity) {
        self.add("http_requests_total", "201", served.ok);
        self.add("http_requests_total", "500", served.errors);
        self.add("http_requests_total", "503", served.timeouts);
        for (bound, text) in REQUEST_BOUNDS {
            let within = served.took.iter().filter(|(_, seconds)| *seconds <= bound).map(|(count, _)| count).sum();
            self.add("http_request_duration_seconds_bucket", text, within);
        }
        let (count, sum) = served.took.iter().fold((0.0, 0.0), |(n, sum), (count, s)| (n + count, sum + count * s));
        self.add("http_request_duration_seconds_count", "", count);
        self.add("http_request_duration_seconds_sum", "", sum);
        self.add("db_query_duration_seconds_count", "", served.queries);
        self.add("db_query_duration_seconds_sum", "", served.queries * capacity.service_s);
        for (bound, text) in WAIT_BOUNDS {
            let got = if served.wait_s <= bound { served.queries } else { 0.0 };
            let gave_up = if bound >= 2.5 { served.timeouts } else { 0.0 };
            self.add("db_pool_acquire_duration_seconds_bucket", text, got + gave_up);
        }
        self.add("db_pool_acquire_duration_seconds_count", "", served.queries + served.timeouts);
        self.add("db_pool_acquire_timeouts_total", "", served.timeouts);
        self.set("db_pool_connections", "used", f64::from(served.used));
        self.set("db_pool_connections", "idle", f64::from(capacity.pool.saturating_sub(served.used)));
        self.set("db_pool_connections_max", "", f64::from(capacity.pool));
        self.set("db_pool_pending_requests", "", served.pending.floor());
        self.add("process_cpu_seconds_total", "", 0.002 * count);
    }

    /// One sample of every series.
    pub(crate) fn scrape(&self, at: Timestamp) -> Vec<SeriesWrite> {
        let sample = |name: &str, value: f64| if name.ends_with("_sum") { value } else { (value + 1e-6).floor() };
        let series = self.values.iter().map(|((name, _), (labels, value))| {
            let value = if *name == "process_cpu_seconds_total" { *value } else { sample(name, *value) };
            SeriesWrite::new(labels.clone(), [Sample { at, value }])
        });
        series.collect()
    }

    /// The end of every series.
    pub(crate) fn end(&self, at: Timestamp) -> Vec<SeriesWrite> {
        let end = Sample { at, value: stale_marker() };
        self.values.values().map(|(labels, _)| SeriesWrite::new(labels.clone(), [end])).collect()
    }

    fn add(&mut self, name: &'static str, variant: &'static str, amount: f64) {
        self.value(name, variant).1 += amount;
    }

    fn set(&mut self, name: &'static str, variant: &'static str, value: f64) {
        self.value(name, variant).1 = value;
    }

    fn value(&mut self, name: &'static str, variant: &'static str) -> &mut (Labels, f64) {
        let base = &self.base;
        self.values.entry((name, variant)).or_insert_with(|| (labels(base, name, variant), 0.0))
    }
}

fn labels(base: &Labels, name: &str, variant: &str) -> Labels {
    let more: &[(&str, &str)] = match name {
        "http_requests_total" => &[("method", "POST"), ("path", "/api/v1/users"), ("status", variant)],
        "db_pool_connections" => &[("state", variant)],
        _ if name.starts_with("http_request_duration") => {
            &[("method", "POST"), ("path", "/api/v1/users"), ("le", variant)]
        }
        _ if name.starts_with("db_query") => &[("operation", "insert"), ("table", "users")],
        _ if name.ends_with("_bucket") => &[("le", variant)],
        _ => &[],
    };
    let pairs = base.iter().chain([(Labels::NAME, name)]).chain(more.iter().copied());
    Labels::from_pairs(pairs)
}

/// A few lines for what a replica served; enough for every kind of line to be seen.
pub(crate) fn lines(replica: &Replica, served: &Served, at: Timestamp, rng: &mut Rng) -> StreamWrite {
    let mut lines = Vec::new();
    let mut say = |level: &str, message: &str, status: u32, count: f64| {
        for _ in 0..count.ceil().clamp(0.0, 2.0) as u32 {
            let nanos = at.to_nanos().0.saturating_sub(i64::try_from(rng.below(4_000_000_000)).unwrap_or(0));
            let line = json!({
                "timestamp": Nanos(nanos).to_string(), "level": level, "service": "aegis-backend", "message": message,
                "trace_id": format!("{:032x}", rng.bits()), "method": "POST", "path": "/api/v1/users",
                "status_code": status, "duration_ms": (served.wait_s * 1000.0).round() + 45.0,
            });
            lines.push(LogLine { at: Nanos(nanos), line: line.to_string(), metadata: Labels::empty() });
        }
    };
    say("info", "User created successfully", 201, served.ok);
    say("error", "Error: cannot normalise name: unsupported character", 500, served.errors);
    say("error", "Error: Connection pool exhausted", 503, served.timeouts);
    if served.wait_s > 1.0 {
        say("warn", &format!("Database query slow: {:.1}s", served.wait_s), 201, served.queries);
    }
    let labels = Labels::from_pairs([
        ("job", "aegis-backend"),
        ("service", "backend"),
        ("namespace", "production"),
        ("instance", &replica.instance),
    ]);
    StreamWrite { labels, lines }
}

/// A trace of one request that was served, and one of each kind that was not.
pub(crate) fn spans(replica: &Replica, served: &Served, capacity: Capacity, at: Timestamp, rng: &mut Rng) -> Vec<Span> {
    let resource = Arc::new(vec![
        ("service.name".to_owned(), AttributeValue::String("backend".to_owned())),
        ("service.instance.id".to_owned(), AttributeValue::String(replica.instance.clone())),
    ]);
    let mut spans = Vec::new();
    let mut request = |database_s: Option<f64>, status: SpanStatus| {
        let trace = TraceId((u128::from(rng.bits()) << 64 | u128::from(rng.bits())).to_be_bytes());
        let start = at.to_nanos().minus(Duration::from_secs(4));
        let mut span = |name: &str, parent: Option<SpanId>, kind, from_ms: f64, to_ms: f64, status| {
            let id = SpanId(rng.bits().to_be_bytes());
            let after = |ms: f64| start.plus(Duration::from_secs_f64(ms / 1000.0));
            let (name, resource, scope_name) = (name.to_owned(), Arc::clone(&resource), String::new());
            let (start, end) = (after(from_ms), after(to_ms));
            let (status_message, scope_version, trace_state) = Default::default();
            let (attributes, events, links) = Default::default();
            spans.push(Span {
                trace,
                id,
                parent,
                trace_state,
                name,
                kind,
                start,
                end,
                status,
                status_message,
                attributes,
                resource,
                scope_name,
                scope_version,
                events,
                links,
            });
            id
        };
        let end_ms = 9.0 + database_s.unwrap_or(0.0) * 1000.0 + 3.0;
        let root = span("http.request", None, SpanKind::Server, 0.0, end_ms, status);
        span("auth.verify", Some(root), SpanKind::Internal, 0.0, 4.0, SpanStatus::Unset);
        span("policy.evaluate", Some(root), SpanKind::Internal, 4.0, 9.0, SpanStatus::Unset);
        if let Some(database_s) = database_s {
            span("db.insert", Some(root), SpanKind::Client, 9.0, 9.0 + database_s * 1000.0, status);
        }
    };
    if served.ok >= 1.0 {
        request(Some(capacity.service_s + served.wait_s), SpanStatus::Unset);
    }
    if served.timeouts >= 1.0 {
        request(Some(2.0), SpanStatus::Error);
    }
    if served.errors >= 1.0 {
        request(None, SpanStatus::Error);
    }
    spans
}
