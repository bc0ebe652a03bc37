//! A host outside without manners: one UDP socket, no reflexes, every byte counted.

use std::cell::Cell;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use crate::Message;
use crate::message::param;

/// A bare socket. It answers nothing by itself; what was not received yet is only counted.
pub struct Stranger {
    socket: UdpSocket,
    server: SocketAddr,
    sent: Cell<usize>,
    received: Cell<usize>,
}

impl Stranger {
    /// A socket at `host`, any port, that speaks to `server`. Bound to the address of somebody
    /// else it is a forger who reads what his victim would be sent.
    #[must_use]
    pub fn at(host: IpAddr, server: SocketAddr) -> Self {
        let socket = UdpSocket::bind((host, 0)).unwrap();
        Stranger { socket, server, sent: Cell::new(0), received: Cell::new(0) }
    }

    /// Its address.
    #[must_use]
    pub fn local(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    /// Sends bytes as they are.
    pub fn send_bytes(&self, bytes: &[u8]) {
        self.sent.set(self.sent.get() + bytes.len());
        self.socket.send_to(bytes, self.server).unwrap();
    }

    /// Sends a message.
    pub fn send(&self, message: &Message) {
        self.send_bytes(&message.bytes());
    }

    /// The next datagram that is a SIP message; `None` when none comes within `patience`.
    #[must_use]
    pub fn receive(&self, patience: Duration) -> Option<Message> {
        self.socket.set_read_timeout(Some(patience.max(Duration::from_millis(1)))).unwrap();
        let mut buffer = [0; 65_536];
        loop {
            let length = self.socket.recv(&mut buffer).ok()?;
            self.received.set(self.received.get() + length);
            if let Ok(message) = Message::parse(&buffer[..length]) {
                return Some(message);
            }
        }
    }

    /// Everything that is there already.
    #[must_use]
    pub fn take_all(&self) -> Vec<Message> {
        std::iter::from_fn(|| self.receive(Duration::ZERO)).collect()
    }

    /// Sends a request, again each half second as a client transaction does (RFC 3261 §17.1), and
    /// waits for its final response; `None` when none comes in `tries` times.
    #[must_use]
    pub fn exchange(&self, request: &Message, tries: usize) -> Option<Message> {
        (0..tries).find_map(|_| {
            self.send(request);
            std::iter::from_fn(|| self.receive(Duration::from_millis(500)))
                .find(|m| m.code() >= Some(200) && m.branch() == request.branch())
        })
    }

    /// The ACK to a refusal of `invite`.
    #[must_use]
    pub fn acknowledgement(invite: &Message, refusal: &Message) -> Message {
        let mut ack = Message::request("ACK", invite.uri());
        for name in ["Via", "From", "Call-ID", "Max-Forwards"] {
            ack = ack.with(name, invite.value(name));
        }
        ack.with("To", refusal.value("To")).with("CSeq", format!("{} ACK", invite.cseq().0))
    }

    /// Bytes sent and received so far.
    #[must_use]
    pub fn bytes(&self) -> (usize, usize) {
        (self.sent.get(), self.received.get())
    }
}

/// Where a message that reached the PBX came from, by the header the edge writes; `None` for the
/// edge's own (an ACK to a refusal).
#[must_use]
pub fn source_of(message: &Message) -> Option<SocketAddr> {
    message.header("X-Ringfence-Source")?.split(';').next()?.parse().ok()
}

/// A parameter of the header that the edge writes about a message's source.
#[must_use]
pub fn source_param(message: &Message, name: &str) -> Option<String> {
    param(message.header("X-Ringfence-Source")?, name)
}
