//! `aegis check rules` and `aegis test rules`: what promtool does with rule files, with its exit codes.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use rules::{RuleFile, TestFile};

use crate::cli::{say, warn};
use crate::config;

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  aegis check rules alerts.yaml\n  aegis check rules rules/*.yaml")]
pub(crate) struct CheckArgs {
    /// Prometheus rule files.
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TestCommand {
    /// Run unit tests of rules, as `promtool test rules` does: the same files, the same verdicts.
    #[command(after_help = "Example:\n  aegis test rules alerts_test.yaml\n\nExit code 1 when a test fails.")]
    Rules {
        /// Test files.
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Run only tests whose name contains one of these.
        #[arg(long, value_name = "TEXT")]
        run: Vec<String>,
    },
}

/// Runs `aegis check rules`: every problem of every file, with its place.
pub(crate) fn check(args: &CheckArgs) -> ExitCode {
    let mut all_fine = true;
    for path in &args.files {
        say(&format!("Checking {}", path.display()));
        match load(path) {
            Ok(file) => {
                say(&format!("  SUCCESS: {} rules found", file.rule_count()));
                for rule in file.duplicates() {
                    let labels = rule.labels.iter().map(|(name, value)| format!("{name}={value:?}"));
                    let labels = labels.collect::<Vec<_>>().join(", ");
                    say(&format!("  WARNING: more than one rule records {} with the labels {{{labels}}}", rule.name));
                }
            }
            Err(problems) => {
                all_fine = false;
                warn(&format!("  FAILED:\n{problems}"));
            }
        }
        say("");
    }
    if all_fine { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs `aegis test`.
pub(crate) fn test(what: &TestCommand) -> ExitCode {
    let TestCommand::Rules { files, run } = what;
    let mut all_hold = true;
    for path in files {
        say(&format!("Unit Testing:  {}", path.display()));
        let failures = run_tests(path, run).unwrap_or_else(|error| vec![error]);
        if failures.is_empty() {
            say("  SUCCESS");
        } else {
            all_hold = false;
            warn(&format!("  FAILED:\n{}", failures.join("\n\n")));
        }
        say("");
    }
    if all_hold { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What failed.
fn run_tests(path: &Path, only: &[String]) -> Result<Vec<String>, String> {
    let tests = TestFile::parse(&path.display().to_string(), &read(path)?).map_err(|error| error.to_string())?;
    let base = path.parent().unwrap_or(Path::new("."));
    let mut files = Vec::new();
    for pattern in &tests.rule_files {
        let paths = config::matching(base, Path::new(pattern)).map_err(|error| format!("{pattern}: {error}"))?;
        if paths.is_empty() {
            warn(&format!("  WARNING: no file match pattern {pattern}"));
        }
        for path in paths {
            files.push((path.display().to_string(), load(&path)?));
        }
    }
    Ok(tests.run(&files, |name| only.is_empty() || only.iter().any(|text| name.contains(text))))
}

fn load(path: &Path) -> Result<RuleFile, String> {
    RuleFile::parse(&path.display().to_string(), &read(path)?).map_err(|error| error.to_string())
}

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}
