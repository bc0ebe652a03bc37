//! Requests: validation (RFC 3261 §16.3), the decision where they go, forwarding (§16.6).

use crate::Verdict;
use crate::buffers::{Buffer, Owner};
use crate::engine::{Arrival, Engine};
use crate::exchange::{Client, Exchange, Server};
use crate::hygiene::TERSE_TAG;
use crate::judge::Passage;
use crate::pbxs::PbxSet;
use crate::routing::{Hop, NO_PBX, Route};
use admission::Credentials;
use admission::branch::{Binds, NO_SLOT};
use admission::key::address_bytes;
use policy::{Reason, Time, Who, method_index};
use std::io::Write as _;
use std::net::SocketAddr;
use transaction::Action;
use wire::digest::Digest;
use wire::reply::Reply;
use wire::{Flow, HeaderName, Message, Method, Side, Uri};

/// By what an exchange is found and told apart.
#[derive(Clone, Copy, Debug)]
struct Keys {
    /// Of its server transaction.
    key: u64,
    /// Of the request, however it comes.
    merge_key: u64,
    /// Of the call over a trunk that it begins.
    call: u64,
    /// Hash of its credentials.
    credentials: u64,
}

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
    pub(crate) fn on_request(&mut self, now: Time, arrival: Arrival<'_, '_>) {
        match arrival.message.method() {
            Method::Ack => return self.on_ack(now, arrival),
            Method::Cancel => return self.on_cancel(now, arrival),
            _ => {}
        }
        let key = self.server_key(arrival);
        let credentials = self.credentials_hash(arrival.message);
        if self.absorbed(now, arrival, key, credentials) {
            return;
        }
        if self.is_shed(now, arrival) {
            return;
        }
        let pbx = match arrival.side {
            Side::Outside => self.pbx_for(now, arrival),
            Side::Inside => Ok(NO_PBX),
        };
        let place = pbx.unwrap_or(NO_PBX);
        if let Err(refusal) = self.validate(arrival, place) {
            return self.refuse(now, arrival, refusal);
        }
        let Some(passage) = self.judge(now, arrival, place) else { return };
        let passage = Passage { pbx, ..passage };
        if let Err(refusal) = self.pass_on(now, arrival, &passage, key, credentials) {
            if let Some(ticket) = &passage.ticket
                && refusal.reason != Reason::Merged
            {
                self.gate.on_superseded(now, ticket);
            }
            self.refuse(now, arrival, refusal);
        }
    }

    /// A request that may pass: where it goes, and whether there is room. What is refused from
    /// here on is not its sender's fault.
    fn pass_on(
        &mut self,
        now: Time,
        arrival: Arrival<'_, '_>,
        passage: &Passage,
        key: u64,
        credentials: u64,
    ) -> Result<(), Refusal> {
        if self.draining && arrival.message.to_tag().is_empty() {
            return Err(Refusal::new(Reason::Draining));
        }
        // asked last: it lets one request a second through to a silent PBX
        if arrival.side == Side::Outside
            && let Ok(pbx) = passage.pbx
            && !self.pbxs.at(pbx).is_some_and(|member| member.health.admits(now))
        {
            return Err(Refusal::new(Reason::PbxUnreachable));
        }
        let hop = match self.route(now, arrival, passage.pbx) {
            Ok(Route::Local) => return Err(Refusal::OK),
            Ok(Route::Shard(shard)) => {
                let bytes = arrival.message.bytes();
                self.out.hand_over(shard, arrival.side, arrival.flow, bytes);
                return Ok(());
            }
            Ok(Route::To(hop)) => hop,
            Err(reason @ (Reason::FlowFailed | Reason::TrunkUnreachable))
                if *b"OPTIONS" == *method_bytes(arrival.message) =>
            {
                // Asterisk takes any answer to its qualify OPTIONS, a refusal too, for a sign of
                // life of the phone or the carrier; silence is the truth
                self.note(arrival, Verdict::Drop, reason);
                return Ok(());
            }
            Err(reason) => return Err(Refusal::new(reason)),
        };
        let merge_key = self.merge_key(arrival);
        if self.is_merged(merge_key) {
            return Err(Refusal::new(Reason::Merged));
        }
        let call = self.try_begin_call(now, arrival, &hop.flow)?;
        let keys = Keys { key, merge_key, call, credentials };
        let forwarded = self.try_forward(now, arrival, &hop, keys, passage);
        match forwarded {
            Ok(()) => self.on_call_request(now, arrival, &hop.flow),
            Err(_) if call != 0 => drop(self.end_call(now, call, false)),
            Err(_) => {}
        }
        forwarded
    }

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
    fn merge_key(&self, arrival: Arrival<'_, '_>) -> u64 {
        let message = arrival.message;
        let starts = arrival.side == Side::Outside && message.to_tag().is_empty();
        if !starts || message.method() != Method::Invite {
            return 0;
        }
        let number = message.cseq().number.to_be_bytes();
        self.hash.hash(&[b"merged", message.call_id(), message.from_tag(), &number]).max(1)
    }

    /// Whether that INVITE is in passage: Asterisk would take it for a second call.
    fn is_merged(&mut self, merge_key: u64) -> bool {
        merge_key != 0
            && self
                .exchanges
                .find(merge_key)
                .and_then(|id| self.exchanges.at(id))
                .is_some_and(|exchange| exchange.merge_key == merge_key && !exchange.answered)
    }

    /// A retransmission is answered with what was answered before, and never judged twice.
    fn absorbed(
        &mut self,
        now: Time,
        arrival: Arrival<'_, '_>,
        key: u64,
        credentials: u64,
    ) -> bool {
        let Some(id) = self.exchanges.find(key) else { return false };
        let Some(exchange) = self.exchanges.at(id) else { return false };
        if exchange.credentials != credentials {
            return false;
        }
        let forgeable = exchange.forgeable;
        let repeated = exchange.server.on_request(now) == Action::Send;
        let owes = repeated && !exchange.response.is_empty();
        if forgeable {
            self.paid(now, arrival);
        }
        let mut reason = Reason::Retransmission;
        if owes && !self.try_send_response(now, id) {
            reason = Reason::Amplification;
        }
        self.note(arrival, Verdict::Absorb, reason);
        true
    }

    /// RFC 3261 §16.3.
    fn validate(&self, arrival: Arrival<'_, '_>, pbx: usize) -> Result<(), Refusal> {
        let message = arrival.message;
        // 2. "If the Request-URI has a URI whose scheme is not understood by the proxy, the proxy
        // SHOULD reject the request with a 416". A tel URI is the PBX's to understand.
        let scheme = message.request_uri().split(|&byte| byte == b':').next().unwrap_or_default();
        if ![&b"sip"[..], b"sips", b"tel"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
            return Err(Refusal::new(Reason::UnsupportedScheme));
        }
        // 3. "If the request contains a Max-Forwards header field with a field value of zero (0),
        // the element MUST NOT forward the request."
        if message.max_forwards() == Some(0) {
            return Err(Refusal::new(Reason::TooManyHops));
        }
        // 4. "An element MAY check for forwarding loops"
        if self.is_loop(arrival) {
            return Err(Refusal::new(Reason::Loop));
        }
        // 5. Proxy-Require: the edge has no extension that a client may require of it.
        if message.values(HeaderName::ProxyRequire).next().is_some() {
            return Err(Refusal::new(Reason::BadExtension));
        }
        if arrival.side == Side::Outside && !self.has_good_contacts(message, pbx) {
            return Err(Refusal::new(Reason::BadContact));
        }
        Ok(())
    }

    /// Whether the request passed here before with the same Request-URI: a Via of ours whose
    /// branch holds the same loop hash. With another one it is a spiral and goes on.
    fn is_loop(&self, arrival: Arrival<'_, '_>) -> bool {
        let message = arrival.message;
        let is_ours = |via: &wire::Via<'_>| {
            admission::Branch::parse(via.branch).is_some_and(|branch| {
                self.names.is_sent_by(&via.host, via.port, arrival.flow.local)
                    && branch.loop_hash() == self.loop_hash(message)
            })
        };
        // most requests come with one Via, which is read already
        let alone = message.via_value().last && message.lines(HeaderName::Via).nth(1).is_none();
        is_ours(message.via())
            || !alone
                && message.values(HeaderName::Via).skip(1).any(|value| {
                    wire::Via::parse(value.bytes, value.span.start).is_some_and(|via| is_ours(&via))
                })
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

    /// RFC 3261 §16.6, with one target.
    fn try_forward(
        &mut self,
        now: Time,
        arrival: Arrival<'_, '_>,
        hop: &Hop,
        keys: Keys,
        passage: &Passage,
    ) -> Result<(), Refusal> {
        let message = arrival.message;
        let Hop { side, flow: target, .. } = hop;
        let stranger = passage.ticket.is_some() && passage.who < Who::Known;
        let owner = if stranger { Owner::Stranger } else { Owner::Known };
        if let Some(oldest) = self.exchanges.in_the_way(stranger) {
            self.forget(oldest);
        }
        let Some(id) = self.exchanges.try_reserve(stranger) else {
            return Err(Refusal::new(Reason::Overload));
        };
        let binds = binds(arrival);
        let loop_hash = self.loop_hash(message);
        let branch = self.branches.make(now, self.shard, id.slot, id.generation, loop_hash, &binds);
        let Passage { credentials, ticket, .. } = *passage;
        self.asks = None;
        let written = self.write_request(now, arrival, hop, &branch, passage);
        let kept = written.and_then(|range| {
            self.buffers.try_keep(owner, self.out.bytes(&range)).map(|kept| (range, kept))
        });
        let Some((range, request)) = kept else {
            self.exchanges.release(id);
            return Err(Refusal::new(Reason::Overload));
        };
        let invite = message.method() == Method::Invite;
        let patience = self.patience(now, arrival, hop);
        let base = &self.policy.timers;
        let exchange = Exchange {
            server: Server::new(invite, now, &arrival.flow, base),
            client: Client::new(invite, now, target, base),
            cancel: None,
            origin_side: arrival.side,
            origin: arrival.flow,
            answer_to: answer_to(arrival),
            target: *target,
            pbx: hop.pbx,
            tried: PbxSet::default(),
            patience,
            redialled: false,
            key: keys.key,
            merge_key: keys.merge_key,
            call: keys.call,
            ack_key: 0,
            asks: self.asks,
            credentials: keys.credentials,
            branch,
            method: method_index(message.method()),
            ticket,
            request,
            response: Buffer::of(owner),
            cancel_request: Buffer::of(owner),
            timer_c: if invite { now + self.policy.timer_c } else { Time::FOREVER },
            trying_at: if invite && may_try(arrival, credentials) {
                now + self.policy.trying_after
            } else {
                Time::FOREVER
            },
            moved_from: self.moved_from(arrival),
            sent_at: now,
            armed: Time::FOREVER,
            until: Time::FOREVER,
            forgeable: self.is_forgeable(now, arrival),
            told: false,
            stranger,
            awaited: !stranger || ticket.is_some_and(|ticket| ticket.credentials),
            provisional: false,
            accepted: false,
            answered: false,
            abandoned: false,
            stripped: credentials.are_stripped(),
            secure: hop.secure,
            quiet: !(credentials == Credentials::Relayed || self.has_way_back(arrival)),
        };
        self.exchanges.insert(id, exchange);
        if *side == Side::Inside {
            self.pbxs.on_request(hop.pbx);
        }
        if let Some(connection) = target.connection {
            self.watch(connection, id);
        }
        self.out.send(*side, target, range);
        self.arm(id);
        let foreign = credentials == Credentials::Foreign;
        let reason = if foreign { Reason::ForeignNonce } else { Reason::Clean };
        self.note(arrival, Verdict::Forward, reason);
        Ok(())
    }

    /// Whether the source is known to receive what is sent to it: a stream, the PBX, or a request
    /// inside a dialog whose Route is ours and names that very address. Credentials whose nonce
    /// was relayed to the source count the same.
    fn has_way_back(&self, arrival: Arrival<'_, '_>) -> bool {
        if arrival.side == Side::Inside || arrival.flow.transport.is_reliable() {
            return true;
        }
        arrival.is_by_its_route()
    }

    /// Key of the flow that the dialog's route names, when the request came by another one.
    fn moved_from(&self, arrival: Arrival<'_, '_>) -> Option<u64> {
        if arrival.side == Side::Inside || arrival.message.to_tag().is_empty() {
            return None;
        }
        let began = arrival.route.map(|token| token.flow).filter(|flow| *flow != arrival.flow)?;
        Some(self.moves.key_of(&began, arrival.message.call_id()))
    }

    /// An ACK for a 2xx is no transaction of ours: it is passed on by itself (RFC 3261 §16.6,
    /// last paragraph of §17.1.1).
    pub(crate) fn forward_ack(&mut self, now: Time, arrival: Arrival<'_, '_>, hop: &Hop) {
        let Hop { side, flow, .. } = hop;
        let loop_hash = self.loop_hash(arrival.message);
        let binds = binds(arrival);
        let branch = self.branches.make(now, self.shard, NO_SLOT, 0, loop_hash, &binds);
        let proof = match arrival.side {
            Side::Outside => self.gate.proof(now, &arrival.flow),
            Side::Inside => None,
        };
        let trusted =
            arrival.side == Side::Inside || self.is_trusted(now, arrival.flow.remote.ip());
        let who = if trusted { Who::Trusted } else { Who::Unproven };
        let passage = Passage { who, proof, ..Passage::INSIDE };
        match self.write_request(now, arrival, hop, &branch, &passage) {
            Some(range) => {
                self.out.send(*side, flow, range);
                self.note(arrival, Verdict::Forward, Reason::Clean);
            }
            None => self.note(arrival, Verdict::Drop, Reason::Overload),
        }
    }

    fn credentials_hash(&self, message: &Message<'_>) -> u64 {
        [HeaderName::Authorization, HeaderName::ProxyAuthorization]
            .into_iter()
            .flat_map(|name| message.lines(name))
            .fold(0u64, |hash, (_, header)| {
                hash ^ self.hash.hash(&[&hash.to_be_bytes(), message.slice(header.value)]).max(1)
            })
    }

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
                let to_tag = match to_tag.get(..TERSE_TAG) {
                    Some(short) if !returns => short,
                    _ => to_tag,
                };
                let headers = if challenge { headers } else { b"" };
                let terse = Reply { reason: "No", to_tag, headers, compact: true, ..reply };
                range = write(&terse, &mut self.out);
            }
            if self.grounds.is_none() {
                self.paid(now, arrival);
            }
            if !self.credits.covers(now, source.ip(), range.len(), false) {
                return false;
            }
            self.spent(now, source.ip(), range.len());
        }
        let flow = Flow { remote: answer_to(arrival), ..arrival.flow };
        self.out.send(arrival.side, &flow, range);
        true
    }

    /// Whether the To-tag of an ACK is that of a stateless answer.
    pub(crate) fn is_stateless_tag(&self, ack: &Message<'_>) -> bool {
        let tag = self.stateless_tag(ack);
        ack.to_tag() == tag || Some(ack.to_tag()) == tag.get(..TERSE_TAG)
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
        505 => "Version Not Supported",
        603 => "Decline",
        400 => "Bad Request",
        _ => "Refused",
    }
}

/// Where a response to this request goes (RFC 3261 §18.2.2, RFC 3581 §4): to the source; but a
/// client that did not ask for that and is not behind a NAT listens at its Via's port.
pub(crate) fn answer_to(arrival: Arrival<'_, '_>) -> SocketAddr {
    let (via, remote) = (arrival.message.via(), arrival.flow.remote);
    let natted = via.host != wire::Host::Address(remote.ip());
    let reliable = arrival.flow.transport.is_reliable();
    if reliable || via.rport.is_some() || natted || arrival.side == Side::Inside {
        return remote;
    }
    SocketAddr::new(remote.ip(), via.port.unwrap_or(5060))
}

pub(crate) fn binds<'a>(arrival: Arrival<'_, 'a>) -> Binds<'a> {
    Binds {
        call_id: arrival.message.call_id(),
        from_tag: arrival.message.from_tag(),
        source: arrival.flow.remote.ip(),
    }
}

pub(crate) fn method_bytes<'a>(message: &Message<'a>) -> &'a [u8] {
    match message.method() {
        Method::Other(name) => name,
        known => crate::Event::METHODS[usize::from(method_index(known))].as_bytes(),
    }
}

/// Whether the edge may say 100 by itself (RFC 3261 §16.2). Not before a challenge: old clients
/// do not answer a 401 that a 100 went before, and a request without good credentials from
/// outside is challenged at once.
fn may_try(arrival: Arrival<'_, '_>, credentials: Credentials) -> bool {
    arrival.side == Side::Inside
        || credentials == Credentials::Relayed
        || !arrival.message.to_tag().is_empty()
}

/// Credentials for digest, with the index of their line.
pub(crate) fn credentials<'a>(message: &Message<'a>) -> impl Iterator<Item = (usize, Digest<'a>)> {
    [HeaderName::Authorization, HeaderName::ProxyAuthorization]
        .into_iter()
        .flat_map(move |name| message.lines(name))
        .map(move |(index, header)| (index, Digest::parse(message, header)))
}

/// `user@host` of a URI, without escapes undone: how bindings and events name an AOR.
pub(crate) fn aor(uri: &[u8]) -> &[u8] {
    let Some(parsed) = Uri::parse(uri) else { return uri };
    let start = parsed.scheme.len() + 1;
    let rest = uri.get(start..).unwrap_or_default();
    let host_from = parsed.user.len() + parsed.password.len();
    let end = rest
        .get(host_from..)
        .and_then(|rest| rest.iter().position(|byte| matches!(byte, b';' | b'?')))
        .map_or(rest.len(), |at| host_from + at);
    rest.get(..end).unwrap_or(rest)
}
