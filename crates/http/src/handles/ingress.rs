//! The way in: a bounded queue towards the one writer thread.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use ingest::Prepared;
use signal::{SeriesWrite, StreamWrite, Timestamp, WriteBatch};
use tokio::sync::{AcquireError, Semaphore, mpsc, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

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
    /// The store's receipt of the write this batch was part of, with this batch's conflicts only: the accepted part is
    /// durable and visible.
    pub receipt: store::Receipt,
    /// What admission refused, by reason.
    pub rejected: Vec<ingest::Rejection>,
    /// What of metrics was admitted, conflicts included.
    pub admitted: Amounts,
}

/// How much of each kind a batch has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Amounts {
    /// Numbers.
    pub samples: u64,
    /// Native histograms.
    pub histograms: u64,
    /// Links to traces.
    pub exemplars: u64,
}

impl From<&WriteBatch> for Amounts {
    fn from(batch: &WriteBatch) -> Self {
        let sum = |of: fn(&SeriesWrite) -> usize| {
            batch.series.iter().map(of).fold(0_u64, |sum, count| sum.saturating_add(count as u64))
        };
        Self {
            samples: sum(|series| series.samples.len()),
            histograms: sum(|series| series.histograms.len()),
            exemplars: sum(|series| series.exemplars.len()),
        }
    }
}

/// What one turn of the writer thread did.
#[derive(Debug, Default)]
pub struct Turn {
    /// Samples made durable.
    pub samples: usize,
    /// Log lines made durable.
    pub lines: usize,
    /// Spans made durable.
    pub spans: usize,
    /// What admission refused, of all requests.
    pub rejected: Vec<ingest::Rejection>,
    /// Why nothing was made durable.
    pub error: Option<WriteError>,
}

/// Why nothing of a batch was taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
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

/// Takes decoded telemetry; cheap to clone.
#[derive(Clone, Debug)]
pub struct Ingress {
    queue: mpsc::Sender<WriteRequest>,
    budget: Arc<Semaphore>,
    bodies: Arc<Semaphore>,
    decoders: Arc<Semaphore>,
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
        };
        (ingress, requests)
    }

    /// Hands over a batch and waits until it is durable.
    ///
    /// # Errors
    /// `WriteError::Busy` when the queue stays full for a second, else what the writer thread says.
    pub async fn write(&self, batch: impl Into<Prepared>) -> Result<Written, WriteError> {
        let batch = batch.into();
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
    for ((answer, batch), (reply, mut rejected)) in answers.into_iter().zip(&batches).zip(waiting) {
        match &answer {
            Ok(receipt) => {
                rejected.extend(receipt.refused.iter().map(too_many_series));
                turn.samples += batch.sample_count();
                turn.lines += batch.line_count();
                turn.spans += batch.spans.len();
            }
            Err(error) => turn.error = Some(error.clone()),
        }
        turn.rejected.extend_from_slice(&rejected);
        // A sender that left does not want to know.
        let admitted = Amounts::from(batch);
        let _ = reply.send(answer.map(|receipt| Written { receipt, rejected, admitted }));
    }
    turn
}

fn too_many_series(refused: &store::OverLimit) -> ingest::Rejection {
    let store::OverLimit { items, series, limit, .. } = refused;
    let example =
        format!("there are {limit} series already (store.max_series), so that there is no room for `{series}`");
    ingest::Rejection { reason: "too_many_series", count: *items, example }
}

/// One answer per batch. A batch too large to be written must not take its neighbours with it.
fn append(store: &store::Store, batches: &[WriteBatch]) -> Vec<Result<store::Receipt, WriteError>> {
    match store.append(batches) {
        Ok(receipt) => (0..batches.len())
            .map(|at| {
                let mut own = receipt.clone();
                own.conflicts.retain(|conflict| conflict.batch == at);
                own.refused.retain(|refused| refused.batch == at);
                Ok(own)
            })
            .collect(),
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
