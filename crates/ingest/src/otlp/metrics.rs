//! Data points.

use std::sync::Arc;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::{
    self as wire, AggregationTemporality, DataPointFlags, ExponentialHistogramDataPoint, HistogramDataPoint, Metric,
    NumberDataPoint, SummaryDataPoint, exemplar, exponential_histogram_data_point::Buckets as WireBuckets,
    metric::Data, number_data_point,
};
use signal::{
    AttributeValue, Buckets, Exemplar, Histogram, HistogramSample, Labels, LabelsBuilder, MetricKind, MetricMetadata,
    Sample, SeriesWrite, Timestamp, WriteBatch, stale_marker,
};

use super::delta::{DeltaError, DeltaTotals, Place};
use super::names::{label_name, metric_name, unit_word};
use super::{Converted, MAX_TEXT, attributes, nanos, span_id, text, trace_id};
use crate::native::{Collector, InvalidHistogram, coarser};
use crate::rejection::{Refusals, excerpt};

/// Turns an export request into series, as Prometheus' OTLP receiver does; exponential histograms become native ones.
///
/// Refused by data point, each with its reason: delta temporality, histograms that break the rules, points without value
/// or time.
#[must_use]
pub fn metrics(request: ExportMetricsServiceRequest) -> Converted {
    convert(request, None, MAX_TEXT)
}

/// Like [`metrics`], and delta temporality becomes cumulative: the points of a series are added up in `totals`.
///
/// `now` says how long a series without points is remembered.
#[must_use]
pub fn metrics_with_deltas(request: ExportMetricsServiceRequest, totals: &DeltaTotals, now: Timestamp) -> Converted {
    convert(request, Some(Deltas { totals, now }), MAX_TEXT)
}

pub(super) fn convert(
    request: ExportMetricsServiceRequest,
    deltas: Option<Deltas<'_>>,
    text_limit: usize,
) -> Converted {
    let (batch, refusals) = (WriteBatch::default(), Refusals::default());
    let mut out = Output { batch, refusals, deltas, text: 0, text_limit };
    for group in request.resource_metrics {
        let resource = Resource::new(attributes(group.resource.unwrap_or_default().attributes));
        let (first, mut latest) = (out.batch.series.len(), None);
        for scoped in group.scope_metrics {
            let scope = scope_labels(scoped.scope.unwrap_or_default());
            for metric in scoped.metrics {
                out.metric(metric, &resource, &scope);
            }
        }
        for series in out.batch.series.iter().skip(first) {
            latest = latest.max(series.samples.iter().map(|sample| sample.at).max());
            latest = latest.max(series.histograms.iter().map(|sample| sample.at).max());
        }
        if let Some(at) = latest {
            out.target_info(&resource, at);
        }
    }
    Converted::new(out.batch, out.refusals)
}

type Pairs = Vec<(String, String)>;

/// Who sent it.
struct Resource {
    job: String,
    instance: String,
    rest: Pairs,
}

impl Resource {
    fn new(attributes: Vec<(String, AttributeValue)>) -> Self {
        let (mut name, mut namespace, mut instance) = (String::new(), String::new(), String::new());
        let mut rest = Vec::new();
        for (key, value) in attributes {
            match &*key {
                "service.name" => name = text(&value),
                "service.namespace" => namespace = text(&value),
                "service.instance.id" => instance = text(&value),
                _ => rest.push((key, text(&value))),
            }
        }
        let job = if namespace.is_empty() || name.is_empty() { name } else { format!("{namespace}/{name}") };
        Self { job, instance, rest }
    }

    fn identify(&self, labels: &mut LabelsBuilder) {
        for (name, value) in [("job", &self.job), ("instance", &self.instance)] {
            if !value.is_empty() {
                labels.set(name, value);
            }
        }
    }
}

fn scope_labels(scope: InstrumentationScope) -> Pairs {
    let mut pairs = vec![("otel_scope_name".to_owned(), scope.name), ("otel_scope_version".to_owned(), scope.version)];
    let named = attributes(scope.attributes).into_iter();
    pairs.extend(named.map(|(name, value)| (format!("otel_scope_{}", label_name(&name)), text(&value))));
    pairs
}

struct Output<'t> {
    batch: WriteBatch,
    refusals: Refusals,
    deltas: Option<Deltas<'t>>,
    /// Bytes of labels so far, and how many there may be.
    text: usize,
    text_limit: usize,
}

/// Where deltas are added up.
#[derive(Clone, Copy)]
pub(super) struct Deltas<'t> {
    totals: &'t DeltaTotals,
    now: Timestamp,
}

/// One metric's name and what its points share.
struct Context<'a> {
    name: String,
    resource: &'a Resource,
    scope: &'a Pairs,
    /// Where its points are added up when they are deltas.
    deltas: Option<Deltas<'a>>,
}

impl Output<'_> {
    fn metric(&mut self, mut metric: Metric, resource: &Resource, scope: &Pairs) {
        let name = metric_name(&metric);
        let Some(data) = metric.data.take() else {
            // The JSON reader also ends here when it could not make sense of a value.
            return self.refuse("metric_without_data", 1, &metric.name, "has no data, or a value that cannot be read");
        };
        let points = match &data {
            Data::Gauge(gauge) => gauge.data_points.len(),
            Data::Sum(sum) => sum.data_points.len(),
            Data::Histogram(histogram) => histogram.data_points.len(),
            Data::ExponentialHistogram(histogram) => histogram.data_points.len(),
            Data::Summary(summary) => summary.data_points.len(),
        };
        if name.is_empty() {
            return self.refuse("missing_metric_name", points, &metric.name, "has no name");
        }
        let temporality = match &data {
            Data::Sum(sum) => Some(sum.aggregation_temporality),
            Data::Histogram(histogram) => Some(histogram.aggregation_temporality),
            Data::ExponentialHistogram(histogram) => Some(histogram.aggregation_temporality),
            Data::Gauge(_) | Data::Summary(_) => None,
        };
        let mut is_delta = false;
        match temporality {
            None => {}
            Some(cumulative) if cumulative == AggregationTemporality::Cumulative as i32 => {}
            Some(delta) if delta == AggregationTemporality::Delta as i32 && self.deltas.is_some() => is_delta = true,
            Some(delta) if delta == AggregationTemporality::Delta as i32 => {
                let why = "has delta temporality; set the exporter's temporality preference to cumulative";
                return self.refuse("delta_temporality", points, &metric.name, why);
            }
            Some(_) => {
                return self.refuse("unknown_temporality", points, &metric.name, "has no known temporality");
            }
        }
        let kind = match &data {
            Data::Sum(sum) if sum.is_monotonic => MetricKind::Counter,
            Data::Gauge(_) | Data::Sum(_) => MetricKind::Gauge,
            Data::Histogram(_) | Data::ExponentialHistogram(_) => MetricKind::Histogram,
            Data::Summary(_) => MetricKind::Summary,
        };
        let (help, unit) = (metric.description, unit_word(&metric.unit));
        self.batch.metadata.push(MetricMetadata { name: name.clone(), kind, help, unit });
        let deltas = self.deltas.filter(|_| is_delta);
        let context = Context { name, resource, scope, deltas };
        match data {
            Data::Gauge(gauge) => self.numbers(gauge.data_points, &context),
            Data::Sum(sum) => self.numbers(sum.data_points, &context),
            Data::Histogram(histogram) => {
                for point in histogram.data_points {
                    self.histogram(point, &context);
                }
            }
            Data::Summary(summary) => {
                for point in summary.data_points {
                    self.summary(point, &context);
                }
            }
            Data::ExponentialHistogram(histogram) => {
                for point in histogram.data_points {
                    self.exponential(point, &context);
                }
            }
        }
    }

    fn numbers(&mut self, points: Vec<NumberDataPoint>, context: &Context<'_>) {
        for point in points {
            let Some(at) = self.time(point.time_unix_nano, context) else { continue };
            let value = match point.value {
                _ if is_gone(point.flags) => stale_marker(),
                Some(number_data_point::Value::AsDouble(value)) => value,
                Some(number_data_point::Value::AsInt(value)) => value as f64,
                None => {
                    self.refuse("point_without_value", 1, &context.name, "has a data point without a value");
                    continue;
                }
            };
            let labels = context.labels(point.attributes);
            let time = (point.start_time_unix_nano, point.time_unix_nano);
            let value = match context.deltas.filter(|_| !is_gone(point.flags)) {
                None => Ok(value),
                Some(deltas) => deltas.at(time, &context.series(&labels), |totals, place| totals.number(place, value)),
            };
            let value = match value {
                Ok(value) => value,
                Err(error) => {
                    self.refuse_delta(error, &context.name);
                    continue;
                }
            };
            let exemplars = point.exemplars.into_iter().filter_map(exemplar_of).collect();
            self.write(&labels, &context.name, None, Sample { at, value }, exemplars);
        }
    }

    fn histogram(&mut self, mut point: HistogramDataPoint, context: &Context<'_>) {
        let Some(at) = self.time(point.time_unix_nano, context) else { return };
        let (bounds, counts) = (point.explicit_bounds.len(), point.bucket_counts.len());
        if counts > 0 && counts != bounds + 1 {
            let why = format!("has a data point with {counts} buckets for {bounds} bounds");
            return self.refuse("bucket_mismatch", 1, &context.name, &why);
        }
        let gone = is_gone(point.flags);
        let sample = |value: f64| Sample { at, value: if gone { stale_marker() } else { value } };
        let labels = context.labels(std::mem::take(&mut point.attributes));
        if let Some(deltas) = context.deltas.filter(|_| !gone) {
            let time = (point.start_time_unix_nano, point.time_unix_nano);
            let add = |totals: &DeltaTotals, place: &Place<'_>| totals.histogram(place, &mut point);
            if let Err(error) = deltas.at(time, &context.series(&labels), add) {
                return self.refuse_delta(error, &context.name);
            }
        }
        let mut exemplars: Vec<Exemplar> = point.exemplars.into_iter().filter_map(exemplar_of).collect();
        let bucket = format!("{}_bucket", context.name);
        let mut cumulative = 0_u64;
        for (bound, count) in point.explicit_bounds.iter().zip(&point.bucket_counts) {
            cumulative = cumulative.saturating_add(*count);
            let (inside, above) = exemplars.into_iter().partition(|exemplar| exemplar.value <= *bound);
            exemplars = above;
            self.write(&labels, &bucket, Some(("le", &bound.to_string())), sample(cumulative as f64), inside);
        }
        let count = point.count as f64;
        self.write(&labels, &bucket, Some(("le", "+Inf")), sample(count), exemplars);
        // Without a sum the histogram holds negative values, and a sum would not be a counter.
        if gone || point.sum.is_some() {
            let sum = sample(point.sum.unwrap_or(0.0));
            self.write(&labels, &format!("{}_sum", context.name), None, sum, Vec::new());
        }
        self.write(&labels, &format!("{}_count", context.name), None, sample(count), Vec::new());
    }

    fn exponential(&mut self, mut point: ExponentialHistogramDataPoint, context: &Context<'_>) {
        let Some(at) = self.time(point.time_unix_nano, context) else { return };
        let gone = is_gone(point.flags);
        let labels = context.labels(std::mem::take(&mut point.attributes));
        if point.scale < COARSEST {
            let why = format!("has a data point with the scale {}, and the coarsest that is kept is -4", point.scale);
            return self.refuse("invalid_native_histogram", 1, &context.name, &why);
        }
        if let Some(deltas) = context.deltas.filter(|_| !gone) {
            let time = (point.start_time_unix_nano, point.time_unix_nano);
            let add = |totals: &DeltaTotals, place: &Place<'_>| totals.exponential(place, &mut point);
            if let Err(error) = deltas.at(time, &context.series(&labels), add) {
                return self.refuse_delta(error, &context.name);
            }
        }
        let exemplars = std::mem::take(&mut point.exemplars).into_iter().filter_map(exemplar_of).collect();
        let series = context.series(&labels);
        self.text = self.text.saturating_add(series.bytes());
        let histogram = if gone { Ok(Histogram::stale()) } else { native_of(&point) };
        match histogram {
            Ok(histogram) => self.batch.series.push(SeriesWrite {
                labels: series,
                histograms: vec![HistogramSample { at, histogram: Arc::new(histogram) }],
                exemplars,
                ..SeriesWrite::default()
            }),
            Err(invalid) => {
                self.refuse(invalid.reason(), 1, &context.name, &format!("has a data point that {invalid}"));
            }
        }
    }

    fn summary(&mut self, point: SummaryDataPoint, context: &Context<'_>) {
        let Some(at) = self.time(point.time_unix_nano, context) else { return };
        let gone = is_gone(point.flags);
        let sample = |value: f64| Sample { at, value: if gone { stale_marker() } else { value } };
        let labels = context.labels(point.attributes);
        for quantile in point.quantile_values {
            let bound = quantile.quantile.to_string();
            self.write(&labels, &context.name, Some(("quantile", &bound)), sample(quantile.value), Vec::new());
        }
        self.write(&labels, &format!("{}_sum", context.name), None, sample(point.sum), Vec::new());
        self.write(&labels, &format!("{}_count", context.name), None, sample(point.count as f64), Vec::new());
    }

    /// What is known about a sender, as a series of its own to join with.
    fn target_info(&mut self, resource: &Resource, at: Timestamp) {
        if resource.rest.is_empty() || (resource.job.is_empty() && resource.instance.is_empty()) {
            return;
        }
        let mut labels = escaped(resource.rest.clone());
        resource.identify(&mut labels);
        self.write(&labels, "target_info", None, Sample { at, value: 1.0 }, Vec::new());
        if !self.batch.metadata.iter().any(|family| family.name == "target_info") {
            self.batch.metadata.push(MetricMetadata {
                name: "target_info".to_owned(),
                kind: MetricKind::Gauge,
                help: "Target metadata".to_owned(),
                unit: String::new(),
            });
        }
    }

    fn write(
        &mut self,
        labels: &LabelsBuilder,
        name: &str,
        bound: Option<(&str, &str)>,
        sample: Sample,
        exemplars: Vec<Exemplar>,
    ) {
        let mut labels = labels.clone();
        labels.set(Labels::NAME, name);
        if let Some((name, value)) = bound {
            labels.set(name, value);
        }
        let labels = labels.build();
        self.text = self.text.saturating_add(labels.bytes());
        self.batch.series.push(SeriesWrite { exemplars, ..SeriesWrite::new(labels, [sample]) });
    }

    /// The time of a point, if it has one and there is room for its labels.
    fn time(&mut self, unix: u64, context: &Context<'_>) -> Option<Timestamp> {
        if self.text > self.text_limit {
            let why = format!("has a data point after {} bytes of labels, the limit of one request", self.text_limit);
            self.refuse("too_much_text", 1, &context.name, &why);
            return None;
        }
        let at = nanos(unix).map(signal::Nanos::to_timestamp);
        if at.is_none() {
            self.refuse("point_without_time", 1, &context.name, "has a data point without a usable time");
        }
        at
    }

    fn refuse_delta(&mut self, error: DeltaError, name: &str) {
        self.refuse(error.reason(), 1, name, &error.to_string());
    }

    fn refuse(&mut self, reason: &'static str, points: usize, name: &str, why: &str) {
        if points > 0 {
            self.refusals.refuse(reason, points, || format!("metric `{}` {why}", excerpt(name)));
        }
    }
}

impl Deltas<'_> {
    fn at<T>(
        self,
        (start, end): (u64, u64),
        series: &Labels,
        add: impl FnOnce(&DeltaTotals, &Place<'_>) -> Result<T, DeltaError>,
    ) -> Result<T, DeltaError> {
        add(self.totals, &Place { series, start, end, now: self.now })
    }
}

/// The coarsest resolution of native histograms; there is no way to make a finer one of what is coarser.
const COARSEST: i32 = -4;

/// The finest; what is finer is merged.
const FINEST: i32 = 8;

/// The width of the zero bucket of a sender that does not say.
const ZERO_THRESHOLD: f64 = 1e-128;

/// The native histogram with the same buckets; they are numbered one higher there, being known by their upper bounds.
fn native_of(point: &ExponentialHistogramDataPoint) -> Result<Histogram, InvalidHistogram> {
    if point.scale < COARSEST {
        return Err(InvalidHistogram::UnknownSchema { schema: point.scale });
    }
    let by = u32::try_from(point.scale.saturating_sub(FINEST)).unwrap_or(0);
    let (positive, above) = side(point.positive.as_ref(), by, "positive")?;
    let (negative, below) = side(point.negative.as_ref(), by, "negative")?;
    let buckets = above.saturating_add(below).saturating_add(point.zero_count);
    let sum = point.sum.unwrap_or(0.0);
    if buckets > point.count || (buckets < point.count && !sum.is_nan()) {
        return Err(InvalidHistogram::CountMismatch { count: point.count, buckets });
    }
    let zero_threshold = if point.zero_threshold > 0.0 { point.zero_threshold } else { ZERO_THRESHOLD };
    Ok(Histogram {
        schema: point.scale.min(FINEST),
        zero_threshold,
        zero_count: point.zero_count as f64,
        count: point.count as f64,
        sum,
        positive,
        negative,
        ..Histogram::default()
    })
}

fn side(wire: Option<&WireBuckets>, by: u32, name: &'static str) -> Result<(Buckets, u64), InvalidHistogram> {
    let Some(wire) = wire else { return Ok((Buckets::default(), 0)) };
    let (mut collector, mut sum) = (Collector::default(), 0_u64);
    for (at, count) in (i64::from(wire.offset) + 1..).zip(&wire.bucket_counts).filter(|(_, count)| **count > 0) {
        let at = coarser(at, by);
        if i32::try_from(at).is_err() {
            return Err(InvalidHistogram::BucketOutOfRange { side: name });
        }
        collector.add(at, *count as f64);
        sum = sum.saturating_add(*count);
    }
    Ok((collector.buckets, sum))
}

impl Context<'_> {
    /// The series that has the metric's own name.
    fn series(&self, labels: &LabelsBuilder) -> Labels {
        let mut labels = labels.clone();
        labels.set(Labels::NAME, &self.name);
        labels.build()
    }

    fn labels(&self, attributes: Vec<KeyValue>) -> LabelsBuilder {
        let named = super::attributes(attributes).into_iter();
        let mut labels = escaped(named.map(|(name, value)| (name, text(&value))).collect());
        for (name, value) in self.scope {
            labels.set(name, value);
        }
        self.resource.identify(&mut labels);
        labels
    }
}

/// Attributes whose names become the same label share it, joined with `;` in order of their names.
fn escaped(mut pairs: Pairs) -> LabelsBuilder {
    pairs.sort();
    let mut labels = LabelsBuilder::default();
    for (name, value) in pairs {
        let name = label_name(&name);
        match labels.get(&name).map(|other| format!("{other};{value}")) {
            Some(joined) => labels.set(&name, &joined),
            None => labels.set(&name, &value),
        };
    }
    labels
}

fn is_gone(flags: u32) -> bool {
    flags & DataPointFlags::NoRecordedValueMask as u32 != 0
}

fn exemplar_of(exemplar: wire::Exemplar) -> Option<Exemplar> {
    let value = match exemplar.value? {
        exemplar::Value::AsDouble(value) => value,
        exemplar::Value::AsInt(value) => value as f64,
    };
    let at = nanos(exemplar.time_unix_nano)?.to_timestamp();
    let named = attributes(exemplar.filtered_attributes).into_iter();
    let mut labels = escaped(named.map(|(name, value)| (name, text(&value))).collect());
    if let Some(id) = trace_id(&exemplar.trace_id) {
        labels.set("trace_id", &id.to_string());
    }
    if let Some(id) = span_id(&exemplar.span_id) {
        labels.set("span_id", &id.to_string());
    }
    Some(Exemplar { labels: labels.build(), value, at })
}
