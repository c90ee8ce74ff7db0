//! Tokens into an expression: recursive descent with precedence climbing, in the words of upstream's errors.

use signal::{Labels, MatchOp, Matcher, Timestamp};

use super::ast::{
    Aggregate, AggregateOp, At, Binary, BinaryOp, Call, Cardinality, Expr, Matching, Number, Place, RangeSelector,
    Selector, Subquery, Text, TimeShift, Unary,
};
use super::print::number_text;
use super::token::{Spot, Symbol, Token, is_reserved, tokens};
use super::{check, functions};
use crate::lex::Position;

mod durations;

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

/// Reads a query and checks its types.
///
/// # Errors
/// `ParseError` for anything Prometheus 3 would refuse (experimental syntax included), and for nesting deeper than 100.
pub fn parse(text: &str) -> Result<Expr, ParseError> {
    let mut parser = Parser { spots: tokens(text), at: 0, depth: 0 };
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
    match parse(text)? {
        Expr::Selector(selector) if selector.shift == TimeShift::default() => Ok(selector.matchers),
        other => Err(Mistake::new(other.place().start, "expected a series selector").locate(text)),
    }
}

/// An expression and the height of its tree.
type Parsed = (Expr, usize);

struct Parser {
    spots: Vec<Spot>,
    at: usize,
    depth: usize,
}

impl Parser {
    fn whole(&mut self) -> Result<Expr, Mistake> {
        let (expr, _) = self.expr(0)?;
        if !matches!(self.peek().token, Token::End) {
            return Err(self.unexpected("", ""));
        }
        check::check(&expr)?;
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

    fn eat_keyword(&mut self, word: &str) -> bool {
        let found = self.peek().keyword().is_some_and(|keyword| keyword == word);
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
            self.at += 1;
            let returns_bool = self.eat_keyword("bool");
            let matching = self.matching(op)?;
            let next = if op == BinaryOp::Pow { op.precedence() } else { op.precedence() + 1 };
            let (right, right_height) = self.expr(next)?;
            let place = Place { end: right.place().end, ..left.place() };
            height = self.check_height(1 + height.max(right_height), place.start)?;
            let (left_box, right) = (Box::new(left), Box::new(right));
            left = Expr::Binary(check::binary(Binary { op, left: left_box, right, returns_bool, matching, place })?);
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
            Token::Text(_)
            | Token::Number(_)
            | Token::Duration(_)
            | Token::Symbol(_)
            | Token::End
            | Token::Error(_) => None,
        }
    }

    fn matching(&mut self, op: BinaryOp) -> Result<Option<Matching>, Mistake> {
        let cardinality = if op.is_set() { Cardinality::ManyToMany } else { Cardinality::OneToOne };
        let mut matching = Matching { cardinality, labels: Vec::new(), on: false, include: Vec::new() };
        matching.on = self.eat_keyword("on");
        if !matching.on && !self.eat_keyword("ignoring") {
            return Ok(Some(matching));
        }
        matching.labels = self.label_list()?;
        matching.cardinality = if self.eat_keyword("group_left") {
            Cardinality::ManyToOne
        } else if self.eat_keyword("group_right") {
            Cardinality::OneToMany
        } else {
            return Ok(Some(matching));
        };
        if self.is(Symbol::LeftParen) {
            matching.include = self.label_list()?;
        }
        Ok(Some(matching))
    }

    fn label_list(&mut self) -> Result<Vec<String>, Mistake> {
        self.expect(Symbol::LeftParen, "grouping opts", "\"(\"")?;
        let mut names = Vec::new();
        loop {
            if self.eat(Symbol::RightParen) {
                return Ok(names);
            }
            match self.peek().token.clone() {
                Token::Word(name) if !name.contains(':') => names.push(name),
                Token::Text(name) if !name.is_empty() => names.push(name),
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
                Ok((Expr::Text(Text { value, place }), 1))
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
            Token::Symbol(_) | Token::End | Token::Error(_) => Err(self.unexpected("", "")),
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
        if opens && (!is_reserved(word) || functions::find(word).is_some()) {
            self.at += 1;
            let (args, height) = self.arguments("function call")?;
            let function = functions::find(word)
                .ok_or_else(|| Mistake::new(place.start, format!("unknown function with name {word:?}")))?;
            let call = Call { function, args, place: self.from(place) };
            return Ok((Expr::Call(call), self.check_height(height + 1, place.start)?));
        }
        if matches!(
            small.as_str(),
            "and" | "or" | "unless" | "atan2" | "bool" | "on" | "ignoring" | "group_left" | "group_right"
        ) {
            return Err(self.unexpected("", ""));
        }
        self.at += 1;
        Ok((Expr::Selector(self.selector(Some((word.to_owned(), place)))?), 1))
    }

    fn arguments(&mut self, context: &str) -> Result<(Vec<Expr>, usize), Mistake> {
        self.expect(Symbol::LeftParen, context, "\"(\"")?;
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
            if self.is(Symbol::RightParen) {
                return Err(Mistake::new(comma, "trailing commas not allowed in function call args"));
            }
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
        let before = self.grouping()?;
        let (mut args, height) = self.arguments("aggregation")?;
        let grouping = match before {
            Some(grouping) => Some(grouping),
            None => self.grouping()?,
        };
        let (without, grouping) = grouping.unwrap_or_default();
        let (start, place) = (first.start, self.from(first));
        let wanted = 1 + usize::from(op.parameter().is_some());
        let got = args.len();
        let (Some(expr), true) = (args.pop(), got == wanted) else {
            return Err(Mistake::new(
                start,
                if got == 0 {
                    "no arguments for aggregate expression provided".to_owned()
                } else {
                    format!("wrong number of arguments for aggregate expression provided, expected {wanted}, got {got}")
                },
            ));
        };
        let param = args.pop().map(Box::new);
        let aggregate = Aggregate { op, param, expr: Box::new(expr), grouping, without, place };
        Ok((Expr::Aggregate(aggregate), self.check_height(height + 1, start)?))
    }

    fn selector(&mut self, named: Option<(String, Place)>) -> Result<Selector, Mistake> {
        let first = named.as_ref().map_or(self.peek().place, |(_, place)| *place);
        let mut name = named.map(|(name, _)| name);
        let mut matchers = Vec::new();
        if self.eat(Symbol::LeftBrace) {
            self.matchers(&mut name, &mut matchers)?;
        }
        if let Some(name) = &name {
            let twice = matchers.iter().find(|matcher| matcher.name == Labels::NAME && matcher.op == MatchOp::Equal);
            if let Some(other) = twice {
                let message = format!("metric name must not be set twice: {name:?} or {:?}", other.value);
                return Err(Mistake::new(first.start, message));
            }
            matchers.insert(0, Matcher::equal(Labels::NAME, name.clone()));
        }
        Ok(Selector { name, matchers, shift: TimeShift::default(), place: self.from(first) })
    }

    fn matchers(&mut self, metric: &mut Option<String>, matchers: &mut Vec<Matcher>) -> Result<(), Mistake> {
        const CONTEXT: &str = "label matching";
        while !self.eat(Symbol::RightBrace) {
            let spot = self.peek().clone();
            let (name, quoted) = match spot.token {
                Token::Word(name) => (name, false),
                Token::Text(name) => (name, true),
                _ => return Err(self.unexpected(CONTEXT, "identifier or \"}\"")),
            };
            self.at += 1;
            let op = match self.peek().token {
                Token::Symbol(Symbol::Assign) => MatchOp::Equal,
                Token::Symbol(Symbol::Op(BinaryOp::NotEqual)) => MatchOp::NotEqual,
                Token::Symbol(Symbol::EqualRegex) => MatchOp::Regex,
                Token::Symbol(Symbol::NotRegex) => MatchOp::NotRegex,
                Token::Symbol(Symbol::Comma | Symbol::RightBrace) if quoted => {
                    if let Some(first) = metric {
                        let message = format!("metric name must not be set twice: {first:?} or {name:?}");
                        return Err(Mistake::new(spot.place.start, message));
                    }
                    *metric = Some(name);
                    self.eat(Symbol::Comma);
                    continue;
                }
                _ => return Err(self.unexpected(CONTEXT, "label matching operator")),
            };
            self.at += 1;
            let Token::Text(value) = self.peek().token.clone() else {
                return Err(self.unexpected(CONTEXT, "string"));
            };
            self.at += 1;
            matchers.push(
                Matcher::new(name, op, value).map_err(|error| Mistake::new(spot.place.start, error.to_string()))?,
            );
            if !self.is(Symbol::RightBrace) {
                self.expect(Symbol::Comma, CONTEXT, "\",\" or \"}\"")?;
            }
        }
        Ok(())
    }

    /// Reads ranges, subqueries, `offset` and `@` after an expression.
    fn postfix(&mut self, (mut expr, mut height): Parsed) -> Result<Parsed, Mistake> {
        let start = expr.place().start;
        loop {
            if self.is(Symbol::LeftBracket) {
                let subquery;
                (expr, subquery) = self.bracket(expr)?;
                height = self.check_height(height + usize::from(subquery), start)?;
            } else if self.eat_keyword("offset") {
                let offset = self.offset()?;
                let end = self.end_of_last();
                let shift = shift_of(&mut expr, "offset modifier", end)?;
                if shift.offset_ms.replace(offset).is_some() {
                    return Err(Mistake::new(start, "offset may not be set multiple times"));
                }
            } else if self.eat(Symbol::At) {
                let at = self.at_time()?;
                let end = self.end_of_last();
                let shift = shift_of(&mut expr, "@ modifier", end)?;
                if shift.at.replace(at).is_some() {
                    return Err(Mistake::new(start, "@ <timestamp> may not be set multiple times"));
                }
            } else {
                return Ok((expr, height));
            }
        }
    }

    /// Reads `[5m]` or `[1h:5m]`; the answer says whether it was a subquery.
    fn bracket(&mut self, expr: Expr) -> Result<(Expr, bool), Mistake> {
        let first = expr.place();
        let bracket = self.peek().place.start;
        self.at += 1;
        let range = self.positive_duration("subquery or range")?;
        if self.eat(Symbol::RightBracket) {
            let place = self.from(first);
            let Expr::Selector(selector) = expr else {
                return Err(Mistake::new(bracket, "ranges only allowed for vector selectors"));
            };
            if selector.shift.offset_ms.is_some() {
                return Err(Mistake::new(bracket, "no offset modifiers allowed before range"));
            }
            if selector.shift.at.is_some() {
                return Err(Mistake::new(bracket, "no @ modifiers allowed before range"));
            }
            return Ok((Expr::Range(RangeSelector { selector, range, place }), false));
        }
        self.expect(Symbol::Colon, "subquery or range", "\":\" or \"]\"")?;
        let step =
            if self.is(Symbol::RightBracket) { None } else { Some(self.positive_duration("subquery selector")?) };
        self.expect(Symbol::RightBracket, "subquery selector", "\"]\"")?;
        let subquery =
            Subquery { expr: Box::new(expr), range, step, shift: TimeShift::default(), place: self.from(first) };
        Ok((Expr::Subquery(subquery), true))
    }

    fn at_time(&mut self) -> Result<At, Mistake> {
        let negative = self.eat(Symbol::Op(BinaryOp::Sub));
        if !negative {
            self.eat(Symbol::Op(BinaryOp::Add));
        }
        let spot = self.peek().clone();
        match (spot.keyword().as_deref(), &spot.token) {
            (Some(word @ ("start" | "end")), _) => {
                let at = if word == "start" { At::Start } else { At::End };
                self.at += 1;
                self.expect(Symbol::LeftParen, "@", "\"(\"")?;
                self.expect(Symbol::RightParen, "@", "\")\"")?;
                Ok(at)
            }
            (_, Token::Number(_) | Token::Duration(_)) => {
                let value = match spot.token {
                    Token::Number(value) => value,
                    Token::Duration(ms) => ms as f64 / 1000.0,
                    Token::Word(_) | Token::Text(_) | Token::Symbol(_) | Token::End | Token::Error(_) => f64::NAN,
                };
                let value = if negative { -value } else { value };
                let at = Timestamp::from_secs_f64(value).ok_or_else(|| {
                    Mistake::new(
                        spot.place.start,
                        format!("timestamp out of bounds for @ modifier: {}", number_text(value)),
                    )
                })?;
                self.at += 1;
                Ok(At::Time(at))
            }
            _ => Err(self.unexpected("@", "timestamp")),
        }
    }
}

/// The place where `offset` or `@` of an expression is kept.
fn shift_of<'a>(expr: &'a mut Expr, modifier: &str, end: usize) -> Result<&'a mut TimeShift, Mistake> {
    let (shift, place) = match expr {
        Expr::Selector(selector) => (&mut selector.shift, &mut selector.place),
        Expr::Range(range) => (&mut range.selector.shift, &mut range.place),
        Expr::Subquery(subquery) => (&mut subquery.shift, &mut subquery.place),
        Expr::Number(_) | Expr::Text(_) | Expr::Call(_) | Expr::Aggregate(_) => return Err(misplaced(expr, modifier)),
        Expr::Binary(_) | Expr::Unary(_) | Expr::Paren(..) => return Err(misplaced(expr, modifier)),
    };
    place.end = end;
    Ok(shift)
}

fn misplaced(expr: &Expr, modifier: &str) -> Mistake {
    let kinds = "an instant vector selector or range vector selector or a subquery";
    Mistake::new(expr.place().start, format!("{modifier} must be preceded by {kinds}"))
}

#[cfg(test)]
pub(super) mod tests;
