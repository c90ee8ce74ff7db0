//! Canonical text of an expression; `parse` reads it back to an equal one.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use signal::{Labels, MatchOp, Matcher, format_duration};

use super::ast::{Aggregate, At, Binary, Cardinality, Expr, Number, Selector, TimeShift};
use crate::lex::quote;

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => f.write_str(&quote(&text.value)),
            Self::Selector(selector) => selector.fmt(f),
            Self::Range(range) => {
                range.selector.write_series(f)?;
                write!(f, "[{}]", format_duration(range.range))?;
                range.selector.shift.fmt(f)
            }
            Self::Subquery(subquery) => {
                let step = subquery.step.map(format_duration).unwrap_or_default();
                write!(f, "{}[{}:{step}]{}", subquery.expr, format_duration(subquery.range), subquery.shift)
            }
            Self::Call(call) => {
                write!(f, "{}(", call.function.name)?;
                write_list(f, &call.args)?;
                f.write_str(")")
            }
            Self::Aggregate(aggregate) => aggregate.fmt(f),
            Self::Binary(binary) => binary.fmt(f),
            Self::Unary(unary) => write!(f, "{}{}", if unary.negative { "-" } else { "+" }, unary.expr),
            Self::Paren(inner, _) => write!(f, "({inner})"),
        }
    }
}

impl Display for Number {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.is_duration {
            let sign = if self.value.is_sign_negative() { "-" } else { "" };
            return write!(f, "{sign}{}", format_duration(Duration::from_secs_f64(self.value.abs().min(1e12))));
        }
        f.write_str(&number_text(self.value))
    }
}

/// A number as Prometheus prints it: shortest digits, never an exponent.
pub(crate) fn number_text(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf".to_owned() } else { "-Inf".to_owned() };
    }
    value.to_string()
}

/// A number as Go's `%g` prints it: shortest digits, with an exponent below 1e-4 and from 1e6 on.
pub(crate) fn general_text(value: f64) -> String {
    if !value.is_finite() || value == 0.0 {
        return if value == 0.0 && value.is_sign_negative() { "-0".to_owned() } else { number_text(value) };
    }
    let scientific = format!("{value:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else {
        return scientific;
    };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..6).contains(&exponent) {
        return value.to_string();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

impl Display for TimeShift {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.at {
            Some(At::Time(at)) => {
                let (sign, ms) = (if at.0 < 0 { "-" } else { "" }, at.0.unsigned_abs());
                write!(f, " @ {sign}{}.{:03}", ms / 1000, ms % 1000)?;
            }
            Some(At::Start) => f.write_str(" @ start()")?,
            Some(At::End) => f.write_str(" @ end()")?,
            None => {}
        }
        match self.offset_ms {
            Some(offset) => {
                let sign = if offset < 0 { "-" } else { "" };
                write!(f, " offset {sign}{}", format_duration(Duration::from_millis(offset.unsigned_abs())))
            }
            None => Ok(()),
        }
    }
}

impl Selector {
    /// Name and matchers, without `offset` and `@`.
    fn write_series(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut inside = Vec::new();
        match &self.name {
            Some(name) if is_metric_name(name) => f.write_str(name)?,
            Some(name) => inside.push(quote(name)),
            None => {}
        }
        let mut named = self.name.is_some();
        for matcher in &self.matchers {
            if named && matcher.name == Labels::NAME && matcher.op == MatchOp::Equal {
                named = false;
                continue;
            }
            inside.push(matcher_text(matcher));
        }
        if inside.is_empty() && self.name.is_some() {
            return Ok(());
        }
        write!(f, "{{{}}}", inside.join(","))
    }
}

impl Display for Selector {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.write_series(f)?;
        self.shift.fmt(f)
    }
}

impl Display for Aggregate {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.op.as_str())?;
        if self.without {
            write!(f, " without ({}) ", label_list(&self.grouping))?;
        } else if !self.grouping.is_empty() {
            write!(f, " by ({}) ", label_list(&self.grouping))?;
        }
        match &self.param {
            Some(param) => write!(f, "({param}, {})", self.expr),
            None => write!(f, "({})", self.expr),
        }
    }
}

impl Display for Binary {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.left, self.op.as_str())?;
        if self.returns_bool {
            f.write_str(" bool")?;
        }
        if let Some(matching) = &self.matching {
            let group = match matching.cardinality {
                Cardinality::OneToOne | Cardinality::ManyToMany => "",
                Cardinality::ManyToOne => " group_left",
                Cardinality::OneToMany => " group_right",
            };
            if matching.on || !matching.labels.is_empty() || !group.is_empty() {
                write!(f, " {} ({})", if matching.on { "on" } else { "ignoring" }, label_list(&matching.labels))?;
            }
            if !group.is_empty() {
                write!(f, "{group} ({})", label_list(&matching.include))?;
            }
        }
        write!(f, " {}", self.right)
    }
}

fn write_list(f: &mut Formatter<'_>, exprs: &[Expr]) -> fmt::Result {
    for (at, expr) in exprs.iter().enumerate() {
        write!(f, "{}{expr}", if at > 0 { ", " } else { "" })?;
    }
    Ok(())
}

fn label_list(names: &[String]) -> String {
    names.iter().map(|name| label_text(name)).collect::<Vec<_>>().join(", ")
}

fn label_text(name: &str) -> String {
    if is_label_name(name) { name.to_owned() } else { quote(name) }
}

fn matcher_text(matcher: &Matcher) -> String {
    format!("{}{}{}", label_text(&matcher.name), matcher.op, quote(&matcher.value))
}

/// Whether a label name can be written without quotes.
pub(crate) fn is_label_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Whether a metric name can be written without quotes.
fn is_metric_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_' || c == ':')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':')
        && !super::token::is_reserved(name)
}
