//! Things found by their labels: series and streams.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use signal::{Labels, Matcher, all_match};

use crate::index::Index;
use crate::pages::Pages;

/// Values with a label set each. The index only grows and is shared between copies; a copy ignores what came after it.
#[derive(Debug)]
pub(crate) struct Labelled<T> {
    index: Arc<RwLock<Index>>,
    values: Pages<(Labels, T)>,
}

impl<T> Clone for Labelled<T> {
    fn clone(&self) -> Self {
        Self { index: Arc::clone(&self.index), values: self.values.clone() }
    }
}

impl<T> Default for Labelled<T> {
    fn default() -> Self {
        Self { index: Arc::default(), values: Pages::default() }
    }
}

impl<T: Clone + Default> Labelled<T> {
    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    pub(crate) fn find(&self, labels: &Labels) -> Option<u32> {
        self.read().id(labels)
    }

    pub(crate) fn find_or_add(&mut self, labels: &Labels) -> u32 {
        if let Some(id) = self.find(labels) {
            return id;
        }
        self.add(labels, T::default())
    }

    fn add(&mut self, labels: &Labels, value: T) -> u32 {
        let id = u32::try_from(self.values.len()).unwrap_or(u32::MAX);
        self.index.write().unwrap_or_else(PoisonError::into_inner).add(labels, id);
        self.values.push((labels.clone(), value));
        id
    }

    pub(crate) fn get(&self, id: u32) -> Option<&T> {
        self.values.get(id).map(|(_, value)| value)
    }

    pub(crate) fn get_mut(&mut self, id: u32) -> Option<&mut T> {
        self.values.get_mut(id).map(|(_, value)| value)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &(Labels, T)> {
        self.values.iter()
    }

    /// Everything the matchers allow, in no particular order.
    pub(crate) fn select(&self, matchers: &[Matcher]) -> Vec<&(Labels, T)> {
        let limit = u32::try_from(self.values.len()).unwrap_or(u32::MAX);
        let candidates = self.read().candidates(matchers, limit);
        let fits = |value: &&(Labels, T)| all_match(matchers, &value.0);
        match candidates {
            Some(ids) => ids.into_iter().filter_map(|id| self.values.get(id)).filter(fits).collect(),
            None => self.values.iter().filter(fits).collect(),
        }
    }

    /// The values of `name`, in order, on anything the matchers allow and for which `holds` answers true.
    pub(crate) fn label_values(&self, name: &str, matchers: &[Matcher], holds: impl Fn(&T) -> bool) -> Vec<String> {
        self.read()
            .values(name)
            .filter(|(_, ids)| {
                let mut carriers = ids.iter().filter_map(|id| self.values.get(*id));
                carriers.any(|(labels, value)| all_match(matchers, labels) && holds(value))
            })
            .map(|(value, _)| value.to_owned())
            .collect()
    }

    /// A list of what `keep` leaves over, newly numbered. Copies taken before keep the old one.
    pub(crate) fn retain(&self, mut keep: impl FnMut(&T) -> Option<T>) -> Self {
        let mut kept = Self::default();
        for (labels, value) in self.values.iter() {
            if let Some(value) = keep(value) {
                kept.add(labels, value);
            }
        }
        kept
    }

    fn read(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }
}
