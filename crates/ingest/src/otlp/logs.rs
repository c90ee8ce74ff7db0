//! Log records.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use signal::{AttributeValue, Labels, LogLine, Nanos, StreamWrite, WriteBatch};

use super::names::label_name;
use super::{Converted, MAX_TEXT, attribute, attributes, nanos, span_id, text, trace_id};
use crate::rejection::{Refusals, excerpt};

/// Resource attributes that identify a stream; Loki's `default_resource_attributes_as_index_labels`.
const INDEXED: [&str; 18] = [
    "service.name",
    "service.namespace",
    "service.instance.id",
    "deployment.environment",
    "deployment.environment.name",
    "cloud.region",
    "cloud.availability_zone",
    "k8s.cluster.name",
    "k8s.namespace.name",
    "k8s.pod.name",
    "k8s.container.name",
    "container.name",
    "k8s.replicaset.name",
    "k8s.deployment.name",
    "k8s.statefulset.name",
    "k8s.daemonset.name",
    "k8s.cronjob.name",
    "k8s.job.name",
];

type Pairs = Vec<(String, String)>;

/// Turns an export request into log lines, as Loki does.
///
/// Some resource attributes become stream labels (a stream always has `service_name`); everything else becomes
/// structured metadata. A record without any time happened at `received`.
#[must_use]
pub fn logs(request: ExportLogsServiceRequest, received: Nanos) -> Converted {
    convert(request, received, MAX_TEXT)
}

pub(super) fn convert(request: ExportLogsServiceRequest, received: Nanos, text_limit: usize) -> Converted {
    let mut text = 0_usize;
    let mut batch = WriteBatch::default();
    let mut refusals = Refusals::default();
    for group in request.resource_logs {
        let (labels, resource) = split(attributes(group.resource.unwrap_or_default().attributes));
        let mut lines = Vec::new();
        for scoped in group.scope_logs {
            let mut common = resource.clone();
            scope(scoped.scope.unwrap_or_default(), &mut common);
            for record in scoped.log_records {
                if text > text_limit {
                    refusals.refuse("too_much_text", 1, || {
                        format!(
                            "log record of stream `{}` comes after {text_limit} bytes of metadata, the limit of one request",
                            excerpt(&labels.to_string())
                        )
                    });
                    continue;
                }
                match line(record, &common, received) {
                    Some(line) => {
                        text = text.saturating_add(line.metadata.bytes());
                        lines.push(line);
                    }
                    None => refusals.refuse("invalid_log_time", 1, || {
                        format!("log record of stream `{labels}` has a time after the year 2262")
                    }),
                }
            }
        }
        if !lines.is_empty() {
            batch.streams.push(StreamWrite { labels, lines });
        }
    }
    Converted::new(batch, refusals)
}

/// Stream labels, and what is left for structured metadata.
fn split(resource: Vec<(String, AttributeValue)>) -> (Labels, Pairs) {
    let (mut indexed, mut rest) = (Vec::new(), Vec::new());
    for (name, value) in resource {
        if INDEXED.contains(&name.as_str()) {
            indexed.push((label_name(&name), text(&value)));
        } else {
            flatten(&label_name(&name), &value, &mut rest);
        }
    }
    let labels = Labels::from_pairs(indexed);
    let labels =
        if labels.get("service_name").is_none() { labels.with("service_name", "unknown_service") } else { labels };
    (labels, rest)
}

fn scope(scope: InstrumentationScope, into: &mut Pairs) {
    into.push(("scope_name".to_owned(), scope.name));
    into.push(("scope_version".to_owned(), scope.version));
    for (name, value) in attributes(scope.attributes) {
        flatten(&label_name(&name), &value, into);
    }
}

/// `None` for a time that does not fit.
fn line(record: LogRecord, common: &Pairs, received: Nanos) -> Option<LogLine> {
    let at = match (record.time_unix_nano, record.observed_time_unix_nano) {
        (0, 0) => received,
        (0, observed) => nanos(observed)?,
        (time, _) => nanos(time)?,
    };
    let mut metadata = common.clone();
    for (name, value) in attributes(record.attributes) {
        flatten(&label_name(&name), &value, &mut metadata);
    }
    let mut add = |name: &str, value: String| metadata.push((name.to_owned(), value));
    add("severity_text", record.severity_text);
    add("event_name", record.event_name);
    for (name, number) in [
        ("observed_timestamp", record.observed_time_unix_nano),
        ("severity_number", u64::try_from(record.severity_number).unwrap_or(0)),
        ("flags", u64::from(record.flags)),
        ("dropped_attributes_count", u64::from(record.dropped_attributes_count)),
    ] {
        if number != 0 {
            add(name, number.to_string());
        }
    }
    if let Some(id) = trace_id(&record.trace_id) {
        add("trace_id", id.to_string());
    }
    if let Some(id) = span_id(&record.span_id) {
        add("span_id", id.to_string());
    }
    Some(LogLine { at, line: text(&attribute(record.body)), metadata: Labels::from_pairs(metadata) })
}

/// A map becomes one pair per leaf, its names joined with `_`.
fn flatten(name: &str, value: &AttributeValue, into: &mut Pairs) {
    match value {
        AttributeValue::Map(pairs) => {
            for (inner, value) in pairs {
                flatten(&format!("{name}_{}", label_name(inner)), value, into);
            }
        }
        AttributeValue::String(_)
        | AttributeValue::Bool(_)
        | AttributeValue::Int(_)
        | AttributeValue::Float(_)
        | AttributeValue::Bytes(_)
        | AttributeValue::List(_) => into.push((name.to_owned(), text(value))),
    }
}
