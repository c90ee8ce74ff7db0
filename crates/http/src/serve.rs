//! The accept loop: HTTP/1.1 and cleartext HTTP/2 on one port, with the limits a plain server does not set.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// Connections served at once; further ones wait in the kernel's queue.
const CONNECTIONS: usize = 1024;
/// Until the first byte of a new connection.
const FIRST_BYTE_TIME: Duration = Duration::from_secs(15);
/// Until all headers of a request have arrived. An idle connection waits as long for its next request, so this must
/// exceed the minute between two exports of a usual sender.
const HEADER_TIME: Duration = Duration::from_secs(70);
/// What running requests get after the shutdown began.
const GRACE: Duration = Duration::from_secs(10);
/// Pause after a failed accept, for instance when file descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves `router` on `listener` until `shutdown` completes, then lets running requests finish for at most ten seconds.
///
/// At most 1024 connections at once; a client that sends nothing for 15 seconds, or no complete
/// header within 70, is dropped.
pub async fn serve(listener: TcpListener, router: Router, shutdown: impl Future<Output = ()>) {
    let mut shutdown = pin!(shutdown);
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    let (closing, close) = watch::channel(false);
    let mut connections = JoinSet::new();
    loop {
        let accept = async {
            // The slot comes first, so that a connection is not taken from the kernel before it can be served.
            let slot = Arc::clone(&slots).acquire_owned().await;
            (slot, listener.accept().await)
        };
        tokio::select! {
            () = &mut shutdown => break,
            // Reaps finished connections; without it the set would grow for ever.
            Some(_) = connections.join_next() => {}
            (slot, accepted) = accept => match (slot, accepted) {
                (Ok(slot), Ok((stream, _))) => {
                    let serving = connection(stream, router.clone(), close.clone());
                    connections.spawn(async move {
                        serving.await;
                        drop(slot);
                    });
                }
                (_, Err(error)) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    sleep(ACCEPT_PAUSE).await;
                }
                (Err(_), Ok(_)) => break,
            },
        }
    }
    drop(listener);
    let _ = closing.send(true);
    let drained = async { while connections.join_next().await.is_some() {} };
    if timeout(GRACE, drained).await.is_err() {
        connections.shutdown().await;
    }
}

async fn connection(stream: TcpStream, router: Router, mut close: watch::Receiver<bool>) {
    // The protocol is guessed from the first bytes; that wait has no deadline of its own.
    if !matches!(timeout(FIRST_BYTE_TIME, stream.readable()).await, Ok(Ok(()))) {
        return;
    }
    let _ = stream.set_nodelay(true);
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIME);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(256)
        .max_header_list_size(64 * 1024)
        .keep_alive_interval(Duration::from_secs(30));
    let service = TowerToHyperService::new(router);
    let mut serving = pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
    tokio::select! {
        result = serving.as_mut() => return log(result),
        _ = close.wait_for(|closing| *closing) => serving.as_mut().graceful_shutdown(),
    }
    log(serving.await);
}

fn log(result: Result<(), Box<dyn std::error::Error + Send + Sync>>) {
    if let Err(error) = result {
        tracing::debug!(%error, "connection ended early");
    }
}
