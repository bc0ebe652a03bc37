use crate::{Input, Output, Snapshot};
use policy::{Policy, Time};
use std::sync::Arc;
use wire::ShardId;

/// One shard's engine.
#[derive(Debug)]
pub struct Engine {
    policy: Arc<Policy>,
}

#[allow(clippy::todo, unused_variables)]
impl Engine {
    /// A shard's engine among `shards`. `secret` is the key of tokens, branches and hashes, the
    /// same in all shards and over restarts; `seed` seeds the random generator.
    #[must_use]
    pub fn new(
        policy: Arc<Policy>,
        shard: ShardId,
        shards: u8,
        secret: [u8; 32],
        seed: [u8; 32],
        now: Time,
    ) -> Self {
        Engine { policy }
    }

    /// Takes one stimulus.
    pub fn handle_input(&mut self, now: Time, input: Input<'_>) {
        todo!()
    }

    /// Lets every deadline up to `now` fire.
    pub fn handle_timeout(&mut self, now: Time) {
        todo!()
    }

    /// The next piece of work; `None` when all is fetched.
    pub fn poll_output(&mut self) -> Option<Output<'_>> {
        todo!()
    }

    /// When [`Engine::handle_timeout`] is due; `None` when there is no deadline. May change after
    /// each `handle_*`.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        todo!()
    }

    /// Sizes of everything.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::default()
    }

    /// The shard that owns a source address: the same function as the kernel's steering program
    /// (`transport`): the sum of the address's 32-bit words, modulo the number of shards.
    #[must_use]
    pub fn shard_of(address: std::net::IpAddr, shards: u8) -> ShardId {
        let sum = match address.to_canonical() {
            std::net::IpAddr::V4(v4) => u32::from(v4),
            std::net::IpAddr::V6(v6) => {
                let o = v6.octets();
                (0..2).fold(0u32, |sum, i| {
                    sum.wrapping_add(u32::from_be_bytes([
                        o[4 * i], o[4 * i + 1], o[4 * i + 2], o[4 * i + 3],
                    ]))
                })
            }
        };
        ShardId((sum.wrapping_mul(0x9e37_79b1) >> 16) as u8 % shards.max(1))
    }
}
