//! JSON lines, read without building a tree: numbers and nested values keep their own spelling.

use std::borrow::Cow;

use super::entry::Found;

/// How deep objects and arrays may nest.
const MAX_DEPTH: usize = 128;

/// One step of a path such as `a.b[0]["c d"]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Part {
    Field(String),
    Index(usize),
}

/// Takes every value of an object; nested names are joined by `_`, arrays and nulls are passed over. What follows the
/// object is not looked at.
pub(super) fn flatten<'x>(line: &'x str, found: &mut Found<'x>) -> Result<(), String> {
    let mut scanner = Scanner::new(line);
    scanner.skip_blank();
    scanner.object("", 0, found)
}

/// Takes the values at certain paths; what is not there becomes an empty label.
pub(super) fn pick<'x>(line: &'x str, paths: &[(String, Vec<Part>)], found: &mut Found<'x>) -> Result<(), String> {
    let mut scanner = Scanner::new(line);
    scanner.skip_blank();
    if scanner.peek() != Some(b'{') {
        return Err(scanner.wrong("an object"));
    }
    scanner.skip_value(0)?;
    for (label, path) in paths {
        let mut scanner = Scanner::new(line);
        scanner.skip_blank();
        let value = match scanner.find(path)? {
            Some(raw) if raw.starts_with('"') => unquote(raw)?,
            Some("null") | None => Cow::Borrowed(""),
            Some(raw) => Cow::Borrowed(raw),
        };
        found.push((Cow::Owned(label.clone()), value));
    }
    Ok(())
}

/// Takes the text members of an object; `_entry` is the line that was packed.
pub(super) fn unpack<'x>(line: &'x str, found: &mut Found<'x>) -> Result<Option<String>, String> {
    let mut scanner = Scanner::new(line);
    scanner.skip_blank();
    let mut packed = None;
    scanner.members(|scanner, key| {
        scanner.skip_blank();
        if scanner.peek() != Some(b'"') {
            scanner.skip_value(0)?;
            return Ok(());
        }
        let value = unquote(scanner.string()?)?;
        if key == "_entry" {
            packed = Some(value.into_owned());
        } else {
            found.push((sanitize("", &key), value));
        }
        Ok(())
    })?;
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
                let end = closing_quote(quoted)
                    .ok_or_else(|| wrong("syntax error: unexpected $end, expecting STRING or INDEX"))?;
                let (raw, tail) = quoted.split_at_checked(end).ok_or_else(|| wrong("syntax error"))?;
                let name = unquote_body(raw).map_err(|_| wrong("invalid escape"))?;
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

fn closing_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(at),
            _ => {}
        }
    }
    None
}

struct Scanner<'x> {
    text: &'x str,
    at: usize,
}

impl<'x> Scanner<'x> {
    fn new(text: &'x str) -> Self {
        Self { text, at: 0 }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_blank(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn wrong(&self, wanted: &str) -> String {
        format!("expected {wanted} at byte {}", self.at)
    }

    fn expect(&mut self, byte: u8, wanted: &str) -> Result<(), String> {
        self.skip_blank();
        if self.peek() != Some(byte) {
            return Err(self.wrong(wanted));
        }
        self.at += 1;
        Ok(())
    }

    /// A string with its quotes, escapes unresolved.
    fn string(&mut self) -> Result<&'x str, String> {
        let start = self.at;
        self.expect(b'"', "a string")?;
        let body = self.text.get(self.at..).unwrap_or_default();
        let end = closing_quote(body).ok_or_else(|| self.wrong("the end of a string"))?;
        self.at += end + 1;
        Ok(self.text.get(start..self.at).unwrap_or_default())
    }

    /// Calls `with` at the value of each member; it must move past the value.
    fn members(&mut self, mut with: impl FnMut(&mut Self, Cow<'x, str>) -> Result<(), String>) -> Result<(), String> {
        self.expect(b'{', "an object")?;
        self.skip_blank();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.skip_blank();
            let key = unquote(self.string()?)?;
            self.expect(b':', "`:`")?;
            with(self, key)?;
            self.skip_blank();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return Err(self.wrong("`,` or `}`")),
            }
        }
    }

    fn object(&mut self, prefix: &str, depth: usize, found: &mut Found<'x>) -> Result<(), String> {
        if depth > MAX_DEPTH {
            return Err(format!("objects are nested deeper than {MAX_DEPTH} levels"));
        }
        self.members(|scanner, key| {
            scanner.skip_blank();
            match scanner.peek() {
                Some(b'{') => {
                    let prefix = sanitize(prefix, &key).into_owned();
                    scanner.object(&prefix, depth + 1, found)
                }
                Some(b'"') => {
                    let value = unquote(scanner.string()?)?;
                    push(found, prefix, key, value);
                    Ok(())
                }
                Some(b'[') => scanner.skip_value(depth + 1).map(drop),
                _ => {
                    let raw = scanner.skip_value(depth)?;
                    if raw != "null" {
                        push(found, prefix, key, Cow::Borrowed(raw));
                    }
                    Ok(())
                }
            }
        })
    }

    /// Moves past a value and answers how it is spelt.
    fn skip_value(&mut self, depth: usize) -> Result<&'x str, String> {
        if depth > MAX_DEPTH {
            return Err(format!("values are nested deeper than {MAX_DEPTH} levels"));
        }
        self.skip_blank();
        let start = self.at;
        match self.peek() {
            Some(b'"') => drop(self.string()?),
            Some(b'{') => self.members(|scanner, _| scanner.skip_value(depth + 1).map(drop))?,
            Some(b'[') => self.elements(|scanner, _| scanner.skip_value(depth + 1).map(drop))?,
            _ => self.literal()?,
        }
        Ok(self.text.get(start..self.at).unwrap_or_default())
    }

    fn elements(&mut self, mut with: impl FnMut(&mut Self, usize) -> Result<(), String>) -> Result<(), String> {
        self.expect(b'[', "an array")?;
        self.skip_blank();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(());
        }
        for index in 0.. {
            with(self, index)?;
            self.skip_blank();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => break,
                _ => return Err(self.wrong("`,` or `]`")),
            }
        }
        self.at += 1;
        Ok(())
    }

    fn literal(&mut self) -> Result<(), String> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let length =
            rest.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.')).count();
        let word = rest.get(..length).unwrap_or_default();
        let is_number = word.starts_with(|c: char| c.is_ascii_digit() || c == '-') && word.parse::<f64>().is_ok();
        if !is_number && !matches!(word, "true" | "false" | "null") {
            return Err(self.wrong("a value"));
        }
        self.at += length;
        Ok(())
    }

    /// The spelling of the value at `path`, starting at the value here. The text is known to be well formed.
    fn find(&mut self, path: &[Part]) -> Result<Option<&'x str>, String> {
        let mut found = None;
        self.skip_blank();
        let Some((part, rest)) = path.split_first() else {
            return self.skip_value(0).map(Some);
        };
        match (part, self.peek()) {
            (Part::Field(name), Some(b'{')) => self.members(|scanner, key| {
                if found.is_none() && key == *name {
                    found = scanner.find(rest)?;
                    return Ok(());
                }
                scanner.skip_value(0).map(drop)
            })?,
            (Part::Index(wanted), Some(b'[')) => self.elements(|scanner, index| {
                if index == *wanted {
                    found = scanner.find(rest)?;
                    return Ok(());
                }
                scanner.skip_value(0).map(drop)
            })?,
            _ => drop(self.skip_value(0)?),
        }
        Ok(found)
    }
}

fn push<'x>(found: &mut Found<'x>, prefix: &str, key: Cow<'x, str>, value: Cow<'x, str>) {
    if prefix.is_empty() && is_label(&key) {
        found.push((key, value));
        return;
    }
    let name = sanitize(prefix, &key);
    if !name.is_empty() {
        found.push((Cow::Owned(name.into_owned()), value));
    }
}

fn is_label(key: &str) -> bool {
    let starts = key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    starts && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Makes a label name: `prefix_key` with what a name cannot hold replaced by `_`.
pub(super) fn sanitize<'x>(prefix: &str, key: &str) -> Cow<'x, str> {
    let key = key.trim();
    let mut name = String::with_capacity(prefix.len() + key.len() + 1);
    if !prefix.is_empty() {
        name.push_str(prefix);
        name.push('_');
    } else if key.starts_with(|c: char| c.is_ascii_digit()) {
        name.push('_');
    }
    name.extend(key.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }));
    Cow::Owned(name)
}

fn unquote(quoted: &str) -> Result<Cow<'_, str>, String> {
    let body = quoted.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(quoted);
    unquote_body(body)
}

fn unquote_body(body: &str) -> Result<Cow<'_, str>, String> {
    if !body.contains('\\') {
        return Ok(Cow::Borrowed(body));
    }
    // Raw control characters are common in log lines and harmless; the decoder would refuse them.
    let clean: String =
        body.chars().map(|c| if c.is_control() { format!("\\u{:04x}", u32::from(c)) } else { c.to_string() }).collect();
    serde_json::from_str::<String>(&format!("\"{clean}\""))
        .map(Cow::Owned)
        .map_err(|error| format!("invalid string: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(found: &Found<'_>) -> String {
        found.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn flattening_keeps_the_spelling() {
        for (line, want) in [
            (r#"{"a":"b","n":1.50,"t":true,"z":null,"l":[1,{"x":2}]}"#, "a=b n=1.50 t=true"),
            (r#"{"a":{"b":{"c":"d"}}}"#, "a_b_c=d"),
            (r#"{"a-b.c":"1","9x":"2"," y ":"3"}"#, "a_b_c=1 _9x=2 y=3"),
            (r#"{"a":"x\"y\n\u00e9"}"#, "a=x\"y\né"),
            ("{} rest", ""),
            ("  {\"a\" : 1 }", "a=1"),
        ] {
            let mut found = Vec::new();
            flatten(line, &mut found).unwrap();
            assert_eq!(pairs(&found), want, "{line}");
        }
    }

    #[test]
    fn malformed_lines_are_errors_and_deep_ones_do_not_overflow() {
        let deep = "{\"a\":".repeat(100_000);
        let array = format!("{{\"a\":{}", "[".repeat(100_000));
        for line in [
            "",
            "plain",
            "[1]",
            "{",
            "{\"a\"",
            "{\"a\":}",
            "{\"a\":tru}",
            "{\"a\":1",
            "{\"a\":\"x",
            "{\"a\":1 2}",
            &deep,
            &array,
        ] {
            assert!(flatten(line, &mut Vec::new()).is_err(), "{:.20}", line);
        }
    }

    #[test]
    fn paths_reach_into_arrays() {
        let line = r#"{"servers":["a","b"],"request":{"headers":{"X-Y":"v"},"n":{"k":[1, 2]}},"z":null}"#;
        for (path, want) in [
            ("servers[1]", "b"),
            ("request.headers[\"X-Y\"]", "v"),
            ("request.n", "{\"k\":[1, 2]}"),
            ("[\"request\"].n.k[0]", "1"),
            ("nothing.here", ""),
            ("z", ""),
            ("servers[9]", ""),
        ] {
            let mut found = Vec::new();
            pick(line, &[("l".to_owned(), parse_path(path).unwrap())], &mut found).unwrap();
            assert_eq!(pairs(&found), format!("l={want}"), "{path}");
        }
        for bad in ["bar[", "a..b", "a b", "a[x]", "", "[\"a\""] {
            assert!(parse_path(bad).unwrap_err().starts_with(&format!("cannot parse expression [{bad}]: ")), "{bad}");
        }
    }

    #[test]
    fn unpacking_takes_texts_and_the_line() {
        let mut found = Vec::new();
        let line = unpack(r#"{"pod":"p","n":1,"_entry":"the line"}"#, &mut found).unwrap();
        assert_eq!((pairs(&found).as_str(), line.as_deref()), ("pod=p", Some("the line")));
    }
}
