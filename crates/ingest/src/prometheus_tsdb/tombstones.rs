//! Which samples of a block are deleted and not yet cleaned away.

use std::collections::HashMap;

use signal::{TimeRange, Timestamp};

use super::BlockError;
use super::bytes::Bytes;

const FILE: &str = "tombstones";
const MAGIC: u32 = 0x0130_BA30;
const VERSION: u8 = 1;

/// Deleted times by series.
#[derive(Debug, Default)]
pub(super) struct Tombstones(HashMap<u64, Vec<TimeRange>>);

impl Tombstones {
    pub(super) fn parse(file: &[u8]) -> Result<Self, BlockError> {
        let damaged = |offset: usize, reason: &str| BlockError::Damaged {
            file: FILE.to_owned(),
            offset: offset as u64,
            reason: reason.to_owned(),
        };
        let mut header = Bytes::new(file);
        if header.u32() != Some(MAGIC) {
            return Err(damaged(0, "these are no tombstones"));
        }
        let version = header.u8().unwrap_or_default();
        if version != VERSION {
            return Err(BlockError::Version { file: FILE.to_owned(), found: version.into(), known: VERSION.into() });
        }
        let body = header.rest.split_at_checked(header.rest.len().saturating_sub(4));
        let (body, sum) = body.filter(|(_, sum)| sum.len() == 4).ok_or_else(|| damaged(5, "the file ends early"))?;
        if Bytes::new(sum).u32() != Some(crc32c::crc32c(body)) {
            return Err(damaged(5, "the checksum does not hold"));
        }
        let mut deleted: HashMap<u64, Vec<TimeRange>> = HashMap::new();
        let mut rest = Bytes::new(body);
        while !rest.rest.is_empty() {
            let offset = file.len() - 4 - rest.rest.len();
            let entry = (|| Some((rest.uvarint()?, rest.varint()?, rest.varint()?)))();
            let (series, start, end) = entry.ok_or_else(|| damaged(offset, "an entry ends early"))?;
            deleted.entry(series).or_default().push(TimeRange::new(Timestamp(start), Timestamp(end)));
        }
        Ok(Self(deleted))
    }

    pub(super) fn of(&self, series: u32) -> &[TimeRange] {
        self.0.get(&series.into()).map_or(&[], Vec::as_slice)
    }
}
