//! What can go wrong, and what a write answers.

use std::io;
use std::path::PathBuf;

use signal::Timestamp;

/// Why a data directory could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process holds the directory.
    #[error("data directory `{dir}` is in use by another process")]
    InUse {
        /// The directory.
        dir: PathBuf,
    },
    /// A segment was written by a newer Aegis.
    #[error("`{file}` has format version {found}; this version of Aegis reads up to {known}")]
    Version {
        /// The segment.
        file: PathBuf,
        /// Version in the file.
        found: u16,
        /// Newest version this build reads.
        known: u16,
    },
    /// The file system refused.
    #[error("cannot {action} `{path}`")]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// Why a write was refused. Nothing of it was kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// No space left; writes work again when there is.
    #[error("no space left on disk for `{file}`")]
    DiskFull {
        /// The segment that could not grow.
        file: PathBuf,
    },
    /// One write is too large.
    #[error("the write takes {bytes} bytes; the limit is {limit}")]
    TooLarge {
        /// What it would take on disk.
        bytes: u64,
        /// What is allowed.
        limit: u64,
    },
    /// An attribute of a span is a list of lists, or a map of maps, beyond reason.
    #[error("an attribute of span `{span}` is nested more than {limit} deep")]
    TooDeep {
        /// Name of the span.
        span: String,
        /// What is allowed.
        limit: usize,
    },
    /// An earlier failure left a file in doubt; reads go on.
    #[error("writes are stopped until a restart: {reason}")]
    Stopped {
        /// What happened then.
        reason: String,
    },
    /// The file system refused.
    #[error("cannot write `{file}`")]
    Io {
        /// The segment.
        file: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// Why old data could not be dropped. What was dropped before stays dropped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RetainError {
    /// The file system refused.
    #[error("cannot remove `{file}`")]
    Io {
        /// The segment.
        file: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// What became of a write.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Receipt {
    /// Samples kept.
    pub samples: u64,
    /// Exemplars kept.
    pub exemplars: u64,
    /// Lines kept.
    pub lines: u64,
    /// Spans kept.
    pub spans: u64,
    /// Samples that were there already with the same value; accepted, not kept twice.
    pub duplicates: u64,
    /// Samples refused because their instant has another value already; the first one stays.
    pub rejected: u64,
    /// The first [`Receipt::EXAMPLES`] refused samples.
    pub conflicts: Vec<Conflict>,
}

impl Receipt {
    /// Most refused samples that are named.
    pub const EXAMPLES: usize = 10;
}

/// A sample refused because its instant has another value already.
#[derive(Clone, PartialEq, Debug)]
pub struct Conflict {
    /// Position of the batch in the call.
    pub batch: usize,
    /// The series, as text.
    pub series: String,
    /// The instant.
    pub at: Timestamp,
    /// The value that stays.
    pub kept: f64,
    /// The value refused.
    pub refused: f64,
}

/// What retention dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Retained {
    /// Segments removed.
    pub segments: u64,
    /// Bytes on disk given back.
    pub bytes: u64,
}
