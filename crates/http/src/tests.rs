//! The whole router over an in-memory store.

mod connections;
mod grpc;
mod logs;
mod metrics;
mod reading;
mod refusals;
mod server;
mod status;
mod tail;
mod traces;
mod upstreams;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use prost::Message;
use serde_json::Value;
use signal::{LogLine, Timestamp, WriteBatch};
use store::Store;
use tower::ServiceExt;

use crate::{Ingress, LineTap, Parts, Reader, commit, router};

/// 2024-01-25T13:30:00Z
const NOW: Timestamp = Timestamp(1_706_189_400_000);
const NOW_S: i64 = 1_706_189_400;

/// Parts over a fresh store, with a writer task at the other end.
fn parts() -> (Parts, Arc<Store>) {
    parts_within(ingest::Limits::default())
}

/// The same with other limits.
fn parts_within(limits: ingest::Limits) -> (Parts, Arc<Store>) {
    let store = Arc::new(Store::in_memory());
    let (ingress, mut requests) = Ingress::new(16);
    let writer = Arc::clone(&store);
    let tap = LineTap::default();
    let lines = tap.clone();
    tokio::spawn(async move {
        let mut intake = ingest::Intake::new(limits);
        while let Some(request) = requests.recv().await {
            lines.publish(commit(vec![request], &mut intake, &writer, NOW).streams);
        }
    });
    (Parts { tap, limits, ..Parts::new(ingress, Reader::new(Arc::clone(&store)), Arc::new(|| NOW)) }, store)
}

fn server() -> (Router, Arc<Store>) {
    let (parts, store) = parts();
    (router(parts), store)
}

struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    bytes: Vec<u8>,
}

impl Reply {
    fn text(&self) -> String {
        String::from_utf8(self.bytes.clone()).unwrap()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }
}

async fn send(router: &Router, request: Request<Body>) -> Reply {
    let response = router.clone().oneshot(request).await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    let bytes = response.into_body().collect().await.unwrap().to_bytes().to_vec();
    Reply { status, headers, bytes }
}

async fn get(router: &Router, path: &str) -> Reply {
    send(router, Request::get(path).body(Body::empty()).unwrap()).await
}

/// GETs a path with parameters that may need escaping.
async fn ask(router: &Router, path: &str, parameters: &[(&str, &str)]) -> Reply {
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
    get(router, &format!("{path}?{query}")).await
}

async fn post(router: &Router, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Reply {
    let mut request = Request::post(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    send(router, request.body(body.into()).unwrap()).await
}

/// Remote write 1.0, as much as tests need.
#[derive(Clone, PartialEq, Message)]
struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    timeseries: Vec<TimeSeries>,
    #[prost(message, repeated, tag = "3")]
    metadata: Vec<Metadata>,
}

#[derive(Clone, PartialEq, Message)]
struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
    #[prost(message, repeated, tag = "3")]
    exemplars: Vec<Exemplar>,
}

#[derive(Clone, PartialEq, Message)]
struct Label {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct Sample {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Exemplar {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(double, tag = "2")]
    value: f64,
    #[prost(int64, tag = "3")]
    timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Metadata {
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(string, tag = "2")]
    family: String,
    #[prost(string, tag = "4")]
    help: String,
}

fn labels(pairs: &[(&str, &str)]) -> Vec<Label> {
    pairs.iter().map(|(name, value)| Label { name: (*name).to_owned(), value: (*value).to_owned() }).collect()
}

fn series(pairs: &[(&str, &str)], samples: &[(i64, f64)]) -> TimeSeries {
    let samples = samples.iter().map(|&(timestamp, value)| Sample { value, timestamp }).collect();
    TimeSeries { labels: labels(pairs), samples, exemplars: Vec::new() }
}

fn snappy(message: &impl Message) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(&message.encode_to_vec()).unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

async fn remote_write(router: &Router, timeseries: Vec<TimeSeries>) -> Reply {
    let body = snappy(&WriteRequest { timeseries, metadata: Vec::new() });
    let headers = [
        ("content-type", "application/x-protobuf"),
        ("content-encoding", "snappy"),
        ("x-prometheus-remote-write-version", "0.1.0"),
    ];
    post(router, "/api/v1/write", &headers, body).await
}

/// Two requests counters, 15 s apart up to NOW.
async fn with_metrics(router: &Router) {
    let ramp = |rate: f64| (0..=20).map(|k| (NOW.0 - (20 - k) * 15_000, rate * 15.0 * k as f64)).collect::<Vec<_>>();
    let name = ("__name__", "http_requests_total");
    let good = series(&[name, ("service", "backend"), ("status", "201")], &ramp(2.0));
    let bad = series(&[name, ("service", "backend"), ("status", "500")], &ramp(0.5));
    let reply = remote_write(router, vec![good, bad]).await;
    assert_eq!(reply.status, StatusCode::NO_CONTENT, "{}", reply.text());
}

fn line_batch(at: i64, line: &str) -> WriteBatch {
    let labels = signal::Labels::from_pairs([("job", "aegis-backend")]);
    let line = LogLine { at: signal::Nanos(at), line: line.to_owned(), metadata: signal::Labels::empty() };
    WriteBatch { streams: vec![signal::StreamWrite { labels, lines: vec![line] }], ..WriteBatch::default() }
}
