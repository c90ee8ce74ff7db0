//! Lines at least an `interval` apart, over all streams together, as Loki thins them out.

use std::time::Duration;

use query::Cancel;
use query::logql::{self, Answer, Direction, EvalError, Expr, RangeQuery, StreamAnswer};
use signal::Nanos;
use store::Snapshot;

/// Lines read at once.
const AT_ONCE: usize = 1_000;

/// Like [`logql::range`] for a log query; the limit counts the lines that are left.
pub(super) fn range(
    expr: &Expr,
    snapshot: &Snapshot,
    question: RangeQuery,
    interval: Duration,
    cancel: &Cancel,
) -> Result<Answer, EvalError> {
    let mut kept: Vec<StreamAnswer> = Vec::new();
    let (mut rest, mut left) = (question, question.limit);
    loop {
        let part = logql::range(expr, snapshot, RangeQuery { limit: AT_ONCE, ..rest }, cancel)?;
        let Answer::Streams(streams) = part else { return Ok(part) };
        let is_last = streams.iter().map(|stream| stream.lines.len()).sum::<usize>() < AT_ONCE;
        let mut order: Vec<(Nanos, usize, usize)> = Vec::new();
        for (stream, answer) in streams.iter().enumerate() {
            order.extend(answer.lines.iter().enumerate().map(|(line, (at, _))| (*at, stream, line)));
        }
        order.sort_by_key(|(at, stream, line)| (forward(question.direction, *at), *stream, *line));
        for (at, stream, line) in order {
            if left == 0 {
                break;
            }
            if !is_inside(rest, at) {
                continue;
            }
            let Some(answer) = streams.get(stream) else { continue };
            let Some(text) = answer.lines.get(line) else { continue };
            put(&mut kept, answer, text.clone());
            left -= 1;
            // What follows begins an interval from here.
            match question.direction {
                Direction::Forward => rest.start = at.plus(interval),
                Direction::Backward => rest.end = at.minus(interval).plus(Duration::from_nanos(1)),
            }
        }
        if left == 0 || is_last || rest.start >= rest.end {
            kept.sort_by(|a, b| a.labels.cmp(&b.labels));
            return Ok(Answer::Streams(kept));
        }
    }
}

/// Ascending in the order asked for.
fn forward(direction: Direction, at: Nanos) -> i128 {
    match direction {
        Direction::Forward => i128::from(at.0),
        Direction::Backward => -i128::from(at.0),
    }
}

fn is_inside(question: RangeQuery, at: Nanos) -> bool {
    question.start <= at && at < question.end
}

fn put(kept: &mut Vec<StreamAnswer>, from: &StreamAnswer, line: (Nanos, String)) {
    let same = |answer: &&mut StreamAnswer| {
        (&answer.stream, &answer.structured, &answer.parsed) == (&from.stream, &from.structured, &from.parsed)
    };
    match kept.iter_mut().find(same) {
        Some(answer) => answer.lines.push(line),
        None => kept.push(StreamAnswer { lines: vec![line], ..from.clone() }),
    }
}
