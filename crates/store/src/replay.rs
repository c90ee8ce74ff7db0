//! Reading everything back at start.

mod logs;
mod metrics;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use signal::Timestamp;

use crate::block::Block;
use crate::blocks::BlockDir;
use crate::codec::dictionary::{Dictionary, Names, Numbers};
use crate::codec::traces;
use crate::disk::Disk;
use crate::errors::{FlushError, OpenError, RetainError, Retained};
use crate::head::logs::LogsHead;
use crate::head::{Head, SegmentId};
use crate::journal::{Journal, SegmentFacts};
use crate::log_block::LogBlock;
use crate::segment::{self, After, RecordHead, Signal};
use crate::status::Problem;
use crate::store::StoreSettings;
use crate::wire::DecodeError;

/// One signal on disk: its segments and what goes with writing them.
#[derive(Debug)]
pub(crate) struct Volume {
    pub(crate) journal: Journal,
    /// For writing on in the newest segment.
    pub(crate) dictionary: Dictionary,
    /// The same for metrics.
    pub(crate) numbers: Numbers,
    pub(crate) dropped_bytes: u64,
    pub(crate) problems: Vec<Problem>,
    /// Number of the newest record; 0 before the first.
    pub(crate) last: u64,
}

/// The directories of the signals that move to blocks.
#[derive(Debug)]
pub(crate) struct Dirs<'a> {
    pub(crate) metrics: &'a mut BlockDir<Block>,
    pub(crate) logs: &'a mut BlockDir<LogBlock>,
}

impl Dirs<'_> {
    /// The last segment that is in blocks, and the number of the last write.
    fn flushed(&self, signal: Signal) -> Option<(SegmentId, u64)> {
        let manifest = match signal {
            Signal::Metrics => self.metrics.manifest(),
            Signal::Logs => self.logs.manifest(),
            Signal::Traces => return None,
        };
        Some((SegmentId(manifest.floor), manifest.sequence))
    }
}

/// Reads the three signals into `head`; answers them and the number of the last write.
///
/// A write that touched several signals and reached only some of them before a crash was never acknowledged: it is cut
/// off everywhere. Only the last write can be like that, because a write begins after the one before has ended.
pub(crate) fn replay(
    dir: &Path,
    settings: &StoreSettings,
    disk: &Arc<dyn Disk>,
    dirs: &mut Dirs<'_>,
    head: &mut Head,
) -> Result<(Vec<Volume>, u64), OpenError> {
    let mut journals = Vec::with_capacity(Signal::ALL.len());
    for signal in Signal::ALL {
        let mut journal = Journal::new(signal, dir, settings, disk);
        journal.make_dir()?;
        if let Some((floor, _)) = dirs.flushed(signal) {
            journal.begin_after(floor)?;
        }
        let last = last_record(&journal)?;
        journals.push((journal, last));
    }
    let flushed = |signal: Signal| dirs.flushed(signal).map_or(0, |(_, sequence)| sequence);
    let newest_flushed = Signal::ALL.into_iter().map(flushed).max().unwrap_or(0);
    let last = |journal: &Journal, last: Option<RecordHead>| {
        last.map_or(0, |last| last.sequence).max(flushed(journal.signal()))
    };
    let lasts: Vec<_> = journals.iter().map(|(journal, head)| (journal.signal(), last(journal, *head))).collect();
    let newest = journals.iter().filter_map(|(_, last)| *last).max_by_key(|last| last.sequence);
    // A signal that lacks more than the one record was damaged; cutting the others too would only lose more.
    let is_unfinished = |newest: RecordHead| {
        let missed = |(signal, last): &(Signal, u64)| {
            newest.touched.previous(*signal) == Some(*last) && *last != newest.sequence
        };
        lasts.iter().any(missed)
    };
    let unfinished = newest.filter(|newest| is_unfinished(*newest)).map(|newest| newest.sequence);
    let mut volumes = Vec::with_capacity(Signal::ALL.len());
    for (journal, _) in journals {
        let mut volume = Volume::new(journal);
        volume.last = dirs.flushed(volume.journal.signal()).map_or(0, |(_, sequence)| sequence);
        volume.read(settings, unfinished, dirs, head)?;
        volumes.push(volume);
    }
    Ok((volumes, newest.map_or(0, |newest| newest.sequence).max(newest_flushed)))
}

/// The head of the newest record of a signal.
fn last_record(journal: &Journal) -> Result<Option<RecordHead>, OpenError> {
    for id in journal.list()?.into_iter().rev() {
        let bytes = journal.read(id)?;
        let scan = scan(journal, id, &bytes)?;
        if let Some(frame) = scan.frames.last() {
            return Ok(frame.record().ok().map(|(head, _)| head));
        }
    }
    Ok(None)
}

fn scan<'a>(journal: &Journal, id: SegmentId, bytes: &'a [u8]) -> Result<segment::Scan<'a>, OpenError> {
    segment::scan(bytes, journal.signal()).map_err(|segment::TooNew(found)| OpenError::Version {
        file: journal.path(id),
        found,
        known: segment::VERSION,
    })
}

impl Volume {
    /// A signal without any segment.
    pub(crate) fn new(journal: Journal) -> Self {
        let (dictionary, numbers) = (Dictionary::default(), Numbers::default());
        Self { journal, dictionary, numbers, dropped_bytes: 0, problems: Vec::new(), last: 0 }
    }

    /// The next write begins a new segment. Answers the last one there is and the number of the newest record.
    pub(crate) fn close(&mut self) -> Option<(SegmentId, u64)> {
        Some((self.journal.close()?, self.last))
    }

    /// Removes the segments up to `last`, which are in blocks. One that could not be read as a whole may hold what is
    /// nowhere else: it gets a name that is not read again, and stays a problem.
    pub(crate) fn drop_flushed(&mut self, last: SegmentId) -> Result<(), RetainError> {
        let flushed = self.journal.until(last);
        for id in &flushed {
            let file = self.journal.path(*id);
            let mut damage = self.problems.iter_mut().filter(|problem| problem.file == file).peekable();
            if damage.peek().is_some() {
                let aside = self.journal.set_aside(*id)?;
                damage.for_each(|problem| problem.file.clone_from(&aside));
            }
        }
        self.journal.remove(&flushed, &mut BTreeSet::new(), &mut Retained::default())
    }

    fn read(
        &mut self,
        settings: &StoreSettings,
        unfinished: Option<u64>,
        dirs: &mut Dirs<'_>,
        head: &mut Head,
    ) -> Result<(), OpenError> {
        let ids = self.journal.list()?;
        let newest = ids.last().copied();
        for id in ids {
            let is_newest = newest == Some(id);
            self.read_segment(id, is_newest, unfinished, head)?;
            let limit = match self.journal.signal() {
                Signal::Metrics => settings.flush_bytes,
                Signal::Logs => settings.log_flush_bytes,
                Signal::Traces => u64::MAX,
            };
            if !is_newest && self.journal.bytes() >= limit {
                self.flush(id, dirs, head).map_err(OpenError::Flush)?;
            }
        }
        Ok(())
    }

    /// Moves what was read to blocks, so that a log larger than memory can be read.
    fn flush(&mut self, last: SegmentId, dirs: &mut Dirs<'_>, head: &mut Head) -> Result<(), FlushError> {
        match self.journal.signal() {
            Signal::Metrics => {
                head.metrics.blocks = dirs.metrics.write(&head.metrics.fresh, last, self.last)?;
                head.metrics.fresh = head.metrics.fresh.emptied();
            }
            Signal::Logs => {
                head.logs.blocks = dirs.logs.write(&head.logs.fresh, last, self.last)?;
                head.logs.fresh = LogsHead::default();
            }
            Signal::Traces => return Ok(()),
        }
        Ok(self.drop_flushed(last)?)
    }

    fn read_segment(
        &mut self,
        id: SegmentId,
        is_newest: bool,
        unfinished: Option<u64>,
        head: &mut Head,
    ) -> Result<(), OpenError> {
        let bytes = self.journal.read(id)?;
        let scan = scan(&self.journal, id, &bytes)?;
        let unfinished = unfinished.filter(|_| is_newest);
        let mut names = Names::default();
        let mut series = Vec::new();
        let walk = match self.journal.signal() {
            Signal::Metrics => metrics::read(&scan, unfinished, &mut names, &mut series, &mut head.metrics.fresh),
            Signal::Logs => logs::read(&scan, unfinished, &mut names, &mut head.logs.fresh),
            Signal::Traces => walk(&scan, scan.records(), unfinished, |content| read_traces(content, id, head)),
        };
        self.last = walk.last.unwrap_or(self.last);
        let mut facts = walk.facts;
        facts.bytes = bytes.len() as u64;
        let damage = walk.damage.or(match scan.after {
            After::Nothing => None,
            // A segment that is not the newest was whole when the next one began.
            After::Torn if is_newest => None,
            After::Torn => Some((scan.end, "the segment is not whole")),
            After::Damage(reason) => Some((scan.end, reason)),
        });
        if let Some((offset, reason)) = damage {
            let file = self.journal.path(id);
            self.problems.push(Problem { file, offset: offset as u64, reason: reason.to_owned() });
            self.journal.adopt(id, facts);
            return Ok(());
        }
        if is_newest {
            self.dropped_bytes = facts.bytes.saturating_sub(walk.end as u64);
            facts.bytes = walk.end as u64;
            self.journal.adopt(id, facts);
            if scan.version != 0 && scan.version < segment::VERSION {
                // Records of today do not belong into a segment of an older format.
                return Ok(());
            }
            match self.journal.signal() {
                Signal::Metrics => self.numbers = names.into_numbers(&series),
                Signal::Logs | Signal::Traces => self.dictionary = names.into_dictionary(),
            }
            return self.journal.resume(id, walk.end as u64);
        }
        self.journal.adopt(id, facts);
        Ok(())
    }
}

/// What the records of a segment came to.
struct Walk {
    facts: SegmentFacts,
    /// Where the last one that counts ends.
    end: usize,
    /// Number of the last write.
    last: Option<u64>,
    /// Where a record cannot be read, and why; what follows is not served.
    damage: Option<(usize, &'static str)>,
}

/// Gives the content of every record of a segment to `read`, which takes in all of it or nothing and answers its newest
/// instant. The record of an `unfinished` write and what follows do not count.
fn walk<'a>(
    scan: &segment::Scan<'a>,
    records: impl Iterator<Item = segment::Record<'a>>,
    unfinished: Option<u64>,
    mut read: impl FnMut(&[u8]) -> Result<Option<Timestamp>, DecodeError>,
) -> Walk {
    let facts = SegmentFacts { has_records: !scan.frames.is_empty(), ..SegmentFacts::default() };
    let mut walk = Walk { facts, end: scan.end, last: None, damage: None };
    for (offset, record) in records {
        let content = match record {
            Ok((record, _)) if Some(record.sequence) == unfinished => {
                walk.end = offset;
                return walk;
            }
            Ok((record, content)) => {
                walk.last = Some(record.sequence);
                read(&content)
            }
            Err(error) => Err(error),
        };
        match content {
            Ok(newest) => walk.facts.note(newest),
            Err(DecodeError(reason)) => {
                walk.damage = Some((offset, reason));
                return walk;
            }
        }
    }
    walk
}

fn read_traces(content: &[u8], segment: SegmentId, head: &mut Head) -> Result<Option<Timestamp>, DecodeError> {
    let spans = traces::decode(content)?;
    let newest = spans.iter().map(|span| span.end.to_timestamp()).max();
    spans.into_iter().for_each(|span| head.traces.push(segment, Arc::new(span)));
    Ok(newest)
}
