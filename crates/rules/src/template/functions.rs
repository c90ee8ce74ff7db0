//! The functions Prometheus adds to Go templates.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use gotmpl::{TemplateError, Value};
use signal::{go_regex, parse_duration};

use super::{ACTION, GET, MAX_OUTPUT, Shared, humanize, lock, print, text};

type Result<T> = std::result::Result<T, TemplateError>;
pub(super) type Function = Box<dyn Fn(&[Value]) -> Result<Value> + Send + Sync>;

/// Every function by name.
pub(super) fn all(shared: &Arc<Mutex<Shared>>) -> Vec<(&'static str, Function)> {
    let mut functions: Vec<(&'static str, Function)> = vec![
        (GET, Box::new(get)),
        (ACTION, Box::new(|given| Ok(print::action(given)))),
        ("print", Box::new(|given| Ok(print::print(given)))),
        ("println", Box::new(|given| Ok(print::println(given)))),
        ("printf", Box::new(print::printf)),
        ("index", Box::new(index)),
        ("first", Box::new(|given| first(one("first", given)?))),
        ("label", Box::new(label)),
        ("value", Box::new(|given| field(one("value", given)?, "Value"))),
        ("strvalue", Box::new(|given| label_of(one("strvalue", given)?, "__value__"))),
        ("sortByLabel", Box::new(sort_by_label)),
        ("args", Box::new(|given| Ok(arguments(given)))),
    ];
    for (name, function) in ON_TEXTS {
        functions.push((name, Box::new(move |given| on_texts(name, *function, given))));
    }
    for (name, function) in ON_NUMBERS {
        functions.push((name, Box::new(move |given| on_number(name, *function, given))));
    }
    let with = |call: fn(&mut Shared, &[Value]) -> Result<Value>| -> Function {
        let shared = Arc::clone(shared);
        Box::new(move |given| call(&mut lock(&shared), given))
    };
    functions.push(("query", with(query)));
    functions.push(("now", with(|shared, _| Ok(Value::Float(shared.now.as_secs_f64())))));
    functions.push(("externalURL", with(|shared, _| Ok(text(&shared.external_url)))));
    functions.push(("pathPrefix", with(|shared, _| Ok(text(path(&shared.external_url))))));
    functions
}

fn failed(name: &str, reason: &str) -> TemplateError {
    TemplateError::Exec(format!("error calling {name}: {reason}"))
}

fn one<'a>(name: &str, given: &'a [Value]) -> Result<&'a Value> {
    match given {
        [value] => Ok(value),
        _ => Err(wrong_count(name, 1, given)),
    }
}

fn wrong_count(name: &str, wanted: usize, given: &[Value]) -> TemplateError {
    TemplateError::Exec(format!("wrong number of args for {name}: want {wanted} got {}", given.len()))
}

fn string<'a>(name: &str, value: &'a Value) -> Result<&'a str> {
    match value {
        Value::String(text) => Ok(text),
        other => Err(TemplateError::Exec(format!(
            "wrong type for value of {name}; expected string; got {}",
            other.type_name()
        ))),
    }
}

/// `of.a.b`: a missing label is empty, a missing field is an error.
fn get(given: &[Value]) -> Result<Value> {
    let Some((of, path)) = given.split_first() else { return Ok(Value::Nil) };
    path.iter().try_fold(of.clone(), |value, name| field(&value, string(GET, name)?))
}

fn field(value: &Value, name: &str) -> Result<Value> {
    match value {
        Value::Map(fields) => match fields.get(name) {
            Some(found) => Ok(found.clone()),
            // Labels are texts only; what holds a map is one of our structs.
            None if fields.values().any(|field| matches!(field, Value::Map(_))) => {
                Err(TemplateError::Exec(format!("can't evaluate field {name} in type struct")))
            }
            None => Ok(text("")),
        },
        Value::Nil => Err(TemplateError::Exec(format!("nil data; no entry for key {name:?}"))),
        other => Err(TemplateError::Exec(format!("can't evaluate field {name} in type {}", other.type_name()))),
    }
}

fn index(given: &[Value]) -> Result<Value> {
    let Some((of, keys)) = given.split_first() else { return Err(wrong_count("index", 1, given)) };
    keys.iter().try_fold(of.clone(), |value, key| match (&value, key) {
        (Value::Map(fields), Value::String(name)) => Ok(fields.get(name).cloned().unwrap_or_else(|| text(""))),
        _ => value.index(key),
    })
}

fn first(of: &Value) -> Result<Value> {
    match of {
        Value::List(items) => {
            items.first().cloned().ok_or_else(|| failed("first", "first() called on vector with no elements"))
        }
        other => Err(failed("first", &format!("wants the answer of a query, got {}", other.type_name()))),
    }
}

fn label(given: &[Value]) -> Result<Value> {
    match given {
        [name, sample] => label_of(sample, string("label", name)?),
        _ => Err(wrong_count("label", 2, given)),
    }
}

fn label_of(sample: &Value, name: &str) -> Result<Value> {
    field(&field(sample, "Labels")?, name)
}

fn sort_by_label(given: &[Value]) -> Result<Value> {
    let [name, Value::List(items)] = given else {
        return Err(failed("sortByLabel", "wants a label and the answer of a query"));
    };
    let name = string("sortByLabel", name)?;
    let mut sorted =
        items.iter().map(|item| Ok((label_of(item, name)?.to_string(), item.clone()))).collect::<Result<Vec<_>>>()?;
    sorted.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(Value::List(sorted.into_iter().map(|(_, item)| item).collect()))
}

fn arguments(given: &[Value]) -> Value {
    let named: BTreeMap<Arc<str>, Value> =
        given.iter().enumerate().map(|(at, value)| (Arc::from(format!("arg{at}")), value.clone())).collect();
    Value::Map(Arc::new(named))
}

fn query(shared: &mut Shared, given: &[Value]) -> Result<Value> {
    let asked = string("query", one("query", given)?)?;
    match shared.answers.get(asked) {
        Some(Ok(answer)) => Ok(answer.clone()),
        Some(Err(error)) => Err(failed("query", error)),
        None => {
            shared.missed = Some(asked.to_owned());
            Err(failed("query", "not asked yet"))
        }
    }
}

type OnTexts = fn(&[&str]) -> std::result::Result<Value, String>;

fn on_texts(name: &str, function: OnTexts, given: &[Value]) -> Result<Value> {
    let texts = given.iter().map(|value| string(name, value)).collect::<Result<Vec<_>>>()?;
    function(&texts).map_err(|reason| failed(name, &reason))
}

const ON_TEXTS: &[(&str, OnTexts)] = &[
    ("toUpper", |given| Ok(text(&argument(given)?.to_uppercase()))),
    ("toLower", |given| Ok(text(&argument(given)?.to_lowercase()))),
    ("title", |given| Ok(text(&title(argument(given)?)))),
    ("safeHtml", |given| Ok(text(argument(given)?))),
    ("graphLink", |given| Ok(text(&format!("/graph?g0.expr={}&g0.tab=0", gotmpl::url_encode(argument(given)?))))),
    ("tableLink", |given| Ok(text(&format!("/graph?g0.expr={}&g0.tab=1", gotmpl::url_encode(argument(given)?))))),
    ("urlQueryEscape", |given| Ok(text(&gotmpl::url_encode(argument(given)?)))),
    ("stripPort", |given| Ok(text(split_port(argument(given)?).0))),
    ("stripDomain", |given| Ok(text(&strip_domain(argument(given)?)))),
    ("parseDuration", |given| {
        parse_duration(argument(given)?).map(|span| Value::Float(span.as_secs_f64())).map_err(|error| error.to_string())
    }),
    ("match", |given| match given {
        [pattern, subject] => Ok(Value::Bool(go_regex::compile(pattern)?.is_match(subject))),
        _ => Err(format!("wants 2 arguments, got {}", given.len())),
    }),
    ("reReplaceAll", |given| match given {
        [pattern, replacement, subject] => {
            let replaced = go_regex::compile(pattern)?.replace_all(subject, *replacement);
            if replaced.len() > MAX_OUTPUT {
                return Err(format!("result is longer than {MAX_OUTPUT} bytes"));
            }
            Ok(text(&replaced))
        }
        _ => Err(format!("wants 3 arguments, got {}", given.len())),
    }),
];

fn argument<'a>(given: &[&'a str]) -> std::result::Result<&'a str, String> {
    match given {
        [only] => Ok(only),
        _ => Err(format!("wants 1 argument, got {}", given.len())),
    }
}

type OnNumber = fn(f64) -> std::result::Result<Value, String>;

fn on_number(name: &str, function: OnNumber, given: &[Value]) -> Result<Value> {
    let number = match one(name, given)? {
        Value::Float(number) => *number,
        Value::Int(number) => *number as f64,
        Value::Uint(number) => *number as f64,
        Value::String(digits) => {
            let reason = || failed(name, &format!("strconv.ParseFloat: parsing {digits:?}: invalid syntax"));
            digits.parse().map_err(|_| reason())?
        }
        other => return Err(failed(name, &format!("can't convert {} to float", other.type_name()))),
    };
    function(number).map_err(|reason| failed(name, &reason))
}

const ON_NUMBERS: &[(&str, OnNumber)] = &[
    ("humanize", |value| Ok(text(&humanize::humanize(value)))),
    ("humanize1024", |value| Ok(text(&humanize::humanize1024(value)))),
    ("humanizeDuration", |value| Ok(text(&humanize::duration(value)))),
    ("humanizePercentage", |value| Ok(text(&humanize::percentage(value)))),
    ("humanizeTimestamp", |value| {
        if value.is_finite() {
            humanize::timestamp(value).map(|at| text(&at))
        } else {
            Ok(text(&humanize::four_digits(value)))
        }
    }),
    ("toTime", |value| {
        if value.is_finite() {
            humanize::timestamp(value).map(|at| text(&at))
        } else {
            Err("value is NaN or Inf".to_owned())
        }
    }),
];

fn title(subject: &str) -> String {
    let mut inside_word = false;
    let mut out = String::with_capacity(subject.len());
    for c in subject.chars() {
        if inside_word {
            out.push(c);
        } else {
            out.extend(c.to_uppercase());
        }
        inside_word = c.is_alphanumeric() || c == '_' || (inside_word && c == '\'');
    }
    out
}

/// Host and port; all is host when there is no port, as in Go's `net.SplitHostPort`.
fn split_port(address: &str) -> (&str, Option<&str>) {
    let whole = (address, None);
    let Some((host, port)) = address.rsplit_once(':') else { return whole };
    match host.strip_prefix('[') {
        Some(inside) => match inside.strip_suffix(']') {
            Some(host) if !host.contains(['[', ']']) => (host, Some(port)),
            Some(_) | None => whole,
        },
        None if host.contains([':', '[', ']']) || port.contains(['[', ']']) => whole,
        None => (host, Some(port)),
    }
}

fn strip_domain(address: &str) -> String {
    let (host, port) = split_port(address);
    if host.parse::<IpAddr>().is_ok() {
        return address.to_owned();
    }
    let name = host.split('.').next().unwrap_or(host);
    match port {
        Some(port) if !port.is_empty() => format!("{name}:{port}"),
        Some(_) | None => name.to_owned(),
    }
}

/// The path of a URL.
fn path(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let from = rest.find('/').unwrap_or(rest.len());
    let path = rest.get(from..).unwrap_or_default();
    path.split(['?', '#']).next().unwrap_or_default()
}
