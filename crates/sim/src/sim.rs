//! The loop itself: events in order of virtual time, and everything that can stop it.

mod alive;
mod effects;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use audit::{LEDGER_FILE, Ledger};
use control::{IncidentId, Input};
use detect::{State, Transition};
use policy::Permit;
use signal::{Labels, Severity, Timestamp};
use store::{Disk, Fault, MemoryDisk};

use crate::crash::CrashPoint;
use crate::laws;
use crate::run::Run;
use crate::script::{DiskFault, Script, SourceFault, Step};
use crate::world::World;
use alive::Alive;

/// When every run begins.
const EPOCH: Timestamp = Timestamp(1_700_000_000_000);
/// Distance of scrapes, and of looks at what they brought.
const SCRAPE: Duration = Duration::from_secs(5);
/// Pause before a record that could not be written is tried again, as in the binary.
const LEDGER_RETRY: Duration = Duration::from_secs(1);
/// How long a stopped Aegis stays down when nothing else is said.
const DOWN_S: u64 = 3;
pub(crate) const AUDIT: &str = "audit";

/// A run of one script.
#[derive(Debug)]
pub struct Sim {
    script: Script,
    now: Timestamp,
    world: World,
    disk: MemoryDisk,
    alive: Option<Alive>,
    /// Rises with every start; what was under way in an earlier life is lost.
    life: u64,
    events: BTreeMap<(Timestamp, u64), Event>,
    last_event: u64,
    stop: Option<CrashPoint>,
    sources: SourceFault,
    is_full: bool,
    most_by_hand: u32,
    not_opened: u64,
    broken: Vec<String>,
}

/// What happens at some time.
#[derive(Debug)]
enum Event {
    Start,
    Scrape,
    Step(Step),
    Hear { life: u64, input: Input },
    Act { life: u64, incident: IncidentId, permit: Permit },
    Wake { life: u64 },
    Retry { life: u64 },
}

impl Sim {
    /// A world at its beginning, with Aegis about to be started.
    #[must_use]
    pub fn new(script: &Script) -> Self {
        let mut sim = Self {
            now: EPOCH,
            world: World::new(&script.world, script.seed, EPOCH),
            disk: MemoryDisk::new(),
            alive: None,
            life: 0,
            events: BTreeMap::new(),
            last_event: 0,
            stop: script.stop.map(|stop| stop.at),
            sources: SourceFault::Up,
            is_full: false,
            most_by_hand: script.world.replicas,
            not_opened: 0,
            broken: Vec::new(),
            script: script.clone(),
        };
        sim.after(Duration::ZERO, Event::Start);
        sim.after(SCRAPE, Event::Scrape);
        for (at, step) in &script.steps {
            sim.after(Duration::from_secs(*at), Event::Step(*step));
        }
        sim
    }

    /// Runs to the end.
    #[must_use]
    pub fn run(mut self) -> Run {
        let end = EPOCH.plus(Duration::from_secs(self.script.until));
        while let Some(((at, _), event)) = self.events.pop_first() {
            if at > end || self.broken.len() > 20 || self.is_calm(at) {
                break;
            }
            self.now = at;
            self.happen(event);
            let most = self.script.limits.max_replicas;
            laws::check_target(&self.world.deployment, most, self.most_by_hand, &mut self.broken);
        }
        self.finish()
    }

    /// Whether the script allows to end here: nothing is open any more.
    fn is_calm(&self, at: Timestamp) -> bool {
        let may_end = self.script.calm_after.is_some_and(|after| at > EPOCH.plus(Duration::from_secs(after)));
        may_end && self.alive.as_ref().is_some_and(|alive| alive.conductor.incidents().next().is_none())
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Start => self.start(),
            Event::Scrape => self.scrape(),
            Event::Step(step) => self.step(step),
            Event::Hear { life, input } if life == self.life => self.hear(input),
            Event::Act { life, incident, permit } if life == self.life => self.act(incident, permit),
            Event::Wake { life } if life == self.life => self.hear(Input::Woke),
            Event::Retry { life } if life == self.life => self.pump(),
            Event::Hear { .. } | Event::Act { .. } | Event::Wake { .. } | Event::Retry { .. } => {}
        }
    }

    fn after(&mut self, wait: Duration, event: Event) {
        self.at(self.now.plus(wait), event);
    }

    fn at(&mut self, at: Timestamp, event: Event) {
        self.last_event += 1;
        self.events.insert((at, self.last_event), event);
    }

    fn hear(&mut self, input: Input) {
        if let Some(alive) = &mut self.alive {
            alive.inbox.push_back(input);
        }
        self.pump();
    }

    fn step(&mut self, step: Step) {
        let now = self.now;
        match step {
            Step::Load(factor) => self.world.load_factor = factor,
            Step::Deploy(share) => self.world.deployment.deploy(share, now),
            Step::Scale(to) => {
                self.most_by_hand = self.most_by_hand.max(to);
                self.world.deployment.scale_by_hand(to, now);
            }
            Step::Driver(fault) => self.world.deployment.fault = Some(fault),
            Step::Sources(fault) => self.sources = fault,
            Step::Disk(fault) => self.disk_step(fault),
            Step::Crash(down_s) => self.crash(down_s),
            Step::Pause(paused) => self.hear(Input::Paused { by: "operator".to_owned(), paused }),
            Step::Storm(services) => (0..services).for_each(|service| self.hear(Input::Alert(storm(service, now)))),
        }
    }

    fn disk_step(&mut self, fault: DiskFault) {
        match fault {
            DiskFault::Full => {
                let sizes = self.disk.files();
                let used: usize =
                    sizes.iter().filter_map(|file| self.disk.read(file).ok()).map(|bytes| bytes.len()).sum();
                self.disk.set_capacity(Some(used as u64));
                self.is_full = true;
            }
            DiskFault::Free => {
                self.disk.set_capacity(None);
                self.is_full = false;
            }
            DiskFault::Fails => self.disk.arm(0, Fault::Fails { kind: std::io::ErrorKind::Other, kept: 7 }),
            DiskFault::Torn => self.disk.arm(0, Fault::PowerLoss { kept: 33 }),
        }
    }

    /// Aegis stops here: what it knew and had under way is gone, and so is what the disk had not been told to keep.
    fn crash(&mut self, down_s: u64) {
        if let Some(alive) = self.alive.take() {
            self.not_opened += alive.conductor.not_opened();
        }
        self.life += 1;
        self.disk.restart();
        self.after(Duration::from_secs(down_s), Event::Start);
    }

    /// Whether the script stops Aegis here; it then does.
    fn stops_at(&mut self, here: CrashPoint) -> bool {
        if self.stop != Some(here) {
            return false;
        }
        self.stop = None;
        let down_s = self.script.stop.map_or(DOWN_S, |stop| stop.down_s);
        self.crash(down_s);
        true
    }

    /// Whether the power went; Aegis is then started again.
    fn power_went(&mut self) -> bool {
        if self.disk.list(Path::new(AUDIT)).is_ok() {
            return false;
        }
        self.crash(DOWN_S);
        true
    }

    fn finish(mut self) -> Run {
        let alive = self.alive.take();
        if alive.is_none() {
            self.broken.push("Aegis does not run at the end".to_owned());
        }
        let open = alive.as_ref().map_or(0, |alive| alive.conductor.incidents().count());
        let not_opened = self.not_opened + alive.as_ref().map_or(0, |alive| alive.conductor.not_opened());
        drop(alive);
        self.disk.set_capacity(None);
        self.disk.restart();
        let bytes = self.disk.read(&Path::new(AUDIT).join(LEDGER_FILE)).unwrap_or_default();
        let records = match Ledger::open(Path::new(AUDIT), &self.disk) {
            Ok((_, opened)) => opened.records,
            Err(problem) => {
                self.broken.push(format!("the ledger does not open: {problem}"));
                Vec::new()
            }
        };
        laws::check_ledger(&bytes, &records, &mut self.broken);
        laws::check_records(&self.world.deployment, &records, &mut self.broken);
        let timeline = audit::fold(&records);
        Run {
            kpis: audit::kpis(&timeline),
            broken: self.broken,
            timeline,
            records,
            open,
            not_opened,
            replicas: self.world.deployment.desired(),
            revision: self.world.deployment.revision,
            starts: self.life + 1,
            epoch: EPOCH,
            driver: self.world.deployment.calls,
        }
    }
}

/// One of many services that fire at once.
fn storm(service: u64, now: Timestamp) -> Transition {
    let service = format!("service-{service}");
    Transition {
        alert: "Anomaly".to_owned(),
        metric: "error_rate".to_owned(),
        labels: Labels::from_pairs([("alertname", "Anomaly"), ("service", &service)]),
        state: State::Fired,
        at: now,
        onset: now,
        severity: Severity::High,
        pages: true,
        value: 0.5,
        expected: Some(0.01),
        summary: format!("error rate of {service} is 50 %, usually 1 %"),
        service,
    }
}
