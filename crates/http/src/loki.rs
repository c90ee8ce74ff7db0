//! The Loki HTTP API. Errors are plain text, as Loki's clients expect.

mod answer;
mod delete;
mod fields;
mod legacy;
mod patterns;
mod push;
mod question;
mod rules;
mod spaced;
mod status;
mod tail;
mod volume;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::middleware::{Next, from_fn};
use axum::response::{Redirect, Response};
use axum::routing::{get, post};
use ingest::loki_push::PushDecoder;
use query::Cancel;
use query::logql::{self, Direction, Expr, RangeQuery};
use signal::Matcher;
use store::Snapshot;
use tokio::sync::Semaphore;

use crate::handles::{Admin, BuildInfo, Clock, Ingress, LineTap, LogRules, QueryError, Reader, Views};
use crate::health::is_foreign;
use crate::json;
use crate::params::Params;
use crate::reply::{Plain, Refusal};
use crate::router::Flush;

/// What these routes need.
#[derive(Clone)]
pub(crate) struct Handles {
    pub(crate) ingress: Ingress,
    pub(crate) reader: Reader,
    pub(crate) now: Clock,
    pub(crate) pushes: Arc<PushDecoder>,
    pub(crate) build: BuildInfo,
    pub(crate) tap: LineTap,
    pub(crate) views: Views,
    pub(crate) admin: Option<Admin>,
    pub(crate) log_rules: Option<LogRules>,
    pub(crate) flush: Option<Flush>,
    /// A permit for each client that tails.
    pub(crate) tailers: Arc<Semaphore>,
}

use question::Window;
pub(crate) use tail::TAILERS;

/// Loki's `max_query_series`.
const MAX_SERIES: usize = 500;
/// Loki's defaults for a missing `start`.
const QUERY_WINDOW: Duration = Duration::from_secs(3_600);
const LABEL_WINDOW: Duration = Duration::from_secs(6 * 3_600);

type Reply = Result<Response, Plain>;

/// A page of elsewhere may look, and not change anything.
async fn same_origin(request: Request, next: Next) -> Response {
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD);
    if changes && is_foreign(request.headers()) {
        let text = "pages of another origin may not change anything here";
        return Refusal::bad(text).with_status(StatusCode::FORBIDDEN).into_plain();
    }
    next.run(request).await
}

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
        .route("/drilldown-limits", get(status::drilldown_limits))
        .route("/status/buildinfo", get(status::buildinfo))
        .merge(rules::routes().merge(delete::routes()).layer(from_fn(same_origin)));
    let old = legacy::routes().route("/push", post(push::post)).merge(rules::routes().layer(from_fn(same_origin)));
    let root = Router::new()
        .route("/config", get(status::config))
        .route("/services", get(status::services))
        .merge(Router::new().route("/flush", post(status::flush)).layer(from_fn(same_origin)));
    Router::new()
        .nest("/loki/api/v1", api.clone())
        .nest("/loki/loki/api/v1", api)
        .nest("/api/prom", old)
        .nest("/loki", root.clone())
        .route("/loki/prometheus/{*rest}", get(to_prometheus))
        .merge(root)
        .with_state(handles)
}

/// Data sources whose URL ends in `/loki` look for rules and alerts below it.
async fn to_prometheus(uri: Uri) -> Redirect {
    let whole = uri.path_and_query().map_or("", PathAndQuery::as_str);
    Redirect::temporary(whole.strip_prefix("/loki").unwrap_or(whole))
}

impl Handles {
    /// Runs a question over a snapshot; its refusals are worded as Loki's.
    async fn ask<T, F>(&self, work: F) -> Result<T, Refusal>
    where
        T: Send + 'static,
        F: FnOnce(&Snapshot, &Cancel) -> T + Send + 'static,
    {
        self.reader.run(None, work).await.map_err(timed_out)
    }

    /// The same for what indexes answer, on the thread that asks.
    async fn look<T>(&self, work: impl FnOnce(&Snapshot) -> T) -> Result<T, Refusal> {
        self.reader.run_briefly(work).await.map_err(timed_out)
    }

    /// Evaluates a query over a snapshot and writes the answer.
    async fn answer<F>(&self, shape: answer::Shape, work: F) -> Reply
    where
        F: FnOnce(&Snapshot, &Cancel) -> Result<logql::Answer, logql::EvalError> + Send + 'static,
    {
        let begun = (self.now)();
        let now = self.now.clone();
        let body = self.ask(move |snapshot, cancel| {
            let found = work(snapshot, cancel)?;
            let series = match &found {
                logql::Answer::Vector(series) => series.len(),
                logql::Answer::Matrix(series) => series.len(),
                logql::Answer::Streams(_) | logql::Answer::Scalar(_) => 0,
            };
            if series > MAX_SERIES {
                return Err(too_many_series());
            }
            Ok(answer::query(&found, &shape, now().since(begun)))
        });
        Ok(json::response(body.await??))
    }
}

fn timed_out(error: QueryError) -> Refusal {
    match error {
        QueryError::Timeout | QueryError::Queued => Refusal::bad(TIMED_OUT).with_status(StatusCode::GATEWAY_TIMEOUT),
        QueryError::Defect | QueryError::Stopped => Refusal::from(error),
    }
}

/// Loki's words for a query that took too long.
const TIMED_OUT: &str = "request timed out, decrease the duration of the request or add more label matchers \
                         (prefer exact match over regex match) to reduce the amount of data processed";

fn too_many_series() -> Refusal {
    Refusal::bad(format!(
        "maximum number of series ({MAX_SERIES}) reached for a single query; consider reducing query cardinality by \
         adding more specific stream selectors, reducing the time range, or aggregating results with functions like \
         sum(), count() or topk()"
    ))
}

async fn instant(State(handles): State<Handles>, headers: HeaderMap, params: Params) -> Reply {
    let expr = logql::parse(params.get("query").unwrap_or_default())?;
    let at = params.nanos("time")?.unwrap_or_else(|| (handles.now)().to_nanos());
    question::count(&params)?;
    question::direction(&params)?;
    let shape = answer::Shape::of(&headers, Direction::Backward);
    handles.answer(shape, move |snapshot, cancel| logql::instant(&expr, snapshot, at, cancel)).await
}

async fn range(State(handles): State<Handles>, headers: HeaderMap, params: Params) -> Reply {
    let expr = logql::parse(params.get("query").unwrap_or_default())?;
    let window = Window::read(&params, &handles, QUERY_WINDOW)?;
    let (limit, direction) = (question::lines(&params, &expr)?, question::direction(&params)?);
    let (step, interval) = (window.step(&params)?, question::interval(&params)?);
    window.check_length()?;
    let shape = answer::Shape::of(&headers, direction);
    let question = RangeQuery { start: window.start, end: window.end, step, limit, direction };
    handles
        .answer(shape, move |snapshot, cancel| {
            if interval.is_zero() || matches!(expr, Expr::Metric(_)) {
                return logql::range(&expr, snapshot, question, cancel);
            }
            spaced::range(&expr, snapshot, question, interval, cancel)
        })
        .await
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
    let found = handles.look(|snapshot| snapshot.stream_labels(&matchers, start, end)).await?;
    let names: BTreeSet<&str> = found.iter().flat_map(|labels| labels.iter().map(|(name, _)| name)).collect();
    Ok(answer::list(names, json::string))
}

async fn label_values(State(handles): State<Handles>, Path(name): Path<String>, params: Params) -> Reply {
    let Window { start, end } = Window::read(&params, &handles, LABEL_WINDOW)?;
    let matchers = selector(params.get("query").unwrap_or_default())?;
    let found = handles.look(|snapshot| snapshot.stream_labels(&matchers, start, end)).await?;
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
        .look(|snapshot| {
            sets.iter().flat_map(|matchers| snapshot.stream_labels(matchers, start, end)).collect::<BTreeSet<_>>()
        })
        .await?;
    Ok(answer::list(&found, json::labels))
}

/// Nothing to say, and that is fine.
const NO_CONTENT: StatusCode = StatusCode::NO_CONTENT;
