//! Aegis' own API and its status page: incidents and their timeline, KPIs, policy questions, anomaly questions, pause.
//!
//! These routes get no CORS headers, and everything that changes something demands a JSON content type: a page of
//! another origin can neither read nor post here.

mod pages;
mod templates;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use audit::{Timeline, kpis, report};
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use control::IncidentId;
use detect::templates::Template;
use detect::{Baseline, MetricPoint, Watch, analyse};
use policy::{Policy, Question};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{DeserializeOwned, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::json;
use signal::Timestamp;

use crate::handles::Clock;
use crate::params::{Params, body, content_type};
use crate::reply::Refusal;

/// Longest body of a question.
const BODY_BYTES: usize = 4 * 1024 * 1024;
/// Entries of the timeline in one answer.
const PAGE: usize = 1000;

/// Counts a policy evaluation: action and `allow` or `deny`.
pub type Evaluated = Arc<dyn Fn(&str, &str) + Send + Sync>;
/// Asks the control loop to stop or allow acting: who, and whether to stop.
pub type Pause = Arc<dyn Fn(String, bool) + Send + Sync>;

/// Lists the log templates that are known.
pub type LogTemplates = Arc<dyn Fn() -> Vec<Template> + Send + Sync>;

/// What Aegis' own API needs. Cheap to clone.
#[derive(Clone)]
pub struct Operator {
    /// Incidents and their steps; written by the control loop.
    pub timeline: Arc<RwLock<Timeline>>,
    /// The policies in force.
    pub policy: Arc<Policy>,
    /// What is normal; written by the detectors.
    pub baselines: Arc<RwLock<Vec<Baseline>>>,
    /// What is watched.
    pub watches: Arc<Vec<Watch>>,
    /// Counts policy evaluations.
    pub evaluated: Evaluated,
    /// Stops or allows acting.
    pub pause: Pause,
    /// The log templates that are known.
    pub templates: LogTemplates,
    /// What time it is.
    pub now: Clock,
}

/// The routes of Aegis' own API and the status page.
pub fn operator_router(operator: Operator) -> Router {
    Router::new()
        .route("/api/v1/incidents", get(incidents))
        .route("/api/v1/incidents/{id}", get(incident))
        .route("/api/v1/incidents/{id}/report", get(incident_report))
        .route("/api/v1/timeline", get(timeline))
        .route("/api/v1/kpis", get(indicators))
        .route("/api/v1/policy/evaluate", post(evaluate))
        .route("/api/v1/detect-anomaly", post(detect_anomaly))
        .route("/api/v1/automation/pause", post(pause))
        .route("/api/v1/log-templates", get(templates::list))
        .with_state(operator)
        .merge(pages::routes())
}

async fn incidents(State(operator): State<Operator>) -> Response {
    Json(&read(&operator).incidents).into_response()
}

async fn incident(State(operator): State<Operator>, Path(id): Path<String>) -> Response {
    let timeline = read(&operator);
    let Some(incident) = number(&id).and_then(|id| timeline.incident(id)) else { return unknown(&id) };
    let steps: Vec<_> = timeline.entries.iter().filter(|entry| entry.incident == incident.id).collect();
    Json(json!({ "incident": incident, "timeline": steps })).into_response()
}

async fn incident_report(State(operator): State<Operator>, Path(id): Path<String>) -> Response {
    match number(&id).and_then(|id| report(&read(&operator), id)) {
        Some(text) => text.into_response(),
        None => unknown(&id),
    }
}

async fn timeline(State(operator): State<Operator>, params: Params) -> Response {
    let after = match params.get("after").map(str::parse::<u64>) {
        None => 0,
        Some(Ok(after)) => after,
        Some(Err(_)) => return problem(&Refusal::parameter("after", "it must be the number of an entry")),
    };
    let timeline = read(&operator);
    let entries: Vec<_> = timeline.entries.iter().filter(|entry| entry.seq > after).take(PAGE).collect();
    Json(entries).into_response()
}

async fn indicators(State(operator): State<Operator>) -> Response {
    Json(kpis(&read(&operator))).into_response()
}

async fn evaluate(State(operator): State<Operator>, request: Request) -> Response {
    let question: Question = match from_json(request).await {
        Ok(question) => question,
        Err(refusal) => return problem(&refusal),
    };
    let evaluation = operator.policy.evaluate(&question);
    // The action comes from outside; only names that a policy knows may become label values.
    let action = if operator.policy.knows_action(&question.action) { question.action.as_str() } else { "unknown" };
    (operator.evaluated)(action, if evaluation.allowed { "allow" } else { "deny" });
    Json(json!({
        "allowed": evaluation.allowed,
        "reason": evaluation.reason,
        "appliedPolicies": evaluation.applied_policies,
    }))
    .into_response()
}

/// One point of the list in a `detect-anomaly` question.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PointJson {
    metric_type: String,
    value: f64,
    timestamp: TimeJson,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

/// RFC 3339 or Unix seconds.
enum TimeJson {
    Number(f64),
    Text(String),
}

impl<'de> Deserialize<'de> for TimeJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl Visitor<'_> for Either {
            type Value = TimeJson;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a time in RFC 3339 or unix seconds")
            }

            fn visit_f64<E>(self, seconds: f64) -> Result<TimeJson, E> {
                Ok(TimeJson::Number(seconds))
            }

            fn visit_i64<E>(self, seconds: i64) -> Result<TimeJson, E> {
                Ok(TimeJson::Number(seconds as f64))
            }

            fn visit_u64<E>(self, seconds: u64) -> Result<TimeJson, E> {
                Ok(TimeJson::Number(seconds as f64))
            }

            fn visit_str<E>(self, text: &str) -> Result<TimeJson, E> {
                Ok(TimeJson::Text(text.to_owned()))
            }
        }

        deserializer.deserialize_any(Either)
    }
}

/// The list alone, or under the name `metrics`.
struct PointsJson(Vec<PointJson>);

// By hand, because an untagged enum would forget what exactly is wrong, and where.
impl<'de> Deserialize<'de> for PointsJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Named {
            metrics: Vec<PointJson>,
        }

        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = PointsJson;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of metrics, alone or under `metrics`")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<PointsJson, A::Error> {
                Deserialize::deserialize(SeqAccessDeserializer::new(list)).map(PointsJson)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<PointsJson, A::Error> {
                Named::deserialize(MapAccessDeserializer::new(map)).map(|named| PointsJson(named.metrics))
            }
        }

        deserializer.deserialize_any(Either)
    }
}

async fn detect_anomaly(State(operator): State<Operator>, request: Request) -> Response {
    let points = match from_json::<PointsJson>(request).await.and_then(points) {
        Ok(points) => points,
        Err(refusal) => return problem(&refusal),
    };
    let baselines = operator.baselines.read().unwrap_or_else(PoisonError::into_inner).clone();
    let watches = Arc::clone(&operator.watches);
    // A list of megabytes takes long enough to be kept off the request threads.
    match tokio::task::spawn_blocking(move || analyse(&points, &watches, &baselines)).await {
        Ok(analysis) => Json(analysis).into_response(),
        Err(_) => problem(&Refusal::internal("the analysis failed unexpectedly")),
    }
}

fn points(PointsJson(points): PointsJson) -> Result<Vec<MetricPoint>, Refusal> {
    if points.is_empty() {
        return Err(Refusal::bad("the list of metrics is empty"));
    }
    let read = |(at, point): (usize, PointJson)| {
        let timestamp = match &point.timestamp {
            TimeJson::Number(seconds) => Timestamp::from_secs_f64(*seconds),
            TimeJson::Text(text) => Timestamp::parse(text).ok(),
        };
        let timestamp = timestamp
            .ok_or_else(|| Refusal::bad(format!("metric {at}: `timestamp` is neither RFC 3339 nor unix seconds")))?;
        Ok(MetricPoint { metric_type: point.metric_type, value: point.value, timestamp, labels: point.labels })
    };
    points.into_iter().enumerate().map(read).collect()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PauseJson {
    paused: bool,
    by: String,
}

async fn pause(State(operator): State<Operator>, request: Request) -> Response {
    match from_json::<PauseJson>(request).await {
        Ok(asked) if asked.by.trim().is_empty() => problem(&Refusal::bad("`by` must say who pauses or resumes")),
        Ok(asked) => {
            (operator.pause)(asked.by, asked.paused);
            Json(json!({ "paused": asked.paused, "at": (operator.now)().to_string() })).into_response()
        }
        Err(refusal) => problem(&refusal),
    }
}

async fn from_json<T: DeserializeOwned>(request: Request) -> Result<T, Refusal> {
    let kind = content_type(request.headers());
    if kind != "application/json" {
        return Err(Refusal::unsupported(format!("content type `{kind}` is not accepted; send application/json")));
    }
    let bytes = body(request.into_body(), BODY_BYTES).await?;
    serde_json::from_slice(&bytes).map_err(|error| Refusal::bad(format!("the body is not what is asked for: {error}")))
}

fn read(operator: &Operator) -> std::sync::RwLockReadGuard<'_, Timeline> {
    operator.timeline.read().unwrap_or_else(PoisonError::into_inner)
}

fn number(id: &str) -> Option<IncidentId> {
    id.parse().ok().map(IncidentId)
}

fn unknown(id: &str) -> Response {
    problem(&Refusal::not_found(format!("there is no incident `{id}`")))
}

/// RFC 9457.
fn problem(refusal: &Refusal) -> Response {
    let body = json!({
        "type": "about:blank",
        "title": refusal.status.canonical_reason().unwrap_or("Error"),
        "status": refusal.status.as_u16(),
        "detail": refusal.text,
    });
    let kind = [(axum::http::header::CONTENT_TYPE, "application/problem+json")];
    (refusal.status, kind, body.to_string()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_metrics_comes_in_two_shapes_and_mistakes_are_named() {
        let one = r#"{"metric_type":"error_rate","value":0.08,"timestamp":"2024-01-25T14:30:00Z"}"#;
        let read = |text: &str| serde_json::from_str::<PointsJson>(text).map_err(|error| error.to_string()).map(points);
        for text in
            [format!("[{one}]"), format!("{{\"metrics\":[{one}]}}"), one_at("1706193000"), one_at("1706193000.0")]
        {
            let found = read(&text).unwrap().unwrap();
            assert_eq!((found[0].timestamp, found[0].value), (Timestamp(1_706_193_000_000), 0.08), "{text}");
        }
        for (case, text, says) in [
            ("a number", "7", "expected a list of metrics, alone or under `metrics`"),
            ("another name", r#"{"points":[]}"#, "unknown field `points`, expected `metrics`"),
            ("a misspelt key", r#"[{"metrik_type":"error_rate"}]"#, "unknown field `metrik_type`"),
            ("no value", r#"[{"metric_type":"error_rate","timestamp":0}]"#, "missing field `value`"),
            ("a time that is none", &one_at("true"), "expected a time in RFC 3339 or unix seconds"),
        ] {
            let error = read(text).err().unwrap_or_default();
            assert!(error.contains(says) && error.contains("at line 1"), "{case}: `{says}` in `{error}`");
        }
    }

    fn one_at(time: &str) -> String {
        format!("[{{\"metric_type\":\"error_rate\",\"value\":0.08,\"timestamp\":{time}}}]")
    }
}
