//! Binary operators: scalars, vectors with scalars, and vectors matched with vectors.

use std::collections::HashMap;

use signal::Labels;

use super::rows::{ABSENT, Grid, Row, is_present, merge, same_labelset};
use super::{EvalError, Evaluator, Output};
use crate::promql::ast::{Binary, BinaryOp, Cardinality, Matching};

impl Evaluator<'_> {
    pub(super) fn binary(&mut self, binary: &Binary, grid: Grid) -> Result<Output, EvalError> {
        let left = self.eval(&binary.left, grid)?;
        let right = self.eval(&binary.right, grid)?;
        match (left, right) {
            (Output::Scalar(left), Output::Scalar(right)) => {
                let pairs = left.into_iter().zip(right);
                Ok(Output::Scalar(pairs.map(|(left, right)| apply(binary.op, left, right).as_number()).collect()))
            }
            (Output::Vector(rows), Output::Scalar(scalars)) => {
                with_scalar(binary, rows, |step, value| (value, scalar_at(&scalars, step)))
            }
            (Output::Scalar(scalars), Output::Vector(rows)) => {
                with_scalar(binary, rows, |step, value| (scalar_at(&scalars, step), value))
            }
            (Output::Vector(left), Output::Vector(right)) => {
                let default = Matching {
                    cardinality: if binary.op.is_set() { Cardinality::ManyToMany } else { Cardinality::OneToOne },
                    labels: Vec::new(),
                    on: false,
                    include: Vec::new(),
                };
                let matching = binary.matching.as_ref().unwrap_or(&default);
                self.hold((left.len() + right.len()).saturating_mul(grid.count))?;
                match binary.op {
                    BinaryOp::And => Ok(Output::Vector(intersect(matching, left, &right, true, grid))),
                    BinaryOp::Unless => Ok(Output::Vector(intersect(matching, left, &right, false, grid))),
                    BinaryOp::Or => union(matching, left, right, grid).map(Output::Vector),
                    _ => self.matched(binary, matching, left, right, grid).map(Output::Vector),
                }
            }
            (Output::Text(_), _) | (_, Output::Text(_)) => Err(EvalError::execution("binary expression on a string")),
        }
    }

    /// Matches samples of the "many" side with those of the "one" side, step by step.
    fn matched(
        &mut self,
        binary: &Binary,
        matching: &Matching,
        left: Vec<Row>,
        right: Vec<Row>,
        grid: Grid,
    ) -> Result<Vec<Row>, EvalError> {
        let swapped = matching.cardinality == Cardinality::OneToMany;
        let (many, one) = if swapped { (right, left) } else { (left, right) };
        let both = both_present(&many, &one, grid);
        let mut groups: HashMap<Labels, Group> = HashMap::new();
        for (index, row) in one.iter().enumerate() {
            let group =
                groups.entry(key(matching, &row.labels)).or_insert_with_key(|key| Group::new(key.clone(), grid));
            for (step, value) in row.present() {
                let (Some(slot), true) = (group.owners.get_mut(step), both.get(step) == Some(&true)) else {
                    continue;
                };
                if let Some(other) = slot.and_then(|(other, _)| one.get(other)) {
                    return Err(not_unique(group, swapped, row, other));
                }
                *slot = Some((index, value));
            }
        }
        let mut answers = Answers { rows: Vec::new(), places: HashMap::new(), contributors: Vec::new() };
        for row in &many {
            self.check_canceled()?;
            let Some(group) = groups.get_mut(&key(matching, &row.labels)) else {
                continue;
            };
            let mut place: Option<(usize, usize)> = None;
            for (step, value) in row.present() {
                let Some((owner, partner)) = group.owners.get(step).copied().flatten() else {
                    continue;
                };
                let (left, right) = if swapped { (partner, value) } else { (value, partner) };
                let value = match apply(binary.op, left, right) {
                    Applied::Number(value) => value,
                    Applied::Holds(holds) if binary.returns_bool => f64::from(u8::from(holds)),
                    Applied::Holds(true) => left,
                    Applied::Holds(false) => continue,
                };
                if matching.cardinality == Cardinality::OneToOne
                    && group.matched.get_mut(step).is_some_and(|matched| std::mem::replace(matched, true))
                {
                    return Err(EvalError::execution(
                        "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)",
                    ));
                }
                let at = match place {
                    Some((known, at)) if known == owner => at,
                    _ => {
                        let Some(partner) = one.get(owner) else { continue };
                        self.hold(grid.count)?;
                        answers.place(result_labels(binary, matching, row, partner), grid)
                    }
                };
                place = Some((owner, at));
                answers.put(at, step, value, &group.key)?;
            }
        }
        Ok(answers.rows)
    }
}

/// The samples of the "one" side that share a match key.
struct Group {
    key: Labels,
    /// By step: which row, and its value.
    owners: Vec<Option<(usize, f64)>>,
    /// By step: whether a one-to-one partner has been found.
    matched: Vec<bool>,
}

impl Group {
    fn new(key: Labels, grid: Grid) -> Self {
        Self { key, owners: vec![None; grid.count], matched: vec![false; grid.count] }
    }
}

/// Result rows while they fill.
struct Answers {
    rows: Vec<Row>,
    places: HashMap<Labels, usize>,
    /// The match key whose sample came first, by row.
    contributors: Vec<Labels>,
}

impl Answers {
    fn place(&mut self, labels: Labels, grid: Grid) -> usize {
        let next = self.rows.len();
        let place = *self.places.entry(labels.clone()).or_insert(next);
        if place == next {
            self.rows.push(Row::absent(labels, grid));
            self.contributors.push(Labels::empty());
        }
        place
    }

    fn put(&mut self, place: usize, step: usize, value: f64, key: &Labels) -> Result<(), EvalError> {
        let slot = self.rows.get_mut(place).and_then(|row| row.values.get_mut(step));
        let (Some(slot), Some(contributor)) = (slot, self.contributors.get_mut(place)) else {
            return Ok(());
        };
        if is_present(*slot) {
            return Err(if contributor == key {
                EvalError::execution("multiple matches for labels: grouping labels must ensure unique matches")
            } else {
                same_labelset()
            });
        }
        *slot = value;
        *contributor = key.clone();
        Ok(())
    }
}

/// The labels by which two samples find each other.
fn key(matching: &Matching, labels: &Labels) -> Labels {
    let listed = |name: &str| matching.labels.iter().any(|label| label == name);
    if matching.on {
        return labels.without(|name| !listed(name));
    }
    labels.without(|name| name == Labels::NAME || listed(name))
}

/// The labels of a result (upstream `resultMetric`).
fn result_labels(binary: &Binary, matching: &Matching, many: &Row, one: &Row) -> Labels {
    let drops_name = !binary.op.is_comparison() || binary.returns_bool;
    let base = if drops_name { many.labels.without_name() } else { many.labels.clone() };
    if matching.cardinality == Cardinality::OneToOne {
        let listed = |name: &str| matching.labels.iter().any(|label| label == name);
        return base.without(|name| if matching.on { !listed(name) } else { listed(name) });
    }
    matching.include.iter().fold(base, |labels, name| labels.with(name, one.labels.get_or_empty(name)))
}

/// Which steps have samples on both sides; at others nothing is matched, so nothing can be wrong.
fn both_present(many: &[Row], one: &[Row], grid: Grid) -> Vec<bool> {
    let presence = |rows: &[Row]| {
        let mut present = vec![false; grid.count];
        for row in rows {
            for (present, value) in present.iter_mut().zip(&row.values) {
                *present |= is_present(*value);
            }
        }
        present
    };
    presence(many).into_iter().zip(presence(one)).map(|(many, one)| many && one).collect()
}

fn not_unique(group: &Group, swapped: bool, row: &Row, other: &Row) -> EvalError {
    let side = if swapped { "left" } else { "right" };
    let (key, row, other) = (braces(&group.key), braces(&row.labels), braces(&other.labels));
    EvalError::execution(format!(
        "found duplicate series for the match group {key} on the {side} hand-side of the operation: [{row}, {other}]\
         ;many-to-many matching not allowed: matching labels must be unique on one side"
    ))
}

/// Labels as upstream prints them in errors: the name inside.
fn braces(labels: &Labels) -> String {
    let pairs: Vec<String> =
        labels.iter().map(|(name, value)| format!("{name}={}", crate::lex::quote(value))).collect();
    format!("{{{}}}", pairs.join(", "))
}

/// By match key, the steps at which any row has a value.
fn presence(matching: &Matching, rows: &[Row], grid: Grid) -> HashMap<Labels, Vec<bool>> {
    let mut keys: HashMap<Labels, Vec<bool>> = HashMap::new();
    for row in rows {
        let present = keys.entry(key(matching, &row.labels)).or_insert_with(|| vec![false; grid.count]);
        for (present, value) in present.iter_mut().zip(&row.values) {
            *present |= is_present(*value);
        }
    }
    keys
}

/// Blanks the values of `rows` where the other side's presence is not as `wanted`.
fn restrict(matching: &Matching, rows: &mut Vec<Row>, other: &HashMap<Labels, Vec<bool>>, wanted: bool) {
    for row in rows.iter_mut() {
        match other.get(&key(matching, &row.labels)) {
            Some(present) => {
                for (value, present) in row.values.iter_mut().zip(present) {
                    if *present != wanted {
                        *value = ABSENT;
                    }
                }
            }
            None if wanted => row.values.fill(ABSENT),
            None => {}
        }
    }
    rows.retain(|row| !row.is_absent());
}

/// `and` (`wanted`) and `unless`.
fn intersect(matching: &Matching, mut left: Vec<Row>, right: &[Row], wanted: bool, grid: Grid) -> Vec<Row> {
    restrict(matching, &mut left, &presence(matching, right, grid), wanted);
    left
}

/// `or`
fn union(matching: &Matching, mut left: Vec<Row>, mut right: Vec<Row>, grid: Grid) -> Result<Vec<Row>, EvalError> {
    restrict(matching, &mut right, &presence(matching, &left, grid), false);
    left.append(&mut right);
    merge(left)
}

fn scalar_at(scalars: &[f64], step: usize) -> f64 {
    scalars.get(step).copied().unwrap_or(f64::NAN)
}

/// A vector and a scalar; `sides` says which is left.
fn with_scalar(
    binary: &Binary,
    mut rows: Vec<Row>,
    sides: impl Fn(usize, f64) -> (f64, f64),
) -> Result<Output, EvalError> {
    let drops_name = !binary.op.is_comparison() || binary.returns_bool;
    for row in &mut rows {
        if drops_name {
            row.labels = row.labels.without_name();
        }
        for (step, value) in row.values.iter_mut().enumerate().filter(|(_, value)| is_present(**value)) {
            let (left, right) = sides(step, *value);
            *value = match apply(binary.op, left, right) {
                Applied::Number(value) => value,
                Applied::Holds(holds) if binary.returns_bool => f64::from(u8::from(holds)),
                Applied::Holds(true) => *value,
                Applied::Holds(false) => ABSENT,
            };
        }
    }
    rows.retain(|row| !row.is_absent());
    if drops_name { merge(rows).map(Output::Vector) } else { Ok(Output::Vector(rows)) }
}

/// What an operator says about two numbers.
enum Applied {
    Number(f64),
    Holds(bool),
}

impl Applied {
    fn as_number(&self) -> f64 {
        match self {
            Self::Number(value) => *value,
            Self::Holds(holds) => f64::from(u8::from(*holds)),
        }
    }
}

fn apply(op: BinaryOp, left: f64, right: f64) -> Applied {
    match op {
        BinaryOp::Add => Applied::Number(left + right),
        BinaryOp::Sub => Applied::Number(left - right),
        BinaryOp::Mul => Applied::Number(left * right),
        BinaryOp::Div => Applied::Number(left / right),
        BinaryOp::Mod => Applied::Number(left % right),
        BinaryOp::Pow => Applied::Number(left.powf(right)),
        BinaryOp::Atan2 => Applied::Number(left.atan2(right)),
        BinaryOp::Equal => Applied::Holds(left == right),
        BinaryOp::NotEqual => Applied::Holds(left != right),
        BinaryOp::Greater => Applied::Holds(left > right),
        BinaryOp::Less => Applied::Holds(left < right),
        BinaryOp::GreaterEqual => Applied::Holds(left >= right),
        BinaryOp::LessEqual => Applied::Holds(left <= right),
        // Set operators never get here: they are about presence, not numbers.
        BinaryOp::And | BinaryOp::Or | BinaryOp::Unless => Applied::Number(f64::NAN),
    }
}
