//! Unpacked pages of all blocks, and labels put together of them, as many as a limit allows.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use signal::Labels;

use super::section::Kind;
use crate::rows::RowGroup;

/// The bytes of a page.
pub(crate) type Page = Arc<Vec<u8>>;

/// Series whose labels are kept together.
pub(super) const TOGETHER: usize = 32;

/// The labels of neighbours, each put together when it was first asked for.
pub(crate) type LabelGroup = Arc<[OnceLock<Labels>; TOGETHER]>;

/// A column of instants.
pub(crate) type Instants = Arc<Vec<i64>>;

/// What the cache holds.
#[derive(Clone, Debug)]
pub(crate) enum Kept {
    Page(Page),
    /// With the bytes they are taken to have.
    Labels(LabelGroup, usize),
    /// A column that several series share.
    Instants(Instants),
    /// The front of a row group, with the bytes it is taken to have.
    Group(Arc<RowGroup>, usize),
}

impl Kept {
    fn size(&self) -> usize {
        match self {
            Self::Page(page) => page.len() + OVERHEAD,
            Self::Labels(_, bytes) => bytes + OVERHEAD,
            Self::Instants(instants) => size_of_val(instants.as_slice()) + OVERHEAD,
            Self::Group(_, bytes) => bytes + OVERHEAD,
        }
    }
}

/// Which part of a block something kept belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Part {
    Section(Kind),
    Labels,
    Instants,
    /// Fronts of row groups.
    Groups,
    /// Filters of row groups.
    Filters,
}

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
pub(crate) struct PageKey {
    pub(crate) block: u64,
    pub(crate) part: Part,
    pub(crate) number: u64,
}

#[derive(Debug, Default)]
struct Shard {
    places: HashMap<PageKey, usize, Mixing>,
    slots: Vec<Option<Slot>>,
    free: Vec<usize>,
    hand: usize,
    bytes: usize,
}

/// Hashes keys, which nobody outside chooses, in a few steps.
#[derive(Clone, Copy, Default, Debug)]
struct Mixing;

impl BuildHasher for Mixing {
    type Hasher = Mixed;

    fn build_hasher(&self) -> Mixed {
        Mixed(0)
    }
}

struct Mixed(u64);

impl Hasher for Mixed {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u64(&mut self, number: u64) {
        let mixed = (self.0.rotate_left(25) ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 32);
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }

    fn write_isize(&mut self, number: isize) {
        self.write_u64(number as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[derive(Debug)]
struct Slot {
    key: PageKey,
    kept: Kept,
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
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).bytes).sum()
    }

    /// A number that no other block has.
    pub(crate) fn next_block(&self) -> u64 {
        self.blocks.fetch_add(1, Ordering::Relaxed)
    }

    fn shard(&self, key: PageKey) -> Option<MutexGuard<'_, Shard>> {
        let part = match key.part {
            Part::Section(kind) => kind as u64,
            Part::Labels => Kind::ALL.len() as u64,
            Part::Instants => Kind::ALL.len() as u64 + 1,
            Part::Groups => Kind::ALL.len() as u64 + 2,
            Part::Filters => Kind::ALL.len() as u64 + 3,
        };
        let spread = key.number.wrapping_add(key.block.wrapping_mul(7)).wrapping_add(part * 5);
        self.shards.get(spread as usize % SHARDS).map(lock)
    }

    pub(crate) fn get(&self, key: PageKey) -> Option<Kept> {
        let mut shard = self.shard(key)?;
        let place = *shard.places.get(&key)?;
        let slot = shard.slots.get_mut(place)?.as_mut()?;
        slot.is_used = true;
        Some(slot.kept.clone())
    }

    pub(crate) fn put(&self, key: PageKey, kept: Kept) {
        let Some(mut shard) = self.shard(key) else { return };
        let limit = self.limit / SHARDS;
        let size = kept.size();
        if size > limit || shard.places.contains_key(&key) {
            return;
        }
        while shard.bytes + size > limit && !shard.places.is_empty() {
            shard.turn();
        }
        // The place freed last is just behind the hand, so that the new page has a whole turn before it.
        let slot = Some(Slot { key, kept, is_used: false });
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
    pub(crate) fn forget(&self, block: u64) {
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
            self.bytes -= slot.kept.size();
            self.free.push(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(block: u64, number: u64) -> PageKey {
        PageKey { block, part: Part::Section(Kind::Values), number }
    }

    fn first(cache: &PageCache, key: PageKey) -> Option<u8> {
        match cache.get(key)? {
            Kept::Page(page) => page.first().copied(),
            Kept::Labels(..) | Kept::Instants(_) | Kept::Group(..) => None,
        }
    }

    #[test]
    fn never_holds_more_than_its_limit_and_keeps_what_is_used() {
        let limit = SHARDS * 4 * (1_000 + OVERHEAD);
        let cache = PageCache::new(limit);
        let page = |number: u64| Kept::Page(Arc::new(vec![number as u8; 1_000]));
        cache.put(key(1, 0), page(0));
        for number in 1..1_000 {
            assert!(cache.get(key(1, 0)).is_some(), "{number}: in use all the time");
            cache.put(key(1, number), page(number));
            assert!(cache.bytes() <= limit);
        }
        assert_eq!(first(&cache, key(1, 999)), Some(999_u64 as u8), "just put");
        assert!(cache.get(key(1, 17)).is_none(), "long gone");
        cache.put(key(2, 5), page(7));
        cache.forget(1);
        assert_eq!(cache.bytes(), 1_000 + OVERHEAD);
        assert_eq!(first(&cache, key(2, 5)), Some(7));
        cache.put(key(2, 6), Kept::Page(Arc::new(vec![0; limit])));
        assert!(cache.get(key(2, 6)).is_none(), "larger than all there is");
    }
}
