//! How much there is: `index/stats`, `index/volume`, `index/volume_range`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use axum::extract::State;
use query::Cancel;
use query::logql::{
    self, AggregateOp, Answer, EvalError, Expr, Grouping, LogExpr, MetricExpr, Point, RangeExpr, RangeOp, RangeQuery,
};
use signal::{Labels, Matcher, Nanos};
use store::Snapshot;

use super::{Handles, QUERY_WINDOW, Reply, Window, answer, question, selector};
use crate::json;
use crate::params::Params;
use crate::reply::Refusal;

/// Streams, lines and bytes of a selector. Loki's chunks have no counterpart; a stream counts as one.
pub(super) async fn stats(State(handles): State<Handles>, params: Params) -> Reply {
    let Window { start, end } = Window::read(&params, &handles, QUERY_WINDOW)?;
    let matchers = selector(params.get("query").unwrap_or_default())?;
    let body = handles
        .ask(move |snapshot, cancel| {
            let streams = snapshot.stream_labels(&matchers, start, end).len();
            let all = |op| {
                let expr = over(op, &matchers, &BTreeSet::new(), length(start, end));
                let found = logql::instant(&expr, snapshot, end, cancel)?;
                let Answer::Vector(found) = found else { return Ok(0.0) };
                Ok::<f64, EvalError>(found.first().map_or(0.0, |(_, point)| point.value))
            };
            let (lines, bytes) = (all(RangeOp::CountOverTime)?, all(RangeOp::BytesOverTime)?);
            Ok::<String, EvalError>(format!(
                r#"{{"streams":{streams},"chunks":{streams},"entries":{lines},"bytes":{bytes}}}"#
            ))
        })
        .await??;
    Ok(json::response(body))
}

/// `sum by (names) (op({matchers}[range]))`: the engine adds up lines without looking at them one by one.
fn over(op: RangeOp, matchers: &[Matcher], names: &BTreeSet<String>, range: i64) -> Expr {
    let log = LogExpr { matchers: matchers.to_vec(), stages: Vec::new() };
    let inner = RangeExpr { op, parameter: None, log, unwrap: None, range, offset: 0, grouping: None };
    Expr::Metric(MetricExpr::Aggregate {
        op: AggregateOp::Sum,
        limit: None,
        grouping: Some(Grouping { without: false, labels: names.iter().cloned().collect() }),
        inner: Box::new(MetricExpr::Range(Box::new(inner))),
    })
}

/// Nanoseconds of a range with both ends inside.
fn length(start: Nanos, end: Nanos) -> i64 {
    end.0.saturating_sub(start.0).saturating_add(1)
}

/// What volumes are summed by.
struct Volume {
    matchers: Vec<Matcher>,
    targets: Vec<String>,
    by_label: bool,
    limit: usize,
}

/// The bytes of a group by step.
type Sum = (Labels, BTreeMap<i64, u64>);

impl Volume {
    fn read(params: &Params) -> Result<Self, Refusal> {
        let matchers = selector(params.get("query").unwrap_or_default())?;
        let targets = params.get("targetLabels").map(|list| list.split(',').map(|one| one.trim().to_owned()).collect());
        let by_label = match params.get("aggregateBy") {
            None | Some("series") => false,
            Some("labels") => true,
            Some(_) => {
                return Err(Refusal::bad("invalid aggregation option"));
            }
        };
        Ok(Self { matchers, targets: targets.unwrap_or_default(), by_label, limit: question::count(params)? })
    }

    /// The label sets that a stream counts for.
    fn groups(&self, labels: &Labels) -> Vec<Labels> {
        let wanted = |name: &str| self.targets.is_empty() || self.targets.iter().any(|target| target == name);
        if self.by_label {
            return labels.iter().filter(|(name, _)| wanted(name)).map(|(name, _)| label_only(name)).collect();
        }
        let by_matcher = self.targets.is_empty() && !self.matchers.is_empty();
        let keeps = |name: &str| {
            if by_matcher { self.matchers.iter().any(|matcher| matcher.name == name) } else { wanted(name) }
        };
        vec![labels.without(|name| !keeps(name))]
    }

    /// Bytes per group and step, largest group first.
    fn sum(
        &self,
        snapshot: &Snapshot,
        Window { start, end }: Window,
        step: Option<Duration>,
        cancel: &Cancel,
    ) -> Result<Vec<Sum>, EvalError> {
        let streams = snapshot.stream_labels(&self.matchers, start, end);
        let names: BTreeSet<String> = streams.iter().flat_map(Labels::iter).map(|(name, _)| name.to_owned()).collect();
        let found: Vec<(Labels, Vec<Point>)> = match step {
            None => {
                let expr = over(RangeOp::BytesOverTime, &self.matchers, &names, length(start, end));
                match logql::instant(&expr, snapshot, end, cancel)? {
                    Answer::Vector(found) => found.into_iter().map(|(labels, point)| (labels, vec![point])).collect(),
                    Answer::Matrix(_) | Answer::Scalar(_) | Answer::Streams(_) => Vec::new(),
                }
            }
            Some(step) => {
                let range = i64::try_from(step.as_nanos()).unwrap_or(i64::MAX);
                let expr = over(RangeOp::BytesOverTime, &self.matchers, &names, range);
                // A bucket has its first instant inside, and not that of the next one.
                let last = step.saturating_sub(Duration::from_nanos(1));
                let question = RangeQuery::points(start.plus(last), end.plus(last), step);
                match logql::range(&expr, snapshot, question, cancel)? {
                    Answer::Matrix(found) => found.into_iter().map(|one| (one.labels, one.points)).collect(),
                    Answer::Vector(_) | Answer::Scalar(_) | Answer::Streams(_) => Vec::new(),
                }
            }
        };
        let mut sums: BTreeMap<Labels, BTreeMap<i64, u64>> = BTreeMap::new();
        for (labels, points) in found {
            for group in self.groups(&labels) {
                let buckets = sums.entry(group).or_default();
                for point in &points {
                    let since = point.at.since(start).as_nanos();
                    let bucket = step.map_or(0, |step| since / step.as_nanos().max(1));
                    *buckets.entry(i64::try_from(bucket).unwrap_or(i64::MAX)).or_default() += point.value as u64;
                }
            }
        }
        let mut sums: Vec<_> = sums.into_iter().collect();
        sums.sort_by_key(|(_, buckets)| std::cmp::Reverse(buckets.values().sum::<u64>()));
        sums.truncate(self.limit);
        Ok(sums)
    }
}

/// A label name without a value; [`Labels`] itself never holds an empty value, so the name stands for itself.
fn label_only(name: &str) -> Labels {
    Labels::from_pairs([(name, name)])
}

fn shown(volume: &Volume, labels: &Labels, out: &mut String, rest: impl FnOnce(&mut String, &Labels)) {
    if volume.by_label {
        out.push_str(r#"{"metric":"#);
        json::object(out, labels.iter().map(|(name, _)| (name, "")));
        let mut inner = String::new();
        rest(&mut inner, &Labels::empty());
        out.push_str(inner.strip_prefix(r#"{"metric":{}"#).unwrap_or(&inner));
        return;
    }
    rest(out, labels);
}

pub(super) async fn instant(State(handles): State<Handles>, params: Params) -> Reply {
    let window = Window::read(&params, &handles, QUERY_WINDOW)?;
    let volume = Volume::read(&params)?;
    let body = handles
        .ask(move |snapshot, cancel| {
            let sums = volume.sum(snapshot, window, None, cancel)?;
            let mut body = String::from(r#"{"status":"success","data":{"resultType":"vector","result":"#);
            json::array(&mut body, &sums, |out, (labels, buckets)| {
                let value = buckets.values().sum::<u64>() as f64;
                let point = Point { at: window.end, value };
                shown(&volume, labels, out, |out, labels| answer::vector(out, labels, point));
            });
            Ok::<String, EvalError>(finish(body))
        })
        .await??;
    Ok(json::response(body))
}

pub(super) async fn range(State(handles): State<Handles>, params: Params) -> Reply {
    let window = Window::read(&params, &handles, QUERY_WINDOW)?;
    let volume = Volume::read(&params)?;
    let step = window.step(&params)?;
    let body = handles
        .ask(move |snapshot, cancel| {
            let sums = volume.sum(snapshot, window, Some(step), cancel)?;
            let mut body = String::from(r#"{"status":"success","data":{"resultType":"matrix","result":"#);
            json::array(&mut body, &sums, |out, (labels, buckets)| {
                let points: Vec<Point> = buckets
                    .iter()
                    .map(|(bucket, bytes)| Point { at: at(window.start, step, *bucket), value: *bytes as f64 })
                    .collect();
                shown(&volume, labels, out, |out, labels| answer::matrix(out, labels, &points));
            });
            Ok::<String, EvalError>(finish(body))
        })
        .await??;
    Ok(json::response(body))
}

fn at(start: Nanos, step: Duration, bucket: i64) -> Nanos {
    let step_ns = i64::try_from(step.as_nanos()).unwrap_or(i64::MAX);
    Nanos(start.0.saturating_add(step_ns.saturating_mul(bucket)))
}

fn finish(mut body: String) -> String {
    body.push_str(r#","stats":"#);
    answer::stats(&mut body, 0, Duration::ZERO);
    body.push_str("}}");
    body
}
