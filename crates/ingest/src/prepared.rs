//! Batches that carry what was checked of them already.

use signal::WriteBatch;

use crate::Limits;

/// A batch for [`Intake::admit`](crate::Intake::admit), with the limits its labels are known to keep.
///
/// Any [`WriteBatch`] becomes one with nothing known. [`RemoteWriteDecoder`](crate::remote_write::RemoteWriteDecoder)
/// and [`PushDecoder`](crate::loki_push::PushDecoder) make better ones: they look at the labels of a series or stream only
/// when they see them for the first time, and the intake does not have to look again.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Prepared {
    batch: WriteBatch,
    labels_within: Option<Limits>,
}

impl Prepared {
    /// The labels of every series and stream of `batch` keep `limits`.
    pub(crate) fn with_labels_within(batch: WriteBatch, limits: Limits) -> Self {
        Self { batch, labels_within: Some(limits) }
    }

    /// Whether the labels of series and streams are known to keep `limits`.
    pub(crate) fn has_labels_within(&self, limits: &Limits) -> bool {
        self.labels_within.as_ref() == Some(limits)
    }

    /// What is in it.
    #[must_use]
    pub fn batch(&self) -> &WriteBatch {
        &self.batch
    }

    /// The batch alone; what was checked is forgotten.
    #[must_use]
    pub fn into_batch(self) -> WriteBatch {
        self.batch
    }
}

/// What a batch holds of metrics, for a sender that wants to know what was written (remote write 2.0).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MetricCounts {
    /// Floats.
    pub samples: usize,
    /// Native histograms.
    pub histograms: usize,
    /// Exemplars.
    pub exemplars: usize,
}

impl From<&WriteBatch> for MetricCounts {
    fn from(batch: &WriteBatch) -> Self {
        batch.series.iter().fold(Self::default(), |sum, series| Self {
            samples: sum.samples + series.samples.len(),
            histograms: sum.histograms + series.histograms.len(),
            exemplars: sum.exemplars + series.exemplars.len(),
        })
    }
}

impl From<WriteBatch> for Prepared {
    fn from(batch: WriteBatch) -> Self {
        Self { batch, labels_within: None }
    }
}

#[cfg(test)]
mod tests {
    use signal::{Exemplar, HistogramSample, Labels, Sample, SeriesWrite, Timestamp};

    use super::*;

    #[test]
    fn every_kind_of_point_is_counted() {
        let at = Timestamp(0);
        let series = SeriesWrite {
            samples: [1.0, 2.0, 3.0].into_iter().map(|value| Sample { at, value }).collect(),
            histograms: vec![HistogramSample { at, histogram: Default::default() }; 2],
            exemplars: vec![Exemplar { labels: Labels::empty(), value: 1.0, at }],
            ..SeriesWrite::default()
        };
        let batch = WriteBatch { series: vec![series.clone(), series], ..WriteBatch::default() };
        assert_eq!(MetricCounts::from(&batch), MetricCounts { samples: 6, histograms: 4, exemplars: 2 });
    }
}
