//! What of the log lines of a batch may be stored.

use std::collections::HashMap;
use std::time::Duration;

use signal::{Labels, LogLine, Nanos, StreamWrite, Timestamp};

use crate::intake::{Seen, Verdict, attributes, each_label, keep, label_count, too_far_ahead};
use crate::rate::{Pace, Stock};
use crate::rejection::{LINE_RATE, Refusals, STREAM_LIMIT, STREAM_RATE, excerpt};
use crate::{Limits, LongLines};

/// A stream that received nothing for this long is not in use.
const IDLE: Duration = Duration::from_secs(3600);
/// Time between two looks for streams that are not in use any more.
const SWEEP_EVERY: Duration = Duration::from_secs(10);
/// A burst without a limit of its own is this many seconds' worth.
const BURST_SECONDS: f64 = 5.0;

/// Knows the streams in use, and what each has brought lately.
#[derive(Debug, Default)]
pub(crate) struct LineGate {
    streams: HashMap<Labels, InUse>,
    all: Stock,
    swept: Option<Timestamp>,
    truncated: u64,
}

#[derive(Debug)]
struct InUse {
    since: Timestamp,
    stock: Stock,
}

/// Whether the labels of a stream keep the limits, for a decoder that remembers it.
pub(crate) fn labels_are_within(labels: &Labels, limits: &Limits) -> bool {
    stream_labels(labels, limits).is_ok()
}

impl LineGate {
    pub(crate) fn truncated(&self) -> u64 {
        self.truncated
    }

    /// Keeps what is within the limits: whole streams first, then line by line.
    pub(crate) fn admit(
        &mut self,
        streams: &mut Vec<StreamWrite>,
        labels: Seen,
        limits: &Limits,
        now: Timestamp,
        refusals: &mut Refusals,
    ) {
        if streams.is_empty() || !self.is_slow_enough(streams, limits, now, refusals) {
            return;
        }
        if self.swept.is_none_or(|swept| now.since(swept) >= IDLE) {
            self.sweep(now);
        }
        let window = Window::of(limits, now);
        streams.retain_mut(|stream| {
            let lines = stream.lines.len();
            if labels == Seen::Never && !keep(stream_labels(&stream.labels, limits), lines.max(1), refusals) {
                return false;
            }
            let StreamWrite { labels, lines } = stream;
            lines.retain_mut(|line| keep(self.line(line, labels, limits, window), 1, refusals));
            !lines.is_empty() && keep(self.stream(stream, limits, now), stream.lines.len(), refusals)
        });
    }

    /// The rate over all senders; when it is exceeded, none of the lines is taken.
    fn is_slow_enough(
        &mut self,
        streams: &mut Vec<StreamWrite>,
        limits: &Limits,
        now: Timestamp,
        refusals: &mut Refusals,
    ) -> bool {
        let Some(per_second) = limits.max_lines_per_second else { return true };
        let lines: usize = streams.iter().map(|stream| stream.lines.len()).sum();
        let pace = Pace { per_second: f64::from(per_second), burst: f64::from(per_second) };
        let Err(retry_after) = self.all.take(lines, pace, now) else { return true };
        refusals.refuse(LINE_RATE, lines, || {
            format!(
                "lines come faster than the limit of {per_second} a second (limits.max_lines_per_second); \
                 try again in {} s",
                retry_after.as_secs()
            )
        });
        streams.clear();
        false
    }

    /// Whether there is room for the stream and for what it brings.
    fn stream(&mut self, stream: &StreamWrite, limits: &Limits, now: Timestamp) -> Verdict {
        let known = self.streams.get_mut(&stream.labels);
        let in_use = match known {
            Some(in_use) => in_use,
            None => {
                let most = usize::try_from(limits.max_streams).unwrap_or(usize::MAX);
                let was_swept = self.swept.is_some_and(|swept| now.since(swept) < SWEEP_EVERY);
                if self.streams.len() >= most && !was_swept {
                    self.sweep(now);
                }
                if self.streams.len() >= most {
                    return Err((STREAM_LIMIT, too_many_streams(&stream.labels, limits)));
                }
                self.streams.entry(stream.labels.clone()).or_insert(InUse { since: now, stock: Stock::default() })
            }
        };
        in_use.since = in_use.since.max(now);
        let Some(per_second) = limits.max_stream_bytes_per_second else { return Ok(()) };
        let pace = pace_of_stream(per_second, limits);
        let bytes = stream.lines.iter().map(|line| line.line.len() + line.metadata.bytes()).sum();
        in_use.stock.take(bytes, pace, now).map_err(|_| (STREAM_RATE, too_fast(&stream.labels, per_second, bytes)))
    }

    /// Forgets streams that are not in use any more.
    fn sweep(&mut self, now: Timestamp) {
        self.swept = Some(now);
        self.streams.retain(|_, in_use| now.since(in_use.since) < IDLE);
    }

    fn line(&mut self, line: &mut LogLine, labels: &Labels, limits: &Limits, window: Window) -> Verdict {
        if line.at > window.newest {
            return Err(too_far_ahead(line.at, limits, &labels.to_string()));
        }
        if line.at < window.oldest {
            let (at, oldest) = (line.at, window.oldest);
            let stream = excerpt(&labels.to_string());
            let example = format!(
                "entry for stream '{stream}' has timestamp too old: {at}, oldest acceptable timestamp is: {oldest} \
                 (limits.max_line_age)"
            );
            return Err(("greater_than_max_sample_age", example));
        }
        let (found, limit) = (line.line.len(), limits.max_line_bytes);
        if found > limit {
            match limits.long_lines {
                LongLines::Refuse => {
                    let stream = excerpt(&labels.to_string());
                    let example = format!(
                        "log line has {found} bytes, more than the limit of {limit} (max_line_bytes): stream `{stream}`"
                    );
                    return Err(("line_too_long", example));
                }
                LongLines::Truncate => {
                    line.line.truncate(line.line.floor_char_boundary(limit));
                    line.line.shrink_to_fit();
                    self.truncated = self.truncated.saturating_add(1);
                }
            }
        }
        if line.metadata.is_empty() {
            return Ok(());
        }
        attributes("log line", line.metadata.len(), limits, || labels.to_string())?;
        each_label(&line.metadata, limits)
    }
}

/// The times that are taken.
#[derive(Clone, Copy)]
struct Window {
    oldest: Nanos,
    newest: Nanos,
}

impl Window {
    fn of(limits: &Limits, now: Timestamp) -> Self {
        // Whole milliseconds count, as for samples.
        let newest = now.plus(limits.max_future).to_nanos().plus(Duration::from_nanos(999_999));
        let oldest = limits.max_line_age.map_or(Nanos(i64::MIN), |age| now.minus(age).to_nanos());
        Self { oldest, newest }
    }
}

fn stream_labels(labels: &Labels, limits: &Limits) -> Verdict {
    if labels.is_empty() {
        return Err(("stream_without_labels", "log stream has no labels".to_owned()));
    }
    label_count("log stream", "max_stream_labels", labels, limits.max_stream_labels)?;
    each_label(labels, limits)
}

fn pace_of_stream(per_second: u64, limits: &Limits) -> Pace {
    let per_second = per_second.max(1) as f64;
    let burst = limits.max_stream_burst_bytes.map_or(per_second * BURST_SECONDS, |burst| burst.max(1) as f64);
    Pace { per_second, burst }
}

fn too_many_streams(labels: &Labels, limits: &Limits) -> String {
    format!(
        "Maximum active stream limit exceeded when trying to create stream {}, reduce the number of active streams \
         (reduce labels or reduce label values), or raise the limit of {} (limits.max_streams)",
        excerpt(&labels.to_string()),
        limits.max_streams
    )
}

fn too_fast(labels: &Labels, per_second: u64, bytes: usize) -> String {
    format!(
        "Per stream rate limit exceeded (limit: {}/sec) while attempting to ingest for stream '{}' totaling {}, \
         consider splitting a stream via additional labels or raise the limit (limits.max_stream_bytes_per_second)",
        size(per_second),
        excerpt(&labels.to_string()),
        size(u64::try_from(bytes).unwrap_or(u64::MAX))
    )
}

/// Bytes as a person reads them.
fn size(bytes: u64) -> String {
    let mut units = [("GB", 1_u64 << 30), ("MB", 1 << 20), ("KB", 1 << 10)].into_iter();
    match units.find(|(_, unit)| bytes >= *unit) {
        Some((name, unit)) if bytes.is_multiple_of(unit) => format!("{}{name}", bytes / unit),
        Some((name, unit)) => format!("{:.1}{name}", bytes as f64 / unit as f64),
        None => format!("{bytes}B"),
    }
}

#[cfg(test)]
mod tests;
