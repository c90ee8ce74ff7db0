//! Metrics in memory: compressed chunks by series.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use signal::{Exemplar, MetricMetadata, Sample, TimeRange, Timestamp};

use super::labelled::Labelled;
use super::{Extent, SegmentId, Size};
use crate::chunk::Packed;
use crate::gorilla;

/// Samples per chunk.
const CHUNK: u32 = 120;
/// Exemplars kept per series, the newest arrivals.
const EXEMPLARS: usize = 128;

#[derive(Clone, Debug, Default)]
pub(crate) struct MetricsHead {
    pub(crate) series: Labelled<SeriesHead>,
    pub(crate) metadata: Arc<BTreeMap<String, MetricMetadata>>,
}

/// One series' samples: chunks of any order and overlap, no instant twice.
#[derive(Clone, Debug, Default)]
pub(crate) struct SeriesHead {
    sealed: Arc<Vec<Chunk>>,
    /// Samples in order of time, still growing.
    open: gorilla::Encoder,
    /// Samples older than the end of `open` at their arrival, sorted.
    late: Vec<Sample>,
    /// Where the samples of `open` and `late` are kept.
    segment: SegmentId,
    /// The newest instant of all.
    newest: Option<Timestamp>,
    exemplars: Arc<Vec<(SegmentId, Exemplar)>>,
}

#[derive(Clone, Debug)]
struct Chunk {
    segment: SegmentId,
    first: Timestamp,
    last: Timestamp,
    samples: Packed,
}

impl MetricsHead {
    pub(crate) fn describe(&mut self, metadata: MetricMetadata) {
        Arc::make_mut(&mut self.metadata).insert(metadata.name.clone(), metadata);
    }

    pub(crate) fn size(&self) -> Size {
        let mut size = Size { identities: self.series.len() as u64, ..Size::default() };
        for (_, series) in self.series.iter() {
            size.items += series.count();
            size.extent = Extent::join(size.extent, series.extent());
        }
        size
    }

    pub(crate) fn without(&self, segments: &BTreeSet<SegmentId>) -> Self {
        Self { series: self.series.retain(|series| series.without(segments)), metadata: Arc::clone(&self.metadata) }
    }
}

impl SeriesHead {
    /// Adds a sample of an instant that is not there yet.
    pub(crate) fn push(&mut self, segment: SegmentId, sample: Sample) {
        if self.segment != segment {
            self.seal_open();
            self.seal_late();
            self.segment = segment;
        }
        self.newest = self.newest.max(Some(sample.at));
        if self.open.count() == 0 || sample.at > self.open.last() {
            self.open.push(sample);
            if self.open.count() >= CHUNK {
                self.seal_open();
            }
            return;
        }
        let at = self.late.partition_point(|late| late.at < sample.at);
        self.late.insert(at, sample);
        if self.late.len() >= CHUNK as usize {
            self.seal_late();
        }
    }

    pub(crate) fn push_exemplar(&mut self, segment: SegmentId, exemplar: Exemplar) {
        let exemplars = Arc::make_mut(&mut self.exemplars);
        if exemplars.len() >= EXEMPLARS {
            exemplars.remove(0);
        }
        exemplars.push((segment, exemplar));
    }

    pub(crate) fn has_exemplar(&self, exemplar: &Exemplar) -> bool {
        self.exemplars.iter().any(|(_, known)| {
            known.at == exemplar.at
                && known.value.to_bits() == exemplar.value.to_bits()
                && known.labels == exemplar.labels
        })
    }

    fn seal_open(&mut self) {
        let open = std::mem::take(&mut self.open);
        self.seal(&open);
    }

    fn seal_late(&mut self) {
        let mut encoder = gorilla::Encoder::default();
        self.late.drain(..).for_each(|sample| encoder.push(sample));
        self.seal(&encoder);
    }

    fn seal(&mut self, encoder: &gorilla::Encoder) {
        if encoder.count() == 0 {
            return;
        }
        let (first, last) = (encoder.first(), encoder.last());
        let chunk = Chunk { segment: self.segment, first, last, samples: Packed::new(encoder) };
        Arc::make_mut(&mut self.sealed).push(chunk);
    }

    /// The newest instant, if there is any sample.
    pub(crate) fn newest(&self) -> Option<Timestamp> {
        self.newest
    }

    fn extent(&self) -> Option<Extent> {
        self.pieces().fold(None, |extent, (oldest, newest)| Extent::join(extent, Some(Extent { oldest, newest })))
    }

    /// First and last instant of every chunk, sealed or not.
    fn pieces(&self) -> impl Iterator<Item = (Timestamp, Timestamp)> {
        let open = (self.open.count() > 0).then(|| (self.open.first(), self.open.last()));
        let late = self.late.first().zip(self.late.last()).map(|(first, last)| (first.at, last.at));
        self.sealed.iter().map(|chunk| (chunk.first, chunk.last)).chain(open).chain(late)
    }

    pub(crate) fn count(&self) -> u64 {
        let sealed: u64 = self.sealed.iter().map(|chunk| u64::from(chunk.samples.count())).sum();
        sealed + u64::from(self.open.count()) + self.late.len() as u64
    }

    /// The samples in `range`, ascending, each instant once.
    pub(crate) fn samples(&self, range: TimeRange) -> Vec<Sample> {
        let mut samples = Vec::new();
        let overlaps = |first, last| range.overlaps(&TimeRange::new(first, last));
        for chunk in self.sealed.iter().filter(|chunk| overlaps(chunk.first, chunk.last)) {
            chunk.samples.unpack(&mut samples);
        }
        if self.open.count() > 0 && overlaps(self.open.first(), self.open.last()) {
            gorilla::decode(self.open.bytes(), self.open.count(), &mut samples);
        }
        samples.extend_from_slice(&self.late);
        samples.retain(|sample| range.contains(sample.at));
        if !samples.is_sorted_by(|a, b| a.at < b.at) {
            samples.sort_by_key(|sample| sample.at);
            samples.dedup_by_key(|sample| sample.at);
        }
        samples
    }

    /// Whether a sample may lie in `range`.
    pub(crate) fn may_have(&self, range: TimeRange) -> bool {
        self.pieces().any(|(first, last)| range.overlaps(&TimeRange::new(first, last)))
    }

    pub(crate) fn has_samples(&self, range: TimeRange) -> bool {
        if self.pieces().any(|(first, last)| range.contains(first) || range.contains(last)) {
            return true;
        }
        // Only the middle of a chunk can still lie inside.
        self.pieces().any(|(first, last)| range.overlaps(&TimeRange::new(first, last)))
            && !self.samples(range).is_empty()
    }

    pub(crate) fn exemplars(&self, range: TimeRange) -> Vec<Exemplar> {
        let mut found: Vec<_> = self
            .exemplars
            .iter()
            .filter(|(_, exemplar)| range.contains(exemplar.at))
            .map(|(_, exemplar)| exemplar.clone())
            .collect();
        found.sort_by_key(|exemplar| exemplar.at);
        found
    }

    fn without(&self, segments: &BTreeSet<SegmentId>) -> Option<Self> {
        let mut kept = self.clone();
        if segments.contains(&kept.segment) {
            kept.open = gorilla::Encoder::default();
            kept.late.clear();
        }
        if kept.sealed.iter().any(|chunk| segments.contains(&chunk.segment)) {
            Arc::make_mut(&mut kept.sealed).retain(|chunk| !segments.contains(&chunk.segment));
        }
        if kept.exemplars.iter().any(|(segment, _)| segments.contains(segment)) {
            Arc::make_mut(&mut kept.exemplars).retain(|(segment, _)| !segments.contains(segment));
        }
        kept.newest = kept.extent().map(|extent| extent.newest);
        (kept.count() > 0 || !kept.exemplars.is_empty()).then_some(kept)
    }
}
