//! The numbers by which the loop is judged.

use serde::Serialize;

use crate::{IncidentView, Timeline};

/// Times in seconds, means over the incidents that have them; `None` without any.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Kpis {
    /// Incidents opened.
    pub incidents: u64,
    /// Incidents closed.
    pub closed: u64,
    /// Closed with a proven fix and without a person.
    pub fixed: u64,
    /// Incidents for which a person was called.
    pub escalated: u64,
    /// Onset to detection.
    pub detection_s: Option<f64>,
    /// Detection to a resolved cause.
    pub cause_s: Option<f64>,
    /// Onset to the action being permitted.
    pub action_s: Option<f64>,
    /// Onset to users no longer noticing.
    pub mitigation_s: Option<f64>,
    /// Onset to proof.
    pub verification_s: Option<f64>,
    /// Share of closed incidents fixed without a person, 0 to 1.
    pub automation_rate: Option<f64>,
    /// Actions carried out.
    pub actions: u64,
    /// Actions that did not end as `fixed`.
    pub actions_not_fixed: u64,
    /// Actions taken back.
    pub undone: u64,
}

/// Computes the KPIs from a timeline.
#[must_use]
pub fn kpis(timeline: &Timeline) -> Kpis {
    let all = &timeline.incidents;
    let count = |holds: fn(&IncidentView) -> bool| all.iter().filter(|incident| holds(incident)).count() as u64;
    let closed = count(|incident| incident.closed_at.is_some());
    let fixed = count(|incident| incident.verdict.is_some_and(remediate::Verdict::is_success) && !incident.escalated);
    let actions = || all.iter().flat_map(|incident| &incident.actions);
    Kpis {
        incidents: all.len() as u64,
        closed,
        fixed,
        escalated: count(|incident| incident.escalated),
        detection_s: mean(all, |incident| Some((incident.onset, incident.detected_at))),
        cause_s: mean(all, |incident| Some((incident.detected_at, incident.diagnosed_at?))),
        action_s: mean(all, |incident| Some((incident.onset, incident.acted_at?))),
        mitigation_s: mean(all, |incident| Some((incident.onset, incident.mitigated_at?))),
        verification_s: mean(all, |incident| Some((incident.onset, incident.verified_at?))),
        automation_rate: (closed > 0).then(|| fixed as f64 / closed as f64),
        actions: actions().count() as u64,
        actions_not_fixed: actions()
            .filter(|action| !action.verdict.is_some_and(remediate::Verdict::is_success))
            .count() as u64,
        undone: actions().filter(|action| action.undone).count() as u64,
    }
}

fn mean(
    incidents: &[IncidentView],
    ends: impl Fn(&IncidentView) -> Option<(signal::Timestamp, signal::Timestamp)>,
) -> Option<f64> {
    let spans: Vec<f64> = incidents.iter().filter_map(ends).map(|(from, to)| to.since(from).as_secs_f64()).collect();
    (!spans.is_empty()).then(|| spans.iter().sum::<f64>() / spans.len() as f64)
}
