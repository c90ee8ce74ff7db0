//! A service with a bounded pool behind a balancer, and what a scraper sees of it: the real shape of saturation.

use std::collections::VecDeque;

use super::tests::Noise;
use super::{Reading, Timestamp};

const BUCKETS: [f64; 17] =
    [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0];
/// Seconds a request waits for a connection before it gives up.
const PATIENCE: f64 = 2.0;

/// Counters of one scrape.
#[derive(Clone, Copy, Default)]
struct Scrape {
    requests: f64,
    failed: f64,
    buckets: [f64; BUCKETS.len() + 1],
    busy: f64,
}

pub(super) struct Queue {
    noise: Noise,
    /// When each connection of each replica is free again.
    free: Vec<Vec<f64>>,
    hold: f64,
    next_replica: usize,
    at: f64,
    wander: f64,
    scrapes: VecDeque<Scrape>,
}

impl Queue {
    pub(super) fn new(seed: u64, replicas: usize, pool: usize, hold: f64) -> Self {
        Self {
            noise: Noise(seed),
            free: vec![vec![0.0; pool]; replicas],
            hold,
            next_replica: 0,
            at: 0.0,
            wander: 0.0,
            scrapes: VecDeque::new(),
        }
    }

    /// Lives for five seconds under `rate` and gives the readings of a thirty-second window.
    pub(super) fn scrape(&mut self, rate: f64) -> (Timestamp, Vec<Reading>) {
        let end = ((self.at / 5.0).round() + 1.0) * 5.0;
        self.wander = (0.95 * self.wander + 0.02 * self.noise.normal()).clamp(-0.08, 0.08);
        let rate = rate * (1.0 + self.wander);
        let mut seen = Scrape::default();
        loop {
            self.at += -self.noise.uniform().max(1e-12).ln() / rate;
            if self.at >= end {
                self.at = end;
                break;
            }
            self.request(&mut seen);
        }
        self.scrapes.push_back(seen);
        if self.scrapes.len() > 6 {
            self.scrapes.pop_front();
        }
        (Timestamp((end * 1000.0) as i64), self.readings())
    }

    fn request(&mut self, seen: &mut Scrape) {
        seen.requests += 1.0;
        let replica = self.next_replica;
        self.next_replica = (replica + 1) % self.free.len();
        let connection = self.free[replica].iter_mut().min_by(|a, b| a.total_cmp(b)).unwrap();
        let wait = (*connection - self.at).max(0.0);
        let is_refused = wait > PATIENCE;
        if !is_refused {
            *connection = self.at + wait + self.hold;
            seen.busy += self.hold;
        }
        if is_refused || self.noise.uniform() < 0.004 {
            seen.failed += 1.0;
        }
        let took = 0.005 + if is_refused { PATIENCE } else { wait + self.hold };
        let bucket = BUCKETS.iter().position(|edge| took <= *edge).unwrap_or(BUCKETS.len());
        seen.buckets[bucket] += 1.0;
    }

    fn readings(&self) -> Vec<Reading> {
        let seconds = 5.0 * self.scrapes.len() as f64;
        let sum = |of: fn(&Scrape) -> f64| self.scrapes.iter().map(of).sum::<f64>();
        let requests = sum(|seen| seen.requests);
        let connections = self.free.iter().map(Vec::len).sum::<usize>() as f64;
        [
            ("request_rate", requests / seconds),
            ("error_rate", sum(|seen| seen.failed) / requests),
            ("latency_p99", self.p99(requests)),
            ("pool_utilisation", (sum(|seen| seen.busy) / seconds / connections).min(1.0)),
        ]
        .into_iter()
        .map(|(metric, value)| Reading { metric_type: metric.into(), service: "shop".into(), value })
        .collect()
    }

    /// As `histogram_quantile` interpolates.
    fn p99(&self, requests: f64) -> f64 {
        let rank = 0.99 * requests;
        let (mut below, mut lower) = (0.0, 0.0);
        for (at, edge) in BUCKETS.iter().enumerate() {
            let count: f64 = self.scrapes.iter().map(|seen| seen.buckets[at]).sum();
            if below + count >= rank {
                return lower + (edge - lower) * (rank - below) / count;
            }
            below += count;
            lower = *edge;
        }
        lower
    }
}
