use axum::http::StatusCode;
use serde_json::json;

use super::*;

#[tokio::test]
async fn what_is_written_is_read_at_once() {
    let (router, _) = server();
    with_metrics(&router).await;

    for prefix in ["/api/v1", "/prometheus/api/v1"] {
        let reply = ask(
            &router,
            &format!("{prefix}/query"),
            &[("query", "sum by (status) (rate(http_requests_total[1m]))"), ("time", "1706189400")],
        )
        .await;
        assert_eq!(
            reply.json(),
            json!({"status": "success", "data": {"resultType": "vector", "result": [
                {"metric": {"status": "201"}, "value": [NOW_S, "1.9999999999999998"]},
                {"metric": {"status": "500"}, "value": [NOW_S, "0.49999999999999994"]},
            ]}})
        );
        assert_eq!(reply.headers["content-type"], "application/json");
    }

    let form = "query=http_requests_total%7Bstatus%3D%22500%22%7D&start=1706189370&end=1706189400&step=15";
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    let reply = post(&router, "/api/v1/query_range", &headers, form).await;
    assert_eq!(
        reply.json(),
        json!({"status": "success", "data": {"resultType": "matrix", "result": [{
            "metric": {"__name__": "http_requests_total", "service": "backend", "status": "500"},
            "values": [[NOW_S - 30, "135"], [NOW_S - 15, "142.5"], [NOW_S, "150"]],
        }]}})
    );
}

#[tokio::test]
async fn every_result_type_has_upstreams_shape() {
    let (router, _) = server();
    with_metrics(&router).await;
    for (query, want) in [
        ("1+1", json!({"resultType": "scalar", "result": [NOW_S, "2"]})),
        ("\"text\"", json!({"resultType": "string", "result": [NOW_S, "text"]})),
        ("1/0", json!({"resultType": "scalar", "result": [NOW_S, "+Inf"]})),
        ("absent_metric", json!({"resultType": "vector", "result": []})),
        (
            "http_requests_total{status=\"500\"}[20s]",
            json!({"resultType": "matrix", "result": [{
                "metric": {"__name__": "http_requests_total", "service": "backend", "status": "500"},
                "values": [[NOW_S - 15, "142.5"], [NOW_S, "150"]],
            }]}),
        ),
    ] {
        let reply = ask(&router, "/api/v1/query", &[("query", query)]).await;
        assert_eq!(reply.json()["data"], want, "{query}");
    }
    let reply = ask(&router, "/api/v1/query", &[("query", "http_requests_total"), ("limit", "1")]).await.json();
    assert_eq!(reply["data"]["result"].as_array().unwrap().len(), 1);
    assert_eq!(reply["warnings"], json!(["results truncated due to limit"]));
    let reply = ask(&router, "/api/v1/query", &[("query", "rate(gauge[5m])")]).await.json();
    assert_eq!(reply["status"], "success");
}

#[tokio::test]
async fn series_labels_and_values_are_listed() {
    let (router, _) = server();
    with_metrics(&router).await;
    for (path, parameters, want) in [
        (
            "/api/v1/series",
            &[("match[]", "{status=\"500\"}"), ("match[]", "http_requests_total{status=~\"5..\"}")][..],
            json!([{"__name__": "http_requests_total", "service": "backend", "status": "500"}]),
        ),
        ("/api/v1/series", &[("match[]", "up")], json!([])),
        ("/api/v1/labels", &[], json!(["__name__", "service", "status"])),
        ("/api/v1/labels", &[("match[]", "up")], json!([])),
        ("/api/v1/label/status/values", &[], json!(["201", "500"])),
        ("/api/v1/label/status/values", &[("match[]", "{status=~\"2..\"}")], json!(["201"])),
        ("/api/v1/label/__name__/values", &[], json!(["http_requests_total"])),
        ("/api/v1/label/U__status/values", &[], json!(["201", "500"])),
        ("/api/v1/label/nobody/values", &[], json!([])),
        ("/api/v1/label/U__a_zz_/values", &[], json!([])),
        ("/api/v1/labels", &[("start", "100"), ("end", "0")], json!([])),
        ("/api/v1/label/status/values", &[("start", "0"), ("end", "100")], json!([])),
    ] {
        let reply = ask(&router, path, parameters).await;
        assert_eq!(reply.json(), json!({"status": "success", "data": want}), "{path} {parameters:?}");
    }
    let cut = ask(&router, "/api/v1/label/status/values", &[("limit", "1")]).await.json();
    assert_eq!(cut, json!({"status": "success", "data": ["201"], "warnings": ["results truncated due to limit"]}));
}

#[tokio::test]
async fn metadata_and_exemplars_come_back() {
    let (router, _) = server();
    let mut one = series(&[("__name__", "http_requests_total")], &[(NOW.0, 7.0)]);
    one.exemplars = vec![Exemplar { labels: labels(&[("trace_id", "abc")]), value: 0.5, timestamp: NOW.0 }];
    let metadata = Metadata { kind: 1, family: "http_requests_total".to_owned(), help: "Requests.".to_owned() };
    let body = snappy(&WriteRequest { timeseries: vec![one], metadata: vec![metadata] });
    let reply = post(&router, "/api/v1/write", &[("content-type", "application/x-protobuf")], body).await;
    assert_eq!(reply.status, StatusCode::NO_CONTENT, "{}", reply.text());

    let reply = get(&router, "/api/v1/metadata").await.json();
    assert_eq!(reply["data"], json!({"http_requests_total": [{"type": "counter", "help": "Requests.", "unit": ""}]}));
    assert_eq!(get(&router, "/api/v1/metadata?metric=other").await.json()["data"], json!({}));
    let reply = ask(&router, "/api/v1/query_exemplars", &[("query", "sum(rate(http_requests_total[5m]))")]).await;
    assert_eq!(
        reply.json()["data"],
        json!([{"seriesLabels": {"__name__": "http_requests_total"}, "exemplars": [
            {"labels": {"trace_id": "abc"}, "value": "0.5", "timestamp": NOW_S}
        ]}])
    );
}

#[tokio::test]
async fn the_valid_part_of_a_refused_write_is_kept() {
    let (router, _) = server();
    let good = series(&[("__name__", "good")], &[(NOW.0, 1.0)]);
    let nameless = series(&[("job", "x")], &[(NOW.0, 1.0)]);
    let future = series(&[("__name__", "future")], &[(NOW.0 + 86_400_000, 1.0)]);
    let reply = remote_write(&router, vec![good, nameless, future]).await;
    assert_eq!(reply.status, StatusCode::BAD_REQUEST);
    assert_eq!(ask(&router, "/api/v1/query", &[("query", "good")]).await.json()["data"]["result"][0]["value"][1], "1");

    let same = remote_write(&router, vec![series(&[("__name__", "good")], &[(NOW.0, 1.0)])]).await;
    assert_eq!(same.status, StatusCode::NO_CONTENT, "the same sample again is fine");
    let other = remote_write(&router, vec![series(&[("__name__", "good")], &[(NOW.0, 2.0)])]).await;
    assert_eq!(other.status, StatusCode::BAD_REQUEST);
    assert!(other.text().contains("1 stays, 2 is refused"), "{}", other.text());
}

#[tokio::test]
async fn federation_gives_the_latest_samples_as_text() {
    let (router, _) = server();
    with_metrics(&router).await;
    let reply = ask(&router, "/federate", &[("match[]", "{status=\"500\"}")]).await;
    assert_eq!(
        reply.text(),
        "# TYPE http_requests_total untyped\n\
         http_requests_total{service=\"backend\",status=\"500\",instance=\"\"} 150 1706189400000\n"
    );
}

#[tokio::test]
async fn a_query_is_printed_in_canonical_form_and_as_a_tree() {
    let (router, _) = server();
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let reply = post(&router, "/api/v1/parse_query", &form, "query=1").await;
    assert_eq!(reply.json(), json!({"status": "success", "data": {"type": "numberLiteral", "val": "1"}}));
    let reply = ask(&router, "/api/v1/format_query", &[("query", "sum(rate(a[5m]))by(job)")]).await;
    assert_eq!(reply.json(), json!({"status": "success", "data": "sum by (job) (rate(a[5m]))"}));
}

#[tokio::test]
async fn stats_come_on_request() {
    let (router, _) = server();
    with_metrics(&router).await;
    let samples = async |path: &str, parameters: &[(&str, &str)]| {
        let reply = ask(&router, path, parameters).await.json();
        assert!(reply["data"]["stats"]["timings"]["execTotalTime"].is_number(), "{reply}");
        reply["data"]["stats"]["samples"].clone()
    };
    let at = |query| [("query", query), ("stats", "true"), ("time", "1706189400")];
    for (query, total) in [
        ("http_requests_total", 2),
        ("sum(rate(http_requests_total[1m]))", 8),
        ("http_requests_total offset 1d", 0),
        ("http_requests_total[30s] @ end()", 4),
        ("http_requests_total + 1", 2),
        ("max_over_time(http_requests_total[1m:30s])", 4),
        ("vector(1)", 0),
    ] {
        let found = samples("/api/v1/query", &at(query)).await;
        assert_eq!(found, json!({"totalQueryableSamples": total, "peakSamples": total}), "{query}");
    }
    let over = [
        ("query", "http_requests_total"),
        ("stats", "all"),
        ("start", "1706189099"),
        ("end", "1706189101"),
        ("step", "1"),
    ];
    let found = samples("/api/v1/query_range", &over).await;
    let steps = json!([[1_706_189_099, 0], [1_706_189_100, 2], [1_706_189_101, 2]]);
    assert_eq!(found, json!({"totalQueryableSamplesPerStep": steps, "totalQueryableSamples": 4, "peakSamples": 2}));
    let plain = ask(&router, "/api/v1/query", &[("query", "1")]).await.json();
    assert!(plain["data"].get("stats").is_none());
}

/// Remote write 2.0, as much as tests need.
#[derive(Clone, PartialEq, Message)]
struct Request2 {
    #[prost(string, repeated, tag = "4")]
    symbols: Vec<String>,
    #[prost(message, repeated, tag = "5")]
    timeseries: Vec<TimeSeries2>,
}

#[derive(Clone, PartialEq, Message)]
struct TimeSeries2 {
    #[prost(uint32, repeated, tag = "1")]
    labels: Vec<u32>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
}

#[tokio::test]
async fn remote_write_2_is_told_what_was_written() {
    let (router, _) = server();
    let symbols = ["", "__name__", "good", "job", "x"].map(str::to_owned).to_vec();
    let sample = |value| Sample { value, timestamp: NOW.0 };
    let good =
        TimeSeries2 { labels: vec![1, 2], samples: vec![sample(1.0), Sample { value: 2.0, timestamp: NOW.0 - 1 }] };
    let nameless = TimeSeries2 { labels: vec![3, 4], samples: vec![sample(1.0)] };
    let conflict = TimeSeries2 { labels: vec![1, 2], samples: vec![sample(5.0)] };
    for (name, timeseries, status, written) in [
        ("good", vec![good.clone()], 204, "2"),
        ("the same again", vec![good.clone()], 204, "2"),
        ("partly", vec![good, nameless], 400, "2"),
        ("conflict", vec![conflict], 400, "0"),
        ("nothing", vec![], 204, "0"),
    ] {
        let body = snappy(&Request2 { symbols: symbols.clone(), timeseries });
        let headers = [
            ("content-type", "application/x-protobuf;proto=io.prometheus.write.v2.Request"),
            ("content-encoding", "snappy"),
            ("x-prometheus-remote-write-version", "2.0.0"),
        ];
        let reply = post(&router, "/api/v1/write", &headers, body).await;
        assert_eq!(reply.status.as_u16(), status, "{name}: {}", reply.text());
        assert_eq!(reply.headers["x-prometheus-remote-write-samples-written"], written, "{name}");
        assert_eq!(reply.headers["x-prometheus-remote-write-histograms-written"], "0", "{name}");
        assert_eq!(reply.headers["x-prometheus-remote-write-exemplars-written"], "0", "{name}");
    }
    let broken = [("content-type", "application/x-protobuf;proto=io.prometheus.write.v2.Request")];
    let reply = post(&router, "/api/v1/push", &broken, "not snappy").await;
    assert_eq!(reply.status, StatusCode::BAD_REQUEST);
    assert_eq!(reply.headers["x-prometheus-remote-write-samples-written"], "0");
    let reply = remote_write(&router, vec![]).await;
    assert!(
        reply.headers.get("x-prometheus-remote-write-samples-written").is_none(),
        "protocol 1.0 knows no such header"
    );
}

#[tokio::test]
async fn each_sender_is_told_how_much_of_its_own_was_refused() {
    let store = Store::in_memory();
    let mut intake = ingest::Intake::new(ingest::Limits::default());
    let batch = |count: i64, value: f64| {
        let samples = (0..count).map(|k| signal::Sample { at: Timestamp(NOW.0 - k), value }).collect();
        let labels = signal::Labels::from_pairs([("__name__", "m")]);
        let series = vec![signal::SeriesWrite { labels, samples, ..signal::SeriesWrite::default() }];
        signal::WriteBatch { series, ..signal::WriteBatch::default() }
    };
    store.append(&[batch(20, 1.0)]).unwrap();
    let (requests, answers): (Vec<_>, Vec<_>) = [batch(21, 2.0), batch(1, 1.0), batch(22, 3.0)]
        .map(|batch| {
            let (reply, answer) = tokio::sync::oneshot::channel();
            (crate::WriteRequest { batch: batch.into(), reply }, answer)
        })
        .into_iter()
        .unzip();
    let turn = crate::commit(requests, &mut intake, &store, NOW);
    let counts = turn.rejected.iter().map(|one| (one.reason, one.count)).collect::<Vec<_>>();
    assert_eq!((turn.samples, counts), (3, vec![("conflicting_sample", 20), ("conflicting_sample", 21)]));
    let mut told = Vec::new();
    for answer in answers {
        let written = answer.await.unwrap().unwrap();
        let kept = written.kept().samples;
        let text = crate::prometheus::sentence(&crate::prometheus::refused(written)).unwrap_or_default();
        told.push(format!("{kept} kept {text}"));
    }
    assert_eq!(
        told,
        [
            "1 kept duplicate sample for timestamp 2024-01-25T13:30:00Z of series m: 1 stays, 2 is refused \
             (conflicting_sample, 20 refused)",
            "1 kept ",
            "1 kept duplicate sample for timestamp 2024-01-25T13:30:00Z of series m: 1 stays, 3 is refused \
             (conflicting_sample, 21 refused)",
        ]
    );
}

#[tokio::test]
async fn native_histograms_are_shown_whole_and_calculated_with() {
    let (router, store) = server();
    let histogram = |at: i64, scale: f64| {
        let positive = signal::Buckets {
            spans: vec![signal::BucketSpan { offset: 1, length: 2 }],
            counts: vec![scale, 3.0 * scale],
        };
        let histogram =
            signal::Histogram { count: 4.0 * scale, sum: 10.0 * scale, positive, ..signal::Histogram::default() };
        signal::HistogramSample { at: Timestamp(at), histogram: Arc::new(histogram) }
    };
    let labels = signal::Labels::from_pairs([("__name__", "latency")]);
    let histograms = vec![histogram(NOW.0 - 15_000, 1.0), histogram(NOW.0, 2.0)];
    let one = signal::SeriesWrite { labels, histograms, ..signal::SeriesWrite::default() };
    store.append(&[WriteBatch { series: vec![one], ..WriteBatch::default() }]).unwrap();
    let shown = |scale: u32| {
        json!({"count": (4 * scale).to_string(), "sum": (10 * scale).to_string(), "buckets": [
            [0, "1", "2", scale.to_string()], [0, "2", "4", (3 * scale).to_string()],
        ]})
    };
    let metric = json!({"__name__": "latency"});
    for (query, want) in [
        ("latency", json!([{"metric": metric, "histogram": [NOW_S, shown(2)]}])),
        ("latency[20s]", json!([{"metric": metric, "histograms": [[NOW_S - 15, shown(1)], [NOW_S, shown(2)]]}])),
        ("histogram_count(latency)", json!([{"metric": {}, "value": [NOW_S, "8"]}])),
        ("latency * 2", json!([{"metric": {}, "histogram": [NOW_S, shown(4)]}])),
    ] {
        let reply = ask(&router, "/api/v1/query", &[("query", query)]).await.json();
        assert_eq!(reply["data"]["result"], want, "{query}");
    }
    let over = [("query", "latency"), ("start", "1706189385"), ("end", "1706189400"), ("step", "15")];
    let reply = ask(&router, "/api/v1/query_range", &over).await.json();
    let points = json!([[NOW_S - 15, shown(1)], [NOW_S, shown(2)]]);
    assert_eq!(reply["data"]["result"], json!([{"metric": metric, "histograms": points}]));
    let counted = [("query", "rate(latency[1m]) + latency"), ("stats", "1")];
    let reply = ask(&router, "/api/v1/query", &counted).await.json();
    assert_eq!(reply["data"]["stats"]["samples"]["totalQueryableSamples"], 3);
    let text = ask(&router, "/federate", &[("match[]", "latency")]).await.text();
    assert_eq!(text, "", "the text format has no place for them");
}

#[tokio::test]
async fn experiments_can_be_switched_off() {
    let (mut parts, _) = parts();
    parts.features = query::promql::Features::STABLE;
    let careful = router(parts);
    let (open, _) = server();
    for path in ["/api/v1/query", "/api/v1/parse_query", "/api/v1/format_query"] {
        let ask_for = [("query", "limitk(1, up)")];
        assert_eq!(ask(&careful, path, &ask_for).await.status, StatusCode::BAD_REQUEST, "{path}");
        assert_eq!(ask(&open, path, &ask_for).await.status, StatusCode::OK, "{path}");
    }
}
