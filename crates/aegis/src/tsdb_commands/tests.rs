use std::fmt::Write as _;
use std::path::Path;

use ingest::{Limits, remote_write};
use signal::{Exemplar, MetricKind, MetricMetadata, Sample, SeriesWrite, WriteBatch};
use tempfile::TempDir;

use super::*;
use import::Import;
use metrics_text::Pages;
use sink::Sink;

/// A block that Prometheus wrote; the folder's README says what is in it.
fn block() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../ingest/src/prometheus_tsdb/testdata/block")
}

fn import(data_dir: &Path) -> Import {
    Import::new(Sink::new(PlaceArgs::of(data_dir.to_owned()).locate_or_make().unwrap()).unwrap())
}

fn opened(data_dir: &Path) -> Store {
    Which { data_dir: data_dir.to_owned(), selectors: Vec::new(), start: None, end: None }.open().unwrap()
}

fn dumped(data_dir: &Path, selector: &str, format: DumpFormat) -> (String, dump::LeftOut) {
    let store = opened(data_dir);
    let matchers = vec![promql::parse_selector(selector).unwrap()];
    let snapshot = store.snapshot();
    let mut out = Vec::new();
    let range = TimeRange::all();
    let left_out = dump::write(&mut out, &find(&snapshot, &matchers, range), range, format).unwrap();
    (String::from_utf8(out).unwrap(), left_out)
}

fn imported(text: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut import = import(dir.path());
    import.text(text.as_bytes(), TextFormat::Openmetrics).unwrap();
    import.finish().unwrap();
    import.sink.finish().unwrap();
    dir
}

#[test]
fn a_block_of_prometheus_comes_in_whole_and_only_once() {
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let mut import = import(dir.path());
        import.block(&block()).unwrap();
        import.finish().unwrap();
        import.sink.finish().unwrap();
        assert_eq!((import.sink.taken.samples, import.sink.taken.refused, import.damages), (210, 0, 0));
        assert_eq!(import.oldest, Some(Timestamp(1_700_000_000_000)));
    }
    let (text, _) = dumped(dir.path(), "{__name__=~\".+\",room=\"\",kind!~\"integer|gauge\"}", DumpFormat::Promtool);
    insta::assert_snapshot!(text, @r#"
    {__name__="http_requests_total", code="200", job="api"} 1 1700000000000
    {__name__="http_requests_total", code="200", job="api"} 5 1700000015000
    {__name__="http_requests_total", code="200", job="api"} 5.25 1700000030500
    {__name__="http_requests_total", code="200", job="api"} 5.25 1700000045500
    {__name__="http_requests_total", code="200", job="api"} 1e+09 1700000060001
    {__name__="http_requests_total", code="200", job="api"} 3 1700000075000
    {__name__="http_requests_total", code="200", job="api"} NaN 1700000090000
    {__name__="http_requests_total", code="200", job="api"} +Inf 1700000105000
    {__name__="http_requests_total", code="200", job="api"} NaN 1700000120000
    {__name__="latency_seconds", kind="float"} {count:10.5, sum:18.5, [-0,0]:1.25, (0.125,0.25]:2.5, (0.25,0.5]:3.25, (1,2]:3.5} 1700000000000
    {__name__="latency_seconds", kind="float"} {count:12.5, sum:19.5, [-0,0]:1.25, (0.125,0.25]:3.5, (0.25,0.5]:4.25, (1,2]:3.5} 1700000015000
    {__name__="latency_seconds", kind="float"} {count:12.75, sum:19.75, [-0,0]:1.5, (0.125,0.25]:3.5, (0.25,0.5]:4.25, (1,2]:3.5} 1700000030000
    "#);
    let (text, left_out) = dumped(dir.path(), "{__name__=~\".+\"}", DumpFormat::Openmetrics);
    assert_eq!(left_out, dump::LeftOut { markers: 1, histograms: 11 });
    assert_eq!(text.lines().count(), 8 + 190 + 1);
    assert!(text.contains("temperature_celsius{room=\"a \\\"b\\\" \\\\ é\"} 18.7 1700000015.001\n"), "{text}");
}

#[test]
fn a_damaged_series_is_left_out_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let broken = dir.path().join("01BROKEN");
    std::fs::create_dir_all(broken.join("chunks")).unwrap();
    for file in ["meta.json", "index", "chunks/000001"] {
        let mut bytes = std::fs::read(block().join(file)).unwrap();
        if file == "chunks/000001" {
            bytes[30] ^= 1;
        }
        std::fs::write(broken.join(file), bytes).unwrap();
    }
    std::fs::create_dir(dir.path().join("01GONE.tmp-for-deletion")).unwrap();
    let found = prometheus_dir::blocks(dir.path()).unwrap();
    let found: Vec<_> = found.into_iter().map(|(path, _)| path).collect();
    assert_eq!(found, std::slice::from_ref(&broken));
    let mut import = import(&dir.path().join("data"));
    import.block(&broken).unwrap();
    import.finish().unwrap();
    assert_eq!((import.sink.taken.samples, import.damages), (204, 1));

    let empty = tempfile::tempdir().unwrap();
    let error = prometheus_dir::blocks(empty.path()).unwrap_err().to_string();
    assert!(error.starts_with("there is no block of a Prometheus in "), "{error}");
}

const TEXT: &str = r#"# TYPE requests counter
# HELP requests How many.
requests_total{code="200"} 1 1700000000
requests_total{code="200"} 1e9 1700000015.5
requests_total{code="500"} 0.5 1700000000 # {trace_id="abc"} 0.5
# TYPE seconds histogram
seconds_bucket{le="1"} 2 -1.25
seconds_bucket{le="+Inf"} 3 0
{"a.b","c-d"="line\n\"two\""} NaN 10
# EOF
"#;

#[test]
fn what_is_written_out_can_be_brought_in_again() {
    let first = imported(TEXT);
    let (text, left_out) = dumped(first.path(), "{__name__=~\".+\"}", DumpFormat::Openmetrics);
    assert_eq!(left_out, dump::LeftOut::default());
    insta::assert_snapshot!(text, @r#"
    {"a.b","c-d"="line\n\"two\""} NaN 10.000
    requests_total{code="200"} 1 1700000000.000
    requests_total{code="200"} 1e+09 1700000015.500
    requests_total{code="500"} 0.5 1700000000.000
    seconds_bucket{le="+Inf"} 3 0.000
    seconds_bucket{le="1.0"} 2 -1.250
    # EOF
    "#);
    let second = imported(&text);
    assert_eq!(dumped(second.path(), "{__name__=~\".+\"}", DumpFormat::Openmetrics).0, text);
}

#[test]
fn wrong_text_is_refused_with_its_line() {
    let many = "a 1 1\n".repeat(400_000);
    for (what, text, says) in [
        ("no end", "a 1 1\n".to_owned(), "the text does not end with `# EOF`; it may be cut short"),
        ("after the end", "# EOF\na 1 1\n".to_owned(), "line 2: text after `# EOF`"),
        ("no time", "b 1 1\na 1\n# EOF\n".to_owned(), "lines 1 to 3: a sample of `a` has no time"),
        ("no number", "a 1 1\na x 1\n# EOF\n".to_owned(), "line 2, column 3: `x` is not a number"),
        (
            "far behind",
            format!("# TYPE a gauge\n# HELP a b\n{many}a x 1\n# EOF\n"),
            "line 400003, column 3: `x` is not a number",
        ),
        ("a long line", "a".repeat(2 << 20), "line 1 is longer than the limit of 1048576 bytes"),
    ] {
        let mut pages = Pages::new(text.as_bytes(), TextFormat::Openmetrics);
        let error = loop {
            match pages.next() {
                Ok(Some(_)) => {}
                Ok(None) => panic!("{what}: taken"),
                Err(error) => break error.to_string(),
            }
        };
        assert_eq!(error, says, "{what}");
    }
}

#[test]
fn pages_know_the_family_they_begin_in() {
    let mut text = "# TYPE h histogram\n".to_owned();
    for at in 0..100_000 {
        writeln!(text, "h_bucket{{le=\"1\"}} {at} {at}").unwrap();
    }
    text.push_str("# EOF\n");
    let mut pages = Pages::new(text.as_bytes(), TextFormat::Openmetrics);
    let (mut samples, mut said, mut count) = (0, 0, 0);
    while let Some(batch) = pages.next().unwrap() {
        count += 1;
        said += batch.metadata.len();
        for series in batch.series {
            assert_eq!(series.labels.get("le"), Some("1.0"));
            samples += series.samples.len();
        }
    }
    assert!(count > 1);
    assert_eq!((samples, said), (100_000, 1));

    let mut pages = Pages::new("a 1 1500\n".as_bytes(), TextFormat::Prometheus);
    let batch = pages.next().unwrap().unwrap();
    assert_eq!(batch.series[0].samples[0].at, Timestamp(1_500));
    assert!(pages.next().unwrap().is_none());
}

#[test]
fn a_sent_batch_is_the_one_that_was_given() {
    let mut found = prometheus_dir::open(&block()).unwrap();
    let mut series = Vec::new();
    while let Some(one) = found.next_series().unwrap() {
        series.push(one);
    }
    let sample = Sample { at: Timestamp(-5), value: 0.5 };
    let exemplar = Exemplar { labels: Labels::from_pairs([("trace_id", "abc")]), value: 0.25, at: Timestamp(7) };
    let labels = Labels::from_pairs([("__name__", "é"), ("empty", "")]);
    series.push(SeriesWrite { exemplars: vec![exemplar], ..SeriesWrite::new(labels, [sample]) });
    let metadata = vec![MetricMetadata {
        name: "a".to_owned(),
        kind: MetricKind::GaugeHistogram,
        help: "b".to_owned(),
        unit: "c".to_owned(),
    }];
    let packed = snap::raw::Encoder::new().compress_vec(&remote::encode(&series, &metadata)).unwrap();
    let decoded = remote_write::decode(&packed, &Limits::default()).unwrap();
    assert!(decoded.rejected.is_empty(), "{:?}", decoded.rejected);
    // NaN is not equal to itself.
    assert_eq!(
        format!("{:?}", decoded.batch),
        format!("{:?}", WriteBatch { series, metadata, ..WriteBatch::default() })
    );
}

#[test]
fn an_analysis_counts_labels_and_churn() {
    let dir = imported(TEXT);
    let store = opened(dir.path());
    let (snapshot, range) = (store.snapshot(), TimeRange::all());
    let found = find(&snapshot, &[Vec::new()], range);
    let found = found.iter().fold(analyze::Found::default(), |found, reader| found.with(reader, range));
    let mut out = Vec::new();
    found.write(&mut out, Some(600), 3).unwrap();
    insta::assert_snapshot!(String::from_utf8(out).unwrap(), @"
    From: 1969-12-31T23:59:58.75Z
    To: 2023-11-14T22:13:35.5Z
    Duration: 472222h13m36s750ms
    Series: 5
    Samples: 6
    Native histograms among them: 0
    Samples per series: 1.2
    Bytes on disk: 600
    Bytes per sample: 100.00
    Label names: 4
    Unique label pairs: 8
    Label pairs in all: 10

    Label pairs most involved in churning:
    2 __name__=seconds_bucket
    1 __name__=a.b
    1 __name__=requests_total

    Label names most involved in churning:
    4 __name__
    2 le
    1 c-d

    Most common label pairs:
    2 __name__=requests_total
    2 __name__=seconds_bucket
    1 __name__=a.b

    Label names with highest cumulative label value length:
    31 __name__
    10 c-d
    7 le

    Highest cardinality labels:
    3 __name__
    2 code
    2 le

    Highest cardinality metric names:
    2 requests_total
    2 seconds_bucket
    1 a.b
    ");
}
