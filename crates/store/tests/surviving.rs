//! What a store still answers after crashes, faults and damage.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may fail loudly")]

mod common;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aegis_store::{AppendError, Disk, Fault, Fsync, MemoryDisk, OpenError, OsDisk, RetainError, Store, StoreSettings};
use common::{DIR, answers, everything, expected, lines, open, open_with, series, settings, span, spans};
use proptest::prelude::*;
use signal::{TimeRange, Timestamp, WriteBatch};

fn batches(count: i64) -> Vec<WriteBatch> {
    (1..=count).map(everything).collect()
}

fn small_segments() -> StoreSettings {
    StoreSettings { segment_bytes: 600, ..settings() }
}

fn write_all(store: &Store, batches: &[WriteBatch]) {
    for batch in batches {
        store.append(std::slice::from_ref(batch)).unwrap();
    }
}

fn segment(signal: &str, number: u32) -> PathBuf {
    Path::new(DIR).join(signal).join(format!("{number:08}.seg"))
}

fn try_open(disk: &MemoryDisk) -> Result<Store, OpenError> {
    Store::open(Path::new(DIR), settings(), Arc::new(disk.clone()))
}

#[test]
fn a_restart_changes_no_answer() {
    for (case, settings, how) in [
        ("closed", settings(), "drop"),
        ("killed", settings(), "kill"),
        ("power lost", settings(), "power"),
        ("many segments", small_segments(), "power"),
        ("killed without fsync", StoreSettings { fsync: Fsync::Never, ..small_segments() }, "kill"),
    ] {
        let disk = MemoryDisk::new();
        let mut written = Vec::new();
        let mut store = open_with(&disk, settings.clone());
        // Written on after each restart: the second life appends to what the first one left.
        for round in 0..3 {
            let more: Vec<_> = (1..=20).map(|number| everything(round * 20 + number)).collect();
            write_all(&store, &more);
            written.extend(more);
            match how {
                "drop" => drop(store),
                "kill" => disk.kill(),
                _ => disk.restart(),
            }
            store = open_with(&disk, settings.clone());
            assert_eq!(answers(&store.snapshot()), expected(&written), "{case}, round {round}");
        }
        assert_eq!(store.status().problems, [], "{case}");
    }
}

#[test]
fn a_crash_at_any_operation_leaves_a_prefix_with_everything_acknowledged() {
    let batches = batches(8);
    let prefixes: Vec<_> = (0..=batches.len()).map(|count| expected(&batches[..count])).collect();
    let operations = {
        let disk = MemoryDisk::new();
        write_all(&open_with(&disk, small_segments()), &batches);
        disk.operations()
    };
    assert!(operations > 50);
    for at in 0..operations {
        for kept in [0, 1, 9, 40, usize::MAX] {
            let disk = MemoryDisk::new();
            disk.arm(at, Fault::PowerLoss { kept });
            let mut acknowledged = 0;
            if let Ok(store) = Store::open(Path::new(DIR), small_segments(), Arc::new(disk.clone())) {
                acknowledged =
                    batches.iter().take_while(|batch| store.append(std::slice::from_ref(batch)).is_ok()).count();
            }
            disk.restart();
            let store = open_with(&disk, small_segments());
            let found = answers(&store.snapshot());
            let prefix = prefixes.iter().rposition(|prefix| *prefix == found);
            assert!(
                prefix.is_some_and(|prefix| prefix == acknowledged || prefix == acknowledged + 1),
                "operation {at}, {kept} bytes kept: {acknowledged} acknowledged, found {prefix:?}"
            );
            // And life goes on.
            write_all(&store, &batches);
            drop(store);
            assert_eq!(
                answers(&open_with(&disk, small_segments()).snapshot()),
                prefixes[batches.len()],
                "operation {at}"
            );
        }
    }
}

#[test]
fn a_failed_operation_is_taken_back() {
    let batches = batches(8);
    let operations = {
        let disk = MemoryDisk::new();
        write_all(&open_with(&disk, small_segments()), &batches);
        disk.operations()
    };
    for at in 0..operations {
        for kept in [0, 5, 100] {
            let disk = MemoryDisk::new();
            disk.arm(at, Fault::Fails { kind: ErrorKind::Other, kept });
            let Ok(store) = Store::open(Path::new(DIR), small_segments(), Arc::new(disk.clone())) else { continue };
            let mut kept_batches = Vec::new();
            for batch in &batches {
                match store.append(std::slice::from_ref(batch)) {
                    Ok(_) => kept_batches.push(batch.clone()),
                    Err(AppendError::Io { .. }) => {}
                    Err(error) => panic!("operation {at}: {error}"),
                }
            }
            let want = expected(&kept_batches);
            assert!(kept_batches.len() + 1 >= batches.len(), "operation {at}");
            assert_eq!(answers(&store.snapshot()), want, "operation {at}");
            disk.restart();
            assert_eq!(
                answers(&open_with(&disk, small_segments()).snapshot()),
                want,
                "operation {at}, after a restart"
            );
        }
    }
}

#[test]
fn writes_stop_when_a_failure_cannot_be_taken_back() {
    let disk = MemoryDisk::new();
    let store = open(&disk);
    write_all(&store, &batches(2));
    // A full disk spoils the append, then the armed fault spoils the truncation.
    disk.set_capacity(Some(0));
    disk.arm(1, Fault::Fails { kind: ErrorKind::Other, kept: 0 });
    assert!(matches!(store.append(&[everything(3)]), Err(AppendError::DiskFull { .. })));
    disk.set_capacity(None);
    let stopped = store.append(&[everything(4)]).unwrap_err();
    assert!(matches!(stopped, AppendError::Stopped { .. }));
    assert!(store.status().stopped.is_some());
    assert_eq!(answers(&store.snapshot()), expected(&batches(2)));
    drop(store);
    let store = open(&disk);
    store.append(&[everything(3)]).unwrap();
    assert_eq!(answers(&store.snapshot()), expected(&batches(3)));
}

#[test]
fn a_full_disk_refuses_and_recovers() {
    let disk = MemoryDisk::new();
    let store = open(&disk);
    write_all(&store, &batches(3));
    let used = store.status();
    let used = used.metrics.disk_bytes + used.logs.disk_bytes + used.traces.disk_bytes;
    for room in 0..400 {
        disk.set_capacity(Some(used + room));
        match store.append(&[everything(4)]) {
            Err(AppendError::DiskFull { .. }) => {}
            Ok(_) => break,
            Err(error) => panic!("{room}: {error}"),
        }
        assert_eq!(answers(&store.snapshot()), expected(&batches(3)), "{room}");
    }
    disk.set_capacity(None);
    write_all(&store, &batches(5));
    assert_eq!(answers(&store.snapshot()).series, expected(&batches(5)).series);
    drop(store);
    assert_eq!(answers(&open(&disk).snapshot()).series, expected(&batches(5)).series);
}

#[test]
fn a_torn_tail_is_cut_and_counted() {
    let disk = MemoryDisk::new();
    write_all(&open(&disk), &batches(3));
    let file = segment("metrics", 1);
    let mut bytes = disk.read(&file).unwrap();
    bytes.extend([9, 0, 0, 0, 1, 2, 3]);
    disk.put(&file, bytes);
    let store = open(&disk);
    assert_eq!(store.status().metrics.dropped_bytes, 7);
    assert_eq!(answers(&store.snapshot()), expected(&batches(3)));
    write_all(&store, &batches(4)[3..]);
    drop(store);
    assert_eq!(answers(&open(&disk).snapshot()), expected(&batches(4)));
}

#[test]
fn damage_in_an_older_segment_costs_only_its_rest() {
    let disk = MemoryDisk::new();
    let store = open_with(&disk, small_segments());
    write_all(&store, &batches(120));
    assert!(store.status().metrics.segments >= 3);
    drop(store);
    let file = segment("metrics", 2);
    let mut bytes = disk.read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    let damaged = bytes.clone();
    disk.put(&file, bytes);
    let store = open_with(&disk, small_segments());
    let problems = store.status().problems;
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].file, file);
    assert!(problems[0].offset >= 16 && problems[0].offset <= middle as u64);
    let found = answers(&store.snapshot());
    let whole = expected(&batches(120));
    assert_eq!((found.streams, found.traces, found.metadata), (whole.streams, whole.traces, whole.metadata));
    for (labels, samples) in &found.series {
        let all = &whole.series.iter().find(|(known, _)| known == labels).unwrap().1;
        assert!(samples.iter().all(|sample| all.contains(sample)), "{labels}");
    }
    // The file is evidence: it stays as it is, and new data goes elsewhere.
    write_all(&store, &batches(121)[120..]);
    assert_eq!(disk.read(&file).unwrap(), damaged);
}

#[test]
fn damage_before_finished_writes_of_the_newest_segment_is_kept_for_repair() {
    let disk = MemoryDisk::new();
    write_all(&open(&disk), &batches(10));
    let file = segment("logs", 1);
    let mut bytes = disk.read(&file).unwrap();
    bytes[30] ^= 1;
    disk.put(&file, bytes.clone());
    let store = open(&disk);
    assert_eq!(store.status().problems.len(), 1);
    assert_eq!(store.status().logs.dropped_bytes, 0);
    store.append(&[lines(&[("app", "new")], &[(1, "after")])]).unwrap();
    assert_eq!(disk.read(&file).unwrap(), bytes);
    drop(store);
    assert_eq!(open(&disk).status().logs.items, 1);
}

#[test]
fn a_newer_format_is_named_and_left_alone() {
    let disk = MemoryDisk::new();
    write_all(&open(&disk), &batches(1));
    let file = segment("traces", 1);
    let mut bytes = disk.read(&file).unwrap();
    bytes[6] = 3;
    let crc = crc32c::crc32c(&bytes[..12]).to_le_bytes();
    bytes[12..16].copy_from_slice(&crc);
    disk.put(&file, bytes);
    let error = try_open(&disk).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`/data/traces/00000001.seg` has format version 3; this version of Aegis reads up to 2"
    );
}

#[test]
fn a_directory_has_one_owner() {
    let dir = tempfile::tempdir().unwrap();
    for (case, disk) in [("memory", Arc::new(MemoryDisk::new()) as Arc<dyn Disk>), ("real", Arc::new(OsDisk))] {
        let first = Store::open(dir.path(), settings(), Arc::clone(&disk)).unwrap();
        let second = Store::open(dir.path(), settings(), Arc::clone(&disk));
        assert!(matches!(second, Err(OpenError::InUse { .. })), "{case}");
        drop(first);
        Store::open(dir.path(), settings(), disk).unwrap();
    }
}

#[test]
fn a_real_directory_keeps_everything() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("new").join("data");
    for fsync in [Fsync::Always, Fsync::Never] {
        let settings = StoreSettings { fsync, ..small_segments() };
        let store = Store::open(&path, settings.clone(), Arc::new(OsDisk)).unwrap();
        write_all(&store, &batches(30));
        let before = answers(&store.snapshot());
        drop(store);
        let store = Store::open(&path, settings, Arc::new(OsDisk)).unwrap();
        assert_eq!(answers(&store.snapshot()), before);
    }
}

#[test]
fn retention_drops_the_same_on_disk_and_in_memory() {
    let minute = Duration::from_secs(60);
    for (case, retention, max_bytes, now, drops_all_but_newest) in [
        ("nothing is old", 60 * minute, u64::MAX, 300_000, false),
        ("by age", minute, u64::MAX, 300_000, false),
        ("everything is old", minute, u64::MAX, 10_000_000, true),
        ("by size", 60 * minute, 1500, 300_000, false),
        ("no room at all", 60 * minute, 0, 300_000, true),
    ] {
        let disk = MemoryDisk::new();
        let settings = StoreSettings { retention, max_bytes, ..small_segments() };
        let store = open_with(&disk, settings.clone());
        for ten in batches(30).chunks(10) {
            write_all(&store, ten);
            store.flush().unwrap();
        }
        let (before, held) = (store.status(), store.snapshot());
        let retained = store.retain(Timestamp(now)).unwrap();
        let after = store.status();
        let segments =
            |status: &aegis_store::StoreStatus| status.metrics.blocks + status.logs.blocks + status.traces.segments;
        assert_eq!(segments(&before) - segments(&after), retained.segments, "{case}");
        assert_eq!(retained.segments == 0, case == "nothing is old", "{case}");
        assert_eq!(segments(&after) == 3, drops_all_but_newest, "{case}");
        assert_eq!(store.snapshot().metadata().len(), 1, "{case}");
        assert_eq!(answers(&held), expected(&batches(30)), "{case}: what is being read stays");
        write_all(&store, &batches(33)[30..]);
        let live = answers(&store.snapshot());
        drop(store);
        let store = open_with(&disk, settings);
        let found = answers(&store.snapshot());
        assert_eq!((found.series, found.traces), (live.series, live.traces), "{case}");
        // Which lines are too old is a question of the time, which is not kept.
        store.retain(Timestamp(now)).unwrap();
        assert_eq!(answers(&store.snapshot()).streams, live.streams, "{case}");
        assert_eq!(store.status().problems, [], "{case}");
    }
}

#[test]
fn little_traffic_is_forgotten_in_time_too() {
    let day = 24 * 3_600_000;
    let disk = MemoryDisk::new();
    let settings = StoreSettings { retention: Duration::from_secs(8 * 24 * 3600), ..settings() };
    let mut store = open_with(&disk, settings.clone());
    for hour in 0..40 * 24 {
        let at = hour * 3_600_000;
        store.append(&[series(&[("__name__", "m")], &[(at, 1.0)])]).unwrap();
        store.maintain(Timestamp(at)).unwrap();
        store.retain(Timestamp(at)).unwrap();
        if hour % 100 == 0 {
            drop(store);
            store = open_with(&disk, settings.clone());
        }
        let oldest = store.status().metrics.oldest.unwrap();
        assert!(at - oldest.0 <= 9 * day + 4 * 3_600_000, "at hour {hour}");
        assert!(store.status().metrics.blocks < 24 && store.status().metrics.segments < 4, "at hour {hour}");
    }
}

#[test]
fn retention_that_fails_halfway_tells_the_truth() {
    let disk = MemoryDisk::new();
    let settings = StoreSettings { max_bytes: 0, ..small_segments() };
    let store = open_with(&disk, settings.clone());
    write_all(&store, &batches(30));
    disk.arm(2, Fault::Fails { kind: ErrorKind::PermissionDenied, kept: 0 });
    assert!(matches!(store.retain(Timestamp(0)), Err(RetainError::Io { .. })));
    let live = answers(&store.snapshot());
    drop(store);
    let store = open_with(&disk, settings);
    assert_eq!(answers(&store.snapshot()), live);
    store.retain(Timestamp(0)).unwrap();
    assert_eq!(store.status().traces.segments, 1);
}

#[test]
fn an_attribute_beyond_reason_is_refused_whole() {
    let store = open(&MemoryDisk::new());
    let mut deep = signal::AttributeValue::Bool(true);
    for _ in 0..100 {
        deep = signal::AttributeValue::List(vec![deep]);
    }
    let mut odd = span(1, 1, 0, 1);
    odd.attributes.push(("deep".to_owned(), deep));
    let mut batch = series(&[("__name__", "m")], &[(1, 1.0)]);
    batch.merge(spans(vec![odd]));
    assert!(matches!(store.append(&[batch]), Err(AppendError::TooDeep { limit: 64, .. })));
    assert!(store.snapshot().select(&[], TimeRange::all()).is_empty());
    store.append(&[everything(1)]).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_damage_is_survived(at in any::<prop::sample::Index>(), which in any::<prop::sample::Index>(), flip in 1_u8.., cut in any::<bool>()) {
        let disk = MemoryDisk::new();
        write_all(&open_with(&disk, small_segments()), &batches(12));
        let files: Vec<_> = disk.files().into_iter().filter(|file| file.extension().is_some()).collect();
        let file = which.get(&files);
        let mut bytes = disk.read(file).unwrap();
        let at = at.index(bytes.len());
        if cut {
            bytes.truncate(at);
        } else {
            bytes[at] ^= flip;
        }
        disk.put(file, bytes);
        let store = open_with(&disk, small_segments());
        let live = answers(&store.snapshot());
        drop(store);
        prop_assert_eq!(answers(&open_with(&disk, small_segments()).snapshot()), live);
    }

    #[test]
    fn any_bytes_can_be_opened(bytes in proptest::collection::vec(any::<u8>(), 0..400), signal in 0_usize..3, crc in any::<bool>()) {
        let disk = MemoryDisk::new();
        write_all(&open(&disk), &batches(1));
        let file = segment(["metrics", "logs", "traces"][signal], 1);
        let mut content = disk.read(&file).unwrap();
        content.truncate(16);
        if crc {
            // A frame whose checksum holds, around nonsense.
            let mut payload = vec![0_u8];
            payload.extend(&bytes);
            content.extend((payload.len() as u32).to_le_bytes());
            content.extend(crc32c::crc32c(&payload).to_le_bytes());
            content.extend(payload);
        } else {
            content.extend(&bytes);
        }
        disk.put(&file, content);
        let store = open(&disk);
        drop(answers(&store.snapshot()));
        store.append(&[everything(2)]).unwrap();
    }
}
