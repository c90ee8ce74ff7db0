//! A process that the demo keeps running, as a service manager would.

use std::fs::OpenOptions;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};
use signal::Timestamp;

use crate::clock::Stopwatch;

/// How to start a process and where its output goes.
#[derive(Clone, Debug)]
pub(crate) struct Start {
    pub(crate) name: &'static str,
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<String>,
    pub(crate) log: PathBuf,
}

/// A process that should run until it is stopped.
#[derive(Debug)]
pub(crate) struct Service {
    start: Start,
    child: Child,
    restarts: Vec<Timestamp>,
    is_given_up: bool,
}

/// Restarts within [`RESTART_WINDOW`] after which the process is left dead.
const MOST_RESTARTS: usize = 5;
const RESTART_WINDOW: Duration = Duration::from_secs(60);

impl Service {
    pub(crate) fn start(start: Start) -> anyhow::Result<Self> {
        let child = spawn(&start)?;
        Ok(Self { start, child, restarts: Vec::new(), is_given_up: false })
    }

    pub(crate) fn name(&self) -> &'static str {
        self.start.name
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// How the process ended, when it has.
    pub(crate) fn ended(&mut self) -> Option<String> {
        self.child.try_wait().ok().flatten().map(describe)
    }

    /// Starts the process again when it has ended; words about it when there is news.
    pub(crate) fn keep(&mut self, now: Timestamp) -> Option<String> {
        if self.is_given_up {
            return None;
        }
        let ending = self.ended()?;
        self.restarts.retain(|at| now.since(*at) < RESTART_WINDOW);
        if self.restarts.len() >= MOST_RESTARTS {
            self.is_given_up = true;
            return Some(format!("{} {ending} for the sixth time in a minute; left as it is", self.start.name));
        }
        self.restarts.push(now);
        match spawn(&self.start) {
            Ok(child) => {
                self.child = child;
                Some(format!("{} {ending}; started again on the same data directory", self.start.name))
            }
            Err(error) => {
                self.is_given_up = true;
                Some(format!("{} {ending} and cannot be started again: {error:#}", self.start.name))
            }
        }
    }

    /// The last lines of what the process said.
    pub(crate) fn last_words(&self) -> String {
        let text = std::fs::read(&self.start.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        lines.iter().skip(lines.len().saturating_sub(8)).copied().collect::<Vec<_>>().join("\n")
    }

    /// Asks the process to stop; ends it when it has not after `patience`.
    pub(crate) async fn stop(mut self, patience: Duration) {
        let waiting = Stopwatch::start();
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)
            && self.child.try_wait().is_ok_and(|ended| ended.is_none())
        {
            let _ = kill_process(pid, Signal::TERM);
        }
        while self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            if waiting.elapsed() >= patience {
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn spawn(start: &Start) -> anyhow::Result<Child> {
    let log = OpenOptions::new().create(true).append(true).open(&start.log);
    let log = log.with_context(|| format!("opening {}", start.log.display()))?;
    let errors = log.try_clone().context("opening the log twice")?;
    Command::new(&start.program)
        .args(&start.arguments)
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        // Ctrl-C on the terminal is for the demo, which stops the others in order.
        .process_group(0)
        .spawn()
        .with_context(|| format!("starting {} ({})", start.name, start.program.display()))
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with status {code}"),
        (None, Some(number)) => format!("was ended by signal {number}"),
        (None, None) => "ended".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, log: PathBuf) -> Start {
        Start {
            name: "shell",
            program: PathBuf::from("/bin/sh"),
            arguments: vec!["-c".to_owned(), script.to_owned()],
            log,
        }
    }

    #[tokio::test]
    async fn a_process_that_dies_is_started_again_but_not_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let mut service = Service::start(shell("echo gone; exit 3", dir.path().join("log"))).unwrap();
        let mut news = Vec::new();
        while news.len() < 6 {
            let _ = service.child.wait();
            news.extend(service.keep(Timestamp(1_000)));
        }
        assert_eq!(news[0], "shell ended with status 3; started again on the same data directory");
        assert_eq!(news[5], "shell ended with status 3 for the sixth time in a minute; left as it is");
        assert_eq!(service.keep(Timestamp(2_000)), None);
        assert!(service.last_words().starts_with("gone"));
    }

    #[tokio::test]
    async fn stopping_asks_first_and_insists_later() {
        let dir = tempfile::tempdir().unwrap();
        for (case, script) in [("polite", "exec sleep 60"), ("deaf", "trap '' TERM; sleep 60 & wait; wait")] {
            let mut service = Service::start(shell(script, dir.path().join("log"))).unwrap();
            assert_eq!(service.keep(Timestamp(0)), None, "{case}");
            let id = i32::try_from(service.id()).unwrap();
            service.stop(Duration::from_millis(300)).await;
            assert!(rustix::process::test_kill_process(Pid::from_raw(id).unwrap()).is_err(), "{case}");
        }
    }
}
