//! When templates are one: they differ at the same few places, and what stands there looks like values.

use super::mask::ANY;
use super::miner::{Miner, Shape, Slot, bit, shape_hash};
use super::pattern::PatternWord;

/// Words at which templates that become one may differ.
const PLACES: u32 = 3;
/// How many templates a new one is compared with, the newest first, and how many ways to differ are weighed.
const COMPARED: usize = 128;
const WAYS: usize = 32;
/// Sets of varying places in one shape; each costs a look for lines that are not known yet.
const WILD_SETS: usize = 64;
/// How many different plain words at a place make it vary: fewer may be states, verbs or kinds.
const MANY_WORDS: usize = 6;
/// The same where one word differs between many that are equal.
const MANY_AMONG: usize = 4;
/// How many equal words are many.
const AMONG: usize = 5;
/// The same where they are names: `getUser`, `user_id`, `com.shop.Cart`, `user=anna`.
const MANY_NAMES: usize = 3;
/// The same where one of them says that there is nothing, or a field holds both numbers and words.
const NOTHING_OR_SOME: usize = 2;
/// Identities that became part of others are remembered as often as there may be templates, times this.
const REMEMBERED: usize = 4;

impl Miner {
    /// Makes the template at `slot` one with others if it should be; says where it is then.
    pub(super) fn settle(&mut self, slot: Slot, shape: Shape) -> Slot {
        let Some((wilds, with)) = self.alike(slot, shape) else { return slot };
        self.merge(slot, wilds, with, shape)
    }

    /// The templates that become one with that at `slot`, and where their words vary.
    fn alike(&self, slot: Slot, shape: Shape) -> Option<(u64, Vec<Slot>)> {
        let new = self.held(slot)?;
        let group = self.groups.get(&shape)?;
        let others = group.members.iter().rev().filter(|other| **other != slot).take(COMPARED);
        let near: Vec<(u64, Slot)> = others
            .filter_map(|other| Some((new.pattern.difference(&self.held(*other)?.pattern, PLACES)?, *other)))
            .collect();
        let mut ways: Vec<u64> = near.iter().map(|(places, _)| *places).collect();
        ways.sort_unstable_by_key(|places| (places.count_ones(), *places));
        ways.dedup();
        ways.into_iter().take(WAYS).find_map(|places| {
            let with: Vec<Slot> =
                near.iter().filter(|(theirs, _)| theirs & !places == 0).map(|(_, slot)| *slot).collect();
            self.vary(slot, places, &with).then_some((places, with))
        })
    }

    /// Whether the words at `places` vary, as far as these templates show it.
    fn vary(&self, slot: Slot, places: u64, with: &[Slot]) -> bool {
        let Some(new) = self.held(slot) else { return false };
        let others = || with.iter().filter_map(|other| self.held(*other));
        let wilds = others().fold(places | new.pattern.wilds, |wilds, other| wilds | other.pattern.wilds);
        let words = || new.pattern.words.iter().enumerate();
        let says = words().filter(|(at, word)| wilds & bit(*at) == 0 && word.says_something()).count();
        // As much has to stay as varies.
        if says == 0 || says < usize::try_from(wilds.count_ones()).unwrap_or(usize::MAX) {
            return false;
        }
        let plain = if says >= AMONG && places.count_ones() == 1 { MANY_AMONG } else { MANY_WORDS };
        // A single common word proves little.
        let factor = if says == 1 { 2 } else { 1 };
        words().filter(|(at, _)| places & bit(*at) != 0).all(|(at, word)| {
            let theirs = others().filter_map(|other| other.pattern.words.get(at));
            let words: Vec<&PatternWord> = theirs.chain([word]).collect();
            words.len() >= enough(&words, plain) * factor
        })
    }

    /// Replaces the templates by one, under the identity of the oldest.
    fn merge(&mut self, slot: Slot, places: u64, mut with: Vec<Slot>, shape: Shape) -> Slot {
        with.push(slot);
        let wilds = with.iter().filter_map(|slot| self.held(*slot)).fold(places, |all, held| all | held.pattern.wilds);
        if let Some(group) = self.groups.get(&shape)
            && !group.wilds.contains(&wilds)
            && group.wilds.len() >= WILD_SETS
        {
            return slot;
        }
        let Some(pattern) = self.held(slot).map(|held| held.pattern.generalised(wilds)) else { return slot };
        let sum = pattern.sum(shape_hash(shape));
        // The general one may be there, hidden behind newer ones.
        if let Some(same) = self.exact.get(&sum)
            && !with.contains(same)
        {
            with.push(*same);
        }
        let mut parts: Vec<_> = with.iter().filter_map(|slot| self.release(*slot)).collect();
        if let Some(group) = self.groups.get_mut(&shape) {
            group.members.retain(|slot| !with.contains(slot));
        }
        parts.sort_unstable_by_key(|held| held.born);
        let mut parts = parts.into_iter();
        let Some(mut oldest) = parts.next() else { return slot };
        for part in parts {
            let (mine, theirs) = (&mut oldest.template, part.template);
            mine.count += theirs.count;
            mine.first = mine.first.min(theirs.first);
            mine.last = mine.last.max(theirs.last);
            oldest.weight += part.weight;
            oldest.used = oldest.used.max(part.used);
            self.absorb(theirs.id, mine.id);
        }
        oldest.template.text = pattern.text();
        oldest.pattern = pattern;
        let slot = self.hold(oldest, sum);
        // Lines may now match it that matched a more special one before.
        self.forget_aliases();
        self.groups.entry(shape).or_default().members.push(slot);
        self.tidy(shape);
        slot
    }

    pub(super) fn absorb(&mut self, id: super::TemplateId, into: super::TemplateId) {
        if self.absorbed.insert(id.0, into).is_none() {
            self.absorbed_order.push_back(id);
        }
        while self.absorbed_order.len() > self.limits.templates.saturating_mul(REMEMBERED)
            && let Some(oldest) = self.absorbed_order.pop_front()
        {
            self.absorbed.remove(&oldest.0);
        }
    }
}

/// How many of such words it takes to see that they vary, if it takes `plain` plain ones.
fn enough(words: &[&PatternWord], plain: usize) -> usize {
    let masked = words.iter().filter(|word| word.text.contains(ANY)).count();
    let is_mixed = masked > 0 && masked < words.len();
    let is_field = words.iter().any(|word| word.split().0.ends_with('='));
    if is_mixed && (is_field || words.iter().any(|word| says_nothing(word.split().1))) {
        return NOTHING_OR_SOME;
    }
    let names = words.iter().filter(|word| is_name(word)).count();
    if names * 2 > words.len() { MANY_NAMES } else { plain }
}

fn says_nothing(text: &str) -> bool {
    let text = text.trim_matches(['"', '\'', '(', ')', '<', '>']);
    ["", "-", "null", "nil", "none", "unknown", "undefined", "n/a"].iter().any(|known| known.eq_ignore_ascii_case(text))
}

/// Whether a word looks like something's name.
fn is_name(word: &PatternWord) -> bool {
    let (prefix, value, _) = word.split();
    let bytes = value.as_bytes();
    let has_hump =
        bytes.windows(2).any(|two| matches!(two, [low, high] if low.is_ascii_lowercase() && high.is_ascii_uppercase()));
    prefix.ends_with(['=', ':', '('])
        || has_hump
        || value.contains(ANY)
        || value.contains(['.', '_', '$', '/', '@', '\\'])
}
