//! Binary operators: scalars, vectors with scalars, and vectors matched with vectors.

use std::collections::HashMap;

use signal::Labels;

use super::call::at;
use super::keys::{Choice, Places};
use super::rows::{ABSENT, Grid, Name, Point, Points, Row, is_name, is_present, merge_relabelled, same_labelset};
use super::{EvalError, Evaluator, Output};
use crate::promql::annotations::Annotation;
use crate::promql::ast::{Binary, BinaryOp, Cardinality, Fill, Matching};

mod values;

use values::{Outcome, apply, calculate, compare};

impl Evaluator<'_> {
    pub(super) fn binary(&mut self, binary: &Binary, grid: Grid) -> Result<Output, EvalError> {
        let left = self.eval(&binary.left, grid)?;
        let right = self.eval(&binary.right, grid)?;
        match (left, right) {
            (Output::Scalar(left), Output::Scalar(right)) => {
                let number = |(left, right)| match compare(binary.op, left, right) {
                    Some(holds) => f64::from(u8::from(holds)),
                    None => calculate(binary.op, left, right).unwrap_or(f64::NAN),
                };
                Ok(Output::Scalar(left.into_iter().zip(right).map(number).collect()))
            }
            (Output::Vector(rows), Output::Scalar(scalars)) => self.with_scalar(binary, rows, &scalars, false),
            (Output::Scalar(scalars), Output::Vector(rows)) => self.with_scalar(binary, rows, &scalars, true),
            (Output::Vector(left), Output::Vector(right)) => {
                let default = Matching {
                    cardinality: if binary.op.is_set() { Cardinality::ManyToMany } else { Cardinality::OneToOne },
                    labels: Vec::new(),
                    on: false,
                    include: Vec::new(),
                    fill: Fill::default(),
                };
                let matching = binary.matching.as_ref().unwrap_or(&default);
                self.budget.hold((left.len() + right.len()).saturating_mul(grid.count))?;
                match binary.op {
                    BinaryOp::And => Ok(Output::Vector(intersect(matching, left, &right, true, grid))),
                    BinaryOp::Unless => Ok(Output::Vector(intersect(matching, left, &right, false, grid))),
                    BinaryOp::Or => self.union(matching, left, right, grid).map(Output::Vector),
                    _ => self.matched(binary, matching, left, right, grid).map(Output::Vector),
                }
            }
            (Output::Text(_), _) | (_, Output::Text(_)) => Err(EvalError::execution("binary expression on a string")),
        }
    }

    /// A vector and a scalar, which is on the left when `swapped`.
    fn with_scalar(
        &mut self,
        binary: &Binary,
        mut rows: Vec<Row>,
        scalars: &[f64],
        swapped: bool,
    ) -> Result<Output, EvalError> {
        let drops_name = drops_name(binary);
        let mut remarks = Vec::new();
        for row in &mut rows {
            for (step, value) in row.points.values.iter_mut().enumerate().filter(|(_, value)| is_present(**value)) {
                let (left, right) = if swapped { (at(scalars, step), *value) } else { (*value, at(scalars, step)) };
                *value = match compare(binary.op, left, right) {
                    Some(holds) if binary.returns_bool => f64::from(u8::from(holds)),
                    Some(true) => *value,
                    Some(false) => ABSENT,
                    None => calculate(binary.op, left, right).unwrap_or(ABSENT),
                };
            }
            if row.points.histograms.is_empty() {
                continue;
            }
            for (step, histogram) in std::mem::take(&mut row.points.histograms).into_iter().enumerate() {
                let Some(histogram) = histogram else { continue };
                let (number, own) = (Point::Float(at(scalars, step)), Point::Histogram(histogram));
                let (left, right) = if swapped { (&number, &own) } else { (&own, &number) };
                match apply(binary.op, left, right, &mut remarks) {
                    Outcome::Point(point) => row.points.put(step, point),
                    Outcome::Holds(holds) if binary.returns_bool => {
                        row.points.put(step, Point::Float(f64::from(u8::from(holds))));
                    }
                    Outcome::Holds(true) => row.points.put(step, own),
                    Outcome::Holds(false) | Outcome::Nothing => {}
                }
            }
        }
        self.remark(remarks, binary);
        rows.retain(|row| !row.is_absent());
        if drops_name { self.without_names(rows) } else { Ok(rows) }.map(Output::Vector)
    }

    fn remark(&mut self, remarks: Vec<Annotation>, binary: &Binary) {
        for remark in remarks {
            self.note(remark, binary.place);
        }
    }

    fn without_names(&self, mut rows: Vec<Row>) -> Result<Vec<Row>, EvalError> {
        self.drop_names(&mut rows);
        if self.settings.delayed_name_removal { Ok(rows) } else { super::rows::merge(rows) }
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
        let (left, right) = filled(matching, left, right, grid);
        let (many, one) = if swapped { (right, left) } else { (left, right) };
        let both = both_present(&many, &one, grid);
        let keys = choice(matching);
        let mut places = Places::default();
        let mut key = Vec::new();
        let mut groups: Vec<Group> = Vec::new();
        for (index, row) in one.iter().enumerate() {
            keys.write(row.raw_labels(), row.name() == Name::Gone, &mut key);
            let (place, is_new) = places.place(&key);
            if is_new {
                groups.push(Group { members: Vec::new(), owners: Vec::new(), matched: Vec::new() });
            }
            if let Some(group) = groups.get_mut(place) {
                group.members.push(index);
            }
        }
        for group in groups.iter_mut().filter(|group| group.members.len() > 1) {
            group.owners = vec![None; grid.count];
            for index in &group.members {
                let Some(row) = one.get(*index) else { continue };
                for (step, slot) in group.owners.iter_mut().enumerate() {
                    if both.get(step) != Some(&true) || !row.points.is_present(step) {
                        continue;
                    }
                    if let Some(other) = slot.and_then(|other: usize| one.get(other)) {
                        return Err(not_unique(matching, swapped, row, other));
                    }
                    *slot = Some(*index);
                }
            }
        }
        let mut answers = Answers { rows: Vec::new(), places: HashMap::new(), contributors: Vec::new() };
        let mut remarks = Vec::new();
        // Upstream takes the name at once when the operator is one of arithmetic.
        let leaves = binary.returns_bool && self.settings.delayed_name_removal;
        for row in &many {
            self.budget.check_canceled()?;
            keys.write(row.raw_labels(), row.name() == Name::Gone, &mut key);
            let Some(place) = places.find(&key) else { continue };
            let Some(group) = groups.get_mut(place) else { continue };
            let mut target: Option<(usize, usize)> = None;
            for step in 0..grid.count {
                let Some(owner) = group.owner(step) else { continue };
                let Some(partner) = one.get(owner) else { continue };
                let Some(outcome) = meet(binary, &row.points, &partner.points, step, swapped, &mut remarks) else {
                    continue;
                };
                if matching.cardinality == Cardinality::OneToOne && group.is_matched_again(step, grid) {
                    return Err(EvalError::execution(
                        "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)",
                    ));
                }
                let at = match target {
                    Some((known, at)) if known == owner => at,
                    _ => {
                        self.budget.hold(grid.count)?;
                        let labels = result_labels(binary, matching, row, partner, leaves);
                        answers.place(labels, if leaves { Name::Leaving } else { Name::Kept }, grid)
                    }
                };
                target = Some((owner, at));
                answers.put(at, step, outcome, place)?;
            }
        }
        self.remark(remarks, binary);
        Ok(answers.rows)
    }

    /// `or`
    fn union(
        &mut self,
        matching: &Matching,
        mut left: Vec<Row>,
        mut right: Vec<Row>,
        grid: Grid,
    ) -> Result<Vec<Row>, EvalError> {
        restrict(matching, &mut right, &Presence::of(matching, &left, grid), false);
        left.append(&mut right);
        merge_relabelled(left)
    }
}

/// Whether the operator makes something else of a metric, so that its name goes.
fn drops_name(binary: &Binary) -> bool {
    !binary.op.is_comparison() || binary.returns_bool
}

/// What two series give at one step where both have something.
fn meet(
    binary: &Binary,
    many: &Points,
    one: &Points,
    step: usize,
    swapped: bool,
    remarks: &mut Vec<Annotation>,
) -> Option<Point> {
    let (left, right) = if swapped { (one, many) } else { (many, one) };
    if left.histograms.is_empty() && right.histograms.is_empty() {
        let (left, right) = (*left.values.get(step)?, *right.values.get(step)?);
        if !is_present(left) || !is_present(right) {
            return None;
        }
        return match compare(binary.op, left, right) {
            Some(holds) if binary.returns_bool => Some(Point::Float(f64::from(u8::from(holds)))),
            Some(holds) => holds.then_some(Point::Float(left)),
            None => calculate(binary.op, left, right).map(Point::Float),
        };
    }
    let (left, right) = (left.at(step)?, right.at(step)?);
    match apply(binary.op, &left, &right, remarks) {
        Outcome::Point(point) => Some(point),
        Outcome::Holds(holds) if binary.returns_bool => Some(Point::Float(f64::from(u8::from(holds)))),
        Outcome::Holds(true) => Some(left),
        Outcome::Holds(false) | Outcome::Nothing => None,
    }
}

/// The rows of the "one" side that share a match key.
struct Group {
    members: Vec<usize>,
    /// With several members: which of them has something, by step.
    owners: Vec<Option<usize>>,
    /// Whether a one-to-one partner has been found, by step; empty until one has.
    matched: Vec<bool>,
}

impl Group {
    fn owner(&self, step: usize) -> Option<usize> {
        match self.members.as_slice() {
            [only] => Some(*only),
            _ => self.owners.get(step).copied().flatten(),
        }
    }

    fn is_matched_again(&mut self, step: usize, grid: Grid) -> bool {
        if self.matched.is_empty() {
            self.matched = vec![false; grid.count];
        }
        self.matched.get_mut(step).is_some_and(|matched| std::mem::replace(matched, true))
    }
}

/// Result rows while they fill.
struct Answers {
    rows: Vec<Row>,
    places: HashMap<Labels, usize>,
    /// The match group that contributed last, by row.
    contributors: Vec<usize>,
}

impl Answers {
    fn place(&mut self, labels: Labels, name: Name, grid: Grid) -> usize {
        let next = self.rows.len();
        let place = *self.places.entry(labels.clone()).or_insert(next);
        if place == next {
            self.rows.push(Row::absent(labels, name, grid));
            self.contributors.push(usize::MAX);
        }
        place
    }

    fn put(&mut self, place: usize, step: usize, point: Point, group: usize) -> Result<(), EvalError> {
        let (Some(row), Some(contributor)) = (self.rows.get_mut(place), self.contributors.get_mut(place)) else {
            return Ok(());
        };
        if row.points.is_present(step) {
            return Err(if *contributor == group {
                EvalError::execution("multiple matches for labels: grouping labels must ensure unique matches")
            } else {
                same_labelset()
            });
        }
        match point {
            Point::Float(value) => {
                if let Some(slot) = row.points.values.get_mut(step) {
                    *slot = value;
                }
            }
            Point::Histogram(_) => row.points.put(step, point),
        }
        *contributor = group;
        Ok(())
    }
}

/// The labels by which two samples find each other.
fn choice(matching: &Matching) -> Choice {
    if matching.on { Choice::only(&matching.labels) } else { Choice::without(&matching.labels) }
}

/// The labels of a result (upstream `resultMetric`).
fn result_labels(binary: &Binary, matching: &Matching, many: &Row, one: &Row, leaves: bool) -> Labels {
    let is_gone = many.name() == Name::Gone || (drops_name(binary) && !leaves);
    let listed = |name: &str| matching.labels.iter().any(|label| label == name);
    let base = many.raw_labels().without(|name| {
        let dropped = match (matching.cardinality, matching.on) {
            (Cardinality::OneToOne, true) => !listed(name),
            (Cardinality::OneToOne, false) => listed(name),
            (Cardinality::ManyToOne | Cardinality::OneToMany | Cardinality::ManyToMany, _) => false,
        };
        dropped || (is_gone && is_name(name))
    });
    if matching.cardinality == Cardinality::OneToOne || matching.include.is_empty() {
        return base;
    }
    let one = one.labels();
    matching.include.iter().fold(base, |labels, name| labels.with(name, one.get_or_empty(name)))
}

/// Both sides, with rows of the values that are to stand in for a missing partner.
fn filled(matching: &Matching, mut left: Vec<Row>, mut right: Vec<Row>, grid: Grid) -> (Vec<Row>, Vec<Row>) {
    let stand_ins = |value: f64, there: &[Row], missing: &[Row]| {
        let (keys, missing) = (choice(matching), Presence::of(matching, missing, grid));
        let there_too = Presence::of(matching, there, grid);
        let (mut seen, mut key, mut rows) = (Places::default(), Vec::new(), Vec::new());
        for row in there {
            let is_gone = row.name() == Name::Gone;
            keys.write(row.raw_labels(), is_gone, &mut key);
            if !seen.place(&key).1 {
                continue;
            }
            let mut values = vec![ABSENT; grid.count];
            for (step, slot) in values.iter_mut().enumerate() {
                if there_too.is_at(&key, step) && !missing.is_at(&key, step) {
                    *slot = value;
                }
            }
            rows.push(Row::floats(keys.of(row.raw_labels(), is_gone), values));
        }
        rows
    };
    let for_right = matching.fill.right.map(|value| stand_ins(value, &left, &right)).unwrap_or_default();
    let for_left = matching.fill.left.map(|value| stand_ins(value, &right, &left)).unwrap_or_default();
    left.extend(for_left);
    right.extend(for_right);
    (left, right)
}

/// Which steps have samples on both sides; at others nothing is matched, so nothing can be wrong.
fn both_present(many: &[Row], one: &[Row], grid: Grid) -> Vec<bool> {
    let presence = |rows: &[Row]| {
        let mut present = vec![false; grid.count];
        rows.iter().for_each(|row| row.points.mark(&mut present));
        present
    };
    presence(many).into_iter().zip(presence(one)).map(|(many, one)| many && one).collect()
}

fn not_unique(matching: &Matching, swapped: bool, row: &Row, other: &Row) -> EvalError {
    let side = if swapped { "left" } else { "right" };
    let key = choice(matching).of(row.raw_labels(), row.name() == Name::Gone);
    let (key, row, other) = (braces(&key), braces(&row.labels()), braces(&other.labels()));
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

/// By match key, the steps at which any row has something.
struct Presence {
    places: Places,
    steps: Vec<Vec<bool>>,
}

impl Presence {
    fn of(matching: &Matching, rows: &[Row], grid: Grid) -> Self {
        let keys = choice(matching);
        let (mut places, mut steps, mut key) = (Places::default(), Vec::new(), Vec::new());
        for row in rows {
            keys.write(row.raw_labels(), row.name() == Name::Gone, &mut key);
            let (place, is_new) = places.place(&key);
            if is_new {
                steps.push(vec![false; grid.count]);
            }
            if let Some(present) = steps.get_mut(place) {
                row.points.mark(present);
            }
        }
        Self { places, steps }
    }

    fn is_at(&self, key: &[u8], step: usize) -> bool {
        let present = self.places.find(key).and_then(|place| self.steps.get(place));
        present.and_then(|present| present.get(step)).copied().unwrap_or(false)
    }
}

/// Blanks what `rows` have where the other side's presence is not as `wanted`.
fn restrict(matching: &Matching, rows: &mut Vec<Row>, other: &Presence, wanted: bool) {
    let keys = choice(matching);
    let mut key = Vec::new();
    rows.retain_mut(|row| {
        keys.write(row.raw_labels(), row.name() == Name::Gone, &mut key);
        let Some(present) = other.places.find(&key).and_then(|place| other.steps.get(place)) else {
            return !wanted;
        };
        for (step, _) in present.iter().enumerate().filter(|(_, present)| **present != wanted) {
            row.points.blank(step);
        }
        !row.is_absent()
    });
}

/// `and` (`wanted`) and `unless`.
fn intersect(matching: &Matching, mut left: Vec<Row>, right: &[Row], wanted: bool, grid: Grid) -> Vec<Row> {
    restrict(matching, &mut left, &Presence::of(matching, right, grid), wanted);
    left
}
