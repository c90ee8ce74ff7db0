//! Health, own metrics, and what every response shares: CORS, compression, no panic that reaches a client.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, CONTENT_TYPE, HOST, ORIGIN,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::reply::Refusal;

/// Gives the text of `/metrics`.
pub(crate) type MetricsText = Arc<dyn Fn() -> String + Send + Sync>;

/// Whether writes and queries work.
#[derive(Clone)]
pub(crate) struct Readiness {
    is_ready: Arc<AtomicBool>,
    is_writable: Arc<AtomicBool>,
}

impl Readiness {
    pub(crate) fn new(is_ready: &Arc<AtomicBool>, is_writable: &Arc<AtomicBool>) -> Self {
        Self { is_ready: Arc::clone(is_ready), is_writable: Arc::clone(is_writable) }
    }

    fn check(&self) -> Result<(), Refusal> {
        if !self.is_ready.load(Ordering::Acquire) {
            return Err(Refusal::unavailable("not ready: Aegis is starting or stopping"));
        }
        if !self.is_writable.load(Ordering::Acquire) {
            return Err(Refusal::unavailable("not ready: the disk is full, writes are refused"));
        }
        Ok(())
    }
}

/// `/-/healthy`, `/-/ready`, `/ready`, `/metrics`.
pub(crate) fn routes(readiness: Readiness, metrics: &MetricsText) -> Router {
    let ready = Router::new()
        .route("/-/ready", get(prometheus_ready))
        .route("/ready", get(ready))
        .route("/loki/ready", get(ready))
        .route("/tempo/ready", get(ready))
        .with_state(readiness);
    Router::new()
        .route("/-/healthy", get(|| async { "Aegis is Healthy.\n" }))
        .route("/metrics", get(own_metrics).with_state(Arc::clone(metrics)))
        .merge(ready)
}

async fn prometheus_ready(State(readiness): State<Readiness>) -> Response {
    readiness.check().map_or_else(Refusal::into_plain, |()| "Aegis is Ready.\n".into_response())
}

async fn ready(State(readiness): State<Readiness>) -> Response {
    readiness.check().map_or_else(Refusal::into_plain, |()| "ready\n".into_response())
}

async fn own_metrics(State(text): State<MetricsText>) -> Response {
    let body = text();
    let kind = if body.trim_end().ends_with("# EOF") {
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    } else {
        "text/plain; version=0.0.4; charset=utf-8"
    };
    ([(CONTENT_TYPE, kind)], body).into_response()
}

/// Refuses work until the store is open. Health routes stay reachable.
pub(crate) async fn only_when_ready(State(is_ready): State<Arc<AtomicBool>>, request: Request, next: Next) -> Response {
    if is_ready.load(Ordering::Acquire) {
        return next.run(request).await;
    }
    Refusal::unavailable("Service Unavailable").into_plain()
}

/// Lets browsers of other origins use the telemetry APIs. Never put on Aegis' own API, which can act.
pub(crate) async fn cross_origin(request: Request, next: Next) -> Response {
    let mut response = if request.method() == Method::OPTIONS {
        StatusCode::NO_CONTENT.into_response()
    } else {
        next.run(request).await
    };
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, OPTIONS"));
    headers.insert(
        ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static("Accept, Authorization, Content-Encoding, Content-Type, Origin, X-Scope-OrgID"),
    );
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("Date"));
    response
}

/// Whether a page of another origin asks.
pub(crate) fn is_foreign(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    text(ORIGIN).is_some_and(|origin| {
        let host = origin.split_once("://").map_or(origin, |(_, host)| host);
        Some(host) != text(HOST)
    })
}

/// A path nobody answers.
pub(crate) async fn unknown_path() -> Response {
    Refusal::not_found("404 page not found").into_plain()
}

/// A path that exists, with a method it does not take.
pub(crate) async fn wrong_method(request: Request) -> Response {
    let text = format!("method {} is not allowed here", request.method());
    Refusal::bad(text).with_status(StatusCode::METHOD_NOT_ALLOWED).into_plain()
}

/// What a client sees when a handler panicked: a 500, and the connection lives on.
#[expect(clippy::needless_pass_by_value, reason = "the signature is tower-http's")]
pub(crate) fn panicked(payload: Box<dyn Any + Send>) -> Response {
    let reason = payload
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or("unknown");
    tracing::error!(error = reason, "request handler panicked");
    Refusal::internal("internal server error").into_plain()
}
