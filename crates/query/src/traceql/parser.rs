//! TraceQL text to [`Expr`], by hand.

use std::fmt;

use signal::{SpanKind, SpanStatus};

use super::ast::{AggregateOp, Attribute, BinaryOp, Expr, FieldExpr, Relation, SpansetExpr, SpansetOp, Stage, Static};
use super::check;
use super::lexer::{Placed, Token, lex};
use crate::lex::Position;

/// How deep parentheses and operators may nest.
const MAX_DEPTH: usize = 200;
/// How long a query may be, in bytes.
const MAX_LENGTH: usize = 131_072;

/// Why a text is not a TraceQL query.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ParseError {
    /// Line and column, counted from one; `None` where the meaning is wrong rather than the text.
    pub place: Option<(usize, usize)>,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Some((line, column)) => write!(f, "parse error at line {line}, col {column}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for ParseError {}

/// Reads and checks a query.
///
/// # Errors
/// [`ParseError`] for a malformed text, for types that do not fit, for the metrics functions (`rate()` and the like),
/// and above 128 KiB or 200 levels.
pub fn parse(text: &str) -> Result<Expr, ParseError> {
    if text.len() > MAX_LENGTH {
        return Err(meaning(format!("query too long: {} > {MAX_LENGTH}", text.len())));
    }
    let mut parser = Parser { text, tokens: lex(text), at: 0, depth: 0 };
    let stages = parser.pipeline()?;
    parser.hints()?;
    if *parser.peek() != Token::End {
        return Err(parser.unexpected("the end or |"));
    }
    check::stages(&stages).map_err(meaning)?;
    Ok(Expr { stages })
}

/// Makes what it can of a query somebody is still typing: the conditions between its first braces that are complete.
/// `None` when there is none.
#[must_use]
pub fn parse_unfinished(text: &str) -> Option<Expr> {
    if let Ok(expr) = parse(text) {
        return Some(expr);
    }
    let inside = text.split_once('{')?.1;
    let inside = inside.split_once('}').map_or(inside, |(inside, _)| inside);
    let complete: Vec<&str> = inside
        .split("&&")
        .map(str::trim)
        .filter(|part| !part.is_empty() && parse(&format!("{{{part}}}")).is_ok())
        .collect();
    if complete.is_empty() { None } else { parse(&format!("{{{}}}", complete.join(" && "))).ok() }
}

fn meaning(message: impl Into<String>) -> ParseError {
    ParseError { place: None, message: message.into() }
}

struct Parser<'a> {
    text: &'a str,
    tokens: Vec<Placed>,
    at: usize,
    depth: usize,
}

const METRICS: [&str; 11] = [
    "rate",
    "count_over_time",
    "min_over_time",
    "max_over_time",
    "avg_over_time",
    "sum_over_time",
    "quantile_over_time",
    "histogram_over_time",
    "compare",
    "topk",
    "bottomk",
];

impl Parser<'_> {
    fn peek(&self) -> &Token {
        self.peek_after(0)
    }

    fn peek_after(&self, distance: usize) -> &Token {
        self.tokens.get(self.at + distance).map_or(&Token::End, |placed| &placed.token)
    }

    fn is_op(&self, op: &str) -> bool {
        matches!(self.peek(), Token::Op(found) if *found == op)
    }

    fn eat(&mut self, op: &str) -> bool {
        let found = self.is_op(op);
        if found {
            self.at += 1;
        }
        found
    }

    fn expect(&mut self, op: &str) -> Result<(), ParseError> {
        if self.eat(op) { Ok(()) } else { Err(self.unexpected(op)) }
    }

    fn unexpected(&self, expecting: &str) -> ParseError {
        let end = Placed { token: Token::End, at: self.text.len() };
        let placed = self.tokens.get(self.at).or(self.tokens.last()).unwrap_or(&end);
        let position = Position::of(self.text, placed.at);
        let found = match &placed.token {
            Token::Broken(reason) => {
                return ParseError { place: Some((position.line, position.column)), message: reason.clone() };
            }
            Token::Op(op) => (*op).to_owned(),
            Token::Attribute(attribute) => attribute.to_string(),
            Token::Parent => "parent".to_owned(),
            Token::Word(word) => word.clone(),
            Token::Text(_) => "STRING".to_owned(),
            Token::Int(_) => "INTEGER".to_owned(),
            Token::Float(_) => "FLOAT".to_owned(),
            Token::Duration(_) => "DURATION".to_owned(),
            Token::End => "$end".to_owned(),
        };
        let expecting = if expecting.is_empty() { String::new() } else { format!(", expecting {expecting}") };
        let message = format!("syntax error: unexpected {found}{expecting}");
        ParseError { place: Some((position.line, position.column)), message }
    }

    fn nested<T>(&mut self, parse: impl FnOnce(&mut Self) -> Result<T, ParseError>) -> Result<T, ParseError> {
        if self.depth >= MAX_DEPTH {
            return Err(meaning(format!("query is nested deeper than {MAX_DEPTH} levels")));
        }
        self.depth += 1;
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }

    fn pipeline(&mut self) -> Result<Vec<Stage>, ParseError> {
        self.nested(|parser| {
            let mut stages = Vec::new();
            loop {
                stages.push(parser.stage(stages.is_empty())?);
                if !parser.eat("|") {
                    return Ok(stages);
                }
            }
        })
    }

    fn stage(&mut self, first: bool) -> Result<Stage, ParseError> {
        let word = match self.peek() {
            Token::Word(word) => word.clone(),
            Token::Op("{" | "(") => return self.spanset(0).map(Stage::Spans),
            Token::Op(_)
            | Token::Attribute(_)
            | Token::Parent
            | Token::Text(_)
            | Token::Int(_)
            | Token::Float(_)
            | Token::Duration(_)
            | Token::Broken(_)
            | Token::End => return Err(self.unexpected("")),
        };
        if !matches!(self.peek_after(1), Token::Op("(")) {
            return Err(self.unexpected(""));
        }
        if METRICS.contains(&word.as_str()) {
            return Err(meaning(format!("metrics functions are not supported yet: {word}()")));
        }
        if let Some(op) = AggregateOp::from_word(&word) {
            return self.scalar(op);
        }
        match word.as_str() {
            "by" => {
                self.at += 2;
                let field = self.field(0)?;
                self.expect(")")?;
                Ok(Stage::By(field))
            }
            "coalesce" if !first => {
                self.at += 2;
                self.expect(")")?;
                Ok(Stage::Coalesce)
            }
            "select" => {
                self.at += 2;
                let mut attributes = Vec::new();
                loop {
                    let Token::Attribute(attribute) = self.peek() else {
                        return Err(self.unexpected("an attribute"));
                    };
                    attributes.push(attribute.clone());
                    self.at += 1;
                    if !self.eat(",") {
                        break;
                    }
                }
                self.expect(")")?;
                Ok(Stage::Select(attributes))
            }
            _ => Err(self.unexpected("")),
        }
    }

    /// `count() > 2`.
    fn scalar(&mut self, op: AggregateOp) -> Result<Stage, ParseError> {
        self.at += 2;
        let field = match op {
            AggregateOp::Count => None,
            AggregateOp::Avg | AggregateOp::Min | AggregateOp::Max | AggregateOp::Sum => Some(self.field(0)?),
        };
        self.expect(")")?;
        let comparison = match self.peek() {
            Token::Op(op) => BinaryOp::from_word(op).filter(|op| op.is_comparison()),
            _ => None,
        };
        let Some(comparison) = comparison else {
            return Err(self.unexpected("a comparison"));
        };
        self.at += 1;
        if matches!(self.peek(), Token::Word(word) if AggregateOp::from_word(word).is_some()) {
            return Err(meaning("comparing two aggregates is not supported"));
        }
        let with = self.field(BinaryOp::Add.strength())?;
        Ok(Stage::Scalar { op, field, comparison, with })
    }

    fn hints(&mut self) -> Result<(), ParseError> {
        if !matches!(self.peek(), Token::Word(word) if word == "with") {
            return Ok(());
        }
        self.at += 1;
        self.expect("(")?;
        loop {
            let Token::Word(_) = self.peek() else { return Err(self.unexpected("the name of a hint")) };
            self.at += 1;
            self.expect("=")?;
            self.literal()?;
            if !self.eat(",") {
                return self.expect(")");
            }
        }
    }

    fn spanset(&mut self, weakest: u8) -> Result<SpansetExpr, ParseError> {
        self.nested(|parser| {
            let mut left = parser.spanset_one()?;
            let mut chained = 0;
            while let Some((op, strength)) = parser.spanset_op().filter(|(_, strength)| *strength >= weakest) {
                chained += 1;
                if chained > MAX_DEPTH {
                    return Err(meaning(format!("more than {MAX_DEPTH} operators in a row")));
                }
                parser.at += 1;
                let right = parser.spanset(strength + 1)?;
                left = SpansetExpr::Binary { op, left: Box::new(left), right: Box::new(right) };
            }
            Ok(left)
        })
    }

    fn spanset_op(&self) -> Option<(SpansetOp, u8)> {
        let Token::Op(op) = self.peek() else { return None };
        let relation = |text: &str| {
            Some(match text {
                ">" => Relation::Child,
                ">>" => Relation::Descendant,
                "<" => Relation::Parent,
                "<<" => Relation::Ancestor,
                "~" => Relation::Sibling,
                _ => return None,
            })
        };
        match *op {
            "&&" => return Some((SpansetOp::And, 1)),
            "||" => return Some((SpansetOp::Or, 1)),
            _ => {}
        }
        if let Some(related) = relation(op) {
            return Some((SpansetOp::Related(related), 2));
        }
        let (sign, rest) = op.split_at_checked(1)?;
        let related = relation(rest)?;
        match sign {
            "!" => Some((SpansetOp::NotRelated(related), 2)),
            "&" => Some((SpansetOp::Union(related), 2)),
            _ => None,
        }
    }

    fn spanset_one(&mut self) -> Result<SpansetExpr, ParseError> {
        if self.eat("{") {
            if self.eat("}") {
                return Ok(SpansetExpr::Filter(None));
            }
            let field = self.field(0)?;
            self.expect("}")?;
            return Ok(SpansetExpr::Filter(Some(field)));
        }
        self.expect("(")?;
        let mut stages = self.pipeline()?;
        self.expect(")")?;
        Ok(match (stages.len(), stages.pop()) {
            // Parentheses around a mere expression only group.
            (1, Some(Stage::Spans(inner))) => inner,
            (_, Some(last)) => {
                stages.push(last);
                SpansetExpr::Pipeline(stages)
            }
            (_, None) => SpansetExpr::Pipeline(stages),
        })
    }

    fn field(&mut self, weakest: u8) -> Result<FieldExpr, ParseError> {
        self.nested(|parser| {
            let mut left = parser.operand()?;
            let mut chained = 0;
            loop {
                let op = match parser.peek() {
                    Token::Op(op) => BinaryOp::from_word(op).filter(|op| op.strength() >= weakest),
                    _ => None,
                };
                let Some(op) = op else { return Ok(left) };
                chained += 1;
                if chained > MAX_DEPTH {
                    return Err(meaning(format!("more than {MAX_DEPTH} operators in a row")));
                }
                parser.at += 1;
                let tighter = if op == BinaryOp::Power { op.strength() } else { op.strength() + 1 };
                let right = parser.field(tighter)?;
                left = FieldExpr::Binary { op, left: Box::new(left), right: Box::new(right) };
            }
        })
    }

    fn operand(&mut self) -> Result<FieldExpr, ParseError> {
        if self.eat("(") {
            let inner = self.field(0)?;
            self.expect(")")?;
            return Ok(inner);
        }
        if self.eat("-") {
            let inner = self.nested(Self::operand)?;
            return Ok(match inner {
                FieldExpr::Static(Static::Int(value)) => FieldExpr::Static(Static::Int(-value)),
                FieldExpr::Static(Static::Float(value)) => FieldExpr::Static(Static::Float(-value)),
                FieldExpr::Static(Static::Duration(value)) => FieldExpr::Static(Static::Duration(-value)),
                other => FieldExpr::Negate(Box::new(other)),
            });
        }
        if self.eat("!") {
            return self.nested(Self::operand).map(|inner| FieldExpr::Not(Box::new(inner)));
        }
        match self.peek() {
            Token::Attribute(attribute) => {
                let attribute: Attribute = attribute.clone();
                self.at += 1;
                Ok(FieldExpr::Attribute(attribute))
            }
            Token::Parent => Err(meaning("`parent` is not supported; use the structural operators")),
            _ => self.literal().map(FieldExpr::Static),
        }
    }

    fn literal(&mut self) -> Result<Static, ParseError> {
        let value = match self.peek() {
            Token::Text(text) => Static::Text(text.clone()),
            Token::Int(value) => Static::Int(*value),
            Token::Float(value) => Static::Float(*value),
            Token::Duration(nanos) => Static::Duration(*nanos),
            Token::Word(word) => match word.as_str() {
                "true" => Static::Bool(true),
                "false" => Static::Bool(false),
                "nil" => Static::Nil,
                "ok" => Static::Status(SpanStatus::Ok),
                "error" => Static::Status(SpanStatus::Error),
                "unset" => Static::Status(SpanStatus::Unset),
                "unspecified" => Static::Kind(SpanKind::Unspecified),
                "internal" => Static::Kind(SpanKind::Internal),
                "server" => Static::Kind(SpanKind::Server),
                "client" => Static::Kind(SpanKind::Client),
                "producer" => Static::Kind(SpanKind::Producer),
                "consumer" => Static::Kind(SpanKind::Consumer),
                _ => return Err(self.unexpected("")),
            },
            Token::Op(_) | Token::Attribute(_) | Token::Parent | Token::Broken(_) | Token::End => {
                return Err(self.unexpected(""));
            }
        };
        self.at += 1;
        Ok(value)
    }
}
