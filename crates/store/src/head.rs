//! What can be asked about: in memory what came lately, rebuilt from the segments at start, and beside it the blocks.

pub(crate) mod labelled;
pub(crate) mod logs;
pub(crate) mod metrics;
pub(crate) mod traces;

use std::sync::Arc;

use logs::LogsHead;
use metrics::MetricsHead;
use signal::{TimeRange, Timestamp};
use traces::TracesHead;

use crate::block::Block;
use crate::blocks::BlockSet;
use crate::log_block::LogBlock;

/// The three signals. A copy is cheap and never changes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Head {
    pub(crate) metrics: Layers<MetricsHead, Block>,
    pub(crate) logs: Layers<LogsHead, LogBlock>,
    pub(crate) traces: TracesHead,
}

/// Where the data of one signal lies, from the newest arrivals to the oldest.
#[derive(Debug)]
pub(crate) struct Layers<H, B> {
    /// Everything since the last flush.
    pub(crate) fresh: H,
    /// What is being flushed to blocks.
    pub(crate) frozen: Option<Frozen<H>>,
    pub(crate) blocks: BlockSet<B>,
}

impl<H: Clone, B> Clone for Layers<H, B> {
    fn clone(&self) -> Self {
        Self { fresh: self.fresh.clone(), frozen: self.frozen.clone(), blocks: self.blocks.clone() }
    }
}

impl<H: Default, B> Default for Layers<H, B> {
    fn default() -> Self {
        Self { fresh: H::default(), frozen: None, blocks: BlockSet::default() }
    }
}

impl<H, B> Layers<H, B> {
    /// What is in memory, older arrivals first.
    pub(crate) fn heads(&self) -> impl Iterator<Item = &H> {
        self.frozen.as_ref().map(|frozen| &*frozen.head).into_iter().chain([&self.fresh])
    }
}

impl Layers<MetricsHead, Block> {
    /// How much there is, in memory and in blocks. Series are counted where there are most.
    pub(crate) fn size(&self) -> Size {
        let mut size = self.heads().map(MetricsHead::size).fold(Size::default(), Size::and);
        for block in &*self.blocks.blocks {
            let (meta, range) = (block.block.meta(), block.range());
            let extent = (meta.series > 0).then_some(Extent { oldest: range.start, newest: range.end });
            size = size.and(Size { identities: meta.series, items: meta.samples + meta.histograms, extent });
        }
        size
    }
}

impl Layers<LogsHead, LogBlock> {
    /// How much there is, in memory and in blocks. Streams are counted where there are most.
    pub(crate) fn size(&self) -> Size {
        let mut size = self.heads().map(LogsHead::size).fold(Size::default(), Size::and);
        for block in &*self.blocks.blocks {
            let (meta, range) = (block.block.meta(), block.range());
            let extent = (meta.lines > 0).then_some(Extent { oldest: range.start, newest: range.end });
            let streams = block.block.streams().count() as u64;
            size = size.and(Size { identities: streams, items: meta.lines, extent });
        }
        size
    }
}

/// Data that no longer changes, until it is in blocks.
#[derive(Debug)]
pub(crate) struct Frozen<H> {
    pub(crate) head: Arc<H>,
    /// The last segment that holds some of it.
    pub(crate) last: SegmentId,
    /// Number of the last write in it.
    pub(crate) sequence: u64,
}

impl<H> Clone for Frozen<H> {
    fn clone(&self) -> Self {
        Self { head: Arc::clone(&self.head), last: self.last, sequence: self.sequence }
    }
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
