//! Alert rules: a PromQL expression, how long it must hold, and what to say then.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use signal::{Labels, LabelsBuilder, Severity, Timestamp};

use crate::{State, Transition};

mod expand;

/// One alert rule, with Prometheus' meaning of every field.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct AlertRule {
    /// The alert's name.
    pub name: String,
    /// PromQL; every sample of the answer is one alert.
    pub expr: String,
    /// How long it must hold before it fires (`for`).
    pub hold: Duration,
    /// How long it goes on firing after it stopped to hold (`keep_firing_for`).
    pub keep_firing: Duration,
    /// Added to the alert's labels; templates. `severity` is understood; `page: "false"` keeps it from opening incidents.
    pub labels: BTreeMap<String, String>,
    /// Texts for people; templates.
    pub annotations: BTreeMap<String, String>,
}

/// A rule that cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum RuleError {
    /// Two rules share a name.
    #[error("alert rule `{name}` is defined twice; give each rule its own name")]
    Duplicate {
        /// The name.
        name: String,
    },
    /// A label or annotation is not a valid template.
    #[error("alert rule `{name}`: {place} is not a valid template: {reason}")]
    Template {
        /// The rule.
        name: String,
        /// Which label or annotation.
        place: String,
        /// What the template language says.
        reason: String,
    },
}

/// Whether an alert counts yet.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertState {
    /// Holds, but not for long enough.
    Pending,
    /// Counts.
    Firing,
}

/// One alert as listed.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ActiveAlert {
    /// The rule.
    pub rule: String,
    /// Identity, `alertname` included.
    pub labels: Labels,
    /// Expanded texts.
    pub annotations: BTreeMap<String, String>,
    /// Whether it counts yet.
    pub state: AlertState,
    /// Since when it has held.
    pub active_at: Timestamp,
    /// Since when it is only kept firing, the expression no longer holding.
    pub kept_since: Option<Timestamp>,
    /// The latest value.
    pub value: f64,
}

/// All rules and the state of their alerts. Follows Prometheus (rules/alerting.go, `AlertingRule.Eval`).
#[derive(Clone, Debug, Default)]
pub struct RuleSet {
    rules: Vec<AlertRule>,
    active: BTreeMap<String, BTreeMap<Labels, Active>>,
}

/// The state of one alert.
#[derive(Clone, Debug)]
struct Active {
    labels: Labels,
    annotations: BTreeMap<String, String>,
    active_at: Timestamp,
    value: f64,
    is_firing: bool,
    kept_since: Option<Timestamp>,
}

impl RuleSet {
    /// Takes rules into use.
    ///
    /// # Errors
    /// `RuleError` for the first rule that cannot be used.
    pub fn new(rules: Vec<AlertRule>) -> Result<Self, RuleError> {
        let mut names = BTreeSet::new();
        for rule in &rules {
            if !names.insert(rule.name.as_str()) {
                return Err(RuleError::Duplicate { name: rule.name.clone() });
            }
            let labels = rule.labels.iter().map(|(name, text)| (format!("label `{name}`"), text));
            let annotations = rule.annotations.iter().map(|(name, text)| (format!("annotation `{name}`"), text));
            for (place, text) in labels.chain(annotations) {
                expand::check(text).map_err(|reason| RuleError::Template { name: rule.name.clone(), place, reason })?;
            }
        }
        Ok(Self { rules, active: BTreeMap::new() })
    }

    /// The rules, as given.
    #[must_use]
    pub fn rules(&self) -> &[AlertRule] {
        &self.rules
    }

    /// Takes the answer of `rule`'s expression at `now`; an unknown rule is ignored.
    ///
    /// Samples that are no numbers do not hold. When two samples lead to the same alert labels the first counts.
    pub fn observe(&mut self, rule: &str, vector: &[(Labels, f64)], now: Timestamp) -> Vec<Transition> {
        let Some(rule) = self.rules.iter().find(|known| known.name == rule) else { return Vec::new() };
        let active = self.active.entry(rule.name.clone()).or_default();
        let mut holding = BTreeSet::new();
        let mut transitions = Vec::new();
        for (series, value) in vector.iter().filter(|(_, value)| value.is_finite()) {
            let series = series.without_name();
            if !holding.insert(series.clone()) {
                continue;
            }
            let alert = active.entry(series.clone()).or_insert_with(|| Active {
                labels: alert_labels(rule, &series, *value),
                annotations: BTreeMap::new(),
                active_at: now,
                value: *value,
                is_firing: false,
                kept_since: None,
            });
            alert.value = *value;
            alert.kept_since = None;
            alert.annotations = annotations(rule, &series, *value);
            if !alert.is_firing && now.since(alert.active_at) >= rule.hold {
                alert.is_firing = true;
                transitions.push(transition(rule, alert, State::Fired, now));
            }
        }
        active.retain(|series, alert| {
            if holding.contains(series) {
                return true;
            }
            if alert.is_firing {
                let kept_since = *alert.kept_since.get_or_insert(now);
                if now.since(kept_since) < rule.keep_firing {
                    return true;
                }
                transitions.push(transition(rule, alert, State::Resolved, now));
            }
            false
        });
        transitions.sort_by(|a, b| a.labels.cmp(&b.labels));
        transitions
    }

    /// Takes up the alerts that were firing before a restart: whoever was told that they fired is then told that they
    /// resolved. Alerts of others are ignored.
    pub fn resume(&mut self, firing: &[Transition]) {
        for alert in firing.iter().filter(|alert| alert.state == State::Fired) {
            let Some(rule) = self.rules.iter().find(|rule| rule.name == alert.alert) else { continue };
            let series = alert.labels.without(|name| name == "alertname" || rule.labels.contains_key(name));
            let annotations = annotations(rule, &series, alert.value);
            let active = Active {
                labels: alert.labels.clone(),
                annotations,
                active_at: alert.onset,
                value: alert.value,
                is_firing: true,
                kept_since: None,
            };
            self.active.entry(rule.name.clone()).or_default().insert(series, active);
        }
    }

    /// Every pending and firing alert, by rule and labels.
    #[must_use]
    pub fn alerts(&self) -> Vec<ActiveAlert> {
        let mut found = Vec::new();
        for (rule, alerts) in &self.active {
            found.extend(alerts.values().map(|alert| ActiveAlert {
                rule: rule.clone(),
                labels: alert.labels.clone(),
                annotations: alert.annotations.clone(),
                state: if alert.is_firing { AlertState::Firing } else { AlertState::Pending },
                active_at: alert.active_at,
                kept_since: alert.kept_since,
                value: alert.value,
            }));
        }
        found
    }
}

fn alert_labels(rule: &AlertRule, series: &Labels, value: f64) -> Labels {
    let mut builder = LabelsBuilder::from(series);
    for (name, text) in &rule.labels {
        builder.set(name, &expand::expand(text, series, value));
    }
    builder.set("alertname", &rule.name);
    builder.build()
}

fn annotations(rule: &AlertRule, series: &Labels, value: f64) -> BTreeMap<String, String> {
    rule.annotations.iter().map(|(name, text)| (name.clone(), expand::expand(text, series, value))).collect()
}

fn transition(rule: &AlertRule, alert: &Active, state: State, now: Timestamp) -> Transition {
    let severity = alert.labels.get("severity").and_then(Severity::parse).unwrap_or(Severity::Medium);
    let service = alert.labels.get_or_empty("service").to_owned();
    // An incident belongs to a service: an alert without one informs, but opens none.
    let pages = !service.is_empty() && severity >= Severity::High && alert.labels.get("page") != Some("false");
    let said = alert.annotations.get("summary").or_else(|| alert.annotations.get("description"));
    let summary = said.cloned().unwrap_or_else(|| format!("{} holds: {} is {}", rule.name, rule.expr, alert.value));
    Transition {
        alert: rule.name.clone(),
        service,
        metric: String::new(),
        labels: alert.labels.clone(),
        state,
        at: now,
        onset: alert.active_at,
        severity,
        pages,
        value: alert.value,
        expected: None,
        summary,
    }
}

/// The rules Aegis ships with.
#[must_use]
pub fn default_rules() -> Vec<AlertRule> {
    let texts = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect::<BTreeMap<_, _>>()
    };
    vec![
        AlertRule {
            name: "HighAPIErrorRate".to_owned(),
            expr: "sum by (service) (rate(http_requests_total{status=~\"5..\"}[5m])) \
                   / sum by (service) (rate(http_requests_total[5m])) > 0.05"
                .to_owned(),
            hold: Duration::from_secs(300),
            keep_firing: Duration::ZERO,
            labels: texts(&[("severity", "critical")]),
            annotations: texts(&[
                ("summary", "Error rate of {{ $labels.service }} is {{ $value | humanizePercentage }} (threshold: 5%)"),
                (
                    "description",
                    "Service: {{ $labels.service }}\nError Rate: {{ $value | humanizePercentage }} (threshold: 5%)\nDuration: 5 minutes",
                ),
            ]),
        },
        AlertRule {
            name: "AnomalyDetectionSpike".to_owned(),
            expr: "sum(increase(ai_anomalies_detected_total{severity=~\"high|critical\"}[5m])) >= 15".to_owned(),
            hold: Duration::ZERO,
            keep_firing: Duration::ZERO,
            labels: texts(&[("severity", "high")]),
            annotations: texts(&[(
                "summary",
                "AI Engine detected {{ $value | printf \"%.0f\" }} anomalies in 5 minutes",
            )]),
        },
    ]
}

#[cfg(test)]
mod tests;
