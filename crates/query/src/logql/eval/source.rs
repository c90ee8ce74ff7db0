//! The lines of one stream in a stretch of time, read as far as a query needs them.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use signal::{Labels, LogLine, Nanos};
use store::{Line, LinePart, PartRows, RowGroup, Rows, RowsError, Snapshot, StreamReader};

use super::Direction;
use super::narrow::Narrowing;
use crate::logql::ast::LogExpr;

/// The lines of one stream between two instants, and the parts that have some of them.
pub(super) struct Source<'s> {
    pub(super) labels: &'s Labels,
    parts: Vec<&'s LinePart>,
    /// The first and the last instant that count.
    pub(super) bounds: (Nanos, Nanos),
}

/// How many times more often parts may be read for the sake of not reading them together.
const SPLIT: usize = 4;

/// The sources of streams, stream by stream, each in order of time. No instant of a stream is in two of them.
pub(super) fn sources(streams: &[StreamReader]) -> Vec<Source<'_>> {
    let mut sources = Vec::new();
    for stream in streams {
        let (labels, range) = (stream.labels(), (stream.start(), stream.end()));
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
            if count == 1 {
                let bounds = (first.first().max(range.0), last.min(range.1));
                sources.push(Source { labels, parts: vec![first], bounds });
                rest = others;
                continue;
            }
            let (together, after) = rest.split_at_checked(count).unwrap_or((rest, &[]));
            rest = after;
            let bounds: Vec<_> = together.iter().map(|part| (part.first().0, part.last().0)).collect();
            for (bounds, places) in split(&bounds) {
                let bounds = (Nanos(bounds.0).max(range.0), Nanos(bounds.1).min(range.1));
                if bounds.0 <= bounds.1 {
                    let parts = places.into_iter().filter_map(|place| together.get(place)).collect();
                    sources.push(Source { labels, parts, bounds });
                }
            }
        }
    }
    sources
}

/// Cuts time where one of overlapping parts begins or ends, so that parts are read together only where they have to be;
/// what hangs together closely stays so. Parts come in order of their first instants.
fn split(parts: &[(i64, i64)]) -> Vec<((i64, i64), Vec<usize>)> {
    let mut edges: Vec<i64> = parts.iter().flat_map(|(first, last)| [*first, last.saturating_add(1)]).collect();
    edges.sort_unstable();
    edges.dedup();
    let mut pieces = Vec::with_capacity(edges.len());
    let mut active: Vec<usize> = Vec::new();
    let mut coming = parts.iter().enumerate().peekable();
    let mut reads = 0;
    for (from, to) in edges.iter().zip(edges.iter().skip(1)) {
        while let Some((place, _)) = coming.next_if(|(_, (first, _))| first <= from) {
            active.push(place);
        }
        active.retain(|place| parts.get(*place).is_some_and(|(_, last)| last >= from));
        reads += active.len();
        if reads > parts.len() * SPLIT {
            let first = parts.iter().map(|(first, _)| *first).min().unwrap_or_default();
            let last = parts.iter().map(|(_, last)| *last).max().unwrap_or_default();
            return vec![((first, last), (0..parts.len()).collect())];
        }
        if !active.is_empty() {
            pieces.push(((*from, to.saturating_sub(1)), active.clone()));
        }
    }
    pieces
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

    /// The lines that may be kept.
    pub(super) fn open(&self, narrowing: &Narrowing) -> Opened<'s> {
        if let [only] = self.parts.as_slice()
            && let Some(mut lines) = only.open(self.bounds.0, self.bounds.1)
        {
            lines.retain(|line| narrowing.may_keep(line.line));
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
            lines.extend(own.into_iter().map(|line| (part.arrival(), line)));
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
        let is_inside = |row: &usize| times.get(*row).is_some_and(|at| start.0 <= *at && *at <= end.0);
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
    fn time_is_cut_where_parts_begin_and_end() {
        for (case, parts, want) in [
            ("alone", &[(0, 9)][..], vec![((0, 9), vec![0])]),
            ("a little", &[(0, 9), (8, 20)], vec![((0, 7), vec![0]), ((8, 9), vec![0, 1]), ((10, 20), vec![1])]),
            ("inside", &[(0, 9), (3, 4)], vec![((0, 2), vec![0]), ((3, 4), vec![0, 1]), ((5, 9), vec![0])]),
            ("the same", &[(0, 9), (0, 9)], vec![((0, 9), vec![0, 1])]),
            ("an instant", &[(0, 5), (5, 5)], vec![((0, 4), vec![0]), ((5, 5), vec![0, 1])]),
        ] {
            assert_eq!(split(parts), want, "{case}");
        }
        let many: Vec<(i64, i64)> = (0..50).map(|n| (n, 100 + n)).collect();
        assert_eq!(split(&many), [((0, 149), (0..50).collect())], "all of each other");
    }
}
