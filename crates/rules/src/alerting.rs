//! One alerting rule: from the elements of an answer to alerts. Follows upstream (rules/alerting.go).

use std::collections::BTreeMap;
use std::time::Duration;

use detect::{State, Transition};
use gotmpl::Value;
use signal::{Labels, LabelsBuilder, Sample, SeriesWrite, Severity, TimeRange, Timestamp};

use crate::ask::{Ask, Element, Reading};
use crate::file::{Kind, Rule};
use crate::group::Surroundings;
use crate::template::{Queries, Template, data};

/// The series that shows an alert's state.
const ALERTS: &str = "ALERTS";
/// The series that keeps, through a restart, since when an alert has held.
pub(crate) const ALERTS_FOR_STATE: &str = "ALERTS_FOR_STATE";
/// The label with the alert's name.
pub(crate) const ALERT_NAME: &str = "alertname";
/// A resolved alert is remembered for this long.
const RESOLVED_RETENTION: Duration = Duration::from_secs(15 * 60);
/// Alerts whose state is older than this are not restored.
pub(crate) const OUTAGE_TOLERANCE: Duration = Duration::from_secs(3600);
/// A restored alert fires this long after the restart at the earliest; rules with a shorter `for` just wait again.
pub(crate) const GRACE_PERIOD: Duration = Duration::from_secs(600);

/// Where an alert stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum AlertState {
    /// Holds no longer.
    Inactive,
    /// Holds, but not for long enough.
    Pending,
    /// Counts.
    Firing,
}

/// One alert of a rule.
#[derive(Clone, PartialEq, Debug)]
pub struct Alert {
    /// Identity, `alertname` included.
    pub labels: Labels,
    /// Expanded texts.
    pub annotations: BTreeMap<String, String>,
    /// Where it stands.
    pub state: AlertState,
    /// The value at the last evaluation in which it held.
    pub value: f64,
    /// Since when it has held.
    pub active_at: Timestamp,
    /// When it began to fire.
    pub fired_at: Option<Timestamp>,
    /// When it ceased to hold; only then it is inactive.
    pub resolved_at: Option<Timestamp>,
    /// Since when it is only kept firing.
    pub kept_since: Option<Timestamp>,
}

/// The state of an alerting rule.
#[derive(Debug, Default)]
pub(crate) struct Alerting {
    labels: Vec<(String, Template)>,
    annotations: Vec<(String, Template)>,
    pub(crate) alerts: BTreeMap<Labels, Alert>,
    /// Whether earlier state was looked for. Until then nothing is written that would hide it.
    pub(crate) is_restored: bool,
}

/// When and how a rule is evaluated.
#[derive(Clone, Copy)]
pub(crate) struct Turn<'a> {
    pub(crate) now: Timestamp,
    pub(crate) offset: Duration,
    pub(crate) limit: usize,
    pub(crate) surroundings: &'a Surroundings,
}

impl Turn<'_> {
    /// The time the rule looks at, and that of its results.
    pub(crate) fn at(&self) -> Timestamp {
        self.now.minus(self.offset)
    }
}

impl Alerting {
    pub(crate) fn new(rule: &Rule) -> Self {
        let Kind::Alerting { annotations, .. } = &rule.kind else { return Self::default() };
        let compile = |texts: &BTreeMap<String, String>| {
            let one = |(name, text): (&String, &String)| (name.clone(), Template::new(&rule.name, text));
            texts.iter().map(one).collect()
        };
        Self { labels: compile(&rule.labels), annotations: compile(annotations), ..Self::default() }
    }

    /// Takes the answer of the rule's expression and gives the samples to write.
    pub(crate) fn observe(
        &mut self,
        rule: &Rule,
        found: Vec<Element>,
        turn: Turn<'_>,
        ask: &mut dyn Ask,
    ) -> Result<Vec<SeriesWrite>, String> {
        let Kind::Alerting { hold, keep_firing, .. } = &rule.kind else { return Ok(Vec::new()) };
        let holding = self.expand(rule, found, turn, ask)?;
        for (labels, new) in &holding {
            match self.alerts.get_mut(labels) {
                Some(known) if known.state != AlertState::Inactive => {
                    known.value = new.value;
                    known.annotations.clone_from(&new.annotations);
                }
                Some(_) | None => {
                    self.alerts.insert(labels.clone(), new.clone());
                }
            }
        }
        let now = turn.now;
        self.alerts.retain(|labels, alert| {
            if holding.contains_key(labels) {
                alert.kept_since = None;
                return true;
            }
            match alert.state {
                AlertState::Pending => false,
                AlertState::Firing => {
                    let kept_since = *alert.kept_since.get_or_insert(now);
                    if keep_firing.is_zero() || now.since(kept_since) >= *keep_firing {
                        alert.state = AlertState::Inactive;
                        alert.resolved_at = Some(now);
                    }
                    true
                }
                AlertState::Inactive => alert.resolved_at.is_none_or(|at| now.since(at) <= RESOLVED_RETENTION),
            }
        });
        let mut written = Vec::new();
        let mut active = 0;
        for alert in self.alerts.values_mut().filter(|alert| alert.state != AlertState::Inactive) {
            active += 1;
            if alert.state == AlertState::Pending && now.since(alert.active_at) >= *hold {
                alert.state = AlertState::Firing;
                alert.fired_at = Some(now);
            }
            if self.is_restored {
                written.extend(samples(alert, turn.at()));
            }
        }
        if turn.limit > 0 && active > turn.limit {
            self.alerts.clear();
            return Err(format!("exceeded limit of {} with {active} alerts", turn.limit));
        }
        Ok(written)
    }

    /// The alerts the elements stand for, as if each had just begun.
    fn expand(
        &self,
        rule: &Rule,
        found: Vec<Element>,
        turn: Turn<'_>,
        ask: &mut dyn Ask,
    ) -> Result<BTreeMap<Labels, Alert>, String> {
        let mut queries = Queries::new(turn.now, rule.expr.language(), turn.surroundings);
        let mut alerts = BTreeMap::new();
        for element in found {
            let data: Value = data(&element, turn.surroundings);
            let mut builder = LabelsBuilder::from(&element.labels);
            builder.remove(Labels::NAME);
            for (name, template) in &self.labels {
                builder.set(name, &template.expand(&data, &mut queries, ask));
            }
            builder.set(ALERT_NAME, &rule.name);
            let labels = builder.build();
            let annotations = self.annotations.iter();
            let alert = Alert {
                labels: labels.clone(),
                annotations: annotations
                    .map(|(name, template)| (name.clone(), template.expand(&data, &mut queries, ask)))
                    .collect(),
                state: AlertState::Pending,
                value: match element.reading {
                    Reading::Number(value) => value,
                    Reading::Histogram(_) => 0.0,
                },
                active_at: turn.now,
                fired_at: None,
                resolved_at: None,
                kept_since: None,
            };
            if alerts.insert(labels, alert).is_some() {
                return Err("vector contains metrics with the same labelset after applying alert labels".to_owned());
            }
        }
        Ok(alerts)
    }

    /// Takes up since when the alerts have held from what was written before a restart.
    pub(crate) fn restore(&mut self, rule: &Rule, now: Timestamp, ask: &mut dyn Ask) -> Result<(), String> {
        self.is_restored = true;
        let Kind::Alerting { hold, .. } = &rule.kind else { return Ok(()) };
        if *hold < GRACE_PERIOD {
            return Ok(());
        }
        let matchers = vec![
            signal::Matcher::equal(Labels::NAME, ALERTS_FOR_STATE),
            signal::Matcher::equal(ALERT_NAME, rule.name.as_str()),
        ];
        let stored = ask.series(matchers, TimeRange::new(now.minus(OUTAGE_TOLERANCE), now))?;
        let last: BTreeMap<Labels, Sample> =
            stored.iter().filter_map(|series| Some((series.labels.without_name(), *series.samples.last()?))).collect();
        for alert in self.alerts.values_mut() {
            if let Some(sample) = last.get(&alert.labels).filter(|sample| sample.value.is_finite()) {
                alert.active_at = restored_start(*sample, *hold, now);
            }
        }
        Ok(())
    }
}

/// Since when an alert has held whose last `ALERTS_FOR_STATE` before the outage is `last`.
fn restored_start(last: Sample, hold: Duration, now: Timestamp) -> Timestamp {
    // Whole seconds, as upstream.
    let down_at = Timestamp(last.at.0.div_euclid(1000).saturating_mul(1000));
    let active_at = Timestamp((last.value as i64).saturating_mul(1000));
    let pending = down_at.since(active_at);
    match hold.checked_sub(pending) {
        // It was firing: the next evaluation makes it fire again.
        None | Some(Duration::ZERO) => active_at,
        // Almost there: a grace period for what was not seen meanwhile.
        Some(left) if left < GRACE_PERIOD => now.plus(GRACE_PERIOD).minus(hold),
        // The outage does not count.
        Some(_) => active_at.plus(now.since(down_at)),
    }
}

fn samples(alert: &Alert, at: Timestamp) -> [SeriesWrite; 2] {
    let write = |labels: Labels, value: f64| SeriesWrite::new(labels, [Sample { at, value }]);
    let mut state = LabelsBuilder::from(&alert.labels);
    state.set(Labels::NAME, ALERTS).set("alertstate", alert.state.as_str());
    let since = alert.labels.with(Labels::NAME, ALERTS_FOR_STATE);
    [write(state.build(), 1.0), write(since, alert.active_at.0.div_euclid(1000) as f64)]
}

impl AlertState {
    /// Prometheus' word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inactive => "inactive",
            Self::Pending => "pending",
            Self::Firing => "firing",
        }
    }
}

impl Alert {
    /// What the control loop is told when the alert begins to fire.
    pub(crate) fn fired(&self, rule: &Rule, now: Timestamp) -> Transition {
        let severity = self.labels.get("severity").and_then(Severity::parse).unwrap_or(Severity::Medium);
        let service = self.labels.get_or_empty("service").to_owned();
        // An incident belongs to a service: an alert without one informs, but opens none.
        let pages = !service.is_empty() && severity >= Severity::High && self.labels.get("page") != Some("false");
        let value = if self.value.is_finite() { self.value } else { 0.0 };
        let said = ["summary", "description", "message"].iter().find_map(|name| self.annotations.get(*name));
        Transition {
            alert: rule.name.clone(),
            service,
            metric: String::new(),
            labels: self.labels.clone(),
            state: State::Fired,
            at: now,
            onset: self.active_at.min(now),
            severity,
            pages,
            value,
            expected: None,
            summary: said.cloned().unwrap_or_else(|| format!("{} holds: {} is {value}", rule.name, rule.expr)),
        }
    }
}
