//! One policy's edge, put between the two ends of a capture.
//!
//! A message from outside goes to the engine as it was captured, in the words of somebody who had
//! met this edge ([`words`]). What the PBX answered in the capture is given to the engine as the
//! answer to the request that the engine passed on; where it passed nothing on, the PBX is not heard.
//! Requests of the PBX go the other way, to the Contact that the engine gave it.

use super::words::{self, Known, Marks};
use crate::replay::edge::{Edge, Happening, Seat, Sink};
use admission::{Ban, Lift};
use capture::Recent;
use policy::{Policy, Reason, Time};
use proxy::{Event, Learned, Verdict};
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use wire::{Flow, Limits, Message, Method, Reply, Side, Transport};

/// Requests, challenges, dialogs and tags that are remembered, each.
const REMEMBERED: usize = 16_384;
/// Bans that are told of.
const BANS_MAX: usize = 65_536;
/// How often a client is taken to have repeated a request whose answer had to be paid for.
const REPEATS_MAX: usize = 10;

/// What was decided of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Decision {
    pub(super) verdict: Word,
    pub(super) reason: Reason,
}

/// A verdict that can be put in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Word {
    Forward,
    Absorb,
    Reject(u16),
    Drop,
}

impl Decision {
    /// Whether the message goes no further and its sender is not asked for credentials either.
    pub(super) fn stops(self) -> bool {
        matches!(self.verdict, Word::Reject(_) | Word::Drop) && self.verdict != Word::Reject(401)
    }
}

impl From<Verdict> for Word {
    fn from(verdict: Verdict) -> Word {
        match verdict {
            Verdict::Forward => Word::Forward,
            Verdict::Absorb => Word::Absorb,
            Verdict::Reject(status) => Word::Reject(status),
            Verdict::Drop => Word::Drop,
        }
    }
}

impl std::fmt::Display for Word {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Word::Forward => f.pad("forward"),
            Word::Absorb => f.pad("absorb"),
            Word::Reject(status) => f.pad(&format!("reject {status}")),
            Word::Drop => f.pad("drop"),
        }
    }
}

/// A request in passage, in the capture and here.
#[derive(Debug)]
struct Passage {
    marks: Marks,
    /// What its sender sent here, and how, to send it again.
    bytes: Vec<u8>,
    by: (Transport, SocketAddr, SocketAddr),
    /// The PBX's end of it: by which flow it went to, or came from, which PBX.
    pbx: Flow,
    /// Its sender has a final answer.
    answered: bool,
    /// The To-tag of that.
    tag: Vec<u8>,
    /// Nonce and opaque, when it was a challenge.
    challenge: Option<(Vec<u8>, Vec<u8>)>,
}

/// What one side of a dialog knows.
#[derive(Debug)]
struct Dialog {
    routes: Vec<Vec<u8>>,
    /// The way from its PBX.
    pbx: Flow,
}

/// An edge and what its two sides know of it.
#[derive(Debug)]
pub(super) struct Stage {
    edge: Edge,
    limits: Limits,
    passages: Recent<u64, Passage>,
    /// By source and captured nonce: the request that was challenged, and whether there was an opaque.
    challenges: Recent<u64, (u64, bool)>,
    /// By Call-ID and captured To-tag: the request that was answered.
    tags: Recent<u64, u64>,
    /// By Call-ID and side: that side's.
    dialogs: Recent<u64, Dialog>,
    /// By a phone's address: the Contact that a PBX has of it, and the way from that PBX.
    contacts: Recent<SocketAddr, (Vec<u8>, Flow)>,
    /// The PBX's last challenge, line by line: what it says to the edge's own OPTIONS.
    last_challenge: Vec<u8>,
    said: Said,
    /// What the PBX sent to phones that are not known here.
    pub(super) unfed: u64,
}

impl Stage {
    /// `secret` is that of all shards; so is `seed`.
    pub(super) fn new(policy: Policy, seat: Seat, secret: [u8; 32]) -> Self {
        let mut seed = secret;
        seed[31] = seat.shard.0;
        Stage {
            limits: policy.limits,
            edge: Edge::among(policy, seat, secret, seed).with_healthy_pbxs(),
            passages: Recent::new(REMEMBERED),
            challenges: Recent::new(REMEMBERED),
            tags: Recent::new(REMEMBERED),
            dialogs: Recent::new(REMEMBERED),
            contacts: Recent::new(REMEMBERED),
            last_challenge: Vec::new(),
            said: Said::default(),
            unfed: 0,
        }
    }

    pub(super) fn policy(&self) -> &Policy {
        self.edge.policy()
    }

    /// Every ban that began, the newest of each key.
    pub(super) fn bans(&self) -> &BTreeMap<String, Ban> {
        &self.said.bans
    }

    /// Bans that began when there was no room to tell of more.
    pub(super) fn bans_untold(&self) -> u64 {
        self.said.bans_untold
    }

    /// A client opened a connection.
    pub(super) fn on_opened(&mut self, at: Time, client: SocketAddr, local: SocketAddr) {
        self.said.clear();
        let transport = Transport::Tcp;
        let event = Happening::Opened { transport, local, remote: client };
        self.edge.happen(at, event, b"", &mut self.said);
    }

    /// Nothing comes after `last`: time goes on until no challenge of that time is waited for.
    pub(super) fn finish(&mut self, last: Time) {
        self.said.clear();
        let policy::Patience { invite, other } = self.edge.policy().admission.patience;
        // a challenge that waits to be paid for is still in passage: at most 64·T1
        let passage = self.edge.policy().timers.t1 * 64;
        let end = last + invite.max(other) + passage;
        self.edge.happen(end, Happening::Tick, b"", &mut self.said);
    }

    /// Its deadlines up to `at` fire; what it learned since it was last asked.
    pub(super) fn learned(&mut self, at: Time) -> Vec<Learned> {
        self.said.clear();
        self.edge.happen(at, Happening::Tick, b"", &mut self.said);
        std::mem::take(&mut self.said.learned)
    }

    /// What other shards learned until then.
    pub(super) fn learn_from(&mut self, at: Time, learned: &[Learned]) {
        self.said.clear();
        learned.iter().for_each(|one| self.edge.learn(at, one, &mut self.said));
    }

    /// Takes what is told of another shard's stage, which is at its end, too.
    pub(super) fn absorb(&mut self, other: Stage) {
        self.unfed += other.unfed;
        self.said.bans_untold += other.said.bans_untold;
        for ban in other.said.bans.into_values() {
            self.said.ban(ban);
        }
    }

    /// A connection ended.
    pub(super) fn on_closed(&mut self, at: Time, client: SocketAddr) {
        self.said.clear();
        self.edge.happen(at, Happening::Closed { remote: client }, b"", &mut self.said);
    }

    /// A message that a client sent to the edge, from the first address to the second: what was
    /// decided of it. `None` when nothing was, because there was nothing to decide.
    pub(super) fn on_client(
        &mut self,
        at: Time,
        by: (Transport, SocketAddr, SocketAddr),
        message: &Message<'_>,
    ) -> Option<Decision> {
        match message.is_request() {
            true => self.on_client_request(at, by, message),
            false => self.on_client_response(at, by, message),
        }
    }

    /// What a client sent and is no message, likewise.
    pub(super) fn on_garbage(
        &mut self,
        at: Time,
        by: (Transport, SocketAddr, SocketAddr),
        bytes: &[u8],
    ) -> Option<Decision> {
        self.feed(at, by, bytes);
        self.decision()
    }

    /// A message that the edge (in the capture mostly the PBX itself) sent to a client.
    pub(super) fn on_edge(&mut self, at: Time, client: SocketAddr, message: &Message<'_>) {
        match message.is_request() {
            true => self.on_pbx_request(at, client, message),
            false => self.on_pbx_response(at, client, message),
        }
    }

    fn on_client_request(
        &mut self,
        at: Time,
        by: (Transport, SocketAddr, SocketAddr),
        message: &Message<'_>,
    ) -> Option<Decision> {
        let source = by.1.ip();
        let acknowledged = match message.method() {
            Method::Ack => self.tags.get(&tag_key(message)).copied(),
            _ => None,
        };
        let challenged = words::credentials(message)
            .find_map(|digest| self.challenges.get(&nonce_key(source, digest.nonce)).copied());
        // whoever goes on got his answer, if by asking again
        for key in acknowledged.into_iter().chain(challenged.map(|(key, _)| key)) {
            self.insist(at, key);
        }
        let answer = acknowledged.and_then(|key| self.passages.get(&key));
        let challenge = challenged.and_then(|(key, had_opaque)| {
            let (nonce, opaque) = self.passages.get(&key)?.challenge.as_ref()?;
            Some((nonce.as_slice(), opaque.as_slice(), had_opaque))
        });
        let in_dialog = !message.to_tag().is_empty();
        let dialog = in_dialog.then(|| dialog_key(Side::Outside, message));
        let routes = dialog.and_then(|key| self.dialogs.get(&key));
        let known = Known {
            to_tag: answer.map(|passage| passage.tag.as_slice()).filter(|tag| !tag.is_empty()),
            routes: routes.map(|dialog| dialog.routes.as_slice()),
            challenge,
            uri: None,
        };
        let rewritten = words::request(message, &known);
        let bytes = rewritten.as_deref().unwrap_or(message.bytes());
        self.feed(at, by, bytes);
        let decision = self.decision();
        if message.method() != Method::Ack {
            self.learn(at, Side::Outside, by, message, bytes);
        }
        decision
    }

    /// Sends a request again until its sender has an answer.
    fn insist(&mut self, at: Time, key: u64) {
        for _ in 0..REPEATS_MAX {
            let Some(passage) = self.passages.get(&key).filter(|passage| !passage.answered) else {
                return;
            };
            let (by, bytes) = (passage.by, passage.bytes.clone());
            self.feed(at, by, &bytes);
            let limits = self.limits;
            let Ok(message) = Message::parse(&bytes, &limits) else { return };
            self.learn_answers(key, Side::Outside, &message);
        }
    }

    /// What became of a request: what the edge wrote into it, or what it answered by itself.
    fn learn(
        &mut self,
        at: Time,
        origin: Side,
        by: (Transport, SocketAddr, SocketAddr),
        captured: &Message<'_>,
        bytes: &[u8],
    ) {
        let key = passage_key(origin, captured);
        if self.passages.get(&key).is_none() {
            let mut marks = Marks::default();
            let mut pbx = match origin {
                Side::Inside => Flow { transport: by.0, ..Flow::udp(by.2, by.1) },
                Side::Outside => self.first_pbx(),
            };
            let limits = self.limits;
            for (side, flow, range) in &self.said.messages {
                let Some(sent) = self.said.bytes.get(range.clone()) else { continue };
                if *side == origin {
                    continue;
                }
                if let Ok(sent) = Message::parse(sent, &limits)
                    && sent.is_request()
                    && is_of(&sent, captured)
                    && sent.method() == captured.method()
                {
                    marks = Marks::of(&sent);
                    pbx = if origin == Side::Outside { *flow } else { pbx };
                }
            }
            if !marks.record_routes.is_empty() {
                let routes = marks.record_routes.clone();
                self.dialogs.insert(dialog_key(origin.other(), captured), Dialog { routes, pbx });
            }
            if captured.method() == Method::Register {
                if let Some(contact) = marks.contacts.first() {
                    self.contacts.insert(by.1, (contact.clone(), pbx));
                }
            } else {
                marks.contacts.clear();
            }
            let bytes = bytes.to_vec();
            let (answered, tag, challenge) = (false, Vec::new(), None);
            let passage = Passage { marks, bytes, by, pbx, answered, tag, challenge };
            self.passages.insert(key, passage);
        }
        self.learn_answers(key, origin, captured);
        self.answer_probe(at);
    }

    /// The answers to a request that reached its sender with the last step.
    fn learn_answers(&mut self, key: u64, origin: Side, request: &Message<'_>) {
        let limits = self.limits;
        for (side, _, range) in &self.said.messages {
            let Some(sent) = self.said.bytes.get(range.clone()) else { continue };
            if *side != origin || !sent.starts_with(b"SIP/2.0 ") {
                continue;
            }
            let Ok(response) = Message::parse(sent, &limits) else { continue };
            if !is_of(&response, request) {
                continue;
            }
            let mut routes = words::record_routes(&response);
            if !routes.is_empty() {
                routes.reverse();
                let pbx = self.passages.get(&key).map_or(self.first_pbx(), |passage| passage.pbx);
                self.dialogs.insert(dialog_key(origin, request), Dialog { routes, pbx });
            }
            let Some(passage) = self.passages.get_mut(&key) else { return };
            if response.status() >= 200 {
                passage.answered = true;
                passage.tag = response.to_tag().to_vec();
                passage.challenge = words::challenge(&response)
                    .map(|digest| (digest.nonce.to_vec(), digest.opaque.to_vec()));
            }
        }
    }

    fn on_client_response(
        &mut self,
        at: Time,
        by: (Transport, SocketAddr, SocketAddr),
        message: &Message<'_>,
    ) -> Option<Decision> {
        match self.passages.get(&passage_key(Side::Inside, message)) {
            // it answers what this edge never passed on
            Some(passage) if passage.marks.vias.is_empty() => return None,
            Some(passage) => {
                let bytes = words::phones_answer(message, &passage.marks)?;
                self.feed(at, by, &bytes);
            }
            // and this answers nothing
            None => self.feed(at, by, message.bytes()),
        }
        let decision = self.decision();
        self.learn_answers(passage_key(Side::Inside, message), Side::Inside, message);
        decision
    }

    fn on_pbx_response(&mut self, at: Time, client: SocketAddr, message: &Message<'_>) {
        let key = passage_key(Side::Outside, message);
        if self.passages.get(&key).is_none() {
            return;
        }
        let status = message.status();
        if matches!(status, 401 | 407)
            && let Some(digest) = words::challenge(message)
        {
            let had_opaque = digest.opaque_span.is_some();
            self.challenges.insert(nonce_key(client.ip(), digest.nonce), (key, had_opaque));
            self.last_challenge = challenge_lines(message);
        }
        if status >= 300 {
            self.tags.insert(tag_key(message), key);
        }
        let Some(passage) = self.passages.get(&key).filter(|one| !one.marks.vias.is_empty()) else {
            return;
        };
        let pbx = passage.pbx;
        let Some(bytes) = words::answer(message, &passage.marks) else { return };
        self.feed_inside(at, pbx, &bytes);
        self.learn_answers(key, Side::Outside, message);
    }

    fn on_pbx_request(&mut self, at: Time, client: SocketAddr, message: &Message<'_>) {
        let in_dialog = !message.to_tag().is_empty();
        let dialog = self.dialogs.get(&dialog_key(Side::Inside, message)).filter(|_| in_dialog);
        let contact = self.contacts.get(&client).filter(|_| dialog.is_none());
        let by = |pbx: &Flow| (pbx.transport, pbx.remote, pbx.local);
        let known = match (dialog, contact) {
            (Some(Dialog { routes, pbx }), _) => Some((Some(&routes[..]), None, *pbx)),
            (None, Some((uri, pbx))) => Some((None, Some(&uri[..]), *pbx)),
            (None, None) => None,
        };
        let Some((routes, uri, pbx)) = known else {
            self.unfed += 1;
            self.said.clear();
            return self.learn(at, Side::Inside, by(&self.first_pbx()), message, b"");
        };
        let known = Known { routes, uri, ..Known::default() };
        let Some(bytes) = words::request(message, &known) else { return };
        self.feed_inside(at, pbx, &bytes);
        self.learn(at, Side::Inside, by(&pbx), message, b"");
    }

    /// The edge's own OPTIONS, by which it asks for a challenge.
    fn answer_probe(&mut self, at: Time) {
        if self.last_challenge.is_empty() {
            return;
        }
        let limits = self.limits;
        let mut answer = None;
        for (side, flow, range) in &self.said.messages {
            let Some(sent) = self.said.bytes.get(range.clone()) else { continue };
            if *side == Side::Inside
                && sent.starts_with(b"OPTIONS ")
                && let Ok(probe) = Message::parse(sent, &limits)
                && probe.from_tag() == b"probe"
            {
                let source = self.edge.inside();
                let headers = &self.last_challenge;
                let reason = "Unauthorized";
                let reply =
                    Reply { status: 401, reason, to_tag: b"pbx", headers, source, compact: false };
                let mut bytes = Vec::new();
                reply.write(&probe, &mut bytes);
                answer = Some((*flow, bytes));
                break;
            }
        }
        if let Some((pbx, bytes)) = answer {
            self.feed_inside(at, pbx, &bytes);
        }
    }

    /// Where something is from that went to no PBX.
    fn first_pbx(&self) -> Flow {
        let (policy, inside) = (self.edge.policy(), self.edge.inside());
        Flow::udp(inside, policy.pbx.first().map_or(inside, |pbx| pbx.address))
    }

    fn feed_inside(&mut self, at: Time, pbx: Flow, bytes: &[u8]) {
        self.said.clear();
        self.edge.happen(at, Happening::Said { flow: pbx }, bytes, &mut self.said);
    }

    fn feed(&mut self, at: Time, by: (Transport, SocketAddr, SocketAddr), bytes: &[u8]) {
        let (transport, remote, local) = by;
        self.said.clear();
        if transport == Transport::Udp {
            let event = Happening::Datagram { side: Side::Outside, local, remote };
            self.edge.happen(at, event, bytes, &mut self.said);
            return;
        }
        self.edge.happen(at, Happening::Data { remote }, bytes, &mut self.said);
        if self.said.closed.contains(&remote) && self.said.decision.is_none() {
            // it was closed here, but not in the capture: who is closed on connects again
            let event = Happening::Opened { transport, local, remote };
            self.edge.happen(at, event, b"", &mut self.said);
            self.edge.happen(at, Happening::Data { remote }, bytes, &mut self.said);
            let shut = Decision { verdict: Word::Drop, reason: Reason::Banned };
            self.said.decision.get_or_insert(shut);
        }
    }

    fn decision(&self) -> Option<Decision> {
        self.said.decision
    }
}

/// What the edge said in the last step, and every ban.
#[derive(Debug, Default)]
struct Said {
    messages: Vec<(Side, Flow, Range<usize>)>,
    bytes: Vec<u8>,
    closed: Vec<SocketAddr>,
    /// The first about a message from outside.
    decision: Option<Decision>,
    bans: BTreeMap<String, Ban>,
    bans_untold: u64,
    /// What other shards are not told yet.
    learned: Vec<Learned>,
}

impl Said {
    /// Keeps a ban, the newest of each key.
    fn ban(&mut self, ban: Ban) {
        let key = ban.key.to_string();
        let known = self.bans.get(&key);
        if known.is_none() && self.bans.len() >= BANS_MAX {
            self.bans_untold += 1;
        } else if known.is_none_or(|known| known.since <= ban.since) {
            self.bans.insert(key, ban);
        }
    }

    fn clear(&mut self) {
        self.messages.clear();
        self.bytes.clear();
        self.closed.clear();
        self.decision = None;
    }
}

impl Sink for Said {
    fn sent(&mut self, side: Side, flow: &Flow, bytes: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        self.messages.push((side, *flow, start..self.bytes.len()));
    }

    fn closed(&mut self, peer: SocketAddr) {
        self.closed.push(peer);
    }

    fn decided(&mut self, event: &Event) {
        if event.side == Side::Outside {
            let decision = Decision { verdict: event.verdict.into(), reason: event.reason };
            self.decision.get_or_insert(decision);
        }
    }

    fn banned(&mut self, ban: &Ban) {
        self.ban(ban.clone());
    }

    fn lifted(&mut self, _: &Lift) {}

    fn learned(&mut self, learned: Learned) {
        self.learned.push(learned);
    }
}

/// The same request on both sides of the edge, and its answers.
fn passage_key(origin: Side, message: &Message<'_>) -> u64 {
    let mut hasher = DefaultHasher::new();
    let cseq = message.cseq();
    (origin, message.call_id(), words::branch(message), cseq.number).hash(&mut hasher);
    cseq.method.as_bytes().hash(&mut hasher);
    hasher.finish()
}

/// Whether a message that the edge sent belongs to a captured one.
fn is_of(sent: &Message<'_>, captured: &Message<'_>) -> bool {
    sent.call_id() == captured.call_id()
        && sent.cseq().number == captured.cseq().number
        && sent.cseq().method == captured.cseq().method
}

fn nonce_key(source: IpAddr, nonce: &[u8]) -> u64 {
    hash(&(source, nonce))
}

fn tag_key(message: &Message<'_>) -> u64 {
    hash(&(message.call_id(), message.to_tag()))
}

fn dialog_key(side: Side, message: &Message<'_>) -> u64 {
    hash(&(side, message.call_id()))
}

fn hash(what: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

fn challenge_lines(message: &Message<'_>) -> Vec<u8> {
    let lines = message.lines(wire::HeaderName::WwwAuthenticate);
    lines.flat_map(|(_, header)| message.slice(header.line)).copied().collect()
}
