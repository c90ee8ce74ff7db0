//! Finding counter resets.

use signal::{Buckets, Histogram, ResetHint};

use super::arithmetic::{levels_between, same_bits, zero_count_within};
use super::bounds::exponential_bound;
use super::buckets::merged;

/// Whether a counter was reset between two histograms: a bucket lost observations, the resolution rose, or the zero bucket
/// shrank. A reset hint of `current` decides it without looking.
#[must_use]
pub fn is_reset(current: &Histogram, previous: &Histogram) -> bool {
    match current.reset_hint {
        ResetHint::Reset => return true,
        ResetHint::NotReset => return false,
        // Gauges should not come here, but the language allows it; they are then taken for counters.
        ResetHint::Unknown | ResetHint::Gauge => {}
    }
    if current.count < previous.count {
        return true;
    }
    let custom = current.has_custom_buckets();
    if custom != previous.has_custom_buckets()
        || (custom && !same_bits(&current.custom_values, &previous.custom_values))
        || current.schema > previous.schema
        || current.zero_threshold < previous.zero_threshold
    {
        return true;
    }
    let (zero_count, threshold) = zero_count_within(previous, current.zero_threshold);
    // A filled bucket across the edge of the zero bucket cannot have grown into it.
    if threshold != current.zero_threshold || current.zero_count < zero_count {
        return true;
    }
    let levels = if custom { 0 } else { levels_between(previous.schema, current.schema) };
    [(&current.positive, &previous.positive), (&current.negative, &previous.negative)].into_iter().any(
        |(now, before)| {
            let outside = |index: i64| custom || exponential_bound(index, current.schema) > current.zero_threshold;
            lost(now, before, levels, outside)
        },
    )
}

/// Whether a bucket holds fewer observations than before.
fn lost(now: &Buckets, before: &Buckets, levels: u32, outside: impl Fn(i64) -> bool) -> bool {
    let mut now = merged(now, 0).into_iter().skip_while(|(index, _)| !outside(*index)).peekable();
    for (index, count) in merged(before, levels).into_iter().skip_while(|(index, _)| !outside(*index)) {
        while now.next_if(|(mine, _)| *mine < index).is_some() {}
        match now.next_if(|(mine, _)| *mine == index) {
            Some((_, mine)) if mine < count => return true,
            Some(_) => {}
            None if count != 0.0 => return true,
            None => {}
        }
    }
    false
}
