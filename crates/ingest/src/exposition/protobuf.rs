//! The page in protobuf, the only format with native histograms.
//!
//! Message shapes: `io/prometheus/client/metrics.proto` (`prometheus/client_model`), each family behind its length.
//! Follows `model/textparse/protobufparse.go` of Prometheus. Times of creation are read past: they are no samples.

use std::sync::Arc;

use signal::{Labels, MetricKind, MetricMetadata, ResetHint, Timestamp};

use super::number::openmetrics_float;
use super::{HistogramForm, Page, Point, Seen, Value};
use crate::Limits;
use crate::native::{WireCounts, WireHistogram};
use crate::rejection::excerpt;
use crate::wire::{Field, WireError, delimited, fields};

/// Reads a page; the error names the family.
pub(super) fn read(page: &[u8], form: HistogramForm, limits: &Limits) -> Result<Page, String> {
    let mut out = Output { page: Page::default(), form, limits };
    for (number, message) in (1_usize..).zip(delimited(page)) {
        let mut family = Family::default();
        let read = message.map_err(Reason::from);
        read.and_then(|message| family.read(message, &mut out)).map_err(|Reason(reason)| {
            let name = &family.metadata.name;
            if name.is_empty() {
                return format!("metric family {number}: {reason}");
            }
            format!("metric family {number}, `{}`: {reason}", excerpt(name))
        })?;
    }
    Ok(out.page)
}

struct Output<'l> {
    page: Page,
    form: HistogramForm,
    limits: &'l Limits,
}

#[derive(Default)]
struct Family {
    metadata: MetricMetadata,
}

impl Family {
    fn read(&mut self, message: &[u8], out: &mut Output<'_>) -> Result<(), Reason> {
        self.metadata.kind = MetricKind::Counter;
        // The metrics may stand before the type that says how to read them.
        let mut has_metrics = false;
        for field in fields(message) {
            let field = field?;
            match field.number {
                1 => field.text()?.clone_into(&mut self.metadata.name),
                2 => field.text()?.clone_into(&mut self.metadata.help),
                3 => self.metadata.kind = kind(field.unsigned()?)?,
                4 => has_metrics = true,
                5 => field.text()?.clone_into(&mut self.metadata.unit),
                _ => {}
            }
        }
        if !has_metrics {
            return Ok(());
        }
        self.check()?;
        for field in fields(message) {
            let field = field?;
            if field.number == 4 {
                self.metric(field, out)?;
            }
        }
        out.page.metadata.push(self.metadata.clone());
        Ok(())
    }

    fn check(&self) -> Result<(), Reason> {
        let MetricMetadata { name, kind, unit, .. } = &self.metadata;
        if name.is_empty() {
            return Err(Reason("name is empty".to_owned()));
        }
        let stem = if *kind == MetricKind::Counter { name.strip_suffix("_total").unwrap_or(name) } else { name };
        let has_unit = unit.is_empty() || stem.strip_suffix(unit.as_str()).is_some_and(|stem| stem.ends_with('_'));
        if has_unit { Ok(()) } else { Err(Reason(format!("name does not end with its unit `{}`", excerpt(unit)))) }
    }

    fn metric(&self, field: Field<'_>, out: &mut Output<'_>) -> Result<(), Reason> {
        let mut metric = Metric::default();
        let number = match self.metadata.kind {
            MetricKind::Gauge => 2,
            MetricKind::Counter => 3,
            MetricKind::Summary => 4,
            MetricKind::Unknown | MetricKind::Info | MetricKind::StateSet => 5,
            MetricKind::Histogram | MetricKind::GaugeHistogram => 7,
        };
        let mut content: &[u8] = &[];
        for field in fields(field.bytes()?) {
            let field = field?;
            match field.number {
                1 => metric.label(field, out.limits)?,
                6 => metric.at = Some(field.int()?).filter(|at| *at != 0).map(Timestamp),
                found if found == number => content = field.bytes()?,
                _ => {}
            }
        }
        match self.metadata.kind {
            MetricKind::Summary => self.summary(&metric, content, out),
            MetricKind::Histogram | MetricKind::GaugeHistogram => self.histogram(&metric, content, out),
            MetricKind::Counter | MetricKind::Gauge | MetricKind::Unknown | MetricKind::Info | MetricKind::StateSet => {
                self.number(&metric, content, out)
            }
        }
    }

    fn number(&self, metric: &Metric<'_>, content: &[u8], out: &mut Output<'_>) -> Result<(), Reason> {
        let (mut value, mut exemplars) = (0.0, Vec::new());
        for field in fields(content) {
            let field = field?;
            match field.number {
                1 => value = field.double()?,
                2 if self.metadata.kind == MetricKind::Counter => exemplars = vec![exemplar(field, out.limits)?],
                _ => {}
            }
        }
        let labels = metric.labels(&self.metadata.name, None);
        out.push(Point { labels, value: Value::Float(value), at: metric.at, exemplars })
    }

    fn summary(&self, metric: &Metric<'_>, content: &[u8], out: &mut Output<'_>) -> Result<(), Reason> {
        let (mut count, mut sum, mut quantiles) = (0, 0.0, Vec::new());
        for field in fields(content) {
            let field = field?;
            match field.number {
                1 => count = field.unsigned()?,
                2 => sum = field.double()?,
                3 if quantiles.len() <= out.limits.max_items => quantiles.push(pair(field)?),
                _ => {}
            }
        }
        let name = &self.metadata.name;
        out.float(metric.labels(&format!("{name}_count"), None), count as f64, metric.at, Vec::new())?;
        out.float(metric.labels(&format!("{name}_sum"), None), sum, metric.at, Vec::new())?;
        for (quantile, value) in quantiles {
            let quantile = openmetrics_float(quantile);
            out.float(metric.labels(name, Some(("quantile", &quantile))), value, metric.at, Vec::new())?;
        }
        Ok(())
    }

    fn histogram(&self, metric: &Metric<'_>, content: &[u8], out: &mut Output<'_>) -> Result<(), Reason> {
        let mut read = Both::read(content, out.limits)?;
        let is_native = read.is_native && out.form != HistogramForm::Classic;
        if is_native {
            if self.metadata.kind == MetricKind::GaugeHistogram {
                read.native.reset_hint = ResetHint::Gauge;
            }
            let wire = std::mem::take(&mut read.native);
            let histogram = wire.into_histogram(out.limits.max_histogram_buckets);
            let histogram = histogram.map_err(|invalid| Reason(format!("native histogram {invalid}")))?;
            let exemplars = read.native_exemplars();
            let (labels, value) = (metric.labels(&self.metadata.name, None), Value::Histogram(Arc::new(histogram)));
            out.push(Point { labels, value, at: metric.at, exemplars })?;
        }
        if is_native && (out.form != HistogramForm::Both || read.buckets.is_empty()) {
            return Ok(());
        }
        let name = &self.metadata.name;
        out.float(metric.labels(&format!("{name}_count"), None), read.count, metric.at, Vec::new())?;
        out.float(metric.labels(&format!("{name}_sum"), None), read.sum, metric.at, Vec::new())?;
        let name = format!("{name}_bucket");
        let mut has_all = false;
        for bucket in read.buckets {
            has_all = bucket.bound == f64::INFINITY;
            let labels = metric.labels(&name, Some(("le", &openmetrics_float(bucket.bound))));
            out.float(labels, bucket.count, metric.at, bucket.exemplar.into_iter().collect())?;
            if has_all {
                break;
            }
        }
        if !has_all {
            out.float(metric.labels(&name, Some(("le", "+Inf"))), read.count, metric.at, Vec::new())?;
        }
        Ok(())
    }
}

impl Output<'_> {
    fn float(&mut self, labels: Labels, value: f64, at: Option<Timestamp>, exemplars: Vec<Seen>) -> Result<(), Reason> {
        self.push(Point { labels, value: Value::Float(value), at, exemplars })
    }

    fn push(&mut self, point: Point) -> Result<(), Reason> {
        if self.page.points.len() >= self.limits.max_items {
            return Err(Reason(format!("page has more than {} samples (max_items)", self.limits.max_items)));
        }
        self.page.points.push(point);
        Ok(())
    }
}

/// What the points of one metric have in common.
#[derive(Default)]
struct Metric<'m> {
    pairs: Vec<(&'m str, &'m str)>,
    at: Option<Timestamp>,
}

impl<'m> Metric<'m> {
    fn label(&mut self, field: Field<'m>, limits: &Limits) -> Result<(), Reason> {
        let (name, value) = label(field)?;
        if self.pairs.iter().any(|(other, _)| *other == name) {
            return Err(Reason(format!("label `{}` occurs twice", excerpt(name))));
        }
        // One past the limit is enough for the intake to see that there are too many.
        if self.pairs.len() <= limits.max_labels {
            self.pairs.push((name, value));
        }
        Ok(())
    }

    fn labels(&self, name: &str, bound: Option<(&str, &str)>) -> Labels {
        let all = self.pairs.iter().copied().chain([(Labels::NAME, name)]).chain(bound);
        Labels::from_pairs(all)
    }
}

/// A histogram with its classic buckets and its native ones.
struct Both {
    count: f64,
    sum: f64,
    buckets: Vec<ClassicBucket>,
    is_native: bool,
    native: WireHistogram,
    exemplars: Vec<Seen>,
}

struct ClassicBucket {
    bound: f64,
    count: f64,
    exemplar: Option<Seen>,
}

impl Both {
    fn read(content: &[u8], limits: &Limits) -> Result<Self, Reason> {
        let most = limits.max_histogram_buckets.saturating_add(1);
        let (mut count, mut zero_count) = (Count::default(), Count::default());
        let mut native = WireHistogram::default();
        let (mut buckets, mut exemplars) = (Vec::new(), Vec::new());
        for field in fields(content) {
            let field = field?;
            match field.number {
                1 => count.whole = field.unsigned()?,
                2 => native.sum = field.double()?,
                3 if buckets.len() <= limits.max_items => buckets.push(ClassicBucket::read(field, limits)?),
                4 => count.float = field.double()?,
                5 => native.schema = i32::try_from(field.signed()?).unwrap_or(i32::MAX),
                6 => native.zero_threshold = field.double()?,
                7 => zero_count.whole = field.unsigned()?,
                8 => zero_count.float = field.double()?,
                9 => native.negative.add_span(field, most)?,
                10 => field.add_signed(&mut native.negative.deltas, most)?,
                11 => field.add_doubles(&mut native.negative.counts, most)?,
                12 => native.positive.add_span(field, most)?,
                13 => field.add_signed(&mut native.positive.deltas, most)?,
                14 => field.add_doubles(&mut native.positive.counts, most)?,
                16 if exemplars.len() <= limits.max_items => exemplars.push(exemplar(field, limits)?),
                _ => {}
            }
        }
        // Senders mark a native histogram without observations by an empty span.
        let has_spans = !native.positive.spans.is_empty() || !native.negative.spans.is_empty();
        let is_native = has_spans || native.zero_threshold > 0.0 || zero_count.whole > 0 || zero_count.float > 0.0;
        native.counts = if count.float > 0.0 || zero_count.float > 0.0 {
            WireCounts::Float { count: count.float, zero_count: zero_count.float }
        } else {
            WireCounts::Whole { count: count.whole, zero_count: zero_count.whole }
        };
        let sum = native.sum;
        Ok(Self { count: count.value(), sum, buckets, is_native, native, exemplars })
    }

    /// Its own, else those of the classic buckets; without a time nobody could tell a new one from an old one.
    fn native_exemplars(&self) -> Vec<Seen> {
        let has_time = |(_, _, at): &&Seen| at.is_some();
        if !self.exemplars.is_empty() {
            return self.exemplars.iter().filter(has_time).cloned().collect();
        }
        self.buckets.iter().filter_map(|bucket| bucket.exemplar.as_ref()).filter(has_time).cloned().collect()
    }
}

impl ClassicBucket {
    fn read(field: Field<'_>, limits: &Limits) -> Result<Self, Reason> {
        let (mut count, mut bound, mut seen) = (Count::default(), 0.0, None);
        for field in fields(field.bytes()?) {
            let field = field?;
            match field.number {
                1 => count.whole = field.unsigned()?,
                2 => bound = field.double()?,
                3 => seen = Some(exemplar(field, limits)?),
                4 => count.float = field.double()?,
                _ => {}
            }
        }
        Ok(Self { bound, count: count.value(), exemplar: seen })
    }
}

/// A count in one of two fields; the float goes first when it is there.
#[derive(Default)]
struct Count {
    whole: u64,
    float: f64,
}

impl Count {
    fn value(&self) -> f64 {
        if self.float == 0.0 { self.whole as f64 } else { self.float }
    }
}

fn exemplar(field: Field<'_>, limits: &Limits) -> Result<Seen, Reason> {
    let mut pairs = Vec::new();
    let (mut value, mut at) = (0.0, None);
    for field in fields(field.bytes()?) {
        let field = field?;
        match field.number {
            1 if pairs.len() <= limits.max_labels => pairs.push(label(field)?),
            2 => value = field.double()?,
            3 => at = Some(time(field)?),
            _ => {}
        }
    }
    Ok((Labels::from_pairs(pairs), value, at))
}

/// `google.protobuf.Timestamp`.
fn time(field: Field<'_>) -> Result<Timestamp, Reason> {
    let (mut seconds, mut nanos) = (0_i64, 0_i64);
    for field in fields(field.bytes()?) {
        let field = field?;
        match field.number {
            1 => seconds = field.int()?,
            2 => nanos = field.int()?,
            _ => {}
        }
    }
    Ok(Timestamp(seconds.saturating_mul(1000).saturating_add(nanos / 1_000_000)))
}

fn label(field: Field<'_>) -> Result<(&str, &str), Reason> {
    let mut pair = ("", "");
    for field in fields(field.bytes()?) {
        let field = field?;
        match field.number {
            1 => pair.0 = field.text()?,
            2 => pair.1 = field.text()?,
            _ => {}
        }
    }
    if pair.0.is_empty() { Err(Reason("label without a name".to_owned())) } else { Ok(pair) }
}

/// A quantile and its value.
fn pair(field: Field<'_>) -> Result<(f64, f64), Reason> {
    let mut pair = (0.0, 0.0);
    for field in fields(field.bytes()?) {
        let field = field?;
        match field.number {
            1 => pair.0 = field.double()?,
            2 => pair.1 = field.double()?,
            _ => {}
        }
    }
    Ok(pair)
}

fn kind(number: u64) -> Result<MetricKind, Reason> {
    Ok(match number {
        0 => MetricKind::Counter,
        1 => MetricKind::Gauge,
        2 => MetricKind::Summary,
        3 => MetricKind::Unknown,
        4 => MetricKind::Histogram,
        5 => MetricKind::GaugeHistogram,
        _ => return Err(Reason(format!("unknown metric type {number}"))),
    })
}

/// Why a page is refused, without the place.
struct Reason(String);

impl From<WireError> for Reason {
    fn from(error: WireError) -> Self {
        Self(error.to_string())
    }
}

#[cfg(test)]
mod tests;
