//! Prometheus remote write, protocol 2.0: labels are numbers into a table of texts.
//!
//! Message shapes: `io/prometheus/write/v2/types.proto` of Prometheus.

use signal::{Exemplar, Labels, MetricKind, MetricMetadata, Timestamp};

use super::request::{Pairs, Points, Request, kind, sample};
use super::{DecodeError, histogram};
use crate::Limits;
use crate::label_cache::Key;
use crate::wire::{Field, fields, packed};

pub(super) fn read(message: &[u8], request: &mut Request<'_>) -> Result<(), DecodeError> {
    let mut symbols = Symbols { table: Vec::new(), hashes: Vec::new(), limits: request.limits };
    // The table may follow the series, so it is read first.
    for field in fields(message) {
        let field = field?;
        if field.number == 4 {
            let text = field.text()?;
            symbols.table.push(text);
            symbols.hashes.extend(request.key(text.as_bytes()).map(Key::to_bytes));
            if symbols.table.len() > request.limits.max_items {
                return Err(DecodeError::TooMany { limit: request.limits.max_items });
            }
        }
    }
    let mut scratch = Vec::new();
    for field in fields(message) {
        let field = field?;
        if field.number == 5 {
            time_series(field.bytes()?, request, &symbols, &mut scratch)?;
        }
    }
    Ok(())
}

/// The table of texts, and their hashes when labels are remembered.
struct Symbols<'m> {
    table: Vec<&'m str>,
    hashes: Vec<[u8; 16]>,
    limits: &'m Limits,
}

fn time_series(
    message: &[u8],
    request: &mut Request<'_>,
    symbols: &Symbols<'_>,
    scratch: &mut Vec<u8>,
) -> Result<(), DecodeError> {
    let limits = request.limits;
    let mut refs: &[u8] = &[];
    let mut points = Points::default();
    let mut metadata = None;
    for field in fields(message) {
        let field = field?;
        match field.number {
            1 => refs = field.bytes()?,
            2 if points.samples.len() <= limits.max_items => points.samples.push(sample(field)?),
            3 if points.histograms.len() + points.invalid.len() <= limits.max_items => {
                match histogram::read(field, limits.max_histogram_buckets)? {
                    Ok(histogram) => points.histograms.push(histogram),
                    Err(invalid) => points.invalid.push(invalid),
                }
            }
            4 if points.exemplars.len() <= limits.max_items => {
                points.exemplars.push(symbols.exemplar(field, request)?);
            }
            5 => metadata = Some(symbols.metadata(field)?),
            _ => {}
        }
    }
    symbols.hashes(refs, scratch)?;
    let labels = request.labels(scratch, || symbols.pairs(refs))?;
    let named = labels.as_ref().ok().cloned();
    let is_kept = request.add(labels, points)?;
    match (metadata, named) {
        (Some(metadata), Some(labels)) if is_kept && metadata.says_something() => {
            metadata.add(labels.metric_name().unwrap_or_default(), request)
        }
        _ => Ok(()),
    }
}

/// What a series says about its family.
struct Metadata<'m> {
    kind: MetricKind,
    help: &'m str,
    unit: &'m str,
}

impl Metadata<'_> {
    fn says_something(&self) -> bool {
        self.kind != MetricKind::Unknown || !self.help.is_empty() || !self.unit.is_empty()
    }

    /// Every series of a family repeats what the family says, so only what differs from the last is written out.
    fn add(&self, series: &str, request: &mut Request<'_>) -> Result<(), DecodeError> {
        let name = self.family(series);
        let last = request.batch.metadata.last();
        let is_new = last.is_none_or(|last| {
            (&*last.name, last.kind, &*last.help, &*last.unit) != (name, self.kind, self.help, self.unit)
        });
        if !is_new {
            return Ok(());
        }
        request.write_out([name, self.help, self.unit])?;
        request.batch.metadata.push(MetricMetadata {
            name: name.to_owned(),
            kind: self.kind,
            help: self.help.to_owned(),
            unit: self.unit.to_owned(),
        });
        Ok(())
    }

    /// Metadata is about the family, and a series knows only its own name.
    fn family<'n>(&self, name: &'n str) -> &'n str {
        match self.kind {
            MetricKind::Histogram | MetricKind::Summary => {
                ["_bucket", "_sum", "_count"].into_iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name)
            }
            MetricKind::Counter
            | MetricKind::Gauge
            | MetricKind::GaugeHistogram
            | MetricKind::Info
            | MetricKind::StateSet
            | MetricKind::Unknown => name,
        }
    }
}

impl<'m> Symbols<'m> {
    /// Puts the hashes of the texts into `out`: they stand for the labels in any request, as the numbers do in this one.
    fn hashes(&self, refs: &[u8], out: &mut Vec<u8>) -> Result<(), DecodeError> {
        out.clear();
        if self.hashes.is_empty() {
            return Ok(());
        }
        // As far as `pairs` goes, too.
        for at in packed(refs).take(2 * (self.limits.max_labels + 1)) {
            let at = at?;
            let hash = usize::try_from(at).ok().and_then(|at| self.hashes.get(at));
            out.extend_from_slice(hash.ok_or_else(|| self.no_symbol(at))?);
        }
        Ok(())
    }

    fn pairs(&self, refs: &[u8]) -> Result<Pairs<'m>, DecodeError> {
        let mut pairs = Pairs::new();
        let mut refs = packed(refs);
        while let Some(name) = refs.next() {
            let value = refs.next().ok_or(DecodeError::OddLabels)?;
            // One past the limit is enough for the intake to see that there are too many.
            if pairs.len() <= self.limits.max_labels {
                pairs.push((self.symbol(name?)?, self.symbol(value?)?));
            }
        }
        Ok(pairs)
    }

    fn exemplar(&self, field: Field<'_>, request: &mut Request<'_>) -> Result<Exemplar, DecodeError> {
        let mut exemplar = Exemplar { labels: Labels::empty(), value: 0.0, at: Timestamp(0) };
        for field in fields(field.bytes()?) {
            let field = field?;
            match field.number {
                1 => {
                    let pairs = self.pairs(field.bytes()?)?;
                    request.write_out(pairs.iter().flat_map(|(name, value)| [*name, *value]))?;
                    exemplar.labels = Labels::from_pairs(pairs);
                }
                2 => exemplar.value = field.double()?,
                3 => exemplar.at = Timestamp(field.int()?),
                _ => {}
            }
        }
        Ok(exemplar)
    }

    fn metadata(&self, field: Field<'_>) -> Result<Metadata<'m>, DecodeError> {
        let mut metadata = Metadata { kind: MetricKind::Unknown, help: "", unit: "" };
        for field in fields(field.bytes()?) {
            let field = field?;
            match field.number {
                1 => metadata.kind = kind(field.unsigned()?),
                3 => metadata.help = self.symbol(field.unsigned()?)?,
                4 => metadata.unit = self.symbol(field.unsigned()?)?,
                _ => {}
            }
        }
        Ok(metadata)
    }

    fn symbol(&self, at: u64) -> Result<&'m str, DecodeError> {
        let symbol = usize::try_from(at).ok().and_then(|at| self.table.get(at));
        symbol.copied().ok_or_else(|| self.no_symbol(at))
    }

    fn no_symbol(&self, at: u64) -> DecodeError {
        DecodeError::NoSymbol { at, symbols: self.table.len() }
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use signal::Sample;

    use super::*;
    use crate::remote_write::tests::{HistogramMessage, Span};
    use crate::remote_write::{RemoteWriteDecoder, decode_v2};
    use crate::{Decoded, Limits};

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
        #[prost(message, repeated, tag = "3")]
        histograms: Vec<HistogramMessage>,
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
            histograms: vec![
                HistogramMessage {
                    count_int: Some(3),
                    positive_spans: vec![Span { offset: 1, length: 2 }],
                    positive_deltas: vec![1, 1],
                    timestamp: 9,
                    ..HistogramMessage::default()
                },
                HistogramMessage { schema: 99, ..HistogramMessage::default() },
            ],
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
        assert_eq!((decoded.rejected[0].reason, decoded.rejected[0].count), ("invalid_native_histogram", 1));
        let decoder = RemoteWriteDecoder::new(Limits::default(), 1);
        for _ in 0..2 {
            assert_eq!(Decoded::from(decoder.decode_v2(&body).unwrap()), decoded);
        }
    }

    #[test]
    fn numbers_without_text_are_refused() {
        for (refs, want) in [
            (vec![1, 9], "remote-write label refers to symbol 9, but there are 7"),
            (vec![1, 2, 3], "remote-write series has a label name without a value"),
        ] {
            let body = request(TimeSeries { labels_refs: refs, ..TimeSeries::default() });
            assert_eq!(decode_v2(&body, &Limits::default()).unwrap_err().to_string(), want);
            assert_eq!(RemoteWriteDecoder::new(Limits::default(), 1).decode_v2(&body).unwrap_err().to_string(), want);
        }
    }

    #[test]
    fn a_long_text_said_often_is_refused() {
        let limits = Limits { max_decoded_bytes: 5_000, ..Limits::default() };
        let long = "x".repeat(1_000);
        let symbols = ["", "__name__", "a", "b", "v", &long].map(str::to_owned).to_vec();
        let labels = TimeSeries { labels_refs: vec![1, 2, 4, 5], ..TimeSeries::default() };
        let exemplar = ExemplarMessage { labels_refs: vec![4, 5], ..ExemplarMessage::default() };
        let exemplars = TimeSeries { labels_refs: vec![1, 2], exemplars: vec![exemplar; 5], ..TimeSeries::default() };
        let told = |name| TimeSeries {
            labels_refs: vec![1, name],
            metadata: Some(Metadata { kind: 1, help_ref: 5, unit_ref: 0 }),
            ..TimeSeries::default()
        };
        for (case, timeseries) in [
            ("labels", vec![labels; 5]),
            ("exemplars", vec![exemplars]),
            ("metadata", vec![told(2), told(3), told(2), told(3), told(2)]),
        ] {
            let message = Request { symbols: symbols.clone(), timeseries }.encode_to_vec();
            let body = snap::raw::Encoder::new().compress_vec(&message).unwrap();
            assert_eq!(
                decode_v2(&body, &limits).unwrap_err().to_string(),
                "remote-write labels and metadata have more than 5000 bytes when written out (max_decoded_bytes)",
                "{case}"
            );
        }
        let same = Request { symbols, timeseries: vec![told(2); 5] }.encode_to_vec();
        let body = snap::raw::Encoder::new().compress_vec(&same).unwrap();
        assert_eq!(decode_v2(&body, &limits).unwrap().batch.metadata.len(), 1);
    }

    #[test]
    fn numbers_mean_what_the_table_of_the_request_says() {
        let decoder = RemoteWriteDecoder::new(Limits::default(), 1);
        for value in ["a", "b", "a", "b"] {
            let timeseries = TimeSeries {
                labels_refs: vec![1, 2, 3, 4],
                samples: vec![Point { value: 2.0, timestamp: 9 }],
                ..TimeSeries::default()
            };
            let symbols = ["", "__name__", "m", "x", value].map(str::to_owned).to_vec();
            let message = Request { symbols, timeseries: vec![timeseries] }.encode_to_vec();
            let body = snap::raw::Encoder::new().compress_vec(&message).unwrap();
            let batch = decoder.decode_v2(&body).unwrap().batch.into_batch();
            assert_eq!(batch.series[0].labels.to_string(), format!("m{{x={value:?}}}"));
        }
    }
}
