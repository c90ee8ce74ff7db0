//! Records of the metrics signal.

use std::sync::Arc;

use signal::{Exemplar, HistogramSample, Labels, MetricKind, MetricMetadata, Sample, Timestamp};

use super::dictionary::{Names, Numbers};
use super::histogram::{put_histogram, take_histogram};
use crate::intake::MetricsWrite;
use crate::wire::{DecodeError, Reader, put_float, put_len, put_signed, put_text, put_varint};

/// `labels` answers the label set of an id.
pub(crate) fn encode<'a>(
    write: &MetricsWrite,
    numbers: &mut Numbers,
    labels: impl Fn(u32) -> Option<&'a Labels>,
) -> Vec<u8> {
    let mut number = |id: u32| numbers.number(id, || labels(id));
    let mut body = Vec::with_capacity(write.samples.len() * 11 + 64);
    put_len(&mut body, write.samples.len());
    // Senders repeat themselves: the next sample is most often of the next series and of the same time.
    let (mut before, mut clock) = (0, 0);
    for (id, sample) in &write.samples {
        let set = i64::from(number(*id));
        put_signed(&mut body, set - before);
        before = set;
        put_time(&mut body, sample.at, &mut clock);
        put_float(&mut body, sample.value);
    }
    put_len(&mut body, write.histograms.len());
    for (id, sample) in &write.histograms {
        put_varint(&mut body, u64::from(number(*id)));
        put_time(&mut body, sample.at, &mut clock);
        put_histogram(&mut body, &sample.histogram);
    }
    put_len(&mut body, write.exemplars.len());
    for (id, exemplar) in &write.exemplars {
        put_varint(&mut body, u64::from(number(*id)));
        put_pairs(&mut body, &exemplar.labels);
        put_signed(&mut body, exemplar.at.0);
        put_float(&mut body, exemplar.value);
    }
    put_len(&mut body, write.metadata.len());
    for metadata in &write.metadata {
        put_text(&mut body, &metadata.name);
        body.push(kind_to_byte(metadata.kind));
        put_text(&mut body, &metadata.help);
        put_text(&mut body, &metadata.unit);
    }
    let mut out = Vec::with_capacity(body.len() + 64);
    numbers.put_new(&mut out);
    out.append(&mut body);
    out
}

/// Time as the distance from the one written before.
fn put_time(out: &mut Vec<u8>, at: Timestamp, clock: &mut i64) {
    put_signed(out, at.0.wrapping_sub(*clock));
    *clock = at.0;
}

pub(crate) fn put_pairs(out: &mut Vec<u8>, labels: &Labels) {
    put_len(out, labels.len());
    for (name, value) in labels.iter() {
        put_text(out, name);
        put_text(out, value);
    }
}

pub(crate) fn take_pairs(reader: &mut Reader<'_>) -> Result<Labels, DecodeError> {
    let count = reader.count()?;
    if count == 0 {
        return Ok(Labels::empty());
    }
    let mut pairs = Vec::new();
    for _ in 0..count {
        pairs.push((reader.text()?, reader.text()?));
    }
    Ok(Labels::from_pairs(pairs))
}

/// What there is in records beside samples. Label sets are numbers in [`Names`].
#[derive(Debug, Default)]
pub(crate) struct Rare {
    pub(crate) histograms: Vec<(u32, HistogramSample)>,
    pub(crate) exemplars: Vec<(u32, Exemplar)>,
    pub(crate) metadata: Vec<MetricMetadata>,
}

/// Reads a record of a segment of format `version` from where [`Names::take_new`] has stopped; answers its newest instant.
///
/// `put` gets each sample with the number of its label set, and `rare` the rest; of a record that cannot be read, they may
/// get a part.
pub(crate) fn decode(
    reader: &mut Reader<'_>,
    version: u16,
    names: &Names,
    put: impl FnMut(u32, Sample),
    rare: &mut Rare,
) -> Result<Option<Timestamp>, DecodeError> {
    let mut newest =
        if version < 2 { take_samples_by_series(reader, names, put)? } else { take_samples(reader, names, put, rare)? };
    for _ in 0..reader.count()? {
        let set = names.take_set(reader)? as u32;
        let labels = take_pairs(reader)?;
        let at = Timestamp(reader.signed()?);
        newest = newest.max(Some(at));
        rare.exemplars.push((set, Exemplar { labels, at, value: reader.float()? }));
    }
    for _ in 0..reader.count()? {
        let name = reader.text()?.to_owned();
        let kind = kind_from_byte(reader.byte()?)?;
        let (help, unit) = (reader.text()?.to_owned(), reader.text()?.to_owned());
        rare.metadata.push(MetricMetadata { name, kind, help, unit });
    }
    if reader.is_at_end() { Ok(newest) } else { Err(DecodeError("bytes are left over")) }
}

fn take_samples(
    reader: &mut Reader<'_>,
    names: &Names,
    mut put: impl FnMut(u32, Sample),
    rare: &mut Rare,
) -> Result<Option<Timestamp>, DecodeError> {
    let count = reader.count()?;
    let sets = names.sets.len() as i64;
    let (mut set, mut clock, mut newest) = (0_i64, 0_i64, i64::MIN);
    for _ in 0..count {
        set = set.wrapping_add(reader.signed()?);
        if set < 0 || set >= sets {
            return Err(DecodeError("a label set was never written"));
        }
        clock = clock.wrapping_add(reader.signed()?);
        newest = newest.max(clock);
        put(set as u32, Sample { at: Timestamp(clock), value: reader.float()? });
    }
    let histograms = reader.count()?;
    for _ in 0..histograms {
        let set = names.take_set(reader)? as u32;
        clock = clock.wrapping_add(reader.signed()?);
        newest = newest.max(clock);
        let histogram = Arc::new(take_histogram(reader)?);
        rare.histograms.push((set, HistogramSample { at: Timestamp(clock), histogram }));
    }
    Ok((count + histograms > 0).then_some(Timestamp(newest)))
}

/// The samples of format version 1.
fn take_samples_by_series(
    reader: &mut Reader<'_>,
    names: &Names,
    mut put: impl FnMut(u32, Sample),
) -> Result<Option<Timestamp>, DecodeError> {
    let (mut clock, mut newest) = (0_i64, None);
    for _ in 0..reader.count()? {
        let set = names.take_set(reader)? as u32;
        for _ in 0..reader.count()? {
            clock = clock.wrapping_add(reader.signed()?);
            newest = newest.max(Some(Timestamp(clock)));
            put(set, Sample { at: Timestamp(clock), value: reader.float()? });
        }
    }
    Ok(newest)
}

fn kind_to_byte(kind: MetricKind) -> u8 {
    match kind {
        MetricKind::Unknown => 0,
        MetricKind::Counter => 1,
        MetricKind::Gauge => 2,
        MetricKind::Histogram => 3,
        MetricKind::Summary => 4,
        MetricKind::GaugeHistogram => 5,
        MetricKind::Info => 6,
        MetricKind::StateSet => 7,
    }
}

fn kind_from_byte(byte: u8) -> Result<MetricKind, DecodeError> {
    Ok(match byte {
        0 => MetricKind::Unknown,
        1 => MetricKind::Counter,
        2 => MetricKind::Gauge,
        3 => MetricKind::Histogram,
        4 => MetricKind::Summary,
        5 => MetricKind::GaugeHistogram,
        6 => MetricKind::Info,
        7 => MetricKind::StateSet,
        _ => return Err(DecodeError("a metric kind is unknown")),
    })
}
