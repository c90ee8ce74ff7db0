//! What both protocols have in common: labels, samples, and what becomes of a request.

use signal::{Exemplar, HistogramSample, Labels, MetricKind, Sample, SeriesWrite, Timestamp, WriteBatch};
use smallvec::SmallVec;

use super::{DecodeError, RemoteWrite};
use crate::intake::labels_are_within;
use crate::label_cache::{Entry, Key, LabelCache, Reading};
use crate::native::InvalidHistogram;
use crate::rejection::{Refusals, excerpt};
use crate::wire::{Field, WireError, fields};
use crate::{Limits, Prepared, Rejection, native};

/// Buckets that weigh as much as a sample.
const BUCKETS_PER_ITEM: usize = 16;

/// Names and values; most series have fewer than are kept without an allocation.
pub(super) type Pairs<'m> = SmallVec<[(&'m str, &'m str); 24]>;

/// Why a series is refused, and the sentence for it.
pub(super) type Refused = (&'static str, String);

/// A request as far as it is read.
pub(super) struct Request<'c> {
    pub(super) limits: &'c Limits,
    /// Labels of earlier requests.
    memory: Option<Reading<'c>>,
    pub(super) batch: WriteBatch,
    refusals: Refusals,
    items: usize,
    /// Bytes of texts written out.
    text: usize,
    are_labels_within: bool,
}

/// The points of one series.
#[derive(Default)]
pub(super) struct Points {
    pub(super) samples: SmallVec<[Sample; 1]>,
    pub(super) histograms: Vec<HistogramSample>,
    pub(super) exemplars: Vec<Exemplar>,
    pub(super) invalid: Vec<InvalidHistogram>,
}

impl<'c> Request<'c> {
    pub(super) fn new(limits: &'c Limits, cache: Option<&'c LabelCache>) -> Self {
        Self {
            limits,
            memory: cache.map(LabelCache::read),
            batch: WriteBatch::default(),
            refusals: Refusals::default(),
            items: 0,
            text: 0,
            are_labels_within: true,
        }
    }

    /// The hash of `bytes`, when labels are remembered.
    pub(super) fn key(&self, bytes: &[u8]) -> Option<Key> {
        self.memory.as_ref().map(|memory| memory.key(bytes))
    }

    /// The labels that `bytes` stand for, by `pairs` unless they are known.
    #[inline]
    pub(super) fn labels<'m>(
        &mut self,
        bytes: &[u8],
        pairs: impl FnOnce() -> Result<Pairs<'m>, DecodeError>,
    ) -> Result<Result<Labels, Refused>, DecodeError> {
        let mut key = None;
        if let Some(memory) = &mut self.memory {
            let hash = memory.key(bytes);
            if let Some(labels) = memory.get(hash) {
                return Ok(Ok(labels));
            }
            key = Some((hash, bytes.len()));
        }
        self.checked_labels(pairs()?, key)
    }

    /// Counts texts before they are written out.
    ///
    /// # Errors
    /// When they are more than a request may have.
    pub(super) fn write_out<'t>(&mut self, texts: impl IntoIterator<Item = &'t str>) -> Result<(), DecodeError> {
        let limit = self.limits.max_decoded_bytes;
        self.text = texts.into_iter().fold(self.text, |sum, text| sum.saturating_add(text.len()));
        if self.text > limit { Err(DecodeError::TooMuchText { limit }) } else { Ok(()) }
    }

    /// The labels that most likely come next, if `message` begins with their bytes, and what follows.
    #[inline]
    pub(super) fn next_labels<'m>(&mut self, message: &'m [u8]) -> Option<(Labels, &'m [u8])> {
        self.memory.as_mut()?.next(message)
    }

    /// Labels that are seen for the first time, and their key with the length of what it stands for.
    pub(super) fn checked_labels(
        &mut self,
        pairs: Pairs<'_>,
        key: Option<(Key, usize)>,
    ) -> Result<Result<Labels, Refused>, DecodeError> {
        self.write_out(pairs.iter().flat_map(|(name, value)| [*name, *value]))?;
        let is_short = pairs.len() <= self.limits.max_labels
            && pairs.iter().all(|(name, value)| {
                name.len() <= self.limits.max_label_name_bytes && value.len() <= self.limits.max_label_value_bytes
            });
        let labels = match checked_labels(pairs) {
            Ok(labels) => labels,
            Err(refused) => return Ok(Err(refused)),
        };
        // A label too many may be one without a value, which does not count.
        if !is_short && !labels_are_within(&labels, self.limits) {
            self.are_labels_within = false;
        } else if let (Some(memory), Some((key, length))) = (&mut self.memory, key) {
            memory.keep(key, length, labels.clone());
        }
        Ok(Ok(labels))
    }

    /// Takes in a series with nothing but one sample, which is what most requests consist of.
    ///
    /// # Errors
    /// When the request has too many items.
    #[inline]
    pub(super) fn add_sample(&mut self, labels: Labels, sample: Sample) -> Result<(), DecodeError> {
        self.items += 1;
        if self.items > self.limits.max_items {
            return Err(DecodeError::TooMany { limit: self.limits.max_items });
        }
        self.batch.series.push(SeriesWrite {
            labels,
            samples: SmallVec::from_buf([sample]),
            histograms: Vec::new(),
            exemplars: Vec::new(),
        });
        Ok(())
    }

    /// Takes in one series; whether it was kept.
    ///
    /// # Errors
    /// When the request has too many items.
    pub(super) fn add(&mut self, labels: Result<Labels, Refused>, points: Points) -> Result<bool, DecodeError> {
        let Points { samples, histograms, exemplars, invalid } = points;
        let buckets: usize = histograms.iter().map(|sample| native::bucket_count(&sample.histogram)).sum();
        let items = samples.len() + exemplars.len() + histograms.len() + invalid.len();
        self.items += items + buckets / BUCKETS_PER_ITEM;
        if self.items > self.limits.max_items {
            return Err(DecodeError::TooMany { limit: self.limits.max_items });
        }
        let labels = match labels {
            Ok(labels) => labels,
            Err((reason, example)) => {
                self.refusals.refuse(reason, items.max(1), || example);
                return Ok(false);
            }
        };
        for invalid in invalid {
            self.refusals.refuse(invalid.reason(), 1, || invalid.about(&labels));
        }
        if !samples.is_empty() || !histograms.is_empty() || !exemplars.is_empty() {
            self.batch.series.push(SeriesWrite { labels, samples, histograms, exemplars });
        }
        Ok(true)
    }

    /// The result, and what the cache should learn.
    pub(super) fn finish(self) -> (RemoteWrite, Vec<Entry>) {
        let batch = if self.are_labels_within {
            Prepared::with_labels_within(self.batch, *self.limits)
        } else {
            Prepared::from(self.batch)
        };
        let rejected: Vec<Rejection> = self.refusals.into_rejections();
        let learned = self.memory.map(Reading::into_learned).unwrap_or_default();
        (RemoteWrite { batch, rejected }, learned)
    }
}

/// The rules of remote write for labels: none without name, no name twice, a metric name.
fn checked_labels(mut pairs: Pairs<'_>) -> Result<Labels, Refused> {
    let is_strictly_ascending = pairs.is_sorted_by(|(a, _), (b, _)| a < b);
    if !is_strictly_ascending {
        pairs.sort_by_key(|(name, _)| *name);
    }
    let shown = || excerpt(&Labels::from_pairs(pairs.iter().copied()).to_string());
    if pairs.first().is_some_and(|(name, _)| name.is_empty()) {
        return Err(("empty_label_name", format!("series has a label without a name: `{}`", shown())));
    }
    let mut neighbours = pairs.iter().zip(pairs.iter().skip(1));
    if !is_strictly_ascending && let Some(((name, _), _)) = neighbours.find(|(a, b)| a.0 == b.0) {
        return Err(("duplicate_label", format!("series has the label `{}` twice: `{}`", excerpt(name), shown())));
    }
    if !pairs.iter().any(|(name, value)| *name == Labels::NAME && !value.is_empty()) {
        return Err(("missing_metric_name", format!("series has no metric name: `{}`", shown())));
    }
    Ok(Labels::from_pairs(pairs))
}

#[inline]
pub(super) fn sample(field: Field<'_>) -> Result<Sample, WireError> {
    let content = field.bytes()?;
    if let Some(sample) = plain_sample(content) {
        return Ok(sample);
    }
    let mut sample = Sample { at: Timestamp(0), value: 0.0 };
    for field in fields(content) {
        let field = field?;
        match field.number {
            1 => sample.value = field.double()?,
            2 => sample.at = Timestamp(field.int()?),
            _ => {}
        }
    }
    Ok(sample)
}

/// A value and its time, written as everybody does: one after the other, and nothing else.
#[inline]
pub(super) fn plain_sample(content: &[u8]) -> Option<Sample> {
    let (9, after) = content.split_first()? else { return None };
    let (value, after) = after.split_first_chunk::<8>()?;
    let (16, after) = after.split_first()? else { return None };
    let mut rest = fields(after);
    let at = rest.varint().ok()?;
    let sample = Sample { at: Timestamp(at.cast_signed()), value: f64::from_le_bytes(*value) };
    rest.is_at_end().then_some(sample)
}

pub(super) fn kind(number: u64) -> MetricKind {
    match number {
        1 => MetricKind::Counter,
        2 => MetricKind::Gauge,
        3 => MetricKind::Histogram,
        4 => MetricKind::GaugeHistogram,
        5 => MetricKind::Summary,
        6 => MetricKind::Info,
        7 => MetricKind::StateSet,
        _ => MetricKind::Unknown,
    }
}
