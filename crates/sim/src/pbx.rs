//! A PBX after the manner of Asterisk's chan_pjsip: registrar, digest with stateless 401s, echo,
//! and calls between registered phones as a B2BUA.

mod call;
mod register;

use crate::digest::{md5_hex, response as digest_response};
use crate::net::{Arrival, Conn, Node, Outbox, Request};
use crate::rng::Rng;
use crate::sip::{Msg, SipUri, auth_param, take_frame, uri_of};
use crate::ua::{AckQuirks, Layer, Path, Up};
use call::Leg;
use policy::{Time, TimerBase};
use register::Binding;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use wire::Transport;

/// How long a nonce is good (chan_pjsip's nonce_lifetime).
const NONCE_LIFETIME: u64 = 32;
const REALM: &str = "asterisk";

/// What a PBX is set to.
#[derive(Clone, Debug)]
pub struct PbxConfig {
    /// Where it listens, all transports.
    pub addresses: Vec<SocketAddr>,
    /// Users and passwords; the user is the extension and the AOR's name.
    pub accounts: BTreeMap<String, String>,
    /// Contacts an AOR may have; one more pushes the oldest out.
    pub max_contacts: usize,
    /// Believe the packet's source instead of Contact.
    pub rewrite_contact: bool,
    /// Whether Path is supported (`support_path=yes`).
    pub support_path: bool,
    /// Between OPTIONS to each contact; zero for never.
    pub qualify: Duration,
    /// RFC 3261 timer bases.
    pub timers: TimerBase,
    /// Challenges as chan_sip did: the 401 to an INVITE is repeated on Timer G until its ACK, and
    /// its tag is `as` with eight hexadecimal digits.
    pub chan_sip: bool,
    /// Sources that need no password: trunks.
    pub identified: BTreeSet<IpAddr>,
    /// Whether INVITEs of strangers are let into a context of their own, unchallenged.
    pub guests: bool,
    /// Anybody's OPTIONS is answered with 200 (`allow_unauthenticated_options`).
    pub open_options: bool,
    /// Numbers that trunks and guests may call; answered like the echo.
    pub dids: BTreeSet<String>,
}

/// Numbers of what the PBX has seen, for tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PbxCounts {
    /// Requests that were challenged.
    pub challenged: u64,
    /// Among them with `stale=true`.
    pub stale: u64,
    /// Requests with right credentials.
    pub authenticated: u64,
    /// Wrong passwords.
    pub refused: u64,
    /// Qualify answers.
    pub qualified: u64,
    /// Calls answered.
    pub answered: u64,
    /// 2xx that nobody acknowledged within 64·T1.
    pub unacknowledged: u64,
    /// Requests in a dialog that is not known.
    pub strays: u64,
}

/// The PBX.
#[derive(Debug)]
pub struct Pbx {
    config: PbxConfig,
    rng: Rng,
    layer: Layer,
    bindings: BTreeMap<String, Vec<Binding>>,
    legs: BTreeMap<u64, Leg>,
    next_leg: u64,
    streams: BTreeMap<Conn, (SocketAddr, Vec<u8>)>,
    timers: Vec<(Time, Todo)>,
    silent_until: Time,
    down_until: Time,
    /// What it has seen.
    pub counts: PbxCounts,
    /// Wrong passwords by the account that was tried and the real source.
    pub guesses: BTreeMap<(String, IpAddr), u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Todo {
    /// Answer the call.
    Answer(u64),
    /// Send a 200 again, after the next interval.
    Repeat(u64, Duration),
    /// The dialled phones did not answer.
    NoAnswer(u64),
    Qualify(String, String),
    /// Hang up from this side.
    Hangup(u64),
}

impl Pbx {
    /// A PBX that has just started.
    #[must_use]
    pub fn new(config: PbxConfig, rng: Rng) -> Self {
        Pbx {
            layer: Layer::new(config.timers, AckQuirks::default(), true),
            config,
            rng,
            bindings: BTreeMap::new(),
            legs: BTreeMap::new(),
            next_leg: 1,
            streams: BTreeMap::new(),
            timers: Vec::new(),
            silent_until: Time::ZERO,
            down_until: Time::ZERO,
            counts: PbxCounts::default(),
            guesses: BTreeMap::new(),
        }
    }

    /// Says nothing until then (a hung process: datagrams vanish).
    pub fn silence(&mut self, until: Time) {
        self.silent_until = until;
    }

    /// Restarts: calls and transactions are lost, registrations are not (astdb); its port is
    /// closed until then.
    pub fn restart(&mut self, until: Time) {
        self.layer.clear();
        self.legs.clear();
        self.timers.retain(|(_, todo)| matches!(todo, Todo::Qualify(..)));
        self.down_until = until;
    }

    /// Whether it neither is silent nor down.
    #[must_use]
    pub fn is_up(&self, now: Time) -> bool {
        now >= self.silent_until && now >= self.down_until
    }

    /// Contacts of an AOR.
    #[must_use]
    pub fn contacts(&self, user: &str) -> Vec<String> {
        let bindings = self.bindings.get(user).map(Vec::as_slice).unwrap_or_default();
        bindings.iter().map(|binding| binding.uri.clone()).collect()
    }

    /// Whether a contact of the AOR answers OPTIONS.
    #[must_use]
    pub fn is_reachable(&self, user: &str) -> bool {
        self.bindings.get(user).is_some_and(|b| b.iter().any(|b| b.available != Some(false)))
    }

    /// Call legs that are not over.
    #[must_use]
    pub fn legs(&self) -> usize {
        self.legs.len()
    }

    fn later(&mut self, at: Time, todo: Todo) {
        self.timers.push((at, todo));
    }

    fn receive(&mut self, now: Time, bytes: &[u8], path: Path, out: &mut Outbox) {
        if let Some(up) = self.layer.receive(now, bytes, path, &mut self.rng, out) {
            self.on_up(now, up, out);
        }
    }

    fn on_up(&mut self, now: Time, up: Up, out: &mut Outbox) {
        match up {
            Up::Request { key, msg, path } => self.on_request(now, &key, &msg, path, out),
            Up::Ack(msg) => self.on_ack(now, &msg, out),
            Up::Response { key, msg, .. } if msg.method() == "OPTIONS" => {
                self.on_qualified(&key, true);
            }
            Up::Failed { key, request } if request.method() == "OPTIONS" => {
                self.on_qualified(&key, false);
            }
            Up::Response { key, msg, .. } => self.on_leg_response(now, &key, &msg, out),
            Up::Failed { key, request } => {
                let timeout = Msg::response(&request, 408, "Request Timeout", "");
                self.on_leg_response(now, &key, &timeout, out);
            }
        }
    }

    fn on_request(&mut self, now: Time, key: &str, msg: &Msg, path: Path, out: &mut Outbox) {
        match msg.method() {
            "CANCEL" => return self.on_cancel(now, key, msg, out),
            _ if !msg.to_tag().is_empty() => return self.on_in_dialog(now, key, msg, out),
            // BYE out of a dialog: 481 with no challenge.
            "BYE" => return self.answer(now, key, msg, 481, "No Such Dialog", out),
            "OPTIONS" if self.config.open_options => {
                return self.answer(now, key, msg, 200, "OK", out);
            }
            _ => {}
        }
        let source = self.source_of(path);
        let from = SipUri::parse(uri_of(msg.value("From"))).unwrap_or_default().user;
        let guest = self.config.guests && !self.config.accounts.contains_key(&from);
        let identified = self.config.identified.contains(&real_source(msg, source));
        let user = if msg.method() == "INVITE" && (guest || identified) {
            "guest".to_string()
        } else {
            match self.authenticate(now, msg, source) {
                Ok(user) => user,
                Err(stale) => return self.challenge(now, key, msg, source, stale, out),
            }
        };
        self.counts.authenticated += 1;
        match msg.method() {
            "REGISTER" => self.on_register(now, key, msg, &user, path, out),
            "INVITE" => self.on_invite(now, key, msg, &user, path, out),
            "OPTIONS" => self.answer(now, key, msg, 200, "OK", out),
            "MESSAGE" => self.answer(now, key, msg, 202, "Accepted", out),
            "PUBLISH" => self.answer(now, key, msg, 489, "Bad Event", out),
            "SUBSCRIBE" => self.answer(now, key, msg, 404, "Not Found", out),
            _ => self.answer(now, key, msg, 501, "Not Implemented", out),
        }
    }

    /// The user when the credentials are right; else whether the challenge is stale.
    fn authenticate(&mut self, now: Time, msg: &Msg, source: SocketAddr) -> Result<String, bool> {
        let Some(credentials) = msg.header("Authorization") else { return Err(false) };
        let part = |name| auth_param(credentials, name).unwrap_or_default();
        let user = part("username");
        let Some(password) = self.config.accounts.get(&user) else { return Err(false) };
        let expected = digest_response(
            &user,
            REALM,
            password,
            msg.method(),
            &part("uri"),
            &part("nonce"),
            &part("nc"),
            &part("cnonce"),
        );
        if expected != part("response") {
            self.counts.refused += 1;
            *self.guesses.entry((user, real_source(msg, source))).or_default() += 1;
            return Err(false);
        }
        // "stale=true is sent when the digest is right for the password but the nonce is not
        // ours"; the nonce is the same for all who ask from one address in one second.
        let nonce = part("nonce");
        let time: u64 = nonce.split('/').next().and_then(|t| t.parse().ok()).unwrap_or(0);
        let fresh = nonce == nonce_for(time, source)
            && time <= now.as_secs()
            && now.as_secs() - time <= NONCE_LIFETIME;
        if fresh { Ok(user) } else { Err(true) }
    }

    /// "Sent once, never retransmitted"; "To-tag of the 401 = the topmost Via branch".
    fn challenge(
        &mut self,
        now: Time,
        key: &str,
        msg: &Msg,
        source: SocketAddr,
        stale: bool,
        out: &mut Outbox,
    ) {
        self.counts.challenged += 1;
        self.counts.stale += u64::from(stale);
        let tag = match self.config.chan_sip {
            true => format!("as{}", self.rng.hex(8)),
            false => msg.branch(),
        };
        let mut response = Msg::response(msg, 401, "Unauthorized", &tag);
        let nonce = nonce_for(now.as_secs(), source);
        let opaque = self.rng.hex(16);
        let stale = if stale { "stale=true," } else { "" };
        response.add(
            "WWW-Authenticate",
            &format!(
                "Digest realm=\"{REALM}\",nonce=\"{nonce}\",opaque=\"{opaque}\",\
                 {stale}algorithm=MD5,qop=\"auth\""
            ),
        );
        response.add("Server", "Sim PBX");
        if self.config.chan_sip {
            self.layer.respond(now, key, &response, out);
        } else {
            self.layer.respond_stateless(key, &response, out);
        }
    }

    fn answer(
        &mut self,
        now: Time,
        key: &str,
        msg: &Msg,
        status: u16,
        reason: &str,
        out: &mut Outbox,
    ) {
        let tag = self.rng.hex(8);
        self.layer.respond(now, key, &Msg::response(msg, status, reason, &tag), out);
    }

    fn source_of(&self, path: Path) -> SocketAddr {
        match path {
            Path::Udp { remote, .. } => remote,
            Path::Stream(conn) => match self.streams.get(&conn) {
                Some((remote, _)) => *remote,
                None => SocketAddr::new([0, 0, 0, 0].into(), 0),
            },
        }
    }

    fn local_for(&self, remote: SocketAddr) -> SocketAddr {
        let same = |local: &&SocketAddr| local.is_ipv4() == remote.is_ipv4();
        *self.config.addresses.iter().find(same).unwrap_or(&self.config.addresses[0])
    }

    /// Adds a Via and sends; the way is the given stream, or UDP to the URI's address.
    fn send(
        &mut self,
        now: Time,
        mut request: Msg,
        next_hop: &str,
        stream: Option<Conn>,
        out: &mut Outbox,
    ) -> Option<String> {
        let path = self.path_to(next_hop, stream)?;
        let via = self.via(path);
        request.push_front("Via", &via);
        if request.method() == "ACK" {
            path.send(request.to_bytes(), out);
            return None;
        }
        Some(self.layer.send(now, request, path, out))
    }

    fn path_to(&self, next_hop: &str, stream: Option<Conn>) -> Option<Path> {
        if let Some(conn) = stream.filter(|conn| self.streams.contains_key(conn)) {
            return Some(Path::Stream(conn));
        }
        let remote = SipUri::parse(next_hop)?.address()?;
        Some(Path::Udp { local: self.local_for(remote), remote })
    }

    fn via(&mut self, path: Path) -> String {
        let (transport, local) = match path {
            Path::Udp { local, .. } => ("UDP", local),
            Path::Stream(conn) => ("TCP", self.local_for(self.source_of(Path::Stream(conn)))),
        };
        format!("SIP/2.0/{transport} {local};rport;branch=z9hG4bKPj{}", self.rng.hex(24))
    }
}

/// Whom the edge says a request is from; without an edge the packet's source.
fn real_source(msg: &Msg, packet: SocketAddr) -> IpAddr {
    let told = msg.header("X-Ringfence-Source").and_then(|value| value.split(';').next());
    told.and_then(|address| address.parse().ok()).unwrap_or(packet).ip()
}

/// "time + hash of (time, source IP, instance id, realm)".
fn nonce_for(time: u64, source: SocketAddr) -> String {
    format!("{time}/{}", md5_hex(&format!("{time}:{}:instance:{REALM}", source.ip())))
}

/// Record-Route values as Asterisk gives them back: URIs written anew from their parts.
fn reserialised(values: &[String]) -> Vec<String> {
    values
        .iter()
        .map(|value| match SipUri::parse(uri_of(value)) {
            Some(uri) => format!("<{}>", uri.reserialised()),
            None => value.clone(),
        })
        .collect()
}

impl Node for Pbx {
    fn handle(&mut self, now: Time, arrival: Arrival, out: &mut Outbox) {
        if now < self.silent_until {
            return;
        }
        match arrival {
            Arrival::Datagram { local, remote, bytes } => {
                self.receive(now, &bytes, Path::Udp { local, remote }, out);
            }
            Arrival::Opened { conn, remote, .. } => {
                self.streams.insert(conn, (remote, Vec::new()));
            }
            Arrival::Stream { conn, bytes } => {
                let Some((_, buffer)) = self.streams.get_mut(&conn) else { return };
                buffer.extend_from_slice(&bytes);
                while let Some(frame) =
                    self.streams.get_mut(&conn).and_then(|(_, buffer)| take_frame(buffer))
                {
                    if frame.is_empty() {
                        out.push(Request::Stream { conn, bytes: b"\r\n".to_vec() });
                    } else {
                        self.receive(now, &frame, Path::Stream(conn), out);
                    }
                }
            }
            Arrival::Closed { conn } => {
                self.streams.remove(&conn);
                let ups = self.layer.on_transport_error(now, |path| path == Path::Stream(conn));
                for up in ups {
                    self.on_up(now, up, out);
                }
            }
            Arrival::Unreachable { .. } => {}
        }
    }

    fn tick(&mut self, now: Time, out: &mut Outbox) {
        if now < self.silent_until {
            // A hung process does nothing on time; it catches up later.
            let until = self.silent_until;
            for timer in &mut self.timers {
                timer.0 = timer.0.max(until);
            }
            return;
        }
        for up in self.layer.tick(now, out) {
            self.on_up(now, up, out);
        }
        let (due, rest) = std::mem::take(&mut self.timers).into_iter().partition(|t| t.0 <= now);
        self.timers = rest;
        for (_, todo) in due {
            self.on_todo(now, todo, out);
        }
    }

    fn deadline(&self) -> Option<Time> {
        let timers = self.timers.iter().map(|timer| timer.0).min();
        let first = timers.into_iter().chain(self.layer.deadline()).min();
        first.map(|first| first.max(self.silent_until))
    }

    fn listens(&self, local: SocketAddr) -> bool {
        self.config.addresses.contains(&local)
    }

    fn accepts(&self, local: SocketAddr, transport: Transport) -> bool {
        transport != Transport::Udp && self.config.addresses.contains(&local)
    }
}

impl Pbx {
    /// Whether its port is open.
    #[must_use]
    pub fn is_open(&self, now: Time) -> bool {
        now >= self.down_until
    }
}
