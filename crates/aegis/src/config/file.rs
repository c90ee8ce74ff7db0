//! The file as written. Every key is optional; unknown keys are errors.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ingest::scrape::{Escaping, NameValidation, ScrapeGlobal, ScrapeProtocol, Size, Surroundings};
use policy::{LimitSettings, Policy};
use remediate::VerifySettings;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use serde_saphyr::Spanned;
use signal::parse_duration;
use store::{LogRetention, StoreSettings};

use super::limits::IngestLimitsFile;
use super::log_files::{LogFilesFile, log_files};
use super::problem::Problems;
use super::scraping::{JobFile, jobs};
use super::size::parse_size;
use super::syslog::SyslogFile;
use super::{Config, QuerySettings, RemoteSettings, RuleSettings, StoreLimits};

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ConfigFile {
    /// Address and port of everything: API, UI, ingestion. Default `127.0.0.1:4300`.
    listen: Option<Spanned<String>>,
    otlp: OtlpFile,
    store: StoreFile,
    query: QueryFile,
    #[serde(deserialize_with = "or_default")]
    global: GlobalFile,
    /// What is scraped, as in a Prometheus configuration.
    #[serde(deserialize_with = "or_default")]
    scrape_configs: Vec<JobFile>,
    /// Further files with `scrape_configs`; the last part of a path may be a pattern.
    #[serde(deserialize_with = "or_default")]
    scrape_config_files: Vec<Spanned<String>>,
    /// Log files that are followed.
    #[serde(deserialize_with = "or_default")]
    log_files: Vec<Spanned<LogFilesFile>>,
    /// A configuration of promtail, of which `scrape_configs` with files are read. Relative to this file.
    promtail_config: Option<Spanned<PathBuf>>,
    /// A receiver of syslog messages.
    #[serde(deserialize_with = "or_default")]
    syslog: SyslogFile,
    /// How much log senders may bring.
    #[serde(deserialize_with = "or_default")]
    limits: IngestLimitsFile,
    /// Prometheus rule files, as patterns such as `rules/*.yaml`. Relative to this file.
    #[serde(deserialize_with = "or_default")]
    rule_files: Vec<Spanned<PathBuf>>,
    /// Of Prometheus, and not done here: firing alerts go to the control loop, and are sent to no Alertmanager.
    alerting: Option<Spanned<IgnoredAny>>,
    /// Of Prometheus, and not done here: samples are sent nowhere.
    remote_write: Option<Spanned<IgnoredAny>>,
    /// Of Prometheus, and not done here: `sources` is the way to ask another server.
    remote_read: Option<Spanned<IgnoredAny>>,
    /// Of Prometheus, and not needed: samples of any age are taken; `store` says how much is kept.
    storage: Option<Spanned<IgnoredAny>>,
    /// Of Prometheus, and not done here.
    tracing: Option<Spanned<IgnoredAny>>,
    /// Of Prometheus, and without a counterpart here.
    runtime: Option<Spanned<IgnoredAny>>,
    detect: DetectFile,
    verify: VerifyFile,
    policy: PolicyFile,
    drivers: DriversFile,
    sources: SourcesFile,
}

/// A section that is there and empty is one that is not there.
fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// The `otlp:` section: further ports for OpenTelemetry exporters. `off` closes one.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct OtlpFile {
    /// OTLP over gRPC. Default `127.0.0.1:4317`.
    grpc: Option<Spanned<String>>,
    /// OTLP over HTTP. Default `127.0.0.1:4318`.
    http: Option<Spanned<String>>,
}

/// The `store:` section.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct StoreFile {
    /// How long signals are kept, or `unlimited`. At least `1h`. Default `15d`.
    retention: Option<Spanned<String>>,
    /// How many bytes each signal may take on disk, such as `1GiB`. At least `64MiB`. Default `1GiB`.
    max_size: Option<Spanned<String>>,
    /// Series that may receive something between two moves of metrics to blocks. At least 1. Default 2 million.
    max_series: Option<Spanned<u32>>,
    /// Samples a second that are taken, over all senders. At least 1. Default: no limit.
    max_samples_per_second: Option<Spanned<u32>>,
    /// How long metrics and logs stay in memory before they move to blocks. At least `1m`. Default `2h`.
    flush_after: Option<Spanned<String>>,
    /// How long the lines of some streams are kept; the first selector that fits a stream counts, before `retention`.
    /// Default: none.
    #[serde(deserialize_with = "or_default")]
    log_retention: Vec<LogRetentionFile>,
    /// How long a deletion of lines can be cancelled; they are hidden from the beginning. Default `24h`.
    log_deletion_delay: Option<Spanned<String>>,
    /// `always` (an acknowledged write survives a loss of power) or `never` (it survives a crash of Aegis). Default
    /// `always`.
    fsync: Option<Spanned<String>>,
}

/// One rule of `store.log_retention`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LogRetentionFile {
    /// A stream selector as in LogQL, such as `{level="debug"}`. Required.
    selector: Spanned<String>,
    /// How long lines of these streams are kept, or `unlimited`. At least `1h`. Required.
    keep: Spanned<String>,
}

impl LogRetentionFile {
    fn check(&self, problems: &mut Problems) -> Option<LogRetention> {
        let keep = kept(Some(&self.keep), Duration::ZERO, problems);
        match query::logql::parse_selector(&self.selector.value) {
            Ok(matchers) => Some(LogRetention { matchers, keep }),
            Err(error) => {
                problems.add(&self.selector, format!("`{}` is not a stream selector: {error}", self.selector.value));
                None
            }
        }
    }
}

/// The `query:` section: how much one PromQL query of a client may take.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct QueryFile {
    /// How long a query may wait and run; a request may only lower it. At least `1s`. Default `2m`.
    timeout: Option<Spanned<String>>,
    /// Queries that run at once; the others wait. At least 1. Default 20.
    max_concurrency: Option<Spanned<u32>>,
    /// Samples one query may hold in memory. At least 1000. Default 50,000,000.
    max_samples: Option<Spanned<u32>>,
    /// How long a sample stays the value of its series. At least `1s`. Default `5m`.
    lookback_delta: Option<Spanned<String>>,
}

impl QueryFile {
    fn check(&self, problems: &mut Problems) -> QuerySettings {
        let second = Duration::from_secs(1);
        let normal = QuerySettings::default();
        QuerySettings {
            timeout: span(self.timeout.as_ref(), normal.timeout, second, problems),
            max_concurrency: at_least(self.max_concurrency.as_ref(), normal.max_concurrency, 1, problems),
            max_samples: at_least(self.max_samples.as_ref(), normal.max_samples, 1_000, problems),
            lookback_delta: span(self.lookback_delta.as_ref(), normal.lookback_delta, second, problems),
        }
    }
}

/// The `global:` section, as in a Prometheus configuration.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct GlobalFile {
    /// Time between two scrapes of a target. Above zero. Default `15s`.
    scrape_interval: Option<Spanned<String>>,
    /// How long a scrape may take; never more than the interval. Default `10s`.
    scrape_timeout: Option<Spanned<String>>,
    /// Formats to ask for, the best first. Default: OpenMetrics, then text; before them protobuf with native
    /// histograms.
    scrape_protocols: Option<Vec<ScrapeProtocol>>,
    /// Whether native histograms are asked for and kept. Default false.
    scrape_native_histograms: bool,
    /// Whether the classic buckets of native histograms are kept too. Default false.
    always_scrape_classic_histograms: bool,
    /// Not done: classic histograms stay classic.
    convert_classic_histograms_to_nhcb: Option<bool>,
    /// Whether three more series tell of the limits of each scrape. Default false.
    extra_scrape_metrics: bool,
    /// Most bytes of one page. Default: no limit but the general one.
    body_size_limit: Option<Size>,
    /// Most samples of one page after relabeling. Default: no limit.
    sample_limit: Option<usize>,
    /// Most targets of a job after relabeling. Default: no limit.
    target_limit: Option<usize>,
    /// Most labels of a scraped series. Default: no limit but the general one.
    label_limit: Option<usize>,
    /// Most bytes of a label's name. Default: no limit but the general one.
    label_name_length_limit: Option<usize>,
    /// Most bytes of a label's value. Default: no limit but the general one.
    label_value_length_limit: Option<usize>,
    /// Most targets of a job removed by rules that are remembered. Default: no limit.
    keep_dropped_targets: Option<usize>,
    /// Which names are taken: `utf8` or `legacy`. Default `utf8`.
    metric_name_validation_scheme: NameValidation,
    /// How targets are to write other names. Default `allow-utf-8`, with `legacy` names `underscores`.
    metric_name_escaping_scheme: Option<Escaping>,
    /// Not written: failures are in our own log and on the targets page.
    scrape_failure_log_file: Option<String>,
    /// Not written.
    query_log_file: Option<String>,
    /// Time between two evaluations of rules. At least `1s`. Default: `1m` for groups of rule files that name none, the
    /// scrape interval for the built-in alert rules.
    evaluation_interval: Option<Spanned<String>>,
    /// How far back the rules of rule files look, for samples that arrive late. Default `0s`.
    rule_query_offset: Option<Spanned<String>>,
    /// What this server adds to what it tells other servers; templates of rules see it as `$externalLabels`.
    external_labels: BTreeMap<String, String>,
}

/// The `detect:` section.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct DetectFile {
    /// Time between two looks. At least `1s`. Default: the scrape interval.
    interval: Option<Spanned<String>>,
    /// Rate window; at least two scrape intervals. Default: four scrape intervals.
    window: Option<Spanned<String>>,
    /// Time between two analyses of the last hour. At least `10s`. Default `5m`.
    analysis_interval: Option<Spanned<String>>,
}

/// The `verify:` section: how an action is proven.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct VerifyFile {
    /// Rate window of the readings. Default: four scrape intervals.
    window: Option<Spanned<String>>,
    /// How long the symptoms must be gone without a break. Default: three scrape intervals.
    hold: Option<Spanned<String>>,
    /// After this long without proof an action counts as not fixed. Default `3m`.
    deadline: Option<Spanned<String>>,
}

/// The `policy:` section. Without files nothing is permitted: Aegis observes and proposes.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct PolicyFile {
    /// The namespace meant by `deployment:NAME` in a policy question. Default `default`.
    namespace: Option<String>,
    /// Cedar policy files.
    files: Vec<Spanned<PathBuf>>,
    limits: LimitsFile,
}

/// The `policy.limits:` section: how much may be done, whatever the policies say.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LimitsFile {
    /// No deployment is scaled above this. Default 10.
    max_replicas: Option<Spanned<u32>>,
    /// One action multiplies replicas by no more than this. At least 2. Default 3.
    max_scale_factor: Option<Spanned<u32>>,
    /// Time between two actions of one kind on one target. Default `5m`.
    cool_down: Option<Spanned<String>>,
    /// Actions per hour on one target that did not end as a fix. Default 4.
    actions_per_hour_target: Option<Spanned<u32>>,
    /// Actions per hour everywhere that did not end as a fix. Default 12.
    actions_per_hour_total: Option<Spanned<u32>>,
    /// Older evidence is gathered again. Default `60s`.
    max_evidence_age: Option<Spanned<String>>,
    /// How long a permit can be used. Default `30s`.
    permit_valid: Option<Spanned<String>>,
}

/// The `drivers:` section: what Aegis can act on.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct DriversFile {
    local: Option<LocalFile>,
}

/// The `drivers.local:` section: processes on this machine.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LocalFile {
    /// The directory given to `aegis supervise --run-dir`.
    run_dir: PathBuf,
}

/// The `sources:` section: servers to read from instead of the own store.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct SourcesFile {
    /// Prometheus, Mimir or VictoriaMetrics.
    metrics: Option<RemoteFile>,
    /// Loki.
    logs: Option<RemoteFile>,
    /// Tempo.
    traces: Option<RemoteFile>,
}

/// One server to read from.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RemoteFile {
    /// Base URL, such as `http://prometheus:9090`.
    url: Spanned<String>,
    /// File that holds a bearer token.
    bearer_token_file: Option<PathBuf>,
    /// User name for basic authentication.
    username: Option<String>,
    /// File that holds the password for basic authentication.
    password_file: Option<PathBuf>,
    /// How long one query may take. Default `10s`.
    timeout: Option<Spanned<String>>,
}

impl ConfigFile {
    /// Gives usable settings, adding a problem for each value that is not.
    pub(super) fn check(self, base: &Path, problems: &mut Problems) -> Config {
        let second = Duration::from_secs(1);
        let least = Duration::from_millis(1);
        let interval = span(self.global.scrape_interval.as_ref(), Duration::from_secs(15), least, problems);
        let timeout = Duration::from_secs(10).min(interval);
        let timeout = span(self.global.scrape_timeout.as_ref(), timeout, least, problems);
        if let Some(text) = self.global.scrape_timeout.as_ref().filter(|_| timeout > interval) {
            problems.add(text, format!("`{}` is longer than `scrape_interval`", text.value));
        }
        let global = self.global.scraping();
        let around = Surroundings { interval, timeout, global: &global, base };
        let jobs = jobs(self.scrape_configs, &self.scrape_config_files, around, problems);
        // What is looked at more often than it changes is the same again.
        let interval = interval.max(second);
        let detect_interval = span(self.detect.interval.as_ref(), interval, second, problems);
        let detect_window = span(self.detect.window.as_ref(), interval * 4, interval * 2, problems);
        let analysis_interval =
            span(self.detect.analysis_interval.as_ref(), Duration::from_secs(300), second * 10, problems);
        let control = control::Settings {
            verify: VerifySettings {
                window: span(self.verify.window.as_ref(), interval * 4, interval * 2, problems),
                step: interval,
                hold: span(self.verify.hold.as_ref(), interval * 3, second, problems),
                deadline: span(self.verify.deadline.as_ref(), Duration::from_secs(180), second * 10, problems),
                watches: detect::default_watches(),
            },
            check_every: interval.min(second * 5),
            evidence_window: detect_window,
            ..control::Settings::default()
        };
        let ignored = [
            ("alerting", &self.alerting),
            ("remote_write", &self.remote_write),
            ("remote_read", &self.remote_read),
            ("storage", &self.storage),
            ("tracing", &self.tracing),
            ("runtime", &self.runtime),
        ];
        let ignored = ignored.into_iter().filter(|(_, section)| section.is_some()).map(|(key, _)| key).collect();
        let listen = address(self.listen.as_ref(), 4300, problems);
        if let Some(text) = self.listen.as_ref().filter(|text| text.value == "off") {
            problems.add(text, "`off` is not an address: Aegis has to listen somewhere");
        }
        let listen = listen.unwrap_or_else(|| loopback(4300));
        let rules = RuleSettings {
            files: super::rules::read(&self.rule_files, base, problems),
            surroundings: rules::Surroundings {
                interval: span(self.global.evaluation_interval.as_ref(), second * 60, second, problems),
                query_offset: span(self.global.rule_query_offset.as_ref(), Duration::ZERO, Duration::ZERO, problems),
                external_labels: self.global.external_labels,
                external_url: String::new(),
            },
        };
        let ingest_limits = self.limits.check(problems);
        let log_files = log_files(&self.log_files, self.promtail_config.as_ref(), base, &ingest_limits, problems);
        let rule_interval = self.global.evaluation_interval.as_ref().map_or(interval, |_| rules.surroundings.interval);
        Config {
            listen,
            otlp_grpc: address(self.otlp.grpc.as_ref(), 4317, problems),
            otlp_http: address(self.otlp.http.as_ref(), 4318, problems),
            store: self.store.check(problems),
            query: self.query.check(problems),
            jobs,
            log_files,
            syslog: self.syslog.check(&ingest_limits, problems),
            ingest_limits,
            shown: String::new(),
            ignored,
            rule_interval,
            rules,
            detect_interval,
            detect_window,
            analysis_interval,
            control,
            policy_namespace: self.policy.namespace.unwrap_or_else(|| "default".to_owned()),
            limits: self.policy.limits.check(problems),
            policies: check_policies(&self.policy.files, base, problems),
            local_run_dir: self.drivers.local.map(|local| base.join(local.run_dir)),
            metrics_source: self.sources.metrics.map(|remote| remote.check(base, problems)),
            logs_source: self.sources.logs.map(|remote| remote.check(base, problems)),
            traces_source: self.sources.traces.map(|remote| remote.check(base, problems)),
        }
    }
}

impl GlobalFile {
    fn scraping(&self) -> ScrapeGlobal {
        ScrapeGlobal {
            scrape_protocols: self.scrape_protocols.clone(),
            scrape_native_histograms: self.scrape_native_histograms,
            always_scrape_classic_histograms: self.always_scrape_classic_histograms,
            extra_scrape_metrics: self.extra_scrape_metrics,
            body_size_limit: self.body_size_limit,
            sample_limit: self.sample_limit,
            target_limit: self.target_limit,
            label_limit: self.label_limit,
            label_name_length_limit: self.label_name_length_limit,
            label_value_length_limit: self.label_value_length_limit,
            keep_dropped_targets: self.keep_dropped_targets,
            metric_name_validation_scheme: self.metric_name_validation_scheme,
            metric_name_escaping_scheme: self.metric_name_escaping_scheme,
        }
    }
}

impl StoreFile {
    fn check(self, problems: &mut Problems) -> StoreLimits {
        let normal = StoreSettings::default();
        let retention = kept(self.retention.as_ref(), normal.retention, problems);
        let log_retention = self.log_retention.iter().filter_map(|rule| rule.check(problems)).collect();
        let delay = self.log_deletion_delay.as_ref();
        let log_deletion_delay = span(delay, normal.line_deletion_delay, Duration::ZERO, problems);
        let max_series = at_least(self.max_series.as_ref(), normal.max_series, 1, problems);
        let samples = self.max_samples_per_second.as_ref();
        let max_samples_per_second = samples.map(|limit| at_least(Some(limit), limit.value, 1, problems));
        let flush_after = span(self.flush_after.as_ref(), normal.flush_after, Duration::from_secs(60), problems);
        let mut max_bytes = 1 << 30;
        if let Some(text) = &self.max_size {
            match parse_size(&text.value) {
                Some(bytes) if bytes >= 64 << 20 => max_bytes = bytes,
                Some(_) => problems.add(text, format!("`{}` is too small: at least 64MiB", text.value)),
                None => {
                    problems.add(text, format!("`{}` is not a size: write something like 512MiB or 2GiB", text.value));
                }
            }
        }
        let fsync = match self.fsync.as_ref().map(|text| text.value.as_str()) {
            None | Some("always") => true,
            Some("never") => false,
            Some(other) => {
                if let Some(text) = &self.fsync {
                    problems.add(text, format!("`{other}` is not known: `always` or `never`"));
                }
                true
            }
        };
        StoreLimits {
            retention,
            log_retention,
            log_deletion_delay,
            max_bytes,
            max_series,
            max_samples_per_second,
            flush_after,
            fsync,
        }
    }
}

impl LimitsFile {
    fn check(self, problems: &mut Problems) -> LimitSettings {
        let normal = LimitSettings::default();
        let second = Duration::from_secs(1);
        LimitSettings {
            max_replicas: at_least(self.max_replicas.as_ref(), normal.max_replicas, 1, problems),
            max_scale_factor: at_least(self.max_scale_factor.as_ref(), normal.max_scale_factor, 2, problems),
            cool_down: span(self.cool_down.as_ref(), normal.cool_down, Duration::ZERO, problems),
            actions_per_hour_target: at_least(
                self.actions_per_hour_target.as_ref(),
                normal.actions_per_hour_target,
                1,
                problems,
            ),
            actions_per_hour_total: at_least(
                self.actions_per_hour_total.as_ref(),
                normal.actions_per_hour_total,
                1,
                problems,
            ),
            max_evidence_age: span(self.max_evidence_age.as_ref(), normal.max_evidence_age, second * 5, problems),
            permit_valid: span(self.permit_valid.as_ref(), normal.permit_valid, second, problems),
        }
    }
}

impl RemoteFile {
    fn check(self, base: &Path, problems: &mut Problems) -> RemoteSettings {
        if !self.url.value.starts_with("http://") && !self.url.value.starts_with("https://") {
            problems
                .add(&self.url, format!("`{}` is not a URL: it must begin with http:// or https://", self.url.value));
        }
        RemoteSettings {
            timeout: span(self.timeout.as_ref(), Duration::from_secs(10), Duration::from_millis(100), problems),
            url: self.url.value,
            bearer_token_file: self.bearer_token_file.map(|file| base.join(file)),
            username: self.username,
            password_file: self.password_file.map(|file| base.join(file)),
        }
    }
}

/// Reads the policy files and checks that they load together; the built-in policy when there is none.
fn check_policies(files: &[Spanned<PathBuf>], base: &Path, problems: &mut Problems) -> Vec<(String, String)> {
    if files.is_empty() {
        return vec![("default.cedar".to_owned(), Policy::default_text().to_owned())];
    }
    let mut policies = Vec::new();
    for file in files {
        let path = base.join(&file.value);
        match std::fs::read_to_string(&path) {
            Ok(text) => policies.push((path.display().to_string(), text)),
            Err(error) => problems.add(file, format!("cannot read policy file {}: {error}", path.display())),
        }
    }
    let sources: Vec<(&str, &str)> = policies.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    if let (Err(error), Some(file)) = (Policy::load(&sources), files.first()) {
        problems.add(file, format!("the policies do not load: {error}"));
    }
    policies
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// An address; the default on loopback when not given; `None` for `off`.
fn address(text: Option<&Spanned<String>>, port: u16, problems: &mut Problems) -> Option<SocketAddr> {
    let Some(text) = text else { return Some(loopback(port)) };
    if text.value == "off" {
        return None;
    }
    match text.value.parse() {
        Ok(address) => Some(address),
        Err(_) => {
            problems.add(text, format!("`{}` is not an address: write 127.0.0.1:{port}", text.value));
            None
        }
    }
}

pub(super) fn span(
    text: Option<&Spanned<String>>,
    default: Duration,
    least: Duration,
    problems: &mut Problems,
) -> Duration {
    let Some(text) = text else { return default };
    match parse_duration(&text.value) {
        Ok(duration) if duration >= least => return duration,
        Ok(_) => {
            let least = signal::format_duration(least);
            problems.add(text, format!("`{}` is too short: at least {least}", text.value));
        }
        Err(error) => problems.add(text, error.to_string()),
    }
    default
}

/// How long something is kept.
fn kept(text: Option<&Spanned<String>>, default: Duration, problems: &mut Problems) -> Duration {
    match text {
        Some(text) if text.value == "unlimited" => Duration::MAX,
        text => span(text, default, Duration::from_secs(3600), problems),
    }
}

pub(super) fn at_least(value: Option<&Spanned<u32>>, default: u32, least: u32, problems: &mut Problems) -> u32 {
    match value {
        None => default,
        Some(value) if value.value >= least => value.value,
        Some(value) => {
            problems.add(value, format!("{} is too small: at least {least}", value.value));
            default
        }
    }
}
