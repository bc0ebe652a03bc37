//! Buffers that live as long as the shard: datagrams that came, datagrams that wait to go.

use crate::Settings;
use crate::address::{Control, Message, Name};
use crate::system::{self, Filled, MAX_BATCH, ReceiveSlot, SendSlot};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::BorrowedFd;
use std::time::Duration;

/// Room for one receiving call. One for all sockets of a shard: they take turns. The pages of a
/// slot are touched only as far as datagrams reach.
pub(crate) struct ReceiveBatch {
    slots: usize,
    slot_bytes: usize,
    bytes: Box<[u8]>,
    names: Box<[Name]>,
    controls: Box<[Control]>,
    filled: [Filled; MAX_BATCH],
    count: usize,
}

/// A datagram in the batch.
pub(crate) struct Received<'a> {
    /// The address it was sent to, when the kernel was asked to tell.
    pub local: Option<IpAddr>,
    pub remote: SocketAddr,
    pub bytes: &'a [u8],
    /// The socket's running count of datagrams dropped before this one.
    pub overflowed: Option<u32>,
    pub truncated: bool,
}

impl ReceiveBatch {
    pub(crate) fn new(settings: &Settings) -> Self {
        let slots = settings.receive_batch.clamp(1, MAX_BATCH);
        let slot_bytes = settings.datagram_bytes.clamp(1, 65_535);
        ReceiveBatch {
            slots,
            slot_bytes,
            bytes: vec![0; slots * slot_bytes].into(),
            names: vec![Name::default(); slots].into(),
            controls: vec![Control::default(); slots].into(),
            filled: [Filled::default(); MAX_BATCH],
            count: 0,
        }
    }

    /// Replaces what is in the batch by what `socket` has. `true` when there may be more.
    pub(crate) fn receive(&mut self, socket: BorrowedFd<'_>) -> io::Result<bool> {
        self.count = 0;
        let rooms = self.bytes.chunks_exact_mut(self.slot_bytes);
        let slots = rooms
            .zip(self.names.iter_mut())
            .zip(self.controls.iter_mut())
            .take(self.slots)
            .map(|((bytes, name), control)| ReceiveSlot { bytes, name, control });
        let (count, offered) = system::receive_many(socket, slots, &mut self.filled)?;
        self.count = count;
        Ok(count == offered)
    }

    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// The `index`-th datagram; `None` past the end or when the kernel gave no source address.
    pub(crate) fn datagram(&self, index: usize) -> Option<Received<'_>> {
        let filled = self.filled.get(index).filter(|_| index < self.count)?;
        let remote = self.names.get(index)?.decode(filled.name_length)?;
        let bytes = self.bytes(index);
        let truncated = filled.truncated;
        let mut received = Received { local: None, remote, bytes, overflowed: None, truncated };
        for message in self.controls.get(index)?.messages(filled.control_length) {
            match message {
                Message::SentTo(ip) => received.local = Some(ip),
                Message::Overflowed(count) => received.overflowed = Some(count),
                Message::Arrived(_) | Message::Failure { .. } => {}
            }
        }
        Some(received)
    }

    /// Whose datagrams are in the batch, in order.
    pub(crate) fn sources(&self) -> impl Iterator<Item = IpAddr> {
        let filled = self.names.iter().zip(&self.filled).take(self.count);
        filled.filter_map(|(name, filled)| Some(name.decode(filled.name_length)?.ip()))
    }

    /// When the first datagram came, by the kernel's clock since 1970: no other in the batch has
    /// waited longer.
    pub(crate) fn arrived(&self) -> Option<Duration> {
        let filled = self.filled.first().filter(|_| self.count > 0)?;
        let mut messages = self.controls.first()?.messages(filled.control_length);
        messages.find_map(|message| match message {
            Message::Arrived(time) => Some(time),
            _ => None,
        })
    }

    /// The bytes of the `index`-th datagram; empty past the end.
    pub(crate) fn bytes(&self, index: usize) -> &[u8] {
        let length = self.filled.get(index).map_or(0, |filled| filled.length.min(self.slot_bytes));
        let start = index * self.slot_bytes;
        self.bytes.get(start..start + length).unwrap_or_default()
    }
}

/// Datagrams of one socket that wait to go, their bytes in one arena that is used again.
pub(crate) struct SendBatch {
    arena: Vec<u8>,
    entries: Vec<Entry>,
    /// Entries before this one are gone.
    next: usize,
    max_datagrams: usize,
    max_bytes: usize,
}

struct Entry {
    start: usize,
    end: usize,
    local: Option<IpAddr>,
    remote: SocketAddr,
}

impl SendBatch {
    pub(crate) fn new(settings: &Settings) -> Self {
        SendBatch {
            arena: Vec::with_capacity(64 << 10),
            entries: Vec::with_capacity(MAX_BATCH),
            next: 0,
            max_datagrams: settings.send_batch_datagrams.max(1),
            max_bytes: settings.send_batch_bytes.max(65_535),
        }
    }

    /// Datagrams that wait.
    pub(crate) fn len(&self) -> usize {
        self.entries.len() - self.next
    }

    /// Takes a copy; `false` when there is no room.
    #[must_use]
    pub(crate) fn push(&mut self, local: Option<IpAddr>, remote: SocketAddr, bytes: &[u8]) -> bool {
        let gone = self.entries.get(self.next).map_or(self.arena.len(), |entry| entry.start);
        if self.len() >= self.max_datagrams
            || self.arena.len() - gone + bytes.len() > self.max_bytes
        {
            return false;
        }
        // Only a socket that is blocked gets here with a part gone: moved at most once per
        // `max_bytes` pushed.
        if gone > 0 && self.arena.len() + bytes.len() > self.max_bytes {
            self.compact(gone);
        }
        let start = self.arena.len();
        self.arena.extend_from_slice(bytes);
        self.entries.push(Entry { start, end: self.arena.len(), local, remote });
        true
    }

    fn compact(&mut self, gone: usize) {
        self.arena.drain(..gone);
        self.entries.drain(..self.next);
        self.next = 0;
        for entry in &mut self.entries {
            entry.start -= gone;
            entry.end -= gone;
        }
    }

    /// One sending call with the oldest datagrams. Returns how many datagrams and bytes went; an
    /// error is about [`SendBatch::first`].
    pub(crate) fn send(&mut self, socket: BorrowedFd<'_>) -> io::Result<(usize, usize)> {
        let arena = &self.arena;
        let waiting = self.entries.get(self.next..).unwrap_or_default();
        let slots = waiting.iter().take(MAX_BATCH).map(|entry| SendSlot {
            bytes: arena.get(entry.start..entry.end).unwrap_or_default(),
            remote: entry.remote,
            local: entry.local,
        });
        let count = system::send_many(socket, slots)?;
        let bytes = waiting.iter().take(count).map(|entry| entry.end - entry.start).sum();
        self.advance(count);
        Ok((count, bytes))
    }

    /// Where the oldest datagram goes.
    pub(crate) fn first(&self) -> Option<SocketAddr> {
        self.entries.get(self.next).map(|entry| entry.remote)
    }

    /// Gives up on the oldest datagram.
    pub(crate) fn skip(&mut self) {
        self.advance(1);
    }

    fn advance(&mut self, count: usize) {
        self.next += count;
        if self.next >= self.entries.len() {
            self.next = 0;
            self.entries.clear();
            self.arena.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_batch_takes_no_more_and_room_comes_back() {
        let settings = Settings { send_batch_datagrams: 3, ..Settings::default() };
        let mut batch = SendBatch::new(&settings);
        let to = "192.0.2.1:5060".parse().unwrap();
        for n in 0..3_u8 {
            assert!(batch.push(None, to, &[n; 10]));
        }
        assert!(!batch.push(None, to, b"no room"));
        batch.skip();
        assert!(batch.push(None, to, b"room"));
        assert_eq!(batch.len(), 3);
    }

    #[test]
    fn bytes_are_bounded_and_space_in_front_is_used_again() {
        let mut batch = SendBatch::new(&Settings { send_batch_bytes: 0, ..Settings::default() });
        let to = "192.0.2.1:5060".parse().unwrap();
        assert!(batch.push(None, to, &[1; 40_000]));
        assert!(batch.push(None, to, &[2; 20_000]));
        assert!(!batch.push(None, to, &[3; 10_000]));
        batch.skip();
        assert!(batch.push(None, to, &[3; 40_000]));
        let kept: Vec<_> = batch.entries[batch.next..]
            .iter()
            .map(|entry| (batch.arena[entry.start], entry.end - entry.start))
            .collect();
        assert_eq!(kept, [(2, 20_000), (3, 40_000)]);
    }
}
