//! Log queries.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use memchr::memmem::Finder;
use signal::{Labels, LogLine, Nanos};
use store::Snapshot;

use super::{Direction, EvalError, MAX_ANSWER_BYTES, RangeQuery, StreamAnswer};
use crate::Cancel;
use crate::logql::ast::LogExpr;
use crate::logql::pipeline::{Entry, Hints, Pipeline, TIMESTAMP};

/// How many lines may pass between two looks at the flag.
const PATIENCE: usize = 1024;

/// A pipeline, and the time outside of which it keeps nothing.
pub(super) struct Reader {
    pipeline: Pipeline,
    bounds: (Nanos, Nanos),
    /// Set when a line may carry a `__timestamp__` of its own, to which the bounds do not apply.
    shadow: Option<Finder<'static>>,
}

impl Reader {
    pub(super) fn new(log: &LogExpr, now: Nanos) -> Result<Self, EvalError> {
        Self::with_hints(log, now, None)
    }

    /// For somebody who looks at some labels only.
    pub(super) fn with_hints(log: &LogExpr, now: Nanos, hints: Option<Hints>) -> Result<Self, EvalError> {
        let pipeline = Pipeline::with_hints(&log.stages, now, hints).map_err(|reason| EvalError::Stage { reason })?;
        let (found, may_be_shadowed) = pipeline.time_bounds();
        let mut bounds = (Nanos(i64::MIN), Nanos(i64::MAX));
        for bound in found {
            let (first, last) = bound.window();
            bounds = (bounds.0.max(first), bounds.1.min(last));
        }
        let shadow = may_be_shadowed.then(|| Finder::new(TIMESTAMP.as_bytes()).into_owned());
        Ok(Self { pipeline, bounds, shadow })
    }

    /// The part of a range that has to be read; may be empty, is never wider.
    pub(super) fn narrow(&self, start: Nanos, end: Nanos) -> (Nanos, Nanos) {
        if self.shadow.is_some() { (start, end) } else { (start.max(self.bounds.0), end.min(self.bounds.1)) }
    }

    /// What the pipeline leaves of a line.
    pub(super) fn run<'a>(&self, stream: &'a Labels, line: &'a LogLine) -> Option<Entry<'a>> {
        if let Some(shadow) = &self.shadow
            && (line.at < self.bounds.0 || line.at > self.bounds.1)
            && shadow.find(line.line.as_bytes()).is_none()
            && line.metadata.get(TIMESTAMP).is_none()
            && stream.get(TIMESTAMP).is_none()
        {
            return None;
        }
        self.pipeline.run(stream, line)
    }
}

/// Lines in order of time over all streams until there are enough.
pub(super) fn select(
    log: &LogExpr,
    snapshot: &Snapshot,
    query: RangeQuery,
    cancel: &Cancel,
) -> Result<Vec<StreamAnswer>, EvalError> {
    let reader = Reader::new(log, query.end)?;
    let (start, end) = reader.narrow(query.start, Nanos(query.end.0.saturating_sub(1)));
    let mut found = Found { answers: Vec::new(), by_labels: HashMap::new(), left: query.limit, bytes: 0 };
    for (start, end) in windows(start, end, query.direction) {
        if found.left == 0 {
            break;
        }
        read_window(&reader, log, snapshot, (start, end, query.direction), cancel, &mut found)?;
    }
    let mut answers = found.answers;
    answers.sort_by(|a, b| a.labels.cmp(&b.labels));
    Ok(answers)
}

/// Splits a range so that the part asked for first is read first, each part four times the one before: enough lines are
/// usually found in the first.
fn windows(start: Nanos, end: Nanos, direction: Direction) -> Vec<(Nanos, Nanos)> {
    let mut windows = Vec::new();
    let (mut first, mut last) = (i128::from(start.0), i128::from(end.0));
    let mut length = ((last - first) / 64).max(1_000_000_000);
    while first <= last {
        let (from, to) = match direction {
            Direction::Forward => (first, last.min(first + length)),
            Direction::Backward => (first.max(last - length), last),
        };
        match direction {
            Direction::Forward => first = to + 1,
            Direction::Backward => last = from - 1,
        }
        if let (Ok(from), Ok(to)) = (i64::try_from(from), i64::try_from(to)) {
            windows.push((Nanos(from), Nanos(to)));
        }
        length *= 4;
    }
    windows
}

struct Found {
    answers: Vec<StreamAnswer>,
    by_labels: HashMap<(Labels, Labels, Labels), usize>,
    left: usize,
    bytes: usize,
}

impl Found {
    fn add(&mut self, entry: Entry<'_>) {
        let labels = entry.sorted();
        let at = entry.at;
        let line = entry.line.into_owned();
        self.left -= 1;
        self.bytes += line.len();
        let key = (labels.stream.clone(), labels.structured.clone(), labels.parsed.clone());
        let index = *self.by_labels.entry(key).or_insert_with(|| {
            self.answers.push(StreamAnswer {
                labels: labels.all,
                stream: labels.stream,
                structured: labels.structured,
                parsed: labels.parsed,
                lines: Vec::new(),
            });
            self.answers.len() - 1
        });
        if let Some(answer) = self.answers.get_mut(index) {
            answer.lines.push((at, line));
        }
    }
}

fn read_window(
    reader: &Reader,
    log: &LogExpr,
    snapshot: &Snapshot,
    (start, end, direction): (Nanos, Nanos, Direction),
    cancel: &Cancel,
    found: &mut Found,
) -> Result<(), EvalError> {
    if cancel.is_canceled() {
        return Err(EvalError::Canceled);
    }
    let streams = snapshot.streams(&log.matchers, start, end);
    // The next line of each stream, the earliest in the wanted order on top. Equal times keep the order of streams.
    let place = |stream: usize, at: usize| -> Option<Reverse<(i128, usize, usize)>> {
        let lines = &streams.get(stream)?.lines;
        let line = match direction {
            Direction::Forward => lines.get(at),
            Direction::Backward => lines.len().checked_sub(at + 1).and_then(|at| lines.get(at)),
        };
        let time = i128::from(line?.at.0);
        Some(Reverse((if direction == Direction::Forward { time } else { -time }, stream, at)))
    };
    let mut next: BinaryHeap<_> = (0..streams.len()).filter_map(|stream| place(stream, 0)).collect();
    let mut seen = 0_usize;
    while let Some(Reverse((_, index, at))) = next.pop() {
        seen += 1;
        if seen.is_multiple_of(PATIENCE) && cancel.is_canceled() {
            return Err(EvalError::Canceled);
        }
        next.extend(place(index, at + 1));
        let Some(stream) = streams.get(index) else { continue };
        let line = match direction {
            Direction::Forward => stream.lines.get(at),
            Direction::Backward => stream.lines.len().checked_sub(at + 1).and_then(|at| stream.lines.get(at)),
        };
        let Some(entry) = line.and_then(|line| reader.run(&stream.labels, line)) else { continue };
        found.add(entry);
        if found.bytes > MAX_ANSWER_BYTES {
            return Err(EvalError::TooManyBytes);
        }
        if found.left == 0 {
            return Ok(());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_cover_the_range_once() {
        for direction in [Direction::Forward, Direction::Backward] {
            for (start, end) in [(0, 0), (0, 10_000_000_000), (-5, 7_200_000_000_000), (i64::MIN, i64::MAX), (5, 4)] {
                let mut windows = windows(Nanos(start), Nanos(end), direction);
                windows.sort();
                let covered: i128 = windows.iter().map(|(from, to)| i128::from(to.0) - i128::from(from.0) + 1).sum();
                assert_eq!(covered, (i128::from(end) - i128::from(start) + 1).max(0), "{start}..{end}");
                assert!(windows.windows(2).all(|pair| pair[0].1.0 + 1 == pair[1].0.0), "{start}..{end}");
            }
        }
    }
}
