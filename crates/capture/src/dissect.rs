//! From packets to what was said.

use crate::fragments::Fragments;
use crate::streams::{Segment, Streams};
use crate::{Link, Packet};
use etherparse::{IpNumber, LaxNetSlice, TcpSlice, TransportSlice, UdpSlice};
use policy::Time;
use std::net::{IpAddr, SocketAddr};

/// Something that was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen<'a> {
    /// A whole UDP datagram.
    Datagram {
        /// Who sent it.
        source: SocketAddr,
        /// To whom.
        destination: SocketAddr,
        /// What.
        bytes: &'a [u8],
    },
    /// A TCP connection began, or the capture in the middle of it.
    Opened {
        /// Who opened it.
        source: SocketAddr,
        /// To whom.
        destination: SocketAddr,
    },
    /// Bytes of a connection, in order, cut anywhere.
    Stream {
        /// Who sent them.
        source: SocketAddr,
        /// To whom.
        destination: SocketAddr,
        /// What.
        bytes: &'a [u8],
    },
    /// A connection ended, or cannot be followed any more.
    Closed {
        /// Who opened it.
        source: SocketAddr,
        /// To whom.
        destination: SocketAddr,
    },
}

/// What was looked at, and what had to be left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Packets.
    pub packets: u64,
    /// Of them, those whose link type is not known here.
    pub unknown_link: u64,
    /// Packets of the addresses in question that the capture kept only in part.
    pub cut: u64,
    /// Datagrams whose fragments are not all there.
    pub fragments_lost: u64,
    /// TCP connections that could not be followed to their end.
    pub streams_lost: u64,
}

/// Takes packets, gives out what was said.
#[derive(Debug)]
pub struct Dissector {
    fragments: Fragments,
    streams: Streams,
    counts: Counts,
}

impl Default for Dissector {
    fn default() -> Self {
        Dissector::new()
    }
}

impl Dissector {
    /// Knows nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Dissector {
            fragments: Fragments::new(),
            streams: Streams::new(),
            counts: Counts::default(),
        }
    }

    /// Takes a packet. `wanted` says of two ends whether what they say to each other is of interest:
    /// nothing is kept of others. What the packet makes complete is given to `seen`.
    pub fn take(
        &mut self,
        packet: &Packet<'_>,
        wanted: impl Fn(SocketAddr, SocketAddr) -> bool,
        mut seen: impl FnMut(Seen<'_>),
    ) {
        self.counts.packets += 1;
        if matches!(packet.link, Link::Unknown(_)) {
            self.counts.unknown_link += 1;
            return;
        }
        let Some(sliced) = packet.link.slice(packet.bytes) else { return };
        let Some(net) = &sliced.net else { return };
        let Some((source, destination)) = ends(net) else { return };
        let payload = net.ip_payload_ref();
        if payload.is_some_and(|payload| payload.fragmented) {
            self.take_fragment(packet.at, net, (source, destination), wanted, &mut seen);
            return;
        }
        let incomplete = packet.cut || payload.is_some_and(|payload| payload.incomplete);
        if let Some(transport) = &sliced.transport {
            self.take_transport(transport, (source, destination), incomplete, wanted, &mut seen);
        }
    }

    /// What was counted so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            fragments_lost: self.fragments.lost(),
            streams_lost: self.streams.lost,
            ..self.counts
        }
    }

    fn take_fragment(
        &mut self,
        at: Time,
        net: &LaxNetSlice<'_>,
        ends: (IpAddr, IpAddr),
        wanted: impl Fn(SocketAddr, SocketAddr) -> bool,
        seen: &mut impl FnMut(Seen<'_>),
    ) {
        let number = net.ip_payload_ref().map(|payload| payload.ip_number);
        let Some(whole) = self.fragments.take(at, net) else { return };
        let transport = match number {
            Some(IpNumber::UDP) => UdpSlice::from_slice(&whole).ok().map(TransportSlice::Udp),
            Some(IpNumber::TCP) => TcpSlice::from_slice(&whole).ok().map(TransportSlice::Tcp),
            _ => None,
        };
        if let Some(transport) = transport {
            self.take_transport(&transport, ends, false, wanted, seen);
        }
    }

    fn take_transport(
        &mut self,
        transport: &TransportSlice<'_>,
        (from, to): (IpAddr, IpAddr),
        incomplete: bool,
        wanted: impl Fn(SocketAddr, SocketAddr) -> bool,
        seen: &mut impl FnMut(Seen<'_>),
    ) {
        let (from_port, to_port) = match transport {
            TransportSlice::Udp(udp) => (udp.source_port(), udp.destination_port()),
            TransportSlice::Tcp(tcp) => (tcp.source_port(), tcp.destination_port()),
            _ => return,
        };
        let source = SocketAddr::new(from, from_port);
        let destination = SocketAddr::new(to, to_port);
        if !wanted(source, destination) {
            return;
        }
        if incomplete {
            self.counts.cut += 1;
            return;
        }
        match transport {
            TransportSlice::Udp(udp) => {
                seen(Seen::Datagram { source, destination, bytes: udp.payload() });
            }
            TransportSlice::Tcp(tcp) => {
                let segment = Segment {
                    source,
                    destination,
                    sequence: tcp.sequence_number(),
                    syn: tcp.syn(),
                    ack: tcp.ack(),
                    fin: tcp.fin(),
                    rst: tcp.rst(),
                    bytes: tcp.payload(),
                };
                self.streams.take(&segment, seen);
            }
            _ => {}
        }
    }
}

/// Addresses, an IPv4-mapped one as the IPv4 address that it is.
fn ends(net: &LaxNetSlice<'_>) -> Option<(IpAddr, IpAddr)> {
    let (from, to): (IpAddr, IpAddr) = match net {
        LaxNetSlice::Ipv4(packet) => {
            (packet.header().source_addr().into(), packet.header().destination_addr().into())
        }
        LaxNetSlice::Ipv6(packet) => {
            (packet.header().source_addr().into(), packet.header().destination_addr().into())
        }
        LaxNetSlice::Arp(_) => return None,
    };
    Some((from.to_canonical(), to.to_canonical()))
}
