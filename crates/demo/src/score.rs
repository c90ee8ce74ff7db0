//! Did Aegis do what it should have done? The only place that knows the right answers.

use serde::Serialize;
use signal::Timestamp;

use crate::aegis::{Acted, Incident};
use crate::load::Tally;
use crate::scenario::Scenario;

/// The right answer to a fault.
struct Remedy {
    cause: &'static str,
    action: &'static str,
}

/// What is right in each scenario; `None`: nothing may be done and nobody called.
const RIGHT: [(Scenario, Option<Remedy>); 4] = [
    (Scenario::Quiet, None),
    (Scenario::BenignSurge, None),
    (Scenario::CampaignSurge, Some(Remedy { cause: "pool_exhaustion", action: "scale_up" })),
    (Scenario::BadDeploy, Some(Remedy { cause: "bad_deploy", action: "roll_back" })),
];

const DETECTION_S: f64 = 60.0;
const CAUSE_S: f64 = 30.0;
const MITIGATION_S: f64 = 120.0;
/// Users still see failures when more than this share of the last requests failed.
const RECOVERED_SHARE: f64 = 0.02;

/// Everything seen of one scenario.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) scenario: Scenario,
    pub(crate) seed: u64,
    pub(crate) base_rps: f64,
    /// When the fault began to act; for a control, when it began.
    pub(crate) onset: Timestamp,
    /// Revision that was deployed, when one was.
    pub(crate) revision: Option<u64>,
    /// Incidents opened since.
    pub(crate) incidents: Vec<Incident>,
    /// All requests since.
    pub(crate) tally: Tally,
    /// The requests of the last seconds, while the fault still held.
    pub(crate) last: Tally,
}

/// How one scenario went. Its JSON is described in `docs/reference/demo-report.md`.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(crate) struct Scored {
    pub(crate) name: Scenario,
    pub(crate) seed: u64,
    pub(crate) base_rps: f64,
    pub(crate) onset: i64,
    pub(crate) detected_at: Option<i64>,
    pub(crate) diagnosed_at: Option<i64>,
    pub(crate) acted_at: Option<i64>,
    pub(crate) mitigated_at: Option<i64>,
    pub(crate) verified_at: Option<i64>,
    pub(crate) detection_s: Option<f64>,
    pub(crate) cause_s: Option<f64>,
    pub(crate) mitigation_s: Option<f64>,
    pub(crate) verification_s: Option<f64>,
    pub(crate) verdict: Option<String>,
    pub(crate) cause: Option<String>,
    pub(crate) cause_right: Option<bool>,
    pub(crate) actions: Vec<String>,
    pub(crate) wrong_actions: usize,
    pub(crate) incidents_that_page: usize,
    pub(crate) requests: u64,
    pub(crate) failed_requests: u64,
    pub(crate) passed: bool,
    pub(crate) why_not: Vec<String>,
}

/// Compares what was seen with what is right.
pub(crate) fn score(seen: &Seen) -> Scored {
    let remedy = RIGHT.iter().find(|(scenario, _)| *scenario == seen.scenario).and_then(|(_, remedy)| remedy.as_ref());
    let actions: Vec<&Acted> = seen.incidents.iter().flat_map(|incident| &incident.actions).collect();
    let is_right = |acted: &Acted| remedy.is_some_and(|remedy| acted.action.name() == remedy.action) && !acted.undone;
    let wrong_actions = actions.iter().filter(|acted| !is_right(acted)).count();
    let paging = seen.incidents.iter().filter(|incident| incident.pages).count();
    let mut scored = Scored {
        name: seen.scenario,
        seed: seen.seed,
        base_rps: seen.base_rps,
        onset: seen.onset.0,
        detected_at: None,
        diagnosed_at: None,
        acted_at: None,
        mitigated_at: None,
        verified_at: None,
        detection_s: None,
        cause_s: None,
        mitigation_s: None,
        verification_s: None,
        verdict: None,
        cause: None,
        cause_right: None,
        actions: actions.iter().map(|acted| acted.text.clone()).collect(),
        wrong_actions,
        incidents_that_page: paging,
        requests: seen.tally.requests,
        failed_requests: seen.tally.failed,
        passed: false,
        why_not: Vec::new(),
    };
    match remedy {
        Some(remedy) => score_fault(seen, remedy, &mut scored),
        None => {
            if !actions.is_empty() {
                scored.why_not.push(format!("{} action(s), none expected", actions.len()));
            }
            if paging > 0 {
                scored.why_not.push(format!("{paging} incident(s) called a person, none expected"));
            }
        }
    }
    scored.passed = scored.why_not.is_empty();
    scored
}

fn score_fault(seen: &Seen, remedy: &Remedy, scored: &mut Scored) {
    // The incident that matters is the first which calls a person; a later one cannot make a slow answer fast.
    let about = seen.incidents.iter().filter(|incident| incident.pages).min_by_key(|incident| incident.began());
    let Some(incident) = about else {
        scored.why_not.push("not detected".to_owned());
        return;
    };
    (scored.detected_at, scored.diagnosed_at) = (incident.detected_at, incident.diagnosed_at);
    (scored.acted_at, scored.mitigated_at) = (incident.acted_at, incident.mitigated_at);
    scored.verified_at = incident.verified_at;
    let onset = Some(seen.onset.0);
    scored.detection_s = seconds(onset, incident.detected_at);
    scored.cause_s = seconds(incident.detected_at, incident.diagnosed_at);
    scored.mitigation_s = seconds(onset, incident.mitigated_at);
    scored.verification_s = seconds(incident.acted_at, incident.verified_at);
    for (what, took, limit) in [
        ("detected", scored.detection_s, DETECTION_S),
        ("cause named", scored.cause_s, CAUSE_S),
        ("mitigated", scored.mitigation_s, MITIGATION_S),
    ] {
        match took {
            None => scored.why_not.push(format!("not {what}")),
            Some(took) if took >= limit => {
                scored.why_not.push(format!("{what} after {took:.1} s, allowed are {limit} s"));
            }
            Some(_) => {}
        }
    }

    scored.verdict = incident.verdict.as_ref().map(|verdict| verdict.to_lowercase());
    if scored.verdict.as_deref() != Some("fixed") {
        let verdict = scored.verdict.as_deref().unwrap_or("none");
        scored.why_not.push(format!("the verdict is {verdict}, expected is fixed"));
    }
    let cause = incident.cause.as_ref();
    scored.cause = cause.map(|cause| cause.kind.clone());
    let is_right = cause.is_some_and(|cause| {
        let is_revision = seen.revision.is_none() || cause.revision == seen.revision;
        cause.kind == remedy.cause && cause.service == "backend" && is_revision
    });
    scored.cause_right = Some(is_right);
    if !is_right {
        let found = cause.map_or_else(|| "none".to_owned(), |cause| format!("{} of {}", cause.kind, cause.service));
        scored.why_not.push(format!("the cause named is {found}, right is {} of backend", remedy.cause));
    }
    if scored.actions.is_empty() {
        scored.why_not.push(format!("nothing was done, right is {}", remedy.action));
    }
    if scored.wrong_actions > 0 {
        scored.why_not.push(format!("{} wrong action(s)", scored.wrong_actions));
    }
    let share = seen.last.failed_share();
    if share > RECOVERED_SHARE {
        scored.why_not.push(format!("users still see {:.1} % of their requests fail", share * 100.0));
    }
}

fn seconds(from: Option<i64>, to: Option<i64>) -> Option<f64> {
    Some((to? - from?) as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aegis::{Action, Cause};

    fn acted(kind: &str, from: u64, to: u64) -> Acted {
        Acted {
            action: Action { kind: kind.to_owned(), from: Some(from), to: Some(to) },
            text: format!("{kind} {from} -> {to}"),
            at: Some(30_000),
            undone: false,
        }
    }

    fn incident(cause: &str, acted: Vec<Acted>) -> Incident {
        Incident {
            id: "1".to_owned(),
            service: "backend".to_owned(),
            opened_at: Some(12_000),
            detected_at: Some(12_000),
            diagnosed_at: Some(14_000),
            acted_at: Some(15_000),
            mitigated_at: Some(40_000),
            verified_at: Some(50_000),
            closed_at: Some(51_000),
            verdict: Some("Fixed".to_owned()),
            cause: Some(Cause {
                kind: cause.to_owned(),
                service: "backend".to_owned(),
                revision: Some(2),
                title: String::new(),
            }),
            actions: acted,
            pages: true,
            ..Incident::default()
        }
    }

    fn seen(scenario: Scenario, incidents: Vec<Incident>) -> Seen {
        let revision = (scenario == Scenario::BadDeploy).then_some(2);
        let tally = Tally { requests: 5_000, failed: 300, wrong: 0 };
        let last = Tally { requests: 500, failed: 0, wrong: 0 };
        Seen { scenario, seed: 1, base_rps: 50.0, onset: Timestamp(2_000), revision, incidents, tally, last }
    }

    #[test]
    fn only_the_right_answer_in_time_passes() {
        let scaled = || incident("pool_exhaustion", vec![acted("scale", 3, 6)]);
        let rolled_back = || incident("bad_deploy", vec![acted("roll_back", 2, 1)]);
        let quiet_note = Incident { pages: false, ..Incident::default() };
        let campaign = Scenario::CampaignSurge;
        for (case, scenario, incidents, why_not) in [
            ("nothing when quiet", Scenario::Quiet, vec![], None),
            ("a note when quiet", Scenario::Quiet, vec![quiet_note], None),
            ("a page when quiet", Scenario::Quiet, vec![incident("unknown", vec![])], Some("called a person")),
            ("an action in a benign surge", Scenario::BenignSurge, vec![scaled()], Some("1 action(s), none expected")),
            ("scaled in the campaign", campaign, vec![scaled()], None),
            ("nothing in the campaign", campaign, vec![], Some("not detected")),
            (
                "wrong cause",
                campaign,
                vec![incident("bad_deploy", vec![acted("scale", 3, 6)])],
                Some("the cause named is"),
            ),
            ("scaled down", campaign, vec![incident("pool_exhaustion", vec![acted("scale", 3, 2)])], Some("1 wrong")),
            ("no action", campaign, vec![incident("pool_exhaustion", vec![])], Some("nothing was done")),
            ("late", campaign, vec![Incident { detected_at: Some(63_000), ..scaled() }], Some("detected after 61.0 s")),
            (
                "not fixed",
                campaign,
                vec![Incident { verdict: Some("unproven".into()), ..scaled() }],
                Some("is unproven"),
            ),
            ("rolled back", Scenario::BadDeploy, vec![rolled_back()], None),
            ("scaled a bad deploy", Scenario::BadDeploy, vec![scaled()], Some("right is bad_deploy")),
        ] {
            let scored = score(&seen(scenario, incidents));
            match why_not {
                None => assert!(scored.passed, "{case}: {:?}", scored.why_not),
                Some(why_not) => {
                    assert!(scored.why_not.iter().any(|why| why.contains(why_not)), "{case}: {:?}", scored.why_not);
                    assert!(!scored.passed, "{case}");
                }
            }
        }
    }

    #[test]
    fn the_users_have_the_last_word() {
        let mut seen = seen(Scenario::CampaignSurge, vec![incident("pool_exhaustion", vec![acted("scale", 3, 6)])]);
        let scored = score(&seen);
        assert_eq!((scored.detection_s, scored.cause_s, scored.mitigation_s), (Some(10.0), Some(2.0), Some(38.0)));
        assert_eq!(scored.verification_s, Some(35.0));
        seen.last.failed = 50;
        assert_eq!(score(&seen).why_not, ["users still see 10.0 % of their requests fail"]);
    }
}
