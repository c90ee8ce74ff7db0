//! An open block.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use signal::{Labels, Matcher};

use super::FORMAT;
use super::footer::{Footer, LogBlockMeta, Place, Run};
use crate::block::{Kept, PageCache, PageKey, Part};
use crate::block_file::{BlockError, Opened};
use crate::disk::{Disk, DiskRead};
use crate::index::Index;
use crate::rows::{Parts, RowGroup, RowsError};
use crate::wire::DecodeError;

/// An immutable block of log lines. In memory are its streams and where its row groups are; fronts and filters are kept in
/// the pages' cache, parts come from the file as they are asked for. A file that is removed stays readable here.
#[derive(Debug)]
pub(crate) struct LogBlock {
    file: PathBuf,
    open: Arc<dyn DiskRead>,
    len: u64,
    footer: Footer,
    index: Index,
    cache: Arc<PageCache>,
    id: u64,
}

impl LogBlock {
    /// Opens a block; its header, its footer and where its row groups are have been checked then, the groups not yet.
    pub(crate) fn open(disk: &dyn Disk, file: &Path, cache: &Arc<PageCache>) -> Result<Self, BlockError> {
        let Opened { file, open, len, footer, footer_at } = Opened::open(disk, file, FORMAT)?;
        let damaged = |what| BlockError::Damaged { file: file.clone(), offset: footer_at, what };
        let footer = Footer::take(&footer).map_err(|error| damaged(error.0))?;
        let ends = footer.groups.last().map(|place| {
            let front = place.front.saturating_add(u64::from(place.front_len));
            let filter = place.filter.saturating_add(u64::from(place.filter_len));
            place.parts.saturating_add(place.parts_len).max(front).max(filter)
        });
        if ends.is_some_and(|end| end > footer_at) {
            return Err(damaged("a row group lies beyond the row groups"));
        }
        let mut index = Index::default();
        for (id, (labels, _)) in (0_u32..).zip(&footer.streams) {
            index.add(labels, id);
        }
        let id = cache.next_block();
        Ok(Self { file, open: Arc::from(open), len, footer, index, cache: Arc::clone(cache), id })
    }

    /// What the block says about itself.
    pub(crate) fn meta(&self) -> &LogBlockMeta {
        &self.footer.meta
    }

    /// Bytes on disk.
    pub(crate) fn bytes(&self) -> u64 {
        self.len
    }

    /// Number of row groups.
    #[cfg(test)]
    pub(crate) fn groups(&self) -> u32 {
        self.footer.groups.len() as u32
    }

    /// Every stream with its runs, in order of labels.
    pub(crate) fn streams(&self) -> impl Iterator<Item = (&Labels, &[Run])> {
        self.footer.streams.iter().map(|(labels, runs)| (labels, runs.as_slice()))
    }

    /// Streams all `matchers` allow with their runs, in order of labels.
    pub(crate) fn select(&self, matchers: &[Matcher]) -> impl Iterator<Item = (&Labels, &[Run])> {
        let limit = self.footer.streams.len() as u32;
        let mut ids = self.index.select(matchers, limit);
        ids.sort_unstable();
        let streams = ids.into_iter().filter_map(|id| self.footer.streams.get(id as usize));
        streams.map(|(labels, runs)| (labels, runs.as_slice()))
    }

    /// A row group, to be read part by part.
    pub(crate) fn group(&self, number: u32) -> Result<Arc<RowGroup>, BlockError> {
        let key = PageKey { block: self.id, part: Part::Groups, number: u64::from(number) };
        if let Some(Kept::Group(group, _)) = self.cache.get(key) {
            return Ok(group);
        }
        let damaged = |offset, what| BlockError::Damaged { file: self.file.clone(), offset, what };
        let place = self.footer.groups.get(number as usize).copied();
        let place = place.ok_or_else(|| damaged(0, "a row group is not there"))?;
        let mut front = vec![0; place.front_len as usize];
        let read = self.open.read_at(place.front, &mut front);
        read.map_err(|source| BlockError::Io { file: self.file.clone(), source })?;
        if crc32c::crc32c(&front) != place.front_checksum {
            return Err(damaged(place.front, "a row group does not match its checksum"));
        }
        let source =
            Source { open: Arc::clone(&self.open), cache: Arc::clone(&self.cache), block: self.id, number, place };
        let group = RowGroup::open(&front, Box::new(source));
        let group = group.map_err(|error| match error {
            RowsError::Damaged { reason } => damaged(place.front, reason),
            RowsError::Io(source) => BlockError::Io { file: self.file.clone(), source },
        })?;
        let fits =
            group.filter_place() == (place.parts_len as usize..place.parts_len as usize + place.filter_len as usize);
        if !fits || group.rows() != place.rows {
            return Err(damaged(place.front, "a row group is not what the footer says"));
        }
        let group = Arc::new(group);
        // Names and texts around values take a few times what they take in the front.
        self.cache.put(key, Kept::Group(Arc::clone(&group), front.len() * 4));
        Ok(group)
    }
}

impl Drop for LogBlock {
    fn drop(&mut self) {
        self.cache.forget(self.id);
    }
}

/// Where the parts of a row group are.
#[derive(Debug)]
struct Source {
    open: Arc<dyn DiskRead>,
    cache: Arc<PageCache>,
    block: u64,
    number: u32,
    place: Place,
}

impl Source {
    fn read_at(&self, offset: u64, len: usize) -> Result<Vec<u8>, RowsError> {
        let mut bytes = vec![0; len];
        self.open.read_at(offset, &mut bytes).map_err(RowsError::Io)?;
        Ok(bytes)
    }
}

impl Parts for Source {
    fn read(&self, offset: usize, len: usize) -> Result<Vec<u8>, RowsError> {
        let end = offset.checked_add(len).ok_or(DecodeError("a part lies beyond its group"))? as u64;
        let parts_len = self.place.parts_len;
        if end <= parts_len {
            return self.read_at(self.place.parts + offset as u64, len);
        }
        if end > parts_len + u64::from(self.place.filter_len) {
            return Err(DecodeError("a part lies beyond its group").into());
        }
        // The filter, alone or behind the others.
        let before = usize::try_from(parts_len).unwrap_or(usize::MAX).saturating_sub(offset);
        let mut bytes = self.read_at(self.place.parts + offset as u64, before)?;
        let from = (offset as u64).saturating_sub(parts_len);
        bytes.extend(self.read_at(self.place.filter + from, len - before)?);
        Ok(bytes)
    }

    fn filter(&self, offset: usize, len: usize) -> Result<Arc<Vec<u8>>, RowsError> {
        let key = PageKey { block: self.block, part: Part::Filters, number: u64::from(self.number) };
        if let Some(Kept::Page(page)) = self.cache.get(key) {
            return Ok(page);
        }
        let page = Arc::new(self.read(offset, len)?);
        self.cache.put(key, Kept::Page(Arc::clone(&page)));
        Ok(page)
    }
}
