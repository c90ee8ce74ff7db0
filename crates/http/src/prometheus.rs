//! The Prometheus HTTP API, as Prometheus 3 speaks it.

mod answer;
mod federate;
mod rules;
mod status;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::{get, post};
use query::promql;
use signal::{Matcher, TimeRange, Timestamp};

use crate::handles::{BuildInfo, Clock, Ingress, Reader, Views};
use crate::json;
use crate::params::{Params, signed_duration};
use crate::reply::{Enveloped, Refusal};

/// What these routes need.
#[derive(Clone)]
pub(crate) struct Handles {
    pub(crate) ingress: Ingress,
    pub(crate) reader: Reader,
    pub(crate) views: Views,
    pub(crate) now: Clock,
    pub(crate) limits: ingest::Limits,
    pub(crate) build: BuildInfo,
}

/// Most points per series that a range query may ask for.
const MAX_POINTS: i64 = 11_000;

pub(crate) use answer::{matrix_element, vector_element};
pub(crate) use write::{refused, sentence};

type Reply = Result<Response, Enveloped>;

/// `/api/v1/*` and `/prometheus/api/v1/*`, `/federate`.
pub(crate) fn routes(handles: Handles) -> Router {
    let api = Router::new()
        .route("/query", get(instant).post(instant))
        .route("/query_range", get(range).post(range))
        .route("/query_exemplars", get(exemplars).post(exemplars))
        .route("/format_query", get(format_query).post(format_query))
        .route("/series", get(series).post(series))
        .route("/labels", get(label_names).post(label_names))
        .route("/label/{name}/values", get(label_values))
        .route("/metadata", get(metadata))
        .route("/write", post(write::post))
        .route("/push", post(write::post))
        .merge(rules::routes())
        .merge(status::routes());
    Router::new()
        .nest("/api/v1", api.clone())
        .nest("/prometheus/api/v1", api)
        .route("/federate", get(federate::get))
        .route("/prometheus/federate", get(federate::get))
        .with_state(handles)
}

/// The knobs that instant and range queries share.
struct Knobs {
    settings: promql::Settings,
    timeout: Option<Duration>,
    limit: Option<usize>,
}

fn knobs(params: &Params) -> Result<Knobs, Refusal> {
    let mut settings = promql::Settings::default();
    if let Some(lookback) = params.duration("lookback_delta")? {
        if lookback.is_zero() {
            return Err(Refusal::parameter("lookback_delta", "it must be positive"));
        }
        settings.lookback = lookback;
    }
    Ok(Knobs { settings, timeout: params.duration("timeout")?, limit: params.limit("limit")? })
}

async fn instant(State(handles): State<Handles>, params: Params) -> Reply {
    let at = params.time("time")?.unwrap_or_else(|| (handles.now)());
    let Knobs { settings, timeout, limit } = knobs(&params)?;
    let expr = promql::parse(params.get("query").unwrap_or_default())?;
    let body = handles
        .reader
        .run(timeout, move |snapshot, cancel| {
            let answer = promql::instant(&expr, snapshot, at, &settings, cancel)?;
            Ok::<_, promql::EvalError>(answer::query(&answer, limit))
        })
        .await??;
    Ok(json::response(body))
}

async fn range(State(handles): State<Handles>, params: Params) -> Reply {
    let start = params.required_time("start")?;
    let end = params.required_time("end")?;
    if end < start {
        return Err(Refusal::parameter("end", "end timestamp must not be before start time").into());
    }
    let step = step(&params)?;
    let step_ms = i64::try_from(step.as_millis()).unwrap_or(i64::MAX);
    if end.0.saturating_sub(start.0) / step_ms > MAX_POINTS {
        let text = "exceeded maximum resolution of 11,000 points per timeseries. \
                    Try decreasing the query resolution (?step=XX)";
        return Err(Refusal::bad(text).into());
    }
    let Knobs { settings, timeout, limit } = knobs(&params)?;
    let expr = promql::parse(params.get("query").unwrap_or_default())?;
    if matches!(expr.value_type(), promql::ValueType::Matrix | promql::ValueType::String) {
        let kind = expr.value_type();
        let text = format!("invalid expression type \"{kind}\" for range query, must be Scalar or instant Vector");
        return Err(Refusal::parameter("query", text).into());
    }
    let body = handles
        .reader
        .run(timeout, move |snapshot, cancel| {
            let answer = promql::range(&expr, snapshot, promql::Steps { start, end, step }, &settings, cancel)?;
            Ok::<_, promql::EvalError>(answer::query(&answer, limit))
        })
        .await??;
    Ok(json::response(body))
}

fn step(params: &Params) -> Result<Duration, Refusal> {
    let text = params.get("step").unwrap_or_default();
    let bad = || Refusal::parameter("step", format!("cannot parse \"{text}\" to a valid duration"));
    match signed_duration(text).ok_or_else(bad)? {
        Some(step) if step >= Duration::from_millis(1) => Ok(step),
        _ => Err(Refusal::parameter(
            "step",
            "zero or negative query resolution step widths are not accepted. Try a positive integer",
        )),
    }
}

async fn format_query(params: Params) -> Reply {
    let expr = promql::parse(params.get("query").unwrap_or_default())?;
    Ok(answer::data(&json::quoted(&expr.to_string())))
}

/// What series, label names and label values are asked about.
struct Selection {
    sets: Vec<Vec<Matcher>>,
    range: TimeRange,
    limit: Option<usize>,
}

impl Selection {
    fn read(params: &Params) -> Result<Self, Refusal> {
        let start = params.time("start")?.unwrap_or(Timestamp::MIN);
        let end = params.time("end")?.unwrap_or(Timestamp::MAX);
        if end < start {
            return Err(Refusal::parameter("end", "end timestamp must not be before start time"));
        }
        let sets = matcher_sets(params)?;
        Ok(Self { sets, range: TimeRange::new(start, end), limit: params.limit("limit")? })
    }

    /// The same with "everything" when no selector was given.
    fn or_everything(mut self) -> Self {
        if self.sets.is_empty() {
            self.sets.push(Vec::new());
        }
        self
    }
}

/// Every `match[]`; each must have a matcher that does not match the empty string.
fn matcher_sets(params: &Params) -> Result<Vec<Vec<Matcher>>, Refusal> {
    params
        .all("match[]")
        .map(|text| {
            let matchers = promql::parse_selector(text).map_err(|error| Refusal::parameter("match[]", error))?;
            if matchers.iter().all(Matcher::matches_empty) {
                return Err(Refusal::parameter("match[]", "match[] must contain at least one non-empty matcher"));
            }
            Ok(matchers)
        })
        .collect()
}

async fn series(State(handles): State<Handles>, params: Params) -> Reply {
    let selection = Selection::read(&params)?;
    if selection.sets.is_empty() {
        return Err(Refusal::bad("no match[] parameter provided").into());
    }
    let Selection { sets, range, limit } = selection;
    let found = handles
        .reader
        .run(None, move |snapshot, _| {
            sets.iter().flat_map(|matchers| snapshot.series(matchers, range)).collect::<BTreeSet<_>>()
        })
        .await?;
    Ok(answer::list(found.iter(), limit, json::labels))
}

async fn label_names(State(handles): State<Handles>, params: Params) -> Reply {
    let Selection { sets, range, limit } = Selection::read(&params)?.or_everything();
    let found = handles
        .reader
        .run(None, move |snapshot, _| {
            sets.iter().flat_map(|matchers| snapshot.label_names(matchers, range)).collect::<BTreeSet<_>>()
        })
        .await?;
    Ok(answer::list(found.iter(), limit, |out, name| json::string(out, name)))
}

async fn label_values(State(handles): State<Handles>, Path(name): Path<String>, params: Params) -> Reply {
    let name = unescape_label_name(&name)
        .filter(|name| !name.is_empty())
        .ok_or_else(|| Refusal::bad(format!("invalid label name: \"{name}\"")))?;
    let Selection { sets, range, limit } = Selection::read(&params)?.or_everything();
    let found = handles
        .reader
        .run(None, move |snapshot, _| {
            sets.iter().flat_map(|matchers| snapshot.label_values(&name, matchers, range)).collect::<BTreeSet<_>>()
        })
        .await?;
    Ok(answer::list(found.iter(), limit, |out, value| json::string(out, value)))
}

/// Undoes `U__` escaping: `__` is an underscore, `_2e_` the character U+002E. Other names are taken as they are.
fn unescape_label_name(name: &str) -> Option<String> {
    let Some(mut rest) = name.strip_prefix("U__") else { return Some(name.to_owned()) };
    let mut plain = String::new();
    while let Some((before, after)) = rest.split_once('_') {
        plain.push_str(before);
        if let Some(after) = after.strip_prefix('_') {
            plain.push('_');
            rest = after;
            continue;
        }
        let (digits, after) = after.split_once('_')?;
        plain.push(char::from_u32(u32::from_str_radix(digits, 16).ok()?)?);
        rest = after;
    }
    plain.push_str(rest);
    Some(plain)
}

async fn metadata(State(handles): State<Handles>, params: Params) -> Reply {
    let limit = params.limit("limit")?;
    let per_metric = params.limit("limit_per_metric")?.unwrap_or(usize::MAX);
    let wanted = params.get("metric").map(str::to_owned);
    let all = handles.reader.run(None, |snapshot, _| snapshot.metadata()).await?;
    let mut by_name: BTreeMap<&str, Vec<&signal::MetricMetadata>> = BTreeMap::new();
    for item in &all {
        if wanted.as_deref().is_none_or(|wanted| wanted == item.name) {
            by_name.entry(&item.name).or_default().push(item);
        }
    }
    let mut body = String::from("{");
    for (at, (name, items)) in by_name.iter().take(limit.unwrap_or(usize::MAX)).enumerate() {
        if at > 0 {
            body.push(',');
        }
        json::string(&mut body, name);
        body.push(':');
        json::array(&mut body, items.iter().take(per_metric), |out, item| {
            json::object(out, [("type", item.kind.as_str()), ("help", &item.help), ("unit", &item.unit)]);
        });
    }
    body.push('}');
    Ok(answer::data(&body))
}

async fn exemplars(State(handles): State<Handles>, params: Params) -> Reply {
    let start = params.time("start")?.unwrap_or(Timestamp::MIN);
    let end = params.time("end")?.unwrap_or(Timestamp::MAX);
    if end < start {
        return Err(Refusal::parameter("end", "end timestamp must not be before start timestamp").into());
    }
    let expr = promql::parse(params.get("query").unwrap_or_default())?;
    let sets: Vec<Vec<Matcher>> = expr.selectors().into_iter().map(|selector| selector.matchers.clone()).collect();
    let found = handles
        .reader
        .run(None, move |snapshot, _| {
            let range = TimeRange::new(start, end);
            sets.iter().flat_map(|matchers| snapshot.exemplars(matchers, range)).collect::<Vec<_>>()
        })
        .await?;
    let by_series: BTreeMap<_, _> = found.into_iter().collect();
    Ok(answer::list(by_series.iter(), None, |out, (series, exemplars)| {
        out.push_str(r#"{"seriesLabels":"#);
        json::labels(out, series);
        out.push_str(r#","exemplars":"#);
        json::array(out, exemplars, |out, exemplar| {
            out.push_str(r#"{"labels":"#);
            json::labels(out, &exemplar.labels);
            out.push_str(r#","value":"#);
            json::string(out, &json::number(exemplar.value));
            out.push_str(r#","timestamp":"#);
            out.push_str(&json::seconds(exemplar.at));
            out.push('}');
        });
        out.push('}');
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_label_names_are_read_back() {
        for (name, want) in [
            ("job", Some("job")),
            ("U__my_2e_metric", Some("my.metric")),
            ("U__a__b", Some("a_b")),
            ("U__a_zz_", None),
            ("U__a_2e", None),
        ] {
            assert_eq!(unescape_label_name(name).as_deref(), want, "{name}");
        }
    }
}
