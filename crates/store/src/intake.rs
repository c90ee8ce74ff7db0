//! Which samples of a write are new.

use std::collections::HashMap;

use signal::{Exemplar, HistogramSample, Labels, MetricMetadata, Sample, SeriesWrite, Timestamp, WriteBatch};

use crate::errors::{Conflict, OverLimit, Receipt};
use crate::head::metrics::{MetricsHead, SeriesHead};

/// What is to be added to the metrics: no instant twice, nothing that is there already.
#[derive(Debug, Default)]
pub(crate) struct MetricsWrite {
    /// Series the head lacks; their ids follow those of the head.
    pub(crate) new_series: Vec<SeriesHead>,
    /// By series, in order of arrival.
    pub(crate) samples: Vec<(u32, Sample)>,
    /// By series, in order of arrival.
    pub(crate) histograms: Vec<(u32, HistogramSample)>,
    /// By series, in order of arrival.
    pub(crate) exemplars: Vec<(u32, Exemplar)>,
    pub(crate) metadata: Vec<MetricMetadata>,
}

impl MetricsWrite {
    pub(crate) fn is_empty(&self) -> bool {
        self.samples.is_empty() && self.histograms.is_empty() && self.exemplars.is_empty() && self.metadata.is_empty()
    }

    /// The newest instant.
    pub(crate) fn newest(&self) -> Option<Timestamp> {
        let samples = self.samples.iter().map(|(_, sample)| sample.at);
        let histograms = self.histograms.iter().map(|(_, histogram)| histogram.at);
        samples.chain(histograms).chain(self.exemplars.iter().map(|(_, exemplar)| exemplar.at)).max()
    }
}

/// What admission remembers of one call and reuses in the next.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    call: u32,
    /// By series: the call that last added to it, and the newest instant it added.
    newest: Vec<(u32, Timestamp)>,
}

/// What there is to compare with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known<'a> {
    pub(crate) head: &'a MetricsHead,
    /// What is being flushed.
    pub(crate) frozen: Option<&'a MetricsHead>,
    /// Most series the head may hold.
    pub(crate) max_series: u32,
}

/// Compares the batches with what is there and with each other. The first value of an instant wins.
pub(crate) fn admit(
    batches: &[WriteBatch],
    known: Known<'_>,
    scratch: &mut Scratch,
    receipt: &mut Receipt,
) -> MetricsWrite {
    let mut write = MetricsWrite { metadata: changed_metadata(batches, known.head), ..MetricsWrite::default() };
    if batches.iter().all(|batch| batch.series.is_empty()) {
        return write;
    }
    scratch.call = scratch.call.wrapping_add(1);
    if scratch.call == 0 {
        scratch.newest.clear();
        scratch.call = 1;
    }
    let count = batches.iter().map(WriteBatch::sample_count).sum();
    write.samples.reserve(count);
    let index = known.head.index();
    let mut admission =
        Admission { known, scratch, write, receipt, new_ids: HashMap::new(), arrived: HashMap::new(), seen: 0 };
    let mut guess = 0;
    for (batch, writes) in batches.iter().enumerate() {
        for series in &writes.series {
            let id = known.head.find_near(&index, guess, &series.labels);
            match id.or_else(|| admission.new_id(&series.labels)) {
                Some(id) => {
                    guess = id.saturating_add(1);
                    admission.add(batch, id, series);
                }
                None => admission.refuse(batch, series),
            }
        }
    }
    admission.write
}

fn changed_metadata(batches: &[WriteBatch], head: &MetricsHead) -> Vec<MetricMetadata> {
    let mut last: HashMap<&str, &MetricMetadata> = HashMap::new();
    for metadata in batches.iter().flat_map(|batch| &batch.metadata) {
        last.insert(&metadata.name, metadata);
    }
    let changed = last.into_values().filter(|metadata| head.metadata.get(&metadata.name) != Some(metadata));
    let mut changed: Vec<_> = changed.cloned().collect();
    changed.sort_by(|a, b| a.name.cmp(&b.name));
    changed
}

struct Admission<'a> {
    known: Known<'a>,
    scratch: &'a mut Scratch,
    write: MetricsWrite,
    receipt: &'a mut Receipt,
    new_ids: HashMap<Labels, u32>,
    /// Values of this call by series and instant, as far as `seen`. Only filled when an instant is not a new one.
    arrived: HashMap<(u32, Timestamp), f64>,
    seen: usize,
}

/// What is at an instant already.
enum There {
    Nothing,
    Same,
    Other(f64),
}

impl Admission<'_> {
    /// The id a series will have; `None` when there are too many.
    fn new_id(&mut self, labels: &Labels) -> Option<u32> {
        if let Some(id) = self.new_ids.get(labels) {
            return Some(*id);
        }
        let id = self.known.head.len().checked_add(u32::try_from(self.write.new_series.len()).ok()?)?;
        if id >= self.known.max_series {
            return None;
        }
        let flushed = self.known.frozen.and_then(|frozen| frozen.get(frozen.find(labels)?)?.newest());
        self.new_ids.insert(labels.clone(), id);
        self.write.new_series.push(SeriesHead::new(labels.clone(), flushed));
        Some(id)
    }

    fn series(&self, id: u32) -> Option<&SeriesHead> {
        let new = || self.write.new_series.get(id.checked_sub(self.known.head.len())? as usize);
        self.known.head.get(id).or_else(new)
    }

    /// Whether an instant is after everything of its series, which it then is the newest of.
    fn advance(&mut self, id: u32, at: Timestamp) -> bool {
        let place = id as usize;
        if self.scratch.newest.len() <= place {
            self.scratch.newest.resize(place + 1, (0, Timestamp(0)));
        }
        let is_after_known = self.series(id).is_none_or(|series| series.is_new(at));
        let Some((call, newest)) = self.scratch.newest.get_mut(place) else { return false };
        let is_after_arrived = *call != self.scratch.call || at > *newest;
        if is_after_known && is_after_arrived {
            (*call, *newest) = (self.scratch.call, at);
            return true;
        }
        false
    }

    fn add(&mut self, batch: usize, id: u32, series: &SeriesWrite) {
        for sample in &series.samples {
            let there = if self.advance(id, sample.at) { There::Nothing } else { self.sample_at(id, sample) };
            match there {
                There::Nothing => {
                    self.write.samples.push((id, *sample));
                    self.receipt.samples += 1;
                }
                There::Same => self.receipt.duplicates += 1,
                There::Other(kept) => self.conflict(batch, series, sample.at, kept, sample.value),
            }
        }
        for sample in &series.histograms {
            let there = if self.advance(id, sample.at) { There::Nothing } else { self.histogram_at(id, sample) };
            match there {
                There::Nothing => {
                    self.write.histograms.push((id, sample.clone()));
                    self.receipt.histograms += 1;
                }
                There::Same => self.receipt.duplicates += 1,
                There::Other(kept) => self.conflict(batch, series, sample.at, kept, sample.histogram.sum),
            }
        }
        for exemplar in &series.exemplars {
            let is_known = self.series(id).is_some_and(|series| series.has_exemplar(exemplar));
            if !is_known {
                self.write.exemplars.push((id, exemplar.clone()));
                self.receipt.exemplars += 1;
            }
        }
    }

    fn conflict(&mut self, batch: usize, series: &SeriesWrite, at: Timestamp, kept: f64, refused: f64) {
        self.receipt.rejected += 1;
        if self.receipt.conflicts.len() < Receipt::EXAMPLES {
            self.receipt.conflicts.push(Conflict { batch, series: series.labels.to_string(), at, kept, refused });
        }
    }

    fn refuse(&mut self, batch: usize, series: &SeriesWrite) {
        let count = (series.samples.len() + series.histograms.len() + series.exemplars.len()) as u64;
        self.receipt.over_limit += count;
        match self.receipt.refused.last_mut() {
            Some(last) if last.batch == batch => last.items += count,
            Some(_) | None => {
                let series = series.labels.to_string();
                self.receipt.refused.push(OverLimit { batch, items: count, series, limit: self.known.max_series });
            }
        }
    }

    fn sample_at(&mut self, id: u32, sample: &Sample) -> There {
        self.note_arrivals();
        let arrived = self.arrived.get(&(id, sample.at)).copied();
        let there = arrived.or_else(|| {
            let mut heads = self.heads(id);
            heads.find_map(|series| {
                let histogram = || series.histogram_at(sample.at).map(|found| found.histogram.sum);
                series.at(sample.at).map(|found| found.value).or_else(histogram)
            })
        });
        match there {
            None => There::Nothing,
            Some(value) if value.to_bits() == sample.value.to_bits() => There::Same,
            Some(value) => There::Other(value),
        }
    }

    fn histogram_at(&mut self, id: u32, sample: &HistogramSample) -> There {
        self.note_arrivals();
        if let Some(value) = self.arrived.get(&(id, sample.at)) {
            return There::Other(*value);
        }
        let arrived = self.write.histograms.iter().find(|(other, known)| *other == id && known.at == sample.at);
        let arrived = arrived.map(|(_, known)| known);
        let mut heads = self.heads(id);
        match arrived.or_else(|| heads.find_map(|series| series.histogram_at(sample.at))) {
            Some(known) if known.histogram.is_identical(&sample.histogram) => There::Same,
            Some(known) => There::Other(known.histogram.sum),
            None => self
                .heads(id)
                .find_map(|series| series.at(sample.at))
                .map_or(There::Nothing, |found| There::Other(found.value)),
        }
    }

    /// The series as it is in memory, here and in what is being flushed.
    fn heads(&self, id: u32) -> impl Iterator<Item = &SeriesHead> {
        let here = self.series(id);
        let frozen = here.zip(self.known.frozen).and_then(|(series, frozen)| frozen.get(frozen.find(&series.labels)?));
        here.into_iter().chain(frozen)
    }

    fn note_arrivals(&mut self) {
        let rest = self.write.samples.get(self.seen..).unwrap_or_default();
        self.arrived.extend(rest.iter().map(|(id, sample)| ((*id, sample.at), sample.value)));
        self.seen = self.write.samples.len();
    }
}
