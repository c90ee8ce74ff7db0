//! One replica: a process, its probe, its log file, and what happens to it over time.

use std::fs::{File, OpenOptions};
use std::io::{PipeReader, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use policy::Target;

use super::probe::Probe;
use crate::process::{Identity, PARENT, PORT_FILE};
use crate::{InstanceStatus, Phase, Port, Template};

const FIRST_BACK_OFF: Duration = Duration::from_millis(500);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(30);
/// After so long without a crash the next one waits the shortest time again.
const HEALTHY: Duration = Duration::from_secs(60);
const LOG_SIZE: u64 = 5 << 20;

/// Where things lie and how children are started.
#[derive(Clone, Debug)]
pub(super) struct Surroundings {
    pub(super) logs: PathBuf,
    pub(super) ports: PathBuf,
    pub(super) launcher: Vec<String>,
}

/// One replica of a deployment.
#[derive(Debug)]
pub(super) struct Instance {
    pub(super) target: Target,
    pub(super) name: String,
    pub(super) revision: u64,
    pub(super) generation: u64,
    restarts: u32,
    back_off: Duration,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Running(Running),
    BackingOff { until: Instant },
    Leaving { running: Running, terminate_at: Option<Instant>, kill_at: Instant },
    Gone,
}

#[derive(Debug)]
struct Running {
    child: Child,
    identity: Identity,
    since: Instant,
    probe: Probe,
}

impl Instance {
    /// A replica that will be started by the next [`Instance::advance`].
    pub(super) fn new(target: Target, name: String, revision: u64, generation: u64, now: Instant) -> Self {
        let stage = Stage::BackingOff { until: now };
        Self { target, name, revision, generation, restarts: 0, back_off: FIRST_BACK_OFF, stage }
    }

    /// Starts, notices an exit, sends what is due. Answers a crash in plain words.
    pub(super) fn advance(&mut self, template: &Template, around: &Surroundings, now: Instant) -> Option<String> {
        match &mut self.stage {
            Stage::Running(running) => {
                let status = running.exited()?;
                if now.duration_since(running.since) >= HEALTHY {
                    self.back_off = FIRST_BACK_OFF;
                }
                Some(self.crashed(&exit_words(status), now))
            }
            Stage::BackingOff { until } if now < *until => None,
            Stage::BackingOff { .. } => match self.start(template, around, now) {
                Ok(running) => {
                    self.stage = Stage::Running(running);
                    None
                }
                Err(error) => Some(self.crashed(&format!("cannot be started: {error}"), now)),
            },
            Stage::Leaving { .. } | Stage::Gone => {
                self.finish(now);
                None
            }
        }
    }

    /// As [`Instance::advance`] for a replica that is leaving; others are left alone.
    pub(super) fn finish(&mut self, now: Instant) {
        let Stage::Leaving { running, terminate_at, kill_at } = &mut self.stage else { return };
        if running.exited().is_some() {
            self.stage = Stage::Gone;
            return;
        }
        if terminate_at.take_if(|at| *at <= now).is_some() {
            running.identity.terminate();
        }
        if *kill_at <= now {
            running.identity.kill();
        }
    }

    /// Makes it finish: SIGTERM after `pause`, SIGKILL after `drain` more.
    pub(super) fn leave(&mut self, pause: Duration, drain: Duration, now: Instant) {
        self.stage = match std::mem::replace(&mut self.stage, Stage::Gone) {
            Stage::Running(running) => {
                Stage::Leaving { running, terminate_at: Some(now + pause), kill_at: now + pause + drain }
            }
            Stage::BackingOff { .. } | Stage::Gone => Stage::Gone,
            leaving @ Stage::Leaving { .. } => leaving,
        };
    }

    pub(super) fn is_gone(&self) -> bool {
        matches!(self.stage, Stage::Gone)
    }

    pub(super) fn is_leaving(&self) -> bool {
        matches!(self.stage, Stage::Leaving { .. } | Stage::Gone)
    }

    pub(super) fn is_ready(&self) -> bool {
        matches!(&self.stage, Stage::Running(running) if running.probe.is_ready())
    }

    pub(super) fn address(&self) -> Option<String> {
        self.running().and_then(|running| running.probe.address()).map(|address| address.to_string())
    }

    pub(super) fn identity(&self) -> Option<Identity> {
        self.running().map(|running| running.identity)
    }

    pub(super) fn status(&self) -> InstanceStatus {
        let phase = match &self.stage {
            Stage::Running(running) if running.probe.is_ready() => Phase::Ready,
            Stage::Running(_) => Phase::Starting,
            Stage::BackingOff { .. } => Phase::BackingOff,
            Stage::Leaving { .. } | Stage::Gone => Phase::Leaving,
        };
        InstanceStatus {
            name: self.name.clone(),
            revision: self.revision,
            phase,
            pid: self.identity().map(|identity| identity.pid),
            address: self.address(),
            restarts: self.restarts,
        }
    }

    fn running(&self) -> Option<&Running> {
        match &self.stage {
            Stage::Running(running) | Stage::Leaving { running, .. } => Some(running),
            Stage::BackingOff { .. } | Stage::Gone => None,
        }
    }

    fn crashed(&mut self, how: &str, now: Instant) -> String {
        let wait = self.back_off;
        self.restarts = self.restarts.saturating_add(1);
        self.stage = Stage::BackingOff { until: now + wait };
        self.back_off = (wait * 2).min(LONGEST_BACK_OFF);
        format!("{} {how}; restart {} in {} s", self.name, self.restarts, wait.as_secs_f64())
    }

    fn start(&self, template: &Template, around: &Surroundings, now: Instant) -> std::io::Result<Running> {
        let port_file = around.ports.join(&self.name);
        if let Err(error) = std::fs::remove_file(&port_file)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            return Err(error);
        }
        let words: Vec<String> = template.command.iter().map(|word| self.filled_in(word, &port_file)).collect();
        let mut words = around.launcher.iter().cloned().chain(words);
        let Some(program) = words.next() else { return Err(std::io::ErrorKind::InvalidInput.into()) };
        let (reader, writer) = std::io::pipe()?;
        let mut command = Command::new(program);
        command
            .args(words)
            .envs(&template.env)
            .env("AEGIS_INSTANCE", &self.name)
            .env("AEGIS_NAMESPACE", &self.target.namespace)
            .env("AEGIS_DEPLOYMENT", &self.target.name)
            .env("AEGIS_REVISION", self.revision.to_string())
            .env(PORT_FILE, &port_file)
            .env(PARENT, std::process::id().to_string())
            .stdin(Stdio::null())
            .stdout(writer.try_clone()?)
            .stderr(writer)
            // A group of its own, so that whatever it starts ends with it.
            .process_group(0);
        if let Port::Fixed(port) = template.port {
            command.env("PORT", port.to_string());
        }
        let log = Log::open(around.logs.join(format!("{}.log", self.name)))?;
        let probe = Probe::start(&self.name, template.port, port_file, template.readiness.clone())?;
        // Ends by itself when the last holder of the pipe's other end does: the child, or `command` when it cannot start.
        thread::Builder::new().name(format!("log {}", self.name)).spawn(move || log.keep(reader))?;
        let child = command.spawn()?;
        let identity = Identity::of(child.id());
        Ok(Running { child, identity, since: now, probe })
    }

    fn filled_in(&self, word: &str, port_file: &Path) -> String {
        word.replace("{instance}", &self.name)
            .replace("{namespace}", &self.target.namespace)
            .replace("{deployment}", &self.target.name)
            .replace("{revision}", &self.revision.to_string())
            .replace("{port_file}", &port_file.to_string_lossy())
    }
}

impl Running {
    fn exited(&mut self) -> Option<ExitStatus> {
        // An error here means it was reaped already, which only this line does.
        let status = self.child.try_wait().ok().flatten()?;
        // Whatever it left behind in its group ends too.
        self.identity.kill();
        Some(status)
    }
}

fn exit_words(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with status {code}"),
        (None, Some(number)) => format!("was killed by signal {number}"),
        (None, None) => "ended".to_owned(),
    }
}

/// A log file that is set aside when it grows too large; one older file is kept.
struct Log {
    path: PathBuf,
    file: File,
    size: u64,
}

impl Log {
    fn open(path: PathBuf) -> std::io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(&path)?;
        let size = file.metadata()?.len();
        Ok(Self { path, file, size })
    }

    /// Copies until the writer is gone. A disk that is full must not stop the child, so its words are dropped then.
    fn keep(mut self, mut reader: PipeReader) {
        let mut buffer = vec![0_u8; 16 << 10];
        while let Ok(count @ 1..) = reader.read(&mut buffer) {
            let chunk = buffer.get(..count).unwrap_or_default();
            let _ = self.write(chunk);
        }
    }

    fn write(&mut self, chunk: &[u8]) -> std::io::Result<()> {
        if self.size >= LOG_SIZE {
            std::fs::rename(&self.path, self.path.with_extension("log.1"))?;
            self.file = OpenOptions::new().create(true).append(true).open(&self.path)?;
            self.size = 0;
        }
        self.file.write_all(chunk)?;
        self.size += chunk.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_set_aside_when_full() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shop-1-1.log");
        let mut log = Log::open(path.clone()).unwrap();
        let chunk = vec![b'x'; 1 << 20];
        for _ in 0..12 {
            log.write(&chunk).unwrap();
        }
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 2 << 20);
        assert_eq!(std::fs::metadata(folder.path().join("shop-1-1.log.1")).unwrap().len(), 5 << 20);
    }
}
