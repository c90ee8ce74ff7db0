//! The `selector` of a `match` stage: matchers and line filters.

use regex::Regex;
use signal::{MatchOp, Matcher, all_match, go_regex};

use super::Entry;
use crate::quoted::go_string;

/// Which lines are meant: `{app="shop", env!~"dev|test"} |= "error" !~ "timeout.*"`.
#[derive(Clone, Debug)]
pub(super) struct Selector {
    matchers: Vec<Matcher>,
    filters: Vec<Filter>,
}

#[derive(Clone, Debug)]
struct Filter {
    pattern: Pattern,
    is_wanted: bool,
}

#[derive(Clone, Debug)]
enum Pattern {
    Text(String),
    Regex(Regex),
}

impl Selector {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let fail = |rest: &str, reason: &str| {
            format!("`{text}` is not a selector: at byte {}: {reason}", text.len().saturating_sub(rest.len()))
        };
        let mut matchers = Vec::new();
        let mut rest = text.trim_start();
        rest = rest.strip_prefix('{').ok_or_else(|| fail(rest, "expected `{`"))?.trim_start();
        while !rest.starts_with('}') {
            let end = rest.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count();
            let (name, after) = rest.split_at_checked(end).ok_or_else(|| fail(rest, "expected a label name"))?;
            if name.is_empty() || name.starts_with(|first: char| first.is_ascii_digit()) {
                return Err(fail(rest, "expected a label name"));
            }
            let after = after.trim_start();
            let (op, after) = operator(after).ok_or_else(|| fail(after, "expected `=`, `!=`, `=~` or `!~`"))?;
            let value = after.trim_start();
            let (value, after) = go_string(value).map_err(|reason| fail(value, reason))?;
            matchers.push(Matcher::new(name, op, value).map_err(|error| fail(after, &error.reason))?);
            rest = after.trim_start();
            match rest.strip_prefix(',') {
                Some(next) => rest = next.trim_start(),
                None if rest.starts_with('}') => {}
                None => return Err(fail(rest, "expected `,` or `}`")),
            }
        }
        if matchers.is_empty() {
            return Err(fail(rest, "expected a label matcher"));
        }
        let mut filters = Vec::new();
        rest = rest.get(1..).unwrap_or_default().trim_start();
        while !rest.is_empty() {
            let kinds = [("|=", true, false), ("!=", false, false), ("|~", true, true), ("!~", false, true)];
            let kind = kinds.into_iter().find_map(|(sign, is_wanted, is_regex)| {
                rest.strip_prefix(sign).map(|after| (after.trim_start(), is_wanted, is_regex))
            });
            let (value, is_wanted, is_regex) =
                kind.ok_or_else(|| fail(rest, "expected `|=`, `!=`, `|~`, `!~` or the end"))?;
            let (pattern, after) = go_string(value).map_err(|reason| fail(value, reason))?;
            let pattern = if is_regex {
                Pattern::Regex(go_regex::compile(&pattern).map_err(|reason| fail(value, &reason))?)
            } else {
                Pattern::Text(pattern.into_owned())
            };
            filters.push(Filter { pattern, is_wanted });
            rest = after.trim_start();
        }
        Ok(Self { matchers, filters })
    }

    pub(super) fn matches(&self, entry: &Entry) -> bool {
        all_match(&self.matchers, &entry.labels)
            && self.filters.iter().all(|filter| {
                let found = match &filter.pattern {
                    Pattern::Text(text) => entry.line.contains(text),
                    Pattern::Regex(regex) => regex.is_match(&entry.line),
                };
                found == filter.is_wanted
            })
    }
}

fn operator(text: &str) -> Option<(MatchOp, &str)> {
    // The longer ones first.
    let all = [("=~", MatchOp::Regex), ("!~", MatchOp::NotRegex), ("!=", MatchOp::NotEqual), ("=", MatchOp::Equal)];
    all.into_iter().find_map(|(sign, op)| text.strip_prefix(sign).map(|after| (op, after)))
}
