//! Durations of ranges, steps and offsets: literals, numbers of seconds, and arithmetic on both (upstream's
//! `promql-duration-expr`). They are worked out here; what depends on the query's own step is not supported.

use std::time::Duration;

use super::{BinaryOp, Mistake, Parser, Symbol, Token};

impl Parser {
    /// Reads the length of a range or the step of a subquery.
    pub(super) fn positive_duration(&mut self, context: &str) -> Result<Duration, Mistake> {
        let at = self.peek().place.start;
        let seconds = self.duration(0, context)?;
        match u64::try_from(milliseconds(seconds, at)?) {
            Ok(ms) if ms > 0 => Ok(Duration::from_millis(ms)),
            _ => Err(Mistake::new(at, "duration must be greater than 0")),
        }
    }

    /// Reads what stands after `offset`, in milliseconds. Arithmetic needs parentheses here: `up offset 5m + 1` is a sum.
    pub(super) fn offset(&mut self) -> Result<i64, Mistake> {
        let at = self.peek().place.start;
        let negative = self.eat(Symbol::Op(BinaryOp::Sub));
        if !negative {
            self.eat(Symbol::Op(BinaryOp::Add));
        }
        let ms = milliseconds(self.duration_atom("offset")?, at)?;
        Ok(if negative { -ms } else { ms })
    }

    /// Reads arithmetic whose operators bind at least as tight as `minimum`, in seconds.
    fn duration(&mut self, minimum: u8, context: &str) -> Result<f64, Mistake> {
        self.depth += 1;
        self.check_height(0, self.peek().place.start)?;
        let mut left = if self.eat(Symbol::Op(BinaryOp::Sub)) {
            -self.duration(BinaryOp::Pow.precedence(), context)?
        } else {
            self.eat(Symbol::Op(BinaryOp::Add));
            self.duration_atom(context)?
        };
        while let Token::Symbol(Symbol::Op(op)) = self.peek().token {
            let at = self.peek().place.start;
            if op.precedence() < minimum {
                break;
            }
            let calculate: fn(f64, f64) -> f64 = match op {
                BinaryOp::Add => |left, right| left + right,
                BinaryOp::Sub => |left, right| left - right,
                BinaryOp::Mul => |left, right| left * right,
                BinaryOp::Div => |left, right| left / right,
                BinaryOp::Mod => |left, right| left % right,
                BinaryOp::Pow => f64::powf,
                BinaryOp::Equal | BinaryOp::NotEqual | BinaryOp::Greater | BinaryOp::Less => break,
                BinaryOp::GreaterEqual | BinaryOp::LessEqual | BinaryOp::Atan2 => break,
                BinaryOp::And | BinaryOp::Or | BinaryOp::Unless => break,
            };
            self.at += 1;
            let next = if op == BinaryOp::Pow { op.precedence() } else { op.precedence() + 1 };
            let right = self.duration(next, context)?;
            if right == 0.0 && matches!(op, BinaryOp::Div | BinaryOp::Mod) {
                return Err(Mistake::new(at, if op == BinaryOp::Div { "division by zero" } else { "modulo by zero" }));
            }
            left = calculate(left, right);
        }
        self.depth -= 1;
        Ok(left)
    }

    fn duration_atom(&mut self, context: &str) -> Result<f64, Mistake> {
        let seconds = match self.peek().token {
            Token::Duration(ms) => ms as f64 / 1000.0,
            Token::Number(seconds) => seconds,
            Token::Symbol(Symbol::LeftParen) => {
                self.at += 1;
                let inner = self.duration(0, context)?;
                self.expect(Symbol::RightParen, context, "\")\"")?;
                return Ok(inner);
            }
            Token::Word(_) | Token::Text(_) | Token::Symbol(_) | Token::End | Token::Error(_) => {
                return Err(self.unexpected(context, "number or duration"));
            }
        };
        self.at += 1;
        Ok(seconds)
    }
}

fn milliseconds(seconds: f64, at: usize) -> Result<i64, Mistake> {
    let ms = (seconds * 1000.0).round();
    // As far as Prometheus goes: a duration is nanoseconds in 64 bits.
    if ms.is_finite() && ms.abs() < 9.2e12 {
        return Ok(ms as i64);
    }
    Err(Mistake::new(at, "duration out of range"))
}
