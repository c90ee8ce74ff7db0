use std::convert::Infallible;
use std::sync::atomic::{AtomicI64, Ordering};

use axum::body::Bytes;
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::*;
use crate::{SampleLimit, otlp_router, serve};

/// A framed gRPC message, compressed or not.
fn frame(message: &impl Message, is_compressed: bool) -> Bytes {
    let body = if is_compressed { gzip(&message.encode_to_vec()) } else { message.encode_to_vec() };
    let mut frame = vec![u8::from(is_compressed)];
    frame.extend_from_slice(&u32::try_from(body.len()).unwrap().to_be_bytes());
    frame.extend_from_slice(&body);
    Bytes::from(frame)
}

/// Calls over a real connection: HTTP/2 without TLS, as exporters do. Answers `grpc-status`.
async fn call(address: &str, path: &str, body: Bytes, is_compressed: bool) -> String {
    let client = Client::builder(TokioExecutor::new()).http2_only(true).build_http();
    let mut request = Request::post(format!("http://{address}{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    if is_compressed {
        request = request.header("grpc-encoding", "gzip");
    }
    let response = client.request(request.body(Full::<Bytes>::from(body)).unwrap()).await.unwrap();
    let early = response.headers().get("grpc-status").cloned();
    let collected = response.into_body().collect().await.unwrap();
    let late = collected.trailers().and_then(|trailers| trailers.get("grpc-status").cloned());
    early.or(late).map_or_else(|| "none".to_owned(), |status| status.to_str().unwrap().to_owned())
}

/// A listening server; dropping the sender shuts it down.
pub(super) async fn listen(router: Router) -> (String, oneshot::Sender<Infallible>, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (stop, stopped) = oneshot::channel::<Infallible>();
    let serving = tokio::spawn(serve(listener, router, async {
        let _ = stopped.await;
    }));
    (address, stop, serving)
}

#[tokio::test]
async fn exporters_reach_all_three_services_on_one_port() {
    const SERVICE: &str = "/opentelemetry.proto.collector";
    let (router, store) = server();
    let (address, stop, serving) = listen(router).await;
    let traces: ExportTraceServiceRequest = serde_json::from_value(super::traces::export()).unwrap();
    for is_compressed in [false, true] {
        let body = frame(&traces, is_compressed);
        assert_eq!(call(&address, &format!("{SERVICE}.trace.v1.TraceService/Export"), body, is_compressed).await, "0");
    }
    let body = frame(&ExportMetricsServiceRequest::default(), false);
    assert_eq!(call(&address, &format!("{SERVICE}.metrics.v1.MetricsService/Export"), body, false).await, "0");
    let body = frame(&ExportLogsServiceRequest::default(), true);
    assert_eq!(call(&address, &format!("{SERVICE}.logs.v1.LogsService/Export"), body, true).await, "0");
    let id = "0af7651916cd43dd8448eb211c80319c".parse().unwrap();
    assert!(store.snapshot().trace(id).is_some_and(|trace| trace.spans.iter().any(|span| span.name == "db.insert")));

    let broken = Bytes::from_static(&[0, 0, 0, 0, 3, 255, 255, 255]);
    let status = call(&address, &format!("{SERVICE}.trace.v1.TraceService/Export"), broken, false).await;
    assert_ne!(status, "0");
    drop(stop);
    serving.await.unwrap();
}

#[tokio::test]
async fn otlp_has_ports_of_its_own() {
    let store = Arc::new(Store::in_memory());
    let (parts, _) = parts();
    drop(store);
    let router = otlp_router(parts.ingress, Arc::new(|| NOW), parts.limits, parts.is_ready);
    let reply = post(&router, "/v1/logs", &[("content-type", "application/json")], "{}").await;
    assert_eq!((reply.status, reply.text().as_str()), (StatusCode::OK, "{}"));
    assert_eq!(get(&router, "/api/v1/query?query=1").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn deltas_add_up_over_all_ways_in() {
    let (parts, _) = parts();
    let extra = otlp_router(parts.ingress.clone(), Arc::new(|| NOW), parts.limits, Arc::clone(&parts.is_ready));
    let router = router(parts);
    let (address, stop, serving) = listen(router.clone()).await;
    let export = |start_s: i64| {
        let ns = |s: i64| ((NOW_S + s) * 1_000_000_000).to_string();
        let point = json!({"startTimeUnixNano": ns(start_s), "timeUnixNano": ns(start_s + 10), "asDouble": 5.0});
        json!({"resourceMetrics": [{"scopeMetrics": [{"metrics": [
            {"name": "hits", "sum": {"aggregationTemporality": 1, "isMonotonic": true, "dataPoints": [point]}},
        ]}]}]})
    };
    let json_type = [("content-type", "application/json")];
    for (case, way, start_s) in [("main port", &router, -40), ("port of its own", &extra, -30)] {
        let reply = post(way, "/v1/metrics", &json_type, export(start_s).to_string()).await;
        assert_eq!((reply.status, reply.text().as_str()), (StatusCode::OK, "{}"), "{case}");
    }
    let third: ExportMetricsServiceRequest = serde_json::from_value(export(-20)).unwrap();
    let path = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
    assert_eq!(call(&address, path, frame(&third, false), false).await, "0");
    let again = post(&router, "/v1/metrics", &json_type, export(-20).to_string()).await;
    assert_eq!(again.text(), "{}", "a sender that heard nothing sends the same again");
    let old = post(&router, "/v1/metrics", &json_type, export(-40).to_string()).await.json();
    assert_eq!(old["partialSuccess"]["rejectedDataPoints"], "1", "{old}");

    let found = ask(&router, "/api/v1/query", &[("query", "hits_total[1m]"), ("time", &NOW_S.to_string())]).await;
    let values: Vec<Value> = found.json()["data"]["result"][0]["values"].as_array().unwrap().clone();
    let values: Vec<&str> = values.iter().map(|value| value[1].as_str().unwrap()).collect();
    assert_eq!(values, ["5", "10", "15"]);
    drop(stop);
    serving.await.unwrap();
}

/// An export of one line for each service.
fn lines_of(services: &[&str]) -> Value {
    let resources = services.iter().map(|service| {
        json!({
            "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": service}}]},
            "scopeLogs": [{"logRecords": [
                {"timeUnixNano": (NOW.0 * 1_000_000).to_string(), "body": {"stringValue": "line"}},
            ]}],
        })
    });
    json!({"resourceLogs": resources.collect::<Vec<_>>()})
}

#[tokio::test]
async fn lines_over_a_passing_limit_are_to_come_later() {
    let (parts, store) = parts_within(ingest::Limits { max_streams: 1, ..ingest::Limits::default() });
    let router = router(parts);
    let (address, stop, serving) = listen(router.clone()).await;
    const JSON: [(&str, &str); 1] = [("content-type", "application/json")];
    let push = |jobs: &[&str]| {
        let at = (NOW.0 * 1_000_000).to_string();
        let streams = jobs.iter().map(|job| json!({"stream": {"service_name": job}, "values": [[at, "line"]]}));
        json!({"streams": streams.collect::<Vec<_>>()}).to_string()
    };
    let over = r#"Maximum active stream limit exceeded when trying to create stream {service_name="b"}"#;
    let later = StatusCode::TOO_MANY_REQUESTS;
    for (case, path, body, status) in [
        ("push of one stream", "/loki/api/v1/push", push(&["a"]), StatusCode::NO_CONTENT),
        ("push of another", "/loki/api/v1/push", push(&["b"]), later),
        ("push of both", "/loki/api/v1/push", push(&["a", "b"]), later),
        ("export of one stream", "/v1/logs", lines_of(&["a"]).to_string(), StatusCode::OK),
        ("export of another", "/v1/logs", lines_of(&["b"]).to_string(), later),
        ("export of both", "/v1/logs", lines_of(&["a", "b"]).to_string(), StatusCode::OK),
    ] {
        let reply = post(&router, path, &JSON, body).await;
        assert_eq!(reply.status, status, "{case}: {}", reply.text());
        assert_eq!(reply.headers.contains_key("retry-after"), status == later, "{case}");
        let is_named = case.ends_with("another") || case.ends_with("both");
        let text = reply.text().replace("\\\"", "\"");
        assert_eq!(text.contains(over), is_named, "{case}: {text}");
    }
    let path = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
    for (case, services, code) in [
        ("another", &["b"][..], tonic::Code::ResourceExhausted),
        ("both: what is taken in part must not be repeated", &["a", "b"], tonic::Code::Ok),
    ] {
        let export: ExportLogsServiceRequest = serde_json::from_value(lines_of(services)).unwrap();
        let status = call(&address, path, frame(&export, false), false).await;
        assert_eq!(status, (code as i32).to_string(), "{case}");
    }
    assert_eq!(store.snapshot().stream_labels(&[], signal::Nanos(0), signal::Nanos(i64::MAX)).len(), 1);
    drop(stop);
    serving.await.unwrap();
}

#[tokio::test]
async fn samples_that_come_too_fast_are_to_come_later() {
    let (mut parts, _) = parts();
    let clock = Arc::new(AtomicI64::new(NOW.0));
    let (seen, refused) = std::sync::mpsc::channel();
    let now = Arc::clone(&clock);
    parts.ingress = parts.ingress.with_limit(SampleLimit {
        rate: ingest::SampleRate::new(2),
        now: Arc::new(move || Timestamp(now.load(Ordering::Relaxed))),
        refused: Box::new(move |rejection| seen.send((rejection.reason, rejection.count)).unwrap()),
    });
    let router = router(parts);
    let write = |count: i64| {
        let samples: Vec<_> = (0..count).map(|k| (NOW.0 - k, 1.0)).collect();
        remote_write(&router, vec![series(&[("__name__", "m")], &samples)])
    };
    assert_eq!(write(5).await.status, StatusCode::NO_CONTENT, "the first one is taken whole");
    let json_type = [("content-type", "application/json")];
    let gauge = json!({"resourceMetrics": [{"scopeMetrics": [{"metrics": [
        {"name": "g", "gauge": {"dataPoints": [{"timeUnixNano": (NOW.0 * 1_000_000).to_string(), "asDouble": 1.0}]}},
    ]}]}]});
    let export: ExportMetricsServiceRequest = serde_json::from_value(gauge.clone()).unwrap();
    for (case, reply) in [
        ("remote write", write(2).await),
        ("OTLP over HTTP", post(&router, "/v1/metrics", &json_type, gauge.to_string()).await),
    ] {
        assert_eq!(reply.status, StatusCode::TOO_MANY_REQUESTS, "{case}: {}", reply.text());
        assert_eq!(reply.headers["retry-after"], "2", "{case}");
        assert!(reply.text().contains("the limit of 2 a second (max_samples_per_second)"), "{case}: {}", reply.text());
    }
    let (address, stop, serving) = listen(router.clone()).await;
    let path = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
    let status = call(&address, path, frame(&export, false), false).await;
    assert_eq!(status, (tonic::Code::ResourceExhausted as i32).to_string());
    assert_eq!(refused.try_iter().collect::<Vec<_>>(), [("sample_rate", 2), ("sample_rate", 1), ("sample_rate", 1)]);

    let lines = json!({"streams": [{"stream": {"job": "a"}, "values": [[(NOW.0 * 1_000_000).to_string(), "line"]]}]});
    let reply = post(&router, "/loki/api/v1/push", &json_type, lines.to_string()).await;
    assert_eq!(reply.status, StatusCode::NO_CONTENT, "lines are no samples: {}", reply.text());
    clock.fetch_add(2_000, Ordering::Relaxed);
    assert_eq!(write(2).await.status, StatusCode::NO_CONTENT, "the debt is paid");
    drop(stop);
    serving.await.unwrap();
}
