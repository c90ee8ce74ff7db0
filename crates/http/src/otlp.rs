//! OTLP: traces, metrics and logs over HTTP (protobuf and JSON) and gRPC.

mod grpc;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
pub(crate) use grpc::grpc_routes;
use ingest::otlp::{Converted, Export};
use ingest::{Rejection, compression};
use prost::Message;

use crate::handles::{Clock, Ingress};
use crate::json;
use crate::params::{content_encoding, content_type};
use crate::prometheus::{refused, sentence};
use crate::reply::Refusal;

/// What these routes need.
#[derive(Clone)]
pub(crate) struct Handles {
    pub(crate) ingress: Ingress,
    pub(crate) now: Clock,
    pub(crate) limits: ingest::Limits,
}

/// `/v1/{traces,metrics,logs}`, also where Prometheus and Loki accept OTLP.
pub(crate) fn http_routes(handles: Handles) -> Router {
    let api = Router::new()
        .route("/v1/traces", post(traces))
        .route("/v1/metrics", post(metrics))
        .route("/v1/logs", post(logs));
    Router::new()
        .merge(api.clone())
        .nest("/otlp", api)
        .route("/api/v1/otlp/v1/metrics", post(metrics))
        .with_state(handles)
}

async fn traces(State(handles): State<Handles>, headers: HeaderMap, content: Body) -> Response {
    export(&handles, &headers, content, "rejectedSpans", ingest::otlp::traces).await
}

async fn metrics(State(handles): State<Handles>, headers: HeaderMap, content: Body) -> Response {
    let (deltas, now) = (Arc::clone(&handles.ingress.deltas), (handles.now)());
    export(&handles, &headers, content, "rejectedDataPoints", move |request| {
        ingest::otlp::metrics_with_deltas(request, &deltas, now)
    })
    .await
}

async fn logs(State(handles): State<Handles>, headers: HeaderMap, content: Body) -> Response {
    let received = (handles.now)().to_nanos();
    export(&handles, &headers, content, "rejectedLogRecords", move |request| ingest::otlp::logs(request, received))
        .await
}

/// The two encodings; an answer comes in that of its request.
#[derive(Clone, Copy)]
enum Encoding {
    Protobuf,
    Json,
}

async fn export<T: Export>(
    handles: &Handles,
    headers: &HeaderMap,
    content: Body,
    rejected_name: &str,
    convert: impl FnOnce(T) -> Converted + Send + 'static,
) -> Response {
    let encoding = match content_type(headers).as_str() {
        "application/x-protobuf" | "application/protobuf" => Encoding::Protobuf,
        "application/json" => Encoding::Json,
        other => {
            let text =
                format!("content type `{other}` is not supported; send `application/x-protobuf` or `application/json`");
            return Refusal::unsupported(text).into_rpc_json();
        }
    };
    let outcome = async {
        let limits = handles.limits;
        let compression = content_encoding(headers);
        let read = move |bytes: &[u8]| decode::<T>(encoding, &compression, bytes, &limits).map(convert);
        let converted = handles.ingress.decode(content, limits.max_compressed_bytes, read).await?;
        write(&handles.ingress, converted).await
    };
    match (outcome.await, encoding) {
        (Ok(partial), Encoding::Protobuf) => {
            let partial_success = partial.map(|(rejected, error_message)| PartialSuccess { rejected, error_message });
            let bytes = ExportResponse { partial_success }.encode_to_vec();
            ([(CONTENT_TYPE, "application/x-protobuf")], bytes).into_response()
        }
        (Ok(None), Encoding::Json) => json::response("{}".to_owned()),
        (Ok(Some((rejected, message))), Encoding::Json) => json::response(format!(
            r#"{{"partialSuccess":{{"{rejected_name}":"{rejected}","errorMessage":{}}}}}"#,
            json::quoted(&message)
        )),
        (Err(refusal), Encoding::Protobuf) => refusal.into_rpc_protobuf(),
        (Err(refusal), Encoding::Json) => refusal.into_rpc_json(),
    }
}

fn decode<T: Export>(
    encoding: Encoding,
    compression: &str,
    bytes: &[u8],
    limits: &ingest::Limits,
) -> Result<T, Refusal> {
    let opened;
    let plain = match compression {
        "" => bytes,
        "gzip" => {
            opened = compression::gzip(bytes, limits.max_decoded_bytes)?;
            &opened
        }
        other => {
            return Err(Refusal::unsupported(format!("content encoding `{other}` is not supported; `gzip` is")));
        }
    };
    match encoding {
        Encoding::Protobuf => Ok(ingest::otlp::decode_protobuf(plain, limits)?),
        Encoding::Json => Ok(ingest::otlp::decode_json(plain, limits)?),
    }
}

/// Writes what was understood. `Some` says what was refused, and why; when that is all and may be taken later, it is an
/// error that says so.
async fn write(ingress: &Ingress, converted: Converted) -> Result<Option<(i64, String)>, Refusal> {
    let Converted { batch, mut rejected, error_message, .. } = converted;
    let mut reasons = Vec::new();
    if !error_message.is_empty() {
        reasons.push(error_message);
    }
    if !batch.is_empty() {
        let lines = u64::try_from(batch.line_count()).unwrap_or(u64::MAX);
        let later = refused(ingress.write(batch).await?);
        let count = later.iter().map(|one| one.count).sum::<u64>();
        rejected += count;
        reasons.extend(sentence(&later));
        // Exporters never repeat what was taken in part. What passes by itself is only about lines.
        if count >= lines && later.iter().any(Rejection::is_for_now) {
            return Err(Refusal::later(reasons.join("; ")));
        }
    }
    let is_whole = rejected == 0 && reasons.is_empty();
    Ok((!is_whole).then(|| (i64::try_from(rejected).unwrap_or(i64::MAX), reasons.join("; "))))
}

/// `Export{Trace,Metrics,Logs}ServiceResponse`: the three are the same on the wire.
#[derive(Clone, PartialEq, prost::Message)]
struct ExportResponse {
    #[prost(message, optional, tag = "1")]
    partial_success: Option<PartialSuccess>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PartialSuccess {
    #[prost(int64, tag = "1")]
    rejected: i64,
    #[prost(string, tag = "2")]
    error_message: String,
}
