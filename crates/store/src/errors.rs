//! What can go wrong, and what a write answers.

use std::io;
use std::ops::AddAssign;
use std::path::PathBuf;

use signal::{SeriesWrite, Timestamp, WriteBatch};

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
    /// What the write-ahead log held beyond memory could not be moved to blocks.
    #[error("cannot move what the log holds to blocks")]
    Flush(#[source] FlushError),
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

/// Why the head could not be moved to blocks, or blocks could not be replaced. Nothing is lost: what was there is served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FlushError {
    /// The file system refused.
    #[error("cannot write `{file}`")]
    Io {
        /// The block, or the manifest.
        file: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A block cannot be read.
    #[error("`{file}` is damaged at byte {offset}: {reason}")]
    Damage {
        /// The block.
        file: PathBuf,
        /// Where.
        offset: u64,
        /// What is wrong there.
        reason: &'static str,
    },
    /// The data does not fit a block.
    #[error("{reason}")]
    Refused {
        /// Why not.
        reason: String,
    },
    /// The write-ahead log cannot be continued.
    #[error("cannot begin a new segment")]
    Append(#[from] AppendError),
    /// Old segments cannot be removed.
    #[error("cannot remove `{file}`")]
    Remove {
        /// The segment.
        file: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

impl From<RetainError> for FlushError {
    fn from(error: RetainError) -> Self {
        match error {
            RetainError::Io { file, source } => Self::Remove { file, source },
            RetainError::Blocks(error) => error,
        }
    }
}

/// Why old data could not be dropped. What was dropped before stays dropped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RetainError {
    /// The blocks of metrics stay as they are.
    #[error("cannot drop blocks")]
    Blocks(#[source] FlushError),
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
    /// Native histograms kept.
    pub histograms: u64,
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
    /// What was refused for that, by batch.
    pub conflicts: Vec<Conflict>,
    /// Samples and exemplars refused because their series would be one too many.
    pub over_limit: u64,
    /// What was refused for that, by batch.
    pub refused: Vec<OverLimit>,
}

/// How much of each kind of metrics.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Amounts {
    /// Numbers.
    pub samples: u64,
    /// Native histograms.
    pub histograms: u64,
    /// Links to traces.
    pub exemplars: u64,
}

impl Amounts {
    /// All kinds together.
    #[must_use]
    pub fn total(self) -> u64 {
        self.samples.saturating_add(self.histograms).saturating_add(self.exemplars)
    }

    /// What remains without `other`; never less than nothing.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self {
            samples: self.samples.saturating_sub(other.samples),
            histograms: self.histograms.saturating_sub(other.histograms),
            exemplars: self.exemplars.saturating_sub(other.exemplars),
        }
    }
}

impl AddAssign for Amounts {
    fn add_assign(&mut self, other: Self) {
        self.samples = self.samples.saturating_add(other.samples);
        self.histograms = self.histograms.saturating_add(other.histograms);
        self.exemplars = self.exemplars.saturating_add(other.exemplars);
    }
}

impl From<&SeriesWrite> for Amounts {
    fn from(series: &SeriesWrite) -> Self {
        Self {
            samples: series.samples.len() as u64,
            histograms: series.histograms.len() as u64,
            exemplars: series.exemplars.len() as u64,
        }
    }
}

impl From<&WriteBatch> for Amounts {
    fn from(batch: &WriteBatch) -> Self {
        batch.series.iter().map(Self::from).fold(Self::default(), |mut sum, amounts| {
            sum += amounts;
            sum
        })
    }
}

/// What of one batch was refused because there would be too many series.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OverLimit {
    /// Position of the batch in the call.
    pub batch: usize,
    /// How much.
    pub amounts: Amounts,
    /// The first series, as text.
    pub series: String,
    /// [`StoreSettings::max_series`](crate::StoreSettings::max_series).
    pub limit: u32,
}

/// What of one batch was refused because its instants have other values already.
#[derive(Clone, PartialEq, Debug)]
pub struct Conflict {
    /// Position of the batch in the call.
    pub batch: usize,
    /// How much; never exemplars.
    pub amounts: Amounts,
    /// The series of the first one, as text.
    pub series: String,
    /// Its instant.
    pub at: Timestamp,
    /// The value that stays; of a histogram its sum.
    pub kept: f64,
    /// The value refused; of a histogram its sum.
    pub refused: f64,
}

/// What retention dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Retained {
    /// Segments and blocks removed.
    pub segments: u64,
    /// Bytes on disk given back.
    pub bytes: u64,
}

impl Retained {
    pub(crate) fn add(&mut self, (count, bytes): (u64, u64)) {
        self.segments += count;
        self.bytes += bytes;
    }
}
