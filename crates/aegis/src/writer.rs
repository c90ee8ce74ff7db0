//! The writer thread: the only one that appends. Waiting writes are made durable together.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use store::Store;
use tokio::sync::mpsc;
use tracing::{info, warn};
use web::{LineTap, WriteError, WriteRequest};

use crate::clock;
use crate::instruments::Instruments;

/// Requests made durable by one write at most.
const TOGETHER: usize = 256;
/// Time between two looks at what has been in memory for long, and at what could be merged.
const UPKEEP_EVERY: Duration = Duration::from_secs(1);
/// Looks between two at what is too old or too much.
const RETENTION_EVERY: u32 = 60;

/// Admits and appends until every sender is gone; `tap` hears of every line that has become durable.
pub(crate) fn write_until_closed(
    mut requests: mpsc::Receiver<WriteRequest>,
    store: &Store,
    instruments: &Instruments,
    is_writable: &Arc<AtomicBool>,
    tap: &LineTap,
    limits: ingest::Limits,
) {
    let mut intake = ingest::Intake::new(limits);
    let mut truncated = 0;
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
        tap.publish(turn.streams);
        instruments.truncated(intake.truncated_lines() - truncated);
        truncated = intake.truncated_lines();
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

/// Moves metrics and logs to blocks, merges blocks, and drops what is too old or too much, until `stop` is dropped.
pub(crate) fn keep_up_until_stopped(store: &Store, stop: &Receiver<()>) {
    let (mut looks, mut has_failed) = (0_u32, false);
    // Those found at start have been named then.
    let mut known = store.status().problems;
    while let Err(RecvTimeoutError::Timeout) = stop.recv_timeout(UPKEEP_EVERY) {
        looks = looks.wrapping_add(1);
        // After a failure, as on a full disk, once a minute is enough.
        if !has_failed || looks.is_multiple_of(RETENTION_EVERY) {
            let done = store.maintain(clock::now());
            has_failed = done.is_err();
            if let Err(error) = done {
                warn!(error = %chain(&error), "cannot move metrics and logs to blocks");
            }
        }
        // Also at once: what was too old before the start is not seen again.
        if (looks == 1 || looks.is_multiple_of(RETENTION_EVERY))
            && let Err(error) = store.retain(clock::now())
        {
            warn!(error = %chain(&error), "cannot drop old data");
        }
        if looks.is_multiple_of(RETENTION_EVERY) {
            let found = store.status().problems;
            for problem in found.iter().filter(|problem| !known.contains(problem)) {
                let (file, offset, reason) = (problem.file.display(), problem.offset, &problem.reason);
                warn!(%file, offset, %reason, "a part of the store cannot be read; the rest is served");
            }
            known = found;
        }
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
