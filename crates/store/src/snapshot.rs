//! Answers from one consistent state of the store.

mod logs;
mod reader;

use std::cell::Cell;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use signal::{Exemplar, HistogramSample, Labels, LogLine, Matcher, MetricMetadata, Sample, Span, TimeRange, TraceId};

use crate::head::Head;
use crate::head::metrics::{MetricsHead, SeriesHead};
pub use logs::{LinePart, PartRows, StreamReader};
pub use reader::{Latest, SeriesReader};

/// Most series that are looked at where an answer must not take long.
const LOOKS: u32 = 512;

/// What the store held at one moment: every batch acknowledged before, never a part of one. Cheap to take, to clone and
/// to send; later writes and retention do not change it.
#[derive(Clone, Debug)]
pub struct Snapshot {
    head: Head,
}

/// The samples of one series.
#[derive(Clone, PartialEq, Debug)]
pub struct Series {
    /// Identity, including `__name__`.
    pub labels: Labels,
    /// Ascending time, each instant once, staleness markers included.
    pub samples: Vec<Sample>,
    /// Native histograms in ascending time, each instant once and in only one of the two lists; staleness markers
    /// included.
    pub histograms: Vec<HistogramSample>,
}

/// The lines of one stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stream {
    /// Identity.
    pub labels: Labels,
    /// Ascending time; equal instants in order of arrival; no line twice at the same instant.
    pub lines: Vec<Arc<LogLine>>,
}

/// The spans of one trace.
#[derive(Clone, PartialEq, Debug)]
pub struct Trace {
    /// Identity.
    pub id: TraceId,
    /// By start time; a span that arrived twice appears once.
    pub spans: Vec<Arc<Span>>,
}

/// Adds the series of a later source to those of earlier ones.
fn join<'a>(found: &mut Vec<SeriesReader<'a>>, later: impl Iterator<Item = SeriesReader<'a>>) {
    if found.is_empty() {
        found.extend(later);
        return;
    }
    let mut later = later.peekable();
    if later.peek().is_none() {
        return;
    }
    let places = found.iter().enumerate().map(|(place, reader)| (reader.labels().clone(), place));
    let places: HashMap<Labels, usize> = places.collect();
    for reader in later {
        match places.get(reader.labels()).and_then(|place| found.get_mut(*place)) {
            Some(earlier) => earlier.continue_with(reader),
            None => found.push(reader),
        }
    }
}

impl Snapshot {
    pub(crate) fn new(head: Head) -> Self {
        Self { head }
    }

    /// Series all `matchers` allow with their samples in `range`, sorted by labels; those without a sample are left out.
    #[must_use]
    pub fn select(&self, matchers: &[Matcher], range: TimeRange) -> Vec<Series> {
        let mut found = Vec::new();
        for reader in self.find(matchers, range) {
            let (mut samples, mut histograms) = (Vec::new(), Vec::new());
            reader.read(range, &mut samples, &mut histograms);
            if !samples.is_empty() || !histograms.is_empty() {
                found.push(Series { labels: reader.labels().clone(), samples, histograms });
            }
        }
        found.sort_by(|a, b| a.labels.cmp(&b.labels));
        found
    }

    /// The series all `matchers` allow that may have something in `range`, in no particular order, to be read one by one.
    #[must_use]
    pub fn find(&self, matchers: &[Matcher], range: TimeRange) -> Vec<SeriesReader<'_>> {
        let mut found = Vec::new();
        for block in self.head.metrics.blocks.near(range) {
            let ids = block.select(matchers);
            let labels = block.labels(&ids);
            let reader = |(id, labels): (u32, Labels)| {
                let deleted = self.head.metrics.blocks.deleted(&labels);
                SeriesReader::of_block(block, id, labels, deleted)
            };
            join(&mut found, ids.into_iter().zip(labels).map(reader));
        }
        for head in self.heads() {
            let selected = head.select(matchers).into_iter().filter_map(|id| head.get(id));
            join(&mut found, selected.map(SeriesReader::of_head));
        }
        found
    }

    /// What is in memory, older arrivals first.
    fn heads(&self) -> impl Iterator<Item = &MetricsHead> {
        self.head.metrics.heads()
    }

    /// Those of [`find`](Self::find) that have something.
    fn find_any(&self, matchers: &[Matcher], range: TimeRange) -> impl Iterator<Item = SeriesReader<'_>> {
        self.find(matchers, range).into_iter().filter(move |reader| reader.has_any(range))
    }

    /// Label sets of the series [`select`](Self::select) would answer.
    #[must_use]
    pub fn series(&self, matchers: &[Matcher], range: TimeRange) -> Vec<Labels> {
        let mut found: Vec<_> = self.find_any(matchers, range).map(|reader| reader.labels().clone()).collect();
        found.sort_unstable();
        found
    }

    /// What [`label_names`](Self::label_names) answers without matchers, if a short look at memory tells.
    #[must_use]
    pub fn label_names_at_once(&self, range: TimeRange) -> Option<Vec<String>> {
        self.at_once(range, |head, holds| head.label_names(holds))
    }

    /// What [`label_values`](Self::label_values) answers without matchers, if a short look at memory tells.
    #[must_use]
    pub fn label_values_at_once(&self, name: &str, range: TimeRange) -> Option<Vec<String>> {
        let few = |head: &MetricsHead| head.value_count(name) <= LOOKS as usize;
        let answer = self.heads().all(few).then(|| self.at_once(range, |head, holds| head.label_values(name, holds)));
        answer.flatten()
    }

    fn at_once(
        &self,
        range: TimeRange,
        list: impl Fn(&MetricsHead, &dyn Fn(&SeriesHead) -> bool) -> Vec<String>,
    ) -> Option<Vec<String>> {
        let blocks = &self.head.metrics.blocks;
        if !blocks.deletions.is_empty() || blocks.near(range).next().is_some() {
            return None;
        }
        let looks = Cell::new(LOOKS);
        // Whoever finds nothing in so many looks is told that there is something, so that the search soon ends.
        let holds = |series: &SeriesHead| {
            looks.set(looks.get().saturating_sub(1));
            looks.get() == 0 || series.has_any(range)
        };
        let found: BTreeSet<_> = self.heads().flat_map(|head| list(head, &holds)).collect();
        (looks.get() > 0).then(|| found.into_iter().collect())
    }

    /// Names of the labels of the series [`select`](Self::select) would answer, sorted.
    #[must_use]
    pub fn label_names(&self, matchers: &[Matcher], range: TimeRange) -> Vec<String> {
        let mut names = BTreeSet::new();
        if matchers.is_empty() && self.head.metrics.blocks.deletions.is_empty() {
            for head in self.heads() {
                names.extend(head.label_names(|series| series.has_any(range)));
            }
            for block in self.head.metrics.blocks.near(range) {
                names.extend(block.label_names(range, |name| !names.contains(name)));
            }
            return names.into_iter().collect();
        }
        for reader in self.find_any(matchers, range) {
            for (name, _) in reader.labels() {
                if !names.contains(name) {
                    names.insert(name.to_owned());
                }
            }
        }
        names.into_iter().collect()
    }

    /// Values of the label `name` of the series [`select`](Self::select) would answer, sorted.
    #[must_use]
    pub fn label_values(&self, name: &str, matchers: &[Matcher], range: TimeRange) -> Vec<String> {
        let mut values = BTreeSet::new();
        if matchers.is_empty() && self.head.metrics.blocks.deletions.is_empty() {
            for head in self.heads() {
                values.extend(head.label_values(name, |series| series.has_any(range)));
            }
            for block in self.head.metrics.blocks.near(range) {
                values.extend(block.label_values(name, range));
            }
            return values.into_iter().collect();
        }
        for reader in self.find_any(matchers, range) {
            if let Some(value) = reader.labels().get(name)
                && !values.contains(value)
            {
                values.insert(value.to_owned());
            }
        }
        values.into_iter().collect()
    }

    /// What metric families last said about themselves, sorted by name.
    #[must_use]
    pub fn metadata(&self) -> Vec<MetricMetadata> {
        self.head.metrics.fresh.metadata.values().cloned().collect()
    }

    /// Exemplars in `range` of the series all `matchers` allow, sorted by labels, each ascending in time.
    #[must_use]
    pub fn exemplars(&self, matchers: &[Matcher], range: TimeRange) -> Vec<(Labels, Vec<Exemplar>)> {
        let metrics = &self.head.metrics.fresh;
        let mut found = Vec::new();
        for series in metrics.select(matchers).into_iter().filter_map(|id| metrics.get(id)) {
            let inside = series.exemplars().iter().filter(|exemplar| range.contains(exemplar.at));
            let mut exemplars: Vec<_> = inside.cloned().collect();
            if !exemplars.is_empty() {
                exemplars.sort_by_key(|exemplar| exemplar.at);
                found.push((series.labels.clone(), exemplars));
            }
        }
        found.sort_by(|a, b| a.0.cmp(&b.0));
        found
    }

    /// The trace with this id.
    #[must_use]
    pub fn trace(&self, id: TraceId) -> Option<Trace> {
        self.head.traces.trace(id)
    }

    /// Every trace with a span overlapping `range`, whole, newest start first. Each is unpacked when its turn comes, so a
    /// search that has found enough has read no more than that.
    pub fn traces(&self, range: TimeRange) -> impl Iterator<Item = Trace> + use<'_> {
        self.head.traces.traces(range)
    }
}
