//! Settings that can only be valid.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use control::Settings;
use ingest::Limits;
use ingest::scrape::ScrapeConfig;
use policy::LimitSettings;
use store::LogRetention;

use super::{LogFiles, RuleSettings, SyslogSettings};

/// Everything that decides how Aegis behaves.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// Where everything is served.
    pub(crate) listen: SocketAddr,
    /// Where OTLP over gRPC is served; `None` = off.
    pub(crate) otlp_grpc: Option<SocketAddr>,
    /// Where OTLP over HTTP is served; `None` = off.
    pub(crate) otlp_http: Option<SocketAddr>,
    pub(crate) store: StoreLimits,
    pub(crate) query: QuerySettings,
    /// What is scraped, from this file and those it names.
    pub(crate) jobs: Vec<Arc<ScrapeConfig>>,
    /// Log files that are followed.
    pub(crate) log_files: Vec<LogFiles>,
    /// A receiver of syslog messages.
    pub(crate) syslog: SyslogSettings,
    /// How much senders may bring.
    pub(crate) ingest_limits: Limits,
    /// Sections of Prometheus that are accepted and mean nothing here.
    pub(crate) ignored: Vec<&'static str>,
    /// The file as it is shown: without secrets.
    pub(crate) shown: String,
    /// Time between two evaluations of the built-in alert rules.
    pub(crate) rule_interval: Duration,
    /// The user's own rules.
    pub(crate) rules: RuleSettings,
    /// Time between two looks at the services.
    pub(crate) detect_interval: Duration,
    /// Rate window of the watched queries.
    pub(crate) detect_window: Duration,
    /// Time between two analyses of the last hour.
    pub(crate) analysis_interval: Duration,
    /// How the loop behaves.
    pub(crate) control: Settings,
    pub(crate) limits: LimitSettings,
    /// The namespace meant by `deployment:NAME` in a policy question.
    pub(crate) policy_namespace: String,
    /// Policy files: name and text. The built-in policy, which permits nothing, when none is configured.
    pub(crate) policies: Vec<(String, String)>,
    /// Where the supervisor of local processes has its files; `None` = no local driver.
    pub(crate) local_run_dir: Option<PathBuf>,
    /// A Prometheus API to read metrics from instead of the own store.
    pub(crate) metrics_source: Option<RemoteSettings>,
    /// A Loki API to read logs from instead of the own store.
    pub(crate) logs_source: Option<RemoteSettings>,
    /// A Tempo API to read traces from instead of the own store.
    pub(crate) traces_source: Option<RemoteSettings>,
}

/// How much is kept.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct StoreLimits {
    pub(crate) retention: Duration,
    /// For lines, before `retention`.
    pub(crate) log_retention: Vec<LogRetention>,
    /// How long a deletion of lines can be cancelled.
    pub(crate) log_deletion_delay: Duration,
    /// Per signal.
    pub(crate) max_bytes: u64,
    pub(crate) max_series: u32,
    /// Over all senders; `None` = no limit.
    pub(crate) max_samples_per_second: Option<u32>,
    pub(crate) flush_after: Duration,
    pub(crate) fsync: bool,
}

/// How much one PromQL query of a client may take.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct QuerySettings {
    /// Waiting included.
    pub(crate) timeout: Duration,
    pub(crate) max_concurrency: u32,
    pub(crate) max_samples: u32,
    pub(crate) lookback_delta: Duration,
}

impl Default for QuerySettings {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(120),
            max_concurrency: 20,
            max_samples: 50_000_000,
            lookback_delta: Duration::from_secs(300),
        }
    }
}

/// A server that answers in place of the own store.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct RemoteSettings {
    pub(crate) url: String,
    pub(crate) bearer_token_file: Option<PathBuf>,
    pub(crate) username: Option<String>,
    pub(crate) password_file: Option<PathBuf>,
    pub(crate) timeout: Duration,
}
