//! An engine, its connections and its time: the driver of an edge without sockets.

use admission::{Ban, Lift};
use policy::{Policy, Time};
use proxy::{Engine, Event, Input, Learned, Output};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use wire::{ConnectionId, Flow, Message, Method, Reply, ShardId, Side, Transport};

/// Calls of `handle_timeout` that one moment may cause, so that a leap in time ends.
const TIMEOUTS_MAX: usize = 1 << 20;
/// From-tag of the OPTIONS by which the edge asks whether a PBX serves.
const CHECK: &[u8] = b"check";

/// Who hears what an edge does.
pub(crate) trait Sink {
    /// It sends a message.
    fn sent(&mut self, side: Side, flow: &Flow, bytes: &[u8]);
    /// It closes the connection of a peer.
    fn closed(&mut self, peer: SocketAddr);
    /// It decided about a message.
    fn decided(&mut self, event: &Event);
    /// A ban began or was renewed.
    fn banned(&mut self, ban: &Ban);
    /// A ban ended.
    fn lifted(&mut self, lift: &Lift);
    /// It learned what other shards must know. One shard has nobody to tell.
    fn learned(&mut self, _: Learned) {}
}

/// What comes to an edge, its bytes apart.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Happening {
    /// Time goes by.
    Tick,
    /// A datagram.
    Datagram { side: Side, local: SocketAddr, remote: SocketAddr },
    /// A connection.
    Opened { transport: Transport, local: SocketAddr, remote: SocketAddr },
    /// Bytes on the last connection of a peer.
    Data { remote: SocketAddr },
    /// What a PBX sends by a flow that the edge has to it.
    Said { flow: Flow },
    /// The end of a peer's connections.
    Closed { remote: SocketAddr },
}

/// Which shard of how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seat {
    pub(crate) shard: ShardId,
    pub(crate) shards: u8,
}

impl Seat {
    /// Of one, the only one.
    pub(crate) const ALONE: Seat = Seat { shard: ShardId(0), shards: 1 };
}

/// One shard without sockets.
#[derive(Debug)]
pub(crate) struct Edge {
    engine: Engine,
    shard: ShardId,
    policy: Arc<Policy>,
    /// `None` before anything happened.
    now: Option<Time>,
    connections: Connections,
    /// All PBXs say that they serve: nobody plays them who would.
    healthy: bool,
}

impl Edge {
    /// An edge of one shard.
    pub(crate) fn new(policy: Policy, secret: [u8; 32], seed: [u8; 32]) -> Self {
        Edge::among(policy, Seat::ALONE, secret, seed)
    }

    /// One shard among several.
    pub(crate) fn among(mut policy: Policy, seat: Seat, secret: [u8; 32], seed: [u8; 32]) -> Self {
        // nobody asks this edge to explain itself
        policy.capacities.decisions = 0;
        let policy = Arc::new(policy);
        let Seat { shard, shards } = seat;
        Edge {
            engine: Engine::new(policy.clone(), shard, shards, secret, seed),
            shard,
            policy,
            now: None,
            connections: Connections::default(),
            healthy: false,
        }
    }

    /// Has all PBXs answer the edge when it asks whether they serve.
    pub(crate) fn with_healthy_pbxs(self) -> Self {
        Edge { healthy: true, ..self }
    }

    pub(crate) fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }

    /// Its address on the side of the PBXs.
    pub(crate) fn inside(&self) -> SocketAddr {
        self.policy.inside_of(self.shard)
    }

    /// Takes what another shard learned, at `now` or later.
    pub(crate) fn learn(&mut self, now: Time, learned: &Learned, sink: &mut impl Sink) {
        let now = now.max(self.now.unwrap_or(now));
        self.take(now, Input::Learned(learned.clone()), sink);
    }

    /// Lets something happen at `asked`, or now if that is later, after what was due before. When
    /// the engine has something to do by itself.
    pub(crate) fn happen(
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
                self.take(now, Input::Datagram { side, local, remote, bytes }, sink);
            }
            Happening::Opened { transport, local, remote } => {
                // a port that is used again: the old connection has ended unseen
                self.on_closed(now, remote, sink);
                let flow = Flow { transport, ..Flow::udp(local, remote) };
                let side = if local == self.inside() { Side::Inside } else { Side::Outside };
                let flow = self.connections.accept(self.shard, side, flow);
                self.take(now, Input::Opened { flow }, sink);
            }
            Happening::Data { remote } => match self.connections.last_of(remote) {
                Some(connection) => self.take(now, Input::Stream { connection, bytes }, sink),
                // what a kernel's RST says to bytes of no connection
                None => sink.closed(remote),
            },
            Happening::Said { flow } => match flow.connection {
                None => {
                    let (side, Flow { local, remote, .. }) = (Side::Inside, flow);
                    self.take(now, Input::Datagram { side, local, remote, bytes }, sink);
                }
                Some(connection) => self.take(now, Input::Stream { connection, bytes }, sink),
            },
            Happening::Closed { remote } => self.on_closed(now, remote, sink),
        }
    }

    fn on_closed(&mut self, now: Time, remote: SocketAddr, sink: &mut impl Sink) {
        while let Some(connection) = self.connections.last_of(remote) {
            self.connections.close(connection);
            self.take(now, Input::Closed { connection }, sink);
        }
    }

    fn take(&mut self, now: Time, input: Input<'_>, sink: &mut impl Sink) {
        self.engine.handle_input(now, input);
        self.fetch(now, sink);
    }

    /// Fetches all outputs; what the engine closes is closed.
    fn fetch(&mut self, now: Time, sink: &mut impl Sink) {
        let mut closed = Vec::new();
        let mut asked = Vec::new();
        let mut handed = Vec::new();
        loop {
            while let Some(output) = self.engine.poll_output() {
                match output {
                    Output::Datagram { side, local, remote, bytes } => {
                        let flow = Flow::udp(local, remote);
                        match self.healthy.then(|| healthy_answer(side, bytes)).flatten() {
                            Some(answer) => asked.push((flow, answer)),
                            None => sink.sent(side, &flow, bytes),
                        }
                    }
                    Output::Stream { connection, bytes } => {
                        let Some((side, flow)) = self.connections.get(connection) else { continue };
                        match self.healthy.then(|| healthy_answer(side, bytes)).flatten() {
                            Some(answer) => asked.push((flow, answer)),
                            None => sink.sent(side, &flow, bytes),
                        }
                    }
                    Output::Connect { side, flow, .. } => self.connections.insert(side, flow),
                    Output::Close { connection, .. } => {
                        if let Some((_, flow)) = self.connections.get(connection) {
                            sink.closed(flow.remote);
                            self.connections.close(connection);
                            closed.push(connection);
                        }
                    }
                    Output::Event(event) => sink.decided(&event),
                    // its sender is of this shard, and only here is known what it goes on to say
                    Output::HandOver { side, flow, bytes, .. } => {
                        handed.push((side, flow, bytes.to_vec()));
                    }
                    Output::Learned(learned) => sink.learned(learned),
                    Output::Ban(ban) => sink.banned(&ban),
                    Output::Lift(lift) => sink.lifted(&lift),
                    // nothing is recalled, and this life ends with its input
                    Output::Recalled(_)
                    | Output::Remember(_)
                    | Output::Evidence(..)
                    | Output::Registered { .. } => {}
                    // nobody is there to be told
                    Output::Alert(_) => {}
                }
            }
            if let Some(connection) = closed.pop() {
                self.engine.handle_input(now, Input::Closed { connection });
            } else if let Some((flow, answer)) = asked.pop() {
                let bytes = &answer[..];
                let Flow { local, remote, .. } = flow;
                self.engine.handle_input(
                    now,
                    match flow.connection {
                        Some(connection) => Input::Stream { connection, bytes },
                        None => Input::Datagram { side: Side::Inside, local, remote, bytes },
                    },
                );
            } else if let Some((side, flow, bytes)) = handed.pop() {
                self.engine.handle_input(now, Input::HandedOver { side, flow, bytes: &bytes });
            } else {
                return;
            }
        }
    }
}

/// What a PBX says that is asked whether it serves.
fn healthy_answer(side: Side, bytes: &[u8]) -> Option<Vec<u8>> {
    if side != Side::Inside || !bytes.starts_with(b"OPTIONS ") {
        return None;
    }
    let message = Message::parse(bytes, &wire::Limits::default()).ok()?;
    let asks = message.method() == Method::Options && message.from_tag() == CHECK;
    asks.then(|| {
        let mut answer = Vec::new();
        let source = SocketAddr::from(([127, 0, 0, 1], 5060));
        let reply = Reply {
            status: 200,
            reason: "OK",
            to_tag: b"pbx",
            headers: b"",
            source,
            compact: false,
        };
        reply.write(&message, &mut answer);
        answer
    })
}

/// Open connections, those that a peer has in the order in which they were opened. The engine
/// bounds their number.
#[derive(Debug, Default)]
struct Connections {
    accepted: u64,
    by_peer: HashMap<SocketAddr, Vec<ConnectionId>>,
    all: HashMap<ConnectionId, (Side, Flow)>,
}

impl Connections {
    /// Gives a connection its number.
    fn accept(&mut self, shard: ShardId, side: Side, flow: Flow) -> Flow {
        self.accepted += 1;
        let flow = Flow { connection: Some(ConnectionId::new(shard, self.accepted)), ..flow };
        self.insert(side, flow);
        flow
    }

    fn insert(&mut self, side: Side, flow: Flow) {
        if let Some(connection) = flow.connection {
            self.by_peer.entry(flow.remote).or_default().push(connection);
            self.all.insert(connection, (side, flow));
        }
    }

    fn last_of(&self, peer: SocketAddr) -> Option<ConnectionId> {
        self.by_peer.get(&peer)?.last().copied()
    }

    fn get(&self, connection: ConnectionId) -> Option<(Side, Flow)> {
        self.all.get(&connection).copied()
    }

    fn close(&mut self, connection: ConnectionId) {
        let Some((_, flow)) = self.all.remove(&connection) else { return };
        if let Some(of_peer) = self.by_peer.get_mut(&flow.remote) {
            of_peer.retain(|open| *open != connection);
            if of_peer.is_empty() {
                self.by_peer.remove(&flow.remote);
            }
        }
    }
}
