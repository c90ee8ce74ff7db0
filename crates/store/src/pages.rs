//! A growing list that is cheap to copy: the copy shares everything until one of the two changes.

use std::sync::Arc;

/// Values per page. A change after a copy costs one page of pointers, a list of pages and the value itself.
const PAGE: usize = 64;

/// Values numbered from zero in order of arrival.
#[derive(Debug)]
pub(crate) struct Pages<T> {
    pages: Arc<Vec<Arc<Vec<Arc<T>>>>>,
    len: usize,
}

impl<T> Clone for Pages<T> {
    fn clone(&self) -> Self {
        Self { pages: Arc::clone(&self.pages), len: self.len }
    }
}

impl<T> Default for Pages<T> {
    fn default() -> Self {
        Self { pages: Arc::default(), len: 0 }
    }
}

impl<T: Clone> Pages<T> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The value numbered `id`; `None` when it came after this copy was taken.
    pub(crate) fn get(&self, id: u32) -> Option<&T> {
        let id = id as usize;
        self.pages.get(id / PAGE)?.get(id % PAGE).map(|value| &**value)
    }

    pub(crate) fn get_mut(&mut self, id: u32) -> Option<&mut T> {
        let id = id as usize;
        let page = Arc::make_mut(&mut self.pages).get_mut(id / PAGE)?;
        Arc::make_mut(page).get_mut(id % PAGE).map(Arc::make_mut)
    }

    pub(crate) fn push(&mut self, value: T) {
        let pages = Arc::make_mut(&mut self.pages);
        if self.len.is_multiple_of(PAGE) {
            pages.push(Arc::new(Vec::with_capacity(PAGE)));
        }
        if let Some(page) = pages.last_mut() {
            Arc::make_mut(page).push(Arc::new(value));
        }
        self.len += 1;
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.pages.iter().flat_map(|page| page.iter()).map(|value| &**value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_does_not_see_later_changes() {
        let mut list = Pages::default();
        for value in 0..150_u32 {
            list.push(value);
        }
        let copy = list.clone();
        *list.get_mut(70).unwrap() = 7;
        list.push(150);
        assert_eq!((copy.get(70), copy.get(150), copy.len()), (Some(&70), None, 150));
        assert_eq!((list.get(70), list.get(150), list.iter().count()), (Some(&7), Some(&150), 151));
    }
}
