//! LogQL from text to answer, over lines as services write them.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test stops where its data is wrong")]

use std::time::Duration;

use aegis_query::Cancel;
use aegis_query::logql::{Answer, Direction, EvalError, RangeQuery, instant, parse, range};
use signal::{Labels, LogLine, Nanos, StreamWrite, WriteBatch};
use store::{Snapshot, Store};

const SECOND: i64 = 1_000_000_000;
/// 2024-01-25T13:30:00Z.
const T0: i64 = 1_706_189_400 * SECOND;

type Written<'a> = (&'a [(&'a str, &'a str)], Vec<(i64, String)>);

fn store(streams: &[Written<'_>]) -> Snapshot {
    let store = Store::in_memory();
    let streams = streams
        .iter()
        .map(|(labels, lines)| StreamWrite {
            labels: Labels::from_pairs(labels.iter().copied()),
            lines: lines
                .iter()
                .map(|(at, line)| LogLine { at: Nanos(*at), line: line.clone(), metadata: Labels::empty() })
                .collect(),
        })
        .collect();
    store.append(&[WriteBatch { streams, ..WriteBatch::default() }]).unwrap();
    store.snapshot()
}

/// A line of the backend, `second` seconds after [`T0`].
fn line(second: i64, level: &str, message: &str, duration_ms: i64) -> (i64, String) {
    let text = format!(
        r#"{{"timestamp":"2024-01-25T13:{:02}:{:02}Z","level":"{level}","service":"aegis-backend","message":"{message}","trace_id":"a1b2c3d4e5f6","method":"POST","path":"/api/v1/users","status_code":201,"duration_ms":{duration_ms}}}"#,
        30 + second / 60,
        second % 60,
    );
    (T0 + second * SECOND, text)
}

fn backend() -> Snapshot {
    store(&[
        (
            &[("job", "aegis-backend")],
            vec![
                line(-60, "info", "Deploy finished", 10),
                line(60, "info", "Marketing campaign started", 45),
                line(120, "warn", "Database query slow: 2.3s", 2300),
                line(180, "error", "Error: Connection pool exhausted", 5000),
                line(300, "error", "On the edge", 7),
                line(360, "info", "Recovered", 40),
            ],
        ),
        (&[("job", "other")], vec![line(90, "error", "Not ours", 9999)]),
    ])
}

fn lines_of(snapshot: &Snapshot, query: &str, direction: Direction, limit: usize) -> Vec<String> {
    let expr = parse(query).unwrap_or_else(|error| panic!("{query}: {error}"));
    let asked =
        RangeQuery { direction, ..RangeQuery::lines(Nanos(T0 - 3600 * SECOND), Nanos(T0 + 3600 * SECOND), limit) };
    let Answer::Streams(streams) = range(&expr, snapshot, asked, &Cancel::default()).unwrap() else {
        panic!("{query}: no streams");
    };
    let mut lines: Vec<_> = streams.into_iter().flat_map(|stream| stream.lines).collect();
    lines.sort();
    lines.into_iter().map(|(_, line)| line).collect()
}

#[test]
fn the_queries_of_the_complete_flow_answer() {
    let snapshot = backend();
    let context = "{job=\"aegis-backend\"} \n| json \n| line_format \"{{.timestamp}} {{.message}}\" \n| __timestamp__ > 1706189400\n| __timestamp__ < 1706189700\n";
    assert_eq!(
        lines_of(&snapshot, context, Direction::Backward, 100),
        [
            "2024-01-25T13:31:00Z Marketing campaign started",
            "2024-01-25T13:32:00Z Database query slow: 2.3s",
            "2024-01-25T13:33:00Z Error: Connection pool exhausted",
        ]
    );
    for (query, messages) in [
        (
            "{job=\"aegis-backend\"} \n| json \n| __timestamp__ >= 1706189460  \n| __timestamp__ <= 1706189700\n",
            &["Marketing", "Database", "Connection", "edge"][..],
        ),
        ("{job=\"aegis-backend\"} | json | duration_ms > 1000", &["Database", "Connection"]),
        ("{job=\"aegis-backend\"} | json | level=\"error\"", &["Connection", "edge"]),
    ] {
        let lines = lines_of(&snapshot, query, Direction::Backward, 100);
        assert_eq!(lines.len(), messages.len(), "{query}: {lines:?}");
        assert!(lines.iter().zip(messages).all(|(line, message)| line.contains(message)), "{query}: {lines:?}");
    }
}

#[test]
fn the_limit_counts_over_all_streams_from_the_asked_end() {
    let snapshot = backend();
    for (direction, limit, want) in [
        (Direction::Backward, 2, &["edge", "Recovered"][..]),
        (Direction::Forward, 2, &["Deploy", "Marketing"]),
        (Direction::Forward, 3, &["Deploy", "Marketing", "Not ours"]),
        (Direction::Backward, 0, &[]),
    ] {
        let lines = lines_of(&snapshot, "{job=~\".+\"}", direction, limit);
        assert_eq!(lines.len(), want.len(), "{direction:?} {limit}");
        assert!(lines.iter().zip(want).all(|(line, part)| line.contains(part)), "{direction:?} {limit}: {lines:?}");
    }
}

#[test]
fn a_line_of_its_own_time_is_not_cut_away() {
    let snapshot = store(&[(
        &[("job", "a")],
        vec![(T0, r#"{"__timestamp__":5}"#.to_owned()), (T0 + SECOND, r#"{"x":1}"#.to_owned())],
    )]);
    assert_eq!(lines_of(&snapshot, "{job=\"a\"} | json | __timestamp__ < 10", Direction::Backward, 10).len(), 1);
    assert_eq!(lines_of(&snapshot, "{job=\"a\"} | __timestamp__ < 10", Direction::Backward, 10).len(), 0);
    assert_eq!(
        lines_of(&snapshot, "{job=\"a\"} | json | __timestamp__ > 1706189400", Direction::Backward, 10).len(),
        1
    );
}

fn numbers() -> Snapshot {
    let every_ten = |app: &str, from: i64| -> Vec<(i64, String)> {
        (0..12)
            .map(|i| (T0 + i * 10 * SECOND, format!("app={app} v={} took={}ms size={}KB", from + i, 100 * i, i)))
            .collect()
    };
    store(&[
        (&[("app", "foo"), ("pod", "a")], every_ten("foo", 0)),
        (&[("app", "foo"), ("pod", "b")], every_ten("foo", 100)),
        (&[("app", "bar"), ("pod", "c")], every_ten("bar", 0)),
    ])
}

/// The vector at [`T0`] + 60 s as text: `{labels} value`.
fn at_sixty(query: &str) -> Result<String, EvalError> {
    let expr = parse(query).unwrap_or_else(|error| panic!("{query}: {error}"));
    Ok(match instant(&expr, &numbers(), Nanos(T0 + 60 * SECOND), &Cancel::default())? {
        Answer::Vector(points) => {
            points.iter().map(|(labels, point)| format!("{labels} {}", point.value)).collect::<Vec<_>>().join("; ")
        }
        Answer::Scalar(point) => format!("scalar {}", point.value),
        Answer::Streams(_) | Answer::Matrix(_) => panic!("{query}: not an instant answer"),
    })
}

#[test]
fn functions_over_windows() {
    // In (0 s, 60 s] lie the lines of 10, 20, … 60 s: six of them with v = 1..6 in pod a.
    let a = r#"{app="foo", pod="a"}"#;
    for (query, want) in [
        (
            r#"count_over_time({app="foo"}[1m])"#.to_owned(),
            r#"{app="foo", pod="a"} 6; {app="foo", pod="b"} 6"#.to_owned(),
        ),
        (r#"rate({pod="a"}[1m])"#.to_owned(), format!("{a} 0.1")),
        (r#"rate({pod="a"}[1m] offset 30s)"#.to_owned(), format!("{a} {}", 4.0 / 60.0)),
        (r#"bytes_over_time({pod="a"} | line_format "12345" [1m])"#.to_owned(), format!("{a} 30")),
        (r#"bytes_rate({pod="a"} | line_format "12345" [1m])"#.to_owned(), format!("{a} 0.5")),
        (r#"absent_over_time({app="none", x!="y"}[1m])"#.to_owned(), r#"{app="none"} 1"#.to_owned()),
        (r#"absent_over_time({app="foo"}[1m])"#.to_owned(), String::new()),
        (r#"sum_over_time({pod="a"} | logfmt v | unwrap v [1m])"#.to_owned(), format!("{a} 21")),
        (r#"rate({pod="a"} | logfmt v | unwrap v [1m])"#.to_owned(), format!("{a} 0.35")),
        (
            r#"avg_over_time({app="foo"} | logfmt v | unwrap v [1m]) by (app)"#.to_owned(),
            r#"{app="foo"} 53.5"#.to_owned(),
        ),
        (r#"min_over_time({pod="a"} | logfmt v | unwrap v [1m])"#.to_owned(), format!("{a} 1")),
        (
            r#"max_over_time({app="foo"} | logfmt v | unwrap v [1m]) without (pod)"#.to_owned(),
            r#"{app="foo"} 106"#.to_owned(),
        ),
        (r#"first_over_time({pod="a"} | logfmt v | unwrap v [1m])"#.to_owned(), format!("{a} 1")),
        (r#"last_over_time({pod="a"} | logfmt v | unwrap v [1m])"#.to_owned(), format!("{a} 6")),
        (r#"quantile_over_time(0.5, {pod="a"} | logfmt v | unwrap v [1m])"#.to_owned(), format!("{a} 3.5")),
        (r#"stdvar_over_time({pod="a"} | logfmt v | unwrap v [1m])"#.to_owned(), format!("{a} {}", 35.0 / 12.0)),
        (r#"max_over_time({pod="a"} | logfmt took | unwrap duration(took) [1m])"#.to_owned(), format!("{a} 0.6")),
        (r#"max_over_time({pod="a"} | logfmt size | unwrap bytes(size) [1m])"#.to_owned(), format!("{a} 6000")),
        (r#"sum_over_time({pod="a"} | logfmt v | unwrap v | v > 4 [1m])"#.to_owned(), format!("{a} 11")),
        (r#"count_over_time({pod="a"} | __timestamp__ > 1706189430 [1m])"#.to_owned(), format!("{a} 3")),
    ] {
        assert_eq!(at_sixty(&query).unwrap(), want, "{query}");
    }
}

#[test]
fn aggregations_and_operators() {
    let count = r#"count_over_time({app=~"foo|bar"}[1m])"#;
    let v = r#"last_over_time({app=~"foo|bar"} | logfmt v | unwrap v [1m])"#;
    for (query, want) in [
        (format!("sum({count})"), "{} 18"),
        (format!("sum by (app) ({count})"), r#"{app="bar"} 6; {app="foo"} 12"#),
        (format!("sum({count}) without (pod)"), r#"{app="bar"} 6; {app="foo"} 12"#),
        (
            r#"sum by (app) (sum_over_time({app=~"foo|bar"} | logfmt v | unwrap v [1m]))"#.to_owned(),
            r#"{app="bar"} 21; {app="foo"} 642"#,
        ),
        (
            r#"max without (pod) (max_over_time({app=~"foo|bar"} | logfmt v | unwrap v [1m]))"#.to_owned(),
            r#"{app="bar"} 6; {app="foo"} 106"#,
        ),
        (r#"sum(rate({app=~"foo|bar"} | logfmt [1m]))"#.to_owned(), "{} 0.3"),
        (format!("avg({v})"), "{} 39.333333333333336"),
        (format!("min({v})"), "{} 6"),
        (format!("max({v})"), "{} 106"),
        (format!("count({v})"), "{} 3"),
        (format!("stdvar by (app) ({v})"), r#"{app="bar"} 0; {app="foo"} 2500"#),
        (format!("stddev by (app) ({v})"), r#"{app="bar"} 0; {app="foo"} 50"#),
        (format!("topk(1, {v})"), r#"{app="foo", pod="b"} 106"#),
        (format!("bottomk(1, {v}) by (app)"), r#"{app="bar", pod="c"} 6; {app="foo", pod="a"} 6"#),
        (format!("sort_desc({v})"), r#"{app="foo", pod="b"} 106; {app="bar", pod="c"} 6; {app="foo", pod="a"} 6"#),
        (format!("{v} > 6"), r#"{app="foo", pod="b"} 106"#),
        (format!("{v} > bool 6"), r#"{app="bar", pod="c"} 0; {app="foo", pod="a"} 0; {app="foo", pod="b"} 1"#),
        (format!("100 < {v}"), r#"{app="foo", pod="b"} 106"#),
        (format!("sum({count}) / 0"), "{} NaN"),
        (
            format!("sum by (app) ({count}) / on () group_left sum({count})"),
            r#"{app="bar"} 0.3333333333333333; {app="foo"} 0.6666666666666666"#,
        ),
        (
            format!("{count} / ignoring (pod) group_left sum by (app) ({count})"),
            r#"{app="bar", pod="c"} 1; {app="foo", pod="a"} 0.5; {app="foo", pod="b"} 0.5"#,
        ),
        (format!("{count} and {v} > 6"), r#"{app="foo", pod="b"} 6"#),
        (format!("{count} unless {v} > 6"), r#"{app="bar", pod="c"} 6; {app="foo", pod="a"} 6"#),
        (r#"sum(count_over_time({app="none"}[1m])) or vector(0)"#.to_owned(), "{} 0"),
        (
            format!("label_replace(sum by (app) ({count}), \"x\", \"<$1>\", \"app\", \"(f.).*\")"),
            r#"{app="bar"} 6; {app="foo", x="<fo>"} 12"#,
        ),
        ("vector(1)+vector(1)".to_owned(), "{} 2"),
        ("1 + 2 * 3 ^ 2 ^ 0".to_owned(), "scalar 7"),
        ("-2^2".to_owned(), "scalar 4"),
        ("7 > 2".to_owned(), "scalar 1"),
        ("10 - 4 - 3".to_owned(), "scalar 3"),
    ] {
        assert_eq!(at_sixty(&query).unwrap(), want, "{query}");
    }
}

#[test]
fn errors_say_what_to_do() {
    for (query, want) in [
        (r#"{app="foo"}"#, "log queries are not supported as an instant query type"),
        (r#"count_over_time({app="foo"} | json [1m])"#, "pipeline error: 'JSONParserErr' for series: '{"),
        (r#"sum_over_time({app="foo"} | logfmt | unwrap size [1m])"#, "pipeline error: 'SampleExtractionErr'"),
        (
            r#"count_over_time({app="foo"}[1m]) + on (app) sum by (app) (count_over_time({app="foo"}[1m]))"#,
            "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)",
        ),
        (
            r#"sum by (app) (count_over_time({app="foo"}[1m])) + on (app) group_left count_over_time({app="foo"}[1m])"#,
            "found duplicate series on the right hand-side",
        ),
    ] {
        let error = at_sixty(query).unwrap_err().to_string();
        assert!(error.starts_with(want), "{query}: {error}");
    }
    assert_eq!(at_sixty(r#"count_over_time({app="foo"} | json | __error__="" [1m])"#).unwrap(), "");
    assert_eq!(
        at_sixty(r#"sum(count_over_time({app="foo"} | json | drop __error__, __error_details__ [1m]))"#).unwrap(),
        "{} 12"
    );
}

#[test]
fn ranges_have_a_point_at_each_step() {
    let expr = parse(r#"sum(count_over_time({pod="a"}[20s]))"#).unwrap();
    let asked = |start, end, step| {
        RangeQuery::points(Nanos(T0 + start * SECOND), Nanos(T0 + end * SECOND), Duration::from_secs(step))
    };
    let points = |asked| match range(&expr, &numbers(), asked, &Cancel::default()).unwrap() {
        Answer::Matrix(series) => series
            .into_iter()
            .flat_map(|series| series.points)
            .map(|point| ((point.at.0 - T0) / SECOND, point.value))
            .collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    assert_eq!(points(asked(-30, 30, 15)), [(0, 1.0), (15, 2.0), (30, 2.0)]);
    assert_eq!(points(asked(120, 150, 10)), [(120, 1.0)]);
    let canceled = Cancel::default();
    canceled.cancel();
    assert_eq!(range(&expr, &numbers(), asked(0, 60, 15), &canceled), Err(EvalError::Canceled));
    assert_eq!(range(&expr, &numbers(), asked(0, 60, 0), &Cancel::default()), Err(EvalError::NoStep));
    assert_eq!(range(&expr, &numbers(), asked(0, 100_000, 1), &Cancel::default()), Err(EvalError::TooManyPoints));
}
