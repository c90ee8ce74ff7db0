//! The words of a template, and what may stand where they vary.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::mask::{ANY, Span, Word, hash_of_masked};
use super::miner::bit;

/// Binds the hash of a word to its place, so that the hash of a line is a sum in which one word can be exchanged.
pub(super) fn placed(hash: u64, at: usize) -> u64 {
    let mixed = (hash ^ (at as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    (mixed ^ (mixed >> 31)).wrapping_mul(0x94D0_49BB_1331_11EB) ^ (mixed >> 17)
}

/// What stays of a word when its value varies: `name=` and `,` of `name=anna,`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Keyed {
    /// Bytes before the value.
    pub(super) prefix: usize,
    /// Bytes behind it.
    pub(super) suffix: usize,
}

impl Keyed {
    /// Where the value is.
    pub(super) fn inner(self, word: Span) -> Span {
        Span { start: word.start + self.prefix, end: word.end - self.suffix }
    }

    /// Hash of what stays.
    pub(super) fn hash(self, message: &str, word: Span) -> u64 {
        let inner = self.inner(word);
        key_hash(
            Span { start: word.start, end: inner.start }.of(message),
            Span { start: inner.end, end: word.end }.of(message),
        )
    }
}

fn key_hash(prefix: &str, suffix: &str) -> u64 {
    // Not the hash of any text, because a word that varies is not one that is masked.
    xxh3_64_with_seed(prefix.as_bytes(), xxh3_64_with_seed(suffix.as_bytes(), 1)) ^ 0x5851_F42D_4C95_7F2D
}

/// What would stay of a word. Its masked values never stay.
pub(super) fn keyed(message: &str, word: Word, values: &[Span]) -> Keyed {
    let values = values.get(word.first..word.first + word.values).unwrap_or_default();
    let bytes = message.as_bytes().get(word.span.start..word.span.end).unwrap_or_default();
    let first = values.first().map_or(bytes.len(), |value| value.start - word.span.start);
    let last = values.last().map_or(0, |value| value.end - word.span.start);
    let byte = |at: usize| bytes.get(at).copied().unwrap_or(b' ');
    let mut end = bytes.len();
    while end > last && matches!(byte(end - 1), b',' | b';' | b'.' | b':' | b'!' | b'?') {
        end -= 1;
    }
    let named = bytes.iter().take(first.min(end.saturating_sub(1))).position(|byte| matches!(byte, b'=' | b':' | b'('));
    let mut prefix = named.map_or(0, |at| at + 1);
    if prefix == 0 {
        let most = first.min(end);
        while prefix < most && matches!(byte(prefix), b'(' | b'[' | b'{' | b'"' | b'\'' | b'<' | b'@' | b'-' | b'#') {
            prefix += 1;
        }
    }
    let opened = bytes.get(..prefix).unwrap_or_default();
    while end > last.max(prefix) {
        let opens = match byte(end - 1) {
            b')' => b'(',
            b']' => b'[',
            b'}' => b'{',
            b'>' => b'<',
            quote @ (b'"' | b'\'') => quote,
            _ => break,
        };
        if !opened.contains(&opens) {
            break;
        }
        end -= 1;
    }
    let end = end.max(prefix);
    Keyed { prefix, suffix: bytes.len() - end }
}

/// One word of a template.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct PatternWord {
    /// With values masked.
    pub(super) text: Box<str>,
    /// Bytes of the text that stay before and behind the value, should the word vary.
    prefix: u32,
    suffix: u32,
    #[serde(skip)]
    pub(super) hash: u64,
    /// Of what stays.
    #[serde(skip)]
    pub(super) key: u64,
}

impl PatternWord {
    fn new(text: String, prefix: usize, suffix: usize) -> Self {
        let short = |bytes: usize| u32::try_from(bytes).unwrap_or(0);
        let word = Self { text: text.into(), prefix: short(prefix), suffix: short(suffix), hash: 0, key: 0 };
        word.hashed()
    }

    fn hashed(mut self) -> Self {
        let (prefix, _, suffix) = self.split();
        self.key = key_hash(prefix, suffix);
        self.hash = hash_of_masked(&self.text);
        self
    }

    /// What stays before, what would vary, what stays behind.
    pub(super) fn split(&self) -> (&str, &str, &str) {
        let size = |bytes: u32| usize::try_from(bytes).unwrap_or(usize::MAX);
        let end = self.text.len().saturating_sub(size(self.suffix));
        let start = size(self.prefix).min(end);
        let part = |from, to| self.text.get(from..to).unwrap_or_default();
        (part(0, start), part(start, end), part(end, self.text.len()))
    }

    /// The word with all varying that may.
    fn generalised(&self) -> Self {
        let (prefix, _, suffix) = self.split();
        Self { text: format!("{prefix}{ANY}{suffix}").into(), ..self.clone() }
    }

    /// Whether something of it is no value.
    pub(super) fn says_something(&self) -> bool {
        self.text.split(ANY).any(|piece| piece.bytes().any(|byte| byte.is_ascii_alphabetic() || byte >= 128))
    }
}

/// The words of a template.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Pattern {
    pub(super) words: Vec<PatternWord>,
    /// The words that vary as a whole, a bit for each place.
    pub(super) wilds: u64,
}

impl Pattern {
    /// Of masked words, each with the bytes that stay before and behind its value.
    pub(super) fn new(words: impl Iterator<Item = (String, usize, usize)>) -> Self {
        let words = words.map(|(text, prefix, suffix)| PatternWord::new(text, prefix, suffix)).collect();
        Self { words, wilds: 0 }
    }

    /// One that was written down: hashes are not.
    pub(super) fn restored(self) -> Self {
        Self { words: self.words.into_iter().map(PatternWord::hashed).collect(), wilds: self.wilds }
    }

    pub(super) fn text(&self) -> String {
        let words: Vec<&str> = self.words.iter().map(|word| &*word.text).collect();
        words.join(" ")
    }

    pub(super) fn bytes(&self) -> usize {
        self.words.iter().map(|word| size_of::<PatternWord>() + word.text.len()).sum()
    }

    /// Hash of the lines it matches, those with varying words aside.
    pub(super) fn sum(&self, shape: u64) -> u64 {
        self.words.iter().enumerate().fold(shape, |sum, (at, word)| {
            let hash = if self.wilds & bit(at) == 0 { word.hash } else { word.key };
            sum.wrapping_add(placed(hash, at))
        })
    }

    /// The same with the words at `wilds` varying.
    pub(super) fn generalised(&self, wilds: u64) -> Self {
        let words = self.words.iter().enumerate().map(|(at, word)| {
            let becomes_wild = wilds & bit(at) != 0 && self.wilds & bit(at) == 0;
            if becomes_wild { word.generalised() } else { word.clone() }
        });
        Self { words: words.collect(), wilds: self.wilds | wilds }
    }

    /// The places at which two patterns of one length differ; nothing if one can never stand for the other.
    pub(super) fn difference(&self, other: &Self, most: u32) -> Option<u64> {
        let mut places = 0;
        for (at, (mine, theirs)) in self.words.iter().zip(&other.words).enumerate() {
            if (self.wilds | other.wilds) & bit(at) != 0 {
                if mine.key != theirs.key {
                    return None;
                }
            } else if mine.hash != theirs.hash {
                if mine.key != theirs.key {
                    return None;
                }
                places |= bit(at);
                if places.count_ones() > most {
                    return None;
                }
            }
        }
        Some(places)
    }
}
