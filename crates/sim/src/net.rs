//! The simulated network: how packets travel, and NAT boxes after RFC 4787.

use policy::Time;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use wire::Transport;

/// A stream connection in the simulated network.
pub type Conn = u64;

/// What a host gets from the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// A datagram.
    Datagram {
        /// The address it was sent to.
        local: SocketAddr,
        /// Where it seems to come from.
        remote: SocketAddr,
        /// What.
        bytes: Vec<u8>,
    },
    /// A connection is open: one asked for, or one that somebody else opened.
    Opened {
        /// Which.
        conn: Conn,
        /// Its protocol.
        transport: Transport,
        /// This host's address.
        local: SocketAddr,
        /// Where the peer seems to be.
        remote: SocketAddr,
    },
    /// Bytes of a stream, cut anywhere.
    Stream {
        /// Which.
        conn: Conn,
        /// What.
        bytes: Vec<u8>,
    },
    /// A connection is gone, or could not be opened.
    Closed {
        /// Which.
        conn: Conn,
    },
    /// ICMP: nothing listens there.
    Unreachable {
        /// The address a datagram had been sent from.
        local: SocketAddr,
        /// Where nothing listens.
        remote: SocketAddr,
    },
}

/// What a host asks of the network.
#[derive(Clone, Debug)]
pub enum Request {
    /// Send a datagram.
    Datagram {
        /// From.
        local: SocketAddr,
        /// To.
        remote: SocketAddr,
        /// What.
        bytes: Vec<u8>,
    },
    /// Send a datagram under an address that is not this host's.
    Forged {
        /// The address it pretends to come from.
        source: SocketAddr,
        /// To.
        remote: SocketAddr,
        /// What.
        bytes: Vec<u8>,
    },
    /// Open a connection; the number is the host's choice, unique in the run.
    Connect {
        /// Its number.
        conn: Conn,
        /// Protocol.
        transport: Transport,
        /// From.
        local: SocketAddr,
        /// To.
        remote: SocketAddr,
    },
    /// Send on a connection.
    Stream {
        /// Which.
        conn: Conn,
        /// What.
        bytes: Vec<u8>,
    },
    /// Close a connection; both ends are told.
    Close {
        /// Which.
        conn: Conn,
    },
}

/// What a host wants done, in order.
pub type Outbox = Vec<Request>;

/// A host.
pub trait Node {
    /// Takes what the network brought.
    fn handle(&mut self, now: Time, arrival: Arrival, out: &mut Outbox);
    /// Lets deadlines up to `now` fire.
    fn tick(&mut self, now: Time, out: &mut Outbox);
    /// When [`Node::tick`] is due.
    fn deadline(&self) -> Option<Time>;
    /// Whether something listens for datagrams there.
    fn listens(&self, local: SocketAddr) -> bool;
    /// Whether connections are taken there.
    fn accepts(&self, local: SocketAddr, transport: Transport) -> bool;
}

/// How the network outside treats packets. Loopback is always perfect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quality {
    /// One way.
    pub delay: Duration,
    /// Added at random, up to this; more than the gap between packets reorders them.
    pub jitter: Duration,
    /// Datagrams lost, of a thousand.
    pub loss: u32,
    /// Datagrams that arrive twice, of a thousand.
    pub duplicate: u32,
    /// Datagrams held back by up to a second, of a thousand.
    pub reorder: u32,
    /// Stream sends that arrive in pieces, of a thousand.
    pub pieces: u32,
}

impl Quality {
    /// 10 ms, always.
    pub const PERFECT: Quality = Quality {
        delay: Duration::from_millis(10),
        jitter: Duration::ZERO,
        loss: 0,
        duplicate: 0,
        reorder: 0,
        pieces: 0,
    };
}

/// What a NAT's mapping or filtering looks at (RFC 4787 §4.1, §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dependence {
    /// Nothing of the peer.
    EndpointIndependent,
    /// The peer's address.
    Address,
    /// The peer's address and port.
    AddressAndPort,
}

/// A NAT box with one outer address.
#[derive(Clone, Debug)]
pub struct Nat {
    /// Its outer address.
    pub address: IpAddr,
    /// When a new outer port is taken.
    pub mapping: Dependence,
    /// Who may send in.
    pub filtering: Dependence,
    /// How long a silent binding lives (only what goes out refreshes it, RFC 4787 §4.3).
    pub timeout: Duration,
    bindings: Vec<NatBinding>,
    next_port: u16,
}

#[derive(Clone, Debug)]
struct NatBinding {
    inner: SocketAddr,
    outer_port: u16,
    /// The part of the peer that the mapping depends on.
    peer: (Option<IpAddr>, Option<u16>),
    last: Time,
    peers: BTreeMap<SocketAddr, Time>,
}

impl Nat {
    /// A box without bindings.
    #[must_use]
    pub fn new(
        address: IpAddr,
        mapping: Dependence,
        filtering: Dependence,
        timeout: Duration,
    ) -> Self {
        Nat { address, mapping, filtering, timeout, bindings: Vec::new(), next_port: 20_000 }
    }

    /// Forgets all bindings, as at a reboot.
    pub fn reboot(&mut self) {
        self.bindings.clear();
        self.next_port = self.next_port.wrapping_add(1_000).max(20_000);
    }

    /// A datagram goes out: the source that the world sees.
    pub fn outbound(&mut self, now: Time, inner: SocketAddr, peer: SocketAddr) -> SocketAddr {
        let timeout = self.timeout;
        self.bindings.retain(|binding| now.since(binding.last) <= timeout);
        let key = match self.mapping {
            Dependence::EndpointIndependent => (None, None),
            Dependence::Address => (Some(peer.ip()), None),
            Dependence::AddressAndPort => (Some(peer.ip()), Some(peer.port())),
        };
        let found = self.bindings.iter().position(|b| b.inner == inner && b.peer == key);
        let index = found.unwrap_or_else(|| {
            let outer_port = self.fresh_port();
            let peers = BTreeMap::new();
            self.bindings.push(NatBinding { inner, outer_port, peer: key, last: now, peers });
            self.bindings.len() - 1
        });
        let binding = &mut self.bindings[index];
        binding.last = now;
        binding.peers.insert(peer, now);
        SocketAddr::new(self.address, binding.outer_port)
    }

    /// A datagram comes in: the inner address it goes to, if it may.
    #[must_use]
    pub fn inbound(&self, now: Time, outer_port: u16, peer: SocketAddr) -> Option<SocketAddr> {
        let alive = |last: &Time| now.since(*last) <= self.timeout;
        let binding = self.bindings.iter().find(|b| b.outer_port == outer_port)?;
        if !alive(&binding.last) {
            return None;
        }
        let allowed = match self.filtering {
            Dependence::EndpointIndependent => true,
            Dependence::Address => {
                binding.peers.iter().any(|(p, last)| p.ip() == peer.ip() && alive(last))
            }
            Dependence::AddressAndPort => binding.peers.get(&peer).is_some_and(alive),
        };
        allowed.then_some(binding.inner)
    }

    /// The inner address that has an outer port, alive or not.
    #[must_use]
    pub fn inner_of(&self, outer_port: u16) -> Option<SocketAddr> {
        self.bindings.iter().find(|b| b.outer_port == outer_port).map(|b| b.inner)
    }

    /// A port for a new binding or connection.
    pub fn fresh_port(&mut self) -> u16 {
        self.next_port = self.next_port.wrapping_add(1).max(20_000);
        self.next_port
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Time {
        Time::ZERO + Duration::from_secs(secs)
    }

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    fn nat(mapping: Dependence, filtering: Dependence) -> Nat {
        Nat::new(address("198.51.100.1:0").ip(), mapping, filtering, Duration::from_secs(30))
    }

    #[test]
    fn rfc_4787_mapping() {
        let inner = address("192.168.0.2:5060");
        let peers = ["203.0.113.1:5060", "203.0.113.1:5061", "203.0.113.2:5060"].map(address);
        for (mapping, ports) in [
            (Dependence::EndpointIndependent, 1),
            (Dependence::Address, 2),
            (Dependence::AddressAndPort, 3),
        ] {
            let mut nat = nat(mapping, Dependence::Address);
            let mut seen: Vec<_> = peers.map(|peer| nat.outbound(at(0), inner, peer)).to_vec();
            seen.dedup();
            assert_eq!(seen.len(), ports, "{mapping:?}");
        }
    }

    #[test]
    fn rfc_4787_filtering_and_timeout() {
        let inner = address("192.168.0.2:5060");
        let edge = address("203.0.113.1:5060");
        for (filtering, other_port, stranger) in [
            (Dependence::EndpointIndependent, true, true),
            (Dependence::Address, true, false),
            (Dependence::AddressAndPort, false, false),
        ] {
            let mut nat = nat(Dependence::EndpointIndependent, filtering);
            let port = nat.outbound(at(0), inner, edge).port();
            let lets_in = |nat: &Nat, secs, peer| nat.inbound(at(secs), port, peer) == Some(inner);
            assert!(lets_in(&nat, 1, edge));
            assert_eq!(lets_in(&nat, 1, address("203.0.113.1:9")), other_port);
            assert_eq!(lets_in(&nat, 1, address("192.0.2.9:9")), stranger);
            assert!(!lets_in(&nat, 31, edge), "the binding has timed out");
            assert_ne!(nat.outbound(at(31), inner, edge).port(), port);
        }
    }
}
