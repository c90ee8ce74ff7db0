//! OpenTelemetry (OTLP): export requests become series, lines and spans.
//!
//! The messages are those of `opentelemetry-proto`, so HTTP and gRPC servers share this code.

mod delta;
mod logs;
mod metrics;
mod names;
mod traces;

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use signal::{AttributeValue, SpanId, TraceId, WriteBatch};

use crate::rejection::Refusals;
use crate::wire::fields;
use crate::{Limits, Rejection, WireError};

pub use delta::DeltaTotals;
pub use logs::{INDEXED_ATTRIBUTES, logs};
pub use metrics::{metrics, metrics_with_deltas};
pub use traces::traces;

/// Bytes of labels and metadata that one request may come to. A resource says them once for all that belongs to it, and
/// each series and line holds its own.
const MAX_TEXT: usize = 256 << 20;

/// What an export request became.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Converted {
    /// To be admitted next.
    pub batch: WriteBatch,
    /// Spans, data points or log records refused; the `rejected_…` of a partial success.
    pub rejected: u64,
    /// Why, for the sender; empty when nothing was refused.
    pub error_message: String,
    /// The same by reason.
    pub rejections: Vec<Rejection>,
}

impl Converted {
    fn new(batch: WriteBatch, refusals: Refusals) -> Self {
        Self {
            batch,
            rejected: refusals.total(),
            error_message: refusals.sentence(),
            rejections: refusals.into_rejections(),
        }
    }
}

/// Why an export request could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OtlpError {
    /// The body has too many bytes.
    #[error("export request has {found} bytes, more than the limit of {limit} (max_decoded_bytes)")]
    TooLarge {
        /// Bytes received.
        found: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// More spans, data points or log records than one request may carry.
    #[error("export request has more than {limit} items (max_items)")]
    TooMany {
        /// Items allowed.
        limit: usize,
    },
    /// Not protobuf at all.
    #[error("cannot read the export request as protobuf")]
    Wire(#[from] WireError),
    /// Protobuf, but not this message.
    #[error("cannot read the export request as protobuf")]
    Protobuf(#[from] prost::DecodeError),
    /// Not the JSON of this message; the source says where.
    #[error("cannot read the export request as JSON")]
    Json(#[source] serde_json::Error),
}

/// The three export requests.
pub trait Export: prost::Message + Default + serde::de::DeserializeOwned {
    /// The field numbers that lead to the items of the request, outermost first.
    const ITEMS: &'static [&'static [u32]];
}

impl Export for ExportTraceServiceRequest {
    const ITEMS: &'static [&'static [u32]] = &[&[1], &[2], &[2]];
}

impl Export for ExportLogsServiceRequest {
    const ITEMS: &'static [&'static [u32]] = &[&[1], &[2], &[2]];
}

impl Export for ExportMetricsServiceRequest {
    const ITEMS: &'static [&'static [u32]] = &[&[1], &[2], &[2], &[5, 7, 9, 10, 11], &[1]];
}

/// Reads the binary form, already decompressed.
///
/// # Errors
/// `OtlpError` when it is not this message, or over a limit; limits are checked before memory is taken.
pub fn decode_protobuf<T: Export>(body: &[u8], limits: &Limits) -> Result<T, OtlpError> {
    within(body, limits)?;
    let mut left = limits.max_items;
    if !fits(body, T::ITEMS, &mut left)? {
        return Err(OtlpError::TooMany { limit: limits.max_items });
    }
    Ok(T::decode(body)?)
}

/// Reads the JSON form, already decompressed.
///
/// # Errors
/// `OtlpError` when it is not this message, or over a limit.
pub fn decode_json<T: Export>(body: &[u8], limits: &Limits) -> Result<T, OtlpError> {
    within(body, limits)?;
    // Each item and each of its attributes is an object, so this bounds the memory they take before any is read.
    let objects = body.iter().filter(|byte| **byte == b'{').count();
    if objects > limits.max_items.saturating_mul(4) {
        return Err(OtlpError::TooMany { limit: limits.max_items });
    }
    let has = |key: &str| memchr::memmem::find(body, key.as_bytes()).is_some();
    if !has("\"arrayValue\"") && !has("\"kvlistValue\"") {
        return serde_json::from_slice(body).map_err(OtlpError::Json);
    }
    let mut value = serde_json::from_slice(body).map_err(OtlpError::Json)?;
    fill_empty_lists(&mut value);
    serde_json::from_value(value).map_err(OtlpError::Json)
}

/// Senders leave out the `values` of an empty list or map, and the message types insist on them.
fn fill_empty_lists(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(object) => {
            for (name, value) in object {
                if let (serde_json::Value::Object(list), "arrayValue" | "kvlistValue") = (&mut *value, name.as_str()) {
                    list.entry("values").or_insert_with(|| serde_json::Value::Array(Vec::new()));
                }
                fill_empty_lists(value);
            }
        }
        serde_json::Value::Array(values) => values.iter_mut().for_each(fill_empty_lists),
        serde_json::Value::Null
        | serde_json::Value::Bool(_)
        | serde_json::Value::Number(_)
        | serde_json::Value::String(_) => {}
    }
}

fn within(body: &[u8], limits: &Limits) -> Result<(), OtlpError> {
    let (found, limit) = (body.len(), limits.max_decoded_bytes);
    if found > limit { Err(OtlpError::TooLarge { found, limit }) } else { Ok(()) }
}

/// Whether every level of `path` below `message` together has at most `left` messages.
fn fits(message: &[u8], path: &[&[u32]], left: &mut usize) -> Result<bool, WireError> {
    let Some((numbers, deeper)) = path.split_first() else { return Ok(true) };
    for field in fields(message) {
        let field = field?;
        if !numbers.contains(&field.number) {
            continue;
        }
        match left.checked_sub(1) {
            None => return Ok(false),
            Some(rest) => *left = rest,
        }
        if !fits(field.bytes()?, deeper, left)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn attributes(pairs: Vec<KeyValue>) -> Vec<(String, AttributeValue)> {
    let named = pairs.into_iter().filter(|pair| !pair.key.is_empty());
    named.map(|pair| (pair.key, attribute(pair.value))).collect()
}

/// An empty value is an empty text: the name alone may say something.
fn attribute(value: Option<AnyValue>) -> AttributeValue {
    match value.and_then(|value| value.value) {
        None | Some(Value::StringValueStrindex(_)) => AttributeValue::String(String::new()),
        Some(Value::StringValue(text)) => AttributeValue::String(text),
        Some(Value::BoolValue(value)) => AttributeValue::Bool(value),
        Some(Value::IntValue(value)) => AttributeValue::Int(value),
        Some(Value::DoubleValue(value)) => AttributeValue::Float(value),
        Some(Value::BytesValue(bytes)) => AttributeValue::Bytes(bytes),
        Some(Value::ArrayValue(list)) => {
            AttributeValue::List(list.values.into_iter().map(|value| attribute(Some(value))).collect())
        }
        Some(Value::KvlistValue(map)) => AttributeValue::Map(attributes(map.values)),
    }
}

/// As a label value: lists and maps become JSON.
fn text(value: &AttributeValue) -> String {
    match value {
        AttributeValue::List(_) | AttributeValue::Map(_) => json(value).to_string(),
        AttributeValue::String(_)
        | AttributeValue::Bool(_)
        | AttributeValue::Int(_)
        | AttributeValue::Float(_)
        | AttributeValue::Bytes(_) => value.to_string(),
    }
}

fn json(value: &AttributeValue) -> serde_json::Value {
    match value {
        AttributeValue::String(text) => text.as_str().into(),
        AttributeValue::Bool(value) => (*value).into(),
        AttributeValue::Int(value) => (*value).into(),
        AttributeValue::Float(value) => (*value).into(),
        AttributeValue::Bytes(_) => value.to_string().into(),
        AttributeValue::List(values) => values.iter().map(json).collect(),
        AttributeValue::Map(pairs) => {
            let pairs: BTreeMap<_, _> = pairs.iter().map(|(name, value)| (name.clone(), json(value))).collect();
            serde_json::Value::Object(pairs.into_iter().collect())
        }
    }
}

/// `None` for a wrong length and for zeros, which stand for "none".
fn trace_id(bytes: &[u8]) -> Option<TraceId> {
    <[u8; 16]>::try_from(bytes).ok().map(TraceId).filter(|id| !id.is_zero())
}

fn span_id(bytes: &[u8]) -> Option<SpanId> {
    <[u8; 8]>::try_from(bytes).ok().map(SpanId).filter(|id| !id.is_zero())
}

/// `None` for zero, which stands for "not known", and for times that do not fit (after 2262).
fn nanos(unix: u64) -> Option<signal::Nanos> {
    i64::try_from(unix).ok().filter(|ns| *ns > 0).map(signal::Nanos)
}

#[cfg(test)]
mod tests;
