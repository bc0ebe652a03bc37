//! All stream connections of a shard.

use crate::accept::{Accepted, Admitted, ByteStream, Introduction, Limits, Refused, Stack};
use crate::connection::{Connection, Read};
use crate::dial::Dial;
use crate::hand_over::{Handed, Neighbours};
use crate::introduction::Balancers;
use crate::wake::WakeQueue;
use crate::{CertStore, Counters, Peers, Settings};
use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, Interval, MissedTickBehavior, Sleep};
use tower::Service;
use wire::{ConnectionId, Flow, ShardId, Side};

/// How often deadlines of connections are looked at: they are seconds, and need no better.
const SWEEP: Duration = Duration::from_secs(1);
/// How long accepting rests when the process has no descriptor or memory for one more.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// Listeners, handshakes in progress, connections, and news of them for the driver.
pub(crate) struct Streams {
    shard: ShardId,
    settings: Settings,
    counters: Arc<Counters>,
    limits: Arc<Limits>,
    doors: Vec<Door>,
    resting: Option<Pin<Box<Sleep>>>,
    /// Whether a budget ended before the kernel's queue of new connections did.
    more_to_accept: bool,
    /// On the runtime's own queue, and dropped with the shard.
    opening: JoinSet<Result<Opening, Refused>>,
    /// Connections being opened, on the same queue, and what waits for them.
    dialling: JoinSet<(ConnectionId, io::Result<ByteStream>)>,
    dialled: HashMap<ConnectionId, Dialled>,
    peers: Arc<Peers>,
    connections: HashMap<ConnectionId, Connection>,
    /// How many were accepted, ever.
    count: u64,
    wakes: Arc<WakeQueue>,
    /// Connections with something to write since the last flush.
    unflushed: Vec<ConnectionId>,
    opened: VecDeque<Flow>,
    closed: VecDeque<ConnectionId>,
    buffer: Box<[u8]>,
    /// The connection being read, and the bytes it may still bring in this round.
    reading: Option<(ConnectionId, usize)>,
    /// Connections to look at in this round.
    turns: usize,
    sweep: Interval,
    /// Whether a connection may have a deadline.
    timed: bool,
}

/// A listener, and the way in.
struct Door {
    listener: TcpListener,
    side: Side,
    balancers: Balancers,
    introduction: Introduction,
    stack: Stack,
}

/// How far a connection has come on its way in.
enum Opening {
    /// A load balancer has said at this door for whom it speaks.
    Introduced(usize, Accepted),
    Admitted(Admitted),
}

/// News of a connection.
pub(crate) enum StreamStep {
    Opened(Flow),
    /// So many bytes in [`Streams::bytes`].
    Bytes(ConnectionId, usize),
    Closed(ConnectionId),
}

/// A connection that is being opened.
struct Dialled {
    /// What is to be sent first.
    queue: Vec<u8>,
    task: AbortHandle,
}

/// Why a connection was closed; each has its counter.
#[derive(Clone, Copy)]
enum Why {
    Peer,
    Failed,
    Engine,
    SendQueue,
    SendStalled,
}

impl Streams {
    pub(crate) fn new(
        shard: ShardId,
        settings: &Settings,
        counters: Arc<Counters>,
        peers: Arc<Peers>,
    ) -> Self {
        let mut sweep = tokio::time::interval(SWEEP);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Streams {
            shard,
            settings: settings.clone(),
            counters,
            limits: Limits::new(settings),
            doors: Vec::new(),
            resting: None,
            more_to_accept: false,
            opening: JoinSet::new(),
            dialling: JoinSet::new(),
            dialled: HashMap::new(),
            peers,
            connections: HashMap::new(),
            count: 0,
            wakes: Arc::default(),
            unflushed: Vec::new(),
            opened: VecDeque::new(),
            closed: VecDeque::new(),
            buffer: vec![0; settings.stream_read_bytes.max(1)].into(),
            reading: None,
            turns: 0,
            sweep,
            timed: false,
        }
    }

    /// Takes a socket that listens.
    pub(crate) fn listen(
        &mut self,
        socket: socket2::Socket,
        side: Side,
        certificates: Option<Arc<CertStore>>,
        balancers: Balancers,
    ) -> io::Result<()> {
        let listener = TcpListener::from_std(socket.into())?;
        let (introduction, stack) = (self.limits.introduction(), self.limits.stack(certificates));
        self.doors.push(Door { listener, side, balancers, introduction, stack });
        Ok(())
    }

    /// Lets a connection in at that door whose peer is known.
    fn admit(&mut self, door: usize, accepted: Accepted) {
        let Some(Door { stack, .. }) = self.doors.get_mut(door) else { return };
        admit(&mut self.opening, stack, accepted);
    }

    /// Accepts, lets handshakes end, looks at deadlines; `true` when there is work. Sets the
    /// waker of `cx` for all of it. Clients of others go to `neighbours`; whom it `knows` has room that
    /// strangers have not.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        neighbours: &Neighbours,
        knows: &impl Fn(IpAddr) -> bool,
    ) -> bool {
        self.wakes.register(cx);
        self.more_to_accept = self.poll_accept(cx, knows);
        self.poll_opening(cx, neighbours, knows);
        self.poll_dialling(cx);
        if self.timed && self.sweep.poll_tick(cx).is_ready() {
            self.on_sweep();
            // Sets the waker for the next tick.
            let _ = self.sweep.poll_tick(cx);
        }
        self.has_work()
    }

    /// How long the first connection with something to read has waited.
    pub(crate) fn waited(&self) -> Duration {
        self.wakes.waited()
    }

    /// Whether the next round has something to do without waiting.
    pub(crate) fn has_work(&self) -> bool {
        self.more_to_accept
            || !self.opened.is_empty()
            || !self.closed.is_empty()
            || self.wakes.len() > 0
    }

    /// `true` when there may be more to accept.
    fn poll_accept(&mut self, cx: &mut Context<'_>, knows: &impl Fn(IpAddr) -> bool) -> bool {
        if let Some(rest) = &mut self.resting {
            if rest.as_mut().poll(cx).is_pending() {
                return false;
            }
            self.resting = None;
        }
        let mut more = false;
        for (place, door) in self.doors.iter_mut().enumerate() {
            let mut left = self.settings.accepts_per_wake.max(1);
            while left > 0 {
                left -= 1;
                match door.listener.poll_accept(cx) {
                    Poll::Pending => break,
                    Poll::Ready(Ok((stream, remote))) => {
                        let known = door.side == Side::Inside || knows(remote.ip());
                        let accepted = Accepted { stream, remote, known };
                        if door.balancers.has(remote.ip()) {
                            introduce(&mut self.opening, place, door, accepted);
                        } else {
                            admit(&mut self.opening, &mut door.stack, accepted);
                        }
                    }
                    Poll::Ready(Err(error)) if is_peers_fault(&error) => {}
                    Poll::Ready(Err(_)) => {
                        self.counters.accept_failed.add(1);
                        let mut rest = Box::pin(tokio::time::sleep(ACCEPT_REST));
                        let _ = rest.as_mut().poll(cx);
                        self.resting = Some(rest);
                        return false;
                    }
                }
                more |= left == 0;
            }
        }
        more
    }

    fn poll_opening(
        &mut self,
        cx: &mut Context<'_>,
        neighbours: &Neighbours,
        knows: &impl Fn(IpAddr) -> bool,
    ) {
        while let Poll::Ready(Some(opening)) = self.opening.poll_join_next(cx) {
            match opening {
                Ok(Ok(Opening::Admitted(admitted))) => self.on_admitted(admitted),
                Ok(Ok(Opening::Introduced(door, accepted))) => {
                    self.on_introduced(door, accepted, neighbours, knows);
                }
                Ok(Err(refused)) => self.on_refused(&refused),
                // Nothing aborts a handshake but the shard's own end.
                Err(_) => self.counters.handshake_failed.add(1),
            }
        }
        self.counters.opening.set(self.opening.len() as u64);
    }

    /// A load balancer has said for whom it speaks: its owner goes on, handshake and all.
    fn on_introduced(
        &mut self,
        door: usize,
        accepted: Accepted,
        neighbours: &Neighbours,
        knows: &impl Fn(IpAddr) -> bool,
    ) {
        self.counters.introduced.add(1);
        let Accepted { stream, remote, .. } = accepted;
        let Some(owner) = neighbours.owner(remote.ip()) else {
            return self.admit(door, Accepted { stream, remote, known: knows(remote.ip()) });
        };
        let handed = stream.into_std().map(|stream| Handed::Connection { door, stream, remote });
        match handed.is_ok_and(|handed| neighbours.send(owner, handed)) {
            true => self.counters.handed_over.add(1),
            false => self.counters.hand_over_dropped.add(1),
        }
    }

    /// Another shard's load balancer speaks for a client of this one.
    pub(crate) fn on_handed(
        &mut self,
        door: usize,
        stream: std::net::TcpStream,
        remote: SocketAddr,
        known: bool,
    ) {
        match TcpStream::from_std(stream) {
            Ok(stream) => self.admit(door, Accepted { stream, remote, known }),
            Err(_) => self.counters.accept_failed.add(1),
        }
    }

    fn on_admitted(&mut self, admitted: Admitted) {
        let id = ConnectionId::new(self.shard, self.count);
        self.count += 1;
        let Admitted { stream, flow, permit } = admitted;
        let connection = Connection::new(id, stream, Some(permit), self.wakes.clone());
        self.connections.insert(id, connection);
        self.opened.push_back(Flow { connection: Some(id), ..flow });
        self.counters.accepted.add(1);
        self.counters.connections.set(self.connections.len() as u64);
    }

    fn poll_dialling(&mut self, cx: &mut Context<'_>) {
        while let Poll::Ready(Some(dialled)) = self.dialling.poll_join_next(cx) {
            // one that was closed before it was open is aborted, or comes too late
            let Ok((id, opened)) = dialled else { continue };
            let Some(Dialled { queue, .. }) = self.dialled.remove(&id) else { continue };
            match opened {
                Ok(stream) => self.on_connected(id, stream, &queue),
                Err(_) => self.on_not_connected(id),
            }
        }
    }

    fn on_connected(&mut self, id: ConnectionId, stream: ByteStream, queue: &[u8]) {
        let mut connection = Connection::new(id, stream, None, self.wakes.clone());
        connection.enqueue(queue);
        self.connections.insert(id, connection);
        self.list(id);
        self.counters.connected.add(1);
        self.counters.connections.set(self.connections.len() as u64);
    }

    fn on_not_connected(&mut self, id: ConnectionId) {
        self.closed.push_back(id);
        self.counters.connect_failed.add(1);
    }

    fn on_refused(&self, refused: &Refused) {
        let counter = match refused {
            Refused::Full => &self.counters.refused_full,
            Refused::Source => &self.counters.refused_source,
            Refused::Handshakes => &self.counters.refused_handshakes,
            Refused::Slow => &self.counters.handshake_slow,
            Refused::Failed => &self.counters.handshake_failed,
            Refused::NotIntroduced => &self.counters.not_introduced,
        };
        counter.add(1);
    }

    fn on_sweep(&mut self) {
        let now = Instant::now();
        self.timed = false;
        let mut late = Vec::new();
        for (id, connection) in &self.connections {
            match connection.deadline {
                Some(deadline) if deadline <= now => late.push(*id),
                Some(_) => self.timed = true,
                None => {}
            }
        }
        for id in late {
            self.abort(id, Why::SendStalled);
        }
    }

    /// Opens a round: connections that were woken by now have one turn each, up to a bound.
    pub(crate) fn open_round(&mut self) {
        self.turns = self.wakes.len().min(self.settings.connections_per_wake.max(1));
    }

    pub(crate) fn bytes(&self, count: usize) -> &[u8] {
        self.buffer.get(..count).unwrap_or_default()
    }

    /// The next news of this round.
    pub(crate) fn step(&mut self) -> Option<StreamStep> {
        loop {
            if let Some(flow) = self.opened.pop_front() {
                return Some(StreamStep::Opened(flow));
            }
            if let Some(id) = self.closed.pop_front() {
                return Some(StreamStep::Closed(id));
            }
            if let Some((id, left)) = self.reading.take() {
                if let Some(count) = self.read(id, left) {
                    return Some(StreamStep::Bytes(id, count));
                }
            } else if self.turns > 0 {
                self.turns -= 1;
                self.take_turn();
            } else {
                return None;
            }
        }
    }

    fn take_turn(&mut self) {
        let Some(id) = self.wakes.pop() else {
            self.turns = 0;
            return;
        };
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.taken();
        if !connection.is_open() {
            return self.drive_end(id);
        }
        if connection.wants_write() {
            self.write(id);
        }
        self.reading = Some((id, self.settings.stream_bytes_per_wake.max(1)));
    }

    /// One read; the connection stays the one being read while it has budget.
    fn read(&mut self, id: ConnectionId, left: usize) -> Option<usize> {
        let connection = self.connections.get_mut(&id).filter(|c| c.is_open())?;
        match connection.read(&mut self.buffer) {
            Read::Nothing => None,
            Read::Bytes(count) => {
                match left.saturating_sub(count) {
                    0 => connection.call_again(),
                    left => self.reading = Some((id, left)),
                }
                self.counters.stream_received_bytes.add(count as u64);
                Some(count)
            }
            Read::Gone(true) => {
                self.start_end(id, Why::Peer);
                None
            }
            Read::Gone(false) => {
                self.abort(id, Why::Failed);
                None
            }
        }
    }

    /// Opens a connection. What is sent on it from now on waits for it.
    pub(crate) fn connect(&mut self, side: Side, flow: Flow, name: &str) {
        let Some(id) = flow.connection else { return };
        match Dial::new(&self.settings, &self.peers, side, flow, name) {
            Ok(dial) => {
                let task = self.dialling.spawn(async move { (id, dial.open().await) });
                self.dialled.insert(id, Dialled { queue: Vec::new(), task });
            }
            Err(_) => self.on_not_connected(id),
        }
    }

    /// Takes a copy of bytes for a connection. One that would hold more than its bound is closed.
    pub(crate) fn send(&mut self, id: ConnectionId, bytes: &[u8]) {
        let bound = self.settings.send_queue_bytes;
        if let Some(dialled) = self.dialled.get_mut(&id) {
            if dialled.queue.len() + bytes.len() > bound {
                return self.close(id);
            }
            dialled.queue.extend_from_slice(bytes);
            return self.counters.stream_sent_bytes.add(bytes.len() as u64);
        }
        let fits = |connection: &Connection| connection.waiting() + bytes.len() <= bound;
        let open = |connections: &HashMap<_, Connection>| {
            connections.get(&id).filter(|connection| connection.is_open()).map(fits)
        };
        match open(&self.connections) {
            None => return self.counters.stream_send_unknown.add(1),
            Some(true) => {}
            // Much may have been sent in one round: the peer has its chance before it is judged.
            Some(false) => self.write(id),
        }
        match open(&self.connections) {
            Some(true) => {}
            Some(false) => return self.abort(id, Why::SendQueue),
            None => return,
        }
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.enqueue(bytes);
        self.counters.stream_sent_bytes.add(bytes.len() as u64);
        self.list(id);
    }

    /// Closes a connection after what was sent. The driver is told at once; the peer has
    /// `close_linger` to take the rest.
    pub(crate) fn close(&mut self, id: ConnectionId) {
        if let Some(dialled) = self.dialled.remove(&id) {
            dialled.task.abort();
            self.on_not_connected(id);
        }
        if self.connections.get(&id).is_some_and(Connection::is_open) {
            self.start_end(id, Why::Engine);
        }
    }

    /// Closes a connection at once, whatever waits in it: whoever is not let in holds nothing.
    pub(crate) fn reset(&mut self, id: ConnectionId) {
        match self.connections.get(&id).is_some_and(Connection::is_open) {
            true => self.abort(id, Why::Engine),
            false => self.close(id),
        }
    }

    /// A phone has registered over a connection.
    pub(crate) fn on_registered(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.on_registered();
        }
    }

    /// Closes all that are open.
    pub(crate) fn close_all(&mut self) {
        let all: Vec<_> = self.connections.keys().chain(self.dialled.keys()).copied().collect();
        for id in all {
            self.close(id);
        }
    }

    /// Whether no connection is left, open or ending.
    pub(crate) fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    pub(crate) fn flush(&mut self) {
        let mut unflushed = std::mem::take(&mut self.unflushed);
        for id in unflushed.drain(..) {
            let Some(connection) = self.connections.get_mut(&id) else { continue };
            connection.listed = false;
            if connection.is_open() { self.write(id) } else { self.drive_end(id) }
        }
        // Nothing above lists a connection: the vector keeps its room.
        self.unflushed = unflushed;
    }

    fn list(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(&id).filter(|c| !c.listed) {
            connection.listed = true;
            self.unflushed.push(id);
        }
    }

    fn write(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        match connection.write(self.settings.send_stall) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(_)) => self.abort(id, Why::Failed),
            Poll::Pending => self.timed = true,
        }
    }

    fn start_end(&mut self, id: ConnectionId, why: Why) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.start_end(self.settings.close_linger);
        self.timed = true;
        self.closed.push_back(id);
        self.count_closed(why);
        self.list(id);
    }

    fn drive_end(&mut self, id: ConnectionId) {
        let ended = self.connections.get_mut(&id).is_some_and(|c| c.end().is_ready());
        if ended {
            self.connections.remove(&id);
            self.counters.connections.set(self.connections.len() as u64);
        }
    }

    /// Drops a connection and what waits in it.
    fn abort(&mut self, id: ConnectionId, why: Why) {
        let Some(connection) = self.connections.remove(&id) else { return };
        connection.reset_on_drop();
        if connection.is_open() {
            self.closed.push_back(id);
            self.count_closed(why);
        }
        self.counters.connections.set(self.connections.len() as u64);
    }

    fn count_closed(&self, why: Why) {
        let counter = match why {
            Why::Peer => &self.counters.closed_by_peer,
            Why::Failed => &self.counters.closed_failed,
            Why::Engine => &self.counters.closed_by_engine,
            Why::SendQueue => &self.counters.closed_send_queue,
            Why::SendStalled => &self.counters.closed_send_stalled,
        };
        counter.add(1);
    }
}

/// Starts what is to be done before a connection may be served.
fn admit(opening: &mut JoinSet<Result<Opening, Refused>>, stack: &mut Stack, accepted: Accepted) {
    // Never pending: the stack sheds.
    let _ = stack.poll_ready(&mut Context::from_waker(Waker::noop()));
    let admitted = stack.call(accepted);
    opening.spawn(async move { admitted.await.map(Opening::Admitted) });
}

/// Starts reading a load balancer's header.
fn introduce(
    opening: &mut JoinSet<Result<Opening, Refused>>,
    place: usize,
    door: &mut Door,
    accepted: Accepted,
) {
    // Never pending, as above.
    let _ = door.introduction.poll_ready(&mut Context::from_waker(Waker::noop()));
    let introduced = door.introduction.call(accepted);
    opening.spawn(async move { introduced.await.map(|it| Opening::Introduced(place, it)) });
}

/// Whether the connection to accept has ended before it was (`accept(2)`, "Error handling"):
/// the next one is to be accepted as if nothing were.
fn is_peers_fault(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::ECONNABORTED
                | libc::EINTR
                | libc::EPERM
                | libc::EPROTO
                | libc::ENETDOWN
                | libc::ENETUNREACH
                | libc::EHOSTDOWN
                | libc::EHOSTUNREACH
                | libc::ENONET
        )
    )
}
