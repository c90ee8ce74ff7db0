//! The order of things: warm up, one scenario after the other, calm in between.

use std::time::Duration;

use axum::body::Bytes;
use hyper::Method;
use hyper::header::AUTHORIZATION;
use signal::Timestamp;

use crate::aegis::Incident;
use crate::capacity::{Capacity, REPLICAS};
use crate::clock::{self, Stopwatch};
use crate::load::Tally;
use crate::render::{self, Event};
use crate::scenario::Scenario;
use crate::score::{Scored, Seen, score};
use crate::terminal::Terminal;
use crate::wire::Wire;
use crate::world::{BAD_RELEASE, GOOD_RELEASE, World};

const POLL: Duration = Duration::from_millis(500);
/// Detectors need to know what is usual before they can say what is not.
const WARM_UP: Duration = Duration::from_secs(60);
/// What happens this soon after a scenario belongs to it.
const AFTERMATH: Duration = Duration::from_secs(10);
const CALM: Duration = Duration::from_secs(20);
/// Longest wait for calm: open incidents must close before the next scenario begins.
const CALM_LIMIT: Duration = Duration::from_secs(90);
const RESET_LIMIT: Duration = Duration::from_secs(45);
/// The requests by which recovery is judged: old enough to have been answered.
const LAST: (Duration, Duration) = (Duration::from_secs(14), Duration::from_secs(4));

/// What the demo remembers while it runs.
#[derive(Debug)]
pub(crate) struct Play {
    pub(crate) terminal: Terminal,
    pub(crate) scored: Vec<Scored>,
    pub(crate) kpis: serde_json::Value,
    /// Number of the last timeline entry that was shown.
    seq: u64,
    incidents: Vec<Incident>,
    /// Incidents from before this run, in a data directory that is used again.
    old: Vec<String>,
}

impl Play {
    pub(crate) fn new(started: Timestamp) -> Self {
        let terminal = Terminal::new(started);
        let kpis = serde_json::Value::Null;
        Self { terminal, scored: Vec::new(), kpis, seq: 0, incidents: Vec::new(), old: Vec::new() }
    }

    /// Everything until the end of the last scenario, and beyond when `stays`.
    pub(crate) async fn perform(
        &mut self,
        world: &mut World,
        scenarios: &[Scenario],
        stays: bool,
    ) -> anyhow::Result<()> {
        self.terminal.line("Aegis demo. Times are UTC, then minutes and seconds since the start.");
        let settings = world.settings().clone();
        self.say("demo", &format!("starting; everything is stored in {}", settings.paths.root.display()), &[]);
        world.deploy().await?;
        let seen = world.aegis.timeline(0).await.unwrap_or_default();
        self.seq = seen.iter().map(|entry| entry.seq).max().unwrap_or(0);
        self.old = world.aegis.incidents().await.unwrap_or_default().into_iter().map(|incident| incident.id).collect();
        world.start_load();
        let process = world.aegis_id().map_or_else(String::new, |id| format!(", process {id}"));
        let capacity = Capacity::for_rate(settings.base_rps).per_s(REPLICAS);
        let mut details = vec![
            format!("the three can answer {capacity:.0} per second that need the database"),
            format!("sample application  {}", world.app_url()),
            format!("Aegis               {}{process}", world.aegis.url),
        ];
        if settings.prometheus.is_some() {
            details.push(format!("metrics are kept in {}, a Prometheus", world.metrics.url));
        }
        if settings.has_upstream {
            let what = if settings.prometheus.is_some() { "logs and traces" } else { "metrics, logs and traces" };
            details.push(format!("{what} are kept in {}, a second Aegis", world.storage.url));
        }
        self.say("demo", &format!("running: 3 replicas, {} requests per second", settings.base_rps), &details);
        let data = Stopwatch::start();
        self.live(
            world,
            Duration::from_secs(20),
            None,
            |_| false,
            async |world: &World| world.metrics.has_data().await,
        )
        .await;
        self.say("demo", &format!("first metrics stored {:.1} s later", data.elapsed().as_secs_f64()), &[]);
        self.wait(world, WARM_UP, "learning what is usual").await;
        for (at, scenario) in scenarios.iter().enumerate() {
            let is_the_end = !stays && at + 1 == scenarios.len();
            let scored = self.scenario(world, *scenario, is_the_end).await?;
            self.scored.push(scored);
        }
        self.kpis = world.aegis.kpis().await.unwrap_or_default();
        if stays {
            self.stay(world).await;
        }
        Ok(())
    }

    /// Plays one scenario; nothing is put back in order when that is the end.
    async fn scenario(&mut self, world: &mut World, scenario: Scenario, is_the_end: bool) -> anyhow::Result<Scored> {
        let began = clock::now();
        self.say("scenario", &format!("{scenario}: {}", scenario.story()), &[]);
        let (onset, revision, ended) = match scenario {
            Scenario::Quiet | Scenario::BenignSurge => {
                set_factor(world, scenario.factor());
                self.wait(world, scenario.length(), "watching").await;
                (began, None, clock::now())
            }
            Scenario::CampaignSurge => {
                announce_campaign(world).await;
                set_factor(world, scenario.factor());
                self.say("demo", "onset: the campaign is out", &[]);
                self.until_settled(world, scenario, began).await;
                (began, None, clock::now())
            }
            Scenario::BadDeploy => {
                let before = world.revision().await.map(|(revision, _)| revision);
                world.apply(BAD_RELEASE).await?;
                let revision = self.until_deployed(world, before).await?;
                let onset = clock::now();
                self.say("demo", &format!("onset: the first replica of revision {revision} gets requests"), &[]);
                self.until_settled(world, scenario, began).await;
                (onset, Some(revision), clock::now())
            }
        };
        let last = tally(world, ended.minus(LAST.0), ended.minus(LAST.1));
        set_factor(world, 1.0);
        self.wait(world, AFTERMATH, "looking at what follows").await;
        if !is_the_end {
            self.reset(world).await;
        }

        let seen = Seen {
            scenario,
            seed: world.settings().seed,
            base_rps: world.settings().base_rps,
            onset,
            revision,
            incidents: self.since(began).cloned().collect(),
            tally: tally(world, onset, ended),
            last,
        };
        let scored = score(&seen);
        for incident in seen.incidents.iter().filter(|incident| incident.pages) {
            self.print_report(world, incident).await;
        }
        let result = if scored.passed { "passed" } else { "FAILED" };
        self.say("scenario", &format!("{scenario}: {result}"), &scored.why_not);
        Ok(scored)
    }

    /// Waits until Aegis has finished with an incident that calls a person, or the scenario's patience is over.
    async fn until_settled(&mut self, world: &mut World, scenario: Scenario, began: Timestamp) {
        let is_done = |play: &Self| {
            let mut paging = play.since(began).filter(|incident| incident.pages).peekable();
            paging.peek().is_some() && paging.all(Incident::is_settled)
        };
        self.live(world, scenario.length(), Some("waiting for Aegis"), is_done, async |_: &World| false).await;
    }

    /// Waits until a replica of a revision other than `before` gets requests.
    async fn until_deployed(&mut self, world: &mut World, before: Option<u64>) -> anyhow::Result<u64> {
        let watch = Stopwatch::start();
        while watch.elapsed() < RESET_LIMIT {
            if let Some((revision, true)) = world.revision().await
                && Some(revision) != before
            {
                return Ok(revision);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        anyhow::bail!("the new release was not ready after {} s", RESET_LIMIT.as_secs())
    }

    /// Back to how everything was: three replicas of the good release, no open incident, a while of calm.
    async fn reset(&mut self, world: &mut World) {
        if !world.is_calm(GOOD_RELEASE).await {
            self.say("demo", "back to three replicas of release 1.0.0", &[]);
            if let Err(error) = world.apply(GOOD_RELEASE).await {
                self.say("demo", &format!("this failed: {error:#}"), &[]);
            }
            self.live(
                world,
                RESET_LIMIT,
                Some("resetting"),
                |_| false,
                async |world: &World| world.is_calm(GOOD_RELEASE).await,
            )
            .await;
            self.wait(world, CALM, "until all is calm").await;
        }
        let is_calm = |play: &Self| play.incidents.iter().all(Incident::is_settled);
        if !self.live(world, CALM_LIMIT, Some("until incidents close"), is_calm, async |_: &World| false).await {
            self.say("demo", "an incident is still open; going on all the same", &[]);
        }
    }

    /// Keeps everything running and shown until the demo is told to stop.
    async fn stay(&mut self, world: &mut World) {
        self.summary(world).await;
        let details = [
            format!("incidents and timelines   {}/", world.aegis.url),
            format!("the sample application    {}/api/v1/users", world.app_url()),
        ];
        self.say("demo", "everything stays up with the usual traffic; Ctrl-C stops it", &details);
        loop {
            self.live(world, Duration::from_secs(3_600), None, |_| false, async |_: &World| false).await;
        }
    }

    /// Lets `time` pass.
    async fn wait(&mut self, world: &mut World, time: Duration, what: &str) {
        self.live(world, time, Some(what), |_| false, async |_: &World| false).await;
    }

    /// Shows what happens until one of the conditions holds (true) or `at_most` has passed (false).
    async fn live(
        &mut self,
        world: &mut World,
        at_most: Duration,
        what: Option<&str>,
        holds: impl Fn(&Self) -> bool,
        reached: impl AsyncFn(&World) -> bool,
    ) -> bool {
        let watch = Stopwatch::start();
        loop {
            self.poll(world).await;
            if holds(self) || reached(world).await {
                self.terminal.clear();
                return true;
            }
            let passed = watch.elapsed();
            if passed >= at_most {
                self.terminal.clear();
                return false;
            }
            if let Some(what) = what {
                let done = passed.as_secs_f64() / at_most.as_secs_f64();
                self.terminal.progress(clock::now(), what, done, at_most - passed);
            }
            tokio::time::sleep(POLL.min(at_most - passed)).await;
        }
    }

    async fn poll(&mut self, world: &mut World) {
        for news in world.keep(clock::now()) {
            self.say("demo", &news, &[]);
        }
        if let Some(entries) = world.aegis.timeline(self.seq).await {
            for entry in entries {
                self.seq = self.seq.max(entry.seq);
                let at = Timestamp(entry.at);
                self.terminal.event(&Event { at, label: &entry.stage, text: &entry.text, details: &entry.details });
            }
        }
        if let Some(incidents) = world.aegis.incidents().await {
            self.incidents = incidents.into_iter().filter(|incident| !self.old.contains(&incident.id)).collect();
        }
    }

    fn since(&self, began: Timestamp) -> impl Iterator<Item = &Incident> {
        self.incidents.iter().filter(move |incident| incident.began().is_some_and(|at| at >= began.0))
    }

    async fn print_report(&mut self, world: &World, incident: &Incident) {
        let Some(report) = world.aegis.report(&incident.id).await else { return };
        self.terminal.line("");
        for line in report.lines() {
            self.terminal.line(line);
        }
        self.terminal.line("");
    }

    /// Prints results and indicators.
    pub(crate) async fn summary(&mut self, world: &World) {
        self.kpis = match world.aegis.kpis().await {
            Some(kpis) => kpis,
            None => std::mem::take(&mut self.kpis),
        };
        self.terminal.line("");
        for line in render::results(&self.scored) {
            self.terminal.line(&line);
        }
        let facts = render::facts(&self.kpis);
        if !facts.is_empty() {
            self.terminal.line("");
            self.terminal.line("indicators that Aegis computed from its ledger");
        }
        for line in facts {
            self.terminal.line(&line);
        }
        self.terminal.line("");
    }

    fn say(&mut self, label: &str, text: &str, details: &[String]) {
        self.terminal.event(&Event { at: clock::now(), label, text, details });
    }
}

fn set_factor(world: &World, factor: f64) {
    if let Some(load) = &world.load {
        load.set_factor(factor);
    }
}

fn tally(world: &World, from: Timestamp, to: Timestamp) -> Tally {
    world.load.as_ref().map(|load| load.tally(from, to)).unwrap_or_default()
}

/// Somebody in marketing presses the button; the application writes it to its log.
async fn announce_campaign(world: &World) {
    let url = format!("{}/api/v1/campaigns", world.app_url());
    let wire = Wire::new(Duration::from_secs(5));
    // The log line is a hint for people; the scenario is the traffic.
    let _ = wire.send(Method::POST, &url, &[(AUTHORIZATION, "Bearer token")], Bytes::new()).await;
}
