//! The transaction layer of the actors (RFC 3261 §17), on the product's `transaction` machines.

use crate::net::{Conn, Outbox, Request};
use crate::rng::Rng;
use crate::sip::{Msg, param};
use policy::{Time, TimerBase};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;
use transaction::{
    Action, InviteClient, InviteClientState, InviteServer, OtherClient, OtherServer, Reliability,
};

/// How long an INVITE of an actor may ring: it has no timer C of its own.
const RINGING_MAX: Duration = Duration::from_secs(200);

/// How a message came or goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// By datagram.
    Udp {
        /// This host's address.
        local: SocketAddr,
        /// The peer's.
        remote: SocketAddr,
    },
    /// By a connection.
    Stream(Conn),
}

impl Path {
    /// Sends.
    pub fn send(self, bytes: Vec<u8>, out: &mut Outbox) {
        out.push(match self {
            Path::Udp { local, remote } => Request::Datagram { local, remote, bytes },
            Path::Stream(conn) => Request::Stream { conn, bytes },
        });
    }

    fn reliability(self) -> Reliability {
        Reliability::from_reliable(matches!(self, Path::Stream(_)))
    }
}

/// What the layer tells the TU.
#[derive(Clone, Debug)]
pub enum Up {
    /// A new request.
    Request {
        /// To answer with [`Layer::respond`].
        key: String,
        /// It.
        msg: Msg,
        /// How it came.
        path: Path,
    },
    /// An ACK that ends no transaction: of a 2xx, or of nothing.
    Ack(Msg),
    /// A response to a request of ours.
    Response {
        /// Key that [`Layer::send`] gave.
        key: String,
        /// It.
        msg: Msg,
        /// What it answers.
        request: Msg,
    },
    /// No final response came (timer B or F, or the transport failed).
    Failed {
        /// Key that [`Layer::send`] gave.
        key: String,
        /// What was not answered.
        request: Msg,
    },
}

/// How this actor's ACKs to refusals depart from the RFC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AckQuirks {
    /// Another branch than the INVITE's.
    pub other_branch: bool,
    /// A CSeq number one too low.
    pub wrong_cseq: bool,
    /// Another host in From.
    pub other_from_host: bool,
    /// None at all.
    pub never: bool,
}

#[derive(Clone, Debug)]
enum ClientMachine {
    Invite(InviteClient),
    Other(OtherClient),
}

#[derive(Clone, Debug)]
struct Client {
    machine: ClientMachine,
    request: Msg,
    bytes: Vec<u8>,
    ack: Vec<u8>,
    path: Path,
    /// An INVITE that only rings is given up then.
    patience: Time,
}

#[derive(Clone, Debug)]
enum ServerMachine {
    Invite(InviteServer),
    Other(OtherServer),
}

#[derive(Clone, Debug)]
struct Server {
    machine: ServerMachine,
    last: Vec<u8>,
    path: Path,
}

/// All transactions of an actor.
#[derive(Clone, Debug)]
pub struct Layer {
    base: TimerBase,
    quirks: AckQuirks,
    /// Stamp received and rport in any request (Asterisk's force_rport), or only when asked.
    force_rport: bool,
    clients: BTreeMap<String, Client>,
    servers: BTreeMap<String, Server>,
}

impl Layer {
    /// No transactions.
    #[must_use]
    pub fn new(base: TimerBase, quirks: AckQuirks, force_rport: bool) -> Self {
        let (clients, servers) = (BTreeMap::new(), BTreeMap::new());
        Layer { base, quirks, force_rport, clients, servers }
    }

    /// Forgets everything, as at a crash.
    pub fn clear(&mut self) {
        self.clients.clear();
        self.servers.clear();
    }

    /// Transactions that are not over.
    #[must_use]
    pub fn len(&self) -> usize {
        self.clients.len() + self.servers.len()
    }

    /// Whether all transactions are over.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Starts a client transaction for a request with a Via; returns its key.
    pub fn send(&mut self, now: Time, request: Msg, path: Path, out: &mut Outbox) -> String {
        let key = client_key(&request);
        let machine = if request.method() == "INVITE" {
            ClientMachine::Invite(InviteClient::new(now, path.reliability(), &self.base))
        } else {
            ClientMachine::Other(OtherClient::new(now, path.reliability(), &self.base))
        };
        let bytes = request.to_bytes();
        path.send(bytes.clone(), out);
        let (ack, patience) = (Vec::new(), now + RINGING_MAX);
        let client = Client { machine, request, bytes, ack, path, patience };
        self.clients.insert(key.clone(), client);
        key
    }

    /// Whether an INVITE of ours has had a response but no final one, so that it can be
    /// cancelled (§9.1).
    #[must_use]
    pub fn is_proceeding(&self, key: &str) -> bool {
        self.clients.get(key).is_some_and(|client| match &client.machine {
            ClientMachine::Invite(machine) => machine.state() == InviteClientState::Proceeding,
            ClientMachine::Other(_) => false,
        })
    }

    /// Whether a client transaction is still known.
    #[must_use]
    pub fn has_client(&self, key: &str) -> bool {
        self.clients.contains_key(key)
    }

    /// The request of a client transaction that is still known.
    #[must_use]
    pub fn request_of(&self, key: &str) -> Option<Msg> {
        self.clients.get(key).map(|client| client.request.clone())
    }

    /// Whether the key's INVITE server transaction is still known.
    #[must_use]
    pub fn has_server(&self, key: &str) -> bool {
        self.servers.contains_key(key)
    }

    /// The way a server transaction's request came.
    #[must_use]
    pub fn server_path(&self, key: &str) -> Option<Path> {
        self.servers.get(key).map(|server| server.path)
    }

    /// Sends a response in its transaction, if the machine lets it.
    pub fn respond(&mut self, now: Time, key: &str, response: &Msg, out: &mut Outbox) -> bool {
        let Some(server) = self.servers.get_mut(key) else { return false };
        let allowed = match &mut server.machine {
            ServerMachine::Invite(machine) => machine.on_sent(now, response.status(), &self.base),
            ServerMachine::Other(machine) => machine.on_sent(now, response.status(), &self.base),
        };
        if allowed {
            server.last = response.to_bytes();
            server.path.send(server.last.clone(), out);
        }
        allowed
    }

    /// Answers without keeping anything (§8.2.7): the transaction is forgotten.
    pub fn respond_stateless(&mut self, key: &str, response: &Msg, out: &mut Outbox) {
        if let Some(server) = self.servers.remove(key) {
            server.path.send(response.to_bytes(), out);
        }
    }

    /// Takes a message.
    pub fn receive(
        &mut self,
        now: Time,
        bytes: &[u8],
        path: Path,
        rng: &mut Rng,
        out: &mut Outbox,
    ) -> Option<Up> {
        let mut msg = Msg::parse(bytes)?;
        if !msg.is_request() {
            return self.on_response(now, msg, rng, out);
        }
        if let Path::Udp { remote, .. } = path {
            let asked = msg.top_via().and_then(|via| param(&via, "rport")).is_some();
            if asked || self.force_rport {
                msg.stamp_via(remote);
            }
        }
        let method = if msg.method() == "ACK" { "INVITE" } else { msg.method() };
        let key = format!("{}|{}|{method}", msg.branch(), msg.sent_by());
        if msg.method() == "ACK" {
            return self.on_ack(now, &key, msg);
        }
        if let Some(server) = self.servers.get_mut(&key) {
            let action = match &mut server.machine {
                ServerMachine::Invite(machine) => machine.on_request(now),
                ServerMachine::Other(machine) => machine.on_request(now),
            };
            if action == Action::Send {
                server.path.send(server.last.clone(), out);
            }
            return None;
        }
        let machine = if method == "INVITE" {
            ServerMachine::Invite(InviteServer::new(now, path.reliability(), &self.base))
        } else {
            ServerMachine::Other(OtherServer::new(now, path.reliability(), &self.base))
        };
        self.servers.insert(key.clone(), Server { machine, last: Vec::new(), path });
        Some(Up::Request { key, msg, path })
    }

    fn on_ack(&mut self, now: Time, key: &str, msg: Msg) -> Option<Up> {
        if let Some(server) = self.servers.get_mut(key)
            && let ServerMachine::Invite(machine) = &mut server.machine
            && machine.on_ack(now, &self.base) != Action::PassUp
        {
            return None;
        }
        Some(Up::Ack(msg))
    }

    fn on_response(&mut self, now: Time, msg: Msg, rng: &mut Rng, out: &mut Outbox) -> Option<Up> {
        let key = client_key(&msg);
        let client = self.clients.get_mut(&key)?;
        let action = match &mut client.machine {
            ClientMachine::Invite(machine) => machine.on_response(now, msg.status(), &self.base),
            ClientMachine::Other(machine) => machine.on_response(now, msg.status(), &self.base),
        };
        if action == Action::PassUpAndAck {
            client.ack = ack_for(&client.request, &msg, self.quirks, rng).to_bytes();
        }
        if matches!(action, Action::PassUpAndAck | Action::Ack) && !self.quirks.never {
            client.path.send(client.ack.clone(), out);
        }
        let up = matches!(action, Action::PassUp | Action::PassUpAndAck).then(|| Up::Response {
            key: key.clone(),
            msg,
            request: client.request.clone(),
        });
        self.forget_terminated();
        up
    }

    /// The connection is gone, or its peer is: transactions on it fail.
    pub fn on_transport_error(&mut self, now: Time, failed: impl Fn(Path) -> bool) -> Vec<Up> {
        let mut ups = Vec::new();
        for (key, client) in &mut self.clients {
            if !failed(client.path) {
                continue;
            }
            let action = match &mut client.machine {
                ClientMachine::Invite(machine) => machine.on_transport_error(now),
                ClientMachine::Other(machine) => machine.on_transport_error(now),
            };
            if action == Action::TimedOut {
                ups.push(Up::Failed { key: key.clone(), request: client.request.clone() });
            }
        }
        self.forget_terminated();
        ups
    }

    /// Lets what is due fire.
    pub fn tick(&mut self, now: Time, out: &mut Outbox) -> Vec<Up> {
        let mut ups = Vec::new();
        for (key, client) in &mut self.clients {
            if now >= client.patience
                && let ClientMachine::Invite(machine) = &mut client.machine
                && machine.state() == InviteClientState::Proceeding
            {
                machine.on_transport_error(now);
                ups.push(Up::Failed { key: key.clone(), request: client.request.clone() });
            }
            loop {
                let action = match &mut client.machine {
                    ClientMachine::Invite(machine) => machine.on_timeout(now, &self.base),
                    ClientMachine::Other(machine) => machine.on_timeout(now, &self.base),
                };
                match action {
                    Action::Send => client.path.send(client.bytes.clone(), out),
                    Action::TimedOut => {
                        ups.push(Up::Failed { key: key.clone(), request: client.request.clone() });
                    }
                    _ => break,
                }
            }
        }
        for server in self.servers.values_mut() {
            loop {
                let action = match &mut server.machine {
                    ServerMachine::Invite(machine) => machine.on_timeout(now, &self.base),
                    ServerMachine::Other(machine) => machine.on_timeout(now, &self.base),
                };
                match action {
                    Action::Send => server.path.send(server.last.clone(), out),
                    _ => break,
                }
            }
        }
        self.forget_terminated();
        ups
    }

    /// When [`Layer::tick`] is due.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        let clients = self.clients.values().filter_map(|client| match &client.machine {
            ClientMachine::Invite(machine) => machine.deadline().or(Some(client.patience)),
            ClientMachine::Other(machine) => machine.deadline(),
        });
        let servers = self.servers.values().filter_map(|server| match &server.machine {
            ServerMachine::Invite(machine) => machine.deadline(),
            ServerMachine::Other(machine) => machine.deadline(),
        });
        clients.chain(servers).min()
    }

    fn forget_terminated(&mut self) {
        self.clients.retain(|_, client| match &client.machine {
            ClientMachine::Invite(machine) => !machine.is_terminated(),
            ClientMachine::Other(machine) => !machine.is_terminated(),
        });
        self.servers.retain(|_, server| match &server.machine {
            ServerMachine::Invite(machine) => !machine.is_terminated(),
            ServerMachine::Other(machine) => !machine.is_terminated(),
        });
    }
}

/// With the CSeq number, so that a phone that reuses a branch does not take a late 401 to its
/// first request for one to its second.
fn client_key(msg: &Msg) -> String {
    format!("{}|{}|{}", msg.branch(), msg.cseq(), msg.method())
}

/// The ACK to a refusal (§17.1.1.3), with the actor's departures.
fn ack_for(invite: &Msg, refusal: &Msg, quirks: AckQuirks, rng: &mut Rng) -> Msg {
    let mut ack = Msg::request("ACK", invite.uri());
    let mut via = invite.top_via().unwrap_or_default();
    if quirks.other_branch {
        via = via.replace(&invite.branch(), &format!("z9hG4bK{}", rng.hex(12)));
    }
    ack.add("Via", &via);
    for route in invite.values("Route") {
        ack.add("Route", &route);
    }
    let mut from = invite.value("From").to_string();
    if quirks.other_from_host {
        from = format!("<sip:me@192.168.77.77>;tag={}", invite.from_tag());
    }
    let cseq = invite.cseq() - u32::from(quirks.wrong_cseq && invite.cseq() > 0);
    ack.add("Max-Forwards", "70").add("From", &from).add("To", refusal.value("To"));
    ack.add("Call-ID", invite.value("Call-ID")).add("CSeq", &format!("{cseq} ACK"));
    ack
}

/// One side's view of a dialog (RFC 3261 §12).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dialog {
    /// Call-ID.
    pub call_id: String,
    /// Our From (as caller) or To (as callee), with our tag.
    pub local: String,
    /// The other one, with its tag once there is one.
    pub remote: String,
    /// Remote target.
    pub target: String,
    /// Route set, whole values.
    pub routes: Vec<String>,
    /// Our last CSeq.
    pub cseq: u32,
}

impl Dialog {
    /// Our tag.
    #[must_use]
    pub fn local_tag(&self) -> String {
        param(&self.local, "tag").unwrap_or_default()
    }

    /// The peer's tag.
    #[must_use]
    pub fn remote_tag(&self) -> String {
        param(&self.remote, "tag").unwrap_or_default()
    }

    /// Whether a request from the peer belongs here.
    #[must_use]
    pub fn matches(&self, request: &Msg) -> bool {
        self.call_id == request.value("Call-ID")
            && self.local_tag() == request.to_tag()
            && self.remote_tag() == request.from_tag()
    }

    /// A request in the dialog (§12.2.1.1), without Via, with the next CSeq; an ACK takes the
    /// CSeq given.
    pub fn request(&mut self, method: &str, ack_of: Option<u32>) -> Msg {
        let cseq = ack_of.unwrap_or_else(|| {
            self.cseq += 1;
            self.cseq
        });
        let mut request = Msg::request(method, &self.target);
        for route in &self.routes {
            request.add("Route", route);
        }
        request.add("Max-Forwards", "70").add("From", &self.local).add("To", &self.remote);
        request.add("Call-ID", &self.call_id).add("CSeq", &format!("{cseq} {method}"));
        request
    }

    /// Where requests go: the first Route, else the remote target (loose routing only).
    #[must_use]
    pub fn next_hop(&self) -> String {
        let first = self.routes.first().map(|route| crate::sip::uri_of(route).to_string());
        first.unwrap_or_else(|| self.target.clone())
    }
}
