//! LogQL text to tokens.

use super::units::{parse_bytes, parse_duration, unescape};

/// One token; the texts are those of the source.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Token {
    Ident(String),
    Str(String),
    /// Not yet converted: the error belongs to the place of use.
    Number(String),
    Duration(i64),
    Bytes(u64),
    /// `[5m]` in nanoseconds.
    Range(i64),
    /// `--strict`, without the dashes.
    Flag(String),
    Op(&'static str),
    /// A character no rule begins with.
    Other,
    /// What cannot be read at all, with the reason; always last.
    Broken(String),
    End,
}

/// A token and where it begins: line and column count from one. Loki gives ranges line zero.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    pub(super) token: Token,
    pub(super) line: usize,
    pub(super) column: usize,
}

const OPERATORS: [&str; 28] = [
    "|=", "|~", "|>", "!=", "!~", "!>", "==", "=~", ">=", "<=", "{", "}", "(", ")", ",", ".", "=", "|", ">", "<", "+",
    "-", "*", "/", "%", "^", "]", ":",
];

/// Splits a query; the last token is `End` or `Broken`.
pub(super) fn lex(text: &str) -> Vec<Placed> {
    let mut tokens = Vec::new();
    let mut rest = text;
    let (mut line, mut column) = (1, 1);
    loop {
        let skipped = skip_blank(rest);
        advance(skipped.0, &mut line, &mut column);
        rest = skipped.1;
        if rest.is_empty() {
            tokens.push(Placed { token: Token::End, line, column });
            return tokens;
        }
        let (token, length) = next(rest);
        let at_line = if matches!(token, Token::Range(_)) || (rest.starts_with('[')) { 0 } else { line };
        let broken = matches!(token, Token::Broken(_));
        tokens.push(Placed { token, line: at_line, column });
        if broken {
            return tokens;
        }
        let (consumed, tail) = rest.split_at_checked(length).unwrap_or((rest, ""));
        advance(consumed, &mut line, &mut column);
        rest = tail;
    }
}

fn advance(consumed: &str, line: &mut usize, column: &mut usize) {
    for c in consumed.chars() {
        if c == '\n' {
            *line += 1;
            *column = 1;
        } else {
            *column += 1;
        }
    }
}

fn skip_blank(text: &str) -> (&str, &str) {
    let mut rest = text;
    loop {
        rest = rest.trim_start();
        if rest.starts_with('#') || rest.starts_with("//") {
            rest = rest.find('\n').and_then(|at| rest.get(at..)).unwrap_or_default();
            continue;
        }
        let blank = text.len() - rest.len();
        return text.split_at_checked(blank).unwrap_or((text, ""));
    }
}

fn next(rest: &str) -> (Token, usize) {
    let first = rest.chars().next().unwrap_or_default();
    match first {
        '"' => return quoted(rest),
        '`' => {
            let body = rest.get(1..).unwrap_or_default();
            return match body.find('`') {
                Some(end) => (Token::Str(body.get(..end).unwrap_or_default().replace('\r', "")), end + 2),
                None => (Token::Broken("literal not terminated".to_owned()), rest.len()),
            };
        }
        '[' => {
            let body = rest.get(1..).unwrap_or_default();
            let Some(end) = body.find(']') else {
                return (Token::Broken("missing closing ']' in duration".to_owned()), rest.len());
            };
            return match parse_duration(body.get(..end).unwrap_or_default()) {
                Ok(nanos) => (Token::Range(nanos), end + 2),
                Err(reason) => (Token::Broken(reason), rest.len()),
            };
        }
        _ => {}
    }
    if first.is_alphabetic() || first == '_' {
        let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
        return (Token::Ident(rest.get(..end).unwrap_or_default().to_owned()), end);
    }
    let second_is_digit = rest.as_bytes().get(1).is_some_and(u8::is_ascii_digit);
    if first.is_ascii_digit() || (first == '.' && second_is_digit) {
        return number(rest);
    }
    if let Some(flag) = rest.strip_prefix("--") {
        let length = flag.bytes().take_while(|byte| byte.is_ascii_lowercase() || *byte == b'-').count();
        // Other words are two signs and a name, as in Loki.
        if let Some(flag) = flag.get(..length).filter(|flag| matches!(*flag, "strict" | "keep-empty")) {
            return (Token::Flag(flag.to_owned()), length + 2);
        }
    }
    match OPERATORS.iter().find(|operator| rest.starts_with(**operator)) {
        Some(operator) => (Token::Op(operator), operator.len()),
        None => (Token::Other, first.len_utf8()),
    }
}

fn quoted(rest: &str) -> (Token, usize) {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '\n' => break,
            '"' => {
                return match unescape(rest.get(1..at).unwrap_or_default()) {
                    Some(text) => (Token::Str(text), at + 1),
                    None => (Token::Broken("invalid char escape".to_owned()), rest.len()),
                };
            }
            _ => {}
        }
    }
    (Token::Broken("literal not terminated".to_owned()), rest.len())
}

fn number(rest: &str) -> (Token, usize) {
    let bytes = rest.as_bytes();
    let at = |index: usize| bytes.get(index).copied().unwrap_or(0);
    if at(0) == b'0' && matches!(at(1), b'x' | b'X' | b'b' | b'B' | b'o' | b'O') && at(2).is_ascii_hexdigit() {
        let length =
            bytes.iter().take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.')).count();
        return (Token::Number(rest.get(..length).unwrap_or_default().to_owned()), length);
    }
    let mut length = bytes.iter().take_while(|byte| byte.is_ascii_digit() || **byte == b'.').count();
    // A unit may follow, and further numbers with units: take the longest run that reads as one.
    let run = rest.find(|c: char| !(c.is_alphanumeric() || c == '.')).unwrap_or(rest.len());
    if run > length {
        let whole = rest.get(..run).unwrap_or_default();
        if let Ok(nanos) = parse_duration(whole) {
            return (Token::Duration(nanos), run);
        }
        // In a query the letters have one case; in a line's labels either will do.
        let is_size = whole.bytes().all(|byte| byte.is_ascii_digit() || b".BikKMGTPE".contains(&byte));
        if let Some(size) = parse_bytes(whole).filter(|_| is_size) {
            return (Token::Bytes(size), run);
        }
    }
    if matches!(at(length), b'e' | b'E') {
        let sign = usize::from(matches!(at(length + 1), b'+' | b'-'));
        let digits = bytes.iter().skip(length + 1 + sign).take_while(|byte| byte.is_ascii_digit()).count();
        if digits > 0 {
            length += 1 + sign + digits;
        }
    }
    (Token::Number(rest.get(..length).unwrap_or_default().to_owned()), length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_what_loki_reads() {
        let tokens = |text: &str| lex(text).into_iter().map(|placed| placed.token).collect::<Vec<_>>();
        for (text, want) in [
            ("5d", Token::Duration(5 * 86_400_000_000_000)),
            ("250ms", Token::Duration(250_000_000)),
            ("1.5KiB", Token::Bytes(1536)),
            (".5", Token::Number(".5".into())),
            ("1e3", Token::Number("1e3".into())),
            ("[1m0s]", Token::Range(60_000_000_000)),
            ("--keep-empty", Token::Flag("keep-empty".into())),
            ("`a\\d`", Token::Str("a\\d".into())),
            ("\"a\\\"\"", Token::Str("a\"".into())),
            ("rate", Token::Ident("rate".into())),
            ("|>", Token::Op("|>")),
            ("@", Token::Other),
            ("\"a", Token::Broken("literal not terminated".into())),
        ] {
            assert_eq!(tokens(text).first(), Some(&want), "{text}");
        }
        assert_eq!(tokens("# only words\n // and more"), [Token::End]);
    }

    #[test]
    fn places_count_lines_and_columns() {
        let places: Vec<_> = lex("{a=\n \"é\" }").iter().map(|placed| (placed.line, placed.column)).collect();
        assert_eq!(places, [(1, 1), (1, 2), (1, 3), (2, 2), (2, 6), (2, 7)]);
    }
}
