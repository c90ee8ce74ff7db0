//! Printing as Go's `fmt` does: the engine writes numbers its own way.

use std::collections::BTreeMap;
use std::sync::Arc;

use gotmpl::{TemplateError, Value};

use super::humanize::general;
use super::text;

/// A value as `%v` writes it.
pub(super) fn show(value: &Value) -> String {
    match value {
        Value::Float(number) => general(*number, None),
        Value::List(items) => format!("[{}]", items.iter().map(show).collect::<Vec<_>>().join(" ")),
        Value::Map(fields) => {
            let fields = fields.iter().map(|(name, value)| format!("{name}:{}", show(value)));
            format!("map[{}]", fields.collect::<Vec<_>>().join(" "))
        }
        Value::Nil | Value::Bool(_) | Value::Int(_) | Value::Uint(_) | Value::String(_) | Value::Function(_) => {
            value.to_string()
        }
    }
}

/// What an action writes into the text.
pub(super) fn action(given: &[Value]) -> Value {
    match given {
        [] | [Value::Nil] => text("<no value>"),
        [value] => text(&show(value)),
        several => print(several),
    }
}

/// `print`: a space between two values of which neither is a text.
pub(super) fn print(given: &[Value]) -> Value {
    let mut out = String::new();
    let mut was_text = true;
    for (at, value) in given.iter().enumerate() {
        let is_text = matches!(value, Value::String(_));
        if at > 0 && !was_text && !is_text {
            out.push(' ');
        }
        out.push_str(&show(value));
        was_text = is_text;
    }
    text(&out)
}

/// `println`: a space between all values.
pub(super) fn println(given: &[Value]) -> Value {
    text(&format!("{}\n", given.iter().map(show).collect::<Vec<_>>().join(" ")))
}

/// `printf`: the engine's, after what it writes otherwise than Go was made text.
pub(super) fn printf(given: &[Value]) -> Result<Value, TemplateError> {
    let Some((Value::String(format), values)) = given.split_first() else {
        return Err(TemplateError::Exec("printf wants a format and values".to_owned()));
    };
    let (format, values) = as_go(format, values);
    let mut fields = BTreeMap::from([(Arc::from("f"), text(&format))]);
    let mut source = "{{printf .f".to_owned();
    for (at, value) in values.into_iter().enumerate() {
        source.push_str(&format!(" .v{at}"));
        fields.insert(Arc::from(format!("v{at}")), value);
    }
    source.push_str("}}");
    let template = gotmpl::Template::new("printf").parse(&source)?;
    template.execute_to_string(&Value::Map(Arc::new(fields))).map(|out| text(&out))
}

/// Verbs whose value the engine writes otherwise become `%s` of the text Go gives.
fn as_go(format: &str, values: &[Value]) -> (String, Vec<Value>) {
    let mut values = values.to_vec();
    let mut out = String::with_capacity(format.len());
    let mut next = 0;
    let mut rest = format;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        let length =
            after.find(|c: char| !matches!(c, '+' | '-' | '#' | ' ' | '.' | '*' | '0'..='9')).unwrap_or(after.len());
        let (flags, tail) = after.split_at_checked(length).unwrap_or((after, ""));
        let verb = tail.chars().next();
        rest = verb.and_then(|verb| tail.strip_prefix(verb)).unwrap_or_default();
        next += flags.matches('*').count();
        let value = values.get_mut(next);
        let changed = match (verb, &value) {
            (Some('v'), Some(Value::Float(_) | Value::List(_) | Value::Map(_))) => {
                value.as_ref().map(|value| show(value))
            }
            (Some('e' | 'E' | 'f' | 'F' | 'g' | 'G'), Some(Value::Float(number))) if !number.is_finite() => {
                Some(general(*number, None))
            }
            _ => None,
        };
        out.push('%');
        match (changed, value) {
            (Some(changed), Some(value)) => {
                *value = text(&changed);
                // A text has neither sign nor precision, and is padded with blanks.
                let width = flags.split('.').next().unwrap_or_default().trim_start_matches(['+', '#', ' ', '0']);
                out.push_str(width);
                out.push('s');
            }
            _ => {
                out.push_str(flags);
                out.extend(verb);
            }
        }
        next += usize::from(verb != Some('%'));
    }
    out.push_str(rest);
    (out, values)
}
