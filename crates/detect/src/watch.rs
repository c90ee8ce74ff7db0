//! What the streaming detector looks at: a PromQL query for each kind of reading.

use serde::{Deserialize, Serialize};
use signal::Severity;

/// What a reading says about a service.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Users notice it: only this role pages.
    Symptom,
    /// How much is asked of the service.
    Load,
    /// How full something inside is.
    Saturation,
}

/// What a value is measured in.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Events per second.
    PerSecond,
    /// A share between 0 and 1.
    Ratio,
    /// Seconds.
    Seconds,
    /// A plain number.
    Count,
}

/// One kind of reading, taken for every service.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Watch {
    /// Short name: `request_rate`, `error_rate`, …
    pub metric_type: String,
    /// PromQL with `$window` for the rate window; yields one sample per `service` label.
    pub query: String,
    /// What the reading says.
    pub role: Role,
    /// What the value is measured in.
    pub unit: Unit,
    /// Absolute change below which nobody is told.
    pub min_effect: f64,
}

/// Readings every service with conventional metric names can give; a query without data is simply silent.
#[must_use]
pub fn default_watches() -> Vec<Watch> {
    let watch = |metric_type: &str, query: &str, role, unit, min_effect| Watch {
        metric_type: metric_type.to_owned(),
        query: query.to_owned(),
        role,
        unit,
        min_effect,
    };
    vec![
        watch(
            "request_rate",
            "sum by (service) (rate(http_requests_total[$window]))",
            Role::Load,
            Unit::PerSecond,
            5.0,
        ),
        watch(
            "error_rate",
            "(sum by (service) (rate(http_requests_total{status=~\"5..\"}[$window])) \
             or sum by (service) (rate(http_requests_total[$window])) * 0) \
             / sum by (service) (rate(http_requests_total[$window]))",
            Role::Symptom,
            Unit::Ratio,
            0.02,
        ),
        watch(
            "latency_p99",
            "histogram_quantile(0.99, sum by (service, le) (rate(http_request_duration_seconds_bucket[$window])))",
            Role::Symptom,
            Unit::Seconds,
            0.5,
        ),
        watch(
            "pool_utilisation",
            "sum by (service) (avg_over_time(db_pool_connections{state=\"used\"}[$window])) \
             / sum by (service) (avg_over_time(db_pool_connections_max[$window]))",
            Role::Saturation,
            Unit::Ratio,
            0.2,
        ),
        watch(
            "pool_wait",
            "histogram_quantile(0.99, sum by (service, le) (rate(db_pool_acquire_duration_seconds_bucket[$window])))",
            Role::Saturation,
            Unit::Seconds,
            0.25,
        ),
        watch(
            "db_query_duration",
            "sum by (service) (rate(db_query_duration_seconds_sum[$window])) \
             / sum by (service) (rate(db_query_duration_seconds_count[$window]))",
            Role::Saturation,
            Unit::Seconds,
            0.1,
        ),
        watch(
            "cpu_cores",
            "sum by (service) (rate(process_cpu_seconds_total[$window]))",
            Role::Saturation,
            Unit::Count,
            0.5,
        ),
    ]
}

impl Unit {
    /// The value in plain words: `24 %`, `2.1 s`, `62 ms`, `125/s`.
    #[must_use]
    pub fn words(self, value: f64) -> String {
        match self {
            Self::PerSecond => format!("{}/s", short(value)),
            Self::Ratio => format!("{} %", short(value * 100.0)),
            Self::Seconds if value.abs() < 1.0 => format!("{} ms", short(value * 1000.0)),
            Self::Seconds => format!("{} s", short(value)),
            Self::Count => short(value),
        }
    }

    /// How bad an upward move from `expected` to `value` is.
    pub(crate) fn severity(self, expected: f64, value: f64) -> Severity {
        let change = value - expected;
        // Everything starts somewhere: a factor over next to nothing would be endless.
        let factor = value.max(0.0) / expected.max(self.smallest());
        match self {
            Self::Ratio if change >= 0.25 => Severity::Critical,
            Self::Ratio if change >= 0.05 => Severity::High,
            Self::Ratio if change >= 0.02 => Severity::Medium,
            Self::Seconds if factor >= 20.0 && value >= 5.0 => Severity::Critical,
            Self::Seconds if factor >= 4.0 && change >= 0.75 => Severity::High,
            // A busy queue doubles its tail long before anybody needs to be woken.
            Self::Seconds if factor >= 3.0 => Severity::Medium,
            Self::PerSecond | Self::Count if factor >= 2.0 => Severity::High,
            Self::PerSecond | Self::Count if factor >= 1.5 => Severity::Medium,
            Self::Ratio | Self::Seconds | Self::PerSecond | Self::Count => Severity::Low,
        }
    }

    /// Whether a move is too large to be the echo of one short burst.
    pub(crate) fn is_beyond_doubt(self, expected: f64, value: f64) -> bool {
        match self {
            Self::Ratio => self.severity(expected, value) >= Severity::High,
            // A handful of requests that arrive together make the tail of a small service several times as long.
            Self::Seconds => value >= 8.0 * expected.max(self.smallest()) && value - expected >= 0.5,
            Self::PerSecond | Self::Count => true,
        }
    }

    /// Below this, values of the unit do not differ in any way that matters.
    pub(crate) fn smallest(self) -> f64 {
        match self {
            Self::PerSecond => 0.1,
            Self::Ratio => 1e-4,
            Self::Seconds => 1e-3,
            Self::Count => 1e-3,
        }
    }
}

/// At most three significant digits, no exponent.
fn short(value: f64) -> String {
    let decimals: usize = match value.abs() {
        size if size >= 10.0 => 0,
        size if size >= 1.0 => 1,
        size if size >= 0.1 => 2,
        size if size >= 0.0005 => 3,
        _ => 0,
    };
    let text = format!("{value:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_read_well() {
        for (unit, value, want) in [
            (Unit::Ratio, 0.004, "0.4 %"),
            (Unit::Ratio, 0.0, "0 %"),
            (Unit::Ratio, 0.236, "24 %"),
            (Unit::Ratio, 1.0, "100 %"),
            (Unit::Seconds, 0.062, "62 ms"),
            (Unit::Seconds, 2.13, "2.1 s"),
            (Unit::PerSecond, 125.5, "126/s"),
            (Unit::PerSecond, 0.05, "0.05/s"),
            (Unit::Count, 3.0, "3"),
        ] {
            assert_eq!(unit.words(value), want);
        }
    }

    #[test]
    fn severity_grows_with_the_effect() {
        for (unit, expected, value, want) in [
            (Unit::Ratio, 0.004, 0.01, Severity::Low),
            (Unit::Ratio, 0.01, 0.08, Severity::High),
            (Unit::Ratio, 0.004, 0.3, Severity::Critical),
            (Unit::Seconds, 0.06, 0.1, Severity::Low),
            (Unit::Seconds, 0.3, 0.7, Severity::Low),
            (Unit::Seconds, 0.2, 0.7, Severity::Medium),
            (Unit::Seconds, 0.06, 2.1, Severity::High),
            (Unit::Seconds, 0.06, 6.0, Severity::Critical),
            (Unit::PerSecond, 50.0, 70.0, Severity::Low),
            (Unit::PerSecond, 50.0, 125.5, Severity::High),
        ] {
            assert_eq!(unit.severity(expected, value), want, "{unit:?} {expected} -> {value}");
        }
    }
}
