//! Trunks over TCP and TLS: connections that the edge opens, and what becomes of calls when they end.

use super::edge::{Edge, INSIDE, PBX, Sent, addr, answer};
use policy::{Listener, Network, Pbx, Policy, Trunk};
use proxy::Input;
use std::time::Duration;
use wire::{ConnectionId, Flow, ShardId, Transport};

const OUTSIDE: &str = "203.0.113.1:5061";
const FIRST: &str = "198.51.100.7:5061";
const SECOND: &str = "198.51.100.8:5061";

/// A trunk that is reached over TLS, in two places.
fn edge() -> Edge {
    edge_with(|_| {})
}

fn edge_with(change: impl FnOnce(&mut Policy)) -> Edge {
    let listener = Listener { transport: Transport::Tls, address: addr(OUTSIDE), advertise: None };
    let mut policy = Policy::new(vec![listener], addr(INSIDE), vec![Pbx::new(addr(PBX))]);
    let host = "_sips._tcp.carrier.example";
    policy.trunks = vec![Trunk::new("carrier", vec![host.into(), "carrier.example".into()])];
    let network = Network::new(addr(FIRST).ip(), 24);
    policy.admission.trust.networks = vec![(network, "carrier".into())];
    change(&mut policy);
    let mut edge = Edge::new(policy);
    edge.reach("carrier.example", Transport::Tls, OUTSIDE, &[FIRST, SECOND]);
    edge
}

fn request(method: &str, call: u32, more: &str) -> String {
    let uri = "sip:+4940@carrier.example";
    format!(
        "{method} {uri} SIP/2.0\nVia: SIP/2.0/UDP {PBX};branch=z9hG4bK{call}{method};rport\n\
         Max-Forwards: 70\nFrom: <sip:acct@carrier.example>;tag=f\nTo: <{uri}>\n\
         Call-ID: c{call}\nCSeq: 1 {method}\n{more}Content-Length: 0\n\n"
    )
}

/// The connection that was opened last, and what went out on it.
fn opened(edge: &Edge, sent: &[Sent], to: &str) -> (ConnectionId, String) {
    let [Sent { on: Some(on), text, .. }] = sent else { panic!("{sent:?}") };
    let (flow, name) = edge.dialled.last().expect("a connection");
    assert_eq!((flow.remote, &**name), (addr(to), "carrier.example"), "whom it must name");
    assert_eq!(flow.connection, Some(*on));
    (*on, text.clone())
}

#[test]
fn a_connection_is_opened_once_and_serves_all() {
    let mut edge = edge();
    let contact = "Contact: <sip:acct@127.0.0.1:5070;line=x>\n";
    let sent = edge.inside(PBX, &request("REGISTER", 1, contact));
    let (connection, text) = opened(&edge, &sent, FIRST);
    assert!(text.contains(&format!("Via: SIP/2.0/TLS {OUTSIDE};branch=")), "{text}");
    assert!(text.contains(";alias\r\n"), "{text}");
    let ours = format!("Contact: <sip:acct@{OUTSIDE};transport=tls;line=x>\r\n");
    assert!(text.contains(&ours), "{text}");
    let sent = edge.stream(connection, &answer(&text, "200 OK", &ours));
    let [Sent { on: None, text, .. }] = &sent[..] else { panic!("{sent:?}") };
    assert!(text.contains(&contact.replace('\n', "\r\n")), "the PBX finds its own: {text}");
    // a call goes over the same, and the carrier's own, too
    let sent = edge.inside(PBX, &request("INVITE", 2, ""));
    assert!(matches!(&sent[..], [Sent { on, .. }] if *on == Some(connection)), "{sent:?}");
    let call = request("INVITE", 3, "").replace("SIP/2.0/UDP 127.0.0.1:5070", "SIP/2.0/TLS x");
    let sent = edge.stream(connection, &call);
    let [Sent { on: None, text, .. }] = &sent[..] else { panic!("{sent:?}") };
    assert!(text.contains("X-Ringfence-Trunk: carrier\r\n"), "{text}");
    assert_eq!(edge.dialled.len(), 1);
}

#[test]
fn a_target_that_cannot_be_reached_is_passed_over_at_once() {
    let mut edge = edge();
    let sent = edge.inside(PBX, &request("INVITE", 1, ""));
    let (first, _) = opened(&edge, &sent, FIRST);
    let sent = edge.input(Input::Closed { connection: first });
    let (again, _) = opened(&edge, &sent, FIRST);
    assert_ne!(first, again, "it may only have been closed in between");
    let sent = edge.input(Input::Closed { connection: again });
    let (second, text) = opened(&edge, &sent, SECOND);
    let sent = edge.stream(second, &answer(&text, "200 OK", ""));
    assert!(
        matches!(&sent[..], [Sent { on: None, text, .. }] if text.starts_with("SIP/2.0 200")),
        "{sent:?}"
    );
    let targets: Vec<_> = edge.engine.trunk_states().map(|trunk| trunk.targets).collect();
    assert_eq!(targets, [[1, 1]]);
    // it is asked over a connection of its own, and lives
    let sent = edge.pass(Duration::from_secs(11));
    let (asked, text) = opened(&edge, &sent[..1], FIRST);
    assert!(text.starts_with("OPTIONS ") && text.contains("Via: SIP/2.0/TLS "), "{text}");
    edge.stream(asked, &answer(&text, "200 OK", ""));
    let targets: Vec<_> = edge.engine.trunk_states().map(|trunk| trunk.targets).collect();
    assert_eq!(targets, [[2, 0]]);
}

#[test]
fn a_dialog_goes_on_over_another_connection() {
    let mut edge = edge();
    let sent = edge.inside(PBX, &request("INVITE", 1, "Contact: <sip:a@127.0.0.1:5070>\n"));
    let (first, text) = opened(&edge, &sent, FIRST);
    let sent = edge.stream(first, &answer(&text, "200 OK", ""));
    let [Sent { on: None, text: accepted, .. }] = &sent[..] else { panic!("{sent:?}") };
    edge.input(Input::Closed { connection: first });
    let mut routes = accepted.lines().filter_map(|line| line.strip_prefix("Record-Route: "));
    let route = format!("Route: {}\n", routes.next_back().unwrap_or_default());
    let bye =
        request("BYE", 1, &route).replace("carrier.example>\nCall", "carrier.example>;tag=t\nCall");
    let sent = edge.inside(PBX, &bye);
    let (second, text) = opened(&edge, &sent, FIRST);
    assert_ne!(first, second);
    assert!(text.starts_with("BYE "), "{text}");
}

#[test]
fn a_connection_that_rests_says_that_it_lives() {
    let mut edge = edge();
    let sent = edge.inside(PBX, &request("OPTIONS", 1, ""));
    let (connection, text) = opened(&edge, &sent, FIRST);
    edge.stream(connection, &answer(&text, "200 OK", ""));
    let sent = edge.pass(Duration::from_secs(3_600 * 3));
    let is_ping = |it: &Sent| it.on == Some(connection) && it.text == "\r\n\r\n";
    assert!(sent.len() >= 170 && sent.iter().all(is_ping), "{} {:?}", sent.len(), sent[0]);
    assert_eq!(edge.dialled.len(), 1);
}

#[test]
fn a_message_that_is_none_ends_no_connection_with_calls_on_it() {
    let mut edge = edge();
    let sent = edge.inside(PBX, &request("INVITE", 1, ""));
    let (connection, text) = opened(&edge, &sent, FIRST);
    // what somebody called the carrier with, and the carrier passes on
    let odd =
        request("INVITE", 2, "Expires: 60\nExpires: 61\n").replace("UDP 127.0.0.1:5070", "TLS x");
    let sent = edge.stream(connection, &odd);
    let [Sent { on: Some(on), text: refused, .. }] = &sent[..] else { panic!("{sent:?}") };
    assert!(*on == connection && refused.starts_with("SIP/2.0 400 "), "{refused}");
    assert_eq!(edge.closed, []);
    let sent = edge.stream(connection, &answer(&text, "200 OK", ""));
    assert!(
        matches!(&sent[..], [Sent { on: None, text, .. }] if text.starts_with("SIP/2.0 200")),
        "{sent:?}"
    );
    // but where its end is not known, nothing behind it is
    let sent = edge.stream(connection, &odd.replace("Content-Length: 0\n", ""));
    let [Sent { on: Some(on), text: refused, .. }] = &sent[..] else { panic!("{sent:?}") };
    assert!(*on == connection && refused.starts_with("SIP/2.0 400 "), "{refused}");
    assert_eq!(edge.closed, [connection]);
}

#[test]
fn a_strangers_connection_ends_with_what_is_no_message() {
    let mut edge = edge();
    let connection = ConnectionId::new(ShardId(0), 5);
    let flow = Flow {
        transport: Transport::Tls,
        connection: Some(connection),
        ..Flow::udp(addr(OUTSIDE), addr("192.0.2.66:4000"))
    };
    edge.dialled.push((flow, String::new()));
    edge.input(Input::Opened { flow });
    let odd =
        request("INVITE", 1, "Expires: 60\nExpires: 61\n").replace("UDP 127.0.0.1:5070", "TLS x");
    let sent = edge.stream(connection, &odd);
    assert!(sent[0].text.starts_with("SIP/2.0 400 "), "{sent:?}");
    assert_eq!(edge.closed, [connection]);
}

#[test]
fn strangers_connections_keep_no_trunk_out() {
    let mut edge = edge_with(|policy| policy.capacities.connections = 3);
    let mut opens = |number: u64, remote: &str| {
        let gone = edge.opens(number, Transport::Tls, remote);
        edge.now = edge.now + Duration::from_secs(1);
        gone
    };
    for number in 1..=3 {
        assert_eq!(opens(number, "192.0.2.66:4000"), []);
    }
    // whoever came first goes for the next, a stranger's or the carrier's; the carrier's own never do
    assert_eq!(opens(4, "192.0.2.67:4000"), [ConnectionId::new(ShardId(0), 1)], "it is full");
    for number in 5..=7 {
        assert_eq!(opens(number, FIRST), [ConnectionId::new(ShardId(0), number - 3)]);
    }
    for (number, remote) in [(8, FIRST), (9, "192.0.2.68:4000")] {
        assert_eq!(opens(number, remote), [ConnectionId::new(ShardId(0), number)]);
    }
    assert_eq!(edge.engine.snapshot().connections.entries, 3);
}
