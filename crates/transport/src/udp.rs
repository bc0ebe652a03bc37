//! One UDP socket under a shard's runtime.

use crate::address::{Control, Message, Name};
use crate::batch::{ReceiveBatch, SendBatch};
use crate::introduction::Balancers;
use crate::system::{self, MAX_BATCH};
use crate::{Counters, Settings};
use socket2::Socket;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use wire::Side;

/// Errors taken from one error queue per wake-up.
const ERRORS_PER_WAKE: usize = 32;

/// A bound socket, what waits to go through it, and how far it is ready.
pub(crate) struct UdpSocket {
    /// Without an interest in writing: else each datagram sent would wake the runtime once more.
    socket: AsyncFd<OwnedFd>,
    side: Side,
    bound: SocketAddr,
    balancers: Balancers,
    batch: SendBatch,
    /// There while the socket takes no more: a second descriptor that waits for room.
    blocked: Option<AsyncFd<OwnedFd>>,
    /// The kernel's count of lost datagrams, as last seen.
    overflowed: u32,
    counters: Arc<Counters>,
}

impl UdpSocket {
    /// Puts a socket made by [`crate::bind`] under the runtime of the calling thread.
    pub(crate) fn new(
        socket: Socket,
        side: Side,
        balancers: Balancers,
        settings: &Settings,
        counters: Arc<Counters>,
    ) -> io::Result<Self> {
        let bound = bound_to(&socket)?;
        let socket = system::register(socket.into(), Interest::READABLE | Interest::ERROR)?;
        let batch = SendBatch::new(settings);
        let blocked = None;
        Ok(UdpSocket { socket, side, bound, balancers, batch, blocked, overflowed: 0, counters })
    }

    pub(crate) fn side(&self) -> Side {
        self.side
    }

    /// Who speaks for others here.
    pub(crate) fn balancers(&self) -> &Balancers {
        &self.balancers
    }

    /// The address it is bound to; may be a wildcard.
    pub(crate) fn bound(&self) -> SocketAddr {
        self.bound
    }

    /// Whether a datagram may leave from `local` through this socket.
    pub(crate) fn serves(&self, local: SocketAddr) -> bool {
        self.bound == local
            || (self.bound.port() == local.port()
                && self.bound.ip().is_unspecified()
                && self.bound.is_ipv4() == local.is_ipv4())
    }

    /// Whether there may be something to receive; else the task of `cx` is woken when there is.
    pub(crate) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.socket.poll_read_ready(cx).map(|_| ())
    }

    /// Waits for an entry in the error queue.
    pub(crate) async fn failed(&self) {
        let _ = self.socket.ready(Interest::ERROR).await;
    }

    /// Whether a blocked socket takes datagrams again; pending also when it is not blocked.
    pub(crate) fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<()> {
        match &self.blocked {
            Some(room) => room.poll_write_ready(cx).map(|_| ()),
            None => Poll::Pending,
        }
    }

    /// Fills `batch` with what is there. `true` when there may be more; `false` means that the
    /// socket is empty, and [`UdpSocket::poll_readable`] tells when it no longer is.
    pub(crate) fn receive(&mut self, batch: &mut ReceiveBatch) -> bool {
        let mut failure = None;
        let mut full = false;
        // A batch that is not full has emptied the socket: saying so spares the call that would
        // only bring EAGAIN. A datagram that came meanwhile makes a new edge.
        let _ =
            self.socket.try_io(Interest::READABLE, |socket| match batch.receive(socket.as_fd()) {
                Ok(true) => {
                    full = true;
                    Ok(())
                }
                Ok(false) => Err(io::ErrorKind::WouldBlock.into()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(error),
                Err(error) => {
                    failure = Some(error);
                    Ok(())
                }
            });
        if let Some(error) = failure {
            // EINTR, or what an ICMP message left on the socket, once: the error queue has it.
            if !is_unreachable(&error) && error.kind() != io::ErrorKind::Interrupted {
                self.counters.udp_receive_failed.add(1);
            }
            return true;
        }
        if batch.len() > 0 {
            self.counters.udp_receive_calls.add(1);
        }
        full
    }

    /// Keeps count of what the kernel says it has lost.
    pub(crate) fn on_overflow_count(&mut self, count: u32) {
        let lost = count.wrapping_sub(self.overflowed);
        self.overflowed = count;
        self.counters.udp_receive_overflowed.add(u64::from(lost));
    }

    /// Takes a copy of a datagram for the next [`UdpSocket::flush`]; sends at once what makes a
    /// full system call. When the socket is blocked and the batch full, drops it and counts.
    pub(crate) fn push(
        &mut self,
        local: SocketAddr,
        remote: SocketAddr,
        bytes: &[u8],
        unreachable: &mut dyn FnMut(SocketAddr),
    ) {
        let source = self.bound.ip().is_unspecified().then(|| local.ip());
        if !self.batch.push(source, remote, bytes) {
            self.counters.udp_send_dropped.add(1);
        } else if self.batch.len() >= MAX_BATCH {
            self.flush(unreachable);
        }
    }

    /// Sends what waits, as far as the kernel takes it; nothing while the socket is blocked. Calls
    /// `unreachable` for a peer that is not reached.
    pub(crate) fn flush(&mut self, unreachable: &mut dyn FnMut(SocketAddr)) {
        if self.blocked.is_some() {
            return;
        }
        let mut retried = false;
        while let Some(remote) = self.batch.first() {
            let error = match self.batch.send(self.socket.get_ref().as_fd()) {
                Ok((datagrams, bytes)) => {
                    self.counters.udp_send_calls.add(1);
                    self.counters.udp_sent.add(datagrams as u64);
                    self.counters.udp_sent_bytes.add(bytes as u64);
                    retried = false;
                    continue;
                }
                Err(error) => error,
            };
            match error.raw_os_error() {
                Some(libc::EINTR) => {}
                Some(libc::EAGAIN) => return self.on_blocked(),
                // An earlier datagram's ICMP error is told once, by the next call of any kind:
                // this datagram has not been tried yet.
                _ if is_unreachable(&error) && !retried => {
                    retried = true;
                    self.drain_errors(unreachable);
                }
                Some(libc::ENOBUFS) => {
                    self.counters.udp_send_dropped.add(1);
                    self.batch.skip();
                }
                _ => {
                    self.counters.udp_send_failed.add(1);
                    self.batch.skip();
                    retried = false;
                    if is_unreachable(&error) {
                        self.counters.udp_unreachable.add(1);
                        unreachable(remote);
                    }
                }
            }
        }
    }

    /// To be called when [`UdpSocket::poll_writable`] is ready; a flush may follow.
    pub(crate) fn unblock(&mut self) {
        self.blocked = None;
    }

    fn on_blocked(&mut self) {
        let room = self.socket.get_ref().as_fd().try_clone_to_owned();
        // Without a descriptor to spare the next wake-up of any kind tries again.
        self.blocked = room.and_then(|fd| system::register(fd, Interest::WRITABLE)).ok();
    }

    /// Reads the error queue up to a bound. `true` when there may be more.
    pub(crate) fn drain_errors(&mut self, unreachable: &mut dyn FnMut(SocketAddr)) -> bool {
        for _ in 0..ERRORS_PER_WAKE {
            let mut name = Name::default();
            let mut control = Control::default();
            let taken = self.socket.try_io(Interest::ERROR, |socket| {
                system::receive_error(socket.as_fd(), &mut name, &mut control)
            });
            let Ok(filled) = taken else { return false };
            let failed = control.messages(filled.control_length).any(|message| match message {
                Message::Failure { errno, .. } => {
                    is_unreachable(&io::Error::from_raw_os_error(errno))
                }
                _ => false,
            });
            if let (true, Some(remote)) = (failed, name.decode(filled.name_length)) {
                self.counters.udp_unreachable.add(1);
                unreachable(remote);
            }
        }
        true
    }
}

/// Whether the network or the peer's host says that a datagram does not arrive (RFC 1122
/// §3.2.2.1, RFC 4443 §3.1); "too long" is none of these.
fn is_unreachable(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::ECONNREFUSED
                | libc::EHOSTUNREACH
                | libc::ENETUNREACH
                | libc::EHOSTDOWN
                | libc::ENONET
                | libc::ENOPROTOOPT
                | libc::EACCES
        )
    )
}

fn bound_to(socket: &Socket) -> io::Result<SocketAddr> {
    socket.local_addr()?.as_socket().ok_or_else(|| io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bind;

    #[tokio::test]
    async fn a_blocked_socket_keeps_what_fits_and_counts_the_rest() {
        let settings = Settings { send_batch_datagrams: 40, ..Settings::default() };
        let counters = Arc::new(Counters::default());
        let here = "127.0.0.1:0".parse().unwrap();
        let socket = bind::bind_inside(&settings, here).unwrap();
        let mut socket = {
            let balancers = Balancers::default();
            UdpSocket::new(socket, Side::Inside, balancers, &settings, counters.clone()).unwrap()
        };
        let peer = std::net::UdpSocket::bind(here).unwrap();
        let (local, remote) = (socket.bound(), peer.local_addr().unwrap());
        let mut unreachable = |remote| panic!("{remote} is there");

        socket.on_blocked();
        for n in 0..50_u8 {
            socket.push(local, remote, &[n], &mut unreachable);
        }
        socket.flush(&mut unreachable);
        assert_eq!(counters.udp_sent.value(), 0);
        assert_eq!(counters.udp_send_dropped.value(), 10);

        std::future::poll_fn(|cx| socket.poll_writable(cx)).await;
        socket.unblock();
        socket.flush(&mut unreachable);
        assert_eq!(counters.udp_sent.value(), 40);
        let mut byte = [0; 2];
        for n in 0..40_u8 {
            assert_eq!((peer.recv(&mut byte).unwrap(), byte[0]), (1, n));
        }
    }
}
