//! Refusals as values: counted by reason, with one example each.

use std::collections::BTreeMap;

use signal::WriteBatch;

/// Items refused for one reason.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rejection {
    /// A fixed word, fit for a metric label: `too_many_labels`.
    pub reason: &'static str,
    /// How many samples, lines, spans or exemplars.
    pub count: u64,
    /// What was wrong with the first of them: the limit, the value found, the offender.
    pub example: String,
}

/// Reasons that pass by themselves.
pub(crate) const LINE_RATE: &str = "line_rate";
pub(crate) const STREAM_RATE: &str = "per_stream_rate_limit";
pub(crate) const STREAM_LIMIT: &str = "stream_limit";

impl Rejection {
    /// Whether the same items may be taken later: a rate or the number of streams was exceeded. Over HTTP that is
    /// 429, and senders come back.
    #[must_use]
    pub fn is_for_now(&self) -> bool {
        [LINE_RATE, STREAM_RATE, STREAM_LIMIT].contains(&self.reason)
    }
}

/// What a decoder made of one request: whatever was readable, and what was refused item by item.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Decoded {
    /// To be admitted by [`Intake`](crate::Intake) next.
    pub batch: WriteBatch,
    /// Refused already; a sender that can be told should be.
    pub rejected: Vec<Rejection>,
}

/// Collects refusals.
#[derive(Debug, Default)]
pub(crate) struct Refusals(BTreeMap<&'static str, (u64, String)>);

impl Refusals {
    /// Counts `count` items; `example` is asked for only once per reason.
    pub(crate) fn refuse(&mut self, reason: &'static str, count: usize, example: impl FnOnce() -> String) {
        let (total, _) = self.0.entry(reason).or_insert_with(|| (0, example()));
        *total = total.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
    }

    pub(crate) fn total(&self) -> u64 {
        self.0.values().fold(0, |sum, (count, _)| sum.saturating_add(*count))
    }

    /// One sentence for a sender; empty when nothing was refused.
    pub(crate) fn sentence(&self) -> String {
        let parts: Vec<_> = self.0.values().map(|(count, example)| format!("{example} ({count} refused)")).collect();
        parts.join("; ")
    }

    pub(crate) fn into_rejections(self) -> Vec<Rejection> {
        self.0.into_iter().map(|(reason, (count, example))| Rejection { reason, count, example }).collect()
    }
}

/// At most 120 characters of foreign text, for a message.
pub(crate) fn excerpt(text: &str) -> String {
    let mut chars = text.chars();
    let mut short: String = chars.by_ref().take(120).collect();
    if chars.next().is_some() {
        short.push('…');
    }
    short
}
