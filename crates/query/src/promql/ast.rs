//! The shape of a query.

use std::fmt;
use std::time::Duration;

use signal::{Matcher, Timestamp};

use super::functions::Function;
use super::length::Length;
use crate::lex::Position;

/// Byte range of an expression in the query text. Two expressions are equal wherever they stand, so any two places are.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// First byte.
    pub start: usize,
    /// Byte after the last.
    pub end: usize,
    /// Line and column of the first byte.
    pub position: Position,
}

impl Place {
    pub(crate) const NOWHERE: Self = Self { start: 0, end: 0, position: Position { line: 1, column: 1 } };
}

impl PartialEq for Place {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// What an expression gives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ValueType {
    /// One number.
    Scalar,
    /// One number per series.
    Vector,
    /// Many samples per series.
    Matrix,
    /// A text.
    String,
}

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scalar => "scalar",
            Self::Vector => "instant vector",
            Self::Matrix => "range vector",
            Self::String => "string",
        })
    }
}

/// A parsed and type-checked PromQL query.
#[derive(Clone, PartialEq, Debug)]
pub enum Expr {
    /// `1.5`, `5m`
    Number(Number),
    /// `"text"`
    Text(Text),
    /// `up{job="a"}`
    Selector(Selector),
    /// `up[5m]`
    Range(RangeSelector),
    /// `expr[1h:5m]`
    Subquery(Subquery),
    /// `rate(…)`
    Call(Call),
    /// `sum by (job) (…)`
    Aggregate(Aggregate),
    /// `a + b`
    Binary(Binary),
    /// `-a`
    Unary(Unary),
    /// `(a)`
    Paren(Box<Expr>, Place),
}

/// A number literal; equal when bit for bit the same.
#[derive(Clone, Copy, Debug)]
pub struct Number {
    /// Its value, in seconds if it was written as a duration.
    pub value: f64,
    /// Whether it was written as a duration.
    pub is_duration: bool,
    /// Where it stands.
    pub place: Place,
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.value.to_bits() == other.value.to_bits() && self.is_duration == other.is_duration
    }
}

/// A string literal.
#[derive(Clone, PartialEq, Debug)]
pub struct Text {
    /// Without quotes and escapes; bytes that are no UTF-8 became U+FFFD.
    pub value: String,
    /// In canonical quotes, every byte as it was.
    pub quoted: String,
    /// Where it stands.
    pub place: Place,
}

/// A fixed evaluation time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum At {
    /// `@ 1700000000`
    Time(Timestamp),
    /// `@ start()`
    Start,
    /// `@ end()`
    End,
}

/// `offset` and `@`: which time an expression looks at instead of the evaluation time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TimeShift {
    /// Milliseconds into the past; negative into the future; `None` when not written.
    pub offset_ms: Option<i64>,
    /// Fixed time.
    pub at: Option<At>,
}

/// How far a selector looks beyond its window.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Reach {
    /// Not at all.
    #[default]
    Window,
    /// `anchored`: to the last sample at or before the window's start, which then stands there.
    Anchored,
    /// `smoothed`: to the samples around both edges, between which the values at the edges are interpolated.
    Smoothed,
}

/// Picks series.
#[derive(Clone, PartialEq, Debug)]
pub struct Selector {
    /// The metric name if it was written before the braces; then also in `matchers`.
    pub name: Option<String>,
    /// All conditions, the name's first.
    pub matchers: Vec<Matcher>,
    /// `offset` and `@`.
    pub shift: TimeShift,
    /// The offset as written, when it was calculated; its value is in `shift`.
    pub offset: Option<Box<Length>>,
    /// `anchored` or `smoothed`.
    pub reach: Reach,
    /// Where it stands.
    pub place: Place,
}

/// Picks the samples of series in a window.
#[derive(Clone, PartialEq, Debug)]
pub struct RangeSelector {
    /// Which series, and when the window ends.
    pub selector: Selector,
    /// Length of the window.
    pub range: Duration,
    /// The length as written, when it was calculated.
    pub length: Option<Box<Length>>,
    /// Where it stands, with the brackets.
    pub place: Place,
}

/// Evaluates an expression again and again in a window.
#[derive(Clone, PartialEq, Debug)]
pub struct Subquery {
    /// What to evaluate.
    pub expr: Box<Expr>,
    /// Length of the window.
    pub range: Duration,
    /// Distance of evaluations; `None` means the default.
    pub step: Option<Duration>,
    /// `offset` and `@`.
    pub shift: TimeShift,
    /// The length of the window as written, when it was calculated.
    pub length: Option<Box<Length>>,
    /// The distance as written, when it was calculated.
    pub distance: Option<Box<Length>>,
    /// The offset as written, when it was calculated.
    pub offset: Option<Box<Length>>,
    /// Where it stands.
    pub place: Place,
}

/// Calls a function.
#[derive(Clone, PartialEq, Debug)]
pub struct Call {
    /// Which.
    pub function: &'static Function,
    /// With what; count and types are checked.
    pub args: Vec<Expr>,
    /// Where it stands.
    pub place: Place,
}

/// The aggregation operators.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AggregateOp {
    /// `sum`
    Sum,
    /// `avg`
    Avg,
    /// `min`
    Min,
    /// `max`
    Max,
    /// `count`
    Count,
    /// `group`
    Group,
    /// `stddev`
    Stddev,
    /// `stdvar`
    Stdvar,
    /// `topk`
    Topk,
    /// `bottomk`
    Bottomk,
    /// `quantile`
    Quantile,
    /// `count_values`
    CountValues,
    /// `limitk`
    Limitk,
    /// `limit_ratio`
    LimitRatio,
}

impl AggregateOp {
    pub(crate) const ALL: [(&'static str, Self); 14] = [
        ("sum", Self::Sum),
        ("avg", Self::Avg),
        ("min", Self::Min),
        ("max", Self::Max),
        ("count", Self::Count),
        ("group", Self::Group),
        ("stddev", Self::Stddev),
        ("stdvar", Self::Stdvar),
        ("topk", Self::Topk),
        ("bottomk", Self::Bottomk),
        ("quantile", Self::Quantile),
        ("count_values", Self::CountValues),
        ("limitk", Self::Limitk),
        ("limit_ratio", Self::LimitRatio),
    ];

    pub(crate) fn from_word(word: &str) -> Option<Self> {
        Self::ALL.iter().find(|(name, _)| *name == word).map(|(_, op)| *op)
    }

    /// As written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(_, op)| *op == self).map_or("", |(name, _)| name)
    }

    /// The type of the parameter before the expression, if the operator takes one.
    #[must_use]
    pub fn parameter(self) -> Option<ValueType> {
        match self {
            Self::Topk | Self::Bottomk | Self::Quantile | Self::Limitk | Self::LimitRatio => Some(ValueType::Scalar),
            Self::CountValues => Some(ValueType::String),
            Self::Sum | Self::Avg | Self::Min | Self::Max | Self::Count | Self::Group | Self::Stddev | Self::Stdvar => {
                None
            }
        }
    }
}

/// Combines series by label.
#[derive(Clone, PartialEq, Debug)]
pub struct Aggregate {
    /// How.
    pub op: AggregateOp,
    /// `k` of topk, the quantile, the label of `count_values`.
    pub param: Option<Box<Expr>>,
    /// What.
    pub expr: Box<Expr>,
    /// Labels named after `by` or `without`.
    pub grouping: Vec<String>,
    /// `without` instead of `by`.
    pub without: bool,
    /// Where it stands.
    pub place: Place,
}

/// The binary operators.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BinaryOp {
    /// `+`
    Add,
    /// `-`
    Sub,
    /// `*`
    Mul,
    /// `/`
    Div,
    /// `%`
    Mod,
    /// `^`
    Pow,
    /// `atan2`
    Atan2,
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `>`
    Greater,
    /// `<`
    Less,
    /// `>=`
    GreaterEqual,
    /// `<=`
    LessEqual,
    /// `and`
    And,
    /// `or`
    Or,
    /// `unless`
    Unless,
}

impl BinaryOp {
    /// As written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::Mod => "%",
            Self::Pow => "^",
            Self::Atan2 => "atan2",
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Greater => ">",
            Self::Less => "<",
            Self::GreaterEqual => ">=",
            Self::LessEqual => "<=",
            Self::And => "and",
            Self::Or => "or",
            Self::Unless => "unless",
        }
    }

    /// Whether it compares.
    #[must_use]
    pub fn is_comparison(self) -> bool {
        match self {
            Self::Equal | Self::NotEqual | Self::Greater | Self::Less | Self::GreaterEqual | Self::LessEqual => true,
            Self::Add | Self::Sub | Self::Mul | Self::Div | Self::Mod | Self::Pow | Self::Atan2 => false,
            Self::And | Self::Or | Self::Unless => false,
        }
    }

    /// Whether it is `and`, `or` or `unless`.
    #[must_use]
    pub fn is_set(self) -> bool {
        matches!(self, Self::And | Self::Or | Self::Unless)
    }

    /// Higher binds tighter.
    pub(crate) fn precedence(self) -> u8 {
        match self {
            Self::Or => 1,
            Self::And | Self::Unless => 2,
            Self::Equal | Self::NotEqual | Self::Greater | Self::Less | Self::GreaterEqual | Self::LessEqual => 3,
            Self::Add | Self::Sub => 4,
            Self::Mul | Self::Div | Self::Mod | Self::Atan2 => 5,
            Self::Pow => 6,
        }
    }
}

/// How many partners a sample may have on each side of a binary operator.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cardinality {
    /// The default.
    OneToOne,
    /// `group_left`
    ManyToOne,
    /// `group_right`
    OneToMany,
    /// Set operators.
    ManyToMany,
}

/// Values that stand in for a missing partner, `fill`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fill {
    /// For the left side.
    pub left: Option<f64>,
    /// For the right side.
    pub right: Option<f64>,
}

impl PartialEq for Fill {
    /// By bits: an expression equals itself also when it fills with NaN.
    fn eq(&self, other: &Self) -> bool {
        let bits = |fill: &Self| (fill.left.map(f64::to_bits), fill.right.map(f64::to_bits));
        bits(self) == bits(other)
    }
}

/// How the sides of a vector operation find each other.
#[derive(Clone, PartialEq, Debug)]
pub struct Matching {
    /// How many partners.
    pub cardinality: Cardinality,
    /// Labels named after `on` or `ignoring`.
    pub labels: Vec<String>,
    /// `on` instead of `ignoring`.
    pub on: bool,
    /// Labels taken over from the "one" side.
    pub include: Vec<String>,
    /// What stands in for a missing partner.
    pub fill: Fill,
}

/// Two expressions and an operator.
#[derive(Clone, PartialEq, Debug)]
pub struct Binary {
    /// Operator.
    pub op: BinaryOp,
    /// Left side.
    pub left: Box<Expr>,
    /// Right side.
    pub right: Box<Expr>,
    /// A comparison that answers 0 or 1 instead of filtering.
    pub returns_bool: bool,
    /// Only between two vectors.
    pub matching: Option<Matching>,
    /// Where it stands.
    pub place: Place,
    /// Where the operator stands.
    pub at: Place,
}

/// A sign.
#[derive(Clone, PartialEq, Debug)]
pub struct Unary {
    /// `-` instead of `+`.
    pub negative: bool,
    /// What it applies to.
    pub expr: Box<Expr>,
    /// Where it stands.
    pub place: Place,
}

impl Expr {
    /// What the expression gives.
    #[must_use]
    pub fn value_type(&self) -> ValueType {
        match self {
            Self::Number(_) => ValueType::Scalar,
            Self::Text(_) => ValueType::String,
            Self::Selector(_) | Self::Aggregate(_) => ValueType::Vector,
            Self::Range(_) | Self::Subquery(_) => ValueType::Matrix,
            Self::Call(call) => call.function.returns,
            Self::Binary(binary) => match (binary.left.value_type(), binary.right.value_type()) {
                (ValueType::Scalar, ValueType::Scalar) => ValueType::Scalar,
                _ => ValueType::Vector,
            },
            Self::Unary(unary) => unary.expr.value_type(),
            Self::Paren(inner, _) => inner.value_type(),
        }
    }

    /// Where the expression stands in the query text.
    #[must_use]
    pub fn place(&self) -> Place {
        match self {
            Self::Number(number) => number.place,
            Self::Text(text) => text.place,
            Self::Selector(selector) => selector.place,
            Self::Range(range) => range.place,
            Self::Subquery(subquery) => subquery.place,
            Self::Call(call) => call.place,
            Self::Aggregate(aggregate) => aggregate.place,
            Self::Binary(binary) => binary.place,
            Self::Unary(unary) => unary.place,
            Self::Paren(_, place) => *place,
        }
    }

    /// The expression without parentheses around it.
    #[must_use]
    pub fn unwrapped(&self) -> &Self {
        let mut inner = self;
        while let Self::Paren(next, _) = inner {
            inner = next;
        }
        inner
    }

    /// Every series selector in the expression, from left to right.
    #[must_use]
    pub fn selectors(&self) -> Vec<&Selector> {
        let mut found = Vec::new();
        self.collect_selectors(&mut found);
        found
    }

    fn collect_selectors<'a>(&'a self, found: &mut Vec<&'a Selector>) {
        match self {
            Self::Selector(selector) => found.push(selector),
            Self::Range(range) => found.push(&range.selector),
            Self::Number(_) | Self::Text(_) | Self::Subquery(_) | Self::Call(_) => {}
            Self::Aggregate(_) | Self::Binary(_) | Self::Unary(_) | Self::Paren(..) => {}
        }
        for child in self.children() {
            child.collect_selectors(found);
        }
    }

    /// The expressions directly inside this one, to be changed.
    pub(crate) fn children_mut(&mut self) -> Vec<&mut Self> {
        match self {
            Self::Number(_) | Self::Text(_) | Self::Selector(_) | Self::Range(_) => Vec::new(),
            Self::Subquery(subquery) => vec![&mut *subquery.expr],
            Self::Call(call) => call.args.iter_mut().collect(),
            Self::Aggregate(aggregate) => {
                aggregate.param.iter_mut().chain([&mut aggregate.expr]).map(|expr| &mut **expr).collect()
            }
            Self::Binary(binary) => vec![&mut *binary.left, &mut *binary.right],
            Self::Unary(unary) => vec![&mut *unary.expr],
            Self::Paren(inner, _) => vec![&mut **inner],
        }
    }

    /// The expressions directly inside this one.
    #[must_use]
    pub fn children(&self) -> Vec<&Self> {
        match self {
            Self::Number(_) | Self::Text(_) | Self::Selector(_) | Self::Range(_) => Vec::new(),
            Self::Subquery(subquery) => vec![&subquery.expr],
            Self::Call(call) => call.args.iter().collect(),
            Self::Aggregate(aggregate) => aggregate.param.iter().chain([&aggregate.expr]).map(|expr| &**expr).collect(),
            Self::Binary(binary) => vec![&binary.left, &binary.right],
            Self::Unary(unary) => vec![&unary.expr],
            Self::Paren(inner, _) => vec![inner],
        }
    }
}
