//! Request parameters and bodies: read with a cap and a deadline, parsed the way each protocol spells time.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request};
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::{HeaderMap, Method};
use axum::response::Response;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use signal::{Nanos, Timestamp};
use tokio::time::timeout;

use crate::reply::Refusal;

/// Longest form body of a query.
const FORM_BYTES: usize = 10 * 1024 * 1024;
/// A body that takes longer in all is given up, and with it the connection's slot.
pub(crate) const BODY_SECONDS: u64 = 60;

/// Reads a whole body of at most `limit` bytes.
pub(crate) async fn body(body: Body, limit: usize) -> Result<Bytes, Refusal> {
    let collect = Limited::new(body, limit).collect();
    let collected =
        timeout(Duration::from_secs(BODY_SECONDS), collect).await.map_err(|_| Refusal::too_slow(BODY_SECONDS))?;
    match collected {
        Ok(bytes) => Ok(bytes.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Refusal::too_large(limit)),
        Err(_) => Err(Refusal::bad("request body ended before it was complete")),
    }
}

/// A header as lower-case text without parameters; empty when missing.
pub(crate) fn content_type(headers: &HeaderMap) -> String {
    let whole = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    whole.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// The `Content-Encoding`, lower case; empty when missing or `identity`.
pub(crate) fn content_encoding(headers: &HeaderMap) -> String {
    let text = headers.get(CONTENT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let text = text.trim().to_ascii_lowercase();
    if text == "identity" { String::new() } else { text }
}

/// Whether the `Accept` header asks for protobuf.
pub(crate) fn wants_protobuf(headers: &HeaderMap) -> bool {
    headers
        .get(axum::http::header::ACCEPT)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|accept| accept.contains("application/protobuf") || accept.contains("application/x-protobuf"))
}

/// Parameters of the form body, then of the URL: a name in both places answers with the body's value, as in Go.
#[derive(Debug, Clone, Default)]
pub(crate) struct Params(Vec<(String, String)>);

impl<S: Send + Sync> FromRequest<S> for Params {
    type Rejection = Response;

    async fn from_request(request: Request, _: &S) -> Result<Self, Response> {
        let (parts, content) = request.into_parts();
        let mut pairs = Vec::new();
        if parts.method == Method::POST && content_type(&parts.headers) == "application/x-www-form-urlencoded" {
            let bytes = body(content, FORM_BYTES).await.map_err(Refusal::into_envelope)?;
            pairs.extend(form_urlencoded::parse(&bytes).into_owned());
        }
        if let Some(query) = parts.uri.query() {
            pairs.extend(form_urlencoded::parse(query.as_bytes()).into_owned());
        }
        Ok(Self(pairs))
    }
}

impl Params {
    /// The first value of `name`, unless empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// Every value of `name`.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A count; zero means "no limit" to Prometheus.
    pub(crate) fn limit(&self, name: &str) -> Result<Option<usize>, Refusal> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let bad = |_| Refusal::parameter(name, format!("limit must be a non-negative number, not \"{text}\""));
        let limit: i64 = text.parse().map_err(bad)?;
        if limit < 0 {
            return Err(Refusal::parameter(name, "limit must be non-negative"));
        }
        Ok(usize::try_from(limit).ok().filter(|limit| *limit > 0))
    }

    /// A count of the metadata routes: negative means "no limit" there, and zero nothing at all.
    pub(crate) fn count(&self, name: &str) -> Result<usize, Refusal> {
        let Some(text) = self.get(name) else { return Ok(usize::MAX) };
        let count: i64 = text.parse().map_err(|_| Refusal::bad(format!("{name} must be a number")))?;
        Ok(usize::try_from(count).unwrap_or(usize::MAX))
    }

    /// Go's spellings of true and false.
    pub(crate) fn flag(&self, name: &str) -> Result<Option<bool>, Refusal> {
        match self.get(name) {
            None => Ok(None),
            Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(Some(true)),
            Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(Some(false)),
            Some(text) => {
                Err(Refusal::parameter(name, format!("unable to parse boolean: \"{text}\" is neither true nor false")))
            }
        }
    }

    /// A Prometheus time: unix seconds or RFC 3339.
    pub(crate) fn time(&self, name: &str) -> Result<Option<Timestamp>, Refusal> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let bad = |reason| Refusal::parameter(name, format!("invalid time value for '{name}': {reason}"));
        time(text).map(Some).map_err(bad)
    }

    /// A Prometheus time that must be there.
    pub(crate) fn required_time(&self, name: &str) -> Result<Timestamp, Refusal> {
        time(self.get(name).unwrap_or_default()).map_err(|reason| Refusal::parameter(name, reason))
    }

    /// A Prometheus duration or float seconds.
    pub(crate) fn duration(&self, name: &str) -> Result<Option<Duration>, Refusal> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let bad = || Refusal::parameter(name, bad_duration(text));
        signed_duration(text).ok_or_else(bad)?.map_or_else(|| Err(bad()), |duration| Ok(Some(duration)))
    }

    /// How long the client wants to wait at most. What is not positive has passed already.
    pub(crate) fn patience(&self, name: &str) -> Result<Option<Duration>, Refusal> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let found = signed_duration(text).ok_or_else(|| Refusal::parameter(name, bad_duration(text)))?;
        Ok(Some(found.unwrap_or_default()))
    }

    /// A Loki time: nanoseconds, float seconds or RFC 3339; whole numbers of at most ten digits are seconds.
    pub(crate) fn nanos(&self, name: &str) -> Result<Option<Nanos>, Refusal> {
        let Some(text) = self.get(name) else { return Ok(None) };
        nanos(text).map(Some).ok_or_else(|| {
            // What Go says after it has tried everything else.
            let reason = format!("strconv.ParseInt: parsing \"{text}\": invalid syntax");
            Refusal::bad(format!("could not parse '{name}' parameter: {reason}"))
        })
    }
}

fn time(text: &str) -> Result<Timestamp, String> {
    // Upstream's clients send these two for "everything".
    match text {
        "-9223372036854775.808" | "-292273086-05-16T16:47:06Z" => return Ok(Timestamp::MIN),
        "9223372036854775.807" | "292277025-08-18T07:12:54.999999999Z" => return Ok(Timestamp::MAX),
        _ => {}
    }
    Timestamp::parse(text).map_err(|_| format!("cannot parse \"{text}\" to a valid timestamp"))
}

/// Why `text` is no duration, as upstream says it.
pub(crate) fn bad_duration(text: &str) -> String {
    let is_number = text.parse::<f64>().is_ok_and(|seconds| !seconds.is_nan());
    let reason = if is_number { ". It overflows int64" } else { "" };
    format!("cannot parse \"{text}\" to a valid duration{reason}")
}

/// `Some(None)` for a negative duration: well formed, yet nowhere allowed.
#[expect(clippy::option_option, reason = "malformed and negative texts get different error messages")]
pub(crate) fn signed_duration(text: &str) -> Option<Option<Duration>> {
    if let Ok(seconds) = text.parse::<f64>() {
        if seconds < 0.0 {
            return Some(None);
        }
        return Duration::try_from_secs_f64(seconds).ok().filter(|d| d.as_secs() < 1 << 40).map(Some);
    }
    if let Some(rest) = text.strip_prefix('-') {
        return signal::parse_duration(rest).ok().map(|_| None);
    }
    signal::parse_duration(text).ok().map(Some)
}

fn nanos(text: &str) -> Option<Nanos> {
    if let Ok(whole) = text.parse::<i64>() {
        if text.trim_start_matches('-').len() <= 10 {
            return whole.checked_mul(1_000_000_000).map(Nanos);
        }
        return Some(Nanos(whole));
    }
    if let Ok(seconds) = text.parse::<f64>() {
        let whole = seconds * 1e9;
        return (whole.is_finite() && whole.abs() < 9.2e18).then_some(Nanos(whole as i64));
    }
    rfc3339_nanos(text)
}

/// RFC 3339 with nanoseconds: the whole second comes from [`Timestamp`], the digits after it are kept exactly.
fn rfc3339_nanos(text: &str) -> Option<Nanos> {
    let ms = Timestamp::parse(text).ok()?.0;
    let digits: String = text
        .split_once('.')
        .map(|(_, rest)| rest.chars().take_while(char::is_ascii_digit).collect())
        .unwrap_or_default();
    let fraction: i64 = format!("{digits:0<9}").get(..9)?.parse().ok()?;
    ms.div_euclid(1000).checked_mul(1_000_000_000)?.checked_add(fraction).map(Nanos)
}

/// A Loki duration: Prometheus' spelling, Go's spelling (`1.5s`, `300us`), or float seconds.
pub(crate) fn loki_duration(text: &str) -> Option<Duration> {
    if let Some(found) = signed_duration(text) {
        return found;
    }
    let mut total = 0.0_f64;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
        let (number, tail) = rest.split_at_checked(digits)?;
        let letters = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at_checked(letters)?;
        let size = match unit {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3_600.0,
            "d" => 86_400.0,
            "w" => 604_800.0,
            _ => return None,
        };
        total += number.parse::<f64>().ok()? * size;
        rest = tail;
    }
    if text.is_empty() { None } else { Duration::try_from_secs_f64(total).ok().filter(|d| d.as_secs() < 1 << 40) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lokis_times_are_seconds_nanoseconds_or_a_date() {
        for (text, want) in [
            ("1706189400", Some(1_706_189_400_000_000_000)),
            ("1706189400123456789", Some(1_706_189_400_123_456_789)),
            ("1706189400.5", Some(1_706_189_400_500_000_000)),
            ("2024-01-25T13:30:00.123456789Z", Some(1_706_189_400_123_456_789)),
            ("2024-01-25T14:30:00+01:00", Some(1_706_189_400_000_000_000)),
            ("0", Some(0)),
            ("yesterday", None),
            ("NaN", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(nanos(text).map(|at| at.0), want, "{text}");
        }
    }

    #[test]
    fn durations_come_in_three_spellings() {
        for (text, want_ms) in [
            ("15", Some(15_000)),
            ("0.25", Some(250)),
            ("1h30m", Some(5_400_000)),
            ("1.5s", Some(1_500)),
            ("2000us", Some(2)),
            ("", None),
            ("-5", None),
            ("5parsecs", None),
            ("1e300", None),
        ] {
            let found = loki_duration(text).map(|found| found.as_millis());
            assert_eq!(found, want_ms, "{text}");
        }
    }
}
