//! As much of RFC 6455 as listening needs.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, bail};

/// A nonce and what a server makes of it; the RFC's own example.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
/// Longest message that is taken.
const MAX_MESSAGE: u64 = 64 << 20;

const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// The listening side of a websocket.
#[derive(Debug)]
pub(super) struct Listener {
    stream: BufReader<TcpStream>,
}

impl Listener {
    /// Opens `target` on this machine. A server that says nothing for `patience` is taken for gone.
    pub(super) fn open(port: u16, target: &str, patience: Duration) -> anyhow::Result<Self> {
        let address = format!("127.0.0.1:{port}");
        let mut stream = TcpStream::connect(&address).with_context(|| format!("cannot reach {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(patience))?;
        write!(
            stream,
            "GET {target} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )?;
        let mut stream = BufReader::with_capacity(1 << 16, stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if stream.read_line(&mut head)? == 0 {
                bail!("no answer to the handshake: {head}");
            }
        }
        if !head.starts_with("HTTP/1.1 101") || !head.contains(ACCEPT) {
            bail!("no websocket: {head}");
        }
        Ok(Self { stream })
    }

    /// The next text; `None` at the end. Pings are answered on the way.
    pub(super) fn next(&mut self) -> anyhow::Result<Option<String>> {
        let mut message = Vec::new();
        loop {
            let [first, second] = self.bytes::<2>()?;
            let len = match second & 0x7f {
                126 => u64::from(u16::from_be_bytes(self.bytes()?)),
                127 => u64::from_be_bytes(self.bytes()?),
                short => u64::from(short),
            };
            if second & 0x80 != 0 || len + message.len() as u64 > MAX_MESSAGE {
                bail!("a frame of {len} bytes that no server sends");
            }
            let mut body = vec![0; len as usize];
            self.stream.read_exact(&mut body)?;
            match first & 0x0f {
                CLOSE => return Ok(None),
                PING => self.pong(&body)?,
                PONG => {}
                // Text, or more of it.
                0 | TEXT => {
                    message.extend_from_slice(&body);
                    if first & 0x80 != 0 {
                        return Ok(Some(String::from_utf8(message)?));
                    }
                }
                other => bail!("a frame of kind {other}"),
            }
        }
    }

    fn bytes<const N: usize>(&mut self) -> anyhow::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.stream.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn pong(&mut self, body: &[u8]) -> anyhow::Result<()> {
        // A client has to mask; a mask of zeros leaves the bytes as they are. Pings are short.
        let mut frame = vec![0x80 | PONG, 0x80 | body.len().min(125) as u8, 0, 0, 0, 0];
        frame.extend(body.iter().take(125));
        self.stream.get_mut().write_all(&frame)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn hears_texts_whole_and_in_parts_and_answers_pings() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = [0; 4096];
            let len = stream.read(&mut asked).unwrap();
            assert!(asked[..len].starts_with(b"GET /tail?x=1 HTTP/1.1\r\n"));
            let head = format!("HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: {ACCEPT}\r\n\r\n");
            let mut out = head.into_bytes();
            out.extend(b"\x81\x02hi");
            out.extend(b"\x01\x01a\x89\x03are\x80\x01b");
            out.extend([0x81, 126, 1, 44]);
            out.extend([b'x'; 300]);
            out.extend(b"\x88\x00");
            stream.write_all(&out).unwrap();
            let mut pong = [0; 9];
            stream.read_exact(&mut pong).unwrap();
            assert_eq!(&pong, b"\x8a\x83\0\0\0\0are");
        });
        let mut client = Listener::open(port, "/tail?x=1", Duration::from_secs(60)).unwrap();
        assert_eq!(client.next().unwrap().unwrap(), "hi");
        assert_eq!(client.next().unwrap().unwrap(), "ab");
        assert_eq!(client.next().unwrap().unwrap(), "x".repeat(300));
        assert_eq!(client.next().unwrap(), None);
        server.join().unwrap();
    }
}
