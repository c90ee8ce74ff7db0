//! Functions over the samples of one series in one window. Each follows its namesake in Prometheus' promql/functions.go.

use signal::{Sample, Timestamp};

use super::math::{self, Mean, Sum};

/// The samples of one series in `(start, end]`, ascending in time and without staleness markers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window<'a> {
    pub(crate) samples: &'a [Sample],
    pub(crate) start: Timestamp,
    pub(crate) end: Timestamp,
    /// The evaluation time; differs from `end` under `offset` and `@`.
    pub(crate) at: Timestamp,
    /// The function's scalar argument, if it has one.
    pub(crate) parameter: f64,
}

impl Window<'_> {
    fn values(&self) -> impl Iterator<Item = f64> {
        self.samples.iter().map(|sample| sample.value)
    }

    fn pairs(&self) -> impl Iterator<Item = (f64, f64)> {
        self.values().zip(self.values().skip(1))
    }
}

fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.0.saturating_sub(from.0) as f64 / 1000.0
}

/// What an extrapolated change is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
}

/// Per-second increase of a counter.
pub(crate) fn rate(window: &Window<'_>) -> Option<f64> {
    extrapolated(window, Kind::Counter).map(|change| change / seconds(window.start, window.end))
}

/// Increase of a counter.
pub(crate) fn increase(window: &Window<'_>) -> Option<f64> {
    extrapolated(window, Kind::Counter)
}

/// Change of a gauge.
pub(crate) fn delta(window: &Window<'_>) -> Option<f64> {
    extrapolated(window, Kind::Gauge)
}

/// The change between first and last sample, stretched to the window's edges unless the series seems to begin or end
/// inside it (upstream `extrapolatedRate`).
fn extrapolated(window: &Window<'_>, kind: Kind) -> Option<f64> {
    let (first, last) = (window.samples.first()?, window.samples.last()?);
    if window.samples.len() < 2 {
        return None;
    }
    let mut change = last.value - first.value;
    if kind == Kind::Counter {
        change += window.pairs().filter(|(before, after)| after < before).map(|(before, _)| before).sum::<f64>();
    }
    let mut to_start = seconds(window.start, first.at);
    let mut to_end = seconds(last.at, window.end);
    let sampled = seconds(first.at, last.at);
    let average = sampled / (window.samples.len() - 1) as f64;
    let threshold = average * 1.1;
    if to_start >= threshold {
        to_start = average / 2.0;
    }
    if kind == Kind::Counter && change > 0.0 && first.value >= 0.0 {
        // A counter cannot have been negative: do not stretch beyond where it would have been zero.
        to_start = to_start.min(sampled * (first.value / change));
    }
    if to_end >= threshold {
        to_end = average / 2.0;
    }
    Some(change * ((sampled + to_start + to_end) / sampled))
}

fn last_two(window: &Window<'_>) -> Option<(Sample, Sample)> {
    match window.samples {
        [.., before, last] => Some((*before, *last)),
        _ => None,
    }
}

/// Per-second increase between the last two samples of a counter.
pub(crate) fn irate(window: &Window<'_>) -> Option<f64> {
    let (before, last) = last_two(window)?;
    let change = if last.value < before.value { last.value } else { last.value - before.value };
    Some(change / seconds(before.at, last.at))
}

/// Change between the last two samples of a gauge.
pub(crate) fn idelta(window: &Window<'_>) -> Option<f64> {
    last_two(window).map(|(before, last)| last.value - before.value)
}

/// How often the value changed.
pub(crate) fn changes(window: &Window<'_>) -> Option<f64> {
    let differs = |(before, after): &(f64, f64)| before != after && !(before.is_nan() && after.is_nan());
    (!window.samples.is_empty()).then(|| window.pairs().filter(differs).count() as f64)
}

/// How often a counter fell.
pub(crate) fn resets(window: &Window<'_>) -> Option<f64> {
    (!window.samples.is_empty()).then(|| window.pairs().filter(|(before, after)| after < before).count() as f64)
}

pub(crate) fn avg(window: &Window<'_>) -> Option<f64> {
    window.samples.first()?;
    let mut mean = Mean::default();
    window.values().for_each(|value| mean.add(value));
    Some(mean.value())
}

pub(crate) fn sum(window: &Window<'_>) -> Option<f64> {
    window.samples.first()?;
    let mut sum = Sum::default();
    window.values().for_each(|value| sum.add(value));
    Some(sum.total())
}

pub(crate) fn count(window: &Window<'_>) -> Option<f64> {
    (!window.samples.is_empty()).then_some(window.samples.len() as f64)
}

pub(crate) fn min(window: &Window<'_>) -> Option<f64> {
    window.values().reduce(math::lesser)
}

pub(crate) fn max(window: &Window<'_>) -> Option<f64> {
    window.values().reduce(math::greater)
}

pub(crate) fn first(window: &Window<'_>) -> Option<f64> {
    window.samples.first().map(|sample| sample.value)
}

pub(crate) fn last(window: &Window<'_>) -> Option<f64> {
    window.samples.last().map(|sample| sample.value)
}

/// When the largest value was seen, the last time if more than once.
pub(crate) fn time_of_max(window: &Window<'_>) -> Option<f64> {
    time_of(window, |value, best| value >= best)
}

/// When the smallest value was seen, the last time if more than once.
pub(crate) fn time_of_min(window: &Window<'_>) -> Option<f64> {
    time_of(window, |value, best| value <= best)
}

fn time_of(window: &Window<'_>, beats: impl Fn(f64, f64) -> bool) -> Option<f64> {
    let best = window
        .samples
        .iter()
        .reduce(|best, sample| if beats(sample.value, best.value) || best.value.is_nan() { sample } else { best })?;
    Some(best.at.as_secs_f64())
}

/// Population variance.
pub(crate) fn variance(window: &Window<'_>) -> Option<f64> {
    window.samples.first()?;
    let (mut mean, mut squares) = (Sum::default(), Sum::default());
    let mut count = 0.0;
    for value in window.values() {
        count += 1.0;
        let delta = value - (mean.sum + mean.rest);
        mean.add(delta / count);
        squares.add(delta * (value - (mean.sum + mean.rest)));
    }
    Some((squares.sum + squares.rest) / count)
}

/// Median absolute deviation.
pub(crate) fn mad(window: &Window<'_>) -> Option<f64> {
    window.samples.first()?;
    let mut values: Vec<f64> = window.values().collect();
    let median = math::quantile(0.5, &mut values);
    values.iter_mut().for_each(|value| *value = (*value - median).abs());
    Some(math::quantile(0.5, &mut values))
}

/// The quantile given as parameter.
pub(crate) fn quantile(window: &Window<'_>) -> Option<f64> {
    window.samples.first()?;
    let mut values: Vec<f64> = window.values().collect();
    Some(math::quantile(window.parameter, &mut values))
}

/// Per-second slope of the least-squares line.
pub(crate) fn deriv(window: &Window<'_>) -> Option<f64> {
    // Time counts from the first sample, so that large timestamps do not eat the precision.
    regression(window, window.samples.first()?.at).map(|(slope, _)| slope)
}

/// Value of the least-squares line the given number of seconds after the evaluation time.
pub(crate) fn predict_linear(window: &Window<'_>) -> Option<f64> {
    regression(window, window.at).map(|(slope, intercept)| slope * window.parameter + intercept)
}

/// Slope per second and value at `origin` of the least-squares line.
fn regression(window: &Window<'_>, origin: Timestamp) -> Option<(f64, f64)> {
    let first = window.samples.first()?.value;
    if window.samples.len() < 2 {
        return None;
    }
    if window.values().all(|value| value == first) {
        return Some(if first.is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, first) });
    }
    let (mut xs, mut ys, mut products, mut squares) = (Sum::default(), Sum::default(), Sum::default(), Sum::default());
    for sample in window.samples {
        let x = seconds(origin, sample.at);
        xs.add(x);
        ys.add(sample.value);
        products.add(x * sample.value);
        squares.add(x * x);
    }
    let n = window.samples.len() as f64;
    let total = |sum: Sum| sum.sum + sum.rest;
    let (x, y) = (total(xs), total(ys));
    let slope = (total(products) - x * y / n) / (total(squares) - x * x / n);
    Some((slope, y / n - slope * x / n))
}

/// Holt's linear smoothing with factors for level and trend, both between 0 and 1.
pub(crate) fn double_exponential_smoothing(window: &Window<'_>, level: f64, trend: f64) -> Option<f64> {
    let [first, second, ..] = window.samples else {
        return None;
    };
    let (mut before, mut smoothed, mut slope) = (0.0, first.value, second.value - first.value);
    for (at, value) in window.values().enumerate().skip(1) {
        if at > 1 {
            slope = trend * (smoothed - before) + (1.0 - trend) * slope;
        }
        let next = level * value + (1.0 - level) * (smoothed + slope);
        before = smoothed;
        smoothed = next;
    }
    Some(smoothed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn over(function: fn(&Window<'_>) -> Option<f64>, values: &[f64]) -> Option<f64> {
        // One sample a second, the first at the window's first millisecond but one.
        let at = |index: usize| Timestamp(1000 * (i64::try_from(index).unwrap() + 1));
        let samples: Vec<_> = values.iter().enumerate().map(|(i, value)| Sample { at: at(i), value: *value }).collect();
        let end = Timestamp(1000 * i64::try_from(values.len()).unwrap());
        function(&Window { samples: &samples, start: Timestamp(0), end, at: end, parameter: 10.0 })
    }

    #[test]
    fn each_function_gives_its_number() {
        let nan = f64::NAN;
        for (case, function, values, want) in [
            ("rate", rate as fn(&Window<'_>) -> Option<f64>, &[1.0, 2.0, 3.0, 4.0][..], Some(1.0)),
            ("increase with reset", increase, &[0.0, 10.0, 5.0], Some(15.0)),
            ("increase stops at zero", increase, &[0.5, 1.5, 2.5], Some(2.5)),
            ("delta", delta, &[3.0, 2.0, 1.0], Some(-3.0)),
            ("rate of one", rate, &[1.0], None),
            ("irate", irate, &[1.0, 5.0, 3.0], Some(3.0)),
            ("idelta", idelta, &[1.0, 5.0, 3.0], Some(-2.0)),
            ("changes", changes, &[1.0, 1.0, nan, nan, 2.0], Some(2.0)),
            ("resets", resets, &[1.0, 0.0, 3.0, 2.0], Some(2.0)),
            ("avg", avg, &[1.0, 2.0, 6.0], Some(3.0)),
            ("sum", sum, &[1.0, 2.0, 6.0], Some(9.0)),
            ("count", count, &[1.0, nan], Some(2.0)),
            ("min passes over NaN", min, &[nan, 2.0, 1.0], Some(1.0)),
            ("max passes over NaN", max, &[nan, 2.0, 1.0], Some(2.0)),
            ("first", first, &[7.0, 8.0], Some(7.0)),
            ("last", last, &[7.0, 8.0], Some(8.0)),
            ("time of max", time_of_max, &[1.0, 9.0, 9.0, 2.0], Some(3.0)),
            ("time of min", time_of_min, &[5.0, 1.0, 9.0], Some(2.0)),
            ("variance", variance, &[1.0, 3.0, 5.0, 7.0], Some(5.0)),
            ("mad", mad, &[1.0, 1.0, 2.0, 2.0, 4.0, 6.0, 9.0], Some(1.0)),
            ("deriv", deriv, &[1.0, 3.0, 5.0], Some(2.0)),
            ("deriv of a constant", deriv, &[4.0, 4.0], Some(0.0)),
            ("predict_linear", predict_linear, &[1.0, 3.0, 5.0], Some(25.0)),
            ("nothing", avg, &[], None),
        ] {
            assert_eq!(over(function, values), want, "{case}");
        }
        let smooth = |window: &Window<'_>| double_exponential_smoothing(window, 0.5, 0.5);
        assert_eq!(over(smooth, &[0.0, 10.0, 20.0, 30.0]), Some(30.0));
    }
}
