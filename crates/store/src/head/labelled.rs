//! Things found by their labels: log streams.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use signal::{Labels, Matcher};

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
        self.read().id(labels.fingerprint(), |id| self.values.get(id).is_some_and(|(known, _)| known == labels))
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

    /// Everything the matchers allow, in order of arrival.
    pub(crate) fn select(&self, matchers: &[Matcher]) -> Vec<&(Labels, T)> {
        let limit = u32::try_from(self.values.len()).unwrap_or(u32::MAX);
        let ids = self.read().select(matchers, limit);
        ids.into_iter().filter_map(|id| self.values.get(id)).collect()
    }

    fn read(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }
}
