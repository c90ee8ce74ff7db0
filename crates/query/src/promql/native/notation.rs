//! Histograms as text, in the notation of Prometheus' test scripts: `{{schema:1 count:3 sum:4 buckets:[1 2]}}`.

use std::fmt::Write as _;

use signal::{BucketSpan, Buckets, Histogram, ResetHint};

use super::arithmetic::compact;
use super::buckets::indexed;
use crate::lex::parse_number;
use crate::promql::print::general_text;

/// Gaps up to here are written as empty buckets.
const MAX_WRITTEN: i64 = 100_000;

/// A text that is no histogram.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("bad histogram {text:?}: {reason}")]
pub struct NotationError {
    /// The text.
    pub text: String,
    /// What is wrong with it.
    pub reason: String,
}

/// Reads a histogram in double braces.
///
/// # Errors
/// `NotationError` when the text is something else.
pub fn from_notation(text: &str) -> Result<Histogram, NotationError> {
    let fail = |reason: String| NotationError { text: text.to_owned(), reason };
    let inside = text.trim().strip_prefix("{{").and_then(|rest| rest.strip_suffix("}}"));
    let mut rest = inside.ok_or_else(|| fail("it has to stand in double braces".to_owned()))?.trim();
    let mut histogram = Histogram::default();
    let (mut offset, mut negative_offset) = (0, 0);
    let mut seen: Vec<&str> = Vec::new();
    while !rest.is_empty() {
        let (key, after) = rest.split_once(':').ok_or_else(|| fail(format!("no value after {rest:?}")))?;
        let (value, next) = match after.strip_prefix('[').map(|list| list.split_once(']')) {
            Some(Some((list, next))) => (list, next),
            Some(None) => return Err(fail(format!("the list of {key:?} does not end"))),
            None => after.split_at(after.find(char::is_whitespace).unwrap_or(after.len())),
        };
        if seen.contains(&key) {
            return Err(fail(format!("duplicate key {key:?}")));
        }
        seen.push(key);
        let number = || parse_number(value).ok_or_else(|| fail(format!("{key} is {value:?}, which is no number")));
        let index = || value.parse::<i32>().map_err(|_| fail(format!("{key} is {value:?}, which is no index")));
        let list = || {
            let numbers = value.split_whitespace().map(|word| parse_number(word).ok_or(word));
            numbers.collect::<Result<Vec<f64>, _>>().map_err(|word| fail(format!("{key} holds {word:?}")))
        };
        match key {
            "schema" => histogram.schema = index()?,
            "sum" => histogram.sum = number()?,
            "count" => histogram.count = number()?,
            "z_bucket" => histogram.zero_count = number()?,
            "z_bucket_w" => histogram.zero_threshold = number()?,
            "custom_values" => histogram.custom_values = list()?.into(),
            "buckets" => histogram.positive.counts = list()?,
            "n_buckets" => histogram.negative.counts = list()?,
            "offset" => offset = index()?,
            "n_offset" => negative_offset = index()?,
            "counter_reset_hint" => {
                histogram.reset_hint = match value {
                    "unknown" => ResetHint::Unknown,
                    "reset" => ResetHint::Reset,
                    "not_reset" => ResetHint::NotReset,
                    "gauge" => ResetHint::Gauge,
                    _ => return Err(fail(format!("counter_reset_hint is {value:?}"))),
                };
            }
            _ => return Err(fail(format!("unknown key {key:?}"))),
        }
        rest = next.trim_start();
    }
    for (side, offset) in [(&mut histogram.positive, offset), (&mut histogram.negative, negative_offset)] {
        if !side.counts.is_empty() {
            let length = u32::try_from(side.counts.len()).map_err(|_| fail("too many buckets".to_owned()))?;
            side.spans = vec![BucketSpan { offset, length }];
        }
    }
    Ok(histogram)
}

/// Writes a histogram so that [`from_notation`] reads it back, without empty buckets at the ends.
#[must_use]
pub fn to_notation(histogram: &Histogram) -> String {
    let mut histogram = histogram.clone();
    compact(&mut histogram);
    let mut fields = Vec::new();
    if histogram.schema != 0 {
        fields.push(format!("schema:{}", histogram.schema));
    }
    for (key, number) in [
        ("count", histogram.count),
        ("sum", histogram.sum),
        ("z_bucket", histogram.zero_count),
        ("z_bucket_w", histogram.zero_threshold),
    ] {
        if number != 0.0 {
            fields.push(format!("{key}:{}", general_text(number)));
        }
    }
    if histogram.has_custom_buckets() {
        fields.push(format!("custom_values:[{}]", list(histogram.custom_values.iter().copied())));
    }
    match histogram.reset_hint {
        ResetHint::Unknown => {}
        ResetHint::Reset => fields.push("counter_reset_hint:reset".to_owned()),
        ResetHint::NotReset => fields.push("counter_reset_hint:not_reset".to_owned()),
        ResetHint::Gauge => fields.push("counter_reset_hint:gauge".to_owned()),
    }
    fields.extend(side(&histogram.positive, "offset", "buckets"));
    fields.extend(side(&histogram.negative, "n_offset", "n_buckets"));
    format!("{{{{{}}}}}", fields.join(" "))
}

fn list(numbers: impl Iterator<Item = f64>) -> String {
    numbers.map(general_text).collect::<Vec<_>>().join(" ")
}

fn side(buckets: &Buckets, offset: &str, counts: &str) -> Option<String> {
    let (first, _) = indexed(buckets).next()?;
    let mut written = String::new();
    if first != 0 {
        write!(written, "{offset}:{first} ").ok()?;
    }
    let mut next = first;
    let mut numbers = Vec::new();
    for (index, count) in indexed(buckets) {
        let gap = usize::try_from((index - next).clamp(0, MAX_WRITTEN)).unwrap_or(0);
        numbers.extend(std::iter::repeat_n(0.0, gap));
        numbers.push(count);
        next = index.saturating_add(1);
    }
    write!(written, "{counts}:[{}]", list(numbers.into_iter())).ok()?;
    Some(written)
}
