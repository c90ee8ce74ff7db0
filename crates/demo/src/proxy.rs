//! The proxy in front of the sample application: finds ready replicas in a file, spreads requests over them.

mod balance;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use signal::{AttributeValue, Span, SpanKind, SpanStatus};
use tokio::net::TcpListener;

use self::balance::{Balance, Turn};
use crate::clock::{self, Stopwatch};
use crate::telemetry::{Destination, Telemetry};
use crate::tracecontext::{Ids, TraceContext, traceparent};

/// The proxy in front of the sample application.
#[derive(Clone, Debug, clap::Args)]
pub struct ProxyArgs {
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1:3000")]
    pub listen: SocketAddr,
    /// Prometheus file_sd file with the replicas; read again whenever it changes.
    #[arg(long)]
    pub targets: PathBuf,
    /// Base address of a server with the OTLP/HTTP API.
    #[arg(long)]
    pub otlp_url: Option<String>,
    /// Longest time a replica may take to answer, in milliseconds.
    #[arg(long, default_value_t = 30_000)]
    pub timeout_ms: u64,
}

const BODY_LIMIT: usize = 1 << 20;
const REREAD: Duration = Duration::from_millis(250);
/// Headers about one connection, not about the message (RFC 9110, section 7.6.1).
const HOP_BY_HOP: [&str; 7] =
    ["connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"];

#[derive(Debug)]
struct Proxy {
    balance: Balance,
    client: Client<HttpConnector, Full<Bytes>>,
    timeout: Duration,
    telemetry: Arc<Telemetry>,
    resource: Arc<Vec<(String, AttributeValue)>>,
    ids: Ids,
}

impl Proxy {
    fn new(timeout: Duration, telemetry: Arc<Telemetry>) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(Duration::from_secs(1)));
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(Duration::from_secs(10))
            .pool_timer(TokioTimer::new())
            .build(connector);
        let resource = vec![text("service.name", "edge-proxy"), text("service.namespace", "production")];
        Self { balance: Balance::default(), client, timeout, telemetry, resource: Arc::new(resource), ids: Ids::new() }
    }
}

/// Passes requests on until told to stop.
///
/// # Errors
/// When the address is taken.
pub async fn run(args: ProxyArgs) -> anyhow::Result<()> {
    let listener = TcpListener::bind(args.listen).await.with_context(|| format!("listening on {}", args.listen))?;
    let address = listener.local_addr()?;
    let telemetry = Telemetry::new(Destination { loki_url: None, otlp_url: args.otlp_url, stream: Vec::new() });
    let exporter = tokio::spawn(telemetry.clone().export());
    let proxy = Arc::new(Proxy::new(Duration::from_millis(args.timeout_ms), telemetry.clone()));
    proxy.balance.replace(&read_targets(&args.targets).await.unwrap_or_default());
    let follower = tokio::spawn(follow(proxy.clone(), args.targets));
    crate::child::report_ready(address)?;
    axum::serve(listener, router(proxy)).with_graceful_shutdown(crate::child::told_to_stop()).await?;
    follower.abort();
    telemetry.close();
    exporter.await?;
    Ok(())
}

fn router(proxy: Arc<Proxy>) -> Router {
    Router::new()
        .route("/-/proxy/healthz", get(|| async { "ok\n" }))
        .route("/-/proxy/replicas", get(replicas))
        .fallback(pass)
        .with_state(proxy)
}

async fn replicas(State(proxy): State<Arc<Proxy>>) -> axum::Json<Vec<String>> {
    axum::Json(proxy.balance.targets())
}

/// Keeps the list of replicas as fresh as its file. A file that is gone or broken leaves the last good list in use.
async fn follow(proxy: Arc<Proxy>, path: PathBuf) {
    let mut known = None;
    loop {
        let changed = tokio::fs::metadata(&path).await.and_then(|about| about.modified()).ok();
        // Two changes within one tick of the file system's clock look the same; reading it is cheap.
        if changed.is_some()
            && let Some(targets) = read_targets(&path).await
            && known.as_ref() != Some(&targets)
        {
            proxy.balance.replace(&targets);
            known = Some(targets);
        }
        tokio::time::sleep(REREAD).await;
    }
}

async fn read_targets(path: &Path) -> Option<Vec<String>> {
    let text = tokio::fs::read(path).await.ok()?;
    parse_targets(&text)
}

#[derive(serde::Deserialize)]
struct TargetGroup {
    targets: Vec<String>,
}

fn parse_targets(text: &[u8]) -> Option<Vec<String>> {
    let groups: Vec<TargetGroup> = serde_json::from_slice(text).ok()?;
    Some(groups.into_iter().flat_map(|group| group.targets).collect())
}

async fn pass(State(proxy): State<Arc<Proxy>>, request: Request) -> Response {
    let watch = Stopwatch::start();
    let start = clock::now_nanos();
    let (parts, body) = request.into_parts();
    let given = parts.headers.get("traceparent").and_then(|value| value.to_str().ok()).and_then(TraceContext::parse);
    let context = given.unwrap_or_else(|| TraceContext { trace: proxy.ids.trace(), parent: None });
    let span = proxy.ids.span();
    let forwarded = Forwarded { method: parts.method, uri: parts.uri, headers: parts.headers, body: Bytes::new() };
    let answer = match Limited::new(body, BODY_LIMIT).collect().await {
        Ok(body) => {
            let forwarded = Forwarded { body: body.to_bytes(), ..forwarded.clone() };
            proxy.forward(forwarded, &traceparent(context.trace, span)).await
        }
        Err(_) => Err(Refusal::TooLarge),
    };
    let (status, replica, failure) = match &answer {
        Ok((response, replica)) => (response.status(), replica.clone(), None),
        Err(refusal) => (refusal.status(), String::new(), Some(refusal.to_string())),
    };
    let is_error = status.is_server_error();
    proxy.telemetry.spans(vec![Span {
        trace: context.trace,
        id: span,
        parent: context.parent,
        trace_state: String::new(),
        name: "http.request".to_owned(),
        kind: SpanKind::Client,
        start,
        end: start.plus(watch.elapsed()),
        status: if is_error { SpanStatus::Error } else { SpanStatus::Unset },
        status_message: failure.unwrap_or_default(),
        attributes: vec![
            text("http.request.method", forwarded.method.as_str()),
            text("url.path", forwarded.uri.path()),
            text("server.address", &replica),
            ("http.response.status_code".to_owned(), AttributeValue::Int(status.as_u16().into())),
        ],
        resource: proxy.resource.clone(),
        scope_name: String::new(),
        scope_version: String::new(),
        events: Vec::new(),
        links: Vec::new(),
    }]);
    match answer {
        Ok((response, _)) => response,
        Err(refusal) => refusal.into_response(),
    }
}

/// What is sent to a replica; kept whole, so that it can be sent to another one.
#[derive(Clone)]
struct Forwarded {
    method: axum::http::Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
}

/// Why the proxy itself answers.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("the body is longer than {BODY_LIMIT} bytes or broke off")]
    TooLarge,
    #[error("no replica of the service is ready")]
    NoReplica,
    #[error("the replica could not be reached")]
    Unreachable,
    #[error("the replica broke off the exchange")]
    Broken,
    #[error("the replica did not answer in time")]
    TimedOut,
    #[error("the request cannot be passed on")]
    Malformed,
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NoReplica => StatusCode::SERVICE_UNAVAILABLE,
            Self::Unreachable | Self::Broken => StatusCode::BAD_GATEWAY,
            Self::TimedOut => StatusCode::GATEWAY_TIMEOUT,
            Self::Malformed => StatusCode::BAD_REQUEST,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::TooLarge => "body_too_large",
            Self::NoReplica => "no_replica",
            Self::Unreachable => "unreachable",
            Self::Broken => "bad_gateway",
            Self::TimedOut => "timeout",
            Self::Malformed => "invalid_request",
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = serde_json::json!({ "error": { "code": self.code(), "message": self.to_string() } });
        (self.status(), axum::Json(body)).into_response()
    }
}

impl Proxy {
    /// Sends the request to a replica; to a second one only when the first was not reached at all, for then it cannot
    /// have done anything.
    async fn forward(&self, request: Forwarded, traceparent: &str) -> Result<(Response, String), Refusal> {
        let turn = self.balance.choose(None).ok_or(Refusal::NoReplica)?;
        match self.attempt(&request, &turn, traceparent).await {
            Err(Refusal::Unreachable) => {}
            Ok(response) => return Ok((response, turn.target().to_owned())),
            Err(refusal) => return Err(refusal),
        }
        let second = self.balance.choose(Some(turn.target())).ok_or(Refusal::Unreachable)?;
        drop(turn);
        let response = self.attempt(&request, &second, traceparent).await?;
        Ok((response, second.target().to_owned()))
    }

    async fn attempt(&self, request: &Forwarded, turn: &Turn, traceparent: &str) -> Result<Response, Refusal> {
        let path = request.uri.path_and_query().map_or("/", |path| path.as_str());
        let uri: Uri = format!("http://{}{path}", turn.target()).parse().map_err(|_| Refusal::Malformed)?;
        let mut outgoing = hyper::Request::new(Full::new(request.body.clone()));
        *outgoing.method_mut() = request.method.clone();
        *outgoing.uri_mut() = uri;
        *outgoing.headers_mut() = request.headers.clone();
        strip(outgoing.headers_mut());
        outgoing.headers_mut().remove(header::HOST);
        outgoing.headers_mut().remove(header::CONTENT_LENGTH);
        let traceparent = HeaderValue::from_str(traceparent).map_err(|_| Refusal::Malformed)?;
        outgoing.headers_mut().insert(HeaderName::from_static("traceparent"), traceparent);

        let exchange = tokio::time::timeout(self.timeout, self.client.request(outgoing)).await;
        let response = exchange
            .map_err(|_| Refusal::TimedOut)?
            .map_err(|error| if error.is_connect() { Refusal::Unreachable } else { Refusal::Broken })?;
        let (mut parts, body) = response.into_parts();
        strip(&mut parts.headers);
        Ok(Response::from_parts(parts, Body::new(body)))
    }
}

fn strip(headers: &mut HeaderMap) {
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

fn text(name: &str, value: &str) -> (String, AttributeValue) {
    (name.to_owned(), AttributeValue::String(value.to_owned()))
}

#[cfg(test)]
mod tests;
