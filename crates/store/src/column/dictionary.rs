//! Columns in which few texts come again and again.
//!
//! ```text
//! column := entries (count, then a column of texts with its length), the row's entry in as many bits as the last
//!           entry's number needs
//! ```

use std::sync::OnceLock;

use memchr::memmem::Finder;

use super::packed::{bits_at, bits_len, length, put_bits, take, unpack_bits};
use super::rows::Rows;
use super::text::{self, Text};
use super::texts::{Filling, Texts};
use crate::wire::{DecodeError, Reader, put_bytes, put_len};

/// The distinct texts of a column, and which of them each row has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dictionary {
    /// Each text once.
    pub(crate) entries: Texts,
    /// For each row the number of its text; always one of the entries.
    pub(crate) codes: Vec<u16>,
}

pub(super) fn encode(entries: &Texts, codes: &[u16], out: &mut Vec<u8>) {
    put_len(out, entries.len());
    let mut packed = Vec::new();
    text::encode(entries, &mut packed);
    put_bytes(out, &packed);
    put_bits(codes.iter().map(|code| u64::from(*code)), width(entries.len()), out);
}

/// About how long the column will be.
pub(super) fn estimate(entries: &Texts, rows: usize) -> usize {
    entries.bytes().len() / 2 + entries.len() + bits_len(rows, width(entries.len()))
}

fn width(entries: usize) -> u32 {
    length(entries.saturating_sub(1) as u64)
}

/// A column with a dictionary, opened.
#[derive(Clone, Debug)]
pub(super) struct Coded<'a> {
    entries: Text<'a>,
    count: usize,
    codes: &'a [u8],
    width: u32,
    rows: usize,
    unpacked: OnceLock<Texts>,
}

impl<'a> Coded<'a> {
    pub(super) fn open(reader: &mut Reader<'a>, rows: usize) -> Result<Self, DecodeError> {
        let count = reader.index()?;
        if count == 0 || count > rows {
            return Err(DecodeError("a dictionary has more entries than rows"));
        }
        if count > usize::from(u16::MAX) {
            return Err(DecodeError("a dictionary has too many entries"));
        }
        let width = width(count);
        let entries = Text::open(Reader::new(reader.bytes()?), count)?;
        let codes = take(reader, bits_len(rows, width))?;
        Ok(Self { entries, count, codes, width, rows, unpacked: OnceLock::new() })
    }

    pub(super) fn entries(&self) -> Result<&Texts, DecodeError> {
        if let Some(entries) = self.unpacked.get() {
            return Ok(entries);
        }
        let entries = self.entries.to_texts()?;
        Ok(self.unpacked.get_or_init(|| entries))
    }

    pub(super) fn codes(&self) -> Result<Vec<u16>, DecodeError> {
        let mut codes = vec![0_u16; self.rows];
        unpack_bits(self.codes, self.width, &mut codes, |code| code as u16);
        if codes.iter().copied().max().map_or(0, usize::from) >= self.count {
            return Err(UNKNOWN_ENTRY);
        }
        Ok(codes)
    }

    pub(super) fn dictionary(&self) -> Result<Dictionary, DecodeError> {
        Ok(Dictionary { entries: self.entries()?.clone(), codes: self.codes()? })
    }

    pub(super) fn texts(&self, out: &mut Filling) -> Result<(), DecodeError> {
        let entries = self.entries()?;
        let codes = self.codes()?;
        out.reserve(codes.len(), entries.bytes().len() / self.count.max(1) * codes.len());
        for code in codes {
            out.push(entries.get(usize::from(code)).as_bytes())?;
        }
        Ok(())
    }

    pub(super) fn get(&self, row: usize) -> Result<&str, DecodeError> {
        let code = bits_at(self.codes, self.width, row) as usize;
        if row >= self.rows || code >= self.count {
            return Err(UNKNOWN_ENTRY);
        }
        Ok(self.entries()?.get(code))
    }

    pub(super) fn rows_equal(&self, text: &str) -> Result<Rows, DecodeError> {
        self.rows_where(|entry| entry == text)
    }

    pub(super) fn rows_containing(&self, needle: &Finder<'_>) -> Result<Rows, DecodeError> {
        self.rows_where(|entry| needle.find(entry.as_bytes()).is_some())
    }

    /// Looks at every entry once.
    fn rows_where(&self, is_wanted: impl Fn(&str) -> bool) -> Result<Rows, DecodeError> {
        let wanted: Vec<bool> = self.entries()?.iter().map(is_wanted).collect();
        let mut found = wanted.iter().zip(0_u16..).filter(|(is_wanted, _)| **is_wanted).map(|(_, code)| code);
        match (found.next(), found.next()) {
            (None, _) => Ok(Rows::none(self.rows)),
            (Some(only), None) => Ok(Rows::of(&self.codes()?, |code| *code == only)),
            (Some(_), Some(_)) if wanted.iter().all(|is_wanted| *is_wanted) => Ok(Rows::all(self.rows)),
            (Some(_), Some(_)) => {
                Ok(Rows::of(&self.codes()?, |code| wanted.get(usize::from(*code)).copied().unwrap_or_default()))
            }
        }
    }
}

pub(super) const UNKNOWN_ENTRY: DecodeError = DecodeError("a row has an entry that its dictionary has not");
