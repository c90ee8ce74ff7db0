//! `key=value` lines.

use std::borrow::Cow;

use super::bytes::word_length;
use super::entry::{Reason, Take, Tell};
use super::hints::{Hints, sanitize};
use super::json::{is_label, without_replacements};
use crate::logql::ast::Extraction;

/// How to read a line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner {
    /// A malformed pair is the error and the end; otherwise it is passed over.
    pub(super) strict: bool,
    /// Keys without a value count.
    pub(super) keep_empty: bool,
}

/// Tells of the wanted pairs of a line.
pub(super) fn decode<'x>(
    line: &'x str,
    manner: Manner,
    hints: Option<&Hints>,
    tell: &mut Tell<'_, 'x>,
) -> Result<(), Reason> {
    pairs(line, manner, |key, value| {
        if hints.is_some_and(|hints| !hints.wants_field("", key)) {
            return;
        }
        let Some(value) = value.read().filter(|value| manner.keep_empty || !value.is_empty()) else { return };
        let name = if is_label(key) { Cow::Borrowed(key) } else { Cow::Owned(sanitize("", key)) };
        if !name.is_empty() {
            tell(Take::First, name, value);
        }
    })
}

/// Tells of the values of certain keys, by the names they would have as labels. A key that nobody asks for but that has
/// the name of a wanted label is taken for it; of several values the last counts. What is not there becomes an empty
/// label.
pub(super) fn pick<'x>(
    line: &'x str,
    manner: Manner,
    wanted: &[Extraction],
    hints: Option<&Hints>,
    tell: &mut Tell<'_, 'x>,
) -> Result<(), Reason> {
    let mut found: Vec<Option<Cow<'x, str>>> = vec![None; wanted.len()];
    let outcome = pairs(line, manner, |key, value| {
        let clean;
        let key = if is_label(key) {
            key
        } else {
            clean = sanitize("", key);
            &clean
        };
        let is_path = wanted.iter().any(|one| one.path == key);
        for (one, place) in wanted.iter().zip(&mut found) {
            if key == if is_path { &one.path } else { &one.label } {
                *place = Some(value.read_or_nothing());
            }
        }
    });
    for (one, value) in wanted.iter().zip(found) {
        if hints.is_some_and(|hints| !hints.wants(&one.label)) {
            continue;
        }
        let take = if value.is_some() { Take::Last } else { Take::Blank };
        tell(take, Cow::Owned(one.label.clone()), value.unwrap_or_default());
    }
    outcome
}

/// Reads the keys: of several for one label the last counts.
pub(super) fn keys(wanted: &[Extraction]) -> Result<Vec<Extraction>, String> {
    let mut keys: Vec<Extraction> = Vec::new();
    for one in wanted {
        let key = Extraction { label: one.label.clone(), path: read_key(&one.path)? };
        match keys.iter_mut().find(|known| known.label == key.label) {
            Some(known) => *known = key,
            None => keys.push(key),
        }
    }
    Ok(keys)
}

/// A key is a plain word, or texts in quotes, or both; several are joined by a blank. The closing quote may be missing,
/// and `]` is one too.
fn read_key(text: &str) -> Result<String, String> {
    let wrong = |what: String| Err(format!("cannot parse expression [{text}]: {what}"));
    let mut parts: Vec<&str> = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        if let Some(body) = rest.strip_prefix('"') {
            let end = body.find(['"', ']']).unwrap_or(body.len());
            parts.push(body.get(..end).unwrap_or_default());
            rest = body.get(end + 1..).unwrap_or_default().trim_start();
            continue;
        }
        if !first.is_ascii_alphabetic() && first != '_' {
            return wrong(if parts.is_empty() {
                "syntax error: unexpected $end, expecting STRING or KEY".to_owned()
            } else {
                format!("unexpected char {first}")
            });
        }
        if !parts.is_empty() {
            return wrong("syntax error: unexpected KEY".to_owned());
        }
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        parts.push(rest.get(..end).unwrap_or_default());
        rest = rest.get(end..).unwrap_or_default().trim_start();
    }
    if parts.is_empty() {
        return wrong("syntax error: unexpected $end, expecting STRING or KEY".to_owned());
    }
    Ok(parts.join(" "))
}

/// A value as it is written.
#[derive(Clone, Copy, Debug)]
enum Written<'x> {
    Plain(&'x str),
    /// Inside of quotes, with escapes that are known to be good.
    Escaped(&'x str),
}

impl<'x> Written<'x> {
    fn read(self) -> Option<Cow<'x, str>> {
        Some(without_replacements(match self {
            Self::Plain(text) => Cow::Borrowed(text),
            Self::Escaped(raw) => Cow::Owned(unquote(raw)?),
        }))
    }

    /// The value, or nothing where a character of it could not be read.
    fn read_or_nothing(self) -> Cow<'x, str> {
        let value = match self {
            Self::Plain(text) => Cow::Borrowed(text),
            Self::Escaped(raw) => Cow::Owned(unquote(raw).unwrap_or_default()),
        };
        if value.contains('\u{fffd}') { Cow::Borrowed("") } else { value }
    }
}

/// Calls `with` for each well-formed pair.
fn pairs<'x>(line: &'x str, manner: Manner, mut with: impl FnMut(&'x str, Written<'x>)) -> Result<(), Reason> {
    let mut rest = line;
    loop {
        let blank = rest.bytes().take_while(|byte| *byte <= b' ').count();
        rest = rest.get(blank..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(());
        }
        match pair(rest) {
            Ok((key, value, tail)) => {
                rest = tail;
                with(key, value);
            }
            Err(flaw) if manner.strict => {
                let at = line.len() - rest.len() + flaw.at + 1;
                return Err(Cow::Owned(format!("logfmt syntax error at pos {at} : {}", flaw.what.describe())));
            }
            Err(flaw) => {
                // Whatever is glued to the flaw belongs to it.
                let after = rest.get(flaw.at..).unwrap_or_default();
                let glued = after.bytes().take_while(|byte| *byte > b' ').count();
                rest = after.get(glued..).unwrap_or_default();
            }
        }
    }
}

struct Flaw {
    what: What,
    /// How far into the pair.
    at: usize,
}

enum What {
    Unexpected(u8),
    Key,
    Open,
    Escape,
}

impl What {
    fn describe(&self) -> String {
        match self {
            Self::Unexpected(byte) => format!("unexpected '{}'", char::from(*byte)),
            Self::Key => "invalid key".to_owned(),
            Self::Open => "unterminated quoted value".to_owned(),
            Self::Escape => "invalid quoted value".to_owned(),
        }
    }
}

type Pair<'x> = (&'x str, Written<'x>, &'x str);

/// The pair that `text`, which is not empty and begins with something visible, begins with; and what follows it.
fn pair(text: &str) -> Result<Pair<'_>, Flaw> {
    let flaw = |what: What, at: usize| Err(Flaw { what, at });
    let length = word_length(text.as_bytes());
    let (key, rest) = text.split_at_checked(length).unwrap_or((text, ""));
    match rest.bytes().next() {
        Some(byte @ b'"') => return flaw(What::Unexpected(byte), length),
        Some(byte @ b'=') if key.is_empty() => return flaw(What::Unexpected(byte), length),
        _ if !key.is_ascii() && key.contains('\u{fffd}') => return flaw(What::Key, length),
        _ => {}
    }
    let Some(rest) = rest.strip_prefix('=') else {
        return Ok((key, Written::Plain(""), rest));
    };
    if let Some(body) = rest.strip_prefix('"') {
        let Some((end, escaped)) = super::json::string_end(body) else {
            return flaw(What::Open, text.len());
        };
        let (raw, tail) = body.split_at_checked(end).unwrap_or((body, ""));
        let tail = tail.strip_prefix('"').unwrap_or_default();
        if !escaped {
            return Ok((key, Written::Plain(raw), tail));
        }
        if unquote(raw).is_none() {
            return flaw(What::Escape, text.len() - tail.len());
        }
        return Ok((key, Written::Escaped(raw), tail));
    }
    let length = word_length(rest.as_bytes());
    let (value, tail) = rest.split_at_checked(length).unwrap_or((rest, ""));
    match tail.bytes().next() {
        Some(byte @ (b'=' | b'"')) => flaw(What::Unexpected(byte), text.len() - tail.len()),
        _ => Ok((key, Written::Plain(value), tail)),
    }
}

/// Resolves the escapes of a quoted value: those of JSON and `\'`; half a surrogate pair becomes a replacement.
fn unquote(raw: &str) -> Option<String> {
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((before, escape)) = rest.split_once('\\') {
        out.push_str(before);
        let letter = escape.chars().next()?;
        rest = escape.get(letter.len_utf8()..)?;
        out.push(match letter {
            '"' | '\\' | '/' | '\'' => letter,
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => {
                let unit = |text: &str| {
                    let digits = text.get(..4).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
                    u32::from_str_radix(digits, 16).ok()
                };
                let high = unit(rest)?;
                rest = rest.get(4..)?;
                let low = rest.strip_prefix("\\u").and_then(unit);
                match (char::from_u32(high), low) {
                    (Some(c), _) => c,
                    (None, Some(low)) if high < 0xdc00 && (0xdc00..0xe000).contains(&low) => {
                        rest = rest.get(6..)?;
                        char::from_u32(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00))?
                    }
                    (None, _) => '\u{fffd}',
                }
            }
            _ => return None,
        });
    }
    out.push_str(rest);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_read_as_loki_reads_them() {
        for (case, line, strict, keep_empty, want, wrong) in [
            ("plain", "a=1 b=two", false, false, "a=1 b=two", None),
            ("quoted", r#"msg="hello \"w\"\n" x=1"#, false, false, "msg=hello \"w\"\n x=1", None),
            ("quoted, empty", r#"a="" b=2"#, false, true, "a= b=2", None),
            ("glued to a quoted value", r#"a="1"b=2"#, false, false, "a=1 b=2", None),
            ("unicode", r#"a="\u00e9\ud83d\ude00\ud83d" b='x'"#, false, false, "a=é😀  b='x'", None),
            ("an unknown escape", r#"a="\q" b=2"#, false, false, "b=2", None),
            ("every pair is told", "a=1 a=2", false, false, "a=1 a=2", None),
            ("empty is dropped", "a= b c=3", false, false, "c=3", None),
            ("empty is kept", "a= b c=3", false, true, "a= b= c=3", None),
            ("malformed is passed over", "=x a=1 b=c=d e=2", false, false, "a=1 e=2", None),
            ("a quote in a key", "a\"b=1 c=2", false, false, "c=2", None),
            ("strict stops", "a=1 =x e=2", true, false, "a=1", Some("logfmt syntax error at pos 5 : unexpected '='")),
            ("name is cleaned", "a.b-c=1 9z=2 é=3", false, false, "a_b_c=1 _9z=2 _=3", None),
            (
                "open quote",
                "a=1 b=\"x",
                true,
                false,
                "a=1",
                Some("logfmt syntax error at pos 9 : unterminated quoted value"),
            ),
            ("bad escape", r#"b="\q" c"#, true, false, "", Some("logfmt syntax error at pos 7 : invalid quoted value")),
            ("a value with a quote", "a=1\"", true, false, "", Some("logfmt syntax error at pos 4 : unexpected '\"'")),
            ("a key that could not be read", "a\u{fffd}=1 b=2", false, false, "b=2", None),
        ] {
            let mut pairs = Vec::new();
            let manner = Manner { strict, keep_empty };
            let result = decode(line, manner, None, &mut |_, name, value| pairs.push(format!("{name}={value}")));
            let outcome = (pairs.join(" "), result.err().map(Cow::into_owned));
            assert_eq!(outcome, (want.to_owned(), wrong.map(str::to_owned)), "{case}");
        }
    }

    #[test]
    fn keys_are_words_and_quoted_texts() {
        for (text, want) in [
            ("b", Ok("b")),
            ("_", Ok("_")),
            ("\"b\"", Ok("b")),
            ("b \"x\"", Ok("b x")),
            ("\"b\" \"c\"", Ok("b c")),
            ("\"\"", Ok("")),
            ("\"unterminated", Ok("unterminated")),
            ("", Err("unexpected $end")),
            (" ", Err("unexpected $end")),
            ("0b", Err("unexpected $end")),
            ("é", Err("unexpected $end")),
            ("b.c", Err("unexpected char .")),
            ("b-c", Err("unexpected char -")),
            ("b[0]", Err("unexpected char [")),
            ("b c", Err("unexpected KEY")),
            ("\"b\" c", Err("unexpected KEY")),
            ("\"a]b\"", Err("unexpected KEY")),
        ] {
            match (read_key(text), want) {
                (Ok(key), Ok(want)) => assert_eq!(key, want, "{text}"),
                (Err(reason), Err(part)) => assert!(reason.contains(part), "{text}: {reason}"),
                (outcome, _) => panic!("{text}: {outcome:?}"),
            }
        }
    }

    #[test]
    fn wanted_keys_are_found_by_their_label_names() {
        for (line, wanted, want) in [
            ("b=1 a-b=2 x=3", &[("a", "b")][..], "Last a=1"),
            ("b=1 a-b=2 x=3", &[("a", "a_b")], "Last a=2"),
            ("b=1 a-b=2 x=3", &[("a", "\"a-b\"")], "Blank a="),
            ("b=1 x=3", &[("a", "x"), ("b", "nosuch")], "Last a=3 Last b=1"),
            ("b=1", &[("a", "b"), ("b", "a")], "Last a=1 Blank b="),
            ("b=1", &[("a", "b"), ("a", "nosuch")], "Blank a="),
            ("p.q=1 p_q=2 p-q=3", &[("a", "p_q")], "Last a=3"),
            ("b=2 a=1", &[("a", "b")], "Last a=1"),
            ("a=1 b=2", &[("a", "b")], "Last a=2"),
            ("1x=5", &[("a", "_1x")], "Last a=5"),
            ("b= x=3", &[("a", "b")], "Last a="),
            ("a=x\u{fffd}y", &[("a", "a")], "Last a="),
            ("=x b=1", &[("a", "b")], "Last a=1"),
            ("x=3", &[("a", "x"), ("b", "x")], "Last a=3 Last b=3"),
        ] {
            let extraction = |(label, path): &(&str, &str)| Extraction { label: (*label).into(), path: (*path).into() };
            let keys = keys(&wanted.iter().map(extraction).collect::<Vec<_>>()).unwrap();
            let mut pairs = Vec::new();
            pick(line, Manner { strict: false, keep_empty: false }, &keys, None, &mut |take, name, value| {
                pairs.push(format!("{take:?} {name}={value}"));
            })
            .unwrap();
            assert_eq!(pairs.join(" "), want, "{wanted:?} of {line}");
        }
    }
}
