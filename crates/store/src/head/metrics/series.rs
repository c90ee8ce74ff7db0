//! One series in memory.

use std::sync::Arc;

use signal::{Exemplar, HistogramSample, Labels, Sample, TimeRange, Timestamp};

use crate::chunk::Chunk;
use crate::head::Extent;

/// Samples that wait unpacked.
const TAIL: usize = 32;
/// Samples a chunk grows to.
const CHUNK: usize = 128;
/// Late samples that wait unpacked.
const LATE: usize = 128;
/// Exemplars kept per series, the newest arrivals.
pub(crate) const EXEMPLARS: usize = 128;

/// One series' samples since the last flush: no instant twice.
#[derive(Clone, Debug)]
pub(crate) struct SeriesHead {
    pub(crate) labels: Labels,
    /// The newest samples in order of time.
    tail: Vec<Sample>,
    /// Packed samples, in order of arrival; those of late ones overlap others.
    chunks: Option<Arc<Vec<Chunk>>>,
    /// What few series have.
    rare: Option<Box<Rare>>,
    /// The newest instant, also of what was flushed.
    newest: Timestamp,
}

/// Memory that is used again from one sample to the next.
#[derive(Debug, Default)]
pub(crate) struct Room {
    samples: Vec<Sample>,
    bytes: Vec<u8>,
}

#[derive(Clone, Debug, Default)]
struct Rare {
    /// Samples older than others at their arrival, in order of time.
    late: Vec<Sample>,
    /// In order of time.
    histograms: Arc<Vec<HistogramSample>>,
    /// In order of arrival.
    exemplars: Arc<Vec<Exemplar>>,
}

impl SeriesHead {
    /// A series without samples; `newest` is the newest instant known from before.
    pub(crate) fn new(labels: Labels, newest: Option<Timestamp>) -> Self {
        Self { labels, tail: Vec::new(), chunks: None, rare: None, newest: newest.unwrap_or(Timestamp(i64::MIN)) }
    }

    /// Whether an instant is after everything there is, here and in what was flushed before.
    pub(crate) fn is_new(&self, at: Timestamp) -> bool {
        at > self.newest
    }

    /// The newest instant, if there is any.
    pub(crate) fn newest(&self) -> Option<Timestamp> {
        (self.newest.0 > i64::MIN).then_some(self.newest)
    }

    /// Adds a sample of an instant that is not there yet.
    pub(crate) fn push(&mut self, sample: Sample, room: &mut Room) {
        // What is after everything needs no look at what there is.
        if self.is_new(sample.at) {
            self.newest = sample.at;
            return self.push_in_order(sample, room);
        }
        let end = self.tail.last().map(|last| last.at).or_else(|| self.chunks().last().map(Chunk::last));
        if end.is_none_or(|end| sample.at > end) {
            return self.push_in_order(sample, room);
        }
        let late = &mut self.rare().late;
        late.insert(late.partition_point(|other| other.at < sample.at), sample);
        if late.len() >= LATE {
            let packed = Chunk::pack(&std::mem::take(late), &mut room.bytes);
            // In front, so that the last chunk stays the one that ends latest.
            packed.into_iter().for_each(|chunk| self.chunks_mut().insert(0, chunk));
        }
    }

    fn push_in_order(&mut self, sample: Sample, room: &mut Room) {
        self.tail.push(sample);
        if self.tail.len() >= TAIL {
            self.pack_tail(room);
        }
    }

    /// Packs the tail, together with the last chunk when there is room in that.
    fn pack_tail(&mut self, room: &mut Room) {
        let mut tail = std::mem::take(&mut self.tail);
        let chunks = self.chunks_mut();
        let has_room = |last: &&mut Chunk| last.count() + tail.len() <= CHUNK;
        let goes_on = |last: &&mut Chunk| tail.first().is_some_and(|first| last.last() < first.at);
        if let Some(last) = chunks.last_mut().filter(has_room).filter(goes_on) {
            let joined = last.extended(&tail, &mut room.bytes).or_else(|| {
                room.samples.clear();
                last.unpack(&mut room.samples);
                room.samples.extend_from_slice(&tail);
                Chunk::pack(&room.samples, &mut room.bytes)
            });
            joined.into_iter().for_each(|joined| *last = joined);
        } else {
            chunks.extend(Chunk::pack(&tail, &mut room.bytes));
        }
        // The next samples find their memory ready.
        tail.clear();
        self.tail = tail;
    }

    /// Adds a native histogram of an instant that is not there yet.
    pub(crate) fn push_histogram(&mut self, histogram: HistogramSample) {
        self.newest = self.newest.max(histogram.at);
        let histograms = Arc::make_mut(&mut self.rare().histograms);
        histograms.insert(histograms.partition_point(|other| other.at < histogram.at), histogram);
    }

    pub(crate) fn push_exemplar(&mut self, exemplar: Exemplar) {
        let exemplars = Arc::make_mut(&mut self.rare().exemplars);
        if exemplars.len() >= EXEMPLARS {
            exemplars.remove(0);
        }
        exemplars.push(exemplar);
    }

    pub(crate) fn has_exemplar(&self, exemplar: &Exemplar) -> bool {
        self.exemplars().iter().any(|known| {
            known.at == exemplar.at
                && known.value.to_bits() == exemplar.value.to_bits()
                && known.labels == exemplar.labels
        })
    }

    /// In order of arrival.
    pub(crate) fn exemplars(&self) -> &[Exemplar] {
        self.rare.as_ref().map_or(&[], |rare| &rare.exemplars)
    }

    /// The same series with nothing but its exemplars, if it has any.
    pub(crate) fn emptied(&self) -> Option<Self> {
        let exemplars = self.rare.as_ref().filter(|rare| !rare.exemplars.is_empty())?;
        let rare = Rare { exemplars: Arc::clone(&exemplars.exemplars), ..Rare::default() };
        Some(Self { rare: Some(Box::new(rare)), ..Self::new(self.labels.clone(), self.newest()) })
    }

    fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    fn chunks(&self) -> &[Chunk] {
        self.chunks.as_ref().map_or(&[], |chunks| chunks)
    }

    fn chunks_mut(&mut self) -> &mut Vec<Chunk> {
        Arc::make_mut(self.chunks.get_or_insert_default())
    }

    fn late(&self) -> &[Sample] {
        self.rare.as_ref().map_or(&[], |rare| &rare.late)
    }

    fn histograms(&self) -> &[HistogramSample] {
        self.rare.as_ref().map_or(&[], |rare| &rare.histograms)
    }

    pub(crate) fn count(&self) -> u64 {
        let chunks: usize = self.chunks().iter().map(Chunk::count).sum();
        (chunks + self.tail.len() + self.late().len() + self.histograms().len()) as u64
    }

    pub(crate) fn extent(&self) -> Option<Extent> {
        let ends = |slice: &[Sample]| slice.first().zip(slice.last()).map(|(first, last)| (first.at, last.at));
        let histograms = self.histograms();
        let histograms = histograms.first().zip(histograms.last()).map(|(first, last)| (first.at, last.at));
        let chunks = self.chunks().iter().map(|chunk| (chunk.first(), chunk.last()));
        let pieces = chunks.chain(ends(&self.tail)).chain(ends(self.late())).chain(histograms);
        pieces.fold(None, |extent, (oldest, newest)| Extent::join(extent, Some(Extent { oldest, newest })))
    }

    /// Adds what lies in `range` to the lists: ascending time, each instant once, when `samples` was empty.
    pub(crate) fn read(&self, range: TimeRange, samples: &mut Vec<Sample>, histograms: &mut Vec<HistogramSample>) {
        for chunk in self.chunks().iter().filter(|chunk| chunk.overlaps(range)) {
            chunk.unpack(samples);
        }
        // The tail is after every chunk in order, so that only its beginning and end can be outside.
        samples.extend_from_slice(within(&self.tail, range));
        if !self.late().is_empty() {
            samples.extend_from_slice(within(self.late(), range));
        }
        put_in_order(samples, range);
        let inside = self.histograms();
        let from = inside.partition_point(|histogram| !is_from(histogram.at, range));
        let rest = inside.get(from..).unwrap_or_default();
        histograms.extend(rest.iter().take_while(|histogram| range.contains(histogram.at)).cloned());
    }

    /// The value of an instant, if it is there.
    pub(crate) fn at(&self, at: Timestamp) -> Option<Sample> {
        let mut samples = Vec::new();
        self.read(TimeRange::new(at, at), &mut samples, &mut Vec::new());
        samples.first().copied()
    }

    /// The native histogram of an instant, if it is there.
    pub(crate) fn histogram_at(&self, at: Timestamp) -> Option<&HistogramSample> {
        let histograms = self.histograms();
        histograms.binary_search_by_key(&at, |histogram| histogram.at).ok().and_then(|found| histograms.get(found))
    }

    /// The newest sample in `range`. `scratch` is for unpacking.
    pub(crate) fn latest(&self, range: TimeRange, scratch: &mut Vec<Sample>) -> Option<Sample> {
        let tail = within(&self.tail, range).last().copied();
        // Packed samples that came late may lie among those of the tail.
        let is_after_all = |tail: &Sample| self.chunks().iter().all(|chunk| chunk.last() < tail.at);
        if self.late().is_empty() && tail.as_ref().is_some_and(is_after_all) {
            return tail;
        }
        let mut latest = tail.max_by_at(within(self.late(), range).last().copied());
        for chunk in self.chunks().iter().rev().filter(|chunk| chunk.overlaps(range)) {
            if latest.is_some_and(|latest| latest.at >= chunk.last()) {
                continue;
            }
            scratch.clear();
            chunk.unpack(scratch);
            latest = latest.max_by_at(within(scratch, range).last().copied());
        }
        latest
    }

    /// The newest native histogram in `range`.
    pub(crate) fn latest_histogram(&self, range: TimeRange) -> Option<&HistogramSample> {
        let histograms = self.histograms();
        let end = histograms.partition_point(|histogram| is_until(histogram.at, range));
        histograms.get(..end).and_then(<[_]>::last).filter(|last| range.contains(last.at))
    }

    /// Whether there is anything in `range`.
    pub(crate) fn has_any(&self, range: TimeRange) -> bool {
        let within_chunks = || {
            let mut near = self.chunks().iter().filter(|chunk| chunk.overlaps(range));
            near.any(|chunk| {
                range.contains(chunk.first()) || range.contains(chunk.last()) || {
                    let mut samples = Vec::new();
                    chunk.unpack(&mut samples);
                    !within(&samples, range).is_empty()
                }
            })
        };
        !within(&self.tail, range).is_empty()
            || !within(self.late(), range).is_empty()
            || self.latest_histogram(range).is_some()
            || within_chunks()
    }
}

/// The later of two, if any.
trait MaxByAt {
    fn max_by_at(self, other: Self) -> Self;
}

impl MaxByAt for Option<Sample> {
    fn max_by_at(self, other: Self) -> Self {
        match (self, other) {
            (Some(one), Some(other)) => Some(if other.at > one.at { other } else { one }),
            (one, other) => one.or(other),
        }
    }
}

fn is_from(at: Timestamp, range: TimeRange) -> bool {
    at >= range.start
}

fn is_until(at: Timestamp, range: TimeRange) -> bool {
    at <= range.end
}

/// The part of ordered samples that lies in `range`.
pub(crate) fn within(samples: &[Sample], range: TimeRange) -> &[Sample] {
    let from = samples.partition_point(|sample| !is_from(sample.at, range));
    let to = samples.partition_point(|sample| is_until(sample.at, range));
    samples.get(from..to).unwrap_or_default()
}

/// Sorts, drops what is outside and leaves each instant once: the value that stood first.
pub(crate) fn put_in_order(samples: &mut Vec<Sample>, range: TimeRange) {
    if !samples.is_sorted_by(|a, b| a.at < b.at) {
        samples.sort_by_key(|sample| sample.at);
        samples.dedup_by_key(|sample| sample.at);
    }
    let to = samples.partition_point(|sample| is_until(sample.at, range));
    samples.truncate(to);
    let from = samples.partition_point(|sample| !is_from(sample.at, range));
    samples.drain(..from);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn read(series: &SeriesHead, range: TimeRange) -> Vec<(i64, f64)> {
        let mut samples = Vec::new();
        series.read(range, &mut samples, &mut Vec::new());
        samples.iter().map(|sample| (sample.at.0, sample.value)).collect()
    }

    proptest! {
        #[test]
        fn any_order_reads_like_a_sorted_map(
            times in proptest::collection::vec(0_i64..3000, 0..600),
            sorted in any::<bool>(),
            from in -10_i64..3010,
            length in 0_i64..3010,
        ) {
            let mut times = times;
            if sorted {
                times.sort_unstable();
            }
            let mut series = SeriesHead::new(Labels::empty(), None);
            let (mut known, mut room) = (BTreeMap::new(), Room::default());
            for (value, at) in times.into_iter().enumerate() {
                let value = value as f64;
                if let std::collections::btree_map::Entry::Vacant(place) = known.entry(at) {
                    prop_assert!(series.at(Timestamp(at)).is_none());
                    place.insert(value);
                    series.push(Sample { at: Timestamp(at), value }, &mut room);
                } else {
                    prop_assert!(series.at(Timestamp(at)).is_some());
                }
            }
            let range = TimeRange::new(Timestamp(from), Timestamp(from + length));
            let want: Vec<_> = known.range(from..=from + length).map(|(at, value)| (*at, *value)).collect();
            prop_assert_eq!(&read(&series, range), &want);
            prop_assert_eq!(series.has_any(range), !want.is_empty());
            let latest = series.latest(range, &mut Vec::new()).map(|sample| (sample.at.0, sample.value));
            prop_assert_eq!(latest, want.last().copied());
            prop_assert_eq!(series.count(), known.len() as u64);
            prop_assert_eq!(series.newest().map(|at| at.0), known.keys().next_back().copied());
        }
    }
}
