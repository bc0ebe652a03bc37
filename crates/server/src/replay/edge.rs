//! An engine, its connections and its time: the driver of an edge without sockets.

use super::answer::{Answer, Bans};
use super::stimulus::{Stimulus, What};
use policy::{Policy, Time};
use proxy::{Engine, Input, Output};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use wire::{ConnectionId, Flow, ShardId, Side, Transport};

const SHARD: ShardId = ShardId(0);
/// Calls of `handle_timeout` that one line may cause, so that a leap in time ends.
const TIMEOUTS_MAX: usize = 1 << 20;

/// One shard without sockets.
#[derive(Debug)]
pub(crate) struct Edge {
    engine: Engine,
    policy: Arc<Policy>,
    /// Answers tell decisions.
    decisions: bool,
    /// `None` before the first line.
    now: Option<Time>,
    connections: Connections,
    bans: Bans,
    bytes: Vec<u8>,
}

impl Edge {
    pub(crate) fn new(policy: Policy, secret: [u8; 32], seed: [u8; 32], decisions: bool) -> Self {
        let policy = Arc::new(policy);
        Edge {
            engine: Engine::new(policy.clone(), SHARD, 1, secret, seed),
            policy,
            decisions,
            now: None,
            connections: Connections::default(),
            bans: Bans::default(),
            bytes: Vec::new(),
        }
    }

    /// Lets what a line says happen, and puts what it causes into `answer`. When the engine has
    /// something to do by itself. A line with an error changes nothing.
    pub(crate) fn on_line(
        &mut self,
        line: &[u8],
        answer: &mut Answer,
    ) -> Result<Option<Time>, String> {
        let stimulus = Stimulus::parse(line)?;
        let event = self.read(&stimulus)?;
        answer.clear(self.decisions);
        let asked = stimulus.now()?;
        // what lies before the first line is no time to catch up with
        let last = self.now.unwrap_or(asked);
        let now = asked.max(last);
        let mut calls = 0;
        self.catch_up(last, now, &mut calls, answer);
        self.now = Some(now);
        self.happen(now, event, answer);
        self.fire_due(now, &mut calls, answer);
        Ok(self.engine.poll_timeout().filter(|at| *at < Time::FOREVER))
    }

    /// The elements of the list of addresses that are banned now.
    pub(crate) fn bans(&mut self) -> &[u8] {
        self.bans.text()
    }

    /// What a line means here. The bytes go to `self.bytes`.
    fn read(&mut self, stimulus: &Stimulus<'_>) -> Result<Happening, String> {
        Ok(match stimulus.what() {
            What::Tick => Happening::Tick,
            What::Dgram => {
                let remote = stimulus.source()?;
                stimulus.decode(&mut self.bytes)?;
                let (side, local) = self.datagram_to(remote, stimulus.destination())?;
                Happening::Datagram { side, local, remote }
            }
            What::TcpOpen => {
                let remote = stimulus.source()?;
                let (transport, local) = self.stream_to(stimulus.destination())?;
                Happening::Opened { transport, local, remote }
            }
            What::TcpData => {
                stimulus.decode(&mut self.bytes)?;
                Happening::Data { remote: stimulus.source()? }
            }
            What::TcpClose => Happening::Closed { remote: stimulus.source()? },
        })
    }

    /// Deadlines before `now` fire each at its own time, as if the bench had come back for them.
    fn catch_up(&mut self, last: Time, now: Time, calls: &mut usize, answer: &mut Answer) {
        let mut at = last;
        while let Some(due) = self.engine.poll_timeout()
            && due < now
            && *calls < TIMEOUTS_MAX
        {
            *calls += 1;
            at = at.max(due);
            self.engine.handle_timeout(at);
            self.fetch(at, answer);
        }
    }

    /// Deadlines at `now` come after what happened at `now`, as in the live driver.
    fn fire_due(&mut self, now: Time, calls: &mut usize, answer: &mut Answer) {
        while self.engine.poll_timeout().is_some_and(|due| due <= now) && *calls < TIMEOUTS_MAX {
            *calls += 1;
            self.engine.handle_timeout(now);
            self.fetch(now, answer);
        }
    }

    fn happen(&mut self, now: Time, event: Happening, answer: &mut Answer) {
        match event {
            Happening::Tick => {}
            Happening::Datagram { side, local, remote } => {
                let bytes = &self.bytes;
                self.engine.handle_input(now, Input::Datagram { side, local, remote, bytes });
                self.fetch(now, answer);
            }
            Happening::Opened { transport, local, remote } => {
                // a port that is used again: the old connection has ended unseen
                self.on_closed(now, remote, answer);
                let connection = Some(self.connections.open(remote, transport));
                let flow = Flow { transport, local, remote, connection };
                self.engine.handle_input(now, Input::Opened { flow });
                self.fetch(now, answer);
            }
            Happening::Data { remote } => match self.connections.of(remote) {
                Some(connection) => {
                    let bytes = &self.bytes;
                    self.engine.handle_input(now, Input::Stream { connection, bytes });
                    self.fetch(now, answer);
                }
                // what a kernel's RST says to bytes of no connection
                None => answer.close(remote),
            },
            Happening::Closed { remote } => self.on_closed(now, remote, answer),
        }
    }

    fn on_closed(&mut self, now: Time, remote: SocketAddr, answer: &mut Answer) {
        if let Some(connection) = self.connections.of(remote) {
            self.connections.close(connection);
            self.engine.handle_input(now, Input::Closed { connection });
            self.fetch(now, answer);
        }
    }

    /// Fetches all outputs; what the engine closes is closed.
    fn fetch(&mut self, now: Time, answer: &mut Answer) {
        let mut closed = Vec::new();
        loop {
            while let Some(output) = self.engine.poll_output() {
                match output {
                    Output::Datagram { remote, bytes, .. } => {
                        answer.send(remote, Transport::Udp, bytes);
                    }
                    Output::Stream { connection, bytes } => {
                        if let Some((peer, transport)) = self.connections.peer(connection) {
                            answer.send(peer, transport, bytes);
                        }
                    }
                    Output::Close { connection, .. } => {
                        if let Some((peer, _)) = self.connections.peer(connection) {
                            answer.close(peer);
                            self.connections.close(connection);
                            closed.push(connection);
                        }
                    }
                    Output::Event(event) => answer.decided(&event),
                    // there are no other shards
                    Output::HandOver { .. } | Output::Learned(_) => {}
                    Output::Ban(ban) => self.bans.on_ban(&ban),
                    Output::Lift(lift) => self.bans.on_lift(&lift),
                    // nobody is there to be told
                    Output::Alert(_) => {}
                }
            }
            let Some(connection) = closed.pop() else { return };
            self.engine.handle_input(now, Input::Closed { connection });
        }
    }

    /// Which side's socket a datagram came to, and that socket's address.
    fn datagram_to(
        &self,
        remote: SocketAddr,
        destination: Option<SocketAddr>,
    ) -> Result<(Side, SocketAddr), String> {
        let inside = self.policy.inside_of(SHARD);
        let from_pbx = destination.is_none() && self.policy.is_pbx(remote);
        if from_pbx || destination == Some(inside) {
            return Ok((Side::Inside, inside));
        }
        let (_, local) = self.listener(destination, |transport| transport == Transport::Udp)?;
        Ok((Side::Outside, local))
    }

    fn stream_to(
        &self,
        destination: Option<SocketAddr>,
    ) -> Result<(Transport, SocketAddr), String> {
        self.listener(destination, Transport::is_reliable)
    }

    /// The listener with this destination, else the first. Behind a wildcard, loopback stands for
    /// the address that a packet would have been sent to.
    fn listener(
        &self,
        destination: Option<SocketAddr>,
        fits: impl Fn(Transport) -> bool,
    ) -> Result<(Transport, SocketAddr), String> {
        let mut listeners = self.policy.listeners.iter().filter(|one| fits(one.transport));
        let Some(destination) = destination else {
            let first = listeners.next().ok_or("no listener of this transport is configured")?;
            return Ok((first.transport, concrete(first.address)));
        };
        let found = listeners.find(|one| {
            let (ip, port) = (one.address.ip(), one.address.port());
            let any = ip.is_unspecified() && (ip.is_ipv6() || destination.is_ipv4());
            port == destination.port() && (any || ip == destination.ip())
        });
        match found {
            Some(one) => Ok((one.transport, destination)),
            None => Err(format!("dst: nothing listens on {destination}")),
        }
    }
}

/// What a line means, its bytes apart.
#[derive(Clone, Copy, Debug)]
enum Happening {
    Tick,
    Datagram { side: Side, local: SocketAddr, remote: SocketAddr },
    Opened { transport: Transport, local: SocketAddr, remote: SocketAddr },
    Data { remote: SocketAddr },
    Closed { remote: SocketAddr },
}

fn concrete(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
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
