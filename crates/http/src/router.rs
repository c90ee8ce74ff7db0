//! All routes on one port.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use ingest::loki_push::PushDecoder;
use ingest::remote_write::RemoteWriteDecoder;
use query::promql::{Features, Settings};
use tokio::sync::Semaphore;
use tower_http::CompressionLevel;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;

use crate::handles::{Admin, BuildInfo, Clock, Ingress, LineTap, LogRules, Reader, Views};
use crate::health::{self, MetricsText};
use crate::{loki, otlp, prometheus, tempo};

/// Moves what is written to where it is kept for long. It may take long.
pub type Flush = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// Everything the routes need from the rest of Aegis.
pub struct Parts {
    /// The way to the writer thread.
    pub ingress: Ingress,
    /// The way to the stored signals.
    pub reader: Reader,
    /// Where lines are heard of that have become durable; filled by the writer.
    pub tap: LineTap,
    /// Rules, alerts, targets, status; filled by the shell.
    pub views: Views,
    /// What time it is.
    pub now: Clock,
    /// The text of `/metrics`.
    pub metrics_text: MetricsText,
    /// Until this is true, everything but health answers 503.
    pub is_ready: Arc<AtomicBool>,
    /// False while nothing can be written, as on a full disk: the readiness probe shows it, queries go on.
    pub is_writable: Arc<AtomicBool>,
    /// Sizes a request may have.
    pub limits: ingest::Limits,
    /// Any number that senders cannot guess.
    pub seed: u64,
    /// How PromQL is evaluated, where a request does not say otherwise.
    pub promql: Settings,
    /// Which experiments of PromQL clients may use. All, unless told otherwise.
    pub features: Features,
    /// Work on the stored metrics that clients may ask for; usually none.
    pub admin: Option<Admin>,
    /// Rules over logs that clients may list and change; usually there, and never where nobody evaluates them.
    pub log_rules: Option<LogRules>,
    /// Makes everything written so far part of what is kept for long; why it cannot, in words.
    pub flush: Option<Flush>,
    /// Who answers.
    pub build: BuildInfo,
    /// Aegis' own API and pages. Merged as it is: no CORS headers, and its fallback is not used.
    pub extra: Router,
}

impl Parts {
    /// Ready at once, default limits, nothing to show yet, no extra routes.
    #[must_use]
    pub fn new(ingress: Ingress, reader: Reader, now: Clock) -> Self {
        Self {
            ingress,
            reader,
            tap: LineTap::default(),
            views: Views::default(),
            now,
            metrics_text: Arc::new(String::new),
            is_ready: Arc::new(AtomicBool::new(true)),
            is_writable: Arc::new(AtomicBool::new(true)),
            limits: ingest::Limits::default(),
            seed: 0,
            promql: Settings::default(),
            features: Features::ALL,
            admin: None,
            log_rules: None,
            flush: None,
            build: BuildInfo::default(),
            extra: Router::new(),
        }
    }
}

/// The whole server: Prometheus, Loki, Tempo and OTLP (HTTP and gRPC), health, and `parts.extra`.
pub fn router(parts: Parts) -> Router {
    let prometheus = prometheus::Handles {
        ingress: parts.ingress.clone(),
        reader: parts.reader.clone(),
        views: parts.views.clone(),
        now: parts.now.clone(),
        remote_write: Arc::new(RemoteWriteDecoder::new(parts.limits, parts.seed)),
        build: parts.build.clone(),
        settings: parts.promql,
        features: parts.features,
        admin: parts.admin.clone(),
    };
    let loki = loki::Handles {
        ingress: parts.ingress.clone(),
        reader: parts.reader.clone(),
        now: parts.now.clone(),
        pushes: Arc::new(PushDecoder::new(parts.limits, parts.seed)),
        build: parts.build.clone(),
        tap: parts.tap.clone(),
        admin: parts.admin.clone(),
        log_rules: parts.log_rules.clone(),
        flush: parts.flush.clone(),
        views: parts.views.clone(),
        tailers: Arc::new(Semaphore::new(loki::TAILERS)),
    };
    let tempo = tempo::Handles { reader: parts.reader.clone(), now: parts.now.clone(), build: parts.build.clone() };
    let otlp = otlp::Handles { ingress: parts.ingress.clone(), now: parts.now.clone(), limits: parts.limits };
    let telemetry = prometheus::routes(prometheus)
        .merge(loki::routes(loki))
        .merge(tempo::routes(tempo))
        .merge(otlp::http_routes(otlp.clone()))
        .method_not_allowed_fallback(health::wrong_method)
        .layer(from_fn_with_state(Arc::clone(&parts.is_ready), health::only_when_ready))
        .layer(from_fn(health::cross_origin));
    let plain = health::routes(health::Readiness::new(&parts.is_ready, &parts.is_writable), &parts.metrics_text)
        .merge(parts.extra)
        .merge(telemetry)
        .method_not_allowed_fallback(health::wrong_method)
        .fallback(health::unknown_path)
        .layer(DefaultBodyLimit::max(parts.limits.max_compressed_bytes))
        .layer(CompressionLayer::new().quality(CompressionLevel::Fastest));
    plain
        .merge(otlp::grpc_routes(otlp).layer(from_fn_with_state(Arc::clone(&parts.is_ready), health::only_when_ready)))
        .layer(CatchPanicLayer::custom(health::panicked))
}

/// OTLP alone, HTTP and gRPC, for the ports where exporters look for it by default (4318 and 4317).
pub fn otlp_router(ingress: Ingress, now: Clock, limits: ingest::Limits, is_ready: Arc<AtomicBool>) -> Router {
    let handles = otlp::Handles { ingress, now, limits };
    let http = otlp::http_routes(handles.clone())
        .method_not_allowed_fallback(health::wrong_method)
        .fallback(health::unknown_path)
        .layer(from_fn(health::cross_origin))
        .layer(CompressionLayer::new().quality(CompressionLevel::Fastest));
    http.merge(otlp::grpc_routes(handles))
        .layer(from_fn_with_state(is_ready, health::only_when_ready))
        .layer(CatchPanicLayer::custom(health::panicked))
}
