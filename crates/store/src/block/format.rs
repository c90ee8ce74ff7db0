//! What a block of metrics is made of: the pages of all sections, in the order in which they filled up, and a footer with
//! the meta, the label names, and where the pages of each section are. Numbers in the footer are of variable length.

use signal::{TimeRange, Timestamp};

use super::section::{Kind, Section};
use crate::block_file::Format;
use crate::wire::{DecodeError, Reader, put_len, put_signed, put_text, put_varint};

/// Newest version this build reads, and the one it writes.
pub(super) const FORMAT: Format = Format { magic: *b"AEGBLOCK", version: 1 };

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
