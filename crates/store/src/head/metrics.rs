//! Metrics in memory: everything since the last flush, by series.

mod series;
mod table;

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use signal::{Exemplar, HistogramSample, Labels, Matcher, MetricMetadata, Sample};

use super::{Extent, Size};
use crate::index::{Ids, Index};
use series::Room;
pub(crate) use series::{SeriesHead, put_in_order};
pub(crate) use table::Shares;
use table::{Share, Table};

/// The series of one time between two flushes. A copy is cheap and does not change; the index only grows and is shared
/// between copies, which ignore what came after them.
#[derive(Clone, Debug, Default)]
pub(crate) struct MetricsHead {
    index: Arc<RwLock<Index>>,
    series: Table<SeriesHead>,
    pub(crate) metadata: Arc<BTreeMap<String, MetricMetadata>>,
}

impl MetricsHead {
    /// Number of series; their ids are smaller.
    pub(crate) fn len(&self) -> u32 {
        self.series.len()
    }

    /// Whether there is any sample.
    pub(crate) fn has_samples(&self) -> bool {
        self.iter().any(|series| series.count() > 0)
    }

    pub(crate) fn find(&self, labels: &Labels) -> Option<u32> {
        self.find_in(&self.index(), labels)
    }

    /// Like [`find`](Self::find) under a lock the caller holds for many. `guess` is where the series may be: senders
    /// repeat themselves, so that the one after the last is most often right.
    pub(crate) fn find_near(&self, index: &Index, guess: u32, labels: &Labels) -> Option<u32> {
        if self.series.get(guess).is_some_and(|series| series.labels.is_same(labels)) {
            return Some(guess);
        }
        self.find_in(index, labels)
    }

    fn find_in(&self, index: &Index, labels: &Labels) -> Option<u32> {
        index.id(labels.fingerprint(), |id| self.series.get(id).is_some_and(|series| series.labels == *labels))
    }

    pub(crate) fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn get(&self, id: u32) -> Option<&SeriesHead> {
        self.series.get(id)
    }

    /// Adds series that are not there yet; their ids follow one another.
    pub(crate) fn add(&mut self, series: impl IntoIterator<Item = SeriesHead>) {
        let mut series = series.into_iter().peekable();
        if series.peek().is_none() {
            return;
        }
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        for one in series {
            index.add(&one.labels, self.series.len());
            self.series.push(one);
        }
    }

    /// Adds samples of instants that are not there yet.
    pub(crate) fn push_samples(&mut self, samples: impl IntoIterator<Item = (u32, Sample)>) {
        let mut room = Room::default();
        self.series.change(samples, |series, sample| series.push(sample, &mut room));
    }

    /// Leaves this without series and answers them in shares, which several threads fill beside each other, and the
    /// labels of all by id.
    pub(crate) fn take_apart(&mut self, shares: Shares) -> (Vec<SeriesShare>, Vec<Labels>) {
        let labels = self.iter().map(|series| series.labels.clone()).collect();
        let parts = self.series.take_apart(shares).into_iter();
        (parts.map(|series| SeriesShare { series, room: Room::default() }).collect(), labels)
    }

    /// The ids of label sets, found among the `labels` of all series by id; those that are new are added there, and are
    /// to be added to their shares.
    pub(crate) fn number(&self, sets: &[Labels], labels: &mut Vec<Labels>) -> Vec<u32> {
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        let number = |set: &Labels| {
            let known = index.id(set.fingerprint(), |id| labels.get(id as usize) == Some(set));
            known.unwrap_or_else(|| {
                let id = u32::try_from(labels.len()).unwrap_or(u32::MAX);
                index.add(set, id);
                labels.push(set.clone());
                id
            })
        };
        sets.iter().map(number).collect()
    }

    /// Takes the series back.
    pub(crate) fn put_together(&mut self, shares: impl IntoIterator<Item = SeriesShare>) {
        self.series.put_together(shares.into_iter().map(|share| share.series));
    }

    /// Adds native histograms of instants that are not there yet.
    pub(crate) fn push_histograms(&mut self, histograms: impl IntoIterator<Item = (u32, HistogramSample)>) {
        self.series.change(histograms, SeriesHead::push_histogram);
    }

    pub(crate) fn push_exemplars(&mut self, exemplars: impl IntoIterator<Item = (u32, Exemplar)>) {
        self.series.change(exemplars, SeriesHead::push_exemplar);
    }

    pub(crate) fn describe(&mut self, metadata: MetricMetadata) {
        Arc::make_mut(&mut self.metadata).insert(metadata.name.clone(), metadata);
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &SeriesHead> {
        self.series.iter()
    }

    /// Ids of everything the matchers allow, ascending.
    pub(crate) fn select(&self, matchers: &[Matcher]) -> Vec<u32> {
        self.index().select(matchers, self.series.len())
    }

    /// The names of labels on anything for which `holds` answers true.
    pub(crate) fn label_names(&self, holds: impl Fn(&SeriesHead) -> bool) -> Vec<String> {
        let index = self.index();
        // A series is looked at under each of its names, and has to be asked but once.
        let mut absent = vec![false; self.len() as usize];
        let mut holds = |id: u32| match absent.get_mut(id as usize) {
            Some(absent) if !*absent => {
                *absent = !self.series.get(id).is_some_and(&holds);
                !*absent
            }
            Some(_) | None => false,
        };
        let carried = index.names().filter_map(|(name, ids)| {
            let mut ids = ids.flat_map(Ids::iter);
            ids.any(&mut holds).then(|| name.to_owned())
        });
        carried.collect()
    }

    /// The values of `name` on anything for which `holds` answers true.
    pub(crate) fn label_values(&self, name: &str, mut holds: impl FnMut(&SeriesHead) -> bool) -> Vec<String> {
        let index = self.index();
        let carried =
            index.values(name).filter(|(_, ids)| ids.iter().filter_map(|id| self.series.get(id)).any(&mut holds));
        carried.map(|(value, _)| value.to_owned()).collect()
    }

    /// How many values of `name` there are.
    pub(crate) fn value_count(&self, name: &str) -> usize {
        self.index().value_count(name)
    }

    /// What a flush leaves in memory: no samples, but metadata and exemplars, which blocks do not hold.
    pub(crate) fn emptied(&self) -> Self {
        let mut next = Self { metadata: Arc::clone(&self.metadata), ..Self::default() };
        next.add(self.iter().filter_map(SeriesHead::emptied));
        next
    }

    pub(crate) fn size(&self) -> Size {
        let mut size = Size { identities: u64::from(self.series.len()), ..Size::default() };
        for series in self.series.iter() {
            size.items += series.count();
            size.extent = Extent::join(size.extent, series.extent());
        }
        size
    }
}

/// Some of the series, in the hands of one thread.
#[derive(Debug)]
pub(crate) struct SeriesShare {
    series: Share<SeriesHead>,
    room: Room,
}

impl SeriesShare {
    /// Adds the next series of this share.
    pub(crate) fn add(&mut self, labels: Labels) {
        self.series.push(SeriesHead::new(labels, None));
    }

    /// Adds a sample of an instant that is not there yet.
    pub(crate) fn push(&mut self, id: u32, sample: Sample) {
        self.series.change(id, |series| series.push(sample, &mut self.room));
    }

    /// Adds a native histogram of an instant that is not there yet.
    pub(crate) fn push_histogram(&mut self, id: u32, histogram: HistogramSample) {
        self.series.change(id, |series| series.push_histogram(histogram));
    }

    pub(crate) fn push_exemplar(&mut self, id: u32, exemplar: Exemplar) {
        self.series.change(id, |series| series.push_exemplar(exemplar));
    }
}
