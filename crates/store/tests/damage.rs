//! Lines on a disk that changed by itself: what is named, what is served, what is kept.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may fail loudly")]

mod common;

use std::collections::BTreeSet;
use std::path::Path;

use aegis_store::{Disk, MemoryDisk};
use common::written::{blocks, found, rounds, write, write_round};
use common::{DIR, open};
use signal::Timestamp;

#[test]
fn a_damaged_block_is_named_and_the_rest_served() {
    let pristine = MemoryDisk::new();
    let store = open(&pristine);
    for round in 0..2 {
        write_round(&store, round);
        store.flush().unwrap();
    }
    drop(store);
    let file = blocks(&pristine)[0].clone();
    let good = pristine.read(&file).unwrap();
    let whole = rounds(2);
    let (mut named, mut tried) = (0, 0);
    for at in (0..good.len()).step_by(good.len() / 150 + 1) {
        let disk = MemoryDisk::new();
        for other in pristine.files().iter().filter(|other| other.file_name().is_some_and(|name| name != "lock")) {
            disk.put(other, pristine.read(other).unwrap());
        }
        let mut bytes = good.clone();
        bytes[at] ^= 0x20;
        disk.put(&file, bytes);
        let store = open(&disk);
        let found_now = found(&store);
        for (labels, lines) in &found_now {
            let all: BTreeSet<_> = whole[labels].iter().collect();
            assert!(lines.iter().all(|line| all.contains(line)), "byte {at}: {labels}");
            assert!(lines.len() >= 30, "byte {at}: the other block is served");
        }
        tried += 1;
        if found_now != whole {
            let problems = store.status().problems;
            assert_eq!(problems.len(), 1, "byte {at}");
            assert_eq!(problems[0].file.with_extension("block"), file, "byte {at}");
            named += 1;
        }
        // Writing, moving and merging go on.
        write_round(&store, 2);
        store.flush().unwrap();
        let _ = store.maintain(Timestamp(0));
    }
    assert!(named * 3 > tried, "{named} of {tried}");
}

#[test]
fn a_damaged_log_is_kept_when_the_rest_moves_to_blocks() {
    let pristine = MemoryDisk::new();
    let store = open(&pristine);
    for at in 0..40 {
        write(&store, "a", &[(at, "some line")]);
    }
    drop(store);
    let file = Path::new(DIR).join("logs/00000001.seg");
    let good = pristine.read(&file).unwrap();
    // A bit of the content and one of a length, somewhere in the first half.
    for at in [good.len() / 3, good.len() / 3 + 1, good.len() / 3 + 2, good.len() / 3 + 3, good.len() / 2] {
        let disk = MemoryDisk::new();
        let mut bytes = good.clone();
        bytes[at] ^= 0x04;
        disk.put(&file, bytes.clone());
        let store = open(&disk);
        assert_eq!(store.status().problems.len(), 1, "byte {at}");
        let before: usize = found(&store).values().map(Vec::len).sum();
        assert!((1..40).contains(&before), "byte {at}: {before} lines");
        write(&store, "a", &[(100, "a new line")]);
        store.flush().unwrap();
        let after: usize = found(&store).values().map(Vec::len).sum();
        assert_eq!(after, before + 1, "byte {at}");
        // What was not read is still there, and somebody is told where.
        let aside = file.with_extension("damaged");
        assert_eq!(disk.read(&aside).unwrap(), bytes, "byte {at}");
        assert_eq!(store.status().problems[0].file, aside, "byte {at}");
    }
}
