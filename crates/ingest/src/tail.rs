//! Following log files: which bytes are new, where lines end, and how far a file counts as read.
//!
//! [`Tailer`] is the whole of it but for the files themselves, which it reads through [`Files`], and the clock. One
//! [`round`](Tailer::round) makes a batch and the [`Position`]s that have to be durable *before* the batch is written;
//! [`accepted`](Tailer::accepted) says that it was. After a crash in between, the same bytes make the same batch again,
//! line for line and time for time, so that the store finds nothing new in it.

mod follow;
mod position;
mod split;
mod tailer;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use signal::Labels;

use crate::pipeline::Pipeline;

pub use position::{Mark, Position, PositionError, Positions, Read, Sent};
pub use tailer::{Counts, Round, Tailer};

/// What a file is, whatever it is called.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct FileId {
    /// Of its file system.
    pub device: u64,
    /// Within the file system; may be given to another file when this one is gone.
    pub inode: u64,
}

/// What can be seen of a file without reading it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seen {
    /// Which file it is.
    pub id: FileId,
    /// Its bytes.
    pub size: u64,
    /// When it was written to last, by any measure that differs from time to time.
    pub modified: i128,
}

/// The files of a machine. Paths are absolute.
pub trait Files {
    /// An open file, which stays the same whatever happens to its name.
    type Open;

    /// The file of this name now; `None` when there is none, or when it is no regular file.
    fn look(&self, path: &str) -> Option<Seen>;

    /// Opens the file of this name.
    ///
    /// # Errors
    /// When it cannot be opened.
    fn open(&self, path: &str) -> io::Result<Self::Open>;

    /// What an open file is now.
    ///
    /// # Errors
    /// When the system does not say.
    fn seen(&self, file: &Self::Open) -> io::Result<Seen>;

    /// Reads at a place, as much as there is and fits.
    ///
    /// # Errors
    /// When it cannot be read.
    fn read_at(&self, file: &Self::Open, from: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// The other files of the directory of this one, the newest first.
    fn beside(&self, path: &str) -> Vec<String>;
}

/// What a set of files has in common.
#[derive(Clone, Debug)]
pub struct TailJob {
    /// Unique among jobs; positions are kept under it.
    pub name: String,
    /// Of every line. `filename` is added to them.
    pub labels: Labels,
    /// Where files begin that are there at the very first look.
    pub start: Start,
    /// The stages, holding nothing.
    pub pipeline: Pipeline,
    /// Bytes of a line; a longer one is cut.
    pub max_line_bytes: usize,
    /// How long a line may be without its end before it is taken as it is.
    pub half_line_wait: Duration,
}

/// Where a file without a known position begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Start {
    /// With its first line.
    #[default]
    Beginning,
    /// With what is written to it from now on.
    End,
}

/// A job and the files it means now.
#[derive(Clone, Debug)]
pub struct Found {
    /// The job.
    pub job: Arc<TailJob>,
    /// Each once, in any order.
    pub paths: Vec<String>,
}

#[cfg(test)]
mod tests;
