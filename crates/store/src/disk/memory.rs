//! A file system in memory that can lose power, fill up and fail when told to.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Disk, DiskFile, DiskLock, DiskRead};

/// A file system in memory. Clones share the same files.
///
/// Like a real one it keeps only what was synced when the power goes: bytes by a sync of the file, creation and removal
/// by a sync of the directory.
#[derive(Clone, Debug, Default)]
pub struct MemoryDisk {
    state: Arc<Mutex<State>>,
}

/// What goes wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The operation answers an error; an append first writes `kept` bytes.
    Fails {
        /// Kind of the error answered.
        kind: io::ErrorKind,
        /// Bytes an append writes before it fails.
        kept: usize,
    },
    /// The power goes during the operation, and every later operation fails until [`MemoryDisk::restart`].
    PowerLoss {
        /// Bytes of the file in question that survive although they were not synced.
        kept: usize,
    },
}

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<PathBuf, FileState>,
    /// Removed, renamed and replaced files whose removal is not durable yet.
    removed: BTreeMap<PathBuf, FileState>,
    locked: BTreeSet<PathBuf>,
    capacity: Option<u64>,
    armed: Option<(u64, Fault)>,
    operations: u64,
    is_off: bool,
    /// Rises with every restart; handles of an earlier life do nothing.
    life: u64,
}

#[derive(Clone, Debug, Default)]
struct FileState {
    data: Vec<u8>,
    /// Length of the prefix that is durable.
    synced: usize,
    /// What was durable before a cut that is not durable itself.
    before_cut: Option<Vec<u8>>,
    /// Whether the file's creation is durable.
    is_linked: bool,
}

impl FileState {
    fn lose_power(&mut self, kept: usize) {
        if let Some(before) = self.before_cut.take() {
            self.data = before;
        } else {
            self.data.truncate(self.synced.saturating_add(kept));
        }
        self.synced = self.data.len();
    }
}

impl MemoryDisk {
    /// An empty file system without limits.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets the operation after the next `after` ones go wrong, once. Counted are: opening a file for appending, append,
    /// truncate, rename, remove, sync of a file or directory.
    pub fn arm(&self, after: u64, fault: Fault) {
        let mut state = self.lock_state();
        state.armed = Some((state.operations.saturating_add(after), fault));
    }

    /// Limits the bytes of all files together; appends beyond fill what is left and answer
    /// [`io::ErrorKind::StorageFull`].
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.lock_state().capacity = bytes;
    }

    /// Operations so far, as counted by [`arm`](Self::arm).
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.lock_state().operations
    }

    /// The power goes and comes back: what was not durable is gone, locks and handles are void.
    pub fn restart(&self) {
        let mut state = self.lock_state();
        if !state.is_off {
            state.lose_power(None, 0);
        }
        state.is_off = false;
        state.revive();
    }

    /// The process is killed and starts again: everything written stays, locks and handles are void.
    pub fn kill(&self) {
        self.lock_state().revive();
    }

    /// Replaces a file, durably.
    pub fn put(&self, file: &Path, bytes: Vec<u8>) {
        let synced = bytes.len();
        let content = FileState { data: bytes, synced, before_cut: None, is_linked: true };
        self.lock_state().files.insert(file.to_owned(), content);
    }

    /// Every file there is.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        self.lock_state().files.keys().cloned().collect()
    }

    fn lock_state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn check_power(&self) -> io::Result<()> {
        if self.is_off { Err(io::Error::other("the power is off")) } else { Ok(()) }
    }

    /// Counts an operation; answers how much of an append to write before failing, when it is to fail.
    fn count(&mut self, file: &Path) -> io::Result<Option<(usize, io::Error)>> {
        self.check_power()?;
        let number = self.operations;
        self.operations += 1;
        match self.armed {
            Some((at, fault)) if at <= number => {
                self.armed = None;
                match fault {
                    Fault::Fails { kind, kept } => Ok(Some((kept, io::Error::new(kind, "armed fault")))),
                    Fault::PowerLoss { kept } => {
                        self.lose_power(Some(file), kept);
                        self.is_off = true;
                        Err(io::Error::other("the power went"))
                    }
                }
            }
            Some(_) | None => Ok(None),
        }
    }

    /// Counts an operation that is not an append.
    fn count_whole(&mut self, file: &Path) -> io::Result<()> {
        match self.count(file)? {
            Some((_, error)) => Err(error),
            None => Ok(()),
        }
    }

    fn lose_power(&mut self, torn: Option<&Path>, kept: usize) {
        let removed = std::mem::take(&mut self.removed);
        self.files.extend(removed);
        self.files.retain(|_, file| file.is_linked);
        for (path, file) in &mut self.files {
            file.lose_power(if torn == Some(path.as_path()) { kept } else { 0 });
        }
    }

    fn revive(&mut self) {
        self.locked.clear();
        self.armed = None;
        self.life += 1;
    }

    fn used(&self) -> u64 {
        self.files.values().map(|file| file.data.len() as u64).sum()
    }
}

impl Disk for MemoryDisk {
    fn create_dir_all(&self, _dir: &Path) -> io::Result<()> {
        self.lock_state().check_power()
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.lock_state();
        state.check_power()?;
        let inside = state.files.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside.filter_map(|path| path.file_name()?.to_str().map(str::to_owned)).collect())
    }

    fn read(&self, file: &Path) -> io::Result<Vec<u8>> {
        let state = self.lock_state();
        state.check_power()?;
        state.files.get(file).map(|file| file.data.clone()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn open(&self, file: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.lock_state();
        state.count_whole(file)?;
        state.files.entry(file.to_owned()).or_default();
        Ok(Box::new(MemoryFile { disk: self.clone(), path: file.to_owned(), life: state.life }))
    }

    fn open_read(&self, file: &Path) -> io::Result<Box<dyn DiskRead>> {
        let state = self.lock_state();
        state.check_power()?;
        let content = state.files.get(file).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(MemoryRead { disk: self.clone(), bytes: content.data.clone(), life: state.life }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.lock_state();
        state.count_whole(from)?;
        let mut file = state.files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        if file.is_linked {
            state.removed.insert(from.to_owned(), file.clone());
        }
        file.is_linked = false;
        if let Some(replaced) = state.files.insert(to.to_owned(), file)
            && replaced.is_linked
        {
            state.removed.insert(to.to_owned(), replaced);
        }
        Ok(())
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.lock_state();
        state.count_whole(from)?;
        let mut file = state.files.get(from).ok_or(io::ErrorKind::NotFound)?.clone();
        file.is_linked = false;
        state.files.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, file: &Path) -> io::Result<()> {
        let mut state = self.lock_state();
        state.count_whole(file)?;
        let removed = state.files.remove(file).ok_or(io::ErrorKind::NotFound)?;
        state.removed.insert(file.to_owned(), removed);
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.lock_state();
        state.count_whole(dir)?;
        state.removed.retain(|path, _| path.parent() != Some(dir));
        let inside = state.files.iter_mut().filter(|(path, _)| path.parent() == Some(dir));
        inside.for_each(|(_, file)| file.is_linked = true);
        Ok(())
    }

    fn lock(&self, file: &Path) -> io::Result<Option<Box<dyn DiskLock>>> {
        let mut state = self.lock_state();
        state.check_power()?;
        let life = state.life;
        if !state.locked.insert(file.to_owned()) {
            return Ok(None);
        }
        Ok(Some(Box::new(MemoryLock { disk: self.clone(), path: file.to_owned(), life })))
    }
}

#[derive(Debug)]
struct MemoryFile {
    disk: MemoryDisk,
    path: PathBuf,
    life: u64,
}

impl MemoryFile {
    fn lock(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.disk.lock_state();
        if state.life != self.life {
            return Err(io::Error::other("the file was opened before the restart"));
        }
        Ok(state)
    }
}

impl DiskFile for MemoryFile {
    fn len(&self) -> io::Result<u64> {
        let state = self.lock()?;
        state.check_power()?;
        state.files.get(&self.path).map(|file| file.data.len() as u64).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.lock()?;
        let room = state.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(state.used()));
        // The bytes are there before the power goes, so that a part of them can survive.
        let losing = matches!(state.armed, Some((at, Fault::PowerLoss { .. })) if at <= state.operations);
        let write = |state: &mut State, len: usize| {
            let part = bytes.get(..len).unwrap_or(bytes);
            state.files.entry(self.path.clone()).or_default().data.extend_from_slice(part);
        };
        if losing {
            write(&mut state, bytes.len());
        }
        if let Some((kept, error)) = state.count(&self.path)? {
            write(&mut state, kept);
            return Err(error);
        }
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        write(&mut state, bytes.len().min(room));
        if room < bytes.len() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        let mut state = self.lock()?;
        state.count_whole(&self.path)?;
        let file = state.files.get_mut(&self.path).ok_or(io::ErrorKind::NotFound)?;
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        if len < file.synced && file.before_cut.is_none() {
            file.before_cut = Some(file.data.iter().take(file.synced).copied().collect());
        }
        file.data.truncate(len);
        file.synced = file.synced.min(len);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.lock()?;
        state.count_whole(&self.path)?;
        let file = state.files.get_mut(&self.path).ok_or(io::ErrorKind::NotFound)?;
        file.synced = file.data.len();
        file.before_cut = None;
        Ok(())
    }
}

/// The file as it was when it was opened: what is read this way is never written again.
#[derive(Debug)]
struct MemoryRead {
    disk: MemoryDisk,
    bytes: Vec<u8>,
    life: u64,
}

impl DiskRead for MemoryRead {
    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes.len() as u64)
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        let state = self.disk.lock_state();
        state.check_power()?;
        if state.life != self.life {
            return Err(io::Error::other("the file was opened before the restart"));
        }
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let part = self.bytes.get(start..).and_then(|rest| rest.get(..bytes.len()));
        bytes.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

#[derive(Debug)]
struct MemoryLock {
    disk: MemoryDisk,
    path: PathBuf,
    life: u64,
}

impl DiskLock for MemoryLock {}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        let mut state = self.disk.lock_state();
        if state.life == self.life {
            state.locked.remove(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path() -> &'static Path {
        Path::new("/d/f")
    }

    /// A file with `synced` durable and `written` behind it.
    fn disk(synced: &[u8], written: &[u8]) -> (MemoryDisk, Box<dyn DiskFile>) {
        let disk = MemoryDisk::new();
        let mut file = disk.open(path()).unwrap();
        file.append(synced).unwrap();
        file.sync().unwrap();
        disk.sync_dir(Path::new("/d")).unwrap();
        file.append(written).unwrap();
        (disk, file)
    }

    #[test]
    fn power_takes_what_was_not_synced() {
        type Step = fn(&MemoryDisk, &mut dyn DiskFile);
        let steps: [(&str, Step, Option<&[u8]>); 9] = [
            ("nothing more", |_, _| {}, Some(b"abc")),
            ("synced", |_, file| file.sync().unwrap(), Some(b"abcde")),
            ("cut, not synced", |_, file| file.truncate(1).unwrap(), Some(b"abc")),
            (
                "cut and written, not synced",
                |_, file| {
                    file.truncate(1).unwrap();
                    file.append(b"z").unwrap();
                },
                Some(b"abc"),
            ),
            (
                "cut and synced",
                |_, file| {
                    file.truncate(1).unwrap();
                    file.sync().unwrap();
                },
                Some(b"a"),
            ),
            ("removed, directory not synced", |disk, _| disk.remove(path()).unwrap(), Some(b"abc")),
            ("renamed, directory not synced", |disk, _| disk.rename(path(), Path::new("/d/g")).unwrap(), Some(b"abc")),
            (
                "renamed for good",
                |disk, _| {
                    disk.rename(path(), Path::new("/d/g")).unwrap();
                    disk.sync_dir(Path::new("/d")).unwrap();
                },
                None,
            ),
            (
                "removed for good",
                |disk, _| {
                    disk.remove(path()).unwrap();
                    disk.sync_dir(Path::new("/d")).unwrap();
                },
                None,
            ),
        ];
        for (case, step, want) in steps {
            let (disk, mut file) = disk(b"abc", b"de");
            step(&disk, &mut *file);
            disk.restart();
            assert_eq!(disk.read(path()).ok().as_deref(), want, "{case}");
            assert!(file.append(b"x").is_err(), "{case}: the old handle is void");
        }
        let disk = MemoryDisk::new();
        for (name, text) in [("/d/f", b"old"), ("/d/f.tmp", b"new")] {
            let mut file = disk.open(Path::new(name)).unwrap();
            file.append(text).unwrap();
            file.sync().unwrap();
            if name == "/d/f" {
                disk.sync_dir(Path::new("/d")).unwrap();
            }
        }
        disk.rename(Path::new("/d/f.tmp"), path()).unwrap();
        assert_eq!(disk.read(path()).unwrap(), b"new", "replaced");
        disk.restart();
        assert_eq!(disk.read(path()).unwrap(), b"old", "a replacement whose directory was not synced is undone");
        let disk = MemoryDisk::new();
        disk.open(path()).unwrap().sync().unwrap();
        disk.restart();
        assert!(disk.files().is_empty(), "a file whose directory was not synced is gone");
    }

    #[test]
    fn armed_faults_strike_once_and_at_their_time() {
        for (case, after, fault, first, second, left) in [
            ("now", 0, Fault::Fails { kind: io::ErrorKind::Other, kept: 1 }, false, true, &b"abcdxy"[..]),
            ("the one after", 1, Fault::Fails { kind: io::ErrorKind::Other, kept: 0 }, true, false, b"abcxy"),
            ("power", 0, Fault::PowerLoss { kept: 1 }, false, false, b"abcx"),
        ] {
            let (disk, mut file) = disk(b"abc", b"");
            disk.arm(after, fault);
            let text: &[u8] = if case == "now" { b"d" } else { b"xy" };
            assert_eq!(file.append(text).is_ok(), first, "{case}");
            assert_eq!(file.append(b"xy").is_ok(), second, "{case}");
            disk.restart_if_off();
            assert_eq!(disk.read(path()).unwrap(), left, "{case}");
        }
    }

    #[test]
    fn a_full_disk_takes_what_fits() {
        let (disk, mut file) = disk(b"abc", b"");
        disk.set_capacity(Some(4));
        assert_eq!(file.append(b"xy").unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(disk.read(path()).unwrap(), b"abcx");
    }

    impl MemoryDisk {
        fn restart_if_off(&self) {
            let is_off = self.lock_state().is_off;
            if is_off {
                self.restart();
            }
        }
    }
}
