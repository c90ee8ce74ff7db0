//! LogQL text to [`Expr`], by hand, with Loki's wording of errors.

mod metric;
mod pipeline;

use std::fmt;

use signal::{MatchOp, Matcher};

use super::ast::{AggregateOp, Expr, LogExpr, RangeOp};
use super::lexer::{Placed, Token, lex};

/// How deep parentheses, functions and operators may nest.
const MAX_DEPTH: usize = 200;
/// How long a query may be, in bytes.
const MAX_LENGTH: usize = 131_072;

/// Why a text is not a LogQL query.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ParseError {
    /// Line and column, counted from one, where the text itself is malformed; `None` when its meaning is. Loki gives
    /// line zero to what it finds about a `[range]`.
    pub place: Option<(usize, usize)>,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Some((line, column)) => write!(f, "parse error at line {line}, col {column}: {}", self.message),
            None => write!(f, "parse error : {}", self.message),
        }
    }
}

impl std::error::Error for ParseError {}

/// Reads a query.
///
/// # Errors
/// [`ParseError`], worded as Loki does; also for texts above 128 KiB and for nesting deeper than 200 levels.
pub fn parse(text: &str) -> Result<Expr, ParseError> {
    let mut parser = Parser::new(text)?;
    let expr = parser.expr(0)?;
    parser.end()?;
    Ok(expr)
}

/// Reads a stream selector alone, such as the `match[]` of a series request.
///
/// # Errors
/// As [`parse`].
pub fn parse_selector(text: &str) -> Result<Vec<Matcher>, ParseError> {
    let mut parser = Parser::new(text)?;
    let matchers = parser.selector()?;
    parser.end()?;
    Ok(matchers)
}

/// Words that never name a label.
const RESERVED: [&str; 22] = [
    "by",
    "without",
    "bool",
    "offset",
    "unwrap",
    "json",
    "regexp",
    "logfmt",
    "unpack",
    "pattern",
    "line_format",
    "label_format",
    "drop",
    "keep",
    "decolorize",
    "ignoring",
    "on",
    "group_left",
    "group_right",
    "and",
    "or",
    "unless",
];

fn is_reserved(word: &str) -> bool {
    RESERVED.iter().any(|reserved| reserved.eq_ignore_ascii_case(word))
}

pub(super) struct Parser {
    tokens: Vec<Placed>,
    at: usize,
    depth: usize,
}

pub(super) fn meaning(message: impl Into<String>) -> ParseError {
    ParseError { place: None, message: message.into() }
}

impl Parser {
    fn new(text: &str) -> Result<Self, ParseError> {
        if text.len() > MAX_LENGTH {
            return Err(meaning(format!("query too long: {} > {MAX_LENGTH}", text.len())));
        }
        Ok(Self { tokens: lex(text), at: 0, depth: 0 })
    }

    fn peek(&self) -> &Token {
        self.tokens.get(self.at).map_or(&Token::End, |placed| &placed.token)
    }

    fn peek_after(&self, distance: usize) -> &Token {
        self.tokens.get(self.at + distance).map_or(&Token::End, |placed| &placed.token)
    }

    fn bump(&mut self) {
        self.at += 1;
    }

    fn is_op(&self, op: &str) -> bool {
        matches!(self.peek(), Token::Op(found) if *found == op)
    }

    fn eat(&mut self, op: &str) -> bool {
        let found = self.is_op(op);
        if found {
            self.bump();
        }
        found
    }

    fn expect(&mut self, op: &str) -> Result<(), ParseError> {
        if self.eat(op) { Ok(()) } else { Err(self.unexpected(op)) }
    }

    fn is_word(&self, word: &str) -> bool {
        matches!(self.peek(), Token::Ident(found) if found.eq_ignore_ascii_case(word))
    }

    fn eat_word(&mut self, word: &str) -> bool {
        let found = self.is_word(word);
        if found {
            self.bump();
        }
        found
    }

    /// Whether the next token can name a label.
    fn is_label(&self) -> bool {
        matches!(self.peek(), Token::Ident(word) if !is_reserved(word))
    }

    fn label(&mut self, expecting: &str) -> Result<String, ParseError> {
        match self.peek() {
            Token::Ident(word) if !is_reserved(word) => {
                let word = word.clone();
                self.bump();
                Ok(word)
            }
            _ => Err(self.unexpected(expecting)),
        }
    }

    fn string(&mut self, expecting: &str) -> Result<String, ParseError> {
        match self.peek() {
            Token::Str(text) => {
                let text = text.clone();
                self.bump();
                Ok(text)
            }
            _ => Err(self.unexpected(expecting)),
        }
    }

    /// Whether `by (` or `without (` follows the next token.
    fn groups_next(&self) -> bool {
        let word = matches!(self.peek_after(1), Token::Ident(word)
            if word.eq_ignore_ascii_case("by") || word.eq_ignore_ascii_case("without"));
        word && matches!(self.peek_after(2), Token::Op("("))
    }

    fn end(&mut self) -> Result<(), ParseError> {
        if *self.peek() == Token::End { Ok(()) } else { Err(self.unexpected("")) }
    }

    /// Runs `parse` one level deeper.
    fn nested<T>(&mut self, parse: impl FnOnce(&mut Self) -> Result<T, ParseError>) -> Result<T, ParseError> {
        if self.depth >= MAX_DEPTH {
            return Err(meaning(format!("query is nested deeper than {MAX_DEPTH} levels")));
        }
        self.depth += 1;
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }

    /// The error for the next token; `expecting` may be empty.
    fn unexpected(&self, expecting: &str) -> ParseError {
        let end = Placed { token: Token::End, line: 1, column: 1 };
        let placed = self.tokens.get(self.at).or(self.tokens.last()).unwrap_or(&end);
        let place = Some((placed.line, placed.column));
        let found = match &placed.token {
            Token::Broken(reason) => return ParseError { place, message: reason.clone() },
            Token::Ident(word) if is_reserved(word) => word.to_lowercase(),
            Token::Ident(word) => {
                let called = matches!(self.peek_after(1), Token::Op("(")) || self.groups_next();
                let lower = word.to_lowercase();
                let function = RangeOp::from_word(&lower).is_some()
                    || AggregateOp::from_word(&lower).is_some()
                    || matches!(lower.as_str(), "label_replace" | "vector");
                match (function && called, word == "ip" && called) {
                    (true, _) => word.to_uppercase(),
                    (_, true) => word.clone(),
                    _ => "IDENTIFIER".to_owned(),
                }
            }
            Token::Str(_) => "STRING".to_owned(),
            Token::Number(_) => "NUMBER".to_owned(),
            Token::Duration(_) => "DURATION".to_owned(),
            Token::Bytes(_) => "BYTES".to_owned(),
            Token::Range(_) => "RANGE".to_owned(),
            Token::Flag(_) => "PARSER_FLAG".to_owned(),
            Token::Op(op) => (*op).to_owned(),
            Token::Other => "IDENTIFIER".to_owned(),
            Token::End => "$end".to_owned(),
        };
        let expecting = if expecting.is_empty() { String::new() } else { format!(", expecting {expecting}") };
        ParseError { place, message: format!("syntax error: unexpected {found}{expecting}") }
    }

    /// `{a="b", c=~"d"}`.
    fn selector(&mut self) -> Result<Vec<Matcher>, ParseError> {
        self.expect("{")?;
        let mut matchers = Vec::new();
        while !self.eat("}") {
            if !matchers.is_empty() && !self.eat(",") {
                return Err(self.unexpected("} or ,"));
            }
            let name = self.label(if matchers.is_empty() { "IDENTIFIER or }" } else { "IDENTIFIER" })?;
            let op = match self.peek() {
                Token::Op("=") => MatchOp::Equal,
                Token::Op("!=") => MatchOp::NotEqual,
                Token::Op("=~") => MatchOp::Regex,
                Token::Op("!~") => MatchOp::NotRegex,
                _ => return Err(self.unexpected("= or =~ or !~ or !=")),
            };
            self.bump();
            let value = self.string("STRING")?;
            matchers.push(matcher(&name, op, &value)?);
        }
        if matchers.iter().all(Matcher::matches_empty) {
            return Err(meaning(
                "queries require at least one regexp or equality matcher that does not have an empty-compatible value. \
                 For instance, app=~\".*\" does not meet this requirement, but app=~\".+\" will",
            ));
        }
        Ok(matchers)
    }

    fn log(&mut self) -> Result<LogExpr, ParseError> {
        let matchers = self.selector()?;
        let mut stages = Vec::new();
        while self.at_stage() {
            stages.push(self.stage()?);
        }
        Ok(LogExpr { matchers, stages })
    }
}

pub(super) fn matcher(name: &str, op: MatchOp, value: &str) -> Result<Matcher, ParseError> {
    if matches!(op, MatchOp::Regex | MatchOp::NotRegex) {
        signal::go_regex::compile(value).map_err(meaning)?;
    }
    Matcher::new(name, op, value).map_err(|error| meaning(error.to_string()))
}
