//! Into which spans of time blocks are cut.

use signal::{TimeRange, Timestamp};

use crate::head::Extent;

/// Blocks do not reach over the edge of a day, so that retention and merging stay simple.
pub(crate) const DAY: i64 = 24 * 3_600_000;
/// Blocks one flush makes at most; days are joined when there would be more.
const BLOCKS: i64 = 64;

/// The days from the first to the last instant, or longer spans when those are too many.
pub(super) fn windows(extent: Option<Extent>) -> Vec<TimeRange> {
    let Some(extent) = extent else { return Vec::new() };
    let (oldest, newest) = (extent.oldest.0, extent.newest.0);
    let mut width = DAY;
    while newest.div_euclid(width).saturating_sub(oldest.div_euclid(width)) >= BLOCKS {
        width = width.saturating_mul(2);
    }
    let numbers = oldest.div_euclid(width)..=newest.div_euclid(width);
    let window = |number: i64| {
        let start = number.saturating_mul(width);
        TimeRange::new(Timestamp(start), Timestamp(start.saturating_add(width - 1)))
    };
    numbers.map(window).collect()
}
