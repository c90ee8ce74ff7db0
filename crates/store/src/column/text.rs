//! Texts of any kind, compressed.
//!
//! ```text
//! column := bytes of all texts (varint), size of a page (its exponent of two, a byte), packed lengths, page*
//! page   := length (varint) and bytes; as they are when there are as many as the page holds, else a zstd frame
//! ```
//!
//! The texts stand one behind the other and are cut into pages wherever that falls: so a page is never larger than its
//! size says, and one row costs the unpacking of one page, seldom of two.

use std::cell::RefCell;
use std::io::Cursor;

use zstd::bulk::{Compressor, Decompressor};

use super::packed::{Packed, pack};
use super::rows::Rows;
use super::texts::{Filling, MAX_BYTES, TOO_LONG, Texts};
use crate::wire::{DecodeError, Reader, put_bytes, put_len};

/// Measured on prose: with half of it texts take a fortieth more, with the double a single row takes twice as long.
const PAGE_EXPONENT: u8 = 15;
/// Larger pages are not read.
const MOST_EXPONENT: u8 = 20;
const LEVEL: i32 = 3;
/// Unpacking takes longer than so few bytes are worth.
const SHORT: usize = 192;

const UNPACKABLE: DecodeError = DecodeError("a page of texts cannot be unpacked");

pub(super) fn encode(values: &Texts, out: &mut Vec<u8>) {
    let bytes = values.bytes().as_bytes();
    put_len(out, bytes.len());
    out.push(PAGE_EXPONENT);
    let mut before = 0;
    let lengths: Vec<i64> = values
        .ends()
        .iter()
        .map(|end| {
            let length = i64::from(*end) - before;
            before = i64::from(*end);
            length
        })
        .collect();
    let mut packed = Vec::new();
    pack(&lengths, &mut packed);
    put_bytes(out, &packed);
    for page in bytes.chunks(1 << PAGE_EXPONENT) {
        put_page(page, out);
    }
}

thread_local! {
    /// Making one takes longer than packing a page.
    static COMPRESSOR: RefCell<(Option<Compressor<'static>>, Vec<u8>)> = const { RefCell::new((None, Vec::new())) };
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

fn put_page(page: &[u8], out: &mut Vec<u8>) {
    let packed = page.len() > SHORT
        && COMPRESSOR.with(|room| {
            let Ok(mut room) = room.try_borrow_mut() else { return false };
            let (compressor, frame) = &mut *room;
            if compressor.is_none() {
                *compressor = Compressor::new(LEVEL).ok();
            }
            let Some(compressor) = compressor else { return false };
            frame.clear();
            frame.reserve(zstd::zstd_safe::compress_bound(page.len()));
            let is_shorter = compressor.compress_to_buffer(page, frame).is_ok_and(|len| len < page.len());
            if is_shorter {
                put_bytes(out, frame);
            }
            is_shorter
        });
    if !packed {
        put_bytes(out, page);
    }
}

/// Adds what a page holds to `out`.
fn unpack_page(stored: &[u8], len: usize, out: &mut Vec<u8>) -> Result<(), DecodeError> {
    if stored.len() == len {
        out.extend_from_slice(stored);
        return Ok(());
    }
    let start = out.len();
    out.reserve(len);
    DECOMPRESSOR.with(|room| {
        let mut room = room.try_borrow_mut().map_err(|_| UNPACKABLE)?;
        if room.is_none() {
            *room = Decompressor::new().ok();
        }
        let decompressor = room.as_mut().ok_or(UNPACKABLE)?;
        let mut behind = Cursor::new(std::mem::take(out));
        behind.set_position(start as u64);
        let unpacked = decompressor.decompress_to_buffer(stored, &mut behind);
        *out = behind.into_inner();
        if unpacked.is_ok_and(|unpacked| unpacked == len) && out.len() == start + len {
            Ok(())
        } else {
            Err(UNPACKABLE)
        }
    })
}

/// A column of texts, opened.
#[derive(Clone, Debug)]
pub(super) struct Text<'a> {
    total: usize,
    page: usize,
    lengths: Packed<'a>,
    pages: Vec<&'a [u8]>,
    rows: usize,
}

impl<'a> Text<'a> {
    pub(super) fn open(mut reader: Reader<'a>, rows: usize) -> Result<Self, DecodeError> {
        let total = reader.index()?;
        if total > MAX_BYTES {
            return Err(TOO_LONG);
        }
        let exponent = reader.byte()?;
        if exponent > MOST_EXPONENT {
            return Err(DecodeError("a page of texts is too large"));
        }
        let page = 1_usize << exponent;
        let lengths = Packed::new(reader.bytes()?, rows);
        let count = total.div_ceil(page);
        if count > reader.rest().len() {
            return Err(DecodeError("a column has fewer pages than its texts need"));
        }
        let pages = (0..count).map(|_| reader.bytes()).collect::<Result<_, _>>()?;
        Ok(Self { total, page, lengths, pages, rows })
    }

    fn page(&self, number: usize, out: &mut Vec<u8>) -> Result<(), DecodeError> {
        let stored = self.pages.get(number).ok_or(UNPACKABLE)?;
        unpack_page(stored, self.page.min(self.total.saturating_sub(number * self.page)), out)
    }

    pub(super) fn texts(&self, out: &mut Filling) -> Result<(), DecodeError> {
        let mut lengths = Vec::new();
        self.lengths.unpack(&mut lengths)?;
        out.reserve(self.rows, self.total);
        let start = out.bytes.len();
        for number in 0..self.pages.len() {
            self.page(number, &mut out.bytes)?;
        }
        out.end_all(start, &lengths)
    }

    /// All texts, by themselves.
    pub(super) fn to_texts(&self) -> Result<Texts, DecodeError> {
        let mut texts = Texts::default();
        texts.fill(|out| self.texts(out))?;
        Ok(texts)
    }

    /// The texts of some rows, in ascending order. A page is unpacked once, and only if something in it is wanted.
    pub(super) fn pick(&self, rows: impl Iterator<Item = usize>, out: &mut Filling) -> Result<(), DecodeError> {
        let mut lengths = Vec::new();
        self.lengths.unpack(&mut lengths)?;
        let (mut next, mut start) = (0, 0_usize);
        let (mut page, mut unpacked) = (Vec::new(), None);
        for row in rows {
            let skipped = lengths.get(next..row).ok_or(DecodeError("rows are not in ascending order"))?;
            start = skipped.iter().fold(start, |start, length| start.saturating_add(*length as usize));
            let length = *lengths.get(row).ok_or(DecodeError("a row is beyond its column"))? as usize;
            let end = start.saturating_add(length);
            if end > self.total {
                return Err(DecodeError("a text exceeds its column"));
            }
            let mut from = start;
            while from < end {
                let number = from / self.page;
                if unpacked != Some(number) {
                    page.clear();
                    self.page(number, &mut page)?;
                    unpacked = Some(number);
                }
                let first = number * self.page;
                let to = end.min(first + self.page);
                out.bytes.extend_from_slice(page.get(from - first..to - first).ok_or(UNPACKABLE)?);
                from = to;
            }
            out.end()?;
            (next, start) = (row + 1, end);
        }
        Ok(())
    }

    /// Only rows of the wanted length are looked at.
    pub(super) fn rows_equal(&self, text: &str) -> Result<Rows, DecodeError> {
        let mut lengths = Vec::new();
        self.lengths.unpack(&mut lengths)?;
        let mut rows = Rows::of(&lengths, |length| *length == text.len() as i64);
        if text.is_empty() || rows.is_empty() {
            return Ok(rows);
        }
        let mut texts = Texts::default();
        texts.fill(|out| self.pick(rows.iter(), out))?;
        let mut equal = Rows::none(self.rows);
        rows.iter().zip(texts.iter()).filter(|(_, found)| *found == text).for_each(|(row, _)| equal.insert(row));
        rows.and(&equal);
        Ok(rows)
    }
}
