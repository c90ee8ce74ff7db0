//! Answers from one consistent state of the store.

use std::collections::BTreeSet;
use std::sync::Arc;

use signal::{
    Exemplar, HistogramSample, Labels, LogLine, Matcher, MetricMetadata, Nanos, Sample, Span, TimeRange, TraceId,
};

use crate::head::Head;
use crate::head::metrics::SeriesHead;

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

/// One series of a snapshot, read when it is its turn.
#[derive(Clone, Debug)]
pub struct SeriesReader<'a> {
    labels: &'a Labels,
    series: &'a SeriesHead,
}

/// The newest of a series in a time range.
#[derive(Clone, PartialEq, Debug)]
pub enum Latest {
    /// A number; may be a staleness marker.
    Sample(Sample),
    /// A native histogram; may be a staleness marker.
    Histogram(HistogramSample),
}

impl SeriesReader<'_> {
    /// Identity, including `__name__`.
    #[must_use]
    pub fn labels(&self) -> &Labels {
        self.labels
    }

    /// Adds what lies in `range` to the two lists, which the caller has emptied: ascending time, each instant once and in
    /// only one of them, staleness markers included.
    pub fn read(&self, range: TimeRange, samples: &mut Vec<Sample>, _histograms: &mut Vec<HistogramSample>) {
        samples.append(&mut self.series.samples(range));
    }

    /// The newest in `range`, without reading more than it takes.
    #[must_use]
    pub fn latest(&self, range: TimeRange) -> Option<Latest> {
        self.series.samples(range).last().copied().map(Latest::Sample)
    }
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

impl Snapshot {
    pub(crate) fn new(head: Head) -> Self {
        Self { head }
    }

    /// Series all `matchers` allow with their samples in `range`, sorted by labels; those without a sample are left out.
    #[must_use]
    pub fn select(&self, matchers: &[Matcher], range: TimeRange) -> Vec<Series> {
        let selected = self.head.metrics.series.select(matchers).into_iter();
        let read = selected.map(|(labels, series)| Series {
            labels: labels.clone(),
            samples: series.samples(range),
            histograms: vec![],
        });
        let mut found: Vec<_> = read.filter(|series| !series.samples.is_empty()).collect();
        found.sort_by(|a, b| a.labels.cmp(&b.labels));
        found
    }

    /// The series all `matchers` allow that may have something in `range`, in no particular order, to be read one by one.
    #[must_use]
    pub fn find(&self, matchers: &[Matcher], range: TimeRange) -> Vec<SeriesReader<'_>> {
        let selected = self.head.metrics.series.select(matchers).into_iter();
        let near = selected.filter(|(_, series)| series.may_have(range));
        near.map(|(labels, series)| SeriesReader { labels, series }).collect()
    }

    /// Label sets of the series [`select`](Self::select) would answer.
    #[must_use]
    pub fn series(&self, matchers: &[Matcher], range: TimeRange) -> Vec<Labels> {
        let selected = self.head.metrics.series.select(matchers).into_iter();
        let mut found: Vec<_> =
            selected.filter(|(_, series)| series.has_samples(range)).map(|(labels, _)| labels.clone()).collect();
        found.sort_unstable();
        found
    }

    /// Names of the labels of the series [`select`](Self::select) would answer, sorted.
    #[must_use]
    pub fn label_names(&self, matchers: &[Matcher], range: TimeRange) -> Vec<String> {
        let selected = self.head.metrics.series.select(matchers).into_iter();
        let with_samples = selected.filter(|(_, series)| series.has_samples(range));
        let names: BTreeSet<&str> = with_samples.flat_map(|(labels, _)| labels.iter().map(|(name, _)| name)).collect();
        names.into_iter().map(str::to_owned).collect()
    }

    /// Values of the label `name` of the series [`select`](Self::select) would answer, sorted.
    #[must_use]
    pub fn label_values(&self, name: &str, matchers: &[Matcher], range: TimeRange) -> Vec<String> {
        self.head.metrics.series.label_values(name, matchers, |series| series.has_samples(range))
    }

    /// What metric families last said about themselves, sorted by name.
    #[must_use]
    pub fn metadata(&self) -> Vec<MetricMetadata> {
        self.head.metrics.metadata.values().cloned().collect()
    }

    /// Exemplars in `range` of the series all `matchers` allow, sorted by labels, each ascending in time.
    #[must_use]
    pub fn exemplars(&self, matchers: &[Matcher], range: TimeRange) -> Vec<(Labels, Vec<Exemplar>)> {
        let selected = self.head.metrics.series.select(matchers).into_iter();
        let read = selected.map(|(labels, series)| (labels.clone(), series.exemplars(range)));
        let mut found: Vec<_> = read.filter(|(_, exemplars)| !exemplars.is_empty()).collect();
        found.sort_by(|a, b| a.0.cmp(&b.0));
        found
    }

    /// Streams all `matchers` allow with their lines from `start` to `end`, both inside, sorted by labels; those without
    /// a line are left out.
    #[must_use]
    pub fn streams(&self, matchers: &[Matcher], start: Nanos, end: Nanos) -> Vec<Stream> {
        let selected = self.head.logs.streams.select(matchers).into_iter();
        let read = selected.map(|(labels, stream)| Stream { labels: labels.clone(), lines: stream.lines(start, end) });
        let mut found: Vec<_> = read.filter(|stream| !stream.lines.is_empty()).collect();
        found.sort_by(|a, b| a.labels.cmp(&b.labels));
        found
    }

    /// Label sets of the streams [`streams`](Self::streams) would answer.
    #[must_use]
    pub fn stream_labels(&self, matchers: &[Matcher], start: Nanos, end: Nanos) -> Vec<Labels> {
        let selected = self.head.logs.streams.select(matchers).into_iter();
        let mut found: Vec<_> =
            selected.filter(|(_, stream)| stream.has_lines(start, end)).map(|(labels, _)| labels.clone()).collect();
        found.sort_unstable();
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
