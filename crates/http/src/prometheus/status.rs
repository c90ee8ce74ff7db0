//! `/status/*`: what can be said truthfully about this server in Prometheus' words.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use signal::TimeRange;

use super::rules::time;
use super::{Handles, Reply, answer};
use crate::json;
use crate::params::Params;

/// The Prometheus version whose API this is; clients switch features by it.
const API_VERSION: &str = "3.5.0+aegis";
/// Rows of each table of `/status/tsdb` unless asked otherwise.
const ROWS: usize = 10;

pub(super) fn routes() -> Router<Handles> {
    Router::new()
        .route("/status/buildinfo", get(buildinfo))
        .route("/status/config", get(config))
        .route("/status/flags", get(flags))
        .route("/status/runtimeinfo", get(runtimeinfo))
        .route("/status/tsdb", get(tsdb))
        .route("/status/walreplay", get(walreplay))
        .route("/features", get(features))
        .route("/notifications", get(notifications))
}

async fn buildinfo(State(handles): State<Handles>) -> Response {
    let mut body = String::new();
    json::object(
        &mut body,
        [
            ("version", API_VERSION),
            ("revision", &handles.build.revision),
            ("branch", ""),
            ("buildUser", ""),
            ("buildDate", ""),
            ("goVersion", ""),
            ("aegisVersion", &handles.build.version),
        ],
    );
    answer::data(&body)
}

async fn config(State(handles): State<Handles>) -> Response {
    let yaml = handles.views.read(|view| json::quoted(&view.config_yaml));
    answer::data(&format!(r#"{{"yaml":{yaml}}}"#))
}

async fn flags(State(handles): State<Handles>) -> Response {
    let mut body = String::new();
    handles.views.read(|view| {
        json::object(&mut body, view.flags.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    });
    answer::data(&body)
}

/// Only what means the same here; upstream's facts about the Go runtime have no counterpart.
async fn runtimeinfo(State(handles): State<Handles>) -> Response {
    let problems = handles.reader.status().problems.len();
    let now = (handles.now)();
    let mut body = String::new();
    handles.views.read(|view| {
        let _ = write!(
            body,
            r#"{{"startTime":"{}","serverTime":"{now}","reloadConfigSuccess":{},"lastConfigTime":"{}","#,
            time(view.started),
            view.config_is_valid,
            time(view.config_loaded),
        );
        let retention = json::quoted(&view.storage_retention);
        let _ = write!(body, r#""corruptionCount":{problems},"storageRetention":{retention}}}"#);
    });
    answer::data(&body)
}

async fn tsdb(State(handles): State<Handles>, params: Params) -> Reply {
    let rows = params.limit("limit")?.unwrap_or(ROWS);
    let status = handles.reader.status().metrics;
    let series = handles.reader.run(None, |snapshot, _| snapshot.series(&[], TimeRange::all())).await?;
    let mut by_metric: BTreeMap<&str, u64> = BTreeMap::new();
    let mut by_pair: BTreeMap<String, u64> = BTreeMap::new();
    let mut values: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for labels in &series {
        for (name, value) in labels.iter() {
            *by_pair.entry(format!("{name}={value}")).or_default() += 1;
            values.entry(name).or_default().insert(value);
        }
        *by_metric.entry(labels.metric_name().unwrap_or_default()).or_default() += 1;
    }
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    let bytes = |set: &BTreeSet<&str>| set.iter().map(|value| count(value.len())).sum::<u64>();
    let mut body = String::new();
    // Upstream's chunk count has no counterpart here; segments are the nearest thing that is counted.
    let _ = write!(
        body,
        r#"{{"headStats":{{"numSeries":{},"numLabelPairs":{},"chunkCount":{},"minTime":{},"maxTime":{}}}"#,
        series.len(),
        by_pair.len(),
        status.segments,
        status.oldest.map_or(i64::MAX, |at| at.0),
        status.newest.map_or(i64::MIN, |at| at.0),
    );
    table(&mut body, "seriesCountByMetricName", rows, by_metric.iter().map(|(name, n)| (*name, *n)));
    let per_label = values.iter().map(|(name, set)| (*name, count(set.len())));
    table(&mut body, "labelValueCountByLabelName", rows, per_label);
    table(&mut body, "memoryInBytesByLabelName", rows, values.iter().map(|(name, set)| (*name, bytes(set))));
    table(&mut body, "seriesCountByLabelValuePair", rows, by_pair.iter().map(|(pair, n)| (pair.as_str(), *n)));
    body.push('}');
    Ok(answer::data(&body))
}

/// The `rows` largest, as upstream lists them.
fn table<'a>(out: &mut String, name: &str, rows: usize, counts: impl Iterator<Item = (&'a str, u64)>) {
    let mut counts: Vec<_> = counts.collect();
    counts.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    let _ = write!(out, r#","{name}":"#);
    json::array(out, counts.into_iter().take(rows), |out, (name, value)| {
        let _ = write!(out, r#"{{"name":{},"value":{value}}}"#, json::quoted(name));
    });
}

/// The log is replayed before these routes answer at all.
async fn walreplay() -> Response {
    answer::data(r#"{"min":0,"max":0,"current":0}"#)
}

async fn features() -> Response {
    answer::data("{}")
}

async fn notifications() -> Response {
    answer::data("[]")
}
