//! The running half of following log files: finds them, reads on, and hands the lines to the writer.
//!
//! One task does it all, one round after the other. What is about to be sent is written down first, so that after a crash
//! the same lines are sent again with the same times, and the store finds that it has them.

mod files;
mod journal;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use ingest::tail::{Found, Round, Tailer};
use signal::WriteBatch;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use web::{Ingress, WriteError};

use crate::clock::{self, Stopwatch};
use crate::config::{Config, LogFiles};
use crate::instruments::Instruments;
use files::{OsFiles, matching};
use journal::Journal;

/// Time between two looks at the files.
const LOOK: Duration = Duration::from_millis(250);
/// Time between two looks for new files.
const RESCAN: Duration = Duration::from_secs(10);
/// Pauses before what was refused is sent again.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How often lines are sent that are over a limit somebody has set.
const TRIES: u32 = 10;

/// What following files needs from the rest of Aegis.
pub(crate) struct Tailing {
    pub(crate) ingress: Ingress,
    pub(crate) instruments: Arc<Instruments>,
    /// Where positions are kept.
    pub(crate) directory: PathBuf,
    /// Whether positions survive a loss of power.
    pub(crate) is_synced: bool,
}

/// Everything that stays while files are followed.
struct Running {
    tailer: Tailer<OsFiles>,
    journal: Journal,
    configured: Vec<LogFiles>,
}

impl Tailing {
    /// Follows the configured files, and changes of them, until `shutdown`.
    pub(crate) async fn run(self, mut configs: watch::Receiver<Arc<Config>>, shutdown: CancellationToken) {
        // Without files there is nothing to keep.
        loop {
            if !configs.borrow_and_update().log_files.is_empty() {
                break;
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                changed = configs.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
            }
        }
        let (directory, is_synced) = (self.directory.clone(), self.is_synced);
        let opened = spawn_blocking(move || open(&directory, is_synced)).await;
        let running = match opened.map_err(anyhow::Error::from).and_then(|opened| opened) {
            Ok(running) => running,
            Err(error) => {
                error!(error = format!("{error:#}"), "log files are not followed");
                return;
            }
        };
        if let Err(error) = self.follow(running, configs, &shutdown).await {
            error!(error = format!("{error:#}"), "log files are not followed any more");
        }
    }

    async fn follow(
        &self,
        mut running: Running,
        mut configs: watch::Receiver<Arc<Config>>,
        shutdown: &CancellationToken,
    ) -> anyhow::Result<()> {
        let mut scanned: Option<Stopwatch> = None;
        configs.mark_changed();
        while !shutdown.is_cancelled() {
            let is_new = configs.has_changed().unwrap_or(false);
            let wanted = is_new.then(|| configs.borrow_and_update().log_files.clone());
            let is_due = is_new || scanned.is_none_or(|scanned| scanned.elapsed() >= RESCAN);
            if is_due {
                scanned = Some(Stopwatch::start());
            }
            let (back, round) = spawn_blocking(move || {
                if is_due {
                    running.scan(wanted);
                }
                let round = running.tailer.round(clock::now());
                (running, round)
            })
            .await?;
            running = back;
            self.count(&running, &round);
            let has_more = round.has_more;
            let Some(back) = self.keep(running, round, shutdown).await? else { return Ok(()) };
            running = back;
            if !has_more {
                tokio::select! {
                    () = shutdown.cancelled() => break,
                    () = tokio::time::sleep(LOOK) => {}
                }
            }
        }
        // So that the next start has nothing to send a second time.
        spawn_blocking(move || running.journal.append(&running.tailer.changes())).await?.context("the positions")
    }

    /// Makes the positions durable and hands the lines over; `None` when Aegis goes down meanwhile.
    async fn keep(
        &self,
        mut running: Running,
        round: Round,
        shutdown: &CancellationToken,
    ) -> anyhow::Result<Option<Running>> {
        let mut pause = FIRST_PAUSE;
        let mut positions = round.positions;
        while !positions.is_empty() {
            let (back, left, written) = spawn_blocking(move || {
                let written = running.journal.append(&positions);
                (running, positions, written)
            })
            .await?;
            running = back;
            let Err(error) = written else { break };
            positions = left;
            warn!(%error, "cannot write down how far log files are read; trying again");
            if shutdown.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                return Ok(None);
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        if !round.batch.is_empty() && !self.write(round.batch, shutdown).await {
            return Ok(None);
        }
        running.tailer.accepted();
        Ok(Some(running))
    }

    /// Hands lines over, again and again if need be; false when Aegis goes down first.
    async fn write(&self, batch: WriteBatch, shutdown: &CancellationToken) -> bool {
        let mut pause = FIRST_PAUSE;
        let mut tries = 0;
        loop {
            // The store drops what it has, so that sending everything again does no harm.
            match self.ingress.write(batch.clone()).await {
                Ok(written) => {
                    tries += 1;
                    let over = written.rejected.iter().find(|refused| refused.is_for_now());
                    let Some(over) = over.filter(|_| tries < TRIES) else {
                        for refused in &written.rejected {
                            let (reason, count, example) = (refused.reason, refused.count, &refused.example);
                            warn!(reason, count, example, "lines of log files are lost");
                        }
                        return true;
                    };
                    if tries == 1 {
                        warn!(reason = over.reason, example = over.example, "log files wait for a limit");
                    }
                }
                Err(WriteError::Stopped) => return false,
                Err(error @ WriteError::TooLarge(_)) => {
                    warn!(%error, "lines of log files are lost");
                    return true;
                }
                Err(error) => {
                    if pause == FIRST_PAUSE {
                        warn!(%error, "lines of log files cannot be written; trying again");
                    }
                }
            }
            if shutdown.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                return false;
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn count(&self, running: &Running, round: &Round) {
        self.instruments.tailed(running.tailer.file_count(), &round.counts);
        for (file, reason) in &round.problems {
            warn!(file, reason, "a log file cannot be read");
        }
    }
}

fn open(directory: &Path, is_synced: bool) -> anyhow::Result<Running> {
    std::fs::create_dir_all(directory).with_context(|| format!("cannot create {}", directory.display()))?;
    let (journal, positions) = Journal::open(&directory.join("positions"), is_synced)?;
    Ok(Running { tailer: Tailer::new(OsFiles, positions), journal, configured: Vec::new() })
}

impl Running {
    /// Looks for the files of all jobs, new ones if they are given.
    fn scan(&mut self, wanted: Option<Vec<LogFiles>>) {
        if let Some(mut wanted) = wanted {
            wanted.iter_mut().for_each(|files| files.keep_job_of(&self.configured));
            self.configured = wanted;
            info!(jobs = self.configured.len(), "log files are followed");
        }
        let found = self.configured.iter().map(|files| Found { job: Arc::clone(&files.job), paths: matching(files) });
        let found = found.collect();
        self.tailer.follow(found, clock::now());
    }
}

#[cfg(test)]
mod tests;
