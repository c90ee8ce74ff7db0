//! `scrape_configs`, of the file itself and of the files it names.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ingest::scrape::{ScrapeConfig, ScrapeFile, Surroundings};
use serde::Deserialize;
use serde_saphyr::Spanned;

use super::problem::Problems;
use crate::logging::chain;

/// One job as written, with its place.
pub(super) type JobFile = Spanned<ScrapeFile>;

/// A file named by `scrape_config_files`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct JobsFile {
    scrape_configs: Vec<JobFile>,
}

/// Checks all jobs; their names are unique over all files.
pub(super) fn jobs(
    own: Vec<JobFile>,
    files: &[Spanned<String>],
    around: Surroundings<'_>,
    problems: &mut Problems,
) -> Vec<Arc<ScrapeConfig>> {
    let mut known = Vec::new();
    check(own, around, &mut known, problems);
    for pattern in files {
        for path in matching(pattern, around.base, problems) {
            let name = path.display().to_string();
            let text = match std::fs::read_to_string(&path) {
                Ok(text) => text,
                Err(error) => {
                    problems.add(pattern, format!("cannot read {name}: {error}"));
                    continue;
                }
            };
            if text.trim().is_empty() {
                continue;
            }
            problems.in_file(&name, |problems| match serde_saphyr::from_str::<JobsFile>(&text) {
                Ok(file) => {
                    let base = path.parent().unwrap_or(around.base);
                    check(file.scrape_configs, Surroundings { base, ..around }, &mut known, problems);
                }
                Err(error) => problems.add_yaml(&error),
            });
        }
    }
    known
}

fn check(files: Vec<JobFile>, around: Surroundings<'_>, known: &mut Vec<Arc<ScrapeConfig>>, problems: &mut Problems) {
    for job in files {
        match job.value.clone().check(around) {
            Ok(config) if known.iter().any(|known| known.job_name == config.job_name) => {
                problems.add(&job, format!("job `{}` is defined twice", config.job_name));
            }
            Ok(config) => known.push(Arc::new(config)),
            Err(error) => problems.add(&job, chain(&error)),
        }
    }
}

/// The files a pattern means now, in order.
fn matching(pattern: &Spanned<String>, base: &Path, problems: &mut Problems) -> Vec<PathBuf> {
    let text = base.join(&pattern.value).display().to_string();
    match glob::glob(&text) {
        Ok(found) => found.filter_map(Result::ok).collect(),
        Err(error) => {
            problems.add(pattern, format!("`{}` is not a pattern: {error}", pattern.value));
            Vec::new()
        }
    }
}
