//! Numbers: compensated sums, means, quantiles.

/// A sum that keeps what rounding loses (Kahan, with Neumaier's improvement), as Prometheus adds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Sum {
    pub(crate) sum: f64,
    pub(crate) rest: f64,
}

impl Sum {
    pub(crate) fn add(&mut self, value: f64) {
        let total = self.sum + value;
        if total.is_infinite() {
            self.rest = 0.0;
        } else if self.sum.abs() >= value.abs() {
            self.rest += (self.sum - total) + value;
        } else {
            self.rest += (value - total) + self.sum;
        }
        self.sum = total;
    }

    pub(crate) fn total(self) -> f64 {
        if self.sum.is_infinite() { self.sum } else { self.sum + self.rest }
    }
}

impl Sum {
    /// Adds two sums without losing what rounding loses, for numbers far from overflow.
    pub(crate) fn join(self, other: Self) -> Self {
        let sum = self.sum + other.sum;
        let part = sum - self.sum;
        let lost = (self.sum - (sum - part)) + (other.sum - part);
        Self { sum, rest: self.rest + other.rest + lost }
    }
}

/// A mean that stays exact as long as the sum does not overflow, and goes on incrementally when it would.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Mean {
    count: f64,
    /// The sum, or once `incremental` the mean so far.
    state: Sum,
    incremental: bool,
}

impl Mean {
    pub(crate) fn add(&mut self, value: f64) {
        self.count += 1.0;
        if !self.incremental {
            let mut next = self.state;
            next.add(value);
            if !next.sum.is_infinite() || self.count == 1.0 {
                self.state = next;
                return;
            }
            self.incremental = true;
            self.state.sum /= self.count - 1.0;
            self.state.rest /= self.count - 1.0;
        }
        let mean = self.state.sum;
        // An infinite mean stays: subtracting equal infinities would give NaN, and a finite value cannot change it.
        if mean.is_infinite() && (value.is_finite() || (value.is_infinite() && (mean > 0.0) == (value > 0.0))) {
            return;
        }
        let weight = (self.count - 1.0) / self.count;
        let mut next = Sum { sum: weight * mean, rest: weight * self.state.rest };
        next.add(value / self.count);
        self.state = next;
    }

    /// How many values there were.
    pub(crate) fn count(self) -> f64 {
        self.count
    }

    /// The mean of this one's values and the other's.
    pub(crate) fn join(self, other: Self) -> Self {
        if self.count == 0.0 || other.count == 0.0 {
            return if self.count == 0.0 { other } else { self };
        }
        let count = self.count + other.count;
        let state = self.state.join(other.state);
        if !self.incremental && !other.incremental && state.sum.is_finite() {
            return Self { count, state, incremental: false };
        }
        let share = |mean: Self| mean.value() * (mean.count / count);
        Self { count, state: Sum { sum: share(self) + share(other), rest: 0.0 }, incremental: true }
    }

    pub(crate) fn value(self) -> f64 {
        if self.incremental {
            return self.state.sum + self.state.rest;
        }
        self.state.sum / self.count + self.state.rest / self.count
    }
}

/// Smaller of two where a number beats NaN.
pub(crate) fn lesser(best: f64, value: f64) -> f64 {
    if value < best || best.is_nan() { value } else { best }
}

/// Larger of two where a number beats NaN.
pub(crate) fn greater(best: f64, value: f64) -> f64 {
    if value > best || best.is_nan() { value } else { best }
}

/// -1, 0 or 1; zero and NaN stay as they are.
pub(crate) fn sign(value: f64) -> f64 {
    if value < 0.0 {
        -1.0
    } else if value > 0.0 {
        1.0
    } else {
        value
    }
}

/// Order of values in which NaN is the smallest.
pub(crate) fn nan_first(a: &f64, b: &f64) -> std::cmp::Ordering {
    a.partial_cmp(b).unwrap_or_else(|| b.is_nan().cmp(&a.is_nan()))
}

/// The `q`-quantile of `values`, interpolated linearly; ±Inf when `q` is outside 0 to 1. Sorts `values`.
pub(crate) fn quantile(q: f64, values: &mut [f64]) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    values.sort_unstable_by(nan_first);
    let last = values.len() - 1;
    let rank = q * last as f64;
    let lower = (rank.floor() as usize).min(last);
    let weight = rank - rank.floor();
    let at = |index: usize| values.get(index.min(last)).copied().unwrap_or(f64::NAN);
    at(lower) * (1.0 - weight) + at(lower + 1) * weight
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_keep_what_rounding_loses() {
        let mut sum = Sum::default();
        for value in [1e100, 1.0, -1e100, 1.0] {
            sum.add(value);
        }
        assert_eq!(sum.total(), 2.0);
        for value in [f64::INFINITY, 1.0] {
            sum.add(value);
        }
        assert_eq!(sum.total(), f64::INFINITY);
    }

    #[test]
    fn means_survive_overflow_and_infinity() {
        for (case, values, want) in [
            ("plain", &[1.0, 2.0, 6.0][..], 3.0),
            ("overflow", &[f64::MAX, f64::MAX], f64::MAX),
            ("infinite", &[f64::INFINITY, 1.0, f64::INFINITY], f64::INFINITY),
            ("both infinities", &[f64::INFINITY, f64::NEG_INFINITY], f64::NAN),
            ("negative infinity later", &[1.0, f64::NEG_INFINITY, 2.0], f64::NEG_INFINITY),
        ] {
            let mut mean = Mean::default();
            values.iter().for_each(|value| mean.add(*value));
            let got = mean.value();
            assert!(got == want || (got.is_nan() && want.is_nan()), "{case}: {got}");
        }
    }

    #[test]
    fn quantiles_interpolate() {
        for (q, want) in
            [(0.0, 1.0), (0.5, 2.5), (1.0, 4.0), (0.25, 1.75), (-0.1, f64::NEG_INFINITY), (1.1, f64::INFINITY)]
        {
            assert_eq!(quantile(q, &mut [4.0, 1.0, 3.0, 2.0]), want, "{q}");
        }
        assert!(quantile(0.0, &mut [1.0, f64::NAN]).is_nan());
    }
}
