//! The data directory a target begins with, and its checksums. Knows the formats from what is written about them, so that
//! a change in the store is not made here too by accident: then no file of the beginning is read, and [`Written::make`]
//! says so.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use aegis_store::{Disk as _, LineFilter, LineFilterOp, LineSelection, MemoryDisk, Store, StoreSettings};
use signal::{
    AttributeValue, BucketSpan, Buckets, Exemplar, Histogram, HistogramSample, Labels, LogLine, Matcher, MetricKind,
    MetricMetadata, Nanos, Sample, SeriesWrite, Span, SpanEvent, SpanId, SpanKind, SpanLink, SpanStatus, StreamWrite,
    TimeRange, Timestamp, TraceId, WriteBatch, stale_marker,
};

pub const DIR: &str = "/data";

/// What every run begins with.
pub struct Written {
    pub files: Vec<File>,
}

#[derive(Clone)]
pub struct File {
    pub path: PathBuf,
    pub bytes: Vec<u8>,
    checks: Checks,
}

/// Where a file keeps its checksums.
#[derive(Clone)]
enum Checks {
    Segment,
    Manifest,
    Block {
        pages: Vec<Page>,
        footer: usize,
    },
    /// Files that have none.
    Nothing,
}

/// Bytes of the file, and where their checksum stands.
#[derive(Clone, Copy)]
struct Page {
    start: usize,
    end: usize,
    checksum: usize,
}

impl Written {
    /// Two blocks and something not yet in a block, something deleted, logs and traces.
    pub fn make() -> Self {
        let disk = MemoryDisk::new();
        let store = open(&disk);
        for number in 0..6 {
            store.append(&[batch(number)]).expect("an empty disk takes everything");
            if number % 2 == 1 && number < 4 {
                store.flush().expect("an empty disk takes everything");
            }
        }
        let range = TimeRange::new(Timestamp(14_000), Timestamp(16_000));
        store.delete(vec![Matcher::equal("job", "api")], range).expect("an empty disk takes everything");
        store.delete_lines(Timestamp(0), lines(Nanos(1_000_000_001))).expect("an empty disk takes everything");
        store.append(&[batch(7)]).expect("an empty disk takes everything");
        drop(store);
        let mut files: Vec<_> = disk.files().into_iter().filter_map(|path| File::read(&disk, path)).collect();
        assert!(files.iter().filter(|file| matches!(file.checks, Checks::Block { .. })).count() > 1, "blocks");
        assert!(files.iter().any(|file| matches!(file.checks, Checks::Manifest)), "a manifest");
        assert!(files.iter().filter(|file| matches!(file.checks, Checks::Segment)).count() > 2, "segments");
        let disk = MemoryDisk::new();
        for file in &mut files {
            file.mend();
            disk.put(&file.path, file.bytes.clone());
        }
        let problems = open(&disk).status().problems;
        assert!(problems.is_empty(), "an unchanged directory is not damaged: {problems:?}");
        Self { files }
    }
}

fn open(disk: &MemoryDisk) -> Store {
    Store::open(Path::new(DIR), StoreSettings::default(), Arc::new(disk.clone())).expect("a directory of our own opens")
}

impl File {
    fn read(disk: &MemoryDisk, path: PathBuf) -> Option<Self> {
        let bytes = disk.read(&path).ok()?;
        let (bytes, checks) = match bytes.get(..5) {
            Some(b"AEGBL") => unpacked(&bytes)?,
            Some(b"AEGLO") => {
                let end = bytes.len().checked_sub(24)?;
                let footer = u64::from_le_bytes(*bytes.get(end..)?.first_chunk()?) as usize;
                (bytes, Checks::Block { pages: Vec::new(), footer })
            }
            Some(b"AEGMA") => (bytes, Checks::Manifest),
            Some(b"AEGIS") => (bytes, Checks::Segment),
            _ => (bytes, Checks::Nothing),
        };
        Some(Self { path, bytes, checks })
    }

    /// Makes the checksums fit what they stand for.
    pub fn mend(&mut self) {
        match &self.checks {
            Checks::Nothing => {}
            Checks::Segment => {
                self.put_checksum(0, 12, 12);
                let mut at = 16;
                while let Some(length) = self.bytes.get(at..).and_then(|rest| rest.first_chunk()) {
                    let end = at.saturating_add(8).saturating_add(u32::from_le_bytes(*length) as usize);
                    self.put_checksum(at + 8, end, at + 4);
                    at = end;
                }
            }
            Checks::Manifest => {
                let length = self.bytes.len().saturating_sub(20) as u32;
                self.put(12, length);
                self.put_checksum(20, self.bytes.len(), 16);
            }
            Checks::Block { pages, footer } => {
                let footer = *footer;
                let end = self.bytes.len().saturating_sub(24);
                for Page { start, end, checksum } in pages.clone() {
                    self.put_checksum(start, end, checksum);
                }
                self.put_checksum(0, 12, 12);
                self.put_checksum(footer, end, end + 12);
                self.put_checksum(end, end + 16, end + 16);
            }
        }
    }

    /// The checksum of `start..end` at `at`; nothing when the file has become too short.
    fn put_checksum(&mut self, start: usize, end: usize, at: usize) {
        if let Some(checked) = self.bytes.get(start..end) {
            self.put(at, crc32c::crc32c(checked));
        }
    }

    fn put(&mut self, at: usize, number: u32) {
        if let Some(place) = self.bytes.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
            *place = number.to_le_bytes();
        }
    }
}

/// The same block with its pages as they were before packing, so that a changed byte is a changed byte of theirs.
fn unpacked(block: &[u8]) -> Option<(Vec<u8>, Checks)> {
    let end = block.len().checked_sub(24)?;
    let footer = u64::from_le_bytes(*block.get(end..)?.first_chunk()?) as usize;
    let mut from = Bytes { rest: block.get(footer..end)? };
    let mut out = block.get(..16)?.to_vec();
    let (_first, _last) = (from.number()?, from.number()?);
    let (_series, _samples, _histograms, _level) = (from.number()?, from.number()?, from.number()?, from.number()?);
    for _ in 0..from.number()? {
        from.number()?;
    }
    for _ in 0..from.number()? {
        let name = from.number()? as usize;
        from.rest = from.rest.get(name..)?;
        from.number()?;
    }
    let _pairs = from.number()?;
    let mut sections = block.get(footer..end - from.rest.len())?.to_vec();
    let mut pages = Vec::new();
    while !from.rest.is_empty() {
        let length = from.number()?;
        put_number(&mut sections, length);
        // Where the page before ends, in the file there is and in the one to be.
        let (mut place, mut before) = (0, 0);
        for number in 0..length.div_ceil(PAGE) {
            let unpacked = (length - number * PAGE).min(PAGE);
            place += from.number()?;
            let stored = from.number()?;
            from.rest = from.rest.get(4..)?;
            let page = block.get(place as usize..(place + stored) as usize)?;
            place += stored;
            let start = out.len();
            if stored == unpacked {
                out.extend_from_slice(page);
            } else {
                out.extend(zstd::bulk::decompress(page, unpacked as usize).ok()?);
            }
            put_number(&mut sections, start as u64 - before);
            put_number(&mut sections, unpacked);
            pages.push(Page { start, end: out.len(), checksum: sections.len() });
            sections.extend([0; 4]);
            before = out.len() as u64;
        }
    }
    let footer = out.len();
    pages.iter_mut().for_each(|page| page.checksum += footer);
    out.extend_from_slice(&sections);
    out.extend_from_slice(&(footer as u64).to_le_bytes());
    out.extend_from_slice(&(sections.len() as u32).to_le_bytes());
    out.extend([0; 8]);
    out.extend_from_slice(b"AEGE");
    Some((out, Checks::Block { pages, footer }))
}

const PAGE: u64 = 32 * 1024;

struct Bytes<'a> {
    rest: &'a [u8],
}

impl Bytes<'_> {
    /// A number of variable length, seven bits to a byte.
    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.rest.split_first()?;
            self.rest = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        Some(number)
    }
}

fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Something of everything, small enough that no record is packed.
pub fn batch(number: i64) -> WriteBatch {
    let at = Timestamp(number * 15_000);
    let labels = |name, job| Labels::from_pairs([("__name__", name), ("job", job)]);
    let value = number as f64;
    let mut floats = SeriesWrite::new(labels("requests_total", "api"), [Sample { at, value }]);
    floats.samples.push(Sample { at: Timestamp(at.0 + 5_000), value: value + 0.1 });
    if number == 3 {
        floats.samples.push(Sample { at: Timestamp(at.0 + 6_000), value: stale_marker() });
    }
    if number == 4 {
        floats.exemplars.push(Exemplar { labels: Labels::from_pairs([("trace_id", "abc")]), value: 0.5, at });
    }
    let mut native = SeriesWrite::new(labels("seconds", "db"), []);
    native.histograms.push(HistogramSample { at, histogram: Arc::new(histogram(value)) });
    let mut batch = WriteBatch { series: vec![floats, native], ..WriteBatch::default() };
    match number % 3 {
        0 => batch.metadata.push(MetricMetadata {
            name: "requests_total".to_owned(),
            kind: MetricKind::Counter,
            help: "Requests.".to_owned(),
            unit: String::new(),
        }),
        1 => {
            let line = |at, metadata| LogLine { at: Nanos(at), line: format!("line {at}"), metadata };
            batch.streams.push(StreamWrite {
                labels: Labels::from_pairs([("job", "api")]),
                lines: vec![
                    line(number * 1_000_000_000, Labels::empty()),
                    line(number * 1_000_000_000 + 1, Labels::from_pairs([("trace_id", "abc")])),
                ],
            });
        }
        _ => batch.spans.push(span(number)),
    }
    batch
}

/// The lines of the API until an instant, which hold one text and not another.
pub fn lines(end: Nanos) -> LineSelection {
    let filter = |op, text: &str| LineFilter::new(op, text).expect("a text of our own");
    LineSelection {
        matchers: vec![Matcher::equal("job", "api")],
        start: Nanos(0),
        end,
        filters: vec![filter(LineFilterOp::Contains, "line"), filter(LineFilterOp::MatchesNot, "l[0-9]")],
    }
}

fn histogram(value: f64) -> Histogram {
    let buckets = |offset| Buckets {
        spans: vec![BucketSpan { offset, length: 2 }, BucketSpan { offset: 3, length: 1 }],
        counts: vec![value, value + 1.0, 2.0],
    };
    let count = 4.0 * value + 7.0;
    Histogram {
        schema: 3,
        zero_threshold: 0.001,
        zero_count: 1.0,
        count,
        sum: value * 1.5,
        positive: buckets(-2),
        negative: buckets(1),
        ..Histogram::default()
    }
}

fn span(number: i64) -> Span {
    let start = number * 1_000_000_000;
    let list = AttributeValue::List(vec![AttributeValue::Bool(true), AttributeValue::Int(-1)]);
    Span {
        trace: TraceId([number as u8 + 1; 16]),
        id: SpanId([1; 8]),
        parent: None,
        trace_state: String::new(),
        name: "get".to_owned(),
        kind: SpanKind::Server,
        start: Nanos(start),
        end: Nanos(start + 5_000),
        status: SpanStatus::Error,
        status_message: String::new(),
        attributes: vec![("m".to_owned(), AttributeValue::Map(vec![("l".to_owned(), list)]))],
        resource: Arc::new(vec![("service.name".to_owned(), AttributeValue::String("api".to_owned()))]),
        scope_name: String::new(),
        scope_version: String::new(),
        events: vec![SpanEvent { at: Nanos(start + 1), name: "e".to_owned(), attributes: vec![] }],
        links: vec![SpanLink { trace: TraceId([9; 16]), span: SpanId([9; 8]), attributes: vec![] }],
    }
}
