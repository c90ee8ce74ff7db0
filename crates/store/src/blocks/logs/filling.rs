//! A block in the making, in which the few lines of small streams share row groups.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use signal::{Labels, Nanos};

use crate::block_file::{BlockOrigin, WriteBlockError};
use crate::disk::Disk;
use crate::head::logs::{LineChunk, SEAL_LINES, cuts};
use crate::log_block::{LogBlockWriter, Run};
use crate::rows::{Line, RowGroup};

/// Stretches of fewer lines share row groups with their neighbours.
pub(super) const SHARED: usize = 256;
/// Bytes of lines at which a shared row group is full.
const SHARED_BYTES: usize = 1 << 20;

/// Gathers streams in order of their labels.
#[derive(Debug)]
pub(super) struct Filling<'a> {
    disk: &'a Arc<dyn Disk>,
    file: PathBuf,
    origin: BlockOrigin,
    /// Begun with the first line.
    writer: Option<LogBlockWriter>,
    streams: Vec<(Labels, Vec<Run>)>,
    /// Stretches of streams that wait for more, one behind the other.
    waiting: LineChunk,
    /// The streams they belong to, by place, and how many lines each has.
    stretches: Vec<(usize, u32)>,
}

impl<'a> Filling<'a> {
    pub(super) fn new(disk: &'a Arc<dyn Disk>, file: &Path, origin: BlockOrigin) -> Self {
        let (file, waiting) = (file.to_owned(), LineChunk::default());
        Self { disk, file, origin, writer: None, streams: Vec::new(), waiting, stretches: Vec::new() }
    }

    /// What is pushed from now on is of this stream, whose labels come after those of the one before.
    pub(super) fn begin(&mut self, labels: &Labels) {
        let is_waiting = self.stretches.last().is_some_and(|(place, _)| place + 1 == self.streams.len());
        match self.streams.last_mut() {
            // There was nothing of the one before.
            Some((last, runs)) if runs.is_empty() && !is_waiting => *last = labels.clone(),
            Some(_) | None => self.streams.push((labels.clone(), Vec::new())),
        }
    }

    /// Adds all rows of a group as they are.
    pub(super) fn push_group(&mut self, group: &RowGroup, first: Nanos, last: Nanos) -> Result<(), WriteBlockError> {
        let number = self.writer()?.push_group(group)?;
        if let Some((_, runs)) = self.streams.last_mut() {
            runs.push(Run { group: number, rows: 0..group.rows(), first, last });
        }
        Ok(())
    }

    /// Adds lines in order, in groups of up to `most`.
    pub(super) fn push_lines(&mut self, lines: &[Line<'_>], most: usize) -> Result<(), WriteBlockError> {
        for cut in cuts(lines, most) {
            let (Some(first), Some(last)) = (cut.first(), cut.last()) else { continue };
            if cut.len() >= SHARED {
                self.push_group(&RowGroup::seal(cut), first.at, last.at)?;
                continue;
            }
            cut.iter().for_each(|line| self.waiting.push(line.at, line.line, line.metadata));
            self.stretches.push((self.streams.len().saturating_sub(1), cut.len() as u32));
            if self.waiting.len() >= SEAL_LINES || self.waiting.bytes() >= SHARED_BYTES {
                self.seal_waiting()?;
            }
        }
        Ok(())
    }

    fn seal_waiting(&mut self) -> Result<(), WriteBlockError> {
        let waiting = std::mem::take(&mut self.waiting);
        if waiting.len() == 0 {
            return Ok(());
        }
        let lines: Vec<Line<'_>> = waiting.iter().collect();
        let group = self.writer()?.push_group(&RowGroup::seal(&lines))?;
        let mut begin = 0;
        for (place, count) in std::mem::take(&mut self.stretches) {
            let rows = begin..begin + count;
            begin = rows.end;
            let stretch = lines.get(rows.start as usize..rows.end as usize).unwrap_or_default();
            if let (Some((_, runs)), [first, ..], [.., last]) = (self.streams.get_mut(place), stretch, stretch) {
                runs.push(Run { group, rows, first: first.at, last: last.at });
            }
        }
        Ok(())
    }

    fn writer(&mut self) -> Result<&mut LogBlockWriter, WriteBlockError> {
        match &mut self.writer {
            Some(writer) => Ok(writer),
            none => {
                let writer = LogBlockWriter::create(Arc::clone(self.disk), &self.file, self.origin.clone())?;
                Ok(none.insert(writer))
            }
        }
    }

    /// Writes the rest; answers whether there is a block. Without a line there is none.
    pub(super) fn finish(mut self) -> Result<bool, WriteBlockError> {
        self.seal_waiting()?;
        let Some(mut writer) = self.writer else { return Ok(false) };
        for (labels, mut runs) in self.streams {
            // Those that waited for others come late.
            runs.sort_by_key(|run| (run.first, run.last));
            for run in runs {
                writer.push_run(&labels, run)?;
            }
        }
        writer.finish()?;
        Ok(true)
    }
}
