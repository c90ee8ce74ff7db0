//! The store in memory that a test's rules work on.

use std::sync::Arc;
use std::time::Duration;

use query::Cancel;
use query::promql::{self, Expr, Settings};
use signal::{Matcher, SeriesWrite, TimeRange, Timestamp, WriteBatch};
use store::{Series, Store};

use super::series::InputSeries;
use crate::ask::{Ask, Element, elements};

pub(crate) struct Bench {
    store: Store,
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
    fn vector(&mut self, expr: &Arc<Expr>, at: Timestamp) -> Result<Vec<Element>, String> {
        let answer = promql::instant(expr, &self.store.snapshot(), at, &self.settings, &Cancel::default());
        elements(answer.map_err(|error| error.to_string())?.value)
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
