use std::time::Duration;

use super::{Kind, RuleFile};

fn problems(text: &str) -> String {
    RuleFile::parse("r.yaml", text).map_or_else(|error| error.to_string(), |_| "fine".to_owned())
}

#[test]
fn a_file_becomes_groups_of_rules() {
    let text = "groups:\n- name: a\n  interval: 30s\n  limit: 5\n  query_offset: 10s\n  labels: {team: core, n: 1}\n  rules:\n  \
                - record: job:x:rate\n    expr: sum(rate(x[5m])) by (job)\n    labels: {n: 2}\n  \
                - alert: Down\n    expr: |\n      up == 0\n    for: 5m\n    keep_firing_for: 1h\n    labels: {severity: page}\n    \
                annotations: {summary: '{{ $labels.job }} is down', empty: }\n- name: b\n";
    let file = RuleFile::parse("r.yaml", text).unwrap();
    assert_eq!(file.rule_count(), 2);
    let [a, b] = file.groups.as_slice() else { panic!("two groups") };
    assert_eq!((a.name.as_str(), a.interval, a.limit), ("a", Some(Duration::from_secs(30)), 5));
    assert_eq!(a.query_offset, Some(Duration::from_secs(10)));
    assert!(b.rules.is_empty());
    let [record, alert] = a.rules.as_slice() else { panic!("two rules") };
    assert_eq!((record.name.as_str(), &record.kind), ("job:x:rate", &Kind::Recording));
    assert_eq!(record.expr.to_string(), "sum by (job) (rate(x[5m]))");
    assert_eq!(record.labels.get("n").map(String::as_str), Some("2"), "the rule's label wins over the group's");
    assert_eq!(alert.labels.get("team").map(String::as_str), Some("core"));
    let Kind::Alerting { hold, keep_firing, annotations } = &alert.kind else { panic!("an alert") };
    assert_eq!((*hold, *keep_firing), (Duration::from_secs(300), Duration::from_secs(3600)));
    assert_eq!(annotations.get("empty").map(String::as_str), Some(""));
}

#[test]
fn files_without_rules_are_files() {
    for (case, text) in [
        ("empty", ""),
        ("comments", "# nothing yet\n\n"),
        ("null", "groups:\n"),
        ("document marker", "---\n# still nothing\n"),
        (
            "numbers as text",
            "groups: [{name: 1, rules: [{record: a, expr: 1, labels: {a: 1, b: true}}, {alert: b, expr: 1, for: 0}]}]",
        ),
    ] {
        assert_eq!(problems(text), "fine", "{case}");
    }
}

#[test]
fn every_problem_is_reported_with_its_place() {
    let text = "groups:\n- name: a\n  interval: soon\n  rules:\n  - record: x\n    alert: y\n    expr: up\n  - expr: up\n  \
                - record: ok\n    expr: sum(\n  - record: bad{}\n    expr: up\n    for: 5m\n    annotations: {a: b}\n  \
                - alert: z\n    for: 5 minutes\n    expr: up\n    labels: {__name__: x, t: '{{ $nope }}'}\n    \
                annotations: {s: '{{ if }}{{ end }}'}\n  - alert: w\n- name: a\n- rules: []\n";
    insta::assert_snapshot!(problems(text), @r#"
    r.yaml:3:13: not a valid duration string: `soon`; expected something like `5m`, `1h30m` or `250ms`
    r.yaml:5:13: group "a", rule 1, "y": only one of `record` and `alert` must be set
    r.yaml:8:5: group "a", rule 2, "": one of `record` or `alert` must be set
    r.yaml:10:11: group "a", rule 3, "ok": could not parse expression: 1:5: parse error: unclosed left parenthesis
    r.yaml:11:13: group "a", rule 4, "bad{}": invalid field `annotations` in recording rule
    r.yaml:11:13: group "a", rule 4, "bad{}": invalid field `for` in recording rule
    r.yaml:11:13: group "a", rule 4, "bad{}": braces present in the recording rule name; should it be in expr?: bad{}
    r.yaml:16:10: group "a", rule 5, "z": not a valid duration string: `5 minutes`; expected something like `5m`, `1h30m` or `250ms`
    r.yaml:18:24: group "a", rule 5, "z": invalid label name "__name__"
    r.yaml:18:30: group "a", rule 5, "z": label "t": template: __alert_z:1: undefined variable "$nope"
    r.yaml:19:22: group "a", rule 5, "z": annotation "s": template: __alert_z:1:121: empty command
    r.yaml:20:5: group "a", rule 6, "w": field `expr` must be set in rule
    r.yaml:21:3: group name "a" is repeated in the same file
    r.yaml:22:3: the name of a group must not be empty
    "#);
}

#[test]
fn shapes_that_do_not_fit_name_their_place() {
    for (case, text, want) in [
        ("unknown key at the top", "group: []\n", "r.yaml:1:"),
        ("unknown key of a group", "groups:\n- name: a\n  intervall: 1m\n", "r.yaml:3:"),
        ("unknown key of a rule", "groups:\n- name: a\n  rules:\n  - record: a\n    exp: b\n", "r.yaml:5:"),
        ("key given twice", "groups:\n- name: a\n  name: b\n", "r.yaml:3:"),
        ("wrong type", "groups: 5\n", "r.yaml:1:"),
        ("not YAML", "groups: [\n", "r.yaml:"),
    ] {
        let found = problems(text);
        assert!(found.starts_with(want), "{case}: {found}");
    }
}

#[test]
fn rules_that_write_the_same_series_are_found() {
    let rule = |labels: &str| format!("  - record: a\n    expr: b\n    labels: {labels}\n");
    let text = format!("groups:\n- name: a\n  rules:\n{}{}{}", rule("{x: y}"), rule("{x: z}"), rule("{x: y}"));
    assert_eq!(RuleFile::parse("r.yaml", &text).unwrap().duplicates().len(), 1);
}
