//! Outside streams: framing, keep-alives and time budgets (RFC 3261 §18, RFC 5626 §3.5.1).

use crate::engine::{Engine, NO_METHOD, Timer};
use crate::exchange::ExchangeId;
use crate::hashed::Hashed;
use crate::io::{CloseReason, Table};
use crate::{Event, Verdict};
use policy::{Budgets, Network, Reason, Time};
use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::time::Duration;
use wire::stream::{Frame, Framer, Progress};
use wire::{ConnectionId, Flow, Side};

/// Requests towards one connection that are watched for its end, before those that ended are
/// looked for.
const WATCHED: usize = 16;

/// Longest time that a connection's entry stays in the timing wheel.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct Connection {
    flow: Flow,
    framer: Framer,
    /// How far the unfinished message has come, and when it got there.
    progress: Progress,
    since: Time,
    /// Whether anything has ever come.
    spoken: bool,
    /// Earliest entry in the timing wheel.
    armed: Time,
    /// Exchanges whose request went to this connection.
    exchanges: Vec<ExchangeId>,
}

/// All streams of a shard.
#[derive(Debug)]
pub(crate) struct Connections {
    table: HashMap<ConnectionId, Connection, BuildHasherDefault<Hashed>>,
    capacity: usize,
    refused: u64,
}

impl Connections {
    pub(crate) fn new(capacity: usize) -> Self {
        Connections { table: HashMap::default(), capacity, refused: 0 }
    }

    pub(crate) fn configure(&mut self, capacity: usize) {
        self.capacity = capacity;
    }

    pub(crate) fn is_open(&self, id: ConnectionId) -> bool {
        self.table.contains_key(&id)
    }

    pub(crate) fn table(&self) -> Table {
        Table { entries: self.table.len(), capacity: self.capacity, evictions: self.refused }
    }
}

impl Connection {
    fn deadline(&self, budgets: &Budgets) -> Time {
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
        if self.connections.table.len() >= self.connections.capacity {
            self.connections.refused += 1;
            self.out.close(id, CloseReason::Overload);
            return;
        }
        if let Some(reason) = self.gate.on_source(now, flow.remote.ip()) {
            self.event(Side::Outside, flow, NO_METHOD, 0, Verdict::Drop, reason);
            self.out.close(id, CloseReason::Banned);
            return;
        }
        self.gate.on_connection(now, &flow, true);
        self.connections.table.insert(
            id,
            Connection {
                flow,
                framer: Framer::new(),
                progress: Progress::Idle,
                since: now,
                spoken: false,
                armed: Time::FOREVER,
                exchanges: Vec::new(),
            },
        );
        self.arm_connection(now, id);
    }

    pub(crate) fn on_stream(&mut self, now: Time, id: ConnectionId, bytes: &[u8]) {
        let limits = self.policy.limits;
        let Some(connection) = self.connections.table.get_mut(&id) else { return };
        let flow = connection.flow;
        if let Some(reason) = self.gate.on_source(now, flow.remote.ip()) {
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
                    if !self.on_bytes(now, Side::Outside, flow, message, false) {
                        break true;
                    }
                }
                Ok(Some(Frame::Ping)) => {
                    let pong = self.out.copy(b"\r\n");
                    self.out.send(Side::Outside, &flow, pong);
                    self.keep_alive(flow);
                }
                Ok(Some(Frame::Pong)) => self.keep_alive(flow),
                Ok(None) => break false,
                Err(malformed) => {
                    self.gate.on_malformed(now, &flow);
                    let (side, verdict) = (Side::Outside, Verdict::Drop);
                    let event = Event::new(side, flow, NO_METHOD, 0, verdict, Reason::Malformed);
                    let (detail, policy_version) = (malformed.as_str(), self.policy.version);
                    self.out.event(Event { detail, policy_version, ..event });
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

    pub(crate) fn on_closed(&mut self, now: Time, id: ConnectionId) {
        if let Some(connection) = self.connections.table.remove(&id) {
            self.gate.on_connection(now, &connection.flow, false);
            for exchange in connection.exchanges {
                self.on_flow_failed(now, exchange);
            }
        }
    }

    pub(crate) fn on_connection_due(&mut self, now: Time, id: ConnectionId) {
        let Some(connection) = self.connections.table.get_mut(&id) else { return };
        connection.armed = Time::FOREVER;
        if connection.deadline(&self.policy.budgets) > now {
            return self.arm_connection(now, id);
        }
        let flow = connection.flow;
        let reason = if connection.progress == Progress::Idle && connection.spoken {
            CloseReason::Idle
        } else {
            self.event(Side::Outside, flow, NO_METHOD, 0, Verdict::Drop, Reason::Slow);
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
        let of_it = |connection: &Connection| network.contains(connection.flow.remote.ip());
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

    fn keep_alive(&mut self, flow: Flow) {
        self.event(Side::Outside, flow, NO_METHOD, 0, Verdict::Absorb, Reason::KeepAlive);
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
