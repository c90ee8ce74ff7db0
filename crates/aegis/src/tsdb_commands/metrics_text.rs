//! Metrics as text, read piece by piece: a history can be larger than memory.

use std::collections::HashMap;
use std::io::{BufRead, Read};

use anyhow::{Context, bail};
use ingest::{Limits, exposition};
use signal::{MetricMetadata, Timestamp, WriteBatch};

use super::TextFormat;

/// Bytes that are read as one page.
const PAGE_BYTES: usize = 1 << 20;
/// Longest line.
const MAX_LINE_BYTES: u64 = 1 << 20;
/// Stands for "the line states no time", which a history cannot do without.
const NO_TIME: Timestamp = Timestamp::MIN;

/// Reads pages of lines until the end.
#[derive(Debug)]
pub(super) struct Pages<R> {
    reader: R,
    format: TextFormat,
    limits: Limits,
    page: Vec<u8>,
    /// What the last comments said about the family that samples belong to; it begins the next page.
    family: Vec<u8>,
    /// Lines before the page.
    lines: usize,
    state: State,
    said: HashMap<String, MetricMetadata>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Samples,
    /// After `# EOF`.
    Ended,
}

impl<R: BufRead> Pages<R> {
    pub(super) fn new(reader: R, format: TextFormat) -> Self {
        Self {
            reader,
            format,
            limits: Limits::default(),
            page: Vec::new(),
            family: Vec::new(),
            lines: 0,
            state: State::Samples,
            said: HashMap::new(),
        }
    }

    /// The samples of the next page; `None` at the end.
    pub(super) fn next(&mut self) -> anyhow::Result<Option<WriteBatch>> {
        self.page.clone_from(&self.family);
        let carried = self.family.iter().filter(|byte| **byte == b'\n').count();
        let mut lines = 0;
        let mut was_comment = false;
        let mut line = Vec::new();
        while self.page.len() < PAGE_BYTES {
            line.clear();
            let read = self.reader.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line);
            let number = self.lines + lines + 1;
            if read.with_context(|| format!("cannot read line {number}"))? == 0 {
                break;
            }
            if !line.ends_with(b"\n") {
                if line.len() as u64 >= MAX_LINE_BYTES {
                    bail!("line {number} is longer than the limit of {MAX_LINE_BYTES} bytes");
                }
                line.push(b'\n');
            }
            lines += 1;
            if self.state == State::Ended && !line.trim_ascii().is_empty() {
                bail!("line {number}: text after `# EOF`");
            }
            if self.format == TextFormat::Openmetrics && line.trim_ascii_end() == b"# EOF" {
                self.state = State::Ended;
                continue;
            }
            let is_comment = line.starts_with(b"#");
            if is_comment {
                if !was_comment {
                    self.family.clear();
                }
                self.family.extend_from_slice(&line);
            }
            was_comment = is_comment;
            self.page.extend_from_slice(&line);
        }
        if lines == 0 {
            if self.format == TextFormat::Openmetrics && self.state != State::Ended {
                bail!("the text does not end with `# EOF`; it may be cut short");
            }
            return Ok(None);
        }
        let batch = self.parse(carried)?;
        self.lines += lines;
        Ok(Some(batch))
    }

    fn parse(&mut self, carried: usize) -> anyhow::Result<WriteBatch> {
        let content_type = match self.format {
            TextFormat::Openmetrics => {
                self.page.extend_from_slice(b"# EOF\n");
                Some("application/openmetrics-text")
            }
            TextFormat::Prometheus => None,
        };
        let page = exposition::parse(&self.page, content_type, NO_TIME, &self.limits).map_err(|mut error| {
            error.line = (error.line + self.lines).saturating_sub(carried);
            error
        })?;
        let timeless = page.series.iter().find(|series| series.samples.iter().any(|sample| sample.at == NO_TIME));
        if let Some(series) = timeless {
            let (first, last) = (self.lines + 1, self.lines + self.page.iter().filter(|byte| **byte == b'\n').count());
            bail!("lines {first} to {last}: a sample of `{}` has no time", series.labels);
        }
        let mut batch = WriteBatch::default();
        for series in page.series {
            match batch.series.last_mut() {
                Some(last) if last.labels == series.labels => {
                    last.samples.extend(series.samples);
                    last.histograms.extend(series.histograms);
                    last.exemplars.extend(series.exemplars);
                }
                _ => batch.series.push(series),
            }
        }
        for family in page.metadata {
            if self.said.get(&family.name) != Some(&family) {
                self.said.insert(family.name.clone(), family.clone());
                batch.metadata.push(family);
            }
        }
        Ok(batch)
    }
}
