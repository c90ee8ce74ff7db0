//! Loki push: JSON and snappy protobuf, both to the same lines.
//!
//! Message shapes: `pkg/push/push.proto` of Loki and its HTTP API documentation.

mod json;
mod selector;

use signal::{Labels, LogLine, Nanos, StreamWrite, WriteBatch};

pub use selector::SelectorError;

use crate::compression::{DecompressError, snappy_within};
use crate::rejection::Refusals;
use crate::wire::fields;
use crate::{Decoded, Limits, WireError};

/// Why a push was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PushError {
    /// Nothing to push; Loki answers 422 here and 400 to everything else.
    #[error("at least one valid stream is required for ingestion")]
    NoStreams,
    /// A stream that nothing identifies.
    #[error("at least one label pair is required per stream")]
    NoLabels,
    /// The body has too many bytes.
    #[error("push request has {found} bytes, more than the limit of {limit} (max_decoded_bytes)")]
    TooLarge {
        /// Bytes received.
        found: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// More lines than one request may carry.
    #[error("push request has more than {limit} lines (max_items)")]
    TooMany {
        /// Lines allowed.
        limit: usize,
    },
    /// Not the JSON of a push; the source says where.
    #[error("cannot read the push request as JSON")]
    Json(#[source] serde_json::Error),
    /// Too large or not snappy.
    #[error("cannot decompress the push request")]
    Decompress(#[from] DecompressError),
    /// Not a `PushRequest`.
    #[error("cannot read the push request as protobuf")]
    Wire(#[from] WireError),
    /// A stream's label text cannot be read.
    #[error("cannot read the stream labels `{labels}`")]
    Labels {
        /// As received, shortened.
        labels: String,
        /// Why and where.
        #[source]
        source: SelectorError,
    },
}

/// Reads a JSON push (already opened, if it was gzip).
///
/// # Errors
/// `PushError`; a push is taken as a whole or not at all.
pub fn decode_json(body: &[u8], limits: &Limits) -> Result<Decoded, PushError> {
    if body.len() > limits.max_decoded_bytes {
        return Err(PushError::TooLarge { found: body.len(), limit: limits.max_decoded_bytes });
    }
    finish(json::streams(body)?, Refusals::default(), limits)
}

/// Reads a snappy-compressed `logproto.PushRequest`.
///
/// # Errors
/// `PushError`; lines without a time are refused alone, anything else refuses the push.
pub fn decode_protobuf(body: &[u8], limits: &Limits) -> Result<Decoded, PushError> {
    decode_message(&snappy_within(body, limits)?, limits)
}

fn decode_message(message: &[u8], limits: &Limits) -> Result<Decoded, PushError> {
    let mut streams = Vec::new();
    let mut refusals = Refusals::default();
    let mut lines = 0;
    for field in fields(message) {
        let field = field?;
        if field.number == 1 {
            let stream = stream(field.bytes()?, limits.max_items.saturating_sub(lines), &mut refusals)?;
            lines += stream.lines.len();
            if lines > limits.max_items {
                return Err(PushError::TooMany { limit: limits.max_items });
            }
            streams.push(stream);
        }
    }
    finish(streams, refusals, limits)
}

fn finish(streams: Vec<StreamWrite>, refusals: Refusals, limits: &Limits) -> Result<Decoded, PushError> {
    if streams.is_empty() {
        return Err(PushError::NoStreams);
    }
    if streams.iter().any(|stream| stream.labels.is_empty()) {
        return Err(PushError::NoLabels);
    }
    let mut batch = WriteBatch { streams, ..WriteBatch::default() };
    if batch.line_count() > limits.max_items {
        return Err(PushError::TooMany { limit: limits.max_items });
    }
    batch.streams.retain(|stream| !stream.lines.is_empty());
    Ok(Decoded { batch, rejected: refusals.into_rejections() })
}

fn stream(message: &[u8], most: usize, refusals: &mut Refusals) -> Result<StreamWrite, PushError> {
    let mut stream = StreamWrite::default();
    for field in fields(message) {
        let field = field?;
        match field.number {
            1 => {
                let text = field.text()?;
                stream.labels = selector::labels(text)
                    .map_err(|source| PushError::Labels { labels: crate::rejection::excerpt(text), source })?;
            }
            // One past the limit is enough to see that there are too many.
            2 if stream.lines.len() <= most => match entry(field.bytes()?)? {
                Some(line) => stream.lines.push(line),
                None => refusals.refuse("line_without_time", 1, || {
                    format!("log line has no usable timestamp in stream `{}`", stream.labels)
                }),
            },
            _ => {}
        }
    }
    Ok(stream)
}

/// `None` without a time that fits.
fn entry(message: &[u8]) -> Result<Option<LogLine>, WireError> {
    let mut at = None;
    let mut line = "";
    let mut metadata = Vec::new();
    for field in fields(message) {
        let field = field?;
        match field.number {
            1 => at = time(field.bytes()?)?,
            2 => line = field.text()?,
            3 => {
                let mut pair = ("", "");
                for field in fields(field.bytes()?) {
                    let field = field?;
                    match field.number {
                        1 => pair.0 = field.text()?,
                        2 => pair.1 = field.text()?,
                        _ => {}
                    }
                }
                metadata.push(pair);
            }
            _ => {}
        }
    }
    Ok(at.map(|at| LogLine { at, line: line.to_owned(), metadata: Labels::from_pairs(metadata) }))
}

fn time(message: &[u8]) -> Result<Option<Nanos>, WireError> {
    let (mut seconds, mut nanos) = (0_i64, 0_i64);
    for field in fields(message) {
        let field = field?;
        match field.number {
            1 => seconds = field.int()?,
            2 => nanos = field.int()?,
            _ => {}
        }
    }
    Ok(seconds.checked_mul(1_000_000_000).and_then(|ns| ns.checked_add(nanos)).map(Nanos))
}

#[cfg(test)]
mod tests;
