//! Which words a row group may hold: a Bloom filter over the words of its columns.
//!
//! A word is a run of ASCII letters, digits, `_` and bytes beyond ASCII. A text that stands between other characters is a
//! word of the line if it is in the line at all, so a group whose filter does not know it need not be read.

use xxhash_rust::xxh3::xxh3_64;

/// Shorter words are in every group anyway.
pub(super) const SHORTEST: usize = 3;
/// Bits that stand for a word.
const PROBES: u32 = 4;
/// Bits per word to begin with; most words come many times, so that half and half again is folded away.
const ROOM: usize = 12;
/// Smallest and largest filter, in bits.
const LEAST: usize = 64;
const MOST: usize = 1 << 23;

pub(super) fn is_word_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

/// The words of a text.
pub(super) fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| !is_word_byte(*byte)).filter(|word| word.len() >= SHORTEST)
}

pub(super) fn hash(word: &[u8]) -> u64 {
    xxh3_64(word)
}

/// A filter over words, as bytes. Empty for no words.
pub(super) fn build(hashes: &[u64]) -> Vec<u8> {
    if hashes.is_empty() {
        return Vec::new();
    }
    let bits = hashes.len().saturating_mul(ROOM).next_power_of_two().clamp(LEAST, MOST);
    let mut words = vec![0_u64; bits / 64];
    for hash in hashes {
        for place in places(*hash, bits) {
            if let Some(word) = words.get_mut(place / 64) {
                *word |= 1 << (place % 64);
            }
        }
    }
    // While half of it would still be half empty, the halves are laid upon each other.
    loop {
        let set: u32 = words.iter().map(|word| word.count_ones()).sum();
        if words.len() <= LEAST / 64 || set as usize * 4 > words.len() * 64 {
            break;
        }
        let upper = words.split_off(words.len() / 2);
        words.iter_mut().zip(upper).for_each(|(low, high)| *low |= high);
    }
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// Whether a filter may know a word.
pub(super) fn may_hold(filter: &[u8], hash: u64) -> bool {
    let bits = filter.len() * 8;
    if !bits.is_power_of_two() {
        // No word at all, or bytes that are none of ours.
        return !filter.is_empty();
    }
    places(hash, bits).all(|place| filter.get(place / 8).is_some_and(|byte| byte & (1 << (place % 8)) != 0))
}

fn places(hash: u64, bits: usize) -> impl Iterator<Item = usize> {
    let (first, step) = (hash as u32, (hash >> 32) as u32 | 1);
    (0..PROBES).map(move |probe| first.wrapping_add(step.wrapping_mul(probe)) as usize & (bits - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_its_words_and_few_others() {
        for count in [0_u64, 1, 10, 1_000, 20_000] {
            let hashes: Vec<u64> = (0..count).flat_map(|n| [n, n, n]).map(|n| hash(n.to_string().as_bytes())).collect();
            let filter = build(&hashes);
            assert!(hashes.iter().all(|hash| may_hold(&filter, *hash)), "{count}");
            let strangers = (0..10_000_u64).filter(|n| may_hold(&filter, hash(format!("x{n}").as_bytes()))).count();
            assert!(strangers < 1_000, "{count} words: {strangers} of 10,000 strangers");
            assert!(filter.len() as u64 <= 8 + count * 4, "{count} words take {} bytes", filter.len());
        }
    }

    #[test]
    fn words_end_at_punctuation() {
        let found: Vec<_> = words("GET /api/v1/é?id=u_17, ok".as_bytes())
            .map(|word| String::from_utf8_lossy(word).into_owned())
            .collect();
        assert_eq!(found, ["GET", "api", "u_17"]);
    }
}
