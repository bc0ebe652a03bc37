//! What is going to happen in the network, in the order of its time.

use super::NodeId;
use crate::net::{Arrival, Conn};
use policy::Time;
use std::cmp::Ordering;
use std::net::SocketAddr;
use wire::Transport;

#[derive(Debug)]
pub(super) struct Happening {
    pub(super) at: Time,
    pub(super) sequence: u64,
    pub(super) what: What,
}

#[derive(Debug)]
pub(super) enum What {
    Packet {
        local: SocketAddr,
        remote: SocketAddr,
        bytes: Vec<u8>,
        from: NodeId,
    },
    Arrival(NodeId, Arrival),
    /// What a host learns from its own stack, on the network or not.
    Local(NodeId, Arrival),
    /// A SYN reaches a listener.
    Knock {
        conn: Conn,
        transport: Transport,
        seen: SocketAddr,
        inner: SocketAddr,
        remote: SocketAddr,
        from: NodeId,
    },
}

impl PartialEq for Happening {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Happening {}
impl PartialOrd for Happening {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Happening {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.sequence).cmp(&(other.at, other.sequence))
    }
}
