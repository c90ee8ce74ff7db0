//! What the shell lets clients see of rules, alerts, targets and itself. Plain values, replaced as a whole.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use signal::{Labels, MetricMetadata, Timestamp};

/// The shared view; the shell replaces parts of it, routes read it. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Views(Arc<RwLock<View>>);

impl Views {
    /// Starts with `view`.
    #[must_use]
    pub fn new(view: View) -> Self {
        Self(Arc::new(RwLock::new(view)))
    }

    /// Changes the view; keep it short, readers wait meanwhile.
    pub fn update(&self, change: impl FnOnce(&mut View)) {
        change(&mut self.0.write().unwrap_or_else(PoisonError::into_inner));
    }

    /// Reads the view; keep it short, the writer waits meanwhile.
    pub fn read<T>(&self, look: impl FnOnce(&View) -> T) -> T {
        look(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Everything the status routes of the Prometheus API can say beside the data itself.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// Rule groups in file order.
    pub groups: Vec<RuleGroupView>,
    /// Scrape targets in use, sorted by [`TargetView::key`].
    pub targets: Vec<TargetView>,
    /// Targets that relabeling dropped: scrape pool and discovered labels; no more than the pool remembers.
    pub dropped_targets: Vec<(String, Labels)>,
    /// How many targets relabeling dropped, by scrape pool; every pool has an entry.
    pub dropped_target_counts: BTreeMap<String, u64>,
    /// The configuration in force, as YAML, without secrets.
    pub config_yaml: String,
    /// Command line flags by name.
    pub flags: BTreeMap<String, String>,
    /// When the process started.
    pub started: Option<Timestamp>,
    /// When the configuration was last loaded.
    pub config_loaded: Option<Timestamp>,
    /// Whether that load was fine.
    pub config_is_valid: bool,
    /// Retention in words, such as `15d or 1GiB`.
    pub storage_retention: String,
    /// Labels that this server adds to what it tells other servers.
    pub external_labels: BTreeMap<String, String>,
    /// Name of this machine.
    pub hostname: String,
    /// The directory the process was started in.
    pub directory: String,
}

/// Who answers: the fields of `/status/buildinfo`.
#[derive(Clone, Debug)]
pub struct BuildInfo {
    /// Aegis' own version.
    pub version: String,
    /// Source revision; may be empty.
    pub revision: String,
}

impl Default for BuildInfo {
    fn default() -> Self {
        Self { version: env!("CARGO_PKG_VERSION").to_owned(), revision: String::new() }
    }
}

/// A group of rules evaluated together.
#[derive(Clone, Debug, Default)]
pub struct RuleGroupView {
    /// Unique in its file.
    pub name: String,
    /// Where it is written.
    pub file: String,
    /// How often it is evaluated.
    pub interval: Duration,
    /// Most alerts or series a rule may give; 0 = no limit.
    pub limit: u64,
    /// How long the last evaluation took.
    pub evaluation_time: Duration,
    /// When it was last evaluated.
    pub last_evaluation: Option<Timestamp>,
    /// In order of evaluation.
    pub rules: Vec<RuleView>,
}

/// One rule.
#[derive(Clone, Debug)]
pub struct RuleView {
    /// Alert name or recorded metric.
    pub name: String,
    /// PromQL.
    pub query: String,
    /// Added to every result.
    pub labels: BTreeMap<String, String>,
    /// How the last evaluation went.
    pub health: Health,
    /// Why it failed; empty when it did not.
    pub last_error: String,
    /// How long the last evaluation took.
    pub evaluation_time: Duration,
    /// When it was last evaluated.
    pub last_evaluation: Option<Timestamp>,
    /// Recording or alerting.
    pub kind: RuleKind,
}

/// What a rule is for.
#[derive(Clone, Debug)]
pub enum RuleKind {
    /// Writes a series.
    Recording,
    /// Fires alerts.
    Alerting {
        /// How long the condition must hold.
        hold: Duration,
        /// How long it keeps firing afterwards.
        keep_firing: Duration,
        /// Unexpanded annotations.
        annotations: BTreeMap<String, String>,
        /// Alerts that are pending or firing.
        alerts: Vec<AlertView>,
    },
}

/// One pending or firing alert.
#[derive(Clone, Debug)]
pub struct AlertView {
    /// Including `alertname`.
    pub labels: Labels,
    /// Expanded.
    pub annotations: BTreeMap<String, String>,
    /// Pending or firing.
    pub state: AlertState,
    /// When the condition began to hold.
    pub active_at: Timestamp,
    /// Since when it only keeps firing.
    pub keep_firing_since: Option<Timestamp>,
    /// Last value of the expression.
    pub value: f64,
}

/// State of an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AlertState {
    /// Holds, not yet long enough.
    Pending,
    /// Fires.
    Firing,
}

impl AlertState {
    /// Prometheus' word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Firing => "firing",
        }
    }
}

/// How the last evaluation or scrape went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Health {
    /// Not tried yet.
    #[default]
    Unknown,
    /// Fine.
    Good,
    /// Failed.
    Bad,
}

impl Health {
    pub(crate) fn of_rule(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Good => "ok",
            Self::Bad => "err",
        }
    }

    pub(crate) fn of_target(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Good => "up",
            Self::Bad => "down",
        }
    }
}

/// One scrape target.
#[derive(Clone, Debug, Default)]
pub struct TargetView {
    /// Before relabeling.
    pub discovered_labels: Labels,
    /// Attached to every series.
    pub labels: Labels,
    /// Job.
    pub scrape_pool: String,
    /// What is fetched.
    pub scrape_url: String,
    /// The same as other machines reach it; empty means the same text.
    pub global_url: String,
    /// What the last good page said about its families.
    pub metadata: Arc<Vec<MetricMetadata>>,
    /// Why the last scrape failed; empty when it did not.
    pub last_error: String,
    /// When it was last scraped.
    pub last_scrape: Option<Timestamp>,
    /// How long that took.
    pub last_scrape_duration: Duration,
    /// How it went.
    pub health: Health,
    /// How often it is scraped.
    pub scrape_interval: Duration,
    /// Deadline of one scrape.
    pub scrape_timeout: Duration,
}

impl TargetView {
    /// What tells targets apart.
    #[must_use]
    pub fn key(&self) -> (&str, &str, &Labels) {
        (&self.scrape_pool, &self.scrape_url, &self.labels)
    }
}
