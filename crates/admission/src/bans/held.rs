//! One ban as it is kept, and how many of a kind there are.

use crate::store::Entry;
use crate::trust::Trust;
use crate::{Ban, BanId, BanKey, Lift, Origin, Proof};
use arrayvec::ArrayVec;
use policy::{Network, Reason, Time};
use std::net::IpAddr;
use std::time::Duration;
use wire::Flow;

/// A ban, or the memory of one. What each datagram's look-up reads stands together in front.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Held {
    pub(super) key: u64,
    pub(super) until: Time,
    pub(super) id: BanId,
    pub(super) reason: Reason,
    pub(super) narrowed: bool,
    pub(super) in_force: bool,
    pub(super) proof: Option<Proof>,
    pub(super) origin: Origin,
    /// How many bans there were, less those forgiven up to `evidence`.
    pub(super) times: u8,
    /// It is among those whose later evidence is to be told.
    pub(super) late: bool,
    pub(super) score: f32,
    pub(super) since: Time,
    /// When something last spoke against it.
    pub(super) evidence: Time,
    pub(super) policy_version: u64,
    pub(super) what: What,
    pub(super) why: Box<str>,
}

/// A [`BanKey`] in less room: flows are long and rare.
#[derive(Clone, Debug)]
pub(super) enum What {
    Network(Network),
    Campaign(u64),
    AorSource(u64, Network),
    AorFlow(Box<(u64, Flow)>),
}

/// How many bans of a kind are in force: what is not there is not looked up.
#[derive(Debug)]
pub(super) struct Kinds {
    pub(super) v4: [u32; 33],
    pub(super) v6: [u32; 129],
    pub(super) pairs: [u32; 2],
    pub(super) campaigns: u32,
    /// Lengths in use besides those of sources.
    pub(super) lengths_v4: Vec<u8>,
    pub(super) lengths_v6: Vec<u8>,
}

pub(super) const SOURCE_V4: u8 = 32;
pub(super) const SOURCE_V6: u8 = 64;

impl Entry for Held {
    fn key(&self) -> u64 {
        self.key
    }
}

impl Held {
    pub(super) fn is_in_force(&self, now: Time) -> bool {
        self.in_force && self.until > now
    }

    /// In which wall it stands while it is in force, and as what.
    pub(super) fn wall(&self) -> Option<(usize, Reason)> {
        let network = matches!(self.what, What::Network(_));
        network.then_some((usize::from(self.narrowed), self.reason))
    }

    /// How many of its bans still count.
    pub(super) fn times_at(&self, now: Time, forgive: Duration) -> u8 {
        let forgiven = now.since(self.evidence).as_nanos() / forgive.as_nanos().max(1);
        self.times.saturating_sub(u8::try_from(forgiven).unwrap_or(u8::MAX))
    }

    /// When it ends, or is forgiven.
    pub(super) fn deadline(&self, forgive: Duration) -> Time {
        if self.in_force {
            self.until
        } else {
            self.evidence + forgive.saturating_mul(u32::from(self.times))
        }
    }

    pub(super) fn lift(&self, expired: bool) -> Lift {
        Lift { id: self.id, key: BanKey::from(&self.what), expired, replaced: false }
    }

    pub(super) fn ban(&self) -> Ban {
        Ban {
            id: self.id,
            key: BanKey::from(&self.what),
            why: self.why.clone(),
            reason: self.reason,
            proof: self.proof,
            since: self.since,
            until: self.until,
            narrowed: self.narrowed,
            policy_version: self.policy_version,
            score: self.score,
            origin: self.origin,
            evidence: Vec::new(),
        }
    }
}

impl What {
    /// Where it is banned; `None` when everywhere.
    pub(super) fn network(&self) -> Option<Network> {
        match self {
            What::Network(network) | What::AorSource(_, network) => Some(*network),
            What::AorFlow(pair) => Some(Network::source(pair.1.remote.ip())),
            What::Campaign(_) => None,
        }
    }

    pub(super) fn is_trusted(&self, now: Time, trust: &Trust) -> bool {
        self.network().is_some_and(|network| trust.covers(now, network).is_some())
    }
}

impl From<BanKey> for What {
    fn from(key: BanKey) -> Self {
        match key {
            BanKey::Source(network) | BanKey::Network(network) => What::Network(network),
            BanKey::Campaign(shape) => What::Campaign(shape),
            BanKey::AorSource { aor, source } => What::AorSource(aor, source),
            BanKey::AorFlow { aor, flow } => What::AorFlow(Box::new((aor, flow))),
        }
    }
}

impl From<&What> for BanKey {
    fn from(what: &What) -> Self {
        match what {
            // one address is a network, too: what is as long as a source is one
            What::Network(network) if is_source(*network) => BanKey::Source(*network),
            What::Network(network) => BanKey::Network(*network),
            What::Campaign(shape) => BanKey::Campaign(*shape),
            What::AorSource(aor, source) => BanKey::AorSource { aor: *aor, source: *source },
            What::AorFlow(pair) => BanKey::AorFlow { aor: pair.0, flow: pair.1 },
        }
    }
}

impl Default for Kinds {
    fn default() -> Self {
        Kinds {
            v4: [0; 33],
            v6: [0; 129],
            pairs: [0; 2],
            campaigns: 0,
            lengths_v4: Vec::new(),
            lengths_v6: Vec::new(),
        }
    }
}

impl Kinds {
    pub(super) fn count(&mut self, what: &What, by: i32) {
        let network = match what {
            What::Network(network) => network,
            What::AorFlow(_) => return add(&mut self.pairs[0], by),
            What::AorSource(..) => return add(&mut self.pairs[1], by),
            What::Campaign(_) => return add(&mut self.campaigns, by),
        };
        let prefix = network.prefix();
        let (counts, lengths) = match network.address() {
            IpAddr::V4(_) => (self.v4.as_mut_slice(), &mut self.lengths_v4),
            IpAddr::V6(_) => (self.v6.as_mut_slice(), &mut self.lengths_v6),
        };
        let Some(count) = counts.get_mut(usize::from(prefix)) else { return };
        add(count, by);
        if !is_source(*network) {
            lengths.retain(|length| *length != prefix);
            if *count > 0 {
                lengths.push(prefix);
            }
        }
    }
}

fn add(count: &mut u32, by: i32) {
    *count = count.saturating_add_signed(by);
}

fn is_source(network: Network) -> bool {
    network.prefix() == if network.address().is_ipv4() { SOURCE_V4 } else { SOURCE_V6 }
}

/// Short, because it is hashed for each datagram: the address as it is, and the prefix.
pub(super) fn network_bytes(network: Network) -> ArrayVec<u8, 17> {
    let mut bytes = ArrayVec::new();
    match network.address() {
        IpAddr::V4(v4) => bytes.extend(v4.octets()),
        IpAddr::V6(v6) => bytes.extend(v6.octets()),
    }
    bytes.push(network.prefix());
    bytes
}
