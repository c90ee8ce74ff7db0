//! Adding, subtracting and scaling histograms.

use signal::{Buckets, Histogram, ResetHint};

use super::bounds::exponential_bound;
use super::buckets::{Bucket, Side, indexed, laid_out, merged};

/// Why two histograms cannot be added or subtracted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Mismatch {
    /// One has exponential buckets and the other custom ones.
    #[error("cannot combine histograms with exponential and with custom buckets")]
    Schema,
    /// Both have custom buckets, but other bounds.
    #[error("cannot combine histograms with different custom buckets")]
    Bounds,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sign {
    Plus,
    Minus,
}

impl Sign {
    fn of(self, count: f64) -> f64 {
        match self {
            Self::Plus => count,
            Self::Minus => -count,
        }
    }
}

/// Adds `other` to `target`, at the lower of both resolutions and the wider of both zero buckets.
///
/// # Errors
/// `Mismatch` when the buckets cannot be brought together; `target` is then as it was.
pub fn add(target: &mut Histogram, other: &Histogram) -> Result<(), Mismatch> {
    check(target, other)?;
    target.reset_hint = match (target.reset_hint, other.reset_hint) {
        (mine, theirs) if mine == theirs => mine,
        (ResetHint::Gauge, _) | (_, ResetHint::Gauge) => ResetHint::Gauge,
        _ => ResetHint::Unknown,
    };
    combine(target, other, Sign::Plus);
    Ok(())
}

/// Subtracts `other` from `target`, as [`add`] adds it. The reset hint stays what it was.
///
/// # Errors
/// `Mismatch` as for [`add`].
pub fn subtract(target: &mut Histogram, other: &Histogram) -> Result<(), Mismatch> {
    check(target, other)?;
    combine(target, other, Sign::Minus);
    Ok(())
}

fn check(a: &Histogram, b: &Histogram) -> Result<(), Mismatch> {
    match (a.has_custom_buckets(), b.has_custom_buckets()) {
        (false, false) => Ok(()),
        (true, true) if same_bits(&a.custom_values, &b.custom_values) => Ok(()),
        (true, true) => Err(Mismatch::Bounds),
        (true, false) | (false, true) => Err(Mismatch::Schema),
    }
}

fn combine(target: &mut Histogram, other: &Histogram, sign: Sign) {
    let custom = target.has_custom_buckets();
    if !custom {
        let zero = reconcile_zero(target, other);
        target.zero_count += sign.of(zero);
        if other.schema < target.schema {
            reduce(target, other.schema);
        }
    }
    target.count += sign.of(other.count);
    target.sum += sign.of(other.sum);
    let levels = if custom { 0 } else { levels_between(other.schema, target.schema) };
    // What lies in the wider zero bucket was counted there.
    let threshold = if custom { f64::NEG_INFINITY } else { target.zero_threshold };
    let outside = |buckets: &Buckets| -> Vec<(i64, f64)> {
        merged(buckets, levels)
            .into_iter()
            .skip_while(|(index, _)| !custom && exponential_bound(*index, target.schema) <= threshold)
            .map(|(index, count)| (index, sign.of(count)))
            .collect()
    };
    let (positive, negative) = (outside(&other.positive), outside(&other.negative));
    join(&mut target.positive, &positive);
    if !custom {
        join(&mut target.negative, &negative);
    }
}

/// Adds buckets to others, both by rising index.
fn join(target: &mut Buckets, other: &[(i64, f64)]) {
    if other.is_empty() {
        return;
    }
    // Mostly the layout is the same.
    if indexed(target).map(|(index, _)| index).eq(other.iter().map(|(index, _)| *index)) {
        for (mine, (_, theirs)) in target.counts.iter_mut().zip(other) {
            *mine += theirs;
        }
        return;
    }
    let mut joined: Vec<(i64, f64)> = Vec::with_capacity(target.counts.len() + other.len());
    let mut theirs = other.iter().copied().peekable();
    for (index, count) in indexed(target) {
        while let Some(before) = theirs.next_if(|(their, _)| *their < index) {
            joined.push(before);
        }
        let same = theirs.next_if(|(their, _)| *their == index).map_or(0.0, |(_, count)| count);
        joined.push((index, count + same));
    }
    joined.extend(theirs);
    *target = laid_out(joined);
}

/// How many schemas `to` lies below `from`; zero if it does not.
pub(super) fn levels_between(from: i32, to: i32) -> u32 {
    u32::try_from(i64::from(from) - i64::from(to)).unwrap_or(0)
}

fn reduce(histogram: &mut Histogram, schema: i32) {
    let levels = levels_between(histogram.schema, schema);
    histogram.positive = laid_out(merged(&histogram.positive, levels));
    histogram.negative = laid_out(merged(&histogram.negative, levels));
    histogram.schema = schema;
}

/// The same observations at a lower resolution; a copy when `schema` is not lower or the buckets are custom.
#[must_use]
pub fn with_schema(histogram: &Histogram, schema: i32) -> Histogram {
    let mut copy = histogram.clone();
    if !copy.has_custom_buckets() && schema < copy.schema && schema != Histogram::CUSTOM_BUCKETS {
        reduce(&mut copy, schema);
    }
    copy
}

/// Multiplies every count and the sum.
pub fn multiply(histogram: &mut Histogram, factor: f64) {
    each_number(histogram, |number| number * factor);
}

/// Divides every count and the sum. By zero, no buckets are left.
pub fn divide(histogram: &mut Histogram, divisor: f64) {
    each_number(histogram, |number| number / divisor);
    if divisor == 0.0 {
        histogram.positive = Buckets::default();
        histogram.negative = Buckets::default();
    }
}

fn each_number(histogram: &mut Histogram, change: impl Fn(f64) -> f64) {
    let Histogram { zero_count, count, sum, positive, negative, .. } = histogram;
    for number in [zero_count, count, sum].into_iter().chain(&mut positive.counts).chain(&mut negative.counts) {
        *number = change(*number);
    }
}

/// Leaves out empty buckets.
pub fn compact(histogram: &mut Histogram) {
    for side in [&mut histogram.positive, &mut histogram.negative] {
        let touching = side.spans.iter().skip(1).any(|span| span.offset <= 0);
        if touching || side.counts.contains(&0.0) || side.spans.iter().any(|span| span.length == 0) {
            *side = laid_out(indexed(side).filter(|(_, count)| *count != 0.0).collect::<Vec<_>>());
        }
    }
}

/// Whether two histograms have the same buckets with the same counts, bit by bit. Reset hints are not compared, nor how
/// the spans are cut.
#[must_use]
pub fn equal(a: &Histogram, b: &Histogram) -> bool {
    let same = |a: f64, b: f64| a.to_bits() == b.to_bits();
    let side = |a: &Buckets, b: &Buckets| {
        same_bits(&a.counts, &b.counts) && indexed(a).map(|(index, _)| index).eq(indexed(b).map(|(index, _)| index))
    };
    a.schema == b.schema
        && same(a.count, b.count)
        && same(a.sum, b.sum)
        && (!a.has_custom_buckets() || same_bits(&a.custom_values, &b.custom_values))
        && a.zero_threshold == b.zero_threshold
        && same(a.zero_count, b.zero_count)
        && side(&a.negative, &b.negative)
        && side(&a.positive, &b.positive)
}

/// Whether custom bounds are the same.
pub(super) fn same_bits(a: &[f64], b: &[f64]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
}

/// Widens the zero bucket of `target` until neither histogram has a filled bucket across its edge. Answers the zero count
/// that `other` has then.
fn reconcile_zero(target: &mut Histogram, other: &Histogram) -> f64 {
    let (mut count, mut threshold) = (other.zero_count, other.zero_threshold);
    // Each round passes a bucket edge; a NaN passes none.
    let rounds = 2 * (target.positive.counts.len() + target.negative.counts.len() + other.positive.counts.len())
        + 2 * other.negative.counts.len()
        + 4;
    for _ in 0..rounds {
        if threshold == target.zero_threshold {
            break;
        }
        if target.zero_threshold > threshold {
            (count, threshold) = zero_count_within(other, target.zero_threshold);
        }
        if threshold > target.zero_threshold {
            (target.zero_count, target.zero_threshold) = zero_count_within(target, threshold);
            drop_within_zero(target);
        }
    }
    count
}

/// The zero count of a histogram whose zero bucket reaches to `threshold`, or further if a filled bucket lies across that;
/// and how far it reaches.
pub(super) fn zero_count_within(histogram: &Histogram, threshold: f64) -> (f64, f64) {
    let mut threshold = threshold;
    if threshold == histogram.zero_threshold {
        return (histogram.zero_count, threshold);
    }
    'again: loop {
        let mut total = histogram.zero_count;
        for (index, count) in indexed(&histogram.positive) {
            let bucket = Bucket::of(histogram, Side::Positive, index, count);
            if bucket.lower >= threshold {
                break;
            }
            total += count;
            if bucket.upper > threshold {
                if count != 0.0 {
                    threshold = bucket.upper;
                }
                break;
            }
        }
        for (index, count) in indexed(&histogram.negative) {
            let bucket = Bucket::of(histogram, Side::Negative, index, count);
            if bucket.upper <= -threshold {
                break;
            }
            total += count;
            if bucket.lower < -threshold {
                if count != 0.0 {
                    // The positive side has to be counted again, up to the wider edge.
                    threshold = -bucket.lower;
                    continue 'again;
                }
                break;
            }
        }
        return (total, threshold);
    }
}

/// Removes buckets that the zero bucket covers by now.
fn drop_within_zero(histogram: &mut Histogram) {
    let (schema, threshold) = (histogram.schema, histogram.zero_threshold);
    let covered = |index: i64| exponential_bound(index - 1, schema) < threshold;
    for side in [&mut histogram.positive, &mut histogram.negative] {
        let left: Vec<_> = indexed(side).skip_while(|(index, _)| covered(*index)).collect();
        *side = laid_out(left.into_iter().filter(|(_, count)| *count != 0.0));
    }
}
