//! Segments of every released format, read by today's code.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may fail loudly")]

mod common;

use std::path::{Path, PathBuf};

use aegis_store::{Disk, MemoryDisk};
use common::{DIR, answers, everything, expected, open};
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
