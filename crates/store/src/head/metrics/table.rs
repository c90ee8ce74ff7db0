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

    /// Changes values, each with what comes beside its id. Ids next to each other cost least.
    pub(crate) fn change<W>(&mut self, with: impl IntoIterator<Item = (u32, W)>, mut change: impl FnMut(&mut T, W)) {
        let pages = Arc::make_mut(&mut self.pages);
        let mut with = with.into_iter().peekable();
        while let Some((id, _)) = with.peek() {
            let number = *id as usize / PAGE;
            // Looked at once for all that lies in it: whether a page is shared is a question to the whole machine.
            let mut page = pages.get_mut(number).map(Arc::make_mut);
            while let Some((id, with)) = with.next_if(|(id, _)| *id as usize / PAGE == number) {
                if let Some(value) = page.as_mut().and_then(|page| page.get_mut(id as usize % PAGE)) {
                    change(value, with);
                }
            }
        }
    }

    /// Like [`change`](Self::change), by several threads, each with a part of the values and room of its own.
    pub(crate) fn change_apart<W: Copy + Sync, R: Default>(
        &mut self,
        with: &[(u32, W)],
        threads: usize,
        change: impl Fn(&mut T, W, &mut R) + Sync,
    ) where
        T: Send + Sync,
    {
        let pages = Arc::make_mut(&mut self.pages);
        let part = pages.len().div_ceil(threads.max(1)).max(1);
        std::thread::scope(|scope| {
            for (number, pages) in pages.chunks_mut(part).enumerate() {
                let change = &change;
                scope.spawn(move || {
                    let (first, mut room) = (number * part, R::default());
                    let mut with = with.iter().peekable();
                    while let Some((id, _)) = with.peek() {
                        let number = *id as usize / PAGE;
                        let page = number.checked_sub(first).and_then(|page| pages.get_mut(page));
                        let mut page = page.map(Arc::make_mut);
                        while let Some((id, with)) = with.next_if(|(id, _)| *id as usize / PAGE == number) {
                            if let Some(value) = page.as_mut().and_then(|page| page.get_mut(*id as usize % PAGE)) {
                                change(value, *with, &mut room);
                            }
                        }
                    }
                });
            }
        });
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_does_not_see_later_changes() {
        let mut table = Table::default();
        (0..150_u32).for_each(|value| table.push(value));
        let copy = table.clone();
        table.change([(70, 7), (99, 9), (1000, 1)], |value, new| *value = new);
        table.push(150);
        assert_eq!((copy.get(70), copy.get(150), copy.len()), (Some(&70), None, 150));
        assert_eq!((table.get(70), table.get(99), table.get(150)), (Some(&7), Some(&9), Some(&150)));
        assert_eq!(table.iter().count(), 151);
        let all: Vec<(u32, u32)> = (0..151).map(|id| (id, id * 2)).collect();
        table.change_apart(&all, 2, |value, new, _: &mut ()| *value = new);
        assert!(table.iter().copied().eq((0..151).map(|id| id * 2)));
        assert_eq!(copy.get(70), Some(&70));
    }
}
