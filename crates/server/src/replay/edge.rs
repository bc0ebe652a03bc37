//! An engine, its connections and its time: the driver of an edge without sockets.

use admission::{Ban, Lift};
use policy::{Policy, Time};
use proxy::{Engine, Event, Input, Output};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use wire::{ConnectionId, Flow, ShardId, Side, Transport};

pub(super) const SHARD: ShardId = ShardId(0);
/// Calls of `handle_timeout` that one moment may cause, so that a leap in time ends.
const TIMEOUTS_MAX: usize = 1 << 20;

/// Who hears what an edge does.
pub(super) trait Sink {
    /// It sends a message.
    fn sent(&mut self, side: Side, to: SocketAddr, transport: Transport, bytes: &[u8]);
    /// It closes the connection of a peer.
    fn closed(&mut self, peer: SocketAddr);
    /// It decided about a message.
    fn decided(&mut self, event: &Event);
    /// A ban began or was renewed.
    fn banned(&mut self, ban: &Ban);
    /// A ban ended.
    fn lifted(&mut self, lift: &Lift);
}

/// What comes to an edge, its bytes apart.
#[derive(Clone, Copy, Debug)]
pub(super) enum Happening {
    /// Time goes by.
    Tick,
    /// A datagram.
    Datagram { side: Side, local: SocketAddr, remote: SocketAddr },
    /// A connection.
    Opened { transport: Transport, local: SocketAddr, remote: SocketAddr },
    /// Bytes on it.
    Data { remote: SocketAddr },
    /// Its end.
    Closed { remote: SocketAddr },
}

/// One shard without sockets.
#[derive(Debug)]
pub(super) struct Edge {
    engine: Engine,
    policy: Arc<Policy>,
    /// `None` before anything happened.
    now: Option<Time>,
    connections: Connections,
}

impl Edge {
    pub(super) fn new(policy: Policy, secret: [u8; 32], seed: [u8; 32]) -> Self {
        let mut policy = policy.with_one_pbx();
        // nobody asks this edge to explain itself
        policy.capacities.decisions = 0;
        let policy = Arc::new(policy);
        Edge {
            engine: Engine::new(policy.clone(), SHARD, 1, secret, seed),
            policy,
            now: None,
            connections: Connections::default(),
        }
    }

    pub(super) fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }

    /// Lets something happen at `asked`, or now if that is later, after what was due before. When
    /// the engine has something to do by itself.
    pub(super) fn happen(
        &mut self,
        asked: Time,
        event: Happening,
        bytes: &[u8],
        sink: &mut impl Sink,
    ) -> Option<Time> {
        // what lies before the first moment is no time to catch up with
        let last = self.now.unwrap_or(asked);
        let now = asked.max(last);
        let mut calls = 0;
        self.catch_up(last, now, &mut calls, sink);
        self.now = Some(now);
        self.meet(now, event, bytes, sink);
        self.fire_due(now, &mut calls, sink);
        self.engine.poll_timeout().filter(|at| *at < Time::FOREVER)
    }

    /// Deadlines before `now` fire each at its own time, as if somebody had come back for them.
    fn catch_up(&mut self, last: Time, now: Time, calls: &mut usize, sink: &mut impl Sink) {
        let mut at = last;
        while let Some(due) = self.engine.poll_timeout()
            && due < now
            && *calls < TIMEOUTS_MAX
        {
            *calls += 1;
            at = at.max(due);
            self.engine.handle_timeout(at);
            self.fetch(at, sink);
        }
    }

    /// Deadlines at `now` come after what happened at `now`, as in the live driver.
    fn fire_due(&mut self, now: Time, calls: &mut usize, sink: &mut impl Sink) {
        while self.engine.poll_timeout().is_some_and(|due| due <= now) && *calls < TIMEOUTS_MAX {
            *calls += 1;
            self.engine.handle_timeout(now);
            self.fetch(now, sink);
        }
    }

    fn meet(&mut self, now: Time, event: Happening, bytes: &[u8], sink: &mut impl Sink) {
        match event {
            Happening::Tick => {}
            Happening::Datagram { side, local, remote } => {
                self.engine.handle_input(now, Input::Datagram { side, local, remote, bytes });
                self.fetch(now, sink);
            }
            Happening::Opened { transport, local, remote } => {
                // a port that is used again: the old connection has ended unseen
                self.on_closed(now, remote, sink);
                let connection = Some(self.connections.open(remote, transport));
                let flow = Flow { transport, local, remote, connection };
                self.engine.handle_input(now, Input::Opened { flow });
                self.fetch(now, sink);
            }
            Happening::Data { remote } => match self.connections.of(remote) {
                Some(connection) => {
                    self.engine.handle_input(now, Input::Stream { connection, bytes });
                    self.fetch(now, sink);
                }
                // what a kernel's RST says to bytes of no connection
                None => sink.closed(remote),
            },
            Happening::Closed { remote } => self.on_closed(now, remote, sink),
        }
    }

    fn on_closed(&mut self, now: Time, remote: SocketAddr, sink: &mut impl Sink) {
        if let Some(connection) = self.connections.of(remote) {
            self.connections.close(connection);
            self.engine.handle_input(now, Input::Closed { connection });
            self.fetch(now, sink);
        }
    }

    /// Fetches all outputs; what the engine closes is closed.
    fn fetch(&mut self, now: Time, sink: &mut impl Sink) {
        let mut closed = Vec::new();
        loop {
            while let Some(output) = self.engine.poll_output() {
                match output {
                    Output::Datagram { side, remote, bytes, .. } => {
                        sink.sent(side, remote, Transport::Udp, bytes);
                    }
                    Output::Stream { connection, bytes } => {
                        if let Some((peer, transport)) = self.connections.peer(connection) {
                            sink.sent(Side::Outside, peer, transport, bytes);
                        }
                    }
                    // the one PBX is reached over UDP
                    Output::Connect { .. } => {}
                    Output::Close { connection, .. } => {
                        if let Some((peer, _)) = self.connections.peer(connection) {
                            sink.closed(peer);
                            self.connections.close(connection);
                            closed.push(connection);
                        }
                    }
                    Output::Event(event) => sink.decided(&event),
                    // there are no other shards
                    Output::HandOver { .. } | Output::Learned(_) => {}
                    Output::Ban(ban) => sink.banned(&ban),
                    Output::Lift(lift) => sink.lifted(&lift),
                    // nothing is recalled, and this life ends with its input
                    Output::Recalled(_) | Output::Remember(_) | Output::Evidence(..) => {}
                    // nobody is there to be told
                    Output::Alert(_) => {}
                }
            }
            let Some(connection) = closed.pop() else { return };
            self.engine.handle_input(now, Input::Closed { connection });
        }
    }
}

/// Open connections: a peer's address has at most one. The engine bounds their number.
#[derive(Debug, Default)]
struct Connections {
    opened: u64,
    by_peer: HashMap<SocketAddr, ConnectionId>,
    peers: HashMap<ConnectionId, (SocketAddr, Transport)>,
}
impl Connections {
    fn open(&mut self, peer: SocketAddr, transport: Transport) -> ConnectionId {
        self.opened += 1;
        let connection = ConnectionId::new(SHARD, self.opened);
        self.by_peer.insert(peer, connection);
        self.peers.insert(connection, (peer, transport));
        connection
    }

    fn of(&self, peer: SocketAddr) -> Option<ConnectionId> {
        self.by_peer.get(&peer).copied()
    }

    fn peer(&self, connection: ConnectionId) -> Option<(SocketAddr, Transport)> {
        self.peers.get(&connection).copied()
    }

    fn close(&mut self, connection: ConnectionId) {
        if let Some((peer, _)) = self.peers.remove(&connection) {
            self.by_peer.remove(&peer);
        }
    }
}
