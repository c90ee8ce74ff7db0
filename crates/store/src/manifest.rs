//! What the directory of blocks holds, in one small file that is replaced as a whole.
//!
//! ```text
//! magic "AEGMANIF", version u16, zeros u16, length u32, CRC-32C of the payload u32, payload
//! ```
//!
//! A block that the manifest does not name does not count: it was never finished, or has been merged into another.

use std::io;
use std::path::{Path, PathBuf};

use signal::{MatchOp, Matcher, TimeRange, Timestamp};

use crate::disk::Disk;
use crate::wire::{DecodeError, Reader, put_len, put_signed, put_text, put_varint};

const MAGIC: &[u8; 8] = b"AEGMANIF";
/// Newest version this build reads, and the one it writes.
pub(crate) const VERSION: u16 = 1;
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
    /// Numbers of the blocks, oldest first.
    pub(crate) blocks: Vec<u64>,
    pub(crate) deletions: Vec<Deletion>,
}

/// Samples that somebody asked to forget.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Deletion {
    pub(crate) matchers: Vec<Matcher>,
    pub(crate) range: TimeRange,
    /// Holds for blocks of smaller numbers: what came later stays.
    pub(crate) below: u64,
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
        self.blocks.iter().for_each(|number| put_varint(&mut payload, *number));
        put_len(&mut payload, self.deletions.len());
        for Deletion { matchers, range, below } in &self.deletions {
            put_signed(&mut payload, range.start.0);
            put_signed(&mut payload, range.end.0);
            put_varint(&mut payload, *below);
            put_len(&mut payload, matchers.len());
            for matcher in matchers {
                put_text(&mut payload, &matcher.name);
                payload.push(op_to_byte(matcher.op));
                put_text(&mut payload, &matcher.value);
            }
        }
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
        Self::take(&mut Reader::new(payload)).map_err(damage)
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (floor, sequence, next) = (reader.varint()?, reader.varint()?, reader.varint()?);
        let blocks = (0..reader.count()?).map(|_| reader.varint()).collect::<Result<Vec<_>, _>>()?;
        let mut deletions = Vec::new();
        for _ in 0..reader.count()? {
            let range = TimeRange::new(Timestamp(reader.signed()?), Timestamp(reader.signed()?));
            let below = reader.varint()?;
            let mut matchers = Vec::new();
            for _ in 0..reader.count()? {
                let (name, op, value) = (reader.text()?, op_from_byte(reader.byte()?)?, reader.text()?);
                let matcher = Matcher::new(name, op, value);
                matchers.push(matcher.map_err(|_| DecodeError("a deletion has a pattern that does not compile"))?);
            }
            deletions.push(Deletion { matchers, range, below });
        }
        if reader.is_at_end() {
            Ok(Self { floor, sequence, next, blocks, deletions })
        } else {
            Err(DecodeError("bytes are left over"))
        }
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

    fn sample() -> Manifest {
        let matchers = vec![Matcher::equal("job", "a"), Matcher::new("env", MatchOp::NotRegex, "x|y").unwrap()];
        let range = TimeRange::new(Timestamp(-5), Timestamp(9));
        let deletions = vec![Deletion { matchers, range, below: 7 }];
        Manifest { floor: 3, sequence: 900, next: 8, blocks: vec![1, 4, 7], deletions }
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
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/formats/v1/manifest");
        assert_eq!(Manifest::decode(&std::fs::read(file).unwrap()).unwrap(), sample());
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
            let _ = Manifest::take(&mut Reader::new(&bytes));
        }
    }
}
