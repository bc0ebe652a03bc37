//! From what was said to messages, and to the edges that judge them.

use super::edges::Edges;
use super::stage::Stage;
use super::tally::Tally;
use super::words;
use capture::{Recent, Seen};
use policy::Time;
use proxy::Learned;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use wire::{Frame, Framer, Limits, Message, Transport, Uri};

/// Connections whose messages are cut at a time.
const CONVERSATIONS_MAX: usize = 8_192;
/// Requests with credentials whose answer is waited for.
const ASKED_MAX: usize = 16_384;

/// What both stages of a shard learned in a round.
pub(super) type News = Arc<[Vec<Learned>; 2]>;

/// One shard's part of a capture in the making of its report.
#[derive(Debug)]
pub(super) struct Play {
    edges: Edges,
    pub(super) first: Stage,
    pub(super) second: Option<Stage>,
    pub(super) tally: Tally,
    /// Messages by UDP and by TCP, both ways.
    pub(super) messages: [u64; 2],
    /// Connections of which nothing can be read.
    pub(super) encrypted: u64,
    conversations: Recent<(SocketAddr, SocketAddr), Conversation>,
    /// Who asks with credentials: the user, by request.
    asked: Recent<u64, Box<[u8]>>,
    limits: Limits,
}

/// A connection's two directions.
#[derive(Debug, Default)]
struct Conversation {
    client: Cut,
    edge: Cut,
}

/// How one direction is read.
#[derive(Debug, Default)]
enum Cut {
    /// Nothing came yet.
    #[default]
    New,
    /// Message by message.
    Messages(Framer),
    /// As it comes: it is no SIP.
    Raw,
    /// Not at all: TLS.
    Encrypted,
}

impl Play {
    pub(super) fn new(edges: Edges, first: Stage, second: Option<Stage>) -> Self {
        Play {
            edges,
            limits: first.policy().limits,
            first,
            second,
            tally: Tally::default(),
            messages: [0; 2],
            encrypted: 0,
            conversations: Recent::new(CONVERSATIONS_MAX),
            asked: Recent::new(ASKED_MAX),
        }
    }

    /// The capture is at its end: what it leaves open is judged as if nobody said anything more.
    pub(super) fn finish(&mut self, last: Time) {
        self.each(|stage| stage.finish(last));
    }

    /// What was learned up to `at`, for the other shards.
    pub(super) fn news(&mut self, at: Time) -> News {
        let second = self.second.as_mut().map(|stage| stage.learned(at));
        Arc::new([self.first.learned(at), second.unwrap_or_default()])
    }

    /// What another shard learned up to `at`.
    pub(super) fn hear(&mut self, at: Time, news: &News) {
        let [first, second] = &**news;
        self.first.learn_from(at, first);
        if let Some(stage) = &mut self.second {
            stage.learn_from(at, second);
        }
    }

    /// Two shards' parts, both at their end, as one.
    pub(super) fn join(mut self, other: Play) -> Play {
        self.first.absorb(other.first);
        if let (Some(stage), Some(other)) = (&mut self.second, other.second) {
            stage.absorb(other);
        }
        self.tally.absorb(other.tally);
        self.messages = [0, 1].map(|by| self.messages[by] + other.messages[by]);
        self.encrypted += other.encrypted;
        self
    }

    /// Something that was said at that time.
    pub(super) fn on_seen(&mut self, at: Time, seen: Seen<'_>) {
        match seen {
            Seen::Datagram { source, destination, bytes } => {
                let to_edge = self.edges.addresses.contains(&destination);
                self.messages[0] += 1;
                match to_edge {
                    true => self.on_client(at, Transport::Udp, (source, destination), bytes),
                    false => self.on_edge(at, destination, bytes),
                }
            }
            Seen::Opened { source, destination } => {
                // connections that the edge opens are not a client's
                if self.edges.addresses.contains(&destination) {
                    self.conversations.insert((source, destination), Conversation::default());
                    self.each(|stage| stage.on_opened(at, source, destination));
                }
            }
            Seen::Stream { source, destination, bytes } => {
                self.on_stream(at, source, destination, bytes);
            }
            Seen::Closed { source, destination } => {
                if self.conversations.remove(&(source, destination)).is_some() {
                    self.each(|stage| stage.on_closed(at, source));
                }
            }
        }
    }

    fn on_stream(&mut self, at: Time, source: SocketAddr, destination: SocketAddr, bytes: &[u8]) {
        let to_edge = self.conversations.get(&(source, destination)).is_some();
        let key = if to_edge { (source, destination) } else { (destination, source) };
        let Some(conversation) = self.conversations.get_mut(&key) else { return };
        let cut = if to_edge { &mut conversation.client } else { &mut conversation.edge };
        if matches!(cut, Cut::New) {
            // a handshake record of TLS (RFC 8446 §5.1)
            *cut = match bytes {
                [0x16, 0x03, ..] => Cut::Encrypted,
                _ => Cut::Messages(Framer::new()),
            };
            self.encrypted += u64::from(to_edge && matches!(cut, Cut::Encrypted));
        }
        let mut cut = std::mem::take(cut);
        self.cut(at, &mut cut, key, to_edge, bytes);
        if let Some(conversation) = self.conversations.get_mut(&key) {
            *(if to_edge { &mut conversation.client } else { &mut conversation.edge }) = cut;
        }
    }

    fn cut(
        &mut self,
        at: Time,
        cut: &mut Cut,
        (client, edge): (SocketAddr, SocketAddr),
        to_edge: bool,
        bytes: &[u8],
    ) {
        let mut framer = match cut {
            Cut::Messages(framer) => std::mem::take(framer),
            Cut::Raw if to_edge => {
                return self.on_client(at, Transport::Tcp, (client, edge), bytes);
            }
            Cut::Raw | Cut::Encrypted | Cut::New => return,
        };
        let limits = self.limits;
        framer.push(bytes, &limits);
        loop {
            match framer.next_frame(&limits) {
                Ok(Some(Frame::Message(message))) => {
                    self.messages[1] += 1;
                    match to_edge {
                        true => self.on_client(at, Transport::Tcp, (client, edge), message),
                        false => self.on_edge(at, client, message),
                    }
                }
                Ok(Some(Frame::Ping | Frame::Pong)) => {}
                Ok(None) => {
                    *cut = Cut::Messages(framer);
                    return;
                }
                Err(_) => {
                    *cut = Cut::Raw;
                    if to_edge {
                        self.on_client(at, Transport::Tcp, (client, edge), bytes);
                    }
                    return;
                }
            }
        }
    }

    fn on_client(
        &mut self,
        at: Time,
        transport: Transport,
        ends: (SocketAddr, SocketAddr),
        bytes: &[u8],
    ) {
        let limits = self.limits;
        // once for all that look at it, but for the engines, which read what they are given
        let message = Message::parse(bytes, &limits).ok();
        let mut names: [&[u8]; 2] = [b""; 2];
        if let Some(message) = message.as_ref().filter(|message| message.is_request()) {
            names[0] = Uri::parse(message.from().uri).map_or(&b""[..], |uri| uri.user);
            if let Some(digest) = words::credentials(message).next()
                && !digest.username.is_empty()
            {
                names[1] = digest.username;
                self.asked.insert(request_key(ends.0.ip(), message), digest.username.into());
            }
        }
        let by = (transport, ends.0, ends.1);
        let judge = |stage: &mut Stage| match &message {
            Some(message) => stage.on_client(at, by, message),
            None => stage.on_garbage(at, by, bytes),
        };
        let first = judge(&mut self.first);
        let second = self.second.as_mut().and_then(judge);
        if first.is_some() || second.is_some() {
            let compared = self.second.is_some();
            self.tally.decided(ends.0.ip(), names, (first, second), compared);
        }
    }

    fn on_edge(&mut self, at: Time, client: SocketAddr, bytes: &[u8]) {
        let limits = self.limits;
        let Ok(message) = Message::parse(bytes, &limits) else { return };
        if (200..300).contains(&message.status())
            && let Some(user) = self.asked.remove(&request_key(client.ip(), &message))
        {
            self.tally.authenticated(&user, client.ip());
        }
        self.each(|stage| stage.on_edge(at, client, &message));
    }

    fn each(&mut self, mut act: impl FnMut(&mut Stage)) {
        act(&mut self.first);
        if let Some(stage) = &mut self.second {
            act(stage);
        }
    }
}

/// A request and its answer.
fn request_key(client: IpAddr, message: &Message<'_>) -> u64 {
    let mut hasher = DefaultHasher::new();
    let cseq = message.cseq();
    (client, message.call_id(), cseq.number, cseq.method.as_bytes()).hash(&mut hasher);
    hasher.finish()
}
