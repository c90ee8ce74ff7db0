//! What the conductor does when a driver does not give the answer one hopes for. Whole incidents run in the simulator.

use std::time::Duration;

use policy::{LimitSettings, Target};
use signal::{Labels, Severity};

use super::*;

const POLICY: &str = r#"
@id("act") permit (principal == Agent::"aegis", action, resource in Namespace::"production");
"#;

fn at(seconds: i64) -> Timestamp {
    Timestamp(seconds * 1000)
}

fn symptom(state: State) -> Transition {
    Transition {
        alert: "Anomaly".to_owned(),
        service: "backend".to_owned(),
        metric: "error_rate".to_owned(),
        labels: Labels::empty(),
        state,
        at: at(0),
        onset: at(0),
        severity: Severity::High,
        pages: true,
        value: 0.3,
        expected: Some(0.0),
        summary: "error rate of backend is 30 %, usually 0 %".to_owned(),
    }
}

/// A conductor whose only incident has just been allowed to scale from 3 to 8.
fn acting() -> (Conductor, ProposalId) {
    let mut conductor = Conductor::new();
    let limits = LimitSettings { cool_down: Duration::from_secs(600), ..LimitSettings::default() };
    let policies = vec![("test.cedar".to_owned(), POLICY.to_owned())];
    conductor
        .handle(Input::Configured { version: String::new(), settings: Settings::default(), limits, policies }, at(0));
    conductor.handle(Input::Alert(symptom(State::Fired)), at(0));
    let id = ProposalId("incident-1/1".to_owned());
    let proposal = Proposal {
        id: id.clone(),
        service: "backend".to_owned(),
        target: Target { namespace: "production".to_owned(), name: "backend".to_owned() },
        action: Action::Scale { from: 3, to: 8 },
        cause: "pool_exhaustion".to_owned(),
        confidence: 0.9,
        severity: Severity::High,
        evidence_at: at(0),
        reason: "the pool is exhausted".to_owned(),
    };
    let effects = conductor.with(IncidentId(1), |this, open| this.decide(open, proposal, at(0)));
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Act { .. })));
    (conductor, id)
}

fn executed(conductor: &mut Conductor, id: &ProposalId, outcome: Outcome, now: Timestamp) -> Vec<Effect> {
    conductor.handle(Input::Executed { incident: IncidentId(1), proposal: id.clone(), outcome }, now)
}

fn unknown() -> Outcome {
    Outcome::Unknown { reason: "the connection broke".to_owned() }
}

fn stage(conductor: &Conductor) -> Option<&Stage> {
    conductor.incidents().next().map(|open| &open.stage)
}

#[test]
fn an_unknown_outcome_is_looked_up_with_growing_pauses_and_then_left_to_a_person() {
    let (mut conductor, id) = acting();
    let mut now = at(1);
    let mut pauses = Vec::new();
    while let [Effect::Wake { at }] = executed(&mut conductor, &id, unknown(), now).as_slice() {
        pauses.push(at.since(now).as_secs());
        now = *at;
        let asked = conductor.handle(Input::Woke, now);
        assert!(matches!(asked.as_slice(), [Effect::Inspect { .. }]), "{asked:?}");
        assert!(conductor.handle(Input::Woke, now).is_empty(), "it is asked once");
    }
    assert_eq!(pauses, [5, 10, 20, 40]);
    assert_eq!(stage(&conductor), Some(&Stage::WithPerson));
}

#[test]
fn an_action_that_is_found_done_goes_on_to_verification() {
    let (mut conductor, id) = acting();
    executed(&mut conductor, &id, unknown(), at(1));
    conductor.handle(Input::Woke, at(6));
    executed(&mut conductor, &id, Outcome::Done { detail: String::new(), was: 3, is: 8 }, at(7));
    let Some(Stage::Verifying { watching, .. }) = stage(&conductor) else { panic!("{:?}", stage(&conductor)) };
    assert_eq!(watching.done_at, at(7));
}

#[test]
fn an_action_that_never_started_can_be_decided_again_at_once() {
    let (mut conductor, id) = acting();
    let effects = executed(&mut conductor, &id, Outcome::NeverStarted, at(8));
    assert!(matches!(effects.as_slice(), [Effect::Gather { .. }]), "{effects:?}");
    let target = Target { namespace: "production".to_owned(), name: "backend".to_owned() };
    assert_eq!(conductor.limits().running_on(&target), None);
}

#[test]
fn an_undo_that_never_started_is_asked_for_again_and_one_that_fails_frees_its_target() {
    let (mut conductor, id) = acting();
    let original = conductor.incidents().next().and_then(|open| open.remediation.clone()).unwrap().proposal;
    let undone = conductor.with(IncidentId(1), |this, open| this.undo(open, &original, Verdict::MadeWorse, at(60)));
    assert!(undone.iter().any(|effect| matches!(effect, Effect::Act { .. })));
    let again = executed(&mut conductor, &undo_id(&id), Outcome::NeverStarted, at(65));
    assert!(again.iter().any(|effect| matches!(effect, Effect::Act { .. })), "{again:?}");
    assert_eq!(conductor.limits().running_on(&original.target), Some(&undo_id(&id)));
    executed(&mut conductor, &undo_id(&id), Outcome::Failed { reason: "no".to_owned() }, at(70));
    assert_eq!(conductor.limits().running_on(&original.target), None, "a failed undo must not lock for ever");
    assert_eq!(stage(&conductor), Some(&Stage::WithPerson));
}

#[test]
fn an_incident_closes_when_a_person_is_called_after_its_symptoms_have_gone() {
    let (mut conductor, id) = acting();
    conductor.handle(Input::Alert(symptom(State::Resolved)), at(5));
    assert_eq!(stage(&conductor), Some(&Stage::Acting), "the action decides, not the alert");
    executed(&mut conductor, &id, Outcome::Refused { reason: "frozen".to_owned() }, at(6));
    assert_eq!(conductor.incidents().count(), 0);
}

#[test]
fn evidence_that_waited_too_long_is_gathered_again() {
    let mut conductor = Conductor::new();
    conductor.handle(Input::Alert(symptom(State::Fired)), at(0));
    let gathered = |rounds_ago: i64| Evidence { gathered_at: at(rounds_ago), items: Vec::new() };
    let effects = conductor.handle(Input::Gathered { incident: IncidentId(1), evidence: gathered(1) }, at(100));
    assert!(matches!(effects.as_slice(), [Effect::Gather { .. }]), "{effects:?}");
    let effects = conductor.handle(Input::Gathered { incident: IncidentId(1), evidence: gathered(100) }, at(101));
    assert!(matches!(effects.as_slice(), [Effect::Note { .. }, Effect::Wake { .. }]), "{effects:?}");
}
