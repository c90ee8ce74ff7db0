//! Which texts of a column are the same.

use super::texts::Texts;

/// More distinct texts than that make no dictionary.
pub(super) const MOST: usize = 4096;
/// Texts whose hashes meet more often than that were made to do so.
const MOST_STEPS: usize = 64;

/// Numbers texts in the order in which they first come.
pub(super) struct Distinct {
    pub(super) entries: Texts,
    hashes: Vec<u32>,
    /// The number of an entry and one; zero is free. Twice as many as there may be entries, a power of two.
    slots: Vec<u16>,
    most: usize,
}

impl Distinct {
    /// For at most `most` distinct texts.
    pub(super) fn new(most: usize) -> Self {
        let most = most.min(MOST);
        let slots = vec![0; (2 * most).next_power_of_two().max(2)];
        Self { entries: Texts::default(), hashes: Vec::new(), slots, most }
    }

    /// The number of `text`; `None` when it is new and there is no room.
    pub(super) fn number(&mut self, text: &str) -> Option<u16> {
        let hash = hash(text.as_bytes());
        let mask = self.slots.len() - 1;
        for step in 0..MOST_STEPS {
            let slot = self.slots.get_mut((hash as usize).wrapping_add(step) & mask)?;
            let Some(known) = slot.checked_sub(1) else {
                let number = self.hashes.len();
                if number >= self.most {
                    return None;
                }
                *slot = number as u16 + 1;
                self.hashes.push(hash);
                self.entries.push(text);
                return Some(number as u16);
            };
            let at = usize::from(known);
            if self.hashes.get(at) == Some(&hash) && self.entries.get(at) == text {
                return Some(known);
            }
        }
        None
    }
}

/// The distinct values of a column and the number of each row's, unless nearly every row has one of its own.
pub(super) fn distinct(values: &Texts) -> Option<(Texts, Vec<u16>)> {
    let mut distinct = Distinct::new(values.len());
    let mut codes = Vec::with_capacity(values.len());
    let mut before = ("", 0);
    for (row, text) in values.iter().enumerate() {
        if row == 0 || text != before.0 {
            before = (text, distinct.number(text)?);
            // Some columns begin with much that is new and then repeat themselves.
            if distinct.hashes.len() > 96 + row / 2 {
                return None;
            }
        }
        codes.push(before.1);
    }
    Some((distinct.entries, codes))
}

/// Whether the first few hundred values are mostly different, so that a dictionary is not what to try first.
pub(super) fn begins_diverse(values: &Texts) -> bool {
    const FEW: usize = 256;
    if values.len() < 2 * FEW {
        return false;
    }
    let mut distinct = Distinct::new(FEW);
    let known = values.iter().take(FEW).filter_map(|text| distinct.number(text)).count();
    distinct.entries.len() > known / 2
}

/// Not persisted, so it may be any; short texts matter.
fn hash(bytes: &[u8]) -> u32 {
    const K: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |state: u64, word: u64| {
        let product = u128::from(state ^ word) * u128::from(K);
        (product as u64) ^ (product >> 64) as u64
    };
    let mut state = mix(K, bytes.len() as u64);
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        state = mix(state, u64::from_le_bytes(*word));
    }
    let last = match (bytes.last_chunk::<8>(), rest.first_chunk::<4>(), rest.last_chunk::<4>()) {
        (Some(last), _, _) => u64::from_le_bytes(*last),
        (None, Some(first), Some(last)) => {
            u64::from(u32::from_le_bytes(*first)) << 32 | u64::from(u32::from_le_bytes(*last))
        }
        (None, _, _) => rest.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)),
    };
    state = mix(state, last);
    (state ^ state >> 32) as u32
}
