//! What a shard's driver sees.

use crate::batch::ReceiveBatch;
use crate::hand_over::{Handed, HandedDatagram, Neighbours};
use crate::introduction::{self, Balancers, Speaker};
use crate::paths::Paths;
use crate::sockets::{InsideListener, Outside};
use crate::streams::{StreamStep, Streams};
use crate::system;
use crate::udp::UdpSocket;
use crate::{Counters, Peers, Protocol, Settings, Sockets};
use proxy::{Input, Output};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use wire::Side;

/// The place of the inside address's socket in [`Shard::udp`].
const INSIDE: usize = 0;

/// The runtime for a shard's thread: of one thread, with I/O and time. It looks for news of
/// sockets after a few tasks, not after dozens, for each task is a step of a TLS handshake and may
/// take the better part of a millisecond, while datagrams wait.
///
/// # Errors
/// When the system has no descriptor for it.
pub fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().event_interval(4).build()
}

/// One shard's sockets under its runtime. Not to be moved to another thread's runtime.
pub struct Shard {
    /// The inside sockets, then the outside ones.
    udp: Vec<UdpSocket>,
    /// How many are inside.
    inside: usize,
    receive: ReceiveBatch,
    /// Whose datagrams are in it.
    sources: Vec<IpAddr>,
    unreachable: Reports,
    streams: Streams,
    neighbours: Neighbours,
    /// What they gave, and the one that is looked at.
    handed: VecDeque<HandedDatagram>,
    current: Option<HandedDatagram>,
    paths: Paths,
    round: Round,
    counters: Arc<Counters>,
    datagrams_per_wake: usize,
    /// How long that had waited which the last round read, when it left something.
    waited: Duration,
}

/// How far this wake-up's reading has come.
#[derive(Default)]
struct Round {
    stage: Stage,
    /// The socket whose turn it is.
    socket: usize,
    /// Datagrams taken from it.
    taken: usize,
    /// The next datagram of the batch.
    next: usize,
    /// Sockets that may have datagrams, by their place.
    readable: Vec<bool>,
    /// Whether the inside socket's error queue may have entries.
    failed: bool,
    /// Whether a budget ended before the work did.
    unfinished: bool,
    /// The longest that a datagram or a connection with bytes has waited to be read.
    waited: Duration,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Stage {
    /// The inside sockets' error queues.
    Errors,
    /// What it and failed sends have reported.
    Reports,
    /// What other shards' load balancers sent for clients of this one.
    Handed,
    /// Socket after socket.
    Datagrams,
    /// Connection after connection.
    Streams,
    #[default]
    Done,
}

/// Unreachable addresses for the driver, bounded: one that is lost will be reported again.
struct Reports {
    queue: VecDeque<(Side, SocketAddr)>,
    bound: usize,
}

impl Reports {
    fn push(&mut self, side: Side, remote: SocketAddr) {
        if self.queue.len() < self.bound && self.queue.back() != Some(&(side, remote)) {
            self.queue.push_back((side, remote));
        }
    }
}

/// What [`Shard::next_input`] found, before it borrows the bytes.
enum Step {
    Unreachable {
        side: Side,
        remote: SocketAddr,
    },
    /// Whose datagrams come next.
    Coming,
    /// The bytes stand in the batch, behind a load balancer's header.
    Datagram {
        side: Side,
        local: SocketAddr,
        remote: SocketAddr,
        index: usize,
        header: usize,
    },
    /// The bytes are those of the current one.
    Handed {
        local: SocketAddr,
        remote: SocketAddr,
    },
    Stream(StreamStep),
}

impl Shard {
    /// Puts a shard's sockets under the runtime of the calling thread, see [`runtime`]. `peers` are
    /// those that it may open TLS connections to.
    ///
    /// # Errors
    /// When a socket cannot be registered: no descriptors, no reactor.
    pub fn new(settings: &Settings, sockets: Sockets, peers: Arc<Peers>) -> io::Result<Self> {
        let counters = Arc::new(Counters::default());
        let udp = |socket, side, balancers| {
            UdpSocket::new(socket, side, balancers, settings, counters.clone())
        };
        let inside = sockets.inside.into_iter();
        let inside = inside.map(|socket| udp(socket, Side::Inside, Balancers::default()));
        let mut all = inside.collect::<io::Result<Vec<_>>>()?;
        let inside = all.len();
        let mut streams = Streams::new(sockets.shard, settings, counters.clone(), peers);
        if let Some(InsideListener(socket)) = sockets.inside_listener {
            streams.listen(socket, Side::Inside, None, Balancers::default())?;
        }
        for Outside { protocol, socket, balancers } in sockets.outside {
            match protocol {
                Protocol::Udp => all.push(udp(socket, Side::Outside, balancers)?),
                Protocol::Tcp => streams.listen(socket, Side::Outside, None, balancers)?,
                Protocol::Tls(certificates) => {
                    streams.listen(socket, Side::Outside, Some(certificates), balancers)?;
                }
            }
        }
        let round = Round { readable: vec![false; all.len()], ..Round::default() };
        let bound = settings.unreachable_reports;
        Ok(Shard {
            udp: all,
            inside,
            receive: ReceiveBatch::new(settings),
            sources: Vec::with_capacity(Settings::MAX_RECEIVE_BATCH),
            unreachable: Reports { queue: VecDeque::with_capacity(bound), bound },
            streams,
            neighbours: sockets.neighbours,
            handed: VecDeque::new(),
            current: None,
            paths: Paths::new(settings.balancer_paths),
            round,
            counters,
            datagrams_per_wake: settings.datagrams_per_wake.max(1),
            waited: Duration::ZERO,
        })
    }

    /// Takes the PBX's connections there from now on.
    ///
    /// # Errors
    /// As [`Shard::new`].
    pub fn listen_inside(&mut self, listener: InsideListener) -> io::Result<()> {
        self.streams.listen(listener.0, Side::Inside, None, Balancers::default())
    }

    /// What the sockets have seen.
    #[must_use]
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// Waits until there is something for [`Shard::next_input`], and opens a round of it.
    ///
    /// When the last round was ended by its budget, gives way to the runtime once and returns:
    /// that is where timers, handshakes and news of other sockets come in. Dropping the future
    /// loses nothing.
    ///
    /// When connections are many, those of whom it `knows` find a place that strangers' leave.
    pub async fn ready(&mut self, knows: impl Fn(IpAddr) -> bool) {
        if self.round.stage != Stage::Done {
            // The driver has left a round before its end: it goes on.
            return tokio::task::yield_now().await;
        }
        let unfinished = self.round.unfinished || self.streams.has_work();
        self.waited = if unfinished { self.round.waited } else { Duration::ZERO };
        if unfinished {
            tokio::task::yield_now().await;
        }
        let mut unblocked = None;
        {
            let most = self.datagrams_per_wake;
            let Shard { udp, round, unreachable, streams, neighbours, handed, .. } = &mut *self;
            let mut failed = pin!(udp[INSIDE].failed());
            poll_fn(|cx| {
                let mut any = unfinished || !unreachable.queue.is_empty();
                any |= poll_neighbours(cx, neighbours, streams, handed, most, &knows);
                any |= streams.poll(cx, neighbours, &knows);
                if failed.as_mut().poll(cx).is_ready() {
                    round.failed = true;
                    any = true;
                }
                for (place, socket) in udp.iter().enumerate() {
                    if socket.poll_readable(cx).is_ready() {
                        round.readable[place] = true;
                        any = true;
                    }
                    if socket.poll_writable(cx).is_ready() {
                        unblocked = Some(place);
                        any = true;
                    }
                }
                if any { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
        }
        if let Some(socket) = unblocked.and_then(|place| self.udp.get_mut(place)) {
            socket.unblock();
        }
        self.round.open(self.streams.waited());
        self.streams.open_round();
    }

    /// How long the oldest had waited that the last round read, when its budget ended before the
    /// work did; zero when it left nothing.
    #[must_use]
    pub fn waited(&self) -> Duration {
        self.waited
    }

    /// The next stimulus of this round; `None` when the round is over. Give it to the engine,
    /// fetch all the engine's outputs, then ask again.
    pub fn next_input(&mut self) -> Option<Input<'_>> {
        Some(match self.step()? {
            Step::Unreachable { side, remote } => Input::Unreachable { side, remote },
            Step::Coming => Input::Coming { sources: &self.sources },
            Step::Datagram { side, local, remote, index, header } => {
                let bytes = self.receive.bytes(index).get(header..).unwrap_or_default();
                Input::Datagram { side, local, remote, bytes }
            }
            Step::Handed { local, remote } => {
                let bytes = self.current.as_ref().map_or(&[][..], |handed| &handed.bytes);
                Input::Datagram { side: Side::Outside, local, remote, bytes }
            }
            Step::Stream(StreamStep::Opened(flow)) => Input::Opened { flow },
            Step::Stream(StreamStep::Bytes(connection, count)) => {
                Input::Stream { connection, bytes: self.streams.bytes(count) }
            }
            Step::Stream(StreamStep::Closed(connection)) => Input::Closed { connection },
        })
    }

    /// Takes an output of the engine; gives back what is not for a socket.
    pub fn send<'a>(&mut self, output: Output<'a>) -> Option<Output<'a>> {
        match output {
            Output::Datagram { side, local, remote, bytes } => {
                self.send_datagram(side, local, remote, bytes);
                None
            }
            Output::Stream { connection, bytes } => {
                self.streams.send(connection, bytes);
                None
            }
            Output::Connect { side, flow, name } => {
                self.streams.connect(side, flow, name);
                None
            }
            Output::Registered { connection } => {
                self.streams.on_registered(connection);
                None
            }
            Output::Close { connection, reason } if reason.resets() => {
                self.streams.reset(connection);
                None
            }
            Output::Close { connection, .. } => {
                self.streams.close(connection);
                None
            }
            other => Some(other),
        }
    }

    /// Ends a round: all that was sent goes to the kernel, as far as it takes it.
    pub fn flush(&mut self) {
        for socket in &mut self.udp {
            let side = socket.side();
            socket.flush(&mut |remote| self.unreachable.push(side, remote));
        }
        self.streams.flush();
    }

    /// Closes all connections, as at the end of a drain. Go on with rounds until
    /// [`Shard::has_connections`] says no, or patience ends.
    pub fn close_connections(&mut self) {
        self.streams.close_all();
    }

    /// Whether a connection is left, open or ending.
    #[must_use]
    pub fn has_connections(&self) -> bool {
        !self.streams.is_empty()
    }

    fn send_datagram(&mut self, side: Side, local: SocketAddr, remote: SocketAddr, bytes: &[u8]) {
        let (inside, outside) = self.udp.split_at_mut(self.inside);
        let outside = (self.inside..).zip(outside);
        let socket = match side {
            Side::Inside => {
                let exact = inside.iter().position(|socket| socket.bound() == local);
                let place = exact.unwrap_or(INSIDE);
                inside.get_mut(place).map(|socket| (place, socket))
            }
            // An exact address before a wildcard: the list is short and most often of one.
            Side::Outside => outside
                .filter(|(_, socket)| socket.serves(local))
                .min_by_key(|(_, socket)| socket.bound() != local),
        };
        match socket {
            Some((place, socket)) => {
                let balanced = !socket.balancers().is_empty();
                let path = balanced.then(|| self.paths.find(remote, place)).flatten();
                let reports = &mut self.unreachable;
                let to = path.unwrap_or(remote);
                socket.push(local, to, bytes, &mut |remote| reports.push(side, remote));
            }
            None => self.counters.udp_send_unbound.add(1),
        }
    }

    fn step(&mut self) -> Option<Step> {
        loop {
            match self.round.stage {
                Stage::Errors => {
                    self.drain_errors();
                    self.round.stage = Stage::Reports;
                }
                Stage::Reports => match self.unreachable.queue.pop_front() {
                    Some((side, remote)) => return Some(Step::Unreachable { side, remote }),
                    None => self.round.stage = Stage::Handed,
                },
                Stage::Handed => match self.handed.pop_front() {
                    Some(handed) => return Some(self.on_handed(handed)),
                    None => {
                        self.current = None;
                        self.round.stage = Stage::Datagrams;
                    }
                },
                Stage::Datagrams => {
                    if let Some(step) = self.next_datagram() {
                        return Some(step);
                    }
                    if !self.fetch_datagrams() {
                        self.round.stage = Stage::Streams;
                    } else if self.announces() {
                        return Some(Step::Coming);
                    }
                }
                Stage::Streams => match self.streams.step() {
                    Some(step) => return Some(Step::Stream(step)),
                    None => self.round.stage = Stage::Done,
                },
                Stage::Done => return None,
            }
        }
    }

    /// Only the first inside socket's errors wake the shard: those of the others are found when it is
    /// awake, with the next datagram at the latest, and cost nothing where there are none.
    fn drain_errors(&mut self) {
        let (reports, mut more) = (&mut self.unreachable, false);
        for (place, socket) in self.udp.iter_mut().take(self.inside).enumerate() {
            if place != INSIDE || self.round.failed {
                more |= socket.drain_errors(&mut |remote| reports.push(Side::Inside, remote));
            }
        }
        self.round.failed = more;
        self.round.unfinished |= more;
    }

    /// Whether it pays to say whose datagrams are in the batch: several from outside, each from whom
    /// it says.
    fn announces(&mut self) -> bool {
        let socket = self.udp.get(self.round.socket);
        let told = socket.is_some_and(|it| it.side() == Side::Outside && it.balancers().is_empty());
        self.sources.clear();
        if told && self.receive.len() > 1 {
            self.sources.extend(self.receive.sources());
        }
        !self.sources.is_empty()
    }

    /// The next whole datagram of the batch.
    fn next_datagram(&mut self) -> Option<Step> {
        while self.round.next < self.receive.len() {
            let index = self.round.next;
            self.round.next += 1;
            let socket = self.udp.get_mut(self.round.socket)?;
            let Some(received) = self.receive.datagram(index) else { continue };
            self.counters.udp_received.add(1);
            self.counters.udp_received_bytes.add(received.bytes.len() as u64);
            if let Some(count) = received.overflowed {
                socket.on_overflow_count(count);
            }
            if received.truncated {
                self.counters.udp_truncated.add(1);
                continue;
            }
            let bound = socket.bound();
            let ip = received.local.unwrap_or(bound.ip());
            let local = SocketAddr::new(ip, bound.port());
            let remote = received.remote;
            let side = socket.side();
            if !socket.balancers().has(remote.ip()) {
                return Some(Step::Datagram { side, local, remote, index, header: 0 });
            }
            if let Some((remote, header)) = self.on_balanced(local, remote, index) {
                return Some(Step::Datagram { side, local, remote, index, header });
            }
        }
        None
    }

    /// A load balancer's datagram: whose it is and how long its header, unless it is another
    /// shard's to deal with, or nobody's.
    fn on_balanced(
        &mut self,
        local: SocketAddr,
        balancer: SocketAddr,
        index: usize,
    ) -> Option<(SocketAddr, usize)> {
        let socket = self.round.socket;
        let bytes = self.receive.bytes(index);
        let Ok((speaker, header)) = introduction::split(bytes) else {
            self.counters.not_introduced.add(1);
            return None;
        };
        self.counters.introduced.add(1);
        let Speaker::Client(remote) = speaker else { return Some((balancer, header)) };
        let Some(owner) = self.neighbours.owner(remote.ip()) else {
            self.learn_path(remote, socket, balancer);
            return Some((remote, header));
        };
        let bytes = bytes.get(header..).unwrap_or_default().into();
        let handed = HandedDatagram { socket, local, balancer, remote, bytes };
        match self.neighbours.send(owner, Handed::Datagram(handed)) {
            true => self.counters.handed_over.add(1),
            false => self.counters.hand_over_dropped.add(1),
        }
        None
    }

    /// Another shard's load balancer spoke for a client of this one.
    fn on_handed(&mut self, handed: HandedDatagram) -> Step {
        let HandedDatagram { socket, local, balancer, remote, .. } = handed;
        self.learn_path(remote, socket, balancer);
        self.current = Some(handed);
        Step::Handed { local, remote }
    }

    fn learn_path(&mut self, client: SocketAddr, socket: usize, balancer: SocketAddr) {
        self.paths.learn(client, socket, balancer);
        self.counters.balancer_paths.set(self.paths.len() as u64);
    }

    /// Fills the batch from the socket whose turn it is; `false` when all had theirs.
    fn fetch_datagrams(&mut self) -> bool {
        let round = &mut self.round;
        while let Some(readable) = round.readable.get_mut(round.socket) {
            if *readable && round.taken < self.datagrams_per_wake {
                let Some(socket) = self.udp.get_mut(round.socket) else { break };
                *readable = socket.receive(&mut self.receive);
                round.waited = round.waited.max(age(self.receive.arrived()));
                round.next = 0;
                // A call that fails counts as well: errors alone must not hold the round.
                round.taken += self.receive.len().max(1);
                return true;
            }
            round.unfinished |= *readable;
            round.socket += 1;
            round.taken = 0;
        }
        false
    }
}

/// Takes what other shards have for this one, up to a bound; `true` when there is something to look
/// at. Sets the waker of `cx` when there is no more.
fn poll_neighbours(
    cx: &mut Context<'_>,
    neighbours: &mut Neighbours,
    streams: &mut Streams,
    handed: &mut VecDeque<HandedDatagram>,
    most: usize,
    knows: &impl Fn(IpAddr) -> bool,
) -> bool {
    for _ in handed.len()..most {
        match neighbours.poll(cx) {
            Poll::Ready(Handed::Datagram(datagram)) => handed.push_back(datagram),
            Poll::Ready(Handed::Connection { door, stream, remote }) => {
                streams.on_handed(door, stream, remote, knows(remote.ip()));
            }
            Poll::Pending => return !handed.is_empty(),
        }
    }
    true
}

/// How long ago a datagram came, by the clock that the kernel stamps with; a clock that was set back
/// makes it zero.
fn age(arrived: Option<Duration>) -> Duration {
    arrived.map_or(Duration::ZERO, |arrived| system::stamp().saturating_sub(arrived))
}

impl Round {
    fn open(&mut self, waited: Duration) {
        self.waited = waited;
        self.stage = Stage::Errors;
        self.socket = 0;
        self.taken = 0;
        self.unfinished = false;
    }
}
