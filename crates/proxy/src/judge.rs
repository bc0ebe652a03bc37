//! What the gate is asked about messages from outside, and how its answers are carried out.

use crate::credit::Payer;
use crate::engine::{Arrival, Engine};
use crate::exchange::ExchangeId;
use crate::io::{CloseReason, Learned};
use crate::refusal::Refusal;
use crate::request::{binds, method_bytes};
use crate::routing::NO_PBX;
use crate::{Grounds, Verdict};
use admission::branch::NO_SLOT;
use admission::{
    Acknowledged, Credentials, Effect, Final, Judgement, Pass, Proof, Request, Ticket,
};
use policy::{Reason, Time, Who};
use std::net::IpAddr;
use wire::{Message, Side, find_byte};

/// A request that goes on, and what the gate said of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Passage {
    pub(crate) credentials: Credentials,
    /// `None` for a request from inside: nobody judges the PBX.
    pub(crate) ticket: Option<Ticket>,
    pub(crate) who: Who,
    pub(crate) proof: Option<Proof>,
    /// The PBX that a request from outside is for.
    pub(crate) pbx: Result<usize, Reason>,
}

impl Passage {
    /// Of a request that is not judged.
    pub(crate) const INSIDE: Passage = Passage {
        credentials: Credentials::Absent,
        ticket: None,
        who: Who::Trusted,
        proof: None,
        pbx: Ok(NO_PBX),
    };
}

impl Engine {
    /// Request stage. `None` when the request ends here.
    pub(crate) fn judge(
        &mut self,
        now: Time,
        arrival: Arrival<'_, '_>,
        pbx: usize,
    ) -> Option<Passage> {
        if arrival.side == Side::Inside {
            return Some(Passage::INSIDE);
        }
        let dialog = self.is_in_dialog(arrival);
        let id = self.pbxs.id(pbx);
        let request = Request { flow: &arrival.flow, message: arrival.message, dialog, pbx: id };
        let judgement = self.gate.on_request(now, &request);
        self.on_judged(now, arrival, &judgement);
        let Judgement { who, proof, .. } = judgement;
        match judgement.verdict {
            admission::Verdict::Accept(Pass { credentials, ticket }) => {
                Some(Passage { credentials, ticket: Some(ticket), who, proof, ..Passage::INSIDE })
            }
            admission::Verdict::Refuse(admission::Refusal::Challenge) => {
                self.challenge(now, arrival, &request, pbx, judgement.reason);
                None
            }
            admission::Verdict::Refuse(admission::Refusal::Drop) => {
                self.note(arrival, Verdict::Drop, judgement.reason);
                None
            }
            admission::Verdict::Refuse(admission::Refusal::Reject(status)) => {
                self.refuse(now, arrival, Refusal { status, reason: judgement.reason });
                None
            }
        }
    }

    /// A request that goes nowhere, whatever is in it: its sender is told so, unless he is one who is
    /// not to be answered at all.
    pub(crate) fn refuse_unfit(&mut self, now: Time, arrival: Arrival<'_, '_>, refusal: Refusal) {
        match self.silences(now, arrival) {
            Some(reason) => self.note(arrival, Verdict::Drop, reason),
            None => self.refuse(now, arrival, refusal),
        }
    }

    /// Why the sender of a request that goes nowhere is not to be told so, if he is not.
    pub(crate) fn silences(&mut self, now: Time, arrival: Arrival<'_, '_>) -> Option<Reason> {
        if arrival.side == Side::Inside {
            return None;
        }
        let dialog = self.is_in_dialog(arrival);
        let request = Request { flow: &arrival.flow, message: arrival.message, dialog, pbx: 0 };
        let judgement = self.gate.on_unfit(now, &request);
        self.on_judged(now, arrival, &judgement);
        use admission::Refusal::{Challenge, Drop};
        let silent = matches!(judgement.verdict, admission::Verdict::Refuse(Drop | Challenge));
        silent.then_some(judgement.reason)
    }

    /// What the gate knew goes along with the event, and the request pays for its answers.
    fn on_judged(&mut self, now: Time, arrival: Arrival<'_, '_>, judgement: &Judgement) {
        self.grounds = Some(Grounds::new(judgement));
        if self.is_forgeable(now, arrival) {
            self.paid(now, arrival);
        }
    }

    /// Whether the trust oracle's lists name an address: a trunk may say more than others.
    pub(crate) fn is_trusted(&self, now: Time, address: IpAddr) -> bool {
        self.gate.listed(now, address).is_some()
    }

    /// Whether what is sent to the source of this message may meet somebody who never asked: a
    /// datagram from an address that is not proven.
    pub(crate) fn is_forgeable(&self, now: Time, arrival: Arrival<'_, '_>) -> bool {
        if arrival.side == Side::Inside || arrival.flow.transport.is_reliable() {
            return false;
        }
        let unproven = match &self.grounds {
            Some(grounds) => grounds.who == Who::Unproven,
            None => !self.gate.is_proven(now, &arrival.flow),
        };
        unproven && !self.policy.admission.proof.amplify && !self.is_in_dialog(arrival)
    }

    /// A request whose source may be forged came, and pays for answers.
    pub(crate) fn paid(&mut self, now: Time, arrival: Arrival<'_, '_>) {
        let bytes = arrival.message.bytes().len();
        let payer = self.credits.payer(arrival.flow.remote.ip());
        self.credits.pay(now, payer, bytes);
        self.unproven_bytes[0] += bytes as u64;
    }

    /// An answer goes to such a source.
    pub(crate) fn spent(&mut self, now: Time, payer: Payer, bytes: usize) {
        self.credits.spend(now, payer, bytes);
        self.unproven_bytes[1] += bytes as u64;
    }

    /// The edge's own challenge, stateless. Its To-tag binds Call-ID, From-tag and source, so
    /// that the ACK proves the return path.
    fn challenge(
        &mut self,
        now: Time,
        arrival: Arrival<'_, '_>,
        request: &Request<'_, '_>,
        pbx: usize,
        reason: Reason,
    ) {
        if self.gate.wants_probe(now, request.pbx) {
            self.send_probe(now, pbx);
        }
        if self.gate.awaits_nonce(now, request.pbx) && !arrival.flow.transport.is_reliable() {
            // its retransmission meets the PBX's nonce
            return self.note(arrival, Verdict::Absorb, reason);
        }
        let mut headers = std::mem::take(&mut self.text);
        headers.clear();
        if self.gate.write_challenge(now, request, &mut headers) {
            let hash = self.loop_hash(arrival.message);
            let binds = binds(arrival);
            let tag = self.branches.make(now, self.shard, NO_SLOT, 0, hash, &binds).text();
            let sent = self.reply(now, arrival, 401, &tag, &headers);
            self.note_answer(arrival, 401, reason, sent);
        } else {
            // the gate challenges nobody before it knows the realm
            self.note(arrival, Verdict::Drop, reason);
        }
        self.text = headers;
    }

    /// Whether a request is inside a dialog that a Route of ours proves for its source.
    pub(crate) fn is_in_dialog(&self, arrival: Arrival<'_, '_>) -> bool {
        // RFC 3261 §10, RFC 3903: these have no dialog, whatever tag and Route they carry
        let alone = matches!(method_bytes(arrival.message), b"REGISTER" | b"PUBLISH");
        if alone || arrival.message.to_tag().is_empty() {
            return false;
        }
        arrival.is_by_its_route()
    }

    /// Outcome stage: the first final response to a request from outside.
    pub(crate) fn on_final(&mut self, now: Time, id: ExchangeId, response: &Message<'_>) {
        let Some(exchange) = self.exchanges.at(id) else { return };
        let Some(ticket) = exchange.ticket.filter(|_| !exchange.told) else { return };
        exchange.told = true;
        let request_uri = request_uri(self.buffers.bytes(&exchange.request));
        let flow = exchange.origin;
        let answer = Final { flow: &flow, message: response, ticket: &ticket, request_uri };
        self.gate.on_final(now, &answer);
    }

    /// Outcome stage: a challenge went back. Where the connection that it was for is gone nobody is
    /// there to answer it: it opened nothing, but for him who did not even wait for it.
    pub(crate) fn on_challenge_sent(&mut self, now: Time, id: ExchangeId, challenge: &Message<'_>) {
        let Some(exchange) = self.exchanges.at(id) else { return };
        let is_there = exchange.origin.connection.is_none_or(|id| self.connections.is_open(id));
        if is_there || exchange.is_prompt(now) {
            return self.on_final(now, id, challenge);
        }
        if let Some(exchange) = self.exchanges.at(id) {
            // nor does it end one that the same login has open over another connection
            exchange.ticket.iter_mut().for_each(|ticket| self.gate.on_ended(ticket));
            exchange.told = true;
        }
    }

    /// Outcome stage: an exchange ends in a way that says nothing of its sender.
    pub(crate) fn on_superseded(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.at(id) else { return };
        if let Some(ticket) = exchange.ticket.as_mut().filter(|_| !exchange.told) {
            self.gate.on_superseded(ticket);
        }
    }

    /// Outcome stage: an ACK from outside, and the exchange that its tags name.
    pub(crate) fn acknowledged(
        &mut self,
        now: Time,
        arrival: Arrival<'_, '_>,
        id: Option<ExchangeId>,
    ) {
        let ticket = id.and_then(|id| self.exchanges.at(id)).and_then(|exchange| exchange.ticket);
        let ack =
            Acknowledged { flow: &arrival.flow, message: arrival.message, ticket: ticket.as_ref() };
        let proof = self.gate.on_ack(now, &self.branches, &ack);
        if let Some(exchange) = id.filter(|_| proof.is_some()).and_then(|id| self.exchanges.at(id))
        {
            // its sender is where it says: what follows, a 200 once more or of another branch,
            // goes there unpaid
            exchange.forgeable = false;
        }
    }

    /// An ACK that would go on to the PBX: why it must not. One whose tags `belong` to an answer of
    /// this edge goes on; of another, after a restart or from an address that nobody has seen, the
    /// Route of its call tells as much.
    pub(crate) fn judge_ack(
        &mut self,
        now: Time,
        arrival: Arrival<'_, '_>,
        belongs: bool,
    ) -> Result<(), Reason> {
        if arrival.side == Side::Inside || belongs {
            return Ok(());
        }
        let dialog = arrival.has_its_route();
        let ack = Request { flow: &arrival.flow, message: arrival.message, dialog, pbx: 0 };
        let judgement = self.gate.on_stray_ack(now, &ack);
        self.grounds = Some(Grounds::new(&judgement));
        match judgement.verdict {
            admission::Verdict::Accept(_) => Ok(()),
            // RFC 3261 §17: nothing answers an ACK
            _ => Err(judgement.reason),
        }
    }

    /// Carries out what the gate has news of.
    pub(crate) fn carry_out(&mut self, now: Time) {
        // of a PBX that is gone, silence says nothing
        let unheard = if self.pbxs.any_up() { self.exchanges.unheard() } else { 0 };
        self.gate.on_unheard(unheard);
        while let Some(effect) = self.gate.poll_effect() {
            match effect {
                Effect::Learned(learned) if self.shards > 1 => {
                    self.out.learned(Learned::Gate(learned));
                }
                Effect::Learned(_) => {}
                Effect::Banned(ban) => self.out.banned(ban),
                Effect::Lifted(lift) => self.out.lifted(lift),
                Effect::Recalled(ban) => self.out.recalled(ban),
                Effect::Remember(memory) => self.out.remember(memory),
                Effect::Evidence(source, it) => self.out.evidence(source, it),
                Effect::Alert(alert) => self.out.alert(alert),
                Effect::Close(network) => self.close_all(now, network, CloseReason::Banned),
            }
        }
    }
}

/// The Request-URI of a request that is known to be one.
fn request_uri(request: &[u8]) -> &[u8] {
    let behind = |text: &[u8]| find_byte(b' ', text).map(|space| space + 1);
    let uri = behind(request).and_then(|start| request.get(start..)).unwrap_or_default();
    find_byte(b' ', uri).and_then(|end| uri.get(..end)).unwrap_or(uri)
}
