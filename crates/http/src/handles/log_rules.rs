//! Rules over logs that clients may list and change. The shell keeps and evaluates them.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Groups by namespace, each as it was given.
pub type Namespaces = BTreeMap<String, Vec<serde_json::Value>>;

/// What the rule routes may do; cheap to clone. Each call may take long.
#[derive(Clone)]
pub struct LogRules {
    /// All groups.
    pub list: Arc<dyn Fn() -> Namespaces + Send + Sync>,
    /// Adds a group, given as YAML, to a namespace, in the place of one of the same name.
    pub put: PutRules,
    /// Removes a group of a namespace, or all of them.
    pub remove: RemoveRules,
}

/// Takes a namespace and the text of a group.
pub type PutRules = Arc<dyn Fn(&str, &str) -> Result<(), LogRulesError> + Send + Sync>;
/// Takes a namespace and perhaps the name of a group.
pub type RemoveRules = Arc<dyn Fn(&str, Option<&str>) -> Result<(), LogRulesError> + Send + Sync>;

/// Why rules were not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LogRulesError {
    /// The group is wrong.
    #[error("{0}")]
    Invalid(String),
    /// No group by that name in that namespace.
    #[error("group does not exist")]
    NoGroup,
    /// No group at all in that namespace.
    #[error("group namespace does not exist")]
    NoNamespace,
    /// The rules cannot be kept.
    #[error("{0}")]
    Storage(String),
}

impl std::fmt::Debug for LogRules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogRules").finish_non_exhaustive()
    }
}
