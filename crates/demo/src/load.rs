//! The load generator: arrivals that do not wait for answers, as real users do not.

mod schedule;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use hyper::Method;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName};
use signal::Timestamp;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

pub(crate) use self::schedule::{Ask, Schedule};
use crate::clock::{self, Stopwatch};
use crate::wire::Wire;

const IN_FLIGHT_LIMIT: usize = 2_000;
const DEADLINE: Duration = Duration::from_secs(5);
/// Seconds of history kept.
const KEPT_S: usize = 3_600;

/// What came of the requests of one second.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Tally {
    /// All that were sent, or should have been.
    pub(crate) requests: u64,
    /// 5xx, 429, no answer in time, no connection: what users complain about.
    pub(crate) failed: u64,
    /// Answers that differ from what the request deserves in another way.
    pub(crate) wrong: u64,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.failed += other.failed;
        self.wrong += other.wrong;
    }

    /// Share of requests that failed; zero without requests.
    pub(crate) fn failed_share(&self) -> f64 {
        if self.requests == 0 { 0.0 } else { self.failed as f64 / self.requests as f64 }
    }
}

/// A generator at work.
#[derive(Debug)]
pub(crate) struct Load {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    /// Bits of an `f64`: how many times the base rate.
    factor: AtomicU64,
    stopping: AtomicBool,
    /// By the second in which the request was sent.
    tallies: Mutex<BTreeMap<i64, Tally>>,
}

impl Shared {
    fn factor(&self) -> f64 {
        f64::from_bits(self.factor.load(Ordering::Relaxed))
    }

    fn count(&self, sent: Timestamp, outcome: Outcome) {
        let mut tallies = self.tallies.lock().unwrap_or_else(PoisonError::into_inner);
        let tally = tallies.entry(sent.0.div_euclid(1000)).or_default();
        tally.requests += 1;
        match outcome {
            Outcome::Right => {}
            Outcome::Failed => tally.failed += 1,
            Outcome::Wrong => tally.wrong += 1,
        }
        while tallies.len() > KEPT_S {
            tallies.pop_first();
        }
    }
}

#[derive(Clone, Copy)]
enum Outcome {
    Right,
    Failed,
    Wrong,
}

impl Load {
    /// Starts sending `base_rps` requests per second to `url`.
    pub(crate) fn start(url: &str, seed: u64, base_rps: f64) -> Self {
        let shared = Arc::new(Shared {
            factor: AtomicU64::new(1.0_f64.to_bits()),
            stopping: AtomicBool::new(false),
            tallies: Mutex::default(),
        });
        let run = clock::now().0;
        let schedule = Schedule::new(seed, base_rps, &run.to_string());
        let task = tokio::spawn(generate(schedule, url.to_owned(), shared.clone()));
        Self { shared, task }
    }

    /// From now on, `factor` times the base rate.
    pub(crate) fn set_factor(&self, factor: f64) {
        self.shared.factor.store(factor.to_bits(), Ordering::Relaxed);
    }

    /// Requests sent from `from` on, up to but without the second of `to`.
    pub(crate) fn tally(&self, from: Timestamp, to: Timestamp) -> Tally {
        let tallies = self.shared.tallies.lock().unwrap_or_else(PoisonError::into_inner);
        let (from, to) = (from.0.div_euclid(1000), to.0.div_euclid(1000));
        let mut sum = Tally::default();
        for (_, tally) in tallies.range(from..to.max(from)) {
            sum.add(*tally);
        }
        sum
    }

    /// Sends no more; waits for those under way.
    pub(crate) async fn stop(self) {
        self.shared.stopping.store(true, Ordering::Relaxed);
        let _ = self.task.await;
    }
}

async fn generate(mut schedule: Schedule, base: String, shared: Arc<Shared>) {
    let wire = Wire::new(DEADLINE);
    let slots = Arc::new(Semaphore::new(IN_FLIGHT_LIMIT));
    let watch = Stopwatch::start();
    while !shared.stopping.load(Ordering::Relaxed) {
        let arrival = schedule.next(shared.factor());
        // A pause in scheduling is made up for by sending late, never by sending less: the loop is open. But a machine
        // that slept must not be followed by a flood.
        let late = watch.elapsed().saturating_sub(arrival.at);
        if late > Duration::from_secs(2) {
            schedule.skip(late);
        } else {
            tokio::time::sleep(arrival.at.saturating_sub(watch.elapsed())).await;
        }
        let sent = clock::now();
        let Ok(slot) = slots.clone().try_acquire_owned() else {
            shared.count(sent, Outcome::Failed);
            continue;
        };
        let (wire, base, shared) = (wire.clone(), base.clone(), shared.clone());
        tokio::spawn(async move {
            let outcome = ask(&wire, &base, &arrival.ask).await;
            shared.count(sent, outcome);
            drop(slot);
        });
    }
    // All slots back means that nothing is under way.
    let all = u32::try_from(IN_FLIGHT_LIMIT).unwrap_or(u32::MAX);
    let _ = tokio::time::timeout(DEADLINE, slots.acquire_many(all)).await;
}

async fn ask(wire: &Wire, base: &str, ask: &Ask) -> Outcome {
    let (method, body) = match &ask.body {
        Some(body) => (Method::POST, Bytes::from(body.clone())),
        None => (Method::GET, Bytes::new()),
    };
    let authorization = format!("Bearer {}", ask.token);
    let headers: [(HeaderName, &str); 2] = [(AUTHORIZATION, &authorization), (CONTENT_TYPE, "application/json")];
    match wire.send(method, &format!("{base}{}", ask.path), &headers, body).await {
        Ok(answer) if answer.status.as_u16() == ask.expected => Outcome::Right,
        Ok(answer) if answer.status.is_server_error() || answer.status.as_u16() == 429 => Outcome::Failed,
        Ok(_) => Outcome::Wrong,
        Err(_) => Outcome::Failed,
    }
}
