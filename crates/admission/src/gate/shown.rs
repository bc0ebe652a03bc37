//! What operators see of a gate. Tables are shown in portions, so that nobody who looks keeps the
//! gate from its work.

use super::Gate;
use crate::sources::Source;
use crate::{Ban, BanKey, Proof, Record};
use policy::{Network, Time, Who};
use std::net::IpAddr;

/// What is known of a source.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceView {
    /// The source.
    pub source: Network,
    /// What it is, when a message comes from there now.
    pub who: Who,
    /// How its return path was proven.
    pub proof: Option<Proof>,
    /// Evidence in the short memory.
    pub score: f32,
    /// Evidence in the long memory.
    pub long_score: f32,
    /// Open INVITE challenges.
    pub open_invites: u16,
    /// Other open challenges.
    pub open_others: u16,
    /// Whether something unproven speaks against it.
    pub suspect: bool,
}

impl Gate {
    /// Bans in force, at most `limit`, with their chains where they are kept.
    #[must_use]
    pub fn bans(&self, limit: usize) -> Vec<Ban> {
        let with_chain = |mut ban: Ban| {
            ban.evidence = self.chain_of(&ban.key);
            ban
        };
        self.bans.iter(self.clock).take(limit).map(with_chain).collect()
    }

    /// Those bans in force among `count` entries of their table, from the `from`-th on, that
    /// `wanted` picks; without their chains. And whether there are entries behind.
    pub fn bans_at(
        &self,
        now: Time,
        from: usize,
        count: usize,
        wanted: impl Fn(&Ban) -> bool,
    ) -> (Vec<Ban>, bool) {
        let (bans, more) = self.bans.portion(now, from, count);
        (bans.filter(|ban| wanted(ban)).collect(), more)
    }

    /// The evidence behind a ban, oldest first, where it is kept.
    #[must_use]
    pub fn evidence_behind(&self, key: &BanKey) -> Vec<Record> {
        self.chain_of(key)
    }

    /// The evidence on a source, oldest first, where it is kept.
    #[must_use]
    pub fn evidence_on(&self, source: IpAddr) -> Vec<Record> {
        self.chains.of(self.sources.key_of(source))
    }

    /// Those sources among `count` entries of their table, from the `from`-th on, that have a
    /// score of at least `least`. And whether there are entries behind.
    #[must_use]
    pub fn sources_at(
        &self,
        now: Time,
        from: usize,
        count: usize,
        least: f32,
    ) -> (Vec<SourceView>, bool) {
        let half_life = &self.policy.admission.half_life;
        let entries = self.sources.iter().skip(from).take(count);
        let scored = entries.filter(|source| source.score(now, half_life).short >= least);
        let views = scored.map(|source| self.view(now, source)).collect();
        (views, from.saturating_add(count) < self.sources.table().entries)
    }

    /// Those sources among `count` entries of their table, from the `from`-th on, from which
    /// somebody authenticated who counts as known. And whether there are entries behind.
    #[must_use]
    pub fn known_at(&self, now: Time, from: usize, count: usize) -> (Vec<Network>, bool) {
        let rules = &self.policy.admission;
        let is_known = |it: &&Source| it.who(now, &rules.trust, rules.proof.lifetime) == Who::Known;
        let known = self.sources.iter().skip(from).take(count).filter(is_known);
        let networks = known.map(Source::network).collect();
        (networks, from.saturating_add(count) < self.sources.table().entries)
    }

    /// What is known of the source of an address; `None`: nothing.
    #[must_use]
    pub fn source(&self, now: Time, ip: IpAddr) -> Option<SourceView> {
        self.sources.find(self.sources.key_of(ip)).map(|source| self.view(now, source))
    }

    /// The name of what trusts this address.
    #[must_use]
    pub fn trusted_by(&self, now: Time, ip: IpAddr) -> Option<&str> {
        self.trust.of(now, ip)
    }

    /// Whom operators trust for a time, and until when.
    pub fn trusted_for_a_time(&self, now: Time) -> impl Iterator<Item = (Network, Time)> {
        self.trust.given(now)
    }

    /// The name of what trusts an address in this network, or a network around it: it cannot be
    /// banned.
    #[must_use]
    pub fn covered_by(&self, now: Time, network: Network) -> Option<&str> {
        self.trust.covers(now, network)
    }

    /// The hash that bans of this AOR (`user@host`) have.
    #[must_use]
    pub fn hash_of(&self, aor: &[u8]) -> u64 {
        self.aor_of(&[b"sip:", aor].concat())
    }

    /// Refusals of strangers on that AOR in the short memory: by proven ones, and by others.
    #[must_use]
    pub fn refusals_of(&self, now: Time, aor: u64) -> (f32, f32) {
        self.aors.refusals(now, aor, self.policy.admission.half_life.short)
    }

    fn view(&self, now: Time, source: &Source) -> SourceView {
        let rules = &self.policy.admission;
        let network = source.network();
        let score = source.score(now, &rules.half_life);
        let trusted = self.trust.of(now, network.address()).is_some();
        SourceView {
            source: network,
            who: match trusted {
                true => Who::Trusted,
                false => source.who(now, &rules.trust, rules.proof.lifetime),
            },
            proof: source.proof(now, rules.proof.lifetime),
            score: score.short,
            long_score: score.long,
            open_invites: source.invites,
            open_others: source.others,
            suspect: source.passage(now, rules.proof.lifetime).suspect,
        }
    }
}
