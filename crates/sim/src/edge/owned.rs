//! Inputs that wait their turn.

use admission::Memory;
use policy::Policy;
use proxy::{Input, Learned};
use std::net::SocketAddr;
use std::sync::Arc;
use wire::{ConnectionId, Flow, Side};

/// An input that owns its bytes.
#[derive(Debug)]
pub(super) enum Owned {
    Datagram {
        side: Side,
        local: SocketAddr,
        remote: SocketAddr,
        bytes: Vec<u8>,
    },
    Opened(Flow),
    /// With how many messages it completes, when nothing else is in it.
    Stream(ConnectionId, Vec<u8>, Option<usize>),
    Closed(ConnectionId, Flow),
    Unreachable(Side, SocketAddr),
    HandedOver(Side, Flow, Vec<u8>),
    Learned(Learned),
    Recall(Memory),
    Configure(Arc<Policy>),
    Drain,
    Timeout,
}

impl Owned {
    /// How many whole messages it holds: each makes exactly one decision.
    pub(super) fn messages(&self) -> Option<usize> {
        match self {
            Owned::Datagram { .. } | Owned::HandedOver(..) => Some(1),
            Owned::Stream(_, _, messages) => *messages,
            _ => None,
        }
    }

    pub(super) fn as_input(&self) -> Option<Input<'_>> {
        Some(match self {
            Owned::Datagram { side, local, remote, bytes } => {
                Input::Datagram { side: *side, local: *local, remote: *remote, bytes }
            }
            Owned::Opened(flow) => Input::Opened { flow: *flow },
            Owned::Stream(connection, bytes, _) => Input::Stream { connection: *connection, bytes },
            Owned::Closed(connection, _) => Input::Closed { connection: *connection },
            Owned::Unreachable(side, remote) => Input::Unreachable { side: *side, remote: *remote },
            Owned::HandedOver(side, flow, bytes) => {
                Input::HandedOver { side: *side, flow: *flow, bytes }
            }
            Owned::Learned(learned) => Input::Learned(learned.clone()),
            Owned::Recall(memory) => Input::Recall(memory),
            Owned::Configure(policy) => Input::Configure(policy.clone()),
            Owned::Drain => Input::Drain,
            Owned::Timeout => return None,
        })
    }
}
