//! One life of Aegis: from a start to a stop.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use audit::{Ledger, OpenError as LedgerOpenError, Opened};
use control::{Conductor, Effect, EffectRecord, Input, Settings};
use detect::{Detector, DetectorSettings, Reading, Transition, Watch, default_watches};
use query::promql::Steps;
use signal::{Timestamp, format_duration};
use store::{Fault, OpenError as StoreOpenError, Store, StoreSettings};

use super::{AUDIT, EPOCH, Event, LEDGER_RETRY, SCRAPE, Sim};
use crate::answers;
use crate::crash::CrashPoint;
use crate::laws;

/// How long after a start that failed the next one is tried.
const START_RETRY: Duration = Duration::from_secs(5);

/// Everything Aegis knows while it runs.
#[derive(Debug)]
pub(super) struct Alive {
    pub(super) store: Store,
    pub(super) ledger: Ledger,
    pub(super) conductor: Conductor,
    detector: Detector,
    watches: Vec<Watch>,
    /// Inputs in order; the first waits while the ledger cannot be written.
    pub(super) inbox: VecDeque<Input>,
    /// Until when the first input waits.
    blocked_until: Option<Timestamp>,
    /// Whether the conductor has to be made anew from the ledger first.
    is_ahead: bool,
}

impl Sim {
    /// Opens store and ledger, takes up where the records end, and learns from history what is normal.
    pub(super) fn start(&mut self) {
        if self.alive.is_some() {
            return;
        }
        let store = Store::open(Path::new("data"), StoreSettings::default(), Arc::new(self.disk.clone()));
        let ledger = Ledger::open(Path::new(AUDIT), &self.disk);
        let (store, (ledger, opened)) = match (store, ledger) {
            (Ok(store), Ok(ledger)) => (store, ledger),
            _ if self.power_went() => return,
            (store, ledger) => {
                // A disk that refuses keeps Aegis from starting, and a service manager tries again; nothing else may.
                if !matches!(store, Ok(_) | Err(StoreOpenError::Io { .. })) {
                    self.broken.push(format!("the store does not open: {store:?}"));
                }
                if !matches!(ledger, Ok(_) | Err(LedgerOpenError::Io { .. })) {
                    self.broken.push(format!("the ledger does not open: {ledger:?}"));
                }
                self.after(START_RETRY, Event::Start);
                return;
            }
        };
        laws::check_records(&self.world.deployment, &opened.records, &mut self.broken);
        let watches = default_watches();
        let mut detector = Detector::new(DetectorSettings::default(), watches.clone());
        self.warm(&mut detector, &store, &watches);
        let conductor = restore(&opened);
        let firing: Vec<Transition> = conductor.incidents().flat_map(|open| open.symptoms.clone()).collect();
        detector.resume(&firing);
        let inbox = VecDeque::from([self.configured()]);
        self.alive =
            Some(Alive { store, ledger, conductor, detector, watches, inbox, blocked_until: None, is_ahead: false });
        self.pump();
    }

    fn configured(&self) -> Input {
        let mut settings = Settings::default();
        settings.verify.window = Duration::from_secs(30);
        settings.evidence_window = Duration::from_secs(30);
        settings.verify.step = Duration::from_secs(5);
        settings.verify.hold = Duration::from_secs(20);
        settings.check_every = Duration::from_secs(10);
        Input::Configured {
            version: "sim".to_owned(),
            settings,
            limits: self.script.limits.clone(),
            policies: vec![self.script.policy.clone()],
        }
    }

    fn warm(&self, detector: &mut Detector, store: &Store, watches: &[Watch]) {
        if self.now.since(EPOCH) < SCRAPE {
            return;
        }
        let snapshot = store.snapshot();
        let steps = Steps { start: EPOCH, end: self.now, step: SCRAPE };
        let mut rounds: BTreeMap<Timestamp, Vec<Reading>> = BTreeMap::new();
        for watch in watches {
            for one in answers::range(&snapshot, &query_of(watch), steps).unwrap_or_default() {
                let service = one.labels.get_or_empty("service");
                for sample in &one.samples {
                    let reading = reading(watch, service, sample.value);
                    rounds.entry(sample.at).or_default().push(reading);
                }
            }
        }
        for (at, readings) in rounds {
            detector.warm(at, &readings);
        }
    }

    /// Lets the world pass, keeps what it says, and looks at it.
    pub(super) fn scrape(&mut self) {
        let batch = self.world.pass(SCRAPE, self.now);
        self.after(SCRAPE, Event::Scrape);
        let Some(alive) = &mut self.alive else { return };
        // A batch that cannot be kept is lost, as a scrape is when the disk is full.
        let kept = alive.store.append(&[batch]);
        if kept.is_err() && self.power_went() {
            return;
        }
        let Some(alive) = &mut self.alive else { return };
        let snapshot = alive.store.snapshot();
        let mut readings = Vec::new();
        for watch in &alive.watches {
            for (labels, value) in answers::vector(&snapshot, &query_of(watch), self.now).unwrap_or_default() {
                readings.push(reading(watch, labels.get_or_empty("service"), value));
            }
        }
        readings.retain(|reading| !reading.service.is_empty());
        let seen = alive.detector.observe(self.now, &readings);
        alive.inbox.extend(seen.transitions.into_iter().map(Input::Alert));
        self.pump();
    }

    /// Decides on what was heard, as long as it can be put on record. Mirrors `ControlLoop::decide` of the binary.
    pub(super) fn pump(&mut self) {
        loop {
            let now = self.now;
            let Some(alive) = &mut self.alive else { return };
            if alive.blocked_until.is_some_and(|until| now < until) {
                return;
            }
            alive.blocked_until = None;
            if alive.is_ahead {
                match alive.ledger.reload(Path::new(AUDIT), &self.disk) {
                    Ok(opened) => {
                        alive.conductor = restore(&opened);
                        alive.is_ahead = false;
                    }
                    Err(_) => return self.wait_for_disk(),
                }
            }
            let Some(input) = alive.inbox.front().cloned() else { return };
            let record = alive.ledger.seq() + 1;
            let effects = alive.conductor.handle(input.clone(), now);
            let records: Vec<EffectRecord> = effects.iter().map(Effect::record).collect();
            if effects.is_empty() && matches!(input, Input::Woke) {
                alive.inbox.pop_front();
                continue;
            }
            if self.stops_at(CrashPoint::BeforeWrite { record }) {
                return;
            }
            if self.stop == Some(CrashPoint::DuringWrite { record }) {
                self.stop = None;
                self.disk.arm(0, Fault::PowerLoss { kept: 33 });
            }
            let Some(alive) = &mut self.alive else { return };
            if alive.ledger.heard(now, &input, &records).is_err() {
                alive.is_ahead = true;
                return self.wait_for_disk();
            }
            alive.inbox.pop_front();
            if self.stops_at(CrashPoint::AfterWrite { record }) {
                return;
            }
            for (at, effect) in effects.into_iter().enumerate() {
                self.perform(effect);
                if self.stops_at(CrashPoint::AfterEffect { record, effect: at }) {
                    return;
                }
            }
        }
    }

    fn wait_for_disk(&mut self) {
        if self.power_went() {
            return;
        }
        let until = self.now.plus(LEDGER_RETRY);
        if let Some(alive) = &mut self.alive {
            alive.blocked_until = Some(until);
        }
        self.at(until, Event::Retry { life: self.life });
    }
}

/// A conductor in the state the records leave it in. Their effects are not carried out again.
fn restore(opened: &Opened) -> Conductor {
    let mut conductor = Conductor::new();
    for record in &opened.records {
        drop(conductor.handle(record.heard.clone(), record.at));
    }
    conductor
}

fn reading(watch: &Watch, service: &str, value: f64) -> Reading {
    Reading { metric_type: watch.metric_type.clone(), service: service.to_owned(), value }
}

fn query_of(watch: &Watch) -> String {
    watch.query.replace("$window", &format_duration(Duration::from_secs(30)))
}
