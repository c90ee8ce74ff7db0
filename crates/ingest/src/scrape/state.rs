//! What consecutive scrapes of one target mean.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use signal::{Labels, LabelsBuilder, Sample, SeriesWrite, Timestamp, WriteBatch, stale_marker};

use super::{ScrapeConfig, Target};
use crate::exposition::{self, Page, Point};
use crate::relabel::relabel;
use crate::{Limits, rejection};

/// What the target answered.
#[derive(Clone, Copy, Debug)]
pub struct Fetched<'a> {
    /// The page, decompressed.
    pub body: &'a [u8],
    /// The `Content-Type` header.
    pub content_type: Option<&'a str>,
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
    health: Health,
    last_error: String,
    last_scrape: Option<Timestamp>,
    last_duration: Duration,
    /// Series of the last good scrape.
    known: HashMap<Labels, End>,
}

/// What to do when a series is gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    Marked,
    /// It states its own times, so nobody but its exporter knows when it ended.
    Open,
}

const REPORTS: [&str; 5] = [
    "up",
    "scrape_duration_seconds",
    "scrape_samples_scraped",
    "scrape_samples_post_metric_relabeling",
    "scrape_series_added",
];

/// A page after the target's rules.
struct Ingested {
    series: Vec<SeriesWrite>,
    known: HashMap<Labels, End>,
    scraped: usize,
    kept: usize,
}

/// A failed page, with how far it got.
struct Failed {
    error: String,
    scraped: usize,
    kept: usize,
}

impl TargetState {
    /// Never scraped.
    #[must_use]
    pub fn new(target: Target, config: Arc<ScrapeConfig>) -> Self {
        Self {
            target,
            config,
            health: Health::Unknown,
            last_error: String::new(),
            last_scrape: None,
            last_duration: Duration::ZERO,
            known: HashMap::new(),
        }
    }

    /// What is scraped.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.target
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

    /// Turns the answer of a scrape begun at `at` into samples.
    ///
    /// `fetched` is the page, or why there is none in words. A failed scrape adds no sample of the page, marks the end
    /// of every series of the last good one, and reports `up` 0.
    pub fn observe(
        &mut self,
        fetched: Result<Fetched<'_>, String>,
        at: Timestamp,
        took: Duration,
        limits: &Limits,
    ) -> Scraped {
        let page = fetched.and_then(|fetched| self.read(fetched, limits));
        let (metadata, outcome) = match page {
            Err(error) => (Vec::new(), Err(Failed { error, scraped: 0, kept: 0 })),
            Ok(page) => (page.metadata, self.ingest(page.points, at)),
        };
        self.last_scrape = Some(at);
        self.last_duration = took;
        let mut batch = WriteBatch::default();
        let (scraped, kept, added, error) = match outcome {
            Err(failed) => {
                self.mark_ends(&HashMap::new(), at, &mut batch.series);
                self.known.clear();
                (failed.scraped, failed.kept, 0, Some(failed.error))
            }
            Ok(ingested) => {
                batch.series = ingested.series;
                batch.metadata = metadata;
                self.mark_ends(&ingested.known, at, &mut batch.series);
                let added = ingested.known.keys().filter(|labels| !self.known.contains_key(*labels)).count();
                self.known = ingested.known;
                (ingested.scraped, ingested.kept, added, None)
            }
        };
        self.health = if error.is_none() { Health::Up } else { Health::Down };
        self.last_error = error.clone().unwrap_or_default();
        let up = if error.is_none() { 1.0 } else { 0.0 };
        let values = [up, took.as_secs_f64(), scraped as f64, kept as f64, added as f64];
        for (name, value) in REPORTS.into_iter().zip(values) {
            batch.series.push(self.report(name, value, at));
        }
        Scraped { batch, error }
    }

    /// The target is no longer scraped: marks the end of everything it had.
    pub fn gone(&mut self, at: Timestamp) -> WriteBatch {
        let mut batch = WriteBatch::default();
        self.mark_ends(&HashMap::new(), at, &mut batch.series);
        self.known.clear();
        if self.last_scrape.take().is_some() {
            batch.series.extend(REPORTS.into_iter().map(|name| self.report(name, stale_marker(), at)));
        }
        self.health = Health::Unknown;
        batch
    }

    fn read(&self, fetched: Fetched<'_>, limits: &Limits) -> Result<Page, String> {
        let (found, limit) = (fetched.body.len(), self.config.body_size_limit);
        if limit > 0 && found > limit {
            return Err(format!("page has {found} bytes, more than the limit of {limit} (body_size_limit)"));
        }
        exposition::read(fetched.body, fetched.content_type, limits).map_err(|error| error.to_string())
    }

    fn ingest(&self, points: Vec<Point>, at: Timestamp) -> Result<Ingested, Failed> {
        let scraped = points.len();
        let mut ingested = Ingested { series: Vec::with_capacity(scraped), known: HashMap::new(), scraped, kept: 0 };
        for mut point in points {
            if !self.config.honor_timestamps {
                point.at = None;
            }
            let Some(labels) = relabel(&self.with_target_labels(&point.labels), &self.config.metric_relabel) else {
                continue;
            };
            if labels.metric_name().is_none() {
                let shown = rejection::excerpt(&labels.to_string());
                let error = format!("series has no metric name after `metric_relabel_configs`: `{shown}`");
                return Err(Failed { error, scraped, kept: ingested.kept });
            }
            ingested.kept += 1;
            ingested.known.insert(labels.clone(), if point.at.is_none() { End::Marked } else { End::Open });
            point.labels = labels;
            ingested.series.push(point.into_write(at));
        }
        let (kept, limit) = (ingested.kept, self.config.sample_limit);
        if limit > 0 && kept > limit {
            let error = format!("page has {kept} samples, more than the limit of {limit} (sample_limit)");
            return Err(Failed { error, scraped, kept });
        }
        Ok(ingested)
    }

    /// The target's labels win and the page's become `exported_…`, unless labels of the page are to be honoured.
    fn with_target_labels(&self, scraped: &Labels) -> Labels {
        let mut labels = LabelsBuilder::from(scraped);
        for (name, value) in self.target.labels.iter() {
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

    /// A staleness marker for each series that `still` does not have.
    fn mark_ends(&self, still: &HashMap<Labels, End>, at: Timestamp, series: &mut Vec<SeriesWrite>) {
        // Sorted, so that the same scrape always gives the same batch.
        let gone = self.known.iter().filter(|(labels, end)| **end == End::Marked && !still.contains_key(*labels));
        let mut ended: Vec<_> = gone.map(|(labels, _)| labels).collect();
        ended.sort_unstable();
        series.extend(ended.into_iter().map(|labels| one_sample(labels.clone(), stale_marker(), at)));
    }

    fn report(&self, name: &str, value: f64, at: Timestamp) -> SeriesWrite {
        one_sample(self.target.labels.with(Labels::NAME, name), value, at)
    }
}

fn one_sample(labels: Labels, value: f64, at: Timestamp) -> SeriesWrite {
    SeriesWrite::new(labels, [Sample { at, value }])
}
