//! What Explore looks for: labels by cardinality, and the fields hidden in lines.

use std::collections::{BTreeMap, BTreeSet};

use axum::extract::{Path, State};
use query::Cancel;
use query::logql::{self, Answer, EvalError, Expr, LineRunner, LogExpr, RangeQuery, Stage};
use signal::{Labels, LogLine, Nanos};
use store::Snapshot;

use super::{Handles, QUERY_WINDOW, Reply, Window, question, selector};
use crate::json;
use crate::params::{Params, loki_duration};
use crate::reply::Refusal;

/// Lines looked at per request unless asked otherwise, and at most.
const LINES: usize = 1_000;
const MAX_LINES: usize = 5_000;
/// Fields and values listed at most.
const FIELDS: usize = 1_000;

pub(super) async fn labels(State(handles): State<Handles>, params: Params) -> Reply {
    let Window { start, end } = Window::read(&params, &handles, QUERY_WINDOW)?;
    let matchers = selector(params.get("query").unwrap_or_default())?;
    let found = handles.look(|snapshot| snapshot.stream_labels(&matchers, start, end)).await?;
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
    /// Keys from the outermost object inwards, of a field of JSON.
    path: Vec<String>,
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
        if field.parsers.is_empty() {
            // Of structured metadata.
            out.push_str("null");
        } else {
            json::array(out, &field.parsers, |out, parser| json::string(out, parser));
        }
        if !field.path.is_empty() {
            out.push_str(r#","jsonPath":"#);
            json::array(out, &field.path, |out, key| json::string(out, key));
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

type Fields = BTreeMap<String, Field>;

async fn detect(handles: &Handles, params: &Params) -> Result<(Fields, usize), Refusal> {
    let window = Window::read(params, handles, QUERY_WINDOW)?;
    let lines = params.limit("line_limit")?.unwrap_or(LINES).min(MAX_LINES);
    let limit = question::count(params).map(|limit| limit.min(FIELDS))?;
    let expr = logql::parse(params.get("query").unwrap_or_default())?;
    if matches!(expr, Expr::Metric(_)) {
        return Err(Refusal::bad("fields are detected in lines, not in a metric query"));
    }
    let question = RangeQuery::lines(window.start, window.end, lines);
    let found = handles.ask(move |snapshot, cancel| read_fields(snapshot, &expr, question, cancel)).await??;
    Ok((found, limit))
}

/// Fields of the lines that the query leaves: its own parsers' findings, else what the line looks like.
fn read_fields(snapshot: &Snapshot, expr: &Expr, query: RangeQuery, cancel: &Cancel) -> Result<Fields, EvalError> {
    let Answer::Streams(streams) = logql::range(expr, snapshot, query, cancel)? else { return Ok(Fields::new()) };
    let parser = LineParser::new();
    let mut fields = Fields::new();
    let mut add = |name: &str, value: &str, parser: Option<&'static str>, path: Vec<String>| {
        let field = fields.entry(name.to_owned()).or_default();
        field.values.insert(value.to_owned());
        field.parsers.extend(parser);
        if field.path.is_empty() {
            field.path = path;
        }
    };
    for stream in &streams {
        for (name, value) in stream.structured.iter() {
            add(name, value, None, Vec::new());
        }
        for (_, line) in &stream.lines {
            let (kind, found) = parser.parse(line);
            if stream.parsed.is_empty() {
                found.into_iter().for_each(|one| add(&one.name, &one.value, Some(kind), one.path));
                continue;
            }
            for (name, value) in stream.parsed.iter().filter(|(name, _)| !name.starts_with("__error")) {
                let path = found.iter().find(|one| one.name == name).map(|one| one.path.clone());
                add(name, value, (!found.is_empty()).then_some(kind), path.unwrap_or_default());
            }
        }
    }
    Ok(fields)
}

/// Something found in a line.
struct Found {
    name: String,
    value: String,
    path: Vec<String>,
}

/// Reads lines as JSON, else as logfmt.
struct LineParser {
    logfmt: Option<LineRunner>,
}

impl LineParser {
    fn new() -> Self {
        let stages = vec![Stage::Logfmt { strict: false, keep_empty: false, wanted: Vec::new() }];
        let expr = Expr::Log(LogExpr { matchers: Vec::new(), stages });
        Self { logfmt: LineRunner::new(&expr, Nanos(0)).ok() }
    }

    fn parse(&self, line: &str) -> (&'static str, Vec<Found>) {
        if line.trim_start().starts_with('{')
            && let Ok(serde_json::Value::Object(object)) = serde_json::from_str(line)
        {
            let mut found = Vec::new();
            flatten(&mut Vec::new(), &object, &mut found);
            return ("json", found);
        }
        let line = LogLine { at: Nanos(0), line: line.to_owned(), metadata: Labels::empty() };
        let kept = self.logfmt.as_ref().and_then(|runner| runner.run(&Labels::empty(), &line));
        let parsed = kept.map(|kept| kept.parsed).filter(|parsed| parsed.get("__error__").is_none());
        let found = parsed.iter().flat_map(Labels::iter).map(|(name, value)| Found {
            name: name.to_owned(),
            value: value.to_owned(),
            path: Vec::new(),
        });
        ("logfmt", found.collect())
    }
}

/// Objects may lie in each other as deep as the JSON reader allows.
fn flatten(path: &mut Vec<String>, object: &serde_json::Map<String, serde_json::Value>, found: &mut Vec<Found>) {
    for (key, value) in object {
        path.push(key.clone());
        let value = match value {
            serde_json::Value::Null | serde_json::Value::Array(_) => None,
            serde_json::Value::Bool(value) => Some(value.to_string()),
            serde_json::Value::Number(value) => Some(value.to_string()),
            serde_json::Value::String(value) => Some(value.clone()),
            serde_json::Value::Object(inner) => {
                flatten(path, inner, found);
                None
            }
        };
        if let Some(value) = value {
            found.push(Found { name: label_name(&path.join("_")), value, path: path.clone() });
        }
        path.pop();
    }
}

/// The label that a field becomes.
fn label_name(text: &str) -> String {
    let mut name: String = text.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect();
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        name.insert(0, '_');
    }
    name
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
    } else if is_all(is_bytes) {
        "bytes"
    } else {
        "string"
    }
}

/// A number with a unit of bytes, such as `1.5 MiB`.
fn is_bytes(text: &str) -> bool {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    let number = text.strip_suffix(unit).unwrap_or_default();
    let units = ["b", "kb", "mb", "gb", "tb", "pb", "eb", "kib", "mib", "gib", "tib", "pib", "eib"];
    number.parse::<f64>().is_ok() && units.contains(&unit.trim_start().to_ascii_lowercase().as_str())
}
