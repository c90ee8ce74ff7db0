//! A stream's labels as text: `{app="api", env="prod"}`.

use signal::Labels;

use crate::quoted::go_string;

/// Where the text of a stream's labels goes wrong.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("at byte {at}: {reason}")]
pub struct SelectorError {
    /// Byte offset, from 0.
    pub at: usize,
    /// What is wrong there.
    pub reason: &'static str,
}

/// Reads what Loki's clients send: names of letters, digits and `_`, quoted values, a trailing comma allowed.
pub(super) fn labels(text: &str) -> Result<Labels, SelectorError> {
    let fail = |rest: &str, reason| SelectorError { at: text.len().saturating_sub(rest.len()), reason };
    let mut rest = text.trim_start();
    let mut pairs: Vec<(&str, _)> = Vec::new();
    rest = rest.strip_prefix('{').ok_or_else(|| fail(rest, "expected `{`"))?.trim_start();
    while !rest.starts_with('}') {
        let end = rest.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count();
        let (name, after) = rest.split_at_checked(end).ok_or_else(|| fail(rest, "expected a label name"))?;
        if name.is_empty() || name.starts_with(|first: char| first.is_ascii_digit()) {
            return Err(fail(rest, "expected a label name"));
        }
        if pairs.iter().any(|(other, _)| *other == name) {
            return Err(fail(rest, "label occurs twice"));
        }
        let after = after.trim_start();
        let after = after.strip_prefix('=').ok_or_else(|| fail(after, "expected `=`"))?.trim_start();
        let (value, after) = go_string(after).map_err(|reason| fail(after, reason))?;
        pairs.push((name, value));
        rest = after.trim_start();
        match rest.strip_prefix(',') {
            Some(next) => rest = next.trim_start(),
            None if rest.starts_with('}') => {}
            None => return Err(fail(rest, "expected `,` or `}`")),
        }
    }
    let after = rest.get(1..).unwrap_or("").trim_start();
    if !after.is_empty() {
        return Err(fail(after, "text after `}`"));
    }
    Ok(Labels::from_pairs(pairs))
}
