//! From lines as they came to row groups.

use std::collections::HashSet;
use std::sync::Arc;

use signal::Nanos;

use super::LineChunk;
use crate::blocks::DAY;
use crate::rows::{Line, RowGroup};

/// Lines that make a row group.
pub(crate) const SEAL_LINES: usize = 2_048;
/// Bytes of lines that make one before.
pub(super) const SEAL_BYTES: usize = 1 << 20;
/// So many of the newest lines wait for others, that come late by another way, to be put in order with them.
pub(super) const LATE_LINES: usize = 768;
/// Bytes of lines that wait for that.
pub(super) const LATE_BYTES: usize = SEAL_BYTES / 4;

/// A row group with lines of one stream and one day.
#[derive(Clone, Debug)]
pub(crate) struct Sealed {
    pub(crate) group: Arc<RowGroup>,
    pub(crate) first: Nanos,
    pub(crate) last: Nanos,
}

/// Lines of one stream in order of time, equal instants in order of arrival, none twice at the same instant.
pub(crate) fn in_order<'a>(chunks: &'a [Arc<LineChunk>]) -> Vec<Line<'a>> {
    let mut lines: Vec<Line<'a>> = Vec::with_capacity(chunks.iter().map(|chunk| chunk.len()).sum());
    // Chunk by chunk, because then their number is known beforehand.
    for chunk in chunks {
        lines.extend(chunk.iter());
    }
    put_in_order(&mut lines);
    lines
}

/// Sorts lines by time, equal instants in order of arrival, and drops the later ones of what is there twice.
pub(crate) fn put_in_order(lines: &mut Vec<Line<'_>>) {
    if lines.is_sorted_by(|a, b| a.at < b.at) {
        return;
    }
    if !lines.is_sorted_by_key(|line| line.at) {
        lines.sort_by_key(|line| line.at);
    }
    let mut repeated = Vec::new();
    let mut begin = 0;
    for instant in lines.chunk_by(|a, b| a.at == b.at) {
        match instant {
            [_] => {}
            [one, other] => {
                if one == other {
                    repeated.push(begin + 1);
                }
            }
            _ => {
                let mut seen = HashSet::with_capacity(instant.len());
                let again = instant.iter().enumerate().filter(|(_, line)| !seen.insert((line.line, line.metadata)));
                repeated.extend(again.map(|(place, _)| begin + place));
            }
        }
        begin += instant.len();
    }
    if repeated.is_empty() {
        return;
    }
    let (mut place, mut repeated) = (0, repeated.into_iter().peekable());
    lines.retain(|_| {
        place += 1;
        repeated.next_if_eq(&(place - 1)).is_none()
    });
}

/// How many lines in order can be sealed so that the newest go on waiting.
pub(super) fn without_newest(lines: &[Line<'_>]) -> usize {
    let mut bytes = 0;
    let waits = |line: &&Line<'_>| {
        bytes += line.line.len();
        bytes <= LATE_BYTES
    };
    lines.len() - lines.iter().rev().take(LATE_LINES).take_while(waits).count()
}

/// Cuts lines in order at the edges of days and where a row group is full.
pub(crate) fn cuts<'a, 'b>(mut lines: &'b [Line<'a>], most: usize) -> impl Iterator<Item = &'b [Line<'a>]> {
    std::iter::from_fn(move || {
        let day = day_of(lines.first()?.at);
        let mut bytes = 0;
        let fits = |line: &&Line<'_>| {
            let is_first = bytes == 0;
            bytes += line.line.len() + 1;
            is_first || (bytes <= SEAL_BYTES && day_of(line.at) == day)
        };
        let count = lines.iter().take(most).take_while(fits).count();
        let (cut, rest) = lines.split_at_checked(count)?;
        lines = rest;
        Some(cut)
    })
}

/// The day an instant lies in.
pub(super) fn day_of(at: Nanos) -> i64 {
    at.0.div_euclid(DAY * 1_000_000)
}

/// Seals lines in order as one row group; `None` without a line.
pub(super) fn seal(lines: &[Line<'_>]) -> Option<Sealed> {
    let (first, last) = (lines.first()?.at, lines.last()?.at);
    Some(Sealed { group: Arc::new(RowGroup::seal(lines)), first, last })
}

#[cfg(test)]
mod tests {
    use signal::Labels;

    use super::*;

    #[test]
    fn lines_are_put_in_order_and_what_is_there_twice_is_dropped() {
        let none = Labels::empty();
        let some = Labels::from_pairs([("a", "b")]);
        let line = |(at, line): (i64, &'static str)| Line { at: Nanos(at), line, metadata: &none };
        for (case, lines, want) in [
            ("nothing", vec![], vec![]),
            ("in order", vec![(1, "a"), (2, "a")], vec![(1, "a"), (2, "a")]),
            ("out of order", vec![(2, "a"), (1, "a")], vec![(1, "a"), (2, "a")]),
            ("twice", vec![(1, "a"), (1, "a"), (2, "b")], vec![(1, "a"), (2, "b")]),
            ("equal instants", vec![(1, "b"), (1, "a"), (0, "c")], vec![(0, "c"), (1, "b"), (1, "a")]),
            (
                "many of an instant",
                vec![(1, "b"), (1, "a"), (1, "b"), (1, "c"), (1, "a"), (2, "a"), (2, "a")],
                vec![(1, "b"), (1, "a"), (1, "c"), (2, "a")],
            ),
        ] {
            let mut lines: Vec<_> = lines.into_iter().map(line).collect();
            put_in_order(&mut lines);
            assert_eq!(lines, want.into_iter().map(line).collect::<Vec<_>>(), "{case}");
        }
        let mut lines = vec![line((1, "a")), Line { at: Nanos(1), line: "a", metadata: &some }];
        put_in_order(&mut lines);
        assert_eq!(lines.len(), 2, "other metadata");
    }

    #[test]
    fn groups_end_with_the_day_and_when_they_are_full() {
        let none = Labels::empty();
        let day = DAY * 1_000_000;
        let long = "x".repeat(SEAL_BYTES);
        let line = |at: i64, line| Line { at: Nanos(at), line, metadata: &none };
        let lines = [
            line(-1, ""),
            line(0, ""),
            line(day - 1, ""),
            line(day, "a"),
            line(day + 1, &long),
            line(day + 2, &long),
            line(day + 3, "a"),
            line(day + 4, "b"),
            line(day + 5, "c"),
            line(day + 6, "d"),
        ];
        let found: Vec<_> = cuts(&lines, 3).map(<[_]>::len).collect();
        assert_eq!(found, [1, 2, 1, 1, 1, 3, 1]);
    }
}
