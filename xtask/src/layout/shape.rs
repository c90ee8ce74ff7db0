//! What every crate and file looks like.

use std::path::Path;

use super::plan::{FILE, Plan};
use super::{Finding, Member, Source};

/// Above this a file should be split.
const LONG: usize = 800;
const SHAPE: &str = "shape";

/// Every folder stands in the plan, and the plan names no folder that is gone.
pub(super) fn rows(plan: &Plan, members: &[Member], findings: &mut Vec<Finding>) {
    for member in members {
        if !plan.crates.contains_key(&member.name) {
            let advice = format!("crate `{}` has no floor; give it a row under [crates] in {FILE}", member.name);
            findings.push(Finding::new(&member.manifest, 1, SHAPE, advice));
        }
        let package = format!("aegis-{}", member.name);
        if member.package != package && member.package != member.name {
            let advice = format!("package `{}` is not named after its folder; call it `{package}`", member.package);
            findings.push(Finding::new(&member.manifest, 1, SHAPE, advice));
        }
        if !member.takes_lints {
            let advice = "the workspace's lints do not hold here; write `[lints]` with `workspace = true`";
            findings.push(Finding::new(&member.manifest, 1, SHAPE, advice));
        }
    }
    for name in plan.crates.keys().filter(|name| !members.iter().any(|member| member.name == **name)) {
        findings.push(Finding::new(FILE, 1, SHAPE, format!("crate `{name}` has a row but no folder; remove the row")));
    }
}

/// Module docs at the top, no `mod.rs`, no file too long to read.
pub(super) fn files(members: &[Member], sources: &[Source], findings: &mut Vec<Finding>, warnings: &mut Vec<Finding>) {
    for member in members {
        let folder = Path::new("crates").join(&member.name).join("src");
        let tops = [folder.join("lib.rs"), folder.join("main.rs")];
        let mut tops = sources.iter().filter(|source| tops.contains(&source.path)).peekable();
        if tops.peek().is_none() {
            findings.push(Finding::new(&member.manifest, 1, SHAPE, "there is neither src/lib.rs nor src/main.rs"));
        }
        for top in tops.filter(|top| !top.text.starts_with("//! ")) {
            let advice = "opens without a module doc; say the crate's one job, and what it is not, in `//!` lines";
            findings.push(Finding::new(&top.path, 1, SHAPE, advice));
        }
    }
    for source in sources {
        // `tests/common/mod.rs` is cargo's own way to share code between integration tests.
        let is_module = source.path.file_name().is_some_and(|name| name == "mod.rs");
        if is_module && source.path.components().nth(2).is_some_and(|part| part.as_os_str() == "src") {
            let advice = "write `foo.rs` beside `foo/` instead of `foo/mod.rs`";
            findings.push(Finding::new(&source.path, 1, SHAPE, advice));
        }
        let lines = source.text.lines().count();
        if lines > LONG {
            let advice = format!("{lines} lines are hard to read; consider splitting (warning from {LONG} lines)");
            warnings.push(Finding::new(&source.path, lines, "warning", advice));
        }
    }
}
