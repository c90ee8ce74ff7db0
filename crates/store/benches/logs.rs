//! How fast lines are appended, moved to blocks, merged, read and replayed: `cargo bench -p aegis-store --bench logs`.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a bench"
)]

use std::sync::Arc;
use std::time::Instant;

use aegis_store::{Fsync, OsDisk, Store, StoreSettings};
use signal::{Labels, LogLine, Matcher, Nanos, StreamWrite, Timestamp, WriteBatch};

const STREAMS: usize = 40;
/// Lines of one stream in one write.
const TOGETHER: usize = 25;
const WRITES: usize = 3_000;

fn main() {
    let dir = tempfile::tempdir().unwrap();
    let settings = StoreSettings { fsync: Fsync::Never, ..StoreSettings::default() };
    let open = || Store::open(dir.path(), settings.clone(), Arc::new(OsDisk)).unwrap();
    let store = open();
    let labels: Vec<Labels> = (0..STREAMS).map(labels).collect();
    let lines = STREAMS * TOGETHER * WRITES;
    let per = |what: &str, items: usize, taken: Taken| {
        let us = |millis: f64| millis * 1e3 / items as f64;
        let Taken { millis, busy } = taken;
        println!("{what:<40} {:>10.3} us each, {millis:>9.1} ms in all; {:.3} us of a CPU", us(millis), us(busy));
    };
    let (begun_with, mut random) = (resident(), 1_u64);
    let (mut appending, mut keeping, mut text) = (Taken::default(), Taken::default(), 0);
    for write in 0..WRITES {
        let batch = batch(&labels, write, &mut random);
        text += batch.streams.iter().flat_map(|stream| &stream.lines).map(|line| line.line.len()).sum::<usize>();
        appending.add(|| drop(store.append(&[batch]).unwrap()));
        if write % 50 == 0 {
            keeping.add(|| while store.maintain(now(write)).unwrap().compacted {});
        }
    }
    println!("{:<40} {:>10}", "bytes a line", text / lines);
    per("append a line, sealing included", lines, appending);
    per("flush and merge, meanwhile", lines, keeping);
    println!("{:<40} {:>10.1} MB more", "resident", (resident() as f64 - begun_with as f64) / 1e6);
    let status = store.status().logs;
    println!("{:<40} {:>10} blocks, {} segments", "so far", status.blocks, status.segments);
    reading(&store, "log and blocks");
    let before: u64 =
        std::fs::read_dir(dir.path().join("logs")).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum();
    drop(store);
    let mut opened = None;
    per("open, of all lines", lines, Taken::by(|| opened = Some(open())));
    let store = opened.unwrap();
    println!("{:<40} {:>10.1} MB", "of which in the log", before as f64 / 1e6);
    per("flush the rest, of all lines", lines, Taken::by(|| store.flush().unwrap()));
    let late = now(WRITES + 3_000_000);
    per("merge in the end, of all lines", lines, Taken::by(|| while store.maintain(late).unwrap().compacted {}));
    let status = store.status().logs;
    println!(
        "{:<40} {:>10.2} in {} blocks",
        "bytes a line on disk",
        status.disk_bytes as f64 / lines as f64,
        status.blocks
    );
    reading(&store, "blocks");
}

/// How long something took.
#[derive(Clone, Copy, Default)]
struct Taken {
    millis: f64,
    /// Of which a CPU was busy with it.
    busy: f64,
}

impl Taken {
    fn by(work: impl FnOnce()) -> Self {
        let mut taken = Self::default();
        taken.add(work);
        taken
    }

    fn add(&mut self, work: impl FnOnce()) {
        let (begun, before) = (Instant::now(), busy());
        work();
        self.millis += begun.elapsed().as_secs_f64() * 1e3;
        self.busy += busy() - before;
    }
}

/// Milliseconds for which this process had a CPU, where the system tells.
fn busy() -> f64 {
    let told = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    told.split(' ').next().and_then(|nanos| nanos.parse::<f64>().ok()).unwrap_or(0.0) / 1e6
}

fn now(write: usize) -> Timestamp {
    Timestamp(1_700_000_000_000 + write as i64 * 100)
}

fn reading(store: &Store, place: &str) {
    let snapshot = store.snapshot();
    let (start, end) = (Nanos(i64::MIN), Nanos(i64::MAX));
    let begun = Instant::now();
    let rounds = 100;
    for _ in 0..rounds {
        assert_eq!(snapshot.stream_labels(&[], start, end).len(), STREAMS);
    }
    let named = begun.elapsed().as_secs_f64() * 1e3 / f64::from(rounds);
    let begun = Instant::now();
    let found = snapshot.find_streams(&[Matcher::equal("job", "app")], start, end);
    let found_in = begun.elapsed().as_secs_f64() * 1e3;
    let parts: usize = found.iter().map(|stream| stream.parts().len()).sum();
    let begun = Instant::now();
    let lines: usize = found.iter().take(4).map(|stream| stream.lines().len()).sum();
    let read = begun.elapsed().as_secs_f64() * 1e6 / lines as f64;
    println!("{place:<16} name streams {named:.3} ms, find {parts} parts {found_in:.3} ms, read {read:.3} us a line");
}

/// Bytes of this process in memory, where the system tells.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<usize>().ok()).unwrap_or(0) * 1024
}

fn labels(number: usize) -> Labels {
    Labels::from_pairs([
        ("job", "app".to_owned()),
        ("service", format!("service-{}", number / 4)),
        ("level", ["debug", "info", "warn", "error"][number % 4].to_owned()),
        ("env", "prod".to_owned()),
    ])
}

fn batch(labels: &[Labels], write: usize, random: &mut u64) -> WriteBatch {
    let mut next = || {
        *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        *random >> 20
    };
    let mut streams = Vec::with_capacity(labels.len());
    for (number, labels) in labels.iter().enumerate() {
        let mut lines = Vec::with_capacity(TOGETHER);
        for place in 0..TOGETHER {
            let at = now(write).to_nanos().0 + place as i64 * 4_000_000 + (next() % 1_000_000) as i64;
            let line = format!(
                r#"{{"ts":{at},"level":"info","service":"service-{}","trace_id":"{:032x}","user":"u-{}","path":"/api/v1/items/{}","status":{},"duration_ms":{}.{:03},"msg":"request finished","bytes":{}}}"#,
                number / 4,
                u128::from(next()) << 64 | u128::from(next()),
                next() % 100_000,
                next() % 1_000,
                [200, 200, 200, 404, 500][next() as usize % 5],
                next() % 500,
                next() % 1_000,
                next() % 65_536,
            );
            lines.push(LogLine { at: Nanos(at), line, metadata: Labels::empty() });
        }
        streams.push(StreamWrite { labels: labels.clone(), lines });
    }
    WriteBatch { streams, ..WriteBatch::default() }
}
