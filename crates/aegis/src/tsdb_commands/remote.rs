//! Remote write 1.0 as a sender: a batch as the bytes of a `prometheus.WriteRequest`.

use signal::{
    BucketSpan, Buckets, Exemplar, HistogramSample, Labels, MetricKind, MetricMetadata, ResetHint, SeriesWrite,
};

/// The message, not yet compressed.
pub(super) fn encode(series: &[SeriesWrite], metadata: &[MetricMetadata]) -> Vec<u8> {
    let mut out = Vec::new();
    for series in series {
        message(&mut out, 1, |out| {
            put_labels(out, &series.labels);
            for sample in &series.samples {
                message(out, 2, |out| {
                    double(out, 1, sample.value);
                    integer(out, 2, sample.at.0 as u64);
                });
            }
            for exemplar in &series.exemplars {
                message(out, 3, |out| put_exemplar(out, exemplar));
            }
            for sample in &series.histograms {
                message(out, 4, |out| put_histogram(out, sample));
            }
        });
    }
    for family in metadata {
        message(&mut out, 3, |out| {
            integer(out, 1, kind(family.kind));
            text(out, 2, &family.name);
            text(out, 4, &family.help);
            text(out, 5, &family.unit);
        });
    }
    out
}

fn put_labels(out: &mut Vec<u8>, labels: &Labels) {
    for (name, value) in labels.iter() {
        message(out, 1, |out| {
            text(out, 1, name);
            text(out, 2, value);
        });
    }
}

fn put_exemplar(out: &mut Vec<u8>, exemplar: &Exemplar) {
    put_labels(out, &exemplar.labels);
    double(out, 2, exemplar.value);
    integer(out, 3, exemplar.at.0 as u64);
}

fn put_histogram(out: &mut Vec<u8>, sample: &HistogramSample) {
    let histogram = &*sample.histogram;
    double(out, 2, histogram.count);
    double(out, 3, histogram.sum);
    integer(out, 4, zigzag(histogram.schema.into()));
    double(out, 5, histogram.zero_threshold);
    double(out, 7, histogram.zero_count);
    let sides: [(u64, u64, &Buckets); 2] = [(8, 10, &histogram.negative), (11, 13, &histogram.positive)];
    for (span_field, count_field, buckets) in sides {
        for BucketSpan { offset, length } in &buckets.spans {
            message(out, span_field, |out| {
                integer(out, 1, zigzag((*offset).into()));
                integer(out, 2, (*length).into());
            });
        }
        doubles(out, count_field, &buckets.counts);
    }
    let hint = match histogram.reset_hint {
        ResetHint::Unknown => 0,
        ResetHint::Reset => 1,
        ResetHint::NotReset => 2,
        ResetHint::Gauge => 3,
    };
    integer(out, 14, hint);
    integer(out, 15, sample.at.0 as u64);
    doubles(out, 16, &histogram.custom_values);
}

fn kind(kind: MetricKind) -> u64 {
    match kind {
        MetricKind::Unknown => 0,
        MetricKind::Counter => 1,
        MetricKind::Gauge => 2,
        MetricKind::Histogram => 3,
        MetricKind::GaugeHistogram => 4,
        MetricKind::Summary => 5,
        MetricKind::Info => 6,
        MetricKind::StateSet => 7,
    }
}

const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const BYTES: u64 = 2;

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value > 0x7f {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn zigzag(value: i64) -> u64 {
    (value << 1 ^ value >> 63) as u64
}

fn integer(out: &mut Vec<u8>, field: u64, value: u64) {
    varint(out, field << 3 | VARINT);
    varint(out, value);
}

fn double(out: &mut Vec<u8>, field: u64, value: f64) {
    varint(out, field << 3 | FIXED64);
    out.extend_from_slice(&value.to_le_bytes());
}

fn bytes(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    varint(out, field << 3 | BYTES);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn text(out: &mut Vec<u8>, field: u64, text: &str) {
    bytes(out, field, text.as_bytes());
}

fn doubles(out: &mut Vec<u8>, field: u64, values: &[f64]) {
    if !values.is_empty() {
        let packed: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        bytes(out, field, &packed);
    }
}

fn message(out: &mut Vec<u8>, field: u64, fill: impl FnOnce(&mut Vec<u8>)) {
    let mut inner = Vec::new();
    fill(&mut inner);
    bytes(out, field, &inner);
}
