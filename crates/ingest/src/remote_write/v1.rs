//! Prometheus remote write, protocol 1.0: every series brings its labels as texts.
//!
//! Message shapes: `prompb/remote.proto` and `prompb/types.proto` of Prometheus.

use signal::{Exemplar, Labels, MetricMetadata, Sample, Timestamp};

use super::DecodeError;
use super::histogram;
use super::request::{Pairs, Points, Request, kind, plain_sample, sample};
use crate::Limits;
use crate::wire::{Field, WireError, bytes_key, fields, leading};

/// Field numbers that the quick ways know.
const SERIES: u8 = 1;
const LABEL: u8 = 1;
const SAMPLE: u8 = 2;

/// Bytes that the shortest useful series takes.
const SHORTEST_SERIES: usize = 32;

pub(super) fn read(message: &[u8], request: &mut Request<'_>) -> Result<(), DecodeError> {
    let mut rest = fields(message);
    loop {
        while let Some(series) = rest.next_bytes(SERIES)? {
            if request.batch.series.is_empty() {
                // The series of one request are about as long as its first.
                let about = message.len() / series.len().max(SHORTEST_SERIES) + 1;
                request.batch.series.reserve(about.min(request.limits.max_items));
            }
            time_series(series, request)?;
        }
        let Some(field) = rest.next() else { return Ok(()) };
        let field = field?;
        match field.number {
            1 => time_series(field.bytes()?, request)?,
            3 => request.batch.metadata.extend(metadata(field.bytes()?)?),
            _ => {}
        }
    }
}

fn time_series(message: &[u8], request: &mut Request<'_>) -> Result<(), DecodeError> {
    // The usual series has the labels that followed last time, and one sample.
    let known = request.next_labels(message).filter(|(_, rest)| rest.first() != Some(&bytes_key(LABEL)));
    let Some((labels, rest)) = known else { return whole_series(message, None, request) };
    match lone_sample(rest) {
        Some(sample) => request.add_sample(labels, sample),
        None => whole_series(message, Some((labels, rest)), request),
    }
}

/// What a message consists of when it is one sample and nothing else.
#[inline]
fn lone_sample(message: &[u8]) -> Option<Sample> {
    let mut rest = fields(message);
    let content = rest.next_bytes(SAMPLE).ok()??;
    if rest.is_at_end() { plain_sample(content) } else { None }
}

/// Any series; `known` are its labels and what follows them.
fn whole_series(message: &[u8], known: Option<(Labels, &[u8])>, request: &mut Request<'_>) -> Result<(), DecodeError> {
    let limits = request.limits;
    let (head, rest) = match &known {
        Some((_, rest)) => (&[][..], *rest),
        None => leading(message, LABEL)?,
    };
    let mut points = Points::default();
    let mut has_stray_labels = false;
    for field in fields(rest) {
        let field = field?;
        match field.number {
            1 => has_stray_labels = true,
            2 if points.samples.len() <= limits.max_items => points.samples.push(sample(field)?),
            3 if points.exemplars.len() <= limits.max_items => points.exemplars.push(exemplar(field, limits)?),
            4 if points.histograms.len() + points.invalid.len() <= limits.max_items => {
                match histogram::read(field, limits.max_histogram_buckets)? {
                    Ok(histogram) => points.histograms.push(histogram),
                    Err(invalid) => points.invalid.push(invalid),
                }
            }
            _ => {}
        }
    }
    let labels = match known {
        // Labels may stand anywhere in the message; no sender is known to make use of it.
        _ if has_stray_labels => request.checked_labels(pairs(message, limits)?, None)?,
        Some((labels, _)) => Ok(labels),
        None => request.labels(head, || pairs(head, limits))?,
    };
    request.add(labels, points)?;
    Ok(())
}

fn pairs<'m>(message: &'m [u8], limits: &Limits) -> Result<Pairs<'m>, DecodeError> {
    match short_pairs(message, limits) {
        Some(pairs) => Ok(pairs),
        None => any_pairs(message, limits),
    }
}

fn any_pairs<'m>(message: &'m [u8], limits: &Limits) -> Result<Pairs<'m>, DecodeError> {
    let mut pairs = Pairs::new();
    for field in fields(message) {
        let field = field?;
        // One past the limit is enough for the intake to see that there are too many.
        if field.number == 1 && pairs.len() <= limits.max_labels {
            pairs.push(label(field)?);
        }
    }
    Ok(pairs)
}

/// The labels of a message of nothing but labels shorter than 128 bytes. Their lengths are ASCII, so that one look at the
/// whole says that all texts are UTF-8. Anything unusual is `None`.
fn short_pairs<'m>(message: &'m [u8], limits: &Limits) -> Option<Pairs<'m>> {
    let text = std::str::from_utf8(message).ok()?;
    let mut rest = fields(message);
    let mut pairs = Pairs::new();
    while let Some(label) = rest.next_bytes(LABEL).ok()? {
        if pairs.len() > limits.max_labels {
            continue;
        }
        let mut inside = fields(label);
        let (name, value) = (inside.next_bytes(1).ok()??, inside.next_bytes(2).ok()??);
        if label.len() != name.len() + value.len() + 4 {
            return None;
        }
        // They are the end of what has been read: the value, and the name before its key and length.
        let behind = message.len() - rest.left();
        let before = behind.checked_sub(value.len())?;
        let between = before.checked_sub(2)?;
        pairs.push((text.get(between.checked_sub(name.len())?..between)?, text.get(before..behind)?));
    }
    rest.is_at_end().then_some(pairs)
}

fn label(field: Field<'_>) -> Result<(&str, &str), WireError> {
    let mut pair = ("", "");
    for field in fields(field.bytes()?) {
        let field = field?;
        match field.number {
            1 => pair.0 = field.text()?,
            2 => pair.1 = field.text()?,
            _ => {}
        }
    }
    Ok(pair)
}

fn exemplar(field: Field<'_>, limits: &Limits) -> Result<Exemplar, DecodeError> {
    let message = field.bytes()?;
    let mut exemplar = Exemplar { labels: Labels::empty(), value: 0.0, at: Timestamp(0) };
    for field in fields(message) {
        let field = field?;
        match field.number {
            2 => exemplar.value = field.double()?,
            3 => exemplar.at = Timestamp(field.int()?),
            _ => {}
        }
    }
    exemplar.labels = Labels::from_pairs(pairs(message, limits)?);
    Ok(exemplar)
}

/// `None` for metadata about no family.
fn metadata(message: &[u8]) -> Result<Option<MetricMetadata>, WireError> {
    let mut metadata = MetricMetadata::default();
    for field in fields(message) {
        let field = field?;
        match field.number {
            1 => metadata.kind = kind(field.unsigned()?),
            2 => field.text()?.clone_into(&mut metadata.name),
            4 => field.text()?.clone_into(&mut metadata.help),
            5 => field.text()?.clone_into(&mut metadata.unit),
            _ => {}
        }
    }
    Ok((!metadata.name.is_empty()).then_some(metadata))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_quick_way_reads_what_the_long_one_does(
            texts in proptest::collection::vec(("[a-zé]{0,5}", "\\PC{0,60}"), 0..4),
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        ) {
            let mut message = Vec::new();
            for (name, value) in texts {
                let mut label = Vec::new();
                prost::encoding::string::encode(1, &name, &mut label);
                prost::encoding::string::encode(2, &value, &mut label);
                prost::encoding::bytes::encode(1, &label, &mut message);
            }
            for (place, byte) in changes {
                if !message.is_empty() {
                    let place = place.index(message.len());
                    message[place] = byte;
                }
            }
            let limits = Limits { max_labels: 2, ..Limits::default() };
            if let Some(quick) = short_pairs(&message, &limits) {
                prop_assert_eq!(quick, any_pairs(&message, &limits).unwrap());
            }
        }

        #[test]
        fn a_lone_sample_is_read_as_any_other(value in any::<u64>(), at in any::<i64>(), change in any::<(prop::sample::Index, u8)>(), is_changed in any::<bool>()) {
            let mut content = Vec::new();
            prost::encoding::double::encode(1, &f64::from_bits(value), &mut content);
            prost::encoding::int64::encode(2, &at, &mut content);
            let mut message = Vec::new();
            prost::encoding::bytes::encode(2, &content, &mut message);
            if is_changed {
                let place = change.0.index(message.len());
                message[place] = change.1;
            }
            let quick = lone_sample(&message);
            prop_assert!(is_changed || quick.is_some());
            if let Some(quick) = quick {
                let read = sample(fields(&message).next().unwrap().unwrap()).unwrap();
                prop_assert_eq!((quick.at, quick.value.to_bits()), (read.at, read.value.to_bits()));
            }
        }
    }
}
