//! Stages that hold lines back: `multiline` and `cri`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use regex::Regex;
use signal::{Labels, Nanos};

use super::edit::{Edit, Failure, Timestamp};
use super::go_time::Format;
use super::{Entry, Extracted, Flush};

/// Streams of one file of which blocks are held at once.
const MAX_BLOCKS: usize = 1_000;

/// Puts the lines of a block together, for each stream by itself.
#[derive(Clone, Debug)]
pub(super) struct Multiline {
    pub(super) first_line: Regex,
    pub(super) max_lines: u64,
    pub(super) max_wait: Duration,
    /// Bytes of a block; a longer one goes on as it is.
    pub(super) max_bytes: usize,
    pub(super) blocks: BTreeMap<Labels, Block>,
}

/// Lines that belong together, as far as they are known.
#[derive(Clone, Debug)]
pub(super) struct Block {
    /// The first line: it gives time, labels and what was extracted.
    start: Entry,
    text: String,
    lines: u64,
    /// Where the first of these lines begins in the file.
    from: u64,
    /// When the last of these lines was read.
    since: Nanos,
}

impl Block {
    fn take(&mut self) -> Option<Entry> {
        if self.lines == 0 {
            return None;
        }
        self.lines = 0;
        let line = std::mem::take(&mut self.text);
        Some(Entry { line, from: self.from, ..self.start.clone() })
    }

    fn add(&mut self, entry: &Entry, now: Nanos) {
        if self.lines == 0 {
            self.from = entry.from;
        } else {
            self.text.push('\n');
        }
        self.text.push_str(&entry.line);
        self.lines += 1;
        self.since = now;
    }
}

impl Multiline {
    /// Until a first line was seen, lines pass by themselves.
    pub(super) fn feed(&mut self, mut entry: Entry, now: Nanos) -> impl Iterator<Item = Entry> + use<> {
        let is_first = self.first_line.is_match(&entry.line);
        let mut done: [Option<Entry>; 2] = [None, None];
        let [before, after] = &mut done;
        match self.blocks.get_mut(&entry.labels) {
            None if !is_first => *before = Some(entry),
            None => {
                if self.blocks.len() >= MAX_BLOCKS {
                    // The oldest makes room; blocks of so many streams at once are most likely labels gone wrong.
                    let oldest = self.blocks.iter().min_by_key(|(_, block)| block.since).map(|(name, _)| name.clone());
                    *before = oldest.and_then(|name| self.blocks.remove(&name)).and_then(|mut block| block.take());
                }
                let (labels, from) = (entry.labels.clone(), entry.from);
                let text = std::mem::take(&mut entry.line);
                self.blocks.insert(labels, Block { start: entry, text, lines: 1, from, since: now });
            }
            Some(block) => {
                let is_full = block.text.len() + entry.line.len() >= self.max_bytes;
                if is_first || is_full {
                    *before = block.take();
                }
                block.add(&entry, now);
                if is_first {
                    entry.line = String::new();
                    block.start = entry;
                }
                if block.lines >= self.max_lines {
                    *after = block.take();
                }
            }
        }
        done.into_iter().flatten()
    }

    pub(super) fn flush(&mut self, which: Flush, now: Nanos) -> Vec<Entry> {
        let is_due = |block: &Block| which == Flush::All || now.since(block.since) >= self.max_wait;
        self.blocks.values_mut().filter(|block| is_due(block)).filter_map(Block::take).collect()
    }

    pub(super) fn oldest_held(&self) -> Option<u64> {
        self.blocks.values().filter(|block| block.lines > 0).map(|block| block.from).min()
    }
}

/// Reads what container runtimes write (`time stream flags content`), and joins lines they have split.
#[derive(Clone, Debug)]
pub(super) struct Cri {
    pub(super) max_partial_lines: usize,
    /// Bytes of a joined line, when it is to be cut.
    pub(super) max_bytes: Option<usize>,
    names: [Arc<str>; 4],
    time: Edit,
    partial: BTreeMap<Labels, Entry>,
}

impl Cri {
    pub(super) fn new(max_partial_lines: usize, max_bytes: Option<usize>) -> Self {
        let names = ["time", "stream", "flags", "content"].map(Arc::from);
        let [source, ..] = names.clone();
        let formats = vec![Format::named("RFC3339Nano")];
        let time = Timestamp { source, formats, zone: None, on_failure: Failure::fudge() };
        Self { max_partial_lines, max_bytes, names, time: Edit::Timestamp(Box::new(time)), partial: BTreeMap::new() }
    }

    pub(super) fn feed(&mut self, mut entry: Entry) -> impl Iterator<Item = Entry> + use<> {
        let mut evicted = BTreeMap::new();
        let mut done = None;
        let is_partial = self.read(&mut entry);
        let key = entry.labels.clone();
        if is_partial && self.partial.len() >= self.max_partial_lines && !self.partial.contains_key(&key) {
            evicted = std::mem::take(&mut self.partial);
        }
        if let Some(before) = self.partial.remove(&key) {
            entry.line.insert_str(0, &before.line);
            entry.from = before.from;
        }
        if let Some(most) = self.max_bytes {
            entry.line.truncate(entry.line.floor_char_boundary(most));
        }
        if is_partial {
            self.partial.insert(key, entry);
        } else {
            done = Some(entry);
        }
        evicted.into_values().chain(done)
    }

    /// Takes the line apart; whether its end is still to come.
    fn read(&mut self, entry: &mut Entry) -> bool {
        let parts = split(&entry.line).map(|parts| parts.map(str::to_owned));
        let is_partial = parts.as_ref().is_some_and(|[_, _, flags, _]| flags == "P");
        if let Some(parts) = parts {
            for (name, part) in self.names.iter().zip(parts) {
                entry.set(name, Extracted::Text(part));
            }
            let [_, stream, _, content] = &self.names;
            entry.labels = entry.labels.with(stream, entry.get(stream).unwrap_or_default());
            entry.line = entry.get(content).unwrap_or_default().to_owned();
        }
        self.time.apply(entry, Nanos(0));
        is_partial
    }

    pub(super) fn flush(&mut self) -> Vec<Entry> {
        std::mem::take(&mut self.partial).into_values().collect()
    }

    pub(super) fn oldest_held(&self) -> Option<u64> {
        self.partial.values().map(|entry| entry.from).min()
    }
}

fn split(line: &str) -> Option<[&str; 4]> {
    let mut parts = line.splitn(4, ' ');
    let all = [parts.next()?, parts.next()?, parts.next()?, parts.next()?];
    let [time, stream, flags, _] = all;
    let is_word = |text: &str| !text.is_empty() && !text.contains(char::is_whitespace);
    (is_word(time) && is_word(flags) && matches!(stream, "stdout" | "stderr")).then_some(all)
}
