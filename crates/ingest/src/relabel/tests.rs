use proptest::prelude::*;

use super::*;

fn rule(json: &str) -> Rule {
    Rule::check(serde_json::from_str(json).unwrap()).unwrap()
}

/// Cases follow `model/relabel/relabel_test.go` of Prometheus.
#[test]
fn each_action_does_what_prometheus_does() {
    let abc = [("a", "foo"), ("b", "bar"), ("c", "baz")];
    for (case, labels, rules, want) in [
        (
            "replace with groups",
            &abc[..],
            &[r#"{"source_labels":["a"],"regex":"f(.*)","target_label":"d","replacement":"ch${1}-ch${1}"}"#][..],
            Some(r#"{a="foo", b="bar", c="baz", d="choo-choo"}"#),
        ),
        (
            "several sources",
            &abc,
            &[r#"{"source_labels":["a","b"],"regex":"(.*);(.*)r","target_label":"a","replacement":"b${1}${2}m"}"#],
            Some(r#"{a="bfoobam", b="bar", c="baz"}"#),
        ),
        (
            "no match, no change",
            &abc,
            &[r#"{"source_labels":["a"],"regex":"f","target_label":"b","replacement":"bar2"}"#],
            Some(r#"{a="foo", b="bar", c="baz"}"#),
        ),
        ("empty result deletes", &abc, &[r#"{"target_label":"a"}"#], Some(r#"{b="bar", c="baz"}"#)),
        (
            "target from a group",
            &abc,
            &[r#"{"source_labels":["a"],"regex":"(.*)","target_label":"x_${1}","replacement":"y"}"#],
            Some(r#"{a="foo", b="bar", c="baz", x_foo="y"}"#),
        ),
        ("drop", &abc, &[r#"{"source_labels":["a"],"regex":".*o.*","action":"drop"}"#], None),
        (
            "anchored drop misses",
            &abc,
            &[r#"{"source_labels":["a"],"regex":"f","action":"drop"}"#],
            Some(r#"{a="foo", b="bar", c="baz"}"#),
        ),
        ("keep misses", &abc, &[r#"{"source_labels":["a"],"regex":"no-match","action":"keep"}"#], None),
        (
            "alternatives are anchored as one",
            &abc,
            &[r#"{"source_labels":["a"],"regex":"fo|oo","action":"keep"}"#],
            None,
        ),
        (
            "digits are those of ASCII, as in Go",
            &[("a", "٣"), ("b", "3")],
            &[
                r#"{"source_labels":["a"],"regex":"\\d","target_label":"x","replacement":"a"}"#,
                r#"{"source_labels":["b"],"regex":"\\d","target_label":"y","replacement":"b"}"#,
            ],
            Some(r#"{a="٣", b="3", y="b"}"#),
        ),
        (
            "dot matches newline",
            &[("a", "x\ny")],
            &[r#"{"source_labels":["a"],"regex":"x.y","action":"keep"}"#],
            Some(r#"{a="x\ny"}"#),
        ),
        (
            "keepequal",
            &[("a", "1"), ("b", "2")],
            &[r#"{"source_labels":["a"],"target_label":"b","action":"keepequal"}"#],
            None,
        ),
        (
            "dropequal",
            &[("a", "1"), ("b", "1")],
            &[r#"{"source_labels":["a"],"target_label":"b","action":"dropequal"}"#],
            None,
        ),
        (
            "hashmod",
            &abc,
            &[r#"{"source_labels":["c"],"separator":";","target_label":"d","action":"hashmod","modulus":1000}"#],
            Some(r#"{a="foo", b="bar", c="baz", d="976"}"#),
        ),
        (
            "labelmap",
            &[("__meta_env", "prod"), ("z", "1")],
            &[r#"{"regex":"__meta_(.+)","action":"labelmap"}"#],
            Some(r#"{__meta_env="prod", env="prod", z="1"}"#),
        ),
        ("labeldrop", &abc, &[r#"{"regex":"(b|c)","action":"labeldrop"}"#], Some(r#"{a="foo"}"#)),
        ("labelkeep", &abc, &[r#"{"regex":"(b|c)","action":"labelkeep"}"#], Some(r#"{b="bar", c="baz"}"#)),
        (
            "case",
            &[("a", "FoO")],
            &[
                r#"{"source_labels":["a"],"target_label":"l","action":"lowercase"}"#,
                r#"{"source_labels":["a"],"target_label":"u","action":"uppercase"}"#,
            ],
            Some(r#"{a="FoO", l="foo", u="FOO"}"#),
        ),
    ] {
        let rules: Vec<_> = rules.iter().map(|json| rule(json)).collect();
        let got = relabel(&Labels::from_pairs(labels.iter().copied()), &rules);
        assert_eq!(got.map(|labels| labels.to_string()).as_deref(), want, "{case}");
    }
}

#[test]
fn a_rule_that_cannot_work_is_refused() {
    for (json, want) in [
        (
            r#"{"regex":"(","target_label":"x"}"#,
            "`regex` of a relabel rule: error parsing regexp: missing closing ): `(`",
        ),
        (
            r#"{"regex":"a)(b","target_label":"x"}"#,
            "`regex` of a relabel rule: error parsing regexp: unexpected ): `a)(b`",
        ),
        ("{}", "relabel action `Replace` needs `target_label`"),
        (r#"{"action":"hashmod","target_label":"x"}"#, "relabel action `hashmod` needs a `modulus` of at least 1"),
        (r#"{"action":"labeldrop","target_label":"x"}"#, "relabel action `LabelDrop` does not use `target_label`"),
        (r#"{"action":"keepequal","target_label":"x","regex":"y"}"#, "relabel action `KeepEqual` does not use `regex`"),
    ] {
        let file: RuleFile = serde_json::from_str(json).unwrap();
        assert_eq!(Rule::check(file).unwrap_err().to_string(), want, "{json}");
    }
    assert!(serde_json::from_str::<RuleFile>(r#"{"replcement":"x"}"#).is_err(), "unknown keys are errors");
}

proptest! {
    #[test]
    fn any_rule_is_refused_or_works(
        regex in "[a-z().*$|\\\\\\[\\]0-9+]{0,10}",
        replacement in "[$a-z{}0-9]{0,8}",
        target in "[$a-z{}0-9]{0,6}",
        value in "\\PC{0,8}",
        action in proptest::sample::select(vec![
            Action::Replace, Action::Keep, Action::Drop, Action::HashMod, Action::LabelMap, Action::Lowercase, Action::Uppercase,
        ]),
    ) {
        let file = RuleFile {
            source_labels: vec!["a".to_owned()],
            regex: Some(regex),
            replacement: Some(replacement),
            target_label: Some(target),
            modulus: Some(7),
            action,
            ..RuleFile::default()
        };
        if let Ok(rule) = Rule::check(file) {
            let labels = Labels::from_pairs([("a", value.as_str()), ("b", "1")]);
            let once = relabel(&labels, std::slice::from_ref(&rule));
            prop_assert_eq!(&relabel(&labels, &[rule]), &once);
        }
    }
}
