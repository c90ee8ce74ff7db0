//! What keeps a store small: moving metrics from memory to blocks, merging blocks, deleting, copying.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use signal::{Matcher, TimeRange, Timestamp};

use super::Store;
use crate::errors::{FlushError, Retained};
use crate::head::Frozen;
use crate::intake::{MetricsWrite, Scratch};
use crate::segment::Signal;
use crate::writer::Addition;

/// What [`Store::maintain`] did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Maintained {
    /// Metrics were moved from memory to blocks.
    pub flushed: bool,
    /// Blocks were merged or rewritten; there may be more to do.
    pub compacted: bool,
}

impl Store {
    /// Does what is due: moves metrics to blocks when they have been in memory for long or are many, and merges blocks.
    /// Meant to be called every few seconds.
    ///
    /// # Errors
    /// [`FlushError`]; everything stays served as it was, and the next call tries again.
    pub fn maintain(&self, now: Timestamp) -> Result<Maintained, FlushError> {
        let mut done = Maintained::default();
        if self.is_flush_due(now) {
            self.flush()?;
            done.flushed = true;
        }
        let mut blocks = self.lock_blocks();
        if let Some(set) = blocks.dir.compact(now)? {
            self.change_head(|head| head.blocks = set);
            done.compacted = true;
        }
        Ok(done)
    }

    fn is_flush_due(&self, now: Timestamp) -> bool {
        let mut blocks = self.lock_blocks();
        let writer = self.lock_writer();
        let metrics = writer.volumes.iter().find(|volume| volume.journal.signal() == Signal::Metrics);
        let bytes = metrics.map_or(0, |volume| volume.journal.bytes());
        drop(writer);
        let head = self.head();
        if head.frozen.is_some() {
            return true;
        }
        if !head.metrics.has_samples() {
            blocks.since = None;
            return false;
        }
        let since = *blocks.since.get_or_insert(now);
        bytes >= self.settings.flush_bytes || now.since(since) >= self.settings.flush_after
    }

    /// Moves all metrics from memory to blocks and drops their part of the write-ahead log. Writes and reads go on.
    ///
    /// # Errors
    /// [`FlushError`]; everything stays served as it was.
    pub fn flush(&self) -> Result<(), FlushError> {
        let mut blocks = self.lock_blocks();
        self.freeze();
        let Some(frozen) = self.head().frozen else { return Ok(()) };
        let set = blocks.dir.write(&frozen.metrics, frozen.last, frozen.sequence)?;
        blocks.since = None;
        let mut writer = self.lock_writer();
        self.change_head(|head| {
            head.blocks = set;
            head.frozen = None;
        });
        let metrics = writer.volumes.iter_mut().find(|volume| volume.journal.signal() == Signal::Metrics);
        let Some(volume) = metrics else { return Ok(()) };
        let flushed = volume.journal.until(frozen.last);
        let removed = volume.journal.remove(&flushed, &mut BTreeSet::new(), &mut Retained::default());
        let gone: Vec<_> = flushed.iter().map(|id| volume.journal.path(*id)).collect();
        volume.problems.retain(|problem| !gone.contains(&problem.file));
        Ok(removed?)
    }

    /// Begins a new head and a new segment; what was there waits to be flushed.
    fn freeze(&self) {
        let mut writer = self.lock_writer();
        let head = self.head();
        if head.frozen.is_some() || !head.metrics.has_samples() {
            return;
        }
        let metrics = writer.volumes.iter_mut().find(|volume| volume.journal.signal() == Signal::Metrics);
        let Some((last, sequence)) = metrics.and_then(|volume| Some((volume.journal.close()?, volume.last))) else {
            return;
        };
        let next = head.metrics.emptied();
        writer.scratch = Scratch::default();
        let frozen = Some(Frozen { metrics: head.metrics, last, sequence });
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
            head.metrics = next;
            head.frozen = frozen;
        });
    }

    /// Forgets what the matchers allow in `range`; what is written afterwards stays. Space comes back in time.
    ///
    /// # Errors
    /// [`FlushError`] when it cannot be made durable; nothing is forgotten then.
    pub fn delete(&self, matchers: Vec<Matcher>, range: TimeRange) -> Result<(), FlushError> {
        self.flush()?;
        let set = self.lock_blocks().dir.delete(matchers, range)?;
        self.change_head(|head| head.blocks = set);
        Ok(())
    }

    /// Gives back the space of everything deleted.
    ///
    /// # Errors
    /// [`FlushError`] when a block cannot be rewritten.
    pub fn clean(&self) -> Result<(), FlushError> {
        let mut blocks = self.lock_blocks();
        let cleaned = blocks.dir.clean();
        self.change_head(|head| head.blocks = blocks.dir.set().clone());
        cleaned.map(drop)
    }

    /// Makes `dir` a data directory with everything acknowledged so far. On the same file system it takes no more space
    /// until one of the two changes.
    ///
    /// # Errors
    /// [`FlushError`] when the metrics cannot be moved to blocks, or `dir` cannot be written.
    pub fn copy_to(&self, dir: &Path) -> Result<(), FlushError> {
        self.flush()?;
        let io = |source: io::Error| FlushError::Io { file: dir.to_owned(), source };
        let blocks = self.lock_blocks();
        blocks.dir.copy_to(&dir.join(super::BLOCKS)).map_err(io)?;
        let mut writer = self.lock_writer();
        for volume in &mut writer.volumes {
            let target = dir.join(volume.journal.signal().dir());
            self.disk.create_dir_all(&target).map_err(io)?;
            if volume.journal.signal() == Signal::Metrics {
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
