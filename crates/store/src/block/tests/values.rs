//! Columns, values and native histograms as they come, for all tests of blocks.

use std::sync::Arc;

use proptest::prelude::*;
use signal::{BucketSpan, Buckets, Histogram, HistogramSample, ResetHint, Timestamp};

/// Columns as they come: steady, noisy, sparse, repeating and arbitrary, also one behind the other.
pub(in crate::block) fn whole_numbers(most: usize) -> impl Strategy<Value = Vec<i64>> {
    let number = prop_oneof![
        4 => -3_i64..3,
        2 => 0_i64..1_000,
        2 => (0_i64..5_000).prop_map(|number| number * 4_096),
        1 => any::<i64>(),
        1 => prop_oneof![Just(i64::MIN), Just(i64::MAX), Just(0)],
    ];
    let run = (number.clone(), proptest::collection::vec(number, 1..most / 4 + 2), 0_u8..5).prop_map(
        |(step, noise, kind)| {
            let mut last = 0_i64;
            let sums = noise.iter().map(|noise| {
                last = last.wrapping_add(match kind {
                    0 => *noise,
                    1 => step,
                    2 => step.wrapping_add(noise % 100),
                    3 => step.wrapping_mul(noise % 2),
                    _ => noise.wrapping_sub(last),
                });
                last
            });
            sums.collect::<Vec<_>>()
        },
    );
    proptest::collection::vec(run, 0..4).prop_map(move |runs| runs.concat().into_iter().take(most).collect())
}

/// Values as they come: counts, decimals, sums of arbitrary fractions, markers and arbitrary bits.
pub(in crate::block) fn values(most: usize) -> impl Strategy<Value = Vec<f64>> {
    let odd = prop_oneof![
        Just(signal::stale_marker()),
        Just(-0.0),
        Just(f64::INFINITY),
        any::<u64>().prop_map(f64::from_bits),
        (1_u32..100).prop_map(|part| 1.0 / f64::from(part)),
    ];
    let odds = proptest::collection::vec((any::<prop::sample::Index>(), odd), 0..12);
    (whole_numbers(most), prop_oneof![Just(1.0), Just(10.0), Just(100.0), Just(1e9), Just(3.0)], odds).prop_map(
        |(numbers, power, odds)| {
            let mut values: Vec<f64> = numbers.iter().map(|number| *number as f64 / power).collect();
            for (place, odd) in odds {
                if !values.is_empty() {
                    let place = place.index(values.len());
                    values[place] = odd;
                }
            }
            values
        },
    )
}

/// Native histograms at ascending instants, neighbours often of the same layout.
pub(in crate::block) fn histograms(most: usize) -> impl Strategy<Value = Vec<HistogramSample>> {
    let layout = (
        prop_oneof![-4_i32..9, Just(Histogram::CUSTOM_BUCKETS)],
        prop_oneof![Just(0.0), Just(0.001), Just(f64::NAN)],
        proptest::collection::vec((any::<i32>(), 0_u32..5), 0..3),
        proptest::collection::vec((-9_i32..9, 0_u32..5), 0..2),
        proptest::collection::vec(-9.0..9.0, 0..4),
    );
    let run = (layout, values(most * 16), 1_usize..8);
    proptest::collection::vec(run, 0..5).prop_map(move |runs| {
        let mut samples = Vec::new();
        for ((schema, zero_threshold, positive, negative, bounds), values, len) in runs {
            let mut values = values.into_iter().cycle();
            let mut next = move || values.next().unwrap_or(1.0);
            let custom_values: Arc<[f64]> = Arc::from(bounds);
            for _ in 0..len {
                let mut buckets = |spans: &[(i32, u32)]| {
                    let counts = spans.iter().flat_map(|(_, length)| 0..*length).map(|_| next()).collect();
                    let spans = spans.iter().map(|(offset, length)| BucketSpan { offset: *offset, length: *length });
                    Buckets { spans: spans.collect(), counts }
                };
                let (positive, negative) = (buckets(&positive), buckets(&negative));
                let hints = [ResetHint::Unknown, ResetHint::NotReset, ResetHint::Reset, ResetHint::Gauge];
                let histogram = Histogram {
                    schema,
                    zero_threshold,
                    zero_count: next(),
                    count: next(),
                    sum: next(),
                    positive,
                    negative,
                    custom_values: Arc::clone(&custom_values),
                    reset_hint: hints[samples.len() / 3 % 4],
                };
                let at = Timestamp(samples.len() as i64 * 15_000);
                samples.push(HistogramSample { at, histogram: Arc::new(histogram) });
            }
        }
        samples.truncate(most);
        samples
    })
}
