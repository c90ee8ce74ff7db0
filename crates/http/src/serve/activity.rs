//! What a connection is busy with, so that one at rest can make room for a newcomer.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Buf, Frame, SizeHint};
use tokio::sync::Notify;

/// Shared by all connections of one listener: orders their rests and tells the accept loop of a new one.
#[derive(Default)]
pub(super) struct Bell {
    turn: AtomicU64,
    rung: Notify,
}

impl Bell {
    /// Waits until a connection came to rest.
    pub(super) async fn rung(&self) {
        self.rung.notified().await;
    }

    fn next_turn(&self) -> u64 {
        self.turn.fetch_add(1, Ordering::SeqCst)
    }
}

/// One connection's requests. It *rests* while none is running: before its first, between two, or with half a header.
///
/// A request runs from its complete headers to the last byte of its response given to the socket.
pub(super) struct Activity {
    running: AtomicUsize,
    has_asked: AtomicBool,
    resting_since: AtomicU64,
    leave: Notify,
    bell: Arc<Bell>,
}

impl Activity {
    pub(super) fn new(bell: &Arc<Bell>) -> Self {
        Self {
            running: AtomicUsize::new(0),
            has_asked: AtomicBool::new(false),
            resting_since: AtomicU64::new(bell.next_turn()),
            leave: Notify::new(),
            bell: Arc::clone(bell),
        }
    }

    /// A request's headers are complete.
    pub(super) fn begin(self: &Arc<Self>) -> Running {
        self.has_asked.store(true, Ordering::SeqCst);
        self.running.fetch_add(1, Ordering::SeqCst);
        Running(Arc::clone(self))
    }

    /// Whether the headers of any request were ever complete.
    pub(super) fn has_asked(&self) -> bool {
        self.has_asked.load(Ordering::SeqCst)
    }

    pub(super) fn rests(&self) -> bool {
        self.running.load(Ordering::SeqCst) == 0
    }

    /// Orders connections by when they came to rest; a fresh one rests since its accept.
    pub(super) fn resting_since(&self) -> u64 {
        self.resting_since.load(Ordering::SeqCst)
    }

    /// Asks the connection to close; it may decline because a request has just begun.
    pub(super) fn ask_to_leave(&self) {
        self.leave.notify_one();
    }

    /// Waits to be asked to leave.
    pub(super) async fn asked_to_leave(&self) {
        self.leave.notified().await;
    }

    /// Declines to leave: the accept loop has to ask another.
    pub(super) fn decline(&self) {
        self.bell.rung.notify_one();
    }
}

/// A request that runs until this is dropped.
pub(super) struct Running(Arc<Activity>);

impl Running {
    /// The response body that keeps the request running until it is sent.
    pub(super) fn until_sent(self, body: Body) -> Held {
        Held { body, running: Arc::new(self) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let activity = &self.0;
        activity.resting_since.store(activity.bell.next_turn(), Ordering::SeqCst);
        activity.running.fetch_sub(1, Ordering::SeqCst);
        activity.bell.rung.notify_one();
    }
}

/// A response body on its way out.
pub(super) struct Held {
    body: Body,
    running: Arc<Running>,
}

impl HttpBody for Held {
    type Data = Sent;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Sent>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        let hold = |bytes| Sent { bytes, _running: Arc::clone(&self.running) };
        frame.map_ok(|frame| frame.map_data(hold))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Bytes of a response. They outlive its body in the connection's buffers, for instance while the client reads slowly,
/// and the request runs as long as they do.
pub(super) struct Sent {
    bytes: Bytes,
    _running: Arc<Running>,
}

impl Buf for Sent {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }
}
