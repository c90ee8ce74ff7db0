//! The unit that ingestion hands to the store.

use crate::{MetricMetadata, SeriesWrite, Span, StreamWrite};

/// Telemetry of any kind, decoded from one request or one scrape. Kept or refused item by item, acknowledged as a whole.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct WriteBatch {
    /// Samples by series.
    pub series: Vec<SeriesWrite>,
    /// What metric families say about themselves.
    pub metadata: Vec<MetricMetadata>,
    /// Lines by stream.
    pub streams: Vec<StreamWrite>,
    /// Spans of any traces.
    pub spans: Vec<Span>,
}

impl WriteBatch {
    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.series.is_empty() && self.metadata.is_empty() && self.streams.is_empty() && self.spans.is_empty()
    }

    /// Number of samples, native histograms included.
    #[must_use]
    pub fn sample_count(&self) -> usize {
        self.series.iter().map(|series| series.samples.len() + series.histograms.len()).sum()
    }

    /// Number of log lines.
    #[must_use]
    pub fn line_count(&self) -> usize {
        self.streams.iter().map(|stream| stream.lines.len()).sum()
    }

    /// Takes over everything from `other`.
    pub fn merge(&mut self, other: Self) {
        self.series.extend(other.series);
        self.metadata.extend(other.metadata);
        self.streams.extend(other.streams);
        self.spans.extend(other.spans);
    }
}
