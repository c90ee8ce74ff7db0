//! One target: fetched on its beat.

use std::sync::Arc;
use std::time::Duration;

use ingest::compression::{self, DecompressError};
use ingest::scrape::{Fetched, Health, NoPage, ScrapeConfig, Scraped, Target, TargetState, accept};
use reqwest::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap};
use signal::Timestamp;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use web::TargetView;

use super::Scraper;
use super::client::{HttpClient, plain};
use crate::clock::{self, Stopwatch};

/// A scrape that begins at most this late gets the time it was meant to have: regular times are small on disk.
const TOLERANCE: Duration = Duration::from_millis(2);
/// New targets are first scraped within this time, spread like their beats.
const FIRST: Duration = Duration::from_secs(1);
/// Larger pages are read where the runtime expects a thread to be busy.
const LARGE: usize = 128 * 1024;

/// What is needed to follow one target.
pub(super) struct Follower {
    pub(super) scraper: Scraper,
    pub(super) client: Arc<HttpClient>,
    /// Why nothing of the job is to be scraped.
    pub(super) forbidden: watch::Receiver<Option<String>>,
}

impl Follower {
    /// Scrapes one target on its schedule until `stop`, and gives back what it remembers.
    pub(super) async fn follow(self, mut state: TargetState, stop: CancellationToken) -> TargetState {
        let interval = state.target().interval;
        let mut next = match state.last_scrape() {
            None => clock::now().plus(first_wait(state.target())),
            Some(_) => next_beat(state.target(), clock::now(), interval),
        };
        loop {
            let wait = next.since(clock::now());
            tokio::select! {
                () = stop.cancelled() => return state,
                () = tokio::time::sleep(wait) => {}
            }
            let now = clock::now();
            let at = if now.since(next) <= TOLERANCE { next } else { now };
            let watch = Stopwatch::start();
            // A page that never comes must not hold up the end of its target.
            let Some(page) = stop.run_until_cancelled(self.page(&state)).await else { return state };
            let scraped = self.observe(&mut state, page, at, watch.elapsed());
            self.scraper.instruments.scraped(&state.target().job, scraped.error.is_none());
            self.scraper.write(scraped.batch).await;
            self.scraper.show(&state);
            next = next_beat(state.target(), clock::now(), interval);
        }
    }

    async fn page(&self, state: &TargetState) -> Result<(Vec<u8>, Option<String>), NoPage> {
        let forbidden = self.forbidden.borrow().clone();
        match forbidden {
            Some(reason) => Err(NoPage::Failed(reason)),
            None => self.fetch(state.target(), state.config()).await,
        }
    }

    fn observe(
        &self,
        state: &mut TargetState,
        page: Result<(Vec<u8>, Option<String>), NoPage>,
        at: Timestamp,
        took: Duration,
    ) -> Scraped {
        let limits = &self.scraper.limits;
        match page {
            Err(reason) => state.observe(Err(reason), at, took, limits),
            Ok((body, kind)) => {
                let mut read = || {
                    let fetched = Fetched { body: &body, content_type: kind.as_deref() };
                    state.observe(Ok(fetched), at, took, limits)
                };
                if body.len() > LARGE { tokio::task::block_in_place(read) } else { read() }
            }
        }
    }

    /// The page and its content type, or why there is none.
    async fn fetch(&self, target: &Target, job: &ScrapeConfig) -> Result<(Vec<u8>, Option<String>), NoPage> {
        let failed = |reason: String| NoPage::Failed(reason);
        let request = self.client.get(&target.url).await.map_err(|error| failed(error.to_string()))?;
        let request = request
            .timeout(target.timeout)
            .header(ACCEPT, accept(&job.protocols, job.escaping))
            .header(ACCEPT_ENCODING, if job.compressed { "gzip" } else { "identity" })
            .header("X-Prometheus-Scrape-Timeout-Seconds", target.timeout.as_secs_f64().to_string());
        let mut response = request.send().await.map_err(|error| failed(plain(&error)))?;
        if response.status() != reqwest::StatusCode::OK {
            return Err(failed(format!("server returned HTTP status {}", response.status())));
        }
        let kind = text(response.headers(), CONTENT_TYPE.as_str());
        let is_gzip = text(response.headers(), CONTENT_ENCODING.as_str()).is_some_and(|encoding| encoding == "gzip");
        let general = self.scraper.limits.max_decoded_bytes;
        let limit = if job.limits.body_size > 0 { job.limits.body_size.min(general) } else { general };
        let too_long = || {
            if limit == job.limits.body_size {
                return NoPage::TooLong;
            }
            failed(format!("the page is larger than {limit} bytes"))
        };
        let mut body = Vec::new();
        while let Some(part) = response.chunk().await.map_err(|error| failed(plain(&error)))? {
            if body.len() + part.len() > limit {
                return Err(too_long());
            }
            body.extend_from_slice(&part);
        }
        if is_gzip {
            body = compression::gzip(&body, limit).map_err(|error| match error {
                DecompressError::TooLarge { .. } => too_long(),
                other => failed(other.to_string()),
            })?;
        }
        Ok((body, kind))
    }
}

/// What clients are shown of a target.
pub(super) fn view(state: &TargetState, global_url: String) -> TargetView {
    let target = state.target();
    TargetView {
        discovered_labels: target.discovered.clone(),
        labels: target.labels.clone(),
        scrape_pool: target.job.clone(),
        scrape_url: target.url.clone(),
        global_url,
        metadata: Arc::clone(state.metadata()),
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
    }
}

/// A new target is seen soon rather than after up to a whole interval; many new ones are still spread.
fn first_wait(target: &Target) -> Duration {
    let share = target.offset_in_interval().as_secs_f64() / target.interval.as_secs_f64().max(0.001);
    FIRST.min(target.interval).mul_f64(share.clamp(0.0, 1.0))
}

/// The next time on the target's own beat after `now`.
fn next_beat(target: &Target, now: Timestamp, interval: Duration) -> Timestamp {
    let step = i64::try_from(interval.as_millis()).unwrap_or(i64::MAX).max(1);
    let offset = i64::try_from(target.offset_in_interval().as_millis()).unwrap_or(0);
    let beats = (now.0 - offset).div_euclid(step) + 1;
    Timestamp(beats.saturating_mul(step).saturating_add(offset))
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}
