//! The supervisor's ear: a Unix socket only its user may open, one JSON request per line.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::wire::{MAX_LINE, Request, Response};

const IDLE: Duration = Duration::from_secs(30);
const CONNECTIONS: usize = 32;
/// Requests waiting for the supervisor's loop; senders wait when it is full.
const WAITING: usize = 64;

/// A request and where its answer goes.
pub(super) struct Asked {
    pub(super) request: Request,
    pub(super) answer: SyncSender<Response>,
}

/// Accepts until dropped; the socket file goes with it.
pub(super) struct Ear {
    path: PathBuf,
    is_stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Ear {
    pub(super) fn open(path: &Path) -> std::io::Result<(Self, Receiver<Asked>)> {
        // Left over from a supervisor that was killed; the lock on the folder says nobody uses it.
        if let Err(error) = std::fs::remove_file(path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            return Err(error);
        }
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        let (sender, receiver) = sync_channel(WAITING);
        let is_stopped = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&is_stopped);
        let thread =
            thread::Builder::new().name("socket".to_owned()).spawn(move || accept(&listener, &sender, &stopped))?;
        Ok((Self { path: path.to_owned(), is_stopped, thread: Some(thread) }, receiver))
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        self.is_stopped.store(true, Ordering::Relaxed);
        // Wakes the thread out of `accept`.
        let woken = UnixStream::connect(&self.path).is_ok();
        let _ = std::fs::remove_file(&self.path);
        if let Some(thread) = self.thread.take().filter(|_| woken) {
            let _ = thread.join();
        }
    }
}

fn accept(listener: &UnixListener, sender: &SyncSender<Asked>, is_stopped: &AtomicBool) {
    let open = Arc::new(AtomicUsize::new(0));
    for stream in listener.incoming() {
        if is_stopped.load(Ordering::Relaxed) {
            return;
        }
        let Ok(stream) = stream else {
            thread::sleep(Duration::from_millis(50));
            continue;
        };
        if open.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS {
            open.fetch_sub(1, Ordering::Relaxed);
            continue;
        }
        let (sender, counted) = (sender.clone(), Arc::clone(&open));
        // Ends with its connection, after thirty idle seconds at the latest.
        let spawned = thread::Builder::new().name("connection".to_owned()).spawn(move || {
            let _ = converse(&stream, &sender);
            counted.fetch_sub(1, Ordering::Relaxed);
        });
        if spawned.is_err() {
            open.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

fn converse(stream: &UnixStream, sender: &SyncSender<Asked>) -> std::io::Result<()> {
    stream.set_read_timeout(Some(IDLE))?;
    stream.set_write_timeout(Some(IDLE))?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if reader.by_ref().take(MAX_LINE).read_line(&mut line)? == 0 {
            return Ok(());
        }
        let response = match serde_json::from_str(&line) {
            Ok(request) => ask(request, sender),
            Err(error) => Response::Error(format!("not a request: {error}")),
        };
        let mut text = serde_json::to_string(&response)?;
        text.push('\n');
        let mut writer = stream;
        writer.write_all(text.as_bytes())?;
    }
}

fn ask(request: Request, sender: &SyncSender<Asked>) -> Response {
    let (answer, answered) = sync_channel(1);
    let gone = || Response::Error("the supervisor is stopping".to_owned());
    if sender.send(Asked { request, answer }).is_err() {
        return gone();
    }
    answered.recv().unwrap_or_else(|_| gone())
}
