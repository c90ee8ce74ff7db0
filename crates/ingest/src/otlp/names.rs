//! OpenTelemetry names in the spelling of Prometheus.
//!
//! Follows the strategy `UnderscoreEscapingWithSuffixes` (`prometheus/otlptranslator`).

use opentelemetry_proto::tonic::metrics::v1::{Metric, metric::Data};

const UNITS: [(&str, &str); 28] = [
    ("d", "days"),
    ("h", "hours"),
    ("min", "minutes"),
    ("s", "seconds"),
    ("ms", "milliseconds"),
    ("us", "microseconds"),
    ("ns", "nanoseconds"),
    ("By", "bytes"),
    ("KiBy", "kibibytes"),
    ("MiBy", "mebibytes"),
    ("GiBy", "gibibytes"),
    ("TiBy", "tibibytes"),
    ("KBy", "kilobytes"),
    ("MBy", "megabytes"),
    ("GBy", "gigabytes"),
    ("TBy", "terabytes"),
    ("m", "meters"),
    ("V", "volts"),
    ("A", "amperes"),
    ("J", "joules"),
    ("W", "watts"),
    ("g", "grams"),
    ("Cel", "celsius"),
    ("Hz", "hertz"),
    ("1", ""),
    ("%", "percent"),
    ("kBy", "kilobytes"),
    ("kiBy", "kibibytes"),
];

const PER: [(&str, &str); 7] =
    [("s", "second"), ("m", "minute"), ("h", "hour"), ("d", "day"), ("w", "week"), ("mo", "month"), ("y", "year")];

/// The metric's name with unit and type suffixes.
pub(super) fn metric_name(metric: &Metric) -> String {
    let mut words = words(&metric.name);
    let mut parts = metric.unit.splitn(2, '/');
    let main = unit(parts.next().unwrap_or(""), &UNITS);
    if !main.is_empty() && !words.contains(&main) {
        words.push(main);
    }
    let per = unit(parts.next().unwrap_or(""), &PER);
    if !per.is_empty() && !words.contains(&per) {
        words.extend(["per".to_owned(), per]);
    }
    let suffix = match &metric.data {
        Some(Data::Sum(sum)) if sum.is_monotonic => Some("total"),
        Some(Data::Gauge(_)) if metric.unit == "1" => Some("ratio"),
        Some(Data::Sum(_) | Data::Gauge(_) | Data::Histogram(_) | Data::ExponentialHistogram(_) | Data::Summary(_))
        | None => None,
    };
    if let Some(suffix) = suffix {
        words.retain(|word| word != suffix);
        words.push(suffix.to_owned());
    }
    let name = words.join("_");
    if name.starts_with(|first: char| first.is_ascii_digit()) { format!("_{name}") } else { name }
}

/// The unit's word, for metadata and suffix; empty when it has none.
pub(super) fn unit_word(unit_text: &str) -> String {
    unit(unit_text.split('/').next().unwrap_or(""), &UNITS)
}

/// A label name: anything but letters, digits and `_` becomes `_`; what would start with a digit gets `key_`.
pub(super) fn label_name(name: &str) -> String {
    let clean: String = name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect();
    if clean.starts_with(|first: char| first.is_ascii_digit()) {
        return format!("key_{clean}");
    }
    // One leading underscore is prefixed too; two mean a name that is reserved on purpose.
    if clean.starts_with('_') && !clean.starts_with("__") { format!("key{clean}") } else { clean }
}

fn words(name: &str) -> Vec<String> {
    let words = name.split(|c: char| !c.is_ascii_alphanumeric() && c != ':');
    words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// Annotations in braces, like `{requests}`, are not units.
fn unit(text: &str, known: &[(&str, &str)]) -> String {
    let text = text.trim();
    if text.contains(['{', '}']) {
        return String::new();
    }
    match known.iter().find(|(short, _)| *short == text) {
        Some((_, word)) => (*word).to_owned(),
        None => words(text).join("_"),
    }
}
