use proptest::prelude::*;

use signal::LogLine;

use super::*;
use crate::logql::{Expr, MetricExpr, parse};

/// Runs a pipeline over one line of the stream `{job="api",app="x"}` with metadata `pod="p1"`, at 1706189400.5 s.
fn run(pipeline: &str, text: &str) -> Option<(String, String)> {
    let Expr::Log(log) =
        parse(&format!("{{job=\"api\"}} {pipeline}")).unwrap_or_else(|error| panic!("{pipeline}: {error}"))
    else {
        panic!("{pipeline}: not a log query");
    };
    let stream = Labels::from_pairs([("job", "api"), ("app", "x")]);
    let line = LogLine {
        at: Nanos(1_706_189_400_500_000_000),
        line: text.to_owned(),
        metadata: Labels::from_pairs([("pod", "p1")]),
    };
    let pipeline = Pipeline::new(&log.stages, Nanos(1_706_190_000_000_000_000)).unwrap();
    let entry = pipeline.run(&stream, (&line).into())?;
    let parsed = entry.sorted().parsed.without(|name| name == Error::DETAILS);
    let parsed: Vec<_> = parsed.iter().map(|(name, value)| format!("{name}={value}")).collect();
    Some((entry.line.to_string(), parsed.join(" ")))
}

#[test]
fn stages_do_what_their_names_say() {
    let json = r#"{"timestamp":"T","level":"error","message":"User created","status_code":201,"duration_ms":45,"app":"y","n":{"a":true}}"#;
    for (case, pipeline, line, want) in [
        ("contains", r#"|= "a" |= "b""#, "a b", Some(("a b", ""))),
        ("contains not", r#"|= "a" |= "c""#, "a b", None),
        ("one of two", r#"|= "z" or "b""#, "a b", Some(("a b", ""))),
        ("none of two", r#"!= "z" or "b""#, "a b", None),
        ("regex", r#"|~ "(?i)A.B""#, "a b", Some(("a b", ""))),
        ("no regex", r#"!~ "a.b""#, "a b", None),
        ("pattern", r#"|> "a <_>""#, "a b", Some(("a b", ""))),
        ("no pattern", r#"!> "a <_>""#, "a b", None),
        ("address", r#"|= ip("10.0.0.0/8")"#, "x 10.1.2.3 y", Some(("x 10.1.2.3 y", ""))),
        ("address not", r#"!= ip("10.0.0.0/8")"#, "x 10.1.2.3 y", None),
        (
            "json",
            "| json",
            json,
            Some((
                json,
                "app_extracted=y duration_ms=45 level=error message=User created n_a=true status_code=201 timestamp=T",
            )),
        ),
        ("json of what is none", "| json", "plain", Some(("plain", "__error__=JSONParserErr"))),
        ("json by path", r#"| json a="n.a", level"#, json, Some((json, "a=true level=error"))),
        ("parsed first", r#"| json | logfmt"#, r#"{"a":1,"a":2} a=3"#, Some((r#"{"a":1,"a":2} a=3"#, "a=1"))),
        ("paths override", r#"| json | json a="b", c"#, r#"{"a":1,"b":2}"#, Some((r#"{"a":1,"b":2}"#, "a=2 b=2"))),
        ("logfmt", "| logfmt", "a=1 b=\"x y\" pod=q", Some(("a=1 b=\"x y\" pod=q", "a=1 b=x y pod_extracted=q"))),
        ("logfmt by key", r#"| logfmt x="a""#, "a=1 b=2", Some(("a=1 b=2", "x=1"))),
        ("logfmt, strict", "| logfmt --strict", "a=1 =b", Some(("a=1 =b", "__error__=LogfmtParserErr a=1"))),
        ("regexp", r#"| regexp "(?P<method>\\w+) (?P<path>\\S+)""#, "GET /a", Some(("GET /a", "method=GET path=/a"))),
        ("pattern captures", r#"| pattern "<m> <_> <s>""#, "GET /a 200", Some(("GET /a 200", "m=GET s=200"))),
        ("unpack", "| unpack", r#"{"c":"d","_entry":"inner"}"#, Some(("inner", "c=d"))),
        (
            "text label",
            r#"| json | level="error""#,
            json,
            Some((
                json,
                "app_extracted=y duration_ms=45 level=error message=User created n_a=true status_code=201 timestamp=T",
            )),
        ),
        ("text label not", r#"| json | level="info""#, json, None),
        ("missing text label is empty", r#"| nothing="""#, "l", Some(("l", ""))),
        ("number", "| logfmt | a > 1", "a=2", Some(("a=2", "a=2"))),
        ("number not", "| logfmt | a > 2", "a=2", None),
        ("number, missing", "| logfmt | b != 2", "a=2", None),
        ("number, unreadable", "| logfmt | a > 1", "a=x", Some(("a=x", "__error__=LabelFilterErr a=x"))),
        ("error filtered", "| logfmt | a > 1 | __error__=\"\"", "a=x", None),
        (
            "an error is no label to rename",
            "| json | label_format x=__error__",
            "plain",
            Some(("plain", "__error__=JSONParserErr")),
        ),
        ("an error is no number", "| json | __error__ > 5", "plain", None),
        ("details are no label to compare", r#"| json | __error_details__ != """#, "plain", None),
        ("error dropped", "| logfmt | a > 1 | drop __error__", "a=x", Some(("a=x", "a=x"))),
        ("numbers that are missing do not pass after an error", "| json | a > 5", "plain", None),
        ("the first error counts", "| json | app > 5", "plain", Some(("plain", "__error__=JSONParserErr"))),
        ("no address in a condition", r#"| app=ip("x") or app="y""#, "l", None),
        ("duration", "| logfmt | d >= 1.5s", "d=1500ms", Some(("d=1500ms", "d=1500ms"))),
        ("size", "| logfmt | s > 1KB", "s=1KiB", Some(("s=1KiB", "s=1KiB"))),
        ("address label", r#"| logfmt | a=ip("10.0.0.0/8")"#, "a=10.0.0.1", Some(("a=10.0.0.1", "a=10.0.0.1"))),
        ("or binds weaker", "| logfmt | a=1 and b=2 or c=3", "c=3", Some(("c=3", "c=3"))),
        ("comma is and", "| logfmt | a=1, b=2", "a=1 b=3", None),
        ("neighbours are and", "| logfmt | a=1 b=2", "a=1 b=2", Some(("a=1 b=2", "a=1 b=2"))),
        ("parentheses", "| logfmt | a=1 and (b=2 or c=3)", "a=1 c=3", Some(("a=1 c=3", "a=1 c=3"))),
        ("drop", "| logfmt | drop a, b=\"3\"", "a=1 b=2", Some(("a=1 b=2", "b=2"))),
        ("keep", "| logfmt | keep a", "a=1 b=2", Some(("a=1 b=2", "a=1"))),
        ("decolorize", "| decolorize", "\u{1b}[31mred\u{1b}[0m", Some(("red", ""))),
        (
            "line_format",
            r#"| json | line_format "{{.timestamp}} {{.message}}" | keep job"#,
            json,
            Some(("T User created", "")),
        ),
        (
            "missing label prints nothing",
            r#"| line_format "[{{.nothing}}] [{{ .nothing | ToUpper }}]""#,
            "l",
            Some(("[] []", "")),
        ),
        ("label_format", r#"| logfmt | label_format c=a, d="{{.b}}!""#, "a=1 b=2", Some(("a=1 b=2", "b=2 c=1 d=2!"))),
        (
            "templates see the labels before",
            r#"| logfmt | label_format a="{{.b}}", b="{{.a}}", c=d, e="{{.c}}{{.d}}""#,
            "a=1 b=2 c=3 d=4",
            Some(("a=1 b=2 c=3 d=4", "a=2 b=1 c=4 e=34")),
        ),
        (
            "renames between templates",
            r#"| logfmt | label_format x=a, y="{{.x}}", z=b, w="{{.b}}{{.z}}""#,
            "a=1 b=2",
            Some(("a=1 b=2", "w=2 x=1 y=1 z=2")),
        ),
        (
            "templates without any label",
            r#"| keep none | label_format x="X", y="{{.x}}", z="{{.y}}""#,
            "l",
            Some(("l", "x=X y=X")),
        ),
        (
            "failing template",
            r#"| line_format "{{ unixToTime .app }}""#,
            "l",
            Some(("l", "__error__=TemplateFormatErr")),
        ),
        (
            "failing escape",
            r#"| line_format "{{ urldecode .app }}{{ urldecode `%zz` }}""#,
            "l",
            Some(("l", "__error__=TemplateFormatErr")),
        ),
        ("dividing by zero", r#"| line_format "{{ divf 1 0 }}""#, "l", Some(("l", "__error__=TemplateFormatErr"))),
        ("beyond the end", r#"| line_format "{{ substr 5 2 .job }}""#, "l", Some(("l", "__error__=TemplateFormatErr"))),
        (
            "less than nothing",
            r#"| line_format "{{ repeat -1 .job }}""#,
            "l",
            Some(("l", "__error__=TemplateFormatErr")),
        ),
        (
            "more colours",
            "| decolorize",
            "\u{1b}[1;31;40mred\u{1b}[0m \u{1b}]0;t\u{7}x \u{9b}2Ky",
            Some(("red x y", "")),
        ),
    ] {
        let want = want.map(|(line, labels): (&str, &str)| (line.to_owned(), labels.to_owned()));
        assert_eq!(run(pipeline, line), want, "{case}: {pipeline}");
    }
}

#[test]
fn templates_know_lokis_functions() {
    for (template, want) in [
        ("{{ .app | ToUpper }}", "X"),
        ("{{ Replace .job \"a\" \"b\" -1 }}", "bpi"),
        ("{{ __line__ | count \"l\" }}", "2"),
        ("{{ __timestamp__ | unixEpochMillis }}", "1706189400500"),
        ("{{ sub (unixEpoch now) (unixEpoch __timestamp__) }}", "600"),
        ("{{ date \"2006-01-02\" __timestamp__ }}", "2024-01-25"),
        ("{{ unixEpoch (toDate \"2006-01-02\" \"2024-01-25\") }}", "1706140800"),
        (
            "{{ div 7 2 }} {{ divf 7 2 }} {{ add 1 2 3 }} {{ mod 7 4 }} {{ floor 1.9 }} {{ round 1.256 2 }}",
            "3 3.5 6 3 1 1.26",
        ),
        ("{{ .nothing | default \"-\" }}", "-"),
        ("{{ if eq .app \"x\" }}yes{{ else }}no{{ end }}", "yes"),
        ("{{ range $q := fromJson \"[{\\\"a\\\":1},{\\\"a\\\":2}]\" }}{{ $q.a }};{{ end }}", "1;2;"),
        ("{{ alignLeft 3 .app }}|{{ alignRight 3 .app }}|{{ trunc 2 .job }}|{{ substr 1 3 .job }}", "x  |  x|ap|pi"),
        ("{{ regexReplaceAll \"(a)p\" .job \"${1}-\" }} {{ regexReplaceAllLiteral \"a\" .job \"$1\" }}", "a-i $1pi"),
        (
            "{{ b64enc .job }} {{ b64dec \"YXBp\" }} {{ urlencode \"a b\" }} {{ urldecode \"a%20b\" }}",
            "YXBp api a+b a b",
        ),
        (
            "{{ duration \"1m30s\" }} {{ bytes \"2KB\" }} {{ title \"two words\" }} {{ repeat 2 .app }}",
            "90 2000 Two Words xx",
        ),
        (
            "{{ contains \"p\" .job }} {{ hasPrefix \"a\" .job }} {{ trimSuffix \"i\" .job }} {{ TrimPrefix .job \"a\" }}",
            "true true ap pi",
        ),
        ("{{ indent 2 \"a\\nb\" }}{{ nindent 1 \"c\" }}", "  a\n  b\n c"),
        ("{{ ToLower \"Ab\" }} {{ lower \"Ab\" }} {{ ToUpper \"Ab\" }} {{ upper \"Ab\" }}", "ab ab AB AB"),
        ("{{ Trim \"--a--\" \"-\" }} {{ TrimLeft \"--a--\" \"-\" }} {{ TrimRight \"--a--\" \"-\" }}", "a a-- --a"),
        (
            "{{ TrimSuffix \"a.log\" \".log\" }} {{ trimPrefix \"x\" \"xa\" }} {{ TrimSpace \" a \" }}{{ trim \" b \" }}",
            "a a ab",
        ),
        ("{{ trimAll \"$\" \"$5$\" }} {{ hasSuffix \"i\" .job }} {{ replace \"a\" \"o\" .job }}", "5 true opi"),
        ("{{ addf 1.5 2 }} {{ subf 5 1.5 }} {{ mulf 2 1.25 }} {{ mul 2 3 4 }} {{ sub 5 2 }}", "3.5 3.5 2.5 24 3"),
        (
            "{{ max 1 5 3 }} {{ min 4 2 }} {{ maxf 1.5 2.5 }} {{ minf 1.5 2.5 }} {{ ceil 1.1 }} {{ int \"7\" }} {{ float64 \"1.5\" }}",
            "5 2 2.5 1.5 2 7 1.5",
        ),
        ("{{ alignLeft -1 .job }} {{ trunc -2 .job }} {{ substr 0 -1 .job }}", "api pi api"),
        ("{{ title \"it's a two-word é\" }}", "It'S A Two-Word É"),
        ("{{ b64dec \"!\" }} {{ b64dec \"YXBpcw==\" }}", "illegal base64 data at input byte 0 apis"),
        (
            "{{ b64dec \"aGVsbG8\" }} {{ b64dec \"====\" }} {{ b64dec \"aGVsbG=8\" }}",
            "illegal base64 data at input byte 4 illegal base64 data at input byte 0 illegal base64 data at input byte 6",
        ),
        (
            "{{ upper \"ßé\" }} {{ lower \"İÉ\" }} {{ default \"d\" }} {{ substr -1 2 .job }} {{ regexReplaceAll \"p*\" .job \"-\" }}",
            "ßÉ ié d ap -a-i-",
        ),
        ("{{ (fromJson \"nothing\") | default \"none\" }}", "none"),
        ("{{ printf \"%05.1f|%-4s|%q\" 3.14159 .app .job }}", "003.1|x   |\"api\""),
        (
            "{{ unixToTime \"19373\" | date \"2006-01-02\" }} {{ unixToTime \"1673798889902\" | unixEpochMillis }}",
            "2023-01-16 1673798889902",
        ),
        ("{{ toDateInZone \"2006-01-02 15:04\" \"Europe/Berlin\" \"2024-01-25 14:30\" | unixEpoch }}", "1706189400"),
        ("{{ toDateInZone \"2006-01-02\" \"Nowhere\" \"2024-01-25\" | unixEpoch }}", "1706140800"),
        ("{{ toDate \"2006-01-02\" \"never\" }}", "0001-01-01 00:00:00 +0000 UTC"),
        (
            "{{ __timestamp__ }} {{ unixEpochNanos __timestamp__ }}",
            "2024-01-25 13:30:00.5 +0000 UTC 1706189400500000000",
        ),
        ("{{ range $name, $value := . }}{{ $name }}={{ $value }} {{ end }}", "app=x job=api pod=p1 "),
        (
            "{{ $.job }}{{ index . \"app\" }}{{ regexReplaceAll .app .job \"?\" }}{{ regexReplaceAll .job .job \"?\" }}",
            "apixapi?",
        ),
        ("{{ duration_seconds \"250ms\" }} {{ bytes \"1KiB\" }}", "0.25 1024"),
        (
            "{{ with .app }}[{{ . }}]{{ end }}{{ $x := .job }}{{ $x | len }}{{ if and .app (not .none) }}!{{ end }}",
            "[x]3!",
        ),
    ] {
        let stage = format!("| line_format `{template}`");
        assert_eq!(run(&stage, "hello").map(|(line, _)| line).as_deref(), Some(want), "{template}");
    }
}

#[test]
fn the_lines_own_time_can_be_compared() {
    for (case, pipeline, line, kept) in [
        ("later than whole seconds", "| __timestamp__ > 1706189400", "l", true),
        ("fraction", "| __timestamp__ > 1706189400.5", "l", false),
        ("milliseconds", "| __timestamp__ >= 1706189400500", "l", true),
        ("microseconds", "| __timestamp__ < 1706189400500000", "l", false),
        ("nanoseconds", "| __timestamp__ == 1706189400500000000", "l", true),
        ("also after a failed parser", "| json | __timestamp__ < 5", "l", false),
        ("a label of the line wins", "| logfmt | __timestamp__ < 5", "__timestamp__=4", true),
        ("not as a text", "| __timestamp__ =~ \".+\"", "l", false),
        ("a duration does not compare", "| __timestamp__ > 5m | __error__=\"\"", "l", false),
        ("a duration marks the line", "| __timestamp__ > 5m | __error__=\"LabelFilterErr\"", "l", true),
    ] {
        let answer = run(pipeline, line);
        assert_eq!(answer.is_some(), kept, "{case}");
        let labels = answer.map(|(_, labels)| labels).unwrap_or_default();
        assert!(!labels.contains("__timestamp__=17"), "{case}: never a label");
    }
}

#[test]
fn templates_cannot_exhaust_the_machine() {
    let deep = format!("{{{{ {}1{} }}}}", "(".repeat(5000), ")".repeat(5000));
    assert!(Template::new("line", &deep).is_err());
    assert!(Template::new("line", &"{{if .a}}".repeat(5000)).is_err());
    assert_eq!(
        run("| line_format `{{ repeat 99999999 .job }}`", "l").map(|(_, labels)| labels).as_deref(),
        Some("__error__=TemplateFormatErr")
    );
}

#[test]
fn a_line_of_very_many_names_is_read_in_time() {
    let json: Vec<String> = (0..20_000).map(|i| format!("\"k{i}\":{i}")).collect();
    let logfmt: Vec<String> = (0..20_000).map(|i| format!("k{i}={i}")).collect();
    for (pipeline, line) in
        [("| json | k19999 = 19999", format!("{{{}}}", json.join(","))), ("| logfmt | k19999 > 5", logfmt.join(" "))]
    {
        let (_, labels) = run(pipeline, &line).expect(pipeline);
        assert_eq!(labels.split(' ').count(), 20_000, "{pipeline}");
    }
}

/// Lines of every kind, broken ones among them.
fn any_line() -> impl Strategy<Value = String> {
    let key =
        prop_oneof![Just("level"), Just("a"), Just("a-b"), Just("app"), Just("pod"), Just("x y"), Just("9"), Just("")];
    let text = prop_oneof![
        "[a-z0-9]{0,12}",
        "[a-z\\\\\"u0-9é/]{0,10}",
        Just("10.0.0.1".to_owned()),
        Just("5.5".to_owned()),
        Just("250ms".to_owned()),
    ];
    let value = prop_oneof![
        text.clone().prop_map(|text| format!("\"{text}\"")),
        (-9..99_i32).prop_map(|number| number.to_string()),
        prop_oneof![Just("true"), Just("null"), Just("[1,{\"a\":2}]"), Just("tru"), Just("")].prop_map(str::to_owned),
    ]
    .boxed();
    let object = |value: BoxedStrategy<String>| {
        proptest::collection::vec((key.clone(), value), 0..6)
            .prop_map(|members| {
                let members: Vec<_> = members.iter().map(|(key, value)| format!("\"{key}\": {value}")).collect();
                format!("{{{}}}", members.join(","))
            })
            .boxed()
    };
    let json = object(prop_oneof![value.clone(), object(prop_oneof![value.clone(), object(value)].boxed())].boxed());
    let logfmt =
        proptest::collection::vec((key, prop_oneof![text.clone(), text.prop_map(|text| format!("\"{text}\""))]), 0..6)
            .prop_map(|pairs| pairs.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" "));
    let cut = (json.clone(), 0..100_usize).prop_map(|(line, end)| line.chars().take(end).collect());
    prop_oneof![json, cut, logfmt, ".{0,20}"]
}

fn any_pipeline() -> impl Strategy<Value = String> {
    let name = || {
        prop_oneof![
            Just("level"),
            Just("a"),
            Just("a_b"),
            Just("a_a"),
            Just("app_extracted"),
            Just("pod_extracted"),
            Just("_9"),
            Just("app"),
            Just("__error__")
        ]
    };
    let parser = prop_oneof![
        Just("| json"),
        Just("| logfmt"),
        Just("| logfmt --strict --keep-empty"),
        Just("| json level=\"a.level\", a"),
        Just("| logfmt a_b, level=\"a\""),
        Just("| unpack"),
        Just("| pattern \"<level>=<a> <_>\""),
        Just("| regexp \"(?P<a>[0-9]+)(?P<a_b>[a-z])?\""),
    ];
    let stage = prop_oneof![
        parser.clone().prop_map(str::to_owned),
        name().prop_map(|name| format!("| {name} = \"5.5\" or {name} =~ \".+\"")),
        name().prop_map(|name| format!("| {name} > 3 or {name} < 100ms, {name} != ip(\"10.0.0.1\")")),
        name().prop_map(|name| format!("| line_format \"{{{{.{name}}}}} {{{{ .level | ToUpper }}}}\"")),
        (name(), name())
            .prop_filter("errors cannot be set", |(to, _)| *to != "__error__")
            .prop_map(|(to, from)| format!("| label_format {to}={from}")),
        (name(), name())
            .prop_filter("errors cannot be set", |(to, _)| *to != "__error__")
            .prop_map(|(to, from)| format!("| label_format {to}=\"<{{{{.{from}}}}}>\"")),
        (name(), name()).prop_map(|(one, two)| format!("| drop {one}, {two}=\"1\"")),
        (name(), name()).prop_map(|(one, two)| format!("| keep {one}, {two}=~\".+\", level")),
        Just("| decolorize".to_owned()),
        Just("!= \"zzz\"".to_owned()),
    ];
    (parser, proptest::collection::vec(stage, 0..5)).prop_map(|(first, rest)| format!("{first} {}", rest.join(" ")))
}

proptest! {
    #[test]
    fn hints_change_nothing_that_is_looked_at(
        line in any_line(),
        pipeline in any_pipeline(),
        wanted in proptest::sample::select(vec!["level", "a", "a_b", "a_extracted", "app_extracted", "pod_extracted"]),
    ) {
        let query = format!("sum by ({wanted}) (count_over_time({{job=\"api\"}} {pipeline} [1m]))");
        let parsed = parse(&query).map_err(|error| TestCaseError::fail(format!("{query}: {error}")))?;
        let Expr::Metric(MetricExpr::Aggregate { inner, grouping, .. }) = parsed else { panic!("{query}") };
        let MetricExpr::Range(range) = *inner else { panic!("{query}") };
        let names = required_labels(&range, grouping.as_ref()).unwrap();
        let stream = Labels::from_pairs([("job", "api"), ("app", "x")]);
        let line = LogLine { at: Nanos(5), line, metadata: Labels::from_pairs([("pod", "p1"), ("app", "y")]) };
        let full = Pipeline::new(&range.log.stages, Nanos(9)).unwrap();
        let hinted = Pipeline::with_hints(&range.log.stages, Nanos(9), Some(Hints::new(names.iter().cloned()))).unwrap();
        let (full, hinted) = (full.run(&stream, (&line).into()), hinted.run(&stream, (&line).into()));
        prop_assert_eq!(full.is_some(), hinted.is_some(), "{}", query);
        if let (Some(full), Some(hinted)) = (full, hinted) {
            prop_assert_eq!(&full.line, &hinted.line, "{}", query);
            for name in names.iter().map(String::as_str).chain([Error::LABEL, Error::DETAILS]) {
                prop_assert_eq!(full.get(name), hinted.get(name), "{}: {}", query, name);
            }
        }
    }
}
