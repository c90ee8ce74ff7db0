//! What can be searched by: tag names and their values.

use std::collections::BTreeSet;

use axum::extract::{Path, State};
use query::Cancel;
use query::traceql::{self, TagValue};
use store::Snapshot;

use super::{Handles, Reply, window};
use crate::json;
use crate::params::Params;
use crate::reply::Refusal;

/// Values listed when the request names no limit.
const VALUES: usize = 1_000;
/// Scopes that tags may be asked for.
const SCOPES: [&str; 6] = ["resource", "span", "event", "link", "instrumentation", "intrinsic"];

async fn scopes(handles: &Handles, params: &Params) -> Result<Vec<(&'static str, Vec<String>)>, Refusal> {
    let range = window(params, (handles.now)())?;
    let wanted = params.get("scope").filter(|scope| *scope != "none");
    if let Some(scope) = wanted.filter(|scope| !SCOPES.contains(scope)) {
        return Err(Refusal::bad(format!("invalid scope: `{scope}`; expected one of {}", SCOPES.join(", "))));
    }
    let mut found = handles.reader.run(None, move |snapshot, _| traceql::tag_names(snapshot, range)).await?;
    found.retain(|(scope, _)| wanted.is_none_or(|wanted| wanted == *scope));
    Ok(found)
}

pub(super) async fn names(State(handles): State<Handles>, params: Params) -> Reply {
    let found = scopes(&handles, &params).await?;
    // The older API names attributes only, without their scope.
    let names: BTreeSet<&String> =
        found.iter().filter(|(scope, _)| *scope != "intrinsic").flat_map(|(_, names)| names).collect();
    let mut body = String::from(r#"{"tagNames":"#);
    json::array(&mut body, names, |out, name| json::string(out, name));
    body.push_str(r#","metrics":{}}"#);
    Ok(json::response(body))
}

pub(super) async fn names_v2(State(handles): State<Handles>, params: Params) -> Reply {
    let found = scopes(&handles, &params).await?;
    let mut body = String::from(r#"{"scopes":"#);
    json::array(&mut body, &found, |out, (scope, names)| {
        out.push_str(&format!(r#"{{"name":{},"tags":"#, json::quoted(scope)));
        json::array(out, names, |out, name| json::string(out, name));
        out.push('}');
    });
    body.push_str(r#","metrics":{}}"#);
    Ok(json::response(body))
}

async fn find(handles: &Handles, name: String, params: &Params) -> Result<Vec<TagValue>, Refusal> {
    let range = window(params, (handles.now)())?;
    let limit = params.limit("limit")?.unwrap_or(VALUES);
    // Grafana sends what has been typed so far; a half-written query narrows as far as it can.
    let filter = params.get("q").and_then(traceql::parse_unfinished);
    let search = move |snapshot: &Snapshot, cancel: &Cancel| {
        traceql::tag_values(snapshot, range, &name, (filter.as_ref(), limit), cancel)
    };
    Ok(handles.reader.run(None, search).await??)
}

pub(super) async fn values(State(handles): State<Handles>, Path(name): Path<String>, params: Params) -> Reply {
    let found = find(&handles, name, &params).await?;
    let texts: BTreeSet<&str> = found.iter().map(|found| found.value.as_str()).collect();
    let mut body = String::from(r#"{"tagValues":"#);
    json::array(&mut body, &texts, |out, text| json::string(out, text));
    body.push_str(r#","metrics":{}}"#);
    Ok(json::response(body))
}

pub(super) async fn values_v2(State(handles): State<Handles>, Path(name): Path<String>, params: Params) -> Reply {
    let found = find(&handles, name, &params).await?;
    let mut body = String::from(r#"{"tagValues":"#);
    json::array(&mut body, &found, |out, found| {
        json::object(out, [("type", found.kind), ("value", &found.value)]);
    });
    body.push_str(r#","metrics":{}}"#);
    Ok(json::response(body))
}
