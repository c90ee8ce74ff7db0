//! The front of a row group: what is where.

use super::MAX_ROWS;
use super::shape::Shape;
use crate::wire::{DecodeError, Reader, put_len, put_signed, put_varint};

/// Newest version this build reads, and the one it writes.
pub(super) const VERSION: u8 = 1;

/// A stretch of bytes behind the front.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Part {
    /// From the end of the front.
    pub(super) offset: usize,
    pub(super) len: usize,
    pub(super) checksum: u32,
}

/// What can be said of a column without reading it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct ColumnFacts {
    pub(super) part: Part,
    /// Values in it; fewer than there are rows when not every line has one.
    pub(super) values: usize,
    /// Bytes of its longest value.
    pub(super) longest: usize,
    /// Bytes of its longest word; nothing for columns in which looking is as quick.
    pub(super) longest_word: Option<usize>,
    /// Whether its words are in the filter.
    pub(super) is_filtered: bool,
    /// Whether any value holds a backslash or a replacement character, of which parsers make something else.
    pub(super) has_escapes: bool,
}

/// The front of a row group.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Front {
    pub(super) rows: usize,
    pub(super) text_bytes: u64,
    /// Earliest and latest time.
    pub(super) bounds: (i64, i64),
    pub(super) shapes: Vec<Shape>,
    pub(super) times: Part,
    pub(super) lengths: Part,
    pub(super) codes: Part,
    pub(super) columns: Vec<ColumnFacts>,
    pub(super) filter: Part,
}

impl Front {
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        put_len(out, self.rows);
        put_len(out, self.columns.len());
        put_varint(out, self.text_bytes);
        put_signed(out, self.bounds.0);
        put_signed(out, self.bounds.1.wrapping_sub(self.bounds.0));
        put_len(out, self.shapes.len());
        self.shapes.iter().for_each(|shape| shape.put(out));
        put_part(out, self.times);
        put_part(out, self.lengths);
        put_part(out, self.codes);
        for column in &self.columns {
            put_part(out, column.part);
            put_len(out, self.rows - column.values);
            put_len(out, column.longest);
            put_varint(out, column.longest_word.map_or(0, |len| len as u64 + 1));
            out.push(u8::from(column.has_escapes) | u8::from(column.is_filtered) << 1);
        }
        put_part(out, self.filter);
    }

    pub(super) fn take(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        if reader.byte()? != VERSION {
            return Err(DecodeError("a row group has an unknown version"));
        }
        let rows = reader.index()?;
        if rows > MAX_ROWS {
            return Err(DecodeError("a row group has too many rows"));
        }
        let columns = reader.count()?;
        let text_bytes = reader.varint()?;
        let first = reader.signed()?;
        let bounds = (first, first.wrapping_add(reader.signed()?));
        let shapes = (0..reader.count()?).map(|_| Shape::take(&mut reader, columns)).collect::<Result<Vec<_>, _>>()?;
        if shapes.len() > MAX_SHAPES || (shapes.is_empty() && rows > 0) {
            return Err(DecodeError("a row group has no shapes, or too many"));
        }
        let mut end = 0;
        let times = take_part(&mut reader, &mut end)?;
        let lengths = take_part(&mut reader, &mut end)?;
        let codes = take_part(&mut reader, &mut end)?;
        let mut facts = Vec::with_capacity(columns);
        for _ in 0..columns {
            let part = take_part(&mut reader, &mut end)?;
            let values = rows.checked_sub(reader.index()?);
            let values = values.ok_or(DecodeError("a column has more values than there are rows"))?;
            let longest = reader.index()?;
            let longest_word = reader.index()?.checked_sub(1);
            let flags = reader.byte()?;
            let (has_escapes, is_filtered) = (flags & 1 != 0, flags & 2 != 0);
            facts.push(ColumnFacts { part, values, longest, longest_word, is_filtered, has_escapes });
        }
        let filter = take_part(&mut reader, &mut end)?;
        if !reader.is_at_end() {
            return Err(DecodeError("a row group's front is longer than what it says"));
        }
        Ok(Self { rows, text_bytes, bounds, shapes, times, lengths, codes, columns: facts, filter })
    }

    /// Bytes behind the front.
    pub(super) fn parts_len(&self) -> usize {
        self.filter.offset + self.filter.len
    }
}

/// As many as one byte can name.
const MAX_SHAPES: usize = 256;

fn put_part(out: &mut Vec<u8>, part: Part) {
    put_len(out, part.len);
    out.extend_from_slice(&part.checksum.to_le_bytes());
}

fn take_part(reader: &mut Reader<'_>, end: &mut usize) -> Result<Part, DecodeError> {
    let (offset, len) = (*end, reader.index()?);
    let checksum = u32::from_le_bytes(reader.array()?);
    *end = end.checked_add(len).filter(|end| *end <= MAX_PARTS).ok_or(DecodeError("a row group is too large"))?;
    Ok(Part { offset, len, checksum })
}

/// Most bytes behind a front.
const MAX_PARTS: usize = 1 << 30;
