//! Texts that are few patterns with numbers in them: `order 17 created`, `/users/33013/cart`.
//!
//! A pattern is the text with `1` for each number. A number has no zeros at its beginning: those stay in the pattern, so
//! that `007` is the number 7 in `001`. No other digit can be in a pattern, so `1` never means itself.
//!
//! ```text
//! column := most numbers that a pattern has (varint), a column with a dictionary of patterns (its length, then itself),
//!           (for each pattern, for each of its numbers: packed numbers of the rows with that pattern, with their length)*
//! ```

use std::sync::OnceLock;

use memchr::memmem::Finder;

use super::dictionary::{self, Coded};
use super::distinct::Distinct;
use super::packed::{Packed, pack};
use super::rows::Rows;
use super::texts::{Filling, Texts};
use super::{search, search_picked};
use crate::wire::{DecodeError, Reader, put_bytes, put_len};

/// Numbers in one text.
const MOST_NUMBERS: usize = 64;
/// Digits that always fit in 64 bits.
const MOST_DIGITS: usize = 19;

const UNKNOWN: DecodeError = DecodeError("a column of patterns has an unknown shape");

/// Writes the column if the values have few patterns; answers whether they have, and wrote nothing otherwise.
pub(super) fn encode(values: &Texts, out: &mut Vec<u8>) -> Option<()> {
    let mut patterns = Distinct::new(values.len() / 8 + 16);
    let mut codes = Vec::with_capacity(values.len());
    let (mut numbers, mut ends) = (Vec::new(), Vec::with_capacity(values.len()));
    let mut pattern = String::new();
    for (row, text) in values.iter().enumerate() {
        take_apart(text, &mut pattern, &mut numbers)?;
        codes.push(patterns.number(&pattern)?);
        ends.push(numbers.len());
        // Texts with letters and digits mixed have a pattern each.
        if patterns.entries.len() > 12 + row / 4 {
            return None;
        }
    }
    let patterns = patterns.entries;
    if patterns.len() > 2 && patterns.len() * 4 > values.len() {
        return None;
    }
    let layout = Layout::of(&patterns, &codes);
    put_len(out, layout.most_numbers());
    let mut packed = Vec::new();
    dictionary::encode(&patterns, &codes, &mut packed);
    put_bytes(out, &packed);
    put_numbers(&layout, &codes, (&numbers, &ends), out);
    Some(())
}

fn put_numbers(layout: &Layout, codes: &[u16], (numbers, ends): (&[i64], &[usize]), out: &mut Vec<u8>) {
    let mut columns = vec![0; numbers.len()];
    let mut ranks = vec![0; layout.patterns.len()];
    let mut start = 0;
    for (code, end) in codes.iter().zip(ends) {
        let (Some(pattern), Some(rank)) = (layout.patterns.get(usize::from(*code)), ranks.get_mut(usize::from(*code)))
        else {
            continue;
        };
        for (number, value) in numbers.get(start..*end).unwrap_or_default().iter().enumerate() {
            if let Some(slot) = columns.get_mut(pattern.first + number * pattern.rows + *rank) {
                *slot = *value;
            }
        }
        *rank += 1;
        start = *end;
    }
    let mut packed = Vec::new();
    for pattern in &layout.patterns {
        for number in 0..pattern.numbers {
            let from = pattern.first + number * pattern.rows;
            packed.clear();
            pack(columns.get(from..from + pattern.rows).unwrap_or_default(), &mut packed);
            put_bytes(out, &packed);
        }
    }
}

/// Splits a text into its pattern and its numbers.
fn take_apart(text: &str, pattern: &mut String, numbers: &mut Vec<i64>) -> Option<()> {
    pattern.clear();
    let bytes = text.as_bytes();
    let most = numbers.len() + MOST_NUMBERS;
    let mut start = 0;
    let mut at = next_digit(bytes, 0);
    while at < bytes.len() {
        let digits = bytes.get(at..).unwrap_or_default();
        let zeros = digits.iter().take_while(|byte| **byte == b'0').count();
        let len = zeros + digits.iter().skip(zeros).take_while(|byte| byte.is_ascii_digit()).count();
        let zeros = zeros.min(len - 1);
        if len - zeros > MOST_DIGITS || numbers.len() == most {
            return None;
        }
        let value = digits.iter().take(len).fold(0_u64, |value, digit| value * 10 + u64::from(digit & 0x0f));
        numbers.push(i64::try_from(value).ok()?);
        pattern.push_str(text.get(start..at + zeros)?);
        pattern.push('1');
        start = at + len;
        at = next_digit(bytes, start);
    }
    pattern.push_str(text.get(start..)?);
    Some(())
}

/// Where the first digit from `from` on is, or the end.
fn next_digit(bytes: &[u8], from: usize) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let mut at = from;
    while let Some(chunk) = bytes.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        // Digits become zero to nine, and all other bytes more.
        let word = u64::from_le_bytes(*chunk) ^ (ONES * 0x30);
        let others = (((word & (ONES * 0x7f)) + ONES * 118) | word) & (ONES * 0x80);
        let digits = others ^ (ONES * 0x80);
        if digits != 0 {
            return at + (digits.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    let rest = bytes.get(at..).unwrap_or_default();
    at + rest.iter().position(u8::is_ascii_digit).unwrap_or(rest.len())
}

/// Where the numbers of a pattern stand.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    /// How many rows have the pattern.
    rows: usize,
    /// Numbers in a text.
    numbers: usize,
    /// Where the first number of its first row is; the first numbers of its other rows follow.
    first: usize,
    /// The column of its first number, among all.
    column: usize,
}

#[derive(Clone, Debug, Default)]
struct Layout {
    patterns: Vec<Place>,
    /// All numbers of all rows.
    numbers: usize,
}

impl Layout {
    fn of(patterns: &Texts, codes: &[u16]) -> Self {
        let numbers = |pattern: &str| pattern.bytes().filter(|byte| *byte == b'1').count();
        let mut places: Vec<Place> =
            patterns.iter().map(|pattern| Place { numbers: numbers(pattern), ..Place::default() }).collect();
        for code in codes {
            if let Some(place) = places.get_mut(usize::from(*code)) {
                place.rows += 1;
            }
        }
        let (mut first, mut column) = (0, 0);
        for place in &mut places {
            (place.first, place.column) = (first, column);
            first += place.rows * place.numbers;
            column += place.numbers;
        }
        Self { patterns: places, numbers: first }
    }

    fn most_numbers(&self) -> usize {
        self.patterns.iter().map(|place| place.numbers).max().unwrap_or_default()
    }
}

/// A column of patterns, opened.
#[derive(Clone, Debug)]
pub(super) struct Pattern<'a> {
    most_numbers: usize,
    coded: Coded<'a>,
    columns: Reader<'a>,
    rows: usize,
    opened: OnceLock<Opened<'a>>,
}

/// What every question needs.
#[derive(Clone, Debug)]
struct Opened<'a> {
    codes: Vec<u16>,
    layout: Layout,
    columns: Vec<&'a [u8]>,
}

impl<'a> Pattern<'a> {
    pub(super) fn open(mut reader: Reader<'a>, rows: usize) -> Result<Self, DecodeError> {
        let most_numbers = reader.index()?;
        let coded = Coded::open(&mut Reader::new(reader.bytes()?), rows)?;
        Ok(Self { most_numbers, coded, columns: reader, rows, opened: OnceLock::new() })
    }

    fn opened(&self) -> Result<&Opened<'a>, DecodeError> {
        if let Some(opened) = self.opened.get() {
            return Ok(opened);
        }
        let codes = self.coded.codes()?;
        let layout = Layout::of(self.coded.entries()?, &codes);
        if layout.most_numbers() != self.most_numbers || self.most_numbers > MOST_NUMBERS {
            return Err(UNKNOWN);
        }
        let mut reader = self.columns;
        let count = layout.patterns.iter().map(|place| place.numbers).sum::<usize>();
        if count > reader.rest().len() {
            return Err(UNKNOWN);
        }
        let columns = (0..count).map(|_| reader.bytes()).collect::<Result<_, _>>()?;
        Ok(self.opened.get_or_init(|| Opened { codes, layout, columns }))
    }

    pub(super) fn texts(&self, out: &mut Filling) -> Result<(), DecodeError> {
        let Opened { codes, layout, columns } = self.opened()?;
        let mut numbers = Vec::with_capacity(layout.numbers.min(1 << 20));
        for place in &layout.patterns {
            for column in columns.iter().skip(place.column).take(place.numbers) {
                Packed::new(column, place.rows).unpack(&mut numbers)?;
            }
        }
        let pieces = Pieces::of(self.coded.entries()?);
        let mut ranks = vec![0; layout.patterns.len()];
        out.reserve(self.rows, self.rows * 48);
        for code in codes {
            let code = usize::from(*code);
            let (Some(place), Some(rank)) = (layout.patterns.get(code), ranks.get_mut(code)) else {
                return Err(dictionary::UNKNOWN_ENTRY);
            };
            let row = numbers.get(place.first + *rank..).unwrap_or_default();
            pieces.put(code, row.iter().step_by(place.rows.max(1)).copied(), &mut out.bytes);
            out.end()?;
            *rank += 1;
        }
        Ok(())
    }

    /// The texts of some rows in ascending order.
    pub(super) fn pick(&self, rows: impl Iterator<Item = usize>, out: &mut Filling) -> Result<(), DecodeError> {
        let Opened { codes, layout, columns } = self.opened()?;
        let pieces = Pieces::of(self.coded.entries()?);
        let mut ranks = vec![0; layout.patterns.len()];
        let mut next = 0;
        // Numbers of the patterns met so far.
        let mut unpacked: Vec<Option<Vec<i64>>> = vec![None; layout.patterns.len()];
        for row in rows {
            for code in codes.get(next..row).ok_or(DecodeError("rows are not in ascending order"))? {
                if let Some(rank) = ranks.get_mut(usize::from(*code)) {
                    *rank += 1;
                }
            }
            next = row;
            let code = usize::from(*codes.get(row).ok_or(DecodeError("a row is beyond its column"))?);
            let (Some(place), Some(rank), Some(numbers)) =
                (layout.patterns.get(code), ranks.get(code), unpacked.get_mut(code))
            else {
                return Err(dictionary::UNKNOWN_ENTRY);
            };
            let numbers = match numbers {
                Some(numbers) => numbers,
                None => {
                    let mut found = Vec::new();
                    for column in columns.iter().skip(place.column).take(place.numbers) {
                        Packed::new(column, place.rows).unpack(&mut found)?;
                    }
                    numbers.insert(found)
                }
            };
            let row = numbers.get(*rank..).unwrap_or_default();
            pieces.put(code, row.iter().step_by(place.rows.max(1)).copied(), &mut out.bytes);
            out.end()?;
        }
        Ok(())
    }

    pub(super) fn rows_equal(&self, text: &str) -> Result<Rows, DecodeError> {
        let (mut pattern, mut wanted) = (String::new(), Vec::new());
        let none = Rows::none(self.rows);
        if take_apart(text, &mut pattern, &mut wanted).is_none() {
            return Ok(none);
        }
        let entries = self.coded.entries()?;
        let Some(code) = entries.iter().position(|entry| entry == pattern) else { return Ok(none) };
        let Opened { codes, layout, columns } = self.opened()?;
        let place = layout.patterns.get(code).copied().unwrap_or_default();
        let mut equal = Rows::all(place.rows);
        let mut numbers = Vec::new();
        for (column, wanted) in columns.iter().skip(place.column).zip(&wanted) {
            numbers.clear();
            Packed::new(column, place.rows).unpack(&mut numbers)?;
            equal.and(&Rows::of(&numbers, |number| number == wanted));
        }
        let mut rows = none;
        if !equal.is_empty() {
            let same = codes.iter().enumerate().filter(|(_, other)| usize::from(**other) == code);
            same.enumerate().filter(|(rank, _)| equal.contains(*rank)).for_each(|(_, (row, _))| rows.insert(row));
        }
        Ok(rows)
    }

    /// Looks at the patterns, and puts texts together only where a number may be part of what is searched.
    pub(super) fn rows_containing(&self, needle: &Finder<'_>) -> Result<Rows, DecodeError> {
        let shape = between_numbers(needle.needle());
        if shape.len() > self.most_numbers + 1 {
            return Ok(Rows::none(self.rows));
        }
        let entries = self.coded.entries()?;
        let wanted: Vec<bool> = entries.iter().map(|pattern| may_contain(pattern, &shape)).collect();
        if !wanted.contains(&true) {
            return Ok(Rows::none(self.rows));
        }
        let has_wanted = |code: &u16| wanted.get(usize::from(*code)).copied().unwrap_or_default();
        if shape.len() > 1 && wanted.iter().all(|is_wanted| *is_wanted) {
            let mut texts = Texts::default();
            texts.fill(|out| self.texts(out))?;
            return Ok(search(&texts, needle));
        }
        let candidates = Rows::of(&self.opened()?.codes, has_wanted);
        if shape.len() <= 1 {
            return Ok(candidates);
        }
        let mut texts = Texts::default();
        texts.fill(|out| self.pick(candidates.iter(), out))?;
        Ok(search_picked(&texts, &candidates, needle))
    }
}

/// What stands before, between and behind the runs of digits.
fn between_numbers(text: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    let (mut start, mut at) = (0, next_digit(text, 0));
    while at < text.len() {
        parts.push(text.get(start..at).unwrap_or_default());
        start = at + text.iter().skip(at).take_while(|byte| byte.is_ascii_digit()).count();
        at = next_digit(text, start);
    }
    parts.push(text.get(start..).unwrap_or_default());
    parts
}

/// Whether a text with that pattern can contain something of that shape. Without numbers in it: whether it does.
fn may_contain(pattern: &str, shape: &[&[u8]]) -> bool {
    let parts = between_numbers(pattern.as_bytes());
    match shape {
        [] => true,
        [only] => only.is_empty() || parts.iter().any(|part| Finder::new(only).find(part).is_some()),
        [first, middle @ .., last] => parts.windows(shape.len()).any(|parts| {
            let ends = parts.first().is_some_and(|before| before.ends_with(first))
                && parts.last().is_some_and(|behind| behind.starts_with(last));
            ends && parts.iter().skip(1).zip(middle).all(|(part, wanted)| part == wanted)
        }),
    }
}

/// Patterns cut where their numbers are.
struct Pieces<'a> {
    pieces: Vec<&'a str>,
    /// Where the pieces of each pattern end.
    ends: Vec<usize>,
}

impl<'a> Pieces<'a> {
    fn of(patterns: &'a Texts) -> Self {
        let (mut pieces, mut ends) = (Vec::new(), Vec::with_capacity(patterns.len()));
        for pattern in patterns.iter() {
            pieces.extend(pattern.split('1'));
            ends.push(pieces.len());
        }
        Self { pieces, ends }
    }

    fn put(&self, pattern: usize, numbers: impl Iterator<Item = i64>, out: &mut Vec<u8>) {
        let start = pattern.checked_sub(1).and_then(|before| self.ends.get(before).copied()).unwrap_or_default();
        let end = self.ends.get(pattern).copied().unwrap_or_default();
        put(self.pieces.get(start..end).unwrap_or_default().iter().copied(), numbers, out);
    }
}

fn put<'p>(mut pieces: impl Iterator<Item = &'p str>, mut numbers: impl Iterator<Item = i64>, out: &mut Vec<u8>) {
    out.extend_from_slice(pieces.next().unwrap_or_default().as_bytes());
    for piece in pieces {
        let mut buffer = itoa::Buffer::new();
        out.extend_from_slice(buffer.format(numbers.next().unwrap_or_default()).as_bytes());
        out.extend_from_slice(piece.as_bytes());
    }
}
