//! Blocks of a Prometheus data directory: index format 1 and 2, chunks of floats, histograms and float histograms,
//! tombstones. Read once from front to back, for moving a history over.
//!
//! The caller opens the files and hands them over as [`Source`]s; nothing here knows a path. What only the write-ahead
//! log of the other server holds is not in a block.
//!
//! Written after the format descriptions in Prometheus' `tsdb/docs/format`.

mod bits;
mod bytes;
mod chunk;
mod histogram;
mod index;
mod tombstones;

use std::io;

use serde::Deserialize;
use signal::{Labels, SeriesWrite, TimeRange, Timestamp};

use bytes::Window;
use chunk::Encoding;
use index::{ChunkPlace, Index};
use tombstones::Tombstones;

/// Bytes that can be read from any place: a file, or a slice in tests.
pub trait Source {
    /// How many there are.
    fn size(&self) -> u64;

    /// Fills `into` with those from `offset` on.
    ///
    /// # Errors
    /// When there are fewer, or the medium refuses.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()>;
}

impl Source for Vec<u8> {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let rest = usize::try_from(offset).ok().and_then(|offset| self.get(offset..));
        let found = rest.and_then(|rest| rest.get(..into.len())).ok_or(io::ErrorKind::UnexpectedEof)?;
        into.copy_from_slice(found);
        Ok(())
    }
}

/// Why a block, or a part of it, cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum BlockError {
    /// The medium refused.
    #[error("cannot read `{file}` at byte {offset}")]
    Io {
        /// Path inside the block.
        file: String,
        /// Where.
        offset: u64,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Some version nobody knew when this was written.
    #[error("`{file}` has format version {found}; this version of Aegis reads up to {known}")]
    Version {
        /// Path inside the block.
        file: String,
        /// What it says.
        found: u64,
        /// The newest that is read.
        known: u64,
    },
    /// The bytes contradict the format or their checksum.
    #[error("`{file}` is damaged at byte {offset}: {reason}")]
    Damaged {
        /// Path inside the block.
        file: String,
        /// Where.
        offset: u64,
        /// What does not hold.
        reason: String,
    },
    /// `meta.json` is not what it should be.
    #[error("`meta.json` cannot be understood: {0}")]
    Meta(String),
}

/// What `meta.json` says about a block.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BlockMeta {
    /// Name, also of its directory.
    pub ulid: String,
    /// Times of its samples, both ends inside.
    pub range: TimeRange,
    /// Samples, by its own account.
    pub samples: u64,
    /// Series, by its own account.
    pub series: u64,
}

impl BlockMeta {
    /// Reads a `meta.json`.
    ///
    /// # Errors
    /// [`BlockError::Meta`] or [`BlockError::Version`].
    pub fn parse(json: &[u8]) -> Result<Self, BlockError> {
        let meta: MetaFile = serde_json::from_slice(json).map_err(|error| BlockError::Meta(error.to_string()))?;
        if meta.version != 1 {
            return Err(BlockError::Version { file: "meta.json".to_owned(), found: meta.version, known: 1 });
        }
        // The other server's end lies outside.
        let range = TimeRange::new(Timestamp(meta.min_time), Timestamp(meta.max_time.saturating_sub(1)));
        Ok(Self { ulid: meta.ulid, range, samples: meta.stats.num_samples, series: meta.stats.num_series })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MetaFile {
    ulid: String,
    min_time: i64,
    max_time: i64,
    #[serde(default)]
    stats: MetaStats,
    version: u64,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct MetaStats {
    num_samples: u64,
    num_series: u64,
}

/// The files of a block.
#[derive(Clone, Debug, Default)]
pub struct BlockFiles<S> {
    /// `meta.json`, whole.
    pub meta: Vec<u8>,
    /// `index`.
    pub index: S,
    /// The files of `chunks/`, in order of name.
    pub chunks: Vec<S>,
    /// `tombstones`, whole, if there is such a file.
    pub tombstones: Option<Vec<u8>>,
}

/// A block whose series are read one after the other, in order of labels.
#[derive(Debug)]
pub struct Block<S> {
    meta: BlockMeta,
    index: Index<S>,
    chunks: Vec<Window<S>>,
    tombstones: Tombstones,
    next: usize,
}

impl<S: Source> Block<S> {
    /// Reads what stands for the block as a whole: symbols, the list of series, tombstones.
    ///
    /// # Errors
    /// [`BlockError`] when one of them cannot be read; nothing can be had from such a block.
    pub fn open(files: BlockFiles<S>) -> Result<Self, BlockError> {
        let meta = BlockMeta::parse(&files.meta)?;
        let index = Index::open(files.index)?;
        let mut chunks = Vec::with_capacity(files.chunks.len());
        for (at, source) in files.chunks.into_iter().enumerate() {
            let mut window = Window::new(format!("chunks/{:06}", at + 1), source);
            chunk::check_header(&mut window)?;
            chunks.push(window);
        }
        let tombstones = files.tombstones.map_or(Ok(Tombstones::default()), |bytes| Tombstones::parse(&bytes))?;
        Ok(Self { meta, index, chunks, tombstones, next: 0 })
    }

    /// What it says about itself.
    #[must_use]
    pub fn meta(&self) -> &BlockMeta {
        &self.meta
    }

    /// How many series it lists.
    #[must_use]
    pub fn series(&self) -> usize {
        self.index.series.len()
    }

    /// The next series with everything of it that is not deleted; `None` at the end.
    ///
    /// # Errors
    /// [`BlockError`] when this one cannot be read. The call after that answers the series behind it.
    pub fn next_series(&mut self) -> Result<Option<SeriesWrite>, BlockError> {
        while let Some(id) = self.index.series.get(self.next).copied() {
            self.next += 1;
            let (labels, places) = self.index.entry(id)?;
            let series = self.read(id, labels, &places)?;
            if !series.samples.is_empty() || !series.histograms.is_empty() {
                return Ok(Some(series));
            }
        }
        Ok(None)
    }

    fn read(&mut self, id: u32, labels: Labels, places: &[ChunkPlace]) -> Result<SeriesWrite, BlockError> {
        let mut series = SeriesWrite { labels, ..SeriesWrite::default() };
        for place in places {
            let Some(window) = self.chunks.get_mut(place.file) else {
                let reason = format!("a series points to chunk file {:06}, which is not there", place.file + 1);
                return Err(self.index.damaged(id, reason));
            };
            let chunk = chunk::read(window, place.offset)?;
            let unpacked = match chunk.encoding {
                Encoding::Float => chunk::floats(chunk.data, &mut series),
                Encoding::Histogram => histogram::integers(chunk.data, &mut series),
                Encoding::FloatHistogram => histogram::floats(chunk.data, &mut series),
            };
            unpacked.map_err(|reason| BlockError::Damaged {
                file: chunk.file.to_owned(),
                offset: place.offset,
                reason: reason.to_owned(),
            })?;
        }
        // A chunk may reach beyond its block; what lies outside is in the next one.
        let deleted = self.tombstones.of(id);
        let range = self.meta.range;
        let is_kept = |at| range.contains(at) && !deleted.iter().any(|gone| gone.contains(at));
        series.samples.retain(|sample| is_kept(sample.at));
        series.histograms.retain(|sample| is_kept(sample.at));
        Ok(series)
    }
}

#[cfg(test)]
mod tests;
