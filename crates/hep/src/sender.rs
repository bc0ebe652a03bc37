//! The thread that sends.

use crate::encode::{Packet, Payload, encode};
use crate::exporter::{Emptying, Exporter, Letter, Slot, rings};
use crate::{Settings, Transport};
use proxy::Verdict;
use serde_json::json;
use std::io::{self, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tracing::{info, warn};

/// How often the rings are emptied.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How many looks pass before a server that failed is tried again: one second.
const LOOKS_BETWEEN_TRIES: u32 = 50;
/// How long a connection, and a write to it, may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// What the thread says of itself.
#[derive(Debug, Default)]
pub struct Counters {
    /// Messages sent, each with its verdict.
    pub sent: AtomicU64,
    /// Messages lost: their ring was full, or the server took nothing.
    pub lost: AtomicU64,
    /// Times that the server could not be reached.
    pub failed: AtomicU64,
    /// Messages are wanted.
    pub on: AtomicBool,
    /// The last try failed.
    fails: AtomicBool,
}

impl Counters {
    /// Whether messages are wanted and the last try succeeded.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.on.load(Relaxed) && !self.fails.load(Relaxed)
    }
}

/// How the capture server does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Where packets go; `None`: nowhere.
    pub target: Option<String>,
    /// Why the last try failed, if it did.
    pub error: Option<String>,
}

/// The export and its thread.
#[derive(Debug)]
pub struct Hep {
    slots: Vec<Arc<Slot>>,
    news: SyncSender<News>,
    counters: Arc<Counters>,
    health: Arc<Mutex<Health>>,
    settings: Mutex<Option<(Settings, usize)>>,
}

/// Other settings, with the rings of all shards.
#[derive(Debug)]
struct News(Option<(Settings, Vec<Emptying>)>);

impl Hep {
    /// Starts the thread for `shards` shards, and goes by `settings` ([`Hep::configure`]).
    ///
    /// # Errors
    /// When the system starts no thread.
    pub fn start(settings: Option<(Settings, usize)>, shards: u8) -> io::Result<Self> {
        let (news, inbox) = sync_channel(4);
        let counters = Arc::<Counters>::default();
        let health = Arc::<Mutex<Health>>::default();
        let desk = Desk {
            inbox,
            counters: counters.clone(),
            health: health.clone(),
            work: None,
            pause: 0,
        };
        std::thread::Builder::new().name("hep".into()).spawn(move || desk.run())?;
        let slots = (0..shards).map(|_| Arc::default()).collect();
        let hep = Hep { slots, news, counters, health, settings: Mutex::default() };
        hep.configure(settings);
        Ok(hep)
    }

    /// A shard's end.
    #[must_use]
    pub fn exporter(&self, shard: usize) -> Exporter {
        let slot = self.slots.get(shard).cloned().unwrap_or_default();
        Exporter::new(slot, self.counters.clone())
    }

    /// From now on messages go there, with rings for so many bytes in each shard, or nowhere. Each
    /// [`Exporter`] must be told to look. The same settings again change nothing.
    pub fn configure(&self, settings: Option<(Settings, usize)>) {
        {
            let mut known = self.settings.lock().unwrap_or_else(PoisonError::into_inner);
            if *known == settings {
                return;
            }
            known.clone_from(&settings);
        }
        self.counters.on.store(settings.is_some(), Relaxed);
        let target = settings.as_ref().map(|(it, _)| text(it));
        *self.health.lock().unwrap_or_else(PoisonError::into_inner) =
            Health { target, error: None };
        let mut ends = Vec::new();
        for slot in &self.slots {
            let made = settings.as_ref().map(|(it, bytes)| rings(*bytes, it.all));
            let (ready, end) = made.unzip();
            slot.lay(ready);
            ends.extend(end);
        }
        // it takes news each twenty milliseconds, or within its patience with a dead server
        let _ = self.news.send(News(settings.map(|(it, _)| (it, ends))));
    }

    /// For metrics.
    #[must_use]
    pub fn counters(&self) -> Arc<Counters> {
        self.counters.clone()
    }

    /// How the capture server does.
    #[must_use]
    pub fn health(&self) -> Health {
        self.health.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn text(settings: &Settings) -> String {
    let by = match settings.transport {
        Transport::Udp => "udp",
        Transport::Tcp => "tcp",
    };
    format!("{by} {}", settings.address)
}

/// Where letters become packets.
struct Desk {
    inbox: Receiver<News>,
    counters: Arc<Counters>,
    health: Arc<Mutex<Health>>,
    work: Option<Work>,
    /// Looks until a server that failed is tried again.
    pause: u32,
}

struct Work {
    settings: Settings,
    rings: Vec<Emptying>,
    way: Option<Way>,
}

enum Way {
    Udp(UdpSocket),
    Tcp(TcpStream),
}

impl Desk {
    fn run(mut self) {
        loop {
            let news = match &self.work {
                None => self.inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(_) => self.inbox.recv_timeout(LOOK_EVERY),
            };
            match news {
                Ok(News(settings)) => {
                    let work = |(settings, rings)| Work { settings, rings, way: None };
                    self.work = settings.map(work);
                    self.pause = 0;
                    self.counters.fails.store(false, Relaxed);
                }
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {}
            }
            self.empty();
        }
    }

    fn empty(&mut self) {
        let Some(work) = &mut self.work else { return };
        self.pause = self.pause.saturating_sub(1);
        let (mut sip, mut log, mut body) = (Vec::new(), Vec::new(), Vec::new());
        for shard in 0..work.rings.len() {
            // as many as there are now: a shard that fills on does not keep the others waiting
            let waiting = work.rings.get(shard).map_or(0, |ring| ring.letters.slots());
            for _ in 0..waiting {
                let Some(ring) = work.rings.get_mut(shard) else { break };
                let Ok(letter) = ring.letters.pop() else { break };
                body.resize(letter.length, 0);
                if ring.bytes.pop_entire_slice(&mut body).is_err() {
                    break;
                }
                if self.pause > 0 {
                    self.counters.lost.fetch_add(1, Relaxed);
                    continue;
                }
                sip.clear();
                log.clear();
                packets(&work.settings, &letter, &body, &mut sip, &mut log);
                let sent = work.send(&sip).and_then(|()| work.send(&log));
                match &sent {
                    Ok(()) => self.counters.sent.fetch_add(1, Relaxed),
                    Err(_) => {
                        work.way = None;
                        self.pause = LOOKS_BETWEEN_TRIES;
                        self.counters.failed.fetch_add(1, Relaxed);
                        self.counters.lost.fetch_add(1, Relaxed)
                    }
                };
                tell(&self.counters, &self.health, &work.settings, sent.err());
            }
        }
    }
}

/// Says what changed, once.
fn tell(
    counters: &Counters,
    health: &Mutex<Health>,
    settings: &Settings,
    error: Option<io::Error>,
) {
    if counters.fails.swap(error.is_some(), Relaxed) == error.is_some() {
        return;
    }
    let target = text(settings);
    match &error {
        Some(why) => warn!(%target, %why, "The capture server takes nothing: messages are lost"),
        None => info!(%target, "The capture server takes messages again"),
    }
    let mut health = health.lock().unwrap_or_else(PoisonError::into_inner);
    health.error = error.map(|error| error.to_string());
}

impl Work {
    fn send(&mut self, packet: &[u8]) -> io::Result<()> {
        let way = match &mut self.way {
            Some(way) => way,
            none => none.insert(open(&self.settings)?),
        };
        match way {
            Way::Udp(socket) => socket.send(packet).map(|_| ()),
            Way::Tcp(stream) => stream.write_all(packet),
        }
    }
}

fn open(settings: &Settings) -> io::Result<Way> {
    let address = settings.address;
    match settings.transport {
        Transport::Udp => {
            let own: SocketAddr = match address {
                SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
                SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
            };
            let socket = UdpSocket::bind(own)?;
            socket.connect(address)?;
            Ok(Way::Udp(socket))
        }
        Transport::Tcp => {
            let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
            stream.set_write_timeout(Some(PATIENCE))?;
            stream.set_nodelay(true)?;
            Ok(Way::Tcp(stream))
        }
    }
}

/// The message and its verdict.
fn packets(
    settings: &Settings,
    letter: &Letter,
    body: &[u8],
    sip: &mut Vec<u8>,
    log: &mut Vec<u8>,
) {
    let flow = &letter.event.flow;
    let length = usize::from(letter.call_id_length);
    let packet = Packet {
        at: letter.at,
        source: flow.remote,
        destination: flow.local,
        transport: flow.transport,
        agent: settings.agent,
        node: &settings.node,
        correlation: letter.call_id.get(..length).unwrap_or_default(),
        payload: Payload::Sip,
    };
    encode(&packet, body, sip);
    let verdict = verdict(letter);
    encode(&Packet { payload: Payload::Log, ..packet }, verdict.as_bytes(), log);
}

/// What was decided, in the words of the audit stream.
fn verdict(letter: &Letter) -> String {
    let event = &letter.event;
    let grounds = event.grounds.as_ref();
    let word = |verdict| match verdict {
        Verdict::Forward => ("forward", None),
        Verdict::Absorb => ("absorb", None),
        Verdict::Reject(status) => ("reject", Some(status)),
        Verdict::Drop => ("drop", None),
    };
    let (verdict, status) = word(event.verdict);
    let rules = &letter.policy.admission;
    let rule = grounds.and_then(|it| rules.rules.get(usize::from(it.rule)));
    let signatures = rules.signatures.list();
    let signature = grounds.and_then(|it| signatures.get(usize::from(it.signature)));
    json!({
        "event": "decision",
        "verdict": verdict,
        "status": status,
        "reason": event.reason.as_str(),
        "who": grounds.map(|it| it.who.as_str()),
        "score": grounds.map(|it| it.score),
        "proof": grounds.and_then(|it| it.proof).map(admission::Proof::as_str),
        "rule": rule.map(|it| &*it.name),
        "signature": signature.map(|it| &*it.id),
        "ban": grounds.and_then(|it| it.ban).map(|id| id.to_string()),
        "would": grounds.and_then(|it| it.would).map(|would| word(would).0),
        "policy": event.policy_version,
    })
    .to_string()
}
