use axum::http::Method;

use super::*;

const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";
const PROTOBUF: &str = "application/x-protobuf";

/// Name, method, path, content type, content encoding, body, expected status, part of the expected text.
type Row = (&'static str, Method, &'static str, &'static str, &'static str, Vec<u8>, u16, &'static str);

fn rows() -> Vec<Row> {
    let get = |name, path, status, text| (name, Method::GET, path, "", "", Vec::new(), status, text);
    let post = |name, path, kind, encoding, body: &[u8], status, text| {
        (name, Method::POST, path, kind, encoding, body.to_vec(), status, text)
    };
    let bomb = gzip(&vec![b' '; 65 << 20]);
    // The first bytes of a snappy block say how long it will be: 4 GiB here.
    let snappy_bomb = b"\xff\xff\xff\xff\x0f\x00";
    vec![
        get("no query", "/api/v1/query", 400, r#"invalid parameter \"query\""#),
        get("half a query", "/api/v1/query?query=up(", 400, "1:4: parse error: unclosed left parenthesis"),
        get(
            "bad time",
            "/api/v1/query?query=up&time=noon",
            400,
            r#"invalid parameter \"time\": invalid time value for 'time': cannot parse \"noon\" to a valid timestamp"#,
        ),
        get("bad timeout", "/api/v1/query?query=up&timeout=soon", 400, r#"invalid parameter \"timeout\""#),
        get("bad limit", "/api/v1/query?query=up&limit=-1", 400, r#"invalid parameter \"limit\""#),
        get("no start", "/api/v1/query_range?query=up&end=1&step=1", 400, r#"invalid parameter \"start\""#),
        get(
            "backwards",
            "/api/v1/query_range?query=up&start=2&end=1&step=1",
            400,
            "end timestamp must not be before start time",
        ),
        get("zero step", "/api/v1/query_range?query=up&start=1&end=2&step=0", 400, "zero or negative query resolution"),
        get(
            "negative step",
            "/api/v1/query_range?query=up&start=1&end=2&step=-5",
            400,
            "zero or negative query resolution",
        ),
        get("no step", "/api/v1/query_range?query=up&start=1&end=2", 400, r#"invalid parameter \"step\""#),
        get(
            "too many points",
            "/api/v1/query_range?query=up&start=0&end=11001&step=1",
            400,
            "exceeded maximum resolution of 11,000 points",
        ),
        get(
            "matrix over a range",
            "/api/v1/query_range?query=up%5B5m%5D&start=0&end=10&step=1",
            400,
            "must be Scalar or instant Vector",
        ),
        get("series of everything", "/api/v1/series", 400, "no match[] parameter provided"),
        get(
            "empty matcher",
            "/api/v1/series?match[]=%7Ba%3D%22%22%7D",
            400,
            "must contain at least one non-empty matcher",
        ),
        get("bad matcher", "/api/v1/series?match[]=%7Ba", 400, r#"invalid parameter \"match[]\""#),
        get(
            "bad matcher of labels",
            "/api/v1/labels?match[]=%7B%7D",
            400,
            r#""error":"match[] must contain at least one non-empty matcher""#,
        ),
        get("bad regexp", "/api/v1/query?query=%7Ba%3D~%22(%22%7D", 400, "parse error"),
        get(
            "negative limit",
            "/api/v1/labels?limit=-1",
            400,
            r#"invalid parameter \"limit\": limit must be non-negative"#,
        ),
        get("endless step", "/api/v1/query_range?query=up&start=1&end=2&step=1e30", 400, "It overflows int64"),
        get("no time to wait", "/api/v1/query?query=up&timeout=0", 503, "query timed out in query queue"),
        get("metadata limit", "/api/v1/metadata?limit=x", 400, r#""error":"limit must be a number""#),
        get("too many rows", "/api/v1/status/tsdb?limit=10001", 400, "limit must not exceed 10000"),
        get("no rows", "/api/v1/status/tsdb?limit=0", 400, "limit must be a positive number"),
        get("half a tree", "/api/v1/parse_query?query=up(", 400, r#"invalid parameter \"query\": 1:4: parse error"#),
        get("exemplars of half a query", "/api/v1/query_exemplars?query=up(", 400, r#""error":"1:4: parse error"#),
        get("admin by GET", "/api/v1/admin/tsdb/snapshot", 405, "method GET is not allowed here"),
        post("admin", "/api/v1/admin/tsdb/delete_series?match[]=up", "", "", b"", 503, "admin APIs disabled"),
        post("read of nothing", "/api/v1/read", PROTOBUF, "snappy", b"hello", 400, "snappy"),
        post("read of garbage", "/api/v1/read", PROTOBUF, "snappy", b"\x02\x04\x0a\x7f", 400, "remote-read request"),
        get("bad rule type", "/api/v1/rules?type=both", 400, r#"not supported value \"both\""#),
        get("unknown path", "/api/v1/nothing", 404, "404 page not found"),
        get("unknown page", "/nowhere", 404, "404 page not found"),
        ("wrong method", Method::DELETE, "/api/v1/query", "", "", Vec::new(), 405, "method DELETE is not allowed here"),
        get("push by GET", "/loki/api/v1/push", 405, "method GET is not allowed here"),
        post("bad form", "/api/v1/query", FORM, "", b"query=sum(", 400, "parse error"),
        post("not snappy", "/api/v1/write", PROTOBUF, "snappy", b"hello", 400, "snappy"),
        post("snappy bomb", "/api/v1/write", PROTOBUF, "snappy", snappy_bomb, 413, "max_decoded_bytes"),
        post("write as text", "/api/v1/write", "text/plain", "", b"up 1", 415, "content type `text/plain`"),
        post(
            "write 3.0",
            "/api/v1/write",
            "application/x-protobuf;proto=io.prometheus.write.v3.Request",
            "snappy",
            b"",
            415,
            "remote write message `io.prometheus.write.v3.Request` is not supported",
        ),
        post("write in zstd", "/api/v1/write", PROTOBUF, "zstd", b"", 415, "content encoding `zstd`"),
        post(
            "too long a body",
            "/api/v1/write",
            PROTOBUF,
            "snappy",
            &vec![0; (16 << 20) + 1],
            413,
            "larger than the limit of 16777216 bytes",
        ),
        post("no streams", "/loki/api/v1/push", JSON, "", b"{}", 422, "at least one valid stream is required"),
        post(
            "no labels",
            "/loki/api/v1/push",
            JSON,
            "",
            br#"{"streams":[{"stream":{},"values":[["1706189400000000000","a"]]}]}"#,
            400,
            "at least one label pair is required per stream",
        ),
        post("broken JSON", "/loki/api/v1/push", JSON, "", b"{\"streams\":[", 400, "JSON"),
        post(
            "number as line",
            "/loki/api/v1/push",
            JSON,
            "",
            br#"{"streams":[{"stream":{"a":"b"},"values":[["1706189400000000000",5]]}]}"#,
            400,
            "JSON",
        ),
        post("gzip bomb", "/loki/api/v1/push", JSON, "gzip", &bomb, 413, "max_decoded_bytes"),
        post("not gzip", "/loki/api/v1/push", JSON, "gzip", b"{}", 400, "not gzip"),
        post("push as XML", "/loki/api/v1/push", "text/xml", "", b"<a/>", 415, "content type `text/xml`"),
        post("push in br", "/loki/api/v1/push", JSON, "br", b"", 415, "content encoding `br`"),
        get("LogQL without query", "/loki/api/v1/query_range", 400, "parse error"),
        get("LogQL cut off", "/loki/api/v1/query_range?query=%7Bjob%3D", 400, "unexpected $end, expecting STRING"),
        get(
            "lines at an instant",
            "/loki/api/v1/query?query=%7Ba%3D%22b%22%7D",
            400,
            "log queries are not supported as an instant query type",
        ),
        get(
            "too many lines",
            "/loki/api/v1/query_range?query=%7Ba%3D%22b%22%7D&limit=99999",
            400,
            "limit > max_entries_limit_per_query (99999 > 5000)",
        ),
        get(
            "bad direction",
            "/loki/api/v1/query_range?query=%7Ba%3D%22b%22%7D&direction=up",
            400,
            "invalid direction 'up'",
        ),
        get("bad Loki time", "/loki/api/v1/labels?start=noon", 400, "could not parse 'start' parameter"),
        get(
            "bad Loki step",
            "/loki/api/v1/query_range?query=vector(1)&step=x",
            400,
            "cannot parse \"x\" to a valid duration",
        ),
        get("bad trace id", "/api/traces/xyz", 400, "`xyz` is not a hexadecimal id"),
        get(
            "long trace id",
            "/api/traces/000000000000000000000000000000000",
            400,
            "is not a hexadecimal id of at most 32 digits",
        ),
        get("unknown trace", "/api/traces/abc", 404, "trace not found: 00000000000000000000000000000abc"),
        get("bad TraceQL", "/api/search?q=%7B", 400, "invalid TraceQL query"),
        get("bad trace limit", "/api/search?q=%7B%7D&limit=0", 400, "invalid limit"),
        get("bad trace time", "/api/search?q=%7B%7D&start=noon", 400, "invalid start"),
        get("bad duration", "/api/search?minDuration=long", 400, "invalid minDuration"),
        get("bad scope", "/api/v2/search/tags?scope=planet", 400, "invalid scope: `planet`"),
        post("OTLP as text", "/v1/logs", "text/plain", "", b"x", 415, "content type `text/plain`"),
        post("OTLP broken", "/v1/traces", JSON, "", b"{\"resourceSpans\":5}", 400, "JSON"),
        post(
            "OTLP enum by name",
            "/v1/traces",
            JSON,
            "",
            br#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"kind":"SERVER"}]}]}]}"#,
            400,
            "JSON",
        ),
        post("OTLP in zstd", "/v1/metrics", JSON, "zstd", b"{}", 415, "content encoding `zstd`"),
    ]
}

#[tokio::test]
async fn every_bad_request_is_told_what_is_wrong() {
    let (router, _) = server();
    let rows = rows();
    assert!(rows.len() >= 50);
    for (name, method, path, kind, encoding, body, status, text) in rows {
        let mut request = Request::builder().method(method).uri(path);
        if !kind.is_empty() {
            request = request.header("content-type", kind);
        }
        if !encoding.is_empty() {
            request = request.header("content-encoding", encoding);
        }
        let reply = send(&router, request.body(Body::from(body)).unwrap()).await;
        let found = reply.text();
        assert_eq!(reply.status.as_u16(), status, "{name}: {found}");
        assert!(found.contains(text), "{name}: expected `{text}` in `{found}`");
    }
    assert_eq!(get(&router, "/api/v1/query?query=1").await.status.as_u16(), 200, "and the server lives on");
}

#[tokio::test]
async fn prometheus_errors_name_their_type() {
    let (router, _) = server();
    let many = "label_replace(vector(1),\"a\",\"b\",\"c\",\"(\")";
    for (query, status, kind) in [("up(", 400, "bad_data"), (many, 422, "execution")] {
        let reply = ask(&router, "/api/v1/query", &[("query", query)]).await;
        let body = reply.json();
        assert_eq!((reply.status.as_u16(), body["errorType"].as_str()), (status, Some(kind)), "{body}");
        assert_eq!(body["status"], "error");
    }
}

#[tokio::test]
async fn a_full_queue_and_a_full_disk_ask_for_patience() {
    let (ingress, mut requests) = Ingress::new(1);
    let parts = Parts::new(ingress.clone(), Reader::new(Arc::new(Store::in_memory())), Arc::new(|| NOW));
    let router = router(parts);
    tokio::spawn(async move {
        let first = requests.recv().await.unwrap();
        first.reply.send(Err(crate::WriteError::Full("no space left on disk for `x`".to_owned()))).unwrap();
        // The second one is never answered: the receiver goes away with the request.
        drop(requests.recv().await);
    });
    let one = || vec![series(&[("__name__", "up")], &[(NOW.0, 1.0)])];
    let full = remote_write(&router, one()).await;
    assert_eq!((full.status.as_u16(), full.headers["retry-after"].as_bytes()), (503, &b"30"[..]));
    assert!(full.text().contains("no space left"));
    let stopped = remote_write(&router, one()).await;
    assert_eq!((stopped.status.as_u16(), stopped.headers["retry-after"].as_bytes()), (503, &b"1"[..]));

    let (ingress, _held) = Ingress::new(1);
    let waiting = tokio::spawn({
        let ingress = ingress.clone();
        async move { ingress.write(line_batch(NOW.0, "first")).await.map(drop) }
    });
    tokio::task::yield_now().await;
    assert_eq!(ingress.write(line_batch(NOW.0, "second")).await.map(drop), Err(crate::WriteError::Busy));
    waiting.abort();
}
