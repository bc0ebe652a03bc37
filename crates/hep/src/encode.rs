//! HEPv3: a head of six bytes, then chunks of vendor, type, length and value, all of it big-endian
//! (the HEP/EEP specification, revision 36 of 2019, "Generic chunk types").

use policy::Time;
use std::net::{IpAddr, SocketAddr};
use wire::Transport;

/// Longest packet: what one datagram takes over IPv4.
pub const PACKET_MAX: usize = 65_507;

/// What a packet says of itself.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// When the message came.
    pub at: Time,
    /// Where from.
    pub source: SocketAddr,
    /// Where to.
    pub destination: SocketAddr,
    /// Over what.
    pub transport: Transport,
    /// The number of this agent.
    pub agent: u32,
    /// The name of this node; empty: none.
    pub node: &'a str,
    /// What belongs together.
    pub correlation: &'a [u8],
    /// Its kind.
    pub payload: Payload,
}

/// What a payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// A SIP message.
    Sip = 1,
    /// A log line, JSON.
    Log = 100,
}

/// Types of the generic chunks (vendor 0).
mod chunk {
    pub(super) const FAMILY: u16 = 0x01;
    pub(super) const PROTOCOL: u16 = 0x02;
    pub(super) const SOURCE_V4: u16 = 0x03;
    pub(super) const DESTINATION_V4: u16 = 0x04;
    pub(super) const SOURCE_V6: u16 = 0x05;
    pub(super) const DESTINATION_V6: u16 = 0x06;
    pub(super) const SOURCE_PORT: u16 = 0x07;
    pub(super) const DESTINATION_PORT: u16 = 0x08;
    pub(super) const SECONDS: u16 = 0x09;
    pub(super) const MICROSECONDS: u16 = 0x0a;
    pub(super) const PAYLOAD_TYPE: u16 = 0x0b;
    pub(super) const AGENT: u16 = 0x0c;
    pub(super) const PAYLOAD: u16 = 0x0f;
    pub(super) const CORRELATION: u16 = 0x11;
    pub(super) const NODE: u16 = 0x13;
}

/// `AF_INET`, `AF_INET6` as the specification numbers them.
const FAMILIES: [u8; 2] = [2, 10];

/// Appends the packet with as much of `body` as it takes.
pub fn encode(packet: &Packet<'_>, body: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(b"HEP3\0\0");
    let (source, destination) = (packet.source.ip().to_canonical(), packet.destination.ip());
    let destination = destination.to_canonical();
    put(out, chunk::FAMILY, &[FAMILIES[usize::from(source.is_ipv6())]]);
    let protocol = if packet.transport.is_reliable() { 6 } else { 17 };
    put(out, chunk::PROTOCOL, &[protocol]);
    address(out, [chunk::SOURCE_V4, chunk::SOURCE_V6], source);
    address(out, [chunk::DESTINATION_V4, chunk::DESTINATION_V6], destination);
    put(out, chunk::SOURCE_PORT, &packet.source.port().to_be_bytes());
    put(out, chunk::DESTINATION_PORT, &packet.destination.port().to_be_bytes());
    // the field has 32 bits: 2106
    put(out, chunk::SECONDS, &(packet.at.as_secs() as u32).to_be_bytes());
    let micros = packet.at.as_nanos() / 1_000 % 1_000_000;
    put(out, chunk::MICROSECONDS, &(micros as u32).to_be_bytes());
    put(out, chunk::PAYLOAD_TYPE, &[packet.payload as u8]);
    put(out, chunk::AGENT, &packet.agent.to_be_bytes());
    if !packet.node.is_empty() {
        put(out, chunk::NODE, packet.node.as_bytes());
    }
    if !packet.correlation.is_empty() {
        put(out, chunk::CORRELATION, packet.correlation);
    }
    let room = PACKET_MAX - (out.len() - start) - CHUNK_HEAD;
    put(out, chunk::PAYLOAD, body.get(..room).unwrap_or(body));
    let length = (out.len() - start) as u16;
    if let Some(place) = out.get_mut(start + 4..start + 6) {
        place.copy_from_slice(&length.to_be_bytes());
    }
}

/// Bytes of a chunk besides its value.
const CHUNK_HEAD: usize = 6;

fn put(out: &mut Vec<u8>, kind: u16, value: &[u8]) {
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&((CHUNK_HEAD + value.len()) as u16).to_be_bytes());
    out.extend_from_slice(value);
}

fn address(out: &mut Vec<u8>, [v4, v6]: [u16; 2], ip: IpAddr) {
    match ip {
        IpAddr::V4(ip) => put(out, v4, &ip.octets()),
        IpAddr::V6(ip) => put(out, v6, &ip.octets()),
    }
}
