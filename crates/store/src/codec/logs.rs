//! Records of the logs signal.

use signal::{Labels, LogLine, Nanos, Timestamp};

use super::dictionary::{Dictionary, Names};
use super::metrics::{put_pairs, take_pairs};
use crate::head::logs::LineChunk;
use crate::wire::{DecodeError, Reader, put_len, put_signed, put_text};

/// Bytes a line takes beside its text and metadata, about.
const BESIDE: usize = 16;

/// Adds the lines of streams, each stream any number of times.
pub(crate) fn encode(streams: &[(&Labels, &[LogLine])], dictionary: &mut Dictionary, out: &mut Vec<u8>) {
    let numbers: Vec<usize> = streams.iter().map(|(labels, _)| dictionary.number(labels)).collect();
    dictionary.put_new(out);
    let lines = streams.iter().flat_map(|(_, lines)| *lines);
    out.reserve(lines.map(|line| line.line.len() + line.metadata.bytes() + BESIDE).sum());
    let mut clock = 0;
    put_len(out, streams.len());
    for ((_, lines), number) in streams.iter().zip(numbers) {
        put_len(out, number);
        put_len(out, lines.len());
        for line in *lines {
            put_signed(out, line.at.0.wrapping_sub(clock));
            clock = line.at.0;
            put_text(out, &line.line);
            put_pairs(out, &line.metadata);
        }
    }
}

/// Lines read back.
#[derive(Debug, Default)]
pub(crate) struct LogsRecord {
    /// By the numbers of their streams in [`Names`], each stream any number of times.
    pub(crate) chunks: Vec<(usize, LineChunk)>,
    pub(crate) newest: Option<Timestamp>,
}

pub(crate) fn decode(content: &[u8], names: &mut Names) -> Result<LogsRecord, DecodeError> {
    let reader = &mut Reader::new(content);
    names.take_new(reader)?;
    let mut record = LogsRecord::default();
    let mut clock = 0_i64;
    for _ in 0..reader.count()? {
        let set = names.take_set(reader)?;
        let count = reader.count()?;
        // A line takes three bytes at least, and its text cannot be larger than what is left.
        let mut chunk = LineChunk::with_capacity(count.min(reader.rest().len() / 3 + 1), 0);
        for _ in 0..count {
            clock = clock.wrapping_add(reader.signed()?);
            let text = reader.text()?;
            chunk.push(Nanos(clock), text, &take_pairs(reader)?);
        }
        record.newest = record.newest.max(chunk.bounds().map(|(_, last)| last.to_timestamp()));
        record.chunks.push((set, chunk));
    }
    if reader.is_at_end() { Ok(record) } else { Err(DecodeError("bytes are left over")) }
}
