//! The envelope and the shapes of query results.

use axum::response::Response;
use query::promql::{Answer, Value};
use signal::{Labels, Sample};

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

/// Bytes that a point and what stands around a series take, roughly: answers of megabytes should not be copied while
/// they grow.
const POINT_BYTES: usize = 28;
const SERIES_BYTES: usize = 256;

/// A whole query response; `stats` is either empty or `,"stats":{…}`.
pub(super) fn query(answer: &Answer, limit: Option<usize>, stats: &str) -> String {
    let limit = limit.unwrap_or(usize::MAX);
    let mut warnings = answer.warnings.clone();
    let (count, points) = match &answer.value {
        Value::Vector(series) => (series.len(), series.len()),
        Value::Matrix(series) => (series.len(), series.iter().map(|one| one.samples.len()).sum()),
        Value::Scalar(_) | Value::String(..) => (1, 1),
    };
    if count > limit {
        warnings.push("results truncated due to limit".to_owned());
    }
    let mut body = String::with_capacity(if count > limit { 0 } else { points * POINT_BYTES + count * SERIES_BYTES });
    body.push_str(r#"{"status":"success","data":{"resultType":"#);
    value(&mut body, &answer.value, limit);
    body.push_str(stats);
    body.push('}');
    for (name, texts) in [("warnings", &warnings), ("infos", &answer.infos)] {
        if !texts.is_empty() {
            body.push(',');
            json::string(&mut body, name);
            body.push(':');
            json::array(&mut body, texts, |out, text| json::string(out, text));
        }
    }
    body.push('}');
    body
}

fn value(out: &mut String, value: &Value, limit: usize) {
    match value {
        Value::Scalar(sample) => {
            out.push_str(r#""scalar","result":["#);
            json::push_seconds(out, sample.at);
            out.push_str(",\"");
            json::push_plain(out, sample.value);
            out.push_str("\"]");
        }
        Value::String(at, text) => {
            out.push_str(r#""string","result":["#);
            json::push_seconds(out, *at);
            out.push(',');
            json::string(out, text);
            out.push(']');
        }
        Value::Vector(series) => {
            out.push_str(r#""vector","result":"#);
            json::array(out, series.iter().take(limit), |out, one| vector_element(out, &one.labels, one.sample));
        }
        Value::Matrix(series) => {
            out.push_str(r#""matrix","result":"#);
            json::array(out, series.iter().take(limit), |out, one| matrix_element(out, &one.labels, &one.samples));
        }
    }
}

/// `{"metric":{…},"value":[ts,"v"]}`
pub(crate) fn vector_element(out: &mut String, labels: &Labels, sample: Sample) {
    out.push_str(r#"{"metric":"#);
    json::labels(out, labels);
    out.push_str(r#","value":"#);
    json::point(out, sample.at, sample.value);
    out.push('}');
}

/// `{"metric":{…},"values":[[ts,"v"],…]}`
pub(crate) fn matrix_element(out: &mut String, labels: &Labels, samples: &[Sample]) {
    out.push_str(r#"{"metric":"#);
    json::labels(out, labels);
    out.push_str(r#","values":"#);
    json::array(out, samples, |out, sample| json::point(out, sample.at, sample.value));
    out.push('}');
}
