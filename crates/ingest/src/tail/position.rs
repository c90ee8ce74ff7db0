//! How far files are read, as it is kept on disk: a journal of lines, each with its checksum.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use signal::Nanos;
use xxhash_rust::xxh3::xxh3_64;

use super::FileId;

/// Bytes before a position that tell whether a file is still the one it was.
const MARK_BYTES: usize = 256;

/// How far one file is read.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// The job that follows it.
    pub job: String,
    /// Its name when it was found; the label `filename`.
    pub path: String,
    /// Which file it is.
    pub device: u64,
    /// Which file it is.
    pub inode: u64,
    /// Everything before this byte is in the store.
    pub offset: u64,
    /// Of the bytes before.
    #[serde(default)]
    pub mark: Mark,
    /// Whether `offset` is inside a line whose beginning was taken.
    #[serde(default, skip_serializing_if = "is_false")]
    pub is_inside_cut: bool,
    /// When bytes behind `offset` were read. Lines that say no time themselves have their times from here, also when they
    /// are read a second time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reads: Vec<Read>,
    /// Bytes up to here are on their way to the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent: Option<Sent>,
    /// Whether nothing more is to be known of the file.
    #[serde(default, skip_serializing_if = "is_false")]
    pub is_over: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

/// How far a file was sent without an answer yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Sent {
    /// The byte behind the last that was sent.
    pub offset: u64,
    /// Of the bytes before.
    pub mark: Mark,
}

/// When some bytes were read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Read {
    /// The first of them.
    pub from: u64,
    /// The time of a line that begins there; a line that begins `n` bytes later comes `n` nanoseconds later.
    pub at: Nanos,
}

/// The bytes before a place in a file, so far as to tell them from others.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Mark {
    length: u16,
    hash: u64,
}

impl Mark {
    /// How many bytes before `offset` a mark is made of.
    pub(super) fn length_at(offset: u64) -> usize {
        usize::try_from(offset).unwrap_or(MARK_BYTES).min(MARK_BYTES)
    }

    pub(super) fn of(bytes: &[u8]) -> Self {
        let length = bytes.len().min(MARK_BYTES);
        let bytes = bytes.get(bytes.len() - length..).unwrap_or_default();
        Self { length: u16::try_from(length).unwrap_or(u16::MAX), hash: xxh3_64(bytes) }
    }

    pub(super) fn length(self) -> usize {
        usize::from(self.length)
    }

    /// Whether it says anything.
    pub(super) fn is_empty(self) -> bool {
        self.length == 0
    }
}

impl Position {
    /// Which file it is.
    #[must_use]
    pub fn id(&self) -> FileId {
        FileId { device: self.device, inode: self.inode }
    }

    /// The furthest place that the file is known to have, and what stands before it.
    pub(super) fn furthest(&self) -> (u64, Mark) {
        self.sent.map_or((self.offset, self.mark), |sent| (sent.offset, sent.mark))
    }
}

/// A line of the journal that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("line {line} of the positions cannot be read: {reason}")]
pub struct PositionError {
    /// Which line, from 1.
    pub line: usize,
    /// What is wrong.
    pub reason: String,
}

/// Positions by job and file, as a journal holds them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Positions(BTreeMap<(String, FileId), Position>);

impl Positions {
    /// Reads a journal. A last line that a crash left unfinished was never relied on, and is left out.
    ///
    /// # Errors
    /// When a line before the last cannot be read.
    pub fn read(journal: &[u8]) -> Result<Self, PositionError> {
        let mut positions = Self::default();
        let complete = memchr::memrchr(b'\n', journal).map_or(0, |end| end + 1);
        let text = journal.get(..complete).unwrap_or_default();
        let count = text.iter().filter(|byte| **byte == b'\n').count();
        for (at, line) in text.split(|byte| *byte == b'\n').take(count).enumerate() {
            match record(line) {
                Ok(changed) => positions.apply(changed),
                // Torn, with a line break of what lay there before.
                Err(_) if at + 1 == count => {}
                Err(reason) => return Err(PositionError { line: at + 1, reason }),
            }
        }
        Ok(positions)
    }

    /// Takes changes in.
    pub fn apply(&mut self, changed: impl IntoIterator<Item = Position>) {
        for position in changed {
            let key = (position.job.clone(), position.id());
            if position.is_over {
                self.0.remove(&key);
            } else {
                self.0.insert(key, position);
            }
        }
    }

    /// The line of a journal for some changes.
    #[must_use]
    pub fn line(changed: &[Position]) -> Vec<u8> {
        // Writing to memory what has no maps with odd keys cannot fail.
        let json = serde_json::to_vec(changed).unwrap_or_default();
        let mut line = format!("{:08x} ", crc32c::crc32c(&json)).into_bytes();
        line.extend_from_slice(&json);
        line.push(b'\n');
        line
    }

    /// The journal that says just this.
    #[must_use]
    pub fn journal(&self) -> Vec<u8> {
        let all: Vec<Position> = self.0.values().cloned().collect();
        all.chunks(1000).flat_map(Self::line).collect()
    }

    /// All of them.
    pub fn into_all(self) -> impl Iterator<Item = Position> {
        self.0.into_values()
    }
}

fn record(line: &[u8]) -> Result<Vec<Position>, String> {
    let (sum, json) = line.split_at_checked(9).ok_or("it is too short")?;
    let sum = std::str::from_utf8(sum).ok().and_then(|sum| u32::from_str_radix(sum.trim_end(), 16).ok());
    if sum != Some(crc32c::crc32c(json)) {
        return Err("its checksum is wrong".to_owned());
    }
    serde_json::from_slice(json).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn position(inode: u64, offset: u64) -> Position {
        let reads = vec![Read { from: offset, at: Nanos(5) }];
        Position { job: "j".to_owned(), path: format!("/{inode}"), inode, offset, reads, ..Position::default() }
    }

    #[test]
    fn the_last_word_counts_and_what_is_torn_does_not() {
        let over = Position { is_over: true, ..position(1, 9) };
        let mut journal = Positions::line(&[position(1, 5), position(2, 6)]);
        journal.extend(Positions::line(&[position(2, 7)]));
        let end = journal.len();
        journal.extend(Positions::line(&[over]));
        let all = |journal: &[u8]| -> Vec<u64> {
            Positions::read(journal).unwrap().into_all().map(|position| position.offset).collect()
        };
        assert_eq!(all(&journal), [7]);
        for cut in end..journal.len() {
            assert_eq!(all(&journal[..cut]), [5, 7], "{cut}");
        }
        let again = Positions::read(&journal).unwrap().journal();
        assert_eq!(all(&again), [7]);
        journal[12] ^= 1;
        let error = Positions::read(&journal).unwrap_err();
        assert_eq!(error.to_string(), "line 1 of the positions cannot be read: its checksum is wrong");
    }

    proptest! {
        #[test]
        fn any_bytes_read_or_err(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = Positions::read(&bytes);
        }
    }
}
