//! How a load balancer says for whom it speaks: the PROXY protocol, versions 1 and 2
//! (<https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>). Pure: bytes in, an answer out.
//! `ppp` reads the header; its bounds, and what must not be believed, are settled here.

use policy::Network;
use ppp::{v1, v2};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Longest header of version 1 with its CRLF (§2.1).
const V1_MAX: usize = 107;
/// Shortest one: `PROXY UNKNOWN` and CRLF. One of version 2 is longer, too.
const LEAST: usize = 15;
/// What version 2 has before addresses and TLVs (§2.2).
const V2_HEAD: usize = 16;
/// Longest header of version 2 that is taken: 536 bytes are promised to fit anywhere, but a
/// balancer that ends TLS may add a client's certificate.
const V2_MAX: usize = 4_096;
/// What a header of version 1 begins with.
const V1_PREFIX: &[u8] = b"PROXY ";

/// The load balancers of a listener. None: everybody speaks for himself.
#[derive(Clone, Debug, Default)]
pub(crate) struct Balancers(Arc<[Network]>);

impl Balancers {
    pub(crate) fn new(networks: &[Network]) -> Self {
        Balancers(networks.into())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a peer is one of them.
    pub(crate) fn has(&self, peer: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(peer))
    }
}

/// For whom a load balancer speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speaker {
    /// For a client at this address.
    Client(SocketAddr),
    /// For itself, or for somebody it cannot name (LOCAL, UNKNOWN, UNSPEC): "the receiver must use
    /// the real connection endpoints".
    Itself,
}

/// The begin of what a load balancer sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begin {
    /// At least so many more bytes belong to the header: they can be waited for, and taken.
    Needs(usize),
    /// A header, and for whom it speaks.
    Header(Speaker),
}

/// No header, or one that is not to be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no PROXY header that can be believed")]
pub(crate) struct NoHeader;

/// Reads a header of either version at the begin of a stream. `bytes` are what was taken so far,
/// and no more than [`Begin::Needs`] asked for.
pub(crate) fn read(bytes: &[u8]) -> Result<Begin, NoHeader> {
    let is_v2 = starts_alike(bytes, v2::PROTOCOL_PREFIX);
    if !is_v2 && !starts_alike(bytes, V1_PREFIX) {
        return Err(NoHeader);
    }
    if bytes.len() < LEAST {
        return Ok(Begin::Needs(LEAST - bytes.len()));
    }
    if is_v2 {
        return match v2_length(bytes)?.checked_sub(bytes.len()) {
            Some(missing @ 1..) => Ok(Begin::Needs(missing)),
            _ => read_v2(bytes).map(Begin::Header),
        };
    }
    match bytes {
        [.., b'\r', b'\n'] => read_v1(bytes).map(Begin::Header),
        _ if bytes.len() >= V1_MAX => Err(NoHeader),
        [.., b'\r'] => Ok(Begin::Needs(1)),
        _ => Ok(Begin::Needs(2)),
    }
}

/// Reads the header of version 2 that a datagram begins with; and how long it is.
pub(crate) fn split(datagram: &[u8]) -> Result<(Speaker, usize), NoHeader> {
    if datagram.len() < V2_HEAD || !datagram.starts_with(v2::PROTOCOL_PREFIX) {
        return Err(NoHeader);
    }
    let length = v2_length(datagram)?;
    let header = datagram.get(..length).ok_or(NoHeader)?;
    Ok((read_v2(header)?, length))
}

/// Whether both begin alike, as far as the shorter of them goes.
fn starts_alike(bytes: &[u8], prefix: &[u8]) -> bool {
    bytes.iter().zip(prefix).all(|(byte, wanted)| byte == wanted)
}

/// The whole length of a header of version 2, as far as it is known.
fn v2_length(bytes: &[u8]) -> Result<usize, NoHeader> {
    let Some([high, low]) = bytes.get(V2_HEAD - 2..V2_HEAD) else { return Ok(V2_HEAD) };
    let length = V2_HEAD + usize::from(u16::from_be_bytes([*high, *low]));
    if length > V2_MAX { Err(NoHeader) } else { Ok(length) }
}

fn read_v1(bytes: &[u8]) -> Result<Speaker, NoHeader> {
    let header = v1::Header::try_from(bytes).map_err(|_| NoHeader)?;
    // a CR within it would end it before its last byte
    if header.header.len() != bytes.len() {
        return Err(NoHeader);
    }
    match header.addresses {
        v1::Addresses::Unknown => Ok(Speaker::Itself),
        v1::Addresses::Tcp4(a) => client(a.source_address.into(), a.source_port),
        v1::Addresses::Tcp6(a) => client(a.source_address.into(), a.source_port),
    }
}

fn read_v2(bytes: &[u8]) -> Result<Speaker, NoHeader> {
    let header = v2::Header::try_from(bytes).map_err(|_| NoHeader)?;
    match (header.command, header.addresses) {
        (v2::Command::Local, _) | (_, v2::Addresses::Unspecified) => Ok(Speaker::Itself),
        (_, v2::Addresses::IPv4(a)) => client(a.source_address.into(), a.source_port),
        (_, v2::Addresses::IPv6(a)) => client(a.source_address.into(), a.source_port),
        (_, v2::Addresses::Unix(_)) => Err(NoHeader),
    }
}

/// A client that can be answered: nobody is at these addresses.
fn client(ip: IpAddr, port: u16) -> Result<Speaker, NoHeader> {
    let ip = ip.to_canonical();
    let broadcast = matches!(ip, IpAddr::V4(v4) if v4.is_broadcast());
    if ip.is_unspecified() || ip.is_multicast() || broadcast || port == 0 {
        return Err(NoHeader);
    }
    Ok(Speaker::Client(SocketAddr::new(ip, port)))
}

#[cfg(test)]
mod tests;
