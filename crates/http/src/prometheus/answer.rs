//! The envelope and the shapes of query results.

use std::fmt::Write as _;

use axum::response::Response;
use query::promql::native::buckets;
use query::promql::{Answer, Value, VectorSample};
use signal::{Histogram, Labels, Sample, Timestamp};

use super::matrix;
use crate::json;

/// `{"status":"success","data":…}` around finished JSON.
pub(super) fn data(value: &str) -> Response {
    json::response(format!(r#"{{"status":"success","data":{value}}}"#))
}

/// A whole response with a list as data, cut at `limit` with upstream's warning.
pub(super) fn list<T>(
    items: impl ExactSizeIterator<Item = T>,
    limit: Option<usize>,
    element: impl FnMut(&mut String, T),
) -> String {
    let limit = limit.unwrap_or(usize::MAX);
    let is_cut = items.len() > limit;
    let mut body = String::from(r#"{"status":"success","data":"#);
    json::array(&mut body, items.take(limit), element);
    if is_cut {
        body.push_str(r#","warnings":["results truncated due to limit"]"#);
    }
    body.push('}');
    body
}

/// Bytes that a series of a vector takes, roughly.
const SERIES_BYTES: usize = 300;

/// A whole query response, in parts to be sent one after the other; `stats` is either empty or `,"stats":{…}`.
pub(super) fn query(answer: &Answer, limit: Option<usize>, stats: &str, threads: usize) -> Vec<String> {
    let limit = limit.unwrap_or(usize::MAX);
    let mut warnings = answer.warnings.clone();
    let count = match &answer.value {
        Value::Vector(series) => series.len(),
        Value::Matrix(series) => series.len(),
        Value::Scalar(_) | Value::String(..) => 1,
    };
    if count > limit {
        warnings.push("results truncated due to limit".to_owned());
    }
    let head = String::from(r#"{"status":"success","data":{"resultType":"#);
    let (mut parts, mut tail) = value(head, &answer.value, limit, threads);
    tail.push_str(stats);
    tail.push('}');
    notes(&mut tail, "warning", &warnings);
    notes(&mut tail, "info", &answer.infos);
    tail.push('}');
    parts.push(tail);
    parts
}

/// Most warnings and most infos in one answer, as upstream has it.
const NOTES: usize = 10;

/// `,"warnings":[…]`: the first ten, and how many more there are.
fn notes(out: &mut String, kind: &str, texts: &[String]) {
    if texts.is_empty() {
        return;
    }
    let omitted = texts.len().saturating_sub(NOTES);
    let last = (omitted > 0).then(|| format!("{omitted} more {kind} annotations omitted"));
    let _ = write!(out, r#","{kind}s":"#);
    json::array(out, texts.iter().take(NOTES).chain(&last), |out, text| json::string(out, text));
}

/// The parts that are finished, and the one to go on with.
fn value(mut out: String, value: &Value, limit: usize, threads: usize) -> (Vec<String>, String) {
    match value {
        Value::Scalar(sample) => {
            out.push_str(r#""scalar","result":["#);
            json::push_seconds(&mut out, sample.at);
            out.push_str(",\"");
            json::push_plain(&mut out, sample.value);
            out.push_str("\"]");
        }
        Value::String(at, text) => {
            out.push_str(r#""string","result":["#);
            json::push_seconds(&mut out, *at);
            out.push(',');
            json::string(&mut out, text);
            out.push(']');
        }
        Value::Vector(series) => {
            out.reserve(series.len().min(limit).saturating_mul(SERIES_BYTES));
            out.push_str(r#""vector","result":"#);
            json::array(&mut out, series.iter().take(limit), vector_series);
        }
        Value::Matrix(series) => {
            out.push_str(r#""matrix","result":["#);
            let shown = series.get(..limit).unwrap_or(series);
            let mut parts = vec![out];
            parts.extend(matrix::elements(shown, threads));
            return (parts, "]".to_owned());
        }
    }
    (Vec::new(), out)
}

/// Like [`vector_element`], or with `"histogram":[ts,{…}]` instead of the value.
fn vector_series(out: &mut String, one: &VectorSample) {
    let Some(histogram) = &one.histogram else { return vector_element(out, &one.labels, one.sample) };
    out.push_str(r#"{"metric":"#);
    json::labels(out, &one.labels);
    out.push_str(r#","histogram":"#);
    histogram_point(out, one.sample.at, histogram);
    out.push('}');
}

/// `[ts,{"count":"…","sum":"…","buckets":[[rule,"lower","upper","count"],…]}]`, without empty buckets.
pub(super) fn histogram_point(out: &mut String, at: Timestamp, histogram: &Histogram) {
    out.push('[');
    json::push_seconds(out, at);
    out.push_str(r#",{"count":""#);
    json::push_number(out, histogram.count);
    out.push_str(r#"","sum":""#);
    json::push_number(out, histogram.sum);
    out.push('"');
    let mut opening = r#","buckets":["#;
    for bucket in buckets(histogram).iter().filter(|bucket| bucket.count != 0.0) {
        out.push_str(opening);
        opening = ",";
        out.push_str(match (bucket.has_lower, bucket.has_upper) {
            (false, true) => "[0",
            (true, false) => "[1",
            (false, false) => "[2",
            (true, true) => "[3",
        });
        for number in [bucket.lower, bucket.upper, bucket.count] {
            out.push_str(",\"");
            json::push_number(out, number);
            out.push('"');
        }
        out.push(']');
    }
    out.push_str(if opening == "," { "]}]" } else { "}]" });
}

/// `{"metric":{…},"value":[ts,"v"]}`
fn vector_element(out: &mut String, labels: &Labels, sample: Sample) {
    out.push_str(r#"{"metric":"#);
    json::labels(out, labels);
    out.push_str(r#","value":"#);
    json::point(out, sample.at, sample.value);
    out.push('}');
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use signal::{BucketSpan, Buckets};

    use super::*;

    fn side(spans: &[(i32, u32)], counts: &[f64]) -> Buckets {
        let spans = spans.iter().map(|&(offset, length)| BucketSpan { offset, length }).collect();
        Buckets { spans, counts: counts.to_vec() }
    }

    #[test]
    fn histograms_look_as_upstream_writes_them() {
        let whole = Histogram {
            zero_threshold: 0.25,
            zero_count: 3.0,
            count: 42.0,
            sum: 34_593.34,
            positive: side(&[(0, 2), (1, 1)], &[12.0, 0.0, 6.0]),
            negative: side(&[(0, 2)], &[1.0, 20.0]),
            ..Histogram::default()
        };
        let custom = Histogram {
            schema: Histogram::CUSTOM_BUCKETS,
            count: 3.0,
            sum: f64::NAN,
            positive: side(&[(0, 3)], &[1.0, 0.5, 1.5]),
            custom_values: Arc::new([5.0, 10.0]),
            ..Histogram::default()
        };
        for (name, histogram, want) in [
            (
                "all parts",
                whole,
                r#"[1.500,{"count":"42","sum":"34593.34","buckets":[[1,"-2","-1","20"],[1,"-1","-0.5","1"],[3,"-0.25","0.25","3"],[0,"0.5","1","12"],[0,"4","8","6"]]}]"#,
            ),
            (
                "custom bounds",
                custom,
                r#"[1.500,{"count":"3","sum":"NaN","buckets":[[3,"-Inf","5","1"],[0,"5","10","0.5"],[0,"10","+Inf","1.5"]]}]"#,
            ),
            ("empty", Histogram::default(), r#"[1.500,{"count":"0","sum":"0"}]"#),
        ] {
            let mut out = String::new();
            histogram_point(&mut out, Timestamp(1_500), &histogram);
            assert_eq!(out, want, "{name}");
        }
    }

    #[test]
    fn ten_notes_are_enough() {
        let texts: Vec<String> = (1..=12).map(|k| format!("w{k}")).collect();
        for (count, want) in [
            (0, ""),
            (2, r#","infos":["w1","w2"]"#),
            (10, r#","infos":["w1","w2","w3","w4","w5","w6","w7","w8","w9","w10"]"#),
            (12, r#","infos":["w1","w2","w3","w4","w5","w6","w7","w8","w9","w10","2 more info annotations omitted"]"#),
        ] {
            let mut out = String::new();
            notes(&mut out, "info", &texts[..count]);
            assert_eq!(out, want);
        }
    }
}
