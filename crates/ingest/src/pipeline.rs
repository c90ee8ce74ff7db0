//! Pipelines: what is done with each line of a file before it is written.
//!
//! The stages are promtail's and mean what they mean there. Each file has a [`Pipeline`] of its own, because some stages
//! keep lines back until they know what belongs together; [`oldest_held`](Pipeline::oldest_held) says how far a file may
//! count as read.

mod config;
mod edit;
mod fields;
mod go_time;
mod hold;
mod selector;
mod template;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use signal::{Labels, LogLine, Nanos};

pub use config::{PipelineError, StageFile, Surroundings};

use edit::Edit;
use hold::{Cri, Multiline};
use selector::Selector;

/// One line on its way.
#[derive(Clone, PartialEq, Debug)]
pub struct Entry {
    /// When it happened: when it was read, until a stage says otherwise.
    pub at: Nanos,
    /// Of its stream.
    pub labels: Labels,
    /// The text.
    pub line: String,
    /// Where it begins in its file; of several lines put together, where the first does.
    pub from: u64,
    metadata: Vec<(Arc<str>, String)>,
    /// The labels it came with, which stages can read as if they were extracted.
    initial: Labels,
    extracted: Vec<(Arc<str>, Extracted)>,
}

/// What a stage found.
#[derive(Clone, PartialEq, Debug)]
enum Extracted {
    Text(String),
    /// There, and nothing that could be written as text.
    Null,
    /// Taken away again.
    Gone,
}

impl Entry {
    /// A line as it was read.
    #[must_use]
    pub fn new(at: Nanos, labels: Labels, line: String, from: u64) -> Self {
        let initial = labels.clone();
        Self { at, labels, line, from, metadata: Vec::new(), initial, extracted: Vec::new() }
    }

    /// The same line with facts beside it.
    #[must_use]
    pub fn with_metadata<'a>(mut self, pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        self.metadata.extend(pairs.into_iter().map(|(name, value)| (Arc::from(name), value.to_owned())));
        self
    }

    /// The labels of its stream, and the line to write there.
    #[must_use]
    pub fn into_line(self) -> (Labels, LogLine) {
        let metadata = if self.metadata.is_empty() {
            Labels::empty()
        } else {
            Labels::from_pairs(self.metadata.iter().map(|(name, value)| (&**name, value.as_str())))
        };
        (self.labels, LogLine { at: self.at, line: self.line, metadata })
    }

    /// What was found under this name, as text.
    fn get(&self, name: &str) -> Option<&str> {
        match self.extracted.iter().find(|(known, _)| &**known == name) {
            Some((_, Extracted::Text(text))) => Some(text),
            Some((_, Extracted::Null | Extracted::Gone)) => None,
            None => self.initial.get(name),
        }
    }

    /// Whether something was found under this name, be it nothing that has a text.
    fn has(&self, name: &str) -> bool {
        match self.extracted.iter().find(|(known, _)| &**known == name) {
            Some((_, Extracted::Text(_) | Extracted::Null)) => true,
            Some((_, Extracted::Gone)) => false,
            None => self.initial.get(name).is_some(),
        }
    }

    fn set(&mut self, name: &Arc<str>, value: Extracted) {
        match self.extracted.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => *known = value,
            None => self.extracted.push((Arc::clone(name), value)),
        }
    }

    /// Everything that was found and has a text.
    fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        let found = self.extracted.iter().filter_map(|(name, value)| match value {
            Extracted::Text(text) => Some((&**name, text.as_str())),
            Extracted::Null | Extracted::Gone => None,
        });
        let is_hidden = |name: &str| self.extracted.iter().any(|(known, _)| &**known == name);
        found.chain(self.initial.iter().filter(move |(name, _)| !is_hidden(name)))
    }

    /// The text a stage reads: that of `source`, or the line itself.
    fn input(&self, source: Option<&str>) -> Option<&str> {
        match source {
            None => Some(&self.line),
            Some(name) => self.get(name),
        }
    }
}

/// The stages of one file, with what they hold back.
#[derive(Clone, Debug, Default)]
pub struct Pipeline {
    stages: Vec<Stage>,
    dropped: BTreeMap<Arc<str>, u64>,
}

#[derive(Clone, Debug)]
enum Stage {
    Edit(Edit),
    Drop(edit::Drop),
    Match(Box<Match>),
    Multiline(Box<Multiline>),
    Cri(Box<Cri>),
}

#[derive(Clone, Debug)]
struct Match {
    selector: Arc<Selector>,
    /// What is done with the lines that match.
    action: Action,
}

#[derive(Clone, Debug)]
enum Action {
    Keep(Vec<Stage>),
    Drop(Arc<str>),
}

/// What stages write to, and the time.
struct Turn<'a> {
    now: Nanos,
    done: &'a mut Vec<Entry>,
    dropped: &'a mut BTreeMap<Arc<str>, u64>,
}

/// Which of the lines that are held back are to go on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flush {
    /// Those that have waited long enough.
    Due,
    All,
}

impl Pipeline {
    /// Whether lines pass as they are.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.stages.is_empty()
    }

    /// Runs one line through the stages. `done` gets what comes out, which may be nothing or several lines.
    pub fn feed(&mut self, entry: Entry, now: Nanos, done: &mut Vec<Entry>) {
        let mut turn = Turn { now, done, dropped: &mut self.dropped };
        run(&mut self.stages, entry, &mut turn);
    }

    /// Lets go on what has been held back for long enough at `now`.
    pub fn flush_due(&mut self, now: Nanos, done: &mut Vec<Entry>) {
        flush(&mut self.stages, Flush::Due, &mut Turn { now, done, dropped: &mut self.dropped });
    }

    /// Lets go on whatever is held back.
    pub fn flush(&mut self, now: Nanos, done: &mut Vec<Entry>) {
        flush(&mut self.stages, Flush::All, &mut Turn { now, done, dropped: &mut self.dropped });
    }

    /// Where in its file the first line begins that is held back.
    #[must_use]
    pub fn oldest_held(&self) -> Option<u64> {
        oldest_held(&self.stages)
    }

    /// Lines dropped since the last call, by the reason that the configuration gives.
    pub fn take_dropped(&mut self) -> BTreeMap<Arc<str>, u64> {
        std::mem::take(&mut self.dropped)
    }
}

fn run(stages: &mut [Stage], mut entry: Entry, turn: &mut Turn<'_>) {
    let Some((stage, rest)) = stages.split_first_mut() else {
        turn.done.push(entry);
        return;
    };
    match stage {
        Stage::Edit(edit) => {
            if edit.apply(&mut entry, turn.now) {
                run(rest, entry, turn);
            }
        }
        Stage::Drop(drop) => match drop.reason_to_drop(&entry, turn.now) {
            Some(reason) => count(turn, reason),
            None => run(rest, entry, turn),
        },
        Stage::Match(inner) => {
            if !inner.selector.matches(&entry) {
                run(rest, entry, turn);
                return;
            }
            match &mut inner.action {
                Action::Drop(reason) => count(turn, reason),
                Action::Keep(stages) => {
                    nested(stages, entry, turn).into_iter().for_each(|entry| run(rest, entry, turn));
                }
            }
        }
        Stage::Multiline(lines) => lines.feed(entry, turn.now).for_each(|entry| run(rest, entry, turn)),
        Stage::Cri(lines) => lines.feed(entry).for_each(|entry| run(rest, entry, turn)),
    }
}

/// Inner stages see the labels of now as if they were extracted.
fn nested(stages: &mut [Stage], mut entry: Entry, turn: &mut Turn<'_>) -> Vec<Entry> {
    if entry.labels != entry.initial {
        let labels = entry.labels.clone();
        for (name, value) in labels.iter() {
            entry.set(&Arc::from(name), Extracted::Text(value.to_owned()));
        }
    }
    let mut done = Vec::new();
    run(stages, entry, &mut Turn { now: turn.now, done: &mut done, dropped: turn.dropped });
    done
}

fn count(turn: &mut Turn<'_>, reason: &Arc<str>) {
    *turn.dropped.entry(Arc::clone(reason)).or_default() += 1;
}

/// What comes out of a stage goes through those behind it, which are flushed after it.
fn flush(stages: &mut [Stage], which: Flush, turn: &mut Turn<'_>) {
    let Some((stage, rest)) = stages.split_first_mut() else { return };
    match stage {
        Stage::Edit(_) | Stage::Drop(_) => {}
        Stage::Match(inner) => {
            if let Action::Keep(stages) = &mut inner.action {
                let mut done = Vec::new();
                flush(stages, which, &mut Turn { now: turn.now, done: &mut done, dropped: turn.dropped });
                done.into_iter().for_each(|entry| run(rest, entry, turn));
            }
        }
        Stage::Multiline(lines) => {
            lines.flush(which, turn.now).into_iter().for_each(|entry| run(rest, entry, turn));
        }
        Stage::Cri(lines) => {
            if which == Flush::All {
                lines.flush().into_iter().for_each(|entry| run(rest, entry, turn));
            }
        }
    }
    flush(rest, which, turn);
}

fn oldest_held(stages: &[Stage]) -> Option<u64> {
    let held = stages.iter().filter_map(|stage| match stage {
        Stage::Edit(_) | Stage::Drop(_) => None,
        Stage::Match(inner) => match &inner.action {
            Action::Keep(stages) => oldest_held(stages),
            Action::Drop(_) => None,
        },
        Stage::Multiline(lines) => lines.oldest_held(),
        Stage::Cri(lines) => lines.oldest_held(),
    });
    held.min()
}

/// Reads bytes of a file as text: what is no UTF-8 is replaced; whether something was.
#[must_use]
pub fn lossy(bytes: &[u8]) -> (String, bool) {
    match String::from_utf8_lossy(bytes) {
        Cow::Borrowed(text) => (text.to_owned(), false),
        Cow::Owned(text) => (text, true),
    }
}

#[cfg(test)]
mod tests;
