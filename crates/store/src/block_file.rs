//! What stands around the content of a block, whatever signal it is of.
//!
//! ```text
//! header    magic of eight bytes, version u16, zeros u16, CRC-32C of both u32
//! content
//! footer
//! trailer   offset u64, length u32 and CRC-32C u32 of the footer, CRC-32C of these sixteen bytes u32, magic "AEGE"
//! ```
//!
//! Numbers are little-endian. The file has a temporary name until it is whole and durable.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{Disk, DiskFile, DiskRead};
use crate::wire::{DecodeError, Reader};

const END: &[u8; 4] = b"AEGE";
pub(crate) const HEADER: usize = 16;
pub(crate) const TRAILER: usize = 24;
/// A footer of more would belong to a block of tens of terabytes.
pub(crate) const FOOTER_LIMIT: u32 = 1 << 30;
/// The name a block has while it is written.
pub(crate) const UNFINISHED: &str = "tmp";

/// What blocks of a signal begin with, and the newest version of them this build knows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Format {
    pub(crate) magic: [u8; 8],
    pub(crate) version: u16,
}

/// Why a block, or something in it, cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BlockError {
    /// The bytes are not what was written.
    #[error("`{file}` is damaged at byte {offset}: {what}")]
    Damaged {
        /// The block.
        file: PathBuf,
        /// Where the part in question begins.
        offset: u64,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A newer Aegis wrote it.
    #[error("`{file}` has format version {found}; this version of Aegis reads up to {known}")]
    Version {
        /// The block.
        file: PathBuf,
        /// Version in the file.
        found: u16,
        /// Newest version this build reads.
        known: u16,
    },
    /// The file system refused.
    #[error("cannot read `{file}`")]
    Io {
        /// The block.
        file: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// What a block is to say about its making.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct BlockOrigin {
    /// How many times its samples have been merged.
    pub(crate) level: u32,
    /// Numbers of what it was made from.
    pub(crate) sources: Vec<u64>,
}

/// Why a block could not be written. Nothing of it is left but a temporary file that is removed where that is possible.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteBlockError {
    /// The file system refused.
    #[error("cannot write `{file}`")]
    Io {
        /// The block.
        file: PathBuf,
        /// Why not; [`io::ErrorKind::StorageFull`] when there is no space.
        #[source]
        source: io::Error,
    },
    /// Too much for one block.
    #[error("`{file}` would hold more than {limit} {what}")]
    TooLarge {
        /// The block.
        file: PathBuf,
        /// What there is too much of.
        what: &'static str,
        /// What is allowed.
        limit: u64,
    },
    /// The caller's series do not ascend.
    #[error("series {series} is out of order in `{file}`")]
    Order {
        /// The block.
        file: PathBuf,
        /// The series, as text.
        series: String,
    },
}

/// A block that was opened: everything around its content holds.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) file: PathBuf,
    pub(crate) open: Box<dyn DiskRead>,
    /// Bytes in all.
    pub(crate) len: u64,
    pub(crate) footer: Vec<u8>,
    /// Where the footer begins.
    pub(crate) footer_at: u64,
}

impl Opened {
    /// Opens a block and checks its header, its footer's checksum and its end.
    pub(crate) fn open(disk: &dyn Disk, file: &Path, format: Format) -> Result<Self, BlockError> {
        let io = |source| BlockError::Io { file: file.to_owned(), source };
        let damaged = |offset, what| BlockError::Damaged { file: file.to_owned(), offset, what };
        let open = disk.open_read(file).map_err(io)?;
        let len = open.len().map_err(io)?;
        let end = len.checked_sub(TRAILER as u64).filter(|end| *end >= HEADER as u64);
        let end = end.ok_or_else(|| damaged(0, "it is too short for a block"))?;
        let mut header = [0; HEADER];
        open.read_at(0, &mut header).map_err(io)?;
        format.check_header(header).map_err(|fault| match fault {
            HeaderFault::Damaged(what) => damaged(0, what),
            HeaderFault::Version(found) => BlockError::Version { file: file.to_owned(), found, known: format.version },
        })?;
        let mut trailer = [0; TRAILER];
        open.read_at(end, &mut trailer).map_err(io)?;
        let (footer_at, footer_len, checksum) = read_trailer(trailer).map_err(|error| damaged(end, error.0))?;
        if footer_at.checked_add(u64::from(footer_len)) != Some(end) {
            return Err(damaged(end, "the footer does not lie before the end"));
        }
        let mut footer = vec![0; footer_len as usize];
        open.read_at(footer_at, &mut footer).map_err(io)?;
        if crc32c::crc32c(&footer) != checksum {
            return Err(damaged(footer_at, "the footer does not match its checksum"));
        }
        Ok(Self { file: file.to_owned(), open, len, footer, footer_at })
    }
}

/// What a header says, when it is none to read on.
enum HeaderFault {
    Damaged(&'static str),
    Version(u16),
}

impl Format {
    fn header(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER);
        out.extend_from_slice(&self.magic);
        out.extend_from_slice(&self.version.to_le_bytes());
        out.extend_from_slice(&[0; 2]);
        out.extend_from_slice(&crc32c::crc32c(&out).to_le_bytes());
        out
    }

    fn check_header(self, bytes: [u8; HEADER]) -> Result<(), HeaderFault> {
        let damaged = HeaderFault::Damaged;
        let (said, checksum) = bytes.split_last_chunk::<4>().ok_or(damaged("the header is too short"))?;
        let (magic, rest) = said.split_first_chunk::<8>().ok_or(damaged("the header is too short"))?;
        if *magic != self.magic {
            return Err(damaged("this is no block"));
        }
        if crc32c::crc32c(said) != u32::from_le_bytes(*checksum) {
            return Err(damaged("the header does not match its checksum"));
        }
        match rest.first_chunk::<2>().map(|version| u16::from_le_bytes(*version)) {
            Some(version) if version == self.version => Ok(()),
            Some(version) => Err(HeaderFault::Version(version)),
            None => Err(damaged("the header is too short")),
        }
    }
}

pub(crate) fn trailer(offset: u64, footer: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(TRAILER);
    out.extend_from_slice(&offset.to_le_bytes());
    out.extend_from_slice(&(footer.len() as u32).to_le_bytes());
    out.extend_from_slice(&crc32c::crc32c(footer).to_le_bytes());
    out.extend_from_slice(&crc32c::crc32c(&out).to_le_bytes());
    out.extend_from_slice(END);
    out
}

/// Where the footer is: offset, length, checksum.
pub(crate) fn read_trailer(bytes: [u8; TRAILER]) -> Result<(u64, u32, u32), DecodeError> {
    let (said, after) = bytes.split_at_checked(16).ok_or(DecodeError("the end is too short"))?;
    let mut after = Reader::new(after);
    let checksum = u32::from_le_bytes(after.array()?);
    if after.rest() != END {
        return Err(DecodeError("the block does not end as a block does"));
    }
    if crc32c::crc32c(said) != checksum {
        return Err(DecodeError("the end does not match its checksum"));
    }
    let mut said = Reader::new(said);
    let offset = u64::from_le_bytes(said.array()?);
    let len = u32::from_le_bytes(said.array()?);
    if len > FOOTER_LIMIT {
        return Err(DecodeError("the footer is too long"));
    }
    Ok((offset, len, u32::from_le_bytes(said.array()?)))
}

/// The file being written, under a temporary name.
#[derive(Debug)]
pub(crate) struct Output {
    disk: Arc<dyn Disk>,
    pub(crate) file: PathBuf,
    unfinished: PathBuf,
    open: Box<dyn DiskFile>,
    pub(crate) len: u64,
    is_finished: bool,
}

impl Output {
    /// Begins a block that will be `file`; its directory is there, and nobody else writes there.
    pub(crate) fn create(disk: Arc<dyn Disk>, file: &Path, format: Format) -> Result<Self, WriteBlockError> {
        let unfinished = file.with_extension(UNFINISHED);
        let io = |source| WriteBlockError::Io { file: unfinished.clone(), source };
        let mut open = disk.open(&unfinished).map_err(io)?;
        // What an earlier attempt left.
        if open.len().map_err(io)? > 0 {
            open.truncate(0).map_err(io)?;
        }
        let mut out = Self { disk, file: file.to_owned(), unfinished, open, len: 0, is_finished: false };
        out.append(&format.header())?;
        Ok(out)
    }

    /// Adds bytes at the end.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<(), WriteBlockError> {
        self.open.append(bytes).map_err(|source| WriteBlockError::Io { file: self.unfinished.clone(), source })?;
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Writes the footer and makes the block durable under its name.
    pub(crate) fn finish(mut self, mut footer: Vec<u8>) -> Result<(), WriteBlockError> {
        if footer.len() > FOOTER_LIMIT as usize {
            let limit = u64::from(FOOTER_LIMIT);
            return Err(WriteBlockError::TooLarge { file: self.file.clone(), what: "bytes of footer", limit });
        }
        let trailer = trailer(self.len, &footer);
        footer.extend_from_slice(&trailer);
        self.append(&footer)?;
        let synced = self.open.sync();
        synced.map_err(|source| WriteBlockError::Io { file: self.unfinished.clone(), source })?;
        let dir = self.file.parent().unwrap_or_else(|| Path::new(""));
        let renamed = self.disk.rename(&self.unfinished, &self.file);
        // From here on the temporary name is gone, or in doubt.
        self.is_finished = renamed.is_ok();
        let done = renamed.and_then(|()| self.disk.sync_dir(dir));
        done.map_err(|source| WriteBlockError::Io { file: self.file.clone(), source })
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if !self.is_finished {
            // Best effort: whoever opens the directory removes what is left.
            drop(self.disk.remove(&self.unfinished));
        }
    }
}
