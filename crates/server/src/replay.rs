//! `ringfence replay`: an engine in a time of its own, without sockets.
//!
//! [`edge::Edge`] is to the engine what [`crate::driver`] is where there are sockets. What it
//! meets comes from a test bench's JSON lines ([`stdio()`]), from a capture ([`capture()`]), or from a
//! policy's own tests ([`crate::trial`]).
//! `docs/replay.md` is what may be relied upon.

mod capture;
mod edge;
mod stdio;

pub(crate) use capture::{Captured, EdgeAddress, capture};
pub(crate) use edge::{Edge, Happening, Sink};
pub(crate) use stdio::{Options, stdio};

/// Makes secret and random generator.
fn seed(number: u64) -> [u8; 32] {
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&number.to_le_bytes());
    seed
}
