//! Lines for a person or a program.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};

use serde::Serialize;
use signal::{Labels, Nanos};

use super::{LineOutput, Shown, note};

/// A line with all its labels.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Line {
    pub(super) at: Nanos,
    pub(super) labels: Labels,
    pub(super) text: String,
}

/// A line as logcli writes it.
#[derive(Serialize)]
struct Object<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    labels: Option<&'a Labels>,
    line: &'a str,
    timestamp: String,
}

/// Escape sequences of terminals.
const BLUE: &str = "\x1b[34m";
const RED: &str = "\x1b[31m";
const PLAIN: &str = "\x1b[0m";

/// Writes lines in one way.
pub(super) struct Printer {
    output: LineOutput,
    shown: Shown,
    is_colored: bool,
    /// Labels that were the same in the first lines.
    common: Option<BTreeMap<String, String>>,
    /// Width of the labels so far.
    width: usize,
}

impl Printer {
    pub(super) fn new(output: LineOutput, shown: Shown) -> Self {
        let is_colored = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
        Self { output, shown, is_colored, common: None, width: 0 }
    }

    /// Looks at the lines that come next; the first ones decide what is common.
    pub(super) fn look(&mut self, lines: &[Line]) {
        if self.output != LineOutput::Default || lines.is_empty() {
            return;
        }
        if self.common.is_none() && self.shown == Shown::Unique {
            let common = common(lines);
            if !common.is_empty() {
                note(&format!("Common labels: {}", Labels::from_pairs(&common)));
            }
            self.common = Some(common);
        }
        let widest = lines.iter().map(|line| self.labels(&line.labels).chars().count()).max();
        self.width = self.width.max(widest.unwrap_or_default());
    }

    fn labels(&self, labels: &Labels) -> String {
        let is_common = |name: &str| {
            let value = self.common.as_ref().and_then(|common| common.get(name));
            value.is_some_and(|value| labels.get(name) == Some(value))
        };
        labels.without(is_common).to_string()
    }

    pub(super) fn write(&self, out: &mut impl Write, line: &Line) -> io::Result<()> {
        match self.output {
            LineOutput::Raw => writeln!(out, "{}", line.text),
            LineOutput::Jsonl => {
                let labels = (self.shown != Shown::None).then_some(&line.labels);
                let object = Object { labels, line: &line.text, timestamp: line.at.to_string() };
                let object = serde_json::to_string(&object).map_err(io::Error::other)?;
                writeln!(out, "{object}")
            }
            LineOutput::Default => {
                let (time, text) = (line.at.to_string(), line.text.trim_end());
                let labels = match self.shown {
                    Shown::None => String::new(),
                    Shown::Unique | Shown::All => {
                        format!("{:width$} ", self.labels(&line.labels), width = self.width)
                    }
                };
                if self.is_colored {
                    writeln!(out, "{BLUE}{time}{PLAIN} {RED}{labels}{PLAIN}{text}")
                } else {
                    writeln!(out, "{time} {labels}{text}")
                }
            }
        }
    }
}

fn common(lines: &[Line]) -> BTreeMap<String, String> {
    let Some((first, rest)) = lines.split_first() else { return BTreeMap::new() };
    let mut common: BTreeMap<String, String> =
        first.labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    for line in rest {
        common.retain(|name, value| line.labels.get(name) == Some(value));
    }
    common
}
