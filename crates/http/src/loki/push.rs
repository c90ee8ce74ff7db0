//! Lines in: JSON (plain or gzip) and snappy protobuf.

use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use ingest::{compression, loki_push};

use super::{Handles, NO_CONTENT};
use crate::params::{content_encoding, content_type};
use crate::prometheus::{refused, sentence};
use crate::reply::{Plain, Refusal};

pub(super) async fn post(State(handles): State<Handles>, headers: HeaderMap, content: Body) -> Result<Response, Plain> {
    let limits = handles.limits;
    let form = Form::of(&content_type(&headers), &content_encoding(&headers))?;
    let decode = move |bytes: &[u8]| match form {
        Form::Json => Ok(loki_push::decode_json(bytes, &limits)?),
        Form::GzipJson => {
            let plain = compression::gzip(bytes, limits.max_decoded_bytes)?;
            Ok(loki_push::decode_json(&plain, &limits)?)
        }
        Form::Protobuf => Ok(loki_push::decode_protobuf(bytes, &limits)?),
    };
    let decoded = handles.ingress.decode(content, limits.max_compressed_bytes, decode).await?;
    let mut rejected = decoded.rejected;
    if !decoded.batch.is_empty() {
        rejected.extend(refused(handles.ingress.write(decoded.batch).await?));
    }
    // What was valid is stored; a 400 is not repeated by any agent.
    match sentence(&rejected) {
        Some(text) => Err(Refusal::bad(text).into()),
        None => Ok(NO_CONTENT.into_response()),
    }
}

/// The ways to write a push request.
#[derive(Clone, Copy)]
enum Form {
    Json,
    GzipJson,
    /// A snappy block, whatever the `Content-Encoding` says.
    Protobuf,
}

impl Form {
    fn of(kind: &str, encoding: &str) -> Result<Self, Refusal> {
        match (kind, encoding) {
            ("application/json", "") => Ok(Self::Json),
            ("application/json", "gzip") => Ok(Self::GzipJson),
            ("" | "application/x-protobuf", "" | "snappy") => Ok(Self::Protobuf),
            ("" | "application/json" | "application/x-protobuf", _) => Err(Refusal::unsupported(format!(
                "content encoding `{encoding}` is not supported here; `gzip` is for JSON, `snappy` for protobuf"
            ))),
            _ => Err(Refusal::unsupported(format!(
                "content type `{kind}` is not supported; push `application/json` or `application/x-protobuf`"
            ))),
        }
    }
}
