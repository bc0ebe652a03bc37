//! One stream connection: reading into the shard's buffer, a bounded queue of bytes to write, an
//! orderly end.

use crate::accept::{ByteStream, Permit};
use crate::wake::{ConnectionWake, WakeQueue};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;
use wire::ConnectionId;

/// Room that an idle connection's queue keeps.
const KEPT_CAPACITY: usize = 4 << 10;
/// Bytes thrown away in one turn while a connection ends.
const DISCARD_PER_TURN: usize = 64 << 10;

pub(crate) struct Connection {
    stream: ByteStream,
    wake: Arc<ConnectionWake>,
    waker: Waker,
    /// What waits for the peer to read, from `sent` on.
    queue: Vec<u8>,
    sent: usize,
    /// Whether bytes may wait within the TLS layer.
    unflushed: bool,
    phase: Phase,
    /// When patience ends: with a peer that takes nothing, or with the end.
    pub deadline: Option<Instant>,
    /// Whether it is on the list of connections to flush.
    pub listed: bool,
    /// None for one that the edge opened.
    permit: Option<Permit>,
}

/// How far a connection has come. In all but the first, the engine knows it no more.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    /// What was sent before the close is on its way.
    Flushing,
    /// Our end is being closed: close_notify, FIN.
    ShuttingDown,
    /// What the peer still sends is thrown away until it closes, too: a socket closed with bytes
    /// unread would be reset, and take our last words with it (RFC 1122 §4.2.2.13).
    Draining,
}

/// What a reading turn brought.
pub(crate) enum Read {
    /// So many bytes.
    Bytes(usize),
    /// Nothing for now; the waker is set.
    Nothing,
    /// The peer is gone; `true` when it closed in order, or vanished as TLS clients do.
    Gone(bool),
}

impl Connection {
    pub(crate) fn new(
        id: ConnectionId,
        stream: ByteStream,
        permit: Option<Permit>,
        queue: Arc<WakeQueue>,
    ) -> Self {
        let wake = ConnectionWake::new(id, queue);
        // The first look comes without being called: it sets the waker.
        wake.wake_by_ref();
        Connection {
            stream,
            waker: wake.clone().into(),
            wake,
            queue: Vec::new(),
            sent: 0,
            unflushed: false,
            phase: Phase::Open,
            deadline: None,
            listed: false,
            permit,
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// A phone has registered over it.
    pub(crate) fn on_registered(&mut self) {
        self.permit.iter_mut().for_each(Permit::on_registered);
    }

    /// Bytes that wait for the peer to read.
    pub(crate) fn waiting(&self) -> usize {
        self.queue.len() - self.sent
    }

    /// To be called when the wake queue named it, before it is looked at.
    pub(crate) fn taken(&self) {
        self.wake.taken();
    }

    /// Has it looked at once more in the next round.
    pub(crate) fn call_again(&self) {
        self.wake.wake_by_ref();
    }

    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Read {
        let mut buffer = ReadBuf::new(buffer);
        let mut cx = Context::from_waker(&self.waker);
        match Pin::new(&mut self.stream).poll_read(&mut cx, &mut buffer) {
            Poll::Pending => Read::Nothing,
            Poll::Ready(Ok(())) if buffer.filled().is_empty() => Read::Gone(true),
            Poll::Ready(Ok(())) => Read::Bytes(buffer.filled().len()),
            Poll::Ready(Err(error)) => Read::Gone(error.kind() == io::ErrorKind::UnexpectedEof),
        }
    }

    /// Takes a copy of bytes; [`Connection::write`] sends them.
    pub(crate) fn enqueue(&mut self, bytes: &[u8]) {
        // Moving at most as much as has been sent keeps the cost of a byte constant; what is held
        // is at most twice what waits.
        if self.sent >= self.waiting() {
            self.queue.drain(..self.sent);
            self.sent = 0;
        }
        self.queue.extend_from_slice(bytes);
    }

    /// Writes what waits, as far as the peer takes it, and keeps the deadline of a peer that
    /// takes nothing for `stall`.
    pub(crate) fn write(&mut self, stall: Duration) -> Poll<io::Result<()>> {
        let before = self.waiting();
        let result = self.poll_write();
        if self.is_open() {
            if result.is_ready() {
                self.deadline = None;
            } else if self.deadline.is_none() || self.waiting() < before {
                self.deadline = Some(Instant::now() + stall);
            }
        }
        result
    }

    fn poll_write(&mut self) -> Poll<io::Result<()>> {
        let mut cx = Context::from_waker(&self.waker);
        while let Some(rest) = self.queue.get(self.sent..).filter(|rest| !rest.is_empty()) {
            match ready!(Pin::new(&mut self.stream).poll_write(&mut cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.sent += count,
            }
            self.unflushed = true;
        }
        self.queue.clear();
        self.sent = 0;
        self.queue.shrink_to(KEPT_CAPACITY);
        if self.unflushed {
            ready!(Pin::new(&mut self.stream).poll_flush(&mut cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Whether something is to be written.
    pub(crate) fn wants_write(&self) -> bool {
        self.waiting() > 0 || self.unflushed
    }

    /// Starts an orderly end that takes at most `linger`; [`Connection::end`] drives it.
    pub(crate) fn start_end(&mut self, linger: Duration) {
        if self.is_open() {
            self.phase = Phase::Flushing;
            self.deadline = Some(Instant::now() + linger);
        }
    }

    /// Ready when the connection may be dropped.
    pub(crate) fn end(&mut self) -> Poll<()> {
        if self.phase == Phase::Flushing {
            if ready!(self.poll_write()).is_err() {
                return Poll::Ready(());
            }
            self.phase = Phase::ShuttingDown;
        }
        let mut cx = Context::from_waker(&self.waker);
        if self.phase == Phase::ShuttingDown {
            if ready!(Pin::new(&mut self.stream).poll_shutdown(&mut cx)).is_err() {
                return Poll::Ready(());
            }
            self.phase = Phase::Draining;
        }
        let mut left = DISCARD_PER_TURN;
        let mut waste = [0; 4 << 10];
        while left > 0 {
            match self.read(&mut waste) {
                Read::Bytes(count) => left = left.saturating_sub(count),
                Read::Nothing => return Poll::Pending,
                Read::Gone(_) => return Poll::Ready(()),
            }
        }
        self.call_again();
        Poll::Pending
    }

    /// Has the connection reset when it is dropped.
    pub(crate) fn reset_on_drop(&self) {
        self.stream.reset_on_drop();
    }
}
