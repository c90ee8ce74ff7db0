use axum::routing::any;

use super::*;
use crate::wire::Wire;

/// A server that answers with its name and the `traceparent` it was sent.
async fn replica(name: &'static str) -> String {
    let answer = move |headers: HeaderMap, body: String| async move {
        let parent = headers.get("traceparent").and_then(|value| value.to_str().ok()).unwrap_or("none").to_owned();
        format!("{name} {parent} {body}")
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(axum::serve(listener, Router::new().fallback(any(answer))).into_future());
    address
}

async fn proxy(otlp_url: Option<String>, targets: &[String]) -> (Arc<Proxy>, String) {
    let telemetry = Telemetry::new(Destination { loki_url: None, otlp_url, stream: Vec::new() });
    let proxy = Arc::new(Proxy::new(Duration::from_secs(5), telemetry));
    proxy.balance.replace(targets);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/x", listener.local_addr().unwrap());
    tokio::spawn(axum::serve(listener, router(proxy.clone())).into_future());
    (proxy, url)
}

/// An address where nobody listens.
async fn nobody() -> String {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string()
}

async fn ask(url: &str) -> (u16, String) {
    let answer = Wire::new(Duration::from_secs(5)).post(url, "text/plain", Bytes::from_static(b"body")).await.unwrap();
    (answer.status.as_u16(), String::from_utf8(answer.body.to_vec()).unwrap())
}

#[tokio::test]
async fn requests_are_spread_over_all_replicas() {
    let (_, url) = proxy(None, &[replica("one").await, replica("two").await]).await;
    let mut names = Vec::new();
    for _ in 0..4 {
        let (status, text) = ask(&url).await;
        assert_eq!(status, 200);
        assert!(text.ends_with(" body"), "{text}");
        names.push(text.split(' ').next().unwrap().to_owned());
    }
    assert_eq!(names, ["one", "two", "one", "two"]);
}

#[tokio::test]
async fn a_replica_that_cannot_be_reached_is_passed_over() {
    let (_, url) = proxy(None, &[nobody().await, replica("alive").await]).await;
    for _ in 0..4 {
        let (status, text) = ask(&url).await;
        assert!(status == 200 && text.starts_with("alive"), "{status} {text}");
    }
    for (case, targets, status, code) in
        [("none", vec![], 503, "no_replica"), ("none alive", vec![nobody().await], 502, "unreachable")]
    {
        let (_, url) = proxy(None, &targets).await;
        let (found, text) = ask(&url).await;
        assert!(found == status && text.contains(code), "{case}: {found} {text}");
    }
}

#[tokio::test]
async fn the_replicas_follow_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("targets.json");
    std::fs::write(&path, r#"[{"targets": ["127.0.0.1:1"], "labels": {"job": "backend"}}]"#).unwrap();
    let (proxy, _) = proxy(None, &[]).await;
    let follower = tokio::spawn(follow(proxy.clone(), path.clone()));
    let until = async |targets: &[&str]| {
        while proxy.balance.targets() != targets {
            tokio::task::yield_now().await;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), until(&["127.0.0.1:1"])).await.unwrap();
    std::fs::write(&path, "[{").unwrap();
    std::fs::write(&path, r#"[{"targets": ["127.0.0.1:1", "127.0.0.1:2"]}]"#).unwrap();
    tokio::time::timeout(Duration::from_secs(10), until(&["127.0.0.1:1", "127.0.0.1:2"])).await.unwrap();
    follower.abort();
}

#[tokio::test]
async fn the_replica_is_told_the_proxys_span() {
    let sink = crate::telemetry::sink::Sink::start().await;
    let (proxy, url) = proxy(Some(sink.url.clone()), &[replica("one").await]).await;
    let exporter = tokio::spawn(proxy.telemetry.clone().export());
    let (_, text) = ask(&url).await;
    proxy.telemetry.close();
    exporter.await.unwrap();
    let spans = sink.spans();
    let context = TraceContext::parse(text.split(' ').nth(1).unwrap()).unwrap();
    assert_eq!(spans[0].name, "http.request");
    assert_eq!(spans[0].trace_id, context.trace.0);
    assert_eq!(spans[0].span_id, context.parent.unwrap().0);
    assert!(spans[0].parent_span_id.is_empty());
}
