//! What usual PromQL queries cost: 100 hosts with 200 series each, a sample every 15 seconds for two hours.
//!
//! `cargo bench -p aegis-query --bench promql` prints milliseconds per query, the least of several runs, with one thread and
//! with as many as the machine has. A word behind `--` picks the queries whose names hold it.

#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a benchmark reports to a person, stops at the first surprise and measures time"
)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use aegis_query::Cancel;
use aegis_query::promql::{self, Settings, Steps, Value};
use signal::{Labels, Sample, SeriesWrite, Timestamp, WriteBatch};
use store::{Snapshot, Store};

const HOSTS: u64 = 100;
const SAMPLES: i64 = 480;
const INTERVAL_MS: i64 = 15_000;
const START_MS: i64 = 1_706_189_400_000;
const ROUNDS: usize = 25;

const SERVICES: [&str; 10] =
    ["api", "auth", "cart", "checkout", "email", "frontend", "payment", "search", "shipping", "stock"];
const MODES: [&str; 8] = ["idle", "user", "system", "iowait", "irq", "nice", "softirq", "steal"];
const BOUNDS: [&str; 18] = [
    "0.001", "0.0025", "0.005", "0.01", "0.025", "0.05", "0.075", "0.1", "0.15", "0.25", "0.5", "0.75", "1", "1.5",
    "2.5", "5", "10", "+Inf",
];

fn main() {
    let store = Store::in_memory();
    for host in 0..HOSTS {
        store.append(&[batch(host)]).expect("memory takes it");
    }
    let snapshot = store.snapshot();
    let wanted = std::env::args().skip(1).find(|word| !word.starts_with('-')).unwrap_or_default();
    let end = START_MS + (SAMPLES - 1) * INTERVAL_MS;
    let hour = |step| Some((3_600, step));
    println!("{:<26} {:>10} {:>10} {:>8}", "query", "1 thread", "all", "points");
    for (name, query, range) in [
        ("rate by service", "sum by (service) (rate(http_requests_total[5m]))", hour(15)),
        (
            "histogram_quantile",
            "histogram_quantile(0.95, sum by (le, instance, handler) (rate(http_request_duration_seconds_bucket[5m])))",
            None,
        ),
        ("topk of rates", "topk(10, rate(node_cpu_seconds_total[5m]))", None),
        ("sum over all", "sum by (service) ({env=\"prod\"})", None),
        (
            "regex matchers",
            "sum by (mode) (rate(node_cpu_seconds_total{instance=~\"host-0[0-4].*\",mode!~\"idle|iowait\"}[5m]))",
            hour(60),
        ),
        ("one series", "node_load1{instance=\"host-007:9100\"}", Some((7_080, 15))),
        ("binary", "node_memory_MemAvailable_bytes / on (instance) node_memory_MemTotal_bytes", hour(60)),
        ("avg_over_time", "avg_over_time(node_memory_MemFree_bytes[30m])", hour(60)),
        ("subquery", "max_over_time(sum by (service) (rate(http_requests_total[1m]))[30m:30s])", None),
        ("count by name", "count by (__name__) ({__name__!=\"\"})", None),
    ] {
        if !name.contains(&wanted) {
            continue;
        }
        let times = [1, usize::MAX].map(|threads| measure(query, range, end, &snapshot, threads));
        let [(alone, points), (together, _)] = times;
        println!("{name:<26} {alone:>7.2} ms {together:>7.2} ms {points:>8}");
    }
}

/// Least milliseconds of a query and the number of points in its answer.
fn measure(query: &str, range: Option<(i64, u64)>, end: i64, snapshot: &Snapshot, threads: usize) -> (f64, usize) {
    let expr = promql::parse(query).expect("a query");
    let all = std::thread::available_parallelism().map_or(1, usize::from);
    let settings = Settings { threads: threads.min(all), ..Settings::default() };
    let (cancel, end) = (Cancel::default(), Timestamp(end));
    let mut least = f64::INFINITY;
    let mut points = 0;
    for _ in 0..ROUNDS {
        let before = Instant::now();
        let answer = match range {
            None => promql::instant(&expr, snapshot, end, &settings, &cancel),
            Some((seconds, step)) => {
                let steps = Steps { start: Timestamp(end.0 - seconds * 1000), end, step: Duration::from_secs(step) };
                promql::range(&expr, snapshot, steps, &settings, &cancel)
            }
        };
        let answer = black_box(answer.expect("an answer"));
        least = least.min(before.elapsed().as_secs_f64() * 1000.0);
        points = match answer.value {
            Value::Vector(found) => found.len(),
            Value::Matrix(found) => found.iter().map(|series| series.samples.len()).sum(),
            Value::Scalar(_) | Value::String(..) => 1,
        };
    }
    (least, points)
}

/// How a series moves.
#[derive(Clone, Copy)]
enum Shape {
    Counter(u64),
    Gauge(u64),
    Constant,
}

fn batch(host: u64) -> WriteBatch {
    let mut random = Random(host + 1);
    let service = SERVICES.get(usize::try_from(host).expect("small") % SERVICES.len()).copied().unwrap_or_default();
    let common = [
        ("instance", format!("host-{host:03}:9100")),
        ("job", service.to_owned()),
        ("service", service.to_owned()),
        ("team", format!("team-{}", host % 10)),
        ("region", format!("eu-{}", host % 3)),
        ("zone", format!("eu-{}{}", host % 3, host % 2)),
        ("env", "prod".to_owned()),
        ("cluster", format!("prod-{}", host % 4)),
        ("version", format!("v1.{}.{}", host % 5, host % 7)),
        ("pod", format!("{service}-{:08x}", host * 2_654_435_761 % 0xffff_ffff)),
    ];
    let mut series = Vec::new();
    let mut add = |shape: Shape, name: &str, more: &[(&str, &str)]| {
        let pairs = common.iter().map(|(name, value)| (*name, value.as_str()));
        let labels = Labels::from_pairs(pairs.chain(more.iter().copied()).chain([(Labels::NAME, name)]));
        let mut value = random.below(1_000_000);
        let samples = (0..SAMPLES).map(|index| {
            value = match shape {
                Shape::Counter(most) => value + random.below(most),
                Shape::Gauge(around) => around + random.below(around),
                Shape::Constant => value,
            };
            Sample { at: Timestamp(START_MS + index * INTERVAL_MS), value: value as f64 }
        });
        series.push(SeriesWrite::new(labels, samples.collect::<Vec<_>>()));
    };
    for cpu in ["0", "1", "2", "3", "4", "5", "6", "7"] {
        for mode in MODES {
            add(Shape::Counter(1_500), "node_cpu_seconds_total", &[("cpu", cpu), ("mode", mode)]);
        }
    }
    for method in ["GET", "POST", "PUT", "DELETE"] {
        for path in ["/api/orders", "/api/items"] {
            for code in ["200", "404", "500"] {
                add(Shape::Counter(200), "http_requests_total", &[("method", method), ("path", path), ("code", code)]);
            }
        }
    }
    for handler in ["api", "grpc"] {
        for bound in BOUNDS {
            add(Shape::Counter(50), "http_request_duration_seconds_bucket", &[("handler", handler), ("le", bound)]);
        }
    }
    add(Shape::Gauge(5), "node_load1", &[]);
    add(Shape::Gauge(4_000_000_000), "node_memory_MemAvailable_bytes", &[]);
    add(Shape::Gauge(2_000_000_000), "node_memory_MemFree_bytes", &[]);
    add(Shape::Constant, "node_memory_MemTotal_bytes", &[]);
    for number in 0..36 {
        add(Shape::Gauge(100_000), &format!("gauge_{number}"), &[]);
    }
    for number in 0..36 {
        add(Shape::Gauge(50), "app_queue_depth", &[("queue", &format!("q{number:02}"))]);
    }
    WriteBatch { series, ..WriteBatch::default() }
}

/// Numbers that look random and are the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit.max(1)
    }
}
