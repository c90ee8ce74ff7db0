//! An open block.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use signal::{HistogramSample, Labels, Matcher, Sample, TimeRange, Timestamp};

use super::cache::PageCache;
use super::format::{self, BlockMeta, Footer, HeaderFault};
use super::pages::{Keeping, Pages};
use super::section::{Kind, Piece, Section};
use super::times::Column;
use super::writer::PLACED;
use super::{floats, histograms, select};
use crate::disk::{Disk, DiskRead};
use crate::snapshot::Latest;
use crate::wire::{DecodeError, Reader};

/// Why a block, or something in it, cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BlockError {
    /// The bytes are not what was written.
    #[error("`{file}` is damaged at byte {offset}: {what}")]
    Damaged {
        /// The block.
        file: PathBuf,
        /// Where the part in question begins.
        offset: u64,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A newer Aegis wrote it.
    #[error("`{file}` has format version {found}; this version of Aegis reads up to {known}")]
    Version {
        /// The block.
        file: PathBuf,
        /// Version in the file.
        found: u16,
        /// Newest version this build reads.
        known: u16,
    },
    /// The file system refused.
    #[error("cannot read `{file}`")]
    Io {
        /// The block.
        file: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// An immutable block of metrics. In memory are the names of labels and where its pages are; the pages come from the file
/// as they are asked for. A file that is removed stays readable here.
#[derive(Debug)]
pub(crate) struct Block {
    file: PathBuf,
    open: Box<dyn DiskRead>,
    len: u64,
    footer: Footer,
    cache: Arc<PageCache>,
    id: u64,
}

impl Block {
    /// Opens a block; its header, its footer and where its pages are have been checked then, the pages not yet.
    pub(crate) fn open(disk: &dyn Disk, file: &Path, cache: &Arc<PageCache>) -> Result<Self, BlockError> {
        let io = |source| BlockError::Io { file: file.to_owned(), source };
        let damaged = |offset, what| BlockError::Damaged { file: file.to_owned(), offset, what };
        let open = disk.open_read(file).map_err(io)?;
        let len = open.len().map_err(io)?;
        let end = len.checked_sub(format::TRAILER as u64).filter(|end| *end >= format::HEADER as u64);
        let end = end.ok_or_else(|| damaged(0, "it is too short for a block"))?;
        let mut header = [0; format::HEADER];
        open.read_at(0, &mut header).map_err(io)?;
        format::check_header(header).map_err(|fault| match fault {
            HeaderFault::Damaged(what) => damaged(0, what),
            HeaderFault::Version(found) => BlockError::Version { file: file.to_owned(), found, known: format::VERSION },
        })?;
        let mut trailer = [0; format::TRAILER];
        open.read_at(end, &mut trailer).map_err(io)?;
        let (offset, footer_len, checksum) = format::read_trailer(trailer).map_err(|error| damaged(end, error.0))?;
        if offset.checked_add(u64::from(footer_len)) != Some(end) {
            return Err(damaged(end, "the footer does not lie before the end"));
        }
        let mut bytes = vec![0; footer_len as usize];
        open.read_at(offset, &mut bytes).map_err(io)?;
        if crc32c::crc32c(&bytes) != checksum {
            return Err(damaged(offset, "the footer does not match its checksum"));
        }
        let footer = Footer::take(&bytes).map_err(|error| damaged(offset, error.0))?;
        let block = Self { file: file.to_owned(), open, len, footer, cache: Arc::clone(cache), id: cache.next_block() };
        block.check_sections(offset)?;
        Ok(block)
    }

    /// That the sections fit each other and the file, so that nothing later is larger than the file can account for.
    fn check_sections(&self, footer: u64) -> Result<(), BlockError> {
        let damaged = |what| Err(BlockError::Damaged { file: self.file.clone(), offset: footer, what });
        if self.footer.meta.series.div_ceil(PLACED as u64) * 8 != self.section(Kind::SeriesPlaces).len {
            return damaged("the places of series do not fit their number");
        }
        if (u64::from(self.footer.pairs) + 1) * 16 != self.section(Kind::Pairs).len {
            return damaged("the places of labels do not fit their number");
        }
        let last = self.footer.sections.iter().filter_map(|section| section.pages.last());
        if last.map(|page| page.offset.saturating_add(u64::from(page.stored))).any(|end| end > footer) {
            return damaged("a page lies beyond the pages");
        }
        Ok(())
    }

    /// What the block says about itself.
    pub(crate) fn meta(&self) -> &BlockMeta {
        &self.footer.meta
    }

    /// The file.
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// Bytes on disk.
    pub(crate) fn bytes(&self) -> u64 {
        self.len
    }

    /// Bytes in memory, without the pages in the cache.
    pub(crate) fn memory(&self) -> usize {
        let pages: usize = self.footer.sections.iter().map(|section| size_of_val(section.pages.as_slice())).sum();
        let names: usize = self.footer.names.iter().map(|(name, _)| name.len() + 24).sum();
        size_of::<Self>() + pages + names
    }

    /// Reads every page and checks it, past the cache.
    pub(crate) fn verify(&self) -> Result<(), BlockError> {
        for kind in Kind::ALL {
            for number in 0..self.section(kind).pages.len() {
                self.load(kind, number)?;
            }
        }
        Ok(())
    }

    /// The series all `matchers` allow, by number; numbers ascend with the labels.
    pub(crate) fn select(&self, matchers: &[Matcher]) -> Result<Vec<u32>, BlockError> {
        select::select(&mut self.pages(), matchers)
    }

    /// The names of labels in the block, in order.
    pub(crate) fn label_names(&self) -> impl Iterator<Item = &str> {
        self.footer.names.iter().map(|(name, _)| &**name)
    }

    /// The names of labels that the given series have, in order.
    pub(crate) fn label_names_of(&self, series: &[u32]) -> Result<Vec<String>, BlockError> {
        select::names_of(&mut self.pages(), series)
    }

    /// The values of a label in order; with `series` only those that one of them has.
    pub(crate) fn label_values(&self, name: &str, series: Option<&[u32]>) -> Result<Vec<String>, BlockError> {
        select::values(&mut self.pages(), name, series)
    }

    /// The labels of series, in the order in which they are asked for. Asking for many at once is much faster than for
    /// each.
    pub(crate) fn labels(&self, series: &[u32]) -> Result<Vec<Labels>, BlockError> {
        self.pages().labels(series)
    }

    /// Adds what a series has in `range`, in ascending time, staleness markers included.
    pub(crate) fn read(
        &self,
        series: u32,
        range: TimeRange,
        samples: &mut Vec<Sample>,
        histograms: &mut Vec<HistogramSample>,
    ) -> Result<(), BlockError> {
        self.pages().read(series, range, samples, histograms)
    }

    /// The newest that a series has in `range`.
    pub(crate) fn latest(&self, series: u32, range: TimeRange) -> Result<Option<Latest>, BlockError> {
        self.pages().latest(series, range)
    }

    /// Whether a series has anything in `range`.
    pub(crate) fn has_samples(&self, series: u32, range: TimeRange) -> Result<bool, BlockError> {
        if !self.footer.meta.range.overlaps(&range) {
            return Ok(false);
        }
        self.pages().has_samples(series, range)
    }

    fn pages(&self) -> Pages<'_> {
        Pages::new(self, Keeping::All)
    }

    pub(super) fn footer(&self) -> &Footer {
        &self.footer
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }

    pub(super) fn cache(&self) -> &PageCache {
        &self.cache
    }

    pub(super) fn section(&self, kind: Kind) -> &Section {
        static NONE: Section = Section { len: 0, pages: Vec::new() };
        self.footer.sections.get(kind as usize).unwrap_or(&NONE)
    }

    pub(super) fn read_at(&self, offset: u64, bytes: &mut [u8]) -> Result<(), BlockError> {
        let read = self.open.read_at(offset, bytes);
        read.map_err(|source| BlockError::Io { file: self.file.clone(), source })
    }

    /// Damage in a section, told by the page in which it is.
    pub(super) fn damaged(&self, kind: Kind, at: u64, error: DecodeError) -> BlockError {
        let number = usize::try_from(at / super::section::PAGE as u64).unwrap_or(usize::MAX);
        let page = self.section(kind).pages.get(number);
        let offset = page.map_or(self.len.saturating_sub(format::TRAILER as u64), |page| page.offset);
        BlockError::Damaged { file: self.file.clone(), offset, what: error.0 }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.cache.forget(self.id);
    }
}

/// Where a run and its instants are.
#[derive(Clone, Copy, Debug)]
struct Run {
    kind: Kind,
    at: u64,
    len: usize,
    times: u64,
}

/// Room that reading needs, to be used again.
#[derive(Debug, Default)]
struct Room {
    instants: Vec<i64>,
    whole: Vec<i64>,
    values: Vec<f64>,
}

impl Pages<'_> {
    /// The record of a series.
    fn series(&mut self, series: u32) -> Result<(Piece, u64), BlockError> {
        let block = self.block();
        if u64::from(series) >= block.footer.meta.series {
            return Err(block.damaged(Kind::Series, u64::MAX, DecodeError("a series is not there")));
        }
        let mut at = self.number(Kind::SeriesPlaces, u64::from(series / PLACED as u32) * 8)?;
        for _ in 0..series % PLACED as u32 {
            at = self.record(Kind::Series, at)?.1;
        }
        Ok((self.record(Kind::Series, at)?.0, at))
    }

    pub(super) fn pairs_of(&mut self, series: u32, pairs: &mut Vec<u32>) -> Result<(), BlockError> {
        let (record, at) = self.series(series)?;
        let block = self.block();
        pairs.clear();
        let mut reader = Reader::new(&record);
        let mut take = || {
            for _ in 0..reader.count()? {
                let pair = reader.varint()?;
                let pair = u32::try_from(pair).ok().filter(|pair| *pair < block.footer.pairs);
                pairs.push(pair.ok_or(DecodeError("a label is not there"))?);
            }
            Ok(())
        };
        take().map_err(|error| block.damaged(Kind::Series, at, error))
    }

    pub(super) fn labels(&mut self, series: &[u32]) -> Result<Vec<Labels>, BlockError> {
        let mut found = Vec::with_capacity(series.len());
        let mut pairs = Vec::new();
        let mut labels: Vec<(&str, Piece)> = Vec::new();
        let block = self.block();
        for series in series {
            self.pairs_of(*series, &mut pairs)?;
            labels.clear();
            for pair in &pairs {
                labels.push((select::name_of(block.footer(), *pair), self.text(*pair)?));
            }
            found.push(Labels::from_pairs(labels.iter().map(|(name, text)| {
                // A text that is not UTF-8 was refused when it was looked up.
                (*name, std::str::from_utf8(text).unwrap_or_default())
            })));
        }
        Ok(found)
    }

    fn runs(&mut self, series: u32) -> Result<Vec<Run>, BlockError> {
        let (record, at) = self.series(series)?;
        let mut reader = Reader::new(&record);
        let mut take = || {
            for _ in 0..reader.count()? {
                reader.varint()?;
            }
            let mut runs = Vec::new();
            for kind in [Kind::Values, Kind::Histograms] {
                let count = reader.count()?;
                let mut at = if count == 0 { 0 } else { reader.varint()? };
                runs.reserve(count);
                for _ in 0..count {
                    let (len, times) = (reader.index()?, reader.varint()?);
                    runs.push(Run { kind, at, len, times });
                    at = at.saturating_add(len as u64);
                }
            }
            Ok(runs)
        };
        let taken = take();
        taken.map_err(|error| self.block().damaged(Kind::Series, at, error))
    }

    /// Hands the column of a run to `each`.
    fn column<T>(
        &mut self,
        run: Run,
        each: impl FnOnce(Column<'_>) -> Result<T, DecodeError>,
    ) -> Result<T, BlockError> {
        let (record, _) = self.record(Kind::Times, run.times)?;
        let answer = Column::read(&record).and_then(each);
        answer.map_err(|error| self.block().damaged(Kind::Times, run.times, error))
    }

    pub(super) fn read(
        &mut self,
        series: u32,
        range: TimeRange,
        samples: &mut Vec<Sample>,
        histograms: &mut Vec<HistogramSample>,
    ) -> Result<(), BlockError> {
        let mut room = Room::default();
        for run in self.runs(series)? {
            let Room { instants, whole, values } = &mut room;
            let count = self.column(run, |column| {
                if column.last < range.start || range.end < column.first {
                    return Ok(0);
                }
                column.instants(instants)?;
                Ok(column.count)
            })?;
            if count == 0 {
                continue;
            }
            let from = instants.partition_point(|at| *at < range.start.0);
            let to = instants.partition_point(|at| *at <= range.end.0);
            if from >= to {
                continue;
            }
            let piece = self.piece(run.kind, run.at, run.len)?;
            let damaged = |error| self.block().damaged(run.kind, run.at, error);
            let instants = instants.get(from..to).unwrap_or_default().iter().map(|at| Timestamp(*at));
            if run.kind == Kind::Values {
                floats::decode(&piece, count, to, whole, values).map_err(damaged)?;
                let values = values.get(from..to).unwrap_or_default();
                samples.extend(instants.zip(values).map(|(at, value)| Sample { at, value: *value }));
            } else {
                let read = histograms::decode(&piece, count, to).map_err(damaged)?;
                let read = read.into_iter().skip(from);
                let sample = |(at, histogram)| HistogramSample { at, histogram: Arc::new(histogram) };
                histograms.extend(instants.zip(read).map(sample));
            }
        }
        Ok(())
    }

    pub(super) fn latest(&mut self, series: u32, range: TimeRange) -> Result<Option<Latest>, BlockError> {
        let mut newest: Option<(Run, usize, usize, Timestamp)> = None;
        let mut room = Room::default();
        let runs = self.runs(series)?;
        for kind in [Kind::Values, Kind::Histograms] {
            for run in runs.iter().rev().filter(|run| run.kind == kind) {
                let instants = &mut room.instants;
                let place = self.column(*run, |column| {
                    if column.last < range.start || range.end < column.first {
                        return Ok(None);
                    }
                    if column.last <= range.end {
                        return Ok(Some((column.count, column.count, column.last)));
                    }
                    column.instants(instants)?;
                    let wanted = instants.partition_point(|at| *at <= range.end.0);
                    let at = wanted.checked_sub(1).and_then(|last| instants.get(last)).map(|at| Timestamp(*at));
                    Ok(at.filter(|at| *at >= range.start).map(|at| (column.count, wanted, at)))
                })?;
                if let Some((count, wanted, at)) = place {
                    if newest.is_none_or(|newest| newest.3 < at) {
                        newest = Some((*run, count, wanted, at));
                    }
                    break;
                }
            }
        }
        let Some((run, count, wanted, at)) = newest else { return Ok(None) };
        let piece = self.piece(run.kind, run.at, run.len)?;
        let damaged = |error| self.block().damaged(run.kind, run.at, error);
        if run.kind == Kind::Values {
            let Room { whole, values, .. } = &mut room;
            floats::decode(&piece, count, wanted, whole, values).map_err(damaged)?;
            return Ok(values.last().map(|value| Latest::Sample(Sample { at, value: *value })));
        }
        let read = histograms::decode(&piece, count, wanted).map_err(damaged)?;
        let histogram = read.into_iter().last().map(Arc::new);
        Ok(histogram.map(|histogram| Latest::Histogram(HistogramSample { at, histogram })))
    }

    fn has_samples(&mut self, series: u32, range: TimeRange) -> Result<bool, BlockError> {
        let mut instants = Vec::new();
        for run in self.runs(series)? {
            let has = self.column(run, |column| {
                if column.last < range.start || range.end < column.first {
                    return Ok(false);
                }
                if range.contains(column.first) || range.contains(column.last) {
                    return Ok(true);
                }
                column.instants(&mut instants)?;
                Ok(instants.iter().any(|at| range.contains(Timestamp(*at))))
            })?;
            if has {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
