//! The limits that are the same for every protocol.

use std::collections::BTreeMap;

use signal::{AttributeValue, Exemplar, HistogramSample, Labels, SeriesWrite, Span, Timestamp, WriteBatch};

use crate::line_gate::LineGate;
use crate::rejection::{Refusals, excerpt};
use crate::{Limits, Prepared, Rejection, native};

/// Decides which items of a batch may be stored, and remembers how many may not.
#[derive(Debug, Default)]
pub struct Intake {
    limits: Limits,
    totals: BTreeMap<&'static str, u64>,
    lines: LineGate,
}

/// What may be stored and what may not.
#[derive(Clone, PartialEq, Debug)]
pub struct Admitted {
    /// To be stored.
    pub batch: WriteBatch,
    /// One entry per reason, in order of reason.
    pub rejected: Vec<Rejection>,
}

pub(crate) type Verdict = Result<(), (&'static str, String)>;

impl Intake {
    /// Nothing refused yet.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits, totals: BTreeMap::new(), lines: LineGate::default() }
    }

    /// The limits in force.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Items refused so far, by reason; refusals of decoders are in it once [`count`](Self::count)ed.
    #[must_use]
    pub fn totals(&self) -> &BTreeMap<&'static str, u64> {
        &self.totals
    }

    /// Log lines that were cut so far because they were too long ([`LongLines::Truncate`](crate::LongLines)).
    #[must_use]
    pub fn truncated_lines(&self) -> u64 {
        self.lines.truncated()
    }

    /// Adds refusals decided elsewhere, by a decoder, to the totals.
    pub fn count(&mut self, rejected: &[Rejection]) {
        for rejection in rejected {
            let total = self.totals.entry(rejection.reason).or_default();
            *total = total.saturating_add(rejection.count);
        }
    }

    /// Keeps what is within the limits at `now`.
    ///
    /// A series or stream that breaks a rule goes with all its samples or lines; a sample, histogram, exemplar, line,
    /// span or metadata that does goes alone. Each counts as one.
    pub fn admit(&mut self, batch: impl Into<Prepared>, now: Timestamp) -> Admitted {
        let prepared = batch.into();
        let labels = if prepared.has_labels_within(&self.limits) { Seen::Before } else { Seen::Never };
        let mut batch = prepared.into_batch();
        let mut refusals = Refusals::default();
        let gate = Gate { limits: self.limits, horizon: now.plus(self.limits.max_future) };
        batch.series.retain_mut(|series| gate.series(series, labels, &mut refusals));
        self.lines.admit(&mut batch.streams, labels, &self.limits, now, &mut refusals);
        batch.spans.retain(|span| keep(gate.span(span), 1, &mut refusals));
        batch.metadata.retain(|family| {
            let limit = ("max_label_value_bytes", gate.limits.max_label_value_bytes);
            let checked = text("metric family name", &family.name, limit);
            keep(checked, 1, &mut refusals)
        });
        let rejected = refusals.into_rejections();
        self.count(&rejected);
        Admitted { batch, rejected }
    }
}

pub(crate) fn keep(verdict: Verdict, items: usize, refusals: &mut Refusals) -> bool {
    match verdict {
        Ok(()) => true,
        Err((reason, example)) => {
            refusals.refuse(reason, items, || example);
            false
        }
    }
}

/// A name is never empty and not longer than the limit, which comes with its key.
fn text(what: &str, name: &str, (key, limit): (&str, usize)) -> Verdict {
    if name.is_empty() {
        return Err(("empty_name", format!("{what} is empty")));
    }
    let found = name.len();
    if found <= limit {
        return Ok(());
    }
    let example = format!("{what} `{}` has {found} bytes, more than the limit of {limit} ({key})", excerpt(name));
    Err(("name_too_long", example))
}

/// Whether the labels of a series keep the limits, for a decoder that remembers it.
pub(crate) fn labels_are_within(labels: &Labels, limits: &Limits) -> bool {
    Gate { limits: *limits, horizon: Timestamp::MAX }.series_labels(labels).is_ok()
}

/// No more labels than `limit`, which comes with its key.
pub(crate) fn label_count(what: &str, key: &str, labels: &Labels, limit: usize) -> Verdict {
    let found = labels.len();
    if found <= limit {
        return Ok(());
    }
    let shown = excerpt(&labels.to_string());
    let example = format!("{what} has {found} labels, more than the limit of {limit} ({key}): `{shown}`");
    Err(("too_many_labels", example))
}

/// No name and no value longer than it may be.
pub(crate) fn each_label(labels: &Labels, limits: &Limits) -> Verdict {
    for (name, value) in labels.iter() {
        text("label name", name, ("max_label_name_bytes", limits.max_label_name_bytes))?;
        let (found, limit) = (value.len(), limits.max_label_value_bytes);
        if found > limit {
            let example = format!(
                "value of label `{}` has {found} bytes, more than the limit of {limit} (max_label_value_bytes)",
                excerpt(name)
            );
            return Err(("label_value_too_long", example));
        }
    }
    Ok(())
}

/// No more attributes than an item may have.
pub(crate) fn attributes(what: &str, found: usize, limits: &Limits, shown: impl FnOnce() -> String) -> Verdict {
    let limit = limits.max_attributes;
    if found <= limit {
        return Ok(());
    }
    let shown = excerpt(&shown());
    let example = format!("{what} has {found} attributes, more than the limit of {limit} (max_attributes): `{shown}`");
    Err(("too_many_attributes", example))
}

/// The refusal of a time that is too far ahead of the clock.
pub(crate) fn too_far_ahead(at: impl std::fmt::Display, limits: &Limits, shown: &str) -> (&'static str, String) {
    let ahead = limits.max_future.as_secs();
    let shown = excerpt(shown);
    let example = format!("time {at} is more than {ahead} s ahead of our clock (max_future): `{shown}`");
    ("too_far_in_future", example)
}

/// Whether labels have been through the gate.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    Before,
    Never,
}

/// The limits with `now` worked in.
struct Gate {
    limits: Limits,
    horizon: Timestamp,
}

impl Gate {
    fn series(&self, series: &mut SeriesWrite, labels: Seen, refusals: &mut Refusals) -> bool {
        let items = (series.samples.len() + series.histograms.len() + series.exemplars.len()).max(1);
        if labels == Seen::Never && !keep(self.series_labels(&series.labels), items, refusals) {
            return false;
        }
        let labels = &series.labels;
        series.samples.retain(|sample| keep(self.time(sample.at, || labels.to_string()), 1, refusals));
        series.histograms.retain(|sample| keep(self.histogram(sample, labels), 1, refusals));
        series.exemplars.retain(|exemplar| keep(self.exemplar(exemplar, labels), 1, refusals));
        !series.samples.is_empty() || !series.histograms.is_empty() || !series.exemplars.is_empty()
    }

    fn histogram(&self, sample: &HistogramSample, series: &Labels) -> Verdict {
        let limit = self.limits.max_histogram_buckets;
        if native::bucket_count(&sample.histogram).max(sample.histogram.custom_values.len()) > limit {
            let invalid = native::InvalidHistogram::TooManyBuckets { limit };
            return Err((invalid.reason(), invalid.about(series)));
        }
        self.time(sample.at, || series.to_string())
    }

    fn span(&self, span: &Span) -> Verdict {
        let shown = || format!("{} of {}", span.name, span.service());
        if span.trace.is_zero() || span.id.is_zero() {
            return Err(("invalid_span_id", format!("span has a trace or span id of zeros: `{}`", excerpt(&shown()))));
        }
        if span.end < span.start {
            return Err(("span_ends_before_start", format!("span ends before it starts: `{}`", excerpt(&shown()))));
        }
        self.time(span.start.to_timestamp(), shown)?;
        let counts = [span.attributes.len(), span.resource.len()]
            .into_iter()
            .chain(span.events.iter().map(|event| event.attributes.len()))
            .chain(span.links.iter().map(|link| link.attributes.len()));
        for found in counts {
            attributes("span", found, &self.limits, shown)?;
        }
        let limit = ("max_label_name_bytes", self.limits.max_label_name_bytes);
        let mut names = span.attributes.iter().chain(span.resource.iter());
        names.try_for_each(|(name, _): &(String, AttributeValue)| text("attribute name", name, limit))
    }

    fn series_labels(&self, labels: &Labels) -> Verdict {
        if labels.metric_name().is_none() {
            let shown = excerpt(&labels.to_string());
            return Err(("missing_metric_name", format!("series has no metric name: `{shown}`")));
        }
        label_count("series", "max_labels", labels, self.limits.max_labels)?;
        each_label(labels, &self.limits)
    }

    fn exemplar(&self, exemplar: &Exemplar, series: &Labels) -> Verdict {
        let limit = self.limits.max_exemplar_chars;
        let found: usize =
            exemplar.labels.iter().map(|(name, value)| name.chars().count() + value.chars().count()).sum();
        if found > limit {
            let shown = excerpt(&series.to_string());
            let example = format!(
                "exemplar labels have {found} characters, more than the limit of {limit} (max_exemplar_chars): `{shown}`"
            );
            return Err(("exemplar_too_long", example));
        }
        self.time(exemplar.at, || series.to_string())
    }

    fn time(&self, at: Timestamp, shown: impl FnOnce() -> String) -> Verdict {
        if at <= self.horizon {
            return Ok(());
        }
        Err(too_far_ahead(at, &self.limits, &shown()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use signal::{LogLine, MetricMetadata, Nanos, Sample, SpanId, SpanKind, SpanStatus, StreamWrite, TraceId};

    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000);

    fn limits() -> Limits {
        Limits {
            max_labels: 3,
            max_stream_labels: 2,
            max_label_name_bytes: 10,
            max_label_value_bytes: 20,
            max_line_bytes: 4,
            max_attributes: 1,
            max_exemplar_chars: 5,
            ..Limits::default()
        }
    }

    fn series(labels: &[(&str, &str)], at: i64) -> WriteBatch {
        let samples = vec![Sample { at: Timestamp(at), value: 1.0 }];
        let series = SeriesWrite::new(Labels::from_pairs(labels.iter().copied()), samples);
        WriteBatch { series: vec![series], ..WriteBatch::default() }
    }

    fn stream(labels: &[(&str, &str)], line: &str, metadata: &[(&str, &str)], at: i64) -> WriteBatch {
        let metadata = Labels::from_pairs(metadata.iter().copied());
        let lines = vec![LogLine { at: Nanos(at), line: line.to_owned(), metadata }];
        let stream = StreamWrite { labels: Labels::from_pairs(labels.iter().copied()), lines };
        WriteBatch { streams: vec![stream], ..WriteBatch::default() }
    }

    fn span(change: impl FnOnce(&mut Span)) -> WriteBatch {
        let mut span = Span {
            trace: TraceId([1; 16]),
            id: SpanId([1; 8]),
            parent: None,
            trace_state: String::new(),
            name: "GET".to_owned(),
            kind: SpanKind::Server,
            start: Nanos(5),
            end: Nanos(9),
            status: SpanStatus::Unset,
            status_message: String::new(),
            attributes: vec![],
            resource: Arc::new(vec![]),
            scope_name: String::new(),
            scope_version: String::new(),
            events: vec![],
            links: vec![],
        };
        change(&mut span);
        WriteBatch { spans: vec![span], ..WriteBatch::default() }
    }

    #[test]
    fn every_refusal_names_limit_value_and_offender() {
        let x = ("__name__", "x");
        let long = "123456789012345678901";
        let attribute = |name: &str| (name.to_owned(), AttributeValue::Bool(true));
        let mut exemplar = series(&[x], 0);
        exemplar.series[0].exemplars =
            vec![Exemplar { labels: Labels::from_pairs([("abc", "def")]), value: 1.0, at: Timestamp(0) }];
        for (batch, reason, example) in [
            (series(&[("a", "b")], 0), "missing_metric_name", r#"series has no metric name: `{a="b"}`"#),
            (
                series(&[x, ("a", "1"), ("b", "2"), ("c", "3")], 0),
                "too_many_labels",
                r#"series has 4 labels, more than the limit of 3 (max_labels): `x{a="1", b="2", c="3"}`"#,
            ),
            (
                series(&[x, (long, "1")], 0),
                "name_too_long",
                "label name `123456789012345678901` has 21 bytes, more than the limit of 10 (max_label_name_bytes)",
            ),
            (
                series(&[x, ("a", long)], 0),
                "label_value_too_long",
                "value of label `a` has 21 bytes, more than the limit of 20 (max_label_value_bytes)",
            ),
            (series(&[x, ("", "1")], 0), "empty_name", "label name is empty"),
            (
                series(&[x], 1_600_001),
                "too_far_in_future",
                "time 1970-01-01T00:26:40.001Z is more than 600 s ahead of our clock (max_future): `x`",
            ),
            (
                exemplar,
                "exemplar_too_long",
                "exemplar labels have 6 characters, more than the limit of 5 (max_exemplar_chars): `x`",
            ),
            (stream(&[], "x", &[], 0), "stream_without_labels", "log stream has no labels"),
            (
                stream(&[("a", "1"), ("b", "2"), ("c", "3")], "x", &[], 0),
                "too_many_labels",
                r#"log stream has 3 labels, more than the limit of 2 (max_stream_labels): `{a="1", b="2", c="3"}`"#,
            ),
            (
                stream(&[("a", "1")], "12345", &[], 0),
                "line_too_long",
                r#"log line has 5 bytes, more than the limit of 4 (max_line_bytes): stream `{a="1"}`"#,
            ),
            (
                stream(&[("a", "1")], "1", &[("m", "1"), ("n", "2")], 0),
                "too_many_attributes",
                r#"log line has 2 attributes, more than the limit of 1 (max_attributes): `{a="1"}`"#,
            ),
            (
                stream(&[("a", "1")], "1", &[], 1_600_001_000_000),
                "too_far_in_future",
                r#"time 1970-01-01T00:26:40.001Z is more than 600 s ahead of our clock (max_future): `{a="1"}`"#,
            ),
            (
                span(|span| span.id = SpanId::default()),
                "invalid_span_id",
                "span has a trace or span id of zeros: `GET of `",
            ),
            (span(|span| span.end = Nanos(4)), "span_ends_before_start", "span ends before it starts: `GET of `"),
            (
                span(|span| span.attributes = vec![attribute("a"), attribute("b")]),
                "too_many_attributes",
                "span has 2 attributes, more than the limit of 1 (max_attributes): `GET of `",
            ),
            (span(|span| span.attributes = vec![attribute("")]), "empty_name", "attribute name is empty"),
            (
                WriteBatch { metadata: vec![MetricMetadata::default()], ..WriteBatch::default() },
                "empty_name",
                "metric family name is empty",
            ),
        ] {
            let mut intake = Intake::new(limits());
            let admitted = intake.admit(batch, NOW);
            let rejected: Vec<_> = admitted.rejected.iter().map(|r| (r.reason, r.count, &*r.example)).collect();
            assert_eq!(rejected, [(reason, 1, example)]);
            assert_eq!(
                admitted.batch.sample_count() + admitted.batch.line_count() + admitted.batch.spans.len(),
                usize::from(reason == "exemplar_too_long"),
                "{example}"
            );
            assert_eq!(intake.totals().get(reason), Some(&1));
        }
    }

    #[test]
    fn what_is_within_the_limits_passes_unchanged() {
        let mut batch = series(&[("__name__", "x"), ("a.b", "é")], 1_600_000);
        batch.merge(stream(&[("a", "1")], "1234", &[("m", "1")], -5));
        batch.merge(span(|_| {}));
        let admitted = Intake::new(limits()).admit(batch.clone(), NOW);
        assert_eq!(admitted, Admitted { batch, rejected: vec![] });
    }

    #[test]
    fn one_bad_sample_does_not_take_its_series_along() {
        let mut batch = series(&[("__name__", "x")], 5);
        batch.series[0].samples.push(Sample { at: Timestamp::MAX, value: 2.0 });
        let mut intake = Intake::new(limits());
        for _ in 0..2 {
            assert_eq!(intake.admit(batch.clone(), NOW).batch.sample_count(), 1);
        }
        assert_eq!(intake.totals().get("too_far_in_future"), Some(&2));
    }
}
