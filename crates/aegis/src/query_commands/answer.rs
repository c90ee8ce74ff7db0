//! An answer, wherever it comes from.

use anyhow::{Context, bail};
use query::promql::{self, Value, VectorSample, native};
use serde::Deserialize;
use signal::{Histogram, Labels, Timestamp};
use store::Series;

/// What a query gave, and what its author should know.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Answered {
    pub(super) value: Found,
    pub(super) warnings: Vec<String>,
    pub(super) infos: Vec<String>,
}

/// The four types of PromQL.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Found {
    Scalar(Timestamp, f64),
    String(Timestamp, String),
    /// One point for each series.
    Vector(Vec<Row>),
    Matrix(Vec<Row>),
}

/// The points of one series, ascending in time.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Row {
    pub(super) labels: Labels,
    pub(super) points: Vec<(Timestamp, Point)>,
}

#[derive(Clone, PartialEq, Debug)]
pub(super) enum Point {
    Float(f64),
    Histogram(Shown),
}

/// A native histogram as the API shows it.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Shown {
    pub(super) count: f64,
    pub(super) sum: f64,
    pub(super) buckets: Vec<Bucket>,
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Bucket {
    /// Which bounds are inside: 0 the upper, 1 the lower, 2 none, 3 both.
    pub(super) rule: u8,
    pub(super) lower: f64,
    pub(super) upper: f64,
    pub(super) count: f64,
}

impl From<promql::Answer> for Answered {
    fn from(answer: promql::Answer) -> Self {
        let value = match answer.value {
            Value::Scalar(sample) => Found::Scalar(sample.at, sample.value),
            Value::String(at, text) => Found::String(at, text),
            Value::Vector(found) => Found::Vector(found.into_iter().map(vector_row).collect()),
            Value::Matrix(found) => Found::Matrix(found.into_iter().map(matrix_row).collect()),
        };
        Self { value, warnings: answer.warnings, infos: answer.infos }
    }
}

fn vector_row(one: VectorSample) -> Row {
    let point = match &one.histogram {
        Some(histogram) => Point::Histogram(shown(histogram)),
        None => Point::Float(one.sample.value),
    };
    Row { labels: one.labels, points: vec![(one.sample.at, point)] }
}

fn matrix_row(one: Series) -> Row {
    let floats = one.samples.iter().map(|sample| (sample.at, Point::Float(sample.value)));
    let histograms = one.histograms.iter().map(|sample| (sample.at, Point::Histogram(shown(&sample.histogram))));
    let mut points: Vec<_> = floats.chain(histograms).collect();
    points.sort_by_key(|(at, _)| *at);
    Row { labels: one.labels, points }
}

fn shown(histogram: &Histogram) -> Shown {
    let buckets = native::buckets(histogram).into_iter().filter(|bucket| bucket.count != 0.0);
    let buckets = buckets.map(|bucket| {
        let rule = match (bucket.has_lower, bucket.has_upper) {
            (false, true) => 0,
            (true, false) => 1,
            (false, false) => 2,
            (true, true) => 3,
        };
        Bucket { rule, lower: bucket.lower, upper: bucket.upper, count: bucket.count }
    });
    Shown { count: histogram.count, sum: histogram.sum, buckets: buckets.collect() }
}

/// Reads the envelope of the HTTP API.
pub(super) fn parse(body: &[u8]) -> anyhow::Result<Answered> {
    let Envelope { data, warnings, infos } = serde_json::from_slice(body)?;
    let value = match data {
        Data::Scalar(Pair(at, text)) => Found::Scalar(time(at)?, number(&text)?),
        Data::String(Pair(at, text)) => Found::String(time(at)?, text),
        Data::Vector(found) => Found::Vector(found.into_iter().map(Instant::row).collect::<Result<_, _>>()?),
        Data::Matrix(found) => Found::Matrix(found.into_iter().map(Range::row).collect::<Result<_, _>>()?),
    };
    Ok(Answered { value, warnings, infos })
}

#[derive(Deserialize)]
struct Envelope {
    data: Data,
    #[serde(default)]
    warnings: Vec<String>,
    #[serde(default)]
    infos: Vec<String>,
}

#[derive(Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "lowercase")]
enum Data {
    Scalar(Pair),
    String(Pair),
    Vector(Vec<Instant>),
    Matrix(Vec<Range>),
}

/// `[seconds, "value"]`
#[derive(Deserialize)]
struct Pair(f64, String);

/// `[seconds, {histogram}]`
#[derive(Deserialize)]
struct HistogramPair(f64, Written);

#[derive(Deserialize)]
struct Written {
    count: String,
    sum: String,
    #[serde(default)]
    buckets: Vec<(u8, String, String, String)>,
}

#[derive(Deserialize)]
struct Instant {
    metric: Labels,
    value: Option<Pair>,
    histogram: Option<HistogramPair>,
}

#[derive(Deserialize)]
struct Range {
    metric: Labels,
    #[serde(default)]
    values: Vec<Pair>,
    #[serde(default)]
    histograms: Vec<HistogramPair>,
}

impl Instant {
    fn row(self) -> anyhow::Result<Row> {
        let point = match (self.value, self.histogram) {
            (Some(value), _) => value.point()?,
            (None, Some(histogram)) => histogram.point()?,
            (None, None) => bail!("a series has neither value nor histogram"),
        };
        Ok(Row { labels: self.metric, points: vec![point] })
    }
}

impl Range {
    fn row(self) -> anyhow::Result<Row> {
        let floats = self.values.iter().map(Pair::point);
        let mut points =
            floats.chain(self.histograms.iter().map(HistogramPair::point)).collect::<Result<Vec<_>, _>>()?;
        points.sort_by_key(|(at, _)| *at);
        Ok(Row { labels: self.metric, points })
    }
}

impl Pair {
    fn point(&self) -> anyhow::Result<(Timestamp, Point)> {
        Ok((time(self.0)?, Point::Float(number(&self.1)?)))
    }
}

impl HistogramPair {
    fn point(&self) -> anyhow::Result<(Timestamp, Point)> {
        let Written { count, sum, buckets } = &self.1;
        let mut shown = Shown { count: number(count)?, sum: number(sum)?, buckets: Vec::with_capacity(buckets.len()) };
        for (rule, lower, upper, count) in buckets {
            let (lower, upper, count) = (number(lower)?, number(upper)?, number(count)?);
            shown.buckets.push(Bucket { rule: *rule, lower, upper, count });
        }
        Ok((time(self.0)?, Point::Histogram(shown)))
    }
}

fn time(seconds: f64) -> anyhow::Result<Timestamp> {
    Timestamp::from_secs_f64(seconds).with_context(|| format!("time {seconds} is out of range"))
}

fn number(text: &str) -> anyhow::Result<f64> {
    // Rust reads `+Inf`, `-Inf` and `NaN` as Prometheus writes them.
    text.parse().ok().with_context(|| format!("`{text}` is not a number"))
}
