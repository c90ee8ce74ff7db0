//! Writes a block, one row group after the other.

use std::path::Path;
use std::sync::Arc;

use signal::Labels;

use super::FORMAT;
use super::footer::{Footer, LogBlockMeta, Place, Run};
use crate::block_file::{BlockOrigin, Output, WriteBlockError};
use crate::disk::Disk;
use crate::rows::{RowGroup, RowsError};

/// A block in the making. Parts go to the file at once; fronts, filters and streams wait in memory.
#[derive(Debug)]
pub(crate) struct LogBlockWriter {
    out: Output,
    footer: Footer,
    fronts: Vec<u8>,
    filters: Vec<u8>,
}

impl LogBlockWriter {
    /// Begins a block that will be `file`; its directory is there, and nobody else writes there.
    pub(crate) fn create(disk: Arc<dyn Disk>, file: &Path, origin: BlockOrigin) -> Result<Self, WriteBlockError> {
        let out = Output::create(disk, file, FORMAT)?;
        let BlockOrigin { level, sources } = origin;
        let meta = LogBlockMeta { level, sources, ..LogBlockMeta::default() };
        let footer = Footer { meta, ..Footer::default() };
        Ok(Self { out, footer, fronts: Vec::new(), filters: Vec::new() })
    }

    /// Adds a row group as it is; answers its number. Its rows belong to nobody until [`push_run`](Self::push_run).
    pub(crate) fn push_group(&mut self, group: &RowGroup) -> Result<u32, WriteBlockError> {
        let number = u32::try_from(self.footer.groups.len()).map_err(|_| self.too_large("row groups"))?;
        let damaged = |error: RowsError| match error {
            RowsError::Io(source) => WriteBlockError::Io { file: self.out.file.clone(), source },
            RowsError::Damaged { reason } => {
                let source = std::io::Error::new(std::io::ErrorKind::InvalidData, reason);
                WriteBlockError::Io { file: self.out.file.clone(), source }
            }
        };
        let (front, parts) = group.stored().map_err(damaged)?;
        let filter_place = group.filter_place();
        let (parts, filter) = parts.split_at_checked(filter_place.start).unwrap_or((&parts, &[]));
        self.footer.groups.push(Place {
            rows: group.rows(),
            parts: self.out.len,
            parts_len: parts.len() as u64,
            // These two are counted from where fronts and filters begin, until that is known.
            front: self.fronts.len() as u64,
            front_len: front.len() as u32,
            front_checksum: crc32c::crc32c(&front),
            filter: self.filters.len() as u64,
            filter_len: filter.len() as u32,
        });
        self.out.append(parts)?;
        self.fronts.extend_from_slice(&front);
        self.filters.extend_from_slice(filter);
        self.footer.meta.text_bytes += group.text_bytes();
        Ok(number)
    }

    /// Says whose rows these are. Labels ascend from call to call or stay the same; the runs of a stream ascend by their
    /// first line.
    pub(crate) fn push_run(&mut self, labels: &Labels, run: Run) -> Result<(), WriteBlockError> {
        let meta = &mut self.footer.meta;
        meta.lines += u64::from(run.rows.end.saturating_sub(run.rows.start));
        let (first, last) = meta.range.unwrap_or((run.first, run.last));
        meta.range = Some((first.min(run.first), last.max(run.last)));
        match self.footer.streams.last_mut() {
            Some((last, runs)) if last == labels => runs.push(run),
            Some((last, _)) if *last > *labels => {
                return Err(WriteBlockError::Order { file: self.out.file.clone(), series: labels.to_string() });
            }
            Some(_) | None => self.footer.streams.push((labels.clone(), vec![run])),
        }
        Ok(())
    }

    /// Writes the rest and makes the block durable under its name.
    pub(crate) fn finish(mut self) -> Result<LogBlockMeta, WriteBlockError> {
        let fronts = self.out.len;
        self.out.append(&self.fronts)?;
        let filters = self.out.len;
        self.out.append(&self.filters)?;
        for place in &mut self.footer.groups {
            place.front += fronts;
            place.filter += filters;
        }
        self.out.finish(self.footer.put())?;
        Ok(self.footer.meta)
    }

    fn too_large(&self, what: &'static str) -> WriteBlockError {
        WriteBlockError::TooLarge { file: self.out.file.clone(), what, limit: u64::from(u32::MAX) }
    }
}
