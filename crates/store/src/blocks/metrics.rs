//! Blocks of metrics in their directory.

use std::path::Path;
use std::sync::Arc;

use signal::{HistogramSample, Labels, Matcher, Sample, TimeRange};

use super::days::windows;
use super::{BlockDir, BlockFile, BlockSet, MergeJob, OpenBlock};
use crate::block::{Block, BlockSeries, BlockWriter, MergeError, PageCache, merge};
use crate::block_file::{BlockError, BlockOrigin};
use crate::deletion::Deletion;
use crate::disk::Disk;
use crate::errors::FlushError;
use crate::head::metrics::{MetricsHead, SeriesHead};
use crate::head::{Extent, SegmentId};
use crate::manifest::Listed;
use crate::retention::Floors;
use crate::snapshot::Latest;

impl BlockFile for Block {
    fn open(disk: &Arc<dyn Disk>, file: &Path, cache: &Arc<PageCache>) -> Result<Self, BlockError> {
        Self::open(&**disk, file, cache)
    }

    fn range(&self) -> TimeRange {
        self.meta().range
    }

    fn bytes(&self) -> u64 {
        self.bytes()
    }

    fn level(&self) -> u32 {
        self.meta().level
    }

    /// To look would mean to read.
    fn may_have(&self, _: &Deletion) -> bool {
        true
    }

    /// Metrics go in whole blocks only.
    fn has_expired(&self, _: &Floors) -> bool {
        false
    }

    fn merge(job: &MergeJob<'_, Self>) -> Result<bool, MergeError> {
        let mut writer = BlockWriter::create(Arc::clone(job.disk), job.file, job.origin.clone())?;
        // The first value of an instant counts, and `merge` lets the last one win.
        let parts: Vec<Arc<Self>> = job.parts.iter().rev().map(|part| Arc::clone(&part.block)).collect();
        let deleted = |labels: &Labels| -> Vec<TimeRange> {
            job.deletions.iter().filter(|deletion| deletion.concerns(labels)).map(|deletion| deletion.range).collect()
        };
        merge(&parts, &deleted, &mut writer)?;
        let is_left = writer.finish()?.series > 0;
        if !is_left {
            // What stays behind is not in the manifest, and the next start removes it.
            let _ = job.disk.remove(job.file);
        }
        Ok(is_left)
    }
}

impl OpenBlock<Block> {
    /// What the matchers allow; nothing from an index that is damaged, which is noted.
    pub(crate) fn select(&self, matchers: &[Matcher]) -> Vec<u32> {
        self.or_note(self.block.select(matchers))
    }

    /// The labels of series, in the order of the numbers.
    pub(crate) fn labels(&self, ids: &[u32]) -> Vec<Labels> {
        self.or_note(self.block.labels(ids))
    }

    /// What can be read; damage is noted.
    pub(crate) fn read(
        &self,
        id: u32,
        range: TimeRange,
        samples: &mut Vec<Sample>,
        histograms: &mut Vec<HistogramSample>,
    ) {
        self.or_note(self.block.read(id, range, samples, histograms));
    }

    /// The newest in `range`; damage is noted.
    pub(crate) fn latest(&self, id: u32, range: TimeRange) -> Option<Latest> {
        self.or_note(self.block.latest(id, range))
    }

    /// The names of labels on series with something in `range`, of those that are wanted; damage is noted.
    pub(crate) fn label_names(&self, range: TimeRange, is_wanted: impl Fn(&str) -> bool) -> Vec<String> {
        self.or_note(self.block.label_names(range, is_wanted))
    }

    /// The values of a label on series with something in `range`; damage is noted.
    pub(crate) fn label_values(&self, name: &str, range: TimeRange) -> Vec<String> {
        self.or_note(self.block.label_values(name, range))
    }

    pub(crate) fn has_any(&self, id: u32, range: TimeRange) -> bool {
        self.or_note(self.block.has_samples(id, range))
    }
}

impl BlockSet<Block> {
    /// What was asked to be forgotten of a series, each with the number of the first arrival it does not concern.
    pub(crate) fn deleted(&self, labels: &Labels) -> Vec<(u64, TimeRange)> {
        let concerns = |deletion: &&Deletion| deletion.concerns(labels);
        self.deletions.iter().filter(concerns).map(|deletion| (deletion.below, deletion.range)).collect()
    }
}

impl BlockDir<Block> {
    /// Writes a head that no longer changes to blocks, which then count. `floor` and `sequence` say what of the
    /// write-ahead log that covers.
    pub(crate) fn write(
        &mut self,
        head: &MetricsHead,
        floor: SegmentId,
        sequence: u64,
    ) -> Result<BlockSet<Block>, FlushError> {
        let mut series: Vec<&SeriesHead> = head.iter().filter(|series| series.count() > 0).collect();
        series.sort_by(|a, b| a.labels.cmp(&b.labels));
        let mut blocks = self.set.blocks.to_vec();
        let mut next = self.manifest.next;
        let extents = series.iter().filter_map(|series| series.extent());
        for window in windows(extents.reduce(Extent::and)) {
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
    ) -> Result<Option<OpenBlock<Block>>, FlushError> {
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
        self.reopen(Listed::new(number)).map(Some)
    }

    /// Forgets what the matchers allow in `range`, in every block there is now.
    pub(crate) fn delete(&mut self, matchers: Vec<Matcher>, range: TimeRange) -> Result<BlockSet<Block>, FlushError> {
        let blocks = self.set.blocks.to_vec();
        self.commit(blocks, |manifest| {
            manifest.deletions.push(Deletion { matchers, range, below: manifest.next, lines: None });
        })
    }
}
