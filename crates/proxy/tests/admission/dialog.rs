//! What reaches the PBX of those who say that they are in a call: an ACK, a BYE, an INFO, by the
//! tags of an answer, by the Route of a call, and by neither.

use crate::edge::{Edge, OUTSIDE, Outcome, PBX, PHONE, addr, request};
use policy::{Admission, ChallengeMode, Mode, Network, Rate, Reason, Who};
use proxy::{Engine, Input, Verdict};
use std::sync::Arc;
use std::time::Duration;
use wire::{ConnectionId, Flow, ShardId, Transport};

/// The phone's router, and its new port.
const MOVED: &str = "198.51.100.7:40001";
/// Somebody else.
const ELSEWHERE: &str = "192.0.2.66:5060";

/// A request that says it is in a dialog.
fn tagged(method: &str, branch: &str, tag: &str, more: &str) -> String {
    request(method, branch, 0, more).replace("<sip:100@pbx>", &format!("<sip:100@pbx>;tag={tag}"))
}

/// A call that the PBX accepts unasked, up to its 200: the Routes that the phone learns.
fn accepted(edge: &mut Edge) -> String {
    let more = "Contact: <sip:6001@192.168.1.5:5062>\n";
    let outcome = edge.phone_sends(&request("INVITE", "z9hG4bKinv", 500, more));
    let invite = outcome.inside[0].clone();
    let routes: Vec<_> = invite.lines().filter(|it| it.starts_with("Record-Route:")).collect();
    let recorded = routes.iter().map(|line| format!("{line}\n")).collect::<String>();
    let more = format!("{recorded}Contact: <sip:100@{PBX}>\n");
    let outcome = edge.pbx_answers(&invite, "200 OK", "pbxtag", &more);
    assert_eq!(outcome.outside.len(), 1, "{outcome:?}");
    // the route set of the caller is the reverse (RFC 3261 §12.1.2)
    routes.iter().rev().map(|line| format!("{}\n", line.replace("Record-Route", "Route"))).collect()
}

fn restarted(edge: &mut Edge) {
    let policy = Arc::clone(&edge.policy);
    edge.engine = Engine::new(policy, ShardId(0), 1, [7; 32], [2; 32]);
}

fn told(outcome: &Outcome) -> (usize, Verdict, Reason) {
    let event = &outcome.events[0];
    (outcome.inside.len(), event.verdict, event.reason)
}

const PASSED: (usize, Verdict, Reason) = (1, Verdict::Forward, Reason::Clean);
const KEPT_OUT: (usize, Verdict, Reason) = (0, Verdict::Drop, Reason::Unproven);

#[test]
fn an_ack_of_nobodys_stays_out_whenever_the_edge_may_challenge() {
    for mode in [ChallengeMode::Off, ChallengeMode::UnderAttack, ChallengeMode::Always] {
        let mut edge = Edge::with(|policy| policy.admission.edge_challenge.mode = mode);
        for tag in ["z", "z9hG4bK000000000001bhruoiu74pm5ipn07cb3sb8g"] {
            let outcome = edge.phone_sends(&tagged("ACK", "z9hG4bKx", tag, ""));
            assert_eq!(told(&outcome), KEPT_OUT, "{mode:?} {tag}");
            assert_eq!(outcome.events[0].grounds.map(|it| it.who), Some(Who::Unproven));
            assert!(outcome.outside.is_empty());
        }
    }
}

#[test]
fn observing_says_what_would_be_kept_out() {
    let mut edge = Edge::with(|policy| policy.admission.mode = Mode::Observe);
    let outcome = edge.phone_sends(&tagged("ACK", "z9hG4bKx", "z", ""));
    assert_eq!(told(&outcome), PASSED);
    let would = outcome.events[0].grounds.and_then(|it| it.would);
    assert_eq!(would, Some(Verdict::Drop));
    let mut edge = Edge::with(|policy| policy.admission.mode = Mode::Off);
    assert_eq!(told(&edge.phone_sends(&tagged("ACK", "z9hG4bKx", "z", ""))), PASSED);
}

#[test]
fn the_ack_of_an_accepted_call_passes_by_its_tags() {
    // its branch, its CSeq, its port or its hosts are not what they should be, and it has no Route
    for (from, text) in [
        (PHONE, tagged("ACK", "z9hG4bKack", "pbxtag", "")),
        (PHONE, tagged("ACK", "z9hG4bKinv", "pbxtag", "")),
        (PHONE, tagged("ACK", "z9hG4bKack", "pbxtag", "").replace("CSeq: 1 ", "CSeq: 7 ")),
        (PHONE, tagged("ACK", "z9hG4bKack", "pbxtag", "").replace("@pbx", "@192.168.1.5")),
        (MOVED, tagged("ACK", "z9hG4bKack", "pbxtag", "")),
    ] {
        let mut edge = Edge::with(|_| {});
        let _ = accepted(&mut edge);
        let first = edge.sends_from(from, &text);
        assert_eq!(told(&first), PASSED, "{text}");
        // the 200 was repeated
        let again = edge.sends_from(from, &text);
        assert_eq!(told(&again), PASSED, "{text}");
    }
}

#[test]
fn a_forger_who_guesses_no_tag_gets_no_ack_into_his_own_call() {
    let mut edge = Edge::with(|_| {});
    let _ = accepted(&mut edge);
    // he knows the branch, which he chose, and not the tag, which went to the forged address
    let outcome = edge.phone_sends(&tagged("ACK", "z9hG4bKinv", "guessed", ""));
    assert_eq!(told(&outcome), KEPT_OUT);
}

#[test]
fn the_ack_of_a_call_passes_by_its_route_over_a_restart_of_the_edge() {
    for from in [PHONE, MOVED, ELSEWHERE] {
        let mut edge = Edge::with(|_| {});
        let routes = accepted(&mut edge);
        restarted(&mut edge);
        let outcome = edge.sends_from(from, &tagged("ACK", "z9hG4bKack", "pbxtag", ""));
        assert_eq!(told(&outcome), KEPT_OUT, "{from} without a Route");
        let outcome = edge.sends_from(from, &tagged("ACK", "z9hG4bKack", "pbxtag", &routes));
        assert_eq!(told(&outcome), PASSED, "{from}");
        assert!(!outcome.inside[0].contains("Route:"), "{}", outcome.inside[0]);
    }
}

#[test]
fn a_carriers_ack_passes_whatever_it_carries() {
    let network = Network::host(addr(PHONE).ip());
    let mut edge = Edge::with(|policy| {
        policy.admission.edge_challenge.mode = ChallengeMode::Always;
        policy.admission.trust.networks.push((network, "carrier".into()));
    });
    assert_eq!(told(&edge.phone_sends(&tagged("ACK", "z9hG4bKx", "z", ""))), PASSED);
}

#[test]
fn a_proven_strangers_acks_have_the_rate_of_his_requests() {
    let mut edge = Edge::with(|_| {});
    let connections = [8, 9].map(|number| ConnectionId::new(ShardId(0), number));
    for connection in connections {
        let flow = Flow {
            transport: Transport::Tcp,
            connection: Some(connection),
            ..Flow::udp(addr(OUTSIDE), addr(PHONE))
        };
        let _ = edge.input(Input::Opened { flow });
    }
    let ack = tagged("ACK", "z9hG4bKx", "z", "").replace("/UDP", "/TCP").replace('\n', "\r\n");
    let bytes = ack.as_bytes();
    let mut reasons = Vec::new();
    for connection in connections.into_iter().cycle().take(900) {
        let outcome = edge.input(Input::Stream { connection, bytes });
        assert!(outcome.outside.is_empty(), "nothing answers an ACK: {outcome:?}");
        reasons.extend(outcome.events.iter().map(|event| (event.verdict, event.reason)));
    }
    let count = |wanted| reasons.iter().filter(|it| **it == wanted).count();
    assert_eq!(count((Verdict::Forward, Reason::Clean)), 800, "a burst of proven-rate");
    assert_eq!(count((Verdict::Drop, Reason::Rate)), 100);
}

#[test]
fn what_a_stranger_says_in_no_dialog_of_his_meets_the_rules_and_rates_of_strangers() {
    for method in ["BYE", "INFO", "UPDATE", "PRACK", "INVITE", "NOTIFY", "REFER", "MESSAGE"] {
        let mut edge = Edge::with(|_| {});
        let send = |edge: &mut Edge, n: usize| {
            let branch = format!("z9hG4bK{method}{n}");
            let text = tagged(method, &branch, "z", "").replace("Call-ID: c1", "Call-ID: c2");
            let outcome = edge.phone_sends(&text.replace("CSeq: 1 ", &format!("CSeq: {n} ")));
            for inside in &outcome.inside {
                edge.pbx_answers(inside, "481 Unknown", "t", "");
            }
            told(&outcome)
        };
        let all: Vec<_> = (1..=300).map(|n| send(&mut edge, n)).collect();
        // the PBX answers each at once: what it is asked is bounded by unproven-rate
        let passed = all.iter().filter(|it| **it == PASSED).count();
        assert_eq!(passed, 200, "{method}");
        assert!(all[200..].iter().all(|it| it.0 == 0 && it.2 == Reason::Rate), "{method}");
        // without a tag they are not even asked, but for those that strangers may send
        let mut edge = Edge::with(|_| {});
        let outcome = edge.phone_sends(&request(method, "z9hG4bKn", 500, ""));
        let may = matches!(method, "INVITE" | "MESSAGE");
        assert_eq!(told(&outcome).2 == Reason::Rule, !may, "{method}");
    }
}

#[test]
fn what_a_stranger_says_in_no_dialog_of_his_is_challenged_where_strangers_are() {
    for method in ["BYE", "INFO", "UPDATE", "PRACK", "INVITE"] {
        let mut edge = Edge::with(crate::edge::always);
        edge.is_told_nothing();
        let text = tagged(method, "z9hG4bKb", "z", &format!("Subject: {}\n", "x".repeat(500)));
        let expected = (0, Verdict::Reject(401), Reason::Unproven);
        assert_eq!(told(&edge.phone_sends(&text)), expected, "{method}");
    }
}

#[test]
fn a_stolen_route_is_good_for_one_call_and_its_rate() {
    let balanced = Admission::default().dialog_rate;
    let slow = Rate { count: 1, per: Duration::from_secs(60), burst: 7 };
    for rate in [balanced, slow] {
        a_stolen_route(rate);
    }
}

fn a_stolen_route(rate: Rate) {
    let mut edge = Edge::with(|policy| {
        crate::edge::always(policy);
        policy.admission.dialog_rate = rate;
    });
    edge.engine = Engine::new(Arc::new(Edge::policy(|_| {})), ShardId(0), 1, [7; 32], [1; 32]);
    let routes = accepted(&mut edge);
    edge.engine = Engine::new(Arc::clone(&edge.policy), ShardId(0), 1, [7; 32], [2; 32]);
    edge.is_told_nothing();
    let more = format!("{routes}Subject: {}\n", "x".repeat(500));
    let bye = tagged("BYE", "z9hG4bKb", "pbxtag", &more);
    // of the address it names, in its call
    assert_eq!(told(&edge.phone_sends(&bye)), PASSED);
    // in another call, and from another address, it is a stranger's request
    let challenged = (0, Verdict::Reject(401), Reason::Unproven);
    let other = bye.replace("Call-ID: c1", "Call-ID: c2").replace("z9hG4bKb", "z9hG4bKc");
    assert_eq!(told(&edge.phone_sends(&other)), challenged);
    let outcome = edge.sends_from(ELSEWHERE, &bye);
    assert_eq!(told(&outcome).0, 0, "{outcome:?}");
    let ack = tagged("ACK", "z9hG4bKd", "pbxtag", &more).replace("Call-ID: c1", "Call-ID: c2");
    assert_eq!(told(&edge.phone_sends(&ack)), KEPT_OUT);
    // and in its call it has a dialog's rate, whatever the methods
    let send = |edge: &mut Edge, n: usize| {
        let text = tagged("INFO", &format!("z9hG4bKi{n}"), "pbxtag", &more);
        told(&edge.phone_sends(&text.replace("CSeq: 1 ", &format!("CSeq: {n} "))))
    };
    let all: Vec<_> = (1..=rate.burst as usize + 50).map(|n| send(&mut edge, n)).collect();
    let passed = all.iter().filter(|it| **it == PASSED).count();
    assert_eq!(passed, rate.burst as usize - 1, "one was the BYE");
    assert_eq!(all.last(), Some(&challenged), "judged as any other of a stranger's");
    edge.now = edge.now + rate.per;
    assert_eq!(told(&edge.phone_sends(&bye.replace("z9hG4bKb", "z9hG4bKe"))), PASSED);
}
