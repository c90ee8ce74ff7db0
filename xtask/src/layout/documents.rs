//! What the documents name is there.

use std::path::Path;

use super::source::words;
use super::{Finding, Member, Source, read};

const DOCUMENTS: &str = "documents";
const WALK: &str = "ARCHITECTURE.md";
const KEYS: &str = "docs/reference/config.md";
/// The shape of the configuration file as written.
const SHAPE: &str = "crates/aegis/src/config/file.rs";

/// Every path of code in `ARCHITECTURE.md` ends in a name that its crate has; every key of the configuration is described.
/// A workspace without these documents has nothing to check.
pub(super) fn names(
    root: &Path,
    members: &[Member],
    sources: &[Source],
    findings: &mut Vec<Finding>,
) -> anyhow::Result<()> {
    if root.join(WALK).is_file() {
        walk(&read(&root.join(WALK))?, members, sources, findings);
    }
    if root.join(KEYS).is_file() {
        keys(&read(&root.join(KEYS))?, sources, findings);
    }
    Ok(())
}

fn walk(text: &str, members: &[Member], sources: &[Source], findings: &mut Vec<Finding>) {
    for (at, line) in text.lines().enumerate() {
        // Between backticks: `crate::module::name`, perhaps with arguments behind it.
        for quoted in line.split('`').skip(1).step_by(2) {
            let path = quoted.split(['(', ' ', '{']).next().unwrap_or_default();
            let Some((member, rest)) = path.split_once("::") else { continue };
            let Some(member) = members.iter().find(|known| known.name == member) else { continue };
            for name in rest.split("::").filter(|name| !name.is_empty()) {
                let has_file = |source: &Source| source.path.file_stem().is_some_and(|stem| stem == name);
                let mut own = sources.iter().filter(|source| source.member == member.name);
                if !own.any(|source| has_file(source) || words(&source.code, name).next().is_some()) {
                    let advice = format!("`{path}`: crate `{}` has no `{name}`; say what is there", member.name);
                    findings.push(Finding::new(WALK, at + 1, DOCUMENTS, advice));
                }
            }
        }
    }
}

fn keys(text: &str, sources: &[Source], findings: &mut Vec<Finding>) {
    let Some(shape) = sources.iter().find(|source| source.path == Path::new(SHAPE)) else { return };
    // Only structs as written have names that end so; what stands between their braces are keys.
    let mut is_inside = false;
    for (line, code) in shape.lines() {
        if code.contains("struct ") {
            is_inside = code.contains("File ");
        } else if code.starts_with('}') {
            is_inside = false;
        }
        let Some((name, _)) = code.trim().split_once(": ").filter(|_| is_inside) else { continue };
        let name = name.rsplit(' ').next().unwrap_or_default();
        let is_described = text
            .split('`')
            .skip(1)
            .step_by(2)
            .any(|quoted| quoted.rsplit('.').next() == Some(name) || quoted.starts_with(&format!("{name}.")));
        if !is_described {
            let advice = format!("key `{name}` is not in {KEYS}; describe meaning, unit, bounds and default");
            findings.push(Finding::new(&shape.path, line, DOCUMENTS, advice));
        }
    }
}
