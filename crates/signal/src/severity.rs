//! How bad something is.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How urgently a person would want to know, mildest first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth a line in a list.
    #[default]
    Info,
    /// Look when there is time.
    Low,
    /// Look today.
    Medium,
    /// Users notice.
    High,
    /// Users cannot work.
    Critical,
}

impl Severity {
    /// The lower-case word used in labels, JSON and policies.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }

    /// Reads the word back; `warning` and `page`, common in rule files, count as medium and critical.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "info" | "none" => Some(Self::Info),
            "low" => Some(Self::Low),
            "medium" | "warning" => Some(Self::Medium),
            "high" | "error" => Some(Self::High),
            "critical" | "page" => Some(Self::Critical),
            _ => None,
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
