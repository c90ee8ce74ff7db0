//! Logs in memory: lines by stream.

use std::collections::BTreeSet;
use std::sync::Arc;

use signal::{LogLine, Nanos};

use super::labelled::Labelled;
use super::{Extent, SegmentId, Size};

#[derive(Clone, Debug, Default)]
pub(crate) struct LogsHead {
    pub(crate) streams: Labelled<StreamHead>,
}

/// One stream's lines in order of arrival.
#[derive(Clone, Debug, Default)]
pub(crate) struct StreamHead {
    open: Vec<(SegmentId, Arc<LogLine>)>,
}

impl LogsHead {
    pub(crate) fn size(&self) -> Size {
        let mut size = Size { identities: self.streams.len() as u64, ..Size::default() };
        for (_, stream) in self.streams.iter() {
            size.items += stream.count();
            size.extent = Extent::join(size.extent, stream.extent());
        }
        size
    }

    pub(crate) fn without(&self, segments: &BTreeSet<SegmentId>) -> Self {
        Self { streams: self.streams.retain(|stream| stream.without(segments)) }
    }
}

impl StreamHead {
    pub(crate) fn push(&mut self, segment: SegmentId, line: LogLine) {
        self.open.push((segment, Arc::new(line)));
    }

    fn count(&self) -> u64 {
        self.open.len() as u64
    }

    fn extent(&self) -> Option<Extent> {
        let times = self.open.iter().map(|(_, line)| line.at.to_timestamp());
        times.clone().min().zip(times.max()).map(|(oldest, newest)| Extent { oldest, newest })
    }

    /// The lines between two instants, both inside: ascending, equal instants in order of arrival, no line twice at
    /// the same instant.
    pub(crate) fn lines(&self, start: Nanos, end: Nanos) -> Vec<Arc<LogLine>> {
        let inside = |line: &LogLine| start <= line.at && line.at <= end;
        let mut lines: Vec<_> =
            self.open.iter().filter(|(_, line)| inside(line)).map(|(_, line)| Arc::clone(line)).collect();
        lines.sort_by_key(|line| line.at);
        drop_repeats(&mut lines);
        lines
    }

    pub(crate) fn has_lines(&self, start: Nanos, end: Nanos) -> bool {
        self.open.iter().any(|(_, line)| start <= line.at && line.at <= end)
    }

    fn without(&self, segments: &BTreeSet<SegmentId>) -> Option<Self> {
        let open: Vec<_> = self.open.iter().filter(|(segment, _)| !segments.contains(segment)).cloned().collect();
        (!open.is_empty()).then_some(Self { open })
    }
}

/// Keeps the first of equal lines at one instant; `lines` is sorted by time.
fn drop_repeats(lines: &mut Vec<Arc<LogLine>>) {
    if lines.is_sorted_by(|a, b| a.at < b.at) {
        return;
    }
    let mut seen: BTreeSet<String> = BTreeSet::new();
    let mut instant = None;
    lines.retain(|line| {
        if instant != Some(line.at) {
            instant = Some(line.at);
            seen.clear();
        }
        seen.insert(line.line.clone())
    });
}
