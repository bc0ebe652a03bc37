//! The two file formats: pcap, and pcapng (draft-ietf-opsawg-pcapng).

use crate::Link;
use pcap_parser::{
    Block, Linktype, PcapBlockOwned, PcapError, PcapHeader, create_reader,
    traits::PcapReaderIterator,
};
use policy::Time;
use std::io::Read;

const NANOS: u128 = 1_000_000_000;
/// Interfaces of a section that are remembered; packets of further ones are passed over.
const INTERFACES_MAX: usize = 1_024;

/// A packet as it was on the wire, perhaps cut off.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// When it was captured.
    pub at: Time,
    /// What its bytes begin with.
    pub link: Link,
    /// Its bytes.
    pub bytes: &'a [u8],
    /// It was longer than the capture kept of it (`tcpdump -s`).
    pub cut: bool,
}

/// Why a capture cannot be read further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// Neither format.
    #[error("this is no pcap or pcapng file")]
    Unknown,
    /// It ends in the middle of a block.
    #[error("the file ends in the middle of a packet")]
    Truncated,
    /// A block says that it is longer than any may be.
    #[error("a block is longer than {} bytes", Reader::BLOCK_MAX)]
    TooLong,
    /// A block contradicts itself.
    #[error("a block is malformed")]
    Malformed,
    /// The system could not read it.
    #[error("it cannot be read")]
    Unreadable,
}

/// How an interface writes times.
#[derive(Clone, Copy, Debug)]
struct Interface {
    link: Link,
    /// Units a second.
    resolution: u64,
    /// Seconds to add.
    offset: i64,
}

/// Reads packets one by one.
pub struct Reader<'r> {
    blocks: Box<dyn PcapReaderIterator + Send + 'r>,
    interfaces: Vec<Interface>,
    /// Bytes of the block that was given out last.
    taken: usize,
    /// A packet without a time has the one before it.
    last: Time,
}

impl<'r> Reader<'r> {
    /// Longest block that is read: room for the largest packet that capturing tools keep.
    pub const BLOCK_MAX: usize = 1 << 20;

    /// Looks at the first bytes to tell the formats apart.
    ///
    /// # Errors
    /// [`Broken::Unknown`] when it is neither of them, [`Broken::Truncated`] when there is too little.
    pub fn new(input: impl Read + Send + 'r) -> Result<Self, Broken> {
        let blocks = create_reader(Self::BLOCK_MAX, Full(input)).map_err(|error| match error {
            PcapError::Eof | PcapError::Incomplete(_) => Broken::Truncated,
            PcapError::ReadError => Broken::Unreadable,
            _ => Broken::Unknown,
        })?;
        Ok(Reader { blocks, interfaces: Vec::new(), taken: 0, last: Time::ZERO })
    }

    /// The next packet; `None` at the end.
    ///
    /// # Errors
    /// When the file is broken from here on.
    pub fn next_packet(&mut self) -> Result<Option<Packet<'_>>, Broken> {
        // two steps: the block that is given out borrows the reader
        let Some(found) = self.find()? else { return Ok(None) };
        self.last = found.at;
        let bytes = self.blocks.data().get(found.start..found.end).unwrap_or_default();
        Ok(Some(Packet { at: found.at, link: found.link, bytes, cut: found.cut }))
    }

    fn find(&mut self) -> Result<Option<Found>, Broken> {
        loop {
            self.blocks.consume(std::mem::take(&mut self.taken));
            let base = self.blocks.data().as_ptr() as usize;
            match self.blocks.next() {
                Ok((length, block)) => {
                    self.taken = length;
                    let context =
                        Context { interfaces: &mut self.interfaces, base, last: self.last };
                    if let Some(found) = context.look(block) {
                        return Ok(Some(found));
                    }
                    if length == 0 {
                        return Err(Broken::Malformed);
                    }
                }
                Err(PcapError::Eof) => return Ok(None),
                Err(PcapError::Incomplete(_)) => {
                    let before = self.blocks.data().len();
                    self.blocks.refill().map_err(|_| Broken::Unreadable)?;
                    if self.blocks.data().len() == before && !self.blocks.reader_exhausted() {
                        return Err(Broken::TooLong);
                    }
                    if self.blocks.reader_exhausted() && self.blocks.data().is_empty() {
                        return Ok(None);
                    }
                }
                Err(PcapError::UnexpectedEof) => return Err(Broken::Truncated),
                Err(PcapError::BufferTooSmall) => return Err(Broken::TooLong),
                Err(PcapError::ReadError) => return Err(Broken::Unreadable),
                Err(_) => return Err(Broken::Malformed),
            }
        }
    }
}

impl std::fmt::Debug for Reader<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("interfaces", &self.interfaces).finish_non_exhaustive()
    }
}

/// Where in the reader's buffer a packet lies.
#[derive(Clone, Copy, Debug)]
struct Found {
    at: Time,
    link: Link,
    start: usize,
    end: usize,
    cut: bool,
}

struct Context<'c> {
    interfaces: &'c mut Vec<Interface>,
    base: usize,
    last: Time,
}

impl Context<'_> {
    fn look(self, block: PcapBlockOwned<'_>) -> Option<Found> {
        match block {
            PcapBlockOwned::LegacyHeader(header) => {
                self.interfaces.clear();
                self.interfaces.push(Interface::of_file(&header));
                None
            }
            PcapBlockOwned::Legacy(packet) => {
                let interface = *self.interfaces.first()?;
                let at = u128::from(packet.ts_sec) * NANOS
                    + u128::from(packet.ts_usec) * (NANOS / u128::from(interface.resolution));
                let cut = packet.caplen < packet.origlen;
                Some(self.found(time(at), interface.link, packet.data, cut))
            }
            PcapBlockOwned::NG(Block::SectionHeader(_)) => {
                self.interfaces.clear();
                None
            }
            PcapBlockOwned::NG(Block::InterfaceDescription(described)) => {
                if self.interfaces.len() < INTERFACES_MAX {
                    self.interfaces.push(Interface {
                        link: Link::of(described.linktype.0),
                        resolution: described.ts_resolution().unwrap_or(1_000_000),
                        offset: described.ts_offset(),
                    });
                }
                None
            }
            PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
                let interface = *self.interfaces.get(packet.if_id as usize)?;
                let units = (u64::from(packet.ts_high) << 32) | u64::from(packet.ts_low);
                let bytes = packet.data.get(..packet.caplen as usize).unwrap_or(packet.data);
                let cut = packet.caplen < packet.origlen;
                Some(self.found(interface.time(units), interface.link, bytes, cut))
            }
            PcapBlockOwned::NG(Block::SimplePacket(packet)) => {
                let interface = *self.interfaces.first()?;
                let length = packet.origlen as usize;
                let bytes = packet.data.get(..length).unwrap_or(packet.data);
                let cut = bytes.len() < length;
                let last = self.last;
                Some(self.found(last, interface.link, bytes, cut))
            }
            PcapBlockOwned::NG(_) => None,
        }
    }

    fn found(&self, at: Time, link: Link, bytes: &[u8], cut: bool) -> Found {
        let start = (bytes.as_ptr() as usize).saturating_sub(self.base);
        Found { at, link, start, end: start + bytes.len(), cut }
    }
}

impl Interface {
    fn of_file(header: &PcapHeader) -> Self {
        // 0xa1b23c4d, either way round
        let nanoseconds = matches!(header.magic_number, 0xa1b2_3c4d | 0x4d3c_b2a1);
        let resolution = if nanoseconds { 1_000_000_000 } else { 1_000_000 };
        // the upper bits say how many bytes of a frame's checksum were kept
        let Linktype(network) = header.network;
        Interface { link: Link::of(network & 0x0fff_ffff), resolution, offset: 0 }
    }

    fn time(&self, units: u64) -> Time {
        let nanos = u128::from(units) * NANOS / u128::from(self.resolution.max(1));
        let seconds = u128::from(self.offset.unsigned_abs()) * NANOS;
        time(if self.offset < 0 { nanos.saturating_sub(seconds) } else { nanos + seconds })
    }
}

/// No later than ten billion seconds after 1970: what a deadline adds must have room.
fn time(nanos: u128) -> Time {
    const LATEST: u64 = 10_000_000_000_000_000_000;
    Time::from_nanos(u64::try_from(nanos).unwrap_or(LATEST).min(LATEST))
}

/// Reads until there is no room or no more: a pipe that gives little at a time is no end.
struct Full<R>(R);

impl<R: Read> Read for Full<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let mut filled = 0;
        while let Some(room) = buffer.get_mut(filled..).filter(|room| !room.is_empty()) {
            match self.0.read(room) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
}
