//! What a failed test says, laid out as promtool does.

use std::collections::BTreeMap;
use std::fmt::{Debug, Display};

use query::promql::native::to_notation;

use crate::ask::{Element, Reading};

/// What an alert says of itself.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Said {
    pub(super) labels: BTreeMap<String, String>,
    pub(super) annotations: BTreeMap<String, String>,
}

/// Alerts as a list over several lines.
pub(super) fn list(alerts: &[Said]) -> String {
    const INDENT: &str = "            ";
    if alerts.is_empty() {
        return "[]".to_owned();
    }
    let one = |(at, alert): (usize, &Said)| {
        let (labels, annotations) = (pairs_text(&alert.labels), pairs_text(&alert.annotations));
        format!("{INDENT}{at}:\n{INDENT}  Labels:{labels}\n{INDENT}  Annotations:{annotations}")
    };
    let alerts: Vec<String> = alerts.iter().enumerate().map(one).collect();
    format!("[\n{}\n{INDENT}]", alerts.join(",\n"))
}

/// Elements in one line.
pub(super) fn elements(elements: &[Element]) -> String {
    if elements.is_empty() {
        return "nil".to_owned();
    }
    let one = |element: &Element| {
        let reading = match &element.reading {
            Reading::Number(value) => number(*value),
            Reading::Histogram(histogram) => to_notation(histogram),
        };
        format!("{} {reading}", pairs_text(element.labels.iter()))
    };
    elements.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// All labels in braces, the metric's name among them.
fn pairs_text<N: Display, V: Debug>(pairs: impl IntoIterator<Item = (N, V)>) -> String {
    let pairs: Vec<String> = pairs.into_iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    format!("{{{}}}", pairs.join(", "))
}

/// Go's `%E` with as many digits as it takes to read the value back.
fn number(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let text = format!("{value:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
    format!("{mantissa}E{sign}{digits:0>2}")
}
