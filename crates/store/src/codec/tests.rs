use std::sync::Arc;

use proptest::prelude::*;
use signal::{
    AttributeValue, Exemplar, Histogram, HistogramSample, Labels, LogLine, MetricKind, MetricMetadata, Nanos, Sample,
    Span, SpanId, Timestamp, TraceId,
};

use super::dictionary::{Dictionary, Names, Numbers};
use super::metrics::Rare;
use super::{logs, metrics, traces};
use crate::head::logs::LineChunk;
use crate::intake::MetricsWrite;
use crate::rows::Line;
use crate::segment::VERSION;
use crate::wire::{DecodeError, Reader};

fn labels() -> impl Strategy<Value = Labels> {
    proptest::collection::btree_map("[a-z]{1,3}", "[a-zA-Z0-9 ö]{1,8}", 0..4).prop_map(Labels::from_pairs)
}

fn attribute() -> impl Strategy<Value = AttributeValue> {
    let leaf = prop_oneof![
        "[a-z]{0,5}".prop_map(AttributeValue::String),
        any::<bool>().prop_map(AttributeValue::Bool),
        any::<i64>().prop_map(AttributeValue::Int),
        (-1e9..1e9_f64).prop_map(AttributeValue::Float),
        proptest::collection::vec(any::<u8>(), 0..5).prop_map(AttributeValue::Bytes),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(AttributeValue::List),
            proptest::collection::vec(("[a-z]{1,3}", inner), 0..3).prop_map(AttributeValue::Map),
        ]
    })
}

fn span() -> impl Strategy<Value = Span> {
    let attributes = || proptest::collection::vec(("[a-z]{1,3}", attribute()), 0..3);
    (
        any::<[u8; 16]>(),
        any::<[u8; 8]>(),
        any::<Option<[u8; 8]>>(),
        any::<i64>(),
        any::<i64>(),
        "[a-z]{0,4}",
        attributes(),
        attributes(),
    )
        .prop_map(|(trace, id, parent, start, end, name, attributes, resource)| Span {
            trace: TraceId(trace),
            id: SpanId(id),
            parent: parent.map(SpanId),
            trace_state: String::new(),
            name,
            kind: signal::SpanKind::Client,
            start: Nanos(start),
            end: Nanos(end),
            status: signal::SpanStatus::Ok,
            status_message: String::new(),
            attributes,
            resource: Arc::new(resource),
            scope_name: String::new(),
            scope_version: String::new(),
            events: Vec::new(),
            links: Vec::new(),
        })
}

/// Label sets by id, and a write that calls them by it.
fn metrics_write() -> impl Strategy<Value = (Vec<Labels>, MetricsWrite)> {
    let id = 0_u32..4;
    let sample =
        (id.clone(), any::<i64>(), -1e6..1e6_f64).prop_map(|(id, at, value)| (id, Sample { at: Timestamp(at), value }));
    let histogram = (id.clone(), any::<i64>(), any::<f64>()).prop_map(|(id, at, sum)| {
        let histogram = Arc::new(Histogram { sum, ..Histogram::default() });
        (id, HistogramSample { at: Timestamp(at), histogram })
    });
    let exemplar = (id, labels(), any::<i64>())
        .prop_map(|(id, labels, at)| (id, Exemplar { labels, value: 0.5, at: Timestamp(at) }));
    let some = 0..5_usize;
    (
        proptest::collection::vec(labels(), 4),
        proptest::collection::vec(sample, some.clone()),
        proptest::collection::vec(histogram, some.clone()),
        proptest::collection::vec(exemplar, some),
    )
        .prop_map(|(sets, samples, histograms, exemplars)| {
            let metadata = MetricMetadata {
                name: "m".to_owned(),
                kind: MetricKind::StateSet,
                help: "h".to_owned(),
                unit: "s".to_owned(),
            };
            (sets, MetricsWrite { new_series: vec![], samples, histograms, exemplars, metadata: vec![metadata] })
        })
}

fn encode_metrics((sets, write): &(Vec<Labels>, MetricsWrite), numbers: &mut Numbers) -> Vec<u8> {
    metrics::encode(write, numbers, |id| sets.get(id as usize))
}

fn streams() -> impl Strategy<Value = Vec<(Labels, Vec<LogLine>)>> {
    let line = (any::<i64>(), "[a-z ]{0,9}", labels()).prop_map(|(at, line, metadata)| LogLine {
        at: Nanos(at),
        line,
        metadata,
    });
    proptest::collection::vec((labels(), proptest::collection::vec(line, 0..5)), 0..4)
}

fn encode_logs(streams: &[(Labels, Vec<LogLine>)], dictionary: &mut Dictionary) -> Vec<u8> {
    let borrowed: Vec<_> = streams.iter().map(|(labels, lines)| (labels, lines.as_slice())).collect();
    let mut out = Vec::new();
    logs::encode(&borrowed, dictionary, &mut out);
    out
}

/// The samples of a record, and what it has beside them.
fn decode_metrics(bytes: &[u8], version: u16, names: &mut Names) -> Result<(Vec<(u32, Sample)>, Rare), DecodeError> {
    let (mut samples, mut rare) = (Vec::new(), Rare::default());
    let reader = &mut Reader::new(bytes);
    names.take_new(reader)?;
    let newest = metrics::decode(reader, version, names, |set, sample| samples.push((set, sample)), &mut rare)?;
    let times = samples.iter().map(|(_, sample)| sample.at).chain(rare.histograms.iter().map(|(_, one)| one.at));
    assert_eq!(newest, times.chain(rare.exemplars.iter().map(|(_, one)| one.at)).max());
    Ok((samples, rare))
}

/// Every decoder over the same bytes, checked only for coming back.
fn decode_all(bytes: &[u8]) {
    for version in [1, VERSION] {
        drop(decode_metrics(bytes, version, &mut Names::default()));
    }
    drop(logs::decode(bytes, &mut Names::default()));
    drop(traces::decode(bytes));
}

proptest! {
    #[test]
    fn samples_survive_with_shared_numbers(
        sets in proptest::collection::vec(labels(), 4),
        writes in proptest::collection::vec(metrics_write(), 1..4),
        lost in metrics_write(),
    ) {
        let (mut numbers, mut names) = (Numbers::default(), Names::default());
        for (_, write) in &writes {
            // A write that is taken back leaves no trace in the numbers.
            encode_metrics(&lost, &mut numbers);
            numbers.roll_back();
            let encoded = metrics::encode(write, &mut numbers, |id| sets.get(id as usize));
            let (samples, record) = decode_metrics(&encoded, VERSION, &mut names).unwrap();
            numbers.commit();
            let named = |set: u32| names.sets[set as usize].clone();
            let of = |id: u32| sets[id as usize].clone();
            let samples: Vec<_> = samples.iter().map(|(set, sample)| (named(*set), *sample)).collect();
            prop_assert_eq!(samples, write.samples.iter().map(|(id, sample)| (of(*id), *sample)).collect::<Vec<_>>());
            prop_assert_eq!(record.histograms.len(), write.histograms.len());
            for ((set, back), (id, one)) in record.histograms.iter().zip(&write.histograms) {
                prop_assert_eq!((named(*set), back.at), (of(*id), one.at));
                prop_assert!(back.histogram.is_identical(&one.histogram));
            }
            let exemplars: Vec<_> = record.exemplars.iter().map(|(set, one)| (named(*set), one.clone())).collect();
            prop_assert_eq!(exemplars, write.exemplars.iter().map(|(id, one)| (of(*id), one.clone())).collect::<Vec<_>>());
            prop_assert_eq!(&record.metadata, &write.metadata);
        }
        // Reading on as a writer gives every set its old number.
        let known = names.sets.len();
        let ids: Vec<_> = (0..known).map(|number| number as u32 + 7).collect();
        let old = names.sets.clone();
        let mut numbers = names.into_numbers(&ids);
        for (number, set) in old.iter().enumerate() {
            prop_assert_eq!(numbers.number(number as u32 + 7, || Some(set)), number as u32);
        }
        prop_assert_eq!(numbers.number(0, || Some(&sets[0])), known as u32);
    }

    #[test]
    fn lines_survive(streams in streams()) {
        let mut names = Names::default();
        let back = logs::decode(&encode_logs(&streams, &mut Dictionary::default()), &mut names).unwrap();
        let owned = |line: Line<'_>| LogLine { at: line.at, line: line.line.to_owned(), metadata: line.metadata.clone() };
        let lines = |(set, chunk): &(usize, LineChunk)| {
            let labels = &names.sets[*set];
            chunk.iter().map(|line| (labels.clone(), owned(line))).collect::<Vec<_>>()
        };
        let back: Vec<_> = back.chunks.iter().flat_map(lines).collect();
        let want: Vec<_> = streams.iter().flat_map(|(labels, lines)| lines.iter().map(|line| (labels.clone(), line.clone()))).collect();
        prop_assert_eq!(back, want);
    }

    #[test]
    fn spans_survive(spans in proptest::collection::vec(span(), 0..6)) {
        prop_assert_eq!(traces::decode(&traces::encode(spans.iter()).unwrap()).unwrap(), spans);
    }

    #[test]
    fn any_bytes_can_be_decoded(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        decode_all(&bytes);
    }

    #[test]
    fn nearly_right_bytes_can_be_decoded(
        write in metrics_write(),
        streams in streams(),
        spans in proptest::collection::vec(span(), 0..4),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let encoded = [
            encode_metrics(&write, &mut Numbers::default()),
            encode_logs(&streams, &mut Dictionary::default()),
            traces::encode(spans.iter()).unwrap(),
        ];
        for mut bytes in encoded {
            for (at, value) in &changes {
                let at = at.index(bytes.len());
                bytes[at] = *value;
            }
            decode_all(&bytes);
        }
    }
}
