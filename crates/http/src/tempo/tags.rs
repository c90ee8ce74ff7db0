//! What can be searched by: tag names and their values.

use std::collections::BTreeSet;

use axum::extract::{Path, State};
use query::traceql;
use signal::AttributeValue;

use super::{Handles, Reply, window};
use crate::json;
use crate::params::Params;
use crate::reply::Refusal;

/// Scopes that tags may be asked for.
const SCOPES: [&str; 6] = ["resource", "span", "event", "link", "instrumentation", "intrinsic"];

async fn scopes(handles: &Handles, params: &Params) -> Result<Vec<(String, Vec<String>)>, Refusal> {
    let range = window(params, (handles.now)())?;
    let wanted = params.get("scope").filter(|scope| *scope != "none").map(str::to_owned);
    if let Some(scope) = wanted.as_deref().filter(|scope| !SCOPES.contains(scope)) {
        return Err(Refusal::bad(format!("invalid scope: `{scope}`; expected one of {}", SCOPES.join(", "))));
    }
    let found = handles.reader.run(None, move |snapshot, _| traceql::tag_names(snapshot, range)).await?;
    Ok(found
        .into_iter()
        .map(|(scope, names)| (scope.to_string(), names))
        .filter(|(scope, _)| wanted.as_deref().is_none_or(|wanted| wanted == scope))
        .collect())
}

pub(super) async fn names(State(handles): State<Handles>, params: Params) -> Reply {
    let found = scopes(&handles, &params).await?;
    // The older API names attributes only, without their scope.
    let names: BTreeSet<&String> =
        found.iter().filter(|(scope, _)| scope != "intrinsic").flat_map(|(_, names)| names).collect();
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

async fn find(handles: &Handles, name: String, params: &Params) -> Result<Vec<AttributeValue>, Refusal> {
    let range = window(params, (handles.now)())?;
    Ok(handles.reader.run(None, move |snapshot, _| traceql::tag_values(snapshot, range, &name)).await?)
}

pub(super) async fn values(State(handles): State<Handles>, Path(name): Path<String>, params: Params) -> Reply {
    let found = find(&handles, name, &params).await?;
    let texts: BTreeSet<String> = found.iter().map(ToString::to_string).collect();
    let mut body = String::from(r#"{"tagValues":"#);
    json::array(&mut body, &texts, |out, text| json::string(out, text));
    body.push_str(r#","metrics":{}}"#);
    Ok(json::response(body))
}

pub(super) async fn values_v2(State(handles): State<Handles>, Path(name): Path<String>, params: Params) -> Reply {
    let is_keyword = matches!(name.as_str(), "status" | "kind" | "span:status" | "span:kind");
    let found = find(&handles, name, &params).await?;
    let mut body = String::from(r#"{"tagValues":"#);
    json::array(&mut body, &found, |out, value| {
        let kind = match value {
            AttributeValue::String(_) if is_keyword => "keyword",
            AttributeValue::String(_) | AttributeValue::Bytes(_) | AttributeValue::List(_) | AttributeValue::Map(_) => {
                "string"
            }
            AttributeValue::Bool(_) => "bool",
            AttributeValue::Int(_) => "int",
            AttributeValue::Float(_) => "float",
        };
        out.push_str(&format!(r#"{{"type":"{kind}","value":{}}}"#, json::quoted(&value.to_string())));
    });
    body.push_str(r#","metrics":{}}"#);
    Ok(json::response(body))
}
