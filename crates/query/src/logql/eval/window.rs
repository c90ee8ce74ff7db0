//! Functions over the lines of a moving window.

use std::collections::HashMap;

use signal::{Labels, LabelsBuilder, MatchOp, Nanos};

use super::EvalError;
use super::lines::Reader;
use super::metric::{Evaluation, Row};
use crate::logql::ast::{Conversion, Grouping, RangeExpr, RangeOp};
use crate::logql::pipeline::{Entry, Error, Filter, Hints, required_labels};
use crate::logql::units::{parse_bytes, parse_duration};

/// Most values one function may yield, over all series and steps.
const MAX_VALUES: usize = 20_000_000;

/// One line as a number.
#[derive(Clone, Copy)]
struct Sample {
    at: Nanos,
    value: f64,
}

/// Values over `(t - range - offset, t - offset]` at each step, of all lines that `grouping` puts into one series.
pub(super) fn eval(
    expr: &RangeExpr,
    grouping: Option<&Grouping>,
    evaluation: &Evaluation<'_>,
) -> Result<Vec<Row>, EvalError> {
    let instants = evaluation.steps.as_slice();
    let (Some(first), Some(last)) = (instants.first(), instants.last()) else { return Ok(Vec::new()) };
    let shift = |at: Nanos, by: i64| Nanos(at.0.saturating_sub(by));
    let end = shift(*last, expr.offset);
    let start = Nanos(shift(shift(*first, expr.offset), expr.range).0.saturating_add(1));
    let series = read(expr, grouping, evaluation, (start, end))?;
    if expr.op == RangeOp::AbsentOverTime {
        return Ok(absent(expr, &series, instants));
    }
    if series.len().saturating_mul(instants.len()) > MAX_VALUES {
        return Err(EvalError::TooManySeries { series: series.len() });
    }
    let mut rows = Vec::with_capacity(series.len());
    for (labels, samples) in series {
        if evaluation.cancel.is_canceled() {
            return Err(EvalError::Canceled);
        }
        let mut values = Vec::with_capacity(instants.len());
        let (mut from, mut to) = (0, 0);
        for at in instants {
            let end = shift(*at, expr.offset);
            let start = shift(end, expr.range);
            to += samples.iter().skip(to).take_while(|sample| sample.at <= end).count();
            from += samples.iter().skip(from).take_while(|sample| sample.at <= start).count();
            let inside = samples.get(from..to).unwrap_or_default();
            values.push(if inside.is_empty() { None } else { reduce(expr, inside, (start, end)) });
        }
        if values.iter().any(Option::is_some) {
            rows.push(Row { labels, values });
        }
    }
    Ok(rows)
}

fn read(
    expr: &RangeExpr,
    grouping: Option<&Grouping>,
    evaluation: &Evaluation<'_>,
    (start, end): (Nanos, Nanos),
) -> Result<HashMap<Labels, Vec<Sample>>, EvalError> {
    let hints = required_labels(expr, grouping).map(Hints::new);
    let reader = Reader::with_hints(&expr.log, end, hints)?;
    let filters = expr.unwrap.iter().flat_map(|unwrap| &unwrap.filters).map(Filter::new).collect::<Result<Vec<_>, _>>();
    let filters = filters.map_err(|reason| EvalError::Stage { reason })?;
    let (start, end) = reader.narrow(start, end);
    let mut series: HashMap<Labels, Vec<Sample>> = HashMap::new();
    if start > end {
        return Ok(series);
    }
    let mut seen = 0_usize;
    for stream in evaluation.snapshot.streams(&expr.log.matchers, start, end) {
        // Lines that keep their stream's labels are most often all of them: they are not looked up one by one.
        let mut own: Vec<Sample> = Vec::new();
        for line in &stream.lines {
            seen += 1;
            if seen.is_multiple_of(1024) && evaluation.cancel.is_canceled() {
                return Err(EvalError::Canceled);
            }
            let Some(mut entry) = reader.run(&stream.labels, line) else { continue };
            let Some(value) = value(expr, &mut entry, &filters) else { continue };
            if let Some(error) = entry.failed() {
                return Err(EvalError::Pipeline { error: error.as_str(), series: entry.labels().to_string() });
            }
            let sample = Sample { at: line.at, value };
            let labels = identity(expr, grouping, &entry);
            if labels.is_same(&stream.labels) {
                own.push(sample);
            } else {
                series.entry(labels).or_default().push(sample);
            }
        }
        if !own.is_empty() {
            series.entry(stream.labels.clone()).or_default().extend(own);
        }
    }
    for samples in series.values_mut() {
        // Several streams may flow into one series.
        samples.sort_by_key(|sample| sample.at);
    }
    Ok(series)
}

/// What a line counts; `None` when it does not count at all.
fn value(expr: &RangeExpr, entry: &mut Entry<'_>, filters: &[Filter]) -> Option<f64> {
    let Some(unwrap) = &expr.unwrap else {
        return Some(match expr.op {
            RangeOp::BytesRate | RangeOp::BytesOverTime => entry.line.len() as f64,
            RangeOp::Rate
            | RangeOp::RateCounter
            | RangeOp::CountOverTime
            | RangeOp::AbsentOverTime
            | RangeOp::SumOverTime
            | RangeOp::AvgOverTime
            | RangeOp::MinOverTime
            | RangeOp::MaxOverTime
            | RangeOp::StddevOverTime
            | RangeOp::StdvarOverTime
            | RangeOp::QuantileOverTime
            | RangeOp::FirstOverTime
            | RangeOp::LastOverTime => 1.0,
        });
    };
    let text = entry.get(&unwrap.label).filter(|text| !text.is_empty())?;
    let read = match unwrap.conversion {
        Conversion::Number => text.parse().map_err(|_| format!("cannot read {text:?} as a number")),
        Conversion::Duration | Conversion::DurationSeconds => parse_duration(text).map(|nanos| nanos as f64 / 1e9),
        Conversion::Bytes => {
            parse_bytes(text).map(|bytes| bytes as f64).ok_or_else(|| format!("cannot read {text:?} as a size"))
        }
    };
    let value = match read {
        Ok(value) => value,
        Err(details) => {
            entry.fail(Error::SampleExtraction, details);
            0.0
        }
    };
    filters.iter().all(|filter| filter.holds(entry)).then_some(value)
}

/// Labels of the series a line belongs to.
fn identity(expr: &RangeExpr, grouping: Option<&Grouping>, entry: &Entry<'_>) -> Labels {
    match grouping {
        Some(Grouping { without: false, labels }) => {
            Labels::from_pairs(labels.iter().filter_map(|name| Some((name, entry.get(name)?))))
        }
        Some(Grouping { without: true, labels }) => {
            let unwrapped = expr.unwrap.as_ref().map(|unwrap| unwrap.label.as_str());
            entry.labels().without(|name| Some(name) == unwrapped || labels.iter().any(|label| label == name))
        }
        None => match &expr.unwrap {
            Some(unwrap) => entry.labels().without(|name| name == unwrap.label),
            None => entry.labels(),
        },
    }
}

/// One where nothing is: with the labels the selector pins down.
fn absent(expr: &RangeExpr, series: &HashMap<Labels, Vec<Sample>>, instants: &[Nanos]) -> Vec<Row> {
    let mut labels = LabelsBuilder::default();
    let mut named: Vec<&str> = Vec::new();
    for matcher in &expr.log.matchers {
        if named.contains(&matcher.name.as_str()) || matcher.op != MatchOp::Equal {
            labels.remove(&matcher.name);
        } else {
            labels.set(&matcher.name, &matcher.value);
        }
        named.push(&matcher.name);
    }
    let mut times: Vec<Nanos> = series.values().flatten().map(|sample| sample.at).collect();
    times.sort_unstable();
    let until = |at: i64| times.partition_point(|time| time.0 <= at);
    let values: Vec<_> = instants
        .iter()
        .map(|at| {
            let end = at.0.saturating_sub(expr.offset);
            let start = end.saturating_sub(expr.range);
            (until(start) == until(end)).then_some(1.0)
        })
        .collect();
    vec![Row { labels: labels.build(), values }]
}

/// `inside` is not empty and ascending in time.
fn reduce(expr: &RangeExpr, inside: &[Sample], window: (Nanos, Nanos)) -> Option<f64> {
    let seconds = expr.range as f64 / 1e9;
    let count = inside.len() as f64;
    let values = || inside.iter().map(|sample| sample.value);
    let sum = || values().sum::<f64>();
    let variance = || {
        // Welford's method, as in Loki: exact also where the mean is large.
        let (mut mean, mut squares) = (0.0, 0.0);
        for (at, value) in values().enumerate() {
            let delta = value - mean;
            mean += delta / (at + 1) as f64;
            squares += delta * (value - mean);
        }
        squares / count
    };
    match expr.op {
        RangeOp::Rate | RangeOp::BytesRate => Some(sum() / seconds),
        RangeOp::CountOverTime => Some(count),
        RangeOp::BytesOverTime | RangeOp::SumOverTime => Some(sum()),
        RangeOp::AvgOverTime => Some(sum() / count),
        RangeOp::MinOverTime => {
            values().reduce(|least, value| if value < least || least.is_nan() { value } else { least })
        }
        RangeOp::MaxOverTime => values().reduce(|most, value| if value > most || most.is_nan() { value } else { most }),
        RangeOp::StdvarOverTime => Some(variance()),
        RangeOp::StddevOverTime => Some(variance().sqrt()),
        RangeOp::QuantileOverTime => Some(quantile(expr.parameter.unwrap_or(f64::NAN), values().collect())),
        RangeOp::FirstOverTime => inside.first().map(|sample| sample.value),
        RangeOp::LastOverTime => inside.last().map(|sample| sample.value),
        RangeOp::RateCounter => rate_counter(inside, window, seconds),
        RangeOp::AbsentOverTime => None,
    }
}

/// Linear interpolation between the closest ranks.
fn quantile(q: f64, mut values: Vec<f64>) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    values.sort_by(f64::total_cmp);
    let rank = q * (values.len() - 1) as f64;
    let lower = rank.floor() as usize;
    let upper = (lower + 1).min(values.len() - 1);
    let weight = rank - rank.floor();
    let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
    at(lower) * (1.0 - weight) + at(upper) * weight
}

/// Increase per second with resets of the counter made good, extrapolated to the window as Prometheus' `rate` does.
fn rate_counter(inside: &[Sample], (start, end): (Nanos, Nanos), seconds: f64) -> Option<f64> {
    let (first, last) = (inside.first()?, inside.last()?);
    if inside.len() < 2 {
        return None;
    }
    let resets: f64 = inside
        .iter()
        .zip(inside.iter().skip(1))
        .filter(|(before, after)| after.value < before.value)
        .map(|(before, _)| before.value)
        .sum();
    let increase = last.value - first.value + resets;
    let sampled = (last.at.0 - first.at.0) as f64 / 1e9;
    if sampled <= 0.0 {
        return None;
    }
    let between = sampled / (inside.len() - 1) as f64;
    let mut to_start = (first.at.0 - start.0) as f64 / 1e9;
    let mut to_end = (end.0 - last.at.0) as f64 / 1e9;
    if to_start >= between * 1.1 {
        to_start = between / 2.0;
    }
    if increase > 0.0 && first.value >= 0.0 {
        // A counter does not start below zero.
        to_start = to_start.min(sampled * (first.value / increase));
    }
    if to_end >= between * 1.1 {
        to_end = between / 2.0;
    }
    Some(increase * ((sampled + to_start + to_end) / sampled) / seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_interpolate() {
        for (q, values, want) in [
            (0.5, &[1.0, 2.0, 3.0, 4.0][..], 2.5),
            (0.0, &[3.0, 1.0], 1.0),
            (1.0, &[3.0, 1.0], 3.0),
            (0.9, &[10.0], 10.0),
            (1.5, &[1.0], f64::INFINITY),
        ] {
            assert_eq!(quantile(q, values.to_vec()), want, "{q} of {values:?}");
        }
    }

    #[test]
    fn a_counter_may_start_again() {
        let samples: Vec<_> = [(10, 0.0), (20, 10.0), (30, 5.0), (40, 15.0)]
            .map(|(second, value)| Sample { at: Nanos(second * 1_000_000_000), value })
            .to_vec();
        // Raw increase 25 over 30 s; to the start nothing is added because the counter began at zero; to the end 10 s.
        let rate = rate_counter(&samples, (Nanos(0), Nanos(50_000_000_000)), 50.0).unwrap();
        assert!((rate - 25.0 * (40.0 / 30.0) / 50.0).abs() < 1e-12, "{rate}");
    }
}
