//! Reading the log of metrics back: one thread reads records, others put what is in them into series.

use std::num::NonZeroUsize;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::{ScopedJoinHandle, available_parallelism};

use signal::{Exemplar, HistogramSample, Labels, MetricMetadata, Sample, Timestamp};

use super::{Walk, walk};
use crate::codec::dictionary::Names;
use crate::codec::metrics::{self, Rare};
use crate::head::metrics::{MetricsHead, SeriesShare, Shares};
use crate::segment;
use crate::wire::{DecodeError, Reader};

/// Samples that are handed to another thread at once.
const TOGETHER: usize = 16 * 1024;
/// How many times that may wait for one thread.
const WAITING: usize = 4;
/// Bytes of records that are unpacked at once.
const UNPACKED: usize = 512 * 1024;
/// How many times that may wait for its turn.
const AHEAD: usize = 4;
/// Most threads that fill series.
const THREADS: usize = 8;

/// Reads the records of one segment and, meanwhile, puts what was read before into the head. `places` is where the
/// segment's label sets are in the head.
pub(super) fn read(
    scan: &segment::Scan<'_>,
    unfinished: Option<u64>,
    names: &mut Names,
    places: &mut Vec<u32>,
    head: &mut MetricsHead,
) -> Walk {
    let threads = available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let shares = Shares::at_most(threads.get().min(THREADS));
    let (parts, mut labels) = head.take_apart(shares);
    std::thread::scope(|scope| {
        let mut hands = Hands { hands: parts.into_iter().map(|share| Hand::new(share, scope)).collect(), shares };
        let (unpacked, records) = sync_channel(AHEAD);
        scope.spawn(move || unpack(scan, &unpacked));
        let walk = walk(scan, records.into_iter().flatten(), unfinished, |content| {
            let reader = &mut Reader::new(content);
            names.take_new(reader)?;
            let known = labels.len();
            places.extend(head.number(names.sets.get(places.len()..).unwrap_or_default(), &mut labels));
            (0_u32..).zip(&labels).skip(known).for_each(|(id, labels)| hands.add(id, labels));
            let (newest, metadata) = hands.take(reader, scan.version, names, places)?;
            metadata.into_iter().for_each(|metadata| head.describe(metadata));
            Ok(newest)
        });
        head.put_together(hands.hands.into_iter().map(Hand::join));
        walk
    })
}

/// Sends the records of a segment, many at once. Ends early when nobody takes them any more.
fn unpack<'a>(scan: &segment::Scan<'a>, to: &SyncSender<Vec<segment::Record<'a>>>) {
    let (mut some, mut bytes) = (Vec::new(), 0);
    for record in scan.records() {
        bytes += record.1.as_ref().map_or(0, |(_, content)| content.len());
        some.push(record);
        if bytes >= UNPACKED {
            bytes = 0;
            if to.send(std::mem::take(&mut some)).is_err() {
                return;
            }
        }
    }
    // The last ones may come too late in the same way.
    let _ = to.send(some);
}

/// The threads that fill series.
struct Hands<'scope> {
    hands: Vec<Hand<'scope>>,
    shares: Shares,
}

impl Hands<'_> {
    fn of(&mut self, id: u32) -> Option<&mut Batch> {
        self.hands.get_mut(self.shares.of(id)).map(|hand| &mut hand.next)
    }

    /// Adds the next series.
    fn add(&mut self, id: u32, labels: &Labels) {
        if let Some(batch) = self.of(id) {
            batch.new.push(labels.clone());
        }
    }

    /// Gives what is in a record, all of it or nothing, to the threads that have its series. Answers the newest instant and
    /// what belongs to no series.
    fn take(
        &mut self,
        reader: &mut Reader<'_>,
        version: u16,
        names: &Names,
        places: &[u32],
    ) -> Result<(Option<Timestamp>, Vec<MetricMetadata>), DecodeError> {
        let before: Vec<_> = self.hands.iter().map(|hand| hand.next.samples.len()).collect();
        let mut rare = Rare::default();
        let place = |set: u32| places.get(set as usize).copied();
        // Numbers of sets become ids of series.
        let put = |set: u32, sample: Sample| {
            if let Some(id) = place(set)
                && let Some(batch) = self.of(id)
            {
                batch.samples.push((id, sample));
            }
        };
        let newest = metrics::decode(reader, version, names, put, &mut rare).inspect_err(|_| {
            self.hands.iter_mut().zip(&before).for_each(|(hand, before)| hand.next.samples.truncate(*before));
        })?;
        for (id, histogram) in rare.histograms.into_iter().filter_map(|(set, one)| Some((place(set)?, one))) {
            if let Some(batch) = self.of(id) {
                batch.histograms.push((id, histogram));
            }
        }
        for (id, exemplar) in rare.exemplars.into_iter().filter_map(|(set, one)| Some((place(set)?, one))) {
            if let Some(batch) = self.of(id) {
                batch.exemplars.push((id, exemplar));
            }
        }
        self.hands.iter_mut().filter(|hand| hand.next.len() >= TOGETHER).for_each(Hand::send);
        Ok((newest, rare.metadata))
    }
}

/// What is handed to a thread at once, by the ids of series.
#[derive(Debug, Default)]
struct Batch {
    /// Series that are mentioned for the first time.
    new: Vec<Labels>,
    samples: Vec<(u32, Sample)>,
    histograms: Vec<(u32, HistogramSample)>,
    exemplars: Vec<(u32, Exemplar)>,
}

impl Batch {
    fn len(&self) -> usize {
        self.new.len() + self.samples.len() + self.histograms.len() + self.exemplars.len()
    }

    /// Puts everything in its place and leaves only memory.
    fn enter(&mut self, share: &mut SeriesShare) {
        self.new.drain(..).for_each(|labels| share.add(labels));
        self.samples.drain(..).for_each(|(id, sample)| share.push(id, sample));
        self.histograms.drain(..).for_each(|(id, histogram)| share.push_histogram(id, histogram));
        self.exemplars.drain(..).for_each(|(id, exemplar)| share.push_exemplar(id, exemplar));
    }
}

/// A thread that fills a share of the series.
struct Hand<'scope> {
    next: Batch,
    full: SyncSender<Batch>,
    empty: Receiver<Batch>,
    thread: ScopedJoinHandle<'scope, SeriesShare>,
}

impl<'scope> Hand<'scope> {
    fn new(mut share: SeriesShare, scope: &'scope std::thread::Scope<'scope, '_>) -> Self {
        let (full, batches): (_, Receiver<Batch>) = sync_channel(WAITING);
        let (back, empty): (Sender<Batch>, _) = channel();
        let thread = scope.spawn(move || {
            for mut batch in batches {
                batch.enter(&mut share);
                // At the end nobody takes it back.
                let _ = back.send(batch);
            }
            share
        });
        Self { next: Batch::default(), full, empty, thread }
    }

    fn send(&mut self) {
        let empty = self.empty.try_recv().unwrap_or_default();
        // The other end takes everything; if it is gone, its panic is passed on when it is joined.
        let _ = self.full.send(std::mem::replace(&mut self.next, empty));
    }

    /// Waits until everything is in its place.
    fn join(mut self) -> SeriesShare {
        self.send();
        drop(self.full);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}
