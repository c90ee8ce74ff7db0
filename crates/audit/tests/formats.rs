//! Every released format of the ledger can still be read.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use audit::{LEDGER_FILE, Ledger, fold, read};
use control::{Conductor, Effect, Input, Settings};
use detect::{State, Transition};
use diagnose::{Answer, Evidence, Item};
use policy::{LimitSettings, Policy};
use signal::{Labels, Severity, Timestamp};
use store::{Disk, OsDisk};

use aegis_audit as audit;

fn v1() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/formats/v1").join(LEDGER_FILE)
}

#[test]
fn a_ledger_of_version_1_is_read() {
    let records = read(&std::fs::read(v1()).unwrap()).unwrap();
    assert_eq!(records.len(), 5);
    let timeline = fold(&records);
    assert_eq!(timeline.incidents.len(), 1);
    assert_eq!(timeline.incidents.first().unwrap().state, "closed");
}

/// Writes the file above. Run by hand when, and only when, the format changes: into the folder of the new version.
#[test]
#[ignore = "writes a file of the repository"]
fn write_the_file() {
    let dir = v1().parent().unwrap().to_owned();
    OsDisk.create_dir_all(&dir).unwrap();
    let (mut ledger, _) = Ledger::open(&dir, &OsDisk).unwrap();
    let mut conductor = Conductor::new();
    let at = |seconds: i64| Timestamp(1_706_189_400_000 + seconds * 1000);
    let alert = |state, seconds| {
        Input::Alert(Transition {
            alert: "Anomaly".to_owned(),
            service: "backend".to_owned(),
            metric: "error_rate".to_owned(),
            labels: Labels::from_pairs([("service", "backend")]),
            state,
            at: at(seconds),
            onset: at(5),
            severity: Severity::High,
            pages: true,
            value: 0.24,
            expected: Some(0.004),
            summary: "error rate of backend is 24 %, usually 0.4 %".to_owned(),
        })
    };
    let settings = Settings { gather_again: Duration::from_secs(5), ..Settings::default() };
    let policies = vec![("default.cedar".to_owned(), Policy::default_text().to_owned())];
    let mut hear = |input: Input, seconds| {
        let effects = conductor.handle(input.clone(), at(seconds));
        let records: Vec<_> = effects.iter().map(Effect::record).collect();
        ledger.heard(at(seconds), &input, &records).unwrap();
        effects
    };
    hear(Input::Configured { version: "0.1.0".to_owned(), settings, limits: LimitSettings::default(), policies }, 0);
    let effects = hear(alert(State::Fired, 20), 20);
    let asked = effects.into_iter().find_map(|effect| match effect {
        Effect::Gather { incident, questions } => Some((incident, questions)),
        _ => None,
    });
    let (incident, questions) = asked.expect("an incident asks for evidence");
    let unavailable = |question| Item { question, answer: Answer::Unavailable("no such server".to_owned()) };
    let evidence = Evidence { gathered_at: at(21), items: questions.into_iter().map(unavailable).collect() };
    hear(Input::Gathered { incident, evidence }, 21);
    hear(Input::Paused { by: "alice".to_owned(), paused: true }, 22);
    hear(alert(State::Resolved, 23), 23);
}
