//! How long a line takes from its writer to somebody who tails.

use std::collections::HashMap;
use std::thread::{scope, sleep};
use std::time::Duration;

use anyhow::bail;

use super::super::asking::at;
use super::super::clock::{self, Stopwatch};
use super::super::http::{Connection, escaped};
use super::super::servers::Server;
use super::load::one_stream;
use super::websocket::Listener;
use super::{HEADERS, PUSH};

/// Lines in a second, in requests of so many.
pub(super) const LINES_PER_SECOND: usize = 1_000;
const TOGETHER: usize = 10;
const SECONDS: usize = 10;
const LINES: usize = LINES_PER_SECOND * SECONDS;
/// Nothing for so long, and the rest is taken for lost.
const PATIENCE: Duration = Duration::from_secs(10);
/// Time between the handshake and the first line.
const WARM_UP: Duration = Duration::from_secs(1);
const STREAM: &str = "{job=\"tail\"}";
/// In front of a line's number.
const MARK: &str = "seq=";

/// What was seen of a tail.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Tailed {
    pub(super) median_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) missing: f64,
    /// What was written for it.
    pub(super) lines: f64,
}

/// Writes and listens for some seconds.
pub(super) fn tail(server: &Server) -> anyhow::Result<Tailed> {
    let target = format!("/loki/api/v1/tail?query={}&limit=10", escaped(STREAM));
    let mut listener = Listener::open(server.port, &target, PATIENCE)?;
    sleep(WARM_UP);
    let watch = Stopwatch::start();
    let (sent, heard) = scope(|scope| {
        let listening = scope.spawn(move || listen(&mut listener, watch));
        let sent = write(server.port, watch);
        match listening.join() {
            Ok(heard) => sent.map(|sent| (sent, heard)),
            Err(_) => bail!("the listener stopped"),
        }
    })?;
    let mut late: Vec<f64> =
        heard.iter().filter_map(|(line, at)| Some((at - sent.get(line / TOGETHER)?) * 1000.0)).collect();
    late.sort_by(f64::total_cmp);
    let (median_ms, p99_ms) = (at(&late, 0.5), at(&late, 0.99));
    Ok(Tailed { median_ms, p99_ms, missing: (LINES - late.len()) as f64, lines: LINES as f64 })
}

/// When each request was begun, in seconds.
fn write(port: u16, watch: Stopwatch) -> anyhow::Result<Vec<f64>> {
    let mut connection = Connection::open(port)?;
    let mut sent = Vec::new();
    for request in 0..LINES / TOGETHER {
        let due = Duration::from_secs_f64((request * TOGETHER) as f64 / LINES_PER_SECOND as f64);
        sleep(due.saturating_sub(watch.elapsed()));
        let now = clock::unix_nanos();
        let entries: Vec<(i64, String)> = (0..TOGETHER)
            .map(|number| {
                let line = request * TOGETHER + number;
                (
                    now + number as i64,
                    format!("level=info {MARK}{line:06} msg=\"a line to be heard of\" pad={:0>180}", line),
                )
            })
            .collect();
        let body = one_stream(STREAM, &entries)?;
        sent.push(watch.elapsed().as_secs_f64());
        let (status, answer) = connection.ask("POST", PUSH, HEADERS, &body)?;
        if status >= 300 {
            bail!("a write was answered with {status}: {}", String::from_utf8_lossy(&answer));
        }
    }
    Ok(sent)
}

/// When each line was heard of first, in seconds.
fn listen(listener: &mut Listener, watch: Stopwatch) -> HashMap<usize, f64> {
    let mut heard = HashMap::new();
    while heard.len() < LINES {
        let Ok(Some(frame)) = listener.next() else { break };
        let now = watch.elapsed().as_secs_f64();
        for line in numbers(&frame) {
            heard.entry(line).or_insert(now);
        }
    }
    heard
}

/// The numbers of the lines in a frame.
fn numbers(frame: &str) -> impl Iterator<Item = usize> {
    let digits = |rest: &str| rest.bytes().take_while(u8::is_ascii_digit).count();
    frame.split(MARK).skip(1).filter_map(move |rest| rest.get(..digits(rest))?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_known_by_their_numbers() {
        let frame = r#"{"streams":[{"values":[["1","a seq=000012 b"],["2","seq=000013 seq=x"]]}]}"#;
        assert_eq!(numbers(frame).collect::<Vec<_>>(), [12, 13]);
    }
}
