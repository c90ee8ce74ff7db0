//! Finding targets: one task for each way of discovery, each with the newest list of groups it knows.

mod dns;
mod file;
mod http;
mod kubernetes;
mod kubernetes_api;

use std::sync::Arc;
use std::time::Duration;

use ingest::scrape::{Discovery, ScrapeConfig, TargetGroup};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::client::HttpClient;

/// Changes within this time are taken together.
const TOGETHER: Duration = Duration::from_millis(50);

type Groups = Arc<Vec<TargetGroup>>;

/// The discoveries of one job.
#[derive(Default)]
pub(super) struct Discoveries {
    running: Vec<Running>,
    changed: Arc<Notify>,
}

struct Running {
    way: Discovery,
    groups: watch::Receiver<Option<Groups>>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// Where a discovery puts what it found.
pub(super) struct Publisher {
    job: String,
    groups: watch::Sender<Option<Groups>>,
    changed: Arc<Notify>,
    problem: String,
}

impl Discoveries {
    /// Starts and stops tasks so that they are those of `config`; what is discovered as before is left alone.
    pub(super) async fn follow(&mut self, config: &ScrapeConfig) {
        let mut known = std::mem::take(&mut self.running);
        for way in &config.discovery {
            match known.iter().position(|running| running.way == *way) {
                Some(at) => self.running.push(known.swap_remove(at)),
                None => {
                    let running = self.start(config, way);
                    self.running.push(running);
                }
            }
        }
        for gone in known {
            gone.end().await;
        }
    }

    fn start(&self, config: &ScrapeConfig, way: &Discovery) -> Running {
        let (sender, groups) = watch::channel(None);
        let stop = CancellationToken::new();
        let publisher = Publisher {
            job: config.job_name.clone(),
            groups: sender,
            changed: Arc::clone(&self.changed),
            problem: String::new(),
        };
        let (stopped, discovery) = (stop.clone(), way.clone());
        let task = tokio::spawn(async move {
            let work = async {
                match discovery {
                    Discovery::File(files) => file::follow(files, publisher).await,
                    Discovery::Http(http) => http::follow(*http, publisher).await,
                    Discovery::Dns(dns) => dns::follow(dns, publisher).await,
                    Discovery::Kubernetes(kubernetes) => kubernetes::follow(*kubernetes, publisher).await,
                }
            };
            stopped.run_until_cancelled(work).await;
        });
        Running { way: way.clone(), groups, stop, task }
    }

    /// What all of them know now.
    pub(super) fn groups(&self) -> Vec<Groups> {
        self.running.iter().filter_map(|running| running.groups.borrow().clone()).collect()
    }

    /// Whether each of them has found something out, if only that there is nothing.
    pub(super) fn are_known(&self) -> bool {
        self.running.iter().all(|running| running.groups.borrow().is_some())
    }

    /// Returns once one of them knows something new.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
        tokio::time::sleep(TOGETHER).await;
    }

    pub(super) async fn stop(&mut self) {
        for running in std::mem::take(&mut self.running) {
            running.end().await;
        }
    }
}

/// What is wrong with the files a way of discovery needs; nobody is asked.
pub(super) fn check(way: &Discovery) -> Vec<String> {
    match way {
        Discovery::File(files) => file::check(files),
        Discovery::Http(http) => {
            HttpClient::new(http.http.clone()).check().err().map(|error| error.to_string()).into_iter().collect()
        }
        Discovery::Dns(_) => Vec::new(),
        Discovery::Kubernetes(kubernetes) => kubernetes_api::check(&kubernetes.server).into_iter().collect(),
    }
}

impl Running {
    async fn end(self) {
        self.stop.cancel();
        // It only ends otherwise by a defect, which has been told already.
        let _ = self.task.await;
    }
}

impl Publisher {
    /// Replaces what is known.
    fn publish(&mut self, groups: Vec<TargetGroup>) {
        let is_new = self.groups.send_if_modified(|known| {
            if known.as_ref().is_some_and(|known| **known == groups) {
                return false;
            }
            *known = Some(Arc::new(groups));
            true
        });
        if is_new {
            self.changed.notify_one();
        }
    }

    /// Tells of a problem once, until it is another or none; what is known stays known.
    fn tell(&mut self, problem: String) {
        if !problem.is_empty() && problem != self.problem {
            warn!(job = %self.job, %problem, "cannot discover scrape targets; what was known stays");
        }
        // Nobody can wait for a first answer forever.
        if !problem.is_empty() && self.groups.borrow().is_none() {
            self.publish(Vec::new());
        }
        self.problem = problem;
    }
}

#[cfg(test)]
mod tests;
