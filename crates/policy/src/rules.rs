use crate::{Checks, Pbx, PbxGroup, Trunk};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use wire::{Limits, Transport};

/// Everything the engine is told. Replaced whole on a reload.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Counted up by each successful reload; stands in each decision's event.
    pub version: u64,
    /// Where we are reached from outside.
    pub listeners: Vec<Listener>,
    /// Inside address of shard 0; shard n uses the port n higher.
    pub inside: SocketAddr,
    /// PBXs, at most [`Pbx::MAX`].
    pub pbx: Vec<Pbx>,
    /// The groups that they form, in the order in which they are asked whether a request is theirs.
    pub groups: Vec<PbxGroup>,
    /// How it is found out which of them serve.
    pub checks: Checks,
    /// Names we answer for, lower case. Used to know our own Routes and Request-URIs.
    pub domains: Vec<String>,
    /// Carriers.
    pub trunks: Vec<Trunk>,
    /// RFC 3261 timer bases.
    pub timers: TimerBase,
    /// Bounds of one message.
    pub limits: Limits,
    /// Bounds of tables.
    pub capacities: Capacities,
    /// Time budgets of streams.
    pub budgets: Budgets,
    /// Timer C (RFC 3261 §16.6 step 11, more than 3 minutes).
    pub timer_c: Duration,
    /// How long to wait before the edge sends its own 100 (RFC 3261 §17.2.1: 200 ms).
    pub trying_after: Duration,
    /// Retry-After of a 503, the least; up to as much again is added at random.
    pub retry_after: Duration,
    /// How long a nonce relayed to a source is remembered to be good for it.
    pub nonce_memory: Duration,
    /// When less is taken.
    pub overload: Overload,
    /// Whether datagrams that are no SIP message get a 400 where they say enough for one; else they
    /// are dropped in silence. Streams always get one, and are closed.
    pub answer_malformed: bool,
    /// Name of the header that tells the PBX a request's real source; `None` sends none.
    pub source_header: Option<String>,
    /// How sources are judged.
    pub admission: crate::Admission,
}

/// One outside listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Transport.
    pub transport: Transport,
    /// Bound address; may be a wildcard.
    pub address: SocketAddr,
    /// Host and port that Via and Record-Route name instead of the address a request came to,
    /// e.g. behind a 1:1 NAT: `pbx.example.com:5061`.
    pub advertise: Option<String>,
}

/// T1, T2, T4 (RFC 3261 §17.1.1.1); everything else is derived from them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimerBase {
    /// Round-trip estimate, 500 ms.
    pub t1: Duration,
    /// Longest retransmission interval for non-INVITE requests and INVITE responses, 4 s.
    pub t2: Duration,
    /// Longest time a message stays in the network, 5 s.
    pub t4: Duration,
}

impl Default for TimerBase {
    fn default() -> Self {
        TimerBase {
            t1: Duration::from_millis(500),
            t2: Duration::from_secs(4),
            t4: Duration::from_secs(5),
        }
    }
}

/// Entries that tables may hold, per shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacities {
    /// Requests in passage (a server and a client transaction each).
    pub exchanges: usize,
    /// Those of them that strangers may hold: sources from which nobody has authenticated. They
    /// may hold half of `retained_bytes`.
    pub unproven_exchanges: usize,
    /// Registered bindings known.
    pub bindings: usize,
    /// Flows that a dialog's phone has left, with the flow it came back by.
    pub moved_flows: usize,
    /// Nonces remembered with the source they were relayed to.
    pub nonces: usize,
    /// Stream connections.
    pub connections: usize,
    /// Decisions kept to be explained, of about half a kilobyte each.
    pub decisions: usize,
    /// Bytes of judged requests kept, to try another policy on them.
    pub recorded_bytes: usize,
    /// Bytes kept for retransmissions and responses.
    pub retained_bytes: usize,
}

impl Default for Capacities {
    fn default() -> Self {
        Capacities {
            exchanges: 1 << 20,
            unproven_exchanges: 1 << 16,
            bindings: 200_000,
            moved_flows: 20_000,
            nonces: 1 << 18,
            connections: 20_000,
            decisions: 8_192,
            recorded_bytes: 4 << 20,
            retained_bytes: 1 << 30,
        }
    }
}

/// When a shard that cannot keep up sheds requests, more and more of them: strangers first, then
/// unproven sources, then new calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overload {
    /// How long what comes may wait to be read. A shard where it waits longer is behind.
    pub delay: Duration,
    /// How long a shard may be behind before it sheds another quarter of a kind.
    pub patience: Duration,
    /// How long it must have kept up before it takes a whole kind again, little by little.
    pub calm: Duration,
}

impl Default for Overload {
    fn default() -> Self {
        Overload {
            delay: Duration::from_millis(10),
            patience: Duration::from_millis(20),
            calm: Duration::from_secs(1),
        }
    }
}

/// How long a peer on a stream may take. A connection that exceeds one is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budgets {
    /// TLS handshake (spent in `transport`).
    pub handshake: Duration,
    /// From the open connection to its first byte.
    pub first_byte: Duration,
    /// From a message's first byte to the end of its start line.
    pub start_line: Duration,
    /// From there to the empty line.
    pub headers: Duration,
    /// From there to the last byte of the body.
    pub body: Duration,
    /// Silence on a connection that carries no registered binding.
    pub idle: Duration,
}

impl Default for Budgets {
    fn default() -> Self {
        Budgets {
            handshake: Duration::from_secs(5),
            first_byte: Duration::from_secs(10),
            start_line: Duration::from_secs(5),
            headers: Duration::from_secs(10),
            body: Duration::from_secs(10),
            idle: Duration::from_secs(3_700),
        }
    }
}

impl Policy {
    /// A policy with all defaults, for PBXs of one group. `config` starts from it.
    #[must_use]
    pub fn new(listeners: Vec<Listener>, inside: SocketAddr, pbx: Vec<Pbx>) -> Self {
        Policy {
            version: 1,
            listeners,
            inside,
            pbx,
            groups: vec![PbxGroup { name: "default".into(), reach: None }],
            checks: Checks::default(),
            domains: Vec::new(),
            trunks: Vec::new(),
            timers: TimerBase::default(),
            limits: Limits::default(),
            capacities: Capacities::default(),
            budgets: Budgets::default(),
            timer_c: Duration::from_secs(181),
            trying_after: Duration::from_millis(200),
            retry_after: Duration::from_secs(5),
            nonce_memory: Duration::from_secs(600),
            overload: Overload::default(),
            answer_malformed: false,
            source_header: Some("X-Ringfence-Source".into()),
            admission: crate::Admission::default(),
        }
    }

    /// Whether an inside datagram from `address` is a PBX speaking.
    #[must_use]
    pub fn is_pbx(&self, address: SocketAddr) -> bool {
        self.pbx.iter().any(|pbx| pbx.address == address)
    }

    /// Whether a PBX that is reached by streams is at `address`, and may open some to us.
    #[must_use]
    pub fn is_pbx_host(&self, address: IpAddr) -> bool {
        self.pbx.iter().any(|pbx| pbx.transport.is_reliable() && pbx.address.ip() == address)
    }

    /// The listener that serves `local`: an exact address before a wildcard.
    #[must_use]
    pub fn listener_of(
        &self,
        transport: wire::Transport,
        local: SocketAddr,
    ) -> Option<(wire::Transport, SocketAddr)> {
        let serves = |listener: &&Listener| {
            listener.transport == transport
                && listener.address.port() == local.port()
                && (listener.address.ip() == local.ip()
                    || listener.address.ip().is_unspecified()
                        && listener.address.is_ipv4() == local.is_ipv4())
        };
        let listeners = self.listeners.iter().filter(serves);
        let listener = listeners.min_by_key(|listener| listener.address.ip() != local.ip())?;
        Some((listener.transport, listener.address))
    }

    /// How many PBXs a group has.
    #[must_use]
    pub fn group_size(&self, group: usize) -> usize {
        self.pbx.iter().filter(|pbx| pbx.group == group).count()
    }

    /// The inside address of a shard.
    #[must_use]
    pub fn inside_of(&self, shard: wire::ShardId) -> SocketAddr {
        SocketAddr::new(self.inside.ip(), self.inside.port().wrapping_add(u16::from(shard.0)))
    }

    /// Whether `host` is one of our domain names, letter case ignored.
    #[must_use]
    pub fn is_domain(&self, host: &[u8]) -> bool {
        self.domains.iter().any(|domain| domain.as_bytes().eq_ignore_ascii_case(host))
    }

    /// Whether `address` is one we listen on outside (wildcards match any).
    #[must_use]
    pub fn is_listener(&self, address: IpAddr, port: u16) -> bool {
        self.listeners.iter().any(|listener| {
            listener.address.port() == port
                && (listener.address.ip() == address || listener.address.ip().is_unspecified())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Policy {
        let listener = |address: &str| Listener {
            transport: Transport::Udp,
            address: address.parse().unwrap(),
            advertise: None,
        };
        let listeners = ["0.0.0.0:5060", "192.0.2.1:5060", "[::]:5070", "192.0.2.2:5080"];
        let pbx = |address: &str| Pbx::new(address.parse().unwrap());
        let pbxs = vec![
            Pbx { transport: Transport::Tcp, ..pbx("10.0.0.2:5060") },
            pbx("10.0.0.3:5060"),
            Pbx { group: 1, ..pbx("10.0.0.4:5060") },
        ];
        Policy::new(listeners.map(listener).into(), "10.0.0.1:5070".parse().unwrap(), pbxs)
    }

    #[test]
    fn a_listener_serves_its_address_before_a_wildcard_does() {
        let policy = policy();
        for (local, listener) in [
            ("192.0.2.1:5060", Some("192.0.2.1:5060")),
            ("192.0.2.9:5060", Some("0.0.0.0:5060")),
            ("192.0.2.1:5061", None),
            ("[2001:db8::1]:5060", None),
            ("[2001:db8::1]:5070", Some("[::]:5070")),
            ("192.0.2.9:5070", None),
            ("192.0.2.9:5080", None),
        ] {
            let found = policy.listener_of(Transport::Udp, local.parse().unwrap());
            let expected = listener.map(|it| (Transport::Udp, it.parse().unwrap()));
            assert_eq!(found, expected, "{local}");
            assert_eq!(policy.listener_of(Transport::Tcp, local.parse().unwrap()), None);
        }
    }

    #[test]
    fn a_wildcard_listens_on_every_address() {
        let policy = policy();
        for (local, ours) in [
            ("192.0.2.9:5060", true),
            ("192.0.2.2:5080", true),
            ("192.0.2.9:5080", false),
            ("192.0.2.9:5081", false),
        ] {
            let local: SocketAddr = local.parse().unwrap();
            assert_eq!(policy.is_listener(local.ip(), local.port()), ours, "{local}");
        }
    }

    #[test]
    fn streams_come_from_a_pbx_that_is_reached_by_them() {
        let hosts = ["10.0.0.2", "10.0.0.3", "10.0.0.9"].map(|it| it.parse().unwrap());
        assert_eq!(hosts.map(|host| policy().is_pbx_host(host)), [true, false, false]);
    }

    #[test]
    fn a_group_has_its_own_pbxs() {
        assert_eq!([0, 1, 2].map(|group| policy().group_size(group)), [2, 1, 0]);
    }

    #[test]
    fn a_domain_is_ours_in_any_letter_case() {
        let policy = Policy { domains: vec!["pbx.example.com".into()], ..policy() };
        assert!(policy.is_domain(b"PBX.example.COM"));
        assert!(!policy.is_domain(b"example.com"));
    }
}
