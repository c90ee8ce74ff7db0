use std::time::Duration;

use query::promql::Value;
use signal::{Nanos, TimeRange};
use upstream::{Loki, Options, Prometheus, Secret, Tempo, UpstreamError};

use super::grpc::listen;
use super::*;

#[tokio::test]
async fn another_aegis_answers_as_an_upstream() {
    // Another test may have installed it already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (router, store) = server();
    with_metrics(&router).await;
    super::traces::with_trace(&router).await;
    store.append(&[line_batch(NOW.to_nanos().0, "one line")]).unwrap();
    let (address, stop, serving) = listen(router).await;
    let url = format!("http://{address}");
    let options = || Options { bearer: Some(Secret::new("token")), ..Options::default() };

    let metrics = Prometheus::new(&format!("{url}/prometheus/"), options()).unwrap();
    metrics.ping().await.unwrap();
    let answer = metrics.query("sum(rate(http_requests_total[1m]))", NOW).await.unwrap();
    let Value::Vector(found) = answer.value else { panic!("not a vector") };
    assert_eq!((found.len(), found[0].sample.value, found[0].sample.at), (1, 2.499_999_999_999_999_6, NOW));
    let answer = metrics
        .query_range("http_requests_total", NOW.minus(Duration::from_secs(60)), NOW, Duration::from_secs(15))
        .await
        .unwrap();
    let Value::Matrix(found) = answer.value else { panic!("not a matrix") };
    assert_eq!((found.len(), found[0].samples.len()), (2, 5));
    let refused = metrics.query("up(", NOW).await.unwrap_err();
    assert!(
        matches!(&refused, UpstreamError::Status { status: 400, text, .. } if text.contains("unclosed left parenthesis")),
        "{refused}"
    );

    let logs = Loki::new(&url, options()).unwrap();
    logs.ping().await.unwrap();
    let found =
        logs.query_range("{job=\"aegis-backend\"}", Nanos(NOW.to_nanos().0 - 10), NOW.to_nanos(), 10).await.unwrap();
    assert_eq!(found[0].lines, [(NOW.to_nanos(), "one line".to_owned())]);

    let traces = Tempo::new(&format!("{url}/tempo"), options()).unwrap();
    traces.ping().await.unwrap();
    let range = TimeRange::last(Duration::from_secs(60), NOW);
    let found = traces.search("{ name = \"db.insert\" }", range, 5).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].root_name.as_str(), found[0].duration_ms), ("http.request", 2310));
    let spans = traces.trace(found[0].id).await.unwrap();
    let stored = store.snapshot().trace(found[0].id).unwrap();
    assert_eq!(spans, stored.spans.iter().map(|span| (**span).clone()).collect::<Vec<_>>());
    assert_eq!(traces.trace(signal::TraceId([9; 16])).await.unwrap(), []);
    drop(stop);
    serving.await.unwrap();
}
