//! Pages of an open block, from the cache or from the file.

use super::cache::{Kept, Page, PageKey, Part};
use super::reader::Block;
use super::section::{Kind, PAGE, Piece, unpack};
use crate::block_file::BlockError;
use crate::wire::{DecodeError, Reader};

/// Bytes of the longest length of a record.
const LENGTH: usize = 10;

/// Reads sections of a block and remembers the last page of each, because what is read next is usually close.
#[derive(Debug)]
pub(super) struct Pages<'a> {
    block: &'a Block,
    last: [Option<(usize, Page)>; Kind::ALL.len()],
    keeping: Keeping,
    /// The series after the one read last, and where it begins.
    pub(super) next: Option<(u32, u64)>,
}

/// What becomes of pages that were read from the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Keeping {
    /// They go into the cache.
    All,
    /// Those that are read once from front to back stay out, so that a merge does not push out what is asked for.
    Shared,
}

impl<'a> Pages<'a> {
    pub(super) fn new(block: &'a Block, keeping: Keeping) -> Self {
        Self { block, last: Default::default(), keeping, next: None }
    }

    pub(super) fn block(&self) -> &'a Block {
        self.block
    }

    fn page(&mut self, kind: Kind, number: usize) -> Result<&Page, BlockError> {
        let Self { block, last, keeping, .. } = self;
        // There is a place for every kind.
        let Some(last) = last.get_mut(kind as usize) else {
            return Err(block.damaged(kind, 0, DecodeError("a section is unknown")));
        };
        let is_last = matches!(last, Some((at, _)) if *at == number);
        if !is_last {
            *last = Some((number, fetch(block, kind, number, *keeping)?));
        }
        match last {
            Some((_, page)) => Ok(page),
            None => Err(block.damaged(kind, 0, DecodeError("a page is not there"))),
        }
    }

    /// Hands what a section has from `at` on to `each`, as far as it lies in one page.
    pub(super) fn with_rest<T>(&mut self, kind: Kind, at: u64, each: impl FnOnce(&[u8]) -> T) -> Result<T, BlockError> {
        let page = self.page(kind, (at / PAGE as u64) as usize)?;
        Ok(each(page.get((at % PAGE as u64) as usize..).unwrap_or_default()))
    }

    /// `len` bytes of a section from `at` on.
    pub(super) fn piece(&mut self, kind: Kind, at: u64, len: usize) -> Result<Piece, BlockError> {
        let block = self.block;
        let end = at.checked_add(len as u64).filter(|end| *end <= block.section(kind).len);
        let beyond = || block.damaged(kind, at, DecodeError("something lies beyond its section"));
        let end = end.ok_or_else(beyond)?;
        let place = |at: u64| ((at / PAGE as u64) as usize, (at % PAGE as u64) as usize);
        let (mut number, from) = place(at);
        if len == 0 {
            return Ok(Piece::Joined(Vec::new()));
        }
        let (last, to) = place(end - 1);
        let to = to + 1;
        let page = self.page(kind, number)?;
        if number == last {
            return Ok(Piece::Shared(Page::clone(page), from, to));
        }
        let mut joined = Vec::with_capacity(len);
        joined.extend_from_slice(page.get(from..).unwrap_or_default());
        while number < last {
            number += 1;
            let page = self.page(kind, number)?;
            let part = if number == last { page.get(..to) } else { Some(&page[..]) };
            joined.extend_from_slice(part.unwrap_or_default());
        }
        Ok(Piece::Joined(joined))
    }

    /// The record that begins at `at`, without its length, and where the next one begins.
    pub(super) fn record(&mut self, kind: Kind, at: u64) -> Result<(Piece, u64), BlockError> {
        let (body, len) = self.record_place(kind, at)?;
        Ok((self.piece(kind, body, len)?, body + len as u64))
    }

    /// Where the record that begins at `at` has its body, and how long it is.
    pub(super) fn record_place(&mut self, kind: Kind, at: u64) -> Result<(u64, usize), BlockError> {
        let block = self.block;
        let section = block.section(kind).len;
        let read = |bytes: &[u8]| {
            let mut reader = Reader::new(bytes);
            reader.index().map(|len| ((bytes.len() - reader.rest().len()) as u64, len))
        };
        let inside = if at < section { self.with_rest(kind, at, read)?.ok() } else { None };
        let (head, len) = match inside {
            Some(found) => found,
            None => {
                let rest = section.saturating_sub(at);
                let head = self.piece(kind, at, LENGTH.min(usize::try_from(rest).unwrap_or(LENGTH)))?;
                read(&head).map_err(|error| block.damaged(kind, at, error))?
            }
        };
        if len as u64 > section {
            return Err(block.damaged(kind, at, DecodeError("a record is longer than its section")));
        }
        Ok((at + head, len))
    }

    /// A little-endian number.
    pub(super) fn number(&mut self, kind: Kind, at: u64) -> Result<u64, BlockError> {
        let piece = self.piece(kind, at, 8)?;
        Ok(piece.first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes)))
    }
}

fn fetch(block: &Block, kind: Kind, number: usize, keeping: Keeping) -> Result<Page, BlockError> {
    let key = PageKey { block: block.id(), part: Part::Section(kind), number: number as u64 };
    if let Some(Kept::Page(page)) = block.cache().get(key) {
        return Ok(page);
    }
    let page = Page::new(block.load(kind, number)?);
    let is_kept = match keeping {
        Keeping::All => true,
        Keeping::Shared => matches!(kind, Kind::Times | Kind::Texts | Kind::Pairs),
    };
    if is_kept {
        block.cache().put(key, Kept::Page(Page::clone(&page)));
    }
    Ok(page)
}

impl Block {
    /// Reads, checks and unpacks a page.
    pub(super) fn load(&self, kind: Kind, number: usize) -> Result<Vec<u8>, BlockError> {
        let section = self.section(kind);
        let at = (number as u64).saturating_mul(PAGE as u64);
        let place = section.pages.get(number).copied();
        let place = place.ok_or_else(|| self.damaged(kind, at, DecodeError("a page is not there")))?;
        let mut stored = vec![0; place.stored as usize];
        self.read_at(place.offset, &mut stored)?;
        if crc32c::crc32c(&stored) != place.checksum {
            return Err(self.damaged(kind, at, DecodeError("a page does not match its checksum")));
        }
        unpack(stored, section.page_len(number)).map_err(|error| self.damaged(kind, at, error))
    }
}
