//! Which PBX gets what, and what happens when it fails.

use super::edge::{Edge, INSIDE, OUTSIDE, Sent, addr, answer, to};
use policy::{Listener, Network, Pbx, PbxGroup, Policy, Reach, Trunk};
use proxy::{Input, Output};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use wire::{ConnectionId, Flow, ShardId, Side, Transport};

const SECOND: &str = "203.0.113.2:5060";
const A: &str = "127.0.0.2:5070";
const B: &str = "127.0.0.3:5070";
const PHONE: &str = "198.51.100.7:5060";

fn policy() -> Policy {
    let listener =
        |address| Listener { transport: Transport::Udp, address: addr(address), advertise: None };
    // A is asked first
    let pbx = vec![
        Pbx { name: "a".into(), ..Pbx::new(addr(A)) },
        Pbx { name: "b".into(), priority: 1, ..Pbx::new(addr(B)) },
    ];
    let mut policy = Policy::new(vec![listener(OUTSIDE), listener(SECOND)], addr(INSIDE), pbx);
    policy.admission.mode = policy::Mode::Off;
    policy
}

fn request(method: &str, uri: &str, call: &str, more: &str) -> String {
    format!(
        "{method} {uri} SIP/2.0\nVia: SIP/2.0/UDP {PHONE};branch=z9hG4bK{call}{method};rport\n\
         Max-Forwards: 70\nFrom: <sip:6001@pbx.example.com>;tag=f\nTo: <{uri}>\nCall-ID: {call}\n\
         CSeq: 1 {method}\nContact: <sip:6001@{PHONE}>\n{more}Content-Length: 0\n\n"
    )
}

fn invite(call: &str) -> String {
    request("INVITE", "sip:100@pbx.example.com", call, "")
}

/// The only request among what was sent, but the edge's own OPTIONS.
fn only(sent: &[Sent]) -> &Sent {
    let is_other = |it: &&Sent| {
        let begins = |what| it.text.starts_with(what);
        begins("SIP/2.0") || begins("ACK") || it.text.contains("tag=check")
    };
    let requests: Vec<_> = sent.iter().filter(|it| !is_other(it)).collect();
    let [one] = &requests[..] else { panic!("{sent:?}") };
    one
}

fn up(edge: &Edge) -> Vec<bool> {
    edge.engine.pbx_states().map(|state| state.up).collect()
}

#[test]
fn one_that_refuses_is_left_at_the_first_repetition() {
    let mut edge = Edge::new(policy());
    let sent = edge.outside(PHONE, &invite("c1").replace(
        "Content-Length",
        "Authorization: Digest username=\"6001\",realm=\"r\",nonce=\"n\",response=\"x\"\nContent-Length",
    ));
    let first = only(&sent).clone();
    assert_eq!(first.to, addr(A));
    edge.input(Input::Unreachable { side: Side::Inside, remote: addr(A) });
    let sent = edge.pass(Duration::from_millis(600));
    let second = only(&sent).clone();
    assert_eq!(second.to, addr(B));
    assert!(!second.text.contains("Authorization"), "it was for the other one: {}", second.text);
    assert_eq!(up(&edge), [false, true]);
    let challenge = "WWW-Authenticate: Digest realm=\"r\",nonce=\"m\"\n";
    let sent = edge.inside(B, &answer(&second.text, "401 Unauthorized", challenge));
    let challenge = sent.iter().find(|it| it.to == addr(PHONE)).expect("relayed");
    assert!(challenge.text.contains("stale=true"), "{}", challenge.text);
    // what the first says now is too late
    let sent = edge.inside(A, &answer(&first.text, "200 OK", ""));
    assert!(sent.is_empty(), "{sent:?}");
    // the next call does not try it
    assert_eq!(only(&edge.outside(PHONE, &invite("c2"))).to, addr(B));
}

#[test]
fn one_that_is_silent_is_left_after_four_tries_if_it_has_not_said_100() {
    for trying in [false, true] {
        let mut edge = Edge::new(policy());
        let sent = edge.outside(PHONE, &invite("c1"));
        let first = only(&sent).clone();
        if trying {
            edge.inside(A, &answer(&first.text, "100 Trying", ""));
        }
        let sent = edge.pass(Duration::from_millis(3_600));
        assert_eq!(to(&sent, B, "INVITE").is_empty(), trying, "{sent:?}");
    }
}

#[test]
fn a_503_goes_to_the_next_one_but_not_once_it_rings() {
    for rings in [false, true] {
        let mut edge = Edge::new(policy());
        let sent = edge.outside(PHONE, &invite("c1"));
        let first = only(&sent).clone();
        edge.inside(A, &answer(&first.text, "100 Trying", ""));
        if rings {
            edge.inside(A, &answer(&first.text, "180 Ringing", ""));
        }
        let sent = edge.inside(A, &answer(&first.text, "503 Service Unavailable", ""));
        assert!(sent.iter().any(|it| it.to == addr(A) && it.text.starts_with("ACK ")), "{sent:?}");
        let next = sent.iter().find(|it| it.to == addr(B));
        assert_eq!(next.is_some(), !rings, "{sent:?}");
        let told = sent.iter().any(|it| it.text.starts_with("SIP/2.0 503"));
        assert_eq!(told, rings, "{sent:?}");
        // where all are so the phone hears of it
        if let Some(next) = next {
            let sent = edge.inside(B, &answer(&next.text, "503 Service Unavailable", ""));
            assert!(sent.iter().any(|it| it.text.starts_with("SIP/2.0 503")), "{sent:?}");
        }
    }
}

#[test]
fn a_dialog_stays_where_it_began() {
    let mut edge = Edge::new(policy());
    let sent = edge.outside(PHONE, &invite("c1"));
    let first = only(&sent).clone();
    edge.input(Input::Unreachable { side: Side::Inside, remote: addr(A) });
    let second = only(&edge.pass(Duration::from_millis(600))).clone();
    let ok = answer(&second.text, "200 OK", &format!("Contact: <sip:{B}>\n"));
    let sent = edge.inside(B, &ok);
    let ok = &sent.iter().find(|it| it.to == addr(PHONE)).expect("relayed").text;
    let route = route_of(ok);
    // A answers OPTIONS again, and would be asked first
    for _ in 0..20 {
        let checks = edge.pass(Duration::from_secs(1));
        for check in checks.iter().filter(|it| it.text.contains("tag=check")) {
            let from = check.to.to_string();
            edge.inside(&from, &answer(&check.text, "200 OK", ""));
        }
    }
    assert_eq!(up(&edge), [true, true]);
    let bye = request("BYE", &format!("sip:{B}"), "c1", &route)
        .replace(&format!("To: <sip:{B}>"), "To: <sip:100@pbx.example.com>;tag=t")
        .replace("CSeq: 1", "CSeq: 2");
    assert_eq!(only(&edge.outside(PHONE, &bye)).to, addr(B));
    // one at another place with our route, but none of its own Contact's, too
    let bye = bye.replace(&format!("BYE sip:{B}"), "BYE sip:100@pbx.example.com");
    let bye = bye.replace("z9hG4bK", "z9hG4bKx");
    assert_eq!(only(&edge.outside(PHONE, &bye)).to, addr(B));
    assert_eq!(first.to, addr(A));
    assert_eq!(only(&edge.outside(PHONE, &invite("c9"))).to, addr(A));
}

#[test]
fn options_that_nobody_answers_take_a_pbx_down() {
    let mut edge = Edge::new(policy());
    edge.pass(Duration::from_secs(9));
    assert_eq!(up(&edge), [false, false]);
    // all are down: one a second is let through, to see
    assert_eq!(only(&edge.outside(PHONE, &invite("c1"))).to, addr(A));
    let sent = edge.outside(PHONE, &invite("c2"));
    assert!(sent.iter().any(|it| it.text.starts_with("SIP/2.0 503")), "{sent:?}");
}

#[test]
fn who_asks_a_pbx_that_is_dead_hears_503_while_he_still_waits() {
    for method in ["INVITE", "REGISTER", "MESSAGE"] {
        let mut policy = policy();
        policy.pbx.truncate(1);
        let mut edge = Edge::new(policy);
        // long enough to pay for an answer to whoever it is
        let more = format!("Subject: {}\n", "x".repeat(300));
        edge.outside(PHONE, &request(method, "sip:pbx.example.com", "c1", &more));
        let sent = edge.pass(Duration::from_secs(31));
        assert_eq!(up(&edge), [false], "{method}");
        let heard = to(&sent, PHONE, "SIP/2.0 ");
        let heard: Vec<_> = heard.iter().filter(|it| !it.contains(" 100 ")).collect();
        // an INVITE's refusal is repeated until it is acknowledged
        assert!(!heard.is_empty(), "{method}");
        for text in heard {
            assert!(text.starts_with("SIP/2.0 503 "), "{method}: {text}");
            assert!(text.contains("\r\nRetry-After: "), "{method}: {text}");
        }
    }
}

#[test]
fn strangers_whom_a_pbx_does_not_answer_take_none_down() {
    let mut edge = Edge::new(policy());
    for n in 0..60 {
        edge.outside(PHONE, &request("OPTIONS", "sip:100@pbx.example.com", &format!("o{n}"), ""));
        for asked in edge.pass(Duration::from_secs(1)) {
            if asked.text.contains(";tag=check") {
                let from = asked.to.to_string();
                edge.inside(&from, &answer(&asked.text, "200 OK", ""));
            }
        }
        assert!(up(&edge).iter().all(|up| *up), "{n}");
    }
}

#[test]
fn over_tcp_a_lost_connection_is_opened_once_more_and_then_the_next_one_asked() {
    let mut policy = policy();
    policy.pbx[0].transport = Transport::Tcp;
    let mut edge = Edge::new(policy);
    let register = request("REGISTER", "sip:pbx.example.com", "r", "Expires: 60\n")
        .replace("To: <sip:pbx.example.com>", "To: <sip:6001@pbx.example.com>");
    let sent = edge.outside(PHONE, &register);
    let first = only(&sent).clone();
    assert_eq!((first.to, first.transport), (addr(A), Transport::Tcp));
    assert!(first.text.starts_with("REGISTER "), "{}", first.text);
    assert!(first.text.contains(&format!("Via: SIP/2.0/TCP {INSIDE};branch=")), "{}", first.text);
    assert!(first.text.contains(&format!("@{INSIDE};transport=tcp>")), "{}", first.text);
    let lost = edge.dialled[0].0;
    assert_eq!((lost.local, lost.remote), (addr(INSIDE), addr(A)));
    assert!(lost.connection.is_some_and(ConnectionId::is_opened));
    let sent = edge.input(Input::Closed { connection: lost.connection.expect("opened") });
    assert_eq!(only(&sent).text, first.text, "to whom had it, a repetition");
    let again = edge.dialled.last().expect("opened once more").0;
    assert_ne!(again.connection, lost.connection);
    let sent = edge.input(Input::Closed { connection: again.connection.expect("opened") });
    let second = only(&sent).clone();
    assert_eq!((second.to, second.transport), (addr(B), Transport::Udp));
    assert!(second.text.contains(&format!("Via: SIP/2.0/UDP {INSIDE};branch=")), "{}", second.text);
    assert!(!second.text.contains("transport=tcp"), "{}", second.text);
    let sent = edge.inside(B, &answer(&second.text, "403 Forbidden", ""));
    assert!(sent.iter().any(|it| it.to == addr(PHONE) && it.text.starts_with("SIP/2.0 403")));
}

#[test]
fn what_a_stream_brings_is_the_pbxs() {
    let mut policy = policy();
    policy.pbx[0].transport = Transport::Tcp;
    let mut edge = Edge::new(policy);
    let sent = edge.outside(PHONE, &request("OPTIONS", "sip:100@pbx.example.com", "o", ""));
    let first = only(&sent).clone();
    let connection = edge.dialled[0].0.connection.expect("opened");
    let ok = answer(&first.text, "200 OK", "").replace('\n', "\r\n");
    let (head, tail) = ok.as_bytes().split_at(40);
    assert!(edge.input(Input::Stream { connection, bytes: head }).is_empty());
    let sent = edge.input(Input::Stream { connection, bytes: tail });
    assert!(sent.iter().any(|it| it.to == addr(PHONE) && it.text.starts_with("SIP/2.0 200")));
    // a stranger at the inside port is shown the door
    let stranger = Flow {
        transport: Transport::Tcp,
        connection: Some(ConnectionId::new(ShardId(0), 5)),
        ..Flow::udp(addr(INSIDE), addr("127.0.0.9:4000"))
    };
    edge.engine.handle_input(edge.now, Input::Opened { flow: stranger });
    let mut closed = false;
    while let Some(output) = edge.engine.poll_output() {
        closed |= matches!(output, Output::Close { .. });
    }
    assert!(closed);
}

#[test]
fn rules_name_the_group_and_the_first_that_does_wins() {
    let mut policy = policy();
    let carrier = "192.0.2.10:5060";
    let group = |name: &str, reach| PbxGroup { name: name.into(), reach: Some(reach) };
    policy.trunks = vec![Trunk::new("carrier", Vec::new())];
    policy.admission.trust.networks = vec![(Network::host(addr(carrier).ip()), "carrier".into())];
    let dids = policy::NumberSet { patterns: vec!["4940123xx".into()] };
    policy.groups = vec![
        group("dids", Reach { dids, ..Reach::default() }),
        group("domain", Reach { domains: vec!["b.example.com".into()], ..Reach::default() }),
        group(
            "listener",
            Reach { listeners: vec![(Transport::Udp, addr(SECOND))], ..Reach::default() },
        ),
        group("trunk", Reach { trunks: vec!["carrier".into()], ..Reach::default() }),
    ];
    let at = |group: usize| SocketAddr::new([127, 0, 1, group as u8].into(), 5070);
    policy.pbx = (0..4).map(|group| Pbx { group, ..Pbx::new(at(group)) }).collect();
    let asked = [
        (OUTSIDE, PHONE, "sip:+494012345@x.example.com", Some(0)),
        (OUTSIDE, PHONE, "sip:100@B.example.com", Some(1)),
        (SECOND, PHONE, "sip:100@x.example.com", Some(2)),
        (SECOND, PHONE, "sip:494012345@b.example.com", Some(0)),
        (OUTSIDE, carrier, "sip:100@x.example.com", Some(3)),
        (OUTSIDE, PHONE, "sip:100@x.example.com", None),
    ];
    let mut edge = Edge::new(policy.clone());
    for (number, (local, remote, uri, group)) in asked.iter().enumerate() {
        let text = request("OPTIONS", uri, &format!("c{number}"), "");
        let sent = edge.datagram(Side::Outside, local, remote, &text);
        match group {
            Some(group) => assert_eq!(only(&sent).to, at(*group), "{uri}"),
            None => assert!(sent[0].text.starts_with("SIP/2.0 404 "), "{sent:?}"),
        }
    }
    // with a group for all the rest
    policy.groups.push(PbxGroup { name: "rest".into(), reach: None });
    policy.pbx.push(Pbx { group: 4, ..Pbx::new(at(4)) });
    edge.engine.handle_input(edge.now, Input::Configure(Arc::new(policy)));
    let sent = edge.outside(PHONE, &request("OPTIONS", "sip:100@x.example.com", "rest", ""));
    assert_eq!(only(&sent).to, at(4));
}

/// The same policy, but its first PBX is reached so.
fn reached(transport: Transport, address: &str) -> Arc<Policy> {
    let mut policy = policy();
    (policy.pbx[0].transport, policy.pbx[0].address) = (transport, addr(address));
    Arc::new(policy)
}

#[test]
fn a_reload_changes_the_way_to_a_pbx_and_nothing_is_lost() {
    const TLS: &str = "127.0.0.2:5071";
    let mut edge = Edge::new(policy());
    let invite = only(&edge.outside(PHONE, &invite("c1"))).clone();
    let ok = answer(&invite.text, "200 OK", &format!("Contact: <sip:{A}>\n"));
    let ok = edge.inside(A, &ok).into_iter().find(|it| it.to == addr(PHONE)).expect("relayed");
    let pending =
        only(&edge.outside(PHONE, &request("OPTIONS", "sip:1@pbx.example.com", "o", ""))).clone();

    // to TCP: what is new goes there, also inside the dialog that began over UDP
    edge.input(Input::Configure(reached(Transport::Tcp, A)));
    let bye = bye_of(&ok.text);
    let sent = only(&edge.outside(PHONE, &bye)).clone();
    assert_eq!((sent.to, sent.transport), (addr(A), Transport::Tcp));
    let answered = edge.inside(A, &answer(&pending.text, "200 OK", ""));
    assert!(answered.iter().any(|it| it.to == addr(PHONE) && it.text.starts_with("SIP/2.0 200")));

    // to TLS at another port: what it says where it was is still its own
    edge.input(Input::Configure(reached(Transport::Tls, TLS)));
    let sent = only(&edge.outside(PHONE, &self::invite("c2"))).clone();
    assert_eq!((sent.to, sent.transport), (addr(TLS), Transport::Tls));
    let asked = request("OPTIONS", &format!("sip:{INSIDE}"), "p", "").replace(PHONE, A);
    let heard = |edge: &mut Edge, call: &str| {
        let sent = edge.inside(A, &asked.replace("z9hG4bKp", &format!("z9hG4bK{call}")));
        sent.iter().any(|it| it.text.starts_with("SIP/2.0 200"))
    };
    assert!(heard(&mut edge, "p1"));
    let back = |edge: &mut Edge| {
        let flow = Flow {
            transport: Transport::Tcp,
            connection: Some(ConnectionId::new(ShardId(0), 5)),
            ..Flow::udp(addr(INSIDE), addr("127.0.0.2:40000"))
        };
        edge.input(Input::Opened { flow });
        let open = edge.closed.is_empty();
        edge.closed.clear();
        open
    };
    assert!(back(&mut edge), "phones' bindings there name TCP");

    // the connection that nobody uses any more ends, and so does the old place
    let tcp = edge.dialled[0].0.connection.expect("opened");
    edge.pass(Duration::from_secs(3_600));
    assert_eq!(edge.closed, []);
    edge.pass(Duration::from_secs(200));
    assert_eq!(edge.closed, [tcp]);
    assert!(!heard(&mut edge, "p2"));
}

/// The Route of a phone that had this answer (RFC 3261 §12.1.2).
fn route_of(ok: &str) -> String {
    ok.lines()
        .filter_map(|line| line.strip_prefix("Record-Route: "))
        .rev()
        .map(|value| format!("Route: {value}\n"))
        .collect()
}

/// The BYE of a phone that had this answer.
fn bye_of(ok: &str) -> String {
    let route = route_of(ok);
    let target = format!("sip:{A}");
    request("BYE", &target, "c1", &route)
        .replace(&format!("To: <{target}>"), "To: <sip:100@pbx.example.com>;tag=t")
        .replace("CSeq: 1", "CSeq: 2")
}
