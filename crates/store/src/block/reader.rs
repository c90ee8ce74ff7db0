//! An open block.

use std::ops::{Deref, Range};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use signal::{HistogramSample, Labels, Matcher, Sample, TimeRange, Timestamp};

use super::cache::{Instants, Kept, LabelGroup, PageCache, PageKey, Part, TOGETHER};
use super::format::{BlockMeta, FORMAT, Footer};
use super::pages::{Keeping, Pages};
use super::section::{Kind, Piece, Section};
use super::times::{Column, Place};
use super::writer::PLACED;
use super::{floats, histograms, select};
use crate::block_file::{BlockError, Opened, TRAILER};
use crate::disk::{Disk, DiskRead};
use crate::snapshot::Latest;
use crate::wire::{DecodeError, Reader};

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
        let Opened { file, open, len, footer, footer_at } = Opened::open(disk, file, FORMAT)?;
        let footer = Footer::take(&footer);
        let damaged = |error: DecodeError| BlockError::Damaged { file: file.clone(), offset: footer_at, what: error.0 };
        let footer = footer.map_err(damaged)?;
        let block = Self { file, open, len, footer, cache: Arc::clone(cache), id: cache.next_block() };
        block.check_sections(footer_at)?;
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

    /// Bytes on disk.
    pub(crate) fn bytes(&self) -> u64 {
        self.len
    }

    /// Reads every page and checks it, past the cache.
    #[cfg(test)]
    pub(super) fn verify(&self) -> Result<(), BlockError> {
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

    /// The names of the labels of series with something in `range`, of those for which `is_wanted` holds, in order.
    pub(crate) fn label_names(
        &self,
        range: TimeRange,
        is_wanted: impl Fn(&str) -> bool,
    ) -> Result<Vec<String>, BlockError> {
        select::names(self, self.part(range), is_wanted)
    }

    /// The values of a label of series with something in `range`, in order.
    pub(crate) fn label_values(&self, name: &str, range: TimeRange) -> Result<Vec<String>, BlockError> {
        select::values(self, name, self.part(range))
    }

    /// A range that does not have everything that is here.
    fn part(&self, range: TimeRange) -> Option<TimeRange> {
        let own = self.footer.meta.range;
        (!range.contains(own.start) || !range.contains(own.end)).then_some(range)
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
        let own = self.footer.meta.range;
        if !own.overlaps(&range) {
            return Ok(false);
        }
        // No series is without a sample.
        if self.part(range).is_none() && u64::from(series) < self.footer.meta.series {
            return Ok(true);
        }
        self.pages().has_samples(series, range)
    }

    pub(super) fn pages(&self) -> Pages<'_> {
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
        let offset = page.map_or(self.len.saturating_sub(TRAILER as u64), |page| page.offset);
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
    times: Place,
}

/// The pairs of a series and their texts: the next one shares most of them.
#[derive(Debug, Default)]
pub(super) struct Texts {
    pairs: Vec<u32>,
    texts: Vec<(u32, Piece)>,
}

/// Room that reading needs, to be used again.
#[derive(Debug, Default)]
struct Room {
    instants: Vec<i64>,
    whole: Vec<i64>,
    values: Vec<f64>,
}

impl Pages<'_> {
    /// The record of a series, and where it begins.
    fn series(&mut self, series: u32) -> Result<(Piece, u64), BlockError> {
        let block = self.block();
        if u64::from(series) >= block.footer.meta.series {
            return Err(block.damaged(Kind::Series, u64::MAX, DecodeError("a series is not there")));
        }
        let at = match self.next {
            Some((next, at)) if next == series => at,
            Some(_) | None => {
                let mut at = self.number(Kind::SeriesPlaces, u64::from(series / PLACED as u32) * 8)?;
                for _ in 0..series % PLACED as u32 {
                    let (body, len) = self.record_place(Kind::Series, at)?;
                    at = body + len as u64;
                }
                at
            }
        };
        let (record, end) = self.record(Kind::Series, at)?;
        self.next = Some((series.saturating_add(1), end));
        Ok((record, at))
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

    /// The labels of series, as far as the cache has them from there.
    pub(super) fn labels(&mut self, series: &[u32]) -> Result<Vec<Labels>, BlockError> {
        let block = self.block();
        let mut found = Vec::with_capacity(series.len());
        let mut texts = Texts::default();
        let mut group: Option<(usize, Option<LabelGroup>)> = None;
        for series in series {
            let number = *series as usize / TOGETHER;
            let key = PageKey { block: block.id, part: Part::Labels, number: number as u64 };
            if !matches!(&group, Some((at, _)) if *at == number) {
                let kept = match block.cache.get(key) {
                    Some(Kept::Labels(labels, _)) => Some(labels),
                    Some(Kept::Page(_) | Kept::Instants(_) | Kept::Group(..)) | None => None,
                };
                group = Some((number, kept));
            }
            let kept = group.as_ref().and_then(|(_, group)| group.as_ref());
            let place = |group: &LabelGroup| group.get(*series as usize % TOGETHER).and_then(OnceLock::get).cloned();
            if let Some(labels) = kept.and_then(place) {
                found.push(labels);
                continue;
            }
            let labels = self.put_together(*series, &mut texts)?;
            let kept = kept.cloned().unwrap_or_else(|| {
                let new = LabelGroup::default();
                // The others are taken to be as long as this one.
                block.cache.put(key, Kept::Labels(LabelGroup::clone(&new), (labels.bytes() + 64) * TOGETHER));
                new
            });
            if let Some(place) = kept.get(*series as usize % TOGETHER) {
                place.get_or_init(|| labels.clone());
            }
            group = Some((number, Some(kept)));
            found.push(labels);
        }
        Ok(found)
    }

    /// The labels of a series from its record; `texts` are those of the series before.
    pub(super) fn put_together(&mut self, series: u32, texts: &mut Texts) -> Result<Labels, BlockError> {
        let Texts { pairs, texts } = texts;
        self.pairs_of(series, pairs)?;
        texts.truncate(pairs.len());
        for (place, pair) in pairs.iter().enumerate() {
            match texts.get_mut(place) {
                Some((known, _)) if known == pair => {}
                Some(other) => *other = (*pair, self.text(*pair)?),
                None => texts.push((*pair, self.text(*pair)?)),
            }
        }
        let footer = self.block().footer();
        Ok(Labels::from_pairs(texts.iter().map(|(pair, text)| {
            // A text that is not UTF-8 was refused when it was looked up.
            (select::name_of(footer, *pair), std::str::from_utf8(text).unwrap_or_default())
        })))
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
                    let (len, times) = (reader.index()?, Place::take(&mut reader)?);
                    runs.push(Run { kind, at, len, times });
                    at = at.saturating_add(len as u64);
                }
            }
            Ok(runs)
        };
        let taken = take();
        taken.map_err(|error| self.block().damaged(Kind::Series, at, error))
    }

    /// The instants of a run, when it may have one in `range`.
    fn instants<'r>(
        &mut self,
        run: Run,
        range: TimeRange,
        room: &'r mut Vec<i64>,
    ) -> Result<Option<Known<'r>>, BlockError> {
        let block = self.block();
        let Place { at, is_shared } = run.times;
        let key = PageKey { block: block.id, part: Part::Instants, number: at };
        let kept = if is_shared { block.cache.get(key) } else { None };
        if let Some(Kept::Instants(instants)) = kept {
            let ends = instants.first().zip(instants.last());
            let is_near = ends.is_some_and(|(first, last)| *last >= range.start.0 && range.end.0 >= *first);
            return Ok(is_near.then_some(Known::Kept(instants)));
        }
        let (record, _) = self.record(Kind::Times, at)?;
        let damaged = |error| block.damaged(Kind::Times, at, error);
        let column = Column::read(&record).map_err(damaged)?;
        if column.last < range.start || range.end < column.first {
            return Ok(None);
        }
        column.instants(room).map_err(damaged)?;
        if is_shared {
            block.cache.put(key, Kept::Instants(Instants::new(room.clone())));
        }
        Ok(Some(Known::Read(room)))
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
            let Some(instants) = self.instants(run, range, instants)? else { continue };
            let inside = instants.inside(range);
            if inside.is_empty() {
                continue;
            }
            let count = instants.len();
            let piece = self.piece(run.kind, run.at, run.len)?;
            let damaged = |error| self.block().damaged(run.kind, run.at, error);
            let instants = instants.get(inside.clone()).unwrap_or_default().iter().map(|at| Timestamp(*at));
            if run.kind == Kind::Values {
                floats::decode(&piece, count, inside, whole, values).map_err(damaged)?;
                samples.extend(instants.zip(values).map(|(at, value)| Sample { at, value: *value }));
            } else {
                let read = histograms::decode(&piece, count, inside).map_err(damaged)?;
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
                let Some(instants) = self.instants(*run, range, &mut room.instants)? else { continue };
                let Some(last) = instants.inside(range).last() else { continue };
                let at = instants.get(last).map_or(Timestamp::MIN, |at| Timestamp(*at));
                if newest.is_none_or(|newest| newest.3 < at) {
                    newest = Some((*run, instants.len(), last, at));
                }
                break;
            }
        }
        let Some((run, count, last, at)) = newest else { return Ok(None) };
        let piece = self.piece(run.kind, run.at, run.len)?;
        let damaged = |error| self.block().damaged(run.kind, run.at, error);
        if run.kind == Kind::Values {
            let Room { whole, values, .. } = &mut room;
            floats::decode(&piece, count, last..last + 1, whole, values).map_err(damaged)?;
            return Ok(values.last().map(|value| Latest::Sample(Sample { at, value: *value })));
        }
        let read = histograms::decode(&piece, count, last..last + 1).map_err(damaged)?;
        let histogram = read.into_iter().last().map(Arc::new);
        Ok(histogram.map(|histogram| Latest::Histogram(HistogramSample { at, histogram })))
    }

    fn has_samples(&mut self, series: u32, range: TimeRange) -> Result<bool, BlockError> {
        let mut room = Vec::new();
        for run in self.runs(series)? {
            if self.instants(run, range, &mut room)?.is_some_and(|instants| !instants.inside(range).is_empty()) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Instants of a run, from the cache or just read.
enum Known<'a> {
    Kept(Instants),
    Read(&'a [i64]),
}

impl Deref for Known<'_> {
    type Target = [i64];

    fn deref(&self) -> &[i64] {
        match self {
            Self::Kept(instants) => instants,
            Self::Read(instants) => instants,
        }
    }
}

impl Known<'_> {
    /// The places of those in `range`.
    fn inside(&self, range: TimeRange) -> Range<usize> {
        let from = self.partition_point(|at| *at < range.start.0);
        from..self.partition_point(|at| *at <= range.end.0).max(from)
    }
}
