//! Notices that the service is asked much more often than it used to be.

use std::collections::VecDeque;
use std::time::Duration;

use signal::Timestamp;

const WINDOW_S: i64 = 10;
const FACTOR: f64 = 1.8;
/// How long the slow average remembers.
const MEMORY_S: f64 = 120.0;
/// Nothing is said before the slow average means something.
const WARM_UP_S: i64 = 30;
const REPEAT: Duration = Duration::from_secs(30);

/// What the service knows about its own traffic: arrivals of the last seconds and a slow average before them.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    /// Completed and current seconds, oldest first, with their arrivals.
    seconds: VecDeque<(i64, u32)>,
    slow: Option<f64>,
    seen_s: i64,
    said: Option<Timestamp>,
}

impl Traffic {
    /// Counts one arrival; the rates (now, usual) per second when they deserve a warning.
    pub(crate) fn arrived(&mut self, now: Timestamp) -> Option<(f64, f64)> {
        let second = now.0.div_euclid(1000);
        match self.seconds.back_mut() {
            Some((last, count)) if *last >= second => {
                *count += 1;
                return None;
            }
            Some((last, _)) => {
                let quiet = (second - *last - 1).min(WINDOW_S);
                for ago in (1..=quiet).rev() {
                    self.seconds.push_back((second - ago, 0));
                }
            }
            None => {}
        }
        // A new second begins: the ones before it are complete.
        while self.seconds.front().is_some_and(|(at, _)| *at < second - WINDOW_S) {
            if let Some((_, count)) = self.seconds.pop_front() {
                self.seen_s += 1;
                self.remember(f64::from(count));
            }
        }
        let total: u32 = self.seconds.iter().map(|(_, count)| count).sum();
        let complete = self.seconds.len();
        self.seconds.push_back((second, 1));
        let usual = self.slow?;
        let rate = f64::from(total) / WINDOW_S as f64;
        let full = i64::try_from(complete).is_ok_and(|complete| complete >= WINDOW_S);
        let quiet = self.said.is_some_and(|said| now.since(said) < REPEAT);
        if !full || quiet || self.seen_s < WARM_UP_S || rate < 1.0 || rate <= FACTOR * usual {
            return None;
        }
        self.said = Some(now);
        Some((rate, usual))
    }

    fn remember(&mut self, count: f64) {
        // A plain mean at first, so that the average is right early; exponential forgetting later.
        let weight = (1.0 / self.seen_s.max(1) as f64).max(1.0 / MEMORY_S);
        self.slow = Some(self.slow.map_or(count, |slow| slow + weight * (count - slow)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warns_of_a_surge_but_not_of_a_rise_within_reason() {
        for (case, after_per_s, warns) in [("as before", 10, false), ("1.5 times", 15, false), ("2.5 times", 25, true)]
        {
            let mut traffic = Traffic::default();
            let mut warnings = 0;
            for second in 0..120_i64 {
                let rate = if second < 60 { 10 } else { after_per_s };
                for at in 0..rate {
                    let now = Timestamp(second * 1000 + at * 1000 / rate);
                    warnings += i32::from(traffic.arrived(now).is_some());
                }
            }
            assert_eq!(warnings > 0, warns, "{case}");
            assert!(warnings <= 2, "{case}: said {warnings} times");
        }
    }

    #[test]
    fn says_nothing_while_it_is_new() {
        let mut traffic = Traffic::default();
        for second in 0..20_i64 {
            for at in 0..(second * 5) {
                assert_eq!(traffic.arrived(Timestamp(second * 1000 + at)), None);
            }
        }
    }
}
