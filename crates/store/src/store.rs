//! The store itself: one writer at a time, any number of readers.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use signal::{Timestamp, WriteBatch};

use crate::disk::{Disk, MemoryDisk};
use crate::errors::{AppendError, OpenError, Receipt, RetainError, Retained};
use crate::head::{Head, SegmentId, Size};
use crate::intake;
use crate::snapshot::Snapshot;
use crate::status::{SignalStatus, StoreStatus};

/// How a store behaves.
#[derive(Clone, Debug)]
pub struct StoreSettings {
    /// How long data is kept, by its own time. Default 15 days.
    pub retention: Duration,
    /// Most bytes on disk per signal. Default 1 GiB.
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
    writer: Mutex<()>,
    head: RwLock<Head>,
}

impl Store {
    /// Opens a data directory, making it when it is not there, and reads everything in it.
    ///
    /// # Errors
    /// [`OpenError`] when the directory is in use, a segment comes from a newer version, or the file system refuses.
    /// Damaged data is no error: see [`StoreStatus::problems`].
    pub fn open(_dir: &Path, _settings: StoreSettings, _disk: Arc<dyn Disk>) -> Result<Self, OpenError> {
        Ok(Self { writer: Mutex::new(()), head: RwLock::default() })
    }

    /// An empty store that keeps nothing beyond its own life.
    #[must_use]
    pub fn in_memory() -> Self {
        let _disk = MemoryDisk::new();
        Self { writer: Mutex::new(()), head: RwLock::default() }
    }

    /// Keeps all batches or none, durably. Waits for other writes; the caller groups batches to share the wait for the
    /// disk.
    ///
    /// # Errors
    /// [`AppendError`] when nothing was kept.
    pub fn append(&self, batches: &[WriteBatch]) -> Result<Receipt, AppendError> {
        let _writer = self.lock_writer();
        let mut receipt = Receipt::default();
        let mut head = self.head.write().unwrap_or_else(PoisonError::into_inner);
        let admitted = intake::admit(batches, &head.metrics, &mut receipt);
        let segment = SegmentId::default();
        for addition in admitted.series {
            let id = head.metrics.series.find_or_add(&addition.labels);
            if let Some(series) = head.metrics.series.get_mut(id) {
                addition.samples.into_iter().for_each(|sample| series.push(segment, sample));
                addition.exemplars.into_iter().for_each(|exemplar| series.push_exemplar(segment, exemplar));
            }
        }
        admitted.metadata.into_iter().for_each(|metadata| head.metrics.describe(metadata));
        for batch in batches {
            for write in &batch.streams {
                let id = head.logs.streams.find_or_add(&write.labels);
                if let Some(stream) = head.logs.streams.get_mut(id) {
                    write.lines.iter().for_each(|line| stream.push(segment, line.clone()));
                    receipt.lines += write.lines.len() as u64;
                }
            }
            for span in &batch.spans {
                head.traces.push(segment, Arc::new(span.clone()));
                receipt.spans += 1;
            }
        }
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
    /// [`RetainError`] when a file cannot be removed.
    pub fn retain(&self, _now: Timestamp) -> Result<Retained, RetainError> {
        Ok(Retained::default())
    }

    /// How much there is. Looks at every series, stream and trace.
    #[must_use]
    pub fn status(&self) -> StoreStatus {
        let head = self.head();
        let signal = |size: Size| SignalStatus {
            identities: size.identities,
            items: size.items,
            oldest: size.extent.map(|extent| extent.oldest),
            newest: size.extent.map(|extent| extent.newest),
            ..SignalStatus::default()
        };
        StoreStatus {
            metrics: signal(head.metrics.size()),
            logs: signal(head.logs.size()),
            traces: signal(head.traces.size()),
            ..StoreStatus::default()
        }
    }

    fn head(&self) -> Head {
        self.head.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn lock_writer(&self) -> MutexGuard<'_, ()> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
