//! What was asked to be forgotten.

use std::fmt;

use regex::Regex;
use signal::{Labels, Matcher, Nanos, TimeRange, Timestamp, all_match, go_regex};

/// What somebody asked to forget.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Deletion {
    /// Of the series or streams all of these allow.
    pub(crate) matchers: Vec<Matcher>,
    /// In whole milliseconds; lines say more exactly when.
    pub(crate) range: TimeRange,
    /// Holds for what arrived in blocks of smaller numbers: what came later stays.
    pub(crate) below: u64,
    /// What a deletion of lines says beyond.
    pub(crate) lines: Option<DeletedLines>,
}

/// Which lines of a stream are meant.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct DeletedLines {
    /// Names the deletion.
    pub(crate) id: u64,
    /// When it was asked for.
    pub(crate) asked: Timestamp,
    pub(crate) start: Nanos,
    pub(crate) end: Nanos,
    /// Only lines that all of these allow.
    pub(crate) filters: Vec<LineFilter>,
}

impl Deletion {
    /// Whether it may concern something in `range` that arrived with block `arrived`.
    pub(crate) fn touches(&self, arrived: u64, range: TimeRange) -> bool {
        self.below > arrived && self.range.overlaps(&range)
    }

    pub(crate) fn concerns(&self, labels: &Labels) -> bool {
        all_match(&self.matchers, labels)
    }

    /// For whoever asks which deletions there are.
    pub(crate) fn shown(&self) -> Option<LineDeletion> {
        let DeletedLines { id, asked, start, end, filters } = self.lines.clone()?;
        Some(LineDeletion { id, asked, matchers: self.matchers.clone(), start, end, filters })
    }
}

impl DeletedLines {
    /// Whether a line is meant.
    pub(crate) fn means(&self, at: Nanos, line: &str) -> bool {
        self.start <= at && at <= self.end && self.filters.iter().all(|filter| filter.allows(line))
    }
}

/// Lines that somebody asked to forget. They are hidden; their space has not come back yet.
#[derive(Clone, PartialEq, Debug)]
pub struct LineDeletion {
    /// Names the deletion, for [`Store::cancel_line_deletion`](crate::Store::cancel_line_deletion).
    pub id: u64,
    /// When it was asked for.
    pub asked: Timestamp,
    /// Of the streams all of these allow.
    pub matchers: Vec<Matcher>,
    /// The first instant.
    pub start: Nanos,
    /// The last instant.
    pub end: Nanos,
    /// Only lines that all of these allow.
    pub filters: Vec<LineFilter>,
}

/// A condition on the text of a line.
#[derive(Clone)]
pub struct LineFilter {
    op: LineFilterOp,
    text: String,
    pattern: Option<Regex>,
}

/// How a [`LineFilter`] compares.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum LineFilterOp {
    /// `|=`: the text is somewhere in the line.
    Contains,
    /// `!=`: the text is nowhere in the line.
    Lacks,
    /// `|~`: the pattern, in Go's syntax, fits a part of the line.
    Matches,
    /// `!~`: the pattern fits no part of the line.
    MatchesNot,
}

/// A pattern that does not compile.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct LineFilterError {
    /// Why it was refused, in one line that quotes the pattern.
    pub reason: String,
}

impl LineFilter {
    /// Makes a filter; patterns are compiled here, once.
    ///
    /// # Errors
    /// [`LineFilterError`] when the pattern is not valid or too large.
    pub fn new(op: LineFilterOp, text: impl Into<String>) -> Result<Self, LineFilterError> {
        let text = text.into();
        let pattern = match op {
            LineFilterOp::Contains | LineFilterOp::Lacks => None,
            LineFilterOp::Matches | LineFilterOp::MatchesNot => {
                Some(go_regex::compile(&text).map_err(|reason| LineFilterError { reason })?)
            }
        };
        Ok(Self { op, text, pattern })
    }

    /// How it compares.
    #[must_use]
    pub fn op(&self) -> LineFilterOp {
        self.op
    }

    /// The text or pattern it compares with.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether the line satisfies the condition.
    #[must_use]
    pub fn allows(&self, line: &str) -> bool {
        let fits = || self.pattern.as_ref().is_some_and(|pattern| pattern.is_match(line));
        match self.op {
            LineFilterOp::Contains => line.contains(&self.text),
            LineFilterOp::Lacks => !line.contains(&self.text),
            LineFilterOp::Matches => fits(),
            LineFilterOp::MatchesNot => !fits(),
        }
    }
}

impl PartialEq for LineFilter {
    fn eq(&self, other: &Self) -> bool {
        (self.op, &self.text) == (other.op, &other.text)
    }
}

impl Eq for LineFilter {}

impl fmt::Display for LineFilter {
    /// As in LogQL.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let op = match self.op {
            LineFilterOp::Contains => "|=",
            LineFilterOp::Lacks => "!=",
            LineFilterOp::Matches => "|~",
            LineFilterOp::MatchesNot => "!~",
        };
        write!(f, "{op} {:?}", self.text)
    }
}

impl fmt::Debug for LineFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_looks_at_the_text() {
        for (op, text, line, want) in [
            (LineFilterOp::Contains, "secret", "a secret b", true),
            (LineFilterOp::Contains, "Secret", "a secret b", false),
            (LineFilterOp::Contains, "", "anything", true),
            (LineFilterOp::Lacks, "secret", "a secret b", false),
            (LineFilterOp::Lacks, "secret", "nothing", true),
            (LineFilterOp::Matches, "s.c[a-z]+t", "a secret b", true),
            (LineFilterOp::Matches, "^secret", "a secret b", false),
            (LineFilterOp::MatchesNot, "^secret", "a secret b", true),
        ] {
            let filter = LineFilter::new(op, text).unwrap();
            assert_eq!(filter.allows(line), want, "{filter}");
        }
        assert!(LineFilter::new(LineFilterOp::Matches, "(").is_err());
    }
}
