//! How much a second may come in.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use signal::Timestamp;

/// A limit of samples a second over all senders, with one second's worth in stock for bursts.
///
/// Shared by all threads. A request is let in whole as long as any stock is left, and what it takes beyond the stock is
/// made up for by those that come next.
#[derive(Debug)]
pub struct SampleRate {
    pace: Pace,
    stock: Mutex<Stock>,
}

/// How fast a stock fills up, and how much it holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    pub(crate) per_second: f64,
    pub(crate) burst: f64,
}

/// What may come in at once.
///
/// Whoever comes while anything is left gets in whole; what is taken beyond the stock is made up for by those that come
/// next. So nothing is too large to get in ever, and what is sent again after a refusal gets in after a while.
#[derive(Debug, Default)]
pub(crate) struct Stock {
    /// Missing from a full stock; more than that is debt.
    taken: f64,
    /// When it was filled up last.
    at: Option<Timestamp>,
}

impl Stock {
    /// Takes `amount`.
    ///
    /// # Errors
    /// How long until there is something again, when nothing is left at `now`.
    pub(crate) fn take(&mut self, amount: usize, pace: Pace, now: Timestamp) -> Result<(), Duration> {
        // A clock that is set back adds nothing, and counts from there.
        let passed = now.since(self.at.unwrap_or(now));
        self.at = Some(now);
        self.taken = (self.taken - passed.as_secs_f64() * pace.per_second).max(0.0);
        if self.taken >= pace.burst {
            let seconds = ((self.taken - pace.burst) / pace.per_second).ceil().max(1.0);
            return Err(Duration::from_secs(seconds as u64));
        }
        self.taken += amount as f64;
        Ok(())
    }
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
        Self { pace: Pace { per_second, burst: per_second }, stock: Mutex::default() }
    }

    /// Takes `samples` out of the stock.
    ///
    /// # Errors
    /// `RateExceeded` when nothing is in stock at `now`.
    pub fn take(&self, samples: usize, now: Timestamp) -> Result<(), RateExceeded> {
        let mut stock = self.stock.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = stock.take(samples, self.pace, now);
        taken.map_err(|retry_after| RateExceeded { per_second: self.pace.per_second, retry_after })
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
