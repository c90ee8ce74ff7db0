//! Small makers of telemetry, and everything a store answers as one comparable value.
#![allow(dead_code, reason = "each test file uses its part")]

use std::path::Path;
use std::sync::Arc;

use aegis_store::{Fsync, MemoryDisk, Snapshot, Store, StoreSettings};
use signal::{
    AttributeValue, Exemplar, Labels, LogLine, MetricKind, MetricMetadata, Nanos, Sample, SeriesWrite, Span, SpanEvent,
    SpanId, SpanKind, SpanLink, SpanStatus, StreamWrite, TimeRange, Timestamp, TraceId, WriteBatch,
};

pub mod written;

pub const DIR: &str = "/data";

pub fn settings() -> StoreSettings {
    StoreSettings { fsync: Fsync::Always, ..StoreSettings::default() }
}

pub fn open(disk: &MemoryDisk) -> Store {
    open_with(disk, settings())
}

pub fn open_with(disk: &MemoryDisk, settings: StoreSettings) -> Store {
    Store::open(Path::new(DIR), settings, Arc::new(disk.clone())).unwrap()
}

pub fn sample(at: i64, value: f64) -> Sample {
    Sample { at: Timestamp(at), value }
}

pub fn series(pairs: &[(&str, &str)], samples: &[(i64, f64)]) -> WriteBatch {
    let samples = samples.iter().map(|(at, value)| sample(*at, *value));
    let write = SeriesWrite::new(Labels::from_pairs(pairs.iter().copied()), samples);
    WriteBatch { series: vec![write], ..WriteBatch::default() }
}

pub fn lines(pairs: &[(&str, &str)], lines: &[(i64, &str)]) -> WriteBatch {
    let line = |(at, text): &(i64, &str)| LogLine {
        at: Nanos(*at),
        line: (*text).to_owned(),
        metadata: if at % 2 == 0 { Labels::empty() } else { Labels::from_pairs([("trace_id", text)]) },
    };
    let write =
        StreamWrite { labels: Labels::from_pairs(pairs.iter().copied()), lines: lines.iter().map(line).collect() };
    WriteBatch { streams: vec![write], ..WriteBatch::default() }
}

pub fn span(trace: u8, id: u8, start: i64, end: i64) -> Span {
    Span {
        trace: TraceId([trace; 16]),
        id: SpanId([id; 8]),
        parent: (id > 1).then_some(SpanId([1; 8])),
        trace_state: "vendor=1".to_owned(),
        name: format!("operation {id}"),
        kind: SpanKind::Server,
        start: Nanos(start),
        end: Nanos(end),
        status: SpanStatus::Error,
        status_message: "failed".to_owned(),
        attributes: vec![
            ("http.status".to_owned(), AttributeValue::Int(-503)),
            (
                "nested".to_owned(),
                AttributeValue::Map(vec![("list".to_owned(), AttributeValue::List(vec![AttributeValue::Bool(true)]))]),
            ),
            ("raw".to_owned(), AttributeValue::Bytes(vec![0, 255])),
            ("ratio".to_owned(), AttributeValue::Float(0.25)),
        ],
        resource: Arc::new(vec![("service.name".to_owned(), AttributeValue::String("api".to_owned()))]),
        scope_name: "scope".to_owned(),
        scope_version: "1".to_owned(),
        events: vec![SpanEvent { at: Nanos(start + 1), name: "exception".to_owned(), attributes: vec![] }],
        links: vec![SpanLink { trace: TraceId([9; 16]), span: SpanId([9; 8]), attributes: vec![] }],
    }
}

pub fn spans(spans: Vec<Span>) -> WriteBatch {
    WriteBatch { spans, ..WriteBatch::default() }
}

/// A batch that touches all three signals, the `number`th of its kind.
pub fn everything(number: i64) -> WriteBatch {
    let mut batch = series(&[("__name__", "requests_total"), ("job", "api")], &[(number * 15_000, number as f64)]);
    batch.series[0].exemplars.push(Exemplar {
        labels: Labels::from_pairs([("trace_id", "abc")]),
        value: number as f64 / 8.0,
        at: Timestamp(number * 15_000),
    });
    batch.metadata.push(MetricMetadata {
        name: "requests_total".to_owned(),
        kind: MetricKind::Counter,
        help: "Requests.".to_owned(),
        unit: String::new(),
    });
    batch.merge(series(&[("__name__", "up"), ("pod", &format!("p{}", number % 7))], &[(number * 15_000, f64::NAN)]));
    batch.merge(lines(
        &[("app", "api")],
        &[(number * 1_000_000_000, "started"), (number * 1_000_000_000 + 1, "stopped")],
    ));
    batch.merge(spans(vec![span((number % 250) as u8, 1, number * 1_000_000_000, number * 1_000_000_000 + 5_000_000)]));
    batch
}

/// Everything a snapshot answers, comparable also where values are not numbers.
#[derive(PartialEq, Debug)]
pub struct Answers {
    pub series: Vec<(Labels, Vec<(i64, u64)>)>,
    pub exemplars: String,
    pub metadata: Vec<MetricMetadata>,
    pub streams: Vec<aegis_store::Stream>,
    pub traces: Vec<aegis_store::Trace>,
}

pub fn answers(snapshot: &Snapshot) -> Answers {
    let bits = |samples: Vec<Sample>| samples.iter().map(|sample| (sample.at.0, sample.value.to_bits())).collect();
    Answers {
        series: snapshot
            .select(&[], TimeRange::all())
            .into_iter()
            .map(|series| (series.labels, bits(series.samples)))
            .collect(),
        exemplars: format!("{:?}", snapshot.exemplars(&[], TimeRange::all())),
        metadata: snapshot.metadata(),
        streams: snapshot.streams(&[], Nanos(i64::MIN), Nanos(i64::MAX)),
        traces: snapshot.traces(TimeRange::all()).collect(),
    }
}

/// What a store that was given exactly these batches answers.
pub fn expected(batches: &[WriteBatch]) -> Answers {
    let store = Store::in_memory();
    for batch in batches {
        store.append(std::slice::from_ref(batch)).unwrap();
    }
    answers(&store.snapshot())
}
