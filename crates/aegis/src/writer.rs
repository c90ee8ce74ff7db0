//! The writer thread: the only one that appends. Waiting writes are made durable together.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use store::Store;
use tokio::sync::mpsc;
use tracing::{info, warn};
use web::{WriteError, WriteRequest};

use crate::clock;
use crate::instruments::Instruments;

/// Requests made durable by one write at most.
const TOGETHER: usize = 256;
/// Time between two looks at what is too old or too much.
const RETENTION_EVERY: Duration = Duration::from_secs(60);

/// Admits and appends until every sender is gone.
pub(crate) fn write_until_closed(
    mut requests: mpsc::Receiver<WriteRequest>,
    store: &Store,
    instruments: &Instruments,
    is_writable: &Arc<AtomicBool>,
) {
    let mut intake = ingest::Intake::new(ingest::Limits::default());
    let mut was_full = false;
    while let Some(first) = requests.blocking_recv() {
        let mut together = vec![first];
        while together.len() < TOGETHER
            && let Ok(next) = requests.try_recv()
        {
            together.push(next);
        }
        let turn = web::commit(together, &mut intake, store, clock::now());
        instruments.wrote(turn.samples, turn.lines, turn.spans);
        instruments.refused(&turn.rejected);
        let is_full = matches!(turn.error, Some(WriteError::Full(_)));
        if is_full != was_full {
            // A full disk shows on the readiness probe; queries go on.
            is_writable.store(!is_full, Ordering::Release);
            if is_full {
                warn!("the disk is full: writes are refused until there is space");
            } else {
                info!("there is space again: writes are taken");
            }
            was_full = is_full;
        }
    }
}

/// Drops what is too old or too much, once a minute, until `stop` is dropped.
pub(crate) fn retain_until_stopped(store: &Store, stop: &Receiver<()>) {
    while let Err(RecvTimeoutError::Timeout) = stop.recv_timeout(RETENTION_EVERY) {
        if let Err(error) = store.retain(clock::now()) {
            warn!(%error, "cannot drop old data");
        }
    }
}
