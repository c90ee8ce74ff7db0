//! Sets of rows.

/// A set of rows of a row group, a bit for each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rows {
    words: Vec<u64>,
    len: usize,
}

impl Rows {
    /// None of `len` rows.
    pub fn none(len: usize) -> Self {
        Self { words: vec![0; len.div_ceil(64)], len }
    }

    /// All of `len` rows.
    pub fn all(len: usize) -> Self {
        let mut rows = Self { words: vec![u64::MAX; len.div_ceil(64)], len };
        rows.cut();
        rows
    }

    /// The rows whose items are such that `is_wanted`.
    pub fn of<T>(items: &[T], is_wanted: impl Fn(&T) -> bool) -> Self {
        let word = |items: &[T]| {
            let bits = items.iter().zip(0_u32..);
            bits.fold(0_u64, |word, (item, bit)| word | u64::from(is_wanted(item)) << bit)
        };
        Self { words: items.chunks(64).map(word).collect(), len: items.len() }
    }

    /// How many rows there are, in the set or not.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Adds a row; one beyond the last is left out.
    pub fn insert(&mut self, row: usize) {
        if row < self.len
            && let Some(word) = self.words.get_mut(row / 64)
        {
            *word |= 1 << (row % 64);
        }
    }

    /// Whether the row is in the set.
    pub fn contains(&self, row: usize) -> bool {
        self.words.get(row / 64).is_some_and(|word| word >> (row % 64) & 1 == 1)
    }

    /// Keeps the rows that are in `other` too.
    pub fn and(&mut self, other: &Self) {
        let others = other.words.iter().copied().chain(std::iter::repeat(0));
        self.words.iter_mut().zip(others).for_each(|(word, other)| *word &= other);
    }

    /// Adds the rows of `other`.
    pub fn or(&mut self, other: &Self) {
        self.words.iter_mut().zip(&other.words).for_each(|(word, other)| *word |= other);
        self.cut();
    }

    /// Takes those that were not in the set instead of those that were.
    pub fn not(&mut self) {
        self.words.iter_mut().for_each(|word| *word = !*word);
        self.cut();
    }

    /// Keeps the rows from `range.start` to before `range.end`.
    pub fn retain(&mut self, range: std::ops::Range<usize>) {
        let below = |row: usize, first: usize| {
            let bits = row.saturating_sub(first).min(64) as u32;
            u64::MAX.checked_shr(64 - bits).unwrap_or_default()
        };
        for (number, word) in self.words.iter_mut().enumerate() {
            let first = number * 64;
            *word &= below(range.end, first) & !below(range.start, first);
        }
    }

    /// How many rows are in the set.
    pub fn count(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// How many rows before `row` are in the set.
    pub fn count_before(&self, row: usize) -> usize {
        let whole: usize = self.words.iter().take(row / 64).map(|word| word.count_ones() as usize).sum();
        let last = self.words.get(row / 64).map_or(0, |word| (word & ((1 << (row % 64)) - 1)).count_ones());
        whole + last as usize
    }

    /// Whether no row is in the set.
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    /// Whether every row is in the set.
    pub fn is_all(&self) -> bool {
        self.count() == self.len
    }

    /// The rows of the set in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = usize> {
        self.words.iter().enumerate().flat_map(|(number, word)| {
            let mut word = *word;
            std::iter::from_fn(move || {
                let bit = word.checked_ilog2().map(|_| word.trailing_zeros() as usize)?;
                word &= word - 1;
                Some(number * 64 + bit)
            })
        })
    }

    pub(super) fn words(&self) -> &[u64] {
        &self.words
    }

    pub(super) fn from_words(words: Vec<u64>, len: usize) -> Self {
        let mut rows = Self { words, len };
        rows.words.resize(len.div_ceil(64), 0);
        rows.cut();
        rows
    }

    /// No bit stands for a row that does not exist.
    fn cut(&mut self) {
        self.retain(0..self.len);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn edges_of_words_are_kept() {
        for len in [0, 1, 63, 64, 65, 128, 130] {
            let all = Rows::all(len);
            assert_eq!((all.count(), all.iter().count(), all.is_all()), (len, len, true), "{len}");
            let mut none = all.clone();
            none.not();
            assert!(none.is_empty() && none == Rows::none(len), "{len}");
        }
    }

    proptest! {
        #[test]
        fn sets_are_those_of_the_rows(
            a in proptest::collection::vec(any::<bool>(), 0..200), seed in any::<u64>(), from in 0_usize..220, to in 0_usize..220,
        ) {
            let b: Vec<bool> = (0..a.len()).map(|row| seed.rotate_left(row as u32 * 7) & 1 == 1).collect();
            let (left, right) = (Rows::of(&a, |in_it| *in_it), Rows::of(&b, |in_it| *in_it));
            let naive = |wanted: &dyn Fn(usize) -> bool| (0..a.len()).filter(|row| wanted(*row)).collect::<Vec<_>>();
            let rows = |set: &Rows| set.iter().collect::<Vec<_>>();
            let with = |change: &dyn Fn(&mut Rows)| { let mut set = left.clone(); change(&mut set); set };
            prop_assert_eq!(rows(&left), naive(&|row| a[row]));
            prop_assert_eq!(rows(&with(&|set| set.and(&right))), naive(&|row| a[row] && b[row]));
            prop_assert_eq!(rows(&with(&|set| set.or(&right))), naive(&|row| a[row] || b[row]));
            prop_assert_eq!(rows(&with(&|set| set.not())), naive(&|row| !a[row]));
            prop_assert_eq!(rows(&with(&|set| set.retain(from..to))), naive(&|row| a[row] && (from..to).contains(&row)));
            prop_assert_eq!(left.count_before(from.min(a.len())), a.iter().take(from).filter(|in_it| **in_it).count());
            prop_assert_eq!(left.contains(from), a.get(from).copied().unwrap_or_default());
        }
    }
}
