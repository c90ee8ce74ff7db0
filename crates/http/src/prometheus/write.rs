//! Remote write, protocols 1.0 and 2.0.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use store::Amounts;

use super::Handles;
use crate::handles::{Written, conflicting};
use crate::params::{content_encoding, content_type};
use crate::reply::Refusal;

/// The message in a body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Protocol {
    /// `prometheus.WriteRequest`
    One,
    /// `io.prometheus.write.v2.Request`
    Two,
}

pub(super) async fn post(State(handles): State<Handles>, headers: HeaderMap, content: Body) -> Response {
    let protocol = match protocol(&headers) {
        Ok(protocol) => protocol,
        Err(refusal) => return refusal.into_plain(),
    };
    let mut kept = Amounts::default();
    let mut response = match keep(&handles, protocol, content, &mut kept).await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(refusal) => refusal.into_plain(),
    };
    if protocol == Protocol::Two {
        // A sender of 2.0 takes a 2xx without these for a server that took the body for something else.
        for (name, count) in [
            ("x-prometheus-remote-write-samples-written", kept.samples),
            ("x-prometheus-remote-write-histograms-written", kept.histograms),
            ("x-prometheus-remote-write-exemplars-written", kept.exemplars),
        ] {
            response.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from(count));
        }
    }
    response
}

async fn keep(handles: &Handles, protocol: Protocol, content: Body, kept: &mut Amounts) -> Result<(), Refusal> {
    let decoder = Arc::clone(&handles.remote_write);
    let most = decoder.limits().max_compressed_bytes;
    let decode = move |bytes: &[u8]| match protocol {
        Protocol::One => Ok(decoder.decode(bytes)?),
        Protocol::Two => Ok(decoder.decode_v2(bytes)?),
    };
    let decoded = handles.ingress.decode(content, most, decode).await?;
    let mut rejected = decoded.rejected;
    if !decoded.batch.batch().is_empty() {
        let written = handles.ingress.write(decoded.batch).await?;
        *kept = written.kept();
        rejected.extend(refused(written));
    }
    // What was valid is stored; the 400 tells the sender not to repeat the rest.
    sentence(&rejected).map_or(Ok(()), |text| Err(Refusal::bad(text)))
}

fn protocol(headers: &HeaderMap) -> Result<Protocol, Refusal> {
    let kind = content_type(headers);
    if !matches!(kind.as_str(), "" | "application/x-protobuf") {
        return Err(Refusal::unsupported(format!(
            "content type `{kind}` is not supported; remote write is `application/x-protobuf`"
        )));
    }
    let encoding = content_encoding(headers);
    if !matches!(encoding.as_str(), "" | "snappy") {
        return Err(Refusal::unsupported(format!("content encoding `{encoding}` is not supported; `snappy` is")));
    }
    let whole = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match whole.split(';').find_map(|part| part.trim().strip_prefix("proto=")) {
        None | Some("prometheus.WriteRequest") => Ok(Protocol::One),
        Some("io.prometheus.write.v2.Request") => Ok(Protocol::Two),
        Some(message) => Err(Refusal::unsupported(format!(
            "remote write message `{message}` is not supported; `prometheus.WriteRequest` (1.0) and \
             `io.prometheus.write.v2.Request` (2.0) are"
        ))),
    }
}

/// Everything of a batch that was not kept, conflicts with stored samples included.
pub(crate) fn refused(written: Written) -> Vec<ingest::Rejection> {
    let mut rejected = written.rejected;
    rejected.extend(written.receipt.conflicts.iter().map(conflicting));
    rejected
}

/// One sentence that names every reason; `None` when nothing was refused.
pub(crate) fn sentence(rejected: &[ingest::Rejection]) -> Option<String> {
    let parts: Vec<_> =
        rejected.iter().map(|one| format!("{} ({}, {} refused)", one.example, one.reason, one.count)).collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}
