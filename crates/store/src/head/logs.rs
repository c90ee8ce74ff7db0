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
pub(crate) use chunk::LineChunk;
use sealing::SEAL_BYTES;
pub(crate) use sealing::{SEAL_LINES, Sealed, cuts, in_order, put_in_order, seal};

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
        if arrival.has_tail {
            self.tail.clear();
            (self.tail_lines, self.tail_bytes) = (0, 0);
        }
        if !arrival.sealed.is_empty() {
            Arc::make_mut(&mut self.sealed).extend(arrival.sealed);
        }
        if arrival.chunk.len() > 0 {
            self.push(arrival.chunk);
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
        let mut chunks = self.tail.split_off(self.tail.len() - small);
        let (lines, bytes) = measure(&chunks);
        let mut together = LineChunk::with_capacity(lines, bytes);
        for chunk in chunks.drain(..) {
            chunk.iter().for_each(|line| together.push(line.at, line.line, line.metadata));
        }
        self.tail.push(Arc::new(together));
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

fn measure(chunks: &[Arc<LineChunk>]) -> (usize, usize) {
    chunks.iter().fold((0, 0), |(lines, bytes), chunk| (lines + chunk.len(), bytes + chunk.bytes()))
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
            let is_enough = lines + chunk.len() >= SEAL_LINES || bytes + chunk.bytes() >= SEAL_BYTES;
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
        let mut rest = LineChunk::default();
        let mut cuts = cuts(&lines, SEAL_LINES).peekable();
        while let Some(cut) = cuts.next() {
            let bytes = cut.iter().map(|line| line.line.len()).sum();
            // The newest wait for more of their kind.
            if cuts.peek().is_none() && cut.len() < SEAL_LINES && bytes < SEAL_BYTES {
                rest = LineChunk::with_capacity(cut.len(), bytes);
                cut.iter().for_each(|line| rest.push(line.at, line.line, line.metadata));
            } else {
                self.sealed.extend(seal(cut));
            }
        }
        self.chunk = Arc::new(rest);
        self.has_tail = true;
    }
}

#[cfg(test)]
mod tests;
