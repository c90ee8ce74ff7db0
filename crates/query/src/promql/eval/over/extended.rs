//! `anchored` and `smoothed`: windows whose edges have values of their own.

use signal::{Sample, Timestamp};

use super::floats::seconds;
use super::slide::spans;
use super::{Frame, Input, Over, OverCall, Work};
use crate::promql::ast::Reach;
use crate::promql::eval::EvalError;
use crate::promql::eval::rows::ABSENT;

/// What may be asked of windows with edges; others would count the edges as samples.
const ANCHORED: [(&str, Over); 5] = [
    ("changes", Over::Changes),
    ("delta", Over::Delta),
    ("increase", Over::Increase),
    ("rate", Over::Rate),
    ("resets", Over::Resets),
];
const SMOOTHED: [(&str, Over); 3] = [("delta", Over::Delta), ("increase", Over::Increase), ("rate", Over::Rate)];

/// Refuses functions that make no sense over such windows.
pub(in crate::promql::eval) fn check(reach: Reach, over: Over, name: &str) -> Result<(), EvalError> {
    let (word, fitting) = match reach {
        Reach::Window => return Ok(()),
        Reach::Anchored => ("anchored", ANCHORED.as_slice()),
        Reach::Smoothed => ("smoothed", SMOOTHED.as_slice()),
    };
    if fitting.iter().any(|(_, fits)| *fits == over) {
        return Ok(());
    }
    let names: Vec<&str> = fitting.iter().map(|(name, _)| *name).collect();
    Err(EvalError::execution(format!("{word} modifier can only be used with: {} - not with {name}", names.join(", "))))
}

/// How far the samples reach that a window's edges may need: before its start, and behind its end.
pub(in crate::promql::eval) fn margins(reach: Reach, lookback: i64) -> (i64, i64) {
    match reach {
        Reach::Window => (0, 0),
        Reach::Anchored => (lookback, 0),
        Reach::Smoothed => (lookback, lookback),
    }
}

pub(super) fn fill(call: &OverCall, series: &Input<'_>, work: &mut Work, out: &mut [f64]) -> Result<(), EvalError> {
    if !series.histograms.is_empty() {
        return Err(EvalError::execution("smoothed and anchored modifiers do not work with native histograms"));
    }
    let frame = &call.frame;
    let (before, behind) = margins(frame.reach, frame.lookback);
    let wide = Frame {
        grid: frame.grid,
        ends: frame.ends.iter().map(|end| end.saturating_add(behind)).collect(),
        range: frame.range.saturating_add(before).saturating_add(behind),
        reach: Reach::Window,
        lookback: 0,
    };
    spans(series.samples, |sample| sample.at.0, &wide, &mut work.spans);
    for ((span, end), slot) in work.spans.iter().zip(&frame.ends).zip(out) {
        let window = (end.saturating_sub(frame.range), *end);
        *slot = change(call.over, frame.reach, span.of(series.samples), window).unwrap_or(ABSENT);
    }
    Ok(())
}

/// The values at a window's edges and the samples between them (upstream `extendedRate`).
struct Edges<'a> {
    left: f64,
    between: &'a [Sample],
    right: f64,
}

fn edges(reach: Reach, samples: &[Sample], (start, end): (i64, i64), is_counter: bool) -> Option<Edges<'_>> {
    let smoothed = reach == Reach::Smoothed;
    let all_but_last = samples.split_last().map_or(&[][..], |(_, rest)| rest);
    let first = all_but_last.partition_point(|sample| sample.at.0 <= start).saturating_sub(1);
    let last = if smoothed { all_but_last.partition_point(|sample| sample.at.0 < end) } else { all_but_last.len() };
    let (earliest, latest) = (samples.get(first)?, samples.get(last)?);
    if latest.at.0 <= start {
        return None;
    }
    let left = match samples.get(first + 1) {
        Some(next) if smoothed && earliest.at.0 < start => between(earliest, next, start, is_counter),
        Some(_) | None => earliest.value,
    };
    let right = match last.checked_sub(1).and_then(|before| samples.get(before)) {
        Some(before) if smoothed && latest.at.0 > end => between(before, latest, end, is_counter),
        Some(_) | None => latest.value,
    };
    let from = if earliest.at.0 <= start { first + 1 } else { first };
    let to = if latest.at.0 >= end { last } else { last + 1 };
    Some(Edges { left, between: samples.get(from..to).unwrap_or_default(), right })
}

/// The value at a time between two samples. A counter that fell began anew from zero.
fn between(before: &Sample, after: &Sample, at: i64, is_counter: bool) -> f64 {
    let from = if is_counter && after.value < before.value { 0.0 } else { before.value };
    let passed = at.saturating_sub(before.at.0) as f64;
    from + (after.value - from) * passed / after.at.0.saturating_sub(before.at.0) as f64
}

fn change(over: Over, reach: Reach, samples: &[Sample], window: (i64, i64)) -> Option<f64> {
    let is_counter = matches!(over, Over::Rate | Over::Increase);
    let Edges { left, between, right } = edges(reach, samples, window, is_counter)?;
    let values = || [left].into_iter().chain(between.iter().map(|sample| sample.value)).chain([right]);
    let pairs = || values().zip(values().skip(1));
    let fell = |(before, after): &(f64, f64)| after < before;
    if over == Over::Resets {
        return Some(pairs().filter(fell).count() as f64);
    }
    if over == Over::Changes {
        let differs = |(a, b): &(f64, f64)| a != b && !(a.is_nan() && b.is_nan());
        return Some(pairs().filter(differs).count() as f64);
    }
    let mut change = right - left;
    if is_counter {
        change += pairs().filter(fell).map(|(before, _)| before).sum::<f64>();
    }
    Some(if over == Over::Rate { change / seconds(window.0, window.1) } else { change })
}

/// The samples of a window as a query for itself shows them: with those at its edges.
pub(in crate::promql::eval) fn shown(reach: Reach, samples: &[Sample], (start, end): (i64, i64)) -> Vec<Sample> {
    let Some(Edges { left, between, right }) = edges(reach, samples, (start, end), false) else {
        return Vec::new();
    };
    let edge = |at: i64, value: f64| Sample { at: Timestamp(at), value };
    [edge(start, left)].into_iter().chain(between.iter().copied()).chain([edge(end, right)]).collect()
}

/// The value at `at` on the line between the samples around it, or that of the last one; upstream `smoothSeries`.
pub(in crate::promql::eval) fn smoothed(samples: &[Sample], at: i64, lookback: i64) -> Option<f64> {
    let near =
        |sample: &&Sample| at.saturating_sub(lookback) < sample.at.0 && sample.at.0 <= at.saturating_add(lookback);
    let behind = samples.partition_point(|sample| sample.at.0 < at);
    let after = samples.get(behind).filter(near);
    if let Some(exact) = after.filter(|sample| sample.at.0 == at) {
        return Some(exact.value);
    }
    let before = behind.checked_sub(1).and_then(|before| samples.get(before)).filter(near)?;
    Some(after.map_or(before.value, |after| between(before, after, at, false)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(pairs: &[(i64, f64)]) -> Vec<Sample> {
        pairs.iter().map(|(at, value)| Sample { at: Timestamp(*at), value: *value }).collect()
    }

    #[test]
    fn edges_have_values_of_their_own() {
        let counter = samples(&[(0, 0.0), (10_000, 10.0), (20_000, 20.0), (30_000, 5.0), (40_000, 15.0)]);
        for (case, over, reach, window, want) in [
            ("anchored begins with the sample before", Over::Increase, Reach::Anchored, (5_000, 20_000), Some(20.0)),
            ("smoothed begins on the line", Over::Increase, Reach::Smoothed, (5_000, 20_000), Some(15.0)),
            ("smoothed ends on the line", Over::Increase, Reach::Smoothed, (5_000, 15_000), Some(10.0)),
            ("a reset counts", Over::Increase, Reach::Anchored, (10_000, 40_000), Some(25.0)),
            ("a gauge falls", Over::Delta, Reach::Anchored, (10_000, 40_000), Some(5.0)),
            ("per second", Over::Rate, Reach::Anchored, (0, 20_000), Some(1.0)),
            ("resets", Over::Resets, Reach::Anchored, (0, 40_000), Some(1.0)),
            ("changes", Over::Changes, Reach::Anchored, (0, 40_000), Some(4.0)),
            ("nothing behind the start", Over::Increase, Reach::Anchored, (40_000, 50_000), None),
        ] {
            let seen: Vec<Sample> =
                counter.iter().filter(|one| reach == Reach::Smoothed || one.at.0 <= window.1).copied().collect();
            assert_eq!(change(over, reach, &seen, window), want, "{case}");
        }
    }

    #[test]
    fn smoothed_values_lie_on_the_line() {
        let gauge = samples(&[(0, 0.0), (10_000, 10.0)]);
        for (at, want) in [(-1, None), (0, Some(0.0)), (5_000, Some(5.0)), (12_000, Some(10.0)), (70_001, None)] {
            assert_eq!(smoothed(&gauge, at, 60_000), want, "{at}");
        }
        assert_eq!(shown(Reach::Anchored, &gauge, (5_000, 10_000)), samples(&[(5_000, 0.0), (10_000, 10.0)]));
    }
}
