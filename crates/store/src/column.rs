//! One column of a row group: a text for each row, packed by what the texts look like.
//!
//! The first byte says how:
//!
//! | byte | column | what follows |
//! |---|---|---|
//! | 0 | all rows alike | the text |
//! | 1 | few texts again and again | `dictionary` |
//! | 2 | hexadecimal texts of one length | `hex` |
//! | 3 | decimal numbers of so many decimals | `numbers` |
//! | 4 | instants in one layout | `times` |
//! | 5 | any texts | `text` |
//! | 6 | some rows empty | `sparse`, with a column of the others in it |
//! | 7 | few patterns with numbers in them | `pattern` |
//!
//! Every kind gives every text back byte for byte; which one is taken follows from the values alone. Whoever reads knows
//! how many rows there are and their times. Bytes that nobody wrote lead to errors and not to panics, and to no more
//! memory than the rows need; checksums are the business of the file.

mod affix;
mod dictionary;
mod distinct;
mod hex;
mod numbers;
mod packed;
mod pattern;
mod rows;
mod sparse;
#[cfg(test)]
mod tests;
mod text;
mod texts;
mod times;

use memchr::memmem::Finder;

use self::affix::Affix;
use self::dictionary::Coded;
pub(crate) use self::dictionary::Dictionary;
use self::hex::Hex;
use self::numbers::Numbers;
use self::pattern::Pattern;
pub use self::rows::Rows;
use self::sparse::Sparse;
use self::text::Text;
use self::texts::Filling;
pub use self::texts::Texts;
use self::times::Times;
use crate::wire::{DecodeError, Reader};

/// Rows of a row group.
const MAX_ROWS: usize = 1 << 16;

const CONSTANT: u8 = 0;
const DICTIONARY: u8 = 1;
const HEX: u8 = 2;
const NUMBERS: u8 = 3;
const TIMES: u8 = 4;
const TEXT: u8 = 5;
const SPARSE: u8 = 6;
const PATTERN: u8 = 7;

/// Writes a column of at most 65,536 values behind `out`. `times` are those of the rows, in nanoseconds.
pub(crate) fn encode(values: &Texts, times: &[i64], out: &mut Vec<u8>) {
    let mut before = 0;
    let is_empty = |end: &&u32| {
        let is_empty = **end == before;
        before = **end;
        is_empty
    };
    let empty = values.ends().iter().filter(is_empty).count();
    if empty == 0 || empty == values.len() {
        return encode_full(values, times, out);
    }
    if empty <= values.len() / 2
        && let Some((entries, codes)) = distinct::distinct(values)
        && entries.len() <= values.len() / OFTEN
    {
        out.push(DICTIONARY);
        return dictionary::encode(&entries, &codes, out);
    }
    out.push(SPARSE);
    sparse::encode(values, times, out);
}

/// When texts come so often on average, no other way is looked for.
const OFTEN: usize = 8;

/// Writes a column, or leaves what is to be cut off.
type Encode = fn(&Texts, &[i64], &mut Vec<u8>) -> Option<()>;

/// Writes a column of which no row or every row is empty.
fn encode_full(values: &Texts, times: &[i64], out: &mut Vec<u8>) {
    let first = values.get(0);
    if values.iter().all(|text| text == first) {
        out.push(CONSTANT);
        out.extend_from_slice(first.as_bytes());
        return;
    }
    let start = out.len();
    // The rows' own times cost nothing, however often they repeat themselves.
    let as_times: [(u8, Encode); 2] = [(TIMES, times::encode), (NUMBERS, numbers::encode_clock)];
    for (kind, encode) in as_times {
        out.push(kind);
        if encode(values, times, out).is_some() && out.len() - start <= 32 + values.len() / 16 {
            return;
        }
        out.truncate(start);
    }
    let is_diverse = distinct::begins_diverse(values);
    let mut distinct = if is_diverse { None } else { distinct::distinct(values) };
    if let Some((entries, codes)) = &distinct
        && entries.len() <= values.len() / OFTEN
    {
        out.push(DICTIONARY);
        return dictionary::encode(entries, codes, out);
    }
    let shape = encode_shaped(values, times, out);
    if is_diverse {
        // An id is so long that it is worth looking further for others like it.
        if shape.is_some_and(|shape| shape != HEX) {
            return;
        }
        distinct = distinct::distinct(values);
    }
    let is_better = |entries: &Texts| match shape {
        Some(_) => dictionary::estimate(entries, values.len()) < out.len() - start,
        None => entries.len() <= values.len() / 2,
    };
    if let Some((entries, codes)) = distinct.filter(|(entries, _)| is_better(entries)) {
        out.truncate(start);
        out.push(DICTIONARY);
        return dictionary::encode(&entries, &codes, out);
    }
    if shape.is_none() {
        out.truncate(start);
        out.push(TEXT);
        text::encode(values, out);
    }
}

/// Writes the column if all its values have one shape, and answers which; else whatever is behind `out` is to be cut off.
fn encode_shaped(values: &Texts, times: &[i64], out: &mut Vec<u8>) -> Option<u8> {
    let start = out.len();
    let affix = Affix::of(values);
    let mut attempt = |kind: u8, encode: &mut dyn FnMut(&mut Vec<u8>) -> Option<()>| {
        out.truncate(start);
        out.push(kind);
        encode(out).map(|()| kind)
    };
    attempt(NUMBERS, &mut |out| numbers::encode(values, times, affix, out))
        .or_else(|| attempt(TIMES, &mut |out| times::encode(values, times, out)))
        .or_else(|| attempt(HEX, &mut |out| hex::encode(values, affix, out)))
        .or_else(|| attempt(PATTERN, &mut |out| pattern::encode(values, out)))
}

/// A column, opened: only its beginning is read before somebody asks for more.
#[derive(Clone, Debug)]
pub(crate) struct Column<'a> {
    rows: usize,
    kind: Kind<'a>,
}

#[derive(Clone, Debug)]
enum Kind<'a> {
    Constant(&'a str),
    Dictionary(Coded<'a>),
    Hex(Hex<'a>),
    Numbers(Numbers<'a>),
    Times(Times<'a>),
    Text(Text<'a>),
    Sparse(Sparse<'a>),
    Pattern(Pattern<'a>),
}

impl<'a> Column<'a> {
    /// Opens what [`encode`] wrote for so many rows.
    pub(crate) fn open(bytes: &'a [u8], rows: usize) -> Result<Self, DecodeError> {
        match bytes.split_first() {
            Some((&SPARSE, bytes)) if rows <= MAX_ROWS => {
                Ok(Self { rows, kind: Kind::Sparse(Sparse::open(Reader::new(bytes), rows)?) })
            }
            Some(_) | None => Self::open_full(bytes, rows),
        }
    }

    /// A column in which no other can be.
    fn open_full(bytes: &'a [u8], rows: usize) -> Result<Self, DecodeError> {
        if rows > MAX_ROWS {
            return Err(DecodeError("a column has too many rows"));
        }
        let mut reader = Reader::new(bytes);
        let kind = match reader.byte()? {
            CONSTANT => {
                let text = std::str::from_utf8(reader.rest()).map_err(|_| DecodeError("a text is not UTF-8"))?;
                Kind::Constant(text)
            }
            DICTIONARY => Kind::Dictionary(Coded::open(&mut reader, rows)?),
            HEX => Kind::Hex(Hex::open(reader, rows)?),
            NUMBERS => Kind::Numbers(Numbers::open(reader, rows)?),
            TIMES => Kind::Times(Times::open(reader, rows)?),
            TEXT => Kind::Text(Text::open(reader, rows)?),
            PATTERN => Kind::Pattern(Pattern::open(reader, rows)?),
            _ => return Err(DecodeError("a column has an unknown kind")),
        };
        Ok(Self { rows, kind })
    }

    /// Adds the texts of all rows to `out`, which is empty after an error.
    pub(crate) fn texts(&self, times: &[i64], out: &mut Texts) -> Result<(), DecodeError> {
        self.check(times)?;
        out.fill(|out| match &self.kind {
            Kind::Constant(text) => repeat(text, self.rows, out),
            Kind::Dictionary(coded) => coded.texts(out),
            Kind::Hex(hex) => hex.texts(out),
            Kind::Numbers(numbers) => numbers.texts(times, out),
            Kind::Times(instants) => instants.texts(times, out),
            Kind::Text(text) => text.texts(out),
            Kind::Sparse(sparse) => sparse.texts(times, out),
            Kind::Pattern(pattern) => pattern.texts(out),
        })
    }

    /// Adds the texts of some rows, in ascending order, to `out`, which is empty after an error. What lies compressed
    /// together is unpacked once, and only if one of the rows is in it.
    pub(crate) fn pick(&self, rows: &[u32], times: &[i64], out: &mut Texts) -> Result<(), DecodeError> {
        self.check(times)?;
        if rows.last().is_some_and(|last| *last as usize >= self.rows) {
            return Err(BEYOND);
        }
        out.fill(|out| {
            let places = rows.iter().map(|row| *row as usize);
            match &self.kind {
                Kind::Constant(text) => repeat(text, rows.len(), out),
                Kind::Dictionary(coded) => {
                    rows.iter().try_for_each(|row| out.push(coded.get(*row as usize)?.as_bytes()))
                }
                Kind::Hex(hex) => rows.iter().try_for_each(|row| {
                    hex.get(*row as usize, &mut out.bytes)?;
                    out.end()
                }),
                Kind::Numbers(numbers) => numbers.pick(rows, times, out),
                Kind::Times(instants) => instants.pick(rows, times, out),
                Kind::Text(text) => text.pick(places, out),
                Kind::Sparse(sparse) => sparse.pick(rows, times, out),
                Kind::Pattern(pattern) => pattern.pick(places, out),
            }
        })
    }

    /// The text of every row, when they are all alike.
    pub(crate) fn constant(&self) -> Option<&str> {
        match &self.kind {
            Kind::Constant(text) => Some(text),
            Kind::Dictionary(_)
            | Kind::Hex(_)
            | Kind::Numbers(_)
            | Kind::Times(_)
            | Kind::Text(_)
            | Kind::Sparse(_)
            | Kind::Pattern(_) => None,
        }
    }

    /// The distinct texts and which of them each row has, where the column is kept so.
    pub(crate) fn dictionary(&self) -> Result<Option<Dictionary>, DecodeError> {
        match &self.kind {
            Kind::Constant(text) => {
                let entries = std::iter::once(*text).collect();
                Ok(Some(Dictionary { entries, codes: vec![0; self.rows] }))
            }
            Kind::Dictionary(coded) => coded.dictionary().map(Some),
            Kind::Sparse(sparse) => sparse.dictionary(),
            Kind::Hex(_) | Kind::Numbers(_) | Kind::Times(_) | Kind::Text(_) | Kind::Pattern(_) => Ok(None),
        }
    }

    /// What `text.parse::<f64>()` answers for every row, where the column is kept as numbers and nothing else.
    pub(crate) fn numbers(&self) -> Result<Option<Vec<f64>>, DecodeError> {
        match &self.kind {
            Kind::Numbers(numbers) => numbers.numbers(),
            Kind::Constant(_)
            | Kind::Dictionary(_)
            | Kind::Hex(_)
            | Kind::Times(_)
            | Kind::Text(_)
            | Kind::Sparse(_)
            | Kind::Pattern(_) => Ok(None),
        }
    }

    /// The rows whose text is `text`.
    pub(crate) fn rows_equal(&self, text: &str, times: &[i64]) -> Result<Rows, DecodeError> {
        self.check(times)?;
        match &self.kind {
            Kind::Constant(constant) => Ok(all_or_none(*constant == text, self.rows)),
            Kind::Dictionary(coded) => coded.rows_equal(text),
            Kind::Hex(hex) => Ok(hex.rows_equal(text)),
            Kind::Numbers(numbers) => numbers.rows_equal(text, times, self.rows),
            Kind::Times(instants) => instants.rows_equal(text, times, self.rows),
            Kind::Text(found) => found.rows_equal(text),
            Kind::Sparse(sparse) => sparse.rows_equal(text, times),
            Kind::Pattern(pattern) => pattern.rows_equal(text),
        }
    }

    /// The rows in whose text the needle is.
    pub(crate) fn rows_containing(&self, needle: &Finder<'_>, times: &[i64]) -> Result<Rows, DecodeError> {
        self.check(times)?;
        if needle.needle().is_empty() {
            return Ok(Rows::all(self.rows));
        }
        match &self.kind {
            Kind::Constant(text) => Ok(all_or_none(needle.find(text.as_bytes()).is_some(), self.rows)),
            Kind::Dictionary(coded) => coded.rows_containing(needle),
            Kind::Hex(hex) => Ok(hex.rows_containing(needle)),
            Kind::Numbers(numbers) if !numbers.can_contain(needle.needle()) => Ok(Rows::none(self.rows)),
            Kind::Times(instants) if !instants.can_contain(needle.needle()) => Ok(Rows::none(self.rows)),
            Kind::Numbers(_) | Kind::Times(_) | Kind::Text(_) => {
                let mut texts = Texts::default();
                self.texts(times, &mut texts)?;
                Ok(search(&texts, needle))
            }
            Kind::Sparse(sparse) => sparse.rows_containing(needle, times),
            Kind::Pattern(pattern) => pattern.rows_containing(needle),
        }
    }

    /// Whether searching for words is worth a filter: texts that are neither few nor alike.
    pub(crate) fn is_worth_filter(&self) -> bool {
        match &self.kind {
            Kind::Hex(_) | Kind::Text(_) => true,
            Kind::Sparse(sparse) => sparse.parts().1.is_worth_filter(),
            Kind::Constant(_) | Kind::Dictionary(_) | Kind::Numbers(_) | Kind::Times(_) | Kind::Pattern(_) => false,
        }
    }

    /// Whether all texts have digits, and anything else, in the same places.
    pub(crate) fn is_uniform(&self) -> bool {
        matches!(self.kind, Kind::Hex(_))
    }

    /// Whether texts can only be told with the times of the rows.
    pub(crate) fn needs_times(&self) -> bool {
        match &self.kind {
            Kind::Times(_) => true,
            Kind::Numbers(numbers) => numbers.needs_times(),
            Kind::Sparse(sparse) => sparse.parts().1.needs_times(),
            Kind::Constant(_) | Kind::Dictionary(_) | Kind::Hex(_) | Kind::Text(_) | Kind::Pattern(_) => false,
        }
    }

    fn check(&self, times: &[i64]) -> Result<(), DecodeError> {
        // The column inside of a sparse one is asked with the times of its own rows.
        if self.needs_times() && times.len() != self.rows {
            return Err(DecodeError("a column has another number of rows than there are times"));
        }
        Ok(())
    }
}

const BEYOND: DecodeError = DecodeError("a row is beyond its column");

fn all_or_none(is_all: bool, rows: usize) -> Rows {
    if is_all { Rows::all(rows) } else { Rows::none(rows) }
}

fn repeat(text: &str, rows: usize, out: &mut Filling) -> Result<(), DecodeError> {
    out.reserve(rows, rows.saturating_mul(text.len()));
    (0..rows).try_for_each(|_| out.push(text.as_bytes()))
}

/// The texts in which the needle is.
fn search(texts: &Texts, needle: &Finder<'_>) -> Rows {
    let mut rows = Rows::none(texts.len());
    let (bytes, ends) = (texts.bytes().as_bytes(), texts.ends());
    let len = needle.needle().len();
    let (mut from, mut row) = (0, 0);
    while let Some(found) = bytes.get(from..).and_then(|rest| needle.find(rest)) {
        let at = from + found;
        row += ends.iter().skip(row).take_while(|end| **end as usize <= at).count();
        let Some(end) = ends.get(row).map(|end| *end as usize) else { break };
        // What begins in one text and ends in the next is in neither.
        if at + len <= end {
            rows.insert(row);
            from = end;
        } else {
            from = at + 1;
        }
    }
    rows
}

/// The rows in whose text the needle is, of those whose texts were picked.
fn search_picked(texts: &Texts, picked: &Rows, needle: &Finder<'_>) -> Rows {
    let found = search(texts, needle);
    let mut rows = Rows::none(picked.len());
    picked.iter().enumerate().filter(|(place, _)| found.contains(*place)).for_each(|(_, row)| rows.insert(row));
    rows
}
