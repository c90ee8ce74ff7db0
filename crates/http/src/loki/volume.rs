//! How much there is: `index/stats`, `index/volume`, `index/volume_range`.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::extract::State;
use query::logql::Point;
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
        .ask(move |snapshot, _| {
            let streams = snapshot.streams(&matchers, start, end);
            let lines: usize = streams.iter().map(|stream| stream.lines.len()).sum();
            let bytes: usize = streams.iter().flat_map(|stream| &stream.lines).map(|line| line.line.len()).sum();
            let count = streams.len();
            format!(r#"{{"streams":{count},"chunks":{count},"entries":{lines},"bytes":{bytes}}}"#)
        })
        .await?;
    Ok(json::response(body))
}

/// What volumes are summed by.
struct Volume {
    matchers: Vec<Matcher>,
    targets: Vec<String>,
    by_label: bool,
    limit: usize,
}

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
    fn sum(&self, snapshot: &Snapshot, window: Window, step: Option<Duration>) -> Vec<(Labels, BTreeMap<i64, u64>)> {
        let step_ns = step.map_or(i64::MAX, |step| i64::try_from(step.as_nanos()).unwrap_or(i64::MAX)).max(1);
        let mut sums: BTreeMap<Labels, BTreeMap<i64, u64>> = BTreeMap::new();
        for stream in snapshot.streams(&self.matchers, window.start, window.end) {
            for group in self.groups(&stream.labels) {
                let buckets = sums.entry(group).or_default();
                for line in &stream.lines {
                    let bucket = line.at.0.saturating_sub(window.start.0) / step_ns;
                    *buckets.entry(bucket).or_default() += u64::try_from(line.line.len()).unwrap_or_default();
                }
            }
        }
        let mut sums: Vec<_> = sums.into_iter().collect();
        sums.sort_by_key(|(_, buckets)| std::cmp::Reverse(buckets.values().sum::<u64>()));
        sums.truncate(self.limit);
        sums
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
        .ask(move |snapshot, _| {
            let sums = volume.sum(snapshot, window, None);
            let mut body = String::from(r#"{"status":"success","data":{"resultType":"vector","result":"#);
            json::array(&mut body, &sums, |out, (labels, buckets)| {
                let value = buckets.values().sum::<u64>() as f64;
                let point = Point { at: window.end, value };
                shown(&volume, labels, out, |out, labels| answer::vector(out, labels, point));
            });
            finish(body)
        })
        .await?;
    Ok(json::response(body))
}

pub(super) async fn range(State(handles): State<Handles>, params: Params) -> Reply {
    let window = Window::read(&params, &handles, QUERY_WINDOW)?;
    let volume = Volume::read(&params)?;
    let step = window.step(&params)?;
    let body = handles
        .ask(move |snapshot, _| {
            let sums = volume.sum(snapshot, window, Some(step));
            let mut body = String::from(r#"{"status":"success","data":{"resultType":"matrix","result":"#);
            json::array(&mut body, &sums, |out, (labels, buckets)| {
                let points: Vec<Point> = buckets
                    .iter()
                    .map(|(bucket, bytes)| Point { at: at(window.start, step, *bucket), value: *bytes as f64 })
                    .collect();
                shown(&volume, labels, out, |out, labels| answer::matrix(out, labels, &points));
            });
            finish(body)
        })
        .await?;
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
