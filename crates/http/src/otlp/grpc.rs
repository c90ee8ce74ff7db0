//! The three OTLP gRPC services.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request as HttpRequest, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response as HttpResponse;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{LogsService, LogsServiceServer};
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsPartialSuccess, ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use tokio::time::timeout;
use tonic::codec::CompressionEncoding;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use super::{Handles, write};
use crate::params::BODY_SECONDS;
use crate::reply::Refusal;

/// The services as axum routes. They bring no fallback, so that they merge with any other router.
pub(crate) fn grpc_routes(handles: Handles) -> Router {
    let max = handles.limits.max_decoded_bytes;
    // Collector batches often exceed tonic's default of 4 MiB.
    let traces = TraceServiceServer::new(handles.clone())
        .accept_compressed(CompressionEncoding::Gzip)
        .send_compressed(CompressionEncoding::Gzip)
        .max_decoding_message_size(max);
    let metrics = MetricsServiceServer::new(handles.clone())
        .accept_compressed(CompressionEncoding::Gzip)
        .send_compressed(CompressionEncoding::Gzip)
        .max_decoding_message_size(max);
    let logs = LogsServiceServer::new(handles)
        .accept_compressed(CompressionEncoding::Gzip)
        .send_compressed(CompressionEncoding::Gzip)
        .max_decoding_message_size(max);
    Routes::new(traces)
        .add_service(metrics)
        .add_service(logs)
        .into_axum_router()
        .reset_fallback()
        .layer(from_fn_with_state(Duration::from_secs(BODY_SECONDS), in_time))
}

/// A message that trickles in for ever must not hold its connection for ever: tonic sets no deadline of its own.
async fn in_time(State(limit): State<Duration>, request: HttpRequest, next: Next) -> HttpResponse {
    timeout(limit, next.run(request)).await.unwrap_or_else(|_| {
        Status::deadline_exceeded(format!("request took longer than {limit:?}")).into_http::<Body>()
    })
}

#[tonic::async_trait]
impl TraceService for Handles {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let converted = ingest::otlp::traces(request.into_inner());
        let partial = write(&self.ingress, converted).await.map_err(Refusal::into_grpc)?;
        Ok(Response::new(ExportTraceServiceResponse {
            partial_success: partial
                .map(|(rejected_spans, error_message)| ExportTracePartialSuccess { rejected_spans, error_message }),
        }))
    }
}

#[tonic::async_trait]
impl MetricsService for Handles {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        let now = (self.now)();
        let converted = ingest::otlp::metrics_with_deltas(request.into_inner(), &self.ingress.deltas, now);
        let partial = write(&self.ingress, converted).await.map_err(Refusal::into_grpc)?;
        Ok(Response::new(ExportMetricsServiceResponse {
            partial_success: partial.map(|(rejected_data_points, error_message)| ExportMetricsPartialSuccess {
                rejected_data_points,
                error_message,
            }),
        }))
    }
}

#[tonic::async_trait]
impl LogsService for Handles {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        let converted = ingest::otlp::logs(request.into_inner(), (self.now)().to_nanos());
        let partial = write(&self.ingress, converted).await.map_err(Refusal::into_grpc)?;
        Ok(Response::new(ExportLogsServiceResponse {
            partial_success: partial.map(|(rejected_log_records, error_message)| ExportLogsPartialSuccess {
                rejected_log_records,
                error_message,
            }),
        }))
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::post;
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn a_call_whose_message_never_comes_is_given_up() {
        let routes = Router::new()
            .route("/", post(std::future::pending::<()>))
            .layer(from_fn_with_state(Duration::from_millis(10), in_time));
        let answer = routes.oneshot(HttpRequest::post("/").body(Body::empty()).unwrap()).await.unwrap();
        let code = answer.headers().get("grpc-status").unwrap();
        assert_eq!(code, &(tonic::Code::DeadlineExceeded as i32).to_string());
    }
}
