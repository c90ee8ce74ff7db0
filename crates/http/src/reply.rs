//! The only map from our errors to what a client sees: status code, error type, text.

use std::fmt::Write as _;

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use ingest::compression::DecompressError;
use ingest::{loki_push, otlp, remote_write};
use prost::Message;
use query::{logql, promql, traceql};

use crate::handles::{QueryError, WriteError};
use crate::json;

/// A refusal before it is given the shape of one of the protocols.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    kind: Kind,
    pub(crate) text: String,
    retry_after_s: Option<u32>,
}

/// Prometheus' `errorType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    BadData,
    Execution,
    Timeout,
    Canceled,
    Unavailable,
    NotFound,
    Internal,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::BadData => "bad_data",
            Self::Execution => "execution",
            Self::Timeout => "timeout",
            Self::Canceled => "canceled",
            Self::Unavailable => "unavailable",
            Self::NotFound => "not_found",
            Self::Internal => "internal",
        }
    }
}

impl Refusal {
    fn new(status: StatusCode, kind: Kind, text: impl Into<String>) -> Self {
        Self { status, kind, text: text.into(), retry_after_s: None }
    }

    /// The request is wrong.
    pub(crate) fn bad(text: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, Kind::BadData, text)
    }

    /// A named parameter is wrong; upstream's wording.
    pub(crate) fn parameter(name: &str, reason: impl std::fmt::Display) -> Self {
        Self::bad(format!("invalid parameter \"{name}\": {reason}"))
    }

    /// The request is fine, its evaluation is not possible.
    pub(crate) fn execution(text: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, Kind::Execution, text)
    }

    /// Nothing by that name.
    pub(crate) fn not_found(text: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, Kind::NotFound, text)
    }

    /// The body is longer than `limit` bytes.
    pub(crate) fn too_large(limit: usize) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            Kind::BadData,
            format!("request body is larger than the limit of {limit} bytes"),
        )
    }

    /// The body did not arrive in time.
    pub(crate) fn too_slow(seconds: u64) -> Self {
        Self::new(
            StatusCode::REQUEST_TIMEOUT,
            Kind::Timeout,
            format!("request body did not arrive within {seconds} seconds"),
        )
    }

    /// The body is of a kind that is not spoken here.
    pub(crate) fn unsupported(text: impl Into<String>) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, Kind::BadData, text)
    }

    /// Not yet, or not now.
    pub(crate) fn unavailable(text: impl Into<String>) -> Self {
        Self { retry_after_s: Some(1), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, Kind::Unavailable, text) }
    }

    /// A limit that passes by itself: the same may be taken a moment later.
    pub(crate) fn later(text: impl Into<String>) -> Self {
        Self { retry_after_s: Some(1), ..Self::new(StatusCode::TOO_MANY_REQUESTS, Kind::Unavailable, text) }
    }

    /// The user has not switched this on; asking again does not help.
    pub(crate) fn switched_off(text: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, Kind::Unavailable, text)
    }

    /// A defect of ours.
    pub(crate) fn internal(text: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, Kind::Internal, text)
    }

    /// The evaluation was given up because its time was over or its client left.
    pub(crate) fn canceled() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, Kind::Canceled, "query was canceled in expression evaluation")
    }

    /// The same refusal with another status.
    pub(crate) fn with_status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    fn finish(self, content_type: &'static str, body: impl IntoResponse) -> Response {
        let mut response = (self.status, body).into_response();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        if let Some(seconds) = self.retry_after_s {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }

    /// Prometheus' JSON envelope.
    pub(crate) fn into_envelope(self) -> Response {
        let mut body = String::from(r#"{"status":"error","errorType":"#);
        json::string(&mut body, self.kind.as_str());
        body.push_str(r#","error":"#);
        json::string(&mut body, &self.text);
        body.push('}');
        self.finish("application/json", body)
    }

    /// Plain text, as Loki and Tempo answer.
    pub(crate) fn into_plain(self) -> Response {
        let mut body = self.text.clone();
        if !body.ends_with('\n') {
            body.push('\n');
        }
        self.finish("text/plain; charset=utf-8", body)
    }

    fn code(&self) -> tonic::Code {
        match self.status {
            StatusCode::NOT_FOUND => tonic::Code::NotFound,
            StatusCode::PAYLOAD_TOO_LARGE | StatusCode::TOO_MANY_REQUESTS => tonic::Code::ResourceExhausted,
            StatusCode::SERVICE_UNAVAILABLE => tonic::Code::Unavailable,
            status if status.is_server_error() => tonic::Code::Internal,
            _ => tonic::Code::InvalidArgument,
        }
    }

    /// `google.rpc.Status`, as OTLP over HTTP wants it.
    pub(crate) fn into_rpc_json(self) -> Response {
        let mut body = String::new();
        let _ = write!(body, r#"{{"code":{},"message":{}}}"#, i32::from(self.code()), json::quoted(&self.text));
        self.finish("application/json", body)
    }

    /// `google.rpc.Status` as protobuf.
    pub(crate) fn into_rpc_protobuf(self) -> Response {
        let status = RpcStatus { code: i32::from(self.code()), message: self.text.clone(), details: Vec::new() };
        self.finish("application/x-protobuf", status.encode_to_vec())
    }

    /// The status of a gRPC call. Exporters come back after RESOURCE_EXHAUSTED only when the details say when.
    pub(crate) fn into_grpc(self) -> tonic::Status {
        let code = self.code();
        let Some(seconds) = self.retry_after_s else { return tonic::Status::new(code, self.text) };
        let retry = RetryInfo { retry_delay: Some(Delay { seconds: i64::from(seconds) }) };
        let retry =
            Detail { type_url: "type.googleapis.com/google.rpc.RetryInfo".to_owned(), value: retry.encode_to_vec() };
        let status = RpcStatus { code: i32::from(code), message: self.text.clone(), details: vec![retry] };
        tonic::Status::with_details(code, self.text, status.encode_to_vec().into())
    }
}

/// `google.rpc.Status`
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct RpcStatus {
    #[prost(int32, tag = "1")]
    pub(crate) code: i32,
    #[prost(string, tag = "2")]
    pub(crate) message: String,
    #[prost(message, repeated, tag = "3")]
    pub(crate) details: Vec<Detail>,
}

/// `google.protobuf.Any`
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Detail {
    #[prost(string, tag = "1")]
    pub(crate) type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) value: Vec<u8>,
}

/// `google.rpc.RetryInfo`
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    pub(crate) retry_delay: Option<Delay>,
}

/// `google.protobuf.Duration` in whole seconds.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct Delay {
    #[prost(int64, tag = "1")]
    pub(crate) seconds: i64,
}

impl From<WriteError> for Refusal {
    fn from(error: WriteError) -> Self {
        match &error {
            WriteError::TooFast(exceeded) => {
                let retry_after_s = Some(u32::try_from(exceeded.retry_after.as_secs()).unwrap_or(u32::MAX));
                Self { retry_after_s, ..Self::new(StatusCode::TOO_MANY_REQUESTS, Kind::Unavailable, error.to_string()) }
            }
            WriteError::Busy | WriteError::Stopped => Self::unavailable(error.to_string()),
            WriteError::Full(_) => Self { retry_after_s: Some(30), ..Self::unavailable(error.to_string()) },
            WriteError::TooLarge(_) => Self::bad(error.to_string()).with_status(StatusCode::PAYLOAD_TOO_LARGE),
            WriteError::Storage(_) => Self::internal(error.to_string()),
        }
    }
}

impl From<QueryError> for Refusal {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::Timeout | QueryError::Queued => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, Kind::Timeout, error.to_string())
            }
            QueryError::Stopped => Self::unavailable(error.to_string()),
            QueryError::Defect => Self::internal(error.to_string()),
        }
    }
}

impl From<DecompressError> for Refusal {
    fn from(error: DecompressError) -> Self {
        decompression(&error, chain(&error))
    }
}

/// Too large is 413, everything else in a compressed body is simply wrong.
fn decompression(error: &DecompressError, text: String) -> Refusal {
    match error {
        DecompressError::CompressedTooLarge { .. } | DecompressError::TooLarge { .. } => {
            Refusal::bad(text).with_status(StatusCode::PAYLOAD_TOO_LARGE)
        }
        _ => Refusal::bad(text),
    }
}

impl From<remote_write::DecodeError> for Refusal {
    fn from(error: remote_write::DecodeError) -> Self {
        let text = chain(&error);
        match &error {
            remote_write::DecodeError::Decompress(inner) => decompression(inner, text),
            remote_write::DecodeError::TooMany { .. } => Self::bad(text).with_status(StatusCode::PAYLOAD_TOO_LARGE),
            _ => Self::bad(text),
        }
    }
}

impl From<loki_push::PushError> for Refusal {
    fn from(error: loki_push::PushError) -> Self {
        let text = chain(&error);
        match &error {
            loki_push::PushError::NoStreams => Self::bad(text).with_status(StatusCode::UNPROCESSABLE_ENTITY),
            loki_push::PushError::Decompress(inner) => decompression(inner, text),
            loki_push::PushError::TooLarge { .. } | loki_push::PushError::TooMany { .. } => {
                Self::bad(text).with_status(StatusCode::PAYLOAD_TOO_LARGE)
            }
            _ => Self::bad(text),
        }
    }
}

impl From<otlp::OtlpError> for Refusal {
    fn from(error: otlp::OtlpError) -> Self {
        let text = chain(&error);
        match error {
            otlp::OtlpError::TooLarge { .. } | otlp::OtlpError::TooMany { .. } => {
                Self::bad(text).with_status(StatusCode::PAYLOAD_TOO_LARGE)
            }
            _ => Self::bad(text),
        }
    }
}

impl From<promql::ParseError> for Refusal {
    fn from(error: promql::ParseError) -> Self {
        Self::parameter("query", error)
    }
}

impl From<promql::EvalError> for Refusal {
    fn from(error: promql::EvalError) -> Self {
        match error {
            promql::EvalError::Canceled => Self::canceled(),
            promql::EvalError::NotForRange(_) => Self::parameter("query", error),
            error => Self::execution(error.to_string()),
        }
    }
}

impl From<logql::ParseError> for Refusal {
    fn from(error: logql::ParseError) -> Self {
        Self::bad(error.to_string())
    }
}

impl From<logql::EvalError> for Refusal {
    fn from(error: logql::EvalError) -> Self {
        match error {
            logql::EvalError::Canceled => Self::canceled(),
            error => Self::bad(error.to_string()),
        }
    }
}

impl From<traceql::ParseError> for Refusal {
    fn from(error: traceql::ParseError) -> Self {
        Self::bad(error.to_string())
    }
}

impl From<traceql::EvalError> for Refusal {
    fn from(error: traceql::EvalError) -> Self {
        match error {
            traceql::EvalError::Canceled => Self::canceled(),
            error => Self::bad(error.to_string()),
        }
    }
}

/// An error and everything behind it, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}

/// A refusal in Prometheus' envelope.
#[derive(Debug)]
pub(crate) struct Enveloped(pub(crate) Refusal);

impl<E: Into<Refusal>> From<E> for Enveloped {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Enveloped {
    fn into_response(self) -> Response {
        self.0.into_envelope()
    }
}

/// A refusal in plain text.
#[derive(Debug)]
pub(crate) struct Plain(pub(crate) Refusal);

impl<E: Into<Refusal>> From<E> for Plain {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Plain {
    fn into_response(self) -> Response {
        self.0.into_plain()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_calls_are_told_when_to_come_back() {
        for (case, error, code, seconds) in [
            ("too fast", WriteError::from(fast()), tonic::Code::ResourceExhausted, Some(7)),
            ("busy", WriteError::Busy, tonic::Code::Unavailable, Some(1)),
            ("full", WriteError::Full("disk".to_owned()), tonic::Code::Unavailable, Some(30)),
            ("too large", WriteError::TooLarge("batch".to_owned()), tonic::Code::ResourceExhausted, None),
        ] {
            let status = Refusal::from(error).into_grpc();
            let inner = RpcStatus::decode(status.details()).unwrap();
            let told = inner.details.first().map(|detail| {
                assert_eq!(detail.type_url, "type.googleapis.com/google.rpc.RetryInfo", "{case}");
                RetryInfo::decode(&detail.value[..]).unwrap().retry_delay.unwrap().seconds
            });
            assert_eq!((status.code(), told), (code, seconds), "{case}");
        }
    }

    fn fast() -> ingest::RateExceeded {
        ingest::RateExceeded { per_second: 1.0, retry_after: std::time::Duration::from_secs(7) }
    }
}
