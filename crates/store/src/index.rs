//! Which series or streams carry which labels.

use signal::{Labels, MatchOp, Matcher};
use std::collections::{BTreeMap, HashMap};

/// Label postings. Ids are given in order of arrival and never taken back, so one index serves every snapshot: a
/// snapshot ignores ids it has no data for.
#[derive(Debug, Default)]
pub(crate) struct Index {
    ids: HashMap<Labels, u32>,
    names: BTreeMap<Box<str>, BTreeMap<Box<str>, Vec<u32>>>,
}

impl Index {
    pub(crate) fn id(&self, labels: &Labels) -> Option<u32> {
        self.ids.get(labels).copied()
    }

    /// Adds a label set that is not there yet under the next id.
    pub(crate) fn add(&mut self, labels: &Labels, id: u32) {
        self.ids.insert(labels.clone(), id);
        for (name, value) in labels {
            if !self.names.contains_key(name) {
                self.names.insert(Box::from(name), BTreeMap::new());
            }
            let Some(values) = self.names.get_mut(name) else { continue };
            match values.get_mut(value) {
                Some(ids) => ids.push(id),
                None => drop(values.insert(Box::from(value), vec![id])),
            }
        }
    }

    /// Ids below `limit` whose postings allow every matcher that needs its label to be there; `None` when no matcher
    /// narrows the search. The caller still checks the other matchers.
    pub(crate) fn candidates(&self, matchers: &[Matcher], limit: u32) -> Option<Vec<u32>> {
        let mut lists: Vec<Vec<u32>> = Vec::new();
        for matcher in matchers.iter().filter(|matcher| !matcher.matches_empty()) {
            let Some(values) = self.names.get(matcher.name.as_str()) else { return Some(Vec::new()) };
            let mut ids: Vec<u32> = match matcher.op {
                MatchOp::Equal => values.get(matcher.value.as_str()).cloned().unwrap_or_default(),
                MatchOp::NotEqual | MatchOp::Regex | MatchOp::NotRegex => {
                    let mut ids: Vec<u32> = values
                        .iter()
                        .filter(|(value, _)| matcher.matches(value))
                        .flat_map(|(_, ids)| ids)
                        .copied()
                        .collect();
                    ids.sort_unstable();
                    ids
                }
            };
            ids.truncate(ids.partition_point(|id| *id < limit));
            if ids.is_empty() {
                return Some(ids);
            }
            lists.push(ids);
        }
        lists.sort_unstable_by_key(Vec::len);
        let mut lists = lists.into_iter();
        let mut found = lists.next()?;
        for list in lists {
            found.retain(|id| list.binary_search(id).is_ok());
        }
        Some(found)
    }

    /// The values of one label with the ids that carry each, both in order.
    pub(crate) fn values(&self, name: &str) -> impl Iterator<Item = (&str, &[u32])> {
        self.names.get(name).into_iter().flatten().map(|(value, ids)| (&**value, ids.as_slice()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn narrows_by_labels_that_must_be_there() {
        let mut index = Index::default();
        for (id, pairs) in [[("job", "a"), ("env", "x")], [("job", "b"), ("env", "x")], [("job", "b"), ("env", "y")]]
            .into_iter()
            .enumerate()
        {
            index.add(&Labels::from_pairs(pairs), id as u32);
        }
        let matcher = |name: &str, op, value: &str| Matcher::new(name, op, value).unwrap();
        for (case, matchers, limit, want) in [
            ("nothing to narrow by", vec![matcher("job", MatchOp::NotEqual, "a")], 3, None),
            ("one", vec![matcher("job", MatchOp::Equal, "b")], 3, Some(vec![1, 2])),
            ("two", vec![matcher("job", MatchOp::Equal, "b"), matcher("env", MatchOp::Regex, "x|z")], 3, Some(vec![1])),
            ("limit", vec![matcher("job", MatchOp::Equal, "b")], 2, Some(vec![1])),
            ("unknown label", vec![matcher("pod", MatchOp::Regex, ".+")], 3, Some(vec![])),
            ("any value", vec![matcher("job", MatchOp::NotEqual, "")], 3, Some(vec![0, 1, 2])),
        ] {
            assert_eq!(index.candidates(&matchers, limit), want, "{case}");
        }
    }
}
