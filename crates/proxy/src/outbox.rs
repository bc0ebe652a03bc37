//! The one queue of work that leaves the engine. Messages are written once, into an arena that is
//! emptied when the queue has been fetched.

use crate::Event;
use crate::io::{CloseReason, Learned, Output};
use admission::{Alert, Ban, Lift, Memory, Record};
use policy::Network;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::ops::Range;
use wire::{ConnectionId, Flow, ShardId, Side};

#[derive(Debug)]
enum Entry {
    Datagram { side: Side, local: SocketAddr, remote: SocketAddr, bytes: Range<usize> },
    Stream { connection: ConnectionId, bytes: Range<usize> },
    Connect { side: Side, flow: Flow, name: Range<usize> },
    Registered { connection: ConnectionId },
    Close { connection: ConnectionId, reason: CloseReason },
    HandOver { shard: ShardId, side: Side, flow: Flow, bytes: Range<usize> },
    Learned(Learned),
    Ban(Box<Ban>),
    Lift(Lift),
    Recalled(Box<Ban>),
    Remember(Memory),
    Evidence(Network, Box<Record>),
    Alert(Alert),
    Event(Event),
}

/// The queue. Bounded by what one input can cause: it is fetched whole after each.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    queue: VecDeque<Entry>,
    arena: Vec<u8>,
}

impl Outbox {
    /// Lets `write` append a message to the arena.
    pub(crate) fn write<E>(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<Range<usize>, E> {
        let start = self.arena.len();
        match write(&mut self.arena) {
            Ok(()) => Ok(start..self.arena.len()),
            Err(error) => {
                self.arena.truncate(start);
                Err(error)
            }
        }
    }

    /// Copies a message that is kept elsewhere into the arena.
    pub(crate) fn copy(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.arena.len();
        self.arena.extend_from_slice(bytes);
        start..self.arena.len()
    }

    pub(crate) fn bytes(&self, range: &Range<usize>) -> &[u8] {
        &self.arena[range.clone()]
    }

    /// Sends by a flow.
    pub(crate) fn send(&mut self, side: Side, flow: &Flow, bytes: Range<usize>) {
        self.queue.push_back(match flow.connection {
            Some(connection) => Entry::Stream { connection, bytes },
            None => Entry::Datagram { side, local: flow.local, remote: flow.remote, bytes },
        });
    }

    pub(crate) fn connect(&mut self, side: Side, flow: Flow, name: &str) {
        let name = self.copy(name.as_bytes());
        self.queue.push_back(Entry::Connect { side, flow, name });
    }

    pub(crate) fn registered(&mut self, connection: ConnectionId) {
        self.queue.push_back(Entry::Registered { connection });
    }

    pub(crate) fn close(&mut self, connection: ConnectionId, reason: CloseReason) {
        self.queue.push_back(Entry::Close { connection, reason });
    }

    pub(crate) fn hand_over(&mut self, shard: ShardId, side: Side, flow: Flow, bytes: &[u8]) {
        let bytes = self.copy(bytes);
        self.queue.push_back(Entry::HandOver { shard, side, flow, bytes });
    }

    pub(crate) fn learned(&mut self, learned: Learned) {
        self.queue.push_back(Entry::Learned(learned));
    }

    pub(crate) fn banned(&mut self, ban: Box<Ban>) {
        self.queue.push_back(Entry::Ban(ban));
    }

    pub(crate) fn lifted(&mut self, lift: Lift) {
        self.queue.push_back(Entry::Lift(lift));
    }

    pub(crate) fn recalled(&mut self, ban: Box<Ban>) {
        self.queue.push_back(Entry::Recalled(ban));
    }

    pub(crate) fn remember(&mut self, memory: Memory) {
        self.queue.push_back(Entry::Remember(memory));
    }

    pub(crate) fn evidence(&mut self, source: Network, record: Box<Record>) {
        self.queue.push_back(Entry::Evidence(source, record));
    }

    pub(crate) fn alert(&mut self, alert: Alert) {
        self.queue.push_back(Entry::Alert(alert));
    }

    pub(crate) fn event(&mut self, event: Event) {
        self.queue.push_back(Entry::Event(event));
    }

    pub(crate) fn poll(&mut self) -> Option<Output<'_>> {
        let Some(entry) = self.queue.pop_front() else {
            self.arena.clear();
            return None;
        };
        let arena = &self.arena;
        Some(match entry {
            Entry::Datagram { side, local, remote, bytes } => {
                Output::Datagram { side, local, remote, bytes: &arena[bytes] }
            }
            Entry::Stream { connection, bytes } => {
                Output::Stream { connection, bytes: &arena[bytes] }
            }
            Entry::Connect { side, flow, name } => {
                // copied from a string
                let name = std::str::from_utf8(&arena[name]).unwrap_or_default();
                Output::Connect { side, flow, name }
            }
            Entry::Registered { connection } => Output::Registered { connection },
            Entry::Close { connection, reason } => Output::Close { connection, reason },
            Entry::HandOver { shard, side, flow, bytes } => {
                Output::HandOver { shard, side, flow, bytes: &arena[bytes] }
            }
            Entry::Learned(learned) => Output::Learned(learned),
            Entry::Ban(ban) => Output::Ban(ban),
            Entry::Lift(lift) => Output::Lift(lift),
            Entry::Recalled(ban) => Output::Recalled(ban),
            Entry::Remember(memory) => Output::Remember(memory),
            Entry::Evidence(source, record) => Output::Evidence(source, record),
            Entry::Alert(alert) => Output::Alert(alert),
            Entry::Event(event) => Output::Event(event),
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }
}
