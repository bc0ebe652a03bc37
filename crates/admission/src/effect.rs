//! What the gate gives out besides verdicts: bans, what other shards must know, alerts.

use crate::{Memory, Proof};
use policy::{Feeds, Network, Outcome, Reason, Time};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;
use wire::Flow;

/// A piece of news.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// To all other shards' gates.
    Learned(Learned),
    /// A ban began, or one that is in force was renewed.
    Banned(Box<Ban>),
    /// A ban ended.
    Lifted(Lift),
    /// A proven outcome weighs on this source, and what of it its chain keeps.
    Evidence(Network, Box<Record>),
    /// Somebody should know.
    Alert(Alert),
    /// To be remembered over a restart: [`crate::Gate::recall`].
    Remember(Memory),
    /// A ban of an earlier life is in force again; without its chain.
    Recalled(Box<Ban>),
    /// Connections of this source are closed: a ban reaches who is there already.
    Close(Network),
}

/// What is banned, smallest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BanKey {
    /// An AOR (its hash) over one flow.
    AorFlow {
        /// Hash of the AOR.
        aor: u64,
        /// The flow.
        flow: Flow,
    },
    /// An AOR (its hash) at one source.
    AorSource {
        /// Hash of the AOR.
        aor: u64,
        /// The source.
        source: Network,
    },
    /// A source: an IPv4 address or an IPv6 /64.
    Source(Network),
    /// A network: what an operator, a feed or its many banned sources say.
    Network(Network),
    /// A shape of messages.
    Campaign(u64),
}

impl BanKey {
    /// Label of its kind.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            BanKey::AorFlow { .. } => "flow",
            BanKey::AorSource { .. } => "aor",
            BanKey::Source(_) => "address",
            BanKey::Network(_) => "network",
            BanKey::Campaign(_) => "campaign",
        }
    }

    /// Whether it is a ban that each shard finds out by itself, from what all are told: of a
    /// network, of a shape.
    #[must_use]
    pub fn is_of_all(&self) -> bool {
        matches!(self, BanKey::Network(_) | BanKey::Campaign(_))
    }

    /// Where it holds; `None` when everywhere.
    #[must_use]
    pub fn place(&self) -> Option<Network> {
        match self {
            BanKey::Source(network) | BanKey::Network(network) => Some(*network),
            BanKey::AorSource { source, .. } => Some(*source),
            BanKey::AorFlow { flow, .. } => Some(Network::source(flow.remote.ip())),
            BanKey::Campaign(_) => None,
        }
    }

    /// As the API, the command line and the audit stream write it: `198.51.100.7`,
    /// `203.0.113.0/24`, `aor:HASH@198.51.100.7`, `aor:HASH@198.51.100.7:5060/udp`, `shape:HASH`.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            BanKey::AorFlow { aor, flow } => {
                format!("aor:{aor:016x}@{}/{}", flow.remote, flow.transport.as_param())
            }
            BanKey::AorSource { aor, source } => format!("aor:{aor:016x}@{source}"),
            BanKey::Source(network) | BanKey::Network(network) => network.to_string(),
            BanKey::Campaign(shape) => format!("shape:{shape:016x}"),
        }
    }
}

/// Number of a ban: unique in a shard's life; the shard's number is its top byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BanId(pub u64);

impl BanId {
    /// Stands for the shard where a ban is everybody's: an operator's or a feed's, told to all.
    pub const SHARED: u8 = u8::MAX;

    /// The `count`-th ban that is told to all shards.
    #[must_use]
    pub fn shared(count: u64) -> Self {
        BanId::of(BanId::SHARED, count)
    }

    pub(crate) fn of(shard: u8, count: u64) -> Self {
        BanId(u64::from(shard) << 56 | count & (u64::MAX >> 8))
    }

    /// Whose it is: a shard's number, or [`BanId::SHARED`].
    #[must_use]
    pub fn shard(self) -> u8 {
        (self.0 >> 56) as u8
    }

    /// Which of those it is.
    #[must_use]
    pub fn count(self) -> u64 {
        self.0 & (u64::MAX >> 8)
    }
}

impl fmt::Display for BanId {
    /// `3-17`: the shard, and which of its bans.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.shard(), self.count())
    }
}

impl FromStr for BanId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (shard, count) = text.split_once('-').ok_or(())?;
        // a sign would be taken, too
        let number = |text: &str| {
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse::<u64>().ok().filter(|_| digits)
        };
        let shard = number(shard).and_then(|shard| u8::try_from(shard).ok()).ok_or(())?;
        let count = number(count).filter(|count| count >> 56 == 0).ok_or(())?;
        Ok(BanId::of(shard, count))
    }
}

/// Who banned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// This edge's own evidence.
    Local,
    /// An operator.
    Operator,
    /// A feed.
    Feed,
    /// Another shard or machine.
    Peer,
}

/// A ban with everything that explains it.
#[derive(Clone, Debug, PartialEq)]
pub struct Ban {
    /// Its number.
    pub id: BanId,
    /// What is banned.
    pub key: BanKey,
    /// Why: the outcome's or rule's name, or the operator's text.
    pub why: Box<str>,
    /// What decisions on what it keeps out have for their reason.
    pub reason: Reason,
    /// How the source was proven; `None` for an operator's or a feed's ban.
    pub proof: Option<Proof>,
    /// From when.
    pub since: Time,
    /// Until when.
    pub until: Time,
    /// A known source is only narrowed.
    pub narrowed: bool,
    /// Version of the policy that judged.
    pub policy_version: u64,
    /// Score that the evidence had.
    pub score: f32,
    /// Who banned.
    pub origin: Origin,
    /// The evidence, oldest first, at most [`Ban::RECORDS_MAX`].
    pub evidence: Vec<Record>,
}

impl Ban {
    /// Most records of a chain.
    pub const RECORDS_MAX: usize = 16;

    /// What led to it, for metrics: a rule's or outcome's name, which are the policy's; of what people
    /// and lists write only whose it is.
    #[must_use]
    pub fn cause(&self) -> &str {
        match self.origin {
            Origin::Operator => "operator",
            Origin::Feed => "feed",
            Origin::Local | Origin::Peer => &self.why,
        }
    }
}

/// One piece of evidence.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// When.
    pub at: Time,
    /// Index of the method in [`policy::METHODS`].
    pub method: u8,
    /// How the challenge ended.
    pub outcome: Outcome,
    /// Whom it claimed to be, at most 64 bytes, as it was written (hostile text).
    pub aor: Box<[u8]>,
    /// What it dialled, likewise.
    pub dialled: Box<[u8]>,
    /// Its shape.
    pub shape: u64,
    /// How its source was proven.
    pub proof: Option<Proof>,
    /// Index of the rule that weighed it, `u16::MAX` for none.
    pub rule: u16,
    /// Index of the rule that made it weigh more, `u16::MAX` for none.
    pub raised_by: u16,
    /// Index of the signature that it matched, `u16::MAX` for none.
    pub signature: u16,
    /// What it weighed; of tries what all of them weigh at the time of the last.
    pub weight: f32,
}

impl Record {
    /// Whether it is a try on what was banned already, which no challenge's end stands behind.
    #[must_use]
    pub fn is_try(&self) -> bool {
        self.outcome == Outcome::Refused && self.rule == u16::MAX
    }
}

/// A ban that ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lift {
    /// Which.
    pub id: BanId,
    /// What was banned.
    pub key: BanKey,
    /// Whether it ran out by itself.
    pub expired: bool,
    /// Whether an operator's ban of the same took its place.
    pub replaced: bool,
}

/// Something somebody should know.
#[derive(Clone, Debug, PartialEq)]
pub enum Alert {
    /// A shape became a campaign.
    Campaign {
        /// Which.
        shape: u64,
        /// Sources seen.
        sources: u32,
    },
    /// An unknown source calls one of our numbers and never answers the challenge.
    CarrierCandidate {
        /// Who.
        source: Network,
        /// The number, as dialled.
        dialled: Box<[u8]>,
    },
    /// In `mode: observe`, once in a ban's time: what would have been banned.
    WouldBan(Box<Ban>),
    /// Known phones come back all at once.
    Storm,
    /// A proven source asked for what never existed.
    Honeytoken {
        /// Who.
        source: Network,
    },
    /// A signature met somebody authenticated and is only counted from now on.
    Demoted {
        /// Index of the signature.
        signature: u16,
    },
    /// The edge challenges strangers by itself from now on (or no more).
    UnderAttack {
        /// Whether it began.
        began: bool,
    },
}

impl Alert {
    /// The word that the API, audit lines and alerts use.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Alert::Campaign { .. } => "campaign",
            Alert::CarrierCandidate { .. } => "carrier_candidate",
            Alert::WouldBan(_) => "would_ban",
            Alert::Storm => "storm",
            Alert::Honeytoken { .. } => "honeytoken",
            Alert::Demoted { .. } => "demoted",
            Alert::UnderAttack { .. } => "under_attack",
        }
    }
}

/// What other shards' gates must know.
#[derive(Clone, Debug, PartialEq)]
pub enum Learned {
    /// Strangers were refused on an AOR.
    Refused {
        /// Hash of the AOR.
        aor: u64,
    },
    /// A proven source failed under a shape, or somebody succeeded.
    Shape {
        /// Which.
        shape: u64,
        /// Hash of the source.
        source: u64,
        /// Success?
        success: bool,
    },
    /// A campaign's shape was seen again: it lasts on.
    Campaign {
        /// Which.
        shape: u64,
    },
    /// A source was banned: its network counts it.
    SourceBanned {
        /// Which.
        source: Network,
        /// Until when.
        until: Time,
    },
    /// Somebody authenticated in a network.
    Known {
        /// The network.
        network: Network,
    },
    /// How the PBX challenges: realm and algorithms.
    Realm {
        /// Which: [`policy::Pbx::id`].
        pbx: u32,
        /// Realm.
        realm: Box<[u8]>,
        /// Bits: 1 MD5, 2 SHA-256, 4 SHA-512-256; the upper ones say in which order.
        algorithms: u8,
    },
    /// An operator's ban.
    Ban(Box<Ban>),
    /// What feeds list from now on, in place of what they listed.
    Feeds(Arc<Feeds>),
    /// What a name of the policy's stands for from now on, in place of what it stood for.
    Resolved {
        /// The name, as [`policy::TrustRules::hosts`] has it.
        host: Box<str>,
        /// Each address, and until when; [`Time::FOREVER`]: until more is said.
        addresses: Box<[(IpAddr, Time)]>,
    },
    /// An operator lifts bans of these addresses; with `trust` they are trusted until then.
    Lift {
        /// Which.
        network: Network,
        /// Until when nothing bans it.
        trust: Option<Time>,
        /// Whether evidence and repetitions are forgotten, too.
        forgive: bool,
    },
    /// An operator trusts a network no more that he trusted for a time.
    Distrust {
        /// Whom, as he named it then.
        network: Network,
    },
    /// An operator lifts one ban, of a pair or a shape.
    Unban {
        /// What is banned.
        key: BanKey,
        /// Whether it is as if it had never been.
        forgive: bool,
    },
}
