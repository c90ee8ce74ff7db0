use std::time::Duration;

use clap::Parser;
use signal::{Labels, Sample, SeriesWrite, WriteBatch};
use store::Store;

use super::*;
use crate::cli::{Cli, Command};

const NOW: Timestamp = Timestamp(1_706_189_400_000);

fn args(line: &str) -> Result<MetricsArgs, String> {
    let words = ["aegis", "query", "metrics"].into_iter().chain(line.split(' '));
    match Cli::try_parse_from(words).map_err(|error| error.to_string())?.command {
        Command::Query(QueryCommand::Metrics(args)) => Ok(args),
        _ => Err("another command".to_owned()),
    }
}

#[test]
fn moments_and_ranges_are_what_the_flags_say() {
    let over = |start, end, step| {
        When::Over(Steps { start: Timestamp(start), end: Timestamp(end), step: Duration::from_millis(step) })
    };
    let hour = 3_600_000;
    for (line, want) in [
        ("up", When::At(NOW)),
        ("up --time 2024-01-25T13:00:00Z", When::At(Timestamp(1_706_187_600_000))),
        ("up --time -1.5", When::At(Timestamp(-1_500))),
        ("up --time now-1h", When::At(Timestamp(NOW.0 - hour))),
        ("up --step 15s", over(NOW.0 - hour, NOW.0, 15_000)),
        ("up --start now-1d --end now-12h", over(NOW.0 - 24 * hour, NOW.0 - 12 * hour, 172_000)),
        ("up --start 0 --end 10 --step 2.5", over(0, 10_000, 2_500)),
    ] {
        assert_eq!(when(&args(line).unwrap(), NOW).unwrap(), want, "{line}");
    }
    for (line, says) in [
        (
            "up --start 10 --end 0",
            "the range ends before it starts: 1970-01-01T00:00:00Z is before 1970-01-01T00:00:10Z",
        ),
        (
            "up --start 0 --end 11000 --step 1",
            "the range has 11000 steps, more than the limit of 11000; make --step larger",
        ),
    ] {
        assert_eq!(when(&args(line).unwrap(), NOW).unwrap_err().to_string(), says, "{line}");
    }
    for (line, says) in [
        ("up --time yesterday", "`yesterday` is no time; write unix seconds, RFC 3339, `now` or `now-1h30m`"),
        ("up --step 0", "`0` is no step; write something like `15s`, `1m30s`, or seconds above zero"),
        ("up --time 1 --step 1", "cannot be used with"),
        ("up --url http://a --data-dir b", "cannot be used with"),
    ] {
        let error = args(line).unwrap_err();
        assert!(error.contains(says), "{line}: {error}");
    }
}

#[test]
fn numbers_are_written_as_the_tools_write_them() {
    for (value, plain, general, api) in [
        (0.0, "0", "0", "0"),
        (-0.0, "-0", "-0", "-0"),
        (1e6, "1000000", "1e+06", "1000000"),
        (123_456.75, "123456.75", "123456.75", "123456.75"),
        (1_234_567.5, "1234567.5", "1.2345675e+06", "1234567.5"),
        (1e21, "1000000000000000000000", "1e+21", "1e+21"),
        (0.0001, "0.0001", "0.0001", "0.0001"),
        (0.000_01, "0.00001", "1e-05", "0.00001"),
        (1.5e-7, "0.00000015", "1.5e-07", "1.5e-07"),
        (f64::NAN, "NaN", "NaN", "NaN"),
        (f64::INFINITY, "+Inf", "+Inf", "+Inf"),
        (f64::NEG_INFINITY, "-Inf", "-Inf", "-Inf"),
    ] {
        assert_eq!(
            (numbers::plain(value), numbers::general(value), numbers::api(value)),
            (plain.to_owned(), general.to_owned(), api.to_owned())
        );
    }
    for (ms, text) in
        [(0, "0"), (1_500, "1.5"), (10_000, "10"), (-1_001, "-1.001"), (1_706_189_400_120, "1706189400.12")]
    {
        assert_eq!(numbers::seconds(ms), text);
    }
}

fn shown(answered: &Answered, when: When, output: Output) -> String {
    let mut out = Vec::new();
    render::write(&mut out, answered, when, output).unwrap();
    String::from_utf8(out).unwrap()
}

fn store() -> Store {
    let store = Store::in_memory();
    let series = |code: &str, values: [f64; 5]| {
        let labels = Labels::from_pairs([("__name__", "requests_total"), ("job", "api"), ("code", code)]);
        let samples =
            values.into_iter().enumerate().map(|(at, value)| Sample { at: Timestamp(at as i64 * 15_000), value });
        SeriesWrite::new(labels, samples)
    };
    let series = vec![series("200", [1.0, 4.0, 9.5, 16.0, 25.0]), series("500", [0.0, f64::NAN, 1.0, 1.0, 1e9])];
    store.append(&[WriteBatch { series, ..WriteBatch::default() }]).unwrap();
    store
}

#[test]
fn an_instant_is_shown_in_four_ways() {
    let when = When::At(Timestamp(60_000));
    let answered = evaluate(&store(), "requests_total", when).unwrap();
    insta::assert_snapshot!(shown(&answered, when, Output::Table), @r#"
    requests_total{job="api"}

    code       VALUE
     200          25
     500  1000000000

    2 series, at 1970-01-01T00:01:00Z
    "#);
    insta::assert_snapshot!(shown(&answered, when, Output::Csv), @r"
    __name__,code,job,timestamp,value
    requests_total,200,api,60,25
    requests_total,500,api,60,1000000000
    ");
    insta::assert_snapshot!(shown(&answered, when, Output::Prom), @r#"
    requests_total{code="200", job="api"} => 25 @[60]
    requests_total{code="500", job="api"} => 1000000000 @[60]
    "#);
    insta::assert_snapshot!(
        shown(&answered, when, Output::Json),
        @r#"{"resultType":"vector","result":[{"metric":{"__name__":"requests_total","code":"200","job":"api"},"value":[60,"25"]},{"metric":{"__name__":"requests_total","code":"500","job":"api"},"value":[60,"1000000000"]}]}"#
    );
    for (query, prom) in [("1 + 1", "scalar: 2 @[60]\n"), ("\"a, b\"", "a, b\n"), ("nothing", "\n")] {
        let answered = evaluate(&store(), query, when).unwrap();
        assert_eq!(shown(&answered, when, Output::Prom), prom, "{query}");
    }
    let none = evaluate(&store(), "nothing", when).unwrap();
    assert_eq!(shown(&none, when, Output::Table), "no series\n");
}

#[test]
fn a_range_is_shown_in_four_ways() {
    let when = When::Over(Steps { start: Timestamp(0), end: Timestamp(60_000), step: Duration::from_secs(15) });
    let answered = evaluate(&store(), "requests_total", when).unwrap();
    insta::assert_snapshot!(shown(&answered, when, Output::Table), @r#"
    requests_total{job="api"}

    code  POINTS  FIRST  LOWEST     HIGHEST        LAST  TREND
     200       5      1       1          25          25  ▁▂▃▅█
     500       5      0       0  1000000000  1000000000  ▁ ▁▁█

    2 series, from 1970-01-01T00:00:00Z to 1970-01-01T00:01:00Z, every 15s
    "#);
    insta::assert_snapshot!(shown(&answered, when, Output::Prom), @r#"
    requests_total{code="200", job="api"} =>
    1 @[0]
    4 @[15]
    9.5 @[30]
    16 @[45]
    25 @[60]
    requests_total{code="500", job="api"} =>
    0 @[0]
    NaN @[15]
    1 @[30]
    1 @[45]
    1000000000 @[60]
    "#);
    assert_eq!(shown(&answered, when, Output::Csv).lines().count(), 11);
    let json: serde_json::Value = serde_json::from_str(&shown(&answered, when, Output::Json)).unwrap();
    assert_eq!(json["result"][1]["values"][1], serde_json::json!([15, "NaN"]));
}

#[test]
fn answers_of_servers_are_understood() {
    let body = br#"{"status":"success","data":{"resultType":"vector","result":[
        {"metric":{"__name__":"a","x":"1,\"2\""},"value":[1.5,"+Inf"]},
        {"metric":{"__name__":"h"},"histogram":[1.5,{"count":"3","sum":"1.25","buckets":[[1,"-0.5","-0.25","1"],[3,"-0.001","0.001","1"],[0,"0.5","1","1"]]}]}
    ]},"warnings":["w"],"infos":["i"]}"#;
    let answered = answer::parse(body).unwrap();
    assert_eq!((&*answered.warnings, &*answered.infos), (&["w".to_owned()][..], &["i".to_owned()][..]));
    let when = When::At(Timestamp(1_500));
    insta::assert_snapshot!(shown(&answered, when, Output::Prom), @r#"
    a{x="1,\"2\""} => +Inf @[1.5]
    h => Count: 3, Sum: 1.25, Buckets: [[-0.5,-0.25):1 [-0.001,0.001]:1 (0.5,1]:1] @[1.5]
    "#);
    insta::assert_snapshot!(shown(&answered, when, Output::Csv), @r#"
    __name__,x,timestamp,value
    a,"1,""2""",1.5,+Inf
    h,,1.5,"{""count"":""3"",""sum"":""1.25"",""buckets"":[[1,""-0.5"",""-0.25"",""1""],[3,""-0.001"",""0.001"",""1""],[0,""0.5"",""1"",""1""]]}"
    "#);
    for (body, says) in [
        ("{}", "missing field `data`"),
        (r#"{"data":{"resultType":"vector","result":[{"metric":{}}]}}"#, "a series has neither value nor histogram"),
        (r#"{"data":{"resultType":"scalar","result":[1,"one"]}}"#, "`one` is not a number"),
    ] {
        let error = answer::parse(body.as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with(says), "{error}");
    }
    assert_eq!(place::said(br#"{"status":"error","error":"no"}"#), "no");
    assert_eq!(place::said(b" plain \n"), "plain");
}
