//! Reading everything back at start.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use signal::Timestamp;

use crate::blocks::BlockDir;
use crate::codec::dictionary::{Dictionary, Names, Numbers};
use crate::codec::metrics::MetricsRecord;
use crate::codec::{logs, metrics, traces};
use crate::disk::Disk;
use crate::errors::{OpenError, Retained};
use crate::head::{Head, SegmentId};
use crate::journal::{Journal, SegmentFacts};
use crate::segment::{self, After, RecordHead, Signal};
use crate::status::Problem;
use crate::store::StoreSettings;
use crate::wire::DecodeError;

/// Samples that are put into the head at once, by two threads.
const TOGETHER: usize = 256 * 1024;

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

/// Reads the three signals into `head`; answers them and the number of the last write.
///
/// A write that touched several signals and reached only some of them before a crash was never acknowledged: it is cut
/// off everywhere. Only the last write can be like that, because a write begins after the one before has ended.
pub(crate) fn replay(
    dir: &Path,
    settings: &StoreSettings,
    disk: &Arc<dyn Disk>,
    blocks: &mut BlockDir,
    head: &mut Head,
) -> Result<(Vec<Volume>, u64), OpenError> {
    let mut journals = Vec::with_capacity(Signal::ALL.len());
    for signal in Signal::ALL {
        let mut journal = Journal::new(signal, dir, settings, disk);
        journal.make_dir()?;
        if signal == Signal::Metrics {
            journal.begin_after(SegmentId(blocks.manifest().floor))?;
        }
        let last = last_record(&journal)?;
        journals.push((journal, last));
    }
    let flushed = blocks.manifest().sequence;
    let last = |journal: &Journal, last: Option<RecordHead>| {
        let last = last.map_or(0, |last| last.sequence);
        if journal.signal() == Signal::Metrics { last.max(flushed) } else { last }
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
        if volume.journal.signal() == Signal::Metrics {
            volume.last = flushed;
        }
        volume.read(settings, unfinished, blocks, head)?;
        volumes.push(volume);
    }
    Ok((volumes, newest.map_or(0, |newest| newest.sequence).max(flushed)))
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

    fn read(
        &mut self,
        settings: &StoreSettings,
        unfinished: Option<u64>,
        blocks: &mut BlockDir,
        head: &mut Head,
    ) -> Result<(), OpenError> {
        let ids = self.journal.list()?;
        let newest = ids.last().copied();
        for id in ids {
            let is_newest = newest == Some(id);
            self.read_segment(id, is_newest, unfinished, head)?;
            let is_metrics = self.journal.signal() == Signal::Metrics;
            if is_metrics && !is_newest && self.journal.bytes() >= settings.flush_bytes {
                self.flush(id, blocks, head)?;
            }
        }
        Ok(())
    }

    /// Moves what was read to blocks, so that a log larger than memory can be read.
    fn flush(&mut self, last: SegmentId, blocks: &mut BlockDir, head: &mut Head) -> Result<(), OpenError> {
        head.blocks = blocks.write(&head.metrics, last, self.last).map_err(OpenError::Flush)?;
        head.metrics = head.metrics.emptied();
        let removed = self.journal.remove(&self.journal.until(last), &mut BTreeSet::new(), &mut Retained::default());
        removed.map_err(|error| OpenError::Flush(error.into()))
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
        let mut facts =
            SegmentFacts { bytes: bytes.len() as u64, has_records: !scan.frames.is_empty(), ..SegmentFacts::default() };
        let mut reader = SegmentReader::new(self.journal.signal(), id, scan.version);
        let mut end = scan.end;
        let mut damage = match scan.after {
            After::Nothing => None,
            // A segment that is not the newest was whole when the next one began.
            After::Torn if is_newest => None,
            After::Torn => Some((scan.end, "the segment is not whole")),
            After::Damage(reason) => Some((scan.end, reason)),
        };
        for frame in &scan.frames {
            match frame.record() {
                Ok((record, _)) if is_newest && Some(record.sequence) == unfinished => {
                    end = frame.offset;
                    break;
                }
                Ok((record, content)) => {
                    self.last = record.sequence;
                    match reader.read(&content, head) {
                        Ok(newest) => facts.note(newest),
                        Err(DecodeError(reason)) => {
                            damage = Some((frame.offset, reason));
                            break;
                        }
                    }
                }
                Err(DecodeError(reason)) => {
                    damage = Some((frame.offset, reason));
                    break;
                }
            }
        }
        reader.enter_metrics(head);
        if let Some((offset, reason)) = damage {
            let file = self.journal.path(id);
            self.problems.push(Problem { file, offset: offset as u64, reason: reason.to_owned() });
            self.journal.adopt(id, facts);
            return Ok(());
        }
        if is_newest {
            self.dropped_bytes = facts.bytes.saturating_sub(end as u64);
            facts.bytes = end as u64;
            self.journal.adopt(id, facts);
            if scan.version != 0 && scan.version < segment::VERSION {
                // Records of today do not belong into a segment of an older format.
                return Ok(());
            }
            match self.journal.signal() {
                Signal::Metrics => self.numbers = reader.names.into_numbers(&reader.places),
                Signal::Logs | Signal::Traces => self.dictionary = reader.names.into_dictionary(),
            }
            return self.journal.resume(id, end as u64);
        }
        self.journal.adopt(id, facts);
        Ok(())
    }
}

/// Puts the records of one segment into the head.
struct SegmentReader {
    signal: Signal,
    id: SegmentId,
    /// Format of the records.
    version: u16,
    names: Names,
    /// Where the segment's label sets are in the head.
    places: Vec<Option<u32>>,
    /// Metrics read and not in the head yet.
    waiting: MetricsRecord,
}

impl SegmentReader {
    fn new(signal: Signal, id: SegmentId, version: u16) -> Self {
        Self { signal, id, version, names: Names::default(), places: Vec::new(), waiting: MetricsRecord::default() }
    }

    /// Puts one record into the head, all of it or nothing; answers its newest instant.
    fn read(&mut self, content: &[u8], head: &mut Head) -> Result<Option<Timestamp>, DecodeError> {
        match self.signal {
            Signal::Metrics => self.read_metrics(content, head),
            Signal::Logs => self.read_logs(content, head),
            Signal::Traces => {
                let spans = traces::decode(content)?;
                let newest = spans.iter().map(|span| span.end.to_timestamp()).max();
                spans.into_iter().for_each(|span| head.traces.push(self.id, Arc::new(span)));
                Ok(newest)
            }
        }
    }

    fn read_metrics(&mut self, content: &[u8], head: &mut Head) -> Result<Option<Timestamp>, DecodeError> {
        let record = metrics::decode(content, self.version, &mut self.names)?;
        let samples = record.samples.iter().map(|(_, sample)| sample.at);
        let histograms = record.histograms.iter().map(|(_, sample)| sample.at);
        let exemplars = record.exemplars.iter().map(|(_, exemplar)| exemplar.at);
        let newest = samples.chain(histograms).chain(exemplars).max();
        self.waiting.samples.extend(record.samples);
        self.waiting.histograms.extend(record.histograms);
        self.waiting.exemplars.extend(record.exemplars);
        self.waiting.metadata.extend(record.metadata);
        if self.waiting.samples.len() >= TOGETHER {
            self.enter_metrics(head);
        }
        Ok(newest)
    }

    /// Puts the metrics that wait into the head.
    fn enter_metrics(&mut self, head: &mut Head) {
        let metrics = &mut head.metrics;
        for labels in self.names.sets.iter().skip(self.places.len()) {
            self.places.push(Some(metrics.find_or_add(labels)));
        }
        let MetricsRecord { mut samples, histograms, exemplars, metadata } = std::mem::take(&mut self.waiting);
        let place = |set: u32| self.places.get(set as usize).copied().flatten();
        // Numbers of sets become ids of series.
        samples.retain_mut(|(id, _)| place(*id).map(|place| *id = place).is_some());
        metrics.push_many(&samples);
        metrics.push_histograms(histograms.into_iter().filter_map(|(set, one)| Some((place(set)?, one))));
        metrics.push_exemplars(exemplars.into_iter().filter_map(|(set, one)| Some((place(set)?, one))));
        metadata.into_iter().for_each(|metadata| metrics.describe(metadata));
        samples.clear();
        self.waiting.samples = samples;
    }

    fn read_logs(&mut self, content: &[u8], head: &mut Head) -> Result<Option<Timestamp>, DecodeError> {
        let mut newest = None;
        for (set, line) in logs::decode(content, &mut self.names)? {
            newest = newest.max(Some(line.at.to_timestamp()));
            let place = self.place(set, |labels| head.logs.streams.find_or_add(labels));
            if let Some(stream) = place.and_then(|id| head.logs.streams.get_mut(id)) {
                stream.push(self.id, line);
            }
        }
        Ok(newest)
    }

    /// Where a label set of this segment is in the head; looked up once.
    fn place(&mut self, set: usize, find: impl FnOnce(&signal::Labels) -> u32) -> Option<u32> {
        if self.places.len() <= set {
            self.places.resize(self.names.sets.len(), None);
        }
        let labels = self.names.sets.get(set)?;
        let place = self.places.get_mut(set)?;
        Some(*place.get_or_insert_with(|| find(labels)))
    }
}
