//! Tasks for the people who work on Aegis: `cargo xtask layout`.
//!
//! This is *not* part of the product: it reads the repository's own files and says what breaks the house's laws.

mod layout;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};

fn main() -> anyhow::Result<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    let (task, root) = (arguments.next(), arguments.next());
    if task.as_deref() != Some("layout") || arguments.next().is_some() {
        bail!("say `cargo xtask layout`, or `cargo xtask layout DIR` for another workspace");
    }
    let root = root.map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(".."), PathBuf::from);
    let root = root.canonicalize().with_context(|| format!("cannot find {}", root.display()))?;
    let report = layout::check(&root)?;
    let mut out = std::io::stdout().lock();
    for finding in report.findings.iter().chain(&report.warnings) {
        writeln!(out, "{finding}")?;
    }
    if !report.findings.is_empty() {
        writeln!(out, "layout: {} to put right", report.findings.len())?;
        return Ok(ExitCode::FAILURE);
    }
    writeln!(out, "layout: {} crates, {} files, every law holds", report.crates, report.files)?;
    Ok(ExitCode::SUCCESS)
}
