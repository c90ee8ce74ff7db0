//! Log queries.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::convert::Infallible;

use memchr::memmem::Finder;
use signal::{Labels, Nanos};
use store::{Line, Snapshot};

use super::narrow::Narrowing;
use super::source::{self, Opened, Source};
use super::{Direction, EvalError, MAX_ANSWER_BYTES, RangeQuery, StreamAnswer};
use crate::Cancel;
use crate::logql::ast::LogExpr;
use crate::logql::pipeline::{Entry, Hints, Pipeline, Sorted, TIMESTAMP};
use crate::parallel::in_chunks;

/// A pipeline, the time outside of which it keeps nothing, and what else must hold of a line.
pub(super) struct Reader {
    pipeline: Pipeline,
    pub(super) narrowing: Narrowing,
    bounds: (Nanos, Nanos),
    /// Set when a line may carry a `__timestamp__` of its own, to which the bounds do not apply.
    shadow: Option<Finder<'static>>,
}

impl Reader {
    pub(super) fn new(log: &LogExpr, now: Nanos, hints: Option<Hints>) -> Result<Self, EvalError> {
        let pipeline = Pipeline::with_hints(&log.stages, now, hints).map_err(|reason| EvalError::Stage { reason })?;
        let (found, may_be_shadowed) = pipeline.time_bounds();
        let mut bounds = (Nanos(i64::MIN), Nanos(i64::MAX));
        for bound in found {
            let (first, last) = bound.window();
            bounds = (bounds.0.max(first), bounds.1.min(last));
        }
        let shadow = may_be_shadowed.then(|| Finder::new(TIMESTAMP.as_bytes()).into_owned());
        Ok(Self { pipeline, narrowing: Narrowing::new(&log.stages), bounds, shadow })
    }

    pub(super) fn pipeline(&self) -> &Pipeline {
        &self.pipeline
    }

    /// The part of a range that has to be read; may be empty, is never wider.
    pub(super) fn narrow(&self, start: Nanos, end: Nanos) -> (Nanos, Nanos) {
        if self.shadow.is_some() { (start, end) } else { (start.max(self.bounds.0), end.min(self.bounds.1)) }
    }

    /// What the pipeline leaves of a line.
    pub(super) fn run<'a>(&self, stream: &'a Labels, line: Line<'a>) -> Option<Entry<'a>> {
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
    let reader = Reader::new(log, query.end, None)?;
    let range = reader.narrow(query.start, Nanos(query.end.0.saturating_sub(1)));
    let streams = source::streams(log, snapshot, range);
    let sources = source::sources(&streams);
    let mut found = Found { answers: Vec::new(), by_labels: HashMap::new(), left: query.limit, bytes: 0 };
    let mut merge = Merge::new(&reader, &sources, query, cancel);
    while found.left > 0 {
        let Some(kept) = merge.next()? else { break };
        found.add(kept);
        if found.bytes > MAX_ANSWER_BYTES {
            return Err(EvalError::TooManyBytes);
        }
    }
    let mut answers = found.answers;
    answers.sort_by(|a, b| a.labels.cmp(&b.labels));
    Ok(answers)
}

/// A line that the pipeline kept.
struct Kept {
    at: Nanos,
    line: String,
    labels: Sorted,
}

struct Found {
    answers: Vec<StreamAnswer>,
    by_labels: HashMap<(Labels, Labels, Labels), usize>,
    left: usize,
    bytes: usize,
}

impl Found {
    fn add(&mut self, Kept { at, line, labels }: Kept) {
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

/// Lines read together.
const TOGETHER: usize = 128;
/// So many lines are read one after the other; whoever has not enough then has several threads look ahead.
const PATIENCE: usize = 4_096;
/// Most sources that are looked at ahead.
const MOST_AHEAD: usize = 256;

/// The lines of all sources in order of time, each read when its turn comes.
struct Merge<'q> {
    reader: &'q Reader,
    sources: &'q [Source<'q>],
    states: Vec<State<'q>>,
    /// The sources by the time of their next line, the next in the wanted order on top; equal times keep the order of
    /// streams.
    next: BinaryHeap<Reverse<(i128, usize)>>,
    query: RangeQuery,
    cancel: &'q Cancel,
    /// Lines read so far.
    read: usize,
    /// Sources to look at together.
    ahead: usize,
}

/// How far a source has been read.
enum State<'q> {
    Waiting,
    /// What is kept of the lines read, and the others.
    Open(VecDeque<Kept>, Opened<'q>),
}

impl<'q> Merge<'q> {
    fn new(reader: &'q Reader, sources: &'q [Source<'q>], query: RangeQuery, cancel: &'q Cancel) -> Self {
        let mut merge = Self {
            reader,
            sources,
            states: sources.iter().map(|_| State::Waiting).collect(),
            next: BinaryHeap::new(),
            query,
            cancel,
            read: 0,
            ahead: threads() * 2,
        };
        for (number, source) in sources.iter().enumerate() {
            let at = match query.direction {
                Direction::Forward => source.bounds.0,
                Direction::Backward => source.bounds.1,
            };
            merge.enter(number, at);
        }
        merge
    }

    fn enter(&mut self, number: usize, at: Nanos) {
        let time = i128::from(at.0);
        let key = if self.query.direction == Direction::Forward { time } else { -time };
        self.next.push(Reverse((key, number)));
    }

    fn next(&mut self) -> Result<Option<Kept>, EvalError> {
        while let Some(Reverse((_, number))) = self.next.pop() {
            if self.cancel.is_canceled() {
                return Err(EvalError::Canceled);
            }
            let Some(state) = self.states.get_mut(number) else { continue };
            let kept = match state {
                State::Waiting => {
                    self.open(number)?;
                    None
                }
                State::Open(kept, opened) => match kept.pop_front() {
                    Some(kept) => Some(kept),
                    None => {
                        self.read += TOGETHER;
                        let Some(source) = self.sources.get(number) else { continue };
                        read_on(self.reader, source, opened, kept, self.query.direction);
                        None
                    }
                },
            };
            self.enter_again(number);
            if kept.is_some() {
                return Ok(kept);
            }
        }
        Ok(None)
    }

    /// Puts a source back in line, if it has anything left.
    fn enter_again(&mut self, number: usize) {
        let Some(State::Open(kept, opened)) = self.states.get(number) else { return };
        let at = kept.front().map(|kept| kept.at).or_else(|| opened.next_at(self.query.direction));
        if let Some(at) = at {
            self.enter(number, at);
        }
    }

    /// Opens a source, together with those that come next when looking at them takes a while.
    fn open(&mut self, number: usize) -> Result<(), EvalError> {
        let is_costly = !self.reader.narrowing.is_empty() || self.read >= PATIENCE;
        let mut numbers = vec![number];
        if is_costly {
            while numbers.len() < self.ahead
                && let Some(Reverse((_, other))) = self.next.peek().copied()
                && matches!(self.states.get(other), Some(State::Waiting))
            {
                self.next.pop();
                numbers.push(other);
            }
            self.ahead = (self.ahead * 2).min(MOST_AHEAD);
        }
        let (reader, query) = (self.reader, self.query);
        let reads_on = self.read >= PATIENCE;
        let work = |(): &mut (), part: std::ops::Range<usize>| {
            let mut opened = Vec::with_capacity(part.len());
            for source in numbers.get(part).unwrap_or_default().iter().filter_map(|number| self.sources.get(*number)) {
                if self.cancel.is_canceled() {
                    return Err(EvalError::Canceled);
                }
                let mut lines = source.open(&reader.narrowing);
                let mut kept = VecDeque::new();
                while reads_on && kept.len() < query.limit && lines.next_at(query.direction).is_some() {
                    read_on(reader, source, &mut lines, &mut kept, query.direction);
                }
                opened.push(State::Open(kept, lines));
            }
            Ok(opened)
        };
        let opened = in_chunks(threads(), numbers.len(), 1, work)?;
        for (number, state) in numbers.iter().zip(opened.into_iter().flatten()) {
            if let Some(known) = self.states.get_mut(*number) {
                *known = state;
            }
        }
        for other in numbers.into_iter().skip(1) {
            self.enter_again(other);
        }
        Ok(())
    }
}

/// Reads the next lines of a source.
fn read_on<'s>(
    reader: &Reader,
    source: &Source<'s>,
    opened: &mut Opened<'s>,
    kept: &mut VecDeque<Kept>,
    direction: Direction,
) {
    let keep = |line: Line<'_>| {
        if let Some(entry) = reader.run(source.labels, line) {
            kept.push_back(Kept { at: entry.at, labels: entry.sorted(), line: entry.line.into_owned() });
        }
        Ok::<_, Infallible>(())
    };
    let Ok(()) = source.read(opened, TOGETHER, direction, keep);
}

/// Threads that work on one query.
pub(super) fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
