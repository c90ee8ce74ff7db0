//! Writes a block, one series after the other.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use signal::{HistogramSample, Labels, Sample, TimeRange, Timestamp};

use super::format::{BlockMeta, FORMAT, Footer};
use super::postings::PostingsWriter;
use super::section::{Kind, SectionWriter, put_record};
use super::{floats, histograms, times};
use crate::block_file::{BlockOrigin, Output, WriteBlockError};
use crate::disk::Disk;
use crate::wire::{DecodeError, Reader, put_bytes, put_len, put_varint};

/// Most samples of a run, so that long blocks can be entered in the middle.
pub(super) const RUN: usize = 1024;
/// Series that share an entry of their places.
pub(super) const PLACED: usize = 8;

/// One series with all it has in a block.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct BlockSeries {
    /// Identity.
    pub(crate) labels: Labels,
    /// Ascending time, each instant once.
    pub(crate) samples: Vec<Sample>,
    /// Ascending time, each instant once and not among the samples.
    pub(crate) histograms: Vec<HistogramSample>,
}

/// A block in the making. Pages go to the file as they fill up; what is kept in memory is the label index.
#[derive(Debug)]
pub(crate) struct BlockWriter {
    out: Output,
    sections: [SectionWriter; Kind::ALL.len()],
    meta: BlockMeta,
    pairs: Pairs,
    /// For each series its pairs, by order of arrival, and the rest of its record.
    records: Vec<u8>,
    times: times::Shared,
    room: Room,
}

#[derive(Debug, Default)]
struct Room {
    instants: Vec<i64>,
    values: Vec<f64>,
    bytes: Vec<u8>,
    ids: Vec<u32>,
    floats: floats::Scratch,
    histograms: histograms::Scratch,
}

impl BlockWriter {
    /// Begins a block that will be `file`; its directory is there, and nobody else writes there.
    pub(crate) fn create(disk: Arc<dyn Disk>, file: &Path, origin: BlockOrigin) -> Result<Self, WriteBlockError> {
        let out = Output::create(disk, file, FORMAT)?;
        let BlockOrigin { level, sources } = origin;
        let range = TimeRange::new(Timestamp::MAX, Timestamp::MIN);
        Ok(Self {
            out,
            sections: Kind::ALL.map(SectionWriter::new),
            meta: BlockMeta { range, series: 0, samples: 0, histograms: 0, level, sources },
            pairs: Pairs::default(),
            records: Vec::new(),
            times: times::Shared::default(),
            room: Room::default(),
        })
    }

    /// Adds a series; labels ascend from call to call. One without a sample is left out.
    pub(crate) fn push(&mut self, series: &BlockSeries) -> Result<(), WriteBlockError> {
        if series.samples.is_empty() && series.histograms.is_empty() {
            return Ok(());
        }
        let id = self.check(series)?;
        self.pairs.add(&series.labels, id, &mut self.room.ids);
        put_len(&mut self.records, self.room.ids.len());
        self.room.ids.iter().for_each(|id| put_varint(&mut self.records, u64::from(*id)));
        let mut tail = Vec::new();
        self.put_samples(&series.samples, &mut tail);
        self.put_histograms(&series.histograms, &mut tail);
        put_bytes(&mut self.records, &tail);
        self.meta.series += 1;
        self.meta.samples += series.samples.len() as u64;
        self.meta.histograms += series.histograms.len() as u64;
        let ends = [series.samples.first(), series.samples.last()].into_iter().flatten().map(|sample| sample.at);
        let more = [series.histograms.first(), series.histograms.last()].into_iter().flatten().map(|sample| sample.at);
        for at in ends.chain(more) {
            self.meta.range.start = self.meta.range.start.min(at);
            self.meta.range.end = self.meta.range.end.max(at);
        }
        self.flush(false)
    }

    fn check(&self, series: &BlockSeries) -> Result<u32, WriteBlockError> {
        let in_order = series.samples.is_sorted_by(|a, b| a.at < b.at)
            && series.histograms.is_sorted_by(|a, b| a.at < b.at)
            && self.pairs.last.as_ref().is_none_or(|last| *last < series.labels);
        if !in_order {
            return Err(WriteBlockError::Order { file: self.out.file.clone(), series: series.labels.to_string() });
        }
        let limit = u64::from(u32::MAX);
        u32::try_from(self.meta.series)
            .ok()
            .filter(|id| *id < u32::MAX && self.pairs.count < u32::MAX - 1_000)
            .ok_or_else(|| WriteBlockError::TooLarge { file: self.out.file.clone(), what: "series or labels", limit })
    }

    /// Writes runs of samples; the record gets their number, the first one's place, and length and instants of each.
    fn put_samples(&mut self, samples: &[Sample], record: &mut Vec<u8>) {
        let runs = times::runs(samples);
        put_len(record, runs.len());
        if runs.is_empty() {
            return;
        }
        let Self { sections, times, room, .. } = self;
        let Room { instants, values, bytes, floats, .. } = room;
        let [value_section, _, time_section, ..] = sections;
        put_varint(record, value_section.len());
        for run in runs {
            instants.clear();
            instants.extend(run.iter().map(|sample| sample.at.0));
            values.clear();
            values.extend(run.iter().map(|sample| sample.value));
            bytes.clear();
            floats::encode(values, floats, bytes);
            value_section.add(bytes);
            put_len(record, bytes.len());
            times.place(instants, time_section).put(record);
        }
    }

    fn put_histograms(&mut self, samples: &[HistogramSample], record: &mut Vec<u8>) {
        let Self { sections, times, room, .. } = self;
        let Room { instants, bytes, histograms, .. } = room;
        let [_, histogram_section, time_section, ..] = sections;
        let mut runs = Vec::new();
        let mut rest = samples;
        while !rest.is_empty() {
            let (run, after) = rest.split_at_checked(histograms::run_len(rest)).unwrap_or((rest, &[]));
            rest = after;
            runs.push(run);
        }
        put_len(record, runs.len());
        if runs.is_empty() {
            return;
        }
        put_varint(record, histogram_section.len());
        for run in runs {
            instants.clear();
            instants.extend(run.iter().map(|sample| sample.at.0));
            bytes.clear();
            histograms::encode(run, histograms, bytes);
            histogram_section.add(bytes);
            put_len(record, bytes.len());
            times.place(instants, time_section).put(record);
        }
    }

    fn flush(&mut self, is_last: bool) -> Result<(), WriteBlockError> {
        for section in &mut self.sections {
            while let Some(page) = section.next_page(is_last) {
                section.wrote(self.out.len, &page);
                self.out.append(&page)?;
            }
        }
        Ok(())
    }

    /// Writes the index and makes the block durable under its name.
    pub(crate) fn finish(mut self) -> Result<BlockMeta, WriteBlockError> {
        let names = self.put_pairs()?;
        self.put_records(&names.final_ids)?;
        self.flush(true)?;
        if self.meta.series == 0 {
            self.meta.range = TimeRange::new(Timestamp(0), Timestamp(-1));
        }
        let sections = self.sections.map(SectionWriter::finish);
        let footer = Footer { meta: self.meta, names: names.names, pairs: names.pairs, sections };
        let mut bytes = Vec::new();
        footer.put(&mut bytes);
        self.out.finish(bytes)?;
        Ok(footer.meta)
    }

    /// Writes texts, pairs and postings in order of name and value.
    fn put_pairs(&mut self) -> Result<Names, WriteBlockError> {
        let pairs = std::mem::take(&mut self.pairs);
        let mut final_ids = vec![0_u32; pairs.count as usize];
        let mut by_name: Vec<_> = pairs.names.into_iter().collect();
        by_name.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        let mut names = Vec::with_capacity(by_name.len());
        let mut next = 0_u32;
        for (name, values) in by_name {
            names.push((name, next));
            let mut values: Vec<_> = values.into_iter().collect();
            values.sort_unstable_by(|a, b| a.0.cmp(&b.0));
            for (value, pair) in values {
                if let Some(slot) = final_ids.get_mut(pair.id as usize) {
                    *slot = next;
                }
                next += 1;
                let [.., texts, places, postings] = &mut self.sections;
                put_place(places, texts.add(value.as_bytes()), postings.add(&pair.postings.finish()));
                self.flush(false)?;
            }
        }
        let [.., texts, places, postings] = &mut self.sections;
        put_place(places, texts.len(), postings.len());
        Ok(Names { names, pairs: next, final_ids })
    }

    fn put_records(&mut self, final_ids: &[u32]) -> Result<(), WriteBlockError> {
        let records = std::mem::take(&mut self.records);
        let mut reader = Reader::new(&records);
        let mut record = Vec::new();
        for id in 0..self.meta.series {
            record.clear();
            // Our own bytes, written a moment ago.
            let own = || io::Error::other("the writer's own records are damaged");
            let file = self.out.file.clone();
            take_record(&mut reader, final_ids, &mut record)
                .map_err(|_| WriteBlockError::Io { file, source: own() })?;
            let [_, _, _, series, places, ..] = &mut self.sections;
            let at = put_record(series, &record);
            if id % PLACED as u64 == 0 {
                places.add(&at.to_le_bytes());
            }
            self.flush(false)?;
        }
        Ok(())
    }
}

fn put_place(places: &mut SectionWriter, text: u64, postings: u64) {
    places.add(&text.to_le_bytes());
    places.add(&postings.to_le_bytes());
}

fn take_record(reader: &mut Reader<'_>, final_ids: &[u32], record: &mut Vec<u8>) -> Result<(), DecodeError> {
    let labels = reader.index()?;
    put_len(record, labels);
    for _ in 0..labels {
        let id = final_ids.get(reader.index()?).ok_or(DecodeError("a pair is unknown"))?;
        put_varint(record, u64::from(*id));
    }
    record.extend_from_slice(reader.bytes()?);
    Ok(())
}

struct Names {
    names: Vec<(Box<str>, u32)>,
    pairs: u32,
    /// For each pair in order of arrival its number in order of name and value.
    final_ids: Vec<u32>,
}

/// The pairs of name and value so far.
#[derive(Debug, Default)]
struct Pairs {
    names: HashMap<Box<str>, HashMap<Box<str>, Pair>>,
    count: u32,
    /// The series added last and its pairs.
    last: Option<Labels>,
}

#[derive(Debug)]
struct Pair {
    id: u32,
    postings: PostingsWriter,
}

impl Pairs {
    /// Enters a series; `ids` becomes its pairs.
    fn add(&mut self, labels: &Labels, series: u32, ids: &mut Vec<u32>) {
        ids.clear();
        for (name, value) in labels.iter() {
            if !self.names.contains_key(name) {
                self.names.insert(Box::from(name), HashMap::new());
            }
            let Some(values) = self.names.get_mut(name) else { continue };
            if let Some(pair) = values.get_mut(value) {
                pair.postings.push(series);
                ids.push(pair.id);
            } else {
                values.insert(Box::from(value), Pair { id: self.count, postings: PostingsWriter::new(series) });
                ids.push(self.count);
                self.count += 1;
            }
        }
        self.last = Some(labels.clone());
    }
}
