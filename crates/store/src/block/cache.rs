//! Unpacked pages of all blocks, as many as a limit allows.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::section::Kind;

/// The bytes of a page.
pub(super) type Page = Arc<Vec<u8>>;

/// So many threads find pages without waiting for each other, most of the time.
const SHARDS: usize = 16;

/// Pages read lately, shared by all blocks and bounded in bytes. What has not been used since the hand came by last goes
/// first.
#[derive(Debug)]
pub(crate) struct PageCache {
    shards: [Mutex<Shard>; SHARDS],
    limit: usize,
    blocks: AtomicU64,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct PageKey {
    pub(super) block: u64,
    pub(super) kind: Kind,
    pub(super) number: usize,
}

#[derive(Debug, Default)]
struct Shard {
    places: HashMap<PageKey, usize>,
    slots: Vec<Option<Slot>>,
    free: Vec<usize>,
    hand: usize,
    bytes: usize,
}

#[derive(Debug)]
struct Slot {
    key: PageKey,
    page: Page,
    is_used: bool,
}

/// What a page takes beside its bytes, about.
const OVERHEAD: usize = 128;

impl PageCache {
    /// A cache of at most `limit` bytes.
    pub(crate) fn new(limit: usize) -> Self {
        Self { shards: Default::default(), limit, blocks: AtomicU64::new(0) }
    }

    /// Bytes held now.
    pub(crate) fn bytes(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).bytes).sum()
    }

    /// A number that no other block has.
    pub(super) fn next_block(&self) -> u64 {
        self.blocks.fetch_add(1, Ordering::Relaxed)
    }

    fn shard(&self, key: PageKey) -> Option<MutexGuard<'_, Shard>> {
        let spread = (key.number as u64).wrapping_add(key.block.wrapping_mul(7)).wrapping_add(key.kind as u64 * 5);
        self.shards.get(spread as usize % SHARDS).map(lock)
    }

    pub(super) fn get(&self, key: PageKey) -> Option<Page> {
        let mut shard = self.shard(key)?;
        let place = *shard.places.get(&key)?;
        let slot = shard.slots.get_mut(place)?.as_mut()?;
        slot.is_used = true;
        Some(Arc::clone(&slot.page))
    }

    pub(super) fn put(&self, key: PageKey, page: &Page) {
        let Some(mut shard) = self.shard(key) else { return };
        let limit = self.limit / SHARDS;
        let size = page.len() + OVERHEAD;
        if size > limit || shard.places.contains_key(&key) {
            return;
        }
        while shard.bytes + size > limit && !shard.places.is_empty() {
            shard.turn();
        }
        // The place freed last is just behind the hand, so that the new page has a whole turn before it.
        let slot = Some(Slot { key, page: Arc::clone(page), is_used: false });
        let free = shard.free.pop();
        match free.and_then(|place| shard.slots.get_mut(place)) {
            Some(place) => *place = slot,
            None => shard.slots.push(slot),
        }
        let place = free.unwrap_or(shard.slots.len() - 1);
        shard.places.insert(key, place);
        shard.bytes += size;
    }

    /// Lets go of a block's pages.
    pub(super) fn forget(&self, block: u64) {
        for shard in &self.shards {
            let mut shard = lock(shard);
            for place in 0..shard.slots.len() {
                if matches!(shard.slots.get(place), Some(Some(slot)) if slot.key.block == block) {
                    shard.remove(place);
                }
            }
        }
    }
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shard {
    /// Moves the hand over the next page, which goes unless it was used since the last time.
    fn turn(&mut self) {
        let hand = if self.hand < self.slots.len() { self.hand } else { 0 };
        self.hand = hand + 1;
        match self.slots.get_mut(hand) {
            Some(Some(slot)) if slot.is_used => slot.is_used = false,
            Some(_) | None => self.remove(hand),
        }
    }

    fn remove(&mut self, place: usize) {
        if let Some(slot) = self.slots.get_mut(place).and_then(Option::take) {
            self.places.remove(&slot.key);
            self.bytes -= slot.page.len() + OVERHEAD;
            self.free.push(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(block: u64, number: usize) -> PageKey {
        PageKey { block, kind: Kind::Values, number }
    }

    #[test]
    fn never_holds_more_than_its_limit_and_keeps_what_is_used() {
        let limit = SHARDS * 4 * (1_000 + OVERHEAD);
        let cache = PageCache::new(limit);
        let page = |number: usize| Arc::new(vec![number as u8; 1_000]);
        cache.put(key(1, 0), &page(0));
        for number in 1..1_000 {
            assert!(cache.get(key(1, 0)).is_some(), "{number}: in use all the time");
            cache.put(key(1, number), &page(number));
            assert!(cache.bytes() <= limit);
        }
        assert_eq!(cache.get(key(1, 999)).unwrap()[0], 999_usize as u8, "just put");
        assert!(cache.get(key(1, 17)).is_none(), "long gone");
        cache.put(key(2, 5), &page(7));
        cache.forget(1);
        assert_eq!(cache.bytes(), 1_000 + OVERHEAD);
        assert_eq!(cache.get(key(2, 5)).unwrap()[0], 7);
        cache.put(key(2, 6), &Arc::new(vec![0; limit]));
        assert!(cache.get(key(2, 6)).is_none(), "larger than all there is");
    }
}
