//! One entry of `scrape_configs`.

use std::time::Duration;

use serde::Deserialize;
use signal::parse_duration;

use super::TargetGroup;
use crate::relabel::{Rule, RuleError, RuleFile};

/// One scrape job as written. Keys and defaults are Prometheus'.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScrapeFile {
    /// Name of the job, the `job` label of its series. Unique.
    pub job_name: String,
    /// Time between two scrapes of a target. Default: the global one.
    pub scrape_interval: Option<String>,
    /// How long one scrape may take; at most the interval. Default: the global one, or the interval when that is shorter.
    pub scrape_timeout: Option<String>,
    /// Default `/metrics`.
    pub metrics_path: Option<String>,
    /// `http` or `https`. Default `http`.
    pub scheme: Option<String>,
    /// Query parameters. Default none.
    #[serde(default)]
    pub params: std::collections::BTreeMap<String, Vec<String>>,
    /// Whether labels of the page win over those of the target. Default false.
    #[serde(default)]
    pub honor_labels: bool,
    /// Whether times on the page are used. Default true.
    pub honor_timestamps: Option<bool>,
    /// Targets written here.
    #[serde(default)]
    pub static_configs: Vec<StaticFile>,
    /// Targets listed in files.
    #[serde(default)]
    pub file_sd_configs: Vec<FileSd>,
    /// Most samples of one page after relabeling; 0 is no limit. Default 0.
    #[serde(default)]
    pub sample_limit: usize,
    /// Most bytes of one page; 0 is no limit but the general one. Default 0.
    #[serde(default)]
    pub body_size_limit: usize,
    /// Rules for targets.
    #[serde(default)]
    pub relabel_configs: Vec<RuleFile>,
    /// Rules for series.
    #[serde(default)]
    pub metric_relabel_configs: Vec<RuleFile>,
}

/// Targets written in the configuration.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StaticFile {
    /// `host:port` each.
    pub targets: Vec<String>,
    /// Labels all of them get.
    #[serde(default)]
    pub labels: signal::Labels,
}

/// Files that list targets.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileSd {
    /// Paths; the last part may contain `*`.
    pub files: Vec<String>,
    /// Time between two looks at them, besides any watching. Default `5m`.
    pub refresh_interval: Option<String>,
}

/// One scrape job that can only be valid.
#[derive(Clone, Debug)]
pub struct ScrapeConfig {
    /// Name of the job.
    pub job_name: String,
    /// Time between two scrapes of a target.
    pub interval: Duration,
    /// How long one scrape may take.
    pub timeout: Duration,
    /// Path of the page, starting with `/`.
    pub metrics_path: String,
    /// `http` or `https`.
    pub scheme: String,
    /// Query parameters in order of name.
    pub params: Vec<(String, Vec<String>)>,
    /// Whether labels of the page win.
    pub honor_labels: bool,
    /// Whether times on the page are used.
    pub honor_timestamps: bool,
    /// Targets written in the configuration.
    pub static_targets: Vec<TargetGroup>,
    /// Files that list targets.
    pub file_sd: Vec<FileSd>,
    /// Most samples of one page; 0 is no limit.
    pub sample_limit: usize,
    /// Most bytes of one page; 0 is no limit.
    pub body_size_limit: usize,
    /// Rules for targets.
    pub relabel: Vec<Rule>,
    /// Rules for series.
    pub metric_relabel: Vec<Rule>,
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
    /// Gives usable settings; `interval` and `timeout` are the global ones.
    ///
    /// # Errors
    /// `ScrapeConfigError` names the job and the key.
    pub fn check(self, interval: Duration, timeout: Duration) -> Result<ScrapeConfig, ScrapeConfigError> {
        let job = self.job_name;
        if job.is_empty() {
            return Err(ScrapeConfigError::NoName);
        }
        let duration = |key, text: Option<String>, default| match text {
            None => Ok(default),
            Some(text) => match parse_duration(&text) {
                Ok(duration) if !duration.is_zero() => Ok(duration),
                Ok(_) | Err(_) => Err(ScrapeConfigError::Duration { job: job.clone(), key, found: text }),
            },
        };
        let interval = duration("scrape_interval", self.scrape_interval, interval)?;
        let timeout = duration("scrape_timeout", self.scrape_timeout, timeout.min(interval))?;
        for sd in &self.file_sd_configs {
            duration("refresh_interval", sd.refresh_interval.clone(), interval)?;
        }
        if timeout > interval {
            return Err(ScrapeConfigError::TimeoutOverInterval { job });
        }
        let scheme = self.scheme.unwrap_or_else(|| "http".to_owned());
        if scheme != "http" && scheme != "https" {
            return Err(ScrapeConfigError::Scheme { job, found: scheme });
        }
        let path = self.metrics_path.unwrap_or_else(|| "/metrics".to_owned());
        let relabel = rules(&job, "relabel_configs", self.relabel_configs)?;
        let metric_relabel = rules(&job, "metric_relabel_configs", self.metric_relabel_configs)?;
        let static_targets = self.static_configs.into_iter();
        Ok(ScrapeConfig {
            interval,
            timeout,
            metrics_path: if path.starts_with('/') { path } else { format!("/{path}") },
            scheme,
            params: self.params.into_iter().collect(),
            honor_labels: self.honor_labels,
            honor_timestamps: self.honor_timestamps.unwrap_or(true),
            static_targets: static_targets
                .map(|group| TargetGroup { targets: group.targets, labels: group.labels })
                .collect(),
            file_sd: self.file_sd_configs,
            sample_limit: self.sample_limit,
            body_size_limit: self.body_size_limit,
            relabel,
            metric_relabel,
            job_name: job,
        })
    }
}

impl FileSd {
    /// Time between two looks at the files; 5 minutes unless the file says otherwise.
    #[must_use]
    pub fn refresh(&self) -> Duration {
        let written = self.refresh_interval.as_deref().and_then(|text| parse_duration(text).ok());
        written.unwrap_or(Duration::from_secs(300))
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
