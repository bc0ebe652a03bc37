//! A phone: registers, calls, answers, and misbehaves as honest phones do in the field.

mod call;
mod register;

pub use call::{CallState, Ending};

use crate::digest::Challenge;
use crate::net::{Arrival, Conn, Node, Outbox, Request};
use crate::rng::Rng;
use crate::sip::{Msg, SipUri, take_frame, uri_of};
use crate::ua::{AckQuirks, Layer, Path, Up};
use call::Call;
use policy::{Time, TimerBase};
use register::Registration;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;
use wire::Transport;

/// What a phone does with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Rings, then answers.
    After(Duration),
    /// 486 at once.
    Busy,
    /// Rings, then 603.
    Decline,
    /// Rings until the caller gives up.
    Ring,
}

/// How an honest phone departs from the book.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quirks {
    /// Its ACKs to refusals.
    pub ack: AckQuirks,
    /// The request with credentials has the branch of the one without.
    pub retry_reuses_branch: bool,
    /// Gives up if a provisional response came before the 401.
    pub stops_after_provisional: bool,
    /// Drops `opaque` from its credentials.
    pub forgets_opaque: bool,
    /// Tries at first with the last nonce it knows.
    pub reuses_nonce: bool,
    /// Does not ask for `rport` in its Vias.
    pub no_rport: bool,
    /// Never answers a challenge, this often of a thousand.
    pub forgets_retry: u32,
    /// Answers one challenge to a request, and no second.
    pub answers_once: bool,
    /// Has no User-Agent.
    pub no_user_agent: bool,
}

impl Quirks {
    /// The phone that departs in the `n`th way, of eleven; by the book, past the last.
    #[must_use]
    pub fn nth(n: u64) -> Self {
        let mut quirks = Quirks::default();
        match n {
            0 => quirks.ack.other_branch = true,
            1 => quirks.ack.wrong_cseq = true,
            2 => quirks.ack.other_from_host = true,
            3 => quirks.ack.never = true,
            4 => quirks.retry_reuses_branch = true,
            5 => quirks.stops_after_provisional = true,
            6 => quirks.forgets_opaque = true,
            7 => quirks.reuses_nonce = true,
            8 => quirks.no_rport = true,
            9 => quirks.forgets_retry = 30,
            10 => quirks.no_user_agent = true,
            _ => {}
        }
        quirks
    }
}

/// What a phone is set to.
#[derive(Clone, Debug)]
pub struct PhoneConfig {
    /// Name in transcripts.
    pub name: String,
    /// Extension, AOR user and digest user.
    pub user: String,
    /// Password.
    pub password: String,
    /// Domain of its AOR.
    pub domain: String,
    /// Where it sends everything that no Route sends elsewhere.
    pub server: SocketAddr,
    /// How.
    pub transport: Transport,
    /// Its own address.
    pub local: SocketAddr,
    /// Registration time it asks for.
    pub expires: Duration,
    /// What it does with a call.
    pub answer: Answer,
    /// Between keep-alives; zero for none.
    pub keep_alive: Duration,
    /// Gives up calling after this.
    pub patience: Duration,
    /// After a refused registration it tries again after this and up to half as much more.
    pub retry: Duration,
    /// Departures.
    pub quirks: Quirks,
    /// RFC 3261 timer bases.
    pub timers: TimerBase,
}

/// What a phone saw that is wrong or worth counting.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PhoneCounts {
    /// 200s to REGISTER.
    pub registered: u64,
    /// 200s to REGISTER in which its own Contact was missing.
    pub contact_missing: u64,
    /// Requests whose Request-URI was not its own Contact.
    pub strange_uri: u64,
    /// OPTIONS answered.
    pub options: u64,
    /// Challenges answered.
    pub challenges: u64,
    /// Challenges refused although the password was sent (wrong password).
    pub refused: u64,
    /// 503 and other failures of REGISTER, by status.
    pub register_failures: BTreeMap<u16, u64>,
    /// Requests in dialogs it does not know.
    pub strays: u64,
    /// Keep-alives answered.
    pub pongs: u64,
}

/// A phone.
#[derive(Debug)]
pub struct Phone {
    /// How it is set; tests may change it between steps.
    pub config: PhoneConfig,
    /// What it saw.
    pub counts: PhoneCounts,
    rng: Rng,
    layer: Layer,
    registration: Registration,
    challenge: Option<Challenge>,
    calls: BTreeMap<u32, Call>,
    next_call: u32,
    timers: Vec<(Time, Todo)>,
    stream: Option<Stream>,
    next_conn: Conn,
    /// Requests in passage that may be challenged: key, how often they were tried.
    tries: BTreeMap<String, Try>,
    others: BTreeMap<String, Option<u16>>,
    sequence: u32,
    /// Contacts that it had at other addresses.
    past: Vec<String>,
}

#[derive(Debug)]
struct Stream {
    conn: Conn,
    ready: bool,
    buffer: Vec<u8>,
    backlog: Vec<Vec<u8>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Try {
    challenged: u8,
    provisional: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Todo {
    Register,
    KeepAlive,
    Answer(u32),
    Decline(u32),
    GiveUp(u32),
    Repeat(u32, Duration),
    /// Nothing final came after a CANCEL.
    Abandon(u32),
}

impl Phone {
    /// A phone that does nothing yet. `number` makes its connections unique in the run.
    #[must_use]
    pub fn new(config: PhoneConfig, number: u64, rng: Rng) -> Self {
        Phone {
            layer: Layer::new(config.timers, config.quirks.ack, false),
            config,
            counts: PhoneCounts::default(),
            rng,
            registration: Registration::default(),
            challenge: None,
            calls: BTreeMap::new(),
            next_call: 1,
            timers: Vec::new(),
            stream: None,
            next_conn: number << 32,
            tries: BTreeMap::new(),
            others: BTreeMap::new(),
            sequence: 0,
            past: Vec::new(),
        }
    }

    /// Its Contact URI.
    #[must_use]
    pub fn contact(&self) -> String {
        let PhoneConfig { user, local, transport, .. } = &self.config;
        match transport {
            Transport::Udp => format!("sip:{user}@{local}"),
            other => format!("sip:{user}@{local};transport={}", other.as_param()),
        }
    }

    /// Its AOR.
    #[must_use]
    pub fn aor(&self) -> String {
        format!("sip:{}@{}", self.config.user, self.config.domain)
    }

    /// Moves to another address or port. Running transactions and calls stay with their old
    /// path, which leads nowhere.
    pub fn roam(&mut self, local: SocketAddr, out: &mut Outbox) {
        self.drop_stream(out);
        self.past.push(self.contact());
        self.config.local = local;
    }

    /// Closes its connection; the next message opens another.
    pub fn drop_stream(&mut self, out: &mut Outbox) {
        if let Some(stream) = self.stream.take() {
            out.push(Request::Close { conn: stream.conn });
        }
    }

    /// Forgets everything but its settings, as at a power cut.
    pub fn reboot(&mut self) {
        self.layer.clear();
        self.registration = Registration::default();
        self.challenge = None;
        for call in self.calls.values_mut() {
            call.lost();
        }
        self.timers.clear();
        self.stream = None;
        self.tries.clear();
    }

    /// Sends one request outside any dialog (OPTIONS, MESSAGE…); its final status is
    /// [`Phone::other_status`].
    pub fn send_other(&mut self, now: Time, method: &str, user: &str, out: &mut Outbox) -> String {
        let uri = format!("sip:{user}@{}", self.config.domain);
        let tag = self.rng.hex(8);
        let mut request = Msg::request(method, &uri);
        self.sequence += 1;
        request
            .add("Max-Forwards", "70")
            .add("From", &format!("<{}>;tag={tag}", self.aor()))
            .add("To", &format!("<{uri}>"))
            .add("Call-ID", &self.rng.hex(20))
            .add("CSeq", &format!("{} {method}", self.sequence))
            .add("Contact", &format!("<{}>", self.contact()));
        let id = request.value("Call-ID").to_string();
        self.others.insert(id.clone(), None);
        self.start(now, request, None, out);
        id
    }

    /// The final status of [`Phone::send_other`]'s request, 408 when there was none.
    #[must_use]
    pub fn other_status(&self, id: &str) -> Option<u16> {
        self.others.get(id).copied().flatten()
    }

    /// Transactions that are not over.
    #[must_use]
    pub fn transactions(&self) -> usize {
        self.layer.len()
    }

    fn later(&mut self, at: Time, todo: Todo) {
        self.timers.push((at, todo));
    }

    /// Gives a request a Via and sends it as a new transaction.
    fn start(
        &mut self,
        now: Time,
        request: Msg,
        branch: Option<String>,
        out: &mut Outbox,
    ) -> String {
        self.start_to(now, request, branch, None, out)
    }

    fn start_to(
        &mut self,
        now: Time,
        mut request: Msg,
        branch: Option<String>,
        next_hop: Option<&str>,
        out: &mut Outbox,
    ) -> String {
        let path = self.path(next_hop, out);
        let branch = branch.unwrap_or_else(|| format!("z9hG4bK{}", self.rng.hex(16)));
        let rport = if self.config.quirks.no_rport { "" } else { ";rport" };
        let transport = self.config.transport.as_via();
        let via = format!("SIP/2.0/{transport} {}{rport};branch={branch}", self.config.local);
        request.push_front("Via", &via);
        let mut sends = Outbox::new();
        let key = if request.method() == "ACK" {
            path.send(request.to_bytes(), &mut sends);
            String::new()
        } else {
            self.layer.send(now, request, path, &mut sends)
        };
        self.flush(sends, out);
        key
    }

    /// The way to an address: the connection, opened if need be, or UDP.
    fn path(&mut self, next_hop: Option<&str>, out: &mut Outbox) -> Path {
        let PhoneConfig { local, server, transport, .. } = self.config;
        if transport == Transport::Udp {
            let remote = next_hop.and_then(|hop| SipUri::parse(hop)?.address()).unwrap_or(server);
            return Path::Udp { local, remote };
        }
        if let Some(stream) = &self.stream {
            return Path::Stream(stream.conn);
        }
        let conn = self.next_conn;
        self.next_conn += 1;
        self.stream = Some(Stream { conn, ready: false, buffer: Vec::new(), backlog: Vec::new() });
        out.push(Request::Connect { conn, transport, local, remote: server });
        Path::Stream(conn)
    }

    /// Passes on what the layer sends; a connection that is still opening keeps it.
    fn flush(&mut self, sends: Outbox, out: &mut Outbox) {
        for send in sends {
            match (send, &mut self.stream) {
                (Request::Stream { conn, bytes }, Some(stream))
                    if stream.conn == conn && !stream.ready =>
                {
                    stream.backlog.push(bytes);
                }
                (send, _) => out.push(send),
            }
        }
    }

    fn receive(&mut self, now: Time, bytes: &[u8], path: Path, out: &mut Outbox) {
        let mut sends = Outbox::new();
        let up = self.layer.receive(now, bytes, path, &mut self.rng, &mut sends);
        self.flush(sends, out);
        if let Some(up) = up {
            self.on_up(now, up, out);
        }
    }

    fn on_up(&mut self, now: Time, up: Up, out: &mut Outbox) {
        match up {
            Up::Request { key, msg, path } => self.on_request(now, &key, &msg, path, out),
            Up::Ack(msg) => self.on_ack(&msg),
            Up::Response { key, msg, request } => {
                if self.on_challenge(now, &key, &msg, &request, out) {
                    return;
                }
                self.on_final_or_progress(now, &key, &msg, &request, out);
            }
            Up::Failed { key, request } => {
                let timeout = Msg::response(&request, 408, "Request Timeout", "");
                self.tries.remove(&key);
                self.on_final_or_progress(now, &key, &timeout, &request, out);
            }
        }
    }

    fn on_final_or_progress(
        &mut self,
        now: Time,
        key: &str,
        msg: &Msg,
        request: &Msg,
        out: &mut Outbox,
    ) {
        match request.method() {
            "REGISTER" => self.on_register_response(now, msg, request),
            "INVITE" => self.on_invite_response(now, key, msg, out),
            "BYE" => self.on_bye_response(msg),
            "CANCEL" => {}
            _ if msg.status() >= 200 => {
                if let Some(status) = self.others.get_mut(request.value("Call-ID")) {
                    *status = Some(msg.status());
                }
            }
            _ => {}
        }
    }

    /// Answers a 401 with credentials (RFC 3261 §22.2). Whether the response is dealt with.
    fn on_challenge(
        &mut self,
        now: Time,
        key: &str,
        msg: &Msg,
        request: &Msg,
        out: &mut Outbox,
    ) -> bool {
        let tried = self.tries.entry(key.to_string()).or_default();
        if msg.status() < 200 {
            tried.provisional = true;
            return false;
        }
        let tried = self.tries.remove(key).unwrap_or_default();
        if msg.status() != 401 && msg.status() != 407 {
            return false;
        }
        let value = msg.value("WWW-Authenticate").to_string();
        let stale = crate::sip::auth_param(&value, "stale").is_some_and(|s| s == "true");
        let had = request.header("Authorization").is_some();
        if (tried.challenged > 0 && had && !stale) || tried.challenged > 4 {
            self.counts.refused += 1;
            self.challenge = None;
            return false;
        }
        if self.config.quirks.answers_once && tried.challenged > 0 {
            return false;
        }
        if self.config.quirks.stops_after_provisional && tried.provisional {
            return false;
        }
        if self.rng.chance(self.config.quirks.forgets_retry) {
            return false;
        }
        let Some(challenge) = Challenge::parse(&value) else { return false };
        self.challenge = Some(challenge);
        self.counts.challenges += 1;
        let mut retry = request.clone();
        retry.remove("Via").remove("Content-Length").remove("Authorization");
        self.authorize(&mut retry);
        let cseq = format!("{} {}", request.cseq() + 1, request.method());
        retry.set("CSeq", &cseq);
        self.sequence = self.sequence.max(request.cseq() + 1);
        let branch = self.config.quirks.retry_reuses_branch.then(|| request.branch());
        let hop = request.values("Route").first().map(|route| uri_of(route).to_string());
        let new = self.start_to(now, retry.clone(), branch, hop.as_deref(), out);
        self.tries
            .insert(new.clone(), Try { challenged: tried.challenged + 1, provisional: false });
        self.on_retried(key, &new, request.cseq() + 1);
        true
    }

    /// Adds credentials for the challenge known.
    fn authorize(&mut self, request: &mut Msg) {
        let Some(challenge) = &mut self.challenge else { return };
        if self.config.quirks.forgets_opaque {
            challenge.opaque.clear();
        }
        let (method, uri) = (request.method().to_string(), request.uri().to_string());
        let PhoneConfig { user, password, .. } = &self.config;
        let client = request.value("Call-ID").to_string();
        let value = challenge.answer(&client, user, password, &method, &uri);
        request.add("Authorization", &value);
    }

    fn on_request(&mut self, now: Time, key: &str, msg: &Msg, _path: Path, out: &mut Outbox) {
        let in_dialog = !msg.to_tag().is_empty();
        // What it was called before it moved may still reach it.
        let own = msg.uri() == self.contact() || self.past.iter().any(|past| past == msg.uri());
        if !in_dialog && msg.method() != "CANCEL" && !own {
            self.counts.strange_uri += 1;
        }
        match msg.method() {
            "INVITE" if in_dialog => self.on_reinvite(now, key, msg, out),
            "INVITE" => self.on_invite(now, key, msg, out),
            "CANCEL" => self.on_cancel(now, key, msg, out),
            "BYE" => self.on_bye(now, key, msg, out),
            "OPTIONS" => {
                self.counts.options += 1;
                self.answer(now, key, msg, 200, "OK", out);
            }
            "INFO" | "UPDATE" if !self.knows(msg) => {
                self.counts.strays += 1;
                self.answer(now, key, msg, 481, "Call Does Not Exist", out);
            }
            _ => self.answer(now, key, msg, 200, "OK", out),
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
        self.respond(now, key, &Msg::response(msg, status, reason, &tag), out);
    }

    fn respond(&mut self, now: Time, key: &str, response: &Msg, out: &mut Outbox) -> bool {
        let mut sends = Outbox::new();
        let sent = self.layer.respond(now, key, response, &mut sends);
        self.flush(sends, out);
        sent
    }

    fn on_todo(&mut self, now: Time, todo: Todo, out: &mut Outbox) {
        match todo {
            Todo::Register => self.register(now, out),
            Todo::KeepAlive => self.keep_alive(now, out),
            Todo::Answer(id) => self.answer_call(now, id, out),
            Todo::Decline(id) => self.decline_call(now, id, out),
            Todo::GiveUp(id) => self.cancel(now, id, out),
            Todo::Repeat(id, interval) => self.repeat_ok(now, id, interval, out),
            Todo::Abandon(id) => self.abandon(id),
        }
    }

    /// RFC 5626 §3.5: CRLF on UDP, double CRLF on streams.
    fn keep_alive(&mut self, now: Time, out: &mut Outbox) {
        if self.config.keep_alive.is_zero() {
            return;
        }
        let PhoneConfig { local, server: remote, transport, .. } = self.config;
        match (&self.stream, transport) {
            (_, Transport::Udp) => {
                out.push(Request::Datagram { local, remote, bytes: b"\r\n\r\n".to_vec() });
            }
            (Some(stream), _) if stream.ready => {
                out.push(Request::Stream { conn: stream.conn, bytes: b"\r\n\r\n".to_vec() });
            }
            _ => {}
        }
        self.later(now + self.config.keep_alive, Todo::KeepAlive);
    }

    fn on_closed(&mut self, now: Time, conn: Conn, out: &mut Outbox) {
        if self.stream.as_ref().is_some_and(|stream| stream.conn == conn) {
            self.stream = None;
            if self.registration.is_wanted() {
                // The flow is gone: register anew, soon (RFC 5626 §4.5).
                let wait = Duration::from_secs(1) + self.rng.up_to(Duration::from_secs(2));
                self.timers.retain(|(_, todo)| *todo != Todo::Register);
                self.later(now + wait, Todo::Register);
            }
        }
        for up in self.layer.on_transport_error(now, |path| path == Path::Stream(conn)) {
            self.on_up(now, up, out);
        }
    }
}

impl Node for Phone {
    fn handle(&mut self, now: Time, arrival: Arrival, out: &mut Outbox) {
        match arrival {
            Arrival::Datagram { bytes, .. } if bytes.iter().all(|b| b"\r\n".contains(b)) => {
                self.counts.pongs += 1;
            }
            Arrival::Datagram { local, remote, bytes } => {
                self.receive(now, &bytes, Path::Udp { local, remote }, out);
            }
            Arrival::Opened { conn, .. } => {
                let Some(stream) = self.stream.as_mut().filter(|s| s.conn == conn) else { return };
                stream.ready = true;
                for bytes in std::mem::take(&mut stream.backlog) {
                    out.push(Request::Stream { conn, bytes });
                }
            }
            Arrival::Stream { conn, bytes } => {
                let ours = |stream: &&mut Stream| stream.conn == conn;
                let Some(stream) = self.stream.as_mut().filter(ours) else { return };
                stream.buffer.extend_from_slice(&bytes);
                while let Some(frame) = self
                    .stream
                    .as_mut()
                    .filter(ours)
                    .and_then(|stream| take_frame(&mut stream.buffer))
                {
                    match frame.is_empty() {
                        true => self.counts.pongs += 1,
                        false => self.receive(now, &frame, Path::Stream(conn), out),
                    }
                }
            }
            Arrival::Closed { conn } => self.on_closed(now, conn, out),
            Arrival::Unreachable { .. } => {}
        }
    }

    fn tick(&mut self, now: Time, out: &mut Outbox) {
        let mut sends = Outbox::new();
        let ups = self.layer.tick(now, &mut sends);
        self.flush(sends, out);
        for up in ups {
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
        timers.into_iter().chain(self.layer.deadline()).min()
    }

    fn listens(&self, local: SocketAddr) -> bool {
        self.config.transport == Transport::Udp && local == self.config.local
    }

    fn accepts(&self, _local: SocketAddr, _transport: Transport) -> bool {
        false
    }
}
