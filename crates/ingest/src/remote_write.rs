//! Prometheus remote write, protocols 1.0 and 2.0.
//!
//! [`decode`] and [`decode_v2`] read one request for itself; [`RemoteWriteDecoder`] is for a server: it remembers the
//! labels it has read.

mod histogram;
mod request;
mod v1;
mod v2;

use crate::compression::{Buffers, DecompressError, snappy_within};
use crate::label_cache::{GENERATION, LabelCache};
use crate::{Decoded, Limits, Prepared, Rejection, WireError};
use request::Request;

/// Why a remote-write body could not be read at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Too large or not snappy.
    #[error("cannot decompress the remote-write request")]
    Decompress(#[from] DecompressError),
    /// Not a `WriteRequest`.
    #[error("cannot read the remote-write request")]
    Wire(#[from] WireError),
    /// More samples than one request may carry.
    #[error("remote-write request has more than {limit} samples (max_items)")]
    TooMany {
        /// Samples allowed.
        limit: usize,
    },
    /// Protocol 2.0 says a text once and refers to it often; written out, it would fill the memory.
    #[error("remote-write labels and metadata have more than {limit} bytes when written out (max_decoded_bytes)")]
    TooMuchText {
        /// Bytes allowed.
        limit: usize,
    },
    /// A label of protocol 2.0 that is not in the table.
    #[error("remote-write label refers to symbol {at}, but there are {symbols}")]
    NoSymbol {
        /// The number found.
        at: u64,
        /// How many texts the table has.
        symbols: usize,
    },
    /// Labels of protocol 2.0 come in pairs.
    #[error("remote-write series has a label name without a value")]
    OddLabels,
}

/// Reads a snappy-compressed `prometheus.WriteRequest`.
///
/// A series whose labels break the rules (no name, a name twice, an empty label name) is refused alone, as Prometheus
/// does; so is a native histogram that breaks its rules. NaN bits are kept exactly.
///
/// # Errors
/// `DecodeError` when the body as a whole is unreadable or over a limit.
pub fn decode(body: &[u8], limits: &Limits) -> Result<Decoded, DecodeError> {
    read(Protocol::One, &snappy_within(body, limits)?, limits, None).map(Decoded::from)
}

/// Reads a snappy-compressed `io.prometheus.write.v2.Request`. The rules are those of [`decode`].
///
/// # Errors
/// `DecodeError` when the body as a whole is unreadable or over a limit.
pub fn decode_v2(body: &[u8], limits: &Limits) -> Result<Decoded, DecodeError> {
    read(Protocol::Two, &snappy_within(body, limits)?, limits, None).map(Decoded::from)
}

/// What a request became.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct RemoteWrite {
    /// To be admitted by [`Intake`](crate::Intake) next.
    pub batch: Prepared,
    /// Refused already; the sender is to be told.
    pub rejected: Vec<Rejection>,
}

impl From<RemoteWrite> for Decoded {
    fn from(write: RemoteWrite) -> Self {
        Self { batch: write.batch.into_batch(), rejected: write.rejected }
    }
}

/// Reads the requests of all senders; shared by all threads.
///
/// Labels that were read before are found by a keyed hash of their bytes, so that the usual request costs little more
/// than its decompression. At most 1,835,008 sets are remembered, and at most 384 MiB of their texts, which the store shares.
#[derive(Debug)]
pub struct RemoteWriteDecoder {
    limits: Limits,
    labels: LabelCache,
    buffers: Buffers,
}

impl RemoteWriteDecoder {
    /// Remembers nothing yet. `seed` keys the hash: any number that senders cannot guess.
    #[must_use]
    pub fn new(limits: Limits, seed: u64) -> Self {
        Self { limits, labels: LabelCache::new(seed, GENERATION), buffers: Buffers::default() }
    }

    /// The limits in force.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Like the function [`decode`].
    ///
    /// # Errors
    /// `DecodeError` when the body as a whole is unreadable or over a limit.
    pub fn decode(&self, body: &[u8]) -> Result<RemoteWrite, DecodeError> {
        self.open(Protocol::One, body)
    }

    /// Like the function [`decode_v2`].
    ///
    /// # Errors
    /// `DecodeError` when the body as a whole is unreadable or over a limit.
    pub fn decode_v2(&self, body: &[u8]) -> Result<RemoteWrite, DecodeError> {
        self.open(Protocol::Two, body)
    }

    fn open(&self, protocol: Protocol, body: &[u8]) -> Result<RemoteWrite, DecodeError> {
        let read = |message: &[u8]| read(protocol, message, &self.limits, Some(&self.labels));
        self.buffers.snappy_within(body, &self.limits, read)?
    }
}

#[derive(Clone, Copy)]
enum Protocol {
    One,
    Two,
}

fn read(
    protocol: Protocol,
    message: &[u8],
    limits: &Limits,
    cache: Option<&LabelCache>,
) -> Result<RemoteWrite, DecodeError> {
    let mut request = Request::new(limits, cache);
    let outcome = match protocol {
        Protocol::One => v1::read(message, &mut request),
        Protocol::Two => v2::read(message, &mut request),
    };
    let (write, learned) = request.finish();
    if let Some(cache) = cache {
        cache.learn(learned);
    }
    outcome.map(|()| write)
}

#[cfg(test)]
mod tests;
