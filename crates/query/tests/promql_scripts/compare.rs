//! Whether an answer is what a script expects.

use std::sync::Arc;

use aegis_query::promql::native::{Bucket, buckets, to_notation};
use aegis_query::promql::{Answer, Value};
use regex::Regex;
use signal::{Histogram, Labels, is_stale};
use store::Series;

use super::{Expected, Wanted};

/// One sample of either kind.
#[derive(Clone)]
pub(crate) enum Point {
    Float(f64),
    Histogram(Arc<Histogram>),
}

impl std::fmt::Debug for Point {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Float(value) => write!(f, "{value}"),
            Self::Histogram(histogram) => f.write_str(&to_notation(histogram)),
        }
    }
}

type Rows = Vec<(Labels, Vec<Option<Point>>)>;

/// Every point of a series with its time in milliseconds.
pub(crate) fn points(series: &Series) -> Vec<(i64, Point)> {
    let floats = series.samples.iter().map(|sample| (sample.at.0, Point::Float(sample.value)));
    let histograms = series.histograms.iter().map(|one| (one.at.0, Point::Histogram(Arc::clone(&one.histogram))));
    let mut points: Vec<_> = floats.chain(histograms).collect();
    points.sort_by_key(|(at, _)| *at);
    points
}

pub(crate) fn texts(what: &str, wanted: &[Wanted], got: &[String]) -> Result<(), String> {
    for wanted in wanted {
        let found = got.iter().any(|text| match wanted {
            Wanted::Any => true,
            Wanted::Text(part) => text.contains(part.as_str()),
            Wanted::Pattern(pattern) => Regex::new(pattern).unwrap().is_match(text),
        });
        if !found {
            return Err(format!("{what}: wanted {wanted:?}, got {got:?}"));
        }
    }
    Ok(())
}

pub(crate) fn answer(expected: &Expected, answer: &Answer) -> Result<(), String> {
    texts("warnings", &expected.warnings, &answer.warnings)?;
    texts("infos", &expected.infos, &answer.infos)?;
    for (what, none, got) in
        [("warnings", expected.no_warnings, &answer.warnings), ("infos", expected.no_infos, &answer.infos)]
    {
        if none && !got.is_empty() {
            return Err(format!("{what} are {got:?}"));
        }
    }
    match &answer.value {
        Value::Scalar(sample) => match expected.scalar {
            Some(want) if close(want, sample.value) => Ok(()),
            other => Err(format!("scalar {} instead of {other:?}", sample.value)),
        },
        Value::String(_, text) => match &expected.text {
            Some(want) if want == text => Ok(()),
            other => Err(format!("string {text:?} instead of {other:?}")),
        },
        Value::Vector(samples) => {
            let got = samples.iter().map(|one| (one.labels.clone(), vec![Some(Point::of(one))])).collect();
            rows(expected.series.clone(), got, expected.ordered)
        }
        Value::Matrix(series) => {
            let mut want = expected.series.clone();
            let got = match expected.grid {
                // Where a step has no point, a script has `_`, or ends.
                Some((start, step)) => {
                    series.iter().map(|one| (one.labels.clone(), on_grid(one, start, step))).collect()
                }
                None => {
                    want.iter_mut().for_each(|(_, values)| values.retain(Option::is_some));
                    let bare = |one: &Series| points(one).into_iter().map(|(_, point)| Some(point)).collect();
                    series.iter().map(|one| (one.labels.clone(), bare(one))).collect()
                }
            };
            for (_, values) in &mut want {
                let length = values.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
                values.truncate(length);
            }
            want.retain(|(_, values)| !values.is_empty());
            rows(want, got, false)
        }
    }
}

fn on_grid(series: &Series, start: i64, step: i64) -> Vec<Option<Point>> {
    let mut values = Vec::new();
    for (at, point) in points(series) {
        let index = usize::try_from((at - start) / step.max(1)).unwrap();
        values.resize(index, None);
        values.push(Some(point));
    }
    values
}

pub(crate) fn rows(mut want: Rows, mut got: Rows, ordered: bool) -> Result<(), String> {
    if !ordered {
        want.sort_by(|a, b| a.0.cmp(&b.0));
        got.sort_by(|a, b| a.0.cmp(&b.0));
    }
    let same = want.len() == got.len()
        && want.iter().zip(&got).all(|(want, got)| {
            want.0 == got.0
                && want.1.len() == got.1.len()
                && want.1.iter().zip(&got.1).all(|(want, got)| match (want, got) {
                    (Some(Point::Float(want)), Some(Point::Float(got))) => close(*want, *got),
                    (Some(Point::Histogram(want)), Some(Point::Histogram(got))) => alike(want, got),
                    (want, got) => want.is_none() && got.is_none(),
                })
        });
    if same {
        return Ok(());
    }
    let rows = |rows: &Rows| rows.iter().map(|(labels, values)| format!("  {labels} {values:?}\n")).collect::<String>();
    Err(format!("wanted\n{}got\n{}", rows(&want), rows(&got)))
}

/// Whether two histograms have the same filled buckets, up to rounding.
fn alike(want: &Histogram, got: &Histogram) -> bool {
    let filled = |histogram: &Histogram| -> Vec<Bucket> {
        let mut filled = buckets(histogram);
        filled.retain(|bucket| bucket.count != 0.0);
        filled
    };
    let (mine, theirs) = (filled(want), filled(got));
    let same = |a: &Bucket, b: &Bucket| close(a.lower, b.lower) && close(a.upper, b.upper) && close(a.count, b.count);
    close(want.count, got.count)
        && close(want.sum, got.sum)
        && close(want.zero_count, got.zero_count)
        && mine.len() == theirs.len()
        && mine.iter().zip(&theirs).all(|(a, b)| same(a, b))
}

fn close(want: f64, got: f64) -> bool {
    if want == got || (want.is_nan() && got.is_nan() && is_stale(want) == is_stale(got)) {
        return true;
    }
    (want - got).abs() <= 1e-6 * (want.abs() + got.abs()).min(f64::MAX)
}
