use std::path::Path;

use super::source::{Source, words};
use super::*;

const LAYOUT: &str = r#"
[kinds.core]
forbids = ["tokio", "tower-*"]
[kinds.keeper]
forbids = ["tokio"]
[kinds.edge]
forbids = []
[kinds.shell]
forbids = []
[kinds.dev]
forbids = []
[crates]
signal = { floor = 1, kind = "core" }
policy = { floor = 2, kind = "core" }
local = { floor = 3, kind = "edge" }
sim = { floor = 3, kind = "dev" }
aegis = { floor = 4, kind = "shell" }
[only]
axum = { crates = ["local"] }
[clocks]
words = ["SystemTime::now", "Instant::now"]
files = ["crates/aegis/src/clock.rs"]
[randomness]
words = ["thread_rng"]
files = []
[minted]
crate = "policy"
types = ["Permit"]
[effects]
calls = [".redeem(", "driver.perform("]
files = ["crates/aegis/src/control_loop.rs"]
"#;

const ROOT: &str = r#"
[workspace]
[workspace.dependencies]
signal = { package = "aegis-signal", path = "crates/signal" }
policy = { package = "aegis-policy", path = "crates/policy" }
local = { package = "aegis-local", path = "crates/local" }
tokio = "1"
renamed = { package = "tower-http", version = "1" }
"#;

const PERMIT: &str = "//! Doc.\n/// ```compile_fail\n/// aegis_policy::Permit { id: 1 }\n/// ```\n#[derive(Debug)]\npub struct Permit {\n    id: u64,\n}\nimpl Permit {\n    pub fn redeem(self) {}\n}\n";

/// A sound little workspace, some files of which are replaced (or added, or removed when `None`).
fn findings(changes: &[(&str, Option<&str>)]) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let manifest =
        |name: &str, rest: &str| format!("[package]\nname = \"aegis-{name}\"\n[lints]\nworkspace = true\n{rest}\n");
    let mut files: Vec<(String, String)> = vec![
        ("layout.toml".into(), LAYOUT.into()),
        ("Cargo.toml".into(), ROOT.into()),
        ("clippy.toml".into(), "[\"std::time::SystemTime::now\", \"std::time::Instant::now\"]".into()),
        ("crates/policy/src/permit.rs".into(), PERMIT.into()),
        ("crates/aegis/src/clock.rs".into(), "fn now() { SystemTime::now() }\n".into()),
        (
            "crates/aegis/src/control_loop.rs".into(),
            "fn act(permit: Permit) { driver.perform(&permit.redeem(now())) }\n".into(),
        ),
        ("crates/aegis/src/main.rs".into(), "//! Doc.\n".into()),
    ];
    for (name, rest) in [
        ("signal", ""),
        ("policy", "[dependencies]\nsignal.workspace = true"),
        (
            "local",
            "[dependencies]\npolicy.workspace = true\naxum = \"0.8\"\n[dev-dependencies]\ntokio.workspace = true",
        ),
        ("sim", "[dependencies]\npolicy.workspace = true"),
        ("aegis", "[dependencies]\nlocal = { workspace = true }\ntokio.workspace = true"),
    ] {
        files.push((format!("crates/{name}/Cargo.toml"), manifest(name, rest)));
        if name != "aegis" {
            files.push((format!("crates/{name}/src/lib.rs"), "//! Doc.\n".into()));
        }
    }
    for (path, text) in changes {
        files.retain(|(known, _)| known != path);
        if let Some(text) = text {
            let text = text.strip_prefix("MANIFEST ").map_or_else(
                || (*text).to_owned(),
                |rest| manifest(Path::new(path).components().nth(1).unwrap().as_os_str().to_str().unwrap(), rest),
            );
            files.push(((*path).to_owned(), text));
        }
    }
    for (path, text) in files {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    check(folder.path()).unwrap().findings.iter().map(ToString::to_string).collect()
}

#[test]
fn a_sound_workspace_has_nothing_to_put_right() {
    assert_eq!(findings(&[]), Vec::<String>::new());
}

#[test]
fn every_breach_is_named_with_its_place() {
    for (case, path, text, want) in [
        (
            "a core with a runtime",
            "crates/signal/Cargo.toml",
            Some("MANIFEST [dependencies]\ntokio.workspace = true"),
            "crates/signal/Cargo.toml:6: law 1 (cores are pure): a core crate never depends on `tokio`",
        ),
        (
            "a package under another name",
            "crates/signal/Cargo.toml",
            Some("MANIFEST [dependencies]\nrenamed = { workspace = true }"),
            "crates/signal/Cargo.toml:6: law 1 (cores are pure): a core crate never depends on `tower-http`",
        ),
        (
            "only on one system",
            "crates/signal/Cargo.toml",
            Some("MANIFEST [target.'cfg(unix)'.dependencies]\ntokio = \"1\""),
            "crates/signal/Cargo.toml:6: law 1",
        ),
        (
            "an arrow up",
            "crates/signal/Cargo.toml",
            Some("MANIFEST [dependencies]\npolicy.workspace = true"),
            "crates/signal/Cargo.toml:6: floors: `signal` on floor 1 depends on `policy` on floor 2; arrows go down",
        ),
        (
            "an arrow to the side",
            "crates/sim/Cargo.toml",
            Some("MANIFEST [dependencies]\nlocal.workspace = true"),
            "crates/sim/Cargo.toml:6: floors: `sim` on floor 3 depends on `local` on floor 3",
        ),
        (
            "a wire library inside",
            "crates/policy/Cargo.toml",
            Some("MANIFEST [dependencies]\naxum = \"0.8\""),
            "crates/policy/Cargo.toml:6: law 4 (foreign shapes stay at the edge): only local may depend on `axum`",
        ),
        ("a clock", "crates/local/src/a.rs", Some("\nfn f() { Instant::now() }"), "crates/local/src/a.rs:2: law 2"),
        (
            "randomness",
            "crates/local/src/a.rs",
            Some("fn f() { rand::thread_rng() }"),
            "crates/local/src/a.rs:1: law 2",
        ),
        (
            "a lifted ban",
            "crates/local/src/a.rs",
            Some("#[expect(clippy::disallowed_methods, reason = \"x\")]"),
            "crates/local/src/a.rs:1: law 2 (time comes in): the ban on clocks is lifted",
        ),
        ("no ban", "clippy.toml", Some("[\"std::time::SystemTime::now\"]"), "clippy.toml:1: law 2"),
        (
            "a forged permit",
            "crates/local/tests/a.rs",
            Some("fn f() {\n    let p = policy::Permit { id: 1 };\n}"),
            "crates/local/tests/a.rs:2: law 3 (only policy permits): `Permit {` outside the file that mints it",
        ),
        (
            "a derived copy",
            "crates/policy/src/permit.rs",
            Some(
                "/// ```compile_fail\n/// x::Permit {}\n/// ```\n#[derive(\n    Debug,\n    Clone,\n)]\npub struct Permit { id: u64 }",
            ),
            "crates/policy/src/permit.rs:8: law 3 (only policy permits): `Permit` must not be `Clone`",
        ),
        (
            "a written copy",
            "crates/policy/src/more.rs",
            Some("impl<'de> Deserialize<'de> for Permit {}"),
            "crates/policy/src/more.rs:1: law 3 (only policy permits): `Permit` must not be `Deserialize`",
        ),
        (
            "a public field",
            "crates/policy/src/permit.rs",
            Some("/// compile_fail x::Permit {}\npub struct Permit { pub id: u64 }"),
            "crates/policy/src/permit.rs:2: law 3 (only policy permits): `Permit` has a public field",
        ),
        (
            "no proof",
            "crates/policy/src/permit.rs",
            Some("pub struct Permit { id: u64 }"),
            "crates/policy/src/permit.rs:1: law 3 (only policy permits): no `compile_fail` example",
        ),
        ("no permit", "crates/policy/src/permit.rs", None, "layout.toml:1: law 3"),
        (
            "acting elsewhere",
            "crates/local/src/a.rs",
            Some("fn f() {\n    self.driver.perform(&leave);\n}"),
            "crates/local/src/a.rs:2: law 5 (the ledger comes first): `driver.perform(` belongs in",
        ),
        (
            "redeeming elsewhere",
            "crates/aegis/src/main.rs",
            Some("//! Doc.\nfn f() { permit.redeem(now) }"),
            "crates/aegis/src/main.rs:2: law 5",
        ),
        (
            "a folder without a row",
            "crates/new/Cargo.toml",
            Some("MANIFEST "),
            "crates/new/Cargo.toml:1: shape: crate `new` has no floor",
        ),
        (
            "a row without a folder",
            "crates/sim/Cargo.toml",
            None,
            "layout.toml:1: shape: crate `sim` has a row but no folder",
        ),
        ("no module doc", "crates/sim/src/lib.rs", Some("mod a;"), "crates/sim/src/lib.rs:1: shape: opens without"),
        ("mod.rs", "crates/sim/src/a/mod.rs", Some(""), "crates/sim/src/a/mod.rs:1: shape: write `foo.rs`"),
        (
            "a name that is gone",
            "ARCHITECTURE.md",
            Some("Then\n`policy::permit::Permit` and `policy::Permit::redeemed(now)` do."),
            "ARCHITECTURE.md:2: documents: `policy::Permit::redeemed`: crate `policy` has no `redeemed`",
        ),
        (
            "no lints",
            "crates/sim/Cargo.toml",
            Some("[package]\nname = \"aegis-sim\""),
            "crates/sim/Cargo.toml:1: shape: the workspace's lints",
        ),
        (
            "another name",
            "crates/sim/Cargo.toml",
            Some("[package]\nname = \"simulator\"\n[lints]\nworkspace = true"),
            "crates/sim/Cargo.toml:1: shape: package `simulator`",
        ),
    ] {
        let found = findings(&[(path, text)]);
        assert!(found.iter().any(|line| line.starts_with(want)), "{case}: {found:#?}");
        if !matches!(case, "a folder without a row") {
            assert_eq!(found.len(), 1, "{case}: {found:#?}");
        }
    }
}

#[test]
fn every_key_of_the_configuration_is_described() {
    let shape = "pub(super) struct StoreFile {\n    /// Days.\n    days: Option<u32>,\n    pub(super) size: u32,\n}\nstruct Else {\n    other: u32,\n}";
    for (case, text, want) in [
        ("all", "| `store.days` | x |\n| `size` |", vec![]),
        ("one is missing", "| `days` |", vec!["crates/aegis/src/config/file.rs:4: documents: key `size`"]),
    ] {
        let found =
            findings(&[("crates/aegis/src/config/file.rs", Some(shape)), ("docs/reference/config.md", Some(text))]);
        assert_eq!(found.len(), want.len(), "{case}: {found:#?}");
        assert!(found.iter().zip(&want).all(|(found, want)| found.starts_with(want)), "{case}: {found:#?}");
    }
}

#[test]
fn what_is_no_breach_is_let_be() {
    for (case, path, text) in [
        (
            "a comment",
            "crates/local/src/a.rs",
            "// Instant::now()\n/* SystemTime::now() /* nested */ Instant::now() */",
        ),
        (
            "a string",
            "crates/local/src/a.rs",
            "const A: &str = \"Instant::now\"; const B: &str = r#\"thread_rng \"\"#;",
        ),
        ("a longer word", "crates/local/src/a.rs", "fn f() { Instant::nowhere(); my_thread_rng() }"),
        (
            "a function's answer",
            "crates/local/src/a.rs",
            "fn f() -> policy::Permit {\n}\nfn g<'a>() -> &'a Permit {\n}",
        ),
        ("an impl", "crates/local/src/a.rs", "impl Act for Permit {}"),
        ("another type", "crates/local/src/a.rs", "fn f() { Permitted { id: 1 }; PermitError {} }"),
        (
            "acting in a test",
            "crates/local/src/a.rs",
            "fn f() {}\n#[cfg(test)]\nmod tests {\n    fn g() { permit.redeem(now) }\n}",
        ),
        ("acting in a test file", "crates/local/src/a/tests.rs", "fn g() { driver.perform(&leave) }"),
        ("acting in an example", "crates/local/examples/a.rs", "fn g() { driver.perform(&leave) }"),
        ("acting in a made-up world", "crates/sim/src/a.rs", "fn g() { driver.perform(&permit.redeem(now)) }"),
        ("a look to the side in tests", "crates/sim/Cargo.toml", "MANIFEST [dev-dependencies]\nlocal.workspace = true"),
        (
            "names that are there",
            "ARCHITECTURE.md",
            "`policy::permit::Permit::redeem(self, now)`, `std::io::Error` and `a::b`",
        ),
        ("code shared by tests", "crates/local/tests/common/mod.rs", ""),
    ] {
        assert_eq!(findings(&[(path, Some(text))]), Vec::<String>::new(), "{case}");
    }
}

#[test]
fn literals_and_comments_are_not_code() {
    // What is not code is between the bars, which are removed before the text is read.
    for (case, text) in [
        ("line comment", "a |// b|\nc"),
        ("nested comment", "a |/* b /* c */ d */| e"),
        ("escaped quote", r#"a(|"\"x"|) b"#),
        ("raw string", "|r##\"a\"# b\"##| c"),
        ("byte string", "f(|b\"x\"|)"),
        ("characters", r#"|'a'| |'\''| |'\u{1}'| b|'"'| x"#),
        ("lifetime", "&'a str, 'b: loop"),
        ("raw identifier", "r#type"),
        ("no end", "a |\"b|"),
        ("word that ends in r", "for|\"x\"|"),
    ] {
        let want: String = text
            .split('|')
            .enumerate()
            .map(|(at, part)| if at % 2 == 0 { part.to_owned() } else { " ".repeat(part.len()) })
            .collect();
        let code = Source::new("x", Path::new("crates/x/src/lib.rs"), text.replace('|', "")).code;
        assert_eq!(code, want, "{case}");
    }
}

#[test]
fn a_word_stands_by_itself() {
    for (case, line, word, count) in [
        ("alone", "Instant::now()", "Instant::now", 1),
        ("part of a longer one", "MyInstant::now_then()", "Instant::now", 0),
        ("a call", "a.redeem(b).redeem(c)", ".redeem(", 2),
    ] {
        assert_eq!(words(line, word).count(), count, "{case}");
    }
}

#[test]
fn long_files_are_only_warned_about() {
    let folder = tempfile::tempdir().unwrap();
    let member = Member {
        name: "x".into(),
        manifest: "crates/x/Cargo.toml".into(),
        package: "aegis-x".into(),
        takes_lints: true,
        dependencies: Vec::new(),
    };
    std::fs::create_dir_all(folder.path().join("crates/x/src")).unwrap();
    std::fs::write(folder.path().join("crates/x/src/lib.rs"), format!("//! Doc.\n{}", "\n".repeat(900))).unwrap();
    let sources = Source::all_of(folder.path(), &member).unwrap();
    let (mut findings, mut warnings) = (Vec::new(), Vec::new());
    shape::files(&[member], &sources, &mut findings, &mut warnings);
    assert_eq!((findings.len(), warnings.len()), (0, 1));
}
