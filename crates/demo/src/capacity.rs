//! How much the sample application is built to bear.

/// Replicas that the deployment starts with.
pub(crate) const REPLICAS: u32 = 3;
/// Capacity in multiples of the usual rate.
const HEADROOM: f64 = 1.8;
/// Share of the requests that need the database: all but the malformed, the unknown and the forbidden.
const DATABASE_SHARE: f64 = 0.9625;
/// Shortest plausible round trip to a database elsewhere; below it the pool grows instead.
const SHORTEST_MS: f64 = 20.0;
const LONGEST_MS: f64 = 150.0;

/// Pool size of each replica and the round trip to the database that together give the wanted capacity.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Capacity {
    pub(crate) pool: usize,
    pub(crate) service_ms: u64,
}

impl Capacity {
    /// Provisions for `base_rps` requests per second. Two connections for each replica unless the round trip would be
    /// implausibly short or long.
    pub(crate) fn for_rate(base_rps: f64) -> Self {
        let wanted_per_s = HEADROOM * base_rps * DATABASE_SHARE;
        let service_ms = |pool: u32| 1000.0 * f64::from(REPLICAS * pool) / wanted_per_s;
        let mut pool = 2;
        while service_ms(pool) < SHORTEST_MS && pool < 1_000 {
            pool += 1;
        }
        if service_ms(pool) > LONGEST_MS {
            pool = 1;
        }
        Self { pool: pool as usize, service_ms: (service_ms(pool).round() as u64).max(1) }
    }

    /// Database requests per second that `replicas` replicas can answer.
    pub(crate) fn per_s(&self, replicas: u32) -> f64 {
        self.pool as f64 * f64::from(replicas) * 1000.0 / self.service_ms as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capacity_is_1_8_times_the_usual_rate_at_every_rate() {
        for (base_rps, pool, service_ms) in [
            (10.0, 1, 173),
            (20.0, 1, 87),
            (25.0, 2, 139),
            (50.0, 2, 69),
            (80.0, 2, 43),
            (200.0, 3, 26),
            (400.0, 5, 22),
        ] {
            let capacity = Capacity::for_rate(base_rps);
            assert_eq!(capacity, Capacity { pool, service_ms }, "{base_rps} per second");
            let ratio = capacity.per_s(REPLICAS) / (base_rps * DATABASE_SHARE);
            assert!((ratio - 1.8).abs() < 0.06, "{base_rps} per second: {ratio}");
        }
    }
}
