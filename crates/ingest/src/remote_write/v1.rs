//! Prometheus remote write, protocol 1.0: every series brings its labels as texts.
//!
//! Message shapes: `prompb/remote.proto` and `prompb/types.proto` of Prometheus.

use signal::{Exemplar, Labels, MetricMetadata, Timestamp};

use super::DecodeError;
use super::histogram;
use super::request::{Pairs, Points, Request, kind, sample};
use crate::Limits;
use crate::wire::{Field, WireError, fields, leading};

/// Bytes that the shortest useful series takes.
const SHORTEST_SERIES: usize = 32;

pub(super) fn read(message: &[u8], request: &mut Request<'_>) -> Result<(), DecodeError> {
    for field in fields(message) {
        let field = field?;
        match field.number {
            1 => {
                let series = field.bytes()?;
                if request.batch.series.is_empty() {
                    // The series of one request are about as long as its first.
                    let about = message.len() / series.len().max(SHORTEST_SERIES) + 1;
                    request.batch.series.reserve(about.min(request.limits.max_items));
                }
                time_series(series, request)?;
            }
            3 => request.batch.metadata.extend(metadata(field.bytes()?)?),
            _ => {}
        }
    }
    Ok(())
}

fn time_series(message: &[u8], request: &mut Request<'_>) -> Result<(), DecodeError> {
    let limits = request.limits;
    let (head, rest) = leading(message, 1)?;
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
    let labels = if has_stray_labels {
        // Labels may stand anywhere in the message; no sender is known to make use of it.
        request.checked_labels(pairs(message, limits)?, None)
    } else {
        request.labels(head, || pairs(head, limits))?
    };
    request.add(labels, points)?;
    Ok(())
}

fn pairs<'m>(message: &'m [u8], limits: &Limits) -> Result<Pairs<'m>, DecodeError> {
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
