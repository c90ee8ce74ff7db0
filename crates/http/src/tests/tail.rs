//! Tailing over real sockets.

use futures_util::StreamExt;
use serde_json::json;
use signal::{Labels, Nanos, StreamWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{WebSocketStream, client_async};

use super::*;
use crate::serve;

type Socket = WebSocketStream<TcpStream>;

struct Server {
    address: String,
    ingress: Ingress,
    tap: LineTap,
}

impl Server {
    async fn start() -> Self {
        let (parts, _) = parts();
        let (ingress, tap) = (parts.ingress.clone(), parts.tap.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(serve(listener, router(parts), std::future::pending()));
        Self { address, ingress, tap }
    }

    /// Writes lines of one stream, dated by their numbers before NOW.
    async fn write(&self, job: &str, numbers: std::ops::Range<i64>) {
        let line = |number: i64| LogLine {
            at: Nanos(NOW_S * 1_000_000_000 - 1_000_000 + number),
            line: format!("line {number}"),
            metadata: Labels::from_pairs([("pod", "p")]),
        };
        let labels = Labels::from_pairs([("job", job)]);
        let streams = vec![StreamWrite { labels, lines: numbers.map(line).collect() }];
        self.ingress.write(WriteBatch { streams, ..WriteBatch::default() }).await.unwrap();
    }

    async fn tail(&self, parameters: &[(&str, &str)], headers: &[(&'static str, &'static str)]) -> Socket {
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
        let url = format!("ws://{}/loki/api/v1/tail?{query}", self.address);
        let mut request = url.into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        let socket = TcpSocket::new_v4().unwrap();
        // So that a client that reads nothing is soon noticed.
        socket.set_recv_buffer_size(16 * 1024).unwrap();
        let stream = socket.connect(self.address.parse().unwrap()).await.unwrap();
        client_async(request, stream).await.unwrap().0
    }
}

/// The next frame with something to say; `None` at the end, with its reason.
async fn frame(socket: &mut Socket) -> Result<Value, String> {
    while let Some(message) = socket.next().await {
        match message.unwrap() {
            Frame::Text(text) => return Ok(serde_json::from_str(text.as_str()).unwrap()),
            Frame::Close(close) => return Err(close.map(|close| close.reason.to_string()).unwrap_or_default()),
            Frame::Ping(_) | Frame::Pong(_) | Frame::Binary(_) | Frame::Frame(_) => {}
        }
    }
    Err("gone".to_owned())
}

/// Lines until `count` have come, with how many were dropped.
async fn lines(socket: &mut Socket, count: usize) -> (Vec<String>, u64) {
    let (mut lines, mut dropped) = (Vec::new(), 0);
    while lines.len() + usize::try_from(dropped).unwrap() < count {
        let frame = frame(socket).await.unwrap();
        for stream in frame["streams"].as_array().unwrap() {
            let values = stream["values"].as_array().unwrap().iter();
            lines.extend(values.map(|value| value[1].as_str().unwrap().to_owned()));
        }
        dropped += frame["dropped_count"].as_u64().unwrap_or_default();
    }
    (lines, dropped)
}

#[tokio::test]
async fn history_comes_first_and_then_what_is_written() {
    let server = Server::start().await;
    server.write("api", 0..10).await;
    server.write("other", 0..10).await;
    let mut socket = server.tail(&[("query", r#"{job="api"} != "line 8""#), ("limit", "3")], &[]).await;
    assert_eq!(
        frame(&mut socket).await.unwrap(),
        json!({"streams": [{"stream": {"job": "api", "pod": "p"}, "values": [
            ["1706189399999000006", "line 6"], ["1706189399999000007", "line 7"], ["1706189399999000009", "line 9"],
        ]}]})
    );
    server.write("api", 10..12).await;
    assert_eq!(lines(&mut socket, 2).await, (vec!["line 10".to_owned(), "line 11".to_owned()], 0));
    server.tap.close();
    assert_eq!(frame(&mut socket).await, Err("the server is shutting down".to_owned()));
}

#[tokio::test]
async fn frames_tell_what_identifies_the_stream_when_asked_to() {
    let server = Server::start().await;
    server.write("api", 0..1).await;
    let parameters = [("query", r#"{job="api"} | pattern "<word> <_>""#), ("start", "1706189000")];
    let mut socket = server.tail(&parameters, &[("X-Loki-Response-Encoding-Flags", "categorize-labels")]).await;
    assert_eq!(
        frame(&mut socket).await.unwrap(),
        json!({"streams": [{"stream": {"job": "api"}, "values": [
            ["1706189399999000000", "line 0", {"structuredMetadata": {"pod": "p"}, "parsed": {"word": "line"}}],
        ]}], "encodingFlags": ["categorize-labels"]})
    );
}

/// Writes go on while the tail begins: each line comes once, in the history or after it.
#[tokio::test]
async fn there_is_neither_gap_nor_double_at_the_seam() {
    let server = Arc::new(Server::start().await);
    let writing = Arc::clone(&server);
    let writer = tokio::spawn(async move {
        for batch in 0..100 {
            writing.write("api", batch * 20..(batch + 1) * 20).await;
        }
    });
    let mut sockets = Vec::new();
    for _ in 0..8 {
        sockets.push(server.tail(&[("query", r#"{job="api"}"#), ("limit", "5000")], &[]).await);
    }
    for mut socket in sockets {
        let (mut found, dropped) = lines(&mut socket, 2_000).await;
        assert_eq!((found.len(), dropped), (2_000, 0));
        found.sort();
        found.dedup();
        assert_eq!(found.len(), 2_000);
    }
    writer.await.unwrap();
}

/// A client that reads nothing while more is written than fits anywhere.
#[tokio::test]
async fn what_a_slow_client_misses_is_counted() {
    let server = Server::start().await;
    let mut socket =
        server.tail(&[("query", r#"{job="api"} | line_format "{{__line__}} {{ repeat 2000 \"x\" }}""#)], &[]).await;
    server.write("api", 0..1).await;
    assert_eq!(lines(&mut socket, 1).await.0.len(), 1);
    // More than fits; the one line after it is looked at when all others have been.
    let written = 16_001;
    server.write("api", 1..written).await;
    server.write("api", written..1 + written).await;
    while server.tap.backlog() > 0 {
        tokio::task::yield_now().await;
    }
    let (lines, dropped) = lines(&mut socket, usize::try_from(written).unwrap()).await;
    assert!(dropped > 0, "{} of {written} lines came", lines.len());
    assert_eq!(lines.len() as i64 + dropped as i64, written);
    // It goes on afterwards.
    server.write("api", -1..0).await;
    let after = frame(&mut socket).await.unwrap();
    assert!(after["streams"][0]["values"][0][1].as_str().unwrap().starts_with("line -1 xx"), "{after}");
}

#[tokio::test]
async fn who_leaves_makes_room() {
    let server = Server::start().await;
    let mut socket = server.tail(&[("query", r#"{job="api"}"#)], &[]).await;
    server.write("api", 0..1).await;
    lines(&mut socket, 1).await;
    assert_eq!(server.tap.following(), 1);
    socket.close(None).await.unwrap();
    while socket.next().await.is_some() {}
    while server.tap.following() > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn wrong_questions_are_refused_before_anything_is_upgraded() {
    let (router, _) = server();
    for (parameters, status, text) in [
        (vec![("query", "{job=")], 400, "parse error"),
        (vec![("query", r#"{job="a"}"#), ("delay_for", "6")], 400, "delay_for can't be greater than 5\n"),
        (vec![("query", r#"{job="a"}"#), ("limit", "5001")], 400, "max entries limit per query exceeded"),
        (vec![("query", r#"rate({job="a"}[1m])"#)], 400, "a metric query has no lines; ask for a log query\n"),
        (vec![("query", r#"{job="a"}"#)], 400, "tail is spoken over a websocket: "),
    ] {
        let reply = ask(&router, "/loki/api/v1/tail", &parameters).await;
        assert_eq!(reply.status, status, "{parameters:?}: {}", reply.text());
        assert!(reply.text().starts_with(text), "{parameters:?}: {}", reply.text());
    }
}
