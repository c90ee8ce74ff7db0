//! From a proposal to a decision: limits first, then policies.

use serde_json::{Map, Value};
use signal::Timestamp;

use crate::engine::{Answer, Workload, quoted};
use crate::limits::UNDO;
use crate::{Limits, Permit, Policy, Proposal, ProposalId};

/// What became of a proposal.
#[derive(Debug, PartialEq)]
pub enum Decision {
    /// It may be done once, soon. The target is locked until [`Limits::settle`].
    Permitted(Permit),
    /// A policy permits it once somebody has agreed. Nothing is locked.
    NeedsApproval {
        /// Who to ask, and about what.
        reason: String,
        /// The policies that want to be asked about.
        policies: Vec<String>,
    },
    /// It may not be done.
    Denied {
        /// The limit or the policy that says no.
        reason: String,
        /// The policies that forbid it; empty when a limit or the absence of a policy denies.
        policies: Vec<String>,
    },
}

/// An authenticated person who agrees to a proposal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Approver {
    /// Who.
    pub name: String,
    /// The groups the person belongs to.
    pub groups: Vec<String>,
}

impl Policy {
    /// May Aegis do this now? Reserves the target and spends from the budgets when permitted.
    #[must_use = "a permit that is dropped leaves its target locked until settled"]
    pub fn decide(&self, proposal: &Proposal, limits: &mut Limits, now: Timestamp) -> Decision {
        if let Err(reason) = check_confidence(proposal).and_then(|()| limits.check(proposal, now)) {
            return denied(&reason);
        }
        self.conclude(proposal, None, None, limits, now)
    }

    /// As [`Policy::decide`] after `approver` has agreed; everything is checked again. Aegis cannot approve itself.
    #[must_use = "a permit that is dropped leaves its target locked until settled"]
    pub fn decide_approved(
        &self,
        proposal: &Proposal,
        approver: &Approver,
        limits: &mut Limits,
        now: Timestamp,
    ) -> Decision {
        if approver.name == "aegis" {
            return denied("nobody approves their own proposal");
        }
        if let Err(reason) = check_confidence(proposal).and_then(|()| limits.check(proposal, now)) {
            return denied(&reason);
        }
        self.conclude(proposal, None, Some(approver), limits, now)
    }

    /// May Aegis take back what it did under `original`? Once only; policies see `context.undo == true`; the cool-down and
    /// the age of the evidence do not count. The undo is named `<original>/undo`.
    #[must_use = "a permit that is dropped leaves its target locked until settled"]
    pub fn decide_undo(&self, original: &Proposal, limits: &mut Limits, now: Timestamp) -> Decision {
        let Some(action) = original.action.inverse() else {
            return denied(&format!("{} cannot be taken back", original.action));
        };
        let undo = Proposal {
            id: ProposalId(format!("{}{UNDO}", original.id)),
            action,
            reason: format!("take back {}: it did not help", original.id),
            ..original.clone()
        };
        if let Err(reason) = check_confidence(&undo).and_then(|()| limits.check_undo(&original.id, &undo, now)) {
            return denied(&reason);
        }
        self.conclude(&undo, Some(&original.id), None, limits, now)
    }

    fn conclude(
        &self,
        proposal: &Proposal,
        undoes: Option<&ProposalId>,
        approver: Option<&Approver>,
        limits: &mut Limits,
        now: Timestamp,
    ) -> Decision {
        let action = proposal.action.name();
        let workload = Workload { target: &proposal.target, service: &proposal.service };
        let policies = match self.answer_about(&workload, action, context(proposal, undoes.is_some(), now)) {
            Answer::Permitted { policies } => policies,
            Answer::Ask { groups, policies } => {
                let agrees = |approver: &Approver| groups.iter().any(|group| approver.groups.contains(group));
                if !approver.is_some_and(agrees) {
                    let reason = format!("{action} on {} needs approval by {}", proposal.target, quoted(&groups));
                    return Decision::NeedsApproval { reason, policies };
                }
                policies
            }
            Answer::Denied { reason, policies } => return Decision::Denied { reason, policies },
        };
        limits.reserve(proposal, undoes, now);
        Decision::Permitted(Permit::mint(proposal.clone(), policies, now, limits.settings().permit_valid))
    }
}

fn denied(reason: &str) -> Decision {
    Decision::Denied { reason: format!("denied: {reason}"), policies: Vec::new() }
}

fn check_confidence(proposal: &Proposal) -> Result<(), String> {
    if (0.0..=1.0).contains(&proposal.confidence) {
        return Ok(());
    }
    Err(format!("confidence {} is not between 0 and 1", proposal.confidence))
}

/// The circumstances as the schema names them.
fn context(proposal: &Proposal, is_undo: bool, now: Timestamp) -> Map<String, Value> {
    let (from, to) = match proposal.action {
        crate::Action::Scale { from, to } => (u64::from(from), u64::from(to)),
        crate::Action::RollBack { from, to } => (from, to),
        crate::Action::Restart { revision } => (revision, revision),
    };
    // Rounded down: 79.9 % is not yet 80 %.
    let percent = (proposal.confidence * 100.0 + 1e-9).floor().clamp(0.0, 100.0) as i64;
    let age = i64::try_from(now.since(proposal.evidence_at).as_secs()).unwrap_or(i64::MAX);
    let long = |value: u64| Value::from(i64::try_from(value).unwrap_or(i64::MAX));
    Map::from_iter([
        ("severity".to_owned(), Value::from(proposal.severity.as_str())),
        ("automated".to_owned(), Value::from(true)),
        ("confidence".to_owned(), Value::from(percent)),
        ("cause".to_owned(), Value::from(proposal.cause.as_str())),
        ("from".to_owned(), long(from)),
        ("to".to_owned(), long(to)),
        ("evidence_age_s".to_owned(), Value::from(age)),
        ("undo".to_owned(), Value::from(is_undo)),
    ])
}

#[cfg(test)]
mod tests;
