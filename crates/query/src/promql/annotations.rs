//! What a query's author should know about an answer, in the words of Prometheus (util/annotations).
//!
//! One constructor for each message. An [`Annotation`] is made where the finding is made and gets its place in the query
//! text from the caller, by [`Annotation::at`].

use std::fmt;

use super::ast::Place;
use super::print::general_text;
use crate::lex::quote;

/// How bad it is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Level {
    /// The answer is probably not what was meant.
    Warning,
    /// The answer may not be what was meant.
    Info,
}

/// One finding, without its place.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Annotation {
    /// How bad it is.
    pub level: Level,
    /// The message behind `PromQL warning: ` or `PromQL info: `.
    pub message: String,
}

/// What was being done to two histograms.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HistogramOperation {
    /// `+`, and sums over time
    Addition,
    /// `-`, and rates
    Subtraction,
    /// `sum`, `avg`
    Aggregation,
}

impl fmt::Display for HistogramOperation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Addition => "addition",
            Self::Subtraction => "subtraction",
            Self::Aggregation => "aggregation",
        })
    }
}

impl fmt::Display for Annotation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.level {
            Level::Warning => write!(f, "PromQL warning: {}", self.message),
            Level::Info => write!(f, "PromQL info: {}", self.message),
        }
    }
}

impl Annotation {
    /// The whole text: `PromQL info: … (1:5)`.
    #[must_use]
    pub fn at(&self, place: Place) -> String {
        format!("{self} ({})", place.position)
    }

    fn warning(message: impl Into<String>) -> Self {
        Self { level: Level::Warning, message: message.into() }
    }

    fn info(message: impl Into<String>) -> Self {
        Self { level: Level::Info, message: message.into() }
    }

    /// A ratio outside -1 to 1.
    #[must_use]
    pub fn invalid_ratio(ratio: f64, capped: f64) -> Self {
        let (ratio, capped) = (general_text(ratio), general_text(capped));
        Self::warning(format!("ratio value should be between -1 and 1, got {ratio}, capping to {capped}"))
    }

    /// A quantile outside 0 to 1.
    #[must_use]
    pub fn invalid_quantile(quantile: f64) -> Self {
        Self::warning(format!("quantile value should be between 0 and 1, got {}", general_text(quantile)))
    }

    /// A bucket series whose `le` is no number.
    #[must_use]
    pub fn bad_bucket_label(metric: &str, label: &str) -> Self {
        let message = format!("bucket label \"le\" is missing or has a malformed value of {}", quote(label));
        Self::warning(for_metric(message, metric))
    }

    /// Floats and histograms in the samples of one series, under a function that wants one of both.
    #[must_use]
    pub fn mixed_floats_histograms(metric: &str) -> Self {
        Self::warning(format!("encountered a mix of histograms and floats for metric name {}", quote(metric)))
    }

    /// Floats and histograms in one group of an aggregation.
    #[must_use]
    pub fn mixed_floats_histograms_aggregation() -> Self {
        Self::warning("encountered a mix of histograms and floats for aggregation")
    }

    /// Classic and native histograms of the same identity.
    #[must_use]
    pub fn mixed_classic_native(metric: &str) -> Self {
        Self::warning(for_metric("vector contains a mix of classic and native histograms".to_owned(), metric))
    }

    /// `rate` and its kin over a gauge histogram.
    #[must_use]
    pub fn histogram_not_counter(metric: &str) -> Self {
        Self::warning(format!("this native histogram metric is not a counter: {}", quote(metric)))
    }

    /// `delta` and `idelta` over a counter histogram.
    #[must_use]
    pub fn histogram_not_gauge(metric: &str) -> Self {
        Self::warning(format!("this native histogram metric is not a gauge: {}", quote(metric)))
    }

    /// Exponential and custom buckets together.
    #[must_use]
    pub fn mixed_exponential_custom(metric: &str) -> Self {
        let what = "vector contains a mix of histograms with exponential and custom buckets schemas for metric name";
        Self::warning(format!("{what} {}", quote(metric)))
    }

    /// Custom buckets with different bounds together.
    #[must_use]
    pub fn incompatible_custom_buckets(metric: &str) -> Self {
        let what = "vector contains histograms with incompatible custom buckets for metric name";
        Self::warning(format!("{what} {}", quote(metric)))
    }

    /// A binary operator between histograms whose buckets cannot be brought together.
    #[must_use]
    pub fn incompatible_bucket_layout(operator: &str) -> Self {
        Self::warning(format!("incompatible bucket layout encountered for binary operator {operator}"))
    }

    /// A counter reset in one histogram and certainly none in the other.
    #[must_use]
    pub fn counter_reset_collision(operation: HistogramOperation) -> Self {
        Self::warning(format!("conflicting counter resets during histogram {operation}"))
    }

    /// `rate` over a metric that is not named like a counter.
    #[must_use]
    pub fn possible_non_counter(metric: &str) -> Self {
        let what = "metric might not be a counter, name does not end in _total/_sum/_count/_bucket:";
        Self::info(format!("{what} {}", quote(metric)))
    }

    /// `rate` over a metric whose type label says something else.
    #[must_use]
    pub fn possible_non_counter_label(metric: &str, found: &str) -> Self {
        let what = "metric might not be a counter, __type__ label is not set to \"counter\" or \"histogram\"";
        Self::info(format!("{what}, got {}: {}", quote(found), quote(metric)))
    }

    /// Buckets whose counts fell.
    #[must_use]
    pub fn forced_monotonicity(metric: &str) -> Self {
        let see = "https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile";
        let message = format!("input to histogram_quantile needed to be fixed for monotonicity (see {see})");
        Self::info(for_metric(message, metric))
    }

    /// A binary operator between kinds of samples that have no answer.
    #[must_use]
    pub fn incompatible_types(left: &str, operator: &str, right: &str) -> Self {
        let what = "incompatible sample types encountered for binary operator";
        Self::info(format!("{what} {}: {left} {operator} {right}", quote(operator)))
    }

    /// An aggregation that passes over histograms.
    #[must_use]
    pub fn histogram_ignored_in_aggregation(operator: &str) -> Self {
        Self::info(format!("ignored histogram in {operator} aggregation"))
    }

    /// A function over time that passes over histograms among floats.
    #[must_use]
    pub fn histogram_ignored_in_mixed_range(metric: &str) -> Self {
        let what = "ignored histograms in a range containing both floats and histograms for metric name";
        Self::info(format!("{what} {}", quote(metric)))
    }

    /// A quantile that lies among NaN observations.
    #[must_use]
    pub fn quantile_nan_result(metric: &str) -> Self {
        Self::info(for_metric("input to histogram_quantile has NaN observations, result is NaN".to_owned(), metric))
    }

    /// A quantile that NaN observations, counted as the largest, have moved.
    #[must_use]
    pub fn quantile_nan_skew(metric: &str) -> Self {
        let message = "input to histogram_quantile has NaN observations, result is skewed higher";
        Self::info(for_metric(message.to_owned(), metric))
    }

    /// NaN observations under `histogram_fraction`.
    #[must_use]
    pub fn fraction_nan(metric: &str) -> Self {
        let message = "input to histogram_fraction has NaN observations, which are excluded from all fractions";
        Self::info(for_metric(message.to_owned(), metric))
    }
}

fn for_metric(message: String, metric: &str) -> String {
    if metric.is_empty() { message } else { format!("{message} for metric name {}", quote(metric)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lex::Position;

    #[test]
    fn texts_are_upstreams() {
        let place = Place { start: 4, end: 6, position: Position { line: 1, column: 5 } };
        for (annotation, want) in [
            (
                Annotation::invalid_quantile(f64::NAN),
                "PromQL warning: quantile value should be between 0 and 1, got NaN (1:5)",
            ),
            (
                Annotation::invalid_ratio(-1.1, -1.0),
                "PromQL warning: ratio value should be between -1 and 1, got -1.1, capping to -1 (1:5)",
            ),
            (
                Annotation::bad_bucket_label("m", ""),
                "PromQL warning: bucket label \"le\" is missing or has a malformed value of \"\" for metric name \"m\" (1:5)",
            ),
            (
                Annotation::mixed_classic_native(""),
                "PromQL warning: vector contains a mix of classic and native histograms (1:5)",
            ),
            (
                Annotation::incompatible_types("histogram", "==", "float"),
                "PromQL info: incompatible sample types encountered for binary operator \"==\": histogram == float (1:5)",
            ),
            (
                Annotation::counter_reset_collision(HistogramOperation::Aggregation),
                "PromQL warning: conflicting counter resets during histogram aggregation (1:5)",
            ),
        ] {
            assert_eq!(annotation.at(place), want);
        }
    }
}
