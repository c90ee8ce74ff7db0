//! JSON written straight into text: answers can be large, and numbers must look exactly as upstream writes them.

use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use signal::{Labels, Timestamp};

/// A JSON response.
pub(crate) fn response(body: String) -> Response {
    ([(CONTENT_TYPE, "application/json")], body).into_response()
}

/// Appends a quoted, escaped string.
pub(crate) fn string(out: &mut String, text: &str) {
    out.push('"');
    let mut plain = 0;
    for (at, byte) in text.bytes().enumerate() {
        let escape = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            b'\n' => "\\n",
            b'\r' => "\\r",
            b'\t' => "\\t",
            0..=0x1f => "",
            _ => continue,
        };
        out.push_str(text.get(plain..at).unwrap_or_default());
        plain = at + 1;
        if escape.is_empty() {
            out.push_str(&format!("\\u{byte:04x}"));
        } else {
            out.push_str(escape);
        }
    }
    out.push_str(text.get(plain..).unwrap_or_default());
    out.push('"');
}

/// A quoted, escaped string.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    string(&mut out, text);
    out
}

/// Appends `[…]` with one element per item.
pub(crate) fn array<T>(out: &mut String, items: impl IntoIterator<Item = T>, mut element: impl FnMut(&mut String, T)) {
    out.push('[');
    for (at, item) in items.into_iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        element(out, item);
    }
    out.push(']');
}

/// Appends `{"name":"value",…}`.
pub(crate) fn object<'a>(out: &mut String, pairs: impl IntoIterator<Item = (&'a str, &'a str)>) {
    out.push('{');
    for (at, (name, value)) in pairs.into_iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        string(out, name);
        out.push(':');
        string(out, value);
    }
    out.push('}');
}

/// Appends a label set.
pub(crate) fn labels(out: &mut String, labels: &Labels) {
    object(out, labels.iter());
}

/// A sample value as Prometheus writes it: shortest form that reads back, `e` notation below 1e-6 and from 1e21.
pub(crate) fn number(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let size = value.abs();
    if size != 0.0 && !(1e-6..1e21).contains(&size) {
        let text = format!("{value:e}");
        return match text.split_once('e') {
            Some((mantissa, exponent)) if !exponent.starts_with('-') => format!("{mantissa}e+{exponent}"),
            _ => text,
        };
    }
    format!("{value}")
}

/// As Go's `%e` with the shortest mantissa: the form of values in the alerts API.
pub(crate) fn scientific(value: f64) -> String {
    if !value.is_finite() {
        return number(value);
    }
    let text = format!("{value:e}");
    let Some((mantissa, exponent)) = text.split_once('e') else { return text };
    let (sign, digits) = match exponent.strip_prefix('-') {
        Some(digits) => ('-', digits),
        None => ('+', exponent),
    };
    format!("{mantissa}e{sign}{digits:0>2}")
}

/// Unix seconds with three decimals when they matter: Prometheus' time stamps in JSON.
pub(crate) fn seconds(at: Timestamp) -> String {
    let (sign, ms) = if at.0 < 0 { ("-", at.0.unsigned_abs()) } else { ("", at.0.unsigned_abs()) };
    match ms % 1000 {
        0 => format!("{sign}{}", ms / 1000),
        fraction => format!("{sign}{}.{fraction:03}", ms / 1000),
    }
}

/// Appends `[seconds,"value"]`.
pub(crate) fn point(out: &mut String, at: Timestamp, value: f64) {
    out.push('[');
    out.push_str(&seconds(at));
    out.push_str(",\"");
    out.push_str(&number(value));
    out.push_str("\"]");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_look_as_upstream_writes_them() {
        for (value, want) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (0.1, "0.1"),
            (1e-6, "0.000001"),
            (1.5e-7, "1.5e-7"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (-2.5e22, "-2.5e+22"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
        ] {
            assert_eq!(number(value), want);
        }
        for (value, want) in [(1.0, "1e+00"), (0.25, "2.5e-01"), (123.0, "1.23e+02"), (f64::NAN, "NaN")] {
            assert_eq!(scientific(value), want);
        }
        for (ms, want) in [(0, "0"), (1_500, "1.500"), (1_050, "1.050"), (-1_500, "-1.500"), (60_000, "60")] {
            assert_eq!(seconds(Timestamp(ms)), want);
        }
    }

    #[test]
    fn strings_survive_a_json_parser() {
        for text in ["", "plain", "a\"b\\c\n\r\t\u{1}\u{1f}", "grüße ✓", "\u{7f}", "tail\""] {
            let back: String = serde_json::from_str(&quoted(text)).unwrap();
            assert_eq!(back, text);
        }
    }
}
