//! Remote write 1.0. The 2.0 protocol is answered with 415, upon which senders fall back.

use axum::body::Body;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};

use super::Handles;
use crate::handles::Written;
use crate::params::{content_encoding, content_type};
use crate::reply::{Plain, Refusal};

pub(super) async fn post(State(handles): State<Handles>, headers: HeaderMap, content: Body) -> Result<Response, Plain> {
    check_headers(&headers)?;
    let limits = handles.limits;
    let decode = move |bytes: &[u8]| Ok(ingest::remote_write::decode(bytes, &limits)?);
    let decoded = handles.ingress.decode(content, limits.max_compressed_bytes, decode).await?;
    let mut rejected = decoded.rejected;
    if !decoded.batch.is_empty() {
        let written = handles.ingress.write(decoded.batch).await?;
        rejected.extend(refused(written));
    }
    // What was valid is stored; the 400 tells the sender not to repeat the rest.
    if let Some(text) = sentence(&rejected) {
        return Err(Refusal::bad(text).into());
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn check_headers(headers: &HeaderMap) -> Result<(), Refusal> {
    let kind = content_type(headers);
    if !matches!(kind.as_str(), "" | "application/x-protobuf") {
        return Err(Refusal::unsupported(format!(
            "content type `{kind}` is not supported; remote write is `application/x-protobuf`"
        )));
    }
    let whole = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let message = whole.split(';').filter_map(|part| part.trim().strip_prefix("proto=")).next();
    if let Some(message) = message.filter(|message| *message != "prometheus.WriteRequest") {
        return Err(Refusal::unsupported(format!(
            "remote write message `{message}` is not supported; `prometheus.WriteRequest` (1.0) is"
        )));
    }
    let encoding = content_encoding(headers);
    if !matches!(encoding.as_str(), "" | "snappy") {
        return Err(Refusal::unsupported(format!("content encoding `{encoding}` is not supported; `snappy` is")));
    }
    Ok(())
}

/// Everything of a batch that was not kept, conflicts with stored samples included.
pub(crate) fn refused(written: Written) -> Vec<ingest::Rejection> {
    let mut rejected = written.rejected;
    let count = u64::try_from(written.receipt.conflicts.len()).unwrap_or(u64::MAX);
    if let Some(first) = written.receipt.conflicts.first() {
        let example = format!(
            "duplicate sample for timestamp {} of series {}: {} stays, {} is refused",
            first.at, first.series, first.kept, first.refused
        );
        rejected.push(ingest::Rejection { reason: "conflicting_sample", count, example });
    }
    rejected
}

/// One sentence that names every reason; `None` when nothing was refused.
pub(crate) fn sentence(rejected: &[ingest::Rejection]) -> Option<String> {
    let parts: Vec<_> =
        rejected.iter().map(|one| format!("{} ({}, {} refused)", one.example, one.reason, one.count)).collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}
