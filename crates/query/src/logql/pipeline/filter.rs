//! Conditions on labels.

use std::cmp::Ordering;

use signal::{Matcher, Nanos};

use super::ip::IpMatcher;
use super::{Entry, Error, TIMESTAMP};
use crate::logql::ast::{Comparison, LabelFilter, Quantity};
use crate::logql::units::{read_bytes, read_duration, read_float};

/// A condition, compiled.
pub(crate) enum Filter {
    And(Vec<Filter>),
    Or(Vec<Filter>),
    Text(Matcher),
    Number {
        label: String,
        op: Comparison,
        with: f64,
        time: Option<TimeBound>,
    },
    Duration {
        label: String,
        op: Comparison,
        with: i64,
    },
    Bytes {
        label: String,
        op: Comparison,
        with: u64,
    },
    /// Without a matcher when the pattern is none.
    Ip {
        label: String,
        equal: bool,
        ip: Result<IpMatcher, String>,
    },
}

/// A comparison of a line's own time with a literal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct TimeBound {
    op: Comparison,
    /// In billionths of a nanosecond, so that no written digit is lost.
    with: i128,
}

const PARTS: i128 = 1_000_000_000;

impl TimeBound {
    /// Reads the literal: by its number of digits before the point it is seconds, milli-, micro- or nanoseconds.
    fn new(op: Comparison, literal: &str) -> Option<Self> {
        let (negative, digits) = match literal.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, literal),
        };
        let expanded;
        let digits = if digits.contains(['e', 'E']) {
            expanded = format!("{:.9}", digits.parse::<f64>().ok()?);
            &expanded
        } else {
            digits
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let whole = whole.trim_start_matches('0');
        // The sizes are those of times between 1973 and 5138 in each unit.
        let power: u32 = match whole.len() {
            0..=11 => 18,
            12..=14 => 15,
            15..=17 => 12,
            18..=20 => 9,
            _ => return Some(Self { op, with: if negative { i128::MIN } else { i128::MAX } }),
        };
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        let mut with = whole.checked_mul(10_i128.checked_pow(power)?)?;
        for (at, digit) in fraction.chars().enumerate() {
            let place = u32::try_from(at + 1).ok().and_then(|place| power.checked_sub(place));
            let Some(place) = place else { break };
            with += i128::from(digit.to_digit(10)?) * 10_i128.checked_pow(place)?;
        }
        Some(Self { op, with: if negative { -with } else { with } })
    }

    fn holds(self, at: Nanos) -> bool {
        compares(self.op, (i128::from(at.0) * PARTS).cmp(&self.with))
    }

    /// The first and the last instant that may satisfy it.
    pub(crate) fn window(self) -> (Nanos, Nanos) {
        let floor = self.with.div_euclid(PARTS);
        let exact = self.with.rem_euclid(PARTS) == 0;
        let ceil = if exact { floor } else { floor.saturating_add(1) };
        let (first, last) = match self.op {
            // No nanosecond equals a finer time: an empty window.
            Comparison::Equal => (ceil, floor),
            Comparison::NotEqual => (i128::MIN, i128::MAX),
            Comparison::Greater => (floor.saturating_add(1), i128::MAX),
            Comparison::GreaterOrEqual => (ceil, i128::MAX),
            Comparison::Less => (i128::MIN, ceil.saturating_sub(1)),
            Comparison::LessOrEqual => (i128::MIN, floor),
        };
        let (least, most) = (i128::from(i64::MIN), i128::from(i64::MAX));
        if first > most || last < least {
            return (Nanos(i64::MAX), Nanos(i64::MIN));
        }
        let clamp = |value: i128| Nanos(i64::try_from(value.clamp(least, most)).unwrap_or_default());
        (clamp(first), clamp(last))
    }
}

impl Filter {
    /// Compiles a condition. An address pattern that is none fails each line it is compared with, as in Loki; the stage
    /// that consists of nothing else is refused before.
    ///
    /// # Errors
    /// For a number that is none; the parser lets none through.
    pub(crate) fn new(filter: &LabelFilter) -> Result<Self, String> {
        let all = |filters: &[LabelFilter]| filters.iter().map(Self::new).collect::<Result<Vec<_>, _>>();
        Ok(match filter {
            LabelFilter::And(filters) => Self::And(all(filters)?),
            LabelFilter::Or(filters) => Self::Or(all(filters)?),
            LabelFilter::Text(matcher) => Self::Text(matcher.clone()),
            LabelFilter::Ip { label, equal, pattern } => {
                Self::Ip { label: label.clone(), equal: *equal, ip: IpMatcher::new(pattern) }
            }
            LabelFilter::Compare { label, op, with } => {
                let (label, op) = (label.clone(), *op);
                match with {
                    Quantity::Number(text) => {
                        let with = read_float(text)?;
                        let time = if label == TIMESTAMP { TimeBound::new(op, text) } else { None };
                        Self::Number { label, op, with, time }
                    }
                    Quantity::Duration(nanos) => Self::Duration { label, op, with: *nanos },
                    Quantity::Bytes(bytes) => Self::Bytes { label, op, with: *bytes },
                }
            }
        })
    }

    /// Whether a line satisfies it. A value that cannot be converted keeps the line and marks it as failed, unless it
    /// was marked before.
    pub(crate) fn holds(&self, entry: &mut Entry<'_>) -> bool {
        match self {
            // Both legs are looked at, because the right one may note an error that the caller's `or` lets through.
            Self::And(filters) => {
                let mut held = true;
                for filter in filters {
                    held &= filter.holds(entry);
                }
                held
            }
            Self::Or(filters) => filters.iter().any(|filter| filter.holds(entry)),
            // As in Loki, the error itself can be compared as a text, its details and other comparisons see labels only.
            Self::Text(matcher) if matcher.name == Error::LABEL => {
                matcher.matches(entry.get(&matcher.name).unwrap_or_default())
            }
            Self::Text(matcher) => matcher.matches(entry.label(&matcher.name).unwrap_or_default()),
            Self::Number { label, op, with, time } => match (entry.label(label), time) {
                (None, Some(bound)) => bound.holds(entry.at),
                (value, _) => {
                    let value = value.map(read_float);
                    compared(entry, value, |value| {
                        value.partial_cmp(with).map_or(*op == Comparison::NotEqual, |order| compares(*op, order))
                    })
                }
            },
            Self::Duration { label, op, with } => {
                let value = entry.label(label).or(unreadable(label)).map(read_duration);
                compared(entry, value, |value| compares(*op, value.cmp(with)))
            }
            Self::Bytes { label, op, with } => {
                let value = entry.label(label).or(unreadable(label)).map(read_bytes);
                compared(entry, value, |value| compares(*op, value.cmp(with)))
            }
            Self::Ip { label, equal, ip } => {
                if entry.failed().is_some() {
                    return true;
                }
                let (Some(value), Ok(ip)) = (entry.label(label), ip) else { return false };
                ip.occurs_in(value) == *equal
            }
        }
    }

    /// Adds the time bounds that must hold for the whole condition to hold.
    pub(crate) fn collect_time_bounds(&self, bounds: &mut Vec<TimeBound>) {
        match self {
            Self::And(filters) => filters.iter().for_each(|filter| filter.collect_time_bounds(bounds)),
            Self::Number { time: Some(bound), .. } => bounds.push(*bound),
            Self::Or(_)
            | Self::Text(_)
            | Self::Number { time: None, .. }
            | Self::Duration { .. }
            | Self::Bytes { .. }
            | Self::Ip { .. } => {}
        }
    }
}

fn compared<T>(entry: &mut Entry<'_>, value: Option<Result<T, String>>, holds: impl FnOnce(T) -> bool) -> bool {
    match value {
        None => false,
        Some(Ok(value)) => holds(value),
        Some(Err(details)) => {
            // What went wrong first says more.
            if entry.failed().is_none() {
                entry.fail(Error::LabelFilter, details);
            }
            true
        }
    }
}

/// A line's own time is neither a duration nor a size.
fn unreadable(label: &str) -> Option<&'static str> {
    (label == TIMESTAMP).then_some("a timestamp")
}

pub(in crate::logql) fn compares(op: Comparison, order: Ordering) -> bool {
    match op {
        Comparison::Equal => order.is_eq(),
        Comparison::NotEqual => order.is_ne(),
        Comparison::Greater => order.is_gt(),
        Comparison::GreaterOrEqual => order.is_ge(),
        Comparison::Less => order.is_lt(),
        Comparison::LessOrEqual => order.is_le(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_digits_tells_the_unit_of_a_time() {
        let second = 1_706_189_400_000_000_000;
        for (case, literal, at, greater) in [
            ("seconds, same", "1706189400", second, false),
            ("seconds, one nanosecond later", "1706189400", second + 1, true),
            ("fraction", "1706189400.5", second + 500_000_000, false),
            ("fraction, later", "1706189400.5", second + 500_000_001, true),
            ("milliseconds", "1706189400001", second + 1_000_000, false),
            ("microseconds", "1706189400000001", second + 1_001, true),
            ("nanoseconds", "1706189400000000001", second + 1, false),
            ("nanoseconds, later", "1706189400000000001", second + 2, true),
            ("exponent", "1.7061894e9", second + 1, true),
            ("negative", "-5", 0, true),
            ("beyond all time", "999999999999999999999999", i64::MAX, false),
        ] {
            let bound = TimeBound::new(Comparison::Greater, literal).unwrap();
            assert_eq!(bound.holds(Nanos(at)), greater, "{case}");
            let (first, last) = bound.window();
            assert_eq!((first..=last).contains(&Nanos(at)), greater, "window: {case}");
        }
    }
}
