//! The edge under test: its engines, one a shard, with what a driver does for them, and what must
//! hold after each input.

mod checks;
mod owned;
mod seen;
mod tape;
mod watch;

pub use tape::{Step, StepInput, StepOutput};
pub use watch::Watch;

use crate::net::{Arrival, Conn, Node, Outbox, Request};
use crate::rng::Rng;
use crate::sip::take_frame;
use admission::{Alert, Ban, Counts, Memory};
use owned::Owned;
use policy::{Outcome, Policy, Reason, Time};
use proxy::{Engine, Event, Learned, Output, Snapshot, Verdict};
use seen::Seen;
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use wire::{ConnectionId, Flow, ShardId, Side, Transport};

/// Inputs that one input may cause in other shards; more is a ping-pong.
const HAND_OVERS_MAX: usize = 32;

/// Calls after which nothing may be due any more.
const TIMEOUTS_MAX: usize = 64;

/// The engines and their driver.
#[derive(Debug)]
pub struct Edge {
    engines: Vec<Engine>,
    secret: [u8; 32],
    policy: Arc<Policy>,
    accepted: Vec<u64>,
    /// What each shard wants remembered, by its key.
    memories: BTreeMap<(usize, String), Memory>,
    /// Simulated connections by the engine's number, and back.
    conns: BTreeMap<u64, Conn>,
    opened: BTreeMap<Conn, Opened>,
    /// What went by, for the checks.
    seen: Seen,
    /// An onlooker who knows no secret.
    pub watch: Watch,
    /// Whether answers to unproven sources must have been paid for.
    pub pays: bool,
    /// All that went in and came out, when recording.
    pub tape: Option<Vec<Step>>,
    /// Bans that began, with the time.
    pub bans: Vec<(Time, Ban)>,
    /// Alerts.
    pub alerts: Vec<(Time, Alert)>,
    /// What must not be; empty in a good run.
    pub violations: Vec<String>,
    /// Decisions by side, verdict and reason.
    pub events: BTreeMap<(Side2, &'static str, Reason), u64>,
    /// How many challenges ended how before the last restart.
    outcomes: Outcomes,
    /// Messages that went in.
    pub inputs: u64,
    /// Messages handed from shard to shard.
    pub handed_over: u64,
    /// How often it was woken by its own clock.
    pub timeouts: u64,
}

/// A number for each [`Outcome`].
pub type Outcomes = [u64; Outcome::ALL.len()];

/// [`Side`] with an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side2 {
    /// See [`Side::Outside`].
    Outside,
    /// See [`Side::Inside`].
    Inside,
}

#[derive(Debug)]
struct Opened {
    id: ConnectionId,
    flow: Flow,
    buffer: Vec<u8>,
    /// The edge has closed it; the network does not know yet.
    closed: bool,
}

impl Edge {
    /// An edge of `shards` shards.
    #[must_use]
    pub fn new(policy: Policy, shards: u8, rng: &mut Rng) -> Self {
        let policy = Arc::new(policy);
        let secret = rng.seed();
        let engines = (0..shards)
            .map(|n| Engine::new(policy.clone(), ShardId(n), shards, secret, rng.seed()))
            .collect();
        Edge {
            engines,
            secret,
            policy,
            accepted: vec![0; usize::from(shards)],
            memories: BTreeMap::new(),
            conns: BTreeMap::new(),
            opened: BTreeMap::new(),
            seen: Seen::new(&secret),
            watch: Watch::new(&secret),
            pays: true,
            tape: None,
            bans: Vec::new(),
            alerts: Vec::new(),
            violations: Vec::new(),
            events: BTreeMap::new(),
            outcomes: [0; Outcome::ALL.len()],
            inputs: 0,
            handed_over: 0,
            timeouts: 0,
        }
    }

    /// Sizes of all shards' tables.
    #[must_use]
    pub fn snapshots(&self) -> Vec<Snapshot> {
        self.engines.iter().map(Engine::snapshot).collect()
    }

    /// The rules in force.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// How often this was decided.
    #[must_use]
    pub fn count(&self, reason: Reason) -> u64 {
        self.events.iter().filter(|((_, _, r), _)| *r == reason).map(|(_, n)| n).sum()
    }

    /// Ends without a word and starts again, with the secret of before and what was to be
    /// remembered.
    pub fn restart(&mut self, now: Time, rng: &mut Rng, out: &mut Outbox) {
        let shards = self.shards();
        self.outcomes = self.outcomes();
        let start =
            |n| Engine::new(self.policy.clone(), ShardId(n), shards, self.secret, rng.seed());
        self.engines = (0..shards).map(start).collect();
        if let Some(tape) = &mut self.tape {
            let (shard, outputs, outcomes) = (0, Vec::new(), self.outcomes);
            let input = StepInput::Restart;
            tape.push(Step { now, shard, input, outputs, outcomes, unheard: 0 });
        }
        self.conns.clear();
        for conn in std::mem::take(&mut self.opened).into_keys() {
            out.push(Request::Close { conn });
        }
        for ((shard, _), memory) in std::mem::take(&mut self.memories) {
            self.feed(now, shard, Owned::Recall(memory.clone()), out);
            self.remember(shard, memory);
        }
    }

    /// Loses what it was to remember: a disk that broke.
    pub fn forget(&mut self) {
        self.memories.clear();
    }

    fn remember(&mut self, shard: usize, memory: Memory) {
        let key = (shard, format!("{:?}", memory.key()));
        match memory.is_nothing() {
            true => self.memories.remove(&key),
            false => self.memories.insert(key, memory),
        };
    }

    /// No new calls from now on.
    pub fn drain(&mut self, now: Time, out: &mut Outbox) {
        for shard in 0..self.engines.len() {
            self.feed(now, shard, Owned::Drain, out);
        }
    }

    /// What an operator orders, in all shards.
    pub fn learn(&mut self, now: Time, learned: admission::Learned, out: &mut Outbox) {
        for shard in 0..self.engines.len() {
            self.feed(now, shard, Owned::Learned(Learned::Gate(learned.clone())), out);
        }
    }

    /// Lets a PBX get nothing new, or lets it again.
    pub fn drain_pbx(&mut self, now: Time, pbx: u32, drained: bool, out: &mut Outbox) {
        for shard in 0..self.engines.len() {
            self.feed(now, shard, Owned::Learned(Learned::Drained { pbx, drained }), out);
        }
    }

    /// From now on each byte of a reply to this source is counted against those that came from its place.
    pub fn doubt(&mut self, source: SocketAddr) {
        self.seen.unproven.insert(source);
    }

    /// Whether a challenge with this nonce was sent to an address.
    #[must_use]
    pub fn was_relayed(&self, nonce: &str, to: IpAddr) -> bool {
        self.seen.was_relayed(nonce, to)
    }

    /// New rules.
    pub fn configure(&mut self, now: Time, policy: Policy, out: &mut Outbox) {
        self.policy = Arc::new(policy);
        for shard in 0..self.engines.len() {
            self.feed(now, shard, Owned::Configure(self.policy.clone()), out);
        }
    }

    fn shards(&self) -> u8 {
        u8::try_from(self.engines.len()).unwrap_or(u8::MAX)
    }

    fn violation(&mut self, now: Time, what: String) {
        if self.violations.len() < 20 {
            self.violations.push(format!("{now}: {what}"));
        }
    }

    /// Gives an input to a shard, and what it causes to the others, until all is quiet.
    fn feed(&mut self, now: Time, shard: usize, input: Owned, out: &mut Outbox) {
        let mut queue = VecDeque::from([(shard, input)]);
        let mut rounds = 0;
        while let Some((shard, input)) = queue.pop_front() {
            rounds += 1;
            if rounds > HAND_OVERS_MAX {
                return self.violation(now, "shards hand a message to and fro".into());
            }
            self.feed_one(now, shard, &input, &mut queue, out);
        }
    }

    fn feed_one(
        &mut self,
        now: Time,
        shard: usize,
        input: &Owned,
        queue: &mut VecDeque<(usize, Owned)>,
        out: &mut Outbox,
    ) {
        let Some(engine) = self.engines.get_mut(shard) else {
            return self.violation(now, format!("hand-over to shard {shard}"));
        };
        match input.as_input() {
            Some(input) => engine.handle_input(now, input),
            None => engine.handle_timeout(now),
        }
        self.timeouts += u64::from(matches!(input, Owned::Timeout));
        self.inputs += input.messages().unwrap_or(0) as u64;
        let (mut decisions, mut handed) = (0, 0);
        let mut taken = Vec::new();
        let taping = self.tape.is_some();
        // The engine lends its outputs; what is kept is copied before it is asked again.
        while let Some(output) = self.engines[shard].poll_output() {
            match output {
                Output::Event(event) => {
                    decisions += 1;
                    self.on_event(&event);
                    if taping {
                        taken.push(StepOutput::Event(Box::new(event)));
                    }
                }
                Output::Ban(ban) => {
                    self.on_ban(now, &ban);
                    if taping {
                        taken.push(StepOutput::Ban(ban.clone()));
                    }
                    self.bans.push((now, *ban));
                }
                Output::Lift(lift) => taken.extend(taping.then_some(StepOutput::Lift(lift))),
                Output::Recalled(_) | Output::Evidence(..) | Output::Registered { .. } => {}
                Output::Remember(memory) => self.remember(shard, memory),
                Output::Alert(alert) => {
                    taken.extend(taping.then(|| StepOutput::Alert(alert.clone())));
                    self.alerts.push((now, alert));
                }
                Output::HandOver { shard: to, side, flow, bytes } => {
                    handed += 1;
                    queue.push_back((
                        usize::from(to.0),
                        Owned::HandedOver(side, flow, bytes.to_vec()),
                    ));
                }
                Output::Learned(learned) => {
                    for other in (0..self.engines.len()).filter(|other| *other != shard) {
                        queue.push_back((other, Owned::Learned(learned.clone())));
                    }
                }
                Output::Datagram { side, local, remote, bytes } => {
                    let bytes = bytes.to_vec();
                    self.check_datagram(now, shard, side, local, remote, &bytes);
                    if taping {
                        let bytes = bytes.clone();
                        taken.push(StepOutput::Datagram { side, local, remote, bytes });
                    }
                    out.push(Request::Datagram { local, remote, bytes });
                }
                Output::Stream { connection, bytes } => {
                    let bytes = bytes.to_vec();
                    let flow = taping.then(|| self.flow_of(connection)).flatten();
                    taken
                        .extend(flow.map(|flow| StepOutput::Stream { flow, bytes: bytes.clone() }));
                    self.on_stream_out(now, shard, connection, bytes, out);
                }
                Output::Connect { flow, .. } => {
                    // the PBX of this world speaks UDP only: nobody listens there
                    let closed = flow.connection.map(|connection| Owned::Closed(connection, flow));
                    queue.extend(closed.map(|closed| (shard, closed)));
                }
                Output::Close { connection, .. } => {
                    let flow = taping.then(|| self.flow_of(connection)).flatten();
                    taken.extend(flow.map(StepOutput::Close));
                    if let Some(conn) = self.conns.get(&connection.to_bits()) {
                        self.opened.entry(*conn).and_modify(|opened| opened.closed = true);
                        out.push(Request::Close { conn: *conn });
                    }
                }
            }
        }
        self.handed_over += handed;
        if taping {
            self.record(now, shard, input, taken);
        }
        if input.messages().is_some_and(|messages| messages as u64 != decisions + handed) {
            self.violation(
                now,
                format!("{decisions} events and {handed} hand-overs for: {input:?}"),
            );
        }
        self.check_tables(now, shard);
    }

    fn flow_of(&self, connection: ConnectionId) -> Option<Flow> {
        let conn = self.conns.get(&connection.to_bits())?;
        self.opened.get(conn).map(|opened| opened.flow)
    }

    fn record(&mut self, now: Time, shard: usize, input: &Owned, outputs: Vec<StepOutput>) {
        let input = match input {
            Owned::Datagram { side, local, remote, bytes } => {
                let (side, local, remote) = (*side, *local, *remote);
                StepInput::Datagram { side, local, remote, bytes: bytes.clone() }
            }
            Owned::Opened(flow) => StepInput::Opened(*flow),
            Owned::Stream(connection, bytes, _) => match self.flow_of(*connection) {
                Some(flow) => StepInput::Stream { flow, bytes: bytes.clone() },
                None => StepInput::Other,
            },
            Owned::Closed(_, flow) => StepInput::Closed(*flow),
            Owned::Timeout => StepInput::Timeout,
            _ => StepInput::Other,
        };
        let unheard = self.engines.get(shard).map_or(0, |engine| engine.gate().unheard());
        let shard = u8::try_from(shard).unwrap_or(u8::MAX);
        let outcomes = self.outcomes();
        let step = Step { now, shard, input, outputs, outcomes, unheard };
        self.tape.get_or_insert_default().push(step);
    }

    /// Whether the oracle trusts an address by its words: the PBX's, our own, networks by name.
    #[must_use]
    pub fn is_trusted(&self, ip: IpAddr) -> bool {
        let trust = &self.policy.admission.trust;
        trust.networks.iter().any(|(network, _)| network.contains(ip))
            || trust.own_addresses
                && (self.policy.pbx.iter().any(|pbx| pbx.address.ip() == ip)
                    || self.policy.inside.ip() == ip
                    || self.policy.listeners.iter().any(|listener| listener.address.ip() == ip))
    }

    /// What the gates of all shards counted since their start.
    #[must_use]
    pub fn gate_counts(&self) -> Vec<&Counts> {
        self.engines.iter().map(Engine::gate_counts).collect()
    }

    /// How many challenges ended how, over restarts.
    #[must_use]
    pub fn outcomes(&self) -> Outcomes {
        let mut sum = self.outcomes;
        for counts in self.gate_counts() {
            sum.iter_mut().zip(counts.outcomes).for_each(|(sum, count)| *sum += count);
        }
        sum
    }

    /// Bans in force, of all shards.
    #[must_use]
    pub fn bans_in_force(&self) -> Vec<Ban> {
        self.engines.iter().flat_map(|engine| engine.bans(10_000)).collect()
    }

    fn on_event(&mut self, event: &Event) {
        let side = match event.side {
            Side::Outside => Side2::Outside,
            Side::Inside => Side2::Inside,
        };
        let verdict = match event.verdict {
            Verdict::Forward => "forward",
            Verdict::Absorb => "absorb",
            Verdict::Reject(_) => "reject",
            Verdict::Drop => "drop",
        };
        *self.events.entry((side, verdict, event.reason)).or_default() += 1;
        let method = Event::METHODS.get(usize::from(event.method));
        if event.side == Side::Outside && event.status == 0 && method != Some(&"ACK") {
            self.watch.on_decided(event.flow.remote.ip(), event.reason);
        }
    }

    fn on_stream_out(
        &mut self,
        now: Time,
        shard: usize,
        connection: ConnectionId,
        bytes: Vec<u8>,
        out: &mut Outbox,
    ) {
        let Some(conn) = self.conns.get(&connection.to_bits()).copied() else {
            return self.check_lost(now, shard, connection, &bytes);
        };
        if let Some(flow) = self.opened.get(&conn).map(|opened| opened.flow) {
            self.check_flow(now, flow, &bytes);
        }
        out.push(Request::Stream { conn, bytes });
    }

    fn shard_inside(&self, local: SocketAddr) -> Option<usize> {
        (0..self.shards()).find(|n| self.policy.inside_of(ShardId(*n)) == local).map(usize::from)
    }

    fn shard_outside(&self, remote: SocketAddr) -> usize {
        usize::from(Engine::shard_of(remote.ip(), self.shards()).0)
    }

    fn on_opened(
        &mut self,
        now: Time,
        conn: Conn,
        transport: Transport,
        local: SocketAddr,
        remote: SocketAddr,
        out: &mut Outbox,
    ) {
        let shard = self.shard_outside(remote);
        self.watch.on_opened(now, remote.ip());
        self.accepted[shard] += 1;
        let shard_id = ShardId(u8::try_from(shard).unwrap_or(u8::MAX));
        let id = ConnectionId::new(shard_id, self.accepted[shard]);
        let flow = Flow { transport, local, remote, connection: Some(id) };
        self.conns.insert(id.to_bits(), conn);
        self.opened.insert(conn, Opened { id, flow, buffer: Vec::new(), closed: false });
        self.feed(now, shard, Owned::Opened(flow), out);
    }
}

impl Node for Edge {
    fn handle(&mut self, now: Time, arrival: Arrival, out: &mut Outbox) {
        match arrival {
            Arrival::Datagram { local, remote, bytes } => {
                let (side, shard) = match self.shard_inside(local) {
                    Some(shard) => (Side::Inside, shard),
                    None => (Side::Outside, self.shard_outside(remote)),
                };
                self.on_bytes_in(side, &bytes);
                if side == Side::Outside {
                    self.on_request_in(now, Flow::udp(local, remote), &bytes);
                }
                self.feed(now, shard, Owned::Datagram { side, local, remote, bytes }, out);
            }
            Arrival::Opened { conn, transport, local, remote } => {
                self.on_opened(now, conn, transport, local, remote, out);
            }
            Arrival::Stream { conn, bytes } => {
                let opened = self.opened.get_mut(&conn);
                // what is closed is not read
                let Some(opened) = opened.filter(|opened| !opened.closed) else { return };
                let (id, flow) = (opened.id, opened.flow);
                opened.buffer.extend_from_slice(&bytes);
                let mut messages = Some(0);
                while let Some(frame) =
                    self.opened.get_mut(&conn).and_then(|opened| take_frame(&mut opened.buffer))
                {
                    messages = messages.filter(|_| !frame.is_empty()).map(|count| count + 1);
                    self.on_bytes_in(Side::Outside, &frame);
                    self.on_request_in(now, flow, &frame);
                }
                // Bytes of a keep-alive may be left over from the chunk before.
                let keep_alive = bytes.starts_with(b"\r") || bytes.starts_with(b"\n");
                let messages = messages.filter(|_| !keep_alive);
                let input = Owned::Stream(id, bytes, messages);
                self.feed(now, usize::from(id.shard().0), input, out);
            }
            Arrival::Closed { conn } => {
                let Some(opened) = self.opened.remove(&conn) else { return };
                self.conns.remove(&opened.id.to_bits());
                let shard = usize::from(opened.id.shard().0);
                self.feed(now, shard, Owned::Closed(opened.id, opened.flow), out);
            }
            Arrival::Unreachable { local, remote } => {
                let (side, shard) = match self.shard_inside(local) {
                    Some(shard) => (Side::Inside, shard),
                    None => (Side::Outside, self.shard_outside(remote)),
                };
                self.feed(now, shard, Owned::Unreachable(side, remote), out);
            }
        }
    }

    fn tick(&mut self, now: Time, out: &mut Outbox) {
        for shard in 0..self.engines.len() {
            if self.engines[shard].poll_timeout().is_none_or(|due| due > now) {
                continue;
            }
            // One call lets a bounded number of deadlines fire.
            for _ in 0..TIMEOUTS_MAX {
                if self.engines[shard].poll_timeout().is_none_or(|due| due > now) {
                    break;
                }
                self.feed(now, shard, Owned::Timeout, out);
            }
            if let Some(due) = self.engines[shard].poll_timeout().filter(|due| *due <= now) {
                self.violation(now, format!("a deadline of {due} stays after its timeout"));
            }
        }
    }

    fn deadline(&self) -> Option<Time> {
        self.engines.iter().filter_map(Engine::poll_timeout).min()
    }

    fn listens(&self, local: SocketAddr) -> bool {
        self.shard_inside(local).is_some() || self.policy.is_listener(local.ip(), local.port())
    }

    fn accepts(&self, local: SocketAddr, transport: Transport) -> bool {
        self.policy
            .listeners
            .iter()
            .any(|listener| listener.transport == transport && listener.address == local)
    }
}
