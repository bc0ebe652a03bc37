//! What went into an edge and what came out, step by step: to be judged by another, or to be
//! played to another.

use super::Outcomes;
use admission::{Alert, Ban, Lift};
use policy::Time;
use proxy::Event;
use std::net::SocketAddr;
use wire::{Flow, Side};

/// One input with all it caused.
#[derive(Clone, Debug)]
pub struct Step {
    /// When.
    pub now: Time,
    /// Of which shard.
    pub shard: u8,
    /// What went in.
    pub input: StepInput,
    /// What came out, in order.
    pub outputs: Vec<StepOutput>,
    /// How many challenges had ended how by then.
    pub outcomes: Outcomes,
    /// How many requests of unproven sources the PBX had said nothing to by then.
    pub unheard: usize,
}

/// What goes into an engine.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub enum StepInput {
    Datagram {
        side: Side,
        local: SocketAddr,
        remote: SocketAddr,
        bytes: Vec<u8>,
    },
    Opened(Flow),
    Stream {
        flow: Flow,
        bytes: Vec<u8>,
    },
    Closed(Flow),
    Timeout,
    /// The edge ends without a word and starts again.
    Restart,
    /// Anything else: hand-overs, news of other shards, new rules, a drain.
    Other,
}

/// What comes out of it.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub enum StepOutput {
    Datagram { side: Side, local: SocketAddr, remote: SocketAddr, bytes: Vec<u8> },
    Stream { flow: Flow, bytes: Vec<u8> },
    Close(Flow),
    Event(Box<Event>),
    Ban(Box<Ban>),
    Lift(Lift),
    Alert(Alert),
}
