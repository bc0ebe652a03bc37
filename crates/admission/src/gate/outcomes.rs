//! How challenges end.

use super::Gate;
use super::asked::Asked;
use super::evidence::Evidence;
use crate::branch::{Binds, NO_SLOT};
use crate::ledger::{Flags, INVITE, Open};
use crate::request::REGISTER;
use crate::sources::Source;
use crate::store::Rank;
use crate::{
    Acknowledged, Alert, Branch, BranchKey, Effect, Final, Learned, Proof, Request, Ticket,
};
use policy::{Ceiling, Network, Outcome, Time, Who};
use std::net::IpAddr;
use wire::{HeaderName, Message};

impl Gate {
    /// A final response to a judged request.
    pub(super) fn on_answer(&mut self, now: Time, answer: &Final<'_, '_>) {
        let (ticket, status) = (answer.ticket, answer.message.status());
        let tried = ticket.credentials;
        let fresh_invite =
            !tried && ticket.method == INVITE && self.ledger.find(ticket.entry).is_none();
        match status {
            401 | 407 if self.was_offered_amiss(ticket, answer.message) => {
                self.count(Outcome::Stale);
                self.on_challenged(now, answer);
            }
            401 | 407 if tried && is_stale(answer.message) => {
                self.count(Outcome::Stale);
                self.counts.issued += 1;
                self.ledger.restart(now, ticket.entry);
            }
            401 | 407 if tried => self.on_refused(now, answer, true),
            401 | 407 => self.on_challenged(now, answer),
            403 if tried => self.on_refused(now, answer, false),
            _ if tried && authenticates(status) => self.on_authenticated(now, answer),
            403 | 404 if fresh_invite => self.on_not_found(now, answer),
            200..=299 if fresh_invite => self.await_ack(now, answer, Flags::ACCEPTED),
            100..=199 => {}
            // an error that a request without an answer to the challenge fetches ends no challenge
            400..=499 if !tried && ticket.proof != Some(Proof::Nonce) && status != 408 => {}
            _ => self.supersede(ticket.entry),
        }
    }

    /// A challenge to a request without credentials that pass.
    fn on_challenged(&mut self, now: Time, answer: &Final<'_, '_>) {
        self.counts.issued += 1;
        let ticket = answer.ticket;
        if let Some(proof) = ticket.proof {
            self.prove_entry(now, ticket.entry, proof);
        }
        let Some(open) = self.ledger.find_mut(ticket.entry) else {
            let source = self.sources.key_of(answer.flow.remote.ip());
            let open = Open::new(now, ticket, source);
            return self.open(open, answer.flow.remote.ip(), answer.aor(), answer.dialled());
        };
        let again = open.challenges < u8::MAX;
        open.flags.set(Flags::ANSWERED, false);
        open.flags.take(ticket);
        if again {
            open.challenges += 1;
            let opened = open.clone();
            self.count_open(&opened, 1);
        }
    }

    /// Credentials that pass were wrong.
    fn on_refused(&mut self, now: Time, answer: &Final<'_, '_>, challenged: bool) {
        let (ticket, ip) = (answer.ticket, answer.flow.remote.ip());
        let source = self.sources.key_of(ip);
        let proof = ticket.proof.or(self.close(ticket.entry).and_then(|open| open.proof));
        self.count(Outcome::Refused);
        match proof {
            Some(proof) => self.on_proven_refusal(now, answer, source, proof),
            None => {
                self.sources.suspect(now, source, ip);
                if !ticket.at_home {
                    let half_life = self.policy.admission.half_life.short;
                    self.aors.refused(now, ticket.account, false, half_life);
                }
            }
        }
        if challenged {
            self.counts.issued += 1;
            let mut open = Open::new(now, ticket, source);
            open.flags.set(Flags::FOLLOWS, true);
            open.proof = proof;
            self.open(open, ip, answer.aor(), answer.dialled());
        }
    }

    fn on_proven_refusal(&mut self, now: Time, answer: &Final<'_, '_>, source: u64, proof: Proof) {
        let ticket = answer.ticket;
        let rules = &self.policy.admission;
        let (window, short) = (rules.trust.window, rules.half_life.short);
        let pair = self.pairs.at_source(ticket.account, source);
        let repeated = self.pairs.find(pair).is_some_and(|pair| pair.was_refused(now, window));
        if !ticket.at_home {
            self.aors.refused(now, ticket.account, true, short);
            self.learn_out(Learned::Refused { aor: ticket.account });
        }
        let evidence = Evidence {
            repeated,
            ..Evidence::new(Outcome::Refused, source, answer.flow.remote.ip(), proof).of_ticket(
                ticket,
                answer.aor(),
                answer.dialled(),
            )
        };
        self.weigh(now, &evidence);
        self.on_refused_pair(now, answer, pair, &evidence);
        self.on_failed_shape(now, ticket.shape, source);
    }

    /// Credentials that pass were right.
    fn on_authenticated(&mut self, now: Time, answer: &Final<'_, '_>) {
        let (ticket, ip) = (answer.ticket, answer.flow.remote.ip());
        let source = self.sources.key_of(ip);
        let challenged = self.close(ticket.entry).is_some() || ticket.offered != 0;
        // without a challenge only a PBX that keeps nonces for long says so: a registration
        let registered = ticket.method == REGISTER && answer.message.status() < 300;
        if !challenged && !registered {
            return;
        }
        self.count(Outcome::Authenticated);
        self.know(now, source, ip);
        let pair = self.pairs.at_source(ticket.account, source);
        self.pairs.authenticated(now, pair);
        self.pairs.shown(pair, ticket.face);
        self.walk.wanted(now);
        // that somebody may register somewhere does not make what he asked for his (404)
        if ticket.account != ticket.aor && (registered || ticket.method != REGISTER) {
            let pair = self.pairs.at_source(!ticket.aor, source);
            self.pairs.authenticated(now, pair);
        }
        self.on_good_shape(now, ticket.shape, source);
        if ticket.signature != u16::MAX {
            let heavy = self.policy.admission.signatures.list();
            let heavy = heavy.get(usize::from(ticket.signature));
            if heavy.is_some_and(|signature| signature.ceiling >= Ceiling::Score) {
                self.on_authenticated_hit(ticket.signature);
            } else {
                self.count_signature(ticket.signature, true);
            }
        }
    }

    /// Somebody at this address is one of the PBX's own.
    pub(super) fn know(&mut self, now: Time, source: u64, ip: IpAddr) {
        let window = self.policy.admission.trust.window;
        self.sources.know(now, source, ip);
        let network = Network::around(ip);
        if self.networks.know(now, network, window) {
            self.learn_out(Learned::Known { network });
        }
    }

    fn on_not_found(&mut self, now: Time, answer: &Final<'_, '_>) {
        let ticket = answer.ticket;
        match ticket.proof {
            Some(proof) => {
                let ip = answer.flow.remote.ip();
                let source = self.sources.key_of(ip);
                self.count(Outcome::NotFound);
                let evidence = Evidence::new(Outcome::NotFound, source, ip, proof).of_ticket(
                    ticket,
                    answer.aor(),
                    answer.dialled(),
                );
                self.weigh(now, &evidence);
            }
            None => self.await_ack(now, answer, Flags::NOT_FOUND),
        }
    }

    /// What the answer says of its sender is worth something once the ACK proves him.
    fn await_ack(&mut self, now: Time, answer: &Final<'_, '_>, flag: Flags) {
        let ip = answer.flow.remote.ip();
        if answer.ticket.who == Who::Known {
            return;
        }
        let mut open = Open::new(now, answer.ticket, self.sources.key_of(ip));
        open.flags.set(flag, true);
        self.open(open, ip, answer.aor(), answer.dialled());
    }

    /// An ACK: whether its sender received what it acknowledges.
    pub(super) fn on_acknowledged(
        &mut self,
        now: Time,
        branches: &BranchKey,
        ack: &Acknowledged<'_, '_>,
    ) -> Option<Proof> {
        let (ip, message) = (ack.flow.remote.ip(), ack.message);
        let source = self.sources.key_of(ip);
        let stream = ack.flow.transport.is_reliable();
        let binds = Binds { call_id: message.call_id(), from_tag: message.from_tag(), source: ip };
        let echo =
            Branch::parse(message.to_tag()).filter(|branch| branches.is_proof(now, branch, &binds));
        let of_pbx = ack.ticket.is_some_and(|ticket| !ticket.tagged);
        if echo.is_none() && !of_pbx && !stream {
            return None;
        }
        let proof = if stream { Proof::Handshake } else { Proof::AckTag };
        if !stream {
            self.prove_source(now, source, ip, proof);
        }
        let entry =
            ack.ticket.map_or_else(|| self.entry_of(source, message, INVITE), |it| it.entry);
        let own = echo.is_some_and(|branch| branch.slot() == NO_SLOT);
        if own && self.ledger.find(entry).is_none() && !stream {
            self.open_acknowledged(now, ack, source, entry);
        } else {
            self.prove_entry(now, entry, proof);
            self.on_awaited_ack(now, entry, ip);
        }
        Some(proof)
    }

    /// The edge's own challenge was stateless; its ACK tells what there is to know.
    fn open_acknowledged(
        &mut self,
        now: Time,
        ack: &Acknowledged<'_, '_>,
        source: u64,
        entry: u64,
    ) {
        let request = Request { flow: ack.flow, message: ack.message, dialog: false, pbx: 0 };
        let classified = super::asked::Classified::bare(ack.flow);
        let mut asked = self.ask(now, &request, classified);
        asked.ticket.method = INVITE;
        asked.ticket.entry = entry;
        asked.ticket.tagged = false;
        self.note_looks(&mut asked);
        let mut open = Open::new(now, &asked.ticket, source);
        open.proof = Some(Proof::AckTag);
        self.open(open, asked.ip, asked.aor_text(), asked.dialled);
        self.on_proven_honeytoken(now, entry);
    }

    /// A 2xx or 404 whose ACK was awaited.
    fn on_awaited_ack(&mut self, now: Time, entry: u64, ip: IpAddr) {
        let Some(open) = self.ledger.find(entry) else { return };
        let (accepted, missed) =
            (open.flags.has(Flags::ACCEPTED), open.flags.has(Flags::NOT_FOUND));
        if !accepted && !missed {
            return;
        }
        let Some(open) = self.close(entry) else { return };
        if accepted {
            return self.know(now, open.source, ip);
        }
        self.count(Outcome::NotFound);
        let (aor, dialled) = self.ledger.texts(&open);
        if let Some(proof) = open.proof {
            let evidence = Evidence::new(Outcome::NotFound, open.source, ip, proof)
                .of_entry(&open, &aor, &dialled);
            self.weigh(now, &evidence);
        }
    }

    /// Patience is at its end.
    pub(super) fn on_silence(&mut self, now: Time, open: &Open) {
        self.count_open(open, -i32::from(open.challenges));
        let flags = open.flags;
        match open.proof {
            _ if flags.has(Flags::ACCEPTED) || flags.has(Flags::NOT_FOUND) => {}
            _ if flags.has(Flags::FOLLOWS) || flags.has(Flags::ANSWERED) => {
                self.count(Outcome::Superseded);
            }
            None => self.count(Outcome::Unreachable),
            Some(proof) => self.on_abandoned(now, open, proof),
        }
        self.sources.drop_idle(open.source);
    }

    fn on_abandoned(&mut self, now: Time, open: &Open, proof: Proof) {
        self.count(Outcome::Abandoned);
        let Some(source) = self.sources.find(open.source) else { return };
        let network = source.network();
        let (aor, dialled) = self.ledger.texts(open);
        // who registers the same account again and again is set up badly; whoever calls, calls
        // many numbers in one name
        let pair = self.pairs.at_source(open.account, open.source);
        let window = self.policy.admission.trust.window;
        let again = self.pairs.find(pair).is_some_and(|pair| pair.only_abandoned(now, window));
        let evidence = Evidence {
            repeated: again && !open.is_invite(),
            ..Evidence::new(Outcome::Abandoned, open.source, network.address(), proof)
                .of_entry(open, &aor, &dialled)
        };
        // what weighs nothing is not remembered: else whoever asks in an account's name first
        // would register in it more cheaply
        if self.weigh(now, &evidence) && !open.is_invite() {
            self.pairs.abandoned(now, pair);
        }
        if open.flags.has(Flags::CANDIDATE) {
            let alert = Alert::CarrierCandidate { source: network, dialled };
            self.say(Effect::Alert(alert));
        } else {
            self.on_failed_shape(now, open.shape, open.source);
        }
    }

    /// Credentials with a nonce that was not relayed to their sender.
    pub(super) fn on_foreign(&mut self, now: Time, asked: &Asked<'_, '_>) {
        let open = self.ledger.find(asked.ticket.entry);
        let proof = asked.ticket.proof.or(open.and_then(|open| open.proof));
        if let Some(proof) = proof {
            let evidence = Evidence::new(Outcome::Foreign, asked.source, asked.ip, proof)
                .of_ticket(&asked.ticket, asked.aor_text(), asked.dialled);
            self.weigh(now, &evidence);
        }
    }

    /// An entry ends in a way that says nothing of its source.
    pub(super) fn supersede(&mut self, entry: u64) {
        if let Some(open) = self.close(entry)
            && !open.flags.has(Flags::ACCEPTED)
            && !open.flags.has(Flags::NOT_FOUND)
        {
            self.count(Outcome::Superseded);
        }
    }

    /// Opens an entry; the least worthy goes when there are too many.
    pub(super) fn open(&mut self, open: Open, ip: IpAddr, aor: &[u8], dialled: &[u8]) {
        let rank = if open.proof.is_some() { Rank::Proven } else { Rank::Unproven };
        let _ = self.sources.enter(open.source, ip, rank);
        self.count_open(&open, 1);
        if let Some(gone) = self.ledger.open(open, aor, dialled) {
            self.on_pushed_out(&gone);
        }
        self.watch_attack();
    }

    /// An entry had to go before it ended.
    pub(super) fn on_pushed_out(&mut self, gone: &Open) {
        self.count(Outcome::Unreachable);
        self.count_open(gone, -i32::from(gone.challenges));
        self.sources.drop_idle(gone.source);
    }

    /// Takes an entry out.
    fn close(&mut self, entry: u64) -> Option<Open> {
        let open = self.ledger.close(entry)?;
        self.count_open(&open, -i32::from(open.challenges));
        self.sources.drop_idle(open.source);
        self.watch_attack();
        Some(open)
    }

    fn count_open(&mut self, open: &Open, by: i32) {
        // a home may have as many as it likes
        if open.flags.has(Flags::AT_HOME) {
            return;
        }
        let Some(source) = self.sources.find_mut(open.source) else { return };
        let count = if open.is_invite() { &mut source.invites } else { &mut source.others };
        let by = by.clamp(i32::from(i16::MIN), i32::from(i16::MAX)) as i16;
        *count = count.saturating_add_signed(by);
        if open.proof.is_some() {
            count_proven(source, open.is_invite(), by);
        }
    }

    /// An entry is proven by its own challenge.
    pub(super) fn prove_entry(&mut self, now: Time, entry: u64, proof: Proof) {
        if self.ledger.prove(entry, proof) {
            if let Some(open) = self.ledger.find(entry)
                && !open.flags.has(Flags::AT_HOME)
                && let Some(source) = self.sources.find_mut(open.source)
            {
                count_proven(source, open.is_invite(), open.challenges.into());
            }
            self.watch_attack();
            self.on_proven_honeytoken(now, entry);
        }
    }

    fn on_proven_honeytoken(&mut self, now: Time, entry: u64) {
        let Some(open) = self.ledger.find(entry) else { return };
        let (Some(proof), true) = (open.proof, open.flags.has(Flags::HONEYTOKEN)) else { return };
        let Some(open) = self.close(entry) else { return };
        let (aor, dialled) = self.ledger.texts(&open);
        let Some(source) = self.sources.find(open.source) else { return };
        let ip = source.network().address();
        let evidence = Evidence::new(Outcome::NotFound, open.source, ip, proof)
            .of_entry(&open, &aor, &dialled);
        self.on_honeytoken(now, &evidence);
    }

    pub(super) fn prove_source(&mut self, now: Time, source: u64, ip: IpAddr, proof: Proof) {
        self.counts.proofs[proof as usize] += 1;
        self.sources.prove(now, source, ip, proof);
    }

    /// Remembers to whom a nonce went, and how the PBX challenges.
    pub(super) fn on_relayed(&mut self, now: Time, answer: &Final<'_, '_>) {
        let (ip, pbx) = (answer.flow.remote.ip(), answer.ticket.pbx);
        let relayed = |nonce: &[u8]| self.nonces.relayed(now, nonce, pbx, ip);
        let challenges = self.challenges.of_mut(pbx);
        if let Some(learned) = challenges.on_challenge(now, answer.message, relayed) {
            self.on_realm_seen(learned);
        }
    }

    /// A PBX may say by which nonce it wants to be asked next (RFC 7616 §3.5, RFC 7615 §3).
    pub(super) fn on_next_nonce(&mut self, now: Time, answer: &Final<'_, '_>) {
        let names = [&b"authentication-info"[..], b"proxy-authentication-info"];
        for (_, header) in names.iter().filter_map(|name| answer.message.other(name)) {
            let nonce = wire::next_nonce(answer.message.slice(header.value));
            if let Some(nonce) = nonce {
                let (ip, pbx) = (answer.flow.remote.ip(), answer.ticket.pbx);
                self.nonces.relayed(now, nonce, pbx, ip);
            }
        }
    }

    /// The edge's own challenge goes out: to a stream, whose peer is proven, the entry opens now.
    pub(super) fn on_own_challenge(&mut self, now: Time, asked: &Asked<'_, '_>) {
        self.counts.issued += 1;
        self.counts.issued_by_edge += 1;
        let ticket: &Ticket = &asked.ticket;
        if ticket.proof.is_none() {
            return;
        }
        if let Some(open) = self.ledger.find_mut(ticket.entry) {
            let by = i32::from(open.challenges < u8::MAX);
            open.challenges = open.challenges.saturating_add(1);
            let opened = open.clone();
            return self.count_open(&opened, by);
        }
        let open = Open::new(now, ticket, asked.source);
        self.open(open, asked.ip, asked.aor_text(), asked.dialled);
    }
}

/// Counts up to what fits; beyond it some are forgotten early.
fn count_proven(source: &mut Source, invite: bool, by: i16) {
    let count = if invite { &mut source.proven_invites } else { &mut source.proven_others };
    *count = i16::from(*count).saturating_add(by).clamp(0, u8::MAX.into()) as u8;
}

/// Whether a challenge says that only the nonce was too old.
fn is_stale(message: &Message<'_>) -> bool {
    [HeaderName::WwwAuthenticate, HeaderName::ProxyAuthenticate].iter().any(|name| {
        message
            .lines(*name)
            .any(|(_, header)| message.digest(header).stale.is_some_and(|(stale, _)| stale))
    })
}

/// What a PBX answers only to credentials that were right.
fn authenticates(status: u16) -> bool {
    matches!(status, 200..=399 | 404 | 410 | 480 | 484 | 486..=489 | 600..=699)
}
