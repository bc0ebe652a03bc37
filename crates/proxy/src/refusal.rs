//! Answers of the edge's own: what they say, and that nobody is sent more than he paid for.

use crate::Verdict;
use crate::engine::{Arrival, Engine};
use crate::hygiene::terse_tag;
use crate::request::answer_to;
use policy::{Reason, Time};
use std::io::Write as _;
use wire::reply::Reply;
use wire::{Flow, HeaderName, Message, Method};

/// RFC 3261 §20.5: what a stranger may send.
const ALLOW: &[u8] =
    b"Allow: INVITE, ACK, CANCEL, OPTIONS, REGISTER, SUBSCRIBE, PUBLISH, MESSAGE\r\n";

/// An answer of the edge's own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) reason: Reason,
}

impl Engine {
    /// Answers a request here and forgets it (RFC 3261 §8.2.7): a repeated one gets the same
    /// answer with the same tag.
    pub(crate) fn refuse(&mut self, now: Time, arrival: Arrival<'_, '_>, refusal: Refusal) {
        let sent = self.send_refusal(now, arrival, refusal);
        self.note_answer(arrival, refusal.status, refusal.reason, sent);
    }

    /// The decision on a request that was answered here, or would have been, had it been paid
    /// for.
    pub(crate) fn note_answer(
        &mut self,
        arrival: Arrival<'_, '_>,
        status: u16,
        reason: Reason,
        sent: bool,
    ) {
        if sent {
            self.note(arrival, Verdict::Reject(status), reason);
        } else {
            self.note(arrival, Verdict::Drop, Reason::Amplification);
        }
    }

    /// Whether it was sent.
    pub(crate) fn send_refusal(
        &mut self,
        now: Time,
        arrival: Arrival<'_, '_>,
        refusal: Refusal,
    ) -> bool {
        let message = arrival.message;
        let mut headers = std::mem::take(&mut self.text);
        headers.clear();
        // writing to a Vec does not fail
        match (refusal.status, refusal.reason) {
            (486 | 503, _) => {
                drop(write!(headers, "Retry-After: {}\r\n", self.retry_after()));
            }
            (405, _) => headers.extend_from_slice(ALLOW),
            (_, Reason::BadExtension) => {
                for value in message.values(HeaderName::ProxyRequire) {
                    headers.extend_from_slice(b"Unsupported: ");
                    headers.extend_from_slice(value.bytes);
                    headers.extend_from_slice(b"\r\n");
                }
            }
            _ => {}
        }
        let tag = self.stateless_tag(message);
        let sent = self.reply(now, arrival, refusal.status, &tag, &headers);
        self.text = headers;
        sent
    }

    /// Sends a stateless answer. `false` when its source may be forged and has not paid for it
    /// yet.
    pub(crate) fn reply(
        &mut self,
        now: Time,
        arrival: Arrival<'_, '_>,
        status: u16,
        to_tag: &[u8],
        headers: &[u8],
    ) -> bool {
        let source = arrival.flow.remote;
        let reply =
            Reply { status, reason: phrase(status), to_tag, headers, source, compact: false };
        let write = |reply: &Reply<'_>, out: &mut crate::outbox::Outbox| {
            let Ok(range) = out.write(|out| {
                reply.write(arrival.message, out);
                Ok::<(), std::convert::Infallible>(())
            });
            range
        };
        let mut range = write(&reply, &mut self.out);
        if self.is_forgeable(now, arrival) {
            let asked = arrival.message.bytes().len();
            if range.len() > asked {
                // a challenge's headers are the challenge, and its tag is a proof if it comes back
                let challenge = status == 401;
                let returns = challenge && arrival.message.method() == Method::Invite;
                let to_tag = if returns { to_tag } else { terse_tag(to_tag) };
                let headers = if challenge { headers } else { b"" };
                let terse = Reply { reason: "No", to_tag, headers, compact: true, ..reply };
                range = write(&terse, &mut self.out);
            }
            if self.grounds.is_none() {
                self.paid(now, arrival);
            }
            let payer = self.credits.payer(source.ip());
            if !self.credits.covers(now, payer, range.len(), false) {
                return false;
            }
            self.spent(now, payer, range.len());
        }
        let flow = Flow { remote: answer_to(arrival), ..arrival.flow };
        self.out.send(arrival.side, &flow, range);
        true
    }

    /// Whether the To-tag of an ACK is that of a stateless answer.
    pub(crate) fn is_stateless_tag(&self, ack: &Message<'_>) -> bool {
        let tag = self.stateless_tag(ack);
        ack.to_tag() == tag || ack.to_tag() == terse_tag(&tag)
    }

    /// The To-tag of stateless answers: a hash of what a retransmission and its ACK repeat.
    pub(crate) fn stateless_tag(&self, message: &Message<'_>) -> [u8; 16] {
        let hash = self.hash.hash(&[b"tag", message.call_id(), message.from_tag()]);
        let mut tag = [0; 16];
        for (at, digit) in tag.iter_mut().enumerate() {
            *digit = b"0123456789abcdef"[(hash >> (4 * at)) as usize & 15];
        }
        tag
    }
}

impl Refusal {
    pub(crate) const OK: Refusal = Refusal { status: 200, reason: Reason::Clean };

    /// The one place that turns reasons into status codes.
    pub(crate) fn new(reason: Reason) -> Self {
        let status = match reason {
            Reason::UnsupportedScheme => 416,
            Reason::UnsupportedVersion => 505,
            Reason::TooLarge => 513,
            Reason::TooManyHops => 483,
            Reason::Loop | Reason::Merged => 482,
            Reason::BadExtension => 420,
            Reason::BadToken | Reason::NoRoute => 404,
            Reason::NoTransaction => 481,
            Reason::FlowFailed => 480,
            Reason::Timeout => 408,
            Reason::Overload
            | Reason::PbxUnreachable
            | Reason::TrunkUnreachable
            | Reason::Draining
            | Reason::TrunkCalls
            | Reason::TrunkRate => 503,
            _ => 400,
        };
        Refusal { status, reason }
    }
}

/// Reason phrases (RFC 3261 §21).
pub(crate) fn phrase(status: u16) -> &'static str {
    match status {
        100 => "Trying",
        200 => "OK",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        416 => "Unsupported URI Scheme",
        420 => "Bad Extension",
        480 => "Temporarily Unavailable",
        481 => "Call/Transaction Does Not Exist",
        482 => "Loop Detected",
        483 => "Too Many Hops",
        486 => "Busy Here",
        487 => "Request Terminated",
        488 => "Not Acceptable Here",
        503 => "Service Unavailable",
        500 => "Server Internal Error",
        505 => "Version Not Supported",
        513 => "Message Too Large",
        603 => "Decline",
        400 => "Bad Request",
        _ => "Refused",
    }
}
