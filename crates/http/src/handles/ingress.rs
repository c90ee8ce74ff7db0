//! The way in: a bounded queue towards the one writer thread.

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use ingest::otlp::DeltaTotals;
use ingest::{Prepared, RateExceeded, Rejection, SampleRate};
use signal::{StreamWrite, Timestamp, WriteBatch};
use store::Amounts;
use tokio::sync::{AcquireError, Semaphore, mpsc, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::Clock;
use crate::params::body;
use crate::reply::{Refusal, chain};

/// How long a request waits for room in the queue before it is told to come back later.
const PATIENCE: Duration = Duration::from_secs(1);

/// KiB of decoded telemetry that may wait or be in work at once.
const BUDGET_KIB: u32 = 256 * 1024;

/// KiB of request bodies that may be on their way in at once.
const BODIES_KIB: u32 = 256 * 1024;

/// Larger bodies are decoded on a thread that may block, at most this many at a time.
const INLINE_BYTES: usize = 8 * 1024;
const DECODERS: usize = 4;

/// One decoded request on its way to the writer thread.
#[derive(Debug)]
pub struct WriteRequest {
    /// What to admit and append.
    pub batch: Prepared,
    /// Where the answer goes once the batch is durable or refused.
    pub reply: oneshot::Sender<Result<Written, WriteError>>,
}

/// What became of a batch that was taken.
#[derive(Debug)]
pub struct Written {
    /// The store's receipt of the write this batch was part of, with what was refused of this batch only: the accepted
    /// part is durable and visible.
    pub receipt: store::Receipt,
    /// What admission refused, by reason, and what was over the limit of series.
    pub rejected: Vec<Rejection>,
    /// What of metrics was admitted, conflicts included.
    pub admitted: Amounts,
}

/// What one turn of the writer thread did.
#[derive(Debug, Default)]
pub struct Turn {
    /// Samples made durable.
    pub samples: usize,
    /// Log lines made durable.
    pub lines: usize,
    /// Those lines, for who follows them.
    pub streams: Vec<StreamWrite>,
    /// Spans made durable.
    pub spans: usize,
    /// What admission and the store refused, of all requests.
    pub rejected: Vec<Rejection>,
    /// Why nothing was made durable.
    pub error: Option<WriteError>,
}

/// Why nothing of a batch was taken.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// Samples come faster than they may.
    #[error(transparent)]
    TooFast(#[from] RateExceeded),
    /// No room in the queue for longer than a second.
    #[error("too many writes are waiting; try again in a moment")]
    Busy,
    /// Nothing more can be kept until space is freed.
    #[error("{0}")]
    Full(String),
    /// The batch is larger than one write may be; sending it again does not help.
    #[error("{0}")]
    TooLarge(String),
    /// The store could not write.
    #[error("the store cannot write: {0}")]
    Storage(String),
    /// The server is going down.
    #[error("the server is shutting down and takes no more writes")]
    Stopped,
}

/// How fast samples may come in, over all senders.
pub struct SampleLimit {
    /// The limit, and what is left of it.
    pub rate: SampleRate,
    /// What time it is.
    pub now: Clock,
    /// Hears of each batch that is refused; nobody logs them one by one.
    pub refused: Box<dyn Fn(&Rejection) + Send + Sync>,
}

impl std::fmt::Debug for SampleLimit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SampleLimit").field("rate", &self.rate).finish_non_exhaustive()
    }
}

impl SampleLimit {
    /// Lines and spans are no samples, and pass.
    fn check(&self, batch: &WriteBatch) -> Result<(), RateExceeded> {
        let samples = batch.sample_count();
        if samples == 0 {
            return Ok(());
        }
        self.rate.take(samples, (self.now)()).inspect_err(|error| {
            let count = u64::try_from(samples).unwrap_or(u64::MAX);
            (self.refused)(&Rejection { reason: "sample_rate", count, example: error.to_string() });
        })
    }
}

/// Takes decoded telemetry; cheap to clone.
#[derive(Clone, Debug)]
pub struct Ingress {
    queue: mpsc::Sender<WriteRequest>,
    budget: Arc<Semaphore>,
    bodies: Arc<Semaphore>,
    decoders: Arc<Semaphore>,
    limit: Option<Arc<SampleLimit>>,
    /// Here, because an exporter may change its port and its protocol, and every way in belongs to one ingress.
    pub(crate) deltas: Arc<DeltaTotals>,
}

impl Ingress {
    /// A queue of at most `depth` requests (and 256 MiB in all); the receiver belongs to the writer thread.
    ///
    /// The writer admits and appends every request and answers each; dropping the receiver refuses all later writes.
    #[must_use]
    pub fn new(depth: usize) -> (Self, mpsc::Receiver<WriteRequest>) {
        let (queue, requests) = mpsc::channel(depth.max(1));
        let ingress = Self {
            queue,
            budget: Arc::new(Semaphore::new(BUDGET_KIB as usize)),
            bodies: Arc::new(Semaphore::new(BODIES_KIB as usize)),
            decoders: Arc::new(Semaphore::new(DECODERS)),
            limit: None,
            deltas: Arc::default(),
        };
        (ingress, requests)
    }

    /// Takes samples only as fast as `limit` allows, over this ingress and all that are cloned from it.
    #[must_use]
    pub fn with_limit(self, limit: SampleLimit) -> Self {
        Self { limit: Some(Arc::new(limit)), ..self }
    }

    /// Hands over a batch and waits until it is durable.
    ///
    /// # Errors
    /// `WriteError::TooFast` when there is a limit and it is used up, `WriteError::Busy` when the queue stays full for a
    /// second, else what the writer thread says.
    pub async fn write(&self, batch: impl Into<Prepared>) -> Result<Written, WriteError> {
        let batch = batch.into();
        if let Some(limit) = &self.limit {
            limit.check(batch.batch())?;
        }
        let weight = weight_kib(batch.batch()).min(BUDGET_KIB);
        let reserve = async {
            let room = self.budget.acquire_many(weight).await.map_err(|_| WriteError::Stopped)?;
            let place = self.queue.reserve().await.map_err(|_| WriteError::Stopped)?;
            Ok::<_, WriteError>((room, place))
        };
        let (_room, place) = timeout(PATIENCE, reserve).await.map_err(|_| WriteError::Busy)??;
        let (reply, answer) = oneshot::channel();
        place.send(WriteRequest { batch, reply });
        answer.await.unwrap_or(Err(WriteError::Stopped))
    }
}

impl Ingress {
    /// Reads a body of at most `limit` bytes and decodes it, with bounds on what all senders together may occupy.
    pub(crate) async fn decode<T, F>(&self, content: Body, limit: usize, decode: F) -> Result<T, Refusal>
    where
        T: Send + 'static,
        F: FnOnce(&[u8]) -> Result<T, Refusal> + Send + 'static,
    {
        let announced = content.size_hint();
        if announced.lower() > u64::try_from(limit).unwrap_or(u64::MAX) {
            return Err(Refusal::too_large(limit));
        }
        let bytes = announced.upper().and_then(|bytes| usize::try_from(bytes).ok()).map_or(limit, |n| n.min(limit));
        let weight = u32::try_from(bytes / 1024 + 1).unwrap_or(u32::MAX).min(BODIES_KIB);
        let _room = patiently(self.bodies.acquire_many(weight)).await?;
        let bytes = body(content, limit).await?;
        if bytes.len() <= INLINE_BYTES {
            return decode(&bytes);
        }
        let turn = patiently(Arc::clone(&self.decoders).acquire_owned()).await?;
        let work = spawn_blocking(move || {
            let decoded = decode(&bytes);
            drop(turn);
            decoded
        });
        work.await.map_err(|_| Refusal::internal("decoding failed unexpectedly"))?
    }
}

async fn patiently<T>(permit: impl Future<Output = Result<T, AcquireError>>) -> Result<T, WriteError> {
    match timeout(PATIENCE, permit).await {
        Ok(permit) => permit.map_err(|_| WriteError::Stopped),
        Err(_) => Err(WriteError::Busy),
    }
}

/// A cheap estimate of what the batch holds in memory.
fn weight_kib(batch: &WriteBatch) -> u32 {
    let samples = batch.sample_count() * 16 + batch.series.len() * 256;
    let line_bytes = |stream: &StreamWrite| stream.lines.iter().map(|line| line.line.len() + 64).sum::<usize>();
    let lines = batch.streams.iter().map(line_bytes).sum::<usize>();
    let spans = batch.spans.len() * 1024;
    u32::try_from((samples + lines + spans) / 1024 + 1).unwrap_or(u32::MAX)
}

/// Admits and appends `requests` in one durable write and answers each: the writer thread's turn.
///
/// Every request is judged by itself; a refusal or conflict in one is reported to its own sender only.
pub fn commit(requests: Vec<WriteRequest>, intake: &mut ingest::Intake, store: &store::Store, now: Timestamp) -> Turn {
    let mut turn = Turn::default();
    let mut batches = Vec::with_capacity(requests.len());
    let mut waiting = Vec::with_capacity(requests.len());
    for WriteRequest { batch, reply } in requests {
        let admitted = intake.admit(batch, now);
        batches.push(admitted.batch);
        waiting.push((reply, admitted.rejected));
    }
    let answers = append(store, &batches);
    for ((answer, batch), (reply, mut rejected)) in answers.into_iter().zip(batches).zip(waiting) {
        let admitted = Amounts::from(&batch);
        match &answer {
            Ok(receipt) => {
                rejected.extend(receipt.refused.iter().map(too_many_series));
                turn.rejected.extend(receipt.conflicts.iter().map(conflicting));
                let kept = admitted.without(refused_by_store(receipt));
                turn.samples += usize::try_from(kept.samples + kept.histograms).unwrap_or(usize::MAX);
                turn.lines += batch.line_count();
                turn.spans += batch.spans.len();
                turn.streams.extend(batch.streams);
            }
            Err(error) => turn.error = Some(error.clone()),
        }
        turn.rejected.extend_from_slice(&rejected);
        // A sender that left does not want to know.
        let _ = reply.send(answer.map(|receipt| Written { receipt, rejected, admitted }));
    }
    turn
}

/// What of a batch the store refused.
fn refused_by_store(receipt: &store::Receipt) -> Amounts {
    let conflicts = receipt.conflicts.iter().map(|conflict| conflict.amounts);
    let mut sum = Amounts::default();
    conflicts.chain(receipt.refused.iter().map(|refused| refused.amounts)).for_each(|amounts| sum += amounts);
    sum
}

impl Written {
    /// What of metrics was kept, counting what was there already.
    #[must_use]
    pub fn kept(&self) -> Amounts {
        self.admitted.without(refused_by_store(&self.receipt))
    }
}

/// Of samples that would change the value of an instant.
pub(crate) fn conflicting(conflict: &store::Conflict) -> Rejection {
    let store::Conflict { amounts, series, at, kept, refused, .. } = conflict;
    let example = format!("duplicate sample for timestamp {at} of series {series}: {kept} stays, {refused} is refused");
    Rejection { reason: "conflicting_sample", count: amounts.total(), example }
}

fn too_many_series(refused: &store::OverLimit) -> Rejection {
    let store::OverLimit { amounts, series, limit, .. } = refused;
    let example =
        format!("there are {limit} series already (store.max_series), so that there is no room for `{series}`");
    Rejection { reason: "too_many_series", count: amounts.total(), example }
}

/// One answer per batch. A batch too large to be written must not take its neighbours with it.
fn append(store: &store::Store, batches: &[WriteBatch]) -> Vec<Result<store::Receipt, WriteError>> {
    match store.append(batches) {
        Ok(mut receipt) => {
            // One for each batch at most, in their order.
            let mut conflicts = mem::take(&mut receipt.conflicts).into_iter().peekable();
            let mut refused = mem::take(&mut receipt.refused).into_iter().peekable();
            let own = |at| store::Receipt {
                conflicts: conflicts.next_if(|conflict| conflict.batch == at).into_iter().collect(),
                refused: refused.next_if(|refused| refused.batch == at).into_iter().collect(),
                ..receipt.clone()
            };
            (0..batches.len()).map(own).map(Ok).collect()
        }
        Err(store::AppendError::TooLarge { .. }) if batches.len() > 1 => batches
            .iter()
            .map(|batch| store.append(std::slice::from_ref(batch)).map_err(|error| WriteError::from(&error)))
            .collect(),
        Err(error) => vec![Err(WriteError::from(&error)); batches.len()],
    }
}

impl From<&store::AppendError> for WriteError {
    fn from(error: &store::AppendError) -> Self {
        let text = chain(error);
        match error {
            store::AppendError::DiskFull { .. } => Self::Full(text),
            store::AppendError::TooLarge { .. } => Self::TooLarge(text),
            _ => Self::Storage(text),
        }
    }
}
