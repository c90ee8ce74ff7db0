//! The miner: finds the template a line belongs to, or begins one.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};

use serde::{Deserialize, Serialize};
use signal::Nanos;

use super::mask::{Parts, Span};
use super::pattern::{Keyed, Pattern, keyed, placed};
use super::words::{Level, Said};

/// Identity of a template: the same wherever and whenever its first line is the same, and kept when it becomes more
/// general.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TemplateId(pub u64);

impl fmt::Display for TemplateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl TemplateId {
    /// Reads what `Display` writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_hex = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_hex.then(|| u64::from_str_radix(text, 16).ok()).flatten().map(Self)
    }
}

impl Serialize for TemplateId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TemplateId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("a template's id is 16 hexadecimal digits"))
    }
}

/// What lines have in common.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Template {
    /// Its identity.
    pub id: TemplateId,
    /// The common text, `<*>` where it varies, its words one space apart.
    pub text: String,
    /// How bad its lines say they are.
    pub level: Level,
    /// How many lines were observed, or stood for.
    pub count: u64,
    /// The time of the earliest line.
    pub first: Nanos,
    /// The time of the latest line.
    pub last: Nanos,
    /// The beginning of the first line's message.
    pub example: String,
}

/// How much a miner may hold. What is used least goes first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MinerLimits {
    /// Templates at most; 10,000 by default.
    pub templates: usize,
    /// Bytes of their text, examples and bookkeeping at most; 16 MiB by default.
    pub bytes: usize,
}

impl Default for MinerLimits {
    fn default() -> Self {
        Self { templates: 10_000, bytes: 16 << 20 }
    }
}

/// Where a line belongs.
#[derive(Clone, Copy, Debug)]
pub struct Match<'a> {
    /// The template's identity.
    pub id: TemplateId,
    /// Whether this line began it.
    pub is_new: bool,
    message: &'a str,
    parts: &'a Parts,
    wilds: u64,
}

impl<'a> Match<'a> {
    /// What stands for the `<*>` of the template, in order.
    pub fn parameters(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let (message, parts, wilds) = (self.message, self.parts, self.wilds);
        parts.words.iter().enumerate().flat_map(move |(at, word)| {
            let is_wild = wilds & bit(at) != 0;
            let whole = is_wild.then(|| keyed(message, *word, &parts.values).inner(word.span));
            let values = if is_wild { &[] } else { parts.values_of(*word) };
            whole.into_iter().chain(values.iter().copied()).map(move |span: Span| span.of(message))
        })
    }
}

pub(super) fn bit(at: usize) -> u64 {
    u32::try_from(at).ok().and_then(|at| 1_u64.checked_shl(at)).unwrap_or(0)
}

/// Hashes are their own hashes.
#[derive(Default, Clone, Copy)]
pub(super) struct Passed(u64);

impl Hasher for Passed {
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

pub(super) type ByHash<V> = HashMap<u64, V, BuildHasherDefault<Passed>>;

/// Number of a held template, valid while it is held.
pub(super) type Slot = u32;

/// A template with what it takes to find it.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) template: Template,
    pub(super) pattern: Pattern,
    /// When it was begun, as a number that grows.
    pub(super) born: u64,
    /// Lines since others were dropped the last time, and half of those before, and so on.
    pub(super) weight: u64,
    /// The number of its latest line.
    pub(super) used: u64,
}

/// What kind of lines may be alike.
pub(super) type Shape = (Level, usize);

/// The templates of one shape.
#[derive(Default, Debug)]
pub(super) struct Group {
    /// Oldest first.
    pub(super) members: Vec<Slot>,
    /// The sets of places at which words vary, smallest first.
    pub(super) wilds: Vec<u64>,
}

/// Lines of other templates that were found by their varying words are remembered up to so many.
const ALIASES: usize = 32_768;
/// How much of a message is kept as an example, in characters.
const EXAMPLE: usize = 400;

/// Groups lines by template as they come, like Drain (He et al., ICWS 2017) and Brain (Yu et al., TSC 2023).
///
/// Words that look like values are masked. Lines that are equal then are one template, found by one hash. When several
/// templates differ only at the same few places, and the words there look like values or are many, they become one.
/// The same lines in the same order give the same answers; memory is bounded by [`MinerLimits`].
///
/// ```
/// use aegis_detect::templates::{Miner, MinerLimits};
/// use signal::Nanos;
///
/// let mut miner = Miner::new(MinerLimits::default());
/// let first = miner.observe(Nanos(1), "query took 12ms on 10.0.0.1").id;
/// let second = miner.observe(Nanos(2), "query took 7ms on 10.0.0.2");
/// assert_eq!((second.id, second.is_new), (first, false));
/// assert_eq!(second.parameters().collect::<Vec<_>>(), ["7ms", "10.0.0.2"]);
/// assert_eq!(miner.template(first).unwrap().text, "query took <*> on <*>");
/// ```
#[derive(Debug)]
pub struct Miner {
    pub(super) limits: MinerLimits,
    parts: Parts,
    /// The message of the line before, if it had to be written anew.
    message: String,
    pub(super) slots: Vec<Option<Held>>,
    pub(super) free: Vec<Slot>,
    /// By the hash of their pattern.
    pub(super) exact: ByHash<Slot>,
    /// By the hash of lines that they match; the identity says whether the slot is still theirs.
    aliases: ByHash<(Slot, TemplateId)>,
    pub(super) by_id: ByHash<Slot>,
    pub(super) groups: BTreeMap<Shape, Group>,
    /// Templates that became part of a more general one, in order.
    pub(super) absorbed: ByHash<TemplateId>,
    pub(super) absorbed_order: VecDeque<TemplateId>,
    pub(super) bytes: usize,
    pub(super) born: u64,
    pub(super) lines: u64,
    pub(super) dropped: u64,
}

impl Miner {
    /// Knows no template.
    #[must_use]
    pub fn new(limits: MinerLimits) -> Self {
        Self {
            limits: MinerLimits { templates: limits.templates.max(1), ..limits },
            parts: Parts::default(),
            message: String::new(),
            slots: Vec::new(),
            free: Vec::new(),
            exact: ByHash::default(),
            aliases: ByHash::default(),
            by_id: ByHash::default(),
            groups: BTreeMap::new(),
            absorbed: ByHash::default(),
            absorbed_order: VecDeque::new(),
            bytes: 0,
            born: 0,
            lines: 0,
            dropped: 0,
        }
    }

    /// Takes a line into account and says where it belongs.
    pub fn observe<'a>(&'a mut self, at: Nanos, line: &'a str) -> Match<'a> {
        self.observe_said(at, Said::read(line))
    }

    /// The same of a line that was read already, as by somebody who knows its level from elsewhere.
    pub fn observe_said<'a>(&'a mut self, at: Nanos, said: Said<'a>) -> Match<'a> {
        self.observe_for(at, said, 1)
    }

    /// The same of a line that stands for `lines` lines, of which the others were not looked at.
    pub fn observe_for<'a>(&'a mut self, at: Nanos, said: Said<'a>, lines: u64) -> Match<'a> {
        match said.message {
            Cow::Borrowed(message) => {
                let (id, is_new, wilds) = self.place(at, message, said.level, lines);
                Match { id, is_new, message, parts: &self.parts, wilds }
            }
            Cow::Owned(message) => {
                let (id, is_new, wilds) = self.place(at, &message, said.level, lines);
                self.message = message;
                Match { id, is_new, message: &self.message, parts: &self.parts, wilds }
            }
        }
    }

    /// A template that is held; also by an identity that became part of it.
    #[must_use]
    pub fn template(&self, id: TemplateId) -> Option<&Template> {
        let slot = self.by_id.get(&self.resolve(id).0)?;
        Some(&self.held(*slot)?.template)
    }

    /// The identity under which lines of template `id` are counted now: its own, or that of the more general template
    /// it became part of.
    #[must_use]
    pub fn resolve(&self, id: TemplateId) -> TemplateId {
        let mut id = id;
        // A chain grows with each generalisation, of which a pattern allows one for each word.
        for _ in 0..super::mask::WORDS {
            match self.absorbed.get(&id.0) {
                Some(into) => id = *into,
                None => break,
            }
        }
        id
    }

    /// All that are held, in the order of their beginning.
    pub fn templates(&self) -> impl Iterator<Item = &Template> {
        let mut held: Vec<&Held> = self.slots.iter().flatten().collect();
        held.sort_unstable_by_key(|held| held.born);
        held.into_iter().map(|held| &held.template)
    }

    /// How many templates are held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether none is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// How many templates were dropped to keep the limits.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    pub(super) fn held(&self, slot: Slot) -> Option<&Held> {
        self.slots.get(usize::try_from(slot).ok()?)?.as_ref()
    }

    pub(super) fn held_mut(&mut self, slot: Slot) -> Option<&mut Held> {
        self.slots.get_mut(usize::try_from(slot).ok()?)?.as_mut()
    }

    fn place(&mut self, at: Nanos, message: &str, level: Level, count: u64) -> (TemplateId, bool, u64) {
        self.parts.read(message);
        let sum =
            self.parts.words.iter().enumerate().fold(shape_hash((level, self.parts.words.len())), |sum, (at, word)| {
                sum.wrapping_add(placed(word.hash, at))
            });
        self.lines += 1;
        let found =
            self.exact.get(&sum).copied().or_else(|| self.aliased(sum)).or_else(|| self.matching(message, level, sum));
        if let Some(slot) = found {
            let lines = self.lines;
            if let Some(held) = self.held_mut(slot) {
                held.weight += 1;
                held.used = lines;
                held.template.count += count;
                held.template.first = held.template.first.min(at);
                held.template.last = held.template.last.max(at);
                return (held.template.id, false, held.pattern.wilds);
            }
        }
        self.begin(at, message, (level, count), sum)
    }

    fn aliased(&self, sum: u64) -> Option<Slot> {
        let (slot, id) = self.aliases.get(&sum)?;
        (self.held(*slot)?.template.id == *id).then_some(*slot)
    }

    /// The template that matches by its varying words: the one with the fewest.
    fn matching(&mut self, message: &str, level: Level, sum: u64) -> Option<Slot> {
        let words = &self.parts.words;
        let group = self.groups.get(&(level, words.len()))?;
        if group.wilds.is_empty() {
            return None;
        }
        let keys: Vec<u64> =
            words.iter().map(|word| keyed(message, *word, &self.parts.values).hash(message, word.span)).collect();
        let found = group.wilds.iter().find_map(|wilds| {
            let mut sum = sum;
            for (at, (word, key)) in words.iter().zip(&keys).enumerate() {
                if wilds & bit(at) != 0 {
                    sum = sum.wrapping_sub(placed(word.hash, at)).wrapping_add(placed(*key, at));
                }
            }
            self.exact.get(&sum).copied()
        })?;
        self.alias(sum, found);
        Some(found)
    }

    /// Remembers where a line belongs; when it is too much, all is forgotten and found again.
    fn alias(&mut self, sum: u64, slot: Slot) {
        if self.aliases.len() >= ALIASES {
            self.aliases.clear();
        }
        if let Some(id) = self.held(slot).map(|held| held.template.id) {
            self.aliases.insert(sum, (slot, id));
        }
    }

    pub(super) fn forget_aliases(&mut self) {
        self.aliases.clear();
    }

    fn begin(&mut self, at: Nanos, message: &str, (level, count): (Level, u64), sum: u64) -> (TemplateId, bool, u64) {
        let words = self.parts.words.iter().map(|word| {
            let key: Keyed = keyed(message, *word, &self.parts.values);
            (self.parts.masked(message, *word), key.prefix, key.suffix)
        });
        let pattern = Pattern::new(words);
        let id = TemplateId(sum);
        let template = Template {
            id,
            text: pattern.text(),
            level,
            count,
            first: at,
            last: at,
            example: message.chars().take(EXAMPLE).collect(),
        };
        self.born += 1;
        let shape = (level, pattern.words.len());
        let held = Held { template, pattern, born: self.born, weight: 1, used: self.lines };
        if self.absorbed.remove(&id.0).is_some() {
            // What absorbed it was dropped.
            self.absorbed_order.retain(|known| *known != id);
        }
        let slot = self.hold(held, sum);
        self.groups.entry(shape).or_default().members.push(slot);
        let slot = self.settle(slot, shape);
        let (id, wilds) = self.held(slot).map_or((id, 0), |held| (held.template.id, held.pattern.wilds));
        let is_new = id.0 == sum;
        self.keep_limits();
        (id, is_new, wilds)
    }

    /// Puts a template into a free place.
    pub(super) fn hold(&mut self, held: Held, sum: u64) -> Slot {
        self.bytes += held.bytes();
        let id = held.template.id;
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.slots.push(None);
                Slot::try_from(self.slots.len() - 1).unwrap_or(Slot::MAX)
            }
        };
        if let Some(place) = usize::try_from(slot).ok().and_then(|slot| self.slots.get_mut(slot)) {
            *place = Some(held);
        }
        self.exact.insert(sum, slot);
        self.by_id.insert(id.0, slot);
        slot
    }

    /// Takes a template out of its place and out of everything that leads to it but its group.
    pub(super) fn release(&mut self, slot: Slot) -> Option<Held> {
        let held = self.slots.get_mut(usize::try_from(slot).ok()?)?.take()?;
        self.bytes = self.bytes.saturating_sub(held.bytes());
        self.free.push(slot);
        let shape = (held.template.level, held.pattern.words.len());
        let sum = held.pattern.sum(shape_hash(shape));
        if self.exact.get(&sum) == Some(&slot) {
            self.exact.remove(&sum);
        }
        if self.by_id.get(&held.template.id.0) == Some(&slot) {
            self.by_id.remove(&held.template.id.0);
        }
        Some(held)
    }

    /// Drops what is used least when there is too much: an eighth at once, so that it is seldom.
    pub(super) fn keep_limits(&mut self) {
        if self.len() <= self.limits.templates && self.bytes <= self.limits.bytes {
            return;
        }
        let mut order: Vec<(u64, u64, Slot)> = (0_u32..)
            .zip(&self.slots)
            .filter_map(|(slot, held)| held.as_ref().map(|held| (held.weight, held.used, slot)))
            .collect();
        order.sort_unstable();
        let most = self.limits.templates - self.limits.templates / 8;
        let most_bytes = self.limits.bytes - self.limits.bytes / 8;
        let mut shapes: Vec<Shape> = Vec::new();
        for (_, _, slot) in order {
            if self.len() <= most.max(1) && (self.bytes <= most_bytes || self.len() <= 1) {
                break;
            }
            if let Some(held) = self.release(slot) {
                self.dropped += 1;
                shapes.push((held.template.level, held.pattern.words.len()));
            }
        }
        shapes.sort_unstable();
        shapes.dedup();
        for shape in shapes {
            self.tidy(shape);
        }
        for held in self.slots.iter_mut().flatten() {
            held.weight /= 2;
        }
    }

    /// Takes what is no longer held out of a group.
    pub(super) fn tidy(&mut self, shape: Shape) {
        let Some(mut group) = self.groups.remove(&shape) else { return };
        let held =
            |slot: &Slot| self.held(*slot).filter(|held| shape == (held.template.level, held.pattern.words.len()));
        group.members.retain(|slot| held(slot).is_some());
        group.members.dedup();
        let mut wilds: Vec<u64> = group.members.iter().filter_map(held).map(|held| held.pattern.wilds).collect();
        wilds.retain(|wilds| *wilds != 0);
        wilds.sort_unstable_by_key(|wilds| (wilds.count_ones(), *wilds));
        wilds.dedup();
        group.wilds = wilds;
        if !group.members.is_empty() {
            self.groups.insert(shape, group);
        }
    }
}

/// What the hash of a pattern begins with.
pub(super) fn shape_hash((level, words): Shape) -> u64 {
    placed(level as u64, usize::MAX - words)
}

impl Held {
    fn bytes(&self) -> usize {
        size_of::<Self>() + self.template.text.len() + self.template.example.len() + self.pattern.bytes()
    }
}

#[cfg(test)]
mod tests;
