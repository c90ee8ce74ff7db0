//! Processes: who is alive, how one is told to stop, how a child dies with its parent.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process_group};
use serde::{Deserialize, Serialize};

/// Tells a child who its supervisor is.
pub(crate) const PARENT: &str = "AEGIS_SUPERVISOR_PID";
/// Tells a child where to write its port.
pub(crate) const PORT_FILE: &str = "AEGIS_PORT_FILE";

/// A process that cannot be mistaken for a later one with the same number.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) pid: u32,
    /// Start time in the kernel's ticks since boot; `None` where the system does not tell.
    pub(crate) started: Option<u64>,
}

/// Why a program could not be started in this process' place.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LaunchError {
    /// Nothing to start.
    #[error("the command is empty")]
    Empty,
    /// The supervisor is gone already.
    #[error("the supervisor that started this process is gone")]
    Orphaned,
    /// The system refuses.
    #[error("cannot start `{program}`")]
    Exec {
        /// The program.
        program: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl Identity {
    /// The process `pid` as it is now.
    pub(crate) fn of(pid: u32) -> Self {
        Self { pid, started: stat(pid).map(|stat| stat.started) }
    }

    /// Whether this very process still runs; a zombie does not.
    pub(crate) fn is_alive(self) -> bool {
        match (stat(self.pid), self.started) {
            (Some(stat), Some(started)) => stat.started == started && !stat.is_zombie,
            (Some(stat), None) => !stat.is_zombie,
            (None, Some(_)) => false,
            // Without /proc only the number can be asked about.
            (None, None) => pid(self.pid).is_some_and(|pid| rustix::process::test_kill_process(pid).is_ok()),
        }
    }

    /// Asks the process and its group to finish.
    pub(crate) fn terminate(self) {
        self.send(Signal::TERM);
    }

    /// Ends the process and its group.
    pub(crate) fn kill(self) {
        self.send(Signal::KILL);
    }

    fn send(self, signal: Signal) {
        // A group that is gone already is what was wanted.
        if let Some(pid) = pid(self.pid) {
            let _ = kill_process_group(pid, signal);
        }
    }
}

/// Becomes `command`, arranged so that the kernel kills it when the supervisor dies, however that happens.
///
/// The supervisor starts its children through this (see `SuperviseOptions::launcher`), so any program may be one. Returns
/// only when it failed.
#[must_use]
pub fn launch(command: &[String]) -> LaunchError {
    let Some((program, arguments)) = command.split_first() else { return LaunchError::Empty };
    let exec = |source| LaunchError::Exec { program: program.clone(), source };
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::set_parent_process_death_signal(Some(Signal::KILL)) {
        return exec(error.into());
    }
    // It may have died before the arrangement was made.
    let parent = std::env::var(PARENT).ok().and_then(|pid| pid.parse().ok());
    if parent.is_some_and(|pid: u32| pid != std::os::unix::process::parent_id()) {
        return LaunchError::Orphaned;
    }
    exec(Command::new(program).args(arguments).exec())
}

/// Tells the supervisor on which port this process listens. Does nothing when not run by one.
///
/// # Errors
/// When the file named by `AEGIS_PORT_FILE` cannot be written.
pub fn report_port(port: u16) -> std::io::Result<()> {
    let Some(path) = std::env::var_os(PORT_FILE) else { return Ok(()) };
    replace(Path::new(&path), port.to_string().as_bytes(), false)
}

/// Writes a file so that readers see the old or the new content, never half; `durable` survives a power cut too.
pub(crate) fn replace(path: &Path, content: &[u8], durable: bool) -> std::io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let fresh = Path::new(&name);
    let mut file = std::fs::File::create(fresh)?;
    file.write_all(content)?;
    if durable {
        file.sync_all()?;
    }
    std::fs::rename(fresh, path)?;
    if let (true, Some(folder)) = (durable, path.parent()) {
        std::fs::File::open(folder)?.sync_all()?;
    }
    Ok(())
}

struct Stat {
    is_zombie: bool,
    started: u64,
}

/// Reads `/proc/<pid>/stat`; fields as in proc(5), counted after the name, which may hold anything.
fn stat(pid: u32) -> Option<Stat> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(") ")?;
    let mut fields = fields.split(' ');
    let state = fields.next()?;
    let started = fields.nth(18)?.parse().ok()?;
    Some(Stat { is_zombie: matches!(state, "Z" | "X"), started })
}

fn pid(number: u32) -> Option<Pid> {
    i32::try_from(number).ok().and_then(Pid::from_raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_told_from_another_with_its_number() {
        let me = Identity::of(std::process::id());
        assert!(me.is_alive());
        assert!(!Identity { started: me.started.map(|at| at + 1), ..me }.is_alive() || me.started.is_none());
    }

    #[test]
    fn launching_says_what_is_wrong() {
        assert!(matches!(launch(&[]), LaunchError::Empty));
        let error = launch(&["/nonexistent/program".to_owned()]);
        assert_eq!(error.to_string(), "cannot start `/nonexistent/program`");
    }

    #[test]
    fn files_are_replaced_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        for content in ["one", "two"] {
            replace(&path, content.as_bytes(), true).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), content);
        }
    }
}
