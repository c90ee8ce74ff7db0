//! The configuration file: as written, and as settings that can only be valid.

mod file;
mod limits;
mod log_files;
mod problem;
mod rules;
mod scraping;
mod settings;
mod shown;
mod size;
mod syslog;

use std::path::Path;

pub(crate) use log_files::LogFiles;
pub(crate) use problem::{ConfigError, Problem};
pub(crate) use rules::{RuleSettings, matching};
pub(crate) use settings::{Config, QuerySettings, RemoteSettings, StoreLimits};
pub(crate) use syslog::SyslogSettings;

/// Reads and checks the file at `path`; every problem is reported at once. `aegis check config` runs exactly this.
///
/// # Errors
/// When the file cannot be read, is not YAML of the right shape, or holds values that are not allowed.
pub(crate) fn load(path: &Path) -> Result<Config, ConfigError> {
    let name = path.display().to_string();
    let text =
        std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable { file: name.clone(), source })?;
    parse(&name, &text, path.parent().unwrap_or(Path::new(".")))
}

/// Checks the text of a file called `name`; relative paths in it start at `base`.
///
/// # Errors
/// See [`load`].
pub(crate) fn parse(name: &str, text: &str, base: &Path) -> Result<Config, ConfigError> {
    let file: file::ConfigFile = if text.trim().is_empty() {
        file::ConfigFile::default()
    } else {
        serde_saphyr::from_str(text).map_err(|error| ConfigError::Problems(vec![Problem::of_yaml(name, &error)]))?
    };
    let mut problems = problem::Problems::new(name);
    let mut config = file.check(base, &mut problems);
    config.shown = shown::shown(text);
    problems.finish(config)
}

#[cfg(test)]
mod tests;
