//! Columns in which some rows are empty: which are not, and a column of those.
//!
//! ```text
//! column := 0 bit*, or 1 (those with a text) or 2 (those without) with a count and packed places with their length;
//!           count of those with a text, column
//! ```

use memchr::memmem::Finder;

use super::dictionary::Dictionary;
use super::packed::{Packed, pack, take};
use super::rows::Rows;
use super::texts::{Filling, Texts};
use super::{Column, encode_full};
use crate::wire::{DecodeError, Reader, put_bytes, put_len};

/// A place costs about as many bits.
const BITS_OF_A_PLACE: usize = 10;

pub(super) fn encode(values: &Texts, times: &[i64], out: &mut Vec<u8>) {
    let filled: Vec<bool> = values.iter().map(|text| !text.is_empty()).collect();
    let mut present = Rows::of(&filled, |is_filled| *is_filled);
    let count = present.count();
    let rare = count.min(values.len() - count);
    if rare * BITS_OF_A_PLACE < values.len() {
        out.push(if rare == count { 1 } else { 2 });
        put_len(out, rare);
        if rare != count {
            present.not();
        }
        let places: Vec<i64> = present.iter().map(|row| row as i64).collect();
        let mut packed = Vec::new();
        pack(&places, &mut packed);
        put_bytes(out, &packed);
    } else {
        out.push(0);
        let bytes = present.words().iter().flat_map(|word| word.to_le_bytes());
        out.extend(bytes.take(values.len().div_ceil(8)));
    }
    put_len(out, count);
    let texts: Texts = values.iter().filter(|text| !text.is_empty()).collect();
    let times: Vec<i64> =
        times.iter().zip(&filled).filter(|(_, is_filled)| **is_filled).map(|(time, _)| *time).collect();
    encode_full(&texts, &times, out);
}

/// A column with empty rows, opened.
#[derive(Clone, Debug)]
pub(super) struct Sparse<'a> {
    present: Rows,
    inner: Box<Column<'a>>,
}

impl<'a> Sparse<'a> {
    pub(super) fn open(mut reader: Reader<'a>, rows: usize) -> Result<Self, DecodeError> {
        const UNKNOWN: DecodeError = DecodeError("a column with empty rows has an unknown shape");
        let mode = reader.byte()?;
        let present = match mode {
            0 => {
                let bytes = take(&mut reader, rows.div_ceil(8))?;
                let word = |bytes: &[u8]| bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
                Rows::from_words(bytes.chunks(8).map(word).collect(), rows)
            }
            1 | 2 => {
                let count = reader.index()?;
                if count > rows {
                    return Err(UNKNOWN);
                }
                let mut places = Vec::new();
                Packed::new(reader.bytes()?, count).unpack(&mut places)?;
                let mut marked = Rows::none(rows);
                places.iter().for_each(|place| marked.insert(usize::try_from(*place).unwrap_or(usize::MAX)));
                if mode == 2 {
                    marked.not();
                }
                marked
            }
            _ => return Err(UNKNOWN),
        };
        let count = reader.index()?;
        if count != present.count() {
            return Err(DecodeError("a column has another number of texts than rows that have one"));
        }
        let inner = Box::new(Column::open_full(reader.rest(), count)?);
        Ok(Self { present, inner })
    }

    /// The rows that have a text, and the column of those.
    pub(super) fn parts(&self) -> (&Rows, &Column<'a>) {
        (&self.present, &self.inner)
    }

    /// Their times, if the column of those with a text needs them.
    fn times(&self, times: &[i64]) -> Vec<i64> {
        if !self.inner.needs_times() {
            return Vec::new();
        }
        self.present.iter().map(|row| times.get(row).copied().unwrap_or_default()).collect()
    }

    pub(super) fn texts(&self, times: &[i64], out: &mut Filling) -> Result<(), DecodeError> {
        let mut texts = Texts::default();
        self.inner.texts(&self.times(times), &mut texts)?;
        out.reserve(self.present.len(), texts.bytes().len());
        let mut next = 0;
        for (row, text) in self.present.iter().zip(texts.iter()) {
            for _ in next..row {
                out.end()?;
            }
            out.push(text.as_bytes())?;
            next = row + 1;
        }
        for _ in next..self.present.len() {
            out.end()?;
        }
        Ok(())
    }

    pub(super) fn pick(&self, rows: &[u32], times: &[i64], out: &mut Filling) -> Result<(), DecodeError> {
        let has_text = |row: &&u32| self.present.contains(**row as usize);
        let inside: Vec<u32> =
            rows.iter().filter(has_text).map(|row| self.present.count_before(*row as usize) as u32).collect();
        let mut texts = Texts::default();
        self.inner.pick(&inside, &self.times(times), &mut texts)?;
        let mut found = texts.iter();
        for row in rows {
            let text = if self.present.contains(*row as usize) { found.next().unwrap_or_default() } else { "" };
            out.push(text.as_bytes())?;
        }
        Ok(())
    }

    pub(super) fn dictionary(&self) -> Result<Option<Dictionary>, DecodeError> {
        let Some(Dictionary { mut entries, codes }) = self.inner.dictionary()? else { return Ok(None) };
        let Some(empty) = u16::try_from(entries.len()).ok().filter(|empty| *empty < u16::MAX) else { return Ok(None) };
        entries.push("");
        let mut all = vec![empty; self.present.len()];
        for (row, code) in self.present.iter().zip(codes) {
            if let Some(slot) = all.get_mut(row) {
                *slot = code;
            }
        }
        Ok(Some(Dictionary { entries, codes: all }))
    }

    pub(super) fn rows_equal(&self, text: &str, times: &[i64]) -> Result<Rows, DecodeError> {
        if text.is_empty() {
            let mut absent = self.present.clone();
            absent.not();
            return Ok(absent);
        }
        Ok(self.outside(&self.inner.rows_equal(text, &self.times(times))?))
    }

    pub(super) fn rows_containing(&self, needle: &Finder<'_>, times: &[i64]) -> Result<Rows, DecodeError> {
        Ok(self.outside(&self.inner.rows_containing(needle, &self.times(times))?))
    }

    /// Rows of the column of those with a text, as rows of this one.
    fn outside(&self, inside: &Rows) -> Rows {
        if inside.is_all() {
            return self.present.clone();
        }
        let mut rows = Rows::none(self.present.len());
        if !inside.is_empty() {
            let wanted = self.present.iter().enumerate().filter(|(rank, _)| inside.contains(*rank));
            wanted.for_each(|(_, row)| rows.insert(row));
        }
        rows
    }
}
