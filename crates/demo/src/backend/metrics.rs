//! What the sample application counts, under the names of its dashboards and alerts.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use signal::Timestamp;

use super::pool::Usage;

/// The media type of [`Metrics::exposition`].
pub(crate) const EXPOSITION_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Request {
    service: String,
    method: &'static str,
    path: &'static str,
    status: u16,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Route {
    service: String,
    method: &'static str,
    path: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Evaluated {
    service: String,
    action: &'static str,
    result: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Query {
    service: String,
    operation: &'static str,
    table: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Service {
    service: String,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Connections {
    service: String,
    state: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Build {
    service: String,
    version: String,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Lost {
    service: String,
    kind: &'static str,
}

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;
type Seconds = Counter<f64, AtomicU64>;

/// All instruments of one replica.
#[derive(Debug)]
pub(crate) struct Metrics {
    service: String,
    registry: Registry,
    requests: Family<Request, Counter>,
    request_seconds: Histograms<Route>,
    evaluations: Family<Evaluated, Counter>,
    query_seconds: Histograms<Query>,
    connections: Family<Connections, Gauge>,
    pending: Family<Service, Gauge>,
    acquire_seconds: Histograms<Service>,
    acquire_timeouts: Family<Service, Counter>,
    resident_bytes: Gauge,
    cpu_seconds: Seconds,
    lost: Family<Lost, Counter>,
}

fn buckets() -> Histogram {
    Histogram::new([0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0])
}

impl Metrics {
    pub(crate) fn new(service: &str, version: &str, pool_size: usize, started: Timestamp) -> Self {
        let mut registry = Registry::default();
        let requests = Family::default();
        registry.register("http_requests", "Requests answered", requests.clone());
        let request_seconds = Histograms::new_with_constructor(buckets as fn() -> Histogram);
        registry.register("http_request_duration_seconds", "Time to answer a request", request_seconds.clone());
        let evaluations = Family::default();
        registry.register("policy_evaluations", "Policy decisions", evaluations.clone());
        let query_seconds = Histograms::new_with_constructor(buckets as fn() -> Histogram);
        registry.register("db_query_duration_seconds", "Time a connection was held", query_seconds.clone());
        let connections = Family::default();
        registry.register("db_pool_connections", "Connections by state", connections.clone());
        let most = Family::<Service, Gauge>::default();
        registry.register("db_pool_connections_max", "Size of the connection pool", most.clone());
        let pending = Family::default();
        registry.register("db_pool_pending_requests", "Requests waiting for a connection", pending.clone());
        let acquire_seconds = Histograms::new_with_constructor(buckets as fn() -> Histogram);
        registry.register("db_pool_acquire_duration_seconds", "Wait for a connection", acquire_seconds.clone());
        let acquire_timeouts = Family::<Service, Counter>::default();
        registry.register("db_pool_acquire_timeouts", "Waits given up", acquire_timeouts.clone());
        let resident_bytes = Gauge::default();
        registry.register("process_resident_memory_bytes", "Resident memory", resident_bytes.clone());
        let cpu_seconds = Seconds::default();
        registry.register("process_cpu_seconds", "Processor time used", cpu_seconds.clone());
        let start = Gauge::<f64, AtomicU64>::default();
        start.set(started.as_secs_f64());
        registry.register("process_start_time_seconds", "When the process started", start);
        let build = Family::<Build, Gauge>::default();
        registry.register("app_build_info", "The release that runs", build.clone());
        let lost = Family::default();
        registry.register("telemetry_lost", "Telemetry that could not be delivered", lost.clone());

        build.get_or_create(&Build { service: service.to_owned(), version: version.to_owned() }).set(1);
        let of_service = Service { service: service.to_owned() };
        most.get_or_create(&of_service).set(i64::try_from(pool_size).unwrap_or(i64::MAX));
        // A counter that is absent until its first event hides that event from `rate()`.
        drop(acquire_timeouts.get_or_create(&of_service));
        Self {
            service: service.to_owned(),
            registry,
            requests,
            request_seconds,
            evaluations,
            query_seconds,
            connections,
            pending,
            acquire_seconds,
            acquire_timeouts,
            resident_bytes,
            cpu_seconds,
            lost,
        }
    }

    pub(crate) fn answered(&self, method: &'static str, path: &'static str, status: u16, took: Duration) {
        let service = self.service.clone();
        self.requests.get_or_create(&Request { service: service.clone(), method, path, status }).inc();
        self.request_seconds.get_or_create(&Route { service, method, path }).observe(took.as_secs_f64());
    }

    pub(crate) fn evaluated(&self, action: &'static str, is_allowed: bool) {
        let result = if is_allowed { "allow" } else { "deny" };
        self.evaluations.get_or_create(&Evaluated { service: self.service.clone(), action, result }).inc();
    }

    pub(crate) fn queried(&self, operation: &'static str, took: Duration) {
        let query = Query { service: self.service.clone(), operation, table: "users" };
        self.query_seconds.get_or_create(&query).observe(took.as_secs_f64());
    }

    pub(crate) fn acquired(&self, waited: Duration, is_timeout: bool) {
        let service = Service { service: self.service.clone() };
        self.acquire_seconds.get_or_create(&service).observe(waited.as_secs_f64());
        if is_timeout {
            self.acquire_timeouts.get_or_create(&service).inc();
        }
    }

    /// Everything as OpenMetrics text. `losses`: lines, spans, batches that were not delivered so far.
    pub(crate) fn exposition(&self, usage: Usage, losses: (u64, u64, u64)) -> Result<String, std::fmt::Error> {
        let whole = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        for (state, count) in [("used", usage.used), ("idle", usage.idle)] {
            self.connections.get_or_create(&Connections { service: self.service.clone(), state }).set(whole(count));
        }
        self.pending.get_or_create(&Service { service: self.service.clone() }).set(whole(usage.pending));
        for (kind, count) in [("lines", losses.0), ("spans", losses.1), ("batches", losses.2)] {
            let counter = self.lost.get_or_create_owned(&Lost { service: self.service.clone(), kind });
            counter.inc_by(count.saturating_sub(counter.get()));
        }
        if let Some((cpu_seconds, resident_bytes)) = process() {
            self.cpu_seconds.inc_by((cpu_seconds - self.cpu_seconds.get()).max(0.0));
            self.resident_bytes.set(resident_bytes);
        }
        let mut exposition = String::new();
        text::encode(&mut exposition, &self.registry)?;
        Ok(exposition)
    }
}

/// Processor seconds and resident bytes of this process; `None` where there is no `/proc`.
fn process() -> Option<(f64, i64)> {
    // See proc_pid_stat(5): the fields after the name in parentheses; ticks are 1/100 s and pages 4 KiB on Linux.
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    let field = |number: usize| fields.split_whitespace().nth(number - 3)?.parse::<i64>().ok();
    Some(((field(14)? + field(15)?) as f64 / 100.0, field(24)? * 4096))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exposition_uses_the_agreed_names() {
        let metrics = Metrics::new("backend", "1.0.0", 2, Timestamp(1_706_189_400_000));
        metrics.answered("POST", "/api/v1/users", 201, Duration::from_millis(45));
        metrics.evaluated("create_user", true);
        metrics.queried("insert", Duration::from_millis(23));
        metrics.acquired(Duration::ZERO, false);
        let text = metrics.exposition(Usage { used: 1, idle: 1, size: 2, pending: 0 }, (0, 0, 0)).unwrap();
        for line in [
            r#"http_requests_total{service="backend",method="POST",path="/api/v1/users",status="201"} 1"#,
            r#"http_request_duration_seconds_bucket{le="0.05",service="backend",method="POST",path="/api/v1/users"} 1"#,
            r#"http_request_duration_seconds_count{service="backend",method="POST",path="/api/v1/users"} 1"#,
            r#"policy_evaluations_total{service="backend",action="create_user",result="allow"} 1"#,
            r#"db_query_duration_seconds_count{service="backend",operation="insert",table="users"} 1"#,
            r#"db_pool_connections{service="backend",state="used"} 1"#,
            r#"db_pool_connections_max{service="backend"} 2"#,
            r#"db_pool_pending_requests{service="backend"} 0"#,
            r#"db_pool_acquire_duration_seconds_count{service="backend"} 1"#,
            r#"db_pool_acquire_timeouts_total{service="backend"} 0"#,
            r#"app_build_info{service="backend",version="1.0.0"} 1"#,
            "process_cpu_seconds_total ",
            "process_resident_memory_bytes ",
            "process_start_time_seconds 1706189400",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
