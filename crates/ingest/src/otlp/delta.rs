//! Delta temporality: points that say what came since the last one, added up to totals.
//!
//! Follows the data model of OpenTelemetry ("Sums: Delta-to-Cumulative"): a point counts when it ends after the last one
//! of its series and does not begin before the first. The last point of a series, sent again, is answered with the total it
//! led to and changes nothing: its sender may not know whether that was kept, and may have been told that it was not.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use opentelemetry_proto::tonic::metrics::v1::{
    ExponentialHistogramDataPoint, HistogramDataPoint, exponential_histogram_data_point::Buckets,
};
use signal::{Labels, Timestamp};

/// Series with totals.
const MAX_SERIES: usize = 100_000;

/// How long a total is kept without a new point.
const FORGET_AFTER: Duration = Duration::from_secs(3600);

/// Buckets of one side of an exponential total; resolution is given up for more.
const MAX_BUCKETS: i64 = 320;

/// Buckets that weigh as much as a series.
const BUCKETS_PER_SERIES: usize = 16;

/// The totals of all delta series, shared by the servers for HTTP and gRPC.
///
/// Holds at most 100,000 of them (a histogram counts once more for every 16 buckets), each for an hour after its last
/// point; a series that comes back later starts from zero, as a counter does after a restart.
#[derive(Debug)]
pub struct DeltaTotals {
    most: usize,
    totals: Mutex<Totals>,
}

#[derive(Debug, Default)]
struct Totals {
    by_series: HashMap<Labels, Total>,
    weight: usize,
    /// When the forgotten were looked for last.
    swept: Option<Timestamp>,
}

/// What a series has come to.
#[derive(Debug)]
struct Total {
    /// When the first point began, by its sender.
    start: u64,
    /// When the last one began and ended.
    last: (u64, u64),
    touched: Timestamp,
    value: Value,
}

/// What is known of a series when a point comes.
enum Known<'a> {
    Nothing,
    /// The total of the points before.
    Before(&'a mut Value),
    /// The total with this very point, which came before.
    With(&'a Value),
}

#[derive(Debug)]
enum Value {
    Number(f64),
    Histogram(HistogramDataPoint),
    Exponential(ExponentialHistogramDataPoint),
}

/// Why a delta point is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum DeltaError {
    #[error("has a delta that does not follow the one before")]
    OutOfOrder,
    #[error("is one delta series more than the limit of {limit}")]
    TooManySeries { limit: usize },
}

impl DeltaError {
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::OutOfOrder => "delta_out_of_order",
            Self::TooManySeries { .. } => "too_many_delta_series",
        }
    }
}

/// A point's series and its place in time.
pub(super) struct Place<'a> {
    pub(super) series: &'a Labels,
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) now: Timestamp,
}

impl Default for DeltaTotals {
    fn default() -> Self {
        Self::new(MAX_SERIES)
    }
}

impl DeltaTotals {
    /// No totals yet, and never more than `most`.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { most, totals: Mutex::default() }
    }

    /// The total with this number.
    pub(super) fn number(&self, place: &Place<'_>, delta: f64) -> Result<f64, DeltaError> {
        self.add(place, |known| match known {
            Known::Before(Value::Number(total)) => {
                *total += delta;
                Ok((*total, None))
            }
            Known::With(Value::Number(total)) => Ok((*total, None)),
            Known::With(Value::Histogram(_) | Value::Exponential(_)) => Err(DeltaError::OutOfOrder),
            Known::Before(Value::Histogram(_) | Value::Exponential(_)) | Known::Nothing => {
                Ok((delta, Some(Value::Number(delta))))
            }
        })
    }

    /// Makes a point the total with it.
    pub(super) fn histogram(&self, place: &Place<'_>, point: &mut HistogramDataPoint) -> Result<(), DeltaError> {
        self.add(place, |known| match known {
            Known::Before(Value::Histogram(total)) if total.explicit_bounds == point.explicit_bounds => {
                add_histogram(total, point);
                Ok(((), None))
            }
            Known::With(Value::Histogram(total)) if total.explicit_bounds == point.explicit_bounds => {
                become_histogram(point, total);
                Ok(((), None))
            }
            Known::With(Value::Histogram(_) | Value::Number(_) | Value::Exponential(_)) => Err(DeltaError::OutOfOrder),
            // Other bounds begin a new total: what fell between them is not known.
            Known::Before(Value::Histogram(_) | Value::Number(_) | Value::Exponential(_)) | Known::Nothing => {
                Ok(((), Some(Value::Histogram(bare(point)))))
            }
        })
    }

    /// Makes a point the total with it.
    pub(super) fn exponential(
        &self,
        place: &Place<'_>,
        point: &mut ExponentialHistogramDataPoint,
    ) -> Result<(), DeltaError> {
        self.add(place, |known| match known {
            Known::Before(Value::Exponential(total)) => {
                add_exponential(total, point);
                Ok(((), None))
            }
            Known::With(Value::Exponential(total)) => {
                become_exponential(point, total);
                Ok(((), None))
            }
            Known::With(Value::Histogram(_) | Value::Number(_)) => Err(DeltaError::OutOfOrder),
            Known::Before(Value::Histogram(_) | Value::Number(_)) | Known::Nothing => {
                narrow(point);
                Ok(((), Some(Value::Exponential(bare_exponential(point)))))
            }
        })
    }

    /// Lets `add` change the total of a series, or begin another.
    fn add<T>(
        &self,
        place: &Place<'_>,
        add: impl FnOnce(Known<'_>) -> Result<(T, Option<Value>), DeltaError>,
    ) -> Result<T, DeltaError> {
        let mut totals = self.totals.lock().unwrap_or_else(PoisonError::into_inner);
        totals.sweep(place.now);
        let Totals { by_series, weight, .. } = &mut *totals;
        let last = (place.start, place.end);
        if let Some(total) = by_series.get_mut(place.series) {
            if total.last == last {
                return add(Known::With(&total.value)).map(|(result, _)| result);
            }
            let begins_before = place.start != 0 && place.start < total.start;
            if place.end <= total.last.1 || begins_before {
                return Err(DeltaError::OutOfOrder);
            }
            *weight -= total.value.weight();
            let added = add(Known::Before(&mut total.value)).map(|(result, begun)| {
                if let Some(value) = begun {
                    total.value = value;
                }
                total.last = last;
                total.touched = place.now;
                result
            });
            *weight += total.value.weight();
            return added;
        }
        if *weight >= self.most {
            return Err(DeltaError::TooManySeries { limit: self.most });
        }
        let (result, begun) = add(Known::Nothing)?;
        if let Some(value) = begun {
            *weight += value.weight();
            let total = Total { start: place.start, last, touched: place.now, value };
            by_series.insert(place.series.clone(), total);
        }
        Ok(result)
    }
}

impl Totals {
    /// Forgets what nobody added to for long; looks at all of it only now and then.
    fn sweep(&mut self, now: Timestamp) {
        let swept = *self.swept.get_or_insert(now);
        // A clock that was set back must not stop the sweeping.
        if now >= swept && now.since(swept) < FORGET_AFTER / 4 {
            return;
        }
        self.swept = Some(now);
        self.by_series.retain(|_, total| now.since(total.touched) < FORGET_AFTER);
        self.weight = self.by_series.values().map(|total| total.value.weight()).sum();
    }
}

impl Value {
    fn weight(&self) -> usize {
        let side = |side: &Option<Buckets>| side.as_ref().map_or(0, |buckets| buckets.bucket_counts.len());
        1 + match self {
            Self::Number(_) => 0,
            Self::Histogram(total) => total.bucket_counts.len() / BUCKETS_PER_SERIES,
            Self::Exponential(total) => (side(&total.positive) + side(&total.negative)) / BUCKETS_PER_SERIES,
        }
    }
}

/// What of a point is a number.
fn bare(point: &HistogramDataPoint) -> HistogramDataPoint {
    HistogramDataPoint {
        count: point.count,
        sum: point.sum,
        bucket_counts: point.bucket_counts.clone(),
        explicit_bounds: point.explicit_bounds.clone(),
        ..HistogramDataPoint::default()
    }
}

fn bare_exponential(point: &ExponentialHistogramDataPoint) -> ExponentialHistogramDataPoint {
    ExponentialHistogramDataPoint {
        count: point.count,
        sum: point.sum,
        scale: point.scale,
        zero_count: point.zero_count,
        zero_threshold: point.zero_threshold,
        positive: point.positive.clone(),
        negative: point.negative.clone(),
        ..ExponentialHistogramDataPoint::default()
    }
}

fn add_histogram(total: &mut HistogramDataPoint, point: &mut HistogramDataPoint) {
    total.count = total.count.saturating_add(point.count);
    total.sum = total.sum.zip(point.sum).map(|(total, delta)| total + delta);
    add_counts(&mut total.bucket_counts, &point.bucket_counts);
    become_histogram(point, total);
}

fn become_histogram(point: &mut HistogramDataPoint, total: &HistogramDataPoint) {
    point.count = total.count;
    point.sum = total.sum;
    point.bucket_counts.clone_from(&total.bucket_counts);
}

fn add_counts(totals: &mut Vec<u64>, deltas: &[u64]) {
    if totals.len() < deltas.len() {
        totals.resize(deltas.len(), 0);
    }
    for (total, delta) in totals.iter_mut().zip(deltas) {
        *total = total.saturating_add(*delta);
    }
}

fn add_exponential(total: &mut ExponentialHistogramDataPoint, point: &mut ExponentialHistogramDataPoint) {
    let scale = total.scale.min(point.scale);
    widen_to(total, scale);
    widen_to(point, scale);
    while !fits(total.positive.as_ref(), point.positive.as_ref())
        || !fits(total.negative.as_ref(), point.negative.as_ref())
    {
        let coarser = total.scale - 1;
        widen_to(total, coarser);
        widen_to(point, coarser);
    }
    total.count = total.count.saturating_add(point.count);
    total.sum = total.sum.zip(point.sum).map(|(total, delta)| total + delta);
    total.zero_count = total.zero_count.saturating_add(point.zero_count);
    total.zero_threshold = total.zero_threshold.max(point.zero_threshold);
    add_side(&mut total.positive, point.positive.as_ref());
    add_side(&mut total.negative, point.negative.as_ref());
    become_exponential(point, total);
}

fn become_exponential(point: &mut ExponentialHistogramDataPoint, total: &ExponentialHistogramDataPoint) {
    point.scale = total.scale;
    point.count = total.count;
    point.sum = total.sum;
    point.zero_count = total.zero_count;
    point.zero_threshold = total.zero_threshold;
    point.positive.clone_from(&total.positive);
    point.negative.clone_from(&total.negative);
}

/// Gives up resolution until the buckets are few enough to be kept.
fn narrow(point: &mut ExponentialHistogramDataPoint) {
    while !fits(point.positive.as_ref(), None) || !fits(point.negative.as_ref(), None) {
        let coarser = point.scale - 1;
        widen_to(point, coarser);
    }
}

/// The buckets from the first to one past the last.
fn range(side: Option<&Buckets>) -> Option<(i64, i64)> {
    let buckets = side.filter(|buckets| !buckets.bucket_counts.is_empty())?;
    let length = i64::try_from(buckets.bucket_counts.len()).unwrap_or(i64::MAX);
    Some((i64::from(buckets.offset), i64::from(buckets.offset).saturating_add(length)))
}

fn union(one: Option<&Buckets>, other: Option<&Buckets>) -> Option<(i64, i64)> {
    match (range(one), range(other)) {
        (Some((a, b)), Some((c, d))) => Some((a.min(c), b.max(d))),
        (one, other) => one.or(other),
    }
}

fn fits(one: Option<&Buckets>, other: Option<&Buckets>) -> bool {
    union(one, other).is_none_or(|(from, to)| to - from <= MAX_BUCKETS)
}

fn widen_to(point: &mut ExponentialHistogramDataPoint, scale: i32) {
    let by = point.scale.saturating_sub(scale).clamp(0, 63);
    for buckets in [&mut point.positive, &mut point.negative].into_iter().flatten() {
        widen(buckets, by);
    }
    point.scale = scale;
}

/// Merges each 2^`by` buckets into one.
fn widen(buckets: &mut Buckets, by: i32) {
    if by == 0 {
        return;
    }
    let first = i64::from(buckets.offset) >> by;
    let mut merged: Vec<u64> = Vec::new();
    for (at, count) in (i64::from(buckets.offset)..).zip(&buckets.bucket_counts) {
        let place = usize::try_from((at >> by) - first).unwrap_or(0);
        if merged.len() <= place {
            merged.resize(place + 1, 0);
        }
        if let Some(merged) = merged.get_mut(place) {
            *merged = merged.saturating_add(*count);
        }
    }
    buckets.offset = i32::try_from(first).unwrap_or(0);
    buckets.bucket_counts = merged;
}

/// Both fit into one range of few buckets.
fn add_side(total: &mut Option<Buckets>, delta: Option<&Buckets>) {
    let Some((from, to)) = union(total.as_ref(), delta) else { return };
    let mut counts = vec![0_u64; usize::try_from(to - from).unwrap_or(0)];
    for buckets in [total.as_ref(), delta].into_iter().flatten() {
        let before = usize::try_from(i64::from(buckets.offset) - from).unwrap_or(0);
        for (count, more) in counts.iter_mut().skip(before).zip(&buckets.bucket_counts) {
            *count = count.saturating_add(*more);
        }
    }
    *total = Some(Buckets { offset: i32::try_from(from).unwrap_or(0), bucket_counts: counts });
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn place(series: &Labels, start: u64, end: u64) -> Place<'_> {
        Place { series, start, end, now: Timestamp(0) }
    }

    #[test]
    fn numbers_add_up_and_resends_do_not() {
        let totals = DeltaTotals::new(2);
        let [a, b, c] = ["a", "b", "c"].map(|name| Labels::from_pairs([("__name__", name)]));
        for (case, series, start, end, delta, want) in [
            ("first", &a, 10, 20, 1.5, Ok(1.5)),
            ("next", &a, 20, 30, 2.0, Ok(3.5)),
            ("resend", &a, 20, 30, 2.0, Ok(3.5)),
            ("resend of what is long past", &a, 10, 20, 1.5, Err(DeltaError::OutOfOrder)),
            ("other point of the same end", &a, 15, 30, 2.0, Err(DeltaError::OutOfOrder)),
            ("older", &a, 5, 40, 2.0, Err(DeltaError::OutOfOrder)),
            ("after a gap", &a, 50, 60, 1.0, Ok(4.5)),
            ("without a start", &a, 0, 70, 1.0, Ok(5.5)),
            ("another", &b, 10, 20, 7.0, Ok(7.0)),
            ("one too many", &c, 10, 20, 7.0, Err(DeltaError::TooManySeries { limit: 2 })),
        ] {
            assert_eq!(totals.number(&place(series, start, end), delta), want, "{case}");
        }
        let late = Place { now: Timestamp(7_200_000), ..place(&c, 80, 90) };
        assert_eq!(totals.number(&late, 7.0), Ok(7.0), "what is old makes room");
        let again = Place { now: Timestamp(7_200_001), ..place(&a, 80, 90) };
        assert_eq!(totals.number(&again, 1.0), Ok(1.0), "what was forgotten starts anew");
    }

    #[test]
    fn histograms_add_up_while_their_bounds_stay() {
        let totals = DeltaTotals::default();
        let series = Labels::from_pairs([("__name__", "h")]);
        let point = |bounds: &[f64], counts: &[u64]| HistogramDataPoint {
            count: counts.iter().sum(),
            sum: Some(2.0),
            explicit_bounds: bounds.to_vec(),
            bucket_counts: counts.to_vec(),
            ..HistogramDataPoint::default()
        };
        for (end, mut point, want) in [
            (1, point(&[1.0], &[1, 2]), (3, Some(2.0), vec![1, 2])),
            (2, point(&[1.0], &[1, 1]), (5, Some(4.0), vec![2, 3])),
            (3, point(&[2.0], &[1, 1]), (2, Some(2.0), vec![1, 1])),
        ] {
            let mut again = point.clone();
            totals.histogram(&place(&series, 0, end), &mut point).unwrap();
            assert_eq!((point.count, point.sum, &point.bucket_counts), (want.0, want.1, &want.2));
            totals.histogram(&place(&series, 0, end), &mut again).unwrap();
            assert_eq!(again, point, "a resend changes nothing");
        }
        let other = totals.histogram(&place(&series, 0, 3), &mut point(&[1.0], &[1, 1]));
        assert_eq!(other, Err(DeltaError::OutOfOrder), "a resend has the same bounds");
        assert_eq!(totals.number(&place(&series, 0, 3), 1.0), Err(DeltaError::OutOfOrder), "and is of the same kind");
    }

    fn exponential(scale: i32, offset: i32, counts: Vec<u64>) -> ExponentialHistogramDataPoint {
        ExponentialHistogramDataPoint {
            count: counts.iter().sum(),
            sum: Some(1.0),
            scale,
            positive: Some(Buckets { offset, bucket_counts: counts }),
            ..ExponentialHistogramDataPoint::default()
        }
    }

    #[test]
    fn the_coarser_scale_wins() {
        let mut total = exponential(1, -2, vec![1, 2, 3]);
        let mut point = exponential(0, 3, vec![4]);
        add_exponential(&mut total, &mut point);
        assert_eq!((total.scale, total.count, total.sum), (0, 10, Some(2.0)));
        assert_eq!(total.positive, Some(Buckets { offset: -1, bucket_counts: vec![3, 3, 0, 0, 4] }));
        assert_eq!(point, total);
    }

    proptest! {
        #[test]
        fn every_observation_is_kept_in_few_buckets(
            points in proptest::collection::vec(
                (-4_i32..20, prop_oneof![-9_i32..9, any::<i32>()], proptest::collection::vec(0_u64..9, 0..400)),
                1..5,
            ),
        ) {
            let totals = DeltaTotals::default();
            let series = Labels::from_pairs([("__name__", "h")]);
            let mut want = 0;
            for (end, (scale, offset, counts)) in (1..).zip(points) {
                let mut point = exponential(scale, offset, counts);
                want += point.count;
                let mut again = point.clone();
                totals.exponential(&place(&series, 0, end), &mut point).unwrap();
                totals.exponential(&place(&series, 0, end), &mut again).unwrap();
                prop_assert_eq!(&again, &point);
                let buckets = point.positive.unwrap_or_default().bucket_counts;
                prop_assert_eq!((point.count, buckets.iter().sum::<u64>()), (want, want));
                prop_assert!(buckets.len() <= 320, "{} buckets", buckets.len());
            }
        }
    }
}
