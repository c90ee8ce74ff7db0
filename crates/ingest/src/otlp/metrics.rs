//! Data points.

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::{
    self as wire, AggregationTemporality, DataPointFlags, HistogramDataPoint, Metric, NumberDataPoint,
    SummaryDataPoint, exemplar, metric::Data, number_data_point,
};
use signal::{
    AttributeValue, Exemplar, Labels, LabelsBuilder, MetricKind, MetricMetadata, Sample, SeriesWrite, Timestamp,
    WriteBatch, stale_marker,
};

use super::names::{label_name, metric_name, unit_word};
use super::{Converted, attributes, nanos, span_id, text, trace_id};
use crate::rejection::{Refusals, excerpt};

/// Turns an export request into series, as Prometheus' OTLP receiver does.
///
/// Refused by data point, each with its reason: delta temporality, exponential histograms, points without value or time.
#[must_use]
pub fn metrics(request: ExportMetricsServiceRequest) -> Converted {
    let mut out = Output::default();
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

#[derive(Default)]
struct Output {
    batch: WriteBatch,
    refusals: Refusals,
}

/// One metric's name and what its points share.
struct Context<'a> {
    name: String,
    resource: &'a Resource,
    scope: &'a Pairs,
}

impl Output {
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
            Data::ExponentialHistogram(_) => {
                let why = "is an exponential histogram, which is not kept yet; use explicit buckets";
                return self.refuse("native_histogram", points, &metric.name, why);
            }
            Data::Gauge(_) | Data::Summary(_) => None,
        };
        match temporality {
            None => {}
            Some(cumulative) if cumulative == AggregationTemporality::Cumulative as i32 => {}
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
        let context = Context { name, resource, scope };
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
            Data::ExponentialHistogram(_) => {}
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
            let exemplars = point.exemplars.into_iter().filter_map(exemplar_of).collect();
            self.write(&labels, &context.name, None, Sample { at, value }, exemplars);
        }
    }

    fn histogram(&mut self, point: HistogramDataPoint, context: &Context<'_>) {
        let Some(at) = self.time(point.time_unix_nano, context) else { return };
        let (bounds, counts) = (&point.explicit_bounds, &point.bucket_counts);
        if !counts.is_empty() && counts.len() != bounds.len() + 1 {
            let why = format!("has a data point with {} buckets for {} bounds", counts.len(), bounds.len());
            return self.refuse("bucket_mismatch", 1, &context.name, &why);
        }
        let gone = is_gone(point.flags);
        let sample = |value: f64| Sample { at, value: if gone { stale_marker() } else { value } };
        let labels = context.labels(point.attributes);
        let mut exemplars: Vec<Exemplar> = point.exemplars.into_iter().filter_map(exemplar_of).collect();
        let bucket = format!("{}_bucket", context.name);
        let mut cumulative = 0_u64;
        for (bound, count) in bounds.iter().zip(counts) {
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
        self.batch.series.push(SeriesWrite { exemplars, ..SeriesWrite::new(labels.build(), [sample]) });
    }

    fn time(&mut self, unix: u64, context: &Context<'_>) -> Option<Timestamp> {
        let at = nanos(unix).map(signal::Nanos::to_timestamp);
        if at.is_none() {
            self.refuse("point_without_time", 1, &context.name, "has a data point without a usable time");
        }
        at
    }

    fn refuse(&mut self, reason: &'static str, points: usize, name: &str, why: &str) {
        if points > 0 {
            self.refusals.refuse(reason, points, || format!("metric `{}` {why}", excerpt(name)));
        }
    }
}

impl Context<'_> {
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
