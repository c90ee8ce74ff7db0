//! The store itself: one writer at a time, any number of readers.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use signal::{Timestamp, WriteBatch};

use crate::disk::{Disk, DiskLock, MemoryDisk};
use crate::errors::{AppendError, OpenError, Receipt, RetainError, Retained};
use crate::head::{Head, SegmentId};
use crate::intake;
use crate::journal::Journal;
use crate::replay::{Volume, replay};
use crate::segment::Signal;
use crate::snapshot::Snapshot;
use crate::status::{SignalStatus, StoreStatus};
use crate::writer::{Addition, Writer};

/// How a store behaves.
#[derive(Clone, Debug)]
pub struct StoreSettings {
    /// How long data is kept, by its own time; dropped at most an eighth of it later. Default 15 days.
    pub retention: Duration,
    /// Most bytes on disk per signal; memory takes about as much. Default 1 GiB.
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
            max_bytes: 1 << 30,
            fsync: Fsync::default(),
            segment_bytes: 16 << 20,
        }
    }
}

/// Keeps the three signals. Meant to be shared behind an [`Arc`].
#[derive(Debug)]
pub struct Store {
    settings: StoreSettings,
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
    #[expect(clippy::needless_pass_by_value, reason = "the store keeps the disk for as long as it lives")]
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
        let (volumes, sequence) = replay(dir, &settings, &disk, &mut head)?;
        disk.sync_dir(dir).map_err(io("sync directory", dir))?;
        let writer = Mutex::new(Writer::new(volumes, sequence));
        Ok(Self { settings, writer, head: RwLock::new(head), _lock: Some(lock) })
    }

    /// An empty store that keeps nothing beyond its own life.
    #[must_use]
    pub fn in_memory() -> Self {
        let settings = StoreSettings { fsync: Fsync::Never, ..StoreSettings::default() };
        let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
        let journals = Signal::ALL.map(|signal| Journal::new(signal, Path::new(""), &settings, &disk));
        let writer = Mutex::new(Writer::new(journals.map(Volume::new).into(), 0));
        Self { settings, writer, head: RwLock::default(), _lock: None }
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
        let metrics = intake::admit(batches, &head.metrics, &mut receipt);
        let metadata = Arc::clone(&head.metrics.metadata);
        drop(head);
        let streams = batches.iter().flat_map(|batch| &batch.streams).filter(|stream| !stream.lines.is_empty());
        let streams = streams.map(|stream| (&stream.labels, stream.lines.as_slice())).collect();
        let spans = batches.iter().flat_map(|batch| &batch.spans).collect();
        let mut addition = Addition { metrics, streams, spans };
        let segments = writer.write(&mut addition, &metadata)?;
        // The head must be its only owner, or the change below copies it.
        drop(metadata);
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

    /// Drops whole segments that are older than the retention time or beyond the size limit; never the newest.
    ///
    /// # Errors
    /// [`RetainError`] when a file cannot be removed. What was removed before is gone from memory too.
    pub fn retain(&self, now: Timestamp) -> Result<Retained, RetainError> {
        let mut writer = self.lock_writer();
        let cutoff = now.minus(self.settings.retention);
        let mut retained = Retained::default();
        for volume in &mut writer.volumes {
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
        let mut next = self.head();
        match signal {
            Signal::Metrics => next.metrics = next.metrics.without(segments),
            Signal::Logs => next.logs = next.logs.without(segments),
            Signal::Traces => next.traces = next.traces.without(segments),
        }
        *self.head.write().unwrap_or_else(PoisonError::into_inner) = next;
    }

    /// How much there is. Looks at every series, stream and trace.
    #[must_use]
    pub fn status(&self) -> StoreStatus {
        let writer = self.lock_writer();
        let head = self.head();
        let mut status = StoreStatus { stopped: writer.stopped.clone(), ..StoreStatus::default() };
        for volume in &writer.volumes {
            let (size, of) = match volume.journal.signal() {
                Signal::Metrics => (head.metrics.size(), &mut status.metrics),
                Signal::Logs => (head.logs.size(), &mut status.logs),
                Signal::Traces => (head.traces.size(), &mut status.traces),
            };
            *of = SignalStatus {
                identities: size.identities,
                items: size.items,
                segments: volume.journal.segments(),
                disk_bytes: volume.journal.bytes(),
                dropped_bytes: volume.dropped_bytes,
                oldest: size.extent.map(|extent| extent.oldest),
                newest: size.extent.map(|extent| extent.newest),
            };
            status.problems.extend_from_slice(&volume.problems);
        }
        status
    }

    fn head(&self) -> Head {
        self.head.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn lock_writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
