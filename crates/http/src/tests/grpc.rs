use std::convert::Infallible;

use axum::body::Bytes;
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::*;
use crate::{otlp_router, serve};

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
