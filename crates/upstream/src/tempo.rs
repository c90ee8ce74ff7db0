//! A Tempo or Aegis by its address.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::TracesData;
use prost::Message;
use serde::Deserialize;
use serde_json::Value;
use signal::{Nanos, Span, TimeRange, TraceId};

use crate::client::{Answer, Client};
use crate::{NewError, Options, UpstreamError};

/// Asks a server that speaks the Tempo HTTP API.
#[derive(Clone, Debug)]
pub struct Tempo(Client);

/// A trace that a search found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundTrace {
    /// Its identity, for [`Tempo::trace`].
    pub id: TraceId,
    /// Service of the root span; may be empty.
    pub root_service: String,
    /// Name of the root span; may be empty.
    pub root_name: String,
    /// When it began.
    pub start: Nanos,
    /// How long it took.
    pub duration_ms: u64,
}

impl Tempo {
    /// `url` is the address in front of `/api/search`.
    ///
    /// # Errors
    /// `NewError` for an address or header that cannot be used.
    pub fn new(url: &str, options: Options) -> Result<Self, NewError> {
        Client::new(url, options).map(Self)
    }

    /// At most `limit` traces that a TraceQL query finds in `range`.
    ///
    /// # Errors
    /// `UpstreamError` when there is no answer, or the server refuses.
    pub async fn search(&self, query: &str, range: TimeRange, limit: u32) -> Result<Vec<FoundTrace>, UpstreamError> {
        // Tempo knows whole seconds only; the range is widened to them.
        let parameters = [
            ("q", query.to_owned()),
            ("start", range.start.0.div_euclid(1000).to_string()),
            ("end", range.end.0.saturating_add(999).div_euclid(1000).to_string()),
            ("limit", limit.to_string()),
        ];
        let answer = self.0.get("api/search", &parameters, "application/json").await?;
        let found: Found = answer.json()?;
        found
            .traces
            .into_iter()
            .map(|hit| {
                let id = hit.trace_id.parse().map_err(|error| answer.malformed(&error))?;
                let start = hit.start.parse().map_err(|_| answer.malformed(&"startTimeUnixNano is not a number"))?;
                Ok(FoundTrace {
                    id,
                    root_service: hit.root_service,
                    root_name: hit.root_name,
                    start: Nanos(start),
                    duration_ms: hit.duration_ms,
                })
            })
            .collect()
    }

    /// Every span of a trace; none when the server does not know it.
    ///
    /// # Errors
    /// `UpstreamError` when there is no answer, or the server refuses.
    pub async fn trace(&self, id: TraceId) -> Result<Vec<Span>, UpstreamError> {
        let accept = "application/protobuf, application/json;q=0.5";
        let answer = match self.0.get(&format!("api/traces/{id}"), &[], accept).await {
            Ok(answer) => answer,
            Err(UpstreamError::Status { status: 404, .. }) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let data = if answer.content_type.contains("json") { from_json(&answer)? } else { from_protobuf(&answer)? };
        Ok(ingest::otlp::traces(ExportTraceServiceRequest { resource_spans: data.resource_spans }).batch.spans)
    }

    /// Whether the server answers.
    ///
    /// # Errors
    /// `UpstreamError` when it does not.
    pub async fn ping(&self) -> Result<(), UpstreamError> {
        self.0.get("api/echo", &[], "*/*").await.map(drop)
    }
}

fn from_protobuf(answer: &Answer) -> Result<TracesData, UpstreamError> {
    TracesData::decode(answer.bytes.as_slice()).map_err(|error| answer.malformed(&error))
}

/// Tempo's JSON is that of protobuf with ids in base64 and enums by name; OTLP's own has hex ids and numbers.
fn from_json(answer: &Answer) -> Result<TracesData, UpstreamError> {
    let mut value: Value = answer.json()?;
    if let Some(inner) = value.get_mut("trace").map(Value::take) {
        value = inner;
    }
    if let Some(batches) = value.get_mut("batches").map(Value::take) {
        value = serde_json::json!({ "resourceSpans": batches });
    }
    normalise(&mut value);
    serde_json::from_value(value).map_err(|error| answer.malformed(&error))
}

fn normalise(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                match (name.as_str(), field.as_str()) {
                    ("traceId", Some(text)) => *field = hex(text, 16).into(),
                    ("spanId" | "parentSpanId", Some(text)) => *field = hex(text, 8).into(),
                    ("kind" | "code", Some(text)) => *field = enum_number(text).into(),
                    _ => normalise(field),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(normalise),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// An id as hex digits, whichever way it came.
fn hex(text: &str, bytes: usize) -> String {
    if text.len() == 2 * bytes && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return text.to_owned();
    }
    match BASE64_STANDARD.decode(text) {
        Ok(decoded) => decoded.iter().map(|byte| format!("{byte:02x}")).collect(),
        Err(_) => text.to_owned(),
    }
}

fn enum_number(name: &str) -> i32 {
    match name {
        "SPAN_KIND_INTERNAL" | "STATUS_CODE_OK" => 1,
        "SPAN_KIND_SERVER" | "STATUS_CODE_ERROR" => 2,
        "SPAN_KIND_CLIENT" => 3,
        "SPAN_KIND_PRODUCER" => 4,
        "SPAN_KIND_CONSUMER" => 5,
        _ => 0,
    }
}

#[derive(Deserialize)]
struct Found {
    #[serde(default)]
    traces: Vec<Hit>,
}

#[derive(Deserialize)]
struct Hit {
    #[serde(rename = "traceID")]
    trace_id: String,
    #[serde(rename = "rootServiceName", default)]
    root_service: String,
    #[serde(rename = "rootTraceName", default)]
    root_name: String,
    #[serde(rename = "startTimeUnixNano")]
    start: String,
    #[serde(rename = "durationMs", default)]
    duration_ms: u64,
}
