//! From lists of addresses to targets.

use std::collections::{BTreeMap, HashSet};
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
    /// Removed by rules; no more than the job remembers.
    pub dropped: Vec<DroppedTarget>,
    /// How many rules removed.
    pub dropped_count: usize,
    /// Why other addresses cannot be scraped, in words.
    pub problems: Vec<String>,
    /// Why no target of the job is to be scraped now: there are too many.
    pub over_limit: Option<String>,
}

/// Problems that are told of one job; more would be the same again.
const MAX_PROBLEMS: usize = 20;

/// Applies the job's rules to the targets of its configuration and of `discovered` groups.
#[must_use]
pub fn resolve<'a>(config: &'a ScrapeConfig, discovered: impl IntoIterator<Item = &'a TargetGroup>) -> Resolved {
    let mut resolved = Resolved::default();
    let mut seen = HashSet::new();
    for group in config.static_targets.iter().chain(discovered) {
        for own in &group.targets {
            let discovered = with_defaults(config, group, own);
            let relabeled = relabel(&discovered, &config.relabel).filter(|labels| !labels.is_empty());
            let Some(relabeled) = relabeled else {
                resolved.dropped_count += 1;
                let limit = config.limits.dropped_targets;
                if limit == 0 || resolved.dropped.len() < limit {
                    resolved.dropped.push(DroppedTarget { job: config.job_name.clone(), discovered });
                }
                continue;
            };
            match target(config, discovered, &relabeled) {
                Err(problem) if resolved.problems.len() < MAX_PROBLEMS => resolved.problems.push(problem),
                Err(_) => {}
                Ok(target) => {
                    if seen.insert((target.labels.clone(), target.url.clone())) {
                        resolved.active.push(target);
                    }
                }
            }
        }
    }
    let (found, limit) = (resolved.active.len(), config.limits.targets);
    if limit > 0 && found > limit {
        resolved.over_limit = Some(format!("job has {found} targets, more than the limit of {limit} (target_limit)"));
    }
    resolved
}

fn with_defaults(config: &ScrapeConfig, group: &TargetGroup, own: &Labels) -> Labels {
    let mut labels = LabelsBuilder::from(&group.labels);
    for (name, value) in own {
        labels.set(name, value);
    }
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
    let mut path = labels.get_or_empty("__metrics_path__").to_owned();
    if !path.starts_with('/') {
        path.insert(0, '/');
    }
    // These would end the path.
    for (letter, code) in [(' ', "%20"), ('?', "%3F"), ('#', "%23")] {
        path = path.replace(letter, code);
    }
    // A label holds the first value of a parameter only.
    let mut params: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, values) in &config.params {
        params.insert(name, values.iter().map(String::as_str).collect());
    }
    for (label, value) in labels {
        if let Some(name) = label.strip_prefix("__param_") {
            let values = params.entry(name).or_default();
            match values.first_mut() {
                Some(first) => *first = value,
                None => values.push(value),
            }
        }
    }
    let mut query = String::new();
    for (name, value) in params.iter().flat_map(|(name, values)| values.iter().map(move |value| (name, value))) {
        query.push(if query.is_empty() { '?' } else { '&' });
        query.push_str(&format!("{}={}", escaped(name), escaped(value)));
    }
    format!("{scheme}://{address}{path}{query}")
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
