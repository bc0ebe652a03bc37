//! What is shed when the edge cannot keep up, and what is not.

use crate::edge::{CHALLENGE, Edge, Outcome, addr, request};
use policy::{Network, Reason};
use proxy::{Input, Stage, Verdict};
use std::time::Duration;

const STRANGER: &str = "192.0.2.66:5060";
const TRUNK: &str = "203.0.113.77:5060";
const SHED: (Verdict, Reason) = (Verdict::Drop, Reason::Overload);

/// Rounds, one a millisecond, in which it is behind.
fn behind(edge: &mut Edge, milliseconds: u64) -> Stage {
    for _ in 0..=milliseconds {
        edge.input(Input::Round { waited: Duration::from_millis(21) });
        edge.now = edge.now + Duration::from_millis(1);
    }
    edge.engine.snapshot().shed
}

fn fate(outcome: &Outcome) -> (Verdict, Reason) {
    (outcome.events[0].verdict, outcome.events[0].reason)
}

#[test]
fn overload_sheds_strangers_then_the_unproven_then_calls_and_no_more() {
    let mut edge = Edge::with(|_| {});
    let wrong =
        "Authorization: Digest username=\"6001\",realm=\"asterisk\",nonce=\"n1\",response=\"0\"\n";
    // the phone registers: from now on somebody is known there
    let first = edge.phone_sends(&request("REGISTER", "z9hG4bKr", 500, ""));
    edge.pbx_answers(&first.inside[0], "401 Unauthorized", "t", CHALLENGE);
    let second = edge.phone_sends(&request("REGISTER", "z9hG4bKs", 500, wrong));
    edge.pbx_answers(&second.inside[0], "200 OK", "t", "");
    let call = edge.phone_sends(&request("INVITE", "z9hG4bKc", 500, ""));
    let routes: Vec<_> =
        call.inside[0].lines().filter(|line| line.starts_with("Record-Route: ")).collect();
    let route = routes.join("\n").replace("Record-Route", "Route") + "\n";

    let stranger = |edge: &mut Edge, branch: &str, more: &str| {
        let text = request("INVITE", branch, 500, more).replace("c1", branch);
        edge.sends_from(STRANGER, &text)
    };

    assert_eq!(behind(&mut edge, 19), Stage::None);
    assert_eq!(fate(&stranger(&mut edge, "z9hG4bK1", "")), (Verdict::Forward, Reason::Clean));
    assert_eq!(behind(&mut edge, 0), Stage::Strangers);
    assert_eq!(behind(&mut edge, 59), Stage::Strangers);
    assert_eq!(fate(&stranger(&mut edge, "z9hG4bK2", "")), SHED);
    assert_ne!(fate(&stranger(&mut edge, "z9hG4bK3", wrong)), SHED);
    assert_eq!(behind(&mut edge, 79), Stage::Unproven);
    assert_eq!(fate(&stranger(&mut edge, "z9hG4bK4", wrong)), SHED);
    let known = edge.phone_sends(&request("INVITE", "z9hG4bKd", 500, "").replace("c1", "c2"));
    assert_eq!(fate(&known), (Verdict::Forward, Reason::Clean));
    assert_eq!(behind(&mut edge, 79), Stage::Calls);

    let told = edge.phone_sends(&request("INVITE", "z9hG4bKe", 500, "").replace("c1", "c3"));
    assert_eq!(fate(&told), (Verdict::Reject(503), Reason::Overload));
    assert!(told.outside[0].contains("\r\nRetry-After: "), "{}", told.outside[0]);
    let inside = request("INVITE", "z9hG4bKf", 500, &route)
        .replace("<sip:100@pbx>\nCall", "<sip:100@pbx>;tag=t\nCall");
    assert_eq!(fate(&edge.phone_sends(&inside)).0, Verdict::Forward);
    let again = request("REGISTER", "z9hG4bKg", 500, "").replace("CSeq: 1", "CSeq: 3");
    assert_eq!(fate(&edge.phone_sends(&again)).0, Verdict::Forward);

    edge.now = edge.now + Duration::from_secs(3);
    edge.input(Input::Round { waited: Duration::ZERO });
    assert_eq!(edge.engine.snapshot().shed, Stage::None);
}

#[test]
fn overload_costs_a_trunk_its_new_calls_at_the_most() {
    let mut edge = Edge::with(|policy| {
        let trunk = Network::host(addr(TRUNK).ip());
        policy.admission.trust.networks.push((trunk, "carrier".into()));
    });
    let call =
        |call: &str| request("INVITE", &format!("z9hG4bK{call}"), 500, "").replace("c1", call);
    assert_eq!(behind(&mut edge, 170), Stage::Unproven);
    assert_eq!(fate(&edge.sends_from(STRANGER, &call("c2"))), SHED);
    assert_eq!(fate(&edge.sends_from(TRUNK, &call("c3"))).0, Verdict::Forward, "it is read");
    assert_eq!(behind(&mut edge, 100), Stage::Calls);
    let told = (Verdict::Reject(503), Reason::Overload);
    assert_eq!(fate(&edge.sends_from(TRUNK, &call("c4"))), told);
    // a dialog of its goes on, though no Route of ours is in its requests
    let again = call("c5").replace("<sip:100@pbx>\nCall", "<sip:100@pbx>;tag=t\nCall");
    assert_eq!(fate(&edge.sends_from(TRUNK, &again)).0, Verdict::Forward);
}

#[test]
fn a_flood_that_is_shed_unread_costs_no_call() {
    let mut edge = Edge::with(|_| {});
    assert_eq!(behind(&mut edge, 170), Stage::Unproven);
    let forged = request("OPTIONS", "z9hG4bKa", 0, "");
    for n in 0..1_000 {
        edge.sends_from(&format!("192.0.{}.{}:5060", n / 250, n % 250), &forged);
        assert_eq!(behind(&mut edge, 0), Stage::Unproven, "{n}");
    }
}
