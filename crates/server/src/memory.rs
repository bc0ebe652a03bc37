//! What outlives the process: the file at one end, the shards at the other.

use crate::clock::Clock;
use admission::{BanId, BanKey, Memory};
use config::Config;
use policy::Network;
use proxy::{Engine, Learned};
use state::{Fact, Health, Piece, State, Writer};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use telemetry::{StateCounts, Telemetry};
use tracing::{info, warn};
use wire::ShardId;

/// Name of the file in `state_dir`.
const FILE: &str = "state.redb";

/// What a shard knows from an earlier life, and by what it is remembered for a later one.
#[derive(Debug)]
pub(crate) struct Remembrance {
    pub(crate) recalled: Vec<Arc<Memory>>,
    pub(crate) writer: Writer,
}

/// Opens the file: it, each shard's part of what is in it, and the highest number of a ban that was
/// told to all shards.
///
/// # Errors
/// When the system starts no thread.
pub(crate) fn open(
    config: &Config,
    clock: Clock,
    telemetry: &Telemetry,
) -> std::io::Result<(State, Vec<Remembrance>, u64)> {
    let path = config.state_dir.join(FILE);
    let file = path.display().to_string();
    let (state, pieces, health) = State::open(path, clock.now(), config.shards)?;
    let all = pieces.len();
    match health {
        Health::Good => info!(%file, memories = all, "State"),
        Health::PutAside { to, why } => {
            let to = to.display();
            warn!(%file, %why, %to, "State cannot be read: put aside, begun anew");
        }
        Health::Missing { why } => {
            warn!(%file, %why, "State cannot be kept: bans and trust are lost at a restart");
        }
    }
    let counters = state.counters();
    telemetry.watch_state(Box::new(move || StateCounts {
        up: counters.works.load(Relaxed),
        rows: counters.rows.load(Relaxed),
        waiting: counters.waiting.load(Relaxed),
        writes: [&counters.written, &counters.lost, &counters.failed].map(|it| it.load(Relaxed)),
    }));
    let shared = pieces.iter().filter_map(|piece| shared(&piece.memory)).max().unwrap_or(0);
    let parts = dealt(pieces, config.shards);
    let remember = |recalled| Remembrance { recalled, writer: state.writer() };
    let parts = parts.into_iter().map(remember).collect();
    Ok((state, parts, shared))
}

/// The PBXs that an operator drained in an earlier life.
pub(crate) fn drained(facts: &[Fact]) -> Vec<Learned> {
    let drained = facts.iter().filter_map(|fact| match fact {
        Fact::Drained { pbx, drained } => Some(Learned::Drained { pbx: *pbx, drained: *drained }),
        Fact::Name(_) => None,
    });
    drained.collect()
}

/// The number of a ban that was told to all shards.
fn shared(memory: &Memory) -> Option<u64> {
    match memory {
        Memory::Ban(memory) if memory.ban.id.shard() == BanId::SHARED => {
            Some(memory.ban.id.count())
        }
        _ => None,
    }
}

/// Gives each shard what concerns it.
fn dealt(pieces: Vec<Piece>, shards: u8) -> Vec<Vec<Arc<Memory>>> {
    let mut parts = vec![Vec::new(); usize::from(shards)];
    for piece in pieces {
        let memory = Arc::new(piece.memory);
        let whose = match of_source(&memory) {
            Some(source) => Some(Engine::shard_of(source.address(), shards)),
            None if matches!(*memory, Memory::Pair(_)) => piece.shard,
            // a shard that is no more leaves its count to the first
            None if matches!(*memory, Memory::Hits(_)) => piece.shard.or(Some(ShardId(0))),
            None => None,
        };
        match whose.and_then(|shard| parts.get_mut(usize::from(shard.0))) {
            Some(part) => part.push(memory),
            None => parts.iter_mut().for_each(|part| part.push(memory.clone())),
        }
    }
    parts
}

/// Whose it is, when it is of one source; its shard is known then, however many there are.
fn of_source(memory: &Memory) -> Option<Network> {
    match memory {
        Memory::Source(source) => Some(source.network),
        Memory::Ban(memory) => match memory.ban.key {
            BanKey::Source(source) | BanKey::AorSource { source, .. } => Some(source),
            BanKey::AorFlow { flow, .. } => Some(Network::source(flow.remote.ip())),
            BanKey::Network(_) | BanKey::Campaign(_) => None,
        },
        Memory::Pair(_)
        | Memory::Forgotten(_)
        | Memory::Trust { .. }
        | Memory::Realm { .. }
        | Memory::Hits(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use admission::{PairMemory, SourceMemory};
    use policy::Time;

    fn source(n: u8) -> Memory {
        let network = Network::host([198, 51, 100, n].into());
        Memory::Source(SourceMemory { network, long: 1.0, at: Time::ZERO, known: Time::ZERO })
    }

    fn pair(key: u64) -> Memory {
        let (at, home) = (Time::ZERO, Time::ZERO);
        Memory::Pair(PairMemory { key, refusals: 1.0, long: 1.0, at, home })
    }

    #[test]
    fn each_shard_gets_its_own() {
        let mut pieces = Vec::new();
        for n in 0..100 {
            // whoever had it: its address says who has it now
            pieces.push(Piece { shard: Some(ShardId(0)), memory: source(n) });
            pieces.push(Piece { shard: Some(ShardId(n % 3)), memory: pair(n.into()) });
        }
        let parts = dealt(pieces, 3);
        for (shard, part) in parts.iter().enumerate() {
            for memory in part {
                let own = match &**memory {
                    Memory::Source(source) => {
                        Engine::shard_of(source.network.address(), 3).0 as usize
                    }
                    Memory::Pair(pair) => pair.key as usize % 3,
                    _ => unreachable!(),
                };
                assert_eq!(own, shard);
            }
        }
        assert_eq!(parts.iter().map(Vec::len).sum::<usize>(), 200);
    }

    #[test]
    fn all_get_what_may_be_anybodys() {
        let realm = Memory::Realm { pbx: 1, realm: b"r".as_slice().into(), algorithms: 1 };
        let pieces = vec![
            Piece { shard: None, memory: pair(1) },
            Piece { shard: Some(ShardId(1)), memory: realm },
            Piece { shard: Some(ShardId(7)), memory: pair(2) },
        ];
        assert!(dealt(pieces, 2).iter().all(|part| part.len() == 3));
    }
}
