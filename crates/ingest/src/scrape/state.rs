//! What consecutive scrapes of one target mean.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use signal::{
    Histogram, Labels, LabelsBuilder, MetricMetadata, Sample, SeriesWrite, Timestamp, WriteBatch, stale_marker,
};

use super::protocol;
use super::{ScrapeConfig, Target};
use crate::exposition::{self, HistogramForm, Page, Value};
use crate::relabel::relabel;
use crate::{Limits, native, rejection};

/// What the target answered.
#[derive(Clone, Copy, Debug)]
pub struct Fetched<'a> {
    /// The page, decompressed.
    pub body: &'a [u8],
    /// The `Content-Type` header.
    pub content_type: Option<&'a str>,
}

/// Why there is no page.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NoPage {
    /// In words.
    Failed(String),
    /// It has more bytes than the job allows.
    TooLong,
}

/// Whether the last scrape worked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Health {
    /// Not scraped yet.
    #[default]
    Unknown,
    /// It worked.
    Up,
    /// It failed.
    Down,
}

impl Health {
    /// The word of Prometheus' targets API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// What one scrape adds to the store.
#[derive(Clone, PartialEq, Debug)]
pub struct Scraped {
    /// Samples, staleness markers and the target's own series.
    pub batch: WriteBatch,
    /// Why the scrape counts as failed.
    pub error: Option<String>,
}

/// A target and what is remembered between two scrapes of it.
#[derive(Clone, Debug)]
pub struct TargetState {
    target: Target,
    config: Arc<ScrapeConfig>,
    /// Labels of the target's own series.
    reports: Vec<Labels>,
    health: Health,
    last_error: String,
    last_scrape: Option<Timestamp>,
    last_duration: Duration,
    metadata: Arc<Vec<MetricMetadata>>,
    /// What the lines of pages became, by the labels on the page.
    known: HashMap<Labels, Known>,
    /// Series that rules of an earlier configuration made, and that have not ended.
    orphans: HashSet<Labels>,
    /// Number of the scrape.
    round: u64,
}

/// What became of a line of a page.
#[derive(Clone, Debug)]
struct Known {
    /// The series; `None` when rules drop it.
    series: Option<Labels>,
    /// The last scrape that showed it.
    seen: u64,
    /// Whether a good scrape has shown it.
    is_old: bool,
    /// Whether its end has to be marked: the last good scrape has shown it, without a time of its own.
    is_open: bool,
    /// Whether its end will have to be marked if this scrape is good.
    is_tracked: bool,
}

const REPORTS: [&str; 5] = [
    "up",
    "scrape_duration_seconds",
    "scrape_samples_scraped",
    "scrape_samples_post_metric_relabeling",
    "scrape_series_added",
];
const EXTRA_REPORTS: [&str; 3] = ["scrape_timeout_seconds", "scrape_sample_limit", "scrape_body_size_bytes"];

/// Scrapes after which families that say the same as ever are written again.
const DESCRIBE_EVERY: u64 = 64;

/// A page after the target's rules.
struct Ingested {
    series: Vec<SeriesWrite>,
    added: usize,
}

/// How far a page got.
#[derive(Default)]
struct Progress {
    scraped: usize,
    kept: usize,
}

impl TargetState {
    /// Never scraped.
    #[must_use]
    pub fn new(target: Target, config: Arc<ScrapeConfig>) -> Self {
        Self {
            reports: reports(&target, &config),
            target,
            config,
            health: Health::Unknown,
            last_error: String::new(),
            last_scrape: None,
            last_duration: Duration::ZERO,
            metadata: Arc::default(),
            known: HashMap::new(),
            orphans: HashSet::new(),
            round: 0,
        }
    }

    /// The same target under another configuration: what was seen of it goes on, by the new rules from the next scrape.
    #[must_use]
    pub fn with_config(mut self, target: Target, config: Arc<ScrapeConfig>) -> Self {
        let open = self.known.drain().filter(|(_, known)| known.is_open).filter_map(|(_, known)| known.series);
        self.orphans.extend(open);
        let reports = reports(&target, &config);
        if self.last_scrape.is_some() {
            self.orphans.extend(self.reports.into_iter().filter(|report| !reports.contains(report)));
        }
        self.reports = reports;
        self.target = target;
        self.config = config;
        self
    }

    /// What is scraped.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The job it belongs to.
    #[must_use]
    pub fn config(&self) -> &Arc<ScrapeConfig> {
        &self.config
    }

    /// Whether the last scrape worked.
    #[must_use]
    pub fn health(&self) -> Health {
        self.health
    }

    /// Why the last scrape failed; empty when it did not.
    #[must_use]
    pub fn last_error(&self) -> &str {
        &self.last_error
    }

    /// When the last scrape began.
    #[must_use]
    pub fn last_scrape(&self) -> Option<Timestamp> {
        self.last_scrape
    }

    /// How long the last scrape took.
    #[must_use]
    pub fn last_duration(&self) -> Duration {
        self.last_duration
    }

    /// What the last good page said about its families.
    #[must_use]
    pub fn metadata(&self) -> &Arc<Vec<MetricMetadata>> {
        &self.metadata
    }

    /// Turns the answer of a scrape begun at `at` into samples.
    ///
    /// `fetched` is the page, or why there is none. A failed scrape adds no sample of the page, marks the end
    /// of every series of the last good one, and reports `up` 0.
    pub fn observe(
        &mut self,
        fetched: Result<Fetched<'_>, NoPage>,
        at: Timestamp,
        took: Duration,
        limits: &Limits,
    ) -> Scraped {
        let body_size = fetched.as_ref().map_or(0, |fetched| fetched.body.len());
        let limit = self.config.limits.body_size;
        let fetched = match fetched {
            Ok(_) if limit > 0 && body_size > limit => Err(NoPage::TooLong),
            other => other,
        };
        let is_too_long = matches!(fetched, Err(NoPage::TooLong));
        let mut progress = Progress::default();
        self.round += 1;
        let page = match fetched {
            Ok(fetched) => self.read(fetched, limits),
            Err(NoPage::Failed(reason)) => Err(reason),
            Err(NoPage::TooLong) => Err(format!("page has more bytes than the limit of {limit} (body_size_limit)")),
        };
        let outcome = page.and_then(|page| {
            let ingested = self.ingest(page.points, &page.blank, at, &mut progress)?;
            Ok((ingested, page.metadata))
        });
        let mut batch = WriteBatch::default();
        let (added, error) = match outcome {
            Ok((ingested, metadata)) => {
                batch.series = ingested.series;
                let is_new = *self.metadata != metadata;
                if is_new {
                    self.metadata = Arc::new(metadata);
                }
                // Again and again, in case a write was lost.
                if is_new || self.round.is_multiple_of(DESCRIBE_EVERY) {
                    batch.metadata = self.metadata.to_vec();
                }
                self.close_unseen(at, &mut batch.series);
                (ingested.added, None)
            }
            Err(error) => {
                self.close_all(at, &mut batch.series);
                (0, Some(error))
            }
        };
        self.last_scrape = Some(at);
        self.last_duration = took;
        self.health = if error.is_none() { Health::Up } else { Health::Down };
        self.last_error = error.clone().unwrap_or_default();
        let up = if error.is_none() { 1.0 } else { 0.0 };
        let body_size = if is_too_long { -1.0 } else { body_size as f64 };
        let values = [
            up,
            took.as_secs_f64(),
            progress.scraped as f64,
            progress.kept as f64,
            added as f64,
            self.target.timeout.as_secs_f64(),
            self.config.limits.samples as f64,
            body_size,
        ];
        let reports = self.reports.iter().zip(values);
        batch.series.extend(reports.map(|(labels, value)| one_sample(labels.clone(), value, at)));
        Scraped { batch, error }
    }

    /// The target is no longer scraped: marks the end of everything it had.
    pub fn gone(&mut self, at: Timestamp) -> WriteBatch {
        let mut batch = WriteBatch::default();
        self.close_all(at, &mut batch.series);
        self.known.clear();
        if self.last_scrape.take().is_some() {
            batch.series.extend(self.reports.iter().map(|labels| one_sample(labels.clone(), stale_marker(), at)));
        }
        self.health = Health::Unknown;
        batch
    }

    fn read(&self, fetched: Fetched<'_>, limits: &Limits) -> Result<Page, String> {
        let kind = protocol::content_type(fetched.content_type, self.config.fallback)?;
        let form = match (self.config.native_histograms, self.config.always_classic) {
            (false, _) => HistogramForm::Classic,
            (true, false) => HistogramForm::Native,
            (true, true) => HistogramForm::Both,
        };
        exposition::read_as(fetched.body, Some(kind), form, limits).map_err(|error| error.to_string())
    }

    fn ingest(
        &mut self,
        points: Vec<exposition::Point>,
        blank: &HashMap<Labels, Vec<String>>,
        at: Timestamp,
        progress: &mut Progress,
    ) -> Result<Ingested, String> {
        let mut ingested = Ingested { series: Vec::with_capacity(points.len()), added: 0 };
        progress.scraped = points.len();
        for mut point in points {
            if !self.config.honor_timestamps {
                point.at = None;
            }
            let is_tracked = point.at.is_none() || self.config.tracks_timestamps;
            let labels = match self.known.get_mut(&point.labels) {
                // A line that is there twice counts once, and the first one wins.
                Some(known) if known.seen == self.round && point.at.is_none() => continue,
                Some(known) => {
                    known.seen = self.round;
                    known.is_tracked = is_tracked;
                    known.series.clone()
                }
                None => {
                    let blank = blank.get(&point.labels).map_or(&[][..], Vec::as_slice);
                    let series = self.series_of(&point.labels, blank)?;
                    ingested.added += usize::from(series.is_some());
                    let (series_of_line, seen) = (series.clone(), self.round);
                    let known = Known { series: series_of_line, seen, is_old: false, is_open: false, is_tracked };
                    self.known.insert(point.labels.clone(), known);
                    series
                }
            };
            let Some(labels) = labels else { continue };
            progress.kept += 1;
            if let Value::Histogram(histogram) = &mut point.value {
                let fitted = self.fitted(histogram).map_err(|reason| {
                    let series = rejection::excerpt(&labels.to_string());
                    format!("native histogram {reason}: `{series}`")
                })?;
                if let Some(fitted) = fitted {
                    *histogram = Arc::new(fitted);
                }
            }
            point.labels = labels;
            ingested.series.push(point.into_write(at));
        }
        let (kept, limit) = (progress.kept, self.config.limits.samples);
        if limit > 0 && kept > limit {
            return Err(format!("page has {kept} samples, more than the limit of {limit} (sample_limit)"));
        }
        Ok(ingested)
    }

    /// The histogram with the resolution the job allows; `None` when it has that already.
    fn fitted(&self, histogram: &Histogram) -> Result<Option<Histogram>, String> {
        let limits = &self.config.limits;
        let finest = if limits.min_bucket_factor > 0.0 { finest_schema(limits.min_bucket_factor) } else { i32::MAX };
        let is_fine = !histogram.has_custom_buckets() && histogram.schema > finest;
        let is_over = |found: usize| limits.buckets > 0 && found > limits.buckets;
        if !is_fine && !is_over(native::bucket_count(histogram)) {
            return Ok(None);
        }
        let reduced = native::reduce(histogram.clone(), finest);
        let (found, limit) = (native::bucket_count(&reduced), limits.buckets);
        if !is_over(found) {
            return Ok(Some(reduced));
        }
        native::fit(reduced, limit).map(Some).ok_or_else(|| {
            format!("has {found} buckets, more than the limit of {limit} (native_histogram_bucket_limit)")
        })
    }

    /// The series a line belongs to; `None` when rules drop it.
    fn series_of(&self, page: &Labels, blank: &[String]) -> Result<Option<Labels>, String> {
        let Some(labels) = relabel(&self.with_target_labels(page, blank), &self.config.metric_relabel) else {
            return Ok(None);
        };
        let shown = || rejection::excerpt(&labels.to_string());
        let Some(name) = labels.metric_name() else {
            return Err(format!("series has no metric name after `metric_relabel_configs`: `{}`", shown()));
        };
        let validation = self.config.validation;
        let are_names_fine = validation.takes_metric(name)
            && labels.iter().all(|(name, _)| name == Labels::NAME || validation.takes_label(name));
        if !are_names_fine {
            return Err(format!(
                "series has a name that is not allowed (metric_name_validation_scheme): `{}`",
                shown()
            ));
        }
        let limits = &self.config.limits;
        if limits.labels > 0 {
            let (found, limit) = (labels.len(), limits.labels);
            if found > limit {
                return Err(format!(
                    "series has {found} labels, more than the limit of {limit} (label_limit): `{}`",
                    shown()
                ));
            }
        }
        if limits.label_name_length > 0 || limits.label_value_length > 0 {
            let over = |text: &str, limit: usize| limit > 0 && text.len() > limit;
            for (label, value) in &labels {
                for (what, text, limit, key) in [
                    ("name", label, limits.label_name_length, "label_name_length_limit"),
                    ("value", value, limits.label_value_length, "label_value_length_limit"),
                ] {
                    if over(text, limit) {
                        let found = text.len();
                        let label = rejection::excerpt(label);
                        return Err(format!(
                            "{what} of label `{label}` has {found} bytes, more than the limit of {limit} ({key}): `{}`",
                            shown()
                        ));
                    }
                }
            }
        }
        Ok(Some(labels))
    }

    /// The target's labels win and the page's become `exported_…`, unless labels of the page are to be honoured. Then
    /// one without a value wins too: a Pushgateway keeps its own instance out in this way.
    fn with_target_labels(&self, scraped: &Labels, blank: &[String]) -> Labels {
        let mut labels = LabelsBuilder::from(scraped);
        for (name, value) in &self.target.labels {
            if self.config.honor_labels && blank.iter().any(|blank| blank == name) {
                continue;
            }
            match scraped.get(name) {
                Some(_) if self.config.honor_labels => continue,
                Some(conflicting) => {
                    let mut exported = format!("exported_{name}");
                    while labels.get(&exported).is_some() || self.target.labels.get(&exported).is_some() {
                        exported.insert_str(0, "exported_");
                    }
                    labels.set(&exported, conflicting);
                }
                None => {}
            }
            labels.set(name, value);
        }
        labels.build()
    }

    /// After a good scrape: marks the end of what it did not show, and forgets it.
    fn close_unseen(&mut self, at: Timestamp, series: &mut Vec<SeriesWrite>) {
        let round = self.round;
        let mut ended: HashSet<Labels> = std::mem::take(&mut self.orphans);
        self.known.retain(|_, known| {
            if known.seen == round {
                known.is_old = true;
                known.is_open = known.is_tracked && known.series.is_some();
                return true;
            }
            if known.is_open {
                ended.extend(known.series.take());
            }
            false
        });
        if ended.is_empty() {
            return;
        }
        // Rules can make one series of several lines; it ends with the last of them.
        for known in self.known.values() {
            if let Some(series) = &known.series {
                ended.remove(series);
            }
        }
        mark_ends(ended, at, series);
    }

    /// After a failed scrape, or at the end: marks the end of everything.
    fn close_all(&mut self, at: Timestamp, series: &mut Vec<SeriesWrite>) {
        let mut ended: HashSet<Labels> = std::mem::take(&mut self.orphans);
        // A page that fails shall not be remembered, or a target could fill the memory with pages that all fail.
        self.known.retain(|_, known| known.is_old);
        for known in self.known.values_mut().filter(|known| known.is_open) {
            known.is_open = false;
            ended.extend(known.series.clone());
        }
        mark_ends(ended, at, series);
    }
}

fn reports(target: &Target, config: &ScrapeConfig) -> Vec<Labels> {
    let extra: &[&str] = if config.extra_metrics { &EXTRA_REPORTS } else { &[] };
    REPORTS.iter().chain(extra).map(|name| target.labels.with(Labels::NAME, name)).collect()
}

/// The finest resolution whose buckets grow by at least `factor` each.
fn finest_schema(factor: f64) -> i32 {
    // The growth of schema 8 is 1.0027.
    let schema = (-(factor.max(1.0027).log2().log2())).floor();
    if schema >= 8.0 {
        return 8;
    }
    (-4..8).rev().find(|at| f64::from(*at) <= schema).unwrap_or(-4)
}

/// A staleness marker for each series, sorted, so that the same scrape always gives the same batch.
fn mark_ends(ended: HashSet<Labels>, at: Timestamp, series: &mut Vec<SeriesWrite>) {
    let mut ended: Vec<_> = ended.into_iter().collect();
    ended.sort_unstable();
    series.extend(ended.into_iter().map(|labels| one_sample(labels, stale_marker(), at)));
}

fn one_sample(labels: Labels, value: f64, at: Timestamp) -> SeriesWrite {
    SeriesWrite::new(labels, [Sample { at, value }])
}
