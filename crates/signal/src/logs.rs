//! Logs: lines of streams.

use serde::{Deserialize, Serialize};

use crate::{Labels, Nanos};

/// One line of a stream.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LogLine {
    /// When, by its sender's clock.
    pub at: Nanos,
    /// The text, byte for byte as received.
    pub line: String,
    /// Structured metadata: facts beside the text that do not identify the stream.
    pub metadata: Labels,
}

/// Lines to write to one stream.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct StreamWrite {
    /// Identity of the stream.
    pub labels: Labels,
    /// In any order of time.
    pub lines: Vec<LogLine>,
}
