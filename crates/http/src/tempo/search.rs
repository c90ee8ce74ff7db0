//! `/api/search`: TraceQL, or the older tag search.

use std::fmt::Write as _;

use axum::extract::State;
use query::traceql::{self, SpanHit, SpanSet, TraceHit};
use signal::AttributeValue;

use super::{Handles, Reply, convert, window};
use crate::json;
use crate::params::{Params, loki_duration};
use crate::reply::Refusal;

/// Traces given when the request names no limit.
const TRACES: usize = 20;
/// Spans shown per trace when the request names no number.
const SPANS: usize = 3;
/// Most traces of one answer.
const MAX_TRACES: usize = 10_000;

fn count(params: &Params, name: &str, default: usize) -> Result<usize, Refusal> {
    let Some(text) = params.get(name) else { return Ok(default) };
    let number: usize = text
        .parse()
        .ok()
        .filter(|number| *number > 0)
        .ok_or_else(|| Refusal::bad(format!("invalid {name}: `{text}` is not a positive number")))?;
    if number > MAX_TRACES {
        return Err(Refusal::bad(format!("invalid {name}: {number} is more than the limit of {MAX_TRACES}")));
    }
    Ok(number)
}

pub(super) async fn search(State(handles): State<Handles>, params: Params) -> Reply {
    let range = window(&params, (handles.now)())?;
    let limit = count(&params, "limit", TRACES)?;
    let spans = count(&params, "spss", SPANS)?;
    let expr = match params.get("q") {
        Some(query) => {
            traceql::parse(query).map_err(|error| Refusal::bad(format!("invalid TraceQL query: {error}")))?
        }
        None => from_tags(&params)?,
    };
    let body = handles
        .reader
        .run(None, move |snapshot, cancel| {
            traceql::search(&expr, snapshot, range, limit, cancel).map(|hits| render(&hits, spans))
        })
        .await??;
    Ok(json::response(body))
}

fn from_tags(params: &Params) -> Result<traceql::Expr, Refusal> {
    let duration = |name: &str| {
        params
            .get(name)
            .map(|text| {
                loki_duration(text).ok_or_else(|| Refusal::bad(format!("invalid {name}: `{text}` is not a duration")))
            })
            .transpose()
    };
    let (min, max) = (duration("minDuration")?, duration("maxDuration")?);
    let tags = params.get("tags").unwrap_or_default();
    traceql::from_tags(tags, min, max).map_err(|error| Refusal::bad(format!("invalid tags: {error}")))
}

fn render(hits: &[TraceHit], limit: usize) -> String {
    let matched: usize = hits.iter().flat_map(|hit| &hit.sets).map(|set| set.spans.len()).sum();
    let mut body = String::from(r#"{"traces":"#);
    json::array(&mut body, hits, |out, hit| trace(out, hit, limit));
    // What was looked at is not counted; these are the traces and spans found.
    let _ = write!(
        body,
        r#","metrics":{{"inspectedTraces":{},"inspectedBytes":"0","inspectedSpans":"{matched}","completedJobs":1,"totalJobs":1}}}}"#,
        hits.len()
    );
    body
}

fn trace(out: &mut String, hit: &TraceHit, limit: usize) {
    let _ = write!(
        out,
        r#"{{"traceID":"{}","rootServiceName":{},"rootTraceName":{},"startTimeUnixNano":"{}","durationMs":{}"#,
        hit.id,
        json::quoted(&hit.root_service),
        json::quoted(&hit.root_name),
        hit.start.0,
        hit.duration_ms,
    );
    // The first set once more under its old name, which older clients read.
    if let Some(first) = hit.sets.first() {
        out.push_str(r#","spanSet":"#);
        span_set(out, first, limit);
    }
    out.push_str(r#","spanSets":"#);
    json::array(out, &hit.sets, |out, set| span_set(out, set, limit));
    out.push_str(r#","serviceStats":{"#);
    for (at, (service, stats)) in hit.services.iter().enumerate() {
        let comma = if at > 0 { "," } else { "" };
        let _ = write!(out, r#"{comma}{}:{{"spanCount":{}"#, json::quoted(service), stats.spans);
        if stats.errors > 0 {
            let _ = write!(out, r#","errorCount":{}"#, stats.errors);
        }
        out.push('}');
    }
    out.push_str("}}");
}

fn span_set(out: &mut String, set: &SpanSet, limit: usize) {
    out.push_str(r#"{"spans":"#);
    json::array(out, set.spans.iter().take(limit), |out, SpanHit { span, attributes }| {
        let _ = write!(
            out,
            r#"{{"spanID":"{}","name":{},"startTimeUnixNano":"{}","durationNanos":"{}""#,
            span.id,
            json::quoted(&span.name),
            span.start.0,
            span.duration().as_nanos(),
        );
        named_values(out, attributes);
        out.push('}');
    });
    let _ = write!(out, r#","matched":{}"#, set.spans.len());
    named_values(out, &set.by);
    out.push('}');
}

/// `,"attributes":[…]`, or nothing.
fn named_values(out: &mut String, attributes: &[(String, AttributeValue)]) {
    if attributes.is_empty() {
        return;
    }
    out.push_str(r#","attributes":"#);
    json::array(out, attributes, |out, (key, value)| {
        let _ = write!(out, r#"{{"key":{},"value":"#, json::quoted(key));
        convert::json_attribute(out, value);
        out.push('}');
    });
}
