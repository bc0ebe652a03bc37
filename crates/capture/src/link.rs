//! What stands in front of IP.

use etherparse::{EtherType, LaxSlicedPacket};

/// What a packet begins with: the link types (tcpdump.org/linktypes.html) that are understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// Ethernet, with or without VLAN tags.
    Ethernet,
    /// Linux cooked capture, `tcpdump -i any`.
    Sll,
    /// Its second version.
    Sll2,
    /// IP itself.
    Raw,
    /// BSD loopback: the address family in four bytes of either order.
    Loopback,
    /// Another, by its number.
    Unknown(i32),
}

impl Link {
    pub(crate) fn of(number: i32) -> Self {
        match number {
            0 | 108 => Link::Loopback,
            1 => Link::Ethernet,
            // DLT_RAW is 12, 14 or 101; 228 and 229 say which version
            12 | 14 | 101 | 228 | 229 => Link::Raw,
            113 => Link::Sll,
            276 => Link::Sll2,
            other => Link::Unknown(other),
        }
    }

    /// The packet in its layers; `None` when it is no IP or too short.
    pub(crate) fn slice(self, bytes: &[u8]) -> Option<LaxSlicedPacket<'_>> {
        let protocol = |at: usize| {
            let number = bytes.get(at..at + 2)?;
            Some(EtherType(u16::from_be_bytes([number[0], number[1]])))
        };
        match self {
            Link::Ethernet => LaxSlicedPacket::from_ethernet(bytes).ok(),
            Link::Sll => Some(LaxSlicedPacket::from_ether_type(protocol(14)?, bytes.get(16..)?)),
            Link::Sll2 => Some(LaxSlicedPacket::from_ether_type(protocol(0)?, bytes.get(20..)?)),
            Link::Raw => LaxSlicedPacket::from_ip(bytes).ok(),
            Link::Loopback => LaxSlicedPacket::from_ip(bytes.get(4..)?).ok(),
            Link::Unknown(_) => None,
        }
    }
}
