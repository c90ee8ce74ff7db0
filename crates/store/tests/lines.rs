//! Lines on their way from memory to blocks, and what becomes of the blocks.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may fail loudly")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aegis_store::{
    Fault, FlushError, LineFilter, LineFilterOp, LineSelection, LogRetention, MemoryDisk, OsDisk, Store, StoreSettings,
};
use common::written::{blocks, found, rounds, write, write_round};
use common::{DIR, lines, open, open_with, settings};
use proptest::prelude::*;
use signal::{Labels, MatchOp, Matcher, Nanos, Timestamp};

const DAY: i64 = 24 * 3_600_000;
const DAY_NANOS: i64 = DAY * 1_000_000;
const EVER: (Nanos, Nanos) = (Nanos(i64::MIN), Nanos(i64::MAX));

/// The same where the order of lines of one instant does not count.
fn found_sets(store: &Store) -> BTreeMap<String, BTreeSet<(i64, String)>> {
    let found = found(store);
    for lines in found.values() {
        assert!(lines.is_sorted_by_key(|line| line.0));
        assert_eq!(lines.iter().collect::<BTreeSet<_>>().len(), lines.len(), "no line twice");
    }
    found.into_iter().map(|(labels, lines)| (labels, lines.into_iter().collect())).collect()
}

fn filter(text: &str) -> LineFilter {
    LineFilter::new(LineFilterOp::Contains, text).unwrap()
}

fn selection(app: &str, start: i64, end: i64) -> LineSelection {
    let matchers = vec![Matcher::equal("app", app)];
    LineSelection { matchers, start: Nanos(start), end: Nanos(end), filters: Vec::new() }
}

#[test]
fn moving_changes_no_answer() {
    let disk = MemoryDisk::new();
    let mut store = open(&disk);
    for round in 0..5 {
        write_round(&store, round);
        let (held, want) = (store.snapshot(), rounds(round + 1));
        assert_eq!(found(&store), want, "round {round}, in memory");
        drop(store);
        store = open(&disk);
        assert_eq!(found(&store), want, "round {round}, from the log");
        store.flush().unwrap();
        assert_eq!(found(&store), want, "round {round}, in blocks");
        assert_eq!(held.streams(&[], EVER.0, EVER.1).len(), want.len(), "what is being read stays");
    }
    assert_eq!((store.status().logs.blocks, store.status().logs.segments), (5, 0));
    assert!(store.maintain(Timestamp(0)).unwrap().compacted);
    assert_eq!(store.status().logs.blocks, 1);
    assert_eq!(found(&store), rounds(5), "merged");
    drop(store);
    let store = open(&disk);
    assert_eq!(found(&store), rounds(5), "after a restart");
    assert_eq!(store.status().problems, []);
    let lines: usize = rounds(5).values().map(Vec::len).sum();
    assert_eq!((store.status().logs.items, store.status().logs.identities), (lines as u64, 3));
    store.flush().unwrap();
    assert_eq!(store.status().logs.blocks, 1, "nothing is nothing");
}

#[test]
fn a_crash_at_any_operation_loses_nothing() {
    let texts = |number: i64| [(number * 10, "started"), (number * 10 + 1, "stopped"), (number * 10 - 15, "late")];
    let small = || StoreSettings { segment_bytes: 200, line_deletion_delay: Duration::ZERO, ..settings() };
    let run = |disk: &MemoryDisk| -> i64 {
        let mut acknowledged = 0;
        let Ok(store) = Store::open(Path::new(DIR), small(), Arc::new(disk.clone())) else { return 0 };
        for round in 0..4 {
            for number in round * 2..round * 2 + 2 {
                let batch = lines(&[("app", if number % 3 == 0 { "a" } else { "b" })], &texts(number));
                if store.append(&[batch]).is_err() {
                    return acknowledged;
                }
                acknowledged += 1;
            }
            if store.flush().is_err() {
                return acknowledged;
            }
        }
        let gone = LineSelection { filters: vec![filter("nobody wrote this")], ..selection("a", 0, 10) };
        if store.maintain(Timestamp(0)).is_err() || store.delete_lines(Timestamp(0), gone).is_err() {
            return acknowledged;
        }
        let _ = store.maintain(Timestamp(0));
        acknowledged
    };
    let operations = {
        let disk = MemoryDisk::new();
        assert_eq!(run(&disk), 8);
        assert_eq!(blocks(&disk).len(), 2, "of two days");
        disk.operations()
    };
    let prefixes: Vec<_> = (0..=8)
        .map(|count| {
            let store = Store::in_memory();
            for number in 0..count {
                write(&store, if number % 3 == 0 { "a" } else { "b" }, &texts(number));
            }
            found(&store)
        })
        .collect();
    for at in 0..operations {
        for kept in [0, 7, usize::MAX] {
            let disk = MemoryDisk::new();
            disk.arm(at, Fault::PowerLoss { kept });
            let acknowledged = run(&disk);
            disk.restart();
            let store = open_with(&disk, small());
            let found_now = found(&store);
            let prefix = prefixes.iter().rposition(|prefix| *prefix == found_now);
            assert!(
                prefix.is_some_and(|prefix| prefix as i64 == acknowledged || prefix as i64 == acknowledged + 1),
                "operation {at}, {kept} bytes kept: {acknowledged} acknowledged, found {prefix:?}"
            );
            assert_eq!(store.status().problems, [], "operation {at}");
            for number in 0..8 {
                write(&store, if number % 3 == 0 { "a" } else { "b" }, &texts(number));
            }
            store.flush().unwrap();
            drop(store);
            assert_eq!(found(&open_with(&disk, small())), prefixes[8], "operation {at}");
        }
    }
}

#[test]
fn a_failed_move_is_tried_again() {
    let operations = {
        let disk = MemoryDisk::new();
        let store = open(&disk);
        write_round(&store, 0);
        let before = disk.operations();
        store.flush().unwrap();
        disk.operations() - before
    };
    assert!(operations > 5);
    for at in 0..operations {
        let disk = MemoryDisk::new();
        let store = open(&disk);
        write_round(&store, 0);
        disk.arm(at, Fault::Fails { kind: ErrorKind::Other, kept: 3 });
        let failed = store.flush();
        assert_eq!(found(&store), rounds(1), "operation {at}: {failed:?}");
        write_round(&store, 1);
        store.flush().unwrap();
        assert_eq!(found(&store), rounds(2), "operation {at}, again");
        drop(store);
        assert_eq!(found(&open(&disk)), rounds(2), "operation {at}, after a restart");
    }
}

#[test]
fn a_full_disk_keeps_what_could_not_move() {
    let disk = MemoryDisk::new();
    let store = open(&disk);
    write_round(&store, 0);
    disk.set_capacity(Some(store.status().logs.disk_bytes + 300));
    assert!(matches!(store.flush(), Err(FlushError::Io { .. })));
    assert_eq!(found(&store), rounds(1));
    disk.set_capacity(None);
    store.flush().unwrap();
    write_round(&store, 1);
    assert_eq!(found(&store), rounds(2));
}

#[test]
fn a_log_larger_than_memory_is_moved_while_it_is_read() {
    let disk = MemoryDisk::new();
    let small = StoreSettings { segment_bytes: 40_000, ..settings() };
    let store = open_with(&disk, small.clone());
    (0..2).for_each(|round| write_round(&store, round));
    assert!(store.status().logs.segments > 4);
    drop(store);
    let store = open_with(&disk, StoreSettings { log_flush_bytes: 100_000, ..small });
    assert!(store.status().logs.blocks > 1);
    assert_eq!(found(&store), rounds(2));
}

#[test]
fn much_log_is_moved_at_the_next_look() {
    let store = open_with(&MemoryDisk::new(), StoreSettings { log_flush_bytes: 50_000, ..settings() });
    write(&store, "api", &[(1, "few")]);
    assert!(!store.maintain(Timestamp(0)).unwrap().flushed);
    write_round(&store, 0);
    assert!(store.maintain(Timestamp(1)).unwrap().flushed);
    write(&store, "api", &[(2, "few")]);
    assert!(!store.maintain(Timestamp(2)).unwrap().flushed);
    let later = Timestamp(2 + 2 * 3_600_000);
    assert!(store.maintain(later).unwrap().flushed, "after two hours");
    assert_eq!((store.status().logs.segments, store.status().logs.blocks), (0, 2));
}

/// Lines of a busy stream, `part` after `part`.
fn write_busy(store: &Store, part: i64) -> Result<(), aegis_store::AppendError> {
    let texts: Vec<(i64, &str)> = (part * 1_000..part * 1_000 + 1_000).map(|at| (at, "text")).collect();
    store.append(&[lines(&[("app", "busy")], &texts)]).map(drop)
}

#[test]
fn busy_streams_go_on_while_they_move() {
    let disk = MemoryDisk::new();
    let small = || StoreSettings { log_flush_bytes: 50_000, ..settings() };
    let mut store = open_with(&disk, small());
    let mut kept = 0;
    for part in 0..40 {
        write_busy(&store, part).unwrap();
        write(&store, "rare", &[(part, "text")]);
        // Who goes on waiting is in the log again.
        kept += usize::from(store.maintain(Timestamp(0)).unwrap().flushed && store.status().logs.segments == 1);
        if part % 10 == 5 {
            drop(store);
            store = open_with(&disk, small());
        }
    }
    let status = store.status().logs;
    assert!(status.blocks > 0 && kept > 0, "{kept}, {status:?}");
    assert_eq!(status.items, 40_040, "nothing is there twice");
    let streams = store.snapshot().find_streams(&[Matcher::equal("app", "busy")], EVER.0, EVER.1);
    assert!(streams[0].parts().iter().all(|part| !part.overlaps()));
    assert_eq!(found(&store)[r#"{app="busy"}"#].len(), 40_000);
    store.flush().unwrap();
    assert_eq!(store.status().logs.segments, 0);
    assert_eq!(found(&store)[r#"{app="busy"}"#].len(), 40_000);
}

#[test]
fn a_crash_while_busy_streams_move_loses_nothing() {
    let small = || StoreSettings { log_flush_bytes: 30_000, ..settings() };
    let run = |disk: &MemoryDisk| -> i64 {
        let Ok(store) = Store::open(Path::new(DIR), small(), Arc::new(disk.clone())) else { return 0 };
        for part in 0..8 {
            if write_busy(&store, part).is_err() {
                return part;
            }
            if part % 4 == 3 && store.maintain(Timestamp(0)).is_err() {
                return part + 1;
            }
        }
        8
    };
    let operations = {
        let disk = MemoryDisk::new();
        assert_eq!(run(&disk), 8);
        disk.operations()
    };
    for at in 0..operations {
        for fault in [Fault::PowerLoss { kept: 9 }, Fault::Fails { kind: ErrorKind::Other, kept: 9 }] {
            let disk = MemoryDisk::new();
            disk.arm(at, fault);
            let acknowledged = run(&disk);
            disk.restart();
            let store = open_with(&disk, small());
            for moved in [false, true] {
                let found = found(&store);
                let times: Vec<i64> = found.values().flatten().map(|line| line.0).collect();
                let parts = times.len() as i64 / 1_000;
                assert!(times.iter().copied().eq(0..parts * 1_000), "operation {at}, {fault:?}, {moved}");
                assert!(
                    parts == acknowledged || parts == acknowledged + 1,
                    "operation {at}: {parts} of {acknowledged}"
                );
                store.flush().unwrap();
                store.maintain(Timestamp(30 * DAY)).unwrap();
            }
        }
    }
}

#[test]
fn lines_of_any_age_are_kept() {
    let disk = MemoryDisk::new();
    let store = open(&disk);
    let at = [0, 1, DAY_NANOS - 1, DAY_NANOS, 300 * DAY_NANOS, -5 * DAY_NANOS, i64::MAX, i64::MIN, 20_000 * DAY_NANOS];
    for at in at {
        write(&store, "api", &[(at, "text")]);
    }
    let mut want: Vec<(i64, String)> = at.iter().map(|at| (*at, "text".to_owned())).collect();
    want.sort();
    for _ in 0..2 {
        assert_eq!(found(&store)[r#"{app="api"}"#], want);
        store.flush().unwrap();
    }
    assert!(store.status().logs.blocks > 1);
    for day in 0..200 {
        write(&store, "api", &[(day * DAY_NANOS, "every day")]);
    }
    store.flush().unwrap();
    assert_eq!(found(&store)[r#"{app="api"}"#].len(), want.len() + 200);
    assert!(store.status().logs.blocks < 140);
}

#[test]
fn many_small_streams_share_row_groups() {
    let disk = MemoryDisk::new();
    let store = open(&disk);
    let mut want = BTreeMap::new();
    for number in 0..3_000 {
        let pod = format!("pod-{number:04}");
        store.append(&[lines(&[("pod", &pod)], &[(number, "one"), (number * 7, "two")])]).unwrap();
        let mut texts = vec![(number, "one".to_owned()), (number * 7, "two".to_owned())];
        texts.sort_by_key(|text| text.0);
        want.insert(format!("{{pod={pod:?}}}"), texts);
    }
    store.flush().unwrap();
    assert_eq!(found(&store), want);
    let few = store.snapshot().streams(&[Matcher::equal("pod", "pod-0017")], EVER.0, EVER.1);
    assert_eq!(few[0].lines.len(), 2);
    // Every stream with a row group of its own would take many times as much.
    assert!(store.status().logs.disk_bytes < 250_000, "{}", store.status().logs.disk_bytes);
    for round in 0..4 {
        store.append(&[lines(&[("pod", "pod-0000")], &[(round, "more")])]).unwrap();
        store.flush().unwrap();
    }
    assert!(store.maintain(Timestamp(0)).unwrap().compacted);
    assert_eq!(found(&store).len(), 3_000);
}

#[test]
fn a_reader_sees_whole_writes_while_they_move() {
    let store = Arc::new(open_with(&MemoryDisk::new(), StoreSettings { log_flush_bytes: 20_000, ..settings() }));
    let writer = std::thread::spawn({
        let store = Arc::clone(&store);
        move || (0..30).for_each(|part| write_busy(&store, part).unwrap())
    });
    let keeper = std::thread::spawn({
        let store = Arc::clone(&store);
        move || {
            let mut now = 0;
            while Arc::strong_count(&store) > 2 {
                now += 1;
                store.maintain(Timestamp(now)).unwrap();
                if now % 7 == 0 {
                    store.flush().unwrap();
                }
            }
        }
    });
    let mut before = 0;
    while !writer.is_finished() {
        let found = found(&store);
        let times: Vec<i64> = found.values().flatten().map(|line| line.0).collect();
        assert!(times.len() >= before && times.len().is_multiple_of(1_000), "{before}, then {}", times.len());
        assert!(times.iter().copied().eq(0..times.len() as i64));
        before = times.len();
    }
    writer.join().unwrap();
    let rest = found(&store).values().map(Vec::len).sum::<usize>();
    assert_eq!(rest, 30_000);
    drop(store);
    keeper.join().unwrap();
}

#[test]
fn small_row_groups_are_put_together() {
    let disk = MemoryDisk::new();
    let store = open(&disk);
    let parts = |store: &Store| store.snapshot().find_streams(&[], EVER.0, EVER.1)[0].parts().len();
    for round in 0..16 {
        let texts: Vec<(i64, &str)> = (round * 300..round * 300 + 300).map(|at| (at, "text")).collect();
        write(&store, "api", &texts);
        store.flush().unwrap();
        while store.maintain(Timestamp(0)).unwrap().compacted {}
    }
    while store.maintain(Timestamp(30 * DAY)).unwrap().compacted {}
    assert_eq!(found(&store)[r#"{app="api"}"#].len(), 4_800);
    assert!(parts(&store) <= 4, "{}", parts(&store));
}

#[test]
fn streams_are_named_where_they_have_lines() {
    let disk = MemoryDisk::new();
    let store = open(&disk);
    for part in 0..3 {
        write(&store, "api", &[(part * 100, "a"), (part * 100 + 50, "b")]);
        write(&store, "web", &[(part * 1000, "a")]);
        if part < 2 {
            store.flush().unwrap();
        }
    }
    let snapshot = store.snapshot();
    for (start, end, want) in [
        (0, 0, vec!["api", "web"]),
        (1, 49, vec![]),
        (1, 50, vec!["api"]),
        (101, 149, vec![]),
        (251, 5_000, vec!["web"]),
        (i64::MIN, i64::MAX, vec!["api", "web"]),
    ] {
        let labels = snapshot.stream_labels(&[], Nanos(start), Nanos(end));
        let apps: Vec<_> = labels.iter().map(|labels| labels.get_or_empty("app")).collect();
        assert_eq!(apps, want, "{start}..{end}");
    }
    let found = snapshot.find_streams(&[Matcher::equal("app", "api")], Nanos(60), Nanos(210));
    let parts: Vec<_> = found[0].parts().iter().map(|part| (part.first().0, part.last().0, part.overlaps())).collect();
    assert_eq!(parts, [(100, 150, false), (200, 250, false)]);
    write(&store, "api", &[(140, "late")]);
    let snapshot = store.snapshot();
    let found = snapshot.find_streams(&[Matcher::equal("app", "api")], Nanos(60), Nanos(210));
    let overlaps: Vec<_> = found[0].parts().iter().map(|part| part.overlaps()).collect();
    assert_eq!(overlaps, [true, true]);
    assert_eq!(found[0].lines().iter().map(|line| line.at.0).collect::<Vec<_>>(), [100, 140, 150, 200]);
}

#[test]
fn what_is_deleted_is_hidden_at_once_and_gone_in_time() {
    let disk = MemoryDisk::new();
    let store = open(&disk);
    let day = |days: i64| Timestamp(days * DAY);
    write(&store, "a", &[(1, "keep"), (2, "secret"), (3, "keep"), (4, "secret")]);
    write(&store, "b", &[(1, "secret"), (2, "secret")]);
    let filters = vec![filter("cre")];
    let id = store.delete_lines(day(0), LineSelection { filters, ..selection("a", 2, 3) }).unwrap();
    let all = store.delete_lines(day(0), selection("b", 2, i64::MAX)).unwrap();
    write(&store, "b", &[(2, "later")]);
    let want = || {
        let of = |texts: &[(i64, &str)]| texts.iter().map(|(at, text)| (*at, (*text).to_owned())).collect::<Vec<_>>();
        let a = of(&[(1, "keep"), (3, "keep"), (4, "secret")]);
        BTreeMap::from([
            (r#"{app="a"}"#.to_owned(), a),
            (r#"{app="b"}"#.to_owned(), of(&[(1, "secret"), (2, "later")])),
        ])
    };
    assert_eq!(found(&store), want(), "hidden");
    let labels = store.snapshot().stream_labels(&[Matcher::equal("app", "a")], Nanos(2), Nanos(2));
    assert_eq!(labels, [] as [Labels; 0]);
    let shown = store.line_deletions();
    assert_eq!(
        shown.iter().map(|one| (one.id, one.start.0, one.filters.len())).collect::<Vec<_>>(),
        [(id, 2, 1), (all, 2, 0)]
    );
    drop(store);
    let store = open(&disk);
    assert_eq!(found(&store), want(), "after a restart");
    assert!(!store.maintain(Timestamp(DAY - 1)).unwrap().compacted, "it can still be cancelled");
    // Merging keeps apart what was deleted and what came later.
    for number in 0..6 {
        write(&store, "c", &[(number, "other")]);
        store.flush().unwrap();
        store.maintain(Timestamp(DAY - 1)).unwrap();
    }
    let mut with_others = found(&store);
    assert!(with_others.remove(r#"{app="c"}"#).is_some());
    assert_eq!(with_others, want(), "merged with others");
    let before = store.status().logs.items;
    assert!(store.maintain(day(1)).unwrap().compacted);
    assert_eq!(store.status().logs.items, before - 2);
    assert_eq!(store.line_deletions(), []);
    assert!(!store.cancel_line_deletion(id).unwrap());
    let mut cleaned = found(&store);
    cleaned.remove(r#"{app="c"}"#);
    assert_eq!(cleaned, want(), "cleaned");
}

#[test]
fn a_deletion_can_be_cancelled() {
    let disk = MemoryDisk::new();
    let store = open(&disk);
    write_round(&store, 0);
    let first = store.delete_lines(Timestamp(0), selection("api", 0, i64::MAX)).unwrap();
    let second = store.delete_lines(Timestamp(0), selection("web", 0, i64::MAX)).unwrap();
    assert_eq!(found(&store).len(), 1);
    assert!(store.cancel_line_deletion(first).unwrap());
    assert!(!store.cancel_line_deletion(first).unwrap());
    assert_eq!(found(&store).len(), 2);
    drop(store);
    let store = open(&disk);
    assert_eq!(found(&store).len(), 2);
    assert!(store.cancel_line_deletion(second).unwrap());
    assert_eq!(found(&store), rounds(1));
}

#[test]
fn retention_goes_by_stream() {
    let disk = MemoryDisk::new();
    let rule = |level: &str, days: u64| LogRetention {
        matchers: vec![Matcher::equal("level", level)],
        keep: Duration::from_secs(days * 24 * 3600),
    };
    let kept = || StoreSettings {
        retention: Duration::from_secs(30 * 24 * 3600),
        log_retention: vec![rule("debug", 7), rule("error", 180)],
        ..settings()
    };
    let mut store = open_with(&disk, kept());
    let days = |store: &Store, level: &str| -> Vec<i64> {
        let streams = store.snapshot().streams(&[Matcher::equal("level", level)], EVER.0, EVER.1);
        streams.iter().flat_map(|stream| &stream.lines).map(|line| line.at.0 / DAY_NANOS).collect()
    };
    for day in 0..200_i64 {
        for level in ["debug", "error", "info"] {
            store.append(&[lines(&[("level", level)], &[(day * DAY_NANOS + 5, "text")])]).unwrap();
        }
        let now = Timestamp(day * DAY + DAY / 2);
        store.flush().unwrap();
        store.retain(now).unwrap();
        while store.maintain(now).unwrap().compacted {}
        for (level, keep) in [("debug", 7), ("info", 30), ("error", 180)] {
            let want: Vec<i64> = (0.max(day - keep + 1)..=day).collect();
            assert_eq!(days(&store, level), want, "{level} on day {day}");
        }
        if day % 50 == 0 {
            drop(store);
            store = open_with(&disk, kept());
            store.retain(now).unwrap();
        }
    }
    // What nobody sees takes no space for long.
    assert!(store.status().logs.items < 180 + 31 + 8 + 3, "{}", store.status().logs.items);
}

#[test]
fn a_copy_is_a_data_directory() {
    let dir = tempfile::tempdir().unwrap();
    let (path, copy) = (dir.path().join("data"), dir.path().join("copy"));
    let store = Store::open(&path, settings(), Arc::new(OsDisk)).unwrap();
    write_round(&store, 0);
    store.copy_to(&copy).unwrap();
    write_round(&store, 1);
    let copied = Store::open(&copy, settings(), Arc::new(OsDisk)).unwrap();
    assert_eq!(found(&copied), rounds(1));
    assert_eq!(copied.status().problems, []);
    assert_eq!(found(&store), rounds(2));
}

#[derive(Clone, Debug)]
enum Step {
    /// A stream, the first instant, the distance to the next, and how many.
    Write(u8, i64, i64, usize),
    Flush,
    Restart,
    Maintain,
}

fn step() -> impl Strategy<Value = Step> {
    let at = prop_oneof![0_i64..50, 0_i64..5_000, (0_i64..5).prop_map(|days| days * DAY_NANOS)];
    prop_oneof![
        8 => (0_u8..3, at, 0_i64..3, prop_oneof![1_usize..10, 200_usize..3_000]).prop_map(|(stream, at, by, count)| Step::Write(stream, at, by, count)),
        2 => Just(Step::Flush),
        1 => Just(Step::Restart),
        2 => Just(Step::Maintain),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn any_order_of_writes_and_moves_answers_alike(steps in proptest::collection::vec(step(), 1..25)) {
        let disk = MemoryDisk::new();
        let mut store = open(&disk);
        let mut want: BTreeMap<String, BTreeSet<(i64, String)>> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Write(stream, at, by, count) => {
                    let app = format!("app-{stream}");
                    let texts: Vec<(i64, String)> =
                        (0..count as i64).map(|number| (at + number * by, format!("text {}", number % 3))).collect();
                    let borrowed: Vec<(i64, &str)> = texts.iter().map(|(at, text)| (*at, text.as_str())).collect();
                    write(&store, &app, &borrowed);
                    want.entry(format!("{{app={app:?}}}")).or_default().extend(texts);
                }
                Step::Flush => store.flush().unwrap(),
                Step::Restart => {
                    drop(store);
                    store = open(&disk);
                }
                Step::Maintain => drop(store.maintain(Timestamp(0)).unwrap()),
            }
        }
        prop_assert_eq!(found_sets(&store), want.clone());
        store.flush().unwrap();
        while store.maintain(Timestamp(30 * DAY)).unwrap().compacted {}
        prop_assert_eq!(found_sets(&store), want);
        let pattern = Matcher::new("app", MatchOp::Regex, "app-[01]").unwrap();
        prop_assert!(store.snapshot().stream_labels(&[pattern], EVER.0, EVER.1).len() <= 2);
    }
}
