use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::exposition::{self, Exposition};

// The same messages by an independent encoder, so that a misread field number shows.
#[derive(Clone, PartialEq, Message)]
struct FamilyMessage {
    #[prost(string, optional, tag = "1")]
    name: Option<String>,
    #[prost(string, optional, tag = "2")]
    help: Option<String>,
    #[prost(int32, optional, tag = "3")]
    kind: Option<i32>,
    #[prost(message, repeated, tag = "4")]
    metric: Vec<MetricMessage>,
    #[prost(string, optional, tag = "5")]
    unit: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
struct MetricMessage {
    #[prost(message, repeated, tag = "1")]
    label: Vec<LabelMessage>,
    #[prost(message, optional, tag = "2")]
    gauge: Option<NumberMessage>,
    #[prost(message, optional, tag = "3")]
    counter: Option<NumberMessage>,
    #[prost(message, optional, tag = "4")]
    summary: Option<SummaryMessage>,
    #[prost(message, optional, tag = "5")]
    untyped: Option<NumberMessage>,
    #[prost(int64, optional, tag = "6")]
    timestamp_ms: Option<i64>,
    #[prost(message, optional, tag = "7")]
    histogram: Option<HistogramMessage>,
}

#[derive(Clone, PartialEq, Message)]
struct LabelMessage {
    #[prost(string, optional, tag = "1")]
    name: Option<String>,
    #[prost(string, optional, tag = "2")]
    value: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
struct NumberMessage {
    #[prost(double, optional, tag = "1")]
    value: Option<f64>,
    #[prost(message, optional, tag = "2")]
    exemplar: Option<ExemplarMessage>,
    #[prost(message, optional, tag = "3")]
    created_timestamp: Option<TimeMessage>,
}

#[derive(Clone, PartialEq, Message)]
struct ExemplarMessage {
    #[prost(message, repeated, tag = "1")]
    label: Vec<LabelMessage>,
    #[prost(double, optional, tag = "2")]
    value: Option<f64>,
    #[prost(message, optional, tag = "3")]
    timestamp: Option<TimeMessage>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct TimeMessage {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

#[derive(Clone, PartialEq, Message)]
struct SummaryMessage {
    #[prost(uint64, optional, tag = "1")]
    sample_count: Option<u64>,
    #[prost(double, optional, tag = "2")]
    sample_sum: Option<f64>,
    #[prost(message, repeated, tag = "3")]
    quantile: Vec<QuantileMessage>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct QuantileMessage {
    #[prost(double, optional, tag = "1")]
    quantile: Option<f64>,
    #[prost(double, optional, tag = "2")]
    value: Option<f64>,
}

#[derive(Clone, PartialEq, Message)]
struct HistogramMessage {
    #[prost(uint64, optional, tag = "1")]
    sample_count: Option<u64>,
    #[prost(double, optional, tag = "2")]
    sample_sum: Option<f64>,
    #[prost(message, repeated, tag = "3")]
    bucket: Vec<BucketMessage>,
    #[prost(double, optional, tag = "4")]
    sample_count_float: Option<f64>,
    #[prost(sint32, optional, tag = "5")]
    schema: Option<i32>,
    #[prost(double, optional, tag = "6")]
    zero_threshold: Option<f64>,
    #[prost(uint64, optional, tag = "7")]
    zero_count: Option<u64>,
    #[prost(double, optional, tag = "8")]
    zero_count_float: Option<f64>,
    #[prost(message, repeated, tag = "9")]
    negative_span: Vec<SpanMessage>,
    #[prost(sint64, repeated, packed = "false", tag = "10")]
    negative_delta: Vec<i64>,
    #[prost(double, repeated, packed = "false", tag = "11")]
    negative_count: Vec<f64>,
    #[prost(message, repeated, tag = "12")]
    positive_span: Vec<SpanMessage>,
    #[prost(sint64, repeated, packed = "false", tag = "13")]
    positive_delta: Vec<i64>,
    #[prost(double, repeated, packed = "false", tag = "14")]
    positive_count: Vec<f64>,
    #[prost(message, optional, tag = "15")]
    created_timestamp: Option<TimeMessage>,
    #[prost(message, repeated, tag = "16")]
    exemplars: Vec<ExemplarMessage>,
}

#[derive(Clone, PartialEq, Message)]
struct BucketMessage {
    #[prost(uint64, optional, tag = "1")]
    cumulative_count: Option<u64>,
    #[prost(double, optional, tag = "2")]
    upper_bound: Option<f64>,
    #[prost(message, optional, tag = "3")]
    exemplar: Option<ExemplarMessage>,
    #[prost(double, optional, tag = "4")]
    cumulative_count_float: Option<f64>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct SpanMessage {
    #[prost(sint32, optional, tag = "1")]
    offset: Option<i32>,
    #[prost(uint32, optional, tag = "2")]
    length: Option<u32>,
}

const TYPE: &str = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";

fn label(name: &str, value: &str) -> LabelMessage {
    LabelMessage { name: Some(name.to_owned()), value: Some(value.to_owned()) }
}

fn family(name: &str, kind: i32, metric: MetricMessage) -> FamilyMessage {
    FamilyMessage { name: Some(name.to_owned()), kind: Some(kind), metric: vec![metric], ..FamilyMessage::default() }
}

fn number(value: f64) -> Option<NumberMessage> {
    Some(NumberMessage { value: Some(value), ..NumberMessage::default() })
}

fn seen(value: f64, seconds: Option<i64>) -> ExemplarMessage {
    let timestamp = seconds.map(|seconds| TimeMessage { seconds, nanos: 5_999_999 });
    ExemplarMessage { label: vec![label("trace_id", "abc")], value: Some(value), timestamp }
}

fn page(families: &[FamilyMessage]) -> Vec<u8> {
    families.iter().flat_map(Message::encode_length_delimited_to_vec).collect()
}

fn shown(page: &Exposition) -> String {
    let mut lines = Vec::new();
    for series in &page.series {
        let mut line = series.labels.to_string();
        for sample in &series.samples {
            line += &format!(" = {} @ {}", sample.value, sample.at.0);
        }
        for sample in &series.histograms {
            let histogram = &sample.histogram;
            line += &format!(
                " = schema {} count {} sum {} zero {} below {:?} above {:?} {:?} @ {}",
                histogram.schema,
                histogram.count,
                histogram.sum,
                histogram.zero_count,
                histogram.negative.counts,
                histogram.positive.counts,
                histogram.reset_hint,
                sample.at.0
            );
        }
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

fn histogram() -> HistogramMessage {
    let bucket = |count, bound, exemplar| BucketMessage {
        cumulative_count: Some(count),
        upper_bound: Some(bound),
        exemplar,
        ..BucketMessage::default()
    };
    HistogramMessage {
        sample_count: Some(9),
        sample_sum: Some(2.5),
        bucket: vec![bucket(3, 0.5, Some(seen(0.4, Some(7)))), bucket(6, 1.0, Some(seen(0.7, None)))],
        schema: Some(3),
        zero_threshold: Some(0.001),
        zero_count: Some(1),
        negative_span: vec![SpanMessage { offset: Some(-2), length: Some(1) }],
        negative_delta: vec![2],
        positive_span: vec![SpanMessage { offset: Some(0), length: Some(2) }],
        positive_delta: vec![4, -2],
        created_timestamp: Some(TimeMessage { seconds: 1, nanos: 0 }),
        ..HistogramMessage::default()
    }
}

#[test]
fn reads_every_type() {
    let mut counter = number(17.0);
    if let Some(counter) = &mut counter {
        counter.exemplar = Some(seen(0.5, Some(2)));
        counter.created_timestamp = Some(TimeMessage { seconds: 1, nanos: 0 });
    }
    let quantile = QuantileMessage { quantile: Some(0.5), value: Some(0.25) };
    let families = [
        FamilyMessage {
            help: Some("Bytes.".to_owned()),
            unit: Some("bytes".to_owned()),
            ..family(
                "io_bytes_total",
                0,
                MetricMessage { label: vec![label("a", "b")], counter, timestamp_ms: Some(5), ..Default::default() },
            )
        },
        family("g", 1, MetricMessage { gauge: number(-1.0), ..Default::default() }),
        family(
            "s",
            2,
            MetricMessage {
                summary: Some(SummaryMessage {
                    sample_count: Some(3),
                    sample_sum: Some(1.5),
                    quantile: vec![quantile],
                }),
                ..Default::default()
            },
        ),
        family("u", 3, MetricMessage { untyped: number(3.0), ..Default::default() }),
        family(
            "classic",
            4,
            MetricMessage {
                histogram: Some(HistogramMessage {
                    sample_count: Some(9),
                    sample_sum: Some(2.5),
                    bucket: histogram().bucket,
                    ..Default::default()
                }),
                ..Default::default()
            },
        ),
        FamilyMessage { metric: vec![], ..family("empty", 0, MetricMessage::default()) },
    ];
    let read = exposition::parse(&page(&families), Some(TYPE), Timestamp(1000), &Limits::default()).unwrap();
    insta::assert_snapshot!(shown(&read), @r#"
    io_bytes_total{a="b"} = 17 @ 5 # {trace_id="abc"} 0.5 @ 2005
    g = -1 @ 1000
    s_count = 3 @ 1000
    s_sum = 1.5 @ 1000
    s{quantile="0.5"} = 0.25 @ 1000
    u = 3 @ 1000
    classic_count = 9 @ 1000
    classic_sum = 2.5 @ 1000
    classic_bucket{le="0.5"} = 3 @ 1000 # {trace_id="abc"} 0.4 @ 7005
    classic_bucket{le="1.0"} = 6 @ 1000 # {trace_id="abc"} 0.7 @ 1000
    classic_bucket{le="+Inf"} = 9 @ 1000
    io_bytes_total counter "Bytes." "bytes"
    g gauge "" ""
    s summary "" ""
    u unknown "" ""
    classic histogram "" ""
    "#);
}

#[test]
fn native_histograms_come_in_the_form_that_is_asked_for() {
    let float = HistogramMessage {
        sample_count_float: Some(2.5),
        zero_count_float: Some(0.5),
        positive_span: vec![SpanMessage { offset: Some(0), length: Some(1) }],
        positive_count: vec![2.0],
        exemplars: vec![seen(0.1, Some(9)), seen(0.2, None)],
        ..HistogramMessage::default()
    };
    let page = page(&[
        family("h", 4, MetricMessage { histogram: Some(histogram()), ..Default::default() }),
        family("f", 5, MetricMessage { histogram: Some(float), ..Default::default() }),
    ]);
    let mut lines = Vec::new();
    for form in [HistogramForm::Native, HistogramForm::Classic, HistogramForm::Both] {
        let read = exposition::read_as(&page, Some(TYPE), form, &Limits::default()).unwrap();
        let series = read.points.into_iter().map(|point| point.into_write(Timestamp(1000))).collect();
        lines.push(format!("{form:?}\n{}", shown(&Exposition { series, metadata: vec![] })));
    }
    insta::assert_snapshot!(lines.join("\n"), @r#"
    Native
    h = schema 3 count 9 sum 2.5 zero 1 below [2.0] above [4.0, 2.0] Unknown @ 1000 # {trace_id="abc"} 0.4 @ 7005
    f = schema 0 count 2.5 sum 0 zero 0.5 below [] above [2.0] Gauge @ 1000 # {trace_id="abc"} 0.1 @ 9005
    Classic
    h_count = 9 @ 1000
    h_sum = 2.5 @ 1000
    h_bucket{le="0.5"} = 3 @ 1000 # {trace_id="abc"} 0.4 @ 7005
    h_bucket{le="1.0"} = 6 @ 1000 # {trace_id="abc"} 0.7 @ 1000
    h_bucket{le="+Inf"} = 9 @ 1000
    f_count = 2.5 @ 1000
    f_sum = 0 @ 1000
    f_bucket{le="+Inf"} = 2.5 @ 1000
    Both
    h = schema 3 count 9 sum 2.5 zero 1 below [2.0] above [4.0, 2.0] Unknown @ 1000 # {trace_id="abc"} 0.4 @ 7005
    h_count = 9 @ 1000
    h_sum = 2.5 @ 1000
    h_bucket{le="0.5"} = 3 @ 1000 # {trace_id="abc"} 0.4 @ 7005
    h_bucket{le="1.0"} = 6 @ 1000 # {trace_id="abc"} 0.7 @ 1000
    h_bucket{le="+Inf"} = 9 @ 1000
    f = schema 0 count 2.5 sum 0 zero 0.5 below [] above [2.0] Gauge @ 1000 # {trace_id="abc"} 0.1 @ 9005
    "#);
}

#[test]
fn a_bad_page_names_the_family() {
    let good = family("good", 1, MetricMessage::default());
    let gauge = |label: Vec<LabelMessage>| MetricMessage { label, gauge: number(1.0), ..Default::default() };
    let wrong = HistogramMessage { sample_count: Some(1), ..histogram() };
    for (bad, want) in [
        (family("", 1, gauge(vec![])), "metric family 2: name is empty"),
        (family("t", 9, gauge(vec![])), "metric family 2, `t`: unknown metric type 9"),
        (
            FamilyMessage { unit: Some("seconds".to_owned()), ..family("x", 1, gauge(vec![])) },
            "metric family 2, `x`: name does not end with its unit `seconds`",
        ),
        (family("x", 1, gauge(vec![label("a", "1"), label("a", "2")])), "metric family 2, `x`: label `a` occurs twice"),
        (family("x", 1, gauge(vec![label("", "1")])), "metric family 2, `x`: label without a name"),
        (
            family("h", 4, MetricMessage { histogram: Some(wrong), ..Default::default() }),
            "metric family 2, `h`: native histogram has the count 1, but its buckets hold 9",
        ),
    ] {
        let page = page(&[good.clone(), bad]);
        let error = exposition::parse(&page, Some(TYPE), Timestamp(0), &Limits::default()).unwrap_err();
        assert_eq!(error.to_string(), want);
    }
    let cut = exposition::parse(&page(&[good])[..5], Some(TYPE), Timestamp(0), &Limits::default()).unwrap_err();
    assert_eq!(cut.to_string(), "metric family 1: protobuf ends inside a field");
    let small = Limits { max_items: 1, ..Limits::default() };
    let two = page(&[family("a", 1, gauge(vec![])), family("b", 1, gauge(vec![]))]);
    let many = exposition::parse(&two, Some(TYPE), Timestamp(0), &small).unwrap_err();
    assert_eq!(many.to_string(), "metric family 2, `b`: page has more than 1 samples (max_items)");
    let text = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=text";
    let text = exposition::parse(&two, Some(text), Timestamp(0), &small).unwrap_err();
    assert!(text.to_string().ends_with("is not delimited metric families"), "{text}");
}

proptest! {
    #[test]
    fn any_bytes_parse_or_err(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        for form in [HistogramForm::Native, HistogramForm::Classic, HistogramForm::Both] {
            let _ = exposition::read_as(&bytes, Some(TYPE), form, &Limits::default());
        }
    }

    #[test]
    fn broken_pages_parse_or_err(at in 0_usize..400, byte in any::<u8>()) {
        let mut page = page(&[family("h", 4, MetricMessage { histogram: Some(histogram()), ..Default::default() })]);
        let length = page.len();
        page[at % length] = byte;
        let _ = exposition::read_as(&page, Some(TYPE), HistogramForm::Both, &Limits::default());
    }
}
