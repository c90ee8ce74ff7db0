//! How to reach a server.

use std::fmt;
use std::time::Duration;

/// A credential; never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a credential.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Who we are to the server, and how long we wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Bearer token.
    pub bearer: Option<Secret>,
    /// User name and password.
    pub basic: Option<(String, Secret)>,
    /// Further headers, such as `X-Scope-OrgID`.
    pub headers: Vec<(String, Secret)>,
    /// Deadline of one call, the whole answer included. Default 30 s.
    pub timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { bearer: None, basic: None, headers: Vec::new(), timeout: Duration::from_secs(30) }
    }
}
