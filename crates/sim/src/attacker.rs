//! Attackers: what scanners, guessers and forgers send, at their pace, and how they answer.

mod tool;

pub use tool::Tool;

use crate::digest::Challenge;
use crate::net::{Arrival, Conn, Node, Outbox, Request};
use crate::rng::Rng;
use crate::sip::{Msg, auth_param};
use policy::Time;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tool::Letter;
use wire::Transport;

/// From where an attacker sends its shots.
#[derive(Clone, Debug)]
pub enum Sources {
    /// One address and port.
    One(SocketAddr),
    /// One address, another port each time.
    Ports(IpAddr),
    /// Each in turn.
    Many(Vec<SocketAddr>),
    /// Another address of a /64 each time.
    Net64(Ipv6Addr),
}

impl Sources {
    fn of(&self, shot: u64) -> SocketAddr {
        match self {
            Sources::One(address) => *address,
            Sources::Ports(ip) => SocketAddr::new(*ip, 20_000 + (shot % 40_000) as u16),
            Sources::Many(all) => all[(shot % all.len().max(1) as u64) as usize],
            Sources::Net64(net) => {
                SocketAddr::new((u128::from(*net) + 0x100 + u128::from(shot)).into_ip(), 5060)
            }
        }
    }

    /// All addresses that `shots` shots come from.
    #[must_use]
    pub fn addresses(&self, shots: u64) -> Vec<IpAddr> {
        match self {
            Sources::One(address) => vec![address.ip()],
            Sources::Ports(ip) => vec![*ip],
            Sources::Many(all) => all.iter().map(SocketAddr::ip).collect(),
            Sources::Net64(_) => (0..shots).map(|shot| self.of(shot).ip()).collect(),
        }
    }
}

trait IntoIp {
    fn into_ip(self) -> IpAddr;
}

impl IntoIp for u128 {
    fn into_ip(self) -> IpAddr {
        Ipv6Addr::from(self).into()
    }
}

/// How svcrack and its like use challenges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Each refusal's challenge serves the next guess, in one Call-ID.
    Dictionary,
    /// The first nonce serves as long as it is taken.
    ReuseNonce,
    /// Each guess asks for a challenge of its own, under a new Call-ID.
    ChallengeEach,
}

/// What an attacker does.
#[derive(Clone, Debug)]
pub enum Kind {
    /// INVITEs without credentials, to numbers in turn.
    Call {
        /// Users it claims to be, in turn; a `*` becomes a random number.
        from: Vec<String>,
        /// Numbers it dials, in turn.
        dialled: Vec<String>,
        /// Whether it acknowledges refusals.
        acks: bool,
    },
    /// One request to each extension in turn, no credentials; OPTIONS go to no extension.
    Scan {
        /// Its method.
        method: &'static str,
        /// The first extension; counted up.
        first: u32,
    },
    /// REGISTERs without credentials, each over a connection of its own, which it closes before it
    /// hears anything.
    HangUp {
        /// Accounts, in turn; a `*` becomes a random number.
        users: Vec<String>,
    },
    /// Guesses passwords by REGISTER.
    Guess {
        /// How it uses challenges.
        form: Form,
        /// Accounts, in turn.
        users: Vec<String>,
        /// Its own account: the right password, used each so many shots.
        own: Option<(String, String, u64)>,
    },
    /// Requests under the addresses of others, in turn; it never sees an answer.
    Forge {
        /// Methods, in turn.
        methods: Vec<&'static str>,
        /// Whom it claims to be, in turn, with the address.
        victims: Vec<(String, SocketAddr)>,
    },
    /// Guesses under the addresses of others: a nonce that it got itself, and that the PBX gives to
    /// all in that second, comes from there once the victim was challenged, too.
    ForgeGuess {
        /// Whom it claims to be, in turn, with the address.
        victims: Vec<(String, SocketAddr)>,
    },
    /// A nonce got at one of its addresses is used at the next, with the right password of an
    /// account that it owns nothing of: guesses for `user`.
    ReplayNonce {
        /// The account.
        user: String,
    },
}

/// An attacker's orders.
#[derive(Clone, Debug)]
pub struct AttackConfig {
    /// What tables call it.
    pub label: &'static str,
    /// What it does.
    pub kind: Kind,
    /// What its messages look like.
    pub tool: Tool,
    /// Another User-Agent than the tool's own; an empty one leaves the header out.
    pub agent: Option<&'static str>,
    /// Where it sends from.
    pub sources: Sources,
    /// Where to.
    pub server: SocketAddr,
    /// Domain of the accounts.
    pub domain: String,
    /// When it begins.
    pub start: Time,
    /// Between shots.
    pub interval: Duration,
    /// How many.
    pub shots: u64,
}

/// What an attacker saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AttackCounts {
    /// Shots fired.
    pub shots: u64,
    /// Messages sent.
    pub sent: u64,
    /// Answers that came.
    pub answers: u64,
    /// Guesses sent.
    pub guesses: u64,
    /// Guesses or calls that succeeded (own account not counted).
    pub successes: u64,
    /// Logins with its own account that succeeded.
    pub own: u64,
}

/// An attacker.
#[derive(Debug)]
pub struct Attacker {
    /// Its orders.
    pub config: AttackConfig,
    /// What it saw.
    pub counts: AttackCounts,
    rng: Rng,
    next: Option<Time>,
    /// A monitor asks twice when nothing came.
    again: Option<(Time, String)>,
    /// Forged credentials to come, with the Call-ID.
    forged: Option<(Time, String, Challenge)>,
    /// Shots by Call-ID.
    shots: BTreeMap<String, Shot>,
    /// The challenge that the next guess answers, with its Call-ID.
    held: Option<(String, Challenge)>,
    /// What it sends over connections that are not open yet.
    opening: BTreeMap<Conn, Vec<u8>>,
}

/// One exchange of an attacker.
#[derive(Clone, Debug)]
struct Shot {
    source: SocketAddr,
    letter: Letter,
    cseq: u32,
    guessing: bool,
    own: bool,
    /// The last request had credentials.
    answered: bool,
}

impl Attacker {
    /// An attacker that waits for its start.
    #[must_use]
    pub fn new(config: AttackConfig, rng: Rng) -> Self {
        let next = (config.shots > 0).then_some(config.start);
        let (counts, shots) = (AttackCounts::default(), BTreeMap::new());
        let (again, forged, held) = (None, None, None);
        let opening = BTreeMap::new();
        Attacker { config, counts, rng, next, again, forged, shots, held, opening }
    }

    /// Call-IDs of what it sent.
    pub fn call_ids(&self) -> impl Iterator<Item = &str> {
        self.shots.keys().map(String::as_str)
    }

    fn fire(&mut self, now: Time, out: &mut Outbox) {
        let n = self.counts.shots;
        self.counts.shots += 1;
        let source = self.config.sources.of(n);
        match &self.config.kind {
            Kind::Call { from, dialled, .. } => {
                let from = from[(n % from.len() as u64) as usize].clone();
                let to = dialled[(n % dialled.len() as u64) as usize].clone();
                let (from, to) = (self.wild(&from), self.wild(&to));
                self.open(now, "INVITE", &from, &to, source, false, out);
            }
            Kind::Scan { method, first } => {
                let (method, first) = (*method, *first);
                let user = (u64::from(first) + n).to_string();
                let user = if method == "OPTIONS" { "100".into() } else { user };
                self.open(now, method, &user, &user, source, false, out);
            }
            Kind::HangUp { users } => {
                let user = users[(n % users.len() as u64) as usize].clone();
                let user = self.wild(&user);
                self.open(now, "REGISTER", &user, &user, source, false, out);
            }
            Kind::Guess { form, users, own } => {
                let form = *form;
                if let Some((user, _, _)) =
                    own.clone().filter(|(_, _, every)| n % every == every - 1)
                {
                    return self.open(now, "REGISTER", &user, &user, source, true, out);
                }
                let user = users[(n % users.len() as u64) as usize].clone();
                let held = self.held.take().filter(|_| form != Form::ChallengeEach);
                match held {
                    Some((call_id, challenge)) => self.guess(&call_id, challenge, out),
                    None => self.open(now, "REGISTER", &user, &user, source, false, out),
                }
            }
            Kind::Forge { methods, victims } => {
                let (user, address) = victims[(n % victims.len() as u64) as usize].clone();
                let turn = n / victims.len() as u64;
                let method = methods[(turn % methods.len() as u64) as usize];
                let to = if method == "REGISTER" { user.clone() } else { "100".into() };
                self.open(now, method, &user, &to, address, false, out);
            }
            Kind::ForgeGuess { victims } => {
                let (user, _) = victims[(n % victims.len() as u64) as usize].clone();
                self.open(now, "REGISTER", &user, &user, source, false, out);
            }
            Kind::ReplayNonce { user } => match (self.held.take(), user.clone()) {
                (Some((_, challenge)), user) => {
                    let call_id = self.start("REGISTER", &user, &user, source, false);
                    self.guess(&call_id, challenge, out);
                }
                (None, user) => self.open(now, "REGISTER", &user, &user, source, false, out),
            },
        }
    }

    fn wild(&mut self, text: &str) -> String {
        match text.contains('*') {
            true => text.replace('*', &(1_000 + self.rng.below(900_000)).to_string()),
            false => text.to_string(),
        }
    }

    /// Begins an exchange; its Call-ID.
    fn start(
        &mut self,
        method: &'static str,
        from: &str,
        to: &str,
        source: SocketAddr,
        own: bool,
    ) -> String {
        let AttackConfig { tool, server, domain, .. } = &self.config;
        let letter = tool.letter(method, from, to, domain, *server, &mut self.rng);
        let call_id = letter.call_id.clone();
        let guessing = matches!(self.config.kind, Kind::Guess { .. } | Kind::ReplayNonce { .. });
        let shot = Shot { source, letter, cseq: 1, guessing, own, answered: false };
        self.shots.insert(call_id.clone(), shot);
        call_id
    }

    #[allow(clippy::too_many_arguments, reason = "a request's parts")]
    fn open(
        &mut self,
        now: Time,
        method: &'static str,
        from: &str,
        to: &str,
        source: SocketAddr,
        own: bool,
        out: &mut Outbox,
    ) {
        let call_id = self.start(method, from, to, source, own);
        let Some(shot) = self.shots.get(&call_id) else { return };
        let agent = self.config.agent;
        let bytes = self.config.tool.request(&shot.letter, shot.cseq, source, agent, None);
        self.send(source, bytes, out);
        if self.config.tool == Tool::Monitor {
            self.again = Some((now + Duration::from_millis(500), call_id));
        }
    }

    fn send(&mut self, source: SocketAddr, bytes: Vec<u8>, out: &mut Outbox) {
        self.counts.sent += 1;
        let remote = self.config.server;
        let own = matches!(self.config.sources, Sources::One(own) if own == source);
        out.push(match self.config.kind {
            Kind::HangUp { .. } => {
                // a number that nobody else has
                let conn = 1 << 63 | self.rng.below(1 << 62);
                self.opening.insert(conn, bytes);
                Request::Connect { conn, transport: Transport::Tcp, local: source, remote }
            }
            Kind::Forge { .. } => Request::Forged { source, remote, bytes },
            Kind::ForgeGuess { .. } if !own => Request::Forged { source, remote, bytes },
            _ => Request::Datagram { local: source, remote, bytes },
        });
    }

    /// Sends the shot again, with credentials for a challenge.
    fn guess(&mut self, call_id: &str, mut challenge: Challenge, out: &mut Outbox) {
        let Some(shot) = self.shots.get_mut(call_id) else { return };
        shot.cseq += 1;
        shot.answered = true;
        let (user, mut password) = (shot.letter.from.clone(), format!("guess{}", shot.cseq));
        match &self.config.kind {
            Kind::Guess { own: Some((_, own, _)), .. } if shot.own => password.clone_from(own),
            _ => self.counts.guesses += 1,
        }
        let uri = shot.letter.uri.clone();
        let value = challenge.answer(call_id, &user, &password, shot.letter.method, &uri);
        // One that keeps its nonce holds the challenge for the next time.
        let keeps = matches!(self.config.kind, Kind::Guess { form: Form::ReuseNonce, .. });
        let source = shot.source;
        let bytes = self.config.tool.request(
            &shot.letter,
            shot.cseq,
            source,
            self.config.agent,
            Some(&value),
        );
        if keeps && !shot.own {
            self.held = Some((call_id.to_string(), challenge));
        }
        self.send(source, bytes, out);
    }

    /// Has a victim challenged, with whom the PBX shares the nonce, and guesses as him.
    fn forge_guess(&mut self, now: Time, challenge: Challenge, out: &mut Outbox) {
        let Kind::ForgeGuess { victims } = &self.config.kind else { return };
        let n = self.counts.shots.saturating_sub(1);
        let count = victims.len() as u64;
        let user = victims[(n % count) as usize].0.clone();
        let address = victims[((n + n / count) % count) as usize].1;
        let call_id = self.start("REGISTER", &user, &user, address, false);
        let Some(shot) = self.shots.get(&call_id) else { return };
        let bytes = self.config.tool.request(&shot.letter, shot.cseq, address, None, None);
        self.send(address, bytes, out);
        self.forged = Some((now + Duration::from_millis(200), call_id, challenge));
    }

    fn on_response(&mut self, now: Time, msg: &Msg, out: &mut Outbox) {
        self.counts.answers += 1;
        self.again = None;
        let call_id = msg.value("Call-ID").to_string();
        let Some(shot) = self.shots.get(&call_id).cloned() else { return };
        let status = msg.status();
        if status < 200 || msg.cseq() != shot.cseq {
            return;
        }
        let acks = !matches!(self.config.kind, Kind::Call { acks: false, .. });
        if msg.method() == "INVITE" && acks {
            let bytes = self.config.tool.ack(&shot.letter, shot.cseq, shot.source, msg);
            self.send(shot.source, bytes, out);
        }
        match status {
            200..300 if shot.own => self.counts.own += 1,
            200..300 if shot.letter.method != "OPTIONS" => self.counts.successes += 1,
            401 | 407 if matches!(self.config.kind, Kind::ForgeGuess { .. }) => {
                let challenge = Challenge::parse(msg.value("WWW-Authenticate"));
                if let Some(challenge) = challenge {
                    self.forge_guess(now, challenge, out);
                }
            }
            401 | 407 if shot.guessing => self.on_challenge(&call_id, &shot, msg, out),
            _ => {}
        }
    }

    fn on_challenge(&mut self, call_id: &str, shot: &Shot, msg: &Msg, out: &mut Outbox) {
        let value = msg.value("WWW-Authenticate").to_string();
        let Some(challenge) = Challenge::parse(&value) else { return };
        let stale = auth_param(&value, "stale").is_some_and(|stale| stale == "true");
        if shot.own || !shot.answered || stale {
            if let Kind::ReplayNonce { .. } = self.config.kind {
                self.held = Some((call_id.to_string(), challenge));
                return;
            }
            return self.guess(call_id, challenge, out);
        }
        match &self.config.kind {
            Kind::Guess { form: Form::Dictionary, .. } => {
                self.held = Some((call_id.to_string(), challenge));
            }
            // The old nonce goes on; a new challenge with each refusal is not looked at.
            Kind::Guess { form: Form::ReuseNonce, .. } => {}
            _ => self.held = None,
        }
    }
}

impl Node for Attacker {
    fn handle(&mut self, now: Time, arrival: Arrival, out: &mut Outbox) {
        match arrival {
            Arrival::Datagram { bytes, .. } => {
                if let Some(msg) = Msg::parse(&bytes).filter(|msg| !msg.is_request()) {
                    self.on_response(now, &msg, out);
                }
            }
            Arrival::Opened { conn, .. } => {
                let bytes = self.opening.remove(&conn);
                out.extend(bytes.map(|bytes| Request::Stream { conn, bytes }));
                out.push(Request::Close { conn });
            }
            _ => {}
        }
    }

    fn tick(&mut self, now: Time, out: &mut Outbox) {
        if let Some((_, call_id)) = self.again.take_if(|(at, _)| *at <= now)
            && let Some(shot) = self.shots.get(&call_id)
        {
            let (source, agent) = (shot.source, self.config.agent);
            let bytes = self.config.tool.request(&shot.letter, shot.cseq, source, agent, None);
            self.send(source, bytes, out);
        }
        if let Some((_, call_id, challenge)) = self.forged.take_if(|(at, ..)| *at <= now) {
            self.guess(&call_id, challenge, out);
        }
        if self.next.is_none_or(|next| next > now) {
            return;
        }
        self.fire(now, out);
        let AttackConfig { interval, shots, .. } = self.config;
        self.next = (self.counts.shots < shots).then(|| now + interval);
    }

    fn deadline(&self) -> Option<Time> {
        let forged = self.forged.iter().map(|(at, ..)| *at);
        self.again.iter().map(|(at, _)| *at).chain(forged).chain(self.next).min()
    }

    fn listens(&self, _local: SocketAddr) -> bool {
        true
    }

    fn accepts(&self, _local: SocketAddr, _transport: Transport) -> bool {
        false
    }
}
