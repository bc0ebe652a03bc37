//! CANCEL (RFC 3261 §9, §16.10) and ACK (§17.1.1.3, §17.2.1): what belongs to an INVITE.

use crate::Verdict;
use crate::engine::{Arrival, Engine};
use crate::exchange::ExchangeId;
use crate::refusal::Refusal;
use crate::request::method_bytes;
use crate::routing::{NO_PBX, Route};
use admission::Branch;
use admission::branch::Binds;
use policy::{Reason, Time};
use transaction::{Action, OtherClient, Reliability};
use wire::{HeaderName, Message, Side};

impl Engine {
    /// "If a matching response context is found, the element MUST immediately return a 200 (OK)
    /// response to the CANCEL request."
    pub(crate) fn on_cancel(&mut self, now: Time, arrival: Arrival<'_, '_>) {
        let key = self.server_key(arrival);
        let Some(id) = self.exchanges.find(key) else {
            // one from outside is in this shard, or nowhere
            match self.route(now, arrival, Err(Reason::NoTransaction)) {
                Ok(Route::Shard(shard)) => {
                    let bytes = arrival.message.bytes();
                    self.out.hand_over(shard, arrival.side, arrival.flow, bytes);
                }
                _ => self.refuse_unfit(now, arrival, Refusal::new(Reason::NoTransaction)),
            }
            return;
        };
        self.refuse(now, arrival, Refusal::OK);
        self.cancel(now, id, Some(arrival.message));
    }

    /// Cancels an INVITE that went out: at once when a provisional response came back, else when
    /// one comes (§9.1). `by` is the CANCEL that asks for it; its Reason goes along (RFC 3326),
    /// so that a phone can tell "answered elsewhere".
    pub(crate) fn cancel(&mut self, now: Time, id: ExchangeId, by: Option<&Message<'_>>) {
        let Some(exchange) = self.exchanges.at(id) else { return };
        if exchange.answered || !exchange.is_invite() || !exchange.cancel_request.is_empty() {
            return;
        }
        let limits = self.policy.limits.once_forwarded();
        let Ok(request) = Message::parse(self.buffers.bytes(&exchange.request), &limits) else {
            return;
        };
        let range = self.out.write(|out| {
            let to = request.lines(HeaderName::To).next().map(|(_, header)| header.line);
            write_hop_request(out, b"CANCEL", &request, to.map(|line| request.slice(line)));
            if let Some(by) = by {
                for header in by.headers() {
                    if by.slice(header.name_span).eq_ignore_ascii_case(b"Reason") {
                        out.extend_from_slice(by.slice(header.line));
                    }
                }
            }
            out.extend_from_slice(b"Content-Length: 0\r\n\r\n");
            Ok::<(), std::convert::Infallible>(())
        });
        let Ok(range) = range;
        let Some(exchange) = self.exchanges.at(id) else { return };
        self.buffers.replace(&mut exchange.cancel_request, self.out.bytes(&range));
        if exchange.cancel_request.is_empty() {
            return;
        }
        if exchange.provisional {
            self.send_cancel(now, id);
        }
    }

    /// Sends the CANCEL that waits.
    pub(crate) fn send_cancel(&mut self, now: Time, id: ExchangeId) {
        let Some(exchange) = self.exchanges.at(id) else { return };
        if exchange.cancel.is_some() || exchange.cancel_request.is_empty() {
            return;
        }
        let base = &self.policy.timers;
        let reliability = Reliability::from_reliable(exchange.target.transport.is_reliable());
        exchange.cancel = Some(OtherClient::new(now, reliability, base));
        // "If there is no final response for the original request in 64*T1 seconds, the client
        // SHOULD then consider the original transaction cancelled and SHOULD destroy the client
        // transaction handling the original request."
        exchange.timer_c = now + base.t1.saturating_mul(64);
        let (side, flow) = (exchange.origin_side.other(), exchange.target);
        let range = self.out.copy(self.buffers.bytes(&exchange.cancel_request));
        self.out.send(side, &flow, range);
        self.arm(id);
    }

    /// The ACK that this hop owes for a non-2xx final response: it replaces the request, which is
    /// not needed any more, so that a repeated response is acknowledged again.
    pub(crate) fn send_ack(&mut self, id: ExchangeId, response: &Message<'_>) {
        let Some(exchange) = self.exchanges.at(id) else { return };
        let limits = self.policy.limits.once_forwarded();
        let Ok(request) = Message::parse(self.buffers.bytes(&exchange.request), &limits) else {
            return;
        };
        let range = self.out.write(|out| {
            let to = response.lines(HeaderName::To).next().map(|(_, header)| header.line);
            write_hop_request(out, b"ACK", &request, to.map(|line| response.slice(line)));
            out.extend_from_slice(b"Content-Length: 0\r\n\r\n");
            Ok::<(), std::convert::Infallible>(())
        });
        let Ok(range) = range;
        let (side, flow) = (exchange.origin_side.other(), exchange.target);
        self.buffers.replace(&mut exchange.request, self.out.bytes(&range));
        self.out.send(side, &flow, range);
    }

    /// The ACK again, for a response that was repeated.
    pub(crate) fn resend_ack(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.at(id) else { return };
        if self.buffers.bytes(&exchange.request).starts_with(b"ACK ") {
            let (side, flow) = (exchange.origin_side.other(), exchange.target);
            let range = self.out.copy(self.buffers.bytes(&exchange.request));
            self.out.send(side, &flow, range);
        }
    }

    /// Whom an ACK belongs to. Honest clients get its branch, its CSeq and its hosts wrong; our
    /// To-tag, which only the receiver of our answer knows, is what counts then.
    pub(crate) fn on_ack(&mut self, now: Time, arrival: Arrival<'_, '_>) {
        let message = arrival.message;
        let key = self.server_key(arrival);
        let tagged = Branch::parse(message.to_tag());
        let by_tags = self.exchanges.find(self.ack_key(message, arrival.flow.remote.ip()));
        if arrival.side == Side::Outside {
            self.acknowledged(now, arrival, by_tags);
        }
        let by_branch = tagged.as_ref().and_then(|branch| self.exchanges.with_branch(branch));
        let belongs = by_branch.or(by_tags).is_some();
        let id = self.exchanges.find(key).or(by_branch).or(by_tags);
        if let Some(id) = id {
            let base = self.policy.timers;
            let action = self
                .exchanges
                .at(id)
                .map_or(Action::None, |exchange| exchange.server.on_ack(now, &base));
            if action != Action::PassUp {
                self.settle(id);
                return self.note(arrival, Verdict::Absorb, Reason::Clean);
            }
        }
        if self.is_own_answer(now, arrival, tagged) {
            return self.note(arrival, Verdict::Absorb, Reason::Clean);
        }
        // RFC 3261 §16.6: the ACK of a 2xx goes its own way, by its route set
        let pbx = match arrival.side {
            Side::Outside => self.pbx_for(now, arrival),
            Side::Inside => Ok(NO_PBX),
        };
        match self.route(now, arrival, pbx) {
            Ok(Route::Shard(shard)) => {
                self.out.hand_over(shard, arrival.side, arrival.flow, message.bytes());
            }
            Ok(Route::To(hop)) if !message.to_tag().is_empty() => {
                match self.judge_ack(now, arrival, belongs) {
                    Ok(()) => self.forward_ack(now, arrival, &hop),
                    Err(reason) => self.note(arrival, Verdict::Drop, reason),
                }
            }
            _ => self.note(arrival, Verdict::Drop, Reason::NoTransaction),
        }
    }

    /// Whether the To-tag is one that we gave out for this call, in an answer that is forgotten.
    fn is_own_answer(&self, now: Time, arrival: Arrival<'_, '_>, tagged: Option<Branch>) -> bool {
        let message = arrival.message;
        let binds = Binds {
            call_id: message.call_id(),
            from_tag: message.from_tag(),
            source: arrival.flow.remote.ip(),
        };
        arrival.side == Side::Outside
            && (tagged.is_some_and(|branch| {
                self.exchanges.with_branch(&branch).is_none()
                    && self.branches.is_proof(now, &branch, &binds)
                    && message.values(HeaderName::Route).next().is_none()
            }) || self.is_stateless_tag(message))
    }
}

/// A request to the same next hop as `request`, in its transaction: ACK (§17.1.1.3) or CANCEL
/// (§9.1): same Request-URI, top Via, Route, From, Call-ID and CSeq number.
fn write_hop_request(out: &mut Vec<u8>, method: &[u8], request: &Message<'_>, to: Option<&[u8]>) {
    debug_assert_eq!(method_bytes(request), b"INVITE");
    out.extend_from_slice(method);
    out.push(b' ');
    out.extend_from_slice(request.request_uri());
    out.extend_from_slice(b" SIP/2.0\r\n");
    // our own Via stands in a line of its own
    if let Some((_, header)) = request.lines(HeaderName::Via).next() {
        out.extend_from_slice(request.slice(header.line));
    }
    for (_, header) in request.lines(HeaderName::Route) {
        out.extend_from_slice(request.slice(header.line));
    }
    out.extend_from_slice(b"Max-Forwards: 70\r\n");
    for (_, header) in request.lines(HeaderName::From) {
        out.extend_from_slice(request.slice(header.line));
    }
    out.extend_from_slice(to.unwrap_or_default());
    for (_, header) in request.lines(HeaderName::CallId) {
        out.extend_from_slice(request.slice(header.line));
    }
    let mut number = arrayvec::ArrayVec::<u8, 12>::new();
    // a CSeq number has ten digits at most
    drop(std::io::Write::write_fmt(&mut number, format_args!("{}", request.cseq().number)));
    out.extend_from_slice(b"CSeq: ");
    out.extend_from_slice(&number);
    out.push(b' ');
    out.extend_from_slice(method);
    out.extend_from_slice(b"\r\n");
}
