//! What the three lexers share: a [`Cursor`] with byte positions, and the literals every query language has.

use std::fmt;

/// A place in a query text, for people: both numbers start at 1, the column counts bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Position {
    /// Line.
    pub line: usize,
    /// Column in that line.
    pub column: usize,
}

impl Position {
    /// The place of byte `at` in `text`.
    #[must_use]
    pub fn of(text: &str, at: usize) -> Self {
        let before = text.as_bytes().get(..at).unwrap_or(text.as_bytes());
        let line_start = memchr::memrchr(b'\n', before).map_or(0, |newline| newline + 1);
        Self { line: memchr::memchr_iter(b'\n', before).count() + 1, column: before.len() - line_start + 1 }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// A literal that is not one.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{message}")]
pub struct LexError {
    /// Byte position in the query text.
    pub at: usize,
    /// What is wrong.
    pub message: String,
}

/// Walks over a query text character by character.
#[derive(Clone, Debug)]
pub struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    /// At the beginning of `text`.
    #[must_use]
    pub fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// Byte position of the next character.
    #[must_use]
    pub fn at(&self) -> usize {
        self.at
    }

    /// What has not been read yet.
    #[must_use]
    pub fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or("")
    }

    /// What was read since byte `start`.
    #[must_use]
    pub fn since(&self, start: usize) -> &'a str {
        self.text.get(start..self.at).unwrap_or("")
    }

    /// The next character, left in place.
    #[must_use]
    pub fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    /// Reads one character.
    pub fn bump(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at += next.len_utf8();
        Some(next)
    }

    /// Reads `prefix` if it comes next.
    pub fn eat(&mut self, prefix: &str) -> bool {
        let found = self.rest().starts_with(prefix);
        if found {
            self.at += prefix.len();
        }
        found
    }

    /// Reads as long as `wanted` answers true.
    pub fn take_while(&mut self, mut wanted: impl FnMut(char) -> bool) -> &'a str {
        let rest = self.rest();
        let length = rest.find(|c| !wanted(c)).unwrap_or(rest.len());
        self.at += length;
        rest.get(..length).unwrap_or("")
    }

    /// Skips blanks and `# comments` up to the end of their line.
    pub fn skip_blank(&mut self) {
        loop {
            self.take_while(|c| matches!(c, ' ' | '\t' | '\n' | '\r'));
            if self.peek() != Some('#') {
                return;
            }
            self.take_while(|c| c != '\n');
        }
    }

    /// Reads a string literal in `"…"` or `'…'` with Go's escapes, or raw in backquotes. Call it on the opening quote.
    ///
    /// # Errors
    /// `LexError` when it does not end, or contains an escape Go does not know.
    pub fn string(&mut self) -> Result<String, LexError> {
        // Single bytes may be written as `\xff`; text is UTF-8 with us, so broken ones become U+FFFD.
        let bytes = self.string_bytes()?;
        Ok(String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
    }

    /// Reads a string literal as [`Cursor::string`] does, but leaves bytes that are no UTF-8 as they are.
    ///
    /// # Errors
    /// `LexError` as for [`Cursor::string`].
    pub fn string_bytes(&mut self) -> Result<Vec<u8>, LexError> {
        let start = self.at;
        let quote = self.bump().unwrap_or('"');
        if quote == '`' {
            let text = self.take_while(|c| c != '`').as_bytes().to_vec();
            return match self.bump() {
                Some(_) => Ok(text),
                None => Err(LexError { at: start, message: "unterminated raw string".to_owned() }),
            };
        }
        let mut bytes = Vec::new();
        loop {
            let at = self.at;
            match self.bump() {
                None | Some('\n') => {
                    return Err(LexError { at: start, message: "unterminated quoted string".to_owned() });
                }
                Some('\\') => self.escape(at, quote, &mut bytes)?,
                Some(c) if c == quote => break,
                Some(c) => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        Ok(bytes)
    }

    fn escape(&mut self, at: usize, quote: char, bytes: &mut Vec<u8>) -> Result<(), LexError> {
        let simple = match self.bump() {
            Some('a') => 0x07,
            Some('b') => 0x08,
            Some('f') => 0x0c,
            Some('n') => b'\n',
            Some('r') => b'\r',
            Some('t') => b'\t',
            Some('v') => 0x0b,
            Some('\\') => b'\\',
            Some(c) if c == quote => u8::try_from(c).unwrap_or(b'"'),
            Some('x') => u8::try_from(self.digits(at, 16, 2)?).unwrap_or(0),
            Some('0'..='7') => {
                self.at -= 1;
                let code = self.digits(at, 8, 3)?;
                u8::try_from(code).map_err(|_| LexError {
                    at,
                    message: "escape sequence is an invalid Unicode code point".to_owned(),
                })?
            }
            Some(c @ ('u' | 'U')) => {
                let code = self.digits(at, 16, if c == 'u' { 4 } else { 8 })?;
                let c = char::from_u32(code).ok_or_else(|| LexError {
                    at,
                    message: "escape sequence is an invalid Unicode code point".to_owned(),
                })?;
                bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                return Ok(());
            }
            Some(c) => {
                return Err(LexError { at, message: format!("unknown escape sequence U+{:04X} {c:?}", u32::from(c)) });
            }
            None => return Err(LexError { at, message: "escape sequence not terminated".to_owned() }),
        };
        bytes.push(simple);
        Ok(())
    }

    fn digits(&mut self, at: usize, radix: u32, count: usize) -> Result<u32, LexError> {
        let mut code = 0_u32;
        for _ in 0..count {
            let c = self.bump().ok_or_else(|| LexError { at, message: "escape sequence not terminated".to_owned() })?;
            let digit = c.to_digit(radix).ok_or_else(|| LexError {
                at,
                message: format!("illegal character U+{:04X} {c:?} in escape sequence", u32::from(c)),
            })?;
            code = code.wrapping_mul(radix).wrapping_add(digit);
        }
        Ok(code)
    }
}

/// Writes a string literal that [`Cursor::string`] reads back: double quotes, Go's escapes.
#[must_use]
pub fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_control() && u32::from(c) < 0x80 => quoted.push_str(&format!("\\x{:02x}", u32::from(c))),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// Writes a string literal of bytes: as [`quote`], and `\xff` for what is no UTF-8.
#[must_use]
pub fn quote_bytes(bytes: &[u8]) -> String {
    let mut quoted = String::with_capacity(bytes.len() + 2);
    for chunk in bytes.utf8_chunks() {
        let valid = quote(chunk.valid());
        quoted.push_str(valid.get(1..valid.len() - 1).unwrap_or_default());
        for byte in chunk.invalid() {
            quoted.push_str(&format!("\\x{byte:02x}"));
        }
    }
    format!("\"{quoted}\"")
}

/// Reads a floating point number as Go does: `1`, `.5`, `1e3`, `0x1f`, `1_000`, `Inf`, `NaN` (any case, with sign).
#[must_use]
pub fn parse_number(text: &str) -> Option<f64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let plain: String = digits.chars().filter(|c| *c != '_').collect();
    let value = match plain.get(..2) {
        Some("0x" | "0X") => parse_hex(plain.get(2..)?)?,
        _ => plain.parse::<f64>().ok()?,
    };
    Some(if negative { -value } else { value })
}

fn parse_hex(digits: &str) -> Option<f64> {
    let mut value = 0.0_f64;
    for c in digits.chars() {
        value = value * 16.0 + f64::from(c.to_digit(16)?);
    }
    (!digits.is_empty()).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_read_in_all_three_quotings() {
        for (text, want) in [
            (r#""a\"b\n""#, Ok("a\"b\n")),
            (r"'it\'s'", Ok("it's")),
            (r"`raw\n`", Ok(r"raw\n")),
            (r#""\x41\u00e9\101\U0001F600""#, Ok("AéA😀")),
            ("\"open", Err("unterminated quoted string")),
            ("\"two\nlines\"", Err("unterminated quoted string")),
            ("`open", Err("unterminated raw string")),
            (r#""\q""#, Err("unknown escape sequence U+0071 'q'")),
            (r#""\xzz""#, Err("illegal character U+007A 'z' in escape sequence")),
        ] {
            let got = Cursor::new(text).string();
            assert_eq!(got.as_deref().map_err(|error| error.message.as_str()), want, "{text}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_keep_their_value() {
        let mut cursor = Cursor::new(r#""a\xc5z\n""#);
        let bytes = cursor.string_bytes().unwrap();
        assert_eq!(bytes, b"a\xc5z\n");
        assert_eq!(quote_bytes(&bytes), r#""a\xc5z\n""#);
        assert_eq!(quote_bytes("é\"".as_bytes()), quote("é\""));
    }

    #[test]
    fn numbers_read_as_in_go() {
        for (text, want) in [
            ("1", Some(1.0)),
            (".5", Some(0.5)),
            ("1e3", Some(1000.0)),
            ("0x1F", Some(31.0)),
            ("1_000.5", Some(1000.5)),
            ("-Inf", Some(f64::NEG_INFINITY)),
            ("inf", Some(f64::INFINITY)),
            ("0x", None),
            ("--1", None),
            ("", None),
            ("é", None),
        ] {
            assert_eq!(parse_number(text), want, "{text}");
        }
    }

    #[test]
    fn positions_count_lines_and_columns() {
        for (at, want) in [(0, "1:1"), (2, "1:3"), (3, "2:1"), (99, "2:3")] {
            assert_eq!(Position::of("ab\ncd", at).to_string(), want);
        }
    }

    proptest::proptest! {
        #[test]
        fn what_quote_writes_string_reads(text in ".*") {
            proptest::prop_assert_eq!(Cursor::new(&quote(&text)).string().unwrap(), text);
        }

        #[test]
        fn no_input_panics(text in ".*") {
            let mut cursor = Cursor::new(&text);
            let _ = cursor.string();
            cursor.skip_blank();
            let _ = parse_number(&text);
        }
    }
}
