//! Label sets by the bytes that senders write for them.
//!
//! A sender repeats the labels of a series with every sample, in the same bytes. What those bytes mean is worked out once;
//! from then on a hash of 128 bits finds the finished set. The hash is keyed, so that nobody can make two sets meet.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use signal::Labels;
use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128_with_secret};

/// Sets of one generation, as many as fill a hash table of 2^20 places. Two generations are kept, so that senders with up
/// to this many series always meet their own.
pub(crate) const GENERATION: usize = 7 << 17;

/// Bytes of label text of one generation, for the case that sets are long. Where the store keeps a series its text is
/// shared with that.
const GENERATION_BYTES: usize = 192 << 20;

/// Sets that are taken in at once; others wait meanwhile.
const AT_ONCE: usize = 4096;

/// The hash of some bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Key([u64; 2]);

impl Key {
    fn half(self) -> u64 {
        let Self([low, _]) = self;
        low
    }

    pub(crate) fn to_bytes(self) -> [u8; 16] {
        let Self([low, high]) = self;
        (u128::from(low) | u128::from(high) << 64).to_le_bytes()
    }
}

/// Keys are hashes already.
#[derive(Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// A bounded memory of label sets that threads share.
#[derive(Debug)]
pub(crate) struct LabelCache {
    secret: [u8; 192],
    generation: usize,
    generations: RwLock<Generations>,
}

#[derive(Debug, Default)]
struct Generations {
    young: Generation,
    old: Generation,
}

/// Sets in the order in which they came, which is the order in which a sender will ask for them again.
#[derive(Debug, Default)]
struct Generation {
    sets: Vec<Entry>,
    /// By half of the key; the other half is looked at in the set.
    places: HashMap<u64, u32, BuildHasherDefault<AsItIs>>,
    bytes: usize,
}

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    key: Key,
    /// Bytes of the text that was hashed; 0 for more than 32 bits.
    length: u32,
    labels: Labels,
}

impl LabelCache {
    /// Remembers at least the last `generation` sets.
    pub(crate) fn new(seed: u64, generation: usize) -> Self {
        let mut secret = [0; 192];
        for (at, chunk) in (0_u64..).zip(secret.chunks_mut(8)) {
            chunk.copy_from_slice(&xxh3_64_with_seed(&at.to_le_bytes(), seed).to_le_bytes());
        }
        Self { secret, generation: generation.max(1), generations: RwLock::default() }
    }

    #[inline]
    pub(crate) fn key(&self, bytes: &[u8]) -> Key {
        let hash = xxh3_128_with_secret(bytes, &self.secret);
        Key([hash as u64, (hash >> 64) as u64])
    }

    /// For the look-ups of one request; what is new waits until [`learn`](Self::learn).
    pub(crate) fn read(&self) -> Reading<'_> {
        Reading { cache: self, generations: Some(self.lock()), expected: 0, learned: Vec::new() }
    }

    fn lock(&self) -> RwLockReadGuard<'_, Generations> {
        self.generations.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in what a request brought.
    pub(crate) fn learn(&self, learned: Vec<Entry>) {
        if learned.is_empty() {
            return;
        }
        let mut ended = Vec::new();
        let mut generations = self.generations.write().unwrap_or_else(PoisonError::into_inner);
        for entry in learned {
            ended.extend(generations.learn(entry, self.generation));
        }
        drop(generations);
        // Freeing many sets takes a while, and nobody should wait for it.
        drop(ended);
    }
}

impl Generations {
    /// The generation that ends with this set, if one does.
    fn learn(&mut self, entry: Entry, most: usize) -> Option<Generation> {
        if self.young.get(entry.key, 0).is_some() {
            return None;
        }
        let is_full = self.young.sets.len() >= most || self.young.bytes >= GENERATION_BYTES;
        let ended = is_full.then(|| std::mem::replace(&mut self.old, std::mem::take(&mut self.young)));
        if let Ok(place) = u32::try_from(self.young.sets.len()) {
            self.young.bytes += entry.labels.bytes();
            self.young.places.insert(entry.key.half(), place);
            self.young.sets.push(entry);
        }
        ended
    }
}

impl Generation {
    fn get(&self, key: Key, expected: usize) -> Option<(usize, &Entry)> {
        let at = |place: usize| self.sets.get(place).filter(|entry| entry.key == key).map(|entry| (place, entry));
        at(expected).or_else(|| at(usize::try_from(*self.places.get(&key.half())?).ok()?))
    }
}

/// The look-ups of one request.
pub(crate) struct Reading<'c> {
    cache: &'c LabelCache,
    /// `None` only while nothing is looked up.
    generations: Option<RwLockReadGuard<'c, Generations>>,
    /// Behind the set found last: senders keep their order.
    expected: usize,
    learned: Vec<Entry>,
}

impl Reading<'_> {
    pub(crate) fn key(&self, bytes: &[u8]) -> Key {
        self.cache.key(bytes)
    }

    /// The set expected next, if `text` begins with its bytes, and what follows them.
    #[inline]
    pub(crate) fn next<'t>(&mut self, text: &'t [u8]) -> Option<(Labels, &'t [u8])> {
        let entry = self.generations.as_ref()?.young.sets.get(self.expected).filter(|entry| entry.length > 0)?;
        let (head, rest) = text.split_at_checked(usize::try_from(entry.length).ok()?)?;
        if self.cache.key(head) != entry.key {
            return None;
        }
        self.expected += 1;
        Some((entry.labels.clone(), rest))
    }

    #[inline]
    pub(crate) fn get(&mut self, key: Key) -> Option<Labels> {
        let generations = self.generations.as_ref()?;
        if let Some((place, entry)) = generations.young.get(key, self.expected) {
            self.expected = place + 1;
            return Some(entry.labels.clone());
        }
        let (place, entry) = generations.old.get(key, self.expected)?;
        self.expected = place + 1;
        // What is still in use moves on to the next generation.
        let entry = entry.clone();
        let labels = entry.labels.clone();
        self.push(entry);
        Some(labels)
    }

    /// Keeps a set for [`LabelCache::learn`]; `length` is that of the hashed bytes.
    pub(crate) fn keep(&mut self, key: Key, length: usize, labels: Labels) {
        self.push(Entry { key, length: u32::try_from(length).unwrap_or(0), labels });
    }

    fn push(&mut self, entry: Entry) {
        self.learned.push(entry);
        if self.learned.len() >= AT_ONCE {
            // A request with very many new series must not keep all others waiting until it is read.
            self.generations = None;
            self.cache.learn(std::mem::take(&mut self.learned));
            self.generations = Some(self.cache.lock());
        }
    }

    pub(crate) fn into_learned(self) -> Vec<Entry> {
        self.learned
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn labels(n: usize) -> Labels {
        Labels::from_pairs([("__name__", format!("m{n}"))])
    }

    /// Asks for one set after the other and says which were known.
    fn ask(cache: &LabelCache, sets: &[usize]) -> Vec<bool> {
        let mut reading = cache.read();
        let mut known = Vec::new();
        for n in sets {
            let key = cache.key(&n.to_le_bytes());
            let found = reading.get(key);
            known.push(found.is_some());
            match found {
                Some(found) => assert_eq!(found, labels(*n)),
                None => reading.keep(key, 8, labels(*n)),
            }
        }
        let learned = reading.into_learned();
        cache.learn(learned);
        known
    }

    #[test]
    fn what_is_asked_for_stays_and_the_rest_goes() {
        let cache = LabelCache::new(7, 3);
        for (case, sets, known) in [
            ("all new", &[1, 2, 3][..], &[false, false, false][..]),
            ("another order", &[3, 1, 2], &[true, true, true]),
            ("one more ends the generation", &[4], &[false]),
            ("which is still remembered", &[2, 5], &[true, false]),
            ("the next generation ends", &[6], &[false]),
            ("what nobody asked for is gone", &[2, 4, 5, 6, 1, 3], &[true, true, true, true, false, false]),
        ] {
            assert_eq!(ask(&cache, sets), known, "{case}");
        }
    }

    #[test]
    fn memory_is_bounded() {
        let cache = LabelCache::new(7, 100);
        for n in 0..1000 {
            ask(&cache, &[n]);
        }
        let generations = cache.generations.read().unwrap();
        assert_eq!((generations.young.sets.len(), generations.old.sets.len()), (100, 100));
        assert_eq!(generations.young.places.len(), 100);
    }

    #[test]
    fn a_long_request_learns_on_its_way() {
        let cache = LabelCache::new(7, GENERATION);
        let mut reading = cache.read();
        let key = |n: usize| cache.key(&n.to_le_bytes());
        for n in 0..AT_ONCE {
            assert_eq!(reading.get(key(0)), None, "{n}");
            reading.keep(key(n), 8, labels(n));
        }
        assert_eq!(reading.get(key(0)), Some(labels(0)));
        assert_eq!(reading.into_learned().len(), 0);
    }

    #[test]
    fn keys_depend_on_the_seed() {
        let (one, other) = (LabelCache::new(1, 1), LabelCache::new(2, 1));
        for length in [0, 5, 100, 300, 5000] {
            let bytes = vec![b'x'; length];
            assert_ne!(one.key(&bytes), other.key(&bytes), "{length} bytes");
        }
    }

    #[test]
    fn the_order_of_the_last_request_is_expected() {
        let cache = LabelCache::new(7, 10);
        ask(&cache, &[1, 2, 3]);
        let text: Vec<u8> = [1_usize, 2, 4, 3].iter().flat_map(|n| n.to_le_bytes()).collect();
        let mut reading = cache.read();
        let (first, rest) = reading.next(&text).unwrap();
        let (second, rest) = reading.next(rest).unwrap();
        assert_eq!((first, second), (labels(1), labels(2)));
        assert_eq!(reading.next(rest), None, "4 is new");
        assert_eq!(reading.next(&rest[8..]), Some((labels(3), &[][..])), "and 3 still expected");
        assert_eq!(reading.next(&[]), None);
    }

    proptest! {
        #[test]
        fn a_found_set_is_the_right_one(
            seed in any::<u64>(),
            generation in 1_usize..8,
            requests in proptest::collection::vec(proptest::collection::vec(0_usize..20, 0..12), 0..12),
        ) {
            let cache = LabelCache::new(seed, generation);
            for request in requests {
                ask(&cache, &request);
            }
        }
    }
}
