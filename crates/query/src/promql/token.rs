//! Query text into tokens. The first mistake becomes an [`Token::Error`] token, which ends the list.

use super::ast::{AggregateOp, BinaryOp, Place};
use crate::lex::{Cursor, LexError, Position, parse_number};

/// What a token is.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Token {
    /// Name of a metric, label or function, or a word the parser gives a meaning.
    Word(String),
    /// String literal, without quotes.
    Text(String),
    /// Number literal.
    Number(f64),
    /// Duration literal, in milliseconds.
    Duration(i64),
    /// Any symbol.
    Symbol(Symbol),
    /// Everything was read.
    End,
    /// Nothing after this could be read.
    Error(String),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Symbol {
    LeftParen,
    RightParen,
    LeftBrace,
    RightBrace,
    LeftBracket,
    RightBracket,
    Comma,
    Colon,
    At,
    Assign,
    EqualRegex,
    NotRegex,
    Op(BinaryOp),
}

impl Symbol {
    fn as_str(self) -> &'static str {
        match self {
            Self::LeftParen => "(",
            Self::RightParen => ")",
            Self::LeftBrace => "{",
            Self::RightBrace => "}",
            Self::LeftBracket => "[",
            Self::RightBracket => "]",
            Self::Comma => ",",
            Self::Colon => ":",
            Self::At => "@",
            Self::Assign => "=",
            Self::EqualRegex => "=~",
            Self::NotRegex => "!~",
            Self::Op(op) => op.as_str(),
        }
    }
}

const KEYWORDS: [&str; 9] = ["offset", "by", "without", "on", "ignoring", "group_left", "group_right", "bool", "atan2"];

/// A token and where it stands.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Spot {
    pub(crate) token: Token,
    pub(crate) place: Place,
    /// Exactly as written.
    pub(crate) text: String,
}

impl Spot {
    /// The keyword a word stands for, in small letters.
    pub(crate) fn keyword(&self) -> Option<String> {
        match &self.token {
            Token::Word(word) => Some(word.to_ascii_lowercase()),
            Token::Text(_)
            | Token::Number(_)
            | Token::Duration(_)
            | Token::Symbol(_)
            | Token::End
            | Token::Error(_) => None,
        }
    }

    /// How upstream names the token in its messages.
    pub(crate) fn describe(&self) -> String {
        let quoted = if self.text.chars().count() > 10 {
            format!("{:?}...", self.text.chars().take(10).collect::<String>())
        } else {
            format!("{:?}", self.text)
        };
        match &self.token {
            Token::Word(word) => {
                let small = word.to_ascii_lowercase();
                if matches!(small.as_str(), "and" | "or" | "unless" | "atan2") {
                    format!("<op:{small}>")
                } else if AggregateOp::from_word(&small).is_some() {
                    format!("<aggr:{small}>")
                } else if KEYWORDS.contains(&small.as_str()) {
                    format!("<{small}>")
                } else if word.contains(':') {
                    format!("metric identifier {word:?}")
                } else {
                    format!("identifier {word:?}")
                }
            }
            Token::Text(_) => format!("string {quoted}"),
            Token::Number(_) => format!("number {quoted}"),
            Token::Duration(_) => format!("duration {quoted}"),
            Token::Symbol(Symbol::Op(op)) => format!("<op:{}>", op.as_str()),
            Token::Symbol(Symbol::EqualRegex) => "<op:=~>".to_owned(),
            Token::Symbol(Symbol::NotRegex) => "<op:!~>".to_owned(),
            Token::Symbol(symbol) => format!("{:?}", symbol.as_str()),
            Token::End => "end of input".to_owned(),
            Token::Error(message) => message.clone(),
        }
    }
}

/// Words that mean something other than a metric when they stand alone.
pub(crate) fn is_reserved(word: &str) -> bool {
    let small = word.to_ascii_lowercase();
    matches!(small.as_str(), "inf" | "nan" | "and" | "or" | "unless" | "bool")
        || KEYWORDS.contains(&small.as_str())
        || AggregateOp::from_word(&small).is_some()
}

/// Splits a query into tokens; the last is `End` or `Error`.
pub(crate) fn tokens(text: &str) -> Vec<Spot> {
    let mut lexer = Lexer { cursor: Cursor::new(text), parens: 0, in_braces: false, in_bracket: false };
    let mut spots = Vec::new();
    let (mut line, mut line_start, mut seen) = (1, 0, 0);
    loop {
        lexer.cursor.skip_blank();
        let start = lexer.cursor.at();
        let (token, start) = match lexer.next() {
            Ok(token) => (token, start),
            Err(error) => (Token::Error(error.message), error.at),
        };
        let last = matches!(token, Token::End | Token::Error(_));
        // Counted along the way: from the beginning for every token would take quadratic time.
        for newline in memchr::memchr_iter(b'\n', text.as_bytes().get(seen..start).unwrap_or_default()) {
            (line, line_start) = (line + 1, seen + newline + 1);
        }
        seen = start.max(seen);
        let position = Position { line, column: (start + 1).saturating_sub(line_start) };
        let place = Place { start, end: lexer.cursor.at(), position };
        spots.push(Spot { token, place, text: lexer.cursor.since(start).to_owned() });
        if last {
            return spots;
        }
    }
}

struct Lexer<'a> {
    cursor: Cursor<'a>,
    parens: usize,
    in_braces: bool,
    in_bracket: bool,
}

fn is_word_start(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_'
}

impl Lexer<'_> {
    fn next(&mut self) -> Result<Token, LexError> {
        let at = self.cursor.at();
        let fail = |message: String| Err(LexError { at, message });
        let Some(c) = self.cursor.peek() else {
            return match (self.in_braces, self.parens > 0, self.in_bracket) {
                (true, _, _) => fail("unexpected end of input inside braces".to_owned()),
                (_, true, _) => fail("unclosed left parenthesis".to_owned()),
                (_, _, true) => fail("unclosed left bracket".to_owned()),
                (false, false, false) => Ok(Token::End),
            };
        };
        match c {
            '"' | '\'' | '`' => return self.cursor.string().map(Token::Text),
            '0'..='9' if !self.in_braces => return self.number(),
            '.' if !self.in_braces => return self.number(),
            ':' if !self.in_braces && !self.in_bracket => return Ok(self.word()),
            c if is_word_start(c) => return Ok(self.word()),
            _ => {}
        }
        self.cursor.bump();
        let symbol = match c {
            ',' => Symbol::Comma,
            '=' if self.cursor.eat("~") => Symbol::EqualRegex,
            '=' if !self.in_braces && self.cursor.eat("=") => Symbol::Op(BinaryOp::Equal),
            '=' => Symbol::Assign,
            '!' if self.cursor.eat("=") => Symbol::Op(BinaryOp::NotEqual),
            '!' if self.in_braces && self.cursor.eat("~") => Symbol::NotRegex,
            '!' => {
                let inside = if self.in_braces { " inside braces" } else { "" };
                return fail(match self.cursor.bump() {
                    Some(next) => format!("unexpected character after '!'{inside}: {next:?}"),
                    None => "unexpected end of input after '!'".to_owned(),
                });
            }
            '{' if self.in_braces => return fail("unexpected left brace '{'".to_owned()),
            '{' => {
                self.in_braces = true;
                Symbol::LeftBrace
            }
            '}' if !self.in_braces => return fail("unexpected right brace '}'".to_owned()),
            '}' => {
                self.in_braces = false;
                Symbol::RightBrace
            }
            c if self.in_braces => return fail(format!("unexpected character inside braces: {c:?}")),
            '(' => {
                self.parens += 1;
                Symbol::LeftParen
            }
            ')' if self.parens == 0 => return fail("unexpected right parenthesis ')'".to_owned()),
            ')' => {
                self.parens -= 1;
                Symbol::RightParen
            }
            '[' if self.in_bracket => return fail("unexpected left bracket '['".to_owned()),
            '[' => {
                self.in_bracket = true;
                Symbol::LeftBracket
            }
            ']' if !self.in_bracket => return fail("unexpected right bracket ']'".to_owned()),
            ']' => {
                self.in_bracket = false;
                Symbol::RightBracket
            }
            ':' => Symbol::Colon,
            '@' => Symbol::At,
            '+' => Symbol::Op(BinaryOp::Add),
            '-' => Symbol::Op(BinaryOp::Sub),
            '*' => Symbol::Op(BinaryOp::Mul),
            '/' => Symbol::Op(BinaryOp::Div),
            '%' => Symbol::Op(BinaryOp::Mod),
            '^' => Symbol::Op(BinaryOp::Pow),
            '>' if self.cursor.eat("=") => Symbol::Op(BinaryOp::GreaterEqual),
            '>' => Symbol::Op(BinaryOp::Greater),
            '<' if self.cursor.eat("=") => Symbol::Op(BinaryOp::LessEqual),
            '<' => Symbol::Op(BinaryOp::Less),
            c => return fail(format!("unexpected character: {c:?}")),
        };
        Ok(Token::Symbol(symbol))
    }

    fn word(&mut self) -> Token {
        let colons = !self.in_braces && !self.in_bracket;
        let word = self.cursor.take_while(|c| c.is_ascii_alphanumeric() || c == '_' || (colons && c == ':'));
        if !self.in_braces && (word.eq_ignore_ascii_case("inf") || word.eq_ignore_ascii_case("nan")) {
            return Token::Number(parse_number(word).unwrap_or(f64::NAN));
        }
        Token::Word(word.to_owned())
    }

    /// A number, or a duration when a unit follows its digits.
    fn number(&mut self) -> Result<Token, LexError> {
        let at = self.cursor.at();
        let is_hex = self.cursor.rest().starts_with("0x") || self.cursor.rest().starts_with("0X");
        let mut before = ' ';
        let text = self.cursor.take_while(|c| {
            let sign = matches!(c, '+' | '-') && matches!(before, 'e' | 'E') && !is_hex;
            before = c;
            c.is_ascii_alphanumeric() || c == '.' || c == '_' || sign
        });
        let bad = |message: String| LexError { at, message };
        let units = text.trim_start_matches(|c: char| c.is_ascii_digit());
        if units.starts_with(['y', 'w', 'd', 'h', 'm', 's']) {
            // `1e3` is no duration, `1d` is: no unit begins like an exponent.
            let duration =
                signal::parse_duration(text).map_err(|_| bad(format!("bad number or duration syntax: {text:?}")))?;
            return i64::try_from(duration.as_millis())
                .map(Token::Duration)
                .map_err(|_| bad("duration out of range".to_owned()));
        }
        let doubled = text.contains("__") || text.ends_with('_') || text.contains("_.") || text.contains("._");
        match parse_number(text) {
            Some(value) if !doubled => Ok(Token::Number(value)),
            _ => Err(bad(format!("bad number or duration syntax: {text:?}"))),
        }
    }
}
