//! What the directory of blocks holds, in one small file that is replaced as a whole.
//!
//! ```text
//! magic "AEGMANIF", version u16, zeros u16, length u32, CRC-32C of the payload u32, payload
//! ```
//!
//! A block that the manifest does not name does not count: it was never finished, or has been merged into another.

use std::io;
use std::path::{Path, PathBuf};

use signal::{MatchOp, Matcher, Nanos, TimeRange, Timestamp};

use crate::deletion::{DeletedLines, Deletion, LineFilter, LineFilterOp};
use crate::disk::Disk;
use crate::wire::{DecodeError, Reader, put_len, put_signed, put_text, put_varint};

const MAGIC: &[u8; 8] = b"AEGMANIF";
/// Newest version this build reads, and the one it writes.
pub(crate) const VERSION: u16 = 2;
const HEADER: usize = 20;

/// The state of the blocks.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Manifest {
    /// Segments of the write-ahead log up to this number are in blocks.
    pub(crate) floor: u64,
    /// Number of the last write that is in blocks.
    pub(crate) sequence: u64,
    /// Number of the next block.
    pub(crate) next: u64,
    /// The blocks, oldest first.
    pub(crate) blocks: Vec<Listed>,
    pub(crate) deletions: Vec<Deletion>,
}

/// A block that counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Listed {
    pub(crate) number: u64,
    /// The block in which the newest of it arrived: its own number until it is merged.
    pub(crate) arrived: u64,
}

impl Listed {
    pub(crate) fn new(number: u64) -> Self {
        Self { number, arrived: number }
    }
}

/// Why a manifest cannot be read.
#[derive(Debug)]
pub(crate) enum ReadError {
    Version(u16),
    Damage(&'static str),
    Io(io::Error),
}

impl Manifest {
    pub(crate) fn path(dir: &Path) -> PathBuf {
        dir.join("manifest")
    }

    /// `None` when there is none.
    pub(crate) fn read(dir: &Path, disk: &dyn Disk) -> Result<Option<Self>, ReadError> {
        let bytes = match disk.read(&Self::path(dir)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(ReadError::Io(error)),
        };
        Self::decode(&bytes).map(Some)
    }

    /// Replaces the manifest, durably.
    pub(crate) fn write(&self, dir: &Path, disk: &dyn Disk) -> io::Result<()> {
        let unfinished = dir.join("manifest.tmp");
        let mut file = disk.open(&unfinished)?;
        if file.len()? > 0 {
            file.truncate(0)?;
        }
        file.append(&self.encode())?;
        file.sync()?;
        disk.rename(&unfinished, &Self::path(dir))?;
        disk.sync_dir(dir)
    }

    fn encode(&self) -> Vec<u8> {
        let mut payload = Vec::new();
        for number in [self.floor, self.sequence, self.next] {
            put_varint(&mut payload, number);
        }
        put_len(&mut payload, self.blocks.len());
        for block in &self.blocks {
            put_varint(&mut payload, block.number);
            put_varint(&mut payload, block.arrived);
        }
        put_len(&mut payload, self.deletions.len());
        self.deletions.iter().for_each(|deletion| put_deletion(&mut payload, deletion));
        let mut out = Vec::with_capacity(payload.len() + HEADER);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&[0; 2]);
        out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
        out.extend_from_slice(&crc32c::crc32c(&payload).to_le_bytes());
        out.append(&mut payload);
        out
    }

    fn decode(bytes: &[u8]) -> Result<Self, ReadError> {
        let damage = |DecodeError(reason)| ReadError::Damage(reason);
        let (front, payload) = bytes.split_at_checked(HEADER).ok_or(ReadError::Damage("the header is not whole"))?;
        let mut reader = Reader::new(front);
        if reader.array().map_err(damage)? != *MAGIC {
            return Err(ReadError::Damage("the header is damaged"));
        }
        let version = reader.array().map(u16::from_le_bytes).map_err(damage)?;
        if version > VERSION {
            return Err(ReadError::Version(version));
        }
        let _reserved: [u8; 2] = reader.array().map_err(damage)?;
        let len = reader.array().map(u32::from_le_bytes).map_err(damage)?;
        let checksum = reader.array().map(u32::from_le_bytes).map_err(damage)?;
        if payload.len() as u64 != u64::from(len) || crc32c::crc32c(payload) != checksum {
            return Err(ReadError::Damage("the checksum does not match"));
        }
        Self::take(&mut Reader::new(payload), version).map_err(damage)
    }

    fn take(reader: &mut Reader<'_>, version: u16) -> Result<Self, DecodeError> {
        let (floor, sequence, next) = (reader.varint()?, reader.varint()?, reader.varint()?);
        let mut blocks = Vec::new();
        for _ in 0..reader.count()? {
            let number = reader.varint()?;
            blocks.push(Listed { number, arrived: if version < 2 { number } else { reader.varint()? } });
        }
        let mut deletions = Vec::new();
        for _ in 0..reader.count()? {
            deletions.push(take_deletion(reader, version)?);
        }
        if reader.is_at_end() {
            Ok(Self { floor, sequence, next, blocks, deletions })
        } else {
            Err(DecodeError("bytes are left over"))
        }
    }
}

fn put_deletion(out: &mut Vec<u8>, Deletion { matchers, range, below, lines }: &Deletion) {
    put_signed(out, range.start.0);
    put_signed(out, range.end.0);
    put_varint(out, *below);
    put_len(out, matchers.len());
    for matcher in matchers {
        put_text(out, &matcher.name);
        out.push(op_to_byte(matcher.op));
        put_text(out, &matcher.value);
    }
    put_len(out, usize::from(lines.is_some()));
    let Some(DeletedLines { id, asked, start, end, filters }) = lines else { return };
    put_varint(out, *id);
    put_signed(out, asked.0);
    put_signed(out, start.0);
    put_signed(out, end.0);
    put_len(out, filters.len());
    for filter in filters {
        out.push(filter_to_byte(filter.op()));
        put_text(out, filter.text());
    }
}

fn take_deletion(reader: &mut Reader<'_>, version: u16) -> Result<Deletion, DecodeError> {
    const PATTERN: DecodeError = DecodeError("a deletion has a pattern that does not compile");
    let range = TimeRange::new(Timestamp(reader.signed()?), Timestamp(reader.signed()?));
    let below = reader.varint()?;
    let mut matchers = Vec::new();
    for _ in 0..reader.count()? {
        let (name, op, value) = (reader.text()?, op_from_byte(reader.byte()?)?, reader.text()?);
        matchers.push(Matcher::new(name, op, value).map_err(|_| PATTERN)?);
    }
    let mut lines = None;
    if version >= 2 && reader.byte()? > 0 {
        let (id, asked) = (reader.varint()?, Timestamp(reader.signed()?));
        let (start, end) = (Nanos(reader.signed()?), Nanos(reader.signed()?));
        let mut filters = Vec::new();
        for _ in 0..reader.count()? {
            let op = filter_from_byte(reader.byte()?)?;
            filters.push(LineFilter::new(op, reader.text()?).map_err(|_| PATTERN)?);
        }
        lines = Some(DeletedLines { id, asked, start, end, filters });
    }
    Ok(Deletion { matchers, range, below, lines })
}

fn filter_to_byte(op: LineFilterOp) -> u8 {
    match op {
        LineFilterOp::Contains => 0,
        LineFilterOp::Lacks => 1,
        LineFilterOp::Matches => 2,
        LineFilterOp::MatchesNot => 3,
    }
}

fn filter_from_byte(byte: u8) -> Result<LineFilterOp, DecodeError> {
    match byte {
        0 => Ok(LineFilterOp::Contains),
        1 => Ok(LineFilterOp::Lacks),
        2 => Ok(LineFilterOp::Matches),
        3 => Ok(LineFilterOp::MatchesNot),
        _ => Err(DecodeError("a filter of lines is unknown")),
    }
}

fn op_to_byte(op: MatchOp) -> u8 {
    match op {
        MatchOp::Equal => 0,
        MatchOp::NotEqual => 1,
        MatchOp::Regex => 2,
        MatchOp::NotRegex => 3,
    }
}

fn op_from_byte(byte: u8) -> Result<MatchOp, DecodeError> {
    match byte {
        0 => Ok(MatchOp::Equal),
        1 => Ok(MatchOp::NotEqual),
        2 => Ok(MatchOp::Regex),
        3 => Ok(MatchOp::NotRegex),
        _ => Err(DecodeError("a matcher is unknown")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::disk::MemoryDisk;

    /// What version 1 could say.
    fn plain() -> Manifest {
        let matchers = vec![Matcher::equal("job", "a"), Matcher::new("env", MatchOp::NotRegex, "x|y").unwrap()];
        let range = TimeRange::new(Timestamp(-5), Timestamp(9));
        let deletions = vec![Deletion { matchers, range, below: 7, lines: None }];
        Manifest { floor: 3, sequence: 900, next: 8, blocks: [1, 4, 7].map(Listed::new).to_vec(), deletions }
    }

    fn sample() -> Manifest {
        let mut manifest = plain();
        manifest.blocks.push(Listed { number: 9, arrived: 6 });
        let filters = [
            (LineFilterOp::Contains, "x"),
            (LineFilterOp::Lacks, ""),
            (LineFilterOp::Matches, "a+"),
            (LineFilterOp::MatchesNot, "^b"),
        ];
        let lines = DeletedLines {
            id: 12,
            asked: Timestamp(77),
            start: Nanos(-4_500_000),
            end: Nanos(8_999_999),
            filters: filters.map(|(op, text)| LineFilter::new(op, text).unwrap()).to_vec(),
        };
        manifest.deletions.push(Deletion { lines: Some(lines), ..manifest.deletions[0].clone() });
        manifest
    }

    #[test]
    fn it_comes_back_or_says_why_not() {
        let (disk, dir) = (MemoryDisk::new(), Path::new("/d"));
        assert!(matches!(Manifest::read(dir, &disk), Ok(None)));
        for manifest in [Manifest::default(), sample()] {
            manifest.write(dir, &disk).unwrap();
            assert_eq!(Manifest::read(dir, &disk).unwrap(), Some(manifest));
        }
        let good = sample().encode();
        for at in 0..good.len() {
            let mut bytes = good.clone();
            bytes[at] ^= 0x40;
            let read = Manifest::decode(&bytes);
            // The two bytes kept for later say nothing yet.
            assert_eq!(read.is_ok(), at == 10 || at == 11, "byte {at}: {read:?}");
        }
    }

    #[test]
    fn every_released_format_is_read() {
        for (version, want) in [("v1", plain()), ("v2", sample())] {
            let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/formats").join(version).join("manifest");
            assert_eq!(Manifest::decode(&std::fs::read(file).unwrap()).unwrap(), want, "{version}");
        }
    }

    #[test]
    #[ignore = "writes the file of a new format; never over an existing one"]
    fn write_a_manifest_of_the_current_format() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/formats").join(format!("v{VERSION}"));
        let file = dir.join("manifest");
        assert!(!file.exists(), "{} is there", file.display());
        std::fs::write(file, sample().encode()).unwrap();
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_read(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = Manifest::decode(&bytes);
            for version in 1..=VERSION {
                let _ = Manifest::take(&mut Reader::new(&bytes), version);
            }
        }
    }
}
