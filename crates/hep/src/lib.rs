//! What is judged, for a capture server that speaks HEPv3 (Homer and its kin; `docs/hep.md`): the
//! message as it came, and what was decided about it, under one correlation id.
//!
//! # Contract
//!
//! - A shard copies a message into a ring of bytes that only it fills ([`Exporter`]) and goes on:
//!   no lock, no allocation, no wait. What finds no room is lost and counted.
//! - One thread encodes and sends. A server that takes nothing is said once and tried again;
//!   meanwhile messages are lost: they are a view on what passes, no record.
//! - Of a message two packets are sent: type 1 (SIP) with its bytes, and type 100 (log) with the
//!   verdict as JSON; both have the Call-ID as correlation id.
//!
//! It sends no credentials of its own and reads no configuration.

mod encode;
mod exporter;
mod sender;

#[cfg(test)]
mod tests;

pub use encode::{Packet, Payload, encode};
pub use exporter::Exporter;
pub use sender::{Counters, Health, Hep};

use std::net::SocketAddr;

/// Where packets go, and which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Over what.
    pub transport: Transport,
    /// The capture server.
    pub address: SocketAddr,
    /// Whether all that is judged is sent, or only what is refused.
    pub all: bool,
    /// The number of this agent among those of the capture server.
    pub agent: u32,
    /// The name of this node; empty: none is sent.
    pub node: String,
}

/// What packets are sent over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    /// A datagram each.
    #[default]
    Udp,
    /// One connection.
    Tcp,
}
