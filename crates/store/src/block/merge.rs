//! Makes one block of several.

use std::sync::Arc;

use signal::{HistogramSample, Labels, Sample, TimeRange};

use super::pages::{Keeping, Pages};
use super::reader::{Block, Texts};
use super::writer::{BlockSeries, BlockWriter};
use crate::block_file::{BlockError, WriteBlockError};

/// Why blocks could not be merged.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MergeError {
    /// One of them cannot be read.
    #[error(transparent)]
    Read(#[from] BlockError),
    /// The new one cannot be written.
    #[error(transparent)]
    Write(#[from] WriteBlockError),
}

/// Adds everything in `blocks` to `out`, series by series; what `deleted` answers for a series is left out. Blocks may
/// overlap: of several samples at one instant that of the last block stays.
pub(crate) fn merge(
    blocks: &[Arc<Block>],
    deleted: &dyn Fn(&Labels) -> Vec<TimeRange>,
    out: &mut BlockWriter,
) -> Result<(), MergeError> {
    let mut cursors = blocks.iter().map(|block| Cursor::new(block)).collect::<Result<Vec<_>, _>>()?;
    let mut series = BlockSeries::default();
    let mut newer = BlockSeries::default();
    while let Some(labels) = cursors.iter().filter_map(Cursor::labels).min().cloned() {
        series.samples.clear();
        series.histograms.clear();
        for cursor in &mut cursors {
            if cursor.labels() != Some(&labels) {
                continue;
            }
            newer.samples.clear();
            newer.histograms.clear();
            cursor.samples.read(cursor.series, TimeRange::all(), &mut newer.samples, &mut newer.histograms)?;
            cursor.advance()?;
            overlay(&mut series, &mut newer);
        }
        for range in deleted(&labels) {
            series.samples.retain(|sample| !range.contains(sample.at));
            series.histograms.retain(|sample| !range.contains(sample.at));
        }
        series.labels = labels;
        out.push(&series)?;
    }
    Ok(())
}

/// Where a block is being read.
struct Cursor<'a> {
    /// For labels and for samples, so that each goes straight on.
    labels: Pages<'a>,
    samples: Pages<'a>,
    series: u32,
    next: Option<Labels>,
    texts: Texts,
}

impl<'a> Cursor<'a> {
    fn new(block: &'a Block) -> Result<Self, BlockError> {
        let pages = || Pages::new(block, Keeping::Shared);
        let mut cursor = Self { labels: pages(), samples: pages(), series: 0, next: None, texts: Texts::default() };
        cursor.look()?;
        Ok(cursor)
    }

    fn labels(&self) -> Option<&Labels> {
        self.next.as_ref()
    }

    fn advance(&mut self) -> Result<(), BlockError> {
        self.series += 1;
        self.look()
    }

    fn look(&mut self) -> Result<(), BlockError> {
        let is_there = u64::from(self.series) < self.labels.block().meta().series;
        self.next = if is_there { Some(self.labels.put_together(self.series, &mut self.texts)?) } else { None };
        Ok(())
    }
}

/// Puts what is newer over what is there.
fn overlay(series: &mut BlockSeries, newer: &mut BlockSeries) {
    let ends = [series.samples.last().map(|sample| sample.at), series.histograms.last().map(|sample| sample.at)];
    let begins = [newer.samples.first().map(|sample| sample.at), newer.histograms.first().map(|sample| sample.at)];
    let end = ends.into_iter().flatten().max();
    let begin = begins.into_iter().flatten().min();
    let (Some(end), Some(begin)) = (end, begin) else {
        series.samples.append(&mut newer.samples);
        series.histograms.append(&mut newer.histograms);
        return;
    };
    if end >= begin {
        let has = |at| {
            newer.samples.binary_search_by_key(&at, |sample: &Sample| sample.at).is_ok()
                || newer.histograms.binary_search_by_key(&at, |sample: &HistogramSample| sample.at).is_ok()
        };
        series.samples.retain(|sample| !has(sample.at));
        series.histograms.retain(|sample| !has(sample.at));
    }
    series.samples.append(&mut newer.samples);
    series.histograms.append(&mut newer.histograms);
    if end >= begin {
        series.samples.sort_by_key(|sample| sample.at);
        series.histograms.sort_by_key(|sample| sample.at);
    }
}
