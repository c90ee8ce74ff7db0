//! Alert rules: a PromQL expression, how long it must hold, and what to say then.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use signal::{Labels, Timestamp};

use crate::Transition;

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

/// All rules and the state of their alerts.
#[derive(Clone, Debug, Default)]
pub struct RuleSet {
    rules: Vec<AlertRule>,
}

impl RuleSet {
    /// Takes rules into use.
    ///
    /// # Errors
    /// `RuleError` for the first rule that cannot be used.
    pub fn new(rules: Vec<AlertRule>) -> Result<Self, RuleError> {
        Ok(Self { rules })
    }

    /// The rules, as given.
    #[must_use]
    pub fn rules(&self) -> &[AlertRule] {
        &self.rules
    }

    /// Takes the answer of `rule`'s expression at `now`; an unknown rule is ignored.
    pub fn observe(&mut self, rule: &str, vector: &[(Labels, f64)], now: Timestamp) -> Vec<Transition> {
        let _ = (rule, vector, now);
        Vec::new()
    }

    /// Every pending and firing alert, by rule and labels.
    #[must_use]
    pub fn alerts(&self) -> Vec<ActiveAlert> {
        Vec::new()
    }
}

/// The rules Aegis ships with.
#[must_use]
pub fn default_rules() -> Vec<AlertRule> {
    Vec::new()
}
