//! Responses on their way back (RFC 3261 §16.7), and those that the edge gives in place of a
//! side that does not answer.

use crate::Verdict;
use crate::credit::Payer;
use crate::edits::{edit_content_length, fits};
use crate::engine::{Arrival, Engine};
use crate::exchange::ExchangeId;
use crate::hygiene::{Form, keeps_contacts, make_lean, make_terse};
use crate::io::Learned;
use crate::refusal::phrase;
use crate::register::Registered;
use crate::request::binds;
use crate::routing::edit_contact_schemes;
use admission::branch::Binds;
use admission::{Branch, Ticket};
use arrayvec::ArrayVec;
use policy::{Reason, Time};
use std::io::Write as _;
use std::ops::Range;
use transaction::Action;
use wire::reply::Reply;
use wire::{Flow, HeaderName, Message, Method, Side, Splice, TooManyEdits};

impl Engine {
    pub(crate) fn on_response(&mut self, now: Time, arrival: Arrival<'_, '_>) {
        let message = arrival.message;
        // §16.7 step 1: "The proxy locates a client transaction". Our branch names it.
        let Some(branch) = Branch::parse(message.via().branch) else {
            return self.note(arrival, Verdict::Drop, Reason::StrayResponse);
        };
        if branch.shard() != self.shard && branch.shard().0 < self.shards && !arrival.handed {
            // what strangers make up must not fill the other shard's queue
            if arrival.side == Side::Outside && !self.has_made(now, &branch, arrival) {
                return self.note(arrival, Verdict::Drop, Reason::StrayResponse);
            }
            let bytes = message.bytes();
            return self.out.hand_over(branch.shard(), arrival.side, arrival.flow, bytes);
        }
        if self.on_pbx_answer(now, arrival, &branch) {
            return self.note(arrival, Verdict::Absorb, Reason::Clean);
        }
        if self.on_trunk_answer(now, arrival, &branch) {
            return self.note(arrival, Verdict::Absorb, Reason::Clean);
        }
        let id = self.exchanges.with_branch(&branch);
        let Some((id, exchange)) =
            id.and_then(|id| self.exchanges.at(id).map(|exchange| (id, exchange)))
        else {
            return self.note(arrival, Verdict::Drop, Reason::StrayResponse);
        };
        if exchange.origin_side.other() != arrival.side {
            return self.note(arrival, Verdict::Drop, Reason::StrayResponse);
        }
        let base = self.policy.timers;
        let status = message.status();
        let method = message.cseq().method;
        if method == Method::Cancel && exchange.is_invite() {
            if let Some(cancel) = &mut exchange.cancel {
                cancel.on_response(now, status, &base);
            }
            self.note(arrival, Verdict::Absorb, Reason::Clean);
            return self.settle(id);
        }
        if policy::method_index(method) != exchange.method {
            return self.note(arrival, Verdict::Drop, Reason::StrayResponse);
        }
        if arrival.side == Side::Inside && !exchange.provisional && !exchange.answered {
            self.waited = Some(now.since(exchange.sent_at));
        }
        let (pbx, stranger) = (exchange.pbx, exchange.stranger);
        let action = exchange.client.on_response(now, status, &base);
        self.exchanges.heard(id);
        let passes = matches!(action, Action::PassUp | Action::PassUpAndAck);
        if passes && arrival.side == Side::Inside && status >= 200 {
            let checks = self.policy.checks;
            self.pbxs.on_outcome(now, pbx, status != 503, stranger, &checks);
        }
        match action {
            _ if passes && status == 503 => self.on_unavailable(now, id, arrival),
            Action::PassUp => self.relay(now, id, arrival),
            Action::PassUpAndAck => {
                self.send_ack_after(now, id, arrival);
            }
            Action::Ack => {
                self.resend_ack(id);
                self.note(arrival, Verdict::Absorb, Reason::Retransmission);
            }
            _ => self.note(arrival, Verdict::Absorb, Reason::Retransmission),
        }
        self.settle(id);
    }

    /// Whether a branch that came from outside is one of a request that went there: a PBX's, or the
    /// edge's own to a trunk.
    fn has_made(&self, now: Time, branch: &Branch, arrival: Arrival<'_, '_>) -> bool {
        let pbxs = self.policy.pbx.iter().map(|pbx| pbx.address.ip());
        let mut sources = pbxs.chain([arrival.flow.local.ip()]);
        let bound = binds(arrival);
        sources.any(|source| self.branches.is_proof(now, branch, &Binds { source, ..bound }))
    }

    fn send_ack_after(&mut self, now: Time, id: ExchangeId, arrival: Arrival<'_, '_>) {
        self.relay(now, id, arrival);
        self.send_ack(id, arrival.message);
    }

    /// A 503: the next target is tried, if there is one (RFC 3263 §4.3).
    fn on_unavailable(&mut self, now: Time, id: ExchangeId, arrival: Arrival<'_, '_>) {
        let Some(exchange) = self.exchanges.at(id) else { return };
        let (request, invite) =
            (self.buffers.bytes(&exchange.request).to_vec(), exchange.is_invite());
        if exchange.answered {
            return self.note(arrival, Verdict::Absorb, Reason::Retransmission);
        }
        if invite {
            self.send_ack(id, arrival.message);
        }
        if self.try_next(now, id, &request) {
            return self.note(arrival, Verdict::Absorb, Reason::Clean);
        }
        self.relay(now, id, arrival);
    }

    /// §16.7 steps 2 to 9, with one target: nothing better can come, so each response goes on.
    fn relay(&mut self, now: Time, id: ExchangeId, arrival: Arrival<'_, '_>) {
        let message = arrival.message;
        if !self.fits_back(id, message) {
            return self.on_too_large(now, id, arrival);
        }
        if !self.may_pass(now, id, arrival) {
            return;
        }
        let Some(onward) = self.onward(id, message.status()) else { return };
        let Onward { flow, status, payer, .. } = onward;
        let edits = self.edits(now, id, arrival, &onward);
        let Ok(range) = self.write_response(now, arrival, &flow, &edits, payer) else {
            self.exchanges.answered(id);
            if let Some(exchange) = self.exchanges.at(id) {
                exchange.abandoned = true;
            }
            return self.note(arrival, Verdict::Drop, Reason::Overload);
        };
        let sent = onward.first
            || payer.is_none_or(|payer| self.credits.covers(now, payer, range.len(), status < 200));
        // but a wrong guess is one, whoever hears of it
        if status >= 200 && (!onward.challenge || onward.tried) {
            self.on_final(now, id, message);
        } else if status >= 200 && sent {
            self.on_challenge_sent(now, id, message);
        }
        self.keep_response(now, id, &onward, &range, sent);
        if sent {
            if let Some(payer) = payer {
                self.spent(now, payer, range.len());
            }
            self.out.send(onward.side, &flow, range);
            self.note(arrival, Verdict::Forward, Reason::Clean);
        } else {
            self.note(arrival, Verdict::Absorb, Reason::Amplification);
        }
        if status < 200 {
            return self.send_cancel(now, id);
        }
        if message.cseq().method == Method::Invite {
            let key = self.ack_key(message, flow.remote.ip());
            self.exchanges.expect_ack(id, key);
        }
        self.exchanges.answered(id);
        self.on_call_answered(now, id, status);
        if status < 300 {
            self.on_accepted(id);
        }
    }

    /// Whether a response can go back the way that its request came.
    fn fits_back(&mut self, id: ExchangeId, response: &Message<'_>) -> bool {
        let flow = self.exchanges.at(id).map(|exchange| exchange.answer_flow());
        flow.is_none_or(|flow| fits(&flow, response.bytes().len()))
    }

    /// A response over a stream that no datagram holds would be lost without a word.
    fn on_too_large(&mut self, now: Time, id: ExchangeId, arrival: Arrival<'_, '_>) {
        if arrival.message.status() >= 200 {
            self.answer(now, id, 500);
        }
        self.note(arrival, Verdict::Drop, Reason::TooLarge);
    }

    /// What the response changes in its exchange; whether it goes on. One that does not is noted.
    fn may_pass(&mut self, now: Time, id: ExchangeId, arrival: Arrival<'_, '_>) -> bool {
        let status = arrival.message.status();
        let timer_c = now + self.policy.timer_c;
        let base = self.policy.timers;
        let Some(exchange) = self.exchanges.at(id) else { return false };
        if status < 200 {
            exchange.provisional = true;
            // the PBX lets the source in: its answers are worth repeating
            exchange.quiet &= status == 100;
            if let Some(ticket) = &mut exchange.ticket {
                self.gate.on_provisional(status, ticket);
            }
            // step 2: "In this case the proxy MUST reset the timer" C
            if exchange.is_invite() && status > 100 && exchange.cancel.is_none() {
                exchange.timer_c = timer_c;
            }
            if status == 100 && !exchange.is_invite() {
                self.note(arrival, Verdict::Absorb, Reason::Clean);
                return false;
            }
            // step 5: a 100 is not forwarded; but the 100 that the next hop wrote, less our Via,
            // is the one that this hop owes, once
            if status == 100 && !exchange.response.is_empty() {
                self.note(arrival, Verdict::Absorb, Reason::Clean);
                self.send_cancel(now, id);
                return false;
            }
        } else {
            exchange.timer_c = Time::FOREVER;
            // RFC 3261 §26.3.2.4: a challenge is not repeated, a nonce that came back proves no
            // source. Only whoever had a 100 has stopped asking.
            exchange.quiet |= matches!(status, 401 | 407) && exchange.response.is_empty();
        }
        exchange.trying_at = Time::FOREVER;
        let passes = exchange.server.on_sent(now, status, &base);
        if !passes {
            self.note(arrival, Verdict::Absorb, Reason::Retransmission);
        }
        passes
    }

    /// What is known of a response that goes on; what a 2xx means the exchange learns, too.
    fn onward(&mut self, id: ExchangeId, status: u16) -> Option<Onward> {
        let exchange = self.exchanges.at(id)?;
        let success = (200..300).contains(&status);
        let tried = exchange.ticket.is_some_and(|ticket| ticket.credentials);
        if tried && success {
            // the PBX knows its sender
            exchange.forgeable = false;
        }
        let invite = exchange.is_invite();
        let accepted = invite && success;
        exchange.accepted |= accepted;
        let side = exchange.origin_side;
        Some(Onward {
            side,
            flow: exchange.answer_flow(),
            payer: exchange.forgeable.then(|| self.credits.payer(exchange.origin.remote.ip())),
            status,
            invite,
            accepted,
            // a call that is accepted is told, once, whatever it costs
            first: accepted && !exchange.answered,
            challenge: side == Side::Outside && matches!(status, 401 | 407),
            tried,
        })
    }

    /// What changes in it on its way.
    fn edits(
        &mut self,
        now: Time,
        id: ExchangeId,
        arrival: Arrival<'_, '_>,
        onward: &Onward,
    ) -> Edits {
        let Onward { flow, challenge, .. } = onward;
        let mut edits = Edits::default();
        if let Some(exchange) = self.exchanges.at(id) {
            let amiss = |ticket: &Ticket| self.gate.was_offered_amiss(ticket, arrival.message);
            edits.secure = exchange.secure;
            edits.pbx = exchange.pbx;
            edits.stale =
                *challenge && (exchange.stripped || exchange.ticket.as_ref().is_some_and(amiss));
        }
        // an ACK proves as much, and each byte must be paid for
        if *challenge && !(onward.payer.is_some() && onward.invite) {
            edits.opaque = self.gate.opaque(now, flow);
        }
        let registered = onward.side == Side::Outside
            && (200..300).contains(&onward.status)
            && arrival.message.cseq().method == Method::Register;
        if registered {
            edits.registered = self.on_registered(now, id, arrival);
        }
        edits
    }

    /// What the exchange keeps of a response that is written, and what it needs no more.
    fn keep_response(
        &mut self,
        now: Time,
        id: ExchangeId,
        onward: &Onward,
        range: &Range<usize>,
        sent: bool,
    ) {
        let Onward { flow, status, invite, accepted, .. } = onward;
        let (status, invite, last) = (*status, *invite, *status >= 200);
        let lingers = !flow.transport.is_reliable() || (!last && invite);
        let Some(exchange) = self.exchanges.at(id) else { return };
        let kept: &[u8] = if lingers && !accepted { self.out.bytes(range) } else { b"" };
        self.buffers.replace(&mut exchange.response, kept);
        // after a 2xx, or any final response to another method, nothing is built from the
        // request any more
        if last && sent && (!invite || status < 300) {
            self.buffers.replace(&mut exchange.request, b"");
            self.buffers.replace(&mut exchange.cancel_request, b"");
            // a CANCEL that was not answered yet has no effect any more (RFC 3261 §9.1)
            if let Some(cancel) = &mut exchange.cancel {
                cancel.on_transport_error(now);
            }
        }
        if last && !accepted && onward.payer.is_some() {
            // a repeated request that comes later than that fetches a new answer
            exchange.until = now + self.policy.timers.t4;
        }
    }

    /// The response as it goes on, in the longest form that `payer` has paid for; else the lean
    /// one, which waits for a repeated request to pay.
    fn write_response(
        &mut self,
        now: Time,
        arrival: Arrival<'_, '_>,
        flow: &Flow,
        edits: &Edits,
        payer: Option<Payer>,
    ) -> Result<Range<usize>, TooManyEdits> {
        let message = arrival.message;
        let mut text = std::mem::take(&mut self.text);
        let mut splice = Splice::new(message, &mut text);
        self.edit_response(now, &mut splice, arrival, flow, edits);
        let of_all = splice.mark();
        let mut is_payable = |splice: &mut Splice<'_, '_>, form| {
            splice.back_to(of_all);
            edit_form(splice, arrival.side, edits, form);
            payer.is_none_or(|payer| {
                self.credits.covers(now, payer, splice.length(), message.status() < 200)
            })
        };
        if !is_payable(&mut splice, Form::Whole)
            && !is_payable(&mut splice, Form::Lean)
            && !is_payable(&mut splice, Form::Terse)
        {
            is_payable(&mut splice, Form::Lean);
        }
        let written = self.out.write(|out| splice.write(out));
        self.text = text;
        written
    }

    /// What changes in a response in whatever form it goes on.
    fn edit_response<'a>(
        &self,
        now: Time,
        splice: &mut Splice<'_, 'a>,
        arrival: Arrival<'_, 'a>,
        flow: &Flow,
        edits: &Edits,
    ) {
        let message = arrival.message;
        splice.delete_value(&message.via_value());
        edit_content_length(splice, flow.transport);
        if edits.stale || edits.opaque.is_some() {
            edit_challenges(splice, edits);
        }
        if arrival.side == Side::Outside {
            self.hidden.strip(splice, self.is_trusted(now, arrival.flow.remote.ip()), &[]);
            if message.cseq().method == Method::Register {
                self.edit_inside_contacts(splice, arrival, edits.pbx);
            }
        }
        if let Some(registered) = &edits.registered {
            self.edit_registered(now, splice, message, registered);
        }
        if arrival.side == Side::Inside && is_redirection(message.status()) {
            self.edit_redirection(now, splice, edits.secure);
        }
    }

    /// Sends the response that an exchange keeps, once more or at last. `false` when it is not
    /// paid for.
    pub(crate) fn try_send_response(&mut self, now: Time, id: ExchangeId) -> bool {
        let Some(exchange) = self.exchanges.at(id) else { return false };
        let range = self.out.copy(self.buffers.bytes(&exchange.response));
        let told = exchange.told || exchange.ticket.is_none();
        let sent = self.try_send(now, id, range);
        if sent && !told {
            self.tell(now, id);
        }
        sent
    }

    /// Tells the gate of a challenge that waited and went out now.
    fn tell(&mut self, now: Time, id: ExchangeId) {
        let limits = self.policy.limits.once_forwarded();
        let Some(exchange) = self.exchanges.at(id).filter(|exchange| exchange.answered) else {
            return;
        };
        let response = self.buffers.bytes(&exchange.response).to_vec();
        if let Ok(message) = Message::parse(&response, &limits)
            && message.status() >= 200
        {
            self.on_final(now, id, &message);
        }
    }

    /// Sends a response in an exchange, when it is paid for.
    fn try_send(&mut self, now: Time, id: ExchangeId, range: Range<usize>) -> bool {
        let Some(exchange) = self.exchanges.at(id) else { return false };
        let (side, flow) = (exchange.origin_side, exchange.answer_flow());
        if exchange.forgeable {
            let payer = self.credits.payer(exchange.origin.remote.ip());
            let provisional = self.out.bytes(&range).get(8) == Some(&b'1');
            if !self.credits.covers(now, payer, range.len(), provisional) {
                return false;
            }
            self.spent(now, payer, range.len());
        }
        self.out.send(side, &flow, range);
        true
    }

    /// The PBX took a request inside a dialog: whoever sent it knows the dialog, and where it
    /// came from is where the dialog's phone is.
    fn on_accepted(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.at(id) else { return };
        let Some(key) = exchange.moved_from.take() else { return };
        let flow = exchange.origin;
        if self.moves.insert(key, flow) && self.shards > 1 {
            self.out.learned(Learned::FlowMoved { key, flow });
        }
    }

    /// A response of the edge's own in an exchange: the request is at hand as it went out, with
    /// our Via on top, which is taken off again.
    pub(crate) fn answer(&mut self, now: Time, id: ExchangeId, status: u16) {
        let retry_after = (status == 503).then(|| self.retry_after());
        let base = self.policy.timers;
        let limits = self.policy.limits.once_forwarded();
        let Some(exchange) = self.exchanges.at(id) else { return };
        let Ok(request) = Message::parse(self.buffers.bytes(&exchange.request), &limits) else {
            return;
        };
        if !exchange.server.on_sent(now, status, &base) {
            return;
        }
        let mut headers = arrayvec::ArrayVec::<u8, 40>::new();
        if let Some(seconds) = retry_after {
            // "Retry-After: " and twenty digits fit
            drop(write!(headers, "Retry-After: {seconds}\r\n"));
        }
        let tag = exchange.branch.text();
        let reply = Reply {
            status,
            reason: phrase(status),
            to_tag: if status == 100 { b"" } else { &tag },
            headers: &headers,
            source: exchange.target.remote,
            compact: false,
        };
        let mut text = std::mem::take(&mut self.text);
        text.clear();
        reply.write(&request, &mut text);
        let mut edits = Vec::new();
        let written = match Message::parse(&text, &limits) {
            Ok(message) => {
                let mut splice = Splice::new(&message, &mut edits);
                splice.delete_value(&message.via_value());
                self.out.write(|out| splice.write(out)).ok()
            }
            Err(_) => None,
        };
        self.text = text;
        let Some(range) = written else { return };
        exchange.trying_at = Time::FOREVER;
        self.buffers.replace(&mut exchange.response, self.out.bytes(&range));
        self.try_send(now, id, range);
        if status >= 200 {
            self.on_superseded(id);
            if let Some(exchange) = self.exchanges.at(id) {
                exchange.told = true;
            }
            self.exchanges.answered(id);
            self.on_call_answered(now, id, status);
        }
    }
}

/// What is known of a response that goes on.
#[derive(Clone, Copy, Debug)]
struct Onward {
    /// Where to.
    side: Side,
    flow: Flow,
    /// Who pays for it, where the source is not proven.
    payer: Option<Payer>,
    status: u16,
    invite: bool,
    /// A 2xx to an INVITE.
    accepted: bool,
    /// The first of those.
    first: bool,
    /// A challenge for the outside.
    challenge: bool,
    /// The request had credentials for the PBX.
    tried: bool,
}

/// What changes in a response besides its Via.
#[derive(Clone, Debug, Default)]
struct Edits {
    /// The outside speaks `sips`.
    secure: bool,
    /// The client's credentials never reached the PBX: it is to try again, not to ask its user.
    stale: bool,
    /// What stands in front of `opaque`.
    opaque: Option<ArrayVec<u8, 32>>,
    /// A registration that was confirmed.
    registered: Option<Registered>,
    /// The PBX that the request came from or went to.
    pbx: usize,
}

fn is_redirection(status: u16) -> bool {
    (300..400).contains(&status)
}

/// What changes in one form only.
fn edit_form(splice: &mut Splice<'_, '_>, side: Side, edits: &Edits, form: Form) {
    let message = splice.message();
    let outwards = side == Side::Inside;
    let whole = form == Form::Whole;
    // a lean one has lost it with all else
    if outwards && message.status() >= 300 && whole {
        // PJSIP copies Record-Route into every answer; RFC 3261 §20 has it only where a dialog
        // begins, and our token in it lets its holder into one
        for (index, _) in message.lines(HeaderName::RecordRoute) {
            splice.delete_line(index);
        }
    }
    let redirected = outwards && is_redirection(message.status());
    let has_contacts = !redirected && (whole || keeps_contacts(message.status()));
    if edits.registered.is_none() && edits.secure && has_contacts {
        edit_contact_schemes(splice, outwards);
    }
    if !whole {
        make_lean(splice);
    }
    if form == Form::Terse {
        make_terse(splice);
    }
}

fn edit_challenges(splice: &mut Splice<'_, '_>, edits: &Edits) {
    let message = splice.message();
    for name in [HeaderName::WwwAuthenticate, HeaderName::ProxyAuthenticate] {
        for (_, header) in message.lines(name) {
            let digest = message.digest(header);
            if !digest.is_digest {
                continue;
            }
            match (&edits.opaque, digest.opaque_span) {
                (Some(prefix), Some(span)) => {
                    splice.insert(span.start, |out| out.extend_from_slice(prefix));
                }
                (Some(prefix), None) => splice.insert(header.value.end, |out| {
                    out.extend_from_slice(b", opaque=\"");
                    out.extend_from_slice(prefix);
                    out.push(b'"');
                }),
                (None, _) => {}
            }
            match digest.stale {
                _ if !edits.stale => {}
                Some((true, _)) => {}
                Some((false, span)) => splice.replace(span, b"true"),
                None => {
                    splice.insert(header.value.end, |out| out.extend_from_slice(b", stale=true"));
                }
            }
        }
    }
}
