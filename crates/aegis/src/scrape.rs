//! The running half of scraping: finds targets, fetches their pages on schedule, hands the samples to the writer.

mod client;
mod discovery;
mod pool;
mod target;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use ingest::Limits;
use ingest::scrape::{Resolved, ScrapeConfig, TargetState};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::warn;
use web::{Ingress, TargetView, Views, WriteError};

use crate::config::Config;
use crate::instruments::Instruments;
use client::HttpClient;
use pool::Pool;

/// What scraping needs from the rest of Aegis. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Scraper {
    pub(crate) ingress: Ingress,
    pub(crate) views: Views,
    pub(crate) instruments: Arc<Instruments>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) own: Arc<OwnAddress>,
}

/// What is wrong with the files that scraping needs: secrets, certificates, lists of targets.
pub(crate) fn check(config: &Config) -> Vec<String> {
    let mut problems = Vec::new();
    for job in &config.jobs {
        let mut found: Vec<String> = Vec::new();
        found.extend(HttpClient::new(job.http.clone()).check().err().map(|error| error.to_string()));
        for way in &job.discovery {
            found.extend(discovery::check(way));
        }
        problems.extend(found.into_iter().map(|problem| format!("job `{}`: {problem}", job.job_name)));
    }
    problems
}

/// How other machines reach this one.
#[derive(Clone, Debug)]
pub(crate) struct OwnAddress {
    pub(crate) listen: SocketAddr,
    pub(crate) hostname: String,
}

struct Running {
    config: Arc<ScrapeConfig>,
    configs: watch::Sender<Arc<ScrapeConfig>>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Scraper {
    /// Scrapes every target of the configured jobs, following changes of them, until `shutdown`.
    pub(crate) async fn run(self, mut configs: watch::Receiver<Arc<Config>>, shutdown: CancellationToken) {
        let mut running: BTreeMap<String, Running> = BTreeMap::new();
        loop {
            let config = Arc::clone(&configs.borrow_and_update());
            self.follow(&mut running, &config.jobs).await;
            tokio::select! {
                () = shutdown.cancelled() => break,
                changed = configs.changed() => {
                    if changed.is_err() {
                        break;
                    }
                }
            }
        }
        self.follow(&mut running, &[]).await;
    }

    async fn follow(&self, running: &mut BTreeMap<String, Running>, wanted: &[Arc<ScrapeConfig>]) {
        let is_wanted = |name: &String| wanted.iter().any(|job| job.job_name == *name);
        let gone: Vec<String> = running.keys().filter(|name| !is_wanted(name)).cloned().collect();
        let mut stopping = JoinSet::new();
        for name in gone {
            if let Some(Running { stop, task, .. }) = running.remove(&name) {
                stop.cancel();
                stopping.spawn(task);
            }
        }
        for job in wanted {
            if let Some(known) = running.get_mut(&job.job_name) {
                // A job that is written as before is left alone.
                if known.config != *job {
                    known.config = Arc::clone(job);
                    known.configs.send_replace(Arc::clone(job));
                }
                continue;
            }
            let stop = CancellationToken::new();
            let (configs, configured) = watch::channel(Arc::clone(job));
            let pool = Pool::new(self.clone(), Arc::clone(job));
            let task = tokio::spawn(pool.run(configured, stop.clone()));
            running.insert(job.job_name.clone(), Running { config: Arc::clone(job), configs, stop, task });
        }
        while stopping.join_next().await.is_some() {}
    }

    async fn write(&self, batch: signal::WriteBatch) {
        if batch.is_empty() {
            return;
        }
        match self.ingress.write(batch).await {
            // A limit that somebody has set; what is refused for it is counted.
            Ok(_) | Err(WriteError::TooFast(_)) => {}
            Err(error) => warn!(%error, "scraped samples are lost"),
        }
    }

    fn show(&self, state: &TargetState) {
        let shown = target::view(state, self.own.global(&state.target().url));
        self.views.update(|view| match place(&view.targets, &shown) {
            Ok(at) => {
                if let Some(known) = view.targets.get_mut(at) {
                    *known = shown;
                }
            }
            Err(at) => view.targets.insert(at, shown),
        });
    }

    fn hide(&self, state: &TargetState) {
        let hidden = target::view(state, String::new());
        self.views.update(|view| {
            if let Ok(at) = place(&view.targets, &hidden) {
                view.targets.remove(at);
            }
        });
    }

    fn show_dropped(&self, job: &str, resolved: &Resolved) {
        let dropped = resolved.dropped.iter().map(|target| (target.job.clone(), target.discovered.clone()));
        let count = u64::try_from(resolved.dropped_count).unwrap_or(u64::MAX);
        self.views.update(|view| {
            view.dropped_targets.retain(|(of, _)| of != job);
            view.dropped_targets.extend(dropped);
            view.dropped_target_counts.insert(job.to_owned(), count);
        });
    }

    /// The job is gone.
    fn forget(&self, job: &str) {
        self.views.update(|view| {
            view.targets.retain(|target| target.scrape_pool != job);
            view.dropped_targets.retain(|(of, _)| of != job);
            view.dropped_target_counts.remove(job);
        });
    }
}

fn place(targets: &[TargetView], wanted: &TargetView) -> Result<usize, usize> {
    targets.binary_search_by(|known| known.key().cmp(&wanted.key()))
}

impl OwnAddress {
    /// `listen` on the machine as it names itself.
    pub(crate) fn new(listen: SocketAddr) -> Self {
        let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let hostname = if name.trim().is_empty() { "localhost".to_owned() } else { name.trim().to_owned() };
        Self { listen, hostname }
    }

    /// The URL with a name that other machines know, where it has one that means each machine itself.
    fn global(&self, url: &str) -> String {
        let Ok(mut parsed) = reqwest::Url::parse(url) else { return url.to_owned() };
        let is_local = matches!(parsed.host_str(), Some("localhost" | "127.0.0.1" | "0.0.0.0" | "[::1]" | "[::]"));
        if is_local && parsed.set_host(Some(&self.hostname)).is_ok() {
            if parsed.port() == Some(self.listen.port()) {
                // It is ourselves, and we speak without TLS.
                let _ = parsed.set_scheme("http");
            }
            return parsed.to_string();
        }
        url.to_owned()
    }
}

#[cfg(test)]
mod tests;
