//! Syslog messages over TCP and UDP become lines.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use ingest::pipeline::{Entry, Pipeline};
use ingest::syslog::{Frames, Message, parse};
use signal::{Labels, Nanos, StreamWrite, WriteBatch};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};
use web::{Ingress, WriteError};

use crate::clock;
use crate::config::SyslogSettings;
use crate::instruments::Instruments;

/// Connections at once; further ones wait.
const CONNECTIONS: usize = 512;
/// A connection that says nothing for this long is closed.
const IDLE: Duration = Duration::from_secs(600);
/// Time between two looks at what stages hold back.
const HELD: Duration = Duration::from_secs(1);
/// Bytes read at once; the most a datagram can have.
const READ: usize = 64 << 10;
/// Datagrams written together.
const TOGETHER: usize = 512;
/// Pauses before what was refused is written again; a sender over TCP waits meanwhile.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How often messages are written that are over a limit somebody has set.
const TRIES: u32 = 5;

/// An open port.
pub(crate) enum Receiver {
    Tcp(TcpListener),
    Udp(UdpSocket),
}

impl Receiver {
    /// Opens the ports that are configured.
    ///
    /// # Errors
    /// When one is taken.
    pub(crate) async fn bind(settings: &SyslogSettings) -> anyhow::Result<Vec<Self>> {
        let mut receivers = Vec::new();
        let taken = |address: SocketAddr| format!("cannot listen for syslog on {address}");
        if let Some(address) = settings.tcp {
            let listener = TcpListener::bind(address).await.with_context(|| taken(address))?;
            info!(listen = %listener.local_addr()?, "listening for syslog over TCP");
            receivers.push(Self::Tcp(listener));
        }
        if let Some(address) = settings.udp {
            let socket = UdpSocket::bind(address).await.with_context(|| taken(address))?;
            info!(listen = %socket.local_addr()?, "listening for syslog over UDP");
            receivers.push(Self::Udp(socket));
        }
        Ok(receivers)
    }

    /// Takes messages until `stop`.
    pub(crate) async fn run(
        self,
        settings: SyslogSettings,
        ingress: Ingress,
        instruments: Arc<Instruments>,
        stop: CancellationToken,
    ) {
        let lines = Lines { pipeline: settings.pipeline.clone(), settings: Arc::new(settings), done: Vec::new() };
        let sink = Sink { ingress, instruments, stop: stop.clone() };
        match self {
            Self::Tcp(listener) => accept(listener, lines, sink).await,
            Self::Udp(socket) => listen(&socket, lines, &sink).await,
        }
    }
}

/// Messages of one sender on their way to lines.
#[derive(Clone)]
struct Lines {
    settings: Arc<SyslogSettings>,
    pipeline: Pipeline,
    done: Vec<Entry>,
}

impl Lines {
    fn add(&mut self, bytes: &[u8]) {
        let now = clock::now().to_nanos();
        let Message { facility, severity, at, host, app, metadata, text } = parse(bytes);
        if text.is_empty() {
            return;
        }
        let base = self.settings.labels.iter();
        let own = [("app", app.as_str()), ("host", &host), ("level", severity)];
        let labels = Labels::from_pairs(own.into_iter().chain(base));
        let at = at.filter(|_| self.settings.uses_sent_time).unwrap_or(now);
        let entry = Entry::new(at, labels, text, 0).with_metadata(metadata.iter().chain([("facility", facility)]));
        self.pipeline.feed(entry, now, &mut self.done);
    }

    /// What is finished; at the `end` also what stages hold back.
    fn take(&mut self, is_end: bool) -> WriteBatch {
        let now = clock::now().to_nanos();
        if is_end {
            self.pipeline.flush(now, &mut self.done);
        } else {
            self.pipeline.flush_due(now, &mut self.done);
        }
        let mut streams: Vec<StreamWrite> = Vec::new();
        let mut last = Nanos(0);
        for entry in self.done.drain(..) {
            let (labels, mut line) = entry.into_line();
            // Messages without a time of their own keep their order, and equal ones do not count as one.
            if line.at <= last && last.0 - line.at.0 < 1_000_000 {
                line.at = Nanos(last.0 + 1);
            }
            last = line.at;
            match streams.iter_mut().find(|stream| stream.labels == labels) {
                Some(stream) => stream.lines.push(line),
                None => streams.push(StreamWrite { labels, lines: vec![line] }),
            }
        }
        WriteBatch { streams, ..WriteBatch::default() }
    }
}

/// Where lines go.
#[derive(Clone)]
struct Sink {
    ingress: Ingress,
    instruments: Arc<Instruments>,
    stop: CancellationToken,
}

impl Sink {
    /// Writes a batch; over TCP again and again while the store cannot take it.
    async fn write(&self, batch: WriteBatch, protocol: &'static str) {
        if batch.is_empty() {
            return;
        }
        let lines = batch.line_count();
        let (mut pause, mut tries) = (FIRST_PAUSE, 0);
        loop {
            tries += 1;
            match self.ingress.write(batch.clone()).await {
                Ok(written) if tries < TRIES && written.rejected.iter().any(|refused| refused.is_for_now()) => {}
                Ok(_) => {
                    self.instruments.heard_syslog(protocol, "taken", lines);
                    return;
                }
                Err(error @ (WriteError::Stopped | WriteError::TooLarge(_))) => {
                    warn!(%error, protocol, lines, "syslog messages are lost");
                    self.instruments.heard_syslog(protocol, "lost", lines);
                    return;
                }
                // Whoever sends datagrams does not wait, and the next ones are lost in their stead.
                Err(_) if protocol == "udp" && tries >= TRIES => {
                    self.instruments.heard_syslog(protocol, "lost", lines);
                    return;
                }
                Err(_) => {}
            }
            if self.stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                self.instruments.heard_syslog(protocol, "lost", lines);
                return;
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

async fn accept(listener: TcpListener, lines: Lines, sink: Sink) {
    let (room, tasks) = (Arc::new(Semaphore::new(CONNECTIONS)), TaskTracker::new());
    loop {
        let next = async {
            let place = Arc::clone(&room).acquire_owned().await.ok()?;
            Some((place, listener.accept().await))
        };
        let Some(Some((place, accepted))) = sink.stop.run_until_cancelled(next).await else { break };
        match accepted {
            Ok((stream, _)) => {
                let (lines, sink) = (lines.clone(), sink.clone());
                tasks.spawn(async move {
                    read(stream, lines, &sink).await;
                    drop(place);
                });
            }
            // Too many open files, most likely; that passes.
            Err(_) => tokio::time::sleep(FIRST_PAUSE).await,
        }
    }
    tasks.close();
    tasks.wait().await;
}

async fn read(mut stream: TcpStream, mut lines: Lines, sink: &Sink) {
    let mut frames = Frames::default();
    let mut buffer = vec![0; READ];
    let mut silent = Duration::ZERO;
    let most = lines.settings.max_bytes;
    loop {
        let read = sink.stop.run_until_cancelled(timeout(HELD, stream.read(&mut buffer))).await;
        match read {
            Some(Ok(Ok(count))) if count > 0 => {
                silent = Duration::ZERO;
                frames.feed(buffer.get(..count).unwrap_or_default(), most, |message| lines.add(message));
            }
            Some(Err(_)) if silent < IDLE => silent += HELD,
            // The end, of the connection or of Aegis.
            Some(_) | None => break,
        }
        sink.write(lines.take(false), "tcp").await;
    }
    frames.finish(|message| lines.add(message));
    sink.write(lines.take(true), "tcp").await;
}

async fn listen(socket: &UdpSocket, mut lines: Lines, sink: &Sink) {
    let mut buffer = vec![0; READ];
    loop {
        let received = sink.stop.run_until_cancelled(timeout(HELD, socket.recv(&mut buffer))).await;
        match received {
            None => break,
            Some(Ok(Ok(count))) => {
                lines.add(buffer.get(..count).unwrap_or_default());
                // What else has come meanwhile goes along.
                for _ in 1..TOGETHER {
                    let Ok(count) = socket.try_recv(&mut buffer) else { break };
                    lines.add(buffer.get(..count).unwrap_or_default());
                }
            }
            Some(Ok(Err(_)) | Err(_)) => {}
        }
        sink.write(lines.take(false), "udp").await;
    }
    sink.write(lines.take(true), "udp").await;
}

#[cfg(test)]
mod tests;
