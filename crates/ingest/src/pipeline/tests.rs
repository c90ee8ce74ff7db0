use proptest::prelude::*;
use signal::Timestamp;

use super::*;

const NOW: Nanos = Nanos(1_710_072_000_000_000_000);

fn pipeline(stages: &str) -> Result<Pipeline, String> {
    let files: Vec<StageFile> = serde_json::from_str(stages).map_err(|error| error.to_string())?;
    let around = Surroundings { zone: &|_| None, max_line_bytes: 200 };
    Pipeline::new(&files, around).map_err(|error| error.to_string())
}

fn entry(line: &str) -> Entry {
    Entry::new(NOW, Labels::from_pairs([("job", "j"), ("filename", "f")]), line.to_owned(), 0)
}

/// What comes out for these lines and one flush: labels beside `job` and `filename`, time when it is not now, line.
fn outcome(stages: &str, lines: &[&str]) -> Vec<String> {
    let mut pipeline = pipeline(stages).unwrap();
    let mut done = Vec::new();
    for line in lines {
        pipeline.feed(entry(line), NOW, &mut done);
    }
    pipeline.flush(NOW, &mut done);
    done.into_iter().map(show).collect()
}

fn show(entry: Entry) -> String {
    let at = if entry.at == NOW { String::new() } else { format!("{} ", entry.at) };
    let (labels, line) = entry.into_line();
    let labels = labels.without(|name| name == "job" || name == "filename");
    let metadata = if line.metadata.is_empty() { String::new() } else { format!(" + {}", line.metadata) };
    format!("{at}{labels} {}{metadata}", line.line)
}

#[test]
fn stages_do_what_promtail_does() {
    for (case, stages, line, want) in [
        ("none", "[]", "a", "{} a"),
        (
            "json",
            r#"[{"json": {"expressions": {"level": null, "user": "ctx.user[0].\"the name\"", "code": "", "ctx": "ctx.n"}}},
                {"labels": {"level": "", "user": null, "code": null, "ctx": null, "none": null}}]"#,
            r#"{"level":"warn","ctx":{"user":[{"the name":"x"}],"n":null},"code":200}"#,
            r#"{code="200", level="warn", user="x"} {"level":"warn","ctx":{"user":[{"the name":"x"}],"n":null},"code":200}"#,
        ),
        (
            "json of something extracted, objects are JSON again",
            r#"[{"json": {"expressions": {"log": null}}}, {"json": {"source": "log", "expressions": {"a": null}}},
                {"output": {"source": "a"}}]"#,
            r#"{"log":"{\"a\":{\"b\":[1,2.5]}}"}"#,
            r#"{} {"b":[1,2.5]}"#,
        ),
        ("not json", r#"[{"json": {"expressions": {"a": null}}}, {"labels": {"a": null}}]"#, "a=b", "{} a=b"),
        (
            "logfmt",
            r#"[{"logfmt": {"mapping": {"lvl": "level", "msg": null}}}, {"labels": {"lvl": null}}, {"output": {"source": "msg"}}]"#,
            r#"ts=1 level=info flag msg="a \"b\" c" more"#,
            r#"{lvl="info"} a "b" c"#,
        ),
        (
            "regex",
            r#"[{"regex": {"expression": "^(?P<ip>\\S+) (?P<rest>.*)$"}}, {"structured_metadata": {"ip": null}}, {"output": {"source": "rest"}}]"#,
            "1.2.3.4 GET /",
            r#"{} GET / + {ip="1.2.3.4"}"#,
        ),
        (
            "replace",
            r#"[{"replace": {"expression": "password (\\S+)", "replace": "****"}}]"#,
            "password a and password b",
            "{} password **** and password ****",
        ),
        (
            "replace by a template, and what it captured",
            r#"[{"replace": {"expression": "(?P<ip>\\d+\\.\\d+)", "replace": "{{ .Value | ToUpper | repeat 2 }}"}}, {"labels": {"ip": null}}]"#,
            "from 1.2",
            r#"{ip="1.21.2"} from 1.21.2"#,
        ),
        (
            "template",
            r#"[{"regex": {"expression": "(?P<app>\\w+)"}}, {"template": {"source": "app", "template": "{{ ToUpper .Value }}-{{ .job }}"}},
                {"template": {"source": "new", "template": "{{ .Entry | trunc 3 }}"}}, {"labels": {"app": null, "new": null}}]"#,
            "shop started",
            r#"{app="SHOP-j", new="sho"} shop started"#,
        ),
        (
            "an empty template takes away",
            r#"[{"regex": {"expression": "(?P<app>\\w+)"}}, {"template": {"source": "app", "template": "{{ if eq .Value \"a\" }}{{ end }}"}},
                {"labels": {"app": null}}]"#,
            "a",
            "{} a",
        ),
        (
            "labels set, dropped, allowed",
            r#"[{"static_labels": {"a": "1", "b": "2", "c": null}}, {"labeldrop": ["a", "filename"]}, {"labelallow": ["b"]}]"#,
            "x",
            r#"{b="2"} x"#,
        ),
        (
            "timestamp",
            r#"[{"json": {"expressions": {"ts": null}}}, {"timestamp": {"source": "ts", "format": "2006-01-02", "fallback_formats": ["UnixMs"]}}, {"output": {"source": "ts"}}]"#,
            r#"{"ts": 1706189400123}"#,
            "2024-01-25T13:30:00.123Z {} 1706189400123",
        ),
        (
            "match",
            r#"[{"match": {"selector": "{job=\"j\", env!~\"x+\"} |= \"err\" !~ \"ign.re\"", "stages": [{"static_labels": {"level": "error"}}]}}]"#,
            "an error",
            r#"{level="error"} an error"#,
        ),
        (
            "no match",
            r#"[{"match": {"selector": "{job=\"j\"} |= \"err\" !~ \"ign.re\"", "stages": [{"static_labels": {"level": "error"}}]}}]"#,
            "an error to ignore",
            "{} an error to ignore",
        ),
        (
            "inner stages see labels",
            r#"[{"static_labels": {"a": "1"}}, {"match": {"selector": "{a=\"1\"}", "stages": [{"template": {"source": "b", "template": "<{{.a}}>"}}, {"labels": {"b": null}}]}}]"#,
            "x",
            r#"{a="1", b="<1>"} x"#,
        ),
        (
            "docker",
            r#"[{"docker": {}}]"#,
            r#"{"log":"hello\n","stream":"stderr","time":"2024-01-25T13:30:00.5Z"}"#,
            r#"2024-01-25T13:30:00.5Z {stream="stderr"} hello"#,
        ),
        (
            "cri",
            r#"[{"cri": null}]"#,
            "2024-01-25T13:30:00.5Z stdout F hello world",
            r#"2024-01-25T13:30:00.5Z {stream="stdout"} hello world"#,
        ),
        ("not cri", r#"[{"cri": {}}]"#, "hello world out there", "{} hello world out there"),
        ("tenant", r#"[{"tenant": {"value": "x"}}]"#, "a", "{} a"),
    ] {
        assert_eq!(outcome(stages, &[line]), [want], "{case}");
    }
}

#[test]
fn drop_wants_all_conditions() {
    let dropped = |stage: &str, line: &str| {
        let mut pipeline =
            pipeline(&format!(r#"[{{"json": {{"expressions": {{"a": null, "b": null}}}}}}, {{"drop": {stage}}}]"#))
                .unwrap();
        let mut done = Vec::new();
        pipeline.feed(Entry { at: Nanos(NOW.0 - 7_200_000_000_000), ..entry(line) }, NOW, &mut done);
        let reasons: Vec<String> = pipeline.take_dropped().keys().map(ToString::to_string).collect();
        assert_eq!(done.len() + reasons.len(), 1);
        reasons.into_iter().next()
    };
    let line = r#"{"a":"1","b":2}"#;
    for (stage, want) in [
        (r#"{"source": "a"}"#, Some("drop_stage")),
        (r#"{"source": "c"}"#, None),
        (r#"{"source": "a", "value": "1", "drop_counter_reason": "one"}"#, Some("one")),
        (r#"{"source": "a", "value": "2"}"#, None),
        (r#"{"source": ["a", "b"], "value": "1;2"}"#, Some("drop_stage")),
        (r#"{"source": "a,b", "separator": "-", "expression": "1-."}"#, Some("drop_stage")),
        (r#"{"expression": "\"b\""}"#, Some("drop_stage")),
        (r#"{"expression": "nothing"}"#, None),
        (r#"{"older_than": "1.5h", "longer_than": "10B"}"#, Some("drop_stage")),
        (r#"{"older_than": "1h", "longer_than": "1kb"}"#, None),
        (r#"{"older_than": "3h", "longer_than": "1"}"#, None),
    ] {
        assert_eq!(dropped(stage, line).as_deref(), want, "{stage}");
    }
    let stages = r#"[{"json": {"expressions": {"a": null}, "drop_malformed": true}}]"#;
    assert_eq!(outcome(stages, &["{}", "text"]), ["{} {}"]);
    let stages = r#"[{"match": {"selector": "{job=~\"j|k\"} |~ \"^x\"", "action": "drop"}}]"#;
    assert_eq!(outcome(stages, &["xa", "ax"]), ["{} ax"]);
}

#[test]
fn lines_of_a_block_come_together() {
    let stages = r#"[{"multiline": {"firstline": "^\\S", "max_lines": 3}}, {"static_labels": {"b": "1"}}]"#;
    for (case, lines, want) in [
        ("before a first line", &[" a", " b"][..], &["{b=\"1\"}  a", "{b=\"1\"}  b"][..]),
        ("two blocks", &["a", " b", "c"], &["{b=\"1\"} a\n b", "{b=\"1\"} c"]),
        ("too many lines", &["a", " b", " c", " d", "e"], &["{b=\"1\"} a\n b\n c", "{b=\"1\"}  d", "{b=\"1\"} e"]),
        ("empty lines", &["a", " ", " b"], &["{b=\"1\"} a\n \n b"]),
    ] {
        assert_eq!(outcome(stages, lines), want, "{case}");
    }
    let long = "x".repeat(150);
    let lines = outcome(stages, &[&long, &format!(" {long}"), "z"]);
    assert_eq!(lines.iter().map(String::len).collect::<Vec<_>>(), [158, 159, 9], "bytes are limited, too");
}

#[test]
fn a_block_waits_for_its_time_and_holds_its_place() {
    let mut pipeline = pipeline(r#"[{"multiline": {"firstline": "^\\S", "max_wait_time": "2s"}}]"#).unwrap();
    let mut done = Vec::new();
    let later = |seconds: u64| NOW.plus(std::time::Duration::from_secs(seconds));
    pipeline.feed(Entry { from: 7, ..entry("a") }, NOW, &mut done);
    pipeline.feed(Entry { from: 9, ..entry(" b") }, later(1), &mut done);
    pipeline.flush_due(later(2), &mut done);
    assert_eq!((done.len(), pipeline.oldest_held()), (0, Some(7)));
    pipeline.flush_due(later(3), &mut done);
    assert_eq!((done.len(), pipeline.oldest_held()), (1, None));
    pipeline.feed(Entry { from: 20, ..entry(" c") }, later(9), &mut done);
    assert_eq!(pipeline.oldest_held(), Some(20));
    pipeline.flush(later(9), &mut done);
    let lines: Vec<_> = done.iter().map(|entry| (entry.from, &*entry.line)).collect();
    assert_eq!(lines, [(7, "a\n b"), (20, " c")]);
}

#[test]
fn container_lines_are_joined_for_each_stream() {
    let line = |stream: &str, flags: &str, text: &str| format!("2024-01-25T13:30:00Z {stream} {flags} {text}");
    let lines = [
        line("stdout", "P", "one "),
        line("stderr", "P", "uno "),
        line("stdout", "P", "two "),
        line("stderr", "F", "due"),
        line("stdout", "F", "three"),
        line("stdout", "P", "left over"),
    ];
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let at = "2024-01-25T13:30:00Z";
    let want = [
        format!("{at} {{stream=\"stderr\"}} uno due"),
        format!("{at} {{stream=\"stdout\"}} one two three"),
        format!("{at} {{stream=\"stdout\"}} left over"),
    ];
    assert_eq!(outcome(r#"[{"cri": {}}]"#, &lines), want);
}

#[test]
fn a_time_that_cannot_be_read_follows_the_one_before() {
    let stages = |action: &str| {
        format!(
            r#"[{{"regex": {{"expression": "^(?P<ts>\\S+)"}}}}, {{"timestamp": {{"source": "ts", "format": "RFC3339"{action}}}}}]"#
        )
    };
    let lines = ["x", "2024-01-25T13:30:00Z a", "b", "c"];
    let want = [
        "{} x",
        "2024-01-25T13:30:00Z {} 2024-01-25T13:30:00Z a",
        "2024-01-25T13:30:00.000000001Z {} b",
        "2024-01-25T13:30:00.000000002Z {} c",
    ];
    assert_eq!(outcome(&stages(""), &lines), want);
    let skipped = outcome(&stages(r#", "action_on_failure": "skip""#), &lines);
    assert_eq!(skipped[2..], ["{} b", "{} c"]);
}

#[test]
fn what_is_wrong_with_a_stage_is_told() {
    for (stages, want) in [
        (r#"[{"json": {"expressions": {}}}]"#, "stage 1 (`json`): `expressions` is empty"),
        (
            r#"[{"json": {"expressions": {"a": "b | c"}}}]"#,
            "stage 1 (`json`): `b | c` is not understood: only paths such as `a.b`, `list[0].c` and `\"k8s.io/name\"` are",
        ),
        (
            r#"[{"docker": {}}, {"regex": {"expression": "("}}]"#,
            "stage 2 (`regex`): error parsing regexp: missing closing ): `(`",
        ),
        (r#"[{"labels": {"a-b": null}}]"#, "stage 1 (`labels`): `a-b` is not a label name"),
        (
            r#"[{"timestamp": {"source": "a", "format": "Unix", "location": "Mars"}}]"#,
            "stage 1 (`timestamp`): there is no time zone `Mars`",
        ),
        (
            r#"[{"drop": {"value": "a"}}]"#,
            "stage 1 (`drop`): needs `source`, `expression`, `older_than` or `longer_than`",
        ),
        (r#"[{"match": {"selector": "{a=\"b\"}"}}]"#, "stage 1 (`match`): needs `stages`, or `action: drop`"),
        (
            r#"[{"match": {"selector": "{a=b}", "action": "drop"}}]"#,
            "stage 1 (`match`): `{a=b}` is not a selector: at byte 3: expected a quoted string",
        ),
        (
            r#"[{"multiline": {"firstline": "a", "max_wait_time": "soon"}}]"#,
            "stage 1 (`multiline`): `soon` is not a duration: write something like `3s`, `1h30m` or `24h`",
        ),
        (r#"[{"output": {"source": ""}}]"#, "stage 1 (`output`): `source` is empty"),
    ] {
        assert_eq!(pipeline(stages).unwrap_err(), want);
    }
    assert!(pipeline(r#"[{"regex": {"expresion": "a"}}]"#).unwrap_err().starts_with("unknown field `expresion`"));
    assert!(pipeline(r#"[{"geoip": {}}]"#).unwrap_err().starts_with("unknown variant `geoip`"));
}

#[test]
fn text_that_is_none_is_replaced() {
    assert_eq!(lossy(b"a\xffb"), ("a\u{fffd}b".to_owned(), true));
    assert_eq!(lossy("é".as_bytes()), ("é".to_owned(), false));
}

proptest! {
    #[test]
    fn any_line_passes_any_stage(lines in proptest::collection::vec("[a-z{}\":=\\\\ \\[\\]0-9é\n-]{0,40}", 0..8)) {
        let stages = r#"[{"cri": {}}, {"json": {"expressions": {"a": null, "b": "a.b[0]"}}}, {"logfmt": {"mapping": {"c": null}}},
            {"regex": {"expression": "(?P<d>[a-z]+)(?P<e>.)?"}}, {"replace": {"expression": "([a-z])(.)", "replace": "{{.Value}}!"}},
            {"template": {"source": "f", "template": "{{ .Value }}{{ .Entry | substr 1 3 }}"}},
            {"timestamp": {"source": "d", "format": "2006-01-02"}}, {"labels": {"a": null, "f": null}},
            {"multiline": {"firstline": "^[a-m]"}}, {"structured_metadata": {"e": null}}]"#;
        let mut pipeline = pipeline(stages).unwrap();
        let mut done = Vec::new();
        let mut fed = 0;
        for line in &lines {
            pipeline.feed(entry(line), NOW, &mut done);
            fed += 1;
        }
        pipeline.flush(Timestamp::MAX.to_nanos(), &mut done);
        prop_assert!(done.len() <= fed);
        prop_assert_eq!(pipeline.oldest_held(), None);
    }

    #[test]
    fn a_path_finds_or_errs(text in "[a-z@\\[\\].\"0-9-]{0,20}") {
        if let Ok(path) = fields::JsonPath::parse(&text) {
            let _ = path.find(&serde_json::json!({"a": [{"b": 1}, 2], "c": {"d": "e"}}));
        }
    }
}
