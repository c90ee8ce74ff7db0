//! Which samples of a write are new.

use std::collections::HashMap;

use signal::{Exemplar, Labels, MetricMetadata, Sample, TimeRange, WriteBatch};

use crate::errors::{Conflict, Receipt};
use crate::head::metrics::MetricsHead;

/// What is to be added to the metrics: no instant twice, nothing that is there already.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct MetricsWrite {
    pub(crate) series: Vec<SeriesAddition>,
    pub(crate) metadata: Vec<MetricMetadata>,
}

#[derive(Clone, PartialEq, Debug)]
pub(crate) struct SeriesAddition {
    pub(crate) labels: Labels,
    /// Where the series is in the head, when it is there already.
    pub(crate) place: Option<u32>,
    /// Ascending time.
    pub(crate) samples: Vec<Sample>,
    pub(crate) exemplars: Vec<Exemplar>,
}

impl MetricsWrite {
    pub(crate) fn is_empty(&self) -> bool {
        self.series.is_empty() && self.metadata.is_empty()
    }
}

/// Compares the batches with what is there and with each other. The first value of an instant wins.
pub(crate) fn admit(batches: &[WriteBatch], head: &MetricsHead, receipt: &mut Receipt) -> MetricsWrite {
    let mut places: HashMap<&Labels, usize> = HashMap::new();
    let mut arrivals: Vec<(&Labels, Arrivals)> = Vec::new();
    for (batch, writes) in batches.iter().enumerate() {
        for write in &writes.series {
            let place = *places.entry(&write.labels).or_insert_with(|| {
                arrivals.push((&write.labels, Arrivals::default()));
                arrivals.len() - 1
            });
            if let Some((_, arrivals)) = arrivals.get_mut(place) {
                arrivals.samples.extend(write.samples.iter().map(|sample| (batch, *sample)));
                arrivals.exemplars.extend(&write.exemplars);
            }
        }
    }
    let mut admitted = MetricsWrite { series: Vec::new(), metadata: admit_metadata(batches, head) };
    for (labels, arrivals) in arrivals {
        let addition = arrivals.admit(labels, head, receipt);
        if !addition.samples.is_empty() || !addition.exemplars.is_empty() {
            admitted.series.push(addition);
        }
    }
    admitted
}

fn admit_metadata(batches: &[WriteBatch], head: &MetricsHead) -> Vec<MetricMetadata> {
    let mut last: HashMap<&str, &MetricMetadata> = HashMap::new();
    for metadata in batches.iter().flat_map(|batch| &batch.metadata) {
        last.insert(&metadata.name, metadata);
    }
    let changed = last.into_values().filter(|metadata| head.metadata.get(&metadata.name) != Some(metadata));
    let mut changed: Vec<_> = changed.cloned().collect();
    changed.sort_by(|a, b| a.name.cmp(&b.name));
    changed
}

#[derive(Default)]
struct Arrivals<'a> {
    /// With the position of the batch each came in.
    samples: Vec<(usize, Sample)>,
    exemplars: Vec<&'a Exemplar>,
}

impl Arrivals<'_> {
    fn admit(mut self, labels: &Labels, head: &MetricsHead, receipt: &mut Receipt) -> SeriesAddition {
        let place = head.series.find(labels);
        let series = place.and_then(|id| head.series.get(id));
        // A stable sort: of equal instants the first arrival stays first.
        self.samples.sort_by_key(|(_, sample)| sample.at);
        let newest = series.and_then(|series| series.newest());
        let late = self.samples.iter().take_while(|(_, sample)| newest.is_some_and(|newest| sample.at <= newest));
        let known = match (series, self.samples.first(), late.last()) {
            (Some(series), Some((_, first)), Some((_, last))) => series.samples(TimeRange::new(first.at, last.at)),
            (_, _, _) => Vec::new(),
        };
        let mut samples: Vec<Sample> = Vec::with_capacity(self.samples.len());
        for (batch, sample) in self.samples {
            let there = match samples.last() {
                Some(last) if last.at == sample.at => Some(*last),
                Some(_) | None => {
                    known.binary_search_by_key(&sample.at, |known| known.at).ok().and_then(|at| known.get(at)).copied()
                }
            };
            match there {
                None => samples.push(sample),
                Some(kept) if kept.value.to_bits() == sample.value.to_bits() => receipt.duplicates += 1,
                Some(kept) => {
                    receipt.rejected += 1;
                    if receipt.conflicts.len() < Receipt::EXAMPLES {
                        let (kept, refused) = (kept.value, sample.value);
                        receipt.conflicts.push(Conflict {
                            batch,
                            series: labels.to_string(),
                            at: sample.at,
                            kept,
                            refused,
                        });
                    }
                }
            }
        }
        let new = |exemplar: &&Exemplar| !series.is_some_and(|series| series.has_exemplar(exemplar));
        let exemplars: Vec<_> = self.exemplars.into_iter().filter(new).cloned().collect();
        receipt.samples += samples.len() as u64;
        receipt.exemplars += exemplars.len() as u64;
        SeriesAddition { labels: labels.clone(), place, samples, exemplars }
    }
}
