//! Prometheus remote write, protocol 2.0: labels are numbers into a table of texts.
//!
//! Message shapes: `io/prometheus/write/v2/types.proto` of Prometheus.

use signal::{Exemplar, Labels, MetricMetadata, SeriesWrite, Timestamp};

use super::{DecodeError, checked_labels, kind, sample};
use crate::compression::snappy_within;
use crate::rejection::{Refusals, excerpt};
use crate::wire::{Field, fields, packed};
use crate::{Decoded, Limits};

/// Reads a snappy-compressed `io.prometheus.write.v2.Request`. The rules are those of [`decode`](super::decode).
///
/// # Errors
/// `DecodeError` when the body as a whole is unreadable or over a limit.
pub fn decode_v2(body: &[u8], limits: &Limits) -> Result<Decoded, DecodeError> {
    decode_message(&snappy_within(body, limits)?, limits)
}

pub(super) fn decode_message(message: &[u8], limits: &Limits) -> Result<Decoded, DecodeError> {
    let mut reader = Reader { symbols: Vec::new(), limits, refusals: Refusals::default() };
    // The table may follow the series, so it is read first.
    for field in fields(message) {
        let field = field?;
        if field.number == 4 {
            reader.symbols.push(field.text()?);
            if reader.symbols.len() > limits.max_items {
                return Err(DecodeError::TooMany { limit: limits.max_items });
            }
        }
    }
    let mut decoded = Decoded::default();
    let mut samples = 0;
    for field in fields(message) {
        let field = field?;
        if field.number != 5 {
            continue;
        }
        let (series, metadata) = reader.series(field.bytes()?)?;
        samples += series.samples.len() + series.exemplars.len();
        if samples > limits.max_items {
            return Err(DecodeError::TooMany { limit: limits.max_items });
        }
        if !series.samples.is_empty() || !series.exemplars.is_empty() {
            decoded.batch.series.push(series);
        }
        // Every series of a family repeats what the family says.
        decoded.batch.metadata.extend(metadata.filter(|new| decoded.batch.metadata.last() != Some(new)));
    }
    decoded.rejected = reader.refusals.into_rejections();
    Ok(decoded)
}

struct Reader<'a> {
    symbols: Vec<&'a str>,
    limits: &'a Limits,
    refusals: Refusals,
}

impl<'a> Reader<'a> {
    fn series(&mut self, message: &[u8]) -> Result<(SeriesWrite, Option<MetricMetadata>), DecodeError> {
        let mut pairs = Vec::new();
        let mut series = SeriesWrite::default();
        let mut metadata = MetricMetadata::default();
        let mut histograms = 0;
        for field in fields(message) {
            let field = field?;
            match field.number {
                1 => pairs = self.pairs(field)?,
                2 if series.samples.len() <= self.limits.max_items => series.samples.push(sample(field)?),
                3 => histograms += 1,
                4 if series.exemplars.len() <= self.limits.max_items => series.exemplars.push(self.exemplar(field)?),
                5 => metadata = self.metadata(field)?,
                _ => {}
            }
        }
        let refused = (series.samples.len() + series.exemplars.len() + histograms).max(1);
        match checked_labels(pairs) {
            Ok(labels) => series.labels = labels,
            Err((reason, example)) => {
                self.refusals.refuse(reason, refused, || example);
                return Ok((SeriesWrite::default(), None));
            }
        }
        if histograms > 0 {
            self.refusals.refuse("native_histogram", histograms, || {
                format!("native histograms are not kept yet: `{}`", excerpt(&series.labels.to_string()))
            });
        }
        if metadata == MetricMetadata::default() {
            return Ok((series, None));
        }
        let name = series.labels.metric_name().unwrap_or("");
        // Metadata is about the family, and a series knows only its own name.
        let family = match metadata.kind {
            signal::MetricKind::Histogram | signal::MetricKind::Summary => {
                ["_bucket", "_sum", "_count"].into_iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name)
            }
            signal::MetricKind::Counter
            | signal::MetricKind::Gauge
            | signal::MetricKind::GaugeHistogram
            | signal::MetricKind::Info
            | signal::MetricKind::StateSet
            | signal::MetricKind::Unknown => name,
        };
        family.clone_into(&mut metadata.name);
        Ok((series, Some(metadata)))
    }

    fn pairs(&self, field: Field<'_>) -> Result<Vec<(&'a str, &'a str)>, DecodeError> {
        let mut pairs = Vec::new();
        let mut refs = packed(field.bytes()?);
        while let Some(name) = refs.next() {
            let value = refs.next().ok_or(DecodeError::OddLabels)?;
            // One past the limit is enough for the intake to see that there are too many.
            if pairs.len() <= self.limits.max_labels {
                pairs.push((self.symbol(name?)?, self.symbol(value?)?));
            }
        }
        Ok(pairs)
    }

    fn exemplar(&self, field: Field<'_>) -> Result<Exemplar, DecodeError> {
        let mut exemplar = Exemplar { labels: Labels::empty(), value: 0.0, at: Timestamp(0) };
        for field in fields(field.bytes()?) {
            let field = field?;
            match field.number {
                1 => exemplar.labels = Labels::from_pairs(self.pairs(field)?),
                2 => exemplar.value = field.double()?,
                3 => exemplar.at = Timestamp(field.int()?),
                _ => {}
            }
        }
        Ok(exemplar)
    }

    fn metadata(&self, field: Field<'_>) -> Result<MetricMetadata, DecodeError> {
        let mut metadata = MetricMetadata::default();
        for field in fields(field.bytes()?) {
            let field = field?;
            match field.number {
                1 => metadata.kind = kind(field.unsigned()?),
                3 => self.symbol(field.unsigned()?)?.clone_into(&mut metadata.help),
                4 => self.symbol(field.unsigned()?)?.clone_into(&mut metadata.unit),
                _ => {}
            }
        }
        Ok(metadata)
    }

    fn symbol(&self, at: u64) -> Result<&'a str, DecodeError> {
        let symbol = usize::try_from(at).ok().and_then(|at| self.symbols.get(at));
        symbol.copied().ok_or(DecodeError::NoSymbol { at, symbols: self.symbols.len() })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message;
    use signal::{MetricKind, Sample};

    use super::*;

    #[derive(Clone, PartialEq, Message)]
    struct Request {
        #[prost(string, repeated, tag = "4")]
        symbols: Vec<String>,
        #[prost(message, repeated, tag = "5")]
        timeseries: Vec<TimeSeries>,
    }

    #[derive(Clone, PartialEq, Message)]
    struct TimeSeries {
        #[prost(uint32, repeated, tag = "1")]
        labels_refs: Vec<u32>,
        #[prost(message, repeated, tag = "2")]
        samples: Vec<Point>,
        #[prost(bytes = "vec", repeated, tag = "3")]
        histograms: Vec<Vec<u8>>,
        #[prost(message, repeated, tag = "4")]
        exemplars: Vec<ExemplarMessage>,
        #[prost(message, optional, tag = "5")]
        metadata: Option<Metadata>,
        #[prost(int64, tag = "6")]
        created_timestamp: i64,
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
        #[prost(uint32, repeated, tag = "1")]
        labels_refs: Vec<u32>,
        #[prost(double, tag = "2")]
        value: f64,
        #[prost(int64, tag = "3")]
        timestamp: i64,
    }

    #[derive(Clone, PartialEq, Message)]
    struct Metadata {
        #[prost(int32, tag = "1")]
        kind: i32,
        #[prost(uint32, tag = "3")]
        help_ref: u32,
        #[prost(uint32, tag = "4")]
        unit_ref: u32,
    }

    fn request(series: TimeSeries) -> Vec<u8> {
        let symbols = ["", "__name__", "h_bucket", "le", "+Inf", "helps", "seconds"].map(str::to_owned).to_vec();
        let message = Request { symbols, timeseries: vec![series] }.encode_to_vec();
        snap::raw::Encoder::new().compress_vec(&message).unwrap()
    }

    #[test]
    fn a_request_arrives_whole() {
        let body = request(TimeSeries {
            labels_refs: vec![1, 2, 3, 4],
            samples: vec![Point { value: 2.0, timestamp: 9 }],
            histograms: vec![vec![]],
            exemplars: vec![ExemplarMessage { labels_refs: vec![3, 5], value: 0.5, timestamp: 8 }],
            metadata: Some(Metadata { kind: 3, help_ref: 5, unit_ref: 6 }),
            created_timestamp: 1,
        });
        let decoded = decode_v2(&body, &Limits::default()).unwrap();
        let series = &decoded.batch.series[0];
        assert_eq!(series.labels.to_string(), r#"h_bucket{le="+Inf"}"#);
        assert_eq!(series.samples.as_slice(), [Sample { at: Timestamp(9), value: 2.0 }]);
        assert_eq!(series.exemplars[0].labels.get("le"), Some("helps"));
        let family = &decoded.batch.metadata[0];
        assert_eq!((&*family.name, family.kind), ("h", MetricKind::Histogram));
        assert_eq!((&*family.help, &*family.unit), ("helps", "seconds"));
        assert_eq!((decoded.rejected[0].reason, decoded.rejected[0].count), ("native_histogram", 1));
    }

    #[test]
    fn numbers_without_text_are_refused() {
        for (refs, want) in [
            (vec![1, 9], "remote-write label refers to symbol 9, but there are 7"),
            (vec![1, 2, 3], "remote-write series has a label name without a value"),
        ] {
            let body = request(TimeSeries { labels_refs: refs, ..TimeSeries::default() });
            assert_eq!(decode_v2(&body, &Limits::default()).unwrap_err().to_string(), want);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_decode_or_err(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode_v2(&bytes, &Limits::default());
            let _ = decode_message(&bytes, &Limits::default());
        }
    }
}
