//! As much of HTTP/1.1 as a bench needs: one request after the other over a connection that stays.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, bail};

/// Longest time for one answer.
const TIMEOUT: Duration = Duration::from_secs(120);

/// A connection to a server of this machine.
#[derive(Debug)]
pub(super) struct Connection {
    address: String,
    stream: BufReader<TcpStream>,
}

/// Status and body.
pub(super) type Reply = (u16, Vec<u8>);

impl Connection {
    pub(super) fn open(port: u16) -> anyhow::Result<Self> {
        let address = format!("127.0.0.1:{port}");
        let stream = TcpStream::connect(&address).with_context(|| format!("cannot reach {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        Ok(Self { address, stream: BufReader::with_capacity(1 << 16, stream) })
    }

    /// A request and its answer. `headers` are whole lines, each with its end.
    pub(super) fn ask(&mut self, method: &str, target: &str, headers: &str, body: &[u8]) -> anyhow::Result<Reply> {
        let (address, len) = (&self.address, body.len());
        let head = format!("{method} {target} HTTP/1.1\r\nHost: {address}\r\n{headers}Content-Length: {len}\r\n\r\n");
        let mut message = head.into_bytes();
        message.extend_from_slice(body);
        self.stream.get_mut().write_all(&message)?;
        self.answer().with_context(|| format!("no answer from {} to {method} {target}", self.address))
    }

    fn answer(&mut self) -> anyhow::Result<Reply> {
        let first = self.line()?;
        let status: u16 = first.split(' ').nth(1).and_then(|status| status.parse().ok()).context("no status line")?;
        let (mut length, mut is_chunked) = (0, false);
        loop {
            let line = self.line()?.to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse()?;
            }
            is_chunked |= line.starts_with("transfer-encoding:") && line.contains("chunked");
        }
        let mut body = Vec::new();
        if !is_chunked {
            body.resize(length, 0);
            self.stream.read_exact(&mut body)?;
            return Ok((status, body));
        }
        loop {
            let size = usize::from_str_radix(self.line()?.split(';').next().unwrap_or_default().trim(), 16)?;
            let start = body.len();
            body.resize(start + size, 0);
            self.stream.read_exact(body.get_mut(start..).unwrap_or_default())?;
            self.line()?;
            if size == 0 {
                return Ok((status, body));
            }
        }
    }

    fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            bail!("the server closed the connection");
        }
        Ok(line.trim_end().to_owned())
    }
}

/// `text` inside a query string.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn reads_answers_with_a_length_and_in_chunks() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = [0; 4096];
            for answer in [
                "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
                "HTTP/1.1 422 No\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nde\r\n1\r\nf\r\n0\r\n\r\n",
                "HTTP/1.1 204 No Content\r\n\r\n",
            ] {
                assert!(stream.read(&mut asked).unwrap() > 0);
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        let mut connection = Connection::open(port).unwrap();
        for (status, body) in [(200, "abc"), (422, "def"), (204, "")] {
            let answer = connection.ask("GET", "/", "", b"").unwrap();
            assert_eq!(answer, (status, body.as_bytes().to_vec()));
        }
        server.join().unwrap();
        assert_eq!(escaped("a b{c=\"é\"}"), "a%20b%7Bc%3D%22%C3%A9%22%7D");
    }
}
