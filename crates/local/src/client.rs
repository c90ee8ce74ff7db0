//! Talking to the supervisor.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use diagnose::Workload;
use policy::Target;

use crate::wire::{MAX_LINE, Request, Response, SOCKET, Wish};
use crate::{DeploymentSpec, DeploymentStatus, Progress, clock};

/// Longest wait for one answer; answers come from memory, so more means the supervisor hangs.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(50);

/// Asks the supervisor of one run directory. Every call blocks its thread.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

/// Why the supervisor gave no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// Nobody listens: nothing was asked.
    #[error("no supervisor answers at {socket}")]
    Unreachable {
        /// The socket's path.
        socket: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It was asked and did not answer: what became of the request is not known.
    #[error("the supervisor at {socket} did not answer")]
    Broken {
        /// The socket's path.
        socket: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It answered something else.
    #[error("the supervisor gave an answer that makes no sense here: {detail}")]
    Strange {
        /// What is wrong with it.
        detail: String,
    },
    /// It could not do what was asked, and did nothing.
    #[error("the supervisor did nothing: {reason}")]
    Declined {
        /// In its words.
        reason: String,
    },
}

impl Client {
    /// A client of the supervisor that runs in `run_dir`; connects anew for every call.
    #[must_use]
    pub fn new(run_dir: &Path) -> Self {
        Self { socket: run_dir.join(SOCKET) }
    }

    /// Makes the deployment what `spec` says, waiting up to `wait` for it to be ready. Zero does not wait.
    ///
    /// # Errors
    /// `ClientError` when the supervisor cannot be asked.
    pub fn apply(&self, spec: &DeploymentSpec, by: &str, wait: Duration) -> Result<Progress, ClientError> {
        self.change_and_wait(&fresh_key(), by, Wish::Apply { spec: spec.clone() }, wait)
    }

    /// Changes the number of replicas, without a guard.
    ///
    /// # Errors
    /// `ClientError` when the supervisor cannot be asked.
    pub fn scale(&self, target: &Target, to: u32, by: &str, wait: Duration) -> Result<Progress, ClientError> {
        self.change_and_wait(&fresh_key(), by, Wish::Scale { target: target.clone(), from: None, to }, wait)
    }

    /// Goes back to the template of revision `to`, without a guard.
    ///
    /// # Errors
    /// `ClientError` when the supervisor cannot be asked.
    pub fn roll_back(&self, target: &Target, to: u64, by: &str, wait: Duration) -> Result<Progress, ClientError> {
        self.change_and_wait(&fresh_key(), by, Wish::RollBack { target: target.clone(), from: None, to }, wait)
    }

    /// Replaces every replica by a fresh one.
    ///
    /// # Errors
    /// `ClientError` when the supervisor cannot be asked.
    pub fn restart(&self, target: &Target, by: &str, wait: Duration) -> Result<Progress, ClientError> {
        self.change_and_wait(&fresh_key(), by, Wish::Restart { target: target.clone(), revision: None }, wait)
    }

    /// Every deployment and its replicas, by name.
    ///
    /// # Errors
    /// `ClientError` when the supervisor cannot be asked.
    pub fn status(&self) -> Result<Vec<DeploymentStatus>, ClientError> {
        match self.ask(&Request::Status {})? {
            Response::Status(status) => Ok(status),
            other => Err(strange(&other)),
        }
    }

    /// Every deployment as diagnosis sees it, with its revisions and changes.
    ///
    /// # Errors
    /// `ClientError` when the supervisor cannot be asked.
    pub fn workloads(&self) -> Result<Vec<Workload>, ClientError> {
        match self.ask(&Request::Workloads {})? {
            Response::Workloads(workloads) => Ok(workloads),
            other => Err(strange(&other)),
        }
    }

    /// Stops every process and the supervisor; true when all are gone within `wait`. Deployments are forgotten.
    ///
    /// # Errors
    /// `ClientError` when the supervisor cannot be asked.
    pub fn shutdown(&self, wait: Duration) -> Result<bool, ClientError> {
        match self.ask(&Request::Shutdown {})? {
            Response::ShuttingDown => {}
            other => return Err(strange(&other)),
        }
        let start = clock::monotonic();
        while UnixStream::connect(&self.socket).is_ok() {
            if start.elapsed() >= wait {
                return Ok(false);
            }
            std::thread::sleep(POLL);
        }
        Ok(true)
    }

    /// What became of the change with this key.
    ///
    /// # Errors
    /// `ClientError` when the supervisor cannot be asked.
    pub fn progress(&self, key: &str) -> Result<Progress, ClientError> {
        progress(self.ask(&Request::Progress { key: key.to_owned() })?)
    }

    /// Asks for a change under `key`; asking again never acts twice.
    pub(crate) fn change(&self, key: &str, by: &str, change: Wish) -> Result<Progress, ClientError> {
        progress(self.ask(&Request::Change { key: key.to_owned(), by: by.to_owned(), change: Box::new(change) })?)
    }

    /// Polls until the change is settled or `wait` has passed.
    pub(crate) fn wait(&self, key: &str, wait: Duration) -> Result<Progress, ClientError> {
        let start = clock::monotonic();
        loop {
            let progress = self.progress(key)?;
            if progress != Progress::Running || start.elapsed() >= wait {
                return Ok(progress);
            }
            std::thread::sleep(POLL.min(wait.saturating_sub(start.elapsed())));
        }
    }

    fn change_and_wait(&self, key: &str, by: &str, change: Wish, wait: Duration) -> Result<Progress, ClientError> {
        match self.change(key, by, change)? {
            Progress::Running if !wait.is_zero() => self.wait(key, wait),
            progress => Ok(progress),
        }
    }

    fn ask(&self, request: &Request) -> Result<Response, ClientError> {
        let socket = || self.socket.display().to_string();
        let stream = UnixStream::connect(&self.socket)
            .map_err(|source| ClientError::Unreachable { socket: socket(), source })?;
        let answer = exchange(&stream, request).map_err(|source| ClientError::Broken { socket: socket(), source })?;
        match serde_json::from_str(&answer) {
            Ok(Response::Error(reason)) => Err(ClientError::Declined { reason }),
            Ok(response) => Ok(response),
            Err(error) => Err(ClientError::Strange { detail: error.to_string() }),
        }
    }
}

fn exchange(mut stream: &UnixStream, request: &Request) -> std::io::Result<String> {
    stream.set_read_timeout(Some(ANSWER_WITHIN))?;
    stream.set_write_timeout(Some(ANSWER_WITHIN))?;
    let mut line = serde_json::to_string(request)?;
    line.push('\n');
    stream.write_all(line.as_bytes())?;
    let mut answer = String::new();
    BufReader::new(stream.take(MAX_LINE)).read_line(&mut answer)?;
    if !answer.ends_with('\n') {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    Ok(answer)
}

fn progress(response: Response) -> Result<Progress, ClientError> {
    match response {
        Response::Progress(progress) => Ok(progress),
        other => Err(strange(&other)),
    }
}

fn strange(response: &Response) -> ClientError {
    let detail: String = format!("{response:?}").chars().take(200).collect();
    ClientError::Strange { detail }
}

/// A key nobody has used: this process, this moment, a counter.
fn fresh_key() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("client-{}-{}-{}", std::process::id(), clock::wall().0, NEXT.fetch_add(1, Ordering::Relaxed))
}
