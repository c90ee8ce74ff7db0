//! The accept loop: HTTP/1.1 and cleartext HTTP/2 on one port, with the limits a plain server does not set.

mod activity;

use std::collections::HashMap;
use std::io::ErrorKind;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{sleep, timeout};

use activity::{Activity, Bell};

/// Until all headers of a later request have arrived. An idle connection waits as long for its next request, so this
/// must exceed the minute between two exports of a usual sender.
const HEADER_TIME: Duration = Duration::from_secs(70);
/// What running requests get after the shutdown began.
const GRACE: Duration = Duration::from_secs(10);
/// What a connection without a running request gets after the shutdown began, to take leave of its client.
const FAREWELL: Duration = Duration::from_millis(100);
/// Pause after a failed accept, for instance when file descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Connections at rest closed after a failed accept.
const SHORTAGE: usize = 32;

/// How much of the server clients may hold without asking anything.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slots {
    /// Connections served at once. One more takes the place of the one that has rested longest.
    pub(crate) connections: usize,
    /// Until the headers of a connection's first request have arrived.
    pub(crate) first_request: Duration,
}

impl Default for Slots {
    fn default() -> Self {
        Self { connections: 1024, first_request: Duration::from_secs(15) }
    }
}

/// Serves `router` on `listener` until `shutdown` completes, then lets running requests finish for at most ten seconds.
///
/// At most 1024 connections at once; when all are taken, a new one closes the one that has been without a running
/// request for longest, and waits only if every one is running a request. A client that sends no complete headers
/// within 15 seconds of connecting, or within 70 of its last request, is dropped.
pub async fn serve(listener: TcpListener, router: Router, shutdown: impl Future<Output = ()>) {
    serve_within(Slots::default(), listener, router, shutdown).await;
}

pub(crate) async fn serve_within(
    slots: Slots,
    listener: TcpListener,
    router: Router,
    shutdown: impl Future<Output = ()>,
) {
    let mut shutdown = pin!(shutdown);
    let (closing, close) = watch::channel(false);
    let mut connections = Connections::default();
    let mut newcomer: Option<TcpStream> = None;
    loop {
        if connections.tasks.len() < slots.connections {
            if let Some(stream) = newcomer.take() {
                let activity = Arc::new(Activity::new(&connections.bell));
                let serving =
                    connection(stream, router.clone(), Arc::clone(&activity), slots.first_request, close.clone());
                connections.add(activity, serving);
            }
        } else if newcomer.is_some() {
            connections.ask_to_leave(1);
        }
        tokio::select! {
            () = &mut shutdown => break,
            // Reaps finished connections; without it the set would grow for ever.
            Some(ended) = connections.tasks.join_next_with_id() => connections.forget(&ended),
            () = connections.bell.rung(), if newcomer.is_some() => {}
            accepted = listener.accept(), if newcomer.is_none() => match accepted {
                Ok((stream, _)) => newcomer = Some(stream),
                // That client has gone; the next one can be had at once.
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    // File descriptors may run out before the slots do, and the rest of Aegis needs some too.
                    connections.ask_to_leave(SHORTAGE);
                    sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop((listener, newcomer));
    let _ = closing.send(true);
    let drained = async { while connections.tasks.join_next().await.is_some() {} };
    if timeout(GRACE, drained).await.is_err() {
        connections.tasks.shutdown().await;
    }
}

/// The connections being served.
#[derive(Default)]
struct Connections {
    tasks: JoinSet<()>,
    activities: HashMap<Id, Arc<Activity>>,
    bell: Arc<Bell>,
}

impl Connections {
    fn add(&mut self, activity: Arc<Activity>, serving: impl Future<Output = ()> + Send + 'static) {
        let id = self.tasks.spawn(serving).id();
        self.activities.insert(id, activity);
    }

    fn forget(&mut self, ended: &Result<(Id, ()), JoinError>) {
        let id = ended.as_ref().map_or_else(JoinError::id, |(id, ())| *id);
        self.activities.remove(&id);
    }

    /// Asks the `count` longest at rest. A running request is never cut: when all are running, nobody is asked, and the
    /// bell tells when to ask again.
    fn ask_to_leave(&self, count: usize) {
        let mut resting: Vec<_> = self.activities.values().filter(|activity| activity.rests()).collect();
        resting.sort_unstable_by_key(|activity| activity.resting_since());
        for activity in resting.into_iter().take(count) {
            activity.ask_to_leave();
        }
    }
}

async fn connection(
    stream: TcpStream,
    router: Router,
    activity: Arc<Activity>,
    first_request: Duration,
    mut close: watch::Receiver<bool>,
) {
    let _ = stream.set_nodelay(true);
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIME);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(256)
        .max_header_list_size(64 * 1024)
        .keep_alive_interval(Duration::from_secs(30));
    let router = TowerToHyperService::new(router);
    let begins = Arc::clone(&activity);
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let running = begins.begin();
        let answer = router.call(request);
        async move { answer.await.map(|response| response.map(|body| running.until_sent(body))) }
    });
    let mut serving = pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
    let mut first_due = pin!(sleep(first_request));
    let mut is_first_due = false;
    loop {
        tokio::select! {
            // The connection comes first: what has already arrived may be a request, and then it must not be closed.
            biased;
            result = serving.as_mut() => return log(result),
            _ = close.wait_for(|closing| *closing) => break,
            () = activity.asked_to_leave() => {
                if activity.rests() {
                    return;
                }
                activity.decline();
            }
            // Also covers guessing the protocol from the first bytes, which has no deadline of its own.
            () = first_due.as_mut(), if !is_first_due => {
                if !activity.has_asked() {
                    return;
                }
                is_first_due = true;
            }
        }
    }
    if !activity.has_asked() {
        return;
    }
    serving.as_mut().graceful_shutdown();
    loop {
        match timeout(FAREWELL, serving.as_mut()).await {
            Ok(result) => return log(result),
            Err(_) if activity.rests() => return,
            Err(_) => {}
        }
    }
}

fn log(result: Result<(), Box<dyn std::error::Error + Send + Sync>>) {
    if let Err(error) = result {
        tracing::debug!(%error, "connection ended early");
    }
}
