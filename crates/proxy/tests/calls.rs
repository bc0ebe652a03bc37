//! What a trunk may have and say: limits of its calls, rules on its headers.

use policy::{HeaderRule, Identity, Listener, Network, Pbx, Policy, Time};
use policy::{Trunk, TrunkLimits};
use proxy::{Engine, Input, Learned, Output, Target};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use wire::{ShardId, Side, Transport};

const OUTSIDE: &str = "203.0.113.1:5060";
const INSIDE: &str = "127.0.0.1:5080";
const PBX: &str = "127.0.0.1:5070";
const CARRIER: &str = "198.51.100.7:5060";

fn addr(text: &str) -> SocketAddr {
    text.parse().expect("address")
}

fn policy(trunk: Trunk) -> Arc<Policy> {
    let listener = Listener { transport: Transport::Udp, address: addr(OUTSIDE), advertise: None };
    let pbx = Pbx::new(addr(PBX));
    let mut policy = Policy::new(vec![listener], addr(INSIDE), vec![pbx]);
    policy.trunks = vec![trunk];
    policy.admission.trust.networks = vec![(Network::host(addr(CARRIER).ip()), "carrier".into())];
    Arc::new(policy)
}

fn trunk() -> Trunk {
    Trunk::new("carrier", vec!["carrier.example".into()])
}

fn limited(calls: Option<u32>, calls_per_second: Option<u32>) -> Trunk {
    let limits = TrunkLimits { calls, calls_per_second, ..TrunkLimits::default() };
    Trunk { limits, ..trunk() }
}

struct Edge {
    engine: Engine,
    now: Time,
    learned: Vec<Learned>,
}

impl Edge {
    fn new(trunk: Trunk) -> Self {
        let own = Engine::shard_of(addr(CARRIER).ip(), 1);
        Edge::of(trunk, own, 1)
    }

    fn of(trunk: Trunk, shard: ShardId, shards: u8) -> Self {
        let engine = Engine::new(policy(trunk), shard, shards, [7; 32], [1; 32]);
        let now = Time::ZERO + Duration::from_secs(1_700_000_000);
        let mut edge = Edge { engine, now, learned: Vec::new() };
        let (transport, rank) = (Transport::Udp, policy::Rank::default());
        let target = Target { transport, local: addr(OUTSIDE), remote: addr(CARRIER), rank };
        let targets = Learned::Targets { host: "carrier.example".into(), targets: [target].into() };
        edge.engine.handle_input(edge.now, Input::Learned(targets));
        edge
    }

    fn input(&mut self, side: Side, text: &str) -> Vec<(SocketAddr, String)> {
        let (local, remote) = match side {
            Side::Inside => (addr(INSIDE), addr(PBX)),
            Side::Outside => (addr(OUTSIDE), addr(CARRIER)),
        };
        let bytes = text.replace('\n', "\r\n");
        let bytes = bytes.as_bytes();
        self.engine.handle_input(self.now, Input::Datagram { side, local, remote, bytes });
        self.sent()
    }

    fn sent(&mut self) -> Vec<(SocketAddr, String)> {
        let mut sent = Vec::new();
        while let Some(output) = self.engine.poll_output() {
            match output {
                Output::Datagram { remote, bytes, .. } => {
                    sent.push((remote, String::from_utf8_lossy(bytes).into_owned()));
                }
                Output::Learned(learned) => self.learned.push(learned),
                _ => {}
            }
        }
        sent
    }

    /// Lets time pass.
    fn pass(&mut self, length: Duration) {
        let until = self.now + length;
        while let Some(at) = self.engine.poll_timeout().filter(|at| *at <= until) {
            self.now = self.now.max(at) + Duration::from_millis(2);
            self.engine.handle_timeout(self.now);
            self.sent();
        }
        self.now = self.now.max(until);
    }

    /// The PBX calls; what the carrier gets, or the refusal's first line.
    fn call(&mut self, call: u32) -> Result<String, String> {
        Self::outcome(self.input(Side::Inside, &invite(Side::Inside, call, "")), CARRIER)
    }

    /// The carrier calls.
    fn called(&mut self, call: u32) -> Result<String, String> {
        Self::outcome(self.input(Side::Outside, &invite(Side::Outside, call, "")), PBX)
    }

    fn outcome(sent: Vec<(SocketAddr, String)>, to: &str) -> Result<String, String> {
        let passed = sent.iter().find(|(at, text)| *at == addr(to) && text.starts_with("INVITE"));
        match passed {
            Some((_, text)) => Ok(text.clone()),
            None => Err(sent.first().map(|(_, text)| text.clone()).unwrap_or_default()),
        }
    }

    fn calls(&self) -> u32 {
        self.engine.trunk_states().map(|trunk| trunk.calls).sum()
    }
}

fn request(method: &str, side: Side, call: u32, more: &str) -> String {
    let (uri, via) = match side {
        Side::Inside => ("sip:+4940@carrier.example", PBX),
        Side::Outside => ("sip:100@203.0.113.1", CARRIER),
    };
    format!(
        "{method} {uri} SIP/2.0\nVia: SIP/2.0/UDP {via};branch=z9hG4bK{call}{method}{side:?};rport\n\
         Max-Forwards: 70\nFrom: \"A\" <sip:acct@127.0.0.1:5070;x=y>;tag=f{call}\nTo: <{uri}>\n\
         Call-ID: call{call}\nCSeq: 1 {method}\n{more}Content-Length: 0\n\n"
    )
}

fn invite(side: Side, call: u32, more: &str) -> String {
    request("INVITE", side, call, &format!("Contact: <sip:a@192.0.2.1>\n{more}"))
}

fn answer(request: &str, status: &str) -> String {
    let line = |name: &str| {
        let lines = request.lines().filter(|line| line.starts_with(name));
        lines.map(|line| format!("{line}\n")).collect::<String>()
    };
    let head = ["Via:", "From:", "Call-ID:", "CSeq:", "Record-Route:"].map(line).concat();
    format!("SIP/2.0 {status}\n{head}{};tag=t\nContent-Length: 0\n\n", line("To:").trim_end())
}

/// The BYE of whoever called.
fn bye(accepted: &str, side: Side, call: u32) -> String {
    let routes = accepted.lines().filter_map(|it| it.strip_prefix("Record-Route: "));
    let routes: Vec<_> = routes.map(|route| format!("Route: {route}\n")).collect();
    let route = match side {
        Side::Inside => routes.last(),
        Side::Outside => routes.first(),
    };
    let text = request("BYE", side, call, &route.cloned().unwrap_or_default());
    let to = text.lines().find(|line| line.starts_with("To:")).unwrap_or_default().to_owned();
    text.replace(&to, &format!("{to};tag=t"))
}

#[test]
fn calls_at_once_are_limited_both_ways_together_until_they_end() {
    let mut edge = Edge::new(limited(Some(2), None));
    let first = edge.call(1).expect("the first");
    let second = edge.called(2).expect("the second");
    let refused = edge.call(3).expect_err("one too many");
    assert!(
        refused.starts_with("SIP/2.0 503 ") && refused.contains("\r\nRetry-After: "),
        "{refused}"
    );
    let refused = edge.called(4).expect_err("one too many");
    assert!(
        refused.starts_with("SIP/2.0 486 ") && refused.contains("\r\nRetry-After: "),
        "{refused}"
    );
    assert_eq!(edge.calls(), 2);

    // one is refused, the other answered and hung up
    edge.input(Side::Outside, &answer(&first, "404 Not Found"));
    assert_eq!(edge.calls(), 1);
    let accepted = edge.input(Side::Inside, &answer(&second, "200 OK"));
    assert_eq!(edge.calls(), 1);
    edge.input(Side::Outside, &bye(&accepted[0].1, Side::Outside, 2));
    assert_eq!(edge.calls(), 0);
    edge.call(5).expect("there is room");
    edge.called(6).expect("there is room");
    let refused = edge.engine.trunk_states().map(|trunk| trunk.refused).collect::<Vec<_>>();
    assert_eq!(refused, [[2, 0]]);
}

#[test]
fn a_call_that_is_challenged_is_one_call() {
    let mut edge = Edge::new(limited(Some(1), Some(1)));
    let first = edge.call(1).expect("the first");
    edge.input(Side::Outside, &answer(&first, "407 Proxy Authentication Required"));
    assert_eq!(edge.calls(), 0, "it waits for its PBX");
    let again = invite(Side::Inside, 1, "Proxy-Authorization: Digest realm=\"c\", nonce=\"n\"\n");
    let again = again.replace("z9hG4bK1", "z9hG4bKa").replace("CSeq: 1", "CSeq: 2");
    let sent = edge.input(Side::Inside, &again);
    Edge::outcome(sent, CARRIER).expect("the same call, and no second one of this second");
    assert_eq!(edge.calls(), 1);
    edge.call(2).expect_err("one too many");
}

#[test]
fn calls_in_a_second_are_limited() {
    let mut edge = Edge::new(limited(None, Some(2)));
    edge.call(1).expect("the first");
    edge.called(2).expect("the second");
    for refused in [edge.call(3), edge.called(4)] {
        let refused = refused.expect_err("too fast");
        assert!(
            refused.starts_with("SIP/2.0 503 ") && refused.contains("Retry-After: "),
            "{refused}"
        );
    }
    edge.pass(Duration::from_millis(501));
    edge.call(5).expect("half a second later");
    edge.call(6).expect_err("too fast again");
}

#[test]
fn a_call_whose_end_nobody_saw_does_not_count_for_ever() {
    let limits = TrunkLimits { longest_call: Duration::from_secs(600), ..TrunkLimits::default() };
    let mut edge = Edge::new(Trunk { limits, ..trunk() });
    let request = edge.call(1).expect("a call");
    edge.input(Side::Outside, &answer(&request, "200 OK"));
    let silent = edge.call(2).expect("one that nobody answers");
    drop(silent);
    edge.pass(Duration::from_secs(100));
    assert_eq!(edge.calls(), 1, "Timer B has ended one");
    edge.pass(Duration::from_secs(600));
    assert_eq!(edge.calls(), 0);
    assert_eq!(edge.engine.snapshot().trunk_calls.entries, 0);
}

#[test]
fn shards_count_together() {
    let shards = 2;
    let own = Engine::shard_of(addr(CARRIER).ip(), shards);
    let mut edge = Edge::of(limited(Some(2), None), own, shards);
    let tell = |edge: &mut Edge, calls| {
        let (trunk, shard) = ("carrier".into(), ShardId(1 - own.0));
        let learned = Learned::TrunkCalls { trunk, shard, calls, begun: true };
        edge.engine.handle_input(edge.now, Input::Learned(learned));
    };
    tell(&mut edge, 1);
    let first = edge.called(1).expect("the first here");
    let begun =
        |calls, begun| Learned::TrunkCalls { trunk: "carrier".into(), shard: own, calls, begun };
    assert_eq!(edge.learned, [begun(1, true)]);
    edge.called(2).expect_err("the other shard has one");
    tell(&mut edge, 0);
    edge.called(3).expect("it has ended");
    edge.learned.clear();
    edge.input(Side::Inside, &answer(&first, "480 Temporarily Unavailable"));
    assert_eq!(edge.learned, [begun(1, false)]);
    // a BYE that comes to another shard than its call
    edge.learned.clear();
    edge.input(Side::Outside, &bye("", Side::Outside, 77));
    let [Learned::CallEnded { key }] = edge.learned[..] else { panic!("{:?}", edge.learned) };
    edge.engine.handle_input(edge.now, Input::Learned(Learned::CallEnded { key }));
    assert_eq!(edge.calls(), 1);
}

fn lines<'t>(text: &'t str, name: &str) -> Vec<&'t str> {
    text.lines().filter(|line| line.starts_with(&format!("{name}: "))).collect()
}

#[test]
fn headers_change_as_the_rules_say() {
    let inwards = vec![
        HeaderRule::Remove("Diversion".into()),
        HeaderRule::Add("X-Route".into(), "carrier".into()),
    ];
    let outwards = vec![
        HeaderRule::Remove("X-*".into()),
        HeaderRule::Set("User-Agent".into(), "PBX".into()),
        HeaderRule::Add("X-Account".into(), "4711".into()),
    ];
    let from_domain = Some("carrier.example".into());
    let mut edge = Edge::new(Trunk { inwards, outwards, from_domain, ..trunk() });
    let more = "User-Agent: Asterisk 22\nX-Secret: 1\nx-other: 2\nDiversion: <sip:1@x>\nP-Asserted-Identity: <sip:1@x>\n";
    let sent = edge.input(Side::Inside, &invite(Side::Inside, 1, more));
    let text = Edge::outcome(sent, CARRIER).expect("a call");
    assert_eq!(lines(&text, "User-Agent"), ["User-Agent: PBX"], "{text}");
    assert_eq!(lines(&text, "X-Account"), ["X-Account: 4711"]);
    assert!(!text.contains("X-Secret") && !text.contains("x-other"), "{text}");
    assert_eq!(lines(&text, "Diversion").len(), 1, "{text}");
    assert_eq!(lines(&text, "P-Asserted-Identity").len(), 1, "{text}");
    assert_eq!(lines(&text, "From"), ["From: \"A\" <sip:acct@carrier.example;x=y>;tag=f1"]);

    let sent = edge.input(Side::Outside, &invite(Side::Outside, 2, more));
    let text = Edge::outcome(sent, PBX).expect("a call");
    assert_eq!(lines(&text, "X-Route"), ["X-Route: carrier"], "{text}");
    assert_eq!(lines(&text, "X-Ringfence-Trunk"), ["X-Ringfence-Trunk: carrier"], "{text}");
    assert!(text.contains("X-Secret") && !text.contains("Diversion"), "{text}");
    assert_eq!(lines(&text, "From").len(), 1);
    assert!(text.contains("<sip:acct@127.0.0.1:5070;x=y>"), "{text}");
}

#[test]
fn who_calls_is_told_by_policy() {
    let identity = "P-Asserted-Identity: <sip:1@x>\nRemote-Party-ID: <sip:1@x>;party=calling\n";
    let private = format!("{identity}Privacy: header; id\n");
    let full = identity.replace("=calling", "=calling;privacy=full");
    for (policy, more, told) in [
        (Identity::Pass, &private, 2),
        (Identity::Private, &identity.to_owned(), 2),
        (Identity::Private, &private, 0),
        (Identity::Private, &full, 1),
        (Identity::Remove, &identity.to_owned(), 0),
    ] {
        let mut edge = Edge::new(Trunk { identity: policy, ..trunk() });
        let sent = edge.input(Side::Inside, &invite(Side::Inside, 1, more));
        let text = Edge::outcome(sent, CARRIER).expect("a call");
        let names = ["P-Asserted-Identity", "Remote-Party-ID"];
        let count = names.iter().map(|name| lines(&text, name).len()).sum::<usize>();
        assert_eq!(count, told, "{policy:?}: {text}");
    }
    // nobody stays nobody
    let mut edge = Edge::new(Trunk { from_domain: Some("c.example".into()), ..trunk() });
    let call =
        invite(Side::Inside, 1, "").replace("acct@127.0.0.1:5070", "anonymous@anonymous.invalid");
    let text = Edge::outcome(edge.input(Side::Inside, &call), CARRIER).expect("a call");
    assert!(text.contains("<sip:anonymous@anonymous.invalid;x=y>"), "{text}");
}
