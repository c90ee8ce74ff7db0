use proptest::prelude::*;

use super::*;

fn span(offset: i32, length: u32) -> BucketSpan {
    BucketSpan { offset, length }
}

fn whole(count: u64, spans: &[BucketSpan], deltas: &[i64]) -> WireHistogram {
    WireHistogram {
        counts: WireCounts::Whole { count, zero_count: 0 },
        positive: WireBuckets { spans: spans.to_vec(), deltas: deltas.to_vec(), counts: vec![] },
        ..WireHistogram::default()
    }
}

fn float(count: f64, zero_count: f64, counts: &[f64]) -> WireHistogram {
    let spans = vec![span(0, u32::try_from(counts.len()).unwrap())];
    WireHistogram {
        counts: WireCounts::Float { count, zero_count },
        positive: WireBuckets { spans, deltas: vec![], counts: counts.to_vec() },
        ..WireHistogram::default()
    }
}

fn custom(bounds: &[f64], spans: &[BucketSpan], change: impl FnOnce(&mut WireHistogram)) -> WireHistogram {
    let buckets = spans.iter().map(|span| i64::from(span.length)).sum::<i64>();
    let mut wire = whole(0, spans, &vec![0; usize::try_from(buckets).unwrap()]);
    wire.schema = Histogram::CUSTOM_BUCKETS;
    wire.custom_values = bounds.to_vec();
    change(&mut wire);
    wire
}

#[test]
fn what_breaks_the_rules_is_named() {
    let mut nan = whole(1, &[span(0, 1)], &[2]);
    nan.sum = f64::NAN;
    let mut negative = whole(0, &[], &[]);
    negative.negative.deltas.push(1);
    let mut bounds = whole(0, &[], &[]);
    bounds.custom_values.push(1.0);
    for (wire, want) in [
        (
            WireHistogram { schema: -5, ..WireHistogram::default() },
            "has the schema -5; known are -4 to 8, and -53 for custom buckets",
        ),
        (whole(2, &[span(0, 1), span(-1, 1)], &[1, 0]), "has a positive span with the offset -1"),
        (whole(2, &[span(0, 3)], &[1, 0]), "has positive spans for 3 buckets, but counts of 2"),
        (negative, "has negative spans for 0 buckets, but counts of 1"),
        (
            whole(2, &[span(i32::MAX, 1), span(i32::MAX, 1)], &[1, 0]),
            "has a positive bucket with a number beyond the 32 bits of bucket numbers",
        ),
        (whole(1, &[span(0, 2)], &[1, -2]), "has a positive bucket with the count -1"),
        (whole(3, &[span(0, 2)], &[1, 0]), "has the count 3, but its buckets hold 2"),
        (whole(1, &[span(0, 2)], &[1, 0]), "has the count 1, but its buckets hold 2"),
        (nan, "has the count 1, but its buckets hold 2"),
        (whole(3, &[span(0, 3)], &[i64::MAX, 0, 0]), "holds more observations than 64 bits can count"),
        (float(1.0, -0.5, &[1.0]), "has a zero bucket with the count -0.5"),
        (float(-1.0, 0.0, &[1.0]), "has the count -1"),
        (float(1.0, 0.0, &[1.0, -1.0]), "has a positive bucket with the count -1"),
        (bounds, "has 1 custom bounds, but exponential buckets"),
        (custom(&[1.0, 1.0], &[], |_| {}), "has the custom bound 1 after 1"),
        (custom(&[1.0, f64::INFINITY], &[], |_| {}), "has the custom bound inf"),
        (custom(&[f64::NAN], &[], |_| {}), "has the custom bound NaN"),
        (custom(&[1.0], &[span(1, 1), span(0, 1)], |_| {}), "has 1 custom bounds for 3 buckets"),
        (custom(&[1.0], &[span(-1, 1)], |_| {}), "has a positive span with the offset -1"),
        (
            custom(&[1.0], &[], |wire| wire.counts = WireCounts::Whole { count: 1, zero_count: 1 }),
            "has custom buckets and also a zero count",
        ),
        (custom(&[1.0], &[], |wire| wire.zero_threshold = 0.1), "has custom buckets and also a zero threshold"),
        (
            custom(&[1.0], &[], |wire| wire.negative.spans.push(span(0, 0))),
            "has custom buckets and also negative buckets",
        ),
        (whole(0, &[span(0, 101)], &[0; 101]), "has more than 100 buckets (max_histogram_buckets)"),
        (whole(0, &[span(0, 0); 101], &[]), "has more than 100 buckets (max_histogram_buckets)"),
    ] {
        assert_eq!(wire.into_histogram(100).unwrap_err().to_string(), want);
    }
}

#[test]
fn observed_nans_are_in_no_bucket() {
    let mut wire = whole(3, &[span(0, 2)], &[1, 0]);
    wire.sum = f64::NAN;
    assert_eq!(wire.into_histogram(100).unwrap().count, 3.0);
}

#[test]
fn resolution_is_reduced_by_merging_neighbours() {
    let histogram = Histogram {
        schema: 1,
        positive: Buckets { spans: vec![span(-2, 3), span(2, 2)], counts: vec![1.0, 2.0, 3.0, 4.0, 5.0] },
        negative: Buckets { spans: vec![span(7, 1)], counts: vec![9.0] },
        ..Histogram::default()
    };
    // Buckets -2, -1, 0, 3, 4 of schema 1 are -1, 0, 0, 2, 2 of schema 0.
    let reduced = reduce(histogram.clone(), 0);
    assert_eq!(reduced.positive, Buckets { spans: vec![span(-1, 4)], counts: vec![1.0, 5.0, 0.0, 9.0] });
    assert_eq!(reduced.negative, Buckets { spans: vec![span(4, 1)], counts: vec![9.0] });
    assert_eq!(reduce(histogram.clone(), 2), histogram);
    let fitted = fit(histogram.clone(), 3).unwrap();
    assert_eq!((fitted.schema, bucket_count(&fitted)), (-1, 3));
    assert_eq!(fit(histogram, 1), None);
}

#[test]
fn small_gaps_are_filled() {
    let mut collector = Collector::default();
    for (at, count) in [(-4, 1.0), (-4, 1.0), (-1, 2.0), (3, 3.0), (4, 4.0)] {
        collector.add(at, count);
    }
    let want = Buckets { spans: vec![span(-4, 4), span(3, 2)], counts: vec![2.0, 0.0, 0.0, 2.0, 3.0, 4.0] };
    assert_eq!(collector.buckets, want);
}

proptest! {
    #[test]
    fn reducing_keeps_every_observation(
        runs in proptest::collection::vec((-20_i32..20, 0_u32..5), 0..6),
        counts in proptest::collection::vec(0_u32..9, 40),
        schema in -3_i32..9,
        steps in 1_i32..12,
    ) {
        let spans: Vec<_> = runs.iter().enumerate().map(|(at, (offset, length))| span(if at == 0 { *offset } else { offset.abs() }, *length)).collect();
        let length = spans.iter().map(|span| span.length as usize).sum::<usize>();
        let counts: Vec<_> = counts.into_iter().take(length).map(f64::from).collect();
        let histogram = Histogram { schema, positive: Buckets { spans, counts: counts.clone() }, ..Histogram::default() };
        let target = (schema - steps).max(-4);
        let at_once = reduce(histogram.clone(), target);
        prop_assert_eq!(at_once.positive.counts.iter().sum::<f64>(), counts.iter().sum::<f64>());
        let lengths: u64 = at_once.positive.spans.iter().map(|span| u64::from(span.length)).sum();
        prop_assert_eq!(lengths, at_once.positive.counts.len() as u64);
        let mut step_by_step = histogram;
        for schema in (target..schema).rev() {
            step_by_step = reduce(step_by_step, schema);
        }
        // The steps may leave other empty buckets, and nothing else.
        let full = |buckets: &Buckets| {
            let mut at = 0_i64;
            let mut found = Vec::new();
            let mut counts = buckets.counts.iter();
            for span in &buckets.spans {
                at += i64::from(span.offset);
                for count in counts.by_ref().take(span.length as usize) {
                    if *count > 0.0 {
                        found.push((at, *count));
                    }
                    at += 1;
                }
            }
            found
        };
        prop_assert_eq!(full(&step_by_step.positive), full(&at_once.positive));
    }

    #[test]
    fn any_histogram_is_kept_or_refused(
        schema in prop_oneof![-60_i32..60, any::<i32>()],
        spans in proptest::collection::vec((any::<i32>(), any::<u32>()), 0..4),
        deltas in proptest::collection::vec(any::<i64>(), 0..6),
        counts in proptest::collection::vec(any::<f64>(), 0..6),
        is_float in any::<bool>(),
        bounds in proptest::collection::vec(any::<f64>(), 0..4),
    ) {
        let spans: Vec<_> = spans.into_iter().map(|(offset, length)| span(offset, length % 7)).collect();
        let wire = WireHistogram {
            schema,
            counts: if is_float { WireCounts::Float { count: 1.0, zero_count: 1.0 } } else { WireCounts::Whole { count: 3, zero_count: 1 } },
            positive: WireBuckets { spans: spans.clone(), deltas: deltas.clone(), counts: counts.clone() },
            negative: WireBuckets { spans, deltas, counts },
            custom_values: bounds,
            ..WireHistogram::default()
        };
        if let Ok(histogram) = wire.into_histogram(1000) {
            let _ = fit(histogram, 2);
        }
    }
}
