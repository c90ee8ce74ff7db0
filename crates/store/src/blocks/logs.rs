//! Blocks of lines in their directory.

mod filling;
mod merge;

use std::path::Path;
use std::sync::Arc;

use signal::{Nanos, TimeRange, Timestamp};

use super::days::windows;
use super::{BlockDir, BlockFile, BlockSet, MergeJob, OpenBlock};
use crate::block::{MergeError, PageCache};
use crate::block_file::{BlockError, BlockOrigin};
use crate::deletion::{DeletedLines, Deletion};
use crate::disk::Disk;
use crate::errors::FlushError;
use crate::head::logs::{LogsHead, SEAL_LINES, StreamHead, in_order};
use crate::head::{Extent, SegmentId};
use crate::log_block::LogBlock;
use crate::manifest::Listed;
use crate::retention::Floors;
use crate::rows::RowGroup;
use crate::store::LineSelection;
use filling::Filling;
pub(crate) use merge::unreadable;

impl BlockFile for LogBlock {
    fn open(disk: &Arc<dyn Disk>, file: &Path, cache: &Arc<PageCache>) -> Result<Self, BlockError> {
        Self::open(&**disk, file, cache)
    }

    fn range(&self) -> TimeRange {
        let (first, last) = self.meta().range.unwrap_or((Nanos(1_000_000), Nanos(0)));
        TimeRange::new(first.to_timestamp(), last.to_timestamp())
    }

    fn bytes(&self) -> u64 {
        self.bytes()
    }

    fn level(&self) -> u32 {
        self.meta().level
    }

    fn may_have(&self, deletion: &Deletion) -> bool {
        self.select(&deletion.matchers).next().is_some()
    }

    /// Streams of one rule leave a block together, so that it is written anew once for each rule at most.
    fn has_expired(&self, floors: &Floors) -> bool {
        let Some((_, last)) = self.meta().range else { return false };
        last < floors.highest() && self.streams().any(|(labels, _)| last < floors.of(labels))
    }

    fn merge(job: &MergeJob<'_, Self>) -> Result<bool, MergeError> {
        merge::merge(job)
    }
}

impl OpenBlock<LogBlock> {
    /// A row group; nothing when it is damaged, which is noted.
    pub(crate) fn group(&self, number: u32) -> Option<Arc<RowGroup>> {
        self.or_note(self.block.group(number).map(Some))
    }
}

impl BlockDir<LogBlock> {
    /// Writes a head that no longer changes to blocks, which then count. `floor` and `sequence` say what of the
    /// write-ahead log that covers.
    pub(crate) fn write(
        &mut self,
        head: &LogsHead,
        floor: SegmentId,
        sequence: u64,
    ) -> Result<BlockSet<LogBlock>, FlushError> {
        let mut streams: Vec<_> = head.streams.iter().collect();
        streams.sort_by(|a, b| a.0.cmp(&b.0));
        let extent = streams.iter().filter_map(|(_, stream)| stream.extent()).reduce(Extent::and);
        let mut blocks = self.set.blocks.to_vec();
        let mut next = self.manifest.next;
        for window in windows(extent) {
            let origin = BlockOrigin { level: 0, sources: vec![next] };
            let mut filling = Filling::new(&self.disk, &self.file(next), origin);
            for (labels, stream) in &streams {
                filling.begin(labels);
                fill(&mut filling, stream, window)?;
            }
            if filling.finish()? {
                blocks.push(Arc::new(self.reopen(Listed::new(next))?));
                next += 1;
            }
        }
        self.commit(blocks, |manifest| {
            manifest.next = next;
            manifest.floor = floor.0;
            manifest.sequence = sequence;
        })
    }

    /// Forgets lines in every block there is now; answers the number of the deletion.
    pub(crate) fn delete(
        &mut self,
        now: Timestamp,
        LineSelection { matchers, start, end, filters }: LineSelection,
    ) -> Result<u64, FlushError> {
        let id = self.manifest.next;
        let range = TimeRange::new(start.to_timestamp(), end.to_timestamp());
        let lines = Some(DeletedLines { id, asked: now, start, end, filters });
        let blocks = self.set.blocks.to_vec();
        self.commit(blocks, |manifest| {
            // Its own number tells it from what was deleted before.
            manifest.next = id + 1;
            manifest.deletions.push(Deletion { matchers, range, below: id, lines });
        })?;
        Ok(id)
    }

    /// Takes a deletion back; false when there is none of this number, or no longer.
    pub(crate) fn cancel(&mut self, id: u64) -> Result<bool, FlushError> {
        let is_it = |deletion: &Deletion| deletion.lines.as_ref().is_some_and(|lines| lines.id == id);
        if !self.set.deletions.iter().any(is_it) {
            return Ok(false);
        }
        let blocks = self.set.blocks.to_vec();
        self.commit(blocks, |manifest| manifest.deletions.retain(|deletion| !is_it(deletion)))?;
        Ok(true)
    }
}

/// Adds what a stream has in a window of whole days.
fn fill(filling: &mut Filling<'_>, stream: &StreamHead, window: TimeRange) -> Result<(), FlushError> {
    for sealed in &*stream.sealed {
        // A row group is of one day.
        if window.contains(sealed.first.to_timestamp()) {
            filling.push_group(&sealed.group, sealed.first, sealed.last)?;
        }
    }
    let is_near =
        |(first, last): (Nanos, Nanos)| window.overlaps(&TimeRange::new(first.to_timestamp(), last.to_timestamp()));
    if stream.tail_bounds().is_some_and(is_near) {
        let lines = in_order(&stream.tail);
        let begin = lines.partition_point(|line| line.at.to_timestamp() < window.start);
        let end = lines.partition_point(|line| line.at.to_timestamp() <= window.end);
        filling.push_lines(lines.get(begin..end).unwrap_or_default(), SEAL_LINES)?;
    }
    Ok(())
}
