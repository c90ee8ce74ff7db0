//! The texts of rules: Go templates with `$labels`, `$value` and the number functions of Prometheus.

use std::collections::BTreeMap;
use std::sync::Arc;

use gotmpl::{Template, TemplateError, Value};
use signal::Labels;

/// What Prometheus puts before every text, so that the short names work.
const DEFINITIONS: &str = "{{$labels := .Labels}}{{$externalLabels := .ExternalLabels}}{{$value := .Value}}";
/// A text grows at most to this many bytes.
const MOST: usize = 16 * 1024;

/// Whether `text` is a template at all; the reason if not.
pub(super) fn check(text: &str) -> Result<(), String> {
    parse(text).map(drop).map_err(|error| error.to_string())
}

/// The finished text; an error becomes part of it, as in Prometheus.
pub(super) fn expand(text: &str, labels: &Labels, value: f64) -> String {
    if !text.contains("{{") {
        return text.to_owned();
    }
    let of_labels: BTreeMap<String, Value> =
        labels.iter().map(|(name, value)| (name.to_owned(), Value::from(value))).collect();
    let data = Value::from(BTreeMap::from([
        ("Labels".to_owned(), Value::from(of_labels)),
        ("ExternalLabels".to_owned(), Value::from(BTreeMap::<String, Value>::new())),
        ("Value".to_owned(), Value::Float(value)),
    ]));
    let written = parse(text).and_then(|template| template.max_range_iters(1000).execute_to_string(&data));
    match written {
        // A label that is not there is the empty string in Prometheus.
        Ok(written) => written.replace("<no value>", "").chars().take(MOST).collect(),
        Err(error) => format!("<error expanding template: {error}>"),
    }
}

fn parse(text: &str) -> Result<Template, TemplateError> {
    let number = |name: &str, write: fn(f64) -> String| {
        let name = name.to_owned();
        let function = move |arguments: &[Value]| {
            let value = arguments.last().and_then(as_number);
            let value = value.ok_or_else(|| TemplateError::Exec(format!("{name} needs a number")))?;
            Ok(Value::from(write(value)))
        };
        Arc::new(function) as gotmpl::ValueFunc
    };
    let text_function = |change: fn(&str) -> String| {
        let function =
            move |arguments: &[Value]| Ok(Value::from(change(arguments.last().and_then(Value::as_str).unwrap_or(""))));
        Arc::new(function) as gotmpl::ValueFunc
    };
    let functions = gotmpl::FuncMap::from([
        ("humanize".to_owned(), number("humanize", humanize)),
        ("humanize1024".to_owned(), number("humanize1024", humanize_1024)),
        ("humanizeDuration".to_owned(), number("humanizeDuration", humanize_duration)),
        (
            "humanizePercentage".to_owned(),
            number("humanizePercentage", |value| format!("{}%", four_digits(value * 100.0))),
        ),
        ("toUpper".to_owned(), text_function(str::to_uppercase)),
        ("toLower".to_owned(), text_function(str::to_lowercase)),
    ]);
    Template::new("").funcs(functions).parse(&format!("{DEFINITIONS}{text}"))
}

fn as_number(value: &Value) -> Option<f64> {
    value.as_float().or_else(|| value.as_int().map(|whole| whole as f64)).or_else(|| value.as_str()?.parse().ok())
}

/// Go's `%.4g` for the sizes people read.
fn four_digits(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return format!("{value}");
    }
    let magnitude = value.abs().log10().floor();
    if !(-5.0..4.0).contains(&magnitude) {
        let mantissa = value / 10_f64.powf(magnitude);
        let sign = if magnitude < 0.0 { '-' } else { '+' };
        return format!("{}e{sign}{:02}", trimmed(mantissa, 3), magnitude.abs());
    }
    trimmed(value, (3.0 - magnitude).max(0.0) as usize)
}

fn trimmed(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

fn humanize(value: f64) -> String {
    scaled(value, 1000.0, &["k", "M", "G", "T", "P", "E"], &["m", "u", "n"])
}

fn humanize_1024(value: f64) -> String {
    scaled(value, 1024.0, &["ki", "Mi", "Gi", "Ti", "Pi", "Ei"], &[])
}

fn scaled(value: f64, base: f64, up: &[&str], down: &[&str]) -> String {
    if value == 0.0 || !value.is_finite() {
        return four_digits(value);
    }
    let (mut left, mut prefix) = (value, "");
    if value.abs() >= 1.0 {
        for next in up {
            if left.abs() < base {
                break;
            }
            left /= base;
            prefix = next;
        }
    } else {
        for next in down {
            if left.abs() >= 1.0 {
                break;
            }
            left *= base;
            prefix = next;
        }
    }
    format!("{}{prefix}", four_digits(left))
}

fn humanize_duration(seconds: f64) -> String {
    if !seconds.is_finite() {
        return format!("{seconds}");
    }
    if seconds.abs() < 1.0 {
        return format!("{}s", scaled(seconds, 1000.0, &[], &["m", "u", "n"]));
    }
    let sign = if seconds < 0.0 { "-" } else { "" };
    let whole = seconds.abs().min(9e15) as u64;
    let (days, hours, minutes) = (whole / 86_400, whole / 3600 % 24, whole / 60 % 60);
    if days > 0 {
        return format!("{sign}{days}d {hours}h {minutes}m {}s", whole % 60);
    }
    if hours > 0 {
        return format!("{sign}{hours}h {minutes}m {}s", whole % 60);
    }
    if minutes > 0 {
        return format!("{sign}{minutes}m {}s", whole % 60);
    }
    format!("{sign}{}s", four_digits(seconds.abs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_what_prometheus_writes() {
        let labels = Labels::from_pairs([("service", "backend"), ("path", "/a")]);
        for (text, value, want) in [
            ("plain", 1.0, "plain"),
            ("{{ $labels.service }} at {{ $value }}", 0.082, "backend at 0.082"),
            ("{{ $value | humanizePercentage }}", 0.0824, "8.24%"),
            ("{{ humanizePercentage $value }}", 0.05, "5%"),
            ("{{ .Labels.path }}{{ $labels.missing }}!", 1.0, "/a!"),
            ("{{ printf \"%.1f\" $value }}", 2.345, "2.3"),
            ("{{ $value | humanize }}", 1_234_567.0, "1.235M"),
            ("{{ $value | humanize }}", 0.00123, "1.23m"),
            ("{{ $value | humanize1024 }}", 2048.0, "2ki"),
            ("{{ $value | humanizeDuration }}", 4000.0, "1h 6m 40s"),
            ("{{ $value | humanizeDuration }}", 0.25, "250ms"),
            ("{{ if gt $value 1.0 }}high{{ else }}low{{ end }}", 2.0, "high"),
            ("{{ $labels.service | toUpper }}", 2.0, "BACKEND"),
        ] {
            assert_eq!(expand(text, &labels, value), want, "{text}");
        }
        assert!(expand("{{ $labels.service | humanize }}", &labels, 1.0).starts_with("<error expanding template"));
    }

    #[test]
    fn refuses_what_is_no_template() {
        for bad in ["{{ $value", "{{ nosuchfunction $value }}", "{{ if }}", "{{ $nosuch }}"] {
            assert!(check(bad).is_err() || expand(bad, &Labels::empty(), 1.0).contains("error"), "{bad}");
        }
    }
}
