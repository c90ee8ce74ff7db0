//! Where questions are answered: the own store, or the servers the user already has.

use std::sync::Arc;
use std::time::Duration;

use detect::templates;
use diagnose::{Answer, Evidence, Item, Operations, Question, SeriesAnswer};
use futures_util::future::join_all;
use local::LocalDriver;
use query::promql::{self, Steps, Value};
use query::{logql, traceql};
use signal::{Nanos, Span, TimeRange, Timestamp};
use store::Series;
use tokio::time::timeout;
use web::Reader;

use crate::clock;
use crate::instruments::Instruments;

/// How long one question may take; the rest of the evidence does not wait longer.
const DEADLINE: Duration = Duration::from_secs(8);
const METRICS: &str = "the source of metrics";
/// Traces fetched from a remote server side by side.
const AT_ONCE: usize = 8;

/// The three signals and the drivers, as far as questions are concerned.
pub(crate) struct Sources {
    pub(crate) reader: Reader,
    pub(crate) metrics: Option<upstream::Prometheus>,
    pub(crate) logs: Option<upstream::Loki>,
    pub(crate) traces: Option<upstream::Tempo>,
    pub(crate) driver: Option<Arc<LocalDriver>>,
    pub(crate) instruments: Arc<Instruments>,
}

impl Sources {
    /// Answers all questions side by side; what cannot be had says why.
    pub(crate) async fn answer_all(&self, questions: Vec<Question>) -> Evidence {
        let answers = questions
            .iter()
            .map(|question| async { in_time(asked_of(question), self.answer(question)).await.flatten() });
        let answers = join_all(answers).await;
        let items = questions.into_iter().zip(answers).map(|(question, answer)| {
            self.instruments.answered(answer.is_ok());
            Item { question, answer: answer.unwrap_or_else(Answer::Unavailable) }
        });
        Evidence { items: items.collect(), gathered_at: clock::now() }
    }

    async fn answer(&self, question: &Question) -> Result<Answer, String> {
        match question {
            Question::Metric { query, start, end, step_ms, .. } => {
                let step = Duration::from_millis(u64::try_from(*step_ms).unwrap_or(1).max(1));
                let series = self.range(query, Steps { start: *start, end: *end, step }).await?;
                let series = series.into_iter().map(|series| {
                    SeriesAnswer::new(series.labels, series.samples.iter().map(|sample| (sample.at.0, sample.value)))
                });
                Ok(Answer::Series(series.collect()))
            }
            Question::Templates { query, start, end, limit, .. } => {
                let lines = self.lines(query, *start, *end, *limit).await?;
                let lines = lines.iter().map(|(at, line)| (*at, line.as_str()));
                Ok(Answer::Templates(templates::mine(lines)))
            }
            Question::Operations { query, start, end, limit, .. } => {
                let range = TimeRange::new(*start, *end);
                Ok(Answer::Operations(self.operations(query, range, *limit).await?))
            }
            Question::Workloads { service: _ } => {
                let Some(driver) = self.driver.clone() else { return Err("no driver is configured".to_owned()) };
                let asked = tokio::task::spawn_blocking(move || driver.workloads());
                let workloads = asked.await.map_err(|error| error.to_string())?;
                workloads.map(Answer::Workloads).map_err(|error| error.to_string())
            }
        }
    }

    /// A PromQL range query.
    pub(crate) async fn range(&self, query: &str, steps: Steps) -> Result<Vec<Series>, String> {
        let value = match &self.metrics {
            Some(remote) => {
                in_time(METRICS, remote.query_range(query, steps.start, steps.end, steps.step))
                    .await?
                    .map_err(text)?
                    .value
            }
            None => {
                let expr = promql::parse(query).map_err(text)?;
                let settings = promql::Settings::default();
                let run = self.reader.run(Some(DEADLINE), move |snapshot, cancel| {
                    promql::range(&expr, snapshot, steps, &settings, cancel)
                });
                run.await.map_err(text)?.map_err(text)?.value
            }
        };
        match value {
            Value::Matrix(series) => Ok(series),
            Value::Scalar(_) | Value::Vector(_) | Value::String(..) => Err("a range query gave no matrix".to_owned()),
        }
    }

    /// A PromQL instant query whose answer is a vector.
    pub(crate) async fn vector(&self, query: &str, at: Timestamp) -> Result<Vec<(signal::Labels, f64)>, String> {
        let value = match &self.metrics {
            Some(remote) => in_time(METRICS, remote.query(query, at)).await?.map_err(text)?.value,
            None => {
                let expr = promql::parse(query).map_err(text)?;
                let settings = promql::Settings::default();
                let run = self.reader.run(Some(DEADLINE), move |snapshot, cancel| {
                    promql::instant(&expr, snapshot, at, &settings, cancel)
                });
                run.await.map_err(text)?.map_err(text)?.value
            }
        };
        match value {
            Value::Vector(vector) => Ok(vector
                .into_iter()
                .filter(|one| one.histogram.is_none())
                .map(|one| (one.labels, one.sample.value))
                .collect()),
            Value::Scalar(sample) => Ok(vec![(signal::Labels::empty(), sample.value)]),
            Value::Matrix(_) | Value::String(..) => Err("the query gives no vector".to_owned()),
        }
    }

    async fn lines(
        &self,
        query: &str,
        start: Timestamp,
        end: Timestamp,
        limit: u32,
    ) -> Result<Vec<(Nanos, String)>, String> {
        let answer = match &self.logs {
            Some(remote) => {
                let found = remote.query_range(query, start.to_nanos(), end.to_nanos(), limit).await.map_err(text)?;
                return Ok(found.into_iter().flat_map(|stream| stream.lines).collect());
            }
            None => {
                let expr = logql::parse(query).map_err(text)?;
                let asked = logql::RangeQuery::lines(start.to_nanos(), end.to_nanos(), limit as usize);
                let run = self
                    .reader
                    .run(Some(DEADLINE), move |snapshot, cancel| logql::range(&expr, snapshot, asked, cancel));
                run.await.map_err(text)?.map_err(text)?
            }
        };
        match answer {
            logql::Answer::Streams(streams) => Ok(streams.into_iter().flat_map(|stream| stream.lines).collect()),
            _ => Err("the query gives no lines".to_owned()),
        }
    }

    async fn operations(&self, query: &str, range: TimeRange, limit: u32) -> Result<Operations, String> {
        let traces: Vec<Vec<Arc<Span>>> = match &self.traces {
            Some(remote) => remote_traces(remote, query, range, limit).await?,
            None => {
                let expr = traceql::parse(query).map_err(text)?;
                let run = self.reader.run(Some(DEADLINE), move |snapshot, cancel| {
                    let hits = traceql::search(&expr, snapshot, range, limit as usize, cancel)?;
                    Ok(hits.iter().filter_map(|hit| snapshot.trace(hit.id)).map(|trace| trace.spans).collect())
                });
                let found: Result<_, traceql::EvalError> = run.await.map_err(text)?;
                found.map_err(text)?
            }
        };
        Ok(diagnose::operations(&traces))
    }
}

/// Whole traces of a search, a few at a time.
async fn remote_traces(
    remote: &upstream::Tempo,
    query: &str,
    range: TimeRange,
    limit: u32,
) -> Result<Vec<Vec<Arc<Span>>>, String> {
    let found = remote.search(query, range, limit).await.map_err(text)?;
    let mut traces = Vec::with_capacity(found.len());
    for some in found.chunks(AT_ONCE) {
        let spans = join_all(some.iter().map(|hit| remote.trace(hit.id))).await;
        for spans in spans {
            traces.push(spans.map_err(text)?.into_iter().map(Arc::new).collect());
        }
    }
    Ok(traces)
}

/// A server that hangs must not hold up the rest.
async fn in_time<T>(of: &str, asked: impl Future<Output = T>) -> Result<T, String> {
    timeout(DEADLINE, asked).await.map_err(|_| format!("{of} gave no answer within {} s", DEADLINE.as_secs()))
}

fn asked_of(question: &Question) -> &'static str {
    match question {
        Question::Metric { .. } => METRICS,
        Question::Templates { .. } => "the source of logs",
        Question::Operations { .. } => "the source of traces",
        Question::Workloads { .. } => "the driver",
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
