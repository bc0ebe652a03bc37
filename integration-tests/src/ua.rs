//! A phone, or a PBX a test plays: one user agent with exact control.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::call::{Call, Incoming, offer};
use crate::digest::{self, auth_param};
use crate::link::{Entry, Link, OnMessage, Tape, Transport};
use crate::message::{Message, param, uri_of};
use crate::rtp::Rtp;
use crate::stage::DOMAIN;
use crate::{PATIENCE, credentials, unique};

/// What a user agent does without being told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reflex {
    /// Answer OPTIONS with 200, and the repetition of a request as it was answered before.
    Polite,
    /// Nothing at all.
    Dead,
}

/// A user agent with one link to its server.
pub struct Ua {
    /// Its account.
    pub user: String,
    /// Its password.
    pub password: String,
    /// The domain in its URIs.
    pub domain: String,
    /// What stands in its Contact; set it to lie (a private address, say).
    pub contact: String,
    /// Parameters of its Contact: `;+sip.instance="<urn:uuid:...>"`, say.
    pub contact_parameters: String,
    /// What stands in Via's sent-by; set it to lie.
    pub sent_by: String,
    /// Whether it knows MD5 only.
    pub md5_only: bool,
    /// All that it sent and received.
    pub tape: Arc<Tape>,
    media: Ipv4Addr,
    trust: PathBuf,
    link: Arc<Link>,
    habits: Arc<Habits>,
    cseq: AtomicU32,
    registration: String,
}

/// What the reading thread needs to know.
#[derive(Default)]
struct Habits {
    dead: AtomicBool,
    /// Responses by branch and method, for retransmitted requests.
    answers: Mutex<HashMap<String, (Vec<u8>, SocketAddr)>>,
}

impl Ua {
    const T1: Duration = Duration::from_millis(500);
    const REPEATS: u128 = PATIENCE.as_millis() / Self::T1.as_millis();

    /// A phone at `host` that reaches its server at `peer`; its RTP comes from `media`.
    #[must_use]
    pub fn connect(
        user: &str,
        transport: Transport,
        host: IpAddr,
        media: Ipv4Addr,
        peer: SocketAddr,
        trust: &Path,
    ) -> Self {
        let (tape, habits) = (Arc::new(Tape::default()), Arc::new(Habits::default()));
        let link = Link::open(transport, host, peer, trust, &tape, habits.clone().reaction());
        Self::with_link(user, media, trust, tape, link, habits)
    }

    /// A user agent that waits at `local` over UDP.
    #[must_use]
    pub fn listen(user: &str, local: SocketAddr, media: Ipv4Addr, peer: SocketAddr) -> Self {
        let (tape, habits) = (Arc::new(Tape::default()), Arc::new(Habits::default()));
        let link = Link::listen(local, peer, &tape, habits.clone().reaction());
        Self::with_link(user, media, Path::new(""), tape, link, habits)
    }

    fn with_link(
        user: &str,
        media: Ipv4Addr,
        trust: &Path,
        tape: Arc<Tape>,
        link: Arc<Link>,
        habits: Arc<Habits>,
    ) -> Self {
        let mut ua = Ua {
            user: user.to_owned(),
            password: format!("secret{user}"),
            domain: DOMAIN.to_owned(),
            contact: String::new(),
            contact_parameters: String::new(),
            sent_by: String::new(),
            md5_only: false,
            tape,
            media,
            trust: trust.to_owned(),
            link,
            habits,
            cseq: AtomicU32::new(1),
            registration: unique(),
        };
        ua.tell_the_truth();
        ua
    }

    /// Sets Contact and Via to where the link really is.
    pub fn tell_the_truth(&mut self) {
        self.sent_by = self.local().to_string();
        self.contact = format!("sip:{}@{}", self.user, self.local());
        if self.transport() != Transport::Udp {
            self.contact += &format!(";transport={}", self.transport().name().to_lowercase());
        }
    }

    /// Moves to a new source port (a NAT that forgot, a connection made anew). Contact and Via
    /// keep saying what they said.
    pub fn move_to_new_port(&mut self) {
        self.move_to(self.local().ip());
    }

    /// Moves to another host. Contact and Via keep saying what they said.
    pub fn move_to(&mut self, host: IpAddr) {
        let reaction = self.habits.clone().reaction();
        let new =
            Link::open(self.transport(), host, self.server(), &self.trust, &self.tape, reaction);
        std::mem::replace(&mut self.link, new).close();
    }

    /// Closes its connection, or stops reading its socket.
    pub fn disconnect(&self) {
        self.link.close();
    }

    /// Chooses what it does by itself.
    pub fn set_reflex(&self, reflex: Reflex) {
        self.habits.dead.store(reflex == Reflex::Dead, Ordering::Relaxed);
    }

    /// Its own address.
    #[must_use]
    pub fn local(&self) -> SocketAddr {
        self.link.local
    }

    /// Its server's address.
    #[must_use]
    pub fn server(&self) -> SocketAddr {
        self.link.peer
    }

    /// Its transport.
    #[must_use]
    pub fn transport(&self) -> Transport {
        self.link.transport
    }

    /// Its address of record.
    #[must_use]
    pub fn aor(&self) -> String {
        format!("sip:{}@{}", self.user, self.domain)
    }

    /// A SIP URI of a number in its domain.
    #[must_use]
    pub fn uri(&self, number: &str) -> String {
        format!("sip:{number}@{}", self.domain)
    }

    /// A socket for its media.
    #[must_use]
    pub fn rtp(&self) -> Rtp {
        Rtp::open(self.media)
    }

    // --- sending

    /// A request outside a dialog, from its AOR to `to`, with all that RFC 3261 §8.1.1 asks for.
    #[must_use]
    pub fn request(&self, method: &str, to: &str) -> Message {
        let cseq = self.cseq.fetch_add(1, Ordering::Relaxed);
        let request = Message::request(method, to)
            .with("Via", self.via())
            .with("Max-Forwards", "70")
            .with("From", format!("<{}>;tag={}", self.aor(), unique()))
            .with("To", format!("<{to}>"))
            .with("Call-ID", unique())
            .with("CSeq", format!("{cseq} {method}"))
            .with("User-Agent", "Ringfence test phone");
        match method {
            "INVITE" | "REGISTER" | "SUBSCRIBE" | "REFER" | "UPDATE" => {
                request.with("Contact", self.contact_value())
            }
            _ => request,
        }
    }

    /// The value of its Contact.
    #[must_use]
    pub fn contact_value(&self) -> String {
        format!("<{}>{}", self.contact, self.contact_parameters)
    }

    /// A Via with a branch of its own.
    #[must_use]
    pub fn via(&self) -> String {
        format!(
            "SIP/2.0/{} {};branch=z9hG4bK{};rport",
            self.transport().name(),
            self.sent_by,
            unique()
        )
    }

    /// Sends to its server.
    ///
    /// # Panics
    /// When the link is gone.
    pub fn send(&self, message: &Message) {
        self.send_to(self.server(), message);
    }

    /// Sends to an address (over a connection: to its other end, whatever is asked).
    ///
    /// # Panics
    /// When the link is gone.
    pub fn send_to(&self, to: SocketAddr, message: &Message) {
        self.link
            .send(to, &message.bytes())
            .unwrap_or_else(|error| panic!("{}: {error}", self.user));
    }

    /// Sends bytes as they are to its server.
    ///
    /// # Errors
    /// When the link is gone.
    pub fn send_bytes(&self, bytes: &[u8]) -> io::Result<()> {
        self.link.send(self.server(), bytes)
    }

    /// Answers a request, to where it came from (RFC 3581), with a To tag from 180 on.
    pub fn answer(&self, request: &Message, code: u16, phrase: &str) -> Message {
        let response = self.response(request, code, phrase);
        self.respond(&response);
        response
    }

    /// The response [`Ua::answer`] would send.
    #[must_use]
    pub fn response(&self, request: &Message, code: u16, phrase: &str) -> Message {
        let mut response = Message::response(request, code, phrase);
        let to = request.value("To");
        if code > 100 && param(to, "tag").is_none() {
            let tag = local_tag(request);
            response.set("To", format!("{to};tag={tag}"));
        }
        if code > 100 && matches!(request.method(), "INVITE" | "SUBSCRIBE" | "UPDATE" | "REFER") {
            response = response.with("Contact", self.contact_value());
        }
        response
    }

    /// Sends a response by its topmost Via (RFC 3261 §18.2.2, RFC 3581), and remembers it for
    /// retransmitted requests.
    pub fn respond(&self, response: &Message) {
        let to = self.return_address(response);
        let mut answers = self.habits.answers.lock().unwrap_or_else(|e| e.into_inner());
        answers.insert(key(response), (response.bytes(), to));
        drop(answers);
        self.send_to(to, response);
    }

    fn return_address(&self, response: &Message) -> SocketAddr {
        return_address(response)
            .filter(|_| self.transport() == Transport::Udp)
            .unwrap_or(self.server())
    }

    // --- waiting

    /// Waits for a received message and takes it, so that it is not found again.
    ///
    /// # Panics
    /// After [`PATIENCE`], with the tape.
    #[track_caller]
    pub fn wait_for(&self, what: &str, wanted: impl Fn(&Message) -> bool) -> Message {
        self.wait_for_within(PATIENCE, what, wanted)
    }

    /// The same with a patience of its own.
    ///
    /// # Panics
    /// When it does not come, with the tape.
    #[track_caller]
    pub fn wait_for_within(
        &self,
        patience: Duration,
        what: &str,
        wanted: impl Fn(&Message) -> bool,
    ) -> Message {
        let found = self.tape.take(patience, |entry| entry.message.as_ref().is_some_and(&wanted));
        match found.and_then(|entry| entry.message) {
            Some(message) => message,
            None => panic!("{} did not receive {what}", self.user),
        }
    }

    /// Waits for something that is no message: a keep-alive's answer, the end of a connection.
    ///
    /// # Panics
    /// After [`PATIENCE`].
    #[track_caller]
    pub fn wait_for_bytes(&self, what: &str, wanted: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        let found =
            self.tape.take(PATIENCE, |entry| entry.message.is_none() && wanted(&entry.bytes));
        found.unwrap_or_else(|| panic!("{} did not receive {what}", self.user)).bytes
    }

    /// Waits for the first response to `request`, and takes it if it says that the nonce was stale.
    pub(crate) fn stale_challenge(&self, request: &Message) -> Option<Message> {
        for _ in 0..Self::REPEATS {
            let first = self.tape.peek(Self::T1, |entry| {
                entry.message.as_ref().is_some_and(|m| answers(m, request))
            });
            match first.and_then(|entry| entry.message) {
                Some(message) if is_stale(&message) => {
                    return Some(self.wait_for("a stale challenge", |m| *m == message));
                }
                Some(_) => return None,
                None => self.repeat(request),
            }
        }
        None
    }

    /// Over UDP a request is repeated as long as nothing at all came back for it (RFC 3261
    /// §17.1.1.2, without the doubling).
    fn repeat(&self, request: &Message) {
        let unanswered = || self.received(|m| answers(m, request)).is_empty();
        if self.transport() == Transport::Udp && unanswered() {
            self.send(request);
        }
    }

    /// Waits for a request.
    #[track_caller]
    pub fn wait_request(&self, method: &str) -> Message {
        self.wait_for(&format!("a {method}"), |m| m.is(method))
    }

    /// Waits for the final response to `request`.
    #[track_caller]
    pub fn final_response(&self, request: &Message) -> Message {
        self.wait_answer(request, "the final response", |m| m.code() >= Some(200))
    }

    /// Waits for a response with this code to `request`.
    #[track_caller]
    pub fn response_with(&self, request: &Message, code: u16) -> Message {
        self.wait_answer(request, &code.to_string(), |m| m.code() == Some(code))
    }

    /// Waits for a response to `request`, repeating it where a phone does.
    #[track_caller]
    pub(crate) fn wait_answer(
        &self,
        request: &Message,
        what: &str,
        wanted: impl Fn(&Message) -> bool,
    ) -> Message {
        let wanted = |m: &Message| answers(m, request) && wanted(m);
        for _ in 1..Self::REPEATS {
            let found = self.tape.take(Self::T1, |e| e.message.as_ref().is_some_and(&wanted));
            if let Some(message) = found.and_then(|entry| entry.message) {
                return message;
            }
            self.repeat(request);
        }
        self.wait_for_within(Self::T1, &format!("{what} to {}", request.start), wanted)
    }

    /// All it received so far that `wanted` holds for, taken or not.
    #[must_use]
    pub fn received(&self, wanted: impl Fn(&Message) -> bool) -> Vec<Message> {
        let received = |entry: Entry| {
            (entry.direction == crate::Direction::In).then_some(entry.message).flatten()
        };
        self.tape.entries().into_iter().filter_map(received).filter(wanted).collect()
    }

    // --- what phones do

    /// Sends a request and waits for its final response.
    #[track_caller]
    pub fn transact(&self, request: &Message) -> Message {
        self.send(request);
        self.final_response(request)
    }

    /// The same request once more, with credentials for `challenge`.
    ///
    /// # Panics
    /// When the challenge has no algorithm this phone knows.
    #[must_use]
    pub fn with_credentials(&self, request: &Message, challenge: &Message) -> Message {
        let proxy = challenge.code() == Some(407);
        let (ask, answer) = if proxy {
            ("Proxy-Authenticate", "Proxy-Authorization")
        } else {
            ("WWW-Authenticate", "Authorization")
        };
        let challenges = challenge.fields(ask);
        let picked = digest::pick(&challenges, self.md5_only)
            .unwrap_or_else(|| panic!("cannot answer\n{challenge}"));
        let value =
            credentials(picked, request.method(), request.uri(), &self.user, &self.password, 1);
        let mut again = self.again(request);
        again.remove(answer);
        again.with(answer, value)
    }

    /// The same request as a new transaction: own branch, next CSeq.
    #[must_use]
    pub fn again(&self, request: &Message) -> Message {
        let cseq = self.cseq.fetch_add(1, Ordering::Relaxed).max(request.cseq().0 + 1);
        let mut again = request.clone();
        again.set("Via", self.via());
        again.set("CSeq", format!("{cseq} {}", request.method()));
        again
    }

    /// Sends a request and, when it is challenged, again with credentials; once more when the
    /// challenge was only too old. The final response.
    #[track_caller]
    pub fn authenticated(&self, request: &Message) -> Message {
        let first = self.transact(request);
        match first.code() {
            Some(401 | 407) => {
                let second = self.transact(&self.with_credentials(request, &first));
                if is_stale(&second) {
                    return self.transact(&self.with_credentials(request, &second));
                }
                second
            }
            _ => first,
        }
    }

    /// A REGISTER for its Contact: the same Call-ID all its life.
    #[must_use]
    pub fn registration(&self, expires: u32) -> Message {
        let mut request = self.request("REGISTER", &format!("sip:{}", self.domain));
        request.set("To", format!("<{}>", self.aor()));
        request.set("Call-ID", self.registration.clone());
        request.with("Expires", expires.to_string())
    }

    /// Registers; the 200.
    ///
    /// # Panics
    /// When it is not a 200 or does not list its Contact.
    #[track_caller]
    pub fn register(&self) -> Message {
        let registered = self.authenticated(&self.registration(300)).expect_code(200);
        assert!(
            self.own_contact(&registered).is_some(),
            "{} is not listed in\n{registered}",
            self.contact
        );
        registered
    }

    /// Takes its registration back.
    #[track_caller]
    pub fn deregister(&self) -> Message {
        self.authenticated(&self.registration(0)).expect_code(200)
    }

    /// Its own Contact among those of a 200 to REGISTER, compared as a phone does: scheme, user,
    /// host and port.
    #[must_use]
    pub fn own_contact(&self, registered: &Message) -> Option<String> {
        let plain = |uri: &str| uri.split(';').next().unwrap_or_default().to_owned();
        let own = plain(&self.contact);
        registered
            .all("Contact")
            .into_iter()
            .find(|value| plain(uri_of(value)) == own)
            .map(str::to_owned)
    }

    /// Calls a number: INVITE, credentials when asked. Returns when the INVITE that will be
    /// answered is on its way.
    #[track_caller]
    pub fn call(&self, number: &str) -> Call<'_> {
        self.call_with(number, |invite| invite)
    }

    /// The same, with an INVITE changed by `change` before it is sent.
    #[track_caller]
    pub fn call_with(&self, number: &str, change: impl Fn(Message) -> Message) -> Call<'_> {
        let (invite, rtp) = self.invitation(number);
        Call::place(self, change(invite), rtp)
    }

    /// Sends an INVITE and waits for nothing.
    #[must_use]
    pub fn invite(&self, number: &str) -> Call<'_> {
        let (invite, rtp) = self.invitation(number);
        Call::send(self, invite, rtp)
    }

    fn invitation(&self, number: &str) -> (Message, Rtp) {
        let rtp = self.rtp();
        let methods = "INVITE, ACK, BYE, CANCEL, OPTIONS, UPDATE, INFO, REFER, NOTIFY, PRACK";
        let invite = self.request("INVITE", &self.uri(number)).with("Allow", methods);
        (invite.with_body("application/sdp", offer(&rtp)), rtp)
    }

    /// Waits for a call.
    #[track_caller]
    pub fn incoming(&self) -> Incoming<'_> {
        Incoming::new(self, self.wait_request("INVITE"))
    }

    /// Asks for something that is answered at once, so that all that was sent to it before has
    /// come: for asserting what it did *not* receive.
    #[track_caller]
    pub fn settle(&self) {
        self.transact(&self.request("OPTIONS", &format!("sip:{}", self.domain)));
    }
}

impl Drop for Ua {
    fn drop(&mut self) {
        self.link.close();
        if std::thread::panicking() || std::env::var_os("TAPES").is_some() {
            println!("--- {} at {}\n{}", self.user, self.local(), self.tape.transcript());
        }
    }
}

impl Habits {
    fn reaction(self: Arc<Self>) -> OnMessage {
        Box::new(move |transport, from, message| {
            if self.dead.load(Ordering::Relaxed) || !message.is_request() || message.is("ACK") {
                return None;
            }
            let answers = self.answers.lock().unwrap_or_else(|e| e.into_inner());
            let before = answers.get(&key(message)).cloned();
            if before.is_some() || !message.is("OPTIONS") {
                return before;
            }
            let mut response = Message::response(message, 200, "OK");
            response.set("To", format!("{};tag={}", message.value("To"), unique()));
            let by_via = return_address(&response).filter(|_| transport == Transport::Udp);
            Some((response.bytes(), by_via.unwrap_or(from)))
        })
    }
}

/// Whether `response` answers `request`: by branch, Call-ID and CSeq (RFC 3261 §17.1.3).
#[must_use]
fn answers(response: &Message, request: &Message) -> bool {
    !response.is_request()
        && response.branch() == request.branch()
        && response.call_id() == request.call_id()
        && response.cseq() == request.cseq()
}

/// A server transaction's name.
fn key(message: &Message) -> String {
    format!("{} {}", message.branch(), message.method())
}

/// The tag this user agent gives to all it answers in a Call-ID: responses to one request share it.
fn local_tag(request: &Message) -> String {
    format!(
        "as{}",
        request.call_id().chars().filter(char::is_ascii_alphanumeric).take(12).collect::<String>()
    )
}

/// Where a response goes by its topmost Via.
fn return_address(response: &Message) -> Option<SocketAddr> {
    let via = *response.all("Via").first()?;
    let sent_by = via.split(';').next()?.split_whitespace().last()?;
    let sent_by: SocketAddr =
        sent_by.parse().or_else(|_| format!("{sent_by}:5060").parse()).ok()?;
    let host = param(via, "received").and_then(|host| host.trim_matches(['[', ']']).parse().ok());
    let port = param(via, "rport").and_then(|port| port.parse().ok());
    Some(SocketAddr::new(host.unwrap_or(sent_by.ip()), port.unwrap_or(sent_by.port())))
}

/// Whether a challenge says the nonce was stale.
#[must_use]
pub fn is_stale(challenge: &Message) -> bool {
    let header = match challenge.code() {
        Some(401) => challenge.header("WWW-Authenticate").unwrap_or_default(),
        Some(407) => challenge.header("Proxy-Authenticate").unwrap_or_default(),
        _ => return false,
    };
    auth_param(header, "stale").is_some_and(|stale| stale.eq_ignore_ascii_case("true"))
}
