//! From lists of addresses to targets.

use std::collections::HashSet;
use std::time::Duration;

use signal::{Labels, LabelsBuilder, format_duration, parse_duration};

use super::{ScrapeConfig, TargetGroup};
use crate::relabel::relabel;

/// Something to scrape.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    /// The job it belongs to.
    pub job: String,
    /// What all its series carry; `job` and `instance` among them.
    pub labels: Labels,
    /// What was known before relabeling.
    pub discovered: Labels,
    /// Where its page is.
    pub url: String,
    /// Time between two scrapes.
    pub interval: Duration,
    /// How long one scrape may take.
    pub timeout: Duration,
}

/// A target that rules removed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DroppedTarget {
    /// The job it would belong to.
    pub job: String,
    /// What was known before relabeling.
    pub discovered: Labels,
}

/// What became of the discovered addresses of one job.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Resolved {
    /// To be scraped; no two are the same.
    pub active: Vec<Target>,
    /// Removed by rules.
    pub dropped: Vec<DroppedTarget>,
    /// Why other addresses cannot be scraped, in words.
    pub problems: Vec<String>,
}

/// Applies the job's rules to the targets of its configuration and of `discovered` groups.
#[must_use]
pub fn resolve(config: &ScrapeConfig, discovered: &[TargetGroup]) -> Resolved {
    let mut resolved = Resolved::default();
    let mut seen = HashSet::new();
    for group in config.static_targets.iter().chain(discovered) {
        for address in &group.targets {
            let discovered = with_defaults(config, group, address);
            let Some(relabeled) = relabel(&discovered, &config.relabel) else {
                resolved.dropped.push(DroppedTarget { job: config.job_name.clone(), discovered });
                continue;
            };
            match target(config, discovered, &relabeled) {
                Err(problem) => resolved.problems.push(problem),
                Ok(target) => {
                    if seen.insert((target.labels.clone(), target.url.clone())) {
                        resolved.active.push(target);
                    }
                }
            }
        }
    }
    resolved
}

fn with_defaults(config: &ScrapeConfig, group: &TargetGroup, address: &str) -> Labels {
    let mut labels = LabelsBuilder::from(&group.labels);
    labels.set("__address__", address);
    let mut default = |name: &str, value: &str| {
        if labels.get(name).is_none() {
            labels.set(name, value);
        }
    };
    default("job", &config.job_name);
    default("__scheme__", &config.scheme);
    default("__metrics_path__", &config.metrics_path);
    default("__scrape_interval__", &format_duration(config.interval));
    default("__scrape_timeout__", &format_duration(config.timeout));
    for (name, values) in &config.params {
        if let Some(first) = values.first() {
            default(&format!("__param_{name}"), first);
        }
    }
    labels.build()
}

fn target(config: &ScrapeConfig, discovered: Labels, labels: &Labels) -> Result<Target, String> {
    let job = &config.job_name;
    let address = labels.get_or_empty("__address__");
    if address.is_empty() || address.contains(['/', '?', '#', ' ']) {
        return Err(format!("target address `{address}` of job `{job}` is not `host:port`"));
    }
    let scheme = labels.get_or_empty("__scheme__");
    if scheme != "http" && scheme != "https" {
        return Err(format!("target `{address}` of job `{job}` has the scheme `{scheme}`; expected `http` or `https`"));
    }
    let duration = |name: &str| {
        let text = labels.get_or_empty(name);
        let read = parse_duration(text).ok().filter(|duration| !duration.is_zero());
        read.ok_or_else(|| {
            format!("target `{address}` of job `{job}` has `{name}` = `{text}`, which is no duration above zero")
        })
    };
    let (interval, timeout) = (duration("__scrape_interval__")?, duration("__scrape_timeout__")?);
    if timeout > interval {
        return Err(format!("target `{address}` of job `{job}` has a scrape timeout longer than its interval"));
    }
    let url = url(config, scheme, address, labels);
    let mut kept = LabelsBuilder::from(&labels.without(|name| name.starts_with("__")));
    if kept.get("instance").is_none() {
        kept.set("instance", address);
    }
    Ok(Target { job: job.clone(), labels: kept.build(), discovered, url, interval, timeout })
}

fn url(config: &ScrapeConfig, scheme: &str, address: &str, labels: &Labels) -> String {
    let path = labels.get_or_empty("__metrics_path__");
    let slash = if path.starts_with('/') { "" } else { "/" };
    let mut query = Vec::new();
    for (label, value) in labels.iter() {
        if let Some(name) = label.strip_prefix("__param_") {
            query.push(format!("{}={}", escaped(name), escaped(value)));
        }
    }
    // A label holds the first value of a parameter only.
    for (name, values) in &config.params {
        query.extend(values.iter().skip(1).map(|value| format!("{}={}", escaped(name), escaped(value))));
    }
    let mark = if query.is_empty() { "" } else { "?" };
    format!("{scheme}://{address}{slash}{path}{mark}{}", query.join("&"))
}

fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

impl Target {
    /// When inside each interval this target is scraped: the same after a restart, spread evenly over targets.
    #[must_use]
    pub fn offset_in_interval(&self) -> Duration {
        let interval = u64::try_from(self.interval.as_millis()).unwrap_or(u64::MAX).max(1);
        let text = format!("{}\n{}\n{}", self.job, self.labels, self.url);
        // FNV-1a: not the hasher of the standard library, whose answers may change between releases.
        let hash = text
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
        // Its low bits are weak for texts that differ at the end only.
        let mixed = (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Duration::from_millis((mixed >> 16).checked_rem(interval).unwrap_or(0))
    }
}
