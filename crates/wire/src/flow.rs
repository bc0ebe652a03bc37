//! The value that travels with each message: where it came from, or where it goes.

use std::fmt;
use std::net::SocketAddr;

/// Transport protocol of a flow, as written in a Via (RFC 3261 §18, §20.42).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transport {
    /// Datagrams, unreliable.
    Udp,
    /// A stream, reliable.
    Tcp,
    /// A stream under TLS, reliable.
    Tls,
}

impl Transport {
    /// Whether the transport itself delivers once and in order (RFC 3261 §17: timers A, D, E, G,
    /// I, J and K differ).
    #[must_use]
    pub fn is_reliable(self) -> bool {
        !matches!(self, Transport::Udp)
    }

    /// The token of a Via's sent-protocol: `UDP`, `TCP`, `TLS`.
    #[must_use]
    pub fn as_via(self) -> &'static str {
        match self {
            Transport::Udp => "UDP",
            Transport::Tcp => "TCP",
            Transport::Tls => "TLS",
        }
    }

    /// The value of a URI's `transport` parameter and of our YAML: `udp`, `tcp`, `tls`.
    #[must_use]
    pub fn as_param(self) -> &'static str {
        match self {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
            Transport::Tls => "tls",
        }
    }

    /// Default port (RFC 3261 §19.1.2).
    #[must_use]
    pub fn default_port(self) -> u16 {
        match self {
            Transport::Udp | Transport::Tcp => 5060,
            Transport::Tls => 5061,
        }
    }
}

/// The number of a shard, counted from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardId(pub u8);

/// A stream connection; unique in the process for its whole life. The owner's shard is in the top
/// eight bits, so any shard can tell whom a connection belongs to; the bit below says who opened
/// it, so that those who count both need not know of each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(u64);

/// Set where the edge opened the connection.
const OPENED: u64 = 1 << 55;

impl ConnectionId {
    /// The `count`-th connection that `shard` has accepted. `count` is taken modulo 2⁵⁵.
    #[must_use]
    pub fn new(shard: ShardId, count: u64) -> Self {
        ConnectionId((u64::from(shard.0) << 56) | (count & (OPENED - 1)))
    }

    /// The `count`-th connection that `shard` has opened. `count` is taken modulo 2⁵⁵.
    #[must_use]
    pub fn opened(shard: ShardId, count: u64) -> Self {
        ConnectionId(ConnectionId::new(shard, count).0 | OPENED)
    }

    /// Whether the edge opened it.
    #[must_use]
    pub fn is_opened(self) -> bool {
        self.0 & OPENED != 0
    }

    /// The shard that owns the connection.
    #[must_use]
    pub fn shard(self) -> ShardId {
        ShardId((self.0 >> 56) as u8)
    }

    /// The bare number, for tokens and logs.
    #[must_use]
    pub fn to_bits(self) -> u64 {
        self.0
    }

    /// The reverse of [`ConnectionId::to_bits`].
    #[must_use]
    pub fn from_bits(bits: u64) -> Self {
        ConnectionId(bits)
    }
}

/// The two sides of the edge. RFC 3261's upstream and downstream are the reverse of what web
/// proxies call so; neither word is used here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Side {
    /// The public side: phones, carriers, scanners.
    Outside,
    /// The PBX's side, normally loopback.
    Inside,
}

impl Side {
    /// The other side.
    #[must_use]
    pub fn other(self) -> Side {
        match self {
            Side::Outside => Side::Inside,
            Side::Inside => Side::Outside,
        }
    }
}

/// A path between two transport addresses (RFC 5626 §3.1): what is needed to send a message back
/// the way another came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    /// Protocol.
    pub transport: Transport,
    /// Our address: the one the peer sent to, and that replies leave from.
    pub local: SocketAddr,
    /// The peer's address.
    pub remote: SocketAddr,
    /// The connection, for streams; `None` for UDP.
    pub connection: Option<ConnectionId>,
}

impl Flow {
    /// A UDP flow.
    #[must_use]
    pub fn udp(local: SocketAddr, remote: SocketAddr) -> Self {
        Flow { transport: Transport::Udp, local, remote, connection: None }
    }
}

impl fmt::Display for Flow {
    /// `udp 198.51.100.7:5060`: for the audit stream only (the log law forbids addresses in logs
    /// above DEBUG).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.transport.as_param(), self.remote)
    }
}
