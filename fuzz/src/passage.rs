//! The whole engine: hostile bytes from outside, a PBX that answers, phones that answer, streams
//! cut anywhere, and time.

use crate::Verdict;
use crate::mutation::{Random, TOKENS};
use policy::{Listener, Pbx, Policy, Time};
use proxy::{Engine, Event, Input, Output, Snapshot};
use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use wire::reply::Reply;
use wire::{ConnectionId, Flow, HeaderName, Limits, Message, ShardId, Side, Transport};

/// Addresses that outside messages come from.
const SOURCES: usize = 40;
/// Streams at a time.
const STREAMS: usize = 8;
/// Requests remembered, to be answered.
const REMEMBERED: usize = 32;
const STATUSES: [u16; 12] = [100, 180, 183, 200, 200, 302, 401, 407, 404, 486, 487, 503];
const OUTSIDE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1)), 5060);
const INSIDE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 5080);
const PBX: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 5070);

/// One message through a fresh engine, and all that may follow it.
pub fn engine(bytes: &[u8]) -> Verdict {
    let mut voyage = Voyage::new();
    let verdict = voyage.take(bytes);
    for _ in 0..4 {
        voyage.take(bytes);
    }
    voyage.land();
    verdict
}

/// One message through the engine that took all before it: for long runs, which show growth.
pub fn voyage(bytes: &[u8]) -> Verdict {
    thread_local! {
        static VOYAGE: RefCell<Voyage> = RefCell::new(Voyage::new());
    }
    VOYAGE.with_borrow_mut(|voyage| {
        let verdict = voyage.take(bytes);
        if voyage.count.is_multiple_of(10_000) {
            voyage.land();
        }
        verdict
    })
}

struct Voyage {
    engine: Engine,
    now: Time,
    count: u64,
    opened: u64,
    streams: [Option<ConnectionId>; STREAMS],
    /// Requests that left, with the side they left to and where to.
    left: Vec<(Side, Flow, Vec<u8>)>,
}

impl Voyage {
    fn new() -> Self {
        let listener = Listener { transport: Transport::Udp, address: OUTSIDE, advertise: None };
        let tcp = Listener { transport: Transport::Tcp, ..listener.clone() };
        let pbx = Pbx::new(PBX);
        let mut policy = Policy::new(vec![listener, tcp], INSIDE, vec![pbx]);
        policy.domains = vec!["example.com".into()];
        policy.capacities.exchanges = 2_000;
        policy.capacities.bindings = 100;
        policy.capacities.nonces = 500;
        policy.capacities.connections = STREAMS;
        policy.capacities.retained_bytes = 4 << 20;
        policy.answer_malformed = true;
        let engine = Engine::new(Arc::new(policy), ShardId(0), 1, [7; 32], [1; 32]);
        let now = Time::ZERO + Duration::from_secs(1_700_000_000);
        Voyage { engine, now, count: 0, opened: 0, streams: [None; STREAMS], left: Vec::new() }
    }

    fn take(&mut self, bytes: &[u8]) -> Verdict {
        self.count += 1;
        let mut random = Random::of(bytes);
        for _ in 0..self.count % 7 {
            random.number();
        }
        self.pass(Duration::from_millis(random.below(40) as u64));
        let events = match random.below(10) {
            0..=5 => self.outside(source(&mut random), bytes),
            6 => self.inside(bytes),
            7 | 8 => self.stream(bytes, &mut random),
            _ => self.called(&mut random),
        };
        for _ in 0..random.below(3) {
            self.answer(&mut random);
        }
        let Some(event) = events.first() else { return "nothing".into() };
        format!("{:?} {}", event.verdict, event.reason.as_str())
    }

    fn outside(&mut self, remote: SocketAddr, bytes: &[u8]) -> Vec<Event> {
        let input = Input::Datagram { side: Side::Outside, local: OUTSIDE, remote, bytes };
        self.input(input, Some(1))
    }

    fn inside(&mut self, bytes: &[u8]) -> Vec<Event> {
        let input = Input::Datagram { side: Side::Inside, local: INSIDE, remote: PBX, bytes };
        self.input(input, Some(1))
    }

    fn stream(&mut self, bytes: &[u8], random: &mut Random) -> Vec<Event> {
        let place = random.below(STREAMS);
        let connection = match self.streams[place] {
            Some(connection) => connection,
            None => {
                self.opened += 1;
                let connection = ConnectionId::new(ShardId(0), self.opened);
                let remote = source(random);
                let transport = Transport::Tcp;
                let connection_of = Some(connection);
                let flow = Flow { transport, local: OUTSIDE, remote, connection: connection_of };
                self.streams[place] = Some(connection);
                self.input(Input::Opened { flow }, None);
                connection
            }
        };
        let mut events = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            let (chunk, after) = rest.split_at(1 + random.below(rest.len()));
            events.extend(self.input(Input::Stream { connection, bytes: chunk }, None));
            rest = after;
        }
        if random.below(16) == 0 {
            self.closed(connection);
        }
        events
    }

    fn closed(&mut self, connection: ConnectionId) {
        for place in &mut self.streams {
            if *place == Some(connection) {
                *place = None;
            }
        }
        self.input(Input::Closed { connection }, None);
    }

    /// The PBX calls a Contact that a REGISTER brought.
    fn called(&mut self, random: &mut Random) -> Vec<Event> {
        let limits = Limits::default();
        let contact = self.left.iter().find_map(|(side, _, bytes)| {
            let message = Message::parse(bytes, &limits).ok()?;
            let value = message.values(HeaderName::Contact).next()?;
            let address = wire::NameAddr::parse(value.bytes, value.span.start)?;
            (*side == Side::Inside).then(|| address.uri.to_vec())
        });
        let uri = contact.unwrap_or_else(|| b"sip:nobody@127.0.0.1:5080".to_vec());
        let method = ["INVITE", "OPTIONS", "NOTIFY", "MESSAGE"][random.below(4)];
        let (branch, uri) = (random.number(), String::from_utf8_lossy(&uri).into_owned());
        let text = format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:5070;branch=z9hG4bK{branch}\r\n\
             From: <sip:pbx@127.0.0.1>;tag={branch}\r\nTo: <{uri}>\r\nCall-ID: {branch}\r\n\
             CSeq: 1 {method}\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
        );
        self.inside(text.as_bytes())
    }

    /// Whoever got a request answers it, mostly well.
    fn answer(&mut self, random: &mut Random) {
        if self.left.is_empty() {
            return;
        }
        let place = random.below(self.left.len());
        let (side, flow, request) = self.left[place].clone();
        let limits = Limits::default();
        let Ok(message) = Message::parse(&request, &limits) else {
            panic!("what leaves can be read: {}", request.escape_ascii());
        };
        let challenge = b"WWW-Authenticate: Digest realm=\"a\", nonce=\"n1\"\r\n";
        let status = STATUSES[random.below(STATUSES.len())];
        let headers: &[u8] = if matches!(status, 401 | 407) { challenge } else { b"" };
        let reply = Reply { status, reason: "x", to_tag: b"t", headers, source: flow.remote, compact: false };
        let mut bytes = Vec::new();
        reply.write(&message, &mut bytes);
        if random.below(4) == 0 {
            let at = random.below(bytes.len());
            bytes.splice(at..at, TOKENS[random.below(TOKENS.len())].iter().copied());
        }
        match (side, flow.connection) {
            (Side::Inside, _) => drop(self.inside(&bytes)),
            (Side::Outside, None) => drop(self.outside(flow.remote, &bytes)),
            (Side::Outside, Some(connection)) => {
                self.input(Input::Stream { connection, bytes: &bytes }, None);
            }
        }
    }

    fn pass(&mut self, length: Duration) {
        self.now = self.now + length;
        for _ in 0..10_000 {
            match self.engine.poll_timeout() {
                Some(at) if at <= self.now => {
                    self.engine.handle_timeout(self.now);
                    self.drain();
                }
                _ => return,
            }
        }
        panic!("deadlines do not end");
    }

    fn input(&mut self, input: Input<'_>, expected: Option<usize>) -> Vec<Event> {
        self.engine.handle_input(self.now, input);
        let events = self.drain();
        if let Some(expected) = expected {
            assert_eq!(events.len(), expected, "each message makes one event: {events:?}");
        }
        events
    }

    fn drain(&mut self) -> Vec<Event> {
        let (mut events, mut closed) = (Vec::new(), Vec::new());
        while let Some(output) = self.engine.poll_output() {
            let (side, flow, bytes) = match output {
                Output::Datagram { side, local, remote, bytes } => {
                    if side == Side::Inside {
                        assert_eq!((local, remote), (INSIDE, PBX), "inside is the PBX only");
                    } else {
                        assert!(is_source(remote.ip()), "{remote} never asked");
                    }
                    (side, Flow::udp(local, remote), bytes)
                }
                Output::Stream { connection, bytes } => {
                    let flow = Flow { connection: Some(connection), ..Flow::udp(OUTSIDE, OUTSIDE) };
                    (Side::Outside, flow, bytes)
                }
                Output::Close { connection, .. } => {
                    closed.push(connection);
                    continue;
                }
                Output::Event(event) => {
                    events.push(event);
                    continue;
                }
                Output::Ban(_)
                | Output::Lift(_)
                | Output::Recalled(_)
                | Output::Remember(_)
                | Output::Evidence(..)
                | Output::Registered { .. }
                | Output::Alert(_) => continue,
                other => panic!("one shard has nobody to talk to: {other:?}"),
            };
            if !bytes.starts_with(b"SIP/2.0") && bytes.len() > 4 {
                if self.left.len() == REMEMBERED {
                    self.left.remove(0);
                }
                self.left.push((side, flow, bytes.to_vec()));
            }
        }
        self.check();
        for connection in closed {
            self.closed(connection);
        }
        events
    }

    fn check(&self) {
        let snapshot = self.engine.snapshot();
        let Snapshot { exchanges, bindings, nonces, connections, retained_bytes, .. } = snapshot;
        assert_eq!(snapshot.outputs, 0);
        for table in [exchanges, bindings, nonces, connections, retained_bytes] {
            assert!(table.entries <= table.capacity, "{snapshot:?}");
        }
        assert!(snapshot.unanswered <= exchanges.entries, "{snapshot:?}");
    }

    /// All ends: when time has passed, nothing is left.
    fn land(&mut self) {
        for connection in self.streams.into_iter().flatten() {
            self.closed(connection);
        }
        for _ in 0..60 {
            self.pass(Duration::from_secs(10));
        }
        let snapshot = self.engine.snapshot();
        let left = (snapshot.exchanges.entries, snapshot.unanswered, snapshot.timers);
        assert_eq!(left, (0, 0, 0), "{snapshot:?}");
        assert_eq!(snapshot.retained_bytes.entries, 0, "{snapshot:?}");
        assert_eq!(snapshot.connections.entries, 0, "{snapshot:?}");
    }
}

fn source(random: &mut Random) -> SocketAddr {
    let host = random.below(SOURCES) as u8;
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, 51, 100, host)), 5060 + random.below(3) as u16)
}

fn is_source(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V4(v4) if v4.octets()[..3] == [198, 51, 100])
}
