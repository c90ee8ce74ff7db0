//! LogQL texts: what is refused and how, and that what is printed reads the same.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test stops where its data is wrong")]

use aegis_query::logql::{Expr, parse};
use proptest::prelude::*;

#[test]
fn refusals_are_worded_as_loki_words_them() {
    for (query, want) in [
        ("{foo=", "parse error at line 1, col 6: syntax error: unexpected $end, expecting STRING"),
        ("{foo=\"bar}", "parse error at line 1, col 6: literal not terminated"),
        ("{foo=\"bar\"", "parse error at line 1, col 11: syntax error: unexpected $end, expecting } or ,"),
        ("{foo=\"bar\"} |~", "parse error at line 1, col 15: syntax error: unexpected $end, expecting STRING or ip"),
        ("{foo=\"bar\"} \"foo\"", "parse error at line 1, col 13: syntax error: unexpected STRING"),
        ("unk({foo=\"bar\"}[5m])", "parse error at line 1, col 1: syntax error: unexpected IDENTIFIER"),
        ("rate({a=\"b\"}[5])", "parse error at line 0, col 13: not a valid duration string: \"5\""),
        ("rate({a=\"b\"}[5)", "parse error at line 0, col 13: missing closing ']' in duration"),
        ("rate({a=\"b\"}[5m]", "parse error at line 1, col 17: syntax error: unexpected $end, expecting )"),
        ("{a=\"b\"} | unwrap foo", "parse error at line 1, col 11: syntax error: unexpected unwrap"),
        ("{a=\"\\d\"}", "parse error at line 1, col 4: invalid char escape"),
        ("topk(rate({a=\"b\"}[5m]))", "parse error : parameter required for operation topk"),
        ("sum_over_time({a=\"b\"}[5m])", "parse error : invalid aggregation sum_over_time without unwrap"),
        ("rate({a=\"b\"}[5m]) by (a)", "parse error : grouping not allowed for rate aggregation"),
        ("1 and 2", "parse error : unexpected literal for left leg of logical/set binary operation (and): 1.000000"),
        ("1 + {a=\"b\"}", "parse error : unexpected type for right leg of binary operation (+): *syntax.MatchersExpr"),
        ("{a=\"b\"} |~ \"(\"", "parse error : stage '|~ \"(\"' : error parsing regexp: missing closing ): `(`"),
        (
            "{a=\"b\"} | pattern \"<a><b>\"",
            "parse error : invalid pattern parser: found consecutive capture '<a><b>': invalid expression",
        ),
        (
            "{a=\"b\"} | line_format \"{{nofunc .foo}}\"",
            "parse error : stage '| line_format \"{{nofunc .foo}}\"' : invalid line template: template: line:1: function \"nofunc\" not defined",
        ),
        (
            "{a=\"b\"} | label_format __error__=\"x\"",
            "parse error : stage '| label_format __error__=\"x\"' : __error__ cannot be formatted",
        ),
        (
            "{a=\"b\"} |= ip(\"1.1.1.1/33\")",
            "parse error : stage '|= ip(\"1.1.1.1/33\")' : ip: invalid pattern: \"1.1.1.1/33\"",
        ),
    ] {
        assert_eq!(parse(query).unwrap_err().to_string(), want, "{query}");
    }
    let empty = parse("{a=~\".*\"}").unwrap_err().to_string();
    assert!(empty.starts_with("parse error : queries require at least one regexp or equality matcher"), "{empty}");
}

#[test]
fn depth_and_length_are_limited() {
    for query in [
        format!("{}1{}", "(".repeat(100_000 / 2), ")".repeat(100_000 / 2)),
        format!("{}rate({{a=\"b\"}}[1m]){}", "sum(".repeat(10_000), ")".repeat(10_000)),
        format!("{{a=\"b\"}} | {}x=1{}", "(".repeat(10_000), ")".repeat(10_000)),
        format!("rate({}{{a=\"b\"}}[1m]{})", "(".repeat(10_000), ")".repeat(10_000)),
        format!("1{}", "+1".repeat(10_000)),
        format!("1{}", "^1".repeat(10_000)),
        "{a=\"b\"} |= \"".to_owned() + &"x".repeat(200_000) + "\"",
    ] {
        assert!(parse(&query).is_err(), "{:.40}", query);
    }
}

/// Log pipelines made of every kind of stage.
fn stage() -> impl Strategy<Value = String> {
    let name = "[a-z]{3,6}x";
    let text = proptest::string::string_regex("[ -~\t\né]{0,8}")
        .unwrap()
        .prop_map(|text| format!("{text:?}").replace("\\'", "'").replace("\\u{7f}", ""))
        .boxed();
    prop_oneof![
        (prop_oneof![Just("|="), Just("!=")], proptest::collection::vec(text.clone(), 1..3))
            .prop_map(|(op, terms)| format!("{op} {}", terms.join(" or "))),
        (prop_oneof![Just("|~"), Just("!~")], "([a-z.][*+?]?){0,5}").prop_map(|(op, regex)| format!("{op} `{regex}`")),
        Just("|> \"<_> a\" or `b <_>`".to_owned()),
        Just("!> `<_>`".to_owned()),
        Just("|= ip(\"10.0.0.0/8\") or \"x\" or ip(\"::1\")".to_owned()),
        Just("| logfmt --strict a, b=\"c_d\"".to_owned()),
        Just("| line_format `{{.a}} \\d`".to_owned()),
        name.prop_map(|name| format!(
            "| ({name}=`a` or {name}!~\"b.*\") and {name}==0x1p4 {name}>=1.5e3, {name}<=-5m30s"
        )),
        name.prop_map(|name| format!("| __error__=\"\" | {name}!=ip(\"::1\") or ({name} = 5KiB, {name}<1GB)")),
        Just("| json".to_owned()),
        name.prop_map(|name| format!("| json {name}=\"a.b[0]\", other")),
        Just("| logfmt --strict --keep-empty".to_owned()),
        Just("| regexp \"(?P<r>\\\\w+)\"".to_owned()),
        Just("| pattern `<p> - <_>`".to_owned()),
        Just("| unpack".to_owned()),
        Just("| decolorize".to_owned()),
        (name, text.clone()).prop_map(|(name, text)| format!(
            "| {name} != {text} or {name}>5,{name}<=-1.5 and ({name}>=250ms or {name}<2KB)"
        )),
        name.prop_map(|name| format!("| {name}=ip(\"10.0.0.0/8\")")),
        name.prop_map(|name| format!("| label_format {name}=other, second=\"{{{{.third}}}}\"")),
        (name, text).prop_map(|(name, text)| format!("| drop {name}, other={text}")),
        name.prop_map(|name| format!("| keep {name}, other=~\"a.*\"")),
    ]
}

fn query() -> impl Strategy<Value = String> {
    let log = proptest::collection::vec(stage(), 0..4)
        .prop_map(|stages| format!("{{a=\"b\", c!~\"d|e\"}} {}", stages.join(" ")))
        .boxed();
    let window = log.clone().prop_flat_map(|log| {
        prop_oneof![
            Just(format!("rate({log}[5m] offset -1h30m)")),
            Just(format!("count_over_time({log}[1500ms])")),
            Just(format!("quantile_over_time(0.95, {log} | unwrap duration(took) | __error__=\"\" [1d]) by (x, y)")),
            Just(format!("max_over_time(({log} | unwrap n)[5m]) without (z)")),
            Just(format!("rate_counter({log} | unwrap bytes(n) [5m] offset 5m)")),
            Just(format!("sum_over_time({log} | unwrap duration_seconds(n) | n > 5 or m = \"x\" | k = \"\" [1w])")),
            Just(format!("absent_over_time({log}[1y2d3h4m5s6ms7us8ns])")),
            Just(format!("first_over_time({log} | unwrap n [5m]) by ()")),
            Just(format!("bytes_rate((({log}))[5m])")),
        ]
    });
    let metric = prop_oneof![window, (-1000_i32..1000).prop_map(|n| n.to_string()), Just("vector(0.5)".to_owned())];
    let metric = metric.prop_recursive(4, 16, 2, |inner| {
        prop_oneof![
            inner.clone().prop_map(|inner| format!("sum by (a, b) ({inner})")),
            inner.clone().prop_map(|inner| format!("topk(3, {inner}) without (c)")),
            inner.clone().prop_map(|inner| format!("sort_desc(bottomk by (a) (1, {inner}))")),
            inner.clone().prop_map(|inner| format!("approx_topk(2, stddev({inner}) by ())")),
            (inner.clone(), inner.clone(), prop_oneof![Just("and"), Just("or on ()"), Just("unless ignoring (a, b)")])
                .prop_map(|(left, right, op)| format!("(sum({left}) {op} ({right} * vector(2)))")),
            inner.clone().prop_map(|inner| format!("label_replace({inner}, \"t\", \"$1\", \"s\", \"(.*)\")")),
            (
                inner.clone(),
                inner,
                prop_oneof![
                    Just("+"),
                    Just("/"),
                    Just("^"),
                    Just("> bool"),
                    Just("== on (a) group_left (b)"),
                    Just("- ignoring (c)"),
                    Just("% on (a) group_right ()"),
                    Just("!= bool ignoring () group_left (b, c)"),
                    Just("<="),
                ]
            )
                .prop_map(|(left, right, op)| format!("{left} {op} {right}")),
        ]
    });
    prop_oneof![log, metric]
}

proptest! {
    #[test]
    fn random_text_never_panics(text in "\\PC{0,60}") {
        let _ = parse(&text);
    }

    #[test]
    fn random_tokens_never_panic(words in proptest::collection::vec(prop_oneof![
        Just("{"), Just("}"), Just("("), Just(")"), Just("[5m]"), Just("|"), Just("|="), Just("!="), Just("json"), Just("a"), Just("="),
        Just("\"x\""), Just("sum"), Just("rate"), Just("by"), Just(","), Just("5"), Just("unwrap"), Just("offset"), Just("5m"), Just("or"),
        Just("ip"), Just("label_replace"), Just("+"), Just("-"), Just("drop"), Just("é"), Just("`"), Just("["),
    ], 0..24)) {
        let _ = parse(&words.join(" "));
    }

    #[test]
    fn what_is_printed_reads_the_same(text in query()) {
        let expr: Expr = parse(&text).map_err(|error| TestCaseError::fail(format!("{text}: {error}")))?;
        let printed = expr.to_string();
        let again = parse(&printed).map_err(|error| TestCaseError::fail(format!("{printed}: {error}")))?;
        prop_assert_eq!(expr, again, "{}", printed);
    }
}
