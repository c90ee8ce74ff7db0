use std::error::Error;

use proptest::prelude::*;
use prost::Message;
use signal::{Nanos, is_stale};

use super::*;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

fn read<T: Export>(json: &str) -> T {
    decode_json(json.as_bytes(), &Limits::default()).unwrap()
}

fn chain(error: &dyn Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}

fn span(change: &str) -> String {
    let mut fields = serde_json::json!({
        "traceId": TRACE, "spanId": "00f067aa0ba902b7", "name": "GET /users", "kind": 2,
        "startTimeUnixNano": "1706189400000000000", "endTimeUnixNano": "1706189400045000000",
    });
    let change: serde_json::Value = serde_json::from_str(change).unwrap();
    for (name, value) in change.as_object().unwrap() {
        fields[name] = value.clone();
    }
    format!(
        r#"{{"resourceSpans":[{{"resource":{{"attributes":[{{"key":"service.name","value":{{"stringValue":"api"}}}}]}},
        "scopeSpans":[{{"scope":{{"name":"lib","version":"1"}},"spans":[{fields}]}}]}}]}}"#
    )
}

#[test]
fn a_span_arrives_whole() {
    let json = span(
        r#"{"parentSpanId":"00f067aa0ba902b8","status":{"code":2,"message":"boom"},"unknown":1,
            "attributes":[{"key":"n","value":{"intValue":"7"}},{"key":"l","value":{"arrayValue":{"values":[{"boolValue":true}]}}},{"key":"e"},{"key":"none","value":{"arrayValue":{}}}],
            "events":[{"timeUnixNano":"1706189400000000005","name":"exception"}],
            "links":[{"traceId":"4bf92f3577b34da6a3ce929d0e0e4736","spanId":"00f067aa0ba902b7"},{"traceId":"","spanId":""}]}"#,
    );
    let from_json = traces(read(&json));
    let request: ExportTraceServiceRequest = read(&json);
    let binary = decode_protobuf(&request.encode_to_vec(), &Limits::default()).unwrap();
    assert_eq!(from_json, traces(binary), "both encodings say the same");
    assert_eq!((from_json.rejected, &*from_json.error_message), (0, ""));
    let span = &from_json.batch.spans[0];
    assert_eq!((span.trace.to_string(), span.id.to_string()), (TRACE.to_owned(), "00f067aa0ba902b7".to_owned()));
    assert_eq!(span.parent.unwrap().to_string(), "00f067aa0ba902b8");
    assert_eq!((span.service(), &*span.scope_name, &*span.status_message), ("api", "lib", "boom"));
    assert_eq!((span.kind, span.status), (signal::SpanKind::Server, signal::SpanStatus::Error));
    assert_eq!(span.duration().as_millis(), 45);
    assert_eq!(span.attribute("n"), Some(&AttributeValue::Int(7)));
    assert_eq!(span.attribute("l"), Some(&AttributeValue::List(vec![AttributeValue::Bool(true)])));
    assert_eq!(span.attribute("none"), Some(&AttributeValue::List(vec![])));
    assert_eq!(span.attribute("e"), Some(&AttributeValue::String(String::new())));
    assert_eq!((span.events[0].at, span.links.len()), (Nanos(1_706_189_400_000_000_005), 1));
}

#[test]
fn a_bad_span_is_refused_alone() {
    for (change, reason, why) in [
        (r#"{"traceId":"4bf9"}"#, "invalid_trace_id", "has a trace id of 2 bytes instead of 16"),
        (r#"{"traceId":"00000000000000000000000000000000"}"#, "invalid_trace_id", "has a trace id of zeros"),
        (r#"{"spanId":""}"#, "invalid_span_id", "has a span id of 0 bytes instead of 8"),
        (r#"{"parentSpanId":"01"}"#, "invalid_span_id", "has a parent span id of 1 bytes instead of 8"),
        (r#"{"startTimeUnixNano":"0"}"#, "invalid_span_time", "has the start time 0"),
        (r#"{"endTimeUnixNano":"18446744073709551615"}"#, "invalid_span_time", "has the end time 18446744073709551615"),
        (r#"{"endTimeUnixNano":"5"}"#, "span_ends_before_start", "ends before it starts"),
    ] {
        let converted = traces(read(&span(change)));
        assert!(converted.batch.is_empty(), "{change}");
        assert_eq!(converted.rejected, 1, "{change}");
        assert_eq!(converted.error_message, format!("span `GET /users` {why} (1 refused)"));
        assert_eq!(converted.rejections[0].reason, reason);
    }
}

#[test]
fn logs_split_labels_from_metadata() {
    let json = r#"{"resourceLogs":[{"resource":{"attributes":[
        {"key":"service.name","value":{"stringValue":"api"}},
        {"key":"k8s.namespace.name","value":{"stringValue":"prod"}},
        {"key":"host.name","value":{"stringValue":"h"}}]},
      "scopeLogs":[{"scope":{"name":"lib"},"logRecords":[
        {"timeUnixNano":"5","severityNumber":17,"severityText":"ERROR","body":{"stringValue":"boom"},
         "traceId":"4bf92f3577b34da6a3ce929d0e0e4736","spanId":"00f067aa0ba902b7","flags":1,
         "attributes":[{"key":"http","value":{"kvlistValue":{"values":[{"key":"status.code","value":{"intValue":500}}]}}},
                       {"key":"1x","value":{"doubleValue":0.5}}]},
        {"observedTimeUnixNano":"6","body":{"kvlistValue":{"values":[{"key":"b","value":{"intValue":"1"}},{"key":"a","value":{"arrayValue":{"values":[]}}}]}}},
        {},
        {"timeUnixNano":"18446744073709551615"}]}]},
      {"scopeLogs":[{"logRecords":[{"timeUnixNano":"7","body":{"boolValue":true}}]}]}]}"#;
    let converted = logs(read(json), Nanos(99));
    let mut shown = Vec::new();
    for stream in &converted.batch.streams {
        shown.push(stream.labels.to_string());
        shown.extend(stream.lines.iter().map(|line| format!("  {} {:?} {}", line.at.0, line.line, line.metadata)));
    }
    shown.push(converted.error_message);
    insta::assert_snapshot!(shown.join("\n"), @r#"
    {k8s_namespace_name="prod", service_name="api"}
      5 "boom" {flags="1", host_name="h", http_status_code="500", key_1x="0.5", scope_name="lib", severity_number="17", severity_text="ERROR", span_id="00f067aa0ba902b7", trace_id="4bf92f3577b34da6a3ce929d0e0e4736"}
      6 "{\"a\":[],\"b\":1}" {host_name="h", scope_name="lib"}
      99 "" {host_name="h", scope_name="lib"}
    {service_name="unknown_service"}
      7 "true" {}
    log record of stream `{k8s_namespace_name="prod", service_name="api"}` has a time after the year 2262 (1 refused)
    "#);
}

#[test]
fn a_stream_has_a_service_whoever_names_it() {
    for (attributes, want) in [
        ("", "unknown_service"),
        (r#"{"key":"service.name","value":{"stringValue":""}}"#, "unknown_service"),
        (r#"{"key":"k8s.pod.name","value":{"stringValue":"p"}}"#, "unknown_service"),
        (
            r#"{"key":"k8s.container.name","value":{"stringValue":"c"}},{"key":"k8s.job.name","value":{"stringValue":"j"}}"#,
            "c",
        ),
        (
            r#"{"key":"k8s.container.name","value":{"stringValue":"c"}},{"key":"service.name","value":{"stringValue":"s"}}"#,
            "s",
        ),
    ] {
        let json = format!(
            r#"{{"resourceLogs":[{{"resource":{{"attributes":[{attributes}]}},"scopeLogs":[{{"scope":{{"droppedAttributesCount":2}},
            "logRecords":[{{"timeUnixNano":"5","observedTimeUnixNano":"6"}}]}}]}}]}}"#
        );
        let stream = logs(read(&json), Nanos(1)).batch.streams.remove(0);
        assert_eq!(stream.labels.get("service_name"), Some(want), "{attributes}");
        let metadata = stream.lines[0].metadata.to_string();
        assert_eq!(metadata, r#"{observed_timestamp="6", scope_dropped_attributes_count="2"}"#);
    }
}

fn metric(body: &str) -> Converted {
    metrics(read(&format!(
        r#"{{"resourceMetrics":[{{"resource":{{"attributes":[
            {{"key":"service.name","value":{{"stringValue":"api"}}}},
            {{"key":"service.namespace","value":{{"stringValue":"shop"}}}},
            {{"key":"service.instance.id","value":{{"stringValue":"i-1"}}}},
            {{"key":"host.name","value":{{"stringValue":"h"}}}}]}},
        "scopeMetrics":[{{"scope":{{"name":"lib"}},"metrics":[{body}]}}]}}]}}"#
    )))
}

fn shown(converted: &Converted) -> String {
    let mut lines = Vec::new();
    for series in &converted.batch.series {
        let value = series.samples[0].value;
        let value = if is_stale(value) { "stale".to_owned() } else { value.to_string() };
        let labels = series.labels.to_string().replace(r#"instance="i-1", job="shop/api""#, "…");
        let exemplars: String = series.exemplars.iter().map(|e| format!(" # {} {}", e.labels, e.value)).collect();
        lines.push(format!("{labels} {value} @{}{exemplars}", series.samples[0].at.0));
    }
    for family in &converted.batch.metadata {
        lines.push(format!("{} {} {:?} {:?}", family.name, family.kind.as_str(), family.help, family.unit));
    }
    lines.push(converted.error_message.clone());
    lines.join("\n")
}

#[test]
fn sums_and_gauges_become_series() {
    let converted = metric(
        r#"{"name":"http.server.requests","description":"d","unit":"{request}","sum":{"aggregationTemporality":2,"isMonotonic":true,"dataPoints":[
             {"timeUnixNano":"1000000000","asInt":"5","attributes":[{"key":"a.b","value":{"stringValue":"y"}},{"key":"a_b","value":{"stringValue":"z"}}],
              "exemplars":[{"timeUnixNano":"1000000","asDouble":0.5,"traceId":"4bf92f3577b34da6a3ce929d0e0e4736","spanId":"00f067aa0ba902b7"}]},
             {"timeUnixNano":"1000000000","flags":1},
             {"timeUnixNano":"1000000000"},
             {"asInt":"1"}]}},
           {"name":"cpu.use","unit":"1","gauge":{"dataPoints":[{"timeUnixNano":"2000000000","asDouble":0.5}]}},
           {"name":"queue.size","unit":"By","sum":{"aggregationTemporality":2,"dataPoints":[{"timeUnixNano":"2000000000","asInt":3}]}}"#,
    );
    assert_eq!(converted.rejected, 2);
    insta::assert_snapshot!(shown(&converted), @r#"
    http_server_requests_total{a_b="y;z", …, otel_scope_name="lib"} 5 @1000 # {span_id="00f067aa0ba902b7", trace_id="4bf92f3577b34da6a3ce929d0e0e4736"} 0.5
    http_server_requests_total{…, otel_scope_name="lib"} stale @1000
    cpu_use_ratio{…, otel_scope_name="lib"} 0.5 @2000
    queue_size_bytes{…, otel_scope_name="lib"} 3 @2000
    target_info{host_name="h", …} 1 @2000
    http_server_requests_total counter "d" ""
    cpu_use_ratio gauge "" ""
    queue_size_bytes gauge "" "bytes"
    target_info gauge "Target metadata" ""
    metric `http_server_requests_total` has a data point without a usable time (1 refused); metric `http_server_requests_total` has a data point without a value (1 refused)
    "#);
}

#[test]
fn histograms_and_summaries_become_series() {
    let converted = metric(
        r#"{"name":"http.server.request.duration","unit":"s","histogram":{"aggregationTemporality":2,"dataPoints":[
             {"timeUnixNano":"1000000000","count":"6","sum":2.5,"bucketCounts":["1","2","3"],"explicitBounds":[0.1,1],
              "exemplars":[{"timeUnixNano":"1000000","asDouble":0.5},{"timeUnixNano":"1000000","asDouble":7}]},
             {"timeUnixNano":"2000000000","flags":1,"bucketCounts":["0","0"],"explicitBounds":[1]},
             {"timeUnixNano":"2000000000","bucketCounts":["1","2"],"explicitBounds":[1,2,3]}]}},
           {"name":"gc","unit":"ms","summary":{"dataPoints":[
             {"timeUnixNano":"1000000000","count":"6","sum":2.5,"quantileValues":[{"quantile":0.5,"value":1},{"quantile":1,"value":2}]}]}}"#,
    );
    assert_eq!(converted.rejected, 1);
    insta::assert_snapshot!(shown(&converted), @r#"
    http_server_request_duration_seconds_bucket{…, le="0.1", otel_scope_name="lib"} 1 @1000
    http_server_request_duration_seconds_bucket{…, le="1", otel_scope_name="lib"} 3 @1000 # {} 0.5
    http_server_request_duration_seconds_bucket{…, le="+Inf", otel_scope_name="lib"} 6 @1000 # {} 7
    http_server_request_duration_seconds_sum{…, otel_scope_name="lib"} 2.5 @1000
    http_server_request_duration_seconds_count{…, otel_scope_name="lib"} 6 @1000
    http_server_request_duration_seconds_bucket{…, le="1", otel_scope_name="lib"} stale @2000
    http_server_request_duration_seconds_bucket{…, le="+Inf", otel_scope_name="lib"} stale @2000
    http_server_request_duration_seconds_sum{…, otel_scope_name="lib"} stale @2000
    http_server_request_duration_seconds_count{…, otel_scope_name="lib"} stale @2000
    gc_milliseconds{…, otel_scope_name="lib", quantile="0.5"} 1 @1000
    gc_milliseconds{…, otel_scope_name="lib", quantile="1"} 2 @1000
    gc_milliseconds_sum{…, otel_scope_name="lib"} 2.5 @1000
    gc_milliseconds_count{…, otel_scope_name="lib"} 6 @1000
    target_info{host_name="h", …} 1 @2000
    http_server_request_duration_seconds histogram "" "seconds"
    gc_milliseconds summary "" "milliseconds"
    target_info gauge "Target metadata" ""
    metric `http_server_request_duration_seconds` has a data point with 2 buckets for 3 bounds (1 refused)
    "#);
}

#[test]
fn exponential_histograms_become_native() {
    let converted = metric(
        r#"{"name":"latency","unit":"s","exponentialHistogram":{"aggregationTemporality":2,"dataPoints":[
             {"timeUnixNano":"1000000000","count":"10","sum":2.5,"scale":3,"zeroCount":"1","zeroThreshold":0.001,
              "positive":{"offset":-2,"bucketCounts":["1","0","2","0","0","0","3"]},"negative":{"offset":0,"bucketCounts":["3"]},
              "exemplars":[{"timeUnixNano":"1000000","asDouble":0.5}]},
             {"timeUnixNano":"2000000000","count":"6","scale":10,"positive":{"offset":-1,"bucketCounts":["1","2","3"]}},
             {"timeUnixNano":"3000000000","flags":1}]}}"#,
    );
    assert_eq!((converted.rejected, &*converted.error_message), (0, ""));
    let mut shown = Vec::new();
    for series in &converted.batch.series {
        for sample in &series.histograms {
            let histogram = &sample.histogram;
            let runs = |side: &signal::Buckets| {
                let spans: Vec<_> = side.spans.iter().map(|span| format!("{}+{}", span.offset, span.length)).collect();
                format!("{} {:?}", spans.join(" "), side.counts)
            };
            let stale = if histogram.is_stale() { "stale" } else { "" };
            shown.push(format!(
                "@{} schema {} count {} sum {} zero {} within {:e} above [{}] below [{}] {stale}",
                sample.at.0,
                histogram.schema,
                histogram.count,
                histogram.sum,
                histogram.zero_count,
                histogram.zero_threshold,
                runs(&histogram.positive),
                runs(&histogram.negative),
            ));
        }
        shown.push(format!("{} exemplars: {}", series.labels, series.exemplars.len()));
    }
    insta::assert_snapshot!(shown.join("\n"), @r#"
    @1000 schema 3 count 10 sum 2.5 zero 1 within 1e-3 above [-1+3 3+1 [1.0, 0.0, 2.0, 3.0]] below [1+1 [3.0]] 
    latency_seconds{instance="i-1", job="shop/api", otel_scope_name="lib"} exemplars: 1
    @2000 schema 8 count 6 sum 0 zero 0 within 1e-128 above [0+2 [1.0, 5.0]] below [ []] 
    latency_seconds{instance="i-1", job="shop/api", otel_scope_name="lib"} exemplars: 0
    @3000 schema 0 count 0 sum NaN zero 0 within 0e0 above [ []] below [ []] stale
    latency_seconds{instance="i-1", job="shop/api", otel_scope_name="lib"} exemplars: 0
    target_info{host_name="h", instance="i-1", job="shop/api"} exemplars: 0
    "#);
}

#[test]
fn deltas_become_totals() {
    let totals = DeltaTotals::default();
    let request = |at: u64| -> ExportMetricsServiceRequest {
        let (start, end) = (at * 1_000_000_000, (at + 1) * 1_000_000_000);
        read(&format!(
            r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[
                {{"name":"hits","sum":{{"aggregationTemporality":1,"isMonotonic":true,"dataPoints":[
                    {{"startTimeUnixNano":"{start}","timeUnixNano":"{end}","asInt":"5"}}]}}}},
                {{"name":"h","histogram":{{"aggregationTemporality":1,"dataPoints":[
                    {{"startTimeUnixNano":"{start}","timeUnixNano":"{end}","count":"3","sum":1.5,"bucketCounts":["1","2"],"explicitBounds":[1]}}]}}}},
                {{"name":"e","exponentialHistogram":{{"aggregationTemporality":1,"dataPoints":[
                    {{"startTimeUnixNano":"{start}","timeUnixNano":"{end}","count":"3","sum":1.5,"scale":{at},"positive":{{"offset":0,"bucketCounts":["1","2"]}}}}]}}}}
            ]}}]}}]}}"#
        ))
    };
    let mut shown = Vec::new();
    // The second is sent again, as after an answer that never came; the first is too old for that.
    for at in [1, 2, 2, 1] {
        let converted = metrics_with_deltas(request(at), &totals, signal::Timestamp(0));
        for series in &converted.batch.series {
            let samples = series.samples.iter().map(|sample| format!("{} @{}", sample.value, sample.at.0));
            let histograms = series.histograms.iter().map(|sample| {
                format!(
                    "{} {:?} schema {} @{}",
                    sample.histogram.count, sample.histogram.positive.counts, sample.histogram.schema, sample.at.0
                )
            });
            shown.push(format!("{} {}", series.labels, samples.chain(histograms).collect::<String>()));
        }
        shown.push(converted.error_message);
    }
    insta::assert_snapshot!(shown.join("\n"), @r#"
    hits_total 5 @2000
    h_bucket{le="1"} 1 @2000
    h_bucket{le="+Inf"} 3 @2000
    h_sum 1.5 @2000
    h_count 3 @2000
    e 3 [1.0, 2.0] schema 1 @2000

    hits_total 10 @3000
    h_bucket{le="1"} 2 @3000
    h_bucket{le="+Inf"} 6 @3000
    h_sum 3 @3000
    h_count 6 @3000
    e 6 [4.0, 2.0] schema 1 @3000

    hits_total 10 @3000
    h_bucket{le="1"} 2 @3000
    h_bucket{le="+Inf"} 6 @3000
    h_sum 3 @3000
    h_count 6 @3000
    e 6 [4.0, 2.0] schema 1 @3000

    metric `hits_total` has a delta that does not follow the one before (3 refused)
    "#);
}

#[test]
fn what_a_resource_says_once_is_not_written_out_without_end() {
    let long = "x".repeat(1_000);
    let resource = format!(
        r#"{{"attributes":[{{"key":"service.name","value":{{"stringValue":"{long}"}}}},{{"key":"note","value":{{"stringValue":"{long}"}}}}]}}"#
    );
    let point = r#"{"timeUnixNano":"1000000","asInt":"1"}"#;
    let points = [point; 5].join(",");
    let json = format!(
        r#"{{"resourceMetrics":[{{"resource":{resource},"scopeMetrics":[{{"metrics":[{{"name":"m","gauge":{{"dataPoints":[{points}]}}}}]}}]}}]}}"#
    );
    let converted = metrics::convert(read(&json), None, 2_500);
    assert_eq!(
        converted.error_message,
        "metric `m` has a data point after 2500 bytes of labels, the limit of one request (2 refused)"
    );
    let records = [r#"{"timeUnixNano":"5"}"#; 5].join(",");
    let json = format!(r#"{{"resourceLogs":[{{"resource":{resource},"scopeLogs":[{{"logRecords":[{records}]}}]}}]}}"#);
    let converted = logs::convert(read(&json), Nanos(1), 2_500);
    assert_eq!((converted.rejected, converted.rejections[0].reason), (2, "too_much_text"));
    assert_eq!(converted.batch.line_count(), 3);
}

#[test]
fn what_cannot_be_kept_is_said() {
    let point = r#"{"timeUnixNano":"1","asInt":"1"}"#;
    for (case, body, count, why) in [
        (
            "delta",
            format!(r#"{{"name":"m","sum":{{"aggregationTemporality":1,"dataPoints":[{point},{point}]}}}}"#),
            2,
            "metric `m` has delta temporality; set the exporter's temporality preference to cumulative (2 refused)",
        ),
        (
            "no temporality",
            format!(r#"{{"name":"m","sum":{{"dataPoints":[{point}]}}}}"#),
            1,
            "metric `m` has no known temporality (1 refused)",
        ),
        (
            "too coarse",
            r#"{"name":"m","exponentialHistogram":{"aggregationTemporality":2,"dataPoints":[{"timeUnixNano":"1","scale":-5}]}}"#
                .to_owned(),
            1,
            "metric `m` has a data point with the scale -5, and the coarsest that is kept is -4 (1 refused)",
        ),
        (
            "observations in no bucket",
            r#"{"name":"m","exponentialHistogram":{"aggregationTemporality":2,"dataPoints":[{"timeUnixNano":"1","count":"3","zeroCount":"1"}]}}"#
                .to_owned(),
            1,
            "metric `m` has a data point that has the count 3, but its buckets hold 1 (1 refused)",
        ),
        (
            "unreadable value",
            r#"{"name":"m","gauge":{"dataPoints":[{"timeUnixNano":"1","asInt":"many"}]}}"#.to_owned(),
            1,
            "metric `m` has a data point without a value (1 refused)",
        ),
        (
            "no data",
            r#"{"name":"m"}"#.to_owned(),
            1,
            "metric `m` has no data, or a value that cannot be read (1 refused)",
        ),
        (
            "no name",
            format!(r#"{{"name":"","gauge":{{"dataPoints":[{point}]}}}}"#),
            1,
            "metric `` has no name (1 refused)",
        ),
        ("no points", r#"{"name":"m","gauge":{"dataPoints":[]}}"#.to_owned(), 0, ""),
    ] {
        let converted = metric(&body);
        assert_eq!((converted.rejected, &*converted.error_message), (count, why), "{case}");
        assert_eq!(converted.batch.series, [], "{case}");
    }
}

#[test]
fn names_follow_prometheus() {
    use opentelemetry_proto::tonic::metrics::v1::{Gauge, Metric, Sum, metric::Data};
    let gauge = || Data::Gauge(Gauge::default());
    let counter = || Data::Sum(Sum { is_monotonic: true, ..Sum::default() });
    for (name, unit, data, want) in [
        ("system.io", "By", counter(), "system_io_bytes_total"),
        ("a.total.b", "", counter(), "a_b_total"),
        ("network.io", "By/s", gauge(), "network_io_bytes_per_second"),
        ("x_bytes", "By", gauge(), "x_bytes"),
        ("ratio.of", "1", gauge(), "of_ratio"),
        ("ratio.of", "1", counter(), "ratio_of_total"),
        ("hits", "{hit}/s", gauge(), "hits_per_second"),
        ("2xx..count", "", gauge(), "_2xx_count"),
        ("temp", "Cel", gauge(), "temp_celsius"),
        ("u", "foo.bar", gauge(), "u_foo_bar"),
    ] {
        let metric = Metric { name: name.into(), unit: unit.into(), data: Some(data), ..Metric::default() };
        assert_eq!(names::metric_name(&metric), want, "{name} {unit}");
    }
    for (name, want) in [("a.b-c", "a_b_c"), ("1a", "key_1a"), ("_a", "key_a"), ("__a", "__a"), ("é", "key_")] {
        assert_eq!(names::label_name(name), want);
    }
}

#[test]
fn an_unreadable_request_says_why() {
    let limits = Limits { max_decoded_bytes: 20, max_items: 2, ..Limits::default() };
    let three = |path: u8| vec![path, 6, 0x12, 4, 0x12, 0, 0x12, 0];
    for (case, error, want) in [
        (
            "large",
            decode_protobuf::<ExportTraceServiceRequest>(&[0; 21], &limits).unwrap_err(),
            "export request has 21 bytes, more than the limit of 20 (max_decoded_bytes)",
        ),
        (
            "many",
            decode_protobuf::<ExportTraceServiceRequest>(&three(0x0a), &limits).unwrap_err(),
            "export request has more than 2 items (max_items)",
        ),
        (
            "cut",
            decode_protobuf::<ExportLogsServiceRequest>(b"\x0a\x09", &limits).unwrap_err(),
            "cannot read the export request as protobuf: protobuf ends inside a field",
        ),
        (
            "json",
            decode_json::<ExportMetricsServiceRequest>(b"{\"resourceMetrics\":", &Limits::default()).unwrap_err(),
            "cannot read the export request as JSON: EOF while parsing a value at line 1 column 19",
        ),
        (
            "many objects",
            decode_json::<ExportLogsServiceRequest>(b"{{{{{{{{{", &limits).unwrap_err(),
            "export request has more than 2 items (max_items)",
        ),
    ] {
        assert_eq!(chain(&error), want, "{case}");
    }
}

proptest! {
    #[test]
    fn any_bytes_convert_or_err(bytes in proptest::collection::vec(any::<u8>(), 0..200), text in "[{}\\[\\]\":,a-z0-9]{0,60}") {
        let limits = Limits::default();
        for body in [&bytes[..], text.as_bytes()] {
            let _ = decode_protobuf(body, &limits).map(traces);
            let _ = decode_protobuf(body, &limits).map(|request| logs(request, Nanos(1)));
            let _ = decode_protobuf(body, &limits).map(metrics);
            let totals = DeltaTotals::new(3);
            let _ = decode_protobuf(body, &limits).map(|request| metrics_with_deltas(request, &totals, signal::Timestamp(0)));
            let _ = decode_json(body, &limits).map(traces);
            let _ = decode_json(body, &limits).map(|request| logs(request, Nanos(1)));
            let _ = decode_json(body, &limits).map(metrics);
        }
    }
}
