//! A place in a line.

use std::borrow::Cow;

#[derive(Clone, Debug)]
pub(super) struct Cursor<'a> {
    line: &'a str,
    rest: &'a str,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(line: &'a str) -> Self {
        Self { line, rest: line }
    }

    /// In bytes, from 1.
    pub(super) fn column(&self) -> usize {
        1 + self.line.len().saturating_sub(self.rest.len())
    }

    pub(super) fn rest(&self) -> &'a str {
        self.rest
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.rest.as_bytes().first().copied()
    }

    /// Steps over one ASCII byte.
    pub(super) fn bump(&mut self) {
        self.rest = self.rest.get(1..).unwrap_or("");
    }

    #[inline]
    pub(super) fn blanks(&mut self) {
        while let Some(b' ' | b'\t') = self.peek() {
            self.bump();
        }
    }

    /// Steps over `name="value",` as most pages write it: without blanks or escapes, and with a name after `last` in the
    /// alphabet. Stays where it is when anything is different, also before the last label of a set.
    #[inline]
    pub(super) fn plain_label(&mut self, last: &str) -> Option<(&'a str, &'a str)> {
        let mut ahead = self.clone();
        let name = ahead.name(|_| false).ok()?;
        let quoted = ahead.rest.strip_prefix("=\"")?;
        let end = memchr::memchr2(b'"', b'\\', quoted.as_bytes())?;
        let (value, rest) = quoted.split_at_checked(end)?;
        let rest = rest.strip_prefix("\",")?;
        if name <= last {
            return None;
        }
        self.rest = rest;
        Some((name, value))
    }

    /// Up to the next blank or the end.
    pub(super) fn word(&mut self) -> &'a str {
        self.take(|byte| byte != b' ' && byte != b'\t')
    }

    pub(super) fn expect(&mut self, byte: u8) -> Result<(), String> {
        if self.peek() != Some(byte) {
            return Err(format!("expected `{}`", char::from(byte)));
        }
        self.bump();
        Ok(())
    }

    /// A name without quotes: letters, digits and `_`, not a digit first; `also` allows more.
    pub(super) fn name(&mut self, also: impl Fn(u8) -> bool) -> Result<&'a str, String> {
        if !self.peek().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_' || also(byte)) {
            return Err("expected a name".to_owned());
        }
        Ok(self.take(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || also(byte)))
    }

    pub(super) fn name_or_quoted(&mut self, also: impl Fn(u8) -> bool) -> Result<Cow<'a, str>, String> {
        if self.peek() != Some(b'"') {
            return self.name(also).map(Cow::Borrowed);
        }
        let before = self.clone();
        let name = self.quoted()?;
        if name.is_empty() {
            *self = before;
            return Err("name is empty".to_owned());
        }
        Ok(name)
    }

    /// A text in double quotes with the escapes `\\`, `\"` and `\n`; others stay as they are.
    pub(super) fn quoted(&mut self) -> Result<Cow<'a, str>, String> {
        let before = self.clone();
        self.expect(b'"').map_err(|_| "expected a quoted text".to_owned())?;
        let plain = self.take(|byte| byte != b'"' && byte != b'\\');
        if self.peek() == Some(b'"') {
            self.bump();
            return Ok(Cow::Borrowed(plain));
        }
        let mut text = plain.to_owned();
        let mut chars = self.rest.chars();
        while let Some(character) = chars.next() {
            match character {
                '"' => {
                    self.rest = chars.as_str();
                    return Ok(Cow::Owned(text));
                }
                '\\' => match chars.next() {
                    Some('n') => text.push('\n'),
                    Some(other @ ('\\' | '"')) => text.push(other),
                    Some(other) => text.extend(['\\', other]),
                    None => break,
                },
                other => text.push(other),
            }
        }
        *self = before;
        Err("quoted text does not end".to_owned())
    }

    fn take(&mut self, wanted: impl Fn(u8) -> bool) -> &'a str {
        let end = self.rest.bytes().position(|byte| !wanted(byte)).unwrap_or(self.rest.len());
        // Every byte the callers stop at is ASCII, so `end` is a character boundary.
        let (taken, rest) = self.rest.split_at_checked(end).unwrap_or((self.rest, ""));
        self.rest = rest;
        taken
    }
}
