//! A row group to be read, in memory or in a block.

use std::borrow::Cow;
use std::fmt::Debug;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use signal::{Labels, LogLine, Nanos};

use super::front::{ColumnFacts, Front, Part};
use super::shape::{Shape, SlotKind};
use super::shred::unpack_metadata;
use super::{filter, times};
use crate::block::ints;
use crate::column::{Column, Rows, Texts};
use crate::wire::DecodeError;

/// Why a part of a row group cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RowsError {
    /// The bytes are not what was written.
    #[error("a row group is damaged: {reason}")]
    Damaged {
        /// What is wrong with them.
        reason: &'static str,
    },
    /// The file system refused.
    #[error("cannot read a row group")]
    Io(#[source] io::Error),
}

impl From<DecodeError> for RowsError {
    fn from(DecodeError(reason): DecodeError) -> Self {
        Self::Damaged { reason }
    }
}

/// The bytes behind a front that are read when they are asked for.
pub(crate) trait Parts: Send + Sync + Debug {
    /// `len` bytes from `offset` on.
    fn read(&self, offset: usize, len: usize) -> Result<Vec<u8>, RowsError>;

    /// The filter, from a place where it is at hand.
    fn filter(&self, offset: usize, len: usize) -> Result<Arc<Vec<u8>>, RowsError> {
        self.read(offset, len).map(Arc::new)
    }
}

/// Some thousand lines as columns, packed; never changes.
#[derive(Debug)]
pub struct RowGroup {
    front: Front,
    source: Source,
}

#[derive(Debug)]
enum Source {
    /// Front and parts.
    Memory {
        bytes: Vec<u8>,
        front: usize,
    },
    Elsewhere(Box<dyn Parts>),
}

/// The values of one column, unpacked as far as is useful; one for each line that has one.
#[derive(Clone, PartialEq, Debug)]
pub enum Field {
    /// The same for every line.
    Constant(String),
    /// A few, and for each line which.
    Dictionary(Texts, Vec<u16>),
    /// Numbers: what parsing each text as a float gives.
    Numbers(Vec<f64>),
    /// Anything.
    Texts(Texts),
}

impl RowGroup {
    /// In memory, from what sealing made.
    pub(super) fn sealed(front: Front, parts: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(512 + parts.len());
        front.put(&mut bytes);
        let end = bytes.len();
        bytes.extend_from_slice(parts);
        bytes.shrink_to_fit();
        Self { front, source: Source::Memory { bytes, front: end } }
    }

    /// Reads the front of a group whose parts lie elsewhere.
    pub(crate) fn open(front: &[u8], parts: Box<dyn Parts>) -> Result<Self, RowsError> {
        Ok(Self { front: Front::take(front)?, source: Source::Elsewhere(parts) })
    }

    /// Front and parts as they are stored.
    pub(crate) fn stored(&self) -> Result<(Vec<u8>, Vec<u8>), RowsError> {
        match &self.source {
            Source::Memory { bytes, front } => {
                let (front, parts) = bytes.split_at_checked(*front).unwrap_or_default();
                Ok((front.to_vec(), parts.to_vec()))
            }
            Source::Elsewhere(parts) => {
                let mut front = Vec::new();
                self.front.put(&mut front);
                Ok((front, parts.read(0, self.front.parts_len())?))
            }
        }
    }

    /// Where the filter is among the parts.
    pub(crate) fn filter_place(&self) -> Range<usize> {
        self.front.filter.offset..self.front.filter.offset + self.front.filter.len
    }

    /// Number of lines.
    #[must_use]
    pub fn rows(&self) -> u32 {
        self.front.rows as u32
    }

    /// Bytes of all lines as they were written.
    #[must_use]
    pub fn text_bytes(&self) -> u64 {
        self.front.text_bytes
    }

    /// Bytes it takes, packed.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match &self.source {
            Source::Memory { bytes, .. } => bytes.len(),
            Source::Elsewhere(_) => self.front.parts_len(),
        }
    }

    /// Time of the earliest and the latest line.
    #[must_use]
    pub fn bounds(&self) -> (Nanos, Nanos) {
        (Nanos(self.front.bounds.0), Nanos(self.front.bounds.1))
    }

    /// What its lines look like.
    #[must_use]
    pub fn shapes(&self) -> &[Shape] {
        &self.front.shapes
    }

    /// Bytes of the longest value of a column.
    #[must_use]
    pub fn longest(&self, column: u32) -> usize {
        self.facts(column).longest
    }

    /// Whether parsers may make something else of a text of this column than its letters: it holds a backslash or a
    /// replacement character.
    #[must_use]
    pub fn has_escapes(&self, column: u32) -> bool {
        self.facts(column).has_escapes
    }

    fn facts(&self, column: u32) -> ColumnFacts {
        self.front.columns.get(column as usize).copied().unwrap_or_default()
    }

    /// For each line the number of its shape; nothing when all have the first.
    ///
    /// # Errors
    /// [`RowsError`]
    pub fn codes(&self) -> Result<Option<Vec<u8>>, RowsError> {
        if self.front.shapes.len() <= 1 {
            return Ok(None);
        }
        let packed = self.read(self.front.codes)?;
        let codes = zstd::bulk::decompress(&packed, self.front.rows);
        let codes = codes.map_err(|_| DecodeError("the shapes of lines cannot be unpacked"))?;
        let is_known = |code: &u8| usize::from(*code) < self.front.shapes.len();
        if codes.len() != self.front.rows || !codes.iter().all(is_known) {
            return Err(DecodeError("the shapes of lines are not those of the group").into());
        }
        Ok(Some(codes))
    }

    /// The time of each line, in nanoseconds.
    ///
    /// # Errors
    /// [`RowsError`]
    pub fn times(&self) -> Result<Vec<i64>, RowsError> {
        Ok(times::take(&self.read(self.front.times)?, self.front.rows)?)
    }

    /// The bytes of each line.
    ///
    /// # Errors
    /// [`RowsError`]
    pub fn lengths(&self) -> Result<Vec<i64>, RowsError> {
        let rows = self.front.rows;
        let mut lengths = Vec::with_capacity(rows);
        ints::decode(&self.read(self.front.lengths)?, rows, 0..rows, &mut lengths)?;
        if lengths.len() == rows { Ok(lengths) } else { Err(DecodeError("a line has no length").into()) }
    }

    /// The lines that have a value in a column, ascending; nothing when all have one.
    ///
    /// # Errors
    /// [`RowsError`]
    pub fn rows_with(&self, column: u32) -> Result<Option<Vec<u16>>, RowsError> {
        if self.facts(column).values == self.front.rows {
            return Ok(None);
        }
        let has = |shape: &Shape| shape.all_slots().iter().any(|slot| slot.column == column);
        let with: Vec<bool> = self.front.shapes.iter().map(has).collect();
        let codes = self.codes()?.unwrap_or_default();
        let rows = (0_u16..=u16::MAX).zip(&codes).filter(|(_, code)| with.get(usize::from(**code)) == Some(&true));
        let rows: Vec<u16> = rows.map(|(row, _)| row).collect();
        if rows.len() != self.facts(column).values {
            return Err(DecodeError("a column has not one value for each of its lines").into());
        }
        Ok(Some(rows))
    }

    /// The values of a column.
    ///
    /// # Errors
    /// [`RowsError`]
    pub fn field(&self, column: u32) -> Result<Field, RowsError> {
        self.with_column(column, |opened| {
            if let Some(text) = opened.constant() {
                return Ok(Field::Constant(text.to_owned()));
            }
            if let Some(dictionary) = opened.dictionary()? {
                return Ok(Field::Dictionary(dictionary.entries, dictionary.codes));
            }
            if let Some(numbers) = opened.numbers()? {
                return Ok(Field::Numbers(numbers));
            }
            let mut texts = Texts::default();
            opened.texts(&self.times_for(column, opened)?, &mut texts)?;
            Ok(Field::Texts(texts))
        })
    }

    /// The lines whose value in a column is this text, letter for letter.
    ///
    /// # Errors
    /// [`RowsError`]
    pub fn rows_equal(&self, column: u32, text: &str) -> Result<Rows, RowsError> {
        let facts = self.facts(column);
        let is_known = || self.may_know_all(filter::words(text.as_bytes()));
        if text.len() > facts.longest || (facts.is_filtered && !is_known()?) {
            return Ok(Rows::none(self.front.rows));
        }
        let found =
            self.with_column(column, |opened| Ok(opened.rows_equal(text, &self.times_for(column, opened)?)?))?;
        self.spread(column, found)
    }

    /// The lines that have a value in a column of which `holds` is true.
    ///
    /// # Errors
    /// [`RowsError`]
    pub fn rows_where(&self, column: u32, holds: impl Fn(&str) -> bool) -> Result<Rows, RowsError> {
        let values = self.facts(column).values;
        let found = self.with_column(column, |opened| {
            if let Some(text) = opened.constant() {
                return Ok(if holds(text) { Rows::all(values) } else { Rows::none(values) });
            }
            if let Some(dictionary) = opened.dictionary()? {
                let held: Vec<bool> = dictionary.entries.iter().map(holds).collect();
                return Ok(Rows::of(&dictionary.codes, |code| held.get(usize::from(*code)) == Some(&true)));
            }
            let mut texts = Texts::default();
            opened.texts(&self.times_for(column, opened)?, &mut texts)?;
            let mut found = Rows::none(values);
            for (row, _) in texts.iter().enumerate().filter(|(_, text)| holds(text)) {
                found.insert(row);
            }
            Ok(found)
        })?;
        self.spread(column, found)
    }

    /// From answers for each shape, those that hold for the lines of that shape.
    ///
    /// # Errors
    /// [`RowsError`]
    pub fn by_shape(&self, answers: &[Rows]) -> Result<Rows, RowsError> {
        let rows = self.front.rows;
        match answers {
            [] => return Ok(Rows::none(rows)),
            [only] => return Ok(only.clone()),
            [..] if answers.iter().all(Rows::is_empty) => return Ok(Rows::none(rows)),
            [first, others @ ..] if others.iter().all(|other| other == first) => return Ok(first.clone()),
            [..] => {}
        }
        let mut found = Rows::none(rows);
        for (row, code) in self.codes()?.unwrap_or_default().iter().enumerate() {
            if answers.get(usize::from(*code)).is_some_and(|rows| rows.contains(row)) {
                found.insert(row);
            }
        }
        Ok(found)
    }

    /// The lines whose value in a column holds this text.
    pub(super) fn rows_containing(&self, column: u32, finder: &memchr::memmem::Finder<'_>) -> Result<Rows, RowsError> {
        let found =
            self.with_column(column, |opened| Ok(opened.rows_containing(finder, &self.times_for(column, opened)?)?))?;
        self.spread(column, found)
    }

    /// Whether a column can hold a text at all, as far as its facts and the filter tell.
    pub(super) fn may_contain(&self, column: u32, text: &[u8]) -> Result<bool, RowsError> {
        let facts = self.facts(column);
        if text.len() > facts.longest || facts.values == 0 {
            return Ok(false);
        }
        let Some(longest_word) = facts.longest_word.filter(|_| facts.is_filtered) else { return Ok(true) };
        let longest = text.split(|byte| !filter::is_word_byte(*byte)).map(<[u8]>::len).max().unwrap_or_default();
        if longest > longest_word {
            return Ok(false);
        }
        if text.len() == facts.longest && longest == text.len() && longest == longest_word {
            // It can only be a whole value, and that is one word.
            return self.may_know_all(filter::words(text));
        }
        // The first and the last word may go on beyond the text.
        let is_inner = |word: &&[u8]| {
            let from = (word.as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
            from > 0 && from + word.len() < text.len()
        };
        self.may_know_all(filter::words(text).filter(is_inner))
    }

    fn may_know_all<'a>(&self, words: impl Iterator<Item = &'a [u8]>) -> Result<bool, RowsError> {
        let mut words = words.peekable();
        if words.peek().is_none() {
            return Ok(true);
        }
        let kept;
        let owned;
        let known: &[u8] = match &self.source {
            Source::Memory { .. } => {
                owned = self.read(self.front.filter)?;
                &owned
            }
            Source::Elsewhere(parts) => {
                kept = parts.filter(self.front.filter.offset, self.front.filter.len)?;
                &kept
            }
        };
        Ok(words.all(|word| filter::may_hold(known, filter::hash(word))))
    }

    /// Lines put together again, those of `rows`, in order.
    ///
    /// # Errors
    /// [`RowsError`]
    pub fn lines(&self, rows: &Rows) -> Result<Vec<LogLine>, RowsError> {
        let wanted: Vec<u32> = rows.iter().map(|row| row as u32).collect();
        let times = self.times()?;
        let codes = self.codes()?;
        let mut columns = Vec::with_capacity(self.front.columns.len());
        for column in 0..self.front.columns.len() as u32 {
            columns.push(self.pick(column, &wanted, &times)?);
        }
        // Values come in the order of rows, so each column is read from front to back.
        let mut next = vec![0_usize; columns.len()];
        let mut lines = Vec::with_capacity(wanted.len());
        for row in wanted {
            let row = row as usize;
            let code = codes.as_ref().and_then(|codes| codes.get(row)).copied().unwrap_or_default();
            let damaged = DecodeError("a line has no shape or no time");
            let shape = self.front.shapes.get(usize::from(code)).ok_or(damaged)?;
            let at = Nanos(*times.get(row).ok_or(damaged)?);
            let mut line = String::with_capacity(256);
            let mut metadata = Vec::new();
            let mut packed = None;
            let mut literals = shape.literals.iter();
            line.push_str(literals.next().map(|literal| &**literal).unwrap_or_default());
            for slot in shape.all_slots() {
                let place = next.get_mut(slot.column as usize);
                let value = columns.get(slot.column as usize).zip(place);
                let value = value.and_then(|(texts, place)| {
                    *place += 1;
                    (*place <= texts.len()).then(|| texts.get(*place - 1))
                });
                let value = value.ok_or(DecodeError("a line lacks a value"))?;
                match slot.kind {
                    SlotKind::Metadata => metadata.push((slot.path_text(), value)),
                    SlotKind::Packed => packed = unpack_metadata(value),
                    SlotKind::Line | SlotKind::Quoted | SlotKind::Scalar | SlotKind::Array | SlotKind::Word => {
                        line.push_str(value);
                        line.push_str(literals.next().map(|literal| &**literal).unwrap_or_default());
                    }
                }
            }
            let metadata = match packed {
                Some(packed) => packed,
                None if metadata.is_empty() => Labels::empty(),
                None => Labels::from_pairs(metadata),
            };
            lines.push(LogLine { at, line, metadata });
        }
        Ok(lines)
    }

    /// The values of a column that the wanted rows have.
    fn pick(&self, column: u32, wanted: &[u32], times: &[i64]) -> Result<Texts, RowsError> {
        let mut texts = Texts::default();
        let with = self.rows_with(column)?;
        let (places, own);
        let (places, times): (&[u32], &[i64]) = match &with {
            None => (wanted, times),
            Some(rows) => {
                // Both ascend.
                let mut found = Vec::with_capacity(wanted.len());
                let mut from = 0;
                for row in wanted {
                    from += rows.iter().skip(from).take_while(|other| u32::from(**other) < *row).count();
                    if rows.get(from).is_some_and(|other| u32::from(*other) == *row) {
                        found.push(from as u32);
                    }
                }
                places = found;
                own = rows.iter().filter_map(|row| times.get(usize::from(*row)).copied()).collect::<Vec<_>>();
                (&places, &own)
            }
        };
        if !places.is_empty() {
            self.with_column(column, |opened| Ok(opened.pick(places, times, &mut texts)?))?;
        }
        Ok(texts)
    }

    /// The times of the lines that have a value in a column, if its values depend on them.
    fn times_for(&self, column: u32, opened: &Column<'_>) -> Result<Vec<i64>, RowsError> {
        if !opened.needs_times() {
            return Ok(Vec::new());
        }
        let times = self.times()?;
        Ok(match self.rows_with(column)? {
            None => times,
            Some(rows) => rows.iter().filter_map(|row| times.get(usize::from(*row)).copied()).collect(),
        })
    }

    /// From places among the values of a column to lines of the group.
    ///
    /// # Errors
    /// [`RowsError`]
    pub fn spread(&self, column: u32, found: Rows) -> Result<Rows, RowsError> {
        let Some(rows) = self.rows_with(column)? else { return Ok(found) };
        let mut spread = Rows::none(self.front.rows);
        for place in found.iter() {
            if let Some(row) = rows.get(place) {
                spread.insert(usize::from(*row));
            }
        }
        Ok(spread)
    }

    fn with_column<T>(
        &self,
        column: u32,
        read: impl FnOnce(&Column<'_>) -> Result<T, RowsError>,
    ) -> Result<T, RowsError> {
        let facts = self.facts(column);
        let bytes = self.read(facts.part)?;
        read(&Column::open(&bytes, facts.values)?)
    }

    fn read(&self, part: Part) -> Result<Cow<'_, [u8]>, RowsError> {
        match &self.source {
            Source::Memory { bytes, front } => {
                let from = front.saturating_add(part.offset);
                let part = bytes.get(from..from.saturating_add(part.len));
                Ok(Cow::Borrowed(part.ok_or(DecodeError("a part lies beyond its group"))?))
            }
            Source::Elsewhere(parts) => {
                let bytes = parts.read(part.offset, part.len)?;
                if crc32c::crc32c(&bytes) != part.checksum {
                    return Err(DecodeError("a part does not match its checksum").into());
                }
                Ok(Cow::Owned(bytes))
            }
        }
    }
}
