//! One write: to disk in full or not at all, then into the head.

use std::collections::BTreeMap;
use std::sync::Arc;

use signal::{Labels, LogLine, MetricMetadata, Span, Timestamp};

use crate::codec::{logs, metrics, traces};
use crate::errors::AppendError;
use crate::head::{Head, SegmentId};
use crate::intake::MetricsWrite;
use crate::replay::Volume;
use crate::segment::{self, RecordHead, Signal, Touched};

/// Everything that writing needs; there is one.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) volumes: Vec<Volume>,
    /// Number of the last write.
    sequence: u64,
    /// Why there can be no further write.
    pub(crate) stopped: Option<String>,
}

/// What one write adds.
#[derive(Debug)]
pub(crate) struct Addition<'a> {
    pub(crate) metrics: MetricsWrite,
    pub(crate) streams: Vec<(&'a Labels, &'a [LogLine])>,
    pub(crate) spans: Vec<&'a Span>,
}

/// The segments a write went to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Segments {
    metrics: SegmentId,
    logs: SegmentId,
    traces: SegmentId,
}

impl Writer {
    pub(crate) fn new(volumes: Vec<Volume>, sequence: u64) -> Self {
        Self { volumes, sequence, stopped: None }
    }

    /// Writes the addition to every signal it touches. A new metrics segment begins with all `known` metadata, so that
    /// dropping old segments loses none.
    pub(crate) fn write(
        &mut self,
        addition: &mut Addition<'_>,
        known: &BTreeMap<String, MetricMetadata>,
    ) -> Result<Segments, AppendError> {
        if let Some(reason) = &self.stopped {
            return Err(AppendError::Stopped { reason: reason.clone() });
        }
        let mut touched = Touched::default();
        for volume in &self.volumes {
            let signal = volume.journal.signal();
            if addition.touches(signal) {
                touched = touched.with(signal, volume.last);
            }
        }
        if touched == Touched::default() {
            return Ok(Segments::default());
        }
        self.sequence += 1;
        let head = RecordHead { sequence: self.sequence, touched };
        let written = self.try_write(addition, known, head);
        match written {
            Ok(segments) => {
                for volume in &mut self.volumes {
                    volume.dictionary.commit();
                    let signal = volume.journal.signal();
                    volume.journal.commit(addition.newest(signal));
                    if addition.touches(signal) {
                        volume.last = self.sequence;
                    }
                }
                Ok(segments)
            }
            Err(error) => {
                for volume in &mut self.volumes {
                    volume.dictionary.roll_back();
                    if let Err(second) = volume.journal.roll_back() {
                        self.stopped = Some(format!("{error}, and taking it back failed: {second}"));
                    }
                }
                Err(error)
            }
        }
    }

    fn try_write(
        &mut self,
        addition: &mut Addition<'_>,
        known: &BTreeMap<String, MetricMetadata>,
        head: RecordHead,
    ) -> Result<Segments, AppendError> {
        let mut segments = Segments::default();
        for volume in &mut self.volumes {
            let signal = volume.journal.signal();
            if !addition.touches(signal) {
                continue;
            }
            let (id, is_new) = volume.journal.make_room(addition.newest(signal))?;
            if is_new {
                volume.dictionary = Default::default();
            }
            let content = match signal {
                Signal::Metrics => {
                    segments.metrics = id;
                    if is_new {
                        addition.metrics.metadata.splice(0..0, known.values().cloned());
                    }
                    metrics::encode(&addition.metrics, &mut volume.dictionary)
                }
                Signal::Logs => {
                    segments.logs = id;
                    logs::encode(&addition.streams, &mut volume.dictionary)
                }
                Signal::Traces => {
                    segments.traces = id;
                    encode_spans(&addition.spans)?
                }
            };
            let frame = segment::frame(head, &content).map_err(|bytes| {
                let (bytes, limit) = (bytes as u64, segment::MAX_RECORD as u64);
                AppendError::TooLarge { bytes, limit }
            })?;
            volume.journal.write(frame)?;
        }
        for volume in &mut self.volumes {
            volume.journal.sync()?;
        }
        Ok(segments)
    }
}

fn encode_spans(spans: &[&Span]) -> Result<Vec<u8>, AppendError> {
    traces::encode(spans.iter().copied()).map_err(|traces::TooDeep { span }| {
        let limit = traces::MAX_DEPTH;
        AppendError::TooDeep { span, limit }
    })
}

impl Addition<'_> {
    fn touches(&self, signal: Signal) -> bool {
        match signal {
            Signal::Metrics => !self.metrics.is_empty(),
            Signal::Logs => !self.streams.is_empty(),
            Signal::Traces => !self.spans.is_empty(),
        }
    }

    /// The newest instant of one signal.
    fn newest(&self, signal: Signal) -> Option<Timestamp> {
        match signal {
            Signal::Metrics => {
                let samples =
                    self.metrics.series.iter().filter_map(|series| series.samples.last()).map(|sample| sample.at);
                let exemplars =
                    self.metrics.series.iter().flat_map(|series| &series.exemplars).map(|exemplar| exemplar.at);
                samples.chain(exemplars).max()
            }
            Signal::Logs => self.streams.iter().flat_map(|(_, lines)| *lines).map(|line| line.at.to_timestamp()).max(),
            Signal::Traces => self.spans.iter().map(|span| span.end.to_timestamp()).max(),
        }
    }

    /// Puts what was written into the head.
    pub(crate) fn enter(self, head: &mut Head, segments: Segments) {
        for addition in self.metrics.series {
            let id = addition.place.unwrap_or_else(|| head.metrics.series.find_or_add(&addition.labels));
            if let Some(series) = head.metrics.series.get_mut(id) {
                addition.samples.into_iter().for_each(|sample| series.push(segments.metrics, sample));
                addition.exemplars.into_iter().for_each(|exemplar| series.push_exemplar(segments.metrics, exemplar));
            }
        }
        for metadata in self.metrics.metadata {
            if head.metrics.metadata.get(&metadata.name) != Some(&metadata) {
                head.metrics.describe(metadata);
            }
        }
        for (labels, lines) in self.streams {
            let id = head.logs.streams.find_or_add(labels);
            if let Some(stream) = head.logs.streams.get_mut(id) {
                lines.iter().for_each(|line| stream.push(segments.logs, line.clone()));
            }
        }
        for span in self.spans {
            head.traces.push(segments.traces, Arc::new(span.clone()));
        }
    }
}
