use std::sync::Arc;

use proptest::prelude::*;
use signal::{
    AttributeValue, Exemplar, Labels, LogLine, MetricKind, MetricMetadata, Nanos, Sample, Span, SpanId, Timestamp,
    TraceId,
};

use super::dictionary::{Dictionary, Names};
use super::{logs, metrics, traces};
use crate::intake::{MetricsWrite, SeriesAddition};

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

fn metrics_write() -> impl Strategy<Value = MetricsWrite> {
    let sample = (any::<i64>(), -1e6..1e6_f64).prop_map(|(at, value)| Sample { at: Timestamp(at), value });
    let exemplar = (labels(), any::<i64>()).prop_map(|(labels, at)| Exemplar { labels, value: 0.5, at: Timestamp(at) });
    let series = (labels(), proptest::collection::vec(sample, 0..5), proptest::collection::vec(exemplar, 0..2))
        .prop_map(|(labels, samples, exemplars)| SeriesAddition { labels, place: None, samples, exemplars });
    proptest::collection::vec(series, 0..5).prop_map(|series| {
        let metadata = MetricMetadata {
            name: "m".to_owned(),
            kind: MetricKind::StateSet,
            help: "h".to_owned(),
            unit: "s".to_owned(),
        };
        MetricsWrite { series, metadata: vec![metadata] }
    })
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
    logs::encode(&borrowed, dictionary)
}

/// Every decoder over the same bytes, checked only for coming back.
fn decode_all(bytes: &[u8]) {
    drop(metrics::decode(bytes, &mut Names::default()));
    drop(logs::decode(bytes, &mut Names::default()));
    drop(traces::decode(bytes));
}

proptest! {
    #[test]
    fn samples_survive_with_a_shared_dictionary(writes in proptest::collection::vec(metrics_write(), 1..4), lost in metrics_write()) {
        let (mut dictionary, mut names) = (Dictionary::default(), Names::default());
        for write in &writes {
            // A write that is taken back leaves no trace in the numbers.
            metrics::encode(&lost, &mut dictionary);
            dictionary.roll_back();
            let record = metrics::decode(&metrics::encode(write, &mut dictionary), &mut names).unwrap();
            dictionary.commit();
            let samples: Vec<_> = record.samples.iter().map(|(set, sample)| (names.sets[*set].clone(), *sample)).collect();
            let want: Vec<_> = write.series.iter().flat_map(|series| series.samples.iter().map(|sample| (series.labels.clone(), *sample))).collect();
            prop_assert_eq!(samples, want);
            let exemplars: Vec<_> = record.exemplars.into_iter().map(|(_, exemplar)| exemplar).collect();
            let want: Vec<_> = write.series.iter().flat_map(|series| series.exemplars.clone()).collect();
            prop_assert_eq!(exemplars, want);
            prop_assert_eq!(&record.metadata, &write.metadata);
        }
        // Reading on as a writer gives every set its old number.
        let sets = names.sets.clone();
        let mut dictionary = names.into_dictionary();
        for (number, set) in sets.iter().enumerate() {
            prop_assert_eq!(dictionary.number(set), number);
        }
    }

    #[test]
    fn lines_survive(streams in streams()) {
        let mut names = Names::default();
        let back = logs::decode(&encode_logs(&streams, &mut Dictionary::default()), &mut names).unwrap();
        let back: Vec<_> = back.into_iter().map(|(set, line)| (names.sets[set].clone(), line)).collect();
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
            metrics::encode(&write, &mut Dictionary::default()),
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
