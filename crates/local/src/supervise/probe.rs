//! Is this replica ready? One thread per process finds its port, then asks it again and again.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::{Port, clock};

const WITHIN: Duration = Duration::from_secs(1);
/// A busy replica may miss a beat; three in a row are a failure.
const FAILURES: u32 = 3;
const EVERY: Duration = Duration::from_secs(1);
/// Until the first success, so that a start is noticed at once.
const EVERY_AT_FIRST: Duration = Duration::from_millis(100);

/// The running probe of one process; stops when dropped.
#[derive(Debug)]
pub(super) struct Probe {
    seen: Arc<Seen>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Seen {
    /// 0 until known.
    port: AtomicU16,
    is_ready: AtomicBool,
    is_stopped: AtomicBool,
}

impl Probe {
    /// Starts asking; `path` is the readiness path.
    pub(super) fn start(name: &str, port: Port, port_file: PathBuf, path: String) -> std::io::Result<Self> {
        let seen = Arc::new(Seen::default());
        if let Port::Fixed(port) = port {
            seen.port.store(port, Ordering::Relaxed);
        }
        let shared = Arc::clone(&seen);
        let thread =
            thread::Builder::new().name(format!("probe {name}")).spawn(move || watch(&shared, &port_file, &path))?;
        Ok(Self { seen, thread: Some(thread) })
    }

    pub(super) fn is_ready(&self) -> bool {
        self.seen.is_ready.load(Ordering::Relaxed)
    }

    pub(super) fn address(&self) -> Option<SocketAddr> {
        address(&self.seen)
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.seen.is_stopped.store(true, Ordering::Relaxed);
        // Not joined: it may be inside a one-second request, and then ends by itself.
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
        }
    }
}

fn watch(seen: &Seen, port_file: &Path, path: &str) {
    let (mut failures, mut was_ready) = (0_u32, false);
    while !seen.is_stopped.load(Ordering::Relaxed) {
        if let Some(port) = reported_port(port_file).filter(|_| seen.port.load(Ordering::Relaxed) == 0) {
            seen.port.store(port, Ordering::Relaxed);
        }
        if address(seen).is_some_and(|address| answers(address, path).unwrap_or(false)) {
            (failures, was_ready) = (0, true);
            seen.is_ready.store(true, Ordering::Relaxed);
        } else {
            failures = failures.saturating_add(1);
            if failures >= FAILURES {
                seen.is_ready.store(false, Ordering::Relaxed);
            }
        }
        thread::park_timeout(if was_ready { EVERY } else { EVERY_AT_FIRST });
    }
}

fn address(seen: &Seen) -> Option<SocketAddr> {
    let port = seen.port.load(Ordering::Relaxed);
    (port > 0).then(|| SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
}

fn reported_port(file: &Path) -> Option<u16> {
    std::fs::read_to_string(file).ok()?.trim().parse().ok().filter(|port| *port > 0)
}

/// Whether a plain GET is answered with 2xx in time.
fn answers(address: SocketAddr, path: &str) -> std::io::Result<bool> {
    let start = clock::monotonic();
    let mut stream = TcpStream::connect_timeout(&address, WITHIN)?;
    stream.set_write_timeout(Some(WITHIN))?;
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: aegis-probe\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    // "HTTP/1.1 200" is all that matters; what follows is left unread.
    let mut head = Vec::with_capacity(12);
    let mut byte = [0_u8; 1];
    while head.len() < 12 {
        let left = WITHIN.checked_sub(start.elapsed()).filter(|left| !left.is_zero());
        let Some(left) = left else { return Ok(false) };
        stream.set_read_timeout(Some(left))?;
        if stream.read(&mut byte)? == 0 {
            return Ok(false);
        }
        head.extend_from_slice(&byte);
    }
    Ok(head.starts_with(b"HTTP/1.") && head.get(9) == Some(&b'2'))
}
