//! The engine's surface, and the first steps of a message: what it is, and whom it is for.

use crate::bindings::Bindings;
use crate::buffers::Buffers;
use crate::calls::Calls;
use crate::connections::Connections;
use crate::credit::Credits;
use crate::decisions::{Decision, Decisions};
use crate::exchange::{ExchangeId, Exchanges, Remains};
use crate::hygiene::Hidden;
use crate::io::{Input, Learned, Output, PbxState, Snapshot};
use crate::load::Load;
use crate::moves::Moves;
use crate::names::Names;
use crate::outbox::Outbox;
use crate::pbxs::Pbxs;
use crate::refusal::Refusal;
use crate::token::{FlowToken, Tokens};
use crate::trunks::Trunks;
use crate::{Event, Grounds, Verdict};
use admission::{BranchKey, Gate, Key};
use policy::{Policy, Reason, Time, method_index};
use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use transaction::Timers;
use wire::{ConnectionId, Flow, Malformed, Message, Method, ShardId, Side};

/// Deadlines that one [`Engine::handle_timeout`] lets fire; the rest stays due.
const TIMEOUTS_PER_CALL: usize = 4_096;
/// Bindings looked at for expiry with each timeout call.
const SWEEP_STEPS: usize = 8;

/// One shard's engine.
#[derive(Debug)]
pub struct Engine {
    pub(crate) policy: Arc<Policy>,
    pub(crate) shard: ShardId,
    pub(crate) shards: u8,
    secret: [u8; 32],
    pub(crate) names: Names,
    /// Keys of tables, and tags of stateless answers.
    pub(crate) hash: Key,
    pub(crate) branches: BranchKey,
    pub(crate) tokens: Tokens,
    pub(crate) gate: Gate,
    /// What the gate knew of the request that is dealt with now; its event takes it along.
    pub(crate) grounds: Option<Grounds>,
    /// How long the PBX took for the answer that is dealt with now; its event takes it along.
    pub(crate) waited: Option<Duration>,
    pub(crate) hidden: Hidden,
    pub(crate) credits: Credits,
    /// Bytes from, and to, sources that may be forged.
    pub(crate) unproven_bytes: [u64; 2],
    pub(crate) exchanges: Exchanges,
    pub(crate) bindings: Bindings,
    pub(crate) moves: Moves,
    pub(crate) trunks: Trunks,
    pub(crate) calls: Calls,
    pub(crate) connections: Connections,
    pub(crate) buffers: Buffers,
    pub(crate) timers: Timers<Timer>,
    pub(crate) pbxs: Pbxs,
    pub(crate) out: Outbox,
    decisions: Decisions,
    /// The time of the stimulus that is dealt with now.
    pub(crate) clock: Time,
    pub(crate) draining: bool,
    pub(crate) load: Load,
    rng: ChaCha8Rng,
    /// The one binding that the REGISTER which is written now asks for; its exchange takes it along.
    pub(crate) asks: Option<u64>,
    /// Lent to splices.
    pub(crate) text: Vec<u8>,
    /// Lent to whoever builds a URI.
    pub(crate) uri: Vec<u8>,
}

/// What a deadline belongs to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Timer {
    Exchange(ExchangeId),
    Connection(ConnectionId),
    /// A call over a trunk.
    Call(u64),
}

/// A message and how it came.
#[derive(Clone, Copy)]
pub(crate) struct Arrival<'m, 'a> {
    pub(crate) side: Side,
    pub(crate) flow: Flow,
    pub(crate) message: &'m Message<'a>,
    /// The token in the first Route that we wrote.
    pub(crate) route: Option<FlowToken>,
    /// Another shard handed it over: it is not handed on.
    pub(crate) handed: bool,
}

impl Arrival<'_, '_> {
    /// Whether it has a Route that we wrote into its own call, which only that call's parties know.
    pub(crate) fn has_its_route(&self) -> bool {
        self.route.is_some_and(|token| token.dialog)
    }

    /// Whether it comes from the address that such a Route names.
    pub(crate) fn is_by_its_route(&self) -> bool {
        let names = |token: FlowToken| token.flow.remote.ip() == self.flow.remote.ip();
        self.has_its_route() && self.route.is_some_and(names)
    }
}

impl Engine {
    /// A shard's engine among `shards`. `secret` is the key of tokens, branches and hashes, the
    /// same in all shards and over restarts; `seed` seeds the random generator.
    #[must_use]
    pub fn new(
        policy: Arc<Policy>,
        shard: ShardId,
        shards: u8,
        secret: [u8; 32],
        seed: [u8; 32],
    ) -> Self {
        let capacities = policy.capacities;
        Engine {
            shard,
            shards,
            names: Names::new(&policy, &secret, shard, shards),
            hash: Key::derive(&secret, "tables"),
            branches: BranchKey::new(&secret),
            tokens: Tokens::new(&secret),
            gate: Gate::new(policy.clone(), shard, &secret).among(shards).with_probes(),
            grounds: None,
            waited: None,
            hidden: Hidden::new(&policy),
            credits: Credits::new(&secret),
            unproven_bytes: [0; 2],
            exchanges: Exchanges::new(capacities.exchanges, capacities.unproven_exchanges),
            bindings: Bindings::new(&secret, capacities.bindings),
            moves: Moves::new(&secret, capacities.moved_flows),
            trunks: Trunks::new(&policy, &secret),
            calls: Calls::new(&policy),
            connections: Connections::new(capacities.connections),
            buffers: Buffers::new(capacities.retained_bytes),
            timers: Timers::new(),
            pbxs: Pbxs::new(&policy, &secret),
            out: Outbox::default(),
            decisions: Decisions::new(capacities.decisions, capacities.recorded_bytes),
            clock: Time::ZERO,
            draining: false,
            load: Load::default(),
            rng: ChaCha8Rng::from_seed(seed),
            asks: None,
            text: Vec::new(),
            uri: Vec::new(),
            secret,
            policy,
        }
    }

    /// Takes one stimulus.
    pub fn handle_input(&mut self, now: Time, input: Input<'_>) {
        self.clock = now;
        match input {
            Input::Datagram { side, local, remote, bytes } => {
                self.on_datagram(now, side, Flow::udp(local, remote), bytes);
            }
            Input::Opened { flow } => self.on_opened(now, flow),
            Input::Stream { connection, bytes } => self.on_stream(now, connection, bytes),
            Input::Closed { connection } => self.on_closed(now, connection),
            Input::Unreachable { side: Side::Inside, remote } => {
                self.on_pbx_refused(now, remote);
            }
            // a phone that is gone is found by Timer B: ICMP from outside is easily forged
            Input::Unreachable { side: Side::Outside, .. } => {}
            Input::HandedOver { side, mut flow, bytes } => {
                // answers to the PBX leave from this shard's own socket
                if side == Side::Inside {
                    flow.local = self.names.inside_at(flow.local);
                    if flow.connection.is_some()
                        && let Some(pbx) = self.pbx_of(&flow, None)
                        && let Some(own) = self.flow_to(now, pbx, flow.local)
                    {
                        flow = own;
                    }
                }
                self.on_bytes(now, side, flow, bytes, true);
            }
            Input::Learned(Learned::Bound { binding, expires }) => {
                self.bindings.learned(now, binding, expires);
            }
            Input::Learned(Learned::FlowMoved { key, flow }) => {
                self.moves.insert(key, flow);
            }
            Input::Learned(Learned::Unbound { key }) => {
                self.bindings.remove(key);
            }
            Input::Learned(Learned::Targets { host, targets }) => {
                self.trunks.learned(&host, &targets);
            }
            Input::Learned(Learned::TrunkCalls { trunk, shard, calls, begun }) => {
                self.calls.learned(now, &trunk, shard, calls, begun);
            }
            Input::Learned(Learned::CallEnded { key }) => {
                self.end_call(now, key, false);
            }
            Input::Learned(Learned::Drained { pbx, drained }) => self.pbxs.drain(pbx, drained),
            Input::Learned(Learned::Gate(learned)) => self.gate.learned(now, &learned),
            Input::Recall(memory) => self.gate.recall(now, memory),
            Input::Configure(policy) => self.configure(now, policy),
            Input::Drain => {
                self.draining = true;
                self.gate.drain(now);
            }
            Input::Coming { sources } => return self.gate.expect(sources),
            Input::Round { waited } => self.load.on_round(now, waited, &self.policy.overload),
        }
        self.carry_out(now);
    }

    /// Lets every deadline up to `now` fire, in portions: when many are due,
    /// [`Engine::poll_timeout`] is due again at once.
    pub fn handle_timeout(&mut self, now: Time) {
        self.clock = now;
        self.bindings.sweep(now, SWEEP_STEPS);
        if self.gate.poll_timeout().is_some_and(|due| due <= now) {
            self.gate.handle_timeout(now);
        }
        for _ in 0..TIMEOUTS_PER_CALL {
            match self.timers.pop_due(now) {
                Some((_, Timer::Exchange(id))) => self.on_exchange_due(now, id),
                Some((_, Timer::Connection(id))) => self.on_connection_due(now, id),
                Some((_, Timer::Call(key))) => self.on_call_due(now, key),
                None => break,
            }
        }
        self.timers.give_back();
        self.exchanges.give_back();
        self.ask_trunks(now);
        self.check_pbxs(now);
        self.carry_out(now);
    }

    /// The next piece of work; `None` when all is fetched.
    pub fn poll_output(&mut self) -> Option<Output<'_>> {
        self.out.poll()
    }

    /// When [`Engine::handle_timeout`] is due; `None` when there is no deadline. May change after
    /// each `handle_*`.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        let own =
            [self.timers.next_deadline(), self.trunks.poll_timeout(), self.pbxs.poll_timeout()];
        own.into_iter().chain([self.gate.poll_timeout()]).flatten().min()
    }

    /// What the gate counted: challenges by outcome, proofs, signatures and rules by index.
    #[must_use]
    pub fn gate_counts(&self) -> &admission::Counts {
        self.gate.counts()
    }

    /// Where each host of a trunk is reached, and whether it answered this shard last: the shard
    /// that owns the address is the one that asks.
    pub fn trunk_targets(&self) -> impl Iterator<Item = (&str, SocketAddr, bool)> {
        self.trunks.reached()
    }

    /// Bans in force, at most `limit`, with the evidence where it is kept.
    #[must_use]
    pub fn bans(&self, limit: usize) -> Vec<admission::Ban> {
        self.gate.bans(limit)
    }

    /// The gate, for whoever wants to see what it knows.
    #[must_use]
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// The number of the next decision: how many there were, ever.
    #[must_use]
    pub fn decisions_made(&self) -> u64 {
        self.decisions.made()
    }

    /// The last decisions on what came from outside (no retransmissions, responses or ACKs, and
    /// nothing that a banned source sent), with a number below `before`, the youngest first.
    pub fn decisions(&self, before: u64) -> impl Iterator<Item = (u64, &Decision)> {
        self.decisions.before(before)
    }

    /// The decision with this number ([`Event::kept`]), while it is kept.
    #[must_use]
    pub fn decision(&self, number: u64) -> Option<&Decision> {
        let mut last = self.decisions.before(number.saturating_add(1));
        last.next().filter(|(found, _)| *found == number).map(|(_, decision)| decision)
    }

    /// The message that was decided about, while it is kept: of what was judged, the last
    /// [`policy::Capacities::recorded_bytes`].
    #[must_use]
    pub fn recorded(&self, decision: &Decision) -> Option<&[u8]> {
        self.decisions.message(decision)
    }

    /// The PBXs, in the order of the policy.
    pub fn pbx_states(&self) -> impl Iterator<Item = PbxState> {
        self.pbxs.states()
    }

    /// Sizes of everything.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let gate = self.gate.snapshot();
        Snapshot {
            exchanges: self.exchanges.table(),
            unproven_exchanges: self.exchanges.strangers(),
            unanswered: self.exchanges.unanswered(),
            awaited: self.exchanges.awaited(),
            unproven_bytes: self.unproven_bytes,
            bindings: self.bindings.table(),
            moved_flows: self.moves.table(),
            nonces: gate.nonces.into(),
            gate,
            connections: self.connections.table(),
            trunk_calls: self.calls.table(),
            decisions: self.decisions.table(),
            recorded_bytes: self.decisions.bytes(),
            retained_bytes: self.buffers.table(),
            timers: self.timers.len(),
            outputs: self.out.len(),
            pbx_up: self.pbxs.any_up(),
            shed: self.load.stage(),
        }
    }

    /// The shard that owns a source address: the same function as the kernel's steering program
    /// in `transport`. IPv4 counts whole, IPv6 by its /64.
    #[must_use]
    pub fn shard_of(address: IpAddr, shards: u8) -> ShardId {
        let sum = match address.to_canonical() {
            IpAddr::V4(v4) => u32::from(v4),
            IpAddr::V6(v6) => {
                let [a, b, c, d, ..] = v6.segments();
                let word = |high: u16, low: u16| (u32::from(high) << 16) | u32::from(low);
                word(a, b).wrapping_add(word(c, d))
            }
        };
        ShardId((sum.wrapping_mul(0x9e37_79b1) >> 16) as u8 % shards.max(1))
    }

    fn configure(&mut self, now: Time, policy: Arc<Policy>) {
        let capacities = policy.capacities;
        self.names = Names::new(&policy, &self.secret, self.shard, self.shards);
        self.hidden = Hidden::new(&policy);
        self.gate.configure(now, policy.clone());
        self.exchanges.configure(capacities.exchanges, capacities.unproven_exchanges);
        self.bindings.configure(capacities.bindings);
        self.moves.configure(capacities.moved_flows);
        self.trunks.configure(&policy);
        self.calls.configure(&policy);
        self.pbxs.configure(now, &policy);
        self.connections.configure(capacities.connections);
        self.decisions.configure(capacities.decisions, capacities.recorded_bytes);
        self.buffers.configure(capacities.retained_bytes);
        self.policy = policy;
        self.leave_connections(now);
    }

    fn on_datagram(&mut self, now: Time, side: Side, flow: Flow, bytes: &[u8]) {
        if side == Side::Outside
            && let Some(reason) = self.gate.on_source(now, flow.remote.ip())
        {
            self.event(side, flow, NO_METHOD, 0, Verdict::Drop, reason);
            return;
        }
        if side == Side::Outside && self.is_shed_unread(now, flow.remote.ip()) {
            return self.event(side, flow, NO_METHOD, 0, Verdict::Drop, Reason::Overload);
        }
        // RFC 5626 §4.4.1 keeps CRLF for streams, but phones send it over UDP too, or a lone NUL
        if bytes.len() <= 4 && bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
            self.event(side, flow, NO_METHOD, 0, Verdict::Absorb, Reason::KeepAlive);
            return;
        }
        self.on_bytes(now, side, flow, bytes, false);
    }

    /// One whole message, as far as its transport can tell. Whether it is one.
    pub(crate) fn on_bytes(
        &mut self,
        now: Time,
        side: Side,
        flow: Flow,
        bytes: &[u8],
        handed: bool,
    ) -> bool {
        // a connection was looked at when it came
        let datagram = flow.connection.is_none();
        if side == Side::Inside && datagram && !self.is_pbxs(now, &flow) {
            self.event(side, flow, NO_METHOD, 0, Verdict::Drop, Reason::NotPbx);
            return true;
        }
        let limits = self.policy.limits;
        // borrowed where it is: it is large
        match &Message::parse(bytes, &limits) {
            Ok(message) => {
                let route = self.own_route(message);
                let arrival = Arrival { side, flow, message, route, handed };
                if side == Side::Inside
                    && let Some(pbx) = self.pbx_of(&flow, Some(message))
                {
                    self.pbxs.on_heard(now, pbx);
                }
                if message.is_request() {
                    self.on_request(now, arrival);
                } else {
                    self.on_response(now, arrival);
                }
                true
            }
            Err(malformed) => {
                self.on_malformed(now, side, flow, bytes, *malformed);
                false
            }
        }
    }

    /// Bytes that are no message: dropped, or answered with 400 (505, 513) where a stream or the
    /// policy asks for an answer and the bytes say enough for one.
    pub(crate) fn on_malformed(
        &mut self,
        now: Time,
        side: Side,
        flow: Flow,
        bytes: &[u8],
        malformed: Malformed,
    ) {
        let reason = match malformed {
            Malformed::UnsupportedVersion => Reason::UnsupportedVersion,
            Malformed::TooLong | Malformed::BodyTooLong | Malformed::HeadersTooLong => {
                Reason::TooLarge
            }
            _ => Reason::Malformed,
        };
        let detail = malformed.as_str();
        let policy_version = self.policy.version;
        let event = Event::new(side, flow, NO_METHOD, 0, Verdict::Drop, reason);
        let mut event = Event { detail, policy_version, ..event };
        let limits = self.policy.limits;
        if (flow.transport.is_reliable() || self.policy.answer_malformed)
            && let Ok(message) = Message::parse_answerable(bytes, &limits)
            && message.method() != Method::Ack
        {
            let refusal = Refusal::new(reason);
            let arrival = Arrival { side, flow, message: &message, route: None, handed: false };
            if self.silences(now, arrival).is_none() && self.send_refusal(now, arrival, refusal) {
                event.verdict = Verdict::Reject(refusal.status);
            }
            event.grounds = self.grounds.take();
            event.method = method_index(message.method());
        }
        if side == Side::Outside {
            event.kept = Some(self.decisions.made());
            self.decisions.note_malformed(now, &event, bytes);
        }
        self.out.event(event);
    }

    /// The decision on one message.
    pub(crate) fn note(&mut self, arrival: Arrival<'_, '_>, verdict: Verdict, reason: Reason) {
        let method = method_index(arrival.message.method());
        let status = arrival.message.status();
        let mut event = self.decided(arrival.side, arrival.flow, method, status, verdict, reason);
        let judged = !matches!(verdict, Verdict::Absorb) && method != ACK;
        if judged && status == 0 && arrival.side == Side::Outside {
            event.kept = Some(self.decisions.made());
            self.decisions.note(self.clock, &event, arrival.message);
        }
        self.out.event(event);
    }

    pub(crate) fn event(
        &mut self,
        side: Side,
        flow: Flow,
        method: u8,
        status: u16,
        verdict: Verdict,
        reason: Reason,
    ) {
        let event = self.decided(side, flow, method, status, verdict, reason);
        self.out.event(event);
    }

    fn decided(
        &mut self,
        side: Side,
        flow: Flow,
        method: u8,
        status: u16,
        verdict: Verdict,
        reason: Reason,
    ) -> Event {
        let event = Event::new(side, flow, method, status, verdict, reason);
        let (grounds, waited) = (self.grounds.take(), self.waited.take());
        Event { policy_version: self.policy.version, grounds, waited, ..event }
    }

    /// Retry-After in seconds, spread over its length again so that clients do not all come back
    /// at once.
    pub(crate) fn retry_after(&mut self) -> u64 {
        let least = self.policy.retry_after.as_secs().max(1);
        least + self.rng.next_u64() % (least + 1)
    }

    /// Puts the exchange into the timing wheel for its next deadline, unless an entry there comes
    /// no later.
    pub(crate) fn arm(&mut self, id: ExchangeId) {
        if let Some(exchange) = self.exchanges.at(id) {
            let deadline = exchange.deadline();
            if deadline < exchange.armed {
                exchange.armed = deadline;
                self.timers.insert(deadline, Timer::Exchange(id));
            }
        }
    }

    /// Forgets an exchange of which nothing more can come, else arms it.
    pub(crate) fn settle(&mut self, id: ExchangeId) {
        match self.exchanges.at(id) {
            Some(exchange) if exchange.is_over() => {}
            Some(_) => return self.arm(id),
            None => return,
        }
        self.forget(id);
    }

    /// Forgets an exchange now.
    pub(crate) fn forget(&mut self, id: ExchangeId) {
        let Some(Remains { messages, call, ticket }) = self.exchanges.remove(id) else { return };
        messages.into_iter().for_each(|message| self.buffers.give_back(message));
        if call != 0 {
            self.end_call(self.clock, call, false);
        }
        if let Some(mut ticket) = ticket {
            self.gate.on_ended(&mut ticket);
        }
    }
}

/// Index of ACK in [`Event::METHODS`].
const ACK: u8 = 0;
/// Index of "none" in [`Event::METHODS`].
pub(crate) const NO_METHOD: u8 = 15;
