//! What the person who runs the demo sees.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use signal::Timestamp;

use crate::render::{self, Event};

/// Standard output: a timeline, and on a terminal a line of progress below it.
#[derive(Debug)]
pub(crate) struct Terminal {
    is_terminal: bool,
    has_colour: bool,
    started: Timestamp,
    /// Whether the last line is one of progress, to be replaced.
    has_progress: bool,
    /// When progress was last printed where lines cannot be replaced.
    reported: Option<Timestamp>,
}

/// Between two lines of progress in a file.
const REPORT: Duration = Duration::from_secs(15);

impl Terminal {
    pub(crate) fn new(started: Timestamp) -> Self {
        let is_terminal = std::io::stdout().is_terminal();
        let has_colour = is_terminal && std::env::var_os("NO_COLOR").is_none();
        Self { is_terminal, has_colour, started, has_progress: false, reported: None }
    }

    /// Adds an event to the timeline.
    pub(crate) fn event(&mut self, event: &Event<'_>) {
        for (number, line) in render::event(event, self.started).into_iter().enumerate() {
            match (number, self.has_colour) {
                (0, true) => self.line(&format!("{}{line}\x1b[0m", colour(event.label))),
                _ => self.line(&line),
            }
        }
    }

    /// Adds a line of any text.
    pub(crate) fn line(&mut self, text: &str) {
        self.clear();
        self.write(&format!("{text}\n"));
    }

    /// Shows how long something still takes.
    pub(crate) fn progress(&mut self, now: Timestamp, what: &str, done: f64, left: Duration) {
        let left = left.as_secs();
        if self.is_terminal {
            let filled = (done.clamp(0.0, 1.0) * 30.0) as usize;
            let bar = format!("{}{}", "#".repeat(filled), ".".repeat(30 - filled));
            let text: String = format!("  {what}  [{bar}]  {left} s left").chars().take(79).collect();
            self.clear();
            self.write(&text);
            self.has_progress = true;
            return;
        }
        if self.reported.is_none_or(|reported| now.since(reported) >= REPORT) {
            self.reported = Some(now);
            self.line(&format!("  {what}: {left} s left"));
        }
    }

    /// Removes the line of progress.
    pub(crate) fn clear(&mut self) {
        if self.has_progress {
            self.has_progress = false;
            self.write("\r\x1b[K");
        }
    }

    fn write(&self, text: &str) {
        // Somebody may have closed the other end of a pipe; the demo then goes on unseen and still writes its report.
        let mut out = std::io::stdout().lock();
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }
}

fn colour(label: &str) -> &'static str {
    match label {
        "detected" | "escalated" => "\x1b[31m",
        "cause" | "evidence" => "\x1b[33m",
        "policy" | "action" | "undo" => "\x1b[36m",
        "verified" | "closed" => "\x1b[32m",
        _ => "\x1b[2m",
    }
}
