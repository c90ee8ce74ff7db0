use std::sync::Arc;

use proptest::prelude::*;
use signal::{BucketSpan, Buckets, Histogram, HistogramSample, ResetHint, Sample};

use super::messages::{Chunk, Encoding};
use super::*;

/// Reads what `Bits` writes, as `tsdb/chunkenc` does.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn bits(&mut self, count: u32) -> u64 {
        (0..count).fold(0, |value, _| {
            let bit = self.bytes[self.at / 8] >> (7 - self.at % 8) & 1;
            self.at += 1;
            value << 1 | u64::from(bit)
        })
    }

    fn double(&mut self) -> f64 {
        f64::from_bits(self.bits(64))
    }

    fn uvarint(&mut self) -> u64 {
        let (mut value, mut shift) = (0, 0);
        loop {
            let byte = self.bits(8);
            value |= (byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                return value;
            }
        }
    }

    fn varint(&mut self) -> i64 {
        let value = self.uvarint();
        (value >> 1) as i64 ^ -((value & 1) as i64)
    }

    fn ones(&mut self, most: usize) -> usize {
        (0..most).take_while(|_| self.bits(1) == 1).count()
    }

    fn signed(&mut self, width: u32) -> i64 {
        let value = self.bits(width);
        if width < 64 && value > 1 << (width - 1) { value as i64 - (1 << width) } else { value as i64 }
    }

    fn varbit(&mut self) -> i64 {
        match self.ones(8) {
            0 => 0,
            ones => self.signed([3, 6, 9, 12, 18, 25, 56, 64][ones - 1]),
        }
    }

    fn varbit_unsigned(&mut self) -> u64 {
        match self.ones(8) {
            0 => 0,
            ones => self.bits([3, 6, 9, 12, 18, 25, 56, 64][ones - 1]),
        }
    }

    fn xor(&mut self, value: &mut (f64, u32, u32)) -> f64 {
        if self.bits(1) == 1 {
            if self.bits(1) == 1 {
                value.1 = self.bits(5) as u32;
                let width = match self.bits(6) as u32 {
                    0 => 64,
                    width => width,
                };
                value.2 = 64 - value.1 - width;
            }
            let difference = self.bits(64 - value.1 - value.2) << value.2;
            value.0 = f64::from_bits(value.0.to_bits() ^ difference);
        }
        value.0
    }

    fn buckets(&mut self) -> Vec<BucketSpan> {
        (0..self.varbit_unsigned())
            .map(|_| {
                let length = self.varbit_unsigned() as u32;
                BucketSpan { offset: self.varbit() as i32, length }
            })
            .collect()
    }
}

fn floats(chunk: &Chunk) -> Vec<Sample> {
    let count = u16::from_be_bytes([chunk.data[0], chunk.data[1]]);
    let mut reader = Reader { bytes: &chunk.data, at: 16 };
    let (mut at, mut delta) = (reader.varint(), 0);
    let mut value = (reader.double(), 0, 0);
    let mut found = vec![Sample { at: Timestamp(at), value: value.0 }];
    for k in 1..count {
        if k == 1 {
            delta = reader.uvarint() as i64;
        } else {
            delta = delta.wrapping_add(match reader.ones(4) {
                0 => 0,
                ones => reader.signed([14, 17, 20, 64][ones - 1]),
            });
        }
        at = at.wrapping_add(delta);
        found.push(Sample { at: Timestamp(at), value: reader.xor(&mut value) });
    }
    found
}

fn histograms(chunk: &Chunk) -> (u8, Vec<HistogramSample>) {
    let count = u16::from_be_bytes([chunk.data[0], chunk.data[1]]);
    let mut reader = Reader { bytes: &chunk.data, at: 24 };
    let zero_threshold = match reader.bits(8) {
        0 => 0.0,
        255 => reader.double(),
        exponent => 0.5 * 2_f64.powi(exponent as i32 - 243),
    };
    let schema = reader.varbit() as i32;
    let (positive, negative) = (reader.buckets(), reader.buckets());
    let bounds = if schema == Histogram::CUSTOM_BUCKETS { reader.varbit_unsigned() } else { 0 };
    let custom_values: Arc<[f64]> = (0..bounds)
        .map(|_| match reader.varbit_unsigned() {
            0 => reader.double(),
            thousandths => (thousandths - 1) as f64 / 1000.0,
        })
        .collect();
    let counts = |spans: &[BucketSpan]| spans.iter().map(|span| span.length as usize).sum::<usize>();
    let (mut at, mut delta) = (0, 0);
    let mut numbers = vec![(0.0, 0, 0); 3 + counts(&positive) + counts(&negative)];
    let mut found = Vec::new();
    for k in 0..count {
        if k == 0 {
            at = reader.varbit();
            numbers.iter_mut().for_each(|number| number.0 = reader.double());
        } else {
            delta += reader.varbit();
            at += delta;
            for number in &mut numbers {
                reader.xor(number);
            }
        }
        let values: Vec<f64> = numbers.iter().map(|number| number.0).collect();
        let (above, below) = values[3..].split_at(counts(&positive));
        let histogram = Histogram {
            schema,
            zero_threshold,
            count: values[0],
            zero_count: values[1],
            sum: values[2],
            positive: Buckets { spans: positive.clone(), counts: above.to_vec() },
            negative: Buckets { spans: negative.clone(), counts: below.to_vec() },
            custom_values: Arc::clone(&custom_values),
            reset_hint: ResetHint::Unknown,
        };
        found.push(HistogramSample { at: Timestamp(at), histogram: Arc::new(histogram) });
    }
    (chunk.data[2] >> 6, found)
}

fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<u64>().prop_map(f64::from_bits),
        (-1_000_i32..1_000).prop_map(f64::from),
        Just(signal::stale_marker())
    ]
}

fn distance() -> impl Strategy<Value = i64> {
    prop_oneof![Just(15_000), 1..20_i64, 14_000..16_000_i64, 1..(1_i64 << 40)]
}

proptest! {
    #[test]
    fn samples_come_out_of_chunks_as_they_went_in(
        start in -(1_i64 << 40)..(1_i64 << 41),
        points in prop::collection::vec((distance(), value()), 1..300),
    ) {
        let mut at = start;
        let samples: Vec<_> = points.iter().map(|(distance, value)| {
            at += distance;
            Sample { at: Timestamp(at), value: *value }
        }).collect();
        let chunks = chunks::cut(by_time(&samples, &[]));
        prop_assert_eq!(chunks.len(), samples.len().div_ceil(120));
        let bits = |samples: &[Sample]| samples.iter().map(|one| (one.at.0, one.value.to_bits())).collect::<Vec<_>>();
        for (chunk, want) in chunks.iter().zip(samples.chunks(120)) {
            prop_assert_eq!(chunk.encoding, i32::from(Encoding::Xor));
            prop_assert_eq!((chunk.min_time_ms, chunk.max_time_ms), (want[0].at.0, want[want.len() - 1].at.0));
            prop_assert_eq!(bits(&floats(chunk)), bits(want));
        }
    }
}

/// A histogram with two buckets above zero and one below.
fn histogram(at: i64, scale: f64) -> HistogramSample {
    let buckets = |spans: &[(i32, u32)], counts: &[f64]| Buckets {
        spans: spans.iter().map(|&(offset, length)| BucketSpan { offset, length }).collect(),
        counts: counts.iter().map(|count| count * scale).collect(),
    };
    let histogram = Histogram {
        schema: 3,
        zero_threshold: 2_f64.powi(-128),
        zero_count: scale,
        count: 7.0 * scale,
        sum: 12.5 * scale,
        positive: buckets(&[(-5, 1), (300, 1)], &[1.0, 2.0]),
        negative: buckets(&[(2, 1)], &[3.0]),
        ..Histogram::default()
    };
    HistogramSample { at: Timestamp(at), histogram: Arc::new(histogram) }
}

fn changed(sample: &HistogramSample, change: impl FnOnce(&mut Histogram)) -> HistogramSample {
    let mut histogram = (*sample.histogram).clone();
    change(&mut histogram);
    HistogramSample { at: sample.at, histogram: Arc::new(histogram) }
}

#[test]
fn histograms_of_one_layout_share_a_chunk_until_a_reset() {
    const UNKNOWN: u8 = 0;
    const NOT_RESET: u8 = 1;
    const RESET: u8 = 2;
    const GAUGE: u8 = 3;
    let one = |k: i64| histogram(k * 15_000, k as f64);
    let stale = HistogramSample { at: Timestamp(45_000), histogram: Arc::new(Histogram::stale()) };
    let custom = |k| {
        changed(&one(k), |histogram| {
            histogram.schema = Histogram::CUSTOM_BUCKETS;
            histogram.custom_values = Arc::new([0.005, 1.0 / 3.0]);
            histogram.negative = Buckets::default();
            histogram.positive.spans = vec![BucketSpan { offset: 0, length: 2 }];
        })
    };
    let hint = |hint| move |histogram: &mut Histogram| histogram.reset_hint = hint;
    for (name, points, want) in [
        ("growing", vec![one(1), one(2), one(3), one(4)], vec![(UNKNOWN, 4)]),
        ("falling", vec![one(1), one(2), histogram(45_000, 1.0)], vec![(UNKNOWN, 2), (RESET, 1)]),
        ("ended", vec![one(1), one(2), stale, one(4)], vec![(UNKNOWN, 2), (UNKNOWN, 1), (UNKNOWN, 1)]),
        (
            "other layout",
            vec![one(1), changed(&one(2), |h| h.zero_threshold = 0.1)],
            vec![(UNKNOWN, 1), (NOT_RESET, 1)],
        ),
        ("custom bounds", vec![custom(1), custom(2)], vec![(UNKNOWN, 2)]),
        (
            "gauge",
            vec![
                changed(&one(2), hint(ResetHint::Gauge)),
                changed(&one(3), |h| {
                    h.count = 1.0;
                    h.reset_hint = ResetHint::Gauge;
                }),
            ],
            vec![(GAUGE, 2)],
        ),
        ("said to be reset", vec![one(1), changed(&one(2), hint(ResetHint::Reset))], vec![(UNKNOWN, 1), (RESET, 1)]),
        ("counts are missing", vec![changed(&one(1), |h| h.positive.counts.truncate(1)), one(2)], vec![(UNKNOWN, 1)]),
        ("many", (1..=250).map(one).collect(), vec![(UNKNOWN, 120), (NOT_RESET, 120), (NOT_RESET, 10)]),
    ] {
        let chunks = chunks::cut(by_time(&[], &points));
        let read: Vec<_> = chunks.iter().map(histograms).collect();
        let found: Vec<_> = read.iter().map(|(header, samples)| (*header, samples.len())).collect();
        assert_eq!(found, want, "{name}");
        let is_sound =
            |sample: &&HistogramSample| sample.histogram.is_stale() || sample.histogram.positive.counts.len() == 2;
        for (found, want) in read.iter().flat_map(|(_, samples)| samples).zip(points.iter().filter(is_sound)) {
            let want = changed(want, hint(ResetHint::Unknown));
            assert_eq!(found.at, want.at, "{name}");
            assert!(found.histogram.is_identical(&want.histogram), "{name}: {found:?} {want:?}");
        }
    }
}

#[test]
fn floats_and_histograms_keep_their_order() {
    let floats: Vec<_> = [10, 20, 50].map(|at| Sample { at: Timestamp(at), value: 1.0 }).into();
    let histograms = [histogram(30, 1.0), histogram(40, 2.0), histogram(60, 3.0)];
    let chunks = chunks::cut(by_time(&floats, &histograms));
    let shape: Vec<_> = chunks.iter().map(|chunk| (chunk.encoding, chunk.min_time_ms, chunk.max_time_ms)).collect();
    assert_eq!(shape, [(1, 10, 20), (3, 30, 40), (1, 50, 50), (3, 60, 60)]);
}

#[test]
fn external_labels_complete_a_series_and_are_no_condition() {
    let external = BTreeMap::from([("cluster".to_owned(), "c1".to_owned()), ("job".to_owned(), "outer".to_owned())]);
    let labels = Labels::from_pairs([("__name__", "up"), ("job", "inner")]);
    let pairs: Vec<_> = labelled(&labels, &external).into_iter().map(|label| (label.name, label.value)).collect();
    let want = [("__name__", "up"), ("cluster", "c1"), ("job", "inner")];
    assert_eq!(pairs, want.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let matcher = |kind: MatcherKind, value: &str| messages::LabelMatcher {
        kind: kind.into(),
        name: "cluster".to_owned(),
        value: value.to_owned(),
    };
    let query = messages::Query {
        matchers: vec![
            matcher(MatcherKind::Equal, "c1"),
            matcher(MatcherKind::Equal, "c2"),
            matcher(MatcherKind::NotEqual, "c1"),
        ],
        ..messages::Query::default()
    };
    let found: Vec<_> = wanted(&query, &external).unwrap().matchers.into_iter().map(|matcher| matcher.value).collect();
    assert_eq!(found, ["", "c2", "c1"]);
}
