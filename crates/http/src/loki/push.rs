//! Lines in: JSON (plain or gzip) and snappy protobuf.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use ingest::loki_push::Pushed;
use ingest::{Rejection, compression};

use super::{Handles, NO_CONTENT};
use crate::params::{content_encoding, content_type};
use crate::prometheus::{refused, sentence};
use crate::reply::{Plain, Refusal};

pub(super) async fn post(State(handles): State<Handles>, headers: HeaderMap, content: Body) -> Result<Response, Plain> {
    let decoder = Arc::clone(&handles.pushes);
    let form = Form::of(&content_type(&headers), &content_encoding(&headers))?;
    let most = decoder.limits().max_compressed_bytes;
    let decode = move |bytes: &[u8]| match form {
        Form::Json => Ok(decoder.decode_json(bytes)?),
        Form::GzipJson => {
            let plain = compression::gzip(bytes, decoder.limits().max_decoded_bytes)?;
            Ok(decoder.decode_json(&plain)?)
        }
        Form::Protobuf => Ok(decoder.decode_protobuf(bytes)?),
    };
    let Pushed { batch, mut rejected } = handles.ingress.decode(content, most, decode).await?;
    if !batch.batch().is_empty() {
        rejected.extend(refused(handles.ingress.write(batch).await?));
    }
    // What was valid is stored. An agent repeats the whole request upon 429, and then it is the same lines that are
    // there already; it does not repeat it upon 400.
    match sentence(&rejected) {
        Some(text) if rejected.iter().any(Rejection::is_for_now) => Err(Refusal::later(text).into()),
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
