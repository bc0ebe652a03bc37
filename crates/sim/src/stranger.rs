//! A scanner: sends what it is told, from one address, and never answers anything.

use crate::net::{Arrival, Node, Outbox, Request};
use crate::rng::Rng;
use crate::sip::{Msg, SipUri, auth_param};
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
    /// The last message that came back.
    pub last: Vec<u8>,
    rng: Rng,
}

impl Stranger {
    /// A stranger.
    #[must_use]
    pub fn new(local: SocketAddr, server: SocketAddr, rng: Rng) -> Self {
        Stranger { local, server, received: Vec::new(), last: Vec::new(), rng }
    }

    /// Sends a request like sipcli's: each time another call.
    pub fn knock(&mut self, method: &str, extension: &str, line: &str, out: &mut Outbox) {
        let Stranger { local, server, rng, .. } = self;
        let (branch, tag, call_id) = (rng.hex(12), rng.hex(8), rng.hex(16));
        let text = format!(
            "{method} sip:{extension}@{server} SIP/2.0\r\n\
             Via: SIP/2.0/UDP {local};branch=z9hG4bK-{branch}\r\n\
             From: \"sipcli\" <sip:sipcli@{server}>;tag={tag}\r\n\
             To: <sip:{extension}@{server}>\r\n\
             Call-ID: {call_id}\r\nCSeq: 1 {method}\r\nMax-Forwards: 70\r\n\
             Contact: <sip:sipcli@{local}>\r\n{line}\r\n\
             X-Ringfence-Source: 127.0.0.1:5070;transport=udp\r\n\
             Content-Length: 0\r\n\r\n"
        );
        self.send(text.into_bytes(), out);
    }

    /// Sends another's message as if it were its own, with some bytes changed.
    pub fn replay(&mut self, mut bytes: Vec<u8>, changes: u64, out: &mut Outbox) {
        for _ in 0..changes {
            let at = self.rng.below(bytes.len() as u64) as usize;
            let with = b"\0\r\n :;,<>@\"=%a9\xff"[self.rng.below(16) as usize];
            match self.rng.below(3) {
                0 => bytes.insert(at, with),
                1 if bytes.len() > 1 => drop(bytes.remove(at)),
                _ => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte = with),
            }
        }
        self.send(bytes, out);
    }

    /// Registers another's Contact for another's AOR, with a nonce that was honestly come by and
    /// a response that is made up.
    pub fn claim(&mut self, aor: &str, contact: &str, out: &mut Outbox) {
        let challenge = Msg::parse(&self.last).unwrap_or_default();
        let nonce = auth_param(challenge.value("WWW-Authenticate"), "nonce").unwrap_or_default();
        let mut register = Msg::request("REGISTER", "sip:pbx.example.com");
        let user = SipUri::parse(aor).unwrap_or_default().user;
        register
            .add("Via", &format!("SIP/2.0/UDP {};branch=z9hG4bK{}", self.local, self.rng.hex(12)))
            .add("Max-Forwards", "70")
            .add("From", &format!("<{aor}>;tag={}", self.rng.hex(8)))
            .add("To", &format!("<{aor}>"))
            .add("Call-ID", &self.rng.hex(16))
            .add("CSeq", "2 REGISTER")
            .add("Contact", &format!("<{contact}>"))
            .add(
                "Authorization",
                &format!(
                    "Digest username=\"{user}\", realm=\"asterisk\", nonce=\"{nonce}\", \
                     uri=\"sip:pbx.example.com\", response=\"{}\", algorithm=MD5",
                    self.rng.hex(32)
                ),
            );
        self.send(register.to_bytes(), out);
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
            self.last.clone_from(&bytes);
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
