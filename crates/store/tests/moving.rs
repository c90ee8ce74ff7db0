//! Metrics on their way from memory to blocks, and what becomes of the blocks.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may fail loudly")]

mod common;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aegis_store::{
    Amounts, AppendError, Disk, Fault, FlushError, Latest, MemoryDisk, OsDisk, OverLimit, Store, StoreSettings,
};
use common::{DIR, answers, everything, expected, open, open_with, sample, series, settings};
use proptest::prelude::*;
use signal::{
    BucketSpan, Buckets, Histogram, HistogramSample, Labels, MatchOp, Matcher, Sample, SeriesWrite, TimeRange,
    Timestamp, WriteBatch,
};

const DAY: i64 = 24 * 3_600_000;

fn batches(count: i64) -> Vec<WriteBatch> {
    (1..=count).map(everything).collect()
}

fn write_all(store: &Store, batches: &[WriteBatch]) {
    for batch in batches {
        store.append(std::slice::from_ref(batch)).unwrap();
    }
}

fn histogram(at: i64, count: f64) -> HistogramSample {
    let positive = Buckets { spans: vec![BucketSpan { offset: -2, length: 2 }], counts: vec![count, 1.0] };
    let histogram = Histogram { schema: 3, count: count + 1.0, sum: 0.5, positive, ..Histogram::default() };
    HistogramSample { at: Timestamp(at), histogram: Arc::new(histogram) }
}

fn blocks(disk: &MemoryDisk) -> Vec<PathBuf> {
    let is_one =
        |file: &PathBuf| file.starts_with("/data/metrics") && file.extension().is_some_and(|name| name == "block");
    disk.files().into_iter().filter(is_one).collect()
}

#[test]
fn moving_changes_no_answer() {
    let disk = MemoryDisk::new();
    let store = open(&disk);
    let all = batches(60);
    for (round, part) in all.chunks(15).enumerate() {
        write_all(&store, part);
        let held = store.snapshot();
        let want = expected(&all[..(round + 1) * 15]);
        assert_eq!(answers(&store.snapshot()), want, "round {round}, in memory");
        store.flush().unwrap();
        assert_eq!(answers(&store.snapshot()), want, "round {round}, in blocks");
        assert_eq!(answers(&held), want, "round {round}: what is being read stays");
    }
    assert_eq!(store.status().metrics.blocks, 4);
    let names = store.snapshot().label_names(&[], TimeRange::all());
    assert_eq!(names, ["__name__", "job", "pod"]);
    let jobs = store.snapshot().label_values("job", &[], TimeRange::all());
    assert_eq!(jobs, ["api"]);
    assert!(store.maintain(Timestamp(60 * 15_000)).unwrap().compacted);
    assert_eq!(store.status().metrics.blocks, 1);
    assert_eq!(answers(&store.snapshot()), expected(&all), "merged");
    drop(store);
    let store = open(&disk);
    assert_eq!(answers(&store.snapshot()), expected(&all), "after a restart");
    assert_eq!(store.status().problems, []);
    store.flush().unwrap();
    assert_eq!(store.status().metrics.blocks, 1, "nothing is nothing");
}

#[test]
fn a_crash_at_any_operation_loses_nothing() {
    let all = batches(12);
    let run = |disk: &MemoryDisk| -> usize {
        let mut acknowledged = 0;
        let Ok(store) = Store::open(Path::new(DIR), settings(), Arc::new(disk.clone())) else { return 0 };
        for part in all.chunks(3) {
            for batch in part {
                if store.append(std::slice::from_ref(batch)).is_err() {
                    return acknowledged;
                }
                acknowledged += 1;
            }
            if store.flush().is_err() {
                return acknowledged;
            }
        }
        let matcher = Matcher::equal("pod", "p3");
        if store.maintain(Timestamp(0)).is_err() || store.delete(vec![matcher], TimeRange::all()).is_err() {
            return acknowledged;
        }
        let _ = store.clean();
        acknowledged
    };
    let operations = {
        let disk = MemoryDisk::new();
        assert_eq!(run(&disk), all.len());
        disk.operations()
    };
    // Exemplars that move along are written a second time, and may be lost in between.
    let series = |store: &Store| {
        let mut answers = answers(&store.snapshot());
        answers.series.retain(|(labels, _)| labels.get("pod") != Some("p3"));
        (answers.series, answers.streams, answers.traces)
    };
    let prefixes: Vec<_> = (0..=all.len())
        .map(|count| {
            let store = Store::in_memory();
            write_all(&store, &all[..count]);
            series(&store)
        })
        .collect();
    for at in 0..operations {
        for kept in [0, 7, usize::MAX] {
            let disk = MemoryDisk::new();
            disk.arm(at, Fault::PowerLoss { kept });
            let acknowledged = run(&disk);
            disk.restart();
            let store = open(&disk);
            let found = series(&store);
            let prefix = prefixes.iter().rposition(|prefix| *prefix == found);
            assert!(
                prefix.is_some_and(|prefix| prefix == acknowledged || prefix == acknowledged + 1),
                "operation {at}, {kept} bytes kept: {acknowledged} acknowledged, found {prefix:?}"
            );
            assert_eq!(store.status().problems, [], "operation {at}");
            write_all(&store, &all);
            store.flush().unwrap();
            drop(store);
            assert_eq!(series(&open(&disk)), prefixes[all.len()], "operation {at}");
        }
    }
}

#[test]
fn a_failed_move_is_tried_again() {
    let all = batches(6);
    let operations = {
        let disk = MemoryDisk::new();
        let store = open(&disk);
        write_all(&store, &all);
        let before = disk.operations();
        store.flush().unwrap();
        disk.operations() - before
    };
    assert!(operations > 5);
    for at in 0..operations {
        let disk = MemoryDisk::new();
        let store = open(&disk);
        write_all(&store, &all);
        disk.arm(at, Fault::Fails { kind: ErrorKind::Other, kept: 3 });
        let failed = store.flush();
        assert_eq!(answers(&store.snapshot()), expected(&all), "operation {at}: {failed:?}");
        write_all(&store, &batches(8)[6..]);
        store.flush().unwrap();
        assert_eq!(answers(&store.snapshot()), expected(&batches(8)), "operation {at}, again");
        drop(store);
        assert_eq!(answers(&open(&disk).snapshot()), expected(&batches(8)), "operation {at}, after a restart");
    }
}

#[test]
fn a_full_disk_keeps_what_could_not_move() {
    let disk = MemoryDisk::new();
    let store = open(&disk);
    write_all(&store, &batches(10));
    let status = store.status();
    let used = status.metrics.disk_bytes + status.logs.disk_bytes + status.traces.disk_bytes;
    disk.set_capacity(Some(used + 300));
    assert!(matches!(store.flush(), Err(FlushError::Io { .. })));
    assert!(matches!(store.append(&batches(30)[10..]), Err(AppendError::DiskFull { .. })));
    assert_eq!(answers(&store.snapshot()), expected(&batches(10)));
    disk.set_capacity(None);
    store.flush().unwrap();
    write_all(&store, &batches(30)[10..]);
    assert_eq!(answers(&store.snapshot()), expected(&batches(30)));
}

#[test]
fn a_log_larger_than_memory_is_moved_while_it_is_read() {
    let disk = MemoryDisk::new();
    let small = StoreSettings { segment_bytes: 300, ..settings() };
    write_all(&open_with(&disk, small.clone()), &batches(150));
    let store = open_with(&disk, StoreSettings { flush_bytes: 2_000, ..small });
    assert!(store.status().metrics.blocks > 1);
    assert_eq!(answers(&store.snapshot()), expected(&batches(150)));
}

#[test]
fn an_instant_has_one_value_wherever_it_lies() {
    let disk = MemoryDisk::new();
    let store = open(&disk);
    let m = |samples: &[(i64, f64)]| series(&[("__name__", "m")], samples);
    store.append(&[m(&[(10, 1.0), (20, 2.0)])]).unwrap();
    store.flush().unwrap();
    // Late, early, and one that is in a block already.
    store.append(&[m(&[(30, 3.0)])]).unwrap();
    store.append(&[m(&[(5, 0.5), (15, 1.5), (20, 9.0)])]).unwrap();
    let read = |store: &Store| {
        let found = store.snapshot().select(&[], TimeRange::all());
        found[0].samples.iter().map(|sample| (sample.at.0, sample.value)).collect::<Vec<_>>()
    };
    let want = [(5, 0.5), (10, 1.0), (15, 1.5), (20, 2.0), (30, 3.0)];
    assert_eq!(read(&store), want);
    let snapshot = store.snapshot();
    let found = snapshot.find(&[], TimeRange::all());
    for (until, want) in [(4, None), (5, Some((5, 0.5))), (20, Some((20, 2.0))), (99, Some((30, 3.0)))] {
        let latest = found[0].latest(TimeRange::new(Timestamp(0), Timestamp(until)));
        assert_eq!(latest, want.map(|(at, value)| Latest::Sample(sample(at, value))), "until {until}");
    }
    for round in 0..4 {
        store.append(&[m(&[(100 + round, 1.0)])]).unwrap();
        store.flush().unwrap();
    }
    while store.maintain(Timestamp(0)).unwrap().compacted {}
    assert_eq!(store.status().metrics.blocks, 1);
    assert_eq!(read(&store)[..5], want);
}

#[test]
fn native_histograms_move_too() {
    let disk = MemoryDisk::new();
    let store = open(&disk);
    let write = |samples: &[(i64, f64)], histograms: &[(i64, f64)]| {
        let labels = Labels::from_pairs([("__name__", "h")]);
        let samples = samples.iter().map(|(at, value)| sample(*at, *value));
        let histograms = histograms.iter().map(|(at, count)| histogram(*at, *count)).collect();
        WriteBatch {
            series: vec![SeriesWrite { histograms, ..SeriesWrite::new(labels, samples) }],
            ..WriteBatch::default()
        }
    };
    let receipt = store.append(&[write(&[(1, 1.0)], &[(2, 2.0), (4, 4.0)])]).unwrap();
    assert_eq!((receipt.samples, receipt.histograms, receipt.rejected), (1, 2, 0));
    let receipt = store.append(&[write(&[(2, 1.0), (3, 3.0)], &[(2, 2.0), (4, 5.0), (1, 1.0)])]).unwrap();
    assert_eq!((receipt.samples, receipt.histograms, receipt.duplicates, receipt.rejected), (1, 0, 1, 3));
    let check = |store: &Store, case: &str| {
        let found = store.snapshot().select(&[], TimeRange::all());
        let samples: Vec<_> = found[0].samples.iter().map(|sample| sample.at.0).collect();
        let histograms: Vec<_> = found[0].histograms.iter().map(|one| (one.at.0, one.histogram.count)).collect();
        assert_eq!((samples, histograms), (vec![1, 3], vec![(2, 3.0), (4, 5.0)]), "{case}");
        let snapshot = store.snapshot();
        let latest = snapshot.find(&[], TimeRange::all())[0].latest(TimeRange::all());
        assert_eq!(latest, Some(Latest::Histogram(histogram(4, 4.0))), "{case}");
    };
    check(&store, "in memory");
    drop(store);
    let store = open(&disk);
    check(&store, "from the log");
    store.flush().unwrap();
    check(&store, "in a block");
    drop(store);
    check(&open(&disk), "after a restart");
}

#[test]
fn samples_of_any_age_are_kept() {
    let disk = MemoryDisk::new();
    let store = open(&disk);
    let at = [0, 1, DAY - 1, DAY, 300 * DAY, 20_000 * DAY, -5 * DAY];
    let samples: Vec<_> = at.iter().map(|at| (*at, *at as f64)).collect();
    for sample in &samples {
        store.append(&[series(&[("__name__", "m")], &[*sample])]).unwrap();
    }
    let mut want: Vec<Sample> = samples.iter().map(|(at, value)| sample(*at, *value)).collect();
    want.sort_by_key(|sample| sample.at);
    for _ in 0..2 {
        assert_eq!(store.snapshot().select(&[], TimeRange::all())[0].samples, want);
        store.flush().unwrap();
    }
    assert!(store.status().metrics.blocks > 1);
}

#[test]
fn what_is_deleted_is_gone_and_what_comes_later_stays() {
    let disk = MemoryDisk::new();
    let store = open(&disk);
    let write = |job: &str, samples: &[(i64, f64)]| {
        store.append(&[series(&[("__name__", "m"), ("job", job)], samples)]).unwrap();
    };
    write("a", &[(1, 1.0), (2, 2.0), (3, 3.0)]);
    write("b", &[(1, 1.0)]);
    let matcher = Matcher::new("job", MatchOp::Regex, "a|c").unwrap();
    store.delete(vec![matcher], TimeRange::new(Timestamp(2), Timestamp(3))).unwrap();
    write("a", &[(3, 9.0)]);
    let read = |store: &Store| -> Vec<(String, i64, f64)> {
        let found = store.snapshot().select(&[], TimeRange::all());
        let one = |series: &aegis_store::Series| {
            let job = series.labels.get_or_empty("job").to_owned();
            series.samples.iter().map(move |sample| (job.clone(), sample.at.0, sample.value)).collect::<Vec<_>>()
        };
        found.iter().flat_map(one).collect()
    };
    let want = [("a".to_owned(), 1, 1.0), ("a".to_owned(), 3, 9.0), ("b".to_owned(), 1, 1.0)];
    assert_eq!(read(&store), want, "hidden");
    let snapshot = store.snapshot();
    let of_a = snapshot.find(&[Matcher::equal("job", "a")], TimeRange::all());
    let until = TimeRange::new(Timestamp(0), Timestamp(2));
    assert_eq!(of_a[0].latest(until), Some(Latest::Sample(sample(1, 1.0))));
    drop(store);
    let store = open(&disk);
    assert_eq!(read(&store), want, "after a restart");
    let before = store.status().metrics.items;
    store.clean().unwrap();
    assert_eq!(read(&store), want, "cleaned");
    assert_eq!(store.status().metrics.items, before - 2);
    store.delete(vec![], TimeRange::all()).unwrap();
    assert_eq!(read(&store), [], "everything");
    assert_eq!(store.snapshot().label_values("job", &[], TimeRange::all()), Vec::<String>::new());
}

#[test]
fn a_copy_is_a_data_directory() {
    let dir = tempfile::tempdir().unwrap();
    let (path, copy) = (dir.path().join("data"), dir.path().join("copy"));
    let store = Store::open(&path, settings(), Arc::new(OsDisk)).unwrap();
    write_all(&store, &batches(20));
    store.copy_to(&copy).unwrap();
    write_all(&store, &batches(25)[20..]);
    let copied = Store::open(&copy, settings(), Arc::new(OsDisk)).unwrap();
    let (found, want) = (answers(&copied.snapshot()), expected(&batches(20)));
    assert_eq!((found.series, found.streams, found.traces), (want.series, want.streams, want.traces));
    assert_eq!(copied.status().problems, []);
    assert_eq!(answers(&store.snapshot()), expected(&batches(25)));
}

#[test]
fn a_damaged_block_is_named_and_the_rest_served() {
    let pristine = MemoryDisk::new();
    let store = open(&pristine);
    for part in batches(20).chunks(10) {
        write_all(&store, part);
        store.flush().unwrap();
    }
    drop(store);
    let file = blocks(&pristine)[0].clone();
    let good = pristine.read(&file).unwrap();
    let whole = expected(&batches(20));
    let mut named = 0;
    for at in (0..good.len()).step_by(3) {
        let disk = MemoryDisk::new();
        for other in pristine.files().iter().filter(|other| other.file_name().is_some_and(|name| name != "lock")) {
            disk.put(other, pristine.read(other).unwrap());
        }
        let mut bytes = good.clone();
        bytes[at] ^= 0x20;
        disk.put(&file, bytes);
        let store = open(&disk);
        let found = answers(&store.snapshot());
        let problems = store.status().problems;
        for (labels, samples) in &found.series {
            let all = &whole.series.iter().find(|(known, _)| known == labels).unwrap().1;
            assert!(samples.iter().all(|sample| all.contains(sample)), "byte {at}: {labels}");
        }
        if found.series != whole.series {
            assert_eq!(problems.len(), 1, "byte {at}");
            assert_eq!(problems[0].file.with_extension("block"), file, "byte {at}");
            named += 1;
        }
        assert!(found.series.iter().any(|(_, samples)| samples.len() >= 10), "byte {at}: the other block is served");
        // Writing, moving and merging go on.
        write_all(&store, &batches(21)[20..]);
        store.flush().unwrap();
        let _ = store.maintain(Timestamp(0));
    }
    assert!(named * 3 > good.len() / 2, "{named} of {}", good.len() / 3);
}

#[test]
fn too_many_series_are_refused_by_name() {
    let disk = MemoryDisk::new();
    let store = open_with(&disk, StoreSettings { max_series: 3, ..settings() });
    let mut batch = WriteBatch::default();
    for number in 0..5 {
        batch.merge(series(&[("__name__", "bomb"), ("id", &number.to_string())], &[(1, 1.0)]));
    }
    let receipt = store.append(&[WriteBatch::default(), batch]).unwrap();
    assert_eq!((receipt.samples, receipt.over_limit), (3, 2));
    let amounts = Amounts { samples: 2, ..Amounts::default() };
    let refused = OverLimit { batch: 1, amounts, series: r#"bomb{id="3"}"#.to_owned(), limit: 3 };
    assert_eq!(receipt.refused, [refused]);
    // Known series go on.
    let receipt = store.append(&[series(&[("__name__", "bomb"), ("id", "0")], &[(2, 1.0)])]).unwrap();
    assert_eq!((receipt.samples, receipt.over_limit), (1, 0));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn any_order_of_writes_and_moves_answers_alike(
        writes in proptest::collection::vec((0_u8..4, 0_i64..400, any::<bool>()), 1..200),
        moves in proptest::collection::vec(any::<prop::sample::Index>(), 0..6),
        restarts in any::<bool>(),
    ) {
        let name = |number: u8| format!("m{number}");
        let disk = MemoryDisk::new();
        let mut store = open(&disk);
        let moves: Vec<_> = moves.iter().map(|place| place.index(writes.len())).collect();
        let mut known: std::collections::BTreeMap<(u8, i64), f64> = Default::default();
        for (place, (number, at, far)) in writes.iter().enumerate() {
            let at = if *far { at * DAY } else { *at };
            let value = place as f64;
            store.append(&[series(&[("__name__", &name(*number))], &[(at, value)])]).unwrap();
            known.entry((*number, at)).or_insert(value);
            if moves.contains(&place) {
                store.flush().unwrap();
                if restarts {
                    drop(store);
                    store = open(&disk);
                }
                store.maintain(Timestamp(0)).unwrap();
            }
        }
        let found = store.snapshot().select(&[], TimeRange::all());
        let found: Vec<_> = found
            .iter()
            .flat_map(|series| series.samples.iter().map(|sample| (series.labels.to_string(), sample.at.0, sample.value)))
            .collect();
        let want: Vec<_> = known.iter().map(|((number, at), value)| (name(*number), *at, *value)).collect();
        prop_assert_eq!(found, want);
    }
}
