//! The protobuf of a push.

use signal::{Labels, LogLine, Nanos, StreamWrite};
use smallvec::SmallVec;

use super::{PushError, Pushed, finish, refuse_stream, selector};
use crate::label_cache::{Key, LabelCache, Reading};
use crate::line_gate::labels_are_within;
use crate::rejection::{Refusals, excerpt};
use crate::wire::fields;
use crate::{Limits, Prepared, WireError};

/// Bytes on the wire for which room for one line is made in advance; shorter lines are met as they come.
const BYTES_PER_LINE: usize = 48;

/// All streams of an opened body.
pub(super) fn read(message: &[u8], limits: &Limits, cache: Option<&LabelCache>) -> Result<Pushed, PushError> {
    let mut push = Push {
        limits,
        memory: cache.map(LabelCache::read),
        refusals: Refusals::default(),
        problem: None,
        are_labels_within: true,
        lines: 0,
    };
    let streams = push.streams(message);
    let Push { memory, refusals, problem, are_labels_within, .. } = push;
    if let (Some(cache), Some(memory)) = (cache, memory) {
        let learned = memory.into_learned();
        cache.learn(learned);
    }
    let batch = finish(streams?, problem, limits)?;
    let batch = match cache {
        Some(_) if are_labels_within => Prepared::with_labels_within(batch, *limits),
        Some(_) | None => Prepared::from(batch),
    };
    Ok(Pushed { batch, rejected: refusals.into_rejections() })
}

/// A push as far as it is read.
struct Push<'c> {
    limits: &'c Limits,
    /// Labels of earlier pushes.
    memory: Option<Reading<'c>>,
    refusals: Refusals,
    /// What was wrong with the first stream that was refused.
    problem: Option<PushError>,
    are_labels_within: bool,
    lines: usize,
}

impl Push<'_> {
    fn streams(&mut self, message: &[u8]) -> Result<Vec<StreamWrite>, PushError> {
        let mut streams = Vec::new();
        for field in fields(message) {
            let field = field?;
            if field.number == 1 {
                streams.extend(self.stream(field.bytes()?)?);
            }
        }
        Ok(streams)
    }

    /// `None` for a stream that is refused.
    fn stream(&mut self, message: &[u8]) -> Result<Option<StreamWrite>, PushError> {
        let mut labels = Ok(Labels::empty());
        let mut lines = Lines::default();
        let mut rest = fields(message);
        loop {
            // Lines one after the other are what nearly all bytes are.
            while let Some(entry) = rest.next_bytes(2)? {
                if lines.kept.is_empty() {
                    let most = self.limits.max_items.saturating_sub(self.lines);
                    lines.kept.reserve((1 + rest.left() / entry.len().max(BYTES_PER_LINE)).min(most));
                }
                self.lines += 1;
                if self.lines > self.limits.max_items {
                    return Err(PushError::TooMany { limit: self.limits.max_items });
                }
                lines.add(entry)?;
            }
            let Some(field) = rest.next() else { break };
            let field = field?;
            if field.number == 1 {
                labels = self.labels(field.text()?);
            }
        }
        let refused = match labels {
            Ok(labels) if !labels.is_empty() => {
                if lines.without_time > 0 {
                    self.refusals.refuse("line_without_time", lines.without_time, || {
                        format!("log line has no usable timestamp in stream `{labels}`")
                    });
                }
                return Ok(Some(StreamWrite { labels, lines: lines.kept }));
            }
            Ok(_) => PushError::NoLabels,
            Err(error) => error,
        };
        refuse_stream(&refused, lines.kept.len() + lines.without_time, &mut self.refusals);
        self.problem.get_or_insert(refused);
        Ok(None)
    }

    fn labels(&mut self, text: &str) -> Result<Labels, PushError> {
        let mut key: Option<Key> = None;
        if let Some(memory) = &mut self.memory {
            let hash = memory.key(text.as_bytes());
            if let Some(labels) = memory.get(hash) {
                return Ok(labels);
            }
            key = Some(hash);
        }
        let labels = selector::labels(text).map_err(|source| PushError::Labels { labels: excerpt(text), source })?;
        if !labels_are_within(&labels, self.limits) {
            self.are_labels_within = false;
        } else if let (Some(memory), Some(key)) = (&mut self.memory, key) {
            // Nothing but the whole text is ever looked up.
            memory.keep(key, 0, labels.clone());
        }
        Ok(labels)
    }
}

/// The lines of one stream.
#[derive(Default)]
struct Lines<'m> {
    kept: Vec<LogLine>,
    without_time: usize,
    /// Bytes and meaning of the metadata of the line before: many senders repeat them.
    before: (&'m [u8], Labels),
}

impl<'m> Lines<'m> {
    fn add(&mut self, entry: &'m [u8]) -> Result<(), WireError> {
        let mut parts = Parts::default();
        let mut rest = fields(entry);
        // In the order in which everybody writes them.
        parts.at = rest.next_bytes(1)?.map(time).transpose()?.flatten();
        parts.line = rest.next_bytes(2)?.unwrap_or_default();
        let from = entry.len() - rest.left();
        while rest.next_bytes(3)?.is_some() {}
        let until = entry.len() - rest.left();
        parts.metadata = entry.get(from..until).unwrap_or_default();
        if !rest.is_at_end() {
            return self.add_in_any_order(entry);
        }
        let metadata = self.metadata(parts.metadata)?;
        self.keep(parts.at, parts.line, metadata)
    }

    fn add_in_any_order(&mut self, entry: &'m [u8]) -> Result<(), WireError> {
        let mut parts = Parts::default();
        let mut pairs = Pairs::new();
        for field in fields(entry) {
            let field = field?;
            match field.number {
                1 => parts.at = time(field.bytes()?)?,
                2 => parts.line = field.bytes()?,
                3 => pairs.push(pair(field.bytes()?)?),
                _ => {}
            }
        }
        self.keep(parts.at, parts.line, Labels::from_pairs(pairs))
    }

    fn keep(&mut self, at: Option<Nanos>, line: &[u8], metadata: Labels) -> Result<(), WireError> {
        let line = std::str::from_utf8(line).map_err(|_| WireError::NotText { field: 2 })?;
        match at {
            Some(at) => self.kept.push(LogLine { at, line: line.to_owned(), metadata }),
            None => self.without_time += 1,
        }
        Ok(())
    }

    fn metadata(&mut self, bytes: &'m [u8]) -> Result<Labels, WireError> {
        if bytes != self.before.0 {
            let mut pairs = Pairs::new();
            let mut rest = fields(bytes);
            while let Some(content) = rest.next_bytes(3)? {
                pairs.push(pair(content)?);
            }
            self.before = (bytes, Labels::from_pairs(pairs));
        }
        Ok(self.before.1.clone())
    }
}

type Pairs<'m> = SmallVec<[(&'m str, &'m str); 8]>;

#[derive(Default)]
struct Parts<'m> {
    at: Option<Nanos>,
    line: &'m [u8],
    metadata: &'m [u8],
}

fn pair(message: &[u8]) -> Result<(&str, &str), WireError> {
    let mut pair = ("", "");
    for field in fields(message) {
        let field = field?;
        match field.number {
            1 => pair.0 = field.text()?,
            2 => pair.1 = field.text()?,
            _ => {}
        }
    }
    Ok(pair)
}

/// `None` for a time that does not fit.
fn time(message: &[u8]) -> Result<Option<Nanos>, WireError> {
    if let Some(at) = plain_time(message) {
        return Ok(Some(at));
    }
    let (mut seconds, mut nanos) = (0_i64, 0_i64);
    for field in fields(message) {
        let field = field?;
        match field.number {
            1 => seconds = field.int()?,
            2 => nanos = field.int()?,
            _ => {}
        }
    }
    Ok(sum(seconds, nanos))
}

/// Seconds and nanoseconds, both there and in this order.
fn plain_time(message: &[u8]) -> Option<Nanos> {
    let (8, rest) = message.split_first()? else { return None };
    let mut rest = fields(rest);
    let seconds = rest.varint().ok()?;
    // The key of the second field is a number, too.
    if rest.varint().ok()? != 16 {
        return None;
    }
    let nanos = rest.varint().ok()?;
    if rest.is_at_end() { sum(seconds.cast_signed(), nanos.cast_signed()) } else { None }
}

fn sum(seconds: i64, nanos: i64) -> Option<Nanos> {
    seconds.checked_mul(1_000_000_000).and_then(|ns| ns.checked_add(nanos)).map(Nanos)
}
