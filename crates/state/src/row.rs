//! Memory as it is written: a key of text, and a value as JSON, which another version can read; but
//! what each phone has, a source and a pair, in a fixed layout, which begins with a byte that begins
//! no JSON. Times are nanoseconds since 1970, all numbers have their highest byte first.
//!
//! ```text
//! 1 | shard 1 | long 4 | at 8 | known 8 | prefix 1 | address 4 or 16
//! 2 | shard 1 | key 8 | refusals 4 | long 4 | at 8 | home 8
//! ```

use crate::fact::{Fact, NameRow};
use admission::{
    Ban, BanId, BanKey, BanMemory, Counted, HitsMemory, Memory, MemoryKey, Origin, PairMemory,
    Proof, Record, SourceMemory,
};
use policy::{Network, Outcome, Reason, Time};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};
use wire::decimal::{write_ip, write_number};
use wire::{Flow, ShardId};

/// The key of a row. What one source did is known to one shard only; of what several know (a
/// campaign), the last word counts.
pub(crate) fn key(key: &MemoryKey) -> String {
    match key {
        MemoryKey::Source(network) => source_key(network),
        MemoryKey::Pair(pair) => pair_key(*pair),
        MemoryKey::Ban(BanKey::Source(network) | BanKey::Network(network)) => {
            format!("ban {network}")
        }
        MemoryKey::Ban(BanKey::Campaign(shape)) => format!("ban shape {shape:016x}"),
        MemoryKey::Ban(BanKey::AorSource { aor, source }) => format!("ban {aor:016x} {source}"),
        MemoryKey::Ban(BanKey::AorFlow { aor, flow }) => format!("ban {aor:016x} {flow}"),
        MemoryKey::Trust(network) => format!("trust {network}"),
        MemoryKey::Realm(pbx) => format!("realm {pbx:08x}"),
        MemoryKey::Hits(shard, of, name) => format!("hits {} {} {name}", shard.0, counted(*of)),
    }
}

/// `source {network}`: each phone has one, so it is not formatted.
fn source_key(network: &Network) -> String {
    let mut key = b"source ".to_vec();
    write_ip(network.address(), &mut key);
    if *network != Network::host(network.address()) {
        key.push(b'/');
        write_number(network.prefix().into(), &mut key);
    }
    // it is ASCII
    String::from_utf8(key).unwrap_or_default()
}

/// `pair {pair:016x}`, likewise.
fn pair_key(pair: u64) -> String {
    let digit = |at| char::from_digit((pair >> (60 - 4 * at)) as u32 & 15, 16);
    let mut key = String::with_capacity(32);
    key.push_str("pair ");
    key.extend((0..16).filter_map(digit));
    key
}

fn counted(of: Counted) -> &'static str {
    match of {
        Counted::Rule => "rule",
        Counted::Signature => "signature",
    }
}

/// A row's value.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Line {
    /// Which shard said it.
    pub(crate) shard: u8,
    #[serde(flatten)]
    pub(crate) row: Row,
}

/// First bytes of values in a fixed layout.
const SOURCE: u8 = 1;
const PAIR: u8 = 2;

impl Line {
    /// Appends the value.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        match &self.row {
            Row::Source { network, long, at, known } => {
                out.extend([SOURCE, self.shard]);
                out.extend(long.to_be_bytes());
                out.extend([*at, *known].map(u64::to_be_bytes).as_flattened());
                out.push(network.prefix());
                match network.address() {
                    IpAddr::V4(v4) => out.extend(v4.octets()),
                    IpAddr::V6(v6) => out.extend(v6.octets()),
                }
            }
            Row::Pair { key, refusals, long, at, home } => {
                out.extend([PAIR, self.shard]);
                out.extend(key.to_be_bytes());
                out.extend([*refusals, *long].map(f32::to_be_bytes).as_flattened());
                out.extend([*at, *home].map(u64::to_be_bytes).as_flattened());
            }
            // numbers, texts and lists only: it does not fail
            _ => drop(serde_json::to_writer(out, self)),
        }
    }

    /// Reads a value; `None` when it is none.
    pub(crate) fn read(value: &[u8]) -> Option<Self> {
        let (shard, row) = match value {
            [SOURCE, shard, rest @ ..] => (*shard, source(rest)?),
            [PAIR, shard, rest @ ..] => (*shard, pair(rest)?),
            json => return serde_json::from_slice(json).ok(),
        };
        Some(Line { shard, row })
    }
}

fn source(mut rest: &[u8]) -> Option<Row> {
    let long = f32::from_be_bytes(take(&mut rest)?);
    let [at, known] = [take(&mut rest)?, take(&mut rest)?].map(u64::from_be_bytes);
    let [prefix] = take(&mut rest)?;
    let (address, longest): (IpAddr, _) = match (<[u8; 4]>::try_from(rest), rest.try_into()) {
        (Ok(v4), _) => (v4.into(), 32),
        (_, Ok(v6)) => (<[u8; 16]>::into(v6), 128),
        _ => return None,
    };
    let network = Network::new(address, prefix);
    let is_one = prefix <= longest && network.address() == address;
    is_one.then_some(Row::Source { network, long, at, known })
}

fn pair(mut rest: &[u8]) -> Option<Row> {
    let key = u64::from_be_bytes(take(&mut rest)?);
    let [refusals, long] = [take(&mut rest)?, take(&mut rest)?].map(f32::from_be_bytes);
    let [at, home] = [take(&mut rest)?, take(&mut rest)?].map(u64::from_be_bytes);
    rest.is_empty().then_some(Row::Pair { key, refusals, long, at, home })
}

/// The first `N` bytes.
fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (first, behind) = rest.split_first_chunk()?;
    *rest = behind;
    Some(*first)
}

/// A network as JSON has it.
mod text {
    use super::Network;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(it: &Network, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(it)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Network, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

/// Whose it is.
#[derive(Debug)]
pub(crate) enum Said {
    Memory(Memory),
    Fact(Fact),
}

/// What it says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Row {
    Source {
        #[serde(with = "text")]
        network: Network,
        long: f32,
        at: u64,
        known: u64,
    },
    Pair {
        key: u64,
        refusals: f32,
        long: f32,
        at: u64,
        home: u64,
    },
    Ban(Box<BanRow>),
    Trust {
        network: String,
        until: u64,
    },
    Realm {
        /// 0 in rows from before there could be several.
        #[serde(default)]
        pbx: u32,
        realm: String,
        algorithms: u8,
    },
    Name(NameRow),
    Drained {
        pbx: u32,
    },
    Hits {
        shard: u8,
        of: String,
        name: String,
        others: u64,
        authenticated: u64,
        at: u64,
    },
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct BanRow {
    id: u64,
    key: Banned,
    why: String,
    reason: String,
    proof: Option<String>,
    since: u64,
    until: u64,
    narrowed: bool,
    policy_version: u64,
    score: f32,
    origin: Whose,
    times: u8,
    evidence_at: u64,
    names: u64,
    evidence: Vec<RecordRow>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Banned {
    Flow { aor: u64, local: SocketAddr, remote: SocketAddr },
    Aor { aor: u64, source: String },
    Address(String),
    Network(String),
    Campaign(u64),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Whose {
    Local,
    Operator,
    Feed,
    Peer,
}

#[derive(Debug, Serialize, Deserialize)]
struct RecordRow {
    at: u64,
    method: u8,
    outcome: String,
    aor: String,
    dialled: String,
    shape: u64,
    proof: Option<String>,
    rule: u16,
    /// Rows of older builds have none.
    #[serde(default = "none")]
    raised_by: u16,
    signature: u16,
    weight: f32,
}

impl Row {
    /// `None` when it is nothing that a later life could use: a ban of a connection.
    pub(crate) fn of(memory: &Memory) -> Option<Self> {
        Some(match memory {
            Memory::Source(SourceMemory { network, long, at, known }) => Row::Source {
                network: *network,
                long: *long,
                at: at.as_nanos(),
                known: known.as_nanos(),
            },
            Memory::Pair(PairMemory { key, refusals, long, at, home }) => Row::Pair {
                key: *key,
                refusals: *refusals,
                long: *long,
                at: at.as_nanos(),
                home: home.as_nanos(),
            },
            Memory::Ban(memory) => Row::Ban(Box::new(BanRow::of(memory)?)),
            Memory::Forgotten(_) => return None,
            Memory::Trust { network, until } => {
                Row::Trust { network: network.to_string(), until: until.as_nanos() }
            }
            Memory::Realm { pbx, realm, algorithms } => {
                let realm = std::str::from_utf8(realm).ok()?.to_owned();
                Row::Realm { pbx: *pbx, realm, algorithms: *algorithms }
            }
            Memory::Hits(hits) => Row::Hits {
                shard: hits.shard.0,
                of: counted(hits.of).to_owned(),
                name: hits.name.to_string(),
                others: hits.others,
                authenticated: hits.authenticated,
                at: hits.at.as_nanos(),
            },
        })
    }

    /// `None` when it is nothing to be kept.
    pub(crate) fn of_fact(fact: &Fact) -> Option<Self> {
        Some(match fact {
            _ if fact.is_nothing() => return None,
            Fact::Name(name) => Row::Name(NameRow::of(name)),
            Fact::Drained { pbx, .. } => Row::Drained { pbx: *pbx },
        })
    }

    /// What it says; `None` when a value in it means nothing.
    pub(crate) fn said(self) -> Option<Said> {
        Some(match self {
            Row::Name(row) => Said::Fact(Fact::Name(row.fact()?)),
            Row::Drained { pbx } => Said::Fact(Fact::Drained { pbx, drained: true }),
            of_gate => Said::Memory(of_gate.memory()?),
        })
    }

    fn memory(self) -> Option<Memory> {
        Some(match self {
            Row::Name(_) | Row::Drained { .. } => return None,
            Row::Source { network, long, at, known } => Memory::Source(SourceMemory {
                network,
                long: weight(long)?,
                at: Time::from_nanos(at),
                known: Time::from_nanos(known),
            }),
            Row::Pair { key, refusals, long, at, home } => Memory::Pair(PairMemory {
                key,
                refusals: weight(refusals)?,
                long: weight(long)?,
                at: Time::from_nanos(at),
                home: Time::from_nanos(home),
            }),
            Row::Ban(row) => Memory::Ban(Box::new(row.memory()?)),
            Row::Trust { network, until } => {
                Memory::Trust { network: network.parse().ok()?, until: Time::from_nanos(until) }
            }
            Row::Realm { pbx, realm, algorithms } => {
                Memory::Realm { pbx, realm: realm.into_bytes().into(), algorithms }
            }
            Row::Hits { shard, of, name, others, authenticated, at } => Memory::Hits(HitsMemory {
                shard: ShardId(shard),
                of: named(&[Counted::Rule, Counted::Signature], |it| counted(*it), &of)?,
                name: name.into(),
                others,
                authenticated,
                at: Time::from_nanos(at),
            }),
        })
    }

    /// When it was last of use.
    pub(crate) fn last(&self) -> Time {
        Time::from_nanos(match self {
            Row::Source { at, known, .. } => *at.max(known),
            Row::Pair { at, home, .. } => *at.max(home),
            Row::Ban(row) => row.until.max(row.evidence_at),
            Row::Trust { until, .. } => *until,
            Row::Hits { at, .. } => *at,
            Row::Name(row) => row.at,
            Row::Realm { .. } | Row::Drained { .. } => return Time::FOREVER,
        })
    }

    /// Whether it is worth its place even when there is none left for others.
    pub(crate) fn is_worthy(&self) -> bool {
        !matches!(self, Row::Source { .. } | Row::Pair { .. })
    }
}

impl BanRow {
    fn of(memory: &BanMemory) -> Option<Self> {
        let ban = &memory.ban;
        Some(BanRow {
            id: ban.id.0,
            key: Banned::of(&ban.key)?,
            why: ban.why.to_string(),
            reason: ban.reason.as_str().to_owned(),
            proof: ban.proof.map(|proof| proof.as_str().to_owned()),
            since: ban.since.as_nanos(),
            until: ban.until.as_nanos(),
            narrowed: ban.narrowed,
            policy_version: ban.policy_version,
            score: ban.score,
            origin: match ban.origin {
                Origin::Local => Whose::Local,
                Origin::Operator => Whose::Operator,
                Origin::Feed => Whose::Feed,
                Origin::Peer => Whose::Peer,
            },
            times: memory.times,
            evidence_at: memory.evidence.as_nanos(),
            names: memory.names,
            evidence: ban.evidence.iter().map(RecordRow::of).collect(),
        })
    }

    fn memory(self) -> Option<BanMemory> {
        let ban = Ban {
            id: BanId(self.id),
            key: self.key.key()?,
            why: self.why.into(),
            reason: named(&Reason::ALL, |it| it.as_str(), &self.reason)?,
            proof: proof(self.proof)?,
            since: Time::from_nanos(self.since),
            until: Time::from_nanos(self.until),
            narrowed: self.narrowed,
            policy_version: self.policy_version,
            score: weight(self.score)?,
            origin: match self.origin {
                Whose::Local => Origin::Local,
                Whose::Operator => Origin::Operator,
                Whose::Feed => Origin::Feed,
                Whose::Peer => Origin::Peer,
            },
            evidence: self.evidence.into_iter().filter_map(RecordRow::record).collect(),
        };
        let evidence = Time::from_nanos(self.evidence_at);
        Some(BanMemory { ban, times: self.times, evidence, names: self.names })
    }
}

impl Banned {
    fn of(key: &BanKey) -> Option<Self> {
        Some(match key {
            // nobody comes back by a connection that is gone
            BanKey::AorFlow { flow, .. } if flow.connection.is_some() => return None,
            BanKey::AorFlow { aor, flow } => {
                Banned::Flow { aor: *aor, local: flow.local, remote: flow.remote }
            }
            BanKey::AorSource { aor, source } => {
                Banned::Aor { aor: *aor, source: source.to_string() }
            }
            BanKey::Source(network) => Banned::Address(network.to_string()),
            BanKey::Network(network) => Banned::Network(network.to_string()),
            BanKey::Campaign(shape) => Banned::Campaign(*shape),
        })
    }

    fn key(self) -> Option<BanKey> {
        let network = |text: String| text.parse::<Network>().ok();
        Some(match self {
            Banned::Flow { aor, local, remote } => {
                BanKey::AorFlow { aor, flow: Flow::udp(local, remote) }
            }
            Banned::Aor { aor, source } => BanKey::AorSource { aor, source: network(source)? },
            Banned::Address(text) => BanKey::Source(network(text)?),
            Banned::Network(text) => BanKey::Network(network(text)?),
            Banned::Campaign(shape) => BanKey::Campaign(shape),
        })
    }
}

impl RecordRow {
    fn of(record: &Record) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        RecordRow {
            at: record.at.as_nanos(),
            method: record.method,
            outcome: record.outcome.as_str().to_owned(),
            aor: text(&record.aor),
            dialled: text(&record.dialled),
            shape: record.shape,
            proof: record.proof.map(|proof| proof.as_str().to_owned()),
            rule: record.rule,
            raised_by: record.raised_by,
            signature: record.signature,
            weight: record.weight,
        }
    }

    fn record(self) -> Option<Record> {
        Some(Record {
            at: Time::from_nanos(self.at),
            method: self.method,
            outcome: named(&Outcome::ALL, |it| it.as_str(), &self.outcome)?,
            aor: self.aor.into_bytes().into(),
            dialled: self.dialled.into_bytes().into(),
            shape: self.shape,
            proof: proof(self.proof)?,
            rule: self.rule,
            raised_by: self.raised_by,
            signature: self.signature,
            weight: weight(self.weight)?,
        })
    }
}

/// No rule.
fn none() -> u16 {
    u16::MAX
}

/// The one of that name.
fn named<T: Copy>(all: &[T], name: impl Fn(&T) -> &'static str, wanted: &str) -> Option<T> {
    all.iter().find(|it| name(it) == wanted).copied()
}

/// `None` when the name is of no proof.
#[allow(clippy::option_option)] // a proof that is missing, and one that means nothing
fn proof(name: Option<String>) -> Option<Option<Proof>> {
    match name {
        None => Some(None),
        Some(name) => named(&Proof::ALL, |it| it.as_str(), &name).map(Some),
    }
}

/// Weights are finite and not negative: whatever is in the file.
fn weight(weight: f32) -> Option<f32> {
    (weight.is_finite() && weight >= 0.0).then_some(weight)
}
