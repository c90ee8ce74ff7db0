//! The way out: bounded, cancellable evaluation over a snapshot, away from the request threads.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use query::Cancel;
use store::{Snapshot, Store, StoreStatus};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{block_in_place, spawn_blocking};
use tokio::time::{sleep, timeout};

/// Evaluations that may run at once; the others wait within their own deadline.
const CONCURRENT: usize = 20;
/// Upstream's default query timeout; a request may only lower it.
const TIMEOUT: Duration = Duration::from_secs(120);

/// Why an evaluation gave no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// The deadline passed during the evaluation.
    #[error("query timed out in expression evaluation")]
    Timeout,
    /// The deadline passed before the evaluation's turn came.
    #[error("query timed out in query queue")]
    Queued,
    /// The evaluation died; a defect of ours.
    #[error("query evaluation failed unexpectedly")]
    Defect,
    /// The server is going down.
    #[error("the server is shutting down")]
    Stopped,
}

/// Runs queries; cheap to clone.
#[derive(Clone, Debug)]
pub struct Reader {
    store: Arc<Store>,
    slots: Arc<Semaphore>,
    timeout: Duration,
}

impl Reader {
    /// Reads from `store`: 20 evaluations at once, two minutes each.
    #[must_use]
    pub fn new(store: Arc<Store>) -> Self {
        Self { store, slots: Arc::new(Semaphore::new(CONCURRENT)), timeout: TIMEOUT }
    }

    /// The same with another upper bound for the time one query may take.
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// The same with another number of evaluations at once, at least one.
    #[must_use]
    pub fn with_concurrency(self, concurrent: usize) -> Self {
        Self { slots: Arc::new(Semaphore::new(concurrent.clamp(1, Semaphore::MAX_PERMITS))), ..self }
    }

    /// What is stored at this moment.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.store.snapshot()
    }

    /// Counts per signal.
    #[must_use]
    pub fn status(&self) -> StoreStatus {
        self.store.status()
    }

    /// Runs `work` over a fresh snapshot on a thread that may block.
    ///
    /// `wanted` may lower the deadline. When it passes, or when the returned future is dropped because the client left,
    /// the `Cancel` given to `work` is tripped; its slot is free again once `work` has returned.
    ///
    /// # Errors
    /// `QueryError::Queued` or `Timeout` after the deadline, `Defect` when `work` panicked.
    pub async fn run<T, F>(&self, wanted: Option<Duration>, work: F) -> Result<T, QueryError>
    where
        T: Send + 'static,
        F: FnOnce(&Snapshot, &Cancel) -> T + Send + 'static,
    {
        let allowed = wanted.map_or(self.timeout, |wanted| wanted.min(self.timeout));
        if allowed.is_zero() {
            return Err(QueryError::Queued);
        }
        let mut deadline = pin!(sleep(allowed));
        let slot = tokio::select! {
            biased;
            slot = self.slot() => slot?,
            () = &mut deadline => return Err(QueryError::Queued),
        };
        let cancel = Cancel::default();
        let _guard = TripOnDrop(cancel.clone());
        let store = Arc::clone(&self.store);
        let task = spawn_blocking(move || {
            let answer = work(&store.snapshot(), &cancel);
            drop(slot);
            answer
        });
        tokio::select! {
            biased;
            answer = task => answer.map_err(|_| QueryError::Defect),
            () = &mut deadline => Err(QueryError::Timeout),
        }
    }

    /// Runs `work` over a fresh snapshot on the thread that asks, which takes less time than handing it to another one.
    ///
    /// Only for work that looks at indexes and is soon done: nothing tells it to stop. Other requests do not wait for it,
    /// except on a runtime of a single thread.
    ///
    /// # Errors
    /// `QueryError::Queued` after the deadline, `Defect` when `work` panicked.
    pub async fn run_briefly<T>(&self, work: impl FnOnce(&Snapshot) -> T) -> Result<T, QueryError> {
        let slot = match timeout(self.timeout, self.slot()).await {
            Ok(slot) => slot?,
            Err(_) => return Err(QueryError::Queued),
        };
        let store = &self.store;
        let answer = || catch_unwind(AssertUnwindSafe(|| work(&store.snapshot()))).map_err(|_| QueryError::Defect);
        let answer = match Handle::current().runtime_flavor() {
            RuntimeFlavor::MultiThread => block_in_place(answer),
            _ => answer(),
        };
        drop(slot);
        answer
    }

    /// Leave for one evaluation.
    async fn slot(&self) -> Result<OwnedSemaphorePermit, QueryError> {
        Arc::clone(&self.slots).acquire_owned().await.map_err(|_| QueryError::Stopped)
    }
}

/// Tells a running evaluation that nobody waits for it any more.
struct TripOnDrop(Cancel);

impl Drop for TripOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}
