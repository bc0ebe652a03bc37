//! Socket addresses and control messages as the kernel lays them out (`ip(7)`, `ipv6(7)`,
//! `cmsg(3)`), written and read as plain bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::time::Duration;

const FAMILY_V4: u16 = libc::AF_INET as u16;
const FAMILY_V6: u16 = libc::AF_INET6 as u16;
/// `CMSG_LEN(0)`: a length, a level and a type; their sum is aligned on every Linux.
const HEAD: usize = size_of::<usize>() + 8;

/// Room for a `sockaddr_in` or a `sockaddr_in6`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(8))]
pub(crate) struct Name([u8; 28]);

impl Name {
    pub(crate) const SIZE: usize = 28;

    /// Writes `address`; the second value is the length the kernel wants.
    pub(crate) fn encode(address: SocketAddr) -> (Self, usize) {
        let mut name = Name::default();
        name.0[2..4].copy_from_slice(&address.port().to_be_bytes());
        match address {
            SocketAddr::V4(v4) => {
                name.0[..2].copy_from_slice(&FAMILY_V4.to_ne_bytes());
                name.0[4..8].copy_from_slice(&v4.ip().octets());
                (name, size_of::<libc::sockaddr_in>())
            }
            SocketAddr::V6(v6) => {
                name.0[..2].copy_from_slice(&FAMILY_V6.to_ne_bytes());
                name.0[4..8].copy_from_slice(&v6.flowinfo().to_be_bytes());
                name.0[8..24].copy_from_slice(&v6.ip().octets());
                name.0[24..28].copy_from_slice(&v6.scope_id().to_ne_bytes());
                (name, size_of::<libc::sockaddr_in6>())
            }
        }
    }

    /// The address the kernel wrote; `None` for another family or a short one.
    pub(crate) fn decode(&self, length: usize) -> Option<SocketAddr> {
        let b = self.0.get(..length)?;
        let family = u16::from_ne_bytes(b.get(..2)?.try_into().ok()?);
        let port = u16::from_be_bytes(b.get(2..4)?.try_into().ok()?);
        if family == FAMILY_V4 {
            let ip: [u8; 4] = b.get(4..8)?.try_into().ok()?;
            return Some(SocketAddrV4::new(Ipv4Addr::from(ip), port).into());
        }
        if family != FAMILY_V6 {
            return None;
        }
        let ip: [u8; 16] = b.get(8..24)?.try_into().ok()?;
        let scope = u32::from_ne_bytes(b.get(24..28)?.try_into().ok()?);
        // The flow label of a packet is no part of a peer's address: two datagrams of one flow
        // must compare equal.
        Some(SocketAddrV6::new(Ipv6Addr::from(ip), port, 0, scope).into())
    }

    pub(crate) fn as_mut_ptr(&mut self) -> *mut libc::c_void {
        self.0.as_mut_ptr().cast()
    }
}

/// Room for the control messages of one datagram: the local address, the overflow count and the
/// time of arrival on receiving, the local address on sending, the error in the error queue.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
pub(crate) struct Control([u8; Control::SIZE]);

impl Default for Control {
    fn default() -> Self {
        Control([0; Control::SIZE])
    }
}

impl Control {
    /// `CMSG_SPACE(in6_pktinfo) + CMSG_SPACE(sock_extended_err + sockaddr_in6)` is 104, and
    /// `CMSG_SPACE(timespec)` 32 more: the most we ask for.
    pub(crate) const SIZE: usize = 144;

    /// A control message that makes a datagram leave from `source`, and its length. The
    /// interface index stays 0: routing chooses the interface, we choose only the address.
    pub(crate) fn leave_from(source: IpAddr) -> (Self, usize) {
        let mut control = Control::default();
        match source {
            IpAddr::V4(v4) => {
                // in_pktinfo: ipi_ifindex, ipi_spec_dst, ipi_addr
                let mut info = [0; 12];
                info[4..8].copy_from_slice(&v4.octets());
                let length = control.put(libc::IPPROTO_IP, libc::IP_PKTINFO, &info);
                (control, length)
            }
            IpAddr::V6(v6) => {
                // in6_pktinfo: ipi6_addr, ipi6_ifindex
                let mut info = [0; 20];
                info[..16].copy_from_slice(&v6.octets());
                let length = control.put(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info);
                (control, length)
            }
        }
    }

    fn put(&mut self, level: i32, kind: i32, data: &[u8]) -> usize {
        let length = HEAD + data.len();
        self.0[..HEAD - 8].copy_from_slice(&length.to_ne_bytes());
        self.0[HEAD - 8..HEAD - 4].copy_from_slice(&level.to_ne_bytes());
        self.0[HEAD - 4..HEAD].copy_from_slice(&kind.to_ne_bytes());
        self.0[HEAD..length].copy_from_slice(data);
        length.next_multiple_of(size_of::<usize>())
    }

    /// The control messages in the first `length` bytes.
    pub(crate) fn messages(&self, length: usize) -> Messages<'_> {
        Messages { rest: self.0.get(..length).unwrap_or_default() }
    }

    pub(crate) fn as_mut_ptr(&mut self) -> *mut libc::c_void {
        self.0.as_mut_ptr().cast()
    }
}

/// What a control message says, as far as this crate asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// The local address the datagram was sent to.
    SentTo(IpAddr),
    /// Datagrams the kernel has dropped for want of room, since the socket was made, modulo 2³².
    Overflowed(u32),
    /// The kernel's time of its arrival, since 1970.
    Arrived(Duration),
    /// An error's number (`ee_errno`) and origin (`ee_origin`).
    Failure { errno: i32, origin: u8 },
}

/// Walks over control messages; ends at the first that is not whole.
pub(crate) struct Messages<'a> {
    rest: &'a [u8],
}

impl Iterator for Messages<'_> {
    type Item = Message;

    fn next(&mut self) -> Option<Message> {
        loop {
            let head = self.rest.get(..HEAD)?;
            let length = usize::from_ne_bytes(head.get(..HEAD - 8)?.try_into().ok()?);
            let level = i32::from_ne_bytes(head.get(HEAD - 8..HEAD - 4)?.try_into().ok()?);
            let kind = i32::from_ne_bytes(head.get(HEAD - 4..)?.try_into().ok()?);
            let data = self.rest.get(HEAD..length)?;
            let next = length.checked_next_multiple_of(size_of::<usize>())?;
            self.rest = self.rest.get(next..).unwrap_or_default();
            if let Some(message) = read(level, kind, data) {
                return Some(message);
            }
        }
    }
}

fn read(level: i32, kind: i32, data: &[u8]) -> Option<Message> {
    match (level, kind) {
        (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
            // ipi_spec_dst, not ipi_addr: it is an address of ours for a broadcast, too.
            let ip: [u8; 4] = data.get(4..8)?.try_into().ok()?;
            Some(Message::SentTo(Ipv4Addr::from(ip).into()))
        }
        (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
            let ip: [u8; 16] = data.get(..16)?.try_into().ok()?;
            Some(Message::SentTo(Ipv6Addr::from(ip).into()))
        }
        (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => {
            Some(Message::Overflowed(u32::from_ne_bytes(data.get(..4)?.try_into().ok()?)))
        }
        (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => {
            // timespec: both fields as wide as a pointer is on every Linux we are built for
            let (seconds, rest) = data.split_at_checked(size_of::<usize>())?;
            let seconds = usize::from_ne_bytes(seconds.try_into().ok()?);
            let nanos = usize::from_ne_bytes(rest.get(..size_of::<usize>())?.try_into().ok()?);
            let nanos = u32::try_from(nanos).ok().filter(|nanos| *nanos < 1_000_000_000)?;
            Some(Message::Arrived(Duration::new(seconds as u64, nanos)))
        }
        (libc::IPPROTO_IP, libc::IP_RECVERR) | (libc::IPPROTO_IPV6, libc::IPV6_RECVERR) => {
            // sock_extended_err: ee_errno, ee_origin, …
            let errno = i32::from_ne_bytes(data.get(..4)?.try_into().ok()?);
            Some(Message::Failure { errno, origin: *data.get(4)? })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_the_round_trip() {
        for text in ["192.0.2.1:5060", "[2001:db8::1]:5061", "[fe80::1%3]:5060"] {
            let address: SocketAddr = text.parse().unwrap();
            let (name, length) = Name::encode(address);
            assert_eq!(name.decode(length), Some(address));
            assert_eq!(name.decode(7), None);
        }
        assert_eq!(Name::default().decode(Name::SIZE), None);
        assert_eq!(Name::default().decode(Name::SIZE + 1), None);
    }

    #[test]
    fn a_source_written_is_a_source_read() {
        for ip in ["192.0.2.1", "2001:db8::1"] {
            let ip: IpAddr = ip.parse().unwrap();
            let (control, length) = Control::leave_from(ip);
            let all: Vec<_> = control.messages(length).collect();
            assert_eq!(all, [Message::SentTo(ip)]);
        }
    }

    #[test]
    fn broken_control_messages_end_the_walk() {
        let (mut control, length) = Control::leave_from("192.0.2.1".parse().unwrap());
        assert_eq!(control.messages(HEAD + 3).count(), 0);
        for broken in [0, 1, HEAD - 1, usize::MAX] {
            control.0[..HEAD - 8].copy_from_slice(&broken.to_ne_bytes());
            assert_eq!(control.messages(length).count(), 0, "{broken}");
        }
    }
}
