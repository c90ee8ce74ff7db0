use std::fmt::Write as _;
use std::time::Duration;

use detect::State;
use query::promql;
use signal::{Labels, Matcher, Sample, SeriesWrite, TimeRange, Timestamp, is_stale};
use store::Series;

use super::{Group, Health, Surroundings};
use crate::alerting::AlertState;
use crate::ask::{Ask, Element, Reading};
use crate::file::{GroupSpec, RuleFile};
use crate::question::Question;
use crate::unit_test::bench::Bench;
use crate::unit_test::series::InputSeries;

const MINUTE: Duration = Duration::from_secs(60);

fn minutes(count: i64) -> Timestamp {
    Timestamp(count * 60_000)
}

fn group(rules: &str) -> Group {
    let text = format!("groups:\n- name: g\n{rules}");
    let file = RuleFile::parse("r.yaml", &text).unwrap();
    let mut group = Group::new(&file.groups[0], "r.yaml", &Surroundings::default());
    group.begin_afresh();
    group
}

/// A store that holds the given series, one sample a minute.
fn world(series: &[(&str, &str)]) -> Bench {
    let mut bench = Bench::new(MINUTE);
    let read = |(name, values): &(&str, &str)| InputSeries::parse(name, values, Timestamp(0), MINUTE).unwrap();
    let series: Vec<InputSeries> = series.iter().map(read).collect();
    bench.load(&series, Timestamp::MAX).unwrap();
    bench
}

/// Samples of a series as text: `0:1 1:2 3:stale`, by minute.
fn stored(bench: &mut Bench, selector: &str) -> String {
    let matchers = promql::parse_selector(selector).unwrap();
    let mut text = String::new();
    for series in bench.series(matchers, TimeRange::all()).unwrap() {
        let _ = write!(text, "{}", series.labels);
        for sample in series.samples {
            let value = if is_stale(sample.value) { "stale".to_owned() } else { sample.value.to_string() };
            let _ = write!(text, " {}:{value}", sample.at.0 as f64 / 60_000.0);
        }
        text.push('\n');
    }
    text
}

fn states(group: &Group) -> Vec<(String, AlertState, i64)> {
    let alerts = group.rules().iter().flat_map(|rule| rule.alerts());
    alerts.map(|alert| (alert.labels.get_or_empty("i").to_owned(), alert.state, alert.active_at.0 / 60_000)).collect()
}

#[test]
fn rules_see_what_those_before_them_recorded() {
    let mut bench = world(&[("x{i=\"1\"}", "1 2 3"), ("x{i=\"2\"}", "10 20 30")]);
    let mut group = group(
        "  rules:\n  - {record: s, expr: sum(x), labels: {from: rule, i: ''}}\n  - {record: d, expr: s * 2}\n  \
         - {record: n, expr: 'vector(7)'}\n  - {record: one, expr: '1'}\n",
    );
    for minute in 0..3 {
        let evaluation = group.evaluate(minutes(minute), &mut bench);
        assert_eq!((evaluation.samples, evaluation.failures), (4, 0));
    }
    insta::assert_snapshot!(stored(&mut bench, "{__name__=~\"s|d|n|one\"}"), @r#"
    d{from="rule"} 0:22 1:44 2:66
    n 0:7 1:7 2:7
    one 0:1 1:1 2:1
    s{from="rule"} 0:11 1:22 2:33
    "#);
}

#[test]
fn series_that_vanish_are_marked_stale() {
    let mut bench = world(&[("x{i=\"1\"}", "1 1 stale _ 1"), ("x{i=\"2\"}", "1 1 1 1 1")]);
    let mut group = group("  rules:\n  - {record: y, expr: x}\n");
    for minute in 0..5 {
        group.evaluate(minutes(minute), &mut bench);
    }
    insta::assert_snapshot!(stored(&mut bench, "y"), @r#"
    y{i="1"} 0:1 1:1 2:stale 4:1
    y{i="2"} 0:1 1:1 2:1 3:1 4:1
    "#);
}

#[test]
fn results_carry_the_time_the_rule_looks_at() {
    let mut bench = world(&[("x", "1 2 3 4 5")]);
    let mut group = group("  query_offset: 2m\n  rules:\n  - {record: y, expr: x}\n  - {alert: a, expr: x > 2}\n");
    group.evaluate(minutes(4), &mut bench);
    insta::assert_snapshot!(stored(&mut bench, "{__name__=~\"y|ALERTS.*\"}"), @r#"
    ALERTS{alertname="a", alertstate="firing"} 2:1
    ALERTS_FOR_STATE{alertname="a"} 2:240
    y 2:3
    "#);
}

#[test]
fn a_failing_rule_says_why_and_keeps_its_series() {
    let mut bench = world(&[("x{i=\"1\"}", "1 1"), ("x{i=\"2\"}", "1 1")]);
    for (rules, want) in [
        (
            "  rules:\n  - {record: y, expr: x, labels: {i: same}}\n",
            "vector contains metrics with the same labelset after applying rule labels",
        ),
        (
            "  rules:\n  - {alert: y, expr: x, labels: {i: same}}\n",
            "vector contains metrics with the same labelset after applying alert labels",
        ),
        ("  limit: 1\n  rules:\n  - {record: y, expr: x}\n", "exceeded limit of 1 with 2 series"),
        ("  limit: 1\n  rules:\n  - {alert: y, expr: x}\n", "exceeded limit of 1 with 2 alerts"),
        ("  rules:\n  - {record: y, expr: '\"text\"'}\n", "rule result is not a vector or scalar"),
    ] {
        let mut group = group(rules);
        let evaluation = group.evaluate(minutes(1), &mut bench);
        assert_eq!((evaluation.failures, evaluation.samples), (1, 0), "{rules}");
        let state = &group.rules()[0];
        assert_eq!((state.health, state.last_error.as_str()), (Health::Bad, want));
        assert_eq!(stored(&mut bench, "y"), "");
        assert_eq!(states(&group), []);
    }
}

#[test]
fn an_alert_waits_fires_is_kept_and_resolves() {
    let mut bench = world(&[("x{i=\"1\",severity=\"high\",service=\"api\"}", "1 1 1 0 0 0 0 1 0 0")]);
    let mut group = group(
        "  rules:\n  - alert: A\n    expr: x == 1\n    for: 2m\n    keep_firing_for: 2m\n    \
         annotations: {summary: '{{ $labels.i }} is {{ $value }}'}\n",
    );
    let mut told = Vec::new();
    let mut seen = Vec::new();
    for minute in 0..10 {
        let transitions = group.evaluate(minutes(minute), &mut bench).transitions;
        told.extend(transitions.into_iter().map(|one| (minute, one.state, one.pages, one.summary)));
        seen.push(states(&group).first().map_or("-", |(_, state, _)| state.as_str()));
    }
    assert_eq!(
        seen,
        ["pending", "pending", "firing", "firing", "firing", "-", "-", "pending", "-", "-"],
        "kept from minute 3 until 5"
    );
    assert_eq!(told, [(2, State::Fired, true, "1 is 1".to_owned()), (5, State::Resolved, true, "1 is 1".to_owned())]);
    insta::assert_snapshot!(stored(&mut bench, "{__name__=~\"ALERTS.*\"}").replace(", severity=\"high\", service=\"api\"", ""), @r#"
    ALERTS{alertname="A", alertstate="firing", i="1", service="api", severity="high"} 2:1 3:1 4:1 5:stale
    ALERTS{alertname="A", alertstate="pending", i="1", service="api", severity="high"} 0:1 1:1 2:stale 7:1 8:stale
    ALERTS_FOR_STATE{alertname="A", i="1", service="api", severity="high"} 0:0 1:0 2:0 3:0 4:0 5:stale 7:420 8:stale
    "#);
}

#[test]
fn resolved_alerts_are_remembered_for_a_quarter_of_an_hour() {
    let mut bench = world(&[("x{i=\"1\"}", "1 stale")]);
    let mut group = group("  rules:\n  - {alert: A, expr: x}\n");
    for (minute, known) in [(0, 1), (1, 1), (2, 1), (16, 1), (17, 0)] {
        group.evaluate(minutes(minute), &mut bench);
        assert_eq!(group.rules()[0].alerting.alerts.len(), known, "minute {minute}");
    }
}

/// `x` has been firing or pending since the minute, was last written at the other, and Aegis is back at minute 60.
fn restored_start(hold: &str, since: i64, last_written: i64, is_stale_then: bool) -> i64 {
    let mut bench = world(&[("x{i=\"1\"}", "1x100")]);
    let labels = Labels::from_pairs([("__name__", "ALERTS_FOR_STATE"), ("alertname", "A"), ("i", "1")]);
    let value = if is_stale_then { signal::stale_marker() } else { since as f64 * 60.0 };
    bench.append(vec![SeriesWrite::new(labels, [Sample { at: minutes(last_written), value }])]).unwrap();
    let text = format!("groups:\n- name: g\n  rules:\n  - {{alert: A, expr: x, for: {hold}}}\n");
    let mut group = Group::new(&RuleFile::parse("r", &text).unwrap().groups[0], "r", &Surroundings::default());
    group.evaluate(minutes(59), &mut bench);
    group.evaluate(minutes(60), &mut bench);
    assert!(group.awaits_restore());
    assert_eq!(stored(&mut bench, "ALERTS"), "", "nothing is written before");
    group.restore(minutes(60), &mut bench).unwrap();
    assert!(!group.awaits_restore());
    group.evaluate(minutes(61), &mut bench);
    assert_ne!(stored(&mut bench, "ALERTS"), "");
    states(&group)[0].2
}

#[test]
fn the_time_an_alert_has_held_survives_a_restart() {
    for (case, hold, since, last, is_stale_then, want) in [
        ("it was firing", "20m", 10, 50, false, 10),
        ("almost: ten minutes of grace from now on", "30m", 25, 50, false, 40),
        ("far from it: the outage does not count", "40m", 45, 50, false, 55),
        ("it had resolved", "30m", 25, 50, true, 59),
        ("too long ago", "30m", -30, -1, false, 59),
        ("a short wait begins anew", "5m", 25, 50, false, 59),
    ] {
        assert_eq!(restored_start(hold, since, last, is_stale_then), want, "{case}");
    }
}

#[test]
fn what_was_told_before_a_restart_resolves_after_it() {
    let mut bench = world(&[("x{i=\"1\"}", "1 1 1 1")]);
    let rules = "  rules:\n  - {alert: A, expr: x}\n";
    let mut before = group(rules);
    let told = before.evaluate(minutes(0), &mut bench).transitions;
    assert_eq!(told.len(), 1);
    let mut gone = told.clone();
    gone[0].labels = gone[0].labels.with("i", "2");

    let mut after = group(rules);
    after.resume(&[told, gone].concat());
    let transitions = after.evaluate(minutes(3), &mut bench).transitions;
    let [resolved] = transitions.as_slice() else { panic!("only the one that is gone: {transitions:?}") };
    assert_eq!((resolved.state, resolved.labels.get("i")), (State::Resolved, Some("2")));
}

#[test]
fn a_rule_that_cannot_be_asked_resolves_nothing() {
    struct Deaf;
    impl Ask for Deaf {
        fn vector(&mut self, _: &Question, _: Timestamp) -> Result<Vec<Element>, String> {
            Err("nobody answers".to_owned())
        }
        fn series(&mut self, _: Vec<Matcher>, _: TimeRange) -> Result<Vec<Series>, String> {
            Err("nobody answers".to_owned())
        }
        fn append(&mut self, _: Vec<SeriesWrite>) -> Result<(), String> {
            Err("nobody answers".to_owned())
        }
        fn lap(&mut self) -> Duration {
            Duration::from_millis(5)
        }
    }
    let mut bench = world(&[("x{i=\"1\"}", "1 1")]);
    let mut group = group("  rules:\n  - {alert: A, expr: x}\n");
    assert_eq!(group.evaluate(minutes(0), &mut bench).transitions.len(), 1);
    assert_eq!(group.evaluate(minutes(1), &mut Deaf).transitions, []);
    assert_eq!(group.rules()[0].last_error, "nobody answers");
    assert_eq!(group.evaluation_time(), Duration::from_millis(5));
    assert_eq!(states(&group).len(), 1);
}

#[test]
fn a_new_version_of_a_group_takes_over_its_state() {
    let mut bench = world(&[("x{i=\"1\"}", "1 1 1")]);
    let mut old =
        group("  rules:\n  - {record: y, expr: x}\n  - {record: z, expr: x}\n  - {alert: A, expr: x, for: 2m}\n");
    old.evaluate(minutes(0), &mut bench);
    let mut new = group("  rules:\n  - {alert: A, expr: x > 0, for: 2m}\n  - {record: y, expr: x + 1}\n");
    new.take_over(old);
    assert_eq!(new.evaluate(minutes(1), &mut bench).transitions, []);
    assert_eq!(new.evaluate(minutes(2), &mut bench).transitions.len(), 1, "held since minute 0");
    insta::assert_snapshot!(stored(&mut bench, "{__name__=~\"y|z\"}"), @r#"
    y{i="1"} 0:1 1:2 2:2
    z{i="1"} 0:1 1:stale
    "#);
    let last = new.retire(minutes(3), &mut bench);
    assert_eq!(last.len(), 1);
    assert_eq!(last[0].state, State::Resolved);
    assert!(stored(&mut bench, "y").ends_with("3:stale\n"));
}

#[test]
fn groups_are_due_at_fixed_times_of_their_own() {
    let named = |name: &str| {
        let text = format!("groups:\n- name: {name}\n  interval: 15s\n");
        Group::new(&RuleFile::parse("r", &text).unwrap().groups[0], "r", &Surroundings::default())
    };
    let mut offsets = std::collections::BTreeSet::new();
    for name in ["a", "b", "c", "d"] {
        let group = named(name);
        let first = group.due_after(Timestamp(1_000_000));
        assert!(first > Timestamp(1_000_000) && first <= Timestamp(1_015_000));
        assert_eq!(group.due_after(first), first.plus(Duration::from_secs(15)));
        assert_eq!(group.due_after(Timestamp(first.0 - 1)), first);
        offsets.insert(first.0 % 15_000);
    }
    assert!(offsets.len() > 1, "not all at once");
    let element = Element { labels: Labels::empty(), reading: Reading::Number(1.0) };
    assert_eq!(element.clone(), element);
}

/// Lines of a service, some of them errors, each minute.
fn log_world() -> Bench {
    let bench = Bench::new(MINUTE);
    for minute in 0..5_i64 {
        let line = |at: i64, text: &str| signal::LogLine {
            at: signal::Nanos((minute * 60 + at) * 1_000_000_000),
            line: text.to_owned(),
            metadata: Labels::empty(),
        };
        let mut lines = vec![line(1, "level=info"), line(2, "level=info")];
        if minute >= 2 {
            lines.push(line(3, "level=error"));
        }
        let stream = signal::StreamWrite { labels: Labels::from_pairs([("job", "api")]), lines };
        bench.store.append(&[signal::WriteBatch { streams: vec![stream], ..Default::default() }]).unwrap();
    }
    bench
}

#[test]
fn rules_over_logs_record_and_alert() {
    let text = "name: logs\nrules:\n- record: job:lines:count1m\n  expr: sum by (job) (count_over_time({job=\"api\"}[1m]))\n\
        - alert: Errors\n  expr: sum by (job) (count_over_time({job=\"api\"} | logfmt | level=\"error\" [1m])) > 0\n  for: 1m\n  \
        annotations:\n    summary: '{{ $labels.job }} has {{ query \"vector(2)\" | first | value }} of {{ $value }}'\n";
    let spec = GroupSpec::parse_logs("namespace", text).unwrap();
    let mut group = Group::new(&spec, "namespace", &Surroundings::default());
    group.begin_afresh();
    let mut bench = log_world();
    let mut seen = Vec::new();
    for minute in 1..5 {
        let fired = group.evaluate(minutes(minute), &mut bench).transitions;
        assert_eq!(group.rules()[0].last_error, "");
        let states: Vec<AlertState> = group.rules()[1].alerts().map(|alert| alert.state).collect();
        seen.push((states, fired.len()));
    }
    assert_eq!(
        group.rules()[1].alerts().next().map(|alert| alert.annotations["summary"].clone()).unwrap(),
        "api has 2 of 1"
    );
    let (pending, firing) = (vec![AlertState::Pending], vec![AlertState::Firing]);
    assert_eq!(seen, [(Vec::new(), 0), (Vec::new(), 0), (pending, 0), (firing, 1)]);
    let written = bench.series(vec![Matcher::equal("__name__", "job:lines:count1m")], TimeRange::all()).unwrap();
    assert_eq!(written[0].samples.iter().map(|sample| sample.value).collect::<Vec<_>>(), [2.0, 2.0, 3.0, 3.0]);
}

#[test]
fn groups_of_rules_over_logs_are_checked() {
    for (name, text, want) in [
        ("empty", "", "n:1:1: there is no group"),
        ("no name", "rules: []", "the name of a group must not be empty"),
        (
            "lines",
            "name: g\nrules: [{record: a, expr: '{a=\"b\"}'}]",
            "a rule needs numbers, and a log query gives lines",
        ),
        ("PromQL", "name: g\nrules: [{record: a, expr: 'up'}]", "could not parse expression: parse error"),
        ("unknown key", "name: g\nrule: []", "unknown field `rule`"),
    ] {
        let error = GroupSpec::parse_logs("n", text).unwrap_err().to_string();
        assert!(error.contains(want), "{name}: {error}");
    }
}
