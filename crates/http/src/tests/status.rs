use std::collections::BTreeMap;
use std::io::Read as _;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::http::StatusCode;
use axum::routing;
use serde_json::json;

use super::*;
use crate::{AlertState, AlertView, Health, RuleGroupView, RuleKind, RuleView, TargetView};

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn group() -> RuleGroupView {
    let alert = AlertView {
        labels: signal::Labels::from_pairs([("alertname", "HighAPIErrorRate"), ("service", "backend")]),
        annotations: map(&[("summary", "20% of requests fail")]),
        state: AlertState::Firing,
        active_at: NOW,
        keep_firing_since: None,
        value: 0.2,
    };
    let alerting = RuleView {
        name: "HighAPIErrorRate".to_owned(),
        query: "errors > 0.05".to_owned(),
        labels: map(&[("severity", "critical")]),
        health: Health::Good,
        last_error: String::new(),
        evaluation_time: Duration::from_millis(2),
        last_evaluation: Some(NOW),
        kind: RuleKind::Alerting {
            hold: Duration::from_secs(60),
            keep_firing: Duration::ZERO,
            annotations: map(&[("summary", "{{ $value }} fail")]),
            alerts: vec![alert],
        },
    };
    let recording = RuleView {
        name: "job:up:sum".to_owned(),
        query: "sum by (job) (up)".to_owned(),
        labels: BTreeMap::new(),
        health: Health::Bad,
        last_error: "many-to-many".to_owned(),
        evaluation_time: Duration::ZERO,
        last_evaluation: None,
        kind: RuleKind::Recording,
    };
    RuleGroupView {
        name: "mission".to_owned(),
        file: "built-in".to_owned(),
        interval: Duration::from_secs(15),
        limit: 0,
        evaluation_time: Duration::from_millis(3),
        last_evaluation: Some(NOW),
        rules: vec![alerting, recording],
    }
}

#[tokio::test]
async fn rules_alerts_and_targets_show_what_the_shell_filled_in() {
    let (parts, _) = parts();
    parts.views.update(|view| {
        view.groups = vec![group()];
        view.targets = vec![TargetView {
            labels: signal::Labels::from_pairs([("job", "backend")]),
            scrape_pool: "backend".to_owned(),
            scrape_url: "http://127.0.0.1:1/metrics".to_owned(),
            health: Health::Good,
            last_scrape: Some(NOW),
            global_url: "http://here:1/metrics".to_owned(),
            scrape_interval: Duration::from_secs(15),
            scrape_timeout: Duration::from_secs(10),
            ..TargetView::default()
        }];
        view.dropped_targets = vec![("other".to_owned(), signal::Labels::from_pairs([("__address__", "x:1")]))];
        view.dropped_target_counts = [("backend".to_owned(), 0), ("other".to_owned(), 3)].into();
        view.flags = map(&[("listen", "127.0.0.1:4300")]);
        view.config_yaml = "store:\n".to_owned();
    });
    let router = router(parts);
    let alert = json!({
        "labels": {"alertname": "HighAPIErrorRate", "service": "backend"},
        "annotations": {"summary": "20% of requests fail"},
        "state": "firing", "activeAt": "2024-01-25T13:30:00Z", "value": "2e-01",
    });
    assert_eq!(get(&router, "/api/v1/alerts").await.json()["data"], json!({"alerts": [alert]}));
    assert_eq!(
        get(&router, "/api/v1/rules").await.json()["data"]["groups"],
        json!([{
            "name": "mission", "file": "built-in", "interval": 15, "limit": 0, "evaluationTime": 0.003,
            "lastEvaluation": "2024-01-25T13:30:00Z",
            "rules": [
                {"state": "firing", "name": "HighAPIErrorRate", "query": "errors > 0.05", "duration": 60,
                 "keepFiringFor": 0, "labels": {"severity": "critical"},
                 "annotations": {"summary": "{{ $value }} fail"}, "alerts": [alert], "health": "ok",
                 "evaluationTime": 0.002, "lastEvaluation": "2024-01-25T13:30:00Z", "type": "alerting"},
                {"name": "job:up:sum", "query": "sum by (job) (up)", "labels": {}, "health": "err",
                 "lastError": "many-to-many", "evaluationTime": 0, "lastEvaluation": "0001-01-01T00:00:00Z",
                 "type": "recording"},
            ],
        }])
    );
    let count = |reply: Reply| reply.json()["data"]["groups"][0]["rules"].as_array().map_or(0, Vec::len);
    for (filter, rules) in [
        ("type=alert", 1),
        ("type=record", 1),
        ("rule_name[]=job:up:sum", 1),
        ("rule_group[]=other", 0),
        ("file[]=built-in", 2),
        ("match[]={severity=\"critical\"}", 1),
        ("group_limit=1", 2),
        ("group_limit=1&group_next_token=none", 0),
    ] {
        let filter = filter.replace('"', "%22").replace('{', "%7B").replace('}', "%7D");
        assert_eq!(count(get(&router, &format!("/api/v1/rules?{filter}")).await), rules, "{filter}");
    }
    let targets = get(&router, "/api/v1/targets").await.json();
    assert_eq!(
        targets["data"]["activeTargets"][0],
        json!({
            "discoveredLabels": {"__scrape_interval__": "15s", "__scrape_timeout__": "10s"},
            "labels": {"job": "backend"}, "scrapePool": "backend", "scrapeUrl": "http://127.0.0.1:1/metrics",
            "globalUrl": "http://here:1/metrics", "lastError": "", "lastScrape": "2024-01-25T13:30:00Z",
            "lastScrapeDuration": 0, "health": "up", "scrapeInterval": "15s", "scrapeTimeout": "10s",
        })
    );
    assert_eq!(targets["data"]["droppedTargetCounts"], json!({"backend": 0, "other": 3}));
    let dropped = json!([{"discoveredLabels": {"__address__": "x:1"}, "scrapePool": "other"}]);
    assert_eq!(targets["data"]["droppedTargets"], dropped);
    for (filter, active, dropped) in
        [("state=active", 1, 0), ("state=dropped", 0, 1), ("scrapePool=other", 0, 1), ("scrapePool=nobody", 0, 0)]
    {
        let data = get(&router, &format!("/api/v1/targets?{filter}")).await.json()["data"].clone();
        let count = |name: &str| data[name].as_array().unwrap().len();
        assert_eq!((count("activeTargets"), count("droppedTargets")), (active, dropped), "{filter}");
    }

    assert_eq!(get(&router, "/api/v1/status/flags").await.json()["data"], json!({"listen": "127.0.0.1:4300"}));
    assert_eq!(get(&router, "/api/v1/status/config").await.json()["data"], json!({"yaml": "store:\n"}));
    assert_eq!(get(&router, "/api/v1/scrape_pools").await.json()["data"], json!({"scrapePools": ["backend", "other"]}));
}

#[tokio::test]
async fn a_target_shows_what_its_page_says_about_its_metrics() {
    let (parts, _) = parts();
    let family = |name: &str| signal::MetricMetadata {
        name: name.to_owned(),
        kind: signal::MetricKind::Histogram,
        help: "Time.".to_owned(),
        unit: String::new(),
    };
    parts.views.update(|view| {
        let target = |job, families: &[&str]| TargetView {
            labels: signal::Labels::from_pairs([("job", job)]),
            metadata: Arc::new(families.iter().copied().map(family).collect()),
            ..TargetView::default()
        };
        view.targets = vec![target("a", &["latency", "size"]), target("b", &["latency"])];
    });
    let router = router(parts);
    let entry = |job, metric| json!({"target": {"job": job}, "metric": metric, "type": "histogram", "help": "Time.", "unit": ""});
    let nameless = |job| json!({"target": {"job": job}, "type": "histogram", "help": "Time.", "unit": ""});
    for (filter, want) in [
        ("", json!([entry("a", "latency"), entry("a", "size"), entry("b", "latency")])),
        ("?limit=1", json!([entry("a", "latency"), entry("a", "size")])),
        ("?limit=0", json!([])),
        ("?metric=latency", json!([nameless("a"), nameless("b")])),
        ("?metric=other", json!([])),
        ("?match_target=%7Bjob%3D%22b%22%7D", json!([entry("b", "latency")])),
    ] {
        let reply = get(&router, &format!("/api/v1/targets/metadata{filter}")).await;
        assert_eq!(reply.json()["data"], want, "{filter}");
    }
}

#[tokio::test]
async fn status_routes_say_who_is_there() {
    let (router, _) = server();
    with_metrics(&router).await;
    assert_eq!(get(&router, "/api/v1/status/buildinfo").await.json()["data"]["version"], "3.5.0+aegis");
    assert_eq!(get(&router, "/loki/api/v1/status/buildinfo").await.json()["version"], "3.5.0+aegis");
    assert_eq!(get(&router, "/api/status/buildinfo").await.json()["version"], "2.8.0+aegis");
    assert_eq!(get(&router, "/api/v1/status/runtimeinfo").await.json()["data"]["serverTime"], "2024-01-25T13:30:00Z");
    let runtime = get(&router, "/api/v1/status/runtimeinfo").await.json()["data"].clone();
    for name in [
        "startTime",
        "CWD",
        "hostname",
        "reloadConfigSuccess",
        "lastConfigTime",
        "corruptionCount",
        "goroutineCount",
        "GOMAXPROCS",
        "GOMEMLIMIT",
        "GOGC",
        "GODEBUG",
        "storageRetention",
    ] {
        assert!(!runtime[name].is_null(), "{name}: {runtime}");
    }
    let features = get(&router, "/api/v1/features").await.json()["data"].clone();
    assert_eq!((&features["api"]["query_stats"], &features["api"]["admin"]), (&json!(true), &json!(false)));
    let tsdb = get(&router, "/api/v1/status/tsdb?limit=1").await.json()["data"].clone();
    assert_eq!(tsdb["headStats"]["numLabelPairs"], 4);
    assert_eq!(tsdb["seriesCountByLabelValuePair"], json!([{"name": "__name__=http_requests_total", "value": 2}]));
    assert_eq!(tsdb["memoryInBytesByLabelName"], json!([{"name": "__name__", "value": 19}]));
    assert_eq!(tsdb["headStats"]["numSeries"], 2);
    assert_eq!(tsdb["seriesCountByMetricName"], json!([{"name": "http_requests_total", "value": 2}]));
    assert_eq!(tsdb["labelValueCountByLabelName"], json!([{"name": "status", "value": 2}]));
    for (path, text) in [
        ("/-/healthy", "Aegis is Healthy.\n"),
        ("/-/ready", "Aegis is Ready.\n"),
        ("/ready", "ready\n"),
        ("/api/echo", "echo"),
        ("/tempo/api/echo", "echo"),
    ] {
        assert_eq!(get(&router, path).await.text(), text, "{path}");
    }
}

#[tokio::test]
async fn nothing_but_health_answers_before_the_store_is_open() {
    let (mut parts, _) = parts();
    parts.extra = Router::new().route("/api/v1/incidents", routing::get(|| async { "[]" }));
    let is_ready = Arc::clone(&parts.is_ready);
    is_ready.store(false, Ordering::Release);
    let router = router(parts);
    for (path, status) in [
        ("/-/healthy", StatusCode::OK),
        ("/metrics", StatusCode::OK),
        ("/-/ready", StatusCode::SERVICE_UNAVAILABLE),
        ("/ready", StatusCode::SERVICE_UNAVAILABLE),
        ("/api/v1/query?query=1", StatusCode::SERVICE_UNAVAILABLE),
        ("/loki/api/v1/labels", StatusCode::SERVICE_UNAVAILABLE),
    ] {
        assert_eq!(get(&router, path).await.status, status, "{path}");
    }
    is_ready.store(true, Ordering::Release);
    assert_eq!(get(&router, "/api/v1/query?query=1").await.status, StatusCode::OK);
    assert_eq!(get(&router, "/api/v1/incidents").await.text(), "[]");
}

#[tokio::test]
async fn browsers_may_read_telemetry_but_not_act() {
    let (mut parts, _) = parts();
    parts.extra = Router::new().route("/api/v1/incidents", routing::get(|| async { "[]" }));
    let router = router(parts);
    let reply = get(&router, "/api/v1/query?query=1").await;
    assert_eq!(reply.headers["access-control-allow-origin"], "*");
    let options = Request::options("/loki/api/v1/query").body(Body::empty()).unwrap();
    assert_eq!(send(&router, options).await.status, StatusCode::NO_CONTENT);
    assert!(get(&router, "/api/v1/incidents").await.headers.get("access-control-allow-origin").is_none());
}

#[tokio::test]
async fn answers_are_compressed_on_request() {
    let (router, _) = server();
    with_metrics(&router).await;
    let path = "/api/v1/query_range?query=http_requests_total&start=1706189100&end=1706189400&step=1";
    let request = Request::get(path).header("accept-encoding", "gzip").body(Body::empty()).unwrap();
    let reply = send(&router, request).await;
    assert_eq!(reply.headers["content-encoding"], "gzip");
    let plain = ingest::compression::gzip(&reply.bytes, 1 << 20).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&plain).unwrap()["status"], "success");
    let request = Request::get(path).header("accept-encoding", "deflate").body(Body::empty()).unwrap();
    let reply = send(&router, request).await;
    assert_eq!(reply.headers["content-encoding"], "deflate");
    let mut plain = Vec::new();
    flate2::read::ZlibDecoder::new(reply.bytes.as_slice()).read_to_end(&mut plain).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&plain).unwrap()["status"], "success");
}

#[tokio::test]
async fn a_panicking_handler_is_a_500() {
    let (mut parts, _) = parts();
    async fn breaks() -> &'static str {
        panic!("on purpose")
    }
    parts.extra = Router::new().route("/breaks", routing::get(breaks));
    let router = router(parts);
    assert_eq!(get(&router, "/breaks").await.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(get(&router, "/-/healthy").await.status, StatusCode::OK);
}
