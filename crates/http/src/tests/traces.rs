use axum::http::StatusCode;
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::trace::v1::TracesData;
use serde_json::json;

use super::*;
use crate::reply::RpcStatus;

const ID: &str = "0af7651916cd43dd8448eb211c80319c";
const JSON: (&str, &str) = ("content-type", "application/json");

/// A request of the sample backend with a slow insert below it.
pub(super) fn export() -> Value {
    let ns = |ms: i64| ((NOW.0 + ms) * 1_000_000).to_string();
    json!({"resourceSpans": [{
        "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "backend"}}]},
        "scopeSpans": [{"scope": {"name": "aegis"}, "spans": [
            {"traceId": ID, "spanId": "b7ad6b7169203331", "name": "http.request", "kind": 2,
             "startTimeUnixNano": ns(-2400), "endTimeUnixNano": ns(-90), "status": {"code": 2, "message": "pool"},
             "attributes": [{"key": "http.status_code", "value": {"intValue": "503"}}]},
            {"traceId": ID, "spanId": "00f067aa0ba902b7", "parentSpanId": "b7ad6b7169203331", "name": "db.insert",
             "kind": 3, "startTimeUnixNano": ns(-2390), "endTimeUnixNano": ns(-90), "unknownField": 1,
             "events": [{"timeUnixNano": ns(-100), "name": "timeout"}],
             "attributes": [{"key": "db.pool.wait_ms", "value": {"doubleValue": 2295.5}}]},
        ]}],
    }]})
}

pub(super) async fn with_trace(router: &Router) {
    let body = gzip(export().to_string().as_bytes());
    let reply = post(router, "/v1/traces", &[JSON, ("content-encoding", "gzip")], body).await;
    assert_eq!((reply.status, reply.text().as_str()), (StatusCode::OK, "{}"));
}

#[tokio::test]
async fn an_exported_trace_is_found_by_its_id() {
    let (router, _) = server();
    with_trace(&router).await;
    let span = json!({
        "traceId": "CvdlGRbNQ92ESOshHIAxnA==", "spanId": "t61rcWkgMzE=", "name": "http.request",
        "kind": "SPAN_KIND_SERVER",
        "startTimeUnixNano": "1706189397600000000", "endTimeUnixNano": "1706189399910000000",
        "attributes": [{"key": "http.status_code", "value": {"intValue": "503"}}],
        "status": {"code": "STATUS_CODE_ERROR", "message": "pool"},
    });
    for (path, at) in [
        (format!("/api/traces/{ID}"), "/batches/0"),
        (format!("/tempo/api/traces/{ID}"), "/batches/0"),
        (format!("/api/v2/traces/{ID}"), "/trace/resourceSpans/0"),
    ] {
        let reply = get(&router, &path).await.json();
        let group = reply.pointer(at).unwrap_or_else(|| panic!("{reply}"));
        assert_eq!(
            group["resource"],
            json!({"attributes": [{"key": "service.name", "value": {"stringValue": "backend"}}]})
        );
        assert_eq!(group["scopeSpans"][0]["scope"], json!({"name": "aegis"}));
        assert_eq!(group["scopeSpans"][0]["spans"][0], span, "{path}");
        assert_eq!(group["scopeSpans"][0]["spans"][1]["events"][0]["name"], "timeout");
    }
    let request = Request::get(format!("/api/traces/{ID}")).header("accept", "application/protobuf");
    let reply = send(&router, request.body(Body::empty()).unwrap()).await;
    assert_eq!(reply.headers["content-type"], "application/protobuf");
    let back = TracesData::decode(reply.bytes.as_slice()).unwrap();
    assert_eq!(back.resource_spans[0].scope_spans[0].spans[1].name, "db.insert");
}

#[tokio::test]
async fn protobuf_in_protobuf_out() {
    let (router, _) = server();
    let request: ExportTraceServiceRequest = serde_json::from_value(export()).unwrap();
    let headers = [("content-type", "application/x-protobuf")];
    let reply = post(&router, "/otlp/v1/traces", &headers, request.encode_to_vec()).await;
    assert_eq!(reply.status, StatusCode::OK);
    let response = ExportTraceServiceResponse::decode(reply.bytes.as_slice()).unwrap();
    assert_eq!(response.partial_success, None);
    assert_eq!(get(&router, &format!("/api/traces/{ID}")).await.status, StatusCode::OK);

    let reply = post(&router, "/v1/traces", &headers, &b"\xff\xff\xff"[..]).await;
    assert_eq!(reply.status, StatusCode::BAD_REQUEST);
    let status = RpcStatus::decode(reply.bytes.as_slice()).unwrap();
    assert_eq!(status.code, 3);
    assert!(status.message.contains("protobuf"), "{}", status.message);
}

#[tokio::test]
async fn what_is_refused_of_an_export_is_counted() {
    let (router, _) = server();
    let mut body = export();
    body["resourceSpans"][0]["scopeSpans"][0]["spans"][1]["spanId"] = json!("00");
    let reply = post(&router, "/v1/traces", &[JSON], body.to_string()).await;
    assert_eq!(reply.status, StatusCode::OK);
    assert_eq!(reply.json()["partialSuccess"]["rejectedSpans"], "1");
    assert!(reply.json()["partialSuccess"]["errorMessage"].as_str().unwrap().contains("db.insert"), "{}", reply.text());
}

#[tokio::test]
async fn metrics_and_logs_arrive_by_otlp_too() {
    let (router, _) = server();
    let resource = json!({"attributes": [{"key": "service.name", "value": {"stringValue": "backend"}}]});
    let ns = (NOW.0 * 1_000_000).to_string();
    let metrics = json!({"resourceMetrics": [{"resource": resource, "scopeMetrics": [{"metrics": [
        {"name": "queue.depth", "unit": "1", "gauge": {"dataPoints": [{"timeUnixNano": ns, "asDouble": 4.5}]}},
        {"name": "lost", "gauge": {"dataPoints": [{"timeUnixNano": ns, "asDouble": "many"}]}},
    ]}]}]});
    let reply = post(&router, "/v1/metrics", &[JSON], metrics.to_string()).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
    assert!(reply.json()["partialSuccess"]["errorMessage"].as_str().is_some_and(|text| text.contains("lost")));
    let found = ask(&router, "/api/v1/query", &[("query", "{__name__=~\"queue_depth.*\"}")]).await.json();
    assert_eq!(found["data"]["result"][0]["value"][1], "4.5", "{found}");

    let logs = json!({"resourceLogs": [{"resource": resource, "scopeLogs": [{"logRecords": [
        {"timeUnixNano": ns, "severityText": "ERROR", "body": {"stringValue": "Connection pool exhausted"}},
    ]}]}]});
    let reply = post(&router, "/otlp/v1/logs", &[JSON], logs.to_string()).await;
    assert_eq!((reply.status, reply.text().as_str()), (StatusCode::OK, "{}"));
    let parameters = [("query", "{service_name=\"backend\"}"), ("end", "1706189401")];
    let found = ask(&router, "/loki/api/v1/query_range", &parameters).await.json();
    assert_eq!(found["data"]["result"][0]["values"][0][1], "Connection pool exhausted", "{found}");
}

#[tokio::test]
async fn traces_are_searched_and_their_tags_listed() {
    let (router, _) = server();
    with_trace(&router).await;
    for parameters in [
        &[("q", "{ resource.service.name = \"backend\" && name = \"db.insert\" && duration > 1s }")][..],
        &[
            ("tags", "service.name=backend name=db.insert"),
            ("minDuration", "1s"),
            ("start", "1706189000"),
            ("end", "1706189500"),
        ],
    ] {
        let reply = ask(&router, "/api/search", parameters).await;
        let body = reply.json();
        let hit = &body["traces"][0];
        assert_eq!(hit["traceID"], ID, "{}", reply.text());
        assert_eq!(hit["rootServiceName"], "backend");
        assert_eq!(hit["rootTraceName"], "http.request");
        assert_eq!(hit["durationMs"], 2310);
        assert_eq!(hit["spanSet"]["matched"], 1);
        assert_eq!(hit["spanSets"][0]["spans"][0]["spanID"], "00f067aa0ba902b7");
        assert_eq!(hit["spanSets"][0]["spans"][0]["durationNanos"], "2300000000");
        assert_eq!(hit["serviceStats"]["backend"], json!({"spanCount": 2, "errorCount": 1}));
    }
    let none = ask(&router, "/api/search", &[("q", "{ name = \"other\" }")]).await.json();
    assert_eq!(none["traces"], json!([]));

    let tags = get(&router, "/api/search/tags").await.json();
    assert!(tags["tagNames"].as_array().unwrap().contains(&json!("http.status_code")), "{tags}");
    let tags = get(&router, "/api/v2/search/tags?scope=resource").await.json();
    assert_eq!(tags["scopes"], json!([{"name": "resource", "tags": ["service.name"]}]));
    let values = get(&router, "/api/search/tag/service.name/values").await.json();
    assert_eq!(values["tagValues"], json!(["backend"]));
    let values = get(&router, "/api/v2/search/tag/span.http.status_code/values").await.json();
    assert_eq!(values["tagValues"], json!([{"type": "int", "value": "503"}]));
    let values = get(&router, "/api/v2/search/tag/name/values").await.json();
    assert_eq!(values["tagValues"].as_array().unwrap().len(), 2, "{values}");
}
