//! Windows with native histograms, alone or among numbers.

use std::sync::Arc;

use signal::{Histogram, HistogramSample, Timestamp};

use super::slide::spans;
use super::{Input, Over, OverCall, Window, Work, float, floats};
use crate::promql::annotations::Annotation;
use crate::promql::eval::math;
use crate::promql::eval::notes::Notes;
use crate::promql::eval::rows::{Point, Points};
use crate::promql::native::{self, Change};

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
        Over::Rate | Over::Increase | Over::Delta => {
            if !numbers.is_empty() && !histograms.is_empty() {
                remark(remarks, Annotation::mixed_floats_histograms(metric));
                return None;
            }
            if histograms.is_empty() {
                return float(floats::change(call.over, window));
            }
            let change = match call.over {
                Over::Rate => Change::Rate,
                Over::Increase => Change::Increase,
                _ => Change::Delta,
            };
            let mut found = Vec::new();
            let result = native::change(change, histograms, (window.start, window.end), metric, &mut found);
            found.into_iter().for_each(|note| remark(remarks, note));
            histogram(result)
        }
        Over::Irate | Over::Idelta => instant_change(call.over == Over::Irate, window, metric, remarks),
        Over::Sum | Over::Avg => {
            if !numbers.is_empty() && !histograms.is_empty() {
                remark(remarks, Annotation::mixed_floats_histograms(metric));
                return None;
            }
            if histograms.is_empty() {
                let value = if call.over == Over::Sum { floats::sum(window) } else { floats::average(window) };
                return Some(Point::Float(value));
            }
            let all = histograms.iter().map(|sample| &*sample.histogram);
            let result = if call.over == Over::Sum { native::total(all) } else { native::average(all) };
            match result {
                Ok(result) => histogram(result),
                Err(mismatch) => {
                    remark(remarks, mismatch.annotation(metric));
                    None
                }
            }
        }
        Over::Deriv | Over::PredictLinear | Over::Smoothing => {
            if !numbers.is_empty() && !histograms.is_empty() {
                remark(remarks, Annotation::histogram_ignored_in_mixed_range(metric));
            }
            float(match call.over {
                Over::Deriv => floats::derivative(window),
                Over::PredictLinear => floats::predict(window, call.first(step)),
                _ => floats::smooth(window, call.first(step), call.second(step)),
            })
        }
        Over::Mad | Over::Max | Over::Min | Over::Quantile | Over::Stddev | Over::Stdvar => {
            statistics(call, step, window, metric, values, remarks)
        }
        Over::TimeOfMax | Over::TimeOfMin => statistics(call, step, window, metric, values, remarks),
    }
}

/// Functions that look at numbers only, and say so when there are histograms beside them.
fn statistics(
    call: &OverCall,
    step: usize,
    window: &Window<'_>,
    metric: &str,
    values: &mut Vec<f64>,
    remarks: &mut Vec<Annotation>,
) -> Option<Point> {
    if window.samples.is_empty() {
        return None;
    }
    if !window.histograms.is_empty() {
        remark(remarks, Annotation::histogram_ignored_in_mixed_range(metric));
    }
    let numbers = || window.samples.iter().map(|sample| sample.value);
    float(match call.over {
        Over::Mad => Some(floats::deviation(window, values)),
        Over::Max => numbers().reduce(math::greater),
        Over::Min => numbers().reduce(math::lesser),
        Over::Quantile => Some(floats::quantile(window, call.first(step), values)),
        Over::Stddev => Some(floats::variance(window).sqrt()),
        Over::Stdvar => Some(floats::variance(window)),
        Over::TimeOfMax => floats::time_of(window, |value, best| value >= best),
        _ => floats::time_of(window, |value, best| value <= best),
    })
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
