//! Fields of JSON and logfmt lines.

use std::borrow::Cow;

use serde_json::Value;

/// The way to a value: names and places in lists. This much of JMESPath is what configurations use.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct JsonPath(Vec<Step>);

#[derive(Clone, PartialEq, Eq, Debug)]
enum Step {
    Name(String),
    /// From the end when negative.
    Place(i64),
}

impl JsonPath {
    /// Reads `a.b`, `"k8s.io/name".x`, `list[0]`, `list[-1].x`, and `@` for everything.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let fail =
            || format!("`{text}` is not understood: only paths such as `a.b`, `list[0].c` and `\"k8s.io/name\"` are");
        let mut rest = text.trim();
        let mut steps = Vec::new();
        if rest == "@" {
            return Ok(Self(steps));
        }
        let mut needs_name = true;
        while needs_name || !rest.is_empty() {
            if let Some(after) = rest.strip_prefix('[').filter(|_| !steps.is_empty() || needs_name) {
                let (place, after) = after.split_once(']').ok_or_else(fail)?;
                steps.push(Step::Place(place.trim().parse().map_err(|_| fail())?));
                rest = after;
            } else {
                let (name, after) = name(rest).ok_or_else(fail)?;
                steps.push(Step::Name(name.into_owned()));
                rest = after;
            }
            needs_name = false;
            if let Some(after) = rest.strip_prefix('.') {
                rest = after;
                needs_name = true;
                if rest.starts_with('[') {
                    return Err(fail());
                }
            } else if !rest.is_empty() && !rest.starts_with('[') {
                return Err(fail());
            }
        }
        Ok(Self(steps))
    }

    pub(super) fn find<'v>(&self, value: &'v Value) -> Option<&'v Value> {
        self.0.iter().try_fold(value, |value, step| match step {
            Step::Name(name) => value.as_object()?.get(name),
            Step::Place(place) => {
                let list = value.as_array()?;
                let at = usize::try_from(place.unsigned_abs()).ok()?;
                if *place >= 0 { list.get(at) } else { list.get(list.len().checked_sub(at)?) }
            }
        })
    }
}

fn name(text: &str) -> Option<(Cow<'_, str>, &str)> {
    if text.starts_with('"') {
        let mut names = serde_json::Deserializer::from_str(text).into_iter::<String>();
        let name = names.next()?.ok()?;
        return Some((Cow::Owned(name), text.get(names.byte_offset()..)?));
    }
    let end = text.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count();
    let (name, after) = text.split_at_checked(end)?;
    (!name.is_empty() && !name.starts_with(|first: char| first.is_ascii_digit()))
        .then_some((Cow::Borrowed(name), after))
}

/// A value as text; `None` for null. Lists and objects are JSON again.
pub(super) fn json_text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Number(number) => Some(match (number.is_f64(), number.as_f64()) {
            // Without an exponent, as promtail writes it; whole numbers stay exact.
            (true, Some(number)) => number.to_string(),
            _ => number.to_string(),
        }),
        Value::Array(_) | Value::Object(_) => Some(value.to_string()),
    }
}

/// The pairs of a logfmt line, until something is none.
pub(super) fn logfmt(text: &str, mut each: impl FnMut(&str, &str)) {
    let is_space = |c: char| c <= ' ';
    let mut rest = text.trim_start_matches(is_space);
    while !rest.is_empty() {
        let end = rest.find(|c: char| is_space(c) || c == '=' || c == '"').unwrap_or(rest.len());
        let Some((key, after)) = rest.split_at_checked(end) else { return };
        if after.starts_with('"') || (key.is_empty() && after.starts_with('=')) {
            return;
        }
        let Some(after) = after.strip_prefix('=') else {
            each(key, "");
            rest = after.trim_start_matches(is_space);
            continue;
        };
        rest = if after.starts_with('"') {
            let Some((value, after)) = quoted(after) else { return };
            each(key, &value);
            after
        } else {
            let end = after.find(is_space).unwrap_or(after.len());
            let Some((value, after)) = after.split_at_checked(end) else { return };
            if value.contains(['=', '"']) {
                return;
            }
            each(key, value);
            after
        };
        rest = rest.trim_start_matches(is_space);
    }
}

fn quoted(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let mut escaped = false;
    let end = text.bytes().enumerate().skip(1).find_map(|(at, byte)| {
        let is_end = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        is_end.then_some(at)
    })?;
    let (inside, after) = (text.get(1..end)?, text.get(end + 1..)?);
    if !inside.contains('\\') {
        return Some((Cow::Borrowed(inside), after));
    }
    let whole = serde_json::from_str(text.get(..=end)?);
    Some((Cow::Owned(whole.unwrap_or_else(|_| inside.to_owned())), after))
}
