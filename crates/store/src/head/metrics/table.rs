//! A growing list of small values that is cheap to copy: the copy shares everything until one of the two changes.

use std::sync::Arc;

/// Values per page. A change after a copy costs a copy of its page.
const PAGE: usize = 64;

/// Values numbered from zero in order of arrival.
#[derive(Debug)]
pub(crate) struct Table<T> {
    pages: Arc<Vec<Arc<Vec<T>>>>,
    len: u32,
}

impl<T> Clone for Table<T> {
    fn clone(&self) -> Self {
        Self { pages: Arc::clone(&self.pages), len: self.len }
    }
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { pages: Arc::default(), len: 0 }
    }
}

impl<T: Clone> Table<T> {
    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    /// The value numbered `id`; `None` when it came after this copy was taken.
    pub(crate) fn get(&self, id: u32) -> Option<&T> {
        let id = id as usize;
        self.pages.get(id / PAGE)?.get(id % PAGE)
    }

    /// For changing many values at once.
    pub(crate) fn change(&mut self) -> Change<'_, T> {
        Change { pages: Arc::make_mut(&mut self.pages) }
    }

    pub(crate) fn push(&mut self, value: T) {
        let pages = Arc::make_mut(&mut self.pages);
        if (self.len as usize).is_multiple_of(PAGE) {
            pages.push(Arc::new(Vec::with_capacity(PAGE)));
        }
        if let Some(page) = pages.last_mut() {
            Arc::make_mut(page).push(value);
        }
        self.len += 1;
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.pages.iter().flat_map(|page| page.iter())
    }
}

/// The values of a table, to be changed.
#[derive(Debug)]
pub(crate) struct Change<'a, T> {
    pages: &'a mut Vec<Arc<Vec<T>>>,
}

impl<T: Clone> Change<'_, T> {
    pub(crate) fn get(&mut self, id: u32) -> Option<&mut T> {
        let id = id as usize;
        Arc::make_mut(self.pages.get_mut(id / PAGE)?).get_mut(id % PAGE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_does_not_see_later_changes() {
        let mut table = Table::default();
        (0..150_u32).for_each(|value| table.push(value));
        let copy = table.clone();
        *table.change().get(70).unwrap() = 7;
        table.push(150);
        assert_eq!((copy.get(70), copy.get(150), copy.len()), (Some(&70), None, 150));
        assert_eq!((table.get(70), table.get(150), table.iter().count()), (Some(&7), Some(&150), 151));
    }
}
