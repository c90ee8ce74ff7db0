//! Log templates of everything that is stored: mined beside the write path, counted as series, kept over a restart.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use detect::templates::{Miner, MinerState, StreamMiner, StreamMinerLimits, Template};
use signal::WriteBatch;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use web::{Followed, Ingress, LineTap, WriteError};

use crate::clock;
use crate::instruments::Instruments;

/// What is known of templates, under the data directory.
const FILE: &str = "templates.json";
/// A larger file is none of ours.
const FILE_BYTES: u64 = 256 << 20;
/// Time between two samples of the counters, and between two times that what is known is written down.
const COUNT_EVERY: Duration = Duration::from_secs(15);
const KEEP_EVERY: u32 = 20;
/// Bytes of lines that may wait to be looked at; further ones are missed, and counted.
const WAITING_BYTES: usize = 16 << 20;

/// Follows what is written and mines it.
pub(crate) struct Templates {
    miner: Arc<Mutex<StreamMiner>>,
    file: PathBuf,
    ingress: Ingress,
    instruments: Arc<Instruments>,
}

impl Templates {
    /// Goes on with what an earlier process knew, if it can be read.
    pub(crate) fn open(data_dir: &Path, ingress: Ingress, instruments: Arc<Instruments>) -> Self {
        let (file, limits) = (data_dir.join(FILE), StreamMinerLimits::default());
        let known = read(&file).and_then(|state| Miner::restore(state, limits.miner).map_err(io::Error::other));
        let miner = known.unwrap_or_else(|error| {
            if error.kind() != io::ErrorKind::NotFound {
                warn!(file = %file.display(), %error, "the known log templates cannot be read; they are learned anew");
            }
            Miner::new(limits.miner)
        });
        if !miner.is_empty() {
            info!(templates = miner.len(), "log templates read");
        }
        Self { miner: Arc::new(Mutex::new(StreamMiner::new(miner, limits))), file, ingress, instruments }
    }

    /// Lists the templates that are known at the time of the call.
    pub(crate) fn lister(&self) -> web::LogTemplates {
        let miner = Arc::clone(&self.miner);
        Arc::new(move || lock(&miner).miner().templates().cloned().collect::<Vec<Template>>())
    }

    /// Mines what `tap` says until `stop`, then writes down what is known.
    pub(crate) async fn run(self, tap: LineTap, stop: CancellationToken) {
        let mut follower = tap.follow(WAITING_BYTES);
        let mut ticks = interval(COUNT_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut counted = 0_u32;
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                _ = ticks.tick() => {
                    self.write_counts().await;
                    counted = counted.wrapping_add(1);
                    if counted.is_multiple_of(KEEP_EVERY) {
                        self.keep().await;
                    }
                }
                heard = follower.next() => match heard {
                    Some(heard) => self.hear(&heard),
                    None => break,
                },
            }
        }
        self.keep().await;
    }

    fn hear(&self, heard: &Followed) {
        match heard {
            Followed::Lines(committed) => {
                let looked = lock(&self.miner).observe(&committed.streams, clock::now());
                self.instruments.mined(looked.mined, looked.estimated, 0);
            }
            Followed::Missed(missed) => self.instruments.mined(0, 0, missed.lines),
        }
    }

    async fn write_counts(&self) {
        let (series, known) = {
            let mut miner = lock(&self.miner);
            (miner.series(clock::now()), miner.miner().len())
        };
        self.instruments.templates(known);
        if series.is_empty() {
            return;
        }
        match self.ingress.write(WriteBatch { series, ..WriteBatch::default() }).await {
            // A limit that somebody has set; what is refused for it is counted.
            Ok(_) | Err(WriteError::TooFast(_) | WriteError::Stopped) => {}
            Err(error) => warn!(%error, "counts of log templates are lost"),
        }
    }

    /// Writes down what is known; whatever fails, it can be learned anew.
    async fn keep(&self) {
        let state = lock(&self.miner).miner().save();
        let file = self.file.clone();
        let written = tokio::task::spawn_blocking(move || write(&file, &state)).await;
        if let Err(error) = written.unwrap_or_else(|error| Err(io::Error::other(error))) {
            warn!(file = %self.file.display(), %error, "the known log templates cannot be written down");
        }
    }
}

fn lock(miner: &Mutex<StreamMiner>) -> MutexGuard<'_, StreamMiner> {
    miner.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read(file: &Path) -> io::Result<MinerState> {
    let bytes = fs::metadata(file)?.len();
    if bytes > FILE_BYTES {
        return Err(io::Error::other(format!("it has {bytes} bytes, more than the limit of {FILE_BYTES}")));
    }
    serde_json::from_slice(&fs::read(file)?).map_err(io::Error::other)
}

/// Beside the old file first, so that a crash leaves one of both.
fn write(file: &Path, state: &MinerState) -> io::Result<()> {
    let beside = file.with_extension("json.new");
    fs::write(&beside, serde_json::to_vec(state).map_err(io::Error::other)?)?;
    fs::rename(&beside, file)
}

#[cfg(test)]
mod tests {
    use signal::Nanos;

    use super::*;

    #[test]
    fn what_is_known_survives() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(FILE);
        let limits = StreamMinerLimits::default().miner;
        let mut miner = Miner::new(limits);
        let id = miner.observe(Nanos(7), "took 1ms").id;
        assert_eq!(read(&file).unwrap_err().kind(), io::ErrorKind::NotFound);
        write(&file, &miner.save()).unwrap();
        let again = Miner::restore(read(&file).unwrap(), limits).unwrap();
        assert_eq!(again.template(id), miner.template(id));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        fs::write(&file, "{").unwrap();
        assert!(read(&file).is_err());
    }
}
