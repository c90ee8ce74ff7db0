//! Traces in memory: spans by trace id.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use signal::{Span, TimeRange, TraceId};

use super::{Extent, SegmentId, Size};
use crate::Trace;
use crate::pages::Pages;

/// Traces with the ids that find them. Like [`super::labelled::Labelled`], the ids only grow and are shared.
#[derive(Clone, Debug, Default)]
pub(crate) struct TracesHead {
    ids: Arc<RwLock<HashMap<TraceId, u32>>>,
    traces: Pages<TraceHead>,
}

#[derive(Clone, Debug)]
pub(crate) struct TraceHead {
    id: TraceId,
    spans: Vec<(SegmentId, Arc<Span>)>,
}

impl TracesHead {
    pub(crate) fn push(&mut self, segment: SegmentId, span: Arc<Span>) {
        let known = self.find(span.trace);
        let at = known.unwrap_or_else(|| self.add(TraceHead { id: span.trace, spans: Vec::new() }));
        if let Some(trace) = self.traces.get_mut(at) {
            trace.spans.push((segment, span));
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

    /// Traces with a span overlapping `range`, newest start first.
    pub(crate) fn traces(&self, range: TimeRange) -> Vec<Trace> {
        let mut found: Vec<_> = self.traces.iter().filter(|trace| trace.overlaps(range)).map(TraceHead::read).collect();
        let start = |trace: &Trace| trace.spans.first().map(|span| span.start);
        found.sort_by(|a, b| start(b).cmp(&start(a)).then_with(|| a.id.cmp(&b.id)));
        found
    }

    pub(crate) fn size(&self) -> Size {
        let mut size = Size { identities: self.traces.len() as u64, ..Size::default() };
        for trace in self.traces.iter() {
            size.items += trace.spans.len() as u64;
            size.extent = Extent::join(size.extent, trace.extent());
        }
        size
    }

    pub(crate) fn without(&self, segments: &BTreeSet<SegmentId>) -> Self {
        let mut kept = Self::default();
        for trace in self.traces.iter() {
            let spans: Vec<_> =
                trace.spans.iter().filter(|(segment, _)| !segments.contains(segment)).cloned().collect();
            if !spans.is_empty() {
                kept.add(TraceHead { id: trace.id, spans });
            }
        }
        kept
    }
}

impl TraceHead {
    /// The whole trace, spans by start time; a span that was sent twice appears once.
    fn read(&self) -> Trace {
        let mut spans: Vec<_> = self.spans.iter().map(|(_, span)| Arc::clone(span)).collect();
        spans.sort_by_key(|span| (span.start, span.id));
        spans.dedup();
        Trace { id: self.id, spans }
    }

    fn overlaps(&self, range: TimeRange) -> bool {
        self.spans
            .iter()
            .any(|(_, span)| range.overlaps(&TimeRange::new(span.start.to_timestamp(), span.end.to_timestamp())))
    }

    fn extent(&self) -> Option<Extent> {
        self.spans.iter().fold(None, |extent, (_, span)| {
            let span = Extent { oldest: span.start.to_timestamp(), newest: span.end.to_timestamp() };
            Extent::join(extent, Some(span))
        })
    }
}
