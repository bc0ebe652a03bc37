//! Flows that a dialog's phone has left. The route set of a dialog is fixed (RFC 3261 §12.2), and
//! ours names the flow by which the dialog began; a phone that comes back over a new connection
//! or from a new address refreshes its target there, and the PBX's next request must follow it.

use crate::hashed::Hashed;
use crate::io::Table;
use admission::Key;
use admission::key::address_bytes;
use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasherDefault;
use wire::Flow;

/// Old flow, by its key, to the flow now. The oldest goes when the table is full.
#[derive(Debug)]
pub(crate) struct Moves {
    key: Key,
    flows: HashMap<u64, Flow, BuildHasherDefault<Hashed>>,
    /// Keys in the order in which they came.
    order: VecDeque<u64>,
    capacity: usize,
    evictions: u64,
}

impl Moves {
    pub(crate) fn new(secret: &[u8; 32], capacity: usize) -> Self {
        Moves {
            key: Key::derive(secret, "moves"),
            flows: HashMap::default(),
            order: VecDeque::new(),
            capacity,
            evictions: 0,
        }
    }

    pub(crate) fn configure(&mut self, capacity: usize) {
        self.capacity = capacity;
    }

    /// The key of a dialog's first flow, the same in all shards. The Call-ID belongs to it: a NAT
    /// gives an address that one phone has left to another.
    pub(crate) fn key_of(&self, flow: &Flow, call_id: &[u8]) -> u64 {
        let ip = address_bytes(flow.remote.ip());
        let connection = flow.connection.map_or(0, wire::ConnectionId::to_bits).to_be_bytes();
        let (remote, local) = (flow.remote.port().to_be_bytes(), flow.local.port().to_be_bytes());
        let transport = flow.transport.as_param().as_bytes();
        self.key.hash(&[call_id, transport, &ip, &remote, &local, &connection])
    }

    /// Whether it is news that the phone of flow `key` is at `flow` now.
    pub(crate) fn insert(&mut self, key: u64, flow: Flow) -> bool {
        if let Some(known) = self.flows.get_mut(&key) {
            let news = *known != flow;
            *known = flow;
            return news;
        }
        while self.order.len() >= self.capacity.max(1) {
            if let Some(oldest) = self.order.pop_front() {
                self.flows.remove(&oldest);
                self.evictions += 1;
            }
        }
        self.order.push_back(key);
        self.flows.insert(key, flow);
        true
    }

    /// Where the phone of the dialog is now that began at `flow`, if it has left it.
    pub(crate) fn find(&self, flow: &Flow, call_id: &[u8]) -> Option<Flow> {
        if self.flows.is_empty() {
            return None;
        }
        self.flows.get(&self.key_of(flow, call_id)).copied()
    }

    pub(crate) fn table(&self) -> Table {
        Table { entries: self.order.len(), capacity: self.capacity, evictions: self.evictions }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(port: u16) -> Flow {
        let ip = std::net::Ipv4Addr::new(198, 51, 100, 7);
        Flow::udp(([203, 0, 113, 1], 5060).into(), (ip, port).into())
    }

    #[test]
    fn the_last_move_counts_and_the_oldest_is_forgotten() {
        let mut moves = Moves::new(&[1; 32], 2);
        assert_eq!(moves.find(&flow(1), b"c"), None);
        let keys: Vec<u64> = (1..=3).map(|port| moves.key_of(&flow(port), b"c")).collect();
        assert!(moves.insert(keys[0], flow(11)));
        assert!(!moves.insert(keys[0], flow(11)), "no news");
        assert!(moves.insert(keys[0], flow(12)));
        assert_eq!(moves.find(&flow(1), b"c"), Some(flow(12)));
        assert_eq!(moves.find(&flow(1), b"d"), None, "another dialog");
        moves.insert(keys[1], flow(21));
        moves.insert(keys[2], flow(31));
        assert_eq!((moves.find(&flow(1), b"c"), moves.table().entries), (None, 2));
        assert_eq!(moves.find(&flow(3), b"c"), Some(flow(31)));
    }
}
