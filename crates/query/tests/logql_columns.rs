//! What a query answers does not depend on whether lines are in memory as they came or in columns.

#![allow(clippy::panic, clippy::indexing_slicing, reason = "a test stops where its data is wrong")]

use std::time::Duration;

use aegis_query::{Cancel, logql};
use proptest::prelude::*;
use signal::{Labels, LogLine, Nanos, StreamWrite, WriteBatch};
use store::Store;

/// Every way of asking that columns answer, and some that they do not.
const QUERIES: &[&str] = &[
    r#"{job=~".+"}"#,
    r#"{job=~".+"} |= "er""#,
    r#"{job=~".+"} |= "\"level\":\"error\"""#,
    r#"{job=~".+"} |= "a1" or "b2" != "c""#,
    r#"{job=~".+"} |~ "(err|war)[a-z]+ [0-9]""#,
    r#"{job=~".+"} |> "<_>err<_>""#,
    r#"{job=~".+"} | json | level="error""#,
    r#"{job=~".+"} | json | level!="error""#,
    r#"{job=~".+"} | json | level=~"e.*|w.*" | n > 50"#,
    r#"{job=~".+"} | json | n > 50 | ms > 1"#,
    r#"{job=~".+"} | json | n > 50 or level="warn""#,
    r#"{job=~".+"} | json | ms > 5ms"#,
    r#"{job=~".+"} | json | __error__="""#,
    r#"{job=~".+"} | json | http_status="200""#,
    r#"{job=~".+"} | json | job="a""#,
    r#"{job=~".+"} | json | job_extracted="a""#,
    r#"{job=~".+"} | json | pod="p1""#,
    r#"{job=~".+"} | logfmt | level="error""#,
    r#"{job=~".+"} | logfmt | n >= 10 and n < 60"#,
    r#"{job=~".+"} | logfmt | msg=~".*5.*""#,
    r#"{job=~".+"} | line_format "{{.job}}" |= "a""#,
    r#"{job=~".+"} | json | label_format level=job | level="a""#,
    r#"{job=~".+"} | __timestamp__ > 3"#,
    r#"sum by (level) (count_over_time({job=~".+"} | json [3s]))"#,
    r#"sum by (level, job) (rate({job=~".+"} | json | level!="" [3s]))"#,
    r#"sum by (level) (count_over_time({job=~".+"} | json | __error__="" [3s]))"#,
    r#"sum by (level) (count_over_time({job=~".+"} | logfmt [3s]))"#,
    r#"sum by (job_extracted) (count_over_time({job=~".+"} | json | __error__="" [3s]))"#,
    r#"sum by (pod) (count_over_time({job=~".+"} | json | __error__="" [3s]))"#,
    r#"sum by (pod) (count_over_time({job=~".+"}[3s]))"#,
    r#"sum by (job) (rate({job=~".+"}[3s]))"#,
    r#"sum(count_over_time({job=~".+"} | json [3s]))"#,
    r#"sum by (job) (bytes_over_time({job=~".+"}[3s]))"#,
    r#"count_over_time({job=~".+"}[3s])"#,
    r#"count_over_time({job=~".+"} | json | __error__="" [3s])"#,
    r#"absent_over_time({job=~".+"} | json | level="error" [1s])"#,
    r#"quantile_over_time(0.9, {job=~".+"} | json | __error__="" | unwrap n | __error__="" [3s]) by (job)"#,
    r#"quantile_over_time(0.9, {job=~".+"} | logfmt | unwrap n [3s]) by (job)"#,
    r#"avg_over_time({job=~".+"} | json | __error__="" | unwrap n [3s]) by (level)"#,
    r#"max_over_time({job=~".+"} | json | level="error" | unwrap n [3s]) by (job)"#,
    r#"min_over_time({job=~".+"} | json | n > 5 | unwrap n [3s]) by (job)"#,
    r#"sum by (job) (sum_over_time({job=~".+"} | json | unwrap duration(ms) | __error__="" [3s]))"#,
    r#"stddev_over_time({job=~".+"} | logfmt | unwrap n | n < 60 [3s]) by (job)"#,
    r#"sum by (level) (count_over_time({job=~".+"} | json | n > 50 | __error__="" [3s]))"#,
    r#"sum by (job) (count_over_time({job=~".+"} |~ "err(or)? [0-9]" [3s]))"#,
];

fn any_line() -> impl Strategy<Value = String> {
    let level = prop_oneof!["info", "warn", "error", "er\\\\\"r", ""];
    let number = prop_oneof!["[0-9]{1,2}", "[0-9]{1,2}", "x", "null", "\"7\"", "1e2", "-3"];
    let text = prop_oneof!["[a-c][0-9]", "error [0-9]", "warn", "é"];
    let ms = prop_oneof!["[0-9]ms", "[0-9]{1,2}", "1s"];
    let parts = (level, number, text, ms, 0..12_u8);
    parts.prop_map(|(level, number, text, ms, kind)| match kind {
        0 => format!(r#"{{"level":"{level}","n":{number},"msg":"{text}","job":"inner","http":{{"status":200}}}}"#),
        1 => format!(r#"{{"level":"{level}","level":"twice","n":{number}}}"#),
        2 => format!(r#"{{"level":"{level}" "broken":{number}}}"#),
        3 => text,
        4 => format!(r#"{{"level":"{level}","n":[{number}],"pod":"mine"}}"#),
        5 | 6 => format!("level={text} n=5{} msg=\"{level} {text}\"", number.len()),
        7 => format!("level={level} n= msg=\"{text}"),
        _ => format!(r#"{{"level":"{level}","n":{number},"msg":"{text}","ms":"{ms}"}}"#),
    })
}

fn any_lines() -> impl Strategy<Value = Vec<(u8, i64, String, bool)>> {
    proptest::collection::vec((0..3_u8, 0..10_000_i64, any_line(), any::<bool>()), 1..80)
}

fn batch(lines: &[(u8, i64, String, bool)]) -> WriteBatch {
    let streams = (0..3_u8).map(|number| {
        let own = lines.iter().filter(|(of, ..)| *of == number);
        let lines = own.map(|(_, ms, line, has_pod)| LogLine {
            at: Nanos(ms * 1_000_000),
            line: line.clone(),
            metadata: if *has_pod { Labels::from_pairs([("pod", format!("p{}", ms % 3))]) } else { Labels::empty() },
        });
        let labels = Labels::from_pairs([
            ("job", ["a", "b", "a"][usize::from(number)]),
            ("n0", ["x", "", "y"][usize::from(number)]),
        ]);
        StreamWrite { labels, lines: lines.collect() }
    });
    WriteBatch { streams: streams.collect(), ..WriteBatch::default() }
}

fn ask(store: &Store, query: &str, direction: logql::Direction, limit: usize) -> String {
    let expr = logql::parse(query).unwrap_or_else(|error| panic!("{query}: {error}"));
    let (start, end, step) = (Nanos(500_000_000), Nanos(9_000_000_000), Duration::from_millis(1_500));
    let question = logql::RangeQuery { start, end, step, limit, direction };
    match logql::range(&expr, &store.snapshot(), question, &Cancel::default()) {
        // Which of several malformed lines is named first is nobody's business.
        Err(error) => error.to_string().split(" for series").next().unwrap_or_default().to_owned(),
        Ok(logql::Answer::Matrix(series)) => {
            // Sums of floats depend on their order, in the last digit.
            let point = |point: &logql::Point| format!("{}: {:.9}", point.at.0, point.value);
            let one = |one: &logql::RangeSeries| (one.labels.to_string(), one.points.iter().map(point).collect());
            format!("{:#?}", series.iter().map(one).collect::<Vec<(String, Vec<String>)>>())
        }
        Ok(answer) => format!("{answer:#?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn columns_answer_as_lines_do(first in any_lines(), second in any_lines(), limit in 1..40_usize) {
        let (plain, packed, mixed) = (Store::in_memory(), Store::in_memory(), Store::in_memory());
        // Some lines arrive twice.
        let second: Vec<_> = second.into_iter().chain(first.iter().step_by(3).cloned()).collect();
        for store in [&plain, &packed, &mixed] {
            store.append(&[batch(&first)]).unwrap();
            if !std::ptr::eq(store, &plain) {
                store.flush().unwrap();
            }
            store.append(&[batch(&second)]).unwrap();
        }
        packed.flush().unwrap();
        for query in QUERIES {
            for direction in [logql::Direction::Forward, logql::Direction::Backward] {
                let want = ask(&plain, query, direction, limit);
                prop_assert_eq!(&ask(&packed, query, direction, limit), &want, "packed: {}", query);
                prop_assert_eq!(&ask(&mixed, query, direction, limit), &want, "mixed: {}", query);
            }
        }
    }
}
