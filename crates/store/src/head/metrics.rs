//! Metrics in memory: everything since the last flush, by series.

mod series;
mod table;

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use signal::{Exemplar, HistogramSample, Labels, Matcher, MetricMetadata, Sample};

use super::{Extent, Size};
use crate::index::Index;
use series::Room;
pub(crate) use series::{SeriesHead, put_in_order};
use table::Table;

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

    pub(crate) fn find_or_add(&mut self, labels: &Labels) -> u32 {
        if let Some(id) = self.find(labels) {
            return id;
        }
        let id = self.series.len();
        self.add([SeriesHead::new(labels.clone(), None)]);
        id
    }

    /// Adds samples of instants that are not there yet.
    pub(crate) fn push_samples(&mut self, samples: impl IntoIterator<Item = (u32, Sample)>) {
        let mut room = Room::default();
        self.series.change(samples, |series, sample| series.push(sample, &mut room));
    }

    /// Like [`push_samples`](Self::push_samples) by two threads, for many.
    pub(crate) fn push_many(&mut self, samples: &[(u32, Sample)]) {
        self.series.change_apart(samples, 2, |series, sample, room| series.push(sample, room));
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

    /// The values of `name` on anything for which `holds` answers true.
    pub(crate) fn label_values(&self, name: &str, mut holds: impl FnMut(&SeriesHead) -> bool) -> Vec<String> {
        let index = self.index();
        let carried =
            index.values(name).filter(|(_, ids)| ids.iter().filter_map(|id| self.series.get(id)).any(&mut holds));
        carried.map(|(value, _)| value.to_owned()).collect()
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
