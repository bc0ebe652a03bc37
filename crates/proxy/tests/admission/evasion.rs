//! What a sender does so that his challenges end, or were never there.

use super::edge::{CHALLENGE, Edge, OUTSIDE, Outcome, PHONE, addr, request};
use policy::{Outcome as Ended, Reason};
use proxy::{CloseReason, Input, Verdict};
use std::time::Duration;
use wire::{ConnectionId, Flow, ShardId, Transport};

fn connection(number: u64) -> ConnectionId {
    ConnectionId::new(ShardId(0), number)
}

fn opens(edge: &mut Edge, number: u64) {
    let connection = Some(connection(number));
    let flow =
        Flow { transport: Transport::Tcp, connection, ..Flow::udp(addr(OUTSIDE), addr(PHONE)) };
    edge.input(Input::Opened { flow });
}

fn sends(edge: &mut Edge, number: u64, text: &str) -> Outcome {
    let text = text.replace("/UDP", "/TCP").replace('\n', "\r\n");
    edge.input(Input::Stream { connection: connection(number), bytes: text.as_bytes() })
}

/// An INVITE over a connection of its own, which the PBX challenges.
fn challenged() -> Edge {
    let mut edge = Edge::with(|_| {});
    opens(&mut edge, 1);
    let outcome = sends(&mut edge, 1, &request("INVITE", "z9hG4bKa", 0, ""));
    edge.pbx_answers(&outcome.inside[0], "401 Unauthorized", "t", CHALLENGE);
    assert_eq!(open(&edge), 1);
    edge
}

fn open(edge: &Edge) -> usize {
    edge.engine.snapshot().gate.ledger.entries
}

fn abandoned(edge: &mut Edge) -> u64 {
    edge.now = edge.now + Duration::from_secs(60);
    edge.engine.handle_timeout(edge.now);
    edge.fetched();
    edge.engine.gate_counts().outcomes[Ended::Abandoned as usize]
}

#[test]
fn a_request_too_large_for_the_pbx_ends_no_challenge() {
    let mut edge = challenged();
    // no datagram holds it, once the edge has written its own lines
    let body = 65_300;
    let large = request("INVITE", "z9hG4bKb", 0, "")
        .replace("CSeq: 1", "CSeq: 2")
        .replace("Content-Length: 0", &format!("Content-Length: {body}"))
        + &"x".repeat(body);
    let outcome = sends(&mut edge, 1, &large);
    let fate = outcome.events.iter().map(|event| (event.verdict, event.reason)).next_back();
    assert_eq!(fate, Some((Verdict::Reject(513), Reason::TooLarge)), "{:?}", outcome.events);
    assert_eq!((open(&edge), abandoned(&mut edge)), (1, 1));
}

#[test]
fn one_that_comes_twice_ends_none() {
    let mut edge = challenged();
    // another in passage, and the same by another way
    let second = request("INVITE", "z9hG4bKb", 0, "").replace("CSeq: 1", "CSeq: 2");
    assert_eq!(sends(&mut edge, 1, &second).inside.len(), 1);
    opens(&mut edge, 2);
    let outcome = sends(&mut edge, 2, &second.replace("z9hG4bKb", "z9hG4bKc"));
    let fate = outcome.events.last().map(|event| (event.verdict, event.reason));
    assert_eq!(fate, Some((Verdict::Reject(482), Reason::Merged)));
    assert_eq!(open(&edge), 1);
}

#[test]
fn nor_does_a_late_challenge_for_a_connection_that_is_gone() {
    let mut edge = Edge::with(|_| {});
    opens(&mut edge, 1);
    let slow = sends(&mut edge, 1, &request("REGISTER", "z9hG4bKa", 0, ""));
    edge.input(Input::Closed { connection: connection(1) });
    edge.now = edge.now + Duration::from_secs(2);
    // the same login once more
    opens(&mut edge, 2);
    let again = request("REGISTER", "z9hG4bKb", 0, "").replace("CSeq: 1", "CSeq: 2");
    let again = sends(&mut edge, 2, &again);
    edge.pbx_answers(&again.inside[0], "401 Unauthorized", "t", CHALLENGE);
    assert_eq!(open(&edge), 1);
    edge.pbx_answers(&slow.inside[0], "401 Unauthorized", "t", CHALLENGE);
    assert_eq!(edge.engine.snapshot().gate.passing.entries, 0, "the PBX has said something");
    assert_eq!((open(&edge), abandoned(&mut edge)), (1, 1));
}

#[test]
fn whoever_sends_a_byte_now_and_then_has_no_more_time() {
    let mut edge = Edge::with(|_| {});
    opens(&mut edge, 1);
    let mut closed = Vec::new();
    for byte in "REGISTE".split_inclusive(|_: char| true) {
        closed.extend(sends(&mut edge, 1, byte).closed);
        edge.now = edge.now + Duration::from_secs(1);
        edge.engine.handle_timeout(edge.now);
        closed.extend(edge.fetched().closed);
    }
    assert_eq!(closed, [CloseReason::Slow]);
}
