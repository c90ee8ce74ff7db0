//! The store itself: one writer at a time, any number of readers.

mod upkeep;

pub use upkeep::{LineSelection, Maintained};

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use signal::{Timestamp, WriteBatch};

use crate::block::{Block, PageCache};
use crate::blocks::{BlockDir, BlockFile};
use crate::disk::{Disk, DiskLock, MemoryDisk};
use crate::errors::{AppendError, OpenError, Receipt, RetainError, Retained};
use crate::head::Head;
use crate::head::logs::Arrivals;
use crate::intake::{self, Known};
use crate::journal::Journal;
use crate::log_block::LogBlock;
use crate::replay::{Dirs, Volume, replay};
use crate::retention::{Floors, LogRetention};
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
    /// Bytes of the logs' write-ahead log at which they are moved to blocks. Default 64 MiB, which takes about half as much
    /// memory.
    pub log_flush_bytes: u64,
    /// How long the lines of some streams are kept; the first one that allows a stream counts, before `retention`. Default
    /// none.
    pub log_retention: Vec<LogRetention>,
    /// How long a deletion of lines can be cancelled before their space comes back; they are hidden from the beginning.
    /// Default 24 hours.
    pub line_deletion_delay: Duration,
    /// Bytes of the metrics' write-ahead log at which they are moved to blocks. Default 512 MiB, which takes up to half as
    /// much memory.
    pub flush_bytes: u64,
    /// How long metrics and logs stay in memory before they are moved to blocks. Default 2 hours.
    pub flush_after: Duration,
    /// Most bytes of blocks that are kept unpacked in memory. Default 64 MiB.
    pub cache_bytes: usize,
    /// Most bytes on disk per signal; traces take about as much memory. Default 1 GiB.
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
            log_flush_bytes: 64 << 20,
            log_retention: Vec::new(),
            line_deletion_delay: Duration::from_secs(24 * 3600),
            flush_after: Duration::from_secs(2 * 3600),
            cache_bytes: 64 << 20,
            max_bytes: 1 << 30,
            fsync: Fsync::default(),
            segment_bytes: 16 << 20,
        }
    }
}

/// The blocks of a signal and what their owner remembers.
#[derive(Debug)]
pub(crate) struct Blocks<B> {
    pub(crate) dir: BlockDir<B>,
    /// What was found at start.
    pub(crate) problems: Vec<Problem>,
    /// Since when something waits in memory, as far as that was looked at.
    pub(crate) since: Option<Timestamp>,
}

impl<B: BlockFile> Blocks<B> {
    fn open(dir: &Path, signal: Signal, disk: &Arc<dyn Disk>, cache: &Arc<PageCache>) -> Result<Self, OpenError> {
        let mut problems = Vec::new();
        let dir = BlockDir::open(blocks_of(dir, signal), Arc::clone(disk), Arc::clone(cache), &mut problems)?;
        Ok(Self { dir, problems, since: None })
    }

    fn empty(signal: Signal, disk: &Arc<dyn Disk>, cache: &Arc<PageCache>) -> Self {
        let dir = BlockDir::empty(blocks_of(Path::new(""), signal), Arc::clone(disk), Arc::clone(cache));
        Self { dir, problems: Vec::new(), since: None }
    }
}

/// Where the blocks of a signal are, in a data directory.
pub(crate) fn blocks_of(dir: &Path, signal: Signal) -> PathBuf {
    dir.join(signal.dir()).join("blocks")
}

/// Keeps the three signals. Meant to be shared behind an [`Arc`].
#[derive(Debug)]
pub struct Store {
    settings: StoreSettings,
    dir: PathBuf,
    disk: Arc<dyn Disk>,
    /// Taken before `log_blocks`.
    blocks: Mutex<Blocks<Block>>,
    /// Taken before `writer`.
    log_blocks: Mutex<Blocks<LogBlock>>,
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
        let cache = Arc::new(PageCache::new(settings.cache_bytes));
        let mut blocks = Blocks::open(dir, Signal::Metrics, &disk, &cache)?;
        let mut log_blocks = Blocks::open(dir, Signal::Logs, &disk, &cache)?;
        head.metrics.blocks = blocks.dir.set().clone();
        head.logs.blocks = log_blocks.dir.set().clone();
        let mut dirs = Dirs { metrics: &mut blocks.dir, logs: &mut log_blocks.dir };
        let (volumes, sequence) = replay(dir, &settings, &disk, &mut dirs, &mut head)?;
        disk.sync_dir(dir).map_err(io("sync directory", dir))?;
        Ok(Self {
            settings,
            dir: dir.to_owned(),
            disk,
            blocks: Mutex::new(blocks),
            log_blocks: Mutex::new(log_blocks),
            writer: Mutex::new(Writer::new(volumes, sequence)),
            head: RwLock::new(head),
            _lock: Some(lock),
        })
    }

    /// An empty store that keeps nothing beyond its own life.
    #[must_use]
    pub fn in_memory() -> Self {
        let settings = StoreSettings { fsync: Fsync::Never, ..StoreSettings::default() };
        let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
        let journals = Signal::ALL.map(|signal| Journal::new(signal, Path::new(""), &settings, &disk));
        let writer = Mutex::new(Writer::new(journals.map(Volume::new).into(), 0));
        let cache = Arc::new(PageCache::new(settings.cache_bytes));
        let blocks = Mutex::new(Blocks::empty(Signal::Metrics, &disk, &cache));
        let log_blocks = Mutex::new(Blocks::empty(Signal::Logs, &disk, &cache));
        Self { settings, dir: PathBuf::new(), disk, blocks, log_blocks, writer, head: RwLock::default(), _lock: None }
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
            head: &head.metrics.fresh,
            frozen: head.metrics.frozen.as_ref().map(|frozen| &*frozen.head),
            max_series: self.settings.max_series,
        };
        let metrics = intake::admit(batches, known, &mut writer.scratch, &mut receipt);
        let streams = batches.iter().flat_map(|batch| &batch.streams).filter(|stream| !stream.lines.is_empty());
        let streams = streams.map(|stream| (&stream.labels, stream.lines.as_slice())).collect();
        let spans = batches.iter().flat_map(|batch| &batch.spans).collect();
        let mut addition = Addition { metrics, streams, spans };
        let traces = writer.write(&mut addition, &head.metrics.fresh)?;
        let mut lines = Arrivals::copy(&addition.streams, &head.logs.fresh);
        drop(head);
        lines.seal();
        receipt.lines = addition.streams.iter().map(|(_, lines)| lines.len() as u64).sum();
        receipt.spans = addition.spans.len() as u64;
        let mut head = self.head.write().unwrap_or_else(PoisonError::into_inner);
        addition.enter(&mut head, lines, traces);
        Ok(receipt)
    }

    /// What the store holds now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::new(self.head())
    }

    /// Drops what is older than the retention time or beyond the size limit: whole blocks of metrics and logs, whole
    /// segments of traces; never the newest. Lines that are too old for their stream are hidden at once, and their blocks
    /// written anew by [`maintain`](Self::maintain).
    ///
    /// # Errors
    /// [`RetainError`] when a file cannot be removed. What was removed before is gone from memory too.
    pub fn retain(&self, now: Timestamp) -> Result<Retained, RetainError> {
        let cutoff = now.minus(self.settings.retention);
        let mut retained = Retained::default();
        {
            let mut blocks = self.lock_blocks();
            let dropped = blocks.dir.retain(cutoff, self.settings.max_bytes);
            self.change_head(|head| head.metrics.blocks = blocks.dir.set().clone());
            retained.add(dropped.map_err(RetainError::Blocks)?);
        }
        {
            let floors = Floors::at(now, &self.settings.log_retention, self.settings.retention);
            let mut blocks = self.lock_log_blocks();
            let dropped = blocks.dir.retain(floors.lowest().to_timestamp(), self.settings.max_bytes);
            let set = blocks.dir.set_floors(floors);
            self.change_head(|head| head.logs.blocks = set);
            retained.add(dropped.map_err(RetainError::Blocks)?);
        }
        let mut writer = self.lock_writer();
        for volume in &mut writer.volumes {
            if volume.journal.signal() != Signal::Traces {
                // Their segments go when what is in them is in blocks.
                continue;
            }
            let expired = volume.journal.expired(cutoff, self.settings.max_bytes);
            let mut removed = BTreeSet::new();
            let outcome = volume.journal.remove(&expired, &mut removed, &mut retained);
            if !removed.is_empty() {
                let files: Vec<_> = removed.iter().map(|id| volume.journal.path(*id)).collect();
                volume.problems.retain(|problem| !files.contains(&problem.file));
                // The rest is worked out beside the head, so that readers do not wait.
                let traces = self.head().traces.without(&removed);
                self.change_head(|head| head.traces = traces);
            }
            outcome?;
        }
        Ok(retained)
    }

    /// How much there is. Looks at every series, stream and trace in memory.
    #[must_use]
    pub fn status(&self) -> StoreStatus {
        let blocks = self.lock_blocks();
        let log_blocks = self.lock_log_blocks();
        let writer = self.lock_writer();
        let head = self.head();
        let mut status = StoreStatus { stopped: writer.stopped.clone(), ..StoreStatus::default() };
        status.problems.extend_from_slice(&blocks.problems);
        status.problems.extend(head.metrics.blocks.damages());
        status.problems.extend_from_slice(&log_blocks.problems);
        status.problems.extend(head.logs.blocks.damages());
        for volume in &writer.volumes {
            let (size, block_count, block_bytes, of) = match volume.journal.signal() {
                Signal::Metrics => {
                    let count = head.metrics.blocks.blocks.len();
                    (head.metrics.size(), count, blocks.dir.bytes(), &mut status.metrics)
                }
                Signal::Logs => {
                    let count = head.logs.blocks.blocks.len();
                    (head.logs.size(), count, log_blocks.dir.bytes(), &mut status.logs)
                }
                Signal::Traces => (head.traces.size(), 0, 0, &mut status.traces),
            };
            *of = SignalStatus {
                identities: size.identities,
                items: size.items,
                segments: volume.journal.segments(),
                blocks: block_count as u64,
                disk_bytes: volume.journal.bytes() + block_bytes,
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

    pub(crate) fn lock_blocks(&self) -> MutexGuard<'_, Blocks<Block>> {
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn lock_log_blocks(&self) -> MutexGuard<'_, Blocks<LogBlock>> {
        self.log_blocks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn head(&self) -> Head {
        self.head.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn lock_writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
