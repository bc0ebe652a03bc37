//! An engine with a PBX, and a phone outside.

use policy::{ChallengeMode, Listener, Pbx, Policy, Time};
use proxy::{CloseReason, Engine, Event, Input, Output, Verdict};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use wire::{ShardId, Side, Transport};

pub(crate) const PHONE: &str = "198.51.100.7:5062";
pub(crate) const OUTSIDE: &str = "203.0.113.1:5060";
pub(crate) const INSIDE: &str = "127.0.0.1:5080";
pub(crate) const PBX: &str = "127.0.0.1:5070";
pub(crate) const CHALLENGE: &str =
    "WWW-Authenticate: Digest realm=\"asterisk\",nonce=\"n1\",opaque=\"77ab\",algorithm=MD5\n";

pub(crate) struct Edge {
    pub(crate) engine: Engine,
    pub(crate) policy: Arc<Policy>,
    pub(crate) now: Time,
}

/// What came out of one input.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) inside: Vec<String>,
    pub(crate) outside: Vec<String>,
    pub(crate) events: Vec<Event>,
    pub(crate) closed: Vec<CloseReason>,
}

pub(crate) fn addr(text: &str) -> SocketAddr {
    text.parse().expect("address")
}

impl Edge {
    pub(crate) fn policy(change: impl FnOnce(&mut Policy)) -> Policy {
        let udp = Listener { transport: Transport::Udp, address: addr(OUTSIDE), advertise: None };
        let tcp = Listener { transport: Transport::Tcp, ..udp.clone() };
        let pbx = Pbx::new(addr(PBX));
        let mut policy = Policy::new(vec![udp, tcp], addr(INSIDE), vec![pbx]);
        change(&mut policy);
        policy
    }

    pub(crate) fn with(change: impl FnOnce(&mut Policy)) -> Self {
        let policy = Arc::new(Edge::policy(change));
        let now = Time::ZERO + Duration::from_secs(1_700_000_000);
        let engine = Engine::new(Arc::clone(&policy), ShardId(0), 1, [7; 32], [1; 32]);
        Edge { engine, policy, now }
    }

    pub(crate) fn input(&mut self, input: Input<'_>) -> Outcome {
        self.engine.handle_input(self.now, input);
        self.fetched()
    }

    /// What came out.
    pub(crate) fn fetched(&mut self) -> Outcome {
        let mut outcome = Outcome::default();
        while let Some(output) = self.engine.poll_output() {
            match output {
                Output::Datagram { side: Side::Inside, bytes, .. } => {
                    outcome.inside.push(String::from_utf8_lossy(bytes).into_owned());
                }
                Output::Datagram { bytes, .. } | Output::Stream { bytes, .. } => {
                    outcome.outside.push(String::from_utf8_lossy(bytes).into_owned());
                }
                Output::Event(event) => outcome.events.push(event),
                Output::Close { reason, .. } => outcome.closed.push(reason),
                _ => {}
            }
        }
        outcome
    }

    pub(crate) fn phone_sends(&mut self, text: &str) -> Outcome {
        self.sends_from(PHONE, text)
    }

    pub(crate) fn sends_from(&mut self, remote: &str, text: &str) -> Outcome {
        let bytes = text.replace('\n', "\r\n").into_bytes();
        let (local, remote) = (addr(OUTSIDE), addr(remote));
        self.input(Input::Datagram { side: Side::Outside, local, remote, bytes: &bytes })
    }

    /// The PBX answers a request as the edge sent it.
    pub(crate) fn pbx_answers(
        &mut self,
        request: &str,
        status: &str,
        tag: &str,
        more: &str,
    ) -> Outcome {
        let mut text = format!("SIP/2.0 {status}\r\n");
        for line in request.lines().skip(1) {
            if ["Via:", "From:", "Call-ID:", "CSeq:"].iter().any(|name| line.starts_with(name)) {
                text += &format!("{line}\r\n");
            }
            if line.starts_with("To:") {
                text += &format!("{line};tag={tag}\r\n");
            }
        }
        text += &more.replace('\n', "\r\n");
        text += "Content-Length: 0\r\n\r\n";
        let (local, remote) = (addr(INSIDE), addr(PBX));
        let bytes = text.as_bytes();
        self.input(Input::Datagram { side: Side::Inside, local, remote, bytes })
    }

    /// The edge asks the PBX for a challenge, and the PBX does not challenge.
    pub(crate) fn is_told_nothing(&mut self) {
        let outcome = self.phone_sends(&request("OPTIONS", "z9hG4bKq", 0, ""));
        let probe = &outcome.inside[0];
        assert!(probe.starts_with("OPTIONS") && !probe.contains("z9hG4bKq"), "{probe}");
        assert_eq!((outcome.outside.len(), outcome.events[0].verdict), (0, Verdict::Absorb));
        let outcome = self.pbx_answers(probe, "200 OK", "t", "");
        assert_eq!((outcome.outside.len(), outcome.events[0].verdict), (0, Verdict::Absorb));
    }

    pub(crate) fn snapshot_bytes(&self) -> [u64; 2] {
        self.engine.snapshot().unproven_bytes
    }
}

/// A request of the phone's; as long as a real one with `padding`.
pub(crate) fn request(method: &str, branch: &str, padding: usize, more: &str) -> String {
    format!(
        "{method} sip:100@pbx SIP/2.0\nVia: SIP/2.0/UDP 192.168.1.5:5062;branch={branch};rport\n\
         Max-Forwards: 70\nFrom: <sip:6001@pbx>;tag=ft\nTo: <sip:100@pbx>\nCall-ID: c1\n\
         CSeq: 1 {method}\nUser-Agent: {}\n{more}Content-Length: 0\n\n",
        "x".repeat(padding)
    )
}

pub(crate) fn param<'t>(text: &'t str, name: &str) -> &'t str {
    let from = text.find(name).unwrap_or_else(|| panic!("no {name} in {text}")) + name.len();
    text[from..].split(['"', ';', '\r']).next().expect("text")
}

pub(crate) fn always(policy: &mut Policy) {
    policy.admission.edge_challenge.mode = ChallengeMode::Always;
    policy.admission.edge_challenge.realm = Some("asterisk".into());
}
