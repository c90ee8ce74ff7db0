//! The few things the store asks of a file system.

mod memory;
mod os;

use std::fmt::Debug;
use std::io;
use std::path::Path;

pub use memory::{Fault, MemoryDisk};
pub use os::OsDisk;

/// A file system. [`OsDisk`] is the real one; [`MemoryDisk`] forgets, fills up and fails on demand.
pub trait Disk: Send + Sync + Debug {
    /// Makes a directory and its parents; fine when it is there.
    ///
    /// # Errors
    /// When the file system refuses.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;

    /// Names of the files directly in `dir`, in any order.
    ///
    /// # Errors
    /// When the directory cannot be read.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// The whole content of a file.
    ///
    /// # Errors
    /// When the file cannot be read.
    fn read(&self, file: &Path) -> io::Result<Vec<u8>>;

    /// Opens a file for appending; makes it when it is not there.
    ///
    /// # Errors
    /// When the file system refuses.
    fn open(&self, file: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Opens a file that is there for reading at any place. What is open stays readable when the file is removed.
    ///
    /// # Errors
    /// When the file is not there or cannot be opened.
    fn open_read(&self, file: &Path) -> io::Result<Box<dyn DiskRead>>;

    /// Gives a file another name in the same directory; a file that had that name is replaced. Durable with the next
    /// [`sync_dir`](Self::sync_dir).
    ///
    /// # Errors
    /// When the file system refuses.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Gives a file that no longer changes a second name, in any directory of the same file system.
    ///
    /// # Errors
    /// When the file system refuses.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// When the file system refuses.
    fn remove(&self, file: &Path) -> io::Result<()>;

    /// Makes the creation and removal of files in `dir` durable.
    ///
    /// # Errors
    /// When the file system cannot promise it.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Takes an exclusive lock on a file, made when it is not there; `None` when somebody else holds it. Dropping the
    /// answer, or the end of the process, gives it back.
    ///
    /// # Errors
    /// When the file cannot be opened or locked.
    fn lock(&self, file: &Path) -> io::Result<Option<Box<dyn DiskLock>>>;
}

/// A file open for appending.
pub trait DiskFile: Send + Sync + Debug {
    /// Current length in bytes.
    ///
    /// # Errors
    /// When the file system cannot tell.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file has no bytes.
    ///
    /// # Errors
    /// When the file system cannot tell.
    fn is_empty(&self) -> io::Result<bool> {
        self.len().map(|len| len == 0)
    }

    /// Adds `bytes` at the end; after an error any part of them may be there.
    ///
    /// # Errors
    /// [`io::ErrorKind::StorageFull`] when there is no space, or whatever else went wrong.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Cuts the file to `len` bytes.
    ///
    /// # Errors
    /// When the file system refuses.
    fn truncate(&mut self, len: u64) -> io::Result<()>;

    /// Makes everything so far survive a loss of power.
    ///
    /// # Errors
    /// When that cannot be promised; what was written since the last success is then in doubt.
    fn sync(&mut self) -> io::Result<()>;
}

/// A file open for reading.
pub trait DiskRead: Send + Sync + Debug {
    /// Length in bytes.
    ///
    /// # Errors
    /// When the file system cannot tell.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file has no bytes.
    ///
    /// # Errors
    /// When the file system cannot tell.
    fn is_empty(&self) -> io::Result<bool> {
        self.len().map(|len| len == 0)
    }

    /// Fills `bytes` from the file, from `offset` on.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] when the file ends before, or whatever else went wrong.
    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()>;
}

/// A held lock; dropping it gives it back.
pub trait DiskLock: Send + Sync + Debug {}
