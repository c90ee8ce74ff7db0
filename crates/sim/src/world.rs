//! The service, its deployment and its users.

use std::collections::BTreeMap;
use std::time::Duration;

use signal::{Timestamp, WriteBatch};

use crate::rng::Rng;
use crate::target::{Deployment, WorldSettings};
use crate::telemetry::{self, Meter};
use crate::traffic::{Capacity, Queue};

/// Everything outside of Aegis.
#[derive(Debug)]
pub(crate) struct World {
    settings: WorldSettings,
    rng: Rng,
    pub(crate) deployment: Deployment,
    /// By how much the load differs from its base.
    pub(crate) load_factor: f64,
    meters: BTreeMap<String, (Meter, Queue)>,
}

impl World {
    pub(crate) fn new(settings: &WorldSettings, seed: u64, at: Timestamp) -> Self {
        Self {
            settings: settings.clone(),
            rng: Rng::new(seed),
            deployment: Deployment::new(settings.replicas, at),
            load_factor: 1.0,
            meters: BTreeMap::new(),
        }
    }

    /// Lets `step` pass until `now` and tells what all replicas say about it.
    pub(crate) fn pass(&mut self, step: Duration, now: Timestamp) -> WriteBatch {
        let seconds = step.as_secs_f64();
        let mut batch = WriteBatch::default();
        let ready: Vec<_> = self.deployment.ready(now).cloned().collect();
        let noise = 1.0 + self.settings.noise * (2.0 * self.rng.share() - 1.0);
        let arrivals = self.settings.load * self.load_factor * noise * seconds / ready.len().max(1) as f64;
        self.meters.retain(|instance, (meter, _)| {
            let runs = ready.iter().any(|replica| replica.instance == *instance);
            if !runs {
                batch.series.extend(meter.end(now));
            }
            runs
        });
        for replica in &ready {
            let capacity = Capacity {
                pool: self.settings.pool,
                service_s: self.settings.service_ms / 1000.0 * self.deployment.harm,
                error_share: self.deployment.error_share(replica.revision),
            };
            let fresh = || (Meter::new(replica), Queue::default());
            let (meter, queue) = self.meters.entry(replica.instance.clone()).or_insert_with(fresh);
            let served = queue.serve(arrivals, seconds, capacity, &mut self.rng);
            meter.count(&served, capacity);
            batch.series.extend(meter.scrape(now));
            batch.streams.push(telemetry::lines(replica, &served, now, &mut self.rng));
            batch.spans.extend(telemetry::spans(replica, &served, capacity, now, &mut self.rng));
        }
        batch
    }
}
