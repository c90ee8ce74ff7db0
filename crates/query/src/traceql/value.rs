//! Values of spans, and what conditions say about them.

use std::borrow::Cow;
use std::cmp::Ordering;

use regex::Regex;
use signal::{AttributeValue, SpanKind, SpanStatus, go_regex};

use super::ast::{BinaryOp, Static};

/// A regular expression that must match the whole text.
#[derive(Clone, Debug)]
pub(super) struct Pattern(Regex);

impl Pattern {
    pub(super) fn new(text: &str) -> Result<Self, String> {
        // The plain text is compiled for its error: nobody wrote the anchors.
        go_regex::compile(&format!("^(?:{text})$"))
            .map(Self)
            .map_err(|anchored| go_regex::compile(text).err().unwrap_or(anchored))
    }

    pub(super) fn matches(&self, text: &str) -> bool {
        self.0.is_match(text)
    }
}

/// What an expression yields for one span.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Value<'a> {
    /// Not there.
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    /// Nanoseconds.
    Duration(i64),
    Text(Cow<'a, str>),
    Status(SpanStatus),
    Kind(SpanKind),
    /// A list attribute, or one value for each event or link.
    Many(Vec<Value<'a>>),
}

impl<'a> From<&'a AttributeValue> for Value<'a> {
    fn from(value: &'a AttributeValue) -> Self {
        match value {
            AttributeValue::String(text) => Self::Text(Cow::Borrowed(text)),
            AttributeValue::Bool(value) => Self::Bool(*value),
            AttributeValue::Int(value) => Self::Int(*value),
            AttributeValue::Float(value) => Self::Float(*value),
            AttributeValue::List(values) => Self::Many(values.iter().map(Self::from).collect()),
            AttributeValue::Bytes(_) | AttributeValue::Map(_) => Self::Text(Cow::Owned(value.to_string())),
        }
    }
}

impl<'a> From<&'a Static> for Value<'a> {
    fn from(value: &'a Static) -> Self {
        match value {
            Static::Nil => Self::Nil,
            Static::Bool(value) => Self::Bool(*value),
            Static::Int(value) => Self::Int(*value),
            Static::Float(value) => Self::Float(*value),
            Static::Duration(nanos) => Self::Duration(*nanos),
            Static::Text(text) => Self::Text(Cow::Borrowed(text)),
            Static::Status(status) => Self::Status(*status),
            Static::Kind(kind) => Self::Kind(*kind),
        }
    }
}

impl Value<'_> {
    pub(super) fn is_true(&self) -> bool {
        *self == Value::Bool(true)
    }

    /// As a number; durations in nanoseconds.
    pub(super) fn number(&self) -> Option<f64> {
        match self {
            Self::Int(value) | Self::Duration(value) => Some(*value as f64),
            Self::Float(value) => Some(*value),
            Self::Nil | Self::Bool(_) | Self::Text(_) | Self::Status(_) | Self::Kind(_) | Self::Many(_) => None,
        }
    }

    /// As an attribute of an answer; `None` for what is not there.
    pub(super) fn to_attribute(&self) -> Option<AttributeValue> {
        Some(match self {
            Self::Nil => return None,
            Self::Bool(value) => AttributeValue::Bool(*value),
            Self::Int(value) | Self::Duration(value) => AttributeValue::Int(*value),
            Self::Float(value) => AttributeValue::Float(*value),
            Self::Text(text) => AttributeValue::String(text.to_string()),
            Self::Status(status) => AttributeValue::String(status.as_str().to_owned()),
            Self::Kind(kind) => AttributeValue::String(kind.as_str().to_owned()),
            Self::Many(values) => AttributeValue::List(values.iter().filter_map(Self::to_attribute).collect()),
        })
    }

    /// The order of two values of one type; whole numbers exactly.
    fn order(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Int(a) | Self::Duration(a), Self::Int(b) | Self::Duration(b)) => Some(a.cmp(b)),
            (Self::Text(a), Self::Text(b)) => Some(a.cmp(b)),
            (Self::Bool(a), Self::Bool(b)) => Some(a.cmp(b)),
            (Self::Status(a), Self::Status(b)) => Some(a.as_str().cmp(b.as_str())),
            (Self::Kind(a), Self::Kind(b)) => Some(a.as_str().cmp(b.as_str())),
            _ => self.number()?.partial_cmp(&other.number()?),
        }
    }
}

/// Whether a comparison holds. What is not there satisfies none, except that it equals `nil`; values of different types
/// neither equal nor differ. Of many values one must satisfy it, or all for a negated comparison.
pub(super) fn compares(op: BinaryOp, left: &Value<'_>, right: &Value<'_>) -> bool {
    let negated = op == BinaryOp::NotEqual;
    match (left, right) {
        (Value::Nil, Value::Nil) => op == BinaryOp::Equal,
        (Value::Many(values), other) if negated => values.iter().all(|value| compares(op, value, other)),
        (other, Value::Many(values)) if negated => values.iter().all(|value| compares(op, other, value)),
        (Value::Many(values), other) => values.iter().any(|value| compares(op, value, other)),
        (other, Value::Many(values)) => values.iter().any(|value| compares(op, other, value)),
        (left, right) => left.order(right).is_some_and(|order| match op {
            BinaryOp::Equal => order.is_eq(),
            BinaryOp::NotEqual => order.is_ne(),
            BinaryOp::Less => order.is_lt(),
            BinaryOp::LessOrEqual => order.is_le(),
            BinaryOp::Greater => order.is_gt(),
            BinaryOp::GreaterOrEqual => order.is_ge(),
            BinaryOp::Or
            | BinaryOp::And
            | BinaryOp::Regex
            | BinaryOp::NotRegex
            | BinaryOp::Add
            | BinaryOp::Subtract
            | BinaryOp::Multiply
            | BinaryOp::Divide
            | BinaryOp::Modulo
            | BinaryOp::Power => false,
        }),
    }
}

/// Whether a text matches; the negation needs a text too.
pub(super) fn matches(pattern: &Pattern, negated: bool, value: &Value<'_>) -> bool {
    match value {
        Value::Text(text) => pattern.matches(text) != negated,
        Value::Many(values) if negated => {
            !values.is_empty() && values.iter().all(|value| matches(pattern, true, value))
        }
        Value::Many(values) => values.iter().any(|value| matches(pattern, false, value)),
        Value::Nil
        | Value::Bool(_)
        | Value::Int(_)
        | Value::Float(_)
        | Value::Duration(_)
        | Value::Status(_)
        | Value::Kind(_) => false,
    }
}

/// Arithmetic; nothing when a side is no number. Whole numbers and durations stay so where that is exact.
pub(super) fn compute<'a>(op: BinaryOp, left: &Value<'_>, right: &Value<'_>) -> Value<'a> {
    let (Some(a), Some(b)) = (left.number(), right.number()) else { return Value::Nil };
    if let (Value::Int(a) | Value::Duration(a), Value::Int(b) | Value::Duration(b)) = (left, right) {
        let exact = match op {
            BinaryOp::Add => a.checked_add(*b),
            BinaryOp::Subtract => a.checked_sub(*b),
            BinaryOp::Multiply => a.checked_mul(*b),
            BinaryOp::Modulo => a.checked_rem(*b),
            _ => None,
        };
        if let Some(exact) = exact {
            return Value::Int(exact);
        }
    }
    Value::Float(match op {
        BinaryOp::Add => a + b,
        BinaryOp::Subtract => a - b,
        BinaryOp::Multiply => a * b,
        BinaryOp::Divide => a / b,
        BinaryOp::Modulo => a % b,
        BinaryOp::Power => a.powf(b),
        _ => return Value::Nil,
    })
}
