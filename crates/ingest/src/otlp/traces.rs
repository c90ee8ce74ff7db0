//! Spans.

use std::sync::Arc;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::trace::v1 as wire;
use signal::{AttributeValue, Nanos, Span, SpanEvent, SpanKind, SpanLink, SpanStatus, WriteBatch};

use super::{Converted, attributes, nanos, span_id, trace_id};
use crate::rejection::{Refusals, excerpt};

type Resource = Arc<Vec<(String, AttributeValue)>>;

/// Turns an export request into spans. A span without valid ids or times is refused alone.
#[must_use]
pub fn traces(request: ExportTraceServiceRequest) -> Converted {
    let mut batch = WriteBatch::default();
    let mut refusals = Refusals::default();
    for group in request.resource_spans {
        let resource = Arc::new(attributes(group.resource.unwrap_or_default().attributes));
        for scoped in group.scope_spans {
            let scope = scoped.scope.unwrap_or_default();
            for span in scoped.spans {
                let name = span.name.clone();
                match convert(span, &resource, &scope) {
                    Ok(span) => batch.spans.push(span),
                    Err((reason, why)) => refusals.refuse(reason, 1, || format!("span `{}` {why}", excerpt(&name))),
                }
            }
        }
    }
    Converted::new(batch, refusals)
}

fn convert(
    span: wire::Span,
    resource: &Resource,
    scope: &InstrumentationScope,
) -> Result<Span, (&'static str, String)> {
    let trace = trace_id(&span.trace_id).ok_or_else(|| ("invalid_trace_id", bad_id("trace", &span.trace_id, 16)))?;
    let id = span_id(&span.span_id).ok_or_else(|| ("invalid_span_id", bad_id("span", &span.span_id, 8)))?;
    let parent = span_id(&span.parent_span_id);
    if parent.is_none() && span.parent_span_id.iter().any(|byte| *byte != 0) {
        return Err(("invalid_span_id", bad_id("parent span", &span.parent_span_id, 8)));
    }
    let start = nanos(span.start_time_unix_nano)
        .ok_or_else(|| ("invalid_span_time", format!("has the start time {}", span.start_time_unix_nano)))?;
    let end = nanos(span.end_time_unix_nano)
        .ok_or_else(|| ("invalid_span_time", format!("has the end time {}", span.end_time_unix_nano)))?;
    if end < start {
        return Err(("span_ends_before_start", "ends before it starts".to_owned()));
    }
    let status = span.status.unwrap_or_default();
    let events = span.events.into_iter().map(|event| SpanEvent {
        at: nanos(event.time_unix_nano).unwrap_or(start),
        name: event.name,
        attributes: attributes(event.attributes),
    });
    // A link to nowhere says nothing; the span itself is still worth keeping.
    let links = span.links.into_iter().filter_map(|link| {
        let (trace, span) = (trace_id(&link.trace_id)?, span_id(&link.span_id)?);
        Some(SpanLink { trace, span, attributes: attributes(link.attributes) })
    });
    Ok(Span {
        trace,
        id,
        parent,
        trace_state: span.trace_state,
        name: span.name,
        kind: kind(span.kind),
        start,
        end: Nanos(end.0),
        status: match status.code {
            1 => SpanStatus::Ok,
            2 => SpanStatus::Error,
            _ => SpanStatus::Unset,
        },
        status_message: status.message,
        attributes: attributes(span.attributes),
        resource: Arc::clone(resource),
        scope_name: scope.name.clone(),
        scope_version: scope.version.clone(),
        events: events.collect(),
        links: links.collect(),
    })
}

fn kind(number: i32) -> SpanKind {
    match number {
        1 => SpanKind::Internal,
        2 => SpanKind::Server,
        3 => SpanKind::Client,
        4 => SpanKind::Producer,
        5 => SpanKind::Consumer,
        _ => SpanKind::Unspecified,
    }
}

fn bad_id(what: &str, id: &[u8], length: usize) -> String {
    if id.len() == length {
        return format!("has a {what} id of zeros");
    }
    format!("has a {what} id of {} bytes instead of {length}", id.len())
}
