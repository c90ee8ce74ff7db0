//! The supervisor: one loop that owns every child process and answers the socket.

mod instance;
mod probe;
mod socket;
mod state;
mod targets;

use std::fs::{DirBuilder, File, TryLockError};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use diagnose::ChangeKind;
use policy::Target;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use self::instance::{Instance, Surroundings};
use self::socket::{Asked, Ear};
use self::state::State;
use crate::process::{Identity, replace};
use crate::wire::{Request, Response, SOCKET};
use crate::{DeploymentStatus, Progress, clock};

pub use self::targets::targets_file;

/// How often children are looked at.
const TICK: Duration = Duration::from_millis(50);
/// How often the owner is looked at.
const OWNER_TICK: Duration = Duration::from_secs(1);
/// Between leaving the list of endpoints and SIGTERM, so that nobody who reads the list still sends requests.
const LEAVE_PAUSE: Duration = Duration::from_millis(500);
/// Longest drain when the owner is gone: nobody waits for it any more.
const ORPHAN_DRAIN: Duration = Duration::from_secs(2);
/// How long children of a supervisor that died get to finish.
const LEFTOVER_DRAIN: Duration = Duration::from_secs(3);
/// The kernel's limit on socket paths, less the closing zero.
const MAX_SOCKET_PATH: usize = 107;

/// How a supervisor runs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SuperviseOptions {
    /// Everything it keeps lies here: state, socket, logs, endpoint files. Made if missing, closed to other users.
    pub run_dir: PathBuf,
    /// A process without which there is no point: when it dies, everything is stopped within five seconds.
    pub owner: Option<u32>,
    /// Put before every command; a program that calls [`crate::launch`] with the rest, so that no child outlives the
    /// supervisor even when that is killed. Empty starts commands directly.
    pub launcher: Vec<String>,
}

/// Why there is no supervisor.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SuperviseError {
    /// The run directory cannot be used.
    #[error("cannot use run directory `{path}`")]
    RunDir {
        /// Its path.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// One is enough.
    #[error("another supervisor runs in `{path}`")]
    Taken {
        /// The run directory.
        path: String,
    },
    /// What an earlier supervisor left cannot be read.
    #[error("`{path}` cannot be understood: {detail}; move it away to start with nothing")]
    State {
        /// The file.
        path: String,
        /// What is wrong.
        detail: String,
    },
    /// The socket cannot be opened.
    #[error("cannot listen on `{path}`")]
    Socket {
        /// The socket.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The kernel allows only short socket paths.
    #[error("socket path `{path}` is longer than {MAX_SOCKET_PATH} bytes; choose a shorter run directory")]
    SocketPath {
        /// The socket.
        path: String,
    },
    /// Shutdown requests of the system cannot be received.
    #[error("cannot listen for SIGTERM")]
    Shutdown {
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// Keeps deployments running until told to stop; blocks.
///
/// Detaches from the terminal and from whoever started it. A request to shut down, or the owner's death, stops everything
/// and forgets the deployments; SIGTERM stops everything and a supervisor started later on the same directory resumes.
/// Call it from the main thread: the kernel takes the end of the calling thread for the death of the parent.
///
/// # Errors
/// `SuperviseError` when it cannot start.
pub fn supervise(options: &SuperviseOptions) -> Result<(), SuperviseError> {
    let run_dir = &options.run_dir;
    let around =
        Surroundings { logs: run_dir.join("logs"), ports: run_dir.join("ports"), launcher: options.launcher.clone() };
    let _lock = prepare(run_dir, &around)?;
    let is_told_to_stop = Arc::new(AtomicBool::new(false));
    for number in [SIGTERM, SIGINT] {
        signal_hook::flag::register(number, Arc::clone(&is_told_to_stop))
            .map_err(|source| SuperviseError::Shutdown { source })?;
    }
    // The closing of a terminal is nothing to us, so its flag is never read.
    signal_hook::flag::register(SIGHUP, Arc::default()).map_err(|source| SuperviseError::Shutdown { source })?;
    // Fails for the leader of a process group, which no terminal's Ctrl-C reaches by accident.
    let _ = rustix::process::setsid();

    let state_file = run_dir.join("state.json");
    let state = load(&state_file)?;
    end_leftovers(&state);
    let path = run_dir.join(SOCKET);
    let shown = path.display().to_string();
    if path.as_os_str().len() > MAX_SOCKET_PATH {
        return Err(SuperviseError::SocketPath { path: shown });
    }
    let (ear, requests) = Ear::open(&path).map_err(|source| SuperviseError::Socket { path: shown, source })?;
    let mut supervisor = Supervisor {
        run_dir: run_dir.clone(),
        state_file,
        around,
        state,
        is_changed: true,
        fleet: Vec::new(),
        end: None,
        endpoints: targets::Endpoints::default(),
    };
    tracing::info!(run_dir = %run_dir.display(), "supervisor started");
    supervisor.run(&requests, options.owner.map(Identity::of), &is_told_to_stop);
    drop(requests);
    drop(ear);
    tracing::info!(run_dir = %run_dir.display(), "supervisor stopped");
    Ok(())
}

/// Why the supervisor is ending.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    /// Asked over the socket: nothing is to come back.
    Shutdown,
    /// The owner died: as above, and quickly.
    OwnerGone,
    /// The system says so: deployments are kept for the next start.
    Terminated,
}

struct Supervisor {
    run_dir: PathBuf,
    state_file: PathBuf,
    around: Surroundings,
    state: State,
    /// Whether `state` is newer than its file.
    is_changed: bool,
    fleet: Vec<Instance>,
    end: Option<End>,
    endpoints: targets::Endpoints,
}

impl Supervisor {
    fn run(&mut self, requests: &Receiver<Asked>, owner: Option<Identity>, is_told_to_stop: &AtomicBool) {
        let mut owner_seen = clock::monotonic();
        loop {
            if let Ok(first) = requests.recv_timeout(TICK) {
                for asked in std::iter::once(first).chain(requests.try_iter()) {
                    // A client that hung up does not want its answer.
                    let _ = asked.answer.try_send(self.answer(asked.request));
                }
            }
            let now = clock::monotonic();
            if is_told_to_stop.load(Ordering::Relaxed) {
                self.stop(End::Terminated, now);
            }
            if let Some(owner) = owner.filter(|_| now.duration_since(owner_seen) >= OWNER_TICK) {
                owner_seen = now;
                if !owner.is_alive() {
                    self.stop(End::OwnerGone, now);
                }
            }
            self.advance(now);
            self.save_if_changed();
            if self.end.is_some() && self.fleet.is_empty() {
                return;
            }
        }
    }

    fn answer(&mut self, request: Request) -> Response {
        match request {
            Request::Change { key, by, change } => {
                match self.state.progress(&key) {
                    Progress::NeverSeen => {}
                    seen @ (Progress::Running | Progress::Settled(_)) => return Response::Progress(seen),
                }
                if self.end.is_some() {
                    return Response::Error("the supervisor is stopping".to_owned());
                }
                let next = self.state.after(&key, &by, *change, clock::wall());
                // On disk first: after a crash the key is known, so the change is finished and never repeated.
                if let Err(error) = save(&self.state_file, &next) {
                    return Response::Error(format!("cannot write {}: {error}", self.state_file.display()));
                }
                self.state = next;
                Response::Progress(self.state.progress(&key))
            }
            Request::Progress { key } => Response::Progress(self.state.progress(&key)),
            Request::Status {} => Response::Status(self.status()),
            Request::Workloads {} => {
                let workloads = self.state.deployments.iter();
                Response::Workloads(workloads.map(|one| one.workload(self.ready(&one.spec.target()))).collect())
            }
            Request::Shutdown {} => {
                self.stop(End::Shutdown, clock::monotonic());
                Response::ShuttingDown
            }
        }
    }

    fn stop(&mut self, end: End, now: Instant) {
        if self.end.is_some() {
            return;
        }
        self.end = Some(end);
        for instance in &mut self.fleet {
            let drain = self.state.deployment(&instance.target).map_or(ORPHAN_DRAIN, |one| {
                let drain = Duration::from_secs(one.spec.template.drain_s.into());
                if end == End::OwnerGone { drain.min(ORPHAN_DRAIN) } else { drain }
            });
            instance.leave(Duration::ZERO, drain, now);
        }
        match end {
            End::Shutdown | End::OwnerGone => self.state.deployments.clear(),
            End::Terminated => {}
        }
        self.is_changed = true;
    }

    fn advance(&mut self, now: Instant) {
        let wall = clock::wall();
        for instance in &mut self.fleet {
            let deployment = self.state.deployment_mut(&instance.target);
            let Some((deployment, template)) =
                deployment.and_then(|one| one.template(instance.revision).cloned().map(|template| (one, template)))
            else {
                // Its deployment or revision is no longer known: it can finish, not start again.
                instance.leave(Duration::ZERO, ORPHAN_DRAIN, now);
                instance.finish(now);
                continue;
            };
            let before = instance.identity();
            if let Some(crash) = instance.advance(&template, &self.around, now) {
                tracing::warn!(target = %instance.target, "{crash}");
                deployment.note(ChangeKind::Crash, crash, "", wall);
                self.is_changed = true;
            }
            self.is_changed |= before != instance.identity();
        }
        let count = self.fleet.len();
        self.fleet.retain(|instance| !instance.is_gone());
        self.is_changed |= count != self.fleet.len();
        if self.end.is_none() {
            for at in 0..self.state.deployments.len() {
                self.converge(at, now);
            }
        }
        self.judge(wall);
        self.endpoints.write(&self.run_dir, &self.state, &self.fleet);
    }

    /// One step towards what deployment number `at` should be: at most one replica more than wished, never fewer ready.
    fn converge(&mut self, at: usize, now: Instant) {
        let Some(deployment) = self.state.deployments.get_mut(at) else { return };
        let target = deployment.spec.target();
        let wished = deployment.spec.replicas as usize;
        let current = (deployment.revision, deployment.generation);
        let drain = |revision| {
            let seconds = deployment.template(revision).map_or(0, |template| template.drain_s);
            Duration::from_secs(seconds.into())
        };
        let mut staying: Vec<&mut Instance> =
            self.fleet.iter_mut().filter(|one| one.target == target && !one.is_leaving()).collect();
        // Least useful first: those that do not serve, then the youngest.
        staying.reverse();
        staying.sort_by_key(|one| one.is_ready());
        let mut ready = staying.iter().filter(|one| one.is_ready()).count();
        let mut total = staying.len();
        let mut fresh = staying.iter().filter(|one| (one.revision, one.generation) == current).count();
        let has_old = total > fresh;
        for one in staying {
            let is_fresh = (one.revision, one.generation) == current;
            let is_surplus = if is_fresh {
                fresh > wished
            } else if one.is_ready() {
                ready > wished
            } else {
                fresh > 0 || total > wished || wished == 0
            };
            if !is_surplus {
                continue;
            }
            ready -= usize::from(one.is_ready());
            fresh -= usize::from(is_fresh);
            total -= 1;
            one.leave(LEAVE_PAUSE, drain(one.revision), now);
            self.is_changed = true;
        }
        let room = (wished + usize::from(has_old)).saturating_sub(total);
        for _ in 0..room.min(wished.saturating_sub(fresh)) {
            deployment.serial += 1;
            let name = format!("{}-{}-{}", target.name, deployment.revision, deployment.serial);
            self.fleet.push(Instance::new(target.clone(), name, current.0, current.1, now));
            self.is_changed = true;
        }
    }

    fn judge(&mut self, wall: signal::Timestamp) {
        let running = self.state.keys.iter().filter(|key| key.progress == Progress::Running);
        let targets: Vec<Target> = running.map(|key| key.target.clone()).collect();
        for target in targets {
            let is_settled = self.is_settled(&target);
            let within = self.state.deployment(&target).map_or(0, |one| one.spec.template.ready_within_s);
            for key in self.state.keys.iter_mut().filter(|key| key.target == target) {
                self.is_changed |= key.judge(is_settled, Duration::from_secs(within.into()), wall);
            }
        }
    }

    fn is_settled(&self, target: &Target) -> bool {
        let Some(deployment) = self.state.deployment(target) else { return false };
        let mut staying = self.fleet.iter().filter(|one| one.target == *target && !one.is_leaving());
        let count = staying.clone().count();
        count == deployment.spec.replicas as usize
            && staying.all(|one| {
                one.is_ready() && (one.revision, one.generation) == (deployment.revision, deployment.generation)
            })
    }

    fn ready(&self, target: &Target) -> u32 {
        let ready = self.fleet.iter().filter(|one| one.target == *target && one.is_ready()).count();
        u32::try_from(ready).unwrap_or(u32::MAX)
    }

    fn status(&self) -> Vec<DeploymentStatus> {
        let deployments = self.state.deployments.iter();
        deployments
            .map(|one| {
                let target = one.spec.target();
                DeploymentStatus {
                    service: one.spec.service.clone(),
                    revision: one.revision,
                    version: one.spec.template.version.clone(),
                    desired: one.spec.replicas,
                    ready: self.ready(&target),
                    is_settled: self.is_settled(&target),
                    instances: self.fleet.iter().filter(|i| i.target == target).map(Instance::status).collect(),
                    target,
                }
            })
            .collect()
    }

    fn save_if_changed(&mut self) {
        if !self.is_changed {
            return;
        }
        self.state.processes = self.fleet.iter().filter_map(Instance::identity).collect();
        match save(&self.state_file, &self.state) {
            Ok(()) => self.is_changed = false,
            Err(error) => tracing::error!(%error, "cannot write the supervisor's state"),
        }
    }
}

/// Makes the folders, closed to other users, and takes the lock that is held as long as the file is open.
fn prepare(run_dir: &Path, around: &Surroundings) -> Result<File, SuperviseError> {
    let shown = || run_dir.display().to_string();
    let wrong = |source| SuperviseError::RunDir { path: shown(), source };
    for folder in [run_dir, &around.logs, &around.ports] {
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(wrong)?;
    }
    std::fs::set_permissions(run_dir, std::fs::Permissions::from_mode(0o700)).map_err(wrong)?;
    let lock = File::create(run_dir.join("lock")).map_err(wrong)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(SuperviseError::Taken { path: shown() }),
        Err(TryLockError::Error(source)) => Err(wrong(source)),
    }
}

fn load(file: &Path) -> Result<State, SuperviseError> {
    let path = || file.display().to_string();
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(State::default()),
        Err(error) => return Err(SuperviseError::State { path: path(), detail: error.to_string() }),
    };
    serde_json::from_str(&text).map_err(|error| SuperviseError::State { path: path(), detail: error.to_string() })
}

fn save(file: &Path, state: &State) -> std::io::Result<()> {
    replace(file, &serde_json::to_vec(state)?, true)
}

/// Ends processes of a supervisor that died; theirs are no exits we could wait for, so they are replaced, not adopted.
fn end_leftovers(state: &State) {
    let mut alive: Vec<Identity> = state.processes.iter().copied().filter(|one| one.is_alive()).collect();
    for one in &alive {
        tracing::warn!(pid = one.pid, "ending a process left over from an earlier supervisor");
        one.terminate();
    }
    let start = clock::monotonic();
    while !alive.is_empty() && start.elapsed() < LEFTOVER_DRAIN {
        std::thread::sleep(TICK);
        alive.retain(|one| one.is_alive());
    }
    for one in alive {
        one.kill();
    }
}
