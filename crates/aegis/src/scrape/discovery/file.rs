//! Targets listed in files, which are read again when they change.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use ingest::scrape::{FileSd, GroupFile, TargetGroup};
use signal::LabelsBuilder;

use super::Publisher;
use crate::clock::Stopwatch;

/// How often is looked whether files have changed.
const LOOK: Duration = Duration::from_secs(1);
/// Most bytes of a file.
const MAX_FILE: u64 = 64 << 20;

/// What tells whether a file was written to.
type Stamp = (SystemTime, u64);

pub(super) async fn follow(files: FileSd, mut publisher: Publisher) {
    let mut known: BTreeMap<PathBuf, (Option<Stamp>, Vec<TargetGroup>)> = BTreeMap::new();
    let mut read = Stopwatch::start();
    loop {
        let is_due = read.elapsed() >= files.refresh;
        if is_due {
            read = Stopwatch::start();
        }
        let mut problems = Vec::new();
        let paths = matching(&files.files, &mut problems);
        known.retain(|path, _| paths.contains(path));
        for path in paths {
            let now = stamp(&path);
            let entry = known.entry(path.clone()).or_default();
            let is_read = now.is_some() && entry.0 == now && !is_due;
            if is_read {
                continue;
            }
            match groups(&path) {
                Ok(groups) => *entry = (now, groups),
                // Half a file is no news: what stood there before holds until it can be read.
                Err(problem) => {
                    entry.0 = None;
                    problems.push(format!("{}: {problem}", path.display()));
                }
            }
        }
        publisher.tell(problems.join("; "));
        publisher.publish(known.values().flat_map(|(_, groups)| groups.iter().cloned()).collect());
        tokio::time::sleep(LOOK).await;
    }
}

/// What is wrong with the files that are there now.
pub(super) fn check(files: &FileSd) -> Vec<String> {
    let mut problems = Vec::new();
    for path in matching(&files.files, &mut problems) {
        problems.extend(groups(&path).err().map(|problem| format!("{}: {problem}", path.display())));
    }
    problems
}

/// The files that patterns mean now, in order.
fn matching(patterns: &[PathBuf], problems: &mut Vec<String>) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    for pattern in patterns {
        let text = pattern.display().to_string();
        match glob::glob(&text) {
            Ok(found) => {
                let mut found: Vec<PathBuf> = found.filter_map(Result::ok).collect();
                if found.is_empty() && !text.contains(['*', '?', '[']) {
                    problems.push(format!("{text} does not exist"));
                }
                paths.append(&mut found);
            }
            Err(error) => problems.push(format!("`{text}` is not a pattern: {error}")),
        }
    }
    paths.sort();
    paths.dedup();
    paths
}

fn stamp(path: &Path) -> Option<Stamp> {
    let about = std::fs::metadata(path).ok()?;
    Some((about.modified().ok()?, about.len()))
}

fn groups(path: &Path) -> Result<Vec<TargetGroup>, String> {
    let size = std::fs::metadata(path).map_err(|error| error.to_string())?.len();
    if size > MAX_FILE {
        return Err(format!("is larger than {MAX_FILE} bytes"));
    }
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    let is_json = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
    let files: Vec<GroupFile> = if is_json {
        serde_json::from_str(&text).map_err(|error| error.to_string())?
    } else if text.trim().is_empty() {
        Vec::new()
    } else {
        serde_saphyr::from_str(&text).map_err(|error| error.without_snippet().to_string())?
    };
    let named = |file: GroupFile| {
        let mut group = TargetGroup::from(file);
        let mut labels = LabelsBuilder::from(&group.labels);
        labels.set("__meta_filepath", &path.display().to_string());
        group.labels = labels.build();
        group
    };
    Ok(files.into_iter().map(named).collect())
}
