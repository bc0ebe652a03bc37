//! The gate's surface; what it does is in the parts below.

mod again;
mod asked;
mod counts;
mod dialog;
mod evidence;
mod listed;
mod looks;
mod memory;
mod numbers;
mod open;
mod outcomes;
mod own;
mod peers;
mod shown;
mod steps;
mod tally;
#[cfg(test)]
mod tests;

use crate::aors::Aors;
use crate::bans::Bans;
use crate::chain::Chains;
use crate::challenge::PbxChallenges;
use crate::ledger::Ledger;
use crate::networks::Networks;
use crate::pairs::Pairs;
use crate::passing::Passing;
use crate::proof::Proofs;
use crate::rates::Rates;
use crate::rules::Concerns;
use crate::shapes::Shapes;
use crate::sources::Sources;
use crate::storm::Storm;
use crate::templates::Templates;
use crate::tries::Tries;
use crate::trust::Trust;
use crate::{
    Acknowledged, Alert, BranchKey, Credentials, Effect, Final, Judgement, Key, Learned, Memory,
    Pass, Proof, Refusal, RelayedNonces, Request, Ticket, Verdict,
};
pub use again::Known;
use asked::Asked;
pub use counts::{Counts, GateSnapshot, TableUse};
pub use listed::{FeedCount, FeedHit, ListedBy};
use memory::Walk;
use policy::{Feeds, Mode, Policy, Reason, Time, Who};
pub use shown::SourceView;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use steps::Stop;
use tally::Tally;
use wire::{Flow, ShardId};

/// Entries that one call of [`Gate::handle_timeout`] lets run out.
const PORTION: usize = 256;
/// Most news that wait; more are forgotten (who asks for them after each call loses none).
const EFFECTS_MAX: usize = 4_096;

/// One shard's gate.
#[derive(Debug)]
pub struct Gate {
    policy: Arc<Policy>,
    /// Which of its rules are for whom.
    concerns: Concerns,
    shard: ShardId,
    /// How many there are.
    shards: u8,
    /// Keys of ledger entries, and of AORs.
    entries: Key,
    names: Key,
    trust: Trust,
    feeds: Arc<Feeds>,
    nonces: RelayedNonces,
    proofs: Proofs,
    challenges: PbxChallenges,
    ledger: Ledger,
    sources: Sources,
    pairs: Pairs,
    aors: Aors,
    networks: Networks,
    shapes: Shapes,
    templates: Templates,
    bans: Bans,
    rates: Rates,
    chains: Chains,
    tries: Tries,
    passing: Passing,
    walk: Walk,
    tally: Tally,
    storm: Storm,
    /// The latest time that was told.
    clock: Time,
    under_attack: bool,
    /// See [`Gate::on_unheard`].
    unheard: usize,
    /// Whoever drives it fetches nonces: [`Gate::with_probes`].
    probes: bool,
    /// Signatures that met somebody authenticated.
    demoted: Vec<bool>,
    /// How often there were new rules, and how often rules or signatures got other numbers.
    reloads: u16,
    numbers: u16,
    effects: VecDeque<Effect>,
    counts: Counts,
}

impl Gate {
    /// The gate of a shard. `secret` is the key of proofs, the same in all shards and over
    /// restarts.
    #[must_use]
    pub fn new(policy: Arc<Policy>, shard: ShardId, secret: &[u8; 32]) -> Self {
        let rules = &policy.admission;
        let bounds = &rules.capacities;
        let mut gate = Gate {
            entries: Key::derive(secret, "ledger"),
            names: Key::derive(secret, "aors"),
            trust: Trust::new(&policy),
            feeds: Arc::default(),
            nonces: RelayedNonces::new(secret, policy.capacities.nonces, policy.nonce_memory),
            proofs: Proofs::new(secret),
            challenges: PbxChallenges::default(),
            ledger: Ledger::new(bounds.ledger, rules.patience),
            sources: Sources::new(secret, bounds.sources),
            pairs: Pairs::new(secret, bounds.pairs),
            aors: Aors::new(bounds.aors),
            networks: Networks::new(secret, bounds.networks),
            shapes: Shapes::new(secret, bounds.shapes),
            templates: Templates::new(),
            bans: Bans::new(secret, shard, rules),
            rates: Rates::new(bounds.rates),
            chains: Chains::new(bounds.chains),
            tries: Tries::new(bounds.tries),
            passing: Passing::new(bounds.passing),
            walk: Walk::default(),
            tally: Tally::default(),
            storm: Storm::default(),
            clock: Time::ZERO,
            under_attack: false,
            unheard: 0,
            probes: false,
            demoted: Vec::new(),
            reloads: 0,
            numbers: 0,
            effects: VecDeque::new(),
            counts: Counts::default(),
            concerns: Concerns::of_rules(&rules.rules),
            shard,
            shards: 1,
            policy,
        };
        gate.reset_counts();
        gate
    }

    /// It is one of so many shards: what all strangers together have is shared among them.
    #[must_use]
    pub fn among(mut self, shards: u8) -> Self {
        self.shards = shards;
        self
    }

    /// New rules. What is known stays; a ban of somebody who is trusted now is lifted, demoted
    /// signatures act again.
    pub fn configure(&mut self, now: Time, policy: Arc<Policy>) {
        let bounds = policy.admission.capacities;
        self.nonces.configure(policy.capacities.nonces, policy.nonce_memory);
        self.trust.configure(&policy);
        while let Some(gone) = self.ledger.pop_over(bounds.ledger) {
            self.on_pushed_out(&gone);
        }
        self.ledger.configure(bounds.ledger, policy.admission.patience);
        self.sources.configure(bounds.sources);
        self.pairs.configure(bounds.pairs);
        self.aors.configure(bounds.aors);
        self.networks.configure(bounds.networks);
        self.shapes.configure(bounds.shapes);
        self.templates.configure();
        self.bans.configure(now, &policy.admission, &self.trust);
        self.rates.configure(bounds.rates);
        self.chains.configure(bounds.chains);
        self.tries.configure(bounds.tries);
        self.passing.configure(bounds.passing);
        self.concerns = Concerns::of_rules(&policy.admission.rules);
        let old = std::mem::replace(&mut self.policy, policy);
        if old.admission.rules != self.policy.admission.rules
            || old.admission.signatures.list() != self.policy.admission.signatures.list()
        {
            self.tally.keep(&old, &self.counts);
            self.reset_counts();
        }
        self.renumber(&old.admission);
        self.demoted.iter_mut().for_each(|demoted| *demoted = false);
        self.reloads = self.reloads.wrapping_add(1);
        self.on_lifts();
        self.watch_attack();
    }

    /// Source stage, before anything is parsed: why all bytes from this address are dropped, if
    /// they are. Also asked before a connection is taken.
    #[must_use]
    pub fn on_source(&mut self, now: Time, source: IpAddr) -> Option<Reason> {
        self.clock = now;
        let Some(reason) = self.bans.drops(source) else {
            return self.is_listed(now, source);
        };
        let acts = self.policy.admission.mode == Mode::Enforce;
        (acts && self.trust.of(now, source).is_none()).then_some(reason)
    }

    /// [`Gate::on_source`] will be asked for these addresses next, in this order: what it will look
    /// at is fetched from memory for all of them at once. It answers the same without.
    pub fn expect(&mut self, sources: &[IpAddr]) {
        self.bans.expect(sources);
    }

    /// Request stage.
    pub fn on_request(&mut self, now: Time, request: &Request<'_, '_>) -> Judgement {
        self.clock = now;
        let classified = self.classify(now, request);
        let ip = request.flow.remote.ip();
        if let (Some(proof @ (Proof::Opaque | Proof::Nonce)), false) =
            (classified.proof, request.flow.transport.is_reliable())
        {
            let source = self.sources.key_of(ip);
            self.prove_source(now, source, ip, proof);
        }
        let mut asked = self.ask(now, request, classified);
        if self.excuses(now, &mut asked) {
            return asked.judged(Ok(()), None);
        }
        self.look(now, &mut asked);
        let decided = self.decide(now, &mut asked);
        let observed = decided.err().and_then(|stop| self.observed(stop.refusal));
        if decided.is_ok() || observed.is_some() {
            self.begin_passage(now, &mut asked);
            self.on_credentials(now, &mut asked, classified.expired);
        } else if decided.is_err_and(|stop| stop.refusal == Refusal::Challenge) {
            self.on_own_challenge(now, &asked);
        }
        asked.judged(decided, observed)
    }

    /// Outcome stage: a final response to a request from outside goes out, once.
    pub fn on_final(&mut self, now: Time, answer: &Final<'_, '_>) {
        match answer.message.status() {
            401 | 407 => self.on_relayed(now, answer),
            200..=299 if answer.ticket.credentials => self.on_next_nonce(now, answer),
            _ => {}
        }
        let mut ticket = *answer.ticket;
        self.on_ended(&mut ticket);
        if answer.ticket.judged {
            let ticket = self.of_today(answer.ticket);
            self.on_answer(now, &Final { ticket: &ticket, ..*answer });
        }
    }

    /// A provisional response from inside: the PBX has taken the request, and the credentials. A 100
    /// says so of a home's only, whose PBX sends it behind the digest; another's may stand before it.
    pub fn on_provisional(&mut self, status: u16, ticket: &mut Ticket) {
        self.end_passage(ticket);
        if status > 100 || ticket.at_home {
            self.end_try(ticket);
        }
    }

    /// The request goes to another PBX, because the one that it was for does not serve. What
    /// credentials it had are taken out: they were for that one.
    pub fn on_passed_over(&mut self, ticket: &mut Ticket, pbx: u32) {
        self.end_try(ticket);
        ticket.offered = 0;
        (ticket.credentials, ticket.account) = (false, ticket.aor);
        ticket.pbx = pbx;
    }

    /// An ACK from outside. Whether its sender received what it acknowledges.
    pub fn on_ack(
        &mut self,
        now: Time,
        branches: &BranchKey,
        ack: &Acknowledged<'_, '_>,
    ) -> Option<Proof> {
        let judged = ack.ticket.is_none_or(|ticket| ticket.judged);
        let trusted = self.trust.of(now, ack.flow.remote.ip()).is_some();
        if !judged || trusted || self.policy.admission.mode == Mode::Off {
            return None;
        }
        self.on_acknowledged(now, branches, ack)
    }

    /// A CANCEL for that request, or it ended in another way that says nothing of its sender.
    pub fn on_superseded(&mut self, ticket: &mut Ticket) {
        self.on_ended(ticket);
        if ticket.judged {
            self.supersede(ticket.entry);
        }
    }

    /// It is with the PBX no more, and no challenge opened or ended by it: another that is the same
    /// goes on in its place, or the answer to it was never paid for.
    pub fn on_ended(&mut self, ticket: &mut Ticket) {
        self.end_passage(ticket);
        self.end_try(ticket);
    }

    /// So many requests of unproven sources are with a PBX that has said nothing to them: junk, most
    /// likely, which opens no challenge and is no less of a flood.
    pub fn on_unheard(&mut self, requests: usize) {
        if std::mem::replace(&mut self.unheard, requests) != requests {
            self.watch_attack();
        }
    }

    /// What [`Gate::on_unheard`] was told last.
    #[must_use]
    pub fn unheard(&self) -> usize {
        self.unheard
    }

    /// A stream connection is complete, or gone.
    pub fn on_connection(&mut self, now: Time, flow: &Flow, open: bool) {
        let ip = flow.remote.ip();
        if open && self.trust.of(now, ip).is_none() {
            let source = self.sources.key_of(ip);
            self.prove_source(now, source, ip, Proof::Handshake);
        }
    }

    /// The name under which the policy's lists have this address, by its network or by what one of
    /// its names stands for.
    #[must_use]
    pub fn listed(&self, now: Time, ip: IpAddr) -> Option<&str> {
        self.trust.listed(now, ip)
    }

    /// The name of the trunk that sends from this address.
    #[must_use]
    pub fn trunk(&self, now: Time, ip: IpAddr) -> Option<&str> {
        self.trust.trunk(now, ip)
    }

    /// Whether the source's return path is proven at this moment (or it is trusted).
    #[must_use]
    pub fn is_proven(&self, now: Time, flow: &Flow) -> bool {
        flow.transport.is_reliable()
            || self.trust.of(now, flow.remote.ip()).is_some()
            || self.proof(now, flow).is_some()
            || self.who(now, flow.remote.ip()) == Who::Known
    }

    /// The latest proof of the source's return path that counts at this moment.
    #[must_use]
    pub fn proof(&self, now: Time, flow: &Flow) -> Option<Proof> {
        if flow.transport.is_reliable() {
            return Some(Proof::Handshake);
        }
        let source = self.sources.find(self.sources.key_of(flow.remote.ip()))?;
        source.proof(now, self.policy.admission.proof.lifetime)
    }

    /// What another shard learned, or an operator orders.
    pub fn learned(&mut self, now: Time, learned: &Learned) {
        self.clock = now;
        self.on_learned(now, learned);
    }

    /// The edge ends soon: all that is to be remembered is told at once.
    pub fn drain(&mut self, now: Time) {
        self.clock = now;
        self.hurry();
    }

    /// Takes back what an earlier life of this gate, or of one of its shards, wanted to be
    /// remembered by [`Effect::Remember`]. What is too old by the policy of today is left.
    pub fn recall(&mut self, now: Time, memory: &Memory) {
        self.clock = now;
        self.on_recalled(now, memory);
    }

    /// Lets patience and bans run out, in portions.
    pub fn handle_timeout(&mut self, now: Time) {
        self.clock = now;
        for _ in 0..PORTION {
            let Some(open) = self.ledger.pop_due(now) else { break };
            self.on_silence(now, &open);
        }
        self.bans.handle_timeout(now, PORTION);
        let lifetime = self.policy.admission.proof.lifetime;
        self.sources.drop_old_suspects(now, lifetime, PORTION);
        self.walk(now);
        self.tell_hits(now);
        self.on_lifts();
        self.watch_attack();
    }

    /// When [`Gate::handle_timeout`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        let memory = [self.walk.due(), self.tally.due()].into_iter().flatten().min();
        let dues = [self.ledger.next_due(), self.bans.poll_timeout(), memory];
        dues.into_iter().flatten().min()
    }

    /// The next piece of news.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        let effect = self.effects.pop_front();
        let effect = effect.or_else(|| self.poll_changed_ban().map(Effect::Remember));
        effect.or_else(|| self.walk_on())
    }

    /// What is known of a source, the trust oracle not asked.
    #[must_use]
    pub fn who(&self, now: Time, ip: IpAddr) -> Who {
        let rules = &self.policy.admission;
        let source = self.sources.find(self.sources.key_of(ip));
        source.map_or(Who::Unproven, |it| it.who(now, &rules.trust, rules.proof.lifetime))
    }

    /// Begins and ends the state of attack.
    fn watch_attack(&mut self) {
        let rules = &self.policy.admission.edge_challenge;
        let (open, most) = (self.ledger.unproven() + self.unheard, rules.open as usize);
        let began = match self.under_attack {
            false if open > most => true,
            true if open < most.div_ceil(2) => false,
            _ => return,
        };
        self.under_attack = began;
        self.say(Effect::Alert(Alert::UnderAttack { began }));
    }

    fn on_known_registration(&mut self, now: Time) {
        if self.storm.registered(now, self.policy.admission.storm) {
            self.say(Effect::Alert(Alert::Storm));
        }
    }

    fn say(&mut self, effect: Effect) {
        if self.effects.len() < EFFECTS_MAX {
            self.effects.push_back(effect);
        }
    }

    fn learn_out(&mut self, learned: Learned) {
        self.say(Effect::Learned(learned));
    }

    fn is_demoted(&self, signature: u16) -> bool {
        self.demoted.get(usize::from(signature)).copied().unwrap_or(false)
    }
}

impl Asked<'_, '_> {
    /// The verdict with what explains it.
    fn judged(&self, decided: Result<(), Stop>, observed: Option<Refusal>) -> Judgement {
        let (refusal, reason) = match decided {
            Ok(()) if self.credentials == Credentials::Foreign => (None, Reason::ForeignNonce),
            Ok(()) => (None, Reason::Clean),
            Err(stop) if observed.is_some() => (None, stop.reason),
            Err(stop) => (Some(stop.refusal), stop.reason),
        };
        let by_rule = matches!(reason, Reason::Rule | Reason::Rate) || self.would.is_some();
        Judgement {
            verdict: match refusal {
                Some(refusal) => Verdict::Refuse(refusal),
                None => {
                    Verdict::Accept(Pass { credentials: self.credentials, ticket: self.ticket })
                }
            },
            reason,
            rule: if by_rule { self.rule } else { u16::MAX },
            signature: self.ticket.signature,
            who: self.ticket.who,
            proof: self.proof,
            shape: self.ticket.shape,
            judged: self.ticket.judged,
            at_home: self.ticket.at_home,
            credentials: self.ticket.credentials,
            ban: self.ban,
            score: self.score.short,
            would: observed.or(self.would),
        }
    }
}
