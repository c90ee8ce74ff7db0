//! Evaluates the user's rule files, and the rules over logs that clients handed in: a task for each group, at the group's own times, and a thread for each evaluation.
//!
//! Results take the same way as everything else that is written, and a rule sees what the rules before it gave, because
//! a write is answered when it can be read. What an alert does to the control loop is a `Transition`, as with the
//! built-in rules.

mod answers;
mod kept;
mod shown;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::Sender;

use control::Input;
use detect::Transition;
use query::promql::Settings;
use rules::{Evaluation, Group, GroupSpec, Health, RuleFile, Surroundings};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use web::{Ingress, Views};

use crate::clock;
use crate::config::{Config, RuleSettings};
use crate::instruments::Instruments;
use crate::sources::Sources;
use answers::Answers;
pub(crate) use kept::KeptRules;
pub(crate) use shown::put;

/// What ruling needs from the rest of Aegis.
pub(crate) struct Ruling {
    /// What rules hold to when they ask the own store, as clients do.
    pub(crate) promql: Settings,
    pub(crate) sources: Arc<Sources>,
    pub(crate) ingress: Ingress,
    pub(crate) inputs: Sender<Input>,
    pub(crate) instruments: Arc<Instruments>,
    pub(crate) views: Views,
    /// What was firing before this start: whoever was told of it waits to hear that it resolved.
    pub(crate) firing: Vec<Transition>,
    /// The URL people reach this server by.
    pub(crate) external_url: String,
}

/// File or namespace, and name of a group.
type Key = (String, String);

/// A group that is being evaluated.
struct Running {
    spec: GroupSpec,
    surroundings: Surroundings,
    stop: CancellationToken,
    /// Gives the group back once it was told to stop.
    task: JoinHandle<Option<Group>>,
}

impl Ruling {
    /// Evaluates the groups of the configuration in force and those `kept`, and what they change to, until `shutdown`.
    pub(crate) async fn run(
        self,
        mut configs: watch::Receiver<Arc<Config>>,
        mut kept: watch::Receiver<Vec<(Key, GroupSpec)>>,
        shutdown: CancellationToken,
    ) {
        let ruling = Arc::new(self);
        let mut running: BTreeMap<Key, Running> = BTreeMap::new();
        let mut is_first = true;
        loop {
            let RuleSettings { files, mut surroundings } = configs.borrow_and_update().rules.clone();
            surroundings.external_url.clone_from(&ruling.external_url);
            let mut wanted = groups(&files);
            wanted.extend(kept.borrow_and_update().iter().cloned());
            ruling.apply(wanted, &surroundings, &mut running, is_first, &shutdown).await;
            is_first = false;
            tokio::select! {
                () = shutdown.cancelled() => break,
                // As long as Aegis runs, somebody holds the other end.
                Ok(()) = kept.changed() => {}
                changed = configs.changed() => if changed.is_err() {
                    // Nobody is left to change them.
                    shutdown.cancelled().await;
                    break;
                },
            }
        }
        // They end by the same token.
        for group in running.into_values() {
            let _ = group.task.await;
        }
    }

    /// Starts, replaces and ends groups until those run that are wanted; the others are left alone.
    async fn apply(
        self: &Arc<Self>,
        wanted: Vec<(Key, GroupSpec)>,
        surroundings: &Surroundings,
        running: &mut BTreeMap<Key, Running>,
        is_first: bool,
        shutdown: &CancellationToken,
    ) {
        let mut kept = BTreeSet::new();
        for (key, spec) in wanted {
            kept.insert(key.clone());
            let is_same = |old: &Running| old.spec == spec && old.surroundings == *surroundings;
            if running.get(&key).is_some_and(is_same) {
                continue;
            }
            let mut group = Group::new(&spec, &key.0, surroundings);
            match running.remove(&key) {
                Some(old) => {
                    old.stop.cancel();
                    if let Ok(Some(old)) = old.task.await {
                        group.take_over(old);
                    }
                }
                // Only after a start there is something to restore.
                None if is_first => group.resume(&self.firing),
                None => group.begin_afresh(),
            }
            self.show(&group);
            let stop = shutdown.child_token();
            let task = tokio::spawn(Arc::clone(self).keep(group, stop.clone()));
            running.insert(key, Running { spec, surroundings: surroundings.clone(), stop, task });
        }
        let gone: Vec<Key> = running.keys().filter(|key| !kept.contains(*key)).cloned().collect();
        for key in gone {
            let Some(old) = running.remove(&key) else { continue };
            old.stop.cancel();
            if let Ok(Some(group)) = old.task.await {
                self.retire(group).await;
            }
            self.views.update(|view| view.groups.retain(|group| (&group.file, &group.name) != (&key.0, &key.1)));
        }
        if !running.is_empty() || !is_first {
            info!(groups = running.len(), "rule groups are evaluated");
        }
    }

    /// Evaluates a group at its times until told to stop.
    async fn keep(self: Arc<Self>, mut group: Group, stop: CancellationToken) -> Option<Group> {
        let mut due = group.due_after(clock::now());
        let mut evaluations = 0_u32;
        loop {
            let wait = due.since(clock::now());
            if wait > group.interval() {
                // The time of day was put back.
                due = group.due_after(clock::now());
                continue;
            }
            tokio::select! {
                () = stop.cancelled() => return Some(group),
                () = tokio::time::sleep(wait) => {}
            }
            evaluations = evaluations.saturating_add(1);
            // One evaluation may still lack what other groups are only about to record.
            let restores = evaluations == 2 && group.awaits_restore();
            let evaluated = tokio::select! {
                evaluated = Arc::clone(&self).evaluate(group, due, restores) => evaluated,
                // It ends by itself; what it would write is no longer waited for.
                () = stop.cancelled() => None,
            };
            group = evaluated?;
            self.show(&group);
            due = due.plus(group.interval());
            if due < clock::now() {
                // Times that were missed are left out.
                due = group.due_after(clock::now());
            }
        }
    }

    async fn evaluate(self: Arc<Self>, mut group: Group, now: signal::Timestamp, restores: bool) -> Option<Group> {
        let runtime = Handle::current();
        let work = move || {
            let bad = |group: &Group| -> BTreeSet<String> {
                let bad = group.rules().iter().filter(|state| state.health == Health::Bad);
                bad.map(|state| state.rule.name.clone()).collect()
            };
            let was_bad = bad(&group);
            let mut answers = Answers::new(&self, &runtime);
            let evaluation = group.evaluate(now, &mut answers);
            if restores && let Err(error) = group.restore(clock::now(), &mut answers) {
                warn!(file = group.file(), %error, "since when alerts have held cannot be read; they begin anew");
            }
            self.tell(&group, &was_bad, evaluation);
            group
        };
        match spawn_blocking(work).await {
            Ok(group) => Some(group),
            Err(error) => {
                warn!(%error, "the evaluation of a rule group ended unexpectedly; it is not evaluated any more");
                None
            }
        }
    }

    fn tell(&self, group: &Group, was_bad: &BTreeSet<String>, evaluation: Evaluation) {
        self.instruments.ruled(group.rules().len(), evaluation.failures);
        for state in group.rules() {
            let name = &state.rule.name;
            match state.health {
                Health::Bad if !was_bad.contains(name) => {
                    warn!(file = group.file(), alert = %name, error = %state.last_error, "a rule cannot be evaluated");
                }
                Health::Good if was_bad.contains(name) => {
                    info!(file = group.file(), alert = %name, "a rule can be evaluated again");
                }
                Health::Unknown | Health::Good | Health::Bad => {}
            }
        }
        self.send(evaluation.transitions);
    }

    async fn retire(self: &Arc<Self>, group: Group) {
        let (ruling, runtime) = (Arc::clone(self), Handle::current());
        let work = move || {
            let mut answers = Answers::new(&ruling, &runtime);
            let transitions = group.retire(clock::now(), &mut answers);
            ruling.send(transitions);
        };
        let _ = spawn_blocking(work).await;
    }

    fn send(&self, transitions: Vec<Transition>) {
        for transition in transitions {
            // The loop is gone only when Aegis is going down.
            let _ = self.inputs.send(Input::Alert(transition));
        }
    }

    fn show(&self, group: &Group) {
        let shown = shown::group(group);
        self.views.update(|view| put(view, shown));
    }
}

fn groups(files: &[(String, RuleFile)]) -> Vec<(Key, GroupSpec)> {
    let mut groups = Vec::new();
    for (name, file) in files {
        groups.extend(file.groups.iter().map(|spec| ((name.clone(), spec.name.clone()), spec.clone())));
    }
    groups
}
