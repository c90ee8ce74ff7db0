//! Query text into tokens. The first mistake becomes an [`Token::Error`] token, which ends the list.

use super::ast::{AggregateOp, BinaryOp, Place};
use crate::lex::{Cursor, LexError, Position, parse_number};

/// What a token is.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Token {
    /// Name of a metric, label or function, or a word the parser gives a meaning.
    Word(String),
    /// Name inside braces, where no word means anything else.
    Label(String),
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

const KEYWORDS: [&str; 13] = [
    "offset",
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "bool",
    "anchored",
    "smoothed",
    // These three only in front of a parenthesis.
    "fill",
    "fill_left",
    "fill_right",
];

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
            Token::Label(_)
            | Token::Text(_)
            | Token::Number(_)
            | Token::Duration(_)
            | Token::Symbol(_)
            | Token::End
            | Token::Error(_) => None,
        }
    }

    /// How upstream names the token in its messages.
    pub(crate) fn describe(&self) -> String {
        let quoted = if self.text.len() > 10 {
            format!("{:?}...", self.text.chars().take(10).collect::<String>())
        } else {
            format!("{:?}", self.text)
        };
        match &self.token {
            Token::Word(word) => {
                let small = word.to_ascii_lowercase();
                if matches!(small.as_str(), "and" | "or" | "unless" | "atan2") {
                    format!("<op:{word}>")
                } else if AggregateOp::from_word(&small).is_some() {
                    format!("<aggr:{word}>")
                } else if KEYWORDS.contains(&small.as_str()) {
                    format!("<{word}>")
                } else if matches!(small.as_str(), "start" | "end" | "step" | "range") {
                    quoted
                } else if word.contains(':') {
                    format!("metric identifier {word:?}")
                } else {
                    format!("identifier {word:?}")
                }
            }
            Token::Label(name) => format!("identifier {name:?}"),
            Token::Text(_) => format!("string {quoted}"),
            Token::Number(_) => format!("number {quoted}"),
            Token::Duration(_) => format!("duration {quoted}"),
            Token::Symbol(symbol @ (Symbol::Op(_) | Symbol::EqualRegex | Symbol::NotRegex | Symbol::At)) => {
                format!("<op:{}>", symbol.as_str())
            }
            Token::Symbol(symbol) => format!("{:?}", symbol.as_str()),
            Token::End => "end of input".to_owned(),
            Token::Error(message) => message.clone(),
        }
    }
}

/// Words that cannot be the name of a function.
pub(crate) fn is_reserved(word: &str) -> bool {
    let small = word.to_ascii_lowercase();
    matches!(small.as_str(), "inf" | "nan" | "and" | "or" | "unless" | "atan2" | "start" | "end" | "step" | "range")
        || KEYWORDS.contains(&small.as_str())
        || AggregateOp::from_word(&small).is_some()
}

/// Words that cannot be the name of a metric without quotes, wherever they stand.
pub(crate) fn is_never_metric(word: &str) -> bool {
    matches!(
        word.to_ascii_lowercase().as_str(),
        "inf" | "nan" | "atan2" | "bool" | "on" | "ignoring" | "group_left" | "group_right"
    )
}

/// Splits a query into tokens; the last is `End` or `Error`.
pub(crate) fn tokens(text: &str) -> Vec<Spot> {
    let mut lexer = Lexer { cursor: Cursor::new(text), parens: 0, in_braces: false, bracket: Bracket::Closed };
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

/// Where the lexer stands between square brackets.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Bracket {
    Closed,
    /// No number has come yet.
    Fresh,
    Range,
    /// Behind the colon.
    Step,
}

struct Lexer<'a> {
    cursor: Cursor<'a>,
    parens: usize,
    in_braces: bool,
    bracket: Bracket,
}

fn is_word_start(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_'
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// A character as Go quotes it.
fn quoted(c: char) -> String {
    match c {
        '\'' => "'\\''".to_owned(),
        '"' => "'\"'".to_owned(),
        c => format!("{c:?}"),
    }
}

impl Lexer<'_> {
    fn next(&mut self) -> Result<Token, LexError> {
        let at = self.cursor.at();
        let fail = |message: String| Err(LexError { at, message });
        let Some(c) = self.cursor.peek() else {
            return match (self.in_braces, self.bracket, self.parens > 0) {
                (true, _, _) => fail("unexpected end of input inside braces".to_owned()),
                (_, Bracket::Fresh, _) => fail("unexpected end of input in duration expression".to_owned()),
                (_, _, true) => fail("unclosed left parenthesis".to_owned()),
                (_, Bracket::Range | Bracket::Step, _) => fail("unclosed left bracket".to_owned()),
                (false, Bracket::Closed, false) => Ok(Token::End),
            };
        };
        if self.in_braces {
            return self.in_braces(c);
        }
        let digit_follows = || self.cursor.rest().chars().nth(1).is_some_and(|next| next.is_ascii_digit());
        if c.is_ascii_digit() || (c == '.' && digit_follows()) {
            if self.bracket == Bracket::Fresh {
                self.bracket = Bracket::Range;
            }
            return self.number();
        }
        match c {
            '(' | ')' | '+' | '-' | '*' | '/' | '%' | '^' | ',' | ']' | ':' => {}
            c if is_word_start(c) && self.bracket != Bracket::Closed => return self.bracket_word(c),
            c if self.bracket == Bracket::Fresh => {
                return fail(format!("unexpected character in duration expression: {}", quoted(c)));
            }
            c if is_word_start(c) => return Ok(self.word()),
            '"' | '\'' | '`' => return self.text(),
            _ => {}
        }
        if c == ':' && self.bracket == Bracket::Closed {
            return Ok(self.word());
        }
        self.symbol(c).map(Token::Symbol)
    }

    fn symbol(&mut self, c: char) -> Result<Symbol, LexError> {
        let at = self.cursor.at();
        let fail = |at: usize, message: String| Err(LexError { at, message });
        self.cursor.bump();
        let symbol = match c {
            ',' => Symbol::Comma,
            '=' if self.cursor.peek() == Some('~') => {
                return fail(at, "unexpected character after '=': '~'".to_owned());
            }
            '=' if self.cursor.eat("=") => Symbol::Op(BinaryOp::Equal),
            '=' => Symbol::Assign,
            '!' if self.cursor.eat("=") => Symbol::Op(BinaryOp::NotEqual),
            '!' => {
                // Upstream has no character at the end of the text either, and prints that as U+FFFD.
                let next = self.cursor.bump().unwrap_or(char::REPLACEMENT_CHARACTER);
                return fail(at, format!("unexpected character after '!': {}", quoted(next)));
            }
            '{' => {
                self.in_braces = true;
                Symbol::LeftBrace
            }
            '(' => {
                self.parens += 1;
                Symbol::LeftParen
            }
            ')' if self.parens == 0 => return fail(at + 1, "unexpected right parenthesis ')'".to_owned()),
            ')' => {
                self.parens -= 1;
                Symbol::RightParen
            }
            '[' if self.bracket != Bracket::Closed => return fail(at, "unexpected left bracket '['".to_owned()),
            '[' => {
                self.bracket = Bracket::Fresh;
                Symbol::LeftBracket
            }
            ']' if self.bracket == Bracket::Closed => return fail(at, "unexpected right bracket ']'".to_owned()),
            ']' => {
                self.bracket = Bracket::Closed;
                Symbol::RightBracket
            }
            ':' => match self.bracket {
                Bracket::Fresh => {
                    let message = "unexpected colon before duration in duration expression";
                    return fail(at + 1, message.to_owned());
                }
                Bracket::Step => return fail(at, "unexpected colon ':'".to_owned()),
                Bracket::Range | Bracket::Closed => {
                    self.bracket = Bracket::Step;
                    Symbol::Colon
                }
            },
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
            c => return fail(at, format!("unexpected character: {}", quoted(c))),
        };
        Ok(symbol)
    }

    fn in_braces(&mut self, c: char) -> Result<Token, LexError> {
        let at = self.cursor.at();
        let fail = |message: String| Err(LexError { at, message });
        match c {
            '"' | '\'' | '`' => return self.text(),
            c if is_word_start(c) => return Ok(Token::Label(self.cursor.take_while(is_word).to_owned())),
            _ => {}
        }
        self.cursor.bump();
        Ok(Token::Symbol(match c {
            ',' => Symbol::Comma,
            '=' if self.cursor.eat("~") => Symbol::EqualRegex,
            '=' => Symbol::Assign,
            '!' if self.cursor.eat("=") => Symbol::Op(BinaryOp::NotEqual),
            '!' if self.cursor.eat("~") => Symbol::NotRegex,
            '!' => {
                let next = self.cursor.bump().unwrap_or(char::REPLACEMENT_CHARACTER);
                return fail(format!("unexpected character after '!' inside braces: {}", quoted(next)));
            }
            '}' => {
                self.in_braces = false;
                Symbol::RightBrace
            }
            '{' => return fail("unexpected left brace '{'".to_owned()),
            c => return fail(format!("unexpected character inside braces: {}", quoted(c))),
        }))
    }

    /// Whatever is wrong inside a text is told of its beginning.
    fn text(&mut self) -> Result<Token, LexError> {
        let at = self.cursor.at();
        self.cursor.string().map(Token::Text).map_err(|error| LexError { at, ..error })
    }

    fn word(&mut self) -> Token {
        let word = self.cursor.take_while(|c| is_word(c) || c == ':');
        if word.eq_ignore_ascii_case("inf") || word.eq_ignore_ascii_case("nan") {
            return Token::Number(parse_number(word).unwrap_or(f64::NAN));
        }
        Token::Word(word.to_owned())
    }

    /// Between brackets only few words mean anything.
    fn bracket_word(&mut self, c: char) -> Result<Token, LexError> {
        let at = self.cursor.at();
        let word = self.cursor.take_while(is_word);
        match word.to_ascii_lowercase().as_str() {
            "step" | "range" | "min" | "max" | "min_of" | "max_of" => {
                if self.bracket == Bracket::Fresh {
                    self.bracket = Bracket::Range;
                }
                Ok(Token::Word(word.to_owned()))
            }
            _ => {
                let message = if self.bracket == Bracket::Fresh {
                    format!("unexpected character in duration expression: {}", quoted(c))
                } else {
                    format!("unexpected character: {}, expected ':'", quoted(c))
                };
                Err(LexError { at, message })
            }
        }
    }

    /// A number, or a duration when a unit follows its digits.
    fn number(&mut self) -> Result<Token, LexError> {
        let at = self.cursor.at();
        if self.scan_number() {
            let text = self.cursor.since(at);
            return literal(text).map(Token::Number).map_err(|message| LexError { at, message });
        }
        if self.scan_duration() {
            let text = self.cursor.since(at);
            return duration(text).map(Token::Duration).map_err(|message| LexError { at, message });
        }
        Err(LexError { at, message: format!("bad number or duration syntax: {:?}", self.cursor.since(at)) })
    }

    fn accept(&mut self, wanted: &str) -> bool {
        let found = self.cursor.peek().is_some_and(|c| wanted.contains(c));
        if found {
            self.cursor.bump();
        }
        found
    }

    /// Walks over what may be a number; false, as far as it came, when it is none.
    fn scan_number(&mut self) -> bool {
        const DECIMAL: &str = "0123456789";
        const HEX: &str = "0123456789abcdefABCDEF";
        let mut digits = DECIMAL;
        if self.accept("0") && self.accept("xX") {
            self.accept("_");
            digits = HEX;
        }
        self.accept(".");
        self.accept(digits);
        let (mut dotted, mut has_exponent) = (false, false);
        while let Some(c) = self.cursor.peek() {
            let is_exponent = matches!(c, 'e' | 'E') && digits == DECIMAL;
            if c == '.' {
                self.cursor.bump();
                if dotted || self.accept("_.") || digits == HEX {
                    return false;
                }
                dotted = true;
            } else if is_exponent {
                self.cursor.bump();
                if has_exponent {
                    return false;
                }
                has_exponent = true;
                self.accept("+-");
                if self.accept("._eE") || self.cursor.peek().is_none() {
                    return false;
                }
            } else if c == '_' {
                self.cursor.bump();
                if self.accept("._eE") || self.cursor.peek().is_none() {
                    return false;
                }
            } else if digits.contains(c) {
                self.cursor.bump();
            } else {
                break;
            }
        }
        !self.cursor.peek().is_some_and(is_word)
    }

    /// Walks over the rest of what may be a duration; its first digits are read.
    fn scan_duration(&mut self) -> bool {
        if !self.accept("smhdwy") {
            return false;
        }
        self.accept("s");
        while self.accept("0123456789") {
            self.cursor.take_while(|c| c.is_ascii_digit());
            if !self.accept("smhdw") {
                return false;
            }
            self.accept("s");
        }
        let ends = !self.cursor.peek().is_some_and(is_word);
        if !ends {
            self.cursor.bump();
        }
        ends
    }
}

/// The value of a number literal, which may be octal as in Go.
fn literal(text: &str) -> Result<f64, String> {
    let plain: String = text.chars().filter(|c| *c != '_').collect();
    if plain.len() > 1
        && plain.starts_with('0')
        && plain.bytes().all(|b| matches!(b, b'0'..=b'7'))
        && let Ok(octal) = i64::from_str_radix(&plain, 8)
    {
        return Ok(octal as f64);
    }
    match parse_number(&plain) {
        Some(value) if value.is_finite() => Ok(value),
        found => {
            let why = if found.is_some() { "value out of range" } else { "invalid syntax" };
            Err(format!("error parsing number: strconv.ParseFloat: parsing {text:?}: {why}"))
        }
    }
}

/// Milliseconds of a duration literal: units from large to small, each once.
fn duration(text: &str) -> Result<i64, String> {
    const UNITS: [(&str, u64); 7] = [
        ("y", 31_536_000_000),
        ("w", 604_800_000),
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1_000),
        ("ms", 1),
    ];
    // As far as Prometheus goes: a duration is nanoseconds in 64 bits.
    const MAX_MS: u64 = 9_223_372_036_854;
    let invalid = || format!("not a valid duration string: {text:?}");
    let (mut total, mut rest, mut allowed) = (0_u64, text, UNITS.as_slice());
    while !rest.is_empty() {
        let (number, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len()));
        let (unit, next) = after.split_at(after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len()));
        let count: u64 = number.parse().map_err(|_| invalid())?;
        let Some((_, length)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(format!("unknown unit {unit:?} in duration {text:?}"));
        };
        let at = allowed.iter().position(|(name, _)| *name == unit).ok_or_else(invalid)?;
        allowed = allowed.get(at + 1..).unwrap_or_default();
        total = count
            .checked_mul(*length)
            .and_then(|ms| total.checked_add(ms))
            .filter(|total| *total <= MAX_MS)
            .ok_or_else(|| "duration out of range".to_owned())?;
        rest = next;
    }
    i64::try_from(total).map_err(|_| invalid())
}
