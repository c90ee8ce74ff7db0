use proptest::prelude::*;
use prost::Message;
use signal::{Histogram, Labels, MetricKind, ResetHint, Sample, Timestamp, WriteBatch, is_stale};

use super::*;
use crate::Intake;

// The same messages by an independent encoder, so that a misread field number shows.
#[derive(Clone, PartialEq, Message)]
struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    timeseries: Vec<TimeSeries>,
    #[prost(message, repeated, tag = "3")]
    metadata: Vec<Metadata>,
}

#[derive(Clone, PartialEq, Message)]
struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Pair>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Point>,
    #[prost(message, repeated, tag = "3")]
    exemplars: Vec<ExemplarMessage>,
    #[prost(message, repeated, tag = "4")]
    histograms: Vec<HistogramMessage>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct HistogramMessage {
    #[prost(uint64, optional, tag = "1")]
    pub(super) count_int: Option<u64>,
    #[prost(double, optional, tag = "2")]
    pub(super) count_float: Option<f64>,
    #[prost(double, tag = "3")]
    pub(super) sum: f64,
    #[prost(sint32, tag = "4")]
    pub(super) schema: i32,
    #[prost(double, tag = "5")]
    pub(super) zero_threshold: f64,
    #[prost(uint64, optional, tag = "6")]
    pub(super) zero_count_int: Option<u64>,
    #[prost(double, optional, tag = "7")]
    pub(super) zero_count_float: Option<f64>,
    #[prost(message, repeated, tag = "8")]
    pub(super) negative_spans: Vec<Span>,
    #[prost(sint64, repeated, tag = "9")]
    pub(super) negative_deltas: Vec<i64>,
    #[prost(double, repeated, tag = "10")]
    pub(super) negative_counts: Vec<f64>,
    #[prost(message, repeated, tag = "11")]
    pub(super) positive_spans: Vec<Span>,
    #[prost(sint64, repeated, tag = "12")]
    pub(super) positive_deltas: Vec<i64>,
    #[prost(double, repeated, tag = "13")]
    pub(super) positive_counts: Vec<f64>,
    #[prost(int32, tag = "14")]
    pub(super) reset_hint: i32,
    #[prost(int64, tag = "15")]
    pub(super) timestamp: i64,
    #[prost(double, repeated, tag = "16")]
    pub(super) custom_values: Vec<f64>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Span {
    #[prost(sint32, tag = "1")]
    pub(super) offset: i32,
    #[prost(uint32, tag = "2")]
    pub(super) length: u32,
}

#[derive(Clone, PartialEq, Message)]
struct Pair {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct Point {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
struct ExemplarMessage {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Pair>,
    #[prost(double, tag = "2")]
    value: f64,
    #[prost(int64, tag = "3")]
    timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Metadata {
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(string, tag = "2")]
    metric_family_name: String,
    #[prost(string, tag = "4")]
    help: String,
    #[prost(string, tag = "5")]
    unit: String,
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<Pair> {
    pairs.iter().map(|(name, value)| Pair { name: (*name).to_owned(), value: (*value).to_owned() }).collect()
}

fn body(request: &WriteRequest) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(&request.encode_to_vec()).unwrap()
}

fn one(labels: &[(&str, &str)]) -> TimeSeries {
    TimeSeries { labels: pairs(labels), samples: vec![Point { value: 1.0, timestamp: 5 }], ..TimeSeries::default() }
}

#[test]
fn a_request_arrives_whole() {
    let stale = signal::stale_marker();
    let request = WriteRequest {
        timeseries: vec![TimeSeries {
            labels: pairs(&[("job", "backend"), ("__name__", "up")]),
            samples: vec![Point { value: 1.5, timestamp: -7 }, Point { value: stale, timestamp: 9 }],
            exemplars: vec![ExemplarMessage { labels: pairs(&[("trace_id", "abc")]), value: 0.5, timestamp: 8 }],
            histograms: vec![],
        }],
        metadata: vec![Metadata { kind: 1, metric_family_name: "up".into(), help: "h".into(), unit: "s".into() }],
    };
    let decoded = every_way(&body(&request), &Limits::default());
    assert_eq!(decoded.rejected, []);
    let series = &decoded.batch.series[0];
    assert_eq!(series.labels.to_string(), r#"up{job="backend"}"#);
    assert_eq!(series.samples[0], Sample { at: Timestamp(-7), value: 1.5 });
    assert!(is_stale(series.samples[1].value));
    assert_eq!(series.exemplars[0].labels.get("trace_id"), Some("abc"));
    assert_eq!(decoded.batch.metadata[0].kind, MetricKind::Counter);
    assert_eq!((&*decoded.batch.metadata[0].help, &*decoded.batch.metadata[0].unit), ("h", "s"));
}

#[test]
fn a_bad_series_is_refused_alone() {
    let mut histogram = one(&[("__name__", "h")]);
    histogram.samples.clear();
    histogram.histograms = vec![HistogramMessage { schema: 99, ..HistogramMessage::default() }; 2];
    for (case, bad, reason, count, example) in [
        ("no name", one(&[("a", "b")]), "missing_metric_name", 1, r#"series has no metric name: `{a="b"}`"#),
        ("empty name", one(&[("__name__", "")]), "missing_metric_name", 1, "series has no metric name: `{}`"),
        (
            "twice",
            one(&[("__name__", "x"), ("a", "1"), ("a", "2")]),
            "duplicate_label",
            1,
            r#"series has the label `a` twice: `x{a="2"}`"#,
        ),
        (
            "nameless label",
            one(&[("__name__", "x"), ("", "1")]),
            "empty_label_name",
            1,
            r#"series has a label without a name: `x{="1"}`"#,
        ),
        (
            "native histogram",
            histogram,
            "invalid_native_histogram",
            2,
            "native histogram has the schema 99; known are -4 to 8, and -53 for custom buckets: `h`",
        ),
    ] {
        let request = WriteRequest { timeseries: vec![bad, one(&[("__name__", "good")])], metadata: vec![] };
        let decoded = every_way(&body(&request), &Limits::default());
        assert_eq!(decoded.batch.series.len(), 1, "{case}");
        let refused = &decoded.rejected[0];
        assert_eq!((refused.reason, refused.count, &*refused.example), (reason, count, example), "{case}");
    }
}

#[test]
fn an_unreadable_body_is_refused_whole() {
    let snappy = |bytes: &[u8]| snap::raw::Encoder::new().compress_vec(bytes).unwrap();
    let three = WriteRequest { timeseries: vec![one(&[("__name__", "x")]); 3], metadata: vec![] };
    let small = Limits { max_items: 2, ..Limits::default() };
    for (case, body, limits, want) in [
        ("not snappy", b"\xff\xff\xff".to_vec(), Limits::default(), "cannot decompress the remote-write request"),
        ("not protobuf", snappy(b"\x0a\x09a"), Limits::default(), "cannot read the remote-write request"),
        ("too many", body(&three), small, "remote-write request has more than 2 samples (max_items)"),
        (
            "too large",
            body(&three),
            Limits { max_compressed_bytes: 3, ..small },
            "cannot decompress the remote-write request",
        ),
    ] {
        assert_eq!(decode(&body, &limits).unwrap_err().to_string(), want, "{case}");
    }
}

/// All the ways to read one body, which must agree.
fn every_way(body: &[u8], limits: &Limits) -> Decoded {
    let decoded = decode(body, limits).unwrap();
    let decoder = RemoteWriteDecoder::new(*limits, 42);
    for turn in ["first", "second"] {
        let again = Decoded::from(decoder.decode(body).unwrap());
        // As text, because no NaN equals another.
        assert_eq!(format!("{again:?}"), format!("{decoded:?}"), "{turn} time");
    }
    decoded
}

#[test]
fn native_histograms_arrive_with_absolute_counts() {
    let whole = HistogramMessage {
        count_int: Some(21),
        sum: 12.5,
        schema: 2,
        zero_threshold: 0.001,
        zero_count_int: Some(2),
        negative_spans: vec![Span { offset: -3, length: 1 }],
        negative_deltas: vec![4],
        positive_spans: vec![Span { offset: 0, length: 2 }, Span { offset: 3, length: 1 }],
        positive_deltas: vec![5, -2, 4],
        reset_hint: 2,
        timestamp: 7,
        ..HistogramMessage::default()
    };
    let float = HistogramMessage {
        count_float: Some(2.5),
        zero_count_float: Some(0.5),
        positive_spans: vec![Span { offset: 1, length: 1 }],
        positive_counts: vec![2.0],
        reset_hint: 3,
        ..HistogramMessage::default()
    };
    let custom = HistogramMessage {
        count_int: Some(3),
        schema: -53,
        positive_spans: vec![Span { offset: 0, length: 3 }],
        positive_deltas: vec![1, 0, 0],
        custom_values: vec![0.5, 1.0],
        ..HistogramMessage::default()
    };
    let stale = HistogramMessage { count_int: Some(9), sum: signal::stale_marker(), ..HistogramMessage::default() };
    let finer = HistogramMessage {
        count_int: Some(7),
        schema: 9,
        positive_spans: vec![Span { offset: 1, length: 3 }],
        positive_deltas: vec![1, 1, 2],
        ..HistogramMessage::default()
    };
    let series = TimeSeries {
        labels: pairs(&[("__name__", "h")]),
        histograms: vec![whole, float, custom, stale, finer],
        ..TimeSeries::default()
    };
    let decoded = every_way(&body(&WriteRequest { timeseries: vec![series], metadata: vec![] }), &Limits::default());
    assert_eq!(decoded.rejected, []);
    let read: Vec<_> = decoded.batch.series[0].histograms.iter().collect();
    assert_eq!(read[0].at, Timestamp(7));
    let histograms: Vec<&Histogram> = read.iter().map(|sample| &*sample.histogram).collect();
    assert_eq!((histograms[0].count, histograms[0].sum, histograms[0].zero_count), (21.0, 12.5, 2.0));
    assert_eq!(histograms[0].positive.counts, [5.0, 3.0, 7.0]);
    assert_eq!((histograms[0].negative.spans[0].offset, &*histograms[0].negative.counts), (-3, &[4.0][..]));
    assert_eq!((histograms[0].reset_hint, histograms[1].reset_hint), (ResetHint::NotReset, ResetHint::Gauge));
    assert_eq!((histograms[1].count, histograms[1].zero_count), (2.5, 0.5));
    assert_eq!(
        (&*histograms[2].custom_values, &*histograms[2].positive.counts),
        (&[0.5, 1.0][..], &[1.0, 1.0, 1.0][..])
    );
    assert!(histograms[3].is_identical(&Histogram::stale()));
    assert_eq!((histograms[4].schema, &*histograms[4].positive.counts), (8, &[3.0, 4.0][..]));
}

#[test]
fn labels_may_stand_behind_the_samples() {
    let early = one(&[("__name__", "x"), ("a", "1")]).encode_to_vec();
    let late = TimeSeries { labels: pairs(&[("b", "2")]), ..TimeSeries::default() }.encode_to_vec();
    let mut message = Vec::new();
    for series in [[early.clone(), late].concat(), early] {
        prost::encoding::bytes::encode(1, &series, &mut message);
    }
    let body = snap::raw::Encoder::new().compress_vec(&message).unwrap();
    let decoded = every_way(&body, &Limits::default());
    let shown: Vec<_> = decoded.batch.series.iter().map(|series| series.labels.to_string()).collect();
    assert_eq!(shown, [r#"x{a="1", b="2"}"#, r#"x{a="1"}"#]);
}

#[test]
fn limits_hold_for_remembered_labels_as_for_new_ones() {
    let limits = Limits { max_labels: 2, max_histogram_buckets: 1, ..Limits::default() };
    let mut request = WriteRequest {
        timeseries: vec![one(&[("__name__", "x"), ("a", "1"), ("b", "2")]), one(&[("__name__", "x")])],
        metadata: vec![],
    };
    request.timeseries[1].histograms.push(HistogramMessage {
        count_int: Some(2),
        positive_spans: vec![Span { offset: 0, length: 2 }],
        positive_deltas: vec![1, 0],
        ..HistogramMessage::default()
    });
    let body = body(&request);
    let decoder = RemoteWriteDecoder::new(limits, 3);
    let by_hand = Intake::new(limits).admit(decode(&body, &limits).unwrap().batch, Timestamp(0));
    for _ in 0..3 {
        let write = decoder.decode(&body).unwrap();
        assert_eq!((write.rejected[0].reason, write.rejected[0].count), ("too_many_buckets", 1));
        assert_eq!(write.rejected[0].example, "native histogram has more than 1 buckets (max_histogram_buckets): `x`");
        assert_eq!(Intake::new(limits).admit(write.batch, Timestamp(0)), by_hand);
    }
    assert_eq!((by_hand.rejected[0].reason, by_hand.batch.sample_count()), ("too_many_labels", 1));
    // What one decoder checked means nothing to an intake that is stricter.
    let strict = Limits { max_label_value_bytes: 0, ..limits };
    request.timeseries.remove(0);
    let write = decoder.decode(&super::tests::body(&request)).unwrap();
    assert_eq!(Intake::new(strict).admit(write.batch, Timestamp(0)).rejected[0].reason, "label_value_too_long");
}

fn histogram() -> impl Strategy<Value = HistogramMessage> {
    let side = || (proptest::collection::vec((0_i32..5, 0_u32..4), 0..4), proptest::collection::vec(0_i64..50, 16));
    (side(), side(), any::<f64>().prop_map(|sum| sum + 0.0), -4_i32..9, 0_u64..9, any::<i64>()).prop_map(
        |((positive, counts), (negative, more), sum, schema, zero_count, timestamp)| {
            let side = |runs: Vec<(i32, u32)>, counts: Vec<i64>| {
                let buckets = runs.iter().map(|(_, length)| *length as usize).sum();
                let counts = &counts[..buckets];
                let before = std::iter::once(&0).chain(counts);
                let deltas = counts.iter().zip(before).map(|(count, before)| count - before).collect::<Vec<_>>();
                let spans = runs.into_iter().map(|(offset, length)| Span { offset, length }).collect::<Vec<_>>();
                (spans, deltas, counts.iter().sum::<i64>().cast_unsigned())
            };
            let (positive_spans, positive_deltas, above) = side(positive, counts);
            let (negative_spans, negative_deltas, below) = side(negative, more);
            HistogramMessage {
                count_int: Some(above + below + zero_count),
                zero_count_int: Some(zero_count),
                sum,
                schema,
                positive_spans,
                positive_deltas,
                negative_spans,
                negative_deltas,
                timestamp,
                ..HistogramMessage::default()
            }
        },
    )
}

proptest! {
    #[test]
    fn any_bytes_decode_or_err(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let limits = Limits::default();
        let decoder = RemoteWriteDecoder::new(limits, 7);
        let _ = decode(&bytes, &limits);
        for protocol in [Protocol::One, Protocol::Two] {
            let alone = read(protocol, &bytes, &limits, None);
            for _ in 0..2 {
                let again = read(protocol, &bytes, &limits, Some(&decoder.labels));
                prop_assert_eq!(again.is_ok(), alone.is_ok());
            }
        }
    }

    #[test]
    fn encoded_histograms_come_back(message in histogram()) {
        let series = TimeSeries { labels: pairs(&[("__name__", "h")]), histograms: vec![message.clone()], ..TimeSeries::default() };
        let decoded = decode(&body(&WriteRequest { timeseries: vec![series], metadata: vec![] }), &Limits::default()).unwrap();
        prop_assert_eq!(&decoded.rejected, &[]);
        let back = &decoded.batch.series[0].histograms[0];
        prop_assert_eq!(back.at.0, message.timestamp);
        let back = &back.histogram;
        prop_assert_eq!(back.sum.to_bits(), message.sum.to_bits());
        let buckets: f64 = back.positive.counts.iter().chain(&back.negative.counts).sum();
        prop_assert_eq!(back.count, buckets + back.zero_count);
        let spans: Vec<_> = back.positive.spans.iter().map(|span| (span.offset, span.length)).collect();
        prop_assert_eq!(spans, message.positive_spans.iter().map(|span| (span.offset, span.length)).collect::<Vec<_>>());
    }

    #[test]
    fn encoded_series_come_back(
        names in proptest::collection::btree_map("[a-z]{1,8}", "\\PC{1,8}", 0..6),
        points in proptest::collection::vec((any::<u64>(), any::<i64>()), 1..20),
    ) {
        let mut labels: Vec<_> = names.iter().map(|(name, value)| (&**name, &**value)).collect();
        labels.insert(0, ("__name__", "m"));
        let samples = points.iter().map(|(bits, at)| Point { value: f64::from_bits(*bits), timestamp: *at }).collect();
        let series = TimeSeries { labels: pairs(&labels), samples, ..TimeSeries::default() };
        let body = body(&WriteRequest { timeseries: vec![series], metadata: vec![] });
        let decoder = RemoteWriteDecoder::new(Limits::default(), 1);
        for _ in 0..3 {
            let batch: WriteBatch = decoder.decode(&body).unwrap().batch.into_batch();
            let back = &batch.series[0];
            prop_assert_eq!(&back.labels, &Labels::from_pairs(labels.clone()));
            let bits: Vec<_> = back.samples.iter().map(|sample| (sample.value.to_bits(), sample.at.0)).collect();
            prop_assert_eq!(&bits, &points);
        }
    }
}
