//! Durations as Prometheus writes them: `1h30m`, `250ms`, `1d`.

use std::time::Duration;

/// A text that is not a duration.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not a valid duration string: `{text}`; expected something like `5m`, `1h30m` or `250ms`")]
pub struct DurationError {
    /// What was given.
    pub text: String,
}

const UNITS: [(&str, u64); 7] = [
    ("y", 365 * 24 * 3_600_000),
    ("w", 7 * 24 * 3_600_000),
    ("d", 24 * 3_600_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Reads a Prometheus duration: units `y w d h m s ms`, each at most once and in that order; `0` alone is allowed.
///
/// # Errors
/// `DurationError` for anything else, also when it overflows.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    let error = || DurationError { text: text.to_owned() };
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut rest = text;
    let mut total = 0_u64;
    let mut next_unit = 0;
    if rest.is_empty() {
        return Err(error());
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = rest.split_at_checked(digits).ok_or_else(error)?;
        let letters = tail.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, tail) = tail.split_at_checked(letters).ok_or_else(error)?;
        let at = UNITS.iter().position(|(name, _)| *name == unit).ok_or_else(error)?;
        if at < next_unit {
            return Err(error());
        }
        let size = UNITS.get(at).map_or(0, |(_, size)| *size);
        let number: u64 = number.parse().map_err(|_| error())?;
        total = number.checked_mul(size).and_then(|part| total.checked_add(part)).ok_or_else(error)?;
        next_unit = at + 1;
        rest = tail;
    }
    Ok(Duration::from_millis(total))
}

/// Writes a duration the way Prometheus does, largest unit first; whole milliseconds, the rest is cut.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    let mut ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if ms == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (name, size) in UNITS {
        // Years, weeks and days are only used when nothing is left over: `36h` reads better than `1d12h`.
        let whole_only = matches!(name, "y" | "w" | "d");
        if (whole_only && !ms.is_multiple_of(size)) || ms < size {
            continue;
        }
        text.push_str(&format!("{}{name}", ms / size));
        ms %= size;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_prometheus_durations() {
        for (text, ms) in
            [("0", 0), ("5m", 300_000), ("1h30m", 5_400_000), ("1m5s10ms", 65_010), ("1y", 31_536_000_000)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for bad in ["", "5", "m", "5m5m", "5s1m", "1.5h", "-5m", "99999999999y", "5µs"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
        for (ms, text) in
            [(0, "0s"), (300_000, "5m"), (5_400_000, "1h30m"), (86_400_000, "1d"), (129_600_000, "36h"), (250, "250ms")]
        {
            assert_eq!(format_duration(Duration::from_millis(ms)), text);
        }
    }
}
