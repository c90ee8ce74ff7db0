//! Floats and times as the tools around Prometheus write them.

/// All digits and no exponent, as Go's `FormatFloat(v, 'f', -1, 64)`.
pub(crate) fn plain(value: f64) -> String {
    special(value).unwrap_or_else(|| value.to_string())
}

/// As Go's `%g`: an exponent below 1e-4 and from 1e6 on.
pub(crate) fn general(value: f64) -> String {
    with_exponent(value, -4, 6)
}

/// As in answers of the HTTP API: an exponent below 1e-6 and from 1e21 on.
pub(crate) fn api(value: f64) -> String {
    with_exponent(value, -6, 21)
}

/// Unix seconds with as many decimals as it takes, at most three.
pub(crate) fn seconds(ms: i64) -> String {
    let sign = if ms < 0 { "-" } else { "" };
    let (whole, part) = (ms.unsigned_abs() / 1000, ms.unsigned_abs() % 1000);
    let text = format!("{sign}{whole}.{part:03}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn special(value: f64) -> Option<String> {
    if value.is_nan() {
        return Some("NaN".to_owned());
    }
    value.is_infinite().then(|| if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned())
}

fn with_exponent(value: f64, from: i32, to: i32) -> String {
    if let Some(text) = special(value) {
        return text;
    }
    let text = format!("{value:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if value == 0.0 || (from..to).contains(&exponent) {
        return value.to_string();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.unsigned_abs())
}
