//! From lines to a row group.

use std::cell::RefCell;

use signal::{Labels, LogLine, Nanos};

use super::front::{ColumnFacts, Front, Part};
use super::group::RowGroup;
use super::shape::SlotKind;
use super::shred::{ColumnSource, Shredder};
use super::{filter, times};
use crate::block::ints;
use crate::column::{self, Column};

/// A line that somebody else keeps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Line<'a> {
    /// When.
    pub at: Nanos,
    /// The text.
    pub line: &'a str,
    /// Structured metadata.
    pub metadata: &'a Labels,
}

impl<'a> From<&'a LogLine> for Line<'a> {
    fn from(line: &'a LogLine) -> Self {
        Self { at: line.at, line: &line.line, metadata: &line.metadata }
    }
}

impl RowGroup {
    /// Packs lines in the order they are given in; at most [`MAX_ROWS`](super::MAX_ROWS), further ones are left out.
    pub(crate) fn seal(lines: &[Line<'_>]) -> Self {
        thread_local! {
            /// Room that the next group needs again.
            static SHREDDER: RefCell<Shredder> = RefCell::default();
        }
        SHREDDER.with_borrow_mut(|shredder| {
            let sealed = Self::seal_with(shredder, lines.get(..super::MAX_ROWS).unwrap_or(lines));
            shredder.clear();
            sealed
        })
    }

    fn seal_with(shredder: &mut Shredder, lines: &[Line<'_>]) -> Self {
        lines.iter().for_each(|line| shredder.push(line.line, line.metadata));
        let instants: Vec<i64> = lines.iter().map(|line| line.at.0).collect();
        let mut parts = Parts::default();
        let mut front = Front { rows: lines.len(), ..Front::default() };
        front.text_bytes = lines.iter().map(|line| line.line.len() as u64).sum();
        front.bounds = bounds(&instants);
        front.times = parts.add(|out| times::put(&instants, out));
        let lengths: Vec<i64> = lines.iter().map(|line| line.line.len() as i64).collect();
        front.lengths = parts.add(|out| ints::encode(&lengths, &mut ints::Scratch::default(), out));
        front.codes = parts.add(|out| {
            if shredder.shapes.len() > 1 {
                pack_codes(&shredder.codes, out);
            }
        });
        let mut hashes = Vec::new();
        for (number, source) in shredder.columns.iter().enumerate() {
            let is_in = |kind: SlotKind| {
                shredder
                    .shapes
                    .iter()
                    .flat_map(|shape| shape.all_slots())
                    .any(|slot| slot.column as usize == number && slot.kind == kind)
            };
            let facts = add_column(source, &instants, &mut parts, &mut hashes, is_in(SlotKind::Quoted));
            front.columns.push(facts);
        }
        front.filter = parts.add(|out| out.append(&mut filter::build(&hashes)));
        front.shapes = std::mem::take(&mut shredder.shapes);
        Self::sealed(front, &parts.bytes)
    }
}

fn bounds(instants: &[i64]) -> (i64, i64) {
    let first = instants.iter().copied().min().unwrap_or_default();
    (first, instants.iter().copied().max().unwrap_or_default())
}

/// Codes of shapes run by run: mostly many lines of one shape follow each other, or two take turns.
fn pack_codes(codes: &[u8], out: &mut Vec<u8>) {
    // zstd refuses nothing this small.
    if let Ok(packed) = zstd::bulk::compress(codes, 1) {
        out.extend_from_slice(&packed);
    }
}

fn add_column(
    source: &ColumnSource,
    instants: &[i64],
    parts: &mut Parts,
    hashes: &mut Vec<u64>,
    is_quoted: bool,
) -> ColumnFacts {
    let ColumnSource { texts, rows } = source;
    let mut own = Vec::new();
    let instants = if rows.len() == instants.len() {
        instants
    } else {
        own.extend(rows.iter().filter_map(|row| instants.get(usize::from(*row)).copied()));
        &own
    };
    let part = parts.add(|out| column::encode(texts, instants, out));
    let longest = texts.iter().map(str::len).max().unwrap_or_default();
    let packed = parts.bytes.get(part.offset..).unwrap_or_default();
    let opened = Column::open(packed, rows.len());
    let is_uniform = opened.as_ref().is_ok_and(Column::is_uniform);
    let is_filtered = opened.is_ok_and(|column| column.is_worth_filter());
    let mut longest_word = None;
    if is_filtered {
        // Shorter words are not looked at, so there may be any.
        let mut most = filter::SHORTEST - 1;
        // Where every text has its letters in the same places, one tells whether all of them are single words.
        let is_word = is_uniform && texts.get(0).bytes().all(filter::is_word_byte) && longest >= filter::SHORTEST;
        if is_word {
            most = longest;
            hashes.extend(texts.iter().map(|text| filter::hash(text.as_bytes())));
        } else {
            for word in texts.iter().flat_map(|text| filter::words(text.as_bytes())) {
                most = most.max(word.len());
                hashes.push(filter::hash(word));
            }
        }
        longest_word = Some(most);
    }
    let has_escapes = is_quoted && may_mean_else(texts.bytes().as_bytes());
    ColumnFacts { part, values: rows.len(), longest, longest_word, is_filtered, has_escapes }
}

/// Whether parsers may make something else of texts than their letters.
fn may_mean_else(texts: &[u8]) -> bool {
    let replaced = || memchr::memmem::find(texts, "\u{fffd}".as_bytes()).is_some();
    memchr::memchr(b'\\', texts).is_some() || replaced()
}

/// The parts behind the front, as they grow.
#[derive(Default)]
struct Parts {
    bytes: Vec<u8>,
}

impl Parts {
    fn add(&mut self, put: impl FnOnce(&mut Vec<u8>)) -> Part {
        let offset = self.bytes.len();
        put(&mut self.bytes);
        let bytes = self.bytes.get(offset..).unwrap_or_default();
        Part { offset, len: bytes.len(), checksum: crc32c::crc32c(bytes) }
    }
}
