//! Reading the log of lines back.

use signal::Labels;

use super::{Walk, walk};
use crate::codec::dictionary::Names;
use crate::codec::logs;
use crate::head::logs::{Arrivals, LineChunk, LogsHead};
use crate::segment;

/// Puts the records of one segment into the head.
pub(super) fn read(scan: &segment::Scan<'_>, unfinished: Option<u64>, names: &mut Names, head: &mut LogsHead) -> Walk {
    walk(scan, scan.records(), unfinished, |content| {
        let record = logs::decode(content, names)?;
        let mut arrivals = Arrivals::of(by_stream(record.chunks, &names.sets), head);
        arrivals.seal();
        head.enter(arrivals);
        Ok(record.newest)
    })
}

/// One chunk for each stream; `sets` holds the labels by number.
fn by_stream(mut chunks: Vec<(usize, LineChunk)>, sets: &[Labels]) -> Vec<(Labels, LineChunk)> {
    // What came of a stream stays in order.
    chunks.sort_by_key(|(set, _)| *set);
    let mut streams: Vec<(Labels, LineChunk)> = Vec::with_capacity(chunks.len());
    let mut before = None;
    for (set, chunk) in chunks {
        match streams.last_mut() {
            Some((_, together)) if before == Some(set) => {
                chunk.iter().for_each(|line| together.push(line.at, line.line, line.metadata));
            }
            Some(_) | None => streams.extend(sets.get(set).map(|labels| (labels.clone(), chunk))),
        }
        before = Some(set);
    }
    streams
}
