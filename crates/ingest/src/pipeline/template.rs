//! Go templates of the stages `template` and `replace`.

use std::collections::BTreeMap;
use std::sync::Arc;

use gotmpl::{TemplateError, Value};
use signal::go_regex;

use super::Entry;

/// How deep a template may nest; its parser recurses without a limit of its own.
const MAX_DEPTH: usize = 100;
/// Bytes of a rendered text.
const MAX_OUTPUT: usize = 1 << 20;
/// Turns of all loops of a template.
const MAX_TURNS: u64 = 10_000;

pub(super) struct Template(gotmpl::Template);

impl std::fmt::Debug for Template {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Template").finish_non_exhaustive()
    }
}

impl Template {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let depth = text.matches("{{").count() + text.matches('(').count();
        if depth > MAX_DEPTH {
            return Err(format!("the template has more than {MAX_DEPTH} actions and parentheses"));
        }
        let template = functions().into_iter().fold(
            gotmpl::Template::new("pipeline_template").max_range_iters(MAX_TURNS),
            |template, (name, function)| template.func(name, function),
        );
        template.parse(text).map(Self).map_err(|error| error.to_string())
    }

    /// The text for a line; `None` when it cannot be made. `value` is what `.Value` means.
    pub(super) fn render(&self, entry: &Entry, value: Option<&str>, with_entry: bool) -> Option<String> {
        let text = |text: &str| Value::String(text.into());
        let mut fields: BTreeMap<Arc<str>, Value> =
            entry.texts().map(|(name, value)| (Arc::from(name), text(value))).collect();
        if let Some(value) = value {
            fields.insert(Arc::from("Value"), text(value));
        }
        if with_entry {
            fields.insert(Arc::from("Entry"), text(&entry.line));
        }
        let mut output = Capped(String::new());
        self.0.execute_fmt(&mut output, &Value::Map(Arc::new(fields))).ok()?;
        Some(output.0)
    }
}

/// Text that refuses to grow beyond all measure.
struct Capped(String);

impl std::fmt::Write for Capped {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        if self.0.len() + text.len() > MAX_OUTPUT {
            return Err(std::fmt::Error);
        }
        self.0.push_str(text);
        Ok(())
    }
}

type Function = Box<dyn Fn(&[Value]) -> Result<Value, TemplateError> + Send + Sync>;
type Question = fn(&str, &str) -> bool;
type Sum = fn(i64, i64) -> Option<i64>;
type OnTexts = fn(&[&str]) -> Option<String>;

fn functions() -> Vec<(&'static str, Function)> {
    let texts: [(&'static str, usize, OnTexts); 31] = [
        ("ToLower", 1, |a| Some(one(a)?.to_lowercase())),
        ("ToUpper", 1, |a| Some(one(a)?.to_uppercase())),
        ("lower", 1, |a| Some(one(a)?.to_lowercase())),
        ("upper", 1, |a| Some(one(a)?.to_uppercase())),
        ("TrimSpace", 1, |a| Some(one(a)?.trim().to_owned())),
        ("trim", 1, |a| Some(one(a)?.trim().to_owned())),
        ("Trim", 2, |a| two(a).map(|(text, set)| text.trim_matches(|c| set.contains(c)).to_owned())),
        ("TrimLeft", 2, |a| two(a).map(|(text, set)| text.trim_start_matches(|c| set.contains(c)).to_owned())),
        ("TrimRight", 2, |a| two(a).map(|(text, set)| text.trim_end_matches(|c| set.contains(c)).to_owned())),
        ("TrimPrefix", 2, |a| two(a).map(|(text, head)| text.strip_prefix(head).unwrap_or(text).to_owned())),
        ("TrimSuffix", 2, |a| two(a).map(|(text, tail)| text.strip_suffix(tail).unwrap_or(text).to_owned())),
        ("trimAll", 2, |a| two(a).map(|(set, text)| text.trim_matches(|c| set.contains(c)).to_owned())),
        ("trimPrefix", 2, |a| two(a).map(|(head, text)| text.strip_prefix(head).unwrap_or(text).to_owned())),
        ("trimSuffix", 2, |a| two(a).map(|(tail, text)| text.strip_suffix(tail).unwrap_or(text).to_owned())),
        ("replace", 3, |a| three(a).map(|(old, new, text)| text.replace(old, new))),
        ("Replace", 4, |a| {
            let (text, rest) = a.split_first()?;
            let (old, new, count) = three(rest)?;
            let count: i64 = count.parse().ok()?;
            Some(usize::try_from(count).map_or_else(|_| text.replace(old, new), |count| text.replacen(old, new, count)))
        }),
        ("default", 2, |a| two(a).map(|(other, text)| if text.is_empty() { other } else { text }.to_owned())),
        ("coalesce", usize::MAX, |a| Some(a.iter().find(|text| !text.is_empty()).copied().unwrap_or("").to_owned())),
        ("cat", usize::MAX, |a| Some(a.join(" "))),
        ("quote", 1, |a| Some(format!("{:?}", one(a)?))),
        ("squote", 1, |a| Some(format!("'{}'", one(a)?))),
        ("nospace", 1, |a| Some(one(a)?.split_whitespace().collect())),
        ("title", 1, |a| Some(title(one(a)?))),
        ("trunc", 2, |a| {
            let (count, text) = two(a)?;
            truncated(count.parse().ok()?, text)
        }),
        ("substr", 3, |a| {
            let (from, to, text) = three(a)?;
            let (from, to): (i64, i64) = (from.parse().ok()?, to.parse().ok()?);
            let from = usize::try_from(from).unwrap_or(0);
            let to = usize::try_from(to).unwrap_or(text.len()).min(text.len());
            text.get(from.min(to)..to).map(str::to_owned)
        }),
        ("repeat", 2, |a| {
            let (count, text) = two(a)?;
            let count: usize = count.parse().ok()?;
            (count.checked_mul(text.len())? <= MAX_OUTPUT).then(|| text.repeat(count))
        }),
        ("regexReplaceAll", 3, |a| {
            let (pattern, text, with) = three(a)?;
            Some(go_regex::compile(pattern).ok()?.replace_all(text, with).into_owned())
        }),
        ("regexReplaceAllLiteral", 3, |a| {
            let (pattern, text, with) = three(a)?;
            Some(go_regex::compile(pattern).ok()?.replace_all(text, regex::NoExpand(with)).into_owned())
        }),
        ("toString", 1, |a| one(a).map(str::to_owned)),
        ("snakecase", 1, |a| Some(one(a)?.to_lowercase().replace([' ', '-'], "_"))),
        ("kebabcase", 1, |a| Some(one(a)?.to_lowercase().replace([' ', '_'], "-"))),
    ];
    let mut functions: Vec<(&'static str, Function)> = Vec::new();
    for (name, arity, function) in texts {
        functions.push((
            name,
            Box::new(move |given| {
                if arity != usize::MAX && given.len() != arity {
                    return Err(failed(name, &format!("wants {arity} arguments, got {}", given.len())));
                }
                let given: Vec<String> = given.iter().map(show).collect();
                let given: Vec<&str> = given.iter().map(String::as_str).collect();
                let text = function(&given).ok_or_else(|| failed(name, "cannot do this with its arguments"))?;
                Ok(Value::String(text.as_str().into()))
            }),
        ));
    }
    let questions: [(&'static str, Question); 3] = [
        ("contains", |part, text| text.contains(part)),
        ("hasPrefix", |head, text| text.starts_with(head)),
        ("hasSuffix", |tail, text| text.ends_with(tail)),
    ];
    for (name, function) in questions {
        functions.push((
            name,
            Box::new(move |given| match given {
                [a, b] => Ok(Value::Bool(function(&show(a), &show(b)))),
                _ => Err(failed(name, "wants 2 arguments")),
            }),
        ));
    }
    let sums: [(&'static str, Sum); 5] = [
        ("add", i64::checked_add),
        ("sub", i64::checked_sub),
        ("mul", i64::checked_mul),
        ("div", i64::checked_div),
        ("mod", i64::checked_rem),
    ];
    for (name, function) in sums {
        functions.push((
            name,
            Box::new(move |given| {
                let numbers: Option<Vec<i64>> = given.iter().map(whole).collect();
                let numbers = numbers.ok_or_else(|| failed(name, "wants whole numbers"))?;
                let mut numbers = numbers.into_iter();
                let first = numbers.next().ok_or_else(|| failed(name, "wants an argument"))?;
                let sum = numbers.try_fold(first, function);
                sum.map(Value::Int).ok_or_else(|| failed(name, "division by zero or overflow"))
            }),
        ));
    }
    for name in ["int", "int64"] {
        functions.push((name, Box::new(|given| Ok(Value::Int(given.first().and_then(whole).unwrap_or(0))))));
    }
    functions
}

fn failed(name: &str, reason: &str) -> TemplateError {
    TemplateError::Exec(format!("error calling {name}: {reason}"))
}

fn show(value: &Value) -> String {
    match value {
        Value::String(text) => text.to_string(),
        Value::Nil => String::new(),
        other => other.to_string(),
    }
}

fn whole(value: &Value) -> Option<i64> {
    match value {
        Value::Int(number) => Some(*number),
        Value::Float(number) => Some(*number as i64),
        other => show(other).trim().parse::<f64>().ok().map(|number| number as i64),
    }
}

fn one<'a>(given: &[&'a str]) -> Option<&'a str> {
    given.first().copied()
}

fn two<'a>(given: &[&'a str]) -> Option<(&'a str, &'a str)> {
    let [a, b] = given else { return None };
    Some((a, b))
}

fn three<'a>(given: &[&'a str]) -> Option<(&'a str, &'a str, &'a str)> {
    let [a, b, c] = given else { return None };
    Some((a, b, c))
}

/// The first so many characters, or the last when the number is negative.
fn truncated(count: i64, text: &str) -> Option<String> {
    let length = text.chars().count();
    let wanted = usize::try_from(count.unsigned_abs()).ok()?;
    let skipped = if count < 0 { length.saturating_sub(wanted) } else { 0 };
    Some(text.chars().skip(skipped).take(wanted).collect())
}

fn title(text: &str) -> String {
    let mut is_start = true;
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_start {
            out.extend(c.to_uppercase());
        } else {
            out.push(c);
        }
        is_start = c.is_whitespace();
    }
    out
}
