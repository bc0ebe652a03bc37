//! A gate with a PBX behind it and clients before it, all of them lines of text.

use super::*;
use crate::Ban;
use crate::branch::{Binds, NO_SLOT};
use policy::Admission;
use std::net::SocketAddr;
use std::time::Duration;
use wire::{ConnectionId, Limits, Message, Transport};

pub(super) const SECRET: [u8; 32] = [9; 32];

pub(super) struct Play {
    pub(super) gate: Gate,
    pub(super) now: Time,
    pub(super) branches: BranchKey,
    pub(super) effects: Vec<Effect>,
    /// Requests that reached the PBX.
    pub(super) leaked: usize,
    pub(super) nonces: u64,
    calls: u64,
}

/// A client's side of one exchange after another.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pub(super) flow: Flow,
    pub(super) method: &'static str,
    pub(super) aor: String,
    pub(super) dialled: String,
    pub(super) call: String,
    pub(super) lines: String,
    /// Whether it gives `opaque` back.
    pub(super) opaque: bool,
    /// Whom its credentials name.
    pub(super) username: String,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Got {
    /// The edge's own challenge: its header lines.
    Challenge(String),
    Drop(Reason),
    Reject(u16),
    /// It reached the PBX.
    Pass(Box<Pass>),
}

pub(super) fn flow(transport: Transport, remote: &str, connection: u64) -> Flow {
    let remote: SocketAddr = remote.parse().unwrap();
    let local = if remote.is_ipv4() { "192.0.2.1:5060" } else { "[2001:db8::1]:5060" };
    Flow {
        transport,
        local: local.parse().unwrap(),
        remote,
        connection: transport.is_reliable().then(|| ConnectionId::new(ShardId(0), connection)),
    }
}

impl Client {
    pub(super) fn new(remote: &str, method: &'static str, user: &str) -> Self {
        Client {
            flow: flow(Transport::Udp, remote, 0),
            method,
            aor: format!("{user}@pbx.example"),
            dialled: "200".into(),
            call: String::new(),
            lines: "User-Agent: Phone/1.0\r\n".into(),
            opaque: true,
            username: user.into(),
        }
    }

    pub(super) fn tcp(remote: &str, method: &'static str, user: &str, connection: u64) -> Self {
        let flow = flow(Transport::Tcp, remote, connection);
        Client { flow, ..Client::new(remote, method, user) }
    }

    fn uri(&self) -> String {
        match self.method {
            "REGISTER" => "sip:pbx.example".into(),
            _ => format!("sip:{}@pbx.example", self.dialled),
        }
    }

    pub(super) fn text(&self, method: &str, to_tag: &str, credentials: &str) -> String {
        let to = match self.method {
            "REGISTER" => self.aor.clone(),
            _ => format!("{}@pbx.example", self.dialled),
        };
        let tag = if to_tag.is_empty() { String::new() } else { format!(";tag={to_tag}") };
        format!(
            "{method} {} SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK{}\r\n\
             From: <sip:{}>;tag=f{}\r\nTo: <sip:{to}>{tag}\r\nCall-ID: {}\r\n\
             CSeq: 1 {method}\r\nMax-Forwards: 70\r\n{}{credentials}Content-Length: 0\r\n\r\n",
            self.uri(),
            self.call,
            self.aor,
            self.call,
            self.call,
            self.lines
        )
    }
}

impl Play {
    pub(super) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(super) fn with(change: impl FnOnce(&mut Admission)) -> Self {
        let mut policy = Self::policy();
        change(&mut policy.admission);
        Play {
            gate: Gate::new(Arc::new(policy), ShardId(0), &SECRET),
            now: Time::ZERO + Duration::from_secs(1_700_000_000),
            branches: BranchKey::new(&SECRET),
            effects: Vec::new(),
            leaked: 0,
            nonces: 0,
            calls: 0,
        }
    }

    pub(super) fn policy() -> Policy {
        let pbx = policy::Pbx::new("127.0.0.1:5060".parse().unwrap());
        Policy::new(Vec::new(), "127.0.0.1:5070".parse().unwrap(), vec![pbx])
    }

    /// Time passes; what is due is done.
    pub(super) fn wait(&mut self, ms: u64) {
        let end = self.now + Duration::from_millis(ms);
        while let Some(due) = self.gate.poll_timeout().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.gate.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
    }

    pub(super) fn drain(&mut self) {
        while let Some(effect) = self.gate.poll_effect() {
            self.effects.push(effect);
        }
    }

    /// A new Call-ID for the client.
    pub(super) fn new_call(&mut self, client: &mut Client) {
        self.calls += 1;
        client.call = format!("c{}", self.calls);
    }

    /// A request comes.
    pub(super) fn ask(&mut self, client: &Client, to_tag: &str, credentials: &str) -> Got {
        let text = client.text(client.method, to_tag, credentials);
        let message = Message::parse(text.as_bytes(), &Limits::default()).unwrap();
        let request = Request { flow: &client.flow, message: &message, dialog: false, pbx: 0 };
        if let Some(reason) = self.gate.on_source(self.now, client.flow.remote.ip()) {
            return Got::Drop(reason);
        }
        let judgement = self.gate.on_request(self.now, &request);
        let mut lines = Vec::new();
        let got = match judgement.verdict {
            Verdict::Accept(pass) => {
                self.leaked += 1;
                Got::Pass(Box::new(pass))
            }
            Verdict::Refuse(Refusal::Challenge) => {
                assert!(self.gate.write_challenge(self.now, &request, &mut lines));
                Got::Challenge(String::from_utf8(lines).unwrap())
            }
            Verdict::Refuse(Refusal::Drop) => Got::Drop(judgement.reason),
            Verdict::Refuse(Refusal::Reject(status)) => Got::Reject(status),
        };
        self.drain();
        got
    }

    /// The PBX answers a request that reached it. Gives the To-tag.
    pub(super) fn answer(
        &mut self,
        client: &Client,
        pass: &Pass,
        status: u16,
        lines: &str,
    ) -> String {
        let binds = self.branch(client);
        let tag = self.branches.make(
            self.now,
            ShardId(0),
            1,
            1,
            0,
            &Binds {
                call_id: client.call.as_bytes(),
                from_tag: binds.as_bytes(),
                source: client.flow.remote.ip(),
            },
        );
        let tag = String::from_utf8(tag.text().to_vec()).unwrap();
        self.answer_tagged(client, pass, status, lines, &tag);
        tag
    }

    fn branch(&self, client: &Client) -> String {
        format!("f{}", client.call)
    }

    pub(super) fn answer_tagged(
        &mut self,
        client: &Client,
        pass: &Pass,
        status: u16,
        lines: &str,
        tag: &str,
    ) {
        let text = client
            .text(client.method, tag, lines)
            .split_once("\r\n")
            .map(|(_, rest)| format!("SIP/2.0 {status} x\r\n{rest}"))
            .unwrap();
        let message = Message::parse(text.as_bytes(), &Limits::default()).unwrap();
        let request_uri = client.uri();
        let answer = Final {
            flow: &client.flow,
            message: &message,
            ticket: &pass.ticket,
            request_uri: request_uri.as_bytes(),
        };
        self.gate.on_final(self.now, &answer);
        self.drain();
    }

    /// A challenge of the PBX with a new nonce: its To-tag, and its line as the client sees it.
    pub(super) fn challenge(
        &mut self,
        client: &Client,
        pass: &Pass,
        stale: bool,
    ) -> (String, String) {
        self.nonces += 1;
        let nonce = format!("1700000000/{:032x}", self.nonces);
        let stale = if stale || pass.credentials.are_stripped() { ",stale=true" } else { "" };
        let of_pbx = if pass.credentials.are_stripped() { "" } else { stale };
        let line = |opaque: &str, stale: &str| {
            format!(
                "WWW-Authenticate: Digest realm=\"asterisk\",nonce=\"{nonce}\",\
                 opaque=\"{opaque}\",algorithm=MD5,qop=\"auth\"{stale}\r\n"
            )
        };
        let tag = self.answer(client, pass, 401, &line("0123", of_pbx));
        let prefix = self.gate.opaque(self.now, &client.flow).unwrap_or_default();
        let opaque = format!("{}0123", std::str::from_utf8(&prefix).unwrap());
        (tag, line(&opaque, stale))
    }

    /// The credentials that answer a challenge's line.
    pub(super) fn credentials(client: &Client, line: &str) -> String {
        let part = |name: &str| {
            let rest = line.split_once(&format!("{name}=\"")).map(|(_, rest)| rest);
            rest.and_then(|rest| rest.split_once('"')).map_or("", |(value, _)| value).to_string()
        };
        let opaque = match part("opaque") {
            opaque if client.opaque && !opaque.is_empty() => format!(",opaque=\"{opaque}\""),
            _ => String::new(),
        };
        format!(
            "Authorization: Digest username=\"{}\",realm=\"{}\",nonce=\"{}\",uri=\"sip:x\",\
             response=\"00\"{opaque}\r\n",
            client.username,
            part("realm"),
            part("nonce")
        )
    }

    /// The client acknowledges a final response.
    pub(super) fn ack(
        &mut self,
        client: &Client,
        to_tag: &str,
        pass: Option<&Pass>,
    ) -> Option<Proof> {
        let text = client.text("ACK", to_tag, "");
        let message = Message::parse(text.as_bytes(), &Limits::default()).unwrap();
        let ticket = pass.map(|pass| &pass.ticket);
        let ack = Acknowledged { flow: &client.flow, message: &message, ticket };
        let proof = self.gate.on_ack(self.now, &self.branches, &ack);
        self.drain();
        proof
    }

    /// The To-tag of the edge's own challenge.
    pub(super) fn own_tag(&self, client: &Client) -> String {
        let from_tag = self.branch(client);
        let binds = Binds {
            call_id: client.call.as_bytes(),
            from_tag: from_tag.as_bytes(),
            source: client.flow.remote.ip(),
        };
        let tag = self.branches.make(self.now, ShardId(0), NO_SLOT, 0, 0, &binds);
        String::from_utf8(tag.text().to_vec()).unwrap()
    }

    /// A whole login or call attempt as an honest client does it, over 20 ms steps; `status` is
    /// what the PBX says to the credentials. Gives what stopped it, if anything did.
    pub(super) fn attempt(&mut self, client: &mut Client, status: u16) -> Result<(), Got> {
        self.new_call(client);
        let mut credentials = String::new();
        for _ in 0..4 {
            let got = self.ask(client, "", &credentials);
            self.wait(20);
            let line = match got {
                Got::Pass(pass) if pass.ticket.credentials => {
                    if status == 401 {
                        let (tag, _) = self.challenge(client, &pass, false);
                        self.acknowledge(client, &tag, Some(&pass));
                    } else {
                        let tag = self.answer(client, &pass, status, "");
                        self.acknowledge(client, &tag, Some(&pass));
                    }
                    return Ok(());
                }
                Got::Pass(pass) => {
                    let (tag, line) = self.challenge(client, &pass, false);
                    self.acknowledge(client, &tag, Some(&pass));
                    line
                }
                Got::Challenge(line) => {
                    let tag = self.own_tag(client);
                    self.acknowledge(client, &tag, None);
                    line
                }
                other => return Err(other),
            };
            self.wait(20);
            credentials = Self::credentials(client, &line);
        }
        panic!("no end of challenges");
    }

    fn acknowledge(&mut self, client: &Client, tag: &str, pass: Option<&Pass>) {
        if client.method == "INVITE" {
            self.ack(client, tag, pass);
        }
    }

    /// A call of somebody who only looks: it acknowledges (or not) and never answers.
    pub(super) fn abandon(&mut self, client: &mut Client, acked: bool) -> Got {
        self.new_call(client);
        let got = self.ask(client, "", "");
        let tag = match &got {
            Got::Pass(pass) => self.challenge(client, pass, false).0,
            Got::Challenge(_) => self.own_tag(client),
            _ => return got,
        };
        if acked && client.method == "INVITE" {
            let pass = match &got {
                Got::Pass(pass) => Some(&**pass),
                _ => None,
            };
            self.ack(client, &tag, pass);
        }
        got
    }

    pub(super) fn bans(&self) -> Vec<&Ban> {
        let banned = self.effects.iter().filter_map(|effect| match effect {
            Effect::Banned(ban) => Some(&**ban),
            _ => None,
        });
        banned.collect()
    }

    pub(super) fn is_banned(&mut self, remote: &str) -> bool {
        self.gate.on_source(self.now, remote.parse().unwrap()).is_some()
    }

    pub(super) fn outcomes(&self, outcome: Outcome) -> u64 {
        self.gate.counts().outcomes[outcome as usize]
    }
}
