//! What operators make of two values.

use std::sync::Arc;

use signal::{Histogram, ResetHint};

use crate::promql::annotations::Annotation;
use crate::promql::ast::BinaryOp;
use crate::promql::eval::rows::Point;
use crate::promql::native;

/// What an operator says about two values.
pub(super) enum Outcome {
    Point(Point),
    Holds(bool),
    /// Nothing; the annotation says why.
    Nothing,
}

/// The number that an arithmetic operator makes; `None` for the others.
#[inline]
pub(super) fn calculate(op: BinaryOp, left: f64, right: f64) -> Option<f64> {
    match op {
        BinaryOp::Add => Some(left + right),
        BinaryOp::Sub => Some(left - right),
        BinaryOp::Mul => Some(left * right),
        BinaryOp::Div => Some(left / right),
        BinaryOp::Mod => Some(left % right),
        BinaryOp::Pow => Some(left.powf(right)),
        BinaryOp::Atan2 => Some(left.atan2(right)),
        BinaryOp::Equal | BinaryOp::NotEqual | BinaryOp::Greater | BinaryOp::Less => None,
        BinaryOp::GreaterEqual | BinaryOp::LessEqual => None,
        BinaryOp::And | BinaryOp::Or | BinaryOp::Unless => None,
    }
}

/// What a comparison says; `None` for the other operators.
#[inline]
pub(super) fn compare(op: BinaryOp, left: f64, right: f64) -> Option<bool> {
    match op {
        BinaryOp::Equal => Some(left == right),
        BinaryOp::NotEqual => Some(left != right),
        BinaryOp::Greater => Some(left > right),
        BinaryOp::Less => Some(left < right),
        BinaryOp::GreaterEqual => Some(left >= right),
        BinaryOp::LessEqual => Some(left <= right),
        BinaryOp::Add | BinaryOp::Sub | BinaryOp::Mul | BinaryOp::Div => None,
        BinaryOp::Mod | BinaryOp::Pow | BinaryOp::Atan2 => None,
        BinaryOp::And | BinaryOp::Or | BinaryOp::Unless => None,
    }
}

/// Any two values (upstream `vectorElemBinop`).
pub(super) fn apply(op: BinaryOp, left: &Point, right: &Point, remarks: &mut Vec<Annotation>) -> Outcome {
    match (left, right) {
        (Point::Float(left), Point::Float(right)) => match compare(op, *left, *right) {
            Some(holds) => Outcome::Holds(holds),
            None => calculate(op, *left, *right).map_or(Outcome::Nothing, |value| Outcome::Point(Point::Float(value))),
        },
        (Point::Histogram(left), Point::Float(right)) => match op {
            BinaryOp::Mul => changed(left, |histogram| native::multiply(histogram, *right)),
            BinaryOp::Div => changed(left, |histogram| native::divide(histogram, *right)),
            BinaryOp::Add
            | BinaryOp::Sub
            | BinaryOp::Mod
            | BinaryOp::Pow
            | BinaryOp::Atan2
            | BinaryOp::Equal
            | BinaryOp::NotEqual
            | BinaryOp::Greater
            | BinaryOp::Less
            | BinaryOp::GreaterEqual
            | BinaryOp::LessEqual
            | BinaryOp::And
            | BinaryOp::Or
            | BinaryOp::Unless => incompatible(op, "histogram", "float", remarks),
        },
        (Point::Float(left), Point::Histogram(right)) => match op {
            BinaryOp::Mul => changed(right, |histogram| native::multiply(histogram, *left)),
            BinaryOp::Add
            | BinaryOp::Sub
            | BinaryOp::Div
            | BinaryOp::Mod
            | BinaryOp::Pow
            | BinaryOp::Atan2
            | BinaryOp::Equal
            | BinaryOp::NotEqual
            | BinaryOp::Greater
            | BinaryOp::Less
            | BinaryOp::GreaterEqual
            | BinaryOp::LessEqual
            | BinaryOp::And
            | BinaryOp::Or
            | BinaryOp::Unless => incompatible(op, "float", "histogram", remarks),
        },
        (Point::Histogram(left), Point::Histogram(right)) => both(op, left, right, remarks),
    }
}

fn both(op: BinaryOp, left: &Histogram, right: &Histogram, remarks: &mut Vec<Annotation>) -> Outcome {
    let mut result = left.clone();
    let combined = match op {
        BinaryOp::Add => native::add(&mut result, right),
        BinaryOp::Sub => {
            let subtracted = native::subtract(&mut result, right);
            result.reset_hint = ResetHint::Gauge;
            subtracted
        }
        BinaryOp::Equal => return Outcome::Holds(native::equal(left, right)),
        BinaryOp::NotEqual => return Outcome::Holds(!native::equal(left, right)),
        BinaryOp::Mul
        | BinaryOp::Div
        | BinaryOp::Mod
        | BinaryOp::Pow
        | BinaryOp::Atan2
        | BinaryOp::Greater
        | BinaryOp::Less
        | BinaryOp::GreaterEqual
        | BinaryOp::LessEqual
        | BinaryOp::And
        | BinaryOp::Or
        | BinaryOp::Unless => return incompatible(op, "histogram", "histogram", remarks),
    };
    if combined.is_err() {
        remark(remarks, Annotation::incompatible_bucket_layout(op.as_str()));
        return Outcome::Nothing;
    }
    native::compact(&mut result);
    Outcome::Point(Point::Histogram(Arc::new(result)))
}

fn changed(histogram: &Histogram, change: impl Fn(&mut Histogram)) -> Outcome {
    let mut result = histogram.clone();
    change(&mut result);
    native::compact(&mut result);
    Outcome::Point(Point::Histogram(Arc::new(result)))
}

fn incompatible(op: BinaryOp, left: &str, right: &str, remarks: &mut Vec<Annotation>) -> Outcome {
    remark(remarks, Annotation::incompatible_types(left, op.as_str(), right));
    Outcome::Nothing
}

fn remark(remarks: &mut Vec<Annotation>, annotation: Annotation) {
    if !remarks.contains(&annotation) {
        remarks.push(annotation);
    }
}
