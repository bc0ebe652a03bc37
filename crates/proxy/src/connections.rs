//! Streams: framing, keep-alives and time budgets (RFC 3261 §18, RFC 5626 §3.5.1), and those that the
//! edge opens by itself.

use crate::Verdict;
use crate::engine::{Engine, NO_METHOD, Timer};
use crate::exchange::ExchangeId;
use crate::hashed::Hashed;
use crate::io::{CloseReason, Table};
use policy::{Budgets, Network, Pbx, Reason, Time, Who};
use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasherDefault;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use wire::stream::{Frame, Framer, Progress};
use wire::{ConnectionId, Flow, Side, Transport};

/// Requests towards one connection that are watched for its end, before those that ended are
/// looked for.
const WATCHED: usize = 16;

/// Connections of a shard that the edge opened and that are open; no more are opened.
const OPENED_MAX: usize = 512;

/// Strangers' connections looked at for one that may go.
const LOOKED_AT: usize = 64;

/// How often a connection to a carrier says that it lives (RFC 5626 §4.4.1): NATs and carriers forget
/// a silent one.
const PING_EVERY: Duration = Duration::from_secs(60);

/// Longest time that a connection's entry stays in the timing wheel.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct Connection {
    side: Side,
    flow: Flow,
    framer: Framer,
    /// How far the unfinished message has come, and when it got there.
    progress: Progress,
    since: Time,
    /// When the edge pinged last.
    pinged: Time,
    /// Whether anything has ever come.
    spoken: bool,
    /// Whether a phone has registered over it.
    registered: bool,
    /// The edge opened it to a PBX that a reload reaches otherwise.
    left: bool,
    /// Earliest entry in the timing wheel.
    armed: Time,
    /// Exchanges whose request went to this connection.
    exchanges: Vec<ExchangeId>,
}

/// All streams of a shard.
#[derive(Debug)]
pub(crate) struct Connections {
    table: HashMap<ConnectionId, Connection, BuildHasherDefault<Hashed>>,
    /// Those of strangers, as they came; some are gone, or are no strangers' any more.
    strangers: VecDeque<ConnectionId>,
    /// Those that the edge opened, and who they lead to.
    opened: Vec<(Peer<'static>, ConnectionId)>,
    /// How many it opened, ever.
    count: u64,
    capacity: usize,
    refused: u64,
}

/// Whom the edge opens a connection to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Peer<'n> {
    pub(crate) side: Side,
    /// TCP or TLS.
    pub(crate) transport: Transport,
    /// Our address towards it.
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    /// For TLS: who it must prove to be.
    pub(crate) name: Cow<'n, str>,
}

impl Connections {
    pub(crate) fn new(capacity: usize) -> Self {
        let (table, strangers, opened) = (HashMap::default(), VecDeque::new(), Vec::new());
        Connections { table, strangers, opened, count: 0, capacity, refused: 0 }
    }

    pub(crate) fn configure(&mut self, capacity: usize) {
        self.capacity = capacity;
    }

    /// One of a stranger's came. What is gone is forgotten now and then.
    fn on_stranger(&mut self, id: ConnectionId) {
        if self.strangers.len() >= self.capacity.saturating_mul(2).max(LOOKED_AT) {
            let table = &self.table;
            self.strangers.retain(|id| table.contains_key(id));
        }
        self.strangers.push_back(id);
    }

    pub(crate) fn is_open(&self, id: ConnectionId) -> bool {
        self.table.contains_key(&id)
    }

    pub(crate) fn table(&self) -> Table {
        Table { entries: self.table.len(), capacity: self.capacity, evictions: self.refused }
    }

    /// The connection to a peer that the edge opened and that is open.
    pub(crate) fn to(&self, peer: &Peer<'_>) -> Option<ConnectionId> {
        let found = self.opened.iter().find(|(opened, _)| {
            (opened.side, opened.transport, opened.local, opened.remote)
                == (peer.side, peer.transport, peer.local, peer.remote)
                && opened.name == peer.name
        });
        found.map(|(_, id)| *id)
    }
}

impl Connection {
    fn new(side: Side, flow: Flow, now: Time) -> Self {
        Connection {
            side,
            flow,
            framer: Framer::new(),
            progress: Progress::Idle,
            since: now,
            pinged: now,
            spoken: false,
            registered: false,
            left: false,
            armed: Time::FOREVER,
            exchanges: Vec::new(),
        }
    }

    /// Whether it leads to a carrier, and rests.
    fn is_kept(&self) -> bool {
        let opened = self.flow.connection.is_some_and(ConnectionId::is_opened);
        self.side == Side::Outside && opened && self.progress == Progress::Idle
    }

    fn deadline(&self, budgets: &Budgets) -> Time {
        // the PBX may be silent for as long as it likes
        if self.side == Side::Inside && self.progress == Progress::Idle && !self.left {
            return Time::FOREVER;
        }
        if self.is_kept() {
            return self.pinged.max(self.since) + PING_EVERY;
        }
        self.since
            + match self.progress {
                Progress::Idle if !self.spoken => budgets.first_byte,
                Progress::Idle => budgets.idle,
                Progress::StartLine => budgets.start_line,
                Progress::Headers => budgets.headers,
                Progress::Body => budgets.body,
            }
    }
}

impl Engine {
    pub(crate) fn on_opened(&mut self, now: Time, flow: Flow) {
        let Some(id) = flow.connection else {
            debug_assert!(false, "an opened flow has its connection");
            return;
        };
        if flow.local == self.names.inside() {
            if !self.is_pbxs(now, &flow) {
                self.event(Side::Inside, flow, NO_METHOD, 0, Verdict::Drop, Reason::NotPbx);
                return self.out.close(id, CloseReason::NotPbx);
            }
            self.connections.table.insert(id, Connection::new(Side::Inside, flow, now));
            return;
        }
        if let Some(reason) = self.gate.on_source(now, flow.remote.ip()) {
            self.event(Side::Outside, flow, NO_METHOD, 0, Verdict::Drop, reason);
            self.out.close(id, CloseReason::Banned);
            return;
        }
        if self.connections.table.len() >= self.connections.capacity {
            self.connections.refused += 1;
            match self.in_the_way(now) {
                Some(stranger) => self.close(now, stranger, CloseReason::Overload),
                None => return self.out.close(id, CloseReason::Overload),
            }
        }
        if !self.is_shared(now, Side::Outside, &flow) {
            self.connections.on_stranger(id);
        }
        self.gate.on_connection(now, &flow, true);
        self.connections.table.insert(id, Connection::new(Side::Outside, flow, now));
        self.arm_connection(now, id);
    }

    /// The connection that goes so that there is room for a new one: of strangers that nothing waits
    /// for, the one that came first. So whoever need only connect keeps no phone out: one that is
    /// known loses its connection to nobody, another has the time that it takes to fill the table.
    fn in_the_way(&mut self, now: Time) -> Option<ConnectionId> {
        for _ in 0..LOOKED_AT {
            let id = self.connections.strangers.pop_front()?;
            let Some(connection) = self.connections.table.get(&id) else { continue };
            let waited_for = !connection.exchanges.is_empty();
            if self.is_shared(now, Side::Outside, &connection.flow) {
                continue;
            }
            if !waited_for {
                return Some(id);
            }
            self.connections.strangers.push_back(id);
        }
        None
    }

    /// Whether somebody at this address is known: listed, or authenticated. Whoever takes connections
    /// asks, and lets strangers leave some room.
    #[must_use]
    pub fn knows(&self, source: IpAddr) -> bool {
        self.is_trusted(self.clock, source) || self.gate.who(self.clock, source) >= Who::Known
    }

    /// A phone's binding was confirmed over it.
    pub(crate) fn on_registered_over(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.table.get_mut(&id) else { return };
        if !std::mem::replace(&mut connection.registered, true) {
            self.out.registered(id);
        }
    }

    /// The flow of a connection to a peer: one that is open, else one that is opened now, on which
    /// can be sent at once. `None` when too many are open.
    pub(crate) fn connect(&mut self, now: Time, peer: &Peer<'_>) -> Option<Flow> {
        let Peer { side, transport, local, remote, .. } = *peer;
        let flow = |id| Flow { transport, local, remote, connection: Some(id) };
        if let Some(id) = self.connections.to(peer) {
            return Some(flow(id));
        }
        if self.connections.opened.len() >= OPENED_MAX {
            self.connections.refused += 1;
            return None;
        }
        let id = ConnectionId::opened(self.shard, self.connections.count);
        self.connections.count += 1;
        let connection = Connection { spoken: true, ..Connection::new(side, flow(id), now) };
        self.connections.table.insert(id, connection);
        let name = Cow::Owned(peer.name.clone().into_owned());
        self.connections.opened.push((Peer { name, ..peer.clone() }, id));
        self.out.connect(side, flow(id), &peer.name);
        self.arm_connection(now, id);
        Some(flow(id))
    }

    /// After a reload: a connection to a PBX that is reached otherwise, or is none any more, ends when
    /// it has been silent for as long as a client's may. What goes on there goes on.
    pub(crate) fn leave_connections(&mut self, now: Time) {
        let policy = self.policy.clone();
        let is_left = |peer: &Peer<'_>| {
            let leads = |pbx: &Pbx| {
                (pbx.transport, pbx.address) == (peer.transport, peer.remote)
                    && *pbx.host == *peer.name
            };
            peer.side == Side::Inside && !policy.pbx.iter().any(leads)
        };
        let opened = self.connections.opened.iter();
        let all: Vec<_> = opened.map(|(peer, id)| (*id, is_left(peer))).collect();
        for (id, left) in all {
            let Some(connection) = self.connections.table.get_mut(&id) else { continue };
            if left != std::mem::replace(&mut connection.left, left) && left {
                connection.since = now;
                self.arm_connection(now, id);
            }
        }
    }

    pub(crate) fn on_stream(&mut self, now: Time, id: ConnectionId, bytes: &[u8]) {
        let limits = self.policy.limits;
        let Some(connection) = self.connections.table.get_mut(&id) else { return };
        let (flow, side) = (connection.flow, connection.side);
        if side == Side::Outside
            && let Some(reason) = self.gate.on_source(now, flow.remote.ip())
        {
            self.event(Side::Outside, flow, NO_METHOD, 0, Verdict::Drop, reason);
            return self.close(now, id, CloseReason::Banned);
        }
        connection.spoken = true;
        // taken out while its messages run through the engine
        let mut framer = std::mem::take(&mut connection.framer);
        framer.push(bytes, &limits);
        let mut advanced = false;
        let broken = loop {
            let frame = framer.next_frame(&limits);
            advanced |= matches!(frame, Ok(Some(_)));
            match frame {
                Ok(Some(Frame::Message(message))) => {
                    let is_one = self.on_bytes(now, side, flow, message, false);
                    if !is_one && !self.is_shared(now, side, &flow) {
                        break true;
                    }
                }
                Ok(Some(Frame::Ping)) => {
                    let pong = self.out.copy(b"\r\n");
                    self.out.send(side, &flow, pong);
                    self.keep_alive(side, flow);
                }
                Ok(Some(Frame::Pong)) => self.keep_alive(side, flow),
                Ok(None) => break false,
                Err(malformed) => {
                    self.on_malformed(now, side, flow, framer.broken(&limits), malformed);
                    break true;
                }
            }
        };
        if broken {
            self.close(now, id, CloseReason::Malformed);
            return;
        }
        let Some(connection) = self.connections.table.get_mut(&id) else { return };
        let progress = framer.progress();
        // a slow sender gains no time by sending a byte now and then
        if advanced || progress != connection.progress {
            connection.since = now;
        }
        connection.progress = progress;
        connection.framer = framer;
        self.arm_connection(now, id);
    }

    /// Whether a connection goes on behind what could be framed and is no message. On the PBX's, a
    /// trunk's and a known phone's there are calls, which somebody else's odd header must not end; a
    /// stranger's ends with it.
    fn is_shared(&self, now: Time, side: Side, flow: &Flow) -> bool {
        let ip = flow.remote.ip();
        side == Side::Inside || self.is_trusted(now, ip) || self.gate.who(now, ip) >= Who::Known
    }

    pub(crate) fn on_closed(&mut self, now: Time, id: ConnectionId) {
        if let Some(connection) = self.connections.table.remove(&id) {
            if id.is_opened() {
                self.connections.opened.retain(|(_, opened)| *opened != id);
            } else if connection.side == Side::Outside {
                self.gate.on_connection(now, &connection.flow, false);
            }
            for exchange in connection.exchanges {
                self.on_flow_failed(now, exchange, id);
            }
        }
    }

    pub(crate) fn on_connection_due(&mut self, now: Time, id: ConnectionId) {
        let Some(connection) = self.connections.table.get_mut(&id) else { return };
        connection.armed = Time::FOREVER;
        if connection.deadline(&self.policy.budgets) > now {
            return self.arm_connection(now, id);
        }
        let (side, flow) = (connection.side, connection.flow);
        if connection.is_kept() && self.trunks.has(flow.remote) {
            connection.pinged = now;
            let ping = self.out.copy(b"\r\n\r\n");
            self.out.send(side, &flow, ping);
            return self.arm_connection(now, id);
        }
        let reason = if connection.progress == Progress::Idle && connection.spoken {
            CloseReason::Idle
        } else {
            self.event(side, flow, NO_METHOD, 0, Verdict::Drop, Reason::Slow);
            CloseReason::Slow
        };
        self.close(now, id, reason);
    }

    /// Remembers that an exchange's request went to a connection, so that it fails at once when
    /// the connection ends.
    pub(crate) fn watch(&mut self, id: ConnectionId, exchange: ExchangeId) {
        let Some(connection) = self.connections.table.get_mut(&id) else { return };
        if connection.exchanges.len() >= WATCHED
            && connection.exchanges.len() == connection.exchanges.capacity()
        {
            let exchanges = &mut self.exchanges;
            connection.exchanges.retain(|&id| {
                exchanges.at(id).is_some_and(|exchange| !exchange.client.is_terminated())
            });
        }
        connection.exchanges.push(exchange);
    }

    /// Closes all connections of a network.
    pub(crate) fn close_all(&mut self, now: Time, network: Network, reason: CloseReason) {
        let of_it = |connection: &Connection| {
            connection.side == Side::Outside && network.contains(connection.flow.remote.ip())
        };
        let table = self.connections.table.iter();
        let mut ids: Vec<_> =
            table.filter(|(_, connection)| of_it(connection)).map(|(id, _)| *id).collect();
        // the table has no order, and the same inputs give the same outputs
        ids.sort_unstable_by_key(|id| id.to_bits());
        for id in ids {
            self.close(now, id, reason);
        }
    }

    fn close(&mut self, now: Time, id: ConnectionId, reason: CloseReason) {
        self.out.close(id, reason);
        self.on_closed(now, id);
    }

    fn keep_alive(&mut self, side: Side, flow: Flow) {
        self.event(side, flow, NO_METHOD, 0, Verdict::Absorb, Reason::KeepAlive);
    }

    fn arm_connection(&mut self, now: Time, id: ConnectionId) {
        if let Some(connection) = self.connections.table.get_mut(&id) {
            let deadline = connection.deadline(&self.policy.budgets);
            if deadline < connection.armed {
                // looked at again now and then, so that a closed connection's entry is soon gone
                let at = deadline.min(now + LOOK_AGAIN);
                connection.armed = at;
                self.timers.insert(at, Timer::Connection(id));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use policy::Policy;
    use std::sync::Arc;
    use wire::ShardId;

    #[test]
    fn of_strangers_that_are_gone_few_are_remembered() {
        let mut connections = Connections::new(2);
        for n in 0..10_000 {
            connections.on_stranger(ConnectionId::new(ShardId(0), n));
            assert!(connections.strangers.len() <= LOOKED_AT, "{n}");
        }
    }

    #[test]
    fn it_opens_so_many_connections_and_no_more() {
        let inside = "127.0.0.1:5080".parse().unwrap();
        let policy = Arc::new(Policy::new(Vec::new(), inside, Vec::new()));
        let mut engine = Engine::new(policy, ShardId(0), 1, [7; 32], [1; 32]);
        let mut connect = |n: usize| {
            let remote = SocketAddr::from(([198, 18, (n >> 8) as u8, n as u8], 5061));
            let local = "203.0.113.1:5061".parse().unwrap();
            let (side, transport, name) = (Side::Outside, Transport::Tls, "carrier.example".into());
            let peer = Peer { side, transport, local, remote, name };
            engine.connect(Time::ZERO, &peer)
        };
        assert!((0..OPENED_MAX).all(|n| connect(n).is_some()));
        assert_eq!(connect(OPENED_MAX), None);
        assert!(connect(0).is_some(), "one that is open serves on");
        assert_eq!(engine.connections.table().evictions, 1);
    }
}
