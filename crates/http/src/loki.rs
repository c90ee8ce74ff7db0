//! The Loki HTTP API. Errors are plain text, as Loki's clients expect.

mod answer;
mod fields;
mod patterns;
mod push;
mod tail;
mod volume;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::{get, post};
use query::logql;
use signal::{Matcher, Nanos};
use tokio::sync::Semaphore;

use crate::handles::{BuildInfo, Clock, Ingress, LineTap, Reader};
use crate::json;
use crate::params::{Params, loki_duration};
use crate::reply::{Plain, Refusal};

/// What these routes need.
#[derive(Clone)]
pub(crate) struct Handles {
    pub(crate) ingress: Ingress,
    pub(crate) reader: Reader,
    pub(crate) now: Clock,
    pub(crate) limits: ingest::Limits,
    pub(crate) build: BuildInfo,
    pub(crate) tap: LineTap,
    /// A permit for each client that tails.
    pub(crate) tailers: Arc<Semaphore>,
}

pub(crate) use tail::TAILERS;

/// Loki's `max_entries_limit_per_query`.
const MAX_LINES: usize = 5_000;
/// Lines given when the request names no limit.
const DEFAULT_LINES: usize = 100;
/// Loki's defaults for a missing `start`.
const QUERY_WINDOW: Duration = Duration::from_secs(3_600);
const LABEL_WINDOW: Duration = Duration::from_secs(6 * 3_600);
/// The Loki version whose API this is.
const API_VERSION: &str = "3.5.0+aegis";

type Reply = Result<Response, Plain>;

/// `/loki/api/v1/*`, also below another `/loki` for data sources whose URL ends in it.
pub(crate) fn routes(handles: Handles) -> Router {
    let api = Router::new()
        .route("/push", post(push::post))
        .route("/query", get(instant).post(instant))
        .route("/query_range", get(range).post(range))
        .route("/tail", get(tail::tail))
        .route("/labels", get(label_names).post(label_names))
        .route("/label", get(label_names))
        .route("/label/{name}/values", get(label_values).post(label_values))
        .route("/series", get(series).post(series))
        .route("/index/stats", get(volume::stats).post(volume::stats))
        .route("/index/volume", get(volume::instant).post(volume::instant))
        .route("/index/volume_range", get(volume::range).post(volume::range))
        .route("/detected_labels", get(fields::labels).post(fields::labels))
        .route("/detected_fields", get(fields::fields).post(fields::fields))
        .route("/detected_field/{name}/values", get(fields::values).post(fields::values))
        .route("/patterns", get(patterns::patterns).post(patterns::patterns))
        .route("/format_query", get(format_query).post(format_query))
        .route("/status/buildinfo", get(buildinfo));
    Router::new()
        .nest("/loki/api/v1", api.clone())
        .nest("/loki/loki/api/v1", api)
        .route("/api/prom/push", post(push::post))
        .with_state(handles)
}

/// The time a request is about, both ends inside the search.
#[derive(Clone, Copy)]
struct Window {
    start: Nanos,
    end: Nanos,
}

impl Window {
    fn read(params: &Params, handles: &Handles, default: Duration) -> Result<Self, Refusal> {
        let end = params.nanos("end")?.unwrap_or_else(|| (handles.now)().to_nanos());
        let since = match params.get("since") {
            Some(text) => duration("since", text)?,
            None => default,
        };
        let start = params.nanos("start")?.unwrap_or_else(|| end.minus(since));
        if end < start {
            return Err(Refusal::bad("end timestamp must not be before or equal to start time"));
        }
        Ok(Self { start, end })
    }
}

fn duration(name: &str, text: &str) -> Result<Duration, Refusal> {
    loki_duration(text)
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| Refusal::bad(format!("cannot parse '{name}': `{text}` is not a valid positive duration")))
}

fn limit(params: &Params) -> Result<usize, Refusal> {
    let Some(text) = params.get("limit") else { return Ok(DEFAULT_LINES) };
    let limit: usize = text
        .parse()
        .ok()
        .filter(|limit| *limit > 0)
        .ok_or_else(|| Refusal::bad(format!("cannot parse 'limit': `{text}` is not a positive number")))?;
    if limit > MAX_LINES {
        return Err(Refusal::bad(format!(
            "max entries limit per query exceeded, limit > max_entries_limit_per_query ({limit} > {MAX_LINES})"
        )));
    }
    Ok(limit)
}

fn direction(params: &Params) -> Result<logql::Direction, Refusal> {
    match params.get("direction").map(str::to_ascii_lowercase).as_deref() {
        None | Some("backward") => Ok(logql::Direction::Backward),
        Some("forward") => Ok(logql::Direction::Forward),
        Some(other) => Err(Refusal::bad(format!("invalid direction '{other}'; expected `forward` or `backward`"))),
    }
}

async fn instant(State(handles): State<Handles>, headers: HeaderMap, params: Params) -> Reply {
    let expr = logql::parse(params.get("query").unwrap_or_default())?;
    let at = params.nanos("time")?.unwrap_or_else(|| (handles.now)().to_nanos());
    limit(&params)?;
    direction(&params)?;
    let shape = answer::Shape::of(&headers, logql::Direction::Backward);
    let body = handles
        .reader
        .run(None, move |snapshot, cancel| {
            logql::instant(&expr, snapshot, at, cancel).map(|found| answer::query(&found, &shape))
        })
        .await??;
    Ok(json::response(body))
}

async fn range(State(handles): State<Handles>, headers: HeaderMap, params: Params) -> Reply {
    let expr = logql::parse(params.get("query").unwrap_or_default())?;
    let Window { start, end } = Window::read(&params, &handles, QUERY_WINDOW)?;
    let limit = limit(&params)?;
    let direction = direction(&params)?;
    let step = match params.get("step") {
        Some(text) => duration("step", text)?,
        None => Duration::from_secs((end.since(start).as_secs() / 250).max(1)),
    };
    let shape = answer::Shape::of(&headers, direction);
    let question = logql::RangeQuery { start, end, step, limit, direction };
    let body = handles
        .reader
        .run(None, move |snapshot, cancel| {
            logql::range(&expr, snapshot, question, cancel).map(|found| answer::query(&found, &shape))
        })
        .await??;
    Ok(json::response(body))
}

async fn format_query(params: Params) -> Reply {
    let expr = logql::parse(params.get("query").unwrap_or_default())?;
    Ok(answer::data(&json::quoted(&expr.to_string())))
}

/// The matchers of a plain stream selector; empty text selects everything.
fn selector(text: &str) -> Result<Vec<Matcher>, Refusal> {
    if matches!(text.trim(), "" | "{}") {
        return Ok(Vec::new());
    }
    Ok(logql::parse_selector(text)?)
}

async fn label_names(State(handles): State<Handles>, params: Params) -> Reply {
    let Window { start, end } = Window::read(&params, &handles, LABEL_WINDOW)?;
    let matchers = selector(params.get("query").unwrap_or_default())?;
    let found = handles.reader.run(None, move |snapshot, _| snapshot.stream_labels(&matchers, start, end)).await?;
    let names: BTreeSet<&str> = found.iter().flat_map(|labels| labels.iter().map(|(name, _)| name)).collect();
    Ok(answer::list(names, json::string))
}

async fn label_values(State(handles): State<Handles>, Path(name): Path<String>, params: Params) -> Reply {
    let Window { start, end } = Window::read(&params, &handles, LABEL_WINDOW)?;
    let matchers = selector(params.get("query").unwrap_or_default())?;
    let found = handles.reader.run(None, move |snapshot, _| snapshot.stream_labels(&matchers, start, end)).await?;
    let values: BTreeSet<&str> = found.iter().filter_map(|labels| labels.get(&name)).collect();
    Ok(answer::list(values, json::string))
}

async fn series(State(handles): State<Handles>, params: Params) -> Reply {
    let Window { start, end } = Window::read(&params, &handles, LABEL_WINDOW)?;
    let mut sets = Vec::new();
    for text in params.all("match[]").chain(params.all("match")) {
        sets.push(selector(text)?);
    }
    if sets.is_empty() {
        sets.push(Vec::new());
    }
    let found = handles
        .reader
        .run(None, move |snapshot, _| {
            sets.iter().flat_map(|matchers| snapshot.stream_labels(matchers, start, end)).collect::<BTreeSet<_>>()
        })
        .await?;
    Ok(answer::list(&found, json::labels))
}

async fn buildinfo(State(handles): State<Handles>) -> Response {
    let mut body = String::new();
    json::object(
        &mut body,
        [
            ("version", API_VERSION),
            ("revision", handles.build.revision.as_str()),
            ("branch", ""),
            ("buildUser", ""),
            ("buildDate", ""),
            ("goVersion", ""),
            ("aegisVersion", handles.build.version.as_str()),
        ],
    );
    json::response(body)
}

/// Nothing to say, and that is fine.
const NO_CONTENT: StatusCode = StatusCode::NO_CONTENT;
