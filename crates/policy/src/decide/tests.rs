//! Tables over limits and policies together.

use std::time::Duration;

use signal::Severity;

use super::*;
use crate::{Action, LimitSettings, LoadError, Question, Target};

const POLICY: &str = r#"
@id("scale up production")
permit (principal == Agent::"aegis", action == Action::"scale_up", resource in Namespace::"production")
when { ["high", "critical"].contains(context.severity) && context has confidence && context.confidence >= 60 };

@id("ask before roll back")
@ask("on-call")
permit (principal == Agent::"aegis", action == Action::"roll_back", resource);

@id("undo own actions")
permit (principal == Agent::"aegis", action, resource) when { context has undo && context.undo };

@id("hands off the database")
forbid (principal, action, resource) when { resource.name == "database" || resource.service == "database" };
"#;

fn policy() -> Policy {
    Policy::load(&[("test.cedar", POLICY)]).unwrap()
}

fn limits() -> Limits {
    Limits::new(LimitSettings {
        cool_down: Duration::from_secs(60),
        actions_per_hour_target: 2,
        actions_per_hour_total: 3,
        ..LimitSettings::default()
    })
}

fn scale(id: &str, name: &str, from: u32, to: u32, at: Timestamp) -> Proposal {
    Proposal {
        id: ProposalId(id.to_owned()),
        service: name.to_owned(),
        target: Target { namespace: "production".to_owned(), name: name.to_owned() },
        action: Action::Scale { from, to },
        cause: "pool_exhaustion".to_owned(),
        confidence: 0.87,
        severity: Severity::High,
        evidence_at: at,
        reason: "the pool is exhausted".to_owned(),
    }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp(seconds * 1000)
}

fn told(decision: &Decision) -> String {
    match decision {
        Decision::Permitted(permit) => format!("permitted by {}", quoted(permit.policies())),
        Decision::NeedsApproval { reason, .. } | Decision::Denied { reason, .. } => reason.clone(),
    }
}

#[test]
fn every_refusal_names_its_limit_or_policy() {
    let base = scale("i/1", "backend", 3, 8, at(100));
    for (case, proposal, want) in [
        ("fine", base.clone(), "permitted by `scale up production`"),
        (
            "too large",
            Proposal { action: Action::Scale { from: 8, to: 12 }, ..base.clone() },
            "denied: max_replicas 10: 12 replicas are too many",
        ),
        (
            "too far",
            Proposal { action: Action::Scale { from: 2, to: 8 }, ..base.clone() },
            "denied: max_scale_factor 3: 2 -> 8 is too large a step",
        ),
        (
            "to nothing",
            Proposal { action: Action::Scale { from: 2, to: 0 }, ..base.clone() },
            "denied: scaling to 0 replicas would stop the service",
        ),
        (
            "no change",
            Proposal { action: Action::Scale { from: 2, to: 2 }, ..base.clone() },
            "denied: scale 2 -> 2 changes nothing",
        ),
        ("old evidence", Proposal { evidence_at: at(25), ..base.clone() }, "denied: evidence is 75 s old, limit 60 s"),
        (
            "evidence of tomorrow",
            Proposal { evidence_at: at(300), ..base.clone() },
            "denied: evidence is dated 200 s ahead of now",
        ),
        (
            "not a number",
            Proposal { confidence: f64::NAN, ..base.clone() },
            "denied: confidence NaN is not between 0 and 1",
        ),
        (
            "unsure",
            Proposal { confidence: 0.599, ..base.clone() },
            "denied: no policy permits scale_up on production/backend",
        ),
        (
            "elsewhere",
            Proposal { target: Target { namespace: "test".into(), name: "backend".into() }, ..base.clone() },
            "denied: no policy permits scale_up on test/backend",
        ),
        (
            "forbidden",
            scale("i/1", "database", 1, 2, at(100)),
            "denied: `hands off the database` forbids scale_up on production/database",
        ),
        (
            "asks",
            Proposal { action: Action::RollBack { from: 2, to: 1 }, ..base.clone() },
            "roll_back on production/backend needs approval by `on-call`",
        ),
        (
            "one revision only",
            Proposal { action: Action::RollBack { from: 1, to: 0 }, ..base.clone() },
            "denied: roll back from revision 1 to 0 names no older revision",
        ),
        (
            "no policy",
            Proposal { action: Action::Restart { revision: 1 }, ..base },
            "denied: no policy permits restart on production/backend",
        ),
    ] {
        assert_eq!(told(&policy().decide(&proposal, &mut limits(), at(100))), want, "{case}");
    }
}

#[test]
fn a_target_is_locked_then_cools_down_and_a_failure_spends() {
    let (policy, mut limits) = (policy(), limits());
    let decide =
        |limits: &mut Limits, id: &str, now| told(&policy.decide(&scale(id, "backend", 3, 8, now), limits, now));
    let permitted = "permitted by `scale up production`";
    assert_eq!(decide(&mut limits, "i/1", at(0)), permitted);
    assert_eq!(
        decide(&mut limits, "i/2", at(1)),
        "denied: another action on production/backend is running (i/1, scale 3 -> 8)"
    );
    limits.settle(&ProposalId("i/1".into()), false, at(40));
    assert_eq!(
        decide(&mut limits, "i/2", at(42)),
        "denied: cool-down: production/backend was scaled up 42 s ago, 60 s must pass"
    );
    assert_eq!(
        decide(&mut limits, "i/1", at(61)),
        "denied: proposal i/1 was permitted before; each is good for one permit"
    );
    assert_eq!(decide(&mut limits, "i/2", at(60)), permitted);
    limits.settle(&ProposalId("i/2".into()), true, at(90));
    assert_eq!(decide(&mut limits, "i/3", at(120)), permitted, "a fix gives its budget back");
    limits.settle(&ProposalId("i/3".into()), false, at(150));
    assert_eq!(
        decide(&mut limits, "i/4", at(200)),
        "denied: actions_per_hour_target 2: 2 on production/backend in the last hour did not end as a fix"
    );
    assert_eq!(decide(&mut limits, "i/5", at(3601)), permitted, "an hour later the first no longer counts");
}

#[test]
fn budgets_hold_everywhere_together() {
    let (policy, mut limits) = (policy(), limits());
    for (n, name) in ["a", "b", "c"].into_iter().enumerate() {
        let proposal = scale(&format!("i/{n}"), name, 3, 8, at(0));
        assert!(matches!(policy.decide(&proposal, &mut limits, at(0)), Decision::Permitted(_)));
    }
    assert_eq!(
        told(&policy.decide(&scale("i/9", "d", 3, 8, at(9)), &mut limits, at(9))),
        "denied: actions_per_hour_total 3: 3 in the last hour did not end as a fix"
    );
}

#[test]
fn other_settings_do_not_forget_what_was_spent() {
    let (policy, mut limits) = (policy(), limits());
    let first = scale("i/1", "backend", 3, 8, at(0));
    assert!(matches!(policy.decide(&first, &mut limits, at(0)), Decision::Permitted(_)));
    limits.settle(&first.id, false, at(10));
    limits.reconfigure(LimitSettings { cool_down: Duration::from_secs(20), ..limits.settings().clone() });
    assert_eq!(
        told(&policy.decide(&scale("i/2", "backend", 3, 8, at(12)), &mut limits, at(12))),
        "denied: cool-down: production/backend was scaled up 12 s ago, 20 s must pass"
    );
}

#[test]
fn a_pause_stops_everything_also_an_undo() {
    let (policy, mut limits) = (policy(), limits());
    let proposal = scale("i/1", "backend", 3, 8, at(0));
    assert!(matches!(policy.decide(&proposal, &mut limits, at(0)), Decision::Permitted(_)));
    limits.set_paused(true);
    assert_eq!(told(&policy.decide_undo(&proposal, &mut limits, at(1))), "denied: paused by an operator");
    let other = scale("i/2", "other", 3, 8, at(0));
    assert_eq!(told(&policy.decide(&other, &mut limits, at(1))), "denied: paused by an operator");
}

#[test]
fn an_undo_is_once_and_only_for_what_was_permitted() {
    let (policy, mut limits) = (policy(), limits());
    let proposal = scale("i/1", "backend", 3, 8, at(0));
    assert_eq!(
        told(&policy.decide_undo(&proposal, &mut limits, at(0))),
        "denied: proposal i/1 was never permitted, so there is nothing to undo"
    );
    assert!(matches!(policy.decide(&proposal, &mut limits, at(0)), Decision::Permitted(_)));
    // Not settled yet: the undo takes the lock over, and settling the original does not release it.
    let Decision::Permitted(permit) = policy.decide_undo(&proposal, &mut limits, at(200)) else { panic!() };
    assert_eq!(permit.proposal().action, Action::Scale { from: 8, to: 3 });
    assert_eq!(permit.id().0, "i/1/undo");
    limits.settle(&proposal.id, false, at(201));
    assert_eq!(limits.running_on(&proposal.target), Some(&ProposalId("i/1/undo".into())));
    limits.settle(&ProposalId("i/1/undo".into()), true, at(210));
    assert_eq!(limits.running_on(&proposal.target), None);
    assert_eq!(
        told(&policy.decide_undo(&proposal, &mut limits, at(220))),
        "denied: proposal i/1 was undone before; once is all"
    );
    let undo = Proposal { id: ProposalId("i/1/undo".into()), action: Action::Scale { from: 8, to: 3 }, ..proposal };
    assert_eq!(
        told(&policy.decide_undo(&undo, &mut limits, at(230))),
        "denied: i/1/undo is itself an undo; a person decides now"
    );
}

#[test]
fn what_never_started_cools_nothing_down_but_counts() {
    let (policy, mut limits) = (policy(), limits());
    let first = scale("i/1", "backend", 3, 8, at(100));
    assert_eq!(told(&policy.decide(&first, &mut limits, at(100))), "permitted by `scale up production`");
    limits.withdraw(&first.id, at(105));
    assert_eq!(limits.running_on(&first.target), None);
    let again = scale("i/2", "backend", 3, 8, at(105));
    assert_eq!(told(&policy.decide(&again, &mut limits, at(105))), "permitted by `scale up production`");
    limits.withdraw(&again.id, at(110));
    let third = scale("i/3", "backend", 3, 8, at(110));
    let refused = told(&policy.decide(&third, &mut limits, at(110)));
    assert!(refused.starts_with("denied: actions_per_hour_target 2"), "{refused}");
}

#[test]
fn an_undo_that_never_started_may_be_tried_again() {
    let policy = policy();
    let mut limits = Limits::new(LimitSettings { actions_per_hour_target: 9, ..LimitSettings::default() });
    let original = scale("i/1", "backend", 3, 8, at(100));
    let undo = ProposalId("i/1/undo".to_owned());
    let undone = |limits: &mut Limits| told(&policy.decide_undo(&original, limits, at(120)));
    assert!(matches!(policy.decide(&original, &mut limits, at(100)), Decision::Permitted(_)));
    assert_eq!(undone(&mut limits), "permitted by `undo own actions`");
    limits.withdraw(&undo, at(125));
    assert_eq!(undone(&mut limits), "permitted by `undo own actions`");
    limits.settle(&undo, false, at(130));
    assert_eq!(limits.running_on(&original.target), None);
    assert_eq!(undone(&mut limits), "denied: proposal i/1 was undone before; once is all");
}

#[test]
fn approval_needs_the_right_group_and_another_person() {
    let policy = policy();
    let proposal = Proposal { action: Action::RollBack { from: 2, to: 1 }, ..scale("i/1", "backend", 3, 8, at(0)) };
    for (name, group, permitted) in [("alice", "on-call", true), ("bob", "sales", false), ("aegis", "on-call", false)] {
        let approver = Approver { name: name.to_owned(), groups: vec![group.to_owned()] };
        let decision = policy.decide_approved(&proposal, &approver, &mut limits(), at(1));
        assert_eq!(matches!(decision, Decision::Permitted(_)), permitted, "{name} of {group}");
    }
}

#[test]
fn a_permit_expires() {
    for (seconds, ok) in [(0, true), (30, true), (31, false)] {
        let decision = policy().decide(&scale("i/1", "backend", 3, 8, at(0)), &mut limits(), at(0));
        let Decision::Permitted(permit) = decision else { panic!() };
        assert_eq!(permit.redeem(at(seconds)).is_ok(), ok, "{seconds}");
    }
}

#[test]
fn questions_are_answered_in_plain_words() {
    let policy = Policy::load(&[(
        "test.cedar",
        r#"@id("scale") permit (principal == Agent::"aegis", action == Action::"scale_up", resource in Namespace::"production")
           when { context.severity == "high" };
           @id("broken") forbid (principal, action == Action::"restart", resource)
           when { context has from && context.from * 9223372036854775807 > 1 };"#,
    )])
    .unwrap()
    .in_namespace("production");
    for (case, json, allowed, reason) in [
        (
            "the mission's request",
            r#"{"action":"scale_up","resource":"deployment:backend","context":{"severity":"high","automated":true}}"#,
            true,
            "permitted by `scale`",
        ),
        (
            "full name",
            r#"{"action":"scale_up","resource":"deployment:test/backend","context":{"severity":"high","automated":true}}"#,
            false,
            "denied: no policy permits scale_up on test/backend",
        ),
        (
            "mild",
            r#"{"action":"scale_up","resource":"deployment:backend","context":{"severity":"low","automated":true}}"#,
            false,
            "denied: no policy permits scale_up on production/backend",
        ),
        (
            "somebody else",
            r#"{"principal":"person:eve","action":"scale_up","resource":"deployment:backend","context":{"severity":"high","automated":true}}"#,
            false,
            "denied: no policy permits scale_up on production/backend",
        ),
        (
            "unknown action",
            r#"{"action":"explode","resource":"deployment:backend","context":{}}"#,
            false,
            "denied: unknown action `explode`; known are restart, roll_back, scale_down, scale_up",
        ),
        (
            "unknown kind",
            r#"{"action":"restart","resource":"planet:earth","context":{}}"#,
            false,
            "denied: unknown kind `planet` in resource `planet:…`",
        ),
        (
            "no kind",
            r#"{"action":"restart","resource":"backend"}"#,
            false,
            "denied: resource `backend` is not of the form `kind:name`",
        ),
        (
            "an error denies",
            r#"{"action":"restart","resource":"deployment:backend","context":{"severity":"high","automated":true,"from":3}}"#,
            false,
            "denied: a policy could not be evaluated:",
        ),
        (
            "unknown key",
            r#"{"action":"scale_up","resource":"deployment:backend","context":{"severity":"high","automated":true,"colour":"red"}}"#,
            false,
            "colour",
        ),
        (
            "missing key",
            r#"{"action":"scale_up","resource":"deployment:backend","context":{"severity":"high"}}"#,
            false,
            "automated",
        ),
        (
            "wrong type",
            r#"{"action":"scale_up","resource":"deployment:backend","context":{"severity":3,"automated":true}}"#,
            false,
            "severity: 3",
        ),
    ] {
        let question: Question = serde_json::from_str(json).unwrap();
        let answer = policy.evaluate(&question);
        assert_eq!(answer.allowed, allowed, "{case}: {}", answer.reason);
        assert!(answer.reason.contains(reason), "{case}: {}", answer.reason);
    }
}

#[test]
fn mistakes_are_found_at_load_with_their_place() {
    let wrong: &[(&str, &str)] = &[
        ("a.cedar", "permit (principal, action, resource)\nwhen { context.severty == \"high\" };"),
        (
            "b.cedar",
            "permit (principal, action == Action::\"scale\", resource);\npermit (principal, action, resource) when { 1 == };",
        ),
        ("c.cedar", "@aks(\"on-call\") permit (principal, action, resource);"),
        (
            "d.cedar",
            "@id(\"x\") permit (principal, action, resource); @id(\"x\") forbid (principal, action, resource);",
        ),
        ("e.cedar", "permit (principal == ?principal, action, resource);"),
        ("f.cedar", "permit (principal, action == Action::\"scale_op\", resource);"),
        ("g.cedar", "permit (principal, action, resource) when { context.confidence > 3 };"),
    ];
    let Err(error) = Policy::load(wrong) else { panic!("must not load") };
    insta::assert_snapshot!(error.to_string(), @r#"
    a.cedar:2:8: for policy `a.cedar#1`, attribute `severty` in context for Action::"restart" not found; did you mean `severity`?
    b.cedar:2:50: unexpected token `}` (expected `!`, `(`, `-`, `[`, `{`, `false`, identifier, `if`, number, `?principal`, `?resource`, string literal, or `true`)
    c.cedar: policy `c.cedar#1`: unknown annotation `@aks`; known are `@id`, `@ask`, `@description`
    d.cedar: policy `x`: another policy has the same `@id`
    e.cedar: templates with `?principal` or `?resource` are not supported
    f.cedar:1:30: for policy `f.cedar#1`, unrecognized action `Action::"scale_op"`; did you mean `Action::"scale_up"`?
    g.cedar:1:45: for policy `g.cedar#1`, unable to guarantee safety of access to optional attribute `confidence` in context for Action::"restart"; try testing for the attribute's presence with `context has confidence && ..`
    "#);
}

#[test]
fn the_default_policy_permits_nothing() {
    let policy = Policy::load(&[("default.cedar", Policy::default_text())]).unwrap();
    assert_eq!(policy.names(), Vec::<String>::new());
    assert!(!matches!(
        policy.decide(&scale("i/1", "backend", 3, 8, at(0)), &mut limits(), at(0)),
        Decision::Permitted(_)
    ));
    // The example in its comments is a policy that loads.
    let example: String = Policy::default_text()
        .lines()
        .filter_map(|line| line.strip_prefix("//   "))
        .fold(String::new(), |text, line| text + line.trim_start_matches("// ") + "\n");
    let example: String = example.lines().filter(|line| !starts_a_sentence(line)).collect::<Vec<_>>().join("\n");
    assert_eq!(Policy::load(&[("example.cedar", &example)]).unwrap().names().len(), 4);
}

fn starts_a_sentence(line: &str) -> bool {
    ["More", "Going", "Taking", "Never"].iter().any(|word| line.starts_with(word))
}

#[test]
fn an_application_brings_its_own_words() {
    let schema = r#"
        entity Role;
        entity User in [Role];
        entity Collection;
        action create_user appliesTo { principal: [User], resource: [Collection], context: {} };
    "#;
    let text =
        r#"@id("admins create users") permit (principal in Role::"admin", action == Action::"create_user", resource);"#;
    let policy = Policy::load_with_schema(schema, &[("app.cedar", text)]).unwrap();
    let question = Question {
        principal: Some("user:ann".to_owned()),
        action: "create_user".to_owned(),
        resource: "collection:users".to_owned(),
        context: Map::new(),
    };
    for (role, allowed) in [("admin", true), ("reader", false)] {
        let entities = serde_json::json!([
            {"uid": {"type": "User", "id": "ann"}, "attrs": {}, "parents": [{"type": "Role", "id": role}]}
        ]);
        assert_eq!(policy.evaluate_with(&question, &entities).allowed, allowed, "{role}");
    }
    assert!(!policy.evaluate(&question).allowed);
    assert!(!policy.evaluate_with(&question, &serde_json::json!("nonsense")).allowed);
    assert!(matches!(Policy::load_with_schema("entity", &[]), Err(LoadError::Schema(_))));
}

proptest::proptest! {
    /// Whatever is proposed in whatever order, no permit goes above the limits and no target runs two at once.
    #[test]
    fn never_above_the_limits(steps in proptest::collection::vec((0_u32..6, 0_u32..14, 0_u8..3, 0_i64..90, proptest::bool::ANY), 1..60)) {
        let policy = Policy::load(&[("all.cedar", "permit (principal, action, resource);")]).unwrap();
        let mut limits = limits();
        let mut now = at(0);
        let mut running: Vec<(Target, ProposalId)> = Vec::new();
        for (n, (from, to, target, wait, settles)) in steps.into_iter().enumerate() {
            now = now.plus(Duration::from_secs(wait.unsigned_abs()));
            let proposal = scale(&format!("i/{n}"), &format!("t{target}"), from, to, now);
            if let Decision::Permitted(permit) = policy.decide(&proposal, &mut limits, now) {
                proptest::prop_assert!((1..=10).contains(&to) && to != from);
                proptest::prop_assert!(running.iter().all(|(target, _)| *target != proposal.target));
                running.push((permit.proposal().target.clone(), permit.id().clone()));
            }
            if settles {
                running.drain(..).for_each(|(_, id)| limits.settle(&id, n % 2 == 0, now));
            }
        }
    }
}
