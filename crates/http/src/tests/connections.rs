//! Who gets a connection slot, over real sockets.

use std::convert::Infallible;
use std::time::Duration;

use http_body_util::Empty;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;
use crate::serve::{Slots, serve_within};

const SECOND: Duration = Duration::from_secs(1);
/// Long enough for a server that would do something wrong to have done it.
const A_WHILE: Duration = Duration::from_millis(100);
/// Never reached in these tests.
const PATIENT: Duration = Duration::from_secs(3600);
const BIG: usize = 32 * 1024 * 1024;

/// What connections without a running request have sent.
const RESTING: [(&str, &[u8]); 5] = [
    ("nothing", b""),
    ("half a request", b"POST /api/v1/write HTTP/1.1\r\nhost: a\r\ncontent-le"),
    ("half of HTTP/2's first words", b"PRI * HTTP/2.0\r\n"),
    ("HTTP/2 without a request", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"),
    (
        "HTTP/2 with half a frame",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x09\x01\x04",
    ),
];

struct Server {
    address: String,
    stop: oneshot::Sender<Infallible>,
    serving: JoinHandle<()>,
    /// One permit lets one `/slow` answer.
    release: Arc<Semaphore>,
    /// One permit for each `/slow` that runs.
    begun: Arc<Semaphore>,
}

impl Server {
    async fn start(connections: usize, first_request: Duration) -> Self {
        let release = Arc::new(Semaphore::new(0));
        let begun = Arc::new(Semaphore::new(0));
        let (wait, tell) = (Arc::clone(&release), Arc::clone(&begun));
        let slow = move || async move {
            tell.add_permits(1);
            wait.acquire().await.unwrap().forget();
            "done"
        };
        let (mut parts, _) = parts();
        parts.extra = Router::new()
            .route("/slow", axum::routing::get(slow))
            .route("/big", axum::routing::get(|| async { vec![b'x'; BIG] }));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (stop, stopped) = oneshot::channel::<Infallible>();
        let slots = Slots { connections, first_request };
        let serving = tokio::spawn(serve_within(slots, listener, router(parts), async {
            let _ = stopped.await;
        }));
        Self { address, stop, serving, release, begun }
    }

    async fn sends(&self, bytes: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream
    }

    /// A whole request on a connection of its own.
    async fn asks(&self, path: &str) -> TcpStream {
        self.sends(format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").as_bytes()).await
    }

    /// An answered request whose connection stays open.
    async fn keeps_alive(&self) -> TcpStream {
        let mut stream = self.sends(b"").await;
        ask_again(&mut stream).await;
        stream
    }

    async fn is_ready_within_a_second(&self, case: &str) {
        let mut stream = self.asks("/-/ready").await;
        let answer = timeout(SECOND, rest(&mut stream)).await.unwrap_or_else(|_| panic!("{case}: no answer"));
        assert!(answer.starts_with("HTTP/1.1 200"), "{case}: {answer}");
    }

    /// How long the shutdown took is bounded by `limit`.
    async fn stops_within(self, limit: Duration, case: &str) {
        drop(self.stop);
        timeout(limit, self.serving).await.unwrap_or_else(|_| panic!("{case}: still serving")).unwrap();
    }
}

/// Everything up to the end of the connection, which may be a reset.
async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

/// One request and its whole response on an open connection.
async fn ask_again(stream: &mut TcpStream) {
    stream.write_all(b"GET /-/healthy HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"Healthy.\n") {
        let count = stream.read_buf(&mut answer).await.unwrap();
        assert!(count > 0, "closed after {}", String::from_utf8_lossy(&answer));
    }
}

#[tokio::test]
async fn connections_that_ask_nothing_give_way_at_once() {
    for (case, bytes) in RESTING {
        let server = Server::start(4, PATIENT).await;
        let mut resting = Vec::new();
        for _ in 0..9 {
            resting.push(server.sends(bytes).await);
        }
        for _ in 0..6 {
            server.is_ready_within_a_second(case).await;
        }
        server.stops_within(SECOND, case).await;
    }
}

#[tokio::test]
async fn the_connection_that_rested_longest_gives_way() {
    let server = Server::start(3, PATIENT).await;
    let mut first = server.keeps_alive().await;
    let mut second = server.keeps_alive().await;
    let mut half = server.sends(b"GET / HT").await;
    ask_again(&mut first).await;
    server.is_ready_within_a_second("idle, used before").await;
    assert_eq!(timeout(SECOND, rest(&mut second)).await.unwrap(), "");
    // Its slot is free again only once the server has seen the answered client go.
    let third = server.keeps_alive().await;
    let fourth = server.keeps_alive().await;
    assert_eq!(timeout(SECOND, rest(&mut half)).await.unwrap(), "");
    ask_again(&mut first).await;
    drop((third, fourth));
    server.stops_within(SECOND, "idle").await;
}

#[tokio::test]
async fn an_idle_http2_connection_gives_way_too() {
    let server = Server::start(1, PATIENT).await;
    let client = Client::builder(TokioExecutor::new()).http2_only(true).build_http::<Empty<axum::body::Bytes>>();
    let url = format!("http://{}/-/healthy", server.address);
    let response = client.get(url.parse().unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    response.into_body().collect().await.unwrap();
    server.is_ready_within_a_second("HTTP/2").await;
    let response = client.get(url.parse().unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK, "the client connects again");
    server.stops_within(SECOND, "HTTP/2").await;
}

#[tokio::test]
async fn running_requests_are_never_cut() {
    let server = Server::start(2, PATIENT).await;
    let mut running = [server.asks("/slow").await, server.asks("/slow").await];
    server.begun.acquire_many(2).await.unwrap().forget();
    let mut newcomer = server.asks("/-/ready").await;
    let mut byte = [0];
    assert!(timeout(A_WHILE, newcomer.read(&mut byte)).await.is_err(), "no slot is free");
    server.release.add_permits(2);
    for stream in &mut running {
        let answer = rest(stream).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("done"), "{answer}");
    }
    let answer = timeout(SECOND, rest(&mut newcomer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    server.stops_within(SECOND, "all answered").await;
}

#[tokio::test]
async fn a_response_is_running_until_its_reader_has_it() {
    let server = Server::start(1, PATIENT).await;
    let mut slow = server.sends(b"GET /big HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let mut byte = [0];
    slow.read_exact(&mut byte).await.unwrap();
    let mut newcomer = server.asks("/-/ready").await;
    assert!(timeout(A_WHILE, newcomer.read(&mut byte)).await.is_err(), "the slot is taken");
    let answer = rest(&mut slow).await;
    assert!(answer.ends_with('x') && answer.len() > BIG, "{} bytes", answer.len());
    let answer = timeout(SECOND, rest(&mut newcomer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    server.stops_within(SECOND, "all answered").await;
}

#[tokio::test]
async fn the_first_request_has_a_deadline_of_its_own() {
    for (case, bytes) in RESTING {
        let server = Server::start(8, A_WHILE).await;
        let mut asked = server.keeps_alive().await;
        let mut resting = server.sends(bytes).await;
        // It came later, so once it is gone the other's deadline has passed too.
        timeout(SECOND, rest(&mut resting)).await.unwrap_or_else(|_| panic!("{case}: still open"));
        ask_again(&mut asked).await;
        server.stops_within(SECOND, case).await;
    }
}

#[tokio::test]
async fn connections_at_rest_do_not_delay_the_shutdown() {
    for (case, bytes) in RESTING {
        let server = Server::start(8, PATIENT).await;
        let mut half_again = server.keeps_alive().await;
        half_again.write_all(b"GET / HT").await.unwrap();
        let resting = [server.sends(bytes).await, server.keeps_alive().await];
        let mut running = server.asks("/slow").await;
        server.begun.acquire().await.unwrap().forget();
        server.release.add_permits(1);
        server.stops_within(SECOND, case).await;
        let answer = rest(&mut running).await;
        assert!(answer.ends_with("done"), "{case}: {answer}");
        drop(resting);
    }
}
