//! What a group needs from outside while it is evaluated.

use std::sync::Arc;
use std::time::Duration;

use query::logql;
use query::promql::Value;
use signal::{Histogram, Labels, Matcher, SeriesWrite, TimeRange, Timestamp};
use store::Series;

use crate::question::Question;

/// Answers a group's questions and takes its results. Errors are texts for people: they end up as a rule's last error.
pub trait Ask {
    /// The value of the question at `at`, with everything in it that was appended before.
    ///
    /// # Errors
    /// Why there is no value.
    fn vector(&mut self, question: &Question, at: Timestamp) -> Result<Vec<Element>, String>;

    /// Stored samples as they are, staleness markers included.
    ///
    /// # Errors
    /// Why they cannot be read.
    fn series(&mut self, matchers: Vec<Matcher>, range: TimeRange) -> Result<Vec<Series>, String>;

    /// Stores the results of one rule; the next question sees them.
    ///
    /// # Errors
    /// Why some or all of them were not taken.
    fn append(&mut self, series: Vec<SeriesWrite>) -> Result<(), String>;

    /// Time that passed since the last call; zero where there is no clock.
    fn lap(&mut self) -> Duration;
}

/// One series of an answer.
#[derive(Clone, PartialEq, Debug)]
pub struct Element {
    /// Identity; may be empty.
    pub labels: Labels,
    /// What it is now.
    pub reading: Reading,
}

/// A value of either kind.
#[derive(Clone, PartialEq, Debug)]
pub enum Reading {
    /// A number.
    Number(f64),
    /// A native histogram.
    Histogram(Arc<Histogram>),
}

/// A query's value as the elements a rule works on; a scalar is one element without labels.
///
/// # Errors
/// Upstream's text when the value is neither a vector nor a scalar.
pub fn elements(value: Value) -> Result<Vec<Element>, String> {
    match value {
        Value::Scalar(sample) => Ok(vec![Element { labels: Labels::empty(), reading: Reading::Number(sample.value) }]),
        Value::Vector(found) => Ok(found
            .into_iter()
            .map(|one| Element {
                labels: one.labels,
                reading: one.histogram.map_or(Reading::Number(one.sample.value), Reading::Histogram),
            })
            .collect()),
        Value::Matrix(_) | Value::String(..) => Err("rule result is not a vector or scalar".to_owned()),
    }
}

/// The same for a query about logs.
///
/// # Errors
/// Upstream's text when the answer is neither a vector nor a scalar.
pub fn log_elements(answer: logql::Answer) -> Result<Vec<Element>, String> {
    let element = |labels, point: logql::Point| Element { labels, reading: Reading::Number(point.value) };
    match answer {
        logql::Answer::Scalar(point) => Ok(vec![element(Labels::empty(), point)]),
        logql::Answer::Vector(found) => Ok(found.into_iter().map(|(labels, point)| element(labels, point)).collect()),
        logql::Answer::Matrix(_) | logql::Answer::Streams(_) => Err("rule result is not a vector or scalar".to_owned()),
    }
}
