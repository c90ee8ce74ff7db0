//! Lines as they come, over a websocket that is opened again when it breaks.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::StreamExt;
use query::logql::Direction;
use reqwest::Upgraded;
use reqwest::header::{CONNECTION, UPGRADE};
use serde::Deserialize;
use signal::{Labels, Nanos, Timestamp};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::super::place::{Place, Server};
use super::super::{note, unless_closed};
use super::lines::{Line, Printer};
use super::pages::{Stream, in_order, runtime};
use super::{LogsArgs, Shown};
use crate::seed;

/// Lines from before that are asked for when a connection is opened again.
const MISSED: usize = 5_000;
/// Pauses before another try.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Follows until interrupted.
pub(super) fn follow(args: &LogsArgs, place: Place, start: Timestamp) -> anyhow::Result<ExitCode> {
    let Place::Server(server) = place else { bail!("only a running server can be followed; name one with --url") };
    // What is common to all lines to come is not known.
    let shown = if args.labels == Shown::None { Shown::None } else { Shown::All };
    let mut tail = Tail::new(server, &args.expr, args.limit, start.to_nanos(), Printer::new(args.output, shown));
    tail.delay_for = args.delay_for;
    runtime()?.block_on(tail.run())
}

pub(super) struct Tail {
    server: Server,
    expr: String,
    delay_for: u8,
    limit: usize,
    printer: Printer,
    /// Where the history begins: after a break the time of the last line.
    start: Nanos,
    /// Lines of that time that were given already.
    edge: Vec<Line>,
    has_begun: bool,
}

/// Why a connection ended.
enum End {
    /// Nobody reads what is written.
    Written(io::Error),
    Broken(String),
}

#[derive(Deserialize)]
struct Frame {
    #[serde(default)]
    streams: Option<Vec<Stream>>,
    #[serde(default)]
    dropped_entries: Option<Vec<Dropped>>,
    /// Aegis counts all, also those it does not name.
    #[serde(default)]
    dropped_count: Option<u64>,
}

#[derive(Deserialize)]
struct Dropped {
    #[serde(default)]
    labels: Option<Labels>,
}

impl Tail {
    pub(super) fn new(server: Server, expr: &str, limit: usize, start: Nanos, printer: Printer) -> Self {
        let (expr, edge) = (expr.to_owned(), Vec::new());
        Self { server, expr, delay_for: 0, limit, printer, start, edge, has_begun: false }
    }

    async fn run(mut self) -> anyhow::Result<ExitCode> {
        let mut pause = FIRST_PAUSE;
        loop {
            match self.connect().await {
                Ok(socket) => {
                    self.has_begun = true;
                    match self.read(socket).await {
                        End::Written(error) => return unless_closed(Err(error)),
                        End::Broken(reason) => note(&format!("the connection to {} ended: {reason}", self.server)),
                    }
                    pause = FIRST_PAUSE;
                }
                // Nothing worked so far, so trying again is no help.
                Err(error) if !self.has_begun => return Err(error),
                Err(error) => note(&format!("{error:#}")),
            }
            note(&format!("trying again in {} s", pause.as_secs()));
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    pub(super) async fn connect(&self) -> anyhow::Result<WebSocketStream<Upgraded>> {
        let limit = if self.has_begun { MISSED } else { self.limit.clamp(1, MISSED) };
        let parameters = [
            ("query", self.expr.clone()),
            ("start", self.start.0.to_string()),
            ("limit", limit.to_string()),
            ("delay_for", self.delay_for.to_string()),
        ];
        let key = STANDARD.encode([seed::fresh().to_be_bytes(), seed::fresh().to_be_bytes()].concat());
        let request = self
            .server
            .lasting("loki/api/v1/tail", &parameters)?
            .header(CONNECTION, "Upgrade")
            .header(UPGRADE, "websocket")
            .header("Sec-WebSocket-Version", "13")
            .header("Sec-WebSocket-Key", &key);
        let cannot = || format!("cannot follow {}", self.server);
        let response = request.send().await.map_err(reqwest::Error::without_url).with_context(cannot)?;
        if response.status().as_u16() != 101 {
            let status = response.status().as_u16();
            let text = response.text().await.unwrap_or_default();
            bail!("{} answered {status}: {}", self.server, text.trim());
        }
        let accepted = response.headers().get("Sec-WebSocket-Accept").and_then(|value| value.to_str().ok());
        if accepted != Some(&derive_accept_key(key.as_bytes())) {
            bail!("{} does not speak websocket", self.server);
        }
        let upgraded = response.upgrade().await.map_err(reqwest::Error::without_url).with_context(cannot)?;
        Ok(WebSocketStream::from_raw_socket(upgraded, Role::Client, None).await)
    }

    async fn read(&mut self, mut socket: WebSocketStream<Upgraded>) -> End {
        loop {
            match self.hear(&mut socket).await {
                Ok(lines) => {
                    if let Err(error) = self.print(&lines) {
                        return End::Written(error);
                    }
                }
                Err(reason) => return End::Broken(reason),
            }
        }
    }

    /// The lines of the next frame that were not given already; why there is none.
    pub(super) async fn hear(&mut self, socket: &mut WebSocketStream<Upgraded>) -> Result<Vec<Line>, String> {
        let text = loop {
            match socket.next().await {
                None => return Err("the server left".to_owned()),
                Some(Err(error)) => return Err(error.to_string()),
                Some(Ok(Message::Close(frame))) => {
                    let reason = frame.map(|frame| frame.reason.to_string()).filter(|reason| !reason.is_empty());
                    return Err(reason.unwrap_or_else(|| "the server closed it".to_owned()));
                }
                // Pings are answered by the library.
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Binary(_) | Message::Frame(_))) => {}
                Some(Ok(Message::Text(text))) => break text,
            }
        };
        let strange = |error: &dyn std::fmt::Display| format!("cannot understand a frame: {error}");
        let frame: Frame = serde_json::from_str(text.as_str()).map_err(|error| strange(&error))?;
        let streams = frame.streams.unwrap_or_default();
        let mut lines = in_order(streams, Direction::Forward).map_err(|error| strange(&error))?;
        // After a break the last lines come once more.
        lines.retain(|line| !self.edge.contains(line));
        for line in &lines {
            if line.at > self.start {
                self.start = line.at;
                self.edge.clear();
            }
            if line.at == self.start {
                self.edge.push(line.clone());
            }
        }
        let named = frame.dropped_entries.unwrap_or_default();
        let count = frame.dropped_count.unwrap_or(named.len() as u64);
        if count > 0 {
            let example = named.into_iter().find_map(|dropped| dropped.labels);
            let example = example.map(|labels| format!(", such as of {labels}")).unwrap_or_default();
            note(&format!("{count} lines were dropped{example}: they come faster than they are read"));
        }
        Ok(lines)
    }

    fn print(&mut self, lines: &[Line]) -> io::Result<()> {
        self.printer.look(lines);
        let mut out = io::stdout().lock();
        lines.iter().try_for_each(|line| self.printer.write(&mut out, line))?;
        out.flush()
    }
}
