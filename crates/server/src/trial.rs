//! Runs the tests of a policy: an engine in a time of its own, without sockets, its sender and its
//! PBX played by the test.

mod message;

use config::{Expect, Expectation, Step, Trial};
use message::{Answered, Placeholders};
use policy::{Listener, Pbx, Policy, Time};
use proxy::{Engine, Event, Input, Output, Verdict};
use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use wire::{ConnectionId, Flow, ShardId, Side, Transport};

/// The only shard.
const SHARD: ShardId = ShardId(0);
/// The secret of an edge that nobody reaches; the same in each run, so that runs are alike.
const SECRET: [u8; 32] = *b"a secret that guards nothing ...";
/// Deadlines that a wait may fire; more means that one is never served.
const DEADLINES_MAX: usize = 1 << 20;

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

/// An edge, who sends to it, and the PBX behind it.
struct Stage {
    engine: Engine,
    policy: Arc<Policy>,
    now: Time,
    /// Open connections by who opened them.
    connections: HashMap<(Transport, SocketAddr), ConnectionId>,
    opened: u64,
    /// Messages sent, to tell them apart.
    sent: u64,
    /// The last message of the sender, and what came back.
    request: Vec<u8>,
    answer: Option<Answered>,
    /// Who sent it.
    sender: Option<(Transport, SocketAddr)>,
    /// Whether the last message has had its answer.
    answered: bool,
    /// The last request that reached the PBX and awaits its answer.
    at_pbx: Option<Vec<u8>>,
    /// Challenges of the PBX, to make each nonce its own.
    challenges: u64,
}

impl Stage {
    fn new(policy: &Policy) -> Self {
        let policy = Arc::new(at_home(policy));
        Stage {
            engine: Engine::new(policy.clone(), SHARD, 1, SECRET, SECRET),
            policy,
            now: Time::default() + Duration::from_secs(1_000_000),
            connections: HashMap::new(),
            opened: 0,
            sent: 0,
            request: Vec::new(),
            answer: None,
            sender: None,
            answered: false,
            at_pbx: None,
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
            self.answered = step.ack;
            let event = self.send(step.transport, step.from, &bytes);
            if !step.ack {
                self.request = bytes;
                self.sender = Some((step.transport, step.from));
            }
            self.compare(&step.expect, event.as_ref())?;
            if event.is_some_and(|event| matches!(event.verdict, Verdict::Reject(_))) {
                self.insist();
            }
        }
        if let Some(answer) = step.pbx {
            let request = self.at_pbx.take().ok_or("no request has reached the PBX")?;
            self.challenges += 1;
            let response = message::response(&request, answer, self.challenges);
            let Pbx { address: remote, .. } = self.policy.pbx[0];
            let (side, local) = (Side::Inside, self.policy.inside);
            let input = Input::Datagram { side, local, remote, bytes: &response };
            self.engine.handle_input(self.now, input);
            self.fetch();
            if answer.status >= 200 {
                self.insist();
            }
        }
        self.wait(step.wait)
    }

    /// Over UDP a stranger gets no more bytes than he sent: an answer that is longer waits until
    /// he repeats his request, as phones do (RFC 3261 §17.1.2.2).
    fn insist(&mut self) {
        let Some((transport @ Transport::Udp, from)) = self.sender else { return };
        let mut pause = T1;
        let request = std::mem::take(&mut self.request);
        for _ in 0..REPEATS_MAX {
            if self.answered || self.wait(pause).is_err() {
                break;
            }
            self.send(transport, from, &request);
            pause = T2.min(pause * 2);
        }
        self.request = request;
    }

    fn compose(&mut self, step: &Step, text: &str) -> Result<Vec<u8>, String> {
        self.sent += 1;
        let answer = self.answer.as_ref();
        let placeholders = Placeholders { number: self.sent, answer };
        message::request(text, step.transport, placeholders)
    }

    fn acknowledgement(&self) -> Result<Vec<u8>, String> {
        let answer =
            self.answer.as_ref().ok_or("nothing was answered that could be acknowledged")?;
        Ok(message::acknowledgement(&self.request, answer))
    }

    /// Sends a message to the edge; what was decided of it.
    fn send(&mut self, transport: Transport, remote: SocketAddr, bytes: &[u8]) -> Option<Event> {
        let listener = self.policy.listeners.iter().find(|l| l.transport == transport);
        let local = listener.map(|listener| listener.address)?;
        if transport == Transport::Udp {
            let side = Side::Outside;
            self.engine.handle_input(self.now, Input::Datagram { side, local, remote, bytes });
        } else {
            let connection = self.connection(transport, local, remote);
            self.engine.handle_input(self.now, Input::Stream { connection, bytes });
        }
        self.fetch()
    }

    fn connection(
        &mut self,
        transport: Transport,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> ConnectionId {
        if let Some(connection) = self.connections.get(&(transport, remote)) {
            return *connection;
        }
        self.opened += 1;
        let connection = ConnectionId::new(SHARD, self.opened);
        self.connections.insert((transport, remote), connection);
        let flow = Flow { transport, local, remote, connection: Some(connection) };
        self.engine.handle_input(self.now, Input::Opened { flow });
        self.fetch();
        connection
    }

    /// Takes what the edge gives out; the first decision about a message from outside.
    fn fetch(&mut self) -> Option<Event> {
        let mut event = None;
        let mut closed = Vec::new();
        while let Some(output) = self.engine.poll_output() {
            match output {
                Output::Datagram { side: Side::Inside, bytes, .. } if message::asks(bytes) => {
                    self.at_pbx = Some(bytes.to_vec());
                }
                Output::Datagram { side: Side::Outside, bytes, .. }
                | Output::Stream { bytes, .. } => {
                    if let Some(answer) = Answered::read(bytes) {
                        self.answer = Some(answer);
                        self.answered = true;
                    }
                }
                Output::Close { connection, .. } => closed.push(connection),
                Output::Event(decided) if decided.side == Side::Outside => {
                    event.get_or_insert(decided);
                }
                _ => {}
            }
        }
        for connection in closed {
            self.connections.retain(|_, open| *open != connection);
            self.engine.handle_input(self.now, Input::Closed { connection });
            // Its end decides nothing about a message.
            self.fetch();
        }
        event
    }

    /// Lets time go by, each deadline at its own time.
    fn wait(&mut self, length: Duration) -> Result<(), String> {
        let until = self.now + length;
        for _ in 0..DEADLINES_MAX {
            match self.engine.poll_timeout() {
                Some(due) if due <= until => {
                    self.now = self.now.max(due);
                    self.engine.handle_timeout(self.now);
                    self.fetch();
                }
                _ => {
                    self.now = until;
                    return Ok(());
                }
            }
        }
        Err("the edge has not come to rest in this time".to_owned())
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
        let admission = &self.policy.admission;
        let rule = grounds.and_then(|grounds| admission.rules.get(usize::from(grounds.rule)));
        same("rule", expected.rule.as_deref(), rule.map(|rule| &*rule.name))?;
        let list = admission.signatures.list();
        let signature = grounds.and_then(|grounds| list.get(usize::from(grounds.signature)));
        same("signature", expected.signature.as_deref(), signature.map(|one| &*one.id))
    }
}

/// The same rules for an edge that is nowhere.
fn at_home(policy: &Policy) -> Policy {
    let address = |port| SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), port));
    let listener =
        |transport, port| Listener { transport, address: address(port), advertise: None };
    let inside = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    Policy {
        listeners: vec![
            listener(Transport::Udp, 5060),
            listener(Transport::Tcp, 5060),
            listener(Transport::Tls, 5061),
        ],
        inside: inside(5080),
        pbx: vec![Pbx::new(inside(5070))],
        domains: vec!["pbx".to_owned(), "pbx.example.com".to_owned()],
        ..policy.clone().with_one_pbx()
    }
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
