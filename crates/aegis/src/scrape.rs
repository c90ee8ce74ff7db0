//! The running half of scraping: finds targets, fetches their pages on schedule, hands the samples to the writer.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ingest::scrape::{
    Discovery, Fetched, FileSd, Health, ScrapeConfig, Target, TargetGroup, TargetState, accept, parse_target_groups,
    resolve,
};
use ingest::{Limits, compression};
use reqwest::Client;
use reqwest::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap};
use signal::Timestamp;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use web::{Ingress, TargetView, Views};

use crate::clock::{self, Stopwatch};
use crate::instruments::Instruments;

/// How often target files are looked at.
const REFRESH: Duration = Duration::from_secs(1);

/// What scraping needs from the rest of Aegis. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Scraper {
    pub(crate) ingress: Ingress,
    pub(crate) views: Views,
    pub(crate) client: Client,
    pub(crate) instruments: Arc<Instruments>,
    pub(crate) limits: Arc<Limits>,
}

/// One target being scraped.
struct Running {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Scraper {
    /// Scrapes every target of `jobs`, following changes of their target files, until `shutdown`.
    pub(crate) async fn run(self, jobs: Vec<ScrapeConfig>, shutdown: CancellationToken) {
        let jobs: Vec<Arc<ScrapeConfig>> = jobs.into_iter().map(Arc::new).collect();
        let mut running: BTreeMap<String, Running> = BTreeMap::new();
        let mut known_problems = Vec::new();
        loop {
            let mut problems = Vec::new();
            let mut wanted = BTreeMap::new();
            for job in &jobs {
                let resolved = resolve(job, &discover(job, &mut problems));
                problems.extend(resolved.problems);
                for target in resolved.active {
                    wanted.insert(key(&target), (target, Arc::clone(job)));
                }
            }
            if problems != known_problems {
                for problem in &problems {
                    warn!(%problem, "cannot use a scrape target");
                }
                known_problems = problems;
            }
            self.follow(&mut running, wanted).await;
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = tokio::time::sleep(REFRESH) => {}
            }
        }
        self.follow(&mut running, BTreeMap::new()).await;
    }

    /// Stops what is no longer wanted and starts what is new.
    async fn follow(
        &self,
        running: &mut BTreeMap<String, Running>,
        wanted: BTreeMap<String, (Target, Arc<ScrapeConfig>)>,
    ) {
        let gone: Vec<String> = running.keys().filter(|key| !wanted.contains_key(*key)).cloned().collect();
        let mut stopping = JoinSet::new();
        for key in gone {
            if let Some(Running { stop, task }) = running.remove(&key) {
                stop.cancel();
                stopping.spawn(task);
            }
        }
        for (key, (target, job)) in wanted {
            running.entry(key).or_insert_with(|| {
                info!(job = %target.job, target = %target.url, "scraping");
                let stop = CancellationToken::new();
                let task = tokio::spawn(self.clone().follow_target(TargetState::new(target, job), stop.clone()));
                Running { stop, task }
            });
        }
        while stopping.join_next().await.is_some() {}
    }

    /// Scrapes one target on its schedule until `stop`, then marks the end of its series.
    async fn follow_target(self, mut state: TargetState, stop: CancellationToken) {
        let interval = state.target().interval;
        // A new target is seen at once rather than after up to a whole interval, then on its own beat.
        let mut next = clock::now();
        loop {
            let wait = next.since(clock::now());
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(wait) => {}
            }
            // A page that never comes must not hold up the end of its target.
            let scraped = stop.run_until_cancelled(self.scrape_once(&mut state, next)).await;
            if scraped.is_none() {
                break;
            }
            next = next_beat(state.target(), clock::now(), interval);
        }
        self.write(state.gone(clock::now())).await;
        let url = state.target().url.clone();
        self.views.update(|view| view.targets.retain(|target| target.scrape_url != url));
    }

    async fn scrape_once(&self, state: &mut TargetState, at: Timestamp) {
        let watch = Stopwatch::start();
        let fetched = self.fetch(state.target(), state.config()).await;
        let page =
            fetched.as_ref().map(|(body, kind)| Fetched { body, content_type: kind.as_deref() }).map_err(Clone::clone);
        let scraped = state.observe(page, at, watch.elapsed(), &self.limits);
        self.instruments.scraped(&state.target().job, scraped.error.is_none());
        self.write(scraped.batch).await;
        self.show(state);
    }

    /// The page and its content type, or why there is none.
    async fn fetch(&self, target: &Target, job: &ScrapeConfig) -> Result<(Vec<u8>, Option<String>), String> {
        let request = self
            .client
            .get(&target.url)
            .timeout(target.timeout)
            .header("Accept", accept(&job.protocols, job.escaping))
            .header(ACCEPT_ENCODING, "gzip")
            .header("X-Prometheus-Scrape-Timeout-Seconds", target.timeout.as_secs_f64().to_string());
        let mut response = request.send().await.map_err(|error| plain(&error))?;
        if !response.status().is_success() {
            return Err(format!("server returned HTTP status {}", response.status()));
        }
        let kind = text(response.headers(), CONTENT_TYPE.as_str());
        let is_gzip = text(response.headers(), CONTENT_ENCODING.as_str()).is_some_and(|encoding| encoding == "gzip");
        let mut body = Vec::new();
        while let Some(part) = response.chunk().await.map_err(|error| plain(&error))? {
            if body.len() + part.len() > self.limits.max_decoded_bytes {
                return Err(format!("the page is larger than {} bytes", self.limits.max_decoded_bytes));
            }
            body.extend_from_slice(&part);
        }
        if is_gzip {
            body = compression::gzip(&body, self.limits.max_decoded_bytes).map_err(|error| error.to_string())?;
        }
        Ok((body, kind))
    }

    async fn write(&self, batch: signal::WriteBatch) {
        if batch.is_empty() {
            return;
        }
        if let Err(error) = self.ingress.write(batch).await {
            warn!(%error, "scraped samples are lost");
        }
    }

    fn show(&self, state: &TargetState) {
        let target = state.target();
        let shown = TargetView {
            discovered_labels: target.discovered.clone(),
            labels: target.labels.clone(),
            scrape_pool: target.job.clone(),
            scrape_url: target.url.clone(),
            last_error: state.last_error().to_owned(),
            last_scrape: state.last_scrape(),
            last_scrape_duration: state.last_duration(),
            health: match state.health() {
                Health::Unknown => web::Health::Unknown,
                Health::Up => web::Health::Good,
                Health::Down => web::Health::Bad,
            },
            scrape_interval: target.interval,
            scrape_timeout: target.timeout,
        };
        self.views.update(|view| {
            match view
                .targets
                .iter_mut()
                .find(|known| known.scrape_url == shown.scrape_url && known.labels == shown.labels)
            {
                Some(known) => *known = shown,
                None => view.targets.push(shown),
            }
        });
    }
}

/// The next time on the target's own beat after `now`.
fn next_beat(target: &Target, now: Timestamp, interval: Duration) -> Timestamp {
    let step = i64::try_from(interval.as_millis()).unwrap_or(i64::MAX).max(1);
    let offset = i64::try_from(target.offset_in_interval().as_millis()).unwrap_or(0);
    let beats = (now.0 - offset).div_euclid(step) + 1;
    Timestamp(beats.saturating_mul(step).saturating_add(offset))
}

fn key(target: &Target) -> String {
    format!("{}\n{}\n{}", target.job, target.labels, target.url)
}

/// The groups in the job's target files. A file that cannot be read is a problem; its targets are gone meanwhile.
fn discover(job: &ScrapeConfig, problems: &mut Vec<String>) -> Vec<TargetGroup> {
    let mut groups = Vec::new();
    let ways = job.discovery.iter().filter_map(|way| match way {
        Discovery::File(files) => Some(files),
        Discovery::Http(_) | Discovery::Dns(_) | Discovery::Kubernetes(_) => None,
    });
    for file in ways.flat_map(paths) {
        let read = std::fs::read(&file).map_err(|error| error.to_string());
        match read.and_then(|json| parse_target_groups(&json).map_err(|error| error.to_string())) {
            Ok(found) => groups.extend(found),
            Err(error) => problems.push(format!("{} of job `{}`: {error}", file.display(), job.job_name)),
        }
    }
    groups
}

/// The files a job names; a `*` in the last part stands for anything.
fn paths(sd: &FileSd) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    for file in &sd.files {
        let path = file.as_path();
        let Some((head, tail)) = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.split_once('*'))
        else {
            paths.push(path.to_owned());
            continue;
        };
        let folder = path.parent().unwrap_or(Path::new("."));
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        let mut found: Vec<String> = names
            .filter(|name| name.len() >= head.len() + tail.len() && name.starts_with(head) && name.ends_with(tail))
            .collect();
        found.sort();
        paths.extend(found.into_iter().map(|name| folder.join(name)));
    }
    paths
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

/// The innermost reason, without the URL, which stands beside it anyway.
fn plain(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "context deadline exceeded".to_owned();
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
