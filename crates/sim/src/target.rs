//! The fake deployment and its driver.

use std::time::Duration;

use diagnose::{Change, ChangeKind, Revision, Workload};
use policy::{Action, Leave, ProposalId, Target};
use remediate::Outcome;
use signal::Timestamp;

use crate::script::DriverFault;

/// How the made-up service is built.
#[derive(Clone, PartialEq, Debug)]
pub struct WorldSettings {
    /// Requests per second before anything happens.
    pub load: f64,
    /// Replicas at the start.
    pub replicas: u32,
    /// Database connections of each replica.
    pub pool: u32,
    /// How long a request holds its connection, in milliseconds.
    pub service_ms: f64,
    /// Largest relative deviation of the load from one reading to the next.
    pub noise: f64,
}

impl Default for WorldSettings {
    fn default() -> Self {
        Self { load: 50.0, replicas: 3, pool: 2, service_ms: 69.0, noise: 0.08 }
    }
}

/// One call that changed the target.
#[derive(Clone, PartialEq, Debug)]
pub struct Call {
    /// The idempotency key.
    pub id: ProposalId,
    /// What was done.
    pub action: Action,
    /// When it began.
    pub from: Timestamp,
    /// When it was finished.
    pub until: Timestamp,
    /// What came of it.
    pub outcome: Outcome,
}

/// One replica that runs or ran.
#[derive(Clone, Debug)]
pub(crate) struct Replica {
    pub(crate) instance: String,
    pub(crate) revision: u64,
    pub(crate) started: Timestamp,
    pub(crate) ready_at: Timestamp,
}

/// The deployment `production/backend`, outside of Aegis: it knows nothing of crashes.
#[derive(Clone, Debug)]
pub(crate) struct Deployment {
    pub(crate) target: Target,
    pub(crate) replicas: Vec<Replica>,
    pub(crate) revision: u64,
    revisions: Vec<Template>,
    changes: Vec<Change>,
    /// Calls that changed something or tried to.
    pub(crate) calls: Vec<Call>,
    /// How the next call goes wrong.
    pub(crate) fault: Option<DriverFault>,
    /// While an action does harm: by what factor the database is slower.
    pub(crate) harm: f64,
    started: u64,
}

/// A revision and what its template does wrong.
#[derive(Clone, Debug)]
struct Template {
    revision: Revision,
    error_share: f64,
}

/// How long a fresh replica needs until it serves.
const STARTUP: Duration = Duration::from_secs(2);
/// How long a change takes until the driver calls it done.
const CHANGE: Duration = Duration::from_secs(4);
/// How long the driver waits until it says that it does not know.
const DEADLINE: Duration = Duration::from_secs(60);

impl Deployment {
    pub(crate) fn new(replicas: u32, at: Timestamp) -> Self {
        let mut deployment = Self {
            target: Target { namespace: "production".to_owned(), name: "backend".to_owned() },
            replicas: Vec::new(),
            revision: 1,
            revisions: vec![template(1, at, "1.0.0", 0.0)],
            changes: vec![change(at, ChangeKind::Deploy, "revision 1 (1.0.0)", "operator")],
            calls: Vec::new(),
            fault: None,
            harm: 1.0,
            started: 0,
        };
        deployment.scale(replicas, at.minus(STARTUP));
        deployment
    }

    pub(crate) fn ready(&self, now: Timestamp) -> impl Iterator<Item = &Replica> {
        self.replicas.iter().filter(move |replica| replica.ready_at <= now)
    }

    pub(crate) fn error_share(&self, revision: u64) -> f64 {
        self.revisions.iter().find(|known| known.revision.number == revision).map_or(0.0, |known| known.error_share)
    }

    pub(crate) fn desired(&self) -> u32 {
        u32::try_from(self.replicas.len()).unwrap_or(u32::MAX)
    }

    /// A person rolls out a new revision.
    pub(crate) fn deploy(&mut self, error_share: f64, now: Timestamp) {
        self.revision += 1;
        let label = format!("{}.0.0", self.revision);
        self.revisions.push(template(self.revision, now, &label, error_share));
        self.changes.push(change(
            now,
            ChangeKind::Deploy,
            &format!("revision {} ({label})", self.revision),
            "operator",
        ));
        self.replace_all(now);
    }

    /// A person sets the number of replicas.
    pub(crate) fn scale_by_hand(&mut self, to: u32, now: Timestamp) {
        self.changes.push(change(now, ChangeKind::Scale, &format!("scale to {to}"), "operator"));
        self.harm = 1.0;
        self.scale(to, now);
    }

    pub(crate) fn workload(&self, now: Timestamp) -> Workload {
        Workload {
            target: self.target.clone(),
            service: "backend".to_owned(),
            desired: self.desired(),
            ready: u32::try_from(self.ready(now).count()).unwrap_or(u32::MAX),
            revision: self.revision,
            revisions: self.revisions.iter().map(|known| known.revision.clone()).collect(),
            changes: self.changes.clone(),
        }
    }

    /// The driver: does what the leave says, once for each key, guarded by what the proposer saw. Answers with the time
    /// at which the caller hears of it.
    pub(crate) fn perform(&mut self, leave: &Leave, now: Timestamp) -> (Outcome, Timestamp) {
        if let Some(known) = self.calls.iter().find(|call| call.id == *leave.id()) {
            return (known.outcome.clone(), known.until.max(now));
        }
        let fault = self.fault.take();
        let until = match fault {
            Some(DriverFault::Slow { seconds }) => now.plus(Duration::from_secs(seconds)),
            Some(DriverFault::Refuses) => now,
            Some(
                DriverFault::Unknown
                | DriverFault::UnknownNotDone
                | DriverFault::Fails
                | DriverFault::Late { .. }
                | DriverFault::Worse,
            )
            | None => now.plus(CHANGE),
        };
        let outcome = match fault {
            Some(DriverFault::Refuses) => Outcome::Refused { reason: "the target is frozen".to_owned() },
            Some(DriverFault::Fails) => Outcome::Failed { reason: "no replica became ready".to_owned() },
            Some(DriverFault::UnknownNotDone) => Outcome::Unknown { reason: "the connection broke".to_owned() },
            Some(DriverFault::Unknown | DriverFault::Slow { .. } | DriverFault::Late { .. } | DriverFault::Worse)
            | None => self.change(leave.action(), now),
        };
        let is_done = matches!(outcome, Outcome::Done { .. });
        if is_done {
            self.harm = if fault == Some(DriverFault::Worse) { 10.0 } else { 1.0 };
        }
        let call = Call { id: leave.id().clone(), action: leave.action().clone(), from: now, until, outcome };
        let said = match fault {
            Some(DriverFault::Unknown) if is_done => Outcome::Unknown { reason: "the connection broke".to_owned() },
            Some(DriverFault::Slow { .. }) if until > now.plus(DEADLINE) => {
                Outcome::Unknown { reason: format!("no answer within {} s", DEADLINE.as_secs()) }
            }
            _ => call.outcome.clone(),
        };
        self.calls.push(call);
        (said, until.min(now.plus(DEADLINE)))
    }

    /// What became of a key.
    pub(crate) fn inspect(&self, id: &ProposalId, now: Timestamp) -> Outcome {
        match self.calls.iter().find(|call| call.id == *id) {
            Some(call) if call.until > now => Outcome::Unknown { reason: format!("{id} is still being carried out") },
            Some(call) => call.outcome.clone(),
            None => Outcome::NeverStarted,
        }
    }

    fn change(&mut self, action: &Action, now: Timestamp) -> Outcome {
        match action {
            Action::Scale { from, .. } if *from != self.desired() => {
                Outcome::Refused { reason: format!("{} replicas are wanted, not {from}", self.desired()) }
            }
            Action::Scale { from, to } => {
                self.changes.push(change(now, ChangeKind::Scale, &format!("scale {from} -> {to}"), "aegis"));
                self.scale(*to, now);
                Outcome::Done { detail: format!("{to} replicas"), was: u64::from(*from), is: u64::from(*to) }
            }
            Action::RollBack { from, to } => self.roll_back(*from, *to, now),
            Action::Restart { revision } if *revision != self.revision => {
                Outcome::Refused { reason: format!("revision {} runs, not {revision}", self.revision) }
            }
            Action::Restart { revision } => {
                self.changes.push(change(now, ChangeKind::Restart, "restart", "aegis"));
                self.replace_all(now);
                Outcome::Done { detail: "restarted".to_owned(), was: *revision, is: *revision }
            }
        }
    }

    /// Makes a new revision of an old template. Guarded by the template that runs.
    fn roll_back(&mut self, from: u64, to: u64, now: Timestamp) -> Outcome {
        let label = |number: u64| {
            self.revisions.iter().find(|known| known.revision.number == number).map(|known| &known.revision.label)
        };
        if label(from) != label(self.revision) {
            return Outcome::Refused { reason: format!("revision {} runs, not {from}", self.revision) };
        }
        let Some(wanted) = self.revisions.iter().find(|known| known.revision.number == to).cloned() else {
            return Outcome::Refused { reason: format!("there is no revision {to}") };
        };
        let was = self.revision;
        self.revision += 1;
        self.revisions.push(template(self.revision, now, &wanted.revision.label, wanted.error_share));
        let text = format!("revision {} ({})", self.revision, wanted.revision.label);
        self.changes.push(change(now, ChangeKind::RollBack, &text, "aegis"));
        self.replace_all(now);
        Outcome::Done { detail: text, was, is: self.revision }
    }

    fn scale(&mut self, to: u32, now: Timestamp) {
        self.replicas.truncate(to as usize);
        while self.desired() < to {
            self.start(now);
        }
    }

    fn replace_all(&mut self, now: Timestamp) {
        let count = self.desired();
        self.replicas.clear();
        for _ in 0..count {
            self.start(now);
        }
    }

    fn start(&mut self, now: Timestamp) {
        self.started += 1;
        self.replicas.push(Replica {
            instance: format!("10.0.0.{}:8080", self.started),
            revision: self.revision,
            started: now,
            ready_at: now.plus(STARTUP),
        });
    }
}

fn template(number: u64, at: Timestamp, label: &str, error_share: f64) -> Template {
    Template { revision: Revision { number, at, label: label.to_owned() }, error_share }
}

fn change(at: Timestamp, kind: ChangeKind, text: &str, by: &str) -> Change {
    Change { at, kind, text: text.to_owned(), by: by.to_owned() }
}
