//! Which samples of a write are new.

use std::collections::HashMap;

use signal::{Exemplar, HistogramSample, Labels, MetricMetadata, Sample, SeriesWrite, Timestamp, WriteBatch};

use crate::errors::{Amounts, Conflict, OverLimit, Receipt};
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
    /// By series, a bit: whether this call has added to it.
    is_added: Vec<u64>,
    /// The words of `is_added` that have a bit set.
    words: Vec<u32>,
}

impl Scratch {
    fn clear(&mut self) {
        for word in self.words.drain(..) {
            self.is_added.get_mut(word as usize).into_iter().for_each(|word| *word = 0);
        }
    }

    /// Notes that this call adds to the series; answers whether it did before.
    fn note(&mut self, id: u32) -> bool {
        let (place, bit) = (id as usize / 64, 1_u64 << (id % 64));
        if self.is_added.len() <= place {
            self.is_added.resize(place + 1, 0);
        }
        let Some(word) = self.is_added.get_mut(place) else { return true };
        if *word == 0 {
            self.words.push(id / 64);
        }
        let was_added = *word & bit != 0;
        *word |= bit;
        was_added
    }
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
    scratch.clear();
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

    fn add(&mut self, batch: usize, id: u32, series: &SeriesWrite) {
        let was_added = self.scratch.note(id);
        // The newest instant of these very samples, as long as they ascend and nothing was added before.
        let mut newest = None;
        for sample in &series.samples {
            match self.sample_at(id, sample, was_added, &mut newest) {
                There::Nothing => {
                    self.write.samples.push((id, *sample));
                    self.receipt.samples += 1;
                }
                There::Same => self.receipt.duplicates += 1,
                There::Other(kept) => {
                    let amounts = Amounts { samples: 1, ..Amounts::default() };
                    let (at, refused) = (sample.at, sample.value);
                    let named = || Conflict { batch, amounts, series: series.labels.to_string(), at, kept, refused };
                    self.conflict(batch, amounts, named);
                }
            }
        }
        for sample in &series.histograms {
            match self.histogram_at(id, sample, was_added, &mut newest) {
                There::Nothing => {
                    self.write.histograms.push((id, sample.clone()));
                    self.receipt.histograms += 1;
                }
                There::Same => self.receipt.duplicates += 1,
                There::Other(kept) => {
                    let amounts = Amounts { histograms: 1, ..Amounts::default() };
                    let (at, refused) = (sample.at, sample.histogram.sum);
                    let named = || Conflict { batch, amounts, series: series.labels.to_string(), at, kept, refused };
                    self.conflict(batch, amounts, named);
                }
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

    /// Whether an instant is after all that its series has, and after all that this call adds to it as far as that is
    /// known at once. It then is the newest.
    fn is_newest(&self, id: u32, at: Timestamp, was_added: bool, newest: &mut Option<Timestamp>) -> bool {
        let is_newest = !was_added
            && newest.is_none_or(|newest| at > newest)
            && self.series(id).is_none_or(|series| series.is_new(at));
        if is_newest {
            *newest = Some(at);
        }
        is_newest
    }

    /// Batches come one after the other, so that the last one is this one or an earlier one. Only the first is `named`.
    fn conflict(&mut self, batch: usize, amounts: Amounts, named: impl FnOnce() -> Conflict) {
        self.receipt.rejected += amounts.total();
        match self.receipt.conflicts.last_mut() {
            Some(last) if last.batch == batch => last.amounts += amounts,
            Some(_) | None => self.receipt.conflicts.push(named()),
        }
    }

    fn refuse(&mut self, batch: usize, series: &SeriesWrite) {
        let amounts = Amounts::from(series);
        self.receipt.over_limit += amounts.total();
        match self.receipt.refused.last_mut() {
            Some(last) if last.batch == batch => last.amounts += amounts,
            Some(_) | None => {
                let series = series.labels.to_string();
                self.receipt.refused.push(OverLimit { batch, amounts, series, limit: self.known.max_series });
            }
        }
    }

    fn sample_at(&mut self, id: u32, sample: &Sample, was_added: bool, newest: &mut Option<Timestamp>) -> There {
        if self.is_newest(id, sample.at, was_added, newest) {
            return There::Nothing;
        }
        self.note_arrivals();
        let arrived = self.arrived.get(&(id, sample.at)).copied();
        let there =
            arrived.or_else(|| self.arrived_histogram(id, sample.at).map(|found| found.histogram.sum)).or_else(|| {
                if self.series(id).is_none_or(|series| series.is_new(sample.at)) {
                    return None;
                }
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

    fn arrived_histogram(&self, id: u32, at: Timestamp) -> Option<&HistogramSample> {
        self.write.histograms.iter().find(|(other, known)| *other == id && known.at == at).map(|(_, known)| known)
    }

    fn histogram_at(
        &mut self,
        id: u32,
        sample: &HistogramSample,
        was_added: bool,
        newest: &mut Option<Timestamp>,
    ) -> There {
        if self.is_newest(id, sample.at, was_added, newest) {
            return There::Nothing;
        }
        self.note_arrivals();
        if let Some(value) = self.arrived.get(&(id, sample.at)) {
            return There::Other(*value);
        }
        let arrived = self.arrived_histogram(id, sample.at);
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
