//! Segments of every released format, read by today's code.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may fail loudly")]

mod common;

use std::path::{Path, PathBuf};

use aegis_store::{Disk, MemoryDisk};
use common::{DIR, answers, everything, expected, lines, open};
use signal::WriteBatch;

const SIGNALS: [&str; 3] = ["metrics", "logs", "traces"];
/// What the files of every version were written from.
const BATCHES: std::ops::RangeInclusive<i64> = 1..=5;

fn written() -> Vec<WriteBatch> {
    BATCHES.map(everything).collect()
}

fn files(version: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/formats").join(version)
}

fn place(signal: &str) -> PathBuf {
    Path::new(DIR).join(signal).join("00000001.seg")
}

#[test]
fn every_released_format_is_read() {
    for version in ["v1", "v2"] {
        let disk = MemoryDisk::new();
        for signal in SIGNALS {
            disk.put(&place(signal), std::fs::read(files(version).join(format!("{signal}.seg"))).unwrap());
        }
        let store = open(&disk);
        assert_eq!(store.status().problems, [], "{version}");
        assert_eq!(answers(&store.snapshot()), expected(&written()), "{version}");
    }
}

/// Run once for a new version, before its release: `cargo test -p aegis-store --test formats -- --ignored`.
#[test]
#[ignore = "writes the files of a new format; never over existing ones"]
fn write_files_of_the_current_format() {
    let disk = MemoryDisk::new();
    let store = open(&disk);
    written().into_iter().for_each(|batch| drop(store.append(&[batch]).unwrap()));
    let version = disk.read(&place("metrics")).unwrap()[6];
    let dir = files(&format!("v{version}"));
    std::fs::create_dir_all(&dir).unwrap();
    for signal in SIGNALS {
        let file = dir.join(format!("{signal}.seg"));
        assert!(!file.exists(), "{} is there", file.display());
        std::fs::write(file, disk.read(&place(signal)).unwrap()).unwrap();
    }
}

/// Where the files of a version of the blocks of lines are.
fn blocks_of_lines(version: u16) -> PathBuf {
    files(&format!("lines-v{version}"))
}

const BLOCK_FILES: [&str; 2] = ["manifest", "00000001.block"];

fn place_of_block(file: &str) -> PathBuf {
    Path::new(DIR).join("logs/blocks").join(file)
}

/// Lines of every shape: of two kinds of fields, of none, of few and of many, with metadata and without.
fn lines_of_every_shape() -> Vec<WriteBatch> {
    let mut batches = Vec::new();
    for number in 0..300_i64 {
        let at = number * 1_000_000_007;
        let trace = format!("{:032x}", number.wrapping_mul(0x1e37_79b9_7f4a_7c15));
        let json = format!(
            r#"{{"ts":"1970-01-01T00:{:02}:{:02}.5Z","level":"{}","trace_id":"{trace}","ms":{}.{:02},"at":{{"line":{number}}},"text":"it is\\n done ö"}}"#,
            number / 60,
            number % 60,
            ["info", "warn"][number as usize % 2],
            number % 9,
            number % 100,
        );
        let logfmt = format!(r#"level=info user=u-{} msg="took a while" took={}ms"#, number % 7, number * 3);
        batches.push(lines(&[("app", "api"), ("form", "json")], &[(at, &json)]));
        batches.push(lines(&[("app", "api"), ("form", "logfmt")], &[(at, &logfmt), (at + 1, &logfmt)]));
        if number % 50 == 0 {
            let plain = format!("panic: index {number} out of range\n\tat main\n");
            batches.push(lines(&[("app", "cron")], &[(at, &plain), (at, ""), (at + 2, "not { json")]));
        }
    }
    batches
}

#[test]
fn every_released_block_of_lines_is_read() {
    for version in 1..=1 {
        let disk = MemoryDisk::new();
        for file in BLOCK_FILES {
            disk.put(&place_of_block(file), std::fs::read(blocks_of_lines(version).join(file)).unwrap());
        }
        let store = open(&disk);
        assert_eq!(store.status().problems, [], "{version}");
        assert_eq!(answers(&store.snapshot()).streams, expected(&lines_of_every_shape()).streams, "{version}");
    }
}

/// Run once for a new version, before its release: `cargo test -p aegis-store --test formats -- --ignored lines`.
#[test]
#[ignore = "writes the files of a new format; never over existing ones"]
fn write_a_block_of_lines_of_the_current_format() {
    let disk = MemoryDisk::new();
    let store = open(&disk);
    lines_of_every_shape().into_iter().for_each(|batch| drop(store.append(&[batch]).unwrap()));
    store.flush().unwrap();
    let version = u16::from(disk.read(&place_of_block("00000001.block")).unwrap()[8]);
    let dir = blocks_of_lines(version);
    std::fs::create_dir_all(&dir).unwrap();
    for file in BLOCK_FILES {
        assert!(!dir.join(file).exists(), "{} is there", dir.join(file).display());
        std::fs::write(dir.join(file), disk.read(&place_of_block(file)).unwrap()).unwrap();
    }
}
