//! The five laws.

use std::path::Path;

use super::manifest::On;
use super::plan::{FILE, Kind, Plan, WordsRow, matches};
use super::source::words;
use super::{Finding, Member, Source, read};

const FLOORS: &str = "floors";
const LAW_1: &str = "law 1 (cores are pure)";
const LAW_2: &str = "law 2 (time comes in)";
const LAW_3: &str = "law 3 (only policy permits)";
const LAW_4: &str = "law 4 (foreign shapes stay at the edge)";
const LAW_5: &str = "law 5 (the ledger comes first)";

/// Derives and impls that would make a second permit out of nothing.
const MAKERS: [&str; 4] = ["Clone", "Copy", "Default", "Deserialize"];
/// Words before a type's name that make a brace something else than a literal.
const NOT_LITERAL: [&str; 8] = ["impl", "for", "struct", "enum", "union", "trait", "mod", "dyn"];

/// Arrows go down; cores and keepers stay pure; wire libraries stay where they belong.
pub(super) fn dependencies(plan: &Plan, members: &[Member], findings: &mut Vec<Finding>) {
    for member in members {
        let Some(row) = plan.crates.get(&member.name) else { continue };
        for dependency in &member.dependencies {
            let mut add = |law, advice: String| {
                findings.push(Finding::new(&member.manifest, dependency.line, law, advice));
            };
            let (name, floor) = match &dependency.on {
                On::Member(name) => (name, plan.crates.get(name).map(|row| row.floor)),
                On::Package(name) => {
                    if dependency.is_dev {
                        continue;
                    }
                    let forbids = plan.kinds.get(&row.kind).map_or(&[][..], |kind| &kind.forbids);
                    let is_allowed = row.allows.iter().any(|allowed| matches(allowed, name));
                    if !is_allowed && forbids.iter().any(|pattern| matches(pattern, name)) {
                        let kind = row.kind.as_str();
                        let law = if matches!(row.kind, Kind::Core | Kind::Keeper) { LAW_1 } else { FLOORS };
                        add(
                            law,
                            format!("a {kind} crate never depends on `{name}`; do it in a crate above and pass values"),
                        );
                    }
                    let only = plan.only.get(name);
                    if let Some(only) = only.filter(|only| !only.crates.contains(&member.name)) {
                        let who = only.crates.join(", ");
                        add(LAW_4, format!("only {who} may depend on `{name}`; keep the foreign shape there"));
                    }
                    continue;
                }
            };
            match floor {
                None => add(FLOORS, format!("`{name}` has no floor; give it a row under [crates] in {FILE}")),
                // Tests may look sideways, as when one crate's query texts are read with another's parser.
                Some(floor) if floor > row.floor || (floor == row.floor && !dependency.is_dev) => add(
                    FLOORS,
                    format!(
                        "`{}` on floor {} depends on `{name}` on floor {floor}; arrows go down: move the code or the floor",
                        member.name, row.floor
                    ),
                ),
                Some(_) => {}
            }
        }
    }
}

/// Time and randomness come in as values.
pub(super) fn clocks(root: &Path, plan: &Plan, sources: &[Source], findings: &mut Vec<Finding>) -> anyhow::Result<()> {
    for (row, instead) in [
        (&plan.clocks, "take `now: Timestamp` as an argument"),
        (&plan.randomness, "take a seeded source as an argument"),
    ] {
        only_in(row, instead, sources, findings);
    }
    for source in sources.iter().filter(|source| !plan.clocks.files.contains(&source.path)) {
        for (line, code) in source.lines().filter(|(_, code)| code.contains("clippy::disallowed_methods")) {
            if code.contains("allow") || code.contains("expect") {
                let advice = "the ban on clocks is lifted outside a clock file; remove the attribute";
                findings.push(Finding::new(&source.path, line, LAW_2, advice));
            }
        }
    }
    let clippy = read(&root.join("clippy.toml"))?;
    for method in ["std::time::SystemTime::now", "std::time::Instant::now"] {
        if !clippy.contains(&format!("\"{method}\"")) {
            let advice = format!("`{method}` is not among disallowed-methods; add it with what to use instead");
            findings.push(Finding::new("clippy.toml", 1, LAW_2, advice));
        }
    }
    Ok(())
}

fn only_in(row: &WordsRow, instead: &str, sources: &[Source], findings: &mut Vec<Finding>) {
    for source in sources.iter().filter(|source| !row.files.contains(&source.path)) {
        for (line, code) in source.lines() {
            for word in row.words.iter().filter(|word| words(code, word).next().is_some()) {
                findings.push(Finding::new(&source.path, line, LAW_2, format!("`{word}` here; {instead}")));
            }
        }
    }
    for file in row.files.iter().filter(|file| !sources.iter().any(|source| source.path == **file)) {
        findings.push(Finding::new(FILE, 1, LAW_2, format!("{} is listed but not there; remove it", file.display())));
    }
}

/// Nobody but the maker writes a literal of a minted type, and the maker hands out no way to copy one.
pub(super) fn minted(plan: &Plan, sources: &[Source], findings: &mut Vec<Finding>) {
    let maker = &plan.minted.maker;
    for name in &plan.minted.types {
        let mut is_defined = false;
        for source in sources {
            let defines = words(&source.code, &format!("struct {name}")).next();
            if let (true, Some(at)) = (source.member == *maker, defines) {
                is_defined = true;
                defined(source, name, at, findings);
                continue;
            }
            for (line, code) in source.lines() {
                if has_literal(code, name) {
                    let advice = format!("`{name} {{` outside the file that mints it; ask `{maker}` for one");
                    findings.push(Finding::new(&source.path, line, LAW_3, advice));
                }
            }
        }
        if !is_defined {
            findings.push(Finding::new(FILE, 1, LAW_3, format!("`{maker}` does not define `struct {name}`")));
        }
        for source in sources.iter().filter(|source| source.member == *maker) {
            for (line, code) in source.lines().filter(|(_, code)| code.contains(&format!("for {name}"))) {
                for way in MAKERS.iter().filter(|way| words(code, way).next().is_some()) {
                    let advice = format!("`{name}` must not be `{way}`: each is good for one use; remove the impl");
                    findings.push(Finding::new(&source.path, line, LAW_3, advice));
                }
            }
        }
    }
}

/// The file that defines a minted type at byte `at`.
fn defined(source: &Source, name: &str, at: usize, findings: &mut Vec<Finding>) {
    let (before, after) = source.code.split_at_checked(at).unwrap_or((&source.code, ""));
    let line = before.lines().count().max(1);
    // What stands before the item and after the one before: its attributes.
    let attributes = before.rsplit(['}', ';']).next().unwrap_or_default();
    for way in MAKERS.iter().filter(|way| words(attributes, way).next().is_some()) {
        let advice = format!("`{name}` must not be `{way}`: each is good for one use; remove the derive");
        findings.push(Finding::new(&source.path, line, LAW_3, advice));
    }
    let body = after.split(['}', ';']).next().unwrap_or_default();
    if words(body, "pub").next().is_some() {
        let advice = format!("`{name}` has a public field, so anybody can make one; make it private");
        findings.push(Finding::new(&source.path, line, LAW_3, advice));
    }
    if !(source.text.contains("compile_fail") && source.text.contains(&format!("::{name} {{"))) {
        let advice = format!("no `compile_fail` example shows that `{name}` cannot be forged; write one in its doc");
        findings.push(Finding::new(&source.path, line, LAW_3, advice));
    }
}

/// Whether a line of code holds a struct literal (or a pattern, which private fields forbid as well).
fn has_literal(code: &str, name: &str) -> bool {
    words(code, name).any(|at| {
        let after = code.get(at + name.len()..).unwrap_or_default();
        let mut before = code.get(..at).unwrap_or_default().trim_end();
        while let Some(path) = before.strip_suffix("::") {
            before = path.trim_end_matches(|c: char| c.is_alphanumeric() || c == '_').trim_end();
        }
        // `fn f() -> Permit {` opens a function.
        let returns = before.rsplit_once("->").is_some_and(|(_, between)| !between.contains(['{', '(', ';', '=']));
        let word = before.rsplit(|c: char| !(c.is_alphanumeric() || c == '_')).next().unwrap_or_default();
        after.trim_start().starts_with('{') && !returns && !NOT_LITERAL.contains(&word)
    })
}

/// Permits are redeemed, drivers called and the ledger written in one file.
pub(super) fn effects(plan: &Plan, sources: &[Source], findings: &mut Vec<Finding>) {
    let is_free = |member: &str| member == plan.minted.maker || plan.kind_of(member) == Some(Kind::Dev);
    for source in sources.iter().filter(|source| !is_free(&source.member)) {
        if plan.effects.files.contains(&source.path) {
            continue;
        }
        for (line, code) in source.lines().filter(|(line, _)| !source.is_test(*line)) {
            for call in plan.effects.calls.iter().filter(|call| words(code, call).next().is_some()) {
                let files: Vec<String> = plan.effects.files.iter().map(|file| file.display().to_string()).collect();
                let advice = format!("`{call}` belongs in {}; answer an `Effect` instead", files.join(", "));
                findings.push(Finding::new(&source.path, line, LAW_5, advice));
            }
        }
    }
    for file in plan.effects.files.iter().filter(|file| !sources.iter().any(|source| source.path == **file)) {
        findings.push(Finding::new(FILE, 1, LAW_5, format!("{} is listed but not there; remove it", file.display())));
    }
}
