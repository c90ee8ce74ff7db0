//! Aegis as the demo sees it: its HTTP API and nothing else.

use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::wire::Wire;

/// One entry of the timeline.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Entry {
    pub(crate) seq: u64,
    /// Milliseconds since the Unix epoch.
    pub(crate) at: i64,
    pub(crate) stage: String,
    pub(crate) text: String,
    pub(crate) details: Vec<String>,
}

/// An incident with the times of its life, in milliseconds since the Unix epoch.
#[derive(Clone, PartialEq, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Incident {
    #[serde(deserialize_with = "text_or_number")]
    pub(crate) id: String,
    pub(crate) service: String,
    pub(crate) title: String,
    pub(crate) state: String,
    pub(crate) opened_at: Option<i64>,
    pub(crate) detected_at: Option<i64>,
    pub(crate) diagnosed_at: Option<i64>,
    pub(crate) acted_at: Option<i64>,
    pub(crate) mitigated_at: Option<i64>,
    pub(crate) verified_at: Option<i64>,
    pub(crate) closed_at: Option<i64>,
    pub(crate) verdict: Option<String>,
    pub(crate) cause: Option<Cause>,
    pub(crate) actions: Vec<Acted>,
    pub(crate) pages: bool,
}

/// What Aegis holds to be the cause.
#[derive(Clone, PartialEq, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Cause {
    pub(crate) kind: String,
    pub(crate) service: String,
    pub(crate) revision: Option<u64>,
    pub(crate) title: String,
}

/// Something Aegis did.
#[derive(Clone, PartialEq, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Acted {
    pub(crate) action: Action,
    pub(crate) text: String,
    pub(crate) at: Option<i64>,
    pub(crate) undone: bool,
}

/// The action itself; `from` and `to` are replicas or revisions.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Action {
    pub(crate) kind: String,
    pub(crate) from: Option<u64>,
    pub(crate) to: Option<u64>,
}

impl Action {
    /// The name that policies use.
    pub(crate) fn name(&self) -> String {
        match self.kind.as_str() {
            "scale" if self.to > self.from => "scale_up".to_owned(),
            "scale" => "scale_down".to_owned(),
            kind => kind.to_owned(),
        }
    }
}

impl Incident {
    pub(crate) fn is_open(&self) -> bool {
        self.closed_at.is_none()
    }

    /// Whether Aegis has finished with it: closed it or called a person.
    pub(crate) fn is_settled(&self) -> bool {
        !self.is_open() || self.state == "escalated"
    }

    /// When it began to exist.
    pub(crate) fn began(&self) -> Option<i64> {
        self.opened_at.or(self.detected_at)
    }
}

fn text_or_number<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    Ok(value.as_str().map_or_else(|| value.to_string(), str::to_owned))
}

/// Reads from one Aegis. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Aegis {
    wire: Wire,
    pub(crate) url: String,
}

impl Aegis {
    pub(crate) fn new(url: String) -> Self {
        Self { wire: Wire::new(Duration::from_secs(3)), url }
    }

    pub(crate) async fn is_ready(&self) -> bool {
        let answer = self.wire.get(&format!("{}/-/ready", self.url)).await;
        answer.is_ok_and(|answer| answer.status.is_success())
    }

    /// Timeline entries after `seq`; `None` when Aegis does not answer.
    pub(crate) async fn timeline(&self, after: u64) -> Option<Vec<Entry>> {
        self.json(&format!("/api/v1/timeline?after={after}")).await
    }

    pub(crate) async fn incidents(&self) -> Option<Vec<Incident>> {
        self.json("/api/v1/incidents").await
    }

    pub(crate) async fn kpis(&self) -> Option<serde_json::Value> {
        self.json("/api/v1/kpis").await
    }

    /// The report of one incident, as text.
    pub(crate) async fn report(&self, id: &str) -> Option<String> {
        let answer = self.wire.get(&format!("{}/api/v1/incidents/{id}/report", self.url)).await.ok()?;
        answer.status.is_success().then(|| String::from_utf8_lossy(&answer.body).into_owned())
    }

    /// Whether a query has an answer: the first data has arrived.
    pub(crate) async fn has_data(&self) -> bool {
        let path = "/api/v1/query?query=count(http_requests_total)";
        let found: Option<serde_json::Value> = self.json(path).await;
        let result =
            found.as_ref().and_then(|found| found.pointer("/data/result")).and_then(|result| result.as_array());
        result.is_some_and(|series| !series.is_empty())
    }

    /// Whether PromQL is answered, by an Aegis or any server with the same API.
    pub(crate) async fn answers_queries(&self) -> bool {
        self.json::<serde_json::Value>("/api/v1/query?query=1").await.is_some()
    }

    async fn json<T: DeserializeOwned>(&self, path: &str) -> Option<T> {
        let answer = self.wire.get(&format!("{}{path}", self.url)).await.ok()?;
        if !answer.status.is_success() {
            return None;
        }
        serde_json::from_slice(&answer.body).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_incident_is_read_with_what_is_known_so_far() {
        let text = r#"{"id": 3, "service": "backend", "state": "acting", "opened_at": 5, "closed_at": null, "pages": true,
            "cause": {"kind": "bad_deploy", "service": "backend", "revision": 2, "confidence": 0.9},
            "actions": [{"id": "3/1", "action": {"kind": "roll_back", "from": 2, "to": 1}, "outcome": null}]}"#;
        let incident: Incident = serde_json::from_str(text).unwrap();
        assert_eq!((incident.id.as_str(), incident.is_open(), incident.pages), ("3", true, true));
        assert_eq!(incident.cause.unwrap().revision, Some(2));
        for (action, name) in [
            (r#"{"kind": "scale", "from": 3, "to": 8}"#, "scale_up"),
            (r#"{"kind": "scale", "from": 8, "to": 3}"#, "scale_down"),
            (r#"{"kind": "roll_back", "from": 2, "to": 1}"#, "roll_back"),
            (r#"{"kind": "restart", "revision": 1}"#, "restart"),
        ] {
            assert_eq!(serde_json::from_str::<Action>(action).unwrap().name(), name);
        }
    }
}
