//! The frame around records: a header once, then `length u32 | crc32c u32 | payload`, all little-endian.
//!
//! A payload is one byte that tells how the rest is packed, then the record: its sequence number, the signals it touches,
//! and what the signal's codec wrote. The first 16 bytes of a segment mean the same in every version.

use std::borrow::Cow;
use std::ops::Deref;

use crate::wire::{DecodeError, Reader, put_varint};

/// Newest format this build reads, and the one it writes.
pub(crate) const VERSION: u16 = 2;
/// Bytes of a header.
pub(crate) const HEADER: usize = 16;
/// Most bytes of one record, packed or not.
pub(crate) const MAX_RECORD: usize = 256 << 20;
const FRAME: usize = 8;
const MAGIC: &[u8; 5] = b"AEGIS";
/// Records smaller than this are not worth packing.
const WORTH_PACKING: usize = 256;
const PLAIN: u8 = 0;
const SNAPPY: u8 = 1;

/// One of the three kinds of telemetry.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Signal {
    Metrics,
    Logs,
    Traces,
}

impl Signal {
    pub(crate) const ALL: [Self; 3] = [Self::Metrics, Self::Logs, Self::Traces];

    pub(crate) fn dir(self) -> &'static str {
        match self {
            Self::Metrics => "metrics",
            Self::Logs => "logs",
            Self::Traces => "traces",
        }
    }

    fn letter(self) -> u8 {
        match self {
            Self::Metrics => b'm',
            Self::Logs => b'l',
            Self::Traces => b't',
        }
    }

    fn bit(self) -> u8 {
        match self {
            Self::Metrics => 1,
            Self::Logs => 2,
            Self::Traces => 4,
        }
    }
}

/// The signals one write touches, each with the number of its record before.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Touched {
    metrics: Option<u64>,
    logs: Option<u64>,
    traces: Option<u64>,
}

impl Touched {
    pub(crate) fn with(mut self, signal: Signal, previous: u64) -> Self {
        match signal {
            Signal::Metrics => self.metrics = Some(previous),
            Signal::Logs => self.logs = Some(previous),
            Signal::Traces => self.traces = Some(previous),
        }
        self
    }

    /// The number of the signal's record before, when the signal is touched.
    pub(crate) fn previous(self, signal: Signal) -> Option<u64> {
        match signal {
            Signal::Metrics => self.metrics,
            Signal::Logs => self.logs,
            Signal::Traces => self.traces,
        }
    }
}

/// What stands before a record's content.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct RecordHead {
    /// Number of the write over all signals, rising.
    pub(crate) sequence: u64,
    /// Every signal the same write touched, each with the number of the record before it in that signal (0: none).
    /// A signal that still ends with that earlier record was not reached, and the write never finished.
    pub(crate) touched: Touched,
}

impl RecordHead {
    /// The sequence, a bit for each signal, and for each touched one how far back its record before is.
    fn put(self, out: &mut Vec<u8>) {
        put_varint(out, self.sequence);
        let touched = Signal::ALL.into_iter().filter(|signal| self.touched.previous(*signal).is_some());
        out.push(touched.fold(0, |bits, signal| bits | signal.bit()));
        for previous in Signal::ALL.into_iter().filter_map(|signal| self.touched.previous(signal)) {
            put_varint(out, self.sequence.saturating_sub(previous));
        }
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let sequence = reader.varint()?;
        let bits = reader.byte()?;
        let mut touched = Touched::default();
        for signal in Signal::ALL.into_iter().filter(|signal| bits & signal.bit() != 0) {
            touched = touched.with(signal, sequence.saturating_sub(reader.varint()?));
        }
        Ok(Self { sequence, touched })
    }
}

pub(crate) fn header(signal: Signal) -> [u8; HEADER] {
    let [low, high] = VERSION.to_le_bytes();
    let [a, e, g, i, s] = *MAGIC;
    let front = [a, e, g, i, s, signal.letter(), low, high, 0, 0, 0, 0];
    let crc = crc32c::crc32c(&front).to_le_bytes();
    let mut header = [0; HEADER];
    front.iter().chain(&crc).zip(&mut header).for_each(|(from, to)| *to = *from);
    header
}

/// Whether a record is worth the time to pack it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Packing {
    /// When it is large enough.
    Worth,
    /// Never: it is compact already, or soon removed.
    Never,
}

/// Adds a record as a frame, with what `put` adds as its content; answers its size when that is too large. What was in
/// `out` stays in front of it.
pub(crate) fn put_frame(
    out: &mut Vec<u8>,
    head: RecordHead,
    packing: Packing,
    put: impl FnOnce(&mut Vec<u8>),
) -> Result<(), usize> {
    let begin = out.len();
    // Length and checksum are known at the end.
    out.extend_from_slice(&[0; FRAME]);
    out.push(PLAIN);
    let body = out.len();
    head.put(out);
    put(out);
    let record = out.get(body..).unwrap_or_default();
    if record.len() > MAX_RECORD {
        return Err(record.len());
    }
    if packing == Packing::Worth && record.len() >= WORTH_PACKING {
        let packed = snap::raw::Encoder::new().compress_vec(record).ok();
        if let Some(packed) = packed.filter(|packed| packed.len() < record.len()) {
            out.truncate(body);
            out.extend_from_slice(&packed);
            out.get_mut(body - 1).into_iter().for_each(|how| *how = SNAPPY);
        }
    }
    let payload = out.get(begin + FRAME..).unwrap_or_default();
    let len = u32::try_from(payload.len()).map_err(|_| payload.len())?;
    let front = [len.to_le_bytes(), crc32c::crc32c(payload).to_le_bytes()];
    out.iter_mut().skip(begin).zip(front.as_flattened()).for_each(|(to, from)| *to = *from);
    Ok(())
}

/// What a segment's bytes hold.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Scan<'a> {
    /// The format of the records; 0 when there is no header.
    pub(crate) version: u16,
    pub(crate) frames: Vec<Frame<'a>>,
    /// Where the last good frame ends.
    pub(crate) end: usize,
    /// What follows there, if anything does.
    pub(crate) after: After,
}

impl<'a> Scan<'a> {
    /// The records in the frames.
    pub(crate) fn records(&self) -> impl Iterator<Item = Record<'a>> {
        self.frames.iter().map(|frame| (frame.offset, frame.record()))
    }
}

/// Where a frame begins, and the head and content of the record in it.
pub(crate) type Record<'a> = (usize, Result<(RecordHead, Content<'a>), DecodeError>);

#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Frame<'a> {
    /// Where it begins.
    pub(crate) offset: usize,
    payload: &'a [u8],
}

#[derive(PartialEq, Eq, Debug)]
pub(crate) enum After {
    /// Nothing.
    Nothing,
    /// A write that was not finished.
    Torn,
    /// Something that was whole once.
    Damage(&'static str),
}

/// A segment of a newer version.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct TooNew(pub(crate) u16);

/// Checks a segment's header and frames. Fit for any bytes.
pub(crate) fn scan(bytes: &[u8], signal: Signal) -> Result<Scan<'_>, TooNew> {
    let nothing = |after| Ok(Scan { version: 0, frames: Vec::new(), end: 0, after });
    let Some((front, _)) = bytes.split_at_checked(HEADER) else {
        return nothing(if bytes.is_empty() { After::Nothing } else { After::Torn });
    };
    if front.iter().all(|byte| *byte == 0) {
        return nothing(After::Torn);
    }
    let mut reader = Reader::new(front);
    let magic: Option<[u8; 5]> = reader.array().ok();
    let letter = reader.byte().ok();
    let version = reader.array().map(u16::from_le_bytes).unwrap_or_default();
    let _reserved: Result<[u8; 4], _> = reader.array();
    let crc = reader.array().map(u32::from_le_bytes).ok();
    if magic != Some(*MAGIC) || crc != front.split_last_chunk::<4>().map(|(front, _)| crc32c::crc32c(front)) {
        return nothing(After::Damage("the header is damaged"));
    }
    if version > VERSION {
        return Err(TooNew(version));
    }
    if letter != Some(signal.letter()) {
        return nothing(After::Damage("the segment belongs to another signal"));
    }
    Ok(scan_frames(bytes, version))
}

fn scan_frames(bytes: &[u8], version: u16) -> Scan<'_> {
    let mut frames = Vec::new();
    let mut end = HEADER;
    loop {
        let rest = bytes.get(end..).unwrap_or_default();
        if rest.is_empty() {
            return Scan { version, frames, end, after: After::Nothing };
        }
        match take_frame(rest) {
            Ok((payload, len)) => {
                frames.push(Frame { offset: end, payload });
                end += len;
            }
            // With a good frame behind it, this one was whole once: cutting here would lose finished writes.
            Err(_) if is_followed(rest) => {
                return Scan { version, frames, end, after: After::Damage("the checksum does not match") };
            }
            Err(_) => return Scan { version, frames, end, after: After::Torn },
        }
    }
}

/// Whether a good frame lies anywhere behind a bad one, whose own length may be what is wrong. Zeros in front are a write
/// that never began.
fn is_followed(bytes: &[u8]) -> bool {
    let Some((length, _)) = bytes.split_first_chunk::<4>() else { return false };
    if u32::from_le_bytes(*length) == 0 {
        return false;
    }
    // Bytes that happen to look like a length cost a checksum each.
    let mut patience = SEARCH;
    (1..bytes.len()).any(|at| {
        let Some(rest) = bytes.get(at..).filter(|_| patience > 0) else { return false };
        match take_frame(rest) {
            Ok(_) => true,
            Err(Some(len)) => {
                patience = patience.saturating_sub(len);
                false
            }
            Err(None) => false,
        }
    })
}

/// Bytes that are looked at in search of a good frame.
const SEARCH: usize = 256 << 20;

/// The payload of the frame in front and the frame's whole length. The error carries the length the frame claims, when
/// that many bytes are there.
fn take_frame(bytes: &[u8]) -> Result<(&[u8], usize), Option<usize>> {
    let mut reader = Reader::new(bytes);
    let len = reader.array().map(u32::from_le_bytes).map_err(|_| None)?;
    let crc = reader.array().map(u32::from_le_bytes).map_err(|_| None)?;
    let len = usize::try_from(len).map_err(|_| None)?;
    // Zeros are what an unfinished write often leaves behind, and they would pass the checksum.
    if len == 0 {
        return Err(None);
    }
    let whole = FRAME.checked_add(len).ok_or(None)?;
    let payload = bytes.get(FRAME..whole).ok_or(None)?;
    if crc32c::crc32c(payload) == crc { Ok((payload, whole)) } else { Err(Some(whole)) }
}

/// What a signal's codec wrote.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Content<'a> {
    /// The whole record.
    record: Cow<'a, [u8]>,
    /// Where its head ends.
    from: usize,
}

impl Deref for Content<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.record.get(self.from..).unwrap_or_default()
    }
}

impl<'a> Frame<'a> {
    /// The record inside: its head and its content.
    pub(crate) fn record(&self) -> Result<(RecordHead, Content<'a>), DecodeError> {
        let (packing, body) = self.payload.split_first().ok_or(DecodeError("the record ends early"))?;
        let record = match *packing {
            PLAIN => Cow::Borrowed(body),
            SNAPPY => {
                let len = snap::raw::decompress_len(body).map_err(|_| DecodeError("the record cannot be unpacked"))?;
                if len > MAX_RECORD {
                    return Err(DecodeError("the record is too large"));
                }
                let record = snap::raw::Decoder::new().decompress_vec(body);
                Cow::Owned(record.map_err(|_| DecodeError("the record cannot be unpacked"))?)
            }
            _ => return Err(DecodeError("the record is packed in an unknown way")),
        };
        let mut reader = Reader::new(&record);
        let head = RecordHead::take(&mut reader)?;
        let from = record.len() - reader.rest().len();
        Ok((head, Content { record, from }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn head(sequence: u64) -> RecordHead {
        RecordHead { sequence, touched: Touched::default().with(Signal::Logs, sequence.saturating_sub(1)) }
    }

    fn segment(contents: &[&[u8]]) -> Vec<u8> {
        let mut bytes = header(Signal::Logs).to_vec();
        for (at, content) in contents.iter().enumerate() {
            put_frame(&mut bytes, head(at as u64), Packing::Worth, |out| out.extend_from_slice(content)).unwrap();
        }
        bytes
    }

    #[test]
    fn tells_torn_from_damaged() {
        let good = segment(&[b"one", &[7; 1000], b"three"]);
        let second = scan(&good, Signal::Logs).unwrap().frames[1].offset;
        let third = scan(&good, Signal::Logs).unwrap().frames[2].offset;
        let flip = |at: usize| {
            let mut bytes = good.clone();
            bytes[at] ^= 1;
            bytes
        };
        let mut zeros = good.clone();
        zeros.extend([0; 100]);
        for (case, bytes, frames, after) in [
            ("whole", good.clone(), 3, After::Nothing),
            ("empty", Vec::new(), 0, After::Nothing),
            ("half a header", good[..9].to_vec(), 0, After::Torn),
            ("zeros only", vec![0; 64], 0, After::Torn),
            ("cut in the last", good[..good.len() - 1].to_vec(), 2, After::Torn),
            ("cut in a length", good[..third + 3].to_vec(), 2, After::Torn),
            ("zeros behind", zeros, 3, After::Torn),
            ("flip in the last", flip(third + 9), 2, After::Torn),
            ("flip in the middle", flip(second + 9), 1, After::Damage("the checksum does not match")),
            ("flip in a length", flip(second + 1), 1, After::Damage("the checksum does not match")),
            ("flip in the first length", flip(HEADER + 2), 0, After::Damage("the checksum does not match")),
            ("flip in the header", flip(2), 0, After::Damage("the header is damaged")),
        ] {
            let scan = scan(&bytes, Signal::Logs).unwrap();
            assert_eq!((scan.frames.len(), scan.after), (frames, after), "{case}");
        }
        let other = scan(&good, Signal::Traces).unwrap().after;
        assert_eq!(other, After::Damage("the segment belongs to another signal"));
    }

    #[test]
    fn refuses_a_newer_version() {
        let mut bytes = header(Signal::Logs);
        bytes[6] = 9;
        let crc = crc32c::crc32c(&bytes[..12]).to_le_bytes();
        bytes[12..].copy_from_slice(&crc);
        assert_eq!(scan(&bytes, Signal::Logs), Err(TooNew(9)));
    }

    proptest! {
        #[test]
        fn records_survive(contents in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..600), 0..8)) {
            let bytes = segment(&contents.iter().map(Vec::as_slice).collect::<Vec<_>>());
            let scan = scan(&bytes, Signal::Logs).unwrap();
            let back = scan.frames.iter().map(|frame| frame.record().unwrap());
            let back: Vec<_> = back.map(|(head, content)| (head, content.to_vec())).collect();
            let want: Vec<_> = contents.into_iter().enumerate().map(|(at, content)| (head(at as u64), content)).collect();
            prop_assert_eq!(back, want);
        }

        #[test]
        fn any_bytes_can_be_scanned(mut bytes in proptest::collection::vec(any::<u8>(), 0..300), with_header in any::<bool>()) {
            if with_header {
                bytes.splice(0..0, header(Signal::Logs));
            }
            if let Ok(scan) = scan(&bytes, Signal::Logs) {
                scan.frames.iter().for_each(|frame| drop(frame.record()));
            }
        }
    }
}
