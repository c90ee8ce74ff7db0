//! Operators between numbers and series.

use std::collections::HashMap;

use signal::{Labels, LabelsBuilder};

use super::EvalError;
use super::metric::{Grid, Row};
use crate::logql::ast::{BinaryOp, Group, Matching};

/// An operator with its modifiers.
#[derive(Clone, Copy)]
pub(super) struct Operator<'a> {
    pub(super) op: BinaryOp,
    pub(super) returns_bool: bool,
    pub(super) matching: Option<&'a Matching>,
}

pub(super) fn combine(operator: Operator<'_>, left: Grid, right: Grid) -> Result<Grid, EvalError> {
    Ok(match (left, right) {
        // Two numbers always compare to zero or one.
        (Grid::Scalar(left), Grid::Scalar(right)) => Grid::Scalar(compute(operator.op, left, right)),
        (Grid::Rows(rows), Grid::Scalar(number)) => Grid::Rows(with_number(operator, rows, |value| (value, number))),
        (Grid::Scalar(number), Grid::Rows(rows)) => Grid::Rows(with_number(operator, rows, |value| (number, value))),
        (Grid::Rows(left), Grid::Rows(right)) => Grid::Rows(match operator.op {
            BinaryOp::And => intersect(operator, left, &right, true),
            BinaryOp::Unless => intersect(operator, left, &right, false),
            BinaryOp::Or => unite(operator, left, right),
            BinaryOp::Equal
            | BinaryOp::NotEqual
            | BinaryOp::Less
            | BinaryOp::LessOrEqual
            | BinaryOp::Greater
            | BinaryOp::GreaterOrEqual
            | BinaryOp::Add
            | BinaryOp::Subtract
            | BinaryOp::Multiply
            | BinaryOp::Divide
            | BinaryOp::Modulo
            | BinaryOp::Power => matched(operator, left, right)?,
        }),
    })
}

fn compute(op: BinaryOp, left: f64, right: f64) -> f64 {
    let truth = |holds: bool| f64::from(u8::from(holds));
    match op {
        BinaryOp::Add => left + right,
        BinaryOp::Subtract => left - right,
        BinaryOp::Multiply => left * right,
        // As in Loki: nothing is divided by zero.
        BinaryOp::Divide if right == 0.0 => f64::NAN,
        BinaryOp::Divide => left / right,
        BinaryOp::Modulo if right == 0.0 => f64::NAN,
        BinaryOp::Modulo => left % right,
        BinaryOp::Power => left.powf(right),
        BinaryOp::Equal => truth(left == right),
        BinaryOp::NotEqual => truth(left != right),
        BinaryOp::Less => truth(left < right),
        BinaryOp::LessOrEqual => truth(left <= right),
        BinaryOp::Greater => truth(left > right),
        BinaryOp::GreaterOrEqual => truth(left >= right),
        BinaryOp::Or | BinaryOp::And | BinaryOp::Unless => f64::NAN,
    }
}

/// The value at one step; a comparison without `bool` keeps `shown` or nothing.
fn step(operator: Operator<'_>, left: f64, right: f64, shown: f64) -> Option<f64> {
    let value = compute(operator.op, left, right);
    if operator.op.is_comparison() && !operator.returns_bool {
        return (value != 0.0).then_some(shown);
    }
    Some(value)
}

fn with_number(operator: Operator<'_>, mut rows: Vec<Row>, legs: impl Fn(f64) -> (f64, f64)) -> Vec<Row> {
    for value in rows.iter_mut().flat_map(|row| &mut row.values) {
        *value = value.and_then(|value| {
            let (left, right) = legs(value);
            step(operator, left, right, value)
        });
    }
    rows
}

/// The labels by which two series find each other.
fn key(matching: Option<&Matching>, labels: &Labels) -> Labels {
    match matching {
        None => labels.clone(),
        Some(matching) => {
            let named = |name: &str| matching.labels.iter().any(|label| label == name);
            labels.without(|name| named(name) != matching.on)
        }
    }
}

/// For each key the steps at which any series has a value.
fn presence(matching: Option<&Matching>, rows: &[Row]) -> HashMap<Labels, Vec<bool>> {
    let mut present: HashMap<Labels, Vec<bool>> = HashMap::new();
    for row in rows {
        let steps = present.entry(key(matching, &row.labels)).or_insert_with(|| vec![false; row.values.len()]);
        for (seen, value) in steps.iter_mut().zip(&row.values) {
            *seen |= value.is_some();
        }
    }
    present
}

fn intersect(operator: Operator<'_>, mut left: Vec<Row>, right: &[Row], wanted: bool) -> Vec<Row> {
    let present = presence(operator.matching, right);
    for row in &mut left {
        let steps = present.get(&key(operator.matching, &row.labels));
        for (at, value) in row.values.iter_mut().enumerate() {
            let seen = steps.and_then(|steps| steps.get(at)).copied().unwrap_or(false);
            if seen != wanted {
                *value = None;
            }
        }
    }
    left.retain(|row| row.values.iter().any(Option::is_some));
    left
}

fn unite(operator: Operator<'_>, left: Vec<Row>, right: Vec<Row>) -> Vec<Row> {
    let added = intersect(operator, right, &left, false);
    let mut rows = left;
    let mut places: HashMap<Labels, usize> =
        rows.iter().enumerate().map(|(at, row)| (row.labels.clone(), at)).collect();
    for row in added {
        // The same series may come from the left at other steps.
        match places.get(&row.labels).and_then(|at| rows.get_mut(*at)) {
            Some(known) => {
                for (place, value) in known.values.iter_mut().zip(row.values) {
                    *place = place.or(value);
                }
            }
            None => {
                places.insert(row.labels.clone(), rows.len());
                rows.push(row);
            }
        }
    }
    rows
}

fn matched(operator: Operator<'_>, left: Vec<Row>, right: Vec<Row>) -> Result<Vec<Row>, EvalError> {
    let group = operator.matching.and_then(|matching| matching.group.as_ref());
    let swapped = group.is_some_and(|group| !group.left);
    // From here on `many` holds the side that may have several series for a key.
    let (many, one) = if swapped { (right, left) } else { (left, right) };
    let side = if swapped { "left" } else { "right" };
    let mut by_key: HashMap<Labels, Vec<&Row>> = HashMap::new();
    for row in &one {
        by_key.entry(key(operator.matching, &row.labels)).or_default().push(row);
    }
    for rows in by_key.values().filter(|rows| rows.len() > 1) {
        let steps = rows.first().map_or(0, |row| row.values.len());
        let at_once = |at: usize| rows.iter().filter(|row| row.values.get(at).copied().flatten().is_some()).count();
        if (0..steps).any(|at| at_once(at) > 1) {
            return Err(EvalError::Matching {
                reason: format!(
                    "found duplicate series on the {side} hand-side; many-to-many matching not allowed: matching labels must be unique on one side"
                ),
            });
        }
    }
    let mut results: Vec<Row> = Vec::new();
    let mut by_labels: HashMap<Labels, usize> = HashMap::new();
    for row in &many {
        let row_key = key(operator.matching, &row.labels);
        for partner in by_key.get(&row_key).into_iter().flatten() {
            let labels = result_labels(operator, group, &row.labels, &partner.labels);
            let next = results.len();
            let index = *by_labels.entry(labels.clone()).or_insert(next);
            if index == next {
                results.push(Row { labels, values: vec![None; row.values.len()] });
            }
            let Some(result) = results.get_mut(index) else { continue };
            for ((place, many), one) in result.values.iter_mut().zip(&row.values).zip(&partner.values) {
                let (Some(many), Some(one)) = (many, one) else { continue };
                let (left, right) = if swapped { (*one, *many) } else { (*many, *one) };
                let Some(value) = step(operator, left, right, left) else { continue };
                if place.is_some() {
                    return Err(ambiguous(group, &row_key));
                }
                *place = Some(value);
            }
        }
    }
    results.retain(|row| row.values.iter().any(Option::is_some));
    Ok(results)
}

fn ambiguous(group: Option<&Group>, found: &Labels) -> EvalError {
    EvalError::Matching {
        reason: match group {
            None => {
                "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)".to_owned()
            }
            Some(_) => format!("multiple matches for labels: grouping labels must ensure unique matches: {found}"),
        },
    }
}

fn result_labels(operator: Operator<'_>, group: Option<&Group>, many: &Labels, one: &Labels) -> Labels {
    match group {
        Some(group) => {
            let mut labels = LabelsBuilder::from(many);
            for name in &group.include {
                labels.set(name, one.get_or_empty(name));
            }
            labels.build()
        }
        // One to one: what was matched on remains.
        None => key(operator.matching, many),
    }
}
