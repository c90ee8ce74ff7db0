//! What all texts of a column begin and end with.

use super::texts::Texts;

/// What is common to all of some texts, at both ends; the two never overlap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Affix<'a> {
    pub(super) prefix: &'a [u8],
    pub(super) suffix: &'a [u8],
}

impl<'a> Affix<'a> {
    /// The longest there are.
    pub(super) fn of(values: &'a Texts) -> Self {
        let first = values.get(0).as_bytes();
        let (mut prefix, mut suffix) = (first, first);
        for text in values.iter().skip(1) {
            let text = text.as_bytes();
            if !text.starts_with(prefix) {
                let same = prefix.iter().zip(text).take_while(|(a, b)| a == b).count();
                prefix = prefix.get(..same).unwrap_or_default();
            }
            let rest = text.get(prefix.len()..).unwrap_or_default();
            if !rest.ends_with(suffix) {
                let same = suffix.iter().rev().zip(rest.iter().rev()).take_while(|(a, b)| a == b).count();
                suffix = suffix.get(suffix.len() - same..).unwrap_or_default();
            }
            if prefix.is_empty() && suffix.is_empty() {
                break;
            }
        }
        // The first text alone is not looked at above, and a prefix that became shorter leaves more behind it.
        let most = first.len() - prefix.len();
        let suffix = suffix.get(suffix.len().saturating_sub(most)..).unwrap_or_default();
        Self { prefix, suffix }
    }

    /// What cannot be part of a number: `v1.2` and `v1.3` have `v` in common.
    pub(super) fn around_numbers(self) -> Self {
        let is_numeric = |byte: &u8| byte.is_ascii_digit() || *byte == b'.';
        let Self { mut prefix, mut suffix } = self;
        let run = prefix.iter().rev().take_while(|byte| is_numeric(byte)).count();
        let (before, run) = prefix.split_at_checked(prefix.len() - run).unwrap_or_default();
        if let Some(digit) = run.iter().position(u8::is_ascii_digit) {
            prefix = prefix.get(..before.len() + digit).unwrap_or_default();
        }
        // A sign, unless there is something that it joins.
        if prefix == b"-" {
            prefix = b"";
        }
        let run = suffix.iter().take_while(|byte| is_numeric(byte)).count();
        let run = suffix.get(..run).unwrap_or_default();
        if let Some(digit) = run.iter().rposition(u8::is_ascii_digit) {
            suffix = suffix.get(digit + 1..).unwrap_or_default();
        }
        Self { prefix, suffix }
    }

    /// Whether the byte is in one of the two.
    pub(super) fn has(self, byte: u8) -> bool {
        self.prefix.contains(&byte) || self.suffix.contains(&byte)
    }

    /// What is between the two in `text`.
    pub(super) fn strip(self, text: &[u8]) -> Option<&[u8]> {
        text.strip_prefix(self.prefix)?.strip_suffix(self.suffix)
    }
}
