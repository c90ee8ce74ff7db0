//! Numbers as Go reads and writes them.

/// A float: decimal, `Inf`, `Infinity` and `NaN` in any case, with sign.
pub(super) fn float(text: &str) -> Option<f64> {
    // The usual case of a metric, a small whole number, need not go through the general parser.
    if text.len() <= 15 && !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(text.bytes().fold(0_u64, |number, byte| number * 10 + u64::from(byte - b'0')) as f64);
    }
    text.parse().ok()
}

/// A float as OpenMetrics wants bounds spelled: `1.0`, `0.05`, `1e+06`, `+Inf`.
///
/// Follows Prometheus (`model/textparse`, `formatOpenMetricsFloat`), whose base is Go's `%g` with the shortest digits.
pub(super) fn openmetrics_float(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    // Go's shortest `%g` takes an exponent below -4 and from 6 on.
    if !(-4..6).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.unsigned_abs());
    }
    let plain = format!("{value}");
    if plain.contains('.') { plain } else { format!("{plain}.0") }
}
