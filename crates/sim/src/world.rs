//! The simulated world: a clock that jumps from event to event, hosts, and the network between
//! them.

mod queue;
mod streams;

use crate::attacker::Attacker;
use crate::edge::Edge;
use crate::net::{Arrival, Conn, Nat, Node, Outbox, Quality, Request};
use crate::pbx::Pbx;
use crate::phone::Phone;
use crate::rng::Rng;
use crate::sip::Msg;
use crate::stranger::Stranger;
use policy::Time;
use queue::{Happening, What};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use streams::StreamState;
use wire::Transport;

/// One way on the loopback interface.
const LOOPBACK: Duration = Duration::from_micros(100);

/// Datagrams of phones that a stranger may have overheard.
const OVERHEARD: usize = 64;

/// A host in the world.
pub type NodeId = usize;

/// Who a host is.
#[derive(Debug)]
#[allow(missing_docs)]
pub enum Actor {
    Edge(Box<Edge>),
    Pbx(Box<Pbx>),
    Phone(Box<Phone>),
    Stranger(Box<Stranger>),
    Attacker(Box<Attacker>),
}

impl Actor {
    fn node(&mut self) -> &mut dyn Node {
        match self {
            Actor::Edge(edge) => edge.as_mut(),
            Actor::Pbx(pbx) => pbx.as_mut(),
            Actor::Phone(phone) => phone.as_mut(),
            Actor::Stranger(stranger) => stranger.as_mut(),
            Actor::Attacker(attacker) => attacker.as_mut(),
        }
    }

    fn as_node(&self) -> &dyn Node {
        match self {
            Actor::Edge(edge) => edge.as_ref(),
            Actor::Pbx(pbx) => pbx.as_ref(),
            Actor::Phone(phone) => phone.as_ref(),
            Actor::Stranger(stranger) => stranger.as_ref(),
            Actor::Attacker(attacker) => attacker.as_ref(),
        }
    }
}

#[derive(Debug)]
struct Host {
    name: String,
    actor: Actor,
    addresses: Vec<IpAddr>,
    nat: Option<usize>,
    /// Off the network: nothing comes or goes.
    cut: bool,
    deadline: Option<Time>,
}

/// A message on its way, for transcripts: taken where it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passage {
    /// When.
    pub at: Time,
    /// Sender's name.
    pub from: String,
    /// Receiver's name.
    pub to: String,
    /// Protocol.
    pub transport: Transport,
    /// What.
    pub bytes: Vec<u8>,
}

/// The world.
#[derive(Debug)]
pub struct World {
    now: Time,
    /// How packets outside fare; may be changed between steps.
    pub quality: Quality,
    /// All messages sent, when recording.
    pub tape: Option<Vec<Passage>>,
    /// Events so far.
    pub steps: u64,
    rng: Rng,
    hosts: Vec<Host>,
    /// Hosts by their deadlines.
    due: BTreeSet<(Time, NodeId)>,
    nats: Vec<Nat>,
    /// By the NAT they are behind and their address: private ones may be the same elsewhere.
    owners: BTreeMap<(Option<usize>, IpAddr), NodeId>,
    streams: BTreeMap<Conn, StreamState>,
    queue: BinaryHeap<Reverse<Happening>>,
    sequence: u64,
    /// The last datagrams from outside that begin no more than a dialog.
    overheard: VecDeque<Vec<u8>>,
}

impl World {
    /// An empty world at `now`.
    #[must_use]
    pub fn new(now: Time, quality: Quality, rng: Rng) -> Self {
        World {
            now,
            quality,
            tape: None,
            steps: 0,
            rng,
            hosts: Vec::new(),
            due: BTreeSet::new(),
            nats: Vec::new(),
            owners: BTreeMap::new(),
            streams: BTreeMap::new(),
            queue: BinaryHeap::new(),
            sequence: 0,
            overheard: VecDeque::new(),
        }
    }

    /// Requests without a To-tag that were sent outside of late.
    pub fn overheard(&self) -> impl Iterator<Item = Vec<u8>> {
        let requests = self.overheard.iter().filter(|bytes| {
            Msg::parse(bytes).is_some_and(|msg| msg.is_request() && msg.to_tag().is_empty())
        });
        requests.cloned()
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Time {
        self.now
    }

    /// Adds a NAT box.
    pub fn add_nat(&mut self, nat: Nat) -> usize {
        self.nats.push(nat);
        self.nats.len() - 1
    }

    /// A NAT box, to look at.
    #[must_use]
    pub fn nat(&self, nat: usize) -> &Nat {
        &self.nats[nat]
    }

    /// A NAT box.
    pub fn nat_mut(&mut self, nat: usize) -> &mut Nat {
        &mut self.nats[nat]
    }

    /// Adds a host with its addresses, behind a NAT or in the open.
    pub fn add(
        &mut self,
        name: &str,
        actor: Actor,
        addresses: &[IpAddr],
        nat: Option<usize>,
    ) -> NodeId {
        let id = self.hosts.len();
        for address in addresses {
            self.owners.insert((nat, *address), id);
        }
        let deadline = actor.as_node().deadline();
        let (name, addresses) = (name.to_string(), addresses.to_vec());
        self.hosts.push(Host { name, actor, addresses, nat, cut: false, deadline: None });
        self.set_deadline(id, deadline);
        id
    }

    /// Gives a host another address instead of those it had.
    pub fn move_to(&mut self, id: NodeId, address: IpAddr, nat: Option<usize>) {
        let before = self.hosts[id].nat;
        for old in std::mem::take(&mut self.hosts[id].addresses) {
            self.owners.remove(&(before, old));
        }
        self.owners.insert((nat, address), id);
        self.hosts[id].addresses.push(address);
        self.hosts[id].nat = nat;
    }

    /// Takes a host off the network, or puts it back.
    pub fn set_cut(&mut self, id: NodeId, cut: bool) {
        self.hosts[id].cut = cut;
    }

    /// Whether a host is off the network.
    #[must_use]
    pub fn is_cut(&self, id: NodeId) -> bool {
        self.hosts[id].cut
    }

    /// A host.
    #[must_use]
    pub fn actor(&self, id: NodeId) -> &Actor {
        &self.hosts[id].actor
    }

    /// Does something to a host, with what it then asks of the network.
    pub fn with<T>(
        &mut self,
        id: NodeId,
        act: impl FnOnce(&mut Actor, Time, &mut Outbox) -> T,
    ) -> T {
        let mut out = Outbox::new();
        let result = act(&mut self.hosts[id].actor, self.now, &mut out);
        self.settle(id, out);
        result
    }

    /// Goes to the next event and lets it happen. `false` when nothing is left to happen.
    pub fn step(&mut self) -> bool {
        let packet = self.queue.peek().map(|Reverse(first)| first.at);
        let timer = self.due.first().copied();
        match (packet, timer) {
            (None, None) => return false,
            (Some(at), timer) if timer.is_none_or(|(due, _)| at <= due) => {
                self.now = self.now.max(at);
                if let Some(Reverse(happening)) = self.queue.pop() {
                    self.happen(happening.what);
                }
            }
            (_, Some((due, id))) => {
                self.now = self.now.max(due);
                let (mut out, now) = (Outbox::new(), self.now);
                self.hosts[id].actor.node().tick(now, &mut out);
                self.settle(id, out);
                if self.hosts[id].deadline.is_some_and(|next| next <= due) {
                    // Twice the same deadline would be for ever.
                    let name = &self.hosts[id].name;
                    assert!(matches!(self.hosts[id].actor, Actor::Edge(_)), "{name} stands still");
                    self.set_deadline(id, Some(now + Duration::from_millis(1)));
                }
            }
            (Some(_), None) => {}
        }
        self.steps += 1;
        true
    }

    /// Runs until a moment.
    pub fn run_until(&mut self, until: Time) {
        while self.next_event().is_some_and(|next| next <= until) {
            self.step();
        }
        self.now = self.now.max(until);
    }

    /// Runs for a while.
    pub fn run_for(&mut self, length: Duration) {
        self.run_until(self.now + length);
    }

    /// Runs until something holds, at most `length`; whether it does.
    pub fn run_while(&mut self, length: Duration, mut going: impl FnMut(&World) -> bool) -> bool {
        let until = self.now + length;
        while going(self) {
            if self.next_event().is_none_or(|next| next > until) {
                self.now = self.now.max(until);
                return !going(self);
            }
            self.step();
        }
        true
    }

    /// A datagram appears in the network outside, with any source that its sender liked.
    pub fn inject(&mut self, source: SocketAddr, remote: SocketAddr, bytes: Vec<u8>) {
        let from = 0;
        self.schedule(self.now, What::Packet { local: source, remote, bytes, from });
    }

    /// Lets the clock jump, as on a suspended machine: all that was due then comes late.
    pub fn jump(&mut self, length: Duration) {
        self.now = self.now + length;
    }

    fn next_event(&self) -> Option<Time> {
        let packet = self.queue.peek().map(|Reverse(first)| first.at);
        let timer = self.due.first().map(|(due, _)| *due);
        timer.into_iter().chain(packet).min()
    }

    fn schedule(&mut self, at: Time, what: What) {
        self.sequence += 1;
        self.queue.push(Reverse(Happening { at, sequence: self.sequence, what }));
    }

    /// Does what a host asked for, and looks at its clock.
    fn settle(&mut self, id: NodeId, out: Outbox) {
        let deadline = self.hosts[id].actor.as_node().deadline();
        self.set_deadline(id, deadline);
        for request in out {
            match request {
                Request::Datagram { local, remote, bytes } => self.send(id, local, remote, bytes),
                Request::Forged { source, remote, bytes } => {
                    let at = self.now + self.delay();
                    self.schedule(at, What::Packet { local: source, remote, bytes, from: id });
                }
                Request::Connect { conn, transport, local, remote } => {
                    self.connect(id, conn, transport, local, remote);
                }
                Request::Stream { conn, bytes } => self.send_stream(id, conn, bytes),
                Request::Close { conn } => self.close(id, conn),
            }
        }
    }

    fn set_deadline(&mut self, id: NodeId, deadline: Option<Time>) {
        let before = std::mem::replace(&mut self.hosts[id].deadline, deadline);
        if before == deadline {
            return;
        }
        if let Some(before) = before {
            self.due.remove(&(before, id));
        }
        self.due.extend(deadline.map(|deadline| (deadline, id)));
    }

    fn record(&mut self, from: NodeId, remote: SocketAddr, transport: Transport, bytes: &[u8]) {
        let to = self.owner(remote).map_or("nowhere".into(), |id| self.hosts[id].name.clone());
        let (at, from) = (self.now, self.hosts[from].name.clone());
        if let Some(tape) = &mut self.tape {
            tape.push(Passage { at, from, to, transport, bytes: bytes.to_vec() });
        }
    }

    /// Who has an address, NATs looked through.
    fn owner(&self, address: SocketAddr) -> Option<NodeId> {
        if let Some(id) = self.host_at(address) {
            return Some(id);
        }
        let nat = self.nats.iter().position(|nat| nat.address == address.ip())?;
        let inner = self.nats[nat].inner_of(address.port())?;
        self.owners.get(&(Some(nat), inner.ip())).copied()
    }

    /// Who has an address itself; several hosts may share loopback.
    fn host_at(&self, address: SocketAddr) -> Option<NodeId> {
        if address.ip().is_loopback() {
            return self.hosts.iter().position(|host| {
                host.addresses.contains(&address.ip()) && host.actor.as_node().listens(address)
            });
        }
        self.owners.get(&(None, address.ip())).copied()
    }

    fn send(&mut self, from: NodeId, local: SocketAddr, remote: SocketAddr, bytes: Vec<u8>) {
        if self.tape.is_some() {
            self.record(from, remote, Transport::Udp, &bytes);
        }
        if remote.ip().is_loopback() {
            let packet = What::Packet { local, remote, bytes, from };
            return self.schedule(self.now + LOOPBACK, packet);
        }
        let own = self.owners.get(&(self.hosts[from].nat, local.ip())) == Some(&from);
        if self.hosts[from].cut || !own {
            return;
        }
        if matches!(self.hosts[from].actor, Actor::Phone(_)) {
            self.overheard.push_back(bytes.clone());
            if self.overheard.len() > OVERHEARD {
                self.overheard.pop_front();
            }
        }
        let seen = match self.hosts[from].nat {
            Some(nat) => self.nats[nat].outbound(self.now, local, remote),
            None => local,
        };
        let copies = 1 + u32::from(self.rng.chance(self.quality.duplicate));
        for _ in 0..copies {
            if self.rng.chance(self.quality.loss) {
                continue;
            }
            let mut delay = self.delay();
            if self.rng.chance(self.quality.reorder) {
                delay += self.rng.up_to(Duration::from_secs(1));
            }
            let packet = What::Packet { local: seen, remote, bytes: bytes.clone(), from };
            self.schedule(self.now + delay, packet);
        }
    }

    fn delay(&mut self) -> Duration {
        self.quality.delay + self.rng.up_to(self.quality.jitter)
    }

    fn happen(&mut self, what: What) {
        match what {
            What::Packet { local, remote, bytes, from } => self.deliver(local, remote, bytes, from),
            What::Arrival(id, arrival) => {
                if !self.hosts[id].cut {
                    self.arrive(id, arrival);
                }
            }
            What::Local(id, arrival) => self.arrive(id, arrival),
            What::Knock { conn, transport, seen, inner, remote, from } => {
                self.on_knock(conn, transport, (seen, inner), remote, from);
            }
        }
    }

    fn arrive(&mut self, id: NodeId, arrival: Arrival) {
        let mut out = Outbox::new();
        let now = self.now;
        self.hosts[id].actor.node().handle(now, arrival, &mut out);
        self.settle(id, out);
    }

    fn deliver(&mut self, source: SocketAddr, to: SocketAddr, bytes: Vec<u8>, from: NodeId) {
        let (id, local) = match self.nats.iter().position(|nat| nat.address == to.ip()) {
            Some(nat) => {
                let Some(inner) = self.nats[nat].inbound(self.now, to.port(), source) else {
                    return;
                };
                // Who has gone to another network is not behind this one any more.
                (self.owners.get(&(Some(nat), inner.ip())).copied(), inner)
            }
            None => (self.host_at(to), to),
        };
        let Some(id) = id.filter(|id| !self.hosts[*id].cut) else { return };
        if !self.is_open(id, local) {
            // ICMP port unreachable, which NATs let through to nobody here.
            if self.hosts[id].nat.is_none() && self.hosts[from].nat.is_none() {
                let arrival = Arrival::Unreachable { local: source, remote: to };
                self.schedule(self.now + LOOPBACK, What::Arrival(from, arrival));
            }
            return;
        }
        self.arrive(id, Arrival::Datagram { local, remote: source, bytes });
    }

    fn is_open(&self, id: NodeId, local: SocketAddr) -> bool {
        let open = match &self.hosts[id].actor {
            Actor::Pbx(pbx) => pbx.is_open(self.now),
            _ => true,
        };
        open && self.hosts[id].actor.as_node().listens(local)
    }
}
