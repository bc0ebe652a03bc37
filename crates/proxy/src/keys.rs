//! By what requests are known again: repetitions, what belongs to a transaction, loops.

use crate::engine::{Arrival, Engine};
use crate::request::method_bytes;
use admission::key::address_bytes;
use wire::{HeaderName, Message, Method, Side};

/// By what an exchange is found and told apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keys {
    /// Of its server transaction.
    pub(crate) key: u64,
    /// Of the request, however it comes.
    pub(crate) merge_key: u64,
    /// Of the call over a trunk that it begins.
    pub(crate) call: u64,
    /// Hash of its credentials.
    pub(crate) credentials: u64,
}

impl Engine {
    /// The key of the server transaction that a request belongs to (RFC 3261 §17.2.3), with the
    /// source address, so that nobody reaches into another's transaction, and the CSeq number: a
    /// client that answers a challenge under the same branch starts anew.
    pub(crate) fn server_key(&self, arrival: Arrival<'_, '_>) -> u64 {
        let message = arrival.message;
        let via = message.via();
        let number = message.cseq().number.to_be_bytes();
        let source = address_bytes(arrival.flow.remote.ip());
        let method = match message.method() {
            Method::Ack | Method::Cancel | Method::Invite => b"INVITE",
            _ => method_bytes(message),
        };
        if via.branch.starts_with(b"z9hG4bK") && via.branch.len() > 7 {
            self.hash.hash(&[&source, via.sent_by(), via.branch, method, &number])
        } else {
            // RFC 2543: no branch that could be relied upon
            let (uri, call_id) = (message.request_uri(), message.call_id());
            let (tag, sent_by) = (message.from_tag(), via.sent_by());
            self.hash.hash(&[&source, sent_by, call_id, tag, uri, method, &number])
        }
    }

    /// Key of the ACK to a non-2xx response by what honest clients get right in it: Call-ID and
    /// tags. Branch, CSeq number and hosts may be wrong.
    pub(crate) fn ack_key(&self, message: &Message<'_>, source: std::net::IpAddr) -> u64 {
        let source = address_bytes(source);
        let (call_id, from, to) = (message.call_id(), message.from_tag(), message.to_tag());
        self.hash.hash(&[b"ACK", &source, call_id, from, to]).max(1)
    }

    /// What makes a request the same however it comes (RFC 3261 §8.2.2.2): From-tag, Call-ID and
    /// CSeq; 0 for all but an INVITE from outside that starts a dialog.
    pub(crate) fn merge_key(&self, arrival: Arrival<'_, '_>) -> u64 {
        let message = arrival.message;
        let starts = arrival.side == Side::Outside && message.to_tag().is_empty();
        if !starts || message.method() != Method::Invite {
            return 0;
        }
        let number = message.cseq().number.to_be_bytes();
        self.hash.hash(&[b"merged", message.call_id(), message.from_tag(), &number]).max(1)
    }

    /// Whether that INVITE is in passage: Asterisk would take it for a second call.
    pub(crate) fn is_merged(&mut self, merge_key: u64) -> bool {
        merge_key != 0
            && self
                .exchanges
                .find(merge_key)
                .and_then(|id| self.exchanges.at(id))
                .is_some_and(|exchange| exchange.merge_key == merge_key && !exchange.answered)
    }

    /// RFC 3261 §16.6 step 8: over what a loop leaves unchanged and a spiral does not.
    pub(crate) fn loop_hash(&self, message: &Message<'_>) -> u32 {
        let number = message.cseq().number.to_be_bytes();
        self.hash.hash(&[
            message.request_uri(),
            message.from_tag(),
            message.to_tag(),
            message.call_id(),
            &number,
            method_bytes(message),
        ]) as u32
    }

    /// Hash of a request's credentials, as they stand there; 0 when it has none.
    pub(crate) fn credentials_hash(&self, message: &Message<'_>) -> u64 {
        [HeaderName::Authorization, HeaderName::ProxyAuthorization]
            .into_iter()
            .flat_map(|name| message.lines(name))
            .fold(0u64, |hash, (_, header)| {
                hash.rotate_left(1) ^ self.hash.hash_one(message.slice(header.value)).max(1)
            })
    }
}
