//! Lists of targets in files.

use serde::Deserialize;
use signal::Labels;

/// Targets that share labels.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetGroup {
    /// `host:port` each.
    #[serde(default)]
    pub targets: Vec<String>,
    /// Labels all of them get.
    #[serde(default)]
    pub labels: Labels,
}

/// Why a list of targets cannot be read; the source says where.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the target list; expected `[{{\"targets\": [\"host:port\"], \"labels\": {{}}}}]`")]
pub struct SdError(#[from] serde_json::Error);

/// Reads `[{"targets": ["host:port"], "labels": {…}}]`.
///
/// # Errors
/// `SdError` for anything else, unknown keys included.
pub fn parse_file_sd(json: &[u8]) -> Result<Vec<TargetGroup>, SdError> {
    Ok(serde_json::from_slice(json)?)
}
