//! JSON lines, read without building a tree: numbers and nested values keep their own spelling.
//!
//! What counts as malformed, and how it is called, is Loki's: the braces and quotes have to be right, a number only has
//! to begin like one.

mod scan;

use std::borrow::Cow;

use super::entry::{Reason, Take, Tell};
use super::hints::{Hints, sanitize};
use scan::{Elements, Flaw, Members, Value};

pub(super) use scan::{string_end, without_replacements};

/// How deep objects may nest.
const MAX_DEPTH: usize = 128;

/// One step of a path such as `a.b[0]["c d"]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Part {
    Field(String),
    Index(usize),
}

/// Tells of every wanted value of an object; nested names are joined by `_`, arrays and nulls are passed over. What
/// follows the object is not looked at.
pub(super) fn flatten<'x>(line: &'x str, hints: Option<&Hints>, tell: &mut Tell<'_, 'x>) -> Result<(), Reason> {
    walk(line, "", 0, hints, tell).map_err(named)
}

fn named(flaw: Flaw) -> Reason {
    Cow::Borrowed(flaw.as_str())
}

fn walk<'x>(
    text: &'x str,
    prefix: &str,
    depth: usize,
    hints: Option<&Hints>,
    tell: &mut Tell<'_, 'x>,
) -> Result<(), Flaw> {
    if depth > MAX_DEPTH {
        return Err(Flaw::TooDeep);
    }
    let mut members = Members::of(text)?;
    while let Some(key) = members.key()? {
        let key = key.name()?;
        match members.value()? {
            Value::Object(inner) => {
                if hints.is_none_or(|hints| hints.wants_below(prefix, &key)) {
                    walk(inner, &sanitize(prefix, &key), depth + 1, hints, tell)?;
                } else {
                    check(inner, depth + 1)?;
                }
            }
            Value::Array(_) | Value::Null => {}
            value @ (Value::Text { .. } | Value::Number(_) | Value::Flag(_)) => {
                if hints.is_some_and(|hints| !hints.wants_field(prefix, &key)) {
                    continue;
                }
                let name = if prefix.is_empty() && is_label(&key) { key } else { Cow::Owned(sanitize(prefix, &key)) };
                if !name.is_empty() {
                    tell(Take::First, name, value.text());
                }
            }
        }
    }
    Ok(())
}

/// What [`walk`] finds wrong with an object nobody wants anything of.
fn check(text: &str, depth: usize) -> Result<(), Flaw> {
    walk(text, "", depth, Some(&Hints::new([])), &mut |_, _, _| {})
}

/// Tells of the values at certain paths; what is not there becomes an empty label unless there is one of that name.
/// Only what has to be read on the way there can be malformed.
pub(super) fn pick<'x>(
    line: &'x str,
    paths: &[(String, Vec<Part>)],
    hints: Option<&Hints>,
    tell: &mut Tell<'_, 'x>,
) -> Result<(), Reason> {
    match line.bytes().next() {
        None => return Ok(()),
        Some(b'{' | b'[' | b'"') => {}
        Some(_) => return Err(Cow::Borrowed("")),
    }
    let mut search = Search { paths, found: Vec::new(), flaw: None };
    let all: Vec<usize> = (0..paths.len()).collect();
    search.descend(line, 0, &all);
    let Search { mut found, flaw, .. } = search;
    // Of several values for one label the one counts that the line has last.
    let there: Vec<usize> = found.iter().map(|(at, _)| *at).collect();
    found.extend((0..paths.len()).filter(|at| !there.contains(at)).map(|at| (at, None)));
    for (at, value) in found {
        let Some((label, _)) = paths.get(at).filter(|(label, _)| hints.is_none_or(|hints| hints.wants(label))) else {
            continue;
        };
        let take = if value.is_some() { Take::Last } else { Take::Missing };
        tell(take, Cow::Owned(label.clone()), value.unwrap_or_default());
    }
    flaw.map_or(Ok(()), |flaw| Err(named(flaw)))
}

struct Search<'p, 'x> {
    paths: &'p [(String, Vec<Part>)],
    /// Paths by number, each once and in the order of the line, with their values.
    found: Vec<(usize, Option<Cow<'x, str>>)>,
    flaw: Option<Flaw>,
}

impl<'x> Search<'_, 'x> {
    /// Looks into the object or array that `text` begins with; `live` are the paths that lead here. What is malformed
    /// there is passed over.
    fn descend(&mut self, text: &'x str, level: usize, live: &[usize]) {
        if level > MAX_DEPTH {
            return;
        }
        if text.trim_start().starts_with('[') {
            let Ok(mut elements) = Elements::of(text) else { return };
            let mut index = 0;
            while let Ok(Some(value)) = elements.value() {
                self.take(&Ok(value), "", level, live, |part| *part == Part::Index(index));
                index += 1;
            }
            return;
        }
        let Ok(mut members) = Members::of(text) else { return };
        while let Some(key) = members.any_key() {
            let Ok(key) = key.name() else { return };
            let rest = members.rest();
            let value = members.value();
            self.take(&value, rest, level, live, |part| matches!(part, Part::Field(name) if *name == key));
        }
    }

    /// Notes a value for the paths that end here and goes on with those that lead further.
    fn take(
        &mut self,
        value: &Result<Value<'x>, Flaw>,
        rest: &'x str,
        level: usize,
        live: &[usize],
        fits: impl Fn(&Part) -> bool,
    ) {
        let mut further = Vec::new();
        for at in live {
            let Some((_, path)) = self.paths.get(*at) else { continue };
            if !path.get(level).is_some_and(&fits) {
                continue;
            }
            if level + 1 < path.len() {
                further.push(*at);
                continue;
            }
            if self.found.iter().any(|(known, _)| known == at) {
                continue;
            }
            let value = match value {
                Ok(Value::Null) => Cow::Borrowed(""),
                Ok(Value::Object(raw)) => Cow::Borrowed(*raw),
                Ok(Value::Array(raw)) => scan::unescape(raw),
                Ok(value @ (Value::Text { .. } | Value::Number(_) | Value::Flag(_))) => value.text(),
                Err(flaw) => {
                    self.flaw = Some(*flaw);
                    continue;
                }
            };
            self.found.push((*at, Some(value)));
        }
        if further.is_empty() {
            return;
        }
        match value {
            Ok(Value::Object(inner) | Value::Array(inner)) => self.descend(inner, level + 1, &further),
            Ok(Value::Text { .. } | Value::Number(_) | Value::Flag(_) | Value::Null) => {}
            // What lies at the path may be whole although its surroundings are not.
            Err(_) => self.descend(rest, level + 1, &further),
        }
    }
}

/// Tells of the text members of an object, if one of them is `_entry`: the line that was packed, which it answers.
pub(super) fn unpack<'x>(
    line: &'x str,
    hints: Option<&Hints>,
    tell: &mut Tell<'_, 'x>,
) -> Result<Option<String>, Reason> {
    if line.is_empty() {
        return Ok(None);
    }
    if !line.starts_with('{') {
        return Err(Cow::Borrowed("expecting json object(6), but it is not"));
    }
    packed_line(line, hints, tell).map_err(named)
}

fn packed_line<'x>(line: &'x str, hints: Option<&Hints>, tell: &mut Tell<'_, 'x>) -> Result<Option<String>, Flaw> {
    let mut packed = None;
    let mut labels: Vec<(Cow<'x, str>, Cow<'x, str>)> = Vec::new();
    let mut members = Members::of(line)?;
    while let Some(key) = members.key()? {
        let key = key.name()?;
        let value = members.value()?;
        let Value::Text { raw, .. } = value else { continue };
        if key == "_entry" {
            packed = Some(scan::resolve(raw)?.into_owned());
        } else if hints.is_none_or(|hints| hints.wants_field("", &key)) {
            // Here the last of several values counts.
            let name = if is_label(&key) { key } else { Cow::Owned(sanitize("", &key)) };
            labels.retain(|(known, _)| *known != name);
            labels.push((name, value.text()));
        }
    }
    if packed.is_some() {
        labels.into_iter().for_each(|(name, value)| tell(Take::First, name, value));
    }
    Ok(packed)
}

/// Reads a path.
pub(super) fn parse_path(text: &str) -> Result<Vec<Part>, String> {
    let wrong = |what: &str| format!("cannot parse expression [{text}]: {what}");
    let mut parts = Vec::new();
    let mut rest = text;
    loop {
        if let Some(inside) = rest.strip_prefix('[') {
            if let Some(quoted) = inside.strip_prefix('"') {
                let (end, _) = scan::string_end(quoted)
                    .ok_or_else(|| wrong("syntax error: unexpected $end, expecting STRING or INDEX"))?;
                let (raw, tail) = quoted.split_at_checked(end).ok_or_else(|| wrong("syntax error"))?;
                let name = scan::resolve(raw).map_err(|_| wrong("invalid escape"))?;
                parts.push(Part::Field(name.into_owned()));
                rest = tail.strip_prefix("\"]").ok_or_else(|| wrong("syntax error: unexpected $end, expecting ]"))?;
            } else {
                let Some((index, tail)) = inside.split_once(']') else {
                    return Err(wrong("syntax error: unexpected $end, expecting STRING or INDEX"));
                };
                parts.push(Part::Index(
                    index.parse().map_err(|_| wrong("syntax error: unexpected FIELD, expecting STRING or INDEX"))?,
                ));
                rest = tail;
            }
        } else {
            let length = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '-')).unwrap_or(rest.len());
            let (name, tail) = rest.split_at_checked(length).ok_or_else(|| wrong("syntax error"))?;
            match name.chars().next() {
                Some(first) if first.is_alphabetic() || first == '_' => parts.push(Part::Field(name.to_owned())),
                Some(first) => return Err(wrong(&format!("unexpected char {first}"))),
                None => match rest.chars().next() {
                    Some(first) => return Err(wrong(&format!("unexpected char {first}"))),
                    None => return Err(wrong("syntax error: unexpected $end")),
                },
            }
            rest = tail;
        }
        match rest.chars().next() {
            None => return Ok(parts),
            Some('.') => rest = rest.get(1..).unwrap_or_default(),
            Some('[') => {}
            Some(other) => return Err(wrong(&format!("unexpected char {other}"))),
        }
    }
}

pub(super) fn is_label(key: &str) -> bool {
    let starts = key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    starts && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was told, and what was wrong.
    fn told(
        run: impl for<'x> FnOnce(&'x str, &mut Tell<'_, 'x>) -> Result<(), Reason>,
        line: &str,
    ) -> (String, Option<String>) {
        let mut pairs = Vec::new();
        let outcome = run(line, &mut |_, name, value| pairs.push(format!("{name}={value}")));
        (pairs.join(" "), outcome.err().map(Cow::into_owned))
    }

    #[test]
    fn flattening_keeps_the_spelling() {
        for (line, want) in [
            (r#"{"a":"b","n":1.50,"t":true,"z":null,"l":[1,{"x":2}]}"#, "a=b n=1.50 t=true"),
            (r#"{"a":{"b":{"c":"d"}}}"#, "a_b_c=d"),
            (r#"{"a-b.c":"1","9x":"2"," y ":"3"}"#, "a_b_c=1 _9x=2 y=3"),
            (r#"{"a":"x\"y\n\u00e9\ud83d\ude00"}"#, "a=x\"y\né😀"),
            (r#"{"a":"\q","b":"\ud83d","c":"\u12"}"#, "a= b= c="),
            ("{\"a\":\"x\u{fffd}y\"}", "a=x y"),
            (r#"{" ":{"foo":"bar"," ":"x"}}"#, "foo=bar"),
            (r#"{"a":{"":"x"}}"#, "a=x"),
            (r#"{"n":1e999,"m":-,"o":12ab}"#, "n=1e999 m=- o=12ab"),
            (r#"{"a":1,}"#, "a=1"),
            ("{} rest", ""),
            ("  {\"a\" : 1 }", "a=1"),
            (r#"{"l":["]","[",{"x":"}"}],"a":"after"}"#, "a=after"),
        ] {
            assert_eq!(told(|line, tell| flatten(line, None, tell), line), (want.to_owned(), None), "{line}");
        }
    }

    #[test]
    fn malformed_lines_are_called_what_loki_calls_them() {
        let object = "Value looks like object, but can't find closing '}' symbol";
        let array = "Value is array, but can't find closing ']' symbol";
        for (line, told_before, want) in [
            ("", "", object),
            ("plain", "", object),
            ("[1]", "", object),
            ("{n}", "", object),
            ("{", "", "Malformed JSON error"),
            ("{\"a\"", "", "Malformed JSON error"),
            ("{\"a", "", "Malformed JSON error"),
            ("{\"a\":", "", "Malformed JSON error"),
            ("{\"a\":}", "", "Unknown value type"),
            ("{\"a\":tru}", "", "Unknown value type"),
            ("{\"a\":1", "a=1", array),
            ("{\"a\":1,", "a=1", array),
            ("{\"a\":1 2}", "a=1", object),
            ("{\"b\":1,\"a\":\"x", "b=1", "Value is string, but can't find closing '\"' symbol"),
            ("{\"b\":1,\"a\":{\"c\":2", "b=1", object),
            ("{\"a\":[1,", "", array),
            ("{\"\\q\":1}", "", "Encountered an invalid escape sequence in a string"),
        ] {
            let want = (told_before.to_owned(), Some(want.to_owned()));
            assert_eq!(told(|line, tell| flatten(line, None, tell), line), want, "{line}");
        }
    }

    #[test]
    fn deep_lines_do_not_overflow() {
        for line in [
            format!("{}1{}", "{\"a\":".repeat(50_000), "}".repeat(50_000)),
            format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(99_999)),
        ] {
            assert!(told(|line, tell| flatten(line, None, tell), &line).1.is_some(), "{line:.20}");
        }
        let paths = [("l".to_owned(), vec![Part::Index(0); 1000])];
        assert_eq!(told(|line, tell| pick(line, &paths, None, tell), &"[".repeat(2000)).0, "l=");
    }

    #[test]
    fn paths_reach_into_arrays() {
        let line =
            r#"{"servers":["a","b"],"request":{"headers":{"X-Y":"v"},"n":{"k":[1, 2]}},"z":null,"e":"{ \"k\": 1}"}"#;
        for (path, want) in [
            ("servers[1]", "b"),
            ("servers", "[\"a\",\"b\"]"),
            ("request.headers[\"X-Y\"]", "v"),
            ("request.n", "{\"k\":[1, 2]}"),
            ("[\"request\"].n.k[0]", "1"),
            ("nothing.here", ""),
            ("z", ""),
            ("e", "{ \"k\": 1}"),
            ("servers[9]", ""),
        ] {
            let paths = [("l".to_owned(), parse_path(path).unwrap())];
            let want = (format!("l={want}"), None);
            assert_eq!(told(|line, tell| pick(line, &paths, None, tell), line), want, "{path}");
        }
        for bad in ["bar[", "a..b", "a b", "a[x]", "", "[\"a\""] {
            assert!(parse_path(bad).unwrap_err().starts_with(&format!("cannot parse expression [{bad}]: ")), "{bad}");
        }
    }

    #[test]
    fn paths_forgive_what_they_need_not_read() {
        let unclosed = "Value is string, but can't find closing '\"' symbol";
        for (path, line, told_of, wrong) in [
            ("a", r#"{"a":1,"b":"cut"#, "l=1", None),
            ("b", r#"{"a":1,"b":"cut"#, "l=", Some(unclosed)),
            ("c", r#"{"a":1,"b":"cut"#, "l=", None),
            ("a.b", r#"{"a":{"b":7,"c":{"#, "l=7", None),
            ("a", "plain", "", Some("")),
            ("a", " {\"a\":1}", "", Some("")),
            ("a", "", "", None),
            ("a", r#"{"a":1,"a":2}"#, "l=1", None),
            ("a", r#"{"o":{"z":1}x,"a":2}"#, "l=2", None),
            ("o", r#"{"o":{"z":1}x,"a":2}"#, "l={\"z\":1}", None),
            ("a", r#"{"o":["a\qb"],"a":2}"#, "l=2", None),
            ("a", r#"{"b":tru,"a":2}"#, "l=2", None),
            ("a", "{garbage", "l=", None),
            ("a", r#"{"a"}"#, "l=", None),
            ("o[0]", r#"{"o":{"z":1},"o":[[7],  8]}"#, "l=[7]", None),
            ("a", "\"hello\"trailing", "l=", None),
        ] {
            let paths = [("l".to_owned(), parse_path(path).unwrap())];
            let want = (told_of.to_owned(), wrong.map(str::to_owned));
            assert_eq!(told(|line, tell| pick(line, &paths, None, tell), line), want, "{path} of {line}");
        }
    }

    #[test]
    fn the_last_value_of_the_line_counts_for_a_label_of_several_paths() {
        for (line, want) in
            [(r#"{"p":1,"q":{"r":2}}"#, "l=1 l=2"), (r#"{"q":{"r":2},"p":1}"#, "l=2 l=1"), (r#"{"p":1}"#, "l=1 l=")]
        {
            let paths = ["p", "q.r"].map(|path| ("l".to_owned(), parse_path(path).unwrap()));
            assert_eq!(told(|line, tell| pick(line, &paths, None, tell), line).0, want, "{line}");
        }
    }

    #[test]
    fn unpacking_takes_texts_and_the_line() {
        for (line, want, packed, wrong) in [
            (r#"{"pod":"p","n":1,"_entry":"the \"line\""}"#, "pod=p", Some("the \"line\""), None),
            (r#"{"pod":"p"}"#, "", None, None),
            (r#"{"a":"1","b":"x","a":"2","_entry":"l"}"#, "b=x a=2", Some("l"), None),
            ("", "", None, None),
            ("plain", "", None, Some("expecting json object(6), but it is not")),
            (r#"{"pod":"p","_entry":"x"#, "", None, Some("Value is string, but can't find closing '\"' symbol")),
        ] {
            let mut out = None;
            let told = told(|line, tell| unpack(line, None, tell).map(|found| out = found), line);
            assert_eq!(told, (want.to_owned(), wrong.map(str::to_owned)), "{line}");
            assert_eq!(out.as_deref(), packed, "{line}");
        }
    }
}
