//! What one line says, and which of its words are values.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::Regex;

use super::ANY;

/// The telling parts of a line.
pub(super) struct Said {
    pub(super) message: String,
    pub(super) level: String,
    pub(super) trace: Option<String>,
}

/// Reads a plain or JSON line.
pub(super) fn read(line: &str) -> Said {
    let line = line.trim();
    if line.starts_with('{')
        && let Ok(serde_json::Value::Object(fields)) = serde_json::from_str(line)
    {
        let text = |names: &[&str]| names.iter().find_map(|name| fields.get(*name)?.as_str()).map(str::to_owned);
        if let Some(message) = text(&["message", "msg", "event", "body"]) {
            let level = text(&["level", "severity", "lvl", "detected_level"]).unwrap_or_default();
            let trace = text(&["trace_id", "traceId", "traceID", "traceid"]).filter(|trace| !trace.is_empty());
            return Said { message, level: plain_level(&level).to_owned(), trace };
        }
    }
    let level = line.split_whitespace().take(6).map(plain_level_of_word).find(|level| !level.is_empty()).unwrap_or("");
    Said { message: line.to_owned(), level: level.to_owned(), trace: None }
}

/// One spelling per level; what is none of them is left out.
fn plain_level(level: &str) -> &'static str {
    match level.to_ascii_lowercase().as_str() {
        "fatal" | "critical" | "crit" | "panic" | "emerg" | "alert" => "critical",
        "error" | "err" | "eror" | "severe" => "error",
        "warn" | "warning" => "warn",
        "info" | "information" | "notice" => "info",
        "debug" | "dbug" => "debug",
        "trace" | "verbose" => "trace",
        _ => "",
    }
}

/// Only spelled out in capitals or as `level=…` a word of plain text is a level.
fn plain_level_of_word(word: &str) -> &'static str {
    if let Some(level) = word.strip_prefix("level=") {
        return plain_level(level.trim_matches('"'));
    }
    let word = word.trim_matches(|letter: char| !letter.is_ascii_alphabetic());
    if word.len() >= 4 && word.bytes().all(|byte| byte.is_ascii_uppercase()) { plain_level(word) } else { "" }
}

/// A word with everything that looks like a value replaced.
pub(super) fn masked(word: &str) -> String {
    if !word.bytes().any(|byte| byte.is_ascii_digit()) && word.len() < 16 {
        return word.to_owned();
    }
    static VALUES: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(concat!(
            r"(?i)\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b",
            r"|\b\d{4}-\d\d-\d\d(?:T[0-9:.]+(?:Z|[+-]\d\d:?\d\d)?)?",
            r"|\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b",
            r"|\b0x[0-9a-f]+\b",
            r"|\b(?:[0-9a-f]*[0-9][0-9a-f]*[a-f][0-9a-f]*|[0-9a-f]*[a-f][0-9a-f]*[0-9][0-9a-f]*)\b",
            r"|\b\d+(?:[.,:]\d+)*(?:ns|us|µs|ms|s|m|h|d|b|kb|mb|gb|kib|mib|gib|%)?\b",
        ))
        .ok()
    });
    match VALUES.as_ref() {
        Some(values) => match values.replace_all(word, ANY) {
            Cow::Borrowed(same) => same.to_owned(),
            Cow::Owned(changed) => changed,
        },
        None => word.to_owned(),
    }
}
