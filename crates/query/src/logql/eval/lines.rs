//! Log queries.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::convert::Infallible;
use std::sync::{Mutex, PoisonError};

use memchr::memmem::Finder;
use signal::{Labels, Nanos};
use store::{Line, Snapshot};

use super::narrow::Narrowing;
use super::source::{self, Opened, Source};
use super::{Direction, EvalError, MAX_ANSWER_BYTES, RangeQuery, StreamAnswer};
use crate::Cancel;
use crate::logql::ast::{LogExpr, Stage};
use crate::logql::pipeline::{Entry, Hints, Pipeline, Sorted, TIMESTAMP, stage_labels};
use crate::parallel::in_chunks;

/// A pipeline, the time outside of which it keeps nothing, and what else must hold of a line.
pub(super) struct Reader {
    pipeline: Pipeline,
    /// The same stages for somebody who only wants to know which lines are kept, when that is less work.
    sieve: Option<Pipeline>,
    pub(super) narrowing: Narrowing,
    bounds: (Nanos, Nanos),
    /// Set when a line may carry a `__timestamp__` of its own, to which the bounds do not apply.
    shadow: Option<Finder<'static>>,
}

impl Reader {
    pub(super) fn new(log: &LogExpr, now: Nanos, hints: Option<Hints>) -> Result<Self, EvalError> {
        let compile = |hints: Option<Hints>| {
            Pipeline::with_hints(&log.stages, now, hints).map_err(|reason| EvalError::Stage { reason })
        };
        let filters = log.stages.iter().any(|stage| matches!(stage, Stage::Filter(_)));
        let decisive = stage_labels(&log.stages).filter(|names| filters && hints.is_none() && !names.is_empty());
        let sieve = decisive.map(|names| compile(Some(Hints::new(names)))).transpose()?;
        let pipeline = compile(hints)?;
        let (found, may_be_shadowed) = pipeline.time_bounds();
        let mut bounds = (Nanos(i64::MIN), Nanos(i64::MAX));
        for bound in found {
            let (first, last) = bound.window();
            bounds = (bounds.0.max(first), bounds.1.min(last));
        }
        let shadow = may_be_shadowed.then(|| Finder::new(TIMESTAMP.as_bytes()).into_owned());
        Ok(Self { pipeline, sieve, narrowing: Narrowing::new(&log.stages), bounds, shadow })
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
        if let Some(sieve) = &self.sieve {
            sieve.run(stream, line)?;
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
/// Most sources that are looked at ahead, and how often in each.
const MOST_AHEAD: usize = 256;
const ROUNDS: usize = 16;

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
    /// Lines read so far, and those handed out.
    read: usize,
    kept: usize,
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
            kept: 0,
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
            let kept = match self.states.get_mut(number) {
                Some(State::Open(kept, _)) => kept.pop_front(),
                Some(State::Waiting) | None => None,
            };
            if kept.is_none() {
                self.advance(number)?;
            }
            self.enter_again(number);
            if kept.is_some() {
                self.kept += 1;
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

    /// How often lines have to be read until there are enough, if as many go on being kept as so far.
    fn chunks_needed(&self) -> usize {
        let left = self.query.limit.saturating_sub(self.kept);
        match (left * self.read).checked_div(self.kept) {
            Some(lines) => (lines / TOGETHER + 1).max(threads()),
            None => MOST_AHEAD,
        }
    }

    /// Opens a source or reads on in it, together with those that come next when that takes a while.
    fn advance(&mut self, number: usize) -> Result<(), EvalError> {
        let reads_on = self.read >= PATIENCE;
        let mut numbers = vec![number];
        let is_waiting = |state: &State<'_>| matches!(state, State::Waiting);
        let opens = self.states.get(number).is_some_and(is_waiting) && !self.reader.narrowing.is_empty();
        if reads_on || opens {
            let most = self.ahead.min(self.chunks_needed());
            let joins = |state: &State<'_>| if reads_on { state.has_nothing() } else { is_waiting(state) };
            while numbers.len() < most
                && let Some(Reverse((_, other))) = self.next.peek().copied()
                && self.states.get(other).is_some_and(joins)
            {
                self.next.pop();
                numbers.push(other);
            }
            self.ahead = (self.ahead * 2).min(MOST_AHEAD);
        }
        let taken: Vec<_> = numbers
            .iter()
            .filter_map(|number| {
                let source = self.sources.get(*number)?;
                let state = std::mem::replace(self.states.get_mut(*number)?, State::Waiting);
                Some((source, Mutex::new(state)))
            })
            .collect();
        let rounds = if reads_on { ROUNDS } else { 1 };
        let work = |(): &mut (), part: std::ops::Range<usize>| {
            let mut read = 0;
            for (source, state) in taken.get(part).unwrap_or_default() {
                if self.cancel.is_canceled() {
                    return Err(EvalError::Canceled);
                }
                let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
                read += state.advance(self.reader, source, rounds, self.query.direction);
            }
            Ok(read)
        };
        self.read += in_chunks(threads(), taken.len(), 1, work)?.into_iter().sum::<usize>();
        let states = taken.into_iter().map(|(_, state)| state.into_inner().unwrap_or_else(PoisonError::into_inner));
        for (number, state) in numbers.iter().zip(states) {
            if let Some(place) = self.states.get_mut(*number) {
                *place = state;
            }
        }
        numbers.into_iter().skip(1).for_each(|other| self.enter_again(other));
        Ok(())
    }
}

impl<'q> State<'q> {
    /// Whether somebody has to read before there is a line.
    fn has_nothing(&self) -> bool {
        match self {
            Self::Waiting => true,
            Self::Open(kept, _) => kept.is_empty(),
        }
    }

    /// Opens the source, or reads up to so many rounds of lines until one is kept; answers how many lines it read.
    fn advance(&mut self, reader: &Reader, source: &Source<'q>, rounds: usize, direction: Direction) -> usize {
        if matches!(self, Self::Waiting) {
            *self = Self::Open(VecDeque::new(), source.open(&reader.narrowing));
            if rounds == 1 {
                return 0;
            }
        }
        let Self::Open(kept, opened) = self else { return 0 };
        let mut read = 0;
        for _ in 0..rounds {
            if !kept.is_empty() || opened.next_at(direction).is_none() {
                break;
            }
            read_on(reader, source, opened, kept, direction);
            read += TOGETHER;
        }
        read
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
