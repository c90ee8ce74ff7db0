//! How fast metrics are appended, moved to blocks, read and replayed: `cargo bench -p aegis-store`.
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
use signal::{Labels, Matcher, Sample, SeriesWrite, TimeRange, Timestamp, WriteBatch};

const HOSTS: usize = 100;
const PER_HOST: usize = 200;
const STEPS: i64 = 240;
const STEP: i64 = 15_000;

fn main() {
    let dir = tempfile::tempdir().unwrap();
    let settings = StoreSettings { fsync: Fsync::Never, ..StoreSettings::default() };
    let open = || Store::open(dir.path(), settings.clone(), Arc::new(OsDisk)).unwrap();
    let store = open();
    let labels: Vec<Labels> = (0..HOSTS * PER_HOST).map(labels).collect();
    let samples = labels.len() * STEPS as usize;
    let per = |what: &str, items: usize, begun: Instant| {
        let nanos = begun.elapsed().as_nanos() as f64;
        println!("{what:<40} {:>10.1} ns each, {:>9.1} ms in all", nanos / items as f64, nanos / 1e6);
    };

    let mut rest = std::time::Duration::ZERO;
    let begun = Instant::now();
    for step in 0..STEPS {
        for hosts in labels.chunks(10 * PER_HOST).enumerate() {
            let making = Instant::now();
            let batch = batch(hosts, step);
            rest += making.elapsed();
            store.append(&[batch]).unwrap();
        }
    }
    per("append a sample, all included", samples, begun);
    println!("{:<40} {:>10.1} ns each", "of which making the batch", rest.as_nanos() as f64 / samples as f64);

    reading(&store, "memory", samples);
    drop(store);
    let begun = Instant::now();
    let store = open();
    per("replay a sample", samples, begun);
    let begun = Instant::now();
    store.flush().unwrap();
    per("move a sample to a block", samples, begun);
    println!("{:<40} {:>10.2}", "bytes a sample in blocks", store.status().metrics.disk_bytes as f64 / samples as f64);
    reading(&store, "blocks, cold", samples);
    reading(&store, "blocks, warm", samples);
    memory();
}

/// What many series with few samples take.
fn memory() {
    const MANY: usize = 500_000;
    let dir = tempfile::tempdir().unwrap();
    let settings = StoreSettings { fsync: Fsync::Never, ..StoreSettings::default() };
    let before = resident();
    let store = Store::open(dir.path(), settings, Arc::new(OsDisk)).unwrap();
    let mut known: Vec<Labels> = Vec::with_capacity(MANY);
    for step in 0..4 {
        for group in 0..MANY / 2_000 {
            let range = group * 2_000..(group + 1) * 2_000;
            if step == 0 {
                known.extend(range.clone().map(labels));
            }
            store.append(&[batch((group, &known[range]), step)]).unwrap();
        }
    }
    let text = known.iter().map(Labels::bytes).sum::<usize>() / MANY;
    drop(known);
    let bytes = (resident() - before) / MANY;
    println!("{:<40} {bytes:>10} bytes, {text} of them text of labels", "a series of four samples in memory");
}

/// Bytes of this process in memory, where the system tells.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<usize>().ok()).unwrap_or(0) * 1024
}

fn reading(store: &Store, place: &str, samples: usize) {
    let snapshot = store.snapshot();
    let all = [Matcher::equal("env", "prod")];
    let begun = Instant::now();
    let found = snapshot.find(&all, TimeRange::all());
    let found_in = begun.elapsed();
    let (mut floats, mut histograms, mut count) = (Vec::new(), Vec::new(), 0);
    let begun = Instant::now();
    for reader in &found {
        floats.clear();
        reader.read(TimeRange::all(), &mut floats, &mut histograms);
        count += floats.len();
    }
    let read_in = begun.elapsed();
    assert_eq!(count, samples);
    let at = Timestamp(STEPS * STEP - 70_000);
    let begun = Instant::now();
    let range = TimeRange::new(Timestamp(at.0 - 299_999), at);
    let latest = found.iter().filter_map(|reader| reader.latest(range)).count();
    let latest_in = begun.elapsed();
    println!(
        "{place:<16} find {} series {:.2} ms, read {:.1} ns a sample, latest of {latest} {:.2} ms",
        found.len(),
        found_in.as_secs_f64() * 1e3,
        read_in.as_nanos() as f64 / samples as f64,
        latest_in.as_secs_f64() * 1e3,
    );
}

fn labels(number: usize) -> Labels {
    let (host, series) = (number / PER_HOST, number % PER_HOST);
    let service = format!("service-{}", host % 10);
    Labels::from_pairs([
        ("__name__", format!("metric_{:02}_total", series / 8)),
        ("cluster", format!("prod-{}", host % 4)),
        ("cpu", format!("{}", series % 8)),
        ("env", "prod".to_owned()),
        ("instance", format!("host-{host:03}:9100")),
        ("job", service.clone()),
        ("pod", format!("{service}-{:08x}", host * 2_654_435)),
        ("region", "eu-west-1".to_owned()),
        ("service", service),
        ("team", "core".to_owned()),
        ("version", format!("v1.{}.{}", host % 5, host % 7)),
        ("zone", "eu-west-1a".to_owned()),
    ])
}

fn batch((group, labels): (usize, &[Labels]), step: i64) -> WriteBatch {
    let mut state = (group as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ step as u64;
    let series = labels.iter().enumerate().map(|(number, labels)| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let jitter = (state >> 40) as f64 / 65_536.0;
        let value = match number % 5 {
            0 => (step as f64 * 250.0 + jitter).round() / 100.0,
            1 => (step as f64 * 37.0 + jitter).round(),
            2 => (jitter * 16.0).round() * 4096.0,
            3 => 1.0,
            _ => jitter,
        };
        let offset = (number / PER_HOST) as i64 * 977;
        SeriesWrite::new(labels.clone(), [Sample { at: Timestamp(step * STEP + offset), value }])
    });
    WriteBatch { series: series.collect(), ..WriteBatch::default() }
}
