//! Lines that tests of several files write, and everything a store answers about them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use aegis_store::{MemoryDisk, Store};
use signal::Nanos;

use super::lines;

/// Everything a store answers about lines: by stream, in order, without metadata.
pub fn found(store: &Store) -> BTreeMap<String, Vec<(i64, String)>> {
    let streams = store.snapshot().streams(&[], Nanos(i64::MIN), Nanos(i64::MAX));
    let of = |stream: &aegis_store::Stream| stream.lines.iter().map(|line| (line.at.0, line.line.clone())).collect();
    streams.iter().map(|stream| (stream.labels.to_string(), of(stream))).collect()
}

pub fn write(store: &Store, app: &str, texts: &[(i64, &str)]) {
    store.append(&[lines(&[("app", app)], texts)]).unwrap();
}

/// Many lines of three streams, `round` after `round`, out of order and some of them twice.
pub fn write_round(store: &Store, round: i64) {
    for part in 0..30 {
        for (app, count) in [("api", 100), ("web", 20), ("cron", 1)] {
            let texts: Vec<(i64, String)> = (0..count)
                .map(|number| {
                    let at = (round * 3_000 + part * 100 + (number * 37) % 100) * 1_000;
                    (at, format!(r#"{{"level":"info","number":{number},"msg":"line of {app}"}}"#))
                })
                .collect();
            let texts: Vec<(i64, &str)> = texts.iter().map(|(at, text)| (*at, text.as_str())).collect();
            write(store, app, &texts);
        }
    }
}

pub fn rounds(count: i64) -> BTreeMap<String, Vec<(i64, String)>> {
    let store = Store::in_memory();
    (0..count).for_each(|round| write_round(&store, round));
    found(&store)
}

pub fn blocks(disk: &MemoryDisk) -> Vec<PathBuf> {
    let is_one =
        |file: &PathBuf| file.starts_with("/data/logs") && file.extension().is_some_and(|name| name == "block");
    disk.files().into_iter().filter(is_one).collect()
}
