//! `key=value` lines.

use std::borrow::Cow;
use std::collections::HashSet;

use super::entry::Found;
use super::json::sanitize;
use crate::logql::ast::Extraction;
use crate::logql::units::unescape;

/// Takes the pairs of a line; a malformed pair is passed over unless `strict`, then it is the error and the end. Of
/// several pairs with one key the first counts.
pub(super) fn decode<'x>(
    line: &'x str,
    strict: bool,
    keep_empty: bool,
    wanted: &[Extraction],
    found: &mut Found<'x>,
) -> Result<(), String> {
    let mut rest = line;
    let mut result = Ok(());
    let mut pairs: Found<'x> = Vec::new();
    let mut seen: HashSet<&'x str> = HashSet::new();
    loop {
        rest = rest.trim_start_matches(|c: char| c <= ' ');
        if rest.is_empty() {
            break;
        }
        let at = line.len() - rest.len();
        match pair(rest) {
            Ok((key, value, tail)) => {
                rest = tail;
                if (value.is_empty() && !keep_empty) || !seen.insert(key) {
                    continue;
                }
                pairs.push((Cow::Borrowed(key), value));
            }
            Err((reason, tail)) => {
                if strict {
                    result = Err(format!("logfmt syntax error at pos {at} : {reason}"));
                    break;
                }
                rest = tail;
            }
        }
    }
    if wanted.is_empty() {
        for (key, value) in pairs {
            let clean = key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            found.push((if clean { key } else { sanitize("", &key) }, value));
        }
        return result;
    }
    for one in wanted {
        let value =
            pairs.iter().find(|(key, _)| *key == one.path).map_or(Cow::Borrowed(""), |(_, value)| value.clone());
        found.push((Cow::Owned(one.label.clone()), value));
    }
    result
}

/// Whether a wanted key is one: a plain word.
pub(super) fn check_key(key: &str) -> Result<(), String> {
    match key.chars().find(|c| !(c.is_alphanumeric() || *c == '_')) {
        Some(odd) => Err(format!("cannot parse expression [{key}]: unexpected char {odd}")),
        None if key.is_empty() => Err(format!("cannot parse expression [{key}]: syntax error: unexpected $end")),
        None => Ok(()),
    }
}

type Pair<'x> = (&'x str, Cow<'x, str>, &'x str);

fn pair(text: &str) -> Result<Pair<'_>, (String, &str)> {
    let skip = |text: &'_ str| text.find(|c: char| c <= ' ').unwrap_or(text.len());
    let after_word = text.get(skip(text)..).unwrap_or_default();
    let length = text.find(|c: char| c <= ' ' || c == '=' || c == '"').unwrap_or(text.len());
    let (key, rest) = text.split_at_checked(length).unwrap_or((text, ""));
    if rest.starts_with('"') {
        return Err(("unexpected '\"'".to_owned(), after_word));
    }
    let Some(rest) = rest.strip_prefix('=') else {
        return Ok((key, Cow::Borrowed(""), rest));
    };
    if key.is_empty() {
        return Err(("unexpected '='".to_owned(), after_word));
    }
    if let Some(body) = rest.strip_prefix('"') {
        let mut escaped = false;
        for (at, byte) in body.bytes().enumerate() {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => {
                    let (raw, tail) = body.split_at_checked(at).unwrap_or((body, ""));
                    let tail = tail.strip_prefix('"').unwrap_or_default();
                    if !raw.contains('\\') {
                        return Ok((key, Cow::Borrowed(raw), tail));
                    }
                    return match unescape(&raw.replace("\\/", "/")) {
                        Some(value) => Ok((key, Cow::Owned(value), tail)),
                        None => Err(("invalid quoted value".to_owned(), tail)),
                    };
                }
                _ => {}
            }
        }
        return Err(("unterminated quoted value".to_owned(), ""));
    }
    let (value, tail) = rest.split_at_checked(skip(rest)).unwrap_or((rest, ""));
    match value.chars().find(|c| matches!(c, '=' | '"')) {
        Some(odd) => Err((format!("unexpected '{odd}'"), tail)),
        None => Ok((key, Cow::Borrowed(value), tail)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_read_as_loki_reads_them() {
        for (case, line, strict, keep_empty, want, fails) in [
            ("plain", "a=1 b=two", false, false, "a=1 b=two", false),
            ("quoted", r#"msg="hello \"w\"\n" x=1"#, false, false, "msg=hello \"w\"\n x=1", false),
            ("first wins", "a=1 a=2", false, false, "a=1", false),
            ("empty is dropped", "a= b c=3", false, false, "c=3", false),
            ("empty is kept", "a= b c=3", false, true, "a= b= c=3", false),
            ("malformed is passed over", "=x a=1 b=c=d e=2", false, false, "a=1 e=2", false),
            ("strict stops", "a=1 =x e=2", true, false, "a=1", true),
            ("name is cleaned", "a.b-c=1 9z=2", false, false, "a_b_c=1 _9z=2", false),
            ("open quote", "a=1 b=\"x", true, false, "a=1", true),
        ] {
            let mut found = Vec::new();
            let result = decode(line, strict, keep_empty, &[], &mut found);
            let pairs: Vec<_> = found.iter().map(|(name, value)| format!("{name}={value}")).collect();
            assert_eq!((pairs.join(" ").as_str(), result.is_err()), (want, fails), "{case}");
        }
    }
}
