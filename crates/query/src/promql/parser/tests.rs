use proptest::prelude::*;

use super::*;

fn error(text: &str) -> String {
    match parse(text) {
        Ok(expr) => format!("parsed as {expr}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn canonical_text_of_what_was_read() {
    for (text, want) in [
        ("up", "up"),
        ("up { job = 'a' , }", "up{job=\"a\"}"),
        ("{__name__=\"up\"}", "{__name__=\"up\"}"),
        ("{\"up\"}", "{__name__=\"up\"}"),
        ("{\"my.metric\", 'a.b'=`c\"d`}", "{\"a.b\"=\"c\\\"d\",__name__=\"my.metric\"}"),
        ("a:b:c{x=~\".+\",z!=\"\",y!~\"z|\"}", "a:b:c{x=~\".+\",y!~\"z|\",z!=\"\"}"),
        ("sum{a=\"b\"}", "sum{a=\"b\"}"),
        ("up[5m]", "up[5m]"),
        ("up[300]", "up[5m]"),
        ("up[1h30m:]", "up[1h30m:]"),
        ("up[1h:30s] offset -5m", "up[1h:30s] offset -5m"),
        ("up OFFSET 5m @ 10.5", "up @ 10.500 offset 5m"),
        ("up offset 0s", "up"),
        ("up[5m + 60]", "up[5m + 60]"),
        ("up[2 * (10m+5m) - 1h % 7m : 10 ^ 1]", "up[2 * (10m + 5m) - 1h % 7m:10 ^ 1]"),
        ("up offset -(2 * 1m)", "up offset -(2 * 1m)"),
        ("up offset -step()", "up offset -step()"),
        ("up[MAX(step(), 1m) : min_of(range(), 5)]", "up[max(step(), 1m):min(range(), 5)]"),
        ("up offset 5m + 1", "up offset 5m + 1"),
        ("up anchored", "up anchored"),
        ("up offset 1m smoothed @ 5", "up @ 5.000 smoothed offset 1m"),
        ("up[5m] smoothed offset 1m", "up[5m] smoothed offset 1m"),
        ("up @ -1", "up @ -1.000"),
        ("up @ +1m", "up @ 60.000"),
        ("up[5m] @ START()", "up[5m] @ start()"),
        ("rate(up[5m] @ end())", "rate(up[5m] @ end())"),
        ("1 + 2 * 3", "1 + 2 * 3"),
        ("(1 + 2) * 3", "(1 + 2) * 3"),
        ("-1", "-1"),
        ("- -up", "--up"),
        ("-up ^ 2", "-up ^ 2"),
        ("0x10 + 1_000 + .5 + 1e3 + 5. + 0755 + 08", "16 + 1000 + 0.5 + 1000 + 5 + 493 + 8"),
        ("5m + inf + NaN", "5m + +Inf + NaN"),
        ("\"a\\n\"", "\"a\\n\""),
        ("a == BOOL b", "a == bool b"),
        ("a / on (x) b", "a / on (x) b"),
        ("a / on () b", "a / on () b"),
        ("a / ignoring () b", "a / b"),
        ("a * ignoring(x) group_left(y, \"z.z\") b", "a * ignoring (x) group_left (y, \"z.z\") b"),
        ("a * on (x) GROUP_RIGHT b", "a * on (x) group_right () b"),
        ("a + fill(0) b", "a + fill (0) b"),
        (
            "a + on (x) group_left fill_right(-1) fill_left(5m) b",
            "a + on (x) group_left () fill_left (300) fill_right (-1) b",
        ),
        ("fill + fill(NaN) fill_left", "fill + fill (NaN) fill_left"),
        ("a and on (x,) b or c unless d", "a and on (x) b or c unless d"),
        ("and and or", "and and or"),
        ("a atan2 b", "a atan2 b"),
        ("sum(up)", "sum(up)"),
        ("sum(sum)", "sum(sum)"),
        ("SUM BY (job, by, a:b) (up)", "sum by (job, by, a:b) (up)"),
        ("sum(up) without (job)", "sum without (job) (up)"),
        ("sum without () (up)", "sum without () (up)"),
        ("topk by (job) (3, up)", "topk by (job) (3, up)"),
        ("limit_ratio(-0.5, up)", "limit_ratio(-0.5, up)"),
        ("count_values(\"v\", up)", "count_values(\"v\", up)"),
        ("label_join(up, \"a\", \"b\")", "label_join(up, \"a\", \"b\")"),
        ("info(up, {a=~\".*\"})", "info(up, {a=~\".*\"})"),
        ("time()", "time()"),
        ("hour()", "hour()"),
        ("round(up, 5)", "round(up, 5)"),
        ("up # a comment\n + # another\n 1", "up + 1"),
        ("offset", "offset"),
        ("step + range + start + end", "step + range + start + end"),
        ("rate", "rate"),
    ] {
        let expr = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(expr.to_string(), want, "{text}");
        assert_eq!(parse(want).unwrap().to_string(), want, "{text} again");
    }
}

#[test]
fn long_queries_are_broken_into_lines() {
    let name = "a_metric_with_a_name_that_is_long_enough_to_fill_most_of_one_line_by_itself";
    let text = format!("sum by (job) (rate({name}{{job=\"x\"}}[5m])) / on (job) group_left () (topk(5, {name}) + 1)");
    insta::assert_snapshot!(parse(&text).unwrap().pretty(), @r#"
      sum by (job) (
        rate(a_metric_with_a_name_that_is_long_enough_to_fill_most_of_one_line_by_itself{job="x"}[5m])
      )
    / on (job) group_left ()
      (topk(5, a_metric_with_a_name_that_is_long_enough_to_fill_most_of_one_line_by_itself) + 1)
    "#);
    let text = format!("-max_over_time(({name} > bool {name})[1h:5m] offset 1d)");
    insta::assert_snapshot!(parse(&text).unwrap().pretty(), @r"
    -max_over_time(
      (
          a_metric_with_a_name_that_is_long_enough_to_fill_most_of_one_line_by_itself
        > bool
          a_metric_with_a_name_that_is_long_enough_to_fill_most_of_one_line_by_itself
      )[1h:5m] offset 1d
    )
    ");
    assert_eq!(parse("sum(  up )by(a)").unwrap().pretty(), "sum by (a) (up)");
}

#[test]
fn operators_bind_as_in_prometheus() {
    for (text, same) in [
        ("a + b * c ^ d ^ e", "a + (b * (c ^ (d ^ e)))"),
        ("a - b - c", "(a - b) - c"),
        ("a == b and c or d", "((a == b) and c) or d"),
        ("a or b and c", "a or (b and c)"),
        ("a unless b and c", "(a unless b) and c"),
        ("a < b + c", "a < (b + c)"),
        ("a % b atan2 c", "(a % b) atan2 c"),
        ("-a * b", "(-a) * b"),
        ("-a ^ b", "-(a ^ b)"),
    ] {
        fn bare(expr: &Expr) -> String {
            match expr {
                Expr::Paren(inner, _) => bare(inner),
                Expr::Binary(binary) => format!("[{} {:?} {}]", bare(&binary.left), binary.op, bare(&binary.right)),
                Expr::Unary(unary) => format!("[- {}]", bare(&unary.expr)),
                other => other.to_string(),
            }
        }
        assert_eq!(bare(&parse(text).unwrap()), bare(&parse(same).unwrap()), "{text}");
    }
}

#[test]
fn mistakes_are_named_as_upstream_names_them() {
    for (text, want) in [
        ("", "unknown position: parse error: no expression found in input"),
        ("# only a comment", "unknown position: parse error: no expression found in input"),
        // What cannot be a token.
        ("up(", "1:4: parse error: unclosed left parenthesis"),
        ("((1)", "1:5: parse error: unclosed left parenthesis"),
        ("(1))", "1:5: parse error: unexpected right parenthesis ')'"),
        ("up{", "1:4: parse error: unexpected end of input inside braces"),
        ("up[", "1:4: parse error: unexpected end of input in duration expression"),
        ("up[5m", "1:6: parse error: unclosed left bracket"),
        ("up]", "1:3: parse error: unexpected right bracket ']'"),
        ("up}", "1:3: parse error: unexpected character: '}'"),
        ("up{{", "1:4: parse error: unexpected left brace '{'"),
        ("up{a=\"b\" $}", "1:10: parse error: unexpected character inside braces: '$'"),
        ("$", "1:1: parse error: unexpected character: '$'"),
        (".", "1:1: parse error: unexpected character: '.'"),
        ("1 !~ 1", "1:3: parse error: unexpected character after '!': '~'"),
        ("1 =~ 1", "1:3: parse error: unexpected character after '=': '~'"),
        ("\"open", "1:1: parse error: unterminated quoted string"),
        ("`open", "1:1: parse error: unterminated raw string"),
        ("\"\\c\"", "1:1: parse error: unknown escape sequence U+0063 'c'"),
        ("\"\\x.\"", "1:1: parse error: illegal character U+002E '.' in escape sequence"),
        ("2.5.", "1:1: parse error: bad number or duration syntax: \"2.5.\""),
        ("100..4", "1:1: parse error: bad number or duration syntax: \"100..\""),
        ("0deadbeef", "1:1: parse error: bad number or duration syntax: \"0de\""),
        ("1__0", "1:1: parse error: bad number or duration syntax: \"1__\""),
        ("1e400", "1:1: parse error: error parsing number: strconv.ParseFloat: parsing \"1e400\": value out of range"),
        ("foo[5mm]", "1:5: parse error: bad number or duration syntax: \"5mm\""),
        ("foo[5m1]", "1:5: parse error: bad number or duration syntax: \"5m1\""),
        ("foo[5y1hs]", "1:5: parse error: unknown unit \"hs\" in duration \"5y1hs\""),
        ("foo[5m1h]", "1:5: parse error: not a valid duration string: \"5m1h\""),
        ("foo[5m1m]", "1:5: parse error: not a valid duration string: \"5m1m\""),
        ("foo[999999y]", "1:5: parse error: duration out of range"),
        ("foo[\"5m\"]", "1:5: parse error: unexpected character in duration expression: '\"'"),
        ("foo[a]", "1:5: parse error: unexpected character in duration expression: 'a'"),
        ("foo[$__interval]", "1:5: parse error: unexpected character in duration expression: '$'"),
        ("foo[5m + a]", "1:10: parse error: unexpected character: 'a', expected ':'"),
        ("foo[:]", "1:6: parse error: unexpected colon before duration in duration expression"),
        ("foo[5m:1m:1m]", "1:10: parse error: unexpected colon ':'"),
        // Tokens out of place.
        ("1 +", "1:4: parse error: unexpected end of input"),
        ("1 + * 2", "1:5: parse error: unexpected <op:*>"),
        ("@@", "1:1: parse error: unexpected <op:@>"),
        ("-=", "1:2: parse error: unexpected \"=\""),
        ("up\n  up", "2:3: parse error: unexpected identifier \"up\""),
        ("up a_very_long_name", "1:4: parse error: unexpected identifier \"a_very_long_name\""),
        ("up \"a very long text\"", "1:4: parse error: unexpected string \"\\\"a very lo\"..."),
        ("up SUM", "1:4: parse error: unexpected <aggr:SUM>"),
        ("a - on(b) ignoring(c) d", "1:11: parse error: unexpected <ignoring>"),
        ("sum some_metric by (test)", "1:5: parse error: unexpected identifier \"some_metric\""),
        (
            "sum (some_metric) by test",
            "1:22: parse error: unexpected identifier \"test\" in grouping opts, expected \"(\"",
        ),
        ("sum (some_metric) without (test) by (test)", "1:34: parse error: unexpected <by>"),
        ("sum(rate(up[5m]) by (job)", "1:18: parse error: unexpected <by> in aggregation"),
        ("sum(abs(up up))", "1:12: parse error: unexpected identifier \"up\" in aggregation"),
        ("abs(sum(up) up)", "1:13: parse error: unexpected identifier \"up\""),
        ("sum without(==)(up)", "1:13: parse error: unexpected <op:==> in grouping opts, expected label"),
        ("sum without(foo,,)(up)", "1:17: parse error: unexpected \",\" in grouping opts, expected label"),
        ("sum by (1) (up)", "1:9: parse error: unexpected number \"1\" in grouping opts, expected label"),
        ("abs(up,)", "1:7: parse error: trailing commas not allowed in function call args"),
        ("topk(up,)", "1:8: parse error: trailing commas not allowed in function call args"),
        ("start(up)", "1:6: parse error: unexpected \"(\""),
        ("foo[]", "1:5: parse error: unexpected \"]\" in subquery or range selector, expected number or duration"),
        ("foo[5m:+]", "1:9: parse error: unexpected \"]\" in subquery selector, expected number or duration or \"]\""),
        ("foo[5m == 5m]", "1:8: parse error: unexpected <op:==> in subquery or range, expected \":\" or \"]\""),
        ("up offset", "1:10: parse error: unexpected end of input in offset, expected number or duration"),
        ("up offset up", "1:11: parse error: unexpected identifier \"up\" in offset, expected number or duration"),
        ("up @", "1:5: parse error: unexpected end of input in @, expected timestamp"),
        ("up @ up", "1:6: parse error: unexpected identifier \"up\" in @, expected timestamp"),
        ("up @ start", "1:11: parse error: unexpected end of input in @, expected timestamp"),
        ("up{job}", "1:7: parse error: unexpected \"}\" in label matching, expected label matching operator"),
        ("up{job=}", "1:8: parse error: unexpected \"}\" in label matching, expected string"),
        ("foo{__name__ == \"bar\"}", "1:15: parse error: unexpected \"=\" in label matching, expected string"),
        (
            "up{by=\"a\" x=\"b\"}",
            "1:11: parse error: unexpected identifier \"x\" in label matching, expected \",\" or \"}\"",
        ),
        ("{\"a\" by}", "1:6: parse error: unexpected identifier \"by\" in label matching, expected \",\" or \"}\""),
        ("up{,}", "1:4: parse error: unexpected \",\" in label matching, expected identifier or \"}\""),
        ("up{a=~\"(\"}", "1:4: parse error: error parsing regexp: missing closing ): `(`"),
        (
            "up{b=\"\", a!~\"*\"}",
            "1:10: parse error: error parsing regexp: missing argument to repetition operator: `*`",
        ),
        ("foo()", "1:1: parse error: unknown function with name \"foo\""),
        ("a>b()", "1:3: parse error: unknown function with name \"b\""),
        ("sum()", "1:1: parse error: no arguments for aggregate expression provided"),
        (
            "topk(up)",
            "1:1: parse error: wrong number of arguments for aggregate expression provided, expected 2, got 1",
        ),
        // Ranges, offsets and times.
        ("up[5]", "parsed as up[5s]"),
        ("up[0s]", "1:4: parse error: duration must be greater than 0"),
        ("up[-5m]", "1:4: parse error: duration must be greater than 0"),
        ("up[5m - 10m]", "1:4: parse error: duration must be greater than 0"),
        ("up[1m / 0]", "1:7: parse error: division by zero"),
        ("up[1m % (1 - 1)]", "1:4: parse error: modulo by zero"),
        ("up[1e30]", "1:4: parse error: duration out of range"),
        ("(up)[5m]", "1:5: parse error: ranges only allowed for vector selectors"),
        ("up offset 5m [5m]", "1:14: parse error: no offset modifiers allowed before range"),
        ("up @ 5 [5m]", "1:8: parse error: no @ modifiers allowed before range"),
        ("up offset 1m offset 2m", "1:1: parse error: offset may not be set multiple times"),
        ("up offset step() offset 2m", "1:1: parse error: offset may not be set multiple times"),
        ("1 + up @ 1 @ 2", "1:5: parse error: @ <timestamp> may not be set multiple times"),
        ("1 + up @ Inf", "1:5: parse error: timestamp out of bounds for @ modifier: +Inf"),
        (
            "1 offset 1m",
            "1:1: parse error: offset modifier must be preceded by an instant vector selector or range vector selector or a subquery",
        ),
        (
            "rate(up[5m]) @ 1234",
            "1:1: parse error: @ modifier must be preceded by an instant vector selector or range vector selector or a subquery",
        ),
        ("up[5m:1m] anchored", "1:1: parse error: anchored modifier is not supported for subqueries"),
        ("abs(up) smoothed", "1:1: parse error: smoothed modifier not implemented"),
        ("up anchored smoothed", "1:1: parse error: anchored and smoothed modifiers cannot be used together"),
        // Types.
        ("up{__name__=\"down\"}", "1:1: parse error: metric name must not be set twice: \"up\" or \"down\""),
        ("up{\"down\"}", "1:1: parse error: metric name must not be set twice: \"up\" or \"down\""),
        ("{\"up\", __name__=\"down\"}", "parsed as {__name__=\"down\",__name__=\"up\"}"),
        ("1 + {}", "1:5: parse error: vector selector must contain at least one non-empty matcher"),
        ("topk(up, up)", "1:6: parse error: expected type scalar in aggregation parameter, got instant vector"),
        ("sum(1)", "1:5: parse error: expected type instant vector in aggregation expression, got scalar"),
        ("rate(up)", "1:6: parse error: expected type range vector in call to function \"rate\", got instant vector"),
        ("abs(up, up)", "1:1: parse error: expected 1 argument(s) in call to \"abs\", got 2"),
        ("round()", "1:1: parse error: expected at least 1 argument(s) in call to \"round\", got 0"),
        ("round(up, 1, 2)", "1:1: parse error: expected at most 2 argument(s) in call to \"round\", got 3"),
        ("label_join(up)", "1:1: parse error: expected at least 3 argument(s) in call to \"label_join\", got 1"),
        ("info(up, down)", "1:10: parse error: expected label selectors only, got vector selector instead"),
        ("info(up, ({a=\"b\"}))", "1:10: parse error: expected label selectors only"),
        ("1 == 1", "1:3: parse error: comparisons between scalars must use BOOL modifier"),
        ("up + bool 1", "1:4: parse error: bool modifier can only be used on comparison operators"),
        ("1 and up", "1:1: parse error: set operator \"and\" not allowed in binary scalar expression"),
        ("up + on (a) 1", "1:1: parse error: vector matching only allowed between instant vectors"),
        ("up + fill(1) 1", "1:1: parse error: filling in missing series only allowed between instant vectors"),
        ("a or fill(1) b", "1:1: parse error: filling in missing series not allowed for set operators"),
        ("a and on (x) group_left b", "1:1: parse error: no grouping allowed for \"and\" operation"),
        ("a + on (x) group_left (x) b", "1:3: parse error: label \"x\" must not occur in ON and GROUP clause at once"),
        ("up[5m] + 1", "1:1: parse error: binary expression must contain only scalar and instant vector types"),
        (
            "-\"a\"",
            "1:1: parse error: unary expression only allowed on expressions of type scalar or instant vector, got \"string\"",
        ),
        (
            "-up[5m]",
            "1:1: parse error: unary expression only allowed on expressions of type scalar or instant vector, got \"range vector\"",
        ),
        ("up[5m][5m:]", "1:1: parse error: subquery is only allowed on instant vector, got matrix instead"),
        // Types are looked at only when the whole text could be read.
        ("1 == 1 )", "1:9: parse error: unexpected right parenthesis ')'"),
    ] {
        assert_eq!(error(text), want, "{text}");
    }
}

#[test]
fn experiments_need_their_flag() {
    for (text, want) in [
        (
            "limitk(2, up)",
            "1:1: parse error: limitk() is experimental and must be enabled with --enable-feature=promql-experimental-functions",
        ),
        ("1 + info(up)", "1:5: parse error: function \"info\" is not enabled"),
        ("up[5m * 2]", "1:4: parse error: experimental duration expression is not enabled"),
        ("up offset (5m)", "1:12: parse error: experimental duration expression is not enabled"),
        ("up[step()]", "1:4: parse error: experimental duration expression is not enabled"),
        ("1 + up anchored", "1:5: parse error: anchored modifier is experimental and not enabled"),
        ("a + fill(0) b", "1:5: parse error: binop fill modifiers are experimental and not enabled"),
    ] {
        let error = parse_with(text, Features::STABLE).unwrap_err();
        assert_eq!(error.to_string(), want, "{text}");
        assert!(parse_with(text, Features::ALL).is_ok(), "{text}");
    }
    assert!(parse_with("fill + anchored offset -5m", Features::STABLE).is_ok());
}

#[test]
fn lengths_are_calculated_from_step_and_range() {
    use std::time::Duration;
    let of = |text: &str| {
        let expr = parse(text).unwrap();
        let resolved = expr.resolved(Duration::from_secs(30), Duration::from_secs(3600));
        resolved.map(|expr| match expr.into_owned() {
            Expr::Range(range) => (range.range.as_secs(), 0, range.selector.shift.offset_ms),
            Expr::Subquery(sub) => {
                (sub.range.as_secs(), sub.step.map_or(0, |step| step.as_secs()), sub.shift.offset_ms)
            }
            Expr::Selector(selector) => (0, 0, selector.shift.offset_ms),
            other => panic!("{other}"),
        })
    };
    for (text, want) in [
        ("up[2m * (10 + 5)]", Ok((1800, 0, None))),
        ("up[step() * 2]", Ok((60, 0, None))),
        ("up[range() / 2:step()]", Ok((1800, 30, None))),
        ("up[max(step(), 1m)] offset -step()", Ok((60, 0, Some(-30_000)))),
        ("up[min_of(step(), 1m) ^ 2]", Ok((900, 0, None))),
        ("up offset (-2 ^ 2)", Ok((0, 0, Some(-4_000)))),
        ("up offset (range() % 7)", Ok((0, 0, Some(2_000)))),
        ("up[4.18]", Ok((4, 0, None))),
        ("up[step() - 1m]", Err(super::super::length::LengthError::NotPositive)),
        ("up[1m / (step() - 30)]", Err(super::super::length::LengthError::Division)),
        ("up offset (1y * range())", Err(super::super::length::LengthError::OutOfRange)),
    ] {
        assert_eq!(of(text), want, "{text}");
    }
}

#[test]
fn nesting_has_a_limit_and_length_has_the_same() {
    let nested = |open: &str, middle: &str, close: &str, times: usize| {
        format!("{}{middle}{}", open.repeat(times), close.repeat(times))
    };
    for (case, text) in [
        ("parentheses", nested("(", "1", ")", 100_000)),
        ("calls", nested("abs(", "up", ")", 100_000)),
        ("signs", nested("-", "up", "", 100_000)),
        ("powers", nested("", "2", "^2", 100_000)),
        ("sums", nested("", "up", "+up", 100_000)),
        ("subqueries", nested("", "up", "[5m:1m]", 100_000)),
    ] {
        let error = error(&text);
        assert!(error.contains("deeper than 100") || error.contains("more than 200"), "{case}: {error}");
    }
    assert!(parse(&nested("(", "1", ")", 99)).is_ok());
    assert!(parse(&nested("", "up", "+up", 199)).is_ok());
}

#[test]
fn selectors_stand_alone() {
    assert_eq!(parse_selector("up{job=\"a\"}").unwrap().len(), 2);
    for bad in ["up[5m]", "up offset 5m", "1", "sum(up)", "{}", ""] {
        assert!(parse_selector(bad).is_err(), "{bad}");
    }
}

/// Texts of expressions, most of them well typed.
pub(in crate::promql) fn expressions() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        "[a-z:_][a-z0-9_:]{0,8}",
        Just("m".to_owned()),
        Just("m{n=~\"[0-4]\"}".to_owned()),
        Just("rate(m[3m])".to_owned()),
        Just("m offset 1m > 5".to_owned()),
        Just("up{job=~\"a.*\",x!=\"\"}".to_owned()),
        Just("{\"my.metric\",\"a b\"!~'x'}".to_owned()),
        Just("up offset -5m @ 3".to_owned()),
        Just("rate(x[5m] @ end())".to_owned()),
        any::<f64>().prop_map(|value| value.to_string()),
        Just("90s".to_owned()),
        Just("vector(1)".to_owned()),
    ];
    leaf.prop_recursive(5, 40, 3, |inner| {
        let op = prop::sample::select(vec![
            "+",
            "-",
            "*",
            "/",
            "%",
            "^",
            "atan2",
            "== bool",
            ">",
            "and",
            "or on (a)",
            "unless ignoring (b)",
            "* on (a) group_left (b)",
        ]);
        let wrap = prop::sample::select(vec![
            ("(", ")"),
            ("-", ""),
            ("abs(", ")"),
            ("sum by (a, \"b.c\") (", ")"),
            ("topk(2, ", ") without (x)"),
            ("max_over_time((", ")[5m:1m] offset 1h)"),
            ("label_replace(", ", \"a\", \"$1\", 'b', `(.*)`)"),
        ]);
        prop_oneof![
            (inner.clone(), op, inner.clone()).prop_map(|(left, op, right)| format!("{left} {op} {right}")),
            (wrap, inner).prop_map(|((open, close), inner)| format!("{open}{inner}{close}")),
        ]
    })
}

proptest! {
    #[test]
    fn printing_and_reading_again_gives_the_same(text in expressions()) {
        if let Ok(expr) = parse(&text) {
            let printed = expr.to_string();
            let again = parse(&printed).map(|expr| expr.to_string()).map_err(|error| format!("{printed}: {error}"));
            prop_assert_eq!(again, Ok(printed.clone()));
            let pretty = parse(&expr.pretty()).map(|expr| expr.to_string()).map_err(|error| error.to_string());
            prop_assert_eq!(pretty, Ok(printed));
        }
    }

    #[test]
    fn no_text_panics(text in ".{0,60}", query in "[a-z0-9(){}\\[\\]\"'`@:=!~<>+*/^%, .#\\\\-]{0,40}") {
        let _ = parse(&text);
        let _ = parse(&query);
    }
}
