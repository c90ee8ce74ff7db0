use proptest::prelude::*;

use super::*;

const NOW: Timestamp = Timestamp(1_000);
const OPENMETRICS: Option<&str> = Some("application/openmetrics-text; version=1.0.0; charset=utf-8");

fn shown(page: &Exposition) -> String {
    let mut lines = Vec::new();
    for series in &page.series {
        let sample = &series.samples[0];
        let mut line = format!("{} = {} @ {}", series.labels, sample.value, sample.at.0);
        for exemplar in &series.exemplars {
            line += &format!(" # {} {} @ {}", exemplar.labels, exemplar.value, exemplar.at.0);
        }
        lines.push(line);
    }
    for family in &page.metadata {
        lines.push(format!("{} {} {:?} {:?}", family.name, family.kind.as_str(), family.help, family.unit));
    }
    lines.join("\n")
}

#[test]
fn reads_the_classic_format() {
    let page = r#"
# HELP http_requests_total Total \\ requests.\nSecond line.
# TYPE http_requests_total counter
http_requests_total{method="post",code="200",} 1027 1395066363000
http_requests_total { path = "a\"b\\c\nd" }	3
# an ordinary comment {
#TYPE http_requests_total nonsense
# HELP
# TYPE h histogram
h_bucket{le="1"} 3
h_bucket{le="0.05"} 1e3
h_bucket{le="+Inf"} 4
h_sum 1.5E-2
h_count 4
# TYPE "utf8.metric" gauge
{"utf8.metric", "a.b"="ü"} -Inf
{"other"} nan
# TYPE s summary
s{quantile="0"} NaN
free:form_ -3 -5
no_newline 0"#;
    insta::assert_snapshot!(shown(&parse(page.as_bytes(), Some("text/plain; version=0.0.4"), NOW, &Limits::default()).unwrap()), @r#"
    http_requests_total{code="200", method="post"} = 1027 @ 1395066363000
    http_requests_total{path="a\"b\\c\nd"} = 3 @ 1000
    h_bucket{le="1.0"} = 3 @ 1000
    h_bucket{le="0.05"} = 1000 @ 1000
    h_bucket{le="+Inf"} = 4 @ 1000
    h_sum = 0.015 @ 1000
    h_count = 4 @ 1000
    utf8.metric{a.b="ü"} = -inf @ 1000
    other = NaN @ 1000
    s{quantile="0.0"} = NaN @ 1000
    free:form_ = -3 @ -5
    no_newline = 0 @ 1000
    http_requests_total counter "Total \\ requests.\nSecond line." ""
    h histogram "" ""
    utf8.metric gauge "" ""
    s summary "" ""
    "#);
}

#[test]
fn reads_openmetrics() {
    let page = r#"# TYPE foo_seconds counter
# UNIT foo_seconds seconds
# HELP foo_seconds A \"quoted\" help
foo_seconds_total{a="b"} 17.0 1520879607.789 # {trace_id="abc"} 0.5 1520879607.1
foo_seconds_created{a="b"} 1520872607.123
# TYPE h histogram
h_bucket{le="1000000"} 4 # {} 1
# TYPE i info
i_info{v="1"} 1
# EOF
"#;
    insta::assert_snapshot!(shown(&parse(page.as_bytes(), OPENMETRICS, NOW, &Limits::default()).unwrap()), @r#"
    foo_seconds_total{a="b"} = 17 @ 1520879607789 # {trace_id="abc"} 0.5 @ 1520879607100
    foo_seconds_created{a="b"} = 1520872607.123 @ 1000
    h_bucket{le="1e+06"} = 4 @ 1000 # {} 1 @ 1000
    i_info{v="1"} = 1 @ 1000
    foo_seconds counter "A \"quoted\" help" "seconds"
    h histogram "" ""
    i info "" ""
    "#);
}

#[test]
fn a_bad_page_says_where_and_why() {
    let small = Limits { max_items: 2, max_decoded_bytes: 70, ..Limits::default() };
    for (page, content_type, want) in [
        ("a 1\nb", None, "line 2, column 2: sample has no value"),
        ("a x", None, "line 1, column 3: `x` is not a number"),
        ("a 1 1.5", None, "line 1, column 5: `1.5` is not a timestamp"),
        ("a 1 2 3", None, "line 1, column 7: unexpected text after the sample"),
        ("a 1 # {} 1", None, "line 1, column 5: unexpected text after the sample"),
        ("a{b=\"c\" 1", None, "line 1, column 9: expected `,` or `}`"),
        ("a{b=\"c} 1", None, "line 1, column 5: quoted text does not end"),
        ("a{b=c} 1", None, "line 1, column 5: expected a quoted text"),
        ("a{b} 1", None, "line 1, column 4: expected `=`"),
        ("a{b=\"1\",b=\"2\"} 1", None, "line 1, column 9: label `b` occurs twice"),
        ("{a=\"1\",\"m\",a=\"2\"} 1", None, "line 1, column 12: label `a` occurs twice"),
        ("{b=\"1\",a=\"1\",b=\"2\",\"m\"} 1", None, "line 1, column 14: label `b` occurs twice"),
        ("a{__name__=\"b\"} 1", None, "line 1, column 3: label `__name__` occurs twice"),
        ("a{\"x\"} 1", None, "line 1, column 6: expected `=`"),
        ("{\"x\",\"y\"} 1", None, "line 1, column 9: expected `=`"),
        ("{a=\"b\"} 1", None, "line 1, column 8: sample has no metric name"),
        ("{\"\"} 1", None, "line 1, column 2: name is empty"),
        ("9a 1", None, "line 1, column 1: expected a name"),
        ("a{", None, "line 1, column 3: label set does not end"),
        ("# TYPE a counterr", None, "line 1, column 10: unknown metric type `counterr`"),
        ("a 1\n", OPENMETRICS, "line 2, column 1: page does not end with `# EOF`"),
        ("# EOF\na 1\n", OPENMETRICS, "line 2, column 1: text after `# EOF`"),
        ("a 1 # 5\n# EOF\n", OPENMETRICS, "line 1, column 7: exemplar has no label set"),
        ("a 1 # {} 5 x\n# EOF\n", OPENMETRICS, "line 1, column 12: `x` is not a timestamp"),
        ("a 1", Some("text/html"), "content type `text/html` is not a format of metrics"),
        ("a 1\na 2\na 3", None, "line 3, column 1: page has more than 2 samples (max_items)"),
        (
            "# ---------------------------------------------------------------------\n",
            None,
            "page has 72 bytes, more than the limit of 70 (max_decoded_bytes)",
        ),
    ] {
        assert_eq!(parse(page.as_bytes(), content_type, NOW, &small).unwrap_err().to_string(), want, "{page}");
    }
    let error = parse(b"a 1\nb\xff 2", None, NOW, &small).unwrap_err();
    assert_eq!(error.to_string(), "line 2, column 2: not UTF-8");
}

#[test]
fn bounds_are_spelled_as_go_does() {
    for (value, want) in [
        (0.0, "0.0"),
        (1.0, "1.0"),
        (-1.0, "-1.0"),
        (0.005, "0.005"),
        (0.00001, "1e-05"),
        (123_456.0, "123456.0"),
        (1_000_000.0, "1e+06"),
        (1_234_567.5, "1.2345675e+06"),
        (1e100, "1e+100"),
        (f64::INFINITY, "+Inf"),
        (f64::NAN, "NaN"),
    ] {
        assert_eq!(number::openmetrics_float(value), want);
    }
}

proptest! {
    #[test]
    fn blanks_and_order_change_nothing(
        labels in proptest::collection::btree_map("[a-z_][a-z0-9]{0,3}", "[a-z\"\\\\{},= é]{0,6}", 0..6),
        order in any::<u64>(),
    ) {
        let quoted = |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"");
        let mut pairs: Vec<_> = labels.iter().map(|(name, value)| (name.clone(), quoted(value))).collect();
        let write = |pairs: &[(String, String)], blank: &str| {
            let pairs: Vec<_> = pairs.iter().map(|(name, value)| format!("{name}{blank}={blank}\"{value}\"")).collect();
            format!("m{{{blank}{}{blank}}} 1\n", pairs.join(&format!("{blank},{blank}")))
        };
        let want = Labels::from_pairs(labels.iter()).with(Labels::NAME, "m");
        for turn in 0..3 {
            for blank in ["", " \t"] {
                let page = write(&pairs, blank);
                let read = parse(page.as_bytes(), None, NOW, &Limits::default()).unwrap();
                prop_assert_eq!(&read.series[0].labels, &want, "{}", page);
            }
            if !pairs.is_empty() {
                let by = (order >> turn) as usize % pairs.len();
                pairs.rotate_left(by);
            }
        }
    }

    #[test]
    fn any_bytes_parse_or_err(bytes in proptest::collection::vec(any::<u8>(), 0..200), text in "[#{}\"\\\\=, a_1.\nTYPEHL]{0,80}") {
        for content_type in [None, OPENMETRICS] {
            let _ = parse(&bytes, content_type, NOW, &Limits::default());
            let _ = parse(text.as_bytes(), content_type, NOW, &Limits::default());
        }
    }

    #[test]
    fn what_is_written_is_read(
        rows in proptest::collection::vec(
            ("[a-z_:][a-z0-9_:]{0,9}", proptest::collection::btree_map("[a-z][a-z0-9]{0,5}", "\\PC{1,8}", 0..4), any::<f64>(), any::<i64>()),
            0..12,
        ),
    ) {
        let mut page = String::new();
        for (name, labels, value, at) in &rows {
            let pairs: Vec<_> = labels.iter().map(|(name, value)| {
                format!("{name}=\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
            }).collect();
            page += &format!("{name}{{{}}} {value} {at}\n", pairs.join(","));
        }
        let read = parse(page.as_bytes(), None, NOW, &Limits::default()).unwrap();
        prop_assert_eq!(read.series.len(), rows.len());
        for (series, (name, labels, value, at)) in read.series.iter().zip(&rows) {
            prop_assert_eq!(&series.labels, &Labels::from_pairs(labels).with(Labels::NAME, name));
            prop_assert!(series.samples[0].value.to_bits() == value.to_bits() || value.is_nan());
            prop_assert_eq!(series.samples[0].at.0, *at);
        }
    }
}
