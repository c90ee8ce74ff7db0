//! How the sample application sends its logs and traces: batched, bounded, retried, never in a request's way.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span as OtlpSpan, Status, span, status};
use prost::Message;
use signal::{AttributeValue, Nanos, Span, SpanKind, SpanStatus};
use tokio::sync::Notify;

use crate::wire::{Wire, WireError};

/// Where telemetry goes and who sends it.
#[derive(Clone, Debug)]
pub(crate) struct Destination {
    /// Base address of a server with the Loki push API; `None`: lines go to standard output only.
    pub(crate) loki_url: Option<String>,
    /// Base address of a server with the OTLP/HTTP API; `None`: spans are dropped.
    pub(crate) otlp_url: Option<String>,
    /// Labels of the log stream.
    pub(crate) stream: Vec<(&'static str, String)>,
}

/// A queue that forgets its oldest entries when full, and says how many it forgot.
#[derive(Debug)]
struct Bounded<T> {
    items: VecDeque<T>,
    capacity: usize,
    dropped: u64,
}

impl<T> Bounded<T> {
    fn new(capacity: usize) -> Self {
        Self { items: VecDeque::new(), capacity, dropped: 0 }
    }

    fn push(&mut self, item: T) {
        if self.items.len() >= self.capacity {
            self.items.pop_front();
            self.dropped += 1;
        }
        self.items.push_back(item);
    }

    fn take(&mut self, most: usize) -> Vec<T> {
        let count = most.min(self.items.len());
        self.items.drain(..count).collect()
    }
}

const LINES_KEPT: usize = 20_000;
const SPANS_KEPT: usize = 20_000;
const BATCH: usize = 2_000;
const INTERVAL: Duration = Duration::from_millis(500);

/// The sending half: cheap calls that never wait for the network.
#[derive(Debug)]
pub(crate) struct Telemetry {
    destination: Destination,
    lines: Mutex<Bounded<(Nanos, String)>>,
    spans: Mutex<Bounded<Span>>,
    rejected: AtomicU64,
    closing: AtomicBool,
    wake: Notify,
}

impl Telemetry {
    pub(crate) fn new(destination: Destination) -> Arc<Self> {
        Arc::new(Self {
            destination,
            lines: Mutex::new(Bounded::new(LINES_KEPT)),
            spans: Mutex::new(Bounded::new(SPANS_KEPT)),
            rejected: AtomicU64::new(0),
            closing: AtomicBool::new(false),
            wake: Notify::new(),
        })
    }

    /// Writes one line to standard output and queues it for the log server.
    pub(crate) fn line(&self, at: Nanos, line: String) {
        // A closed standard output must not stop the service.
        let _ = writeln!(std::io::stdout().lock(), "{line}");
        if self.destination.loki_url.is_some() {
            lock(&self.lines).push((at, line));
        }
    }

    /// Queues the spans of one request.
    pub(crate) fn spans(&self, spans: Vec<Span>) {
        if self.destination.otlp_url.is_none() {
            return;
        }
        let mut queue = lock(&self.spans);
        for span in spans {
            queue.push(span);
        }
    }

    /// Lines and spans that were forgotten because the queue was full, and batches that the server refused for good.
    pub(crate) fn losses(&self) -> (u64, u64, u64) {
        (lock(&self.lines).dropped, lock(&self.spans).dropped, self.rejected.load(Ordering::Relaxed))
    }

    /// Asks [`export`](Self::export) to send what is left, and end.
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
        self.wake.notify_one();
    }

    /// Sends batches twice a second until closed; then what is left, for at most two seconds more.
    pub(crate) async fn export(self: Arc<Self>) {
        let wire = Wire::new(Duration::from_secs(5));
        let lines = self.export_lines(&wire);
        let spans = self.export_spans(&wire);
        tokio::pin!(lines, spans);
        let both = async { tokio::join!(lines, spans) };
        tokio::pin!(both);
        tokio::select! {
            _ = &mut both => return,
            () = self.wake.notified() => {}
        }
        let _ = tokio::time::timeout(Duration::from_secs(2), both).await;
    }

    async fn export_lines(&self, wire: &Wire) {
        let Some(base) = &self.destination.loki_url else { return };
        let url = format!("{base}/loki/api/v1/push");
        self.drain(
            || {
                let batch = lock(&self.lines).take(BATCH);
                (!batch.is_empty()).then(|| Bytes::from(loki_push(&self.destination.stream, &batch)))
            },
            |body| wire.post(&url, "application/json", body),
        )
        .await;
    }

    async fn export_spans(&self, wire: &Wire) {
        let Some(base) = &self.destination.otlp_url else { return };
        let url = format!("{base}/v1/traces");
        self.drain(
            || {
                let batch = lock(&self.spans).take(BATCH);
                (!batch.is_empty()).then(|| Bytes::from(export_request(batch).encode_to_vec()))
            },
            |body| wire.post(&url, "application/x-protobuf", body),
        )
        .await;
    }

    /// Sends batch after batch; one that fails for a passing reason is repeated, while newer entries queue up behind it.
    async fn drain<F>(&self, mut next: impl FnMut() -> Option<Bytes>, mut send: impl FnMut(Bytes) -> F)
    where
        F: Future<Output = Result<crate::wire::Answer, WireError>>,
    {
        let mut pause = INTERVAL;
        let mut unsent: Option<Bytes> = None;
        loop {
            let Some(batch) = unsent.take().or_else(&mut next) else {
                if self.closing.load(Ordering::Relaxed) {
                    return;
                }
                self.rest(INTERVAL).await;
                continue;
            };
            match send(batch.clone()).await {
                Ok(answer) if answer.status.is_success() => pause = INTERVAL,
                Ok(answer) if answer.status.is_client_error() && answer.status.as_u16() != 429 => {
                    self.rejected.fetch_add(1, Ordering::Relaxed);
                }
                Ok(_) | Err(_) => {
                    unsent = Some(batch);
                    self.rest(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(4));
                }
            }
        }
    }

    /// Sleeps, in short steps so that closing is noticed soon.
    async fn rest(&self, time: Duration) {
        let step = Duration::from_millis(100);
        let mut left = time;
        while !left.is_zero() && (!self.closing.load(Ordering::Relaxed) || left == time) {
            tokio::time::sleep(step.min(left)).await;
            left = left.saturating_sub(step);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn loki_push(stream: &[(&'static str, String)], batch: &[(Nanos, String)]) -> String {
    let labels: serde_json::Map<String, serde_json::Value> =
        stream.iter().map(|(name, value)| ((*name).to_owned(), value.clone().into())).collect();
    let values: Vec<[String; 2]> = batch.iter().map(|(at, line)| [at.0.to_string(), line.clone()]).collect();
    serde_json::json!({ "streams": [{ "stream": labels, "values": values }] }).to_string()
}

fn export_request(spans: Vec<Span>) -> ExportTraceServiceRequest {
    let Some(resource) = spans.first().map(|span| span.resource.clone()) else {
        return ExportTraceServiceRequest::default();
    };
    let scope = InstrumentationScope { name: "sample-application".to_owned(), ..Default::default() };
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource { attributes: attributes(&resource), ..Default::default() }),
            scope_spans: vec![ScopeSpans {
                scope: Some(scope),
                spans: spans.into_iter().map(otlp_span).collect(),
                ..Default::default()
            }],
            ..Default::default()
        }],
    }
}

fn otlp_span(span: Span) -> OtlpSpan {
    let kind = match span.kind {
        SpanKind::Unspecified => span::SpanKind::Unspecified,
        SpanKind::Internal => span::SpanKind::Internal,
        SpanKind::Server => span::SpanKind::Server,
        SpanKind::Client => span::SpanKind::Client,
        SpanKind::Producer => span::SpanKind::Producer,
        SpanKind::Consumer => span::SpanKind::Consumer,
    };
    let code = match span.status {
        SpanStatus::Unset => status::StatusCode::Unset,
        SpanStatus::Ok => status::StatusCode::Ok,
        SpanStatus::Error => status::StatusCode::Error,
    };
    OtlpSpan {
        trace_id: span.trace.0.to_vec(),
        span_id: span.id.0.to_vec(),
        parent_span_id: span.parent.map(|parent| parent.0.to_vec()).unwrap_or_default(),
        name: span.name,
        kind: kind.into(),
        start_time_unix_nano: u64::try_from(span.start.0).unwrap_or(0),
        end_time_unix_nano: u64::try_from(span.end.0).unwrap_or(0),
        attributes: attributes(&span.attributes),
        status: Some(Status { code: code.into(), message: span.status_message }),
        ..Default::default()
    }
}

fn attributes(pairs: &[(String, AttributeValue)]) -> Vec<KeyValue> {
    let value = |value: &AttributeValue| match value {
        AttributeValue::Bool(value) => any_value::Value::BoolValue(*value),
        AttributeValue::Int(value) => any_value::Value::IntValue(*value),
        AttributeValue::Float(value) => any_value::Value::DoubleValue(*value),
        AttributeValue::Bytes(value) => any_value::Value::BytesValue(value.clone()),
        // The application sets no lists or maps; their text is still better than nothing.
        AttributeValue::String(_) | AttributeValue::List(_) | AttributeValue::Map(_) => {
            any_value::Value::StringValue(value.to_string())
        }
    };
    pairs
        .iter()
        .map(|(key, found)| KeyValue {
            key: key.clone(),
            value: Some(AnyValue { value: Some(value(found)) }),
            ..Default::default()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_forgets_the_oldest_and_counts_them() {
        let mut queue = Bounded::new(3);
        for at in 0..5 {
            queue.push(at);
        }
        assert_eq!((queue.take(2), queue.dropped), (vec![2, 3], 2));
        assert_eq!(queue.take(9), [4]);
    }

    #[test]
    fn lines_travel_in_the_shape_of_the_loki_push_api() {
        let stream = [("job", "aegis-backend".to_owned())];
        let body = loki_push(&stream, &[(Nanos(1_706_189_400_000_000_000), "{\"a\":1}".to_owned())]);
        insta::assert_snapshot!(body, @r#"{"streams":[{"stream":{"job":"aegis-backend"},"values":[["1706189400000000000","{\"a\":1}"]]}]}"#);
    }

    #[tokio::test]
    async fn a_passing_failure_is_retried_and_a_lasting_one_counted() {
        for (case, failures, status, arrived, rejected) in
            [("busy twice", 2, 503, 1, 0), ("too fast once", 1, 429, 1, 0), ("refused", 1, 400, 0, 1)]
        {
            let sink = sink::Sink::failing(failures, status).await;
            let stream = vec![("job", "test".to_owned())];
            let destination = Destination { loki_url: Some(sink.url.clone()), otlp_url: None, stream };
            let telemetry = Telemetry::new(destination);
            let exporter = tokio::spawn(telemetry.clone().export());
            telemetry.line(Nanos(1), "line".to_owned());
            let arrives = async {
                while sink.lines().len() < arrived || telemetry.losses().2 < rejected {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            assert!(tokio::time::timeout(Duration::from_secs(20), arrives).await.is_ok(), "{case}");
            telemetry.close();
            exporter.await.unwrap();
            assert_eq!((sink.lines().len(), telemetry.losses()), (arrived, (0, 0, rejected)), "{case}");
        }
    }
}

/// A server that remembers the telemetry it is sent.
#[cfg(test)]
pub(crate) mod sink {
    use axum::Router;
    use axum::extract::State;
    use axum::http::StatusCode;
    use axum::routing::post;

    use super::*;

    #[derive(Clone, Debug, Default)]
    struct Received {
        lines: Arc<Mutex<Vec<String>>>,
        spans: Arc<Mutex<Vec<OtlpSpan>>>,
        /// How many requests are still to fail, and how.
        failing: Arc<Mutex<(u32, u16)>>,
    }

    #[derive(Debug)]
    pub(crate) struct Sink {
        pub(crate) url: String,
        received: Received,
    }

    impl Sink {
        pub(crate) async fn start() -> Self {
            let received = Received::default();
            let router = Router::new()
                .route("/loki/api/v1/push", post(push))
                .route("/v1/traces", post(traces))
                .with_state(received.clone());
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}", listener.local_addr().unwrap());
            tokio::spawn(axum::serve(listener, router).into_future());
            Self { url, received }
        }

        /// One whose first `failures` answers have `status`.
        pub(crate) async fn failing(failures: u32, status: u16) -> Self {
            let sink = Self::start().await;
            *lock(&sink.received.failing) = (failures, status);
            sink
        }

        pub(crate) fn lines(&self) -> Vec<String> {
            lock(&self.received.lines).clone()
        }

        pub(crate) fn spans(&self) -> Vec<OtlpSpan> {
            lock(&self.received.spans).clone()
        }
    }

    async fn push(State(received): State<Received>, body: Bytes) -> StatusCode {
        let (left, status) = &mut *lock(&received.failing);
        if *left > 0 {
            *left -= 1;
            return StatusCode::from_u16(*status).unwrap();
        }
        let push: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let values = push["streams"][0]["values"].as_array().unwrap();
        lock(&received.lines).extend(values.iter().map(|value| value[1].as_str().unwrap().to_owned()));
        StatusCode::NO_CONTENT
    }

    async fn traces(State(received): State<Received>, body: Bytes) {
        let request = ExportTraceServiceRequest::decode(body).unwrap();
        for scope in request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans) {
            lock(&received.spans).extend(scope.spans);
        }
    }
}
