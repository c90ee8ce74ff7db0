//! What one line says: its message, how bad that is, and whose trace it belongs to.

use std::borrow::Cow;
use std::fmt;

use memchr::{memchr, memchr2};
use serde::{Deserialize, Serialize};

/// How bad a line says it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// The line does not say.
    #[default]
    Unknown,
    /// Every step.
    Trace,
    /// For those who look for a mistake.
    Debug,
    /// As expected.
    Info,
    /// Not as expected, and coped with.
    Warn,
    /// Something failed.
    Error,
    /// Everything failed.
    Critical,
}

/// How the levels are written, by frequency.
const SPELLINGS: [(&str, Level); 22] = [
    ("info", Level::Info),
    ("error", Level::Error),
    ("warn", Level::Warn),
    ("debug", Level::Debug),
    ("warning", Level::Warn),
    ("err", Level::Error),
    ("fatal", Level::Critical),
    ("critical", Level::Critical),
    ("trace", Level::Trace),
    ("notice", Level::Info),
    ("information", Level::Info),
    ("informational", Level::Info),
    ("severe", Level::Error),
    ("eror", Level::Error),
    ("crit", Level::Critical),
    ("panic", Level::Critical),
    ("emerg", Level::Critical),
    ("emergency", Level::Critical),
    ("alert", Level::Critical),
    ("dbug", Level::Debug),
    ("dbg", Level::Debug),
    ("verbose", Level::Trace),
];

impl Level {
    /// One of the usual spellings, in any case; others are `Unknown`.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let found = SPELLINGS.iter().find(|(spelling, _)| spelling.eq_ignore_ascii_case(text));
        found.map_or(Self::Unknown, |(_, level)| *level)
    }

    /// The lower-case word; empty if unknown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "",
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
            Self::Critical => "critical",
        }
    }

    /// What loggers that count write: 10 for trace up to 60 for fatal.
    fn of_number(text: &str) -> Self {
        match text {
            "10" => Self::Trace,
            "20" => Self::Debug,
            "30" => Self::Info,
            "40" => Self::Warn,
            "50" => Self::Error,
            "60" => Self::Critical,
            _ => Self::Unknown,
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The telling parts of a line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Said<'a> {
    /// What is mined.
    pub message: Cow<'a, str>,
    /// How bad it is, if the line says.
    pub level: Level,
    /// The trace it belongs to, if the line says and somebody asked.
    pub trace: Option<Cow<'a, str>>,
}

/// Fields that hold the message, the best first.
const MESSAGES: [&str; 5] = ["message", "msg", "log", "body", "event"];
const LEVELS: [&str; 7] = ["level", "severity", "lvl", "detected_level", "log.level", "severity_text", "loglevel"];
const TRACES: [&str; 4] = ["trace_id", "traceId", "traceID", "traceid"];
/// How many words of plain text may be its level.
const LEADING: usize = 6;

impl<'a> Said<'a> {
    /// Reads a line: of a JSON object or of `key=value` pairs the message counts, of any other line all of it.
    #[must_use]
    pub fn read(line: &'a str) -> Self {
        Self::read_with(line, false)
    }

    pub(super) fn read_with(line: &'a str, wants_trace: bool) -> Self {
        let line = line.trim();
        let fields = match line.as_bytes().first() {
            Some(b'{') => json(line, wants_trace),
            Some(first) if first.is_ascii_alphabetic() => logfmt(line, wants_trace),
            _ => None,
        };
        if let Some(said) = fields.and_then(Fields::said) {
            return said;
        }
        let level = line.split_ascii_whitespace().take(LEADING).map(level_of_word);
        let level = level.into_iter().find(|level| *level != Level::Unknown).unwrap_or_default();
        Said { message: Cow::Borrowed(line), level, trace: None }
    }
}

/// In plain text a level is written in capitals, in brackets or as `level=…`; `error` alone is a word like any other.
fn level_of_word(word: &str) -> Level {
    if let Some(level) = word.strip_prefix("level=") {
        return Level::parse(level.trim_matches('"'));
    }
    let is_bracketed = word.starts_with(['[', '<']) && word.ends_with([']', '>']);
    let word = word.trim_matches(|letter: char| !letter.is_ascii_alphabetic());
    let is_loud = word.len() >= 4 && word.bytes().all(|byte| byte.is_ascii_uppercase());
    if is_bracketed || is_loud { Level::parse(word) } else { Level::Unknown }
}

/// What was found among the fields of a line.
#[derive(Default)]
struct Fields<'a> {
    message: Option<(usize, Text<'a>)>,
    level: Level,
    trace: Option<Text<'a>>,
}

/// A value as it is written.
#[derive(Clone, Copy)]
enum Text<'a> {
    Plain(&'a str),
    /// With quotes and backslashes.
    Escaped(&'a str),
}

impl<'a> Text<'a> {
    fn read(self) -> Option<Cow<'a, str>> {
        match self {
            Self::Plain(text) => Some(Cow::Borrowed(text)),
            Self::Escaped(quoted) => serde_json::from_str::<String>(quoted).ok().map(Cow::Owned),
        }
    }
}

impl<'a> Fields<'a> {
    /// Whether all was found that is looked for.
    fn note(&mut self, name: &str, value: Text<'a>, wants_trace: bool) -> bool {
        if let Text::Plain("") = value {
            return false;
        }
        if let Some(rank) = MESSAGES.iter().position(|known| *known == name) {
            if self.message.is_none_or(|(best, _)| rank < best) {
                self.message = Some((rank, value));
            }
        } else if LEVELS.contains(&name) {
            if let (Level::Unknown, Text::Plain(text)) = (self.level, value) {
                self.level = Level::parse(text);
            }
        } else if wants_trace && TRACES.contains(&name) {
            self.trace = Some(value);
        }
        self.level != Level::Unknown && !wants_trace && self.message.is_some_and(|(rank, _)| rank < 2)
    }

    fn said(self) -> Option<Said<'a>> {
        let (_, message) = self.message?;
        Some(Said { message: message.read()?, level: self.level, trace: self.trace.and_then(Text::read) })
    }
}

/// The outer fields of a JSON object; nothing if the line is none.
fn json(line: &str, wants_trace: bool) -> Option<Fields<'_>> {
    let bytes = line.as_bytes();
    let mut fields = Fields::default();
    let mut at = past_spaces(bytes, 1);
    loop {
        match bytes.get(at)? {
            b'"' => {}
            b'}' => return Some(fields),
            _ => return None,
        }
        let (end, _) = string_end(bytes, at + 1)?;
        let name = line.get(at + 1..end)?;
        at = past_spaces(bytes, end + 1);
        if *bytes.get(at)? != b':' {
            return None;
        }
        at = past_spaces(bytes, at + 1);
        match bytes.get(at)? {
            b'"' => {
                let (end, is_escaped) = string_end(bytes, at + 1)?;
                let value = match is_escaped {
                    true => Text::Escaped(line.get(at..=end)?),
                    false => Text::Plain(line.get(at + 1..end)?),
                };
                if fields.note(name, value, wants_trace) {
                    return Some(fields);
                }
                at = end + 1;
            }
            b'{' | b'[' => at = nested_end(bytes, at)?,
            _ => {
                let rest = bytes.get(at..)?;
                let length = rest.iter().position(|byte| matches!(byte, b',' | b'}' | b' ' | b'\t' | b'\n' | b'\r'))?;
                if length == 0 {
                    return None;
                }
                if LEVELS.contains(&name) && fields.level == Level::Unknown {
                    fields.level = Level::of_number(line.get(at..at + length)?);
                }
                at += length;
            }
        }
        at = past_spaces(bytes, at);
        match bytes.get(at)? {
            b',' => at = past_spaces(bytes, at + 1),
            b'}' => return Some(fields),
            _ => return None,
        }
    }
}

fn past_spaces(bytes: &[u8], mut at: usize) -> usize {
    while matches!(bytes.get(at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
        at += 1;
    }
    at
}

/// Where the string ends that goes on at `from`, and whether it holds backslashes.
fn string_end(bytes: &[u8], from: usize) -> Option<(usize, bool)> {
    let (mut at, mut is_escaped) = (from, false);
    loop {
        at += memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if *bytes.get(at)? == b'"' {
            return Some((at, is_escaped));
        }
        is_escaped = true;
        at += 2;
    }
}

/// Behind the object or list that begins at `from`.
fn nested_end(bytes: &[u8], from: usize) -> Option<usize> {
    let (mut at, mut depth) = (from, 0_usize);
    loop {
        match bytes.get(at)? {
            b'"' => at = string_end(bytes, at + 1)?.0,
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        at += 1;
        if depth == 0 {
            return Some(at);
        }
    }
}

/// The pairs of a logfmt line; nothing if the line does not begin with one.
fn logfmt(line: &str, wants_trace: bool) -> Option<Fields<'_>> {
    let bytes = line.as_bytes();
    let mut fields = Fields::default();
    let mut at = 0;
    while at < bytes.len() {
        let rest = bytes.get(at..)?;
        let length = memchr2(b'=', b' ', rest).unwrap_or(rest.len());
        if rest.get(length) != Some(&b'=') {
            // A key without a value; at the beginning of a line it is plain text.
            if at == 0 {
                return None;
            }
            at = past_spaces(bytes, at + length);
            continue;
        }
        let name = line.get(at..at + length)?;
        if at == 0 && !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-')) {
            return None;
        }
        at += length + 1;
        let value = if bytes.get(at) == Some(&b'"') {
            let (end, is_escaped) = string_end(bytes, at + 1)?;
            let quoted = at..=end;
            let plain = at + 1..end;
            at = end + 1;
            if is_escaped { Text::Escaped(line.get(quoted)?) } else { Text::Plain(line.get(plain)?) }
        } else {
            let rest = bytes.get(at..)?;
            let length = memchr(b' ', rest).unwrap_or(rest.len());
            let plain = at..at + length;
            at += length;
            Text::Plain(line.get(plain)?)
        };
        if fields.note(name, value, wants_trace) {
            break;
        }
        at = past_spaces(bytes, at);
    }
    Some(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_and_its_level_are_found() {
        let cases = [
            ("plain", "disk is full", "disk is full", "", None),
            ("capitals", "2024-01-25T14:30:45Z WARN slow 12ms", "2024-01-25T14:30:45Z WARN slow 12ms", "warn", None),
            (
                "brackets",
                "[Sun Dec 04 04:47:44 2005] [error] mod_jk",
                "[Sun Dec 04 04:47:44 2005] [error] mod_jk",
                "error",
                None,
            ),
            ("a word", "no error here", "no error here", "", None),
            ("json", r#"{"level":"ERROR","msg":"pool empty","trace_id":"a1"}"#, "pool empty", "error", Some("a1")),
            ("json, message last", r#"{ "a" : [1, {"msg":"no"}], "ok":true, "body" : "yes" }"#, "yes", "", None),
            ("json, better name", r#"{"event":"e","log":"l","message":"m"}"#, "m", "", None),
            ("json, escaped", r#"{"msg":"say \"hi\"\n\u00e9"}"#, "say \"hi\"\né", "", None),
            ("json, level by number", r#"{"level":50,"msg":"failed"}"#, "failed", "error", None),
            ("json without message", r#"{"level":"info","a":1}"#, r#"{"level":"info","a":1}"#, "", None),
            ("not quite json", r#"{"level": broken"#, r#"{"level": broken"#, "", None),
            (
                "logfmt",
                r#"ts=2024 level=warn msg="slow \"query\"" took=3s traceID=b2"#,
                "slow \"query\"",
                "warn",
                Some("b2"),
            ),
            ("logfmt, bare", "level=info msg=started", "started", "info", None),
            ("logfmt without message", "level=info a=b", "level=info a=b", "info", None),
            ("an equals sign later", "set x=1 msg=2", "set x=1 msg=2", "", None),
            ("nothing", "", "", "", None),
        ];
        for (case, line, message, level, trace) in cases {
            let said = Said::read_with(line, true);
            assert_eq!((&*said.message, said.level.as_str(), said.trace.as_deref()), (message, level, trace), "{case}");
            let quick = Said::read(line);
            assert_eq!((&*quick.message, quick.level), (message, said.level), "{case}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_line_can_be_read(line in ".{0,80}", cut in 0_usize..80) {
            let json = serde_json::json!({"a": [{"b": line}], "msg": line, "level": "info"}).to_string();
            let said = Said::read(&json);
            if !line.is_empty() {
                proptest::prop_assert_eq!(&*said.message, line.as_str());
            }
            let cut = json.get(..cut).unwrap_or(&json);
            Said::read_with(cut, true);
            Said::read_with(&format!("a={line} msg=\"{line}"), true);
        }
    }
}
