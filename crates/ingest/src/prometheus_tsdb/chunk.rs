//! Chunk files, and chunks of floats.

use signal::{Sample, SeriesWrite, Timestamp};

use super::bits::{Bits, Xor};
use super::bytes::{Bytes, Window};
use super::{BlockError, Source};

/// A chunk holds 120 samples as a rule, and a histogram a few hundred bytes; what is larger is damage.
pub(super) const MAX_CHUNK_BYTES: u64 = 4 << 20;

const MAGIC: u32 = 0x85BD_40DD;
const VERSION: u8 = 1;

/// How a chunk is packed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Encoding {
    Float,
    Histogram,
    FloatHistogram,
}

/// A chunk whose checksum holds.
#[derive(Debug)]
pub(super) struct Chunk<'a> {
    pub(super) file: &'a str,
    pub(super) encoding: Encoding,
    pub(super) data: &'a [u8],
}

pub(super) fn check_header<S: Source>(window: &mut Window<S>) -> Result<(), BlockError> {
    let mut header = Bytes::new(window.get(0, 8)?);
    let (magic, version) = (header.u32(), header.u8());
    if magic != Some(MAGIC) {
        return Err(window.damaged(0, "this is no chunk file"));
    }
    match version {
        Some(VERSION) => Ok(()),
        other => Err(BlockError::Version {
            file: window.file.clone(),
            found: other.unwrap_or_default().into(),
            known: VERSION.into(),
        }),
    }
}

pub(super) fn read<S: Source>(window: &mut Window<S>, offset: u64) -> Result<Chunk<'_>, BlockError> {
    let before = window.get_up_to(offset, 5)?;
    let mut start = Bytes::new(before);
    let len = start.uvarint();
    let head = (before.len() - start.rest.len()) as u64;
    let Some(len) = len.filter(|len| *len <= MAX_CHUNK_BYTES) else {
        return Err(window.damaged(offset, format!("a chunk has no length, or one over {MAX_CHUNK_BYTES} bytes")));
    };
    window.checked(offset + head, len + 1)?;
    let mut body = Bytes::new(window.view(offset + head, len + 1));
    let encoding = match body.u8() {
        Some(1) => Encoding::Float,
        Some(2) => Encoding::Histogram,
        Some(3) => Encoding::FloatHistogram,
        other => {
            let reason = format!("a chunk has encoding {}, which is not known", other.unwrap_or_default());
            return Err(window.damaged(offset, reason));
        }
    };
    Ok(Chunk { file: &window.file, encoding, data: body.rest })
}

/// Adds the samples of a chunk of floats to `series`.
pub(super) fn floats(data: &[u8], series: &mut SeriesWrite) -> Result<(), &'static str> {
    let (count, rest) = count(data)?;
    let mut bits = Bits::new(rest);
    let mut at = 0_i64;
    let mut delta = 0_i64;
    let mut value = Xor::default();
    // A sample takes two bits at least, so a false count cannot make this long.
    for number in 0..count {
        let next = match number {
            0 => first(&mut bits),
            1 => second(&mut bits, &mut value).map(|(by, value)| {
                delta = by;
                (at.wrapping_add(by), value)
            }),
            _ => change(&mut bits).zip(value.read(&mut bits)).map(|(by, value)| {
                delta = delta.wrapping_add(by);
                (at.wrapping_add(delta), value)
            }),
        };
        let (next, read) = next.ok_or(ENDS)?;
        if number == 0 {
            value = Xor::starting(read);
        }
        at = next;
        series.samples.push(Sample { at: Timestamp(at), value: read });
    }
    Ok(())
}

pub(super) const ENDS: &str = "a chunk ends before its last sample";

/// The number of samples in front of a chunk, and what follows.
pub(super) fn count(data: &[u8]) -> Result<(u16, &[u8]), &'static str> {
    let (count, rest) = data.split_first_chunk().ok_or(ENDS)?;
    Ok((u16::from_be_bytes(*count), rest))
}

fn first(bits: &mut Bits<'_>) -> Option<(i64, f64)> {
    Some((bits.varint()?, bits.float()?))
}

fn second(bits: &mut Bits<'_>, value: &mut Xor) -> Option<(i64, f64)> {
    Some((bits.uvarint()? as i64, value.read(bits)?))
}

/// By how much the distance between two samples changed.
fn change(bits: &mut Bits<'_>) -> Option<i64> {
    match bits.ones(4)? {
        0 => Some(0),
        1 => bits.signed(14),
        2 => bits.signed(17),
        3 => bits.signed(20),
        _ => bits.signed(64),
    }
}
