//! `rule_files`: patterns as written, and the rules in the files they match.

use std::path::{Path, PathBuf};

use rules::{RuleFile, Surroundings};
use serde_saphyr::Spanned;

use super::problem::Problems;

/// The rules of the user's own files.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct RuleSettings {
    /// Name and content of each file, in order of the patterns and then by name.
    pub(crate) files: Vec<(String, RuleFile)>,
    /// What the groups inherit.
    pub(crate) surroundings: Surroundings,
}

/// Reads every file that a pattern matches, once; a pattern may match none. Paths start at `base`.
pub(super) fn read(patterns: &[Spanned<PathBuf>], base: &Path, problems: &mut Problems) -> Vec<(String, RuleFile)> {
    let mut files: Vec<(String, RuleFile)> = Vec::new();
    for pattern in patterns {
        let paths = match matching(base, &pattern.value) {
            Ok(paths) => paths,
            Err(error) => {
                problems.add(pattern, error.to_string());
                continue;
            }
        };
        for path in paths {
            let name = path.display().to_string();
            if files.iter().any(|(known, _)| *known == name) {
                continue;
            }
            let text = match std::fs::read_to_string(&path) {
                Ok(text) => text,
                Err(error) => {
                    problems.add(pattern, format!("cannot read rule file {name}: {error}"));
                    continue;
                }
            };
            match RuleFile::parse(&name, &text) {
                Ok(file) => files.push((name, file)),
                Err(error) => problems.of_rules(error),
            }
        }
    }
    files
}

/// The files that `pattern` matches, by name.
///
/// # Errors
/// When it is no pattern.
pub(crate) fn matching(base: &Path, pattern: &Path) -> Result<Vec<PathBuf>, glob::PatternError> {
    Ok(glob::glob(&base.join(pattern).display().to_string())?.filter_map(Result::ok).collect())
}
