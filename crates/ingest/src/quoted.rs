//! Quoted strings as Go writes them; Prometheus and Loki use its rules.

use std::borrow::Cow;

/// Reads one quoted string at the start of `text`: `"…"` and `'…'` with escapes, `` `…` `` without.
/// Gives the content and what follows the closing quote; `None` says why not.
pub(crate) fn go_string(text: &str) -> Result<(Cow<'_, str>, &str), &'static str> {
    let quote =
        text.bytes().next().filter(|byte| matches!(byte, b'"' | b'\'' | b'`')).ok_or("expected a quoted string")?;
    let inside = text.get(1..).ok_or("expected a quoted string")?;
    let mut escaped = false;
    let mut end = None;
    for (at, byte) in inside.bytes().enumerate() {
        if escaped {
            escaped = false;
        } else if byte == b'\\' && quote != b'`' {
            escaped = true;
        } else if byte == quote {
            end = Some(at);
            break;
        }
    }
    let (content, rest) = end.and_then(|end| inside.split_at_checked(end)).ok_or("quoted string does not end")?;
    let rest = rest.get(1..).unwrap_or("");
    if quote == b'`' || !content.contains('\\') {
        return Ok((Cow::Borrowed(content), rest));
    }
    Ok((Cow::Owned(unescape(content)?), rest))
}

fn unescape(content: &str) -> Result<String, &'static str> {
    // Bytes, because `\xff` names a byte and only several of them together may make a character.
    let mut bytes = Vec::with_capacity(content.len());
    let mut rest = content;
    while let Some(at) = rest.find('\\') {
        let (plain, escape) = rest.split_at(at);
        bytes.extend_from_slice(plain.as_bytes());
        let mut after = escape.chars();
        after.next();
        let kind = after.next().ok_or("escape does not end")?;
        let after = after.as_str();
        rest = match kind {
            'a' => push(&mut bytes, 0x07, after),
            'b' => push(&mut bytes, 0x08, after),
            'f' => push(&mut bytes, 0x0c, after),
            'n' => push(&mut bytes, b'\n', after),
            'r' => push(&mut bytes, b'\r', after),
            't' => push(&mut bytes, b'\t', after),
            'v' => push(&mut bytes, 0x0b, after),
            '\\' | '"' | '\'' => push(&mut bytes, u8::try_from(kind).unwrap_or(b'\\'), after),
            'x' => {
                let (code, after) = digits(after, 2, 16)?;
                push(&mut bytes, u8::try_from(code).map_err(|_| "escape is not a byte")?, after)
            }
            '0'..='7' => {
                let (code, after) = digits(escape.get(1..).unwrap_or(""), 3, 8)?;
                push(&mut bytes, u8::try_from(code).map_err(|_| "escape is not a byte")?, after)
            }
            'u' | 'U' => {
                let (code, after) = digits(after, if kind == 'u' { 4 } else { 8 }, 16)?;
                let character = char::from_u32(code).ok_or("escape is not a character")?;
                bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                after
            }
            _ => return Err("unknown escape"),
        };
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8(bytes).map_err(|_| "quoted string is not UTF-8")
}

fn push<'a>(bytes: &mut Vec<u8>, byte: u8, after: &'a str) -> &'a str {
    bytes.push(byte);
    after
}

fn digits(text: &str, count: usize, radix: u32) -> Result<(u32, &str), &'static str> {
    let (code, after) = text.split_at_checked(count).ok_or("escape does not end")?;
    if !code.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err("escape has a digit that is none");
    }
    let code = u32::from_str_radix(code, radix).map_err(|_| "escape has a digit that is none")?;
    Ok((code, after))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_go_reads() {
        for (text, want) in [
            (r#""plain" rest"#, Ok(("plain", " rest"))),
            (r#""a\"b\\c\n\t""#, Ok(("a\"b\\c\n\t", ""))),
            (r#""é\u00e9\U0001F600\x41\101""#, Ok(("éé😀AA", ""))),
            (r#""\xc3\xa9""#, Ok(("é", ""))),
            (r"`raw\n`,", Ok((r"raw\n", ","))),
            ("'single'", Ok(("single", ""))),
            (r#""open"#, Err("quoted string does not end")),
            (r#""\q""#, Err("unknown escape")),
            (r#""\xff""#, Err("quoted string is not UTF-8")),
            (r#""\ud800""#, Err("escape is not a character")),
            (r#""\x+1""#, Err("escape has a digit that is none")),
            ("bare", Err("expected a quoted string")),
        ] {
            let read = go_string(text);
            assert_eq!(read.as_ref().map(|(content, rest)| (&**content, *rest)), want.as_ref().copied(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_reads_or_errs(text in "[\"'`\\\\a-zé0-9]{0,20}") {
            let _ = go_string(&text);
        }
    }
}
