//! Log records.

use std::borrow::Cow;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use signal::{AttributeValue, Labels, LogLine, Nanos, StreamWrite, WriteBatch};

use super::names::label_name;
use super::{Converted, MAX_TEXT, attribute, attributes, nanos, span_id, text, trace_id};
use crate::rejection::{Refusals, excerpt};

/// Resource attributes that identify a stream; Loki's `default_resource_attributes_as_index_labels`.
pub const INDEXED_ATTRIBUTES: [&str; 18] = [
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

/// Labels that name a service when `service.name` does not, as far as they are among the above; Loki's
/// `discover_service_name`.
const NAMES_A_SERVICE: [&str; 3] = ["container_name", "k8s_container_name", "k8s_job_name"];

/// What many lines share is borrowed.
type Pairs<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

/// Turns an export request into log lines, as Loki does.
///
/// Some resource attributes become stream labels; everything else becomes structured metadata. A stream always has
/// `service_name`: a container or job stands in for it, else `unknown_service`. A record without any time happened at
/// `received`.
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
            let mut common = borrowed(&resource);
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
fn split(resource: Vec<(String, AttributeValue)>) -> (Labels, Pairs<'static>) {
    let (mut indexed, mut rest) = (Vec::new(), Vec::new());
    for (name, value) in resource {
        if INDEXED_ATTRIBUTES.contains(&name.as_str()) {
            indexed.push((label_name(&name), text(&value)));
        } else {
            flatten(&label_name(&name), &value, &mut rest);
        }
    }
    let stand_in = indexed.iter().find(|(name, value)| NAMES_A_SERVICE.contains(&name.as_str()) && !value.is_empty());
    let stand_in = stand_in.map_or_else(|| "unknown_service".to_owned(), |(_, value)| value.clone());
    let labels = Labels::from_pairs(indexed);
    let labels = if labels.get("service_name").is_none() { labels.with("service_name", &stand_in) } else { labels };
    (labels, rest)
}

fn borrowed<'a>(pairs: &'a Pairs<'_>) -> Pairs<'a> {
    pairs.iter().map(|(name, value)| (Cow::Borrowed(&**name), Cow::Borrowed(&**value))).collect()
}

fn scope(scope: InstrumentationScope, into: &mut Pairs<'_>) {
    into.push(("scope_name".into(), scope.name.into()));
    into.push(("scope_version".into(), scope.version.into()));
    if scope.dropped_attributes_count > 0 {
        into.push(("scope_dropped_attributes_count".into(), scope.dropped_attributes_count.to_string().into()));
    }
    for (name, value) in attributes(scope.attributes) {
        flatten(&label_name(&name), &value, into);
    }
}

/// `None` for a time that does not fit.
fn line(record: LogRecord, common: &Pairs<'_>, received: Nanos) -> Option<LogLine> {
    let at = match (record.time_unix_nano, record.observed_time_unix_nano) {
        (0, 0) => received,
        (0, observed) => nanos(observed)?,
        (time, _) => nanos(time)?,
    };
    let mut metadata = borrowed(common);
    for (name, value) in attributes(record.attributes) {
        flatten(&label_name(&name), &value, &mut metadata);
    }
    let mut add = |name: &'static str, value: String| metadata.push((name.into(), value.into()));
    add("severity_text", record.severity_text);
    add("event_name", record.event_name);
    for (name, number) in [
        // Without another time it is the time of the line.
        ("observed_timestamp", if record.time_unix_nano == 0 { 0 } else { record.observed_time_unix_nano }),
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
fn flatten(name: &str, value: &AttributeValue, into: &mut Pairs<'_>) {
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
        | AttributeValue::List(_) => into.push((name.to_owned().into(), text(value).into())),
    }
}
