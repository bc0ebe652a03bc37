//! The network end of a phone: one socket or connection, one reading thread, and a tape of all
//! that went over it.

use std::fmt::Write as _;
use std::io::{self, Read, Write as _};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

use rustls::ClientConnection;
use socket2::{Domain, Socket, Type};

use crate::message::{Message, find};
use crate::{PATIENCE, tls};

/// Transport outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// A TCP connection.
    Tcp,
    /// A TLS connection.
    Tls,
}

impl Transport {
    /// As Via has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Transport::Udp => "UDP",
            Transport::Tcp => "TCP",
            Transport::Tls => "TLS",
        }
    }
}

/// Which way a message went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Received.
    In,
    /// Sent.
    Out,
}

/// One thing on the tape.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Which way.
    pub direction: Direction,
    /// Since the process's first message.
    pub at: Duration,
    /// The other end.
    pub peer: SocketAddr,
    /// The message; `None` if it is not one (a keep-alive, a closed connection, nonsense).
    pub message: Option<Message>,
    /// The bytes; empty when a connection closed.
    pub bytes: Vec<u8>,
    taken: bool,
}

/// All that went over a phone's links, in order.
#[derive(Default)]
pub struct Tape {
    entries: Mutex<Vec<Entry>>,
    grew: Condvar,
}

impl Tape {
    /// Puts one thing on it.
    pub(crate) fn record(&self, direction: Direction, peer: SocketAddr, bytes: &[u8]) {
        static START: OnceLock<Instant> = OnceLock::new();
        let at = START.get_or_init(Instant::now).elapsed();
        let message = Message::parse(bytes).ok();
        let taken = direction == Direction::Out;
        self.lock().push(Entry { direction, at, peer, message, bytes: bytes.to_vec(), taken });
        self.grew.notify_all();
    }

    /// Waits for a received thing nobody took yet, and takes it; `None` after `patience`.
    pub fn take(&self, patience: Duration, wanted: impl Fn(&Entry) -> bool) -> Option<Entry> {
        self.find(patience, true, wanted)
    }

    /// The same, but leaves it for whoever takes it.
    pub fn peek(&self, patience: Duration, wanted: impl Fn(&Entry) -> bool) -> Option<Entry> {
        self.find(patience, false, wanted)
    }

    fn find(
        &self,
        patience: Duration,
        take: bool,
        wanted: impl Fn(&Entry) -> bool,
    ) -> Option<Entry> {
        let until = Instant::now() + patience;
        let mut entries = self.lock();
        loop {
            if let Some(entry) = entries.iter_mut().find(|entry| !entry.taken && wanted(entry)) {
                entry.taken = take;
                return Some(entry.clone());
            }
            let left = until.checked_duration_since(Instant::now())?;
            entries = self.grew.wait_timeout(entries, left).unwrap_or_else(|e| e.into_inner()).0;
        }
    }

    /// Everything so far.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        self.lock().clone()
    }

    /// Everything so far as text.
    #[must_use]
    pub fn transcript(&self) -> String {
        let mut text = String::new();
        for entry in self.lock().iter() {
            let arrow = if entry.direction == Direction::In { "<<<" } else { ">>>" };
            let shown = String::from_utf8_lossy(&entry.bytes).replace("\r\n", "\n  ");
            let _ = writeln!(
                text,
                "{:8.3} {arrow} {}\n  {}",
                entry.at.as_secs_f64(),
                entry.peer,
                shown.trim_end()
            );
        }
        text
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap_or_else(|error| error.into_inner())
    }
}

/// A socket, or a connection to one server.
pub(crate) struct Link {
    pub transport: Transport,
    pub local: SocketAddr,
    pub peer: SocketAddr,
    tape: Arc<Tape>,
    end: End,
    closing: AtomicBool,
}

enum End {
    Datagrams(UdpSocket),
    Plain(TcpStream),
    Secure(TcpStream, Box<Mutex<ClientConnection>>),
}

/// What a link asks for each message it receives, before anybody else can see it on the tape: the
/// bytes to send at once, if any, and where to.
pub(crate) type OnMessage =
    Box<dyn Fn(Transport, SocketAddr, &Message) -> Option<(Vec<u8>, SocketAddr)> + Send>;

impl Link {
    /// Opens a link from `host` (any port) to `peer`.
    pub fn open(
        transport: Transport,
        host: IpAddr,
        peer: SocketAddr,
        trust: &Path,
        tape: &Arc<Tape>,
        on_message: OnMessage,
    ) -> Arc<Self> {
        let (end, local) = match transport {
            Transport::Udp => {
                let socket = UdpSocket::bind((host, 0)).unwrap();
                let local = socket.local_addr().unwrap();
                (End::Datagrams(socket), local)
            }
            _ => {
                let stream = connect(host, peer);
                let local = stream.local_addr().unwrap();
                match transport {
                    Transport::Tls => (secure(stream, trust), local),
                    _ => (End::Plain(stream), local),
                }
            }
        };
        Self::run(
            Link { transport, local, peer, tape: tape.clone(), end, closing: false.into() },
            on_message,
        )
    }

    /// A UDP socket at `local`, for who is called.
    pub fn listen(
        local: SocketAddr,
        peer: SocketAddr,
        tape: &Arc<Tape>,
        on_message: OnMessage,
    ) -> Arc<Self> {
        let socket = UdpSocket::bind(local).unwrap();
        let end = End::Datagrams(socket);
        let link = Link {
            transport: Transport::Udp,
            local,
            peer,
            tape: tape.clone(),
            end,
            closing: false.into(),
        };
        Self::run(link, on_message)
    }

    /// Sends bytes as they are: to `to` from a UDP socket, down the connection otherwise.
    pub fn send(&self, to: SocketAddr, bytes: &[u8]) -> io::Result<()> {
        self.tape.record(Direction::Out, to, bytes);
        match &self.end {
            End::Datagrams(socket) => socket.send_to(bytes, to).map(drop),
            End::Plain(stream) => (&mut &*stream).write_all(bytes),
            End::Secure(stream, session) => {
                let mut session = session.lock().unwrap_or_else(|e| e.into_inner());
                session.writer().write_all(bytes)?;
                flush(&mut session, stream)
            }
        }
    }

    /// Closes it: a FIN for TCP, for TLS after its close_notify.
    pub fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
        match &self.end {
            End::Datagrams(_) => {}
            End::Plain(stream) => drop(stream.shutdown(Shutdown::Both)),
            End::Secure(stream, session) => {
                let mut session = session.lock().unwrap_or_else(|e| e.into_inner());
                session.send_close_notify();
                let _ = flush(&mut session, stream);
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
    }

    fn run(link: Link, on_message: OnMessage) -> Arc<Self> {
        let link = Arc::new(link);
        let reading = link.clone();
        std::thread::spawn(move || match &reading.end {
            End::Datagrams(socket) => reading.read_datagrams(socket, &on_message),
            End::Plain(stream) | End::Secure(stream, _) => reading.read_stream(stream, &on_message),
        });
        link
    }

    fn read_datagrams(&self, socket: &UdpSocket, on_message: &OnMessage) {
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let mut buffer = vec![0; 65_536];
        while !self.closing.load(Ordering::Relaxed) {
            if let Ok((length, from)) = socket.recv_from(&mut buffer) {
                self.on_received(from, &buffer[..length], on_message);
            }
        }
    }

    fn read_stream(&self, stream: &TcpStream, on_message: &OnMessage) {
        let mut buffer = vec![0; 65_536];
        let mut received = Vec::new();
        loop {
            let length = (&mut &*stream).read(&mut buffer).unwrap_or(0);
            if length == 0 {
                break;
            }
            match &self.end {
                End::Secure(stream, session) => {
                    decrypt(session, stream, &buffer[..length], &mut received)
                }
                _ => received.extend_from_slice(&buffer[..length]),
            }
            while let Some(length) = frame(&received) {
                let bytes: Vec<u8> = received.drain(..length).collect();
                self.on_received(self.peer, &bytes, on_message);
            }
        }
        self.tape.record(Direction::In, self.peer, b"");
    }

    fn on_received(&self, from: SocketAddr, bytes: &[u8], on_message: &OnMessage) {
        let message = Message::parse(bytes).ok();
        let answer = message.and_then(|message| on_message(self.transport, from, &message));
        self.tape.record(Direction::In, from, bytes);
        if let Some((bytes, to)) = answer {
            let _ = self.send(to, &bytes);
        }
    }
}

/// Whoever is accepted and reset at once may learn of it before `connect` returns: that is a
/// connection that has ended, and reads as one. (Nobody listening is refused, not reset.)
fn connect(host: IpAddr, peer: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::for_address(peer), Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((host, 0)).into()).unwrap();
    match socket.connect_timeout(&peer.into(), PATIENCE) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
        Err(error) => panic!("no connection to {peer}: {error}"),
        Ok(()) => {}
    }
    socket.set_tcp_nodelay(true).unwrap();
    socket.into()
}

fn secure(mut stream: TcpStream, trust: &Path) -> End {
    let mut session = tls::client(trust);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    while session.is_handshaking() {
        session.complete_io(&mut stream).unwrap_or_else(|error| panic!("TLS handshake: {error}"));
    }
    stream.set_read_timeout(None).unwrap();
    End::Secure(stream, Box::new(Mutex::new(session)))
}

fn flush(session: &mut ClientConnection, mut stream: &TcpStream) -> io::Result<()> {
    while session.wants_write() {
        session.write_tls(&mut stream)?;
    }
    Ok(())
}

fn decrypt(
    session: &Mutex<ClientConnection>,
    stream: &TcpStream,
    mut bytes: &[u8],
    into: &mut Vec<u8>,
) {
    let mut session = session.lock().unwrap_or_else(|e| e.into_inner());
    while !bytes.is_empty() {
        if session.read_tls(&mut bytes).is_err() || session.process_new_packets().is_err() {
            return;
        }
        let mut plain = [0; 16_384];
        while let Ok(length @ 1..) = session.reader().read(&mut plain) {
            into.extend_from_slice(&plain[..length]);
        }
    }
    let _ = flush(&mut session, stream);
}

/// Length of the first thing in a stream's bytes: a run of CRLFs or one message.
fn frame(bytes: &[u8]) -> Option<usize> {
    let blank = bytes.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
    if blank > 0 {
        return Some(blank);
    }
    let head = find(bytes, b"\r\n\r\n")? + 4;
    let length =
        Message::parse(&bytes[..head]).ok().and_then(|m| m.header("Content-Length")?.parse().ok());
    let whole = head + length.unwrap_or(0usize);
    (bytes.len() >= whole).then_some(whole)
}
