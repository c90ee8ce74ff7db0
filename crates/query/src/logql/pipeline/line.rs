//! Line filters.

use memchr::memmem::Finder;
use regex::Regex;
use signal::go_regex;

use super::ip::IpMatcher;
use super::pattern::Pattern;
use crate::logql::ast::{LineOp, LineTerm};

/// A condition on the text: one of several terms is found, or none of them.
pub(crate) struct LineFilter {
    negated: bool,
    terms: Vec<Term>,
}

enum Term {
    Text(Box<Finder<'static>>),
    Regex(Regex),
    Pattern(Pattern),
    Ip(IpMatcher),
}

impl LineFilter {
    pub(super) fn new(op: LineOp, terms: &[LineTerm]) -> Result<Self, String> {
        let negated = matches!(op, LineOp::NotContains | LineOp::NotMatches | LineOp::NotPattern);
        let terms = terms.iter().map(|term| compile(op, term)).collect::<Result<_, _>>()?;
        Ok(Self { negated, terms })
    }

    pub(super) fn holds(&self, line: &str) -> bool {
        let found = self.terms.iter().any(|term| match term {
            Term::Text(text) => text.find(line.as_bytes()).is_some(),
            Term::Regex(regex) => regex.is_match(line),
            Term::Pattern(pattern) => pattern.covers(line),
            Term::Ip(ip) => ip.occurs_in(line),
        });
        found != self.negated
    }
}

fn compile(op: LineOp, term: &LineTerm) -> Result<Term, String> {
    match (term, op) {
        (LineTerm::Ip(pattern), LineOp::Contains | LineOp::NotContains) => IpMatcher::new(pattern).map(Term::Ip),
        (LineTerm::Ip(_), LineOp::Matches | LineOp::NotMatches | LineOp::Pattern | LineOp::NotPattern) => {
            Err("ip: invalid operation".to_owned())
        }
        (LineTerm::Text(text), LineOp::Contains | LineOp::NotContains) => {
            Ok(Term::Text(Box::new(Finder::new(text.as_bytes()).into_owned())))
        }
        (LineTerm::Text(text), LineOp::Matches | LineOp::NotMatches) => go_regex::compile(text).map(Term::Regex),
        (LineTerm::Text(text), LineOp::Pattern | LineOp::NotPattern) => Pattern::for_filter(text).map(Term::Pattern),
    }
}
