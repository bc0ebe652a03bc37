//! Requests: validation (RFC 3261 §16.3), the decision where they go, forwarding (§16.6).

use crate::Verdict;
use crate::buffers::{Buffer, Owner};
use crate::engine::{Arrival, Engine};
use crate::exchange::{Client, Exchange, Server};
use crate::judge::Passage;
use crate::keys::Keys;
use crate::pbxs::PbxSet;
use crate::refusal::Refusal;
use crate::routing::{Hop, NO_PBX, Route};
use admission::branch::{Binds, NO_SLOT};
use admission::{Branch, Credentials};
use policy::{Reason, Time, Who, method_index};
use std::net::SocketAddr;
use transaction::Action;
use wire::{Digest, HeaderName, Message, Method, Side};

/// What an exchange begins with: the request as it was sent on, and by what it is known.
struct Begun {
    keys: Keys,
    branch: Branch,
    owner: Owner,
    request: Buffer,
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
            return self.refuse_unfit(now, arrival, refusal);
        }
        let Some(passage) = self.judge(now, arrival, place) else { return };
        let passage = Passage { pbx, ..passage };
        if let Err(refusal) = self.pass_on(now, arrival, &passage, key, credentials) {
            match (passage.ticket, refusal.reason) {
                // whoever could end his challenges by what he sends would
                (Some(mut ticket), Reason::Merged | Reason::TooLarge) => {
                    self.gate.on_ended(&mut ticket);
                }
                (Some(mut ticket), _) => self.gate.on_superseded(&mut ticket),
                (None, _) => {}
            }
            self.refuse(now, arrival, refusal);
        }
    }

    /// A request that may pass: where it goes, and whether there is room. What is refused from
    /// here on is not its sender's fault, but for one that is too large or comes twice.
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
        self.asks = None;
        let written = self.write_request(now, arrival, hop, &branch, passage);
        let kept = written.and_then(|range| {
            let kept = self.buffers.try_keep(owner, self.out.bytes(&range));
            kept.map(|kept| (range, kept)).ok_or(Reason::Overload)
        });
        let (range, request) = match kept {
            Ok(kept) => kept,
            Err(reason) => {
                self.exchanges.release(id);
                return Err(Refusal::new(reason));
            }
        };
        let begun = Begun { keys, branch, owner, request };
        let exchange = self.begin(now, arrival, hop, passage, begun);
        self.exchanges.insert(id, exchange);
        if hop.side == Side::Inside {
            self.pbxs.on_request(hop.pbx);
        }
        if let Some(connection) = hop.flow.connection {
            self.watch(connection, id);
        }
        self.out.send(hop.side, &hop.flow, range);
        self.arm(id);
        let foreign = passage.credentials == Credentials::Foreign;
        let reason = if foreign { Reason::ForeignNonce } else { Reason::Clean };
        self.note(arrival, Verdict::Forward, reason);
        Ok(())
    }

    /// What is remembered of a request that goes on: both its transactions (§17) and what joins them.
    fn begin(
        &self,
        now: Time,
        arrival: Arrival<'_, '_>,
        hop: &Hop,
        passage: &Passage,
        begun: Begun,
    ) -> Exchange {
        let Begun { keys, branch, owner, request } = begun;
        let Passage { credentials, ticket, .. } = *passage;
        let invite = arrival.message.method() == Method::Invite;
        let stranger = owner == Owner::Stranger;
        let base = &self.policy.timers;
        Exchange {
            server: Server::new(invite, now, &arrival.flow, base),
            client: Client::new(invite, now, &hop.flow, base),
            cancel: None,
            origin_side: arrival.side,
            origin: arrival.flow,
            answer_to: answer_to(arrival),
            target: hop.flow,
            pbx: hop.pbx,
            tried: PbxSet::default(),
            patience: self.patience(now, arrival, hop),
            give_up: self.gives_up(now, arrival),
            redialled: false,
            key: keys.key,
            merge_key: keys.merge_key,
            call: keys.call,
            ack_key: 0,
            asks: self.asks,
            credentials: keys.credentials,
            branch,
            method: method_index(arrival.message.method()),
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
            unheard: ticket.is_some_and(|ticket| ticket.who == Who::Unproven),
            stranger,
            awaited: !stranger || ticket.is_some_and(|ticket| ticket.credentials),
            provisional: false,
            accepted: false,
            answered: false,
            abandoned: false,
            stripped: credentials.are_stripped(),
            secure: hop.secure,
            quiet: !(credentials == Credentials::Relayed || self.has_way_back(arrival)),
        }
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
            Ok(range) => {
                self.out.send(*side, flow, range);
                self.note(arrival, Verdict::Forward, Reason::Clean);
            }
            Err(reason) => self.note(arrival, Verdict::Drop, reason),
        }
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
        .map(move |(index, header)| (index, message.digest(header)))
}
