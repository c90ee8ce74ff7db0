//! What Explore looks for: labels by cardinality, and the fields hidden in lines.

use std::collections::{BTreeMap, BTreeSet};

use axum::extract::{Path, State};
use query::logql;
use signal::{LogLine, Matcher};
use store::Snapshot;

use super::{Handles, QUERY_WINDOW, Reply, Window, question, selector};
use crate::json;
use crate::params::{Params, loki_duration};
use crate::reply::Refusal;

/// Lines looked at per request unless asked otherwise.
const LINES: usize = 1_000;
/// Fields and values listed at most.
const FIELDS: usize = 1_000;

pub(super) async fn labels(State(handles): State<Handles>, params: Params) -> Reply {
    let Window { start, end } = Window::read(&params, &handles, QUERY_WINDOW)?;
    let matchers = selector(params.get("query").unwrap_or_default())?;
    let found = handles.ask(move |snapshot, _| snapshot.stream_labels(&matchers, start, end)).await?;
    let mut values: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (name, value) in found.iter().flat_map(|labels| labels.iter()) {
        values.entry(name).or_default().insert(value);
    }
    let mut body = String::from(r#"{"detectedLabels":"#);
    json::array(&mut body, values, |out, (name, values)| {
        out.push_str(&format!(r#"{{"label":{},"cardinality":{}}}"#, json::quoted(name), values.len()));
    });
    body.push('}');
    Ok(json::response(body))
}

/// One field: its values and where they were found.
#[derive(Default)]
struct Field {
    values: BTreeSet<String>,
    parsers: BTreeSet<&'static str>,
}

pub(super) async fn fields(State(handles): State<Handles>, params: Params) -> Reply {
    let (found, limit) = detect(&handles, &params).await?;
    let mut body = String::from(r#"{"fields":"#);
    json::array(&mut body, found.iter().take(limit), |out, (name, field)| {
        out.push_str(&format!(
            r#"{{"label":{},"type":"{}","cardinality":{},"parsers":"#,
            json::quoted(name),
            kind(&field.values),
            field.values.len()
        ));
        json::array(out, &field.parsers, |out, parser| json::string(out, parser));
        if field.parsers.contains("json") {
            out.push_str(&format!(r#","jsonPath":[{}]"#, json::quoted(name)));
        }
        out.push('}');
    });
    body.push_str(&format!(r#","limit":{limit}}}"#));
    Ok(json::response(body))
}

pub(super) async fn values(State(handles): State<Handles>, Path(name): Path<String>, params: Params) -> Reply {
    let (found, limit) = detect(&handles, &params).await?;
    let mut body = String::from(r#"{"values":"#);
    let values = found.get(&name).into_iter().flat_map(|field| &field.values);
    json::array(&mut body, values.take(limit), |out, value| json::string(out, value));
    body.push_str(&format!(r#","limit":{limit}}}"#));
    Ok(json::response(body))
}

async fn detect(handles: &Handles, params: &Params) -> Result<(BTreeMap<String, Field>, usize), Refusal> {
    let window = Window::read(params, handles, QUERY_WINDOW)?;
    let lines = params.limit("line_limit")?.unwrap_or(LINES).min(LINES);
    let limit = question::count(params).map(|limit| limit.min(FIELDS))?;
    let matchers = match logql::parse(params.get("query").unwrap_or_default())? {
        logql::Expr::Log(log) => log.matchers,
        logql::Expr::Metric(_) => return Err(Refusal::bad("fields are detected in lines, not in a metric query")),
    };
    let found = handles.ask(move |snapshot, _| read_fields(snapshot, &matchers, window, lines)).await?;
    Ok((found, limit))
}

fn read_fields(snapshot: &Snapshot, matchers: &[Matcher], window: Window, limit: usize) -> BTreeMap<String, Field> {
    let streams = snapshot.streams(matchers, window.start, window.end);
    let mut newest: Vec<&LogLine> = streams.iter().flat_map(|stream| &stream.lines).map(|line| &**line).collect();
    newest.sort_by_key(|line| std::cmp::Reverse(line.at));
    let mut fields: BTreeMap<String, Field> = BTreeMap::new();
    for line in newest.into_iter().take(limit) {
        for (name, value) in line.metadata.iter() {
            fields.entry(name.to_owned()).or_default().values.insert(value.to_owned());
        }
        let (parser, pairs) = parse(&line.line);
        for (name, value) in pairs {
            let field = fields.entry(name).or_default();
            field.values.insert(value);
            field.parsers.insert(parser);
        }
    }
    fields
}

/// The flat fields of a JSON object, or of a logfmt line.
fn parse(line: &str) -> (&'static str, Vec<(String, String)>) {
    if let Ok(serde_json::Value::Object(object)) = serde_json::from_str(line) {
        let mut pairs = Vec::new();
        flatten("", &object, &mut pairs);
        return ("json", pairs);
    }
    let pairs = line
        .split_whitespace()
        .filter_map(|word| word.split_once('='))
        .filter(|(name, _)| !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || "_.-".contains(c)))
        .map(|(name, value)| (name.to_owned(), value.trim_matches('"').to_owned()))
        .collect();
    ("logfmt", pairs)
}

fn flatten(prefix: &str, object: &serde_json::Map<String, serde_json::Value>, pairs: &mut Vec<(String, String)>) {
    for (key, value) in object {
        let name = if prefix.is_empty() { key.clone() } else { format!("{prefix}_{key}") };
        match value {
            serde_json::Value::Null | serde_json::Value::Array(_) => {}
            serde_json::Value::Bool(value) => pairs.push((name, value.to_string())),
            serde_json::Value::Number(value) => pairs.push((name, value.to_string())),
            serde_json::Value::String(value) => pairs.push((name, value.clone())),
            serde_json::Value::Object(inner) => flatten(&name, inner, pairs),
        }
    }
}

/// The narrowest type that every value has.
fn kind(values: &BTreeSet<String>) -> &'static str {
    let is_all = |test: fn(&str) -> bool| values.iter().all(|value| test(value));
    if is_all(|value| value.parse::<i64>().is_ok()) {
        "int"
    } else if is_all(|value| value.parse::<f64>().is_ok()) {
        "float"
    } else if is_all(|value| matches!(value, "true" | "false")) {
        "boolean"
    } else if is_all(|value| loki_duration(value).is_some()) {
        "duration"
    } else {
        "string"
    }
}
