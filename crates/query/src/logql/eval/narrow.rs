//! What must hold of a line for a pipeline to keep it, as far as columns can tell.
//!
//! The rows found here are looked at by the pipeline itself afterwards. So a condition may let lines pass that the
//! pipeline refuses, but never refuse one that it keeps.

use regex_syntax::hir::{Hir, HirKind};
use signal::{Labels, MatchOp, go_regex};
use store::{Field, Needle, RowGroup, Rows, RowsError, Shape, ShapeKind, Slot, SlotKind};

use crate::logql::ast::{Comparison, LabelFilter, LineOp, LineTerm, Quantity, Stage};
use crate::logql::pipeline::{Error, TIMESTAMP, compares, sanitize};
use crate::logql::units::{read_bytes, read_duration, read_float};

/// Conditions that all must hold.
#[derive(Debug, Default)]
pub(super) struct Narrowing {
    conditions: Vec<Condition>,
}

#[derive(Debug)]
enum Condition {
    /// The line holds one of these.
    Holds(Vec<Needle>),
    /// What a parser of this kind finds satisfies the filter.
    Labels(ShapeKind, LabelFilter),
}

/// Most texts one of which a line must hold.
const MAX_NEEDLES: usize = 16;
/// Shorter texts are in every line.
const SHORTEST: usize = 2;

impl Narrowing {
    /// Reads the conditions off the stages.
    pub(super) fn new(stages: &[Stage]) -> Self {
        let mut narrowing = Self::default();
        // Whether the text is still the one that was stored; which parser made the labels, if nothing changed them since.
        let mut is_stored = true;
        let mut parser = None;
        let mut labels_known = true;
        for stage in stages {
            match stage {
                Stage::Line { op, terms } if is_stored => narrowing.line(*op, terms),
                Stage::Line { .. } => {}
                Stage::Json(wanted) if wanted.is_empty() && labels_known && parser.is_none() && is_stored => {
                    parser = Some(ShapeKind::Json);
                }
                Stage::Logfmt { strict: _, keep_empty: false, wanted }
                    if wanted.is_empty() && labels_known && parser.is_none() && is_stored =>
                {
                    parser = Some(ShapeKind::Logfmt);
                }
                Stage::Filter(filter) => {
                    if let Some(kind) = parser
                        && labels_known
                    {
                        narrowing.conditions.push(Condition::Labels(kind, filter.clone()));
                    }
                }
                Stage::LineFormat(_) | Stage::Decolorize => is_stored = false,
                Stage::Unpack => {
                    is_stored = false;
                    labels_known = false;
                }
                Stage::Json(_)
                | Stage::Logfmt { .. }
                | Stage::Regexp(_)
                | Stage::Pattern(_)
                | Stage::LabelFormat(_)
                | Stage::Drop(_)
                | Stage::Keep(_) => labels_known = false,
            }
        }
        narrowing
    }

    /// Whether every line passes.
    pub(super) fn is_empty(&self) -> bool {
        self.conditions.is_empty()
    }

    fn line(&mut self, op: LineOp, terms: &[LineTerm]) {
        let mut needles = Vec::new();
        for term in terms {
            let LineTerm::Text(text) = term else { return };
            match op {
                LineOp::Contains => needles.push(text.clone()),
                LineOp::Matches => match required_in(text) {
                    Some(texts) => needles.extend(texts),
                    None => return,
                },
                LineOp::Pattern => match longest_literal(text) {
                    Some(text) => needles.push(text.to_owned()),
                    None => return,
                },
                LineOp::NotContains | LineOp::NotMatches | LineOp::NotPattern => return,
            }
        }
        let is_useful = !needles.is_empty()
            && needles.len() <= MAX_NEEDLES
            && needles.iter().all(|needle| needle.len() >= SHORTEST);
        if is_useful {
            self.conditions.push(Condition::Holds(needles.iter().map(|needle| Needle::new(needle)).collect()));
        }
    }

    /// Whether a line may be kept, as far as its text alone tells.
    pub(super) fn may_keep(&self, line: &str) -> bool {
        self.conditions.iter().all(|condition| match condition {
            Condition::Holds(needles) => needles.iter().any(|needle| needle.is_in(line)),
            Condition::Labels(..) => true,
        })
    }

    /// The rows of a group that may be kept, of a stream with these labels.
    pub(super) fn rows(&self, group: &RowGroup, stream: &Labels) -> Result<Rows, RowsError> {
        let len = group.rows() as usize;
        let mut found = Rows::all(len);
        // A line that failed once passes every later comparison of numbers.
        let mut failed = Rows::none(len);
        for condition in &self.conditions {
            let passing = match condition {
                Condition::Holds(needles) => {
                    let mut passing = Rows::none(len);
                    for needle in needles {
                        passing.or(&group.candidates(needle)?);
                    }
                    passing
                }
                Condition::Labels(kind, filter) => {
                    let mut passing = self::passing(group, *kind, stream, filter, &mut failed)?;
                    if is_numeric(filter) {
                        passing.or(&failed);
                    }
                    passing
                }
            };
            found.and(&passing);
            if found.is_empty() {
                break;
            }
        }
        Ok(found)
    }
}

/// Whether a comparison of numbers is in it, which lines that failed pass.
fn is_numeric(filter: &LabelFilter) -> bool {
    match filter {
        LabelFilter::And(filters) | LabelFilter::Or(filters) => filters.iter().any(is_numeric),
        LabelFilter::Text(_) => false,
        LabelFilter::Compare { .. } | LabelFilter::Ip { .. } => true,
    }
}

/// The rows that may pass a filter; those whose value cannot be compared are added to `failed`.
fn passing(
    group: &RowGroup,
    kind: ShapeKind,
    stream: &Labels,
    filter: &LabelFilter,
    failed: &mut Rows,
) -> Result<Rows, RowsError> {
    let len = group.rows() as usize;
    match filter {
        LabelFilter::And(filters) => {
            let mut rows = Rows::all(len);
            for filter in filters {
                let mut passing = passing(group, kind, stream, filter, failed)?;
                if is_numeric(filter) {
                    passing.or(failed);
                }
                rows.and(&passing);
            }
            Ok(rows)
        }
        LabelFilter::Or(filters) => {
            let mut rows = Rows::none(len);
            for filter in filters {
                rows.or(&passing(group, kind, stream, filter, failed)?);
            }
            Ok(rows)
        }
        LabelFilter::Text(matcher) => {
            let absent = matcher.matches("");
            by_place(group, kind, stream, &matcher.name, absent, |place| {
                if matcher.op == MatchOp::Equal && place.slot.kind != SlotKind::Scalar {
                    return group.rows_equal(place.slot.column, &matcher.value);
                }
                rows_where(group, place, absent, |text| matcher.matches(text))
            })
        }
        LabelFilter::Compare { label, op, with } => {
            let mut unreadable = Rows::none(len);
            let rows =
                by_place(group, kind, stream, label, false, |place| compare(group, place, *op, with, &mut unreadable))?;
            failed.or(&unreadable);
            Ok(rows)
        }
        LabelFilter::Ip { label, .. } => {
            // Addresses are left to the pipeline; a line without one does not pass.
            by_place(group, kind, stream, label, false, |_| Ok(Rows::all(len)))
        }
    }
}

/// Where in lines of one shape a label comes from.
#[derive(Clone, Copy)]
struct Place<'a> {
    slot: &'a Slot,
}

enum Source<'a> {
    Place(Place<'a>),
    /// No such line has the label.
    Absent,
    /// Only the pipeline can tell.
    Unknown,
}

fn source<'a>(shape: &'a Shape, kind: ShapeKind, stream: &Labels, label: &str) -> Source<'a> {
    let is_special = matches!(label, TIMESTAMP | Error::LABEL | Error::DETAILS);
    if shape.kind != kind || is_special || shape.metadata().iter().any(|slot| slot.kind == SlotKind::Packed) {
        return Source::Unknown;
    }
    let is_taken =
        |name: &str| stream.get(name).is_some() || shape.metadata().iter().any(|slot| slot.path().eq([name]));
    if is_taken(label) {
        return Source::Unknown;
    }
    let mut found = None;
    for slot in shape.slots() {
        let name = label_name(slot);
        let is_it = if is_taken(&name) { label.strip_suffix("_extracted") == Some(&*name) } else { name == label };
        if !is_it || slot.kind == SlotKind::Array {
            continue;
        }
        // Two values of one name, or letters that stand for others: whoever reads them knows best.
        if found.is_some() || group_cannot_tell(slot) {
            return Source::Unknown;
        }
        found = Some(slot);
    }
    found.map_or(Source::Absent, |slot| Source::Place(Place { slot }))
}

fn group_cannot_tell(slot: &Slot) -> bool {
    match slot.kind {
        SlotKind::Quoted | SlotKind::Scalar | SlotKind::Word => false,
        SlotKind::Line | SlotKind::Array | SlotKind::Metadata | SlotKind::Packed => true,
    }
}

/// Asks each shape's own place of a label; `absent` says what becomes of lines without it.
fn by_place<'a>(
    group: &'a RowGroup,
    kind: ShapeKind,
    stream: &Labels,
    label: &str,
    absent: bool,
    mut ask: impl FnMut(Place<'a>) -> Result<Rows, RowsError>,
) -> Result<Rows, RowsError> {
    let len = group.rows() as usize;
    let mut answers = Vec::with_capacity(group.shapes().len());
    for shape in group.shapes() {
        answers.push(match source(shape, kind, stream, label) {
            Source::Unknown => Rows::all(len),
            Source::Absent if absent => Rows::all(len),
            Source::Absent => Rows::none(len),
            Source::Place(place) if group.has_escapes(place.slot.column) => Rows::all(len),
            Source::Place(place) => ask(place)?,
        });
    }
    group.by_shape(&answers)
}

/// The label that a parser makes of a value at this path.
pub(super) fn label_name(slot: &Slot) -> String {
    slot.path().fold(String::new(), |prefix, key| sanitize(&prefix, key))
}

/// Whether a comparison holds; numbers that cannot be ordered are only different.
fn holds(op: Comparison, order: Option<std::cmp::Ordering>) -> bool {
    order.map_or(op == Comparison::NotEqual, |order| compares(op, order))
}

/// The value as the label has it; `None` when there is none.
pub(super) fn present(kind: SlotKind, text: &str) -> Option<&str> {
    match kind {
        SlotKind::Scalar if text == "null" => None,
        SlotKind::Word if text.is_empty() => None,
        SlotKind::Quoted
        | SlotKind::Scalar
        | SlotKind::Word
        | SlotKind::Line
        | SlotKind::Array
        | SlotKind::Metadata
        | SlotKind::Packed => Some(text),
    }
}

fn rows_where(
    group: &RowGroup,
    place: Place<'_>,
    absent: bool,
    holds: impl Fn(&str) -> bool,
) -> Result<Rows, RowsError> {
    group.rows_where(place.slot.column, |text| present(place.slot.kind, text).map_or(absent, &holds))
}

fn compare(
    group: &RowGroup,
    place: Place<'_>,
    op: Comparison,
    with: &Quantity,
    unreadable: &mut Rows,
) -> Result<Rows, RowsError> {
    let column = place.slot.column;
    let order = |text: &str| -> Option<Option<std::cmp::Ordering>> {
        match with {
            Quantity::Number(literal) => Some(read_float(text).ok()?.partial_cmp(&read_float(literal).ok()?)),
            Quantity::Duration(nanos) => Some(Some(read_duration(text).ok()?.cmp(nanos))),
            Quantity::Bytes(bytes) => Some(Some(read_bytes(text).ok()?.cmp(bytes))),
        }
    };
    if let (Quantity::Number(literal), Field::Numbers(numbers)) = (with, group.field(column)?) {
        let Ok(with) = read_float(literal) else { return Ok(Rows::all(group.rows() as usize)) };
        let found = Rows::of(&numbers, |number| holds(op, number.partial_cmp(&with)));
        return group.spread(column, found);
    }
    // Values that cannot be read pass, and what comes after knows of them.
    let lost =
        group.rows_where(column, |text| present(place.slot.kind, text).is_some_and(|text| order(text).is_none()))?;
    unreadable.or(&lost);
    let mut rows = rows_where(group, place, false, |text| order(text).is_none_or(|order| holds(op, order)))?;
    rows.or(&lost);
    Ok(rows)
}

/// Texts one of which is in everything that a regular expression finds; `None` when that is not known.
fn required_in(pattern: &str) -> Option<Vec<String>> {
    let regex = go_regex::compile(pattern).ok()?;
    required(&regex_syntax::parse(regex.as_str()).ok()?)
}

fn required(hir: &Hir) -> Option<Vec<String>> {
    match hir.kind() {
        HirKind::Literal(literal) => Some(vec![String::from_utf8(literal.0.to_vec()).ok()?]),
        HirKind::Capture(capture) => required(&capture.sub),
        HirKind::Repetition(repetition) if repetition.min > 0 => required(&repetition.sub),
        HirKind::Concat(parts) => {
            // The part whose shortest text is longest says most.
            let shortest = |texts: &Vec<String>| texts.iter().map(String::len).min().unwrap_or_default();
            parts.iter().filter_map(required).max_by_key(shortest)
        }
        HirKind::Alternation(parts) => {
            let mut all = Vec::new();
            for part in parts {
                all.extend(required(part)?);
            }
            (all.len() <= MAX_NEEDLES).then_some(all)
        }
        HirKind::Empty | HirKind::Class(_) | HirKind::Look(_) | HirKind::Repetition(_) => None,
    }
}

/// The longest text between the gaps of a pattern.
fn longest_literal(pattern: &str) -> Option<&str> {
    // A gap is `<_>`; cutting at every bracket can only give shorter texts.
    pattern.split(['<', '>']).filter(|text| *text != "_").max_by_key(|text| text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_regular_expression_tells_what_it_needs() {
        for (pattern, want) in [
            ("timeout calling (payment|inventory).*after", Some(&["timeout calling "][..])),
            ("(error|warning): ", Some(&["error", "warning"])),
            ("(?i)error", None),
            ("a*", None),
            ("(foo)+bar?", Some(&["foo"])),
            ("x|.*", None),
        ] {
            let want = want.map(|texts| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
            assert_eq!(required_in(pattern), want, "{pattern}");
        }
    }
}
