//! Traces in memory: spans by trace id. Spans that have rested for a while are packed.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, PoisonError, RwLock};

use signal::{Nanos, Span, TimeRange, TraceId};

use super::{Extent, SegmentId, Size};
use crate::Trace;
use crate::codec::traces::{decode, encode};
use crate::pages::Pages;

/// Spans that are kept ready to read; the ones that came before are packed.
const READY: usize = 20_000;

/// Traces with the ids that find them. Like [`super::labelled::Labelled`], the ids only grow and are shared.
#[derive(Clone, Debug, Default)]
pub(crate) struct TracesHead {
    ids: Arc<RwLock<HashMap<TraceId, u32>>>,
    traces: Pages<TraceHead>,
    /// Traces that have spans to be packed, in the order in which the first of them came.
    ready: Arc<VecDeque<u32>>,
    ready_spans: usize,
}

#[derive(Clone, Debug)]
struct TraceHead {
    id: TraceId,
    packed: Arc<Vec<Pack>>,
    ready: Vec<Arc<Span>>,
    /// Where the spans of `ready` are kept.
    segment: SegmentId,
    extent: Option<Extent>,
    /// Start of the earliest span.
    start: Nanos,
}

/// Spans of one trace, encoded and, where it helps, compressed.
#[derive(Clone, Debug)]
struct Pack {
    segment: SegmentId,
    count: usize,
    is_compressed: bool,
    bytes: Arc<[u8]>,
}

impl TracesHead {
    pub(crate) fn push(&mut self, segment: SegmentId, span: Arc<Span>) {
        let known = self.find(span.trace);
        let at = known.unwrap_or_else(|| self.add(TraceHead::new(span.trace, segment)));
        let Some(trace) = self.traces.get_mut(at) else { return };
        if trace.segment != segment {
            self.ready_spans -= trace.pack();
            trace.segment = segment;
        }
        if trace.ready.is_empty() {
            Arc::make_mut(&mut self.ready).push_back(at);
        }
        trace.extent = Extent::join(trace.extent, Some(extent(&span)));
        trace.start = trace.start.min(span.start);
        trace.ready.push(span);
        self.ready_spans += 1;
        while self.ready_spans > READY {
            let Some(oldest) = Arc::make_mut(&mut self.ready).pop_front() else { return };
            self.ready_spans -= self.traces.get_mut(oldest).map_or(0, TraceHead::pack);
        }
    }

    fn find(&self, id: TraceId) -> Option<u32> {
        self.ids.read().unwrap_or_else(PoisonError::into_inner).get(&id).copied()
    }

    fn add(&mut self, trace: TraceHead) -> u32 {
        let at = u32::try_from(self.traces.len()).unwrap_or(u32::MAX);
        self.ids.write().unwrap_or_else(PoisonError::into_inner).insert(trace.id, at);
        self.traces.push(trace);
        at
    }

    pub(crate) fn trace(&self, id: TraceId) -> Option<Trace> {
        self.traces.get(self.find(id)?).map(TraceHead::read)
    }

    /// Traces with a span overlapping `range`, newest start first; each is unpacked when its turn comes.
    pub(crate) fn traces(&self, range: TimeRange) -> impl Iterator<Item = Trace> + use<'_> {
        let near = self.traces.iter().filter(move |trace| trace.extent.is_some_and(|extent| extent.overlaps(range)));
        let mut near: Vec<&TraceHead> = near.collect();
        near.sort_by(|a, b| b.start.cmp(&a.start).then_with(|| a.id.cmp(&b.id)));
        let overlaps = move |trace: &Trace| trace.spans.iter().any(|span| extent(span).overlaps(range));
        near.into_iter().map(TraceHead::read).filter(overlaps)
    }

    pub(crate) fn size(&self) -> Size {
        let mut size = Size { identities: self.traces.len() as u64, ..Size::default() };
        for trace in self.traces.iter() {
            size.items += trace.count() as u64;
            size.extent = Extent::join(size.extent, trace.extent);
        }
        size
    }

    pub(crate) fn without(&self, segments: &BTreeSet<SegmentId>) -> Self {
        let mut kept = Self::default();
        for trace in self.traces.iter().filter_map(|trace| trace.without(segments)) {
            let ready = trace.ready.len();
            let at = kept.add(trace);
            if ready > 0 {
                Arc::make_mut(&mut kept.ready).push_back(at);
                kept.ready_spans += ready;
            }
        }
        kept
    }
}

impl TraceHead {
    fn new(id: TraceId, segment: SegmentId) -> Self {
        Self { id, packed: Arc::default(), ready: Vec::new(), segment, extent: None, start: Nanos(i64::MAX) }
    }

    /// Packs the ready spans; answers how many they were.
    fn pack(&mut self) -> usize {
        let count = self.ready.len();
        if count == 0 {
            return 0;
        }
        let spans = std::mem::take(&mut self.ready);
        // Spans nested too deep to be encoded are not admitted.
        let plain = encode(spans.iter().map(|span| &**span)).unwrap_or_default();
        let compressed = snap::raw::Encoder::new().compress_vec(&plain).ok().filter(|bytes| bytes.len() < plain.len());
        let is_compressed = compressed.is_some();
        let bytes = Arc::from(compressed.unwrap_or(plain));
        Arc::make_mut(&mut self.packed).push(Pack { segment: self.segment, count, is_compressed, bytes });
        count
    }

    fn count(&self) -> usize {
        self.packed.iter().map(|pack| pack.count).sum::<usize>() + self.ready.len()
    }

    /// The whole trace, spans by start time; a span that was sent twice appears once.
    fn read(&self) -> Trace {
        let mut spans: Vec<_> = self.packed.iter().flat_map(Pack::unpack).map(Arc::new).collect();
        spans.extend(self.ready.iter().cloned());
        spans.sort_by_key(|span| (span.start, span.id));
        spans.dedup();
        Trace { id: self.id, spans }
    }

    fn without(&self, segments: &BTreeSet<SegmentId>) -> Option<Self> {
        let drops_ready = segments.contains(&self.segment) && !self.ready.is_empty();
        if !drops_ready && !self.packed.iter().any(|pack| segments.contains(&pack.segment)) {
            return Some(self.clone());
        }
        let mut kept = self.clone();
        if drops_ready {
            kept.ready.clear();
        }
        Arc::make_mut(&mut kept.packed).retain(|pack| !segments.contains(&pack.segment));
        let rest = kept.read().spans;
        kept.extent = rest.iter().fold(None, |all, span| Extent::join(all, Some(extent(span))));
        kept.start = rest.first().map_or(Nanos(i64::MAX), |span| span.start);
        (kept.count() > 0).then_some(kept)
    }
}

impl Pack {
    fn unpack(&self) -> Vec<Span> {
        if !self.is_compressed {
            return decode(&self.bytes).unwrap_or_default();
        }
        let plain = snap::raw::Decoder::new().decompress_vec(&self.bytes).unwrap_or_default();
        decode(&plain).unwrap_or_default()
    }
}

fn extent(span: &Span) -> Extent {
    Extent { oldest: span.start.to_timestamp(), newest: span.end.to_timestamp() }
}
