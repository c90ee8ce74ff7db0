//! From a diagnosis to one typed action, or to a named reason why there is none.

use diagnose::{CauseKind, Diagnosis, Evidence, Hypothesis, Workload};
use policy::{Action, LimitSettings, Proposal, ProposalId};
use serde::{Deserialize, Serialize};
use signal::Severity;

/// Why no action is proposed; a person is called instead.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case", tag = "refusal")]
pub enum Refusal {
    /// The evidence does not point to one cause clearly enough.
    #[error("the cause is not certain enough to act on")]
    CauseUnresolved,
    /// No driver knows a deployment that runs this service.
    #[error("no driver knows a deployment that runs `{service}`")]
    TargetUnknown {
        /// The service.
        service: String,
    },
    /// For this cause no automatic action is known to be safe.
    #[error("no automatic action is safe for `{cause}`")]
    NoSafeAction {
        /// Snake-case cause kind.
        cause: String,
    },
    /// The load could not be measured, so no number of replicas can be named.
    #[error("load and capacity per replica could not be measured")]
    LoadUnmeasured,
    /// The deployment already has as many replicas as the limits allow, or as the load needs.
    #[error("{replicas} replicas are running and no more would help or be allowed (limit {limit})")]
    AtMaximum {
        /// Running now.
        replicas: u32,
        /// The limit in force.
        limit: u32,
    },
    /// There is no earlier revision to go back to.
    #[error("revision {revision} is the only one on record")]
    NoPriorRevision {
        /// The current revision.
        revision: u64,
    },
    /// The suspected revision is not the one that runs.
    #[error("revision {suspect} is suspected but {running} is running")]
    RevisionMoved {
        /// Named by the diagnosis.
        suspect: u64,
        /// Named by the driver.
        running: u64,
    },
}

/// What to do about the leading hypothesis.
///
/// `severity` is the worst among the symptoms. Replicas are what the diagnosis measured to be enough, never more than
/// `limits` allow in total or in one step.
///
/// # Errors
/// A [`Refusal`] names why nothing may be proposed.
pub fn propose(
    id: ProposalId,
    diagnosis: &Diagnosis,
    evidence: &Evidence,
    severity: Severity,
    limits: &LimitSettings,
) -> Result<Proposal, Refusal> {
    let cause = diagnosis.hypotheses.first().filter(|_| diagnosis.is_resolved).ok_or(Refusal::CauseUnresolved)?;
    let workload = evidence
        .workloads()
        .find(|workload| workload.service == cause.service)
        .ok_or_else(|| Refusal::TargetUnknown { service: cause.service.clone() })?;
    let action = match cause.kind {
        CauseKind::PoolExhaustion | CauseKind::TrafficSurge => scale_out(cause, workload, limits)?,
        CauseKind::BadDeploy => roll_back(cause, workload)?,
        CauseKind::CrashLoop => match cause.revision {
            Some(_) => roll_back(cause, workload)?,
            None => return Err(no_safe_action(cause)),
        },
        CauseKind::SlowDependency | CauseKind::ResourceExhaustion | CauseKind::Unknown => {
            return Err(no_safe_action(cause));
        }
    };
    Ok(Proposal {
        id,
        service: cause.service.clone(),
        target: workload.target.clone(),
        action,
        cause: cause.kind.as_str().to_owned(),
        confidence: cause.confidence,
        severity,
        evidence_at: evidence.gathered_at,
        reason: cause.title.clone(),
    })
}

fn no_safe_action(cause: &Hypothesis) -> Refusal {
    Refusal::NoSafeAction { cause: cause.kind.as_str().to_owned() }
}

fn scale_out(cause: &Hypothesis, workload: &Workload, limits: &LimitSettings) -> Result<Action, Refusal> {
    let sizing = cause.sizing.ok_or(Refusal::LoadUnmeasured)?;
    let from = workload.desired;
    let limit = limits.max_replicas.min(from.saturating_mul(limits.max_scale_factor));
    let to = sizing.replicas.min(limit);
    if to <= from {
        return Err(Refusal::AtMaximum { replicas: from, limit });
    }
    Ok(Action::Scale { from, to })
}

fn roll_back(cause: &Hypothesis, workload: &Workload) -> Result<Action, Refusal> {
    let running = workload.revision;
    if let Some(suspect) = cause.revision.filter(|suspect| *suspect != running) {
        return Err(Refusal::RevisionMoved { suspect, running });
    }
    let earlier = workload.revisions.iter().map(|revision| revision.number).filter(|number| *number < running).max();
    let to = earlier.ok_or(Refusal::NoPriorRevision { revision: running })?;
    Ok(Action::RollBack { from: running, to })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use diagnose::{Answer, Item, Question, Revision, Sizing};
    use policy::Target;
    use signal::Timestamp;

    use super::*;

    fn limits() -> LimitSettings {
        LimitSettings {
            max_replicas: 10,
            max_scale_factor: 4,
            cool_down: Duration::from_secs(60),
            ..LimitSettings::default()
        }
    }

    fn case(kind: CauseKind, edit: impl FnOnce(&mut Diagnosis, &mut Workload)) -> Result<Action, Refusal> {
        let mut workload = Workload {
            target: Target { namespace: "production".into(), name: "backend".into() },
            service: "backend".into(),
            desired: 3,
            ready: 3,
            revision: 2,
            revisions: [1, 2].map(|number| Revision { number, at: Timestamp(0), label: String::new() }).into(),
            changes: vec![],
        };
        let mut diagnosis = Diagnosis {
            service: "backend".into(),
            onset: Timestamp(0),
            is_resolved: true,
            hypotheses: vec![Hypothesis {
                kind,
                service: "backend".into(),
                instance: None,
                revision: Some(2),
                title: "why".into(),
                confidence: 0.9,
                evidence: vec![],
                against: vec![],
                sizing: Some(Sizing { offered_per_s: 112.0, capacity_per_replica_per_s: 20.0, replicas: 8 }),
            }],
            ruled_out: vec![],
            impact: vec![],
        };
        edit(&mut diagnosis, &mut workload);
        let question = Question::Workloads { service: "backend".into() };
        let evidence = Evidence {
            gathered_at: Timestamp(5),
            items: vec![Item { question, answer: Answer::Workloads(vec![workload]) }],
        };
        propose(ProposalId("incident-1/1".into()), &diagnosis, &evidence, Severity::High, &limits()).map(|p| p.action)
    }

    #[test]
    fn plans_replicas_from_measured_load() {
        assert_eq!(case(CauseKind::PoolExhaustion, |_, _| {}), Ok(Action::Scale { from: 3, to: 8 }));
        let more = case(CauseKind::TrafficSurge, |d, _| {
            d.hypotheses[0].sizing =
                Some(Sizing { offered_per_s: 1e6, capacity_per_replica_per_s: 20.0, replicas: 100_000 });
        });
        assert_eq!(more, Ok(Action::Scale { from: 3, to: 10 }), "never above the limit");
        let full = case(CauseKind::PoolExhaustion, |_, w| w.desired = 10);
        assert_eq!(full, Err(Refusal::AtMaximum { replicas: 10, limit: 10 }));
        let blind = case(CauseKind::PoolExhaustion, |d, _| d.hypotheses[0].sizing = None);
        assert_eq!(blind, Err(Refusal::LoadUnmeasured));
    }

    #[test]
    fn rolls_back_only_to_a_revision_on_record() {
        assert_eq!(case(CauseKind::BadDeploy, |_, _| {}), Ok(Action::RollBack { from: 2, to: 1 }));
        let alone = case(CauseKind::BadDeploy, |_, w| w.revisions.retain(|r| r.number == 2));
        assert_eq!(alone, Err(Refusal::NoPriorRevision { revision: 2 }));
        let moved = case(CauseKind::BadDeploy, |_, w| w.revision = 3);
        assert_eq!(moved, Err(Refusal::RevisionMoved { suspect: 2, running: 3 }));
    }

    #[test]
    fn refuses_by_name() {
        assert_eq!(case(CauseKind::BadDeploy, |d, _| d.is_resolved = false), Err(Refusal::CauseUnresolved));
        let slow = case(CauseKind::SlowDependency, |_, _| {});
        assert_eq!(slow, Err(Refusal::NoSafeAction { cause: "slow_dependency".into() }));
        let other = case(CauseKind::BadDeploy, |_, w| w.service = "other".into());
        assert_eq!(other, Err(Refusal::TargetUnknown { service: "backend".into() }));
    }
}
