//! Which series matchers allow, and the labels there are.

use std::ops::Range;

use signal::{MatchOp, Matcher, TimeRange};

use super::beginnings::{Beginning, beginnings};
use super::format::Footer;
use super::pages::Pages;
use super::postings::{IdSet, each_run};
use super::reader::Block;
use super::section::{Kind, Piece};
use crate::block_file::BlockError;
use crate::wire::DecodeError;

/// Bytes of a pair's places.
const PLACES: u64 = 16;

/// The name of a pair.
pub(super) fn name_of(footer: &Footer, pair: u32) -> &str {
    let at = footer.names.partition_point(|(_, first)| *first <= pair);
    at.checked_sub(1).and_then(|at| footer.names.get(at)).map_or("", |(name, _)| name)
}

/// The pairs of a name.
fn pairs_of(footer: &Footer, name: &str) -> Range<u32> {
    let Ok(at) = footer.names.binary_search_by(|(known, _)| (**known).cmp(name)) else { return 0..0 };
    let first = |at: usize| footer.names.get(at).map_or(footer.pairs, |(_, first)| *first);
    first(at)..first(at + 1)
}

fn series_count(pages: &Pages<'_>) -> u32 {
    u32::try_from(pages.block().meta().series).unwrap_or(u32::MAX)
}

pub(super) fn select(pages: &mut Pages<'_>, matchers: &[Matcher]) -> Result<Vec<u32>, BlockError> {
    let mut found: Option<IdSet> = None;
    // One list each, so they narrow the search for the price of looking one value up.
    let (single, others): (Vec<_>, Vec<_>) =
        matchers.iter().partition(|matcher| matcher.op == MatchOp::Equal && !matcher.value.is_empty());
    for matcher in single.into_iter().chain(others) {
        if found.as_ref().is_some_and(IdSet::is_empty) {
            return Ok(Vec::new());
        }
        let allowed = allowed(pages, matcher)?;
        match &mut found {
            Some(found) => found.keep(&allowed),
            None => found = Some(allowed),
        }
    }
    Ok(found.unwrap_or_else(|| IdSet::all(series_count(pages))).ids())
}

/// The series a matcher allows. A series without the label counts as one with the empty value.
fn allowed(pages: &mut Pages<'_>, matcher: &Matcher) -> Result<IdSet, BlockError> {
    let limit = series_count(pages);
    let pairs = pairs_of(pages.block().footer(), &matcher.name);
    let is_for_missing = matcher.matches_empty();
    // What is collected: those allowed, or those not allowed when a missing label is.
    let mut set = IdSet::empty(limit);
    match matcher.op {
        MatchOp::Equal | MatchOp::NotEqual if !matcher.value.is_empty() => {
            if let Some(pair) = pages.find(pairs, &matcher.value)? {
                pages.postings(pair, |start, end| set.add(start, end))?;
            }
        }
        MatchOp::Equal | MatchOp::NotEqual | MatchOp::Regex | MatchOp::NotRegex => {
            for pair in candidates(pages, matcher, pairs)? {
                let text = pages.text(pair)?;
                let is_allowed = std::str::from_utf8(&text).is_ok_and(|text| matcher.matches(text));
                if is_allowed != is_for_missing {
                    pages.postings(pair, |start, end| set.add(start, end))?;
                }
            }
        }
    }
    if !is_for_missing {
        return Ok(set);
    }
    let mut rest = IdSet::all(limit);
    rest.remove(&set);
    Ok(rest)
}

/// Up to so many values are tried one by one before it is worth looking into the pattern.
const FEW: usize = 1_000;

/// The pairs to try: all, or those near enough to what the pattern's matches begin with when only matches are collected.
fn candidates(pages: &mut Pages<'_>, matcher: &Matcher, pairs: Range<u32>) -> Result<Vec<u32>, BlockError> {
    let collects_matches = match matcher.op {
        MatchOp::Equal | MatchOp::NotEqual => false,
        MatchOp::Regex => !matcher.matches_empty(),
        MatchOp::NotRegex => matcher.matches_empty(),
    };
    let beginnings = if collects_matches && pairs.len() > FEW { beginnings(&matcher.value) } else { None };
    let Some(beginnings) = beginnings else { return Ok(pairs.collect()) };
    let mut found = Vec::new();
    for Beginning { bytes, is_whole } in beginnings {
        let mut pair = pages.first_from(pairs.clone(), &bytes)?;
        while pair < pairs.end {
            let text = pages.text(pair)?;
            if !text.starts_with(&bytes) || (is_whole && *text != *bytes) {
                break;
            }
            found.push(pair);
            pair += 1;
        }
    }
    Ok(found)
}

/// The names of the labels for which `is_wanted` holds, in order; with a range only those of series with something in it.
pub(super) fn names(
    block: &Block,
    range: Option<TimeRange>,
    is_wanted: impl Fn(&str) -> bool,
) -> Result<Vec<String>, BlockError> {
    let footer = block.footer();
    let mut pages = block.pages();
    let mut absent = IdSet::empty(series_count(&pages));
    let mut names = Vec::new();
    for (name, _) in footer.names.iter().filter(|(name, _)| is_wanted(name)) {
        for pair in pairs_of(footer, name) {
            if pages.is_carried(pair, range, &mut absent)? {
                names.push(name.to_string());
                break;
            }
        }
    }
    Ok(names)
}

/// The values of a label, in order; with a range only those of series with something in it.
pub(super) fn values(block: &Block, name: &str, range: Option<TimeRange>) -> Result<Vec<String>, BlockError> {
    let mut pages = block.pages();
    let mut absent = IdSet::empty(series_count(&pages));
    let mut values = Vec::new();
    for pair in pairs_of(block.footer(), name) {
        if pages.is_carried(pair, range, &mut absent)? {
            let text = pages.text(pair)?;
            values.extend(std::str::from_utf8(&text).map(str::to_owned));
        }
    }
    Ok(values)
}

impl Pages<'_> {
    /// Where a pair's text and postings begin and end.
    fn places(&mut self, pair: u32) -> Result<[u64; 4], BlockError> {
        let piece = self.piece(Kind::Pairs, u64::from(pair) * PLACES, 2 * PLACES as usize)?;
        let mut numbers =
            piece.chunks_exact(8).map(|bytes| bytes.first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes)));
        let mut next = || numbers.next().unwrap_or_default();
        let (text, postings, text_end, postings_end) = (next(), next(), next(), next());
        Ok([text, text_end, postings, postings_end])
    }

    fn span(&mut self, kind: Kind, start: u64, end: u64) -> Result<Piece, BlockError> {
        let len = end.checked_sub(start).filter(|_| end <= self.block().section(kind).len);
        let len = len.and_then(|len| usize::try_from(len).ok());
        let beyond = DecodeError("a label lies beyond its section");
        let len = len.ok_or_else(|| self.block().damaged(kind, start, beyond))?;
        self.piece(kind, start, len)
    }

    /// The value of a pair; it is UTF-8.
    pub(super) fn text(&mut self, pair: u32) -> Result<Piece, BlockError> {
        let [start, end, _, _] = self.places(pair)?;
        let text = self.span(Kind::Texts, start, end)?;
        if std::str::from_utf8(&text).is_err() {
            return Err(self.block().damaged(Kind::Texts, start, DecodeError("a text is not UTF-8")));
        }
        Ok(text)
    }

    fn postings(&mut self, pair: u32, each: impl FnMut(u32, u32)) -> Result<(), BlockError> {
        let [_, _, start, end] = self.places(pair)?;
        let list = self.span(Kind::Postings, start, end)?;
        let limit = series_count(self);
        each_run(&list, limit, each).map_err(|error| self.block().damaged(Kind::Postings, start, error))
    }

    /// Whether a series with something in the range has this pair; every pair is one of a series. `absent` are those known
    /// to have nothing there.
    fn is_carried(&mut self, pair: u32, range: Option<TimeRange>, absent: &mut IdSet) -> Result<bool, BlockError> {
        let Some(range) = range else { return Ok(true) };
        let (block, mut is_carried) = (self.block(), Ok(false));
        self.postings(pair, |start, end| {
            for id in start..end {
                // The first series is most often enough.
                if !matches!(is_carried, Ok(false)) {
                    return;
                }
                if !absent.has(id) {
                    is_carried = block.has_samples(id, range);
                    if matches!(is_carried, Ok(false)) {
                        absent.add(id, id + 1);
                    }
                }
            }
        })?;
        is_carried
    }

    /// The pair with this value among those of a name.
    fn find(&mut self, pairs: Range<u32>, value: &str) -> Result<Option<u32>, BlockError> {
        let end = pairs.end;
        let pair = self.first_from(pairs, value.as_bytes())?;
        let is_there = pair < end && *self.text(pair)? == *value.as_bytes();
        Ok(is_there.then_some(pair))
    }

    /// The first pair among those of a name with this value or a later one.
    fn first_from(&mut self, pairs: Range<u32>, value: &[u8]) -> Result<u32, BlockError> {
        let Range { mut start, mut end } = pairs;
        while start < end {
            let middle = start + (end - start) / 2;
            if *self.text(middle)? < *value {
                start = middle + 1;
            } else {
                end = middle;
            }
        }
        Ok(start)
    }
}
