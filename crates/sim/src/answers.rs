//! Answers questions from the store with the real query languages, as the binary does.

use std::time::Duration;

use detect::templates;
use diagnose::{Answer, Question, SeriesAnswer, Workload};
use query::promql::{self, Steps, Value};
use query::{Cancel, logql, traceql};
use signal::{Labels, TimeRange, Timestamp};
use store::{Series, Snapshot};

/// What a question is answered from.
pub(crate) struct Sources<'a> {
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) workload: &'a Workload,
}

impl Sources<'_> {
    pub(crate) fn answer(&self, question: &Question) -> Answer {
        self.try_answer(question).unwrap_or_else(Answer::Unavailable)
    }

    fn try_answer(&self, question: &Question) -> Result<Answer, String> {
        match question {
            Question::Metric { query, start, end, step_ms, .. } => {
                let step = Duration::from_millis(u64::try_from(*step_ms).unwrap_or(1).max(1));
                let series = range(self.snapshot, query, Steps { start: *start, end: *end, step })?;
                let series = series.into_iter().map(|series| {
                    SeriesAnswer::new(series.labels, series.samples.iter().map(|sample| (sample.at.0, sample.value)))
                });
                Ok(Answer::Series(series.collect()))
            }
            Question::Templates { query, start, end, limit, .. } => {
                let expr = logql::parse(query).map_err(text)?;
                let asked = logql::RangeQuery::lines(start.to_nanos(), end.to_nanos(), *limit as usize);
                match logql::range(&expr, self.snapshot, asked, &Cancel::default()).map_err(text)? {
                    logql::Answer::Streams(streams) => {
                        let lines = streams.iter().flat_map(|stream| &stream.lines);
                        Ok(Answer::Templates(templates::mine(lines.map(|(at, line)| (*at, line.as_str())))))
                    }
                    logql::Answer::Vector(_) | logql::Answer::Matrix(_) | logql::Answer::Scalar(_) => {
                        Err("the query gives no lines".to_owned())
                    }
                }
            }
            Question::Operations { query, start, end, limit, .. } => {
                self.operations(query, TimeRange::new(*start, *end), *limit as usize)
            }
            Question::Workloads { .. } => Ok(Answer::Workloads(vec![self.workload.clone()])),
        }
    }

    fn operations(&self, query: &str, range: TimeRange, limit: usize) -> Result<Answer, String> {
        let expr = traceql::parse(query).map_err(text)?;
        let hits = traceql::search(&expr, self.snapshot, range, limit, &Cancel::default()).map_err(text)?;
        let found = hits.iter().filter_map(|hit| self.snapshot.trace(hit.id));
        let traces: Vec<_> = found.map(|trace| trace.spans).collect();
        Ok(Answer::Operations(diagnose::operations(&traces)))
    }
}

/// An instant query whose answer is a vector.
pub(crate) fn vector(snapshot: &Snapshot, query: &str, at: Timestamp) -> Result<Vec<(Labels, f64)>, String> {
    let expr = promql::parse(query).map_err(text)?;
    let settings = promql::Settings::default();
    let answer = promql::instant(&expr, snapshot, at, &settings, &Cancel::default()).map_err(text)?;
    match answer.value {
        Value::Vector(vector) => Ok(vector
            .into_iter()
            .filter(|one| one.histogram.is_none())
            .map(|one| (one.labels, one.sample.value))
            .collect()),
        Value::Scalar(_) | Value::Matrix(_) | Value::String(..) => Err("the query gives no vector".to_owned()),
    }
}

/// A range query.
pub(crate) fn range(snapshot: &Snapshot, query: &str, steps: Steps) -> Result<Vec<Series>, String> {
    let expr = promql::parse(query).map_err(text)?;
    let settings = promql::Settings::default();
    match promql::range(&expr, snapshot, steps, &settings, &Cancel::default()).map_err(text)?.value {
        Value::Matrix(series) => Ok(series),
        Value::Scalar(_) | Value::Vector(_) | Value::String(..) => Err("a range query gave no matrix".to_owned()),
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
