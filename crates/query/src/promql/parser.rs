//! Tokens into an expression: recursive descent with precedence climbing, in the words of upstream's errors.

use signal::{Labels, Matcher};

use super::ast::{
    Aggregate, AggregateOp, Binary, BinaryOp, Call, Cardinality, Expr, Fill, Matching, Number, Place, Text, Unary,
};
use super::features::{Features, is_experimental};
use super::token::{Spot, Symbol, Token, is_never_metric, is_reserved, tokens};
use super::{check, functions};
use crate::lex::{Cursor, Position, quote_bytes};

mod durations;
mod selector;

/// How deep expressions may nest in the text, and how high their tree may grow (`a + b + c` nests once but is a tree of
/// three levels). More could exhaust a thread's stack, here or in evaluation.
const MAX_DEPTH: usize = 100;
const MAX_HEIGHT: usize = 200;

/// A text that is not PromQL.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ParseError {
    /// Where the mistake begins; `None` when there is no query at all.
    pub position: Option<Position>,
    /// What is wrong, in upstream's words.
    pub message: String,
}

impl std::fmt::Display for ParseError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.position {
            Some(position) => write!(f, "{position}: parse error: {}", self.message),
            None => write!(f, "unknown position: parse error: {}", self.message),
        }
    }
}

impl std::error::Error for ParseError {}

/// A mistake before its byte position is turned into line and column.
#[derive(Debug)]
pub(crate) struct Mistake {
    pub(crate) at: usize,
    pub(crate) message: String,
}

impl Mistake {
    pub(crate) fn new(at: usize, message: impl Into<String>) -> Self {
        Self { at, message: message.into() }
    }

    fn locate(self, text: &str) -> ParseError {
        ParseError { position: Some(Position::of(text, self.at)), message: self.message }
    }
}

/// Reads a query with all of the language, experiments included, and checks its types.
///
/// # Errors
/// `ParseError` for anything Prometheus 3 would refuse, and for nesting deeper than 100.
pub fn parse(text: &str) -> Result<Expr, ParseError> {
    parse_with(text, Features::ALL)
}

/// Reads a query with as much of the language as `features` allow, and checks its types.
///
/// # Errors
/// `ParseError` as for [`parse`], and for syntax that is not allowed.
pub fn parse_with(text: &str, features: Features) -> Result<Expr, ParseError> {
    let mut parser = Parser { spots: tokens(text), at: 0, depth: 0, aggregations: 0, features };
    if matches!(parser.peek().token, Token::End) {
        return Err(ParseError { position: None, message: "no expression found in input".to_owned() });
    }
    parser.whole().map_err(|mistake| mistake.locate(text))
}

/// Reads a series selector such as the `match[]` parameter holds: no range, no `offset`, no `@`.
///
/// # Errors
/// `ParseError` when it is not one, or matches every series there is.
pub fn parse_selector(text: &str) -> Result<Vec<Matcher>, ParseError> {
    let mut parser = Parser { spots: tokens(text), at: 0, depth: 0, aggregations: 0, features: Features::ALL };
    parser.only_selector().map(|selector| selector.matchers).map_err(|mistake| mistake.locate(text))
}

/// An expression and the height of its tree.
type Parsed = (Expr, usize);

struct Parser {
    spots: Vec<Spot>,
    at: usize,
    depth: usize,
    /// Aggregations whose arguments are being read: upstream says so in what is unexpected there.
    aggregations: usize,
    features: Features,
}

impl Parser {
    fn whole(&mut self) -> Result<Expr, Mistake> {
        let (mut expr, _) = self.expr(0)?;
        if !matches!(self.peek().token, Token::End) {
            return Err(self.unexpected("", ""));
        }
        check::check(&mut expr)?;
        Ok(expr)
    }

    fn peek(&self) -> &Spot {
        self.look(0)
    }

    fn look(&self, ahead: usize) -> &Spot {
        static NOTHING: Spot = Spot { token: Token::End, place: Place::NOWHERE, text: String::new() };
        self.spots.get(self.at + ahead).or(self.spots.last()).unwrap_or(&NOTHING)
    }

    fn is(&self, symbol: Symbol) -> bool {
        self.peek().token == Token::Symbol(symbol)
    }

    fn eat(&mut self, symbol: Symbol) -> bool {
        let found = self.is(symbol);
        if found {
            self.at += 1;
        }
        found
    }

    fn is_keyword(&self, word: &str) -> bool {
        self.peek().keyword().is_some_and(|keyword| keyword == word)
    }

    fn eat_keyword(&mut self, word: &str) -> bool {
        let found = self.is_keyword(word);
        if found {
            self.at += 1;
        }
        found
    }

    fn end_of_last(&self) -> usize {
        self.at.checked_sub(1).and_then(|at| self.spots.get(at)).map_or(0, |spot| spot.place.end)
    }

    /// From the first token of something to the last one read.
    fn from(&self, first: Place) -> Place {
        Place { end: self.end_of_last(), ..first }
    }

    fn unexpected(&self, context: &str, expected: &str) -> Mistake {
        let spot = self.peek();
        if let Token::Error(message) = &spot.token {
            return Mistake::new(spot.place.start, message.clone());
        }
        let mut message = format!("unexpected {}", spot.describe());
        let context = if context.is_empty() && self.aggregations > 0 { "aggregation" } else { context };
        if !context.is_empty() {
            message.push_str(" in ");
            message.push_str(context);
        }
        if !expected.is_empty() {
            message.push_str(", expected ");
            message.push_str(expected);
        }
        Mistake::new(spot.place.start, message)
    }

    fn expect(&mut self, symbol: Symbol, context: &str, expected: &str) -> Result<(), Mistake> {
        if self.eat(symbol) { Ok(()) } else { Err(self.unexpected(context, expected)) }
    }

    fn check_height(&self, height: usize, at: usize) -> Result<usize, Mistake> {
        if self.depth > MAX_DEPTH {
            return Err(Mistake::new(at, format!("expression nests deeper than {MAX_DEPTH} levels")));
        }
        if height > MAX_HEIGHT {
            return Err(Mistake::new(at, format!("expression chains more than {MAX_HEIGHT} operations")));
        }
        Ok(height)
    }

    /// Reads an expression whose operators bind at least as tight as `minimum`.
    fn expr(&mut self, minimum: u8) -> Result<Parsed, Mistake> {
        self.depth += 1;
        self.check_height(0, self.peek().place.start)?;
        let (mut left, mut height) = self.unary()?;
        while let Some(op) = self.operator() {
            if op.precedence() < minimum {
                break;
            }
            let at = self.peek().place;
            self.at += 1;
            let returns_bool = self.eat_keyword("bool");
            let matching = Some(self.matching(op)?);
            let next = if op == BinaryOp::Pow { op.precedence() } else { op.precedence() + 1 };
            let (right, right_height) = self.expr(next)?;
            let place = Place { end: right.place().end, ..left.place() };
            height = self.check_height(1 + height.max(right_height), place.start)?;
            let (left_box, right) = (Box::new(left), Box::new(right));
            left = Expr::Binary(Binary { op, left: left_box, right, returns_bool, matching, place, at });
        }
        self.depth -= 1;
        Ok((left, height))
    }

    fn operator(&self) -> Option<BinaryOp> {
        match &self.peek().token {
            Token::Symbol(Symbol::Op(op)) => Some(*op),
            Token::Word(word) => match word.to_ascii_lowercase().as_str() {
                "and" => Some(BinaryOp::And),
                "or" => Some(BinaryOp::Or),
                "unless" => Some(BinaryOp::Unless),
                "atan2" => Some(BinaryOp::Atan2),
                _ => None,
            },
            Token::Label(_) | Token::Text(_) | Token::Number(_) | Token::Duration(_) => None,
            Token::Symbol(_) | Token::End | Token::Error(_) => None,
        }
    }

    fn matching(&mut self, op: BinaryOp) -> Result<Matching, Mistake> {
        let cardinality = if op.is_set() { Cardinality::ManyToMany } else { Cardinality::OneToOne };
        let (labels, include, fill) = (Vec::new(), Vec::new(), Fill::default());
        let mut matching = Matching { cardinality, labels, on: false, include, fill };
        matching.on = self.eat_keyword("on");
        if matching.on || self.eat_keyword("ignoring") {
            matching.labels = self.label_list()?;
            let left = self.eat_keyword("group_left");
            if left || self.eat_keyword("group_right") {
                matching.cardinality = if left { Cardinality::ManyToOne } else { Cardinality::OneToMany };
                if self.is(Symbol::LeftParen) {
                    matching.include = self.label_list()?;
                }
            }
        }
        self.fill(&mut matching.fill)?;
        Ok(matching)
    }

    /// Reads `fill(0)`, or `fill_left(0) fill_right(1)` in any order. Without a parenthesis these are metrics.
    fn fill(&mut self, fill: &mut Fill) -> Result<(), Mistake> {
        loop {
            let spot = self.peek().clone();
            let Some(word) = spot.keyword().filter(|_| self.look(1).token == Token::Symbol(Symbol::LeftParen)) else {
                return Ok(());
            };
            let sides = match word.as_str() {
                "fill" => [true, true],
                "fill_left" => [true, false],
                "fill_right" => [false, true],
                _ => return Ok(()),
            };
            if !self.features.fill_modifiers {
                let message = "binop fill modifiers are experimental and not enabled";
                return Err(Mistake::new(spot.place.start, message));
            }
            self.at += 2;
            let negative = self.eat(Symbol::Op(BinaryOp::Sub));
            if !negative {
                self.eat(Symbol::Op(BinaryOp::Add));
            }
            let Some(value) = self.number_literal() else {
                return Err(self.unexpected("", ""));
            };
            let value = if negative { -value } else { value };
            self.expect(Symbol::RightParen, "", "")?;
            for (side, wanted) in [&mut fill.left, &mut fill.right].into_iter().zip(sides) {
                if wanted && side.replace(value).is_some() {
                    return Err(Mistake::new(spot.place.start, format!("{word} may not be set multiple times")));
                }
            }
        }
    }

    /// Reads a number or a duration, in seconds, if one comes next.
    fn number_literal(&mut self) -> Option<f64> {
        let value = match self.peek().token {
            Token::Number(value) => value,
            Token::Duration(ms) => ms as f64 / 1000.0,
            Token::Word(_) | Token::Label(_) | Token::Text(_) | Token::Symbol(_) => return None,
            Token::End | Token::Error(_) => return None,
        };
        self.at += 1;
        Some(value)
    }

    fn label_list(&mut self) -> Result<Vec<String>, Mistake> {
        self.expect(Symbol::LeftParen, "grouping opts", "\"(\"")?;
        let mut names = Vec::new();
        loop {
            if self.eat(Symbol::RightParen) {
                return Ok(names);
            }
            match self.peek().token.clone() {
                Token::Word(name) => names.push(name),
                Token::Text(name) if name.is_empty() => {
                    let message = format!("invalid label name for grouping: {name:?}");
                    return Err(Mistake::new(self.peek().place.start, message));
                }
                Token::Text(name) => names.push(name),
                // `inf` and `nan` are numbers elsewhere, but fine label names.
                Token::Number(_) if self.peek().text.starts_with(|c: char| c.is_ascii_alphabetic()) => {
                    names.push(self.peek().text.clone());
                }
                _ => return Err(self.unexpected("grouping opts", "label")),
            }
            self.at += 1;
            if !self.is(Symbol::RightParen) {
                self.expect(Symbol::Comma, "grouping opts", "\",\" or \")\"")?;
            }
        }
    }

    fn unary(&mut self) -> Result<Parsed, Mistake> {
        let first = self.peek().place;
        let negative = self.is(Symbol::Op(BinaryOp::Sub));
        if !negative && !self.is(Symbol::Op(BinaryOp::Add)) {
            let primary = self.primary()?;
            return self.postfix(primary);
        }
        self.at += 1;
        let (operand, height) = self.expr(BinaryOp::Pow.precedence())?;
        let place = self.from(first);
        if let Expr::Number(number) = operand {
            let value = if negative { -number.value } else { number.value };
            return Ok((Expr::Number(Number { value, place, ..number }), height));
        }
        Ok((
            Expr::Unary(Unary { negative, expr: Box::new(operand), place }),
            self.check_height(height + 1, first.start)?,
        ))
    }

    fn primary(&mut self) -> Result<Parsed, Mistake> {
        let spot = self.peek().clone();
        let place = spot.place;
        match spot.token {
            Token::Number(value) => {
                self.at += 1;
                Ok((Expr::Number(Number { value, is_duration: false, place }), 1))
            }
            Token::Duration(ms) => {
                self.at += 1;
                Ok((Expr::Number(Number { value: ms as f64 / 1000.0, is_duration: true, place }), 1))
            }
            Token::Text(value) => {
                self.at += 1;
                let bytes = Cursor::new(&spot.text).string_bytes().unwrap_or_else(|_| value.clone().into_bytes());
                Ok((Expr::Text(Text { value, quoted: quote_bytes(&bytes), place }), 1))
            }
            Token::Symbol(Symbol::LeftParen) => {
                self.at += 1;
                let (inner, height) = self.expr(0)?;
                self.expect(Symbol::RightParen, "", "")?;
                let height = self.check_height(height + 1, place.start)?;
                Ok((Expr::Paren(Box::new(inner), self.from(place)), height))
            }
            Token::Symbol(Symbol::LeftBrace) => Ok((Expr::Selector(self.selector(None)?), 1)),
            Token::Word(word) => self.word(&word, place),
            Token::Label(_) | Token::Symbol(_) | Token::End | Token::Error(_) => Err(self.unexpected("", "")),
        }
    }

    /// A word is an aggregation, a function or a metric; what follows tells which.
    fn word(&mut self, word: &str, place: Place) -> Result<Parsed, Mistake> {
        let small = word.to_ascii_lowercase();
        let next = self.look(1);
        let opens = next.token == Token::Symbol(Symbol::LeftParen);
        let grouped = matches!(next.keyword().as_deref(), Some("by" | "without"));
        if let Some(op) = AggregateOp::from_word(&small)
            && (opens || grouped)
        {
            self.at += 1;
            return self.aggregate(op, place);
        }
        if opens && !is_reserved(word) && !word.contains(':') {
            self.at += 1;
            let (args, height) = self.arguments()?;
            let function = functions::find(word)
                .ok_or_else(|| Mistake::new(place.start, format!("unknown function with name {word:?}")))?;
            if is_experimental(function.name) && !self.features.experimental_functions {
                return Err(Mistake::new(place.start, format!("function {word:?} is not enabled")));
            }
            let call = Call { function, args, place: self.from(place) };
            return Ok((Expr::Call(call), self.check_height(height + 1, place.start)?));
        }
        if is_never_metric(word) {
            return Err(self.unexpected("", ""));
        }
        self.at += 1;
        Ok((Expr::Selector(self.selector(Some((word.to_owned(), place)))?), 1))
    }

    fn arguments(&mut self) -> Result<(Vec<Expr>, usize), Mistake> {
        self.expect(Symbol::LeftParen, "", "")?;
        let (mut args, mut height) = (Vec::new(), 0);
        if self.eat(Symbol::RightParen) {
            return Ok((args, height));
        }
        loop {
            let (arg, arg_height) = self.expr(0)?;
            args.push(arg);
            height = height.max(arg_height);
            if self.eat(Symbol::RightParen) {
                return Ok((args, height));
            }
            let comma = self.peek().place.start;
            self.expect(Symbol::Comma, "", "")?;
            if !self.begins_expression() {
                return Err(Mistake::new(comma, "trailing commas not allowed in function call args"));
            }
        }
    }

    /// Whether an expression can begin with the next token; a broken token is left for whoever reads it.
    fn begins_expression(&self) -> bool {
        match &self.peek().token {
            Token::Word(word) => !is_never_metric(word),
            Token::Text(_) | Token::Number(_) | Token::Duration(_) | Token::Error(_) => true,
            Token::Symbol(symbol) => {
                matches!(symbol, Symbol::LeftParen | Symbol::LeftBrace | Symbol::Op(BinaryOp::Add | BinaryOp::Sub))
            }
            Token::Label(_) | Token::End => false,
        }
    }

    fn grouping(&mut self) -> Result<Option<(bool, Vec<String>)>, Mistake> {
        let without = self.eat_keyword("without");
        if without || self.eat_keyword("by") {
            return Ok(Some((without, self.label_list()?)));
        }
        Ok(None)
    }

    fn aggregate(&mut self, op: AggregateOp, first: Place) -> Result<Parsed, Mistake> {
        self.aggregations += 1;
        let before = self.grouping()?;
        let (mut args, height) = self.arguments()?;
        let grouping = match before {
            Some(grouping) => Some(grouping),
            None => self.grouping()?,
        };
        self.aggregations -= 1;
        let (without, grouping) = grouping.unwrap_or_default();
        let (start, place) = (first.start, self.from(first));
        if args.is_empty() {
            return Err(Mistake::new(start, "no arguments for aggregate expression provided"));
        }
        if is_experimental(op.as_str()) && !self.features.experimental_functions {
            let how = "is experimental and must be enabled with --enable-feature=promql-experimental-functions";
            return Err(Mistake::new(start, format!("{}() {how}", op.as_str())));
        }
        let wanted = 1 + usize::from(op.parameter().is_some());
        let got = args.len();
        let (Some(expr), true) = (args.pop(), got == wanted) else {
            let what = "wrong number of arguments for aggregate expression provided";
            return Err(Mistake::new(start, format!("{what}, expected {wanted}, got {got}")));
        };
        let param = args.pop().map(Box::new);
        let aggregate = Aggregate { op, param, expr: Box::new(expr), grouping, without, place };
        Ok((Expr::Aggregate(aggregate), self.check_height(height + 1, start)?))
    }
}

/// Whether a matcher is about the metric's name.
pub(crate) fn is_name(matcher: &Matcher) -> bool {
    matcher.name == Labels::NAME
}

#[cfg(test)]
pub(super) mod tests;
