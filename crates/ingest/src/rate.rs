//! How many samples a second may come in.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use signal::Timestamp;

/// A limit of samples a second over all senders, with one second's worth in stock for bursts.
///
/// Shared by all threads. A request is let in whole as long as any stock is left, and what it takes beyond the stock is
/// made up for by those that come next: so no request is too large to get in ever.
#[derive(Debug)]
pub struct SampleRate {
    per_second: f64,
    stock: Mutex<Stock>,
}

#[derive(Debug)]
struct Stock {
    samples: f64,
    /// When it was filled up last.
    at: Option<Timestamp>,
}

/// Samples came faster than allowed; none of the request is taken.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("samples come faster than the limit of {per_second} a second (max_samples_per_second); try again in {} s", .retry_after.as_secs())]
pub struct RateExceeded {
    /// Samples allowed each second.
    pub per_second: f64,
    /// When there will be room again, in whole seconds.
    pub retry_after: Duration,
}

impl SampleRate {
    /// Lets in `per_second` samples a second, at least one.
    #[must_use]
    pub fn new(per_second: u32) -> Self {
        let per_second = f64::from(per_second.max(1));
        Self { per_second, stock: Mutex::new(Stock { samples: per_second, at: None }) }
    }

    /// Takes `samples` out of the stock.
    ///
    /// # Errors
    /// `RateExceeded` when nothing is in stock at `now`.
    pub fn take(&self, samples: usize, now: Timestamp) -> Result<(), RateExceeded> {
        let mut stock = self.stock.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that is set back adds nothing, and counts from there.
        let passed = now.since(stock.at.unwrap_or(now));
        stock.at = Some(now);
        stock.samples = (stock.samples + passed.as_secs_f64() * self.per_second).min(self.per_second);
        if stock.samples <= 0.0 {
            let seconds = (-stock.samples / self.per_second).ceil().max(1.0);
            return Err(RateExceeded { per_second: self.per_second, retry_after: Duration::from_secs(seconds as u64) });
        }
        stock.samples -= samples as f64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_debt_is_paid_before_the_next_request() {
        let rate = SampleRate::new(100);
        for (case, samples, at, retry_after) in [
            ("the stock", 60, 0, None),
            ("more than is left, whole", 290, 0, None),
            ("nothing left", 1, 0, Some(3)),
            ("still in debt", 1, 1_000, Some(2)),
            ("the clock is set back", 1, 500, Some(2)),
            ("paid", 1, 2_010, None),
            ("never more than a second's worth", 100, 100_000, None),
            ("used up again", 1, 100_000, Some(1)),
        ] {
            let taken = rate.take(samples, Timestamp(at));
            assert_eq!(taken.err().map(|error| error.retry_after.as_secs()), retry_after, "{case}");
        }
        let error = rate.take(1, Timestamp(100_000)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "samples come faster than the limit of 100 a second (max_samples_per_second); try again in 1 s"
        );
    }

    proptest! {
        #[test]
        fn the_limit_holds_over_time(
            per_second in 1_u32..1000,
            requests in proptest::collection::vec((1_usize..500, 0_i64..2_000), 1..60),
        ) {
            let rate = SampleRate::new(per_second);
            let (mut now, mut taken, mut last) = (0, 0, 0);
            for (samples, wait) in requests {
                now += wait;
                if rate.take(samples, Timestamp(now)).is_ok() {
                    taken += samples;
                    last = samples;
                }
            }
            // What is in stock at first, what came since, and the one request that may exceed it.
            let allowed = f64::from(per_second) * (1.0 + now as f64 / 1000.0) + last as f64 + 500.0;
            prop_assert!(taken as f64 <= allowed, "{taken} of {allowed}");
        }
    }
}
