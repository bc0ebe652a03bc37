//! Messages that are longer than their way takes, streams whose end is not known, and many messages
//! at once.

use super::edge::{CARRIER, Edge, INSIDE, OUTSIDE, PBX, Sent, addr, answer, to};
use policy::{Listener, Network, Pbx, Policy, Reason, Trunk};
use proxy::{Input, Verdict};
use std::time::Duration;
use wire::{ConnectionId, ShardId, Transport};

const PHONE: &str = "192.0.2.9:4000";

fn edge() -> Edge {
    let listener = |transport| Listener { transport, address: addr(OUTSIDE), advertise: None };
    let listeners = vec![listener(Transport::Udp), listener(Transport::Tcp)];
    let mut policy = Policy::new(listeners, addr(INSIDE), vec![Pbx::new(addr(PBX))]);
    policy.trunks = vec![Trunk::new("carrier", vec!["carrier.example".into()])];
    let network = Network::new(addr(CARRIER).ip(), 24);
    policy.admission.trust.networks = vec![(network, "carrier".into())];
    let mut edge = Edge::new(policy);
    edge.reach("carrier.example", Transport::Udp, OUTSIDE, &[CARRIER]);
    edge
}

/// A connection of the phone's.
fn connect(edge: &mut Edge) -> ConnectionId {
    assert_eq!(edge.opens(5, Transport::Tcp, PHONE), []);
    ConnectionId::new(ShardId(0), 5)
}

/// A request of so many bytes.
fn request(number: u32, via: &str, uri: &str, bytes: usize) -> String {
    let head = |length: usize| {
        format!(
            "MESSAGE {uri} SIP/2.0\r\nVia: SIP/2.0/{via};branch=z9hG4bK{number}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:6001@h>;tag=f\r\nTo: <{uri}>\r\n\
             Call-ID: c{number}\r\nCSeq: 1 MESSAGE\r\nContent-Length: {length}\r\n\r\n"
        )
    };
    let body = bytes - head(bytes).len();
    let body = body + head(bytes).len() - head(body).len();
    head(body) + &"x".repeat(body)
}

fn by_tcp(number: u32, bytes: usize) -> String {
    request(number, &format!("TCP {PHONE}"), "sip:100@h", bytes)
}

/// The status of the only message that went out, which must be an answer to `to`.
fn status(sent: &[Sent], to: &str) -> u16 {
    let [it] = sent else { panic!("{} messages", sent.len()) };
    assert_eq!(it.to, addr(to), "{}", it.text);
    it.text.strip_prefix("SIP/2.0 ").and_then(|rest| rest[..3].parse().ok()).expect("a status")
}

#[test]
fn what_no_datagram_holds_is_refused_and_its_connection_lives() {
    let mut edge = edge();
    let connection = connect(&mut edge);
    let sent = edge.stream(connection, &by_tcp(1, 65_500));
    assert_eq!(status(&sent, PHONE), 513);
    let event = edge.events.last().expect("a decision");
    assert_eq!((event.verdict, event.reason), (Verdict::Reject(513), Reason::TooLarge));
    assert_eq!(edge.closed, []);
    // with what the edge adds this one fits
    let sent = edge.stream(connection, &by_tcp(2, 65_000));
    let [Sent { on: None, text, .. }] = &sent[..] else { panic!("{}", sent.len()) };
    assert!(text.starts_with("MESSAGE ") && text.len() > 65_000);
    assert_eq!(edge.engine.snapshot().exchanges.entries, 1);
}

#[test]
fn what_grows_too_long_on_its_way_to_a_carrier_is_refused() {
    let mut edge = edge();
    let long = request(1, &format!("UDP {PBX}"), "sip:+49@carrier.example", 65_500);
    assert_eq!(status(&edge.inside(PBX, &long), PBX), 513);
}

#[test]
fn an_answer_that_no_datagram_holds_becomes_one_that_does() {
    let mut edge = edge_with_stream_pbx();
    let request = request(1, &format!("UDP {PHONE};rport"), "sip:100@h", 400);
    let sent = edge.outside(PHONE, &request);
    let [Sent { on: Some(connection), text, .. }] = &sent[..] else { panic!("{sent:?}") };
    let short = answer(text, "404 Not Found", "");
    let body = "x".repeat(65_510 - short.len());
    let length = format!("Content-Length: {}\n\n{body}", body.len());
    let long = short.replace("Content-Length: 0\n\n", &length);
    let sent = edge.stream(*connection, &long);
    assert_eq!(status(&sent, PHONE), 500);
}

fn edge_with_stream_pbx() -> Edge {
    let listener = Listener { transport: Transport::Udp, address: addr(OUTSIDE), advertise: None };
    let pbx = Pbx { transport: Transport::Tcp, ..Pbx::new(addr(PBX)) };
    let mut policy = Policy::new(vec![listener], addr(INSIDE), vec![pbx]);
    policy.admission.proof.amplify = true;
    Edge::new(policy)
}

#[test]
fn a_stream_whose_message_has_no_end_is_told_so_and_closed() {
    let length = |text: &str, line: &str| {
        let at = text.find("Content-Length:").expect("a length");
        let end = at + text[at..].find("\r\n").expect("a line") + 2;
        format!("{}{line}{}", &text[..at], &text[end..])
    };
    for (line, expected) in [
        ("Content-Length: 70000\r\n", Some(513)),
        ("Content-Length: 65535\r\n", Some(513)),
        ("", Some(400)),
        ("Content-Length: 1\r\nContent-Length: 2\r\n", Some(400)),
        ("Content-Length: -1\r\n", Some(400)),
        // nothing shows where its head ends, or whom to tell
        ("X: y\n", None),
    ] {
        let mut edge = edge();
        let connection = connect(&mut edge);
        let text = length(&by_tcp(1, 400), line);
        let sent = edge.input(Input::Stream { connection, bytes: text.as_bytes() });
        match expected {
            Some(expected) => assert_eq!(status(&sent, PHONE), expected, "{line}"),
            None => assert!(sent.is_empty(), "{sent:?}"),
        }
        assert_eq!(edge.closed, [connection], "{line}");
    }
    let mut edge = edge();
    let connection = connect(&mut edge);
    let lines = format!("X: {}\r\n", "y".repeat(8_000)).repeat(3);
    let text = by_tcp(1, 400).replace("Content-Length", &format!("{lines}Content-Length"));
    let sent = edge.input(Input::Stream { connection, bytes: text.as_bytes() });
    assert_eq!(status(&sent, PHONE), 513, "its lines are too many bytes");
    assert_eq!(edge.closed, [connection]);
}

#[test]
fn messages_of_one_segment_go_on_in_their_order_until_one_is_none() {
    let mut edge = edge();
    let connection = connect(&mut edge);
    let good: String = (0..20).map(|number| by_tcp(number, 400)).collect();
    let bad = by_tcp(20, 400).replace("Content-Length", "X-Length");
    let bytes = format!("{good}\r\n\r\n{bad}{}", by_tcp(21, 400));
    let sent = edge.input(Input::Stream { connection, bytes: bytes.as_bytes() });
    let calls = sent.iter().filter(|it| it.to == addr(PBX)).map(|it| {
        let line = it.text.lines().find_map(|line| line.strip_prefix("Call-ID: c"));
        line.and_then(|number| number.parse::<u32>().ok()).expect("a Call-ID")
    });
    assert_eq!(calls.collect::<Vec<_>>(), (0..20).collect::<Vec<_>>());
    let back: Vec<&str> =
        sent.iter().filter(|it| it.on.is_some()).map(|it| &it.text[..2]).collect();
    assert_eq!(back, ["\r\n", "SI"], "a pong, and a refusal");
    assert_eq!(edge.closed, [connection]);
}

/// An INVITE with as many lines, and bytes in them, as it may have.
fn crowded(number: u32) -> String {
    let head = format!(
        "INVITE sip:100@h SIP/2.0\nVia: SIP/2.0/UDP {PHONE};rport;branch=z9hG4bK{number}\n\
         Max-Forwards: 70\nFrom: <sip:6001@h>;tag=f\nTo: <sip:100@h>\nCall-ID: c{number}\n\
         CSeq: 1 INVITE\nContact: <sip:6001@{PHONE}>\nContent-Length: 0\n"
    );
    let lines = 128 - (head.lines().count() - 1);
    let line = format!("X: {}\n", "y".repeat((16_384 - head.len() - 20) / lines - 6));
    format!("{head}{}\n", line.repeat(lines))
}

#[test]
fn what_is_as_large_as_may_be_is_served_like_any_other() {
    let mut edge = Edge::new({
        let listener =
            Listener { transport: Transport::Udp, address: addr(OUTSIDE), advertise: None };
        let mut policy = Policy::new(vec![listener], addr(INSIDE), vec![Pbx::new(addr(PBX))]);
        policy.admission.proof.amplify = true;
        policy
    });
    // a refusal is acknowledged
    let sent = edge.outside(PHONE, &crowded(1));
    let [Sent { text, .. }] = &sent[..] else { panic!("{sent:?}") };
    assert!(
        text.lines().count() > 128 && text.len() > 16_384,
        "{} {}",
        text.lines().count(),
        text.len()
    );
    let sent = edge.inside(PBX, &answer(text, "486 Busy Here", ""));
    assert_eq!((to(&sent, PBX, "ACK ").len(), to(&sent, PHONE, "SIP/2.0 486 ").len()), (1, 1));
    // a call is cancelled
    let sent = edge.outside(PHONE, &crowded(2));
    let invite = to(&sent, PBX, "INVITE ")[0].to_owned();
    edge.inside(PBX, &answer(&invite, "180 Ringing", ""));
    let cancel = crowded(2).replace("INVITE", "CANCEL").replace("Contact: ", "X: ");
    let cancel = cancel.split("X: y").next().expect("text").to_owned() + "\n";
    let sent = edge.outside(PHONE, &cancel);
    assert_eq!(to(&sent, PBX, "CANCEL ").len(), 1, "{sent:?}");
    // and nobody's silence is kept from its caller
    edge.outside(PHONE, &crowded(3));
    let sent = edge.pass(Duration::from_secs(32));
    let told = ["SIP/2.0 408 ", "SIP/2.0 503 "].map(|begin| to(&sent, PHONE, begin).len());
    assert!(told[0] + told[1] > 0, "{}", sent.len());
}

#[test]
fn what_is_as_large_as_may_be_goes_to_another_pbx() {
    const SECOND: &str = "127.0.0.3:5070";
    let listener = Listener { transport: Transport::Udp, address: addr(OUTSIDE), advertise: None };
    let second = Pbx { name: "second".into(), priority: 1, ..Pbx::new(addr(SECOND)) };
    let mut policy = Policy::new(vec![listener], addr(INSIDE), vec![Pbx::new(addr(PBX)), second]);
    policy.admission.mode = policy::Mode::Off;
    let mut edge = Edge::new(policy);
    let sent = edge.outside(PHONE, &crowded(1));
    let invite = to(&sent, PBX, "INVITE ")[0].to_owned();
    let sent = edge.inside(PBX, &answer(&invite, "503 Service Unavailable", ""));
    assert_eq!(to(&sent, SECOND, "INVITE ").len(), 1, "{}", sent.len());
}

#[test]
fn what_the_next_pbx_cannot_take_is_refused_and_not_lost() {
    const SECOND: &str = "127.0.0.3:5070";
    let asks = |bytes: usize| {
        let listener =
            Listener { transport: Transport::Tcp, address: addr(OUTSIDE), advertise: None };
        let first = Pbx { transport: Transport::Tcp, ..Pbx::new(addr(PBX)) };
        let second = Pbx { name: "second".into(), priority: 1, ..Pbx::new(addr(SECOND)) };
        let mut policy = Policy::new(vec![listener], addr(INSIDE), vec![first, second]);
        policy.admission.mode = policy::Mode::Off;
        let mut edge = Edge::new(policy);
        let connection = connect(&mut edge);
        let mut sent = edge.stream(connection, &by_tcp(1, bytes));
        let asked = to(&sent, PBX, "MESSAGE")[0].len();
        // its connection is lost, and lost again
        for _ in 0..2 {
            let lost = edge.dialled.last().and_then(|(flow, _)| flow.connection).expect("opened");
            sent = edge.input(Input::Closed { connection: lost });
        }
        let whom = (to(&sent, SECOND, "MESSAGE").len(), to(&sent, PHONE, "SIP/2.0 503").len());
        (asked, whom)
    };
    let (asked, whom) = asks(60_000);
    assert_eq!(whom, (1, 0));
    // what a stream takes with all that the edge writes into it, and no datagram does
    assert_eq!(asks(65_530 - (asked - 60_000)), (65_530, (0, 1)));
}
