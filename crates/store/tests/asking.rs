//! What a store answers about what it was given.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may fail loudly")]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use aegis_store::{Amounts, Conflict, Receipt, Snapshot, Store};
use common::{answers, everything, lines, open, series, span, spans};
use proptest::prelude::*;
use signal::{
    Histogram, HistogramSample, Labels, MatchOp, Matcher, Nanos, TimeRange, Timestamp, TraceId, WriteBatch, is_stale,
    stale_marker,
};

fn range(start: i64, end: i64) -> TimeRange {
    TimeRange::new(Timestamp(start), Timestamp(end))
}

fn matcher(name: &str, op: MatchOp, value: &str) -> Matcher {
    Matcher::new(name, op, value).unwrap()
}

fn values(store: &Store) -> Vec<(i64, f64)> {
    let found = store.snapshot().select(&[], TimeRange::all());
    found.iter().flat_map(|series| &series.samples).map(|sample| (sample.at.0, sample.value)).collect()
}

#[test]
fn the_first_value_of_an_instant_wins() {
    for (case, writes, want, rejected, duplicates) in [
        ("in order", vec![vec![(1, 1.0)], vec![(2, 2.0)]], vec![(1, 1.0), (2, 2.0)], 0, 0),
        ("out of order", vec![vec![(5, 5.0)], vec![(1, 1.0), (3, 3.0)]], vec![(1, 1.0), (3, 3.0), (5, 5.0)], 0, 0),
        ("unsorted in one write", vec![vec![(3, 3.0), (1, 1.0)]], vec![(1, 1.0), (3, 3.0)], 0, 0),
        ("the same again", vec![vec![(1, 1.0), (2, 2.0)], vec![(1, 1.0), (2, 2.0)]], vec![(1, 1.0), (2, 2.0)], 0, 2),
        ("another value later", vec![vec![(1, 1.0)], vec![(1, 2.0)]], vec![(1, 1.0)], 1, 0),
        ("another value in one write", vec![vec![(1, 1.0), (1, 2.0), (1, 1.0)]], vec![(1, 1.0)], 1, 1),
        ("zero is not minus zero", vec![vec![(1, 0.0)], vec![(1, -0.0)]], vec![(1, 0.0)], 1, 0),
        (
            "late and again",
            vec![vec![(9, 9.0)], vec![(4, 4.0)], vec![(4, 4.0), (4, 1.0)]],
            vec![(4, 4.0), (9, 9.0)],
            1,
            1,
        ),
    ] {
        let store = Store::in_memory();
        let mut total = Receipt::default();
        for write in &writes {
            let receipt = store.append(&[series(&[("__name__", "m")], write)]).unwrap();
            total.rejected += receipt.rejected;
            total.duplicates += receipt.duplicates;
            total.conflicts.extend(receipt.conflicts);
        }
        assert_eq!(values(&store), want, "{case}");
        assert_eq!((total.rejected, total.duplicates), (rejected, duplicates), "{case}");
        assert!(total.conflicts.iter().all(|conflict| conflict.series == "m"), "{case}");
    }
}

#[test]
fn conflicts_are_counted_by_batch_and_the_first_is_named() {
    let store = Store::in_memory();
    let instants = |value: f64| (0..30).map(|at| (at, value)).collect::<Vec<_>>();
    store.append(&[series(&[("__name__", "m")], &instants(1.0))]).unwrap();
    let mut mixed = series(&[("__name__", "m")], &instants(3.0)[..2]);
    let histogram = Arc::new(Histogram { sum: 7.0, ..Histogram::default() });
    mixed.series[0].histograms.push(HistogramSample { at: Timestamp(29), histogram });
    mixed.merge(series(&[("__name__", "other")], &[(1, 1.0)]));
    let batches = [WriteBatch::default(), series(&[("__name__", "m")], &instants(2.0)), WriteBatch::default(), mixed];
    let receipt = store.append(&batches).unwrap();
    assert_eq!((receipt.rejected, receipt.samples), (33, 1));
    let conflict = |batch, samples, histograms, refused| Conflict {
        batch,
        amounts: Amounts { samples, histograms, exemplars: 0 },
        series: "m".to_owned(),
        at: Timestamp(0),
        kept: 1.0,
        refused,
    };
    assert_eq!(receipt.conflicts, [conflict(1, 30, 0, 2.0), conflict(3, 2, 1, 3.0)]);
}

#[test]
fn selects_by_matchers_and_range() {
    let store = Store::in_memory();
    for (job, code, at) in [("api", "200", 10), ("api", "500", 20), ("web", "200", 30), ("web", "", 40)] {
        store.append(&[series(&[("__name__", "http"), ("job", job), ("code", code)], &[(at, 1.0)])]).unwrap();
    }
    let in_memory = store.snapshot();
    for range in [TimeRange::all(), range(40, 40), range(41, 50)] {
        assert_eq!(in_memory.label_names_at_once(range), Some(in_memory.label_names(&[], range)));
        let values = in_memory.label_values("job", &[], range);
        assert_eq!(in_memory.label_values_at_once("job", range), Some(values));
    }
    store.flush().unwrap();
    assert_eq!(store.snapshot().label_names_at_once(range(40, 40)), None, "a block has to be read");
    assert_eq!(store.snapshot().label_names_at_once(range(41, 50)), Some(vec![]), "no block has to be read");
    for snapshot in [in_memory, store.snapshot()] {
        selects(&snapshot);
    }
}

#[test]
fn a_short_look_is_short() {
    let store = Store::in_memory();
    let write = |pod: u32, at: i64| {
        let (pod, job) = (pod.to_string(), (pod / 100).to_string());
        store.append(&[series(&[("__name__", "up"), ("job", &job), ("pod", &pod)], &[(at, 1.0)])]).unwrap();
    };
    (0..1000).for_each(|pod| write(pod, i64::from(pod)));
    let snapshot = store.snapshot();
    let jobs = |range| snapshot.label_values_at_once("job", range);
    assert_eq!(jobs(TimeRange::all()).map(|jobs| jobs.len()), Some(10));
    assert_eq!(jobs(range(990, 2000)), None, "most have nothing there");
    assert_eq!(snapshot.label_values_at_once("pod", TimeRange::all()), None, "there are many values");
    assert_eq!(snapshot.label_names_at_once(range(2000, 3000)), None, "nobody has anything there");
}

fn selects(snapshot: &Snapshot) {
    for (case, matchers, range, want) in [
        ("all", vec![], TimeRange::all(), vec![10, 20, 30, 40]),
        ("equal", vec![matcher("job", MatchOp::Equal, "api")], TimeRange::all(), vec![10, 20]),
        ("not equal", vec![matcher("code", MatchOp::NotEqual, "200")], TimeRange::all(), vec![20, 40]),
        ("pattern", vec![matcher("code", MatchOp::Regex, "[25]00")], TimeRange::all(), vec![10, 20, 30]),
        ("not pattern", vec![matcher("code", MatchOp::NotRegex, "5..")], TimeRange::all(), vec![10, 30, 40]),
        ("missing", vec![matcher("code", MatchOp::Equal, "")], TimeRange::all(), vec![40]),
        (
            "two",
            vec![matcher("job", MatchOp::Equal, "web"), matcher("code", MatchOp::Equal, "200")],
            TimeRange::all(),
            vec![30],
        ),
        ("both ends", vec![], range(10, 20), vec![10, 20]),
        ("nothing there", vec![], range(21, 29), vec![]),
        ("backwards", vec![], range(20, 10), vec![]),
    ] {
        let mut found: Vec<_> = snapshot.select(&matchers, range).iter().map(|series| series.samples[0].at.0).collect();
        found.sort_unstable();
        assert_eq!(found, want, "{case}");
        assert_eq!(snapshot.series(&matchers, range).len(), want.len(), "{case}");
    }
    assert_eq!(snapshot.label_names(&[], TimeRange::all()), ["__name__", "code", "job"]);
    assert_eq!(snapshot.label_names(&[], range(40, 40)), ["__name__", "job"]);
    assert_eq!(snapshot.label_names(&[], range(41, 50)), Vec::<String>::new());
    let in_any_way = [matcher("job", MatchOp::Regex, ".*")];
    assert_eq!(snapshot.label_names(&in_any_way, range(40, 40)), ["__name__", "job"]);
    assert_eq!(snapshot.label_values("job", &[], TimeRange::all()), ["api", "web"]);
    assert_eq!(snapshot.label_values("job", &[matcher("code", MatchOp::Equal, "500")], TimeRange::all()), ["api"]);
    assert_eq!(snapshot.label_values("job", &[], range(25, 35)), ["web"]);
    assert!(snapshot.label_values("pod", &[], TimeRange::all()).is_empty());
}

#[test]
fn a_series_is_seen_only_where_it_has_samples() {
    let store = Store::in_memory();
    let far: Vec<_> = (0..500).map(|at| (at * 1000, 1.0)).collect();
    store.append(&[series(&[("__name__", "m")], &far)]).unwrap();
    let snapshot = store.snapshot();
    for (start, end, want) in
        [(0, 0, 1), (1, 999, 0), (1, 1000, 1), (-5, -1, 0), (400_500, 400_900, 0), (499_000, i64::MAX, 1)]
    {
        assert_eq!(snapshot.series(&[], range(start, end)).len(), want, "{start}..{end}");
        assert_eq!(snapshot.select(&[], range(start, end)).len(), want, "{start}..{end}");
    }
}

#[test]
fn a_snapshot_never_changes() {
    let store = Store::in_memory();
    store.append(&[everything(1)]).unwrap();
    let before = store.snapshot();
    let held = answers(&before);
    for number in 2..400 {
        store.append(&[everything(number)]).unwrap();
    }
    assert_eq!(answers(&before), held);
    assert_eq!(store.snapshot().select(&[Matcher::equal("job", "api")], TimeRange::all())[0].samples.len(), 399);
}

#[test]
fn a_reader_sees_whole_batches_only() {
    let store = Arc::new(Store::in_memory());
    let writer = std::thread::spawn({
        let store = Arc::clone(&store);
        move || {
            for number in 1..300 {
                store.append(&[everything(number)]).unwrap();
            }
        }
    });
    loop {
        let done = writer.is_finished();
        let snapshot = store.snapshot();
        let samples = snapshot
            .select(&[Matcher::equal("job", "api")], TimeRange::all())
            .first()
            .map_or(0, |found| found.samples.len());
        let lines: usize =
            snapshot.streams(&[], Nanos(i64::MIN), Nanos(i64::MAX)).iter().map(|stream| stream.lines.len()).sum();
        let spans: usize = snapshot.traces(TimeRange::all()).map(|trace| trace.spans.len()).sum();
        assert_eq!((samples * 2, samples), (lines, spans));
        if done {
            break;
        }
    }
    writer.join().unwrap();
}

#[test]
fn staleness_markers_keep_their_bits() {
    let store = Store::in_memory();
    store.append(&[series(&[("__name__", "m")], &[(1, 1.0), (2, stale_marker()), (3, f64::NAN)])]).unwrap();
    let samples = store.snapshot().select(&[], TimeRange::all()).remove(0).samples;
    assert!(is_stale(samples[1].value) && !is_stale(samples[2].value) && samples[2].value.is_nan());
}

#[test]
fn lines_come_in_order_and_once() {
    let store = Store::in_memory();
    let app = [("app", "api")];
    store.append(&[lines(&app, &[(30, "c"), (10, "a"), (10, "b"), (10, "a")])]).unwrap();
    store.append(&[lines(&app, &[(10, "b"), (20, "x"), (31, "y")])]).unwrap();
    store.append(&[lines(&[("app", "web")], &[(20, "w")])]).unwrap();
    let snapshot = store.snapshot();
    let text = |matchers: &[Matcher], start, end| -> Vec<String> {
        let streams = snapshot.streams(matchers, Nanos(start), Nanos(end));
        streams.iter().flat_map(|stream| &stream.lines).map(|line| line.line.clone()).collect()
    };
    let api = [Matcher::equal("app", "api")];
    assert_eq!(text(&api, 0, 100), ["a", "b", "x", "c", "y"]);
    assert_eq!(text(&api, 20, 30), ["x", "c"]);
    assert_eq!(text(&[], 20, 20), ["x", "w"]);
    assert_eq!(snapshot.stream_labels(&[], Nanos(21), Nanos(40)), [Labels::from_pairs(app)]);
    let odd = snapshot.streams(&api, Nanos(31), Nanos(31)).remove(0).lines.remove(0);
    assert_eq!(odd.metadata.get("trace_id"), Some("y"));
}

#[test]
fn packed_lines_read_like_fresh_ones() {
    let store = Store::in_memory();
    let long = "x".repeat(3000);
    let mut want = Vec::new();
    for at in 0..1500 {
        let text = if at % 100 == 0 { &long } else { "short" };
        store.append(&[lines(&[("app", "api")], &[(at * 10, text)])]).unwrap();
        want.push((at * 10, text));
    }
    let snapshot = store.snapshot();
    let found = snapshot.streams(&[], Nanos(0), Nanos(i64::MAX)).remove(0).lines;
    let found: Vec<_> = found.iter().map(|line| (line.at.0, line.line.as_str())).collect();
    assert_eq!(found, want);
    assert_eq!(snapshot.stream_labels(&[], Nanos(41), Nanos(49)).len(), 0);
    assert_eq!(snapshot.stream_labels(&[], Nanos(41), Nanos(50)).len(), 1);
    assert_eq!(store.status().logs.items, 1500);
}

#[test]
fn traces_are_found_by_id_and_time() {
    let store = Store::in_memory();
    let ms = 1_000_000;
    store
        .append(&[spans(vec![
            span(1, 2, 20 * ms, 30 * ms),
            span(1, 1, 10 * ms, 50 * ms),
            span(2, 1, 100 * ms, 110 * ms),
        ])])
        .unwrap();
    // Sent again after a lost answer, together with a late one.
    store.append(&[spans(vec![span(1, 1, 10 * ms, 50 * ms), span(1, 3, 300 * ms, 310 * ms)])]).unwrap();
    let snapshot = store.snapshot();
    let trace = snapshot.trace(TraceId([1; 16])).unwrap();
    assert_eq!(trace.spans.iter().map(|span| span.id.0[0]).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(*trace.spans[1], span(1, 2, 20 * ms, 30 * ms));
    assert!(snapshot.trace(TraceId([7; 16])).is_none());
    for (start, end, want) in
        [(0, 1000, vec![2, 1]), (60, 99, vec![]), (110, 110, vec![2]), (30, 100, vec![2, 1]), (305, 400, vec![1])]
    {
        let found: Vec<_> = snapshot.traces(range(start, end)).map(|trace| trace.id.0[0]).collect();
        assert_eq!(found, want, "{start}..{end}");
    }
}

#[test]
fn memory_follows_what_is_there() {
    let store = Store::in_memory();
    for number in 1..=20 {
        store.append(&[everything(number)]).unwrap();
    }
    let status = store.status();
    assert_eq!((status.metrics.identities, status.metrics.items), (8, 40));
    assert_eq!((status.logs.identities, status.logs.items), (1, 40));
    assert_eq!((status.traces.identities, status.traces.items), (20, 20));
    assert_eq!((status.metrics.oldest, status.metrics.newest), (Some(Timestamp(15_000)), Some(Timestamp(300_000))));
    let exemplars = store.snapshot().exemplars(&[Matcher::equal("job", "api")], range(30_000, 45_000));
    assert_eq!(exemplars[0].1.iter().map(|exemplar| exemplar.value).collect::<Vec<_>>(), [0.25, 0.375]);
    assert_eq!(store.snapshot().metadata().len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_order_of_samples_gives_what_a_plain_list_gives(
        writes in proptest::collection::vec(proptest::collection::vec((0_u8..3, 0_i64..400, 0_u8..3), 1..40), 1..20),
        start in 0_i64..400,
        length in 0_i64..400,
    ) {
        let disk = aegis_store::MemoryDisk::new();
        let store = open(&disk);
        let mut model: BTreeMap<u8, BTreeMap<i64, f64>> = BTreeMap::new();
        let mut rejected = 0;
        for write in &writes {
            let mut batch = WriteBatch::default();
            for (name, at, value) in write {
                let value = f64::from(*value);
                batch.merge(series(&[("__name__", "m"), ("n", &name.to_string())], &[(*at, value)]));
                let kept = *model.entry(*name).or_default().entry(*at).or_insert(value);
                rejected += u64::from(kept != value);
            }
            rejected -= store.append(&[batch]).unwrap().rejected;
        }
        prop_assert_eq!(rejected, 0);
        let inside = |samples: &BTreeMap<i64, f64>| samples.range(start..=start + length).map(|(at, value)| (*at, *value)).collect::<Vec<_>>();
        let want: Vec<_> = model.values().map(inside).filter(|samples| !samples.is_empty()).collect();
        let found = |store: &Store| -> Vec<Vec<(i64, f64)>> {
            let found = store.snapshot().select(&[], range(start, start + length));
            found.iter().map(|series| series.samples.iter().map(|sample| (sample.at.0, sample.value)).collect()).collect()
        };
        prop_assert_eq!(&found(&store), &want);
        drop(store);
        prop_assert_eq!(found(&open(&disk)), want);
    }
}
