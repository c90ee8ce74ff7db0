//! The lines of one stream in a stretch of time, read as far as a query needs them.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use signal::{Labels, LogLine, Nanos};
use store::{Line, LinePart, PartRows, RowGroup, Rows, RowsError, Snapshot, StreamReader};

use super::Direction;
use super::narrow::Narrowing;
use crate::logql::ast::LogExpr;

/// Lines of one stream, and the parts that have them. No line is in two sources.
pub(super) struct Source<'s> {
    pub(super) labels: &'s Labels,
    parts: Vec<&'s LinePart>,
    /// The first and the last instant that count.
    pub(super) bounds: (Nanos, Nanos),
    instants: Instants,
}

/// Which instants between the bounds count.
#[derive(Clone)]
enum Instants {
    All,
    /// Others than these, which are sorted.
    Except(Arc<[i64]>),
    /// These, which are sorted.
    Only(Arc<[i64]>),
}

impl Instants {
    fn count(&self, at: i64) -> bool {
        match self {
            Self::All => true,
            Self::Except(instants) => instants.binary_search(&at).is_err(),
            Self::Only(instants) => instants.binary_search(&at).is_ok(),
        }
    }
}

/// How many pairs of overlapping parts are compared; a stream with more of them is put in order line by line.
const MOST_PAIRS: usize = 4_096;

/// The sources of streams, stream by stream, each in order of time.
///
/// A line can only be in two parts if both have something at its instant. So parts that overlap are read apart too, but for
/// the instants that they share.
pub(super) fn sources(streams: &[StreamReader]) -> Vec<Source<'_>> {
    let mut sources = Vec::new();
    for stream in streams {
        let (labels, range) = (stream.labels(), (stream.start(), stream.end()));
        let clip = |first: Nanos, last: Nanos| (first.max(range.0), last.min(range.1));
        let mut rest = stream.parts();
        while let Some((first, others)) = rest.split_first() {
            let mut last = first.last();
            let overlaps = |part: &&LinePart| {
                let does = part.first() <= last;
                if does {
                    last = last.max(part.last());
                }
                does
            };
            let count = 1 + others.iter().take_while(overlaps).count();
            let (together, after) = rest.split_at_checked(count).unwrap_or((rest, &[]));
            rest = after;
            let all: Vec<&LinePart> = together.iter().collect();
            let bounds = clip(first.first(), last);
            if count == 1 {
                sources.push(Source { labels, parts: all, bounds, instants: Instants::All });
                continue;
            }
            let Some(shared) = shared(together, range) else {
                sources.push(Source { labels, parts: all, bounds, instants: Instants::All });
                continue;
            };
            let shared: Arc<[i64]> = Arc::from(shared);
            let instants = if shared.is_empty() { Instants::All } else { Instants::Except(Arc::clone(&shared)) };
            for part in together {
                let bounds = clip(part.first(), part.last());
                sources.push(Source { labels, parts: vec![part], bounds, instants: instants.clone() });
            }
            if let (Some(first), Some(last)) = (shared.first(), shared.last()) {
                let bounds = clip(Nanos(*first), Nanos(*last));
                sources.push(Source { labels, parts: all, bounds, instants: Instants::Only(shared) });
            }
        }
    }
    sources
}

/// The instants at which several of these parts have lines, sorted; `None` when that cannot be told easily. Parts come in
/// order of their first instants.
fn shared(parts: &[LinePart], range: (Nanos, Nanos)) -> Option<Vec<i64>> {
    let times: Vec<Vec<i64>> = parts.iter().map(|part| times(part, range)).collect::<Option<_>>()?;
    let mut shared = Vec::new();
    let mut pairs = 0;
    for (place, one) in times.iter().enumerate() {
        let Some(last) = one.last() else { continue };
        let later = times.get(place + 1..).unwrap_or_default();
        for (other, _) in later.iter().zip(parts.get(place + 1..)?).take_while(|(_, part)| part.first().0 <= *last) {
            pairs += 1;
            if pairs > MOST_PAIRS {
                return None;
            }
            intersect(one, other, &mut shared);
        }
    }
    shared.sort_unstable();
    shared.dedup();
    Some(shared)
}

/// The instants of a part; `None` when something of it was deleted, or it cannot be read.
fn times(part: &LinePart, (start, end): (Nanos, Nanos)) -> Option<Vec<i64>> {
    if let Some(lines) = part.open(start, end) {
        return Some(lines.iter().map(|line| line.at.0).collect());
    }
    let PartRows { group, rows } = part.rows()?;
    let times = group.times().ok()?;
    Some(times.get(rows.start as usize..rows.end as usize)?.to_vec())
}

/// Adds what is in both; both are sorted.
fn intersect(one: &[i64], other: &[i64], both: &mut Vec<i64>) {
    let from = |list: &[i64], other: &[i64]| other.first().map_or(0, |first| list.partition_point(|at| at < first));
    let mut left = one.get(from(one, other)..).unwrap_or_default();
    let mut right = other.get(from(other, one)..).unwrap_or_default();
    while let (Some((a, after_a)), Some((b, after_b))) = (left.split_first(), right.split_first()) {
        match a.cmp(b) {
            Ordering::Less => left = after_a,
            Ordering::Greater => right = after_b,
            Ordering::Equal => {
                both.push(*a);
                (left, right) = (after_a, after_b);
            }
        }
    }
}

/// Streams that may have lines in the range.
pub(super) fn streams(log: &LogExpr, snapshot: &Snapshot, (start, end): (Nanos, Nanos)) -> Vec<StreamReader> {
    if start > end { Vec::new() } else { snapshot.find_streams(&log.matchers, start, end) }
}

impl<'s> Source<'s> {
    /// The row group that has all lines, and which of its rows they are; `None` when they are elsewhere too.
    pub(super) fn group(&self) -> Option<(Arc<RowGroup>, Range<usize>)> {
        let [only] = self.parts.as_slice() else { return None };
        let PartRows { group, rows } = only.rows()?;
        Some((group, rows.start as usize..rows.end as usize))
    }

    /// Says that rows could not be read; they are lost, and the store's status names them.
    pub(super) fn note(&self, error: RowsError) {
        if let Some(part) = self.parts.first() {
            part.note(error);
        }
    }

    /// The rows that count, where that is not all of them between the bounds.
    pub(super) fn mask(&self, times: &[i64]) -> Option<Rows> {
        match &self.instants {
            Instants::All => None,
            Instants::Except(_) | Instants::Only(_) => Some(Rows::of(times, |at| self.instants.count(*at))),
        }
    }

    /// The lines that may be kept.
    pub(super) fn open(&self, narrowing: &Narrowing) -> Opened<'s> {
        if let [only] = self.parts.as_slice()
            && let Some(mut lines) = only.open(self.bounds.0, self.bounds.1)
        {
            lines.retain(|line| self.instants.count(line.at.0) && narrowing.may_keep(line.line));
            return Opened { content: Content::Borrowed(lines) };
        }
        if let Some((group, rows)) = self.group() {
            return Opened::of_group(group, rows, narrowing, self).unwrap_or_else(|error| {
                self.note(error);
                Opened::default()
            });
        }
        let mut lines: Vec<(u32, LogLine)> = Vec::new();
        for part in &self.parts {
            let own = match part.rows() {
                Some(PartRows { group, rows }) => {
                    let opened = Opened::of_group(group, rows.start as usize..rows.end as usize, narrowing, self);
                    opened.and_then(Opened::all).unwrap_or_else(|error| {
                        part.note(error);
                        Vec::new()
                    })
                }
                None => part.lines(self.bounds.0, self.bounds.1),
            };
            let own = own.into_iter().filter(|line| self.instants.count(line.at.0));
            lines.extend(own.map(|line| (part.arrival(), line)));
        }
        lines.sort_by_key(|(arrival, line)| (line.at, *arrival));
        let mut lines: Vec<LogLine> = lines.into_iter().map(|(_, line)| line).collect();
        if self.parts.len() > 1 {
            drop_repeats(&mut lines);
        }
        Opened { content: Content::Lines(lines) }
    }

    /// Shows the next lines of what was opened, in the order of a direction, until one is refused with an error; what
    /// cannot be read is as if it were not there.
    pub(super) fn read<E>(
        &self,
        opened: &mut Opened<'s>,
        count: usize,
        direction: Direction,
        mut see: impl FnMut(Line<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let taken = match &mut opened.content {
            Content::Borrowed(lines) => {
                let taken = cut(lines, count, direction);
                return match direction {
                    Direction::Forward => taken.into_iter().try_for_each(see),
                    Direction::Backward => taken.into_iter().rev().try_for_each(see),
                };
            }
            Content::Lines(lines) => cut(lines, count, direction),
            Content::Rows { group, rows, .. } => {
                let wanted = cut(rows, count, direction);
                read(group, &wanted).unwrap_or_else(|error| {
                    self.note(error);
                    rows.clear();
                    Vec::new()
                })
            }
        };
        match direction {
            Direction::Forward => taken.iter().try_for_each(|line| see(line.into())),
            Direction::Backward => taken.iter().rev().try_for_each(|line| see(line.into())),
        }
    }
}

/// Keeps the first of equal lines at one instant; `lines` is sorted by time.
fn drop_repeats(lines: &mut Vec<LogLine>) {
    if lines.is_sorted_by(|a, b| a.at < b.at) {
        return;
    }
    let mut kept = Vec::with_capacity(lines.len());
    for instant in lines.chunk_by(|a, b| a.at == b.at) {
        let mut seen = HashSet::new();
        kept.extend(instant.iter().map(|line| seen.insert((&line.line, &line.metadata))));
    }
    let mut kept = kept.into_iter();
    lines.retain(|_| kept.next().unwrap_or_default());
}

/// Lines that wait to be read, in order of time.
#[derive(Default)]
pub(super) struct Opened<'s> {
    content: Content<'s>,
}

enum Content<'s> {
    Lines(Vec<LogLine>),
    /// Lines in memory, as they came.
    Borrowed(Vec<Line<'s>>),
    /// Rows of a group, ascending, with the time of each row of the group.
    Rows {
        group: Arc<RowGroup>,
        rows: Vec<u32>,
        times: Vec<i64>,
    },
}

impl Default for Content<'_> {
    fn default() -> Self {
        Self::Lines(Vec::new())
    }
}

impl Opened<'_> {
    /// Rows of a group, ascending; `times` are those of all its rows.
    pub(super) fn of_rows(group: Arc<RowGroup>, rows: Vec<u32>, times: Vec<i64>) -> Self {
        Self { content: Content::Rows { group, rows, times } }
    }

    fn of_group(
        group: Arc<RowGroup>,
        rows: Range<usize>,
        narrowing: &Narrowing,
        source: &Source<'_>,
    ) -> Result<Self, RowsError> {
        let mut found = if narrowing.is_empty() {
            Rows::all(group.rows() as usize)
        } else {
            narrowing.rows(&group, source.labels)?
        };
        found.retain(rows);
        if found.is_empty() {
            return Ok(Self::default());
        }
        let times = group.times()?;
        let (start, end) = source.bounds;
        let counts = |at: i64| start.0 <= at && at <= end.0 && source.instants.count(at);
        let is_inside = |row: &usize| times.get(*row).is_some_and(|at| counts(*at));
        let rows = found.iter().filter(is_inside).map(|row| row as u32).collect();
        Ok(Self::of_rows(group, rows, times))
    }

    /// Time of the next line in a direction; `None` when there is no more.
    pub(super) fn next_at(&self, direction: Direction) -> Option<Nanos> {
        match &self.content {
            Content::Lines(lines) => match direction {
                Direction::Forward => lines.first(),
                Direction::Backward => lines.last(),
            }
            .map(|line| line.at),
            Content::Borrowed(lines) => match direction {
                Direction::Forward => lines.first(),
                Direction::Backward => lines.last(),
            }
            .map(|line| line.at),
            Content::Rows { rows, times, .. } => {
                let row = match direction {
                    Direction::Forward => rows.first(),
                    Direction::Backward => rows.last(),
                };
                row.and_then(|row| times.get(*row as usize)).map(|at| Nanos(*at))
            }
        }
    }

    /// Every line that is left, in order of time.
    fn all(self) -> Result<Vec<LogLine>, RowsError> {
        match self.content {
            Content::Lines(lines) => Ok(lines),
            Content::Borrowed(lines) => Ok(lines.into_iter().map(owned).collect()),
            Content::Rows { group, rows, .. } => read(&group, &rows),
        }
    }
}

fn owned(Line { at, line, metadata }: Line<'_>) -> LogLine {
    LogLine { at, line: line.to_owned(), metadata: metadata.clone() }
}

/// Rows put together again.
fn read(group: &RowGroup, wanted: &[u32]) -> Result<Vec<LogLine>, RowsError> {
    let mut rows = Rows::none(group.rows() as usize);
    wanted.iter().for_each(|row| rows.insert(*row as usize));
    group.lines(&rows)
}

/// Takes `count` items off one end; they stay in order.
fn cut<T>(items: &mut Vec<T>, count: usize, direction: Direction) -> Vec<T> {
    let count = count.min(items.len());
    match direction {
        Direction::Backward => items.split_off(items.len() - count),
        Direction::Forward => {
            let rest = items.split_off(count);
            std::mem::replace(items, rest)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_have_is_found() {
        for (case, one, other, want) in [
            ("nothing", &[1, 2, 3][..], &[4, 5][..], &[][..]),
            ("some", &[1, 3, 5, 7], &[2, 3, 6, 7, 9], &[3, 7]),
            ("the same", &[1, 1, 2], &[1, 2, 2], &[1, 2]),
            ("none at all", &[], &[1], &[]),
        ] {
            let mut both = Vec::new();
            intersect(one, other, &mut both);
            assert_eq!(both, want, "{case}");
        }
    }
}
