//! Tasks for the people who work on Aegis: `cargo xtask layout` reads the repository's own files and says what breaks the
//! house's laws; `cargo xtask bench` measures Aegis beside other servers.
//!
//! This is *not* part of the product.

mod bench;
mod layout;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};

fn main() -> anyhow::Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["layout"] => layout(&own),
        ["layout", root] => layout(Path::new(root)),
        ["bench", ..] => bench::run(&found(&own)?, arguments.get(1..).unwrap_or_default()),
        _ => bail!(
            "say `cargo xtask layout`, `cargo xtask layout DIR` for another workspace, `cargo xtask bench metrics` or `cargo xtask bench logs`"
        ),
    }
}

fn found(root: &Path) -> anyhow::Result<PathBuf> {
    root.canonicalize().with_context(|| format!("cannot find {}", root.display()))
}

fn layout(root: &Path) -> anyhow::Result<ExitCode> {
    let report = layout::check(&found(root)?)?;
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
