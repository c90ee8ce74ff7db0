//! Fewer, larger blocks out of many small ones.

use std::collections::BTreeMap;
use std::sync::Arc;

use signal::{Labels, TimeRange, Timestamp};

use super::write::DAY;
use super::{BlockDir, BlockSet, OpenBlock};
use crate::block::{Block, BlockWriter, MergeError, merge};
use crate::block_file::{BlockError, BlockOrigin};
use crate::errors::FlushError;

/// Blocks of about one size that are worth merging.
const ENOUGH: usize = 4;
/// A block this many times larger than the smaller ones together is left out.
const MUCH_LARGER: u64 = 4;
/// Most bytes of blocks that are merged at once.
const MOST_BYTES: u64 = 4 << 30;

impl BlockDir {
    /// Rewrites a block of which something was deleted, or merges some blocks of one day; `None` when there is nothing to
    /// do.
    pub(crate) fn compact(&mut self, now: Timestamp) -> Result<Option<BlockSet>, FlushError> {
        let touched = || self.set.blocks.iter().position(|block| self.is_touched(block));
        // Deletions first: a block that holds what was deleted must not be merged with one that came later.
        let places = touched().map(|place| vec![place]).or_else(|| self.worth_merging(now));
        places.map(|places| self.merge(&places)).transpose()
    }

    /// Rewrites every block of which something was deleted.
    pub(crate) fn clean(&mut self) -> Result<BlockSet, FlushError> {
        while let Some(place) = self.set.blocks.iter().position(|block| self.is_touched(block)) {
            self.merge(&[place])?;
        }
        Ok(self.set.clone())
    }

    fn is_touched(&self, block: &OpenBlock) -> bool {
        block.damage().is_none() && self.set.deletions.iter().any(|deletion| deletion.touches(block))
    }

    /// Places of blocks of one day: the newest of about one size when there are enough, or all when the day is over.
    fn worth_merging(&self, now: Timestamp) -> Option<Vec<usize>> {
        let bytes = |place: &usize| self.set.blocks.get(*place).map_or(0, |block| block.block.bytes());
        self.runs().into_iter().find_map(|(day, run)| {
            let is_over = day.saturating_add(2).saturating_mul(DAY) < now.0;
            let mut chosen: Vec<usize> = Vec::new();
            let mut sum = 0_u64;
            for place in run.into_iter().rev() {
                let size = bytes(&place);
                let is_much = !is_over && !chosen.is_empty() && size > sum.saturating_mul(MUCH_LARGER);
                if is_much || sum.saturating_add(size) > MOST_BYTES {
                    break;
                }
                chosen.push(place);
                sum += size;
            }
            chosen.sort_unstable();
            (chosen.len() >= ENOUGH || (is_over && chosen.len() > 1)).then_some(chosen)
        })
    }

    /// Places of blocks inside one day that have nothing of that day between them. Of two values of an instant the one
    /// that arrived first counts, so that the order of arrival must be kept where blocks overlap.
    fn runs(&self) -> Vec<(i64, Vec<usize>)> {
        let mut days: BTreeMap<i64, Vec<Vec<usize>>> = BTreeMap::new();
        for (place, block) in self.set.blocks.iter().enumerate() {
            let (first, last) = (block.range().start.0.div_euclid(DAY), block.range().end.0.div_euclid(DAY));
            if first == last && block.damage().is_none() {
                let runs = days.entry(first).or_insert_with(|| vec![Vec::new()]);
                runs.last_mut().into_iter().for_each(|run| run.push(place));
            } else if first <= last {
                days.range_mut(first..=last).for_each(|(_, runs)| runs.push(Vec::new()));
            }
        }
        days.into_iter().flat_map(|(day, runs)| runs.into_iter().map(move |run| (day, run))).collect()
    }

    /// Puts one block in the place of several.
    fn merge(&mut self, places: &[usize]) -> Result<BlockSet, FlushError> {
        let mut blocks = self.set.blocks.to_vec();
        let chosen: Vec<Arc<OpenBlock>> = places.iter().filter_map(|place| blocks.get(*place).cloned()).collect();
        let number = self.manifest.next;
        let level = chosen.iter().map(|block| block.block.meta().level).max().unwrap_or(0) + 1;
        let sources = chosen.iter().map(|block| block.number).collect();
        let mut writer =
            BlockWriter::create(Arc::clone(&self.disk), &self.file(number), BlockOrigin { level, sources })?;
        // The first value of an instant counts, and `merge` lets the last one win.
        let parts: Vec<Arc<Block>> = chosen.iter().rev().map(|block| Arc::clone(&block.block)).collect();
        let below = chosen.iter().map(|block| block.number).max().unwrap_or(0);
        let set = &self.set;
        let deleted = |labels: &Labels| -> Vec<TimeRange> {
            set.deleted(labels).into_iter().filter(|(end, _)| *end > below).map(|(_, range)| range).collect()
        };
        let merged = merge(&parts, &deleted, &mut writer).map_err(|error| match error {
            MergeError::Read(error) => {
                // A damaged block is noted, so that it is not chosen again.
                chosen.iter().filter(|block| is_in(&error, block)).for_each(|block| block.note(&error));
                FlushError::from(error)
            }
            MergeError::Write(error) => FlushError::from(error),
        });
        merged?;
        let meta = writer.finish()?;
        let first = places.iter().copied().min().unwrap_or(0);
        let replaced: Vec<u64> = chosen.iter().map(|block| block.number).collect();
        let merged = (meta.series > 0).then(|| self.reopen(number)).transpose()?;
        if let (Some(merged), Some(slot)) = (merged, blocks.get_mut(first)) {
            *slot = Arc::new(merged);
        }
        blocks.retain(|block| !replaced.contains(&block.number));
        self.commit(blocks, |manifest| manifest.next = number + 1)
    }
}

fn is_in(error: &BlockError, block: &OpenBlock) -> bool {
    match error {
        BlockError::Damaged { file, .. } | BlockError::Version { file, .. } | BlockError::Io { file, .. } => {
            *file == block.file
        }
    }
}
