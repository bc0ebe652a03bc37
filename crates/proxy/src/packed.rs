//! Flows and tokens in as few bytes as say them: what tokens are made of, and what bindings hold.
//!
//! ```text
//! flow: kind 1 | local 6 or 18 | remote 6 or 18 | connection 8, on a stream
//! ```

use arrayvec::ArrayVec;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use wire::{ConnectionId, Flow, Transport};

/// Bits of a kind that say which addresses follow, and over what.
const V6: u8 = 0x08;
/// The two addresses are of different families: a load balancer stands between them.
const MIXED: u8 = 0x10;
const TRANSPORT: u8 = 0x03;

/// Longest form of a flow.
pub(crate) const FLOW_BYTES_MAX: usize = 1 + 18 + 18 + 8;

/// Bytes in the making. What has no room is left out: each capacity fits the longest of its kind.
pub(crate) trait Pack {
    fn bytes(&mut self, bytes: &[u8]);

    fn address(&mut self, address: SocketAddr) {
        match address.ip() {
            IpAddr::V4(v4) => self.bytes(&v4.octets()),
            IpAddr::V6(v6) => self.bytes(&v6.octets()),
        }
        self.bytes(&address.port().to_be_bytes());
    }

    /// What follows the kind.
    fn ends(&mut self, flow: &Flow) {
        self.address(flow.local);
        self.address(flow.remote);
        if let Some(connection) = flow.connection {
            self.bytes(&connection.to_bits().to_be_bytes());
        }
    }
}

impl<const N: usize> Pack for ArrayVec<u8, N> {
    fn bytes(&mut self, bytes: &[u8]) {
        let fits = self.try_extend_from_slice(bytes);
        debug_assert!(fits.is_ok(), "the capacity fits the longest");
    }
}

/// A flow in its form.
pub(crate) fn flow(flow: &Flow) -> ArrayVec<u8, FLOW_BYTES_MAX> {
    let mut packed = ArrayVec::new();
    packed.push(kind(flow));
    packed.ends(flow);
    packed
}

/// Which addresses a flow has, and its transport: five bits.
pub(crate) fn kind(flow: &Flow) -> u8 {
    let transport = match flow.transport {
        Transport::Udp => 0,
        Transport::Tcp => 1,
        Transport::Tls => 2,
    };
    let family = if flow.remote.is_ipv6() { V6 } else { 0 };
    let mixed = if flow.remote.is_ipv6() != flow.local.is_ipv6() { MIXED } else { 0 };
    family | mixed | transport
}

/// The transport in a kind.
pub(crate) fn transport(kind: u8) -> Option<Transport> {
    match kind & TRANSPORT {
        0 => Some(Transport::Udp),
        1 => Some(Transport::Tcp),
        2 => Some(Transport::Tls),
        _ => None,
    }
}

/// How many bytes the two addresses of a flow of that kind take.
pub(crate) fn addresses_bytes(kind: u8) -> usize {
    let of = |v6: bool| if v6 { 18 } else { 6 };
    let v6 = kind & V6 != 0;
    of(v6) + of(v6 != (kind & MIXED != 0))
}

/// Reads what was packed.
pub(crate) struct Reader<'r>(pub(crate) &'r [u8]);

impl Reader<'_> {
    pub(crate) fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    /// A flow in its form.
    pub(crate) fn flow(&mut self) -> Option<Flow> {
        let [kind] = self.take()?;
        self.ends(kind)
    }

    /// What follows the kind.
    pub(crate) fn ends(&mut self, kind: u8) -> Option<Flow> {
        let transport = transport(kind)?;
        let (local, remote) = self.addresses(kind)?;
        let connection = match transport.is_reliable() {
            true => Some(ConnectionId::from_bits(u64::from_be_bytes(self.take()?))),
            false => None,
        };
        Some(Flow { transport, local, remote, connection })
    }

    /// Our address, then the peer's.
    fn addresses(&mut self, kind: u8) -> Option<(SocketAddr, SocketAddr)> {
        let v6 = kind & V6 != 0;
        Some((self.address(v6 != (kind & MIXED != 0))?, self.address(v6)?))
    }

    fn address(&mut self, v6: bool) -> Option<SocketAddr> {
        let ip = if v6 {
            IpAddr::V6(Ipv6Addr::from(self.take::<16>()?))
        } else {
            IpAddr::V4(Ipv4Addr::from(self.take::<4>()?))
        };
        Some(SocketAddr::new(ip, u16::from_be_bytes(self.take()?)))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use wire::ShardId;

    /// A flow of each kind.
    pub(crate) fn flows() -> Vec<Flow> {
        let at = |text: &str| text.parse().expect("an address");
        let (v4, v6) = (at("198.51.100.7:5062"), at("[2001:db8::7]:5062"));
        let udp = [(v4, v4), (v6, v6), (v4, v6), (v6, v4)].map(|(a, b)| Flow::udp(a, b));
        let connection = Some(ConnectionId::new(ShardId(2), 77));
        let over = |transport| udp.map(|flow| Flow { transport, connection, ..flow });
        [udp, over(Transport::Tcp), over(Transport::Tls)].concat()
    }

    #[test]
    fn flows_round_trip() {
        for given in flows() {
            let packed = flow(&given);
            let mut reader = Reader(&packed);
            assert_eq!(reader.flow(), Some(given));
            assert!(reader.0.is_empty());
            for cut in 0..packed.len() {
                assert_eq!(Reader(&packed[..cut]).flow(), None, "{given} cut at {cut}");
            }
        }
        assert_eq!(Reader(&[TRANSPORT; FLOW_BYTES_MAX]).flow(), None);
    }
}
