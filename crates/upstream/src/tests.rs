//! Against canned answers in the shapes of the real servers; the round trip through Aegis' own API is tested in `http`.

use std::time::Duration;

use query::promql::Value;
use signal::{Nanos, SpanKind, SpanStatus, TimeRange, Timestamp, TraceId};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::{Loki, NewError, Options, Prometheus, Secret, Tempo, UpstreamError};

/// Answers one request with `status` and `body`; gives the address, then the request as text.
async fn canned(
    status: &'static str,
    kind: &'static str,
    body: impl Into<Vec<u8>>,
) -> (String, tokio::task::JoinHandle<String>) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let body = body.into();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let serving = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        let mut buffer = [0; 4096];
        while !is_whole(&request) {
            let count = stream.read(&mut buffer).await.unwrap();
            request.extend_from_slice(&buffer[..count]);
        }
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let _ = stream.write_all(&body).await;
        String::from_utf8(request).unwrap()
    });
    (address, serving)
}

/// Whether the headers and the announced body have arrived.
fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).to_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    length.is_none_or(|length| body.len() >= length.trim().parse::<usize>().unwrap())
}

const JSON: &str = "application/json";

#[tokio::test]
async fn prometheus_answers_become_values() {
    for (case, body, want) in [
        (
            "vector",
            r#"{"status":"success","data":{"resultType":"vector","result":[
                {"metric":{"job":"a"},"value":[1706189400.5,"+Inf"]},
                {"metric":{"job":"native"},"histogram":[1706189400,{"count":"1","sum":"2"}]}]}}"#,
            r#"Vector([VectorSample { labels: {job="a"}, sample: Sample { at: Timestamp(1706189400500), value: inf }, histogram: None }])"#,
        ),
        (
            "matrix",
            r#"{"status":"success","data":{"resultType":"matrix","result":[
                {"metric":{},"values":[[1,"0.1"],[2,"1e+21"]]}]},"warnings":["w"]}"#,
            "Matrix([Series { labels: {}, samples: [Sample { at: Timestamp(1000), value: 0.1 }, \
             Sample { at: Timestamp(2000), value: 1e21 }], histograms: [] }])",
        ),
        (
            "scalar",
            r#"{"status":"success","data":{"resultType":"scalar","result":[1.001,"NaN"]}}"#,
            "Scalar(Sample { at: Timestamp(1001), value: NaN })",
        ),
        (
            "string",
            r#"{"status":"success","data":{"resultType":"string","result":[1,"hi"]},"infos":[]}"#,
            r#"String(Timestamp(1000), "hi")"#,
        ),
    ] {
        let (address, serving) = canned("200 OK", JSON, body).await;
        let answer =
            Prometheus::new(&address, Options::default()).unwrap().query("q", Timestamp(-1_500)).await.unwrap();
        assert_eq!(format!("{:?}", answer.value), want, "{case}");
        assert!(serving.await.unwrap().ends_with("query=q&time=-1.500"), "{case}");
        assert_eq!(matches!(answer.value, Value::Matrix(_)), answer.warnings == ["w"]);
    }
}

#[tokio::test]
async fn refusals_name_the_address_and_the_reason_but_no_secret() {
    for (case, status, body, want) in [
        (
            "envelope",
            "422 Unprocessable Entity",
            r#"{"status":"error","errorType":"execution","error":"too many samples"}"#.to_owned(),
            "answered 422: too many samples",
        ),
        ("plain", "502 Bad Gateway", "upstream is down\n".to_owned(), "answered 502: upstream is down"),
        ("nothing", "401 Unauthorized", String::new(), "answered 401: nothing"),
        ("not JSON", "200 OK", "<html>".to_owned(), "cannot understand the answer"),
        (
            "not a number",
            "200 OK",
            r#"{"data":{"resultType":"scalar","result":[1,"one"]}}"#.to_owned(),
            "`one` is not a number",
        ),
        ("too large", "200 OK", " ".repeat((64 << 20) + 1), "larger than the limit of 67108864 bytes"),
    ] {
        let (address, serving) = canned(status, JSON, body).await;
        let with_user = address.replace("http://", "http://ann:hunter2@");
        let options = Options { headers: vec![("X-Key".to_owned(), Secret::new("hunter2"))], ..Options::default() };
        let client = Prometheus::new(&with_user, options).unwrap();
        let error = client.query("up", Timestamp(0)).await.unwrap_err().to_string();
        assert!(error.contains(want), "{case}: {error}");
        assert!(error.contains(&format!("{address}/api/v1/query")), "{case}: {error}");
        assert!(!error.contains("hunter2") && !format!("{client:?}").contains("hunter2"), "{case}: {error} {client:?}");
        let request = serving.await.unwrap().to_lowercase();
        assert!(request.contains("authorization: basic yw5uomh1bnrlcji="), "{case}: {request}");
        assert!(request.contains("x-key: hunter2"), "{case}: {request}");
    }
}

#[tokio::test]
async fn a_silent_or_absent_server_is_an_error_in_time() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let options = Options { timeout: Duration::from_millis(50), ..Options::default() };
    let error = Loki::new(&address, options.clone()).unwrap().ping().await.unwrap_err();
    assert!(matches!(error, UpstreamError::Timeout { .. }), "{error}");
    drop(listener);
    let error = Tempo::new(&address, options).unwrap().ping().await.unwrap_err();
    assert!(matches!(error, UpstreamError::Unreachable { .. }), "{error}");
}

#[test]
fn addresses_and_headers_are_checked_first() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    for (url, want) in [
        ("", "`` is not a usable address"),
        ("prometheus:9090", "only http and https are spoken"),
        ("ftp://host", "only http and https are spoken"),
        ("http://host?x=1", "no query and no fragment"),
        ("http://ann:secret@", "`http://***@`"),
    ] {
        let error = Prometheus::new(url, Options::default()).unwrap_err().to_string();
        assert!(error.contains(want) || error.contains("***@"), "{url}: {error}");
        assert!(!error.contains("secret"), "{error}");
    }
    let options = Options { headers: vec![("bad name".to_owned(), Secret::new("x"))], ..Options::default() };
    assert!(matches!(Loki::new("http://host", options), Err(NewError::Header { name }) if name == "bad name"));
}

#[tokio::test]
async fn loki_lines_come_with_and_without_metadata() {
    let body = r#"{"status":"success","data":{"resultType":"streams","result":[
        {"stream":{"job":"a"},"values":[["5","five",{"structuredMetadata":{}}],["4","four"]]}],"stats":{}}}"#;
    let (address, serving) = canned("200 OK", JSON, body).await;
    let client = Loki::new(&format!("{address}/base/"), Options::default()).unwrap();
    let found = client.query_range("{job=\"a\"}", Nanos(1), Nanos(9), 7).await.unwrap();
    assert_eq!(found[0].lines, [(Nanos(5), "five".to_owned()), (Nanos(4), "four".to_owned())]);
    let request = serving.await.unwrap();
    let line = "GET /base/loki/api/v1/query_range?query=%7Bjob%3D%22a%22%7D&start=1&end=10&limit=7&direction=backward ";
    assert!(request.starts_with(line), "{request}");

    let body = r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#;
    let (address, _) = canned("200 OK", JSON, body).await;
    let error = Loki::new(&address, Options::default()).unwrap().query_range("q", Nanos(1), Nanos(9), 7).await;
    assert!(error.unwrap_err().to_string().contains("expected `streams`, found `matrix`"));
}

#[tokio::test]
async fn tempos_json_is_read_when_it_sends_no_protobuf() {
    let span = r#"{"traceId":"CvdlGRbNQ92ESOshHIAxnA==","spanId":"t61rcWkgMzE=","name":"db.insert",
        "kind":"SPAN_KIND_CLIENT","startTimeUnixNano":"5","endTimeUnixNano":"9",
        "attributes":[{"key":"code","value":{"stringValue":"kind"}},{"key":"n","value":{"intValue":"3"}}],
        "status":{"code":"STATUS_CODE_ERROR","message":"pool"}}"#;
    let scope = format!(r#"[{{"resource":{{"attributes":[]}},"scopeSpans":[{{"scope":{{}},"spans":[{span}]}}]}}]"#);
    for body in [format!(r#"{{"batches":{scope}}}"#), format!(r#"{{"trace":{{"resourceSpans":{scope}}}}}"#)] {
        let (address, _) = canned("200 OK", JSON, body).await;
        let spans = Tempo::new(&address, Options::default()).unwrap().trace(TraceId([1; 16])).await.unwrap();
        assert_eq!(spans.len(), 1);
        assert_eq!(spans[0].trace.to_string(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(spans[0].id.to_string(), "b7ad6b7169203331");
        assert_eq!((spans[0].kind, spans[0].status), (SpanKind::Client, SpanStatus::Error));
        assert_eq!(spans[0].attribute("code").and_then(|value| value.as_str()), Some("kind"));
    }
    let (address, _) = canned("404 Not Found", "text/plain", "trace not found").await;
    assert_eq!(Tempo::new(&address, Options::default()).unwrap().trace(TraceId([1; 16])).await, Ok(vec![]));
}

#[tokio::test]
async fn tempos_search_gives_short_ids_too() {
    let body = r#"{"traces":[{"traceID":"a1b2","rootServiceName":"backend","rootTraceName":"GET","startTimeUnixNano":"5",
        "durationMs":12,"spanSets":[]},{"traceID":"ff","startTimeUnixNano":"6"}],"metrics":{}}"#;
    let (address, serving) = canned("200 OK", JSON, body).await;
    let range = TimeRange::new(Timestamp(1_500), Timestamp(2_001));
    let found = Tempo::new(&address, Options::default()).unwrap().search("{}", range, 3).await.unwrap();
    assert_eq!(found[0].id.to_string(), "0000000000000000000000000000a1b2");
    assert_eq!((found[0].duration_ms, found[1].duration_ms, found[1].start), (12, 0, Nanos(6)));
    let request = serving.await.unwrap();
    assert!(request.starts_with("GET /api/search?q=%7B%7D&start=1&end=3&limit=3 "), "{request}");
}
