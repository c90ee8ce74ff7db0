//! What usual LogQL queries cost: 40 streams with 25,000 JSON lines each, in one hour, most of them in row groups and the
//! newest as they came.
//!
//! `cargo bench -p aegis-query --bench logql` prints milliseconds per query, the middle of several runs, and the CPU time of
//! one. A word behind `--` picks the queries whose names hold it.

#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a benchmark reports to a person, stops at the first surprise and measures time"
)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use aegis_query::{Cancel, logql};
use signal::{Labels, LogLine, Nanos, StreamWrite, WriteBatch};
use store::Store;

const STREAMS: u64 = 40;
const WRITES: u64 = 250;
/// Lines of one stream in one write.
const TOGETHER: u64 = 100;
const START: i64 = 1_706_189_400_000_000_000;
const HOUR: i64 = 3_600_000_000_000;
const ROUNDS: usize = 15;

const QUERIES: &[(&str, &str, usize)] = &[
    ("needle", r#"{job="app"} |= "4bf92f3577b34da6a3ce929d0e0e4736""#, 100),
    ("id as field", r#"{job="app"} | json | trace_id="4bf92f3577b34da6a3ce929d0e0e4736""#, 100),
    ("part of a word", r#"{job="app"} |= "a3ce929d""#, 100),
    ("level", r#"{job="app"} | json | level="error""#, 1_000),
    ("rare number", r#"{job="app"} | json | duration_ms > 998"#, 1_000),
    ("regex", r#"{job="app"} |~ "finished (late|never)""#, 1_000),
    ("newest", r#"{service="service-3"}"#, 100),
    ("count by level", r#"sum by (level) (count_over_time({job="app"} | json [1m]))"#, 0),
    ("rate by service", r#"sum by (service) (rate({job="app"}[1m]))"#, 0),
    ("bytes by service", r#"sum by (service) (bytes_rate({job="app"}[1m]))"#, 0),
    ("count of a regex", r#"sum(count_over_time({job="app"} |~ "finished (late|never)" [1m]))"#, 0),
    ("quantile", r#"quantile_over_time(0.99, {service="service-3"} | json | unwrap duration_ms [5m]) by (service)"#, 0),
    ("no columns", r#"sum(count_over_time({service="service-3"} | json | line_format "{{.path}}" |= "7" [1m]))"#, 0),
];

fn main() {
    let dir = tempfile::tempdir().expect("a directory");
    let settings = store::StoreSettings { fsync: store::Fsync::Never, ..Default::default() };
    let store = Store::open(dir.path(), settings, std::sync::Arc::new(store::OsDisk)).expect("a store");
    let mut random = 1;
    for write in 0..WRITES {
        store.append(&[batch(write, &mut random)]).expect("the disk takes it");
        if write == WRITES * 9 / 10 {
            store.flush().expect("the disk takes it");
        }
    }
    let snapshot = store.snapshot();
    let wanted = std::env::args().skip(1).find(|word| !word.starts_with('-'));
    println!("{:<18} {:>9} {:>9} {:>8}", "query", "ms", "cpu ms", "lines");
    for (name, query, limit) in QUERIES {
        if wanted.as_ref().is_some_and(|word| !name.contains(word.as_str())) {
            continue;
        }
        let expr = logql::parse(query).expect("a query");
        let (start, end) = (Nanos(START), Nanos(START + HOUR));
        let question = match limit {
            0 => logql::RangeQuery::points(start, end, Duration::from_secs(60)),
            limit => logql::RangeQuery::lines(start, end, *limit),
        };
        let mut taken = Vec::with_capacity(ROUNDS);
        let mut found = 0;
        let before = busy();
        for _ in 0..ROUNDS {
            let begun = Instant::now();
            let answer = logql::range(&expr, &snapshot, question, &Cancel::default()).expect("an answer");
            taken.push(begun.elapsed().as_secs_f64() * 1e3);
            found = match black_box(&answer) {
                logql::Answer::Streams(streams) => streams.iter().map(|stream| stream.lines.len()).sum(),
                logql::Answer::Matrix(series) => series.iter().map(|one| one.points.len()).sum(),
                logql::Answer::Vector(_) | logql::Answer::Scalar(_) => 0,
            };
        }
        taken.sort_by(f64::total_cmp);
        let middle = taken.get(ROUNDS / 2).copied().unwrap_or_default();
        println!("{name:<18} {middle:>9.2} {:>9.2} {found:>8}", (busy() - before) / ROUNDS as f64);
    }
}

/// Milliseconds of CPU that this process has had, where the system tells.
fn busy() -> f64 {
    let told = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let mut fields = told.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11);
    let mut ticks = || fields.next().and_then(|ticks| ticks.parse::<f64>().ok()).unwrap_or_default();
    (ticks() + ticks()) * 10.0
}

fn batch(write: u64, random: &mut u64) -> WriteBatch {
    let mut next = || {
        *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        *random >> 20
    };
    let streams = (0..STREAMS).map(|number| {
        let lines = (0..TOGETHER).map(|place| {
            let at = START + (write * TOGETHER + place) as i64 * (HOUR / (WRITES * TOGETHER) as i64);
            let level = ["info", "info", "info", "info", "debug", "warn", "error"].get(next() as usize % 7);
            let line = format!(
                r#"{{"ts":"2024-01-25T13:30:00.{:03}Z","level":"{}","service":"service-{}","trace_id":"{:016x}{:016x}","user":"u-{}","path":"/api/v1/items/{}","status":{},"duration_ms":{}.{},"msg":"request {} finished {} in {} ms"}}"#,
                next() % 1_000,
                level.copied().unwrap_or_default(),
                number / 4,
                next() << 20 ^ next(),
                next() << 20 ^ next(),
                next() % 100_000,
                next() % 50_000,
                200 + next() % 3 * 100,
                next() % 1_000,
                next() % 10,
                next() % 1_000_000,
                ["soon", "soon", "soon", "late", "fine"].get(next() as usize % 5).copied().unwrap_or_default(),
                next() % 1_000,
            );
            LogLine { at: Nanos(at), line, metadata: Labels::empty() }
        });
        let labels = [("job", "app".to_owned()), ("service", format!("service-{}", number / 4)), ("pod", format!("p-{number}"))];
        StreamWrite { lines: lines.collect(), labels: Labels::from_pairs(labels) }
    });
    WriteBatch { streams: streams.collect(), ..WriteBatch::default() }
}
