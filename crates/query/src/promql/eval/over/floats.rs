//! Windows of numbers.

use signal::{Sample, Timestamp};

use super::slide::{Span, fold_shared, overlap, spans};
use super::{Over, OverCall, Window, Work};
use crate::promql::eval::math::{self, Mean, Sum};
use crate::promql::eval::rows::ABSENT;

/// Numbers up to this can be added a billion times without overflow.
const FAR_FROM_OVERFLOW: f64 = 1e290;

/// Applies the function to every window of a series that has numbers only.
pub(super) fn fill(call: &OverCall, samples: &[Sample], work: &mut Work, out: &mut [f64]) {
    let Work { places, values, spans: windows, pairs } = work;
    spans(samples, |sample| sample.at.0, &call.frame, windows);
    let each = |out: &mut [f64], body: &mut dyn FnMut(usize, &Window<'_>) -> Option<f64>| {
        for (step, (span, slot)) in windows.iter().zip(out).enumerate().filter(|(_, (span, _))| !span.is_empty()) {
            *slot = body(step, &call.window(step, span.of(samples))).unwrap_or(ABSENT);
        }
    };
    match call.over {
        Over::Rate | Over::Increase => {
            find(places, samples, |before, after| after < before);
            changes_over(call, samples, windows, places, out);
        }
        Over::Delta => {
            places.clear();
            changes_over(call, samples, windows, places, out);
        }
        Over::Changes => {
            find(places, samples, |before, after| before != after && !(before.is_nan() && after.is_nan()));
            count_between(places, windows, out);
        }
        Over::Resets => {
            find(places, samples, |before, after| after < before);
            count_between(places, windows, out);
        }
        Over::Count => each_span(windows, out, |span| span.len() as f64),
        Over::Present | Over::Absent => each_span(windows, out, |_| 1.0),
        Over::First => each_sample(windows, samples, out, |span| span.from, |sample| sample.value),
        Over::Last => each_sample(windows, samples, out, |span| span.to - 1, |sample| sample.value),
        Over::TimeOfFirst => each_sample(windows, samples, out, |span| span.from, |sample| sample.at.as_secs_f64()),
        Over::TimeOfLast => each_sample(windows, samples, out, |span| span.to - 1, |sample| sample.at.as_secs_f64()),
        Over::Sum if shared(windows, samples) => {
            let lift = |value| Sum { sum: value, rest: 0.0 };
            fold_shared(samples, windows, pairs, lift, Sum::join, |step, sum, _| put(out, step, sum.total()));
        }
        Over::Avg if shared(windows, samples) => {
            let lift = |value| Sum { sum: value, rest: 0.0 };
            fold_shared(samples, windows, pairs, lift, Sum::join, |step, sum, count| {
                let count = count as f64;
                put(out, step, sum.sum / count + sum.rest / count);
            });
        }
        Over::Min if overlap(windows, samples) => {
            fold_shared(samples, windows, values, |value| value, math::lesser, |step, value, _| put(out, step, value));
        }
        Over::Max if overlap(windows, samples) => {
            fold_shared(samples, windows, values, |value| value, math::greater, |step, value, _| put(out, step, value));
        }
        Over::Sum => each(out, &mut |_, window| Some(sum(window))),
        Over::Avg => each(out, &mut |_, window| Some(average(window))),
        Over::Min => each(out, &mut |_, window| window.values().reduce(math::lesser)),
        Over::Max => each(out, &mut |_, window| window.values().reduce(math::greater)),
        Over::Idelta => each(out, &mut |_, window| instant_change(window, false)),
        Over::Irate => each(out, &mut |_, window| instant_change(window, true)),
        Over::Stdvar => each(out, &mut |_, window| Some(variance(window))),
        Over::Stddev => each(out, &mut |_, window| Some(variance(window).sqrt())),
        Over::Mad => each(out, &mut |_, window| Some(deviation(window, values))),
        Over::Quantile => each(out, &mut |step, window| Some(quantile(window, call.first(step), values))),
        Over::Deriv => each(out, &mut |_, window| derivative(window)),
        Over::PredictLinear => each(out, &mut |step, window| predict(window, call.first(step))),
        Over::Smoothing => each(out, &mut |step, window| smooth(window, call.first(step), call.second(step))),
        Over::TimeOfMax => each(out, &mut |_, window| time_of(window, |value, best| value >= best)),
        Over::TimeOfMin => each(out, &mut |_, window| time_of(window, |value, best| value <= best)),
    }
}

/// Whether to add up what windows share: only numbers that can neither overflow nor swallow each other as infinities do.
fn shared(windows: &[Span], samples: &[Sample]) -> bool {
    overlap(windows, samples) && samples.iter().all(|sample| sample.value.abs() < FAR_FROM_OVERFLOW)
}

fn put(out: &mut [f64], step: usize, value: f64) {
    if let Some(slot) = out.get_mut(step) {
        *slot = value;
    }
}

fn each_span(windows: &[Span], out: &mut [f64], body: impl Fn(&Span) -> f64) {
    for (span, slot) in windows.iter().zip(out).filter(|(span, _)| !span.is_empty()) {
        *slot = body(span);
    }
}

fn each_sample(
    windows: &[Span],
    samples: &[Sample],
    out: &mut [f64],
    place: impl Fn(&Span) -> usize,
    value: impl Fn(&Sample) -> f64,
) {
    each_span(windows, out, |span| samples.get(place(span)).map_or(ABSENT, &value));
}

/// The places of samples after which something happens.
fn find(places: &mut Vec<usize>, samples: &[Sample], happens: impl Fn(f64, f64) -> bool) {
    places.clear();
    for (place, pair) in samples.windows(2).enumerate() {
        if let [before, after] = pair
            && happens(before.value, after.value)
        {
            places.push(place);
        }
    }
}

/// How many of `places` have both their samples in a window.
fn count_between(places: &[usize], windows: &[Span], out: &mut [f64]) {
    let (mut first, mut last) = (0, 0);
    each_span_mut(windows, out, |span| {
        while places.get(first).is_some_and(|place| *place < span.from) {
            first += 1;
        }
        last = last.max(first);
        while places.get(last).is_some_and(|place| place + 1 < span.to) {
            last += 1;
        }
        (last - first) as f64
    });
}

fn each_span_mut(windows: &[Span], out: &mut [f64], mut body: impl FnMut(&Span) -> f64) {
    for (span, slot) in windows.iter().zip(out).filter(|(span, _)| !span.is_empty()) {
        *slot = body(span);
    }
}

/// `rate`, `increase` and `delta`; `resets` are the places of samples after which the counter fell.
fn changes_over(call: &OverCall, samples: &[Sample], windows: &[Span], resets: &[usize], out: &mut [f64]) {
    let range = call.frame.range;
    let mut first_reset = 0;
    // Samples come in even steps, and so do windows: mostly each lies in its window like the one before.
    let mut layout = Layout::default();
    for ((span, slot), end) in windows.iter().zip(out).zip(&call.frame.ends) {
        if span.len() < 2 {
            continue;
        }
        let (Some(first), Some(last)) = (samples.get(span.from), samples.get(span.to - 1)) else {
            continue;
        };
        let mut change = last.value - first.value;
        while resets.get(first_reset).is_some_and(|place| *place < span.from) {
            first_reset += 1;
        }
        for place in resets.iter().skip(first_reset).take_while(|place| **place + 1 < span.to) {
            change += samples.get(*place).map_or(0.0, |sample| sample.value);
        }
        let place = Place::of((first, last), span.len() - 1, (end.saturating_sub(range), *end));
        if layout.place != place {
            layout = Layout::new(place, range, call.over);
        }
        *slot = change * layout.stretch(first.value, change);
    }
}

/// `rate`, `increase` or `delta` of one window.
pub(super) fn change(over: Over, window: &Window<'_>) -> Option<f64> {
    let [first, .., last] = window.samples else {
        return None;
    };
    let mut change = last.value - first.value;
    let pairs = window.values().zip(window.values().skip(1));
    for (before, _) in pairs.filter(|(before, after)| over != Over::Delta && after < before) {
        change += before;
    }
    let place = Place::of((first, last), window.samples.len() - 1, (window.start.0, window.end.0));
    let range = window.end.0.saturating_sub(window.start.0);
    Some(change * Layout::new(place, range, over).stretch(first.value, change))
}

/// How samples lie in a window, in milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Place {
    before_first: i64,
    between: i64,
    behind_last: i64,
    /// Samples but one.
    gaps: usize,
}

impl Place {
    fn of((first, last): (&Sample, &Sample), gaps: usize, (start, end): (i64, i64)) -> Self {
        Self {
            before_first: first.at.0.saturating_sub(start),
            between: last.at.0.saturating_sub(first.at.0),
            behind_last: end.saturating_sub(last.at.0),
            gaps,
        }
    }
}

/// By how much a change is stretched to its window's edges, unless the series seems to begin or end inside it (upstream
/// `extrapolatedRate`).
#[derive(Clone, Copy, Debug, Default)]
struct Layout {
    place: Place,
    /// Seconds from the first sample to the last, and those to stretch over before and behind.
    sampled: f64,
    to_start: f64,
    to_end: f64,
    /// What the change is divided by in the end.
    per: f64,
    /// The whole factor when nothing else stands against stretching.
    factor: f64,
    is_counter: bool,
}

/// So much larger that rounding cannot make it smaller.
const CLEARLY: f64 = 1.000_001;

impl Layout {
    fn new(place: Place, range: i64, over: Over) -> Self {
        let in_seconds = |ms: i64| ms as f64 / 1000.0;
        let sampled = in_seconds(place.between);
        let average = sampled / place.gaps as f64;
        let threshold = average * 1.1;
        let near = |gap: f64| if gap >= threshold { average / 2.0 } else { gap };
        let (to_start, to_end) = (near(in_seconds(place.before_first)), near(in_seconds(place.behind_last)));
        let per = if over == Over::Rate { in_seconds(range) } else { 1.0 };
        let is_counter = over != Over::Delta;
        let mut layout = Self { place, sampled, to_start, to_end, per, factor: 1.0, is_counter };
        layout.factor = layout.factor_from(to_start);
        layout
    }

    fn factor_from(&self, to_start: f64) -> f64 {
        (self.sampled + to_start + self.to_end) / self.sampled / self.per
    }

    fn stretch(&self, first: f64, change: f64) -> f64 {
        let ends_at_zero = self.is_counter && change > 0.0 && first >= 0.0;
        if !ends_at_zero || first * self.sampled > self.to_start * change * CLEARLY {
            return self.factor;
        }
        // A counter cannot have been negative: do not stretch beyond where it would have been zero.
        self.factor_from(self.to_start.min(self.sampled * (first / change)))
    }
}

pub(super) fn seconds(from: i64, to: i64) -> f64 {
    to.saturating_sub(from) as f64 / 1000.0
}

impl OverCall {
    /// The window of a step that holds these samples.
    fn window<'a>(&self, step: usize, samples: &'a [Sample]) -> Window<'a> {
        let end = self.frame.ends.get(step).copied().unwrap_or(0);
        let start = Timestamp(end.saturating_sub(self.frame.range));
        let at = Timestamp(self.frame.grid.time(step));
        Window { samples, histograms: &[], start, end: Timestamp(end), at }
    }
}

impl Window<'_> {
    fn values(&self) -> impl Iterator<Item = f64> {
        self.samples.iter().map(|sample| sample.value)
    }
}

pub(super) fn sum(window: &Window<'_>) -> f64 {
    let mut sum = Sum::default();
    window.values().for_each(|value| sum.add(value));
    sum.total()
}

pub(super) fn average(window: &Window<'_>) -> f64 {
    let mut mean = Mean::default();
    window.values().for_each(|value| mean.add(value));
    mean.value()
}

/// `irate` and `idelta`
pub(super) fn instant_change(window: &Window<'_>, is_rate: bool) -> Option<f64> {
    let [.., before, last] = window.samples else {
        return None;
    };
    if !is_rate {
        return Some(last.value - before.value);
    }
    let change = if last.value < before.value { last.value } else { last.value - before.value };
    Some(change / seconds(before.at.0, last.at.0))
}

/// Population variance.
pub(super) fn variance(window: &Window<'_>) -> f64 {
    let (mut mean, mut squares) = (Sum::default(), Sum::default());
    let mut count = 0.0;
    for value in window.values() {
        count += 1.0;
        let delta = value - (mean.sum + mean.rest);
        mean.add(delta / count);
        squares.add(delta * (value - (mean.sum + mean.rest)));
    }
    (squares.sum + squares.rest) / count
}

/// Median absolute deviation.
pub(super) fn deviation(window: &Window<'_>, values: &mut Vec<f64>) -> f64 {
    let median = quantile(window, 0.5, values);
    values.iter_mut().for_each(|value| *value = (*value - median).abs());
    math::quantile(0.5, values)
}

pub(super) fn quantile(window: &Window<'_>, q: f64, values: &mut Vec<f64>) -> f64 {
    values.clear();
    values.extend(window.values());
    math::quantile(q, values)
}

/// Per-second slope of the least-squares line.
pub(super) fn derivative(window: &Window<'_>) -> Option<f64> {
    // Time counts from the first sample, so that large timestamps do not eat the precision.
    regression(window, window.samples.first()?.at).map(|(slope, _)| slope)
}

/// Value of the least-squares line `ahead` seconds after the evaluation time.
pub(super) fn predict(window: &Window<'_>, ahead: f64) -> Option<f64> {
    regression(window, window.at).map(|(slope, intercept)| slope * ahead + intercept)
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
        let x = seconds(origin.0, sample.at.0);
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
pub(super) fn smooth(window: &Window<'_>, level: f64, trend: f64) -> Option<f64> {
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

/// When the best value was seen, the last time if more than once.
pub(super) fn time_of(window: &Window<'_>, beats: impl Fn(f64, f64) -> bool) -> Option<f64> {
    let best = window
        .samples
        .iter()
        .reduce(|best, sample| if beats(sample.value, best.value) || best.value.is_nan() { sample } else { best })?;
    Some(best.at.as_secs_f64())
}
