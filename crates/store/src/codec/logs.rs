//! Records of the logs signal, and the lines of a packed chunk in memory.

use signal::{Labels, LogLine, Nanos};

use super::dictionary::{Dictionary, Names};
use super::metrics::{put_pairs, take_pairs};
use crate::wire::{DecodeError, Reader, put_len, put_signed, put_text};

/// Encodes the lines of streams, each stream any number of times.
pub(crate) fn encode(streams: &[(&Labels, &[LogLine])], dictionary: &mut Dictionary) -> Vec<u8> {
    let mut lines = Vec::new();
    let mut clock = 0;
    put_len(&mut lines, streams.len());
    for (labels, written) in streams {
        put_len(&mut lines, dictionary.number(labels));
        put_len(&mut lines, written.len());
        written.iter().for_each(|line| put_line(&mut lines, line, &mut clock));
    }
    let mut out = Vec::with_capacity(lines.len() + 64);
    dictionary.put_new(&mut out);
    out.append(&mut lines);
    out
}

/// Lines read back, with the numbers of their streams in [`Names`].
pub(crate) fn decode(content: &[u8], names: &mut Names) -> Result<Vec<(usize, LogLine)>, DecodeError> {
    let reader = &mut Reader::new(content);
    names.take_new(reader)?;
    let mut lines = Vec::new();
    let mut clock = 0;
    for _ in 0..reader.count()? {
        let set = names.take_set(reader)?;
        for _ in 0..reader.count()? {
            lines.push((set, take_line(reader, &mut clock)?));
        }
    }
    if reader.is_at_end() { Ok(lines) } else { Err(DecodeError("bytes are left over")) }
}

/// `clock` is the time of the line written before.
pub(crate) fn put_line(out: &mut Vec<u8>, line: &LogLine, clock: &mut i64) {
    put_signed(out, line.at.0.wrapping_sub(*clock));
    *clock = line.at.0;
    put_text(out, &line.line);
    put_pairs(out, &line.metadata);
}

pub(crate) fn take_line(reader: &mut Reader<'_>, clock: &mut i64) -> Result<LogLine, DecodeError> {
    *clock = clock.wrapping_add(reader.signed()?);
    Ok(LogLine { at: Nanos(*clock), line: reader.text()?.to_owned(), metadata: take_pairs(reader)? })
}
