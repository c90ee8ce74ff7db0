//! The functions of PromQL: names, types, and where their work is done.

use std::fmt;

use super::ast::ValueType;
use super::eval::window::{self, Window};
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
    Window(fn(&Window<'_>) -> Option<f64>),
    /// Like `Window`, but the answer is still that metric and keeps its name.
    Pick(fn(&Window<'_>) -> Option<f64>),
    /// Anything else.
    Special(Special),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Special {
    Absent,
    AbsentOverTime,
    Clamp,
    ClampMin,
    ClampMax,
    DoubleExponentialSmoothing,
    HistogramFraction,
    HistogramQuantile,
    LabelJoin,
    LabelReplace,
    /// Works on native histograms only, of which there are none: answers nothing.
    NativeHistogram,
    Pi,
    QuantileOverTime,
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

const fn window(name: &'static str, body: fn(&Window<'_>) -> Option<f64>) -> Function {
    Function { name, args: &[M], arity: Arity::Exact, returns: V, body: Body::Window(body) }
}

const fn special(name: &'static str, args: &'static [ValueType], returns: ValueType, body: Special) -> Function {
    Function { name, args, arity: Arity::Exact, returns, body: Body::Special(body) }
}

static FUNCTIONS: &[Function] = &[
    map("abs", f64::abs),
    special("absent", &[V], V, Special::Absent),
    special("absent_over_time", &[M], V, Special::AbsentOverTime),
    map("acos", f64::acos),
    map("acosh", f64::acosh),
    map("asin", f64::asin),
    map("asinh", f64::asinh),
    map("atan", f64::atan),
    map("atanh", f64::atanh),
    window("avg_over_time", window::avg),
    map("ceil", f64::ceil),
    window("changes", window::changes),
    special("clamp", &[V, S, S], V, Special::Clamp),
    special("clamp_max", &[V, S], V, Special::ClampMax),
    special("clamp_min", &[V, S], V, Special::ClampMin),
    map("cos", f64::cos),
    map("cosh", f64::cosh),
    window("count_over_time", window::count),
    calendar("day_of_month", |date| f64::from(date.day)),
    calendar("day_of_week", |date| f64::from(date.weekday)),
    calendar("day_of_year", |date| f64::from(date.day_of_year)),
    calendar("days_in_month", |date| f64::from(date.days_in_month)),
    map("deg", f64::to_degrees),
    window("delta", window::delta),
    window("deriv", window::deriv),
    special("double_exponential_smoothing", &[M, S, S], V, Special::DoubleExponentialSmoothing),
    map("exp", f64::exp),
    Function { body: Body::Pick(window::first), ..window("first_over_time", window::first) },
    map("floor", f64::floor),
    special("histogram_avg", &[V], V, Special::NativeHistogram),
    special("histogram_count", &[V], V, Special::NativeHistogram),
    special("histogram_fraction", &[S, S, V], V, Special::HistogramFraction),
    special("histogram_quantile", &[S, V], V, Special::HistogramQuantile),
    special("histogram_stddev", &[V], V, Special::NativeHistogram),
    special("histogram_stdvar", &[V], V, Special::NativeHistogram),
    special("histogram_sum", &[V], V, Special::NativeHistogram),
    special("holt_winters", &[M, S, S], V, Special::DoubleExponentialSmoothing),
    calendar("hour", |date| f64::from(date.hour)),
    window("idelta", window::idelta),
    window("increase", window::increase),
    window("irate", window::irate),
    Function { arity: Arity::LastRepeats, ..special("label_join", &[V, T, T, T], V, Special::LabelJoin) },
    special("label_replace", &[V, T, T, T, T], V, Special::LabelReplace),
    Function { body: Body::Pick(window::last), ..window("last_over_time", window::last) },
    map("ln", f64::ln),
    map("log10", f64::log10),
    map("log2", f64::log2),
    window("mad_over_time", window::mad),
    window("max_over_time", window::max),
    window("min_over_time", window::min),
    calendar("minute", |date| f64::from(date.minute)),
    calendar("month", |date| f64::from(date.month)),
    special("pi", &[], S, Special::Pi),
    Function { args: &[M, S], ..window("predict_linear", window::predict_linear) },
    window("present_over_time", |window| (!window.samples.is_empty()).then_some(1.0)),
    special("quantile_over_time", &[S, M], V, Special::QuantileOverTime),
    map("rad", f64::to_radians),
    window("rate", window::rate),
    window("resets", window::resets),
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
    window("stddev_over_time", |window| window::variance(window).map(f64::sqrt)),
    window("stdvar_over_time", window::variance),
    window("sum_over_time", window::sum),
    map("tan", f64::tan),
    map("tanh", f64::tanh),
    special("time", &[], S, Special::Time),
    special("timestamp", &[V], V, Special::Timestamp),
    window("ts_of_first_over_time", |window| window.samples.first().map(|sample| sample.at.as_secs_f64())),
    window("ts_of_last_over_time", |window| window.samples.last().map(|sample| sample.at.as_secs_f64())),
    window("ts_of_max_over_time", window::time_of_max),
    window("ts_of_min_over_time", window::time_of_min),
    special("vector", &[S], V, Special::Vector),
    calendar("year", |date| date.year as f64),
];
