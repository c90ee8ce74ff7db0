//! Which series carry a label: lists of ids, and how to combine them.

use crate::wire::{DecodeError, Reader, put_varint};

/// A list in the making. Ids that follow each other are one run.
#[derive(Clone, Debug)]
pub(super) struct PostingsWriter {
    bytes: Vec<u8>,
    /// Where the last run that was written ended; the next id after it.
    written: u32,
    start: u32,
    end: u32,
}

impl PostingsWriter {
    pub(super) fn new(first: u32) -> Self {
        Self { bytes: Vec::new(), written: 0, start: first, end: first.saturating_add(1) }
    }

    /// Adds an id above all others.
    pub(super) fn push(&mut self, id: u32) {
        if id != self.end {
            self.put_run();
            self.start = id;
        }
        self.end = id.saturating_add(1);
    }

    fn put_run(&mut self) {
        let gap = u64::from(self.start - self.written) << 1;
        let len = u64::from(self.end - self.start);
        if len == 1 {
            put_varint(&mut self.bytes, gap);
        } else {
            put_varint(&mut self.bytes, gap | 1);
            put_varint(&mut self.bytes, len - 2);
        }
        self.written = self.end;
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        self.put_run();
        self.bytes
    }
}

/// Hands each run of a list to `each`; none reaches `limit`.
pub(super) fn each_run(bytes: &[u8], limit: u32, mut each: impl FnMut(u32, u32)) -> Result<(), DecodeError> {
    let mut reader = Reader::new(bytes);
    let mut end = 0_u64;
    while !reader.is_at_end() {
        let head = reader.varint()?;
        let len = if head & 1 == 0 { 1 } else { reader.varint()?.saturating_add(2) };
        let start = end.saturating_add(head >> 1);
        end = start.saturating_add(len);
        if end > u64::from(limit) {
            return Err(DecodeError("a label names a series that is not there"));
        }
        each(start as u32, end as u32);
    }
    Ok(())
}

/// A set of ids below a limit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct IdSet {
    words: Vec<u64>,
    limit: u32,
}

impl IdSet {
    pub(super) fn empty(limit: u32) -> Self {
        Self { words: vec![0; limit.div_ceil(64) as usize], limit }
    }

    pub(super) fn all(limit: u32) -> Self {
        let mut set = Self::empty(limit);
        set.add(0, limit);
        set
    }

    /// Adds the ids from `start` to before `end`.
    pub(super) fn add(&mut self, start: u32, end: u32) {
        let end = end.min(self.limit);
        if start >= end {
            return;
        }
        let (first, last) = ((start / 64) as usize, ((end - 1) / 64) as usize);
        let from_start = u64::MAX << (start % 64);
        let to_end = u64::MAX >> (63 - (end - 1) % 64);
        let Some(words) = self.words.get_mut(first..=last) else { return };
        match words {
            [] => {}
            [only] => *only |= from_start & to_end,
            [first, between @ .., last] => {
                *first |= from_start;
                between.fill(u64::MAX);
                *last |= to_end;
            }
        }
    }

    pub(super) fn keep(&mut self, other: &Self) {
        self.words.iter_mut().zip(&other.words).for_each(|(word, other)| *word &= other);
    }

    pub(super) fn remove(&mut self, other: &Self) {
        self.words.iter_mut().zip(&other.words).for_each(|(word, other)| *word &= !other);
    }

    pub(super) fn has(&self, id: u32) -> bool {
        self.words.get((id / 64) as usize).is_some_and(|word| word >> (id % 64) & 1 == 1)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    /// The ids in order.
    pub(super) fn ids(&self) -> Vec<u32> {
        let mut ids = Vec::with_capacity(self.words.iter().map(|word| word.count_ones() as usize).sum());
        for (at, word) in self.words.iter().enumerate() {
            let mut word = *word;
            while word != 0 {
                ids.push(at as u32 * 64 + word.trailing_zeros());
                word &= word - 1;
            }
        }
        ids
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn list(ids: &BTreeSet<u32>) -> Vec<u8> {
        let mut ids = ids.iter().copied();
        let mut writer = PostingsWriter::new(ids.next().unwrap());
        ids.for_each(|id| writer.push(id));
        writer.finish()
    }

    proptest! {
        #[test]
        fn lists_and_sets_are_sets(
            a in proptest::collection::btree_set(0_u32..300, 1..200),
            b in proptest::collection::btree_set(0_u32..300, 1..200),
            count in 0_u32..300,
        ) {
            let read = |ids| {
                let mut set = IdSet::empty(300);
                each_run(&list(ids), 300, |start, end| set.add(start, end)).unwrap();
                set
            };
            let (set, other) = (read(&a), read(&b));
            prop_assert_eq!(set.ids(), a.iter().copied().collect::<Vec<_>>());
            let mut both = set.clone();
            both.keep(&other);
            prop_assert_eq!(both.ids(), a.intersection(&b).copied().collect::<Vec<_>>());
            prop_assert_eq!(both.is_empty(), a.is_disjoint(&b));
            let mut rest = set.clone();
            rest.remove(&other);
            prop_assert_eq!(rest.ids(), a.difference(&b).copied().collect::<Vec<_>>());
            prop_assert!((0..400).all(|id| set.has(id) == a.contains(&id)));
            prop_assert_eq!(IdSet::all(count).ids(), (0..count).collect::<Vec<_>>());
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..50)) {
            let _ = each_run(&bytes, 100, |start, end| assert!(start < end && end <= 100));
        }
    }

    #[test]
    fn runs_are_short() {
        assert_eq!(list(&(0..20_000).collect()).len(), 4);
        assert_eq!(list(&(0..200).map(|at| at * 7).collect()).len(), 200);
    }
}
