//! A Prometheus, Mimir, Thanos, VictoriaMetrics or Aegis by its address.

use std::time::Duration;

use query::promql::{Answer, Value, VectorSample};
use serde::Deserialize;
use signal::{Labels, Sample, Timestamp};
use store::Series;

use crate::client::Client;
use crate::{NewError, Options, UpstreamError};

/// Asks a server that speaks the Prometheus HTTP API.
#[derive(Clone, Debug)]
pub struct Prometheus(Client);

impl Prometheus {
    /// `url` is what Grafana would be given: the address in front of `/api/v1`.
    ///
    /// # Errors
    /// `NewError` for an address or header that cannot be used.
    pub fn new(url: &str, options: Options) -> Result<Self, NewError> {
        Client::new(url, options).map(Self)
    }

    /// The value of `query` at `at`.
    ///
    /// # Errors
    /// `UpstreamError` when there is no answer, or the server refuses.
    pub async fn query(&self, query: &str, at: Timestamp) -> Result<Answer, UpstreamError> {
        self.ask("api/v1/query", &[("query", query.to_owned()), ("time", seconds(at))]).await
    }

    /// The values of `query` from `start` to `end`, every `step`.
    ///
    /// # Errors
    /// `UpstreamError` when there is no answer, or the server refuses.
    pub async fn query_range(
        &self,
        query: &str,
        start: Timestamp,
        end: Timestamp,
        step: Duration,
    ) -> Result<Answer, UpstreamError> {
        let form = [
            ("query", query.to_owned()),
            ("start", seconds(start)),
            ("end", seconds(end)),
            ("step", step.as_secs_f64().to_string()),
        ];
        self.ask("api/v1/query_range", &form).await
    }

    /// Whether the server answers queries.
    ///
    /// # Errors
    /// `UpstreamError` when it does not.
    pub async fn ping(&self) -> Result<(), UpstreamError> {
        self.ask("api/v1/query", &[("query", "1".to_owned())]).await.map(drop)
    }

    async fn ask(&self, path: &str, form: &[(&str, String)]) -> Result<Answer, UpstreamError> {
        let answer = self.0.post_form(path, form).await?;
        let Envelope { data, warnings, infos } = answer.json()?;
        let value = match data {
            Data::Scalar(point) => Value::Scalar(sample(&point).map_err(|reason| answer.malformed(&reason))?),
            Data::String(Point(at, text)) => {
                Value::String(time(at).ok_or_else(|| answer.malformed(&"time out of range"))?, text)
            }
            Data::Vector(elements) => Value::Vector(
                elements
                    .into_iter()
                    .filter_map(|one| Some((one.metric, one.value?)))
                    .map(|(labels, point)| Ok(VectorSample { labels, sample: sample(&point)?, histogram: None }))
                    .collect::<Result<_, String>>()
                    .map_err(|reason| answer.malformed(&reason))?,
            ),
            Data::Matrix(elements) => Value::Matrix(
                elements
                    .into_iter()
                    .map(|one| {
                        let samples = one.values.iter().map(sample).collect::<Result<_, String>>()?;
                        Ok(Series { labels: one.metric, samples, histograms: Vec::new() })
                    })
                    .collect::<Result<_, String>>()
                    .map_err(|reason| answer.malformed(&reason))?,
            ),
        };
        Ok(Answer { value, warnings, infos })
    }
}

/// Unix seconds with a fraction, exact to the millisecond.
pub(crate) fn seconds(at: Timestamp) -> String {
    let sign = if at.0 < 0 { "-" } else { "" };
    let ms = at.0.unsigned_abs();
    format!("{sign}{}.{:03}", ms / 1000, ms % 1000)
}

fn time(seconds: f64) -> Option<Timestamp> {
    Timestamp::from_secs_f64(seconds)
}

pub(crate) fn sample(Point(at, text): &Point) -> Result<Sample, String> {
    let at = time(*at).ok_or_else(|| format!("time {at} is out of range"))?;
    // Rust reads `+Inf`, `-Inf` and `NaN` as Prometheus writes them.
    let value = text.parse().map_err(|_| format!("`{text}` is not a number"))?;
    Ok(Sample { at, value })
}

#[derive(Deserialize)]
struct Envelope {
    data: Data,
    #[serde(default)]
    warnings: Vec<String>,
    #[serde(default)]
    infos: Vec<String>,
}

/// `[seconds, "value"]`
#[derive(Deserialize)]
pub(crate) struct Point(pub(crate) f64, pub(crate) String);

#[derive(Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "lowercase")]
enum Data {
    Scalar(Point),
    String(Point),
    Vector(Vec<Instant>),
    Matrix(Vec<Range>),
}

/// Native histograms have no `value` and are left out.
#[derive(Deserialize)]
struct Instant {
    metric: Labels,
    value: Option<Point>,
}

#[derive(Deserialize)]
struct Range {
    metric: Labels,
    #[serde(default)]
    values: Vec<Point>,
}
