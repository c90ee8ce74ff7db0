//! A Loki or Aegis by its address.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use signal::{Labels, Nanos};

use crate::client::Client;
use crate::{NewError, Options, UpstreamError};

/// Asks a server that speaks the Loki HTTP API.
#[derive(Clone, Debug)]
pub struct Loki(Client);

/// Lines that share a label set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LokiStream {
    /// Stream labels, with what parsers added.
    pub labels: Labels,
    /// Newest first.
    pub lines: Vec<(Nanos, String)>,
}

impl Loki {
    /// `url` is the address in front of `/loki/api/v1`.
    ///
    /// # Errors
    /// `NewError` for an address or header that cannot be used.
    pub fn new(url: &str, options: Options) -> Result<Self, NewError> {
        Client::new(url, options).map(Self)
    }

    /// The newest `limit` lines that a log query finds from `start` to `end`.
    ///
    /// # Errors
    /// `UpstreamError` when there is no answer, the server refuses, or the query asks for numbers.
    pub async fn query_range(
        &self,
        query: &str,
        start: Nanos,
        end: Nanos,
        limit: u32,
    ) -> Result<Vec<LokiStream>, UpstreamError> {
        let parameters = [
            ("query", query.to_owned()),
            ("start", start.0.to_string()),
            // Loki leaves the end out.
            ("end", end.0.saturating_add(1).to_string()),
            ("limit", limit.to_string()),
            ("direction", "backward".to_owned()),
        ];
        let answer = self.0.get("loki/api/v1/query_range", &parameters, "application/json").await?;
        let Envelope { data } = answer.json()?;
        if data.result_type != "streams" {
            return Err(answer.malformed(&format!("expected `streams`, found `{}`", data.result_type)));
        }
        let result: Vec<Stream> = serde_json::from_value(data.result).map_err(|error| answer.malformed(&error))?;
        let mut streams = Vec::new();
        for Stream { stream, values } in result {
            let mut lines = Vec::with_capacity(values.len());
            for value in values {
                // A third element, if any, repeats what the labels say.
                let mut parts = value.into_iter();
                let (Some(Value::String(at)), Some(Value::String(line))) = (parts.next(), parts.next()) else {
                    return Err(answer.malformed(&"a line is not `[\"nanoseconds\", \"text\"]`"));
                };
                let at = at.parse().map_err(|_| answer.malformed(&format!("`{at}` is not a time in nanoseconds")))?;
                lines.push((Nanos(at), line));
            }
            streams.push(LokiStream { labels: Labels::from_pairs(stream), lines });
        }
        Ok(streams)
    }

    /// Whether the server answers queries.
    ///
    /// # Errors
    /// `UpstreamError` when it does not.
    pub async fn ping(&self) -> Result<(), UpstreamError> {
        self.0.get("loki/api/v1/labels", &[], "application/json").await.map(drop)
    }
}

#[derive(Deserialize)]
struct Envelope {
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    #[serde(rename = "resultType")]
    result_type: String,
    result: Value,
}

#[derive(Deserialize)]
struct Stream {
    stream: BTreeMap<String, String>,
    values: Vec<Vec<Value>>,
}
