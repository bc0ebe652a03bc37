//! Banned sources are dropped in the kernel: what the edge's gate says, a small privileged helper
//! (`ringfence-enforcer`) puts into sets of the kernel's packet filter.
//!
//! # Contract
//!
//! - Dropped is only what a banned source sends to a [`Destination`]: an address, a protocol and
//!   ports of ours. Nobody is locked out of anything else.
//! - The kernel's sets hold at most what the gate has banned, never more: a lift that is lost
//!   empties them, a source that they cannot hold is dropped in user space as before.
//! - Whatever comes over the socket is data. The helper refuses whom its own configuration exempts
//!   ([`Exempt`]), networks that are too wide, and more than its bounds.
//! - The edge never waits: [`Sender::ban`] and [`Sender::lift`] take a place in a bounded queue, or
//!   say that there is none.
//!
//! The parts: [`frame`] is the socket's language, [`Client`] speaks it for the edge, [`Book`] is what
//! the helper knows, [`DropSet`] is the kernel as the helper sees it and [`Nftables`] the one there
//! is. It decides nothing about who is banned, and opens no socket but these.

mod addresses;
mod book;
mod client;
mod conntrack;
mod drop_set;
mod exempt;
pub mod frame;
mod netlink;
mod nftables;

pub use addresses::own_addresses;
pub use book::{Book, Bounds, Refusal};
pub use client::{Client, Report, Sender, Updates, client};
pub use conntrack::Flows;
pub use drop_set::{Applied, Change, Destination, DropSet, DropSetError, Entry, Protocol, Set};
pub use exempt::Exempt;
pub use nftables::{Nftables, TABLE};
