//! Lines in: JSON (plain or gzip) and snappy protobuf.

use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use ingest::{compression, loki_push};

use super::{Handles, NO_CONTENT};
use crate::params::{body, content_encoding, content_type};
use crate::prometheus::{refused, sentence};
use crate::reply::{Plain, Refusal};

pub(super) async fn post(State(handles): State<Handles>, headers: HeaderMap, content: Body) -> Result<Response, Plain> {
    let limits = handles.limits;
    let kind = content_type(&headers);
    let encoding = content_encoding(&headers);
    let bytes = body(content, limits.max_compressed_bytes).await?;
    let decoded = match (kind.as_str(), encoding.as_str()) {
        ("application/json", "") => loki_push::decode_json(&bytes, &limits)?,
        ("application/json", "gzip") => {
            loki_push::decode_json(&compression::gzip(&bytes, limits.max_decoded_bytes)?, &limits)?
        }
        ("" | "application/x-protobuf", "" | "snappy") => loki_push::decode_protobuf(&bytes, &limits)?,
        ("" | "application/json" | "application/x-protobuf", _) => {
            return Err(Refusal::unsupported(format!(
                "content encoding `{encoding}` is not supported here; `gzip` is for JSON, `snappy` for protobuf"
            ))
            .into());
        }
        _ => {
            return Err(Refusal::unsupported(format!(
                "content type `{kind}` is not supported; push `application/json` or `application/x-protobuf`"
            ))
            .into());
        }
    };
    drop(bytes);
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
