//! An engine between phones, carriers and PBXs, and what leaves it.

use policy::{Policy, Rank, Time};
use proxy::{Engine, Event, Input, Learned, Output, Target};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use wire::{ConnectionId, Flow, ShardId, Side, Transport};

pub const OUTSIDE: &str = "203.0.113.1:5060";
pub const INSIDE: &str = "127.0.0.1:5080";
pub const PBX: &str = "127.0.0.1:5070";
pub const CARRIER: &str = "198.51.100.7:5060";

pub fn addr(text: &str) -> SocketAddr {
    text.parse().expect("address")
}

/// A message that left: where from and where to, over which transport, and what.
#[derive(Clone, Debug)]
pub struct Sent {
    pub local: SocketAddr,
    pub to: SocketAddr,
    pub transport: Transport,
    /// The connection that it left on.
    pub on: Option<ConnectionId>,
    pub text: String,
}

pub struct Edge {
    pub engine: Engine,
    pub now: Time,
    /// Connections that the engine opened, each with the name its other end must show.
    pub dialled: Vec<(Flow, String)>,
    pub closed: Vec<ConnectionId>,
    /// Those over which it said that a phone has registered.
    pub registered: Vec<ConnectionId>,
    /// What it told the other shards.
    pub learned: Vec<Learned>,
    /// Shards that it gave messages to.
    pub handed: Vec<ShardId>,
    /// What it decided.
    pub events: Vec<Event>,
}

impl Edge {
    pub fn new(policy: Policy) -> Self {
        Edge::of(policy, ShardId(0), 1)
    }

    pub fn of(policy: Policy, shard: ShardId, shards: u8) -> Self {
        let engine = Engine::new(Arc::new(policy), shard, shards, [7; 32], [1; 32]);
        let now = Time::ZERO + Duration::from_secs(1_700_000_000);
        let (dialled, closed, learned) = (Vec::new(), Vec::new(), Vec::new());
        let registered = Vec::new();
        let (handed, events) = (Vec::new(), Vec::new());
        Edge { engine, now, dialled, closed, registered, learned, handed, events }
    }

    /// A trunk's name leads there, in this order.
    pub fn reach(&mut self, host: &str, transport: Transport, local: &str, remotes: &[&str]) {
        let rank = Rank::default();
        let target =
            |remote: &&str| Target { transport, local: addr(local), remote: addr(remote), rank };
        let targets = remotes.iter().map(target).collect();
        self.learn(Learned::Targets { host: host.into(), targets });
    }

    pub fn learn(&mut self, learned: Learned) {
        self.engine.handle_input(self.now, Input::Learned(learned));
    }

    /// A connection comes; which had to go for it.
    pub fn opens(&mut self, number: u64, way: Transport, remote: &str) -> Vec<ConnectionId> {
        let connection = Some(ConnectionId::new(ShardId(0), number));
        let way = Flow { transport: way, connection, ..Flow::udp(addr(OUTSIDE), addr(remote)) };
        self.dialled.push((way, String::new()));
        self.input(Input::Opened { flow: way });
        std::mem::take(&mut self.closed)
    }

    pub fn input(&mut self, input: Input<'_>) -> Vec<Sent> {
        self.engine.handle_input(self.now, input);
        self.sent()
    }

    pub fn datagram(&mut self, side: Side, local: &str, remote: &str, text: &str) -> Vec<Sent> {
        let (local, remote, bytes) = (addr(local), addr(remote), &crlf(text));
        self.input(Input::Datagram { side, local, remote, bytes })
    }

    pub fn outside(&mut self, remote: &str, text: &str) -> Vec<Sent> {
        self.datagram(Side::Outside, OUTSIDE, remote, text)
    }

    pub fn inside(&mut self, remote: &str, text: &str) -> Vec<Sent> {
        self.datagram(Side::Inside, INSIDE, remote, text)
    }

    pub fn stream(&mut self, connection: ConnectionId, text: &str) -> Vec<Sent> {
        self.input(Input::Stream { connection, bytes: &crlf(text) })
    }

    /// Lets time pass; what is sent meanwhile.
    pub fn pass(&mut self, length: Duration) -> Vec<Sent> {
        let until = self.now + length;
        let mut all = Vec::new();
        while let Some(at) = self.engine.poll_timeout().filter(|at| *at <= until) {
            self.now = self.now.max(at) + Duration::from_millis(2);
            self.engine.handle_timeout(self.now);
            all.extend(self.sent());
        }
        self.now = self.now.max(until);
        all
    }

    fn sent(&mut self) -> Vec<Sent> {
        let mut sent = Vec::new();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        while let Some(output) = self.engine.poll_output() {
            match output {
                Output::Datagram { local, remote, bytes, .. } => {
                    let (to, transport, on, text) = (remote, Transport::Udp, None, text(bytes));
                    sent.push(Sent { local, to, transport, on, text });
                }
                Output::Stream { connection, bytes } => {
                    let on = Some(connection);
                    let mut flows = self.dialled.iter().map(|(flow, _)| *flow);
                    let flow = flows.find(|flow| flow.connection == on);
                    let flow = flow.expect("a connection that the engine opened");
                    let Flow { local, remote: to, transport, .. } = flow;
                    sent.push(Sent { local, to, transport, on, text: text(bytes) });
                }
                Output::Connect { flow, name, .. } => self.dialled.push((flow, name.to_owned())),
                Output::Close { connection, .. } => self.closed.push(connection),
                Output::Registered { connection } => self.registered.push(connection),
                Output::Learned(learned) => self.learned.push(learned),
                Output::HandOver { shard, .. } => self.handed.push(shard),
                Output::Event(event) => self.events.push(event),
                _ => {}
            }
        }
        sent
    }
}

fn crlf(text: &str) -> Vec<u8> {
    text.replace("\r\n", "\n").replace('\n', "\r\n").into_bytes()
}

/// What goes to `whom` and begins so.
pub fn to<'s>(sent: &'s [Sent], whom: &str, begin: &str) -> Vec<&'s str> {
    let it = sent.iter().filter(|it| it.to == addr(whom) && it.text.starts_with(begin));
    it.map(|it| &*it.text).collect()
}

/// The answer of whoever got this request, with `more` header lines.
pub fn answer(request: &str, status: &str, more: &str) -> String {
    let lines = |name: &str| {
        let lines = request.lines().filter(|line| line.starts_with(name));
        lines.map(|line| format!("{line}\n")).collect::<String>()
    };
    let head = ["Via:", "From:", "Call-ID:", "CSeq:", "Record-Route:"].map(lines).concat();
    let to = lines("To:").trim_end().to_owned();
    let tag = if to.contains("tag=") { "" } else { ";tag=t" };
    format!("SIP/2.0 {status}\n{head}{to}{tag}\n{more}Content-Length: 0\n\n")
}
