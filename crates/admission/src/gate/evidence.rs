//! What outcomes weigh, and what is done about it: the smallest key that explains it.

use super::Gate;
use super::asked::Asked;
use crate::bans::Cause;
use crate::ledger::{Flags, Open};
use crate::rules::{Facts, holds};
use crate::{
    Alert, Ban, BanId, BanKey, Effect, Final, Learned, Origin, Proof, Record, Refusal, Ticket,
};
use policy::{Mode, Network, Outcome, Rate, Reason, Then, Time, Who};
use std::net::IpAddr;

/// Rates of the machine's own, behind all of the policy's rules.
pub(super) mod slow {
    use crate::rates::OWN_RULES;
    pub(crate) const HOME: u16 = OWN_RULES;
    pub(crate) const NARROWED: u16 = OWN_RULES + 1;
    pub(crate) const GUARD: u16 = OWN_RULES + 2;
    pub(crate) const OBSERVED: u16 = OWN_RULES + 3;
    pub(crate) const STORM: u16 = OWN_RULES + 4;
    pub(crate) const DIALOG: u16 = OWN_RULES + 5;
}

/// What evidence is multiplied with when its AOR is at home.
const AT_HOME: f32 = 0.1;
/// What asking for what never existed weighs.
const HONEYTOKEN: f32 = 100.0;
/// What is left of the evidence when a ban on it ends: halved twice.
const LEFT: f32 = 0.25;

/// An outcome that is proven.
#[derive(Clone, Copy, Debug)]
pub(super) struct Evidence<'t> {
    pub(super) outcome: Outcome,
    /// Key of the source.
    pub(super) source: u64,
    pub(super) ip: IpAddr,
    pub(super) proof: Proof,
    pub(super) method: u8,
    pub(super) shape: u64,
    pub(super) factor: u8,
    pub(super) raised_by: u16,
    pub(super) signature: u16,
    pub(super) at_home: bool,
    pub(super) candidate: bool,
    pub(super) repeated: bool,
    pub(super) aor: &'t [u8],
    pub(super) dialled: &'t [u8],
}

impl<'t> Evidence<'t> {
    pub(super) fn new(outcome: Outcome, source: u64, ip: IpAddr, proof: Proof) -> Self {
        Evidence {
            outcome,
            source,
            ip,
            proof,
            method: 0,
            shape: 0,
            factor: 1,
            raised_by: u16::MAX,
            signature: u16::MAX,
            at_home: false,
            candidate: false,
            repeated: false,
            aor: b"",
            dialled: b"",
        }
    }

    pub(super) fn of_ticket(self, ticket: &Ticket, aor: &'t [u8], dialled: &'t [u8]) -> Self {
        Evidence {
            method: ticket.method,
            shape: ticket.shape,
            factor: ticket.factor,
            raised_by: ticket.raised_by,
            signature: ticket.signature,
            at_home: ticket.at_home,
            candidate: ticket.candidate,
            aor,
            dialled,
            ..self
        }
    }

    pub(super) fn of_entry(self, open: &Open, aor: &'t [u8], dialled: &'t [u8]) -> Self {
        Evidence {
            method: open.method,
            shape: open.shape,
            factor: open.factor,
            raised_by: open.raised_by,
            signature: open.signature,
            at_home: open.flags.has(Flags::AT_HOME),
            candidate: open.flags.has(Flags::CANDIDATE),
            aor,
            dialled,
            ..self
        }
    }

    fn record(&self, now: Time, rule: u16, weight: f32) -> Record {
        Record {
            at: now,
            method: self.method,
            outcome: self.outcome,
            aor: crate::chain::text(self.aor),
            dialled: crate::chain::text(self.dialled),
            shape: self.shape,
            proof: Some(self.proof),
            rule,
            raised_by: self.raised_by,
            signature: self.signature,
            weight,
        }
    }
}

impl Gate {
    /// Puts a proven outcome on its source; whether it weighs anything.
    pub(super) fn weigh(&mut self, now: Time, evidence: &Evidence<'_>) -> bool {
        if self.trust.of(now, evidence.ip).is_some() {
            return false;
        }
        let (weight, rule) = self.weight(now, evidence);
        if weight > 0.0 {
            self.add(now, evidence, weight, rule, !evidence.repeated);
        }
        weight > 0.0
    }

    /// What the rules say it weighs: the first that holds and acts.
    fn weight(&mut self, now: Time, evidence: &Evidence<'_>) -> (f32, u16) {
        let rules = &self.policy.admission;
        let known = self.sources.find(evidence.source).is_some_and(|source| {
            source.who(now, &rules.trust, rules.proof.lifetime) == Who::Known
        });
        let facts = Facts {
            message: None,
            method: evidence.method,
            who: if known { Who::Known } else { Who::Proven },
            at_home: evidence.at_home,
            credentials: evidence.outcome == Outcome::Refused,
            dialog: false,
            outcome: Some(evidence.outcome),
            repeated: evidence.repeated,
            dialled: evidence.dialled,
        };
        for (index, rule) in rules.rules.iter().enumerate() {
            let Then::Weigh(weight) = rule.then else { continue };
            if rule.mode == Mode::Off || !holds(&rule.when, &facts) {
                continue;
            }
            if let Some(count) = self.counts.rules.get_mut(index) {
                *count += 1;
                self.tally.wanted(now);
            }
            if rule.mode == Mode::Observe {
                continue;
            }
            let innocent = evidence.candidate && evidence.outcome == Outcome::Abandoned;
            let home = if evidence.at_home { AT_HOME } else { 1.0 };
            let factor = if innocent { 0.0 } else { f32::from(evidence.factor) * home };
            return (weight * factor, index as u16);
        }
        (0.0, u16::MAX)
    }

    /// Adds weight to a source, and acts on its levels. What a pair already answers for does not
    /// last: an old password is a week of refusals, and no reason to ban an address.
    fn add(&mut self, now: Time, evidence: &Evidence<'_>, weight: f32, rule: u16, lasts: bool) {
        let rules = &self.policy.admission;
        let rank = crate::store::Rank::Proven;
        let Some(source) = self.sources.enter(evidence.source, evidence.ip, rank) else { return };
        let known = source.who(now, &rules.trust, rules.proof.lifetime) == Who::Known;
        let score = source.add(now, weight, lasts, &rules.half_life);
        self.walk.wanted(now);
        let record = evidence.record(now, rule, weight);
        self.chains.add(evidence.source, record.clone(), rules.half_life.short);
        self.say(Effect::Evidence(Network::source(evidence.ip), Box::new(record)));
        let rules = &self.policy.admission;
        let key = BanKey::Source(Network::source(evidence.ip));
        self.bans.evidence(now, &key);
        let (short, long) = (score.short >= rules.levels.ban, score.long >= rules.levels.ban_long);
        let banned = self.bans.of_source(now, evidence.ip);
        if !short && !long || banned.is_some_and(|ban| known || !ban.narrowed) {
            return;
        }
        let why = match rules.rules.get(usize::from(rule)) {
            Some(rule) => rule.name.clone(),
            None if weight >= HONEYTOKEN => "honeytoken".into(),
            None => evidence.outcome.as_str().into(),
        };
        let cause = Cause {
            why: &why,
            reason: if known { Reason::Narrowed } else { Reason::Banned },
            proof: Some(evidence.proof),
            score: if short { score.short } else { score.long },
            narrowed: known,
            slow: !short,
            policy_version: self.policy.version,
        };
        let Some(until) = self.ban(now, key, &cause, evidence.source) else { return };
        self.sources.set_banned(evidence.source, true);
        self.chains.hold(evidence.source);
        if !known {
            self.say(Effect::Close(Network::source(evidence.ip)));
            let source = Network::source(evidence.ip);
            self.learn_out(Learned::SourceBanned { source, until });
            self.on_source_banned(now, source, until);
        }
    }

    /// One more try where something is banned already.
    pub(super) fn add_try(&mut self, now: Time, asked: &Asked<'_, '_>, weight: f32) {
        let Some(proof) = asked.ticket.proof else { return };
        let evidence = Evidence::new(Outcome::Refused, asked.source, asked.ip, proof).of_ticket(
            &asked.ticket,
            asked.aor_text(),
            asked.dialled,
        );
        let home = if asked.ticket.at_home { AT_HOME } else { 1.0 };
        let factor = f32::from(asked.ticket.factor) * home;
        self.add(now, &evidence, weight * factor, u16::MAX, false);
    }

    /// A request for what never existed, by somebody who proves himself with it.
    pub(super) fn on_honeytoken_request(&mut self, now: Time, asked: &Asked<'_, '_>) {
        let Some(proof) = asked.ticket.proof else { return };
        let evidence = Evidence::new(Outcome::NotFound, asked.source, asked.ip, proof).of_ticket(
            &asked.ticket,
            asked.aor_text(),
            asked.dialled,
        );
        self.on_honeytoken(now, &evidence);
    }

    pub(super) fn on_honeytoken(&mut self, now: Time, evidence: &Evidence<'_>) {
        if self.trust.of(now, evidence.ip).is_some() {
            return;
        }
        self.say(Effect::Alert(Alert::Honeytoken { source: Network::source(evidence.ip) }));
        self.add(now, evidence, HONEYTOKEN, u16::MAX, true);
    }

    /// The pairs of a refusal: its flow where the AOR is at home, else the AOR at its source.
    pub(super) fn on_refused_pair(
        &mut self,
        now: Time,
        answer: &Final<'_, '_>,
        pair: u64,
        evidence: &Evidence<'_>,
    ) {
        if self.trust.of(now, evidence.ip).is_some() {
            return;
        }
        let rules = &self.policy.admission;
        let (half_life, levels) = (rules.half_life, rules.levels);
        let (aor, flow) = (answer.ticket.account, *answer.flow);
        let over_flow = self.pairs.over_flow(aor, evidence.source, &flow);
        let (by_flow, _) = self.pairs.refused(now, over_flow, &half_life);
        let (by_source, slowly) = self.pairs.refused(now, pair, &half_life);
        self.walk.wanted(now);
        let (key, score, level) = if answer.ticket.at_home {
            (BanKey::AorFlow { aor, flow }, by_flow, levels.pair)
        } else {
            let key = BanKey::AorSource { aor, source: Network::source(evidence.ip) };
            match slowly >= levels.ban_long {
                true => (key, slowly, levels.ban_long),
                false => (key, by_source, levels.pair),
            }
        };
        self.bans.evidence(now, &key);
        if score < level {
            return;
        }
        let cause = Cause {
            why: "refused",
            reason: Reason::PairBanned,
            proof: Some(evidence.proof),
            score,
            narrowed: false,
            slow: score == slowly && by_source < levels.pair,
            policy_version: self.policy.version,
        };
        self.ban(now, key, &cause, evidence.source);
    }

    /// A source in its network was banned, here or in another shard.
    pub(super) fn on_source_banned(&mut self, now: Time, source: Network, until: Time) {
        let around = Network::around(source.address());
        let hash = self.sources.key_of(source.address());
        let banned = self.networks.banned(now, around, hash, until);
        let rules = &self.policy.admission;
        let enough = rules.bans.network.min(crate::networks::SOURCES_MAX as u32);
        if banned < enough || enough == 0 {
            return;
        }
        let known = self.networks.is_known(now, around, rules.trust.window);
        let cause = Cause {
            why: "network",
            reason: if known { Reason::Narrowed } else { Reason::Banned },
            proof: None,
            score: banned as f32,
            narrowed: known,
            slow: false,
            policy_version: self.policy.version,
        };
        if self.ban(now, BanKey::Network(around), &cause, 0).is_some() && !known {
            self.say(Effect::Close(around));
        }
    }

    /// A proven source failed under a shape.
    pub(super) fn on_failed_shape(&mut self, now: Time, shape: u64, source: u64) {
        if shape == 0 {
            return;
        }
        self.learn_out(Learned::Shape { shape, source, success: false });
        self.count_shape(now, shape, source);
    }

    pub(super) fn count_shape(&mut self, now: Time, shape: u64, source: u64) {
        let rules = self.policy.admission.campaign;
        let Some(sources) = self.shapes.failed(now, shape, source, rules.lifetime) else { return };
        if sources < rules.sources.min(crate::shapes::SOURCES_MAX as u32)
            || self.bans.of_shape(now, shape).is_some()
        {
            return;
        }
        let key = BanKey::Campaign(shape);
        let began = self.ban(now, key, &self.campaign_cause(sources), source).is_some();
        if began && self.shard.0 == 0 {
            self.say(Effect::Alert(Alert::Campaign { shape, sources }));
        }
    }

    /// A campaign lasts on while its shape is seen, in whatever shard.
    pub(super) fn on_campaign_hit(&mut self, now: Time, shape: u64) {
        let lifetime = self.policy.admission.campaign.lifetime;
        let until = self.bans.of_shape(now, shape).map_or(now, |ban| ban.until);
        if until.since(now) < lifetime - lifetime / 16 {
            self.prolong(now, shape);
            self.learn_out(Learned::Campaign { shape });
        }
    }

    /// A campaign, if it is one here, lasts from now on.
    pub(super) fn prolong(&mut self, now: Time, shape: u64) {
        if self.bans.of_shape(now, shape).is_some() {
            let cause = self.campaign_cause(self.policy.admission.campaign.sources);
            drop(self.bans.ban(now, &self.trust, BanKey::Campaign(shape), &cause));
        }
    }

    fn campaign_cause(&self, sources: u32) -> Cause<'static> {
        Cause {
            why: "campaign",
            reason: Reason::Campaign,
            proof: None,
            score: sources as f32,
            narrowed: false,
            slow: false,
            policy_version: self.policy.version,
        }
    }

    /// Somebody succeeded under a shape.
    pub(super) fn on_good_shape(&mut self, now: Time, shape: u64, source: u64) {
        if shape != 0 && self.shapes.succeeded(now, shape) {
            self.bans.lift_key(now, &BanKey::Campaign(shape), false);
            self.learn_out(Learned::Shape { shape, source, success: true });
            self.on_lifts();
        }
    }

    /// Bans, says so, and gives back until when; in `observe` it is only said, once in a while.
    fn ban(&mut self, now: Time, key: BanKey, cause: &Cause<'_>, chain: u64) -> Option<Time> {
        if self.policy.admission.mode != Mode::Enforce {
            self.would_ban(now, key, cause, chain);
            return None;
        }
        let mut ban = self.bans.ban(now, &self.trust, key, cause)?;
        ban.evidence = self.evidence_of(&key, chain);
        let until = ban.until;
        if self.tells(ban.id, &key) {
            self.say(Effect::Banned(Box::new(ban)));
        }
        Some(until)
    }

    /// The chain of the source; of a pair only its last AOR's refusals.
    fn evidence_of(&self, key: &BanKey, chain: u64) -> Vec<Record> {
        let mut records = self.chains.of(chain);
        if let (BanKey::AorFlow { .. } | BanKey::AorSource { .. }, Some(last)) =
            (key, records.last())
        {
            let aor = last.aor.clone();
            records.retain(|record| record.outcome == Outcome::Refused && record.aor == aor);
        }
        records
    }

    fn would_ban(&mut self, now: Time, key: BanKey, cause: &Cause<'_>, chain: u64) {
        let first = match key {
            BanKey::AorFlow { .. } | BanKey::AorSource { .. } => {
                self.policy.admission.bans.pair_first
            }
            BanKey::Campaign(_) => self.policy.admission.campaign.lifetime,
            _ => self.policy.admission.bans.first,
        };
        let hash = chain ^ u64::from(key.kind().as_bytes()[0]) << 56;
        let trusted = match key {
            BanKey::Source(network) | BanKey::Network(network) => {
                self.trust.covers(now, network).is_some()
            }
            _ => false,
        };
        let told = self.shard.0 == 0 || !key.is_of_all();
        if !told || trusted || !self.rates.allows(now, slow::OBSERVED, hash, Rate::new(1, first)) {
            return;
        }
        let ban = Ban {
            id: BanId(0),
            key,
            why: cause.why.into(),
            reason: cause.reason,
            proof: cause.proof,
            since: now,
            until: now + first,
            narrowed: cause.narrowed,
            policy_version: cause.policy_version,
            score: cause.score,
            origin: Origin::Local,
            evidence: self.evidence_of(&key, chain),
        };
        self.say(Effect::Alert(Alert::WouldBan(Box::new(ban))));
    }

    /// Bans that ended: their evidence is halved twice, so that the next offence counts again.
    pub(super) fn on_lifts(&mut self) {
        while let Some(lift) = self.bans.poll_lift() {
            self.walk.wanted(self.clock);
            match lift.key {
                _ if lift.replaced => {}
                BanKey::Source(network) => {
                    let key = self.sources.key_of(network.address());
                    if let Some(source) = self.sources.find_mut(key) {
                        source.forgive(LEFT);
                    }
                    self.sources.set_banned(key, false);
                    self.chains.forgive(key, LEFT);
                }
                BanKey::AorSource { aor, source } => {
                    let source = self.sources.key_of(source.address());
                    self.pairs.forgive(self.pairs.at_source(aor, source), LEFT);
                }
                BanKey::AorFlow { aor, flow } => {
                    let source = self.sources.key_of(flow.remote.ip());
                    self.pairs.forgive(self.pairs.over_flow(aor, source, &flow), LEFT);
                }
                BanKey::Network(network) => self.networks.forgive(network),
                BanKey::Campaign(_) => {}
            }
            if self.tells(lift.id, &lift.key) {
                self.say(Effect::Lifted(lift));
            }
        }
    }

    /// A signature met somebody authenticated: from the first time on it only counts.
    pub(super) fn on_authenticated_hit(&mut self, signature: u16) {
        self.count_signature(signature, true);
        if let Some(demoted) = self.demoted.get_mut(usize::from(signature))
            && !*demoted
        {
            *demoted = true;
            self.say(Effect::Alert(Alert::Demoted { signature }));
        }
    }

    /// Whether the mode is to act.
    pub(super) fn observed(&self, refusal: Refusal) -> Option<Refusal> {
        (self.policy.admission.mode == Mode::Observe).then_some(refusal)
    }
}
