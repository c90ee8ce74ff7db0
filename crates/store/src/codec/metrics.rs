//! Records of the metrics signal.

use signal::{Exemplar, Labels, MetricKind, MetricMetadata, Sample, Timestamp};

use super::dictionary::{Dictionary, Names};
use crate::intake::MetricsWrite;
use crate::wire::{DecodeError, Reader, put_float, put_len, put_signed, put_text};

pub(crate) fn encode(write: &MetricsWrite, dictionary: &mut Dictionary) -> Vec<u8> {
    let mut samples = Vec::new();
    let mut exemplars = Vec::new();
    let mut exemplar_count = 0;
    let mut clock = 0;
    put_len(&mut samples, write.series.len());
    for series in &write.series {
        let set = dictionary.number(&series.labels);
        put_len(&mut samples, set);
        put_len(&mut samples, series.samples.len());
        for sample in &series.samples {
            put_time(&mut samples, sample.at, &mut clock);
            put_float(&mut samples, sample.value);
        }
        for exemplar in &series.exemplars {
            exemplar_count += 1;
            put_len(&mut exemplars, set);
            put_pairs(&mut exemplars, &exemplar.labels);
            put_signed(&mut exemplars, exemplar.at.0);
            put_float(&mut exemplars, exemplar.value);
        }
    }
    let mut out = Vec::new();
    dictionary.put_new(&mut out);
    out.append(&mut samples);
    put_len(&mut out, exemplar_count);
    out.append(&mut exemplars);
    put_len(&mut out, write.metadata.len());
    for metadata in &write.metadata {
        put_text(&mut out, &metadata.name);
        out.push(kind_to_byte(metadata.kind));
        put_text(&mut out, &metadata.help);
        put_text(&mut out, &metadata.unit);
    }
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

/// A record read back. Label sets are numbers in [`Names`].
#[derive(Debug, Default)]
pub(crate) struct MetricsRecord {
    pub(crate) samples: Vec<(usize, Sample)>,
    pub(crate) exemplars: Vec<(usize, Exemplar)>,
    pub(crate) metadata: Vec<MetricMetadata>,
}

pub(crate) fn decode(content: &[u8], names: &mut Names) -> Result<MetricsRecord, DecodeError> {
    let reader = &mut Reader::new(content);
    names.take_new(reader)?;
    let mut record = MetricsRecord::default();
    let mut clock = 0_i64;
    for _ in 0..reader.count()? {
        let set = names.take_set(reader)?;
        for _ in 0..reader.count()? {
            clock = clock.wrapping_add(reader.signed()?);
            record.samples.push((set, Sample { at: Timestamp(clock), value: reader.float()? }));
        }
    }
    for _ in 0..reader.count()? {
        let set = names.take_set(reader)?;
        let labels = take_pairs(reader)?;
        let at = Timestamp(reader.signed()?);
        record.exemplars.push((set, Exemplar { labels, at, value: reader.float()? }));
    }
    for _ in 0..reader.count()? {
        let name = reader.text()?.to_owned();
        let kind = kind_from_byte(reader.byte()?)?;
        let (help, unit) = (reader.text()?.to_owned(), reader.text()?.to_owned());
        record.metadata.push(MetricMetadata { name, kind, help, unit });
    }
    if reader.is_at_end() { Ok(record) } else { Err(DecodeError("bytes are left over")) }
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
