//! What a failed test says, laid out as promtool does.

use query::promql::native::to_notation;
use signal::Labels;

use crate::ask::{Element, Reading};

/// What an alert says of itself.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Said {
    pub(super) labels: Labels,
    pub(super) annotations: Labels,
}

/// Alerts as a list over several lines.
pub(super) fn list(alerts: &[Said]) -> String {
    const INDENT: &str = "            ";
    if alerts.is_empty() {
        return "[]".to_owned();
    }
    let one = |(at, alert): (usize, &Said)| {
        let (labels, annotations) = (labels_text(&alert.labels), labels_text(&alert.annotations));
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
        format!("{} {reading}", labels_text(&element.labels))
    };
    elements.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// All labels in braces, the metric's name among them.
fn labels_text(labels: &Labels) -> String {
    let pairs: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
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
