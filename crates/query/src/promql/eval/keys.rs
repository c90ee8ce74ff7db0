//! Finding series by some of their labels, without making label sets of them.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use signal::Labels;
use xxhash_rust::xxh3::xxh3_64;

use super::rows::is_name;

/// Ends a text inside a key; no UTF-8 has this byte.
const END: u8 = 0xff;

/// Some labels of a set.
#[derive(Clone, Debug)]
pub(super) enum Choice {
    /// Those with these names, sorted.
    Only(Vec<String>),
    /// All but those with these names, sorted, and the metric's name.
    Without(Vec<String>),
}

impl Choice {
    /// `by (names)`, `on (names)`.
    pub(super) fn only(names: &[String]) -> Self {
        Self::Only(sorted(names))
    }

    /// `without (names)`, `ignoring (names)`.
    pub(super) fn without(names: &[String]) -> Self {
        let mut names = sorted(names);
        if let Err(place) = names.binary_search_by(|name| name.as_str().cmp(Labels::NAME)) {
            names.insert(place, Labels::NAME.to_owned());
        }
        Self::Without(names)
    }

    /// Writes into `key` what the chosen labels of a series are; equal when and only when those are. With `nameless`, the
    /// metric's name, type and unit do not count.
    pub(super) fn write(&self, labels: &Labels, nameless: bool, key: &mut Vec<u8>) {
        key.clear();
        match self {
            Self::Only(names) => {
                let mut pairs = labels.iter().filter(|(name, _)| !(nameless && is_name(name))).peekable();
                for name in names {
                    while pairs.next_if(|(other, _)| *other < name.as_str()).is_some() {}
                    if let Some((_, value)) = pairs.next_if(|(other, _)| *other == name.as_str()) {
                        key.extend_from_slice(value.as_bytes());
                    }
                    key.push(END);
                }
            }
            Self::Without(names) => {
                let mut dropped = names.iter().map(String::as_str).peekable();
                for (name, value) in labels {
                    while dropped.next_if(|other| *other < name).is_some() {}
                    if dropped.peek() == Some(&name) || (nameless && is_name(name)) {
                        continue;
                    }
                    for text in [name, value] {
                        key.extend_from_slice(text.as_bytes());
                        key.push(END);
                    }
                }
            }
        }
    }

    /// The chosen labels.
    pub(super) fn of(&self, labels: &Labels, nameless: bool) -> Labels {
        let listed = |names: &[String], name: &str| names.binary_search_by(|other| other.as_str().cmp(name)).is_ok();
        labels.without(|name| {
            let dropped = match self {
                Self::Only(names) => !listed(names, name),
                Self::Without(names) => listed(names, name),
            };
            dropped || (nameless && is_name(name))
        })
    }
}

fn sorted(names: &[String]) -> Vec<String> {
    let mut names = names.to_vec();
    names.sort();
    names.dedup();
    names
}

/// Numbers keys in order of their first appearance.
#[derive(Debug, Default)]
pub(super) struct Places(HashMap<Box<[u8]>, usize, BuildHasherDefault<KeyHasher>>);

impl Places {
    /// The number of `key`, and whether it is new.
    pub(super) fn place(&mut self, key: &[u8]) -> (usize, bool) {
        if let Some(place) = self.0.get(key) {
            return (*place, false);
        }
        let place = self.0.len();
        self.0.insert(Box::from(key), place);
        (place, true)
    }

    /// The number of `key`, if it has one.
    pub(super) fn find(&self, key: &[u8]) -> Option<usize> {
        self.0.get(key).copied()
    }

    /// The keys by their numbers.
    pub(super) fn into_keys(self) -> Vec<Box<[u8]>> {
        let mut keys: Vec<(usize, Box<[u8]>)> = self.0.into_iter().map(|(key, place)| (place, key)).collect();
        keys.sort_unstable_by_key(|(place, _)| *place);
        keys.into_iter().map(|(_, key)| key).collect()
    }
}

/// Hashes one key in one go.
#[derive(Default)]
pub(super) struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0 ^= xxh3_64(bytes);
    }

    fn write_usize(&mut self, number: usize) {
        self.0 = self.0.rotate_left(5) ^ number as u64;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_equal_when_the_chosen_labels_are() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let labels = |pairs: &[(&str, &str)]| Labels::from_pairs(pairs.iter().copied());
        let key = |choice: &Choice, labels: &Labels, nameless| {
            let mut key = Vec::new();
            choice.write(labels, nameless, &mut key);
            key
        };
        let a = labels(&[("__name__", "m"), ("__type__", "gauge"), ("x", "1"), ("y", "2"), ("z", "3")]);
        let b = labels(&[("__name__", "n"), ("x", "1"), ("y", "2"), ("z", "4")]);
        for (case, choice, nameless, equal, left) in [
            ("by one", Choice::only(&names(&["x"])), false, true, "{x=\"1\"}"),
            ("by two, unsorted", Choice::only(&names(&["y", "x"])), false, true, "{x=\"1\", y=\"2\"}"),
            ("by one that differs", Choice::only(&names(&["z"])), false, false, "{z=\"3\"}"),
            ("by nothing", Choice::only(&[]), false, true, "{}"),
            ("by a label nobody has", Choice::only(&names(&["q"])), false, true, "{}"),
            ("by name", Choice::only(&names(&["__name__"])), false, false, "m"),
            ("by a name that is gone", Choice::only(&names(&["__name__"])), true, true, "{}"),
            ("without", Choice::without(&names(&["z"])), true, true, "{x=\"1\", y=\"2\"}"),
            (
                "the type counts",
                Choice::without(&names(&["z"])),
                false,
                false,
                "{__type__=\"gauge\", x=\"1\", y=\"2\"}",
            ),
        ] {
            assert_eq!(key(&choice, &a, nameless) == key(&choice, &b, nameless), equal, "{case}");
            assert_eq!(choice.of(&a, nameless).to_string(), left, "{case}");
        }
        let only = Choice::only(&names(&["x", "y"]));
        assert_ne!(key(&only, &labels(&[("x", "1")]), false), key(&only, &labels(&[("y", "1")]), false));
    }
}
