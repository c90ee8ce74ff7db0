//! Sections: streams of bytes cut into pages, each stored, checked and cached by itself.

use super::cache::Page;
use crate::wire::{DecodeError, Reader, put_len, put_varint};

/// Bytes of a page before it is packed; only a section's last page has fewer.
pub(super) const PAGE: usize = 32 * 1024;

/// What a block consists of. The order is part of the format.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Kind {
    /// Values of samples, a run behind the other.
    Values,
    /// Native histograms, a run behind the other.
    Histograms,
    /// Columns of instants, each once.
    Times,
    /// For each series its labels and where its runs are.
    Series,
    /// Where every eighth series begins.
    SeriesPlaces,
    /// Values of labels, one behind the other.
    Texts,
    /// For each pair of name and value the place of its text and of its postings.
    Pairs,
    /// For each pair the series that carry it.
    Postings,
}

impl Kind {
    pub(super) const ALL: [Self; 8] = [
        Self::Values,
        Self::Histograms,
        Self::Times,
        Self::Series,
        Self::SeriesPlaces,
        Self::Texts,
        Self::Pairs,
        Self::Postings,
    ];

    /// Values have no slack left that a general compressor would find fast.
    fn is_packed(self) -> bool {
        self != Self::Values
    }
}

/// Where a page is in the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct PagePlace {
    pub(super) offset: u64,
    /// Bytes in the file; packed when fewer than the page has.
    pub(super) stored: u32,
    pub(super) checksum: u32,
}

/// Where the pages of a section are.
#[derive(Clone, Debug, Default)]
pub(super) struct Section {
    pub(super) len: u64,
    pub(super) pages: Vec<PagePlace>,
}

impl Section {
    /// Bytes page `number` has when it is unpacked.
    pub(super) fn page_len(&self, number: usize) -> usize {
        let before = (number as u64).saturating_mul(PAGE as u64);
        usize::try_from(self.len.saturating_sub(before)).unwrap_or(PAGE).min(PAGE)
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        put_varint(out, self.len);
        let mut end = 0;
        for page in &self.pages {
            put_varint(out, page.offset - end);
            put_varint(out, u64::from(page.stored));
            out.extend_from_slice(&page.checksum.to_le_bytes());
            end = page.offset + u64::from(page.stored);
        }
    }

    pub(super) fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let len = reader.varint()?;
        let count = len.div_ceil(PAGE as u64);
        if count > reader.rest().len() as u64 {
            return Err(DecodeError("a section is longer than its pages"));
        }
        let mut pages = Vec::with_capacity(count as usize);
        let mut end = 0_u64;
        for _ in 0..count {
            let offset = end.checked_add(reader.varint()?).ok_or(DecodeError("a page lies beyond the file"))?;
            let stored = reader.varint()?;
            let stored = u32::try_from(stored).ok().filter(|stored| *stored as usize <= PAGE);
            let stored = stored.ok_or(DecodeError("a page is too large"))?;
            let checksum = u32::from_le_bytes(reader.array()?);
            end = offset.checked_add(u64::from(stored)).ok_or(DecodeError("a page lies beyond the file"))?;
            pages.push(PagePlace { offset, stored, checksum });
        }
        Ok(Self { len, pages })
    }
}

/// A section in the making: full pages are handed out, the rest waits.
#[derive(Debug)]
pub(super) struct SectionWriter {
    kind: Kind,
    section: Section,
    waiting: Vec<u8>,
}

impl SectionWriter {
    pub(super) fn new(kind: Kind) -> Self {
        Self { kind, section: Section::default(), waiting: Vec::new() }
    }

    /// Where the next byte will be.
    pub(super) fn len(&self) -> u64 {
        self.section.len
    }

    /// Adds bytes; answers where they begin.
    pub(super) fn add(&mut self, bytes: &[u8]) -> u64 {
        let at = self.section.len;
        self.waiting.extend_from_slice(bytes);
        self.section.len += bytes.len() as u64;
        at
    }

    /// The next page as it is stored, when there is a full one, or the last one with `is_last`.
    pub(super) fn next_page(&mut self, is_last: bool) -> Option<Vec<u8>> {
        if self.waiting.len() < PAGE && (!is_last || self.waiting.is_empty()) {
            return None;
        }
        let rest = self.waiting.split_off(self.waiting.len().min(PAGE));
        let page = std::mem::replace(&mut self.waiting, rest);
        Some(if self.kind.is_packed() { pack(page) } else { page })
    }

    /// Says where the page just handed out was written.
    pub(super) fn wrote(&mut self, offset: u64, page: &[u8]) {
        let checksum = crc32c::crc32c(page);
        self.section.pages.push(PagePlace { offset, stored: page.len() as u32, checksum });
    }

    pub(super) fn finish(self) -> Section {
        self.section
    }
}

const LEVEL: i32 = 3;

fn pack(page: Vec<u8>) -> Vec<u8> {
    match zstd::bulk::compress(&page, LEVEL) {
        Ok(packed) if packed.len() < page.len() => packed,
        Ok(_) | Err(_) => page,
    }
}

/// A stored page as it was; `len` is what it must have.
pub(super) fn unpack(stored: Vec<u8>, len: usize) -> Result<Vec<u8>, DecodeError> {
    if stored.len() == len {
        return Ok(stored);
    }
    let page = zstd::bulk::decompress(&stored, len).map_err(|_| DecodeError("a page cannot be unpacked"))?;
    if page.len() == len { Ok(page) } else { Err(DecodeError("a page has another length than its section says")) }
}

/// A part of a section.
#[derive(Debug)]
pub(super) enum Piece {
    /// Inside one page, from and to.
    Shared(Page, usize, usize),
    /// From several pages.
    Joined(Vec<u8>),
}

impl std::ops::Deref for Piece {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Shared(page, from, to) => page.get(*from..*to).unwrap_or_default(),
            Self::Joined(bytes) => bytes,
        }
    }
}

/// Adds a record that knows its length.
pub(super) fn put_record(section: &mut SectionWriter, bytes: &[u8]) -> u64 {
    let mut len = Vec::with_capacity(10);
    put_len(&mut len, bytes.len());
    let at = section.add(&len);
    section.add(bytes);
    at
}
