//! What stands around the pages of a block.
//!
//! ```text
//! header    magic "AEGBLOCK", version u16, zeros u16, CRC-32C of both u32
//! pages     of all sections, in the order in which they filled up
//! footer    meta, label names, where the pages of each section are
//! trailer   offset u64, length u32 and CRC-32C u32 of the footer, CRC-32C of these sixteen bytes u32, magic "AEGE"
//! ```
//!
//! Numbers are little-endian; inside the footer they are of variable length.

use signal::{TimeRange, Timestamp};

use super::section::{Kind, Section};
use crate::wire::{DecodeError, Reader, put_len, put_signed, put_text, put_varint};

const MAGIC: &[u8; 8] = b"AEGBLOCK";
const END: &[u8; 4] = b"AEGE";
/// Newest version this build reads, and the one it writes.
pub(super) const VERSION: u16 = 1;
pub(super) const HEADER: usize = 16;
pub(super) const TRAILER: usize = 24;
/// A footer of more would belong to a block of tens of terabytes.
pub(super) const FOOTER_LIMIT: u32 = 1 << 30;

/// What a block says about itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct BlockMeta {
    /// First and last instant; empty when there is none.
    pub(crate) range: TimeRange,
    /// Series in it.
    pub(crate) series: u64,
    /// Samples in it.
    pub(crate) samples: u64,
    /// Native histograms in it.
    pub(crate) histograms: u64,
    /// What the writer was told: how many times its samples have been merged.
    pub(crate) level: u32,
    /// What the writer was told: numbers of what it was made from.
    pub(crate) sources: Vec<u64>,
}

/// All that is kept in memory of an open block.
#[derive(Clone, Debug)]
pub(super) struct Footer {
    pub(super) meta: BlockMeta,
    /// Names in order, each with the number of its first pair.
    pub(super) names: Vec<(Box<str>, u32)>,
    /// Pairs of name and value in all.
    pub(super) pairs: u32,
    pub(super) sections: [Section; Kind::ALL.len()],
}

pub(super) fn header() -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&[0; 2]);
    out.extend_from_slice(&crc32c::crc32c(&out).to_le_bytes());
    out
}

/// What a header says, when it is none to read on.
pub(super) enum HeaderFault {
    Damaged(&'static str),
    Version(u16),
}

pub(super) fn check_header(bytes: [u8; HEADER]) -> Result<(), HeaderFault> {
    let damaged = HeaderFault::Damaged;
    let (said, checksum) = bytes.split_last_chunk::<4>().ok_or(damaged("the header is too short"))?;
    let (magic, rest) = said.split_first_chunk::<8>().ok_or(damaged("the header is too short"))?;
    if magic != MAGIC {
        return Err(damaged("this is no block"));
    }
    if crc32c::crc32c(said) != u32::from_le_bytes(*checksum) {
        return Err(damaged("the header does not match its checksum"));
    }
    match rest.first_chunk::<2>().map(|version| u16::from_le_bytes(*version)) {
        Some(VERSION) => Ok(()),
        Some(version) => Err(HeaderFault::Version(version)),
        None => Err(damaged("the header is too short")),
    }
}

pub(super) fn trailer(offset: u64, footer: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(TRAILER);
    out.extend_from_slice(&offset.to_le_bytes());
    out.extend_from_slice(&(footer.len() as u32).to_le_bytes());
    out.extend_from_slice(&crc32c::crc32c(footer).to_le_bytes());
    out.extend_from_slice(&crc32c::crc32c(&out).to_le_bytes());
    out.extend_from_slice(END);
    out
}

/// Where the footer is: offset, length, checksum.
pub(super) fn read_trailer(bytes: [u8; TRAILER]) -> Result<(u64, u32, u32), DecodeError> {
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

impl Footer {
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        let BlockMeta { range, series, samples, histograms, level, sources } = &self.meta;
        put_signed(out, range.start.0);
        put_signed(out, range.end.0);
        for number in [*series, *samples, *histograms, u64::from(*level), sources.len() as u64] {
            put_varint(out, number);
        }
        sources.iter().for_each(|source| put_varint(out, *source));
        put_len(out, self.names.len());
        let mut before = 0;
        for (name, first) in &self.names {
            put_text(out, name);
            put_varint(out, u64::from(first - before));
            before = *first;
        }
        put_varint(out, u64::from(self.pairs));
        self.sections.iter().for_each(|section| section.put(out));
    }

    pub(super) fn take(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let small = |number: u64| u32::try_from(number).map_err(|_| DecodeError("a number is too large"));
        let range = TimeRange::new(Timestamp(reader.signed()?), Timestamp(reader.signed()?));
        let (series, samples, histograms) = (reader.varint()?, reader.varint()?, reader.varint()?);
        small(series)?;
        let level = small(reader.varint()?)?;
        let sources = (0..reader.count()?).map(|_| reader.varint()).collect::<Result<Vec<_>, _>>()?;
        let meta = BlockMeta { range, series, samples, histograms, level, sources };
        let mut names: Vec<(Box<str>, u32)> = Vec::new();
        let mut before = 0_u32;
        for _ in 0..reader.count()? {
            let name = Box::from(reader.text()?);
            let first = before.checked_add(small(reader.varint()?)?).ok_or(DecodeError("a number is too large"))?;
            names.push((name, first));
            before = first;
        }
        let pairs = small(reader.varint()?)?;
        if !names.is_sorted_by(|a, b| a.0 < b.0 && a.1 < b.1) || names.last().is_some_and(|last| last.1 >= pairs) {
            return Err(DecodeError("label names are out of order"));
        }
        if names.first().is_some_and(|first| first.1 != 0) {
            return Err(DecodeError("a pair has no name"));
        }
        let mut sections: [Section; Kind::ALL.len()] = Default::default();
        for section in &mut sections {
            *section = Section::take(&mut reader)?;
        }
        if !reader.is_at_end() {
            return Err(DecodeError("the footer is longer than what it says"));
        }
        Ok(Self { meta, names, pairs, sections })
    }
}
