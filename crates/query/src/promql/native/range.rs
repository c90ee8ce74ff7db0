//! Functions over the samples of one series in a window.

use signal::{Histogram, HistogramSample, ResetHint, Sample, Timestamp};

use super::arithmetic::{Mismatch, add, compact, divide, equal, multiply, subtract, with_schema};
use super::reset::is_reset;
use crate::promql::annotations::Annotation;

/// What an extrapolated change is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// `rate`: a counter, per second
    Rate,
    /// `increase`: a counter
    Increase,
    /// `delta`: a gauge
    Delta,
}

impl Change {
    fn is_counter(self) -> bool {
        matches!(self, Self::Rate | Self::Increase)
    }
}

impl Mismatch {
    /// What a function over time says when the samples of `metric` do not fit together.
    #[must_use]
    pub fn annotation(self, metric: &str) -> Annotation {
        match self {
            Self::Schema => Annotation::mixed_exponential_custom(metric),
            Self::Bounds => Annotation::incompatible_custom_buckets(metric),
        }
    }
}

fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.0.saturating_sub(from.0) as f64 / 1000.0
}

/// `rate`, `increase` and `delta` over the window from `start`, not included, to `end`: the change from the first to the
/// last sample, stretched to the window's edges as for floats (upstream `extrapolatedRate`).
pub fn change(
    kind: Change,
    samples: &[HistogramSample],
    (start, end): (Timestamp, Timestamp),
    metric: &str,
    notes: &mut Vec<Annotation>,
) -> Option<Histogram> {
    let [first, .., last] = samples else {
        return None;
    };
    let mut result = difference(kind, samples, metric, notes)?;
    let sampled = seconds(first.at, last.at);
    let average = sampled / (samples.len() - 1) as f64;
    let stretched = |gap: f64| if gap >= average * 1.1 { average / 2.0 } else { gap };
    let (to_start, to_end) = (stretched(seconds(start, first.at)), stretched(seconds(last.at, end)));
    let mut factor = (sampled + to_start + to_end) / sampled;
    if kind == Change::Rate {
        factor /= seconds(start, end);
    }
    multiply(&mut result, factor);
    Some(result)
}

/// The change between the first and the last sample, resets made good.
fn difference(
    kind: Change,
    samples: &[HistogramSample],
    metric: &str,
    notes: &mut Vec<Annotation>,
) -> Option<Histogram> {
    let [first, between @ .., last] = samples else {
        return None;
    };
    let (first, last) = (&*first.histogram, &*last.histogram);
    let is_gauge = |histogram: &Histogram| histogram.reset_hint == ResetHint::Gauge;
    let counter = kind.is_counter();
    if counter && samples.iter().any(|sample| is_gauge(&sample.histogram)) {
        notes.push(Annotation::histogram_not_counter(metric));
    }
    // When a reset follows on the first sample at once, that sample counts for nothing and its buckets need not fit.
    let second = between.first().map_or(last, |sample| &*sample.histogram);
    let empty = (counter && is_reset(second, first)).then(|| Histogram {
        schema: second.schema,
        custom_values: second.custom_values.clone(),
        ..Histogram::default()
    });
    let first = empty.as_ref().unwrap_or(first);
    let custom = first.has_custom_buckets();
    let mut refuse = |mismatch: Mismatch| {
        notes.push(mismatch.annotation(metric));
        None
    };
    if last.has_custom_buckets() != custom {
        return refuse(Mismatch::Schema);
    }
    let mut schema = first.schema.min(last.schema);
    if counter {
        for sample in between {
            schema = schema.min(sample.histogram.schema);
            if sample.histogram.has_custom_buckets() != custom {
                return refuse(Mismatch::Schema);
            }
        }
    }
    let mut result = with_schema(last, schema);
    if let Err(mismatch) = subtract(&mut result, first) {
        return refuse(mismatch);
    }
    if counter {
        let mut before = first;
        for sample in samples.iter().skip(1) {
            if is_reset(&sample.histogram, before)
                && let Err(mismatch) = add(&mut result, before)
            {
                return refuse(mismatch);
            }
            before = &sample.histogram;
        }
    } else if samples
        .first()
        .zip(samples.last())
        .is_some_and(|(first, last)| !is_gauge(&first.histogram) || !is_gauge(&last.histogram))
    {
        notes.push(Annotation::histogram_not_gauge(metric));
    }
    result.reset_hint = ResetHint::Gauge;
    compact(&mut result);
    Some(result)
}

/// `irate` (`is_rate`) and `idelta` from the last two samples, which the caller has found to be histograms both.
pub fn instant_change(
    is_rate: bool,
    before: &HistogramSample,
    last: &HistogramSample,
    metric: &str,
    notes: &mut Vec<Annotation>,
) -> Option<Histogram> {
    let elapsed = seconds(before.at, last.at);
    if elapsed == 0.0 {
        return None;
    }
    let hints = [before.histogram.reset_hint, last.histogram.reset_hint];
    if is_rate && hints.contains(&ResetHint::Gauge) {
        notes.push(Annotation::histogram_not_counter(metric));
    }
    if !is_rate && hints.iter().any(|hint| *hint != ResetHint::Gauge) {
        notes.push(Annotation::histogram_not_gauge(metric));
    }
    let mut result = (*last.histogram).clone();
    if (!is_rate || !is_reset(&last.histogram, &before.histogram))
        && let Err(mismatch) = subtract(&mut result, &before.histogram)
    {
        notes.push(mismatch.annotation(metric));
        return None;
    }
    result.reset_hint = ResetHint::Gauge;
    compact(&mut result);
    if is_rate {
        divide(&mut result, elapsed);
    }
    Some(result)
}

/// The sum of histograms, as `sum` and `sum_over_time` add; `None` for none.
///
/// # Errors
/// `Mismatch` when their buckets cannot be brought together.
pub fn total<'a>(histograms: impl IntoIterator<Item = &'a Histogram>) -> Result<Option<Histogram>, Mismatch> {
    let mut total: Option<Histogram> = None;
    for histogram in histograms {
        match &mut total {
            Some(total) => add(total, histogram)?,
            None => total = Some(histogram.clone()),
        }
    }
    Ok(total)
}

/// The mean of histograms, as `avg` and `avg_over_time` find it, step by step so that it cannot overflow; `None` for none.
///
/// # Errors
/// `Mismatch` when their buckets cannot be brought together.
pub fn average<'a>(histograms: impl IntoIterator<Item = &'a Histogram>) -> Result<Option<Histogram>, Mismatch> {
    let mut state: Option<(Histogram, f64)> = None;
    for histogram in histograms {
        match &mut state {
            Some((mean, count)) => {
                *count += 1.0;
                let (mut step, mut share) = (histogram.clone(), mean.clone());
                divide(&mut step, *count);
                divide(&mut share, *count);
                subtract(&mut step, &share)?;
                add(mean, &step)?;
            }
            None => state = Some((histogram.clone(), 1.0)),
        }
    }
    Ok(state.map(|(mean, _)| mean))
}

/// A sample of either kind.
#[derive(Clone, Copy)]
enum Either<'a> {
    Float(f64),
    Histogram(&'a Histogram),
}

/// Both kinds of samples in order of time, pair by pair.
fn pairs<'a>(
    floats: &'a [Sample],
    histograms: &'a [HistogramSample],
) -> impl Iterator<Item = (Either<'a>, Either<'a>)> {
    let (mut floats, mut histograms) = (floats.iter().peekable(), histograms.iter().peekable());
    let mut samples = std::iter::from_fn(move || {
        let float_first = match (floats.peek(), histograms.peek()) {
            (Some(float), Some(histogram)) => float.at < histogram.at,
            (Some(_), None) => true,
            (None, _) => false,
        };
        if float_first {
            return floats.next().map(|sample| Either::Float(sample.value));
        }
        histograms.next().map(|sample| Either::Histogram(&sample.histogram))
    });
    let mut before = samples.next();
    std::iter::from_fn(move || {
        let next = samples.next()?;
        let pair = (before?, next);
        before = Some(next);
        Some(pair)
    })
}

/// `resets` over a window that may hold both kinds of samples: a change of kind is one too.
#[must_use]
pub fn resets(floats: &[Sample], histograms: &[HistogramSample]) -> f64 {
    let is = |(before, after): &(Either<'_>, Either<'_>)| match (before, after) {
        (Either::Float(before), Either::Float(after)) => after < before,
        (Either::Histogram(before), Either::Histogram(after)) => is_reset(after, before),
        (Either::Float(_), Either::Histogram(_)) | (Either::Histogram(_), Either::Float(_)) => true,
    };
    pairs(floats, histograms).filter(is).count() as f64
}

/// `changes` over a window that may hold both kinds of samples.
#[must_use]
pub fn changes(floats: &[Sample], histograms: &[HistogramSample]) -> f64 {
    let is = |(before, after): &(Either<'_>, Either<'_>)| match (before, after) {
        (Either::Float(before), Either::Float(after)) => before != after && !(before.is_nan() && after.is_nan()),
        (Either::Histogram(before), Either::Histogram(after)) => !equal(before, after),
        (Either::Float(_), Either::Histogram(_)) | (Either::Histogram(_), Either::Float(_)) => true,
    };
    pairs(floats, histograms).filter(is).count() as f64
}
