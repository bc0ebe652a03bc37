//! When a target fails, the request goes to the next one within the same response context (RFC 3263
//! §4.3): from outside to another PBX of the group, from the PBX to another target of the trunk. Not
//! inside a dialog, whose route is fixed, and not once somebody has answered.

use crate::edits::{alias, edit_content_length, fits};
use crate::engine::{Arrival, Engine};
use crate::exchange::{Client, ExchangeId};
use crate::names::write_transport;
use crate::routing::Hop;
use crate::token::{FlowToken, Raw, Token};
use admission::Branch;
use admission::branch::Binds;
use policy::Time;
use std::net::SocketAddr;
use wire::{
    Flow, HeaderName, Message, Method, NameAddr, Side, Span, Splice, Transport, Uri, Value,
};

/// How many T1 a target may be silent while there is another one: after the fourth try.
const SILENT_T1: u32 = 7;

/// A next target.
#[derive(Clone, Copy, Debug)]
struct Next {
    flow: Flow,
    /// The PBX that it is; as before for a trunk's.
    pbx: usize,
}

/// What becomes another when a request goes to another target.
struct Change<'f> {
    from: &'f Flow,
    to: &'f Flow,
    branch: &'f Branch,
    side: Side,
    /// [`policy::Pbx::id`] of the dialog's PBX.
    pbx: u32,
}

impl Engine {
    /// Until when the target of a request may be silent.
    pub(crate) fn patience(&self, now: Time, arrival: Arrival<'_, '_>, hop: &Hop) -> Time {
        let several = match hop.side {
            Side::Inside => self.pbxs.has_others(hop.pbx),
            Side::Outside => {
                hop.key == 0 && hop.bound.is_none() && self.trunks.has(hop.flow.remote)
            }
        };
        match several && arrival.message.to_tag().is_empty() {
            true => now + self.policy.timers.t1.saturating_mul(SILENT_T1),
            false => Time::FOREVER,
        }
    }

    /// A target has been silent for long enough.
    pub(crate) fn on_impatience(&mut self, now: Time, id: ExchangeId) {
        let Some(exchange) = self.exchanges.at(id) else { return };
        if exchange.patience > now {
            return;
        }
        exchange.patience = Time::FOREVER;
        if exchange.provisional || exchange.answered {
            return;
        }
        self.note_failure(now, id);
        self.try_next_at_once(now, id);
    }

    /// A request to a PBX failed: nobody answered, or its connection was lost.
    pub(crate) fn note_failure(&mut self, now: Time, id: ExchangeId) {
        let checks = self.policy.checks;
        let Some(exchange) = self.exchanges.at(id) else { return };
        if exchange.origin_side == Side::Outside {
            let (pbx, since, stranger) = (exchange.pbx, exchange.sent_at, exchange.stranger);
            if let Some(member) = self.pbxs.at(pbx) {
                member.health.on_silence(since);
            }
            self.pbxs.on_outcome(now, pbx, false, stranger, &checks);
        }
    }

    /// ICMP says that nobody listens at `remote`.
    pub(crate) fn on_pbx_refused(&mut self, now: Time, remote: SocketAddr) {
        let policy = self.policy.clone();
        for (at, pbx) in policy.pbx.iter().enumerate() {
            if pbx.address == remote
                && pbx.transport == Transport::Udp
                && let Some(member) = self.pbxs.at(at)
            {
                member.health.on_refused(now);
            }
        }
    }

    /// As [`Engine::try_next`], with the request that is at hand.
    pub(crate) fn try_next_at_once(&mut self, now: Time, id: ExchangeId) -> bool {
        let Some(exchange) = self.exchanges.at(id) else { return false };
        let request = self.buffers.bytes(&exchange.request).to_vec();
        self.try_next(now, id, &request)
    }

    /// The target of a request failed: it is sent to the next one, if there is one. `request` is
    /// what was sent.
    pub(crate) fn try_next(&mut self, now: Time, id: ExchangeId, request: &[u8]) -> bool {
        let limits = self.policy.limits.once_forwarded();
        let Ok(message) = Message::parse(request, &limits) else { return false };
        let Some(exchange) = self.exchanges.at(id) else { return false };
        if exchange.answered
            || exchange.cancel.is_some()
            || !exchange.cancel_request.is_empty()
            || has_rung(self.buffers.bytes(&exchange.response))
            || !message.to_tag().is_empty()
        {
            return false;
        }
        let (failed, pbx, side) = (exchange.target, exchange.pbx, exchange.origin_side.other());
        let next = match side {
            Side::Outside => {
                self.next_target(now, &message, &failed).map(|flow| Next { flow, pbx })
            }
            Side::Inside => self.next_of_group(now, id, &message),
        };
        next.is_some_and(|next| self.send_again(now, id, &message, next))
    }

    fn next_of_group(&mut self, now: Time, id: ExchangeId, message: &Message<'_>) -> Option<Next> {
        let exchange = self.exchanges.at(id)?;
        exchange.tried.insert(exchange.pbx);
        let (last, tried, source) = (exchange.pbx, exchange.tried, exchange.origin.remote.ip());
        let local = exchange.target.local;
        let from_trunk = self.gate.trunk(now, source).is_some();
        let pbx = self.next_pbx(message, from_trunk, last, tried)?;
        let flow = self.flow_to(now, pbx, local)?;
        Some(Next { flow, pbx })
    }

    fn send_again(&mut self, now: Time, id: ExchangeId, message: &Message<'_>, next: Next) -> bool {
        let Some(exchange) = self.exchanges.at(id) else { return false };
        let (failed, side) = (exchange.target, exchange.origin_side.other());
        let source = exchange.origin.remote.ip();
        let (call_id, from_tag) = (message.call_id(), message.from_tag());
        let binds = Binds { call_id, from_tag, source };
        // with the target in it the branch is another one: nothing else of it has changed
        let remote = next.flow.remote.to_string();
        let loop_hash = self.loop_hash(message) ^ self.hash.hash(&[remote.as_bytes()]) as u32;
        let ExchangeId { slot, generation } = id;
        let branch = self.branches.make(now, self.shard, slot, generation, loop_hash, &binds);
        let (from, to, pbx) = (&failed, &next.flow, self.pbxs.id(next.pbx));
        let change = Change { from, to, branch: &branch, side, pbx };
        let Some((range, stripped)) = self.write_again(message, &change) else { return false };
        let base = self.policy.timers;
        let (timer_c, patience) = (now + self.policy.timer_c, now + base.t1 * SILENT_T1);
        let Some(exchange) = self.exchanges.at(id) else { return false };
        let invite = exchange.is_invite();
        self.buffers.replace(&mut exchange.request, self.out.bytes(&range));
        exchange.client = Client::new(invite, now, &next.flow, &base);
        (exchange.target, exchange.branch, exchange.sent_at) = (next.flow, branch, now);
        exchange.pbx = next.pbx;
        exchange.provisional = false;
        exchange.redialled = false;
        exchange.stripped |= stripped;
        exchange.timer_c = if invite { timer_c } else { Time::FOREVER };
        exchange.patience = patience;
        if let Some(ticket) = &mut exchange.ticket {
            self.gate.on_passed_over(ticket, pbx);
        }
        if side == Side::Inside {
            self.pbxs.on_request(next.pbx);
        }
        if let Some(connection) = next.flow.connection {
            self.watch(connection, id);
        }
        self.out.send(side, &next.flow, range);
        self.arm(id);
        true
    }

    /// A request as it was sent to one target, for another. Our Via has another branch, what we
    /// wrote into Record-Route, Path and Contact another flow, PBX and transport; credentials were
    /// for the PBX that failed, and are taken out: whether there were any.
    fn write_again(
        &mut self,
        message: &Message<'_>,
        change: &Change<'_>,
    ) -> Option<(std::ops::Range<usize>, bool)> {
        let mut text = std::mem::take(&mut self.text);
        let mut splice = Splice::new(message, &mut text);
        splice.replace_with(message.via_value().span, |out| {
            out.extend_from_slice(b"SIP/2.0/");
            out.extend_from_slice(change.to.transport.as_via().as_bytes());
            out.push(b' ');
            self.names.write_sent_by(change.side, change.to, out);
            out.extend_from_slice(b";branch=");
            out.extend_from_slice(&change.branch.text());
            out.extend_from_slice(alias(change.side, change.to));
        });
        for name in [HeaderName::RecordRoute, HeaderName::Path] {
            for value in message.values(name) {
                self.edit_own_uri(&mut splice, &value, change);
            }
        }
        let mut stripped = false;
        if change.side == Side::Inside {
            if message.method() == Method::Register {
                for value in message.values(HeaderName::Contact) {
                    self.edit_own_uri(&mut splice, &value, change);
                }
            }
            for name in [HeaderName::Authorization, HeaderName::ProxyAuthorization] {
                for (index, _) in message.lines(name) {
                    splice.delete_line(index);
                    stripped = true;
                }
            }
        }
        edit_content_length(&mut splice, change.to.transport);
        let written = self.out.write(|out| splice.write(out));
        self.text = text;
        let range = written.ok().filter(|range| fits(change.to, range.len()))?;
        Some((range, stripped))
    }

    /// What of a URI with a token of ours changes.
    fn edit_own_uri(&self, splice: &mut Splice<'_, '_>, value: &Value<'_>, change: &Change<'_>) {
        let Some(address) = NameAddr::parse(value.bytes, value.span.start) else { return };
        let Some(uri) = Uri::parse(address.uri) else { return };
        let mut raw = Raw::default();
        let call_id = splice.message().call_id();
        let Some(token) = self.tokens.open(uri.user, call_id, &mut raw) else { return };
        if let Token::Flow(token) = token {
            let flow = match change.side {
                Side::Outside if token.flow == *change.from => *change.to,
                Side::Outside => return,
                Side::Inside => token.flow,
            };
            let token = FlowToken { flow, pbx: change.pbx, ..token };
            let start = address.uri_span.start + uri.scheme.len() as u16 + 1;
            let span = Span { start, end: start + uri.user.len() as u16 };
            splice.replace(span, &self.tokens.flow(&token, call_id));
        }
        // outside, what stands there is the inside address, which the PBX has not left
        if change.side == Side::Inside && change.from.transport != change.to.transport {
            edit_transport(splice, &address, change.to.transport);
        }
    }

    /// The connection to a PBX or a trunk was lost under a request: it goes out once more, as it is, on another
    /// one. To whoever had it this is a retransmission.
    pub(crate) fn try_redial(&mut self, now: Time, id: ExchangeId) -> bool {
        let Some(exchange) = self.exchanges.at(id) else { return false };
        if exchange.answered
            || exchange.cancel.is_some()
            || std::mem::replace(&mut exchange.redialled, true)
        {
            return false;
        }
        let (pbx, side, lost) = (exchange.pbx, exchange.origin_side.other(), exchange.target);
        let flow = match side {
            Side::Inside => self.flow_to(now, pbx, lost.local),
            Side::Outside => self.reconnect(now, &lost),
        };
        // a reload may have changed how it is reached: what was written names the old way
        let Some(flow) = flow.filter(|flow| flow.transport == lost.transport) else { return false };
        let Some(exchange) = self.exchanges.at(id) else { return false };
        exchange.target = flow;
        let range = self.out.copy(self.buffers.bytes(&exchange.request));
        if let Some(connection) = flow.connection {
            self.watch(connection, id);
        }
        self.out.send(side, &flow, range);
        true
    }
}

/// Whether more than a 100 went back.
fn has_rung(response: &[u8]) -> bool {
    response.get(8..11).is_some_and(|status| status != b"100")
}

/// Writes another transport into a URI of ours.
fn edit_transport(splice: &mut Splice<'_, '_>, address: &NameAddr<'_>, transport: Transport) {
    const PARAM: &[u8] = b";transport=";
    let mut text = Vec::new();
    write_transport(transport, &mut text);
    let (uri, start) = (address.uri, address.uri_span.start);
    let at = uri.windows(PARAM.len()).position(|window| window == PARAM);
    let semicolon = |from: usize| {
        let rest = uri.get(from..).unwrap_or_default();
        rest.iter().position(|byte| *byte == b';').map_or(uri.len(), |at| from + at)
    };
    let (from, to) = match at {
        Some(at) => (at, semicolon(at + 1)),
        None => (semicolon(0), semicolon(0)),
    };
    splice.replace(Span { start: start + from as u16, end: start + to as u16 }, &text);
}
