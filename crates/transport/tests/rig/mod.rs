//! Shards with their drivers on threads of their own, around an engine that answers what it gets.
//! The driver here has the shape of the real one.
#![allow(dead_code, clippy::disallowed_methods, clippy::unwrap_used)]

use proxy::{CloseReason, Input, Output};
use socket2::{Domain, Socket, Type};
use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use transport::{Counters, InsideListener, Listener, Peers, Settings, Shard, Sockets};
use wire::{ConnectionId, Flow, ShardId, Side, Transport};

/// How long a test waits for a fact before it fails.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub enum Command {
    Stop,
}

/// What an engine was told, for tests to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    Datagram { shard: ShardId, side: Side, local: SocketAddr, remote: SocketAddr, bytes: Vec<u8> },
    Opened { flow: Flow },
    Stream { connection: ConnectionId, bytes: Vec<u8> },
    Closed { connection: ConnectionId },
    Unreachable { side: Side, remote: SocketAddr },
}

enum Work {
    Datagram { side: Side, local: SocketAddr, remote: SocketAddr, bytes: Vec<u8> },
    Stream { connection: ConnectionId, bytes: Vec<u8> },
    Connect { side: Side, flow: Flow, name: String },
    Close { connection: ConnectionId, reason: CloseReason },
    Registered { connection: ConnectionId },
}

/// Answers `echo …` with the shard's number and the same; sends `to ADDRESS` to that address on
/// the inside, `from SOURCE ADDRESS` the same from another address of ours; `flood N` brings N bytes down a stream; `close` closes it, `refuse` does so
/// without a word; `register` says that a phone has; `dial TRANSPORT ADDRESS
/// NAME` opens a connection from the inside address and sends `hello` on it at once, `call` the same
/// from the outside one.
struct Engine {
    shard: ShardId,
    inside: SocketAddr,
    seen: SyncSender<Seen>,
    work: VecDeque<Work>,
    current: Option<Work>,
    dialled: u64,
}

impl Engine {
    fn handle_input(&mut self, _now: Instant, input: Input<'_>) {
        let shard = self.shard;
        let seen = match input {
            Input::Datagram { side, local, remote, bytes } => {
                self.on_datagram(side, local, remote, bytes);
                Seen::Datagram { shard, side, local, remote, bytes: bytes.to_vec() }
            }
            Input::Opened { flow } => Seen::Opened { flow },
            Input::Stream { connection, bytes } => {
                self.on_stream(connection, bytes);
                Seen::Stream { connection, bytes: bytes.to_vec() }
            }
            Input::Closed { connection } => Seen::Closed { connection },
            Input::Unreachable { side, remote } => Seen::Unreachable { side, remote },
            Input::Coming { .. } => return,
            other => panic!("not for sockets: {other:?}"),
        };
        // Tests that only count leave the channel full; that must not stop the shard.
        let _ = self.seen.try_send(seen);
    }

    fn on_datagram(&mut self, side: Side, local: SocketAddr, remote: SocketAddr, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes).into_owned();
        if let Some(words) = text.strip_prefix("dial ") {
            self.dial(Side::Inside, self.inside, words);
        } else if let Some(words) = text.strip_prefix("call ") {
            self.dial(Side::Outside, local, words);
        } else if let Some((source, to)) =
            text.strip_prefix("from ").and_then(|words| words.split_once(' '))
        {
            let local = SocketAddr::new(source.parse().unwrap(), self.inside.port());
            let (side, remote) = (Side::Inside, to.parse().unwrap());
            self.work.push_back(Work::Datagram { side, local, remote, bytes: bytes.to_vec() });
        } else if let Some(to) = text.strip_prefix("to ") {
            let (side, local, remote) = (Side::Inside, self.inside, to.parse().unwrap());
            self.work.push_back(Work::Datagram { side, local, remote, bytes: bytes.to_vec() });
        } else if text.starts_with("echo") {
            let bytes = self.answer(bytes);
            self.work.push_back(Work::Datagram { side, local, remote, bytes });
        }
    }

    fn dial(&mut self, side: Side, local: SocketAddr, words: &str) {
        let words: Vec<_> = words.split(' ').collect();
        let transport = if words[0] == "tls" { Transport::Tls } else { Transport::Tcp };
        let connection = ConnectionId::opened(self.shard, self.dialled);
        self.dialled += 1;
        let remote = words[1].parse().unwrap();
        let flow = Flow { transport, local, remote, connection: Some(connection) };
        self.work.push_back(Work::Connect { side, flow, name: words[2].to_owned() });
        self.work.push_back(Work::Stream { connection, bytes: b"hello".to_vec() });
    }

    fn on_stream(&mut self, connection: ConnectionId, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes).into_owned();
        if let Some(count) = text.strip_prefix("flood ") {
            let bytes = vec![b'x'; count.trim().parse().unwrap()];
            self.work.push_back(Work::Stream { connection, bytes });
        } else if text.starts_with("close") {
            let bytes = self.answer(b"bye");
            self.work.push_back(Work::Stream { connection, bytes });
            self.work.push_back(Work::Close { connection, reason: CloseReason::Malformed });
        } else if text.starts_with("refuse") {
            self.work.push_back(Work::Close { connection, reason: CloseReason::Overload });
        } else if text.starts_with("register") {
            let bytes = self.answer(bytes);
            self.work.push_back(Work::Registered { connection });
            self.work.push_back(Work::Stream { connection, bytes });
        } else if text.starts_with("echo") {
            let bytes = self.answer(bytes);
            self.work.push_back(Work::Stream { connection, bytes });
        }
    }

    fn answer(&self, bytes: &[u8]) -> Vec<u8> {
        [format!("{} ", self.shard.0).as_bytes(), bytes].concat()
    }

    fn poll_output(&mut self) -> Option<Output<'_>> {
        self.current = self.work.pop_front();
        Some(match self.current.as_ref()? {
            Work::Datagram { side, local, remote, bytes } => {
                Output::Datagram { side: *side, local: *local, remote: *remote, bytes }
            }
            Work::Stream { connection, bytes } => Output::Stream { connection: *connection, bytes },
            Work::Connect { side, flow, name } => {
                Output::Connect { side: *side, flow: *flow, name }
            }
            Work::Close { connection, reason } => {
                Output::Close { connection: *connection, reason: *reason }
            }
            Work::Registered { connection } => Output::Registered { connection: *connection },
        })
    }

    fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    fn handle_timeout(&mut self, _now: Instant) {}
}

/// The driver: one clock reading a wake-up, one input at a time, all its outputs, one flush.
async fn drive(mut shard: Shard, mut engine: Engine, mut commands: mpsc::Receiver<Command>) {
    let mut alarm = std::pin::pin!(tokio::time::sleep(Duration::ZERO));
    loop {
        if let Some(deadline) = engine.poll_timeout() {
            alarm.as_mut().reset(deadline.into());
        }
        tokio::select! {
            () = shard.ready(is_known) => {}
            () = &mut alarm, if engine.poll_timeout().is_some() => {}
            command = commands.recv() => match command {
                Some(Command::Stop) | None => return,
            }
        }
        let now = Instant::now();
        while let Some(input) = shard.next_input() {
            engine.handle_input(now, input);
            drain(&mut engine, &mut shard);
        }
        if engine.poll_timeout().is_some_and(|deadline| deadline <= now) {
            engine.handle_timeout(now);
            drain(&mut engine, &mut shard);
        }
        shard.flush();
    }
}

fn drain(engine: &mut Engine, shard: &mut Shard) {
    while let Some(output) = engine.poll_output() {
        if let Some(other) = shard.send(output) {
            panic!("hand-over, news and events go elsewhere: {other:?}");
        }
    }
}

/// A running edge without a proxy in it.
pub struct Rig {
    pub inside: Vec<SocketAddr>,
    pub outside: Vec<SocketAddr>,
    pub counters: Vec<Arc<Counters>>,
    pub seen: Receiver<Seen>,
    commands: Vec<mpsc::Sender<Command>>,
    threads: Vec<JoinHandle<()>>,
}

impl Rig {
    pub fn start(settings: &Settings, listeners: &[Listener], shards: u8) -> Rig {
        let inside = vec!["127.0.0.1:0".parse().unwrap(); shards.into()];
        Rig::with_inside(settings, listeners, &inside)
    }

    pub fn with_inside(settings: &Settings, listeners: &[Listener], at: &[SocketAddr]) -> Rig {
        Rig::with_peers(settings, listeners, at, Arc::default())
    }

    /// One that listens inside for TCP, too, and believes `peers`.
    pub fn with_peers(
        settings: &Settings,
        listeners: &[Listener],
        at: &[SocketAddr],
        peers: Arc<Peers>,
    ) -> Rig {
        // a port that is free for UDP may be somebody's for TCP: then another one
        let all = (0..100).find_map(|_| {
            let mut all = transport::bind(settings, listeners, at).unwrap();
            for sockets in &mut all {
                let inside = sockets.inside().unwrap();
                sockets.listen_inside(InsideListener::bind(settings, inside).ok()?);
            }
            Some(all)
        });
        Rig::of(settings, all.expect("a port that is free for both"), peers)
    }

    /// One with more sources inside.
    pub fn with_sources(
        settings: &Settings,
        listeners: &[Listener],
        at: &[SocketAddr],
        sources: &[IpAddr],
    ) -> Rig {
        let mut all = transport::bind(settings, listeners, at).unwrap();
        for sockets in &mut all {
            sources.iter().for_each(|source| sockets.add_source(settings, *source).unwrap());
        }
        Rig::of(settings, all, Arc::default())
    }

    fn of(settings: &Settings, all: Vec<Sockets>, peers: Arc<Peers>) -> Rig {
        let (seen_to, seen) = sync_channel(10_000);
        let mut rig = Rig {
            inside: all.iter().map(|sockets| sockets.inside().unwrap()).collect(),
            outside: all[0].outside().unwrap(),
            counters: Vec::new(),
            seen,
            commands: Vec::new(),
            threads: Vec::new(),
        };
        for sockets in all {
            rig.start_shard(settings, sockets, seen_to.clone(), peers.clone());
        }
        rig
    }

    fn start_shard(
        &mut self,
        settings: &Settings,
        sockets: Sockets,
        seen: SyncSender<Seen>,
        peers: Arc<Peers>,
    ) {
        let (commands, receiver) = mpsc::channel(4);
        let (counters_to, counters) = sync_channel(1);
        let settings = settings.clone();
        self.threads.push(std::thread::spawn(move || {
            transport::runtime().unwrap().block_on(async {
                let (shard, inside) = (sockets.shard(), sockets.inside().unwrap());
                let work = VecDeque::new();
                let engine = Engine { shard, inside, seen, work, current: None, dialled: 0 };
                let shard = Shard::new(&settings, sockets, peers).unwrap();
                counters_to.send(shard.counters().clone()).unwrap();
                drive(shard, engine, receiver).await;
            });
        }));
        self.commands.push(commands);
        self.counters.push(counters.recv_timeout(PATIENCE).unwrap());
    }

    /// Waits until the engines were told something that `wanted` accepts.
    pub fn until<T>(&self, mut wanted: impl FnMut(Seen) -> Option<T>) -> T {
        loop {
            let seen = self.seen.recv_timeout(PATIENCE).expect("the fact did not come");
            if let Some(found) = wanted(seen) {
                return found;
            }
        }
    }

    /// Waits until a count over all shards satisfies `wanted`.
    pub fn until_count(&self, of: impl Fn(&Counters) -> u64, wanted: impl Fn(u64) -> bool) -> u64 {
        let start = Instant::now();
        loop {
            let sum = self.counters.iter().map(|counters| of(counters)).sum();
            if wanted(sum) {
                return sum;
            }
            assert!(start.elapsed() < PATIENCE, "the count stays {sum}");
            std::thread::yield_now();
        }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        for commands in &self.commands {
            let _ = commands.blocking_send(Command::Stop);
        }
        for thread in self.threads.drain(..) {
            let ended = thread.join();
            if !std::thread::panicking() {
                ended.expect("a driver panicked");
            }
        }
    }
}

/// Somebody is known at 127.0.0.1.
pub fn is_known(source: IpAddr) -> bool {
    source == IpAddr::from([127, 0, 0, 1])
}

/// A port below those that the kernel gives out by itself, where nobody listens.
pub const NOBODY: u16 = 9;

/// A connection from an address of the caller's choice. Whoever is accepted and reset at once may
/// learn of it here already: that is a connection that has ended, and reads as one.
pub fn dial(source: IpAddr, to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(source, 0).into()).unwrap();
    match socket.connect(&to.into()) {
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        outcome => outcome.unwrap(),
    }
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// A phone's UDP socket.
pub fn phone(bind: &str) -> std::net::UdpSocket {
    let socket = std::net::UdpSocket::bind(bind).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// What came, as text, and from where.
pub fn receive(socket: &std::net::UdpSocket) -> (String, SocketAddr) {
    let mut bytes = vec![0; 65_535];
    let (length, from) = socket.recv_from(&mut bytes).expect("no datagram came");
    (String::from_utf8_lossy(&bytes[..length]).into_owned(), from)
}
