//! Series selectors, and what may stand behind an expression: ranges, subqueries, `offset`, `@`, `anchored`, `smoothed`.

use std::time::Duration;

use signal::{Labels, MatchOp, Matcher, Timestamp};

use super::super::ast::{At, BinaryOp, Expr, Place, RangeSelector, Reach, Selector, Subquery, TimeShift};
use super::super::length::Length;
use super::super::print::number_text;
use super::{Mistake, Parsed, Parser, Symbol, Token, is_name};
use crate::promql::check;

impl Parser {
    /// A selector and nothing else.
    pub(super) fn only_selector(&mut self) -> Result<Selector, Mistake> {
        let spot = self.peek().clone();
        let named = match spot.token {
            Token::Word(word) if !super::is_never_metric(&word) => {
                self.at += 1;
                Some((word, spot.place))
            }
            Token::Symbol(Symbol::LeftBrace) => None,
            _ => return Err(self.unexpected("", "")),
        };
        let selector = self.selector(named)?;
        if !matches!(self.peek().token, Token::End) {
            return Err(self.unexpected("", ""));
        }
        check::selector(&selector)?;
        Ok(selector)
    }

    pub(super) fn selector(&mut self, named: Option<(String, Place)>) -> Result<Selector, Mistake> {
        let first = named.as_ref().map_or(self.peek().place, |(_, place)| *place);
        let name = named.map(|(name, _)| name);
        let mut matchers = Vec::new();
        if let Some(name) = &name {
            matchers.push(Matcher::equal(Labels::NAME, name.clone()));
        }
        if self.eat(Symbol::LeftBrace) {
            self.matchers(&mut matchers)?;
        }
        // What follows expects the name first, wherever it was written.
        if let Some(at) = matchers.iter().position(|matcher| is_name(matcher) && matcher.op == MatchOp::Equal)
            && let Some(before) = matchers.get_mut(..=at)
        {
            before.rotate_right(1);
        }
        let (shift, offset, reach) = (TimeShift::default(), None, Reach::default());
        Ok(Selector { name, matchers, shift, offset, reach, place: self.from(first) })
    }

    fn matchers(&mut self, matchers: &mut Vec<Matcher>) -> Result<(), Mistake> {
        const CONTEXT: &str = "label matching";
        while !self.eat(Symbol::RightBrace) {
            let spot = self.peek().clone();
            let (name, quoted) = match spot.token {
                Token::Label(name) => (name, false),
                Token::Text(name) => (name, true),
                _ => return Err(self.unexpected(CONTEXT, "identifier or \"}\"")),
            };
            self.at += 1;
            let op = match self.peek().token {
                Token::Symbol(Symbol::Assign) => Some(MatchOp::Equal),
                Token::Symbol(Symbol::Op(BinaryOp::NotEqual)) => Some(MatchOp::NotEqual),
                Token::Symbol(Symbol::EqualRegex) => Some(MatchOp::Regex),
                Token::Symbol(Symbol::NotRegex) => Some(MatchOp::NotRegex),
                // A text alone is the metric's name.
                _ if quoted => None,
                _ => return Err(self.unexpected(CONTEXT, "label matching operator")),
            };
            match op {
                Some(op) => {
                    self.at += 1;
                    let Token::Text(value) = self.peek().token.clone() else {
                        return Err(self.unexpected(CONTEXT, "string"));
                    };
                    self.at += 1;
                    let matcher = Matcher::new(name, op, value);
                    matchers.push(matcher.map_err(|error| Mistake::new(spot.place.start, error.to_string()))?);
                }
                None => matchers.push(Matcher::equal(Labels::NAME, name)),
            }
            if !self.is(Symbol::RightBrace) {
                self.expect(Symbol::Comma, CONTEXT, "\",\" or \"}\"")?;
            }
        }
        Ok(())
    }

    /// Reads what stands behind an expression.
    pub(super) fn postfix(&mut self, (mut expr, mut height): Parsed) -> Result<Parsed, Mistake> {
        let start = expr.place().start;
        loop {
            if self.is(Symbol::LeftBracket) {
                let subquery;
                (expr, subquery) = self.bracket(expr)?;
                height = self.check_height(height + usize::from(subquery), start)?;
            } else if self.eat_keyword("offset") {
                self.offset_of(&mut expr)?;
            } else if self.eat(Symbol::At) {
                let at = self.at_time(start)?;
                let end = self.end_of_last();
                let (shift, place) = shift_of(&mut expr, "@ modifier")?;
                place.end = end;
                if shift.at.replace(at).is_some() {
                    return Err(Mistake::new(start, "@ <timestamp> may not be set multiple times"));
                }
            } else if self.is_keyword("anchored") {
                self.reach(&mut expr, "anchored", Reach::Anchored)?;
            } else if self.is_keyword("smoothed") {
                self.reach(&mut expr, "smoothed", Reach::Smoothed)?;
            } else {
                return Ok((expr, height));
            }
        }
    }

    fn reach(&mut self, expr: &mut Expr, word: &str, wanted: Reach) -> Result<(), Mistake> {
        self.at += 1;
        let start = expr.place().start;
        let fail = |message: String| Err(Mistake::new(start, message));
        if !self.features.extended_ranges {
            return fail(format!("{word} modifier is experimental and not enabled"));
        }
        let selector = match expr {
            Expr::Selector(selector) => selector,
            Expr::Range(range) => &mut range.selector,
            Expr::Subquery(_) => return fail(format!("{word} modifier is not supported for subqueries")),
            Expr::Number(_) | Expr::Text(_) | Expr::Call(_) | Expr::Aggregate(_) | Expr::Binary(_) => {
                return fail(format!("{word} modifier not implemented"));
            }
            Expr::Unary(_) | Expr::Paren(..) => return fail(format!("{word} modifier not implemented")),
        };
        if selector.reach != Reach::Window && selector.reach != wanted {
            return fail("anchored and smoothed modifiers cannot be used together".to_owned());
        }
        selector.reach = wanted;
        Ok(())
    }

    fn offset_of(&mut self, expr: &mut Expr) -> Result<(), Mistake> {
        let start = expr.place().start;
        let written = self.offset()?;
        let end = self.end_of_last();
        let at = start;
        let (shift, place) = shift_of(expr, "offset modifier")?;
        place.end = end;
        // No offset is what zero means.
        if shift.offset_ms.is_some_and(|ms| ms != 0) {
            return Err(Mistake::new(at, "offset may not be set multiple times"));
        }
        let ms = written.constant_ms().map_err(|error| Mistake::new(at, error.to_string()))?;
        shift.offset_ms = (ms != 0).then_some(ms);
        let calculated = match written {
            Length::Number(_) => None,
            Length::Negative(inner) if matches!(*inner, Length::Number(_)) => None,
            length => Some(Box::new(length)),
        };
        let twice = match expr {
            Expr::Selector(selector) => std::mem::replace(&mut selector.offset, calculated),
            Expr::Range(range) => std::mem::replace(&mut range.selector.offset, calculated),
            Expr::Subquery(subquery) => std::mem::replace(&mut subquery.offset, calculated),
            Expr::Number(_) | Expr::Text(_) | Expr::Call(_) | Expr::Aggregate(_) => None,
            Expr::Binary(_) | Expr::Unary(_) | Expr::Paren(..) => None,
        };
        if twice.is_some() {
            return Err(Mistake::new(at, "offset may not be set multiple times"));
        }
        Ok(())
    }

    /// Reads `[5m]` or `[1h:5m]`; the answer says whether it was a subquery.
    fn bracket(&mut self, expr: Expr) -> Result<(Expr, bool), Mistake> {
        let first = expr.place();
        let bracket = self.peek().place.start;
        self.at += 1;
        let (range, length) = self.positive_duration("subquery or range selector", "number or duration")?;
        if self.eat(Symbol::RightBracket) {
            let place = self.from(first);
            let Expr::Selector(selector) = expr else {
                return Err(Mistake::new(bracket, "ranges only allowed for vector selectors"));
            };
            if selector.shift.offset_ms.is_some() || selector.offset.is_some() {
                return Err(Mistake::new(bracket, "no offset modifiers allowed before range"));
            }
            if selector.shift.at.is_some() {
                return Err(Mistake::new(bracket, "no @ modifiers allowed before range"));
            }
            return Ok((Expr::Range(RangeSelector { selector, range, length, place }), false));
        }
        self.expect(Symbol::Colon, "subquery or range", "\":\" or \"]\"")?;
        let (mut step, mut distance): (Option<Duration>, Option<Box<Length>>) = (None, None);
        if !self.is(Symbol::RightBracket) {
            let (fixed, written) = self.positive_duration("subquery selector", "number or duration or \"]\"")?;
            (step, distance) = (Some(fixed), written);
        }
        self.expect(Symbol::RightBracket, "subquery selector", "\"]\"")?;
        let (shift, place) = (TimeShift::default(), self.from(first));
        let expr = Box::new(expr);
        Ok((Expr::Subquery(Subquery { expr, range, step, shift, length, distance, offset: None, place }), true))
    }

    /// Reads what stands behind the `@` of the expression at `start`.
    fn at_time(&mut self, start: usize) -> Result<At, Mistake> {
        let unexpected = |parser: &Self| parser.unexpected("@", "timestamp");
        let negative = self.eat(Symbol::Op(BinaryOp::Sub));
        let signed = negative || self.eat(Symbol::Op(BinaryOp::Add));
        if let (Some(word @ ("start" | "end")), false) = (self.peek().keyword().as_deref(), signed) {
            let at = if word == "start" { At::Start } else { At::End };
            self.at += 1;
            if self.eat(Symbol::LeftParen) && self.eat(Symbol::RightParen) {
                return Ok(at);
            }
            return Err(unexpected(self));
        }
        let Some(value) = self.number_literal() else {
            return Err(unexpected(self));
        };
        let value = if negative { -value } else { value };
        let bounds = i64::MIN as f64..i64::MAX as f64;
        match Timestamp::from_secs_f64(value).filter(|_| value.is_finite() && bounds.contains(&value)) {
            Some(at) => Ok(At::Time(at)),
            None => {
                let shown = if value.is_finite() { format!("{value:.6}") } else { number_text(value) };
                Err(Mistake::new(start, format!("timestamp out of bounds for @ modifier: {shown}")))
            }
        }
    }
}

/// The place where `offset` or `@` of an expression is kept, and the one that ends with it.
fn shift_of<'a>(expr: &'a mut Expr, modifier: &str) -> Result<(&'a mut TimeShift, &'a mut Place), Mistake> {
    match expr {
        Expr::Selector(selector) => Ok((&mut selector.shift, &mut selector.place)),
        Expr::Range(range) => Ok((&mut range.selector.shift, &mut range.place)),
        Expr::Subquery(subquery) => Ok((&mut subquery.shift, &mut subquery.place)),
        Expr::Number(_) | Expr::Text(_) | Expr::Call(_) | Expr::Aggregate(_) => Err(misplaced(expr, modifier)),
        Expr::Binary(_) | Expr::Unary(_) | Expr::Paren(..) => Err(misplaced(expr, modifier)),
    }
}

fn misplaced(expr: &Expr, modifier: &str) -> Mistake {
    let kinds = "an instant vector selector or range vector selector or a subquery";
    Mistake::new(expr.place().start, format!("{modifier} must be preceded by {kinds}"))
}
