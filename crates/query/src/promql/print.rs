//! Canonical text of an expression; `parse` reads it back to an equal one.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use signal::{Labels, MatchOp, Matcher, format_duration};

use super::ast::{Aggregate, At, Binary, Cardinality, Expr, Number, Reach, Selector, Subquery, TimeShift};
use super::length::Length;
use crate::lex::quote;

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => f.write_str(&text.quoted),
            Self::Selector(selector) => selector.fmt(f),
            Self::Range(range) => {
                range.selector.write_series(f)?;
                write!(f, "[{}]", length_text(range.range, range.length.as_deref()))?;
                range.selector.reach.fmt(f)?;
                write_shift(f, range.selector.shift, range.selector.offset.as_deref())
            }
            Self::Subquery(subquery) => {
                subquery.expr.fmt(f)?;
                subquery.write_suffix(f)
            }
            Self::Call(call) => {
                write!(f, "{}(", call.function.name)?;
                write_list(f, &call.args)?;
                f.write_str(")")
            }
            Self::Aggregate(aggregate) => aggregate.fmt(f),
            Self::Binary(binary) => binary.fmt(f),
            Self::Unary(unary) => write!(f, "{}{}", sign(unary.negative), unary.expr),
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

fn sign(negative: bool) -> &'static str {
    if negative { "-" } else { "+" }
}

fn length_text(fixed: Duration, calculated: Option<&Length>) -> String {
    calculated.map_or_else(|| format_duration(fixed), Length::to_string)
}

impl Display for Reach {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Window => "",
            Self::Anchored => " anchored",
            Self::Smoothed => " smoothed",
        })
    }
}

impl Display for At {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Time(at) => {
                let (sign, ms) = (if at.0 < 0 { "-" } else { "" }, at.0.unsigned_abs());
                write!(f, " @ {sign}{}.{:03}", ms / 1000, ms % 1000)
            }
            Self::Start => f.write_str(" @ start()"),
            Self::End => f.write_str(" @ end()"),
        }
    }
}

fn write_offset(f: &mut Formatter<'_>, fixed: Option<i64>, calculated: Option<&Length>) -> fmt::Result {
    match (calculated, fixed) {
        (Some(length), _) => write!(f, " offset {length}"),
        (None, Some(ms)) => {
            let sign = if ms < 0 { "-" } else { "" };
            write!(f, " offset {sign}{}", format_duration(Duration::from_millis(ms.unsigned_abs())))
        }
        (None, None) => Ok(()),
    }
}

fn write_shift(f: &mut Formatter<'_>, shift: TimeShift, offset: Option<&Length>) -> fmt::Result {
    if let Some(at) = shift.at {
        at.fmt(f)?;
    }
    write_offset(f, shift.offset_ms, offset)
}

impl Selector {
    /// Name and matchers, without `offset` and `@`.
    fn write_series(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut matchers: Vec<String> = self
            .matchers
            .iter()
            .filter(|matcher| {
                let outside = matcher.name == Labels::NAME && matcher.op == MatchOp::Equal;
                !(outside && self.name.as_ref() == Some(&matcher.value))
            })
            .map(matcher_text)
            .collect();
        matchers.sort();
        f.write_str(self.name.as_deref().unwrap_or(""))?;
        if matchers.is_empty() && self.name.is_some() {
            return Ok(());
        }
        write!(f, "{{{}}}", matchers.join(","))
    }
}

impl Display for Selector {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.write_series(f)?;
        if let Some(at) = self.shift.at {
            at.fmt(f)?;
        }
        self.reach.fmt(f)?;
        write_offset(f, self.shift.offset_ms, self.offset.as_deref())
    }
}

impl Subquery {
    /// Range, step, `@` and `offset`.
    fn write_suffix(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let step = match (&self.distance, self.step) {
            (Some(distance), _) => distance.to_string(),
            (None, Some(step)) => format_duration(step),
            (None, None) => String::new(),
        };
        write!(f, "[{}:{step}]", length_text(self.range, self.length.as_deref()))?;
        write_shift(f, self.shift, self.offset.as_deref())
    }
}

impl Aggregate {
    /// Operator and grouping.
    fn write_head(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.op.as_str())?;
        if self.without {
            return write!(f, " without ({}) ", label_list(&self.grouping));
        }
        if self.grouping.is_empty() {
            return Ok(());
        }
        write!(f, " by ({}) ", label_list(&self.grouping))
    }
}

impl Display for Aggregate {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.write_head(f)?;
        match &self.param {
            Some(param) => write!(f, "({param}, {})", self.expr),
            None => write!(f, "({})", self.expr),
        }
    }
}

impl Binary {
    /// Operator and modifiers.
    fn write_operator(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.op.as_str())?;
        if self.returns_bool {
            f.write_str(" bool")?;
        }
        let Some(matching) = &self.matching else {
            return Ok(());
        };
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
        match (matching.fill.left, matching.fill.right) {
            (Some(left), Some(right)) if left.to_bits() == right.to_bits() => {
                write!(f, " fill ({})", number_text(left))
            }
            (left, right) => {
                if let Some(left) = left {
                    write!(f, " fill_left ({})", number_text(left))?;
                }
                match right {
                    Some(right) => write!(f, " fill_right ({})", number_text(right)),
                    None => Ok(()),
                }
            }
        }
    }
}

impl Display for Binary {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.left)?;
        self.write_operator(f)?;
        write!(f, " {}", self.right)
    }
}

/// Lines longer than this are broken.
const MAX_LINE: usize = 100;

/// Calls a writer of text as if it were a `Display`.
struct By<F>(F);

impl<F: Fn(&mut Formatter<'_>) -> fmt::Result> Display for By<F> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0(f)
    }
}

impl Expr {
    /// The canonical text, broken into indented lines where it is long, as `promtool promql format` breaks it.
    #[must_use]
    pub fn pretty(&self) -> String {
        self.pretty_at(0)
    }

    fn pretty_at(&self, level: usize) -> String {
        let indent = "  ".repeat(level);
        let whole = self.to_string();
        let fits = whole.len() <= MAX_LINE;
        match self {
            Self::Number(_) | Self::Text(_) | Self::Selector(_) | Self::Range(_) => format!("{indent}{whole}"),
            // Upstream forgets to indent it.
            Self::Subquery(_) if fits => whole,
            Self::Call(_) | Self::Aggregate(_) | Self::Binary(_) | Self::Paren(..) if fits => {
                format!("{indent}{whole}")
            }
            Self::Subquery(subquery) => {
                format!("{}{}", subquery.expr.pretty_at(level), By(|f: &mut Formatter<'_>| subquery.write_suffix(f)))
            }
            Self::Call(call) => {
                let args: Vec<String> = call.args.iter().map(|arg| arg.pretty_at(level + 1)).collect();
                format!("{indent}{}(\n{}\n{indent})", call.function.name, args.join(",\n"))
            }
            Self::Aggregate(aggregate) => {
                let head = By(|f: &mut Formatter<'_>| aggregate.write_head(f));
                let param = match &aggregate.param {
                    Some(param) => format!("{},\n", param.pretty_at(level + 1)),
                    None => String::new(),
                };
                format!("{indent}{head}(\n{param}{}\n{indent})", aggregate.expr.pretty_at(level + 1))
            }
            Self::Binary(binary) => {
                let operator = By(|f: &mut Formatter<'_>| binary.write_operator(f));
                let (left, right) = (binary.left.pretty_at(level + 1), binary.right.pretty_at(level + 1));
                format!("{left}\n{indent}{operator}\n{right}")
            }
            Self::Unary(unary) => {
                format!("{indent}{}{}", sign(unary.negative), unary.expr.pretty_at(level).trim())
            }
            Self::Paren(inner, _) => format!("{indent}(\n{}\n{indent})", inner.pretty_at(level + 1)),
        }
    }
}

fn write_list(f: &mut Formatter<'_>, exprs: &[Expr]) -> fmt::Result {
    for (at, expr) in exprs.iter().enumerate() {
        write!(f, "{}{expr}", if at > 0 { ", " } else { "" })?;
    }
    Ok(())
}

fn label_list(names: &[String]) -> String {
    names.iter().map(|name| grouping_text(name)).collect::<Vec<_>>().join(", ")
}

/// A name among others; there a colon needs no quotes.
fn grouping_text(name: &str) -> String {
    let plain = name.replace(':', "_");
    if is_label_name(&plain) { name.to_owned() } else { quote(name) }
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
