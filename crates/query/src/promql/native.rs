//! Arithmetic and functions on native histograms. Each follows its namesake in Prometheus 3.5
//! (model/histogram/float_histogram.go, promql/quantile.go, promql/functions.go); what is worth telling the query's author
//! comes back as [`Annotation`](super::annotations::Annotation)s.
//!
//! Histograms come from outside: spans and counts may disagree, offsets may be absurd. Nothing here depends on more than
//! the number of counts, and nothing is indexed.

mod arithmetic;
mod bounds;
mod buckets;
mod notation;
mod quantile;
mod range;
mod reset;
mod stats;
#[cfg(test)]
mod tests;
mod valid;

pub use arithmetic::{Mismatch, add, compact, divide, equal, multiply, subtract, with_schema};
pub use bounds::upper_bound;
pub use buckets::{Bucket, buckets};
pub use notation::{NotationError, from_notation, to_notation};
pub use quantile::{fraction, quantile};
pub use range::{Change, average, change, changes, instant_change, resets, total};
pub use reset::is_reset;
pub use stats::{mean, variance};
pub use valid::{Invalid, validate};
