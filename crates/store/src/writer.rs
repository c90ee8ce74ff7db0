//! One write: to disk in full or not at all, then into the head.

use std::sync::Arc;

use signal::{Labels, LogLine, Span, Timestamp};

use crate::codec::{logs, metrics, traces};
use crate::errors::AppendError;
use crate::head::logs::Arrivals;
use crate::head::metrics::MetricsHead;
use crate::head::{Head, SegmentId};
use crate::intake::{MetricsWrite, Scratch};
use crate::replay::Volume;
use crate::segment::{self, Packing, RecordHead, Signal, Touched};

/// Everything that writing needs; there is one.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) volumes: Vec<Volume>,
    /// Number of the last write.
    sequence: u64,
    /// For admission.
    pub(crate) scratch: Scratch,
    /// Where frames are put together.
    buffer: Vec<u8>,
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

/// A buffer for frames that has grown larger is not kept for the next write.
const BUFFER: usize = 8 << 20;

impl Writer {
    pub(crate) fn new(volumes: Vec<Volume>, sequence: u64) -> Self {
        Self { volumes, sequence, scratch: Scratch::default(), buffer: Vec::new(), stopped: None }
    }

    pub(crate) fn volume(&self, signal: Signal) -> Option<&Volume> {
        self.volumes.iter().find(|volume| volume.journal.signal() == signal)
    }

    pub(crate) fn volume_mut(&mut self, signal: Signal) -> Option<&mut Volume> {
        self.volumes.iter_mut().find(|volume| volume.journal.signal() == signal)
    }

    /// Writes the addition to every signal it touches; answers the segment of the traces. A new metrics segment begins with
    /// all known metadata, so that dropping old segments loses none.
    pub(crate) fn write(
        &mut self,
        addition: &mut Addition<'_>,
        metrics: &MetricsHead,
    ) -> Result<SegmentId, AppendError> {
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
            return Ok(SegmentId::default());
        }
        self.sequence += 1;
        let record = RecordHead { sequence: self.sequence, touched };
        let written = self.try_write(addition, metrics, record);
        match written {
            Ok(traces) => {
                for volume in &mut self.volumes {
                    volume.dictionary.commit();
                    volume.numbers.commit();
                    let signal = volume.journal.signal();
                    volume.journal.commit(addition.newest(signal));
                    if addition.touches(signal) {
                        volume.last = self.sequence;
                    }
                }
                Ok(traces)
            }
            Err(error) => {
                for volume in &mut self.volumes {
                    volume.dictionary.roll_back();
                    volume.numbers.roll_back();
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
        head: &MetricsHead,
        record: RecordHead,
    ) -> Result<SegmentId, AppendError> {
        let mut traces = SegmentId::default();
        let mut buffer = std::mem::take(&mut self.buffer);
        for volume in &mut self.volumes {
            let signal = volume.journal.signal();
            if !addition.touches(signal) {
                continue;
            }
            let (id, is_new) = volume.journal.make_room(addition.newest(signal))?;
            buffer.clear();
            if is_new {
                volume.dictionary = Default::default();
                volume.numbers = Default::default();
                buffer.extend_from_slice(&segment::header(signal));
            }
            let framed = match signal {
                Signal::Metrics => {
                    if is_new {
                        addition.metrics.metadata.splice(0..0, head.metadata.values().cloned());
                    }
                    let write = &addition.metrics;
                    let new = |id: u32| write.new_series.get(id.checked_sub(head.len())? as usize);
                    let labels = |id: u32| head.get(id).or_else(|| new(id)).map(|series| &series.labels);
                    let content = metrics::encode(write, &mut volume.numbers, labels);
                    segment::put_frame(&mut buffer, record, Packing::Never, |out| out.extend_from_slice(&content))
                }
                // Packing costs more than writing, and the log is soon removed.
                Signal::Logs => segment::put_frame(&mut buffer, record, Packing::Never, |out| {
                    logs::encode(&addition.streams, &mut volume.dictionary, out);
                }),
                Signal::Traces => {
                    traces = id;
                    let content = encode_spans(&addition.spans)?;
                    segment::put_frame(&mut buffer, record, Packing::Worth, |out| out.extend_from_slice(&content))
                }
            };
            framed.map_err(|bytes| {
                let (bytes, limit) = (bytes as u64, segment::MAX_RECORD as u64);
                AppendError::TooLarge { bytes, limit }
            })?;
            volume.journal.write(&buffer)?;
        }
        for volume in &mut self.volumes {
            volume.journal.sync()?;
        }
        if buffer.capacity() <= BUFFER {
            self.buffer = buffer;
        }
        Ok(traces)
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
            Signal::Metrics => self.metrics.newest(),
            Signal::Logs => self.streams.iter().flat_map(|(_, lines)| *lines).map(|line| line.at.to_timestamp()).max(),
            Signal::Traces => self.spans.iter().map(|span| span.end.to_timestamp()).max(),
        }
    }

    /// Puts what was written into the head, lines as they were copied for it.
    pub(crate) fn enter(self, head: &mut Head, lines: Arrivals, traces: SegmentId) {
        let metrics = &mut head.metrics.fresh;
        metrics.add(self.metrics.new_series);
        metrics.push_samples(self.metrics.samples);
        if !self.metrics.histograms.is_empty() {
            metrics.push_histograms(self.metrics.histograms);
        }
        if !self.metrics.exemplars.is_empty() {
            metrics.push_exemplars(self.metrics.exemplars);
        }
        for metadata in self.metrics.metadata {
            if metrics.metadata.get(&metadata.name) != Some(&metadata) {
                metrics.describe(metadata);
            }
        }
        head.logs.fresh.enter(lines);
        for span in self.spans {
            head.traces.push(traces, Arc::new(span.clone()));
        }
    }
}
