//! Windows that slide along the samples of a series.

use signal::Sample;

use super::Frame;

/// The samples of one window, by place.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Span {
    pub(super) from: usize,
    pub(super) to: usize,
}

impl Span {
    pub(super) fn is_empty(self) -> bool {
        self.from >= self.to
    }

    pub(super) fn len(self) -> usize {
        self.to.saturating_sub(self.from)
    }

    pub(super) fn of<T>(self, samples: &[T]) -> &[T] {
        samples.get(self.from..self.to).unwrap_or_default()
    }
}

/// Finds the samples of every step's window, which must not move back.
pub(super) fn spans<T>(samples: &[T], time: impl Fn(&T) -> i64, frame: &Frame, out: &mut Vec<Span>) {
    out.clear();
    let mut span = Span::default();
    for end in &frame.ends {
        let start = end.saturating_sub(frame.range);
        while samples.get(span.from).is_some_and(|sample| time(sample) <= start) {
            span.from += 1;
        }
        span.to = span.to.max(span.from);
        while samples.get(span.to).is_some_and(|sample| time(sample) <= *end) {
            span.to += 1;
        }
        out.push(span);
    }
}

/// Whether windows overlap so much that it pays to keep what they share.
pub(super) fn overlap(spans: &[Span], samples: &[Sample]) -> bool {
    let looked_at: usize = spans.iter().map(|span| span.len()).sum();
    looked_at > 4 * samples.len() + 64
}

/// Folds every window with an operation that does not care how its operands are grouped, looking at each sample about
/// twice however much the windows overlap: what lies before a pivot is kept folded from each sample up to the pivot, what
/// lies behind it is folded as it comes.
pub(super) fn fold_shared<A: Copy>(
    samples: &[Sample],
    spans: &[Span],
    tails: &mut Vec<A>,
    lift: impl Fn(f64) -> A,
    join: impl Fn(A, A) -> A,
    mut finish: impl FnMut(usize, A, usize),
) {
    tails.clear();
    let (mut base, mut pivot, mut reached) = (0, 0, 0);
    let mut front: Option<A> = None;
    for (step, span) in spans.iter().enumerate().filter(|(_, span)| !span.is_empty()) {
        if span.from >= pivot {
            tails.clear();
            let mut folded: Option<A> = None;
            for sample in span.of(samples).iter().rev() {
                let next = lift(sample.value);
                let all = folded.map_or(next, |folded| join(next, folded));
                folded = Some(all);
                tails.push(all);
            }
            (base, pivot, reached, front) = (span.from, span.to, span.to, None);
        }
        for sample in samples.get(reached..span.to).unwrap_or_default() {
            let next = lift(sample.value);
            front = Some(front.map_or(next, |front| join(front, next)));
        }
        reached = reached.max(span.to);
        // The last tail pushed is that of `base`.
        let tail = tails.len().checked_sub(1 + span.from - base).and_then(|at| tails.get(at)).copied();
        let all = match (tail, front) {
            (Some(tail), Some(front)) => join(tail, front),
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => continue,
        };
        finish(step, all, span.len());
    }
}
