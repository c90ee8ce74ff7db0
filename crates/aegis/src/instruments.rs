//! Every metric of Aegis itself, and the traces of its own pipeline. Cores return facts; this file alone counts them.
//!
//! Field keys of log messages: `incident service alert action target outcome verdict reason file job elapsed_ms error`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::time::Duration;

use audit::{IncidentView, Timeline};
use detect::{Observation, State};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use remediate::Outcome;
use signal::{AttributeValue, Nanos, Span, SpanId, SpanKind, SpanStatus, Timestamp, TraceId};
use store::StoreStatus;

type Tags = Vec<(&'static str, String)>;
type Counters = Family<Tags, Counter<u64, AtomicU64>>;
type Gauges = Family<Tags, Gauge<i64, AtomicI64>>;
type Histograms = Family<Tags, Histogram, fn() -> Histogram>;

/// Aegis' own metrics. Cheap to share behind an `Arc`.
#[derive(Debug)]
pub(crate) struct Instruments {
    registry: Registry,
    written: Counters,
    rejected: Counters,
    scrapes: Counters,
    policy_evaluations: Counters,
    anomalies: Counters,
    rules: Counters,
    suppressed: Counters,
    actions: Counters,
    action_duration: Histograms,
    predictions: Counters,
    prediction_duration: Histograms,
    gathered: Counters,
    incidents: Gauges,
    not_opened: Gauge<i64, AtomicI64>,
    ledger_failures: Counter<u64, AtomicU64>,
    stored: Gauges,
    store_bytes: Gauges,
    memory: Gauge<i64, AtomicI64>,
    damaged: Gauge<i64, AtomicI64>,
    syslog: Counters,
    tailed_files: Gauge<i64, AtomicI64>,
    tailed: Counters,
    tailed_bytes: Counter<u64, AtomicU64>,
    tail_changed: Counters,
    tail_dropped: Counters,
    truncated: Counter<u64, AtomicU64>,
    mined: Counters,
    templates: Gauge<i64, AtomicI64>,
}

fn seconds() -> Histogram {
    Histogram::new([0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0])
}

fn count(family: &Counters, tags: &Tags, by: u64) {
    family.get_or_create(tags).inc_by(by);
}

impl Instruments {
    pub(crate) fn new() -> Self {
        let mut all = Self {
            registry: Registry::default(),
            written: Family::default(),
            rejected: Family::default(),
            scrapes: Family::default(),
            policy_evaluations: Family::default(),
            anomalies: Family::default(),
            rules: Family::default(),
            suppressed: Family::default(),
            actions: Family::default(),
            action_duration: Family::new_with_constructor(seconds),
            predictions: Family::default(),
            prediction_duration: Family::new_with_constructor(seconds),
            gathered: Family::default(),
            incidents: Family::default(),
            not_opened: Gauge::default(),
            ledger_failures: Counter::default(),
            stored: Family::default(),
            store_bytes: Family::default(),
            memory: Gauge::default(),
            damaged: Gauge::default(),
            syslog: Family::default(),
            tailed_files: Gauge::default(),
            tailed: Family::default(),
            tailed_bytes: Counter::default(),
            tail_changed: Family::default(),
            tail_dropped: Family::default(),
            truncated: Counter::default(),
            mined: Family::default(),
            templates: Gauge::default(),
        };
        let registry = &mut all.registry;
        registry.register("aegis_ingest_items", "Samples, lines and spans made durable", all.written.clone());
        registry.register("aegis_ingest_rejected_items", "Items refused, by reason", all.rejected.clone());
        registry.register("aegis_scrapes", "Scrapes by job and outcome", all.scrapes.clone());
        registry.register("policy_evaluations", "Policy decisions", all.policy_evaluations.clone());
        registry.register(
            "aegis_rule_evaluations",
            "Evaluations of rules of rule files, by outcome",
            all.rules.clone(),
        );
        registry.register("ai_anomalies_detected", "Anomalies by severity", all.anomalies.clone());
        registry.register("aegis_detect_suppressed", "Anomalies nobody was told about", all.suppressed.clone());
        registry.register("executor_actions", "Actions by what became of them", all.actions.clone());
        registry.register("executor_action_duration_seconds", "How long a driver took", all.action_duration.clone());
        registry.register("ai_predictions", "Analyses and diagnoses by success", all.predictions.clone());
        registry.register("ai_prediction_duration_seconds", "How long one took", all.prediction_duration.clone());
        registry.register("aegis_evidence_answers", "Questions to the signals, by answer", all.gathered.clone());
        registry.register("aegis_incidents", "Incidents by state", all.incidents.clone());
        let help = "Symptoms that opened no incident because too many were open";
        registry.register("aegis_incidents_not_opened", help, all.not_opened.clone());
        registry.register(
            "aegis_ledger_failures",
            "Records that could not be made durable",
            all.ledger_failures.clone(),
        );
        registry.register("aegis_store_items", "What is stored now", all.stored.clone());
        registry.register("aegis_store_bytes", "Bytes on disk by signal", all.store_bytes.clone());
        registry.register(
            "aegis_store_damaged_parts",
            "Parts of segments and blocks that cannot be read",
            all.damaged.clone(),
        );
        let help = "Log lines for templates: looked at, estimated from those, or missed because too many waited";
        registry.register("aegis_log_lines_mined", help, all.mined.clone());
        registry.register("aegis_log_templates", "Log templates that are known", all.templates.clone());
        registry.register("aegis_ingest_truncated_lines", "Lines cut at max_line_size", all.truncated.clone());
        registry.register("aegis_syslog_messages", "Syslog messages by protocol and outcome", all.syslog.clone());
        registry.register("aegis_tail_files", "Log files that are followed", all.tailed_files.clone());
        registry.register("aegis_tail_lines", "Lines read from log files", all.tailed.clone());
        registry.register("aegis_tail_bytes", "Bytes read from log files", all.tailed_bytes.clone());
        let help = "Lines of log files that were cut, or had bytes that are no UTF-8";
        registry.register("aegis_tail_changed_lines", help, all.tail_changed.clone());
        let help = "Lines of log files dropped by stages, by drop_counter_reason";
        registry.register("aegis_tail_dropped_lines", help, all.tail_dropped.clone());
        registry.register("process_resident_memory_bytes", "Memory of this process", all.memory.clone());
        all.create_known();
        all
    }

    /// Series that alert rules count on exist from the start: the first event must be an increase.
    fn create_known(&self) {
        for severity in ["low", "medium", "high", "critical"] {
            count(&self.anomalies, &vec![("severity", severity.to_owned())], 0);
        }
        for item in ["samples", "lines", "spans"] {
            count(&self.written, &vec![("item", item.to_owned())], 0);
        }
    }

    /// What became of lines that were to be mined.
    pub(crate) fn mined(&self, looked_at: u64, estimated: u64, missed: u64) {
        for (how, number) in [("looked_at", looked_at), ("estimated", estimated), ("missed", missed)] {
            if number > 0 {
                count(&self.mined, &vec![("how", how.to_owned())], number);
            }
        }
    }

    pub(crate) fn templates(&self, known: usize) {
        self.templates.set(i64::try_from(known).unwrap_or(i64::MAX));
    }

    /// What a round over the log files has read.
    pub(crate) fn tailed(&self, files: usize, counts: &ingest::tail::Counts) {
        self.tailed_files.set(i64::try_from(files).unwrap_or(i64::MAX));
        if counts.lines == 0 && counts.dropped.is_empty() {
            return;
        }
        count(&self.tailed, &Tags::new(), counts.lines);
        self.tailed_bytes.inc_by(counts.bytes);
        for (reason, number) in [("cut", counts.cut), ("not_utf8", counts.replaced)] {
            if number > 0 {
                count(&self.tail_changed, &vec![("reason", reason.to_owned())], number);
            }
        }
        for (reason, number) in &counts.dropped {
            count(&self.tail_dropped, &vec![("reason", reason.to_string())], *number);
        }
    }

    /// Syslog messages were taken, or lost because nothing could take them.
    pub(crate) fn heard_syslog(&self, protocol: &'static str, outcome: &'static str, messages: usize) {
        let tags = vec![("protocol", protocol.to_owned()), ("outcome", outcome.to_owned())];
        count(&self.syslog, &tags, messages as u64);
    }

    /// Lines were cut because they were too long.
    pub(crate) fn truncated(&self, lines: u64) {
        self.truncated.inc_by(lines);
    }

    /// The text of `/metrics`, in OpenMetrics.
    pub(crate) fn text(&self, store: &StoreStatus) -> String {
        for (signal, status) in [("metrics", &store.metrics), ("logs", &store.logs), ("traces", &store.traces)] {
            let set = |family: &Gauges, tags: &Tags, value: u64| {
                family.get_or_create(tags).set(i64::try_from(value).unwrap_or(i64::MAX));
            };
            set(
                &self.stored,
                &vec![("signal", signal.to_owned()), ("kind", "identities".to_owned())],
                status.identities,
            );
            set(&self.stored, &vec![("signal", signal.to_owned()), ("kind", "items".to_owned())], status.items);
            set(&self.store_bytes, &vec![("signal", signal.to_owned())], status.disk_bytes);
        }
        self.damaged.set(i64::try_from(store.problems.len()).unwrap_or(i64::MAX));
        if let Some(bytes) = resident_bytes() {
            self.memory.set(bytes);
        }
        let mut text = String::new();
        match encode(&mut text, &self.registry) {
            Ok(()) => text,
            Err(error) => format!("# cannot encode: {error}\n# EOF\n"),
        }
    }

    pub(crate) fn wrote(&self, samples: usize, lines: usize, spans: usize) {
        for (item, number) in [("samples", samples), ("lines", lines), ("spans", spans)] {
            count(&self.written, &vec![("item", item.to_owned())], number as u64);
        }
    }

    pub(crate) fn refused(&self, rejections: &[ingest::Rejection]) {
        for rejection in rejections {
            count(&self.rejected, &vec![("reason", rejection.reason.to_owned())], rejection.count);
        }
    }

    pub(crate) fn scraped(&self, job: &str, worked: bool) {
        let outcome = if worked { "success" } else { "failure" };
        count(&self.scrapes, &vec![("job", job.to_owned()), ("outcome", outcome.to_owned())], 1);
    }

    pub(crate) fn evaluated(&self, action: &str, result: &str) {
        count(&self.policy_evaluations, &vec![("action", action.to_owned()), ("result", result.to_owned())], 1);
    }

    /// A group of rules was evaluated.
    pub(crate) fn ruled(&self, rules: usize, failures: usize) {
        for (outcome, number) in [("success", rules.saturating_sub(failures)), ("failure", failures)] {
            count(&self.rules, &vec![("outcome", outcome.to_owned())], number as u64);
        }
    }

    pub(crate) fn observed(&self, observation: &Observation, took: Duration) {
        // One per beginning, not one per reading: a long anomaly is still one.
        for begun in observation.transitions.iter().filter(|transition| transition.state == State::Fired) {
            count(&self.anomalies, &vec![("severity", begun.severity.as_str().to_owned())], 1);
        }
        for (reason, number) in &observation.suppressed {
            count(&self.suppressed, &vec![("reason", reason.clone())], *number);
        }
        self.predicted("anomaly", true, took);
    }

    /// An analysis or a diagnosis was made; the mission calls it a prediction.
    pub(crate) fn predicted(&self, model: &str, success: bool, took: Duration) {
        count(&self.predictions, &vec![("model_type", model.to_owned()), ("success", success.to_string())], 1);
        self.prediction_duration.get_or_create(&vec![("model_type", model.to_owned())]).observe(took.as_secs_f64());
    }

    pub(crate) fn answered(&self, is_answer: bool) {
        let result = if is_answer { "answer" } else { "unavailable" };
        count(&self.gathered, &vec![("result", result.to_owned())], 1);
    }

    pub(crate) fn acted(&self, action: &str, namespace: &str, outcome: &Outcome, took: Duration) {
        let status = match outcome {
            Outcome::Done { .. } => "completed",
            Outcome::Refused { .. } => "refused",
            Outcome::Failed { .. } => "failed",
            Outcome::Unknown { .. } => "unknown",
            Outcome::NeverStarted => "never_started",
        };
        let tags = vec![("action", action.to_owned()), ("namespace", namespace.to_owned())];
        self.action_duration.get_or_create(&tags).observe(took.as_secs_f64());
        count(&self.actions, &[tags, vec![("status", status.to_owned())]].concat(), 1);
    }

    pub(crate) fn ledger_failed(&self) {
        self.ledger_failures.inc();
    }

    pub(crate) fn incidents(&self, timeline: &Timeline, not_opened: u64) {
        self.not_opened.set(i64::try_from(not_opened).unwrap_or(i64::MAX));
        let mut states: BTreeMap<&str, i64> = BTreeMap::new();
        for incident in &timeline.incidents {
            *states.entry(&incident.state).or_default() += 1;
        }
        for state in ["gathering", "acting", "verifying", "undoing", "escalated", "closed"] {
            let number = states.get(state).copied().unwrap_or(0);
            self.incidents.get_or_create(&vec![("state", state.to_owned())]).set(number);
        }
    }
}

/// The loop's own work on a closed incident as one trace of service `aegis`.
pub(crate) fn incident_trace(incident: &IncidentView) -> Vec<Span> {
    let end = incident.closed_at.or(incident.verified_at).unwrap_or(incident.opened_at);
    let resource = Arc::new(vec![("service.name".to_owned(), AttributeValue::String("aegis".to_owned()))]);
    let key = (u128::from(incident.id.0) << 64) | u128::from(incident.opened_at.0.unsigned_abs());
    let trace = TraceId(key.to_be_bytes());
    let span = |number: u64, name: &str, from: Timestamp, to: Timestamp, parent: Option<SpanId>| Span {
        trace,
        id: SpanId((number + 1).to_be_bytes()),
        parent,
        trace_state: String::new(),
        name: name.to_owned(),
        kind: SpanKind::Internal,
        start: from.to_nanos(),
        end: Nanos(to.to_nanos().0.max(from.to_nanos().0)),
        status: SpanStatus::Ok,
        status_message: String::new(),
        attributes: vec![
            ("incident.id".to_owned(), AttributeValue::String(incident.id.to_string())),
            ("incident.service".to_owned(), AttributeValue::String(incident.service.clone())),
        ],
        resource: Arc::clone(&resource),
        scope_name: "aegis".to_owned(),
        scope_version: env!("CARGO_PKG_VERSION").to_owned(),
        events: Vec::new(),
        links: Vec::new(),
    };
    let mut spans = vec![span(0, "incident", incident.onset, end, None)];
    let root = spans.first().map(|root| root.id);
    let mut at = incident.onset;
    for (number, (name, until)) in [
        ("incident.detect", Some(incident.detected_at)),
        ("incident.diagnose", incident.diagnosed_at),
        ("incident.act", incident.acted_at),
        ("incident.verify", incident.verified_at),
    ]
    .into_iter()
    .enumerate()
    {
        let Some(until) = until else { continue };
        spans.push(span(number as u64 + 1, name, at, until, root));
        at = until;
    }
    spans
}

/// Resident memory of this process; `None` where the system does not say.
fn resident_bytes() -> Option<i64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<i64>().ok()?.checked_mul(1024)
}
