//! Loki's rule API: groups of rules over logs, by namespace, as YAML.

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::Value;
use tokio::task::spawn_blocking;

use super::{Handles, Reply};
use crate::handles::{LogRules, LogRulesError, Namespaces};
use crate::json;
use crate::params::body;
use crate::reply::Refusal;

/// Longest text of a group.
const GROUP_BYTES: usize = 1 << 20;

/// Below the path of the API.
pub(super) fn routes() -> Router<Handles> {
    Router::new()
        .route("/rules", get(all))
        .route("/rules/{namespace}", get(of_namespace).post(put).delete(remove_namespace))
        .route("/rules/{namespace}/{group}", get(one).delete(remove))
}

fn switched_on(handles: &Handles) -> Result<LogRules, Refusal> {
    handles.log_rules.clone().ok_or_else(|| Refusal::switched_off("nobody evaluates rules here"))
}

async fn carried_out<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Refusal> {
    spawn_blocking(work).await.map_err(|_| Refusal::internal("the rules cannot be reached"))
}

impl From<LogRulesError> for Refusal {
    fn from(error: LogRulesError) -> Self {
        match error {
            LogRulesError::Invalid(text) => Self::bad(text),
            LogRulesError::NoGroup | LogRulesError::NoNamespace => Self::not_found(error.to_string()),
            LogRulesError::Storage(text) => Self::internal(text),
        }
    }
}

async fn all(State(handles): State<Handles>) -> Reply {
    let rules = switched_on(&handles)?;
    listed(&carried_out(move || (rules.list)()).await?)
}

async fn of_namespace(State(handles): State<Handles>, Path(namespace): Path<String>) -> Reply {
    let rules = switched_on(&handles)?;
    let mut found = carried_out(move || (rules.list)()).await?;
    found.retain(|name, _| *name == namespace);
    listed(&found)
}

fn listed(found: &Namespaces) -> Reply {
    if found.is_empty() {
        return Err(Refusal::not_found("no rule groups found").into());
    }
    let mut out = String::new();
    for (namespace, groups) in found {
        scalar(&mut out, namespace);
        out.push_str(":\n");
        for group in groups {
            node(&mut out, group, 4, Some("    - "));
        }
    }
    Ok(yaml(out))
}

async fn one(State(handles): State<Handles>, Path((namespace, group)): Path<(String, String)>) -> Reply {
    let rules = switched_on(&handles)?;
    let found = carried_out(move || (rules.list)()).await?;
    let mut groups = found.get(&namespace).into_iter().flatten();
    let wanted = groups.find(|known| known.get("name").and_then(Value::as_str) == Some(&group));
    let wanted = wanted.ok_or(LogRulesError::NoGroup)?;
    let mut out = String::new();
    node(&mut out, wanted, 0, None);
    Ok(yaml(out))
}

async fn put(State(handles): State<Handles>, Path(namespace): Path<String>, content: Body) -> Reply {
    let rules = switched_on(&handles)?;
    let bytes = body(content, GROUP_BYTES).await?;
    let text = String::from_utf8(bytes.to_vec()).map_err(|_| Refusal::bad("unable to decoded rule group"))?;
    carried_out(move || (rules.put)(&namespace, &text)).await??;
    Ok(accepted())
}

async fn remove(State(handles): State<Handles>, Path((namespace, group)): Path<(String, String)>) -> Reply {
    let rules = switched_on(&handles)?;
    carried_out(move || (rules.remove)(&namespace, Some(&group))).await??;
    Ok(accepted())
}

async fn remove_namespace(State(handles): State<Handles>, Path(namespace): Path<String>) -> Reply {
    let rules = switched_on(&handles)?;
    carried_out(move || (rules.remove)(&namespace, None)).await??;
    Ok(accepted())
}

/// Kept, and soon evaluated.
fn accepted() -> Response {
    let body = r#"{"status":"success","data":null,"errorType":"","error":""}"#.to_owned();
    (StatusCode::ACCEPTED, json::response(body)).into_response()
}

fn yaml(text: String) -> Response {
    ([(CONTENT_TYPE, "application/yaml")], text).into_response()
}

/// The order people write keys in; others come after, by name.
const KEYS: [&str; 12] = [
    "name",
    "interval",
    "query_offset",
    "limit",
    "alert",
    "record",
    "expr",
    "for",
    "keep_firing_for",
    "labels",
    "annotations",
    "rules",
];

/// Writes lines of YAML; `lead` stands in front of the first instead of the indent.
fn node(out: &mut String, value: &Value, indent: usize, lead: Option<&str>) {
    let Value::Object(fields) = value else {
        out.push_str(lead.unwrap_or_default());
        leaf(out, value);
        out.push('\n');
        return;
    };
    let inner = indent + lead.map_or(0, |_| 2);
    let mut fields: Vec<(&String, &Value)> = fields.iter().collect();
    fields.sort_by_key(|(name, _)| (KEYS.iter().position(|key| key == name).unwrap_or(KEYS.len()), *name));
    for (place, (name, value)) in fields.into_iter().enumerate() {
        match lead.filter(|_| place == 0) {
            Some(lead) => out.push_str(lead),
            None => pad(out, inner),
        }
        scalar(out, name);
        out.push(':');
        match value {
            Value::Object(map) if !map.is_empty() => {
                out.push('\n');
                node(out, value, inner + 4, None);
            }
            Value::Array(items) if !items.is_empty() => {
                out.push('\n');
                let lead = format!("{:width$}- ", "", width = inner + 4);
                items.iter().for_each(|item| node(out, item, inner + 4, Some(&lead)));
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
                out.push(' ');
                leaf(out, value);
                out.push('\n');
            }
        }
    }
}

fn pad(out: &mut String, width: usize) {
    out.extend(std::iter::repeat_n(' ', width));
}

fn leaf(out: &mut String, value: &Value) {
    match value {
        Value::String(text) => scalar(out, text),
        // Every JSON text is YAML.
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            out.push_str(&value.to_string());
        }
    }
}

/// A string: plain where it cannot be taken for anything else.
fn scalar(out: &mut String, text: &str) {
    let is_plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-./() ".contains(c))
        && !text.ends_with(' ')
        && !["true", "false", "null", "yes", "no", "on", "off", "y", "n"].contains(&text.to_ascii_lowercase().as_str());
    if is_plain {
        out.push_str(text);
    } else {
        json::string(out, text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_written_as_people_write_them() {
        let group = serde_json::json!({
            "rules": [
                {"expr": "sum(rate({job=\"a\"}[1m])) > 1", "alert": "Hot", "for": "5m", "labels": {"severity": "page"}, "annotations": {}},
                {"record": "job:lines", "expr": "vector(1)"},
            ],
            "name": "no", "limit": 3, "interval": "1m",
        });
        let mut out = String::new();
        node(&mut out, &group, 4, Some("    - "));
        assert_eq!(
            out,
            "    - name: \"no\"\n      interval: \"1m\"\n      limit: 3\n      rules:\n          - alert: Hot\n            \
             expr: \"sum(rate({job=\\\"a\\\"}[1m])) > 1\"\n            for: \"5m\"\n            labels:\n                \
             severity: page\n            annotations: {}\n          - record: \"job:lines\"\n            expr: vector(1)\n"
        );
    }
}
