//! The scripts' notation for times, series and expectations.

use std::sync::Arc;
use std::time::Duration;

use aegis_query::lex::{Cursor, parse_number};
use aegis_query::promql::Steps;
use aegis_query::promql::native::{add, from_notation, subtract};
use signal::{Histogram, Labels, Timestamp, stale_marker};

use super::compare::Point;
use super::{Expected, Wanted, When};

pub(crate) fn millis(text: &str) -> i64 {
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |text| (true, text));
    let ms = match text.parse::<f64>() {
        Ok(seconds) => (seconds * 1000.0) as i64,
        Err(_) => i64::try_from(signal::parse_duration(text).unwrap().as_millis()).unwrap(),
    };
    if negative { -ms } else { ms }
}

pub(crate) fn when(text: &str) -> (When, &str) {
    if let Some(rest) = text.strip_prefix("instant ") {
        let rest = rest.trim_start();
        let Some(rest) = rest.strip_prefix("at ") else {
            return (When::At(Timestamp(0)), rest);
        };
        let (at, query) = rest.trim_start().split_once(char::is_whitespace).unwrap();
        return (When::At(Timestamp(millis(at))), query.trim());
    }
    let (start, end, rest) = from_to(text.strip_prefix("range ").unwrap());
    let (step, query) = rest.trim().split_once(char::is_whitespace).unwrap();
    let step = Duration::from_millis(u64::try_from(millis(step)).unwrap());
    (When::Over(Steps { start: Timestamp(start), end: Timestamp(end), step }), query.trim())
}

/// Reads `from 0 to 1m step`.
fn from_to(text: &str) -> (i64, i64, &str) {
    let (start, rest) = text.trim().strip_prefix("from ").unwrap().split_once(" to ").unwrap();
    let (end, rest) = rest.split_once(" step ").unwrap();
    (millis(start.trim()), millis(end.trim()), rest)
}

pub(crate) fn expected(body: &[&str]) -> Expected {
    let mut expected = Expected::default();
    for line in body {
        if let Some(message) = line.strip_prefix("expected_fail_message") {
            expected.message.push(Wanted::Text(message.trim().to_owned()));
        } else if let Some(pattern) = line.strip_prefix("expected_fail_regexp") {
            expected.message.push(Wanted::Pattern(pattern.trim().to_owned()));
        } else if let Some(grid) = line.strip_prefix("expect range vector ") {
            let (start, _, step) = from_to(grid);
            expected.grid = Some((start, millis(step.trim())));
        } else if let Some(literal) = line.strip_prefix("expect string ") {
            expected.text = Some(Cursor::new(literal).string().unwrap());
        } else if let Some(what) = line.strip_prefix("expect ") {
            let wanted = match (what.split_once("msg:"), what.split_once("regex:")) {
                (Some((_, text)), _) => Wanted::Text(text.trim().to_owned()),
                (None, Some((_, pattern))) => Wanted::Pattern(pattern.trim().to_owned()),
                (None, None) => Wanted::Any,
            };
            match what.split_whitespace().next().unwrap() {
                "fail" => {
                    expected.fails = true;
                    expected.message.push(wanted);
                }
                "ordered" => expected.ordered = true,
                "warn" => expected.warnings.push(wanted),
                "no_warn" => expected.no_warnings = true,
                "info" => expected.infos.push(wanted),
                "no_info" => expected.no_infos = true,
                other => panic!("what is `expect {other}`?"),
            }
        } else if let Some(value) = parse_number(line) {
            expected.scalar = Some(value);
        } else {
            let (labels, values) = series(line);
            expected.series.push((labels, sequence(values)));
        }
    }
    expected
}

/// Splits `name{label="value"} 1 2 3` into labels and values.
pub(crate) fn series(line: &str) -> (Labels, &str) {
    let mut cursor = Cursor::new(line);
    let mut pairs = Vec::new();
    let name = cursor.take_while(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':');
    if !name.is_empty() {
        pairs.push((Labels::NAME.to_owned(), name.to_owned()));
    }
    let before = cursor.clone();
    cursor.take_while(char::is_whitespace);
    if cursor.rest().starts_with("{{") || !cursor.eat("{") {
        return (Labels::from_pairs(pairs), before.rest());
    }
    loop {
        cursor.take_while(|c| c.is_whitespace() || c == ',');
        if cursor.eat("}") {
            return (Labels::from_pairs(pairs), cursor.rest());
        }
        let quoted = matches!(cursor.peek(), Some('"' | '\'' | '`'));
        let name = if quoted {
            cursor.string().unwrap()
        } else {
            cursor.take_while(|c| c.is_ascii_alphanumeric() || c == '_').to_owned()
        };
        cursor.take_while(char::is_whitespace);
        if cursor.eat("=") {
            cursor.take_while(char::is_whitespace);
            pairs.push((name, cursor.string().unwrap()));
        } else {
            assert!(quoted, "cannot read {line}");
            pairs.push((Labels::NAME.to_owned(), name));
        }
    }
}

/// Reads `1 2 3`, `0+10x5`, `7x3`, `_`, `_x4`, `stale`, `{{…}}x3`, `{{…}}+{{…}}x3`.
pub(crate) fn sequence(text: &str) -> Vec<Option<Point>> {
    let mut values = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        rest = if rest.starts_with("{{") { histograms(rest, &mut values) } else { floats(rest, &mut values) };
        rest = rest.trim_start();
    }
    values
}

fn times(word: &str) -> Option<usize> {
    word.strip_prefix('x').map(|times| times.parse().unwrap())
}

/// Reads one item of histograms; answers what follows.
fn histograms<'a>(text: &'a str, values: &mut Vec<Option<Point>>) -> &'a str {
    let one = |text: &'a str| -> (Histogram, &'a str) {
        let (histogram, rest) = text.split_at(text.find("}}").unwrap() + 2);
        (from_notation(histogram).unwrap(), rest)
    };
    let (mut histogram, rest) = one(text);
    let combine: Option<fn(&mut Histogram, &Histogram)> = match rest.get(..3) {
        Some("+{{") => Some(|total, step| add(total, step).unwrap()),
        Some("-{{") => Some(|total, step| subtract(total, step).unwrap()),
        _ => None,
    };
    let (step, rest) = match combine {
        Some(_) => one(rest.get(1..).unwrap()),
        None => (Histogram::default(), rest),
    };
    let (word, rest) = rest.split_at(rest.find(char::is_whitespace).unwrap_or(rest.len()));
    for turn in 0..=times(word).unwrap_or(0) {
        if let (Some(combine), true) = (combine, turn > 0) {
            combine(&mut histogram, &step);
        }
        values.push(Some(Point::Histogram(Arc::new(histogram.clone()))));
    }
    rest
}

/// Reads one item of floats; answers what follows.
fn floats<'a>(text: &'a str, values: &mut Vec<Option<Point>>) -> &'a str {
    let (word, rest) = text.split_at(text.find(char::is_whitespace).unwrap_or(text.len()));
    let (item, times) = match word.rsplit_once('x') {
        Some((item, times)) => (item, Some(times.parse::<usize>().unwrap())),
        None => (word, None),
    };
    if item == "_" {
        values.extend(vec![None; times.unwrap_or(1)]);
        return rest;
    }
    if item == "stale" {
        values.extend(vec![Some(Point::Float(stale_marker())); times.unwrap_or(0) + 1]);
        return rest;
    }
    let sign = item.char_indices().skip(1).find(|(at, c)| matches!(c, '+' | '-') && !item[..*at].ends_with(['e', 'E']));
    let (start, step) = match sign {
        Some((at, _)) if times.is_some() => item.split_at(at),
        _ => (item, "0"),
    };
    let (mut value, step) =
        (parse_number(start).unwrap_or_else(|| panic!("number {start}")), parse_number(step).unwrap());
    for _ in 0..=times.unwrap_or(0) {
        values.push(Some(Point::Float(value)));
        if step != 0.0 {
            value += step;
        }
    }
    rest
}
