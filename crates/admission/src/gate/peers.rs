//! What other shards learned, and what operators order.

use super::Gate;
use crate::{Ban, BanId, BanKey, Effect, Learned, Memory, Record};
use policy::{Network, Time};

impl Gate {
    pub(super) fn on_learned(&mut self, now: Time, learned: &Learned) {
        match learned {
            Learned::Refused { aor } => {
                let half_life = self.policy.admission.half_life.short;
                self.aors.refused(now, *aor, true, half_life);
            }
            Learned::Shape { shape, success: true, .. } => {
                self.shapes.succeeded(now, *shape);
                self.bans.lift_key(now, &BanKey::Campaign(*shape), false);
                self.on_lifts();
            }
            Learned::Shape { shape, source, success: false } => {
                self.count_shape(now, *shape, *source);
            }
            Learned::Campaign { shape } => self.prolong(now, *shape),
            Learned::SourceBanned { source, until } => {
                self.on_source_banned(now, *source, *until);
            }
            Learned::Known { network } => {
                self.networks.heard(now, *network, self.policy.admission.trust.window);
            }
            Learned::Realm { pbx, realm, algorithms } => {
                self.challenges.of_mut(*pbx).on_learned(realm, *algorithms);
            }
            Learned::Feeds(feeds) => self.on_feeds(feeds),
            Learned::Ban(ban) => self.on_order(now, ban),
            Learned::Resolved { host, addresses } => {
                self.trust.resolve(host, addresses);
                // who moved here may have been taken for a stranger
                self.bans.lift_trusted(now, &self.trust);
                self.on_lifts();
            }
            Learned::Lift { network, trust, forgive } => {
                self.on_lift_order(now, *network, *trust, *forgive);
            }
            Learned::Distrust { network } => {
                // what ends now is no trust, nor is it after a restart
                self.trust.give(now, *network, now);
                self.say(Effect::Remember(Memory::Trust { network: *network, until: now }));
            }
            Learned::Unban { key, forgive } => {
                self.bans.lift_key(now, key, *forgive);
                self.on_lifts();
            }
        }
    }

    fn on_order(&mut self, now: Time, ban: &Ban) {
        if self.bans.impose(now, &self.trust, ban) {
            if let BanKey::Source(network) | BanKey::Network(network) = ban.key
                && !ban.narrowed
            {
                self.say(Effect::Close(network));
            }
            if self.tells(ban.id, &ban.key) {
                self.say(Effect::Banned(Box::new(ban.clone())));
            }
        }
        self.on_lifts();
    }

    /// Whether news of this ban are this gate's to tell: of one that all have the first shard's.
    pub(super) fn tells(&self, id: BanId, key: &BanKey) -> bool {
        id.shard() != BanId::SHARED && !key.is_of_all() || self.shard.0 == 0
    }

    fn on_lift_order(&mut self, now: Time, network: Network, trust: Option<Time>, forgive: bool) {
        if let Some(until) = trust {
            self.trust.give(now, network, until);
            self.say(Effect::Remember(Memory::Trust { network, until }));
        }
        self.bans.lift(now, network, forgive);
        self.on_lifts();
        if forgive || trust.is_some() {
            self.walk.wanted(now);
            let within = |it: Network| network.contains(it.address());
            for source in self.sources.iter_mut().filter(|it| within(it.network())) {
                source.forgive(0.0);
                self.chains.forgive(crate::store::Entry::key(source), 0.0);
            }
        }
    }

    /// The evidence behind a ban, where it is kept.
    pub(super) fn chain_of(&self, key: &BanKey) -> Vec<Record> {
        match key {
            BanKey::Source(network) | BanKey::AorSource { source: network, .. } => {
                self.chains.of(self.sources.key_of(network.address()))
            }
            BanKey::AorFlow { flow, .. } => self.chains.of(self.sources.key_of(flow.remote.ip())),
            BanKey::Network(_) | BanKey::Campaign(_) => Vec::new(),
        }
    }
}
