//! Remote read and the admin routes, over the router.

use axum::http::{Method, StatusCode};

use super::*;
use crate::Admin;

#[derive(Clone, PartialEq, Message)]
struct ReadRequest {
    #[prost(message, repeated, tag = "1")]
    queries: Vec<Query>,
    #[prost(int32, repeated, tag = "2")]
    accepted: Vec<i32>,
}

#[derive(Clone, PartialEq, Message)]
struct Query {
    #[prost(int64, tag = "1")]
    start: i64,
    #[prost(int64, tag = "2")]
    end: i64,
    #[prost(message, repeated, tag = "3")]
    matchers: Vec<Condition>,
}

#[derive(Clone, PartialEq, Message)]
struct Condition {
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(string, tag = "3")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct ReadResponse {
    #[prost(message, repeated, tag = "1")]
    results: Vec<QueryResult>,
}

#[derive(Clone, PartialEq, Message)]
struct QueryResult {
    #[prost(message, repeated, tag = "1")]
    timeseries: Vec<TimeSeries>,
}

#[derive(Clone, PartialEq, Message)]
struct ChunkedResponse {
    #[prost(message, repeated, tag = "1")]
    series: Vec<ChunkedSeries>,
    #[prost(int64, tag = "2")]
    query_index: i64,
}

#[derive(Clone, PartialEq, Message)]
struct ChunkedSeries {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    chunks: Vec<Chunk>,
}

#[derive(Clone, PartialEq, Message)]
struct Chunk {
    #[prost(int64, tag = "1")]
    min: i64,
    #[prost(int64, tag = "2")]
    max: i64,
    #[prost(int32, tag = "3")]
    encoding: i32,
    #[prost(bytes = "vec", tag = "4")]
    data: Vec<u8>,
}

fn query(kind: i32, name: &str, value: &str) -> Query {
    let condition = Condition { kind, name: name.to_owned(), value: value.to_owned() };
    Query { start: NOW.0 - 30_000, end: NOW.0, matchers: vec![condition] }
}

async fn read(router: &Router, accepted: &[i32], queries: Vec<Query>) -> Reply {
    let body = snappy(&ReadRequest { queries, accepted: accepted.to_vec() });
    let headers =
        [("content-type", "application/x-protobuf"), ("content-encoding", "snappy"), ("accept-encoding", "gzip")];
    post(router, "/api/v1/read", &headers, body).await
}

#[tokio::test]
async fn samples_are_read_from_afar() {
    let (parts, _) = parts();
    parts.views.update(|view| {
        view.external_labels = [("cluster".to_owned(), "c1".to_owned())].into();
    });
    let router = router(parts);
    with_metrics(&router).await;
    let queries =
        vec![query(0, "status", "500"), query(2, "status", "2.."), query(0, "cluster", "c1"), query(3, "status", ".+")];
    let reply = read(&router, &[7, 0], queries).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
    assert_eq!(reply.headers["content-type"], "application/x-protobuf");
    assert_eq!(reply.headers["content-encoding"], "snappy");
    let plain = snap::raw::Decoder::new().decompress_vec(&reply.bytes).unwrap();
    let response = ReadResponse::decode(plain.as_slice()).unwrap();
    let counts: Vec<_> = response.results.iter().map(|result| result.timeseries.len()).collect();
    assert_eq!(counts, [1, 1, 2, 0]);
    let first = &response.results[0].timeseries[0];
    let want = [("__name__", "http_requests_total"), ("cluster", "c1"), ("service", "backend"), ("status", "500")];
    assert_eq!(first.labels, labels(&want));
    let points: Vec<_> = first.samples.iter().map(|sample| (sample.timestamp - NOW.0, sample.value)).collect();
    assert_eq!(points, [(-30_000, 135.0), (-15_000, 142.5), (0, 150.0)]);

    let refused = read(&router, &[7], Vec::new()).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    let refused = read(&router, &[], vec![query(9, "a", "b")]).await;
    assert!(refused.text().contains("unknown kind of matcher: 9"), "{}", refused.text());
}

#[tokio::test]
async fn chunks_are_streamed_in_frames_with_checksums() {
    let (router, _) = server();
    with_metrics(&router).await;
    let reply = read(&router, &[1, 0], vec![query(0, "status", "none"), query(0, "service", "backend")]).await;
    assert_eq!(reply.status, StatusCode::OK);
    assert_eq!(reply.headers["content-type"], "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse");
    let bytes = match reply.headers.get("content-encoding") {
        Some(_) => ingest::compression::gzip(&reply.bytes, 1 << 20).unwrap(),
        None => reply.bytes,
    };
    let mut rest = bytes.as_slice();
    let mut found = Vec::new();
    while !rest.is_empty() {
        let length = usize::try_from(prost::encoding::decode_varint(&mut rest).unwrap()).unwrap();
        let (sum, after) = rest.split_at(4);
        let (message, after) = after.split_at(length);
        assert_eq!(u32::from_be_bytes(sum.try_into().unwrap()), crc32c::crc32c(message));
        found.push(ChunkedResponse::decode(message).unwrap());
        rest = after;
    }
    let status = |response: &ChunkedResponse| response.series[0].labels.last().unwrap().value.clone();
    assert_eq!(found.iter().map(status).collect::<Vec<_>>(), ["201", "500"]);
    for response in &found {
        assert_eq!(response.query_index, 1);
        let chunk = &response.series[0].chunks[0];
        assert_eq!((chunk.min, chunk.max, chunk.encoding), (NOW.0 - 30_000, NOW.0, 1));
        assert_eq!(chunk.data[..2], [0, 3], "three samples");
    }
}

#[tokio::test]
async fn an_admin_deletes_cleans_and_copies_if_that_is_switched_on() {
    let (mut parts, store) = parts();
    parts.admin = Some(Admin::new(store));
    let router = router(parts);
    with_metrics(&router).await;
    let left = async || {
        let counts = [("query", "sum by (status) (count_over_time(http_requests_total[1h]))")];
        let reply = ask(&router, "/api/v1/query", &counts).await.json();
        let found = reply["data"]["result"].as_array().unwrap().clone();
        found.iter().map(|one| one["value"][1].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(left().await, ["21", "21"]);
    for (name, method, path, origin, status, counts) in [
        ("nothing named", Method::POST, "delete_series", "", 400, &["21", "21"][..]),
        ("everything", Method::POST, "delete_series?match[]=%7B%7D", "", 400, &["21", "21"]),
        (
            "foreign page",
            Method::POST,
            "delete_series?match[]=http_requests_total",
            "http://evil.example",
            403,
            &["21", "21"],
        ),
        ("hidden page", Method::POST, "delete_series?match[]=http_requests_total", "null", 403, &["21", "21"]),
        (
            "a part",
            Method::POST,
            "delete_series?match[]=http_requests_total%7Bstatus=%22500%22%7D&start=1706189385&end=1706189400",
            "",
            204,
            &["21", "19"],
        ),
        ("bad flag", Method::POST, "snapshot?skip_head=maybe", "", 400, &["21", "19"]),
        ("copy", Method::POST, "snapshot?skip_head=true", "", 200, &["21", "19"]),
        ("clean", Method::POST, "clean_tombstones", "", 204, &["21", "19"]),
        (
            "two selectors",
            Method::PUT,
            "delete_series?match[]=nobody&match[]=%7Bservice=%22backend%22%7D",
            "http://aegis:4300",
            204,
            &[],
        ),
    ] {
        let mut request =
            Request::builder().method(method).uri(format!("/api/v1/admin/tsdb/{path}")).header("host", "aegis:4300");
        if !origin.is_empty() {
            request = request.header("origin", origin);
        }
        let reply = send(&router, request.body(Body::empty()).unwrap()).await;
        assert_eq!(reply.status.as_u16(), status, "{name}: {}", reply.text());
        assert_eq!(left().await, counts, "{name}");
        if name == "copy" {
            let body = reply.json();
            let copy = body["data"]["name"].as_str().unwrap();
            assert!(copy.starts_with("20240125T133000Z-") && copy.len() == 33, "{copy}");
        }
    }
}
