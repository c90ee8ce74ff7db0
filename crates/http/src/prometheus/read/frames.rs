//! The streamed answer: frames that hold a length, a checksum and a message with chunks of one series.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::Frame;
use prost::Message;
use query::Cancel;
use store::Snapshot;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::messages::{ChunkedReadResponse, ChunkedSeries};
use super::{Wanted, by_time, chunks, found, labelled};
use crate::handles::Reader;

/// Bytes after which a series continues in another frame.
const FRAME_BYTES: usize = 1 << 20;
/// Frames that may wait for the client.
const WAITING: usize = 4;
/// A client that takes no frame for so long is given up.
const PATIENCE: Duration = Duration::from_secs(30);

type Frames = mpsc::Sender<io::Result<Bytes>>;

/// Answers while it reads; stops when the client leaves.
pub(super) fn stream(reader: &Reader, queries: Vec<Wanted>, external: BTreeMap<String, String>) -> Body {
    let (frames, arriving) = mpsc::channel(WAITING);
    let reader = reader.clone();
    tokio::spawn(async move {
        let runtime = Handle::current();
        let out = Out { frames: frames.clone(), runtime };
        let work = reader.run(None, move |snapshot, cancel| write(&queries, &external, snapshot, cancel, &out));
        // The answer has begun, so that a broken connection is the only way to say that it is not whole.
        let error = match work.await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error,
            Err(error) => io::Error::other(error),
        };
        let _ = frames.send(Err(error)).await;
    });
    Body::new(Arriving(arriving))
}

struct Out {
    frames: Frames,
    runtime: Handle,
}

impl Out {
    fn send(&self, message: &ChunkedReadResponse) -> io::Result<()> {
        let sent = self.runtime.block_on(timeout(PATIENCE, self.frames.send(Ok(frame(message)))));
        match sent {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(io::Error::other("the client left")),
            Err(_) => Err(io::Error::other("the client took nothing for too long")),
        }
    }
}

/// Length as a varint, CRC-32C with the highest byte first, message.
fn frame(message: &ChunkedReadResponse) -> Bytes {
    let encoded = message.encode_to_vec();
    let mut out = Vec::with_capacity(encoded.len() + 14);
    prost::encoding::encode_varint(encoded.len() as u64, &mut out);
    out.extend(crc32c::crc32c(&encoded).to_be_bytes());
    out.extend(encoded);
    out.into()
}

fn write(
    queries: &[Wanted],
    external: &BTreeMap<String, String>,
    snapshot: &Snapshot,
    cancel: &Cancel,
    out: &Out,
) -> io::Result<()> {
    let (mut floats, mut histograms) = (Vec::new(), Vec::new());
    for (query_index, wanted) in (0..).zip(queries) {
        for reader in found(wanted, snapshot) {
            if cancel.is_canceled() {
                return Err(io::Error::other("canceled"));
            }
            floats.clear();
            histograms.clear();
            reader.read(wanted.range, &mut floats, &mut histograms);
            let labels = labelled(reader.labels(), external);
            let room = FRAME_BYTES.saturating_sub(labels.iter().map(Message::encoded_len).sum());
            let mut size = 0;
            let mut part = Vec::new();
            for chunk in chunks::cut(by_time(&floats, &histograms)) {
                size += chunk.encoded_len();
                part.push(chunk);
                if size >= room {
                    size = 0;
                    let series = ChunkedSeries { labels: labels.clone(), chunks: std::mem::take(&mut part) };
                    out.send(&ChunkedReadResponse { chunked_series: vec![series], query_index })?;
                }
            }
            if !part.is_empty() {
                let series = ChunkedSeries { labels, chunks: part };
                out.send(&ChunkedReadResponse { chunked_series: vec![series], query_index })?;
            }
        }
    }
    Ok(())
}

/// A body made of what arrives.
struct Arriving(mpsc::Receiver<io::Result<Bytes>>);

impl HttpBody for Arriving {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        self.0.poll_recv(context).map(|arrived| arrived.map(|bytes| bytes.map(Frame::data)))
    }
}
