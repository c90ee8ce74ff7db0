//! Spans as OTLP: protobuf messages, and Tempo's JSON of them (ids in base64, enums by name, 64-bit numbers as text).

use std::fmt::Write as _;
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link, SpanKind as Kind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode as Code;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use signal::{AttributeValue, SpanKind, SpanStatus};

use crate::json;

/// A trace's spans, grouped by resource and instrumentation scope in order of first appearance.
pub(super) fn resource_spans(trace: &store::Trace) -> Vec<ResourceSpans> {
    let mut groups: Vec<(&Arc<signal::Span>, Vec<&Arc<signal::Span>>)> = Vec::new();
    for span in &trace.spans {
        let same = |first: &signal::Span| {
            (Arc::ptr_eq(&first.resource, &span.resource) || first.resource == span.resource)
                && first.scope_name == span.scope_name
                && first.scope_version == span.scope_version
        };
        match groups.iter_mut().find(|(first, _)| same(first)) {
            Some((_, members)) => members.push(span),
            None => groups.push((span, vec![span])),
        }
    }
    groups
        .into_iter()
        .map(|(first, members)| ResourceSpans {
            resource: Some(Resource { attributes: attributes(&first.resource), ..Resource::default() }),
            scope_spans: vec![ScopeSpans {
                scope: Some(InstrumentationScope {
                    name: first.scope_name.clone(),
                    version: first.scope_version.clone(),
                    ..InstrumentationScope::default()
                }),
                spans: members.into_iter().map(|span| message(span)).collect(),
                ..ScopeSpans::default()
            }],
            ..ResourceSpans::default()
        })
        .collect()
}

fn message(span: &signal::Span) -> Span {
    Span {
        trace_id: span.trace.0.to_vec(),
        span_id: span.id.0.to_vec(),
        trace_state: span.trace_state.clone(),
        parent_span_id: span.parent.map(|id| id.0.to_vec()).unwrap_or_default(),
        name: span.name.clone(),
        kind: match span.kind {
            SpanKind::Unspecified => Kind::Unspecified,
            SpanKind::Internal => Kind::Internal,
            SpanKind::Server => Kind::Server,
            SpanKind::Client => Kind::Client,
            SpanKind::Producer => Kind::Producer,
            SpanKind::Consumer => Kind::Consumer,
        }
        .into(),
        start_time_unix_nano: unsigned(span.start),
        end_time_unix_nano: unsigned(span.end),
        attributes: attributes(&span.attributes),
        events: span
            .events
            .iter()
            .map(|event| Event {
                time_unix_nano: unsigned(event.at),
                name: event.name.clone(),
                attributes: attributes(&event.attributes),
                dropped_attributes_count: 0,
            })
            .collect(),
        links: span
            .links
            .iter()
            .map(|link| Link {
                trace_id: link.trace.0.to_vec(),
                span_id: link.span.0.to_vec(),
                attributes: attributes(&link.attributes),
                ..Link::default()
            })
            .collect(),
        status: Some(Status {
            message: span.status_message.clone(),
            code: match span.status {
                SpanStatus::Unset => Code::Unset,
                SpanStatus::Ok => Code::Ok,
                SpanStatus::Error => Code::Error,
            }
            .into(),
        }),
        ..Span::default()
    }
}

fn unsigned(at: signal::Nanos) -> u64 {
    u64::try_from(at.0).unwrap_or_default()
}

fn attributes(pairs: &[(String, AttributeValue)]) -> Vec<KeyValue> {
    pairs
        .iter()
        .map(|(key, value)| KeyValue { key: key.clone(), value: Some(any(value)), ..KeyValue::default() })
        .collect()
}

fn any(value: &AttributeValue) -> AnyValue {
    let value = match value {
        AttributeValue::String(text) => Value::StringValue(text.clone()),
        AttributeValue::Bool(value) => Value::BoolValue(*value),
        AttributeValue::Int(value) => Value::IntValue(*value),
        AttributeValue::Float(value) => Value::DoubleValue(*value),
        AttributeValue::Bytes(bytes) => Value::BytesValue(bytes.clone()),
        AttributeValue::List(values) => Value::ArrayValue(ArrayValue { values: values.iter().map(any).collect() }),
        AttributeValue::Map(pairs) => Value::KvlistValue(KeyValueList { values: attributes(pairs) }),
    };
    AnyValue { value: Some(value) }
}

/// One element of `batches` or `resourceSpans`.
pub(super) fn json(out: &mut String, group: &ResourceSpans) {
    out.push_str(r#"{"resource":{"attributes":"#);
    json_attributes(out, group.resource.as_ref().map_or(&[], |resource| &resource.attributes));
    out.push_str(r#"},"scopeSpans":"#);
    json::array(out, &group.scope_spans, |out, scope| {
        let (name, version) =
            scope.scope.as_ref().map_or(("", ""), |scope| (scope.name.as_str(), scope.version.as_str()));
        out.push_str(r#"{"scope":"#);
        json::object(out, [("name", name), ("version", version)].into_iter().filter(|(_, text)| !text.is_empty()));
        out.push_str(r#","spans":"#);
        json::array(out, &scope.spans, json_span);
        out.push('}');
    });
    out.push('}');
}

fn json_span(out: &mut String, span: &Span) {
    let _ = write!(out, r#"{{"traceId":"{}","spanId":"{}""#, id(&span.trace_id), id(&span.span_id));
    if !span.parent_span_id.is_empty() {
        let _ = write!(out, r#","parentSpanId":"{}""#, id(&span.parent_span_id));
    }
    if !span.trace_state.is_empty() {
        let _ = write!(out, r#","traceState":{}"#, json::quoted(&span.trace_state));
    }
    let _ = write!(
        out,
        r#","name":{},"kind":"{}","startTimeUnixNano":"{}","endTimeUnixNano":"{}""#,
        json::quoted(&span.name),
        span.kind().as_str_name(),
        span.start_time_unix_nano,
        span.end_time_unix_nano,
    );
    if !span.attributes.is_empty() {
        out.push_str(r#","attributes":"#);
        json_attributes(out, &span.attributes);
    }
    if !span.events.is_empty() {
        out.push_str(r#","events":"#);
        json::array(out, &span.events, |out, event| {
            let name = json::quoted(&event.name);
            let _ = write!(out, r#"{{"timeUnixNano":"{}","name":{name},"attributes":"#, event.time_unix_nano);
            json_attributes(out, &event.attributes);
            out.push('}');
        });
    }
    if !span.links.is_empty() {
        out.push_str(r#","links":"#);
        json::array(out, &span.links, |out, link| {
            let _ =
                write!(out, r#"{{"traceId":"{}","spanId":"{}","attributes":"#, id(&link.trace_id), id(&link.span_id));
            json_attributes(out, &link.attributes);
            out.push('}');
        });
    }
    out.push_str(r#","status":{"#);
    if let Some(status) = &span.status {
        let mut comma = "";
        if status.code() != Code::Unset {
            let _ = write!(out, r#""code":"{}""#, status.code().as_str_name());
            comma = ",";
        }
        if !status.message.is_empty() {
            let _ = write!(out, r#"{comma}"message":{}"#, json::quoted(&status.message));
        }
    }
    out.push_str("}}");
}

fn id(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(bytes)
}

fn json_attributes(out: &mut String, attributes: &[KeyValue]) {
    json::array(out, attributes, |out, pair| {
        let _ = write!(out, r#"{{"key":{},"value":"#, json::quoted(&pair.key));
        json_any(out, pair.value.as_ref());
        out.push('}');
    });
}

/// `{"stringValue":"…"}` and its kin.
pub(super) fn json_attribute(out: &mut String, value: &AttributeValue) {
    json_any(out, Some(&any(value)));
}

fn json_any(out: &mut String, value: Option<&AnyValue>) {
    let Some(value) = value.and_then(|value| value.value.as_ref()) else {
        out.push_str("{}");
        return;
    };
    match value {
        Value::StringValue(text) => {
            let _ = write!(out, r#"{{"stringValue":{}}}"#, json::quoted(text));
        }
        Value::BoolValue(value) => {
            let _ = write!(out, r#"{{"boolValue":{value}}}"#);
        }
        Value::IntValue(value) => {
            let _ = write!(out, r#"{{"intValue":"{value}"}}"#);
        }
        Value::DoubleValue(value) if value.is_finite() => {
            let _ = write!(out, r#"{{"doubleValue":{value}}}"#);
        }
        Value::DoubleValue(value) => {
            let word = match json::number(*value).as_str() {
                "+Inf" => "Infinity",
                "-Inf" => "-Infinity",
                _ => "NaN",
            };
            let _ = write!(out, r#"{{"doubleValue":"{word}"}}"#);
        }
        Value::BytesValue(bytes) => {
            let _ = write!(out, r#"{{"bytesValue":"{}"}}"#, id(bytes));
        }
        Value::ArrayValue(list) => {
            out.push_str(r#"{"arrayValue":{"values":"#);
            json::array(out, &list.values, |out, value| json_any(out, Some(value)));
            out.push_str("}}");
        }
        Value::KvlistValue(list) => {
            out.push_str(r#"{"kvlistValue":{"values":"#);
            json_attributes(out, &list.values);
            out.push_str("}}");
        }
        // Foreign variants are not made by `any`.
        _ => out.push_str("{}"),
    }
}
