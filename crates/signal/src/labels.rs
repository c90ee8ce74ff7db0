//! Label sets: what identifies a series, a stream or an alert.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// One name and its value.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Label {
    /// Any UTF-8; `__name__` holds the metric name.
    pub name: Arc<str>,
    /// Any UTF-8, never empty inside [`Labels`].
    pub value: Arc<str>,
}

/// A set of labels: sorted by name, each name once, no empty values. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Labels(Arc<[Label]>);

impl Default for Labels {
    fn default() -> Self {
        Self(Arc::from([]))
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

    /// Builds a set; a later pair replaces an earlier one of the same name, empty values are dropped.
    pub fn from_pairs<N: AsRef<str>, V: AsRef<str>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let mut builder = LabelsBuilder::default();
        for (name, value) in pairs {
            builder.set(name.as_ref(), value.as_ref());
        }
        builder.build()
    }

    /// The value of `name`, if present.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let at = self.0.binary_search_by(|label| (*label.name).cmp(name)).ok()?;
        self.0.get(at).map(|label| &*label.value)
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
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0.iter().map(|label| (&*label.name, &*label.value))
    }

    /// All labels in order of name, shared.
    #[must_use]
    pub fn as_slice(&self) -> &[Label] {
        &self.0
    }

    /// Number of labels.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The same set with `name` set to `value` (removed when `value` is empty).
    #[must_use]
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut builder = LabelsBuilder::from(self);
        builder.set(name, value);
        builder.build()
    }

    /// The same set without the names for which `drop` answers true.
    #[must_use]
    pub fn without(&self, mut drop: impl FnMut(&str) -> bool) -> Self {
        Self(self.0.iter().filter(|label| !drop(&label.name)).cloned().collect())
    }

    /// The same set without the metric name.
    #[must_use]
    pub fn without_name(&self) -> Self {
        self.without(|name| name == Self::NAME)
    }
}

impl FromIterator<Label> for Labels {
    fn from_iter<T: IntoIterator<Item = Label>>(labels: T) -> Self {
        let mut builder = LabelsBuilder::default();
        for label in labels {
            builder.set_shared(label);
        }
        builder.build()
    }
}

/// Collects labels in any order.
#[derive(Clone, Debug, Default)]
pub struct LabelsBuilder(BTreeMap<Arc<str>, Arc<str>>);

impl From<&Labels> for LabelsBuilder {
    fn from(labels: &Labels) -> Self {
        Self(labels.0.iter().map(|label| (label.name.clone(), label.value.clone())).collect())
    }
}

impl LabelsBuilder {
    /// Sets `name`; an empty `value` removes it.
    pub fn set(&mut self, name: &str, value: &str) -> &mut Self {
        if value.is_empty() {
            self.0.remove(name);
        } else {
            self.0.insert(Arc::from(name), Arc::from(value));
        }
        self
    }

    /// Like [`set`](Self::set) without copying.
    pub fn set_shared(&mut self, label: Label) -> &mut Self {
        if label.value.is_empty() {
            self.0.remove(&label.name);
        } else {
            self.0.insert(label.name, label.value);
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
        Labels(self.0.into_iter().map(|(name, value)| Label { name, value }).collect())
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
}
