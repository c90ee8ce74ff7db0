use axum::http::StatusCode;
use serde_json::json;

use super::*;

const PUSH: &str = "/loki/api/v1/push";
const JSON: (&str, &str) = ("content-type", "application/json");

/// Three lines of the sample backend, one second apart, the last at NOW.
async fn with_logs(router: &Router) {
    let ns = |back: i64| ((NOW_S - back) * 1_000_000_000).to_string();
    let body = json!({"streams": [{"stream": {"job": "aegis-backend", "service": "backend"}, "values": [
        [ns(2), r#"{"level":"info","message":"User created successfully","duration_ms":45}"#],
        [ns(1), r#"{"level":"error","message":"Error: Connection pool exhausted","duration_ms":2300}"#],
        [ns(0), "plain", {"trace_id": "abc"}],
    ]}]});
    let reply = post(router, PUSH, &[JSON, ("content-encoding", "gzip")], gzip(body.to_string().as_bytes())).await;
    assert_eq!(reply.status, StatusCode::NO_CONTENT, "{}", reply.text());
}

fn span() -> [(&'static str, &'static str); 2] {
    [("start", "1706189300"), ("end", "1706189401")]
}

async fn query_range(router: &Router, query: &str, more: &[(&str, &str)]) -> Reply {
    let mut parameters = vec![("query", query)];
    parameters.extend(span());
    parameters.extend(more);
    ask(router, "/loki/api/v1/query_range", &parameters).await
}

#[tokio::test]
async fn pushed_lines_are_found_newest_first() {
    let (router, _) = server();
    with_logs(&router).await;
    let reply = query_range(&router, r#"{job="aegis-backend"} |= "error""#, &[]).await.json();
    assert_eq!(reply["data"]["resultType"], "streams");
    assert_eq!(
        reply["data"]["result"],
        json!([{"stream": {"job": "aegis-backend", "service": "backend"}, "values": [
            ["1706189399000000000", r#"{"level":"error","message":"Error: Connection pool exhausted","duration_ms":2300}"#],
        ]}])
    );
    assert_eq!(reply["data"]["stats"]["summary"]["totalEntriesReturned"], 1);

    let reply = query_range(&router, r#"{job="aegis-backend"}"#, &[("limit", "2"), ("direction", "forward")]).await;
    let values = reply.json()["data"]["result"][0]["values"].clone();
    assert_eq!(values[0][0], "1706189398000000000");
    assert_eq!(values.as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn the_missions_queries_work() {
    let (router, _) = server();
    with_logs(&router).await;
    for (query, lines) in [
        (r#"{job="aegis-backend"} | json | duration_ms > 1000"#, 1),
        (r#"{job="aegis-backend"} | json | duration_ms > 1000 | __error__="""#, 1),
        (r#"{job="aegis-backend"} | json | level="error""#, 1),
        (r#"{job="aegis-backend"} | __timestamp__ > 1706189398"#, 2),
        (r#"{job="aegis-backend"} | __timestamp__ > 1706189400"#, 0),
    ] {
        let reply = query_range(&router, query, &[]).await;
        let found = reply.json()["data"]["result"]
            .as_array()
            .unwrap()
            .iter()
            .map(|stream| stream["values"].as_array().unwrap().len())
            .sum::<usize>();
        assert_eq!(found, lines, "{query}: {}", reply.text());
    }
}

/// The texts that Loki's clients look for.
#[tokio::test]
async fn refusals_are_worded_as_lokis() {
    let (router, _) = server();
    let lines = ("query", r#"{job="a"}"#);
    let number = ("query", "vector(1)");
    for (parameters, text) in [
        (
            vec![lines, ("limit", "99999")],
            "max entries limit per query exceeded, limit > max_entries_limit_per_query (99999 > 5000)",
        ),
        (vec![lines, ("limit", "0")], "limit must be a positive value"),
        (vec![lines, ("limit", "many")], r#"strconv.Atoi: parsing "many": invalid syntax"#),
        (vec![lines, ("direction", "Up")], "invalid direction 'Up'"),
        (vec![lines, ("interval", "-1")], "interval must be >= 0"),
        (vec![lines, ("since", "long")], r#"could not parse 'since' parameter: not a valid duration string: "long""#),
        (
            vec![lines, ("start", "noon")],
            r#"could not parse 'start' parameter: strconv.ParseInt: parsing "noon": invalid syntax"#,
        ),
        (vec![lines, ("start", "20"), ("end", "10")], "end timestamp must not be before or equal to start time"),
        (
            vec![lines, ("start", "1700000000"), ("end", "1702595601")],
            "the query time range exceeds the limit (query length: 721h0m1s, limit: 30d1h)",
        ),
        (
            vec![number, ("step", "0s")],
            "zero or negative query resolution step widths are not accepted. Try a positive integer",
        ),
        (
            vec![number, ("step", "-1")],
            "zero or negative query resolution step widths are not accepted. Try a positive integer",
        ),
        (vec![number, ("step", "x")], r#"cannot parse "x" to a valid duration"#),
        (
            vec![number, ("start", "1"), ("end", "11002"), ("step", "1")],
            "exceeded maximum resolution of 11,000 points per time series. Try increasing the value of the step parameter",
        ),
    ] {
        let reply = ask(&router, "/loki/api/v1/query_range", &parameters).await;
        assert_eq!((reply.status.as_u16(), reply.text().trim_end()), (400, text), "{parameters:?}");
        assert_eq!(reply.headers["content-type"], "text/plain; charset=utf-8");
    }
    let number = [number, ("limit", "99999")];
    assert_eq!(ask(&router, "/loki/api/v1/query_range", &number).await.status, StatusCode::OK);
}

#[tokio::test]
async fn too_many_series_and_too_little_time_are_refused() {
    let (mut parts, store) = parts();
    for number in 0..501 {
        let mut batch = line_batch(NOW_S * 1_000_000_000, "x");
        batch.streams[0].labels = signal::Labels::from_pairs([("job", "many"), ("n", &number.to_string())]);
        store.append(&[batch]).unwrap();
    }
    let query = |text| [("query", text), ("time", "1706189401")];
    let lasting =
        Parts { tap: parts.tap.clone(), ..Parts::new(parts.ingress.clone(), parts.reader.clone(), parts.now.clone()) };
    let router = router(lasting);
    let reply = ask(&router, "/loki/api/v1/query", &query(r#"count_over_time({job="many"}[1m])"#)).await;
    assert_eq!(reply.status, StatusCode::BAD_REQUEST);
    assert!(reply.text().starts_with("maximum number of series (500) reached for a single query;"), "{}", reply.text());
    let fits = ask(&router, "/loki/api/v1/query", &query(r#"count_over_time({job="many",n!="7"}[1m])"#)).await;
    assert_eq!(fits.status, StatusCode::OK);
    parts.reader = parts.reader.with_timeout(std::time::Duration::ZERO);
    let reply = ask(&crate::router(parts), "/loki/api/v1/query", &query("vector(1)")).await;
    assert_eq!(reply.status, StatusCode::GATEWAY_TIMEOUT);
    assert!(reply.text().starts_with("request timed out, decrease the duration of the request"), "{}", reply.text());
}

#[tokio::test]
async fn lines_can_be_spaced_out() {
    let (router, store) = server();
    for (second, job) in [(0, "a"), (1, "b"), (2, "a"), (3, "a"), (4, "b"), (5, "a"), (10, "a")] {
        let mut batch = line_batch((NOW_S + second) * 1_000_000_000, &second.to_string());
        batch.streams[0].labels = signal::Labels::from_pairs([("job", job)]);
        store.append(&[batch]).unwrap();
    }
    for (direction, limit, want) in
        [("forward", "100", "0 3 10"), ("forward", "2", "0 3"), ("backward", "100", "10 5 2"), ("backward", "1", "10")]
    {
        let parameters = [
            ("query", r#"{job=~".+"}"#),
            ("start", "1706189400"),
            ("end", "1706189411"),
            ("interval", "3s"),
            ("direction", direction),
            ("limit", limit),
        ];
        let reply = ask(&router, "/loki/api/v1/query_range", &parameters).await.json();
        let streams = reply["data"]["result"].as_array().unwrap().iter();
        let mut found: Vec<i64> = streams
            .flat_map(|stream| stream["values"].as_array().unwrap())
            .map(|value| value[1].as_str().unwrap().parse().unwrap())
            .collect();
        found.sort_by_key(|second| if direction == "forward" { *second } else { -second });
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(found.join(" "), want, "{direction} {limit}");
    }
}

#[tokio::test]
async fn numbers_look_as_loki_writes_them() {
    let (router, _) = server();
    for (query, path, want) in [
        ("1e21 * 1", "query", r#""resultType":"scalar","result":[1706189400500,"1000000000000000000000"]"#),
        ("vector(0.00000025)", "query", r#""result":[{"metric":{},"value":[1706189400.5,"0.00000025"]}]"#),
        ("vector(2)", "query_range", r#""values":[[1706189400.5,"2"]]"#),
    ] {
        let time = "1706189400.5";
        let parameters = [("query", query), ("time", time), ("start", time), ("end", time)];
        let reply = ask(&router, &format!("/loki/api/v1/{path}"), &parameters).await;
        assert!(reply.text().contains(want), "{query}: {}", reply.text());
    }
}

#[tokio::test]
async fn grafana_gets_categorized_labels() {
    let (router, _) = server();
    with_logs(&router).await;
    let query = form_urlencoded::Serializer::new(String::new())
        .append_pair("query", r#"{job="aegis-backend"} | json"#)
        .extend_pairs(span())
        .finish();
    let request = Request::get(format!("/loki/api/v1/query_range?{query}"))
        .header("X-Loki-Response-Encoding-Flags", "categorize-labels")
        .body(Body::empty())
        .unwrap();
    let data = send(&router, request).await.json()["data"].clone();
    assert_eq!(data["encodingFlags"], json!(["categorize-labels"]));
    let result = data["result"].as_array().unwrap();
    assert_eq!(result.len(), 1);
    assert_eq!(result[0]["stream"], json!({"job": "aegis-backend", "service": "backend"}));
    let values = result[0]["values"].as_array().unwrap();
    assert_eq!(values[0][2]["structuredMetadata"], json!({"trace_id": "abc"}));
    assert_eq!(values[1][2]["parsed"]["level"], "error");
}

#[tokio::test]
async fn metric_queries_give_vectors_and_matrices() {
    let (router, _) = server();
    with_logs(&router).await;
    let parameters = [("query", r#"sum(count_over_time({job="aegis-backend"}[1m]))"#), ("time", "1706189400")];
    let reply = ask(&router, "/loki/api/v1/query", &parameters).await.json();
    assert_eq!(reply["data"]["result"], json!([{"metric": {}, "value": [NOW_S, "3"]}]));
    assert_eq!(reply["data"]["resultType"], "vector");

    let health = ask(&router, "/loki/api/v1/query", &[("query", "vector(1)+vector(1)")]).await.json();
    assert_eq!(health["data"]["result"][0]["value"][1], "2");

    let query = r#"count_over_time({job="aegis-backend"}[1s])"#;
    let reply = query_range(&router, query, &[("start", "1706189399"), ("end", "1706189400"), ("step", "1")]).await;
    assert_eq!(reply.json()["data"]["resultType"], "matrix", "{}", reply.text());
}

#[tokio::test]
async fn labels_series_and_sizes_are_listed() {
    let (router, _) = server();
    with_logs(&router).await;
    let success = |data: Value| json!({"status": "success", "data": data});
    for (path, parameters, want) in [
        ("/loki/api/v1/labels", &[][..], success(json!(["job", "service"]))),
        ("/loki/api/v1/label/job/values", &[], success(json!(["aegis-backend"]))),
        ("/loki/api/v1/label/job/values", &[("query", "{service=\"other\"}")], success(json!([]))),
        ("/loki/loki/api/v1/label/none/values", &[], success(json!([]))),
        (
            "/loki/api/v1/series",
            &[("match[]", "{job=~\".+\"}")],
            success(json!([{"job": "aegis-backend", "service": "backend"}])),
        ),
        (
            "/loki/api/v1/index/stats",
            &[("query", "{job=\"aegis-backend\"}"), ("end", "1706189401")],
            json!({"streams": 1, "chunks": 1, "entries": 3, "bytes": 157}),
        ),
        (
            "/loki/api/v1/detected_labels",
            &[("query", "{job=\"aegis-backend\"}")],
            json!({"detectedLabels": [{"label": "job", "cardinality": 1}, {"label": "service", "cardinality": 1}]}),
        ),
        (
            "/loki/api/v1/detected_field/level/values",
            &[("query", "{job=\"aegis-backend\"}")],
            json!({"values": ["error", "info"], "limit": 100}),
        ),
        ("/loki/api/v1/format_query", &[("query", "{job=\"a\"}|=\"b\"")], success(json!("{job=\"a\"} |= \"b\""))),
    ] {
        let reply = ask(&router, path, parameters).await;
        assert_eq!(reply.json(), want, "{path}");
    }
    let volume = ask(&router, "/loki/api/v1/index/volume", &[("query", "{job=\"aegis-backend\"}")]).await.json();
    assert_eq!(volume["data"]["result"], json!([{"metric": {"job": "aegis-backend"}, "value": [NOW_S, "157"]}]));
    let by_label = [("query", "{job=\"aegis-backend\"}"), ("aggregateBy", "labels"), ("targetLabels", "service")];
    let volume = ask(&router, "/loki/api/v1/index/volume", &by_label).await.json();
    assert_eq!(volume["data"]["result"], json!([{"metric": {"service": ""}, "value": [NOW_S, "157"]}]));
}

#[tokio::test]
async fn volumes_are_counted_over_time() {
    let (router, store) = server();
    for (second, job, text) in [(0, "a", "12345"), (9, "a", "123"), (10, "b", "1"), (19, "a", "12"), (20, "a", "1")] {
        let mut batch = line_batch((NOW_S + second) * 1_000_000_000, text);
        batch.streams[0].labels = signal::Labels::from_pairs([("job", job), ("env", "test")]);
        store.append(&[batch]).unwrap();
    }
    let (start, end) = (NOW_S.to_string(), (NOW_S + 20).to_string());
    let range = [("query", "{env=\"test\"}"), ("start", &start), ("end", &end), ("step", "10s")];
    let by_job = [range.as_slice(), &[("targetLabels", "job")]].concat();
    let reply = ask(&router, "/loki/api/v1/index/volume_range", &by_job).await.json();
    assert_eq!(
        reply["data"]["result"],
        json!([
            {"metric": {"job": "a"}, "values": [[NOW_S, "8"], [NOW_S + 10, "2"], [NOW_S + 20, "1"]]},
            {"metric": {"job": "b"}, "values": [[NOW_S + 10, "1"]]},
        ])
    );
    for (parameters, want) in [
        (vec![], json!([{"metric": {"env": "test"}, "value": [NOW_S + 20, "12"]}])),
        (
            vec![("aggregateBy", "labels")],
            json!([{"metric": {"env": ""}, "value": [NOW_S + 20, "12"]}, {"metric": {"job": ""}, "value": [NOW_S + 20, "12"]}]),
        ),
        (vec![("targetLabels", "job"), ("limit", "1")], json!([{"metric": {"job": "a"}, "value": [NOW_S + 20, "11"]}])),
    ] {
        let reply = ask(&router, "/loki/api/v1/index/volume", &[&range[..3], &parameters].concat()).await.json();
        assert_eq!(reply["data"]["result"], want, "{parameters:?}");
    }
    let stats = ask(&router, "/loki/api/v1/index/stats", &[("start", start.as_str()), ("end", &end)]).await.json();
    assert_eq!(stats, json!({"streams": 2, "chunks": 2, "entries": 5, "bytes": 12}));
}

#[tokio::test]
async fn fields_are_detected_in_the_lines_that_a_query_leaves() {
    let (router, store) = server();
    let end = NOW_S * 1_000_000_000 - 1;
    for (number, text) in [
        r#"{"duration_ms":45,"http":{"status code":200},"size":"12KB","took":"1m30s","ok":true,"x":"a"}"#,
        r#"{"duration_ms":2300,"http":{"status code":500},"size":"7 MiB","took":"20ms","ok":false,"x":"1"}"#,
        r#"at=info ratio=0.5 msg="a b""#,
        "nothing to see",
    ]
    .iter()
    .enumerate()
    {
        store.append(&[line_batch(end - number as i64, text)]).unwrap();
    }
    let field = |label: &str, kind: &str, count: u32, parser: &str, path: &[&str]| {
        let mut field = json!({"label": label, "type": kind, "cardinality": count, "parsers": [parser]});
        if !path.is_empty() {
            field["jsonPath"] = json!(path);
        }
        field
    };
    let reply = ask(&router, "/loki/api/v1/detected_fields", &[("query", "{job=\"aegis-backend\"}")]).await.json();
    assert_eq!(
        reply["fields"],
        json!([
            field("at", "string", 1, "logfmt", &[]),
            field("duration_ms", "int", 2, "json", &["duration_ms"]),
            field("http_status_code", "int", 2, "json", &["http", "status code"]),
            field("msg", "string", 1, "logfmt", &[]),
            field("ok", "boolean", 2, "json", &["ok"]),
            field("ratio", "float", 1, "logfmt", &[]),
            field("size", "bytes", 2, "json", &["size"]),
            field("took", "duration", 2, "json", &["took"]),
            field("x", "string", 2, "json", &["x"]),
        ])
    );
    let query = "{job=\"aegis-backend\"} | json | duration_ms > 1000 | __error__=\"\"";
    let reply = ask(&router, "/loki/api/v1/detected_field/x/values", &[("query", query)]).await.json();
    assert_eq!(reply, json!({"values": ["1"], "limit": 100}));
}

#[tokio::test]
async fn lines_are_counted_by_pattern() {
    let (router, _) = server();
    with_logs(&router).await;
    let parameters =
        [("query", "{job=\"aegis-backend\"}"), ("start", "1706189390"), ("end", "1706189401"), ("step", "10s")];
    let reply = ask(&router, "/loki/api/v1/patterns", &parameters).await.json();
    let found: Vec<_> = reply["data"].as_array().unwrap().iter().map(|one| one["pattern"].as_str().unwrap()).collect();
    assert_eq!(found.len(), 3, "{reply}");
    let exhausted = reply["data"].as_array().unwrap().iter().find(|one| one["level"] == "error").unwrap();
    assert_eq!(
        *exhausted,
        json!({"pattern": "Error: Connection pool exhausted", "level": "error", "samples": [[1_706_189_390, 1]]})
    );
}

/// Loki's push message, as much as tests need.
#[derive(Clone, PartialEq, Message)]
struct PushRequest {
    #[prost(message, repeated, tag = "1")]
    streams: Vec<PushStream>,
}

#[derive(Clone, PartialEq, Message)]
struct PushStream {
    #[prost(string, tag = "1")]
    labels: String,
    #[prost(message, repeated, tag = "2")]
    entries: Vec<Entry>,
}

#[derive(Clone, PartialEq, Message)]
struct Entry {
    #[prost(message, optional, tag = "1")]
    timestamp: Option<When>,
    #[prost(string, tag = "2")]
    line: String,
}

#[derive(Clone, PartialEq, Message)]
struct When {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

#[tokio::test]
async fn agents_push_protobuf() {
    let (router, _) = server();
    let entry = Entry { timestamp: Some(When { seconds: NOW_S, nanos: 5 }), line: "from an agent".to_owned() };
    let request = PushRequest {
        streams: vec![PushStream { labels: r#"{job="agent", host="a\"b"}"#.to_owned(), entries: vec![entry] }],
    };
    for (path, headers) in [
        (PUSH, &[("content-type", "application/x-protobuf")][..]),
        ("/api/prom/push", &[]),
        (PUSH, &[("content-encoding", "snappy"), ("x-scope-orgid", "tenant")]),
    ] {
        let reply = post(&router, path, headers, snappy(&request)).await;
        assert_eq!(reply.status, StatusCode::NO_CONTENT, "{}", reply.text());
    }
    let reply = query_range(&router, r#"{job="agent"}"#, &[]).await.json();
    assert_eq!(
        reply["data"]["result"],
        json!([{"stream": {"job": "agent", "host": "a\"b"}, "values": [["1706189400000000005", "from an agent"]]}]),
        "the same line three times is one line"
    );
}

#[tokio::test]
async fn agents_that_are_too_fast_come_back() {
    let limits = ingest::Limits {
        max_stream_bytes_per_second: Some(10),
        max_stream_burst_bytes: Some(10),
        max_line_bytes: 20,
        ..ingest::Limits::default()
    };
    let (parts, _) = parts_within(limits);
    let router = router(parts);
    let entry = |line: &str| Entry { timestamp: Some(When { seconds: NOW_S, nanos: 5 }), line: line.to_owned() };
    let stream = |line: &str| PushStream { labels: r#"{job="agent"}"#.to_owned(), entries: vec![entry(line)] };
    for (case, line, status, text) in [
        ("more than the burst", "taken as a whole", 204, ""),
        ("nothing left", "short", 429, r#"Per stream rate limit exceeded"#),
        ("never", "this line is longer than twenty bytes", 400, "more than the limit of 20 (max_line_bytes)"),
    ] {
        let reply = post(&router, PUSH, &[], snappy(&PushRequest { streams: vec![stream(line)] })).await;
        assert_eq!((reply.status.as_u16(), reply.text().contains(text)), (status, true), "{case}: {}", reply.text());
    }
}

#[tokio::test]
async fn grafana_learns_limits_and_old_clients_are_served() {
    let (router, _) = server();
    with_logs(&router).await;
    let limits = get(&router, "/loki/api/v1/drilldown-limits").await.json();
    assert_eq!(limits["limits"]["max_entries_limit_per_query"], 5000);
    assert_eq!(limits["pattern_ingester_enabled"], true);
    assert!(get(&router, "/services").await.text().contains("querier => Running\n"));
    assert_eq!(get(&router, "/config").await.status, StatusCode::OK);
    assert_eq!(post(&router, "/flush", &[], "").await.status, StatusCode::NO_CONTENT);

    let mut parameters = vec![("query", r#"{job="aegis-backend"}"#), ("regexp", "^pl.in$")];
    parameters.extend(span());
    let reply = ask(&router, "/api/prom/query", &parameters).await.json();
    let labels = r#"{job="aegis-backend", service="backend", trace_id="abc"}"#;
    assert_eq!(
        reply["streams"],
        json!([{"labels": labels, "entries": [{"ts": "2024-01-25T13:30:00Z", "line": "plain"}]}])
    );
    assert_eq!(get(&router, "/api/prom/label").await.json(), json!({"values": ["job", "service"]}));
    assert_eq!(get(&router, "/api/prom/label/job/values").await.json(), json!({"values": ["aegis-backend"]}));
    let reply = ask(&router, "/api/prom/query", &[("query", "vector(1)")]).await;
    assert_eq!(
        (reply.status.as_u16(), reply.text().trim_end()),
        (400, "legacy endpoints only support streams result type")
    );
}

#[tokio::test]
async fn rules_are_listed_and_changed() {
    use std::sync::Mutex;

    use crate::{LogRules, LogRulesError, Namespaces};
    let kept: Arc<Mutex<Namespaces>> = Arc::default();
    let (listing, putting, removing) = (Arc::clone(&kept), Arc::clone(&kept), Arc::clone(&kept));
    let (mut parts, _) = parts();
    parts.log_rules = Some(LogRules {
        list: Arc::new(move || listing.lock().unwrap().clone()),
        put: Arc::new(move |namespace, text| {
            let group = serde_json::from_str(text).map_err(|_| LogRulesError::Invalid("not a group".to_owned()))?;
            putting.lock().unwrap().entry(namespace.to_owned()).or_default().push(group);
            Ok(())
        }),
        remove: Arc::new(move |namespace, group| {
            assert_eq!(group, None);
            removing.lock().unwrap().remove(namespace).map(drop).ok_or(LogRulesError::NoNamespace)
        }),
    });
    let router = router(parts);
    const RULES: &str = "/loki/api/v1/rules";
    let none = get(&router, RULES).await;
    assert_eq!((none.status.as_u16(), none.text().as_str()), (404, "no rule groups found\n"));
    let space = format!("{RULES}/name%20space");
    let group = r#"{"name":"g","rules":[{"record":"r","expr":"vector(1)"}]}"#;
    let put = post(&router, &space, &[("content-type", "application/yaml")], group).await;
    assert_eq!(put.status, StatusCode::ACCEPTED);
    assert_eq!(put.text(), r#"{"status":"success","data":null,"errorType":"","error":""}"#);
    let bad = post(&router, &space, &[], "{").await;
    assert_eq!((bad.status.as_u16(), bad.text().as_str()), (400, "not a group\n"));
    let foreign = [("origin", "http://elsewhere.example"), ("host", "127.0.0.1:4300")];
    assert_eq!(post(&router, &space, &foreign, group).await.status, StatusCode::FORBIDDEN);

    let listed = get(&router, RULES).await;
    assert_eq!(listed.headers["content-type"], "application/yaml");
    let yaml = "name space:\n    - name: g\n      rules:\n          - record: r\n            expr: vector(1)\n";
    assert_eq!(listed.text(), yaml);
    assert_eq!(get(&router, &space).await.text(), yaml);
    assert_eq!(get(&router, &format!("{RULES}/other")).await.status, StatusCode::NOT_FOUND);
    let one = get(&router, &format!("{space}/g")).await.text();
    assert_eq!(one, "name: g\nrules:\n    - record: r\n      expr: vector(1)\n");
    let alerts = get(&router, "/loki/prometheus/api/v1/rules?type=alert").await;
    assert_eq!(alerts.status, StatusCode::TEMPORARY_REDIRECT);
    assert_eq!(alerts.headers["location"], "/prometheus/api/v1/rules?type=alert");
    let missing = get(&router, &format!("{space}/h")).await;
    assert_eq!((missing.status.as_u16(), missing.text().as_str()), (404, "group does not exist\n"));
    for (want, text) in [(202, "success"), (404, "group namespace does not exist")] {
        let gone = send(&router, Request::delete(&space).body(Body::empty()).unwrap()).await;
        assert_eq!(gone.status.as_u16(), want);
        assert!(gone.text().contains(text));
    }
}

#[tokio::test]
async fn lines_are_deleted_and_shown_again() {
    const DELETE: &str = "/loki/api/v1/delete";
    let (parts, store) = parts();
    let without =
        Parts { tap: parts.tap.clone(), ..Parts::new(parts.ingress.clone(), parts.reader.clone(), parts.now.clone()) };
    let refused = get(&crate::router(without), DELETE).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "{}", refused.text());
    let router = router(Parts { admin: Some(crate::Admin::new(store)), ..parts });
    with_logs(&router).await;
    let count = async || {
        let reply = query_range(&router, r#"{job="aegis-backend"}"#, &[]).await.json();
        let streams = reply["data"]["result"].as_array().unwrap().iter();
        streams.map(|stream| stream["values"].as_array().unwrap().len()).sum::<usize>()
    };
    let delete = async |parameters: &[(&str, &str)]| {
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
        post(&router, &format!("{DELETE}?{query}"), &[], "").await
    };
    let query = ("query", r#"{job="aegis-backend"} |= "pool" or "User""#);
    for (parameters, want) in [
        (vec![query], "start time not set"),
        (vec![("start", "1")], "query not set"),
        (vec![query, ("start", "noon")], "invalid start time: require unix seconds or RFC3339 format"),
        (vec![query, ("start", "1"), ("end", "1706189401")], "deletes in the future are not allowed"),
        (vec![query, ("start", "2"), ("end", "1")], "start time can't be greater than end time"),
        (vec![("query", "{job="), ("start", "1")], "invalid query expression: parse error"),
        (
            vec![("query", r#"{job="a"} | json"#), ("start", "1")],
            "invalid query expression: `| json` is no line filter",
        ),
    ] {
        let reply = delete(&parameters).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST);
        assert!(reply.text().starts_with(want), "{}", reply.text());
    }
    assert_eq!(count().await, 3);
    assert_eq!(delete(&[query, ("start", "1706189300")]).await.status, StatusCode::NO_CONTENT);
    assert_eq!(count().await, 1);
    let listed = get(&router, DELETE).await.json();
    assert_eq!(
        listed,
        json!([{
            "request_id": listed[0]["request_id"], "start_time": 1_706_189_300, "end_time": NOW_S,
            "query": r#"{job="aegis-backend"} |~ "pool|User""#, "status": "received", "created_at": NOW_S,
        }])
    );
    let cancel = format!("{DELETE}?request_id={}", listed[0]["request_id"].as_str().unwrap());
    for want in [StatusCode::NO_CONTENT, StatusCode::NOT_FOUND] {
        let reply = send(&router, Request::delete(&cancel).body(Body::empty()).unwrap()).await;
        assert_eq!(reply.status, want, "{}", reply.text());
    }
    assert_eq!(count().await, 3);
}
