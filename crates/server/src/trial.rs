//! Runs the tests of a policy: an engine in a time of its own, without sockets, its sender and its
//! PBX played by the test.

mod message;

use crate::replay::{Edge, Happening, Sink};
use admission::{Ban, Lift};
use config::{Expect, Expectation, Step, Trial};
use message::{Answered, Placeholders};
use policy::{Listener, Policy, Time};
use proxy::{Event, Verdict};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use wire::{Flow, Side, Transport};

/// The secret of an edge that nobody reaches; the same in each run, so that runs are alike.
const SECRET: [u8; 32] = *b"a secret that guards nothing ...";
/// Where it is reached if its configuration does not say so.
const HOME: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const HOME_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));

/// When a sender repeats a request first, and at the longest (RFC 3261 §17.1.1.1).
const T1: Duration = Duration::from_millis(500);
const T2: Duration = Duration::from_secs(4);
/// How often he does.
const REPEATS_MAX: usize = 10;

/// How a test ended.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Outcome {
    /// Its name.
    pub(crate) name: String,
    /// Line of the test, or of the step that failed.
    pub(crate) line: u64,
    /// Why it failed; `None`: it passed.
    pub(crate) failure: Option<String>,
}

/// Runs one test with an edge of its own.
pub(crate) fn run(policy: &Policy, trial: &Trial) -> Outcome {
    let mut stage = Stage::new(policy);
    for step in &trial.steps {
        for round in 1..=step.repeat {
            if let Err(failure) = stage.step(step) {
                let failure = match step.repeat {
                    1 => failure,
                    _ => format!("{failure} (time {round} of {})", step.repeat),
                };
                let name = trial.name.clone();
                return Outcome { name, line: step.line, failure: Some(failure) };
            }
        }
    }
    Outcome { name: trial.name.clone(), line: trial.line, failure: None }
}

/// An edge, who sends to it, and the PBXs behind it.
struct Stage {
    edge: Edge,
    now: Time,
    /// Over what senders have a connection.
    connected: HashMap<SocketAddr, Transport>,
    /// Messages sent, to tell them apart.
    sent: u64,
    /// The last message of the sender, and who he is.
    request: Vec<u8>,
    sender: Option<Sender>,
    heard: Heard,
    /// Challenges of the PBXs, to make each nonce its own.
    challenges: u64,
}

/// Who sends, over what, and where to.
#[derive(Clone, Copy, Debug)]
struct Sender {
    transport: Transport,
    from: SocketAddr,
    to: SocketAddr,
}

/// What the edge did.
#[derive(Default)]
struct Heard {
    /// What came back to the sender.
    answer: Option<Answered>,
    /// Whether the last message has had its answer.
    answered: bool,
    /// The last request that reached a PBX and awaits its answer.
    at_pbx: Option<(Flow, Vec<u8>)>,
    /// Whether the last message did.
    went: Option<Flow>,
    /// What was decided of the last message.
    decided: Option<Event>,
    closed: Vec<SocketAddr>,
}

impl Sink for Heard {
    fn sent(&mut self, side: Side, flow: &Flow, bytes: &[u8]) {
        match side {
            Side::Inside if message::asks(bytes) => {
                self.at_pbx = Some((*flow, bytes.to_vec()));
                self.went = Some(*flow);
            }
            Side::Inside => {}
            Side::Outside => {
                if let Some(answer) = Answered::read(bytes) {
                    self.answer = Some(answer);
                    self.answered = true;
                }
            }
        }
    }

    fn closed(&mut self, peer: SocketAddr) {
        self.closed.push(peer);
    }

    fn decided(&mut self, event: &Event) {
        if event.side == Side::Outside {
            self.decided.get_or_insert_with(|| event.clone());
        }
    }

    fn banned(&mut self, _: &Ban) {}

    fn lifted(&mut self, _: &Lift) {}
}

impl Stage {
    fn new(policy: &Policy) -> Self {
        Stage {
            edge: Edge::new(at_home(policy), SECRET, SECRET).with_healthy_pbxs(),
            now: Time::default() + Duration::from_secs(1_000_000),
            connected: HashMap::new(),
            sent: 0,
            request: Vec::new(),
            sender: None,
            heard: Heard::default(),
            challenges: 0,
        }
    }

    fn step(&mut self, step: &Step) -> Result<(), String> {
        let bytes = match &step.send {
            Some(text) => Some(self.compose(step, text)?),
            None if step.ack => Some(self.acknowledgement()?),
            None => None,
        };
        if let Some(bytes) = bytes {
            let sender = self.sender_of(step)?;
            self.heard.answered = step.ack;
            self.heard.went = None;
            let event = self.send(sender, &bytes);
            if !step.ack {
                self.request = bytes;
                self.sender = Some(sender);
            }
            self.compare(&step.expect, event.as_ref())?;
            if event.is_some_and(|event| matches!(event.verdict, Verdict::Reject(_))) {
                self.insist();
            }
        }
        if let Some(answer) = step.pbx {
            let at_pbx = self.heard.at_pbx.take();
            let (flow, request) = at_pbx.ok_or("no request has reached the PBX")?;
            self.challenges += 1;
            let response = message::response(&request, answer, self.challenges);
            self.happen(Happening::Said { flow }, &response);
            if answer.status >= 200 {
                self.insist();
            }
        }
        self.wait(step.wait);
        Ok(())
    }

    /// Over UDP a stranger gets no more bytes than he sent: an answer that is longer waits until
    /// he repeats his request, as phones do (RFC 3261 §17.1.2.2).
    fn insist(&mut self) {
        let udp = |sender: &Sender| sender.transport == Transport::Udp;
        let Some(sender) = self.sender.filter(udp) else { return };
        let mut pause = T1;
        let request = std::mem::take(&mut self.request);
        for _ in 0..REPEATS_MAX {
            if self.heard.answered {
                break;
            }
            self.wait(pause);
            self.send(sender, &request);
            pause = T2.min(pause * 2);
        }
        self.request = request;
    }

    /// The first listener of its transport, if the step does not name one.
    fn sender_of(&self, step: &Step) -> Result<Sender, String> {
        let named = |listener: &&Listener| {
            let Listener { transport, address, .. } = listener;
            *transport == step.transport
                && step.to.is_none_or(|to| {
                    let any = address.ip().is_unspecified() && address.is_ipv4() == to.is_ipv4();
                    address.port() == to.port() && (any || address.ip() == to.ip())
                })
        };
        let listener = self.edge.policy().listeners.iter().find(named);
        let listener = listener.ok_or_else(|| {
            let (transport, to) = (step.transport.as_param(), step.to);
            let to = to.map(|to| format!(" at {to}")).unwrap_or_default();
            format!("nothing listens{to} over {transport}")
        })?;
        let own = match listener.address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => HOME,
            IpAddr::V6(ip) if ip.is_unspecified() => HOME_V6,
            ip => ip,
        };
        let to = step.to.unwrap_or(SocketAddr::new(own, listener.address.port()));
        Ok(Sender { transport: step.transport, from: step.from, to })
    }

    fn compose(&mut self, step: &Step, text: &str) -> Result<Vec<u8>, String> {
        self.sent += 1;
        let answer = self.heard.answer.as_ref();
        let placeholders = Placeholders { number: self.sent, answer };
        message::request(text, step.transport, placeholders)
    }

    fn acknowledgement(&self) -> Result<Vec<u8>, String> {
        let answer = self.heard.answer.as_ref();
        let answer = answer.ok_or("nothing was answered that could be acknowledged")?;
        Ok(message::acknowledgement(&self.request, answer))
    }

    /// Sends a message to the edge; what was decided of it.
    fn send(&mut self, sender: Sender, bytes: &[u8]) -> Option<Event> {
        let Sender { transport, from: remote, to: local } = sender;
        if transport == Transport::Udp {
            self.heard.decided = None;
            self.happen(Happening::Datagram { side: Side::Outside, local, remote }, bytes);
        } else {
            if self.connected.insert(remote, transport) != Some(transport) {
                self.happen(Happening::Opened { transport, local, remote }, b"");
            }
            self.heard.decided = None;
            self.happen(Happening::Data { remote }, bytes);
        }
        self.heard.decided.take()
    }

    fn happen(&mut self, event: Happening, bytes: &[u8]) {
        self.edge.happen(self.now, event, bytes, &mut self.heard);
        for peer in self.heard.closed.drain(..) {
            self.connected.remove(&peer);
        }
    }

    /// Lets time go by, each deadline at its own time.
    fn wait(&mut self, length: Duration) {
        self.now = self.now + length;
        self.happen(Happening::Tick, b"");
    }

    fn compare(&self, expected: &Expectation, event: Option<&Event>) -> Result<(), String> {
        let Some(event) = event else {
            let silent = *expected == Expectation::default();
            return if silent { Ok(()) } else { Err("nothing was decided: is it SIP?".to_owned()) };
        };
        let is = |verdict| told(verdict, event.reason.as_str());
        if let Some(verdict) = expected.verdict
            && !matches(verdict, event.verdict)
        {
            return Err(format!("expected {verdict}, is {}", is(event.verdict)));
        }
        if let Some(reason) = expected.reason
            && reason != event.reason
        {
            return Err(format!("expected {}, is {}", reason.as_str(), is(event.verdict)));
        }
        if let Some(expected) = &expected.at {
            let is = |flow: Flow| {
                let there = |pbx: &&policy::Pbx| {
                    (pbx.transport, pbx.address) == (flow.transport, flow.remote)
                };
                self.edge.policy().pbx.iter().find(there).map(|pbx| &*pbx.name)
            };
            let is = self.heard.went.and_then(is).unwrap_or("none");
            if is != expected {
                return Err(format!("expected that it goes to the PBX \"{expected}\", is {is}"));
            }
        }
        let grounds = event.grounds.as_ref();
        if let Some(who) = expected.who {
            let is = grounds.map(|grounds| grounds.who);
            if is != Some(who) {
                let is = is.map_or("not judged", policy::Who::as_str);
                return Err(format!("expected a sender who is {}, is {is}", who.as_str()));
            }
        }
        if let Some(would) = expected.would {
            let is = grounds.and_then(|grounds| grounds.would);
            if !is.is_some_and(|is| matches(would, is)) {
                let is = is.map_or_else(|| "nothing else".to_owned(), |is| told(is, ""));
                return Err(format!("expected that {would} would be done, is {is}"));
            }
        }
        let admission = &self.edge.policy().admission;
        let rule = grounds.and_then(|grounds| admission.rules.get(usize::from(grounds.rule)));
        same("rule", expected.rule.as_deref(), rule.map(|rule| &*rule.name))?;
        let list = admission.signatures.list();
        let signature = grounds.and_then(|grounds| list.get(usize::from(grounds.signature)));
        same("signature", expected.signature.as_deref(), signature.map(|one| &*one.id))
    }
}

/// The same edge, with what tests may rely on: a listener of each transport, and two domains.
fn at_home(policy: &Policy) -> Policy {
    let mut policy = policy.clone();
    for (transport, port) in
        [(Transport::Udp, 5060), (Transport::Tcp, 5060), (Transport::Tls, 5061)]
    {
        if !policy.listeners.iter().any(|listener| listener.transport == transport) {
            let address = SocketAddr::new(HOME, port);
            policy.listeners.push(Listener { transport, address, advertise: None });
        }
    }
    policy.domains.extend(["pbx", "pbx.example.com"].map(String::from));
    policy
}

fn matches(expected: Expect, is: Verdict) -> bool {
    match (expected, is) {
        (Expect::Accept, Verdict::Forward)
        | (Expect::Drop, Verdict::Drop)
        | (Expect::Absorb, Verdict::Absorb)
        | (Expect::Challenge, Verdict::Reject(401 | 407)) => true,
        (Expect::Reject(status), Verdict::Reject(is)) => status == is,
        _ => false,
    }
}

fn told(verdict: Verdict, reason: &str) -> String {
    let verdict = match verdict {
        Verdict::Forward => "accept".to_owned(),
        Verdict::Drop => "drop".to_owned(),
        Verdict::Absorb => "absorb".to_owned(),
        Verdict::Reject(401 | 407) => "challenge".to_owned(),
        Verdict::Reject(status) => format!("reject {status}"),
    };
    if reason.is_empty() { verdict } else { format!("{verdict} ({reason})") }
}

fn same(what: &str, expected: Option<&str>, is: Option<&str>) -> Result<(), String> {
    match expected {
        Some(expected) if is != Some(expected) => {
            let is = is.unwrap_or("none");
            Err(format!("expected the {what} \"{expected}\" to decide, is {is}"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
