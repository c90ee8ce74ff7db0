//! What the admin routes, and those that delete lines, may do to the store. Only given when the user asked for those routes.

use std::sync::Arc;

use signal::{Matcher, TimeRange, Timestamp};
use store::{LineDeletion, LineSelection, Store};

use crate::reply::chain;

/// The folder of the data directory that copies are made in.
const COPIES: &str = "snapshots";

/// Work on what is stored that a client may ask for. Each call may take long. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Admin(Arc<Store>);

/// Why the store would not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AdminError {
    /// The store could not read or write.
    #[error("{0}")]
    Storage(String),
}

impl From<store::FlushError> for AdminError {
    fn from(error: store::FlushError) -> Self {
        Self::Storage(chain(&error))
    }
}

impl Admin {
    /// Lets clients delete from `store` and copy it.
    #[must_use]
    pub fn new(store: Arc<Store>) -> Self {
        Self(store)
    }

    /// Forgets what the matchers allow in `range`.
    pub(crate) fn delete(&self, matchers: Vec<Matcher>, range: TimeRange) -> Result<(), AdminError> {
        Ok(self.0.delete(matchers, range)?)
    }

    /// Forgets lines.
    pub(crate) fn delete_lines(&self, now: Timestamp, lines: LineSelection) -> Result<u64, AdminError> {
        Ok(self.0.delete_lines(now, lines)?)
    }

    /// Deletions of lines that can still be cancelled.
    pub(crate) fn line_deletions(&self) -> Vec<LineDeletion> {
        self.0.line_deletions()
    }

    /// Shows the lines of a deletion again; false when that is too late.
    pub(crate) fn cancel_line_deletion(&self, id: u64) -> Result<bool, AdminError> {
        Ok(self.0.cancel_line_deletion(id)?)
    }

    /// Gives back the space of what was deleted.
    pub(crate) fn clean(&self) -> Result<(), AdminError> {
        Ok(self.0.clean()?)
    }

    /// Copies everything into `snapshots/<name>` of the data directory.
    pub(crate) fn copy(&self, name: &str) -> Result<(), AdminError> {
        Ok(self.0.copy_to(&self.0.dir().join(COPIES).join(name))?)
    }
}
