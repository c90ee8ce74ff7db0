//! Lines that have become durable, for whoever follows them.

use std::collections::{BTreeMap, VecDeque};
use std::mem;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use signal::{Labels, Nanos, StreamWrite};
use tokio::sync::Notify;

/// Streams of which missed lines are counted apart.
const MISSED_STREAMS: usize = 1_000;
/// What a line costs beside its text.
const LINE_BYTES: usize = 64;

/// Hands lines that have become durable to those who follow them. Cheap to clone, and next to nothing while nobody does.
///
/// There is one writer. It never waits: who is too slow misses lines, and is told of which streams and how many.
#[derive(Clone, Debug, Default)]
pub struct LineTap(Arc<Tap>);

#[derive(Debug, Default)]
struct Tap {
    /// Turns of the writer so far.
    turns: AtomicU64,
    /// Length of `followers`, so that a writer whom nobody follows looks at one number.
    following: AtomicUsize,
    followers: Mutex<Vec<Arc<Queue>>>,
    is_closed: AtomicBool,
}

/// What one turn of the writer made durable.
#[derive(Debug)]
pub struct Committed {
    /// Number of the turn.
    pub turn: u64,
    /// The lines, in the order they came in.
    pub streams: Vec<StreamWrite>,
    bytes: usize,
}

/// What a follower hears.
#[derive(Debug)]
pub enum Followed {
    /// Lines.
    Lines(Arc<Committed>),
    /// Lines that did not fit, since this was last said.
    Missed(Missed),
}

/// Lines a follower was too slow for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Missed {
    /// How many, and the time of the last, of each of the first thousand streams.
    pub streams: BTreeMap<Labels, (u64, Nanos)>,
    /// How many of all streams.
    pub lines: u64,
}

/// One who follows; dropping it ends that.
#[derive(Debug)]
pub struct LineFollower {
    tap: Arc<Tap>,
    queue: Arc<Queue>,
}

#[derive(Debug)]
struct Queue {
    /// Most bytes that may wait.
    limit: usize,
    waiting: Mutex<Waiting>,
    news: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    committed: VecDeque<Arc<Committed>>,
    bytes: usize,
    missed: Missed,
}

impl LineTap {
    /// Hands on what a turn of the writer made durable.
    pub fn publish(&self, streams: Vec<StreamWrite>) {
        let turn = self.0.turns.fetch_add(1, Ordering::SeqCst) + 1;
        if streams.is_empty() || self.0.following.load(Ordering::SeqCst) == 0 {
            return;
        }
        let lines = streams.iter().flat_map(|stream| &stream.lines);
        let bytes = lines.map(|line| line.line.len() + LINE_BYTES).sum();
        let committed = Arc::new(Committed { turn, streams, bytes });
        for queue in lock(&self.0.followers).iter() {
            queue.push(&committed);
        }
    }

    /// Begins to follow: every line that is made durable after this call is heard of, as long as what waits takes at
    /// most `limit` bytes. A batch is taken whole when nothing else waits.
    #[must_use]
    pub fn follow(&self, limit: usize) -> LineFollower {
        let queue = Arc::new(Queue { limit, waiting: Mutex::default(), news: Notify::new() });
        let mut followers = lock(&self.0.followers);
        followers.push(Arc::clone(&queue));
        self.0.following.store(followers.len(), Ordering::SeqCst);
        LineFollower { tap: Arc::clone(&self.0), queue }
    }

    /// The last turn of the writer of which something may be in a snapshot that was taken before this call.
    #[must_use]
    pub fn last_seen(&self) -> u64 {
        // One more may be in the store already and not yet published.
        self.0.turns.load(Ordering::SeqCst).saturating_add(1)
    }

    /// How many follow.
    #[must_use]
    pub fn following(&self) -> usize {
        self.0.following.load(Ordering::SeqCst)
    }

    /// Bytes that wait for the slowest of them.
    #[must_use]
    pub fn backlog(&self) -> usize {
        lock(&self.0.followers).iter().map(|queue| lock(&queue.waiting).bytes).max().unwrap_or_default()
    }

    /// Says that nothing comes any more: followers hear what waits for them, and then the end.
    pub fn close(&self) {
        self.0.is_closed.store(true, Ordering::SeqCst);
        for queue in lock(&self.0.followers).iter() {
            queue.news.notify_one();
        }
    }
}

impl LineFollower {
    /// Waits for what comes next; `None` after the end. What was heard is not lost when the future is dropped.
    pub async fn next(&mut self) -> Option<Followed> {
        loop {
            // Before looking, so that nothing is published between the look and the wait.
            let news = self.queue.news.notified();
            if let Some(next) = self.queue.take() {
                return Some(next);
            }
            if self.tap.is_closed.load(Ordering::SeqCst) {
                // What was published just before the end.
                return self.queue.take();
            }
            news.await;
        }
    }
}

impl Drop for LineFollower {
    fn drop(&mut self) {
        let mut followers = lock(&self.tap.followers);
        followers.retain(|queue| !Arc::ptr_eq(queue, &self.queue));
        self.tap.following.store(followers.len(), Ordering::SeqCst);
    }
}

impl Queue {
    fn push(&self, committed: &Arc<Committed>) {
        let mut waiting = lock(&self.waiting);
        if waiting.bytes > 0 && waiting.bytes + committed.bytes > self.limit {
            waiting.missed.add(committed);
        } else {
            waiting.bytes += committed.bytes;
            waiting.committed.push_back(Arc::clone(committed));
        }
        drop(waiting);
        self.news.notify_one();
    }

    fn take(&self) -> Option<Followed> {
        let mut waiting = lock(&self.waiting);
        if waiting.missed.lines > 0 {
            return Some(Followed::Missed(mem::take(&mut waiting.missed)));
        }
        let committed = waiting.committed.pop_front()?;
        waiting.bytes = waiting.bytes.saturating_sub(committed.bytes);
        Some(Followed::Lines(committed))
    }
}

impl Missed {
    /// Lines of streams that are not among those counted apart.
    #[must_use]
    pub fn unnamed(&self) -> u64 {
        let named: u64 = self.streams.values().map(|(count, _)| count).sum();
        self.lines.saturating_sub(named)
    }

    fn add(&mut self, committed: &Committed) {
        for stream in &committed.streams {
            let count = stream.lines.len() as u64;
            let Some(last) = stream.lines.iter().map(|line| line.at).max() else { continue };
            self.lines += count;
            if self.streams.len() < MISSED_STREAMS || self.streams.contains_key(&stream.labels) {
                let known = self.streams.entry(stream.labels.clone()).or_insert((0, last));
                *known = (known.0 + count, known.1.max(last));
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use signal::LogLine;

    use super::*;

    fn stream(job: &str, texts: &[&str]) -> StreamWrite {
        let line = |(at, text): (usize, &&str)| LogLine {
            at: Nanos(at as i64),
            line: (*text).to_owned(),
            metadata: Labels::empty(),
        };
        StreamWrite { labels: Labels::from_pairs([("job", job)]), lines: texts.iter().enumerate().map(line).collect() }
    }

    fn heard(next: Option<Followed>) -> String {
        match next {
            Some(Followed::Lines(committed)) => {
                let lines = committed.streams.iter().flat_map(|stream| &stream.lines);
                let texts: Vec<&str> = lines.map(|line| line.line.as_str()).collect();
                format!("{}: {}", committed.turn, texts.join(" "))
            }
            Some(Followed::Missed(missed)) => {
                let streams = missed
                    .streams
                    .iter()
                    .map(|(labels, (count, last))| format!("{} {count} up to {}", labels.get_or_empty("job"), last.0));
                format!("missed {} ({})", missed.lines, streams.collect::<Vec<_>>().join(", "))
            }
            None => "end".to_owned(),
        }
    }

    #[tokio::test]
    async fn followers_hear_what_comes_after_them() {
        let tap = LineTap::default();
        tap.publish(vec![stream("a", &["before"])]);
        assert_eq!(tap.last_seen(), 2);
        let mut first = tap.follow(1_000);
        tap.publish(vec![stream("a", &["one", "two"])]);
        let mut second = tap.follow(1_000);
        tap.publish(vec![stream("b", &["three"])]);
        assert_eq!(tap.following(), 2);
        assert_eq!(heard(first.next().await), "2: one two");
        assert_eq!(heard(first.next().await), "3: three");
        assert_eq!(heard(second.next().await), "3: three");
        drop(first);
        assert_eq!(tap.following(), 1);
        tap.publish(vec![stream("b", &["last"])]);
        tap.close();
        assert_eq!(heard(second.next().await), "4: last");
        assert_eq!(heard(second.next().await), "end");
    }

    #[tokio::test]
    async fn who_is_slow_is_told_what_was_missed() {
        let tap = LineTap::default();
        let mut slow = tap.follow(2 * (LINE_BYTES + 1));
        tap.publish(vec![stream("a", &["1"]), stream("a", &["2"])]);
        tap.publish(vec![stream("a", &["3", "4"]), stream("b", &["5"])]);
        tap.publish(vec![stream("b", &["6"])]);
        assert_eq!(heard(slow.next().await), "missed 4 (a 2 up to 1, b 2 up to 0)");
        assert_eq!(heard(slow.next().await), "1: 1 2");
        // More than the limit, but nothing else waits.
        tap.publish(vec![stream("b", &["a batch that is larger than the limit by itself"; 4])]);
        assert!(heard(slow.next().await).starts_with("4: a batch"));
    }
}
