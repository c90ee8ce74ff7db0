//! The store itself: one writer at a time, any number of readers.

mod upkeep;

pub use upkeep::Maintained;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use signal::{Timestamp, WriteBatch};

use crate::block::PageCache;
use crate::blocks::BlockDir;
use crate::disk::{Disk, DiskLock, MemoryDisk};
use crate::errors::{AppendError, OpenError, Receipt, RetainError, Retained};
use crate::head::{Head, SegmentId};
use crate::intake::{self, Known};
use crate::journal::Journal;
use crate::replay::{Volume, replay};
use crate::segment::Signal;
use crate::snapshot::Snapshot;
use crate::status::{Problem, SignalStatus, StoreStatus};
use crate::writer::{Addition, Writer};

/// How a store behaves.
#[derive(Clone, Debug)]
pub struct StoreSettings {
    /// How long data is kept, by its own time; dropped at most an eighth of it later. Default 15 days.
    pub retention: Duration,
    /// Most series that received something since the last flush; further ones are refused. Default 2 million.
    pub max_series: u32,
    /// Bytes of the metrics' write-ahead log at which they are moved to blocks. Default 512 MiB, which takes up to half as
    /// much memory.
    pub flush_bytes: u64,
    /// How long metrics stay in memory before they are moved to blocks. Default 2 hours.
    pub flush_after: Duration,
    /// Most bytes of blocks that are kept unpacked in memory. Default 64 MiB.
    pub cache_bytes: usize,
    /// Most bytes on disk per signal; logs and traces take about as much memory. Default 1 GiB.
    pub max_bytes: u64,
    /// What an acknowledged write survives. Default [`Fsync::Always`].
    pub fsync: Fsync,
    /// Size at which a new segment begins. Retention drops whole segments. Default 16 MiB.
    pub segment_bytes: u64,
}

/// What an acknowledged write survives.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Fsync {
    /// A loss of power: every write waits for the disk.
    #[default]
    Always,
    /// The end of the process, not a loss of power.
    Never,
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self {
            retention: Duration::from_secs(15 * 24 * 3600),
            max_series: 2_000_000,
            flush_bytes: 512 << 20,
            flush_after: Duration::from_secs(2 * 3600),
            cache_bytes: 64 << 20,
            max_bytes: 1 << 30,
            fsync: Fsync::default(),
            segment_bytes: 16 << 20,
        }
    }
}

/// Where blocks are, in a data directory.
const BLOCKS: &str = "metrics/blocks";

/// The blocks and what their owner remembers.
#[derive(Debug)]
pub(crate) struct Blocks {
    pub(crate) dir: BlockDir,
    /// What was found at start.
    pub(crate) problems: Vec<Problem>,
    /// Since when something waits in memory, as far as that was looked at.
    pub(crate) since: Option<Timestamp>,
}

/// Keeps the three signals. Meant to be shared behind an [`Arc`].
#[derive(Debug)]
pub struct Store {
    settings: StoreSettings,
    dir: PathBuf,
    disk: Arc<dyn Disk>,
    /// Taken before `writer`.
    blocks: Mutex<Blocks>,
    writer: Mutex<Writer>,
    head: RwLock<Head>,
    /// Keeps other processes out of the directory.
    _lock: Option<Box<dyn DiskLock>>,
}

impl Store {
    /// Opens a data directory, making it when it is not there, and reads everything in it.
    ///
    /// # Errors
    /// [`OpenError`] when the directory is in use, a segment comes from a newer version, or the file system refuses.
    /// Damaged data is no error: see [`StoreStatus::problems`].
    pub fn open(dir: &Path, settings: StoreSettings, disk: Arc<dyn Disk>) -> Result<Self, OpenError> {
        let io = |action, path: &Path| {
            let path = path.to_owned();
            move |source| OpenError::Io { action, path, source }
        };
        disk.create_dir_all(dir).map_err(io("make directory", dir))?;
        let lock_file = dir.join("lock");
        let lock = disk.lock(&lock_file).map_err(io("lock", &lock_file))?;
        let lock = lock.ok_or_else(|| OpenError::InUse { dir: dir.to_owned() })?;
        let mut head = Head::default();
        let mut problems = Vec::new();
        let cache = Arc::new(PageCache::new(settings.cache_bytes));
        let mut blocks = BlockDir::open(dir.join(BLOCKS), Arc::clone(&disk), cache, &mut problems)?;
        head.blocks = blocks.set().clone();
        let (volumes, sequence) = replay(dir, &settings, &disk, &mut blocks, &mut head)?;
        disk.sync_dir(dir).map_err(io("sync directory", dir))?;
        let writer = Mutex::new(Writer::new(volumes, sequence));
        let blocks = Mutex::new(Blocks { dir: blocks, problems, since: None });
        Ok(Self { settings, dir: dir.to_owned(), disk, blocks, writer, head: RwLock::new(head), _lock: Some(lock) })
    }

    /// An empty store that keeps nothing beyond its own life.
    #[must_use]
    pub fn in_memory() -> Self {
        let settings = StoreSettings { fsync: Fsync::Never, ..StoreSettings::default() };
        let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
        let journals = Signal::ALL.map(|signal| Journal::new(signal, Path::new(""), &settings, &disk));
        let writer = Mutex::new(Writer::new(journals.map(Volume::new).into(), 0));
        let cache = Arc::new(PageCache::new(settings.cache_bytes));
        let blocks = BlockDir::empty(PathBuf::from(BLOCKS), Arc::clone(&disk), cache);
        let blocks = Mutex::new(Blocks { dir: blocks, problems: Vec::new(), since: None });
        Self { settings, dir: PathBuf::new(), disk, blocks, writer, head: RwLock::default(), _lock: None }
    }

    /// Keeps all batches or none, durably. Waits for other writes; the caller groups batches to share the wait for the
    /// disk.
    ///
    /// # Errors
    /// [`AppendError`] when nothing was kept.
    pub fn append(&self, batches: &[WriteBatch]) -> Result<Receipt, AppendError> {
        let mut writer = self.lock_writer();
        let mut receipt = Receipt::default();
        // Nobody else changes the head while this holds the writer.
        let head = self.head.read().unwrap_or_else(PoisonError::into_inner);
        let known = Known {
            head: &head.metrics,
            frozen: head.frozen.as_ref().map(|frozen| &frozen.metrics),
            max_series: self.settings.max_series,
        };
        let metrics = intake::admit(batches, known, &mut writer.scratch, &mut receipt);
        let streams = batches.iter().flat_map(|batch| &batch.streams).filter(|stream| !stream.lines.is_empty());
        let streams = streams.map(|stream| (&stream.labels, stream.lines.as_slice())).collect();
        let spans = batches.iter().flat_map(|batch| &batch.spans).collect();
        let mut addition = Addition { metrics, streams, spans };
        let segments = writer.write(&mut addition, &head.metrics)?;
        drop(head);
        receipt.lines = addition.streams.iter().map(|(_, lines)| lines.len() as u64).sum();
        receipt.spans = addition.spans.len() as u64;
        let mut head = self.head.write().unwrap_or_else(PoisonError::into_inner);
        addition.enter(&mut head, segments);
        Ok(receipt)
    }

    /// What the store holds now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::new(self.head())
    }

    /// Drops what is older than the retention time or beyond the size limit: whole blocks of metrics, whole segments of
    /// logs and traces; never the newest.
    ///
    /// # Errors
    /// [`RetainError`] when a file cannot be removed. What was removed before is gone from memory too.
    pub fn retain(&self, now: Timestamp) -> Result<Retained, RetainError> {
        let cutoff = now.minus(self.settings.retention);
        let mut retained = Retained::default();
        {
            let mut blocks = self.lock_blocks();
            let dropped = blocks.dir.retain(cutoff, self.settings.max_bytes);
            self.change_head(|head| head.blocks = blocks.dir.set().clone());
            let (count, bytes) = dropped.map_err(RetainError::Blocks)?;
            retained.segments += count;
            retained.bytes += bytes;
        }
        let mut writer = self.lock_writer();
        for volume in &mut writer.volumes {
            if volume.journal.signal() == Signal::Metrics {
                continue;
            }
            let expired = volume.journal.expired(cutoff, self.settings.max_bytes);
            let mut removed = BTreeSet::new();
            let outcome = volume.journal.remove(&expired, &mut removed, &mut retained);
            if !removed.is_empty() {
                let files: Vec<_> = removed.iter().map(|id| volume.journal.path(*id)).collect();
                volume.problems.retain(|problem| !files.contains(&problem.file));
                self.forget(volume.journal.signal(), &removed);
            }
            outcome?;
        }
        Ok(retained)
    }

    fn forget(&self, signal: Signal, segments: &BTreeSet<SegmentId>) {
        // The rest is worked out beside the head, so that readers do not wait.
        let head = self.head();
        match signal {
            // Their segments go when their samples are in blocks.
            Signal::Metrics => {}
            Signal::Logs => {
                let logs = head.logs.without(segments);
                self.change_head(|head| head.logs = logs);
            }
            Signal::Traces => {
                let traces = head.traces.without(segments);
                self.change_head(|head| head.traces = traces);
            }
        }
    }

    /// How much there is. Looks at every series, stream and trace in memory.
    #[must_use]
    pub fn status(&self) -> StoreStatus {
        let blocks = self.lock_blocks();
        let writer = self.lock_writer();
        let head = self.head();
        let mut status = StoreStatus { stopped: writer.stopped.clone(), ..StoreStatus::default() };
        status.problems.extend_from_slice(&blocks.problems);
        status.problems.extend(head.blocks.blocks.iter().filter_map(|block| block.damage().cloned()));
        status.blocks = head.blocks.blocks.len() as u64;
        for volume in &writer.volumes {
            let mut disk_bytes = volume.journal.bytes();
            let (size, of) = match volume.journal.signal() {
                Signal::Metrics => {
                    disk_bytes += blocks.dir.bytes();
                    (head.metrics_size(), &mut status.metrics)
                }
                Signal::Logs => (head.logs.size(), &mut status.logs),
                Signal::Traces => (head.traces.size(), &mut status.traces),
            };
            *of = SignalStatus {
                identities: size.identities,
                items: size.items,
                segments: volume.journal.segments(),
                disk_bytes,
                dropped_bytes: volume.dropped_bytes,
                oldest: size.extent.map(|extent| extent.oldest),
                newest: size.extent.map(|extent| extent.newest),
            };
            status.problems.extend_from_slice(&volume.problems);
        }
        status
    }

    pub(crate) fn change_head(&self, change: impl FnOnce(&mut Head)) {
        change(&mut self.head.write().unwrap_or_else(PoisonError::into_inner));
    }

    pub(crate) fn lock_blocks(&self) -> MutexGuard<'_, Blocks> {
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn head(&self) -> Head {
        self.head.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn lock_writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
