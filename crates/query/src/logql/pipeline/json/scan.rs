//! The tokens of a JSON text: members of objects and elements of arrays, one after the other.
//!
//! What runs once or more for each member is inlined by force: a sixth of the time of a line was spent on handing results
//! over.

use std::borrow::Cow;

use memchr::memchr;

use super::super::bytes::quote_or_backslash;

/// What is wrong with a text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in super::super) enum Flaw {
    Malformed,
    Object,
    Array,
    Text,
    Unknown,
    Escape,
    TooDeep,
}

impl Flaw {
    /// In Loki's words, where it has any.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "Malformed JSON error",
            Self::Object => "Value looks like object, but can't find closing '}' symbol",
            Self::Array => "Value is array, but can't find closing ']' symbol",
            Self::Text => "Value is string, but can't find closing '\"' symbol",
            Self::Unknown => "Unknown value type",
            Self::Escape => "Encountered an invalid escape sequence in a string",
            Self::TooDeep => "objects are nested deeper than 128 levels",
        }
    }
}

/// The name of a member as it is spelt.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key<'x> {
    raw: &'x str,
    escaped: bool,
}

impl<'x> Key<'x> {
    /// What it says.
    #[inline(always)]
    pub(super) fn name(self) -> Result<Cow<'x, str>, Flaw> {
        if self.escaped { resolve(self.raw) } else { Ok(Cow::Borrowed(self.raw)) }
    }
}

/// A value as it is spelt.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'x> {
    /// Without its quotes.
    Text {
        raw: &'x str,
        escaped: bool,
    },
    Number(&'x str),
    Flag(&'x str),
    Null,
    Array(&'x str),
    Object(&'x str),
}

impl<'x> Value<'x> {
    /// What it says; a text with an escape that does not exist says nothing.
    pub(super) fn text(self) -> Cow<'x, str> {
        match self {
            Self::Text { raw, escaped: true } => unescape(raw),
            Self::Text { raw, escaped: false } => without_replacements(Cow::Borrowed(raw)),
            Self::Number(raw) | Self::Flag(raw) | Self::Array(raw) | Self::Object(raw) => Cow::Borrowed(raw),
            Self::Null => Cow::Borrowed(""),
        }
    }
}

/// Resolves escapes; nothing is left of a text with one that does not exist.
pub(super) fn unescape(raw: &str) -> Cow<'_, str> {
    resolve(raw).map(without_replacements).unwrap_or_default()
}

/// Writes a blank for each character that could not be read.
pub(in super::super) fn without_replacements(text: Cow<'_, str>) -> Cow<'_, str> {
    // The first byte of the character is rare, and found faster than the character.
    if memchr(0xef, text.as_bytes()).is_some() && text.contains('\u{fffd}') {
        Cow::Owned(text.replace('\u{fffd}', " "))
    } else {
        text
    }
}

/// The members of an object.
pub(super) struct Members<'x> {
    cursor: Cursor<'x>,
    first: bool,
}

impl<'x> Members<'x> {
    /// Begins with the object that `text` begins with.
    pub(super) fn of(text: &'x str) -> Result<Self, Flaw> {
        let mut cursor = Cursor { text, at: 0 };
        if cursor.peek() != Some(b'{') {
            return Err(Flaw::Object);
        }
        cursor.at += 1;
        if cursor.peek().is_none() { Err(Flaw::Malformed) } else { Ok(Self { cursor, first: true }) }
    }

    /// Name of the next member; [`Self::value`] has to follow.
    #[inline(always)]
    pub(super) fn key(&mut self) -> Result<Option<Key<'x>>, Flaw> {
        let cursor = &mut self.cursor;
        if !self.first {
            match cursor.peek() {
                Some(b',') => cursor.at += 1,
                Some(b'}') => return Ok(None),
                Some(_) => return Err(Flaw::Object),
                None => return Err(Flaw::Array),
            }
        }
        self.first = false;
        match cursor.peek() {
            Some(b'"') => cursor.at += 1,
            // Also behind a comma.
            Some(b'}') => return Ok(None),
            Some(_) => return Err(Flaw::Object),
            None => return Err(Flaw::Array),
        }
        let (raw, escaped) = cursor.string().ok_or(Flaw::Malformed)?;
        if cursor.peek() != Some(b':') {
            return Err(Flaw::Malformed);
        }
        cursor.at += 1;
        Ok(Some(Key { raw, escaped }))
    }

    /// Name of the next member, wherever it is: what is no string with a colon behind it is passed over.
    pub(super) fn any_key(&mut self) -> Option<Key<'x>> {
        let cursor = &mut self.cursor;
        loop {
            match cursor.peek()? {
                b'"' => {
                    cursor.at += 1;
                    let (raw, escaped) = cursor.string()?;
                    if cursor.peek()? == b':' {
                        cursor.at += 1;
                        return Some(Key { raw, escaped });
                    }
                }
                b'{' => drop(cursor.block(b'{', b'}')?),
                b'[' => drop(cursor.block(b'[', b']')?),
                b'}' => return None,
                _ => cursor.at += 1,
            }
        }
    }

    /// The text from the value on.
    pub(super) fn rest(&self) -> &'x str {
        self.cursor.rest()
    }

    /// The value of the member whose name was read last.
    #[inline(always)]
    pub(super) fn value(&mut self) -> Result<Value<'x>, Flaw> {
        self.cursor.value()
    }
}

/// The elements of an array.
pub(super) struct Elements<'x> {
    cursor: Cursor<'x>,
    first: bool,
}

impl<'x> Elements<'x> {
    /// Begins with the array that `text` begins with.
    pub(super) fn of(text: &'x str) -> Result<Self, Flaw> {
        let mut cursor = Cursor { text, at: 0 };
        if cursor.peek() != Some(b'[') {
            return Err(Flaw::Array);
        }
        cursor.at += 1;
        Ok(Self { cursor, first: true })
    }

    pub(super) fn value(&mut self) -> Result<Option<Value<'x>>, Flaw> {
        match self.cursor.peek() {
            Some(b']') => return Ok(None),
            Some(b',') if !self.first => self.cursor.at += 1,
            Some(_) if self.first => self.first = false,
            Some(_) | None => return Err(Flaw::Array),
        }
        self.cursor.value().map(Some)
    }
}

struct Cursor<'x> {
    text: &'x str,
    at: usize,
}

impl<'x> Cursor<'x> {
    fn rest(&self) -> &'x str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// The next byte that is not blank; the cursor stands on it.
    #[inline(always)]
    fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        loop {
            match bytes.get(self.at) {
                Some(b' ' | b'\t' | b'\n' | b'\r') => self.at += 1,
                other => return other.copied(),
            }
        }
    }

    /// The rest of a string whose opening quote has been passed, and whether it has escapes.
    #[inline(always)]
    fn string(&mut self) -> Option<(&'x str, bool)> {
        let rest = self.rest();
        let (end, escaped) = string_end(rest)?;
        self.at += end + 1;
        Some((rest.get(..end)?, escaped))
    }

    #[inline(always)]
    fn value(&mut self) -> Result<Value<'x>, Flaw> {
        let first = self.peek().ok_or(Flaw::Malformed)?;
        match first {
            b'"' => {
                self.at += 1;
                let (raw, escaped) = self.string().ok_or(Flaw::Text)?;
                Ok(Value::Text { raw, escaped })
            }
            b'{' => self.block(b'{', b'}').map(Value::Object).ok_or(Flaw::Object),
            b'[' => self.block(b'[', b']').map(Value::Array).ok_or(Flaw::Array),
            _ => {
                let rest = self.rest();
                let length = rest
                    .bytes()
                    .position(|byte| matches!(byte, b' ' | b'\n' | b'\r' | b'\t' | b',' | b'}' | b']'))
                    .unwrap_or(rest.len());
                let word = rest.get(..length).unwrap_or_default();
                self.at += length;
                match (first, word) {
                    (b'0'..=b'9' | b'-', _) => Ok(Value::Number(word)),
                    (_, "true" | "false") => Ok(Value::Flag(word)),
                    (_, "null") => Ok(Value::Null),
                    _ => Err(Flaw::Unknown),
                }
            }
        }
    }

    /// Past the block that begins here; braces inside of strings do not count, nor do those of the other kind.
    fn block(&mut self, open: u8, close: u8) -> Option<&'x str> {
        let rest = self.rest();
        let bytes = rest.as_bytes();
        let (mut at, mut level) = (0_usize, 0_usize);
        loop {
            let byte = *bytes.get(at)?;
            at += 1;
            if byte == b'"' {
                at += string_end(rest.get(at..)?)?.0 + 1;
            } else if byte == open {
                level += 1;
            } else if byte == close {
                level -= 1;
                if level == 0 {
                    self.at += at;
                    return rest.get(..at);
                }
            }
        }
    }
}

/// Where the string ends whose opening quote stands before `text`, and whether it has escapes.
#[inline(always)]
pub(in super::super) fn string_end(text: &str) -> Option<(usize, bool)> {
    let bytes = text.as_bytes();
    let (mut at, mut escaped) = (0, false);
    loop {
        at += quote_or_backslash(bytes.get(at..)?)?;
        if bytes.get(at) == Some(&b'"') {
            return Some((at, escaped));
        }
        escaped = true;
        at += 2;
    }
}

/// Resolves the escapes of a string.
pub(super) fn resolve(raw: &str) -> Result<Cow<'_, str>, Flaw> {
    let Some(mut next) = raw.find('\\') else { return Ok(Cow::Borrowed(raw)) };
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw;
    loop {
        let (before, escape) = rest.split_at_checked(next).ok_or(Flaw::Escape)?;
        out.push_str(before);
        let (c, length) = escaped(escape).ok_or(Flaw::Escape)?;
        out.push(c);
        rest = escape.get(length..).ok_or(Flaw::Escape)?;
        match rest.find('\\') {
            Some(at) => next = at,
            None => {
                out.push_str(rest);
                return Ok(Cow::Owned(out));
            }
        }
    }
}

/// The character an escape stands for, and how long the escape is.
fn escaped(text: &str) -> Option<(char, usize)> {
    let plain = match text.as_bytes().get(1)? {
        b'"' => '"',
        b'\\' => '\\',
        b'/' => '/',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => {
            let high = unit(text)?;
            if let Some(c) = char::from_u32(high) {
                return Some((c, 6));
            }
            let low = unit(text.get(6..)?)?;
            let pair = (0xd800..0xdc00).contains(&high) && (0xdc00..0xe000).contains(&low);
            let c = pair.then(|| 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00)).and_then(char::from_u32)?;
            return Some((c, 12));
        }
        _ => return None,
    };
    Some((plain, 2))
}

/// `\u12ab`.
fn unit(text: &str) -> Option<u32> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    u32::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_end_where_a_slow_search_says() {
        let slow = |text: &str| {
            let mut escaped = false;
            for (at, byte) in text.bytes().enumerate() {
                match byte {
                    _ if escaped => escaped = false,
                    b'\\' => escaped = true,
                    b'"' => return Some(at),
                    _ => {}
                }
            }
            None
        };
        for length in 0..80 {
            for tail in ["", "\"", "\\\"", "\\\\\"", "\\\\\\\"x\"", "é\"", "\u{23}\u{21}\"", "\u{5b}\u{5d}\""] {
                let text = format!("{}{tail} and \"more\"", "x".repeat(length));
                assert_eq!(string_end(&text).map(|(at, _)| at), slow(&text), "{text}");
            }
        }
    }
}
