//! Remote read: the samples of series, whole or as a stream of chunks.
//!
//! Message shapes and framing: `prompb/remote.proto` and `storage/remote` of Prometheus.

mod bits;
mod chunks;
mod frames;
mod messages;

use std::cmp::Ordering;
use std::collections::BTreeMap;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use ingest::compression::snappy_block;
use prost::Message;
use query::Cancel;
use signal::{Labels, MatchOp, Matcher, TimeRange, Timestamp};
use store::{SeriesReader, Snapshot};

use super::Handles;
use crate::params::body;
use crate::reply::{Plain, Refusal};
use messages::{Label, MatcherKind, QueryResult, ReadRequest, ReadResponse, ResponseType, TimeSeries};

/// Queries in one request. Upstream sends one.
const MAX_QUERIES: usize = 1_000;

/// One query of a request, ready to be asked.
struct Wanted {
    matchers: Vec<Matcher>,
    range: TimeRange,
}

pub(super) async fn post(State(handles): State<Handles>, content: Body) -> Result<Response, Plain> {
    let limits = *handles.remote_write.limits();
    let compressed = body(content, limits.max_compressed_bytes).await?;
    let request = decode(&compressed, limits.max_decoded_bytes)?;
    let external = handles.views.read(|view| view.external_labels.clone());
    let kind = negotiate(&request.accepted_response_types)?;
    let wanted = request.queries.iter().map(|query| wanted(query, &external)).collect::<Result<Vec<_>, _>>()?;
    match kind {
        ResponseType::Samples => {
            let limit = handles.settings.max_samples;
            let bytes = handles
                .reader
                .run(None, move |snapshot, cancel| samples(&wanted, &external, snapshot, limit, cancel))
                .await??;
            let headers = [(CONTENT_TYPE, "application/x-protobuf"), (CONTENT_ENCODING, "snappy")];
            Ok((headers, bytes).into_response())
        }
        ResponseType::StreamedXorChunks => {
            let kind = "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse";
            Ok(([(CONTENT_TYPE, kind)], frames::stream(&handles.reader, wanted, external)).into_response())
        }
    }
}

fn decode(compressed: &Bytes, limit: usize) -> Result<ReadRequest, Refusal> {
    let message = snappy_block(compressed, limit)?;
    let request = ReadRequest::decode(message.as_slice())
        .map_err(|error| Refusal::bad(format!("cannot read the remote-read request: {error}")))?;
    if request.queries.len() > MAX_QUERIES {
        let found = request.queries.len();
        return Err(Refusal::bad(format!(
            "remote-read request has {found} queries, more than the limit of {MAX_QUERIES}"
        )));
    }
    Ok(request)
}

/// The first kind of answer that both sides know; samples when the client names none.
fn negotiate(accepted: &[i32]) -> Result<ResponseType, Refusal> {
    if accepted.is_empty() {
        return Ok(ResponseType::Samples);
    }
    accepted.iter().find_map(|kind| ResponseType::try_from(*kind).ok()).ok_or_else(|| {
        Refusal::bad(format!("server does not support any of the requested response types: {accepted:?}"))
    })
}

fn wanted(query: &messages::Query, external: &BTreeMap<String, String>) -> Result<Wanted, Refusal> {
    let matchers = query.matchers.iter().map(|matcher| {
        let op = match MatcherKind::try_from(matcher.kind) {
            Ok(MatcherKind::Equal) => MatchOp::Equal,
            Ok(MatcherKind::NotEqual) => MatchOp::NotEqual,
            Ok(MatcherKind::Regex) => MatchOp::Regex,
            Ok(MatcherKind::NotRegex) => MatchOp::NotRegex,
            Err(_) => return Err(Refusal::bad(format!("unknown kind of matcher: {}", matcher.kind))),
        };
        // The reader sees the external labels on every series; here no series has them.
        let is_external = op == MatchOp::Equal && external.get(&matcher.name) == Some(&matcher.value);
        let value = if is_external { "" } else { &matcher.value };
        Matcher::new(&matcher.name, op, value).map_err(|error| Refusal::bad(error.to_string()))
    });
    let range = TimeRange::new(Timestamp(query.start_timestamp_ms), Timestamp(query.end_timestamp_ms));
    Ok(Wanted { matchers: matchers.collect::<Result<_, _>>()?, range })
}

/// What a query found, sorted by labels.
fn found<'a>(wanted: &Wanted, snapshot: &'a Snapshot) -> Vec<SeriesReader<'a>> {
    let mut readers = snapshot.find(&wanted.matchers, wanted.range);
    readers.sort_by(|a, b| a.labels().cmp(b.labels()));
    readers
}

/// The labels of a series, completed by the external ones.
fn labelled(labels: &Labels, external: &BTreeMap<String, String>) -> Vec<Label> {
    let mut all: Vec<Label> =
        labels.iter().map(|(name, value)| Label { name: name.to_owned(), value: value.to_owned() }).collect();
    for (name, value) in external {
        if labels.get(name).is_none() {
            all.push(Label { name: name.clone(), value: value.clone() });
        }
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

fn samples(
    queries: &[Wanted],
    external: &BTreeMap<String, String>,
    snapshot: &Snapshot,
    limit: usize,
    cancel: &Cancel,
) -> Result<Vec<u8>, Refusal> {
    let mut response = ReadResponse::default();
    let (mut floats, mut histograms) = (Vec::new(), Vec::new());
    let mut held = 0;
    for wanted in queries {
        let mut result = QueryResult::default();
        for reader in found(wanted, snapshot) {
            if cancel.is_canceled() {
                return Err(Refusal::canceled());
            }
            floats.clear();
            histograms.clear();
            reader.read(wanted.range, &mut floats, &mut histograms);
            held += floats.len() + histograms.len();
            if held > limit {
                return Err(Refusal::bad(format!("exceeded sample limit ({limit})")));
            }
            if floats.is_empty() && histograms.is_empty() {
                continue;
            }
            result.timeseries.push(TimeSeries {
                labels: labelled(reader.labels(), external),
                samples: floats.iter().map(messages::Sample::from).collect(),
                histograms: histograms.iter().map(messages::Histogram::from).collect(),
            });
        }
        response.results.push(result);
    }
    let encoded = response.encode_to_vec();
    snap::raw::Encoder::new().compress_vec(&encoded).map_err(|_| {
        let (found, limit) = (encoded.len(), u32::MAX);
        Refusal::bad(format!("answer of {found} bytes is larger than the {limit} that fit into a snappy block"))
    })
}

/// Floats and histograms of a series in order of time.
fn by_time<'a>(
    floats: &'a [signal::Sample],
    histograms: &'a [signal::HistogramSample],
) -> impl Iterator<Item = Point<'a>> {
    let (mut floats, mut histograms) = (floats.iter().peekable(), histograms.iter().peekable());
    std::iter::from_fn(move || {
        let order = match (floats.peek(), histograms.peek()) {
            (Some(float), Some(histogram)) => float.at.cmp(&histogram.at),
            (Some(_), None) => Ordering::Less,
            (None, _) => Ordering::Greater,
        };
        match order {
            Ordering::Less | Ordering::Equal => floats.next().map(|sample| Point::Float(*sample)),
            Ordering::Greater => histograms.next().map(Point::Histogram),
        }
    })
}

/// One point of a series.
#[derive(Clone, Copy)]
enum Point<'a> {
    Float(signal::Sample),
    Histogram(&'a signal::HistogramSample),
}

#[cfg(test)]
mod tests;
