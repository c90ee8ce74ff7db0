//! What five seconds of requests do to one replica with a bounded connection pool.

use crate::rng::Rng;

/// How long a request waits for a connection before it gives up, in seconds.
const PATIENCE_S: f64 = 2.0;
/// Share of requests that need the database.
const DATABASE_SHARE: f64 = 0.96;
/// Time a request spends outside of the database, in seconds.
const OVERHEAD_S: f64 = 0.012;
/// How the time in the database varies: share of requests, factor.
const SPREAD: [(f64, f64); 4] = [(0.3, 0.8), (0.4, 1.0), (0.25, 1.2), (0.05, 1.6)];

/// What a replica can do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Capacity {
    pub(crate) pool: u32,
    pub(crate) service_s: f64,
    pub(crate) error_share: f64,
}

/// What happened on one replica.
#[derive(Clone, Debug, Default)]
pub(crate) struct Served {
    pub(crate) ok: f64,
    pub(crate) errors: f64,
    pub(crate) timeouts: f64,
    pub(crate) queries: f64,
    pub(crate) used: u32,
    pub(crate) pending: f64,
    /// Seconds a request waited for its connection.
    pub(crate) wait_s: f64,
    /// Requests and how long they took, in seconds.
    pub(crate) took: Vec<(f64, f64)>,
}

/// Requests that wait from one moment to the next.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Queue(f64);

impl Queue {
    /// Lets `arrivals` requests come within `seconds`.
    pub(crate) fn serve(&mut self, arrivals: f64, seconds: f64, capacity: Capacity, rng: &mut Rng) -> Served {
        let errors = arrivals * capacity.error_share;
        let wanting = (arrivals - errors) * DATABASE_SHARE;
        let plain = arrivals - errors - wanting;
        let per_s = f64::from(capacity.pool) / capacity.service_s;
        let offered = self.0 + wanting;
        let queries = offered.min(per_s * seconds);
        let room = per_s * PATIENCE_S;
        let timeouts = (offered - queries - room).max(0.0);
        self.0 = offered - queries - timeouts;
        let wait_s = self.0 / per_s;
        let busy = queries / (per_s * seconds);
        let used = (0..capacity.pool).filter(|_| rng.share() < busy).count();
        let used = if self.0 > 0.0 { capacity.pool } else { u32::try_from(used).unwrap_or(capacity.pool) };
        let mut took: Vec<(f64, f64)> = SPREAD
            .iter()
            .map(|(share, factor)| (queries * share, OVERHEAD_S + capacity.service_s * factor + wait_s))
            .collect();
        took.push((timeouts, OVERHEAD_S + PATIENCE_S));
        took.push((plain + errors, OVERHEAD_S));
        Served { ok: queries + plain, errors, timeouts, queries, used, pending: self.0, wait_s, took }
    }
}
