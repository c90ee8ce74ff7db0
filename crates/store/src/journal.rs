//! The segments of one signal: one grows, the others wait to be dropped.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use signal::Timestamp;

use crate::disk::{Disk, DiskFile};
use crate::errors::{AppendError, OpenError, RetainError, Retained};
use crate::head::SegmentId;
use crate::segment::Signal;
use crate::store::{Fsync, StoreSettings};

/// Into how many segments the retention time is divided at least.
const SPANS: u32 = 8;
/// How many times larger segments of metrics are: each names its series anew.
const METRICS_FACTOR: u64 = 4;

/// The files of one signal.
#[derive(Debug)]
pub(crate) struct Journal {
    signal: Signal,
    dir: PathBuf,
    disk: Arc<dyn Disk>,
    fsync: Fsync,
    segment_bytes: u64,
    /// Time a segment covers before a new one begins, so that little traffic is forgotten in time too.
    segment_span: Duration,
    segments: BTreeMap<SegmentId, SegmentFacts>,
    active: Option<Active>,
    /// Numbers up to this are not given again, though no such segment may be left.
    floor: SegmentId,
}

/// What is known of a segment without reading it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SegmentFacts {
    pub(crate) bytes: u64,
    /// The newest instant inside; `None` when nothing in it has a time.
    pub(crate) newest: Option<Timestamp>,
    /// The newest instant of the first record: about when the segment began.
    pub(crate) began: Option<Timestamp>,
    /// Whether there is any record.
    pub(crate) has_records: bool,
}

impl SegmentFacts {
    /// Takes in the newest instant of the next record.
    pub(crate) fn note(&mut self, newest: Option<Timestamp>) {
        self.newest = self.newest.max(newest);
        self.began = self.began.or(newest);
    }
}

/// The segment that grows.
#[derive(Debug)]
struct Active {
    id: SegmentId,
    file: Box<dyn DiskFile>,
    /// Where the last finished record ends; 0 before the header is written.
    len: u64,
    /// Where the file ends now; more than `len` while a write is not finished.
    written: u64,
    /// Whether the file itself is not durable in its directory yet.
    is_unlinked: bool,
}

impl Journal {
    /// A signal's files in `dir`; none known yet.
    pub(crate) fn new(signal: Signal, dir: &Path, settings: &StoreSettings, disk: &Arc<dyn Disk>) -> Self {
        let (dir, disk) = (dir.join(signal.dir()), Arc::clone(disk));
        let (fsync, segment_bytes) = (settings.fsync, settings.segment_bytes);
        // Metrics and logs move from their segments to blocks; traces are forgotten segment by segment.
        let (segment_bytes, segment_span) = match signal {
            Signal::Metrics => (segment_bytes.saturating_mul(METRICS_FACTOR), Duration::MAX),
            Signal::Logs => (segment_bytes, Duration::MAX),
            Signal::Traces => (segment_bytes, settings.retention / SPANS),
        };
        Self {
            signal,
            dir,
            disk,
            fsync,
            segment_bytes,
            segment_span,
            segments: BTreeMap::new(),
            active: None,
            floor: SegmentId(0),
        }
    }

    /// Removes segments up to `floor`, which are in blocks, and gives their numbers to no others.
    pub(crate) fn begin_after(&mut self, floor: SegmentId) -> Result<(), OpenError> {
        self.floor = floor;
        for id in self.list()?.into_iter().filter(|id| *id <= floor) {
            let path = self.path(id);
            self.disk.remove(&path).map_err(|source| OpenError::Io { action: "remove", path, source })?;
        }
        Ok(())
    }

    /// Makes the signal's directory when it is not there.
    pub(crate) fn make_dir(&self) -> Result<(), OpenError> {
        let made = self.disk.create_dir_all(&self.dir);
        made.map_err(|source| OpenError::Io { action: "make directory", path: self.dir.clone(), source })
    }

    pub(crate) fn signal(&self) -> Signal {
        self.signal
    }

    pub(crate) fn path(&self, id: SegmentId) -> PathBuf {
        self.dir.join(format!("{:08}.seg", id.0))
    }

    /// The segments in the directory, oldest first.
    pub(crate) fn list(&self) -> Result<Vec<SegmentId>, OpenError> {
        let names = self.disk.list(&self.dir);
        let names = names.map_err(|source| OpenError::Io { action: "list", path: self.dir.clone(), source })?;
        let mut ids: Vec<_> =
            names.iter().filter_map(|name| name.strip_suffix(".seg")?.parse().ok().map(SegmentId)).collect();
        ids.sort_unstable();
        Ok(ids)
    }

    pub(crate) fn read(&self, id: SegmentId) -> Result<Vec<u8>, OpenError> {
        let path = self.path(id);
        self.disk.read(&path).map_err(|source| OpenError::Io { action: "read", path, source })
    }

    /// Takes over a segment that was read.
    pub(crate) fn adopt(&mut self, id: SegmentId, facts: SegmentFacts) {
        self.segments.insert(id, facts);
    }

    /// Goes on writing at the end of the newest segment, after cutting it to `len` bytes.
    pub(crate) fn resume(&mut self, id: SegmentId, len: u64) -> Result<(), OpenError> {
        let path = self.path(id);
        let io = |action, source| OpenError::Io { action, path: path.clone(), source };
        let mut file = self.disk.open(&path).map_err(|source| io("open", source))?;
        if file.len().map_err(|source| io("measure", source))? != len {
            file.truncate(len).map_err(|source| io("truncate", source))?;
            file.sync().map_err(|source| io("sync", source))?;
        }
        // A crash may have come between the file and its directory.
        self.disk.sync_dir(&self.dir).map_err(|source| io("sync the directory of", source))?;
        self.active = Some(Active { id, file, len, written: len, is_unlinked: false });
        Ok(())
    }

    /// Makes sure that there is a segment with room for data up to `newest`; answers it and whether it is empty.
    pub(crate) fn make_room(&mut self, newest: Option<Timestamp>) -> Result<(SegmentId, bool), AppendError> {
        if let Some(active) = &self.active {
            let began = self.segments.get(&active.id).and_then(|facts| facts.began);
            let is_long = began.zip(newest).is_some_and(|(began, newest)| newest.since(began) > self.segment_span);
            if active.len == 0 || (active.len < self.segment_bytes && !is_long) {
                return Ok((active.id, active.len == 0));
            }
        }
        let last = self.segments.last_key_value().map_or(self.floor, |(id, _)| (*id).max(self.floor));
        let id = SegmentId(last.0 + 1);
        let path = self.path(id);
        let mut file = self.disk.open(&path).map_err(|error| append_error(&path, error))?;
        if file.len().map_err(|error| append_error(&path, error))? > 0 {
            file.truncate(0).map_err(|error| append_error(&path, error))?;
        }
        self.segments.insert(id, SegmentFacts::default());
        self.active = Some(Active { id, file, len: 0, written: 0, is_unlinked: true });
        Ok((id, true))
    }

    /// Adds frames, the first ones of a segment behind its header. Unfinished until [`commit`](Self::commit).
    pub(crate) fn write(&mut self, frames: &[u8]) -> Result<(), AppendError> {
        let Some(active) = &mut self.active else { return Ok(()) };
        active.written += frames.len() as u64;
        match active.file.append(frames) {
            Ok(()) => Ok(()),
            Err(error) => Err(self.error(error)),
        }
    }

    /// Makes what was written durable, as far as the settings ask for it.
    pub(crate) fn sync(&mut self) -> Result<(), AppendError> {
        let Some(active) = &mut self.active else { return Ok(()) };
        if self.fsync == Fsync::Never || active.written == active.len {
            return Ok(());
        }
        let mut synced = active.file.sync();
        if synced.is_ok() && active.is_unlinked {
            synced = self.disk.sync_dir(&self.dir);
            active.is_unlinked = synced.is_err();
        }
        synced.map_err(|error| self.error(error))
    }

    fn error(&self, error: io::Error) -> AppendError {
        let path = self.active.as_ref().map_or_else(|| self.dir.clone(), |active| self.path(active.id));
        append_error(&path, error)
    }

    /// What was written counts. `newest` is its newest instant.
    pub(crate) fn commit(&mut self, newest: Option<Timestamp>) {
        let Some(active) = &mut self.active else { return };
        if active.written == active.len {
            return;
        }
        active.len = active.written;
        let facts = self.segments.entry(active.id).or_default();
        facts.bytes = active.len;
        facts.has_records = true;
        facts.note(newest);
    }

    /// Takes back what was written since the last commit.
    pub(crate) fn roll_back(&mut self) -> Result<(), io::Error> {
        let Some(active) = &mut self.active else { return Ok(()) };
        if active.written == active.len {
            return Ok(());
        }
        active.file.truncate(active.len)?;
        if self.fsync == Fsync::Always {
            active.file.sync()?;
        }
        active.written = active.len;
        Ok(())
    }

    /// The next write begins a new segment. Answers the last one there is.
    pub(crate) fn close(&mut self) -> Option<SegmentId> {
        self.active = None;
        self.segments.last_key_value().map(|(id, _)| *id)
    }

    /// Segments up to `last`.
    pub(crate) fn until(&self, last: SegmentId) -> Vec<SegmentId> {
        self.segments.range(..=last).map(|(id, _)| *id).collect()
    }

    pub(crate) fn segments(&self) -> u64 {
        self.segments.len() as u64
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.segments.values().map(|facts| facts.bytes).sum()
    }

    /// Segments that end before `cutoff`, and the oldest ones beyond `max_bytes`; never the newest.
    pub(crate) fn expired(&self, cutoff: Timestamp, max_bytes: u64) -> Vec<SegmentId> {
        // The newest record stays too: at start it tells whether the last write was finished.
        let newest = self.segments.last_key_value().map(|(id, _)| *id);
        let newest_record = self.segments.iter().rev().find(|(_, facts)| facts.has_records).map(|(id, _)| *id);
        let mut excess = self.bytes().saturating_sub(max_bytes);
        let mut expired = Vec::new();
        for (id, facts) in &self.segments {
            let is_newest = newest == Some(*id) || newest_record == Some(*id);
            if !is_newest && (excess > 0 || facts.newest.is_none_or(|newest| newest < cutoff)) {
                expired.push(*id);
                excess = excess.saturating_sub(facts.bytes);
            }
        }
        expired
    }

    /// Gives a damaged segment a name that is not read again; answers it.
    pub(crate) fn set_aside(&self, id: SegmentId) -> Result<PathBuf, RetainError> {
        let file = self.path(id);
        let aside = file.with_extension("damaged");
        match self.disk.rename(&file, &aside) {
            Ok(()) => Ok(aside),
            Err(source) => Err(RetainError::Io { file, source }),
        }
    }

    /// Removes segments from disk, one after the other; those in `removed` are gone also when an error is answered.
    pub(crate) fn remove(
        &mut self,
        ids: &[SegmentId],
        removed: &mut BTreeSet<SegmentId>,
        retained: &mut Retained,
    ) -> Result<(), RetainError> {
        for id in ids {
            let file = self.path(*id);
            match self.disk.remove(&file) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(RetainError::Io { file, source }),
            }
            removed.insert(*id);
            self.floor = self.floor.max(*id);
            retained.segments += 1;
            retained.bytes += self.segments.remove(id).map_or(0, |facts| facts.bytes);
        }
        if !ids.is_empty() {
            self.disk.sync_dir(&self.dir).map_err(|source| RetainError::Io { file: self.dir.clone(), source })?;
        }
        Ok(())
    }
}

fn append_error(file: &Path, source: io::Error) -> AppendError {
    let file = file.to_owned();
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => AppendError::DiskFull { file },
        _ => AppendError::Io { file, source },
    }
}
