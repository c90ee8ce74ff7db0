//! The append-only, hash-chained file.
//!
//! One record a line: `{"hash":"…","prev":"…","body":{…}}`. `hash` is the SHA-256, in hex, of the text of `prev`
//! followed by the text of `body` exactly as it stands in the line; the first record's `prev` is 64 zeros. So
//! `printf '%s%s' "$prev" "$body" | sha256sum` checks a record by hand.

use control::{EffectRecord, Input};
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use signal::Timestamp;
use std::path::{Path, PathBuf};
use store::{Disk, DiskFile, DiskLock};

/// Name of the ledger inside its directory.
pub const LEDGER_FILE: &str = "ledger.jsonl";

const FORMAT: u32 = 1;
const GENESIS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// One step of the control loop: what was heard, and what it led to.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Format version of the record; 1.
    pub v: u32,
    /// 1, 2, 3 …
    pub seq: u64,
    /// When it was heard.
    pub at: Timestamp,
    /// What was heard.
    pub heard: Input,
    /// What the conductor answered, in order.
    pub effects: Vec<EffectRecord>,
}

/// The open ledger; one writer at a time holds it.
#[derive(Debug)]
pub struct Ledger {
    file: Box<dyn DiskFile>,
    state: Head,
    is_broken: bool,
    _lock: Box<dyn DiskLock>,
}

/// Where the chain ends.
#[derive(Debug)]
struct Head {
    hash: String,
    seq: u64,
    len: u64,
}

/// What was found when the ledger was opened.
#[derive(Debug)]
pub struct Opened {
    /// Every record, oldest first.
    pub records: Vec<Record>,
    /// Bytes of an unfinished last record that were cut off: a write that was never acknowledged.
    pub dropped_bytes: u64,
}

/// What a check of the whole chain found.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Verified {
    /// Records up to the first bad one.
    pub records: u64,
    /// Hash of the last good record: the anchor for everything before it.
    pub head: String,
    /// Bytes of an unfinished last line, harmless after a crash.
    pub unfinished_bytes: u64,
    /// The first record that does not hold, if any.
    pub bad: Option<BadRecord>,
}

/// A record that was damaged or tampered with.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, thiserror::Error)]
#[error("record {line} (byte {offset} of the ledger) does not hold: {reason}")]
pub struct BadRecord {
    /// Line, counted from 1; equal to the sequence number it should carry.
    pub line: u64,
    /// Byte offset of the line's start.
    pub offset: u64,
    /// What is wrong with it.
    pub reason: String,
}

/// Why a ledger cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process writes it.
    #[error("{} is in use by another process", file.display())]
    InUse {
        /// The ledger.
        file: PathBuf,
    },
    /// The file cannot be read or made.
    #[error("cannot open {}", file.display())]
    Io {
        /// The ledger.
        file: PathBuf,
        /// What the file system says.
        #[source]
        source: std::io::Error,
    },
    /// The chain is broken: nobody may act on top of a record that cannot be trusted.
    #[error("{} cannot be trusted; keep it as evidence, move it away and start a new one", file.display())]
    Bad {
        /// The ledger.
        file: PathBuf,
        /// The first bad record.
        #[source]
        source: BadRecord,
    },
}

/// Why a record could not be made durable. Its effects must not be carried out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// The record cannot be written as JSON.
    #[error("cannot encode record {seq}")]
    Encode {
        /// Sequence number it would have had.
        seq: u64,
        /// What the encoder says.
        #[source]
        source: serde_json::Error,
    },
    /// The disk refuses.
    #[error("cannot write record {seq}")]
    Io {
        /// Sequence number it would have had.
        seq: u64,
        /// What the file system says.
        #[source]
        source: std::io::Error,
    },
    /// An earlier failed write could not be taken back; open the ledger again.
    #[error("the ledger is broken by an earlier failed write; it must be opened again")]
    Broken,
}

#[derive(Serialize, Deserialize)]
struct Envelope<'a> {
    hash: std::borrow::Cow<'a, str>,
    prev: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    body: &'a RawValue,
}

impl Ledger {
    /// Opens, or starts, the ledger in `dir` after checking the whole chain. An unfinished last line is cut off.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(dir: &Path, disk: &dyn Disk) -> Result<(Self, Opened), OpenError> {
        let path = dir.join(LEDGER_FILE);
        let io = |source| OpenError::Io { file: path.clone(), source };
        disk.create_dir_all(dir).map_err(io)?;
        let lock = disk.lock(&dir.join("lock")).map_err(io)?;
        let lock = lock.ok_or_else(|| OpenError::InUse { file: path.clone() })?;
        let (file, state, opened) = load(&path, disk)?;
        disk.sync_dir(dir).map_err(io)?;
        Ok((Self { file, state, is_broken: false, _lock: lock }, opened))
    }

    /// Reads everything back and goes on from there, after a write that failed.
    ///
    /// # Errors
    /// See [`OpenError`]; the ledger then stays as it was.
    pub fn reload(&mut self, dir: &Path, disk: &dyn Disk) -> Result<Opened, OpenError> {
        let path = dir.join(LEDGER_FILE);
        let (file, state, opened) = load(&path, disk)?;
        self.file = file;
        self.state = state;
        self.is_broken = false;
        Ok(opened)
    }

    /// Makes one step durable: on return it survives a crash and a loss of power. Answers the sequence number.
    ///
    /// # Errors
    /// After an error nothing of the record remains, and its effects must not be carried out.
    pub fn heard(&mut self, at: Timestamp, input: &Input, effects: &[EffectRecord]) -> Result<Record, AppendError> {
        if self.is_broken {
            return Err(AppendError::Broken);
        }
        let seq = self.state.seq + 1;
        let record = Record { v: FORMAT, seq, at, heard: input.clone(), effects: effects.to_vec() };
        let encode = |source| AppendError::Encode { seq, source };
        let body = serde_json::to_string(&record).map_err(encode)?;
        let hash = chain(&self.state.hash, &body);
        let line = format!("{{\"hash\":\"{hash}\",\"prev\":\"{}\",\"body\":{body}}}\n", self.state.hash);
        let written = self.file.append(line.as_bytes()).and_then(|()| self.file.sync());
        if let Err(source) = written {
            let undone = self.file.truncate(self.state.len).and_then(|()| self.file.sync());
            self.is_broken = undone.is_err();
            return Err(AppendError::Io { seq, source });
        }
        self.state = Head { hash, seq, len: self.state.len + line.len() as u64 };
        Ok(record)
    }

    /// Hash of the last record; anchor it elsewhere to prove later that nothing before it was changed.
    #[must_use]
    pub fn head(&self) -> &str {
        &self.state.hash
    }

    /// Sequence number of the last record; 0 when there is none.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.state.seq
    }
}

/// Opens the file, checks the chain, cuts off an unfinished last line.
fn load(path: &Path, disk: &dyn Disk) -> Result<(Box<dyn DiskFile>, Head, Opened), OpenError> {
    let io = |source| OpenError::Io { file: path.to_owned(), source };
    let mut file = disk.open(path).map_err(io)?;
    let bytes = disk.read(path).map_err(io)?;
    let mut records = Vec::new();
    let verified = walk(&bytes, |record| records.push(record));
    if let Some(source) = verified.bad {
        return Err(OpenError::Bad { file: path.to_owned(), source });
    }
    let len = bytes.len() as u64 - verified.unfinished_bytes;
    if verified.unfinished_bytes > 0 {
        file.truncate(len).map_err(io)?;
        file.sync().map_err(io)?;
    }
    let head = Head { hash: verified.head, seq: verified.records, len };
    Ok((file, head, Opened { records, dropped_bytes: verified.unfinished_bytes }))
}

/// Checks the bytes of a ledger file and names the first record that does not hold.
#[must_use]
pub fn verify(bytes: &[u8]) -> Verified {
    walk(bytes, |_| {})
}

/// The records of a ledger file, oldest first; an unfinished last line is left out.
///
/// # Errors
/// The first record that does not hold.
pub fn read(bytes: &[u8]) -> Result<Vec<Record>, BadRecord> {
    let mut records = Vec::new();
    match walk(bytes, |record| records.push(record)).bad {
        Some(bad) => Err(bad),
        None => Ok(records),
    }
}

fn walk(bytes: &[u8], mut each: impl FnMut(Record)) -> Verified {
    let mut verified = Verified { records: 0, head: GENESIS.to_owned(), unfinished_bytes: 0, bad: None };
    let mut offset = 0;
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let Some(text) = line.strip_suffix(b"\n") else {
            verified.unfinished_bytes = line.len() as u64;
            break;
        };
        match read_line(text, &verified.head, verified.records + 1) {
            Ok((record, hash)) => {
                verified.records += 1;
                verified.head = hash;
                each(record);
            }
            Err(reason) => {
                verified.bad = Some(BadRecord { line: verified.records + 1, offset, reason });
                break;
            }
        }
        offset += line.len() as u64;
    }
    verified
}

fn read_line(text: &[u8], head: &str, seq: u64) -> Result<(Record, String), String> {
    let text = std::str::from_utf8(text).map_err(|_| "it is not UTF-8".to_owned())?;
    let envelope: Envelope<'_> = serde_json::from_str(text).map_err(|error| format!("it is not a record: {error}"))?;
    let body = envelope.body.get();
    let hash = chain(head, body);
    if envelope.prev != head {
        return Err("it does not follow the record before it".to_owned());
    }
    if envelope.hash != hash {
        return Err("its content does not match its hash".to_owned());
    }
    // White space or key order outside the body would not change the hash; the whole line has one spelling.
    if format!("{{\"hash\":\"{hash}\",\"prev\":\"{head}\",\"body\":{body}}}") != text {
        return Err("its spelling was changed".to_owned());
    }
    let record: Record = serde_json::from_str(body).map_err(|error| format!("its body cannot be read: {error}"))?;
    if record.v != FORMAT {
        return Err(format!("its format version is {}, this Aegis reads {FORMAT}", record.v));
    }
    if record.seq != seq {
        return Err(format!("it says it is record {}", record.seq));
    }
    Ok((record, hash))
}

fn chain(prev: &str, body: &str) -> String {
    let mut bytes = Vec::with_capacity(prev.len() + body.len());
    bytes.extend_from_slice(prev.as_bytes());
    bytes.extend_from_slice(body.as_bytes());
    digest(&SHA256, &bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use store::MemoryDisk;

    use super::*;

    fn written(count: i64) -> (Arc<MemoryDisk>, Vec<u8>) {
        let disk = Arc::new(MemoryDisk::new());
        let (mut ledger, _) = Ledger::open(Path::new("a"), &*disk).unwrap();
        for at in 0..count {
            let paused = Input::Paused { by: format!("person {at}"), paused: at % 2 == 0 };
            ledger.heard(Timestamp(at), &paused, &[EffectRecord::Wake { at: Timestamp(at + 1) }]).unwrap();
        }
        drop(ledger);
        let bytes = disk.read(&Path::new("a").join(LEDGER_FILE)).unwrap();
        (disk, bytes)
    }

    #[test]
    fn reads_back_what_was_written_and_goes_on() {
        let (disk, bytes) = written(3);
        let (mut ledger, opened) = Ledger::open(Path::new("a"), &*disk).unwrap();
        assert_eq!((opened.records.len(), opened.dropped_bytes, ledger.seq()), (3, 0, 3));
        assert_eq!(ledger.head(), verify(&bytes).head);
        assert_eq!(ledger.heard(Timestamp(9), &Input::Woke, &[]).unwrap().seq, 4);
    }

    #[test]
    fn every_prefix_opens_and_loses_only_the_unfinished_line() {
        let (_, bytes) = written(3);
        for cut in 0..bytes.len() {
            let verified = verify(&bytes[..cut]);
            assert_eq!(verified.bad, None, "cut at {cut}");
            let whole = bytes[..cut].iter().filter(|byte| **byte == b'\n').count();
            assert_eq!(verified.records, whole as u64, "cut at {cut}");
        }
    }

    proptest! {
        #[test]
        fn any_changed_byte_is_found(at in 0_usize..10_000, flip in 1_u8..=255) {
            let (_, mut bytes) = written(4);
            let at = at % bytes.len();
            let line = bytes[..at].iter().filter(|byte| **byte == b'\n').count() as u64 + 1;
            bytes[at] ^= flip;
            let verified = verify(&bytes);
            let named = verified.bad.as_ref().map(|bad| bad.line);
            // The last line without its end reads as unfinished; everything else is named.
            let lost_end = at == bytes.len() - 1 && verified.unfinished_bytes > 0;
            prop_assert!(lost_end || named == Some(line), "{verified:?} for line {line}");
        }
    }

    #[test]
    fn a_second_writer_is_refused() {
        let (disk, _) = written(1);
        let (_held, _) = Ledger::open(Path::new("a"), &*disk).unwrap();
        assert!(matches!(Ledger::open(Path::new("a"), &*disk), Err(OpenError::InUse { .. })));
    }
}
