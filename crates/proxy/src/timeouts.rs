//! What happens when nothing happens: retransmissions, timers B, C, F, the 100 of the edge.

use crate::engine::{Arrival, Engine};
use crate::exchange::ExchangeId;
use policy::Time;
use transaction::Action;
use wire::{ConnectionId, Side};

/// How many T1 a PBX that refuses datagrams is waited for before its clients are told: a restart
/// takes about a second, and is bridged by retransmissions.
const REFUSED_T1: u32 = 8;

/// How many T1 a request may go unanswered by the PBX: its sender's own Timer B or F ends at 64·T1,
/// and it hears of nothing that comes later.
const GIVE_UP_T1: u32 = 60;

impl Engine {
    pub(crate) fn on_exchange_due(&mut self, now: Time, id: ExchangeId) {
        let Some(exchange) = self.exchanges.at(id) else { return };
        exchange.armed = Time::FOREVER;
        if exchange.until <= now {
            // a challenge that was never paid for opened nothing, and ends none
            exchange.end();
            return self.settle(id);
        }
        if exchange.trying_at <= now {
            exchange.trying_at = Time::FOREVER;
            if exchange.response.is_empty() && !exchange.answered {
                self.answer(now, id, 100);
            }
        }
        self.on_impatience(now, id);
        self.on_give_up(now, id);
        self.on_client_due(now, id);
        self.on_cancel_due(now, id);
        self.on_timer_c(now, id);
        self.on_server_due(now, id);
        self.settle(id);
    }

    fn on_client_due(&mut self, now: Time, id: ExchangeId) {
        let base = self.policy.timers;
        while let Some(exchange) = self.exchanges.at(id) {
            match exchange.client.on_timeout(now, &base) {
                Action::Send => {
                    let inwards = exchange.origin_side == Side::Outside;
                    let waited = now.since(exchange.sent_at) >= base.t1.saturating_mul(REFUSED_T1);
                    let (pbx, sent_at) = (exchange.pbx, exchange.sent_at);
                    if inwards && waited {
                        self.pbxs.on_doubt(now, pbx, sent_at);
                    }
                    let health = self.pbxs.at(pbx).map(|member| member.health);
                    let refused = health.is_some_and(|health| health.is_refusing(sent_at));
                    let down = refused || health.is_some_and(|health| !health.is_up());
                    // who is known to be gone is not waited for where there is another
                    let hopeless = inwards && down && !exchange.provisional;
                    if hopeless && self.pbxs.has_others(pbx) {
                        self.note_failure(now, id);
                        if self.try_next_at_once(now, id) {
                            return;
                        }
                    }
                    let Some(exchange) = self.exchanges.at(id) else { return };
                    if inwards && waited && refused {
                        exchange.client.on_transport_error(now);
                        self.note_failure(now, id);
                        return self.give_up(now, id, 503);
                    }
                    let Some(exchange) = self.exchanges.at(id) else { return };
                    let (side, flow) = (exchange.origin_side.other(), exchange.target);
                    let range = self.out.copy(self.buffers.bytes(&exchange.request));
                    self.out.send(side, &flow, range);
                }
                Action::TimedOut => {
                    return self.on_no_answer(now, id);
                }
                Action::None => return,
                _ => {}
            }
        }
    }

    /// When whoever sent this request is told that nobody answers. The PBX knows by itself.
    pub(crate) fn gives_up(&self, now: Time, arrival: Arrival<'_, '_>) -> Time {
        match arrival.side {
            Side::Outside => now + self.policy.timers.t1.saturating_mul(GIVE_UP_T1),
            Side::Inside => Time::FOREVER,
        }
    }

    fn on_give_up(&mut self, now: Time, id: ExchangeId) {
        let Some(exchange) = self.exchanges.at(id) else { return };
        if exchange.give_up > now {
            return;
        }
        exchange.give_up = Time::FOREVER;
        let rings = exchange.is_invite() && exchange.provisional;
        if !exchange.answered && !rings {
            exchange.client.on_transport_error(now);
            self.on_no_answer(now, id);
        }
    }

    fn on_no_answer(&mut self, now: Time, id: ExchangeId) {
        self.note_failure(now, id);
        let Some(exchange) = self.exchanges.at(id) else { return };
        let inwards = exchange.origin_side == Side::Outside;
        let (invite, pbx) = (exchange.is_invite(), exchange.pbx);
        let unserved = inwards && !(invite && self.pbxs.is_up(pbx));
        self.give_up(now, id, if unserved { 503 } else { 408 });
    }

    /// Nobody answered. For an INVITE that is a 408 (§16.8), or a 503 when the whole PBX is
    /// silent. For anything else "a transaction-stateful SIP proxy MUST NOT send a response with
    /// Status-Code of 408" (RFC 4320 §4.2): a 503 while its sender still waits, or nothing.
    fn give_up(&mut self, now: Time, id: ExchangeId, status: u16) {
        let Some(exchange) = self.exchanges.at(id) else { return };
        if exchange.answered {
            return;
        }
        if exchange.is_invite() || status == 503 {
            self.answer(now, id, status);
        }
        self.abandon(id);
    }

    /// The connection that the request went to is gone: it goes to another target, or its sender
    /// learns it at once. A qualify OPTIONS stays unanswered, as any answer would count as a sign of
    /// life.
    pub(crate) fn on_flow_failed(&mut self, now: Time, id: ExchangeId, lost: ConnectionId) {
        let Some(exchange) = self.exchanges.at(id) else { return };
        if exchange.target.connection != Some(lost) {
            return;
        }
        let inwards = exchange.origin_side == Side::Outside;
        let trunk = self.trunks.has(exchange.target.remote);
        let unanswered = !exchange.answered && !exchange.client.is_terminated();
        let provisional = exchange.provisional;
        if unanswered {
            if self.try_redial(now, id) {
                return;
            }
            self.note_failure(now, id);
            if !provisional && self.try_next_at_once(now, id) {
                return;
            }
        }
        let Some(exchange) = self.exchanges.at(id) else { return };
        let options = crate::Event::METHODS[usize::from(exchange.method)] == "OPTIONS";
        exchange.client.on_transport_error(now);
        if let Some(cancel) = &mut exchange.cancel {
            cancel.on_transport_error(now);
        }
        exchange.timer_c = Time::FOREVER;
        if !exchange.answered {
            if inwards || !options {
                // RFC 3261 §16.9; a phone that is gone is no fault of the edge's
                self.answer(now, id, if inwards || trunk { 503 } else { 480 });
            }
            self.abandon(id);
        }
        self.settle(id);
    }

    fn on_cancel_due(&mut self, now: Time, id: ExchangeId) {
        let base = self.policy.timers;
        while let Some(exchange) = self.exchanges.at(id) {
            let Some(cancel) = &mut exchange.cancel else { return };
            match cancel.on_timeout(now, &base) {
                Action::Send => {
                    let (side, flow) = (exchange.origin_side.other(), exchange.target);
                    let range = self.out.copy(self.buffers.bytes(&exchange.cancel_request));
                    self.out.send(side, &flow, range);
                }
                Action::None => return,
                _ => {}
            }
        }
    }

    /// §16.8: "If the client transaction has received a provisional response, the proxy MUST
    /// generate a CANCEL request matching that transaction. If the client transaction has not
    /// received a provisional response, the proxy MUST behave as if the transaction received a
    /// 408 (Request Timeout) response."
    fn on_timer_c(&mut self, now: Time, id: ExchangeId) {
        let Some(exchange) = self.exchanges.at(id) else { return };
        if exchange.timer_c > now {
            return;
        }
        exchange.timer_c = Time::FOREVER;
        if exchange.answered {
            return;
        }
        if exchange.provisional && exchange.cancel.is_none() {
            self.cancel(now, id, None);
            self.send_cancel(now, id);
            return;
        }
        let status = if exchange.cancel.is_some() { 487 } else { 408 };
        exchange.client.on_transport_error(now);
        self.answer(now, id, status);
        self.abandon(id);
    }

    fn on_server_due(&mut self, now: Time, id: ExchangeId) {
        let base = self.policy.timers;
        while let Some(exchange) = self.exchanges.at(id) {
            match exchange.server.on_timeout(now, &base) {
                Action::Send if exchange.quiet || exchange.response.is_empty() => {}
                Action::Send => {
                    self.try_send_response(now, id);
                }
                Action::None => return,
                _ => {}
            }
        }
    }

    fn abandon(&mut self, id: ExchangeId) {
        self.on_superseded(id);
        self.exchanges.answered(id);
        if let Some(exchange) = self.exchanges.at(id)
            && exchange.response.is_empty()
        {
            exchange.abandoned = true;
        }
    }
}
