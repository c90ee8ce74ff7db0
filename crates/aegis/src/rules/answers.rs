//! How rules ask and write while Aegis runs.

use std::sync::Arc;
use std::time::Duration;

use query::{logql, promql};
use rules::{Ask, Element, Question, Reading, elements, log_elements};
use signal::{Matcher, SeriesWrite, TimeRange, Timestamp, WriteBatch};
use store::Series;
use tokio::runtime::Handle;

use super::Ruling;
use crate::clock::Stopwatch;

/// Questions of one evaluation; they are asked from a thread that may wait.
pub(super) struct Answers<'a> {
    ruling: &'a Ruling,
    runtime: &'a Handle,
    lap: Stopwatch,
}

impl<'a> Answers<'a> {
    pub(super) fn new(ruling: &'a Ruling, runtime: &'a Handle) -> Self {
        Self { ruling, runtime, lap: Stopwatch::start() }
    }
}

impl Ask for Answers<'_> {
    /// From the same source as every other question of Aegis; lines are always asked of the own store, since another
    /// Loki has a ruler of its own.
    fn vector(&mut self, question: &Question, at: Timestamp) -> Result<Vec<Element>, String> {
        let sources = &self.ruling.sources;
        let expr = match question {
            Question::Metrics(expr) => expr,
            Question::Logs(expr) => {
                let expr = Arc::clone(expr);
                let asked = sources
                    .reader
                    .run(None, move |snapshot, cancel| logql::instant(&expr, snapshot, at.to_nanos(), cancel));
                let answer = self.runtime.block_on(asked).map_err(|error| error.to_string())?;
                return log_elements(answer.map_err(|error| error.to_string())?);
            }
        };
        if sources.metrics.is_some() {
            let found = self.runtime.block_on(sources.vector(&expr.to_string(), at))?;
            let one = |(labels, value)| Element { labels, reading: Reading::Number(value) };
            return Ok(found.into_iter().map(one).collect());
        }
        let expr = Arc::clone(expr);
        let settings = self.ruling.promql;
        let asked =
            sources.reader.run(None, move |snapshot, cancel| promql::instant(&expr, snapshot, at, &settings, cancel));
        let answer = self.runtime.block_on(asked).map_err(|error| error.to_string())?;
        elements(answer.map_err(|error| error.to_string())?.value)
    }

    /// Always from the own store: that is where rules write.
    fn series(&mut self, matchers: Vec<Matcher>, range: TimeRange) -> Result<Vec<Series>, String> {
        Ok(self.ruling.sources.reader.snapshot().select(&matchers, range))
    }

    fn append(&mut self, series: Vec<SeriesWrite>) -> Result<(), String> {
        let batch = WriteBatch { series, ..WriteBatch::default() };
        let written = self.runtime.block_on(self.ruling.ingress.write(batch)).map_err(|error| error.to_string())?;
        if let Some(refused) = written.rejected.first() {
            return Err(format!("{} samples were refused: {}", refused.count, refused.reason));
        }
        match written.receipt.conflicts.first() {
            None => Ok(()),
            Some(conflict) => {
                Err(format!("duplicate sample for timestamp: {} has another value at {}", conflict.series, conflict.at))
            }
        }
    }

    fn lap(&mut self) -> Duration {
        let took = self.lap.elapsed();
        self.lap = Stopwatch::start();
        took
    }
}
