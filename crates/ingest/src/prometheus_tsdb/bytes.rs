//! Reading files of the other server: sections with checksums, varints.

use super::{BlockError, Source};

/// How much is read ahead at least; series and chunks lie one behind the other.
const AHEAD: u64 = 256 << 10;

/// A file with a piece of it in memory.
#[derive(Debug)]
pub(super) struct Window<S> {
    pub(super) file: String,
    source: S,
    start: u64,
    piece: Vec<u8>,
}

impl<S: Source> Window<S> {
    pub(super) fn new(file: String, source: S) -> Self {
        Self { file, source, start: 0, piece: Vec::new() }
    }

    pub(super) fn size(&self) -> u64 {
        self.source.size()
    }

    pub(super) fn damaged(&self, offset: u64, reason: impl Into<String>) -> BlockError {
        BlockError::Damaged { file: self.file.clone(), offset, reason: reason.into() }
    }

    /// `len` bytes from `offset` on.
    pub(super) fn get(&mut self, offset: u64, len: u64) -> Result<&[u8], BlockError> {
        self.load(offset, len)?;
        Ok(self.view(offset, len))
    }

    /// As many of `len` bytes as there are.
    pub(super) fn get_up_to(&mut self, offset: u64, len: u64) -> Result<&[u8], BlockError> {
        let len = len.min(self.size().saturating_sub(offset));
        self.get(offset, len)
    }

    /// A section: four bytes of length, that many bytes, their checksum.
    pub(super) fn section(&mut self, offset: u64) -> Result<&[u8], BlockError> {
        let len = Bytes::new(self.get(offset, 4)?).u32().map_or(0, u64::from);
        self.checked(offset + 4, len)
    }

    /// `len` bytes that their checksum follows.
    pub(super) fn checked(&mut self, offset: u64, len: u64) -> Result<&[u8], BlockError> {
        self.load(offset, len.saturating_add(4))?;
        let body = self.view(offset, len);
        if Bytes::new(self.view(offset + len, 4)).u32() != Some(crc32c::crc32c(body)) {
            return Err(self.damaged(offset, "the checksum does not hold"));
        }
        Ok(body)
    }

    /// Bytes that were just loaded; empty when they were not.
    pub(super) fn view(&self, offset: u64, len: u64) -> &[u8] {
        let place = |at: u64| usize::try_from(at.checked_sub(self.start)?).ok();
        let range = place(offset).zip(place(offset.saturating_add(len)));
        range.and_then(|(from, to)| self.piece.get(from..to)).unwrap_or_default()
    }

    fn load(&mut self, offset: u64, len: u64) -> Result<(), BlockError> {
        let end = offset.checked_add(len).filter(|end| *end <= self.size());
        let Some(end) = end else {
            return Err(self.damaged(offset, format!("{len} bytes expected, but the file ends before")));
        };
        if self.start <= offset && end <= self.start + self.piece.len() as u64 {
            return Ok(());
        }
        let wanted = len.max(AHEAD).min(self.size() - offset);
        self.piece.clear();
        self.start = offset;
        self.piece.resize(usize::try_from(wanted).unwrap_or(usize::MAX), 0);
        let read = self.source.read_at(offset, &mut self.piece);
        read.map_err(|source| {
            self.piece.clear();
            BlockError::Io { file: self.file.clone(), offset, source }
        })
    }
}

/// What is left of a slice; every answer is `None` once there is too little.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bytes<'a> {
    pub(super) rest: &'a [u8],
}

impl<'a> Bytes<'a> {
    pub(super) fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    pub(super) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(taken)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        Some(u64::from_be_bytes(self.take(8)?.try_into().ok()?))
    }

    pub(super) fn uvarint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for at in 0..10 {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if at == 9 && bits > 1 {
                return None;
            }
            value |= bits << (7 * at);
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    /// Zigzag, as Go's `binary.Varint`.
    pub(super) fn varint(&mut self) -> Option<i64> {
        let value = self.uvarint()?;
        Some((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// A text behind its length.
    pub(super) fn text(&mut self) -> Option<&'a str> {
        let len = usize::try_from(self.uvarint()?).ok()?;
        std::str::from_utf8(self.take(len)?).ok()
    }
}
