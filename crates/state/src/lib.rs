//! What is to be remembered over a restart, in a file: of the gates bans, trust, long memories, and how
//! PBXs challenge; and what names stood for, and which PBXs an operator drained.
//!
//! # Contract
//!
//! - A shard hands its memory over ([`Writer::remember`], [`Writer::keep`]) and goes on: it never waits, for a lock,
//!   a disk or a queue. What finds the queue full is lost and counted.
//! - One thread writes, at most [`COMMIT_EVERY`] after it was told. Each commit is whole and on the
//!   disk, so that what `kill -9` loses is what was told after the last.
//! - A file that cannot be read or written stops nobody: it is said, counted, and tried again;
//!   meanwhile the newest of each key waits, up to a bound.
//! - A broken file, or one of a newer version, is put aside and never deleted.
//!
//! It does not judge what is too old to count: the gate does when it recalls.

mod fact;
mod file;
mod row;
mod writer;

#[cfg(test)]
mod tests;

pub use fact::{Fact, NameFact};
pub use file::{Health, VERSION};
pub use writer::{COMMIT_EVERY, Counters, QUEUE, State, Writer};

use admission::Memory;
use wire::ShardId;

/// A piece of memory of an earlier life.
#[derive(Clone, Debug, PartialEq)]
pub struct Piece {
    /// Which shard had it; `None` when there was another number of shards then.
    pub shard: Option<ShardId>,
    /// What it is.
    pub memory: Memory,
}
