//! Telemetry as senders encode it, written down field by field: a second opinion on the decoders.

use serde_json::{Value, json};

use crate::http::{self, Reply};
use crate::server::Server;

pub const REMOTE_WRITE: [(&str, &str); 3] = [
    ("Content-Type", "application/x-protobuf"),
    ("Content-Encoding", "snappy"),
    ("X-Prometheus-Remote-Write-Version", "0.1.0"),
];

/// Samples of one series: name and labels, then (milliseconds, value).
pub struct Series {
    pub labels: Vec<(String, String)>,
    pub samples: Vec<(i64, f64)>,
}

/// A series by its text: `http_requests_total{service="backend",status="201"}`.
pub fn series(text: &str, samples: impl IntoIterator<Item = (i64, f64)>) -> Series {
    let (name, rest) = text.split_once('{').unwrap_or((text, ""));
    let mut labels = vec![("__name__".to_owned(), name.to_owned())];
    for pair in rest.trim_end_matches('}').split("\",").filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once("=\"").unwrap();
        labels.push((name.to_owned(), value.trim_end_matches('"').to_owned()));
    }
    labels.sort();
    Series { labels, samples: samples.into_iter().collect() }
}

/// A remote-write 1.0 request before compression.
pub fn write_request(series: &[Series]) -> Vec<u8> {
    let mut request = Vec::new();
    for one in series {
        let mut message = Vec::new();
        for (name, value) in &one.labels {
            let mut label = Vec::new();
            bytes_field(&mut label, 1, name.as_bytes());
            bytes_field(&mut label, 2, value.as_bytes());
            bytes_field(&mut message, 1, &label);
        }
        for (at, value) in &one.samples {
            let mut sample = vec![0x09];
            sample.extend_from_slice(&value.to_le_bytes());
            sample.push(0x10);
            varint(&mut sample, at.cast_unsigned());
            bytes_field(&mut message, 2, &sample);
        }
        bytes_field(&mut request, 1, &message);
    }
    request
}

/// A Loki push of one stream before compression: its labels as text, its lines.
pub fn push_request(labels: &str, lines: &[(i64, &str)]) -> Vec<u8> {
    let mut stream = Vec::new();
    bytes_field(&mut stream, 1, labels.as_bytes());
    for (seconds, line) in lines {
        let mut at = vec![0x08];
        varint(&mut at, seconds.cast_unsigned());
        let mut entry = Vec::new();
        bytes_field(&mut entry, 1, &at);
        bytes_field(&mut entry, 2, line.as_bytes());
        bytes_field(&mut stream, 2, &entry);
    }
    let mut request = Vec::new();
    bytes_field(&mut request, 1, &stream);
    request
}

pub fn snappy(bytes: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(bytes).unwrap()
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A Loki push of one stream as JSON: (nanoseconds, line).
pub fn push_json(labels: &Value, lines: &[(i64, String)]) -> Value {
    let values: Vec<Value> = lines.iter().map(|(at, line)| json!([at.to_string(), line])).collect();
    json!({"streams": [{"stream": labels, "values": values}]})
}

/// One span of a trace.
pub struct Span<'a> {
    pub id: &'a str,
    pub parent: &'a str,
    pub name: &'a str,
    pub start_ns: i64,
    pub duration_ms: i64,
    pub is_error: bool,
}

/// An OTLP/JSON export of one service's spans of one trace.
pub fn export(service: &str, trace: &str, spans: &[Span<'_>]) -> Value {
    let spans: Vec<Value> = spans
        .iter()
        .map(|span| {
            json!({
                "traceId": trace, "spanId": span.id, "parentSpanId": span.parent, "name": span.name,
                "kind": if span.parent.is_empty() { 2 } else { 1 },
                "startTimeUnixNano": span.start_ns.to_string(),
                "endTimeUnixNano": (span.start_ns + span.duration_ms * 1_000_000).to_string(),
                "status": if span.is_error { json!({"code": 2}) } else { json!({}) },
            })
        })
        .collect();
    json!({"resourceSpans": [{
        "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": service}}]},
        "scopeSpans": [{"scope": {"name": "test"}, "spans": spans}],
    }]})
}

impl Server {
    pub fn remote_write(&self, series: &[Series]) {
        let reply = self.post("/api/v1/write", &REMOTE_WRITE, &snappy(&write_request(series)));
        assert_eq!(reply.status, 204, "{}", reply.text());
    }

    pub fn push(&self, labels: &Value, lines: &[(i64, String)]) {
        let reply = self.post_json("/loki/api/v1/push", &push_json(labels, lines));
        assert_eq!(reply.status, 204, "{}", reply.text());
    }

    pub fn export(&self, service: &str, trace: &str, spans: &[Span<'_>]) {
        let reply = self.post_json("/v1/traces", &export(service, trace, spans));
        assert_eq!((reply.status, reply.text().as_str()), (200, "{}"));
    }
}

/// Remote write to a server that may be gone.
pub fn try_remote_write(address: &str, series: &[Series]) -> Option<Reply> {
    http::try_request(address, "POST", "/api/v1/write", &REMOTE_WRITE, &snappy(&write_request(series)))
}

fn bytes_field(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push(tag << 3 | 2);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
