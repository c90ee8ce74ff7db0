//! Range functions over columns, without putting lines together.
//!
//! With the labels that a query looks at known, what becomes of a line depends on a few of its values. The pipeline is
//! asked once for each combination of values that occurs in a row group, and the answer holds for all its lines. Lines of
//! a shape about which columns do not say enough are left to be read one by one.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use signal::{Labels, Nanos};
use store::{Field, Line, RowGroup, Rows, RowsError, Shape, ShapeKind, Slot, SlotKind};

use super::EvalError;
use super::gather::{Gathering, Sample};
use super::narrow::{label_name, present};
use super::source::{Opened, Source};
use super::window::Function;
use crate::logql::ast::{Conversion, Stage};
use crate::logql::pipeline::{Entry, TIMESTAMP};

/// A function whose lines need not be put together.
pub(super) struct Columnar<'q> {
    function: &'q Function<'q>,
    /// The stage that parses, if any, and what it can read.
    parser: Option<(usize, ShapeKind)>,
    /// The label whose number is wanted, if it need not be looked at otherwise.
    number: Option<&'q str>,
    /// Labels that decide what becomes of a line.
    names: Vec<&'q str>,
    /// Whether a line counts as many as it has bytes.
    counts_bytes: bool,
}

/// What is left to be read one by one.
pub(super) enum Left {
    Nothing,
    Everything,
    Rows(Opened<'static>),
}

/// Most combinations of values of one row group.
const MOST: usize = 4_096;

impl<'q> Columnar<'q> {
    /// `None` when the function needs more of lines than columns tell.
    pub(super) fn new(function: &'q Function<'q>) -> Option<Self> {
        let expr = function.expr;
        let counts_bytes = expr.unwrap.is_none() && expr.op.counts_bytes();
        let mut parser = None;
        for (place, stage) in expr.log.stages.iter().enumerate() {
            match stage {
                Stage::Filter(_) => {}
                Stage::Json(wanted) if wanted.is_empty() && parser.is_none() => {
                    parser = Some((place, ShapeKind::Json));
                }
                Stage::Logfmt { strict: _, keep_empty: false, wanted } if wanted.is_empty() && parser.is_none() => {
                    parser = Some((place, ShapeKind::Logfmt));
                }
                Stage::Json(_)
                | Stage::Logfmt { .. }
                | Stage::Line { .. }
                | Stage::Regexp(_)
                | Stage::Pattern(_)
                | Stage::Unpack
                | Stage::LineFormat(_)
                | Stage::LabelFormat(_)
                | Stage::Drop(_)
                | Stage::Keep(_)
                | Stage::Decolorize => return None,
            }
        }
        let names: Vec<&str> = match &function.wanted {
            Some(wanted) => wanted.iter().map(String::as_str).collect(),
            // Every label is wanted: known only where nothing is parsed.
            None if parser.is_none() && expr.log.stages.is_empty() && expr.unwrap.is_none() => Vec::new(),
            None => return None,
        };
        if names.contains(&TIMESTAMP) {
            return None;
        }
        // As the pipeline does, nothing is parsed for nobody.
        let parser = parser.filter(|_| !names.is_empty());
        let number = expr.unwrap.as_ref().filter(|unwrap| {
            unwrap.conversion == Conversion::Number && unwrap.filters.is_empty() && !function.decides(&unwrap.label)
        });
        let number = number.map(|unwrap| unwrap.label.as_str());
        let names = names.into_iter().filter(|name| Some(*name) != number).collect();
        Some(Self { function, parser, number, names, counts_bytes })
    }

    /// Gathers the lines of a source as far as columns tell.
    pub(super) fn gather(&self, source: &Source<'_>, gathering: &mut Gathering<'_>) -> Result<Left, EvalError> {
        let Some((group, rows)) = source.group() else { return Ok(Left::Everything) };
        self.gather_group(source, &group, rows, gathering).unwrap_or_else(|error| {
            source.note(error);
            Ok(Left::Nothing)
        })
    }

    fn gather_group(
        &self,
        source: &Source<'_>,
        group: &Arc<RowGroup>,
        rows: Range<usize>,
        gathering: &mut Gathering<'_>,
    ) -> Result<Result<Left, EvalError>, RowsError> {
        let (stream, (start, end)) = (source.labels, source.bounds);
        let times = group.times()?;
        let mask = source.mask(&times);
        let own = times.get(rows.clone()).unwrap_or_default();
        if !own.is_sorted() {
            return Ok(Ok(Left::Everything));
        }
        let from = rows.start + own.partition_point(|at| *at < start.0);
        let to = rows.start + own.partition_point(|at| *at <= end.0);
        if from >= to {
            return Ok(Ok(Left::Nothing));
        }
        let codes = group.codes()?;
        let mut left = Rows::none(group.rows() as usize);
        for (number, shape) in group.shapes().iter().enumerate() {
            let of_shape = match &codes {
                None => mask.clone(),
                Some(codes) => {
                    let mut rows = Rows::of(codes, |code| usize::from(*code) == number);
                    mask.iter().for_each(|mask| rows.and(mask));
                    Some(rows)
                }
            };
            let of_shape = of_shape.map(|mut rows| {
                rows.retain(from..to);
                rows
            });
            if of_shape.as_ref().is_some_and(Rows::is_empty) {
                continue;
            }
            match self.values(stream, group, shape)? {
                Some(values) => {
                    let lines = Lines { range: from..to, rows: of_shape, times: &times };
                    if let Err(error) = self.add(stream, &values, &lines, gathering) {
                        return Ok(Err(error));
                    }
                }
                None => left.or(&of_shape.unwrap_or_else(|| {
                    let mut rows = Rows::all(times.len());
                    rows.retain(from..to);
                    rows
                })),
            }
        }
        if left.is_empty() {
            return Ok(Ok(Left::Nothing));
        }
        let rows = left.iter().map(|row| row as u32).collect();
        Ok(Ok(Left::Rows(Opened::of_rows(Arc::clone(group), rows, times))))
    }

    /// The values that decide what becomes of lines of a shape; `None` when columns do not tell.
    fn values(&self, stream: &Labels, group: &RowGroup, shape: &Shape) -> Result<Option<Values<'q>>, RowsError> {
        let is_packed = shape.metadata().iter().any(|slot| slot.kind == SlotKind::Packed);
        let is_all_wanted = self.function.wanted.is_none();
        if is_packed
            || (is_all_wanted && !shape.metadata().is_empty())
            || self.parser.is_some_and(|(_, kind)| shape.kind != kind)
        {
            return Ok(None);
        }
        let mut values = Values { labels: Vec::new(), combinations: 1, number: None };
        for name in self.names.iter().copied().chain(self.number) {
            let metadata = shape.metadata().iter().find(|slot| slot.path().eq([name]));
            let (slot, is_parsed) = match (metadata, self.parsed(stream, shape, name)) {
                (None, Parsed::Absent) => continue,
                // A stored label of the stream goes before structured metadata, and renames it.
                (Some(_), _) if stream.get(name).is_some() => return Ok(None),
                (Some(slot), Parsed::Absent) => (slot, false),
                (None, Parsed::Slot(slot)) => (slot, true),
                (Some(_), Parsed::Slot(_)) | (_, Parsed::Unknown) => return Ok(None),
            };
            if group.has_escapes(slot.column) {
                return Ok(None);
            }
            let own = |text: &str| present(slot.kind, text).map(str::to_owned);
            match group.field(slot.column)? {
                Field::Numbers(numbers) if self.number == Some(name) => {
                    values.number = Some((Places::of(group, slot.column)?, numbers));
                }
                Field::Dictionary(entries, codes) => {
                    let texts: Vec<_> = entries.iter().map(own).collect();
                    let codes = Some((Places::of(group, slot.column)?, codes));
                    let stride = values.combinations;
                    values.combinations = stride.saturating_mul(texts.len());
                    values.labels.push(Label { name, texts, codes, stride, is_parsed });
                }
                Field::Constant(text) => {
                    let (texts, stride) = (vec![own(&text)], values.combinations);
                    values.labels.push(Label { name, texts, codes: None, stride, is_parsed });
                }
                Field::Numbers(_) | Field::Texts(_) => return Ok(None),
            }
        }
        if self.counts_bytes {
            let lengths = group.lengths()?.into_iter().map(|length| length as f64).collect();
            values.number = Some((Places::Same, lengths));
        }
        Ok((values.combinations <= MOST).then_some(values))
    }

    /// Where the parser finds a label in lines of a shape.
    fn parsed<'s>(&self, stream: &Labels, shape: &'s Shape, name: &str) -> Parsed<'s> {
        if self.parser.is_none() {
            return Parsed::Absent;
        }
        let mut found = None;
        for slot in shape.slots().iter().filter(|slot| slot.kind != SlotKind::Array) {
            let label = label_name(slot);
            let is_it = if stream.get(&label).is_some() {
                name.strip_suffix("_extracted") == Some(&*label)
            } else {
                name == label
            };
            if !is_it {
                continue;
            }
            if found.is_some() || shape.metadata().iter().any(|slot| slot.path().eq([label.as_str()])) {
                return Parsed::Unknown;
            }
            found = Some(slot);
        }
        found.map_or(Parsed::Absent, Parsed::Slot)
    }

    /// Adds lines of one shape to their series.
    fn add(
        &self,
        stream: &Labels,
        values: &Values<'q>,
        lines: &Lines<'_>,
        gathering: &mut Gathering<'_>,
    ) -> Result<(), EvalError> {
        let mut outcomes: Vec<Option<Outcome>> = vec![None; values.combinations];
        let mut counts = vec![0_usize; values.combinations];
        let mut touched = Vec::new();
        let edges = gathering.edges();
        let mut from = lines.range.start;
        while from < lines.range.end {
            // Lines between two edges are in the same windows.
            let rest = lines.times.get(from..lines.range.end).unwrap_or_default();
            let Some(first) = rest.first() else { break };
            let bin = edges.bin(*first);
            let last = edges.end(bin);
            let to = from + rest.partition_point(|at| *at <= last);
            if values.combinations == 1 && values.number.is_none() {
                let count =
                    lines.rows.as_ref().map_or(to - from, |rows| rows.count_before(to) - rows.count_before(from));
                if count > 0 {
                    counts.iter_mut().for_each(|known| *known = count);
                    touched.push(0);
                }
            } else {
                for row in lines.within(from..to) {
                    let code = values.code(row);
                    if let Some(count) = counts.get_mut(code) {
                        if *count == 0 {
                            touched.push(code);
                        }
                        *count += 1;
                    }
                }
            }
            let mut is_one_by_one = values.number.is_some();
            for code in touched.drain(..) {
                let count = counts.get_mut(code).map(std::mem::take).unwrap_or_default();
                let Some(known) = outcomes.get_mut(code) else { continue };
                let outcome = match known {
                    Some(outcome) => *outcome,
                    None => *known.insert(self.outcome(stream, values, code, gathering)?),
                };
                if let (Outcome::Kept { place, value }, false) = (outcome, is_one_by_one) {
                    is_one_by_one = !gathering.add_many(place, bin, count, value);
                }
            }
            if is_one_by_one {
                for row in lines.within(from..to) {
                    let outcome = outcomes.get(values.code(row)).copied().flatten();
                    let Some(Outcome::Kept { place, value }) = outcome else { continue };
                    let value = match &values.number {
                        Some((places, numbers)) => numbers.get(places.of_row(row)).copied(),
                        None => Some(value),
                    };
                    if let Some((value, at)) = value.zip(lines.times.get(row)) {
                        gathering.add(place, Sample { at: Nanos(*at), value });
                    }
                }
            }
            from = to;
        }
        Ok(())
    }

    /// Asks the pipeline what becomes of lines with a combination of values.
    fn outcome(
        &self,
        stream: &Labels,
        values: &Values<'q>,
        code: usize,
        gathering: &mut Gathering<'_>,
    ) -> Result<Outcome, EvalError> {
        let none = Labels::empty();
        let pipeline = self.function.reader.pipeline();
        let mut entry = pipeline.begin(stream, Line { at: Nanos(0), line: "", metadata: &none });
        let learn = |entry: &mut Entry<'_>, is_parsed: bool| {
            for label in values.labels.iter().filter(|label| label.is_parsed == is_parsed) {
                if let Some(text) = label.text(code) {
                    entry.learn(Cow::Owned(label.name.to_owned()), Cow::Owned(text.to_owned()));
                }
            }
        };
        let stages = self.function.expr.log.stages.len();
        let parser = self.parser.map_or(stages, |(place, _)| place);
        learn(&mut entry, false);
        if !pipeline.run_steps(&mut entry, 0..parser) {
            return Ok(Outcome::Dropped);
        }
        learn(&mut entry, true);
        if !pipeline.run_steps(&mut entry, parser.saturating_add(1)..stages) {
            return Ok(Outcome::Dropped);
        }
        // The number itself is read line by line; that there is one is all that counts here.
        let value =
            if values.number.is_some() { self.function.check(&entry)? } else { self.function.value(&mut entry)? };
        let Some(value) = value else { return Ok(Outcome::Dropped) };
        Ok(Outcome::Kept { place: gathering.place(&self.function.identity(&entry)), value })
    }
}

/// What becomes of the lines with one combination of values.
#[derive(Clone, Copy)]
enum Outcome {
    Dropped,
    Kept { place: usize, value: f64 },
}

/// Where a parser finds a label.
enum Parsed<'s> {
    Absent,
    Slot(&'s Slot),
    /// Only the pipeline can tell.
    Unknown,
}

/// Lines of a row group that are asked about.
struct Lines<'g> {
    range: Range<usize>,
    /// Those of the shape in question; all without.
    rows: Option<Rows>,
    times: &'g [i64],
}

impl Lines<'_> {
    fn within(&self, range: Range<usize>) -> impl Iterator<Item = usize> {
        range.filter(|row| self.rows.as_ref().is_none_or(|rows| rows.contains(*row)))
    }
}

/// The values that decide what becomes of lines.
struct Values<'q> {
    labels: Vec<Label<'q>>,
    combinations: usize,
    number: Option<(Places, Vec<f64>)>,
}

struct Label<'q> {
    name: &'q str,
    texts: Vec<Option<String>>,
    /// Which of the texts each line has; the first without.
    codes: Option<(Places, Vec<u16>)>,
    /// How much a text further changes the number of a combination.
    stride: usize,
    is_parsed: bool,
}

impl Values<'_> {
    fn code(&self, row: usize) -> usize {
        self.labels.iter().map(|label| label.code(row) * label.stride).sum()
    }
}

impl Label<'_> {
    fn code(&self, row: usize) -> usize {
        let Some((places, codes)) = &self.codes else { return 0 };
        codes.get(places.of_row(row)).copied().map(usize::from).unwrap_or_default()
    }

    fn text(&self, code: usize) -> Option<&str> {
        self.texts.get(code / self.stride.max(1) % self.texts.len().max(1))?.as_deref()
    }
}

/// Where the value of a row is among the values of a column.
enum Places {
    Same,
    Other(Vec<u16>),
}

impl Places {
    fn of(group: &RowGroup, column: u32) -> Result<Self, RowsError> {
        let Some(rows) = group.rows_with(column)? else { return Ok(Self::Same) };
        let mut places = vec![0; group.rows() as usize];
        for (place, row) in (0_u16..).zip(rows) {
            if let Some(of_row) = places.get_mut(usize::from(row)) {
                *of_row = place;
            }
        }
        Ok(Self::Other(places))
    }

    fn of_row(&self, row: usize) -> usize {
        match self {
            Self::Same => row,
            Self::Other(places) => places.get(row).copied().map(usize::from).unwrap_or_default(),
        }
    }
}
