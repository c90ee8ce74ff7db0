//! From the head to blocks.

use std::sync::Arc;

use signal::{TimeRange, Timestamp};

use super::{BlockDir, BlockSet, OpenBlock};
use crate::block::{BlockSeries, BlockWriter};
use crate::block_file::{BlockError, BlockOrigin, WriteBlockError};
use crate::errors::FlushError;
use crate::head::metrics::{MetricsHead, SeriesHead};
use crate::head::{Extent, SegmentId};

/// Blocks do not reach over the edge of a day, so that retention and merging stay simple.
pub(super) const DAY: i64 = 24 * 3_600_000;
/// Blocks one flush makes at most; days are joined when there would be more.
const BLOCKS: i64 = 64;

impl BlockDir {
    /// Writes a head that no longer changes to blocks, which then count. `floor` and `sequence` say what of the
    /// write-ahead log that covers.
    pub(crate) fn write(
        &mut self,
        head: &MetricsHead,
        floor: SegmentId,
        sequence: u64,
    ) -> Result<BlockSet, FlushError> {
        let mut series: Vec<&SeriesHead> = head.iter().filter(|series| series.count() > 0).collect();
        series.sort_by(|a, b| a.labels.cmp(&b.labels));
        let mut blocks = self.set.blocks.to_vec();
        let mut next = self.manifest.next;
        for window in windows(&series) {
            if let Some(block) = self.write_window(&series, window, next)? {
                blocks.push(Arc::new(block));
                next += 1;
            }
        }
        self.commit(blocks, |manifest| {
            manifest.next = next;
            manifest.floor = floor.0;
            manifest.sequence = sequence;
        })
    }

    fn write_window(
        &self,
        series: &[&SeriesHead],
        window: TimeRange,
        number: u64,
    ) -> Result<Option<OpenBlock>, FlushError> {
        let file = self.file(number);
        let mut writer: Option<BlockWriter> = None;
        let mut one = BlockSeries::default();
        for series in series {
            one.samples.clear();
            one.histograms.clear();
            series.read(window, &mut one.samples, &mut one.histograms);
            if one.samples.is_empty() && one.histograms.is_empty() {
                continue;
            }
            one.labels = series.labels.clone();
            let writer = match &mut writer {
                Some(writer) => writer,
                None => {
                    let origin = BlockOrigin { level: 0, sources: vec![number] };
                    writer.insert(BlockWriter::create(Arc::clone(&self.disk), &file, origin)?)
                }
            };
            writer.push(&one)?;
        }
        let Some(writer) = writer else { return Ok(None) };
        writer.finish()?;
        self.reopen(number).map(Some)
    }

    /// Opens a block that was just written.
    pub(super) fn reopen(&self, number: u64) -> Result<OpenBlock, FlushError> {
        let file = self.file(number);
        Ok(OpenBlock::open(number, file, &self.disk, &self.cache)?)
    }
}

/// The days that have samples, or longer spans when those are too many.
fn windows(series: &[&SeriesHead]) -> Vec<TimeRange> {
    let extents = series.iter().filter_map(|series| series.extent());
    let Some(extent) = extents.reduce(Extent::and) else { return Vec::new() };
    let (oldest, newest) = (extent.oldest.0, extent.newest.0);
    let mut width = DAY;
    while newest.div_euclid(width).saturating_sub(oldest.div_euclid(width)) >= BLOCKS {
        width = width.saturating_mul(2);
    }
    let numbers = oldest.div_euclid(width)..=newest.div_euclid(width);
    let window = |number: i64| {
        let start = number.saturating_mul(width);
        TimeRange::new(Timestamp(start), Timestamp(start.saturating_add(width - 1)))
    };
    numbers.map(window).collect()
}

impl From<BlockError> for FlushError {
    fn from(error: BlockError) -> Self {
        match error {
            BlockError::Damaged { file, offset, what } => Self::Damage { file, offset, reason: what },
            BlockError::Io { file, source } => Self::Io { file, source },
            BlockError::Version { .. } => Self::Refused { reason: error.to_string() },
        }
    }
}

impl From<WriteBlockError> for FlushError {
    fn from(error: WriteBlockError) -> Self {
        match error {
            WriteBlockError::Io { file, source } => Self::Io { file, source },
            other => Self::Refused { reason: other.to_string() },
        }
    }
}
