//! One request in passage: a server transaction towards its sender, a client transaction towards
//! its target, and the response context (RFC 3261 §16) that joins them. The edge has one target
//! at a time for each request, so the context is this pair.

use crate::buffers::Buffer;
use crate::hashed::Hashed;
use crate::io::Table;
use crate::pbxs::PbxSet;
use crate::slab::{Slab, SlotId};
use admission::{Branch, Ticket};
use policy::{Time, TimerBase};
use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasherDefault;
use std::net::SocketAddr;
use std::time::Duration;
use transaction::{Action, InviteClient, InviteServer, OtherClient, OtherServer, Reliability};
use wire::{Flow, Side};

/// A server transaction of either kind.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Server {
    Invite(InviteServer),
    Other(OtherServer),
}

/// A client transaction of either kind.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Client {
    Invite(InviteClient),
    Other(OtherClient),
}

/// Keys and answered requests for which room is always kept.
const ROOM_MIN: usize = 1_024;

/// An answer that comes so soon finds whoever waits for one: phones do for Timer B or F, 32 s.
const PROMPT: Duration = Duration::from_secs(1);

/// Names an exchange; a stale one names nothing.
pub(crate) type ExchangeId = SlotId;

/// The pair and what it needs.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) server: Server,
    pub(crate) client: Client,
    /// The client transaction of a CANCEL that was sent on.
    pub(crate) cancel: Option<OtherClient>,
    /// Where the request came from.
    pub(crate) origin_side: Side,
    pub(crate) origin: Flow,
    /// Where responses go: `origin`, but for a UDP client that did not ask for symmetric
    /// responses (RFC 3581) the port of its Via.
    pub(crate) answer_to: SocketAddr,
    /// Where the request went.
    pub(crate) target: Flow,
    /// The PBX that it went to, or came from.
    pub(crate) pbx: usize,
    /// PBXs that it went to before, in vain.
    pub(crate) tried: PbxSet,
    /// Until when the target may be silent while there is another one.
    pub(crate) patience: Time,
    /// When its sender outside, whose own timer ends soon, is told that nobody answers.
    pub(crate) give_up: Time,
    /// It went once more to a target whose connection was lost.
    pub(crate) redialled: bool,
    /// Key of its server transaction.
    pub(crate) key: u64,
    /// Key of the call over a trunk that it begins, 0 for others.
    pub(crate) call: u64,
    /// Key by which an INVITE that comes again by another way is known, 0 for others.
    pub(crate) merge_key: u64,
    /// Key of an ACK that has nothing right but the tags, 0 before a non-2xx final response.
    pub(crate) ack_key: u64,
    /// Key of the binding that a REGISTER with credentials asks for, when it is one and pending.
    pub(crate) asks: Option<u64>,
    /// Hash of its credentials, 0 for none.
    pub(crate) credentials: u64,
    /// The branch of our Via.
    pub(crate) branch: Branch,
    /// Index of the method in [`crate::Event::METHODS`].
    pub(crate) method: u8,
    /// What the gate is to be told of its outcome; `None` for a request from inside.
    pub(crate) ticket: Option<Ticket>,
    /// The request as it was sent on; after a non-2xx final response to an INVITE, the ACK.
    pub(crate) request: Buffer,
    /// The last response as it was sent back.
    pub(crate) response: Buffer,
    /// The CANCEL, waiting for a provisional response or sent (RFC 3261 §9.1).
    pub(crate) cancel_request: Buffer,
    /// Timer C (RFC 3261 §16.6 step 11), or the end of patience after a CANCEL.
    pub(crate) timer_c: Time,
    /// When the edge sends a 100 of its own.
    pub(crate) trying_at: Time,
    /// When the request went out first.
    pub(crate) sent_at: Time,
    /// Earliest entry in the timing wheel.
    pub(crate) armed: Time,
    /// Key of the flow that its dialog's route names, when it came by another one.
    pub(crate) moved_from: Option<u64>,
    /// When it is forgotten whatever state its transactions are in.
    pub(crate) until: Time,
    /// Its sender may be forged: what goes to it must be paid for.
    pub(crate) forgeable: bool,
    /// The gate knows its outcome. It is told of a challenge when that goes out, not before.
    pub(crate) told: bool,
    /// Its sender is not proven, and the PBX has said nothing to it.
    pub(crate) unheard: bool,
    /// Nobody has authenticated from where it comes from.
    pub(crate) stranger: bool,
    /// A drain waits for its final response: a stranger who shows no credentials holds up nobody.
    pub(crate) awaited: bool,
    /// A provisional response came back.
    pub(crate) provisional: bool,
    /// It was answered with a 2xx.
    pub(crate) accepted: bool,
    /// A final response went back, or none will.
    pub(crate) answered: bool,
    /// No final response will ever go back (RFC 4320 §4.2): the server transaction is dropped.
    pub(crate) abandoned: bool,
    /// Its sender outside speaks `sips`, or its target does.
    pub(crate) secure: bool,
    /// Foreign credentials were taken out: a challenge goes back with `stale=true`.
    pub(crate) stripped: bool,
    /// A final response is not repeated on a timer: nothing shows that the source receives what
    /// is sent to it (RFC 3261 §26.3.2.4). A repeated request fetches it again.
    pub(crate) quiet: bool,
}

impl Server {
    pub(crate) fn new(invite: bool, now: Time, flow: &Flow, base: &TimerBase) -> Self {
        let reliability = Reliability::from_reliable(flow.transport.is_reliable());
        if invite {
            Server::Invite(InviteServer::new(now, reliability, base))
        } else {
            Server::Other(OtherServer::new(now, reliability, base))
        }
    }

    pub(crate) fn on_request(&mut self, now: Time) -> Action {
        match self {
            Server::Invite(server) => server.on_request(now),
            Server::Other(server) => server.on_request(now),
        }
    }

    pub(crate) fn on_ack(&mut self, now: Time, base: &TimerBase) -> Action {
        match self {
            Server::Invite(server) => server.on_ack(now, base),
            Server::Other(_) => Action::None,
        }
    }

    pub(crate) fn on_sent(&mut self, now: Time, status: u16, base: &TimerBase) -> bool {
        match self {
            Server::Invite(server) => server.on_sent(now, status, base),
            Server::Other(server) => server.on_sent(now, status, base),
        }
    }

    pub(crate) fn on_timeout(&mut self, now: Time, base: &TimerBase) -> Action {
        match self {
            Server::Invite(server) => server.on_timeout(now, base),
            Server::Other(server) => server.on_timeout(now, base),
        }
    }

    fn deadline(&self) -> Option<Time> {
        match self {
            Server::Invite(server) => server.deadline(),
            Server::Other(server) => server.deadline(),
        }
    }

    pub(crate) fn is_terminated(&self) -> bool {
        match self {
            Server::Invite(server) => server.is_terminated(),
            Server::Other(server) => server.is_terminated(),
        }
    }
}

impl Client {
    pub(crate) fn new(invite: bool, now: Time, flow: &Flow, base: &TimerBase) -> Self {
        let reliability = Reliability::from_reliable(flow.transport.is_reliable());
        if invite {
            Client::Invite(InviteClient::new(now, reliability, base))
        } else {
            Client::Other(OtherClient::new(now, reliability, base))
        }
    }

    pub(crate) fn on_response(&mut self, now: Time, status: u16, base: &TimerBase) -> Action {
        match self {
            Client::Invite(client) => client.on_response(now, status, base),
            Client::Other(client) => client.on_response(now, status, base),
        }
    }

    pub(crate) fn on_timeout(&mut self, now: Time, base: &TimerBase) -> Action {
        match self {
            Client::Invite(client) => client.on_timeout(now, base),
            Client::Other(client) => client.on_timeout(now, base),
        }
    }

    pub(crate) fn on_transport_error(&mut self, now: Time) -> Action {
        match self {
            Client::Invite(client) => client.on_transport_error(now),
            Client::Other(client) => client.on_transport_error(now),
        }
    }

    fn deadline(&self) -> Option<Time> {
        match self {
            Client::Invite(client) => client.deadline(),
            Client::Other(client) => client.deadline(),
        }
    }

    pub(crate) fn is_terminated(&self) -> bool {
        match self {
            Client::Invite(client) => client.is_terminated(),
            Client::Other(client) => client.is_terminated(),
        }
    }
}

impl Exchange {
    /// When something of it is due.
    pub(crate) fn deadline(&self) -> Time {
        let of = |machine: Option<Time>| machine.unwrap_or(Time::FOREVER);
        let cancel = of(self.cancel.as_ref().and_then(OtherClient::deadline));
        let machines = of(self.server.deadline()).min(of(self.client.deadline())).min(cancel);
        machines
            .min(self.timer_c)
            .min(self.trying_at)
            .min(self.until)
            .min(self.patience)
            .min(self.give_up)
    }

    /// Whether nothing more can come of it.
    pub(crate) fn is_over(&self) -> bool {
        self.until == Time::ZERO
            || self.client.is_terminated()
                && self.cancel.as_ref().is_none_or(OtherClient::is_terminated)
                && (self.server.is_terminated() || self.abandoned)
    }

    /// Lets it be forgotten now.
    pub(crate) fn end(&mut self) {
        self.until = Time::ZERO;
    }

    pub(crate) fn is_invite(&self) -> bool {
        matches!(self.server, Server::Invite(_))
    }

    /// Whether the PBX that it went to first has answered so soon that its sender is to blame for
    /// not being there.
    pub(crate) fn is_prompt(&self, now: Time) -> bool {
        let first = self.tried == PbxSet::default() && !self.redialled;
        first && now.since(self.sent_at) < PROMPT
    }

    /// The flow that responses take.
    pub(crate) fn answer_flow(&self) -> Flow {
        Flow { remote: self.answer_to, ..self.origin }
    }
}

/// Whether so much room is left of a burst that what is used is better moved together: an eighth at
/// most, so that a load which comes and goes moves little.
fn is_spare(used: usize, room: usize) -> bool {
    room > ROOM_MIN && used < room / 8
}

/// All exchanges of a shard: a slab, and an index by server transaction.
#[derive(Debug)]
pub(crate) struct Exchanges {
    slab: Slab<Exchange>,
    index: HashMap<u64, u32, BuildHasherDefault<Hashed>>,
    /// The most keys that were in the index since room was given back.
    most: usize,
    capacity: usize,
    evictions: u64,
    unanswered: usize,
    /// Those of senders that are not proven to which the PBX has said nothing.
    unheard: usize,
    /// Those among the unanswered that a drain waits for.
    awaited: usize,
    /// Those of strangers, and how many may be.
    strangers: Table,
    /// Answered requests other than INVITE that only wait to be repeated (RFC 3261 §17.2.2, Timer
    /// J), the oldest first: strangers' and others'. Some may be gone by now.
    lingering: [VecDeque<ExchangeId>; 2],
}

/// What an exchange leaves behind.
#[derive(Debug)]
pub(crate) struct Remains {
    /// Its messages: request, response, CANCEL.
    pub(crate) messages: [Buffer; 3],
    /// Key of the call over a trunk that it began in vain, 0 for none.
    pub(crate) call: u64,
    /// The gate's, unless it was told how the request ended.
    pub(crate) ticket: Option<Ticket>,
}

impl Exchanges {
    pub(crate) fn new(capacity: usize, strangers: usize) -> Self {
        Exchanges {
            slab: Slab::default(),
            index: HashMap::default(),
            most: 0,
            capacity,
            evictions: 0,
            unanswered: 0,
            unheard: 0,
            awaited: 0,
            strangers: Table { capacity: strangers, ..Table::default() },
            lingering: Default::default(),
        }
    }

    pub(crate) fn configure(&mut self, capacity: usize, strangers: usize) {
        self.capacity = capacity;
        self.strangers.capacity = strangers;
    }

    fn has_room(&self, stranger: bool) -> bool {
        let among_strangers = !stranger || self.strangers.entries < self.strangers.capacity;
        among_strangers && self.slab.len() < self.capacity
    }

    fn on_full(&mut self, stranger: bool) {
        match stranger && self.strangers.entries >= self.strangers.capacity {
            true => self.strangers.evictions += 1,
            false => self.evictions += 1,
        }
    }

    /// What has to be forgotten before there is room for a new exchange: what has lingered longest,
    /// of strangers while there are any. If its request is repeated it passes as a new one.
    pub(crate) fn in_the_way(&mut self, stranger: bool) -> Option<ExchangeId> {
        if self.has_room(stranger) {
            return None;
        }
        let [others, strangers] = &self.lingering;
        let oldest = strangers.front().or_else(|| others.front().filter(|_| !stranger)).copied()?;
        self.on_full(stranger);
        Some(oldest)
    }

    /// A place for a new exchange; `None` when the table is full.
    pub(crate) fn try_reserve(&mut self, stranger: bool) -> Option<ExchangeId> {
        if !self.has_room(stranger) {
            self.on_full(stranger);
            return None;
        }
        Some(self.slab.reserve())
    }

    /// Gives a reserved place back.
    pub(crate) fn release(&mut self, id: ExchangeId) {
        self.slab.release(id);
    }

    /// Fills a reserved place. A server transaction with the same key is not found any more: a
    /// request with other credentials took its name.
    pub(crate) fn insert(&mut self, id: ExchangeId, exchange: Exchange) {
        self.index.insert(exchange.key, id.slot);
        self.most = self.most.max(self.index.len());
        self.strangers.entries += usize::from(exchange.stranger);
        self.awaited += usize::from(exchange.awaited);
        self.unheard += usize::from(exchange.unheard);
        if exchange.merge_key != 0 {
            self.index.insert(exchange.merge_key, id.slot);
        }
        self.slab.fill(id, exchange);
        self.unanswered += 1;
    }

    /// Lets an ACK to the final response be found by another key too.
    pub(crate) fn expect_ack(&mut self, id: ExchangeId, key: u64) {
        if let Some(exchange) = self.at(id)
            && exchange.ack_key == 0
        {
            exchange.ack_key = key;
            self.index.insert(key, id.slot);
        }
    }

    pub(crate) fn find(&self, key: u64) -> Option<ExchangeId> {
        self.slab.name(*self.index.get(&key)?)
    }

    /// The exchange whose Via has this branch.
    pub(crate) fn with_branch(&self, branch: &Branch) -> Option<ExchangeId> {
        let id = self.slab.name(branch.slot())?;
        (self.slab.at(id)?.branch == *branch).then_some(id)
    }

    pub(crate) fn at(&mut self, id: ExchangeId) -> Option<&mut Exchange> {
        self.slab.at_mut(id)
    }

    /// Notes that the PBX said something to it.
    pub(crate) fn heard(&mut self, id: ExchangeId) {
        if let Some(exchange) = self.slab.at_mut(id) {
            self.unheard -= usize::from(std::mem::take(&mut exchange.unheard));
        }
    }

    /// Notes that a final response went back, or that none ever will.
    pub(crate) fn answered(&mut self, id: ExchangeId) {
        self.heard(id);
        if let Some(exchange) = self.slab.at_mut(id)
            && !exchange.answered
        {
            exchange.answered = true;
            exchange.give_up = Time::FOREVER;
            self.unanswered -= 1;
            self.awaited -= usize::from(exchange.awaited);
            let of = &mut self.lingering[usize::from(exchange.stranger)];
            let lingers = !exchange.is_invite() && !exchange.server.is_terminated();
            if lingers && of.len() < self.capacity {
                of.push_back(id);
            }
        }
    }

    /// Forgets an exchange; what it leaves behind.
    pub(crate) fn remove(&mut self, id: ExchangeId) -> Option<Remains> {
        let exchange = self.slab.at_mut(id)?;
        self.unanswered -= usize::from(!exchange.answered);
        self.awaited -= usize::from(!exchange.answered && exchange.awaited);
        self.unheard -= usize::from(exchange.unheard);
        self.strangers.entries -= usize::from(exchange.stranger);
        for key in [exchange.key, exchange.ack_key, exchange.merge_key] {
            if self.index.get(&key) == Some(&id.slot) {
                self.index.remove(&key);
            }
        }
        let Exchange { request, response, cancel_request, .. } = exchange;
        let messages = [request, response, cancel_request].map(std::mem::take);
        let call = if exchange.accepted { 0 } else { exchange.call };
        let ticket = exchange.ticket.filter(|_| !exchange.told);
        let lingering = &mut self.lingering[usize::from(exchange.stranger)];
        self.slab.release(id);
        while lingering.front().is_some_and(|oldest| self.slab.at(*oldest).is_none()) {
            lingering.pop_front();
        }
        Some(Remains { messages, call, ticket })
    }

    /// Gives memory back once a burst is over; the slab does by itself.
    pub(crate) fn give_back(&mut self) {
        // its capacity does not tell: where keys were removed it seems smaller than it is
        let used = self.index.len();
        if is_spare(used, self.most) {
            self.index.shrink_to(2 * used);
            self.most = used;
        }
        for of in &mut self.lingering {
            if is_spare(of.len(), of.capacity()) {
                of.shrink_to(2 * of.len());
            }
        }
    }

    pub(crate) fn unanswered(&self) -> usize {
        self.unanswered
    }

    /// Those of senders that are not proven to which the PBX has said nothing.
    pub(crate) fn unheard(&self) -> usize {
        self.unheard
    }

    /// Those among them that a drain waits for.
    pub(crate) fn awaited(&self) -> usize {
        self.awaited
    }

    /// Those of strangers.
    pub(crate) fn strangers(&self) -> Table {
        self.strangers
    }

    pub(crate) fn table(&self) -> Table {
        Table { entries: self.slab.len(), capacity: self.capacity, evictions: self.evictions }
    }
}
