//! The functions of PromQL: names, types, and where their work is done.

use std::fmt;

use super::ast::ValueType;
use super::eval::over::Over;
use super::eval::{calendar, math};

/// How many arguments a function takes, given how many it names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Arity {
    /// Exactly those named.
    Exact,
    /// The last may be left out.
    LastOptional,
    /// The last may be left out or repeated.
    LastRepeats,
}

/// A function of PromQL. Two are equal when their names are.
pub struct Function {
    /// As written.
    pub name: &'static str,
    /// Types of the arguments.
    pub args: &'static [ValueType],
    /// How many of them.
    pub arity: Arity,
    /// Type of the answer.
    pub returns: ValueType,
    pub(crate) body: Body,
}

impl Function {
    /// Whether the same arguments can give something else at another evaluation time.
    pub(crate) fn looks_at_the_time(&self) -> bool {
        match self.body {
            Body::Map(_) => false,
            Body::Calendar(_) => true,
            Body::Over(over) => over.looks_at_the_time(),
            Body::Special(special) => matches!(special, Special::Time | Special::Timestamp),
        }
    }
}

impl PartialEq for Function {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// What a function does.
#[derive(Clone, Copy)]
pub(crate) enum Body {
    /// Changes every value by itself.
    Map(fn(f64) -> f64),
    /// Takes values as unix seconds and reads a calendar; the evaluation time when there is no argument.
    Calendar(fn(&calendar::Date) -> f64),
    /// Folds the samples of a window into one value.
    Over(Over),
    /// Anything else.
    Special(Special),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Special {
    Absent,
    Clamp,
    ClampMin,
    ClampMax,
    HistogramAvg,
    HistogramCount,
    HistogramFraction,
    HistogramQuantile,
    HistogramQuantiles,
    HistogramStddev,
    HistogramStdvar,
    HistogramSum,
    Info,
    LabelJoin,
    LabelReplace,
    Pi,
    Round,
    Scalar,
    Sort,
    SortDesc,
    SortByLabel,
    SortByLabelDesc,
    Time,
    Timestamp,
    Vector,
}

/// Finds a function by name.
pub(crate) fn find(name: &str) -> Option<&'static Function> {
    FUNCTIONS.iter().find(|function| function.name == name)
}

const S: ValueType = ValueType::Scalar;
const V: ValueType = ValueType::Vector;
const M: ValueType = ValueType::Matrix;
const T: ValueType = ValueType::String;

const fn map(name: &'static str, body: fn(f64) -> f64) -> Function {
    Function { name, args: &[V], arity: Arity::Exact, returns: V, body: Body::Map(body) }
}

const fn calendar(name: &'static str, body: fn(&calendar::Date) -> f64) -> Function {
    Function { name, args: &[V], arity: Arity::LastOptional, returns: V, body: Body::Calendar(body) }
}

const fn over(name: &'static str, body: Over) -> Function {
    Function { name, args: &[M], arity: Arity::Exact, returns: V, body: Body::Over(body) }
}

const fn special(name: &'static str, args: &'static [ValueType], returns: ValueType, body: Special) -> Function {
    Function { name, args, arity: Arity::Exact, returns, body: Body::Special(body) }
}

static FUNCTIONS: &[Function] = &[
    map("abs", f64::abs),
    special("absent", &[V], V, Special::Absent),
    over("absent_over_time", Over::Absent),
    map("acos", f64::acos),
    map("acosh", f64::acosh),
    map("asin", f64::asin),
    map("asinh", f64::asinh),
    map("atan", f64::atan),
    map("atanh", f64::atanh),
    over("avg_over_time", Over::Avg),
    map("ceil", f64::ceil),
    over("changes", Over::Changes),
    special("clamp", &[V, S, S], V, Special::Clamp),
    special("clamp_max", &[V, S], V, Special::ClampMax),
    special("clamp_min", &[V, S], V, Special::ClampMin),
    map("cos", f64::cos),
    map("cosh", f64::cosh),
    over("count_over_time", Over::Count),
    calendar("day_of_month", |date| f64::from(date.day)),
    calendar("day_of_week", |date| f64::from(date.weekday)),
    calendar("day_of_year", |date| f64::from(date.day_of_year)),
    calendar("days_in_month", |date| f64::from(date.days_in_month)),
    map("deg", f64::to_degrees),
    over("delta", Over::Delta),
    over("deriv", Over::Deriv),
    Function { args: &[M, S, S], ..over("double_exponential_smoothing", Over::Smoothing) },
    map("exp", f64::exp),
    over("first_over_time", Over::First),
    map("floor", f64::floor),
    special("histogram_avg", &[V], V, Special::HistogramAvg),
    special("histogram_count", &[V], V, Special::HistogramCount),
    special("histogram_fraction", &[S, S, V], V, Special::HistogramFraction),
    special("histogram_quantile", &[S, V], V, Special::HistogramQuantile),
    Function {
        arity: Arity::LastRepeats,
        ..special("histogram_quantiles", &[V, T, S, S], V, Special::HistogramQuantiles)
    },
    special("histogram_stddev", &[V], V, Special::HistogramStddev),
    special("histogram_stdvar", &[V], V, Special::HistogramStdvar),
    special("histogram_sum", &[V], V, Special::HistogramSum),
    Function { args: &[M, S, S], ..over("holt_winters", Over::Smoothing) },
    calendar("hour", |date| f64::from(date.hour)),
    over("idelta", Over::Idelta),
    over("increase", Over::Increase),
    over("irate", Over::Irate),
    Function { arity: Arity::LastOptional, ..special("info", &[V, V], V, Special::Info) },
    Function { arity: Arity::LastRepeats, ..special("label_join", &[V, T, T, T], V, Special::LabelJoin) },
    special("label_replace", &[V, T, T, T, T], V, Special::LabelReplace),
    over("last_over_time", Over::Last),
    map("ln", f64::ln),
    map("log10", f64::log10),
    map("log2", f64::log2),
    over("mad_over_time", Over::Mad),
    over("max_over_time", Over::Max),
    over("min_over_time", Over::Min),
    calendar("minute", |date| f64::from(date.minute)),
    calendar("month", |date| f64::from(date.month)),
    special("pi", &[], S, Special::Pi),
    Function { args: &[M, S], ..over("predict_linear", Over::PredictLinear) },
    over("present_over_time", Over::Present),
    Function { args: &[S, M], ..over("quantile_over_time", Over::Quantile) },
    map("rad", f64::to_radians),
    over("rate", Over::Rate),
    over("resets", Over::Resets),
    Function { arity: Arity::LastOptional, ..special("round", &[V, S], V, Special::Round) },
    special("scalar", &[V], S, Special::Scalar),
    map("sgn", math::sign),
    map("sin", f64::sin),
    map("sinh", f64::sinh),
    special("sort", &[V], V, Special::Sort),
    Function { arity: Arity::LastRepeats, ..special("sort_by_label", &[V, T], V, Special::SortByLabel) },
    Function { arity: Arity::LastRepeats, ..special("sort_by_label_desc", &[V, T], V, Special::SortByLabelDesc) },
    special("sort_desc", &[V], V, Special::SortDesc),
    map("sqrt", f64::sqrt),
    over("stddev_over_time", Over::Stddev),
    over("stdvar_over_time", Over::Stdvar),
    over("sum_over_time", Over::Sum),
    map("tan", f64::tan),
    map("tanh", f64::tanh),
    special("time", &[], S, Special::Time),
    special("timestamp", &[V], V, Special::Timestamp),
    over("ts_of_first_over_time", Over::TimeOfFirst),
    over("ts_of_last_over_time", Over::TimeOfLast),
    over("ts_of_max_over_time", Over::TimeOfMax),
    over("ts_of_min_over_time", Over::TimeOfMin),
    special("vector", &[S], V, Special::Vector),
    calendar("year", |date| date.year as f64),
];
