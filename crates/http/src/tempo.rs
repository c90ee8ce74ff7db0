//! The Tempo HTTP API: traces by id, search, tags.

mod convert;
mod search;
mod tags;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use opentelemetry_proto::tonic::trace::v1::TracesData;
use prost::Message;
use signal::{TimeRange, Timestamp, TraceId};
use std::time::Duration;

use crate::handles::{BuildInfo, Clock, Reader};
use crate::json;
use crate::params::{Params, wants_protobuf};
use crate::reply::{Plain, Refusal};

/// What these routes need.
#[derive(Clone)]
pub(crate) struct Handles {
    pub(crate) reader: Reader,
    pub(crate) now: Clock,
    pub(crate) build: BuildInfo,
}

/// What is searched when the request names no `start`.
const WINDOW: Duration = Duration::from_secs(3_600);
/// The Tempo version whose API this is.
const API_VERSION: &str = "2.8.0+aegis";

type Reply = Result<Response, Plain>;

/// `/api/*`, also below `/tempo`.
pub(crate) fn routes(handles: Handles) -> Router {
    let api = Router::new()
        .route("/api/traces/{id}", get(trace))
        .route("/api/v2/traces/{id}", get(trace_v2))
        .route("/api/search", get(search::search))
        .route("/api/search/tags", get(tags::names))
        .route("/api/v2/search/tags", get(tags::names_v2))
        .route("/api/search/tag/{name}/values", get(tags::values))
        .route("/api/v2/search/tag/{name}/values", get(tags::values_v2))
        .route("/api/echo", get(|| async { "echo" }))
        .route("/api/status/buildinfo", get(buildinfo));
    Router::new().merge(api.clone()).nest("/tempo", api).with_state(handles)
}

/// The searched time: unix seconds, both optional.
fn window(params: &Params, now: Timestamp) -> Result<TimeRange, Refusal> {
    let read = |name: &str| {
        params.time(name).map_err(|_| {
            Refusal::bad(format!("invalid {name}: `{}` is not unix seconds", params.get(name).unwrap_or("")))
        })
    };
    let end = read("end")?.unwrap_or(now);
    let start = read("start")?.unwrap_or_else(|| end.minus(WINDOW));
    if end < start {
        return Err(Refusal::bad("invalid start: it must not be after end"));
    }
    Ok(TimeRange::new(start, end))
}

async fn find(handles: &Handles, id: &str) -> Result<store::Trace, Refusal> {
    let id: TraceId = id.parse().map_err(|error| Refusal::bad(format!("invalid trace id: {error}")))?;
    let found = handles.reader.run(None, move |snapshot, _| snapshot.trace(id)).await?;
    found.ok_or_else(|| Refusal::not_found(format!("trace not found: {id}")))
}

async fn trace(State(handles): State<Handles>, Path(id): Path<String>, headers: HeaderMap) -> Reply {
    let trace = find(&handles, &id).await?;
    let resource_spans = convert::resource_spans(&trace);
    if wants_protobuf(&headers) {
        return Ok(protobuf(TracesData { resource_spans }.encode_to_vec()));
    }
    let mut body = String::from(r#"{"batches":"#);
    json::array(&mut body, &resource_spans, convert::json);
    body.push('}');
    Ok(json::response(body))
}

async fn trace_v2(State(handles): State<Handles>, Path(id): Path<String>, headers: HeaderMap) -> Reply {
    let trace = find(&handles, &id).await?;
    let resource_spans = convert::resource_spans(&trace);
    if wants_protobuf(&headers) {
        let response = TraceByIdResponse {
            trace: Some(TracesData { resource_spans }),
            metrics: Some(TraceByIdMetrics {}),
            status: 0,
            message: String::new(),
        };
        return Ok(protobuf(response.encode_to_vec()));
    }
    let mut body = String::from(r#"{"trace":{"resourceSpans":"#);
    json::array(&mut body, &resource_spans, convert::json);
    body.push_str(r#"},"metrics":{},"status":"COMPLETE","message":""}"#);
    Ok(json::response(body))
}

fn protobuf(bytes: Vec<u8>) -> Response {
    ([(CONTENT_TYPE, "application/protobuf")], bytes).into_response()
}

async fn buildinfo(State(handles): State<Handles>) -> Response {
    let mut body = String::new();
    json::object(
        &mut body,
        [
            ("version", API_VERSION),
            ("revision", handles.build.revision.as_str()),
            ("aegisVersion", handles.build.version.as_str()),
        ],
    );
    json::response(body)
}

/// `tempopb.TraceByIDResponse`.
#[derive(Clone, PartialEq, prost::Message)]
struct TraceByIdResponse {
    #[prost(message, optional, tag = "1")]
    trace: Option<TracesData>,
    #[prost(message, optional, tag = "2")]
    metrics: Option<TraceByIdMetrics>,
    /// 0 = complete.
    #[prost(int32, tag = "3")]
    status: i32,
    #[prost(string, tag = "4")]
    message: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct TraceByIdMetrics {}
