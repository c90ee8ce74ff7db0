//! The pattern language: literals with `<name>` and `<_>` between them.

/// A compiled pattern.
#[derive(Debug)]
pub(crate) struct Pattern(Vec<Part>);

#[derive(Debug)]
enum Part {
    Literal(String),
    /// `<_>` has no name.
    Capture(Option<String>),
}

impl Pattern {
    /// For the `pattern` stage: at least one named capture, none twice, none next to another.
    pub(super) fn for_captures(text: &str) -> Result<Self, String> {
        let pattern = Self::parse(text)?;
        let mut names: Vec<&str> = Vec::new();
        for name in pattern.names() {
            if names.contains(&name) {
                return Err(format!("duplicate capture name ({name}): invalid expression"));
            }
            names.push(name);
        }
        if names.is_empty() {
            return Err("at least one capture is required".to_owned());
        }
        Ok(pattern)
    }

    /// For `|>` and `!>`: no named captures.
    pub(super) fn for_filter(text: &str) -> Result<Self, String> {
        let pattern = Self::parse(text)?;
        let named = pattern.names().next().map(|name| format!("named captures are not allowed: found '<{name}>'"));
        match named {
            Some(reason) => Err(reason),
            None => Ok(pattern),
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut parts: Vec<Part> = Vec::new();
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            if let Some((name, tail)) = capture(rest) {
                if let Some(Part::Capture(previous)) = parts.last() {
                    let previous = previous.as_deref().unwrap_or("_");
                    return Err(format!("found consecutive capture '<{previous}><{name}>': invalid expression"));
                }
                parts.push(Part::Capture((name != "_").then(|| name.to_owned())));
                rest = tail;
                continue;
            }
            match parts.last_mut() {
                Some(Part::Literal(literal)) => literal.push(first),
                Some(Part::Capture(_)) | None => parts.push(Part::Literal(first.to_string())),
            }
            rest = rest.strip_prefix(first).unwrap_or_default();
        }
        Ok(Self(parts))
    }

    /// Names of the captures.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Capture(name) => name.as_deref(),
            Part::Literal(_) => None,
        })
    }

    /// Tells of what lies between the literals. A literal that is missing ends it: the capture before gets all the rest.
    pub(super) fn capture<'x>(&self, line: &'x str, mut tell: impl FnMut(&str, &'x str)) {
        let mut rest = line;
        let mut parts = self.0.as_slice();
        if let [Part::Literal(prefix), tail @ ..] = parts {
            let Some(after) = rest.strip_prefix(prefix.as_str()) else { return };
            rest = after;
            parts = tail;
        }
        while let [Part::Capture(name), tail @ ..] = parts {
            let (value, after) = match tail.first() {
                Some(Part::Literal(literal)) => {
                    rest.split_once(literal.as_str()).map_or((rest, None), |(value, after)| (value, Some(after)))
                }
                Some(Part::Capture(_)) | None => (rest, None),
            };
            if let Some(name) = name {
                tell(name, value);
            }
            let Some(after) = after else { return };
            rest = after;
            parts = tail.split_first().map_or(&[], |(_, tail)| tail);
        }
    }

    /// Whether the whole line is covered; a `<_>` stands for at least one character.
    pub(super) fn covers(&self, line: &str) -> bool {
        let mut rest = line;
        for (at, part) in self.0.iter().enumerate() {
            let Part::Literal(literal) = part else { continue };
            let Some((before, after)) = rest.split_once(literal.as_str()) else { return false };
            // Before the first literal lies nothing, before a later one what its capture takes.
            if before.is_empty() != (at == 0) {
                return false;
            }
            rest = after;
        }
        match self.0.last() {
            Some(Part::Capture(_)) => !rest.is_empty(),
            Some(Part::Literal(_)) | None => rest.is_empty(),
        }
    }
}

/// `<name>` at the beginning of `text`, and what follows.
fn capture(text: &str) -> Option<(&str, &str)> {
    let (name, tail) = text.strip_prefix('<')?.split_once('>')?;
    let mut chars = name.chars();
    let starts = chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    (starts && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')).then_some((name, tail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captures_take_what_lies_between() {
        for (pattern, line, want) in [
            ("<ip> - - <_> \"<method> <path>\"", "1.2.3.4 - - x \"GET /a\"", "ip=1.2.3.4 method=GET path=/a"),
            ("a=<x> b", "a=1 b", "x=1"),
            ("a=<x> b", "z a=1 b", ""),
            ("<a> <b>", "single", "a=single"),
            ("<_> <b>", "one two three", "b=two three"),
            ("level=<l>", "", ""),
        ] {
            let mut found = Vec::new();
            Pattern::for_captures(pattern).unwrap().capture(line, |name, value| found.push(format!("{name}={value}")));
            assert_eq!(found.join(" "), want, "{pattern} on {line}");
        }
    }

    #[test]
    fn a_filter_covers_the_whole_line() {
        for (pattern, line, want) in [
            ("<_> foo", "a foo", true),
            ("<_> foo", " foo", false),
            ("<_> foo", "a foo b", false),
            ("foo <_>", "foo b", true),
            ("foo <_>", "foo ", false),
            ("foo <_>", "x foo b", false),
            ("<_>foo<_>", "a foo b", true),
            ("foo", "foo", true),
            ("", "", true),
            ("", "a", false),
            ("<_>", "a", true),
        ] {
            assert_eq!(Pattern::for_filter(pattern).unwrap().covers(line), want, "{pattern} on {line:?}");
        }
    }

    #[test]
    fn bad_patterns_are_refused() {
        assert_eq!(
            Pattern::for_captures("<a><b>").unwrap_err(),
            "found consecutive capture '<a><b>': invalid expression"
        );
        assert_eq!(Pattern::for_captures("<a> <a>").unwrap_err(), "duplicate capture name (a): invalid expression");
        assert_eq!(Pattern::for_captures("<_> x").unwrap_err(), "at least one capture is required");
        assert_eq!(Pattern::for_filter("<a> b").unwrap_err(), "named captures are not allowed: found '<a>'");
    }
}
