use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::grpc::listen;
use super::*;
use crate::QueryError;

#[tokio::test]
async fn running_requests_finish_when_the_server_stops() {
    let (mut parts, _) = parts();
    let started = Arc::new(Notify::new());
    let release = Arc::new(Notify::new());
    let (begun, finish) = (Arc::clone(&started), Arc::clone(&release));
    parts.extra = Router::new().route(
        "/slow",
        axum::routing::get(move || async move {
            begun.notify_one();
            finish.notified().await;
            "done"
        }),
    );
    let (address, stop, serving) = listen(router(parts)).await;
    let mut stream = TcpStream::connect(&address).await.unwrap();
    stream.write_all(b"GET /slow HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    started.notified().await;
    drop(stop);
    release.notify_one();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("done"), "{answer}");
    serving.await.unwrap();
    assert!(TcpStream::connect(&address).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn garbage_on_the_wire_hurts_nobody() {
    let (router, _) = server();
    let (address, stop, serving) = listen(router).await;
    for garbage in
        [&b"\x16\x03\x01\x02\x00\x01"[..], b"GET / HTTP/9.9\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nxxxxxxxxxxxx"]
    {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        stream.write_all(garbage).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
    }
    let mut stream = TcpStream::connect(&address).await.unwrap();
    stream.write_all(b"GET /-/healthy HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    drop(stop);
    serving.await.unwrap();
}

#[tokio::test]
async fn a_query_past_its_deadline_is_told_to_stop() {
    let reader = Reader::new(Arc::new(Store::in_memory()));
    let (told, hears) = std::sync::mpsc::channel();
    let outcome = reader
        .run(Some(Duration::from_millis(20)), move |_, cancel| {
            while !cancel.is_canceled() {
                std::thread::yield_now();
            }
            told.send(()).unwrap();
        })
        .await;
    assert_eq!(outcome, Err(QueryError::Timeout));
    hears.recv().unwrap();
    assert_eq!(reader.run(None, |_, _| 7).await, Ok(7));
    let broken = reader.run(None, |_, _| panic!("on purpose")).await;
    assert_eq!(broken.map(|()| 0), Err(QueryError::Defect));
}

#[tokio::test]
async fn a_query_waits_for_its_turn_as_long_as_it_may() {
    let reader = Reader::new(Arc::new(Store::in_memory())).with_concurrency(1);
    let (begun, has_begun) = tokio::sync::oneshot::channel();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let first = tokio::spawn({
        let reader = reader.clone();
        async move {
            let work = move |_: &store::Snapshot, _: &query::Cancel| {
                begun.send(()).unwrap();
                released.recv().unwrap();
            };
            reader.run(None, work).await
        }
    });
    has_begun.await.unwrap();
    let late = reader.run(Some(Duration::from_millis(20)), |_, _| ()).await;
    assert_eq!(late, Err(QueryError::Queued));
    assert_eq!(late.unwrap_err().to_string(), "query timed out in query queue");
    let patient = reader.run(None, |_, _| 7);
    release.send(()).unwrap();
    assert_eq!(patient.await, Ok(7));
    assert_eq!(first.await.unwrap(), Ok(()));
}

/// On a runtime of either kind.
async fn brief_work_is_done_at_once_and_in_turn() {
    let reader = Reader::new(Arc::new(Store::in_memory())).with_concurrency(1);
    let impatient = reader.clone().with_timeout(Duration::from_millis(20));
    let borrowed = String::from("here");
    assert_eq!(reader.run_briefly(|_| borrowed.len()).await, Ok(4));
    let broken = reader.run_briefly(|_| panic!("on purpose")).await;
    assert_eq!(broken.map(|()| 0), Err(QueryError::Defect));
    let (release, released) = std::sync::mpsc::channel::<()>();
    let (begun, has_begun) = tokio::sync::oneshot::channel();
    let long = reader.run(None, move |_, _| {
        begun.send(()).unwrap();
        released.recv().unwrap();
    });
    let brief = async {
        has_begun.await.unwrap();
        let late = impatient.run_briefly(|_| ()).await;
        release.send(()).unwrap();
        late
    };
    let (_, late) = tokio::join!(long, brief);
    assert_eq!(late, Err(QueryError::Queued));
    assert_eq!(reader.run_briefly(|_| 7).await, Ok(7));
}

#[tokio::test]
async fn brief_work_on_one_thread() {
    brief_work_is_done_at_once_and_in_turn().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn brief_work_on_two_threads() {
    brief_work_is_done_at_once_and_in_turn().await;
}

#[tokio::test]
async fn a_client_that_leaves_stops_its_query() {
    let reader = Reader::new(Arc::new(Store::in_memory())).with_concurrency(1);
    let (begun, has_begun) = tokio::sync::oneshot::channel();
    let asking = tokio::spawn({
        let reader = reader.clone();
        async move {
            let work = move |_: &store::Snapshot, cancel: &query::Cancel| {
                begun.send(()).unwrap();
                while !cancel.is_canceled() {
                    std::thread::yield_now();
                }
            };
            reader.run(None, work).await
        }
    });
    has_begun.await.unwrap();
    asking.abort();
    assert_eq!(reader.run(None, |_, _| "its place is free again").await, Ok("its place is free again"));
}
