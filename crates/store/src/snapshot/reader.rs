//! One series of a snapshot, wherever its parts lie.

use std::borrow::Cow;

use signal::{HistogramSample, Labels, Sample, TimeRange, Timestamp};
use smallvec::SmallVec;

use crate::block::Block;
use crate::blocks::OpenBlock;
use crate::head::metrics::{SeriesHead, put_in_order};

/// One series of a snapshot, read when it is its turn.
#[derive(Clone, Debug)]
pub struct SeriesReader<'a> {
    labels: Cow<'a, Labels>,
    /// What was deleted, each with the number of the first block that this does not concern.
    deleted: Vec<(u64, TimeRange)>,
    /// Oldest arrivals first: where an instant is there twice, the first one counts.
    parts: SmallVec<[Part<'a>; 1]>,
}

/// Where a part of a series lies.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part<'a> {
    Head(&'a SeriesHead),
    Block(&'a OpenBlock<Block>, u32),
}

/// The newest of a series in a time range.
#[derive(Clone, PartialEq, Debug)]
pub enum Latest {
    /// A number; may be a staleness marker.
    Sample(Sample),
    /// A native histogram; may be a staleness marker.
    Histogram(HistogramSample),
}

impl Latest {
    /// When.
    #[must_use]
    pub fn at(&self) -> Timestamp {
        match self {
            Self::Sample(sample) => sample.at,
            Self::Histogram(histogram) => histogram.at,
        }
    }
}

impl<'a> SeriesReader<'a> {
    pub(super) fn of_head(series: &'a SeriesHead) -> Self {
        let labels = Cow::Borrowed(&series.labels);
        Self { labels, deleted: Vec::new(), parts: SmallVec::from_buf([Part::Head(series)]) }
    }

    pub(super) fn of_block(
        block: &'a OpenBlock<Block>,
        id: u32,
        labels: Labels,
        deleted: Vec<(u64, TimeRange)>,
    ) -> Self {
        Self { labels: Cow::Owned(labels), deleted, parts: SmallVec::from_buf([Part::Block(block, id)]) }
    }

    /// Adds the parts of the same series from a later source.
    pub(super) fn continue_with(&mut self, later: Self) {
        self.parts.extend(later.parts);
    }

    /// Identity, including `__name__`.
    #[must_use]
    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    /// Adds what lies in `range` to the two lists, which the caller has emptied: ascending time, each instant once and in
    /// only one of them, staleness markers included.
    pub fn read(&self, range: TimeRange, samples: &mut Vec<Sample>, histograms: &mut Vec<HistogramSample>) {
        for part in &self.parts {
            part.read(range, &self.deleted, samples, histograms);
        }
        if self.parts.len() > 1 {
            put_in_order(samples, range);
            histograms.sort_by_key(|histogram| histogram.at);
            histograms.dedup_by_key(|histogram| histogram.at);
            if !samples.is_empty() {
                histograms.retain(|one| samples.binary_search_by_key(&one.at, |sample| sample.at).is_err());
            }
        }
    }

    /// The newest in `range`, without reading more than it takes.
    #[must_use]
    pub fn latest(&self, range: TimeRange) -> Option<Latest> {
        let mut scratch = Vec::new();
        let mut latest: Option<Latest> = None;
        // The last part is most often the newest, and then the others have nothing to add.
        for part in self.parts.iter().rev() {
            if latest.as_ref().is_some_and(|latest| part.ends_before(latest.at())) {
                continue;
            }
            for found in part.latest(range, &self.deleted, &mut scratch).into_iter().flatten() {
                if latest.as_ref().is_none_or(|latest| found.at() >= latest.at()) {
                    latest = Some(found);
                }
            }
        }
        latest
    }

    /// Whether there is anything in `range`.
    pub(super) fn has_any(&self, range: TimeRange) -> bool {
        self.parts.iter().any(|part| part.has_any(range, &self.deleted))
    }
}

impl Part<'_> {
    fn read(
        &self,
        range: TimeRange,
        deleted: &[(u64, TimeRange)],
        samples: &mut Vec<Sample>,
        histograms: &mut Vec<HistogramSample>,
    ) {
        match self {
            Self::Head(series) => series.read(range, samples, histograms),
            Self::Block(block, id) if deleted.is_empty() => block.read(*id, range, samples, histograms),
            Self::Block(block, id) => {
                let (mut own, mut own_histograms) = (Vec::new(), Vec::new());
                block.read(*id, range, &mut own, &mut own_histograms);
                let is_kept = |at| !deleted.iter().any(|(below, range)| block.arrived < *below && range.contains(at));
                samples.extend(own.into_iter().filter(|sample| is_kept(sample.at)));
                histograms.extend(own_histograms.into_iter().filter(|sample| is_kept(sample.at)));
            }
        }
    }

    /// The newest number and the newest native histogram.
    fn latest(&self, range: TimeRange, deleted: &[(u64, TimeRange)], scratch: &mut Vec<Sample>) -> [Option<Latest>; 2] {
        match self {
            Self::Head(series) => [
                series.latest(range, scratch).map(Latest::Sample),
                series.latest_histogram(range).cloned().map(Latest::Histogram),
            ],
            Self::Block(block, id) if deleted.is_empty() => [block.latest(*id, range), None],
            Self::Block(..) => {
                let (mut samples, mut histograms) = (Vec::new(), Vec::new());
                self.read(range, deleted, &mut samples, &mut histograms);
                [samples.pop().map(Latest::Sample), histograms.pop().map(Latest::Histogram)]
            }
        }
    }

    /// Whether nothing in it is at `at` or later, as far as that is known at once.
    fn ends_before(&self, at: Timestamp) -> bool {
        match self {
            Self::Head(_) => false,
            Self::Block(block, _) => block.range().end < at,
        }
    }

    fn has_any(&self, range: TimeRange, deleted: &[(u64, TimeRange)]) -> bool {
        match self {
            Self::Head(series) => series.has_any(range),
            Self::Block(block, id) if deleted.is_empty() => block.has_any(*id, range),
            Self::Block(..) => self.latest(range, deleted, &mut Vec::new()).iter().any(Option::is_some),
        }
    }
}
