//! Hexadecimal texts of one length, such as ids of traces and UUIDs, as the bytes they stand for.
//!
//! ```text
//! column := letters (a byte: 0 small, 1 capital), digits (varint), dashes (count, then how many digits stand between
//!           one and the one before), prefix, suffix, bytes
//! ```
//!
//! The bytes of a row are its digits two by two; the last byte of an odd number of digits is filled up with a zero.

use memchr::memmem::Finder;

use super::affix::Affix;
use super::packed::take;
use super::rows::Rows;
use super::texts::{Filling, Texts};
use crate::wire::{DecodeError, Reader, put_bytes, put_len};

const MOST_DIGITS: usize = 256;
const MOST_DASHES: usize = 32;

/// How the values of a column are written.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Layout<'a> {
    letters: Letters,
    digits: usize,
    /// Digits between dashes: one more than there are dashes.
    parts: Vec<usize>,
    affix: Affix<'a>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Letters {
    Small,
    Capital,
}

/// Writes the column if all values are such texts; whatever is behind `out` otherwise is to be cut off.
pub(super) fn encode(values: &Texts, affix: Affix<'_>, out: &mut Vec<u8>) -> Option<()> {
    let layout = Layout::of(values, affix)?;
    out.push(match layout.letters {
        Letters::Small => 0,
        Letters::Capital => 1,
    });
    put_len(out, layout.digits);
    put_len(out, layout.parts.len() - 1);
    let dashes = layout.parts.len() - 1;
    layout.parts.iter().take(dashes).for_each(|part| put_len(out, *part));
    put_bytes(out, affix.prefix);
    put_bytes(out, affix.suffix);
    out.reserve(values.len() * layout.width());
    for text in values.iter() {
        layout.parse(text.as_bytes(), out)?;
    }
    Some(())
}

impl<'a> Layout<'a> {
    fn of(values: &Texts, affix: Affix<'a>) -> Option<Self> {
        let first = affix.strip(values.get(0).as_bytes())?;
        // The first letter, which need not be in the first value.
        let letter = values.iter().find_map(|text| {
            let text = affix.strip(text.as_bytes()).unwrap_or_default();
            text.iter().copied().find(u8::is_ascii_alphabetic)
        });
        let letters =
            if letter.is_some_and(|letter| letter.is_ascii_uppercase()) { Letters::Capital } else { Letters::Small };
        let parts: Vec<usize> = first.split(|byte| *byte == b'-').map(<[u8]>::len).collect();
        let layout = Self { letters, digits: parts.iter().sum(), parts, affix };
        layout.is_sound().then_some(layout)
    }

    fn is_sound(&self) -> bool {
        (1..=MOST_DIGITS).contains(&self.digits) && (1..=MOST_DASHES + 1).contains(&self.parts.len())
    }

    /// Bytes of a row.
    fn width(&self) -> usize {
        self.digits.div_ceil(2)
    }

    /// Characters of a row.
    fn text_len(&self) -> usize {
        self.digits + self.parts.len() - 1 + self.affix.prefix.len() + self.affix.suffix.len()
    }

    /// Nothing around and between the digits.
    fn is_bare(&self) -> bool {
        self.parts.len() == 1 && self.affix == Affix::default()
    }

    /// Adds the bytes of a text.
    fn parse(&self, text: &[u8], out: &mut Vec<u8>) -> Option<()> {
        let mut text = self.affix.strip(text)?;
        if let [only] = self.parts.as_slice() {
            return (text.len() == *only).then_some(()).and_then(|()| self.parse_digits(text, out));
        }
        let mut digits = [0; MOST_DIGITS];
        let mut slots = digits.as_mut_slice();
        for (number, part) in self.parts.iter().enumerate() {
            if number > 0 {
                text = text.strip_prefix(b"-")?;
            }
            let (these, rest) = text.split_at_checked(*part)?;
            let (slot, free) = slots.split_at_mut_checked(*part)?;
            slot.copy_from_slice(these);
            (text, slots) = (rest, free);
        }
        if !text.is_empty() {
            return None;
        }
        self.parse_digits(digits.get(..self.digits)?, out)
    }

    fn parse_digits(&self, digits: &[u8], out: &mut Vec<u8>) -> Option<()> {
        let (words, rest) = digits.as_chunks::<8>();
        for word in words {
            out.extend_from_slice(&self.letters.pack(u64::from_le_bytes(*word))?);
        }
        if !rest.is_empty() {
            let mut word = [b'0'; 8];
            word.iter_mut().zip(rest).for_each(|(slot, digit)| *slot = *digit);
            let bytes = self.letters.pack(u64::from_le_bytes(word))?;
            out.extend(bytes.iter().take(rest.len().div_ceil(2)));
        }
        Some(())
    }

    /// Adds the text of a row's bytes.
    fn put(&self, bytes: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(self.affix.prefix);
        if let [only] = self.parts.as_slice() {
            let end = out.len() + only;
            self.put_digits(bytes, out);
            out.truncate(end);
        } else {
            let mut digits = [[0; 8]; MOST_DIGITS / 8];
            let words = bytes.chunks(4).map(|word| self.letters.unpack(whole_word(word)));
            digits.iter_mut().zip(words).for_each(|(slot, word)| *slot = word);
            let mut rest = digits.as_flattened();
            for (number, part) in self.parts.iter().enumerate() {
                if number > 0 {
                    out.push(b'-');
                }
                let (these, others) = rest.split_at_checked(*part).unwrap_or_default();
                out.extend_from_slice(these);
                rest = others;
            }
        }
        out.extend_from_slice(self.affix.suffix);
    }

    /// Adds eight digits for every four bytes begun.
    fn put_digits(&self, bytes: &[u8], out: &mut Vec<u8>) {
        let (words, rest) = bytes.as_chunks::<4>();
        words.iter().for_each(|word| out.extend_from_slice(&self.letters.unpack(*word)));
        if !rest.is_empty() {
            out.extend_from_slice(&self.letters.unpack(whole_word(rest)));
        }
    }
}

/// Up to four bytes, filled up with zeros.
fn whole_word(bytes: &[u8]) -> [u8; 4] {
    bytes.first_chunk().copied().unwrap_or_else(|| {
        let mut word = [0; 4];
        word.iter_mut().zip(bytes).for_each(|(slot, byte)| *slot = *byte);
        word
    })
}

const ONES: u64 = 0x0101_0101_0101_0101;
const LOW_NIBBLES: u64 = 0x000f_000f_000f_000f;

impl Letters {
    /// What a digit above nine has more than the character for zero and its own value.
    fn gap(self) -> u64 {
        match self {
            Self::Small => 39,
            Self::Capital => 7,
        }
    }

    /// Eight digits at once.
    fn pack(self, text: u64) -> Option<[u8; 4]> {
        let values = (text & (ONES * 0x0f)) + ((text >> 6) & ONES) * 9;
        if values & (ONES * 0xf0) != 0 || self.digits(values) != text {
            return None;
        }
        // Each byte of text became a nibble: the first of two is the higher one.
        let pairs = (values << 4 | values >> 8) & 0x00ff_00ff_00ff_00ff;
        let pairs = (pairs | pairs >> 8) & 0x0000_ffff_0000_ffff;
        Some(((pairs | pairs >> 16) as u32).to_le_bytes())
    }

    fn unpack(self, bytes: [u8; 4]) -> [u8; 8] {
        let spread = u64::from(u32::from_le_bytes(bytes));
        let spread = (spread | spread << 16) & 0x0000_ffff_0000_ffff;
        let spread = (spread | spread << 8) & 0x00ff_00ff_00ff_00ff;
        self.digits((spread >> 4) & LOW_NIBBLES | (spread & LOW_NIBBLES) << 8).to_le_bytes()
    }

    /// The characters of eight values below sixteen.
    fn digits(self, values: u64) -> u64 {
        let above_nine = (values + ONES * 6) >> 4 & ONES;
        values + ONES * u64::from(b'0') + above_nine * self.gap()
    }
}

/// A column of hexadecimal texts, opened.
#[derive(Clone, Debug)]
pub(super) struct Hex<'a> {
    layout: Layout<'a>,
    bytes: &'a [u8],
    rows: usize,
}

impl<'a> Hex<'a> {
    pub(super) fn open(mut reader: Reader<'a>, rows: usize) -> Result<Self, DecodeError> {
        const UNKNOWN: DecodeError = DecodeError("a column of hexadecimal texts has an unknown shape");
        let letters = match reader.byte()? {
            0 => Letters::Small,
            1 => Letters::Capital,
            _ => return Err(UNKNOWN),
        };
        let digits = reader.index()?;
        let dashes = reader.index()?;
        if dashes > MOST_DASHES {
            return Err(UNKNOWN);
        }
        let mut parts = Vec::with_capacity(dashes + 1);
        let mut left = digits;
        for _ in 0..dashes {
            let part = reader.index()?;
            left = left.checked_sub(part).ok_or(UNKNOWN)?;
            parts.push(part);
        }
        parts.push(left);
        let affix = Affix { prefix: reader.text()?.as_bytes(), suffix: reader.text()?.as_bytes() };
        let layout = Layout { letters, digits, parts, affix };
        if !layout.is_sound() {
            return Err(UNKNOWN);
        }
        let bytes = take(&mut reader, rows.saturating_mul(layout.width()))?;
        Ok(Self { layout, bytes, rows })
    }

    fn values(&self) -> impl Iterator<Item = &'a [u8]> {
        self.bytes.chunks_exact(self.layout.width())
    }

    pub(super) fn texts(&self, out: &mut Filling) -> Result<(), DecodeError> {
        out.reserve(self.rows, self.rows.saturating_mul(self.layout.text_len() + 8));
        for value in self.values() {
            self.layout.put(value, &mut out.bytes);
            out.end()?;
        }
        Ok(())
    }

    pub(super) fn get(&self, row: usize, out: &mut Vec<u8>) -> Result<(), DecodeError> {
        let value = self.values().nth(row).ok_or(DecodeError("a row is beyond its column"))?;
        self.layout.put(value, out);
        Ok(())
    }

    pub(super) fn rows_equal(&self, text: &str) -> Rows {
        let mut wanted = Vec::new();
        if self.layout.parse(text.as_bytes(), &mut wanted).is_none() {
            return Rows::none(self.rows);
        }
        let mut rows = Rows::none(self.rows);
        // Most rows differ in the first bytes already, and comparing numbers is faster than comparing slices.
        let head = |value: &[u8]| value.first_chunk().map(|head| u64::from_le_bytes(*head));
        let first = head(&wanted);
        let found = self.values().enumerate().filter(|(_, value)| head(value) == first && *value == wanted);
        found.for_each(|(row, _)| rows.insert(row));
        rows
    }

    pub(super) fn rows_containing(&self, needle: &Finder<'_>) -> Rows {
        let text = needle.needle();
        if text.len() > self.layout.text_len() || !text.iter().all(|byte| self.can_contain(*byte)) {
            return Rows::none(self.rows);
        }
        if text.len() == self.layout.text_len() {
            return std::str::from_utf8(text).map_or_else(|_| Rows::none(self.rows), |text| self.rows_equal(text));
        }
        if text.len() < 4 || !self.layout.is_bare() {
            return self.search_as_text(needle);
        }
        let mut rows = Rows::none(self.rows);
        // The needle begins with the first or with the second digit of a byte.
        for skipped in 0..2 {
            let digits = text.get(skipped..).unwrap_or_default();
            let mut bytes = Vec::new();
            let whole = digits.len() & !1;
            if self.layout.parse_digits(digits.get(..whole).unwrap_or_default(), &mut bytes).is_none() {
                break;
            }
            self.search_bytes(&Finder::new(&bytes), needle, &mut rows);
        }
        rows
    }

    fn can_contain(&self, byte: u8) -> bool {
        let is_digit = match self.layout.letters {
            Letters::Small => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
            Letters::Capital => matches!(byte, b'0'..=b'9' | b'A'..=b'F'),
        };
        is_digit || byte == b'-' || self.layout.affix.has(byte)
    }

    /// Looks closer at every row in which `bytes` are.
    fn search_bytes(&self, bytes: &Finder<'_>, needle: &Finder<'_>, rows: &mut Rows) {
        let width = self.layout.width();
        let mut text = Vec::with_capacity(self.layout.text_len() + 8);
        let mut from = 0;
        while let Some(found) = self.bytes.get(from..).and_then(|rest| bytes.find(rest)) {
            let at = from + found;
            let row = at / width;
            text.clear();
            if let Some(value) = self.bytes.get(row * width..(row + 1) * width) {
                self.layout.put(value, &mut text);
            }
            if needle.find(&text).is_some() {
                rows.insert(row);
                from = (row + 1) * width;
            } else {
                from = at + 1;
            }
        }
    }

    fn search_as_text(&self, needle: &Finder<'_>) -> Rows {
        let mut rows = Rows::none(self.rows);
        let mut text = Vec::with_capacity(self.layout.text_len() + 8);
        for (row, value) in self.values().enumerate() {
            text.clear();
            self.layout.put(value, &mut text);
            if needle.find(&text).is_some() {
                rows.insert(row);
            }
        }
        rows
    }
}
