//! Logs in memory: packed chunks of lines by stream.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use signal::{LogLine, Nanos};

use super::labelled::Labelled;
use super::{Extent, SegmentId, Size};
use crate::codec::logs::{put_line, take_line};
use crate::wire::Reader;

/// Lines and bytes at which a chunk is packed.
const CHUNK_LINES: usize = 512;
const CHUNK_BYTES: usize = 64 << 10;

#[derive(Clone, Debug, Default)]
pub(crate) struct LogsHead {
    pub(crate) streams: Labelled<StreamHead>,
}

/// One stream's lines in order of arrival.
#[derive(Clone, Debug, Default)]
pub(crate) struct StreamHead {
    packed: Arc<Vec<Chunk>>,
    open: Vec<Arc<LogLine>>,
    open_bytes: usize,
    /// Where the lines of `open` are kept.
    segment: SegmentId,
}

#[derive(Clone, Debug)]
struct Chunk {
    segment: SegmentId,
    oldest: Nanos,
    newest: Nanos,
    count: u64,
    /// Snappy over the lines one after the other.
    bytes: Arc<[u8]>,
}

impl LogsHead {
    pub(crate) fn size(&self) -> Size {
        let mut size = Size { identities: self.streams.len() as u64, ..Size::default() };
        for (_, stream) in self.streams.iter() {
            size.items += stream.count();
            size.extent = Extent::join(size.extent, stream.extent());
        }
        size
    }

    pub(crate) fn without(&self, segments: &BTreeSet<SegmentId>) -> Self {
        Self { streams: self.streams.retain(|stream| stream.without(segments)) }
    }
}

impl StreamHead {
    pub(crate) fn push(&mut self, segment: SegmentId, line: LogLine) {
        if self.segment != segment {
            self.pack();
            self.segment = segment;
        }
        self.open_bytes += line.line.len();
        self.open.push(Arc::new(line));
        if self.open.len() >= CHUNK_LINES || self.open_bytes >= CHUNK_BYTES {
            self.pack();
        }
    }

    fn pack(&mut self) {
        let Some((oldest, newest)) = extent(&self.open) else { return };
        let mut plain = Vec::with_capacity(self.open_bytes + self.open.len() * 8);
        let mut clock = 0;
        self.open.iter().for_each(|line| put_line(&mut plain, line, &mut clock));
        // Snappy refuses only inputs beyond 4 GiB; such a chunk stays open until the next line.
        let Ok(bytes) = snap::raw::Encoder::new().compress_vec(&plain) else { return };
        let count = self.open.len() as u64;
        let chunk = Chunk { segment: self.segment, oldest, newest, count, bytes: Arc::from(bytes) };
        Arc::make_mut(&mut self.packed).push(chunk);
        self.open.clear();
        self.open_bytes = 0;
    }

    fn count(&self) -> u64 {
        self.packed.iter().map(|chunk| chunk.count).sum::<u64>() + self.open.len() as u64
    }

    fn extent(&self) -> Option<Extent> {
        let packed = self.packed.iter().map(|chunk| (chunk.oldest, chunk.newest));
        packed.chain(extent(&self.open)).fold(None, |all, (oldest, newest)| {
            let one = Extent { oldest: oldest.to_timestamp(), newest: newest.to_timestamp() };
            Extent::join(all, Some(one))
        })
    }

    /// The lines between two instants, both inside: ascending, equal instants in order of arrival, no line twice at
    /// the same instant.
    pub(crate) fn lines(&self, start: Nanos, end: Nanos) -> Vec<Arc<LogLine>> {
        let mut lines = Vec::new();
        for chunk in self.packed.iter().filter(|chunk| chunk.oldest <= end && start <= chunk.newest) {
            lines.extend(chunk.unpack().into_iter().filter(|line| start <= line.at && line.at <= end).map(Arc::new));
        }
        lines.extend(self.open.iter().filter(|line| start <= line.at && line.at <= end).cloned());
        lines.sort_by_key(|line| line.at);
        drop_repeats(&mut lines);
        lines
    }

    pub(crate) fn has_lines(&self, start: Nanos, end: Nanos) -> bool {
        let inside = |at: Nanos| start <= at && at <= end;
        if self.open.iter().any(|line| inside(line.at)) {
            return true;
        }
        if self.packed.iter().any(|chunk| inside(chunk.oldest) || inside(chunk.newest)) {
            return true;
        }
        // Only the middle of a chunk can still lie inside.
        let mut around = self.packed.iter().filter(|chunk| chunk.oldest <= end && start <= chunk.newest);
        around.any(|chunk| chunk.unpack().iter().any(|line| inside(line.at)))
    }

    fn without(&self, segments: &BTreeSet<SegmentId>) -> Option<Self> {
        let mut kept = self.clone();
        if segments.contains(&kept.segment) {
            kept.open.clear();
            kept.open_bytes = 0;
        }
        if kept.packed.iter().any(|chunk| segments.contains(&chunk.segment)) {
            Arc::make_mut(&mut kept.packed).retain(|chunk| !segments.contains(&chunk.segment));
        }
        (kept.count() > 0).then_some(kept)
    }
}

impl Chunk {
    fn unpack(&self) -> Vec<LogLine> {
        let plain = snap::raw::Decoder::new().decompress_vec(&self.bytes).unwrap_or_default();
        let mut reader = Reader::new(&plain);
        let mut clock = 0;
        (0..self.count).map_while(|_| take_line(&mut reader, &mut clock).ok()).collect()
    }
}

fn extent(lines: &[Arc<LogLine>]) -> Option<(Nanos, Nanos)> {
    let times = lines.iter().map(|line| line.at);
    times.clone().min().zip(times.max())
}

/// Keeps the first of equal lines at one instant; `lines` is sorted by time.
fn drop_repeats(lines: &mut Vec<Arc<LogLine>>) {
    if lines.is_sorted_by(|a, b| a.at < b.at) {
        return;
    }
    let mut kept = Vec::with_capacity(lines.len());
    for instant in lines.chunk_by(|a, b| a.at == b.at) {
        let mut seen = HashSet::new();
        kept.extend(instant.iter().filter(|line| instant.len() == 1 || seen.insert(line.line.as_str())).cloned());
    }
    *lines = kept;
}
