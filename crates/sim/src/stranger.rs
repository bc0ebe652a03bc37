//! A scanner: sends what it is told, from one address, and never answers anything.

use crate::net::{Arrival, Node, Outbox, Request};
use crate::rng::Rng;
use policy::Time;
use std::net::SocketAddr;
use wire::Transport;

/// A raw source of INVITEs that never retries.
#[derive(Debug)]
pub struct Stranger {
    /// Where it sends from.
    pub local: SocketAddr,
    /// Where to.
    pub server: SocketAddr,
    /// What came back.
    pub received: Vec<String>,
    rng: Rng,
}

impl Stranger {
    /// A stranger.
    #[must_use]
    pub fn new(local: SocketAddr, server: SocketAddr, rng: Rng) -> Self {
        Stranger { local, server, received: Vec::new(), rng }
    }

    /// Sends a request like sipcli's: each time another call.
    pub fn knock(&mut self, method: &str, extension: &str, out: &mut Outbox) {
        let Stranger { local, server, rng, .. } = self;
        let (branch, tag, call_id) = (rng.hex(12), rng.hex(8), rng.hex(16));
        let text = format!(
            "{method} sip:{extension}@{server} SIP/2.0\r\n\
             Via: SIP/2.0/UDP {local};branch=z9hG4bK-{branch}\r\n\
             From: \"sipcli\" <sip:sipcli@{server}>;tag={tag}\r\n\
             To: <sip:{extension}@{server}>\r\n\
             Call-ID: {call_id}\r\nCSeq: 1 {method}\r\nMax-Forwards: 70\r\n\
             Contact: <sip:sipcli@{local}>\r\nUser-Agent: sipcli/v1.8\r\n\
             Content-Length: 0\r\n\r\n"
        );
        self.send(text.into_bytes(), out);
    }

    /// Sends any bytes.
    pub fn send(&mut self, bytes: Vec<u8>, out: &mut Outbox) {
        out.push(Request::Datagram { local: self.local, remote: self.server, bytes });
    }
}

impl Node for Stranger {
    fn handle(&mut self, _now: Time, arrival: Arrival, _out: &mut Outbox) {
        if let Arrival::Datagram { bytes, .. } = arrival {
            let text = String::from_utf8_lossy(&bytes);
            self.received.push(text.lines().next().unwrap_or_default().to_string());
        }
    }

    fn tick(&mut self, _now: Time, _out: &mut Outbox) {}

    fn deadline(&self) -> Option<Time> {
        None
    }

    fn listens(&self, local: SocketAddr) -> bool {
        local == self.local
    }

    fn accepts(&self, _local: SocketAddr, _transport: Transport) -> bool {
        false
    }
}
