//! Fewer, larger blocks out of many small ones.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use signal::Timestamp;

use super::days::DAY;
use super::{BlockDir, BlockFile, BlockSet, MergeJob, OpenBlock};
use crate::block::MergeError;
use crate::block_file::{BlockError, BlockOrigin, WriteBlockError};
use crate::deletion::Deletion;
use crate::errors::FlushError;
use crate::manifest::Listed;

/// Blocks of about one size that are worth merging.
const ENOUGH: usize = 4;
/// A block this many times larger than the smaller ones together is left out.
const MUCH_LARGER: u64 = 4;
/// Most bytes of blocks that are merged at once.
const MOST_BYTES: u64 = 4 << 30;

impl<B: BlockFile> BlockDir<B> {
    /// Rewrites a block of which something was deleted or has expired, or merges some blocks of one day; `None` when there
    /// is nothing to do. Deletions of lines wait for `delay`, in which they can be cancelled.
    pub(crate) fn compact(&mut self, now: Timestamp, delay: Duration) -> Result<Option<BlockSet<B>>, FlushError> {
        let due = self.due(now, delay);
        let stale = || self.set.blocks.iter().position(|block| self.is_stale(block, due));
        // Deletions first: a block that holds what was deleted must not be merged with one that came later.
        let places = stale().map(|place| vec![place]).or_else(|| self.worth_merging(now));
        places.map(|places| self.merge(&places, due)).transpose()
    }

    /// Rewrites every block of which something was deleted or has expired.
    pub(crate) fn clean(&mut self) -> Result<BlockSet<B>, FlushError> {
        while let Some(place) = self.set.blocks.iter().position(|block| self.is_stale(block, u64::MAX)) {
            self.merge(&[place], u64::MAX)?;
        }
        Ok(self.set.clone())
    }

    /// Deletions that hold below up to this number are carried out: those that have waited, and those asked for before
    /// them, because a block can only tell up to which one that has been done.
    fn due(&self, now: Timestamp, delay: Duration) -> u64 {
        let has_waited =
            |deletion: &&Deletion| deletion.lines.as_ref().is_none_or(|lines| now.since(lines.asked) >= delay);
        self.set.deletions.iter().filter(has_waited).map(|deletion| deletion.below).max().unwrap_or(0)
    }

    fn is_stale(&self, block: &OpenBlock<B>, due: u64) -> bool {
        let is_touched = |deletion: &Deletion| deletion.below <= due && block.is_touched(deletion);
        let is_touched = || self.set.deletions.iter().any(is_touched);
        block.damage().is_none() && (self.expired.contains(&block.number) || is_touched())
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
        let mut before: BTreeMap<i64, &OpenBlock<B>> = BTreeMap::new();
        for (place, block) in self.set.blocks.iter().enumerate() {
            let (first, last) = (block.range().start.0.div_euclid(DAY), block.range().end.0.div_euclid(DAY));
            if first == last && block.damage().is_none() {
                let runs = days.entry(first).or_insert_with(|| vec![Vec::new()]);
                if before.insert(first, block).is_some_and(|before| self.is_apart(before, block)) {
                    runs.push(Vec::new());
                }
                runs.last_mut().into_iter().for_each(|run| run.push(place));
            } else if first <= last {
                days.range_mut(first..=last).for_each(|(_, runs)| runs.push(Vec::new()));
            }
        }
        days.into_iter().flat_map(|(day, runs)| runs.into_iter().map(move |run| (day, run))).collect()
    }

    /// Whether something was deleted of only one of the two.
    fn is_apart(&self, one: &OpenBlock<B>, other: &OpenBlock<B>) -> bool {
        self.set.deletions.iter().any(|deletion| {
            let is_touched = one.is_touched(deletion) || other.is_touched(deletion);
            is_touched && (deletion.below > one.arrived) != (deletion.below > other.arrived)
        })
    }

    /// Puts one block in the place of several, without what was deleted, as far as that is `due`.
    fn merge(&mut self, places: &[usize], due: u64) -> Result<BlockSet<B>, FlushError> {
        let mut blocks = self.set.blocks.to_vec();
        let chosen: Vec<Arc<OpenBlock<B>>> = places.iter().filter_map(|place| blocks.get(*place).cloned()).collect();
        let number = self.manifest.next;
        let arrived = chosen.iter().map(|block| block.arrived).max().unwrap_or(0);
        let set = self.set.clone();
        let is_meant = |deletion: &&Deletion| deletion.below > arrived && deletion.below <= due;
        let deletions: Vec<&Deletion> = set.deletions.iter().filter(is_meant).collect();
        let job = MergeJob {
            disk: &self.disk,
            file: &self.file(number),
            origin: BlockOrigin {
                level: chosen.iter().map(|block| block.block.level()).max().unwrap_or(0) + 1,
                sources: chosen.iter().map(|block| block.number).collect(),
            },
            parts: &chosen,
            deletions: &deletions,
            floors: &set.floors,
        };
        let is_left = B::merge(&job).map_err(|error| match error {
            MergeError::Read(error) => {
                // A damaged block is noted, so that it is not chosen again.
                chosen.iter().filter(|block| is_in(&error, &block.file)).for_each(|block| block.note(&error));
                FlushError::from(error)
            }
            MergeError::Write(error) => FlushError::from(error),
        })?;
        // What has been carried out no longer concerns the new block, as if it had arrived since.
        let arrived = deletions.iter().map(|deletion| deletion.below).fold(arrived, u64::max);
        let merged = is_left.then(|| self.reopen(Listed { number, arrived })).transpose()?;
        let first = places.iter().copied().min().unwrap_or(0);
        let replaced: Vec<u64> = chosen.iter().map(|block| block.number).collect();
        if let (Some(merged), Some(slot)) = (merged, blocks.get_mut(first)) {
            *slot = Arc::new(merged);
        }
        blocks.retain(|block| !replaced.contains(&block.number));
        self.commit(blocks, |manifest| manifest.next = number + 1)
    }
}

fn is_in(error: &BlockError, block: &Path) -> bool {
    match error {
        BlockError::Damaged { file, .. } | BlockError::Version { file, .. } | BlockError::Io { file, .. } => {
            *file == *block
        }
    }
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
