//! Everything that can be asked about, in memory. Rebuilt from the segments at start.
//!
//! Each piece remembers the segment it is kept in, so that dropping a segment drops exactly its data.

pub(crate) mod labelled;
pub(crate) mod logs;
pub(crate) mod metrics;
pub(crate) mod traces;

use logs::LogsHead;
use metrics::MetricsHead;

use crate::blocks::BlockSet;
use signal::{TimeRange, Timestamp};
use traces::TracesHead;

/// The three signals. A copy is cheap and never changes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Head {
    pub(crate) metrics: MetricsHead,
    /// What is being flushed to blocks.
    pub(crate) frozen: Option<Frozen>,
    pub(crate) blocks: BlockSet,
    pub(crate) logs: LogsHead,
    pub(crate) traces: TracesHead,
}

impl Head {
    /// How much there is of metrics, in memory and in blocks. Series are counted where
    /// there are most.
    pub(crate) fn metrics_size(&self) -> Size {
        let mut size = self.metrics.size();
        if let Some(frozen) = &self.frozen {
            size = size.and(frozen.metrics.size());
        }
        for block in &*self.blocks.blocks {
            let (meta, range) = (block.block.meta(), block.range());
            let extent = (meta.series > 0).then_some(Extent { oldest: range.start, newest: range.end });
            size = size.and(Size { identities: meta.series, items: meta.samples + meta.histograms, extent });
        }
        size
    }
}

/// Metrics that no longer change, until they are in blocks.
#[derive(Clone, Debug)]
pub(crate) struct Frozen {
    pub(crate) metrics: MetricsHead,
    /// The last segment that holds some of it.
    pub(crate) last: SegmentId,
    /// Number of the last write in it.
    pub(crate) sequence: u64,
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

    /// What covers both.
    pub(crate) fn and(self, other: Self) -> Self {
        Self { oldest: self.oldest.min(other.oldest), newest: self.newest.max(other.newest) }
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

impl Size {
    fn and(self, other: Self) -> Self {
        Self {
            identities: self.identities.max(other.identities),
            items: self.items + other.items,
            extent: Extent::join(self.extent, other.extent),
        }
    }
}
