//! Batches that carry what was checked of them already.

use signal::WriteBatch;

use crate::Limits;

/// A batch for [`Intake::admit`](crate::Intake::admit), with the limits its labels are known to keep.
///
/// Any [`WriteBatch`] becomes one with nothing known. [`RemoteWriteDecoder`](crate::remote_write::RemoteWriteDecoder)
/// makes better ones: it looks at the labels of a series only when it sees them for the first time, and the intake does
/// not have to look again.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Prepared {
    batch: WriteBatch,
    labels_within: Option<Limits>,
}

impl Prepared {
    /// The labels of every series of `batch` keep `limits`.
    pub(crate) fn with_labels_within(batch: WriteBatch, limits: Limits) -> Self {
        Self { batch, labels_within: Some(limits) }
    }

    /// Whether the labels of series are known to keep `limits`.
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

impl From<WriteBatch> for Prepared {
    fn from(batch: WriteBatch) -> Self {
        Self { batch, labels_within: None }
    }
}
