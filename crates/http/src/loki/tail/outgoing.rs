//! What waits to be sent to one client that tails, and the frames made of it.

use std::collections::VecDeque;
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use query::logql::KeptLine;
use signal::{Labels, Nanos};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::super::answer::{Shape, tailed};
use crate::json;

/// Lines that may wait for a client.
const LINES: usize = 10_000;
/// The same for each second that lines are held back.
const HELD_LINES: usize = 50_000;
/// Bytes of text that may wait.
const BYTES: usize = 64 << 20;
/// How long a line waits for room before it is dropped. After that nothing waits until there is room again.
const PATIENCE: Duration = Duration::from_millis(250);
/// Lines and bytes of text in one frame, at least one line.
const FRAME_LINES: usize = 1_000;
const FRAME_BYTES: usize = 1 << 20;
/// As many dropped lines are named in one frame, as in Loki; all are counted.
const NAMED: usize = 1_000;

/// Lines on their way out, bounded.
pub(super) struct Outgoing {
    delay: Duration,
    limit: usize,
    pending: Mutex<Pending>,
    /// Something was put in.
    news: Notify,
    /// Something was taken out.
    room: Notify,
}

#[derive(Default)]
struct Pending {
    lines: VecDeque<KeptLine>,
    bytes: usize,
    /// How many lines in front have been held back long enough.
    ready: usize,
    dropped: Dropped,
    /// Set while a client is too slow: then nothing waits for room.
    is_dropping: bool,
    /// Why nothing more comes.
    end: Option<String>,
}

/// Lines that did not fit.
#[derive(Default, Debug)]
struct Dropped {
    /// Labels and time of the first of them.
    named: Vec<(Labels, Nanos)>,
    /// How many there were in all.
    count: u64,
}

/// One message to the client.
#[derive(Default, Debug)]
pub(super) struct Frame {
    lines: Vec<KeptLine>,
    dropped: Dropped,
}

impl Outgoing {
    /// Holds each line back for at least `delay`, so that late ones find their place.
    pub(super) fn new(delay: Duration) -> Self {
        let held = usize::try_from(delay.as_secs()).unwrap_or(usize::MAX).saturating_mul(HELD_LINES);
        Self { delay, limit: LINES.max(held), pending: Mutex::default(), news: Notify::new(), room: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the lines everything begins with; they are not held back.
    pub(super) fn begin(&self, lines: Vec<KeptLine>) {
        let mut pending = self.lock();
        lines.into_iter().for_each(|line| pending.put(line));
        pending.ready = pending.lines.len();
        drop(pending);
        self.news.notify_one();
    }

    /// Takes a line; when there is no room for a while, it is dropped and counted.
    pub(super) async fn push(&self, line: KeptLine) {
        if self.lock().should_wait(self.limit) {
            // Whether it came in time is seen below.
            let _ = timeout(PATIENCE, self.room()).await;
        }
        let mut pending = self.lock();
        pending.is_dropping = !pending.has_room(self.limit);
        if pending.is_dropping {
            pending.dropped.add(Some((&line.labels, line.at)), 1);
        } else {
            pending.put(line);
        }
        drop(pending);
        self.news.notify_one();
    }

    async fn room(&self) {
        loop {
            let taken = self.room.notified();
            if self.lock().has_room(self.limit) {
                return;
            }
            taken.await;
        }
    }

    /// Counts lines that never came so far; `example` is one of them.
    pub(super) fn miss(&self, example: Option<(&Labels, Nanos)>, count: u64) {
        if count > 0 {
            self.lock().dropped.add(example, count);
            self.news.notify_one();
        }
    }

    /// Says that nothing more comes, and why.
    pub(super) fn finish(&self, reason: &str) {
        self.lock().end = Some(reason.to_owned());
        self.news.notify_one();
    }

    /// The next frame; after the last one the reason for the end.
    pub(super) async fn next(&self) -> Result<Frame, String> {
        loop {
            let news = self.news.notified();
            let held = {
                let mut pending = self.lock();
                if self.delay.is_zero() || pending.end.is_some() {
                    pending.ready = pending.lines.len();
                }
                if pending.ready > 0 || pending.dropped.count > 0 {
                    let frame = pending.frame();
                    drop(pending);
                    self.room.notify_one();
                    return Ok(frame);
                }
                if let Some(reason) = &pending.end {
                    return Err(reason.clone());
                }
                pending.lines.len()
            };
            if held == 0 {
                news.await;
                continue;
            }
            // The end comes at once; other news can wait.
            sleep(self.delay).await;
            self.lock().release(held);
        }
    }
}

impl Pending {
    fn has_room(&self, limit: usize) -> bool {
        self.lines.len() < limit && self.bytes < BYTES
    }

    fn should_wait(&self, limit: usize) -> bool {
        !self.is_dropping && !self.has_room(limit)
    }

    fn put(&mut self, line: KeptLine) {
        self.bytes += line.line.len();
        self.lines.push_back(line);
    }

    /// Lets the first `count` lines go, in order of time.
    fn release(&mut self, count: usize) {
        if let Some(held) = self.lines.make_contiguous().get_mut(..count) {
            held.sort_by_key(|line| line.at);
        }
        self.ready = count;
    }

    fn frame(&mut self) -> Frame {
        let (mut lines, mut bytes) = (Vec::new(), 0);
        while self.ready > 0 && lines.len() < FRAME_LINES && bytes < FRAME_BYTES {
            let Some(line) = self.lines.pop_front() else { break };
            self.ready -= 1;
            bytes += line.line.len();
            lines.push(line);
        }
        self.bytes = self.bytes.saturating_sub(bytes);
        // Those of one write come stream by stream.
        lines.sort_by_key(|line| line.at);
        Frame { lines, dropped: mem::take(&mut self.dropped) }
    }
}

impl Dropped {
    fn add(&mut self, example: Option<(&Labels, Nanos)>, count: u64) {
        self.count += count;
        if let Some((labels, at)) = example
            && self.named.len() < NAMED
        {
            self.named.push((labels.clone(), at));
        }
    }
}

impl Frame {
    /// The text of the message.
    pub(super) fn to_json(&self, shape: &Shape) -> String {
        let mut out = String::from(r#"{"streams":"#);
        tailed(&mut out, &self.lines, shape);
        if self.dropped.count > 0 {
            out.push_str(r#","dropped_entries":"#);
            json::array(&mut out, &self.dropped.named, |out, (labels, at)| {
                out.push_str(&format!(r#"{{"timestamp":"{}","labels":"#, at.0));
                json::labels(out, labels);
                out.push('}');
            });
            out.push_str(&format!(r#","dropped_count":{}"#, self.dropped.count));
        }
        if shape.is_categorized {
            out.push_str(r#","encodingFlags":["categorize-labels"]"#);
        }
        out.push('}');
        out
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderMap;
    use query::logql::Direction;

    use super::*;

    fn line(at: i64, job: &str) -> KeptLine {
        let labels = Labels::from_pairs([("job", job)]);
        KeptLine {
            at: Nanos(at),
            line: format!("line {at}"),
            labels: labels.clone(),
            stream: labels,
            structured: Labels::empty(),
            parsed: Labels::empty(),
        }
    }

    fn shown(frame: Result<Frame, String>) -> String {
        let shape = Shape::of(&HeaderMap::new(), Direction::Forward);
        frame.map_or_else(|reason| format!("end: {reason}"), |frame| frame.to_json(&shape))
    }

    #[tokio::test]
    async fn lines_of_a_frame_stand_in_order_of_time() {
        let outgoing = Outgoing::new(Duration::ZERO);
        outgoing.begin(vec![line(1, "a")]);
        for (at, job) in [(4, "a"), (2, "a"), (3, "b")] {
            outgoing.push(line(at, job)).await;
        }
        outgoing.finish("done");
        assert_eq!(
            shown(outgoing.next().await),
            r#"{"streams":[{"stream":{"job":"a"},"values":[["1","line 1"],["2","line 2"]]},{"stream":{"job":"b"},"values":[["3","line 3"]]},{"stream":{"job":"a"},"values":[["4","line 4"]]}]}"#
        );
        assert_eq!(shown(outgoing.next().await), "end: done");
    }

    #[tokio::test]
    async fn what_does_not_fit_is_counted() {
        let outgoing = Outgoing::new(Duration::ZERO);
        for at in 0..12_000 {
            outgoing.push(line(at, "a")).await;
        }
        outgoing.miss(Some((&Labels::from_pairs([("job", "b")]), Nanos(7))), 5);
        outgoing.finish("done");
        let (mut sent, mut named, mut dropped) = (0, 0, 0);
        while let Ok(frame) = outgoing.next().await {
            sent += frame.lines.len();
            named += frame.dropped.named.len();
            dropped += frame.dropped.count;
        }
        assert_eq!((sent, named, dropped), (10_000, 1_000, 2_005));
    }

    #[tokio::test]
    async fn lines_are_held_back_and_sorted() {
        let outgoing = Outgoing::new(Duration::from_millis(1));
        for at in [3, 1, 2] {
            outgoing.push(line(at, "a")).await;
        }
        let Ok(frame) = outgoing.next().await else { panic!("there are lines") };
        assert_eq!(frame.lines.iter().map(|line| line.at.0).collect::<Vec<_>>(), [1, 2, 3]);
        outgoing.push(line(0, "a")).await;
        outgoing.finish("done");
        assert!(outgoing.next().await.is_ok_and(|frame| frame.lines.len() == 1), "the end waits for nothing");
        assert_eq!(shown(outgoing.next().await), "end: done");
    }
}
