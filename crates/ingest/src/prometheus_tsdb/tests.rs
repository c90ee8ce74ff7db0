use std::fmt::Write as _;

use proptest::prelude::*;
use signal::{BucketSpan, Buckets, Histogram, HistogramSample, ResetHint, Sample, Timestamp, is_stale};

use super::*;

mod encode;

use encode::{Out, index};

/// A block that Prometheus 2.42 wrote; `testdata/README.md` says how.
fn real() -> BlockFiles<Vec<u8>> {
    BlockFiles {
        meta: include_bytes!("testdata/block/meta.json").to_vec(),
        index: include_bytes!("testdata/block/index").to_vec(),
        chunks: vec![include_bytes!("testdata/block/chunks/000001").to_vec()],
        tombstones: Some(include_bytes!("testdata/block/tombstones").to_vec()),
    }
}

fn all(files: BlockFiles<Vec<u8>>) -> Result<Vec<SeriesWrite>, BlockError> {
    let mut block = Block::open(files)?;
    let mut found = Vec::new();
    while let Some(series) = block.next_series()? {
        found.push(series);
    }
    Ok(found)
}

fn shown(series: &SeriesWrite) -> String {
    let mut text = format!("{}\n", series.labels);
    for Sample { at, value } in &series.samples {
        let value = if is_stale(*value) { "stale".to_owned() } else { value.to_string() };
        writeln!(text, "  {} {value}", at.0).unwrap();
    }
    for HistogramSample { at, histogram } in &series.histograms {
        if histogram.is_stale() {
            writeln!(text, "  {} stale", at.0).unwrap();
            continue;
        }
        let Histogram { schema, zero_threshold, zero_count, count, sum, positive, negative, custom_values, reset_hint } =
            &**histogram;
        let side = |buckets: &Buckets| {
            let spans: Vec<_> = buckets.spans.iter().map(|span| (span.offset, span.length)).collect();
            format!("{spans:?} {:?}", buckets.counts)
        };
        writeln!(
            text,
            "  {} {reset_hint:?} schema {schema} count {count} sum {sum} zero {zero_count} within {zero_threshold:e} \
             + {} - {} bounds {custom_values:?}",
            at.0,
            side(positive),
            side(negative)
        )
        .unwrap();
    }
    text
}

#[test]
fn reads_what_prometheus_wrote() {
    let mut block = Block::open(real()).unwrap();
    let meta = block.meta().clone();
    assert_eq!((meta.samples, meta.series, block.series()), (213, 5, 5));
    assert_eq!(meta.range, TimeRange::new(Timestamp(1_700_000_000_000), Timestamp(1_700_002_985_001)));
    let mut text = String::new();
    for _ in 0..4 {
        text.push_str(&shown(&block.next_series().unwrap().unwrap()));
    }
    insta::assert_snapshot!(text, @r#"
    http_requests_total{code="200", job="api"}
      1700000000000 1
      1700000015000 5
      1700000030500 5.25
      1700000045500 5.25
      1700000060001 1000000000
      1700000075000 3
      1700000090000 NaN
      1700000105000 inf
      1700000120000 stale
    latency_seconds{kind="float"}
      1700000000000 Unknown schema 0 count 10.5 sum 18.5 zero 1.25 within 0e0 + [(-2, 2), (1, 1)] [2.5, 3.25, 3.5] - [] [] bounds []
      1700000015000 NotReset schema 0 count 12.5 sum 19.5 zero 1.25 within 0e0 + [(-2, 2), (1, 1)] [3.5, 4.25, 3.5] - [] [] bounds []
      1700000030000 NotReset schema 0 count 12.75 sum 19.75 zero 1.5 within 0e0 + [(-2, 2), (1, 1)] [3.5, 4.25, 3.5] - [] [] bounds []
    latency_seconds{kind="integer"}
      1700000000000 Unknown schema 3 count 10 sum 18.5 zero 1 within 2.938735877055719e-39 + [(0, 3), (2, 1)] [2.0, 3.0, 0.0, 1.0] - [(-1, 2)] [1.0, 2.0] bounds []
      1700000015000 NotReset schema 3 count 14 sum 21.25 zero 2 within 2.938735877055719e-39 + [(0, 3), (2, 1)] [3.0, 4.0, 0.0, 2.0] - [(-1, 2)] [1.0, 2.0] bounds []
      1700000030000 NotReset schema 3 count 20 sum 22 zero 3 within 2.938735877055719e-39 + [(0, 3), (2, 1)] [4.0, 5.0, 2.0, 5.0] - [(-1, 2)] [1.0, 2.0] bounds []
      1700000045000 Reset schema 3 count 2 sum 1 zero 0 within 2.938735877055719e-39 + [(0, 1)] [2.0] - [] [] bounds []
      1700000060000 Unknown schema 3 count 3 sum 1 zero 1 within 1e-3 + [(0, 1)] [2.0] - [] [] bounds []
      1700000075000 stale
    queue_size{kind="gauge"}
      1700000000000 Unknown schema 1 count 6 sum 9 zero 0 within 9.765625e-4 + [(0, 2)] [3.0, 3.0] - [] [] bounds []
      1700000015000 NotReset schema 1 count 8 sum 4 zero 0 within 9.765625e-4 + [(0, 2)] [4.0, 4.0] - [] [] bounds []
    "#);
    let room = block.next_series().unwrap().unwrap();
    assert_eq!(room.labels.get("room"), Some("a \"b\" \\ é"));
    let sent = (0..200).map(|i| (1_700_000_000_000 + i * 15_000 + (i * 7) % 3, ((i * 37) % 100) as f64 / 10.0 + 15.0));
    let deleted = [1_700_001_000_000..=1_700_001_100_000, 1_700_002_000_000..=1_700_002_050_000];
    let kept: Vec<_> = sent.filter(|(at, _)| !deleted.iter().any(|gone| gone.contains(at))).collect();
    let found: Vec<_> = room.samples.iter().map(|sample| (sample.at.0, sample.value)).collect();
    assert_eq!(found, kept);
    assert!(block.next_series().unwrap().is_none());
}

#[test]
fn damage_is_named_and_does_not_hide_the_rest() {
    for (what, file, at, says) in [
        ("index magic", 0, 0, "`index` is damaged at byte 0: this is no index"),
        ("index version", 0, 4, "`index` has format version 252; this version of Aegis reads up to 2"),
        ("contents", 0, 961 - 20, "`index` is damaged at byte 909: the checksum does not hold"),
        ("symbols", 0, 20, "`index` is damaged at byte 9: the checksum does not hold"),
        ("chunk magic", 1, 0, "`chunks/000001` is damaged at byte 0: this is no chunk file"),
        ("chunk version", 1, 4, "`chunks/000001` has format version 254; this version of Aegis reads up to 1"),
        ("a chunk", 1, 30, "`chunks/000001` is damaged at byte 9: the checksum does not hold"),
        ("tombstones", 2, 7, "`tombstones` is damaged at byte 5: the checksum does not hold"),
    ] {
        let mut files = real();
        let tombstones = files.tombstones.as_mut().unwrap();
        let bytes = [&mut files.index, &mut files.chunks[0], tombstones].into_iter().nth(file).unwrap();
        bytes[at] = !bytes[at] & 0xfe;
        let error = all(files).map(drop).unwrap_err();
        assert_eq!(error.to_string(), says, "{what}");
    }

    let mut files = real();
    files.chunks[0][30] ^= 1;
    let mut block = Block::open(files).unwrap();
    assert!(block.next_series().is_err());
    assert_eq!(block.next_series().unwrap().unwrap().labels.get("kind"), Some("float"));
}

#[test]
fn meta_is_checked() {
    for (what, json, says) in [
        ("not JSON", "{", "`meta.json` cannot be understood: EOF while parsing an object at line 1 column 1"),
        (
            "newer",
            r#"{"ulid": "A", "minTime": 0, "maxTime": 1, "version": 2}"#,
            "`meta.json` has format version 2; this version of Aegis reads up to 1",
        ),
    ] {
        assert_eq!(BlockMeta::parse(json.as_bytes()).unwrap_err().to_string(), says, "{what}");
    }
}

#[test]
fn both_formats_of_the_index_are_read() {
    let series = [
        vec![("__name__", "a"), ("job", "x")],
        vec![("__name__", "a"), ("job", "y")],
        vec![("__name__", "bé"), ("zone", "x")],
    ];
    for version in [1, 2] {
        let mut out = Out::default();
        let samples = [(1_000, 1.0), (2_000, 2.0), (2_500, 2.0), (9_999_999, -0.5)];
        out.floats(&samples);
        let (chunks, place) = encode::chunk_file(&[(1, out.bytes)]);
        let files = BlockFiles {
            meta: br#"{"ulid": "A", "minTime": 0, "maxTime": 9999999, "version": 1}"#.to_vec(),
            index: index(version, &series, place[0]),
            chunks: vec![chunks],
            tombstones: None,
        };
        let found = all(files).unwrap();
        let labels: Vec<_> = found.iter().map(|series| series.labels.to_string()).collect();
        assert_eq!(labels, [r#"a{job="x"}"#, r#"a{job="y"}"#, r#"bé{zone="x"}"#], "format {version}");
        for series in &found {
            // The last one lies beyond the block.
            let times: Vec<_> = series.samples.iter().map(|sample| sample.at.0).collect();
            assert_eq!(times, [1_000, 2_000, 2_500], "format {version}");
        }
    }
}

fn unpack(data: &[u8]) -> Result<SeriesWrite, &'static str> {
    let mut series = SeriesWrite::default();
    chunk::floats(data, &mut series).map(|()| series)
}

fn time_steps() -> impl Strategy<Value = Vec<i64>> {
    let step = prop_oneof![Just(15_000_i64), 0..40_i64, 0..100_000_i64, 0..5_000_000_000_i64];
    (-2_000_000_000_000..2_000_000_000_000_i64, prop::collection::vec(step, 0..200)).prop_map(|(start, steps)| {
        std::iter::once(start)
            .chain(steps.iter().scan(start, |at, step| {
                Some({
                    *at += step;
                    *at
                })
            }))
            .collect()
    })
}

fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        (-1000..1000_i32).prop_map(f64::from),
        any::<f64>(),
        any::<u64>().prop_map(f64::from_bits),
        Just(signal::stale_marker())
    ]
}

fn histogram() -> impl Strategy<Value = (Histogram, Vec<Vec<i64>>)> {
    let spans = || prop::collection::vec((-20..200_i32, 1..6_u32), 0..4);
    let schema = prop_oneof![-4..=8_i32, Just(Histogram::CUSTOM_BUCKETS)];
    let zero = prop_oneof![Just(0.0), Just(2.0_f64.powi(-128)), Just(1024.0), Just(0.3)];
    (schema, zero, spans(), spans(), prop::collection::vec(0..40_000_i32, 0..5), 1..20_usize).prop_flat_map(
        |(schema, zero_threshold, positive, negative, bounds, samples)| {
            let side = |spans: &[(i32, u32)]| Buckets {
                spans: spans.iter().map(|(offset, length)| BucketSpan { offset: *offset, length: *length }).collect(),
                counts: Vec::new(),
            };
            let buckets: u32 = positive.iter().chain(&negative).map(|(_, length)| length).sum();
            let custom_values = if schema == Histogram::CUSTOM_BUCKETS {
                bounds.iter().map(|bound| f64::from(*bound) / 3.0).chain([0.5, 7.0]).collect()
            } else {
                Vec::new()
            };
            let shape = Histogram {
                schema,
                zero_threshold,
                positive: side(&positive),
                negative: side(&negative),
                custom_values: custom_values.into(),
                ..Histogram::default()
            };
            let counts = prop::collection::vec(0..1_000_000_000_000_i64, buckets as usize);
            (Just(shape), prop::collection::vec(counts, samples))
        },
    )
}

proptest! {
    #[test]
    fn floats_come_back_bit_by_bit(times in time_steps(), values in prop::collection::vec(value(), 201)) {
        let samples: Vec<_> = times.into_iter().zip(values).collect();
        let mut out = Out::default();
        out.floats(&samples);
        let found = unpack(&out.bytes).unwrap();
        let found: Vec<_> = found.samples.iter().map(|sample| (sample.at.0, sample.value.to_bits())).collect();
        let sent: Vec<_> = samples.iter().map(|(at, value)| (*at, value.to_bits())).collect();
        prop_assert_eq!(found, sent);
    }

    #[test]
    fn histograms_come_back((shape, counts) in histogram(), flags in 0..4_u8, sum in value()) {
        let sent: Vec<(i64, Histogram)> = counts.iter().enumerate().map(|(number, counts)| {
            let mut histogram = shape.clone();
            let positive: usize = shape.positive.spans.iter().map(|span| span.length as usize).sum();
            histogram.positive.counts = counts[..positive].iter().map(|count| *count as f64).collect();
            histogram.negative.counts = counts[positive..].iter().map(|count| *count as f64).collect();
            histogram.zero_count = number as f64;
            histogram.count = 3.0 * number as f64 + 7.0;
            histogram.sum = sum;
            histogram.reset_hint = match (flags, number) {
                (3, _) => ResetHint::Gauge,
                (2, 0) => ResetHint::Reset,
                (_, 0) => ResetHint::Unknown,
                _ => ResetHint::NotReset,
            };
            let histogram = if is_stale(sum) { Histogram::stale() } else { histogram };
            (15_000 * number as i64, histogram)
        }).collect();
        for (what, is_float) in [("integers", false), ("floats", true)] {
            let mut out = Out::default();
            out.histograms(flags, &sent, is_float);
            let mut found = SeriesWrite::default();
            let unpack = if is_float { histogram::floats } else { histogram::integers };
            unpack(&out.bytes, &mut found).unwrap();
            prop_assert_eq!(found.histograms.len(), sent.len(), "{}", what);
            for (found, (at, sent)) in found.histograms.iter().zip(&sent) {
                prop_assert_eq!(found.at.0, *at);
                prop_assert!(found.histogram.is_identical(sent), "{}: {:?} is not {:?}", what, found.histogram, sent);
            }
        }
    }

    #[test]
    fn no_bytes_can_make_it_panic(
        file in 0..4_usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut files = real();
        let bytes = match file {
            0 => &mut files.index,
            1 => &mut files.chunks[0],
            2 => files.tombstones.as_mut().unwrap(),
            _ => &mut files.meta,
        };
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(1 + cut.index(bytes.len()));
        if let Ok(mut block) = Block::open(files) {
            for _ in 0..10 {
                let _ = block.next_series();
            }
        }
    }

    #[test]
    fn no_chunk_can_make_it_panic(mut data in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Some(first) = data.first_mut() {
            *first = 0;
        }
        let mut series = SeriesWrite::default();
        let _ = chunk::floats(&data, &mut series);
        let _ = histogram::integers(&data, &mut series);
        let _ = histogram::floats(&data, &mut series);
    }
}
