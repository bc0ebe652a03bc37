//! What honest senders and tools write, each the first that the edge hears of its address: with the
//! default policy and the signatures that come with the edge what is honest goes on to the PBX, and
//! nothing does of a tool that is known by its looks.

#[allow(missing_docs, dead_code, clippy::unwrap_used)]
#[path = "../../config/tests/variation/mod.rs"]
mod variation;

use policy::{Listener, Pbx, Policy, Time};
use proxy::{Engine, Event, Input, Output, Verdict};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use variation::{HONEST, Rng, TOOLS, messages, vary};
use wire::{ConnectionId, Flow, Limits, Message, ShardId, Side, Transport};

const OUTSIDE: &str = "203.0.113.1:5060";
/// Of each message of the files.
const EACH: usize = 20;

struct Edge {
    engine: Engine,
    policy: Arc<Policy>,
    now: Time,
    strangers: u32,
}

impl Edge {
    fn new() -> Self {
        let udp =
            Listener { transport: Transport::Udp, address: address(OUTSIDE), advertise: None };
        let tcp = Listener { transport: Transport::Tcp, ..udp.clone() };
        let pbx = Pbx::new(address("127.0.0.1:5070"));
        let mut policy = Policy::new(vec![udp, tcp], address("127.0.0.1:5080"), vec![pbx]);
        let shipped = config::shipped_signatures().expect("they load");
        policy.admission.signatures = shipped.signatures;
        let now = Time::ZERO + Duration::from_secs(1_700_000_000);
        let policy = Arc::new(policy);
        let engine = Engine::new(Arc::clone(&policy), ShardId(0), 1, [7; 32], [1; 32]);
        Edge { engine, policy, now, strangers: 0 }
    }

    /// Another, to which nothing is open yet: the PBX behind it answers nothing.
    fn anew(&mut self) {
        self.engine = Engine::new(Arc::clone(&self.policy), ShardId(0), 1, [7; 32], [1; 32]);
    }

    /// What becomes of a message whose sender nobody has heard of; whether the PBX hears it.
    fn hears(&mut self, text: &str) -> (Event, bool) {
        self.now = self.now + Duration::from_secs(1);
        self.strangers += 1;
        let remote = Ipv4Addr::from(0x0a00_0000 + self.strangers * 256);
        let (local, remote) = (address(OUTSIDE), SocketAddr::new(remote.into(), 5062));
        let bytes = text.as_bytes();
        let message = Message::parse(bytes, &Limits::default()).expect("a message");
        if message.via().transport.eq_ignore_ascii_case(b"UDP") {
            self.input(Input::Datagram { side: Side::Outside, local, remote, bytes })
        } else {
            let connection = ConnectionId::new(ShardId(0), u64::from(self.strangers));
            let transport = Transport::Tcp;
            let flow = Flow { transport, local, remote, connection: Some(connection) };
            self.engine.handle_input(self.now, Input::Opened { flow });
            self.input(Input::Stream { connection, bytes })
        }
    }

    fn input(&mut self, input: Input<'_>) -> (Event, bool) {
        self.engine.handle_input(self.now, input);
        let (mut event, mut arrived) = (None, false);
        while let Some(output) = self.engine.poll_output() {
            match output {
                Output::Datagram { side: Side::Inside, .. } => arrived = true,
                Output::Event(it) => event = Some(it),
                _ => {}
            }
        }
        (event.expect("a verdict"), arrived)
    }
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

#[test]
fn what_honest_strangers_send_reaches_the_pbx() {
    let (mut edge, mut rng) = (Edge::new(), Rng(0x5eed));
    let mut wrong = BTreeMap::new();
    for (title, template) in HONEST.into_iter().flat_map(messages) {
        edge.anew();
        // A stranger has no subscription; its router's door stays open all the same.
        let told =
            if template.starts_with("NOTIFY") { Verdict::Reject(405) } else { Verdict::Forward };
        for _ in 0..EACH {
            let text = vary(&template, &mut rng);
            let (event, arrived) = edge.hears(&text);
            if event.verdict != told || arrived != (told == Verdict::Forward) {
                wrong.entry(title).or_insert((event.verdict, event.reason, text));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn what_tools_send_that_are_known_by_their_looks_reaches_nothing() {
    let (mut edge, mut rng) = (Edge::new(), Rng(0x5eed));
    for (title, template) in messages(TOOLS).filter(|(title, _)| title.starts_with("drop ")) {
        for _ in 0..EACH {
            let text = vary(&template, &mut rng);
            let (event, arrived) = edge.hears(&text);
            assert_eq!((event.verdict, arrived), (Verdict::Drop, false), "{title}\n{text}");
        }
    }
}
