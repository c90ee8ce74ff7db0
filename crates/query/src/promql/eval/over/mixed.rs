//! Windows with native histograms, alone or among numbers.

use std::sync::Arc;

use signal::{Histogram, HistogramSample, Timestamp};

use super::slide::spans;
use super::{Input, Over, OverCall, Window, Work, float, floats};
use crate::promql::annotations::Annotation;
use crate::promql::eval::math;
use crate::promql::eval::notes::Notes;
use crate::promql::eval::rows::{Point, Points};
use crate::promql::native::{self, Change, Mismatch};

/// Applies the function to every window of a series that has histograms.
pub(super) fn fill(call: &OverCall, series: &Input<'_>, work: &mut Work, notes: &mut Notes, out: &mut Points) {
    let mut others = Vec::new();
    spans(series.samples, |sample| sample.at.0, &call.frame, &mut work.spans);
    spans(series.histograms, |sample| sample.at.0, &call.frame, &mut others);
    let mut remarks = Vec::new();
    for (step, (numbers, histograms)) in work.spans.iter().zip(&others).enumerate() {
        if numbers.is_empty() && histograms.is_empty() {
            continue;
        }
        let end = call.frame.ends.get(step).copied().unwrap_or(0);
        let window = Window {
            samples: numbers.of(series.samples),
            histograms: histograms.of(series.histograms),
            start: Timestamp(end.saturating_sub(call.frame.range)),
            end: Timestamp(end),
            at: Timestamp(call.frame.grid.time(step)),
        };
        if let Some(point) = apply(call, step, &window, series.metric, &mut work.values, &mut remarks) {
            out.put(step, point);
        }
    }
    for remark in remarks {
        notes.add(remark, call.place);
    }
}

fn apply(
    call: &OverCall,
    step: usize,
    window: &Window<'_>,
    metric: &str,
    values: &mut Vec<f64>,
    remarks: &mut Vec<Annotation>,
) -> Option<Point> {
    let (numbers, histograms) = (window.samples, window.histograms);
    match call.over {
        Over::Absent | Over::Present => Some(Point::Float(1.0)),
        Over::Count => Some(Point::Float((numbers.len() + histograms.len()) as f64)),
        Over::Changes => Some(Point::Float(native::changes(numbers, histograms))),
        Over::Resets => Some(Point::Float(native::resets(numbers, histograms))),
        Over::First => first(window, |at, point| (at, point)).map(|(_, point)| point),
        Over::Last => last(window, |at, point| (at, point)).map(|(_, point)| point),
        Over::TimeOfFirst => first(window, |at, _| at).map(|at| Point::Float(at.as_secs_f64())),
        Over::TimeOfLast => last(window, |at, _| at).map(|at| Point::Float(at.as_secs_f64())),
        Over::Rate => change(call.over, Change::Rate, window, metric, remarks),
        Over::Increase => change(call.over, Change::Increase, window, metric, remarks),
        Over::Delta => change(call.over, Change::Delta, window, metric, remarks),
        Over::Irate => instant_change(true, window, metric, remarks),
        Over::Idelta => instant_change(false, window, metric, remarks),
        Over::Sum => one_kind(window, metric, remarks, floats::sum, |all| native::total(all)),
        Over::Avg => one_kind(window, metric, remarks, floats::average, |all| native::average(all)),
        Over::Deriv => float(numbers_among(window, metric, remarks).and_then(floats::derivative)),
        Over::PredictLinear => {
            float(numbers_among(window, metric, remarks).and_then(|window| floats::predict(window, call.first(step))))
        }
        Over::Smoothing => float(
            numbers_among(window, metric, remarks)
                .and_then(|window| floats::smooth(window, call.first(step), call.second(step))),
        ),
        Over::Mad => float(numbers_among(window, metric, remarks).map(|window| floats::deviation(window, values))),
        Over::Quantile => float(
            numbers_among(window, metric, remarks).map(|window| floats::quantile(window, call.first(step), values)),
        ),
        Over::Stddev => float(numbers_among(window, metric, remarks).map(|window| floats::variance(window).sqrt())),
        Over::Stdvar => float(numbers_among(window, metric, remarks).map(floats::variance)),
        Over::Max => float(numbers_among(window, metric, remarks).and_then(|window| extreme(window, math::greater))),
        Over::Min => float(numbers_among(window, metric, remarks).and_then(|window| extreme(window, math::lesser))),
        Over::TimeOfMax => float(
            numbers_among(window, metric, remarks)
                .and_then(|window| floats::time_of(window, |value, best| value >= best)),
        ),
        Over::TimeOfMin => float(
            numbers_among(window, metric, remarks)
                .and_then(|window| floats::time_of(window, |value, best| value <= best)),
        ),
    }
}

/// The window of a function that looks at numbers only, if it has any; says so when there are histograms beside them.
fn numbers_among<'w, 'a>(
    window: &'w Window<'a>,
    metric: &str,
    remarks: &mut Vec<Annotation>,
) -> Option<&'w Window<'a>> {
    if window.samples.is_empty() {
        return None;
    }
    if !window.histograms.is_empty() {
        remark(remarks, Annotation::histogram_ignored_in_mixed_range(metric));
    }
    Some(window)
}

fn extreme(window: &Window<'_>, better: impl Fn(f64, f64) -> f64) -> Option<f64> {
    window.samples.iter().map(|sample| sample.value).reduce(better)
}

/// Whether a window has both kinds, which a function that wants one of them says.
fn is_mixed(window: &Window<'_>, metric: &str, remarks: &mut Vec<Annotation>) -> bool {
    let is_mixed = !window.samples.is_empty() && !window.histograms.is_empty();
    if is_mixed {
        remark(remarks, Annotation::mixed_floats_histograms(metric));
    }
    is_mixed
}

/// `sum_over_time` and `avg_over_time`
fn one_kind(
    window: &Window<'_>,
    metric: &str,
    remarks: &mut Vec<Annotation>,
    numbers: impl Fn(&Window<'_>) -> f64,
    histograms: impl Fn(&mut dyn Iterator<Item = &Histogram>) -> Result<Option<Histogram>, Mismatch>,
) -> Option<Point> {
    if is_mixed(window, metric, remarks) {
        return None;
    }
    if window.histograms.is_empty() {
        return Some(Point::Float(numbers(window)));
    }
    match histograms(&mut window.histograms.iter().map(|sample| &*sample.histogram)) {
        Ok(result) => histogram(result),
        Err(mismatch) => {
            remark(remarks, mismatch.annotation(metric));
            None
        }
    }
}

/// `rate`, `increase` and `delta`
fn change(over: Over, kind: Change, window: &Window<'_>, metric: &str, remarks: &mut Vec<Annotation>) -> Option<Point> {
    if is_mixed(window, metric, remarks) {
        return None;
    }
    if window.histograms.is_empty() {
        return float(floats::change(over, window));
    }
    let mut found = Vec::new();
    let result = native::change(kind, window.histograms, (window.start, window.end), metric, &mut found);
    found.into_iter().for_each(|note| remark(remarks, note));
    histogram(result)
}

fn instant_change(is_rate: bool, window: &Window<'_>, metric: &str, remarks: &mut Vec<Annotation>) -> Option<Point> {
    let mut newest: Vec<(Timestamp, Option<&HistogramSample>)> = Vec::with_capacity(4);
    newest.extend(window.samples.iter().rev().take(2).map(|sample| (sample.at, None)));
    newest.extend(window.histograms.iter().rev().take(2).map(|sample| (sample.at, Some(sample))));
    newest.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
    match newest.as_slice() {
        [(_, None), (_, None), ..] => float(floats::instant_change(window, is_rate)),
        [(_, Some(last)), (_, Some(before)), ..] => {
            let mut found = Vec::new();
            let result = native::instant_change(is_rate, before, last, metric, &mut found);
            found.into_iter().for_each(|note| remark(remarks, note));
            histogram(result)
        }
        [(_, None), (_, Some(_)), ..] | [(_, Some(_)), (_, None), ..] => {
            remark(remarks, Annotation::mixed_floats_histograms(metric));
            None
        }
        [] | [_] => None,
    }
}

/// The earlier of the first number and the first histogram.
fn first<T>(window: &Window<'_>, pick: impl Fn(Timestamp, Point) -> T) -> Option<T> {
    match (window.samples.first(), window.histograms.first()) {
        (Some(sample), Some(other)) if other.at < sample.at => Some(pick(other.at, shared(other))),
        (Some(sample), _) => Some(pick(sample.at, Point::Float(sample.value))),
        (None, Some(other)) => Some(pick(other.at, shared(other))),
        (None, None) => None,
    }
}

/// The later of the last number and the last histogram.
fn last<T>(window: &Window<'_>, pick: impl Fn(Timestamp, Point) -> T) -> Option<T> {
    match (window.samples.last(), window.histograms.last()) {
        (Some(sample), Some(other)) if other.at < sample.at => Some(pick(sample.at, Point::Float(sample.value))),
        (_, Some(other)) => Some(pick(other.at, shared(other))),
        (Some(sample), None) => Some(pick(sample.at, Point::Float(sample.value))),
        (None, None) => None,
    }
}

fn shared(sample: &HistogramSample) -> Point {
    Point::Histogram(Arc::clone(&sample.histogram))
}

fn histogram(result: Option<Histogram>) -> Option<Point> {
    result.map(|histogram| Point::Histogram(Arc::new(histogram)))
}

fn remark(remarks: &mut Vec<Annotation>, annotation: Annotation) {
    if !remarks.contains(&annotation) {
        remarks.push(annotation);
    }
}
