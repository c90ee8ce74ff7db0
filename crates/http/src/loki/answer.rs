//! Loki's envelope and result shapes.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::http::HeaderMap;
use axum::response::Response;
use query::logql::{Answer, Direction, KeptLine, Point, StreamAnswer};
use signal::{Labels, Nanos};

use crate::json;

/// How streams are to be shown.
pub(super) struct Shape {
    /// Only what identifies the stored stream stands above its lines; the rest stands beside each.
    pub(super) is_categorized: bool,
    direction: Direction,
}

impl Shape {
    pub(super) fn of(headers: &HeaderMap, direction: Direction) -> Self {
        let flags = headers.get("X-Loki-Response-Encoding-Flags").and_then(|value| value.to_str().ok());
        let is_categorized = flags.is_some_and(|flags| flags.split(',').any(|flag| flag.trim() == "categorize-labels"));
        Self { is_categorized, direction }
    }
}

/// `{"status":"success","data":…}` around finished JSON.
pub(super) fn data(value: &str) -> Response {
    json::response(format!(r#"{{"status":"success","data":{value}}}"#))
}

/// A list as data.
pub(super) fn list<T>(items: impl IntoIterator<Item = T>, element: impl FnMut(&mut String, T)) -> Response {
    let mut body = String::new();
    json::array(&mut body, items, element);
    data(&body)
}

/// A whole query response; `took` is the time from the request to here.
pub(super) fn query(answer: &Answer, shape: &Shape, took: Duration) -> String {
    let mut body = String::from(r#"{"status":"success","data":{"resultType":"#);
    let mut lines = 0;
    match answer {
        Answer::Streams(streams) => {
            lines = streams.iter().map(|stream| stream.lines.len()).sum();
            if shape.is_categorized {
                body.push_str(r#""streams","encodingFlags":["categorize-labels"],"result":"#);
                categorized(&mut body, streams, shape.direction);
            } else {
                body.push_str(r#""streams","result":"#);
                json::array(&mut body, streams, merged);
            }
        }
        Answer::Vector(series) => {
            body.push_str(r#""vector","result":"#);
            json::array(&mut body, series, |out, (labels, point)| vector(out, labels, *point));
        }
        Answer::Matrix(series) => {
            body.push_str(r#""matrix","result":"#);
            json::array(&mut body, series, |out, one| matrix(out, &one.labels, &one.points));
        }
        Answer::Scalar(point) => {
            // Loki writes this one time in whole milliseconds.
            body.push_str(&format!(r#""scalar","result":[{},""#, point.at.to_timestamp().0));
            json::push_plain(&mut body, point.value);
            body.push_str("\"]");
        }
    }
    body.push_str(r#","stats":"#);
    stats(&mut body, lines, took);
    body.push_str("}}");
    body
}

/// One series at one time.
pub(super) fn vector(out: &mut String, labels: &Labels, point: Point) {
    out.push_str(r#"{"metric":"#);
    json::labels(out, labels);
    out.push_str(r#","value":"#);
    value(out, point);
    out.push('}');
}

/// One series over time.
pub(super) fn matrix(out: &mut String, labels: &Labels, points: &[Point]) {
    out.push_str(r#"{"metric":"#);
    json::labels(out, labels);
    out.push_str(r#","values":"#);
    json::array(out, points, |out, point| value(out, *point));
    out.push('}');
}

/// Seconds with as many decimals as needed, and a number that never has an exponent.
fn value(out: &mut String, point: Point) {
    let ms = point.at.to_timestamp().0;
    out.push('[');
    json::push_plain(out, ms as f64 / 1000.0);
    out.push_str(",\"");
    json::push_plain(out, point.value);
    out.push_str("\"]");
}

/// logcli insists on this object; what is not measured is zero.
pub(super) fn stats(out: &mut String, lines: usize, took: Duration) {
    let seconds = took.as_secs_f64();
    out.push_str(&format!(
        r#"{{"summary":{{"bytesProcessedPerSecond":0,"linesProcessedPerSecond":0,"totalBytesProcessed":0,"totalLinesProcessed":0,"execTime":{seconds},"queueTime":0,"subqueries":0,"totalEntriesReturned":{lines},"splits":0,"shards":0,"totalPostFilterLines":0,"totalStructuredMetadataBytesProcessed":0}},"querier":{{"store":{{"totalChunksRef":0,"totalChunksDownloaded":0,"chunksDownloadTime":0,"chunk":{{"headChunkBytes":0,"headChunkLines":0,"decompressedBytes":0,"decompressedLines":0,"compressedBytes":0,"totalDuplicates":0}}}}}},"ingester":{{"totalReached":0,"totalChunksMatched":0,"totalBatches":0,"totalLinesSent":0,"store":{{"totalChunksRef":0,"totalChunksDownloaded":0,"chunksDownloadTime":0,"chunk":{{"headChunkBytes":0,"headChunkLines":0,"decompressedBytes":0,"decompressedLines":0,"compressedBytes":0,"totalDuplicates":0}}}}}},"cache":{{}},"index":{{}}}}"#
    ));
}

fn merged(out: &mut String, stream: &StreamAnswer) {
    out.push_str(r#"{"stream":"#);
    json::labels(out, &stream.labels);
    out.push_str(r#","values":"#);
    json::array(out, &stream.lines, |out, (at, line)| {
        entry(out, *at, line);
        out.push(']');
    });
    out.push('}');
}

fn entry(out: &mut String, at: Nanos, line: &str) {
    out.push_str(&format!(r#"["{}","#, at.0));
    json::string(out, line);
}

/// One element per stored stream; what parsers and metadata added stands beside each line.
fn categorized(out: &mut String, streams: &[StreamAnswer], direction: Direction) {
    let mut groups: BTreeMap<&Labels, Vec<(Nanos, &str, &StreamAnswer)>> = BTreeMap::new();
    for stream in streams {
        let lines = stream.lines.iter().map(|(at, line)| (*at, line.as_str(), stream));
        groups.entry(&stream.stream).or_default().extend(lines);
    }
    json::array(out, groups, |out, (labels, mut lines)| {
        match direction {
            Direction::Forward => lines.sort_by_key(|(at, _, _)| *at),
            Direction::Backward => lines.sort_by_key(|(at, _, _)| std::cmp::Reverse(*at)),
        }
        out.push_str(r#"{"stream":"#);
        json::labels(out, labels);
        out.push_str(r#","values":"#);
        json::array(out, lines, |out, (at, line, stream)| {
            entry(out, at, line);
            beside(out, &stream.structured, &stream.parsed);
            out.push(']');
        });
        out.push('}');
    });
}

/// What categorized lines have as their third element.
fn beside(out: &mut String, structured: &Labels, parsed: &Labels) {
    out.push_str(",{");
    let parts = [("structuredMetadata", structured), ("parsed", parsed)];
    for (place, (name, labels)) in parts.into_iter().filter(|(_, labels)| !labels.is_empty()).enumerate() {
        if place > 0 {
            out.push(',');
        }
        json::string(out, name);
        out.push(':');
        json::labels(out, labels);
    }
    out.push('}');
}

/// Streams of a tail: neighbours with the same labels together, in the order of the lines.
pub(super) fn tailed(out: &mut String, lines: &[KeptLine], shape: &Shape) {
    let above = |line: &KeptLine| if shape.is_categorized { line.stream.clone() } else { line.labels.clone() };
    json::array(out, lines.chunk_by(|a, b| above(a) == above(b)), |out, lines| {
        out.push_str(r#"{"stream":"#);
        json::labels(out, &lines.first().map(above).unwrap_or_default());
        out.push_str(r#","values":"#);
        json::array(out, lines, |out, line| {
            entry(out, line.at, &line.line);
            if shape.is_categorized {
                beside(out, &line.structured, &line.parsed);
            }
            out.push(']');
        });
        out.push('}');
    });
}
