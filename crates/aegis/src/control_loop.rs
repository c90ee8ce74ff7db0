//! The control thread: hears inputs, makes them durable with their effects, and only then carries the effects out.
//!
//! This is the one file that performs effects.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread;
use std::time::Duration;

use audit::{Ledger, Opened, Record, Timeline};
use control::{Conductor, Effect, EffectRecord, Fact, IncidentId, Input};
use diagnose::Question;
use local::LocalDriver;
use policy::{Permit, Proposal};
use remediate::Outcome;
use signal::{Timestamp, WriteBatch};
use store::OsDisk;
use tracing::{error, info, warn};
use web::Ingress;

use crate::clock::{self, Stopwatch};
use crate::instruments::{self, Instruments};
use crate::logging::chain;
use crate::sources::Sources;

/// How long a driver may take until its action counts as unknown.
const DRIVER_DEADLINE: Duration = Duration::from_secs(60);
/// Pause before a record that could not be written is tried again.
const LEDGER_RETRY: Duration = Duration::from_secs(1);
/// The longest sleep without a wake-up asked for.
const IDLE: Duration = Duration::from_secs(3600);

/// What the control thread owns and reaches.
pub(crate) struct ControlLoop {
    pub(crate) audit_dir: PathBuf,
    pub(crate) conductor: Conductor,
    pub(crate) ledger: Ledger,
    pub(crate) timeline: Arc<RwLock<Timeline>>,
    pub(crate) sources: Arc<Sources>,
    pub(crate) driver: Option<Arc<LocalDriver>>,
    pub(crate) instruments: Arc<Instruments>,
    pub(crate) ingress: Ingress,
    pub(crate) runtime: tokio::runtime::Handle,
    pub(crate) inputs: Sender<Input>,
}

/// A conductor in the state the records leave it in, with its timeline. Effects are not carried out: that was done when
/// they were recorded, or is taken up by the next `Configured`.
pub(crate) fn restore(opened: &Opened) -> (Conductor, Timeline) {
    let mut conductor = Conductor::new();
    let mut diverged = 0_u64;
    for record in &opened.records {
        let effects = conductor.handle(record.heard.clone(), record.at);
        let effects: Vec<EffectRecord> = effects.iter().map(Effect::record).collect();
        diverged += u64::from(effects != record.effects);
    }
    if diverged > 0 {
        warn!(records = diverged, "this version of Aegis would have decided otherwise on some records of the ledger");
    }
    (conductor, audit::fold(&opened.records))
}

impl ControlLoop {
    /// Handles inputs until every sender is gone.
    pub(crate) fn run(mut self, inputs: &Receiver<Input>) {
        let mut wakes: Vec<Timestamp> = Vec::new();
        loop {
            let now = clock::now();
            let next = wakes.iter().min().map_or(IDLE, |at| at.since(now));
            let input = match inputs.recv_timeout(next) {
                Ok(input) => input,
                Err(RecvTimeoutError::Timeout) => {
                    let now = clock::now();
                    let due = wakes.iter().any(|at| *at <= now);
                    wakes.retain(|at| *at > now);
                    if !due {
                        continue;
                    }
                    Input::Woke
                }
                Err(RecvTimeoutError::Disconnected) => return,
            };
            for effect in self.decide(&input) {
                if let Effect::Wake { at } = effect {
                    wakes.push(at);
                } else {
                    self.perform(effect);
                }
            }
        }
    }

    /// Hears one input; its effects come back once they are durable. A record that cannot be written is tried again
    /// from the state before it, for ever: nothing may act that is not on record.
    fn decide(&mut self, input: &Input) -> Vec<Effect> {
        loop {
            let now = clock::now();
            let effects = self.conductor.handle(input.clone(), now);
            let records: Vec<EffectRecord> = effects.iter().map(Effect::record).collect();
            if effects.is_empty() && matches!(input, Input::Woke) {
                return effects;
            }
            match self.ledger.heard(now, input, &records) {
                Ok(record) => {
                    self.tell(&record);
                    return effects;
                }
                Err(problem) => {
                    self.instruments.ledger_failed();
                    error!(error = %chain(&problem), "cannot write the ledger; nothing is done until it can be written");
                    // The conductor has heard the input already: only the state before it may hear it again.
                    while !self.reopen() {}
                }
            }
        }
    }

    /// Goes back to what the ledger on disk says; false when it cannot be read.
    fn reopen(&mut self) -> bool {
        thread::sleep(LEDGER_RETRY);
        match self.ledger.reload(&self.audit_dir, &OsDisk) {
            Ok(opened) => {
                self.conductor = restore(&opened).0;
                true
            }
            Err(problem) => {
                error!(error = %chain(&problem), "cannot read the ledger back");
                false
            }
        }
    }

    /// Shows a durable record: timeline, metrics, log, own traces.
    fn tell(&self, record: &Record) {
        let mut timeline = self.timeline.write().unwrap_or_else(PoisonError::into_inner);
        timeline.add(record);
        self.instruments.incidents(&timeline, self.conductor.not_opened());
        let action = record.effects.iter().find_map(|effect| match effect {
            EffectRecord::Note { fact, .. } => match &**fact {
                Fact::Proposed { proposal } => Some(proposal.action.name()),
                _ => None,
            },
            EffectRecord::Act { proposal, .. } => Some(proposal.action.name()),
            _ => None,
        });
        for effect in &record.effects {
            let EffectRecord::Note { incident, fact } = effect else { continue };
            if let Fact::Decided { answer, .. } = &**fact {
                self.instruments.evaluated(action.unwrap_or("undo"), answer);
            }
            self.tell_fact(*incident, fact, record.at, &timeline);
        }
    }

    fn tell_fact(&self, incident: IncidentId, fact: &Fact, at: Timestamp, timeline: &Timeline) {
        match fact {
            Fact::Opened { service, severity, summary, .. } => {
                warn!(%incident, %service, %severity, %summary, "incident opened");
            }
            Fact::Joined { summary } => info!(%incident, %summary, "symptom joined"),
            Fact::Diagnosed { diagnosis } => {
                let opened = timeline.incident(incident).map_or(at, |view| view.opened_at);
                self.instruments.predicted("diagnosis", diagnosis.is_resolved, at.since(opened));
                let cause = diagnosis.hypotheses.first().map_or("none", |cause| cause.title.as_str());
                info!(%incident, cause, resolved = diagnosis.is_resolved, "evidence weighed");
            }
            Fact::Proposed { proposal } => info!(%incident, action = %proposal.action, "action proposed"),
            Fact::Decided { answer, reason, .. } => info!(%incident, %answer, %reason, "policy decided"),
            Fact::Judged { assessment, .. } => {
                info!(%incident, verdict = ?assessment.verdict, reason = %assessment.reason, "effect judged");
            }
            Fact::Escalated { reason } => warn!(%incident, %reason, "a person is needed"),
            Fact::Closed { ending, .. } => {
                info!(%incident, ?ending, "incident closed");
                if let Some(view) = timeline.incident(incident) {
                    self.write_trace(instruments::incident_trace(view));
                }
            }
        }
    }

    /// Keeps a trace of the loop's own work beside everybody else's.
    fn write_trace(&self, spans: Vec<signal::Span>) {
        let ingress = self.ingress.clone();
        self.runtime.spawn(async move {
            let batch = WriteBatch { spans, ..WriteBatch::default() };
            if let Err(error) = ingress.write(batch).await {
                warn!(%error, "the trace of an incident is lost");
            }
        });
    }

    fn perform(&self, effect: Effect) {
        match effect {
            Effect::Gather { incident, questions } => {
                self.ask(questions, move |evidence| Input::Gathered { incident, evidence });
            }
            Effect::Check { incident, questions } => {
                self.ask(questions, move |evidence| Input::Checked { incident, evidence });
            }
            Effect::Act { incident, permit } => self.act(incident, permit),
            Effect::Inspect { incident, proposal } => self.inspect(incident, proposal),
            // Wakes are kept by `run`; notes were told when they became durable.
            Effect::Wake { .. } | Effect::Note { .. } => {}
        }
    }

    fn ask(&self, questions: Vec<Question>, input: impl FnOnce(diagnose::Evidence) -> Input + Send + 'static) {
        let (sources, inputs) = (Arc::clone(&self.sources), self.inputs.clone());
        self.runtime.spawn(async move {
            let evidence = sources.answer_all(questions).await;
            // The loop is gone only when Aegis is going down; the next start asks again.
            let _ = inputs.send(input(evidence));
        });
    }

    fn act(&self, incident: IncidentId, permit: Permit) {
        let proposal = permit.proposal().clone();
        let driver = self.driver.clone();
        self.on_thread(incident, proposal, "act", move |proposal| {
            let Some(driver) = driver else {
                return Outcome::Refused { reason: "no driver is configured".to_owned() };
            };
            match permit.redeem(clock::now()) {
                Ok(leave) => driver.perform(&leave, DRIVER_DEADLINE),
                // The driver was never asked, so it is safe to begin anew with fresh evidence.
                Err(late) => {
                    warn!(action = %proposal.action, error = %late, "a permit was not used in time");
                    Outcome::NeverStarted
                }
            }
        });
    }

    fn inspect(&self, incident: IncidentId, proposal: Proposal) {
        let driver = self.driver.clone();
        self.on_thread(incident, proposal, "inspect", move |proposal| match driver {
            Some(driver) => driver.inspect(&proposal.id),
            None => Outcome::Unknown { reason: "no driver is configured".to_owned() },
        });
    }

    /// Runs a blocking driver call beside the loop and brings its outcome.
    fn on_thread(
        &self,
        incident: IncidentId,
        proposal: Proposal,
        what: &'static str,
        call: impl FnOnce(&Proposal) -> Outcome + Send + 'static,
    ) {
        let (inputs, instruments) = (self.inputs.clone(), Arc::clone(&self.instruments));
        let failed = Input::Executed {
            incident,
            proposal: proposal.id.clone(),
            outcome: Outcome::Unknown { reason: "no thread could be started".to_owned() },
        };
        let spawned = thread::Builder::new().name(format!("driver-{what}")).spawn(move || {
            let watch = Stopwatch::start();
            let outcome = call(&proposal);
            info!(%incident, action = %proposal.action, target = %proposal.target, %outcome, "driver answered");
            if what == "act" {
                let name = mission_name(&proposal.action);
                instruments.acted(name, &proposal.target.namespace, &outcome, watch.elapsed());
            }
            let _ = inputs.send(Input::Executed { incident, proposal: proposal.id, outcome });
        });
        if spawned.is_err() {
            let _ = self.inputs.send(failed);
        }
    }
}

/// The action label of `executor_actions_total`.
fn mission_name(action: &policy::Action) -> &'static str {
    match action {
        policy::Action::Scale { .. } => "scale_deployment",
        policy::Action::RollBack { .. } => "rollback_deployment",
        policy::Action::Restart { .. } => "restart_deployment",
    }
}
