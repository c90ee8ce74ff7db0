//! Reading the log of metrics back.

use std::sync::mpsc::sync_channel;

use signal::Labels;

use super::{Walk, walk};
use crate::codec::dictionary::Names;
use crate::codec::metrics::{self, MetricsRecord};
use crate::head::metrics::MetricsHead;
use crate::segment;

/// Samples that are put into the head at once, by two threads.
const TOGETHER: usize = 128 * 1024;

/// Metrics read, with the label sets that are mentioned for the first time.
type Read = (Vec<Labels>, MetricsRecord);

/// Reads the records of one segment and, meanwhile, puts what was read before into the head. `places` is where the
/// segment's label sets are in the head.
pub(super) fn read(
    scan: &segment::Scan<'_>,
    unfinished: Option<u64>,
    names: &mut Names,
    places: &mut Vec<Option<u32>>,
    head: &mut MetricsHead,
) -> Walk {
    let (sender, receiver) = sync_channel::<Read>(1);
    std::thread::scope(|scope| {
        let entering = scope.spawn(move || {
            for (sets, record) in receiver {
                places.extend(sets.iter().map(|labels| Some(head.find_or_add(labels))));
                enter(record, places, head);
            }
        });
        let mut waiting = MetricsRecord::default();
        let mut sent = 0;
        let mut send = |names: &Names, waiting: &mut MetricsRecord| {
            let sets = names.sets.iter().skip(sent).cloned().collect();
            sent = names.sets.len();
            // The other end takes everything; if it is gone, its panic is passed on below.
            let room = MetricsRecord { samples: Vec::with_capacity(TOGETHER * 5 / 4), ..MetricsRecord::default() };
            let _ = sender.send((sets, std::mem::replace(waiting, room)));
        };
        let walk = walk(scan, unfinished, |content| {
            let newest = metrics::decode(content, scan.version, names, &mut waiting)?;
            if waiting.samples.len() >= TOGETHER {
                send(names, &mut waiting);
            }
            Ok(newest)
        });
        send(names, &mut waiting);
        drop(sender);
        if let Err(panic) = entering.join() {
            std::panic::resume_unwind(panic);
        }
        walk
    })
}

/// Puts metrics into the head; `places` holds the ids of label sets by number.
fn enter(record: MetricsRecord, places: &[Option<u32>], head: &mut MetricsHead) {
    let MetricsRecord { mut samples, histograms, exemplars, metadata } = record;
    let place = |set: u32| places.get(set as usize).copied().flatten();
    // Numbers of sets become ids of series.
    samples.retain_mut(|(id, _)| place(*id).map(|place| *id = place).is_some());
    head.push_many(&samples);
    head.push_histograms(histograms.into_iter().filter_map(|(set, one)| Some((place(set)?, one))));
    head.push_exemplars(exemplars.into_iter().filter_map(|(set, one)| Some((place(set)?, one))));
    metadata.into_iter().for_each(|metadata| head.describe(metadata));
}
