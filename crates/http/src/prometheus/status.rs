//! `/status/*`: what can be said truthfully about this server in Prometheus' words.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::fmt::Write as _;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use signal::{Labels, TimeRange};
use tokio::runtime::Handle;

use super::rules::time;
use super::{Handles, Reply, answer};
use crate::json;
use crate::params::Params;
use crate::reply::Refusal;

/// The Prometheus version whose API this is; clients switch features by it.
const API_VERSION: &str = "3.5.0+aegis";
/// Rows of each table of `/status/tsdb` unless asked otherwise.
const ROWS: usize = 10;
/// Most rows that can be asked for.
const MAX_ROWS: usize = 10_000;

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

/// In upstream's words; where those are about the Go runtime, what comes nearest to it here: tasks for goroutines,
/// worker threads for processors.
async fn runtimeinfo(State(handles): State<Handles>) -> Response {
    let problems = handles.reader.status().problems.len();
    let now = (handles.now)();
    let runtime = Handle::current().metrics();
    let (tasks, workers) = (runtime.num_alive_tasks(), runtime.num_workers());
    let mut body = String::new();
    handles.views.read(|view| {
        let (directory, host) = (json::quoted(&view.directory), json::quoted(&view.hostname));
        let _ = write!(
            body,
            r#"{{"startTime":"{}","CWD":{directory},"hostname":{host},"serverTime":"{now}","reloadConfigSuccess":{},"#,
            time(view.started),
            view.config_is_valid,
        );
        let retention = json::quoted(&view.storage_retention);
        let _ = write!(
            body,
            r#""lastConfigTime":"{}","corruptionCount":{problems},"goroutineCount":{tasks},"GOMAXPROCS":{workers},"GOMEMLIMIT":{},"GOGC":"","GODEBUG":"","storageRetention":{retention}}}"#,
            time(view.config_loaded),
            i64::MAX,
        );
    });
    answer::data(&body)
}

async fn tsdb(State(handles): State<Handles>, params: Params) -> Reply {
    let rows = rows(&params)?;
    let status = handles.reader.status().metrics;
    let body = handles
        .reader
        .run(None, move |snapshot, _| {
            let series = snapshot.series(&[], TimeRange::all());
            let mut count: HashMap<&str, HashMap<&str, u64>> = HashMap::new();
            for (name, value) in series.iter().flat_map(Labels::iter) {
                *count.entry(name).or_default().entry(value).or_default() += 1;
            }
            let pairs: usize = count.values().map(HashMap::len).sum();
            let mut body = String::new();
            // Upstream's chunk count has no counterpart here; segments are the nearest thing that is counted.
            let _ = write!(
                body,
                r#"{{"headStats":{{"numSeries":{},"numLabelPairs":{pairs},"chunkCount":{},"minTime":{},"maxTime":{}}}"#,
                series.len(),
                status.segments,
                status.oldest.map_or(i64::MAX, |at| at.0),
                status.newest.map_or(i64::MIN, |at| at.0),
            );
            let names = count.get(Labels::NAME).into_iter().flatten();
            table(&mut body, "seriesCountByMetricName", rows, names.map(|(name, n)| (("", *name), *n)));
            let values = count.iter().map(|(name, values)| (("", *name), values.len() as u64));
            table(&mut body, "labelValueCountByLabelName", rows, values);
            let bytes = |values: &HashMap<&str, u64>| values.keys().map(|value| value.len() as u64).sum::<u64>();
            let memory = count.iter().map(|(name, values)| (("", *name), bytes(values)));
            table(&mut body, "memoryInBytesByLabelName", rows, memory);
            let pairs =
                count.iter().flat_map(|(name, values)| values.iter().map(move |(value, n)| ((*name, *value), *n)));
            table(&mut body, "seriesCountByLabelValuePair", rows, pairs);
            body.push('}');
            body
        })
        .await?;
    Ok(answer::data(&body))
}

fn rows(params: &Params) -> Result<usize, Refusal> {
    match params.get("limit").map(str::parse::<usize>) {
        None => Ok(ROWS),
        Some(Ok(rows @ 1..=MAX_ROWS)) => Ok(rows),
        Some(Ok(rows)) if rows > MAX_ROWS => Err(Refusal::bad(format!("limit must not exceed {MAX_ROWS}"))),
        Some(_) => Err(Refusal::bad("limit must be a positive number")),
    }
}

/// The `rows` largest, as upstream lists them. A row is named after a label and its value, or after one thing alone.
fn table<'a>(out: &mut String, name: &str, rows: usize, counts: impl Iterator<Item = ((&'a str, &'a str), u64)>) {
    let mut counts: Vec<_> = counts.map(|(name, count)| (Reverse(count), name)).collect();
    if counts.len() > rows {
        counts.select_nth_unstable(rows);
        counts.truncate(rows);
    }
    counts.sort_unstable();
    let _ = write!(out, r#","{name}":"#);
    json::array(out, counts, |out, (Reverse(count), (label, value))| {
        let name = if label.is_empty() { json::quoted(value) } else { json::quoted(&format!("{label}={value}")) };
        let _ = write!(out, r#"{{"name":{name},"value":{count}}}"#);
    });
}

/// The log is replayed before these routes answer at all.
async fn walreplay() -> Response {
    answer::data(r#"{"min":0,"max":0,"current":0}"#)
}

/// What a client may rely on, in upstream's words.
async fn features(State(handles): State<Handles>) -> Response {
    let admin = handles.admin.is_some();
    answer::data(&format!(
        r#"{{"api":{{"admin":{admin},"exclude_alerts":true,"label_values_match":true,"lifecycle":true,"otlp_write_receiver":true,"query_stats":true,"query_warnings":true,"remote_write_receiver":true,"time_range_labels":true,"time_range_series":true}}}}"#
    ))
}

async fn notifications() -> Response {
    answer::data("[]")
}
