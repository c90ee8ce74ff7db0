//! `/tail`: lines as they come, over a websocket.
//!
//! Three things go on side by side in one task: the tap brings lines that have become durable, the query's stages look
//! at each, and what is left goes out in frames. Whatever does not fit between them is counted and told to the client;
//! the write path never waits.

mod outgoing;

use std::collections::HashMap;
use std::pin::pin;
use std::time::Duration;

use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use query::logql::{self, Answer, Direction, Expr, KeptLine, LineRunner, RangeQuery};
use signal::{Labels, Nanos};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::yield_now;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::answer::Shape;
use super::{Handles, QUERY_WINDOW, Window, question};
use crate::handles::{Committed, Followed, LineFollower};
use crate::params::Params;
use crate::reply::{Plain, Refusal};
use outgoing::Outgoing;

/// Clients that may tail at once.
pub(crate) const TAILERS: usize = 100;
/// Loki's `maxDelayForInTailing`, in seconds.
const MAX_DELAY_S: u64 = 5;
/// Loki's `tail_max_duration`.
const MAX_DURATION: Duration = Duration::from_secs(3_600);
/// As often as Loki: what stands between must not think the connection idle.
const PING_EVERY: Duration = Duration::from_secs(1);
/// A client that takes no frame for so long is gone.
const SEND_TIME: Duration = Duration::from_secs(30);
/// Bytes of lines that may wait for the stages.
const FOLLOW_BYTES: usize = 64 << 20;
/// Lines looked at between two chances for others.
const AT_ONCE: usize = 256;
/// Lines may be dated ahead of our clock; admission lets them be by ten minutes.
const AHEAD: Duration = Duration::from_secs(660);
/// Clients say nothing but goodbye.
const MAX_MESSAGE: usize = 64 * 1024;

/// What is asked for.
struct Question {
    expr: Expr,
    start: Nanos,
    now: Nanos,
    /// Most lines from before the request.
    limit: usize,
    delay: Duration,
    shape: Shape,
}

pub(super) async fn tail(
    State(handles): State<Handles>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    params: Params,
) -> Result<Response, Plain> {
    let now = (handles.now)().to_nanos();
    let expr = logql::parse(params.get("query").unwrap_or_default())?;
    let question = Question {
        start: Window::read(&params, &handles, QUERY_WINDOW)?.start,
        now,
        limit: question::lines(&params, &expr)?,
        expr,
        delay: delay(&params)?,
        shape: Shape::of(&headers, Direction::Forward),
    };
    let runner = LineRunner::new(&question.expr, now).map_err(|error| Refusal::bad(error.to_string()))?;
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade.max_message_size(MAX_MESSAGE).max_frame_size(MAX_MESSAGE),
        Err(rejection) => {
            let text = format!("tail is spoken over a websocket: {}", rejection.body_text());
            return Err(Refusal::bad(text).with_status(rejection.status()).into());
        }
    };
    let slot = handles.tailers.clone().try_acquire_owned().map_err(|_| {
        let text = format!(
            "max concurrent tail requests limit exceeded, count > limit ({} > {TAILERS})",
            TAILERS.saturating_add(1)
        );
        Refusal::bad(text).with_status(axum::http::StatusCode::TOO_MANY_REQUESTS)
    })?;
    let session = Session { handles, question, runner, _slot: slot };
    Ok(upgrade.on_upgrade(move |socket| session.run(socket)).into_response())
}

fn delay(params: &Params) -> Result<Duration, Refusal> {
    let Some(text) = params.get("delay_for") else { return Ok(Duration::ZERO) };
    let seconds: u64 = text
        .parse()
        .map_err(|_| Refusal::bad(format!("cannot parse 'delay_for': `{text}` is not a whole number of seconds")))?;
    if seconds > MAX_DELAY_S {
        return Err(Refusal::bad(format!("delay_for can't be greater than {MAX_DELAY_S}")));
    }
    Ok(Duration::from_secs(seconds))
}

/// One client that tails.
struct Session {
    handles: Handles,
    question: Question,
    runner: LineRunner,
    _slot: OwnedSemaphorePermit,
}

impl Session {
    async fn run(self, mut socket: WebSocket) {
        // First, so that nothing is made durable between the history and what follows.
        let mut follower = self.handles.tap.follow(FOLLOW_BYTES);
        let outgoing = Outgoing::new(self.question.delay);
        let served = timeout(MAX_DURATION, async {
            let work = async {
                match self.history().await {
                    Ok(seam) => {
                        let shown = Shown::of(&seam);
                        outgoing.begin(seam.lines);
                        self.look(&mut follower, shown, &outgoing).await;
                        outgoing.finish("the server is shutting down");
                    }
                    Err(reason) => outgoing.finish(&reason),
                }
            };
            let (mut work, mut delivery) = (pin!(work), pin!(self.deliver(&mut socket, &outgoing)));
            let mut is_over = false;
            loop {
                tokio::select! {
                    end = &mut delivery => return end,
                    () = &mut work, if !is_over => is_over = true,
                }
            }
        });
        let end = match served.await {
            Ok(end) => end,
            Err(_) => End::Closing("reached tail max duration limit".to_owned()),
        };
        if let End::Closing(reason) = end {
            let frame = CloseFrame { code: close_code::ERROR, reason: short(&reason).into() };
            let _ = timeout(SEND_TIME, socket.send(Message::Close(Some(frame)))).await;
        }
    }

    /// The newest lines from before, oldest first, and where what follows begins.
    async fn history(&self) -> Result<Seam, String> {
        let Question { start, now, limit, .. } = self.question;
        let query = RangeQuery::lines(start, now.plus(AHEAD), limit);
        let (expr, tap) = (self.question.expr.clone(), self.handles.tap.clone());
        let read = self.handles.reader.run(None, move |snapshot, cancel| {
            // The snapshot is older than this number.
            let last_seen = tap.last_seen();
            logql::range(&expr, snapshot, query, cancel).map(|answer| (answer, last_seen))
        });
        let (answer, last_seen) = read.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        let Answer::Streams(streams) = answer else { return Err("a metric query has no lines".to_owned()) };
        let mut lines = Vec::new();
        for stream in streams {
            lines.extend(stream.lines.iter().map(|(at, line)| KeptLine {
                at: *at,
                line: line.clone(),
                labels: stream.labels.clone(),
                stream: stream.stream.clone(),
                structured: stream.structured.clone(),
                parsed: stream.parsed.clone(),
            }));
        }
        lines.sort_by_key(|line| line.at);
        Ok(Seam { lines, last_seen })
    }

    /// Runs the stages over what comes, until nothing comes any more.
    async fn look(&self, follower: &mut LineFollower, mut shown: Shown, outgoing: &Outgoing) {
        while let Some(followed) = follower.next().await {
            match followed {
                Followed::Missed(missed) => {
                    for (labels, (count, last)) in &missed.streams {
                        if self.runner.wants(labels) {
                            outgoing.miss(Some((labels, *last)), *count);
                        }
                    }
                    // Nobody knows of which streams the others are.
                    outgoing.miss(None, missed.unnamed());
                }
                Followed::Lines(committed) => {
                    if committed.turn > shown.last_seen {
                        shown.lines.clear();
                    }
                    self.look_at(&committed, &mut shown, outgoing).await;
                }
            }
        }
    }

    async fn look_at(&self, committed: &Committed, shown: &mut Shown, outgoing: &Outgoing) {
        for stream in committed.streams.iter().filter(|stream| self.runner.wants(&stream.labels)) {
            for lines in stream.lines.chunks(AT_ONCE) {
                for kept in lines.iter().filter_map(|line| self.runner.run(&stream.labels, line)) {
                    if !shown.take(&kept) {
                        outgoing.push(kept).await;
                    }
                }
                yield_now().await;
            }
        }
    }

    /// Sends frames and pings until there is nothing more to send, or nobody to send it to.
    async fn deliver(&self, socket: &mut WebSocket, outgoing: &Outgoing) -> End {
        let mut pings = interval(PING_EVERY);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut next = pin!(outgoing.next());
        loop {
            let message = tokio::select! {
                frame = &mut next => match frame {
                    Ok(frame) => {
                        next.set(outgoing.next());
                        Message::text(frame.to_json(&self.question.shape))
                    }
                    Err(reason) => return End::Closing(reason),
                },
                heard = socket.recv() => match heard {
                    // Pongs, and whatever else a client likes to say.
                    Some(Ok(Message::Text(_) | Message::Binary(_) | Message::Ping(_) | Message::Pong(_))) => continue,
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return End::Gone,
                },
                _ = pings.tick() => Message::Ping(axum::body::Bytes::new()),
            };
            match timeout(SEND_TIME, socket.send(message)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return End::Gone,
            }
        }
    }
}

/// How a session ends.
enum End {
    /// Nobody is there any more.
    Gone,
    /// We take leave, and say why.
    Closing(String),
}

/// The history, and up to which turn of the writer something may be in it.
struct Seam {
    lines: Vec<KeptLine>,
    last_seen: u64,
}

/// Lines of the history that may come once more, with how often.
struct Shown {
    lines: HashMap<(Labels, Nanos, String), usize>,
    last_seen: u64,
}

impl Shown {
    fn of(seam: &Seam) -> Self {
        let mut lines = HashMap::new();
        for line in &seam.lines {
            *lines.entry((line.labels.clone(), line.at, line.line.clone())).or_default() += 1;
        }
        Self { lines, last_seen: seam.last_seen }
    }

    /// Whether the line was part of the history; each counts once.
    fn take(&mut self, line: &KeptLine) -> bool {
        if self.lines.is_empty() {
            return false;
        }
        let key = (line.labels.clone(), line.at, line.line.clone());
        let Some(count) = self.lines.get_mut(&key).filter(|count| **count > 0) else { return false };
        *count -= 1;
        true
    }
}

/// Close frames hold 123 bytes of text.
fn short(reason: &str) -> String {
    let mut end = reason.len().min(123);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    reason.get(..end).unwrap_or_default().to_owned()
}
