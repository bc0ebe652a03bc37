//! Writes what was said as a capture that any tool reads: pcap, nanoseconds, raw IP.

use etherparse::{IpHeaders, PacketBuilder, PacketBuilderStep};
use policy::Time;
use std::collections::HashMap;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};

const MAGIC_NANOSECONDS: u32 = 0xa1b2_3c4d;
const VERSION: u32 = 0x0004_0002;
const SNAPLEN: u32 = 262_144;
const RAW_IP: u32 = 101;
const TTL: u8 = 64;
const WINDOW: u16 = 65_535;
/// Most bytes of a segment.
const SEGMENT_MAX: usize = 1_400;

/// A pcap file in the making.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    /// The next number of each direction of a connection.
    sequence: HashMap<(SocketAddr, SocketAddr), u32>,
    packet: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// Writes the file's head.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn new(mut out: W) -> io::Result<Self> {
        for word in [MAGIC_NANOSECONDS, VERSION, 0, 0, SNAPLEN, RAW_IP] {
            out.write_all(&word.to_le_bytes())?;
        }
        Ok(Writer { out, sequence: HashMap::new(), packet: Vec::new() })
    }

    /// A UDP datagram.
    ///
    /// # Errors
    /// Those of `out`; `InvalidInput` when the ends are not of one family, or it is too long.
    pub fn datagram(
        &mut self,
        at: Time,
        from: SocketAddr,
        to: SocketAddr,
        bytes: &[u8],
    ) -> io::Result<()> {
        self.packet.clear();
        let builder = ip(from, to)?.udp(from.port(), to.port());
        builder.write(&mut self.packet, bytes).map_err(io::Error::other)?;
        self.record(at)
    }

    /// A connection begins; `from` opens it.
    ///
    /// # Errors
    /// As [`Writer::datagram`].
    pub fn opened(&mut self, at: Time, from: SocketAddr, to: SocketAddr) -> io::Result<()> {
        self.sequence.insert((from, to), 0);
        self.sequence.insert((to, from), 0);
        self.segment(at, from, to, b"S", b"")?;
        self.segment(at, to, from, b"SA", b"")
    }

    /// Bytes of a connection.
    ///
    /// # Errors
    /// As [`Writer::datagram`].
    pub fn stream(
        &mut self,
        at: Time,
        from: SocketAddr,
        to: SocketAddr,
        bytes: &[u8],
    ) -> io::Result<()> {
        bytes.chunks(SEGMENT_MAX).try_for_each(|part| self.segment(at, from, to, b"A", part))
    }

    /// A connection ends, by a reset.
    ///
    /// # Errors
    /// As [`Writer::datagram`].
    pub fn closed(&mut self, at: Time, from: SocketAddr, to: SocketAddr) -> io::Result<()> {
        self.segment(at, from, to, b"R", b"")?;
        self.sequence.remove(&(from, to));
        self.sequence.remove(&(to, from));
        Ok(())
    }

    /// The file, written out.
    ///
    /// # Errors
    /// Those of flushing it.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.flush()?;
        Ok(self.out)
    }

    fn segment(
        &mut self,
        at: Time,
        from: SocketAddr,
        to: SocketAddr,
        flags: &[u8],
        bytes: &[u8],
    ) -> io::Result<()> {
        let acknowledged = self.sequence.get(&(to, from)).copied().unwrap_or_default();
        let next = self.sequence.entry((from, to)).or_default();
        let mut builder = ip(from, to)?.tcp(from.port(), to.port(), *next, WINDOW);
        *next = next.wrapping_add(bytes.len() as u32);
        for flag in flags {
            builder = match flag {
                b'S' => {
                    *next = next.wrapping_add(1);
                    builder.syn()
                }
                b'A' => builder.ack(acknowledged),
                _ => builder.rst(),
            };
        }
        self.packet.clear();
        builder.write(&mut self.packet, bytes).map_err(io::Error::other)?;
        self.record(at)
    }

    fn record(&mut self, at: Time) -> io::Result<()> {
        let length = self.packet.len() as u32;
        let nanos = (at.as_nanos() % 1_000_000_000) as u32;
        for word in [at.as_secs() as u32, nanos, length, length] {
            self.out.write_all(&word.to_le_bytes())?;
        }
        self.out.write_all(&self.packet)
    }
}

fn ip(from: SocketAddr, to: SocketAddr) -> io::Result<PacketBuilderStep<IpHeaders>> {
    match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            Ok(PacketBuilder::ipv4(from.octets(), to.octets(), TTL))
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            Ok(PacketBuilder::ipv6(from.octets(), to.octets(), TTL))
        }
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "two families of addresses")),
    }
}
