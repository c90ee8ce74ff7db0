//! Which series or streams carry which labels.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use signal::{Label, Labels, MatchOp, Matcher};

/// Label postings. Ids are given in order of arrival and never taken back, so one index serves every snapshot: a
/// snapshot ignores ids it has no data for.
#[derive(Debug, Default)]
pub(crate) struct Index {
    ids: HashMap<Labels, u32>,
    names: BTreeMap<Arc<str>, BTreeMap<Arc<str>, Vec<u32>>>,
}

impl Index {
    pub(crate) fn id(&self, labels: &Labels) -> Option<u32> {
        self.ids.get(labels).copied()
    }

    /// Adds a label set that is not there yet under the next id; answers the set with its texts shared.
    pub(crate) fn add(&mut self, labels: &Labels, id: u32) -> Labels {
        let shared: Labels = labels.as_slice().iter().map(|label| self.share(label, id)).collect();
        self.ids.insert(shared.clone(), id);
        shared
    }

    fn share(&mut self, label: &Label, id: u32) -> Label {
        let name =
            self.names.get_key_value(&label.name).map_or_else(|| Arc::clone(&label.name), |(name, _)| Arc::clone(name));
        let values = self.names.entry(Arc::clone(&name)).or_default();
        let value =
            values.get_key_value(&label.value).map_or_else(|| Arc::clone(&label.value), |(value, _)| Arc::clone(value));
        values.entry(Arc::clone(&value)).or_default().push(id);
        Label { name, value }
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
