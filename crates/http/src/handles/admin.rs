//! What the admin routes may do to the store. Only given when the user asked for those routes.

use std::fmt;
use std::sync::Arc;

use signal::{Matcher, TimeRange};

/// Work on the stored metrics that a client may ask for. Each may take long, and runs on a thread that may block.
/// Cheap to clone.
#[derive(Clone)]
pub struct Admin {
    /// Deletes what the matchers allow in the range.
    pub delete: Delete,
    /// Gives back the space of what was deleted.
    pub clean: Clean,
    /// Copies the store into a new directory of the name given; the head, what has not been compacted, only if asked.
    pub snapshot: Snapshot,
}

/// Deletes series, or a part of them.
pub type Delete = Arc<dyn Fn(&[Matcher], TimeRange) -> Result<(), AdminError> + Send + Sync>;
/// Gives back space.
pub type Clean = Arc<dyn Fn() -> Result<(), AdminError> + Send + Sync>;
/// Copies the store: the name of the copy, and whether the head is left out.
pub type Snapshot = Arc<dyn Fn(&str, bool) -> Result<(), AdminError> + Send + Sync>;

/// Why the store would not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AdminError {
    /// The store could not read or write.
    #[error("{0}")]
    Storage(String),
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Admin")
    }
}
