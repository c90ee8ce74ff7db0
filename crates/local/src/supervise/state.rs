//! What the supervisor knows, and how a wish changes it. Pure: values in, values out.

use std::collections::VecDeque;
use std::time::Duration;

use diagnose::{Change, ChangeKind, Revision, Workload};
use policy::Target;
use remediate::Outcome;
use serde::{Deserialize, Serialize};
use signal::Timestamp;

use crate::process::Identity;
use crate::wire::Wish;
use crate::{DeploymentSpec, Progress, Template};

const KEYS: usize = 1_000;
const REVISIONS: usize = 10;
const CHANGES: usize = 200;

/// Everything that survives the supervisor.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct State {
    /// By target.
    pub(crate) deployments: Vec<Deployment>,
    /// Oldest first.
    pub(crate) keys: VecDeque<Key>,
    /// Children that may be running.
    pub(crate) processes: Vec<Identity>,
}

/// A deployment and its past.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Deployment {
    pub(crate) spec: DeploymentSpec,
    pub(crate) revision: u64,
    /// Counts restarts: a process of an older generation is replaced although its template is the same.
    pub(crate) generation: u64,
    /// Number of the last process started.
    pub(crate) serial: u64,
    /// Oldest first; the current one is among them.
    pub(crate) revisions: Vec<Kept>,
    pub(crate) changes: Vec<Change>,
}

/// A revision that can be gone back to.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Kept {
    pub(crate) number: u64,
    /// The revision whose template this one repeats; itself unless it was rolled back to.
    pub(crate) origin: u64,
    pub(crate) at: Timestamp,
    pub(crate) template: Template,
}

/// A request that was seen, and what became of it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Key {
    pub(crate) key: String,
    pub(crate) target: Target,
    pub(crate) since: Timestamp,
    pub(crate) what: String,
    pub(crate) was: u64,
    pub(crate) is: u64,
    pub(crate) progress: Progress,
}

/// A wish that can be carried out.
struct Accepted {
    what: String,
    was: u64,
    is: u64,
}

impl State {
    pub(crate) fn progress(&self, key: &str) -> Progress {
        self.keys.iter().find(|seen| seen.key == key).map_or(Progress::NeverSeen, |seen| seen.progress.clone())
    }

    pub(crate) fn deployment(&self, target: &Target) -> Option<&Deployment> {
        self.deployments.iter().find(|deployment| deployment.spec.target() == *target)
    }

    pub(crate) fn deployment_mut(&mut self, target: &Target) -> Option<&mut Deployment> {
        self.deployments.iter_mut().find(|deployment| deployment.spec.target() == *target)
    }

    /// The state after `wish`: changed, or with a refusal on record. The key must not have been seen before.
    #[must_use]
    pub(crate) fn after(&self, key: &str, by: &str, wish: Wish, now: Timestamp) -> Self {
        let mut next = self.clone();
        let target = wish.target();
        let (what, was, is, progress) = match next.carry_out(wish, by, now) {
            Ok(Accepted { what, was, is }) => (what, was, is, Progress::Running),
            Err(reason) => (String::new(), 0, 0, Progress::Settled(Outcome::Refused { reason })),
        };
        if progress == Progress::Running {
            for older in
                next.keys.iter_mut().filter(|older| older.target == target && older.progress == Progress::Running)
            {
                let reason = format!("superseded by {key} before it was ready");
                older.progress = Progress::Settled(Outcome::Failed { reason });
            }
        }
        next.keys.push_back(Key { key: key.to_owned(), target, since: now, what, was, is, progress });
        while next.keys.len() > KEYS {
            next.keys.pop_front();
        }
        next
    }

    fn carry_out(&mut self, wish: Wish, by: &str, now: Timestamp) -> Result<Accepted, String> {
        match wish {
            Wish::Apply { spec } => self.apply(spec, by, now),
            Wish::Scale { target, from, to } => self.known(&target)?.scale(from, to, by, now),
            Wish::RollBack { target, from, to } => self.known(&target)?.roll_back(from, to, by, now),
            Wish::Restart { target, revision } => self.known(&target)?.restart(revision, by, now),
        }
    }

    fn known(&mut self, target: &Target) -> Result<&mut Deployment, String> {
        self.deployment_mut(target).ok_or_else(|| format!("there is no deployment {target}"))
    }

    fn apply(&mut self, spec: DeploymentSpec, by: &str, now: Timestamp) -> Result<Accepted, String> {
        spec.check().map_err(|error| error.to_string())?;
        if let Some(known) = self.deployment_mut(&spec.target()) {
            return Ok(known.apply(spec, by, now));
        }
        let what = format!("version {} as revision 1, {} replicas", spec.template.version, spec.replicas);
        let mut deployment =
            Deployment { spec, revision: 0, generation: 0, serial: 0, revisions: Vec::new(), changes: Vec::new() };
        let template = deployment.spec.template.clone();
        deployment.revise(template, None, now);
        deployment.note(ChangeKind::Deploy, what.clone(), by, now);
        self.deployments.push(deployment);
        self.deployments.sort_by_key(|deployment| deployment.spec.target());
        Ok(Accepted { what, was: 0, is: 1 })
    }
}

impl Wish {
    fn target(&self) -> Target {
        match self {
            Self::Apply { spec } => spec.target(),
            Self::Scale { target, .. } | Self::RollBack { target, .. } | Self::Restart { target, .. } => target.clone(),
        }
    }
}

impl Deployment {
    /// The template processes of `revision` run; `None` when it is no longer on record.
    pub(crate) fn template(&self, revision: u64) -> Option<&Template> {
        self.revisions.iter().find(|kept| kept.number == revision).map(|kept| &kept.template)
    }

    /// Records a change, forgetting the oldest; crashes go first so that they never push out a deploy.
    pub(crate) fn note(&mut self, kind: ChangeKind, text: String, by: &str, at: Timestamp) {
        self.changes.push(Change { at, kind, text, by: by.to_owned() });
        if self.changes.len() > CHANGES {
            let crash = self.changes.iter().position(|change| change.kind == ChangeKind::Crash);
            self.changes.remove(crash.unwrap_or(0));
        }
    }

    pub(crate) fn workload(&self, ready: u32) -> Workload {
        let revisions = self.revisions.iter();
        Workload {
            target: self.spec.target(),
            service: self.spec.service.clone(),
            desired: self.spec.replicas,
            ready,
            revision: self.revision,
            revisions: revisions
                .map(|kept| Revision { number: kept.number, at: kept.at, label: kept.template.version.clone() })
                .collect(),
            changes: self.changes.clone(),
        }
    }

    fn apply(&mut self, spec: DeploymentSpec, by: &str, now: Timestamp) -> Accepted {
        let (was, replicas) = (self.revision, self.spec.replicas);
        let is_new = spec.template != self.spec.template;
        self.spec = spec;
        let mut what = Vec::new();
        if is_new {
            let template = self.spec.template.clone();
            self.revise(template, None, now);
            what.push(format!("version {} as revision {}", self.spec.template.version, self.revision));
            self.note(ChangeKind::Deploy, what.concat(), by, now);
        }
        if replicas != self.spec.replicas {
            let scaled = format!("scaled {replicas} -> {}", self.spec.replicas);
            self.note(ChangeKind::Scale, scaled.clone(), by, now);
            what.push(scaled);
        }
        if what.is_empty() {
            what.push("nothing to change".to_owned());
        }
        Accepted { what: what.join(", "), was, is: self.revision }
    }

    fn scale(&mut self, from: Option<u32>, to: u32, by: &str, now: Timestamp) -> Result<Accepted, String> {
        let was = self.spec.replicas;
        if from.is_some_and(|from| from != was) {
            let from = from.unwrap_or(was);
            return Err(format!("{} has {was} replicas, not {from} as was thought", self.spec.target()));
        }
        self.spec.check_replicas(to).map_err(|error| error.to_string())?;
        self.spec.replicas = to;
        let what = format!("scaled {was} -> {to}");
        if was != to {
            self.note(ChangeKind::Scale, what.clone(), by, now);
        }
        Ok(Accepted { what, was: was.into(), is: to.into() })
    }

    fn roll_back(&mut self, from: Option<u64>, to: u64, by: &str, now: Timestamp) -> Result<Accepted, String> {
        let was = self.revision;
        // Taking a roll-back back: the world then runs a repetition of `from`, under a number of its own.
        if from.is_some_and(|from| from != was && from != self.origin(was)) {
            let from = from.unwrap_or(was);
            return Err(format!("{} runs revision {was}, not {from} as was thought", self.spec.target()));
        }
        if to == was {
            return Err(format!("{} runs revision {to} already", self.spec.target()));
        }
        let Some(template) = self.template(to).cloned() else {
            return Err(format!("revision {to} of {} is not on record", self.spec.target()));
        };
        self.revise(template, Some(self.origin(to)), now);
        let what = format!("rolled back from revision {was} to {to}, as revision {}", self.revision);
        self.note(ChangeKind::RollBack, what.clone(), by, now);
        Ok(Accepted { what, was, is: self.revision })
    }

    fn restart(&mut self, revision: Option<u64>, by: &str, now: Timestamp) -> Result<Accepted, String> {
        let was = self.revision;
        if let Some(revision) = revision.filter(|revision| *revision != was) {
            return Err(format!("{} runs revision {was}, not {revision} as was thought", self.spec.target()));
        }
        self.generation += 1;
        let what = format!("restarted at revision {was}");
        self.note(ChangeKind::Restart, what.clone(), by, now);
        Ok(Accepted { what, was, is: was })
    }

    fn origin(&self, revision: u64) -> u64 {
        self.revisions.iter().find(|kept| kept.number == revision).map_or(revision, |kept| kept.origin)
    }

    fn revise(&mut self, template: Template, origin: Option<u64>, at: Timestamp) {
        self.revision += 1;
        let number = self.revision;
        self.revisions.push(Kept { number, origin: origin.unwrap_or(number), at, template: template.clone() });
        self.spec.template = template;
        if self.revisions.len() > REVISIONS {
            self.revisions.remove(0);
        }
    }
}

impl Key {
    /// Settles the change when the deployment got there, or when its time is over.
    pub(crate) fn judge(&mut self, is_settled: bool, ready_within: Duration, now: Timestamp) -> bool {
        if self.progress != Progress::Running {
            return false;
        }
        let took = now.since(self.since);
        let outcome = if is_settled {
            let detail = format!("{} {}, ready after {:.1} s", self.target, self.what, took.as_secs_f64());
            Outcome::Done { detail, was: self.was, is: self.is }
        } else if took > ready_within {
            Outcome::Failed { reason: format!("{} {}, not ready after {} s", self.target, self.what, took.as_secs()) }
        } else {
            return false;
        };
        self.progress = Progress::Settled(outcome);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Port;

    fn spec(version: &str, replicas: u32) -> DeploymentSpec {
        DeploymentSpec {
            namespace: "production".into(),
            name: "shop".into(),
            service: "shop".into(),
            replicas,
            template: Template::new(version, ["shop"], Port::Reported),
        }
    }

    fn target() -> Target {
        spec("1", 1).target()
    }

    /// Applies wishes in turn; what each became, and the final state.
    fn after(wishes: Vec<Wish>) -> (Vec<String>, State) {
        let mut state = State::default();
        let mut became = Vec::new();
        for (n, wish) in wishes.into_iter().enumerate() {
            let key = format!("k{n}");
            state = state.after(&key, "test", wish, Timestamp(n as i64));
            became.push(match state.progress(&key) {
                Progress::Settled(outcome) => outcome.to_string(),
                Progress::Running => state.keys.back().unwrap().what.clone(),
                Progress::NeverSeen => panic!(),
            });
        }
        (became, state)
    }

    #[test]
    fn wishes_change_the_state_or_are_refused_by_name() {
        let scale = |from, to| Wish::Scale { target: target(), from, to };
        let roll_back = |from, to| Wish::RollBack { target: target(), from, to };
        let (became, state) = after(vec![
            scale(Some(3), 8),
            Wish::Apply { spec: spec("1", 3) },
            scale(Some(3), 8),
            scale(Some(3), 9),
            scale(None, 65),
            Wish::Apply { spec: spec("2", 8) },
            Wish::Apply { spec: spec("2", 8) },
            roll_back(Some(1), 1),
            roll_back(Some(2), 7),
            roll_back(Some(2), 2),
            roll_back(Some(2), 1),
            roll_back(Some(1), 2),
            Wish::Restart { target: target(), revision: Some(3) },
            Wish::Restart { target: target(), revision: Some(4) },
        ]);
        insta::assert_snapshot!(became.join("\n"), @r"
        refused: there is no deployment production/shop
        version 1 as revision 1, 3 replicas
        scaled 3 -> 8
        refused: production/shop has 8 replicas, not 3 as was thought
        refused: 65 replicas are more than 64
        version 2 as revision 2
        nothing to change
        refused: production/shop runs revision 2, not 1 as was thought
        refused: revision 7 of production/shop is not on record
        refused: production/shop runs revision 2 already
        rolled back from revision 2 to 1, as revision 3
        rolled back from revision 3 to 2, as revision 4
        refused: production/shop runs revision 4, not 3 as was thought
        restarted at revision 4
        ");
        let workload = state.deployment(&target()).unwrap().workload(0);
        let labels: Vec<_> = workload.revisions.iter().map(|r| (r.number, r.label.as_str())).collect();
        assert_eq!(labels, [(1, "1"), (2, "2"), (3, "1"), (4, "2")]);
        assert_eq!(workload.changes.len(), 6);
    }

    #[test]
    fn a_later_change_supersedes_and_memory_is_bounded() {
        let scale = |to| Wish::Scale { target: target(), from: None, to };
        let mut wishes = vec![Wish::Apply { spec: spec("1", 1) }];
        wishes.extend((0..1_500).map(|n| scale(n % 60 + 1)));
        let (_, state) = after(wishes);
        assert_eq!(state.keys.len(), KEYS);
        assert_eq!(state.progress("k0"), Progress::NeverSeen);
        assert!(matches!(state.progress("k1400"), Progress::Settled(Outcome::Failed { .. })));
        assert_eq!(state.progress("k1500"), Progress::Running);
        let deployment = state.deployment(&target()).unwrap();
        assert_eq!(deployment.changes.len(), CHANGES);
        let json = serde_json::to_string(&state).unwrap();
        assert_eq!(serde_json::from_str::<State>(&json).unwrap(), state);
    }
}
