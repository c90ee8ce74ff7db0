//! The stateful limits: what was spent, what is running, whether acting is paused.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use signal::Timestamp;

use crate::{Action, Proposal, ProposalId, Target};

const HOUR: Duration = Duration::from_secs(3600);
/// How many past actions are remembered; older ones can neither be repeated by a driver nor undone.
const REMEMBERED: usize = 10_000;
/// What the id of an undo ends with.
pub(crate) const UNDO: &str = "/undo";

/// How much may be done, whatever the policies say. The defaults are careful.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LimitSettings {
    /// No deployment is scaled above this. Default 10.
    pub max_replicas: u32,
    /// One action multiplies or divides replicas by no more than this. Default 3.
    pub max_scale_factor: u32,
    /// Time that must pass between two actions of one name on one target. Default 5 minutes.
    pub cool_down: Duration,
    /// Actions per hour on one target that did not end as a fix. Default 4.
    pub actions_per_hour_target: u32,
    /// Actions per hour everywhere that did not end as a fix. Default 12.
    pub actions_per_hour_total: u32,
    /// Older evidence must be gathered again. Default 60 seconds.
    pub max_evidence_age: Duration,
    /// How long a permit can be redeemed. Default 30 seconds.
    pub permit_valid: Duration,
}

/// The limits' memory. Has no clock and does no I/O; a replay of the same calls gives the same state.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Limits {
    settings: LimitSettings,
    paused: bool,
    running: Vec<Running>,
    spent: Vec<Spent>,
}

/// An action that holds the lock of its target.
#[derive(Clone, PartialEq, Debug, Serialize)]
struct Running {
    id: ProposalId,
    target: Target,
    action: Action,
    since: Timestamp,
}

/// An action that was permitted at some time.
#[derive(Clone, PartialEq, Debug, Serialize)]
struct Spent {
    id: ProposalId,
    target: Target,
    name: &'static str,
    at: Timestamp,
    is_undo: bool,
    is_undone: bool,
    is_fixed: bool,
    is_withdrawn: bool,
}

impl Default for LimitSettings {
    fn default() -> Self {
        Self {
            max_replicas: 10,
            max_scale_factor: 3,
            cool_down: Duration::from_secs(300),
            actions_per_hour_target: 4,
            actions_per_hour_total: 12,
            max_evidence_age: Duration::from_secs(60),
            permit_valid: Duration::from_secs(30),
        }
    }
}

impl Limits {
    /// Nothing spent, nothing running.
    #[must_use]
    pub fn new(settings: LimitSettings) -> Self {
        Self { settings, paused: false, running: Vec::new(), spent: Vec::new() }
    }

    /// The settings in force.
    #[must_use]
    pub fn settings(&self) -> &LimitSettings {
        &self.settings
    }

    /// Other settings from now on; what was spent stays spent.
    pub fn reconfigure(&mut self, settings: LimitSettings) {
        self.settings = settings;
    }

    /// Releases the target of `id`. A fix gives back its part of the hourly budgets, nothing else does; the cool-down stays.
    ///
    /// Unknown ids and repeated calls change nothing.
    pub fn settle(&mut self, id: &ProposalId, fixed: bool, now: Timestamp) {
        self.running.retain(|running| running.id != *id);
        if let Some(spent) = self.spent.iter_mut().rev().find(|spent| spent.id == *id) {
            spent.is_fixed |= fixed;
        }
        self.forget(now);
    }

    /// As [`Limits::settle`] for an action that certainly never reached its target: no cool-down follows from it, and
    /// what it was to take back may be taken back again. It still counts in the hourly budgets, so that nothing can be
    /// started over and over.
    pub fn withdraw(&mut self, id: &ProposalId, now: Timestamp) {
        self.settle(id, false, now);
        let Some(withdrawn) = self.spent.iter_mut().rev().find(|spent| spent.id == *id) else { return };
        withdrawn.is_withdrawn = true;
        let original = id.0.strip_suffix(UNDO).filter(|_| withdrawn.is_undo).map(str::to_owned);
        if let Some(spent) = self.spent.iter_mut().find(|spent| Some(&spent.id.0) == original.as_ref()) {
            spent.is_undone = false;
        }
    }

    /// Stops or allows all acting at once.
    pub fn set_paused(&mut self, paused: bool) {
        self.paused = paused;
    }

    /// Whether an operator has paused all acting.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// The proposal that holds the target's lock.
    #[must_use]
    pub fn running_on(&self, target: &Target) -> Option<&ProposalId> {
        self.running.iter().find(|running| running.target == *target).map(|running| &running.id)
    }

    /// Names the first limit that `proposal` would break.
    pub(crate) fn check(&self, proposal: &Proposal, now: Timestamp) -> Result<(), String> {
        if self.paused {
            return Err("paused by an operator".to_owned());
        }
        if self.spent.iter().any(|spent| spent.id == proposal.id) {
            return Err(format!("proposal {} was permitted before; each is good for one permit", proposal.id));
        }
        self.check_evidence(proposal, now)?;
        self.check_lock(&proposal.target, None)?;
        self.check_size(&proposal.action)?;
        self.check_cool_down(proposal, now)?;
        self.check_budgets(&proposal.target, now)
    }

    /// As [`Limits::check`] for taking back `original` by `undo`: once, only what was permitted. Neither the cool-down nor
    /// the age of the evidence counts, for the failed verification is fresh evidence.
    pub(crate) fn check_undo(&self, original: &ProposalId, undo: &Proposal, now: Timestamp) -> Result<(), String> {
        if self.paused {
            return Err("paused by an operator".to_owned());
        }
        let Some(spent) = self.spent.iter().find(|spent| spent.id == *original) else {
            return Err(format!("proposal {original} was never permitted, so there is nothing to undo"));
        };
        if spent.is_undo {
            return Err(format!("{original} is itself an undo; a person decides now"));
        }
        let was_undone = |spent: &Spent| spent.id == undo.id && !spent.is_withdrawn;
        if spent.is_undone || self.spent.iter().any(was_undone) {
            return Err(format!("proposal {original} was undone before; once is all"));
        }
        if spent.target != undo.target {
            return Err(format!("proposal {original} was about {}, not {}", spent.target, undo.target));
        }
        self.check_lock(&undo.target, Some(original))?;
        self.check_size(&undo.action)?;
        self.check_budgets(&undo.target, now)
    }

    /// Locks the target and spends from the budgets.
    pub(crate) fn reserve(&mut self, proposal: &Proposal, undoes: Option<&ProposalId>, now: Timestamp) {
        if let Some(original) = undoes {
            self.running.retain(|running| running.id != *original);
            if let Some(spent) = self.spent.iter_mut().find(|spent| spent.id == *original) {
                spent.is_undone = true;
            }
        }
        self.running.push(Running {
            id: proposal.id.clone(),
            target: proposal.target.clone(),
            action: proposal.action.clone(),
            since: now,
        });
        self.spent.push(Spent {
            id: proposal.id.clone(),
            target: proposal.target.clone(),
            name: proposal.action.name(),
            at: now,
            is_undo: undoes.is_some(),
            is_undone: false,
            is_fixed: false,
            is_withdrawn: false,
        });
        self.forget(now);
    }

    fn check_evidence(&self, proposal: &Proposal, now: Timestamp) -> Result<(), String> {
        let limit = self.settings.max_evidence_age;
        let age = now.since(proposal.evidence_at);
        if age > limit {
            return Err(format!("evidence is {} s old, limit {} s", ceil_secs(age), limit.as_secs()));
        }
        if proposal.evidence_at.since(now) > limit {
            return Err(format!("evidence is dated {} s ahead of now", ceil_secs(proposal.evidence_at.since(now))));
        }
        Ok(())
    }

    fn check_lock(&self, target: &Target, except: Option<&ProposalId>) -> Result<(), String> {
        let holder = self.running.iter().find(|running| running.target == *target && Some(&running.id) != except);
        match holder {
            Some(holder) => Err(format!("another action on {target} is running ({}, {})", holder.id, holder.action)),
            None => Ok(()),
        }
    }

    fn check_size(&self, action: &Action) -> Result<(), String> {
        match action {
            Action::Scale { from, to } => self.check_scale(*from, *to),
            Action::RollBack { from, to } if from == to || *to == 0 => {
                Err(format!("roll back from revision {from} to {to} names no older revision"))
            }
            Action::RollBack { .. } | Action::Restart { .. } => Ok(()),
        }
    }

    fn check_scale(&self, from: u32, to: u32) -> Result<(), String> {
        let (max, factor) = (self.settings.max_replicas, self.settings.max_scale_factor);
        if to == from {
            return Err(format!("scale {from} -> {to} changes nothing"));
        }
        if to == 0 {
            return Err("scaling to 0 replicas would stop the service".to_owned());
        }
        if to > from && to > max {
            return Err(format!("max_replicas {max}: {to} replicas are too many"));
        }
        // From nothing to something there is no factor; max_replicas alone bounds it.
        let (less, more) = (from.min(to), from.max(to));
        if less > 0 && more > less.saturating_mul(factor) {
            return Err(format!("max_scale_factor {factor}: {from} -> {to} is too large a step"));
        }
        Ok(())
    }

    fn check_cool_down(&self, proposal: &Proposal, now: Timestamp) -> Result<(), String> {
        let (name, cool_down) = (proposal.action.name(), self.settings.cool_down);
        let last = self
            .spent
            .iter()
            .filter(|spent| spent.target == proposal.target && spent.name == name && !spent.is_withdrawn);
        let Some(last) = last.map(|spent| spent.at).max() else { return Ok(()) };
        let passed = now.since(last);
        if passed >= cool_down {
            return Ok(());
        }
        Err(format!(
            "cool-down: {} was {} {} s ago, {} s must pass",
            proposal.target,
            Action::participle(name),
            passed.as_secs(),
            ceil_secs(cool_down)
        ))
    }

    fn check_budgets(&self, target: &Target, now: Timestamp) -> Result<(), String> {
        let (mut here, mut everywhere) = (0_u32, 0_u32);
        for spent in self.spent.iter().filter(|spent| !spent.is_fixed && now.since(spent.at) < HOUR) {
            everywhere = everywhere.saturating_add(1);
            here = here.saturating_add(u32::from(spent.target == *target));
        }
        if here >= self.settings.actions_per_hour_target {
            let limit = self.settings.actions_per_hour_target;
            return Err(format!(
                "actions_per_hour_target {limit}: {here} on {target} in the last hour did not end as a fix"
            ));
        }
        if everywhere >= self.settings.actions_per_hour_total {
            let limit = self.settings.actions_per_hour_total;
            return Err(format!("actions_per_hour_total {limit}: {everywhere} in the last hour did not end as a fix"));
        }
        Ok(())
    }

    /// Drops the oldest actions beyond what is remembered, never one that still counts.
    fn forget(&mut self, now: Timestamp) {
        let keep = HOUR.max(self.settings.cool_down);
        let surplus = self.spent.len().saturating_sub(REMEMBERED);
        let old = self.spent.iter().take(surplus).take_while(|spent| now.since(spent.at) > keep).count();
        self.spent.drain(..old);
    }
}

/// Whole seconds, rounded up, so that a breach by a fraction does not read "60 s old, limit 60 s".
fn ceil_secs(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}
