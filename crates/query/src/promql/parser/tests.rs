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
        ("{\"up\"}", "up"),
        ("{\"my.metric\", 'a.b'=`c\"d`}", "{\"my.metric\",\"a.b\"=\"c\\\"d\"}"),
        ("a:b:c{x=~\".+\",y!~\"z|\",z!=\"\"}", "a:b:c{x=~\".+\",y!~\"z|\",z!=\"\"}"),
        ("sum{a=\"b\"}", "{\"sum\",a=\"b\"}"),
        ("up[5m]", "up[5m]"),
        ("up[300]", "up[5m]"),
        ("up[1h30m:]", "up[1h30m:]"),
        ("up[1h:30s] offset -5m", "up[1h:30s] offset -5m"),
        ("up OFFSET 5m @ 10.5", "up @ 10.500 offset 5m"),
        ("up[5m + 60]", "up[6m]"),
        ("up[2 * (10m + 5m) - 1h % 7m : 10 ^ 1] offset -(2 * 1m)", "up[26m:10s] offset -2m"),
        ("up offset 5m + 1", "up offset 5m + 1"),
        ("up @ -1", "up @ -1.000"),
        ("up[5m] @ START()", "up[5m] @ start()"),
        ("rate(up[5m] @ end())", "rate(up[5m] @ end())"),
        ("1 + 2 * 3", "1 + 2 * 3"),
        ("(1 + 2) * 3", "(1 + 2) * 3"),
        ("-1", "-1"),
        ("- -up", "--up"),
        ("-up ^ 2", "-up ^ 2"),
        ("0x10 + 1_000 + .5 + 1e3", "16 + 1000 + 0.5 + 1000"),
        ("5m + inf + NaN", "5m + +Inf + NaN"),
        ("\"a\\n\"", "\"a\\n\""),
        ("a == BOOL b", "a == bool b"),
        ("a / on (x) b", "a / on (x) b"),
        ("a / on () b", "a / on () b"),
        ("a / ignoring () b", "a / b"),
        ("a * ignoring(x) group_left(y, \"z.z\") b", "a * ignoring (x) group_left (y, \"z.z\") b"),
        ("a * on (x) GROUP_RIGHT b", "a * on (x) group_right () b"),
        ("a and on (x,) b or c unless d", "a and on (x) b or c unless d"),
        ("a atan2 b", "a atan2 b"),
        ("sum(up)", "sum(up)"),
        ("SUM BY (job, by) (up)", "sum by (job, by) (up)"),
        ("sum(up) without (job)", "sum without (job) (up)"),
        ("sum without () (up)", "sum without () (up)"),
        ("topk by (job) (3, up)", "topk by (job) (3, up)"),
        ("count_values(\"v\", up)", "count_values(\"v\", up)"),
        ("label_join(up, \"a\", \"b\")", "label_join(up, \"a\", \"b\")"),
        ("time()", "time()"),
        ("hour()", "hour()"),
        ("round(up, 5)", "round(up, 5)"),
        ("up # a comment\n + # another\n 1", "up + 1"),
        ("offset", "{\"offset\"}"),
        ("rate", "rate"),
    ] {
        let expr = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(expr.to_string(), want, "{text}");
        assert_eq!(parse(want).unwrap(), expr, "{text} again");
    }
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
        ("up(", "1:4: parse error: unclosed left parenthesis"),
        ("up)", "1:3: parse error: unexpected right parenthesis ')'"),
        ("up{", "1:4: parse error: unexpected end of input inside braces"),
        ("up[5m", "1:6: parse error: unclosed left bracket"),
        ("up]", "1:3: parse error: unexpected right bracket ']'"),
        ("up}", "1:3: parse error: unexpected right brace '}'"),
        ("1 +", "1:4: parse error: unexpected end of input"),
        ("1 + * 2", "1:5: parse error: unexpected <op:*>"),
        ("up\n  up", "2:3: parse error: unexpected identifier \"up\""),
        ("$", "1:1: parse error: unexpected character: '$'"),
        ("a ! b", "1:3: parse error: unexpected character after '!': ' '"),
        ("\"open", "1:1: parse error: unterminated quoted string"),
        ("1d2", "1:1: parse error: bad number or duration syntax: \"1d2\""),
        ("up[5]", "parsed as up[5s]"),
        ("up[0s]", "1:4: parse error: duration must be greater than 0"),
        ("up[-5m]", "1:4: parse error: duration must be greater than 0"),
        ("up[1m / 0]", "1:7: parse error: division by zero"),
        ("up[5m == 5m]", "1:7: parse error: unexpected <op:==> in subquery or range, expected \":\" or \"]\""),
        ("up[1e30]", "1:4: parse error: duration out of range"),
        ("up[a]", "1:4: parse error: unexpected identifier \"a\" in subquery or range, expected number or duration"),
        ("(up)[5m]", "1:5: parse error: ranges only allowed for vector selectors"),
        ("up offset 5m [5m]", "1:14: parse error: no offset modifiers allowed before range"),
        ("up @ 5 [5m]", "1:8: parse error: no @ modifiers allowed before range"),
        ("up offset 1m offset 2m", "1:1: parse error: offset may not be set multiple times"),
        ("up @ 1 @ 2", "1:1: parse error: @ <timestamp> may not be set multiple times"),
        ("up @ up", "1:6: parse error: unexpected identifier \"up\" in @, expected timestamp"),
        ("up @ Inf", "1:6: parse error: timestamp out of bounds for @ modifier: +Inf"),
        ("up offset up", "1:11: parse error: unexpected identifier \"up\" in offset, expected number or duration"),
        (
            "1 offset 1m",
            "1:1: parse error: offset modifier must be preceded by an instant vector selector or range vector selector or a subquery",
        ),
        ("up{job}", "1:7: parse error: unexpected \"}\" in label matching, expected label matching operator"),
        ("up{job=}", "1:8: parse error: unexpected \"}\" in label matching, expected string"),
        (
            "up{job=\"a\" x=\"b\"}",
            "1:12: parse error: unexpected identifier \"x\" in label matching, expected \",\" or \"}\"",
        ),
        ("up{,}", "1:4: parse error: unexpected \",\" in label matching, expected identifier or \"}\""),
        ("up{\"down\"}", "1:4: parse error: metric name must not be set twice: \"up\" or \"down\""),
        ("{}", "1:1: parse error: vector selector must contain at least one non-empty matcher"),
        ("sum()", "1:1: parse error: no arguments for aggregate expression provided"),
        (
            "topk(up)",
            "1:1: parse error: wrong number of arguments for aggregate expression provided, expected 2, got 1",
        ),
        ("topk(up, up)", "1:6: parse error: expected type scalar in aggregation parameter, got instant vector"),
        ("sum by (1) (up)", "1:9: parse error: unexpected number \"1\" in grouping opts, expected label"),
        ("sum(1)", "1:5: parse error: expected type instant vector in aggregation expression, got scalar"),
        ("foo(up)", "1:1: parse error: unknown function with name \"foo\""),
        ("rate(up)", "1:6: parse error: expected type range vector in call to function \"rate\", got instant vector"),
        ("abs(up, up)", "1:1: parse error: expected 1 argument(s) in call to \"abs\", got 2"),
        ("round()", "1:1: parse error: expected at least 1 argument(s) in call to \"round\", got 0"),
        ("round(up, 1, 2)", "1:1: parse error: expected at most 2 argument(s) in call to \"round\", got 3"),
        ("label_join(up)", "1:1: parse error: expected at least 3 argument(s) in call to \"label_join\", got 1"),
        ("abs(up,)", "1:7: parse error: trailing commas not allowed in function call args"),
        ("1 == 1", "1:1: parse error: comparisons between scalars must use BOOL modifier"),
        ("up + bool 1", "1:1: parse error: bool modifier can only be used on comparison operators"),
        ("1 and up", "1:1: parse error: set operator \"and\" not allowed in binary scalar expression"),
        ("up + on (a) 1", "1:1: parse error: vector matching only allowed between instant vectors"),
        ("a and on (x) group_left b", "1:1: parse error: no grouping allowed for \"and\" operation"),
        ("a + on (x) group_left (x) b", "1:1: parse error: label \"x\" must not occur in ON and GROUP clause at once"),
        ("up[5m] + 1", "1:1: parse error: binary expression must contain only scalar and instant vector types"),
        (
            "-\"a\"",
            "1:1: parse error: unary expression only allowed on expressions of type scalar or instant vector, got \"string\"",
        ),
        ("up[5m][5m:]", "1:1: parse error: subquery is only allowed on instant vector, got range vector instead"),
    ] {
        assert_eq!(error(text), want, "{text}");
    }
    assert!(error("up{a=~\"(\"}").starts_with("1:4: parse error: error parsing regexp"), "{}", error("up{a=~\"(\"}"));
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
            prop_assert_eq!(parse(&printed).map_err(|error| format!("{printed}: {error}")), Ok(expr));
        }
    }

    #[test]
    fn no_text_panics(text in ".{0,60}", query in "[a-z0-9(){}\\[\\]\"'`@:=!~<>+*/^%, .#\\\\-]{0,40}") {
        let _ = parse(&text);
        let _ = parse(&query);
    }
}
