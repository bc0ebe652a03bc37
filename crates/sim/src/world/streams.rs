//! Connections between hosts: bytes that never overtake, and how they end.

use super::{NodeId, What, World};
use crate::net::{Arrival, Conn};
use policy::Time;
use std::net::SocketAddr;
use std::time::Duration;
use wire::Transport;

/// How long a SYN is repeated.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub(super) struct StreamState {
    pub(super) transport: Transport,
    pub(super) ends: [NodeId; 2],
    /// The last arrival at each end: bytes never overtake.
    pub(super) last: [Time; 2],
    /// Bytes were lost for good: the next send resets it.
    pub(super) broken: bool,
}

impl World {
    pub(super) fn connect(
        &mut self,
        from: NodeId,
        conn: Conn,
        transport: Transport,
        local: SocketAddr,
        remote: SocketAddr,
    ) {
        if self.hosts[from].cut {
            let closed = What::Local(from, Arrival::Closed { conn });
            return self.schedule(self.now + CONNECT_TIMEOUT, closed);
        }
        let seen = match self.hosts[from].nat {
            Some(nat) => {
                let nat = &mut self.nats[nat];
                SocketAddr::new(nat.address, nat.fresh_port())
            }
            // Each connection has a port of its own.
            None => SocketAddr::new(local.ip(), 40_000 + u16::try_from(conn & 0xfff).unwrap_or(0)),
        };
        let at = self.now + self.delay();
        self.schedule(at, What::Knock { conn, transport, seen, inner: local, remote, from });
    }

    pub(super) fn on_knock(
        &mut self,
        conn: Conn,
        transport: Transport,
        (seen, inner): (SocketAddr, SocketAddr),
        remote: SocketAddr,
        from: NodeId,
    ) {
        let back = self.now + self.delay();
        let listener = self.owners.get(&(None, remote.ip())).copied().filter(|id| {
            self.hosts[*id].actor.as_node().accepts(remote, transport) && !self.hosts[*id].cut
        });
        let Some(to) = listener else {
            return self.schedule(back, What::Arrival(from, Arrival::Closed { conn }));
        };
        let last = [back, self.now];
        let ends = [from, to];
        self.streams.insert(conn, StreamState { transport, ends, last, broken: false });
        let opened = Arrival::Opened { conn, transport, local: inner, remote };
        self.schedule(back, What::Arrival(from, opened));
        self.arrive(to, Arrival::Opened { conn, transport, local: remote, remote: seen });
    }

    pub(super) fn send_stream(&mut self, from: NodeId, conn: Conn, bytes: Vec<u8>) {
        let Some(stream) = self.streams.get(&conn) else {
            let closed = What::Local(from, Arrival::Closed { conn });
            return self.schedule(self.now, closed);
        };
        let end = usize::from(stream.ends[0] == from);
        let (to, transport, broken) = (stream.ends[end], stream.transport, stream.broken);
        if let (true, Some(address)) = (self.tape.is_some(), self.hosts[to].addresses.first()) {
            self.record(from, SocketAddr::new(*address, 0), transport, &bytes);
        }
        if self.hosts[from].cut || self.hosts[to].cut || broken {
            // The bytes are gone, and with them the connection, when the host is back.
            let dead = broken && !self.hosts[from].cut && !self.hosts[to].cut;
            if let Some(stream) = self.streams.get_mut(&conn) {
                stream.broken = true;
            }
            if dead {
                self.close(from, conn);
            }
            return;
        }
        let mut pieces = vec![bytes];
        if self.rng.chance(self.quality.pieces) {
            let whole = pieces.remove(0);
            let cut = self.rng.below(whole.len() as u64) as usize;
            pieces = vec![whole[..cut].to_vec(), whole[cut..].to_vec()];
            pieces.retain(|piece| !piece.is_empty());
        }
        for bytes in pieces {
            let mut at = self.now + self.delay();
            if let Some(stream) = self.streams.get_mut(&conn) {
                at = at.max(stream.last[end]);
                stream.last[end] = at;
            }
            self.schedule(at, What::Arrival(to, Arrival::Stream { conn, bytes }));
        }
    }

    pub(super) fn close(&mut self, by: NodeId, conn: Conn) {
        let Some(stream) = self.streams.remove(&conn) else { return };
        let end = usize::from(stream.ends[0] == by);
        let at = (self.now + self.delay()).max(stream.last[end]);
        self.schedule(at, What::Arrival(stream.ends[end], Arrival::Closed { conn }));
        self.schedule(self.now, What::Local(by, Arrival::Closed { conn }));
    }

    /// Resets a connection; both ends are told.
    pub fn reset(&mut self, conn: Conn) {
        if let Some(end) = self.streams.get(&conn).map(|stream| stream.ends[0]) {
            self.close(end, conn);
        }
    }

    /// Connections that are open.
    #[must_use]
    pub fn connections(&self) -> Vec<Conn> {
        self.streams.keys().copied().collect()
    }
}
