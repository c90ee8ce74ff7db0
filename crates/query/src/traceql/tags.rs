//! What can be asked for: names and values, and the search by tags that TraceQL replaced.

use std::collections::BTreeSet;
use std::time::Duration;

use signal::{AttributeValue, SpanKind, SpanStatus, TimeRange};
use store::Snapshot;

use super::ast::{Attribute, BinaryOp, Expr, FieldExpr, Scope, SpansetExpr, Stage, Static};
use super::eval::{EvalError, Search, View};
use super::parser::{ParseError, parse};
use super::value::Value;
use crate::Cancel;

/// A value that occurs, with the word for its type: `string`, `int`, `float`, `bool`, `keyword` or `duration`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct TagValue {
    /// Type.
    pub kind: &'static str,
    /// As written in a query, without quotes.
    pub value: String,
}

/// Attribute names by scope (`resource`, `span`, `event`, `link`, `intrinsic`) that occur in `range`, each list sorted.
#[must_use]
pub fn tag_names(snapshot: &Snapshot, range: TimeRange) -> Vec<(&'static str, Vec<String>)> {
    let mut found: [(&'static str, BTreeSet<String>); 4] = [
        ("resource", BTreeSet::new()),
        ("span", BTreeSet::new()),
        ("event", BTreeSet::new()),
        ("link", BTreeSet::new()),
    ];
    let [(_, resource), (_, own), (_, event), (_, link)] = &mut found;
    for trace in snapshot.traces(range) {
        for span in &trace.spans {
            note(resource, &span.resource);
            note(own, &span.attributes);
            span.events.iter().for_each(|happened| note(event, &happened.attributes));
            span.links.iter().for_each(|other| note(link, &other.attributes));
        }
    }
    let intrinsic = Attribute::INTRINSICS.iter().map(|attribute| attribute.name().to_owned()).collect();
    let named = found.into_iter().map(|(scope, names)| (scope, names.into_iter().collect::<Vec<_>>()));
    named.filter(|(_, names)| !names.is_empty()).chain([("intrinsic", intrinsic)]).collect()
}

/// Adds the names; one that is known already costs no memory.
fn note(names: &mut BTreeSet<String>, attributes: &[(String, AttributeValue)]) {
    for (name, _) in attributes {
        if !names.contains(name) {
            names.insert(name.clone());
        }
    }
}

/// Values of a tag that occur in `range`, sorted, at most `limit`. The tag is written as in a query (`span.a`, `.a`,
/// `status`); a bare name that is no intrinsic means any scope. With `filter` only matched spans count.
///
/// # Errors
/// [`EvalError::Canceled`] when `cancel` was asked.
pub fn tag_values(
    snapshot: &Snapshot,
    range: TimeRange,
    tag: &str,
    (filter, limit): (Option<&Expr>, usize),
    cancel: &Cancel,
) -> Result<Vec<TagValue>, EvalError> {
    let attribute = read_tag(tag);
    match attribute {
        Attribute::Status => {
            let all = [SpanStatus::Error, SpanStatus::Ok, SpanStatus::Unset];
            return Ok(all.map(|status| TagValue { kind: "keyword", value: status.as_str().to_owned() }).to_vec());
        }
        Attribute::Kind => {
            let all = [
                SpanKind::Client,
                SpanKind::Consumer,
                SpanKind::Internal,
                SpanKind::Producer,
                SpanKind::Server,
                SpanKind::Unspecified,
            ];
            return Ok(all.map(|kind| TagValue { kind: "keyword", value: kind.as_str().to_owned() }).to_vec());
        }
        _ => {}
    }
    let search = filter.map(Search::new).transpose()?;
    let mut found = BTreeSet::new();
    for trace in snapshot.traces(range) {
        if cancel.is_canceled() {
            return Err(EvalError::Canceled);
        }
        let view = View::new(&trace);
        let spans: Vec<usize> = match &search {
            Some(search) => search.sets(&view).into_iter().flat_map(|set| set.spans).collect(),
            None => (0..trace.spans.len()).collect(),
        };
        for at in spans {
            collect(&view.attribute(&attribute, at), &mut found);
        }
        if found.len() >= limit {
            break;
        }
    }
    Ok(found.into_iter().take(limit).collect())
}

fn collect(value: &Value<'_>, found: &mut BTreeSet<TagValue>) {
    let (kind, value) = match value {
        Value::Nil => return,
        Value::Many(values) => return values.iter().for_each(|value| collect(value, found)),
        Value::Bool(value) => ("bool", value.to_string()),
        Value::Int(value) => ("int", value.to_string()),
        Value::Float(value) => ("float", value.to_string()),
        Value::Duration(nanos) => ("duration", crate::logql::units::format_duration(*nanos)),
        Value::Text(text) if text.is_empty() => return,
        Value::Text(text) => ("string", text.to_string()),
        Value::Status(status) => ("keyword", status.as_str().to_owned()),
        Value::Kind(kind) => ("keyword", kind.as_str().to_owned()),
    };
    found.insert(TagValue { kind, value });
}

fn read_tag(tag: &str) -> Attribute {
    match tag {
        "root.name" => return Attribute::RootName,
        "root.service.name" => return Attribute::RootServiceName,
        "status.code" => return Attribute::Status,
        _ => {}
    }
    if let Some(intrinsic) = Attribute::intrinsic(tag) {
        return intrinsic;
    }
    let read = parse(&format!("{{ {tag} != nil }}")).ok();
    let written = read.and_then(|expr| match expr.attributes().as_slice() {
        [only] => Some(only.clone()),
        _ => None,
    });
    written.unwrap_or_else(|| Attribute::Named { scope: Scope::Any, name: tag.to_owned() })
}

/// The query of a search by tags (`service.name=api http.status_code=500 name="GET /"`) and the trace's duration.
///
/// # Errors
/// [`ParseError`] for a text that is not pairs of `key=value`.
pub fn from_tags(tags: &str, min: Option<Duration>, max: Option<Duration>) -> Result<Expr, ParseError> {
    let mut conditions: Vec<FieldExpr> = Vec::new();
    let mut rest = tags.trim();
    while !rest.is_empty() {
        let wrong = || ParseError { place: None, message: format!("tags must be key=value pairs: `{tags}`") };
        let (key, after) = rest.split_once('=').ok_or_else(wrong)?;
        let (value, tail) = match after.strip_prefix('"') {
            Some(body) => body.split_once('"').ok_or_else(wrong)?,
            None => after.split_once(char::is_whitespace).unwrap_or((after, "")),
        };
        let key = key.trim();
        if key.is_empty() || key.contains(char::is_whitespace) {
            return Err(wrong());
        }
        conditions.push(condition(key, value));
        rest = tail.trim_start();
    }
    for (op, duration) in [(BinaryOp::GreaterOrEqual, min), (BinaryOp::LessOrEqual, max)] {
        if let Some(duration) = duration {
            let nanos = i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
            conditions.push(compared(Attribute::TraceDuration, op, Static::Duration(nanos)));
        }
    }
    let joined = conditions.into_iter().reduce(|left, right| FieldExpr::Binary {
        op: BinaryOp::And,
        left: Box::new(left),
        right: Box::new(right),
    });
    Ok(Expr { stages: vec![Stage::Spans(SpansetExpr::Filter(joined))] })
}

fn compared(attribute: Attribute, op: BinaryOp, with: Static) -> FieldExpr {
    FieldExpr::Binary { op, left: Box::new(FieldExpr::Attribute(attribute)), right: Box::new(FieldExpr::Static(with)) }
}

/// A tag's value has no type, so it may be any that reads the same.
fn condition(key: &str, value: &str) -> FieldExpr {
    let attribute = read_tag(key);
    if attribute == Attribute::Status || key == "error" {
        let status = match value {
            "error" | "true" | "2" => SpanStatus::Error,
            "ok" | "1" => SpanStatus::Ok,
            _ => SpanStatus::Unset,
        };
        return compared(Attribute::Status, BinaryOp::Equal, Static::Status(status));
    }
    let text = compared(attribute.clone(), BinaryOp::Equal, Static::Text(value.to_owned()));
    let typed = if let Ok(number) = value.parse::<i64>() {
        Static::Int(number)
    } else if let Some(number) = value.parse::<f64>().ok().filter(|number| number.is_finite()) {
        Static::Float(number)
    } else if let Ok(flag) = value.parse::<bool>() {
        Static::Bool(flag)
    } else {
        return text;
    };
    if !matches!(attribute, Attribute::Named { .. }) {
        return text;
    }
    let typed = compared(attribute, BinaryOp::Equal, typed);
    FieldExpr::Binary { op: BinaryOp::Or, left: Box::new(text), right: Box::new(typed) }
}
