//! What is kept in memory of an open block.

use std::ops::Range;

use signal::{Labels, Nanos};

use crate::wire::{DecodeError, Reader, put_len, put_signed, put_text, put_varint};

/// What a block says about itself.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct LogBlockMeta {
    /// Time of the earliest and the latest line; nothing without lines.
    pub(crate) range: Option<(Nanos, Nanos)>,
    /// Lines in it.
    pub(crate) lines: u64,
    /// Bytes of the lines as they were written.
    pub(crate) text_bytes: u64,
    /// What the writer was told: how many times its lines have been merged.
    pub(crate) level: u32,
    /// What the writer was told: numbers of what it was made from.
    pub(crate) sources: Vec<u64>,
}

/// Rows of one group that belong to one stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Run {
    /// Number of the group.
    pub(crate) group: u32,
    pub(crate) rows: Range<u32>,
    /// Time of the earliest and the latest line.
    pub(crate) first: Nanos,
    pub(crate) last: Nanos,
}

/// Where a row group is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    pub(super) rows: u32,
    /// Its parts, in the file.
    pub(super) parts: u64,
    pub(super) parts_len: u64,
    /// Its front, in the file.
    pub(super) front: u64,
    pub(super) front_len: u32,
    pub(super) front_checksum: u32,
    /// Its filter, in the file.
    pub(super) filter: u64,
    pub(super) filter_len: u32,
}

/// All that is kept in memory of an open block.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Footer {
    pub(super) meta: LogBlockMeta,
    pub(super) groups: Vec<Place>,
    /// In order of labels, each with its runs.
    pub(super) streams: Vec<(Labels, Vec<Run>)>,
}

/// A packed footer may grow to this when it is unpacked.
const LIMIT: usize = 1 << 30;

impl Footer {
    pub(super) fn put(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let LogBlockMeta { range, lines, text_bytes, level, sources } = &self.meta;
        let (first, last) = range.unwrap_or((Nanos(1), Nanos(0)));
        put_signed(&mut out, first.0);
        put_signed(&mut out, last.0);
        for number in [*lines, *text_bytes, u64::from(*level)] {
            put_varint(&mut out, number);
        }
        put_len(&mut out, sources.len());
        sources.iter().for_each(|source| put_varint(&mut out, *source));
        // Parts, fronts and filters lie one behind the other: where each begins is where the one before ends.
        put_len(&mut out, self.groups.len());
        if let Some(first) = self.groups.first() {
            [first.parts, first.front, first.filter].iter().for_each(|offset| put_varint(&mut out, *offset));
        }
        for place in &self.groups {
            for number in
                [u64::from(place.rows), place.parts_len, u64::from(place.front_len), u64::from(place.filter_len)]
            {
                put_varint(&mut out, number);
            }
            out.extend_from_slice(&place.front_checksum.to_le_bytes());
        }
        put_len(&mut out, self.streams.len());
        for (labels, runs) in &self.streams {
            put_len(&mut out, labels.len());
            for (name, value) in labels {
                put_text(&mut out, name);
                put_text(&mut out, value);
            }
            put_len(&mut out, runs.len());
            for Run { group, rows, first, last } in runs {
                put_varint(&mut out, u64::from(*group));
                put_varint(&mut out, u64::from(rows.start));
                put_varint(&mut out, u64::from(rows.end.saturating_sub(rows.start)));
                put_signed(&mut out, first.0);
                put_signed(&mut out, last.0.wrapping_sub(first.0));
            }
        }
        let mut packed = Vec::new();
        put_len(&mut packed, out.len());
        // zstd refuses nothing that memory holds; an empty answer is refused when it is read.
        packed.extend(zstd::bulk::compress(&out, 3).unwrap_or_default());
        packed
    }

    pub(super) fn take(packed: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(packed);
        let len = reader.index()?;
        if len > LIMIT {
            return Err(DecodeError("the footer is too long"));
        }
        let bytes = zstd::bulk::decompress(reader.rest(), len);
        let bytes = bytes.map_err(|_| DecodeError("the footer cannot be unpacked"))?;
        let mut reader = Reader::new(&bytes);
        let small = |number: u64| u32::try_from(number).map_err(|_| DecodeError("a number is too large"));
        let (first, last) = (Nanos(reader.signed()?), Nanos(reader.signed()?));
        let (lines, text_bytes, level) = (reader.varint()?, reader.varint()?, small(reader.varint()?)?);
        let sources = (0..reader.count()?).map(|_| reader.varint()).collect::<Result<Vec<_>, _>>()?;
        let meta = LogBlockMeta { range: (first <= last).then_some((first, last)), lines, text_bytes, level, sources };
        let count = reader.count()?;
        let mut groups: Vec<Place> = Vec::with_capacity(count);
        let (mut parts, mut front, mut filter) = (0, 0, 0);
        if count > 0 {
            (parts, front, filter) = (reader.varint()?, reader.varint()?, reader.varint()?);
        }
        let after =
            |offset: u64, len: u64| offset.checked_add(len).ok_or(DecodeError("a row group lies beyond the file"));
        for _ in 0..count {
            let (rows, parts_len) = (small(reader.varint()?)?, reader.varint()?);
            let (front_len, filter_len) = (small(reader.varint()?)?, small(reader.varint()?)?);
            let front_checksum = u32::from_le_bytes(reader.array()?);
            groups.push(Place { rows, parts, parts_len, front, front_len, front_checksum, filter, filter_len });
            parts = after(parts, parts_len)?;
            front = after(front, u64::from(front_len))?;
            filter = after(filter, u64::from(filter_len))?;
        }
        let mut streams = Vec::new();
        for _ in 0..reader.count()? {
            let mut pairs = Vec::new();
            for _ in 0..reader.count()? {
                pairs.push((reader.text()?, reader.text()?));
            }
            let mut runs = Vec::new();
            for _ in 0..reader.count()? {
                let (group, start) = (small(reader.varint()?)?, small(reader.varint()?)?);
                let end = small(u64::from(start).saturating_add(reader.varint()?))?;
                let first = reader.signed()?;
                let last = first.wrapping_add(reader.signed()?);
                if groups.get(group as usize).is_none_or(|place| place.rows < end) {
                    return Err(DecodeError("a run lies beyond its row group"));
                }
                runs.push(Run { group, rows: start..end, first: Nanos(first), last: Nanos(last) });
            }
            streams.push((Labels::from_pairs(pairs), runs));
        }
        if !reader.is_at_end() {
            return Err(DecodeError("the footer is longer than what it says"));
        }
        if !streams.is_sorted_by(|a, b| a.0 < b.0) {
            return Err(DecodeError("streams are out of order"));
        }
        Ok(Self { meta, groups, streams })
    }
}
