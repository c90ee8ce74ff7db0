//! Matchers: how a query picks label sets.

use std::fmt;

use regex::Regex;

use crate::{Labels, go_regex};

/// The four ways to compare a label.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum MatchOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`, in Go's syntax, anchored at both ends; the dot matches a newline.
    Regex,
    /// `!~`
    NotRegex,
}

/// One condition on one label. A missing label counts as the empty string, as in Prometheus.
#[derive(Clone)]
pub struct Matcher {
    /// Label name.
    pub name: String,
    /// Comparison.
    pub op: MatchOp,
    /// Text or pattern compared with.
    pub value: String,
    pattern: Option<Regex>,
}

/// A pattern that does not compile.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct MatcherError {
    /// What was given.
    pub pattern: String,
    /// Why it was refused, in one line that quotes the pattern.
    pub reason: String,
}

impl Matcher {
    /// Makes a matcher; patterns are compiled here, once.
    ///
    /// # Errors
    /// `MatcherError` when the pattern is not valid or compiles to more than 10 MiB.
    pub fn new(name: impl Into<String>, op: MatchOp, value: impl Into<String>) -> Result<Self, MatcherError> {
        let value = value.into();
        let pattern = match op {
            MatchOp::Equal | MatchOp::NotEqual => None,
            MatchOp::Regex | MatchOp::NotRegex => {
                let compiled = go_regex::compile_whole(&value);
                Some(compiled.map_err(|reason| MatcherError { pattern: value.clone(), reason })?)
            }
        };
        Ok(Self { name: name.into(), op, value, pattern })
    }

    /// `name = value`.
    pub fn equal(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), op: MatchOp::Equal, value: value.into(), pattern: None }
    }

    /// Whether a label with this value (empty = missing) satisfies the condition.
    #[must_use]
    pub fn matches(&self, value: &str) -> bool {
        let found = self.pattern.as_ref().is_some_and(|pattern| pattern.is_match(value));
        match self.op {
            MatchOp::Equal => self.value == value,
            MatchOp::NotEqual => self.value != value,
            MatchOp::Regex => found,
            MatchOp::NotRegex => !found,
        }
    }

    /// Whether a label set without this label satisfies the condition.
    #[must_use]
    pub fn matches_empty(&self) -> bool {
        self.matches("")
    }
}

/// Whether every matcher is satisfied by `labels`.
#[must_use]
pub fn all_match(matchers: &[Matcher], labels: &Labels) -> bool {
    matchers.iter().all(|matcher| matcher.matches(labels.get_or_empty(&matcher.name)))
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, self.op, &self.value) == (&other.name, other.op, &other.value)
    }
}

impl Eq for Matcher {}

impl fmt::Display for MatchOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Regex => "=~",
            Self::NotRegex => "!~",
        })
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{:?}", self.name, self.op, self.value)
    }
}

impl fmt::Debug for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_anchored_and_missing_is_empty() {
        for (op, value, label, want) in [
            (MatchOp::Regex, "5..", "503", true),
            (MatchOp::Regex, "5..", "1503", false),
            (MatchOp::Regex, "a|b", "ab", false),
            (MatchOp::Regex, ".*", "two\nlines", true),
            (MatchOp::NotRegex, "5..", "", true),
            (MatchOp::Regex, "a{", "a{", true),
            (MatchOp::Regex, "\\d+", "٣", false),
            (MatchOp::Regex, "\\Q.\\E", "x", false),
            (MatchOp::Equal, "", "", true),
            (MatchOp::NotEqual, "", "", false),
        ] {
            assert_eq!(Matcher::new("l", op, value).unwrap().matches(label), want, "{op}{value} on {label:?}");
        }
        let error = Matcher::new("l", MatchOp::Regex, "(").unwrap_err();
        assert_eq!(error.to_string(), "error parsing regexp: missing closing ): `(`");
    }
}
