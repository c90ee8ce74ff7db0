//! The load: remote write 1.0 bodies, the same for every server, packed before anything is measured.
//!
//! One seed gives one load, byte for byte, for the same end. The labels of a series are the same bytes every time, as a
//! real sender's are.

use std::path::Path;

use super::super::load::{Body, Packer, Random, field, pick, varint};

/// Time between two samples of a series.
pub(super) const STEP_MS: i64 = 15_000;
/// Series in one request.
const TOGETHER: usize = 2_000;
/// Series of one host.
pub(super) const PER_HOST: usize = 200;
/// Metrics of one pod in the load of many series.
const PER_POD: usize = 50;
/// Samples of each series in the load of many series.
const FEW_STEPS: i64 = 4;

const SERVICES: [&str; 10] =
    ["accounts", "basket", "billing", "gateway", "login", "mail", "orders", "search", "shipping", "stock"];
const TEAMS: [&str; 5] = ["blue", "green", "red", "white", "yellow"];
const REGIONS: [&str; 3] = ["eu-central-1", "us-west-2", "ap-east-1"];
const BOUNDS: [&str; 18] = [
    "0.001", "0.002", "0.005", "0.01", "0.02", "0.05", "0.075", "0.1", "0.2", "0.3", "0.5", "0.75", "1.0", "2.0",
    "3.0", "5.0", "10.0", "+Inf",
];
/// Share of requests that end in each bucket, in thousandths.
const SHARES: [u32; 18] = [10, 30, 80, 140, 200, 160, 100, 80, 70, 50, 30, 20, 12, 8, 5, 3, 1, 1];

/// A packed load.
#[derive(Clone, Debug, Default)]
pub(super) struct Load {
    pub(super) bodies: Vec<Body>,
    pub(super) series: u64,
    pub(super) samples: u64,
    /// Unix seconds of the newest samples.
    pub(super) end: i64,
}

/// How the values of a series move.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Kind {
    /// A counter of hundredths.
    Hundredths {
        rate: f64,
    },
    /// A counter of whole numbers; `falls` when its process starts again.
    Counter {
        rate: f64,
        falls: bool,
    },
    /// A gauge in pages of 4 KiB that often stays where it is.
    Pages {
        by: f64,
    },
    /// A gauge with two decimals.
    Decimal,
    /// A gauge of whole numbers.
    Whole,
    Constant,
    /// One bucket of a histogram; the first draws the requests of all.
    Bucket {
        index: usize,
    },
    Sum,
    Count,
}

#[derive(Clone, Debug)]
struct Series {
    /// Everything of the message in front of the value.
    prefix: Vec<u8>,
    kind: Kind,
    state: f64,
}

/// A value and a time behind the prefix: one byte each for two tags, eight and six of content.
const SAMPLE_BYTES: usize = 16;

fn prefix(mut labels: Vec<(&str, String)>) -> Vec<u8> {
    labels.sort();
    let mut body = Vec::new();
    for (name, value) in &labels {
        let mut pair = Vec::new();
        field(&mut pair, 1, name.as_bytes());
        field(&mut pair, 2, value.as_bytes());
        field(&mut body, 1, &pair);
    }
    let mut out = vec![1 << 3 | 2];
    varint(&mut out, (body.len() + 2 + SAMPLE_BYTES) as u64);
    out.extend_from_slice(&body);
    out.extend_from_slice(&[2 << 3 | 2, SAMPLE_BYTES as u8, 1 << 3 | 1]);
    out
}

fn host_labels(host: usize) -> Vec<(&'static str, String)> {
    let service = pick(&SERVICES, host);
    let region = pick(&REGIONS, host);
    vec![
        ("instance", format!("node-{host:04}.{region}:9100")),
        ("job", service.to_owned()),
        ("service", service.to_owned()),
        ("team", pick(&TEAMS, host % SERVICES.len()).to_owned()),
        ("region", region.to_owned()),
        ("zone", format!("{region}{}", pick(&["a", "b"], host))),
        ("env", "prod".to_owned()),
        ("cluster", format!("prod-{}", host % 4)),
        ("version", format!("v2.{}.{}", host % 6, host % 11)),
        ("pod", format!("{service}-{:08x}", (host as u32).wrapping_mul(2_654_435_761))),
    ]
}

/// The 200 series of a host: 96 counters, 44 gauges, 20 constants, two histograms of 20.
fn host_series(host: usize, random: &mut Random) -> Vec<Series> {
    let base = host_labels(host);
    let mut all = Vec::with_capacity(PER_HOST);
    let mut add = |name: &str, more: &[(&'static str, &str)], kind: Kind, state: f64| {
        let mut labels = base.clone();
        labels.push(("__name__", name.to_owned()));
        labels.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
        all.push(Series { prefix: prefix(labels), kind, state });
    };
    for core in 0..8 {
        let states = [("idle", 1100.0), ("user", 250.0), ("system", 90.0), ("iowait", 20.0)];
        let rare = [("irq", 2.0), ("nice", 0.0), ("softirq", 8.0), ("steal", 1.0)];
        for (state, rate) in states.into_iter().chain(rare) {
            let start = random.below(10_000_000) as f64;
            let more = [("core", &*core.to_string()), ("state", state)];
            add("system_cpu_seconds_total", &more, Kind::Hundredths { rate }, start);
        }
    }
    for verb in ["GET", "POST", "PUT", "DELETE"] {
        for route in ["/v2/orders", "/v2/stock"] {
            for (status, rate) in [("200", 300.0), ("404", 6.0), ("500", 0.4)] {
                let rate = rate * (0.2 + random.unit());
                let more = [("verb", verb), ("route", route), ("status", status)];
                add("requests_total", &more, Kind::Counter { rate, falls: true }, random.below(100_000) as f64);
            }
        }
    }
    for interface in ["eth0", "eth1"] {
        for (what, rate) in [("in_bytes", 4e6), ("out_bytes", 3e6), ("in_packets", 5e3), ("out_packets", 4e3)] {
            let start = random.below(10_000_000_000) as f64;
            let name = format!("network_{what}_total");
            add(&name, &[("interface", interface)], Kind::Counter { rate, falls: false }, start);
        }
    }
    for what in [
        "available",
        "free",
        "cached",
        "buffers",
        "active",
        "inactive",
        "dirty",
        "slab",
        "mapped",
        "shared",
        "anonymous",
        "tables",
        "writeback",
        "stacks",
        "reclaimable",
        "fixed",
        "committed",
        "virtual",
        "locked",
        "unevictable",
    ] {
        let by = (8_u64 << random.below(7)) as f64;
        add(&format!("memory_{what}_bytes"), &[], Kind::Pages { by }, random.below(1 << 20) as f64);
    }
    for what in ["load1", "load5", "load15", "temperature"] {
        add(&format!("system_{what}"), &[("probe", "agent")], Kind::Decimal, random.unit() * 20.0);
    }
    for what in ["open_files", "threads", "tasks", "connections"] {
        add(&format!("process_{what}"), &[("probe", "agent")], Kind::Whole, random.unit() * 400.0);
    }
    for queue in 0..16 {
        add("queue_length", &[("queue", &format!("q-{queue:02}"))], Kind::Whole, random.unit() * 40.0);
    }
    add("memory_total_bytes", &[], Kind::Constant, 33_554_432_000.0);
    add("process_start_time_seconds", &[], Kind::Constant, 1.7e9 + random.below(10_000_000) as f64);
    add("system_boot_time_seconds", &[], Kind::Constant, 1.7e9 + random.below(1_000_000) as f64);
    add("up", &[], Kind::Constant, 1.0);
    for path in ["/", "/var", "/srv", "/boot"] {
        for (what, value) in [("size_bytes", 1e11), ("files", 6e6), ("is_readonly", 0.0), ("has_error", 0.0)] {
            let more = [("path", path), ("type", "ext4")];
            add(&format!("filesystem_{what}"), &more, Kind::Constant, value);
        }
    }
    for handler in ["web", "rpc"] {
        for (index, bound) in BOUNDS.into_iter().enumerate() {
            add("request_seconds_bucket", &[("handler", handler), ("le", bound)], Kind::Bucket { index }, 0.0);
        }
        add("request_seconds_sum", &[("handler", handler)], Kind::Sum, 0.0);
        add("request_seconds_count", &[("handler", handler)], Kind::Count, 0.0);
    }
    all
}

/// The requests of one handler during a step, as they fall into buckets.
#[derive(Clone, Copy, Debug, Default)]
struct Requests {
    upto: [f64; BOUNDS.len()],
    count: f64,
}

impl Requests {
    fn draw(random: &mut Random) -> Self {
        let mut requests = Self { count: (random.burst() * 30.0).floor(), ..Self::default() };
        for _ in 0..requests.count as u64 {
            let mut at = random.below(SHARES.iter().sum::<u32>().into()) as u32;
            let bucket = SHARES.iter().position(|share| {
                let is_here = at < *share;
                at = at.saturating_sub(*share);
                is_here
            });
            for upto in requests.upto.iter_mut().skip(bucket.unwrap_or_default()) {
                *upto += 1.0;
            }
        }
        requests
    }
}

impl Series {
    fn step(&mut self, random: &mut Random, requests: &mut Requests) -> f64 {
        match self.kind {
            Kind::Hundredths { rate } => {
                self.state += (rate * (0.7 + 0.6 * random.unit())).floor();
                self.state / 100.0
            }
            Kind::Counter { rate, .. } => {
                self.state += (rate * random.burst()).floor();
                self.state
            }
            Kind::Pages { by } => {
                if random.unit() < 0.6 {
                    self.state = (self.state + (by * random.noise()).trunc()).abs();
                }
                self.state * 4096.0
            }
            Kind::Decimal => {
                self.state = (self.state + 0.1 * random.noise()).abs();
                (self.state * 100.0).round() / 100.0
            }
            Kind::Whole => {
                self.state = (self.state + 0.6 * random.noise()).abs();
                self.state.trunc()
            }
            Kind::Constant => self.state,
            Kind::Bucket { index } => {
                if index == 0 {
                    *requests = Requests::draw(random);
                }
                self.state += requests.upto.get(index).copied().unwrap_or_default();
                self.state
            }
            Kind::Sum => {
                self.state += requests.count * (0.02 + 0.02 * random.unit());
                self.state
            }
            Kind::Count => {
                self.state += requests.count;
                self.state
            }
        }
    }

    fn falls(&self) -> bool {
        match self.kind {
            Kind::Counter { falls, .. } => falls,
            Kind::Bucket { .. } | Kind::Sum | Kind::Count => true,
            Kind::Hundredths { .. } | Kind::Pages { .. } | Kind::Decimal | Kind::Whole | Kind::Constant => false,
        }
    }
}

fn put(raw: &mut Vec<u8>, series: &Series, value: f64, at_ms: i64) {
    raw.extend_from_slice(&series.prefix);
    raw.extend_from_slice(&value.to_le_bytes());
    raw.push(2 << 3);
    varint(raw, at_ms as u64);
}

/// Hosts that are scraped every 15 s for `steps` steps until `end`.
pub(super) fn hosts(path: &Path, hosts: usize, steps: i64, end: i64, seed: u64) -> anyhow::Result<Load> {
    let mut random = Random(seed);
    let mut packer = Packer::new(path)?;
    let mut all: Vec<Vec<Series>> = (0..hosts).map(|host| host_series(host, &mut random)).collect();
    // Three of ten hosts start again once.
    let restarts: Vec<Option<i64>> =
        (0..hosts).map(|_| (random.unit() < 0.3).then(|| random.below(steps.unsigned_abs()) as i64)).collect();
    let mut raw = Vec::new();
    let mut samples = 0;
    for step in 0..steps {
        let at = (end * 1000) - (steps - 1 - step) * STEP_MS;
        let groups = all.chunks_mut(TOGETHER / PER_HOST).zip(restarts.chunks(TOGETHER / PER_HOST));
        for (group, (hosts_of, restarts)) in groups.enumerate() {
            raw.clear();
            for (number, (host, restart)) in hosts_of.iter_mut().zip(restarts).enumerate() {
                // Every target has its own moment within the interval.
                let late = ((group * 10 + number) as i64 * 7919) % 14_000 - 14_000;
                let mut requests = Requests::default();
                for series in host.iter_mut() {
                    if *restart == Some(step) && series.falls() {
                        series.state = 0.0;
                    }
                    let value = series.step(&mut random, &mut requests);
                    put(&mut raw, series, value, at + late);
                    samples += 1;
                }
            }
            packer.add(&raw, group)?;
        }
    }
    Ok(Load { bodies: packer.finish()?, series: (hosts * PER_HOST) as u64, samples, end })
}

/// Many series with few samples each: pods of 50 metrics.
pub(super) fn pods(path: &Path, series: usize, end: i64, seed: u64) -> anyhow::Result<Load> {
    let mut random = Random(seed ^ 0x5eed);
    let mut packer = Packer::new(path)?;
    let names: Vec<String> = (0..PER_POD).map(|metric| format!("pod_metric_{metric:02}_total")).collect();
    let mut all = Vec::with_capacity(series);
    for pod in 0..series.div_ceil(PER_POD) {
        let service = pick(&SERVICES, pod);
        let uid = format!("{:016x}{:016x}", random.next(), random.next());
        let base = [
            ("instance", format!("10.{}.{}.{}:8080", pod >> 16 & 255, pod >> 8 & 255, pod & 255)),
            ("job", "pods".to_owned()),
            ("service", service.to_owned()),
            ("namespace", format!("space-{:02}", pod % 40)),
            ("pod", format!("{service}-{}-{}", uid.get(..9).unwrap_or_default(), uid.get(9..14).unwrap_or_default())),
            ("uid", uid.clone()),
            ("container", "main".to_owned()),
            ("node", format!("node-{:03}", pod % 200)),
            ("region", pick(&REGIONS, pod).to_owned()),
            ("env", "prod".to_owned()),
            ("cluster", format!("prod-{}", pod % 4)),
        ];
        for name in names.iter().take(series - all.len()) {
            let mut labels = base.to_vec();
            labels.push(("__name__", name.clone()));
            let kind = Kind::Counter { rate: 30.0, falls: false };
            all.push(Series { prefix: prefix(labels), kind, state: random.below(1 << 20) as f64 });
        }
    }
    let mut raw = Vec::new();
    let mut samples = 0;
    for step in 0..FEW_STEPS {
        let at = end * 1000 - (FEW_STEPS - 1 - step) * STEP_MS;
        for (group, series) in all.chunks_mut(TOGETHER).enumerate() {
            raw.clear();
            for one in series.iter_mut() {
                let value = one.step(&mut random, &mut Requests::default());
                put(&mut raw, one, value, at);
            }
            packer.add(&raw, group)?;
            samples += series.len() as u64;
        }
    }
    Ok(Load { bodies: packer.finish()?, series: all.len() as u64, samples, end })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_gives_one_load() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        let load = hosts(&a, 20, 3, 1_795_000_000, 7).unwrap();
        hosts(&b, 20, 3, 1_795_000_000, 7).unwrap();
        assert_eq!((load.series, load.samples, load.bodies.len()), (4_000, 12_000, 6));
        let packed = std::fs::read(&a).unwrap();
        assert_eq!(packed, std::fs::read(&b).unwrap());
        let Body { offset, len, .. } = load.bodies[5];
        let raw = snap::raw::Decoder::new().decompress_vec(&packed[offset as usize..offset as usize + len]).unwrap();
        // Each series is a field of the length it states.
        let mut rest = &raw[..];
        let mut series = 0;
        while let [10, low, high, ..] = rest {
            let len = usize::from(low & 0x7f) | usize::from(*high) << 7;
            rest = &rest[3 + len..];
            series += 1;
        }
        assert_eq!((series, rest.len()), (2_000, 0));
    }

    #[test]
    fn many_series_are_as_many_as_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let load = pods(&dir.path().join("a"), 4_120, 1_795_000_000, 7).unwrap();
        assert_eq!((load.series, load.samples, load.bodies.len()), (4_120, 16_480, 12));
    }
}
