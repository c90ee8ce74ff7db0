//! One job: its discoveries, its targets.

use std::collections::BTreeMap;
use std::sync::Arc;

use ingest::scrape::{Resolved, ScrapeConfig, Target, TargetState, resolve};
use signal::Labels;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::Scraper;
use super::client::HttpClient;
use super::discovery::Discoveries;
use super::target::Follower;
use crate::clock;

/// What tells targets of a job apart: labels and address.
type Key = (Labels, String);

/// One target being scraped.
struct Running {
    config: Arc<ScrapeConfig>,
    target: Target,
    stop: CancellationToken,
    task: JoinHandle<TargetState>,
}

/// A job at work.
pub(super) struct Pool {
    scraper: Scraper,
    config: Arc<ScrapeConfig>,
    client: Arc<HttpClient>,
    discoveries: Discoveries,
    running: BTreeMap<Key, Running>,
    forbidden: watch::Sender<Option<String>>,
    problems: Vec<String>,
}

impl Pool {
    pub(super) fn new(scraper: Scraper, config: Arc<ScrapeConfig>) -> Self {
        Self {
            client: Arc::new(HttpClient::new(config.http.clone())),
            discoveries: Discoveries::default(),
            running: BTreeMap::new(),
            forbidden: watch::Sender::new(None),
            problems: Vec::new(),
            scraper,
            config,
        }
    }

    /// Scrapes the job's targets, following discovery and changes of the configuration, until `stop`.
    pub(super) async fn run(mut self, mut configs: watch::Receiver<Arc<ScrapeConfig>>, stop: CancellationToken) {
        self.discoveries.follow(&self.config).await;
        loop {
            let groups = self.discoveries.groups();
            let config = Arc::clone(&self.config);
            let resolved = resolve(&config, groups.iter().flat_map(|groups| groups.iter()));
            self.tell(&resolved);
            self.follow(resolved.active).await;
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.discoveries.changed() => {}
                changed = configs.changed() => {
                    if changed.is_err() {
                        break;
                    }
                    let config = Arc::clone(&configs.borrow_and_update());
                    if config.http != self.config.http {
                        self.client = Arc::new(HttpClient::new(config.http.clone()));
                    }
                    self.config = config;
                    self.discoveries.follow(&self.config).await;
                }
            }
        }
        self.discoveries.stop().await;
        self.follow(Vec::new()).await;
        self.scraper.forget(&self.config.job_name);
    }

    /// Shows and logs what came of the addresses besides targets.
    fn tell(&mut self, resolved: &Resolved) {
        let mut problems = resolved.problems.clone();
        problems.extend(resolved.over_limit.clone());
        if problems != self.problems {
            for problem in &problems {
                warn!(job = %self.config.job_name, %problem, "cannot use a scrape target");
            }
            self.problems = problems;
        }
        self.forbidden.send_if_modified(|forbidden| {
            let is_new = *forbidden != resolved.over_limit;
            forbidden.clone_from(&resolved.over_limit);
            is_new
        });
        self.scraper.show_dropped(&self.config.job_name, resolved);
    }

    /// Stops what is no longer wanted, starts what is new, and puts the rest under the configuration of now.
    async fn follow(&mut self, wanted: Vec<Target>) {
        let mut wanted: BTreeMap<Key, Target> =
            wanted.into_iter().map(|target| ((target.labels.clone(), target.url.clone()), target)).collect();
        // Until every discovery has spoken, nothing is known to be gone.
        let may_end = self.discoveries.are_known();
        let mut stopping = JoinSet::new();
        let mut running = BTreeMap::new();
        for (key, known) in std::mem::take(&mut self.running) {
            let next = match wanted.remove(&key) {
                None if may_end => None,
                None => Some(known.target.clone()),
                Some(target) => Some(target),
            };
            let is_same = next.as_ref() == Some(&known.target) && Arc::ptr_eq(&known.config, &self.config);
            if is_same {
                running.insert(key, known);
                continue;
            }
            known.stop.cancel();
            stopping.spawn(async move { (key, next, known.task.await) });
        }
        self.running = running;
        while let Some(stopped) = stopping.join_next().await {
            let Ok((key, next, Ok(mut state))) = stopped else { continue };
            match next {
                Some(target) => {
                    let state = state.with_config(target, Arc::clone(&self.config));
                    self.start(key, state);
                }
                None => {
                    self.scraper.write(state.gone(clock::now())).await;
                    self.scraper.hide(&state);
                }
            }
        }
        for (key, target) in wanted {
            info!(job = %target.job, target = %target.url, "scraping");
            self.start(key, TargetState::new(target, Arc::clone(&self.config)));
        }
    }

    fn start(&mut self, key: Key, state: TargetState) {
        self.scraper.show(&state);
        let stop = CancellationToken::new();
        let target = state.target().clone();
        let follower = Follower {
            scraper: self.scraper.clone(),
            client: Arc::clone(&self.client),
            forbidden: self.forbidden.subscribe(),
        };
        let task = tokio::spawn(follower.follow(state, stop.clone()));
        self.running.insert(key, Running { config: Arc::clone(&self.config), target, stop, task });
    }
}
