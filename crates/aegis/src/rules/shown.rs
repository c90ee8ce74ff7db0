//! Rule groups as the API shows them.

use rules::{Alert, AlertState, Group, Health, Kind, RuleState};
use web::{AlertView, RuleGroupView, RuleKind, RuleView, View};

/// Puts a group in its place, by file and name; an earlier state of it goes.
pub(crate) fn put(view: &mut View, group: RuleGroupView) {
    fn key(group: &RuleGroupView) -> (&str, &str) {
        (&group.file, &group.name)
    }
    match view.groups.binary_search_by(|known| key(known).cmp(&key(&group))) {
        Ok(at) => {
            if let Some(known) = view.groups.get_mut(at) {
                *known = group;
            }
        }
        Err(at) => view.groups.insert(at, group),
    }
}

pub(super) fn group(group: &Group) -> RuleGroupView {
    RuleGroupView {
        name: group.name().to_owned(),
        file: group.file().to_owned(),
        interval: group.interval(),
        limit: group.limit() as u64,
        evaluation_time: group.evaluation_time(),
        last_evaluation: group.last_evaluation(),
        rules: group.rules().iter().map(rule).collect(),
    }
}

fn rule(state: &RuleState) -> RuleView {
    RuleView {
        name: state.rule.name.clone(),
        query: state.rule.expr.to_string(),
        labels: state.rule.labels.clone(),
        health: match state.health {
            Health::Unknown => web::Health::Unknown,
            Health::Good => web::Health::Good,
            Health::Bad => web::Health::Bad,
        },
        last_error: state.last_error.clone(),
        evaluation_time: state.evaluation_time,
        last_evaluation: state.last_evaluation,
        kind: match &state.rule.kind {
            Kind::Recording => RuleKind::Recording,
            Kind::Alerting { hold, keep_firing, annotations } => RuleKind::Alerting {
                hold: *hold,
                keep_firing: *keep_firing,
                annotations: annotations.clone(),
                alerts: state.alerts().filter_map(alert).collect(),
            },
        },
    }
}

fn alert(alert: &Alert) -> Option<AlertView> {
    let state = match alert.state {
        AlertState::Inactive => return None,
        AlertState::Pending => web::AlertState::Pending,
        AlertState::Firing => web::AlertState::Firing,
    };
    Some(AlertView {
        labels: alert.labels.clone(),
        annotations: alert.annotations.clone(),
        state,
        active_at: alert.active_at,
        keep_firing_since: alert.kept_since,
        value: alert.value,
    })
}
