//! Every script in `scenarios/` runs, breaks no law, and gives exactly the timeline written in it.
//!
//! `BLESS=1 cargo test -p aegis-sim` rewrites the timelines; read the difference before committing it.

use std::fs;
use std::path::Path;

use aegis_sim::{Script, Sim, each};

#[test]
fn scripts_give_their_timelines() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let mut files: Vec<_> = fs::read_dir(&dir).unwrap().map(|file| file.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|end| end == "txt"));
    files.sort();
    assert!(files.len() >= 10, "scripts are missing from {}", dir.display());
    let only = std::env::var("ONLY").ok();
    let wrong = each(&files, |file| {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        if only.as_ref().is_some_and(|only| *only != name) {
            return None;
        }
        let text = fs::read_to_string(file).unwrap();
        let script: Script = text.parse().unwrap_or_else(|error| panic!("{name}: {error}"));
        let run = Sim::new(&script).run();
        let golden = run.golden();
        if !run.broken.is_empty() {
            return Some(format!("{name}: {:#?}\n{golden}", run.broken));
        }
        if std::env::var_os("BLESS").is_some() {
            let head = text.split_once("---\n").map_or(text.as_str(), |(head, _)| head);
            fs::write(file, format!("{head}---\n{golden}")).unwrap();
            return None;
        }
        first_difference(&script.expected, &golden).map(|difference| format!("{name}: {difference}"))
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

fn first_difference(expected: &str, golden: &str) -> Option<String> {
    let lines = expected.lines().count().max(golden.lines().count());
    let at = (0..lines).find(|at| expected.lines().nth(*at) != golden.lines().nth(*at))?;
    let line = |text: &str| text.lines().nth(at).unwrap_or("(nothing)").to_owned();
    Some(format!("line {} of the timeline\n  expected {}\n  is       {}", at + 1, line(expected), line(golden)))
}
