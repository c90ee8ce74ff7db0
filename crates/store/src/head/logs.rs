//! Logs in memory: everything since the last flush, by stream.
//!
//! Lines wait as they came until there are enough of them for a row group. So most of what is here is packed as it will be
//! in a block.

mod chunk;
mod sealing;

use std::collections::HashMap;
use std::sync::Arc;

use signal::{Labels, LogLine, Nanos};
use smallvec::SmallVec;

use super::labelled::Labelled;
use super::{Extent, Size};
use crate::rows::Line;
pub(crate) use chunk::LineChunk;
use sealing::{LATE_BYTES, LATE_LINES, SEAL_BYTES, day_of, seal, without_newest};
pub(crate) use sealing::{SEAL_LINES, Sealed, cuts, in_order, put_in_order};

/// Chunks of fewer lines are put together, so that a stream has few of them.
const SMALL: usize = 16;
/// So many small chunks become one.
const TOGETHER: usize = 32;

/// The streams of one time between two flushes. A copy is cheap and does not change.
#[derive(Clone, Debug, Default)]
pub(crate) struct LogsHead {
    pub(crate) streams: Labelled<StreamHead>,
}

/// One stream's lines.
#[derive(Clone, Debug, Default)]
pub(crate) struct StreamHead {
    /// In order of arrival.
    pub(crate) sealed: Arc<Vec<Sealed>>,
    /// What is not sealed yet, in order of arrival.
    pub(crate) tail: Vec<Arc<LineChunk>>,
    tail_lines: usize,
    tail_bytes: usize,
}

impl LogsHead {
    pub(crate) fn is_empty(&self) -> bool {
        self.streams.len() == 0
    }

    pub(crate) fn size(&self) -> Size {
        let mut size = Size { identities: self.streams.len() as u64, ..Size::default() };
        for (_, stream) in self.streams.iter() {
            size.items += stream.lines();
            size.extent = Extent::join(size.extent, stream.extent());
        }
        size
    }

    /// Splits off what busy streams have waiting for lines that come late: answers all others, and those. They go on
    /// waiting in the next head, so that row groups before and after do not overlap.
    pub(crate) fn split(&self) -> (Self, Vec<(Labels, Vec<LogLine>)>) {
        let (mut older, mut newest) = (self.clone(), Vec::new());
        let is_busy = |stream: &StreamHead| !stream.sealed.is_empty() && stream.tail_lines > 0;
        let busy = (0_u32..).zip(self.streams.iter()).filter(|(_, (_, stream))| is_busy(stream));
        for (id, (labels, stream)) in busy {
            let lines = in_order(&stream.tail);
            let (before, after) = lines.split_at_checked(without_newest(&lines)).unwrap_or_default();
            let owned =
                |line: &Line<'_>| LogLine { at: line.at, line: line.line.to_owned(), metadata: line.metadata.clone() };
            newest.push((labels.clone(), after.iter().map(owned).collect()));
            if let Some(stream) = older.streams.get_mut(id) {
                stream.replace_tail(Arc::new(LineChunk::of(before)));
            }
        }
        (older, newest)
    }

    /// Puts what was prepared for this head into it.
    pub(crate) fn enter(&mut self, arrivals: Arrivals) {
        for arrival in arrivals.streams {
            let id = self.streams.find_or_add(&arrival.labels);
            if let Some(stream) = self.streams.get_mut(id) {
                stream.enter(arrival);
            }
        }
    }
}

impl StreamHead {
    fn enter(&mut self, arrival: Arrival) {
        if !arrival.sealed.is_empty() {
            Arc::make_mut(&mut self.sealed).extend(arrival.sealed);
        }
        if arrival.has_tail {
            self.replace_tail(arrival.chunk);
        } else {
            self.push(arrival.chunk);
        }
    }

    fn replace_tail(&mut self, chunk: Arc<LineChunk>) {
        self.tail.clear();
        (self.tail_lines, self.tail_bytes) = (0, 0);
        if chunk.len() > 0 {
            self.push(chunk);
        }
    }

    fn push(&mut self, chunk: Arc<LineChunk>) {
        self.tail_lines += chunk.len();
        self.tail_bytes += chunk.bytes();
        let is_small = chunk.len() < SMALL;
        self.tail.push(chunk);
        if is_small {
            self.put_small_together();
        }
    }

    fn put_small_together(&mut self) {
        let small = self.tail.iter().rev().take_while(|chunk| chunk.len() < SMALL).count();
        if small < TOGETHER {
            return;
        }
        let chunks = self.tail.split_off(self.tail.len() - small);
        let together: Vec<Line<'_>> = chunks.iter().flat_map(|chunk| chunk.iter()).collect();
        self.tail.push(Arc::new(LineChunk::of(&together)));
    }

    pub(crate) fn lines(&self) -> u64 {
        self.sealed.iter().map(|sealed| u64::from(sealed.group.rows())).sum::<u64>() + self.tail_lines as u64
    }

    /// The earliest and the latest instant of the tail.
    pub(crate) fn tail_bounds(&self) -> Option<(Nanos, Nanos)> {
        let bounds = self.tail.iter().filter_map(|chunk| chunk.bounds());
        bounds.reduce(|one, other| (one.0.min(other.0), one.1.max(other.1)))
    }

    pub(crate) fn extent(&self) -> Option<Extent> {
        let sealed = self.sealed.iter().map(|sealed| (sealed.first, sealed.last));
        sealed.chain(self.tail_bounds()).fold(None, |all, (oldest, newest)| {
            Extent::join(all, Some(Extent { oldest: oldest.to_timestamp(), newest: newest.to_timestamp() }))
        })
    }
}

/// What one write adds to streams, made ready beside the head, so that readers do not wait for it.
#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    streams: Vec<Arrival>,
}

/// What is added to one stream.
#[derive(Debug)]
struct Arrival {
    labels: Labels,
    /// The tail of the stream, when that is to be sealed together with the chunk.
    tail: Option<Vec<Arc<LineChunk>>>,
    /// Without what was sealed.
    chunk: Arc<LineChunk>,
    sealed: Vec<Sealed>,
    /// Whether what was in the tail is here now.
    has_tail: bool,
}

impl Arrivals {
    /// Copies lines of streams, each stream any number of times, as they are to enter `head`.
    pub(crate) fn copy(streams: &[(&Labels, &[LogLine])], head: &LogsHead) -> Self {
        type Parts<'a> = SmallVec<[&'a [LogLine]; 2]>;
        let mut places: HashMap<&Labels, usize> = HashMap::with_capacity(streams.len());
        let mut parts: Vec<(&Labels, Parts<'_>)> = Vec::with_capacity(streams.len());
        for (labels, lines) in streams {
            let place = *places.entry(labels).or_insert(parts.len());
            match parts.get_mut(place) {
                Some((_, parts)) => parts.push(lines),
                None => parts.push((labels, SmallVec::from_slice(&[*lines]))),
            }
        }
        let chunks = parts.into_iter().map(|(labels, parts)| {
            let lines = parts.iter().copied().flatten();
            let bytes = lines.clone().map(|line| line.line.len()).sum();
            let mut chunk = LineChunk::with_capacity(lines.count(), bytes);
            parts.iter().for_each(|lines| chunk.extend(lines));
            (labels.clone(), chunk)
        });
        Self::of(chunks, head)
    }

    /// Chunks of different streams, as they are to enter `head`.
    pub(crate) fn of(chunks: impl IntoIterator<Item = (Labels, LineChunk)>, head: &LogsHead) -> Self {
        let arrival = |(labels, chunk): (Labels, LineChunk)| {
            let stream = head.streams.find(&labels).and_then(|id| head.streams.get(id));
            let (lines, bytes) = stream.map_or((0, 0), |stream| (stream.tail_lines, stream.tail_bytes));
            let is_enough =
                lines + chunk.len() >= SEAL_LINES + LATE_LINES || bytes + chunk.bytes() >= SEAL_BYTES + LATE_BYTES;
            let tail = is_enough.then(|| stream.map(|stream| stream.tail.clone()).unwrap_or_default());
            Arrival { labels, tail, chunk: Arc::new(chunk), sealed: Vec::new(), has_tail: false }
        };
        Self { streams: chunks.into_iter().filter(|(_, chunk)| chunk.len() > 0).map(arrival).collect() }
    }

    /// Seals what is enough for row groups.
    pub(crate) fn seal(&mut self) {
        self.streams.iter_mut().for_each(Arrival::seal);
    }
}

impl Arrival {
    fn seal(&mut self) {
        let Some(mut chunks) = self.tail.take() else { return };
        chunks.push(Arc::clone(&self.chunk));
        let lines = in_order(&chunks);
        let older = lines.get(..without_newest(&lines)).unwrap_or_default();
        let is_of_one_day = older.first().zip(older.last()).is_some_and(|(a, b)| day_of(a.at) == day_of(b.at));
        let mut done = 0;
        for cut in cuts(older, SEAL_LINES) {
            let bytes: usize = cut.iter().map(|line| line.line.len()).sum();
            let is_full = cut.len() >= SEAL_LINES || bytes >= SEAL_BYTES / 4 * 3;
            // The last ones wait for more of their day. Lines of several days at once would leave too much waiting.
            if done + cut.len() == older.len() && !is_full && (is_of_one_day || cut.len() < SEAL_LINES / 4) {
                break;
            }
            self.sealed.extend(seal(cut));
            done += cut.len();
        }
        self.chunk = Arc::new(LineChunk::of(lines.get(done..).unwrap_or_default()));
        self.has_tail = true;
    }
}

#[cfg(test)]
mod tests;
