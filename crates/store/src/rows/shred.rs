//! Takes lines apart into shapes and values.
//!
//! Lines of one stream mostly look like the line before, so the shapes seen last are tried first: comparing literals and
//! looking for the ends of values is all it takes. Only a line that fits none is parsed.

use std::collections::HashMap;
use std::ops::Range;

use memchr::memchr2;
use signal::Labels;

use super::shape::{NESTED, Shape, ShapeKind, Slot, SlotKind};
use crate::column::Texts;

/// Most shapes and columns of a group; lines beyond are kept whole.
const MAX_SHAPES: usize = 128;
const MAX_COLUMNS: usize = 512;
/// Most values of one line; with more it is kept whole.
const MAX_SLOTS: usize = 256;
/// How deep objects and arrays may nest; deeper lines are kept whole.
const MAX_DEPTH: usize = 16;
/// Shapes that are tried before a line is parsed.
const RECENT: usize = 8;
/// Shapes of whole lines, each with its own names of structured metadata, end here; what comes then is packed.
const MAX_WHOLE: usize = 250;

/// Shapes and columns in the making.
#[derive(Debug, Default)]
pub(super) struct Shredder {
    pub(super) shapes: Vec<Shape>,
    /// For each line its shape.
    pub(super) codes: Vec<u8>,
    pub(super) columns: Vec<ColumnSource>,
    by_key: HashMap<Key, usize>,
    by_path: HashMap<(ShapeKind, SlotKind, Box<str>), u32>,
    recent: Vec<usize>,
    /// Columns of earlier groups, empty.
    spare: Vec<ColumnSource>,
    spans: Vec<Range<usize>>,
    parsed: Parsed,
}

/// What tells one shape from another.
type Key = (ShapeKind, Vec<Box<str>>, Vec<(SlotKind, Box<str>)>);

/// The values of one column and the rows they are of.
#[derive(Debug, Default)]
pub(super) struct ColumnSource {
    pub(super) texts: Texts,
    /// One for each value, ascending.
    pub(super) rows: Vec<u16>,
}

/// A line taken apart, before it is known to be like another.
#[derive(Debug, Default)]
struct Parsed {
    literals: Vec<Range<usize>>,
    slots: Vec<(SlotKind, Box<str>, Range<usize>)>,
    path: String,
}

impl Shredder {
    /// Forgets every line, and keeps the room they took.
    pub(super) fn clear(&mut self) {
        self.shapes.clear();
        self.codes.clear();
        self.by_key.clear();
        self.by_path.clear();
        self.recent.clear();
        for mut column in self.columns.drain(..) {
            column.texts.clear();
            column.rows.clear();
            self.spare.push(column);
        }
    }

    /// Takes a line apart; it becomes the next row.
    pub(super) fn push(&mut self, line: &str, metadata: &Labels) {
        let shape = self.fit(line, metadata).unwrap_or_else(|| self.parse(line, metadata));
        self.codes.push(shape as u8);
        let row = (self.codes.len() - 1) as u16;
        let Some(shape) = self.shapes.get(shape) else { return };
        let mut spans = self.spans.iter();
        let mut values = metadata.iter().map(|(_, value)| value);
        // Always the last, and only of lines that name a lot.
        let packed = if shape.all_slots().last().is_some_and(|slot| slot.kind == SlotKind::Packed) {
            pack_metadata(metadata)
        } else {
            String::new()
        };
        for slot in shape.all_slots() {
            let value = match slot.kind {
                SlotKind::Metadata => values.next().unwrap_or_default(),
                SlotKind::Packed => &packed,
                SlotKind::Line | SlotKind::Quoted | SlotKind::Scalar | SlotKind::Array | SlotKind::Word => {
                    spans.next().and_then(|span| line.get(span.clone())).unwrap_or_default()
                }
            };
            if let Some(column) = self.columns.get_mut(slot.column as usize) {
                column.texts.push(value);
                column.rows.push(row);
            }
        }
    }

    /// The recent shape that fits; `spans` are its values then.
    fn fit(&mut self, line: &str, metadata: &Labels) -> Option<usize> {
        let spans = &mut self.spans;
        let shapes = &self.shapes;
        let fits = |number: &usize| shapes.get(*number).is_some_and(|shape| fit(shape, line, metadata, spans));
        let place = self.recent.iter().position(fits)?;
        if let Some(front) = self.recent.get_mut(..=place) {
            front.rotate_right(1);
        }
        self.recent.first().copied()
    }

    /// The shape of a line that fits no recent one.
    fn parse(&mut self, line: &str, metadata: &Labels) -> usize {
        let kind = self.parsed.parse(line);
        let number = self.find(kind, line, metadata);
        self.spans.clear();
        self.spans.extend(self.parsed.slots.iter().map(|(_, _, span)| span.clone()));
        self.recent.retain(|known| *known != number);
        self.recent.insert(0, number);
        self.recent.truncate(RECENT);
        number
    }

    /// The number of the shape just parsed. A line for whose shape there is no room is kept whole.
    fn find(&mut self, kind: ShapeKind, line: &str, metadata: &Labels) -> usize {
        if kind != ShapeKind::Text {
            if let Some(number) = self.intern(self.key(kind, line, metadata), MAX_SHAPES) {
                return number;
            }
            self.parsed.whole(line);
        }
        let is_like = |number: &usize| {
            self.shapes.get(*number).is_some_and(|shape| shape.kind == ShapeKind::Text && has_names(shape, metadata))
        };
        if let Some(number) = self.recent.iter().copied().find(is_like) {
            return number;
        }
        if let Some(number) = self.intern(self.key(ShapeKind::Text, line, metadata), MAX_WHOLE) {
            return number;
        }
        let mut key = self.key(ShapeKind::Text, line, &Labels::empty());
        key.2.push((SlotKind::Packed, Box::default()));
        // There is always room for this one.
        self.intern(key, usize::MAX).unwrap_or_default()
    }

    fn key(&self, kind: ShapeKind, line: &str, metadata: &Labels) -> Key {
        let literals = self.parsed.literals.iter().map(|span| Box::from(line.get(span.clone()).unwrap_or_default()));
        let slots = self.parsed.slots.iter().map(|(kind, path, _)| (*kind, path.clone()));
        let named = metadata.iter().map(|(name, _)| (SlotKind::Metadata, Box::from(name)));
        (kind, literals.collect(), slots.chain(named).collect())
    }

    /// The number of a shape; `None` when it is new and there is no room.
    fn intern(&mut self, key: Key, most: usize) -> Option<usize> {
        if let Some(number) = self.by_key.get(&key) {
            return Some(*number);
        }
        let kind = key.0;
        let place = |slot: SlotKind, path: &str| (column_kind(kind, slot), slot, Box::from(path));
        let new = key.2.iter().filter(|(slot, path)| !self.by_path.contains_key(&place(*slot, path))).count();
        if self.shapes.len() >= most || (most < usize::MAX && self.columns.len() + new > MAX_COLUMNS) {
            return None;
        }
        let mut slots = Vec::with_capacity(key.2.len());
        for (slot, path) in &key.2 {
            let fresh = self.columns.len() as u32;
            let column = *self.by_path.entry(place(*slot, path)).or_insert(fresh);
            if column == fresh {
                self.columns.push(self.spare.pop().unwrap_or_default());
            }
            slots.push(Slot::new(*slot, column, path));
        }
        self.shapes.push(Shape { kind, literals: key.1.clone(), slots });
        let number = self.shapes.len() - 1;
        self.by_key.insert(key, number);
        Some(number)
    }
}

/// Whether a shape is one of lines with these names of structured metadata.
fn has_names(shape: &Shape, metadata: &Labels) -> bool {
    let mut named = metadata.iter();
    let is_same =
        |slot: &Slot| slot.kind == SlotKind::Metadata && named.next().is_some_and(|(name, _)| name == slot.path_text());
    shape.metadata().iter().all(is_same) && named.next().is_none()
}

/// Structured metadata as one text: each name and value behind its length.
fn pack_metadata(metadata: &Labels) -> String {
    let mut packed = String::new();
    for (name, value) in metadata {
        for text in [name, value] {
            packed.push_str(&text.len().to_string());
            packed.push(':');
            packed.push_str(text);
        }
    }
    packed
}

/// What [`pack_metadata`] packed.
pub(super) fn unpack_metadata(packed: &str) -> Option<Labels> {
    let mut rest = packed;
    let mut take = || {
        let (len, tail) = rest.split_once(':')?;
        let (text, tail) = tail.split_at_checked(len.parse().ok()?)?;
        rest = tail;
        Some(text)
    };
    let mut pairs = Vec::new();
    while let Some(name) = take() {
        pairs.push((name, take()?));
    }
    rest.is_empty().then(|| Labels::from_pairs(pairs))
}

/// Structured metadata are in the same columns whatever the line is.
fn column_kind(kind: ShapeKind, slot: SlotKind) -> ShapeKind {
    if slot == SlotKind::Metadata { ShapeKind::Text } else { kind }
}

/// Whether bytes begin with a literal. Most are so short that two registers compare quicker than a call does.
fn begins_with(bytes: &[u8], literal: &str) -> bool {
    let literal = literal.as_bytes();
    let (Some(ours), Some(theirs)) = (bytes.first_chunk::<8>(), literal.first_chunk::<8>()) else {
        return bytes.len() >= literal.len() && literal.iter().zip(bytes).all(|(a, b)| a == b);
    };
    if literal.len() > 16 {
        return bytes.starts_with(literal);
    }
    // The last eight bytes overlap the first.
    let ends = bytes.get(..literal.len()).and_then(<[u8]>::last_chunk::<8>).zip(literal.last_chunk::<8>());
    u64::from_le_bytes(*ours) == u64::from_le_bytes(*theirs)
        && ends.is_some_and(|(ours, theirs)| u64::from_le_bytes(*ours) == u64::from_le_bytes(*theirs))
}

/// Whether a line has a shape; where its values are then.
fn fit(shape: &Shape, line: &str, metadata: &Labels, spans: &mut Vec<Range<usize>>) -> bool {
    spans.clear();
    let bytes = line.as_bytes();
    let mut at = 0;
    let mut literals = shape.literals.iter();
    let Some(first) = literals.next() else { return false };
    if shape.kind == ShapeKind::Text {
        // A line that can be taken apart is not kept whole because one before it could not be.
        return false;
    }
    if !begins_with(bytes, first) {
        return false;
    }
    at += first.len();
    for (slot, literal) in shape.slots().iter().zip(literals) {
        let Some(end) = value_end(slot.kind, bytes, at) else { return false };
        spans.push(at..end);
        at = end;
        if !bytes.get(at..).is_some_and(|rest| begins_with(rest, literal)) {
            return false;
        }
        at += literal.len();
    }
    at == bytes.len() && has_names(shape, metadata)
}

/// Where a value that begins at `at` ends.
fn value_end(kind: SlotKind, bytes: &[u8], at: usize) -> Option<usize> {
    match kind {
        SlotKind::Quoted => string_end(bytes, at),
        SlotKind::Scalar => scalar_end(bytes, at),
        SlotKind::Array => array_end(bytes, at, 0),
        SlotKind::Word => Some(word_end(bytes, at)),
        SlotKind::Line | SlotKind::Metadata | SlotKind::Packed => None,
    }
}

/// Where the closing quote is; `None` also for escapes that JSON does not know.
fn string_end(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let found = at + quote_or_backslash(bytes.get(at..)?)?;
        if bytes.get(found) == Some(&b'"') {
            return Some(found);
        }
        at = escape_end(bytes, found)?;
    }
}

/// Where the first quote or backslash is. Values are short: the eight bytes at a time of a register are quicker than
/// calling for wider ones.
fn quote_or_backslash(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = ONES << 7;
    let (words, rest) = bytes.as_chunks::<8>();
    let mut at = 0;
    for word in words.iter().take(SHORT) {
        let word = u64::from_le_bytes(*word);
        let zeros = |word: u64| word.wrapping_sub(ONES) & !word & HIGH;
        // The lowest bit set is right; those above it may come from a borrow.
        let found = zeros(word ^ (ONES * b'"' as u64)) | zeros(word ^ (ONES * b'\\' as u64));
        if found != 0 {
            return Some(at + found.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    let rest = if words.len() <= SHORT { rest } else { bytes.get(at..)? };
    Some(at + memchr2(b'"', b'\\', rest)?)
}

/// Words of eight bytes that are looked at one by one.
const SHORT: usize = 8;

/// Where an escape ends that begins with a backslash at `at`.
fn escape_end(bytes: &[u8], at: usize) -> Option<usize> {
    match bytes.get(at + 1)? {
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(at + 2),
        b'u' => {
            let digits = bytes.get(at + 2..at + 6)?;
            if !digits.iter().all(u8::is_ascii_hexdigit) {
                return None;
            }
            // Halves of pairs are left to whoever reads them: parsers differ.
            let is_half =
                matches!(digits.first_chunk::<2>(), Some([b'd' | b'D', b'8' | b'9' | b'a'..=b'f' | b'A'..=b'F']));
            if is_half { None } else { Some(at + 6) }
        }
        _ => None,
    }
}

fn scalar_end(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = bytes.get(at..)?;
    let len = rest.iter().position(|byte| matches!(byte, b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r'));
    let token = rest.get(..len.unwrap_or(rest.len()))?;
    (matches!(token, b"true" | b"false" | b"null") || is_number(token)).then_some(at + token.len())
}

/// Whether this is a number by JSON's grammar.
fn is_number(token: &[u8]) -> bool {
    let digits = |bytes: &[u8]| bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let unsigned = token.strip_prefix(b"-").unwrap_or(token);
    let whole = digits(unsigned);
    if whole == 0 || (whole > 1 && unsigned.first() == Some(&b'0')) {
        return false;
    }
    let mut rest = unsigned.get(whole..).unwrap_or_default();
    if let Some(fraction) = rest.strip_prefix(b".") {
        let len = digits(fraction);
        if len == 0 {
            return false;
        }
        rest = fraction.get(len..).unwrap_or_default();
    }
    if let Some(exponent) = rest.strip_prefix(b"e").or_else(|| rest.strip_prefix(b"E")) {
        let exponent = exponent.strip_prefix(b"+").or_else(|| exponent.strip_prefix(b"-")).unwrap_or(exponent);
        let len = digits(exponent);
        return len > 0 && len == exponent.len();
    }
    rest.is_empty()
}

fn array_end(bytes: &[u8], at: usize, depth: usize) -> Option<usize> {
    if bytes.get(at) != Some(&b'[') || depth > MAX_DEPTH {
        return None;
    }
    let mut at = blank_end(bytes, at + 1);
    if bytes.get(at) == Some(&b']') {
        return Some(at + 1);
    }
    loop {
        at = blank_end(bytes, any_end(bytes, at, depth)?);
        match bytes.get(at)? {
            b',' => at = blank_end(bytes, at + 1),
            b']' => return Some(at + 1),
            _ => return None,
        }
    }
}

/// Where any JSON value ends.
fn any_end(bytes: &[u8], at: usize, depth: usize) -> Option<usize> {
    match bytes.get(at)? {
        b'"' => string_end(bytes, at + 1).map(|end| end + 1),
        b'[' => array_end(bytes, at, depth + 1),
        b'{' => object_end(bytes, at, depth + 1),
        _ => scalar_end(bytes, at),
    }
}

fn object_end(bytes: &[u8], at: usize, depth: usize) -> Option<usize> {
    if depth > MAX_DEPTH {
        return None;
    }
    let mut at = blank_end(bytes, at + 1);
    if bytes.get(at) == Some(&b'}') {
        return Some(at + 1);
    }
    loop {
        if bytes.get(at) != Some(&b'"') {
            return None;
        }
        at = blank_end(bytes, string_end(bytes, at + 1)? + 1);
        if bytes.get(at) != Some(&b':') {
            return None;
        }
        at = blank_end(bytes, any_end(bytes, blank_end(bytes, at + 1), depth)?);
        match bytes.get(at)? {
            b',' => at = blank_end(bytes, at + 1),
            b'}' => return Some(at + 1),
            _ => return None,
        }
    }
}

fn blank_end(bytes: &[u8], at: usize) -> usize {
    let blank = |byte: &&u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
    at + bytes.get(at..).unwrap_or_default().iter().take_while(blank).count()
}

fn word_end(bytes: &[u8], at: usize) -> usize {
    let rest = bytes.get(at..).unwrap_or_default();
    at + rest.iter().take_while(|byte| **byte > b' ' && !matches!(byte, b'"' | b'=' | b'\\' | 0x7f..)).count()
}

impl Parsed {
    /// Takes a line apart.
    fn parse(&mut self, line: &str) -> ShapeKind {
        let bytes = line.as_bytes();
        let first = bytes.get(blank_end(bytes, 0));
        self.clear();
        if first == Some(&b'{') && self.json(line).is_some() {
            return ShapeKind::Json;
        }
        self.clear();
        if first.is_some_and(|byte| is_key_start(*byte)) && self.logfmt(line).is_some() {
            return ShapeKind::Logfmt;
        }
        self.whole(line);
        ShapeKind::Text
    }

    fn clear(&mut self) {
        self.literals.clear();
        self.slots.clear();
        self.path.clear();
    }

    /// The line as one value.
    fn whole(&mut self, line: &str) {
        self.clear();
        self.literals.extend([0..0, line.len()..line.len()]);
        self.slots.push((SlotKind::Line, Box::default(), 0..line.len()));
    }

    /// Notes a value; the literal before it began at `from`.
    fn value(&mut self, from: usize, kind: SlotKind, path: &str, value: Range<usize>) -> Option<()> {
        if self.slots.len() >= MAX_SLOTS {
            return None;
        }
        self.literals.push(from..value.start);
        self.slots.push((kind, Box::from(path), value));
        Some(())
    }

    fn json(&mut self, line: &str) -> Option<()> {
        let bytes = line.as_bytes();
        let mut from = 0;
        let end = self.object(line, blank_end(bytes, 0), &mut from, 0)?;
        if blank_end(bytes, end) != bytes.len() {
            return None;
        }
        self.literals.push(from..bytes.len());
        let mut paths: Vec<&str> = self.slots.iter().map(|(_, path, _)| &**path).collect();
        paths.sort_unstable();
        paths.is_sorted_by(|a, b| a != b).then_some(())
    }

    /// Reads an object that begins at `at`; `from` is where the present literal began.
    fn object(&mut self, line: &str, at: usize, from: &mut usize, depth: usize) -> Option<usize> {
        let bytes = line.as_bytes();
        if depth > MAX_DEPTH {
            return None;
        }
        let mut at = blank_end(bytes, at + 1);
        if bytes.get(at) == Some(&b'}') {
            return Some(at + 1);
        }
        loop {
            if bytes.get(at) != Some(&b'"') {
                return None;
            }
            let end = string_end(bytes, at + 1)?;
            let key = line.get(at + 1..end)?;
            if key.bytes().any(|byte| byte == b'\\' || byte < b' ') {
                return None;
            }
            at = blank_end(bytes, end + 1);
            if bytes.get(at) != Some(&b':') {
                return None;
            }
            at = blank_end(bytes, at + 1);
            let outer = self.path.len();
            if depth > 0 {
                self.path.push(NESTED);
            }
            self.path.push_str(key);
            let path = self.path.clone();
            at = match bytes.get(at)? {
                b'{' => self.object(line, at, from, depth + 1)?,
                b'"' => {
                    let end = string_end(bytes, at + 1)?;
                    self.value(*from, SlotKind::Quoted, &path, at + 1..end)?;
                    *from = end;
                    end + 1
                }
                b'[' => {
                    let end = array_end(bytes, at, depth)?;
                    self.value(*from, SlotKind::Array, &path, at..end)?;
                    *from = end;
                    end
                }
                _ => {
                    let end = scalar_end(bytes, at)?;
                    self.value(*from, SlotKind::Scalar, &path, at..end)?;
                    *from = end;
                    end
                }
            };
            self.path.truncate(outer);
            at = blank_end(bytes, at);
            match bytes.get(at)? {
                b',' => at = blank_end(bytes, at + 1),
                b'}' => return Some(at + 1),
                _ => return None,
            }
        }
    }

    fn logfmt(&mut self, line: &str) -> Option<()> {
        let bytes = line.as_bytes();
        let (mut at, mut from) = (0, 0);
        loop {
            let start = at;
            at += bytes.get(at..)?.iter().take_while(|byte| is_key(**byte)).count();
            if at == start || !is_key_start(*bytes.get(start)?) || bytes.get(at) != Some(&b'=') {
                return None;
            }
            let path = line.get(start..at)?;
            at += 1;
            let value = if bytes.get(at) == Some(&b'"') {
                let end = string_end(bytes, at + 1)?;
                let value = at + 1..end;
                at = end + 1;
                self.value(from, SlotKind::Quoted, path, value.clone())?;
                value
            } else {
                let value = at..word_end(bytes, at);
                at = value.end;
                self.value(from, SlotKind::Word, path, value.clone())?;
                value
            };
            from = value.end;
            let blank = bytes.get(at..)?.iter().take_while(|byte| **byte == b' ').count();
            if at + blank == bytes.len() {
                break;
            }
            if blank == 0 {
                return None;
            }
            at += blank;
        }
        self.literals.push(from..bytes.len());
        let mut paths: Vec<&str> = self.slots.iter().map(|(_, path, _)| &**path).collect();
        paths.sort_unstable();
        (paths.len() > 1 && paths.is_sorted_by(|a, b| a != b)).then_some(())
    }
}

fn is_key_start(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_'
}

fn is_key(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'/')
}
