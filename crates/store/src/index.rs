//! Which series or streams carry which labels.

use std::collections::HashMap;

use hashbrown::HashTable;
use signal::{Labels, MatchOp, Matcher};

/// Label postings. Ids are given in order of arrival and never taken back, so one index serves every snapshot: a
/// snapshot ignores ids it has no data for.
#[derive(Debug, Default)]
pub(crate) struct Index {
    ids: HashTable<Known>,
    names: HashMap<Box<str>, Values>,
}

/// The ids by value of one label.
type Values = HashMap<Box<str>, Ids>;

/// Ascending ids. What is scraped together follows one another, so that most labels are carried by a few runs.
#[derive(Debug, Default)]
pub(crate) struct Ids(Vec<Run>);

/// All ids from the first to the last.
#[derive(Clone, Copy, Debug)]
struct Run {
    first: u32,
    last: u32,
}

impl Ids {
    /// Adds an id larger than all before.
    fn push(&mut self, id: u32) {
        match self.0.last_mut() {
            Some(run) if run.last.checked_add(1) == Some(id) => run.last = id,
            Some(_) | None => self.0.push(Run { first: id, last: id }),
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> {
        self.0.iter().flat_map(|run| run.first..=run.last)
    }
}

/// An id under a part of its set's fingerprint. The set itself lies with the data.
#[derive(Clone, Copy, Debug)]
struct Known {
    hash: u32,
    id: u32,
}

/// Spreads the kept part over the whole number: the table looks at both ends.
fn spread(hash: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(hash)
}

impl Index {
    /// The id with this fingerprint that `is_it`.
    pub(crate) fn id(&self, fingerprint: u64, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let hash = fingerprint as u32;
        self.ids.find(spread(hash), |known| known.hash == hash && is_it(known.id)).map(|known| known.id)
    }

    /// Adds a label set that is not there yet under the next id.
    pub(crate) fn add(&mut self, labels: &Labels, id: u32) {
        let hash = labels.fingerprint() as u32;
        self.ids.insert_unique(spread(hash), Known { hash, id }, |known| spread(known.hash));
        for (name, value) in labels {
            let values = match self.names.get_mut(name) {
                Some(values) => values,
                None => self.names.entry(Box::from(name)).or_default(),
            };
            match values.get_mut(value) {
                Some(ids) => ids.push(id),
                None => {
                    let mut ids = Ids::default();
                    ids.push(id);
                    values.insert(Box::from(value), ids);
                }
            }
        }
    }

    /// Ids below `limit` that every matcher allows, ascending.
    pub(crate) fn select(&self, matchers: &[Matcher], limit: u32) -> Vec<u32> {
        let (may_lack, must_have): (Vec<_>, Vec<_>) = matchers.iter().partition(|matcher| matcher.matches_empty());
        let mut lists: Vec<Vec<u32>> = Vec::with_capacity(must_have.len());
        for matcher in must_have {
            let mut ids = self.carriers(matcher, true);
            ids.truncate(ids.partition_point(|id| *id < limit));
            if ids.is_empty() {
                return ids;
            }
            lists.push(ids);
        }
        lists.sort_unstable_by_key(Vec::len);
        let mut lists = lists.into_iter();
        let mut found = lists.next().unwrap_or_else(|| (0..limit).collect());
        for list in lists {
            found = intersection(&found, &list);
        }
        for matcher in may_lack {
            let unwanted = self.carriers(matcher, false);
            if !unwanted.is_empty() {
                found.retain(|id| unwanted.binary_search(id).is_err());
            }
        }
        found
    }

    /// Ids that carry the matcher's label with a value that it allows, or forbids; ascending.
    fn carriers(&self, matcher: &Matcher, allowed: bool) -> Vec<u32> {
        let Some(values) = self.names.get(matcher.name.as_str()) else { return Vec::new() };
        if allowed && matcher.op == MatchOp::Equal || !allowed && matcher.op == MatchOp::NotEqual {
            return values.get(matcher.value.as_str()).map(|ids| ids.iter().collect()).unwrap_or_default();
        }
        let fitting = values.iter().filter(|(value, _)| matcher.matches(value) == allowed);
        let mut ids: Vec<u32> = fitting.flat_map(|(_, ids)| ids.iter()).collect();
        ids.sort_unstable();
        ids
    }

    /// The names of labels, each with the ids that carry it by value; in no particular order.
    pub(crate) fn names(&self) -> impl Iterator<Item = (&str, impl Iterator<Item = &Ids>)> {
        self.names.iter().map(|(name, values)| (&**name, values.values()))
    }

    /// How many values one label has.
    pub(crate) fn value_count(&self, name: &str) -> usize {
        self.names.get(name).map_or(0, HashMap::len)
    }

    /// The values of one label with the ids that carry each; the values in no particular order.
    pub(crate) fn values(&self, name: &str) -> impl Iterator<Item = (&str, &Ids)> {
        self.names.get(name).into_iter().flatten().map(|(value, ids)| (&**value, ids))
    }
}

/// What is in both ascending lists; `few` is the shorter.
fn intersection(few: &[u32], many: &[u32]) -> Vec<u32> {
    let mut both = Vec::with_capacity(few.len());
    if many.len() / 16 > few.len() {
        both.extend(few.iter().filter(|id| many.binary_search(id).is_ok()));
        return both;
    }
    let mut rest = many.iter().peekable();
    for id in few {
        while rest.next_if(|other| *other < id).is_some() {}
        if rest.peek() == Some(&id) {
            both.push(*id);
        }
    }
    both
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selects_what_every_matcher_allows() {
        let mut index = Index::default();
        let sets = [
            vec![("job", "a"), ("env", "x")],
            vec![("job", "b"), ("env", "x")],
            vec![("job", "b"), ("env", "y")],
            vec![("env", "y")],
        ];
        let sets = sets.map(Labels::from_pairs);
        for (id, labels) in sets.iter().enumerate() {
            index.add(labels, id as u32);
        }
        let matcher = |name: &str, op, value: &str| Matcher::new(name, op, value).unwrap();
        for (case, matchers, limit, want) in [
            ("no matcher", vec![], 4, vec![0, 1, 2, 3]),
            ("not equal", vec![matcher("job", MatchOp::NotEqual, "a")], 4, vec![1, 2, 3]),
            ("equal", vec![matcher("job", MatchOp::Equal, "b")], 4, vec![1, 2]),
            ("two", vec![matcher("job", MatchOp::Equal, "b"), matcher("env", MatchOp::Regex, "x|z")], 4, vec![1]),
            (
                "must not",
                vec![matcher("env", MatchOp::Equal, "y"), matcher("job", MatchOp::NotRegex, "b|c")],
                4,
                vec![3],
            ),
            ("without", vec![matcher("job", MatchOp::Equal, "")], 4, vec![3]),
            ("limit", vec![matcher("job", MatchOp::Equal, "b")], 2, vec![1]),
            ("unknown label", vec![matcher("pod", MatchOp::Regex, ".+")], 4, vec![]),
            ("without unknown label", vec![matcher("pod", MatchOp::Equal, "")], 4, vec![0, 1, 2, 3]),
            ("any value", vec![matcher("job", MatchOp::NotEqual, "")], 4, vec![0, 1, 2]),
        ] {
            assert_eq!(index.select(&matchers, limit), want, "{case}");
        }
        for (id, labels) in sets.iter().enumerate() {
            let known = |found: u32| sets.get(found as usize) == Some(labels);
            assert_eq!(index.id(labels.fingerprint(), known), Some(id as u32));
        }
        assert_eq!(index.id(7, |_| true), None);
    }
}
