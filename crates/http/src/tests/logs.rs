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
        (r#"{job="aegis-backend"} | json | duration_ms > 1000"#, 2),
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
    let fields = ask(&router, "/loki/api/v1/detected_fields", &[("query", "{job=\"aegis-backend\"}")]).await.json();
    assert_eq!(
        fields["fields"][0],
        json!({"label": "duration_ms", "type": "int", "cardinality": 2, "parsers": ["json"], "jsonPath": ["duration_ms"]})
    );
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
