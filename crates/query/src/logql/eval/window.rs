//! Functions over the lines of a moving window.

use std::collections::BTreeSet;

use signal::{Labels, LabelsBuilder, MatchOp, Nanos};

use super::columns::{Columnar, Left};
use super::gather::{Bin, Edges, Gathered, Gathering, Sample};
use super::lines::{Reader, threads};
use super::metric::{Evaluation, Row};
use super::source::{self, Opened, Source};
use super::{Direction, EvalError};
use crate::logql::ast::{Conversion, Grouping, RangeExpr, RangeOp};
use crate::logql::pipeline::{Entry, Error, Filter, Hints, required_labels, stage_labels};
use crate::logql::units::{read_bytes, read_duration, read_float};
use crate::parallel::in_chunks;

/// Most values one function may yield, over all series and steps.
const MAX_VALUES: usize = 20_000_000;

/// A range function ready to look at lines.
pub(super) struct Function<'q> {
    pub(super) expr: &'q RangeExpr,
    pub(super) grouping: Option<&'q Grouping>,
    pub(super) reader: Reader,
    /// Labels that anybody looks at; all of them without.
    pub(super) wanted: Option<BTreeSet<String>>,
    /// Those behind `unwrap`.
    filters: Vec<Filter>,
}

/// Values over `(t - range - offset, t - offset]` at each step, of all lines that `grouping` puts into one series.
pub(super) fn eval(
    expr: &RangeExpr,
    grouping: Option<&Grouping>,
    evaluation: &Evaluation<'_>,
) -> Result<Vec<Row>, EvalError> {
    let instants = evaluation.steps.as_slice();
    let shift = |at: Nanos, by: i64| Nanos(at.0.saturating_sub(by));
    let window = |at: &Nanos| (shift(shift(*at, expr.offset), expr.range), shift(*at, expr.offset));
    let windows: Vec<_> = instants.iter().map(window).collect();
    let (Some((start, _)), Some((_, end))) = (windows.first(), windows.last()) else { return Ok(Vec::new()) };
    let edges = Edges::new(&windows);
    let function = Function::new(expr, grouping, *end)?;
    let gathering = gather(&function, &edges, (Nanos(start.0.saturating_add(1)), *end), evaluation)?;
    if gathering.series_count().saturating_mul(instants.len()) > MAX_VALUES {
        return Err(EvalError::TooManySeries { series: gathering.series_count() });
    }
    let series = gathering.finish();
    if expr.op == RangeOp::AbsentOverTime {
        return Ok(absent(expr, &series, &windows, &edges));
    }
    let mut rows = Vec::with_capacity(series.len());
    for (labels, gathered) in series {
        if evaluation.cancel.is_canceled() {
            return Err(EvalError::Canceled);
        }
        let values = values(expr, &gathered, &windows, &edges);
        if values.iter().any(Option::is_some) {
            rows.push(Row { labels, values });
        }
    }
    Ok(rows)
}

fn values(expr: &RangeExpr, gathered: &Gathered, windows: &[(Nanos, Nanos)], edges: &Edges) -> Vec<Option<f64>> {
    match gathered {
        Gathered::Bins(bins) => {
            let inside = |window: &(Nanos, Nanos)| {
                let bins = bins.get(edges.inside(*window)).unwrap_or_default();
                bins.iter().filter(|bin| bin.count > 0.0).copied().reduce(Bin::and)
            };
            windows.iter().map(|window| inside(window).and_then(|bin| summarize(expr, bin))).collect()
        }
        Gathered::Samples(samples) => {
            let (mut from, mut to) = (0, 0);
            let mut values = Vec::with_capacity(windows.len());
            for (start, end) in windows {
                to += samples.iter().skip(to).take_while(|sample| sample.at <= *end).count();
                from += samples.iter().skip(from).take_while(|sample| sample.at <= *start).count();
                let inside = samples.get(from..to).unwrap_or_default();
                values.push(if inside.is_empty() { None } else { reduce(expr, inside) });
            }
            values
        }
    }
}

/// Looks at all lines in the range.
fn gather<'e>(
    function: &Function<'_>,
    edges: &'e Edges,
    (start, end): (Nanos, Nanos),
    evaluation: &Evaluation<'_>,
) -> Result<Gathering<'e>, EvalError> {
    let op = function.expr.op;
    let range = function.reader.narrow(start, end);
    let streams = source::streams(&function.expr.log, evaluation.snapshot, range);
    let sources = source::sources(&streams);
    let columnar = Columnar::new(function);
    let work = |(): &mut (), part: std::ops::Range<usize>| {
        let mut gathering = Gathering::new(op, edges);
        for source in sources.get(part).unwrap_or_default() {
            if evaluation.cancel.is_canceled() {
                return Err(EvalError::Canceled);
            }
            let left = match &columnar {
                Some(columnar) => columnar.gather(source, &mut gathering)?,
                None => Left::Everything,
            };
            match left {
                Left::Nothing => {}
                Left::Everything => {
                    function.read(source, source.open(&function.reader.narrowing), &mut gathering, evaluation)?;
                }
                Left::Rows(opened) => function.read(source, opened, &mut gathering, evaluation)?,
            }
        }
        Ok(gathering)
    };
    // Enough of them together that joining what they gathered does not cost more than gathering.
    let chunk = sources.len().div_ceil(threads() * 8).max(1);
    let mut all = Gathering::new(op, edges);
    in_chunks(threads(), sources.len(), chunk, work)?.into_iter().for_each(|part| all.join(part));
    Ok(all)
}

/// Lines read together.
const TOGETHER: usize = 512;

impl<'q> Function<'q> {
    fn new(expr: &'q RangeExpr, grouping: Option<&'q Grouping>, end: Nanos) -> Result<Self, EvalError> {
        let wanted = required_labels(expr, grouping);
        let reader = Reader::new(&expr.log, end, wanted.clone().map(Hints::new))?;
        let filters = expr.unwrap.iter().flat_map(|unwrap| &unwrap.filters).map(Filter::new);
        let filters = filters.collect::<Result<_, _>>().map_err(|reason| EvalError::Stage { reason })?;
        Ok(Self { expr, grouping, reader, wanted, filters })
    }

    /// Reads lines one by one.
    fn read<'s>(
        &self,
        source: &Source<'s>,
        mut opened: Opened<'s>,
        gathering: &mut Gathering<'_>,
        evaluation: &Evaluation<'_>,
    ) -> Result<(), EvalError> {
        // Lines that keep their stream's labels are most often all of them: they are not looked up one by one.
        let mut own = None;
        while opened.next_at(Direction::Forward).is_some() {
            if evaluation.cancel.is_canceled() {
                return Err(EvalError::Canceled);
            }
            source.read(&mut opened, TOGETHER, Direction::Forward, |line| {
                let Some(mut entry) = self.reader.run(source.labels, line) else { return Ok(()) };
                let Some(value) = self.value(&mut entry)? else { return Ok(()) };
                let labels = identity(self.expr, self.grouping, &entry);
                let place = if labels.is_same(source.labels) {
                    *own.get_or_insert_with(|| gathering.place(source.labels))
                } else {
                    gathering.place(&labels)
                };
                gathering.add(place, Sample { at: line.at, value });
                Ok(())
            })?;
        }
        Ok(())
    }

    /// What a line counts; `None` when it does not count at all.
    pub(super) fn value(&self, entry: &mut Entry<'_>) -> Result<Option<f64>, EvalError> {
        let Some(value) = value(self.expr, entry, &self.filters) else { return Ok(None) };
        Ok(self.check(entry)?.map(|_| value))
    }

    /// That a line did not fail; it counts as one then.
    pub(super) fn check(&self, entry: &Entry<'_>) -> Result<Option<f64>, EvalError> {
        match entry.failed() {
            Some(error) => Err(EvalError::Pipeline { error: error.as_str(), series: entry.labels().to_string() }),
            None => Ok(Some(1.0)),
        }
    }

    /// Whether a label decides more than the number that is read from it.
    pub(super) fn decides(&self, label: &str) -> bool {
        stage_labels(&self.expr.log.stages).is_none_or(|names| names.contains(label))
            || self.grouping.is_none_or(|grouping| grouping.labels.iter().any(|name| name == label))
    }

    /// Labels of the series a line belongs to.
    pub(super) fn identity(&self, entry: &Entry<'_>) -> Labels {
        identity(self.expr, self.grouping, entry)
    }
}

/// What a line counts; `None` when it does not count at all.
fn value(expr: &RangeExpr, entry: &mut Entry<'_>, filters: &[Filter]) -> Option<f64> {
    let Some(unwrap) = &expr.unwrap else {
        return Some(if expr.op.counts_bytes() { entry.line.len() as f64 } else { 1.0 });
    };
    let text = entry.get(&unwrap.label).filter(|text| !text.is_empty())?;
    let read = match unwrap.conversion {
        Conversion::Number => read_float(text),
        Conversion::Duration | Conversion::DurationSeconds => read_duration(text).map(|nanos| nanos as f64 / 1e9),
        Conversion::Bytes => read_bytes(text).map(|bytes| bytes as f64),
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
fn absent(expr: &RangeExpr, series: &[(Labels, Gathered)], windows: &[(Nanos, Nanos)], edges: &Edges) -> Vec<Row> {
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
    let is_in = |gathered: &Gathered, (start, end): (Nanos, Nanos)| match gathered {
        Gathered::Bins(bins) => {
            bins.get(edges.inside((start, end))).unwrap_or_default().iter().any(|bin| bin.count > 0.0)
        }
        Gathered::Samples(samples) => {
            let until = |at: Nanos| samples.partition_point(|sample| sample.at <= at);
            until(start) < until(end)
        }
    };
    let is_absent = |window: &(Nanos, Nanos)| !series.iter().any(|(_, gathered)| is_in(gathered, *window));
    let values = windows.iter().map(|window| is_absent(window).then_some(1.0)).collect();
    vec![Row { labels: labels.build(), values }]
}

/// The value of a function over lines put together.
fn summarize(expr: &RangeExpr, bin: Bin) -> Option<f64> {
    let seconds = expr.range as f64 / 1e9;
    match expr.op {
        RangeOp::Rate | RangeOp::BytesRate => Some(bin.sum / seconds),
        RangeOp::CountOverTime => Some(bin.count),
        RangeOp::BytesOverTime | RangeOp::SumOverTime => Some(bin.sum),
        RangeOp::AvgOverTime => Some(bin.sum / bin.count),
        RangeOp::MinOverTime => Some(bin.min),
        RangeOp::MaxOverTime => Some(bin.max),
        // These are gathered line by line.
        RangeOp::RateCounter
        | RangeOp::StdvarOverTime
        | RangeOp::StddevOverTime
        | RangeOp::QuantileOverTime
        | RangeOp::FirstOverTime
        | RangeOp::LastOverTime
        | RangeOp::AbsentOverTime => None,
    }
}

/// `inside` is not empty and ascending in time.
fn reduce(expr: &RangeExpr, inside: &[Sample]) -> Option<f64> {
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
        RangeOp::RateCounter => rate_counter(inside, seconds),
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

/// Increase per second with resets of the counter made good. As in Loki, it is not extrapolated to the window but by a
/// millionth of it, and one line alone does not increase.
fn rate_counter(inside: &[Sample], seconds: f64) -> Option<f64> {
    let (first, last) = (inside.first()?, inside.last()?);
    if inside.len() < 2 {
        return Some(0.0);
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
    let mut before = seconds / 1e6;
    if increase > 0.0 && first.value >= 0.0 {
        // A counter does not start below zero.
        before = before.min(sampled * (first.value / increase));
    }
    if before >= between * 1.1 {
        before = between / 2.0;
    }
    Some(increase * ((sampled + before) / sampled) / seconds)
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
        for (case, lines, window, want) in [
            ("no reset", &[(10, 5.0), (20, 10.0), (30, 15.0), (40, 20.0)][..], 60.0, 0.250_000_5),
            ("one", &[(10, 10.0), (20, 20.0), (30, 3.0), (40, 8.0)], 60.0, 0.300_000_6),
            ("several", &[(10, 5.0), (20, 2.0), (30, 9.0), (40, 1.0), (50, 6.0)], 60.0, 0.250_000_375),
            ("two lines", &[(25, 100.0), (35, 160.0)], 60.0, 1.000_006),
            ("a longer window", &[(10, 5.0), (40, 65.0)], 120.0, 0.500_002),
            ("from zero", &[(10, 0.0), (20, 6.0)], 60.0, 0.1),
            ("one line", &[(30, 5.0)], 60.0, 0.0),
        ] {
            let samples: Vec<_> = lines
                .iter()
                .map(|(second, value)| Sample { at: Nanos(second * 1_000_000_000), value: *value })
                .collect();
            let rate = rate_counter(&samples, window).unwrap();
            assert!((rate - want).abs() < 1e-15, "{case}: {rate}");
        }
    }
}
