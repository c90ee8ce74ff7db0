//! Checks the workspace against `layout.toml`: floors, and the five laws of `ARCHITECTURE.md`.
//!
//! The checks read text, not types. What text cannot show is held by the compiler: private fields and the compile-fail
//! examples of `policy` for law 3, clippy's disallowed methods for law 2.

mod documents;
mod laws;
mod manifest;
mod plan;
mod shape;
mod source;

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::Context;

use manifest::Member;
use plan::Plan;
use source::Source;

/// One thing that breaks a rule, with what to do about it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Finding {
    file: PathBuf,
    line: usize,
    law: &'static str,
    advice: String,
}

/// What a check found.
#[derive(Debug)]
pub(crate) struct Report {
    /// What breaks a rule, by file and line.
    pub(crate) findings: Vec<Finding>,
    /// What should be looked at.
    pub(crate) warnings: Vec<Finding>,
    /// Crates looked at.
    pub(crate) crates: usize,
    /// Source files looked at.
    pub(crate) files: usize,
}

impl Finding {
    fn new(file: impl Into<PathBuf>, line: usize, law: &'static str, advice: impl Into<String>) -> Self {
        Self { file: file.into(), line, law, advice: advice.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}: {}", self.file.display(), self.line, self.law, self.advice)
    }
}

/// Checks the workspace at `root`.
pub(crate) fn check(root: &Path) -> anyhow::Result<Report> {
    let plan = Plan::read(root)?;
    let members = manifest::members(root)?;
    let mut sources = Vec::new();
    for member in &members {
        sources.extend(Source::all_of(root, member)?);
    }
    let mut findings = Vec::new();
    let mut warnings = Vec::new();
    shape::rows(&plan, &members, &mut findings);
    shape::files(&members, &sources, &mut findings, &mut warnings);
    laws::dependencies(&plan, &members, &mut findings);
    laws::clocks(root, &plan, &sources, &mut findings)?;
    laws::minted(&plan, &sources, &mut findings);
    laws::effects(&plan, &sources, &mut findings);
    documents::names(root, &members, &sources, &mut findings)?;
    findings.sort();
    findings.dedup();
    warnings.sort();
    Ok(Report { findings, warnings, crates: members.len(), files: sources.len() })
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests;
