//! One entry of `scrape_configs`, and what `global` says for all of them.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Deserializer, de};
use signal::parse_duration;

use super::http::{HttpSettings, with_http};
use super::protocol::{Escaping, NameValidation, ScrapeProtocol};
use super::sd::{Discovery, DnsSdFile, FileSdFile, GroupFile, HttpSdFile, KubernetesSdFile, TargetGroup};
use crate::relabel::{Rule, RuleError, RuleFile};

with_http! {
    /// One scrape job as written. Keys and defaults are Prometheus'.
    pub struct ScrapeFile {
        /// Name of the job, the `job` label of its series. Unique. Required.
        pub job_name: String,
        /// Time between two scrapes of a target. Default: the global one.
        pub scrape_interval: Option<String>,
        /// How long one scrape may take; at most the interval. Default: the global one, or the interval when that is
        /// shorter.
        pub scrape_timeout: Option<String>,
        /// Formats to ask for, the best first. Default: the global ones.
        pub scrape_protocols: Option<Vec<ScrapeProtocol>>,
        /// How to read a page that does not say what it is. Default: such a scrape fails.
        pub fallback_scrape_protocol: Option<ScrapeProtocol>,
        /// Whether native histograms are asked for and kept. Default: the global answer.
        pub scrape_native_histograms: Option<bool>,
        /// Whether the classic buckets of native histograms are kept too. Default: the global answer.
        pub always_scrape_classic_histograms: Option<bool>,
        /// The name of `always_scrape_classic_histograms` before Prometheus 3.
        pub scrape_classic_histograms: Option<bool>,
        /// Not done: classic histograms stay classic.
        pub convert_classic_histograms_to_nhcb: Option<bool>,
        /// Not written: failures are in our own log and on the targets page.
        pub scrape_failure_log_file: Option<String>,
        /// Default `/metrics`.
        pub metrics_path: Option<String>,
        /// `http` or `https`. Default `http`.
        pub scheme: Option<String>,
        /// Query parameters. Default none.
        #[serde(deserialize_with = "crate::scrape::or_default")]
        pub params: BTreeMap<String, Vec<String>>,
        /// Whether labels of the page win over those of the target. Default false.
        pub honor_labels: bool,
        /// Whether times on the page are used. Default true.
        pub honor_timestamps: Option<bool>,
        /// Whether series that state their own times are ended as others are. Default false.
        pub track_timestamps_staleness: bool,
        /// Whether a compressed page is asked for. Default true.
        pub enable_compression: Option<bool>,
        /// Targets written here.
        #[serde(deserialize_with = "crate::scrape::or_default")]
        pub static_configs: Vec<GroupFile>,
        /// Targets listed in files.
        #[serde(deserialize_with = "crate::scrape::or_default")]
        pub file_sd_configs: Vec<FileSdFile>,
        /// Targets listed by servers.
        #[serde(deserialize_with = "crate::scrape::or_default")]
        pub http_sd_configs: Vec<HttpSdFile>,
        /// Targets found by name.
        #[serde(deserialize_with = "crate::scrape::or_default")]
        pub dns_sd_configs: Vec<DnsSdFile>,
        /// Targets of Kubernetes clusters.
        #[serde(deserialize_with = "crate::scrape::or_default")]
        pub kubernetes_sd_configs: Vec<KubernetesSdFile>,
        /// Most bytes of one page.
        pub body_size_limit: Option<Size>,
        /// Most samples of one page after relabeling.
        pub sample_limit: Option<usize>,
        /// Most targets after relabeling.
        pub target_limit: Option<usize>,
        /// Most labels of a series after relabeling.
        pub label_limit: Option<usize>,
        /// Most bytes of a label's name.
        pub label_name_length_limit: Option<usize>,
        /// Most bytes of a label's value.
        pub label_value_length_limit: Option<usize>,
        /// Most buckets of a native histogram; finer ones are made coarser.
        pub native_histogram_bucket_limit: Option<usize>,
        /// Least growth from bucket to bucket; finer histograms are made coarser.
        pub native_histogram_min_bucket_factor: Option<f64>,
        /// Most targets removed by rules that are remembered.
        pub keep_dropped_targets: Option<usize>,
        /// Which names are taken. Default: the global answer.
        pub metric_name_validation_scheme: Option<NameValidation>,
        /// How targets are to write other names. Default: the global answer.
        pub metric_name_escaping_scheme: Option<Escaping>,
        /// Whether three more series tell of the limits of each scrape. Default: the global answer.
        pub extra_scrape_metrics: Option<bool>,
        /// Rules for targets.
        #[serde(deserialize_with = "crate::scrape::or_default")]
        pub relabel_configs: Vec<RuleFile>,
        /// Rules for series.
        #[serde(deserialize_with = "crate::scrape::or_default")]
        pub metric_relabel_configs: Vec<RuleFile>,
    }
}

/// A number of bytes: `0`, `512B`, `64KB`, `10MB`, `1GiB`. Units are powers of 1,024, as in Prometheus.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Size(pub usize);

impl Size {
    fn parse(text: &str) -> Option<Self> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at_checked(digits)?;
        let power = match unit.trim() {
            "" | "B" => 0,
            "KB" | "KiB" => 1,
            "MB" | "MiB" => 2,
            "GB" | "GiB" => 3,
            "TB" | "TiB" => 4,
            _ => return None,
        };
        number.parse::<usize>().ok()?.checked_mul(1_usize.checked_shl(10 * power)?).map(Self)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Size;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size, such as `10MB`")
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Size, E> {
                usize::try_from(number).map(Size).map_err(E::custom)
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Size, E> {
                usize::try_from(number).map(Size).map_err(E::custom)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Size, E> {
                Size::parse(text).ok_or_else(|| E::custom(format!("`{text}` is not a size, such as `10MB`")))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// What the `global` section says about scraping, besides the intervals.
#[derive(Clone, Debug, Default)]
pub struct ScrapeGlobal {
    /// Formats to ask for, the best first.
    pub scrape_protocols: Option<Vec<ScrapeProtocol>>,
    /// Whether native histograms are asked for and kept. Default false.
    pub scrape_native_histograms: bool,
    /// Whether the classic buckets of native histograms are kept too. Default false.
    pub always_scrape_classic_histograms: bool,
    /// Whether three more series tell of the limits of each scrape. Default false.
    pub extra_scrape_metrics: bool,
    /// Most bytes of one page.
    pub body_size_limit: Option<Size>,
    /// Most samples of one page after relabeling.
    pub sample_limit: Option<usize>,
    /// Most targets after relabeling.
    pub target_limit: Option<usize>,
    /// Most labels of a series after relabeling.
    pub label_limit: Option<usize>,
    /// Most bytes of a label's name.
    pub label_name_length_limit: Option<usize>,
    /// Most bytes of a label's value.
    pub label_value_length_limit: Option<usize>,
    /// Most targets removed by rules that are remembered.
    pub keep_dropped_targets: Option<usize>,
    /// Which names are taken.
    pub metric_name_validation_scheme: NameValidation,
    /// How targets are to write other names.
    pub metric_name_escaping_scheme: Option<Escaping>,
}

/// What a job takes from around it.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    /// The global interval.
    pub interval: Duration,
    /// The global timeout.
    pub timeout: Duration,
    /// The rest of the global section.
    pub global: &'a ScrapeGlobal,
    /// Where relative paths start.
    pub base: &'a Path,
}

/// One scrape job that can only be valid.
#[derive(Clone, PartialEq, Debug)]
pub struct ScrapeConfig {
    /// Name of the job.
    pub job_name: String,
    /// Time between two scrapes of a target.
    pub interval: Duration,
    /// How long one scrape may take.
    pub timeout: Duration,
    /// Formats to ask for, the best first.
    pub protocols: Vec<ScrapeProtocol>,
    /// How to read a page that does not say what it is.
    pub fallback: Option<ScrapeProtocol>,
    /// How targets are to write names that are not taken as they are.
    pub escaping: Escaping,
    /// Which names are taken.
    pub validation: NameValidation,
    /// Whether native histograms are kept.
    pub native_histograms: bool,
    /// Whether the classic buckets of native histograms are kept too.
    pub always_classic: bool,
    /// Path of the page, starting with `/`.
    pub metrics_path: String,
    /// `http` or `https`.
    pub scheme: String,
    /// Query parameters.
    pub params: BTreeMap<String, Vec<String>>,
    /// Whether labels of the page win.
    pub honor_labels: bool,
    /// Whether times on the page are used.
    pub honor_timestamps: bool,
    /// Whether series that state their own times are ended as others are.
    pub tracks_timestamps: bool,
    /// Whether a compressed page is asked for.
    pub compressed: bool,
    /// How to reach the targets.
    pub http: HttpSettings,
    /// Targets written in the configuration.
    pub static_targets: Vec<TargetGroup>,
    /// Where else targets come from.
    pub discovery: Vec<Discovery>,
    /// What is too much.
    pub limits: ScrapeLimits,
    /// Whether three more series tell of the limits of each scrape.
    pub extra_metrics: bool,
    /// Rules for targets.
    pub relabel: Vec<Rule>,
    /// Rules for series.
    pub metric_relabel: Vec<Rule>,
}

/// What is too much for one job; 0 is no limit.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct ScrapeLimits {
    /// Bytes of one page.
    pub body_size: usize,
    /// Samples of one page after relabeling.
    pub samples: usize,
    /// Targets after relabeling.
    pub targets: usize,
    /// Labels of a series after relabeling.
    pub labels: usize,
    /// Bytes of a label's name.
    pub label_name_length: usize,
    /// Bytes of a label's value.
    pub label_value_length: usize,
    /// Buckets of a native histogram.
    pub buckets: usize,
    /// Least growth from bucket to bucket.
    pub min_bucket_factor: f64,
    /// Targets removed by rules that are remembered.
    pub dropped_targets: usize,
}

/// Why a scrape job is not usable.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScrapeConfigError {
    /// Jobs are told apart by name.
    #[error("`job_name` is empty")]
    NoName,
    /// Not a duration, or zero.
    #[error("`{key}` of job `{job}` is `{found}`; expected a duration above zero, like `15s`")]
    Duration {
        /// The job.
        job: String,
        /// The key.
        key: &'static str,
        /// What is there.
        found: String,
    },
    /// The next scrape would start before this one ends.
    #[error("`scrape_timeout` of job `{job}` is longer than its `scrape_interval`")]
    TimeoutOverInterval {
        /// The job.
        job: String,
    },
    /// Neither http nor https.
    #[error("`scheme` of job `{job}` is `{found}`; expected `http` or `https`")]
    Scheme {
        /// The job.
        job: String,
        /// What is there.
        found: String,
    },
    /// Keys that do not go together, or a value that is not allowed.
    #[error("job `{job}`: {reason}")]
    Settings {
        /// The job.
        job: String,
        /// What is wrong, with the key.
        reason: String,
    },
    /// A rule is not usable.
    #[error("rule {number} of `{key}` of job `{job}` is not usable")]
    Rule {
        /// The job.
        job: String,
        /// The list.
        key: &'static str,
        /// From 1.
        number: usize,
        /// Why.
        #[source]
        source: RuleError,
    },
}

impl ScrapeFile {
    /// Gives usable settings.
    ///
    /// # Errors
    /// `ScrapeConfigError` names the job and the key.
    pub fn check(mut self, around: Surroundings<'_>) -> Result<ScrapeConfig, ScrapeConfigError> {
        let http = self.take_http();
        let job = std::mem::take(&mut self.job_name);
        if job.is_empty() {
            return Err(ScrapeConfigError::NoName);
        }
        let settings = |reason| ScrapeConfigError::Settings { job: job.clone(), reason };
        let duration = |key, text: Option<String>, default| match text {
            None => Ok(default),
            Some(text) => match parse_duration(&text) {
                Ok(duration) if !duration.is_zero() => Ok(duration),
                Ok(_) | Err(_) => Err(ScrapeConfigError::Duration { job: job.clone(), key, found: text }),
            },
        };
        let interval = duration("scrape_interval", self.scrape_interval.take(), around.interval)?;
        let timeout = duration("scrape_timeout", self.scrape_timeout.take(), around.timeout.min(interval))?;
        if timeout > interval {
            return Err(ScrapeConfigError::TimeoutOverInterval { job });
        }
        let scheme = self.scheme.take().unwrap_or_else(|| "http".to_owned());
        if scheme != "http" && scheme != "https" {
            return Err(ScrapeConfigError::Scheme { job, found: scheme });
        }
        let native_histograms = self.scrape_native_histograms.unwrap_or(around.global.scrape_native_histograms);
        let protocols = self.protocols(around.global, native_histograms).map_err(settings)?;
        let (validation, escaping) = self.names(around.global).map_err(settings)?;
        let limits = self.limits(around.global).map_err(settings)?;
        let discovery = self.discovery(around.base).map_err(settings)?;
        let http = http.check(around.base).map_err(settings)?;
        if self.relabel_configs.is_empty() {
            // A rule may still make an address of it; without rules it can only be a mistake.
            let mut targets = self.static_configs.iter().flat_map(|group| &group.targets);
            if let Some(bad) = targets.find(|target| target.contains('/')) {
                return Err(settings(format!("`{bad}` of `static_configs` is not `host:port`")));
            }
        }
        let path = self.metrics_path.unwrap_or_else(|| "/metrics".to_owned());
        let relabel = rules(&job, "relabel_configs", self.relabel_configs)?;
        let metric_relabel = rules(&job, "metric_relabel_configs", self.metric_relabel_configs)?;
        let always_classic = self.always_scrape_classic_histograms.or(self.scrape_classic_histograms);
        Ok(ScrapeConfig {
            interval,
            timeout,
            protocols,
            fallback: self.fallback_scrape_protocol,
            escaping,
            validation,
            native_histograms,
            always_classic: always_classic.unwrap_or(around.global.always_scrape_classic_histograms),
            metrics_path: if path.starts_with('/') { path } else { format!("/{path}") },
            scheme,
            params: self.params,
            honor_labels: self.honor_labels,
            honor_timestamps: self.honor_timestamps.unwrap_or(true),
            tracks_timestamps: self.track_timestamps_staleness,
            compressed: self.enable_compression.unwrap_or(true),
            http,
            static_targets: self.static_configs.into_iter().map(TargetGroup::from).collect(),
            discovery,
            limits,
            extra_metrics: self.extra_scrape_metrics.unwrap_or(around.global.extra_scrape_metrics),
            relabel,
            metric_relabel,
            job_name: job,
        })
    }

    fn protocols(&mut self, global: &ScrapeGlobal, native_histograms: bool) -> Result<Vec<ScrapeProtocol>, String> {
        let default = || {
            let default: &[ScrapeProtocol] =
                if native_histograms { &ScrapeProtocol::PROTOBUF_FIRST } else { &ScrapeProtocol::TEXT };
            default.to_vec()
        };
        let protocols =
            self.scrape_protocols.take().or_else(|| global.scrape_protocols.clone()).unwrap_or_else(default);
        if protocols.is_empty() {
            return Err("`scrape_protocols` is empty".to_owned());
        }
        let is_twice = |at: usize| protocols.iter().skip(at + 1).any(|other| protocols.get(at) == Some(other));
        if (0..protocols.len()).any(is_twice) {
            return Err("`scrape_protocols` has a protocol twice".to_owned());
        }
        Ok(protocols)
    }

    fn names(&self, global: &ScrapeGlobal) -> Result<(NameValidation, Escaping), String> {
        let natural = |validation| match validation {
            NameValidation::Utf8 => Escaping::AllowUtf8,
            NameValidation::Legacy => Escaping::Underscores,
        };
        let validation = self.metric_name_validation_scheme.unwrap_or(global.metric_name_validation_scheme);
        let inherited = match self.metric_name_validation_scheme {
            None => global.metric_name_escaping_scheme,
            Some(_) => None,
        };
        let escaping = self.metric_name_escaping_scheme.or(inherited).unwrap_or_else(|| natural(validation));
        if escaping == Escaping::AllowUtf8 && validation == NameValidation::Legacy {
            let reason = "`metric_name_escaping_scheme` allows UTF-8 and `metric_name_validation_scheme` does not";
            return Err(reason.to_owned());
        }
        Ok((validation, escaping))
    }

    /// A limit of 0 is the global one, as when it is not written.
    fn limits(&self, global: &ScrapeGlobal) -> Result<ScrapeLimits, String> {
        let of = |own: Option<usize>, global: Option<usize>| own.filter(|own| *own > 0).or(global).unwrap_or(0);
        let bytes = |size: Option<Size>| size.map(|size| size.0);
        let factor = self.native_histogram_min_bucket_factor.unwrap_or(0.0);
        if !factor.is_finite() || factor < 0.0 {
            return Err("`native_histogram_min_bucket_factor` is below 0".to_owned());
        }
        Ok(ScrapeLimits {
            body_size: of(bytes(self.body_size_limit), bytes(global.body_size_limit)),
            samples: of(self.sample_limit, global.sample_limit),
            targets: of(self.target_limit, global.target_limit),
            labels: of(self.label_limit, global.label_limit),
            label_name_length: of(self.label_name_length_limit, global.label_name_length_limit),
            label_value_length: of(self.label_value_length_limit, global.label_value_length_limit),
            buckets: self.native_histogram_bucket_limit.unwrap_or(0),
            min_bucket_factor: factor,
            dropped_targets: of(self.keep_dropped_targets, global.keep_dropped_targets),
        })
    }

    fn discovery(&mut self, base: &Path) -> Result<Vec<Discovery>, String> {
        let mut ways = Vec::new();
        for file in std::mem::take(&mut self.file_sd_configs) {
            ways.push(Discovery::File(file.check(base)?));
        }
        for http in std::mem::take(&mut self.http_sd_configs) {
            ways.push(Discovery::Http(Box::new(http.check(base)?)));
        }
        for dns in std::mem::take(&mut self.dns_sd_configs) {
            ways.push(Discovery::Dns(dns.check()?));
        }
        for kubernetes in std::mem::take(&mut self.kubernetes_sd_configs) {
            ways.push(Discovery::Kubernetes(Box::new(kubernetes.check(base)?)));
        }
        Ok(ways)
    }
}

fn rules(job: &str, key: &'static str, files: Vec<RuleFile>) -> Result<Vec<Rule>, ScrapeConfigError> {
    let mut rules = Vec::new();
    for (at, file) in files.into_iter().enumerate() {
        let rule = Rule::check(file).map_err(|source| ScrapeConfigError::Rule {
            job: job.to_owned(),
            key,
            number: at + 1,
            source,
        })?;
        rules.push(rule);
    }
    Ok(rules)
}
