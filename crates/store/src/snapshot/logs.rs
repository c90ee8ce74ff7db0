//! Streams of a snapshot, wherever their lines lie.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::Range;
use std::sync::Arc;

use signal::{Labels, LogLine, Matcher, Nanos, TimeRange};

use super::{Snapshot, Stream};
use crate::blocks::OpenBlock;
use crate::blocks::logs::unreadable;
use crate::column::Rows;
use crate::deletion::{DeletedLines, Deletion};
use crate::head::logs::{LineChunk, StreamHead, in_order};
use crate::log_block::{LogBlock, Run};
use crate::retention::Floors;
use crate::rows::{Line, RowGroup, RowsError};

/// One stream of a snapshot, to be read part by part.
#[derive(Clone, Debug)]
pub struct StreamReader {
    labels: Labels,
    start: Nanos,
    end: Nanos,
    parts: Vec<LinePart>,
}

/// Some of a stream's lines, in order of time.
#[derive(Clone, Debug)]
pub struct LinePart {
    source: Source,
    first: Nanos,
    last: Nanos,
    /// Rises with the order of arrival.
    arrival: u32,
    overlaps: bool,
    /// What was deleted among them.
    hidden: Vec<DeletedLines>,
}

#[derive(Clone, Debug)]
enum Source {
    /// Rows of a group in memory, all of them.
    Sealed(Arc<RowGroup>),
    /// Rows of a group in a block.
    Block { block: Arc<OpenBlock<LogBlock>>, group: u32, rows: Range<u32> },
    /// Lines as they came.
    Open(Vec<Arc<LineChunk>>),
}

/// What of a part can be read column by column.
#[derive(Clone, Debug)]
pub struct PartRows {
    /// The row group.
    pub group: Arc<RowGroup>,
    /// Its rows that belong to the part.
    pub rows: Range<u32>,
}

impl StreamReader {
    fn new(labels: &Labels, start: Nanos, end: Nanos) -> Self {
        Self { labels: labels.clone(), start, end, parts: Vec::new() }
    }

    /// Identity.
    #[must_use]
    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    /// The first instant of which lines count; not before the one that was asked for.
    #[must_use]
    pub fn start(&self) -> Nanos {
        self.start
    }

    /// The last instant of which lines count.
    #[must_use]
    pub fn end(&self) -> Nanos {
        self.end
    }

    /// The parts that may have lines from [`start`](Self::start) to [`end`](Self::end), in order of their first lines.
    #[must_use]
    pub fn parts(&self) -> &[LinePart] {
        &self.parts
    }

    /// The lines from [`start`](Self::start) to [`end`](Self::end): ascending, equal instants in order of arrival, no line
    /// twice at the same instant.
    #[must_use]
    pub fn lines(&self) -> Vec<LogLine> {
        let mut lines: Vec<(Nanos, u32, LogLine)> = Vec::new();
        for part in &self.parts {
            let own = part.lines(self.start, self.end);
            lines.extend(own.into_iter().map(|line| (line.at, part.arrival, line)));
        }
        if self.parts.iter().any(|part| part.overlaps) {
            lines.sort_by_key(|(at, arrival, _)| (*at, *arrival));
            drop_repeats(&mut lines);
        }
        lines.into_iter().map(|(_, _, line)| line).collect()
    }

    fn add(&mut self, source: Source, (first, last): (Nanos, Nanos), hidden: Vec<DeletedLines>) {
        let arrival = self.parts.len() as u32;
        self.parts.push(LinePart { source, first, last, arrival, overlaps: false, hidden });
    }

    fn add_block(&mut self, block: &Arc<OpenBlock<LogBlock>>, runs: &[Run], deleted: &[&DeletedLines]) {
        for run in runs {
            let (first, last) = (run.first, run.last);
            if first <= self.end && self.start <= last {
                let concerns = |deleted: &&&DeletedLines| deleted.start <= last && first <= deleted.end;
                let hidden = deleted.iter().filter(concerns).map(|deleted| DeletedLines::clone(deleted)).collect();
                let source = Source::Block { block: Arc::clone(block), group: run.group, rows: run.rows.clone() };
                self.add(source, (first, last), hidden);
            }
        }
    }

    fn add_head(&mut self, stream: &StreamHead) {
        let (start, end) = (self.start, self.end);
        let is_near = |(first, last): (Nanos, Nanos)| first <= end && start <= last;
        for sealed in stream.sealed.iter().filter(|sealed| is_near((sealed.first, sealed.last))) {
            self.add(Source::Sealed(Arc::clone(&sealed.group)), (sealed.first, sealed.last), Vec::new());
        }
        if let Some(bounds) = stream.tail_bounds().filter(|bounds| is_near(*bounds)) {
            self.add(Source::Open(stream.tail.clone()), bounds, Vec::new());
        }
    }

    /// Puts the parts in order of their first lines and marks those that overlap.
    fn finish(mut self) -> Self {
        self.parts.sort_by_key(|part| (part.first, part.arrival));
        let mut until: Option<(Nanos, usize)> = None;
        let mut overlapping = Vec::new();
        for (place, part) in self.parts.iter().enumerate() {
            match until {
                Some((last, before)) if part.first <= last => {
                    overlapping.extend([before, place]);
                    if part.last > last {
                        until = Some((part.last, place));
                    }
                }
                Some(_) | None => until = Some((part.last, place)),
            }
        }
        for place in overlapping {
            self.parts.get_mut(place).into_iter().for_each(|part| part.overlaps = true);
        }
        self
    }

    fn has_any(&self) -> bool {
        self.parts.iter().any(|part| part.has_any(self.start, self.end))
    }
}

impl LinePart {
    /// Time of the earliest line; what was deleted still counts here.
    #[must_use]
    pub fn first(&self) -> Nanos {
        self.first
    }

    /// Time of the latest line; what was deleted still counts here.
    #[must_use]
    pub fn last(&self) -> Nanos {
        self.last
    }

    /// Of two lines at one instant in different parts the one of the smaller number came first.
    #[must_use]
    pub fn arrival(&self) -> u32 {
        self.arrival
    }

    /// Whether another part of the stream has lines of the same time, so that a line may be in both.
    #[must_use]
    pub fn overlaps(&self) -> bool {
        self.overlaps
    }

    /// Most lines there can be.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.source {
            Source::Sealed(group) => group.rows() as usize,
            Source::Block { rows, .. } => rows.len(),
            Source::Open(chunks) => chunks.iter().map(|chunk| chunk.len()).sum(),
        }
    }

    /// Whether there is certainly no line.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The part as rows of a group, when it is one and all of them count: nothing of it was deleted. A block that cannot
    /// be read is noted, and the part is as if it were not there.
    #[must_use]
    pub fn rows(&self) -> Option<PartRows> {
        if !self.hidden.is_empty() {
            return None;
        }
        match &self.source {
            Source::Sealed(group) => Some(PartRows { group: Arc::clone(group), rows: 0..group.rows() }),
            Source::Block { block, group, rows } => Some(PartRows { group: block.group(*group)?, rows: rows.clone() }),
            Source::Open(_) => None,
        }
    }

    /// The part as lines in memory, when it is that: those from `start` to `end`, both inside, in order of time and none
    /// twice.
    #[must_use]
    pub fn open(&self, start: Nanos, end: Nanos) -> Option<Vec<Line<'_>>> {
        match &self.source {
            Source::Open(chunks) if self.hidden.is_empty() => {
                let mut lines = in_order(chunks);
                lines.retain(|line| start <= line.at && line.at <= end);
                Some(lines)
            }
            Source::Open(_) | Source::Sealed(_) | Source::Block { .. } => None,
        }
    }

    /// Notes that rows of the part could not be read, so that the block is named in the store's status.
    pub fn note(&self, error: RowsError) {
        match &self.source {
            Source::Block { block, .. } => block.note(&unreadable(&block.file, error)),
            // What is in memory was made here.
            Source::Sealed(_) | Source::Open(_) => {}
        }
    }

    /// The lines from `start` to `end`, both inside, in order of time; none from a block that cannot be read, which is
    /// noted.
    #[must_use]
    pub fn lines(&self, start: Nanos, end: Nanos) -> Vec<LogLine> {
        let mut lines = match &self.source {
            Source::Sealed(group) => self.read(group, &(0..group.rows()), start, end),
            Source::Block { block, group, rows } => {
                block.group(*group).map(|group| self.read(&group, rows, start, end)).unwrap_or_default()
            }
            Source::Open(chunks) => {
                let inside = in_order(chunks).into_iter().filter(|line| start <= line.at && line.at <= end);
                inside
                    .map(|Line { at, line, metadata }| LogLine {
                        at,
                        line: line.to_owned(),
                        metadata: metadata.clone(),
                    })
                    .collect()
            }
        };
        if !self.hidden.is_empty() {
            lines.retain(|line| !self.hidden.iter().any(|hidden| hidden.means(line.at, &line.line)));
        }
        lines
    }

    fn read(&self, group: &RowGroup, rows: &Range<u32>, start: Nanos, end: Nanos) -> Vec<LogLine> {
        let read = || {
            let (mut from, mut to) = (rows.start as usize, rows.end as usize);
            if self.first < start || end < self.last {
                let times = group.times()?;
                let own = times.get(from..to).unwrap_or_default();
                to = from + own.partition_point(|at| *at <= end.0);
                from += own.partition_point(|at| *at < start.0);
            }
            if from >= to {
                return Ok(Vec::new());
            }
            let mut wanted = Rows::all(group.rows() as usize);
            wanted.retain(from..to);
            group.lines(&wanted)
        };
        read().unwrap_or_else(|error| {
            self.note(error);
            Vec::new()
        })
    }

    /// Whether there is a line between the two instants, both inside.
    fn has_any(&self, start: Nanos, end: Nanos) -> bool {
        let inside = |at: Nanos| start <= at && at <= end;
        if self.hidden.is_empty() && (inside(self.first) || inside(self.last)) {
            return true;
        }
        if self.last < start || end < self.first {
            return false;
        }
        match &self.source {
            Source::Open(chunks) => chunks.iter().any(|chunk| chunk.iter().any(|line| inside(line.at))),
            Source::Sealed(_) | Source::Block { .. } => !self.lines(start, end).is_empty(),
        }
    }
}

/// Keeps the first of equal lines at one instant; `lines` is sorted by time.
fn drop_repeats(lines: &mut Vec<(Nanos, u32, LogLine)>) {
    let mut repeated = BTreeSet::new();
    let mut begin = 0;
    for instant in lines.chunk_by(|a, b| a.0 == b.0) {
        if instant.len() > 1 {
            let mut seen = HashSet::with_capacity(instant.len());
            for (place, (_, _, line)) in instant.iter().enumerate() {
                if !seen.insert((line.line.as_str(), &line.metadata)) {
                    repeated.insert(begin + place);
                }
            }
        }
        begin += instant.len();
    }
    if !repeated.is_empty() {
        let mut place = 0;
        lines.retain(|_| {
            place += 1;
            !repeated.contains(&(place - 1))
        });
    }
}

impl Snapshot {
    /// The streams all `matchers` allow that may have lines from `start` to `end`, both inside, sorted by labels, to be
    /// read part by part. What is no longer kept is left out.
    #[must_use]
    pub fn find_streams(&self, matchers: &[Matcher], start: Nanos, end: Nanos) -> Vec<StreamReader> {
        let logs = &self.head.logs;
        let floors = &logs.blocks.floors;
        let mut found: BTreeMap<Labels, StreamReader> = BTreeMap::new();
        let begin = |labels: &Labels| StreamReader::new(labels, start.max(floors.of(labels)), end);
        for block in logs.blocks.near(TimeRange::new(start.to_timestamp(), end.to_timestamp())) {
            let deletions = logs.blocks.deletions.iter().filter(|deletion| block.is_touched(deletion));
            let deletions: Vec<&Deletion> = deletions.collect();
            for (labels, runs) in block.block.select(matchers) {
                let concerned = deletions.iter().filter(|deletion| deletion.concerns(labels));
                let deleted: Vec<&DeletedLines> = concerned.filter_map(|deletion| deletion.lines.as_ref()).collect();
                let reader = match found.get_mut(labels) {
                    Some(reader) => reader,
                    None => found.entry(labels.clone()).or_insert_with(|| begin(labels)),
                };
                reader.add_block(block, runs, &deleted);
            }
        }
        for head in logs.heads() {
            for (labels, stream) in head.streams.select(matchers) {
                let reader = match found.get_mut(labels) {
                    Some(reader) => reader,
                    None => found.entry(labels.clone()).or_insert_with(|| begin(labels)),
                };
                reader.add_head(stream);
            }
        }
        found.into_values().filter(|reader| !reader.parts.is_empty()).map(StreamReader::finish).collect()
    }

    /// Streams all `matchers` allow with their lines from `start` to `end`, both inside, sorted by labels; those without
    /// a line are left out.
    #[must_use]
    pub fn streams(&self, matchers: &[Matcher], start: Nanos, end: Nanos) -> Vec<Stream> {
        let read = self.find_streams(matchers, start, end).into_iter().map(|reader| {
            let lines = reader.lines().into_iter().map(Arc::new).collect();
            Stream { labels: reader.labels, lines }
        });
        read.filter(|stream| !stream.lines.is_empty()).collect()
    }

    /// Label sets of the streams [`streams`](Self::streams) would answer.
    #[must_use]
    pub fn stream_labels(&self, matchers: &[Matcher], start: Nanos, end: Nanos) -> Vec<Labels> {
        let logs = &self.head.logs;
        let mut sure = Sure { floors: &logs.blocks.floors, start, end, streams: HashSet::new(), is_all: true };
        for block in logs.blocks.near(TimeRange::new(start.to_timestamp(), end.to_timestamp())) {
            let is_touched = logs.blocks.deletions.iter().any(|deletion| block.is_touched(deletion));
            for (labels, runs) in block.block.select(matchers) {
                sure.add(labels, runs.iter().map(|run| (run.first, run.last)), is_touched);
            }
        }
        for head in logs.heads() {
            for (labels, stream) in head.streams.select(matchers) {
                let sealed = stream.sealed.iter().map(|sealed| (sealed.first, sealed.last));
                sure.add(labels, sealed.chain(stream.tail_bounds()), false);
            }
        }
        let mut found: Vec<Labels> = sure.streams.iter().copied().cloned().collect();
        if !sure.is_all {
            let doubtful = self.find_streams(matchers, start, end).into_iter();
            let doubtful = doubtful.filter(|reader| !sure.streams.contains(&reader.labels));
            found.extend(doubtful.filter(StreamReader::has_any).map(|reader| reader.labels));
        }
        found.sort_unstable();
        found
    }
}

/// Streams that have a line between two instants, as far as that can be told without reading.
struct Sure<'a> {
    floors: &'a Floors,
    start: Nanos,
    end: Nanos,
    streams: HashSet<&'a Labels>,
    /// Whether no other stream may have one.
    is_all: bool,
}

impl<'a> Sure<'a> {
    fn add(&mut self, labels: &'a Labels, bounds: impl Iterator<Item = (Nanos, Nanos)>, is_touched: bool) {
        if self.streams.contains(labels) {
            return;
        }
        let start = self.start.max(self.floors.of(labels));
        let inside = |at: Nanos| start <= at && at <= self.end;
        for (first, last) in bounds.filter(|(first, last)| *first <= self.end && start <= *last) {
            if !is_touched && (inside(first) || inside(last)) {
                self.streams.insert(labels);
                return;
            }
            self.is_all = false;
        }
    }
}
