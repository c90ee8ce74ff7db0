//! Searches for the ends of short words, eight bytes at a time.

use memchr::memchr2;

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// Marks each byte that is zero; right up to the first of them.
#[inline(always)]
fn zeros(word: u64) -> u64 {
    word.wrapping_sub(ONES) & !word & HIGH
}

/// Marks each byte that is a blank or a control character; right up to the first of them.
#[inline(always)]
fn blanks(word: u64) -> u64 {
    word.wrapping_sub(ONES * 0x21) & !word & HIGH
}

#[inline(always)]
fn first(hits: u64) -> usize {
    hits.trailing_zeros() as usize / 8
}

/// The place of the first `"` or `\`. Most strings are so short that this beats the start of a wider search.
#[inline(always)]
pub(super) fn quote_or_backslash(bytes: &[u8]) -> Option<usize> {
    const SHORT: usize = 6;
    let (words, rest) = bytes.as_chunks::<8>();
    for (at, word) in words.iter().enumerate().take(SHORT) {
        let word = u64::from_le_bytes(*word);
        let hits = zeros(word ^ (ONES * 0x22)) | zeros(word ^ (ONES * 0x5c));
        if hits != 0 {
            return Some(at * 8 + first(hits));
        }
    }
    if words.len() > SHORT {
        return memchr2(b'"', b'\\', bytes.get(SHORT * 8..)?).map(|at| at + SHORT * 8);
    }
    rest.iter().position(|byte| matches!(byte, b'"' | b'\\')).map(|at| at + words.len() * 8)
}

/// How long the word is that ends at a blank, `=` or `"`.
#[inline(always)]
pub(super) fn word_length(bytes: &[u8]) -> usize {
    let (words, rest) = bytes.as_chunks::<8>();
    for (at, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let hits = blanks(word) | zeros(word ^ (ONES * 0x3d)) | zeros(word ^ (ONES * 0x22));
        if hits != 0 {
            return at * 8 + first(hits);
        }
    }
    let ends = |byte: &u8| *byte <= b' ' || matches!(byte, b'=' | b'"');
    words.len() * 8 + rest.iter().position(ends).unwrap_or(rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn searches_find_what_a_slow_search_finds() {
        for length in 0..80 {
            for tail in ["", "\"", "\\", "=", " ", "\t", "\u{1}=", "é\"", "!#<>[]", "\u{7f}\"", "x\\\"=", "\u{80} "] {
                let text = format!("{}{tail}..........", "x".repeat(length));
                let slow = text.bytes().position(|byte| matches!(byte, b'"' | b'\\'));
                assert_eq!(quote_or_backslash(text.as_bytes()), slow, "{text}");
                let slow = text.bytes().position(|byte| byte <= b' ' || matches!(byte, b'=' | b'"'));
                assert_eq!(word_length(text.as_bytes()), slow.unwrap_or(text.len()), "{text}");
            }
        }
    }
}
