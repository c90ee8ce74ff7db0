//! One block of several.

use std::collections::BTreeMap;
use std::path::Path;

use signal::{Labels, LogLine, Nanos};

use super::filling::{Filling, SHARED};
use crate::block::MergeError;
use crate::block_file::BlockError;
use crate::blocks::{MergeJob, OpenBlock};
use crate::column::Rows;
use crate::deletion::Deletion;
use crate::head::logs::{SEAL_LINES, put_in_order};
use crate::log_block::{LogBlock, Run};
use crate::rows::{Line, RowGroup, RowsError};

/// Lines of a row group that is made anew.
const ANEW: usize = 8_192;
/// Lines of a row group that is large enough to stay.
const LARGE: usize = SEAL_LINES / 2;
/// Lines that are put in order at once, at most: a stream whose parts all overlap may stay partly out of order.
const TOGETHER: usize = 32 * ANEW;

/// Writes everything in the parts of `job` but what was deleted or has expired. Row groups that are fine stay as they are;
/// small ones and such that overlap others of their stream are made anew together.
pub(super) fn merge(job: &MergeJob<'_, LogBlock>) -> Result<bool, MergeError> {
    let mut streams: BTreeMap<&Labels, Vec<Stretch<'_>>> = BTreeMap::new();
    for block in job.parts {
        for (labels, runs) in block.block.streams() {
            streams.entry(labels).or_default().extend(runs.iter().map(|run| Stretch { block, run }));
        }
    }
    let mut filling = Filling::new(job.disk, job.file, job.origin.clone());
    for (labels, mut stretches) in streams {
        let wanted = Wanted {
            floor: job.floors.of(labels),
            deletions: job.deletions.iter().copied().filter(|deletion| deletion.concerns(labels)).collect(),
        };
        stretches.retain(|stretch| wanted.may_have(stretch.run));
        // Parts come in order of arrival, and that order stays where stretches begin together.
        stretches.sort_by_key(|stretch| stretch.run.first);
        filling.begin(labels);
        merge_stream(&mut filling, &stretches, &wanted)?;
    }
    Ok(filling.finish()?)
}

/// Rows of one stream in one block.
#[derive(Clone, Copy, Debug)]
struct Stretch<'a> {
    block: &'a OpenBlock<LogBlock>,
    run: &'a Run,
}

/// What of a stream is kept.
struct Wanted<'a> {
    floor: Nanos,
    deletions: Vec<&'a Deletion>,
}

impl Wanted<'_> {
    fn may_have(&self, run: &Run) -> bool {
        let is_deleted = |deletion: &&Deletion| {
            let lines = deletion.lines.as_ref();
            lines.is_some_and(|lines| lines.filters.is_empty() && lines.start <= run.first && run.last <= lines.end)
        };
        run.last >= self.floor && !self.deletions.iter().any(is_deleted)
    }

    /// Whether certainly all of it is kept.
    fn has_all(&self, run: &Run) -> bool {
        let touches = |deletion: &&Deletion| {
            deletion.lines.as_ref().is_some_and(|lines| lines.start <= run.last && run.first <= lines.end)
        };
        run.first >= self.floor && !self.deletions.iter().any(touches)
    }

    fn has(&self, line: &LogLine) -> bool {
        let means =
            |deletion: &&Deletion| deletion.lines.as_ref().is_some_and(|lines| lines.means(line.at, &line.line));
        line.at >= self.floor && !self.deletions.iter().any(means)
    }
}

/// Adds a stream, whose stretches are in order of their first line.
fn merge_stream(filling: &mut Filling<'_>, stretches: &[Stretch<'_>], wanted: &Wanted<'_>) -> Result<(), MergeError> {
    // Lines that are put in order together, and the last instant among them.
    let mut loose: Vec<LogLine> = Vec::new();
    let mut until: Option<Nanos> = None;
    let mut later = stretches.iter().peekable();
    while let Some(stretch) = later.next() {
        let run = stretch.run;
        let next = later.peek().map(|next| next.run.first);
        let is_apart = until.is_none_or(|until| until < run.first) && next.is_none_or(|next| run.last < next);
        // A small group is made anew only where there is another to put it together with.
        let is_alone = loose.is_empty() && later.peek().is_none_or(|next| next.run.rows.len() >= LARGE);
        let is_large = run.rows.len() >= LARGE || (run.rows.len() >= SHARED && is_alone);
        let group = stretch.block.block.group(run.group)?;
        if is_apart && is_large && wanted.has_all(run) && run.rows == (0..group.rows()) {
            push_loose(filling, &mut loose, None)?;
            filling.push_group(&group, run.first, run.last)?;
            continue;
        }
        if until.is_some_and(|until| until < run.first) && loose.len() >= ANEW {
            push_loose(filling, &mut loose, None)?;
        }
        let lines = read(stretch.block, &group, run)?;
        loose.extend(lines.into_iter().filter(|line| wanted.has(line)));
        until = until.max(Some(run.last));
        if loose.len() >= TOGETHER {
            push_loose(filling, &mut loose, None)?;
        } else if loose.len() >= 2 * ANEW {
            push_loose(filling, &mut loose, next)?;
        }
    }
    push_loose(filling, &mut loose, None)
}

/// Adds lines to the block, those before `until` in full row groups, or all; the others stay.
fn push_loose(filling: &mut Filling<'_>, loose: &mut Vec<LogLine>, until: Option<Nanos>) -> Result<(), MergeError> {
    // Equal instants stay in order of arrival.
    loose.sort_by_key(|line| line.at);
    let count = until.map_or(loose.len(), |until| {
        let before = loose.partition_point(|line| line.at < until);
        before - before % ANEW
    });
    let Some(front) = loose.get(..count).filter(|front| !front.is_empty()) else { return Ok(()) };
    let mut lines: Vec<Line<'_>> =
        front.iter().map(|LogLine { at, line, metadata }| Line { at: *at, line, metadata }).collect();
    put_in_order(&mut lines);
    filling.push_lines(&lines, ANEW)?;
    loose.drain(..count);
    Ok(())
}

fn read(block: &OpenBlock<LogBlock>, group: &RowGroup, run: &Run) -> Result<Vec<LogLine>, BlockError> {
    let mut rows = Rows::all(group.rows() as usize);
    rows.retain(run.rows.start as usize..run.rows.end as usize);
    group.lines(&rows).map_err(|error| unreadable(&block.file, error))
}

/// Says in which block a row group cannot be read.
pub(crate) fn unreadable(file: &Path, error: RowsError) -> BlockError {
    let file = file.to_owned();
    match error {
        RowsError::Damaged { reason } => BlockError::Damaged { file, offset: 0, what: reason },
        RowsError::Io(source) => BlockError::Io { file, source },
    }
}
