//! How much the store holds and how it is.

use std::path::PathBuf;

use signal::Timestamp;

/// The state of a store.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct StoreStatus {
    /// Series and samples.
    pub metrics: SignalStatus,
    /// Streams and lines.
    pub logs: SignalStatus,
    /// Traces and spans.
    pub traces: SignalStatus,
    /// Data that could not be read, when the store was opened or since.
    pub problems: Vec<Problem>,
    /// Why writes are stopped, when they are.
    pub stopped: Option<String>,
}

/// The state of one signal.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SignalStatus {
    /// Series, streams or traces.
    pub identities: u64,
    /// Samples, lines or spans.
    pub items: u64,
    /// Segments on disk.
    pub segments: u64,
    /// Blocks on disk.
    pub blocks: u64,
    /// Bytes on disk.
    pub disk_bytes: u64,
    /// Bytes of unfinished writes cut off when the store was opened.
    pub dropped_bytes: u64,
    /// The oldest item; `None` when there is none.
    pub oldest: Option<Timestamp>,
    /// The newest item; `None` when there is none.
    pub newest: Option<Timestamp>,
}

/// A part of a segment that could not be read. The rest is served; the file is left as it is until retention drops it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// The segment.
    pub file: PathBuf,
    /// Where in it, in bytes from the start; everything after is not served.
    pub offset: u64,
    /// What is wrong there.
    pub reason: String,
}
