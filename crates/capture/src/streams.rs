//! TCP (RFC 9293) as a bystander sees it: bytes in order, as far as they were captured.

use crate::{Recent, Seen};
use std::net::SocketAddr;

/// Connections at a time.
const CONNECTIONS_MAX: usize = 65_536;
/// Bytes and segments of one direction that may wait for an earlier one.
const AHEAD_BYTES: usize = 256 << 10;
const AHEAD_SEGMENTS: usize = 128;

/// A segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment<'a> {
    pub(crate) source: SocketAddr,
    pub(crate) destination: SocketAddr,
    pub(crate) sequence: u32,
    pub(crate) syn: bool,
    pub(crate) ack: bool,
    pub(crate) fin: bool,
    pub(crate) rst: bool,
    pub(crate) bytes: &'a [u8],
}

/// Both ends, the smaller address first.
type Ends = (SocketAddr, SocketAddr);

/// One direction.
#[derive(Debug, Default)]
struct Half {
    /// The first byte's number, and the next one's; `None` before the first segment.
    first: Option<u32>,
    next: Option<u32>,
    /// What came too early.
    ahead: Vec<(u32, Vec<u8>)>,
    /// The number behind its last byte, once it has said so.
    end: Option<u32>,
}

#[derive(Debug)]
struct Connection {
    /// Who opened it.
    client: SocketAddr,
    halves: [Half; 2],
}

/// All connections.
#[derive(Debug)]
pub(crate) struct Streams {
    connections: Recent<Ends, Connection>,
    /// Connections that could not be followed to their end: bytes are missing, or there were too
    /// many.
    pub(crate) lost: u64,
}

impl Streams {
    pub(crate) fn new() -> Self {
        Streams { connections: Recent::new(CONNECTIONS_MAX), lost: 0 }
    }

    /// Takes a segment, and gives out what it makes complete.
    pub(crate) fn take(&mut self, segment: &Segment<'_>, seen: &mut impl FnMut(Seen<'_>)) {
        let Segment { source, destination, .. } = *segment;
        let ends = if source < destination { (source, destination) } else { (destination, source) };
        let opens = segment.syn && !segment.ack;
        if segment.rst {
            if let Some(connection) = self.connections.remove(&ends) {
                seen(closed(&connection, ends));
            }
            return;
        }
        if opens
            && self.begins_anew(&ends, segment)
            && let Some(old) = self.connections.remove(&ends)
        {
            seen(closed(&old, ends));
        }
        if self.connections.get(&ends).is_none() {
            // a capture that begins in mid-connection: whoever speaks first is taken for the client
            if !opens && !segment.syn && segment.bytes.is_empty() {
                return;
            }
            let (client, server) = if segment.syn && segment.ack {
                (destination, source)
            } else {
                (source, destination)
            };
            let connection = Connection { client, halves: Default::default() };
            if let Some((ends, old)) = self.connections.insert(ends, connection) {
                self.lost += 1;
                seen(closed(&old, ends));
            }
            seen(Seen::Opened { source: client, destination: server });
        }
        let Some(connection) = self.connections.get_mut(&ends) else { return };
        let half = &mut connection.halves[usize::from(source != ends.0)];
        let good = half.take(segment, |bytes| seen(Seen::Stream { source, destination, bytes }));
        let ended = connection.halves.iter().all(Half::is_over);
        if (!good || ended)
            && let Some(connection) = self.connections.remove(&ends)
        {
            self.lost += u64::from(!good);
            seen(closed(&connection, ends));
        }
    }

    /// Whether a SYN is a new connection's, not one repeated.
    fn begins_anew(&self, ends: &Ends, segment: &Segment<'_>) -> bool {
        self.connections.get(ends).is_some_and(|connection| {
            let half = &connection.halves[usize::from(segment.source != ends.0)];
            half.first.is_some_and(|first| first != segment.sequence.wrapping_add(1))
        })
    }
}

fn closed(connection: &Connection, ends: Ends) -> Seen<'static> {
    let destination = if connection.client == ends.0 { ends.1 } else { ends.0 };
    Seen::Closed { source: connection.client, destination }
}

/// How far `a` is behind `b` in a circle of numbers; negative when before it.
fn distance(a: u32, b: u32) -> i32 {
    a.wrapping_sub(b) as i32
}

impl Half {
    /// `false` when too much is missing.
    fn take(&mut self, segment: &Segment<'_>, mut give: impl FnMut(&[u8])) -> bool {
        let first = segment.sequence.wrapping_add(u32::from(segment.syn));
        self.first.get_or_insert(first);
        let next = *self.next.get_or_insert(first);
        if segment.fin {
            self.end = Some(first.wrapping_add(segment.bytes.len() as u32));
        }
        if !segment.bytes.is_empty() {
            if distance(first, next) <= 0 {
                self.give(first, segment.bytes, &mut give);
            } else {
                self.ahead.push((first, segment.bytes.to_vec()));
                let bytes: usize = self.ahead.iter().map(|(_, bytes)| bytes.len()).sum();
                if bytes > AHEAD_BYTES || self.ahead.len() > AHEAD_SEGMENTS {
                    return false;
                }
            }
        }
        while let Some(at) = self.fitting() {
            let (first, bytes) = self.ahead.swap_remove(at);
            self.give(first, &bytes, &mut give);
        }
        true
    }

    /// The part of a segment that is new.
    fn give(&mut self, first: u32, bytes: &[u8], give: &mut impl FnMut(&[u8])) {
        let next = self.next.unwrap_or(first);
        let known = distance(next, first).max(0) as usize;
        if let Some(new) = bytes.get(known..).filter(|new| !new.is_empty()) {
            self.next = Some(next.wrapping_add(new.len() as u32));
            give(new);
        }
    }

    fn fitting(&self) -> Option<usize> {
        let next = self.next?;
        self.ahead.iter().position(|(first, _)| distance(*first, next) <= 0)
    }

    fn is_over(&self) -> bool {
        match (self.end, self.next) {
            (Some(end), Some(next)) => distance(next, end) >= 0,
            _ => false,
        }
    }
}
