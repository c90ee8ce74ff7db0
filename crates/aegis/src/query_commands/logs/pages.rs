//! Lines page by page, from a server or a data directory.

use std::time::Duration;

use anyhow::{Context, bail};
use query::Cancel;
use query::logql::{self, Answer, Direction, Expr, RangeQuery};
use serde::Deserialize;
use signal::{Labels, Nanos, Timestamp};
use store::Store;
use tokio::runtime::Runtime;

use super::super::answer::{Answered, Found, Point, Row};
use super::super::place::{Place, Server};
use super::super::{When, answer};
use super::lines::Line;
use super::selector;

/// Lines asked for at once; Loki gives up to 5,000.
const PAGE: usize = 1_000;
const MOST: usize = 5_000;

/// Lines in order, until there are no more or enough.
pub(super) struct Pages<'a> {
    place: &'a Place,
    runtime: Runtime,
    expr: &'a Expr,
    text: &'a str,
    rest: RangeQuery,
    /// Lines at the instant where the next page begins that were given already.
    edge: Vec<Line>,
    is_over: bool,
}

impl<'a> Pages<'a> {
    pub(super) fn new(place: &'a Place, expr: &'a Expr, text: &'a str, question: RangeQuery) -> anyhow::Result<Self> {
        let runtime = runtime()?;
        Ok(Self { place, runtime, expr, text, rest: question, edge: Vec::new(), is_over: false })
    }

    pub(super) fn next(&mut self) -> anyhow::Result<Option<Vec<Line>>> {
        if self.is_over || self.rest.limit == 0 {
            return Ok(None);
        }
        let limit = self.rest.limit.min(PAGE).saturating_add(self.edge.len()).min(MOST);
        let question = RangeQuery { limit, ..self.rest };
        let mut page = match self.place {
            Place::Server(server) => self.runtime.block_on(ask(server, self.text, question))?,
            Place::Store(store) => read(store, self.expr, question)?,
        };
        let count = page.len();
        self.is_over = count < limit;
        // What begins this page ended the one before.
        for known in &self.edge {
            if let Some(place) = page.iter().position(|line| line == known) {
                page.remove(place);
            }
        }
        let Some(last) = page.last().map(|line| line.at) else {
            if !self.is_over {
                bail!("more than {MOST} lines have the same time; they cannot be read in pages");
            }
            return Ok(None);
        };
        if self.edge.first().is_some_and(|line| line.at != last) {
            self.edge.clear();
        }
        self.edge.extend(page.iter().filter(|line| line.at == last).cloned());
        match question.direction {
            Direction::Forward => self.rest.start = last,
            Direction::Backward => self.rest.end = last.plus(Duration::from_nanos(1)),
        }
        page.truncate(self.rest.limit);
        self.rest.limit -= page.len();
        Ok(Some(page))
    }
}

pub(super) fn runtime() -> anyhow::Result<Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

#[derive(Deserialize)]
struct Envelope<T> {
    data: T,
}

#[derive(Deserialize)]
struct Answers {
    #[serde(rename = "resultType")]
    kind: String,
    result: serde_json::Value,
}

/// A stream as the API gives it.
#[derive(Deserialize)]
pub(super) struct Stream {
    stream: Labels,
    values: Vec<(String, String)>,
}

/// The lines of streams, in order of time.
pub(super) fn in_order(streams: Vec<Stream>, direction: Direction) -> anyhow::Result<Vec<Line>> {
    let mut lines = Vec::new();
    for Stream { stream, values } in streams {
        for (at, text) in values {
            let at = at.parse().map(Nanos).with_context(|| format!("`{at}` is no time in nanoseconds"))?;
            lines.push(Line { at, labels: stream.clone(), text });
        }
    }
    sort(&mut lines, direction);
    Ok(lines)
}

fn sort(lines: &mut [Line], direction: Direction) {
    match direction {
        Direction::Forward => lines.sort_by_key(|line| line.at),
        Direction::Backward => lines.sort_by_key(|line| std::cmp::Reverse(line.at)),
    }
}

async fn ask(server: &Server, text: &str, question: RangeQuery) -> anyhow::Result<Vec<Line>> {
    let direction = match question.direction {
        Direction::Forward => "forward",
        Direction::Backward => "backward",
    };
    let form = [
        ("query", text.to_owned()),
        ("start", question.start.0.to_string()),
        ("end", question.end.0.to_string()),
        ("limit", question.limit.to_string()),
        ("direction", direction.to_owned()),
    ];
    let body = server.post_form("loki/api/v1/query_range", &form).await?;
    let strange = || format!("cannot understand the answer of {server}");
    let Envelope { data } = serde_json::from_slice::<Envelope<Answers>>(&body).with_context(strange)?;
    if data.kind != "streams" {
        bail!("{server} answered a log query with a {}", data.kind);
    }
    in_order(serde_json::from_value(data.result).with_context(strange)?, question.direction)
}

fn read(store: &Store, expr: &Expr, question: RangeQuery) -> anyhow::Result<Vec<Line>> {
    let answer = logql::range(expr, &store.snapshot(), question, &Cancel::default())?;
    let Answer::Streams(streams) = answer else { bail!("a log query gave no lines") };
    let mut lines = Vec::new();
    for stream in streams {
        let own = stream.lines.into_iter();
        lines.extend(own.map(|(at, text)| Line { at, labels: stream.labels.clone(), text }));
    }
    sort(&mut lines, question.direction);
    Ok(lines)
}

/// What a metric query gives.
pub(super) fn numbers(place: &Place, expr: &Expr, text: &str, when: When) -> anyhow::Result<Answered> {
    match place {
        Place::Server(server) => runtime()?.block_on(ask_numbers(server, text, when)),
        Place::Store(store) => {
            let (snapshot, cancel) = (store.snapshot(), Cancel::default());
            let answer = match when {
                When::At(at) => logql::instant(expr, &snapshot, at.to_nanos(), &cancel)?,
                When::Over(steps) => {
                    let (start, end) = (steps.start.to_nanos(), steps.end.to_nanos());
                    logql::range(expr, &snapshot, RangeQuery::points(start, end, steps.step), &cancel)?
                }
            };
            Ok(Answered { value: found(answer)?, warnings: Vec::new(), infos: Vec::new() })
        }
    }
}

fn found(answer: Answer) -> anyhow::Result<Found> {
    let point = |point: logql::Point| (point.at.to_timestamp(), Point::Float(point.value));
    Ok(match answer {
        Answer::Scalar(one) => Found::Scalar(one.at.to_timestamp(), one.value),
        Answer::Vector(series) => {
            let rows = series.into_iter().map(|(labels, one)| Row { labels, points: vec![point(one)] });
            Found::Vector(rows.collect())
        }
        Answer::Matrix(series) => {
            let row = |one: logql::RangeSeries| Row {
                labels: one.labels,
                points: one.points.into_iter().map(point).collect(),
            };
            Found::Matrix(series.into_iter().map(row).collect())
        }
        Answer::Streams(_) => bail!("a metric query gave lines"),
    })
}

async fn ask_numbers(server: &Server, text: &str, when: When) -> anyhow::Result<Answered> {
    let nanos = |at: Timestamp| at.to_nanos().0.to_string();
    let mut form = vec![("query", text.to_owned())];
    let path = match when {
        When::At(at) => {
            form.push(("time", nanos(at)));
            "loki/api/v1/query"
        }
        When::Over(steps) => {
            form.push(("start", nanos(steps.start)));
            form.push(("end", nanos(steps.end)));
            form.push(("step", steps.step.as_secs_f64().to_string()));
            "loki/api/v1/query_range"
        }
    };
    let body = server.post_form(path, &form).await?;
    let strange = || format!("cannot understand the answer of {server}");
    let Envelope { data } = serde_json::from_slice::<Envelope<Answers>>(&body).with_context(strange)?;
    if data.kind == "scalar" {
        // Loki gives the time of this one in milliseconds.
        let (ms, value): (i64, String) = serde_json::from_value(data.result).with_context(strange)?;
        let value = Found::Scalar(Timestamp(ms), value.parse().with_context(strange)?);
        return Ok(Answered { value, warnings: Vec::new(), infos: Vec::new() });
    }
    answer::parse(&body).with_context(strange)
}

/// Label sets of streams with lines between two instants.
pub(super) fn streams(
    place: &Place,
    chosen: Option<&str>,
    (start, end): (Nanos, Nanos),
) -> anyhow::Result<Vec<Labels>> {
    let matchers = selector(chosen)?;
    match place {
        Place::Store(store) => Ok(store.snapshot().stream_labels(&matchers, start, end)),
        Place::Server(server) => {
            let mut form = vec![("start", start.0.to_string()), ("end", end.0.to_string())];
            form.extend(chosen.map(|text| ("match[]", text.to_owned())));
            let body = runtime()?.block_on(server.post_form("loki/api/v1/series", &form))?;
            let strange = || format!("cannot understand the answer of {server}");
            let mut found = serde_json::from_slice::<Envelope<Vec<Labels>>>(&body).with_context(strange)?.data;
            found.sort_unstable();
            Ok(found)
        }
    }
}
