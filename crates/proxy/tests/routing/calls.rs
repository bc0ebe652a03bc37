//! What a trunk may have and say: limits of its calls, rules on its headers.

use super::edge::{CARRIER, Edge, INSIDE, OUTSIDE, PBX, Sent, addr, answer, to};
use policy::{HeaderRule, Identity, Listener, Network, Pbx, Policy, Trunk, TrunkLimits};
use proxy::{Engine, Learned};
use std::time::Duration;
use wire::{ShardId, Side, Transport};

fn policy(trunk: Trunk) -> Policy {
    let listener = Listener { transport: Transport::Udp, address: addr(OUTSIDE), advertise: None };
    let pbx = Pbx::new(addr(PBX));
    let mut policy = Policy::new(vec![listener], addr(INSIDE), vec![pbx]);
    policy.trunks = vec![trunk];
    policy.admission.trust.networks = vec![(Network::host(addr(CARRIER).ip()), "carrier".into())];
    policy
}

fn trunk() -> Trunk {
    Trunk::new("carrier", vec!["carrier.example".into()])
}

fn limited(calls: Option<u32>, calls_per_second: Option<u32>) -> Trunk {
    let limits = TrunkLimits { calls, calls_per_second, ..TrunkLimits::default() };
    Trunk { limits, ..trunk() }
}

fn edge(trunk: Trunk) -> Edge {
    edge_of(trunk, ShardId(0), 1)
}

fn edge_of(trunk: Trunk, shard: ShardId, shards: u8) -> Edge {
    let mut edge = Edge::of(policy(trunk), shard, shards);
    edge.reach("carrier.example", Transport::Udp, OUTSIDE, &[CARRIER]);
    edge
}

/// The PBX calls; what the carrier gets, or the refusal.
fn call(edge: &mut Edge, call: u32) -> Result<String, String> {
    outcome(&edge.inside(PBX, &invite(Side::Inside, call, "")), CARRIER)
}

/// The carrier calls.
fn called(edge: &mut Edge, call: u32) -> Result<String, String> {
    outcome(&edge.outside(CARRIER, &invite(Side::Outside, call, "")), PBX)
}

fn outcome(sent: &[Sent], whom: &str) -> Result<String, String> {
    match &to(sent, whom, "INVITE")[..] {
        [text, ..] => Ok((*text).to_owned()),
        [] => Err(sent.first().map(|it| it.text.clone()).unwrap_or_default()),
    }
}

fn calls(edge: &Edge) -> u32 {
    edge.engine.trunk_states().map(|trunk| trunk.calls).sum()
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
    let mut edge = edge(limited(Some(2), None));
    let first = call(&mut edge, 1).expect("the first");
    let second = called(&mut edge, 2).expect("the second");
    let refused = call(&mut edge, 3).expect_err("one too many");
    assert!(
        refused.starts_with("SIP/2.0 503 ") && refused.contains("\r\nRetry-After: "),
        "{refused}"
    );
    let refused = called(&mut edge, 4).expect_err("one too many");
    assert!(
        refused.starts_with("SIP/2.0 486 ") && refused.contains("\r\nRetry-After: "),
        "{refused}"
    );
    assert_eq!(calls(&edge), 2);

    // one is refused, the other answered and hung up
    edge.outside(CARRIER, &answer(&first, "404 Not Found", ""));
    assert_eq!(calls(&edge), 1);
    let accepted = edge.inside(PBX, &answer(&second, "200 OK", ""));
    assert_eq!(calls(&edge), 1);
    edge.outside(CARRIER, &bye(&accepted[0].text, Side::Outside, 2));
    assert_eq!(calls(&edge), 0);
    call(&mut edge, 5).expect("there is room");
    called(&mut edge, 6).expect("there is room");
    let refused = edge.engine.trunk_states().map(|trunk| trunk.refused).collect::<Vec<_>>();
    assert_eq!(refused, [[2, 0]]);
}

#[test]
fn a_call_that_is_challenged_is_one_call() {
    let mut edge = edge(limited(Some(1), Some(1)));
    let first = call(&mut edge, 1).expect("the first");
    edge.outside(CARRIER, &answer(&first, "407 Proxy Authentication Required", ""));
    assert_eq!(calls(&edge), 0, "it waits for its PBX");
    let again = invite(Side::Inside, 1, "Proxy-Authorization: Digest realm=\"c\", nonce=\"n\"\n");
    let again = again.replace("z9hG4bK1", "z9hG4bKa").replace("CSeq: 1", "CSeq: 2");
    let sent = edge.inside(PBX, &again);
    outcome(&sent, CARRIER).expect("the same call, and no second one of this second");
    assert_eq!(calls(&edge), 1);
    call(&mut edge, 2).expect_err("one too many");
}

#[test]
fn calls_in_a_second_are_limited() {
    let mut edge = edge(limited(None, Some(2)));
    call(&mut edge, 1).expect("the first");
    called(&mut edge, 2).expect("the second");
    for refused in [call(&mut edge, 3), called(&mut edge, 4)] {
        let refused = refused.expect_err("too fast");
        assert!(
            refused.starts_with("SIP/2.0 503 ") && refused.contains("Retry-After: "),
            "{refused}"
        );
    }
    edge.pass(Duration::from_millis(501));
    call(&mut edge, 5).expect("half a second later");
    call(&mut edge, 6).expect_err("too fast again");
}

#[test]
fn a_call_whose_end_nobody_saw_does_not_count_for_ever() {
    let limits = TrunkLimits { longest_call: Duration::from_secs(600), ..TrunkLimits::default() };
    let mut edge = edge(Trunk { limits, ..trunk() });
    let request = call(&mut edge, 1).expect("a call");
    edge.outside(CARRIER, &answer(&request, "200 OK", ""));
    let silent = call(&mut edge, 2).expect("one that nobody answers");
    drop(silent);
    edge.pass(Duration::from_secs(100));
    assert_eq!(calls(&edge), 1, "Timer B has ended one");
    edge.pass(Duration::from_secs(600));
    assert_eq!(calls(&edge), 0);
    assert_eq!(edge.engine.snapshot().trunk_calls.entries, 0);
}

#[test]
fn shards_count_together() {
    let shards = 2;
    let own = Engine::shard_of(addr(CARRIER).ip(), shards);
    let mut edge = edge_of(limited(Some(2), None), own, shards);
    let tell = |edge: &mut Edge, calls| {
        let (trunk, shard) = ("carrier".into(), ShardId(1 - own.0));
        let learned = Learned::TrunkCalls { trunk, shard, calls, begun: true };
        edge.learn(learned);
    };
    tell(&mut edge, 1);
    let first = called(&mut edge, 1).expect("the first here");
    let begun =
        |calls, begun| Learned::TrunkCalls { trunk: "carrier".into(), shard: own, calls, begun };
    assert_eq!(edge.learned, [begun(1, true)]);
    called(&mut edge, 2).expect_err("the other shard has one");
    tell(&mut edge, 0);
    called(&mut edge, 3).expect("it has ended");
    edge.learned.clear();
    edge.inside(PBX, &answer(&first, "480 Temporarily Unavailable", ""));
    assert_eq!(edge.learned, [begun(1, false)]);
    // a BYE that comes to another shard than its call
    edge.learned.clear();
    edge.outside(CARRIER, &bye("", Side::Outside, 77));
    let [Learned::CallEnded { key }] = edge.learned[..] else { panic!("{:?}", edge.learned) };
    edge.learn(Learned::CallEnded { key });
    assert_eq!(calls(&edge), 1);
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
    let mut edge = edge(Trunk { inwards, outwards, from_domain, ..trunk() });
    let more = "User-Agent: Asterisk 22\nX-Secret: 1\nx-other: 2\nDiversion: <sip:1@x>\nP-Asserted-Identity: <sip:1@x>\n";
    let sent = edge.inside(PBX, &invite(Side::Inside, 1, more));
    let text = outcome(&sent, CARRIER).expect("a call");
    assert_eq!(lines(&text, "User-Agent"), ["User-Agent: PBX"], "{text}");
    assert_eq!(lines(&text, "X-Account"), ["X-Account: 4711"]);
    assert!(!text.contains("X-Secret") && !text.contains("x-other"), "{text}");
    assert_eq!(lines(&text, "Diversion").len(), 1, "{text}");
    assert_eq!(lines(&text, "P-Asserted-Identity").len(), 1, "{text}");
    assert_eq!(lines(&text, "From"), ["From: \"A\" <sip:acct@carrier.example;x=y>;tag=f1"]);

    let sent = edge.outside(CARRIER, &invite(Side::Outside, 2, more));
    let text = outcome(&sent, PBX).expect("a call");
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
        let mut edge = edge(Trunk { identity: policy, ..trunk() });
        let sent = edge.inside(PBX, &invite(Side::Inside, 1, more));
        let text = outcome(&sent, CARRIER).expect("a call");
        let names = ["P-Asserted-Identity", "Remote-Party-ID"];
        let count = names.iter().map(|name| lines(&text, name).len()).sum::<usize>();
        assert_eq!(count, told, "{policy:?}: {text}");
    }
    // nobody stays nobody
    let mut edge = edge(Trunk { from_domain: Some("c.example".into()), ..trunk() });
    let call =
        invite(Side::Inside, 1, "").replace("acct@127.0.0.1:5070", "anonymous@anonymous.invalid");
    let text = outcome(&edge.inside(PBX, &call), CARRIER).expect("a call");
    assert!(text.contains("<sip:anonymous@anonymous.invalid;x=y>"), "{text}");
}
