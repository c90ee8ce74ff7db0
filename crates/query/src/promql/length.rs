//! Calculated durations: arithmetic on lengths of time, which may depend on the query's own step and range (upstream's
//! `promql-duration-expr`).

use std::borrow::Cow;
use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use super::ast::{BinaryOp, Expr, Number};

/// A calculated duration, in seconds.
#[derive(Clone, PartialEq, Debug)]
pub enum Length {
    /// `5m`, `300`
    Number(Number),
    /// `step()`
    Step,
    /// `range()`
    Range,
    /// `-a`
    Negative(Box<Length>),
    /// `a + b`
    Binary(Box<Length>, BinaryOp, Box<Length>),
    /// `min(a, b)`
    Smaller(Box<Length>, Box<Length>),
    /// `max(a, b)`
    Larger(Box<Length>, Box<Length>),
    /// `(a)`
    Paren(Box<Length>),
}

/// Why a duration cannot be calculated.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LengthError {
    /// A divisor is zero.
    #[error("division by zero")]
    Division,
    /// A divisor of `%` is zero.
    #[error("modulo by zero")]
    Modulo,
    /// A window or a step is empty or negative.
    #[error("duration must be greater than 0")]
    NotPositive,
    /// More than 292 years.
    #[error("duration is out of range")]
    OutOfRange,
}

/// What `step()` and `range()` stand for, in seconds.
#[derive(Clone, Copy, Debug, Default)]
struct Query {
    step: f64,
    range: f64,
}

impl Length {
    /// Whether the value depends on the query's step or range.
    pub(crate) fn is_dynamic(&self) -> bool {
        match self {
            Self::Number(_) => false,
            Self::Step | Self::Range => true,
            Self::Negative(inner) | Self::Paren(inner) => inner.is_dynamic(),
            Self::Binary(left, _, right) | Self::Smaller(left, right) | Self::Larger(left, right) => {
                left.is_dynamic() || right.is_dynamic()
            }
        }
    }

    fn seconds(&self, query: Query) -> Result<f64, LengthError> {
        Ok(match self {
            Self::Number(number) => number.value,
            Self::Step => query.step,
            Self::Range => query.range,
            Self::Negative(inner) => -inner.seconds(query)?,
            Self::Paren(inner) => inner.seconds(query)?,
            Self::Smaller(left, right) => left.seconds(query)?.min(right.seconds(query)?),
            Self::Larger(left, right) => left.seconds(query)?.max(right.seconds(query)?),
            Self::Binary(left, op, right) => {
                let (left, right) = (left.seconds(query)?, right.seconds(query)?);
                match op {
                    BinaryOp::Add => left + right,
                    BinaryOp::Sub => left - right,
                    BinaryOp::Mul => left * right,
                    BinaryOp::Div if right == 0.0 => return Err(LengthError::Division),
                    BinaryOp::Div => left / right,
                    BinaryOp::Mod if right == 0.0 => return Err(LengthError::Modulo),
                    BinaryOp::Mod => left % right,
                    BinaryOp::Pow => left.powf(right),
                    // The parser lets no other operator in.
                    BinaryOp::Atan2 | BinaryOp::And | BinaryOp::Or | BinaryOp::Unless => f64::NAN,
                    BinaryOp::Equal | BinaryOp::NotEqual | BinaryOp::Greater => f64::NAN,
                    BinaryOp::Less | BinaryOp::GreaterEqual | BinaryOp::LessEqual => f64::NAN,
                }
            }
        })
    }

    /// Milliseconds of a constant length, which may be negative.
    pub(crate) fn constant_ms(&self) -> Result<i64, LengthError> {
        self.ms(Query::default())
    }

    /// A constant length that has to be positive.
    pub(crate) fn constant(&self) -> Result<Duration, LengthError> {
        self.duration(Query::default())
    }

    fn ms(&self, query: Query) -> Result<i64, LengthError> {
        milliseconds(self.seconds(query)?)
    }

    fn duration(&self, query: Query) -> Result<Duration, LengthError> {
        let seconds = self.seconds(query)?;
        if seconds <= 0.0 {
            return Err(LengthError::NotPositive);
        }
        let ms = u64::try_from(milliseconds(seconds)?).map_err(|_| LengthError::NotPositive)?;
        Ok(Duration::from_millis(ms))
    }
}

/// Seconds as milliseconds; less than a nanosecond is rounded, less than a millisecond cut.
pub(crate) fn milliseconds(seconds: f64) -> Result<i64, LengthError> {
    // As far as Prometheus goes: a duration is nanoseconds in 64 bits.
    if seconds.is_nan() || seconds.abs() > i64::MAX as f64 / 1e9 {
        return Err(LengthError::OutOfRange);
    }
    Ok(((seconds * 1e9).round() / 1e6) as i64)
}

impl Display for Length {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Step => f.write_str("step()"),
            Self::Range => f.write_str("range()"),
            Self::Negative(inner) => write!(f, "-{inner}"),
            Self::Binary(left, op, right) => write!(f, "{left} {} {right}", op.as_str()),
            Self::Smaller(left, right) => write!(f, "min({left}, {right})"),
            Self::Larger(left, right) => write!(f, "max({left}, {right})"),
            Self::Paren(inner) => write!(f, "({inner})"),
        }
    }
}

impl Expr {
    /// The expression with every duration that depends on the query's `step` and `range` (its end minus its start)
    /// calculated. Both are zero for a query at one time.
    ///
    /// # Errors
    /// `LengthError` when a duration comes out as something that no duration can be.
    pub fn resolved(&self, step: Duration, range: Duration) -> Result<Cow<'_, Self>, LengthError> {
        if !self.is_dynamic() {
            return Ok(Cow::Borrowed(self));
        }
        let mut resolved = self.clone();
        resolved.resolve(Query { step: step.as_secs_f64(), range: range.as_secs_f64() })?;
        Ok(Cow::Owned(resolved))
    }

    fn is_dynamic(&self) -> bool {
        let is = |length: &Option<Box<Length>>| length.as_deref().is_some_and(Length::is_dynamic);
        let own = match self {
            Self::Selector(selector) => is(&selector.offset),
            Self::Range(range) => is(&range.length) || is(&range.selector.offset),
            Self::Subquery(subquery) => is(&subquery.length) || is(&subquery.distance) || is(&subquery.offset),
            Self::Number(_) | Self::Text(_) | Self::Call(_) | Self::Aggregate(_) => false,
            Self::Binary(_) | Self::Unary(_) | Self::Paren(..) => false,
        };
        own || self.children().into_iter().any(Self::is_dynamic)
    }

    fn resolve(&mut self, query: Query) -> Result<(), LengthError> {
        match self {
            Self::Selector(selector) => {
                if let Some(offset) = &selector.offset {
                    selector.shift.offset_ms = Some(offset.ms(query)?);
                }
            }
            Self::Range(range) => {
                if let Some(offset) = &range.selector.offset {
                    range.selector.shift.offset_ms = Some(offset.ms(query)?);
                }
                if let Some(length) = &range.length {
                    range.range = length.duration(query)?;
                }
            }
            Self::Subquery(subquery) => {
                if let Some(offset) = &subquery.offset {
                    subquery.shift.offset_ms = Some(offset.ms(query)?);
                }
                if let Some(distance) = &subquery.distance {
                    subquery.step = Some(distance.duration(query)?);
                }
                if let Some(length) = &subquery.length {
                    subquery.range = length.duration(query)?;
                }
            }
            Self::Number(_) | Self::Text(_) | Self::Call(_) | Self::Aggregate(_) => {}
            Self::Binary(_) | Self::Unary(_) | Self::Paren(..) => {}
        }
        self.children_mut().into_iter().try_for_each(|child| child.resolve(query))
    }
}
