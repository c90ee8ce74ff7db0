//! Loki push: JSON and snappy protobuf, both to the same lines.
//!
//! Message shapes: `pkg/push/push.proto` of Loki and its HTTP API documentation.

mod json;
mod protobuf;
mod selector;

use signal::{StreamWrite, WriteBatch};

pub use selector::SelectorError;

use crate::compression::{Buffers, DecompressError, snappy_within};
use crate::label_cache::LabelCache;
use crate::rejection::Refusals;
use crate::{Decoded, Limits, Prepared, Rejection, WireError};

/// Streams whose labels a [`PushDecoder`] remembers at least.
const REMEMBERED: usize = 1 << 17;

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
/// A stream without labels is refused alone, unless there is no other.
///
/// # Errors
/// `PushError` when the push as a whole is unreadable or over a limit.
pub fn decode_json(body: &[u8], limits: &Limits) -> Result<Decoded, PushError> {
    if body.len() > limits.max_decoded_bytes {
        return Err(PushError::TooLarge { found: body.len(), limit: limits.max_decoded_bytes });
    }
    let mut refusals = Refusals::default();
    let mut streams = Vec::new();
    let mut first_problem = None;
    for stream in json::streams(body)? {
        if stream.labels.is_empty() {
            refuse_stream(&PushError::NoLabels, stream.lines.len(), &mut refusals);
            first_problem.get_or_insert(PushError::NoLabels);
        } else {
            streams.push(stream);
        }
    }
    let batch = finish(streams, first_problem, limits)?;
    Ok(Decoded { batch, rejected: refusals.into_rejections() })
}

/// Reads a snappy-compressed `logproto.PushRequest`.
///
/// Lines without a time are refused alone; so are streams whose labels cannot be read, unless there is no other.
///
/// # Errors
/// `PushError` when the push as a whole is unreadable or over a limit.
pub fn decode_protobuf(body: &[u8], limits: &Limits) -> Result<Decoded, PushError> {
    let pushed = protobuf::read(&snappy_within(body, limits)?, limits, None)?;
    Ok(Decoded { batch: pushed.batch.into_batch(), rejected: pushed.rejected })
}

/// What a push became.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Pushed {
    /// To be admitted by [`Intake`](crate::Intake) next.
    pub batch: Prepared,
    /// Refused already; the sender is to be told.
    pub rejected: Vec<Rejection>,
}

/// Reads the pushes of all senders; shared by all threads.
///
/// The labels of a stream that was read before are found by a keyed hash of their text, and opened bodies are read in
/// memory that is used again. At most 262,144 label sets are remembered.
#[derive(Debug)]
pub struct PushDecoder {
    limits: Limits,
    labels: LabelCache,
    buffers: Buffers,
}

impl PushDecoder {
    /// Remembers nothing yet. `seed` keys the hash: any number that senders cannot guess.
    #[must_use]
    pub fn new(limits: Limits, seed: u64) -> Self {
        Self { limits, labels: LabelCache::new(seed, REMEMBERED), buffers: Buffers::default() }
    }

    /// The limits in force.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Like the function [`decode_json`].
    ///
    /// # Errors
    /// `PushError` when the push as a whole is unreadable or over a limit.
    pub fn decode_json(&self, body: &[u8]) -> Result<Pushed, PushError> {
        let Decoded { batch, rejected } = decode_json(body, &self.limits)?;
        Ok(Pushed { batch: Prepared::from(batch), rejected })
    }

    /// Like the function [`decode_protobuf`].
    ///
    /// # Errors
    /// `PushError` when the push as a whole is unreadable or over a limit.
    pub fn decode_protobuf(&self, body: &[u8]) -> Result<Pushed, PushError> {
        let read = |message: &[u8]| protobuf::read(message, &self.limits, Some(&self.labels));
        self.buffers.snappy_within(body, &self.limits, read)?
    }
}

/// One stream is refused, and the others go on.
fn refuse_stream(problem: &PushError, lines: usize, refusals: &mut Refusals) {
    let sentence = match std::error::Error::source(problem) {
        Some(source) => format!("{problem}: {source}"),
        None => problem.to_string(),
    };
    refusals.refuse("invalid_labels", lines.max(1), || sentence);
}

/// What is left of the streams that could be read. When that is none, `problem` says why.
fn finish(mut streams: Vec<StreamWrite>, problem: Option<PushError>, limits: &Limits) -> Result<WriteBatch, PushError> {
    if streams.is_empty() {
        return Err(problem.unwrap_or(PushError::NoStreams));
    }
    if streams.iter().map(|stream| stream.lines.len()).sum::<usize>() > limits.max_items {
        return Err(PushError::TooMany { limit: limits.max_items });
    }
    streams.retain(|stream| !stream.lines.is_empty());
    Ok(WriteBatch { streams, ..WriteBatch::default() })
}

#[cfg(test)]
mod tests;
