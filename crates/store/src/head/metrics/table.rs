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

    /// Leaves this empty and answers its values in shares that change beside each other, until they are put
    /// [together](Self::put_together).
    pub(crate) fn take_apart(&mut self, shares: Shares) -> Vec<Share<T>> {
        let pages = Arc::unwrap_or_clone(std::mem::take(self).pages);
        let mut parts: Vec<_> = (0..shares.count()).map(|_| Share { pages: Vec::new(), shares }).collect();
        for (number, page) in pages.into_iter().enumerate() {
            if let Some(part) = parts.get_mut(number & (shares.count() - 1)) {
                part.pages.push(Arc::unwrap_or_clone(page));
            }
        }
        parts
    }

    /// Takes over all shares of one table, in the order in which they were answered.
    pub(crate) fn put_together(&mut self, parts: impl IntoIterator<Item = Share<T>>) {
        let mut parts: Vec<_> = parts.into_iter().map(|part| part.pages.into_iter()).collect();
        let mut pages = Vec::new();
        let mut len = 0;
        'all: loop {
            for part in &mut parts {
                let Some(page) = part.next() else { break 'all };
                len += page.len();
                pages.push(Arc::new(page));
            }
        }
        *self = Self { pages: Arc::new(pages), len: u32::try_from(len).unwrap_or(u32::MAX) };
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

/// Into how many shares a table is taken apart: a power of two. Pages go to them in turn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shares {
    power: u32,
}

impl Shares {
    /// At least one, and not more than `most` if that is more.
    pub(crate) fn at_most(most: usize) -> Self {
        Self { power: most.max(1).ilog2() }
    }

    fn count(self) -> usize {
        1 << self.power
    }

    /// The number of the share that has the value numbered `id`.
    pub(crate) fn of(self, id: u32) -> usize {
        (id as usize / PAGE) & (self.count() - 1)
    }

    /// Where in its share the page of that value is.
    fn page(self, id: u32) -> usize {
        (id as usize / PAGE) >> self.power
    }
}

/// A part of a table's values.
#[derive(Debug)]
pub(crate) struct Share<T> {
    /// Every so manieth page of the table.
    pages: Vec<Vec<T>>,
    shares: Shares,
}

impl<T> Share<T> {
    /// Changes one of the values that lie here.
    pub(crate) fn change(&mut self, id: u32, change: impl FnOnce(&mut T)) {
        let page = self.pages.get_mut(self.shares.page(id));
        if let Some(value) = page.and_then(|page| page.get_mut(id as usize % PAGE)) {
            change(value);
        }
    }

    /// Adds the next of the values that lie here.
    pub(crate) fn push(&mut self, value: T) {
        if let Some(page) = self.pages.last_mut().filter(|page| page.len() < PAGE) {
            return page.push(value);
        }
        let mut page = Vec::with_capacity(PAGE);
        page.push(value);
        self.pages.push(page);
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
    }

    #[test]
    fn shares_make_the_table_they_come_from() {
        for (case, before, after, shares) in [
            ("nothing", 0, 0, 2),
            ("one share", 70, 300, 1),
            ("a page that is not full", 70, 300, 2),
            ("full pages", 128, 256, 3),
            ("more shares than pages", 10, 20, 4),
            ("nothing new", 150, 150, 2),
        ] {
            let mut table = Table::default();
            (0..before).for_each(|value| table.push(value));
            let copy = table.clone();
            let shares = Shares::at_most(shares);
            let mut parts = table.take_apart(shares);
            (before..after).for_each(|id| parts[shares.of(id)].push(id));
            (0..after).for_each(|id| parts[shares.of(id)].change(id, |value| *value *= 2));
            table.put_together(parts);
            assert!(table.iter().copied().eq((0..after).map(|id| id * 2)), "{case}");
            assert_eq!((table.len(), copy.len()), (after, before), "{case}");
            assert!(copy.iter().copied().eq(0..before), "{case}");
            table.push(7);
            assert_eq!(table.get(after), Some(&7), "{case}");
        }
    }
}
