//! Everything that can be asked about, in memory. Rebuilt from the segments at start.
//!
//! Each piece remembers the segment it is kept in, so that dropping a segment drops exactly its data.

pub(crate) mod labelled;
pub(crate) mod logs;
pub(crate) mod metrics;
pub(crate) mod traces;

use logs::LogsHead;
use metrics::MetricsHead;
use signal::{TimeRange, Timestamp};
use traces::TracesHead;

/// The three signals. A copy is cheap and never changes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Head {
    pub(crate) metrics: MetricsHead,
    pub(crate) logs: LogsHead,
    pub(crate) traces: TracesHead,
}

/// Number of a segment inside its signal, rising.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub(crate) struct SegmentId(pub(crate) u64);

/// The first and last instant of something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Extent {
    pub(crate) oldest: Timestamp,
    pub(crate) newest: Timestamp,
}

impl Extent {
    pub(crate) fn overlaps(self, range: TimeRange) -> bool {
        range.overlaps(&TimeRange::new(self.oldest, self.newest))
    }

    pub(crate) fn join(one: Option<Self>, other: Option<Self>) -> Option<Self> {
        match (one, other) {
            (Some(a), Some(b)) => Some(Self { oldest: a.oldest.min(b.oldest), newest: a.newest.max(b.newest) }),
            (one, other) => one.or(other),
        }
    }
}

/// How much a signal holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Size {
    pub(crate) identities: u64,
    pub(crate) items: u64,
    pub(crate) extent: Option<Extent>,
}
