//! Durations of ranges, steps and offsets: literals, numbers of seconds, and arithmetic on both.

use std::time::Duration;

use super::super::ast::Number;
use super::super::length::{Length, LengthError, milliseconds};
use super::{BinaryOp, Mistake, Parser, Symbol, Token};

impl Parser {
    /// Reads the length of a range or the step of a subquery; also as written, when it was calculated. A length that
    /// depends on the query is zero for now.
    pub(super) fn positive_duration(
        &mut self,
        context: &str,
        expected: &str,
    ) -> Result<(Duration, Option<Box<Length>>), Mistake> {
        let at = self.peek().place.start;
        let length = self.length(0, context, expected)?;
        if length.is_dynamic() {
            return Ok((Duration::ZERO, Some(Box::new(length))));
        }
        let fixed = length.constant().map_err(|error| Mistake::new(at, error.to_string()))?;
        let calculated = if matches!(length, Length::Number(_)) { None } else { Some(Box::new(length)) };
        Ok((fixed, calculated))
    }

    /// Reads what stands after `offset`. Arithmetic needs parentheses here: `up offset 5m + 1` is a sum.
    pub(super) fn offset(&mut self) -> Result<Length, Mistake> {
        let first = self.peek().place;
        let negative = self.eat(Symbol::Op(BinaryOp::Sub));
        if !negative {
            self.eat(Symbol::Op(BinaryOp::Add));
        }
        let atom = self.length_atom("offset", "number or duration")?;
        Ok(if negative { negated(atom, first) } else { atom })
    }

    /// Reads arithmetic whose operators bind at least as tight as `minimum`.
    fn length(&mut self, minimum: u8, context: &str, expected: &str) -> Result<Length, Mistake> {
        self.depth += 1;
        self.check_height(0, self.peek().place.start)?;
        let first = self.peek().place;
        let mut left = if self.eat(Symbol::Op(BinaryOp::Sub)) {
            negated(self.length(BinaryOp::Pow.precedence(), context, expected)?, first)
        } else {
            self.eat(Symbol::Op(BinaryOp::Add));
            self.length_atom(context, expected)?
        };
        let mut chained = 0;
        while let Token::Symbol(Symbol::Op(op)) = self.peek().token {
            let at = self.peek().place.start;
            if op.precedence() < minimum {
                break;
            }
            match op {
                BinaryOp::Add | BinaryOp::Sub | BinaryOp::Mul | BinaryOp::Div | BinaryOp::Mod | BinaryOp::Pow => {}
                BinaryOp::Equal | BinaryOp::NotEqual | BinaryOp::Greater | BinaryOp::Less => break,
                BinaryOp::GreaterEqual | BinaryOp::LessEqual | BinaryOp::Atan2 => break,
                BinaryOp::And | BinaryOp::Or | BinaryOp::Unless => break,
            }
            self.experimental(first.start)?;
            self.at += 1;
            let next = if op == BinaryOp::Pow { op.precedence() } else { op.precedence() + 1 };
            let right = self.length(next, context, expected)?;
            if matches!(&right, Length::Number(number) if number.value == 0.0) {
                match op {
                    BinaryOp::Div => return Err(Mistake::new(at, LengthError::Division.to_string())),
                    BinaryOp::Mod => return Err(Mistake::new(at, LengthError::Modulo.to_string())),
                    _ => {}
                }
            }
            chained += 1;
            self.check_height(chained, at)?;
            left = Length::Binary(Box::new(left), op, Box::new(right));
        }
        self.depth -= 1;
        Ok(left)
    }

    fn length_atom(&mut self, context: &str, expected: &str) -> Result<Length, Mistake> {
        let spot = self.peek().clone();
        let place = spot.place;
        let word = match spot.token {
            Token::Duration(_) | Token::Number(_) => {
                let is_duration = matches!(spot.token, Token::Duration(_));
                let value = self.number_literal().unwrap_or(f64::NAN);
                if milliseconds(value).is_err() {
                    return Err(Mistake::new(place.start, "duration out of range"));
                }
                return Ok(Length::Number(Number { value, is_duration, place }));
            }
            Token::Symbol(Symbol::LeftParen) => {
                self.at += 1;
                let first = self.peek().place.start;
                let inner = self.length(0, context, expected)?;
                self.expect(Symbol::RightParen, context, expected)?;
                self.experimental(first)?;
                return Ok(Length::Paren(Box::new(inner)));
            }
            Token::Word(word) => word.to_ascii_lowercase(),
            Token::Label(_) | Token::Text(_) | Token::Symbol(_) | Token::End | Token::Error(_) => {
                return Err(self.unexpected(context, expected));
            }
        };
        if !matches!(word.as_str(), "step" | "range" | "min" | "max" | "min_of" | "max_of") {
            return Err(self.unexpected(context, expected));
        }
        self.experimental(place.start)?;
        self.at += 1;
        self.expect(Symbol::LeftParen, context, expected)?;
        let length = match word.as_str() {
            "step" => Length::Step,
            "range" => Length::Range,
            _ => {
                let left = Box::new(self.length(0, context, expected)?);
                self.expect(Symbol::Comma, context, expected)?;
                let right = Box::new(self.length(0, context, expected)?);
                if word.starts_with("min") { Length::Smaller(left, right) } else { Length::Larger(left, right) }
            }
        };
        self.expect(Symbol::RightParen, context, expected)?;
        Ok(length)
    }

    fn experimental(&self, at: usize) -> Result<(), Mistake> {
        if self.features.duration_expressions {
            return Ok(());
        }
        Err(Mistake::new(at, "experimental duration expression is not enabled"))
    }
}

/// Turns the sign round; a literal takes it up.
fn negated(length: Length, sign: super::Place) -> Length {
    match length {
        Length::Number(number) => {
            let place = super::Place { end: number.place.end, ..sign };
            Length::Number(Number { value: -number.value, place, ..number })
        }
        length => Length::Negative(Box::new(length)),
    }
}
