//! Prometheus remote write, protocols 1.0 and 2.0.
//!
//! Message shapes: `prompb/remote.proto` and `prompb/types.proto` of Prometheus.

mod v2;

use signal::{Exemplar, Labels, MetricKind, MetricMetadata, Sample, SeriesWrite, Timestamp};

use crate::compression::{DecompressError, snappy_within};
use crate::rejection::{Refusals, excerpt};
use crate::wire::{Field, fields};
use crate::{Decoded, Limits, WireError};

pub use v2::decode_v2;

/// Why a remote-write body could not be read at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Too large or not snappy.
    #[error("cannot decompress the remote-write request")]
    Decompress(#[from] DecompressError),
    /// Not a `WriteRequest`.
    #[error("cannot read the remote-write request")]
    Wire(#[from] WireError),
    /// More samples than one request may carry.
    #[error("remote-write request has more than {limit} samples (max_items)")]
    TooMany {
        /// Samples allowed.
        limit: usize,
    },
    /// A label of protocol 2.0 that is not in the table.
    #[error("remote-write label refers to symbol {at}, but there are {symbols}")]
    NoSymbol {
        /// The number found.
        at: u64,
        /// How many texts the table has.
        symbols: usize,
    },
    /// Labels of protocol 2.0 come in pairs.
    #[error("remote-write series has a label name without a value")]
    OddLabels,
}

/// Reads a snappy-compressed `prometheus.WriteRequest`.
///
/// A series whose labels break the rules (no name, a name twice, an empty label name) is refused alone, as Prometheus
/// does; so are native histograms, which Aegis does not keep yet. NaN bits are kept exactly.
///
/// # Errors
/// `DecodeError` when the body as a whole is unreadable or over a limit.
pub fn decode(body: &[u8], limits: &Limits) -> Result<Decoded, DecodeError> {
    decode_message(&snappy_within(body, limits)?, limits)
}

fn decode_message(message: &[u8], limits: &Limits) -> Result<Decoded, DecodeError> {
    let mut decoded = Decoded::default();
    let mut refusals = Refusals::default();
    let mut samples = 0;
    for field in fields(message) {
        let field = field?;
        match field.number {
            1 => {
                let series = time_series(field.bytes()?, limits, &mut refusals)?;
                samples += series.samples.len() + series.exemplars.len();
                if samples > limits.max_items {
                    return Err(DecodeError::TooMany { limit: limits.max_items });
                }
                if !series.samples.is_empty() || !series.exemplars.is_empty() {
                    decoded.batch.series.push(series);
                }
            }
            3 => decoded.batch.metadata.extend(metadata(field.bytes()?)?),
            _ => {}
        }
    }
    decoded.rejected = refusals.into_rejections();
    Ok(decoded)
}

fn time_series(message: &[u8], limits: &Limits, refusals: &mut Refusals) -> Result<SeriesWrite, DecodeError> {
    let mut pairs = Vec::new();
    let mut series = SeriesWrite::default();
    let mut histograms = 0;
    for field in fields(message) {
        let field = field?;
        match field.number {
            // One past the limit is enough for the intake to see that there are too many.
            1 if pairs.len() <= limits.max_labels => pairs.push(label(field)?),
            2 if series.samples.len() <= limits.max_items => series.samples.push(sample(field)?),
            3 if series.exemplars.len() <= limits.max_items => series.exemplars.push(exemplar(field, limits)?),
            4 => histograms += 1,
            _ => {}
        }
    }
    let refused = (series.samples.len() + series.exemplars.len() + histograms).max(1);
    match checked_labels(pairs) {
        Ok(labels) => series.labels = labels,
        Err((reason, example)) => {
            refusals.refuse(reason, refused, || example);
            return Ok(SeriesWrite::default());
        }
    }
    if histograms > 0 {
        refusals.refuse("native_histogram", histograms, || {
            format!("native histograms are not kept yet: `{}`", excerpt(&series.labels.to_string()))
        });
    }
    Ok(series)
}

/// The rules of remote write for labels: none without name, no name twice, a metric name.
fn checked_labels(mut pairs: Vec<(&str, &str)>) -> Result<Labels, (&'static str, String)> {
    pairs.sort_unstable_by_key(|(name, _)| *name);
    let shown = || excerpt(&Labels::from_pairs(pairs.iter().copied()).to_string());
    if pairs.iter().any(|(name, _)| name.is_empty()) {
        return Err(("empty_label_name", format!("series has a label without a name: `{}`", shown())));
    }
    if let Some(name) = pairs.iter().zip(pairs.iter().skip(1)).find(|(a, b)| a.0 == b.0).map(|(a, _)| a.0) {
        return Err(("duplicate_label", format!("series has the label `{}` twice: `{}`", excerpt(name), shown())));
    }
    let labels = Labels::from_pairs(pairs.iter().copied());
    if labels.metric_name().is_none() {
        return Err(("missing_metric_name", format!("series has no metric name: `{}`", shown())));
    }
    Ok(labels)
}

fn label(field: Field<'_>) -> Result<(&str, &str), WireError> {
    let mut pair = ("", "");
    for field in fields(field.bytes()?) {
        let field = field?;
        match field.number {
            1 => pair.0 = field.text()?,
            2 => pair.1 = field.text()?,
            _ => {}
        }
    }
    Ok(pair)
}

fn sample(field: Field<'_>) -> Result<Sample, WireError> {
    let mut sample = Sample { at: Timestamp(0), value: 0.0 };
    for field in fields(field.bytes()?) {
        let field = field?;
        match field.number {
            1 => sample.value = field.double()?,
            2 => sample.at = Timestamp(field.int()?),
            _ => {}
        }
    }
    Ok(sample)
}

fn exemplar(field: Field<'_>, limits: &Limits) -> Result<Exemplar, WireError> {
    let mut pairs = Vec::new();
    let mut exemplar = Exemplar { labels: Labels::empty(), value: 0.0, at: Timestamp(0) };
    for field in fields(field.bytes()?) {
        let field = field?;
        match field.number {
            1 if pairs.len() <= limits.max_labels => pairs.push(label(field)?),
            2 => exemplar.value = field.double()?,
            3 => exemplar.at = Timestamp(field.int()?),
            _ => {}
        }
    }
    exemplar.labels = Labels::from_pairs(pairs);
    Ok(exemplar)
}

/// `None` for metadata about no family.
fn metadata(message: &[u8]) -> Result<Option<MetricMetadata>, WireError> {
    let mut metadata = MetricMetadata::default();
    for field in fields(message) {
        let field = field?;
        match field.number {
            1 => metadata.kind = kind(field.unsigned()?),
            2 => field.text()?.clone_into(&mut metadata.name),
            4 => field.text()?.clone_into(&mut metadata.help),
            5 => field.text()?.clone_into(&mut metadata.unit),
            _ => {}
        }
    }
    Ok((!metadata.name.is_empty()).then_some(metadata))
}

fn kind(number: u64) -> MetricKind {
    match number {
        1 => MetricKind::Counter,
        2 => MetricKind::Gauge,
        3 => MetricKind::Histogram,
        4 => MetricKind::GaugeHistogram,
        5 => MetricKind::Summary,
        6 => MetricKind::Info,
        7 => MetricKind::StateSet,
        _ => MetricKind::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message;
    use signal::is_stale;

    use super::*;

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
        #[prost(bytes = "vec", repeated, tag = "4")]
        histograms: Vec<Vec<u8>>,
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
        let decoded = decode(&body(&request), &Limits::default()).unwrap();
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
        histogram.histograms = vec![vec![], vec![]];
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
            ("native histogram", histogram, "native_histogram", 2, "native histograms are not kept yet: `h`"),
        ] {
            let request = WriteRequest { timeseries: vec![bad, one(&[("__name__", "good")])], metadata: vec![] };
            let decoded = decode(&body(&request), &Limits::default()).unwrap();
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

    proptest! {
        #[test]
        fn any_bytes_decode_or_err(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode(&bytes, &Limits::default());
            let _ = decode_message(&bytes, &Limits::default());
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
            let decoded = decode(&body(&WriteRequest { timeseries: vec![series], metadata: vec![] }), &Limits::default()).unwrap();
            let back = &decoded.batch.series[0];
            prop_assert_eq!(&back.labels, &Labels::from_pairs(labels));
            let bits: Vec<_> = back.samples.iter().map(|sample| (sample.value.to_bits(), sample.at.0)).collect();
            prop_assert_eq!(bits, points);
        }
    }
}
