//! A group of rules and its state. Follows upstream (rules/group.go, rules/recording.go).

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::time::Duration;

use detect::{State, Transition};
use signal::{HistogramSample, Labels, LabelsBuilder, Sample, SeriesWrite, Timestamp, stale_marker};

use crate::alerting::{Alert, AlertState, Alerting, Turn};
use crate::ask::{Ask, Element, Reading};
use crate::file::{GroupSpec, Kind, Rule};

/// What rules inherit and what their templates see of the world around them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Surroundings {
    /// Interval of groups that name none. Default one minute.
    pub interval: Duration,
    /// Query offset of groups that name none.
    pub query_offset: Duration,
    /// `$externalLabels`.
    pub external_labels: BTreeMap<String, String>,
    /// `$externalURL`; the URL people reach this server by.
    pub external_url: String,
}

impl Default for Surroundings {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(60),
            query_offset: Duration::ZERO,
            external_labels: BTreeMap::new(),
            external_url: String::new(),
        }
    }
}

/// How a rule's last evaluation went.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Health {
    /// Not tried yet.
    #[default]
    Unknown,
    /// Fine.
    Good,
    /// Failed.
    Bad,
}

/// A rule and what became of it.
#[derive(Debug)]
pub struct RuleState {
    /// The rule.
    pub rule: Rule,
    /// How its last evaluation went.
    pub health: Health,
    /// Why that failed; empty when it did not.
    pub last_error: String,
    /// How long it took.
    pub evaluation_time: Duration,
    /// When it was.
    pub last_evaluation: Option<Timestamp>,
    alerting: Alerting,
    /// Series of the last good evaluation.
    written: BTreeSet<Labels>,
}

/// Rules that are evaluated together, in order.
#[derive(Debug)]
pub struct Group {
    name: String,
    file: String,
    interval: Duration,
    query_offset: Duration,
    limit: usize,
    surroundings: Surroundings,
    rules: Vec<RuleState>,
    /// Series of rules that are gone, to be marked stale.
    orphans: BTreeSet<Labels>,
    /// What the control loop believes to be firing.
    told: BTreeMap<Labels, Transition>,
    evaluation_time: Duration,
    last_evaluation: Option<Timestamp>,
}

/// What one evaluation of a group gave.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Evaluation {
    /// Alerts that began to fire, and such that hold no longer.
    pub transitions: Vec<Transition>,
    /// Samples written, staleness markers not counted.
    pub samples: usize,
    /// Rules that failed.
    pub failures: usize,
}

impl Group {
    /// A group that was never evaluated. `file` is where it is written.
    #[must_use]
    pub fn new(spec: &GroupSpec, file: &str, surroundings: &Surroundings) -> Self {
        let interval = spec.interval.filter(|interval| !interval.is_zero()).unwrap_or(surroundings.interval);
        let rules = spec.rules.iter().map(|rule| RuleState {
            alerting: Alerting::new(rule),
            rule: rule.clone(),
            health: Health::Unknown,
            last_error: String::new(),
            evaluation_time: Duration::ZERO,
            last_evaluation: None,
            written: BTreeSet::new(),
        });
        Self {
            name: spec.name.clone(),
            file: file.to_owned(),
            interval,
            query_offset: spec.query_offset.unwrap_or(surroundings.query_offset),
            limit: spec.limit,
            surroundings: surroundings.clone(),
            rules: rules.collect(),
            orphans: BTreeSet::new(),
            told: BTreeMap::new(),
            evaluation_time: Duration::ZERO,
            last_evaluation: None,
        }
    }

    /// Its name, unique in its file.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it is written.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// How often it is to be evaluated; at least a millisecond.
    #[must_use]
    pub fn interval(&self) -> Duration {
        self.interval.max(Duration::from_millis(1))
    }

    /// Most series or alerts of one rule; 0 = no limit.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Its rules, in order.
    #[must_use]
    pub fn rules(&self) -> &[RuleState] {
        &self.rules
    }

    /// How long the last evaluation took.
    #[must_use]
    pub fn evaluation_time(&self) -> Duration {
        self.evaluation_time
    }

    /// When that was.
    #[must_use]
    pub fn last_evaluation(&self) -> Option<Timestamp> {
        self.last_evaluation
    }

    /// The first time after `now` at which this group is due. Groups are spread over the interval by their names, and a
    /// group's times are the same after every restart.
    #[must_use]
    pub fn due_after(&self, now: Timestamp) -> Timestamp {
        let interval = i64::try_from(self.interval().as_millis()).unwrap_or(i64::MAX);
        let offset = (fnv1a(&[&self.file, "\u{ff}", &self.name]) % interval.unsigned_abs()) as i64;
        let into = now.0.saturating_sub(offset).rem_euclid(interval);
        Timestamp(now.0.saturating_sub(into).saturating_add(interval))
    }

    /// Says that there is no earlier state to take up: alerts are written from the first evaluation on.
    pub fn begin_afresh(&mut self) {
        for state in &mut self.rules {
            state.alerting.is_restored = true;
        }
    }

    /// Whether [`restore`](Self::restore) is still to be called, after the second evaluation.
    #[must_use]
    pub fn awaits_restore(&self) -> bool {
        self.rules.iter().any(|state| matches!(state.rule.kind, Kind::Alerting { .. }) && !state.alerting.is_restored)
    }

    /// Takes up since when alerts have held from what was written before a restart.
    ///
    /// Meant for after the second evaluation: before, rules may lack data that others are still to write.
    ///
    /// # Errors
    /// What could not be read; the alerts then begin anew, and the next evaluation goes on as usual.
    pub fn restore(&mut self, now: Timestamp, ask: &mut dyn Ask) -> Result<(), String> {
        let mut outcome = Ok(());
        for state in &mut self.rules {
            outcome = outcome.and(state.alerting.restore(&state.rule, now, ask));
        }
        outcome
    }

    /// Takes up what the control loop was told before a restart: it waits to hear that these resolved. Alerts that no
    /// rule of this group has are ignored.
    pub fn resume(&mut self, firing: &[Transition]) {
        for alert in firing.iter().filter(|alert| alert.state == State::Fired && alert.metric.is_empty()) {
            let mut alerting = self.rules.iter().filter(|state| matches!(state.rule.kind, Kind::Alerting { .. }));
            if alerting.any(|state| state.rule.name == alert.alert) {
                self.told.insert(alert.labels.clone(), alert.clone());
            }
        }
    }

    /// Takes over the state of an earlier version of this group: alerts and series of rules with the same name and
    /// labels. The series of the others end with the next evaluation.
    pub fn take_over(&mut self, from: Self) {
        self.evaluation_time = from.evaluation_time;
        self.last_evaluation = from.last_evaluation;
        self.told = from.told;
        self.orphans = from.orphans;
        let mut left: Vec<Option<RuleState>> = from.rules.into_iter().map(Some).collect();
        for state in &mut self.rules {
            let same = |old: &&mut Option<RuleState>| {
                old.as_ref()
                    .is_some_and(|old| (&old.rule.name, &old.rule.labels) == (&state.rule.name, &state.rule.labels))
            };
            state.alerting.is_restored = true;
            let Some(old) = left.iter_mut().find(same).and_then(Option::take) else { continue };
            state.written = old.written;
            if matches!(state.rule.kind, Kind::Alerting { .. }) {
                state.alerting.alerts = old.alerting.alerts;
                state.alerting.is_restored = old.alerting.is_restored;
            }
        }
        for gone in left.into_iter().flatten() {
            self.orphans.extend(gone.written);
        }
        for state in &self.rules {
            self.orphans = self.orphans.difference(&state.written).cloned().collect();
        }
    }

    /// Ends the group: its series are marked stale, and what was told to fire resolves.
    pub fn retire(mut self, now: Timestamp, ask: &mut dyn Ask) -> Vec<Transition> {
        for state in mem::take(&mut self.rules) {
            self.orphans.extend(state.written);
        }
        self.bury(now.minus(self.query_offset), ask);
        self.reconcile(now)
    }

    /// Evaluates every rule for `now`; each sees what those before it gave.
    pub fn evaluate(&mut self, now: Timestamp, ask: &mut dyn Ask) -> Evaluation {
        let mut evaluation = Evaluation::default();
        self.evaluation_time = Duration::ZERO;
        ask.lap();
        let turn = Turn { now, offset: self.query_offset, limit: self.limit, surroundings: &self.surroundings };
        for state in &mut self.rules {
            match state.evaluate(turn, ask) {
                Ok(samples) => {
                    evaluation.samples += samples;
                    state.health = Health::Good;
                    state.last_error.clear();
                }
                Err(error) => {
                    evaluation.failures += 1;
                    state.health = Health::Bad;
                    state.last_error = error;
                }
            }
            state.last_evaluation = Some(now);
            state.evaluation_time = ask.lap();
            self.evaluation_time += state.evaluation_time;
        }
        self.last_evaluation = Some(now);
        self.bury(now.minus(self.query_offset), ask);
        evaluation.transitions = self.reconcile(now);
        evaluation
    }

    /// Marks the series of rules that are gone stale; kept for the next time when that fails.
    fn bury(&mut self, at: Timestamp, ask: &mut dyn Ask) {
        if self.orphans.is_empty() {
            return;
        }
        let markers = self.orphans.iter().map(|labels| stale(labels.clone(), at)).collect();
        if ask.append(markers).is_ok() {
            self.orphans.clear();
        }
    }

    /// Compares what fires with what the control loop was told.
    fn reconcile(&mut self, now: Timestamp) -> Vec<Transition> {
        let mut transitions = Vec::new();
        let mut active = BTreeSet::new();
        for state in &self.rules {
            for alert in state.alerting.alerts.values().filter(|alert| alert.state != AlertState::Inactive) {
                active.insert(&alert.labels);
                if alert.state == AlertState::Firing && !self.told.contains_key(&alert.labels) {
                    let fired = alert.fired(&state.rule, now);
                    self.told.insert(alert.labels.clone(), fired.clone());
                    transitions.push(fired);
                }
            }
        }
        let rules = &self.rules;
        self.told.retain(|labels, told| {
            // A rule that could not be asked says nothing about its alerts.
            let is_unknown = |state: &RuleState| state.rule.name == told.alert && state.health != Health::Good;
            if active.contains(labels) || rules.iter().any(is_unknown) {
                return true;
            }
            transitions.push(Transition { state: State::Resolved, at: now, ..told.clone() });
            false
        });
        transitions
    }
}

impl RuleState {
    /// Pending and firing alerts, by labels.
    pub fn alerts(&self) -> impl Iterator<Item = &Alert> {
        self.alerting.alerts.values().filter(|alert| alert.state != AlertState::Inactive)
    }

    fn evaluate(&mut self, turn: Turn<'_>, ask: &mut dyn Ask) -> Result<usize, String> {
        let found = ask.vector(&self.rule.expr, turn.at())?;
        let batch = match self.rule.kind {
            Kind::Recording => record(&self.rule, found, turn)?,
            Kind::Alerting { .. } => self.alerting.observe(&self.rule, found, turn, ask)?,
        };
        let samples = batch.len();
        let written: BTreeSet<Labels> = batch.iter().map(|series| series.labels.clone()).collect();
        if !batch.is_empty() {
            ask.append(batch)?;
        }
        let vanished = self.written.difference(&written).map(|labels| stale(labels.clone(), turn.at()));
        let markers: Vec<SeriesWrite> = vanished.collect();
        if !markers.is_empty() {
            // Refused where another rule goes on with the series.
            let _ = ask.append(markers);
        }
        self.written = written;
        Ok(samples)
    }
}

fn record(rule: &Rule, found: Vec<Element>, turn: Turn<'_>) -> Result<Vec<SeriesWrite>, String> {
    let at = turn.at();
    let mut seen = BTreeSet::new();
    let mut batch = Vec::with_capacity(found.len());
    for element in found {
        let mut builder = LabelsBuilder::from(&element.labels);
        builder.set(Labels::NAME, &rule.name);
        for (name, value) in &rule.labels {
            builder.set(name, value);
        }
        let labels = builder.build();
        if !seen.insert(labels.clone()) {
            return Err("vector contains metrics with the same labelset after applying rule labels".to_owned());
        }
        let mut series = SeriesWrite { labels, ..SeriesWrite::default() };
        match element.reading {
            Reading::Number(value) => series.samples.push(Sample { at, value }),
            Reading::Histogram(histogram) => series.histograms.push(HistogramSample { at, histogram }),
        }
        batch.push(series);
    }
    if turn.limit > 0 && batch.len() > turn.limit {
        return Err(format!("exceeded limit of {} with {} series", turn.limit, batch.len()));
    }
    Ok(batch)
}

fn stale(labels: Labels, at: Timestamp) -> SeriesWrite {
    SeriesWrite::new(labels, [Sample { at, value: stale_marker() }])
}

/// A hash that is the same in every process and version (FNV-1a).
fn fnv1a(parts: &[&str]) -> u64 {
    let bytes = parts.iter().flat_map(|part| part.bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests;
