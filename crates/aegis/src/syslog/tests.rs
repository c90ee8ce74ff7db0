//! Real sockets on loopback, and what arrives at the writer.

use std::path::Path;

use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use web::{WriteRequest, Written};

use super::*;
use crate::config;

/// Answers writes and passes on what was in them.
fn writer(mut requests: mpsc::Receiver<WriteRequest>) -> mpsc::UnboundedReceiver<String> {
    let (told, lines) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(request) = requests.recv().await {
            for stream in request.batch.into_batch().streams {
                for line in stream.lines {
                    told.send(format!("{} {} {}", stream.labels, line.line, line.metadata)).unwrap();
                }
            }
            let written = Written {
                receipt: store::Receipt::default(),
                rejected: Vec::new(),
                admitted: store::Amounts::default(),
            };
            request.reply.send(Ok(written)).unwrap();
        }
    });
    lines
}

#[tokio::test]
async fn messages_become_lines() {
    let text = "syslog: {tcp: '127.0.0.1:0', udp: '127.0.0.1:0', pipeline: [{drop: {expression: secret}}]}";
    let settings = config::parse("a.yaml", text, Path::new("/")).unwrap().syslog;
    let receivers = Receiver::bind(&settings).await.unwrap();
    let (mut tcp, mut udp) = (None, None);
    for receiver in &receivers {
        match receiver {
            Receiver::Tcp(listener) => tcp = listener.local_addr().ok(),
            Receiver::Udp(socket) => udp = socket.local_addr().ok(),
        }
    }
    let (ingress, requests) = Ingress::new(16);
    let mut lines = writer(requests);
    let stop = CancellationToken::new();
    let tasks = TaskTracker::new();
    for receiver in receivers {
        let instruments = Arc::new(Instruments::new());
        tasks.spawn(receiver.run(settings.clone(), ingress.clone(), instruments, stop.clone()));
    }

    let mut stream = TcpStream::connect(tcp.unwrap()).await.unwrap();
    stream.write_all(b"<34>1 - h su 5 - - one\n<34>1 - h su 5 - - secret\n21 <14>Oct").await.unwrap();
    assert_eq!(
        lines.recv().await.unwrap(),
        r#"{app="su", host="h", job="syslog", level="crit"} one {facility="auth", proc_id="5"}"#
    );
    stream.write_all(b" 11 22:14:15 x").await.unwrap();
    drop(stream);
    assert_eq!(lines.recv().await.unwrap(), r#"{job="syslog", level="info"} x {facility="user"}"#);

    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.send_to(b"<30>1 2024-01-25T13:30:00Z h a - - - two", udp.unwrap()).await.unwrap();
    let line = lines.recv().await.unwrap();
    assert_eq!(line, r#"{app="a", host="h", job="syslog", level="info"} two {facility="daemon"}"#);
    stop.cancel();
    tasks.close();
    tasks.wait().await;
}
