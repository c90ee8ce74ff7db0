use super::*;

fn rule(hold_s: u64, keep_s: u64) -> AlertRule {
    AlertRule {
        name: "Hot".to_owned(),
        expr: "heat > 1".to_owned(),
        hold: Duration::from_secs(hold_s),
        keep_firing: Duration::from_secs(keep_s),
        labels: BTreeMap::from([("severity".to_owned(), "critical".to_owned())]),
        annotations: BTreeMap::from([("summary".to_owned(), "{{ $labels.service }} at {{ $value }}".to_owned())]),
    }
}

#[test]
fn fires_after_the_whole_hold_and_resolves_after_keeping() {
    use State::{Fired, Resolved};
    type Case = (&'static str, u64, u64, &'static [(i64, bool)], &'static [(i64, State)]);
    let cases: [Case; 7] = [
        ("at once", 0, 0, &[(0, true)], &[(0, Fired)]),
        ("too early", 60, 0, &[(0, true), (59, true)], &[]),
        ("on the edge", 60, 0, &[(0, true), (60, true)], &[(60, Fired)]),
        ("broken once", 60, 0, &[(0, true), (30, false), (60, true), (90, true)], &[]),
        ("told once", 0, 0, &[(0, true), (15, true), (30, false)], &[(0, Fired), (30, Resolved)]),
        ("kept", 0, 60, &[(0, true), (15, false), (74, false), (75, false)], &[(0, Fired), (75, Resolved)]),
        ("kept and back", 0, 60, &[(0, true), (15, false), (60, true), (90, false)], &[(0, Fired)]),
    ];
    for (case, hold, keep, steps, want) in cases {
        let mut rules = RuleSet::new(vec![rule(hold, keep)]).unwrap();
        let mut got = Vec::new();
        for (at, holds) in steps {
            let vector = [(Labels::from_pairs([("__name__", "heat"), ("service", "shop")]), 2.5)];
            let vector = if *holds { &vector[..] } else { &[] };
            for transition in rules.observe("Hot", vector, Timestamp(at * 1000)) {
                assert_eq!(transition.summary, "shop at 2.5", "{case}");
                assert!(transition.pages, "{case}");
                got.push((transition.at.0 / 1000, transition.state));
            }
        }
        assert_eq!(got, want, "{case}");
    }
}

#[test]
fn an_alert_that_fired_before_a_restart_resolves_after_it() {
    let series = [(Labels::from_pairs([("__name__", "heat"), ("service", "shop")]), 2.5)];
    let fired = RuleSet::new(vec![rule(0, 0)]).unwrap().observe("Hot", &series, Timestamp(0));
    let mut restarted = RuleSet::new(vec![rule(60, 0)]).unwrap();
    restarted.resume(&fired);
    assert_eq!(restarted.observe("Hot", &series, Timestamp(15_000)), [], "it has been told already");
    let resolved = restarted.observe("Hot", &[], Timestamp(30_000));
    assert_eq!(
        resolved.iter().map(|alert| (&alert.labels, alert.state)).collect::<Vec<_>>(),
        [(&fired[0].labels, State::Resolved)]
    );
}

#[test]
fn each_series_is_an_alert_of_its_own() {
    let mut rules = RuleSet::new(vec![rule(60, 0)]).unwrap();
    let shop = (Labels::from_pairs([("service", "shop")]), 2.0);
    let cart = (Labels::from_pairs([("service", "cart")]), 3.0);
    rules.observe("Hot", std::slice::from_ref(&shop), Timestamp(0));
    let fired = rules.observe("Hot", &[shop, cart.clone(), (Labels::empty(), f64::NAN)], Timestamp(60_000));
    assert_eq!(fired.len(), 1);
    let listed: Vec<_> =
        rules.alerts().into_iter().map(|alert| (alert.labels.to_string(), alert.state, alert.active_at.0)).collect();
    assert_eq!(
        listed,
        [
            (r#"{alertname="Hot", service="cart", severity="critical"}"#.to_owned(), AlertState::Pending, 60_000),
            (r#"{alertname="Hot", service="shop", severity="critical"}"#.to_owned(), AlertState::Firing, 0),
        ]
    );
    let resolved = rules.observe("Hot", &[cart], Timestamp(75_000));
    assert_eq!((resolved.len(), resolved[0].state, resolved[0].service.as_str()), (1, State::Resolved, "shop"));
    assert!(rules.observe("Unknown", &[], Timestamp(0)).is_empty());
}

#[test]
fn the_default_rules_say_what_they_mean() {
    let mut rules = RuleSet::new(default_rules()).unwrap();
    let shares = [(Labels::from_pairs([("service", "backend")]), 0.082)];
    rules.observe("HighAPIErrorRate", &shares, Timestamp(0));
    let fired = rules.observe("HighAPIErrorRate", &shares, Timestamp(300_000));
    assert_eq!(fired[0].summary, "Error rate of backend is 8.2% (threshold: 5%)");
    assert!(fired[0].pages);
    let spike = rules.observe("AnomalyDetectionSpike", &[(Labels::empty(), 15.2)], Timestamp(0));
    assert_eq!(spike[0].summary, "AI Engine detected 15 anomalies in 5 minutes");
    assert!(!spike[0].pages);
}

#[test]
fn refuses_rules_that_cannot_work() {
    let broken =
        AlertRule { annotations: BTreeMap::from([("summary".to_owned(), "{{ $value".to_owned())]), ..rule(0, 0) };
    assert_eq!(RuleSet::new(vec![rule(0, 0), rule(1, 0)]).err(), Some(RuleError::Duplicate { name: "Hot".to_owned() }));
    let Some(RuleError::Template { name, place, .. }) = RuleSet::new(vec![broken]).err() else { panic!("accepted") };
    assert_eq!((name.as_str(), place.as_str()), ("Hot", "annotation `summary`"));
}
