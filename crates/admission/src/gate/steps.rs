//! A request's way through the gate, step by step (`docs/admission.md`).

use super::Gate;
use super::asked::Asked;
use super::evidence::slow;
use crate::request::REGISTER;
use crate::rules::Facts;
use crate::storm::PACE;
use crate::{Credentials, Refusal, Ticket};
use policy::{
    Ceiling, ChallengeMode, LimitAnswer, LimitKey, Mode, Network, Reason, Then, Time, Who,
};

/// Why a request does not go on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stop {
    pub(super) refusal: Refusal,
    pub(super) reason: Reason,
}

/// What is done where the edge cannot challenge.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Else {
    Pass,
    Drop,
}

/// What a try costs on a key that is banned or narrowed below its source.
const TRY_WEIGHT: f32 = 0.02;

impl Gate {
    /// The steps in order, the cheapest refusal first.
    pub(super) fn decide(&mut self, now: Time, asked: &mut Asked<'_, '_>) -> Result<(), Stop> {
        self.weigh_listed(now, asked);
        self.check_method_and_looks(asked)?;
        self.check_tokens(now, asked)?;
        self.check_pair(now, asked)?;
        self.check_rates(now, asked)?;
        self.check_challenge(now, asked)?;
        self.check_slow(now, asked)?;
        self.check_guard(now, asked)?;
        self.check_tries(now, asked)
    }

    /// What the message alone tells. Whom a rule would answer hears nothing when his looks are those of
    /// who is dropped.
    pub(super) fn check_method_and_looks(&mut self, asked: &mut Asked<'_, '_>) -> Result<(), Stop> {
        let ruled = self.check_rules(asked);
        match ruled {
            Err(Stop { refusal: Refusal::Drop, .. }) => ruled,
            _ => self.check_signatures(asked).and(ruled),
        }
    }

    /// Method policy, user parts, numbers: rules without a rate.
    pub(super) fn check_rules(&mut self, asked: &mut Asked<'_, '_>) -> Result<(), Stop> {
        let facts = asked.facts();
        for at in 0.. {
            let concern = self.concerns.of(facts.method, facts.who);
            let Some(concerned) = concern.plain.get(at).copied() else { break };
            let index = usize::from(concerned.rule);
            let rule = &self.policy.admission.rules[index];
            if !concerned.holds(&rule.when, &facts) {
                continue;
            }
            let (then, mode) = (rule.then, rule.mode);
            self.count_rule(index);
            let stop = match then {
                Then::Drop => Stop { refusal: Refusal::Drop, reason: Reason::Rule },
                Then::Reject(status) => {
                    Stop { refusal: Refusal::Reject(status), reason: Reason::Rule }
                }
                _ if mode == Mode::Observe => continue,
                Then::Accept => {
                    asked.rules_end = index;
                    return Ok(());
                }
                Then::Score => {
                    asked.raise(2, index as u16);
                    continue;
                }
                Then::Fast => {
                    asked.raise(3, index as u16);
                    continue;
                }
                Then::Challenge => {
                    asked.challenge = asked.challenge.or(Some((Reason::Rule, index as u16)));
                    continue;
                }
                Then::Note | Then::Limit { .. } | Then::Weigh(_) => continue,
            };
            asked.stop(stop, index, mode)?;
        }
        Ok(())
    }

    /// What it looks like.
    pub(super) fn check_signatures(&mut self, asked: &mut Asked<'_, '_>) -> Result<(), Stop> {
        let hits = std::mem::take(&mut asked.hits);
        let mut heaviest = Ceiling::Note;
        for hit in &hits {
            let list = self.policy.admission.signatures.list();
            let Some(signature) = list.get(usize::from(*hit)) else { continue };
            let (mode, most) = (signature.mode, signature.ceiling);
            if mode == Mode::Off {
                continue;
            }
            self.count_signature(*hit, false);
            let acts = mode == Mode::Enforce && !self.is_demoted(*hit);
            let ceiling = if acts { most } else { Ceiling::Note };
            if asked.ticket.signature == u16::MAX || ceiling > heaviest {
                (heaviest, asked.ticket.signature) = (ceiling, *hit);
            }
            if mode == Mode::Observe && most == Ceiling::Drop {
                asked.would = asked.would.or(Some(Refusal::Drop));
            }
        }
        match heaviest {
            // when that succeeds it speaks against the signature
            _ if asked.ticket.at_home => {}
            Ceiling::Note => {}
            Ceiling::Score => asked.raise(2, u16::MAX),
            Ceiling::Fast => asked.raise(3, u16::MAX),
            Ceiling::Drop => {
                return Err(Stop { refusal: Refusal::Drop, reason: Reason::Signature });
            }
        }
        Ok(())
    }

    /// What never existed, and our own numbers.
    fn check_tokens(&mut self, now: Time, asked: &mut Asked<'_, '_>) -> Result<(), Stop> {
        asked.ticket.candidate = self.is_candidate(asked);
        asked.ticket.honeytoken = self.asks_for_honeytoken(asked);
        if !asked.ticket.honeytoken || asked.ticket.proof.is_none() {
            return Ok(());
        }
        self.on_honeytoken_request(now, asked);
        Err(Stop { refusal: asked.refusal(), reason: Reason::Honeytoken })
    }

    /// Pairs that are banned.
    fn check_pair(&mut self, now: Time, asked: &mut Asked<'_, '_>) -> Result<(), Stop> {
        let flow = asked.request.flow;
        if let Some(ban) = self.bans.of_pair(now, asked.ticket.account, flow) {
            asked.ban = Some(ban.id);
            self.on_banned_try(now, asked);
            return Err(Stop { refusal: asked.refusal(), reason: Reason::PairBanned });
        }
        Ok(())
    }

    fn on_banned_try(&mut self, now: Time, asked: &Asked<'_, '_>) {
        if asked.ticket.proof.is_some() {
            self.add_try(now, asked, TRY_WEIGHT);
        }
    }

    /// Rules with a rate.
    pub(super) fn check_rates(&mut self, now: Time, asked: &mut Asked<'_, '_>) -> Result<(), Stop> {
        if asked.ticket.method == REGISTER && asked.ticket.at_home {
            self.on_known_registration(now);
            // who borrows a home's name and address has no more than that home's pace
            if self.storm.is_on(now) && self.rates.allows(now, slow::STORM, asked.pair, PACE) {
                return Ok(());
            }
        }
        let facts = asked.facts();
        for at in 0.. {
            let concern = self.concerns.of(facts.method, facts.who);
            let Some(concerned) = concern.limits.get(at).copied() else { break };
            let index = usize::from(concerned.rule);
            let rule = &self.policy.admission.rules[index];
            let Then::Limit { per, rate, answer } = rule.then else { continue };
            if index >= asked.rules_end || !concerned.holds(&rule.when, &facts) {
                continue;
            }
            let mode = rule.mode;
            let key = self.limit_key(asked, per);
            if self.rates.allows(now, index as u16, key, rate) {
                continue;
            }
            self.count_rule(index);
            let refusal = match answer {
                LimitAnswer::Drop => Refusal::Drop,
                LimitAnswer::Retry => Refusal::Reject(503),
                LimitAnswer::Pace => asked.refusal(),
                LimitAnswer::Challenge if self.can_challenge(asked) => Refusal::Challenge,
                LimitAnswer::Challenge => asked.refusal(),
            };
            asked.stop(Stop { refusal, reason: Reason::Rate }, index, mode)?;
        }
        Ok(())
    }

    /// Whose bucket a rule with a rate asks for. Apart, so that nothing of what one rule asks is worked out
    /// for another.
    #[inline(never)]
    fn limit_key(&self, asked: &Asked<'_, '_>, per: LimitKey) -> u64 {
        match per {
            LimitKey::All => crate::rates::ALL,
            LimitKey::Network => {
                let network = Network::around(asked.ip);
                self.entries.hash(&[&crate::key::address_bytes(network.address())])
            }
            // whoever borrows an address spends nothing of what proves itself
            LimitKey::Source => asked.source ^ u64::from(asked.ticket.proof.is_some()),
            LimitKey::Flow => self.pairs.over_flow(0, asked.source, asked.request.flow),
            LimitKey::Aor => asked.ticket.account,
        }
    }

    /// Whoever must show first that he can answer.
    fn check_challenge(&mut self, now: Time, asked: &mut Asked<'_, '_>) -> Result<(), Stop> {
        let (stranger, counts) = (asked.ticket.who <= Who::Proven, !asked.ticket.at_home);
        match () {
            () if asked.answers => return Ok(()),
            // he has answered; but what he opens by it counts
            () if asked.is_echo() && counts => return self.check_open(now, asked),
            () if asked.is_echo() => return Ok(()),
            () => {}
        }
        if let Some((reason, rule)) = asked.challenge {
            asked.rule = rule;
            return self.challenge(asked, reason, Else::Pass);
        }
        let rules = &self.policy.admission;
        let ticket = &asked.ticket;
        if stranger && let Some(ban) = self.bans.of_shape(now, ticket.shape) {
            let shape = ticket.shape;
            asked.ban = Some(ban.id);
            self.on_campaign_hit(now, shape);
            return self.challenge(asked, Reason::Campaign, Else::Drop);
        }
        let own_proof = ticket.proof.is_some();
        let suspected = !own_proof && (asked.passage.suspect || self.is_doubted(now, asked));
        let always = rules.edge_challenge.mode == ChallengeMode::Always;
        let attacked = ticket.who == Who::Unproven && (always || self.under_attack);
        if suspected || attacked {
            self.challenge(asked, Reason::Unproven, Else::Pass)?;
        }
        // where nobody can be challenged, nobody has more open challenges for all that
        if counts { self.check_open(now, asked) } else { Ok(()) }
    }

    /// Pairs that are slowed, sources and networks that are narrowed. Behind the challenge, so that
    /// one login is one try: whose challenge took it has it, and whoever fetched his before there was
    /// anything to take takes it now.
    fn check_slow(&mut self, now: Time, asked: &mut Asked<'_, '_>) -> Result<(), Stop> {
        let rules = &self.policy.admission;
        if asked.slowed {
            return Ok(());
        }
        if asked.ticket.at_home {
            let refusals = self
                .pairs
                .find(asked.pair)
                .map_or(0.0, |pair| pair.refusals(now, rules.half_life.pair));
            let slow = refusals >= rules.levels.pair;
            let rate = rules.narrow.home_aor;
            if slow && !self.rates.allows(now, slow::HOME, asked.pair, rate) {
                self.on_banned_try(now, asked);
                return Err(Stop { refusal: asked.refusal(), reason: Reason::PairBanned });
            }
            asked.ticket.slowed = slow;
            return Ok(());
        }
        if self.bans.of_source(now, asked.ip).is_some_and(|ban| ban.narrowed) {
            let rate = rules.narrow.strange_aor;
            if !self.rates.allows(now, slow::NARROWED, asked.source, rate) {
                self.on_banned_try(now, asked);
                return Err(Stop { refusal: asked.refusal(), reason: Reason::Narrowed });
            }
            asked.ticket.slowed = true;
        }
        Ok(())
    }

    /// AORs that strangers guess at.
    fn check_guard(&mut self, now: Time, asked: &mut Asked<'_, '_>) -> Result<(), Stop> {
        let rules = &self.policy.admission;
        if asked.ticket.at_home || asked.counted {
            return Ok(());
        }
        let account = asked.ticket.account;
        let (refusals, _) = self.aors.refusals(now, account, rules.half_life.short);
        let tries = self.tries.under_way(now, account);
        if refusals + (tries as f32) < rules.guard.refusals {
            return Ok(());
        }
        // strangers come to all shards, each of which counts by itself
        let rate = rules.guard.rate.share(self.shards);
        if self.rates.allows(now, slow::GUARD, account, rate) {
            asked.ticket.guarded = true;
            return Ok(());
        }
        Err(Stop { refusal: asked.refusal(), reason: Reason::Guarded })
    }

    /// Guesses that are made all at once: those that the PBX has not answered count as refused.
    fn check_tries(&mut self, now: Time, asked: &Asked<'_, '_>) -> Result<(), Stop> {
        if !asked.ticket.credentials {
            return Ok(());
        }
        let rules = &self.policy.admission;
        let busy = Stop { refusal: asked.refusal(), reason: Reason::TriesUnderWay };
        if self.tries.under_way(now, tried_over_all(asked)) >= rules.narrow.tries {
            return Err(busy);
        }
        let pair = self.tried_pair(asked);
        let refusals = self.pairs.find(pair);
        let refusals = refusals.map_or(0.0, |pair| pair.refusals(now, rules.half_life.pair));
        // one may always be under way: what is refused already is for the bans and rates to judge;
        // the refusal that nobody proved may be a forger's, and so costs a try and never a ban
        let doubts = u32::from(!asked.ticket.at_home && asked.passage.suspect);
        match self.tries.under_way(now, pair) + doubts {
            0 => Ok(()),
            tries if refusals + (tries as f32) < rules.levels.pair => Ok(()),
            _ => Err(busy),
        }
    }

    /// What a refusal would count on first: the account over its flow where it is at home, else at
    /// its source.
    fn tried_pair(&self, asked: &Asked<'_, '_>) -> u64 {
        match asked.ticket.at_home {
            true => *asked.tried.get_or_init(|| {
                self.pairs.over_flow(asked.ticket.account, asked.source, asked.request.flow)
            }),
            false => asked.pair,
        }
    }

    /// Credentials go to the PBX.
    pub(super) fn begin_try(&mut self, now: Time, asked: &mut Asked<'_, '_>) {
        let (pair, over_all) = (self.tried_pair(asked), tried_over_all(asked));
        (asked.ticket.tried, asked.ticket.tried_over_all) = (pair, over_all);
        self.tries.begin(now, pair);
        self.tries.begin(now, over_all);
        if !asked.ticket.at_home {
            self.tries.begin(now, asked.ticket.account);
        }
    }

    /// The PBX has said what it makes of them, or nothing.
    pub(super) fn end_try(&mut self, ticket: &mut Ticket) {
        let tried = std::mem::take(&mut ticket.tried);
        if tried == 0 {
            return;
        }
        self.tries.end(tried);
        self.tries.end(ticket.tried_over_all);
        if !ticket.at_home {
            self.tries.end(ticket.account);
        }
    }

    /// Whether strangers were refused so often on this AOR that the next must be proven: unproven
    /// ones, who may be forged; or proven ones, so that no forger takes the tries that are left.
    fn is_doubted(&self, now: Time, asked: &Asked<'_, '_>) -> bool {
        if asked.ticket.at_home {
            return false;
        }
        let rules = &self.policy.admission;
        let (refusals, doubts) = self.aors.refusals(now, asked.ticket.aor, rules.half_life.short);
        refusals.max(doubts) >= rules.guard.refusals
    }

    pub(super) fn challenge(
        &self,
        asked: &Asked<'_, '_>,
        reason: Reason,
        otherwise: Else,
    ) -> Result<(), Stop> {
        match otherwise {
            _ if self.can_challenge(asked) || self.may_learn(asked) => {
                Err(Stop { refusal: Refusal::Challenge, reason })
            }
            Else::Pass => Ok(()),
            Else::Drop => Err(Stop { refusal: asked.refusal(), reason }),
        }
    }

    /// What an ACK of the edge's own challenge still tells of its INVITE's looks.
    pub(super) fn note_looks(&mut self, asked: &mut Asked<'_, '_>) {
        // what they would do to a request is nothing to an ACK
        let _ = self.check_rules(asked);
        asked.hits = self.policy.admission.signatures.matches(asked.request.message);
        let _ = self.check_signatures(asked);
        asked.ticket.candidate = self.is_candidate(asked);
        asked.ticket.honeytoken = self.asks_for_honeytoken(asked);
    }
}

/// Where tries at different accounts, or at a home over different flows, are one address's.
fn tried_over_all(asked: &Asked<'_, '_>) -> u64 {
    if asked.ticket.at_home { asked.pair } else { asked.source }
}

impl<'r, 'a: 'r> Asked<'r, 'a> {
    /// How one is refused without a word of why.
    pub(super) fn refusal(&self) -> Refusal {
        let stream = self.request.flow.transport.is_reliable();
        if stream { Refusal::Reject(503) } else { Refusal::Drop }
    }

    /// Its outcome weighs so many times as much, by that rule.
    pub(super) fn raise(&mut self, factor: u8, by: u16) {
        if factor > self.ticket.factor {
            (self.ticket.factor, self.ticket.raised_by) = (factor, by);
        }
    }

    fn stop(&mut self, stop: Stop, rule: usize, mode: Mode) -> Result<(), Stop> {
        self.rule = rule as u16;
        if mode == Mode::Observe {
            self.would = self.would.or(Some(stop.refusal));
            return Ok(());
        }
        Err(stop)
    }

    fn facts(&self) -> Facts<'r, 'a> {
        Facts {
            message: Some(self.request.message),
            method: self.ticket.method,
            who: self.ticket.who,
            at_home: self.ticket.at_home,
            credentials: self.credentials == Credentials::Relayed,
            // one that a Route of ours proves is not judged
            dialog: self.ticket.tagged,
            outcome: None,
            repeated: false,
            dialled: self.dialled,
        }
    }
}
