//! The store in memory that a test's rules work on.

use std::time::Duration;

use query::Cancel;
use query::logql;
use query::promql::{self, Settings};
use signal::{Matcher, SeriesWrite, TimeRange, Timestamp, WriteBatch};
use store::{Series, Store};

use super::series::InputSeries;
use crate::ask::{Ask, Element, elements, log_elements};
use crate::question::Question;

pub(crate) struct Bench {
    pub(crate) store: Store,
    settings: Settings,
    /// Inputs up to here are in the store.
    loaded: Option<Timestamp>,
}

impl Bench {
    pub(crate) fn new(evaluation_interval: Duration) -> Self {
        let settings = Settings { subquery_step: evaluation_interval, ..Settings::default() };
        Self { store: Store::in_memory(), settings, loaded: None }
    }

    /// Writes what the series have until `now`: rules see no samples from their future.
    pub(crate) fn load(&mut self, series: &[InputSeries], now: Timestamp) -> Result<(), String> {
        let batch: Vec<SeriesWrite> = series.iter().filter_map(|one| one.between(self.loaded, now)).collect();
        self.loaded = Some(now);
        if batch.is_empty() { Ok(()) } else { self.append(batch) }
    }
}

impl Ask for Bench {
    fn vector(&mut self, question: &Question, at: Timestamp) -> Result<Vec<Element>, String> {
        let (snapshot, cancel) = (self.store.snapshot(), Cancel::default());
        match question {
            Question::Metrics(expr) => {
                let answer = promql::instant(expr, &snapshot, at, &self.settings, &cancel);
                elements(answer.map_err(|error| error.to_string())?.value)
            }
            Question::Logs(expr) => log_elements(
                logql::instant(expr, &snapshot, at.to_nanos(), &cancel).map_err(|error| error.to_string())?,
            ),
        }
    }

    fn series(&mut self, matchers: Vec<Matcher>, range: TimeRange) -> Result<Vec<Series>, String> {
        Ok(self.store.snapshot().select(&matchers, range))
    }

    fn append(&mut self, series: Vec<SeriesWrite>) -> Result<(), String> {
        let written = self.store.append(&[WriteBatch { series, ..WriteBatch::default() }]);
        match written.map_err(|error| error.to_string())?.conflicts.first() {
            None => Ok(()),
            Some(conflict) => Err(format!("duplicate sample for timestamp: {} at {}", conflict.series, conflict.at)),
        }
    }

    fn lap(&mut self) -> Duration {
        Duration::ZERO
    }
}
