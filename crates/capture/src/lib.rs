//! Captures: pcap and pcapng in, datagrams and streams with their times out.
//!
//! # Contract
//!
//! - [`Reader`] gives one [`Packet`] after the other, from anything that can be read, with one buffer of
//!   [`Reader::BLOCK_MAX`] bytes. What is broken ends it with an error; what came before counts.
//! - [`Dissector`] takes packets and gives out what the two ends said to each other: whole datagrams,
//!   and bytes of streams in their order, as [`Seen`]. Ethernet with VLANs, Linux cooked captures (both
//!   versions), raw IP, BSD loopback; IPv4 and IPv6 with fragments.
//! - Everything has a bound, and what had to be left out is counted in [`Counts`]. No input makes it
//!   panic.
//! - [`Writer`] writes what was said as a capture.
//!
//! It does not know SIP, decrypt, look at checksums (they are mostly left to the network card), or
//! follow tunnels.

mod dissect;
mod fragments;
mod link;
mod read;
mod recent;
mod streams;
mod write;

#[cfg(test)]
mod tests;

pub use dissect::{Counts, Dissector, Seen};
pub use link::Link;
pub use read::{Broken, Packet, Reader};
pub use recent::Recent;
pub use write::Writer;
