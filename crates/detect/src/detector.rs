//! Streaming anomaly detection on readings of services.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use signal::{Labels, Severity, Timestamp};

use crate::transition::{significant, two_decimals};
use crate::{Role, State, Transition, Unit, Watch};

mod series;

pub(crate) use series::median;
use series::{ChangeOfState, Facts, Series};

/// How the detector judges.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct DetectorSettings {
    /// Readings of a series before anybody is told about it. Default 10.
    pub warm_readings: u32,
    /// Requests per second below which symptoms of a service mean nothing. Default 1.
    pub min_traffic: f64,
    /// The rate window of the readings, which tells how many requests a share stands for. Default 30 s.
    pub window: Duration,
    /// Time after an alert resolved in which it takes twice the evidence to fire again. Default 60 s.
    pub cool_down: Duration,
    /// Time without readings after which a firing alert is given up. Default 5 min.
    pub forget_after: Duration,
    /// How many series are followed; further ones are counted as suppressed. Default 20 000.
    pub max_series: usize,
}

impl Default for DetectorSettings {
    fn default() -> Self {
        Self {
            warm_readings: 10,
            min_traffic: 1.0,
            window: Duration::from_secs(30),
            cool_down: Duration::from_secs(60),
            forget_after: Duration::from_secs(300),
            max_series: 20_000,
        }
    }
}

/// One value of one watch for one service.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Reading {
    /// Which watch.
    pub metric_type: String,
    /// Which service.
    pub service: String,
    /// The value; NaN and infinities are counted and ignored.
    pub value: f64,
}

/// What is unusual right now.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Anomaly {
    /// The service.
    pub service: String,
    /// Which reading of it.
    pub metric_type: String,
    /// How bad.
    pub severity: Severity,
    /// How unusual, from 0 to 1.
    pub score: f64,
    /// The reading.
    pub value: f64,
    /// What was normal.
    pub expected: f64,
    /// Distance from normal in robust standard deviations.
    pub deviation: f64,
}

/// What one round of readings says.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Observation {
    /// Alerts that changed.
    pub transitions: Vec<Transition>,
    /// Everything unusual, told or not.
    pub anomalies: Vec<Anomaly>,
    /// Why something was not told, and how often.
    pub suppressed: BTreeMap<String, u64>,
}

/// What is normal for one series.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Baseline {
    /// The service.
    pub service: String,
    /// Which reading of it.
    pub metric_type: String,
    /// The usual value.
    pub expected: f64,
    /// One robust standard deviation.
    pub spread: f64,
    /// Readings it was learned from.
    pub samples: u64,
}

/// Follows every (service, metric type) with a small fixed state.
///
/// Cost per reading does not depend on history. Series nobody reported for a day are forgotten.
#[derive(Clone, Debug)]
pub struct Detector {
    settings: DetectorSettings,
    watches: Vec<Watch>,
    services: BTreeMap<String, BTreeMap<String, Series>>,
    followed: usize,
    /// Requests per second, by service, as last read.
    traffic: BTreeMap<String, f64>,
}

/// The name of every alert of the detector.
const ANOMALY: &str = "Anomaly";
/// A series unseen for this long is dropped.
const DROP_AFTER: Duration = Duration::from_secs(24 * 3600);

impl Detector {
    /// A detector that knows nothing yet.
    #[must_use]
    pub fn new(settings: DetectorSettings, watches: Vec<Watch>) -> Self {
        Self { settings, watches, services: BTreeMap::new(), followed: 0, traffic: BTreeMap::new() }
    }

    /// Learns from readings taken at `at` without telling anybody: history replayed after a start.
    pub fn warm(&mut self, at: Timestamp, readings: &[Reading]) {
        let mut ignored = BTreeMap::new();
        self.read_traffic(readings);
        for reading in readings {
            if let Some((series, facts)) = self.follow(reading, &mut ignored) {
                series.learn_only(at, reading.value, &facts);
            }
        }
    }

    /// Takes up the alerts that were firing before a restart, after [`warm`](Self::warm): whoever was told that they fired
    /// is then told that they resolved. Alerts of others and of unknown metrics are ignored.
    pub fn resume(&mut self, firing: &[Transition]) {
        for alert in firing.iter().filter(|alert| alert.alert == ANOMALY && alert.state == State::Fired) {
            if !self.watches.iter().any(|watch| watch.metric_type == alert.metric) {
                continue;
            }
            let by_metric = self.services.entry(alert.service.clone()).or_default();
            self.followed += usize::from(!by_metric.contains_key(&alert.metric));
            by_metric.entry(alert.metric.clone()).or_default().resume(alert.onset, alert.severity, alert.at);
        }
    }

    /// Notes that nobody could look at these metrics at `now`: their source is down. That is no absence of readings, so
    /// nothing resolves by it, and readings before and after the gap do not add up.
    pub fn look_away<'a>(&mut self, now: Timestamp, metric_types: impl IntoIterator<Item = &'a str>) {
        for metric_type in metric_types {
            for by_metric in self.services.values_mut() {
                if let Some(series) = by_metric.get_mut(metric_type) {
                    series.look_away(now);
                }
            }
        }
    }

    /// Judges and learns one round of readings taken at `now`.
    pub fn observe(&mut self, now: Timestamp, readings: &[Reading]) -> Observation {
        let mut seen = Observation::default();
        let settings = self.settings.clone();
        self.read_traffic(readings);
        for reading in readings {
            let Some((series, facts)) = self.follow(reading, &mut seen.suppressed) else { continue };
            let verdict = series.observe(now, reading.value, &facts, &settings);
            if let Some(reason) = verdict.suppressed {
                count(&mut seen.suppressed, reason);
            }
            if let Some(unusual) = verdict.unusual {
                seen.anomalies.push(Anomaly {
                    service: reading.service.clone(),
                    metric_type: reading.metric_type.clone(),
                    severity: unusual.severity,
                    score: two_decimals(unusual.score),
                    value: significant(reading.value),
                    expected: significant(unusual.expected),
                    deviation: two_decimals(unusual.deviation),
                });
            }
            if let Some(change) = verdict.change {
                seen.transitions.push(transition(reading, &facts, &change, now));
            }
        }
        self.give_up(now, &mut seen);
        seen.transitions.sort_by(|a, b| (&a.service, &a.metric).cmp(&(&b.service, &b.metric)));
        seen.anomalies.sort_by(|a, b| (&a.service, &a.metric_type).cmp(&(&b.service, &b.metric_type)));
        seen
    }

    /// What is normal, for every series that has been seen often enough.
    #[must_use]
    pub fn baselines(&self) -> Vec<Baseline> {
        let mut found = Vec::new();
        for (service, by_metric) in &self.services {
            for (metric_type, series) in by_metric {
                let Some(watch) = self.watches.iter().find(|watch| watch.metric_type == *metric_type) else { continue };
                if !series.is_warm(&self.settings) {
                    continue;
                }
                let facts = self.facts(watch, service);
                found.push(Baseline {
                    service: service.clone(),
                    metric_type: metric_type.clone(),
                    expected: significant(series.expected(&facts)),
                    spread: significant(series.natural_spread(&facts)),
                    samples: series.samples(),
                });
            }
        }
        found
    }

    fn read_traffic(&mut self, readings: &[Reading]) {
        for reading in readings {
            let is_load = self.watches.iter().any(|watch| {
                watch.metric_type == reading.metric_type && watch.role == Role::Load && watch.unit == Unit::PerSecond
            });
            if is_load && reading.value.is_finite() {
                self.traffic.insert(reading.service.clone(), reading.value);
            }
        }
    }

    fn facts(&self, watch: &Watch, service: &str) -> Facts {
        let traffic = self.traffic.get(service).copied();
        let trials = traffic.map(|per_second| per_second.max(0.0) * self.settings.window.as_secs_f64());
        Facts { role: watch.role, unit: watch.unit, min_effect: watch.min_effect, trials }
    }

    /// The state a reading belongs to, unless it says nothing.
    fn follow(&mut self, reading: &Reading, suppressed: &mut BTreeMap<String, u64>) -> Option<(&mut Series, Facts)> {
        let refusal = self.refusal(reading);
        if let Err(reason) = refusal {
            count(suppressed, reason);
            return None;
        }
        let watch = self.watches.iter().find(|watch| watch.metric_type == reading.metric_type)?;
        let facts = self.facts(watch, &reading.service);
        let by_metric = self.services.entry(reading.service.clone()).or_default();
        if !by_metric.contains_key(&reading.metric_type) {
            self.followed += 1;
        }
        Some((by_metric.entry(reading.metric_type.clone()).or_default(), facts))
    }

    fn refusal(&self, reading: &Reading) -> Result<(), &'static str> {
        if !reading.value.is_finite() {
            return Err("not_a_number");
        }
        if reading.service.is_empty() {
            return Err("no_service");
        }
        let Some(watch) = self.watches.iter().find(|watch| watch.metric_type == reading.metric_type) else {
            return Err("unknown_metric");
        };
        let is_quiet = self.traffic.get(&reading.service).is_some_and(|traffic| *traffic < self.settings.min_traffic);
        if is_quiet && watch.role == Role::Symptom {
            return Err("low_traffic");
        }
        let is_known =
            self.services.get(&reading.service).is_some_and(|by_metric| by_metric.contains_key(&reading.metric_type));
        if !is_known && self.followed >= self.settings.max_series {
            return Err("too_many_series");
        }
        Ok(())
    }

    /// Ends alerts that have had no readings for long, and forgets series that are gone.
    fn give_up(&mut self, now: Timestamp, seen: &mut Observation) {
        let forget_after = self.settings.forget_after;
        let watches = &self.watches;
        for (service, by_metric) in &mut self.services {
            for (metric_type, series) in by_metric.iter_mut() {
                let Some(watch) = watches.iter().find(|watch| watch.metric_type == *metric_type) else { continue };
                let facts = Facts { role: watch.role, unit: watch.unit, min_effect: watch.min_effect, trials: None };
                let Some(change) = series.give_up(now, forget_after, &facts) else { continue };
                count(&mut seen.suppressed, "no_readings");
                let reading =
                    Reading { metric_type: metric_type.clone(), service: service.clone(), value: change.value };
                seen.transitions.push(transition(&reading, &facts, &change, now));
            }
            by_metric.retain(|_, series| series.is_alive(now, DROP_AFTER));
        }
        self.services.retain(|_, by_metric| !by_metric.is_empty());
        self.followed = self.services.values().map(BTreeMap::len).sum();
        let services = &self.services;
        self.traffic.retain(|service, _| services.contains_key(service));
    }
}

fn count(counts: &mut BTreeMap<String, u64>, reason: &str) {
    *counts.entry(reason.to_owned()).or_default() += 1;
}

fn transition(reading: &Reading, facts: &Facts, change: &ChangeOfState, now: Timestamp) -> Transition {
    let what = reading.metric_type.replace('_', " ");
    let (value, expected) = (facts.unit.words(change.value), facts.unit.words(change.expected));
    let service = &reading.service;
    let summary = match change.state {
        State::Fired => format!("{what} of {service} is {value}, usually {expected}"),
        State::Resolved if change.without_readings => {
            format!("{what} of {service} is no longer reported; it was {value}")
        }
        State::Resolved => format!("{what} of {service} is back at {value}, usually {expected}"),
    };
    Transition {
        alert: ANOMALY.to_owned(),
        service: service.clone(),
        metric: reading.metric_type.clone(),
        labels: Labels::from_pairs([
            ("alertname", ANOMALY),
            ("metric_type", reading.metric_type.as_str()),
            ("service", service.as_str()),
        ]),
        state: change.state,
        at: now,
        onset: change.onset.min(now),
        severity: change.severity,
        pages: facts.role == Role::Symptom && change.severity >= Severity::Medium,
        value: significant(change.value),
        expected: Some(significant(change.expected)),
        summary,
    }
}

#[cfg(test)]
mod queue;
#[cfg(test)]
mod tests;
