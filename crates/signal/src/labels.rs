//! Label sets: what identifies a series, a stream or an alert.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::iter::FusedIterator;
use std::sync::{Arc, LazyLock};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use xxhash_rust::xxh3::xxh3_64;

/// A set of labels: sorted by name, each name once, no empty values. Cheap to clone, to compare and to hash.
///
/// One text holds them all, name and value in turn, each behind its length, so that a set costs one allocation and two
/// equal sets are equal bytes.
#[derive(Clone)]
pub struct Labels {
    /// Of the text; not the same between versions.
    hash: u64,
    text: Arc<str>,
}

impl Default for Labels {
    fn default() -> Self {
        static EMPTY: LazyLock<Labels> = LazyLock::new(|| Labels::of(Arc::from("")));
        EMPTY.clone()
    }
}

impl Labels {
    /// The label that holds a metric's name.
    pub const NAME: &'static str = "__name__";

    /// The empty set.
    #[must_use]
    pub fn empty() -> Self {
        Self::default()
    }

    fn of(text: Arc<str>) -> Self {
        Self { hash: xxh3_64(text.as_bytes()), text }
    }

    /// Builds a set; a later pair replaces an earlier one of the same name, empty values are dropped.
    pub fn from_pairs<N: AsRef<str>, V: AsRef<str>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let pairs: Vec<(N, V)> = pairs.into_iter().collect();
        if pairs.is_sorted_by(|(a, _), (b, _)| a.as_ref() < b.as_ref()) {
            return Self::from_sorted(pairs.iter().map(|(name, value)| (name.as_ref(), value.as_ref())));
        }
        let set: BTreeMap<&str, &str> = pairs.iter().map(|(name, value)| (name.as_ref(), value.as_ref())).collect();
        Self::from_sorted(set.iter().map(|(name, value)| (*name, *value)))
    }

    /// Builds a set from names in strictly ascending order; empty values are dropped.
    fn from_sorted<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)> + Clone) -> Self {
        let pairs = pairs.filter(|(_, value)| !value.is_empty());
        let bytes = pairs.clone().map(|(name, value)| name.len() + value.len() + 2).sum();
        let mut text = String::with_capacity(bytes);
        for (name, value) in pairs {
            put(&mut text, name);
            put(&mut text, value);
        }
        Self::of(Arc::from(text))
    }

    /// The value of `name`, if present.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let (found, value) = self.iter().find(|(at, _)| *at >= name)?;
        (found == name).then_some(value)
    }

    /// The value of `name`, or the empty string: Prometheus treats both alike.
    #[must_use]
    pub fn get_or_empty(&self, name: &str) -> &str {
        self.get(name).unwrap_or("")
    }

    /// The metric name, if there is one.
    #[must_use]
    pub fn metric_name(&self) -> Option<&str> {
        self.get(Self::NAME)
    }

    /// All labels in order of name.
    #[must_use]
    pub fn iter(&self) -> LabelPairs<'_> {
        LabelPairs { rest: &self.text }
    }

    /// Number of labels. Looks at each.
    #[must_use]
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// A number that equal sets share, made once. Not the same between versions, so it must not be kept on disk.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        self.hash
    }

    /// Whether both are clones of one set; false says nothing.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.text, &other.text)
    }

    /// Bytes the set takes in memory, shared by its clones.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.text.len()
    }

    /// The same set with `name` set to `value` (removed when `value` is empty).
    #[must_use]
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut pairs: Vec<(&str, &str)> = self.iter().filter(|(at, _)| *at != name).collect();
        pairs.insert(pairs.partition_point(|(at, _)| *at < name), (name, value));
        Self::from_sorted(pairs.iter().copied())
    }

    /// The same set without the names for which `drop` answers true.
    #[must_use]
    pub fn without(&self, mut drop: impl FnMut(&str) -> bool) -> Self {
        let mut text = String::with_capacity(self.text.len());
        for (name, value) in self.iter() {
            if !drop(name) {
                put(&mut text, name);
                put(&mut text, value);
            }
        }
        if text.len() == self.text.len() { self.clone() } else { Self::of(Arc::from(text)) }
    }

    /// The same set without the metric name.
    #[must_use]
    pub fn without_name(&self) -> Self {
        self.without(|name| name == Self::NAME)
    }
}

/// Lengths from here on take the long form.
const LONG: u8 = 0x7f;
/// Bytes of the long form after its mark, seven bits each.
const LONG_BYTES: usize = 5;

/// Adds a text behind its length. Every byte of a length is ASCII, so that the whole stays UTF-8.
fn put(out: &mut String, text: &str) {
    let len = text.len();
    match u8::try_from(len) {
        Ok(short) if short < LONG => out.push(char::from(short)),
        _ => {
            out.push(char::from(LONG));
            for at in 0..LONG_BYTES {
                out.push(char::from((len >> (7 * at)) as u8 & 0x7f));
            }
        }
    }
    out.push_str(text);
}

/// Reads a text that [`put`] wrote; `None` at the end.
fn take<'a>(rest: &mut &'a str) -> Option<&'a str> {
    let (first, mut after) = (*rest.as_bytes().first()?, rest.get(1..)?);
    let len = if first < LONG {
        usize::from(first)
    } else {
        let (len, behind) = after.split_at_checked(LONG_BYTES)?;
        after = behind;
        len.bytes().rev().fold(0, |len, byte| len << 7 | usize::from(byte))
    };
    let (text, after) = after.split_at_checked(len)?;
    *rest = after;
    Some(text)
}

/// The labels of a set in order of name.
#[derive(Clone, Debug)]
pub struct LabelPairs<'a> {
    rest: &'a str,
}

impl<'a> Iterator for LabelPairs<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        Some((take(&mut self.rest)?, take(&mut self.rest)?))
    }
}

impl FusedIterator for LabelPairs<'_> {}

impl<'a> IntoIterator for &'a Labels {
    type Item = (&'a str, &'a str);
    type IntoIter = LabelPairs<'a>;

    fn into_iter(self) -> LabelPairs<'a> {
        self.iter()
    }
}

impl PartialEq for Labels {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && (self.is_same(other) || self.text == other.text)
    }
}

impl Eq for Labels {}

impl Hash for Labels {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Labels {
    /// By the first label that differs: its name, then its value; a set comes after its own beginning.
    fn cmp(&self, other: &Self) -> Ordering {
        if self.is_same(other) {
            return Ordering::Equal;
        }
        // The label that holds the first difference decides; those before it need not be taken apart.
        let shared = shared_prefix(self.text.as_bytes(), other.text.as_bytes());
        let (mut mine, mut before) = (self.iter(), self.iter());
        while mine.next().is_some() && self.text.len() - mine.rest.len() <= shared {
            before = mine.clone();
        }
        let at = self.text.len() - before.rest.len();
        let theirs = LabelPairs { rest: other.text.get(at..).unwrap_or_default() };
        before.cmp(theirs)
    }
}

/// How many bytes both begin with.
fn shared_prefix(a: &[u8], b: &[u8]) -> usize {
    let words = a.as_chunks::<16>().0.iter().zip(b.as_chunks::<16>().0);
    let equal = words.take_while(|(a, b)| a == b).count() * 16;
    let (a, b) = (a.get(equal..).unwrap_or_default(), b.get(equal..).unwrap_or_default());
    equal + a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// Collects labels in any order.
#[derive(Clone, Debug, Default)]
pub struct LabelsBuilder(BTreeMap<Box<str>, Box<str>>);

impl From<&Labels> for LabelsBuilder {
    fn from(labels: &Labels) -> Self {
        Self(labels.iter().map(|(name, value)| (Box::from(name), Box::from(value))).collect())
    }
}

impl LabelsBuilder {
    /// Sets `name`; an empty `value` removes it.
    pub fn set(&mut self, name: &str, value: &str) -> &mut Self {
        if value.is_empty() {
            self.0.remove(name);
        } else {
            self.0.insert(Box::from(name), Box::from(value));
        }
        self
    }

    /// Removes `name`.
    pub fn remove(&mut self, name: &str) -> &mut Self {
        self.0.remove(name);
        self
    }

    /// The value set for `name` so far.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| &**value)
    }

    /// The finished set.
    #[must_use]
    pub fn build(self) -> Labels {
        Labels::from_sorted(self.0.iter().map(|(name, value)| (&**name, &**value)))
    }
}

impl fmt::Display for Labels {
    /// As a PromQL selector: `name{a="b"}`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = self.metric_name() {
            f.write_str(name)?;
        }
        let rest: Vec<_> = self.iter().filter(|(name, _)| *name != Self::NAME).collect();
        if rest.is_empty() && self.metric_name().is_some() {
            return Ok(());
        }
        f.write_str("{")?;
        for (at, (name, value)) in rest.iter().enumerate() {
            if at > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{name}={value:?}")?;
        }
        f.write_str("}")
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Serialize for Labels {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::from_pairs(BTreeMap::<String, String>::deserialize(deserializer)?))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_set_is_sorted_unique_and_free_of_empty_values() {
        let labels = Labels::from_pairs([("b", "1"), ("a", "2"), ("b", "3"), ("c", "")]);
        assert_eq!(labels.iter().collect::<Vec<_>>(), [("a", "2"), ("b", "3")]);
        assert_eq!(labels.get("c"), None);
        assert_eq!(labels.with("a", "").len(), 1);
        assert_eq!(Labels::from_pairs([("__name__", "up"), ("job", "a\"b")]).to_string(), r#"up{job="a\"b"}"#);
        assert_eq!(Labels::empty().to_string(), "{}");
    }

    #[test]
    fn order_is_by_name_then_value() {
        let sets = [vec![], vec![("a", "1")], vec![("a", "1"), ("b", "1")], vec![("a", "10")], vec![("a", "2")]];
        let sets = sets.map(Labels::from_pairs);
        assert!(sets.is_sorted(), "{sets:?}");
    }

    proptest! {
        #[test]
        fn sets_are_ordered_like_their_pairs(
            one in proptest::collection::btree_map("[a-c]{1,2}", "[a-b]{1,40}", 0..5),
            other in proptest::collection::btree_map("[a-c]{1,2}", "[a-b]{1,40}", 0..5),
            long in 120_usize..140,
        ) {
            let long = ("aa", "x".repeat(long));
            let (one, other) = (Labels::from_pairs(one), Labels::from_pairs(other));
            prop_assert_eq!(one.cmp(&other), one.iter().cmp(other.iter()));
            let (one, other) = (one.with(long.0, &long.1), other.with(long.0, &long.1));
            prop_assert_eq!(one.cmp(&other), one.iter().cmp(other.iter()));
        }

        #[test]
        fn a_set_behaves_like_a_map(
            pairs in proptest::collection::vec(("[a-c_é]{1,3}", ".{0,200}"), 0..6),
            name in "[a-c_é]{1,3}",
            value in ".{0,3}",
        ) {
            let mut map: BTreeMap<String, String> = BTreeMap::new();
            map.extend(pairs.clone());
            let labels = Labels::from_pairs(pairs);
            let kept = |map: &BTreeMap<String, String>| -> Vec<(String, String)> {
                map.iter().filter(|(_, value)| !value.is_empty()).map(|(a, b)| (a.clone(), b.clone())).collect()
            };
            let shown = |labels: &Labels| -> Vec<(String, String)> {
                labels.iter().map(|(a, b)| (a.to_owned(), b.to_owned())).collect()
            };
            prop_assert_eq!(shown(&labels), kept(&map));
            prop_assert_eq!(labels.get_or_empty(&name), map.get(&name).map_or("", String::as_str));
            prop_assert_eq!(&Labels::from_pairs(kept(&map)), &labels);
            let mut builder = LabelsBuilder::from(&labels);
            builder.set(&name, &value);
            map.insert(name.clone(), value.clone());
            prop_assert_eq!(shown(&labels.with(&name, &value)), kept(&map));
            prop_assert_eq!(builder.build(), labels.with(&name, &value));
            map.remove(&name);
            prop_assert_eq!(shown(&labels.without(|at| at == name)), kept(&map));
        }
    }
}
