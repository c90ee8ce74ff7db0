use super::TestFile;
use super::series::{InputSeries, parse_metric};
use crate::file::RuleFile;
use proptest::prelude::*;
use signal::Timestamp;
use std::time::Duration;

const RULES: &str = "
groups:
- name: second
  rules:
  - record: job:up:sum
    expr: sum by (job) (up)
- name: first
  rules:
  - alert: Down
    expr: job:up:sum == 0
    for: 5m
    labels: {severity: page}
    annotations: {summary: '{{ $labels.job }} in {{ $externalLabels.cluster }} is down for {{ $value }}'}
";

fn run(test: &str) -> String {
    let rules = RuleFile::parse("rules.yaml", RULES).unwrap();
    let file = TestFile::parse("test.yaml", test).unwrap();
    assert_eq!(file.rule_files, ["rules.yaml"]);
    let failures = file.run(&[("rules.yaml".to_owned(), rules)], |_| true);
    if failures.is_empty() { "SUCCESS".to_owned() } else { failures.join("\n") }
}

const GOOD: &str = "
rule_files: [rules.yaml]
evaluation_interval: 1m
group_eval_order: [second, first]
tests:
- name: an outage
  interval: 1m
  external_labels: {cluster: eu}
  input_series:
  - {series: 'up{job=\"a\", i=\"1\"}', values: '1x3 0x20'}
  - {series: 'up{job=\"b\", i=\"1\"}', values: '1 _ stale 1+1x20'}
  alert_rule_test:
  - {eval_time: 8m, alertname: Down}
  - eval_time: 10m
    alertname: Down
    exp_alerts:
    - exp_labels: {job: a, severity: page}
      exp_annotations: {summary: a in eu is down for 0}
  promql_expr_test:
  - expr: job:up:sum
    eval_time: 10m
    exp_samples:
    - {labels: 'job:up:sum{job=\"b\"}', value: 8}
    - {labels: 'job:up:sum{job=\"a\"}', value: 0}
  - {expr: 'ALERTS{alertstate=\"pending\"}', eval_time: 10m}
  - {expr: '1 + 1', eval_time: 4m, exp_samples: [{labels: '{}', value: 2e0}]}
  - {expr: '1016', eval_time: 4m, exp_samples: [{value: 1_016}]}
  - {expr: '16', eval_time: 4m, exp_samples: [{value: 0x10}]}
  - {expr: '-Inf', eval_time: 4m, exp_samples: [{value: -.inf}]}
";

#[test]
fn a_test_that_holds_is_silent() {
    assert_eq!(run(GOOD), "SUCCESS");
}

#[test]
fn native_histograms_are_recorded_and_expected() {
    let rules = "groups:\n- name: g\n  rules:\n  - {record: twice, expr: h * 2}\n  \
                 - {alert: Many, expr: h, annotations: {all: '{{ $value }}'}}\n";
    let rules = RuleFile::parse("rules.yaml", rules).unwrap();
    let test = "tests:\n- interval: 1m\n  input_series:\n  \
                - {series: 'h{a=\"b\"}', values: '{{schema:0 count:3 sum:4 buckets:[1 2]}} stale'}\n  alert_rule_test:\n  \
                - eval_time: 0m\n    alertname: Many\n    exp_alerts:\n    - exp_labels: {a: b}\n      \
                exp_annotations: {all: '{count:3, sum:4, (0.5,1]:1, (1,2]:2}'}\n  - {eval_time: 1m, alertname: Many}\n  \
                promql_expr_test:\n  - expr: twice\n    eval_time: 30s\n    exp_samples:\n    \
                - {labels: 'twice{a=\"b\"}', histogram: '{{schema:0 count:6 sum:8 buckets:[2 4]}}'}\n  \
                - {expr: twice, eval_time: 1m}\n";
    let failures = TestFile::parse("test.yaml", test).unwrap().run(&[("rules.yaml".to_owned(), rules)], |_| true);
    assert_eq!(failures, Vec::<String>::new(), "{}", failures.join("\n"));
}

#[test]
fn a_failure_shows_what_was_expected_and_what_came() {
    let bad = GOOD.replace("exp_labels: {job: a", "exp_labels: {job: x").replace("value: 8", "value: 9");
    let bad = bad.replace("expr: '1 + 1'", "expr: '1 +'").replace("labels: '{}'", "labels: 'a{b=~\"c\"}'");
    insta::assert_snapshot!(run(&bad), @r#"
        name: an outage,
        alertname: Down, time: 10m, 
            exp:[
                0:
                  Labels:{alertname="Down", job="x", severity="page"}
                  Annotations:{summary="a in eu is down for 0"}
                ], 
            got:[
                0:
                  Labels:{alertname="Down", job="a", severity="page"}
                  Annotations:{summary="a in eu is down for 0"}
                ]
        expr: "job:up:sum", time: 10m,
            exp: {__name__="job:up:sum", job="a"} 0E+00, {__name__="job:up:sum", job="b"} 9E+00
            got: {__name__="job:up:sum", job="a"} 0E+00, {__name__="job:up:sum", job="b"} 8E+00
        expr: "1 +", time: 4m, err: 1:4: parse error: unexpected end of input
    "#);
}

#[test]
fn a_rule_that_fails_ends_the_test() {
    let rules = "groups:\n- name: g\n  rules:\n  - {record: a, expr: 'up * on(x) group_left up'}\n";
    let rules = RuleFile::parse("rules.yaml", rules).unwrap();
    let failures = TestFile::parse("test.yaml", GOOD).unwrap().run(&[("rules.yaml".to_owned(), rules)], |_| true);
    let [failure] = failures.as_slice() else { panic!("one failure: {failures:?}") };
    assert!(failure.starts_with("    rule: a, time: 0s, err: "), "{failure}");
}

#[test]
fn every_problem_of_a_test_file_has_its_place() {
    let text = "evaluation_interval: often\ngroup_eval_order: [a, a]\ntests:\n- input_series:\n  - series: up{\n    \
                values: 1\n  - series: up\n    values: 1 two\n  alert_rule_test:\n  - eval_time: 1m\n  \
                promql_expr_test:\n  - eval_time: never\n    expr: up\n";
    insta::assert_snapshot!(TestFile::parse("t.yaml", text).unwrap_err(), @r#"
    t.yaml:1:22: not a valid duration string: `often`; expected something like `5m`, `1h30m` or `250ms`
    t.yaml:2:23: group name repeated in evaluation order: a
    t.yaml:5:13: series "up{": 1:4: parse error: unexpected end of input inside braces
    t.yaml:8:13: "two" is no value of a series
    t.yaml:10:5: an item under alert_rule_test misses required attribute alertname at eval_time 1m
    t.yaml:12:16: not a valid duration string: `never`; expected something like `5m`, `1h30m` or `250ms`
    "#);
    let unknown = TestFile::parse("t.yaml", "tests:\n- inputs: []\n").unwrap_err();
    assert!(unknown.to_string().starts_with("t.yaml:2:"), "{unknown}");
}

/// The samples of a series as text.
fn values(text: &str) -> String {
    let series = match InputSeries::parse("x", text, Timestamp(0), Duration::from_millis(1)) {
        Ok(series) => series.between(None, Timestamp::MAX),
        Err(error) => return format!("{error:?}"),
    };
    let Some(series) = series else { return String::new() };
    let numbers = series.samples.iter().map(|sample| {
        let value = if signal::is_stale(sample.value) { "stale".to_owned() } else { sample.value.to_string() };
        format!("{}={value}", sample.at.0)
    });
    let histograms = series.histograms.iter().map(|sample| format!("{}=h{}", sample.at.0, sample.histogram.count));
    numbers.chain(histograms).collect::<Vec<_>>().join(" ")
}

#[test]
fn series_are_read_in_the_notation_of_upstreams_tests() {
    for (text, want) in [
        ("", ""),
        ("1 2 3", "0=1 1=2 2=3"),
        ("  1\n 2\t-3.5e1 ", "0=1 1=2 2=-35"),
        ("1+2x3", "0=1 1=3 2=5 3=7"),
        ("10-2x2 1", "0=10 1=8 2=6 3=1"),
        ("-1-1x1 -1+0.5x1", "0=-1 1=-2 2=-1 3=-0.5"),
        ("4x2", "0=4 1=4 2=4"),
        ("_ 1 _x2 2", "1=1 4=2"),
        ("stale 1 stale", "0=stale 1=1 2=stale"),
        ("Inf -Inf NaN +Inf", "0=inf 1=-inf 2=NaN 3=inf"),
        ("0x2 10x1", "0=0 1=0 2=0 3=10 4=10"),
        ("1e3+1e1x1", "0=1000 1=1010"),
        ("{{schema:0 count:3 sum:3 buckets:[1 2]}} 5", "1=5 0=h3"),
        ("{{schema:0 count:1 sum:1 buckets:[1]}}+{{schema:0 count:2 sum:1 buckets:[2]}}x2", "0=h1 1=h3 2=h5"),
        ("{{count:1}}x1", "0=h1 1=h1"),
    ] {
        assert_eq!(values(text), want, "{text}");
    }
    for bad in ["one", "1+", "1x", "1xx", "1+2y", "1x99999999999", "stalex3", "{{count:1", "{{what:1}}", "1,2", "é"] {
        assert!(values(bad).starts_with("Values"), "{bad}: {}", values(bad));
    }
    for (text, want) in
        [("up", "up"), ("{}", "{}"), ("", "{}"), ("a{b=\"c\"}", "a{b=\"c\"}"), ("{\"a.b\", x=\"y\"}", "a.b{x=\"y\"}")]
    {
        assert_eq!(parse_metric(text).unwrap().to_string(), want);
    }
}

proptest! {
    #[test]
    fn no_text_makes_reading_panic(text in "[ \n:{}\\[\\]'\"a-z0-9+x_-]{0,120}") {
        let _ = RuleFile::parse("r.yaml", &text);
        let _ = RuleFile::parse("r.yaml", &format!("groups:\n- name: a\n  rules:\n  - alert: b\n    expr: {text}\n"));
        let _ = TestFile::parse("t.yaml", &text);
        let _ = values(&text);
        let _ = parse_metric(&text);
    }

    #[test]
    fn a_series_is_as_long_as_its_notation_says(start in -1e6..1e6_f64, step in -1e3..1e3_f64, times in 0..50_usize) {
        let sign = if step < 0.0 { '-' } else { '+' };
        let text = format!("{start}{sign}{}x{times} _x3 {start}", step.abs());
        let series = InputSeries::parse("x", &text, Timestamp(0), Duration::from_secs(1)).unwrap();
        let samples = series.between(None, Timestamp::MAX).unwrap().samples;
        prop_assert_eq!(samples.len(), times + 2);
        prop_assert_eq!(samples.last().unwrap().at, Timestamp((times as i64 + 4) * 1000));
        prop_assert_eq!(samples.last().unwrap().value, start);
    }
}
