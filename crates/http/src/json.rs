//! JSON written straight into text: answers can be large, and numbers must look exactly as upstream writes them.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use hyper::body::{Frame, SizeHint};
use signal::{Labels, Timestamp};

/// A JSON response.
pub(crate) fn response(body: String) -> Response {
    ([(CONTENT_TYPE, "application/json")], body).into_response()
}

/// A JSON response that comes in parts; a large answer is not copied for it.
pub(crate) fn parts(parts: Vec<String>) -> Response {
    let parts = parts.into_iter().filter(|part| !part.is_empty()).map(Bytes::from).collect();
    ([(CONTENT_TYPE, "application/json")], Body::new(Parts(parts))).into_response()
}

/// A body whose length is known.
struct Parts(VecDeque<Bytes>);

impl HttpBody for Parts {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(|part| Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.iter().map(|part| part.len() as u64).sum())
    }
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
    let mut out = String::new();
    push_number(&mut out, value);
    out
}

/// Appends what [`number`] gives.
pub(crate) fn push_number(out: &mut String, value: f64) {
    let size = value.abs();
    // Most samples are counts.
    if value == value.trunc() && size < 1e15 {
        if value == 0.0 && value.is_sign_negative() {
            out.push('-');
        }
        out.push_str(itoa::Buffer::new().format(value as i64));
        return;
    }
    // Between these the digits of the fast way stand as upstream's do.
    if (1e-5..1e16).contains(&size) {
        let mut buffer = zmij::Buffer::new();
        let text = buffer.format_finite(value);
        out.push_str(text.strip_suffix(".0").unwrap_or(text));
        return;
    }
    if value.is_finite() && !(1e-6..1e21).contains(&size) {
        out.push_str(&scientific(value));
        return;
    }
    push_plain(out, value);
}

/// Appends a number that never gets an exponent: scalars, literals.
pub(crate) fn push_plain(out: &mut String, value: f64) {
    if value.is_nan() {
        out.push_str("NaN");
    } else if value.is_infinite() {
        out.push_str(if value > 0.0 { "+Inf" } else { "-Inf" });
    } else {
        let _ = write!(out, "{value}");
    }
}

/// As Go's `%e` with the shortest mantissa: the form of values in the alerts API.
pub(crate) fn scientific(value: f64) -> String {
    if !value.is_finite() {
        let mut out = String::new();
        push_plain(&mut out, value);
        return out;
    }
    let text = format!("{value:e}");
    let Some((mantissa, exponent)) = text.split_once('e') else { return text };
    let (sign, digits) = match exponent.strip_prefix('-') {
        Some(digits) => ('-', digits),
        None => ('+', exponent),
    };
    format!("{mantissa}e{sign}{digits:0>2}")
}

/// Appends unix seconds with three decimals when they matter: Prometheus' time stamps in JSON.
pub(crate) fn push_seconds(out: &mut String, at: Timestamp) {
    let ms = at.0.unsigned_abs();
    if at.0 < 0 {
        out.push('-');
    }
    out.push_str(itoa::Buffer::new().format(ms / 1000));
    let fraction = ms % 1000;
    if fraction > 0 {
        out.push_str(match fraction {
            0..10 => ".00",
            10..100 => ".0",
            _ => ".",
        });
        out.push_str(itoa::Buffer::new().format(fraction));
    }
}

/// Appends `[seconds,"value"]`.
pub(crate) fn point(out: &mut String, at: Timestamp, value: f64) {
    out.push('[');
    push_seconds(out, at);
    out.push_str(",\"");
    push_number(out, value);
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
            (1.5e-7, "1.5e-07"),
            (-1.5e-6, "-0.0000015"),
            (1.25e-5, "0.0000125"),
            (0.1 + 0.2, "0.30000000000000004"),
            (42.25, "42.25"),
            (999_999_999_999_999.0, "999999999999999"),
            (9_007_199_254_740_993.0, "9007199254740992"),
            (123_456_789_012_345_678.0, "123456789012345680"),
            (2_251_799_813_685_249.5, "2251799813685249.5"),
            (5e-324, "5e-324"),
            (1.797_693_134_862_315_7e308, "1.7976931348623157e+308"),
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
        for (ms, want) in
            [(0, "0"), (1_500, "1.500"), (1_050, "1.050"), (-1_500, "-1.500"), (1_007, "1.007"), (60_000, "60")]
        {
            let mut out = String::new();
            push_seconds(&mut out, Timestamp(ms));
            assert_eq!(out, want);
        }
    }

    #[test]
    fn scalars_have_no_exponent() {
        for (value, want) in [(1e21, "1000000000000000000000"), (1.5e-7, "0.00000015"), (f64::NAN, "NaN"), (-0.0, "-0")]
        {
            let mut out = String::new();
            push_plain(&mut out, value);
            assert_eq!(out, want);
        }
    }

    proptest::proptest! {
        #[test]
        fn every_number_reads_back(bits in proptest::prelude::any::<u64>(), whole in proptest::prelude::any::<i32>(), cents in 0..100) {
            for value in [f64::from_bits(bits), f64::from(whole), f64::from(whole) + f64::from(cents) / 100.0] {
                if value.is_finite() {
                    let back: f64 = number(value).parse().unwrap();
                    proptest::prop_assert_eq!(back.to_bits(), value.to_bits());
                }
            }
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
