//! What keeps a store small: moving what was written from memory to blocks, merging blocks, deleting, copying.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use signal::{Matcher, Nanos, TimeRange, Timestamp};

use super::{Blocks, Store, blocks_of};
use crate::block::Block;
use crate::deletion::{Deletion, LineDeletion, LineFilter};
use crate::errors::FlushError;
use crate::head::logs::{Arrivals, LogsHead};
use crate::head::metrics::MetricsHead;
use crate::head::{Frozen, Head, Layers, SegmentId};
use crate::intake::{MetricsWrite, Scratch};
use crate::log_block::LogBlock;
use crate::replay::Volume;
use crate::segment::Signal;
use crate::writer::Addition;

/// What [`Store::maintain`] did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Maintained {
    /// Metrics or logs were moved from memory to blocks.
    pub flushed: bool,
    /// Blocks were merged or rewritten; there may be more to do.
    pub compacted: bool,
}

/// Which lines are meant.
#[derive(Clone, PartialEq, Debug)]
pub struct LineSelection {
    /// Of the streams all of these allow.
    pub matchers: Vec<Matcher>,
    /// The first instant.
    pub start: Nanos,
    /// The last instant.
    pub end: Nanos,
    /// Only lines that all of these allow.
    pub filters: Vec<LineFilter>,
}

impl Store {
    /// Does what is due: moves metrics and logs to blocks when they have been in memory for long or are many, and merges
    /// blocks. Meant to be called every few seconds.
    ///
    /// # Errors
    /// [`FlushError`]; everything stays served as it was, and the next call tries again.
    pub fn maintain(&self, now: Timestamp) -> Result<Maintained, FlushError> {
        let metrics = self.maintain_metrics(now);
        let logs = self.maintain_logs(now);
        let (metrics, logs) = (metrics?, logs?);
        Ok(Maintained { flushed: metrics.flushed || logs.flushed, compacted: metrics.compacted || logs.compacted })
    }

    fn maintain_metrics(&self, now: Timestamp) -> Result<Maintained, FlushError> {
        let mut done = Maintained::default();
        let mut blocks = self.lock_blocks();
        let Layers { fresh, frozen, .. } = self.head().metrics;
        let waiting = Waiting { signal: Signal::Metrics, is_frozen: frozen.is_some(), is_empty: !fresh.has_samples() };
        if self.is_flush_due(&waiting, &mut blocks.since, self.settings.flush_bytes, now) {
            self.flush_metrics(&mut blocks)?;
            done.flushed = true;
        }
        if let Some(set) = blocks.dir.compact(now, Duration::ZERO)? {
            self.change_head(|head| head.metrics.blocks = set);
            done.compacted = true;
        }
        Ok(done)
    }

    fn maintain_logs(&self, now: Timestamp) -> Result<Maintained, FlushError> {
        let mut done = Maintained::default();
        let mut blocks = self.lock_log_blocks();
        let Layers { fresh, frozen, .. } = self.head().logs;
        let waiting = Waiting { signal: Signal::Logs, is_frozen: frozen.is_some(), is_empty: fresh.is_empty() };
        if self.is_flush_due(&waiting, &mut blocks.since, self.settings.log_flush_bytes, now) {
            self.freeze_logs(Waiters::Kept);
            self.flush_logs(&mut blocks)?;
            done.flushed = true;
        }
        if let Some(set) = blocks.dir.compact(now, self.settings.line_deletion_delay)? {
            self.change_head(|head| head.logs.blocks = set);
            done.compacted = true;
        }
        Ok(done)
    }

    fn is_flush_due(&self, waiting: &Waiting, since: &mut Option<Timestamp>, limit: u64, now: Timestamp) -> bool {
        if waiting.is_frozen {
            return true;
        }
        if waiting.is_empty {
            *since = None;
            return false;
        }
        let since = *since.get_or_insert(now);
        let bytes = self.lock_writer().volume(waiting.signal).map_or(0, |volume| volume.journal.bytes());
        bytes >= limit || now.since(since) >= self.settings.flush_after
    }

    /// Moves all metrics and logs from memory to blocks and drops their part of the write-ahead log. Writes and reads go
    /// on.
    ///
    /// # Errors
    /// [`FlushError`]; everything stays served as it was.
    pub fn flush(&self) -> Result<(), FlushError> {
        let metrics = self.flush_metrics(&mut self.lock_blocks());
        self.flush_logs(&mut self.lock_log_blocks())?;
        metrics
    }

    fn flush_metrics(&self, blocks: &mut Blocks<Block>) -> Result<(), FlushError> {
        self.freeze_metrics();
        let Some(frozen) = self.head().metrics.frozen else { return Ok(()) };
        let set = blocks.dir.write(&frozen.head, frozen.last, frozen.sequence)?;
        blocks.since = None;
        self.settle(Signal::Metrics, frozen.last, |head| {
            head.metrics.blocks = set;
            head.metrics.frozen = None;
        })
    }

    fn flush_logs(&self, blocks: &mut Blocks<LogBlock>) -> Result<(), FlushError> {
        self.freeze_logs(Waiters::Moved);
        let Some(frozen) = self.head().logs.frozen else { return Ok(()) };
        let set = blocks.dir.write(&frozen.head, frozen.last, frozen.sequence)?;
        blocks.since = None;
        self.settle(Signal::Logs, frozen.last, |head| {
            head.logs.blocks = set;
            head.logs.frozen = None;
        })
    }

    /// What was frozen is in blocks: readers find it there, and its segments go.
    fn settle(&self, signal: Signal, last: SegmentId, change: impl FnOnce(&mut Head)) -> Result<(), FlushError> {
        let mut writer = self.lock_writer();
        self.change_head(change);
        let Some(volume) = writer.volume_mut(signal) else { return Ok(()) };
        Ok(volume.drop_flushed(last)?)
    }

    /// Begins a new head and a new segment; what was there waits to be flushed.
    fn freeze_metrics(&self) {
        let mut writer = self.lock_writer();
        let metrics = self.head().metrics;
        if metrics.frozen.is_some() || !metrics.fresh.has_samples() {
            return;
        }
        let Some((last, sequence)) = writer.volume_mut(Signal::Metrics).and_then(Volume::close) else { return };
        let next = metrics.fresh.emptied();
        writer.scratch = Scratch::default();
        let frozen = Some(Frozen { head: Arc::new(metrics.fresh), last, sequence });
        // What the blocks will not hold is written once more. If that fails, a crash can lose exemplars, and metadata
        // until its next mention; the data is safe.
        let mut exemplars = Vec::new();
        for (id, series) in (0_u32..).zip(next.iter()) {
            exemplars.extend(series.exemplars().iter().map(|exemplar| (id, exemplar.clone())));
        }
        let metadata = next.metadata.values().next().cloned().into_iter().collect();
        let metrics = MetricsWrite { exemplars, metadata, ..MetricsWrite::default() };
        let mut carried = Addition { metrics, streams: Vec::new(), spans: Vec::new() };
        let _ = writer.write(&mut carried, &next);
        self.change_head(|head| {
            head.metrics.fresh = next;
            head.metrics.frozen = frozen;
        });
    }

    /// Begins a new head and a new segment; what was there waits to be flushed.
    fn freeze_logs(&self, waiters: Waiters) {
        let mut writer = self.lock_writer();
        let logs = self.head().logs;
        if logs.frozen.is_some() || logs.fresh.is_empty() {
            return;
        }
        let Some((last, sequence)) = writer.volume_mut(Signal::Logs).and_then(Volume::close) else { return };
        let (mut head, mut next) = (logs.fresh, LogsHead::default());
        if waiters == Waiters::Kept {
            // They are written once more, to the new segment. What a crash leaves in both is answered once.
            let (older, newest) = head.split();
            let streams: Vec<_> = newest.iter().map(|(labels, lines)| (labels, lines.as_slice())).collect();
            let entering = Arrivals::copy(&streams, &next);
            let mut carried = Addition { metrics: MetricsWrite::default(), streams, spans: Vec::new() };
            // If that fails they move with the others.
            if writer.write(&mut carried, &MetricsHead::default()).is_ok() {
                next.enter(entering);
                head = older;
            }
        }
        let frozen = Some(Frozen { head: Arc::new(head), last, sequence });
        self.change_head(|head| {
            head.logs.fresh = next;
            head.logs.frozen = frozen;
        });
    }

    /// Forgets the samples the matchers allow in `range`; what is written afterwards stays. Space comes back in time.
    ///
    /// # Errors
    /// [`FlushError`] when it cannot be made durable; nothing is forgotten then.
    pub fn delete(&self, matchers: Vec<Matcher>, range: TimeRange) -> Result<(), FlushError> {
        let mut blocks = self.lock_blocks();
        self.flush_metrics(&mut blocks)?;
        let set = blocks.dir.delete(matchers, range)?;
        self.change_head(|head| head.metrics.blocks = set);
        Ok(())
    }

    /// Forgets lines; what is written afterwards stays. They are hidden at once, and their space comes back after
    /// [`StoreSettings::line_deletion_delay`](crate::StoreSettings::line_deletion_delay). Answers the number of the
    /// deletion.
    ///
    /// # Errors
    /// [`FlushError`] when it cannot be made durable; nothing is forgotten then.
    pub fn delete_lines(&self, now: Timestamp, lines: LineSelection) -> Result<u64, FlushError> {
        let mut blocks = self.lock_log_blocks();
        self.flush_logs(&mut blocks)?;
        let id = blocks.dir.delete(now, lines)?;
        self.change_head(|head| head.logs.blocks = blocks.dir.set().clone());
        Ok(id)
    }

    /// The deletions whose lines are still there, though nobody sees them, in order of asking.
    #[must_use]
    pub fn line_deletions(&self) -> Vec<LineDeletion> {
        self.head().logs.blocks.deletions.iter().filter_map(Deletion::shown).collect()
    }

    /// Shows the lines of a deletion again; false when there is none of this number whose lines are still there.
    ///
    /// # Errors
    /// [`FlushError`] when it cannot be made durable; the lines stay hidden then.
    pub fn cancel_line_deletion(&self, id: u64) -> Result<bool, FlushError> {
        let mut blocks = self.lock_log_blocks();
        let is_cancelled = blocks.dir.cancel(id)?;
        self.change_head(|head| head.logs.blocks = blocks.dir.set().clone());
        Ok(is_cancelled)
    }

    /// Gives back the space of all deleted samples. That of lines comes back when their deletion can no longer be cancelled.
    ///
    /// # Errors
    /// [`FlushError`] when a block cannot be rewritten.
    pub fn clean(&self) -> Result<(), FlushError> {
        let mut blocks = self.lock_blocks();
        let cleaned = blocks.dir.clean();
        self.change_head(|head| head.metrics.blocks = blocks.dir.set().clone());
        cleaned.map(drop)
    }

    /// Makes `dir` a data directory with everything acknowledged so far. On the same file system it takes no more space
    /// until one of the two changes.
    ///
    /// # Errors
    /// [`FlushError`] when metrics or logs cannot be moved to blocks, or `dir` cannot be written.
    pub fn copy_to(&self, dir: &Path) -> Result<(), FlushError> {
        let io = |source: io::Error| FlushError::Io { file: dir.to_owned(), source };
        let mut blocks = self.lock_blocks();
        self.flush_metrics(&mut blocks)?;
        blocks.dir.copy_to(&blocks_of(dir, Signal::Metrics)).map_err(io)?;
        let mut log_blocks = self.lock_log_blocks();
        self.flush_logs(&mut log_blocks)?;
        log_blocks.dir.copy_to(&blocks_of(dir, Signal::Logs)).map_err(io)?;
        let mut writer = self.lock_writer();
        for volume in &mut writer.volumes {
            let target = dir.join(volume.journal.signal().dir());
            self.disk.create_dir_all(&target).map_err(io)?;
            if volume.journal.signal() != Signal::Traces {
                continue;
            }
            // A segment that still grows would grow in both places.
            let Some(last) = volume.journal.close() else { continue };
            for id in volume.journal.until(last) {
                let file = volume.journal.path(id);
                if let Some(name) = file.file_name() {
                    self.disk.link(&file, &target.join(name)).map_err(io)?;
                }
            }
        }
        self.disk.sync_dir(dir).map_err(io)
    }

    /// The data directory; empty for a store in memory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

/// What becomes of the lines of busy streams that wait for others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Waiters {
    /// They go on waiting.
    Kept,
    /// They move to blocks with the rest.
    Moved,
}

/// What of a signal is in memory.
struct Waiting {
    signal: Signal,
    /// A flush has begun.
    is_frozen: bool,
    is_empty: bool,
}
