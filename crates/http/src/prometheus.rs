//! The Prometheus HTTP API, as Prometheus 3 speaks it.

mod admin;
mod answer;
mod federate;
mod matrix;
mod metadata;
mod read;
mod rules;
mod select;
mod stats;
mod status;
mod targets;
mod tree;
mod write;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, post};
use query::promql;
use signal::Matcher;

use ingest::remote_write::RemoteWriteDecoder;

use crate::handles::{Admin, BuildInfo, Clock, Ingress, Reader, Views};
use crate::json;
use crate::params::{Params, bad_duration, signed_duration};
use crate::reply::{Enveloped, Refusal};
use stats::{Detail, Watch};

/// What these routes need.
#[derive(Clone)]
pub(crate) struct Handles {
    pub(crate) ingress: Ingress,
    pub(crate) reader: Reader,
    pub(crate) views: Views,
    pub(crate) now: Clock,
    pub(crate) remote_write: Arc<RemoteWriteDecoder>,
    pub(crate) build: BuildInfo,
    pub(crate) settings: promql::Settings,
    pub(crate) features: promql::Features,
    pub(crate) admin: Option<Admin>,
}

/// Most points per series that a range query may ask for.
const MAX_POINTS: i64 = 11_000;

pub(crate) use write::{refused, sentence};

type Reply = Result<Response, Enveloped>;

/// `/api/v1/*` and `/prometheus/api/v1/*`, `/federate`.
pub(crate) fn routes(handles: Handles) -> Router {
    let api = Router::new()
        .route("/query", get(instant).post(instant))
        .route("/query_range", get(range).post(range))
        .route("/query_exemplars", get(metadata::exemplars).post(metadata::exemplars))
        .route("/format_query", get(format_query).post(format_query))
        .route("/parse_query", get(parse_query).post(parse_query))
        .route("/series", get(select::series).post(select::series))
        .route("/labels", get(select::label_names).post(select::label_names))
        .route("/label/{name}/values", get(select::label_values))
        .route("/metadata", get(metadata::metadata))
        .route("/read", post(read::post))
        .route("/write", post(write::post))
        .route("/push", post(write::post))
        .merge(admin::routes())
        .merge(rules::routes())
        .merge(status::routes())
        .merge(targets::routes());
    Router::new()
        .nest("/api/v1", api.clone())
        .nest("/prometheus/api/v1", api)
        .route("/federate", get(federate::get))
        .route("/prometheus/federate", get(federate::get))
        .with_state(handles)
}

/// Every `match[]`, refused with the parameter's name.
fn matcher_sets(params: &Params) -> Result<Vec<Vec<Matcher>>, Refusal> {
    select::matcher_sets(params).map_err(|reason| Refusal::parameter("match[]", reason))
}

/// The knobs that instant and range queries share.
struct Knobs {
    settings: promql::Settings,
    timeout: Option<Duration>,
    limit: Option<usize>,
    detail: Option<Detail>,
}

fn knobs(handles: &Handles, params: &Params) -> Result<Knobs, Refusal> {
    let limit = params.limit("limit")?;
    let timeout = params.patience("timeout")?;
    let mut settings = handles.settings;
    if let Some(lookback) = params.duration("lookback_delta")? {
        if lookback.is_zero() {
            return Err(Refusal::parameter("lookback_delta", "it must be positive"));
        }
        settings.lookback = lookback;
    }
    Ok(Knobs { settings, timeout, limit, detail: Detail::read(params) })
}

async fn instant(State(handles): State<Handles>, params: Params) -> Reply {
    let at = params.time("time")?.unwrap_or_else(|| (handles.now)());
    let Knobs { settings, timeout, limit, detail } = knobs(&handles, &params)?;
    let expr = parsed(&handles, &params)?;
    let watch = Watch::start(&handles.now, detail);
    let body = handles
        .reader
        .run(timeout, move |snapshot, cancel| {
            let watch = watch.dequeued();
            let answer = promql::instant(&expr, snapshot, at, &settings, cancel)?;
            let stats = watch.stop(|| stats::at(&expr, snapshot, at, &settings, cancel))?;
            Ok::<_, promql::EvalError>(answer::query(&answer, limit, &stats, settings.threads))
        })
        .await??;
    Ok(json::parts(body))
}

async fn range(State(handles): State<Handles>, params: Params) -> Reply {
    let start = params.required_time("start")?;
    let end = params.required_time("end")?;
    if end < start {
        return Err(Refusal::parameter("end", "end timestamp must not be before start time").into());
    }
    let step = step(&params)?;
    let step_ms = i64::try_from(step.as_millis()).unwrap_or(i64::MAX);
    if end.0.saturating_sub(start.0) / step_ms > MAX_POINTS {
        let text = "exceeded maximum resolution of 11,000 points per timeseries. \
                    Try decreasing the query resolution (?step=XX)";
        return Err(Refusal::bad(text).into());
    }
    let Knobs { settings, timeout, limit, detail } = knobs(&handles, &params)?;
    let expr = parsed(&handles, &params)?;
    if matches!(expr.value_type(), promql::ValueType::Matrix | promql::ValueType::String) {
        let kind = expr.value_type();
        let text = format!("invalid expression type \"{kind}\" for range query, must be Scalar or instant Vector");
        return Err(Refusal::parameter("query", text).into());
    }
    let watch = Watch::start(&handles.now, detail);
    let body = handles
        .reader
        .run(timeout, move |snapshot, cancel| {
            let watch = watch.dequeued();
            let steps = promql::Steps { start, end, step };
            let answer = promql::range(&expr, snapshot, steps, &settings, cancel)?;
            let stats = watch.stop(|| stats::over(&expr, snapshot, steps, &settings, cancel))?;
            Ok::<_, promql::EvalError>(answer::query(&answer, limit, &stats, settings.threads))
        })
        .await??;
    Ok(json::parts(body))
}

fn step(params: &Params) -> Result<Duration, Refusal> {
    let text = params.get("step").unwrap_or_default();
    match signed_duration(text).ok_or_else(|| Refusal::parameter("step", bad_duration(text)))? {
        Some(step) if step >= Duration::from_millis(1) => Ok(step),
        _ => Err(Refusal::parameter(
            "step",
            "zero or negative query resolution step widths are not accepted. Try a positive integer",
        )),
    }
}

fn parsed(handles: &Handles, params: &Params) -> Result<promql::Expr, promql::ParseError> {
    promql::parse_with(params.get("query").unwrap_or_default(), handles.features)
}

async fn format_query(State(handles): State<Handles>, params: Params) -> Reply {
    Ok(answer::data(&json::quoted(&parsed(&handles, &params)?.pretty())))
}

async fn parse_query(State(handles): State<Handles>, params: Params) -> Reply {
    let mut tree = String::new();
    tree::node(&mut tree, &parsed(&handles, &params)?);
    Ok(answer::data(&tree))
}
